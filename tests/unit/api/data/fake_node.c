// SPDX-License-Identifier: Apache-2.0
// The fake session answers on the loop, at once unless it is told to hold: a sorted array of rows,
// a list of transactions, one clock that counts.
#include "tests/unit/api/data/fake_node.h"

#include "api/proto/lightcone.pb-c.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/loop/clock.h"
#include "dataplane/loop/loop.h"
#include "txn/gateway/gateway_hold.h"

#include <stdio.h>
#include <string.h>

enum {
    FAKE_HELD_MAX = 8192,
    FAKE_DETAIL_SIZE = 64,
    FAKE_ADDRESS_SIZE = 64,
    FAKE_KEY_SIZE_MAX = 64
};

struct fake_row {
    struct bytes *key;
    struct bytes *value;  // NULL = deleted
    uint64_t version;
};

struct fake_txn {
    struct txn_id id;
    struct command_outcome outcome;
};

struct gateway {
    struct fake_row *rows;
    size_t row_count;
    size_t row_capacity;
    struct fake_txn *txns;
    size_t txn_count;
    size_t txn_capacity;
    uint64_t clock;
    struct buf out;
    struct session_call *held[FAKE_HELD_MAX];
    uint32_t held_count;
    atomic_uint held_now;
    atomic_bool hold;
    atomic_uint started;
    atomic_uint cancelled;
    atomic_uint applied;
    atomic_uint_fast64_t begin;  // of the last commit
    atomic_uint keys_held;
    atomic_uint border;
    atomic_uint fail_kind;
    atomic_int fail_status;
    atomic_uint fail_count;
    atomic_uint lose_count;
    atomic_bool pend;
    atomic_uint prepare_count;
    pthread_mutex_t mu;
    struct command_snapshot snapshot;         // guarded by mu
    uint8_t conflict_key[FAKE_KEY_SIZE_MAX];  // guarded by mu
    size_t conflict_key_size;                 // guarded by mu
    struct txn_id conflict_holder;            // guarded by mu
};

struct fake_node {
    struct loop *loop;
    struct rpc_server *server;
    struct data *data;
    struct gateway session;
    struct hlc_clock hlc;
    struct env env;
    char address[FAKE_ADDRESS_SIZE];
    pthread_mutex_t mu;
    char leader_address[FAKE_ADDRESS_SIZE];    // guarded by mu
    char follower_address[FAKE_ADDRESS_SIZE];  // guarded by mu; empty = none
    uint32_t second_leader;                    // guarded by mu; 0 = there is one shard
    struct loop_task release;
};

// --- Rows ---

