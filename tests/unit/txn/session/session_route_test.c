// SPDX-License-Identifier: Apache-2.0
// The routing rules, as tables.
#include "txn/session/session_route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { CERTIFIED = 1, ENTERED = 2, LEADER = 4, NEWER = 8, MAYBE = 16, HOPPED = 32, LOCKED = 64 };

struct rule {
    const char *story;
    enum command_kind kind;
    enum status status;
    unsigned facts;
    enum session_step step;
    bool maybe_applied;
};

#define NOW    SESSION_RETRY_NOW
#define LATER  SESSION_RETRY_LATER
#define FINISH SESSION_FINISH
#define COMMIT COMMAND_COMMIT
#define READ   COMMAND_READ

static const struct rule rules[] = {
    {"committed", COMMIT, STATUS_OK, CERTIFIED, FINISH, false},
    {"committed by the second attempt", COMMIT, STATUS_OK, CERTIFIED | MAYBE, FINISH, true},
    {"decided otherwise", COMMIT, STATUS_CONDITION_FAILED, CERTIFIED | MAYBE, FINISH, true},
    {"id reused", COMMIT, STATUS_INVALID_ARGUMENT, CERTIFIED | MAYBE, FINISH, true},
    {"no outcome kept", COMMAND_TXN_STATUS, STATUS_NOT_FOUND, CERTIFIED, FINISH, false},
    {"rows", READ, STATUS_OK, CERTIFIED, FINISH, false},
    {"exists", COMMAND_CATALOG, STATUS_ALREADY_EXISTS, CERTIFIED | MAYBE, FINISH, true},

    {"follower with a hint", COMMIT, STATUS_NOT_LEADER, LEADER, NOW, false},
    {"follower with a hint, after a loss", COMMIT, STATUS_NOT_LEADER, LEADER | MAYBE, NOW, true},
    {"follower without", COMMIT, STATUS_NOT_LEADER, 0, LATER, false},
    {"hints that go round", READ, STATUS_NOT_LEADER, LEADER | HOPPED, LATER, false},

    {"newer map", COMMIT, STATUS_STALE_SHARD_MAP, NEWER, NOW, false},
    {"newer map, after a loss", COMMIT, STATUS_STALE_SHARD_MAP, NEWER | MAYBE, NOW, true},
    {"the replica is behind", COMMIT, STATUS_STALE_SHARD_MAP, 0, LATER, false},
    {"maps that go round", READ, STATUS_STALE_SHARD_MAP, NEWER | HOPPED, LATER, false},

    {"leader not ready", COMMIT, STATUS_UNAVAILABLE, 0, LATER, false},
    {"proposal lost", COMMIT, STATUS_UNAVAILABLE, ENTERED, LATER, true},
    {"catalogue proposal lost", COMMAND_CATALOG, STATUS_UNAVAILABLE, ENTERED, LATER, true},
    {"not ready, after a loss", COMMIT, STATUS_UNAVAILABLE, MAYBE, LATER, true},
    {"a read cannot be applied", READ, STATUS_UNAVAILABLE, ENTERED, LATER, false},

    {"overload is told at once", COMMIT, STATUS_OVERLOADED, 0, FINISH, false},
    {"overload leaves a lost commit open", COMMIT, STATUS_OVERLOADED, MAYBE, LATER, true},
    {"clock", COMMIT, STATUS_CLOCK_AHEAD, 0, FINISH, false},
    {"clock, after a loss", COMMIT, STATUS_CLOCK_AHEAD, MAYBE, LATER, true},
    {"garbage", READ, STATUS_INVALID_ARGUMENT, 0, FINISH, false},
    {"refusal, after a loss", COMMIT, STATUS_INVALID_ARGUMENT, MAYBE, LATER, true},
    {"prepared", COMMAND_PREPARE, STATUS_OK, CERTIFIED | MAYBE, FINISH, true},
    {"prepare lost", COMMAND_PREPARE, STATUS_UNAVAILABLE, ENTERED, LATER, true},
    {"resolution lost", COMMAND_RESOLVE, STATUS_UNAVAILABLE, ENTERED, LATER, true},
    {"prepare waited in vain", COMMAND_PREPARE, STATUS_UNAVAILABLE, 0, LATER, false},
    {"a read of it is not the newest", COMMIT, STATUS_ABORTED_RETRY, CERTIFIED, FINISH, false},
    {"a lock is in the way", COMMIT, STATUS_ABORTED_RETRY, CERTIFIED | LOCKED, LATER, false},
    {"a lock, after a loss", COMMIT, STATUS_ABORTED_RETRY, CERTIFIED | LOCKED | MAYBE, LATER, true},
    {"its outcome is not decided yet", COMMAND_TXN_STATUS, STATUS_NOT_FOUND, CERTIFIED | LOCKED,
     LATER, false},
    {"too much to read", READ, STATUS_RESOURCE_EXHAUSTED, 0, FINISH, false},
};

