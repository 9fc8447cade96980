// SPDX-License-Identifier: Apache-2.0
// replica_digest_test.c - replicas compare their state; the odd one is rebuilt, whoever it is.

#include "dataplane/base/mark.h"
#include "tests/unit/dataplane/replica/replica_world.h"

// cmocka wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct world *start(uint32_t nodes) {
    mark_reset_all();
    struct world *world = world_create(nodes, nodes, 11);
    world->digest_interval_ns = 300000000;
    for (uint32_t i = 1; i <= nodes; i++) {
        world_start(world, i, i == 1);
    }
    world_run(world, 500);
    assert_int_equal(world_leader(world), 1);
    return world;
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest_of_equal_replicas_changes_nothing),
        cmocka_unit_test(test_digest_that_differs_has_the_follower_rebuilt),
        cmocka_unit_test(test_digest_that_differs_makes_the_leader_resign_first),
        cmocka_unit_test(test_digest_without_a_majority_destroys_nothing),
        cmocka_unit_test(test_digest_verdict_that_is_lost_is_repeated),
        cmocka_unit_test(test_digest_heals_a_minority_of_five),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
