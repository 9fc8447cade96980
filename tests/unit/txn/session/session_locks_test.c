// SPDX-License-Identifier: Apache-2.0
// Prepared transactions at a leader: who waits for them and for how long, what they make uncertain,
// how they are resolved, and who hears that they are in the way. Shard "left" is led by node 1.
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/replica/replica_room.h"
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

static int teardown(void **state) {
    (void)state;
    world_destroy(world);
    return 0;
}

// The smaller the number, the older; all of today.
static struct hlc_ts begin_of(uint64_t number) {
    return (struct hlc_ts){hlc_from_wall(1700000000000000).v + number};
}

static struct world_node *node(uint32_t id) {
    return world_node(world, id);
}

static struct hlc_ts now_of(uint32_t id) {
    return hlc_peek(&node(id)->hlc, env_wall_us(&node(id)->env));
}

static void ends_with(const struct world_call *call, enum status status) {
    assert_int_equal(call->ended, 1);
    if (call->status != status) { fail_msg("%s: %s", status_name(call->status), call->detail); }
}

static void run_until(const struct world_call *call, uint32_t ms) {
    for (uint32_t i = 0; i < ms && call->ended == 0; i++) {
        world_run(world, 1);
    }
}

static struct hlc_ts put(uint64_t id, struct slice key, const char *value) {
    struct world_call call;
    world_put(node(1), &call, id, key, slice_from_string(value));
    run_until(&call, 100);
    ends_with(&call, STATUS_OK);
    const struct hlc_ts ts = call.certificate.timestamp;
    world_call_deinit(&call);
    return ts;
}

// Prepares the put of "new" to the key, and returns p.
static struct hlc_ts prepared(uint32_t gateway, uint64_t id, struct slice key) {
    const struct world_part part = {
        .id = id, .attempt = id, .begin = begin_of(id), .key = key, .value = SLICE_LITERAL("new")};
    struct world_call call;
    world_prepare(node(gateway), &call, &part, 1000);
    run_until(&call, 100);
    ends_with(&call, STATUS_OK);
    assert_int_equal(call.certificate.method, COMMAND_METHOD_LOG);
    const struct command_txn_answer answer = world_answer(&call);
    assert_int_equal(answer.state, COMMAND_TXN_PREPARED);
    world_call_deinit(&call);
    return answer.timestamp;
}

static void resolved(uint32_t gateway, uint64_t id, struct slice key,
                     enum command_decision decision, struct hlc_ts c) {
    struct world_call call;
    const struct world_part part = {.id = id, .attempt = id, .begin = begin_of(id), .key = key};
    world_resolve(node(gateway), &call, &part, decision, c);
    run_until(&call, 1000);
    ends_with(&call, STATUS_OK);
    const struct command_txn_answer answer = world_answer(&call);
    assert_int_equal(answer.state, decision == COMMAND_DECIDE_COMMIT ? COMMAND_TXN_COMMITTED
                                                                     : COMMAND_TXN_ABORTED);
    world_call_deinit(&call);
}

static void shows(const struct world_call *call, const char *value) {
    ends_with(call, STATUS_OK);
    bool found = false;
    const struct slice row = world_row(call, &found);
    assert_true(found && slice_equal(row, slice_from_string(value)));
}

static uint64_t waiting(uint32_t id) {
    return session_stats(node(id)->session).locks.waiting;
}

// --- Reads ---

static void test_locks_a_read_waits_and_sees_what_was_committed(void **state) {
    (void)state;
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway++) {
        const uint64_t id = 10 * gateway;
        (void)put(id, KEY("a"), "old");
        const struct hlc_ts p = prepared(1, id + 1, KEY("a"));
        struct world_call read;
        struct world_call other;
        world_read(node(gateway), &read, KEY("a"), NULL);
        world_read(node(gateway), &other, KEY("b"), NULL);
        // Longer than an attempt may last: silence it is not.
        world_run(world, 1200);
        assert_int_equal(read.ended, 0);
        ends_with(&other, STATUS_OK);
        assert_int_equal(waiting(1), 1);
        resolved(2, id + 1, KEY("a"), COMMAND_DECIDE_COMMIT, hlc_larger(p, now_of(2)));
        run_until(&read, 20);
        shows(&read, "new");
        assert_int_equal(mark_count("session.attempt_timed_out"), 0);
        assert_int_equal(waiting(1), 0);
        world_call_deinit(&read);
        world_call_deinit(&other);
    }
    assert_true(mark_count("session.waits_for_lock") > 0);
    assert_true(mark_count("session.waited_in_vain") > 0);
}

