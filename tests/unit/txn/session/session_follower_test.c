// SPDX-License-Identifier: Apache-2.0
// Reads that need no leader: served at a closed timestamp by whichever replica is near, sent on to
// the leader when it is not closed, and never above what was promised.
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "tests/unit/txn/session/session_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct world *world;
static uint64_t next_id;

static int setup(void **state) {
    (void)state;
    next_id = 1;
    world = world_create_led();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    world_destroy(world);
    return 0;
}

static void ends_with(const struct world_call *call, enum status status) {
    assert_int_equal(call->ended, 1);
    if (call->status != status) { fail_msg("%s: %s", status_name(call->status), call->detail); }
}

// Returns the commit timestamp.
static struct hlc_ts put(struct slice key, struct slice value) {
    struct world_call call;
    world_put(world_node(world, 1), &call, next_id++, key, value);
    for (uint32_t i = 0; i < 50 && call.ended == 0; i++) {
        world_run(world, 1);
    }
    ends_with(&call, STATUS_OK);
    const struct hlc_ts ts = call.certificate.timestamp;
    world_call_deinit(&call);
    return ts;
}

// Starts a read of "a" with these wishes and lets it end.
static void read_a(uint32_t gateway, struct world_call *call, struct command_snapshot snapshot) {
    const struct command_read options = {.snapshot = snapshot};
    world_read(world_node(world, gateway), call, KEY("a"), &options);
    for (uint32_t i = 0; i < 3200 && call->ended == 0; i++) {
        world_run(world, 1);
    }
}

static void shows(const struct world_call *call, const char *value) {
    ends_with(call, STATUS_OK);
    bool found = false;
    const struct slice row = world_row(call, &found);
    assert_true(found && slice_equal(row, slice_from_string(value)));
    assert_false(hlc_before(call->certificate.closed, call->certificate.timestamp));
}

static uint64_t forwarded(uint32_t node) {
    return session_stats(world_node(world, node)->session).forwarded;
}

static void test_follower_serves_any_read_of_its_own(void **state) {
    (void)state;
    (void)put(KEY("a"), SLICE_LITERAL("1"));
    world_run(world, 100);
    for (uint32_t gateway = 1; gateway <= 3; gateway++) {
        struct world_call call;
        const uint64_t before = forwarded(gateway);
        read_a(gateway, &call, (struct command_snapshot){.consistency = COMMAND_ANY});
        shows(&call, "1");
        assert_int_equal(call.certificate.method, COMMAND_METHOD_APPLIED);
        assert_true(hlc_equal(call.certificate.timestamp, call.certificate.closed));
        assert_int_equal(forwarded(gateway), before);
        world_call_deinit(&call);
    }
}

// A node without replicas asks one, and rather not the leader.
static void test_follower_is_asked_before_the_leader(void **state) {
    (void)state;
    (void)put(KEY("a"), SLICE_LITERAL("1"));
    world_run(world, 100);
    struct world_call call;
    world_read(world_node(world, 4), &call, KEY("a"), NULL);  // now it knows the leader
    world_run(world, 20);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
    const uint64_t served = session_stats(world_node(world, 4)->session).retries;
    for (uint32_t i = 0; i < 6; i++) {
        world->cut = 1;  // the leader need not even be there
        read_a(4, &call, (struct command_snapshot){.consistency = COMMAND_ANY});
        shows(&call, "1");
        world_call_deinit(&call);
    }
    assert_int_equal(session_stats(world_node(world, 4)->session).retries, served);
    // What a follower certified says nothing about who leads.
    const struct shard_descriptor *known = shard_map_by_id(world_node(world, 4)->map, WORLD_LEFT);
    assert_int_equal(known->leader.v, 1);
}

static bool lose_requests_to_3(struct world *self, const struct world_letter *letter) {
    (void)self;
    return letter->type == PEER_REQUEST && letter->to.v == 3;
}

// One that hears nothing costs a call half of its time at most, and not each call: the gateway
// remembers, also when calls end sooner than an attempt.
static void test_follower_that_hears_nothing_is_passed_by(void **state) {
    (void)state;
    (void)put(KEY("a"), SLICE_LITERAL("1"));
    world_run(world, 100);
    world->lose = lose_requests_to_3;
    const uint64_t end = world->now_ns + 4000000000;
    uint32_t calls = 0;
    for (; world->now_ns < end; calls++) {
        const struct command_read options = {.snapshot = {.consistency = COMMAND_ANY}};
        struct world_call call;
        world_read_within(world_node(world, 4), &call, KEY("a"), &options, 60);
        for (uint32_t i = 0; i < 70 && call.ended == 0; i++) {
            world_run(world, 1);
        }
        shows(&call, "1");
        world_call_deinit(&call);
        world_run(world, 10);
    }
    assert_true(mark_count("session.passes_by_the_silent") > 0);
    // Found out within half a second, then asked once in a while.
    assert_in_range(mark_count("session.attempt_timed_out"), 8, 24);
    // It hears again: so does the gateway, without having to wait for a call to fail.
    world->lose = NULL;
    const uint64_t before = session_stats(world_node(world, 4)->session).retries;
    for (uint32_t i = 0; i < 100; i++) {
        struct world_call call;
        read_a(4, &call, (struct command_snapshot){.consistency = COMMAND_ANY});
        shows(&call, "1");
        world_call_deinit(&call);
    }
    assert_int_equal(session_stats(world_node(world, 4)->session).retries, before);
}

