// SPDX-License-Identifier: Apache-2.0
// placement.h - decides which nodes hold the replicas of new shards and which leads first.
// Invariants: deterministic; the replicas of one shard lie on distinct nodes, spread over regions,
//             then zones, then by load; first leaders are spread evenly over the nodes.
// Ownership:  inputs are borrowed, outputs lie in the caller's memory.
// Thread:     pure.
// See:        controlplane/placement/README.md; tests/unit/controlplane/placement
#pragma once

#include "dataplane/shard/shard.h"

struct placement_node {
    struct node_id id;
    struct slice region;     // empty = unknown, which counts as one region of its own
    struct slice zone;       // within the region
    uint32_t replica_count;  // placed so far
    uint32_t leader_count;
};

// Chooses `replicas` nodes (1 to SHARD_REPLICAS_MAX) for one shard and its first leader
// (out_nodes[0]), and counts them in nodes[], so that the next call sees them.
// FAILED_PRECONDITION when there are fewer nodes than replicas; nothing is changed then.
NODISCARD enum status placement_choose(struct placement_node *nodes, uint32_t node_count,
                                       uint32_t replicas, struct node_id *out_nodes);
