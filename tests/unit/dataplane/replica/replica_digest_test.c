// SPDX-License-Identifier: Apache-2.0
// replica_digest_test.c - replicas compare their state; the odd one is rebuilt, whoever it is.

#include "dataplane/base/mark.h"
#include "dataplane/replica/replica_room.h"
#include "tests/unit/dataplane/replica/replica_world.h"

// cmocka wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct world *make(uint32_t nodes) {
    mark_reset_all();
    struct world *world = world_create(nodes, nodes, 11);
    world->digest_interval_ns = 300000000;
    return world;
}

static struct world *run(struct world *world) {
    for (uint32_t i = 1; i <= world->node_count; i++) {
        world_start(world, i, i == 1);
    }
    world_run(world, 500);
    assert_int_equal(world_leader(world), 1);
    return world;
}

static struct world *start_with(uint32_t nodes, uint32_t slice_size) {
    struct world *world = make(nodes);
    world->digest_slice_size = slice_size;
    return run(world);
}

static struct world *start_paced(uint32_t nodes, uint64_t bytes_per_s) {
    struct world *world = make(nodes);
    world->digest_bytes_per_s = bytes_per_s;
    return run(world);
}

static struct world *start(uint32_t nodes) {
    return start_with(nodes, 0);
}

// A walk takes 24 steps of 5 ms.
static struct world *start_slow(uint32_t nodes) {
    return start_with(nodes, 4 * WORLD_RECORD_SIZE);
}

static void spoil(struct world *world, uint32_t number, uint32_t key) {
    world->diverged = true;
    world_node(world, number)->state.values[key] ^= 1;
}

static void test_digest_of_equal_replicas_changes_nothing(void **state) {
    (void)state;
    struct world *world = start(3);
    world_puts(world, 20);
    world_run(world, 1000);
    struct replica_frontiers f = world_frontiers(world, 2);
    assert_true(f.digest_index > 0);
    assert_int_equal(f.digest, world_frontiers(world, 1).digest);
    assert_int_equal(world_node(world, 2)->ingests_begun, 0);
    uint64_t last = f.last;
    world_run(world, 5000);  // nothing is written: nothing is compared
    assert_int_equal(world_frontiers(world, 2).last, last);
    world_destroy(world);
}

static void test_digest_that_differs_has_the_follower_rebuilt(void **state) {
    (void)state;
    struct world *world = start(3);
    world_puts(world, 10);
    world_run(world, 1000);
    spoil(world, 3, 5);
    world_puts(world, 1);
    assert_true(world_run_until(world, 10000, world_is_equal));
    assert_true(mark_count("replica.digest.differs") > 0);
    assert_true(mark_count("replica.digest.fenced") > 0);
    assert_int_equal(world_node(world, 3)->ingests_ended, 1);
    assert_int_equal(world_node(world, 1)->ingests_begun, 0);
    assert_int_equal(world_leader(world), 1);
    world_puts(world, 5);
    world_run(world, 1500);
    assert_true(world_is_equal(world));
    world_destroy(world);
}

static void test_digest_that_differs_makes_the_leader_resign_first(void **state) {
    (void)state;
    struct world *world = start(3);
    world_puts(world, 10);
    world_run(world, 1000);
    spoil(world, 1, 5);
    world_puts(world, 1);
    assert_true(world_run_until(world, 20000, world_is_equal));
    assert_int_equal(world_node(world, 1)->ingests_ended, 1);
    assert_int_equal(world_node(world, 2)->ingests_begun, 0);
    assert_int_equal(world_node(world, 3)->ingests_begun, 0);
    world_destroy(world);
}

static void test_digest_without_a_majority_destroys_nothing(void **state) {
    (void)state;
    struct world *world = start(3);
    world_puts(world, 10);
    world_run(world, 1000);
    spoil(world, 1, 5);
    spoil(world, 2, 6);
    world_puts(world, 1);
    world_run(world, 5000);
    assert_true(mark_count("replica.digest.split") > 0);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(world_node(world, i)->ingests_begun, 0);
        assert_int_equal(world_frontiers(world, i).health, RAFT_WHOLE);
    }
    world_destroy(world);
}

