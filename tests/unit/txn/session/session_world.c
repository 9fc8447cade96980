// SPDX-License-Identifier: Apache-2.0
// The table of replicas and the state machine are the real ones: what is tested is that the session
// and they fit together. Only the log, the disk, the network and time are the test's.
#include "tests/unit/txn/session/session_world.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/command/command_versions.h"

#include <stdio.h>
#include <string.h>

enum { PENDING_MAX = 64, DEADLINE_MS = 3000, WORLD_WAITS_MAX = 8 };

// --- The outside world of a node ---

static uint64_t env_mono(void *ctx) {
    return ((struct world_node *)ctx)->world->now_ns;
}

static uint64_t env_wall(void *ctx) {
    const struct world_node *node = ctx;
    const uint64_t base = 1700000000000000 + node->world->now_ns / 1000;
    return (uint64_t)((int64_t)base + node->wall_offset_us);
}

static uint64_t env_bits(void *ctx) {
    return prng_next(&((struct world_node *)ctx)->world->prng);
}

static void env_post(void *ctx, struct node_id peer, enum peer_message_type type,
                     struct slice body) {
    const struct world_node *node = ctx;
    struct world *world = node->world;
    ASSERT(peer.v >= 1 && peer.v <= WORLD_NODES && peer.v != node->id.v);
    ASSERT(world->tail - world->head < WORLD_QUEUE_MAX);
    world->queue[world->tail++ % WORLD_QUEUE_MAX] =
        (struct world_letter){node->id, peer, type, bytes_copy(body)};
    if (type == PEER_REQUEST) {
        bytes_unref(world->kept_request);
        world->kept_request = bytes_copy(body);
    }
}

// --- A catalogue that needs no control plane ---

static uint64_t catalog_applied(void *ctx, struct shard_id shard) {
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    return ((struct world_node *)ctx)->catalog_applied;
}

static void catalog_apply(void *ctx, struct shard_id shard, const struct log_entry *entry,
                          struct apply_result *out) {
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    struct world_node *node = ctx;
    node->catalog_applied = entry->index;
    const bool again = slice_equal(entry->payload, SLICE_LITERAL("again"));
    *out = (struct apply_result){again ? STATUS_ALREADY_EXISTS : STATUS_OK, entry->payload};
}

static void catalog_end(void *ctx) {
    (void)ctx;
}

static void catalog_remove(void *ctx, struct shard_id shard) {
    (void)ctx;
    (void)shard;
}
static void catalog_base(void *ctx, struct shard_id shard, struct buf *out) {
    (void)ctx;
    (void)shard;
    (void)out;
}
static bool catalog_hollow(void *ctx, struct shard_id shard) {
    (void)ctx;
    (void)shard;
    return false;
}

static const struct state_machine *machine_for(void *ctx, struct shard_id shard) {
    const struct world_node *node = ctx;
    return shard_id_equal(shard, SHARD_CATALOG) ? &node->catalog : apply_machine(node->apply);
}

static void leader_changed(void *ctx, struct shard_id shard, struct node_id leader, uint64_t term) {
    struct world_node *node = ctx;
    if (node->session != NULL) { session_on_leader(node->session, shard, leader, term); }
}

static uint32_t catalog_nodes(void *ctx, struct node_id *out_nodes) {
    (void)ctx;
    for (uint32_t i = 0; i < WORLD_REPLICAS; i++) {
        out_nodes[i] = (struct node_id){i + 1};
    }
    return WORLD_REPLICAS;
}

// --- Nodes ---

void world_descriptor(struct shard_id shard, struct shard_descriptor *out) {
    const bool left = shard_id_equal(shard, WORLD_LEFT);
    const bool right = shard_id_equal(shard, WORLD_RIGHT);
    *out = (struct shard_descriptor){.id = shard,
                                     .start = bytes_copy(right ? KEY("m") : SLICE_EMPTY),
                                     .end = bytes_copy(left ? KEY("m") : SLICE_EMPTY),
                                     .epoch = WORLD_EPOCH,
                                     .config_epoch = 1,
                                     .map_version = 1,
                                     .replica_count = WORLD_REPLICAS};
    for (uint32_t i = 0; i < WORLD_REPLICAS; i++) {
        out->replicas[i] =
            (struct shard_replica){.node = {i + 1}, .role = SHARD_VOTER, .incarnation = 1};
    }
}

