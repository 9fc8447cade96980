// SPDX-License-Identifier: Apache-2.0
// raft_world.h - a few cores of one shard in one process, with a network and disks that the test
// moves by hand.
// Invariants: nothing happens by itself: packets wait until delivered, writes until synced, time
//             until advanced; after every step the world asserts election safety, leader
//             completeness, state machine safety, exclusive leases and raft_check.
// Ownership:  world_create makes it, world_destroy frees it with all packets, disks and cores.
// Thread:     the test's.
// See:        dataplane/raft/README.md; tests/data/raft; raft_random_test.c
#pragma once

#include "dataplane/base/prng.h"
#include "dataplane/raft/raft.h"

#include <stdio.h>

enum { WORLD_NODES_MAX = 9, WORLD_LOG_MAX = 2048, WORLD_TERMS_MAX = 4096 };

enum world_packet_kind {
    WORLD_RAFT,
    WORLD_SUPPORT_REQUEST,
    WORLD_SUPPORT_REPLY,
    WORLD_LEADS,           // what a node leads: term, or 0 for nothing
    WORLD_FRONTIER,        // term and commit of a leader
    WORLD_SNAPSHOT,        // all of it at once
    WORLD_SNAPSHOT_REPLY,  // commit: the index that is held now, 0 = refused
};

// A snapshot under way, and what is kept of the latest that was installed.
struct world_snapshot {
    uint64_t index;  // 0 = none
    uint64_t term;
    struct raft_membership membership;
    uint64_t leader_term;
    uint32_t from;
    uint64_t from_incarnation;
};

struct world_packet {
    enum world_packet_kind kind;
    uint32_t from;  // 1-based node numbers, equal to the node ids
    uint32_t to;
    enum raft_message_type type;  // WORLD_RAFT
    uint64_t sequence;            // WORLD_LEADS, WORLD_FRONTIER
    uint64_t term;
    uint64_t commit;
    uint64_t to_incarnation;         // WORLD_SNAPSHOT, WORLD_SNAPSHOT_REPLY
    uint64_t from_incarnation;       // WORLD_SNAPSHOT_REPLY
    struct world_snapshot snapshot;  // WORLD_SNAPSHOT
    struct bytes *body;
    struct world_packet *next;
};

struct world_log {
    struct log_entry items[WORLD_LOG_MAX];  // index i at items[i - 1]
    uint64_t base;                          // nothing at or below is held
    uint64_t last;
};

struct world_write {
    uint64_t sequence;
    uint64_t truncate_from;
    uint64_t base_index;
    uint64_t base_term;
    struct raft_membership base_membership;
    bool has_hard_state;
    struct log_hard_state hard_state;
    struct log_entry *entries;
    uint32_t entry_count;
    struct world_write *next;
};

struct world_held {
    uint64_t after_sequence;
    struct raft_message message;
    struct world_held *next;
};

struct world;

struct world_node {
    struct world *world;
    uint32_t number;
    bool up;
    bool paused;  // its clock goes on, the process does not
    uint32_t boot;
    uint64_t rate;  // of its monotonic clock, per mille
    struct support support;
    struct log_store store;
    struct raft_core *core;
    struct world_log view;  // with what was submitted
    struct world_log disk;  // what a crash leaves
    struct log_hard_state hard_state;
    uint64_t trim_index;
    uint64_t trim_term;
    uint64_t disk_trim_index;  // what a crash leaves
    uint64_t disk_trim_term;
    struct world_write *writes;  // oldest first
    struct world_held *held;     // oldest first
    uint64_t applied;

    // The replica: without one the node has nothing of the shard, and counts as down.
    bool exists;
    uint64_t incarnation;
    uint64_t tombstone;           // incarnations up to this one were removed here
    struct raft_membership base;  // in force at disk.base, or the first; empty = not known
    // The state machine's own marks, durable at once.
    bool hollow;
    bool damaged;                     // of the log
    bool unreadable;                  // damaged when it was opened, and not mended since
    struct world_snapshot installed;  // its flush is the least that a restart finds
    struct world_snapshot receiving;  // complete, its flush is under way
    struct world_snapshot telling;    // done, but the leader is told when writes up to
    uint64_t telling_after;           // this one are
    // Leader: snapshots to others.
    struct {
        bool active;
        bool sent;
        uint64_t incarnation;
        uint64_t min_index;
        uint64_t since_ns;
    } sending[WORLD_NODES_MAX + 1];

    uint64_t read_token_ok;    // largest token confirmed
    uint64_t read_token_lost;  // largest token refused
    // by token % 64: what had been announced by leaders when the read began
    uint64_t read_floor[64];
    uint64_t read_tokens;  // given out
    uint32_t store_reads;
};

struct world_options {
    uint32_t voters;
    uint32_t learners;
    uint32_t spares;  // nodes without a replica
    uint64_t seed;
    bool random_rates;
    bool no_election_spread;         // node k draws 30 ms * (k - 1) instead of random bits
    uint32_t inflight_messages_max;  // 0 = 256
    uint64_t append_size_max;        // 0 = 1 MiB
    uint32_t cache_count_max;        // 0 = 256
    uint64_t cache_size_max;         // 0 = 1 MiB
};

