// SPDX-License-Identifier: Apache-2.0
// raftlog_internal.h - what the files of the raft log share; nobody else includes it.
// Invariants: entries (trim_index, last_index] of a shard exist, unless it is damaged; the newest
//             pending_count of them are in memory, the others are in the store; groups of pending
//             entries never fall; marks ascend, and only the first may lie at or below trim_index.
// Ownership:  the log owns shards, groups, one reference on each pending entry, and copies of the
//             memberships.
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
    RAFTLOG_POINT_REMOVES_MAX = 32,  // beyond that many, one range costs readers less
    // Of a record other than an entry. A start holds a membership, once an entry's payload.
    RAFTLOG_RECORD_SIZE_MAX = LOG_ENTRY_PAYLOAD_SIZE_MAX + 128,
};

// In the order in which recovery wants to meet them.
enum raftlog_key_kind {
    RAFTLOG_HARD_STATE = 1,
    RAFTLOG_START = 2,  // where the entries begin, by a trim or a base
    RAFTLOG_ENTRY = 3,
    RAFTLOG_TOMBSTONE = 4,
    RAFTLOG_DAMAGE = 5,
    RAFTLOG_KEY_END = 255  // after everything of the shard
};

// What the record of a start holds beside index and term.
struct raftlog_start {
    uint64_t index;
    uint64_t term;
    struct hlc_ts ceiling;  // of a log_base; zero after a trim
    struct hlc_ts timestamp;
    uint64_t membership_index;  // 0 = no membership is known there
    struct slice membership;
};

// Damage once found stays on record until the log begins anew: what is written later must not make
// the log look whole.
struct raftlog_damage {
    uint64_t from;
    uint64_t last;  // end of the log when it was found: so much may have been acknowledged
};

// A membership put in force at index.
struct raftlog_mark {
    uint64_t index;
    struct bytes *encoded;
};

// Submitted, not known to be durable.
struct raftlog_pending {
    struct log_entry entry;
    uint64_t group;
};

struct raftlog_base {
    uint64_t index;
    struct hlc_ts ceiling;
    struct hlc_ts timestamp;
};

struct raftlog_shard {
    uint64_t id;
    struct log_bounds bounds;
    uint64_t size;  // bytes of the records, approximately
    bool alive;     // written and not removed since; else only the tombstone is left
    // Of the latest log_base, reported while no entry follows it; index 0 = none, or trimmed past.
    struct raftlog_base base;
    struct raftlog_damage damage;  // from 0 = none
    const char *damage_text;       // of what recovery found; NULL = none
    struct raftlog_mark *marks;
    uint32_t mark_count;
    uint32_t mark_capacity;
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
struct raftlog_shard *raftlog__find(const struct raftlog *self, struct shard_id shard);
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
void raftlog__start_encode(struct buf *out, const struct raftlog_start *start);
// The membership is a view into the record.
NODISCARD enum status raftlog__start_decode(struct slice record, struct raftlog_start *out);
void raftlog__tombstone_encode(struct buf *out, uint64_t incarnation);
NODISCARD enum status raftlog__tombstone_decode(struct slice record, uint64_t *out_incarnation);
void raftlog__damage_encode(struct buf *out, const struct raftlog_damage *damage);
NODISCARD enum status raftlog__damage_decode(struct slice record, struct raftlog_damage *out);
// An entry as stored, which must be the one of that index; copies the record.
NODISCARD enum status raftlog__entry_decode(struct slice record, uint64_t index,
                                            struct log_entry *out);

// --- Recovery and reading ---

NODISCARD enum status raftlog__recover(struct raftlog *self, struct err *err);
// lint: allow parameters: the port's shape (log_store.h)
enum status raftlog__read(void *ctx, struct shard_id shard, uint64_t low, uint64_t high,
                          uint32_t count_max, uint64_t size_max, struct log_entry *out,
                          uint32_t *out_count);

// Puts a record of the shard itself into the gathering group; the value is in scratch.
void raftlog__put_scratch(struct raftlog *self, const struct raftlog_shard *shard,
                          enum raftlog_key_kind kind);
// Sets what bounds say about base and damage, from what the shard keeps. After each change of its
// ends.
void raftlog__settle(struct raftlog_shard *shard);

// --- Memberships (raftlog_marks.c) ---

void raftlog__mark_push(struct raftlog_shard *shard, uint64_t index, struct slice encoded);
// Forgets those at or above index.
void raftlog__marks_truncate(struct raftlog_shard *shard, uint64_t index);
// Forgets those that are not in force at index or later.
void raftlog__marks_trim(struct raftlog_shard *shard, uint64_t index);
void raftlog__marks_deinit(struct raftlog_shard *shard);
enum status raftlog__memberships(void *ctx, struct shard_id shard, struct log_membership *out,
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