static size_t fake_find(const struct gateway *self, struct slice key, bool *out_found) {
    size_t low = 0;
    size_t high = self->row_count;
    *out_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = slice_compare(bytes_slice(self->rows[middle].key), key);
        if (order == 0) { *out_found = true; }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void fake_write(struct gateway *self, struct slice key, struct bytes *value) {
    bool found;
    size_t at = fake_find(self, key, &found);
    if (!found) {
        if (self->row_count == self->row_capacity) {
            self->row_capacity = self->row_capacity == 0 ? 64 : 2 * self->row_capacity;
            self->rows = mem_realloc(self->rows, self->row_capacity * sizeof(*self->rows));
        }
        memmove(&self->rows[at + 1], &self->rows[at], (self->row_count - at) * sizeof(*self->rows));
        self->rows[at] = (struct fake_row){.key = bytes_copy(key)};
        self->row_count++;
    }
    bytes_unref(self->rows[at].value);
    self->rows[at].value = value;
    self->rows[at].version = self->clock;
}

static bool fake_holds(const struct gateway *self, const struct command_condition *condition) {
    bool found;
    size_t at = fake_find(self, condition->key, &found);
    const struct fake_row *row = found ? &self->rows[at] : NULL;
    bool live = row != NULL && row->value != NULL;
    uint64_t version = row == NULL ? 0 : row->version;
    switch (condition->kind) {
    case COMMAND_EXISTS:
        return live;
    case COMMAND_ABSENT:
        return !live;
    case COMMAND_VALUE_EQUALS:
        return live && slice_equal(bytes_slice(row->value), condition->value);
    case COMMAND_VERSION_EQUALS:
        return version == condition->ts.v;
    case COMMAND_TIMESTAMP_AT_MOST:
        return version <= condition->ts.v;
    case COMMAND_CONDITION_KIND_COUNT:
        break;
    }
    return false;
}

// --- Commands ---

// A counter stays within its bounds; the fake knows no more than that of merges.
static bool fake_merge(struct gateway *self, const struct command_mutation *mutation) {
    struct command_merge merge;
    struct buf value;
    bool found;
    enum status st = command_merge_decode(mutation->value, &merge);
    ASSERT(st == STATUS_OK);
    size_t at = fake_find(self, mutation->key, &found);
    bool exists = found && self->rows[at].value != NULL;
    struct slice before = exists ? bytes_slice(self->rows[at].value) : SLICE_EMPTY;
    buf_init(&value, COMMAND_MERGE_SIZE_MAX);
    int64_t number = 0;
    st = command_merge_apply(&merge, before, exists, &value);
    ASSERT(st == STATUS_OK);
    bool counts = merge.type == COMMAND_MERGE_COUNTER || merge.type == COMMAND_MERGE_GROW_COUNTER;
    if (counts) {
        st = command_merge_number(buf_slice(&value), true, &number);
        ASSERT(st == STATUS_OK);
    }
    bool holds = !counts || ((!merge.has_min || number >= merge.min) &&
                             (!merge.has_max || number <= merge.max));
    if (holds) { fake_write(self, mutation->key, bytes_copy(buf_slice(&value))); }
    buf_deinit(&value);
    return holds;
}

static void fake_mutate(struct gateway *self, const struct command_mutation *mutation) {
    if (mutation->kind == COMMAND_PUT) {
        fake_write(self, mutation->key, bytes_copy(mutation->value));
    } else if (mutation->kind == COMMAND_DELETE) {
        fake_write(self, mutation->key, NULL);
    } else {
        for (size_t i = 0; i < self->row_count; i++) {
            struct slice key = bytes_slice(self->rows[i].key);
            if (slice_compare(key, mutation->key) >= 0 && slice_compare(key, mutation->value) < 0) {
                fake_write(self, key, NULL);
            }
        }
    }
}

// What a reader of [start, end), or of the key alone, did not see yet.
static bool fake_is_newer(const struct gateway *self, const struct command_span *span,
                          struct hlc_ts snapshot) {
    for (size_t i = 0; i < self->row_count; i++) {
        struct slice key = bytes_slice(self->rows[i].key);
        bool inside = span->end.size == 0 ? slice_equal(key, span->start)
                                          : slice_compare(key, span->start) >= 0 &&
                                                slice_compare(key, span->end) < 0;
        if (inside && self->rows[i].version > snapshot.v) { return true; }
    }
    return false;
}

// Whether the commit's reads still stand.
static bool fake_reads_stand(const struct gateway *self, struct slice payload) {
    struct command_commit_reader reader;
    struct command_span span;
    bool stand = true;
    enum status st = command_commit_open(&reader, payload);
    ASSERT(st == STATUS_OK);
    for (uint32_t i = 0; i < reader.read_count; i++) {
        st = command_commit_next_read(&reader, &span);
        ASSERT(st == STATUS_OK);
        stand = stand && !fake_is_newer(self, &span, reader.snapshot);
    }
    return stand;
}

static struct command_outcome fake_apply(struct gateway *self, struct slice payload,
                                         struct txn_id *out_id) {
    struct command_commit_reader reader;
    struct command_condition condition;
    struct command_mutation mutation;
    enum status st = command_commit_open(&reader, payload);
    ASSERT(st == STATUS_OK);
    *out_id = reader.txn;
    struct command_outcome outcome = {.status = STATUS_OK, .timestamp = {self->clock}};
    struct command_span span;
    for (uint32_t i = 0; i < reader.read_count; i++) {
        st = command_commit_next_read(&reader, &span);
        ASSERT(st == STATUS_OK);
    }
    for (uint32_t i = 0; i < reader.condition_count; i++) {
        st = command_commit_next_condition(&reader, &condition);
        ASSERT(st == STATUS_OK);
        if (outcome.status == STATUS_OK && !fake_holds(self, &condition)) {
            outcome.status = STATUS_CONDITION_FAILED;
            outcome.failed_condition = i;
        }
    }
    for (uint32_t i = 0; i < reader.mutation_count; i++) {
        st = command_commit_next_mutation(&reader, &mutation);
        ASSERT(st == STATUS_OK);
        if (outcome.status != STATUS_OK) { continue; }
        if (mutation.kind != COMMAND_MERGE) {
            fake_mutate(self, &mutation);
        } else if (!fake_merge(self, &mutation)) {
            outcome.status = STATUS_CONDITION_FAILED;
            outcome.failed_condition = reader.condition_count + i;
        }
    }
    if (outcome.status == STATUS_OK) { atomic_fetch_add(&self->applied, 1); }
    return outcome;
}

static const struct fake_txn *fake_txn_find(const struct gateway *self, struct txn_id id) {
    // The newest first: tests repeat what they just did.
    for (size_t i = self->txn_count; i > 0 && i + 4096 > self->txn_count; i--) {
        if (txn_id_equal(self->txns[i - 1].id, id)) { return &self->txns[i - 1]; }
    }
    return NULL;
}

static void fake_keep(struct gateway *self, struct txn_id id,
                      const struct command_outcome *outcome) {
    if (self->txn_count == self->txn_capacity) {
        self->txn_capacity = self->txn_capacity == 0 ? 64 : 2 * self->txn_capacity;
        self->txns = mem_realloc(self->txns, self->txn_capacity * sizeof(*self->txns));
    }
    self->txns[self->txn_count++] = (struct fake_txn){id, *outcome};
}

// The payload of ABORTED_RETRY.
static enum status fake_aborted(struct gateway *self) {
    struct codec_writer w;
    (void)pthread_mutex_lock(&self->mu);
    struct command_txn_answer answer = {
        .state = COMMAND_TXN_ABORTED,
        .reason = COMMAND_REASON_LOCKED,
        .holder = self->conflict_holder,
        .key = slice_make(self->conflict_key, self->conflict_key_size)};
    codec_writer_init(&w, &self->out);
    command_txn_answer_encode(&w, &answer);
    (void)pthread_mutex_unlock(&self->mu);
    return STATUS_ABORTED_RETRY;
}

static enum status fake_commit(struct gateway *self, struct slice payload, uint64_t begin) {
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, payload);
    ASSERT(st == STATUS_OK);
    const struct fake_txn *known = fake_txn_find(self, reader.txn);
    struct command_outcome outcome;
    atomic_store(&self->begin, begin);
    if (known != NULL) {
        outcome = known->outcome;
    } else if (!fake_reads_stand(self, payload)) {
        return fake_aborted(self);
    } else {
        struct txn_id id;
        self->clock++;
        outcome = fake_apply(self, payload, &id);
        fake_keep(self, id, &outcome);
    }
    struct codec_writer w;
    codec_writer_init(&w, &self->out);
    command_outcome_encode(&w, &outcome);
    return outcome.status;
}

