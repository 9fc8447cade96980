// SPDX-License-Identifier: Apache-2.0
// bytes.h - byte strings: a borrowed view, a shared immutable block, a growable bounded buffer.
// Invariants: a struct bytes never changes after its creator shares it; a struct buf never grows
//             past size_max; no slice of a buf survives the next change of that buf.
// Ownership:  slice borrows; bytes is counted (ref/unref, the count is atomic); buf owns its
//             memory.
// Thread:     slice and buf are confined; bytes may be shared between threads once filled.
// See:        dataplane/base/README.md; tests/unit/dataplane/base/bytes_test.c
#pragma once

#include "dataplane/base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A borrowed view; data may be NULL only when size is 0.
struct slice {
    const uint8_t *data;
    size_t size;
};

#define SLICE_EMPTY      ((struct slice){NULL, 0})
#define SLICE_LITERAL(s) ((struct slice){(const uint8_t *)(s), sizeof(s) - 1})

static inline struct slice slice_make(const void *data, size_t size) {
    return (struct slice){(const uint8_t *)data, size};
}

// View of a NUL-terminated string without its NUL.
struct slice slice_from_string(const char *text);
// Unsigned byte order, a prefix sorts first: <0, 0, >0.
int slice_compare(struct slice a, struct slice b);
bool slice_equal(struct slice a, struct slice b);
bool slice_has_prefix(struct slice s, struct slice prefix);

// Immutable shared block: one allocation, count first.
struct bytes {
    atomic_uint_fast32_t refs;  // released with release order, last drop acquires (C17 7.17)
    uint32_t size;
    uint8_t data[];
};

enum { BYTES_SIZE_MAX = 1 << 30 };
// New block with one reference and undefined contents, FATAL when out of memory.
// size <= BYTES_SIZE_MAX: whoever admits bytes from outside bounds them first.
struct bytes *bytes_create(size_t size);
// New block holding a copy.
struct bytes *bytes_copy(struct slice from);
// One more reference; returns its argument. NULL passes through.
struct bytes *bytes_ref(struct bytes *self);
// One reference less; frees at zero. NULL is allowed.
void bytes_unref(struct bytes *self);
static inline struct slice bytes_slice(const struct bytes *self) {
    return self == NULL ? SLICE_EMPTY : (struct slice){self->data, self->size};
}

// Growable buffer with a maximum; full is a status, not a crash.
struct buf {
    uint8_t *data;    // read-only for others
    size_t size;      // read-only for others
    size_t capacity;  // private
    size_t size_max;  // read-only
};

void buf_init(struct buf *self, size_t size_max);
void buf_deinit(struct buf *self);
// Empties, keeps the memory.
void buf_reset(struct buf *self);
// For whoever writes in place: where the next bytes go if there is room for `more` of them already,
// else NULL; then how many were written.
static inline uint8_t *buf_room(const struct buf *self, size_t more) {
    return self->capacity - self->size >= more ? self->data + self->size : NULL;
}
static inline void buf_filled(struct buf *self, size_t more) {
    self->size += more;
}
// Room for `more` further bytes, or STATUS_RESOURCE_EXHAUSTED.
NODISCARD enum status buf_reserve(struct buf *self, size_t more);
// `more` must not be a view into this very buffer, which may move.
NODISCARD enum status buf_append(struct buf *self, struct slice more);
static inline struct slice buf_slice(const struct buf *self) {
    return (struct slice){self->data, self->size};
}
// Moves the contents into a new shared block and empties the buffer.
struct bytes *buf_steal(struct buf *self);
