// SPDX-License-Identifier: Apache-2.0
// Scans walk versions and show at most one of each key.
//
// Forwards a key's versions come newest first: skip those above ts, show the next, skip the rest.
// Most keys have one or two versions, and a step is several times cheaper than a seek; a hot key
// may have thousands. So both skips step a few times, then seek past what is left.
//
// Backwards the oldest comes first, and whether it is the visible one shows only at the next. So
// the value is put aside before each step; after a few steps one seek goes to the visible version
// directly, and another back to where the walk goes on.
#include "dataplane/base/assert.h"
#include "storage/mvcc/mvcc.h"
#include "storage/mvcc/mvcc_internal.h"

#include <string.h>

enum { STEPS_MAX = 4, LAST_BYTE = 0xff };

// One scan under way.
struct walk {
    struct mvcc_reader *reader;
    struct engine_cursor *cursor;
    const struct mvcc_scan *scan;
    struct slice bound;    // prefix of the key that ends the walk; no data = none
    struct slice current;  // prefix of the key the walk is at
    struct hlc_ts at_ts;   // timestamp of the version under the cursor
    bool stopped;          // by visit
};

// Splits the key under the cursor; STATUS_CORRUPT when it cannot be a version's.
static enum status split(struct walk *self, struct slice *out_prefix) {
    const struct slice key = engine_cursor_key(self->cursor);
    if (key.size <= ENGINE_VERSION_SUFFIX_SIZE || key.size > MVCC_KEY_SIZE_MAX) {
        return STATUS_CORRUPT;
    }
    *out_prefix = slice_make(key.data, key.size - ENGINE_VERSION_SUFFIX_SIZE);
    self->at_ts = mvcc__ts_decode(key.data + out_prefix->size);
    return STATUS_OK;
}

// True while the cursor is at a version of the current key; sets at_ts.
static bool at_current(struct walk *self) {
    struct slice prefix;
    return engine_cursor_valid(self->cursor) && split(self, &prefix) == STATUS_OK &&
           slice_equal(prefix, self->current);
}

// Makes the key under the cursor the current one.
static enum status enter(struct walk *self) {
    struct slice prefix;
    const enum status st = split(self, &prefix);
    if (st != STATUS_OK) { return st; }
    memcpy(self->reader->current, prefix.data, prefix.size);
    self->current = slice_make(self->reader->current, prefix.size);
    return STATUS_OK;
}

// The current key followed by a suffix, in the seek buffer.
static struct slice current_with(struct walk *self, const void *suffix, size_t size) {
    memcpy(self->reader->seek, self->current.data, self->current.size);
    memcpy(self->reader->seek + self->current.size, suffix, size);
    return slice_make(self->reader->seek, self->current.size + size);
}

static void seek_current(struct walk *self, struct hlc_ts ts) {
    uint8_t suffix[ENGINE_VERSION_SUFFIX_SIZE];
    mvcc__ts_encode(ts, suffix);
    engine_cursor_seek(self->cursor, current_with(self, suffix, sizeof(suffix)));
}

// Shows a stored value as the visible version of the current key, unless it is a delete.
static enum status show(struct walk *self, struct slice stored, struct hlc_ts ts) {
    struct mvcc_version version;
    enum status st = mvcc_version_decode(stored, ts, &version);
    if (st != STATUS_OK || version.kind == MVCC_DELETE) { return st; }
    size_t size = 0;
    st = mvcc__prefix_decode(self->current, self->reader->decoded, &size);
    if (st != STATUS_OK) { return st; }
    self->stopped =
        !self->scan->visit(self->scan->ctx, slice_make(self->reader->decoded, size), &version);
    return STATUS_OK;
}

// --- Forwards ---

// Moves past the versions above ts; true when the cursor then is at the visible one.
static bool reach_visible(struct walk *self) {
    for (int steps = 0; at_current(self); steps++) {
        if (self->at_ts.v <= self->scan->ts.v) { return true; }
        if (steps < STEPS_MAX) {
            engine_cursor_next(self->cursor);
        } else {
            seek_current(self, self->scan->ts);
        }
    }
    return false;
}

// Moves to the first version of the next key.
static void leave_forwards(struct walk *self) {
    for (int steps = 0; steps < STEPS_MAX; steps++) {
        if (!at_current(self)) { return; }
        engine_cursor_next(self->cursor);
    }
    if (!at_current(self)) { return; }
    // Eight bytes of 255 are the key of the version of timestamp zero: nothing of this key sorts
    // after it, and nothing of another key in between, since no key goes on after a terminator.
    seek_current(self, HLC_ZERO);
    if (at_current(self)) { engine_cursor_next(self->cursor); }
}

