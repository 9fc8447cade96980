// SPDX-License-Identifier: Apache-2.0
// log_store.h - the port through which replicas keep hard state and entries durable.
// Invariants: writes of one shard become durable in the order submitted; a completion means
//             everything up to that sequence is synced; reads see every submitted write at once,
//             durable or not.
// Ownership:  what submit is given is borrowed for the call (entries are referenced if kept); the
//             provider owns ctx.
// Thread:     called on the shard loop; completions arrive on the same loop.
// See:        dataplane/port/README.md; storage/raftlog implements it;
//             tests/unit/storage/raftlog/raftlog_test.c
#pragma once

#include "dataplane/port/log_entry.h"
#include "dataplane/shard/shard.h"

struct log_hard_state {
    uint64_t term;
    struct node_id vote;   // 0 = none
    uint64_t commit;       // a hint: at least this much was committed when it was written
    uint64_t incarnation;  // of the replica that wrote it; 0 = never written
};

// Where a log begins after a snapshot was installed: nothing at or below index is held, and what
// the entries up to it said about time and members is kept here.
struct log_base {
    uint64_t index;
    uint64_t term;
    struct hlc_ts ceiling;    // largest of any entry up to index
    struct hlc_ts timestamp;  // likewise
    struct slice membership;  // encoded, in force at index (raft_membership_encode)
};

// One shard's part of a group commit. sequence is chosen by the replica and grows.
struct log_write {
    struct shard_id shard;
    uint64_t sequence;
    // First every entry goes and the log begins anew after base->index, in the same batch as the
    // rest of the write; NULL = the log goes on. Excludes truncate_from.
    const struct log_base *base;
    uint64_t truncate_from;                   // first index to remove before appending; 0 = nothing
    const struct log_hard_state *hard_state;  // NULL = unchanged
    const struct log_entry *entries;
    uint32_t entry_count;
};

struct log_completion {
    struct shard_id shard;
    uint64_t sequence;
};

// Where a shard's log stands after recovery.
struct log_bounds {
    struct log_hard_state hard_state;
    uint64_t trim_index;  // everything up to and including it is gone; 0 = nothing was ever trimmed
    uint64_t trim_term;   // term of trim_index
    uint64_t last_index;  // trim_index when empty
    // Of the latest log_base, zero when there was none or an entry has been appended since.
    struct hlc_ts base_ceiling;
    struct hlc_ts base_timestamp;
    // Incarnations up to this one lived here and were removed: they must never come back; 0 = none.
    uint64_t removed_incarnation;
    // What cannot be trusted: some record in [damaged_from, last_index] fails its checksum or is
    // missing though a later one exists. 0 = the log is whole. Nothing of it was cut away.
    uint64_t damaged_from;
};

// A membership that an entry of the log put in force.
struct log_membership {
    uint64_t index;
    struct slice encoded;  // view into owner
    struct bytes *owner;   // the caller unrefs it
};
enum { LOG_MEMBERSHIPS_MAX = 16 };

struct log_store {
    void *ctx;
    // Queues one group of writes of many shards; completions come later through the handler given
    // at creation.
    void (*submit)(void *ctx, const struct log_write *writes, uint32_t count);
    // Bounds of a shard; all zero for a shard never written. STATUS_CORRUPT when the log cannot be
    // trusted.
    enum status (*bounds)(void *ctx, struct shard_id shard, struct log_bounds *out);
    // Entries [low, high), at most count_max and about size_max bytes but at least one; the caller
    // unrefs them. STATUS_NOT_FOUND when low is trimmed or beyond the end; STATUS_CORRUPT when a
    // record fails its checksum.
    enum status (*read)(void *ctx, struct shard_id shard, uint64_t low, uint64_t high,
                        uint32_t count_max, uint64_t size_max, struct log_entry *out,
                        uint32_t *out_count);
    // Drops entries up to and including index (durable when the next group is). The caller holds
    // the trim certificate.
    void (*trim)(void *ctx, struct shard_id shard, uint64_t index, uint64_t term);
    // Memberships of the entries of kind CONFIG that are held, and before them the one in force at
    // trim_index (of an entry that was trimmed, or of a log_base), oldest first. They survive
    // trimming and fall with truncation. STATUS_RESOURCE_EXHAUSTED when there are more than
    // LOG_MEMBERSHIPS_MAX.
    enum status (*memberships)(void *ctx, struct shard_id shard, struct log_membership *out,
                               uint32_t *out_count);
    // Forgets a shard altogether, but for a tombstone: bounds() then names the incarnation as
    // removed (durable when the next group is).
    void (*remove)(void *ctx, struct shard_id shard, uint64_t incarnation);
};
