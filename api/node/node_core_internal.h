// SPDX-License-Identifier: Apache-2.0
// node_core_internal.h - the struct behind node_core.h, shared by the files that make it up.
// Invariants: see node_core.h.
// Ownership:  see node_core.h.
// Thread:     confined to the shard loop.
// See:        api/node/README.md
#pragma once

#include "api/node/node_core.h"
#include "api/node/node_skew.h"
#include "dataplane/replica/replica_members.h"

#include <stddef.h>

// What another node said it holds of the catalogue.
struct node_heard {
    struct node_id node;
    uint64_t version;
    bool settled;       // as new as what its leader had committed
    uint64_t heard_ns;  // when it last spoke
};

// A shard whose members are changing, and how far its leader, which is here, is.
struct node_watch {
    struct shard_id shard;
    struct replica_members_progress progress;
    uint64_t report_due_ns;  // when the catalogue may be told (again)
};

// Latest reading of the wall clock.
struct node_clock {
    uint64_t read_ns;
    uint64_t raw_us;   // the machine's; 0 = none yet
    uint64_t wall_us;  // what it was taken for
    bool stepped;      // the machine's was stepped, and the peers have not been asked since
    int64_t kept_us;   // what the latest majority moved it by, while it is quarantined
};

struct node_core {
    struct node_core_config config;  // its env is the one below
    const struct env *outer;         // as given
    struct env env;                  // with the wall clock that the node goes by
    struct node_clock clock;
    struct hlc_ts clock_mark;  // durable
    uint64_t clock_calls;      // calls of clients when it was looked at last
    struct support support;
    struct hlc_clock hlc;
    struct catalog *catalog;
    struct catalog_machine *catalog_machine;  // NULL when this node is no member
    struct apply *apply;
    struct trace *trace;  // NULL = nothing is noted
    struct replica_table *table;
    struct session *session;
    struct gateway *gateway;
    struct buf scratch;

    struct node_watchdog watchdog;
    enum node_disk_state disk;  // what was acted upon

    struct hlc_skew skew;
    enum hlc_skew_state skew_state;  // what was acted upon
    bool skew_dirty;                 // an answer came since
    bool gave_away;                  // in this quarantine
    uint64_t offer_due_ns;           // when leaderships are offered again

    bool catalog_dirty;
    uint64_t opened_version;  // catalogue version up to which replicas were opened
    uint64_t gossip_due_ns;
    struct node_heard heard[CATALOG_NODES_MAX];
    uint32_t heard_count;
    uint64_t started_ns;
    bool current;  // the catalogue is as new as others say

    // Registration.
    struct session_call register_call;
    struct buf register_payload;
    bool registering;
    bool registered;
    uint64_t register_due_ns;

    // Shards led here whose members are to change, or whose change the catalogue has not heard of.
    struct node_watch *watches;
    uint32_t watch_count;
    uint32_t watch_capacity;
    uint64_t watch_due_ns;
    struct session_call report_call;
    struct buf report_payload;
    bool reporting;
    uint32_t report_position;  // watches are reported in turn
    struct shard_id *refused;  // of this node's replicas: their logs cannot be trusted
    uint32_t refused_count;

    // Diagnostics.
    struct node_status_call *status_head;
    uint64_t status_id;
};

bool node_core__is_member(const struct node_core *self, struct node_id node);

// node_disk.c
void node_core__disk_turn(struct node_core *self);

// node_clock.c
// The clock's HLC must be initialized.
void node_core__clock_init(struct node_core *self);
void node_core__trace_init(struct node_core *self);

// node_skew.c
// Support must be initialized.
void node_core__skew_init(struct node_core *self);
// The catalogue or the peers changed: who counts, and where they are.
void node_core__skew_peers(struct node_core *self);
// Judges when an answer came or `due`, and acts on it.
void node_core__skew_turn(struct node_core *self, bool due);

// node_gossip.c
void node_core__gossip_on_time(struct node_core *self, uint64_t now_ns);
enum status node_core__on_catalog(struct node_core *self, struct node_id from, struct slice body);

// node_members.c
// Opens, removes and opens anew what the catalogue says about the replicas of this node.
void node_core__place_replicas(struct node_core *self);
void node_core__describe_shard(struct node_core *self, struct shard_id shard);
const struct shard_descriptor *node_core__wanted(void *ctx, struct shard_id shard,
                                                 uint64_t incarnation);
// A shard led here may have something to change or to report.
void node_core__watch(struct node_core *self, struct shard_id shard);
const struct node_watch *node_core__watch_find(const struct node_core *self, struct shard_id shard);
void node_core__members_on_time(struct node_core *self, uint64_t now_ns);
uint64_t node_core__members_deadline(const struct node_core *self);

// node_register.c
void node_core__register_on_time(struct node_core *self, uint64_t now_ns);

// node_status.c
enum status node_core__on_status(struct node_core *self, struct node_id from, struct slice body);
void node_core__status_on_time(struct node_core *self, uint64_t now_ns);
uint64_t node_core__status_deadline(const struct node_core *self);