static enum status walk_forwards(struct walk *self) {
    struct mvcc_reader *reader = self->reader;
    const size_t size = mvcc_key_encode(self->scan->start, HLC_MAX, reader->seek);
    engine_cursor_seek(self->cursor, slice_make(reader->seek, size));
    while (engine_cursor_valid(self->cursor) && !self->stopped) {
        enum status st = enter(self);
        if (st != STATUS_OK) { return st; }
        if (self->bound.data != NULL && slice_compare(self->current, self->bound) >= 0) { break; }
        if (!reach_visible(self)) { continue; }
        st = show(self, engine_cursor_value(self->cursor), self->at_ts);
        if (st != STATUS_OK) { return st; }
        leave_forwards(self);
    }
    return engine_cursor_status(self->cursor);
}

// --- Backwards ---

// Moves to the last version of the previous key.
static void leave_backwards(struct walk *self) {
    for (int steps = 0; at_current(self); steps++) {
        if (steps < STEPS_MAX) {
            engine_cursor_prev(self->cursor);
        } else {
            // The bare prefix sorts before all versions of the key.
            engine_cursor_seek_for_prev(self->cursor, self->current);
        }
    }
}

// From the oldest version of the current key to the visible one, and on to the previous key.
static enum status show_backwards(struct walk *self) {
    struct buf *value = &self->reader->value;
    struct hlc_ts ts = HLC_ZERO;
    bool found = false;
    for (int steps = 0; at_current(self) && self->at_ts.v <= self->scan->ts.v; steps++) {
        if (steps == STEPS_MAX) {
            seek_current(self, self->scan->ts);
            if (!at_current(self)) { return engine_cursor_status(self->cursor); }
        }
        buf_reset(value);
        if (buf_append(value, engine_cursor_value(self->cursor)) != STATUS_OK) {
            return STATUS_CORRUPT;
        }
        ts = self->at_ts;
        found = true;
        if (steps == STEPS_MAX) { break; }
        engine_cursor_prev(self->cursor);
    }
    // An error under way is not the end of the key: what was put aside may not be the visible one.
    if (!engine_cursor_valid(self->cursor)) {
        const enum status st = engine_cursor_status(self->cursor);
        if (st != STATUS_OK) { return st; }
    }
    const enum status st = found ? show(self, buf_slice(value), ts) : STATUS_OK;
    if (st == STATUS_OK) { leave_backwards(self); }
    return st;
}

static enum status walk_backwards(struct walk *self, struct slice start_prefix) {
    struct mvcc_reader *reader = self->reader;
    if (self->bound.data != NULL) {
        engine_cursor_seek_for_prev(self->cursor, self->bound);
    } else {
        // Longer than any run of 255 in a valid key, so it sorts after all of them.
        memset(reader->seek, LAST_BYTE, sizeof(reader->seek));
        engine_cursor_seek_for_prev(self->cursor, slice_make(reader->seek, sizeof(reader->seek)));
    }
    while (engine_cursor_valid(self->cursor) && !self->stopped) {
        enum status st = enter(self);
        if (st != STATUS_OK) { return st; }
        if (slice_compare(self->current, start_prefix) < 0) { break; }
        st = show_backwards(self);
        if (st != STATUS_OK) { return st; }
    }
    return engine_cursor_status(self->cursor);
}

enum status mvcc_scan(struct mvcc_reader *self, const struct mvcc_scan *scan) {
    ASSERT(scan->visit != NULL);
    ASSERT(scan->start.size <= SHARD_KEY_SIZE_MAX);
    ASSERT(scan->end.size <= SHARD_KEY_SIZE_MAX);
    if (self->scan == NULL) {
        self->scan = engine_cursor_create(self->engine, ENGINE_VERSION);
    } else if (self->scan_stale) {
        engine_cursor_refresh(self->scan);
    }
    self->scan_stale = false;
    struct walk walk = {.reader = self, .cursor = self->scan, .scan = scan};
    if (scan->end.size > 0) {
        walk.bound = slice_make(self->bound, mvcc__prefix_encode(scan->end, self->bound));
    }
    if (!scan->reverse) { return walk_forwards(&walk); }
    uint8_t start[MVCC_KEY_SIZE_MAX];
    const struct slice prefix = slice_make(start, mvcc__prefix_encode(scan->start, start));
    return walk_backwards(&walk, prefix);
}
