// SPDX-License-Identifier: Apache-2.0
// Copies of requests: each is accepted once, in any order, per boot of a gateway.
#include "txn/session/session_window.h"

#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct session_windows windows;
static const struct node_id node = {7};

static int setup(void **state) {
    (void)state;
    session_windows_init(&windows);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    session_windows_deinit(&windows);
    return 0;
}

static bool accept(uint64_t sequence) {
    return session_windows_accept(&windows, node, 1, sequence);
}

static void test_session_window_accepts_each_once(void **state) {
    (void)state;
    assert_true(accept(5));
    assert_false(accept(5));
    assert_true(accept(3));
    assert_false(accept(3));
    assert_true(accept(6));
    assert_false(accept(5));
}

static void test_session_window_refuses_what_is_too_old(void **state) {
    (void)state;
    assert_true(accept(SESSION_WINDOW_SIZE + 10));
    assert_true(accept(11));
    assert_false(accept(10));
    assert_false(accept(1));
}

// The place of a sequence is used again a window later.
static void test_session_window_forgets_what_moved_out(void **state) {
    (void)state;
    assert_true(accept(1));
    assert_true(accept(SESSION_WINDOW_SIZE));
    assert_true(accept(SESSION_WINDOW_SIZE + 5));
    assert_true(accept(SESSION_WINDOW_SIZE + 1));
    assert_true(accept(3 * (uint64_t)SESSION_WINDOW_SIZE + 1));
    assert_true(accept(3 * (uint64_t)SESSION_WINDOW_SIZE));
    assert_false(accept(3 * (uint64_t)SESSION_WINDOW_SIZE));
}

static void test_session_window_counts_per_boot_and_node(void **state) {
    (void)state;
    assert_true(session_windows_accept(&windows, node, 1, 9));
    assert_true(session_windows_accept(&windows, node, 2, 9));
    assert_true(session_windows_accept(&windows, (struct node_id){8}, 1, 9));
    assert_false(session_windows_accept(&windows, node, 1, 9));
    assert_false(session_windows_accept(&windows, node, 2, 9));
}

// With the table full, those heard of least recently go first.
static void test_session_window_keeps_the_recent_gateways(void **state) {
    (void)state;
    for (uint64_t boot = 1; boot <= SESSION_WINDOW_COUNT; boot++) {
        assert_true(session_windows_accept(&windows, node, boot, 1));
    }
    assert_false(session_windows_accept(&windows, node, 1, 1));
    assert_true(session_windows_accept(&windows, node, SESSION_WINDOW_COUNT + 1, 1));
    assert_false(session_windows_accept(&windows, node, 1, 1));
    assert_false(session_windows_accept(&windows, node, 3, 1));
    assert_true(session_windows_accept(&windows, node, 2, 1));
}

// Against a list of all that was accepted.
static void test_session_window_never_accepts_twice(void **state) {
    (void)state;
    enum { SPAN = 60000 };
    struct prng prng;
    prng_init(&prng, 5);
    bool *accepted = mem_alloc(SPAN * sizeof(*accepted));
    uint64_t top = 1;
    for (uint32_t i = 0; i < 200000 && top < SPAN - 10000; i++) {
        top += prng_chance(&prng, 1, 1000) ? prng_below(&prng, 5000) : prng_below(&prng, 2);
        const uint64_t back = prng_below(&prng, 6000);
        const uint64_t sequence = top > back ? top - back : 1;
        const bool is_new = accept(sequence);
        assert_false(is_new && accepted[sequence]);
        if (!is_new && !accepted[sequence]) { assert_true(back > 100); }
        accepted[sequence] = accepted[sequence] || is_new;
    }
    mem_free(accepted);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_session_window_accepts_each_once),
        TEST(test_session_window_refuses_what_is_too_old),
        TEST(test_session_window_forgets_what_moved_out),
        TEST(test_session_window_counts_per_boot_and_node),
        TEST(test_session_window_keeps_the_recent_gateways),
        TEST(test_session_window_never_accepts_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
