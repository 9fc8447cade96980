// SPDX-License-Identifier: Apache-2.0
// Keys and values of the transactions' load, and what goes to the gateway. Keys lie among those of
// the other clients, shard by shard, under letters that those do not use.
#include "dataplane/base/assert.h"
#include "tests/sim/clients_txn_internal.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct slice sim_txn__key(const struct sim_txn_client *self, const struct sim_txn_item *item,
                          uint8_t out[SIM_TXN_KEY_SIZE]) {
    const struct sim_world *world = self->world;
    bool list = self->kind == SIM_TXN_LISTS;
    uint32_t place = list ? item->key % SIM_TXN_SLOTS : item->key;
    uint32_t generation = list ? item->key / SIM_TXN_SLOTS : 0;
    uint32_t size = 0;
    for (; size < SHARD_KEYSPACE_PREFIX_SIZE; size++) {
        out[size] = (uint8_t)(world->keyspace >> (8 * (SHARD_KEYSPACE_PREFIX_SIZE - 1 - size)));
    }
    out[size++] = (uint8_t)('a' + place % world->plan.shard_count);
    out[size++] = list ? 'L' : 'B';
    out[size++] = (uint8_t)('0' + place);
    out[size++] = (uint8_t)(generation >> 8);
    out[size++] = (uint8_t)generation;
    ASSERT(size <= SIM_TXN_KEY_SIZE);
    return slice_make(out, size);
}

struct slice sim_txn__value(const struct sim_txn_client *self, const struct sim_txn_item *item,
                            uint8_t *out) {
    if (self->kind != SIM_TXN_LISTS) {
        codec_store_u64(out, (uint64_t)(item->balance + item->change));
        return slice_make(out, 8);
    }
    ASSERT(item->count < SIM_TXN_LIST_MAX + 1);
    for (uint32_t i = 0; i < item->count; i++) {
        codec_store_u64(out + 8 * (size_t)i, item->list[i]);
    }
    codec_store_u64(out + 8 * (size_t)item->count, item->value);
    return slice_make(out, 8 * ((size_t)item->count + 1));
}

static bool decode_value(const struct sim_txn_client *self, struct sim_txn_item *item,
                         const struct command_row *row) {
    item->version = row->version;
    item->count = 0;
    item->balance = SIM_TXN_BALANCE;
    if (!row->found) { return true; }
    if (self->kind != SIM_TXN_LISTS) {
        if (row->value.size != 8) { return false; }
        item->balance = (int64_t)codec_load_u64(row->value.data);
        return true;
    }
    if (row->value.size % 8 != 0 || row->value.size > SIM_TXN_VALUE_SIZE_MAX) { return false; }
    for (; item->count < row->value.size / 8; item->count++) {
        item->list[item->count] = codec_load_u64(row->value.data + 8 * (size_t)item->count);
    }
    return true;
}

// --- Calls ---

bool sim_txn__is_many(const struct sim_txn_client *self) {
    const uint32_t shards = self->world->plan.shard_count;
    if (self->kind == SIM_TXN_RANGES) {
        return self->range_count > 1 &&
               self->ranges[0].group % shards != self->ranges[1].group % shards;
    }
    const uint32_t places = self->kind == SIM_TXN_LISTS ? SIM_TXN_SLOTS : SIM_TXN_ACCOUNTS;
    for (uint32_t i = 1; i < self->item_count; i++) {
        uint32_t first = self->items[0].key % places % shards;
        if (self->items[i].key % places % shards != first) { return true; }
    }
    return false;
}

static void put(struct buf *buf, struct slice bytes) {
    buf_reset(buf);
    enum status st = buf_append(buf, bytes);
    ASSERT(st == STATUS_OK);
}

void sim_txn__route(const struct sim_txn_client *self, struct sim_call *call) {
    uint8_t space[2][SIM_TXN_KEY_SIZE];
    struct slice low = sim_txn__key(self, &self->items[0], space[0]);
    put(&call->key, low);
    put(&call->key_high, low);
    for (uint32_t i = 1; i < self->item_count; i++) {
        struct slice key = sim_txn__key(self, &self->items[i], space[1]);
        if (slice_compare(key, buf_slice(&call->key)) < 0) { put(&call->key, key); }
        if (slice_compare(key, buf_slice(&call->key_high)) > 0) { put(&call->key_high, key); }
    }
}

void sim_txn__put_commit(struct sim_call *call, const struct command_commit *commit) {
    ASSERT(command_commit_check(commit, NULL) == STATUS_OK);
    struct codec_writer w;
    buf_reset(&call->payload);
    codec_writer_init(&w, &call->payload);
    command_commit_encode(&w, commit);
    ASSERT(w.status == STATUS_OK);
    call->call.kind = COMMAND_COMMIT;
}

