// SPDX-License-Identifier: Apache-2.0
// Counters, sets and registers.
//   u8 type | u8 flags (1 removes, 2 min, 4 max) | u64 amount | [u64 min] | [u64 max]
//   | slice element
//
// Operations are few bytes and values are whole: a read costs what any read costs, and nothing is
// folded later. Rejected: deltas that readers fold, whose number nobody bounds on a hot key.
#include "txn/command/command_merge.h"

#include "dataplane/base/assert.h"
#include "dataplane/shard/shard.h"

#include <stdio.h>
#include <string.h>

enum {
    FLAG_REMOVES = 1,
    FLAG_MIN = 2,
    FLAG_MAX = 4,
    FLAGS = 7,
    NUMBER_SIZE_MAX = 24,
    DECIMAL = 10,
};

static bool is_counter(enum command_merge_type type) {
    return type == COMMAND_MERGE_COUNTER || type == COMMAND_MERGE_GROW_COUNTER;
}

static bool is_set(enum command_merge_type type) {
    return type == COMMAND_MERGE_GROW_SET || type == COMMAND_MERGE_SET;
}

static enum status counter_check(const struct command_merge *self, uint32_t position,
                                 struct err *err) {
    if (self->type == COMMAND_MERGE_GROW_COUNTER && self->amount < 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "mutation %u: a grow-only counter cannot be lowered", position);
    }
    if (self->has_min && self->has_max && self->min > self->max) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "mutation %u: min lies above max", position);
    }
    if (self->element.size > 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "mutation %u: a counter has no element",
                       position);
    }
    return STATUS_OK;
}

enum status command_merge_check(const struct command_merge *self, uint32_t position,
                                struct err *err) {
    if (self->type < COMMAND_MERGE_COUNTER || self->type >= COMMAND_MERGE_TYPE_COUNT) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "mutation %u: unknown type %u", position,
                       (unsigned)self->type);
    }
    if (is_counter(self->type)) { return counter_check(self, position, err); }
    if (self->amount != 0 || self->has_min || self->has_max) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "mutation %u: only counters have an amount and bounds", position);
    }
    if (self->removes && self->type != COMMAND_MERGE_SET) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "mutation %u: nothing is removed from it",
                       position);
    }
    const size_t most = is_set(self->type) ? COMMAND_MERGE_ELEMENT_SIZE_MAX : SHARD_VALUE_SIZE_MAX;
    if (self->element.size > most || (is_set(self->type) && self->element.size == 0)) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "mutation %u: element has %zu bytes, limit %zu", position,
                       self->element.size, most);
    }
    return STATUS_OK;
}

void command_merge_encode(struct codec_writer *w, const struct command_merge *self) {
    codec_put_u8(w, (uint8_t)self->type);
    codec_put_u8(w, (uint8_t)((self->removes ? FLAG_REMOVES : 0) | (self->has_min ? FLAG_MIN : 0) |
                              (self->has_max ? FLAG_MAX : 0)));
    codec_put_u64(w, (uint64_t)self->amount);
    if (self->has_min) { codec_put_u64(w, (uint64_t)self->min); }
    if (self->has_max) { codec_put_u64(w, (uint64_t)self->max); }
    codec_put_slice(w, self->element);
}

enum status command_merge_decode(struct slice encoded, struct command_merge *out) {
    struct codec_reader r;
    struct command_merge merge = {0};
    codec_reader_init(&r, encoded);
    merge.type = (enum command_merge_type)codec_get_u8(&r);
    const uint8_t flags = codec_get_u8(&r);
    merge.removes = (flags & FLAG_REMOVES) != 0;
    merge.has_min = (flags & FLAG_MIN) != 0;
    merge.has_max = (flags & FLAG_MAX) != 0;
    merge.amount = (int64_t)codec_get_u64(&r);
    if (merge.has_min) { merge.min = (int64_t)codec_get_u64(&r); }
    if (merge.has_max) { merge.max = (int64_t)codec_get_u64(&r); }
    merge.element = codec_get_slice(&r, SHARD_VALUE_SIZE_MAX);
    if (codec_finish(&r) != STATUS_OK || (flags & ~FLAGS) != 0 ||
        command_merge_check(&merge, 0, NULL) != STATUS_OK) {
        return STATUS_CORRUPT;
    }
    *out = merge;
    return STATUS_OK;
}

