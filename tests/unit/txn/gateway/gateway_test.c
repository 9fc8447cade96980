// SPDX-License-Identifier: Apache-2.0
// Transactions over several shards, story by story, over a session whose answers are the test's.
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "tests/unit/txn/gateway/gateway_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct world *world;
    struct client client;
};

static int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof(*f));
    mark_reset_all();
    f->world = world_create(4, 4);
    client_init(&f->client);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    world_destroy(f->world);
    client_deinit(&f->client);
    mem_free(f);
    return 0;
}

static uint64_t in_flight(const struct fixture *f) {
    return gateway_stats(f->world->gateway).in_flight;
}

// --- One shard ---

static void test_gateway_one_shard_goes_through_untouched(void **state) {
    struct fixture *f = *state;
    const struct command_mutation puts[] = {
        {.kind = COMMAND_PUT, .key = KEY("a"), .value = SLICE_LITERAL("1")},
        {.kind = COMMAND_PUT, .key = KEY("b"), .value = SLICE_LITERAL("2")}};
    const struct command_commit commit = {.mutation_count = 2, .mutations = puts};
    client_commit(f->world, &f->client, 1, 100, &commit);
    assert_ptr_equal(world_find(f->world, COMMAND_COMMIT, WORLD_A), &f->client.call);
    assert_int_equal(f->world->call_count, 1);
    gateway_cancel(f->world->gateway, &f->client.call);
    assert_int_equal(f->client.ended, 1);
    // The excluded end of a range is no key of the next shard.
    const struct command_mutation range = {
        .kind = COMMAND_DELETE_RANGE, .key = KEY("a"), .value = KEY("g")};
    const struct command_commit deletes = {.mutation_count = 1, .mutations = &range};
    client_commit(f->world, &f->client, 2, 100, &deletes);
    assert_ptr_equal(world_find(f->world, COMMAND_COMMIT, WORLD_A), &f->client.call);
    gateway_cancel(f->world->gateway, &f->client.call);
    assert_int_equal(gateway_stats(f->world->gateway).one_phase, 2);
    assert_int_equal(gateway_stats(f->world->gateway).two_phase, 0);
}

// --- What is driven ---

struct driven {
    uint32_t count;
    struct gateway_view last;
};

static bool note_driven(void *ctx, const struct gateway_view *view) {
    struct driven *self = ctx;
    self->count++;
    self->last = *view;
    return true;
}

static struct driven driven_of(const struct fixture *f) {
    struct driven driven = {0};
    gateway_each(f->world->gateway, note_driven, &driven);
    return driven;
}

// Goal: what is driven is listed from its first prepare until all have forgotten it, phase by
// phase; a call for one shard never is.
static void test_gateway_lists_what_it_drives(void **state) {
    struct fixture *f = *state;
    struct command_prepare_view a;
    assert_int_equal(driven_of(f).count, 0);
    client_put_two(f->world, &f->client, 1, 100);
    (void)world_prepare(f->world, WORLD_A, &a);
    struct driven seen = driven_of(f);
    assert_int_equal(seen.count, 1);
    assert_true(txn_id_equal(seen.last.txn, a.txn));
    assert_true(txn_attempt_equal(seen.last.attempt, a.attempt));
    assert_int_equal(seen.last.begin.v, a.begin.v);
    assert_int_equal(seen.last.phase, COORDINATOR_PREPARING);
    assert_int_equal(seen.last.participant_count, 2);
    assert_int_equal(seen.last.attempts, 1);
    assert_false(seen.last.recovering || seen.last.told || seen.last.waiting);
    world_prepared(f->world, WORLD_A, 50);
    assert_int_equal(driven_of(f).last.participants[0].state, COMMAND_TXN_PREPARED);
    world_prepared(f->world, WORLD_B, 70);
    seen = driven_of(f);
    assert_int_equal(seen.last.phase, COORDINATOR_COMMITTING);
    assert_true(seen.last.told);
}

// --- Commit ---

