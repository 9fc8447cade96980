// SPDX-License-Identifier: Apache-2.0
// net.h - the simulated network: every message is an event of its own, which may come late, twice,
//         in another order, or never.
// Invariants: a message reaches the boot of the peer it was sent to or nobody; a blocked link loses
//             what is sent over it and what is under way on it.
// Ownership:  the net owns messages under way; blocks are counted, one for each cause.
// Thread:     confined to the world.
// See:        tests/sim/README.md "Faults"
#pragma once

#include "dataplane/base/prng.h"
#include "dataplane/port/env.h"
#include "tests/sim/plan.h"

struct sim_world;
struct sim_node;

struct sim_net {
    struct sim_world *world;
    struct prng prng;
    uint64_t base_ns[SIM_NODES_MAX][SIM_NODES_MAX];
    uint64_t last_ns[SIM_NODES_MAX][SIM_NODES_MAX];    // of the latest delivery, to keep the order
    uint32_t blocked[SIM_NODES_MAX][SIM_NODES_MAX];    // causes
    uint64_t slower_ns[SIM_NODES_MAX][SIM_NODES_MAX];  // of a slow link
    uint64_t slower_until_ns[SIM_NODES_MAX][SIM_NODES_MAX];  // that ends then
    bool calm;  // after healing: nothing is lost, late or out of order
    uint64_t sent;
    uint64_t lost;
};

struct sim_net_seen {
    struct sim_node *from;
    struct sim_node *to;
    enum peer_message_type type;
    struct bytes *body;
};

void sim_net_init(struct sim_net *self, struct sim_world *world);
// A message of this link that was seen before arrives once more; it passes no cut that stands then.
void sim_net_again(struct sim_net *self, const struct sim_net_seen *seen, uint64_t after_ns);
// One message from a node that is up.
void sim_net_send(struct sim_net *self, struct sim_node *from, struct node_id to,
                  enum peer_message_type type, struct slice body);
