// SPDX-License-Identifier: Apache-2.0
// Everything that is kept of one shard, as a stream to another replica and back.
//
//   whole at n --ingest_begin--> hollow --ingest ... ingest--> hollow --ingest_end--> whole at m
//
// Each arrow is one batch, and a crash leaves a prefix of the batches: the shard is whole at n, or
// hollow, or whole at m. ingest_begin marks and drops in one batch, so that no half of the old
// state can ever pass for a state; ingest_end takes the mark away in the batch that names the new
// index.
//
// What a snapshot holds: outcomes, records of transactions, versions. The applied index is
// ingest_end's to say; the largest timestamp, on which the age of outcomes depends, travels in the
// meta.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "txn/apply/apply_internal.h"

#include <string.h>

enum {
    SNAPSHOT_KIND = 'd',
    META_FORMAT = 1,
    BASE_SIZE_MAX = 1 << 20,
};

// Sorts before all versions of the key.
static size_t bound(struct slice key, uint8_t out[MVCC_KEY_SIZE_MAX]) {
    return mvcc_key_encode(key, HLC_MAX, out) - ENGINE_VERSION_SUFFIX_SIZE;
}

void apply__spans(const struct apply_shard *shard, struct apply__spans *out) {
    memset(out->outcomes_high, 0xFF, sizeof(out->outcomes_high));
    (void)apply__shard_key(APPLY_LOCAL_OUTCOME, shard->id, out->outcomes_high);
    out->items[APPLY_SPAN_OUTCOMES] = (struct snapshot_span){
        .family = ENGINE_LOCAL,
        .start = apply__shard_key(APPLY_LOCAL_OUTCOME, shard->id, out->outcomes_low),
        .end = slice_make(out->outcomes_high, sizeof(out->outcomes_high)),
    };
    memset(out->txns_high, 0xFF, sizeof(out->txns_high));
    (void)apply__shard_key(APPLY_LOCAL_TXN, shard->id, out->txns_high);
    out->items[APPLY_SPAN_TXNS] = (struct snapshot_span){
        .family = ENGINE_LOCAL,
        .start = apply__shard_key(APPLY_LOCAL_TXN, shard->id, out->txns_low),
        .end = slice_make(out->txns_high, sizeof(out->txns_high)),
    };
    out->count = APPLY_SPAN_VERSIONS;
    if (shard->range_start == NULL) { return; }
    const struct slice end = bytes_slice(shard->range_end);
    if (end.size > 0 && slice_compare(bytes_slice(shard->range_start), end) >= 0) { return; }
    // No encoded key is as large as this many 0xFF.
    memset(out->high, 0xFF, sizeof(out->high));
    const size_t high_size = end.size > 0 ? bound(end, out->high) : sizeof(out->high);
    const struct slice low = slice_make(out->low, bound(bytes_slice(shard->range_start), out->low));
    const struct slice high = slice_make(out->high, high_size);
    out->items[APPLY_SPAN_VERSIONS] = (struct snapshot_span){ENGINE_VERSION, low, high};
    out->count = APPLY_SPAN_COUNT;
}

void apply__drop(struct apply *self, const struct apply_shard *shard) {
    static const uint8_t kinds[] = {APPLY_LOCAL_APPLIED, APPLY_LOCAL_HOLLOW, APPLY_LOCAL_BASE};
    struct apply__spans spans;
    uint8_t key[APPLY_SHARD_KEY_SIZE];
    for (size_t i = 0; i < sizeof(kinds); i++) {
        engine_remove(self->batch, ENGINE_LOCAL, apply__shard_key(kinds[i], shard->id, key));
    }
    apply__spans(shard, &spans);
    for (uint32_t i = 0; i < spans.count; i++) {
        const struct snapshot_span *span = &spans.items[i];
        engine_remove_range(self->batch, span->family, span->start, span->end);
    }
}

// A shard whose range is known: without it a snapshot would lack the versions.
struct apply_shard *apply__ranged_shard(struct apply *self, struct shard_id id,
                                        struct apply__spans *out_spans) {
    struct apply_shard *shard = apply__shard(self, id);
    ASSERT(shard->range_start != NULL);
    apply__spans(shard, out_spans);
    return shard;
}

// --- Out ---

