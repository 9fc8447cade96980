// SPDX-License-Identifier: Apache-2.0
// Design: greedy, one replica after the other. An exact search (minimise the variance of the load
// over all shards at once) was rejected: the choice is made inside a replicated command, so it must
// be cheap, and a rule that a reader can replay by hand is worth more than the last per cent of
// balance; what load does later is the business of rebalancing. Failure domains come before load,
// because a placement that one zone's loss kills cannot be repaired after the loss, while an
// unbalanced one can be at any time.
#include "controlplane/placement/placement.h"

#include "dataplane/base/assert.h"

// What the next replica would cost on a node; smaller is better, fields in order of weight.
struct placement_cost {
    uint32_t same_region;  // replicas of this shard already in the node's region
    uint32_t same_zone;    // and in its zone
    uint32_t replica_count;
    uint32_t id;
};

static bool placement_cost_less(const struct placement_cost *a, const struct placement_cost *b) {
    if (a->same_region != b->same_region) { return a->same_region < b->same_region; }
    if (a->same_zone != b->same_zone) { return a->same_zone < b->same_zone; }
    if (a->replica_count != b->replica_count) { return a->replica_count < b->replica_count; }
    return a->id < b->id;
}

static struct placement_cost placement_cost_of(const struct placement_node *nodes,
                                               const struct placement_node *candidate,
                                               const uint32_t *chosen, uint32_t chosen_count) {
    struct placement_cost cost = {0, 0, candidate->replica_count, candidate->id.v};
    for (uint32_t i = 0; i < chosen_count; i++) {
        const struct placement_node *other = &nodes[chosen[i]];
        if (!slice_equal(other->region, candidate->region)) { continue; }
        cost.same_region++;
        // Zone names repeat between regions ("a", "b"), so a zone is one only inside its region.
        if (slice_equal(other->zone, candidate->zone)) { cost.same_zone++; }
    }
    return cost;
}

static bool placement_is_chosen(const uint32_t *chosen, uint32_t chosen_count, uint32_t position) {
    for (uint32_t i = 0; i < chosen_count; i++) {
        if (chosen[i] == position) { return true; }
    }
    return false;
}

static uint32_t placement_next(const struct placement_node *nodes, uint32_t node_count,
                               const uint32_t *chosen, uint32_t chosen_count) {
    uint32_t best = node_count;
    struct placement_cost best_cost = {0, 0, 0, 0};
    for (uint32_t i = 0; i < node_count; i++) {
        if (placement_is_chosen(chosen, chosen_count, i)) { continue; }
        struct placement_cost cost = placement_cost_of(nodes, &nodes[i], chosen, chosen_count);
        if (best == node_count || placement_cost_less(&cost, &best_cost)) {
            best = i;
            best_cost = cost;
        }
    }
    ASSERT(best < node_count);
    return best;
}

// Position in chosen[] of the node that leads least; ties go to the smallest id.
static uint32_t placement_leader(const struct placement_node *nodes, const uint32_t *chosen,
                                 uint32_t chosen_count) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < chosen_count; i++) {
        const struct placement_node *a = &nodes[chosen[i]];
        const struct placement_node *b = &nodes[chosen[best]];
        if (a->leader_count < b->leader_count ||
            (a->leader_count == b->leader_count && a->id.v < b->id.v)) {
            best = i;
        }
    }
    return best;
}

enum status placement_choose(struct placement_node *nodes, uint32_t node_count, uint32_t replicas,
                             struct node_id *out_nodes) {
    ASSERT(replicas >= 1);
    ASSERT(replicas <= SHARD_REPLICAS_MAX);
    ASSERT(out_nodes != NULL);
    if (node_count < replicas) { return STATUS_FAILED_PRECONDITION; }
    uint32_t chosen[SHARD_REPLICAS_MAX];
    for (uint32_t i = 0; i < replicas; i++) {
        chosen[i] = placement_next(nodes, node_count, chosen, i);
    }
    uint32_t leader = placement_leader(nodes, chosen, replicas);
    nodes[chosen[leader]].leader_count++;
    out_nodes[0] = nodes[chosen[leader]].id;
    uint32_t out_count = 1;
    for (uint32_t i = 0; i < replicas; i++) {
        nodes[chosen[i]].replica_count++;
        if (i != leader) { out_nodes[out_count++] = nodes[chosen[i]].id; }
    }
    ASSERT(out_count == replicas);
    return STATUS_OK;
}