static bool lose_verdicts(struct world *world, const struct world_letter *letter) {
    (void)world;
    return letter->type != PEER_DIGEST || letter->from.v != 1;
}

static void test_digest_verdict_that_is_lost_is_repeated(void **state) {
    (void)state;
    struct world *world = start(3);
    world_puts(world, 10);
    world_run(world, 1000);
    spoil(world, 2, 5);
    world->filter = lose_verdicts;
    world_puts(world, 1);
    world_run(world, 450);
    assert_int_equal(world_node(world, 2)->ingests_begun, 0);
    world->filter = NULL;
    assert_true(world_run_until(world, 10000, world_is_equal));
    assert_int_equal(world_node(world, 2)->ingests_ended, 1);
    world_destroy(world);
}

// Two of five differ, each in its own way.
static void test_digest_heals_a_minority_of_five(void **state) {
    (void)state;
    struct world *world = start(5);
    world_puts(world, 10);
    world_run(world, 1000);
    spoil(world, 2, 5);
    spoil(world, 4, 7);
    world_puts(world, 1);
    assert_true(world_run_until(world, 20000, world_is_equal));
    assert_int_equal(world_node(world, 2)->ingests_ended, 1);
    assert_int_equal(world_node(world, 4)->ingests_ended, 1);
    assert_int_equal(world_node(world, 3)->ingests_begun, 0);
    world_destroy(world);
}

static bool all_walk(struct world *world) {
    for (uint32_t i = 1; i <= world->node_count; i++) {
        if (world_node(world, i)->up && world_node(world, i)->digests_open == 0) { return false; }
    }
    return true;
}

static bool none_walks(struct world *world) {
    for (uint32_t i = 1; i <= world->node_count; i++) {
        if (world_node(world, i)->digests_open > 0) { return false; }
    }
    return true;
}

// Goal: however much is written meanwhile, the digest is that of its index on every replica; and no
// step walks more than its slice.
static void test_digest_of_a_slow_walk_is_of_its_index(void **state) {
    (void)state;
    struct world *world = start_slow(3);
    uint64_t last = 0;
    uint32_t digests = 0;
    for (uint32_t i = 0; i < 200; i++) {
        world_puts(world, 1);
        struct replica_frontiers f = world_frontiers(world, 1);
        if (f.digest_index == last) { continue; }
        last = f.digest_index;
        digests++;
        assert_int_equal(f.digest, world->history[last]);
        assert_true(f.applied > last + 5);
    }
    assert_in_range(digests, 4, 8);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(world_node(world, i)->digest_records_max, 4);
        assert_int_equal(world_node(world, i)->ingests_begun, 0);
    }
    assert_int_equal(mark_count("replica.digest.differs"), 0);
    world_destroy(world);
}

static void test_digest_that_differs_is_found_by_slow_walks(void **state) {
    (void)state;
    struct world *world = start_slow(3);
    world_puts(world, 10);
    assert_true(world_run_until(world, 1000, all_walk));
    spoil(world, 3, 95);  // behind what the view shows: this round ends well
    assert_true(world_run_until(world, 1000, none_walks));
    world_run(world, 10);
    assert_int_equal(mark_count("replica.digest.differs"), 0);
    world_puts(world, 5);
    assert_true(world_run_until(world, 10000, world_is_equal));
    assert_int_equal(mark_count("replica.digest.fenced"), 1);
    assert_int_equal(world_node(world, 3)->ingests_ended, 1);
    world_destroy(world);
}

// The walk of a node that goes is closed (the world asserts it), and nothing is said of it later.
static void test_digest_walk_ends_with_the_node(void **state) {
    (void)state;
    struct world *world = start_slow(3);
    world_puts(world, 10);
    assert_true(world_run_until(world, 1000, all_walk));
    world_crash(world, 3, true);
    world_run(world, 50);
    world_start(world, 3, false);
    world_puts(world, 20);
    world_run(world, 2000);
    assert_true(world_is_equal(world));
    assert_int_equal(mark_count("replica.digest.differs"), 0);
    assert_true(world_frontiers(world, 3).digest_index > 0);
    world_destroy(world);
}

