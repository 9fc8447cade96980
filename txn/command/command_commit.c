// SPDX-License-Identifier: Apache-2.0
// Encoding of a commit:
//   u8 format | 16 bytes transaction id | [varint reads | u64 snapshot] | varint conditions |
//   varint mutations | [reads: slice start, slice end] |
//   conditions: u8 kind, slice key [, slice value | u64 timestamp] | mutations: u8 kind, slice key
//   [, slice value]
// What stands in brackets about reads is there in format 2, which has at least one.
// The format byte is there because these bytes lie in logs that outlive a release.
//
// Disjointness of the mutations is checked by sorting pointers: 10^4 operations are some 10^5
// comparisons. A hash would find equal keys as fast, but not a key inside a range.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "txn/command/command_internal.h"
#include "txn/command/command_merge.h"

#include <stdlib.h>
#include <string.h>

enum {
    COMMIT_FORMAT = 1,
    COMMIT_FORMAT_READS = 2,
    SORT_ON_STACK_MAX = 32,
    // kind and an empty key: less than any operation takes, so the bytes present bound the counts.
    OP_SIZE_MIN = 2,
    VARINT_BITS = 7,
};

static const char field_read[] = "read";
static const char field_condition[] = "condition";
static const char field_mutation[] = "mutation";

static size_t varint_size(uint64_t v) {
    size_t size = 1;
    for (; v >= (1U << VARINT_BITS); v >>= VARINT_BITS) {
        size++;
    }
    return size;
}

static size_t slice_size(struct slice s) {
    return varint_size(s.size) + s.size;
}

static bool condition_has_value(enum command_condition_kind kind) {
    return kind == COMMAND_VALUE_EQUALS;
}

static bool condition_has_timestamp(enum command_condition_kind kind) {
    return kind == COMMAND_VERSION_EQUALS || kind == COMMAND_TIMESTAMP_AT_MOST;
}

static enum status condition_check(const struct command_condition *self, uint32_t position,
                                   struct err *err) {
    if (self->kind < COMMAND_EXISTS || self->kind >= COMMAND_CONDITION_KIND_COUNT) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "condition %u: unknown kind %u", position,
                       (unsigned)self->kind);
    }
    const enum status st = command_key_check(self->key, field_condition, position, err);
    if (st != STATUS_OK) { return st; }
    if (condition_has_value(self->kind) && self->value.size > SHARD_VALUE_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "condition %u: value has %zu bytes, limit %d",
                       position, self->value.size, SHARD_VALUE_SIZE_MAX);
    }
    return STATUS_OK;
}

static enum status read_check(const struct command_span *self, uint32_t position, struct err *err) {
    if (self->end.size == 0) { return command_key_check(self->start, field_read, position, err); }
    return command__range_check(self->start, self->end, field_read, position, err);
}

static enum status mutation_check(const struct command_mutation *self, uint32_t position,
                                  struct err *err) {
    if (self->kind < COMMAND_PUT || self->kind >= COMMAND_MUTATION_KIND_COUNT) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "mutation %u: unknown kind %u", position,
                       (unsigned)self->kind);
    }
    if (self->kind == COMMAND_DELETE_RANGE) {
        return command__range_check(self->key, self->value, field_mutation, position, err);
    }
    const enum status st = command_key_check(self->key, field_mutation, position, err);
    if (st != STATUS_OK) { return st; }
    if (self->kind == COMMAND_MERGE) {
        struct command_merge merge;
        if (command_merge_decode(self->value, &merge) == STATUS_OK) { return STATUS_OK; }
        return err_set(err, STATUS_INVALID_ARGUMENT, "mutation %u: its operation does not decode",
                       position);
    }
    if (self->kind == COMMAND_PUT && self->value.size > SHARD_VALUE_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "mutation %u: value has %zu bytes, limit %d",
                       position, self->value.size, SHARD_VALUE_SIZE_MAX);
    }
    return STATUS_OK;
}

static size_t condition_size(const struct command_condition *self) {
    const size_t rest = condition_has_value(self->kind)       ? slice_size(self->value)
                        : condition_has_timestamp(self->kind) ? sizeof(uint64_t)
                                                              : 0;
    return 1 + slice_size(self->key) + rest;
}

static size_t mutation_size(const struct command_mutation *self) {
    const size_t rest = self->kind == COMMAND_DELETE ? 0 : slice_size(self->value);
    return 1 + slice_size(self->key) + rest;
}

static int compare_mutations(const void *left, const void *right) {
    const struct command_mutation *a = *(const struct command_mutation *const *)left;
    const struct command_mutation *b = *(const struct command_mutation *const *)right;
    const int order = slice_compare(a->key, b->key);
    // Equal keys keep the order of the request, so that the message names the later one.
    return order != 0 ? order : (a > b) - (a < b);
}

