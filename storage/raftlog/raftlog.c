// SPDX-License-Identifier: Apache-2.0
// Group commit with two groups: one gathers what the loop submits while the other is written.
//
//            submit, trim, remove            raftlog_turn             writer
//   loop ---------------------> gathering ---------------> writing ----------> store
//                                   ^                          |
//                                   +------ raftlog_group_done-+---> durable(items)
//
// A fixed pool of two bounds what is in flight and needs no queue: under load the group that
// gathers grows while the disk is busy, which is what makes the sync cheap per entry; idle, a write
// leaves in the turn that submitted it. Entries go straight into the batch that becomes the WAL
// record; beside it a reference is kept for readers until the group is durable.
//
// A crash leaves the store after some group: all of it or nothing (the batch is one WAL record).
// What was told durable is there; what was not may be.
#include "storage/raftlog/raftlog.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "storage/raftlog/raftlog_internal.h"

#include <string.h>

// --- Shards ---

unsigned raftlog__hash(const void *key) {
    uint64_t id = 0;
    memcpy(&id, key, sizeof(id));
    return (unsigned)hash64_u64(id);
}

struct raftlog_shard *raftlog__find(const struct raftlog *self, struct shard_id shard) {
    struct raftlog_shard *found = NULL;
    HASH_FIND(hh, self->shards, &shard.v, sizeof(shard.v), found);
    return found;
}

struct raftlog_shard *raftlog__ensure(struct raftlog *self, struct shard_id shard) {
    ASSERT(shard.v != 0);
    struct raftlog_shard *found = raftlog__find(self, shard);
    if (found != NULL) { return found; }
    found = mem_alloc(sizeof(*found));
    found->id = shard.v;
    HASH_ADD(hh, self->shards, id, sizeof(found->id), found);
    return found;
}

static void shard_free(struct raftlog *self, struct raftlog_shard *shard) {
    HASH_DEL(self->shards, shard);
    raftlog__pending_deinit(shard);
    raftlog__marks_deinit(shard);
    mem_free(shard);
}

void raftlog__settle(struct raftlog_shard *shard) {
    struct log_bounds *bounds = &shard->bounds;
    const bool at_base = shard->base.index != 0 && bounds->last_index == shard->base.index;
    const struct hlc_ts zero = {0};
    bounds->base_ceiling = at_base ? shard->base.ceiling : zero;
    bounds->base_timestamp = at_base ? shard->base.timestamp : zero;
    // What was cut away since the damage was found may have been acknowledged: the larger of
    // damaged_from and last_index never falls below the end found then.
    const struct raftlog_damage *damage = &shard->damage;
    bounds->damaged_from = damage->from;
    if (damage->from != 0 && bounds->last_index < damage->last) {
        bounds->damaged_from = damage->last;
    }
}

void raftlog__put_scratch(struct raftlog *self, const struct raftlog_shard *shard,
                          enum raftlog_key_kind kind) {
    uint8_t key[RAFTLOG_SHARD_KEY_SIZE];
    engine_put(self->gathering->batch, ENGINE_LOG,
               raftlog__shard_key((struct shard_id){shard->id}, kind, key),
               buf_slice(&self->scratch));
}

static uint64_t entry_count(const struct raftlog_shard *shard) {
    return shard->bounds.last_index - shard->bounds.trim_index;
}

// Accounts for n entries fewer; sizes of single entries are not kept, so each counts the average.
static void shard_shrink(struct raftlog *self, struct raftlog_shard *shard, uint64_t n) {
    const uint64_t count = entry_count(shard);
    ASSERT(n <= count);
    const uint64_t gone = n == count ? shard->size : shard->size / count * n;
    shard->size -= gone;
    self->size -= gone;
}

// --- What submit does ---

static void complete_later(struct raftlog_group *group, struct shard_id shard, uint64_t sequence) {
    if (group->count == group->capacity) {
        group->capacity = group->capacity == 0 ? 64 : group->capacity * 2;
        group->items = mem_realloc(group->items, group->capacity * sizeof(*group->items));
    }
    group->items[group->count++] = (struct log_completion){shard, sequence};
}

