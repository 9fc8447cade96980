// SPDX-License-Identifier: Apache-2.0
// Peers that leave requests without an answer, whoever asked.
#include "txn/session/session_silence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { INTERVAL = 500 };

static struct session_silences silences;
static const struct node_id node = {7};

static int setup(void **state) {
    (void)state;
    silences = (struct session_silences){0};
    return 0;
}

static bool is_silent(uint64_t now_ns) {
    return session_silences_is_silent(&silences, node, now_ns, INTERVAL);
}

static void test_session_silence_is_a_while_without_any_answer(void **state) {
    (void)state;
    assert_false(is_silent(1000));
    session_silences_asked(&silences, node, 1000);
    session_silences_asked(&silences, node, 1400);
    assert_false(is_silent(1499));
    assert_true(is_silent(1500));
    assert_false(session_silences_is_silent(&silences, (struct node_id){8}, 1500, INTERVAL));
}

static void test_session_silence_ends_with_an_answer_to_anybody(void **state) {
    (void)state;
    session_silences_heard(&silences, node);  // of nobody that was asked
    session_silences_asked(&silences, node, 1000);
    session_silences_asked(&silences, node, 1400);
    session_silences_heard(&silences, node);
    assert_false(is_silent(1600));
    // It begins with the first request after it.
    session_silences_asked(&silences, node, 1700);
    session_silences_asked(&silences, node, 2100);
    assert_false(is_silent(2199));
    assert_true(is_silent(2200));
}

// Otherwise nobody would find out that it is back.
static void test_session_silence_lets_one_ask_in_an_interval(void **state) {
    (void)state;
    session_silences_asked(&silences, node, 1000);
    assert_false(is_silent(1600));
    session_silences_asked(&silences, node, 1600);
    assert_true(is_silent(1601));
    assert_true(is_silent(2099));
    assert_false(is_silent(2100));
    session_silences_asked(&silences, node, 2100);
    assert_true(is_silent(2101));
}

static void test_session_silence_knows_an_attempt_in_which_nothing_came(void **state) {
    (void)state;
    session_silences_asked(&silences, node, 1000);
    session_silences_asked(&silences, node, 1100);
    assert_true(session_silences_answered_none_since(&silences, node, 1000));
    assert_true(session_silences_answered_none_since(&silences, node, 1100));
    session_silences_heard(&silences, node);
    assert_false(session_silences_answered_none_since(&silences, node, 1100));
    session_silences_asked(&silences, node, 1200);
    assert_false(session_silences_answered_none_since(&silences, node, 1100));
}

// Of more peers than there is room for the one asked longest ago counts as answering.
static void test_session_silence_forgets_when_there_are_too_many(void **state) {
    (void)state;
    for (uint32_t i = 0; i <= SESSION_SILENCE_PEERS_MAX; i++) {
        session_silences_asked(&silences, (struct node_id){i + 1}, 1000 + i);
    }
    const uint64_t now = 1700;
    assert_false(session_silences_is_silent(&silences, (struct node_id){1}, 1499, 1));
    for (uint32_t i = 1; i <= SESSION_SILENCE_PEERS_MAX; i++) {
        const struct node_id peer = {i + 1};
        session_silences_asked(&silences, peer, now);
        assert_true(session_silences_is_silent(&silences, peer, now, INTERVAL));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_session_silence_is_a_while_without_any_answer, setup),
        cmocka_unit_test_setup(test_session_silence_ends_with_an_answer_to_anybody, setup),
        cmocka_unit_test_setup(test_session_silence_lets_one_ask_in_an_interval, setup),
        cmocka_unit_test_setup(test_session_silence_knows_an_attempt_in_which_nothing_came, setup),
        cmocka_unit_test_setup(test_session_silence_forgets_when_there_are_too_many, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