// In key order each mutation must lie beyond the one before it, and beyond the end of every range
// begun before it (they are disjoint up to here, so the last range's end is the largest).
static enum status sorted_check(const struct command_commit *self,
                                const struct command_mutation *const *sorted, struct err *err) {
    struct slice range_end = SLICE_EMPTY;
    uint32_t range_position = 0;
    for (uint32_t i = 0; i < self->mutation_count; i++) {
        const uint32_t position = (uint32_t)(sorted[i] - self->mutations);
        if (i > 0 && slice_equal(sorted[i]->key, sorted[i - 1]->key)) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "mutation %u: same key as mutation %u; a commit may change a key once",
                           position, (uint32_t)(sorted[i - 1] - self->mutations));
        }
        if (range_end.size > 0 && slice_compare(sorted[i]->key, range_end) < 0) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "mutation %u: its key lies in the delete_range of mutation %u", position,
                           range_position);
        }
        if (sorted[i]->kind == COMMAND_DELETE_RANGE) {
            range_end = sorted[i]->value;
            range_position = position;
        }
    }
    return STATUS_OK;
}

static enum status disjoint_check(const struct command_commit *self, struct err *err) {
    if (self->mutation_count < 2) { return STATUS_OK; }
    const struct command_mutation *on_stack[SORT_ON_STACK_MAX];
    const struct command_mutation **allocated = NULL;
    const struct command_mutation **sorted = on_stack;
    if (self->mutation_count > SORT_ON_STACK_MAX) {
        allocated = (const struct command_mutation **)mem_try_alloc(self->mutation_count *
                                                                    sizeof(sorted[0]));
        if (allocated == NULL) {
            return err_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory to check the mutations");
        }
        sorted = allocated;
    }
    for (uint32_t i = 0; i < self->mutation_count; i++) {
        sorted[i] = &self->mutations[i];
    }
    qsort(sorted, self->mutation_count, sizeof(sorted[0]), compare_mutations);
    const enum status st = sorted_check(self, sorted, err);
    mem_free(allocated);
    return st;
}

// Each operation by itself; adds up the encoded size.
static enum status operations_check(const struct command_commit *self, size_t *out_size,
                                    struct err *err) {
    size_t size = 1 + sizeof(self->txn.v) + varint_size(self->condition_count) +
                  varint_size(self->mutation_count);
    if (self->read_count > 0) { size += varint_size(self->read_count) + sizeof(uint64_t); }
    for (uint32_t i = 0; i < self->read_count; i++) {
        const enum status st = read_check(&self->reads[i], i, err);
        if (st != STATUS_OK) { return st; }
        size += slice_size(self->reads[i].start) + slice_size(self->reads[i].end);
    }
    for (uint32_t i = 0; i < self->condition_count; i++) {
        const enum status st = condition_check(&self->conditions[i], i, err);
        if (st != STATUS_OK) { return st; }
        size += condition_size(&self->conditions[i]);
    }
    for (uint32_t i = 0; i < self->mutation_count; i++) {
        const enum status st = mutation_check(&self->mutations[i], i, err);
        if (st != STATUS_OK) { return st; }
        size += mutation_size(&self->mutations[i]);
    }
    *out_size = size;
    return STATUS_OK;
}

enum status command_commit_check(const struct command_commit *self, struct err *err) {
    ASSERT_IF(self->read_count > 0, self->reads != NULL);
    ASSERT_IF(self->condition_count > 0, self->conditions != NULL);
    ASSERT_IF(self->mutation_count > 0, self->mutations != NULL);
    if (txn_id_is_zero(self->txn)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "transaction id: must not be all zero");
    }
    const uint64_t count =
        (uint64_t)self->read_count + self->condition_count + self->mutation_count;
    if (count == 0 || count > COMMAND_OPS_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "commit has %llu reads, conditions and mutations, it has 1 to %d",
                       (unsigned long long)count, COMMAND_OPS_MAX);
    }
    if ((self->read_count > 0) != (self->snapshot.v != 0)) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "snapshot: it comes with the reads that were made at it, and only then");
    }
    size_t size = 0;
    enum status st = operations_check(self, &size, err);
    if (st != STATUS_OK) { return st; }
    if (size > SHARD_COMMIT_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "commit has %zu bytes, limit %d", size,
                       SHARD_COMMIT_SIZE_MAX);
    }
    return disjoint_check(self, err);
}