static void test_locks_a_scan_waits_for_its_span_only(void **state) {
    (void)state;
    (void)put(1, KEY("c"), "old");
    const struct hlc_ts p = prepared(1, 2, KEY("c"));
    const struct command_scan over = {.start = KEY("a"), .end = KEY("d"), .row_limit = 10};
    const struct command_scan beside = {.start = KEY("a"), .end = KEY("c"), .row_limit = 10};
    struct world_call calls[2];
    world_scan(node(1), &calls[0], &over);
    world_scan(node(1), &calls[1], &beside);
    world_run(world, 20);
    assert_int_equal(calls[0].ended, 0);
    ends_with(&calls[1], STATUS_OK);
    resolved(1, 2, KEY("c"), COMMAND_DECIDE_COMMIT, p);
    run_until(&calls[0], 20);
    ends_with(&calls[0], STATUS_OK);
    struct codec_reader r;
    struct command_row row = {0};
    bool more = false;
    struct slice resume;
    codec_reader_init(&r, buf_slice(&calls[0].result));
    assert_int_equal(command_scan_row_decode(&r, &row, &more, &resume), STATUS_OK);
    assert_true(slice_equal(row.value, SLICE_LITERAL("new")));
    assert_true(hlc_equal(row.version, p));
    world_call_deinit(&calls[0]);
    world_call_deinit(&calls[1]);
}

static void test_locks_waits_end_at_deadlines_and_with_their_callers(void **state) {
    (void)state;
    const struct hlc_ts p = prepared(1, 1, KEY("a"));
    struct world_call calls[4];
    world_read(node(1), &calls[0], KEY("a"), NULL);
    world_read(node(4), &calls[1], KEY("a"), NULL);
    world_put(node(1), &calls[2], 2, KEY("a"), SLICE_LITERAL("x"));
    world_read(node(1), &calls[3], KEY("a"), NULL);
    world_run(world, 100);
    session_cancel(node(1)->session, &calls[3].call);
    ends_with(&calls[3], STATUS_CANCELLED);
    session_check(node(1)->session);
    world_run(world, 2950);
    for (uint32_t i = 0; i < 3; i++) {
        // The commit too: certainly not applied.
        ends_with(&calls[i], STATUS_DEADLINE_EXCEEDED);
    }
    for (uint32_t i = 0; i < 4; i++) {
        world_call_deinit(&calls[i]);
    }
    world_run(world, 300);
    assert_int_equal(waiting(1), 0);
    resolved(1, 1, KEY("a"), COMMAND_DECIDE_COMMIT, p);
}

// What waits when the session ends: calls are told, what other gateways asked is silence.
static void test_locks_waits_end_with_the_session(void **state) {
    (void)state;
    (void)prepared(1, 1, KEY("a"));
    struct world_call own;
    struct world_call others;
    world_read(node(1), &own, KEY("a"), NULL);
    world_read(node(4), &others, KEY("a"), NULL);
    world_run(world, 10);
    assert_int_equal(waiting(1), 2);
    world_forget_map(node(1));
    ends_with(&own, STATUS_CANCELLED);
    assert_int_equal(others.ended, 0);
    session_cancel(node(4)->session, &others.call);
    world_call_deinit(&own);
    world_call_deinit(&others);
}

