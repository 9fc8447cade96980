// SPDX-License-Identifier: Apache-2.0
// sim_engine.h - a store behind engine.h whose disk loses, rots and fills up as it is told.
// Invariants: a crash leaves the state after some prefix of the batches written, at least the
//             durable ones; equal contents have equal digests, however they came about; nothing
//             depends on addresses or time.
// Ownership:  the caller owns the engine and closes it by engine_close; cursors and batches must be
//             gone by then. A crash keeps the engine: it is the disk that the next boot finds.
// Thread:     one thread.
// See:        tests/sim/disk/README.md; tests/unit/storage/engine/engine_conformance.c
#pragma once

#include "dataplane/base/prng.h"
#include "storage/engine/engine.h"

struct sim_engine_options {
    // Bytes of keys and values the disk holds; 0 = no bound. A write that would pass it gives
    // STATUS_NO_SPACE, except one that only removes.
    uint64_t capacity;
    // A synced write is visible at once, but durable only when sim_engine_make_durable says so:
    // lets the simulator put time, and a crash, between the start and the end of a sync. Flushes
    // likewise.
    bool deferred;
};

struct engine *sim_engine_create(const struct sim_engine_options *options);

// --- Time ---

// Number of batches written so far.
uint64_t sim_engine_sequence(const struct engine *engine);
// Number of those that are durable.
uint64_t sim_engine_durable(const struct engine *engine);
// Everything up to that sequence is durable from now on; no effect when it is already.
void sim_engine_make_durable(struct engine *engine, uint64_t sequence);

// --- Faults ---

// The machine stops: keeps the durable batches and a random number of those after them (the end of
// the WAL may have reached the disk, a memtable may have been flushed). Cursors of before the crash
// must not be used. Returns the number of batches lost.
uint64_t sim_engine_crash(struct engine *engine, struct prng *prng);
// The same, but keeps exactly the first `sequence` batches, which include the durable ones: to try
// every place of a crash in turn.
void sim_engine_crash_at(struct engine *engine, uint64_t sequence);
// Writes give STATUS_NO_SPACE while full (also those that only remove); flushes too.
void sim_engine_set_full(struct engine *engine, bool full);
// Bit rot that the checksum catches: reading this key gives STATUS_CORRUPT until it is written
// anew. STATUS_NOT_FOUND when there is no such key.
NODISCARD enum status sim_engine_corrupt(struct engine *engine, enum engine_family family,
                                         struct slice key);
// The same for a random key of the family; false when the family is empty.
bool sim_engine_corrupt_random(struct engine *engine, enum engine_family family, struct prng *prng);
// Replaces a value behind the checksum's back: damage that only a comparison of replicas can find.
// STATUS_NOT_FOUND when there is no such key.
NODISCARD enum status sim_engine_overwrite(struct engine *engine, enum engine_family family,
                                           struct slice key, struct slice value);

// --- Looking ---

// Of all keys and values. O(1).
uint64_t sim_engine_digest(const struct engine *engine);
// Of [start, end) of one family; an empty end is unbounded. O(log n).
uint64_t sim_engine_digest_range(const struct engine *engine, enum engine_family family,
                                 struct slice start, struct slice end);
// Keys, and bytes of keys and values.
uint64_t sim_engine_count(const struct engine *engine);
uint64_t sim_engine_size(const struct engine *engine);
// O(n) sweep over the structure, for tests.
void sim_engine_check(const struct engine *engine);