static void condition_encode(struct codec_writer *w, const struct command_condition *self) {
    codec_put_u8(w, (uint8_t)self->kind);
    codec_put_slice(w, self->key);
    if (condition_has_value(self->kind)) { codec_put_slice(w, self->value); }
    if (condition_has_timestamp(self->kind)) { codec_put_u64(w, self->ts.v); }
}

static void mutation_encode(struct codec_writer *w, const struct command_mutation *self) {
    codec_put_u8(w, (uint8_t)self->kind);
    codec_put_slice(w, self->key);
    if (self->kind != COMMAND_DELETE) { codec_put_slice(w, self->value); }
}

void command_commit_encode(struct codec_writer *w, const struct command_commit *self) {
    ASSERT(!txn_id_is_zero(self->txn));
    codec_put_u8(w, self->read_count > 0 ? COMMIT_FORMAT_READS : COMMIT_FORMAT);
    codec_put_raw(w, slice_make(self->txn.v, sizeof(self->txn.v)));
    if (self->read_count > 0) {
        codec_put_varint(w, self->read_count);
        codec_put_u64(w, self->snapshot.v);
    }
    codec_put_varint(w, self->condition_count);
    codec_put_varint(w, self->mutation_count);
    for (uint32_t i = 0; i < self->read_count; i++) {
        codec_put_slice(w, self->reads[i].start);
        codec_put_slice(w, self->reads[i].end);
    }
    for (uint32_t i = 0; i < self->condition_count; i++) {
        condition_encode(w, &self->conditions[i]);
    }
    for (uint32_t i = 0; i < self->mutation_count; i++) {
        mutation_encode(w, &self->mutations[i]);
    }
}

enum status command_commit_open(struct command_commit_reader *self, struct slice encoded) {
    *self = (struct command_commit_reader){0};
    struct codec_reader *r = &self->reader;
    codec_reader_init(r, encoded);
    const uint8_t format = codec_get_u8(r);
    const bool reads_too = format == COMMIT_FORMAT_READS;
    if (encoded.size > SHARD_COMMIT_SIZE_MAX || (format != COMMIT_FORMAT && !reads_too)) {
        codec_fail(r);
        return r->status;
    }
    const struct slice id = codec_get_raw(r, sizeof(self->txn.v));
    if (id.size == sizeof(self->txn.v)) { memcpy(self->txn.v, id.data, id.size); }
    const uint64_t reads = reads_too ? codec_get_varint(r) : 0;
    if (reads_too) { self->snapshot.v = codec_get_u64(r); }
    const uint64_t conditions = codec_get_varint(r);
    const uint64_t mutations = codec_get_varint(r);
    const bool each_ok =
        reads <= COMMAND_OPS_MAX && conditions <= COMMAND_OPS_MAX && mutations <= COMMAND_OPS_MAX;
    const uint64_t count = each_ok ? reads + conditions + mutations : 0;
    const bool counts_ok = count > 0 && count <= COMMAND_OPS_MAX &&
                           count <= codec_remaining(r) / OP_SIZE_MIN && reads_too == (reads > 0) &&
                           reads_too == (self->snapshot.v != 0);
    if (r->status != STATUS_OK || !counts_ok || txn_id_is_zero(self->txn)) {
        codec_fail(r);
        return r->status;
    }
    self->read_count = (uint32_t)reads;
    self->reads_left = self->read_count;
    self->condition_count = (uint32_t)conditions;
    self->mutation_count = (uint32_t)mutations;
    self->conditions_left = self->condition_count;
    self->mutations_left = self->mutation_count;
    return STATUS_OK;
}

// After the last operation nothing may follow.
static enum status operation_end(const struct command_commit_reader *self) {
    const bool last =
        self->reads_left == 0 && self->conditions_left == 0 && self->mutations_left == 0;
    return last ? codec_finish(&self->reader) : self->reader.status;
}

enum status command_commit_next_read(struct command_commit_reader *self, struct command_span *out) {
    ASSERT(self->reads_left > 0);
    ASSERT(self->reader.status == STATUS_OK);
    struct codec_reader *r = &self->reader;
    struct command_span span = {0};
    span.start = codec_get_slice(r, SHARD_KEY_SIZE_MAX);
    span.end = codec_get_slice(r, SHARD_KEY_SIZE_MAX);
    if (r->status == STATUS_OK && read_check(&span, 0, NULL) != STATUS_OK) { codec_fail(r); }
    self->reads_left--;
    const enum status st = operation_end(self);
    if (st == STATUS_OK) { *out = span; }
    return st;
}

