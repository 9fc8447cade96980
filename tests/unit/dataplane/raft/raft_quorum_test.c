// SPDX-License-Identifier: Apache-2.0
// The arithmetic of majorities, against its definition by counting, and the window of messages in
// flight.
#include "dataplane/base/prng.h"
#include "dataplane/raft/raft_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint64_t value_of(uint32_t count, uint64_t a, uint64_t b, uint64_t c) {
    uint64_t values[RAFT_VOTERS_MAX] = {a, b, c};
    return raft__quorum_value(values, count);
}

// Two of two and three of four are a majority; one of two and two of four are not.
static void test_raft_quorum_value_small_sets(void **state) {
    (void)state;
    assert_int_equal(value_of(1, 7, 0, 0), 7);
    assert_int_equal(value_of(2, 7, 3, 0), 3);
    assert_int_equal(value_of(2, 3, 7, 0), 3);
    assert_int_equal(value_of(3, 9, 2, 5), 5);
    assert_int_equal(value_of(3, 9, 0, 0), 0);
    uint64_t four[RAFT_VOTERS_MAX] = {10, 20, 30, 40};
    assert_int_equal(raft__quorum_value(four, 4), 20);
    uint64_t nine[RAFT_VOTERS_MAX] = {9, 1, 8, 2, 7, 3, 6, 4, 5};
    assert_int_equal(raft__quorum_value(nine, 9), 5);
}

static uint32_t count_at_least(const uint64_t *values, uint32_t count, uint64_t v) {
    uint32_t result = 0;
    for (uint32_t i = 0; i < count; i++) {
        result += values[i] >= v ? 1 : 0;
    }
    return result;
}

// The value is the largest that a majority reaches.
static void test_raft_quorum_value_equals_its_definition(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 5);
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t count = (uint32_t)prng_between(&prng, 1, RAFT_VOTERS_MAX);
        uint64_t values[RAFT_VOTERS_MAX] = {0};
        uint64_t copy[RAFT_VOTERS_MAX] = {0};
        for (uint32_t i = 0; i < count; i++) {
            values[i] = prng_below(&prng, 6);
        }
        memcpy(copy, values, sizeof(copy));
        uint64_t v = raft__quorum_value(copy, count);
        assert_true(count_at_least(values, count, v) >= count / 2 + 1);
        assert_true(count_at_least(values, count, v + 1) < count / 2 + 1);
    }
}

// Won with a majority, lost when no majority is possible any more, open in between.
static void test_raft_quorum_vote_all_counts(void **state) {
    (void)state;
    for (uint32_t count = 1; count <= RAFT_VOTERS_MAX; count++) {
        uint32_t majority = count / 2 + 1;
        for (uint32_t yes = 0; yes <= count; yes++) {
            for (uint32_t no = 0; yes + no <= count; no++) {
                enum raft_vote expected = RAFT_VOTE_NONE;
                if (count - no < majority) { expected = RAFT_VOTE_NO; }
                if (yes >= majority) { expected = RAFT_VOTE_YES; }
                assert_int_equal(raft__quorum_vote(yes, no, count), expected);
            }
        }
    }
}

struct half {
    uint32_t count;
    uint32_t have;
};

// A majority of both sets has at least the value, and of no larger one. Who belongs to which set,
// this replica included, is drawn; nobody need be in either.
static void test_raft_quorum_of_a_joint_membership_equals_its_definition(void **state) {
    (void)state;
    static const enum raft_quantity quantities[] = {RAFT_QUANTITY_MATCH, RAFT_QUANTITY_HEARD,
                                                    RAFT_QUANTITY_READ_ROUND};
    struct prng prng;
    prng_init(&prng, 8);
    static struct raft_core core;
    uint32_t joint = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        core = (struct raft_core){.peer_count = 1 + (uint32_t)prng_below(&prng, 8)};
        core.voter = prng_chance(&prng, 2, 3);
        core.outgoing = prng_chance(&prng, 1, 3);
        core.log.durable = prng_below(&prng, 6);
        core.peers[0].voter = true;
        for (uint32_t i = 0; i < core.peer_count; i++) {
            struct raft_progress *peer = &core.peers[i];
            peer->voter = i == 0 || prng_chance(&prng, 1, 2);
            peer->outgoing = core.outgoing && prng_chance(&prng, 1, 2);
            peer->match = peer->heard_ns = peer->read_round = prng_below(&prng, 6);
        }
        joint += core.outgoing ? 1 : 0;
        for (uint32_t q = 0; q < 3; q++) {
            uint64_t own = quantities[q] == RAFT_QUANTITY_MATCH ? core.log.durable : UINT64_MAX;
            uint64_t v = raft__quorum_of(&core, quantities[q]);
            for (uint64_t limit = 0; limit <= 6; limit++) {
                struct half newer = {core.voter ? 1 : 0, core.voter && own >= limit ? 1 : 0};
                struct half older = {core.outgoing ? 1 : 0, core.outgoing && own >= limit ? 1 : 0};
                for (uint32_t i = 0; i < core.peer_count; i++) {
                    const struct raft_progress *peer = &core.peers[i];
                    newer.count += peer->voter ? 1 : 0;
                    newer.have += peer->voter && peer->match >= limit ? 1 : 0;
                    older.count += peer->outgoing ? 1 : 0;
                    older.have += peer->outgoing && peer->match >= limit ? 1 : 0;
                }
                bool reached = newer.have > newer.count / 2 &&
                               (older.count == 0 || older.have > older.count / 2);
                assert_int_equal(v >= limit, reached);
            }
        }
    }
    assert_true(joint > 1000);
}

