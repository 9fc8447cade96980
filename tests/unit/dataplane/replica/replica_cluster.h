// SPDX-License-Identifier: Apache-2.0
// replica_cluster.h - three tables with many shards in one process; time, messages and the fate of
//             each message by hand.
// Invariants: every shard has a voter on each of the first so many nodes; logs keep nothing and are
//             durable at once, so no node can restart.
// Ownership:  the caller destroys the cluster, and unrefs the letters it took.
// Thread:     the test's.
// See:        replica_leads_test.c, replica_share_test.c, replica_resign_test.c
#pragma once

#include "dataplane/base/prng.h"
#include "dataplane/replica/replica_resign.h"
#include "dataplane/replica/replica_table.h"

enum {
    CLUSTER_NODES = 3,
    CLUSTER_SHARDS_MAX = 2048,
    CLUSTER_FIRST_SHARD = 16,
    CLUSTER_LETTERS_MAX = 1 << 17
};

struct cluster;

struct cluster_letter {
    struct node_id from;
    struct node_id to;
    enum peer_message_type type;
    struct bytes *body;
};

struct cluster_node {
    struct cluster *cluster;
    struct node_id id;
    struct env env;
    struct log_store log;
    struct support support;
    struct hlc_clock hlc;
    struct state_machine machine;
    struct replica_table *table;
    uint64_t applied[CLUSTER_SHARDS_MAX];
    struct log_completion done[CLUSTER_SHARDS_MAX];
    uint64_t submitted[CLUSTER_SHARDS_MAX];
    uint32_t done_count;
    uint64_t sent[PEER_MESSAGE_TYPE_COUNT];        // messages
    uint64_t sent_bytes[PEER_MESSAGE_TYPE_COUNT];  // and their sizes
};

struct cluster {
    struct cluster_node nodes[CLUSTER_NODES];
    uint32_t shard_count;
    uint32_t voters;
    uint64_t now_ns;
    struct prng prng;
    struct cluster_letter *letters;  // CLUSTER_LETTERS_MAX, a ring
    uint64_t head;
    uint64_t tail;
    uint32_t cut;  // this node hears and is heard by nobody; 0 = none
    // What becomes of a letter: true = it is delivered now. The filter may keep it (and delivers or
    // unrefs it then). NULL = all are delivered.
    bool (*filter)(struct cluster *self, const struct cluster_letter *letter);
    void *ctx;  // of the filter
};

struct cluster *cluster_create(uint32_t shard_count, uint32_t voters);
void cluster_destroy(struct cluster *self);
// Runs messages and timers for so long.
void cluster_run(struct cluster *self, uint64_t ms);
// Hands one letter over, and keeps it the caller's.
enum status cluster_deliver(struct cluster *self, const struct cluster_letter *letter);
void cluster_turn(struct cluster_node *node);
// Place 0 is the first shard; nodes count from 1.
struct replica *cluster_replica(struct cluster *self, uint32_t node, uint32_t place);
// Node that leads the shard, as it says itself; 0 = none, fails when two lead in one term.
uint32_t cluster_leader(struct cluster *self, uint32_t place);
// How many shards the node leads.
uint32_t cluster_led(struct cluster *self, uint32_t node);
// Writes on the shard at its leader; the result comes when time passes.
enum status cluster_put(struct cluster *self, uint32_t place);