enum status command_commit_next_condition(struct command_commit_reader *self,
                                          struct command_condition *out) {
    ASSERT(self->reads_left == 0 && self->conditions_left > 0);
    ASSERT(self->reader.status == STATUS_OK);
    struct codec_reader *r = &self->reader;
    struct command_condition condition = {0};
    condition.kind = (enum command_condition_kind)command__get_enum(r, COMMAND_EXISTS,
                                                                    COMMAND_CONDITION_KIND_COUNT);
    condition.key = command__get_key(r);
    if (condition_has_value(condition.kind)) {
        condition.value = codec_get_slice(r, SHARD_VALUE_SIZE_MAX);
    }
    if (condition_has_timestamp(condition.kind)) { condition.ts.v = codec_get_u64(r); }
    self->conditions_left--;
    const enum status st = operation_end(self);
    if (st != STATUS_OK) { return st; }
    ASSERT_SLOW(condition_check(&condition, 0, NULL) == STATUS_OK);
    *out = condition;
    return STATUS_OK;
}

enum status command_commit_next_mutation(struct command_commit_reader *self,
                                         struct command_mutation *out) {
    ASSERT(self->reads_left == 0 && self->conditions_left == 0 && self->mutations_left > 0);
    ASSERT(self->reader.status == STATUS_OK);
    struct codec_reader *r = &self->reader;
    struct command_mutation mutation = {0};
    mutation.kind =
        (enum command_mutation_kind)command__get_enum(r, COMMAND_PUT, COMMAND_MUTATION_KIND_COUNT);
    mutation.key = codec_get_slice(r, SHARD_KEY_SIZE_MAX);
    if (mutation.kind != COMMAND_DELETE) {
        mutation.value = codec_get_slice(r, COMMAND_MERGE_SIZE_MAX);
    }
    if (r->status == STATUS_OK && mutation_check(&mutation, 0, NULL) != STATUS_OK) {
        codec_fail(r);
    }
    self->mutations_left--;
    const enum status st = operation_end(self);
    if (st == STATUS_OK) { *out = mutation; }
    return st;
}

enum status command_commit_verify(struct slice encoded) {
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, encoded);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.read_count; i++) {
        struct command_span read;
        st = command_commit_next_read(&reader, &read);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.condition_count; i++) {
        struct command_condition condition;
        st = command_commit_next_condition(&reader, &condition);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        st = command_commit_next_mutation(&reader, &mutation);
    }
    return st;
}

static void span_extend(struct slice key, struct slice *low, struct slice *high) {
    if (low->data == NULL || slice_compare(key, *low) < 0) { *low = key; }
    if (high->data == NULL || slice_compare(key, *high) > 0) { *high = key; }
}

enum status command_commit_span(struct slice encoded, struct slice *out_low,
                                struct slice *out_high) {
    struct slice low = SLICE_EMPTY;
    struct slice high = SLICE_EMPTY;
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, encoded);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.read_count; i++) {
        struct command_span read;
        st = command_commit_next_read(&reader, &read);
        if (st != STATUS_OK) { break; }
        span_extend(read.start, &low, &high);
        if (read.end.size > 0) { span_extend(read.end, &low, &high); }
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.condition_count; i++) {
        struct command_condition condition;
        st = command_commit_next_condition(&reader, &condition);
        if (st == STATUS_OK) { span_extend(condition.key, &low, &high); }
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        st = command_commit_next_mutation(&reader, &mutation);
        if (st != STATUS_OK) { break; }
        span_extend(mutation.key, &low, &high);
        if (mutation.kind == COMMAND_DELETE_RANGE) { span_extend(mutation.value, &low, &high); }
    }
    if (st != STATUS_OK) { return st; }
    ASSERT(slice_compare(low, high) <= 0);
    *out_low = low;
    *out_high = high;
    return STATUS_OK;
}

void command_outcome_encode(struct codec_writer *w, const struct command_outcome *self) {
    codec_put_u8(w, (uint8_t)self->status);
    codec_put_u64(w, self->timestamp.v);
    codec_put_varint(w, self->failed_condition);
    codec_put_u64(w, self->request_hash);
}

enum status command_outcome_decode(struct codec_reader *r, struct command_outcome *out) {
    struct command_outcome outcome = {0};
    outcome.status = (enum status)command__get_enum(r, STATUS_OK, STATUS_COUNT);
    outcome.timestamp.v = codec_get_u64(r);
    const uint64_t failed = codec_get_varint(r);
    if (failed >= COMMAND_OPS_MAX) { codec_fail(r); }
    outcome.failed_condition = (uint32_t)failed;
    outcome.request_hash = codec_get_u64(r);
    if (r->status == STATUS_OK) { *out = outcome; }
    return r->status;
}