static struct session_verdict judge(const struct rule *rule) {
    const struct session_judgement judgement = {
        .kind = rule->kind,
        .status = rule->status,
        .certified = (rule->facts & CERTIFIED) != 0,
        .entered_log = (rule->facts & ENTERED) != 0,
        .new_leader = (rule->facts & LEADER) != 0,
        .newer_map = (rule->facts & NEWER) != 0,
        .maybe_applied = (rule->facts & MAYBE) != 0,
        .locked = (rule->facts & LOCKED) != 0,
        .hops = (rule->facts & HOPPED) != 0 ? SESSION_HOPS_MAX : SESSION_HOPS_MAX - 1,
    };
    return session_route_judge(&judgement);
}

static void test_session_route_judges_as_the_table_says(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct session_verdict verdict = judge(&rules[i]);
        if (verdict.step != rules[i].step || verdict.maybe_applied != rules[i].maybe_applied) {
            fail_msg("%s: step %d maybe %d", rules[i].story, (int)verdict.step,
                     verdict.maybe_applied);
        }
        if (verdict.step == FINISH) { assert_int_equal(verdict.status, rules[i].status); }
    }
}

// For every status and every combination of facts: a commit that may have been applied ends only
// with a certificate or OK, and is never forgotten to be one.
static void test_session_route_never_ends_a_lost_commit_as_a_failure(void **state) {
    (void)state;
    for (int status = STATUS_OK; status < STATUS_COUNT; status++) {
        for (unsigned facts = 0; facts < 64; facts++) {
            const struct rule rule = {"", COMMIT, (enum status)status, facts | MAYBE, FINISH, true};
            const struct session_verdict verdict = judge(&rule);
            assert_true(verdict.maybe_applied);
            if (verdict.step == FINISH) {
                assert_true((facts & CERTIFIED) != 0 || status == STATUS_OK);
            }
        }
    }
}

static void test_session_route_gives_up_honestly(void **state) {
    (void)state;
    assert_int_equal(session_route_give_up(COMMIT, false, STATUS_DEADLINE_EXCEEDED),
                     STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(session_route_give_up(COMMIT, true, STATUS_DEADLINE_EXCEEDED),
                     STATUS_UNKNOWN_OUTCOME);
    assert_int_equal(session_route_give_up(COMMAND_CATALOG, true, STATUS_CANCELLED),
                     STATUS_UNKNOWN_OUTCOME);
    assert_int_equal(session_route_give_up(READ, false, STATUS_CANCELLED), STATUS_CANCELLED);
}

struct choice {
    const char *story;
    bool self_leads;
    uint32_t hint;
    uint32_t avoid;
    uint32_t rotor;
    uint32_t expected;
};

// This node is 1; the shard is on 1, 2 and 3.
static const struct choice choices[] = {
    {"own replica leads", true, 2, 0, 0, 1},
    {"the hint", false, 3, 0, 0, 3},
    {"the hint over the rotor", false, 3, 0, 1, 3},
    {"the hint is this node, wrongly", false, 1, 0, 0, 2},
    {"the hint refused", false, 2, 2, 0, 3},
    {"no hint", false, 0, 0, 1, 2},
    {"no hint, next", false, 0, 0, 2, 3},
    {"no hint, one refused", false, 0, 3, 2, 2},
    {"a hint beyond the known replicas", false, 9, 0, 0, 9},
};

static void test_session_route_chooses_as_the_table_says(void **state) {
    (void)state;
    const struct node_id nodes[] = {{1}, {2}, {3}};
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        const struct session_candidates candidates = {.self = {1},
                                                      .self_leads = choices[i].self_leads,
                                                      .hint = {choices[i].hint},
                                                      .avoid = {choices[i].avoid},
                                                      .nodes = nodes,
                                                      .count = 3,
                                                      .rotor = choices[i].rotor};
        if (session_route_target(&candidates).v != choices[i].expected) {
            fail_msg("%s: node %u", choices[i].story, session_route_target(&candidates).v);
        }
    }
}

