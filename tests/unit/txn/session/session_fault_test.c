// SPDX-License-Identifier: Apache-2.0
// Calls while things go wrong: lost and repeated messages, moved leaders, wrong maps, wrong clocks,
// too much work, callers that go away.
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "tests/unit/txn/session/session_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct world *world;

static int setup(void **state) {
    (void)state;
    world = world_create_led();
    return 0;
}

static int setup_leaderless(void **state) {
    (void)state;
    mark_reset_all();
    world = world_create(64, 64, false);
    return 0;
}

static int setup_small(void **state) {
    (void)state;
    world = world_create(4, 2, true);
    world_run(world, 300);
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

static enum status read_back(uint32_t gateway, struct slice key) {
    struct world_call call;
    world_read(world_node(world, gateway), &call, key, NULL);
    world_run(world, 1500);
    ends_with(&call, STATUS_OK);
    bool found = false;
    (void)world_row(&call, &found);
    world_call_deinit(&call);
    return found ? STATUS_OK : STATUS_NOT_FOUND;
}

static bool lose_requests(struct world *self, const struct world_letter *letter) {
    (void)self;
    return letter->type == PEER_REQUEST;
}

static bool lose_responses(struct world *self, const struct world_letter *letter) {
    (void)self;
    return letter->type == PEER_RESPONSE;
}

static bool lose_first_response(struct world *self, const struct world_letter *letter) {
    return letter->type == PEER_RESPONSE && self->lost == 0;
}

// --- Lost messages ---

// The dangerous case: applied, but the answer is lost. The repeat must not see its own first
// attempt as a conflict.
static void test_session_a_lost_answer_is_asked_for_again(void **state) {
    (void)state;
    assert_int_equal(read_back(4, KEY("a")), STATUS_NOT_FOUND);  // the gateway knows the leader
    world->lose = lose_first_response;
    struct world_call call;
    world_create_key(world_node(world, 4), &call, 1, KEY("a"), 3000);
    world_run(world, 400);
    assert_int_equal(call.ended, 0);
    world_run(world, 1000);
    ends_with(&call, STATUS_OK);
    assert_true(mark_count("session.attempt_timed_out") >= 1);
    assert_true(mark_count("apply.repeat") >= 1);
    world_call_deinit(&call);
}

static void test_session_a_commit_without_answers_ends_unknown(void **state) {
    (void)state;
    struct world_call commit;
    struct world_call read;
    world->lose = lose_responses;
    world_create_key(world_node(world, 4), &commit, 1, KEY("a"), 2000);
    world_read(world_node(world, 4), &read, KEY("a"), NULL);
    world_run(world, 1990);
    assert_int_equal(commit.ended, 0);
    world_run(world, 1100);
    ends_with(&commit, STATUS_UNKNOWN_OUTCOME);
    ends_with(&read, STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(commit.certificate.method, COMMAND_METHOD_NONE);
    assert_non_null(strstr(commit.detail, "attempts at shard 16"));
    world_call_deinit(&commit);
    world_call_deinit(&read);
    // It was applied, and asking says so.
    world->lose = NULL;
    world_txn_status(world_node(world, 4), &read, 1, KEY("a"));
    world_run(world, 1000);
    ends_with(&read, STATUS_OK);
    world_call_deinit(&read);
}

// To the gateway a lost request looks the same as a lost answer.
static void test_session_a_commit_with_lost_requests_ends_unknown(void **state) {
    (void)state;
    struct world_call call;
    world->lose = lose_requests;
    world_create_key(world_node(world, 4), &call, 1, KEY("a"), 300);
    world_run(world, 310);
    ends_with(&call, STATUS_UNKNOWN_OUTCOME);
    world_call_deinit(&call);
    world->lose = NULL;
    assert_int_equal(read_back(4, KEY("a")), STATUS_NOT_FOUND);
}

static bool lose_first_request_and_elections(struct world *self,
                                             const struct world_letter *letter) {
    static uint32_t requests;
    if (self->lost == 0) { requests = 0; }
    return letter->type == PEER_RAFT || (letter->type == PEER_REQUEST && requests++ == 0);
}

// The first attempt is never answered; all others are refused, the last word before the deadline
// is a refusal. That says nothing about the first.
static void test_session_refusals_do_not_settle_a_lost_attempt(void **state) {
    (void)state;
    world->lose = lose_first_request_and_elections;
    struct world_call call;
    world_create_key(world_node(world, 4), &call, 1, KEY("a"), 1500);
    world_run(world, 1510);
    ends_with(&call, STATUS_UNKNOWN_OUTCOME);
    assert_non_null(strstr(call.detail, "NOT_LEADER"));
    assert_true(session_stats(world_node(world, 4)->session).retries > 5);
    world_call_deinit(&call);
}

// Calls whose time is shorter than an attempt, and so few that the leader's silence is a new one
// each time: what sent a call to a dead leader does not send the next one there.
static void test_session_short_calls_leave_a_dead_leader_too(void **state) {
    (void)state;
    assert_int_equal(read_back(4, KEY("a")), STATUS_NOT_FOUND);  // the gateway knows the leader
    world->cut = 1;
    world_run(world, 4000);  // its lease ends, and another is elected
    uint32_t served = 0;
    for (uint32_t i = 0; i < 6; i++) {
        struct world_call call;
        world_read_within(world_node(world, 4), &call, KEY("a"), NULL, 100);
        world_run(world, 1200);
        assert_int_equal(call.ended, 1);
        served += call.certificate.method != COMMAND_METHOD_NONE ? 1 : 0;
        world_call_deinit(&call);
    }
    assert_int_equal(served, 5);
}

// A request whose caller has given up is not worth executing.
static void test_session_expired_requests_are_dropped(void **state) {
    (void)state;
    struct world_call call;
    world_create_key(world_node(world, 4), &call, 1, KEY("a"), 1000);
    struct command_request request;
    assert_int_equal(command_request_decode(bytes_slice(world->kept_request), &request), STATUS_OK);
    request.boot++;
    request.budget_us = 0;
    struct buf buf;
    buf_init(&buf, 1 << 16);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    command_request_encode(&w, &request);
    session_cancel(world_node(world, 4)->session, &call.call);
    world->lose = lose_requests;
    assert_int_equal(session_on_message(world_node(world, 1)->session, (struct node_id){4},
                                        PEER_REQUEST, buf_slice(&buf)),
                     STATUS_OK);
    world_run(world, 100);
    world->lose = NULL;
    assert_int_equal(read_back(4, KEY("a")), STATUS_NOT_FOUND);
    buf_deinit(&buf);
    world_call_deinit(&call);
}

// Answers of a given-up attempt count when a shard certified them.
static bool hold_back;
static struct world_letter held;
static bool hold_response(struct world *self, const struct world_letter *letter) {
    (void)self;
    if (letter->type != PEER_RESPONSE || !hold_back) { return false; }
    if (held.body == NULL) {
        held = *letter;
        (void)bytes_ref(held.body);
    }
    return true;
}

static void test_session_a_late_answer_is_taken(void **state) {
    (void)state;
    assert_int_equal(read_back(4, KEY("a")), STATUS_NOT_FOUND);
    hold_back = true;
    held = (struct world_letter){0};
    world->lose = hold_response;
    struct world_call call;
    world_create_key(world_node(world, 4), &call, 1, KEY("a"), 3000);
    world_run(world, 700);
    assert_int_equal(call.ended, 0);
    assert_non_null(held.body);
    assert_int_equal(session_on_message(world_node(world, 4)->session, held.from, PEER_RESPONSE,
                                        bytes_slice(held.body)),
                     STATUS_OK);
    ends_with(&call, STATUS_OK);
    assert_int_equal(mark_count("session.late_answer"), 1);
    // Once more: the call is over, nothing happens.
    assert_int_equal(session_on_message(world_node(world, 4)->session, held.from, PEER_RESPONSE,
                                        bytes_slice(held.body)),
                     STATUS_OK);
    assert_int_equal(call.ended, 1);
    hold_back = false;
    bytes_unref(held.body);
    world_run(world, 100);
    world_call_deinit(&call);
}

// --- Leaders ---

// Everybody refuses, nobody was silent: the commit certainly did not happen, and the text says why.
static void test_session_without_a_leader_a_commit_certainly_fails(void **state) {
    (void)state;
    struct world_call call;
    world_create_key(world_node(world, 4), &call, 1, KEY("a"), 60);
    world_run(world, 59);
    assert_int_equal(call.ended, 0);
    world_run(world, 10);
    ends_with(&call, STATUS_DEADLINE_EXCEEDED);
    assert_non_null(strstr(call.detail, "NOT_LEADER"));
    assert_true(session_stats(world_node(world, 4)->session).retries >= 4);
    world_call_deinit(&call);
    world_run(world, 2000);
    assert_int_equal(read_back(4, KEY("a")), STATUS_NOT_FOUND);
}

static void test_session_waits_for_a_leader_to_be_elected(void **state) {
    (void)state;
    struct world_call calls[WORLD_NODES];
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        world_create_key(world_node(world, i + 1), &calls[i], i + 1, KEY("a"), 5000);
    }
    world_run(world, 4000);
    uint32_t created = 0;
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        assert_int_equal(calls[i].ended, 1);
        created += calls[i].status == STATUS_OK ? 1 : 0;
        if (calls[i].status != STATUS_OK) { ends_with(&calls[i], STATUS_CONDITION_FAILED); }
        world_call_deinit(&calls[i]);
    }
    assert_int_equal(created, 1);
}

