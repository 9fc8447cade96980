// SPDX-License-Identifier: Apache-2.0
// rocksdb_engine.h - opens a RocksDB store behind engine.h, tuned for its use.
// Invariants: checksums are verified on every read; a failed sync stops the process; the store is
//             locked against a second process; a directory that holds anything but a Lightcone
//             store of the same use is refused.
// Ownership:  the caller closes the engine; paths and options are borrowed for the call.
// Thread:     see engine.h.
// See:        storage/engine/README.md; tests/unit/storage/engine/rocksdb_engine_test.c
#pragma once

#include "storage/engine/engine.h"

enum rocksdb_engine_use {
    ROCKSDB_ENGINE_LOG,   // WAL on, every group synced, sequential keys, short-lived entries
    ROCKSDB_ENGINE_DATA,  // WAL off, prefix bloom on the user key; a sync write is a write + flush
    ROCKSDB_ENGINE_USE_COUNT
};

struct rocksdb_engine_options {
    enum rocksdb_engine_use use;
    const char *path;            // its parent must exist
    bool create_if_missing;      // the directory too
    uint64_t cache_size;         // block cache bytes; 0 = 8 MiB
    uint64_t write_buffer_size;  // bytes of one memtable; 0 = 64 MiB
};

// STATUS_NOT_FOUND: there is no store and none is to be created.
// STATUS_IO: locked by another process, or unreadable.
// STATUS_CORRUPT: the store is damaged, some of its files are missing, or its WAL is damaged before
// its end (a torn end is cut off, as no acknowledged write can be there).
// STATUS_FAILED_PRECONDITION: the directory holds something else: foreign files, another use.
// STATUS_NOT_SUPPORTED: written by a newer version. err says which, with the path.
NODISCARD enum status rocksdb_engine_open(const struct rocksdb_engine_options *options,
                                          struct engine **out_engine, struct err *err);
