// SPDX-License-Identifier: Apache-2.0
// Recovery reads every key once, in order, and checks what the store cannot: that a shard's entries
// follow each other from its start on, that their terms never fall, that each record is intact and
// stands under its own index. A group is one batch, so a crash leaves no gap; a gap or a bad record
// is damage, and is never cut off as if it were a torn tail (PAR, FAST 2018): the shard's
// acknowledged entries may lie behind it. The damaged shard keeps everything, is told apart in its
// bounds, and heals by a snapshot from its peers; the other shards of the node are none the worse.
//
// What was found is put on record in the first group written, before anything else of the shard: a
// hard state written over a damaged one would otherwise make the log look whole at the next start.
//
// A block of the store that cannot be read hides its keys. When the keys before and after it belong
// to the entries of one shard, so does all that is hidden, and that shard alone is damaged. Else a
// whole shard might be hidden, with votes that it gave: then nothing is opened.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "storage/raftlog/raftlog_internal.h"

#include <inttypes.h>

// Where recovery stands.
struct recovery {
    struct raftlog *log;
    struct raftlog_shard *shard;  // of the last key; NULL before the first
    uint64_t index;               // of the last key when it was an entry; else of the start
    uint64_t last_term;           // of the last entry, or of the start
    bool has_hard_state;
    bool known;  // the shard's damage is on record already
    struct err *err;
};

static enum status refused(const struct recovery *self, enum status st, const char *what) {
    return err_set(self->err, st, "log store at shard %" PRIu64 ", index %" PRIu64 ": %s",
                   self->shard != NULL ? self->shard->id : 0, self->index, what);
}

// The first damage names itself; the least index counts.
static void damaged(struct raftlog_shard *shard, uint64_t from, const char *what) {
    ASSERT(from > 0);
    MARK("raftlog.damage_found");
    if (shard->damage_text == NULL) { shard->damage_text = what; }
    if (shard->damage.from == 0 || from < shard->damage.from) { shard->damage.from = from; }
}

static void recover_entry(struct recovery *self, uint64_t index, struct slice record) {
    struct raftlog_shard *shard = self->shard;
    struct log_bounds *bounds = &shard->bounds;
    struct log_entry entry;
    if (index != bounds->last_index + 1) {
        // A start that cannot be read says nothing about what is missing.
        damaged(shard, bounds->last_index + 1,
                index > bounds->last_index ? "an entry is missing"
                                           : "an entry of before the start");
    }
    self->index = index;
    if (index > bounds->last_index) { bounds->last_index = index; }
    shard->size += record.size;
    self->log->size += record.size;
    if (raftlog__entry_decode(record, index, &entry) != STATUS_OK) {
        damaged(shard, index, "the record of an entry is damaged");
        return;
    }
    if (entry.term < self->last_term) {
        damaged(shard, index, "the term of an entry is below the one before");
    }
    self->last_term = entry.term;
    if (entry.kind == LOG_ENTRY_CONFIG) { raftlog__mark_push(shard, index, entry.payload); }
    log_entry_unref(&entry);
}

static void recover_start(struct recovery *self, const struct raftlog_start *start) {
    struct raftlog_shard *shard = self->shard;
    shard->bounds.trim_index = start->index;
    shard->bounds.trim_term = start->term;
    shard->bounds.last_index = start->index;
    shard->base = (struct raftlog_base){start->index, start->ceiling, start->timestamp};
    if (start->membership_index != 0) {
        raftlog__mark_push(shard, start->membership_index, start->membership);
    }
    self->index = start->index;
    self->last_term = start->term;
}

// A tombstone that cannot be read: every incarnation but the one that lives here may be removed.
static void bury(struct raftlog_shard *shard) {
    const uint64_t living = shard->bounds.hard_state.incarnation;
    MARK("raftlog.tombstone_damaged");
    shard->bounds.removed_incarnation = living > 0 ? living - 1 : UINT64_MAX;
}

// A record that is no entry. STATUS_NOT_SUPPORTED goes to the caller, any other damage to the
// shard.
static enum status recover_record(struct recovery *self, enum raftlog_key_kind kind,
                                  struct slice value) {
    struct raftlog_shard *shard = self->shard;
    struct raftlog_start start;
    struct raftlog_damage known;
    enum status st = STATUS_CORRUPT;
    switch (kind) {
    case RAFTLOG_HARD_STATE:
        st = raftlog__hard_state_decode(value, &shard->bounds.hard_state);
        self->has_hard_state = true;
        if (st == STATUS_CORRUPT) { damaged(shard, 1, "the hard state is damaged"); }
        break;
    case RAFTLOG_START:
        st = raftlog__start_decode(value, &start);
        if (st == STATUS_OK) { recover_start(self, &start); }
        if (st == STATUS_CORRUPT) { damaged(shard, 1, "the start of the log is damaged"); }
        break;
    case RAFTLOG_TOMBSTONE:
        st = raftlog__tombstone_decode(value, &shard->bounds.removed_incarnation);
        if (st == STATUS_CORRUPT) { bury(shard); }
        break;
    case RAFTLOG_DAMAGE:
        st = raftlog__damage_decode(value, &known);
        if (st == STATUS_OK) {
            self->known = shard->damage.from == 0 || known.from <= shard->damage.from;
            damaged(shard, known.from, "damage was found at an earlier start");
            shard->damage.last = known.last;
        }
        if (st == STATUS_CORRUPT) { damaged(shard, 1, "the note of damage is damaged"); }
        break;
    case RAFTLOG_ENTRY:
    case RAFTLOG_KEY_END:
        ASSERT(false);
    }
    return st == STATUS_CORRUPT ? STATUS_OK : st;
}

