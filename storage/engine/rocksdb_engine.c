// SPDX-License-Identifier: Apache-2.0
// The store's own operations over RocksDB's C API. RocksDB reports errors as malloc'ed text; they
// become a status here and nowhere else. The text begins with the class of the error (status.cc of
// RocksDB 7.8), which is all that we match; the rest goes to the human.
//
// A failed sync is fatal. After fsync fails, Linux may have dropped the dirty pages and marked them
// clean, so that a second fsync succeeds with the data gone (Rebello et al., ATC 2020); RocksDB
// would even let us reopen and carry on. The process stops, and recovery reads what is there.
#include "storage/engine/rocksdb_engine.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "storage/engine/rocksdb_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

void rocksdb_scratch__reserve(struct rocksdb_scratch *self, size_t size) {
    if (size <= self->capacity) { return; }
    size_t capacity = self->capacity * 2;
    capacity = capacity < 256 ? 256 : capacity;
    capacity = capacity < size ? size : capacity;
    self->data = mem_realloc(self->data, capacity);
    self->capacity = capacity;
}

void rocksdb_scratch__deinit(struct rocksdb_scratch *self) {
    mem_free(self->data);
    *self = (struct rocksdb_scratch){NULL, 0};
}

struct slice rocksdb_scratch__key(struct rocksdb_scratch *self, enum engine_family family,
                                  struct slice key) {
    ASSERT(family < ENGINE_FAMILY_COUNT);
    rocksdb_scratch__reserve(self, key.size + 1);
    ASSERT(self->data != NULL);
    self->data[0] = rocksdb_engine__prefix(family);
    if (key.size > 0) { memcpy(self->data + 1, key.data, key.size); }
    return slice_make(self->data, key.size + 1);
}

static bool text_starts(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static enum status classify(const char *text) {
    if (text_starts(text, "NotFound")) { return STATUS_NOT_FOUND; }
    if (text_starts(text, "Corruption")) { return STATUS_CORRUPT; }
    if (text_starts(text, "Invalid argument")) { return STATUS_INVALID_ARGUMENT; }
    if (text_starts(text, "Not implemented")) { return STATUS_NOT_SUPPORTED; }
    if (strstr(text, "No space left on device") != NULL ||
        strstr(text, "Disk quota exceeded") != NULL) {
        return STATUS_NO_SPACE;
    }
    return STATUS_IO;
}

enum status rocksdb_engine__status(char *errptr, struct err *detail, const char *what) {
    if (errptr == NULL) { return STATUS_OK; }
    const enum status st = classify(errptr);
    if (detail != NULL) { (void)err_set(detail, st, "%s: %s", what, errptr); }
    rocksdb_free(errptr);
    return st;
}

static struct rocksdb_engine *self_of(struct engine *base) {
    return (struct rocksdb_engine *)(void *)base;
}

static enum status ops_get(struct engine *base, enum engine_family family, struct slice key,
                           struct buf *out_value) {
    struct rocksdb_engine *self = self_of(base);
    uint8_t small[256];
    struct rocksdb_scratch large = {NULL, 0};
    struct slice full;
    if (key.size < sizeof(small)) {
        struct rocksdb_scratch scratch = {small, sizeof(small)};
        full = rocksdb_scratch__key(&scratch, family, key);
    } else {
        full = rocksdb_scratch__key(&large, family, key);
    }
    char *error = NULL;
    rocksdb_pinnableslice_t *pinned =
        rocksdb_get_pinned(self->db, self->get_options, (const char *)full.data, full.size, &error);
    rocksdb_scratch__deinit(&large);
    enum status st = rocksdb_engine__status(error, NULL, "get");
    if (st != STATUS_OK) { return st; }
    if (pinned == NULL) { return STATUS_NOT_FOUND; }
    size_t size = 0;
    const char *value = rocksdb_pinnableslice_value(pinned, &size);
    buf_reset(out_value);
    st = buf_append(out_value, slice_make(value, size));
    rocksdb_pinnableslice_destroy(pinned);
    return st;
}

static enum status ops_flush(struct engine *base) {
    struct rocksdb_engine *self = self_of(base);
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 1);
    char *error = NULL;
    rocksdb_flush(self->db, options, &error);
    rocksdb_flushoptions_destroy(options);
    struct err err = {0};
    const enum status st = rocksdb_engine__status(error, &err, "flush");
    if (st != STATUS_OK && st != STATUS_NO_SPACE) {
        FATAL("the store in %s could not be made durable: %s", self->path, err.message);
    }
    if (st == STATUS_OK) { atomic_fetch_add_explicit(&self->flushes, 1, memory_order_relaxed); }
    return st;
}