static void remove_entries(struct engine_batch *batch, struct shard_id shard, uint64_t first,
                           uint64_t last) {
    uint8_t low[RAFTLOG_KEY_SIZE];
    uint8_t high[RAFTLOG_KEY_SIZE];
    if (last - first < RAFTLOG_POINT_REMOVES_MAX) {
        for (uint64_t index = first; index <= last; index++) {
            engine_remove(batch, ENGINE_LOG, raftlog__entry_key(shard, index, low));
        }
        return;
    }
    engine_remove_range(batch, ENGINE_LOG, raftlog__entry_key(shard, first, low),
                        raftlog__entry_key(shard, last + 1, high));
}

// In memory only: new entries overwrite the keys of old ones, and only what remains beyond the new
// end has to be removed from the store.
static void truncate(struct raftlog *self, struct raftlog_shard *shard, uint64_t from) {
    ASSERT(from > shard->bounds.trim_index);
    if (from > shard->bounds.last_index) { return; }
    MARK("raftlog.truncate");
    const uint64_t n = shard->bounds.last_index - from + 1;
    const uint32_t pending = shard->pending_count;
    shard_shrink(self, shard, n);
    raftlog__pending_pop_newest(shard, n < pending ? (uint32_t)n : pending);
    raftlog__marks_truncate(shard, from);
    shard->bounds.last_index = from - 1;
}

static void append(struct raftlog *self, struct raftlog_shard *shard,
                   const struct log_entry *entry) {
    struct raftlog_group *group = self->gathering;
    uint8_t key[RAFTLOG_KEY_SIZE];
    ASSERT(entry->index == shard->bounds.last_index + 1);
    ASSERT(entry->owner != NULL);
    engine_put(group->batch, ENGINE_LOG,
               raftlog__entry_key((struct shard_id){shard->id}, entry->index, key), entry->record);
    raftlog__pending_push(shard, entry, group->number);
    if (entry->kind == LOG_ENTRY_CONFIG) {
        raftlog__mark_push(shard, entry->index, entry->payload);
    }
    shard->bounds.last_index = entry->index;
    shard->size += entry->record.size;
    self->size += entry->record.size;
    self->stats.entries++;
    self->stats.bytes += entry->record.size;
}

static void put_hard_state(struct raftlog *self, struct raftlog_shard *shard,
                           const struct log_hard_state *state) {
    ASSERT(state->term >= shard->bounds.hard_state.term);
    shard->bounds.hard_state = *state;
    raftlog__hard_state_encode(&self->scratch, state);
    raftlog__put_scratch(self, shard, RAFTLOG_HARD_STATE);
}

// The record of where the entries begin, with the membership in force there.
static void put_start(struct raftlog *self, const struct raftlog_shard *shard) {
    const struct log_bounds *bounds = &shard->bounds;
    struct raftlog_start start = {.index = bounds->trim_index, .term = bounds->trim_term};
    if (shard->base.index == start.index) {
        start.ceiling = shard->base.ceiling;
        start.timestamp = shard->base.timestamp;
    }
    if (shard->mark_count > 0 && shard->marks[0].index <= start.index) {
        start.membership_index = shard->marks[0].index;
        start.membership = bytes_slice(shard->marks[0].encoded);
    }
    raftlog__start_encode(&self->scratch, &start);
    raftlog__put_scratch(self, shard, RAFTLOG_START);
}