static enum status fake_read(struct gateway *self, struct slice payload) {
    struct command_read_reader reader;
    struct codec_writer w;
    enum status st = command_read_open(&reader, payload);
    ASSERT(st == STATUS_OK);
    codec_writer_init(&w, &self->out);
    for (uint32_t i = 0; i < reader.key_count; i++) {
        struct slice key;
        bool found;
        st = command_read_next(&reader, &key);
        ASSERT(st == STATUS_OK);
        size_t at = fake_find(self, key, &found);
        struct command_row row = {.found = found && self->rows[at].value != NULL};
        if (found) { row.version.v = self->rows[at].version; }
        if (row.found) { row.value = bytes_slice(self->rows[at].value); }
        command_read_row_encode(&w, &row);
    }
    return w.status;
}

static bool fake_in_range(const struct command_scan *scan, struct slice key) {
    if (slice_compare(key, scan->start) < 0) { return false; }
    if (scan->end.size > 0) { return slice_compare(key, scan->end) < 0; }
    return slice_has_prefix(key, slice_make(scan->start.data, SHARD_KEYSPACE_PREFIX_SIZE));
}

static enum status fake_scan(struct gateway *self, struct slice payload) {
    struct command_scan scan;
    struct codec_writer w;
    enum status st = command_scan_decode(payload, &scan);
    ASSERT(st == STATUS_OK);
    codec_writer_init(&w, &self->out);
    uint32_t border = atomic_load(&self->border);
    uint32_t limit = border != 0 && border < scan.row_limit ? border : scan.row_limit;
    uint32_t rows = 0;
    struct slice last = SLICE_EMPTY;
    bool more = false;
    for (size_t n = 0; n < self->row_count && !more; n++) {
        const struct fake_row *row = &self->rows[scan.reverse ? self->row_count - 1 - n : n];
        struct slice key = bytes_slice(row->key);
        if (row->value == NULL || !fake_in_range(&scan, key)) { continue; }
        if (rows == limit) {
            more = true;
            if (!scan.reverse) { last = key; }
            break;
        }
        struct command_row out = {.found = true, .key = key, .version = {row->version}};
        if (!scan.keys_only) { out.value = bytes_slice(row->value); }
        command_scan_row_encode(&w, &out);
        rows++;
        if (scan.reverse) { last = key; }
    }
    command_scan_end_encode(&w, more, more ? last : SLICE_EMPTY);
    return w.status;
}