static void test_session_follows_the_leader_to_another_node(void **state) {
    (void)state;
    struct world_call call;
    world_create_key(world_node(world, 4), &call, 1, KEY("a"), 1000);
    world_run(world, 50);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
    world->cut = 1;
    world_create_key(world_node(world, 4), &call, 2, KEY("b"), 10000);
    world_run(world, 6000);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
    assert_true(world_leader(world, WORLD_LEFT) > 1);
    world->cut = 0;
    world_run(world, 1000);
    assert_int_equal(read_back(1, KEY("b")), STATUS_OK);
}

// Calls begun at any moment of the outage, whatever they wait for, go on as soon as somebody leads:
// none sits out the time of an attempt at the dead leader.
static void test_session_calls_under_way_follow_a_new_leader_at_once(void **state) {
    (void)state;
    enum { CALLS_MAX = 60, EVERY_MS = 50, SOON_MS = 60 };
    struct world_call calls[CALLS_MAX];
    uint32_t count = 0;
    assert_int_equal(read_back(3, KEY("a")), STATUS_NOT_FOUND);  // the gateway knows the leader
    world->cut = 1;
    for (uint32_t ms = 0; world_leader(world, WORLD_LEFT) == 0; ms++) {
        if (ms % EVERY_MS == 0) {
            assert_true(count < CALLS_MAX);
            world_read(world_node(world, 3), &calls[count], KEY("a"), NULL);
            count++;
        }
        world_run(world, 1);
    }
    assert_true(count > 1);
    world_run(world, SOON_MS);
    for (uint32_t i = 0; i < count; i++) {
        ends_with(&calls[i], STATUS_OK);
        world_call_deinit(&calls[i]);
    }
    assert_true(mark_count("session.leader_superseded") > 0);
}

