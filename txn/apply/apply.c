// SPDX-License-Identifier: Apache-2.0
// The port: entries of many shards are gathered into one engine batch per turn.
//
// Writing a batch per entry was rejected: the store's write lock and memtable insertion are paid
// once a turn instead. The price is that the store lags behind what was applied within the turn;
// whoever must read something that the batch writes has it written first (apply_command.c).
//
// A crash at any point loses a suffix of the batches. Since an entry's effects, its outcome and the
// applied index are in one batch, the replay from that index finds exactly the state in which the
// next entry was evaluated the first time, and evaluates it the same.
#include "txn/apply/apply.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "txn/apply/apply_internal.h"

#include <string.h>

enum {
    // Beyond this the batch is written before the turn ends: bounds memory and the stall of a
    // write.
    BATCH_SIZE_MAX = 4 << 20,
    OUTCOMES_SIZE_MAX = 16 << 20,
    RESULT_SIZE_MAX = 1 << 20,  // answers to COMMAND_RESOLUTIONS_MAX resolutions
    RESOLVED_SIZE_MAX = 64 << 20,
};

static uint64_t port_applied(void *ctx, struct shard_id id) {
    struct apply *self = ctx;
    return apply__shard(self, id)->written;
}

static void port_apply(void *ctx, struct shard_id id, const struct log_entry *entry,
                       struct apply_result *out) {
    struct apply *self = ctx;
    struct apply_shard *shard = apply__shard(self, id);
    ASSERT(!shard->hollow);
    ASSERT(entry->index == shard->applied + 1);
    *out = (struct apply_result){.status = STATUS_OK, .payload = SLICE_EMPTY};
    if (entry->kind == LOG_ENTRY_COMMAND) { apply__command(self, shard, entry, out); }
    // Only now: if evaluating wrote the batch, the store must say that this entry is still to come.
    shard->applied = entry->index;
    shard->timestamp = hlc_larger(shard->timestamp, entry->timestamp);
    self->largest = hlc_larger(self->largest, entry->timestamp);
    apply__mark_dirty(self, shard);
    if (self->touched.full || engine_batch_size(self->batch) > BATCH_SIZE_MAX) {
        apply__write(self);
    }
}

static void port_end(void *ctx) {
    struct apply *self = ctx;
    apply__write(self);
    ASSERT(self->dirty == NULL && self->touched.count == 0);
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&self->resolved));
    while (codec_remaining(&r) > 0) {
        const struct shard_id shard = {codec_get_u64(&r)};
        struct txn_id txn;
        const struct slice id = codec_get_raw(&r, sizeof(txn.v));
        ASSERT(r.status == STATUS_OK);
        memcpy(txn.v, id.data, sizeof(txn.v));
        if (self->on_resolved != NULL) { self->on_resolved(self->on_resolved_ctx, shard, txn); }
    }
    buf_reset(&self->resolved);
}

void apply_on_resolved(struct apply *self,
                       void (*resolved)(void *ctx, struct shard_id shard, struct txn_id txn),
                       void *ctx) {
    self->on_resolved = resolved;
    self->on_resolved_ctx = ctx;
}

void apply__resolved(struct apply *self, struct shard_id shard, struct txn_id txn) {
    struct codec_writer w;
    codec_writer_init(&w, &self->resolved);
    codec_put_u64(&w, shard.v);
    codec_put_raw(&w, slice_make(txn.v, sizeof(txn.v)));
    ASSERT(w.status == STATUS_OK);  // a turn applies far fewer
}

static struct hlc_ts port_unresolved(void *ctx, struct shard_id id) {
    return lock_table_min_prepared(apply__shard(ctx, id)->locks);
}

const struct lock_table *apply_locks(struct apply *self, struct shard_id shard) {
    return apply__shard(self, shard)->locks;
}

void apply_set_trace(struct apply *self, struct trace *trace) {
    self->trace = trace;
}

