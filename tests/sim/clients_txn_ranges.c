// SPDX-License-Identifier: Apache-2.0
// Transactions that read whole ranges and put members into them: what a range did not hold when it
// was read must not be there when the transaction commits. Two ranges are read at one snapshot, the
// one that the first scan was given.
#include "dataplane/base/assert.h"
#include "tests/sim/clients_txn_internal.h"
#include "tests/sim/txn_judges.h"
#include "tests/sim/world.h"

enum { ROW_LIMIT = 2 * SIM_TXN_MEMBERS };

// --- Keys ---

static uint64_t first_member(const struct sim_txn_range *range) {
    return ((uint64_t)range->generation * SIM_TXN_GROUPS + range->group) * SIM_TXN_MEMBERS;
}

static struct slice key_of(const struct sim_txn_client *self, const struct sim_txn_range *range,
                           uint32_t member, uint8_t out[SIM_TXN_KEY_SIZE]) {
    const struct sim_world *world = self->world;
    uint32_t size = 0;
    for (; size < SHARD_KEYSPACE_PREFIX_SIZE; size++) {
        out[size] = (uint8_t)(world->keyspace >> (8 * (SHARD_KEYSPACE_PREFIX_SIZE - 1 - size)));
    }
    out[size++] = (uint8_t)('a' + range->group % world->plan.shard_count);
    out[size++] = 'M';
    out[size++] = (uint8_t)('0' + range->group);
    out[size++] = (uint8_t)(range->generation >> 8);
    out[size++] = (uint8_t)range->generation;
    out[size++] = (uint8_t)member;
    ASSERT(size <= SIM_TXN_KEY_SIZE);
    return slice_make(out, size);
}

static struct command_span span_of(const struct sim_txn_client *self,
                                   const struct sim_txn_range *range,
                                   uint8_t space[2][SIM_TXN_KEY_SIZE]) {
    return (struct command_span){.start = key_of(self, range, 0, space[0]),
                                 .end = key_of(self, range, SIM_TXN_MEMBERS, space[1])};
}

struct slice sim_txn__member_key(const struct sim_txn_client *self, uint8_t out[SIM_TXN_KEY_SIZE]) {
    return key_of(self, &self->ranges[self->range_count - 1], self->member, out);
}

static void put(struct buf *buf, struct slice bytes) {
    buf_reset(buf);
    enum status st = buf_append(buf, bytes);
    ASSERT(st == STATUS_OK);
}

// --- Drawing ---

static void draw_range(struct sim_txn_client *self, uint32_t group) {
    self->ranges[self->range_count++] = (struct sim_txn_range){
        .group = group, .generation = self->world->txns.range_generations[group]};
}

// A range of which all numbers are drawn is followed by another one.
static void draw_member(struct sim_txn_client *self) {
    struct sim_txn_load *load = &self->world->txns;
    const struct sim_txn_range *range = &self->ranges[self->range_count - 1];
    uint32_t *next = &load->next_members[range->group];
    self->member = (*next)++;
    if (*next < SIM_TXN_MEMBERS) { return; }
    *next = 0;
    load->range_generations[range->group]++;
}

void sim_txn__draw_ranges(struct sim_txn_client *self) {
    uint32_t first = (uint32_t)prng_below(&self->prng, SIM_TXN_GROUPS);
    uint32_t step = 1 + (uint32_t)prng_below(&self->prng, SIM_TXN_GROUPS - 1);
    self->range_count = 0;
    self->range_at = 0;
    draw_range(self, first);
    if (prng_chance(&self->prng, 3, 4)) { draw_range(self, (first + step) % SIM_TXN_GROUPS); }
    self->insert = prng_chance(&self->prng, 3, 4);
    if (self->insert) { draw_member(self); }
}

// --- Calls ---

