// SPDX-License-Identifier: Apache-2.0
// node_internal.h - the struct behind node.h, shared by its files.
// Invariants: see node.h.
// Ownership:  see node.h.
// Thread:     see node.h.
// See:        api/node/README.md
#pragma once

#include "api/node/identity.h"
#include "api/node/node.h"
#include "api/node/node_mark.h"
#include "api/node/node_room.h"
#include "dataplane/loop/worker.h"
#include "storage/engine/rocksdb_engine.h"

enum { NODE_JOINERS_MAX = 64 };

// A node that asked to join while nobody here had an identity, or whose id is being fetched from
// the catalogue.
struct node_joiner {
    struct catalog_node self;
    struct transport_connection_id connection;
    struct node *node;
    struct session_call call;
    struct buf payload;
    bool asking;
    struct node_id given;  // 0 = not yet
};

struct node_log_job {
    struct worker_job job;
    struct node *node;
    struct raftlog_group *group;
};

struct node_flush_job {
    struct worker_job job;
    struct node *node;
    bool flushed;
    bool running;
};

struct node_mark_job {
    struct worker_job job;
    struct node *node;
    struct hlc_ts mark;
    bool kept;
    bool running;
};

struct node {
    struct node_options options;
    char data_dir[NODE_PATH_SIZE_MAX];
    struct identity *identity;
    struct catalog_node self;
    struct join_cluster cluster;
    struct loop *loop;
    struct worker *log_writer;
    struct worker *flusher;
    struct transport *transport;
    struct engine *log_engine;
    struct engine *data_engine;
    struct raftlog *log;
    struct node_core *core;
    struct env env;      // of the core's clock, once there is a core
    struct env machine;  // of the machine's clock
    int64_t dev_clock_ms;
    struct node_mark mark;
    struct node_log_job log_job;
    struct node_flush_job flush_job;
    struct node_mark_job mark_job;
    enum node_disk_state disk;  // as told to the log
    enum replica_room room;
    uint64_t room_due_ns;
    uint64_t flush_due_ns;
    uint64_t flush_log_size;  // of the raft log at the last flush
    uint64_t flush_catalog_version;
    uint64_t started_ns;
    uint64_t housekeeping_due_ns;
    uint64_t join_due_ns;
    // by place in the join list; 0 = none
    struct transport_connection_id join_dialled[NODE_JOIN_MAX];
    struct node_joiner joiners[NODE_JOINERS_MAX];
    uint32_t joiner_count;
    bool loop_started;
    bool stopping;  // no group goes to the log writer any more
};

// node_bootstrap.c
void node__on_join(void *ctx, struct transport_connection_id from, struct bytes *owner,
                   struct slice body);
void node__on_join_closed(void *ctx, struct transport_connection_id id, enum status why);
// Asks the next address of the join list; no effect once there is an identity.
void node__join_on_time(struct node *self, uint64_t now_ns);
// Brings the core to life under self->cluster.
enum status node__start_core(struct node *self, struct err *err);

// node_flush.c
void node__flush_on_time(struct node *self, uint64_t now_ns);
// Makes the clock's mark durable when the core wants it.
void node__mark_on_time(struct node *self);