static enum status fake_txn_status(struct gateway *self, struct slice payload) {
    struct txn_id id;
    ASSERT(payload.size == sizeof(id.v));
    memcpy(id.v, payload.data, sizeof(id.v));
    const struct fake_txn *known = fake_txn_find(self, id);
    if (known == NULL) {
        const uint8_t pending = 1;
        bool pends = atomic_load(&self->pend);
        enum status st = buf_append(&self->out, slice_make(&pending, pends ? 1 : 0));
        ASSERT(st == STATUS_OK);
        return STATUS_NOT_FOUND;
    }
    struct codec_writer w;
    codec_writer_init(&w, &self->out);
    command_outcome_encode(&w, &known->outcome);
    return STATUS_OK;
}

// Of resolutions the server sends but one to settle an id.
static enum status fake_settle(struct gateway *self, struct slice payload) {
    struct command_resolve_reader reader;
    struct command_resolution resolution;
    enum status st = command_resolve_open(&reader, payload);
    ASSERT(st == STATUS_OK);
    st = command_resolve_next(&reader, &resolution);
    ASSERT(st == STATUS_OK && resolution.decision == COMMAND_DECIDE_SETTLE);
    struct codec_writer w;
    codec_writer_init(&w, &self->out);
    if (atomic_load(&self->prepare_count) > 0) {
        atomic_fetch_sub(&self->prepare_count, 1);
        const struct command_txn_answer prepared = {.state = COMMAND_TXN_PREPARED};
        command_txn_answer_encode(&w, &prepared);
        return w.status;
    }
    const struct command_outcome aborted = {.status = STATUS_CANCELLED, .timestamp = {self->clock}};
    fake_keep(self, resolution.txn, &aborted);
    struct command_txn_answer answer = {.state = COMMAND_TXN_ABORTED,
                                        .reason = COMMAND_REASON_SETTLED,
                                        .has_outcome = true,
                                        .outcome = aborted};
    command_txn_answer_encode(&w, &answer);
    return w.status;
}

// --- The session's functions ---