// Everything that the store holds of the shard's entries goes by range: also those of a damaged
// log, whose indexes nobody knows.
static void begin_anew(struct raftlog *self, struct raftlog_shard *shard,
                       const struct log_base *base) {
    uint8_t low[RAFTLOG_KEY_SIZE];
    uint8_t high[RAFTLOG_KEY_SIZE];
    const struct shard_id id = {shard->id};
    struct log_bounds *bounds = &shard->bounds;
    MARK("raftlog.base");
    ASSERT(base->index > 0 && base->index < UINT64_MAX);
    engine_remove_range(self->gathering->batch, ENGINE_LOG, raftlog__entry_key(id, 0, low),
                        raftlog__entry_key(id, UINT64_MAX, high));
    engine_remove(self->gathering->batch, ENGINE_LOG, raftlog__shard_key(id, RAFTLOG_DAMAGE, low));
    raftlog__pending_pop_newest(shard, shard->pending_count);
    raftlog__marks_truncate(shard, 0);
    self->size -= shard->size;
    shard->size = 0;
    shard->damage = (struct raftlog_damage){0};
    shard->damage_text = NULL;
    shard->base = (struct raftlog_base){base->index, base->ceiling, base->timestamp};
    bounds->trim_index = base->index;
    bounds->trim_term = base->term;
    bounds->last_index = base->index;
    if (base->membership.size > 0) { raftlog__mark_push(shard, base->index, base->membership); }
    put_start(self, shard);
}

static void submit_one(struct raftlog *self, const struct log_write *write) {
    struct raftlog_shard *shard = raftlog__ensure(self, write->shard);
    ASSERT_IF(write->base != NULL, write->truncate_from == 0);
    shard->alive = true;
    if (write->base != NULL) { begin_anew(self, shard, write->base); }
    const uint64_t old_last = shard->bounds.last_index;
    if (write->hard_state != NULL) {
        put_hard_state(self, shard, write->hard_state);
    } else if (write->base != NULL) {
        // The record on disk may be what was damaged.
        const struct log_hard_state present = shard->bounds.hard_state;
        put_hard_state(self, shard, &present);
    }
    if (write->truncate_from > 0) { truncate(self, shard, write->truncate_from); }
    for (uint32_t i = 0; i < write->entry_count; i++) {
        append(self, shard, &write->entries[i]);
    }
    if (shard->bounds.last_index < old_last) {
        remove_entries(self->gathering->batch, write->shard, shard->bounds.last_index + 1,
                       old_last);
    }
    raftlog__settle(shard);
    complete_later(self->gathering, write->shard, write->sequence);
    self->stats.writes++;
}

// --- The port ---

static void store_submit(void *ctx, const struct log_write *writes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        submit_one(ctx, &writes[i]);
    }
}

static enum status store_bounds(void *ctx, struct shard_id shard, struct log_bounds *out) {
    const struct raftlog_shard *found = raftlog__find(ctx, shard);
    *out = found != NULL ? found->bounds : (struct log_bounds){0};
    return STATUS_OK;  // what cannot be trusted is named in the bounds
}

static void store_trim(void *ctx, struct shard_id id, uint64_t index, uint64_t term) {
    struct raftlog *self = ctx;
    struct raftlog_shard *shard = raftlog__ensure(self, id);
    struct log_bounds *bounds = &shard->bounds;
    ASSERT(index < UINT64_MAX);
    if (index <= bounds->trim_index) { return; }
    ASSERT(term >= bounds->trim_term);
    shard->alive = true;
    const uint64_t last = index < bounds->last_index ? index : bounds->last_index;
    if (last > bounds->trim_index) {
        const uint64_t pending = raftlog__pending_first(shard);
        remove_entries(self->gathering->batch, id, bounds->trim_index + 1, last);
        shard_shrink(self, shard, last - bounds->trim_index);
        if (last >= pending) { raftlog__pending_pop_oldest(shard, (uint32_t)(last - pending + 1)); }
    }
    bounds->trim_index = index;
    bounds->trim_term = term;
    if (bounds->last_index < index) { bounds->last_index = index; }
    raftlog__marks_trim(shard, index);
    put_start(self, shard);
    raftlog__settle(shard);
}

// A removed shard's owner is gone; and the id may come back with sequences of its own.
static void forget_completions(struct raftlog_group *group, struct shard_id shard) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        if (!shard_id_equal(group->items[i].shard, shard)) {
            group->items[kept++] = group->items[i];
        }
    }
    group->count = kept;
}

