// SPDX-License-Identifier: Apache-2.0
// A chunk is checked whole before any of it is written: its envelope's checksum, its number, each
// record's place and order, and by the state machine each record's contents. What comes from a peer
// is bytes, whoever sent them: the worst that they can do is to be refused.
//
// The number and the checksum of a chunk cannot tell that it comes from another export of the same
// shard (a sender that began again). The count and the sum at the end can; until then the shard is
// hollow, so a mixture is never served.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"
#include "storage/snapshot/snapshot_internal.h"

enum phase { EXPECTS_FIRST, EXPECTS_MORE, COMPLETE, FAILED };

struct snapshot_ingest {
    struct snapshot__spans spans;
    struct engine *engine;
    struct engine_batch *batch;
    snapshot_check_fn check;
    void *ctx;
    uint8_t kind;
    enum phase phase;
    uint32_t number;  // of the next chunk
    uint64_t count;
    uint64_t sum;
    uint32_t last_span;   // of the last record
    struct buf last_key;  // likewise
    struct buf meta;
};

struct snapshot_ingest *snapshot_ingest_create(const struct snapshot_range *range,
                                               snapshot_check_fn check, void *ctx) {
    ASSERT(check != NULL);
    struct snapshot_ingest *self = mem_alloc(sizeof(*self));
    snapshot__spans_init(&self->spans, range);
    self->engine = range->engine;
    self->batch = engine_batch_create(range->engine);
    self->check = check;
    self->ctx = ctx;
    self->kind = range->kind;
    buf_init(&self->last_key, SNAPSHOT_KEY_SIZE_MAX);
    buf_init(&self->meta, SNAPSHOT_META_SIZE_MAX);
    return self;
}

void snapshot_ingest_destroy(struct snapshot_ingest *self) {
    if (self == NULL) { return; }
    snapshot__spans_deinit(&self->spans);
    engine_batch_destroy(self->batch);
    buf_deinit(&self->last_key);
    buf_deinit(&self->meta);
    mem_free(self);
}

bool snapshot_ingest_is_complete(const struct snapshot_ingest *self) {
    return self->phase == COMPLETE;
}

struct slice snapshot_ingest_meta(const struct snapshot_ingest *self) {
    return buf_slice(&self->meta);
}

static enum status take_head(struct snapshot_ingest *self, struct codec_reader *r) {
    if (codec_get_u32(r) != self->number && !MUTANT(CHUNK_UNCHECKED)) { return STATUS_CORRUPT; }
    if (self->number > 0) { return r->status; }
    const struct slice meta = codec_get_slice(r, SNAPSHOT_META_SIZE_MAX);
    if (codec_get_u8(r) != self->spans.count) { return STATUS_CORRUPT; }
    buf_reset(&self->meta);
    const enum status st = buf_append(&self->meta, meta);
    return st == STATUS_OK ? r->status : st;
}

static bool is_in_place(const struct snapshot_ingest *self, uint32_t span, struct slice key) {
    if (span >= self->spans.count) { return false; }
    const struct snapshot__span *own = &self->spans.items[span];
    if (slice_compare(key, bytes_slice(own->start)) < 0 ||
        slice_compare(key, bytes_slice(own->end)) >= 0) {
        MARK("snapshot.outside_its_span");
        return false;
    }
    if (self->count == 0) { return true; }
    return span > self->last_span ||
           (span == self->last_span && slice_compare(key, buf_slice(&self->last_key)) > 0);
}

static enum status take_record(struct snapshot_ingest *self, uint32_t span,
                               struct codec_reader *r) {
    const struct slice key = codec_get_slice(r, SNAPSHOT_KEY_SIZE_MAX);
    const struct slice value = codec_get_slice(r, codec_remaining(r));
    if (r->status != STATUS_OK || !is_in_place(self, span, key)) { return STATUS_CORRUPT; }
    enum status st = self->check(self->ctx, span, key, value);
    if (st != STATUS_OK) { return st; }
    engine_put(self->batch, self->spans.items[span].family, key, value);
    self->sum = snapshot__sum(self->sum, span, key, value);
    self->count++;
    self->last_span = span;
    buf_reset(&self->last_key);
    return buf_append(&self->last_key, key);
}

// The records, and what ends the chunk.
static enum status take_body(struct snapshot_ingest *self, struct codec_reader *r, bool *out_last) {
    for (;;) {
        const uint8_t tag = codec_get_u8(r);
        if (r->status != STATUS_OK) { return STATUS_CORRUPT; }
        if (tag == SNAPSHOT_CHUNK_ENDS) { break; }
        if (tag == SNAPSHOT_STREAM_ENDS) {
            *out_last = true;
            const uint64_t count = codec_get_u64(r);
            const uint64_t sum = codec_get_u64(r);
            const bool differs = count != self->count || sum != self->sum;
            if (differs && !MUTANT(CHUNK_UNCHECKED)) {
                MARK("snapshot.of_another_export");
                return STATUS_CORRUPT;
            }
            break;
        }
        const enum status st = take_record(self, tag - 1u, r);
        if (st != STATUS_OK) { return st; }
    }
    return codec_finish(r);
}

static enum status take_chunk(struct snapshot_ingest *self, struct slice chunk, bool *out_last) {
    uint8_t version = 0;
    uint8_t kind = 0;
    struct slice payload;
    struct codec_reader r;
    enum status st = codec_open(chunk, SNAPSHOT_VERSION, &version, &kind, &payload);
    if (st != STATUS_OK) { return st; }
    if (kind != self->kind || version == 0) { return STATUS_CORRUPT; }
    codec_reader_init(&r, payload);
    st = take_head(self, &r);
    if (st == STATUS_OK) { st = take_body(self, &r, out_last); }
    if (st != STATUS_OK) { return st; }
    if (engine_batch_count(self->batch) == 0) { return STATUS_OK; }
    return engine_write(self->engine, self->batch, false);
}

enum status snapshot_ingest_chunk(struct snapshot_ingest *self, struct slice chunk) {
    if (self->phase == COMPLETE || self->phase == FAILED) {
        self->phase = FAILED;
        return STATUS_CORRUPT;
    }
    bool last = false;
    const enum status st = take_chunk(self, chunk, &last);
    engine_batch_clear(self->batch);
    if (st != STATUS_OK) {
        self->phase = FAILED;
        return st;
    }
    self->number++;
    self->phase = last ? COMPLETE : EXPECTS_MORE;
    return STATUS_OK;
}