// After the last key of a shard.
static void finish_shard(struct recovery *self) {
    struct raftlog_shard *shard = self->shard;
    if (shard == NULL) { return; }
    struct log_bounds *bounds = &shard->bounds;
    if (shard->alive && !self->has_hard_state) { damaged(shard, 1, "the hard state is missing"); }
    if (MUTANT(DAMAGE_TRUNCATED) && shard->damage.from > bounds->trim_index) {
        bounds->last_index = shard->damage.from - 1;
        if (bounds->hard_state.commit > bounds->last_index) {
            bounds->hard_state.commit = bounds->last_index;
        }
        shard->damage = (struct raftlog_damage){0};
    }
    if (shard->damage.from != 0) {
        // Before the start there is nothing to be damaged.
        if (shard->damage.from <= bounds->trim_index) {
            shard->damage.from = bounds->trim_index + 1;
        }
        if (shard->damage.last < bounds->last_index) {
            shard->damage.last = bounds->last_index;
            self->known = false;
        }
        if (!self->known) {
            raftlog__damage_encode(&self->log->scratch, &shard->damage);
            raftlog__put_scratch(self->log, shard, RAFTLOG_DAMAGE);
        }
    }
    raftlog__settle(shard);
}

static enum status recover_key(struct recovery *self, struct slice key, struct slice value) {
    enum raftlog_key_kind kind = RAFTLOG_KEY_END;
    struct shard_id id = {0};
    uint64_t index = 0;
    if (raftlog__key_decode(key, &id, &kind, &index) != STATUS_OK) {
        return refused(self, STATUS_CORRUPT, "an unknown key follows");
    }
    if (self->shard == NULL || self->shard->id != id.v) {
        finish_shard(self);
        *self = (struct recovery){.log = self->log, .err = self->err};
        self->shard = raftlog__ensure(self->log, id);
    }
    if (kind != RAFTLOG_TOMBSTONE) { self->shard->alive = true; }
    if (kind == RAFTLOG_ENTRY) {
        recover_entry(self, index, value);
        return STATUS_OK;
    }
    const enum status st = recover_record(self, kind, value);
    return st == STATUS_OK ? st : refused(self, st, "a record of the shard");
}

// --- Blocks that cannot be read ---

// Seeks the shard's entry of that index, or what follows; false when that cannot be read.
static bool seek_readable(struct recovery *self, uint64_t index) {
    uint8_t key[RAFTLOG_KEY_SIZE];
    struct engine_cursor *cursor = self->log->cursor;
    const struct shard_id id = {self->shard->id};
    engine_cursor_seek(cursor, raftlog__entry_key(id, index, key));
    return engine_cursor_valid(cursor) || engine_cursor_status(cursor) == STATUS_OK;
}

static bool at_entry_of_shard(const struct recovery *self) {
    enum raftlog_key_kind kind = RAFTLOG_KEY_END;
    struct shard_id id = {0};
    uint64_t index = 0;
    const struct engine_cursor *cursor = self->log->cursor;
    return engine_cursor_valid(cursor) &&
           raftlog__key_decode(engine_cursor_key(cursor), &id, &kind, &index) == STATUS_OK &&
           id.v == self->shard->id && kind == RAFTLOG_ENTRY;
}

// The cursor cannot be read behind the last key. Finds the first index from which it can: doubled
// steps until one is readable, then halved. Leaves the cursor there, or says that what is hidden
// may be more than entries of this shard.
static enum status skip_unreadable(struct recovery *self) {
    uint64_t bad = self->shard != NULL ? self->index + 1 : 0;
    uint64_t step = 1;
    if (self->shard == NULL || self->shard->bounds.last_index != self->index) {
        return refused(self, STATUS_CORRUPT, "what follows cannot be read");
    }
    while (step < UINT64_MAX / 4 - bad && !seek_readable(self, bad + step)) {
        step *= 2;
    }
    uint64_t good = bad + step;
    while (good - bad > 1) {
        const uint64_t middle = bad + (good - bad) / 2;
        if (seek_readable(self, middle)) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    if (!seek_readable(self, good) || !at_entry_of_shard(self)) {
        return refused(self, STATUS_CORRUPT, "what follows cannot be read, up to another shard");
    }
    MARK("raftlog.unreadable_entries");
    damaged(self->shard, self->index + 1, "entries cannot be read");
    return STATUS_OK;
}

enum status raftlog__recover(struct raftlog *self, struct err *err) {
    struct recovery recovery = {.log = self, .err = err};
    struct engine_cursor *cursor = self->cursor;
    engine_cursor_seek(cursor, SLICE_EMPTY);
    for (;;) {
        while (engine_cursor_valid(cursor)) {
            const enum status st =
                recover_key(&recovery, engine_cursor_key(cursor), engine_cursor_value(cursor));
            if (st != STATUS_OK) { return st; }
            engine_cursor_next(cursor);
        }
        enum status st = engine_cursor_status(cursor);
        if (st == STATUS_OK) { break; }
        if (st == STATUS_CORRUPT) { st = skip_unreadable(&recovery); }
        if (st != STATUS_OK) {
            return st == STATUS_CORRUPT ? st
                                        : refused(&recovery, st, "what follows cannot be read");
        }
    }
    finish_shard(&recovery);
    return STATUS_OK;
}