// Proposed at a leader that is cut off: it may commit or not, and the gateway, which is the same
// node, cannot know.
static void test_session_a_cut_off_leader_reports_unknown(void **state) {
    (void)state;
    world->cut = 1;
    struct world_call calls[2];
    world_create_key(world_node(world, 1), &calls[0], 1, KEY("a"), 100);
    world_create_key(world_node(world, 1), &calls[1], 2, KEY("b"), 5000);
    world_run(world, 110);
    ends_with(&calls[0], STATUS_UNKNOWN_OUTCOME);
    world_run(world, 5000);
    ends_with(&calls[1], STATUS_UNKNOWN_OUTCOME);
    assert_int_equal(mark_count("session.answer_after_end"), 1);
    world_call_deinit(&calls[0]);
    world_call_deinit(&calls[1]);
    assert_int_equal(session_stats(world_node(world, 1)->session).in_flight, 0);
}

// A follower refused the request; the network repeats it after the follower became the leader. The
// gateway has long said "certainly not applied".
static void test_session_a_repeated_copy_of_a_refused_request_is_not_processed(void **state) {
    (void)state;
    struct world_node *gateway = world_node(world, 4);
    shard_map_note_leader(gateway->map, WORLD_LEFT, (struct node_id){2}, 0);
    struct world_call call;
    world_create_key(gateway, &call, 1, KEY("a"), 1);
    struct bytes *copy = bytes_ref(world->kept_request);
    world_run(world, 5);
    ends_with(&call, STATUS_DEADLINE_EXCEEDED);
    world_call_deinit(&call);
    world_run(world, 2000);
    const uint32_t leader = world_leader(world, WORLD_LEFT);
    if (leader != 2) {
        struct replica *replica = replica_table_find(world_node(world, leader)->table, WORLD_LEFT);
        assert_int_equal(replica_transfer(replica, (struct node_id){2}), STATUS_OK);
        world_run(world, 500);
    }
    assert_int_equal(world_leader(world, WORLD_LEFT), 2);
    assert_int_equal(session_on_message(world_node(world, 2)->session, gateway->id, PEER_REQUEST,
                                        bytes_slice(copy)),
                     STATUS_OK);
    bytes_unref(copy);
    world_run(world, 100);
    assert_int_equal(session_stats(world_node(world, 2)->session).duplicates, 1);
    assert_int_equal(mark_count("session.duplicate_request"), 1);
    assert_int_equal(read_back(2, KEY("a")), STATUS_NOT_FOUND);
}