static void test_follower_waits_a_little_for_a_token(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 5; i++) {
        const char value[2] = {(char)('1' + i), 0};
        const struct hlc_ts token = put(KEY("a"), slice_from_string(value));
        struct world_call call;
        const uint64_t before = forwarded(2);
        read_a(2, &call,
               (struct command_snapshot){.consistency = COMMAND_SESSION, .at_least = token});
        shows(&call, value);
        assert_false(hlc_before(call.certificate.timestamp, token));
        assert_int_equal(forwarded(2), before);
        assert_int_equal(call.certificate.method, COMMAND_METHOD_CLOSED);
        world_call_deinit(&call);
    }
    assert_true(mark_count("session.waits_for_closed") > 0);
}

static bool lose_frontiers(struct world *self, const struct world_letter *letter) {
    (void)self;
    return letter->type == PEER_FRONTIER;
}

// Its closed timestamp does not move: after a while the leader is asked.
static void test_follower_sends_on_what_it_has_not_closed(void **state) {
    (void)state;
    world->lose = lose_frontiers;
    const struct hlc_ts token = put(KEY("a"), SLICE_LITERAL("1"));
    struct world_call call;
    const uint64_t began = world->now_ns;
    read_a(2, &call, (struct command_snapshot){.consistency = COMMAND_SESSION, .at_least = token});
    shows(&call, "1");
    assert_int_equal(forwarded(2), 1);
    assert_in_range(world->now_ns - began, 19000000, 25000000);
    world_call_deinit(&call);
    // Far behind: not even that.
    world_run(world, 200);
    const uint64_t later = world->now_ns;
    const struct hlc_ts now =
        hlc_peek(&world_node(world, 1)->hlc, env_wall_us(&world_node(world, 1)->env));
    read_a(2, &call, (struct command_snapshot){.consistency = COMMAND_SESSION, .at_least = now});
    shows(&call, "1");
    assert_true(world->now_ns - later <= 5000000);
    world_call_deinit(&call);
}

static void test_follower_bounded_staleness_is_kept(void **state) {
    (void)state;
    (void)put(KEY("a"), SLICE_LITERAL("1"));
    world_run(world, 100);
    struct world_call call;
    struct command_snapshot snapshot = {.consistency = COMMAND_BOUNDED, .staleness_us = 100000};
    read_a(2, &call, snapshot);
    shows(&call, "1");
    assert_int_equal(call.certificate.method, COMMAND_METHOD_CLOSED);
    assert_int_equal(forwarded(2), 0);
    world_call_deinit(&call);
    // Idle: closed stands at the ceiling, and the first who finds it too old has the leader renew.
    world_run(world, 5000);
    read_a(2, &call, snapshot);
    shows(&call, "1");
    assert_int_equal(forwarded(2), 1);
    const uint64_t wall = env_wall_us(&world_node(world, 2)->env);
    assert_true(hlc_wall_us(call.certificate.timestamp) + 100000 + 50000 >= wall);
    world_call_deinit(&call);
    world_run(world, 50);
    read_a(2, &call, snapshot);
    shows(&call, "1");
    assert_int_equal(forwarded(2), 1);
    world_call_deinit(&call);
    // Old enough for who asks for little.
    world_run(world, 3000);
    snapshot.staleness_us = 60000000;
    read_a(3, &call, snapshot);
    shows(&call, "1");
    assert_int_equal(forwarded(3), 0);
    world_call_deinit(&call);
}

// Each value as of its own time, wherever it is asked for.
static void test_follower_reads_the_past_exactly(void **state) {
    (void)state;
    struct hlc_ts times[3];
    const char *values[3] = {"1", "2", "3"};
    for (uint32_t i = 0; i < 3; i++) {
        times[i] = put(KEY("a"), slice_from_string(values[i]));
        world_run(world, 10);
    }
    world_run(world, 100);
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway++) {
        for (uint32_t i = 0; i < 3; i++) {
            struct world_call call;
            read_a(gateway, &call,
                   (struct command_snapshot){.consistency = COMMAND_AT, .at = times[i]});
            shows(&call, values[i]);
            assert_true(hlc_equal(call.certificate.timestamp, times[i]));
            world_call_deinit(&call);
            read_a(gateway, &call,
                   (struct command_snapshot){.consistency = COMMAND_AT, .at = {times[i].v - 1}});
            ends_with(&call, STATUS_OK);
            bool found = false;
            const struct slice row = world_row(&call, &found);
            assert_int_equal(found, i > 0);
            if (i > 0) { assert_true(slice_equal(row, slice_from_string(values[i - 1]))); }
            world_call_deinit(&call);
        }
    }
}