static void test_gateway_commits_two_shards(void **state) {
    struct fixture *f = *state;
    struct command_prepare_view a;
    struct command_prepare_view b;
    client_put_two(f->world, &f->client, 1, 100);
    struct session_call *call = world_prepare(f->world, WORLD_A, &a);
    assert_true(slice_equal(call->key, KEY("a")));
    call = world_prepare(f->world, WORLD_B, &b);
    assert_true(slice_equal(call->key, KEY("h")));
    assert_int_equal(call->deadline_ns, f->client.call.deadline_ns);
    assert_int_equal(a.self, 0);
    assert_int_equal(b.self, 1);
    assert_int_equal(a.participant_count, 2);
    assert_true(txn_attempt_equal(a.attempt, b.attempt));
    assert_int_equal(a.begin.v, b.begin.v);
    assert_int_equal(a.request_hash, hash64(f->client.call.payload, 0));
    world_prepared(f->world, WORLD_B, 90);
    assert_int_equal(f->client.ended, 0);
    world_prepared(f->world, WORLD_A, 50);
    assert_int_equal(f->client.ended, 1);
    assert_int_equal(f->client.result.status, STATUS_OK);
    assert_int_equal(client_outcome(&f->client).status, STATUS_OK);
    assert_int_equal(client_outcome(&f->client).timestamp.v, 90);
    assert_int_equal(f->client.result.certificate.method, COMMAND_METHOD_LOG);
    assert_int_equal(f->client.result.certificate.shard.v, WORLD_A.v);
    assert_int_equal(f->client.result.certificate.index, 2);
    assert_int_equal(f->client.result.certificate.timestamp.v, 90);
    struct command_resolution resolution;
    (void)world_resolve(f->world, WORLD_A, &resolution);
    assert_int_equal(resolution.commit.v, 90);
    assert_true(txn_attempt_equal(resolution.attempt, a.attempt));
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_COMMIT, COMMAND_TXN_COMMITTED, 90);
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_COMMIT, COMMAND_TXN_COMMITTED, 90);
    assert_int_equal(f->world->call_count, 0);
    world_advance(f->world, 199);
    assert_int_equal(f->world->call_count, 0);
    world_advance(f->world, 1);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_FORGET, COMMAND_TXN_COMMITTED, 90);
    assert_int_equal(in_flight(f), 1);
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_FORGET, COMMAND_TXN_NONE, 0);
    assert_int_equal(in_flight(f), 0);
    assert_int_equal(gateway_deadline_ns(f->world->gateway), UINT64_MAX);
}

// A commit that was lost is sent until it is answered, long after the client was told.
static void test_gateway_repeats_the_decision(void **state) {
    struct fixture *f = *state;
    client_put_two(f->world, &f->client, 1, 100);
    world_prepared(f->world, WORLD_A, 50);
    world_prepared(f->world, WORLD_B, 60);
    for (uint32_t i = 0; i < 5; i++) {
        world_silence(f->world, world_find(f->world, COMMAND_RESOLVE, WORLD_A),
                      STATUS_UNKNOWN_OUTCOME);
        assert_null(world_find(f->world, COMMAND_RESOLVE, WORLD_A));
        world_advance(f->world, 150);
        struct command_resolution resolution;
        (void)world_resolve(f->world, WORLD_A, &resolution);
        assert_int_equal(resolution.decision, COMMAND_DECIDE_COMMIT);
    }
    assert_int_equal(mark_count("gateway.resolve_silent"), 5);
    world_advance(f->world, 10000);
    assert_int_equal(mark_count("gateway.left_to_recovery"), 1);
    assert_int_equal(gateway_stats(f->world->gateway).left, 1);
    assert_int_equal(in_flight(f), 0);
    // The answer comes when nobody is there any more.
    const struct command_txn_answer late = {.state = COMMAND_TXN_COMMITTED, .timestamp = {60}};
    world_answer(f->world, world_find(f->world, COMMAND_RESOLVE, WORLD_A), &late);
    world_answer(f->world, world_find(f->world, COMMAND_RESOLVE, WORLD_B), &late);
    assert_int_equal(mark_count("gateway.resolved_after_end"), 2);
}

// --- Conflicts ---

