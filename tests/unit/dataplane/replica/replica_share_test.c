// SPDX-License-Identifier: Apache-2.0
// What many shards cost when nothing happens, and that elections of thousands of them end.
#include "dataplane/base/mark.h"
#include "tests/unit/dataplane/replica/replica_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MANY = 1500, FEW = 6, ELECTIONS_MAX = 128 };

static int setup_few(void **state) {
    *state = cluster_create(FEW, CLUSTER_NODES);
    cluster_run(*state, 4000);
    return 0;
}

static int setup_many(void **state) {
    *state = cluster_create(MANY, CLUSTER_NODES);
    return 0;
}

static int teardown(void **state) {
    cluster_destroy(*state);
    return 0;
}

static struct replica_frontiers frontiers(struct cluster *cluster, uint32_t node, uint32_t place) {
    struct replica_frontiers out;
    replica_frontiers(cluster_replica(cluster, node, place), &out);
    return out;
}

static bool drop_frontiers(struct cluster *self, const struct cluster_letter *letter) {
    (void)self;
    if (letter->type != PEER_FRONTIER) { return true; }
    bytes_unref(letter->body);
    return false;
}

static bool drop_raft(struct cluster *self, const struct cluster_letter *letter) {
    (void)self;
    if (letter->type != PEER_RAFT) { return true; }
    bytes_unref(letter->body);
    return false;
}

// --- The side channel

static void test_replica_share_idle_shards_say_nothing(void **state) {
    struct cluster *cluster = *state;
    uint64_t before = cluster->nodes[0].sent[PEER_FRONTIER];
    uint64_t raft = cluster->nodes[0].sent[PEER_RAFT];
    cluster_run(cluster, 5000);
    assert_int_equal(cluster->nodes[0].sent[PEER_FRONTIER], before);
    assert_int_equal(cluster->nodes[0].sent[PEER_RAFT], raft);
}

// Goal: before a shard falls silent its followers have heard all there is to hear.
static void test_replica_share_settled_shard_has_told_everything(void **state) {
    struct cluster *cluster = *state;
    assert_int_equal(cluster_put(cluster, 1), STATUS_OK);
    cluster_run(cluster, 1500);
    struct replica_frontiers leader = frontiers(cluster, 2, 1);
    assert_int_equal(leader.role, RAFT_LEADER);
    assert_int_equal(leader.applied, leader.last);
    assert_int_equal(leader.closed.v, leader.ceiling.v);
    for (uint32_t node = 1; node <= CLUSTER_NODES; node++) {
        struct replica_frontiers f = frontiers(cluster, node, 1);
        assert_int_equal(f.applied, leader.last);
        assert_int_equal(f.closed.v, leader.closed.v);
    }
}

static void test_replica_share_one_busy_shard_is_told_alone(void **state) {
    struct cluster *cluster = *state;
    uint64_t count = cluster->nodes[1].sent[PEER_FRONTIER];
    uint64_t bytes = cluster->nodes[1].sent_bytes[PEER_FRONTIER];
    assert_int_equal(cluster_put(cluster, 1), STATUS_OK);
    cluster_run(cluster, 400);
    count = cluster->nodes[1].sent[PEER_FRONTIER] - count;
    bytes = cluster->nodes[1].sent_bytes[PEER_FRONTIER] - bytes;
    assert_in_range(count, 2 * 18, 2 * 21);  // two peers, every 20 ms
    assert_true(bytes / count < 24);         // one shard's
    assert_int_equal(cluster->nodes[0].sent[PEER_FRONTIER] % 2, 0);
}

// Goal: followers that heard none of a shard's last words hear them from the next round of chunks.
static void test_replica_share_lost_last_words_are_repeated(void **state) {
    struct cluster *cluster = *state;
    cluster->filter = drop_frontiers;
    assert_int_equal(cluster_put(cluster, 0), STATUS_OK);
    cluster_run(cluster, 4500);
    struct replica_frontiers leader = frontiers(cluster, 1, 0);
    for (uint32_t node = 2; node <= CLUSTER_NODES; node++) {
        struct replica_frontiers f = frontiers(cluster, node, 0);
        assert_int_equal(f.applied, leader.last);
        assert_int_equal(f.closed.v, leader.closed.v);
    }
}

