// SPDX-License-Identifier: Apache-2.0
// replica_world.h - some tables in one process with stores that crash: a log, a state machine with
// its flushes, a network, a clock; all of it by hand.
// Invariants: what a crash keeps is what was synced (log) and flushed (state), or more when the
//             test says so; every replica that applied or installed an index had the same state
//             there, checked at each apply, install and end of a run.
// Ownership:  the world owns everything.
// Thread:     the test's.
// See:        tests/unit/dataplane/replica/replica_snapshot_test.c
#pragma once

#include "dataplane/base/prng.h"
#include "dataplane/replica/replica_members.h"
#include "dataplane/replica/replica_table.h"

enum {
    WORLD_NODES = 5,
    WORLD_KEYS = 96,
    WORLD_RECORDS_PER_CHUNK = 8,
    WORLD_RECORD_SIZE = 100,  // what a record counts for in a digest's slice
    WORLD_LETTERS_MAX = 16384,
    WORLD_CONFIGS_MAX = 64,
    WORLD_HISTORY_MAX = 1 << 17,
};
#define WORLD_SHARD ((struct shard_id){16})

struct world;

// What a log holds, once as it is and once as a crash leaves it.
struct world_log_image {
    struct log_bounds bounds;
    struct log_entry *entries;  // trim_index + 1 at place 0
    uint32_t capacity;
    uint32_t config_count;
    struct {
        uint64_t index;
        struct bytes *encoded;
    } configs[WORLD_CONFIGS_MAX];
};

struct world_log {
    struct log_store port;
    struct world_log_image now;
    struct world_log_image durable;
    uint64_t sequence_submitted;
    uint64_t sequence_durable;
    uint64_t resets;  // times that the log began anew
};

struct world_state {
    uint64_t applied;
    bool hollow;
    uint8_t base[4096];
    size_t base_size;
    uint64_t values[WORLD_KEYS];
};

struct world_node {
    struct world *world;
    struct node_id id;
    uint32_t boot;
    bool up;
    bool placed;  // the owner of the table wants a replica here when a peer speaks to it
    struct env env;
    struct world_log log;
    struct support support;
    struct hlc_clock hlc;
    struct replica_table *table;
    struct state_machine machine;
    struct world_state state;
    struct world_state flushed;
    struct world_state flushing_state;
    bool flushing;
    bool ended;             // nothing was applied since end()
    uint64_t flush_due_ns;  // next begin or end of a flush; UINT64_MAX = by hand
    uint64_t flush_every_ns;
    uint32_t exports_open;
    uint32_t digests_open;
    uint32_t digest_records;      // walked since the last step of time began
    uint32_t digest_records_max;  // in any step
    uint32_t ingests_begun;
    uint32_t ingests_ended;
    uint32_t removed;
    int64_t wall_offset_us;
};

struct world_letter {
    uint64_t due_ns;
    struct node_id from;
    struct node_id to;
    enum peer_message_type type;
    struct bytes *body;
};

struct world {
    struct world_node nodes[WORLD_NODES];
    uint32_t node_count;
    uint64_t now_ns;
    struct prng prng;
    struct shard_descriptor descriptor;
    uint32_t voters;  // nodes 1..voters are the first members
    struct world_letter letters[WORLD_LETTERS_MAX];
    uint32_t letter_count;
    uint64_t history[WORLD_HISTORY_MAX];  // digest of the state after each index; 0 = not known yet
    uint64_t puts;
    uint64_t acknowledged;  // largest index of a put that was acknowledged

    // An operation: the voters that the shard is to have; 0 = none was ordered.
    uint32_t target_count;
    struct shard_target targets[WORLD_NODES];
    struct replica_members_progress progress;
    struct raft_membership committed;  // what the owners of the tables know
    uint64_t members_due_ns;

    // Faults.
    bool cut[WORLD_NODES];  // cut off from everybody
    uint32_t lose_percent;
    uint32_t repeat_percent;
    uint32_t corrupt_percent;  // of snapshot chunks
    uint64_t delay_ns_max;
    // Called for each message that is about to be posted; false drops it.
    bool (*filter)(struct world *world, const struct world_letter *letter);
    // Settings of the tables.
    uint64_t trim_lag_max;
    uint64_t digest_interval_ns;
    uint64_t digest_bytes_per_s;
    uint32_t digest_slice_size;
    uint64_t bytes_per_s;
    uint32_t chunk_pad;  // bytes added to each chunk
    bool diverged;       // the test spoils a state by hand: equality is checked at the end only
    uint64_t dropped_chunks;
    bool spoil_views;        // digests fail as if the store were damaged
    uint32_t refuse_chunks;  // so many are refused by the state machine
    bool deaf;               // owners do not hear of removals
};

struct world *world_create(uint32_t node_count, uint32_t voters, uint64_t seed);
void world_destroy(struct world *self);
// Nodes are numbered from 1.
struct world_node *world_node(struct world *self, uint32_t number);
void world_start(struct world *self, uint32_t number, bool first_leader);
// keep: everything submitted to the log reached the disk although nobody was told.
void world_crash(struct world *self, uint32_t number, bool keep);
void world_run(struct world *self, uint64_t ms);
// At most max_ms, until the condition holds; false when it never did.
bool world_run_until(struct world *self, uint64_t max_ms, bool (*holds)(struct world *self));
void world_turn(struct world_node *node);
void world_flush_begin(struct world_node *node);
void world_flush_end(struct world_node *node, bool flushed);

struct replica *world_replica(struct world *self, uint32_t number);
uint32_t world_leader(struct world *self);  // 0 = none
// Proposes one write at the leader, if there is one; outcomes are kept in the world.
bool world_put(struct world *self);
void world_puts(struct world *self, uint32_t count);
// Orders the voters that the shard is to have.
void world_want(struct world *self, const uint32_t *numbers, uint32_t count);
// Every replica of a node that is up is whole, and applied as much as the others with equal
// contents; the members are those that are wanted.
bool world_is_equal(struct world *self);
struct replica_frontiers world_frontiers(struct world *self, uint32_t number);