static void test_locks_waits_move_with_the_leader(void **state) {
    (void)state;
    const struct hlc_ts p = prepared(1, 1, KEY("a"));
    struct world_call read;
    struct world_call commit;
    world_read(node(1), &read, KEY("a"), NULL);
    world_put(node(4), &commit, 2, KEY("a"), SLICE_LITERAL("x"));
    world_run(world, 50);
    struct replica *replica = replica_table_find(node(1)->table, WORLD_LEFT);
    assert_int_equal(replica_transfer(replica, node(2)->id), STATUS_OK);
    world_run(world, 600);
    assert_int_equal(world_leader(world, WORLD_LEFT), 2);
    assert_int_equal(read.ended + commit.ended, 0);
    assert_int_equal(waiting(1), 0);
    assert_int_equal(waiting(2), 2);
    resolved(3, 1, KEY("a"), COMMAND_DECIDE_COMMIT, p);
    run_until(&read, 100);
    run_until(&commit, 100);
    ends_with(&read, STATUS_OK);
    ends_with(&commit, STATUS_OK);
    world_call_deinit(&read);
    world_call_deinit(&commit);
}

static void test_locks_too_many_waiters_are_refused(void **state) {
    (void)state;
    const struct hlc_ts p = prepared(1, 1, KEY("a"));
    struct world_call calls[9];
    for (uint32_t i = 0; i < 9; i++) {
        world_read(node(1), &calls[i], KEY("a"), NULL);
    }
    ends_with(&calls[8], STATUS_OVERLOADED);
    assert_int_equal(session_stats(node(1)->session).locks.overloaded, 1);
    resolved(1, 1, KEY("a"), COMMAND_DECIDE_COMMIT, p);
    for (uint32_t i = 0; i < 8; i++) {
        run_until(&calls[i], 10);
        shows(&calls[i], "new");
    }
    for (uint32_t i = 0; i < 9; i++) {
        world_call_deinit(&calls[i]);
    }
}

// --- Reads over several shards ---

static void read_at(uint32_t gateway, struct world_call *call, struct hlc_ts at,
                    struct hlc_ts contact) {
    const struct command_read options = {.snapshot = {.at = at, .contact = contact}};
    world_read(node(gateway), call, KEY("a"), &options);
}

// Prepared here before first contact, committed above the snapshot and above first contact: it may
// have been acknowledged before the read began, so its timestamp alone would mislead.
static void test_locks_a_snapshot_below_what_was_prepared_is_uncertain(void **state) {
    (void)state;
    (void)put(1, KEY("a"), "old");
    const struct hlc_ts at = now_of(1);
    world_run(world, 2);
    const struct hlc_ts p = prepared(1, 2, KEY("a"));
    assert_true(hlc_before(at, p));
    struct world_call read;
    read_at(4, &read, at, HLC_ZERO);
    world_run(world, 20);
    assert_int_equal(read.ended, 0);
    const struct hlc_ts c = hlc_add_us(now_of(1), 200000);
    resolved(1, 2, KEY("a"), COMMAND_DECIDE_COMMIT, c);
    run_until(&read, 20);
    ends_with(&read, STATUS_OK);
    assert_int_equal(read.uncertain.v, c.v);
    assert_int_equal(read.result.size, 0);
    assert_false(hlc_before(read.contact, p));
    assert_true(hlc_before(read.contact, c));
    const struct hlc_ts contact = read.contact;
    world_call_deinit(&read);
    // Once more at that timestamp, with the contact of the first time.
    read_at(4, &read, c, contact);
    run_until(&read, 500);
    shows(&read, "new");
    assert_int_equal(read.uncertain.v, 0);
    assert_int_equal(read.contact.v, contact.v);
    assert_true(hlc_equal(read.certificate.timestamp, c));
    world_call_deinit(&read);
}

// Prepared after first contact: it cannot have been acknowledged before the read began.
static void test_locks_what_was_prepared_after_contact_is_certain(void **state) {
    (void)state;
    (void)put(1, KEY("a"), "old");
    struct world_call read;
    const struct hlc_ts at = now_of(1);
    read_at(1, &read, at, HLC_ZERO);
    run_until(&read, 20);
    shows(&read, "old");
    const struct hlc_ts contact = read.contact;
    assert_true(contact.v != 0);
    world_call_deinit(&read);
    const struct hlc_ts p = prepared(1, 2, KEY("a"));
    // Not even waited for.
    read_at(1, &read, at, contact);
    run_until(&read, 5);
    shows(&read, "old");
    world_call_deinit(&read);
    resolved(1, 2, KEY("a"), COMMAND_DECIDE_COMMIT, p);
    read_at(1, &read, at, contact);
    run_until(&read, 5);
    shows(&read, "old");
    assert_int_equal(read.uncertain.v, 0);
    world_call_deinit(&read);
    // A new read, whose contact is now.
    read_at(1, &read, at, HLC_ZERO);
    run_until(&read, 5);
    ends_with(&read, STATUS_OK);
    assert_int_equal(read.uncertain.v, p.v);
    world_call_deinit(&read);
}

