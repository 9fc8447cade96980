// SPDX-License-Identifier: Apache-2.0
// The shard of a call and the node that is asked next, by the map, by what this node's replica
// knows, and by who answers at all.
//
// Without the last, a call whose time is shorter than an attempt asks a node that hears nothing
// until it ends, and so does the next.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "txn/session/session_internal.h"

#include <stdio.h>

enum { DETAIL_SIZE = 200 };

// The leader by this node's own replica or by the map, whichever knows the later term.
static struct node_id freshest_hint(const struct session *self, struct shard_id shard,
                                    const struct replica *replica) {
    struct node_id hint = {0};
    uint64_t term = 0;
    const struct shard_descriptor *known = shard_map_by_id(self->config.map, shard);
    if (known != NULL) {
        hint = known->leader;
        term = known->term;
    }
    if (shard_id_equal(shard, SHARD_CATALOG) && self->catalog_term >= term) {
        hint = self->catalog_leader;
        term = self->catalog_term;
    }
    if (replica != NULL) {
        uint64_t own_term = 0;
        const struct node_id own = replica_leader(replica, &own_term);
        if (own.v != 0 && own_term >= term) { hint = own; }
    }
    return hint;
}

static bool is_silent(const struct session *self, struct node_id node, uint64_t now_ns) {
    return session_silences_is_silent(&self->silences, node, now_ns, self->config.attempt_ns);
}

// Puts the nodes that answer first, in their order; returns how many they are.
static uint32_t put_silent_last(const struct session *self, struct node_id *nodes, uint32_t count,
                                uint64_t now_ns) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (is_silent(self, nodes[i], now_ns)) { continue; }
        const struct node_id node = nodes[i];
        nodes[i] = nodes[kept];
        nodes[kept++] = node;
    }
    return kept;
}

static bool has_other_than(struct node_id self, const struct node_id *nodes, uint32_t count) {
    return count > 1 || (count == 1 && !node_id_equal(nodes[0], self));
}

// Of nodes that all are silent, one is asked as if they were not.
static void pass_by_silent(const struct session *self, struct session_candidates *candidates,
                           struct node_id *nodes) {
    const uint64_t now = session__now(self);
    const uint32_t kept = put_silent_last(self, nodes, candidates->count, now);
    if (kept == candidates->count || !has_other_than(self->config.self, nodes, kept)) { return; }
    MARK("session.passes_by_the_silent");
    candidates->count = kept;
    if (is_silent(self, candidates->hint, now)) { candidates->hint = (struct node_id){0}; }
}

static struct node_id choose_target(struct session_slot *slot, struct node_id *nodes,
                                    uint32_t count) {
    struct session *self = slot->exec.session;
    const struct replica *replica = replica_table_find(self->config.table, slot->shard);
    struct session_candidates candidates = {
        .self = self->config.self,
        .self_leads = replica != NULL && replica_is_leader(replica),
        .hint = freshest_hint(self, slot->shard, replica),
        .avoid = slot->avoid,
        .nodes = nodes,
        .count = count,
        .rotor = self->rotor++,
    };
    if (!candidates.self_leads) { pass_by_silent(self, &candidates, nodes); }
    return session_route_target(&candidates);
}

static void route_catalog(struct session_slot *slot) {
    const struct session *self = slot->exec.session;
    struct node_id nodes[SHARD_REPLICAS_MAX];
    const uint32_t count = self->config.catalog_nodes(self->config.ctx, nodes);
    ASSERT(count <= SHARD_REPLICAS_MAX);
    slot->shard = SHARD_CATALOG;
    slot->epoch = 0;  // the catalogue has no range that could be out of date
    slot->target = choose_target(slot, nodes, count);
}

