// SPDX-License-Identifier: Apache-2.0
// What is kept in ENGINE_LOCAL: per shard the applied index, per transaction its outcome.
//
//   0x10 | be64 shard             -> u8 format | u64 applied index | u64 largest command timestamp
//   0x11 | be64 shard | id        -> u8 format | outcome
//   0x12 | be64 shard             -> u8 format                 while hollow (apply_snapshot.c)
//   0x13 | be64 shard             -> u8 format | base of the latest snapshot taken in
//   0x14 | be64 shard | id        -> record of a transaction (apply_record.c)
//
// An outcome older than APPLY_OUTCOME_KEPT_US counts as absent, judged by the timestamps of the
// entries alone, so that all replicas agree. Its removal then decides nothing and may happen at any
// time: the key needs no date in it, and a commit costs one look-up. Rejected: a bucket per day in
// the key (two look-ups per commit) and an index by time (two records per commit).
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"
#include "txn/apply/apply_internal.h"

#define uthash_malloc(size)  mem_alloc(size)
#define uthash_free(p, size) mem_free(p)
#define uthash_fatal(text)   FATAL("shards of apply: %s", text)
#include <uthash.h>

#include <string.h>

enum { SPACE_TXN = 2, COLLECT_DISTANCE_US = 60000000 };

// A uthash handle cannot live in the struct that the internal header shows without the header
// including uthash everywhere.
struct shard_node {
    struct apply_shard shard;  // first: the public face is the node
    UT_hash_handle hh;
};

struct slice apply__shard_key(uint8_t kind, struct shard_id id, uint8_t *out) {
    out[0] = kind;
    for (unsigned i = 0; i < sizeof(id.v); i++) {
        out[1 + i] = (uint8_t)(id.v >> (8 * (sizeof(id.v) - 1 - i)));
    }
    return slice_make(out, APPLY_SHARD_KEY_SIZE);
}

static struct slice outcome_key(struct shard_id shard, struct txn_id txn,
                                uint8_t out[APPLY_OUTCOME_KEY_SIZE]) {
    (void)apply__shard_key(APPLY_LOCAL_OUTCOME, shard, out);
    memcpy(out + APPLY_SHARD_KEY_SIZE, txn.v, sizeof(txn.v));
    return slice_make(out, APPLY_OUTCOME_KEY_SIZE);
}

// Reads one record into scratch and opens a reader behind its format byte. Anything but OK and
// NOT_FOUND ends the process: without its local records a replica cannot go on the same as others.
static enum status local_get(struct apply *self, struct slice key, struct codec_reader *out) {
    const enum status st = engine_get(self->engine, ENGINE_LOCAL, key, &self->scratch);
    if (st == STATUS_NOT_FOUND) { return st; }
    if (st != STATUS_OK) { FATAL("the data store cannot be read: %s", status_text(st)); }
    codec_reader_init(out, buf_slice(&self->scratch));
    if (codec_get_u8(out) != APPLY_LOCAL_FORMAT) { FATAL("a local record has an unknown format"); }
    return STATUS_OK;
}

static void load(struct apply *self, struct apply_shard *shard) {
    uint8_t key[APPLY_SHARD_KEY_SIZE];
    struct codec_reader r;
    // The mark first: what stands beside it is a part of something.
    if (local_get(self, apply__shard_key(APPLY_LOCAL_HOLLOW, shard->id, key), &r) == STATUS_OK) {
        shard->hollow = true;
        return;
    }
    if (local_get(self, apply__shard_key(APPLY_LOCAL_APPLIED, shard->id, key), &r) ==
        STATUS_NOT_FOUND) {
        return;
    }
    shard->applied = codec_get_u64(&r);
    shard->written = shard->applied;
    shard->timestamp.v = codec_get_u64(&r);
    self->largest = hlc_larger(self->largest, shard->timestamp);
    if (codec_finish(&r) != STATUS_OK) {
        FATAL("shard %llu: its applied index does not decode", (unsigned long long)shard->id.v);
    }
}

static struct shard_node *find_node(const struct apply *self, struct shard_id id) {
    struct shard_node *head = (struct shard_node *)self->shards;
    struct shard_node *node = NULL;
    HASH_FIND(hh, head, &id, sizeof(id), node);
    return node;
}