static void test_locks_a_scan_is_uncertain_where_it_looked(void **state) {
    (void)state;
    (void)put(1, KEY("b"), "old");
    (void)put(2, KEY("d"), "old");
    const struct hlc_ts at = now_of(1);
    world_run(world, 2);
    const struct hlc_ts inside = put(3, KEY("c"), "new");
    const struct hlc_ts beyond = put(4, KEY("e"), "new");
    struct command_scan scan = {
        .snapshot = {.at = at}, .start = KEY("a"), .end = KEY("f"), .row_limit = 1};
    // A page that ends before: its part holds nothing new.
    struct world_call call;
    world_scan(node(1), &call, &scan);
    run_until(&call, 20);
    ends_with(&call, STATUS_OK);
    assert_int_equal(call.uncertain.v, inside.v);
    world_call_deinit(&call);
    scan.end = KEY("c");
    world_scan(node(1), &call, &scan);
    run_until(&call, 20);
    ends_with(&call, STATUS_OK);
    assert_int_equal(call.uncertain.v, 0);
    assert_true(call.result.size > 0);
    world_call_deinit(&call);
    scan.end = KEY("f");
    scan.reverse = true;
    scan.row_limit = 10;
    world_scan(node(1), &call, &scan);
    run_until(&call, 20);
    ends_with(&call, STATUS_OK);
    assert_int_equal(call.uncertain.v, beyond.v);
    world_call_deinit(&call);
}

// --- Replicas that do not lead ---

static void test_locks_closed_lies_below_what_is_prepared(void **state) {
    (void)state;
    (void)put(1, KEY("a"), "old");
    const struct hlc_ts p = prepared(1, 2, KEY("a"));
    world_run(world, 300);
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway++) {
        const struct command_read any = {.snapshot = {.consistency = COMMAND_ANY}};
        struct world_call call;
        world_read(node(gateway), &call, KEY("a"), &any);
        run_until(&call, 20);
        shows(&call, "old");
        assert_true(hlc_before(call.certificate.timestamp, p));
        assert_true(hlc_before(call.certificate.closed, p));
        world_call_deinit(&call);
    }
    const struct command_read at = {.snapshot = {.consistency = COMMAND_AT, .at = p}};
    struct world_call calls[3];
    for (uint32_t i = 0; i < 3; i++) {
        world_read(node(i + 1), &calls[i], KEY("a"), &at);
    }
    world_run(world, 100);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(calls[i].ended, 0);
    }
    resolved(1, 2, KEY("a"), COMMAND_DECIDE_COMMIT, p);
    for (uint32_t i = 0; i < 3; i++) {
        run_until(&calls[i], 300);
        shows(&calls[i], "new");
        assert_true(hlc_equal(calls[i].certificate.timestamp, p));
        world_call_deinit(&calls[i]);
    }
    // Now everybody may close beyond it.
    world_run(world, 100);
    const struct command_read token = {.snapshot = {.consistency = COMMAND_SESSION, .at_least = p}};
    world_read(node(3), &calls[0], KEY("a"), &token);
    run_until(&calls[0], 30);
    shows(&calls[0], "new");
    assert_int_equal(calls[0].certificate.method, COMMAND_METHOD_CLOSED);
    world_call_deinit(&calls[0]);
}

// --- Commits of one shard ---