// --- Maps ---

static void replace_map(struct world_node *node, struct shard_id shard, uint64_t epoch,
                        struct slice end) {
    struct shard_map *map = shard_map_create();
    struct shard_descriptor descriptor;
    world_descriptor(shard, &descriptor);
    descriptor.epoch = epoch;
    bytes_unref(descriptor.end);
    descriptor.end = bytes_copy(end);
    assert_true(shard_map_put(map, &descriptor));
    shard_descriptor_deinit(&descriptor);
    // The session holds a pointer to the map: its contents must change, not the map.
    struct buf delta;
    buf_init(&delta, 1 << 16);
    struct codec_writer w;
    codec_writer_init(&w, &delta);
    shard_map_encode_delta(map, 0, &w);
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&delta));
    assert_int_equal(shard_map_apply_delta(node->map, &r), STATUS_OK);
    buf_deinit(&delta);
    shard_map_destroy(map);
}

// The map of this gateway is from after a split that the replicas have not heard of: it keeps its
// own and waits; nothing is applied under the wrong epoch.
static void test_session_ahead_of_the_replicas_waits(void **state) {
    (void)state;
    struct world_node *gateway = world_node(world, 4);
    replace_map(gateway, WORLD_LEFT, WORLD_EPOCH + 1, KEY("f"));
    struct world_call call;
    world_create_key(gateway, &call, 1, KEY("a"), 300);
    world_run(world, 310);
    ends_with(&call, STATUS_DEADLINE_EXCEEDED);
    assert_non_null(strstr(call.detail, "STALE_SHARD_MAP"));
    world_call_deinit(&call);
    assert_int_equal(shard_map_find(gateway->map, KEY("a"))->epoch, WORLD_EPOCH + 1);
    assert_int_equal(read_back(1, KEY("a")), STATUS_NOT_FOUND);
}

// A gateway from before the split: one shard for everything, one epoch back. The answer brings the
// descriptor, and the call goes on at once.
static void test_session_behind_the_replicas_learns_from_the_answer(void **state) {
    (void)state;
    struct world_node *gateway = world_node(world, 4);
    world_forget_map(gateway);
    replace_map(gateway, WORLD_LEFT, WORLD_EPOCH - 1, SLICE_EMPTY);
    struct world_call call;
    world_create_key(gateway, &call, 1, KEY("a"), 3000);
    world_run(world, 100);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
    assert_int_equal(shard_map_find(gateway->map, KEY("a"))->epoch, WORLD_EPOCH);
    // What the old descriptor covered besides is a hole now.
    world_create_key(gateway, &call, 2, KEY("z"), 100);
    world_run(world, 110);
    ends_with(&call, STATUS_DEADLINE_EXCEEDED);
    assert_non_null(strstr(call.detail, "no shard is known"));
    world_call_deinit(&call);
}

// --- Clocks ---

static void test_session_a_gateway_far_ahead_is_refused(void **state) {
    (void)state;
    struct world_node *gateway = world_node(world, 4);
    assert_int_equal(read_back(4, KEY("a")), STATUS_NOT_FOUND);
    gateway->wall_offset_us = 3600000000;
    struct world_call call;
    world_create_key(gateway, &call, 1, KEY("a"), 1000);
    world_run(world, 50);
    ends_with(&call, STATUS_CLOCK_AHEAD);
    world_call_deinit(&call);
    const uint64_t wall = 1700000000000000 + world->now_ns / 1000;
    assert_true(hlc_wall_us(world_node(world, 1)->hlc.last) < wall + 1000000);
    assert_int_equal(session_stats(world_node(world, 1)->session).clock_ahead, 1);
}