static void open_replicas(struct world_node *node, bool first_leaders) {
    const struct shard_id shards[] = {SHARD_CATALOG, WORLD_LEFT, WORLD_RIGHT};
    const uint32_t leaders[] = {1, 1, 2};
    for (uint32_t i = 0; i < 3; i++) {
        struct shard_descriptor descriptor;
        world_descriptor(shards[i], &descriptor);
        if (i > 0) { (void)shard_map_put(node->map, &descriptor); }
        if (node->id.v <= WORLD_REPLICAS) {
            if (i > 0) { apply_set_epoch(node->apply, shards[i], WORLD_EPOCH); }
            const bool first = first_leaders && node->id.v == leaders[i];
            const enum status st = replica_table_open(node->table, &descriptor, first);
            ASSERT(st == STATUS_OK);
        }
        shard_descriptor_deinit(&descriptor);
    }
}

static void create_table(struct world_node *node) {
    const struct support_config support = {.self = node->id,
                                           .boot = 1,
                                           .duration_ns = 1000000000,
                                           .interval_ns = 100000000,
                                           .now_ns = node->world->now_ns};
    support_init(&node->support, &support);
    const struct replica_table_config config = {
        .self = node->id,
        .env = &node->env,
        .log = &node->log->port,
        .support = &node->support,
        .hlc = &node->hlc,
        .machine_for = machine_for,
        .leader_changed = leader_changed,
        .ctx = node,
        .election_ns_min = 150000000,
        .resend_ns = 100000000,
        .ceiling_window_us = 400000,
        .frontier_interval_ns = 20000000,
        .pending_max = PENDING_MAX,
        .pending_size_max = 1 << 20,
    };
    node->table = replica_table_create(&config);
}

static void on_recover(void *ctx, struct shard_id shard, const struct lock_holder *holder) {
    struct world_node *node = ctx;
    (void)shard;
    node->recoveries++;
    node->recovered = holder->txn;
}

static void create_session(struct world_node *node) {
    const struct session_config config = {
        .self = node->id,
        .env = &node->env,
        .hlc = &node->hlc,
        .table = node->table,
        .apply = node->apply,
        .map = node->map,
        .calls_max = node->world->calls_max,
        .served_max = node->world->served_max,
        .attempt_ns = 500000000,
        .catalog_nodes = catalog_nodes,
        .ctx = node,
        .recover = on_recover,
        .waits_max = WORLD_WAITS_MAX,
    };
    node->session = session_create(&config);
}

void world_forget_map(struct world_node *node) {
    session_destroy(node->session);
    shard_map_destroy(node->map);
    node->map = shard_map_create();
    create_session(node);
}

static void node_create(struct world *self, uint32_t id, bool first_leaders) {
    struct world_node *node = &self->nodes[id - 1];
    node->world = self;
    node->id = (struct node_id){id};
    node->env = (struct env){node, env_mono, env_wall, env_bits, env_post};
    node->catalog = (struct state_machine){.ctx = node,
                                           .applied = catalog_applied,
                                           .apply = catalog_apply,
                                           .end = catalog_end,
                                           .remove = catalog_remove,
                                           .base = catalog_base,
                                           .hollow = catalog_hollow};
    const struct sim_engine_options options = {0};
    node->engine = sim_engine_create(&options);
    node->apply = apply_create(node->engine);
    node->map = shard_map_create();
    hlc_init(&node->hlc, 1000000);
    node->log = mem_alloc(sizeof(*node->log));
    fake_log_init(node->log);
    create_table(node);
    create_session(node);
    open_replicas(node, first_leaders);
}