static void test_locks_a_commit_waits_whatever_its_age(void **state) {
    (void)state;
    const struct hlc_ts p = prepared(1, 1, KEY("a"));
    struct world_call calls[2];
    world_put(node(1), &calls[0], 2, KEY("a"), SLICE_LITERAL("x"));
    world_put(node(4), &calls[1], 3, KEY("a"), SLICE_LITERAL("y"));
    world_run(world, 800);
    assert_int_equal(calls[0].ended + calls[1].ended, 0);
    resolved(1, 1, KEY("a"), COMMAND_DECIDE_COMMIT, p);
    for (uint32_t i = 0; i < 2; i++) {
        run_until(&calls[i], 30);
        ends_with(&calls[i], STATUS_OK);
        assert_true(hlc_before(p, calls[i].certificate.timestamp));
        world_call_deinit(&calls[i]);
    }
    assert_int_equal(mark_count("session.attempt_timed_out"), 0);
}

// What is on its way through the log is in the way already.
static void test_locks_a_commit_behind_a_prepare_in_flight_waits_too(void **state) {
    (void)state;
    for (uint32_t gateway = 1; gateway <= 4; gateway += 3) {
        const uint64_t id = 10 * gateway;
        (void)put(id, KEY("a"), "old");
        const struct world_part part = {.id = id + 1,
                                        .attempt = id + 1,
                                        .begin = begin_of(id + 1),
                                        .key = KEY("a"),
                                        .value = SLICE_LITERAL("new")};
        struct world_call prepare;
        struct world_call commit;
        world_prepare(node(gateway), &prepare, &part, 1000);
        world_put(node(gateway), &commit, id + 2, KEY("a"), SLICE_LITERAL("x"));
        world_run(world, 200);
        ends_with(&prepare, STATUS_OK);
        const struct command_txn_answer answer = world_answer(&prepare);
        assert_int_equal(answer.state, COMMAND_TXN_PREPARED);
        assert_int_equal(commit.ended, 0);
        resolved(1, id + 1, KEY("a"), COMMAND_DECIDE_ABORT, HLC_ZERO);
        run_until(&commit, 300);
        ends_with(&commit, STATUS_OK);
        world_call_deinit(&prepare);
        world_call_deinit(&commit);
    }
    assert_true(mark_count("session.latched") >= 1);
    assert_int_equal(mark_count("session.locked_when_applied"), 0);
    assert_int_equal(mark_count("session.attempt_timed_out"), 0);
}

// Nobody knew of the lock when the commit was proposed: applying finds it. Not the client's
// trouble. Here the prepare was the second one under way of its id.
static void test_locks_a_lock_that_applying_finds_is_waited_for(void **state) {
    (void)state;
    const struct hlc_ts first = put(1, KEY("b"), "old");
    (void)put(2, KEY("b"), "newer");
    struct world_part part = {.id = 10,
                              .attempt = 1,
                              .begin = begin_of(10),
                              .key = KEY("b"),
                              .reads = true,
                              .snapshot = first};
    struct world_call stale;
    struct world_call prepare;
    struct world_call commit;
    world_prepare(node(1), &stale, &part, 1000);
    part = (struct world_part){.id = 10,
                               .attempt = 2,
                               .begin = begin_of(10),
                               .key = KEY("a"),
                               .value = SLICE_LITERAL("new")};
    world_prepare(node(1), &prepare, &part, 1000);
    world_put(node(1), &commit, 3, KEY("a"), SLICE_LITERAL("x"));
    world_run(world, 100);
    assert_int_equal(world_answer(&stale).state, COMMAND_TXN_ABORTED);
    assert_int_equal(world_answer(&prepare).state, COMMAND_TXN_PREPARED);
    assert_int_equal(commit.ended, 0);
    assert_int_equal(mark_count("session.locked_when_applied"), 1);
    world_call_deinit(&stale);
    world_resolve(node(1), &stale, &part, COMMAND_DECIDE_ABORT, HLC_ZERO);
    run_until(&commit, 100);
    ends_with(&commit, STATUS_OK);
    world_call_deinit(&stale);
    world_call_deinit(&prepare);
    world_call_deinit(&commit);
}