// Refused for a lock, the next attempt takes that lock first and waits for it, while it holds
// nothing; the rest is prepared after.
static void test_gateway_tries_again_after_a_lock(void **state) {
    struct fixture *f = *state;
    struct command_prepare_view first;
    struct command_prepare_view second;
    client_put_two(f->world, &f->client, 1, 1000);
    (void)world_prepare(f->world, WORLD_B, &first);
    const struct command_prepare_view kept = first;
    world_refused(f->world, WORLD_B, COMMAND_REASON_LOCKED);
    // The prepare that may wait for a lock elsewhere is ended, and aborted.
    assert_null(world_find(f->world, COMMAND_PREPARE, WORLD_A));
    assert_int_equal(f->world->cancelled, 1);
    world_advance(f->world, 50);
    assert_null(world_find(f->world, COMMAND_PREPARE, WORLD_B));
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
    assert_int_equal(f->client.ended, 0);
    world_advance(f->world, 0);
    assert_int_equal(f->world->call_count, 1);
    assert_int_equal(world_prepare(f->world, WORLD_B, &second)->kind, COMMAND_PREPARE_ALONE);
    assert_true(txn_attempt_compare(kept.attempt, second.attempt) < 0);
    assert_int_equal(kept.begin.v, second.begin.v);
    assert_int_equal(kept.request_hash, second.request_hash);
    assert_int_equal(mark_count("gateway.begins_alone"), 1);
    world_advance(f->world, 500);
    assert_int_equal(f->world->call_count, 1);
    world_prepared(f->world, WORLD_B, 600);
    assert_int_equal(world_prepare(f->world, WORLD_A, &second)->kind, COMMAND_PREPARE);
    world_prepared(f->world, WORLD_A, 500);
    assert_int_equal(f->client.result.status, STATUS_OK);
    assert_int_equal(gateway_stats(f->world->gateway).attempts, 1);
    assert_int_equal(gateway_stats(f->world->gateway).two_phase, 1);
}