static bool fake_fails(struct gateway *self, const struct session_call *call,
                       struct session_result *out) {
    uint32_t kind = atomic_load(&self->fail_kind);
    if (atomic_load(&self->fail_count) == 0 || (kind != 0 && kind != (uint32_t)call->kind)) {
        return false;
    }
    atomic_fetch_sub(&self->fail_count, 1);
    *out = (struct session_result){.status = (enum status)atomic_load(&self->fail_status),
                                   .detail = SLICE_LITERAL("as the test wants")};
    if (out->status == STATUS_ABORTED_RETRY) {
        buf_reset(&self->out);
        (void)fake_aborted(self);
        out->payload = buf_slice(&self->out);
    }
    return true;
}

static enum command_method fake_method(struct gateway *self, const struct session_call *call) {
    struct command_snapshot snapshot = {.consistency = COMMAND_STRONG};
    if (call->kind == COMMAND_COMMIT || call->kind == COMMAND_RESOLVE) {
        return COMMAND_METHOD_LOG;
    }
    if (call->kind == COMMAND_TXN_STATUS) { return COMMAND_METHOD_LEASE; }
    enum status st = command_snapshot_peek(call->payload, &snapshot);
    ASSERT(st == STATUS_OK);
    (void)pthread_mutex_lock(&self->mu);
    self->snapshot = snapshot;
    (void)pthread_mutex_unlock(&self->mu);
    if (snapshot.consistency == COMMAND_ANY) { return COMMAND_METHOD_APPLIED; }
    return command_consistency_is_strong(snapshot.consistency) ? COMMAND_METHOD_LEASE
                                                               : COMMAND_METHOD_CLOSED;
}

static void fake_answer(struct gateway *self, struct session_call *call) {
    struct session_result result;
    if (fake_fails(self, call, &result)) {
        call->done(call, &result);
        return;
    }
    buf_reset(&self->out);
    enum status st = STATUS_NOT_SUPPORTED;
    if (call->kind == COMMAND_READ) { st = fake_read(self, call->payload); }
    if (call->kind == COMMAND_SCAN) { st = fake_scan(self, call->payload); }
    if (call->kind == COMMAND_COMMIT) { st = fake_commit(self, call->payload, call->begin.v); }
    if (call->kind == COMMAND_TXN_STATUS) { st = fake_txn_status(self, call->payload); }
    if (call->kind == COMMAND_RESOLVE) { st = fake_settle(self, call->payload); }
    result = (struct session_result){
        .status = st,
        .certificate = {.method = fake_method(self, call),
                        .shard = {2},
                        .config_epoch = 1,
                        .term = 3,
                        .index = self->clock,
                        .timestamp = {self->clock},
                        .closed = {self->clock - 1}},
        .payload = buf_slice(&self->out),
    };
    if (call->kind == COMMAND_COMMIT && atomic_load(&self->lose_count) > 0) {
        atomic_fetch_sub(&self->lose_count, 1);
        result = (struct session_result){.status = STATUS_UNKNOWN_OUTCOME};
    }
    call->done(call, &result);
}

void gateway_start(struct gateway *self, struct session_call *call) {
    atomic_fetch_add(&self->started, 1);
    if (atomic_load(&self->hold)) {
        ASSERT(self->held_count < FAKE_HELD_MAX);
        self->held[self->held_count++] = call;
        atomic_store(&self->held_now, self->held_count);
        return;
    }
    fake_answer(self, call);
}

void gateway_cancel(struct gateway *self, struct session_call *call) {
    for (uint32_t i = 0; i < self->held_count; i++) {
        if (self->held[i] != call) { continue; }
        self->held[i] = self->held[--self->held_count];
        atomic_store(&self->held_now, self->held_count);
        atomic_fetch_add(&self->cancelled, 1);
        struct session_result result = {
            .status = call->kind == COMMAND_COMMIT ? STATUS_UNKNOWN_OUTCOME : STATUS_CANCELLED};
        call->done(call, &result);
        return;
    }
    ASSERT(call == NULL);  // a call that has ended must not be cancelled
}

// Keys are held at once, or not at all: one transaction does not meet another here.
void gateway_hold_init(struct gateway_hold *self, struct gateway *gateway) {
    self->gateway = gateway;
}