// The leader is far ahead: its reads are refused, its commits are what they are, its clock is not
// adopted.
static void test_session_a_leader_far_ahead_is_not_followed(void **state) {
    (void)state;
    struct world_node *gateway = world_node(world, 4);
    assert_int_equal(read_back(4, KEY("a")), STATUS_NOT_FOUND);
    world_node(world, 1)->wall_offset_us = 3600000000;
    world_run(world, 500);
    struct world_call call;
    world_create_key(gateway, &call, 1, KEY("a"), 1000);
    world_run(world, 500);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
    world_read(gateway, &call, KEY("a"), NULL);
    world_run(world, 500);
    ends_with(&call, STATUS_CLOCK_AHEAD);
    assert_int_equal(call.result.size, 0);
    world_call_deinit(&call);
    const uint64_t wall = 1700000000000000 + world->now_ns / 1000;
    assert_true(hlc_wall_us(gateway->hlc.last) < wall + 1000000);
}

// --- Bounds ---

static void test_session_calls_beyond_the_bound_are_refused_at_once(void **state) {
    (void)state;
    struct world_call calls[6];
    world->lose = lose_requests;
    for (uint32_t i = 0; i < 6; i++) {
        world_create_key(world_node(world, 4), &calls[i], i + 1, KEY("a"), 200);
        assert_int_equal(calls[i].ended, i < 4 ? 0 : 1);
    }
    ends_with(&calls[4], STATUS_OVERLOADED);
    ends_with(&calls[5], STATUS_OVERLOADED);
    world_run(world, 210);
    for (uint32_t i = 0; i < 6; i++) {
        if (i < 4) { ends_with(&calls[i], STATUS_UNKNOWN_OUTCOME); }
        world_call_deinit(&calls[i]);
    }
    const struct session_stats stats = session_stats(world_node(world, 4)->session);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.overloaded, 2);
    world->lose = NULL;
    assert_int_equal(read_back(4, KEY("a")), STATUS_NOT_FOUND);
}

static void test_session_served_requests_beyond_the_bound_are_refused(void **state) {
    (void)state;
    struct world_call calls[4];
    // So that the requests find the leader at once and together.
    assert_int_equal(read_back(4, KEY("a")), STATUS_NOT_FOUND);
    for (uint32_t i = 0; i < 4; i++) {
        world_create_key(world_node(world, 4), &calls[i], i + 1, KEY("a"), 1000);
    }
    world_run(world, 100);
    uint32_t overloaded = 0;
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(calls[i].ended, 1);
        overloaded += calls[i].status == STATUS_OVERLOADED ? 1 : 0;
        world_call_deinit(&calls[i]);
    }
    assert_int_equal(overloaded, 2);
    assert_int_equal(session_stats(world_node(world, 1)->session).served, 0);
}

// --- Callers ---

static void test_session_cancel_ends_calls_honestly(void **state) {
    (void)state;
    struct session *session = world_node(world, 4)->session;
    struct world_call remote;
    struct world_call read;
    struct world_call local;
    world->lose = lose_requests;
    world_create_key(world_node(world, 4), &remote, 1, KEY("a"), 1000);
    world_read(world_node(world, 4), &read, KEY("a"), NULL);
    session_cancel(session, &remote.call);
    session_cancel(session, &read.call);
    ends_with(&remote, STATUS_UNKNOWN_OUTCOME);
    ends_with(&read, STATUS_CANCELLED);
    world->lose = NULL;
    world_create_key(world_node(world, 1), &local, 2, KEY("b"), 1000);
    session_cancel(world_node(world, 1)->session, &local.call);
    ends_with(&local, STATUS_UNKNOWN_OUTCOME);
    world_run(world, 2000);
    assert_int_equal(remote.ended + read.ended + local.ended, 3);
    assert_int_equal(read_back(1, KEY("b")), STATUS_OK);
    world_call_deinit(&remote);
    world_call_deinit(&read);
    world_call_deinit(&local);
}