// Goal: what a node sends does not grow with the idle shards but for the rounds of its list.
static void test_replica_share_cost_of_many_idle_shards_is_small(void **state) {
    struct cluster *cluster = *state;
    cluster_run(cluster, 6000);
    const struct cluster_node *node = &cluster->nodes[0];
    uint64_t messages = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < PEER_MESSAGE_TYPE_COUNT; i++) {
        messages -= node->sent[i];
        bytes -= node->sent_bytes[i];
    }
    cluster_run(cluster, 10000);
    for (uint32_t i = 0; i < PEER_MESSAGE_TYPE_COUNT; i++) {
        messages += node->sent[i];
        bytes += node->sent_bytes[i];
    }
    assert_true(messages < 10 * 2 * (10 + 10 + 50));  // support both ways, chunks; two peers
    assert_true(bytes < 10 * 2 * (10 * 100 + MANY / 3 * 20 / 2 + 50 * 20));
}

// --- Elections

// Runs until every shard is led, at most so long; how long it took.
static uint64_t until_led(struct cluster *cluster, uint64_t ms_max) {
    for (uint64_t ms = 0; ms < ms_max; ms += 20) {
        uint32_t led = 0;
        for (uint32_t i = 0; i < cluster->shard_count; i++) {
            led += cluster_leader(cluster, i) != 0;
        }
        if (led == cluster->shard_count) { return ms; }
        cluster_run(cluster, 20);
    }
    fail_msg("not all shards were led in time");
    return ms_max;
}

static uint32_t campaigning(struct cluster *cluster, uint32_t node) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < cluster->shard_count; i++) {
        enum raft_role role = frontiers(cluster, node, i).role;
        count += role == RAFT_PRECANDIDATE || role == RAFT_CANDIDATE;
    }
    return count;
}

static void test_replica_pace_new_shards_go_to_their_first_leaders(void **state) {
    struct cluster *cluster = *state;
    (void)until_led(cluster, 1500);
    for (uint32_t node = 1; node <= CLUSTER_NODES; node++) {
        assert_in_range(cluster_led(cluster, node), MANY / 3 - 50, MANY / 3 + 50);
    }
}

// Goal: a node dies; all its shards notice within one support duration, and few elect at a time.
static void test_replica_pace_death_of_a_node_is_noticed_at_once_and_elected_in_turn(void **state) {
    struct cluster *cluster = *state;
    (void)until_led(cluster, 1500);
    cluster_run(cluster, 2000);
    uint32_t led = cluster_led(cluster, 3);
    cluster->cut = 3;
    uint64_t deferred = mark_count("replica.pace.election_deferred");
    cluster_run(cluster, 1000);
    for (uint32_t i = 0; i < MANY; i++) {
        uint64_t term = 0;
        assert_int_not_equal(replica_leader(cluster_replica(cluster, 1, i), &term).v, 3);
    }
    uint64_t ms = 0;
    for (; cluster_led(cluster, 1) + cluster_led(cluster, 2) < MANY; ms += 10) {
        assert_true(ms < 1500);
        // Those of one window, and of the window before that did not end.
        assert_true(campaigning(cluster, 1) <= 2 * ELECTIONS_MAX + ELECTIONS_MAX);
        cluster_run(cluster, 10);
    }
    assert_true(mark_count("replica.pace.election_deferred") > deferred + led);
}

// Goal: elections that cannot be won do not block those that can, once they can.
static void test_replica_pace_all_shards_come_back_with_the_quorum(void **state) {
    struct cluster *cluster = *state;
    (void)until_led(cluster, 1500);
    // Only the messages of elections get lost: everybody tries, nobody wins.
    cluster->filter = drop_raft;
    for (uint32_t node = 1; node <= CLUSTER_NODES; node++) {
        replica_table_resign(cluster->nodes[node - 1].table, false);
        cluster_turn(&cluster->nodes[node - 1]);
    }
    cluster_run(cluster, 4000);
    assert_int_equal(cluster_led(cluster, 1) + cluster_led(cluster, 3), 0);
    cluster->filter = NULL;
    (void)until_led(cluster, 2000);
}

int main(void) {
#define FEW_TEST(name)  cmocka_unit_test_setup_teardown(name, setup_few, teardown)
#define MANY_TEST(name) cmocka_unit_test_setup_teardown(name, setup_many, teardown)
    const struct CMUnitTest tests[] = {
        FEW_TEST(test_replica_share_idle_shards_say_nothing),
        FEW_TEST(test_replica_share_settled_shard_has_told_everything),
        FEW_TEST(test_replica_share_one_busy_shard_is_told_alone),
        FEW_TEST(test_replica_share_lost_last_words_are_repeated),
        MANY_TEST(test_replica_share_cost_of_many_idle_shards_is_small),
        MANY_TEST(test_replica_pace_new_shards_go_to_their_first_leaders),
        MANY_TEST(test_replica_pace_death_of_a_node_is_noticed_at_once_and_elected_in_turn),
        MANY_TEST(test_replica_pace_all_shards_come_back_with_the_quorum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
