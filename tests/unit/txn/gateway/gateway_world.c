// SPDX-License-Identifier: Apache-2.0
// The fakes of session_start and session_cancel stand in this file: they take the place of the real
// ones in the linked test.
#include "tests/unit/txn/gateway/gateway_world.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct world *the_world;

// --- The session ---

static void remove_call(struct world *self, struct session_call *call) {
    uint32_t at = 0;
    while (at < self->call_count && self->calls[at] != call) {
        at++;
    }
    ASSERT(at < self->call_count);
    for (uint32_t i = at + 1; i < self->call_count; i++) {
        self->calls[i - 1] = self->calls[i];
    }
    self->call_count--;
}

void session_start(struct session *self, struct session_call *call) {
    struct world *world = the_world;
    ASSERT((void *)self == (void *)world);
    world->started++;
    if (world->refuse != STATUS_OK) {
        const struct session_result result = {.status = world->refuse,
                                              .detail = SLICE_LITERAL("refused")};
        call->id = 0;
        call->done(call, &result);
        return;
    }
    ASSERT(world->call_count < WORLD_CALLS_MAX);
    call->id = world->started;
    world->calls[world->call_count++] = call;
}

void session_cancel(struct session *self, struct session_call *call) {
    struct world *world = the_world;
    ASSERT((void *)self == (void *)world);
    world->cancelled++;
    remove_call(world, call);
    const bool mutates = call->kind == COMMAND_PREPARE || call->kind == COMMAND_RESOLVE;
    const struct session_result result = {.status =
                                              mutates ? STATUS_UNKNOWN_OUTCOME : STATUS_CANCELLED};
    call->done(call, &result);
}

// --- The world ---

static uint64_t env_mono(void *ctx) {
    return ((struct world *)ctx)->now_ns;
}

static uint64_t env_wall(void *ctx) {
    return UINT64_C(1700000000000000) + ((struct world *)ctx)->now_ns / 1000;
}

static uint64_t env_bits(void *ctx) {
    return prng_next(&((struct world *)ctx)->prng);
}

static void env_post(void *ctx, struct node_id peer, enum peer_message_type type,
                     struct slice body) {
    (void)ctx;
    (void)peer;
    (void)type;
    (void)body;
}

static void put_shard(struct world *self, struct shard_id id, struct slice start,
                      struct slice end) {
    struct shard_descriptor d = {.id = id,
                                 .start = bytes_copy(start),
                                 .end = bytes_copy(end),
                                 .epoch = 1,
                                 .config_epoch = 1,
                                 .map_version = 1,
                                 .replica_count = 1,
                                 .replicas = {{.node = {1}, .incarnation = 1}}};
    assert_true(shard_map_put(self->map, &d));
    shard_descriptor_deinit(&d);
}

static enum gateway_verdict may_coordinate(void *ctx, char out_text[GATEWAY_TEXT_SIZE]) {
    const struct world *self = ctx;
    (void)snprintf(out_text, GATEWAY_TEXT_SIZE, "the clock is wrong");
    return self->clock;
}

void world_put_shards(struct world *self) {
    put_shard(self, WORLD_A, SLICE_LITERAL("\0\0\0\1"), KEY("g"));
    put_shard(self, WORLD_B, KEY("g"), KEY("p"));
    put_shard(self, WORLD_C, KEY("p"), SLICE_LITERAL("\0\0\0\2"));
}

struct world *world_create(uint32_t txns_max, uint32_t recoveries_max) {
    struct world *self = mem_alloc(sizeof(*self));
    the_world = self;
    self->now_ns = 1000000000;
    prng_init(&self->prng, 11);
    self->env = (struct env){self, env_mono, env_wall, env_bits, env_post};
    hlc_init(&self->hlc, 1000000);
    self->map = shard_map_create();
    world_put_shards(self);
    const struct gateway_config config = {
        .self = {1},
        .env = &self->env,
        .hlc = &self->hlc,
        .session = (struct session *)(void *)self,
        .map = self->map,
        .txns_max = txns_max,
        .recoveries_max = recoveries_max,
        .may_coordinate = may_coordinate,
        .ctx = self,
    };
    self->gateway = gateway_create(&config);
    return self;
}