static struct state_export *port_export_open(void *ctx, struct shard_id id) {
    struct apply *self = ctx;
    struct apply__spans spans;
    apply__write(self);
    const struct apply_shard *shard = apply__ranged_shard(self, id, &spans);
    ASSERT(!shard->hollow);
    uint8_t meta[1 + sizeof(uint64_t)] = {META_FORMAT};
    codec_store_u64(meta + 1, shard->timestamp.v);
    const struct snapshot_range range = {self->engine, SNAPSHOT_KIND, spans.items, spans.count};
    return snapshot_export_open(&range, slice_make(meta, sizeof(meta)));
}

static enum status port_export_next(void *ctx, struct state_export *state, uint32_t size_max,
                                    struct buf *out, bool *out_last) {
    (void)ctx;
    return snapshot_export_next(state, size_max, out, out_last);
}

static void port_export_close(void *ctx, struct state_export *state) {
    (void)ctx;
    snapshot_export_close(state);
}

// --- In ---

static enum status meta_decode(struct slice meta, struct hlc_ts *out_timestamp) {
    struct codec_reader r;
    codec_reader_init(&r, meta);
    if (codec_get_u8(&r) != META_FORMAT) { return STATUS_CORRUPT; }
    const struct hlc_ts timestamp = {codec_get_u64(&r)};
    // HLC_MAX would leave no timestamp for the next command.
    if (!hlc_before(timestamp, HLC_MAX)) { codec_fail(&r); }
    const enum status st = codec_finish(&r);
    if (st == STATUS_OK) { *out_timestamp = timestamp; }
    return st;
}

static enum status check_version(struct slice key, struct slice value, struct hlc_ts latest) {
    uint8_t user_key[SHARD_KEY_SIZE_MAX];
    size_t user_key_size = 0;
    struct hlc_ts ts;
    struct mvcc_version version;
    const enum status st = mvcc_key_decode(key, user_key, &user_key_size, &ts);
    if (st != STATUS_OK) { return st; }
    if (hlc_before(latest, ts)) { return STATUS_CORRUPT; }
    return mvcc_version_decode(value, ts, &version);
}

// A prepare becomes locks under the id that the key names.
static enum status check_txn(struct slice key, const struct apply_record *record,
                             struct hlc_ts latest) {
    const struct hlc_ts last = hlc_larger(record->prepared, record->ended);
    if (hlc_before(latest, last)) { return STATUS_CORRUPT; }
    if (record->state != COMMAND_TXN_PREPARED) { return STATUS_OK; }
    struct command_prepare_view prepare;
    const enum status st = command_prepare_decode(record->prepare, &prepare);
    if (st != STATUS_OK) { return st; }
    const uint8_t *id = key.data + APPLY_SHARD_KEY_SIZE;
    return memcmp(id, prepare.txn.v, sizeof(prepare.txn.v)) == 0 ? STATUS_OK : STATUS_CORRUPT;
}

// Each record as the code that reads it later wants it: that code ends the process when it meets
// anything else.
static enum status check_record(void *ctx, uint32_t span, struct slice key, struct slice value) {
    const struct apply_shard *shard = ctx;
    struct command_outcome outcome;
    struct apply_record record;
    struct hlc_ts latest;
    const enum status st = meta_decode(snapshot_ingest_meta(shard->ingest), &latest);
    if (st != STATUS_OK) { return st; }
    switch (span) {
    case APPLY_SPAN_OUTCOMES:
        if (key.size != APPLY_OUTCOME_KEY_SIZE) { return STATUS_CORRUPT; }
        return apply__outcome_decode(value, &outcome);
    case APPLY_SPAN_TXNS:
        if (key.size != APPLY_OUTCOME_KEY_SIZE) { return STATUS_CORRUPT; }
        if (apply__record_decode(value, &record) != STATUS_OK) { return STATUS_CORRUPT; }
        return check_txn(key, &record, latest);
    default:
        ASSERT(span == APPLY_SPAN_VERSIONS);
        return check_version(key, value, latest);
    }
}