// A little in the future: no replica has closed it; what is read is what stays.
static void test_follower_a_snapshot_ahead_of_now_holds(void **state) {
    (void)state;
    (void)put(KEY("a"), SLICE_LITERAL("1"));
    struct world_node *leader = world_node(world, 1);
    const struct hlc_ts at = hlc_add_us(hlc_peek(&leader->hlc, env_wall_us(&leader->env)), 30000);
    struct world_call call;
    read_a(2, &call, (struct command_snapshot){.consistency = COMMAND_AT, .at = at});
    ends_with(&call, STATUS_OK);
    assert_true(hlc_equal(call.certificate.timestamp, at));
    world_call_deinit(&call);
    // The clocks have been moved past it: nothing commits there any more.
    assert_true(hlc_before(at, put(KEY("a"), SLICE_LITERAL("2"))));
    read_a(2, &call, (struct command_snapshot){.consistency = COMMAND_AT, .at = at});
    ends_with(&call, STATUS_OK);
    bool found = false;
    assert_true(slice_equal(world_row(&call, &found), SLICE_LITERAL("1")));
    world_call_deinit(&call);
}

static void test_follower_refuses_a_snapshot_from_the_far_future(void **state) {
    (void)state;
    (void)put(KEY("a"), SLICE_LITERAL("1"));
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway++) {
        struct world_node *node = world_node(world, gateway);
        const struct hlc_ts far =
            hlc_add_us(hlc_peek(&node->hlc, env_wall_us(&node->env)), 5000000);
        struct world_call call;
        read_a(gateway, &call, (struct command_snapshot){.consistency = COMMAND_AT, .at = far});
        ends_with(&call, STATUS_CLOCK_AHEAD);
        world_call_deinit(&call);
        read_a(gateway, &call,
               (struct command_snapshot){.consistency = COMMAND_SESSION, .at_least = far});
        ends_with(&call, STATUS_CLOCK_AHEAD);
        world_call_deinit(&call);
        assert_true(hlc_before(node->hlc.last, far));
    }
}

// Without a leader in reach a follower still answers for the past.
static void test_follower_needs_no_leader_for_what_is_closed(void **state) {
    (void)state;
    const struct hlc_ts at = put(KEY("a"), SLICE_LITERAL("1"));
    world_run(world, 100);
    world->cut = 2;
    struct world_call call;
    read_a(2, &call, (struct command_snapshot){.consistency = COMMAND_AT, .at = at});
    shows(&call, "1");
    world_call_deinit(&call);
    read_a(2, &call, (struct command_snapshot){.consistency = COMMAND_ANY});
    shows(&call, "1");
    world_call_deinit(&call);
    world_run(world, 500);
    read_a(2, &call,
           (struct command_snapshot){.consistency = COMMAND_BOUNDED, .staleness_us = 100000});
    ends_with(&call, STATUS_DEADLINE_EXCEEDED);
    world_call_deinit(&call);
}

static void test_follower_scans(void **state) {
    (void)state;
    (void)put(KEY("a"), SLICE_LITERAL("1"));
    (void)put(KEY("b"), SLICE_LITERAL("2"));
    world_run(world, 100);
    const struct command_scan scan = {.snapshot = {.consistency = COMMAND_ANY},
                                      .start = KEY("a"),
                                      .end = KEY("c"),
                                      .row_limit = 10};
    struct world_call call;
    world_scan(world_node(world, 3), &call, &scan);
    ends_with(&call, STATUS_OK);
    assert_int_equal(call.certificate.method, COMMAND_METHOD_APPLIED);
    assert_int_equal(forwarded(3), 0);
    struct codec_reader r;
    struct command_row row = {0};
    bool more = false;
    struct slice resume;
    codec_reader_init(&r, buf_slice(&call.result));
    assert_int_equal(command_scan_row_decode(&r, &row, &more, &resume), STATUS_OK);
    assert_true(slice_equal(row.value, SLICE_LITERAL("1")));
    assert_int_equal(command_scan_row_decode(&r, &row, &more, &resume), STATUS_OK);
    assert_true(slice_equal(row.value, SLICE_LITERAL("2")));
    world_call_deinit(&call);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_follower_serves_any_read_of_its_own),
        TEST(test_follower_is_asked_before_the_leader),
        TEST(test_follower_that_hears_nothing_is_passed_by),
        TEST(test_follower_waits_a_little_for_a_token),
        TEST(test_follower_sends_on_what_it_has_not_closed),
        TEST(test_follower_bounded_staleness_is_kept),
        TEST(test_follower_reads_the_past_exactly),
        TEST(test_follower_a_snapshot_ahead_of_now_holds),
        TEST(test_follower_refuses_a_snapshot_from_the_far_future),
        TEST(test_follower_needs_no_leader_for_what_is_closed),
        TEST(test_follower_scans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