static void test_locks_a_read_that_is_not_the_newest_ends_the_commit(void **state) {
    (void)state;
    const struct hlc_ts first = put(1, KEY("a"), "old");
    const struct hlc_ts second = put(2, KEY("a"), "newer");
    const struct command_span span = {.start = KEY("a")};
    const struct command_mutation mutation = {COMMAND_PUT, KEY("b"), SLICE_LITERAL("x")};
    const struct command_commit commit = {.snapshot = first,
                                          .reads = &span,
                                          .read_count = 1,
                                          .mutations = &mutation,
                                          .mutation_count = 1};
    struct world_call call;
    world_commit(node(4), &call, 3, 1000, &commit);
    run_until(&call, 100);
    ends_with(&call, STATUS_ABORTED_RETRY);
    assert_int_equal(call.certificate.method, COMMAND_METHOD_LOG);
    const struct command_txn_answer answer = world_answer(&call);
    assert_int_equal(answer.reason, COMMAND_REASON_READ);
    assert_true(hlc_equal(answer.timestamp, second));
    world_call_deinit(&call);
}

// --- Prepares ---

static void test_locks_the_older_waits_and_the_younger_dies(void **state) {
    (void)state;
    const struct hlc_ts p = prepared(1, 50, KEY("a"));
    struct world_part part = {.id = 60,
                              .attempt = 60,
                              .begin = begin_of(60),
                              .key = KEY("a"),
                              .value = SLICE_LITERAL("x")};
    struct world_call young;
    struct world_call old;
    world_prepare(node(4), &young, &part, 1000);
    part.id = part.attempt = 40;
    part.begin = begin_of(40);
    world_prepare(node(4), &old, &part, 2000);
    run_until(&young, 100);
    ends_with(&young, STATUS_OK);
    struct command_txn_answer answer = world_answer(&young);
    assert_int_equal(answer.state, COMMAND_TXN_ABORTED);
    assert_int_equal(answer.reason, COMMAND_REASON_LOCKED);
    assert_true(txn_id_equal(answer.holder, world_txn_id(50)));
    world_run(world, 700);
    assert_int_equal(old.ended, 0);
    resolved(1, 50, KEY("a"), COMMAND_DECIDE_COMMIT, p);
    run_until(&old, 50);
    ends_with(&old, STATUS_OK);
    answer = world_answer(&old);
    assert_int_equal(answer.state, COMMAND_TXN_PREPARED);
    assert_true(hlc_before(p, answer.timestamp));
    world_call_deinit(&young);
    world_call_deinit(&old);
    // At its deadline an older one has done nothing.
    part.id = part.attempt = 30;
    part.begin = begin_of(30);
    world_prepare(node(1), &old, &part, 200);
    world_run(world, 210);
    ends_with(&old, STATUS_DEADLINE_EXCEEDED);
    world_call_deinit(&old);
    resolved(1, 30, KEY("a"), COMMAND_DECIDE_PROBE, HLC_ZERO);
    resolved(1, 40, KEY("a"), COMMAND_DECIDE_ABORT, HLC_ZERO);
}

static bool lose_responses(struct world *self, const struct world_letter *letter) {
    (void)self;
    return letter->type == PEER_RESPONSE;
}

// Silence is no refusal: the attempt may hold its locks.
static void test_locks_a_prepare_without_an_answer_ends_unknown(void **state) {
    (void)state;
    world->lose = lose_responses;
    const struct world_part part = {
        .id = 1, .attempt = 1, .begin = begin_of(1), .key = KEY("a"), .value = SLICE_LITERAL("x")};
    struct world_call call;
    world_prepare(node(4), &call, &part, 700);
    world_run(world, 710);
    ends_with(&call, STATUS_UNKNOWN_OUTCOME);
    assert_int_equal(call.certificate.method, COMMAND_METHOD_NONE);
    world_call_deinit(&call);
    world->lose = NULL;
    world_prepare(node(4), &call, &part, 700);
    run_until(&call, 700);
    ends_with(&call, STATUS_OK);
    assert_int_equal(world_answer(&call).state, COMMAND_TXN_PREPARED);
    world_call_deinit(&call);
}