static enum status ops_write(struct engine *base, struct engine_batch *batch, bool sync) {
    struct rocksdb_engine *self = self_of(base);
    const bool sync_wal = sync && self->use == ROCKSDB_ENGINE_LOG;
    char *error = NULL;
    rocksdb_write(self->db, sync_wal ? self->sync_options : self->write_options,
                  rocksdb_engine__batch(batch), &error);
    struct err err = {0};
    const enum status st = rocksdb_engine__status(error, &err, "write");
    // A full disk too: part of the record may be in the WAL already, and RocksDB takes no more
    // writes until it is reopened. The threshold that keeps a reserve is the admission's.
    if (st != STATUS_OK && sync_wal) {
        FATAL("a synced write to %s failed: %s", self->path, err.message);
    }
    if (st != STATUS_OK || !sync || sync_wal) { return st; }
    return ops_flush(base);
}

static uint64_t ops_approximate_size(struct engine *base, enum engine_family family,
                                     struct slice start, struct slice end) {
    struct rocksdb_engine *self = self_of(base);
    struct rocksdb_scratch low_scratch = {NULL, 0};
    struct rocksdb_scratch high_scratch = {NULL, 0};
    const struct slice low = rocksdb_scratch__key(&low_scratch, family, start);
    const struct slice high = rocksdb_scratch__key(&high_scratch, family, end);
    const char *low_key = (const char *)low.data;
    const char *high_key = (const char *)high.data;
    uint64_t size = 0;
    char *error = NULL;
    rocksdb_approximate_sizes(self->db, 1, &low_key, &low.size, &high_key, &high.size, &size,
                              &error);
    rocksdb_scratch__deinit(&low_scratch);
    rocksdb_scratch__deinit(&high_scratch);
    return rocksdb_engine__status(error, NULL, "size") == STATUS_OK ? size : 0;
}

static uint64_t property(struct rocksdb_engine *self, const char *name) {
    uint64_t value = 0;
    return rocksdb_property_int(self->db, name, &value) == 0 ? value : 0;
}

// The number of files of a level is a property in text form only.
static uint64_t property_text(struct rocksdb_engine *self, const char *name) {
    char *text = rocksdb_property_value(self->db, name);
    if (text == NULL) { return 0; }
    const uint64_t value = strtoull(text, NULL, 10);
    rocksdb_free(text);
    return value;
}

static void ops_pressure(struct engine *base, struct engine_pressure *out) {
    struct rocksdb_engine *self = self_of(base);
    struct statvfs fs;
    *out = (struct engine_pressure){
        .memtable_size = property(self, "rocksdb.cur-size-all-mem-tables"),
        .memtable_size_max = self->write_buffer_size * ROCKSDB_WRITE_BUFFERS_MAX,
        .level0_files = property_text(self, "rocksdb.num-files-at-level0"),
        .compaction_pending_size = property(self, "rocksdb.estimate-pending-compaction-bytes"),
        .disk_free_size = statvfs(self->path, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0,
        .background_errors = property(self, "rocksdb.background-errors"),
        .stalled = property(self, "rocksdb.is-write-stopped") > 0,
    };
}

void rocksdb_engine__free(struct rocksdb_engine *self) {
    if (self->db != NULL) { rocksdb_close(self->db); }
    if (self->get_options != NULL) { rocksdb_readoptions_destroy(self->get_options); }
    if (self->write_options != NULL) { rocksdb_writeoptions_destroy(self->write_options); }
    if (self->sync_options != NULL) { rocksdb_writeoptions_destroy(self->sync_options); }
    if (self->options != NULL) { rocksdb_options_destroy(self->options); }
    if (self->cache != NULL) { rocksdb_cache_destroy(self->cache); }
    mem_free(self->path);
    mem_free(self);
}

static void ops_close(struct engine *base) {
    rocksdb_engine__free(self_of(base));
}

void rocksdb_engine__install(struct rocksdb_engine *self) {
    static const struct engine_ops ops = {
        .close = ops_close,
        .get = ops_get,
        .batch_create = rocksdb_engine__batch_create,
        .cursor_create = rocksdb_engine__cursor_create,
        .point_cursor_create = rocksdb_engine__point_cursor_create,
        .write = ops_write,
        .flush = ops_flush,
        .approximate_size = ops_approximate_size,
        .pressure = ops_pressure,
    };
    self->base.ops = &ops;
}