enum status gateway_hold_take(struct gateway_hold *self, const struct slice *keys, uint32_t count,
                              uint64_t deadline_ns) {
    struct gateway *gateway = self->gateway;
    struct session_result result = {.status = STATUS_OK};
    const struct session_call call = {.kind = COMMAND_HOLD};
    ASSERT(!self->taking && keys[0].size > 0 && deadline_ns > 0);
    if (count > GATEWAY_HOLD_KEYS_MAX) { return STATUS_RESOURCE_EXHAUSTED; }
    atomic_fetch_add(&gateway->keys_held, count - self->held);
    self->held = count;
    self->taking = atomic_load(&gateway->hold);
    if (self->taking) { return STATUS_OK; }
    (void)fake_fails(gateway, &call, &result);
    self->done(self, &result);
    return STATUS_OK;
}

void gateway_hold_end(struct gateway_hold *self) {
    if (self->gateway == NULL) { return; }
    atomic_fetch_sub(&self->gateway->keys_held, self->held);
    self->gateway = NULL;
}

static void fake_release(struct loop_task *task) {
    struct fake_node *self =
        (struct fake_node *)(void *)((uint8_t *)task - offsetof(struct fake_node, release));
    struct gateway *session = &self->session;
    while (session->held_count > 0) {
        struct session_call *call = session->held[--session->held_count];
        atomic_store(&session->held_now, session->held_count);
        fake_answer(session, call);
    }
}

// --- The node ---

static uint64_t fake_monotonic_ns(void *ctx) {
    (void)ctx;
    return loop_monotonic_ns();
}

static uint64_t fake_wall_us(void *ctx) {
    (void)ctx;
    return loop_wall_us();
}

static void fake_map_get(void *ctx, struct rpc_call *call, struct slice request) {
    struct fake_node *self = ctx;
    (void)request;
    Lightcone__V1__MapGetResponse response = LIGHTCONE__V1__MAP_GET_RESPONSE__INIT;
    Lightcone__V1__Shard shard = LIGHTCONE__V1__SHARD__INIT;
    Lightcone__V1__ShardReplica replica = LIGHTCONE__V1__SHARD_REPLICA__INIT;
    Lightcone__V1__ShardReplica second_replica = LIGHTCONE__V1__SHARD_REPLICA__INIT;
    Lightcone__V1__Node node = LIGHTCONE__V1__NODE__INIT;
    Lightcone__V1__Node second = LIGHTCONE__V1__NODE__INIT;
    Lightcone__V1__Keyspace keyspace = LIGHTCONE__V1__KEYSPACE__INIT;
    Lightcone__V1__Shard upper = LIGHTCONE__V1__SHARD__INIT;
    Lightcone__V1__Shard *shards[] = {&shard, &upper};
    Lightcone__V1__ShardReplica *replicas[] = {&replica, &second_replica};
    Lightcone__V1__Node *nodes[] = {&node, &second};
    Lightcone__V1__Keyspace *keyspaces[] = {&keyspace};
    uint8_t start[] = {0, 0, 0, FAKE_KEYSPACE};
    uint8_t end[] = {0, 0, 0, FAKE_KEYSPACE + 1};
    uint8_t border[] = {0, 0, 0, FAKE_KEYSPACE, 'm'};
    char name[] = "test";
    char east[] = "east";
    char west[] = "west";
    char address[FAKE_ADDRESS_SIZE];
    char follower[FAKE_ADDRESS_SIZE];
    (void)pthread_mutex_lock(&self->mu);
    memcpy(address, self->leader_address, sizeof(address));
    memcpy(follower, self->follower_address, sizeof(follower));
    const uint32_t second_leader = self->second_leader;
    (void)pthread_mutex_unlock(&self->mu);
    replica.node = 1;
    shard.id = 2;
    shard.start = (ProtobufCBinaryData){sizeof(start), start};
    shard.end = (ProtobufCBinaryData){sizeof(end), end};
    shard.epoch = shard.config_epoch = shard.version = 1;
    shard.leader = 1;
    shard.term = 3;
    shard.n_replicas = response.n_nodes = follower[0] == 0 ? 1 : 2;
    shard.replicas = replicas;
    upper = shard;
    if (second_leader != 0) {
        shard.end = upper.start = (ProtobufCBinaryData){sizeof(border), border};
        upper.id = 3;
        upper.leader = second_leader;
    }
    node.id = 1;
    node.region = east;
    second.region = west;
    node.rpc_address = address;
    second_replica.node = second.id = 2;
    second.rpc_address = follower;
    keyspace.id = FAKE_KEYSPACE;
    keyspace.name = name;
    response.version = 1;
    response.n_shards = second_leader != 0 ? 2 : 1;
    response.n_keyspaces = 1;
    response.shards = shards;
    response.nodes = nodes;
    response.keyspaces = keyspaces;
    uint8_t packed[1024];
    ASSERT(lightcone__v1__map_get_response__get_packed_size(&response) <= sizeof(packed));
    size_t size = lightcone__v1__map_get_response__pack(&response, packed);
    rpc_reply(call, slice_make(packed, size));
}