static enum raft_vote vote_of(uint32_t yes, uint32_t no, uint32_t count) {
    return raft__quorum_vote(yes, no, count);
}

// Won with both sets, lost with one of them.
static void test_raft_votes_of_a_joint_membership_need_both(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 9);
    static struct raft_core core;
    uint32_t results[3] = {0};
    for (uint32_t round = 0; round < 20000; round++) {
        core = (struct raft_core){.peer_count = 1 + (uint32_t)prng_below(&prng, 6)};
        core.self_vote = RAFT_VOTE_YES;
        core.voter = prng_chance(&prng, 2, 3);
        core.outgoing = prng_chance(&prng, 1, 2);
        uint32_t newer[3] = {0};
        uint32_t older[3] = {0};
        newer[RAFT_VOTE_YES] = core.voter ? 1 : 0;
        older[RAFT_VOTE_YES] = core.outgoing ? 1 : 0;
        for (uint32_t i = 0; i < core.peer_count; i++) {
            struct raft_progress *peer = &core.peers[i];
            peer->voter = i == 0 || prng_chance(&prng, 1, 2);
            peer->outgoing = core.outgoing && prng_chance(&prng, 1, 2);
            peer->vote = (enum raft_vote)prng_below(&prng, 3);
            newer[peer->vote] += peer->voter ? 1 : 0;
            older[peer->vote] += peer->outgoing ? 1 : 0;
        }
        enum raft_vote a = vote_of(newer[1], newer[2], newer[0] + newer[1] + newer[2]);
        enum raft_vote b = a;
        if (core.outgoing) { b = vote_of(older[1], older[2], older[0] + older[1] + older[2]); }
        enum raft_vote expected = RAFT_VOTE_NONE;
        if (a == RAFT_VOTE_YES && b == RAFT_VOTE_YES) { expected = RAFT_VOTE_YES; }
        if (a == RAFT_VOTE_NO || b == RAFT_VOTE_NO) { expected = RAFT_VOTE_NO; }
        assert_int_equal(raft__quorum_votes(&core), expected);
        results[expected]++;
    }
    assert_true(results[0] > 1000 && results[1] > 1000 && results[2] > 1000);
}

// However many messages are in flight, the count is exact or, once slots are shared, too high;
// never too low, and zero when all is acknowledged.
static void test_raft_window_never_counts_too_few(void **state) {
    (void)state;
    static const uint32_t limits[] = {1, 3, 16, 17, 256};
    for (uint32_t k = 0; k < sizeof(limits) / sizeof(limits[0]); k++) {
        struct raft_window window = {0};
        struct prng prng;
        prng_init(&prng, k);
        uint64_t sent = 0;
        uint64_t acked = 0;
        for (uint32_t round = 0; round < 5000; round++) {
            if (window.messages < limits[k] && prng_chance(&prng, 2, 3)) {
                sent++;  // one entry a message
                raft__window_add(&window, sent, limits[k]);
            } else if (sent > acked) {
                acked += prng_between(&prng, 1, sent - acked);
                raft__window_free(&window, acked);
            }
            assert_true(window.messages >= sent - acked);
            assert_true(window.messages <= limits[k]);
            assert_true(window.used <= RAFT_WINDOW_SLOTS);
        }
        raft__window_free(&window, sent);
        assert_int_equal(window.messages, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_quorum_value_small_sets),
        cmocka_unit_test(test_raft_quorum_value_equals_its_definition),
        cmocka_unit_test(test_raft_quorum_vote_all_counts),
        cmocka_unit_test(test_raft_quorum_of_a_joint_membership_equals_its_definition),
        cmocka_unit_test(test_raft_votes_of_a_joint_membership_need_both),
        cmocka_unit_test(test_raft_window_never_counts_too_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
