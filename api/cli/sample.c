// SPDX-License-Identifier: Apache-2.0
// Quantiles of the keys, not of their distinct values: a key that stands often in the file is
// written as often.
#include "api/cli/sample.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <stdlib.h>

enum { SAMPLE_SEED = 20261120 };

void sample_init(struct sample *self) {
    *self = (struct sample){0};
    prng_init(&self->prng, SAMPLE_SEED);
}

void sample_deinit(struct sample *self) {
    for (size_t i = 0; i < self->count; i++) {
        bytes_unref(self->keys[i]);
    }
    mem_free(self->keys);
    *self = (struct sample){0};
}

static void append(struct sample *self, struct slice key) {
    if (self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? 1024 : 2 * self->capacity;
        self->keys = mem_realloc(self->keys, self->capacity * sizeof(struct bytes *));
    }
    self->keys[self->count++] = bytes_copy(key);
}

void sample_add(struct sample *self, struct slice key) {
    self->seen++;
    if (self->count < SAMPLE_KEYS_MAX) {
        append(self, key);
        return;
    }
    uint64_t place = prng_below(&self->prng, self->seen);
    if (place < self->count) {
        bytes_unref(self->keys[place]);
        self->keys[place] = bytes_copy(key);
    }
}

static int by_key(const void *a, const void *b) {
    const struct bytes *const *left = a;
    const struct bytes *const *right = b;
    return slice_compare(bytes_slice(*left), bytes_slice(*right));
}

size_t sample_cuts(struct sample *self, size_t shard_count, struct slice *out_cuts) {
    ASSERT(shard_count > 0);
    if (self->count == 0) { return 0; }
    qsort(self->keys, self->count, sizeof(struct bytes *), by_key);
    struct slice previous = bytes_slice(self->keys[0]);
    size_t count = 0;
    for (size_t i = 1; i < shard_count; i++) {
        struct slice key = bytes_slice(self->keys[i * self->count / shard_count]);
        if (slice_compare(key, previous) > 0) {
            out_cuts[count++] = key;
            previous = key;
        }
    }
    ASSERT(count < shard_count);
    return count;
}