struct apply_shard *apply__shard(struct apply *self, struct shard_id id) {
    ASSERT(id.v != 0);
    if (self->last_shard != NULL && shard_id_equal(self->last_shard->id, id)) {
        return self->last_shard;
    }
    struct shard_node *node = find_node(self, id);
    if (node == NULL) {
        struct shard_node *head = (struct shard_node *)self->shards;
        node = mem_alloc(sizeof(*node));
        node->shard.id = id;
        node->shard.locks = lock_table_create();
        load(self, &node->shard);
        if (!node->shard.hollow) { apply__locks_load(self, &node->shard); }
        HASH_ADD(hh, head, shard.id, sizeof(node->shard.id), node);
        self->shards = &head->shard;
    }
    self->last_shard = &node->shard;
    return &node->shard;
}

static void node_destroy(struct apply *self, struct shard_node *node) {
    struct shard_node *head = (struct shard_node *)self->shards;
    HASH_DEL(head, node);
    self->shards = head == NULL ? NULL : &head->shard;
    ASSERT(node->shard.digest == NULL);  // a walk that nobody closed
    bytes_unref(node->shard.range_start);
    bytes_unref(node->shard.range_end);
    snapshot_ingest_destroy(node->shard.ingest);
    lock_table_destroy(node->shard.locks);
    mem_free(node);
}

void apply__shards_destroy(struct apply *self) {
    self->last_shard = NULL;
    while (self->shards != NULL) {
        node_destroy(self, (struct shard_node *)self->shards);
    }
}

void apply_set_range(struct apply *self, struct shard_id shard, struct slice start,
                     struct slice end) {
    ASSERT(end.size == 0 || slice_compare(start, end) <= 0);
    struct apply_shard *state = apply__shard(self, shard);
    const bool same = state->range_start != NULL &&
                      slice_equal(bytes_slice(state->range_start), start) &&
                      slice_equal(bytes_slice(state->range_end), end);
    if (same) { return; }
    if (state->digest != NULL) { apply__digest_stale(state->digest); }
    bytes_unref(state->range_start);
    bytes_unref(state->range_end);
    state->range_start = bytes_copy(start);
    state->range_end = bytes_copy(end);
}

void apply__mark_dirty(struct apply *self, struct apply_shard *shard) {
    if (shard->dirty) { return; }
    shard->dirty = true;
    shard->next_dirty = self->dirty;
    self->dirty = shard;
}

void apply__put_applied(struct apply *self, const struct apply_shard *shard) {
    uint8_t key[APPLY_SHARD_KEY_SIZE];
    uint8_t value[1 + 2 * sizeof(uint64_t)];
    value[0] = APPLY_LOCAL_FORMAT;
    codec_store_u64(value + 1, shard->applied);
    codec_store_u64(value + 1 + sizeof(uint64_t), shard->timestamp.v);
    engine_put(self->batch, ENGINE_LOCAL, apply__shard_key(APPLY_LOCAL_APPLIED, shard->id, key),
               slice_make(value, sizeof(value)));
}

void apply__write_batch(struct apply *self) {
    const enum status st = engine_write(self->engine, self->batch, false);
    const bool skips = st == STATUS_NO_SPACE && MUTANT(FULL_DISK_SKIPS);
    if (st != STATUS_OK && !skips) {
        FATAL("the data store refuses what the log has committed: %s", status_text(st));
    }
    engine_batch_clear(self->batch);
    self->reader_stale = true;
}

// Outcomes go in behind everything else of the batch: those of one shard lie beside one another in
// the store (their ids begin with the time), and RocksDB's memtable finds the place of a key that
// follows the one before it without a search.
static void put_outcomes(struct apply *self) {
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&self->outcomes));
    while (codec_remaining(&r) > 0) {
        const struct slice key = codec_get_raw(&r, APPLY_OUTCOME_KEY_SIZE);
        const struct slice value = codec_get_slice(&r, LOCAL_VALUE_SIZE_MAX);
        ASSERT(r.status == STATUS_OK);
        engine_put(self->batch, ENGINE_LOCAL, key, value);
    }
    buf_reset(&self->outcomes);
}

// The bug: the applied indexes go ahead, in a batch of their own.
static void write_applied_apart(struct apply *self) {
    struct engine_batch *effects = self->batch;
    self->batch = engine_batch_create(self->engine);
    for (const struct apply_shard *shard = self->dirty; shard != NULL; shard = shard->next_dirty) {
        apply__put_applied(self, shard);
    }
    apply__write_batch(self);
    engine_batch_destroy(self->batch);
    self->batch = effects;
}

