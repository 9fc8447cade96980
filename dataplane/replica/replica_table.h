// SPDX-License-Identifier: Apache-2.0
// replica_table.h - all Raft groups of a node: turns, timers, messages, support, and the batches
// that cross shards.
// Invariants: one submit to the log, one end() of the state machine and one batch per peer and
//             turn, whatever the number of shards touched;
//             an idle shard is touched by no timer.
// Ownership:  the table owns its replicas; ports are borrowed and outlive it.
// Thread:     confined to the shard loop.
// See:        dataplane/replica/README.md; architecture.md "Threads of a node";
//             tests/unit/dataplane/replica
#pragma once

#include "dataplane/replica/replica.h"

struct replica_table_config {
    struct node_id self;
    const struct env *env;
    const struct log_store *log;
    struct support *support;  // shared with nobody else; the table drives it
    struct hlc_clock *hlc;
    // Which state machine serves a shard (catalogue or data).
    const struct state_machine *(*machine_for)(void *ctx, struct shard_id shard);
    // Leadership of a shard changed or became known (may be NULL): for routing.
    void (*leader_changed)(void *ctx, struct shard_id shard, struct node_id leader, uint64_t term);
    // The membership that a shard uses here is another (may be NULL). Not to be answered by opening
    // or closing replicas.
    void (*members_changed)(void *ctx, struct shard_id shard);
    void *ctx;
    uint64_t election_ns_min;
    uint64_t resend_ns;
    uint64_t ceiling_window_us;     // 400 000
    uint64_t frontier_interval_ns;  // side channel: 20 ms
    uint32_t pending_max;           // proposals in flight per shard
    uint64_t pending_size_max;      // bytes of proposals in flight per shard
    // Entries that the log keeps for a replica that lags or is away; whoever is further behind
    // gets a snapshot. 0 = REPLICA_TRIM_LAG_MAX.
    uint64_t trim_lag_max;
    uint64_t snapshot_bytes_per_s;  // of all outgoing snapshots together; 0 = no bound
    uint32_t snapshot_chunk_size;   // 0 = REPLICA_CHUNK_SIZE
    uint64_t append_size_max;       // bytes of one append message; 0 = 1 MiB
    // How often a leader has the replicas of a shard that was written to compare their state;
    // 0 = never.
    uint64_t digest_interval_ns;
    // A leader asks for digests of no more state than this, over its shards. 0 = no bound.
    uint64_t digest_bytes_per_s;
    uint32_t digest_slice_size;  // what is digested at one go; 0 = REPLICA_DIGEST_SLICE_SIZE
    // About how many bytes of state a shard has (may be NULL: unknown before its first digest).
    uint64_t (*state_size)(void *ctx, struct shard_id shard);
    // A peer speaks to a replica that is not open here, or to a later incarnation than the one that
    // is. Returns the descriptor by which to open it, borrowed for the call, or NULL when the shard
    // is not placed here (as far as is known). NULL = such messages are dropped.
    const struct shard_descriptor *(*wanted)(void *ctx, struct shard_id shard,
                                             uint64_t incarnation);
};

enum {
    REPLICA_TRIM_LAG_MAX = 65536,
    REPLICA_DIGEST_SLICE_SIZE = 64 << 10,
    REPLICA_DIGEST_BYTES_PER_S = 1 << 20,
};

struct replica_table *replica_table_create(const struct replica_table_config *config);
void replica_table_destroy(struct replica_table *self);
// Exchanges support, and with it the time of day, with a node whether they share a shard or not.
void replica_table_add_peer(struct replica_table *self, struct node_id node);

// Creates or recovers the replica that the descriptor places here. first_leader: campaign at once
// when the shard is new. A replica that was added to a shard later than at its creation comes to
// life as a follower of nobody, which knows no membership but by what leaders send it.
// STATUS_ALREADY_EXISTS, STATUS_CORRUPT (its log), STATUS_INVALID_ARGUMENT (this node is not in the
// descriptor), STATUS_FAILED_PRECONDITION (this incarnation was removed, or an older one than lives
// here).
NODISCARD enum status replica_table_open(struct replica_table *self,
                                         const struct shard_descriptor *descriptor,
                                         bool first_leader);
// The same for a known incarnation, whether the descriptor names this node or not. What an older
// incarnation left here is removed first; that one must not be open.
NODISCARD enum status replica_table_open_as(struct replica_table *self,
                                            const struct shard_descriptor *descriptor,
                                            uint64_t incarnation, bool first_leader);
// Closes a replica for good: pending proposals and reads end, snapshots are broken off, its data
// and its log go, and its incarnation never comes back. STATUS_NOT_FOUND when none is open. Never
// from a callback of that replica, nor while replica_table_each runs.
NODISCARD enum status replica_table_remove(struct replica_table *self, struct shard_id shard);
struct replica *replica_table_find(const struct replica_table *self, struct shard_id shard);
uint32_t replica_table_count(const struct replica_table *self);
// Visits every replica; visit must not open or close any.
void replica_table_each(struct replica_table *self,
                        void (*visit)(void *ctx, struct replica *replica), void *ctx);

// A message of kind SUPPORT_*, LEADS, RAFT, FRONTIER, SNAPSHOT, SNAPSHOT_REPLY or DIGEST from a
// peer. owner holds body's bytes (entries may keep references).
// STATUS_CORRUPT for what does not decode (the caller counts it and may drop the connection).
NODISCARD enum status replica_table_on_message(struct replica_table *self, struct node_id from,
                                               enum peer_message_type type, struct bytes *owner,
                                               struct slice body);
// Log writes became durable.
void replica_table_on_durable(struct replica_table *self, const struct log_completion *items,
                              uint32_t count);
// End of a loop turn: drives everything dirty until nothing is left to do at this instant.
void replica_table_turn(struct replica_table *self);
// When on_time is wanted next (monotonic).
uint64_t replica_table_deadline_ns(const struct replica_table *self);
void replica_table_on_time(struct replica_table *self);

// Flushes of the state machines' store. begin notes what a flush that starts now will cover; done
// tells that it finished (or failed): logs are trimmed, and snapshots that were ingested before it
// began become the state of their replicas. begin is false when nothing changed since the last one.
bool replica_table_flush_begin(struct replica_table *self);
void replica_table_flush_done(struct replica_table *self, bool flushed);
// An ingested snapshot waits for a flush: one soon is better than one in time.
bool replica_table_flush_wanted(const struct replica_table *self);
// The trim certificate of one shard: a finished flush covered everything applied up to `flushed`
// (captured before the flush began).
// Drops what no replica needs any more, or what only those need that are more than trim_lag_max
// entries behind. The last entry always stays, because it carries the ceiling.
void replica_table_trim(struct replica_table *self, struct shard_id shard, uint64_t flushed);
// Gives every leadership away (sick disk, shutdown) and, when sick, asks for no support and never
// campaigns, until replica_table_set_sick says otherwise.
void replica_table_resign(struct replica_table *self, bool sick);
// Asserts the invariants of every replica (simulator, tests).
void replica_table_check(const struct replica_table *self);