static void fake_on_turn(void *ctx) {
    struct fake_node *self = ctx;
    data_turn(self->data);
}

static void fake_serve(struct fake_node *self, uint32_t items_max, size_t stream_bytes_max) {
    static const struct rpc_handler map_get = {.start = fake_map_get};
    struct rpc_config config = {.address = "127.0.0.1:0", .stream_bytes_max = stream_bytes_max};
    struct err err = {0};
    if (rpc_create(&config, &self->server, &err) != STATUS_OK) { FATAL("%s", err.message); }
    struct data_config data = {.server = self->server,
                               .loop = self->loop,
                               .gateway = &self->session,
                               .hlc = &self->hlc,
                               .env = &self->env,
                               .self = {1},
                               .items_max = items_max,
                               .transact_bytes_max = FAKE_TRANSACT_BYTES_MAX};
    self->data = data_create(&data);
    struct directory_entry entry = {FAKE_KEYSPACE, SLICE_LITERAL("test")};
    data_set_directory(self->data, directory_create(&entry, 1));
    struct rpc_method method = {
        .path = "/lightcone.v1.Admin/MapGet", .handler = &map_get, .ctx = self};
    rpc_register(self->server, &method);
}

struct fake_node *fake_node_create(uint32_t items_max, size_t stream_bytes_max) {
    struct fake_node *self = mem_alloc(sizeof(*self));
    struct err err = {0};
    int error = pthread_mutex_init(&self->mu, NULL);
    error |= pthread_mutex_init(&self->session.mu, NULL);
    ASSERT(error == 0);
    self->env =
        (struct env){.ctx = self, .monotonic_ns = fake_monotonic_ns, .wall_us = fake_wall_us};
    self->release.run = fake_release;
    self->session.clock = hlc_from_wall(loop_wall_us()).v;
    hlc_init(&self->hlc, 1000000);
    buf_init(&self->session.out, 32 << 20);
    struct loop_config loop = {.name = "fake", .hooks = {.ctx = self, .on_turn = fake_on_turn}};
    if (loop_create(&loop, &self->loop, &err) != STATUS_OK) { FATAL("%s", err.message); }
    fake_serve(self, items_max, stream_bytes_max);
    if (loop_start(self->loop, &err) != STATUS_OK) { FATAL("%s", err.message); }
    rpc_start(self->server);
    (void)snprintf(self->address, sizeof(self->address), "127.0.0.1:%u", rpc_port(self->server));
    memcpy(self->leader_address, self->address, sizeof(self->address));
    return self;
}

void fake_node_destroy(struct fake_node *self) {
    fake_node_hold(self, false);
    rpc_stop(self->server, 200);
    fake_node_destroy_stopped(self);
}

