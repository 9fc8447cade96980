// SPDX-License-Identifier: Apache-2.0
// waits.h - no transaction that holds locks waits for itself, by way of others.
// Invariants: looks at who waits for whom on all nodes, never at why; changes nothing.
// Ownership:  the world owns it.
// Thread:     confined to the world.
// See:        docs/protocols/transactions.md "Why it is right", 5; tests/sim/README.md "Checkers"
#pragma once

#include "tests/sim/plan.h"
#include "txn/lock/lock_table.h"

#include <stdbool.h>

struct sim_node;
struct sim_world;

// An attempt: of two of one transaction, through two gateways, neither waits for what the other one
// waits for.
struct sim_waits_who {
    struct txn_id txn;
    struct txn_attempt attempt;
    struct hlc_ts begin;
};

enum { SIM_WAITS_EDGES_MAX = 256 };
struct sim_waits_edge {
    struct sim_waits_who waits;
    struct sim_waits_who holds;
    uint64_t shard;
};

struct sim_waits {
    struct sim_world *world;
    uint64_t begun[SIM_NODES_MAX];  // waits, of each node's boot
    uint64_t circle_ns;             // since when there is one; 0 = there is none
    struct sim_waits_edge edges[SIM_WAITS_EDGES_MAX];
    uint32_t edge_count;
};

void sim_waits_init(struct sim_waits *self, struct sim_world *world);
// After a turn of the node; fails the world.
void sim_waits_turn(struct sim_waits *self, struct sim_node *node);
