// SPDX-License-Identifier: Apache-2.0
// Locks of one shard: keys in one sorted array, spans in another.
//
// Most shards hold no lock at all and most others a few, for milliseconds: a sorted array of
// pointers is searched faster than any tree and costs no memory when it is empty. A transaction's
// keys are merged in and taken out in one pass each, so thousands of orphans with many keys cost
// the square of nothing but memory moves. Rejected: a tree (a node per key, pointer chasing) and a
// hash (a read of a span must find the locks inside it).
//
// Everything points into the holder's own copy of its prepare.
#include "txn/lock/lock_table.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"
#include "txn/command/command_merge.h"

#define uthash_malloc(size)  mem_alloc(size)
#define uthash_free(p, size) mem_free(p)
#define uthash_fatal(text)   FATAL("locks: %s", text)
#include <uthash.h>

#include <stdlib.h>
#include <string.h>

enum lock_mode { LOCK_READ, LOCK_WRITE, LOCK_MERGE };

struct lock_entry {
    struct lock_holder holder;  // first: the public face is the entry
    uint8_t *copy;
    uint32_t item_count;
    struct lock_entry *older;  // in order of p
    struct lock_entry *newer;
    UT_hash_handle hh;
};

struct lock_item {
    struct slice start;
    struct slice end;  // empty = the key `start` alone
    enum lock_mode mode;
    struct lock_entry *entry;
};

struct lock_items {
    struct lock_item *items;  // ascending by start
    uint32_t count;
    uint32_t capacity;
};

struct lock_table {
    struct lock_entry *by_id;
    struct lock_entry *oldest;
    struct lock_entry *newest;
    struct lock_items keys;
    struct lock_items spans;
};

static bool modes_conflict(enum lock_mode a, enum lock_mode b) {
    return a != b || a == LOCK_WRITE;
}

// --- The locks that a commit wants, one after the other ---

struct wishes {
    struct command_commit_reader reader;
};

static void wishes_init(struct wishes *self, struct slice commit) {
    const enum status st = command_commit_open(&self->reader, commit);
    ASSERT(st == STATUS_OK);  // it was verified
}

static enum lock_mode mode_of(const struct command_mutation *mutation) {
    struct command_merge merge;
    switch (mutation->kind) {
    case COMMAND_MERGE:
        // Those of different types would conflict, too; but the second of them is refused for it.
        if (command_merge_decode(mutation->value, &merge) != STATUS_OK) { break; }
        return command_merge_shares(&merge) ? LOCK_MERGE : LOCK_WRITE;
    case COMMAND_PUT:
    case COMMAND_DELETE:
    case COMMAND_DELETE_RANGE:
        return LOCK_WRITE;
    case COMMAND_MUTATION_KIND_COUNT:
        break;
    }
    ASSERT(false);  // the decoder lets no other kind pass
    return LOCK_WRITE;
}

static bool wishes_next(struct wishes *self, struct lock_item *out) {
    struct command_commit_reader *r = &self->reader;
    enum status st = STATUS_OK;
    *out = (struct lock_item){.mode = LOCK_READ};
    if (r->reads_left > 0) {
        struct command_span read;
        st = command_commit_next_read(r, &read);
        out->start = read.start;
        out->end = read.end;
    } else if (r->conditions_left > 0) {
        struct command_condition condition;
        st = command_commit_next_condition(r, &condition);
        out->start = condition.key;
    } else if (r->mutations_left > 0) {
        struct command_mutation mutation;
        st = command_commit_next_mutation(r, &mutation);
        out->start = mutation.key;
        out->mode = mode_of(&mutation);
        if (mutation.kind == COMMAND_DELETE_RANGE) { out->end = mutation.value; }
    } else {
        return false;
    }
    ASSERT(st == STATUS_OK);
    return true;
}

// --- Items ---

static int compare_items(const void *left, const void *right) {
    const struct lock_item *a = left;
    const struct lock_item *b = right;
    return slice_compare(a->start, b->start);
}

static void items_reserve(struct lock_items *self, uint32_t more) {
    if (self->count + more <= self->capacity) { return; }
    uint32_t capacity = self->capacity == 0 ? 16 : self->capacity;
    while (capacity < self->count + more) {
        capacity *= 2;
    }
    self->items = mem_realloc(self->items, capacity * sizeof(*self->items));
    self->capacity = capacity;
}

// The last `more` items, which are new, are sorted in: from the back, so that each moves once.
static void items_merge(struct lock_items *self, uint32_t more) {
    if (more == 0) { return; }
    const uint32_t old = self->count - more;
    struct lock_item *fresh = mem_alloc(more * sizeof(*fresh));
    memcpy(fresh, self->items + old, more * sizeof(*fresh));
    qsort(fresh, more, sizeof(*fresh), compare_items);
    uint32_t at = self->count;
    uint32_t from_old = old;
    uint32_t from_fresh = more;
    while (from_fresh > 0) {
        const bool takes_old =
            from_old > 0 && compare_items(&self->items[from_old - 1], &fresh[from_fresh - 1]) > 0;
        self->items[--at] = takes_old ? self->items[--from_old] : fresh[--from_fresh];
    }
    mem_free(fresh);
}