void fake_node_destroy_stopped(struct fake_node *self) {
    loop_stop(self->loop);
    loop_join(self->loop);
    loop_destroy(self->loop);
    data_destroy(self->data);
    rpc_destroy(self->server);
    for (size_t i = 0; i < self->session.row_count; i++) {
        bytes_unref(self->session.rows[i].key);
        bytes_unref(self->session.rows[i].value);
    }
    mem_free(self->session.rows);
    mem_free(self->session.txns);
    buf_deinit(&self->session.out);
    (void)pthread_mutex_destroy(&self->session.mu);
    (void)pthread_mutex_destroy(&self->mu);
    mem_free(self);
}

const char *fake_node_address(const struct fake_node *self) {
    return self->address;
}

struct rpc_server *fake_node_server(struct fake_node *self) {
    return self->server;
}

struct data *fake_node_data(struct fake_node *self) {
    return self->data;
}

void fake_node_fail(struct fake_node *self, uint32_t kind, enum status status, uint32_t count) {
    atomic_store(&self->session.fail_kind, kind);
    atomic_store(&self->session.fail_status, (int)status);
    atomic_store(&self->session.fail_count, count);
}

void fake_node_lose(struct fake_node *self, uint32_t count) {
    atomic_store(&self->session.lose_count, count);
}

void fake_node_hold(struct fake_node *self, bool hold) {
    bool before = atomic_exchange(&self->session.hold, hold);
    if (before && !hold) { loop_post_completion(self->loop, &self->release); }
}

bool fake_node_is_holding(const struct fake_node *self) {
    return atomic_load(&self->session.hold);
}

uint32_t fake_node_held(const struct fake_node *self) {
    return atomic_load(&self->session.held_now);
}

uint32_t fake_node_started(const struct fake_node *self) {
    return atomic_load(&self->session.started);
}

uint32_t fake_node_cancelled(const struct fake_node *self) {
    return atomic_load(&self->session.cancelled);
}

uint32_t fake_node_applied(const struct fake_node *self) {
    return atomic_load(&self->session.applied);
}

uint32_t fake_node_keys_held(const struct fake_node *self) {
    return atomic_load(&self->session.keys_held);
}

uint64_t fake_node_begin(const struct fake_node *self) {
    return atomic_load(&self->session.begin);
}

void fake_node_border(struct fake_node *self, uint32_t rows) {
    atomic_store(&self->session.border, rows);
}

void fake_node_point_to(struct fake_node *self, const char *address) {
    (void)pthread_mutex_lock(&self->mu);
    (void)snprintf(self->leader_address, sizeof(self->leader_address), "%s", address);
    (void)pthread_mutex_unlock(&self->mu);
}

void fake_node_follower(struct fake_node *self, const char *address) {
    (void)pthread_mutex_lock(&self->mu);
    (void)snprintf(self->follower_address, sizeof(self->follower_address), "%s",
                   address == NULL ? "" : address);
    (void)pthread_mutex_unlock(&self->mu);
}

void fake_node_split(struct fake_node *self, uint32_t leader) {
    (void)pthread_mutex_lock(&self->mu);
    self->second_leader = leader;
    (void)pthread_mutex_unlock(&self->mu);
}

void fake_node_conflict(struct fake_node *self, struct slice key, struct txn_id holder) {
    struct gateway *session = &self->session;
    ASSERT(key.size <= FAKE_KEY_SIZE_MAX);
    (void)pthread_mutex_lock(&session->mu);
    memcpy(session->conflict_key, key.data, key.size);
    session->conflict_key_size = key.size;
    session->conflict_holder = holder;
    (void)pthread_mutex_unlock(&session->mu);
}

void fake_node_prepare(struct fake_node *self, uint32_t count) {
    atomic_store(&self->session.prepare_count, count);
}

void fake_node_pend(struct fake_node *self, bool pend) {
    atomic_store(&self->session.pend, pend);
}

struct command_snapshot fake_node_snapshot(struct fake_node *self) {
    (void)pthread_mutex_lock(&self->session.mu);
    struct command_snapshot snapshot = self->session.snapshot;
    (void)pthread_mutex_unlock(&self->session.mu);
    return snapshot;
}