struct world *world_create(uint32_t calls_max, uint32_t served_max, bool first_leaders) {
    struct world *self = mem_alloc(sizeof(*self));
    self->now_ns = 1000000000;
    self->calls_max = calls_max;
    self->served_max = served_max;
    prng_init(&self->prng, 42);
    for (uint32_t id = 1; id <= WORLD_NODES; id++) {
        node_create(self, id, first_leaders);
    }
    return self;
}

struct world *world_create_led(void) {
    mark_reset_all();
    struct world *self = world_create(64, 64, true);
    world_run(self, 300);
    ASSERT(world_leader(self, WORLD_LEFT) == 1);
    return self;
}

static void node_destroy(struct world_node *node) {
    session_destroy(node->session);
    node->session = NULL;
    replica_table_destroy(node->table);
    apply_destroy(node->apply);
    engine_close(node->engine);
    shard_map_destroy(node->map);
    fake_log_deinit(node->log);
    mem_free(node->log);
}

void world_destroy(struct world *self) {
    for (uint32_t i = 0; i < WORLD_NODES; i++) {
        node_destroy(&self->nodes[i]);
    }
    while (self->head < self->tail) {
        bytes_unref(self->queue[self->head++ % WORLD_QUEUE_MAX].body);
    }
    bytes_unref(self->kept_request);
    mem_free(self);
}

struct world_node *world_node(struct world *self, uint32_t id) {
    return &self->nodes[id - 1];
}

uint32_t world_leader(struct world *self, struct shard_id shard) {
    for (uint32_t i = 0; i < WORLD_REPLICAS; i++) {
        const struct replica *replica = replica_table_find(self->nodes[i].table, shard);
        if (replica_is_leader(replica) && self->cut != i + 1) { return i + 1; }
    }
    return 0;
}

// --- Time and messages ---

void world_turn(struct world_node *node) {
    replica_table_turn(node->table);
    struct log_completion done[FAKE_LOG_SHARDS_MAX];
    const uint32_t count = fake_log_sync(node->log, done);
    replica_table_on_durable(node->table, done, count);
    replica_table_turn(node->table);
    replica_table_check(node->table);
    session_check(node->session);
}

static void deliver(struct world *self, const struct world_letter *letter) {
    struct world_node *to = world_node(self, letter->to.v);
    const bool is_session = letter->type == PEER_REQUEST || letter->type == PEER_RESPONSE;
    const enum status st =
        is_session
            ? session_on_message(to->session, letter->from, letter->type, bytes_slice(letter->body))
            : replica_table_on_message(to->table, letter->from, letter->type, letter->body,
                                       bytes_slice(letter->body));
    ASSERT(st == STATUS_OK);
    world_turn(to);
}

static void deliver_all(struct world *self) {
    while (self->head < self->tail) {
        const struct world_letter letter = self->queue[self->head++ % WORLD_QUEUE_MAX];
        bool lost = self->cut != 0 && (self->cut == letter.to.v || self->cut == letter.from.v);
        lost = lost || (self->lose != NULL && self->lose(self, &letter));
        self->lost += lost ? 1 : 0;
        if (!lost) { deliver(self, &letter); }
        bytes_unref(letter.body);
    }
}

void world_run(struct world *self, uint64_t ms) {
    for (uint64_t i = 0; i < ms; i++) {
        for (uint32_t n = 0; n < WORLD_NODES; n++) {
            struct world_node *node = &self->nodes[n];
            replica_table_on_time(node->table);
            if (session_deadline_ns(node->session) <= self->now_ns) {
                session_on_time(node->session);
            }
            ASSERT(session_deadline_ns(node->session) > self->now_ns);
            world_turn(node);
        }
        deliver_all(self);
        self->now_ns += 1000000;
    }
}

// --- Calls ---

static void on_done(struct session_call *call, const struct session_result *result) {
    struct world_call *self = (struct world_call *)(void *)call;
    self->ended++;
    self->status = result->status;
    self->certificate = result->certificate;
    self->contact = result->contact;
    self->uncertain = result->uncertain;
    buf_reset(&self->result);
    ASSERT(buf_append(&self->result, result->payload) == STATUS_OK);
    (void)snprintf(self->detail, sizeof(self->detail), "%.*s", (int)result->detail.size,
                   (const char *)result->detail.data);
}