static void test_locks_a_part_must_lie_in_the_shard(void **state) {
    (void)state;
    struct world_call call;
    const struct world_part part = {
        .id = 1, .attempt = 1, .begin = begin_of(1), .key = KEY("z"), .value = SLICE_LITERAL("x")};
    world_prepare(node(1), &call, &part, 1000);
    run_until(&call, 100);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
    // The same bytes, sent to the other shard.
    world_prepare(node(1), &call, &part, 1000);
    session_cancel(node(1)->session, &call.call);
    struct buf payload = call.payload;
    call.payload = (struct buf){0};
    world_call_deinit(&call);
    call = (struct world_call){.call = call.call, .payload = payload};
    buf_init(&call.result, 1 << 20);
    call.call.key = KEY("a");
    session_start(node(1)->session, &call.call);
    ends_with(&call, STATUS_INVALID_ARGUMENT);
    assert_int_equal(call.certificate.method, COMMAND_METHOD_NONE);
    world_call_deinit(&call);
}

static void test_locks_a_clock_far_ahead_prepares_nothing(void **state) {
    (void)state;
    struct world_call call;
    world_read(node(4), &call, KEY("a"), NULL);  // to know the leader
    run_until(&call, 50);
    world_call_deinit(&call);
    hlc_adopt(&node(1)->hlc, hlc_add_us(now_of(1), 2500000));
    const struct world_part part = {
        .id = 1, .attempt = 1, .begin = begin_of(1), .key = KEY("a"), .value = SLICE_LITERAL("x")};
    world_prepare(node(4), &call, &part, 1000);
    run_until(&call, 100);
    ends_with(&call, STATUS_CLOCK_AHEAD);
    world_call_deinit(&call);
}

// --- Resolving ---

// However far ahead c lies: what commits here afterwards lies above.
static void test_locks_a_decided_timestamp_is_adopted(void **state) {
    (void)state;
    (void)prepared(1, 1, KEY("a"));
    const struct hlc_ts c = hlc_add_us(now_of(1), 300000);
    resolved(1, 1, KEY("a"), COMMAND_DECIDE_COMMIT, c);
    assert_true(hlc_before(c, put(2, KEY("a"), "x")));
}

static void test_locks_resolving_goes_on_when_the_disk_is_full(void **state) {
    (void)state;
    const struct hlc_ts p = prepared(1, 1, KEY("a"));
    for (uint32_t i = 1; i <= WORLD_REPLICAS; i++) {
        replica_table_set_room(node(i)->table, REPLICA_ROOM_RESERVE, "the disk is full");
    }
    const struct world_part part = {
        .id = 2, .attempt = 2, .begin = begin_of(2), .key = KEY("b"), .value = SLICE_LITERAL("x")};
    struct world_call call;
    world_prepare(node(1), &call, &part, 1000);
    run_until(&call, 100);
    ends_with(&call, STATUS_NO_SPACE);
    world_call_deinit(&call);
    resolved(1, 1, KEY("a"), COMMAND_DECIDE_COMMIT, p);
}

// --- Recovery ---

static void test_locks_the_silent_are_reported_where_the_leader_is(void **state) {
    (void)state;
    const struct hlc_ts p = prepared(4, 1, KEY("a"));
    world_run(world, 450);
    for (uint32_t i = 1; i <= WORLD_NODES; i++) {
        assert_int_equal(node(i)->recoveries, 0);
    }
    world_run(world, 200);
    assert_int_equal(node(1)->recoveries, 1);
    assert_true(txn_id_equal(node(1)->recovered, world_txn_id(1)));
    assert_int_equal(node(2)->recoveries + node(3)->recoveries + node(4)->recoveries, 0);
    assert_int_equal(session_stats(node(1)->session).locks.holders, 1);
    // Another leader finds it by itself.
    struct replica *replica = replica_table_find(node(1)->table, WORLD_LEFT);
    assert_int_equal(replica_transfer(replica, node(2)->id), STATUS_OK);
    world_run(world, 300);
    assert_true(node(2)->recoveries >= 1);
    resolved(1, 1, KEY("a"), COMMAND_DECIDE_COMMIT, p);
    world_run(world, 1000);
    assert_int_equal(session_stats(node(2)->session).locks.holders, 0);
}

