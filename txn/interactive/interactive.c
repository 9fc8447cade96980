// SPDX-License-Identifier: Apache-2.0
// Mutations, sorted by key and disjoint at any time, so that the commit takes them as they are:
//
//   put or delete k    replaces what k has; a delete_range around k is cut in two
//   delete_range       takes in all that lies in it, and unites with ranges that it meets
//   merge of k         a first one stands; another of its type joins it; on anything else of k it
//                      is refused, because a commit changes a key once
//
// Pointers are what is moved to make room: ten thousand writes in the worst order move 400 MB in
// all, which is less than the commit costs. Rejected: a tree, for that.
#include "txn/interactive/interactive.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/command/command_merge.h"
#include "txn/interactive/interactive_internal.h"

#include <stdlib.h>
#include <string.h>

enum { GROWTH_MIN = 16 };

void interactive_init(struct interactive *self, size_t bytes_max) {
    *self = (struct interactive){.bytes_max = bytes_max};
}

void interactive_deinit(struct interactive *self) {
    for (uint32_t i = 0; i < self->entry_count; i++) {
        mem_free(self->entries[i]);
    }
    for (uint32_t i = 0; i < self->read_count; i++) {
        mem_free(self->reads[i]);
    }
    mem_free((void *)self->entries);
    mem_free((void *)self->reads);
    mem_free(self->mutations);
    mem_free(self->spans);
    *self = (struct interactive){0};
}

uint32_t interactive_mutations(const struct interactive *self) {
    return self->entry_count;
}

uint32_t interactive_reads(const struct interactive *self) {
    return self->read_count;
}

// --- What both lists need ---

enum status interactive__no_memory(struct interactive_refusal *out) {
    out->limit = 0;
    return err_set(&out->err, STATUS_RESOURCE_EXHAUSTED, "no memory to keep the transaction");
}

enum status interactive__grow(void **list, uint32_t *capacity, uint32_t count) {
    if (count < *capacity) { return STATUS_OK; }
    const uint32_t wanted = *capacity < GROWTH_MIN ? GROWTH_MIN : 2 * *capacity;
    void *grown = mem_try_realloc(*list, wanted * sizeof(void *));
    if (grown == NULL) { return STATUS_RESOURCE_EXHAUSTED; }
    *list = grown;
    *capacity = wanted;
    return STATUS_OK;
}

enum status interactive__admit(const struct interactive *self, size_t bytes,
                               struct interactive_refusal *out) {
    if (self->entry_count + self->read_count >= COMMAND_OPS_MAX) {
        MARK("interactive.too_many");
        out->limit = COMMAND_OPS_MAX;
        return err_set(&out->err, STATUS_INVALID_ARGUMENT,
                       "a transaction has at most %d mutations and reads", COMMAND_OPS_MAX);
    }
    if (bytes > self->bytes_max || self->bytes > self->bytes_max - bytes) {
        MARK("interactive.too_large");
        out->limit = self->bytes_max;
        return err_set(&out->err, STATUS_INVALID_ARGUMENT,
                       "the keys and values of a transaction have at most %zu bytes",
                       self->bytes_max);
    }
    return STATUS_OK;
}

// Keys have at most SHARD_KEY_SIZE_MAX bytes: behind one of that size comes no longer one.
struct slice interactive__successor(struct slice key, uint8_t out[SHARD_KEY_SIZE_MAX]) {
    ASSERT(key.size >= SHARD_KEYSPACE_PREFIX_SIZE && key.size <= SHARD_KEY_SIZE_MAX);
    memcpy(out, key.data, key.size);
    if (key.size < SHARD_KEY_SIZE_MAX) {
        out[key.size] = 0;
        return slice_make(out, key.size + 1);
    }
    size_t size = key.size;
    while (size > SHARD_KEYSPACE_PREFIX_SIZE && out[size - 1] == UINT8_MAX) {
        size--;
    }
    // A key does not begin with the system's two bytes of ones, so one below them is left.
    ASSERT(size > SHARD_KEYSPACE_PREFIX_SIZE);
    out[size - 1]++;
    return slice_make(out, size);
}

// --- Entries ---

static size_t entry_size(const struct command_mutation *mutation) {
    return mutation->key.size + mutation->value.size;
}

static bool is_range(const struct interactive_entry *entry) {
    return entry->mutation.kind == COMMAND_DELETE_RANGE;
}