static void port_ingest_begin(void *ctx, struct shard_id id) {
    struct apply *self = ctx;
    static const uint8_t mark[] = {APPLY_LOCAL_FORMAT};
    uint8_t key[APPLY_SHARD_KEY_SIZE];
    struct apply__spans spans;
    apply__write(self);
    struct apply_shard *shard = apply__ranged_shard(self, id, &spans);
    ASSERT(!shard->dirty && engine_batch_count(self->batch) == 0);
    ASSERT(shard->digest == NULL);
    apply__drop(self, shard);
    engine_put(self->batch, ENGINE_LOCAL, apply__shard_key(APPLY_LOCAL_HOLLOW, id, key),
               slice_make(mark, sizeof(mark)));
    apply__write_batch(self);
    shard->hollow = true;
    shard->applied = 0;
    shard->written = 0;
    shard->timestamp = (struct hlc_ts){0};
    apply__locks_clear(shard);
    snapshot_ingest_destroy(shard->ingest);
    const struct snapshot_range range = {self->engine, SNAPSHOT_KIND, spans.items, spans.count};
    shard->ingest = snapshot_ingest_create(&range, check_record, shard);
}

static enum status port_ingest(void *ctx, struct shard_id id, struct slice chunk) {
    struct apply *self = ctx;
    struct apply_shard *shard = apply__shard(self, id);
    ASSERT(shard->hollow && shard->ingest != NULL);
    return snapshot_ingest_chunk(shard->ingest, chunk);
}

static void put_base(struct apply *self, struct shard_id id, struct slice base) {
    static const uint8_t format[] = {APPLY_LOCAL_FORMAT};
    uint8_t key[APPLY_SHARD_KEY_SIZE];
    engine_put_parts(self->batch, ENGINE_LOCAL, apply__shard_key(APPLY_LOCAL_BASE, id, key),
                     slice_make(format, sizeof(format)), base);
}

static void port_ingest_end(void *ctx, struct shard_id id, uint64_t index, struct slice base) {
    struct apply *self = ctx;
    struct apply_shard *shard = apply__shard(self, id);
    struct hlc_ts timestamp;
    uint8_t key[APPLY_SHARD_KEY_SIZE];
    ASSERT(index > 0);
    ASSERT(base.size < BASE_SIZE_MAX);
    if (shard->ingest == NULL || !snapshot_ingest_is_complete(shard->ingest) ||
        meta_decode(snapshot_ingest_meta(shard->ingest), &timestamp) != STATUS_OK) {
        MARK("apply.snapshot_incomplete");
        return;
    }
    apply__write(self);
    shard->applied = index;
    shard->written = index;
    shard->timestamp = timestamp;
    apply__put_applied(self, shard);
    put_base(self, id, base);
    engine_remove(self->batch, ENGINE_LOCAL, apply__shard_key(APPLY_LOCAL_HOLLOW, id, key));
    apply__write_batch(self);
    self->largest = hlc_larger(self->largest, timestamp);
    self->collect_due = (struct hlc_ts){0};  // old outcomes may have come with it
    shard->hollow = false;
    apply__locks_load(self, shard);
    snapshot_ingest_destroy(shard->ingest);
    shard->ingest = NULL;
}

static void port_base(void *ctx, struct shard_id id, struct buf *out) {
    struct apply *self = ctx;
    uint8_t key[APPLY_SHARD_KEY_SIZE];
    struct buf value;
    buf_reset(out);
    buf_init(&value, BASE_SIZE_MAX);
    enum status st =
        engine_get(self->engine, ENGINE_LOCAL, apply__shard_key(APPLY_LOCAL_BASE, id, key), &value);
    if (st == STATUS_OK && (value.size == 0 || value.data[0] != APPLY_LOCAL_FORMAT)) {
        st = STATUS_CORRUPT;
    }
    if (st == STATUS_OK) { st = buf_append(out, slice_make(value.data + 1, value.size - 1)); }
    buf_deinit(&value);
    if (st != STATUS_OK && st != STATUS_NOT_FOUND) {
        FATAL("shard %llu: the base of its snapshot cannot be read: %s", (unsigned long long)id.v,
              status_text(st));
    }
}

static bool port_hollow(void *ctx, struct shard_id id) {
    return apply__shard(ctx, id)->hollow;
}

void apply__snapshot_port(struct state_machine *port) {
    port->export_open = port_export_open;
    port->export_next = port_export_next;
    port->export_close = port_export_close;
    port->ingest_begin = port_ingest_begin;
    port->ingest = port_ingest;
    port->ingest_end = port_ingest_end;
    port->base = port_base;
    port->hollow = port_hollow;
}
