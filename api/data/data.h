// SPDX-License-Identifier: Apache-2.0
// data.h - the service lightcone.v1.Data: from protobuf to commands, through the session, and back.
// Invariants: I1 each request gets exactly one answer. I2 what a request asks is checked, limit by
//             limit, before it reaches the loop; a refusal names field and limit. I3 requests in
//             flight are bounded per node and per Batch stream; a client that does not read its
//             answers is not read from. I4 one Batch message costs one task on the loop.
// Ownership:  borrows server, loop, session and clock, which outlive it; owns the requests.
// Thread:     handlers decode on poller threads; the session is touched on the loop only, and so is
//             data_turn. data_set_directory: any.
// See:        api/data/README.md; api.md; tests/unit/api/data
#pragma once

#include "api/data/directory.h"
#include "api/rpc/rpc.h"
#include "dataplane/loop/loop.h"
#include "dataplane/port/env.h"
#include "txn/gateway/gateway.h"

struct data;

struct data_config {
    struct rpc_server *server;
    struct loop *loop;
    struct gateway *gateway;
    struct hlc_clock *hlc;
    const struct env *env;
    struct node_id self;
    uint64_t commit_size_max;     // encoded bytes of one commit; 0 = SHARD_COMMIT_SIZE_MAX
    uint32_t items_max;           // requests in flight of all Batch streams; 0 = 16384
    uint32_t stream_items_max;    // of one Batch stream; 0 = 4096, at most 16384
    uint64_t transact_bytes_max;  // kept for all interactive transactions; 0 = 256 MiB
};

// Registers the methods with the server, before it starts.
struct data *data_create(const struct data_config *config);
// After rpc_stop: nothing is in flight any more.
void data_destroy(struct data *self);
// Loop, before the first directory is set: whom requests go to. A node without identity has none
// yet, and requests that name no known keyspace never get that far.
void data_set_node(struct data *self, struct gateway *gateway, struct hlc_clock *hlc,
                   struct node_id node);
// The keyspaces that requests may name; takes the reference.
void data_set_directory(struct data *self, struct directory *directory);
// The end of a loop turn: answers that gathered go out, one message a stream, and the pollers are
// woken for those of unary calls. Call it last in the turn, after whatever completes requests: an
// answer that comes later waits for the next turn.
void data_turn(struct data *self);

struct data_stats {
    uint64_t reads;
    uint64_t scans;  // pages
    uint64_t commits;
    uint64_t statuses;
    uint64_t refused;   // by a limit or a check, before the loop
    uint64_t messages;  // of Batch streams, in
    uint64_t in_flight;
};
void data_stats(const struct data *self, struct data_stats *out);
