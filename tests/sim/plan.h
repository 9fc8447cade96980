// SPDX-License-Identifier: Apache-2.0
// plan.h - what a seed means: the cluster, the load and the faults of one simulated world.
// Invariants: equal seeds draw equal plans; a plan never asks for the impossible: every fault ends,
//             and after the last one the cluster has all the time it is promised.
// Ownership:  values.
// Thread:     pure.
// See:        tests/sim/README.md "Faults"
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { SIM_NODES_MAX = 5, SIM_SHARDS_MAX = 6, SIM_KEYS_PER_SHARD_MAX = 6, SIM_CLIENTS_MAX = 8 };

enum sim_fault {
    SIM_FAULT_DROP,        // messages are lost, at random, all the time
    SIM_FAULT_DUPLICATE,   // messages arrive again, later
    SIM_FAULT_REORDER,     // messages overtake each other
    SIM_FAULT_SLOW_NET,    // some messages take very long
    SIM_FAULT_HALVES,      // two groups that do not hear each other
    SIM_FAULT_ONE_WAY,     // some links lose everything in one direction
    SIM_FAULT_BRIDGE,      // two groups, joined by one node that both hear
    SIM_FAULT_ISOLATE,     // the leader of some shard alone
    SIM_FAULT_CATALOG,     // the catalogue loses its majority
    SIM_FAULT_CRASH,       // one node stops and comes back
    SIM_FAULT_CRASH_ALL,   // all at once
    SIM_FAULT_PAUSE,       // one node stands still while its clocks go on
    SIM_FAULT_CLOCK_JUMP,  // a wall clock jumps, by milliseconds or by hours
    SIM_FAULT_CLOCK_RATE,  // monotonic clocks run at different rates, wall clocks drift
    SIM_FAULT_SLOW_DISK,   // syncs take long for a while
    SIM_FAULT_SLOW_CPU,    // turns take long, and gather much
    SIM_FAULT_TRANSFER,    // leaderships are handed over
    SIM_FAULT_RESIGN,      // a node gives all its leaderships away
    SIM_FAULT_ORPHAN,      // a leader is cut off while all others restart at once
    SIM_FAULT_RING,        // each node hears a majority, no two the same one
    SIM_FAULT_FLAP,        // links go down and up again, many times a second
    SIM_FAULT_SLOW_LINK,   // some links take long, for a while
    SIM_FAULT_REPLAY,      // messages arrive once more up to minutes later
    SIM_FAULT_STROBE,      // a wall clock jumps to and fro many times a second
    SIM_FAULT_ROLLING,     // all nodes restart, one after the other
    SIM_FAULT_FULL_DISK,   // a node stops on its next write, and comes back with room
    SIM_FAULT_SYNC_ERROR,  // a node stops on a sync that failed
    SIM_FAULT_DISK_STALL,  // one sync hangs, for up to many seconds
    SIM_FAULT_OLD_FORMAT,  // nodes are of the release before until they are upgraded, one by one
    SIM_FAULT_LOG_ROT,     // records of a log rot while the node is down
    SIM_FAULT_WIPE,        // a node loses everything, and comes back as another one
    SIM_FAULT_MEMBERS,     // the members of shards change
    SIM_FAULT_COUNT
};
#define SIM_FAULTS_ALL ((UINT64_C(1) << SIM_FAULT_COUNT) - 1)

// A nemesis that looks at the state of the cluster and strikes where it hurts (storm.h). Drawn
// apart from all else; worlds with a storm have other shapes and fewer random faults.
enum sim_storm {
    SIM_STORM_NONE,
    SIM_STORM_LEADERS,    // whoever comes to lead is cut off or crashes before it gets anywhere
    SIM_STORM_MEMBERS,    // members change all the time, leaders are cut off while they do
    SIM_STORM_TRANSFERS,  // leaders hand over, and do not hear what becomes of it
    SIM_STORM_SNAPSHOTS,  // everybody needs snapshots; receivers crash when they have got one
    SIM_STORM_RELEASES,   // lists of leaderships come late, to those who just promised
    SIM_STORM_COMMITS,    // what prepares and resolves transactions comes late, or once more
    SIM_STORM_COUNT
};