static void test_gateway_conflicts_until_the_deadline(void **state) {
    struct fixture *f = *state;
    client_put_two(f->world, &f->client, 1, 20);
    uint32_t attempts = 0;
    for (uint32_t ms = 0; f->client.ended == 0; ms++) {
        const bool alone = world_find(f->world, COMMAND_PREPARE_ALONE, WORLD_A) != NULL;
        if (alone || world_find(f->world, COMMAND_PREPARE, WORLD_A) != NULL) {
            attempts++;
            world_refused(f->world, WORLD_A, COMMAND_REASON_LOCKED);
            if (!alone) {
                world_resolved(f->world, WORLD_B, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
            }
        }
        // Refused although it could wait: there is a pause then.
        assert_true(ms > 0 || attempts <= 2);
        world_advance(f->world, 1);
    }
    assert_in_range(attempts, 3, 10);
    assert_int_equal(f->client.result.status, STATUS_ABORTED_RETRY);
    assert_int_equal(f->client.result.certificate.shard.v, WORLD_A.v);
    assert_non_null(strstr(f->client.detail, "\"culprit\" is locked"));
    assert_int_equal(in_flight(f), 0);
}

// The deadline of one that waits alone: nobody else was asked, so it cannot commit, and the client
// is told so. What it may hold where it waited is given back.
static void test_gateway_ends_certain_while_it_waits_alone(void **state) {
    struct fixture *f = *state;
    client_put_two(f->world, &f->client, 1, 200);
    world_refused(f->world, WORLD_B, COMMAND_REASON_LOCKED);
    world_advance(f->world, 0);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
    world_advance(f->world, 0);
    assert_non_null(world_find(f->world, COMMAND_PREPARE_ALONE, WORLD_B));
    world_advance(f->world, 200);
    assert_int_equal(f->client.ended, 1);
    assert_int_equal(f->client.result.status, STATUS_ABORTED_RETRY);
    assert_non_null(strstr(f->client.detail, "\"h-culprit\" is locked"));
    assert_int_equal(mark_count("gateway.abandoned"), 1);
    assert_null(world_find(f->world, COMMAND_PREPARE_ALONE, WORLD_B));
    // A lower attempt of the id shall meet a record at the home.
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
    assert_int_equal(in_flight(f), 0);
    // Once the others were asked, nobody can say.
    client_put_two(f->world, &f->client, 2, 200);
    world_refused(f->world, WORLD_B, COMMAND_REASON_LOCKED);
    world_advance(f->world, 0);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
    world_advance(f->world, 0);
    world_prepared(f->world, WORLD_B, 600);
    assert_non_null(world_find(f->world, COMMAND_PREPARE, WORLD_A));
    world_advance(f->world, 200);
    assert_int_equal(f->client.ended, 1);
    assert_int_equal(f->client.result.status, STATUS_UNKNOWN_OUTCOME);
}

static void test_gateway_tells_of_a_stale_read(void **state) {
    struct fixture *f = *state;
    client_put_two(f->world, &f->client, 1, 1000);
    world_prepared(f->world, WORLD_A, 5);
    world_refused(f->world, WORLD_B, COMMAND_REASON_READ);
    assert_int_equal(f->client.ended, 0);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
    assert_int_equal(f->client.result.status, STATUS_ABORTED_RETRY);
    assert_int_equal(f->client.result.certificate.method, COMMAND_METHOD_LOG);
    struct codec_reader r;
    struct command_txn_answer answer;
    codec_reader_init(&r, buf_slice(&f->client.told));
    assert_int_equal(command_txn_answer_decode(&r, &answer), STATUS_OK);
    assert_int_equal(answer.reason, COMMAND_REASON_READ);
    assert_true(slice_equal(answer.key, KEY("h-culprit")));
    assert_non_null(strstr(f->client.detail, "\"h-culprit\" was changed"));
    assert_int_equal(in_flight(f), 0);
}

static void test_gateway_busy_is_asked_again(void **state) {
    struct fixture *f = *state;
    const struct command_txn_answer busy = {.state = COMMAND_TXN_BUSY};
    client_put_two(f->world, &f->client, 1, 1000);
    world_prepared(f->world, WORLD_B, 6);
    for (uint32_t i = 0; i < 3; i++) {
        world_answer(f->world, world_prepare(f->world, WORLD_A, NULL), &busy);
        assert_null(world_find(f->world, COMMAND_PREPARE, WORLD_A));
        world_advance(f->world, 40);
    }
    assert_int_equal(mark_count("gateway.busy"), 3);
    world_prepared(f->world, WORLD_A, 5);
    assert_int_equal(f->client.result.status, STATUS_OK);
}

// --- Outcomes that end the id ---

static void test_gateway_condition_by_its_place_in_the_request(void **state) {
    const struct {
        struct shard_id shard;
        uint32_t place;
        uint32_t want;
    } cases[] = {{WORLD_A, 0, 1}, {WORLD_A, 2, 4}, {WORLD_B, 0, 0}, {WORLD_B, 1, 3}};
    struct fixture *f = *state;
    const struct command_condition conditions[] = {
        {.kind = COMMAND_EXISTS, .key = KEY("h")}, {.kind = COMMAND_EXISTS, .key = KEY("a")},
        {.kind = COMMAND_EXISTS, .key = KEY("b")}, {.kind = COMMAND_EXISTS, .key = KEY("i")},
        {.kind = COMMAND_EXISTS, .key = KEY("c")},
    };
    const struct command_mutation put = {.kind = COMMAND_PUT, .key = KEY("d")};
    const struct command_commit commit = {
        .condition_count = 5, .conditions = conditions, .mutation_count = 1, .mutations = &put};
    for (uint32_t i = 0; i < 4; i++) {
        client_commit(f->world, &f->client, i + 1, 1000, &commit);
        const bool at_home = shard_id_equal(cases[i].shard, WORLD_A);
        if (!at_home) { world_prepared(f->world, WORLD_A, 9); }
        const struct command_txn_answer no = {.state = COMMAND_TXN_ABORTED,
                                              .reason = COMMAND_REASON_CONDITION,
                                              .failed_condition = cases[i].place};
        world_answer(f->world, world_prepare(f->world, cases[i].shard, NULL), &no);
        assert_int_equal(f->client.ended, 0);
        struct command_resolution resolution;
        struct session_call *call = world_resolve(f->world, WORLD_A, &resolution);
        assert_int_equal(resolution.decision, COMMAND_DECIDE_ABORT);
        assert_int_equal(resolution.outcome, STATUS_CONDITION_FAILED);
        assert_int_equal(resolution.failed_condition, cases[i].want);
        assert_int_equal(resolution.request_hash, hash64(f->client.call.payload, 0));
        const struct command_txn_answer kept = {
            .state = COMMAND_TXN_ABORTED,
            .has_outcome = true,
            .outcome = {.status = resolution.outcome,
                        .timestamp = {77},
                        .failed_condition = resolution.failed_condition,
                        .request_hash = resolution.request_hash}};
        world_answer(f->world, call, &kept);
        assert_int_equal(f->client.result.status, STATUS_CONDITION_FAILED);
        assert_int_equal(client_outcome(&f->client).failed_condition, cases[i].want);
        assert_int_equal(f->client.result.certificate.timestamp.v, 77);
        if (at_home) {
            world_resolved(f->world, WORLD_B, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
        }
        assert_int_equal(in_flight(f), 0);
    }
}

static void test_gateway_repeat_is_told_the_first_outcome(void **state) {
    struct fixture *f = *state;
    client_put_two(f->world, &f->client, 1, 1000);
    const uint64_t hash = hash64(f->client.call.payload, 0);
    struct command_txn_answer kept = {
        .state = COMMAND_TXN_ABORTED,
        .has_outcome = true,
        .outcome = {.status = STATUS_OK, .timestamp = {44}, .request_hash = hash}};
    world_answer(f->world, world_prepare(f->world, WORLD_A, NULL), &kept);
    assert_int_equal(f->client.result.status, STATUS_OK);
    assert_int_equal(client_outcome(&f->client).timestamp.v, 44);
    assert_int_equal(mark_count("gateway.kept_outcome"), 1);
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
    // Another request under the same id, whether the home says so or the hash does.
    for (uint32_t i = 0; i < 3; i++) {
        client_put_two(f->world, &f->client, 1, 1000);
        kept.outcome.request_hash = hash + (i > 0 ? 1 : 0);
        kept.outcome.status = i == 2 ? STATUS_CANCELLED : STATUS_OK;
        kept.reason = i == 0   ? COMMAND_REASON_OTHER_REQUEST
                      : i == 2 ? COMMAND_REASON_SETTLED
                               : COMMAND_REASON_NONE;
        world_answer(f->world, world_prepare(f->world, WORLD_A, NULL), &kept);
        assert_int_equal(f->client.result.status,
                         i == 2 ? STATUS_CANCELLED : STATUS_INVALID_ARGUMENT);
        assert_int_equal(f->client.result.certificate.method, COMMAND_METHOD_LOG);
        world_resolved(f->world, WORLD_B, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
    }
    assert_int_equal(in_flight(f), 0);
}

// --- Silence ---

static void test_gateway_unknown_at_the_deadline(void **state) {
    struct fixture *f = *state;
    client_put_two(f->world, &f->client, 1, 50);
    world_prepared(f->world, WORLD_A, 5);
    world_advance(f->world, 50);
    assert_int_equal(f->client.result.status, STATUS_UNKNOWN_OUTCOME);
    assert_int_equal(f->client.result.certificate.method, COMMAND_METHOD_NONE);
    assert_int_equal(in_flight(f), 1);
    world_silence(f->world, world_prepare(f->world, WORLD_B, NULL), STATUS_UNKNOWN_OUTCOME);
    // It goes on without the client: the one that is silent is probed, and had prepared.
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_PROBE, COMMAND_TXN_PREPARED, 8);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_COMMIT, COMMAND_TXN_COMMITTED, 8);
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_COMMIT, COMMAND_TXN_COMMITTED, 8);
    world_advance(f->world, 200);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_FORGET, COMMAND_TXN_COMMITTED, 8);
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_FORGET, COMMAND_TXN_COMMITTED, 8);
    assert_int_equal(in_flight(f), 0);
    assert_int_equal(f->client.ended, 1);
    assert_int_equal(gateway_stats(f->world->gateway).unknown, 1);
}