// The range removal and the tombstone are of one batch: there is no moment without either the
// shard or its tombstone.
static void store_remove(void *ctx, struct shard_id id, uint64_t incarnation) {
    struct raftlog *self = ctx;
    struct raftlog_shard *shard = raftlog__ensure(self, id);
    uint8_t low[RAFTLOG_SHARD_KEY_SIZE];
    uint8_t high[RAFTLOG_SHARD_KEY_SIZE];
    const uint64_t before = shard->bounds.removed_incarnation;
    const uint64_t removed = incarnation > before ? incarnation : before;
    engine_remove_range(self->gathering->batch, ENGINE_LOG,
                        raftlog__shard_key(id, RAFTLOG_HARD_STATE, low),
                        raftlog__shard_key(id, RAFTLOG_KEY_END, high));
    forget_completions(self->gathering, id);
    // While they are delivered, the list is the callback's.
    if (self->writing != NULL && !self->delivering) { forget_completions(self->writing, id); }
    self->size -= shard->size;
    shard_free(self, shard);
    if (removed == 0) { return; }
    shard = raftlog__ensure(self, id);
    shard->bounds.removed_incarnation = removed;
    raftlog__tombstone_encode(&self->scratch, removed);
    raftlog__put_scratch(self, shard, RAFTLOG_TOMBSTONE);
}

// --- Groups ---

static bool has_work(const struct raftlog_group *group) {
    return group->count > 0 || engine_batch_count(group->batch) > 0;
}

void raftlog_turn(struct raftlog *self) {
    // A writer that finishes at once comes back here from inside start(): a loop, not recursion.
    if (self->starting) { return; }
    self->starting = true;
    while (self->writing == NULL && has_work(self->gathering)) {
        struct raftlog_group *group = self->gathering;
        struct raftlog_group *other =
            group == &self->groups[0] ? &self->groups[1] : &self->groups[0];
        ASSERT(!has_work(other));
        other->number = group->number + 1;
        self->gathering = other;
        self->writing = group;
        self->config.writer.start(self->config.writer.ctx, group);
    }
    self->starting = false;
}

void raftlog_group_write(struct raftlog_group *group) {
    // A write that changes nothing still completes, in its turn.
    if (engine_batch_count(group->batch) == 0) { return; }
    const enum status st = engine_write(group->engine, group->batch, true);
    // Never tried again: after a failed sync nobody knows what the disk holds (ATC 2020).
    if (st != STATUS_OK && !MUTANT(SYNC_ERROR_IGNORED)) {
        FATAL("the raft log could not be written: %s", status_text(st));
    }
}

// Entries that the finished group made durable need no place in memory.
static void release_durable(struct raftlog *self, const struct raftlog_group *group) {
    for (uint32_t i = 0; i < group->count; i++) {
        struct raftlog_shard *shard = raftlog__find(self, group->items[i].shard);
        ASSERT(shard != NULL);
        uint32_t n = 0;
        while (n < shard->pending_count && raftlog__pending_at(shard, n)->group <= group->number) {
            n++;
        }
        raftlog__pending_pop_oldest(shard, n);
    }
}

void raftlog_group_done(struct raftlog *self, struct raftlog_group *group) {
    ASSERT(group == self->writing);
    ASSERT(!self->delivering);
    self->stats.groups++;
    release_durable(self, group);
    if (group->count > 0) {
        self->delivering = true;
        self->config.durable(self->config.durable_ctx, group->items, group->count);
        self->delivering = false;
    }
    engine_batch_clear(group->batch);
    group->count = 0;
    self->writing = NULL;
    raftlog_turn(self);
}

// --- Life ---

static void group_init(struct raftlog_group *group, struct engine *engine) {
    group->engine = engine;
    group->batch = engine_batch_create(engine);
    group->number = 1;
}

static void group_deinit(struct raftlog_group *group) {
    engine_batch_destroy(group->batch);
    mem_free(group->items);
}

