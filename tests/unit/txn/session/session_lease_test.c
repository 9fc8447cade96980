// SPDX-License-Identifier: Apache-2.0
// Held keys at a leader: who waits for whom, and for how long. Shard "left" is led by node 1; calls
// come through node 1 itself and through node 3.
#include "dataplane/base/mark.h"
#include "tests/unit/txn/session/session_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { LEASE_MS = 2000 };

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

// Begun in the order of the numbers.
static struct command_hold hold_of(uint64_t txn, enum command_hold_kind kind, struct slice key) {
    return (struct command_hold){.kind = kind,
                                 .txn = world_txn_id(txn),
                                 .begin = {hlc_from_wall(1700000000000000).v + txn},
                                 .lease_ms = kind == COMMAND_HOLD_RELEASE ? 0 : LEASE_MS,
                                 .key = key};
}

static void run_until(const struct world_call *call, uint32_t ms) {
    for (uint32_t i = 0; i < ms && call->ended == 0; i++) {
        world_run(world, 1);
    }
}

static void ends_with(const struct world_call *call, enum status status) {
    assert_int_equal(call->ended, 1);
    if (call->status != status) { fail_msg("%s: %s", status_name(call->status), call->detail); }
}

static void held(uint32_t gateway, uint64_t txn, enum command_hold_kind kind, struct slice key) {
    struct world_call call;
    const struct command_hold hold = hold_of(txn, kind, key);
    world_hold(world_node(world, gateway), &call, &hold, 1000);
    run_until(&call, 50);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
}

static void test_lease_the_next_waits_for_the_release(void **state) {
    (void)state;
    for (uint32_t gateway = 1; gateway <= 3; gateway += 2) {
        held(1, 1, COMMAND_HOLD_TAKE, KEY("a"));
        held(gateway, 1, COMMAND_HOLD_TAKE, KEY("a"));  // its own
        held(3, 2, COMMAND_HOLD_TAKE, KEY("b"));        // another key
        struct world_call call;
        const struct command_hold hold = hold_of(2, COMMAND_HOLD_TAKE, KEY("a"));
        world_hold(world_node(world, gateway), &call, &hold, 5000);
        for (int i = 0; i < 10; i++) {  // longer than one attempt
            world_run(world, 100);
            assert_int_equal(call.ended, 0);
            held(3, 1, COMMAND_HOLD_RENEW, KEY("a"));
            held(3, 2, COMMAND_HOLD_RENEW, KEY("a"));  // somebody else has it: nothing happens
        }
        assert_true(mark_count("session.hold_waits") > 0);
        held(3, 1, COMMAND_HOLD_RELEASE, KEY("a"));
        run_until(&call, 20);
        ends_with(&call, STATUS_OK);
        assert_int_equal(call.certificate.method, COMMAND_METHOD_NONE);
        world_call_deinit(&call);
        held(1, 2, COMMAND_HOLD_RELEASE, KEY("a"));
        held(1, 2, COMMAND_HOLD_RELEASE, KEY("b"));
    }
}

static void test_lease_runs_out(void **state) {
    (void)state;
    held(3, 1, COMMAND_HOLD_TAKE, KEY("a"));
    struct world_call call;
    const struct command_hold hold = hold_of(2, COMMAND_HOLD_TAKE, KEY("a"));
    world_hold(world_node(world, 3), &call, &hold, 5000);
    world_run(world, LEASE_MS - 100);
    assert_int_equal(call.ended, 0);
    run_until(&call, 200);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
}

// Who holds nothing waits for anybody, who holds something for younger ones only.
static void test_lease_makes_no_circles(void **state) {
    (void)state;
    held(3, 1, COMMAND_HOLD_TAKE, KEY("a"));
    held(3, 2, COMMAND_HOLD_TAKE, KEY("b"));
    struct world_call call;
    struct command_hold hold = hold_of(2, COMMAND_HOLD_TAKE, KEY("a"));
    hold.holds_others = true;
    world_hold(world_node(world, 3), &call, &hold, 5000);
    run_until(&call, 50);
    ends_with(&call, STATUS_ABORTED_RETRY);
    assert_int_equal(mark_count("session.hold_dies"), 1);
    const struct command_txn_answer answer = world_answer(&call);
    assert_int_equal(answer.reason, COMMAND_REASON_LOCKED);
    assert_true(txn_id_equal(answer.holder, world_txn_id(1)));
    assert_true(slice_equal(answer.key, KEY("a")));
    world_call_deinit(&call);
    hold = hold_of(1, COMMAND_HOLD_TAKE, KEY("b"));
    hold.holds_others = true;
    world_hold(world_node(world, 3), &call, &hold, 5000);
    world_run(world, 100);
    assert_int_equal(call.ended, 0);
    held(3, 2, COMMAND_HOLD_RELEASE, KEY("b"));
    run_until(&call, 20);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
}

