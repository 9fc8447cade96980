// SPDX-License-Identifier: Apache-2.0
// daemon.h - one running lightconed: a node, its gRPC server and the services on it.
// Invariants: services are registered before the server starts; the health of the Data service is
//             SERVING only while the node
//             has an identity; stop order is server, loop, stores.
// Ownership:  the daemon owns everything it creates; options are borrowed for daemon_start.
// Thread:     start and stop: the owner.
// See:        api/daemon/README.md
#pragma once

#include "api/node/node.h"

struct daemon;

struct daemon_options {
    struct node_options node;
    const char *rpc_listen;     // "host:port"
    const char *rpc_advertise;  // NULL: rpc_listen with the bound port
    uint64_t commit_size_max;   // 0 = the largest
    uint32_t poller_count;
    bool dev;
};

// Everything up and serving, or an error that says why not.
NODISCARD enum status daemon_start(const struct daemon_options *options, struct daemon **out_daemon,
                                   struct err *err);
// Waits until the node stands in the catalogue, so that keyspaces can be placed on it. Any thread.
bool daemon_wait_usable(struct daemon *self, uint32_t timeout_ms);
// Ends calls within a second, stops threads, closes stores.
void daemon_stop(struct daemon *self);
const char *daemon_peer_address(const struct daemon *self);
uint16_t daemon_rpc_port(const struct daemon *self);