enum status raftlog_open(const struct raftlog_config *config, struct raftlog **out_log,
                         struct err *err) {
    ASSERT(config->engine != NULL);
    ASSERT(config->writer.start != NULL);
    ASSERT(config->durable != NULL);
    struct raftlog *self = mem_alloc(sizeof(*self));
    self->config = *config;
    self->store = (struct log_store){
        .ctx = self,
        .submit = store_submit,
        .bounds = store_bounds,
        .read = raftlog__read,
        .trim = store_trim,
        .memberships = raftlog__memberships,
        .remove = store_remove,
    };
    buf_init(&self->scratch, RAFTLOG_RECORD_SIZE_MAX + CODEC_ENVELOPE_SIZE);
    self->cursor = engine_cursor_create(config->engine, ENGINE_LOG);
    group_init(&self->groups[0], config->engine);
    group_init(&self->groups[1], config->engine);
    self->gathering = &self->groups[0];
    const enum status st = raftlog__recover(self, err);
    if (st != STATUS_OK) {
        raftlog_destroy(self);
        return st;
    }
    raftlog_check(self);
    *out_log = self;
    return STATUS_OK;
}

void raftlog_destroy(struct raftlog *self) {
    if (self == NULL) { return; }
    ASSERT(!self->delivering);
    struct raftlog_shard *shard = NULL;
    struct raftlog_shard *next = NULL;
    HASH_ITER (hh, self->shards, shard, next) {
        shard_free(self, shard);
    }
    group_deinit(&self->groups[0]);
    group_deinit(&self->groups[1]);
    engine_cursor_destroy(self->cursor);
    buf_deinit(&self->scratch);
    mem_free(self);
}

const struct log_store *raftlog_store(struct raftlog *self) {
    return &self->store;
}

void raftlog_each(struct raftlog *self,
                  void (*visit)(void *ctx, struct shard_id shard, const struct log_bounds *bounds),
                  void *ctx) {
    struct raftlog_shard *shard = NULL;
    struct raftlog_shard *next = NULL;
    HASH_ITER (hh, self->shards, shard, next) {
        if (shard->alive) { visit(ctx, (struct shard_id){shard->id}, &shard->bounds); }
    }
}

const char *raftlog_damage_text(const struct raftlog *self, struct shard_id shard) {
    const struct raftlog_shard *found = raftlog__find(self, shard);
    return found != NULL && found->damage.from != 0 ? found->damage_text : NULL;
}

uint64_t raftlog_size(const struct raftlog *self) {
    return self->size;
}

bool raftlog_is_busy(const struct raftlog *self) {
    return self->writing != NULL || has_work(self->gathering);
}

struct raftlog_stats raftlog_stats(const struct raftlog *self) {
    return self->stats;
}

static void check_marks(const struct raftlog_shard *shard) {
    for (uint32_t i = 0; i < shard->mark_count; i++) {
        ASSERT(shard->marks[i].index <= shard->bounds.last_index);
        ASSERT_IF(i > 0, shard->marks[i].index > shard->bounds.trim_index);
        ASSERT_IF(i > 0, shard->marks[i].index > shard->marks[i - (i > 0)].index);
    }
    ASSERT_IF(!shard->alive, shard->bounds.last_index == 0 && shard->mark_count == 0);
}

void raftlog_check(const struct raftlog *self) {
    uint64_t size = 0;
    for (const struct raftlog_shard *s = self->shards; s != NULL; s = s->hh.next) {
        ASSERT(s->bounds.trim_index <= s->bounds.last_index);
        ASSERT(s->pending_count <= entry_count(s));
        ASSERT_IF(entry_count(s) == 0, s->size == 0);
        check_marks(s);
        for (uint32_t i = 0; i < s->pending_count; i++) {
            const struct raftlog_pending *p = raftlog__pending_at(s, i);
            ASSERT(p->entry.index == raftlog__pending_first(s) + i);
            ASSERT(p->group <= self->gathering->number);
            ASSERT_IF(i > 0, raftlog__pending_at(s, i == 0 ? 0 : i - 1)->group <= p->group);
        }
        size += s->size;
    }
    ASSERT(size == self->size);
}