void world_destroy(struct world *self) {
    gateway_destroy(self->gateway);
    assert_int_equal(self->call_count, 0);
    shard_map_destroy(self->map);
    mem_free(self);
}

// What is due at this instant.
static void turn(struct world *self) {
    for (uint32_t i = 0; i < 100 && gateway_turn(self->gateway); i++) {
        gateway_check(self->gateway);
    }
    assert_true(gateway_deadline_ns(self->gateway) > self->now_ns);
}

void world_advance(struct world *self, uint64_t ms) {
    turn(self);
    for (uint64_t i = 0; i < ms; i++) {
        self->now_ns += 1000000;
        gateway_on_time(self->gateway);
        turn(self);
    }
}

struct shard_id world_shard(const struct world *self, const struct session_call *call) {
    const struct shard_descriptor *d = shard_map_find(self->map, call->key);
    return d != NULL ? d->id : (struct shard_id){0};
}

struct session_call *world_find(const struct world *self, enum command_kind kind,
                                struct shard_id shard) {
    for (uint32_t i = 0; i < self->call_count; i++) {
        struct session_call *call = self->calls[i];
        if (call->kind == kind && shard_id_equal(world_shard(self, call), shard)) { return call; }
    }
    return NULL;
}

void world_end(struct world *self, struct session_call *call, const struct session_result *result) {
    remove_call(self, call);
    call->id = 0;
    call->done(call, result);
    gateway_check(self->gateway);
    turn(self);
}

void world_silence(struct world *self, struct session_call *call, enum status st) {
    const struct session_result result = {.status = st, .detail = SLICE_LITERAL("silence")};
    assert_non_null(call);
    world_end(self, call, &result);
}

static void answer_all(struct world *self, struct session_call *call,
                       const struct command_txn_answer *answer, uint32_t count) {
    struct buf buf;
    buf_init(&buf, 1 << 20);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    for (uint32_t i = 0; i < count; i++) {
        command_txn_answer_encode(&w, answer);
    }
    const struct session_result result = {.status = STATUS_OK,
                                          .certificate = {.method = COMMAND_METHOD_LOG,
                                                          .shard = world_shard(self, call),
                                                          .config_epoch = 1,
                                                          .term = WORLD_TERM,
                                                          .index = ++self->index},
                                          .payload = buf_slice(&buf)};
    world_end(self, call, &result);
    buf_deinit(&buf);
}

void world_answer(struct world *self, struct session_call *call,
                  const struct command_txn_answer *answer) {
    uint32_t count = 1;
    assert_non_null(call);
    if (call->kind == COMMAND_RESOLVE) {
        struct command_resolve_reader r;
        assert_int_equal(command_resolve_open(&r, call->payload), STATUS_OK);
        count = r.count;
    }
    answer_all(self, call, answer, count);
}

struct session_call *world_prepare(const struct world *self, struct shard_id shard,
                                   struct command_prepare_view *out) {
    struct session_call *call = world_find(self, COMMAND_PREPARE, shard);
    if (call == NULL) { call = world_find(self, COMMAND_PREPARE_ALONE, shard); }
    assert_non_null(call);
    struct command_prepare_view view;
    assert_int_equal(command_prepare_decode(call->payload, out != NULL ? out : &view), STATUS_OK);
    return call;
}

void world_prepared(struct world *self, struct shard_id shard, uint64_t p) {
    const struct command_txn_answer answer = {.state = COMMAND_TXN_PREPARED, .timestamp = {p}};
    world_answer(self, world_prepare(self, shard, NULL), &answer);
}

void world_refused(struct world *self, struct shard_id shard, enum command_txn_reason reason) {
    const bool first = shard_id_equal(shard, WORLD_A);
    const struct command_txn_answer answer = {
        .state = COMMAND_TXN_ABORTED,
        .reason = reason,
        .key = first ? KEY("culprit") : KEY("h-culprit"),
    };
    world_answer(self, world_prepare(self, shard, NULL), &answer);
}

