// SPDX-License-Identifier: Apache-2.0
// rocksdb_internal.h - what the files of the RocksDB engine share; nobody else includes it.
// Invariants: every key in the store starts with one byte that names its family; byte 0 is the
//             store's own.
// Ownership:  the engine owns the RocksDB objects; batches and cursors borrow the engine.
// Thread:     see engine.h; flushes is atomic.
// See:        storage/engine/README.md
#pragma once

#include "storage/engine/rocksdb_engine.h"

#include <rocksdb/c.h>

#include <stdatomic.h>

struct rocksdb_engine {
    struct engine base;  // first: the ops get a pointer to it
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *get_options;
    rocksdb_writeoptions_t *write_options;  // never synced
    rocksdb_writeoptions_t *sync_options;   // LOG: with a WAL sync
    enum rocksdb_engine_use use;
    uint64_t write_buffer_size;
    char *path;
    // Finished flushes. A cursor older than the last one keeps a flushed memtable in memory, so it
    // is renewed. Relaxed: a late look only renews it one turn later.
    atomic_uint_fast64_t flushes;
};

enum {
    ROCKSDB_WRITE_BUFFERS_MAX = 4,  // one being filled, the others waiting for their flush
};

// The byte that precedes a family's keys; the byte after a family's is its end.
static inline uint8_t rocksdb_engine__prefix(enum engine_family family) {
    return (uint8_t)(family + 1);
}

// Bytes put together for one call; grows to the largest ever needed, released with its owner.
struct rocksdb_scratch {
    uint8_t *data;
    size_t capacity;
};
void rocksdb_scratch__reserve(struct rocksdb_scratch *self, size_t size);
void rocksdb_scratch__deinit(struct rocksdb_scratch *self);
// The store's key: prefix byte, then the key. The view is valid until the next call.
struct slice rocksdb_scratch__key(struct rocksdb_scratch *self, enum engine_family family,
                                  struct slice key);

// Translates RocksDB's error text and frees it; NULL is STATUS_OK. detail may be NULL; otherwise it
// gets "what: text".
enum status rocksdb_engine__status(char *errptr, struct err *detail, const char *what);

// Refuses WALs and a MANIFEST that are damaged before their end (rocksdb_wal.c). The directory
// holds a store that is not open.
NODISCARD enum status rocksdb_engine__check_logs(const char *dir, struct err *err);

// Fills base.ops. The rest is set by rocksdb_open.c.
void rocksdb_engine__install(struct rocksdb_engine *self);
struct engine_batch *rocksdb_engine__batch_create(struct engine *base);
// The RocksDB batch inside.
rocksdb_writebatch_t *rocksdb_engine__batch(const struct engine_batch *base);
struct engine_cursor *rocksdb_engine__cursor_create(struct engine *base, enum engine_family family);
struct engine_cursor *rocksdb_engine__point_cursor_create(struct engine *base,
                                                          enum engine_family family);
// Releases whatever is there; for a half-opened engine too.
void rocksdb_engine__free(struct rocksdb_engine *self);
