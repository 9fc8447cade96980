// SPDX-License-Identifier: Apache-2.0
// raftlog_internal.h - what the files of the raft log share; nobody else includes it.
// Invariants: entries (trim_index, last_index] of a shard exist; the newest pending_count of them
//             are in memory, the others are in the store; groups of pending entries never fall.
// Ownership:  the log owns shards, groups and one reference on each pending entry.
// Thread:     the shard loop; a group's batch belongs to the writer between start and done.
// See:        storage/raftlog/README.md
#pragma once

#include "dataplane/base/mem.h"
#include "storage/raftlog/raftlog.h"

#define uthash_malloc(size)           mem_alloc(size)
#define uthash_free(p, size)          mem_free(p)
#define HASH_FUNCTION(key, size, out) ((out) = raftlog__hash(key))
#include <uthash.h>

enum {
    RAFTLOG_KEY_SIZE = 8 + 1 + 8,    // shard, kind, index
    RAFTLOG_SHARD_KEY_SIZE = 8 + 1,  // shard, kind: hard state, trim point, bounds of ranges
    RAFTLOG_RECORD_SIZE_MAX = 64,    // of a hard state or trim point
    RAFTLOG_POINT_REMOVES_MAX = 32,  // beyond that many, one range costs readers less
};

// In the order in which recovery wants to meet them.
enum raftlog_key_kind {
    RAFTLOG_HARD_STATE = 1,
    RAFTLOG_TRIM = 2,
    RAFTLOG_ENTRY = 3,
    RAFTLOG_KEY_END = 255  // after everything of the shard
};

// Submitted, not known to be durable.
struct raftlog_pending {
    struct log_entry entry;
    uint64_t group;
};

struct raftlog_shard {
    uint64_t id;
    struct log_bounds bounds;
    uint64_t size;  // bytes of the records, approximately
    // Ring of a power of two, oldest at head.
    struct raftlog_pending *pending;
    uint32_t pending_head;
    uint32_t pending_count;
    uint32_t pending_capacity;
    UT_hash_handle hh;
};

struct raftlog_group {
    struct engine *engine;
    struct engine_batch *batch;
    uint64_t number;  // grows from group to group
    struct log_completion *items;
    uint32_t count;
    uint32_t capacity;
};

struct raftlog {
    struct raftlog_config config;
    struct log_store store;
    struct raftlog_shard *shards;  // by id
    struct engine_cursor *cursor;
    struct raftlog_group groups[2];  // one gathers while the other is written
    struct raftlog_group *gathering;
    struct raftlog_group *writing;  // NULL when the writer is idle
    struct buf scratch;             // a sealed record under construction
    uint64_t size;
    struct raftlog_stats stats;
    bool starting;    // inside the loop of raftlog_turn
    bool delivering;  // inside the durable callback
};

unsigned raftlog__hash(const void *key);
struct raftlog_shard *raftlog__find(struct raftlog *self, struct shard_id shard);
// Finds or makes it.
struct raftlog_shard *raftlog__ensure(struct raftlog *self, struct shard_id shard);

// --- Keys and records (raftlog_record.c) ---

// A key of the shard itself; out has RAFTLOG_SHARD_KEY_SIZE bytes.
struct slice raftlog__shard_key(struct shard_id shard, enum raftlog_key_kind kind, uint8_t *out);
// out has RAFTLOG_KEY_SIZE bytes.
struct slice raftlog__entry_key(struct shard_id shard, uint64_t index, uint8_t *out);
// index is 0 for other kinds than entries.
NODISCARD enum status raftlog__key_decode(struct slice key, struct shard_id *out_shard,
                                          enum raftlog_key_kind *out_kind, uint64_t *out_index);
void raftlog__hard_state_encode(struct buf *out, const struct log_hard_state *state);
NODISCARD enum status raftlog__hard_state_decode(struct slice record, struct log_hard_state *out);
void raftlog__trim_encode(struct buf *out, uint64_t index, uint64_t term);
NODISCARD enum status raftlog__trim_decode(struct slice record, uint64_t *out_index,
                                           uint64_t *out_term);
// An entry as stored, which must be the one of that index; copies the record.
NODISCARD enum status raftlog__entry_decode(struct slice record, uint64_t index,
                                            struct log_entry *out);

// --- Recovery and reading ---

NODISCARD enum status raftlog__recover(struct raftlog *self, struct err *err);
// lint: allow parameters: the port's shape (log_store.h)
enum status raftlog__read(void *ctx, struct shard_id shard, uint64_t low, uint64_t high,
                          uint32_t count_max, uint64_t size_max, struct log_entry *out,
                          uint32_t *out_count);

// --- Pending entries (raftlog_pending.c) ---

void raftlog__pending_push(struct raftlog_shard *shard, const struct log_entry *entry,
                           uint64_t group);
// Drops the n newest, or oldest.
void raftlog__pending_pop_newest(struct raftlog_shard *shard, uint32_t n);
void raftlog__pending_pop_oldest(struct raftlog_shard *shard, uint32_t n);
// i counts from the oldest.
struct raftlog_pending *raftlog__pending_at(const struct raftlog_shard *shard, uint32_t i);
// Index of the oldest; last_index + 1 when there is none.
uint64_t raftlog__pending_first(const struct raftlog_shard *shard);
void raftlog__pending_deinit(struct raftlog_shard *shard);