void apply__write(struct apply *self) {
    if (self->dirty == NULL) {
        ASSERT(engine_batch_count(self->batch) == 0 && self->outcomes.size == 0);
        ASSERT(self->merged.keys == NULL);
        return;
    }
    apply_merged_flush(&self->merged, self->batch);
    put_outcomes(self);
    if (MUTANT(APPLIED_APART)) { write_applied_apart(self); }
    while (self->dirty != NULL) {
        struct apply_shard *shard = self->dirty;
        self->dirty = shard->next_dirty;
        shard->dirty = false;
        shard->next_dirty = NULL;
        apply__put_applied(self, shard);
        shard->written = shard->applied;
    }
    apply__write_batch(self);
    apply_touched_clear(&self->touched);
    apply_merged_clear(&self->merged);
}

bool apply__is_old(const struct apply *self, struct hlc_ts ended, struct hlc_ts now) {
    return hlc_before(hlc_add_us(ended, self->kept_us), now);
}

static enum status outcome_get(struct apply *self, struct shard_id shard, struct txn_id txn,
                               struct command_outcome *out) {
    uint8_t key[APPLY_OUTCOME_KEY_SIZE];
    struct codec_reader r;
    const enum status st = local_get(self, outcome_key(shard, txn, key), &r);
    if (st != STATUS_OK) { return st; }
    if (command_outcome_decode(&r, out) != STATUS_OK || codec_finish(&r) != STATUS_OK) {
        FATAL("shard %llu: an outcome does not decode", (unsigned long long)shard.v);
    }
    return STATUS_OK;
}

static bool outcome_touched(const struct apply *self, struct shard_id shard, struct txn_id txn) {
    // One space per shard: the same id on two shards is two records.
    return apply_touched_has(&self->touched, hash64_u64(shard.v) + SPACE_TXN,
                             slice_make(txn.v, sizeof(txn.v)));
}

enum status apply__outcome_find(struct apply *self, struct shard_id shard, struct txn_id txn,
                                struct hlc_ts now, struct command_outcome *out) {
    const bool touched = outcome_touched(self, shard, txn);
    if (touched && !self->decided.open) {
        MARK("apply.repeat_in_turn");
        apply__write(self);
    }
    enum status st = STATUS_OK;
    if (!touched || !apply_decided_outcome(&self->decided, txn, out)) {
        st = outcome_get(self, shard, txn, out);
    }
    if (st == STATUS_OK && apply__is_old(self, out->timestamp, now)) {
        MARK("apply.outcome_too_old");
        return STATUS_NOT_FOUND;
    }
    return st;
}

void apply__outcome_put(struct apply *self, struct shard_id shard, struct txn_id txn,
                        const struct command_outcome *outcome) {
    uint8_t key[APPLY_OUTCOME_KEY_SIZE];
    buf_reset(&self->scratch);
    struct codec_writer w;
    codec_writer_init(&w, &self->scratch);
    codec_put_u8(&w, APPLY_LOCAL_FORMAT);
    command_outcome_encode(&w, outcome);
    ASSERT(w.status == STATUS_OK);
    codec_writer_init(&w, &self->outcomes);
    codec_put_raw(&w, outcome_key(shard, txn, key));
    codec_put_slice(&w, buf_slice(&self->scratch));
    ASSERT(w.status == STATUS_OK);  // the touched set bounds how many gather
    apply_touched_add(&self->touched, hash64_u64(shard.v) + SPACE_TXN,
                      slice_make(txn.v, sizeof(txn.v)));
    apply_decided_put_outcome(&self->decided, txn, outcome);
}

void apply__settle_id(struct apply *self, struct shard_id shard, struct txn_id txn) {
    ASSERT(!self->decided.open);
    if (outcome_touched(self, shard, txn) || apply__record_touched(self, shard, txn)) {
        MARK("apply.resolved_in_turn");
        apply__write(self);
    }
}

enum status apply_outcome(struct apply *self, struct shard_id shard, struct txn_id txn,
                          struct command_outcome *out) {
    apply__write(self);
    struct command_outcome found;
    const enum status st = outcome_get(self, shard, txn, &found);
    if (st == STATUS_OK &&
        apply__is_old(self, found.timestamp, apply__shard(self, shard)->timestamp)) {
        return STATUS_NOT_FOUND;
    }
    if (st == STATUS_OK) { *out = found; }
    return st;
}

