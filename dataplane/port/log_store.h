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
    struct node_id vote;  // 0 = none
    uint64_t commit;      // a hint: at least this much was committed when it was written
};

// One shard's part of a group commit. sequence is chosen by the replica and grows.
struct log_write {
    struct shard_id shard;
    uint64_t sequence;
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
};

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
    // Forgets a shard altogether.
    void (*remove)(void *ctx, struct shard_id shard);
};
