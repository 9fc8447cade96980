// SPDX-License-Identifier: Apache-2.0
// checks.h - what must hold between the replicas of a shard, looked at after every turn.
// Invariants: the record of a shard is what was applied first anywhere; every replica agrees.
// Ownership:  the checks own their records.
// Thread:     confined to the world.
// See:        tests/sim/README.md "Checkers"
#pragma once

#include "tests/sim/node.h"

enum {
    SIM_CHECK_SHARDS_MAX = SIM_SHARDS_MAX + 1,
    SIM_TERMS_MAX = 4096,
    SIM_DIGESTS_MAX = 4096,
    SIM_REPORTS_MAX = 64,
};
enum { SIM_REMOVALS_MAX = 16 };

struct sim_committed {
    uint64_t term;
    uint64_t hash;
};

struct sim_leader {
    uint32_t node;  // 0 = none yet
    uint64_t incarnation;
};

struct sim_digest {
    uint64_t applied;
    uint64_t digest;
};

// A replica that was taken away: undone when the batch with its tombstone is lost in a crash.
struct sim_removal {
    uint64_t before;   // the latest incarnation taken away earlier
    uint64_t gone_at;  // batches that the node's log store had then
};

struct sim_shard_record {
    struct shard_id id;
    struct sim_committed *entries;  // entries[i] has index i + 1
    uint64_t count;
    uint64_t capacity;
    struct sim_leader leaders[SIM_TERMS_MAX];  // by term
    struct hlc_ts closed;                      // largest published by any replica
    struct hlc_ts timestamp;                   // largest in an applied entry
    struct hlc_ts entry_ceiling;
    struct sim_digest digests[SIM_DIGESTS_MAX];  // by hash of applied; the latest wins
    struct sim_digest reports[SIM_REPORTS_MAX];  // the product's own, likewise
    // By node. A replica of a later incarnation starts over.
    uint64_t incarnations[SIM_NODES_MAX];  // of the replica last seen there
    uint64_t removed[SIM_NODES_MAX];       // the latest incarnation that was taken away there
    struct sim_removal removals[SIM_NODES_MAX][SIM_REMOVALS_MAX];  // the latest ones
    uint32_t removal_count[SIM_NODES_MAX];
    uint64_t walked[SIM_NODES_MAX];    // in its present boot
    uint64_t commits[SIM_NODES_MAX];   // in its present boot
    uint64_t terms[SIM_NODES_MAX];     // last term seen there
    bool whole[SIM_NODES_MAX];         // also before its present boot
    bool hollow[SIM_NODES_MAX];        // as last seen, of a node that is down, too
    bool back[SIM_NODES_MAX];          // of a boot, not looked at yet
    bool open[SIM_NODES_MAX];          // at the end of its last turn
    bool seen[SIM_NODES_MAX];          // in the look under way
    uint64_t reported[SIM_NODES_MAX];  // index of the product's digest last seen there
    uint64_t marks[SIM_NODES_MAX];     // of the replica when it was looked at last
    uint64_t sums[SIM_NODES_MAX];      // of its frontiers then, closed aside
    uint64_t leader_changes;
    uint64_t last_digest;  // at the end
};

struct sim_checks {
    struct sim_world *world;
    struct sim_shard_record shards[SIM_CHECK_SHARDS_MAX];
    uint32_t shard_count;
    uint64_t catalog_version;  // largest of any node, ever
    uint64_t moves;            // turns that moved a frontier
    bool moved;                // the present one
    uint64_t removals;         // replicas that went for good
    uint64_t applied;          // entries compared
    uint64_t digests;          // digests compared
    uint64_t wall_lead_us;     // the furthest that any node's wall clock ever was ahead of now_ns
    struct sim_node *node;     // being looked at
};

void sim_checks_init(struct sim_checks *self, struct sim_world *world);
void sim_checks_deinit(struct sim_checks *self);
// A node starts over: what it had applied in its last boot is looked at again.
// Before the node crashes: who was whole. Nothing was before a node that fell.
void sim_checks_crash(struct sim_checks *self, struct sim_node *node);
// After it crashed: so many batches of its log store are left.
void sim_checks_lost(struct sim_checks *self, struct sim_node *node, uint64_t kept);
void sim_checks_boot(struct sim_checks *self, struct sim_node *node);
// Before the node is given a message: which replicas its boot has opened, and in which state.
void sim_checks_back(struct sim_checks *self, struct sim_node *node);
void sim_checks_turn(struct sim_checks *self, struct sim_node *node);
// The node at this place is another from now on, with empty disks.
void sim_checks_replaced(struct sim_checks *self, struct sim_node *node);
// A raft message that a replica sends: the removed ones have nothing to say.
void sim_checks_sent(struct sim_checks *self, const struct sim_node *node, struct shard_id shard,
                     uint64_t incarnation);
// All replicas of all shards hold the same, and nothing is left to apply.
bool sim_checks_converged(struct sim_checks *self);
// The node holds no state of the shard: a snapshot is taking its place, or was to.
bool sim_checks_is_hollow(const struct sim_checks *self, const struct sim_node *node,
                          struct shard_id shard);
// A node that holds the shard as its members have it, or NULL.
struct sim_node *sim_checks_holder(struct sim_checks *self, struct shard_id shard);
// Where every replica stands, for people.
void sim_checks_print(struct sim_checks *self);
// After convergence: digests of all shards on all nodes.
void sim_checks_equality(struct sim_checks *self);