struct session_call *world_resolve(const struct world *self, struct shard_id shard,
                                   struct command_resolution *out) {
    struct session_call *call = world_find(self, COMMAND_RESOLVE, shard);
    assert_non_null(call);
    struct command_resolve_reader r;
    assert_int_equal(command_resolve_open(&r, call->payload), STATUS_OK);
    assert_int_equal(r.count, 1);
    assert_int_equal(command_resolve_next(&r, out), STATUS_OK);
    return call;
}

void world_resolved(struct world *self, struct shard_id shard, enum command_decision decision,
                    enum command_txn_state state, uint64_t ts) {
    struct command_resolution resolution;
    struct session_call *call = world_resolve(self, shard, &resolution);
    assert_int_equal(resolution.decision, decision);
    const struct command_txn_answer answer = {.state = state, .timestamp = {ts}};
    world_answer(self, call, &answer);
}

// --- Clients ---

static void client_done(struct session_call *call, const struct session_result *result) {
    struct client *self = (struct client *)call;
    self->ended++;
    self->result = *result;
    buf_reset(&self->told);
    assert_int_equal(buf_append(&self->told, result->payload), STATUS_OK);
    (void)snprintf(self->detail, sizeof(self->detail), "%.*s", (int)result->detail.size,
                   result->detail.size > 0 ? (const char *)result->detail.data : "");
}

void client_init(struct client *self) {
    *self = (struct client){0};
    buf_init(&self->payload, 32 << 20);
    buf_init(&self->told, 32 << 20);
}

void client_deinit(struct client *self) {
    buf_deinit(&self->payload);
    buf_deinit(&self->told);
}

static void start(struct world *world, struct client *self, enum command_kind kind, uint64_t ms) {
    self->ended = 0;
    self->call.kind = kind;
    self->call.payload = buf_slice(&self->payload);
    self->call.deadline_ns = world->now_ns + ms * 1000000;
    self->call.done = client_done;
    gateway_start(world->gateway, &self->call);
    gateway_check(world->gateway);
}

void client_commit(struct world *world, struct client *self, uint64_t id, uint64_t ms,
                   const struct command_commit *commit) {
    struct command_commit with_id = *commit;
    memcpy(with_id.txn.v, &id, sizeof(id));
    struct codec_writer w;
    buf_reset(&self->payload);
    codec_writer_init(&w, &self->payload);
    command_commit_encode(&w, &with_id);
    assert_int_equal(w.status, STATUS_OK);
    assert_int_equal(
        command_commit_span(buf_slice(&self->payload), &self->call.key, &self->call.key_high),
        STATUS_OK);
    start(world, self, COMMAND_COMMIT, ms);
}

void client_put_two(struct world *world, struct client *self, uint64_t id, uint64_t ms) {
    const struct command_mutation puts[] = {
        {.kind = COMMAND_PUT, .key = KEY("a"), .value = SLICE_LITERAL("1")},
        {.kind = COMMAND_PUT, .key = KEY("h"), .value = SLICE_LITERAL("2")}};
    const struct command_commit commit = {.mutation_count = 2, .mutations = puts};
    client_commit(world, self, id, ms, &commit);
}

void client_read(struct world *world, struct client *self, const struct command_read *read) {
    struct codec_writer w;
    buf_reset(&self->payload);
    codec_writer_init(&w, &self->payload);
    command_read_encode(&w, read);
    assert_int_equal(w.status, STATUS_OK);
    self->call.key = read->keys[0];
    self->call.key_high = read->keys[0];
    for (uint32_t i = 1; i < read->key_count; i++) {
        if (slice_compare(read->keys[i], self->call.key) < 0) { self->call.key = read->keys[i]; }
        if (slice_compare(read->keys[i], self->call.key_high) > 0) {
            self->call.key_high = read->keys[i];
        }
    }
    start(world, self, COMMAND_READ, 1000);
}

struct command_outcome client_outcome(const struct client *self) {
    struct codec_reader r;
    struct command_outcome outcome;
    codec_reader_init(&r, buf_slice(&self->told));
    assert_int_equal(command_outcome_decode(&r, &outcome), STATUS_OK);
    return outcome;
}