static void test_gateway_refusals_of_the_session(void **state) {
    struct fixture *f = *state;
    client_put_two(f->world, &f->client, 1, 1000);
    world_prepared(f->world, WORLD_A, 5);
    world_silence(f->world, world_prepare(f->world, WORLD_B, NULL), STATUS_OVERLOADED);
    assert_int_equal(f->client.ended, 0);
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_PROBE, COMMAND_TXN_ABORTED, 0);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
    assert_int_equal(f->client.result.status, STATUS_OVERLOADED);
    assert_string_equal(f->client.detail, "silence");
    assert_int_equal(f->client.result.certificate.method, COMMAND_METHOD_NONE);
    assert_int_equal(in_flight(f), 0);
    // At once, in the middle of starting.
    f->world->refuse = STATUS_OVERLOADED;
    client_put_two(f->world, &f->client, 2, 1000);
    f->world->refuse = STATUS_OK;
    world_advance(f->world, 0);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_PROBE, COMMAND_TXN_ABORTED, 0);
    assert_int_equal(f->client.result.status, STATUS_OVERLOADED);
}

static void test_gateway_cancel(void **state) {
    struct fixture *f = *state;
    client_put_two(f->world, &f->client, 1, 1000);
    world_prepared(f->world, WORLD_A, 5);
    gateway_cancel(f->world->gateway, &f->client.call);
    assert_int_equal(f->client.result.status, STATUS_UNKNOWN_OUTCOME);
    world_prepared(f->world, WORLD_B, 6);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_COMMIT, COMMAND_TXN_COMMITTED, 6);
    assert_int_equal(f->client.ended, 1);
    // Between attempts, and while one waits alone, nothing has happened.
    client_put_two(f->world, &f->client, 2, 1000);
    world_refused(f->world, WORLD_A, COMMAND_REASON_LOCKED);
    world_advance(f->world, 0);
    struct session_call *call = NULL;
    for (uint32_t i = 0; i < f->world->call_count; i++) {
        struct command_resolve_reader r;
        struct command_resolution resolution;
        assert_int_equal(command_resolve_open(&r, f->world->calls[i]->payload), STATUS_OK);
        assert_int_equal(command_resolve_next(&r, &resolution), STATUS_OK);
        if (resolution.decision == COMMAND_DECIDE_ABORT) { call = f->world->calls[i]; }
    }
    const struct command_txn_answer aborted = {.state = COMMAND_TXN_ABORTED};
    world_answer(f->world, call, &aborted);
    assert_int_equal(f->client.ended, 0);
    gateway_cancel(f->world->gateway, &f->client.call);
    assert_int_equal(f->client.result.status, STATUS_CANCELLED);
    // And it never will: nobody is prepared any more.
    for (uint32_t i = 0; i < f->world->call_count; i++) {
        assert_int_equal(f->world->calls[i]->kind, COMMAND_RESOLVE);
    }
    assert_int_equal(mark_count("gateway.abandoned"), 1);
}