bool command_merge_shares(const struct command_merge *self) {
    return !self->removes;
}

// --- Counters ---

enum status command_merge_number(struct slice value, bool exists, int64_t *out) {
    uint64_t magnitude = 0;
    if (!exists) {
        *out = 0;
        return STATUS_OK;
    }
    const bool negative = value.size > 0 && value.data[0] == '-';
    const size_t first = negative ? 1 : 0;
    if (value.size == first || value.size > NUMBER_SIZE_MAX) { return STATUS_CORRUPT; }
    for (size_t i = first; i < value.size; i++) {
        const uint8_t digit = (uint8_t)(value.data[i] - '0');
        if (digit >= DECIMAL || __builtin_mul_overflow(magnitude, DECIMAL, &magnitude) ||
            __builtin_add_overflow(magnitude, digit, &magnitude)) {
            return STATUS_CORRUPT;
        }
    }
    const uint64_t most = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (magnitude > most) { return STATUS_CORRUPT; }
    *out = (int64_t)(negative ? 0 - magnitude : magnitude);
    return STATUS_OK;
}

static enum status counter_apply(const struct command_merge *self, struct slice before, bool exists,
                                 struct buf *out) {
    int64_t number = 0;
    const enum status st = command_merge_number(before, exists, &number);
    if (st != STATUS_OK) { return st; }
    if (__builtin_add_overflow(number, self->amount, &number)) { return STATUS_RESOURCE_EXHAUSTED; }
    char text[NUMBER_SIZE_MAX + 1];
    const int size = snprintf(text, sizeof(text), "%lld", (long long)number);
    ASSERT(size > 0 && size <= NUMBER_SIZE_MAX);
    return buf_append(out, slice_make((const uint8_t *)text, (size_t)size));
}

// --- Sets ---

static enum status put_element(struct buf *out, struct slice element) {
    struct codec_writer w;
    codec_writer_init(&w, out);
    codec_put_slice(&w, element);
    return w.status;
}

// One walk over the elements in order; the new one falls into its place, or the old one out of it.
static enum status set_apply(const struct command_merge *self, struct slice before,
                             struct buf *out) {
    struct codec_reader r;
    struct slice last = SLICE_EMPTY;
    bool placed = false;
    const size_t from = out->size;
    enum status st = STATUS_OK;
    codec_reader_init(&r, before);
    while (st == STATUS_OK && codec_remaining(&r) > 0) {
        const struct slice element = codec_get_slice(&r, COMMAND_MERGE_ELEMENT_SIZE_MAX);
        if (r.status != STATUS_OK || slice_compare(last, element) >= 0) { return STATUS_CORRUPT; }
        last = element;
        const int order = slice_compare(self->element, element);
        if (order < 0 && !placed && !self->removes) { st = put_element(out, self->element); }
        placed = placed || order <= 0;
        const bool drops = order == 0 && self->removes;
        if (st == STATUS_OK && !drops) { st = put_element(out, element); }
    }
    if (st == STATUS_OK && !placed && !self->removes) { st = put_element(out, self->element); }
    return out->size - from > SHARD_VALUE_SIZE_MAX ? STATUS_RESOURCE_EXHAUSTED : st;
}

enum status command_merge_apply(const struct command_merge *self, struct slice before, bool exists,
                                struct buf *out) {
    ASSERT_IF(!exists, before.size == 0);
    if (is_counter(self->type)) { return counter_apply(self, before, exists, out); }
    if (is_set(self->type)) { return set_apply(self, before, out); }
    ASSERT(self->type == COMMAND_MERGE_REGISTER);
    return buf_append(out, self->element);
}
