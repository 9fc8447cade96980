// SPDX-License-Identifier: Apache-2.0
// node_core.h - one node without its I/O: groups, gateway, catalogue and gossip composed; the
// process and the simulator both run this.
// Invariants: nothing here reads a clock, a socket or a file: all of it comes through env, the log
//             and the engine given at creation;
//             a member of the catalogue group learns the catalogue from its log alone, every other
//             node from deltas alone.
// Ownership:  the core owns support, clock, table, session, gateway, catalogue and machines;
//             engine, log and env are borrowed and outlive it.
// Thread:     confined to the shard loop.
// See:        api/node/README.md; docs/ARCHITECTURE.md; tests/sim
#pragma once

#include "api/node/node_watchdog.h"
#include "controlplane/catalog/catalog.h"
#include "dataplane/replica/replica_members.h"
#include "dataplane/replica/replica_table.h"
#include "storage/raftlog/raftlog.h"
#include "txn/apply/apply.h"
#include "txn/gateway/gateway.h"
#include "txn/session/session.h"
#include "txn/trace/trace.h"

struct node_core;

struct node_core_config {
    struct catalog_node self;  // id, incarnation, addresses, region ...
    uint32_t boot;             // of the data directory, from 1
    uint32_t member_count;     // the catalogue's group
    struct node_id members[SHARD_REPLICAS_MAX];
    const struct env *env;
    struct engine *data;
    struct raftlog *log;
    uint64_t support_duration_ns;
    uint64_t support_interval_ns;
    uint64_t election_ns_min;
    uint64_t resend_ns;
    uint64_t clock_lead_us_max;
    uint64_t ceiling_window_us;
    uint64_t frontier_interval_ns;
    uint64_t gossip_interval_ns;
    uint32_t calls_max;          // client calls in flight as gateway
    uint32_t served_max;         // calls in flight for other gateways
    uint32_t txns_max;           // transactions over several shards, coordinated here at once
    uint32_t recoveries_max;     // transactions of others that are brought to an end here at once
    uint32_t trace_events;       // how many the trace keeps, a power of two; 0 = no trace
    uint32_t shard_pending_max;  // proposals in flight per shard
    uint64_t shard_pending_size_max;
    // Entries that logs keep for replicas that lag or are away; beyond that they get snapshots.
    uint64_t trim_lag_max;
    uint64_t snapshot_bytes_per_s;     // 0 = no bound
    uint32_t snapshot_chunk_size;      // 0 = the default
    uint64_t append_size_max;          // bytes of one append message; 0 = the default
    uint64_t digest_interval_ns;       // how often replicas compare their state; 0 = never
    uint64_t digest_bytes_per_s;       // of what this node's leaders have compared; 0 = no bound
    uint32_t digest_slice_size;        // what is digested at one go; 0 = the default
    struct hlc_ts clock_floor;         // timestamps up to here may have been used; HLC_ZERO = none
    struct node_watchdog_config disk;  // thresholds of syncs of the raft log; 0 = the defaults
    // The catalogue changed: addresses, keyspaces or shards. May be NULL.
    void (*catalog_changed)(void *ctx);
    void *ctx;
};

// Sensible values for everything but identity, ports and members.
void node_core_config_defaults(struct node_core_config *config);

// Recovers what the engine and the log hold. STATUS_CORRUPT names what cannot be trusted.
NODISCARD enum status node_core_create(const struct node_core_config *config,
                                       struct node_core **out_core, struct err *err);
void node_core_destroy(struct node_core *self);

// Events. A message that does not decode is STATUS_CORRUPT and changes nothing.
NODISCARD enum status node_core_on_message(struct node_core *self, struct node_id from,
                                           enum peer_message_type type, struct bytes *owner,
                                           struct slice body);
void node_core_on_durable(struct node_core *self, const struct log_completion *items,
                          uint32_t count);
// A sync of the raft log was handed to the disk (when raftlog asks the writer to start), and has
// ended (before raftlog_group_done, which may start the next). Whoever runs the core calls both on
// the loop; the core does the rest at its next turn.
void node_core_on_sync_started(struct node_core *self);
void node_core_on_sync_finished(struct node_core *self);

