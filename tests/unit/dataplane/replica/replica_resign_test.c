// SPDX-License-Identifier: Apache-2.0
// A node gives its leaderships away: by transfer, by stepping down, or not at all.
#include "dataplane/replica/replica_resign.h"

#include "dataplane/base/mark.h"
#include "tests/unit/dataplane/replica/replica_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SHARDS = 60 };

static int setup(void **state) {
    *state = cluster_create(SHARDS, CLUSTER_NODES);
    cluster_run(*state, 2000);
    assert_int_equal(cluster_led(*state, 1), SHARDS / 3);
    return 0;
}

static int setup_alone(void **state) {
    *state = cluster_create(SHARDS, 1);
    cluster_run(*state, 2000);
    assert_int_equal(cluster_led(*state, 1), SHARDS);
    return 0;
}

static int teardown(void **state) {
    cluster_destroy(*state);
    return 0;
}

static void give_away(struct cluster *cluster, uint32_t node) {
    replica_table_give_away(cluster->nodes[node - 1].table);
    cluster_turn(&cluster->nodes[node - 1]);
}

static bool drop_raft_of_one(struct cluster *self, const struct cluster_letter *letter) {
    (void)self;
    if (letter->type != PEER_RAFT || letter->from.v != 1) { return true; }
    bytes_unref(letter->body);
    return false;
}

// Goal: followers that are ready take over within round trips, and each gets its part.
static void test_replica_resign_offers_are_taken_at_once(void **state) {
    struct cluster *cluster = *state;
    assert_int_equal(cluster_put(cluster, 0), STATUS_OK);
    give_away(cluster, 1);
    cluster_run(cluster, 40);
    assert_int_equal(cluster_led(cluster, 1), 0);
    assert_int_equal(cluster_led(cluster, 2) + cluster_led(cluster, 3), SHARDS);
    assert_in_range(cluster_led(cluster, 2), SHARDS / 3 + 5, 2 * SHARDS / 3 - 5);
    cluster_run(cluster, 3000);  // and nothing is left that would step down later
    assert_int_equal(cluster_led(cluster, 2) + cluster_led(cluster, 3), SHARDS);
}

static void test_replica_resign_without_a_ready_voter_steps_down(void **state) {
    struct cluster *cluster = *state;
    cluster->cut = 1;
    cluster_run(cluster, 1200);  // their support has lapsed
    cluster->cut = 0;
    uint64_t before = mark_count("replica.resign.nobody_is_ready");
    struct replica *replica = cluster_replica(cluster, 1, 0);
    if (replica_is_leader(replica)) {
        give_away(cluster, 1);
        assert_true(mark_count("replica.resign.nobody_is_ready") > before);
    }
    assert_false(replica_is_leader(replica));
}

// Goal: whoever was offered a shard and does not take it leaves it without a leader for a moment,
// not with one that should not lead.
static void test_replica_resign_offer_that_is_not_taken_ends_in_a_step_down(void **state) {
    struct cluster *cluster = *state;
    cluster->filter = drop_raft_of_one;
    give_away(cluster, 1);
    cluster_run(cluster, 200);
    uint64_t before = mark_count("replica.resign.offer_not_taken");
    for (uint32_t i = 0; i < SHARDS; i += 3) {
        assert_true(replica_is_leader(cluster_replica(cluster, 1, i)));
    }
    cluster_run(cluster, 150);
    assert_int_equal(mark_count("replica.resign.offer_not_taken"), before + SHARDS / 3);
    cluster_run(cluster, 500);
    assert_int_equal(cluster_led(cluster, 1), 0);
    assert_int_equal(cluster_led(cluster, 2) + cluster_led(cluster, 3), SHARDS);
}

static void test_replica_resign_sick_table_neither_asks_nor_leads(void **state) {
    struct cluster *cluster = *state;
    struct cluster_node *node = &cluster->nodes[0];
    replica_table_resign(node->table, true);
    cluster_turn(node);
    assert_int_equal(cluster_led(cluster, 1), 0);
    uint64_t asked = node->sent[PEER_SUPPORT_REQUEST];
    replica_table_resign(node->table, false);  // for another reason: it is sick all the same
    cluster_run(cluster, 1000);
    assert_int_equal(cluster_led(cluster, 2) + cluster_led(cluster, 3), SHARDS);
    cluster->cut = 2;  // nobody but the sick one is left to vote for node 3, and it does
    cluster_run(cluster, 5000);
    assert_int_equal(cluster_led(cluster, 3), SHARDS);
    assert_int_equal(node->sent[PEER_SUPPORT_REQUEST], asked);
    // It alone has the latest entries of some shards, and leads them all the same not.
    cluster->cut = 3;
    cluster_run(cluster, 5000);
    assert_int_equal(cluster_led(cluster, 1), 0);
    assert_true(cluster_led(cluster, 2) < SHARDS);
    // Well again, it asks, and leads when it is its turn.
    replica_table_set_sick(node->table, false);
    cluster->cut = 0;
    cluster_run(cluster, 2000);
    give_away(cluster, 2);
    give_away(cluster, 3);
    cluster_run(cluster, 500);
    assert_true(cluster_led(cluster, 1) > 0);
}

// Goal: with a single voter there is nobody to give a shard to, so its clients keep it.
static void test_replica_resign_single_voter_stays(void **state) {
    struct cluster *cluster = *state;
    give_away(cluster, 1);
    cluster_run(cluster, 1000);
    assert_int_equal(cluster_led(cluster, 1), SHARDS);
    replica_table_resign(cluster->nodes[0].table, true);
    cluster_run(cluster, 1000);
    assert_int_equal(cluster_led(cluster, 1), SHARDS);
    assert_int_equal(cluster_put(cluster, 5), STATUS_OK);
}

int main(void) {
#define RESIGN_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        RESIGN_TEST(test_replica_resign_offers_are_taken_at_once),
        RESIGN_TEST(test_replica_resign_without_a_ready_voter_steps_down),
        RESIGN_TEST(test_replica_resign_offer_that_is_not_taken_ends_in_a_step_down),
        RESIGN_TEST(test_replica_resign_sick_table_neither_asks_nor_leads),
        cmocka_unit_test_setup_teardown(test_replica_resign_single_voter_stays, setup_alone,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