enum status apply__outcome_decode(struct slice value, struct command_outcome *out) {
    struct codec_reader r;
    codec_reader_init(&r, value);
    if (codec_get_u8(&r) != APPLY_LOCAL_FORMAT) { return STATUS_CORRUPT; }
    const enum status st = command_outcome_decode(&r, out);
    return st == STATUS_OK ? codec_finish(&r) : st;
}

// True when what the cursor is at counts for no later entry of its shard.
static bool collectable(struct apply *self, const struct engine_cursor *cursor) {
    const struct slice key = engine_cursor_key(cursor);
    ASSERT(key.size == APPLY_OUTCOME_KEY_SIZE);
    struct shard_id shard = {0};
    for (unsigned i = 0; i < sizeof(shard.v); i++) {
        shard.v = shard.v << 8 | key.data[1 + i];
    }
    const struct hlc_ts now = apply__shard(self, shard)->timestamp;
    const struct slice value = engine_cursor_value(cursor);
    struct hlc_ts ended = HLC_MAX;
    if (key.data[0] == APPLY_LOCAL_TXN) {
        struct apply_record record;
        if (apply__record_decode(value, &record) != STATUS_OK) { return false; }
        if (apply__record_is_dead(self, &record, now)) { return true; }
        if (record.state != COMMAND_TXN_PREPARED) { ended = record.ended; }
    } else {
        struct command_outcome outcome;
        if (apply__outcome_decode(value, &outcome) != STATUS_OK) { return false; }
        if (apply__is_old(self, outcome.timestamp, now)) { return true; }
        ended = outcome.timestamp;
    }
    if (hlc_before(ended, self->collect_least)) { self->collect_least = ended; }
    return false;
}

// A whole pass is over: the next one is worth its reads when the oldest outcome that it kept, or
// one written since, can be too old. Shards that stand still keep theirs, hence the least distance.
static void collect_later(struct apply *self) {
    const struct hlc_ts oldest =
        hlc_before(self->collect_least, self->largest) ? self->collect_least : self->largest;
    self->collect_due = hlc_larger(hlc_add_us(oldest, self->kept_us),
                                   hlc_add_us(self->largest, COLLECT_DISTANCE_US));
}

uint32_t apply_collect(struct apply *self, uint32_t count_max) {
    ASSERT(count_max > 0);
    apply__write(self);
    static const uint8_t first[] = {APPLY_LOCAL_OUTCOME};
    const bool resumed = self->collect_after.size > 0;
    if (!resumed && hlc_before(self->largest, self->collect_due)) {
        MARK("apply.nothing_to_collect");
        return 0;
    }
    if (!resumed) { self->collect_least = HLC_MAX; }
    struct engine_cursor *cursor = engine_cursor_create(self->engine, ENGINE_LOCAL);
    engine_cursor_seek(cursor, resumed ? self->collect_after : slice_make(first, sizeof(first)));
    uint32_t seen = 0;
    uint32_t removed = 0;
    self->collect_after = SLICE_EMPTY;
    for (; engine_cursor_valid(cursor); engine_cursor_next(cursor)) {
        const struct slice key = engine_cursor_key(cursor);
        const bool mine = key.data[0] == APPLY_LOCAL_OUTCOME || key.data[0] == APPLY_LOCAL_TXN;
        if (key.data[0] > APPLY_LOCAL_TXN) { break; }
        if (!mine || key.size != APPLY_OUTCOME_KEY_SIZE) { continue; }
        if (seen++ == count_max) {
            memcpy(self->collect_key, key.data, key.size);
            self->collect_after = slice_make(self->collect_key, key.size);
            break;
        }
        if (collectable(self, cursor)) {
            engine_remove(self->batch, ENGINE_LOCAL, key);
            removed++;
        }
    }
    engine_cursor_destroy(cursor);
    if (removed > 0) { apply__write_batch(self); }
    if (self->collect_after.size == 0) { collect_later(self); }
    return removed;
}

void apply__remove_shard(struct apply *self, struct shard_id id) {
    struct apply_shard *shard = apply__shard(self, id);
    ASSERT(!shard->dirty && engine_batch_count(self->batch) == 0);
    ASSERT(shard->digest == NULL);
    apply__drop(self, shard);
    apply__write_batch(self);
    snapshot_ingest_destroy(shard->ingest);
    apply__locks_clear(shard);
    // What this node was told of the shard is no part of the replica: another one, that was told of
    // before this one went, may be opened next.
    *shard = (struct apply_shard){.id = id,
                                  .epoch = shard->epoch,
                                  .range_start = shard->range_start,
                                  .range_end = shard->range_end,
                                  .locks = shard->locks};
}