struct world {
    struct world_options options;
    struct prng prng;
    uint64_t now_ns;
    uint32_t count;
    struct world_node nodes[WORLD_NODES_MAX];
    struct world_packet *packets;  // oldest first
    uint32_t packet_count;
    bool cut[WORLD_NODES_MAX + 1][WORLD_NODES_MAX + 1];
    bool first_entry_by_hand;  // a new leader does not propose its empty entry by itself
    bool apply_by_hand;
    bool no_forgeries;     // all messages are of cores: majorities are checked on the disks
    bool install_by_hand;  // otherwise settling installs what was received
    uint64_t payloads;     // numbers given out, so that each payload is unique
    // The truth so far.
    uint64_t committed_terms[WORLD_LOG_MAX];
    uint64_t committed_payloads[WORLD_LOG_MAX];
    uint64_t decided_in[WORLD_LOG_MAX];  // term of the first leader that committed the index
    uint64_t decided;                    // up to here
    uint64_t committed;                  // largest index applied anywhere
    uint64_t leader_announced;           // largest index announced by a leader: what clients know
    uint32_t leader_of[WORLD_TERMS_MAX];
    struct raft_membership decided_by;  // what was in use at the latest decision
    uint64_t decided_term;
    uint64_t elections;
    FILE *trace;  // decisions as text; NULL = none
};

struct world *world_create(const struct world_options *options);
void world_destroy(struct world *self);
struct world_node *world_at(struct world *self, uint32_t number);
uint64_t world_node_now(const struct world_node *node);

// One event into a node; its actions are carried out.
enum status world_step(struct world_node *node, struct raft_event *event);
void world_tick(struct world_node *node);
// Proposes count entries of payload_size bytes (at least 8).
enum status world_propose(struct world_node *node, uint32_t count, uint32_t payload_size);
enum status world_read(struct world_node *node);
// Completes the oldest writes, all of them when count is 0.
void world_sync(struct world_node *node, uint32_t count);
void world_apply(struct world_node *node);
// Lets time pass; deadlines that were reached tick (only of nodes that are up).
void world_advance(struct world *self, uint64_t ns);
void world_expire(struct world_node *node);

// Removes the packet from the network and gives it to its receiver, or frees it when dropped.
void world_deliver(struct world *self, struct world_packet *packet);
void world_drop(struct world *self, struct world_packet *packet);
struct world_packet *world_duplicate(struct world *self, const struct world_packet *packet);
// Oldest packet between two nodes of a kind; 0 stands for any node, -1 for any raft message type.
struct world_packet *world_find(struct world *self, uint32_t from, uint32_t to, int type);
// Delivers and syncs until nothing moves, at most some thousands of steps; false when it did not
// settle.
bool world_settle(struct world *self);
// An exchange of support between two nodes, both ways, at once.
void world_support(struct world *self, uint32_t a, uint32_t b);
void world_support_all(struct world *self);
void world_send_support(struct world_node *node, uint32_t to);
void world_send_leads(struct world_node *node, uint32_t to);
void world_send_frontier(struct world_node *node, uint32_t to);

// Loses all that was not synced; packets under way stay.
void world_crash(struct world_node *node);
// flushed: what the state machine holds after the restart.
enum status world_restart(struct world_node *node, uint64_t flushed);
// Puts entries of the given terms on the disk of a node that is down or fresh, with a hard state;
// then restart it.
// --- members and snapshots (raft_world_members.c)
// Proposes what the changes lead to.
enum status world_change(struct world_node *node, const struct raft_change *changes,
                         uint32_t count);
enum status world_propose_members(struct world_node *node, const struct raft_membership *next);
// Leaves a committed joint membership, if there is one.
enum status world_leave(struct world_node *node);
// Drops entries of the log; the node's flush covers them.
void world_trim(struct world_node *node, uint64_t index);
// The snapshot that was received is durable now.
void world_install(struct world_node *node);
// The state is gone; of one that is up by an event, of one that is down found at its restart.
void world_hollow(struct world_node *node);
// The log of a node that is down is found damaged at its restart, which keeps nothing of it.
void world_damage(struct world_node *node);
// The replica goes, its tombstone stays.
void world_remove(struct world_node *node);
// The least that its state machine can hold after a restart.
uint64_t world_flushed_min(const struct world_node *node);
bool world_is_member(const struct raft_membership *membership, const struct world_node *node);
// Every majority of one meets every majority of the other.
bool world_quorums_meet(const struct raft_membership *a, const struct raft_membership *b);
void world_print_members(FILE *out, const struct raft_membership *membership);

void world_set_log(struct world_node *node, const uint64_t *terms, uint32_t count, uint64_t term);

// The leader with the largest term, or NULL.
struct world_node *world_leader(struct world *self);
// Makes the node leader: campaigns, delivers and syncs until it leads and its first entry is
// committed.
void world_elect(struct world *self, uint32_t number);
// Asserts what needs all nodes: log matching.
void world_check_logs(const struct world *self);
const char *world_message_name(enum raft_message_type type);
const char *world_role_name(enum raft_role role);