static void test_gateway_waits_for_the_map(void **state) {
    struct fixture *f = *state;
    shard_map_destroy(f->world->map);
    f->world->map = shard_map_create();
    gateway_destroy(f->world->gateway);
    const struct gateway_config config = {
        .self = {1},
        .env = &f->world->env,
        .hlc = &f->world->hlc,
        .session = (struct session *)(void *)f->world,
        .map = f->world->map,
        .txns_max = 4,
        .recoveries_max = 4,
    };
    f->world->gateway = gateway_create(&config);
    client_put_two(f->world, &f->client, 1, 30);
    world_advance(f->world, 30);
    assert_int_equal(f->client.result.status, STATUS_DEADLINE_EXCEEDED);
    assert_true(mark_count("gateway.no_shard") >= 2);
    client_put_two(f->world, &f->client, 1, 300);
    world_put_shards(f->world);
    world_advance(f->world, 5);
    world_prepared(f->world, WORLD_A, 5);
    world_prepared(f->world, WORLD_B, 5);
    assert_int_equal(f->client.result.status, STATUS_OK);
}

// Commits, and reads that the order of clocks matters to; what any replica may serve goes on.
static void test_gateway_turns_away_while_its_clock_is_wrong(void **state) {
    struct fixture *f = *state;
    f->world->clock = GATEWAY_TURN_AWAY;
    client_put_two(f->world, &f->client, 1, 1000);
    assert_int_equal(f->client.result.status, STATUS_UNAVAILABLE);
    assert_int_equal(f->client.ended, 1);
    const struct slice key = KEY("a");
    struct command_read read = {.key_count = 1, .keys = &key};
    client_read(f->world, &f->client, &read);
    assert_int_equal(f->client.result.status, STATUS_UNAVAILABLE);
    assert_int_equal(f->world->call_count, 0);
    assert_int_equal(mark_count("gateway.turned_away"), 2);
    read.snapshot.consistency = COMMAND_ANY;
    client_read(f->world, &f->client, &read);
    assert_int_equal(f->world->call_count, 1);
    gateway_cancel(f->world->gateway, &f->client.call);
    assert_int_equal(gateway_stats(f->world->gateway).turned_away, 2);
}

