// SPDX-License-Identifier: Apache-2.0
// The table of held keys.
#include "txn/session/session_hold.h"

#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LEASE_MS = 100 };
#define MS UINT64_C(1000000)

static struct session_holds holds;

static int setup(void **state) {
    (void)state;
    mark_reset_all();
    memset(&holds, 0, sizeof(holds));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    session_holds_deinit(&holds);
    assert_int_equal(holds.count, 0);
    return 0;
}

static struct txn_id id(uint8_t number) {
    return (struct txn_id){{number}};
}

static struct slice key(uint32_t number) {
    static char text[16];
    (void)snprintf(text, sizeof(text), "%c%c%ck%07u", 1, 1, 1, number);
    return slice_make(text, 11);
}

// True when the key is that transaction's after it.
static bool take(uint32_t number, uint8_t txn, uint64_t now_ms) {
    const struct command_hold request = {
        .kind = COMMAND_HOLD_TAKE, .txn = id(txn), .lease_ms = LEASE_MS, .key = key(number)};
    const struct session_hold *other = session_holds_take(&holds, &request, now_ms * MS);
    if (other != NULL) { assert_false(txn_id_equal(other->txn, id(txn))); }
    return other == NULL;
}

static uint8_t holder(uint32_t number, uint64_t now_ms) {
    const struct session_hold *hold = session_holds_find(&holds, key(number), now_ms * MS);
    return hold == NULL ? 0 : hold->txn.v[0];
}

static void test_hold_has_one_holder_until_it_runs_out(void **state) {
    (void)state;
    assert_true(take(1, 7, 1000));
    assert_false(take(1, 8, 1050));
    assert_true(take(2, 8, 1050));
    assert_int_equal(holder(1, 1099), 7);
    assert_true(take(1, 7, 1090));  // renewed
    assert_int_equal(holder(1, 1189), 7);
    const struct session_hold *hold = session_holds_find(&holds, key(1), 1150 * MS);
    assert_int_equal(hold->since_ns, 1000 * MS);
    assert_int_equal(holder(1, 1190), 0);
    assert_true(take(1, 8, 1200));
    assert_int_equal(holder(1, 1200), 8);
    session_holds_release(&holds, key(1), id(7));  // not its any more
    assert_int_equal(holder(1, 1201), 8);
    session_holds_release(&holds, key(1), id(8));
    session_holds_release(&holds, key(1), id(8));
    assert_int_equal(holder(1, 1201), 0);
}

static void test_hold_forgets_what_nobody_asks_for(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 5000; i++) {
        assert_true(take(i, 7, 1000));
    }
    assert_int_equal(holds.count, 5000);
    for (uint32_t i = 0; i < SESSION_HOLD_BUCKETS; i++) {
        assert_true(take(9999, 8, 2000 + i));
    }
    assert_int_equal(holds.count, 1);
}

static bool count_hold(void *ctx, const struct session_hold *hold) {
    uint32_t *counts = ctx;
    counts[hold->txn.v[0]]++;
    return counts[0]++ < 3;  // no more than four visits
}

// Goal: what has run out is not listed, though nobody has dropped it yet.
static void test_hold_lists_what_is_held(void **state) {
    (void)state;
    uint32_t counts[16] = {0};
    session_holds_each(&holds, 1000 * MS, count_hold, counts);
    assert_int_equal(counts[0], 0);
    assert_true(take(1, 7, 1000));
    assert_true(take(2, 8, 1050));
    assert_true(take(3, 8, 1050));
    session_holds_each(&holds, 1060 * MS, count_hold, counts);
    assert_int_equal(counts[7], 1);
    assert_int_equal(counts[8], 2);
    memset(counts, 0, sizeof(counts));
    session_holds_each(&holds, (1000 + LEASE_MS) * MS, count_hold, counts);
    assert_int_equal(counts[7], 0);
    assert_int_equal(counts[8], 2);
    for (uint32_t number = 10; number < 20; number++) {
        assert_true(take(number, 9, 1060));
    }
    memset(counts, 0, sizeof(counts));
    session_holds_each(&holds, 1070 * MS, count_hold, counts);
    assert_int_equal(counts[0], 4);
}

static void test_hold_is_bounded(void **state) {
    (void)state;
    for (uint32_t i = 0; i < SESSION_HOLDS_MAX; i++) {
        assert_true(take(i, 7, 1000));
    }
    assert_int_equal(mark_count("session.holds_full"), 0);
    assert_true(take(SESSION_HOLDS_MAX, 7, 1000));  // as if it were held
    assert_int_equal(mark_count("session.holds_full"), 1);
    assert_int_equal(holder(SESSION_HOLDS_MAX, 1000), 0);
    mem_fault_set(1);
    assert_true(take(SESSION_HOLDS_MAX, 7, 3000));
    mem_fault_set(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hold_has_one_holder_until_it_runs_out, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_hold_forgets_what_nobody_asks_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hold_lists_what_is_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hold_is_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
