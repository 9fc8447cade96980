// SPDX-License-Identifier: Apache-2.0
// Versions above a timestamp: what a read at that timestamp does not show, but may have to know of
// (transactions.md, "uncertain"). A walk over encoded keys with the scan cursor; of each key the
// newest versions come first, so it is over when the first one at or below the timestamp comes.
#include "dataplane/base/assert.h"
#include "storage/mvcc/mvcc.h"
#include "storage/mvcc/mvcc_internal.h"

#include <string.h>

enum { STEPS_MAX = 4 };

struct climb {
    struct mvcc_reader *reader;
    struct engine_cursor *cursor;
    const struct mvcc_above *above;
    struct slice bound;  // prefix that ends the walk; no data = none
};

static bool is_beyond(const struct climb *self, struct slice prefix) {
    if (self->bound.data == NULL) { return false; }
    const int order = slice_compare(prefix, self->bound);
    return self->above->alone ? order > 0 : order >= 0;
}

// Over the versions of this key that are at or below the timestamp, to the next key.
static void leave_key(struct climb *self, struct slice prefix) {
    memcpy(self->reader->current, prefix.data, prefix.size);
    const struct slice current = slice_make(self->reader->current, prefix.size);
    for (int steps = 0; steps <= STEPS_MAX; steps++) {
        engine_cursor_next(self->cursor);
        if (!engine_cursor_valid(self->cursor)) { return; }
        const struct slice key = engine_cursor_key(self->cursor);
        if (key.size != current.size + ENGINE_VERSION_SUFFIX_SIZE ||
            !slice_has_prefix(key, current)) {
            return;
        }
    }
    // The version of timestamp zero would be the last of this key.
    memcpy(self->reader->seek, current.data, current.size);
    mvcc__ts_encode(HLC_ZERO, self->reader->seek + current.size);
    const struct slice last =
        slice_make(self->reader->seek, current.size + ENGINE_VERSION_SUFFIX_SIZE);
    engine_cursor_seek(self->cursor, last);
    if (engine_cursor_valid(self->cursor) && slice_equal(engine_cursor_key(self->cursor), last)) {
        engine_cursor_next(self->cursor);
    }
}

// One step; *out_ended when the walk is over.
static enum status climb_step(struct climb *self, bool *out_ended) {
    const struct slice key = engine_cursor_key(self->cursor);
    if (key.size <= ENGINE_VERSION_SUFFIX_SIZE || key.size > MVCC_KEY_SIZE_MAX) {
        return STATUS_CORRUPT;
    }
    const struct slice prefix = slice_make(key.data, key.size - ENGINE_VERSION_SUFFIX_SIZE);
    if (is_beyond(self, prefix)) {
        *out_ended = true;
        return STATUS_OK;
    }
    const struct hlc_ts ts = mvcc__ts_decode(key.data + prefix.size);
    if (ts.v <= self->above->ts.v) {
        leave_key(self, prefix);
        return STATUS_OK;
    }
    struct mvcc_version version;
    const enum status st = mvcc_version_decode(engine_cursor_value(self->cursor), ts, &version);
    if (st != STATUS_OK) { return st; }
    *out_ended = !self->above->visit(self->above->ctx, &version);
    engine_cursor_next(self->cursor);
    return STATUS_OK;
}

enum status mvcc_above(struct mvcc_reader *self, const struct mvcc_above *above) {
    ASSERT(above->visit != NULL);
    ASSERT(above->start.size <= SHARD_KEY_SIZE_MAX && above->end.size <= SHARD_KEY_SIZE_MAX);
    if (self->scan == NULL) {
        self->scan = engine_cursor_create(self->engine, ENGINE_VERSION);
    } else if (self->scan_stale) {
        engine_cursor_refresh(self->scan);
    }
    self->scan_stale = false;
    struct climb climb = {.reader = self, .cursor = self->scan, .above = above};
    const struct slice end = above->alone ? above->start : above->end;
    if (end.size > 0) {
        climb.bound = slice_make(self->bound, mvcc__prefix_encode(end, self->bound));
    }
    const size_t size = mvcc_key_encode(above->start, HLC_MAX, self->seek);
    engine_cursor_seek(climb.cursor, slice_make(self->seek, size));
    bool ended = false;
    while (!ended && engine_cursor_valid(climb.cursor)) {
        const enum status st = climb_step(&climb, &ended);
        if (st != STATUS_OK) { return st; }
    }
    return ended ? STATUS_OK : engine_cursor_status(climb.cursor);
}
