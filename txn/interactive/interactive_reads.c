// SPDX-License-Identifier: Apache-2.0
// What a transaction depends on, and what it did to a key itself. Reads are kept as disjoint spans,
// the fewer the better: each is looked up when the commit is validated.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "txn/command/command_merge.h"
#include "txn/interactive/interactive_internal.h"

#include <string.h>

// --- What the transaction did ---

enum interactive_found interactive_find(const struct interactive *self, struct slice key,
                                        struct slice *out_value) {
    const struct interactive_entry *entry = interactive__entry_of(self, key);
    *out_value = SLICE_EMPTY;
    if (entry == NULL) { return INTERACTIVE_UNTOUCHED; }
    switch (entry->mutation.kind) {
    case COMMAND_PUT:
        *out_value = entry->mutation.value;
        return INTERACTIVE_PUT;
    case COMMAND_DELETE:
    case COMMAND_DELETE_RANGE:
        return INTERACTIVE_DELETED;
    case COMMAND_MERGE:
        *out_value = entry->mutation.value;
        return INTERACTIVE_MERGED;
    case COMMAND_MUTATION_KIND_COUNT:
        break;
    }
    ASSERT(false);
    return INTERACTIVE_UNTOUCHED;
}

enum status interactive_fold(struct slice merge, struct slice before, bool exists,
                             struct buf *out) {
    struct command_merge operation;
    enum status st = command_merge_decode(merge, &operation);
    ASSERT(st == STATUS_OK);
    st = command_merge_apply(&operation, exists ? before : SLICE_EMPTY, exists, out);
    return st == STATUS_OK ? STATUS_OK : STATUS_FAILED_PRECONDITION;
}

// --- What it depends on ---

static uint32_t first_at(const struct interactive *self, struct slice start) {
    uint32_t low = 0;
    uint32_t high = self->read_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (slice_compare(self->reads[middle]->span.start, start) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static size_t span_size(const struct command_span *span) {
    return span->start.size + span->end.size;
}

static enum status insert(struct interactive *self, const struct command_span *span,
                          struct interactive_refusal *out) {
    const size_t size = span_size(span);
    const enum status st = interactive__admit(self, size, out);
    if (st != STATUS_OK) { return st; }
    struct interactive_read *read = mem_try_alloc(sizeof(*read) + size);
    void *list = (void *)self->reads;
    if (read == NULL ||
        interactive__grow(&list, &self->read_capacity, self->read_count) != STATUS_OK) {
        mem_free(read);
        return interactive__no_memory(out);
    }
    self->reads = list;
    memcpy(read->bytes, span->start.data, span->start.size);
    if (span->end.size > 0) {
        memcpy(read->bytes + span->start.size, span->end.data, span->end.size);
    }
    read->span = (struct command_span){slice_make(read->bytes, span->start.size),
                                       slice_make(read->bytes + span->start.size, span->end.size)};
    const uint32_t at = first_at(self, span->start);
    memmove((void *)&self->reads[at + 1], (void *)&self->reads[at],
            (self->read_count - at) * sizeof(self->reads[0]));
    self->reads[at] = read;
    self->read_count++;
    self->bytes += size;
    return STATUS_OK;
}

static void remove_reads(struct interactive *self, uint32_t at, uint32_t count) {
    if (count == 0) { return; }
    for (uint32_t i = at; i < at + count; i++) {
        self->bytes -= span_size(&self->reads[i]->span);
        mem_free(self->reads[i]);
    }
    memmove((void *)&self->reads[at], (void *)&self->reads[at + count],
            (self->read_count - at - count) * sizeof(self->reads[0]));
    self->read_count -= count;
}

enum status interactive_note_key(struct interactive *self, struct slice key,
                                 struct interactive_refusal *out) {
    const uint32_t at = first_at(self, key);
    if (at < self->read_count && slice_equal(self->reads[at]->span.start, key)) {
        return STATUS_OK;
    }
    // A key alone has no end, which is below every key.
    if (at > 0 && slice_compare(key, self->reads[at - 1]->span.end) < 0) { return STATUS_OK; }
    const struct command_span alone = {key, SLICE_EMPTY};
    return insert(self, &alone, out);
}

// Spans that touch become one; a key alone at the end of a span stays.
static bool meets(const struct command_span *next, struct slice end) {
    const int order = slice_compare(next->start, end);
    return order < 0 || (order == 0 && next->end.size > 0);
}

enum status interactive_note_span(struct interactive *self, struct slice start, struct slice end,
                                  struct interactive_refusal *out) {
    uint8_t low[SHARD_KEY_SIZE_MAX];
    uint8_t high[SHARD_KEY_SIZE_MAX];
    ASSERT(slice_compare(start, end) < 0 && end.size <= sizeof(high));
    struct command_span united = {start, end};
    uint32_t first = first_at(self, start);
    if (first > 0 && slice_compare(start, self->reads[first - 1]->span.end) <= 0) {
        if (slice_compare(end, self->reads[first - 1]->span.end) <= 0) { return STATUS_OK; }
        first--;
        united.start = self->reads[first]->span.start;
    }
    uint32_t last = first;
    while (last < self->read_count && meets(&self->reads[last]->span, united.end)) {
        const struct command_span *span = &self->reads[last++]->span;
        if (slice_compare(span->end, united.end) > 0) { united.end = span->end; }
    }
    memcpy(low, united.start.data, united.start.size);
    memcpy(high, united.end.data, united.end.size);
    united.start.data = low;
    united.end.data = high;
    remove_reads(self, first, last - first);
    return insert(self, &united, out);
}