// Calls wait for the verdict, in order, and no longer than their deadlines.
static void test_gateway_waits_for_a_verdict_about_its_clock(void **state) {
    struct fixture *f = *state;
    struct client more[3];
    f->world->clock = GATEWAY_WAIT;
    for (uint32_t i = 0; i < 3; i++) {
        client_init(&more[i]);
        client_put_two(f->world, &more[i], i + 10, i == 0 ? 50 : 1000);
    }
    client_put_two(f->world, &f->client, 1, 1000);
    assert_int_equal(gateway_stats(f->world->gateway).held, 4);
    assert_int_equal(f->world->call_count, 0);
    gateway_cancel(f->world->gateway, &more[1].call);
    assert_int_equal(more[1].result.status, STATUS_CANCELLED);
    world_advance(f->world, 60);
    assert_int_equal(more[0].result.status, STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(more[2].ended + f->client.ended, 0);
    f->world->clock = GATEWAY_GO;
    world_advance(f->world, 1);
    assert_int_equal(gateway_stats(f->world->gateway).held, 0);
    assert_int_equal(f->world->call_count, 4);  // two prepares each
    assert_true(mark_count("gateway.held") == 4);
    // Those that wait when the node stops are told.
    f->world->clock = GATEWAY_WAIT;
    struct client last;
    client_init(&last);
    client_put_two(f->world, &last, 20, 1000);
    gateway_destroy(f->world->gateway);
    f->world->gateway = NULL;
    assert_int_equal(last.result.status, STATUS_CANCELLED);
    client_deinit(&last);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(more[i].ended, 1);
        client_deinit(&more[i]);
    }
}

static void test_gateway_overloaded(void **state) {
    struct fixture *f = *state;
    struct client more[4];
    for (uint32_t i = 0; i < 4; i++) {
        client_init(&more[i]);
        client_put_two(f->world, &more[i], i + 10, 1000);
    }
    client_put_two(f->world, &f->client, 1, 1000);
    assert_int_equal(f->client.result.status, STATUS_OVERLOADED);
    assert_int_equal(mark_count("gateway.overloaded"), 1);
    gateway_destroy(f->world->gateway);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(more[i].ended, 1);
        assert_int_equal(more[i].result.status, STATUS_UNKNOWN_OUTCOME);
        client_deinit(&more[i]);
    }
    assert_int_equal(f->world->call_count, 0);
    f->world->gateway = NULL;
}

// --- Recovery ---

static void make_holder(struct buf *prepare, uint64_t id, uint64_t p, struct lock_holder *out) {
    const struct slice anchors[] = {KEY("a"), KEY("h")};
    const struct command_mutation put = {.kind = COMMAND_PUT, .key = KEY("h")};
    struct command_commit commit = {.mutation_count = 1, .mutations = &put};
    struct command_prepare made = {.attempt = {5, 6},
                                   .begin = {4},
                                   .self = 1,
                                   .participant_count = 2,
                                   .participants = anchors};
    memcpy(commit.txn.v, &id, sizeof(id));
    made.txn = commit.txn;
    struct buf part;
    buf_init(&part, 1 << 16);
    struct codec_writer w;
    codec_writer_init(&w, &part);
    command_commit_encode(&w, &commit);
    made.part = buf_slice(&part);
    buf_reset(prepare);
    codec_writer_init(&w, prepare);
    command_prepare_encode(&w, &made);
    buf_deinit(&part);
    *out = (struct lock_holder){.txn = made.txn,
                                .attempt = made.attempt,
                                .begin = made.begin,
                                .prepared = {p},
                                .prepare = buf_slice(prepare)};
}

static void test_gateway_recovers(void **state) {
    struct fixture *f = *state;
    struct buf prepare;
    struct lock_holder holder;
    buf_init(&prepare, 1 << 16);
    make_holder(&prepare, 9, 30, &holder);
    gateway_recover(f->world->gateway, WORLD_B, &holder);
    gateway_recover(f->world->gateway, WORLD_B, &holder);
    assert_int_equal(gateway_stats(f->world->gateway).recovering, 1);
    assert_int_equal(f->world->call_count, 0);  // nothing goes out in the middle of a turn
    world_advance(f->world, 0);
    assert_null(world_find(f->world, COMMAND_RESOLVE, WORLD_B));
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_PROBE, COMMAND_TXN_PREPARED, 20);
    struct command_resolution resolution;
    (void)world_resolve(f->world, WORLD_B, &resolution);
    assert_int_equal(resolution.commit.v, 30);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_COMMIT, COMMAND_TXN_COMMITTED, 30);
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_COMMIT, COMMAND_TXN_COMMITTED, 30);
    world_advance(f->world, 200);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_FORGET, COMMAND_TXN_COMMITTED, 30);
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_FORGET, COMMAND_TXN_COMMITTED, 30);
    assert_int_equal(gateway_stats(f->world->gateway).recovered, 1);
    assert_int_equal(gateway_stats(f->world->gateway).recovering, 0);
    // The home had refused.
    gateway_recover(f->world->gateway, WORLD_B, &holder);
    world_advance(f->world, 0);
    world_resolved(f->world, WORLD_A, COMMAND_DECIDE_PROBE, COMMAND_TXN_ABORTED, 0);
    world_resolved(f->world, WORLD_B, COMMAND_DECIDE_ABORT, COMMAND_TXN_ABORTED, 0);
    assert_int_equal(gateway_stats(f->world->gateway).recovering, 0);
    // Nobody there: it is given up after a while, and may be found again.
    gateway_recover(f->world->gateway, WORLD_B, &holder);
    world_advance(f->world, 10000);
    assert_int_equal(gateway_stats(f->world->gateway).recovering, 0);
    holder.prepare.size--;
    gateway_recover(f->world->gateway, WORLD_B, &holder);
    assert_int_equal(mark_count("gateway.recover_corrupt"), 1);
    buf_deinit(&prepare);
}