// Goal: the oldest of those that wait is next, at once, and the others go on waiting.
static void test_lease_goes_to_the_oldest_in_line(void **state) {
    (void)state;
    enum { WAITERS = 4 };
    struct world_call calls[WAITERS];
    const uint64_t txns[WAITERS] = {5, 3, 4, 2};
    held(3, 1, COMMAND_HOLD_TAKE, KEY("a"));
    for (uint32_t i = 0; i < WAITERS; i++) {
        const struct command_hold hold = hold_of(txns[i], COMMAND_HOLD_TAKE, KEY("a"));
        world_hold(world_node(world, i % 2 == 0 ? 1 : 3), &calls[i], &hold, 5000);
        world_run(world, 5);
    }
    const uint32_t order[WAITERS] = {3, 1, 2, 0};
    uint64_t before = 1;
    for (uint32_t turn = 0; turn < WAITERS; turn++) {
        held(1, before, COMMAND_HOLD_RELEASE, KEY("a"));
        before = txns[order[turn]];
        run_until(&calls[order[turn]], 10);
        ends_with(&calls[order[turn]], STATUS_OK);
        for (uint32_t later = turn + 1; later < WAITERS; later++) {
            assert_int_equal(calls[order[later]].ended, 0);
        }
    }
    for (uint32_t i = 0; i < WAITERS; i++) {
        world_call_deinit(&calls[i]);
    }
}

// Goal: who holds another key, and waited for a younger one, dies when an older one gets the key.
static void test_lease_makes_no_circles_in_line(void **state) {
    (void)state;
    struct world_call older;
    struct world_call other;
    held(3, 5, COMMAND_HOLD_TAKE, KEY("a"));
    held(3, 3, COMMAND_HOLD_TAKE, KEY("b"));
    struct command_hold hold = hold_of(3, COMMAND_HOLD_TAKE, KEY("a"));
    hold.holds_others = true;
    world_hold(world_node(world, 3), &other, &hold, 5000);
    hold = hold_of(2, COMMAND_HOLD_TAKE, KEY("a"));
    world_hold(world_node(world, 3), &older, &hold, 5000);
    world_run(world, 20);
    assert_int_equal(other.ended + older.ended, 0);
    held(1, 5, COMMAND_HOLD_RELEASE, KEY("a"));
    run_until(&other, 20);
    ends_with(&older, STATUS_OK);
    ends_with(&other, STATUS_ABORTED_RETRY);
    assert_true(txn_id_equal(world_answer(&other).holder, world_txn_id(2)));
    world_call_deinit(&older);
    world_call_deinit(&other);
}

// A commit of another transaction waits; one of the holder does not.
static void test_lease_keeps_writers_waiting(void **state) {
    (void)state;
    for (uint32_t gateway = 1; gateway <= 3; gateway += 2) {
        struct world_call own;
        struct world_call other;
        held(1, 1, COMMAND_HOLD_TAKE, KEY("a"));
        world_put(world_node(world, gateway), &other, 5 + gateway, KEY("a"), SLICE_LITERAL("x"));
        world_run(world, 1000);
        assert_int_equal(other.ended, 0);
        world_put(world_node(world, gateway), &own, 1, KEY("a"), SLICE_LITERAL("y"));
        run_until(&own, 100);
        ends_with(&own, STATUS_OK);
        assert_int_equal(other.ended, 0);
        held(3, 1, COMMAND_HOLD_RELEASE, KEY("a"));
        run_until(&other, 50);
        ends_with(&other, STATUS_OK);
        assert_true(mark_count("session.write_waits_for_hold") > 0);
        world_call_deinit(&own);
        world_call_deinit(&other);
    }
}

// Deadline of a put: 3 s. The last second is not spent on a hint.
static void test_lease_makes_nobody_miss_a_deadline(void **state) {
    (void)state;
    struct world_call call;
    held(3, 1, COMMAND_HOLD_TAKE, KEY("a"));
    world_put(world_node(world, 3), &call, 5, KEY("a"), SLICE_LITERAL("x"));
    for (uint32_t i = 0; i < 30 && call.ended == 0; i++) {
        world_run(world, 100);
        held(1, 1, COMMAND_HOLD_RENEW, KEY("a"));
    }
    ends_with(&call, STATUS_OK);
    assert_int_equal(mark_count("session.write_passes_hold"), 1);
    world_call_deinit(&call);
}

// However often it is renewed, a hold keeps writers for so long only.
static void test_lease_keeps_writers_for_a_while_only(void **state) {
    (void)state;
    struct world_call call;
    held(3, 1, COMMAND_HOLD_TAKE, KEY("a"));
    for (uint32_t i = 0; i < 32; i++) {
        world_run(world, 100);
        held(1, 1, COMMAND_HOLD_RENEW, KEY("a"));
    }
    world_put(world_node(world, 3), &call, 5, KEY("a"), SLICE_LITERAL("x"));
    run_until(&call, 50);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
    const struct world_part part = {
        .id = 9, .attempt = 9, .begin = {9}, .key = KEY("b"), .value = SLICE_LITERAL("v")};
    struct world_part now = part;
    now.begin = hlc_from_wall(1700000000000000);
    held(3, 1, COMMAND_HOLD_TAKE, KEY("b"));
    world_prepare(world_node(world, 3), &call, &now, 3000);
    world_run(world, 50);
    assert_int_equal(call.ended, 0);
    run_until(&call, 100);  // others may wait for its other parts
    ends_with(&call, STATUS_OK);
    assert_int_equal(world_answer(&call).state, COMMAND_TXN_PREPARED);
    world_call_deinit(&call);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lease_the_next_waits_for_the_release, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_runs_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_makes_no_circles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_goes_to_the_oldest_in_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_makes_no_circles_in_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_keeps_writers_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_makes_nobody_miss_a_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lease_keeps_writers_for_a_while_only, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
