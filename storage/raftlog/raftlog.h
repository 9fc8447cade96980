// SPDX-License-Identifier: Apache-2.0
// raftlog.h - the logs and hard states of all groups of a node in one store: implements
//             port/log_store with group commit.
// Invariants: one group = one batch = one sync; groups are written in the order submitted; while
//             one syncs the next gathers; completions are delivered in order, on the loop, only
//             after the sync; reads see what was submitted.
// Ownership:  the caller owns the engine, which outlives the log; submitted entries are referenced
//             until durable.
// Thread:     all calls on the shard loop; the writer port runs raftlog_group_write elsewhere.
// See:        storage/raftlog/README.md; replication.md; tests/unit/storage/raftlog/raftlog_test.c
#pragma once

#include "dataplane/port/log_store.h"
#include "storage/engine/engine.h"

struct raftlog;
struct raftlog_group;  // one group commit on its way to the disk

// Port to whatever runs the sync: the log writer thread, or the simulator's disk. start() must
// later call raftlog_group_write (any thread; blocks) and then raftlog_group_done on the loop. It
// may do both at once, before it returns.
struct raftlog_writer {
    void *ctx;
    void (*start)(void *ctx, struct raftlog_group *group);
};

struct raftlog_config {
    struct engine *engine;
    struct raftlog_writer writer;
    // Told on the loop after each durable group, one item per (shard) write in it. It may call any
    // function of the log but raftlog_destroy. A removed shard's completions are left out.
    void (*durable)(void *ctx, const struct log_completion *items, uint32_t count);
    void *durable_ctx;
};

// Reads and checks every record of every shard's log, and keeps the bounds. Damage that concerns
// one shard is told in its bounds (damaged_from) and kept on record until the log begins anew, and
// the others go on. STATUS_CORRUPT: the store is unreadable where more than one shard may be;
// STATUS_NOT_SUPPORTED: a newer program wrote it; STATUS_IO. err says where.
NODISCARD enum status raftlog_open(const struct raftlog_config *config, struct raftlog **out_log,
                                   struct err *err);
// The writer must be idle for good: a group that was started and not done is forgotten.
void raftlog_destroy(struct raftlog *self);
// The port for replicas. Preconditions beyond log_store.h: the entries of a write follow each other
// and the log's end (after truncation); a log that does not start at 1 is given its start by trim.
const struct log_store *raftlog_store(struct raftlog *self);
// Sends what gathered since the last turn to the writer, if no group is being written. Called at
// the end of each loop turn.
void raftlog_turn(struct raftlog *self);
// Writes and syncs the group's batch; FATAL when that fails. The only function here that may run
// off the loop.
void raftlog_group_write(struct raftlog_group *group);
// On the loop after raftlog_group_write: completions, then the next group starts.
void raftlog_group_done(struct raftlog *self, struct raftlog_group *group);
// Every shard that has a log, for recovery; calls visit for each, in the order of their ids after
// an open. Of a removed shard only the tombstone is left: it is not visited.
void raftlog_each(struct raftlog *self,
                  void (*visit)(void *ctx, struct shard_id shard, const struct log_bounds *bounds),
                  void *ctx);
// What recovery found wrong with a shard's log, for people; NULL while it is whole.
const char *raftlog_damage_text(const struct raftlog *self, struct shard_id shard);
// Bytes of all logs held, approximately (decides when to flush `data` and trim).
uint64_t raftlog_size(const struct raftlog *self);
// True while a group is being written or waits for it.
bool raftlog_is_busy(const struct raftlog *self);
// Groups written, entries written; time is measured by the caller.
struct raftlog_stats {
    uint64_t groups;
    uint64_t writes;
    uint64_t entries;
    uint64_t bytes;
};
struct raftlog_stats raftlog_stats(const struct raftlog *self);
// Asserts the invariants of the state in memory; O(shards).
void raftlog_check(const struct raftlog *self);
