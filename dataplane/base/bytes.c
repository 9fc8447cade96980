// SPDX-License-Identifier: Apache-2.0
// A shared block is one allocation, count and bytes together: entries and messages are many and
// short-lived. A buffer doubles, so that appending is linear; it never grows past its maximum, and
// it asks by mem_try_*, because what fills it comes from outside.
#include "dataplane/base/bytes.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <stddef.h>
#include <string.h>

enum { BUF_CAPACITY_MIN = 64 };

struct slice slice_from_string(const char *text) {
    ASSERT(text != NULL);
    return slice_make(text, strlen(text));
}

static void check_slice(struct slice s) {
    ASSERT(s.data != NULL || s.size == 0);
}

int slice_compare(struct slice a, struct slice b) {
    check_slice(a);
    check_slice(b);
    const size_t common = a.size < b.size ? a.size : b.size;
    // memcmp must not see NULL, not even with size 0.
    const int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    if (order != 0) { return order; }
    return (a.size > b.size) - (a.size < b.size);
}

bool slice_equal(struct slice a, struct slice b) {
    check_slice(a);
    check_slice(b);
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool slice_has_prefix(struct slice s, struct slice prefix) {
    check_slice(s);
    return prefix.size <= s.size && slice_equal((struct slice){s.data, prefix.size}, prefix);
}

struct bytes *bytes_create(size_t size) {
    ASSERT(size <= BYTES_SIZE_MAX);
    // mem_alloc would zero what the caller is about to fill; mem_realloc of nothing does not.
    struct bytes *self = (struct bytes *)mem_realloc(NULL, sizeof(struct bytes) + size);
    atomic_init(&self->refs, 1);
    self->size = (uint32_t)size;
    return self;
}

struct bytes *bytes_copy(struct slice from) {
    check_slice(from);
    struct bytes *self = bytes_create(from.size);
    if (from.size > 0) { memcpy(self->data, from.data, from.size); }
    return self;
}

struct bytes *bytes_ref(struct bytes *self) {
    if (self != NULL) {
        // Relaxed: whoever adds a reference holds one, so the block cannot go meanwhile.
        const uint_fast32_t before =
            atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
        ASSERT(before > 0 && before < UINT32_MAX);
    }
    return self;
}

void bytes_unref(struct bytes *self) {
    if (self == NULL) { return; }
    // Release: what this holder read is read before the count falls. Acquire, by the one that
    // frees: it sees all of those. (One acq_rel operation, since a fence is invisible to
    // ThreadSanitizer.)
    const uint_fast32_t before = atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1) { mem_free(self); }
}

static void buf_check(const struct buf *self) {
    ASSERT(self->size <= self->capacity);
    ASSERT(self->capacity <= self->size_max);
    ASSERT_IF(self->capacity > 0, self->data != NULL);
}

void buf_init(struct buf *self, size_t size_max) {
    ASSERT(self != NULL);
    *self = (struct buf){.size_max = size_max};
}

void buf_deinit(struct buf *self) {
    mem_free(self->data);
    *self = (struct buf){.size_max = self->size_max};
}

void buf_reset(struct buf *self) {
    buf_check(self);
    self->size = 0;
}

enum status buf_reserve(struct buf *self, size_t more) {
    buf_check(self);
    if (more > self->size_max - self->size) { return STATUS_RESOURCE_EXHAUSTED; }
    const size_t wanted = self->size + more;
    if (wanted <= self->capacity) { return STATUS_OK; }
    size_t capacity = self->capacity > self->size_max / 2 ? self->size_max : self->capacity * 2;
    capacity = capacity < BUF_CAPACITY_MIN ? BUF_CAPACITY_MIN : capacity;
    capacity = capacity < wanted ? wanted : capacity;
    capacity = capacity > self->size_max ? self->size_max : capacity;
    uint8_t *data = (uint8_t *)mem_try_realloc(self->data, capacity);
    if (data == NULL) { return STATUS_RESOURCE_EXHAUSTED; }
    self->data = data;
    self->capacity = capacity;
    buf_check(self);
    return STATUS_OK;
}

enum status buf_append(struct buf *self, struct slice more) {
    check_slice(more);
    ASSERT_IF(more.size > 0 && self->capacity > 0,
              more.data + more.size <= self->data || more.data >= self->data + self->capacity);
    const enum status st = buf_reserve(self, more.size);
    if (st == STATUS_OK && more.size > 0) {
        memcpy(self->data + self->size, more.data, more.size);
        self->size += more.size;
    }
    return st;
}

struct bytes *buf_steal(struct buf *self) {
    buf_check(self);
    struct bytes *block = bytes_copy(buf_slice(self));
    buf_reset(self);
    return block;
}
