// SPDX-License-Identifier: Apache-2.0
// Prepares that meet others on their way through the log: who waits, who is woken, what becomes of
// it when the log decides otherwise. Shard "left" is led by node 1.
#include "txn/session/session_latch.h"

#include "dataplane/base/mark.h"
#include "tests/unit/txn/session/session_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct world *world;

static int setup(void **state) {
    (void)state;
    world = world_create_led();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    world_destroy(world);
    return 0;
}

// A put of "x" to "a" by a transaction of this number; the smaller, the older.
static struct world_part part_of(uint64_t number) {
    return (struct world_part){.id = number,
                               .attempt = number,
                               .begin = {hlc_from_wall(1700000000000000).v + number},
                               .key = KEY("a"),
                               .value = SLICE_LITERAL("x")};
}

static void prepare(struct world_call *call, const struct world_part *part) {
    world_prepare(world_node(world, 1), call, part, 2000);
}

static enum command_txn_state state_of(const struct world_call *call) {
    assert_int_equal(call->ended, 1);
    assert_int_equal(call->status, STATUS_OK);
    return world_answer(call).state;
}

static uint64_t waiting(void) {
    return session_stats(world_node(world, 1)->session).locks.waiting;
}

static void abort_it(const struct world_part *part) {
    struct world_call call;
    world_resolve(world_node(world, 1), &call, part, COMMAND_DECIDE_ABORT, HLC_ZERO);
    world_run(world, 20);
    assert_int_equal(call.ended, 1);
    world_call_deinit(&call);
}

// Without latches both go through the log, and the older one is refused there for good.
static void test_latch_the_older_waits_for_one_in_flight(void **state) {
    (void)state;
    const struct world_part young = part_of(50);
    const struct world_part old = part_of(40);
    struct world_call first;
    struct world_call second;
    prepare(&first, &young);
    prepare(&second, &old);
    world_run(world, 700);
    assert_int_equal(state_of(&first), COMMAND_TXN_PREPARED);
    assert_int_equal(second.ended, 0);
    assert_int_equal(waiting(), 1);
    assert_int_equal(mark_count("session.latched"), 1);
    abort_it(&young);
    assert_int_equal(state_of(&second), COMMAND_TXN_PREPARED);
    world_call_deinit(&first);
    world_call_deinit(&second);
    abort_it(&old);
}

// A read lock is none that other readers mind: they do not wait for each other.
static void test_latch_is_as_fine_as_the_locks(void **state) {
    (void)state;
    struct world_part parts[] = {part_of(50), part_of(40)};
    struct world_call calls[2];
    for (uint32_t i = 0; i < 2; i++) {
        parts[i].reads = true;
        parts[i].snapshot = (struct hlc_ts){hlc_from_wall(1800000000000000).v};
        prepare(&calls[i], &parts[i]);
    }
    world_run(world, 20);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(state_of(&calls[i]), COMMAND_TXN_PREPARED);
        world_call_deinit(&calls[i]);
        abort_it(&parts[i]);
    }
    assert_int_equal(mark_count("session.latched"), 0);
}

// The one in flight is refused: who waits for it goes on at once, not when somebody looks.
static void test_latch_of_a_refused_one_lets_go(void **state) {
    (void)state;
    struct world_call put;
    world_put(world_node(world, 1), &put, 1, KEY("a"), SLICE_LITERAL("1"));
    world_run(world, 20);
    const struct hlc_ts old_ts = {put.certificate.timestamp.v - 1};
    world_call_deinit(&put);
    struct world_part young = part_of(50);
    young.reads = true;
    young.snapshot = old_ts;  // "a" is newer: refused
    const struct world_part old = part_of(40);
    struct world_call first;
    struct world_call second;
    prepare(&first, &young);
    prepare(&second, &old);
    world_run(world, 12);
    assert_int_equal(state_of(&first), COMMAND_TXN_ABORTED);
    assert_int_equal(mark_count("session.latched"), 1);
    assert_int_equal(state_of(&second), COMMAND_TXN_PREPARED);
    world_call_deinit(&first);
    world_call_deinit(&second);
    abort_it(&old);
}

// It holds nothing elsewhere: however young, it may wait for whoever is in the way.
static void test_latch_one_alone_waits_whatever_its_age(void **state) {
    (void)state;
    const struct world_part old = part_of(40);
    struct world_part young = part_of(50);
    const struct world_part dies = part_of(60);
    struct world_call calls[3];
    young.alone = true;
    prepare(&calls[0], &old);
    prepare(&calls[1], &young);  // behind one in flight
    world_run(world, 20);
    assert_int_equal(state_of(&calls[0]), COMMAND_TXN_PREPARED);
    prepare(&calls[2], &dies);
    world_run(world, 20);
    assert_int_equal(state_of(&calls[2]), COMMAND_TXN_ABORTED);
    assert_int_equal(calls[1].ended, 0);
    abort_it(&old);
    assert_int_equal(state_of(&calls[1]), COMMAND_TXN_PREPARED);
    for (uint32_t i = 0; i < 3; i++) {
        world_call_deinit(&calls[i]);
    }
    abort_it(&young);
}

// From another node, too; there it is asked for again whenever it has waited for half an attempt.
static void test_latch_one_alone_waits_at_another_node(void **state) {
    (void)state;
    const struct world_part old = part_of(40);
    struct world_part young = part_of(50);
    struct world_call first;
    struct world_call second;
    young.alone = true;
    prepare(&first, &old);
    world_run(world, 20);
    world_prepare(world_node(world, 4), &second, &young, 2000);
    world_run(world, 900);
    assert_int_equal(second.ended, 0);
    assert_int_equal(mark_count("session.attempt_timed_out"), 0);
    abort_it(&old);
    world_run(world, 20);
    assert_int_equal(state_of(&second), COMMAND_TXN_PREPARED);
    world_call_deinit(&first);
    world_call_deinit(&second);
    abort_it(&young);
}

// The leader is cut off with a prepare in its log: nothing stays latched when it leads no more, and
// what its successor decides counts.
static void test_latch_goes_with_the_leadership(void **state) {
    (void)state;
    world->cut = 1;
    const struct world_part young = part_of(50);
    const struct world_part old = part_of(40);
    struct world_call first;
    struct world_call second;
    prepare(&first, &young);
    prepare(&second, &old);
    world_run(world, 2500);
    assert_int_equal(first.ended, 1);
    assert_int_equal(second.ended, 1);
    assert_int_equal(first.status, STATUS_UNKNOWN_OUTCOME);
    assert_int_equal(waiting(), 0);
    world_call_deinit(&first);
    world_call_deinit(&second);
    world->cut = 0;
    world_run(world, 2000);
    abort_it(&young);
    prepare(&second, &old);
    world_run(world, 500);
    assert_int_equal(state_of(&second), COMMAND_TXN_PREPARED);
    world_call_deinit(&second);
    abort_it(&old);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_latch_the_older_waits_for_one_in_flight),
        TEST(test_latch_is_as_fine_as_the_locks),
        TEST(test_latch_of_a_refused_one_lets_go),
        TEST(test_latch_one_alone_waits_whatever_its_age),
        TEST(test_latch_one_alone_waits_at_another_node),
        TEST(test_latch_goes_with_the_leadership),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