uint32_t interactive__at(const struct interactive *self, struct slice key) {
    uint32_t low = 0;
    uint32_t high = self->entry_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (slice_compare(self->entries[middle]->mutation.key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// The place of the entry that decides `key`, or entry_count.
static uint32_t deciding(const struct interactive *self, struct slice key) {
    const uint32_t at = interactive__at(self, key);
    if (at < self->entry_count && slice_equal(self->entries[at]->mutation.key, key)) { return at; }
    if (at == 0 || !is_range(self->entries[at - 1])) { return self->entry_count; }
    return slice_compare(key, self->entries[at - 1]->mutation.value) < 0 ? at - 1
                                                                         : self->entry_count;
}

const struct interactive_entry *interactive__entry_of(const struct interactive *self,
                                                      struct slice key) {
    const uint32_t at = deciding(self, key);
    return at < self->entry_count ? self->entries[at] : NULL;
}

// Keeps a copy of the mutation, whose place and disjointness are the caller's care.
static enum status insert(struct interactive *self, const struct command_mutation *mutation,
                          uint64_t order, struct interactive_refusal *out) {
    const size_t size = entry_size(mutation);
    const enum status st = interactive__admit(self, size, out);
    if (st != STATUS_OK) { return st; }
    struct interactive_entry *entry = mem_try_alloc(sizeof(*entry) + size);
    void *list = (void *)self->entries;
    if (entry == NULL ||
        interactive__grow(&list, &self->entry_capacity, self->entry_count) != STATUS_OK) {
        mem_free(entry);
        return interactive__no_memory(out);
    }
    self->entries = list;
    const uint32_t at = interactive__at(self, mutation->key);
    memcpy(entry->bytes, mutation->key.data, mutation->key.size);
    if (mutation->value.size > 0) {
        memcpy(entry->bytes + mutation->key.size, mutation->value.data, mutation->value.size);
    }
    entry->order = order;
    entry->mutation = (struct command_mutation){
        .kind = mutation->kind,
        .key = slice_make(entry->bytes, mutation->key.size),
        .value = slice_make(entry->bytes + mutation->key.size, mutation->value.size)};
    memmove((void *)&self->entries[at + 1], (void *)&self->entries[at],
            (self->entry_count - at) * sizeof(self->entries[0]));
    self->entries[at] = entry;
    self->entry_count++;
    self->bytes += size;
    return STATUS_OK;
}

// Takes `count` entries out; they are freed, so no view of them may be used any more.
static void remove_entries(struct interactive *self, uint32_t at, uint32_t count) {
    ASSERT(at + count <= self->entry_count);
    if (count == 0) { return; }
    for (uint32_t i = at; i < at + count; i++) {
        self->bytes -= entry_size(&self->entries[i]->mutation);
        mem_free(self->entries[i]);
    }
    memmove((void *)&self->entries[at], (void *)&self->entries[at + count],
            (self->entry_count - at - count) * sizeof(self->entries[0]));
    self->entry_count -= count;
}

// --- Writes ---

// A range with a hole in it, where `key` is. Views of the range live in its copies.
static enum status cut_range(struct interactive *self, uint32_t at, struct slice key,
                             struct interactive_refusal *out) {
    uint8_t next[SHARD_KEY_SIZE_MAX];
    MARK("interactive.range_cut");
    struct interactive_entry *range = self->entries[at];
    // Out of the list first, for its pieces begin where it begins.
    memmove((void *)&self->entries[at], (void *)&self->entries[at + 1],
            (self->entry_count - at - 1) * sizeof(self->entries[0]));
    self->entry_count--;
    self->bytes -= entry_size(&range->mutation);
    struct command_mutation left = {COMMAND_DELETE_RANGE, range->mutation.key, key};
    struct command_mutation right = {COMMAND_DELETE_RANGE, interactive__successor(key, next),
                                     range->mutation.value};
    enum status st = STATUS_OK;
    if (slice_compare(left.key, left.value) < 0) { st = insert(self, &left, range->order, out); }
    if (st == STATUS_OK && slice_compare(right.key, right.value) < 0 &&
        !command_key_is_reserved(right.key)) {
        st = insert(self, &right, range->order, out);
    }
    mem_free(range);
    return st;
}

static enum status write_key(struct interactive *self, const struct command_mutation *mutation,
                             struct interactive_refusal *out) {
    uint64_t order = self->next_order++;
    const uint32_t at = deciding(self, mutation->key);
    if (at < self->entry_count && is_range(self->entries[at])) {
        if (mutation->kind == COMMAND_DELETE) { return STATUS_OK; }
        const enum status st = cut_range(self, at, mutation->key, out);
        if (st != STATUS_OK) { return st; }
    } else if (at < self->entry_count) {
        order = self->entries[at]->order;
        remove_entries(self, at, 1);
    }
    return insert(self, mutation, order, out);
}

// Everything from the first entry that reaches into the range to the last that begins in it.
static enum status write_range(struct interactive *self, const struct command_mutation *mutation,
                               struct interactive_refusal *out) {
    uint8_t start[SHARD_KEY_SIZE_MAX];
    uint8_t end[SHARD_KEY_SIZE_MAX];
    struct command_mutation united = *mutation;
    uint64_t order = self->next_order++;
    uint32_t first = interactive__at(self, mutation->key);
    if (first > 0 && is_range(self->entries[first - 1]) &&
        slice_compare(mutation->key, self->entries[first - 1]->mutation.value) < 0) {
        first--;
    }
    uint32_t last = first;
    while (last < self->entry_count &&
           slice_compare(self->entries[last]->mutation.key, mutation->value) < 0) {
        const struct interactive_entry *entry = self->entries[last++];
        if (entry->order < order) { order = entry->order; }
        if (!is_range(entry)) { continue; }
        if (slice_compare(entry->mutation.key, united.key) < 0) {
            united.key = entry->mutation.key;
        }
        if (slice_compare(entry->mutation.value, united.value) > 0) {
            united.value = entry->mutation.value;
        }
    }
    memcpy(start, united.key.data, united.key.size);
    memcpy(end, united.value.data, united.value.size);
    united.key.data = start;
    united.value.data = end;
    remove_entries(self, first, last - first);
    return insert(self, &united, order, out);
}

// --- Merges ---

static enum status refuse_merge(struct interactive_refusal *out, const char *why) {
    MARK("interactive.merge_refused");
    out->limit = 0;
    return err_set(&out->err, STATUS_INVALID_ARGUMENT, "merge: %s", why);
}

static int64_t add_saturating(int64_t a, int64_t b) {
    int64_t sum = 0;
    if (!__builtin_add_overflow(a, b, &sum)) { return sum; }
    return a < 0 ? INT64_MIN : INT64_MAX;
}

// Both amounts at once, within bounds that hold exactly when both bounds hold one after the other:
// v + a in [min, max] is v + a + b in [min + b, max + b].
static enum status join_counters(const struct command_merge *first,
                                 const struct command_merge *second, struct command_merge *out,
                                 struct interactive_refusal *refusal) {
    *out = *second;
    if (__builtin_add_overflow(first->amount, second->amount, &out->amount)) {
        return refuse_merge(refusal, "the amounts of one key exceed 64 bits together");
    }
    if (first->has_min) {
        const int64_t min = add_saturating(first->min, second->amount);
        if (!out->has_min || out->min < min) { out->min = min; }
        out->has_min = true;
    }
    if (first->has_max) {
        const int64_t max = add_saturating(first->max, second->amount);
        if (!out->has_max || out->max > max) { out->max = max; }
        out->has_max = true;
    }
    if (out->has_min && out->has_max && out->min > out->max) {
        return refuse_merge(refusal, "the bounds of two of one key can never hold together");
    }
    return STATUS_OK;
}

static enum status join(const struct command_merge *first, const struct command_merge *second,
                        struct command_merge *out, struct interactive_refusal *refusal) {
    if (first->type != second->type) {
        return refuse_merge(refusal, "the transaction has one of another type for the key");
    }
    switch (first->type) {
    case COMMAND_MERGE_COUNTER:
    case COMMAND_MERGE_GROW_COUNTER:
        return join_counters(first, second, out, refusal);
    case COMMAND_MERGE_GROW_SET:
    case COMMAND_MERGE_SET:
        if (!slice_equal(first->element, second->element)) {
            return refuse_merge(refusal, "a transaction changes one element of a set");
        }
        *out = *second;
        return STATUS_OK;
    case COMMAND_MERGE_REGISTER:
        *out = *second;
        return STATUS_OK;
    case COMMAND_MERGE_TYPE_COUNT:
        break;
    }
    ASSERT(false);
    return STATUS_INVALID_ARGUMENT;
}

static enum status write_joined(struct interactive *self, struct slice key,
                                const struct command_merge *merge,
                                struct interactive_refusal *out) {
    struct codec_writer w;
    struct buf encoded;
    buf_init(&encoded, COMMAND_MERGE_SIZE_MAX);
    codec_writer_init(&w, &encoded);
    command_merge_encode(&w, merge);
    enum status st = w.status;
    if (st == STATUS_OK) {
        const struct command_mutation joined = {COMMAND_MERGE, key, buf_slice(&encoded)};
        st = write_key(self, &joined, out);
    } else {
        st = interactive__no_memory(out);
    }
    buf_deinit(&encoded);
    return st;
}

static enum status write_merge(struct interactive *self, const struct command_mutation *mutation,
                               struct interactive_refusal *out) {
    const struct interactive_entry *entry = interactive__entry_of(self, mutation->key);
    struct command_merge first;
    struct command_merge second;
    struct command_merge joined;
    if (entry == NULL) { return write_key(self, mutation, out); }
    if (entry->mutation.kind != COMMAND_MERGE) {
        return refuse_merge(out, "the transaction has put or deleted the key, and a commit changes "
                                 "a key once");
    }
    enum status st = command_merge_decode(entry->mutation.value, &first);
    ASSERT(st == STATUS_OK);
    st = command_merge_decode(mutation->value, &second);
    ASSERT(st == STATUS_OK);
    st = join(&first, &second, &joined, out);
    return st == STATUS_OK ? write_joined(self, mutation->key, &joined, out) : st;
}

enum status interactive_write(struct interactive *self, const struct command_mutation *mutation,
                              struct interactive_refusal *out) {
    ASSERT(mutation->key.size >= SHARD_KEYSPACE_PREFIX_SIZE);
    switch (mutation->kind) {
    case COMMAND_PUT:
    case COMMAND_DELETE:
        return write_key(self, mutation, out);
    case COMMAND_DELETE_RANGE:
        return write_range(self, mutation, out);
    case COMMAND_MERGE:
        return write_merge(self, mutation, out);
    case COMMAND_MUTATION_KIND_COUNT:
        break;
    }
    ASSERT(false);
    return STATUS_INVALID_ARGUMENT;
}

// --- The commit ---

static int compare_orders(const void *left, const void *right) {
    const struct interactive_entry *a = *(const struct interactive_entry *const *)left;
    const struct interactive_entry *b = *(const struct interactive_entry *const *)right;
    if (a->order != b->order) { return a->order < b->order ? -1 : 1; }
    return slice_compare(a->mutation.key, b->mutation.key);
}

static bool place_mutations(struct interactive *self) {
    const struct interactive_entry **sorted = (const struct interactive_entry **)mem_try_alloc(
        (self->entry_count + 1) * sizeof(sorted[0]));
    self->mutations = mem_try_alloc((self->entry_count + 1) * sizeof(self->mutations[0]));
    const bool ok = sorted != NULL && self->mutations != NULL;
    if (ok && self->entry_count > 0) {
        memcpy((void *)sorted, (const void *)self->entries, self->entry_count * sizeof(sorted[0]));
        qsort((void *)sorted, self->entry_count, sizeof(sorted[0]), compare_orders);
    }
    for (uint32_t i = 0; ok && i < self->entry_count; i++) {
        self->mutations[i] = sorted[i]->mutation;
    }
    mem_free((void *)sorted);
    return ok;
}

enum status interactive_commit(struct interactive *self, struct command_commit *out) {
    mem_free(self->mutations);
    mem_free(self->spans);
    self->mutations = NULL;
    self->spans = mem_try_alloc((self->read_count + 1) * sizeof(self->spans[0]));
    if (self->spans == NULL || !place_mutations(self)) { return STATUS_RESOURCE_EXHAUSTED; }
    for (uint32_t i = 0; i < self->read_count; i++) {
        self->spans[i] = self->reads[i]->span;
    }
    *out = (struct command_commit){.read_count = self->read_count,
                                   .reads = self->spans,
                                   .mutation_count = self->entry_count,
                                   .mutations = self->mutations};
    return STATUS_OK;
}

static void check_entries(const struct interactive *self, size_t *bytes) {
    for (uint32_t i = 0; i < self->entry_count; i++) {
        const struct interactive_entry *entry = self->entries[i];
        *bytes += entry_size(&entry->mutation);
        ASSERT(entry->order < self->next_order);
        if (i + 1 == self->entry_count) { break; }
        const struct slice next = self->entries[i + 1]->mutation.key;
        ASSERT(slice_compare(entry->mutation.key, next) < 0);
        ASSERT_IF(is_range(entry), slice_compare(entry->mutation.value, next) <= 0);
    }
}

void interactive_check(const struct interactive *self) {
    size_t bytes = 0;
    check_entries(self, &bytes);
    for (uint32_t i = 0; i < self->read_count; i++) {
        const struct command_span *span = &self->reads[i]->span;
        bytes += span->start.size + span->end.size;
        if (i + 1 == self->read_count) { break; }
        const struct slice next = self->reads[i + 1]->span.start;
        ASSERT(slice_compare(span->start, next) < 0);
        ASSERT_IF(span->end.size > 0, slice_compare(span->end, next) <= 0);
    }
    ASSERT(bytes == self->bytes);
    ASSERT(self->entry_count + self->read_count <= COMMAND_OPS_MAX);
}
