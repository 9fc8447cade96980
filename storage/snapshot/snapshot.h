// SPDX-License-Identifier: Apache-2.0
// snapshot.h - stretches of a store as a stream of chunks, and back: what state machines build
//              their export and ingest from.
// Invariants: all chunks of an export show the store at one moment; a chunk changes nothing unless
//             the whole of it is sound and is the next one; nothing is ever written outside the
//             receiver's own spans; a stream counts as complete only when every record of it was
//             taken, in order, and of one export.
// Ownership:  exports and ingests borrow the engine; spans and meta are copied.
// Thread:     confined to the shard loop.
// See:        storage/snapshot/README.md; tests/unit/storage/snapshot/snapshot_test.c
#pragma once

#include "dataplane/port/state_machine.h"
#include "storage/engine/engine.h"

enum {
    SNAPSHOT_SPANS_MAX = 8,
    SNAPSHOT_META_SIZE_MAX = 1024,
    SNAPSHOT_KEY_SIZE_MAX = 64 << 10,
};

// [start, end) of one family, both non-empty, start < end.
struct snapshot_span {
    enum engine_family family;
    struct slice start;
    struct slice end;
};

// What is read or written. Both sides must list the same kinds of spans in the same order; a
// receiver's may be narrower, then what lies outside is refused.
struct snapshot_range {
    struct engine *engine;
    uint8_t kind;  // of the state machine: its chunks are taken by no other
    const struct snapshot_span *spans;
    uint32_t span_count;  // up to SNAPSHOT_SPANS_MAX
};

// --- Out ---

// A view of the spans as they are now. meta goes with the first chunk, up to SNAPSHOT_META_SIZE_MAX
// bytes that the caller understands.
struct state_export *snapshot_export_open(const struct snapshot_range *range, struct slice meta);
// As state_machine.export_next. STATUS_RESOURCE_EXHAUSTED when the buffer may not grow as needed:
// the same chunk may be asked for again. After an error of the store, or the last chunk, close.
NODISCARD enum status snapshot_export_next(struct state_export *self, uint32_t size_max,
                                           struct buf *out, bool *out_last);
void snapshot_export_close(struct state_export *self);

// --- In ---

struct snapshot_ingest;

// What the state machine makes of one record before it is written: STATUS_CORRUPT for one that it
// could not have written itself. span is the place in the range.
typedef enum status (*snapshot_check_fn)(void *ctx, uint32_t span, struct slice key,
                                         struct slice value);

// Expects the first chunk. The caller has emptied the spans.
struct snapshot_ingest *snapshot_ingest_create(const struct snapshot_range *range,
                                               snapshot_check_fn check, void *ctx);
void snapshot_ingest_destroy(struct snapshot_ingest *self);
// Takes the next chunk: writes its records in one batch, without sync. STATUS_CORRUPT: nothing of
// the chunk was written, and this ingest takes no other. STATUS_NOT_SUPPORTED: of a newer format;
// STATUS_NO_SPACE, STATUS_IO from the store: likewise.
NODISCARD enum status snapshot_ingest_chunk(struct snapshot_ingest *self, struct slice chunk);
// True after the last chunk, when all was sound.
bool snapshot_ingest_is_complete(const struct snapshot_ingest *self);
// The sender's, from the first chunk on; empty before. Known to check() too.
struct slice snapshot_ingest_meta(const struct snapshot_ingest *self);