static struct codec_writer prepare(struct world_node *node, struct world_call *call,
                                   enum command_kind kind, uint64_t ms) {
    *call = (struct world_call){.status = STATUS_COUNT};
    buf_init(&call->payload, 32 << 20);
    buf_init(&call->result, 32 << 20);
    call->call.kind = kind;
    call->call.done = on_done;
    call->call.deadline_ns = node->world->now_ns + ms * 1000000;
    struct codec_writer w;
    codec_writer_init(&w, &call->payload);
    return w;
}

static void start(struct world_node *node, struct world_call *call) {
    call->call.payload = buf_slice(&call->payload);
    session_start(node->session, &call->call);
    world_turn(node);
}

struct txn_id world_txn_id(uint64_t id) {
    struct txn_id txn = {{0xAB}};
    codec_store_u64(txn.v + 1, id);
    return txn;
}

void world_commit(struct world_node *node, struct world_call *call, uint64_t id, uint64_t ms,
                  const struct command_commit *commit) {
    struct codec_writer w = prepare(node, call, COMMAND_COMMIT, ms);
    struct command_commit with_id = *commit;
    with_id.txn = world_txn_id(id);
    struct err err = {0};
    ASSERT(command_commit_check(&with_id, &err) == STATUS_OK);
    command_commit_encode(&w, &with_id);
    const enum status st =
        command_commit_span(buf_slice(&call->payload), &call->call.key, &call->call.key_high);
    ASSERT(st == STATUS_OK);
    start(node, call);
}

void world_put(struct world_node *node, struct world_call *call, uint64_t id, struct slice key,
               struct slice value) {
    const struct command_mutation put = {COMMAND_PUT, key, value};
    const struct command_commit commit = {.mutations = &put, .mutation_count = 1};
    world_commit(node, call, id, DEADLINE_MS, &commit);
}

void world_create_key(struct world_node *node, struct world_call *call, uint64_t id,
                      struct slice key, uint64_t ms) {
    const struct command_condition absent = {.kind = COMMAND_ABSENT, .key = key};
    const struct command_mutation put = {COMMAND_PUT, key, SLICE_LITERAL("created")};
    const struct command_commit commit = {
        .conditions = &absent, .condition_count = 1, .mutations = &put, .mutation_count = 1};
    world_commit(node, call, id, ms, &commit);
}

void world_read_within(struct world_node *node, struct world_call *call, struct slice key,
                       const struct command_read *options, uint64_t ms) {
    struct codec_writer w = prepare(node, call, COMMAND_READ, ms);
    struct command_read read = options != NULL ? *options : (struct command_read){0};
    read.key_count = 1;
    read.keys = &key;
    command_read_encode(&w, &read);
    call->call.key = key;
    start(node, call);
}

void world_read(struct world_node *node, struct world_call *call, struct slice key,
                const struct command_read *options) {
    world_read_within(node, call, key, options, DEADLINE_MS);
}

void world_versions(struct world_node *node, struct world_call *call, struct slice key,
                    uint32_t limit) {
    struct codec_writer w = prepare(node, call, COMMAND_VERSIONS, DEADLINE_MS);
    const struct command_versions versions = {.key = key, .limit = limit, .value_size_max = 5};
    command_versions_encode(&w, &versions);
    call->call.key = key;
    start(node, call);
}

void world_scan(struct world_node *node, struct world_call *call, const struct command_scan *scan) {
    struct codec_writer w = prepare(node, call, COMMAND_SCAN, DEADLINE_MS);
    struct err err = {0};
    ASSERT(command_scan_check(scan, &err) == STATUS_OK);
    command_scan_encode(&w, scan);
    start(node, call);
}