static bool third_takes_in(struct world *world) {
    return world_node(world, 3)->ingests_begun > 0;
}

// A snapshot replaces a state whose walk goes on: neither that walk nor an earlier digest speaks
// for the new one.
static void test_digest_walk_ends_with_the_state(void **state) {
    (void)state;
    struct world *world = start_with(3, 1);  // half a second
    world_puts(world, 10);
    world_run(world, 2000);
    assert_true(world_frontiers(world, 3).digest_index > 0);
    world_puts(world, 1);
    assert_true(world_run_until(world, 1000, all_walk));
    world->cut[2] = true;
    world_puts(world, 30);
    world->cut[2] = false;
    assert_int_equal(world_node(world, 3)->digests_open, 1);
    assert_true(world_run_until(world, 200, third_takes_in));
    assert_int_equal(world_node(world, 3)->digests_open, 0);
    assert_int_equal(world_frontiers(world, 3).digest_index, 0);
    world_puts(world, 5);
    world_run(world, 3000);
    assert_true(world_is_equal(world));
    assert_int_equal(world_node(world, 3)->ingests_begun, 1);
    assert_int_equal(mark_count("replica.digest.differs"), 0);
    world_destroy(world);
}

static void test_digest_walk_ends_with_the_replica(void **state) {
    (void)state;
    struct world *world = start_slow(3);
    world_puts(world, 10);
    assert_true(world_run_until(world, 1000, all_walk));
    struct world_node *node = world_node(world, 3);
    assert_int_equal(replica_table_remove(node->table, WORLD_SHARD), STATUS_OK);
    assert_int_equal(node->digests_open, 0);
    assert_int_equal(node->removed, 1);
    world_run(world, 1000);
    assert_int_equal(mark_count("replica.digest.differs"), 0);
    world_destroy(world);
}

// A view of the store would keep the files that a full disk wants to drop.
static void test_digest_walk_ends_on_a_full_disk(void **state) {
    (void)state;
    struct world *world = start_slow(3);
    world_puts(world, 10);
    assert_true(world_run_until(world, 1000, all_walk));
    replica_table_set_room(world_node(world, 2)->table, REPLICA_ROOM_RESERVE, "test");
    world_run(world, 10);
    assert_int_equal(world_node(world, 2)->digests_open, 0);
    assert_int_equal(world_node(world, 3)->digests_open, 1);
    assert_int_equal(mark_count("replica.digest.given_up"), 1);
    world_puts(world, 5);
    assert_true(world_run_until(world, 1000, none_walks));
    world_puts(world, 50);
    assert_int_equal(world_node(world, 2)->digests_open, 0);
    replica_table_set_room(world_node(world, 2)->table, REPLICA_ROOM_ENOUGH, "");
    world_puts(world, 5);
    assert_true(world_run_until(world, 2000, all_walk));
    world_destroy(world);
}

static void test_digest_of_a_damaged_store_is_given_up(void **state) {
    (void)state;
    struct world *world = start(3);
    world->spoil_views = true;
    world_puts(world, 10);
    world_run(world, 1000);
    assert_true(mark_count("replica.digest.given_up") >= 3);
    assert_true(none_walks(world));
    assert_int_equal(world_frontiers(world, 1).digest_index, 0);
    world_destroy(world);
}

// Goal: a view does not pin the store for ever.
static void test_digest_that_takes_too_long_is_given_up(void **state) {
    (void)state;
    struct world *world = start_with(3, 1);
    world_puts(world, 10);
    assert_true(world_run_until(world, 1000, all_walk));
    world->now_ns += UINT64_C(300000000001);
    for (uint32_t i = 1; i <= 3; i++) {
        replica_table_on_time(world_node(world, i)->table);
        assert_int_equal(world_node(world, i)->digests_open, 0);
    }
    assert_int_equal(mark_count("replica.digest.given_up"), 3);
    world_destroy(world);
}