static void test_locks_a_waiter_has_its_holder_recovered(void **state) {
    (void)state;
    const struct hlc_ts p = prepared(4, 1, KEY("a"));
    world_run(world, 60);
    struct world_call read;
    world_read(node(1), &read, KEY("a"), NULL);
    world_run(world, 60);
    assert_int_equal(node(1)->recoveries, 1);
    resolved(1, 1, KEY("a"), COMMAND_DECIDE_COMMIT, p);
    run_until(&read, 10);
    shows(&read, "new");
    world_call_deinit(&read);
}

static void test_locks_asking_for_an_outcome_finds_it(void **state) {
    (void)state;
    struct world_part part = {.id = 1,
                              .attempt = 1,
                              .begin = begin_of(1),
                              .key = KEY("a"),
                              .value = SLICE_LITERAL("new"),
                              .home = true};
    struct world_call call;
    world_prepare(node(1), &call, &part, 1000);
    run_until(&call, 100);
    ends_with(&call, STATUS_OK);
    const struct hlc_ts p = world_answer(&call).timestamp;
    world_call_deinit(&call);
    // Nobody finds it: the answer comes in time, and says why.
    world_txn_status(node(4), &call, 1, KEY("a"));
    world_run(world, 20);
    assert_int_equal(node(1)->recoveries, 1);
    // The leader of the shard asks for patience again and again; that is no answer for the caller.
    world_run(world, 2000);
    assert_int_equal(call.ended, 0);
    run_until(&call, 900);
    ends_with(&call, STATUS_NOT_FOUND);
    assert_int_equal(call.result.size, 1);
    assert_int_equal(call.result.data[0], 1);
    world_call_deinit(&call);
    world_txn_status(node(1), &call, 1, KEY("a"));
    world_run(world, 20);
    assert_int_equal(call.ended, 0);
    resolved(1, 1, KEY("a"), COMMAND_DECIDE_COMMIT, p);
    run_until(&call, 20);
    ends_with(&call, STATUS_OK);
    assert_true(hlc_equal(world_outcome(&call).timestamp, p));
    world_call_deinit(&call);
    // One that nobody knows is not waited for.
    world_txn_status(node(1), &call, 99, KEY("a"));
    run_until(&call, 5);
    ends_with(&call, STATUS_NOT_FOUND);
    assert_int_equal(call.result.size, 0);
    world_call_deinit(&call);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_locks_a_read_waits_and_sees_what_was_committed),
        TEST(test_locks_a_scan_waits_for_its_span_only),
        TEST(test_locks_waits_end_at_deadlines_and_with_their_callers),
        TEST(test_locks_waits_end_with_the_session),
        TEST(test_locks_waits_move_with_the_leader),
        TEST(test_locks_too_many_waiters_are_refused),
        TEST(test_locks_a_snapshot_below_what_was_prepared_is_uncertain),
        TEST(test_locks_what_was_prepared_after_contact_is_certain),
        TEST(test_locks_a_scan_is_uncertain_where_it_looked),
        TEST(test_locks_closed_lies_below_what_is_prepared),
        TEST(test_locks_a_commit_waits_whatever_its_age),
        TEST(test_locks_a_commit_behind_a_prepare_in_flight_waits_too),
        TEST(test_locks_a_lock_that_applying_finds_is_waited_for),
        TEST(test_locks_a_read_that_is_not_the_newest_ends_the_commit),
        TEST(test_locks_the_older_waits_and_the_younger_dies),
        TEST(test_locks_a_prepare_without_an_answer_ends_unknown),
        TEST(test_locks_a_part_must_lie_in_the_shard),
        TEST(test_locks_a_clock_far_ahead_prepares_nothing),
        TEST(test_locks_a_decided_timestamp_is_adopted),
        TEST(test_locks_resolving_goes_on_when_the_disk_is_full),
        TEST(test_locks_the_silent_are_reported_where_the_leader_is),
        TEST(test_locks_a_waiter_has_its_holder_recovered),
        TEST(test_locks_asking_for_an_outcome_finds_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