void sim_txn__encode_scan(const struct sim_txn_client *self, struct sim_call *call) {
    uint8_t space[2][SIM_TXN_KEY_SIZE];
    struct command_span span = span_of(self, &self->ranges[self->range_at], space);
    struct command_scan scan = {.snapshot = self->snapshot,
                                .start = span.start,
                                .end = span.end,
                                .row_limit = ROW_LIMIT,
                                .keys_only = true};
    ASSERT(command_scan_check(&scan, NULL) == STATUS_OK);
    put(&call->key, span.start);
    buf_reset(&call->key_high);
    struct codec_writer w;
    buf_reset(&call->payload);
    codec_writer_init(&w, &call->payload);
    command_scan_encode(&w, &scan);
    ASSERT(w.status == STATUS_OK);
    call->call.kind = COMMAND_SCAN;
}

bool sim_txn__decode_scan(struct sim_txn_client *self, struct slice payload) {
    struct sim_txn_range *range = &self->ranges[self->range_at];
    struct codec_reader r;
    codec_reader_init(&r, payload);
    uint8_t space[SIM_TXN_KEY_SIZE];
    range->seen_count = 0;
    for (;;) {
        struct command_row row = {0};
        bool more = false;
        struct slice resume = SLICE_EMPTY;
        if (command_scan_row_decode(&r, &row, &more, &resume) != STATUS_OK) { return false; }
        if (!row.found) { return !more; }
        uint32_t member = row.key.size == 0 ? SIM_TXN_MEMBERS : row.key.data[row.key.size - 1];
        bool mine = member < SIM_TXN_MEMBERS && range->seen_count < SIM_TXN_MEMBERS &&
                    slice_equal(row.key, key_of(self, range, member, space));
        if (!mine) { return false; }
        range->seen[range->seen_count++] = first_member(range) + member;
    }
}

static void widen(struct sim_call *call, struct slice low, struct slice high) {
    if (slice_compare(low, buf_slice(&call->key)) < 0) { put(&call->key, low); }
    if (slice_compare(high, buf_slice(&call->key_high)) > 0) { put(&call->key_high, high); }
}

void sim_txn__encode_insert(const struct sim_txn_client *self, struct sim_call *call) {
    uint8_t space[SIM_TXN_RANGES_MAX][2][SIM_TXN_KEY_SIZE];
    uint8_t member[SIM_TXN_KEY_SIZE];
    struct command_span reads[SIM_TXN_RANGES_MAX];
    struct command_mutation mutation = {.kind = COMMAND_PUT,
                                        .key = sim_txn__member_key(self, member),
                                        .value = SLICE_LITERAL("member")};
    put(&call->key, mutation.key);
    put(&call->key_high, mutation.key);
    for (uint32_t i = 0; i < self->range_count; i++) {
        reads[i] = span_of(self, &self->ranges[i], space[i]);
        widen(call, reads[i].start, reads[i].end);
    }
    struct command_commit commit = {.txn = self->txn,
                                    .snapshot = self->read_ts,
                                    .read_count = self->range_count,
                                    .reads = reads,
                                    .mutation_count = 1,
                                    .mutations = &mutation};
    sim_txn__put_commit(call, &commit);
}

// --- The record ---

void sim_txn__record_ranges(const struct sim_txn_client *self) {
    struct sim_txn_load *load = &self->world->txns;
    char text[256];
    for (uint32_t i = 0; i < self->range_count; i++) {
        const struct sim_txn_range *range = &self->ranges[i];
        struct txn_judge_range all = {first_member(range),
                                      first_member(range) + SIM_TXN_MEMBERS - 1};
        struct txn_judge_text why = {text, sizeof(text)};
        if (!txn_judge_range_read(&load->members, all, range->seen, range->seen_count, why)) {
            sim_fail(self->world, "ranges: %s", text);
            return;
        }
    }
    if (!self->insert) { return; }
    txn_judge_insert(&load->members,
                     first_member(&self->ranges[self->range_count - 1]) + self->member);
}