// Waiting for a leader, nothing sent that could still be processed: cancelled for certain.
static void test_session_cancel_while_waiting_is_certain(void **state) {
    (void)state;
    struct world_call call;
    world_create_key(world_node(world, 1), &call, 1, KEY("a"), 1000);
    world_run(world, 1);
    for (uint32_t i = 0; i < 100 && session_stats(world_node(world, 1)->session).retries < 3; i++) {
        world_run(world, 1);
    }
    world_run(world, 1);
    session_cancel(world_node(world, 1)->session, &call.call);
    ends_with(&call, STATUS_CANCELLED);
    world_call_deinit(&call);
}

// Calls of all kinds are under way when the session is destroyed: each ends once.
static void test_session_destroy_ends_every_call(void **state) {
    (void)state;
    struct world_call calls[8];
    for (uint32_t i = 0; i < 4; i++) {
        world_create_key(world_node(world, 1 + i), &calls[2 * i], i + 1, KEY("a"), 1000);
        const struct command_read options = {
            .snapshot = {.consistency = COMMAND_STRONG_READ_INDEX}};
        world_read(world_node(world, 1 + i), &calls[2 * i + 1], KEY("a"), &options);
    }
    world_destroy(world);
    for (uint32_t i = 0; i < 8; i++) {
        ends_with(&calls[i], i % 2 == 0 ? STATUS_UNKNOWN_OUTCOME : STATUS_CANCELLED);
        world_call_deinit(&calls[i]);
    }
    world = world_create(4, 4, true);
}

struct chain {
    struct world_call call;
    uint32_t left;
};

static void chain_next(struct session_call *call, const struct session_result *result) {
    struct chain *chain = (struct chain *)(void *)call;
    assert_int_equal(result->status, STATUS_OK);
    const struct slice before = result->payload;
    const uint8_t first = before.data[0];
    if (chain->left > 0) {
        chain->left--;
        session_start(world_node(world, 1)->session, call);
    } else {
        chain->call.ended++;
    }
    // The result outlives the call that was started before it was looked at.
    assert_int_equal(before.data[0], first);
}

static void test_session_done_may_start_the_next_call(void **state) {
    (void)state;
    struct chain chain = {.left = 50};
    world_read(world_node(world, 1), &chain.call, KEY("a"), NULL);
    ends_with(&chain.call, STATUS_OK);
    chain.call.call.done = chain_next;
    session_start(world_node(world, 1)->session, &chain.call.call);
    assert_int_equal(chain.call.ended, 2);
    assert_int_equal(session_stats(world_node(world, 1)->session).calls, 52);
    world_call_deinit(&chain.call);
}

// --- Peers ---

static void test_session_garbage_from_peers_is_refused(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 3);
    struct session *session = world_node(world, 1)->session;
    struct world_call call;
    world_create_key(world_node(world, 4), &call, 1, KEY("a"), 1000);
    struct bytes *good = bytes_ref(world->kept_request);
    uint32_t decoded = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        struct bytes *body = prng_chance(&prng, 1, 2) ? bytes_copy(bytes_slice(good))
                                                      : bytes_create(prng_below(&prng, 60));
        for (uint32_t k = 0; k < body->size; k++) {
            if (body->size != good->size || prng_chance(&prng, 1, 20)) {
                body->data[k] = (uint8_t)prng_next(&prng);
            }
        }
        const enum peer_message_type type = prng_chance(&prng, 1, 2) ? PEER_REQUEST : PEER_RESPONSE;
        const enum status st =
            session_on_message(session, (struct node_id){2}, type, bytes_slice(body));
        assert_true(st == STATUS_OK || st == STATUS_CORRUPT);
        decoded += st == STATUS_OK ? 1 : 0;
        bytes_unref(body);
        if (i % 50 == 0) { world_run(world, 1); }
    }
    assert_true(decoded > 0);
    bytes_unref(good);
    world_run(world, 1000);
    assert_int_equal(call.ended, 1);
    world_call_deinit(&call);
}

// --- All at once ---

static bool lose_some(struct world *self, const struct world_letter *letter) {
    if (letter->type != PEER_REQUEST && letter->type != PEER_RESPONSE) { return false; }
    return prng_chance(&self->prng, 1, 4);
}

