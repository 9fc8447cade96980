// SPDX-License-Identifier: Apache-2.0
// Recovery reads every key once, in order, and checks what the store cannot: that a shard's entries
// follow each other from its trim point on, that their terms never fall, that each record is intact
// and stands under its own index. A group is one batch, so a crash leaves no gap; a gap or a bad
// record is damage, and is never cut off as if it were a torn tail (PAR, FAST 2018): the shard's
// acknowledged entries may lie behind it.
#include "dataplane/base/assert.h"
#include "storage/raftlog/raftlog_internal.h"

#include <inttypes.h>

// Where recovery stands.
struct recovery {
    struct raftlog *log;
    struct shard_id shard;  // of the last key
    uint64_t index;         // of the last key, or 0
    uint64_t last_term;     // of the last entry, or of the trim point
    struct err *err;
};

static enum status damaged(const struct recovery *self, const char *what) {
    return err_set(self->err, STATUS_CORRUPT, "log of shard %" PRIu64 ", index %" PRIu64 ": %s",
                   self->shard.v, self->index, what);
}

static enum status recover_entry(struct recovery *self, struct raftlog_shard *shard,
                                 struct slice record) {
    struct log_entry entry;
    if (raftlog__entry_decode(record, self->index, &entry) != STATUS_OK) {
        return damaged(self, "the record is damaged");
    }
    const uint64_t term = entry.term;
    log_entry_unref(&entry);
    if (self->index != shard->bounds.last_index + 1) {
        self->index = shard->bounds.last_index + 1;
        return damaged(self, "the entry is missing");
    }
    if (term < self->last_term) { return damaged(self, "the term is below the one before"); }
    self->last_term = term;
    shard->bounds.last_index = self->index;
    shard->size += record.size;
    self->log->size += record.size;
    return STATUS_OK;
}

static enum status recover_key(struct recovery *self, struct slice key, struct slice value) {
    enum raftlog_key_kind kind = RAFTLOG_KEY_END;
    const struct shard_id before = self->shard;
    if (raftlog__key_decode(key, &self->shard, &kind, &self->index) != STATUS_OK) {
        return damaged(self, "an unknown key follows");
    }
    if (!shard_id_equal(before, self->shard)) { self->last_term = 0; }
    struct raftlog_shard *shard = raftlog__ensure(self->log, self->shard);
    struct log_bounds *bounds = &shard->bounds;
    if (kind == RAFTLOG_HARD_STATE) {
        return raftlog__hard_state_decode(value, &bounds->hard_state) == STATUS_OK
                   ? STATUS_OK
                   : damaged(self, "the hard state is damaged");
    }
    if (kind == RAFTLOG_TRIM) {
        if (raftlog__trim_decode(value, &bounds->trim_index, &bounds->trim_term) != STATUS_OK) {
            return damaged(self, "the trim point is damaged");
        }
        bounds->last_index = bounds->trim_index;
        self->last_term = bounds->trim_term;
        return STATUS_OK;
    }
    return recover_entry(self, shard, value);
}

enum status raftlog__recover(struct raftlog *self, struct err *err) {
    struct recovery recovery = {.log = self, .err = err};
    struct engine_cursor *cursor = self->cursor;
    engine_cursor_seek(cursor, SLICE_EMPTY);
    while (engine_cursor_valid(cursor)) {
        const enum status st =
            recover_key(&recovery, engine_cursor_key(cursor), engine_cursor_value(cursor));
        if (st != STATUS_OK) { return st; }
        engine_cursor_next(cursor);
    }
    const enum status st = engine_cursor_status(cursor);
    if (st != STATUS_OK) {
        return err_set(err, st, "log store behind shard %" PRIu64 ", index %" PRIu64 ": %s",
                       recovery.shard.v, recovery.index, status_text(st));
    }
    return STATUS_OK;
}
