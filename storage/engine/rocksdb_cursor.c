// SPDX-License-Identifier: Apache-2.0
// A cursor keeps one RocksDB iterator and renews it only when something was written since. The C
// API of 7.8 has no iterator refresh, and creating one costs about as much as a warm seek; a loop
// that reads fifty times between writes so pays a fiftieth of it. The store's last sequence number
// tells whether anything was written: one atomic load.
//
// Two kinds of iterator. An ordinary one asks for total order: it must consider every file. A point
// cursor is in prefix mode: files and memtables whose bloom filter lacks the prefix are skipped,
// and prefix_same_as_start ends it where the prefix ends. Prefix mode may show garbage beyond the
// prefix, which is why the two are apart and why the point cursor cannot go backwards.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "storage/engine/rocksdb_internal.h"

struct rocksdb_cursor {
    struct engine_cursor base;
    struct rocksdb_engine *engine;
    rocksdb_readoptions_t *options;  // the iterator points to it, and it to the bounds below
    char bound_low;
    char bound_high;
    rocksdb_iterator_t *iterator;
    uint64_t sequence;  // of the store, read just before the iterator was made
    uint64_t flushes;
    enum engine_family family;
    bool point;
    bool valid;
    struct rocksdb_scratch scratch;
};

static struct rocksdb_cursor *self_of(struct engine_cursor *base) {
    return (struct rocksdb_cursor *)(void *)base;
}

static const struct rocksdb_cursor *const_self_of(const struct engine_cursor *base) {
    return (const struct rocksdb_cursor *)(const void *)base;
}

static void renew(struct rocksdb_cursor *self) {
    if (self->iterator != NULL) { rocksdb_iter_destroy(self->iterator); }
    // Read first: a write in between makes the next refresh renew once too often, never too rarely.
    self->sequence = rocksdb_get_latest_sequence_number(self->engine->db);
    self->flushes = atomic_load_explicit(&self->engine->flushes, memory_order_relaxed);
    self->iterator = rocksdb_create_iterator(self->engine->db, self->options);
    self->valid = false;
}

static void ops_refresh(struct engine_cursor *base) {
    struct rocksdb_cursor *self = self_of(base);
    self->valid = false;
    if (self->sequence == rocksdb_get_latest_sequence_number(self->engine->db) &&
        self->flushes == atomic_load_explicit(&self->engine->flushes, memory_order_relaxed)) {
        return;
    }
    renew(self);
}

static void landed(struct rocksdb_cursor *self) {
    self->valid = rocksdb_iter_valid(self->iterator) != 0;
}

static void ops_seek(struct engine_cursor *base, struct slice key) {
    struct rocksdb_cursor *self = self_of(base);
    const struct slice full = rocksdb_scratch__key(&self->scratch, self->family, key);
    rocksdb_iter_seek(self->iterator, (const char *)full.data, full.size);
    landed(self);
}

static void ops_seek_for_prev(struct engine_cursor *base, struct slice key) {
    struct rocksdb_cursor *self = self_of(base);
    ASSERT(!self->point);
    const struct slice full = rocksdb_scratch__key(&self->scratch, self->family, key);
    rocksdb_iter_seek_for_prev(self->iterator, (const char *)full.data, full.size);
    landed(self);
}

static void ops_next(struct engine_cursor *base) {
    struct rocksdb_cursor *self = self_of(base);
    ASSERT(self->valid);
    rocksdb_iter_next(self->iterator);
    landed(self);
}

static void ops_prev(struct engine_cursor *base) {
    struct rocksdb_cursor *self = self_of(base);
    ASSERT(self->valid);
    ASSERT(!self->point);
    rocksdb_iter_prev(self->iterator);
    landed(self);
}

static bool ops_valid(const struct engine_cursor *base) {
    return const_self_of(base)->valid;
}

static struct slice ops_key(const struct engine_cursor *base) {
    const struct rocksdb_cursor *self = const_self_of(base);
    ASSERT(self->valid);
    size_t size = 0;
    const char *key = rocksdb_iter_key(self->iterator, &size);
    ASSERT(size > 0);
    return slice_make(key + 1, size - 1);
}

static struct slice ops_value(const struct engine_cursor *base) {
    const struct rocksdb_cursor *self = const_self_of(base);
    ASSERT(self->valid);
    size_t size = 0;
    const char *value = rocksdb_iter_value(self->iterator, &size);
    return slice_make(value, size);
}

static enum status ops_status(const struct engine_cursor *base) {
    char *error = NULL;
    rocksdb_iter_get_error(const_self_of(base)->iterator, &error);
    return rocksdb_engine__status(error, NULL, "cursor");
}

static void ops_destroy(struct engine_cursor *base) {
    struct rocksdb_cursor *self = self_of(base);
    rocksdb_iter_destroy(self->iterator);
    rocksdb_readoptions_destroy(self->options);
    rocksdb_scratch__deinit(&self->scratch);
    mem_free(self);
}

static void make_options(struct rocksdb_cursor *self) {
    self->bound_low = (char)rocksdb_engine__prefix(self->family);
    self->bound_high = (char)(rocksdb_engine__prefix(self->family) + 1);
    self->options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(self->options, 1);
    rocksdb_readoptions_set_iterate_lower_bound(self->options, &self->bound_low, 1);
    rocksdb_readoptions_set_iterate_upper_bound(self->options, &self->bound_high, 1);
    rocksdb_readoptions_set_total_order_seek(self->options, self->point ? 0 : 1);
    rocksdb_readoptions_set_prefix_same_as_start(self->options, self->point ? 1 : 0);
}

static struct engine_cursor *create(struct engine *base, enum engine_family family, bool point) {
    static const struct engine_cursor_ops ops = {
        .refresh = ops_refresh,
        .seek = ops_seek,
        .seek_for_prev = ops_seek_for_prev,
        .next = ops_next,
        .prev = ops_prev,
        .valid = ops_valid,
        .key = ops_key,
        .value = ops_value,
        .status = ops_status,
        .destroy = ops_destroy,
    };
    ASSERT(family < ENGINE_FAMILY_COUNT);
    struct rocksdb_cursor *self = mem_alloc(sizeof(*self));
    self->base.ops = &ops;
    self->engine = (struct rocksdb_engine *)(void *)base;
    self->family = family;
    self->point = point;
    make_options(self);
    // Of this thread, which the cursor is confined to. By default RocksDB counts comparisons and
    // block reads in thread-local variables, for a tenth of a read's time; nobody looks at them.
    rocksdb_set_perf_level(rocksdb_disable);
    renew(self);
    return &self->base;
}

struct engine_cursor *rocksdb_engine__cursor_create(struct engine *base,
                                                    enum engine_family family) {
    return create(base, family, false);
}

struct engine_cursor *rocksdb_engine__point_cursor_create(struct engine *base,
                                                          enum engine_family family) {
    return create(base, family, true);
}