void world_prepare(struct world_node *node, struct world_call *call, const struct world_part *part,
                   uint64_t ms) {
    struct codec_writer w =
        prepare(node, call, part->alone ? COMMAND_PREPARE_ALONE : COMMAND_PREPARE, ms);
    const struct command_mutation put = {COMMAND_PUT, part->key, part->value};
    const struct command_span read = {.start = part->key};
    const struct command_commit commit = {.txn = world_txn_id(part->id),
                                          .snapshot = part->snapshot,
                                          .reads = &read,
                                          .read_count = part->reads ? 1 : 0,
                                          .mutations = &put,
                                          .mutation_count = part->reads ? 0 : 1};
    struct buf encoded;
    struct codec_writer part_writer;
    buf_init(&encoded, 1 << 20);
    codec_writer_init(&part_writer, &encoded);
    command_commit_encode(&part_writer, &commit);
    const struct slice other = KEY("other");
    const struct slice participants[2] = {part->home ? part->key : other,
                                          part->home ? other : part->key};
    const struct command_prepare whole = {.txn = commit.txn,
                                          .attempt = {part->attempt, 0},
                                          .begin = part->begin,
                                          .request_hash = part->id,
                                          .self = part->home ? 0 : 1,
                                          .participant_count = 2,
                                          .participants = participants,
                                          .part = buf_slice(&encoded)};
    command_prepare_encode(&w, &whole);
    buf_deinit(&encoded);
    call->call.key = part->key;
    start(node, call);
}

void world_resolve(struct world_node *node, struct world_call *call, const struct world_part *part,
                   enum command_decision decision, struct hlc_ts commit) {
    struct codec_writer w = prepare(node, call, COMMAND_RESOLVE, DEADLINE_MS);
    const struct command_resolution resolution = {.txn = world_txn_id(part->id),
                                                  .attempt = {part->attempt, 0},
                                                  .begin = part->begin,
                                                  .decision = decision,
                                                  .commit = commit,
                                                  .request_hash = part->id};
    command_resolve_begin(&w, 1);
    command_resolution_encode(&w, &resolution);
    call->call.key = part->key;
    start(node, call);
}

void world_hold(struct world_node *node, struct world_call *call, const struct command_hold *hold,
                uint64_t ms) {
    struct codec_writer w = prepare(node, call, COMMAND_HOLD, ms);
    command_hold_encode(&w, hold);
    call->call.key = hold->key;
    start(node, call);
}

struct command_txn_answer world_answer(const struct world_call *call) {
    struct codec_reader r;
    struct command_txn_answer answer;
    codec_reader_init(&r, buf_slice(&call->result));
    ASSERT(command_txn_answer_decode(&r, &answer) == STATUS_OK && codec_finish(&r) == STATUS_OK);
    return answer;
}

void world_txn_status(struct world_node *node, struct world_call *call, uint64_t id,
                      struct slice key) {
    struct codec_writer w = prepare(node, call, COMMAND_TXN_STATUS, DEADLINE_MS);
    const struct txn_id txn = world_txn_id(id);
    codec_put_raw(&w, slice_make(txn.v, sizeof(txn.v)));
    call->call.key = key;
    start(node, call);
}

void world_catalog(struct world_node *node, struct world_call *call, struct slice payload) {
    struct codec_writer w = prepare(node, call, COMMAND_CATALOG, DEADLINE_MS);
    codec_put_raw(&w, payload);
    start(node, call);
}

void world_call_deinit(struct world_call *call) {
    buf_deinit(&call->payload);
    buf_deinit(&call->result);
}

struct command_outcome world_outcome(const struct world_call *call) {
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&call->result));
    struct command_outcome outcome = {0};
    ASSERT(command_outcome_decode(&r, &outcome) == STATUS_OK && codec_finish(&r) == STATUS_OK);
    return outcome;
}

struct slice world_row(const struct world_call *call, bool *found) {
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&call->result));
    struct command_row row = {0};
    ASSERT(command_read_row_decode(&r, &row) == STATUS_OK && codec_finish(&r) == STATUS_OK);
    *found = row.found;
    return row.value;
}