struct near_choice {
    const char *story;
    bool self_has;
    uint32_t leader;
    uint32_t rotor;
    uint64_t distances[4];
    uint32_t expected;
};

// This node is 1; the shard is on 2, 3, 4 and 5, or on this one too.
static const struct near_choice near_choices[] = {
    {"own replica", true, 2, 0, {9, 1, 1, 1}, 1},
    {"own replica leads", true, 1, 0, {9, 1, 1, 1}, 1},
    {"the nearest", false, 2, 0, {1, 9, 5, 7}, 4},
    {"the nearest, leader unknown", false, 0, 0, {4, 9, 5, 7}, 2},
    {"equally near: the next in turn", false, 2, 2, {1, 5, 5, 5}, 4},
    {"equally near: the one after", false, 2, 3, {1, 5, 5, 5}, 5},
    {"equally near: never the leader", false, 2, 4, {1, 5, 5, 5}, 3},
};

static void test_session_route_asks_the_nearest_for_what_is_closed(void **state) {
    (void)state;
    const struct node_id nodes[] = {{2}, {3}, {4}, {5}};
    for (size_t i = 0; i < sizeof(near_choices) / sizeof(near_choices[0]); i++) {
        struct session_nearest nearest = {.self = {1},
                                          .self_has = near_choices[i].self_has,
                                          .leader = {near_choices[i].leader},
                                          .nodes = nodes,
                                          .distances = near_choices[i].distances,
                                          .count = 4,
                                          .rotor = near_choices[i].rotor};
        if (session_route_nearest(&nearest).v != near_choices[i].expected) {
            fail_msg("%s: node %u", near_choices[i].story, session_route_nearest(&nearest).v);
        }
    }
    // The leader rather than nobody; nobody rather than this node, which has no replica.
    struct session_nearest only = {.self = {1}, .leader = {2}, .nodes = nodes, .count = 1};
    assert_int_equal(session_route_nearest(&only).v, 2);
    only.leader.v = 1;
    only.count = 0;
    assert_int_equal(session_route_nearest(&only).v, 0);
}

static void test_session_route_asks_the_avoided_rather_than_nobody(void **state) {
    (void)state;
    const struct node_id nodes[] = {{1}, {2}};
    struct session_candidates candidates = {.self = {1}, .avoid = {2}, .nodes = nodes, .count = 2};
    assert_int_equal(session_route_target(&candidates).v, 2);
    candidates.count = 1;
    assert_int_equal(session_route_target(&candidates).v, 0);
    candidates.count = 0;
    assert_int_equal(session_route_target(&candidates).v, 0);
}

static void test_session_route_backs_off_from_2_to_100_ms(void **state) {
    (void)state;
    assert_int_equal(session_route_backoff_ns(0, 0), 2000000);
    assert_int_equal(session_route_backoff_ns(0, 1999999), 3999999);
    assert_int_equal(session_route_backoff_ns(1, 0), 4000000);
    assert_int_equal(session_route_backoff_ns(5, 0), 64000000);
    assert_int_equal(session_route_backoff_ns(6, 0), 100000000);
    assert_int_equal(session_route_backoff_ns(UINT32_MAX, UINT64_MAX), 100000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_route_judges_as_the_table_says),
        cmocka_unit_test(test_session_route_never_ends_a_lost_commit_as_a_failure),
        cmocka_unit_test(test_session_route_gives_up_honestly),
        cmocka_unit_test(test_session_route_chooses_as_the_table_says),
        cmocka_unit_test(test_session_route_asks_the_nearest_for_what_is_closed),
        cmocka_unit_test(test_session_route_asks_the_avoided_rather_than_nobody),
        cmocka_unit_test(test_session_route_backs_off_from_2_to_100_ms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