// A quarter of all requests and answers is lost, leaders move. Every call creates its own key, so
// CONDITION_FAILED would mean that a repeat saw its own first attempt; OK must be found, a certain
// failure must not.
static void test_session_exactly_once_under_loss_and_moving_leaders(void **state) {
    (void)state;
    enum { CALLS = 300 };
    struct world_call *calls = mem_alloc_array(CALLS, sizeof(*calls));
    uint8_t keys[CALLS][7];
    uint32_t ok = 0;
    for (uint32_t i = 0; i < CALLS; i++) {
        memcpy(keys[i], "\0\0\0\1", 4);
        keys[i][4] = (uint8_t)(i % 2 == 0 ? 'a' : 'z');
        keys[i][5] = (uint8_t)(i / 256);
        keys[i][6] = (uint8_t)i;
    }
    for (uint32_t i = 0; i < CALLS; i++) {
        world->lose = lose_some;
        world_create_key(world_node(world, i % WORLD_NODES + 1), &calls[i], i + 1,
                         slice_make(keys[i], 7), 200 + 1000 * prng_below(&world->prng, 4));
        world_run(world, prng_below(&world->prng, 40));
        if (i % 25 == 24) {
            const uint32_t leader = world_leader(world, WORLD_LEFT);
            if (leader != 0) {
                (void)!replica_transfer(
                    replica_table_find(world_node(world, leader)->table, WORLD_LEFT),
                    (struct node_id){leader % WORLD_REPLICAS + 1});
            }
        }
    }
    world_run(world, 5000);
    world->lose = NULL;
    for (uint32_t i = 0; i < CALLS; i++) {
        assert_int_equal(calls[i].ended, 1);
        const enum status found = read_back(i % WORLD_NODES + 1, slice_make(keys[i], 7));
        if (calls[i].status == STATUS_OK) {
            assert_int_equal(found, STATUS_OK);
            ok++;
        } else if (calls[i].status != STATUS_UNKNOWN_OUTCOME) {
            ends_with(&calls[i], STATUS_DEADLINE_EXCEEDED);
            assert_int_equal(found, STATUS_NOT_FOUND);
        }
        world_call_deinit(&calls[i]);
    }
    assert_true(ok > CALLS / 2);
    mem_free(calls);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_session_a_lost_answer_is_asked_for_again),
        TEST(test_session_a_commit_without_answers_ends_unknown),
        TEST(test_session_a_commit_with_lost_requests_ends_unknown),
        cmocka_unit_test_setup_teardown(test_session_refusals_do_not_settle_a_lost_attempt,
                                        setup_leaderless, teardown),
        TEST(test_session_short_calls_leave_a_dead_leader_too),
        TEST(test_session_expired_requests_are_dropped),
        TEST(test_session_a_late_answer_is_taken),
        cmocka_unit_test_setup_teardown(test_session_without_a_leader_a_commit_certainly_fails,
                                        setup_leaderless, teardown),
        cmocka_unit_test_setup_teardown(test_session_waits_for_a_leader_to_be_elected,
                                        setup_leaderless, teardown),
        TEST(test_session_follows_the_leader_to_another_node),
        TEST(test_session_calls_under_way_follow_a_new_leader_at_once),
        TEST(test_session_a_cut_off_leader_reports_unknown),
        cmocka_unit_test_setup_teardown(
            test_session_a_repeated_copy_of_a_refused_request_is_not_processed, setup_leaderless,
            teardown),
        TEST(test_session_ahead_of_the_replicas_waits),
        TEST(test_session_behind_the_replicas_learns_from_the_answer),
        TEST(test_session_a_gateway_far_ahead_is_refused),
        TEST(test_session_a_leader_far_ahead_is_not_followed),
        cmocka_unit_test_setup_teardown(test_session_calls_beyond_the_bound_are_refused_at_once,
                                        setup_small, teardown),
        cmocka_unit_test_setup_teardown(test_session_served_requests_beyond_the_bound_are_refused,
                                        setup_small, teardown),
        TEST(test_session_cancel_ends_calls_honestly),
        cmocka_unit_test_setup_teardown(test_session_cancel_while_waiting_is_certain,
                                        setup_leaderless, teardown),
        TEST(test_session_destroy_ends_every_call),
        TEST(test_session_done_may_start_the_next_call),
        TEST(test_session_garbage_from_peers_is_refused),
        TEST(test_session_exactly_once_under_loss_and_moving_leaders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