// Another leader asks while walks of the old one's question go on: those go on, and report to it.
static void test_digest_walk_outlives_its_leader(void **state) {
    (void)state;
    struct world *world = start_with(3, 1);  // half a second
    world_puts(world, 10);
    assert_true(world_run_until(world, 1000, all_walk));
    assert_int_equal(replica_transfer(world_replica(world, 1), (struct node_id){2}), STATUS_OK);
    world_run(world, 100);
    assert_int_equal(world_leader(world), 2);
    world_puts(world, 5);
    world_run(world, 3000);
    assert_true(world_frontiers(world, 2).digest_index > 0);
    assert_int_equal(mark_count("replica.digest.differs"), 0);
    world_destroy(world);
}

// Node 3 walks for half a second.
static struct world *start_uneven(uint32_t slice_size) {
    struct world *world = make(3);
    world->digest_slice_size = slice_size;
    world_start(world, 1, true);
    world_start(world, 2, false);
    world->digest_slice_size = 1;
    world_start(world, 3, false);
    world_run(world, 500);
    assert_int_equal(world_leader(world), 1);
    return world;
}

// The others' walks take an eighth of a second: the leader waits for the slow one's report, which
// counts however much is written.
static void test_digest_waits_for_a_slower_replica(void **state) {
    (void)state;
    struct world *world = start_uneven(4 * WORLD_RECORD_SIZE);
    world_puts(world, 10);
    spoil(world, 3, 5);
    for (uint32_t i = 0; i < 300 && mark_count("replica.digest.fenced") == 0; i++) {
        world_puts(world, 1);
    }
    assert_true(world_node(world, 3)->ingests_begun > 0);
    assert_int_equal(mark_count("replica.digest.passed_over"), 0);
    world_destroy(world);
}

// It waits no longer than in proportion to its own walk. The slow one passes over what it cannot
// follow, and has its say when it is asked again after the last write.
static void test_digest_passes_over_while_a_walk_goes_on(void **state) {
    (void)state;
    struct world *world = start_uneven(0);
    world_puts(world, 10);
    spoil(world, 3, 5);
    world_puts(world, 200);
    assert_true(mark_count("replica.digest.passed_over") > 0);
    assert_true(world_frontiers(world, 3).digest_index > 0);
    assert_true(world_run_until(world, 10000, world_is_equal));
    assert_int_equal(world_node(world, 3)->ingests_ended, 1);
    world_destroy(world);
}

// Goal: what is asked for in ten seconds is what the rate allows, not what the interval would.
static void test_digest_is_paced(void **state) {
    (void)state;
    struct world *world = start_paced(3, 16 << 10);  // the least that a shard costs: one a second
    uint64_t last = 0;
    uint32_t digests = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        world_puts(world, 1);
        digests += world_frontiers(world, 2).digest_index != last;
        last = world_frontiers(world, 2).digest_index;
    }
    assert_in_range(digests, 9, 11);
    world_destroy(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest_of_equal_replicas_changes_nothing),
        cmocka_unit_test(test_digest_that_differs_has_the_follower_rebuilt),
        cmocka_unit_test(test_digest_that_differs_makes_the_leader_resign_first),
        cmocka_unit_test(test_digest_without_a_majority_destroys_nothing),
        cmocka_unit_test(test_digest_verdict_that_is_lost_is_repeated),
        cmocka_unit_test(test_digest_heals_a_minority_of_five),
        cmocka_unit_test(test_digest_of_a_slow_walk_is_of_its_index),
        cmocka_unit_test(test_digest_that_differs_is_found_by_slow_walks),
        cmocka_unit_test(test_digest_walk_ends_with_the_node),
        cmocka_unit_test(test_digest_walk_ends_with_the_state),
        cmocka_unit_test(test_digest_walk_ends_with_the_replica),
        cmocka_unit_test(test_digest_walk_ends_on_a_full_disk),
        cmocka_unit_test(test_digest_of_a_damaged_store_is_given_up),
        cmocka_unit_test(test_digest_that_takes_too_long_is_given_up),
        cmocka_unit_test(test_digest_walk_outlives_its_leader),
        cmocka_unit_test(test_digest_waits_for_a_slower_replica),
        cmocka_unit_test(test_digest_passes_over_while_a_walk_goes_on),
        cmocka_unit_test(test_digest_is_paced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