// Seeded bugs of the simulator's own ports; each must be caught (mutants_test).
enum sim_mutant {
    SIM_MUTANT_NONE,
    SIM_MUTANT_LYING_DISK,      // says synced, and is not
    SIM_MUTANT_UNKNOWN_FAILED,  // the client takes an unknown outcome for a failure
    SIM_MUTANT_NEW_ID,          // the client repeats a commit under another transaction id
    SIM_MUTANT_OLD_BOOT,        // messages of before a crash reach the next boot
    SIM_MUTANT_WILD_CLOCK,      // monotonic clocks beyond what leases allow for
    SIM_MUTANT_SAME_BOOT,       // a restarted node claims its old boot number
    SIM_MUTANT_STALE_READ,      // a gateway answers a read from what it saw last
    SIM_MUTANT_EAGER_NODE,      // clients use a node before its catalogue is current
    SIM_MUTANT_COUNT
};

struct sim_plan {
    uint64_t seed;
    enum sim_mutant mutant;
    uint32_t node_count;
    uint32_t member_count;
    uint32_t shard_count;
    uint32_t replicas;  // of a shard
    uint32_t keys_per_shard;
    uint32_t client_count;

    // Phases, virtual time.
    uint64_t warm_ns;
    uint64_t fault_ns;

    // Network.
    uint64_t delay_ns_min;
    uint64_t delay_ns_max;
    uint32_t drop_ppm;
    uint32_t duplicate_ppm;
    uint32_t slow_ppm;
    uint64_t slow_ns_max;
    uint32_t replay_ppm;
    uint64_t replay_ns_max;
    bool reorder;

    // Nodes.
    uint64_t sync_ns_min;
    uint64_t sync_ns_max;
    uint64_t flush_ns;
    uint64_t turn_ns_max;
    uint32_t rate_ppm;  // monotonic clocks run at 1 +- this
    uint32_t drift_ppm;
    uint64_t wall_us_max;  // wall clocks are off by up to this from the start
    uint64_t lead_us_max;  // how far ahead a clock may be that others follow; 0 = the product's
    uint64_t support_ns;
    uint64_t trim_lag;           // entries kept for a replica that lags; beyond, it gets a snapshot
    uint64_t digest_ns;          // between comparisons of the replicas' state; 0 = never
    uint32_t digest_slice_size;  // what is digested at one go; 0 = the product's
    uint64_t snapshot_bytes_per_s;
    uint32_t snapshot_chunk_size;
    uint64_t append_size_max;
    uint64_t flush_slow_ns;  // flushes take this much longer
    uint64_t disk_slow_ns;   // thresholds of the watchdog: this, four times and sixteen times it
    uint64_t frontier_ns;
    uint64_t kept_us;  // outcomes and records of transactions; 0 = as long as in production

    // Clients.
    bool busy;  // as much as the clients can, for a shorter time
    uint64_t think_ns_max;
    uint64_t deadline_ns_max;
    uint32_t read_percent;
    uint32_t condition_percent;  // of commits
    uint32_t repeat_percent;     // of commits
    bool sticky;                 // each client keeps to one gateway, mostly
    uint32_t txn_client_count;   // of transactions over several shards; 0 = none in this world
    uint32_t talk_percent;       // of those that append to lists: interactive
    bool tokens;                 // their clients bring timestamps that are ahead of all clocks

    // Faults.
    uint64_t faults;     // bits of enum sim_fault
    uint32_t fault_max;  // no more than so many are begun; shrinking lowers it
    uint64_t fault_every_ns;
    uint64_t fault_lasts_ns;
    bool clock_hours;
    enum sim_storm storm;
    bool heal_all;  // before liveness is asked for; else only a majority of each group
};

// faults_allowed masks what may be drawn (SIM_FAULTS_ALL for everything).
void sim_plan_draw(struct sim_plan *self, uint64_t seed, uint64_t faults_allowed);
// What the speed of the simulator is measured with: the same faults, but three nodes, two shards,
// four clients that think a quarter of a second, and two minutes.
void sim_plan_ordinary(struct sim_plan *self);
const char *sim_fault_name(enum sim_fault fault);
const char *sim_storm_name(enum sim_storm storm);
const char *sim_mutant_name(enum sim_mutant mutant);
// One line for people.
void sim_plan_print(const struct sim_plan *self);
