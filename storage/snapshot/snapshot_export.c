// SPDX-License-Identifier: Apache-2.0
// One cursor per span, all made at once: on the loop that alone writes these spans nothing comes in
// between, so together they show one moment. The first record that is not yet in a chunk is where
// the cursors stand; a chunk that the caller's buffer refuses is built again from there.
//
// Records go in as the store has them. A form of its own for each kind of record was rejected: the
// receiver checks each record with the decoder that reads it later, which is what matters.
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"
#include "storage/snapshot/snapshot_internal.h"

enum { PAYLOAD_SIZE_MAX = 1 << 30 };

struct state_export {
    struct snapshot__spans spans;
    struct engine_cursor *cursors[SNAPSHOT_SPANS_MAX];
    uint8_t kind;
    struct bytes *meta;
    uint32_t number;  // of the next chunk
    uint32_t span;    // where the next record is
    uint64_t count;   // of the records in chunks so far
    uint64_t sum;
    bool ended;
    struct buf payload;
    struct buf chunk;  // sealed; kept while the caller had no room for it
};

void snapshot__spans_init(struct snapshot__spans *self, const struct snapshot_range *range) {
    ASSERT(range->span_count > 0 && range->span_count <= SNAPSHOT_SPANS_MAX);
    self->count = range->span_count;
    for (uint32_t i = 0; i < range->span_count; i++) {
        const struct snapshot_span *span = &range->spans[i];
        ASSERT(span->start.size > 0 && slice_compare(span->start, span->end) < 0);
        self->items[i] =
            (struct snapshot__span){span->family, bytes_copy(span->start), bytes_copy(span->end)};
    }
}

void snapshot__spans_deinit(struct snapshot__spans *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        bytes_unref(self->items[i].start);
        bytes_unref(self->items[i].end);
    }
    self->count = 0;
}

uint64_t snapshot__sum(uint64_t before, uint32_t span, struct slice key, struct slice value) {
    // The sizes keep (ab, c) and (a, bc) apart.
    const uint64_t sum = hash64(key, before + span + 1);
    return hash64(value, hash64_u64(sum + key.size));
}

struct state_export *snapshot_export_open(const struct snapshot_range *range, struct slice meta) {
    ASSERT(meta.size <= SNAPSHOT_META_SIZE_MAX);
    struct state_export *self = mem_alloc(sizeof(*self));
    snapshot__spans_init(&self->spans, range);
    for (uint32_t i = 0; i < self->spans.count; i++) {
        self->cursors[i] = engine_cursor_create(range->engine, self->spans.items[i].family);
        engine_cursor_seek(self->cursors[i], bytes_slice(self->spans.items[i].start));
    }
    self->kind = range->kind;
    self->meta = bytes_copy(meta);
    buf_init(&self->payload, PAYLOAD_SIZE_MAX);
    buf_init(&self->chunk, PAYLOAD_SIZE_MAX + CODEC_ENVELOPE_SIZE);
    return self;
}

void snapshot_export_close(struct state_export *self) {
    if (self == NULL) { return; }
    for (uint32_t i = 0; i < self->spans.count; i++) {
        engine_cursor_destroy(self->cursors[i]);
    }
    snapshot__spans_deinit(&self->spans);
    bytes_unref(self->meta);
    buf_deinit(&self->payload);
    buf_deinit(&self->chunk);
    mem_free(self);
}

// Moves to the span that has the next record; STATUS_NOT_FOUND when none has.
static enum status find_next(struct state_export *self) {
    for (; self->span < self->spans.count; self->span++) {
        struct engine_cursor *cursor = self->cursors[self->span];
        if (!engine_cursor_valid(cursor)) {
            const enum status st = engine_cursor_status(cursor);
            if (st != STATUS_OK) { return st; }
            continue;
        }
        const struct slice end = bytes_slice(self->spans.items[self->span].end);
        if (slice_compare(engine_cursor_key(cursor), end) < 0) { return STATUS_OK; }
    }
    return STATUS_NOT_FOUND;
}

// Adds records until the chunk is full; STATUS_NOT_FOUND when there are no more.
static enum status fill(struct state_export *self, uint32_t size_max, struct codec_writer *w) {
    uint64_t in_chunk = 0;
    for (;;) {
        const enum status st = find_next(self);
        if (st != STATUS_OK) { return st; }
        struct engine_cursor *cursor = self->cursors[self->span];
        const struct slice key = engine_cursor_key(cursor);
        const struct slice value = engine_cursor_value(cursor);
        if (in_chunk > 0 && self->payload.size + key.size + value.size > size_max) {
            return STATUS_OK;
        }
        codec_put_u8(w, (uint8_t)(self->span + 1));
        codec_put_slice(w, key);
        codec_put_slice(w, value);
        self->sum = snapshot__sum(self->sum, self->span, key, value);
        self->count++;
        in_chunk++;
        engine_cursor_next(cursor);
    }
}

// The bug: what is left is shown as it is now.
static void forget_moment(struct state_export *self) {
    for (uint32_t i = self->span; i < self->spans.count; i++) {
        struct engine_cursor *cursor = self->cursors[i];
        if (!engine_cursor_valid(cursor)) { continue; }
        struct bytes *at = bytes_copy(engine_cursor_key(cursor));
        engine_cursor_refresh(cursor);
        engine_cursor_seek(cursor, bytes_slice(at));
        bytes_unref(at);
    }
}

static enum status build(struct state_export *self, uint32_t size_max) {
    struct codec_writer w;
    buf_reset(&self->payload);
    codec_writer_init(&w, &self->payload);
    codec_put_u32(&w, self->number);
    if (self->number == 0) {
        codec_put_slice(&w, bytes_slice(self->meta));
        codec_put_u8(&w, (uint8_t)self->spans.count);
    }
    if (MUTANT(SNAPSHOT_MOVING)) { forget_moment(self); }
    const enum status st = fill(self, size_max, &w);
    if (st != STATUS_OK && st != STATUS_NOT_FOUND) { return st; }
    self->ended = st == STATUS_NOT_FOUND;
    codec_put_u8(&w, self->ended ? SNAPSHOT_STREAM_ENDS : SNAPSHOT_CHUNK_ENDS);
    if (self->ended) {
        codec_put_u64(&w, self->count);
        codec_put_u64(&w, self->sum);
    }
    ASSERT(w.status == STATUS_OK);
    self->number++;
    return codec_seal(&self->chunk, SNAPSHOT_VERSION, self->kind, buf_slice(&self->payload));
}

enum status snapshot_export_next(struct state_export *self, uint32_t size_max, struct buf *out,
                                 bool *out_last) {
    if (self->chunk.size == 0) {
        ASSERT(!self->ended);
        const enum status st = build(self, size_max);
        if (st != STATUS_OK) { return st; }
    }
    const enum status st = buf_append(out, buf_slice(&self->chunk));
    if (st != STATUS_OK) { return st; }
    buf_reset(&self->chunk);
    *out_last = self->ended;
    return STATUS_OK;
}
