// SPDX-License-Identifier: Apache-2.0
// node.h - a node as a process runs it: threads, stores and sockets around a node_core.
// Invariants: the core is touched by the loop's thread alone; a group of log writes is on the log
//             writer or
//             in the core, never both; at most one flush runs; a node without identity has no core.
// Ownership:  the node owns everything it opens; options are copied.
// Thread:     create, start, stop, destroy: the owner. What is marked "loop": the shard loop.
// See:        api/node/README.md; docs/ARCHITECTURE.md "Threads"
#pragma once

#include "api/node/join.h"
#include "api/node/node_core.h"
#include "dataplane/loop/loop.h"
#include "dataplane/transport/transport.h"

enum { NODE_JOIN_MAX = 16, NODE_PATH_SIZE_MAX = 4096 };

struct node_options {
    const char *data_dir;
    const char *peer_listen;     // "host:port"
    const char *peer_advertise;  // NULL: peer_listen as bound
    const char *join[NODE_JOIN_MAX];
    uint32_t join_count;
    const char *region;
    const char *zone;
    int32_t latitude_microdegrees;
    int32_t longitude_microdegrees;
    bool insecure;
    bool alone;  // a new data directory becomes a cluster of one without being asked
    uint64_t cache_size;
    uint64_t write_buffer_size;
    uint64_t support_duration_ms;
    uint64_t election_ms_min;
    uint64_t clock_lead_ms_max;
    uint32_t calls_max;
    struct node_watchdog_config disk;  // 0 = the defaults
    uint64_t disk_reserve_size;        // bytes that are kept free; 0 = no bound
    uint64_t shard_bytes_max;          // proposals in flight of one shard
    // Loop, all optional: the node got its identity and its core (once); the catalogue changed; the
    // core's turn has ended and answers may go out.
    void (*ready)(void *ctx);
    void (*catalog_changed)(void *ctx);
    void (*turn)(void *ctx);
    void *ctx;
};

struct node;

// Locks the data directory, opens the stores, binds the peer port. err names what is wrong.
NODISCARD enum status node_create(const struct node_options *options, struct node **out_node,
                                  struct err *err);
// What clients dial, told to the catalogue. Before node_start.
void node_set_rpc_address(struct node *self, const char *address);
// Starts the core when there is an identity, and runs the shard loop on its thread.
NODISCARD enum status node_start(struct node *self, struct err *err);
// Gives leaderships away, stops threads in order, flushes nothing: the log holds everything.
void node_stop(struct node *self);
void node_destroy(struct node *self);

struct loop *node_loop(struct node *self);
// Loop. Its wall clock is the one that the core goes by, once there is a core.
const struct env *node_env(const struct node *self);
// Loop, development only: what is added to the machine's clock.
void node_set_dev_clock(struct node *self, int64_t offset_ms);
int64_t node_dev_clock(const struct node *self);
// Loop; NULL while the node has no identity.
struct node_core *node_core_get(struct node *self);
struct transport *node_transport(struct node *self);
const struct catalog_node *node_self(const struct node *self);
// Loop; all zero while the node has no identity.
const struct join_cluster *node_cluster(const struct node *self);
uint64_t node_uptime_ms(const struct node *self);

// Loop: founds a cluster. replicas = members of the catalogue's group, 0 = 3 when enough nodes
// asked to join,
// else 1. ALREADY_EXISTS; FAILED_PRECONDITION names how many nodes were heard of.
NODISCARD enum status node_init_cluster(struct node *self, uint32_t replicas, struct err *err);