// A read that any replica may serve. One that is silent is not better than the leader.
static void route_anywhere(struct session_slot *slot, const struct shard_descriptor *descriptor) {
    struct session *self = slot->exec.session;
    const struct replica *replica = replica_table_find(self->config.table, slot->shard);
    struct node_id nodes[SHARD_MEMBERS_MAX];
    uint64_t distances[SHARD_MEMBERS_MAX] = {0};
    for (uint32_t i = 0; i < descriptor->replica_count; i++) {
        nodes[i] = descriptor->replicas[i].node;
    }
    const uint32_t count =
        put_silent_last(self, nodes, descriptor->replica_count, session__now(self));
    for (uint32_t i = 0; i < count && self->config.distance != NULL; i++) {
        distances[i] = self->config.distance(self->config.ctx, nodes[i]);
    }
    const struct session_nearest nearest = {
        .self = self->config.self,
        .self_has = replica != NULL,
        .leader = freshest_hint(self, slot->shard, replica),
        .nodes = nodes,
        .distances = distances,
        .count = count,
        .rotor = self->rotor++,
    };
    slot->target = session_route_nearest(&nearest);
}

bool session__routing_key(const struct session_call *call, uint8_t out[SHARD_KEY_SIZE_MAX],
                          struct slice *out_key) {
    *out_key = call->key;
    if (call->kind != COMMAND_SCAN) { return true; }
    struct command_scan scan;
    if (command_scan_decode(call->payload, &scan) != STATUS_OK) { return false; }
    *out_key = session__scan_key(&scan, out);
    return true;
}

// True when the descriptor holds all that the call touches, as far as the gateway can tell.
static bool holds_all(const struct session_call *call, const struct shard_descriptor *descriptor) {
    if (call->kind != COMMAND_COMMIT && call->kind != COMMAND_READ) { return true; }
    if (call->key_high.size == 0 || shard_descriptor_contains(descriptor, call->key_high)) {
        return true;
    }
    // The largest key may be the excluded end of a range.
    return call->kind == COMMAND_COMMIT && session__commit_fits(call->payload, descriptor);
}

static void finish_many_shards(struct session_slot *slot) {
    const struct session *self = slot->exec.session;
    const struct shard_descriptor *high = shard_map_find(self->config.map, slot->call->key_high);
    char detail[DETAIL_SIZE];
    const char *what = slot->call->kind == COMMAND_READ ? "reads" : "transactions";
    if (high != NULL) {
        (void)snprintf(detail, sizeof(detail),
                       "touches shards %llu and %llu; %s over several shards are not available yet",
                       (unsigned long long)slot->shard.v, (unsigned long long)high->id.v, what);
    } else {
        (void)snprintf(detail, sizeof(detail),
                       "touches shard %llu and keys of no shard; %s over several shards are not "
                       "available yet",
                       (unsigned long long)slot->shard.v, what);
    }
    session__finish_text(
        slot, session_route_give_up(slot->call->kind, slot->maybe_applied, STATUS_NOT_SUPPORTED),
        detail);
}

bool session__route(struct session_slot *slot) {
    struct session *self = slot->exec.session;
    slot->target = (struct node_id){0};
    if (slot->call->kind == COMMAND_CATALOG) {
        route_catalog(slot);
        return true;
    }
    uint8_t scan_key[SHARD_KEY_SIZE_MAX];
    struct slice key;
    if (!session__routing_key(slot->call, scan_key, &key)) {
        session__finish_text(slot, STATUS_INVALID_ARGUMENT, "the scan does not decode");
        return false;
    }
    const struct shard_descriptor *descriptor = shard_map_find(self->config.map, key);
    slot->shard = (struct shard_id){0};
    if (descriptor == NULL) { return true; }
    slot->shard = descriptor->id;
    slot->epoch = descriptor->epoch;
    if (!holds_all(slot->call, descriptor)) {
        finish_many_shards(slot);
        return false;
    }
    if (slot->anywhere) {
        route_anywhere(slot, descriptor);
        return true;
    }
    struct node_id nodes[SHARD_REPLICAS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < descriptor->replica_count; i++) {
        if (descriptor->replicas[i].role == SHARD_VOTER) {
            nodes[count++] = descriptor->replicas[i].node;
        }
    }
    slot->target = choose_target(slot, nodes, count);
    return true;
}