// What this gateway coordinates itself needs no recovery.
static void test_gateway_does_not_recover_its_own(void **state) {
    struct fixture *f = *state;
    struct command_prepare_view view;
    client_put_two(f->world, &f->client, 1, 1000);
    const struct session_call *call = world_prepare(f->world, WORLD_B, &view);
    const struct lock_holder holder = {.txn = view.txn,
                                       .attempt = view.attempt,
                                       .begin = view.begin,
                                       .prepared = {6},
                                       .prepare = call->payload};
    gateway_recover(f->world->gateway, WORLD_B, &holder);
    assert_int_equal(gateway_stats(f->world->gateway).recovering, 0);
}

enum { ORPHANS = 3000 };

static void test_gateway_recovers_thousands_in_batches(void **state) {
    struct fixture *f = *state;
    struct world *world = world_create(4, ORPHANS);
    struct buf prepare;
    struct lock_holder holder;
    buf_init(&prepare, 1 << 16);
    for (uint64_t i = 0; i < ORPHANS + 1; i++) {
        make_holder(&prepare, i + 1, 30, &holder);
        gateway_recover(world->gateway, WORLD_B, &holder);
    }
    assert_int_equal(mark_count("gateway.recoveries_full"), 1);
    const struct command_txn_answer prepared = {.state = COMMAND_TXN_PREPARED, .timestamp = {20}};
    const struct command_txn_answer committed = {.state = COMMAND_TXN_COMMITTED, .timestamp = {30}};
    world_advance(world, 0);
    assert_int_equal(world->call_count, (ORPHANS + 1023) / 1024);
    for (uint32_t i = 0; i < 3; i++) {
        world_answer(world, world->calls[0], &prepared);
    }
    for (uint32_t round = 0; round < 100 && gateway_stats(world->gateway).recovering > 0; round++) {
        while (world->call_count > 0) {
            world_answer(world, world->calls[0], &committed);
        }
        world_advance(world, 10);
    }
    assert_int_equal(gateway_stats(world->gateway).recovered, ORPHANS);
    // Probes of one shard, commits and forgets of two: some fifteen entries, not fifteen thousand.
    assert_true(gateway_stats(world->gateway).batches <= 20);
    assert_int_equal(gateway_stats(world->gateway).resolutions, 5 * ORPHANS);
    world_destroy(world);
    buf_deinit(&prepare);
    world_destroy(f->world);
    f->world = world_create(4, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_gateway_one_shard_goes_through_untouched),
        TEST(test_gateway_lists_what_it_drives),
        TEST(test_gateway_commits_two_shards),
        TEST(test_gateway_repeats_the_decision),
        TEST(test_gateway_tries_again_after_a_lock),
        TEST(test_gateway_conflicts_until_the_deadline),
        TEST(test_gateway_ends_certain_while_it_waits_alone),
        TEST(test_gateway_tells_of_a_stale_read),
        TEST(test_gateway_busy_is_asked_again),
        TEST(test_gateway_condition_by_its_place_in_the_request),
        TEST(test_gateway_repeat_is_told_the_first_outcome),
        TEST(test_gateway_unknown_at_the_deadline),
        TEST(test_gateway_refusals_of_the_session),
        TEST(test_gateway_cancel),
        TEST(test_gateway_waits_for_the_map),
        TEST(test_gateway_turns_away_while_its_clock_is_wrong),
        TEST(test_gateway_waits_for_a_verdict_about_its_clock),
        TEST(test_gateway_overloaded),
        TEST(test_gateway_recovers),
        TEST(test_gateway_does_not_recover_its_own),
        TEST(test_gateway_recovers_thousands_in_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