void sim_txn__encode_some(const struct sim_txn_client *self, struct sim_call *call,
                          const uint32_t *places, uint32_t count) {
    uint8_t space[SIM_TXN_KEYS_MAX][SIM_TXN_KEY_SIZE];
    struct slice keys[SIM_TXN_KEYS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = sim_txn__key(self, &self->items[places[i]], space[i]);
        if (i == 0 || slice_compare(keys[i], buf_slice(&call->key)) < 0) {
            put(&call->key, keys[i]);
        }
        if (i == 0 || slice_compare(keys[i], buf_slice(&call->key_high)) > 0) {
            put(&call->key_high, keys[i]);
        }
    }
    struct command_read read = {.snapshot = self->snapshot, .key_count = count, .keys = keys};
    ASSERT(command_read_check(&read, NULL) == STATUS_OK);
    struct codec_writer w;
    buf_reset(&call->payload);
    codec_writer_init(&w, &call->payload);
    command_read_encode(&w, &read);
    ASSERT(w.status == STATUS_OK);
    call->call.kind = COMMAND_READ;
}

void sim_txn__encode_read(const struct sim_txn_client *self, struct sim_call *call) {
    uint32_t places[SIM_TXN_KEYS_MAX];
    for (uint32_t i = 0; i < self->item_count; i++) {
        places[i] = i;
    }
    sim_txn__encode_some(self, call, places, self->item_count);
}

bool sim_txn__decode_row(const struct sim_txn_client *self, struct codec_reader *r,
                         struct sim_txn_item *item) {
    struct command_row row = {0};
    return command_read_row_decode(r, &row) == STATUS_OK && decode_value(self, item, &row);
}

bool sim_txn__decode_rows(struct sim_txn_client *self, struct slice payload) {
    struct codec_reader r;
    codec_reader_init(&r, payload);
    for (uint32_t i = 0; i < self->item_count; i++) {
        if (!sim_txn__decode_row(self, &r, &self->items[i])) { return false; }
    }
    return true;
}

static bool is_written(const struct sim_txn_item *item) {
    return item->append || item->change != 0;
}

void sim_txn__encode_commit(const struct sim_txn_client *self, struct sim_call *call) {
    uint8_t space[SIM_TXN_KEYS_MAX][SIM_TXN_KEY_SIZE];
    uint8_t values[SIM_TXN_KEYS_MAX][SIM_TXN_VALUE_SIZE_MAX];
    struct command_span reads[SIM_TXN_KEYS_MAX];
    struct command_condition conditions[SIM_TXN_KEYS_MAX];
    struct command_mutation mutations[SIM_TXN_KEYS_MAX];
    struct command_commit commit = {
        .txn = self->txn, .reads = reads, .conditions = conditions, .mutations = mutations};
    for (uint32_t i = 0; i < self->item_count; i++) {
        const struct sim_txn_item *item = &self->items[i];
        struct slice key = sim_txn__key(self, item, space[i]);
        if (item->by_condition) {
            conditions[commit.condition_count++] = (struct command_condition){
                .kind = COMMAND_VERSION_EQUALS, .key = key, .ts = item->version};
        } else {
            reads[commit.read_count++] = (struct command_span){.start = key};
            commit.snapshot = self->read_ts;
        }
        if (!is_written(item)) { continue; }
        mutations[commit.mutation_count++] = (struct command_mutation){
            .kind = COMMAND_PUT, .key = key, .value = sim_txn__value(self, item, values[i])};
    }
    sim_txn__route(self, call);
    sim_txn__put_commit(call, &commit);
}

// The home, which knows the outcome, is the shard of the first key that is written.
static struct slice home_key(const struct sim_txn_client *self, uint8_t space[SIM_TXN_KEY_SIZE]) {
    if (self->kind == SIM_TXN_RANGES) { return sim_txn__member_key(self, space); }
    uint32_t first = 0;
    while (!is_written(&self->items[first])) {
        first++;
        ASSERT(first < self->item_count);
    }
    return sim_txn__key(self, &self->items[first], space);
}

void sim_txn__encode_status(const struct sim_txn_client *self, struct sim_call *call) {
    uint8_t space[SIM_TXN_KEY_SIZE];
    put(&call->key, home_key(self, space));
    buf_reset(&call->key_high);
    put(&call->payload, slice_make(self->txn.v, sizeof(self->txn.v)));
    call->call.kind = COMMAND_TXN_STATUS;
}