static void items_drop(struct lock_items *self, const struct lock_entry *entry) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        if (self->items[i].entry == entry) { continue; }
        if (kept != i) { self->items[kept] = self->items[i]; }
        kept++;
    }
    self->count = kept;
    enum { CAPACITY_KEPT_MAX = 1024 };
    if (kept == 0 && self->capacity > CAPACITY_KEPT_MAX) {
        mem_free(self->items);
        *self = (struct lock_items){0};
    }
}

// The first item at or after the key.
static uint32_t items_lower(const struct lock_items *self, struct slice key) {
    uint32_t low = 0;
    uint32_t high = self->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (slice_compare(self->items[middle].start, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// --- Conflicts ---

// An item of the table and the one that is asked for. An empty end of the one asked for is its
// key alone, unless `unbounded`.
static bool overlaps(const struct lock_item *held, const struct lock_item *asked, bool unbounded) {
    if (held->end.size == 0 && asked->end.size == 0 && !unbounded) {
        return slice_equal(held->start, asked->start);
    }
    const bool ends_before = held->end.size > 0 ? slice_compare(held->end, asked->start) <= 0
                                                : slice_compare(held->start, asked->start) < 0;
    if (ends_before) { return false; }
    if (unbounded) { return true; }
    return asked->end.size > 0 ? slice_compare(held->start, asked->end) < 0
                               : slice_compare(held->start, asked->start) <= 0;
}

struct search {
    const struct lock_item *asked;
    bool unbounded;
    struct txn_id self_id;  // whose own locks are no conflict
    struct hlc_ts up_to;    // only locks prepared at or below
    struct lock_conflict *out;
    bool found;
};

static void meet(struct search *self, const struct lock_item *held) {
    const struct lock_holder *holder = &held->entry->holder;
    const bool in_the_way = modes_conflict(held->mode, self->asked->mode) &&
                            !hlc_before(self->up_to, holder->prepared) &&
                            !txn_id_equal(holder->txn, self->self_id) &&
                            overlaps(held, self->asked, self->unbounded);
    if (!in_the_way) { return; }
    const struct lock_holder *youngest = self->found ? self->out->holder : NULL;
    if (youngest == NULL ||
        txn_is_older(youngest->begin, youngest->txn, holder->begin, holder->txn)) {
        self->out->holder = holder;
        self->out->key = self->asked->start;
    }
    self->found = true;
}

static void search(const struct lock_table *table, struct search *self) {
    const struct lock_items *keys = &table->keys;
    for (uint32_t i = items_lower(keys, self->asked->start); i < keys->count; i++) {
        const struct lock_item *held = &keys->items[i];
        if (!overlaps(held, self->asked, self->unbounded)) { break; }
        meet(self, held);
    }
    for (uint32_t i = 0; i < table->spans.count; i++) {
        meet(self, &table->spans.items[i]);
    }
}

bool lock_table_conflicts(const struct lock_table *self, struct txn_id self_id, struct slice commit,
                          struct lock_conflict *out) {
    if (self->by_id == NULL || MUTANT(LOCK_IGNORED)) { return false; }
    struct wishes wishes;
    struct lock_item asked;
    struct search s = {.asked = &asked, .self_id = self_id, .up_to = HLC_MAX, .out = out};
    wishes_init(&wishes, commit);
    while (wishes_next(&wishes, &asked)) {
        search(self, &s);
    }
    return s.found;
}

bool lock_table_blocks_read(const struct lock_table *self, struct slice key, struct hlc_ts r,
                            struct lock_conflict *out) {
    if (self->by_id == NULL) { return false; }
    const struct lock_item asked = {.start = key, .mode = LOCK_READ};
    struct search s = {.asked = &asked, .up_to = r, .out = out};
    search(self, &s);
    return s.found;
}

bool lock_table_blocks_scan(const struct lock_table *self, struct slice start, struct slice end,
                            struct hlc_ts r, struct lock_conflict *out) {
    if (self->by_id == NULL) { return false; }
    const struct lock_item asked = {.start = start, .end = end, .mode = LOCK_READ};
    struct search s = {.asked = &asked, .unbounded = end.size == 0, .up_to = r, .out = out};
    search(self, &s);
    return s.found;
}

// --- Holders ---

struct lock_table *lock_table_create(void) {
    struct lock_table *self = mem_alloc(sizeof(*self));
    *self = (struct lock_table){0};
    return self;
}

static void entry_free(struct lock_entry *entry) {
    mem_free(entry->copy);
    mem_free(entry);
}

void lock_table_destroy(struct lock_table *self) {
    if (self == NULL) { return; }
    while (self->by_id != NULL) {
        struct lock_entry *entry = self->by_id;
        HASH_DEL(self->by_id, entry);
        entry_free(entry);
    }
    mem_free(self->keys.items);
    mem_free(self->spans.items);
    mem_free(self);
}

// Prepares are applied in the order of their timestamps; what is read back after a restart comes
// in any.
static void link_entry(struct lock_table *self, struct lock_entry *entry) {
    struct lock_entry *after = self->newest;
    while (after != NULL && hlc_before(entry->holder.prepared, after->holder.prepared)) {
        after = after->older;
    }
    entry->older = after;
    entry->newer = after == NULL ? self->oldest : after->newer;
    *(after == NULL ? &self->oldest : &after->newer) = entry;
    *(entry->newer == NULL ? &self->newest : &entry->newer->older) = entry;
}

static void unlink_entry(struct lock_table *self, struct lock_entry *entry) {
    *(entry->older == NULL ? &self->oldest : &entry->older->newer) = entry->newer;
    *(entry->newer == NULL ? &self->newest : &entry->newer->older) = entry->older;
}

static void take_items(struct lock_table *self, struct lock_entry *entry, struct slice part) {
    struct wishes wishes;
    struct lock_item item;
    uint32_t keys = 0;
    uint32_t spans = 0;
    wishes_init(&wishes, part);
    while (wishes_next(&wishes, &item)) {
        if (MUTANT(READ_LOCK_SKIPPED) && item.mode == LOCK_READ) { continue; }
        struct lock_items *items = item.end.size > 0 ? &self->spans : &self->keys;
        items_reserve(items, 1);
        item.entry = entry;
        items->items[items->count++] = item;
        *(item.end.size > 0 ? &spans : &keys) += 1;
    }
    items_merge(&self->keys, keys);
    items_merge(&self->spans, spans);
    entry->item_count = keys + spans;
}

void lock_table_add(struct lock_table *self, const struct lock_holder *holder) {
    ASSERT(lock_table_find(self, holder->txn) == NULL);
    ASSERT(holder->prepared.v != 0);
    struct lock_entry *entry = mem_alloc(sizeof(*entry));
    *entry = (struct lock_entry){0};
    entry->copy = mem_alloc(holder->prepare.size);
    memcpy(entry->copy, holder->prepare.data, holder->prepare.size);
    entry->holder = *holder;
    entry->holder.prepare = slice_make(entry->copy, holder->prepare.size);
    struct command_prepare_view view;
    const enum status st = command_prepare_decode(entry->holder.prepare, &view);
    ASSERT(st == STATUS_OK);
    HASH_ADD(hh, self->by_id, holder.txn, sizeof(entry->holder.txn), entry);
    link_entry(self, entry);
    take_items(self, entry, view.part);
}

static struct lock_entry *find(const struct lock_table *self, struct txn_id txn) {
    struct lock_entry *entry = NULL;
    HASH_FIND(hh, self->by_id, &txn, sizeof(txn), entry);
    return entry;
}

bool lock_table_remove(struct lock_table *self, struct txn_id txn) {
    struct lock_entry *entry = find(self, txn);
    if (entry == NULL) { return false; }
    items_drop(&self->keys, entry);
    items_drop(&self->spans, entry);
    unlink_entry(self, entry);
    HASH_DEL(self->by_id, entry);
    entry_free(entry);
    return true;
}

const struct lock_holder *lock_table_find(const struct lock_table *self, struct txn_id txn) {
    const struct lock_entry *entry = find(self, txn);
    return entry == NULL ? NULL : &entry->holder;
}

uint32_t lock_table_count(const struct lock_table *self) {
    return HASH_COUNT(self->by_id);
}

struct hlc_ts lock_table_min_prepared(const struct lock_table *self) {
    return self->oldest == NULL ? HLC_MAX : self->oldest->holder.prepared;
}

void lock_table_each(const struct lock_table *self,
                     bool (*visit)(void *ctx, const struct lock_holder *holder), void *ctx) {
    for (const struct lock_entry *entry = self->oldest; entry != NULL; entry = entry->newer) {
        if (!visit(ctx, &entry->holder)) { return; }
    }
}

// --- Checks ---

static void check_items(const struct lock_items *self, bool spans) {
    for (uint32_t i = 0; i < self->count; i++) {
        ASSERT((self->items[i].end.size > 0) == spans);
        ASSERT(i == 0 || compare_items(&self->items[i - 1], &self->items[i]) <= 0);
    }
}

void lock_table_check(const struct lock_table *self) {
    uint32_t items = 0;
    uint32_t entries = 0;
    for (const struct lock_entry *entry = self->oldest; entry != NULL; entry = entry->newer) {
        ASSERT(entry->newer != NULL || entry == self->newest);
        ASSERT(entry->newer == NULL ||
               !hlc_before(entry->newer->holder.prepared, entry->holder.prepared));
        items += entry->item_count;
        entries++;
    }
    ASSERT(entries == HASH_COUNT(self->by_id));
    ASSERT(items == self->keys.count + self->spans.count);
    check_items(&self->keys, false);
    check_items(&self->spans, true);
}
