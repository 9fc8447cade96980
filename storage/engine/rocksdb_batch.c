// SPDX-License-Identifier: Apache-2.0
// A batch is RocksDB's own write batch: what is put is copied once, into the bytes that become the
// WAL record. Key and value are first joined with their prefix in a scratch that the batch keeps;
// the C API's vectored put would allocate two C++ vectors a call instead.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "storage/engine/rocksdb_internal.h"

#include <string.h>

struct rocksdb_batch {
    struct engine_batch base;
    rocksdb_writebatch_t *batch;
    struct rocksdb_scratch key;
    struct rocksdb_scratch other;  // a value in parts, or the end of a range
};

static struct rocksdb_batch *self_of(struct engine_batch *base) {
    return (struct rocksdb_batch *)(void *)base;
}

rocksdb_writebatch_t *rocksdb_engine__batch(const struct engine_batch *base) {
    return ((const struct rocksdb_batch *)(const void *)base)->batch;
}

static struct slice join(struct rocksdb_scratch *scratch, struct slice head, struct slice tail) {
    if (tail.size == 0) { return head; }
    rocksdb_scratch__reserve(scratch, head.size + tail.size);
    if (head.size > 0) { memcpy(scratch->data, head.data, head.size); }
    memcpy(scratch->data + head.size, tail.data, tail.size);
    return slice_make(scratch->data, head.size + tail.size);
}

static void ops_put(struct engine_batch *base, enum engine_family family, struct slice key,
                    struct slice head, struct slice tail) {
    struct rocksdb_batch *self = self_of(base);
    const struct slice full = rocksdb_scratch__key(&self->key, family, key);
    const struct slice value = join(&self->other, head, tail);
    rocksdb_writebatch_put(self->batch, (const char *)full.data, full.size,
                           value.size > 0 ? (const char *)value.data : "", value.size);
}

static void ops_remove(struct engine_batch *base, enum engine_family family, struct slice key) {
    struct rocksdb_batch *self = self_of(base);
    const struct slice full = rocksdb_scratch__key(&self->key, family, key);
    rocksdb_writebatch_delete(self->batch, (const char *)full.data, full.size);
}

static void ops_remove_range(struct engine_batch *base, enum engine_family family,
                             struct slice start, struct slice end) {
    ASSERT(start.size > 0);
    ASSERT(slice_compare(start, end) < 0);
    struct rocksdb_batch *self = self_of(base);
    const struct slice low = rocksdb_scratch__key(&self->key, family, start);
    const struct slice high = rocksdb_scratch__key(&self->other, family, end);
    rocksdb_writebatch_delete_range(self->batch, (const char *)low.data, low.size,
                                    (const char *)high.data, high.size);
}

static void ops_clear(struct engine_batch *base) {
    rocksdb_writebatch_clear(self_of(base)->batch);
}

static uint32_t ops_count(const struct engine_batch *base) {
    return (uint32_t)rocksdb_writebatch_count(rocksdb_engine__batch(base));
}

static uint64_t ops_size(const struct engine_batch *base) {
    size_t size = 0;
    (void)rocksdb_writebatch_data(rocksdb_engine__batch(base), &size);
    return size;
}

static void ops_destroy(struct engine_batch *base) {
    struct rocksdb_batch *self = self_of(base);
    rocksdb_writebatch_destroy(self->batch);
    rocksdb_scratch__deinit(&self->key);
    rocksdb_scratch__deinit(&self->other);
    mem_free(self);
}

struct engine_batch *rocksdb_engine__batch_create(struct engine *base) {
    static const struct engine_batch_ops ops = {
        .put = ops_put,
        .remove = ops_remove,
        .remove_range = ops_remove_range,
        .clear = ops_clear,
        .count = ops_count,
        .size = ops_size,
        .destroy = ops_destroy,
    };
    ASSERT(base != NULL);
    struct rocksdb_batch *self = mem_alloc(sizeof(*self));
    self->base.ops = &ops;
    self->batch = rocksdb_writebatch_create();
    return &self->base;
}