// What the node thinks of the disk under its raft log.
struct node_disk_status {
    enum node_disk_state state;  // NODE_DISK_FAILED: whoever runs the core has to stop it
    uint64_t pending_ns;         // age of the sync under way; 0 = none
    uint64_t last_ns;            // how long the latest one took
    uint64_t worst_ns;           // and the longest since the start
};
void node_core_disk(const struct node_core *self, struct node_disk_status *out);

// The wall clock that the node goes by: the machine's, but for a while after a step of it, and
// while a majority of the nodes says that it is wrong. Timestamps come from this one.
uint64_t node_core_wall_us(struct node_core *self);
// Whoever runs the core makes the mark durable when one is wanted, tells when it is, and gives the
// latest as clock_floor to the next start.
bool node_core_clock_wanted(struct node_core *self, struct hlc_ts *out_mark);
void node_core_clock_kept(struct node_core *self, struct hlc_ts mark);
struct hlc_ts node_core_clock_mark(const struct node_core *self);

uint64_t node_core_deadline_ns(const struct node_core *self);
void node_core_on_time(struct node_core *self);
// Ends a turn: works everything off, then hands the gathered group to the log writer.
void node_core_turn(struct node_core *self);

// Trim certificate: remembers what is applied now (flush_begin), the caller flushes the data
// engine, then tells (flush_done).
// flush_begin is false when nothing was applied since the last flush.
bool node_core_flush_begin(struct node_core *self);
void node_core_flush_done(struct node_core *self, bool flushed);
// A snapshot that was taken in waits for a flush: better soon than in time.
bool node_core_flush_wanted(const struct node_core *self);

struct session *node_core_session(struct node_core *self);
// Where clients' requests go.
struct gateway *node_core_gateway(struct node_core *self);
struct catalog *node_core_catalog(struct node_core *self);
struct replica_table *node_core_table(struct node_core *self);
struct apply *node_core_apply(struct node_core *self);
// What happened lately to transactions here; NULL when nothing is noted.
struct trace *node_core_trace(struct node_core *self);
struct support *node_core_support(struct node_core *self);
struct hlc_clock *node_core_hlc(struct node_core *self);
// True once this node stands in the catalogue as it describes itself.
bool node_core_is_registered(const struct node_core *self);

// True once this node's catalogue is as new as what a majority of the members say (or it leads
// them), or after
// 3 s without such word, since data must be served while the control plane has no majority. Stays
// true.
bool node_core_is_current(struct node_core *self);
// True when this node and every other that spoke within the last second hold that version of the
// catalogue, and serve by it.
bool node_core_all_hold(const struct node_core *self, uint64_t version);

// What one node says about its replica of a shard.
struct node_replica_status {
    struct node_id node;
    bool present;
    struct replica_frontiers frontiers;
};

// What the shard's leader says about the members.
struct node_members_status {
    struct node_id leader;  // 0 = no leader answered
    uint64_t term;
    uint64_t config_epoch;     // in use
    uint64_t committed_epoch;  // of the latest that is committed
    uint64_t last;             // of its log
    uint32_t count;
    struct shard_replica members[SHARD_MEMBERS_MAX];
    uint64_t matches[SHARD_MEMBERS_MAX];  // how far each one's log is known to equal the leader's
    struct replica_members_progress progress;
    uint64_t waited_ms;  // in the step of the progress
};

enum { NODE_STATUS_NODES_MAX = SHARD_MEMBERS_MAX + SHARD_REPLICAS_MAX };

// Asks every replica of a shard, the nodes that are to hold one and some others for its frontiers;
// ends after 500 ms with those that answered.
struct node_status_call {
    struct shard_id shard;
    uint32_t other_count;
    struct node_id others[SHARD_REPLICAS_MAX];
    void (*done)(struct node_status_call *self, const struct node_replica_status *items,
                 uint32_t count);
    struct node_members_status members;  // out, of the leader of the highest term that answered
    // private
    uint64_t id;
    uint64_t deadline_ns;
    uint32_t expected;
    uint32_t count;
    struct node_replica_status items[NODE_STATUS_NODES_MAX];
    struct node_status_call *next;
};
// STATUS_NOT_FOUND for an unknown shard; done may be called before this returns.
NODISCARD enum status node_core_shard_status(struct node_core *self, struct node_status_call *call);