void apply_set_kept(struct apply *self, uint64_t kept_us) {
    self->kept_us = kept_us;
}

static void port_remove(void *ctx, struct shard_id id) {
    struct apply *self = ctx;
    apply__write(self);
    apply__remove_shard(self, id);
}

struct apply *apply_create(struct engine *engine) {
    ASSERT(engine != NULL);
    struct apply *self = mem_alloc(sizeof(*self));
    self->engine = engine;
    self->batch = engine_batch_create(engine);
    self->reader = mvcc_reader_create(engine);
    apply_touched_init(&self->touched);
    buf_init(&self->scratch, LOCAL_VALUE_SIZE_MAX);
    buf_init(&self->outcomes, OUTCOMES_SIZE_MAX);
    buf_init(&self->result, RESULT_SIZE_MAX);
    buf_init(&self->resolved, RESOLVED_SIZE_MAX);
    self->kept_us = APPLY_OUTCOME_KEPT_US;
    self->port = (struct state_machine){.ctx = self,
                                        .applied = port_applied,
                                        .apply = port_apply,
                                        .end = port_end,
                                        .remove = port_remove,
                                        .unresolved = port_unresolved};
    apply__snapshot_port(&self->port);
    apply__digest_port(&self->port);
    return self;
}

void apply_destroy(struct apply *self) {
    if (self == NULL) { return; }
    apply__shards_destroy(self);
    apply_touched_deinit(&self->touched);
    apply_decided_deinit(&self->decided);
    apply_merged_clear(&self->merged);
    buf_deinit(&self->scratch);
    buf_deinit(&self->outcomes);
    buf_deinit(&self->result);
    buf_deinit(&self->resolved);
    mvcc_reader_destroy(self->reader);
    engine_batch_destroy(self->batch);
    mem_free(self);
}

const struct state_machine *apply_machine(struct apply *self) {
    return &self->port;
}

void apply_set_epoch(struct apply *self, struct shard_id shard, uint64_t epoch) {
    ASSERT(epoch != 0);
    struct apply_shard *state = apply__shard(self, shard);
    ASSERT(epoch >= state->epoch);
    // LIMIT: a split entry must keep the epoch with the applied index, because entries that are
    // replayed after a restart count under the epoch of their time. Nothing changes epochs yet.
    state->epoch = epoch;
}

struct mvcc_reader *apply_reader(struct apply *self) {
    apply__write(self);
    if (self->reader_stale) {
        mvcc_reader_refresh(self->reader);
        self->reader_stale = false;
    }
    return self->reader;
}

enum status apply_digest(struct apply *self, struct slice start, struct slice end,
                         uint64_t *out_digest) {
    ASSERT(start.size <= SHARD_KEY_SIZE_MAX && end.size <= SHARD_KEY_SIZE_MAX);
    apply__write(self);
    uint8_t low[MVCC_KEY_SIZE_MAX];
    uint8_t high[MVCC_KEY_SIZE_MAX];
    const struct slice from = slice_make(low, mvcc_key_encode(start, HLC_MAX, low));
    const struct slice to =
        end.size > 0 ? slice_make(high, mvcc_key_encode(end, HLC_MAX, high)) : SLICE_EMPTY;
    struct engine_cursor *cursor = engine_cursor_create(self->engine, ENGINE_VERSION);
    uint64_t digest = 0;
    for (engine_cursor_seek(cursor, from); engine_cursor_valid(cursor);
         engine_cursor_next(cursor)) {
        const struct slice key = engine_cursor_key(cursor);
        if (to.size > 0 && slice_compare(key, to) >= 0) { break; }
        // The sizes keep (ab, c) and (a, bc) apart.
        digest = hash64_u64(hash64(key, digest) + key.size);
        digest = hash64(engine_cursor_value(cursor), digest);
    }
    const enum status st = engine_cursor_status(cursor);
    engine_cursor_destroy(cursor);
    if (st == STATUS_OK) { *out_digest = digest; }
    return st;
}
