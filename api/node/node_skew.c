// SPDX-License-Identifier: Apache-2.0
// node_skew.c - compares this node's clock with those of its peers, and acts on the verdict.
//
// The exchanges are those of support, so they cost no message of their own. The verdict is
// hlc_skew.c's: anew whenever an answer came, and with the gossip, since silence counts too.
//
// A node in quarantine behaves like one with a slow disk, with two differences. It goes on asking
// for support, because the same exchange tells it when its clock is right again. And it is
// reluctant, not mute: where the others lack an entry that it has, they cannot win, and a shard
// without a leader would serve nobody. Such leaderships are offered again every few seconds.
//
// LIMIT: clocks are compared among the nodes that exchange support: the members of the control
// plane and those that share a shard. In a cluster in which not all nodes do, each judges by its
// neighbours.

#include "api/node/node_skew.h"

#include "api/node/node_core_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/obs/log.h"
#include "dataplane/replica/replica_resign.h"

#include <inttypes.h>
#include <stdio.h>

#define OFFER_NS UINT64_C(5000000000)

static void on_measured(void *ctx, struct node_id peer, const struct support_exchange *exchange) {
    struct node_core *self = ctx;
    const struct hlc_skew_exchange x = {
        .sent_wall_us = exchange->sent_wall_us,
        .received_wall_us = exchange->received_wall_us,
        .replied_wall_us = exchange->replied_wall_us,
        .arrived_wall_us = exchange->arrived_wall_us,
        .sent_ns = exchange->sent_ns,
        .arrived_ns = exchange->arrived_ns,
    };
    if (hlc_skew_on_exchange(&self->skew, peer.v, &x)) { self->skew_dirty = true; }
}

// Whom the catalogue has taken out counts no more; whom it does not know yet does, if it founded
// the cluster.
static bool counts(const struct node_core *self, struct node_id node) {
    const struct catalog_node *known = catalog_node(self->catalog, node);
    if (known != NULL) { return known->state != CATALOG_NODE_DECOMMISSIONED; }
    return node_core__is_member(self, node);
}

void node_core__skew_peers(struct node_core *self) {
    const struct catalog_node *me = &self->config.self;
    for (uint32_t i = 0; i < self->support.peer_count; i++) {
        const struct node_id node = self->support.peers[i].node;
        const struct catalog_node *peer = catalog_node(self->catalog, node);
        uint64_t floor_us = 0;
        if (peer != NULL) {
            floor_us = hlc_skew_light_us(me->latitude_microdegrees, me->longitude_microdegrees,
                                         peer->latitude_microdegrees, peer->longitude_microdegrees);
        }
        // The tables are equally large.
        (void)hlc_skew_set_peer(&self->skew, node.v, counts(self, node), floor_us);
    }
}

void node_core__skew_init(struct node_core *self) {
    const struct hlc_skew_config config = {.now_ns = env_now(self->config.env)};
    hlc_skew_init(&self->skew, &config);
    self->support.measured = on_measured;
    self->support.measured_ctx = self;
    for (uint32_t i = 0; i < self->support.peer_count; i++) {
        (void)hlc_skew_set_peer(&self->skew, self->support.peers[i].node.v, true, 0);
    }
    self->skew_dirty = true;
    self->skew_state = hlc_skew_judge(&self->skew, config.now_ns);
    self->support.reluctant = self->skew_state == HLC_SKEW_QUARANTINED;
}

static void tell(const struct node_core *self, enum hlc_skew_state before) {
    char reason[HLC_SKEW_TEXT_SIZE];
    LOG_WARN("node.skew.changed", LOG_U64("node", self->config.self.id.v),
             LOG_STR("from", hlc_skew_state_text(before)),
             LOG_STR("to", hlc_skew_state_text(self->skew_state)),
             LOG_STR("why", hlc_skew_reason(&self->skew, reason)));
}

void node_core__skew_turn(struct node_core *self, bool due) {
    if (!due && !self->skew_dirty) { return; }
    const uint64_t now_ns = env_now(self->config.env);
    if (self->skew.peer_count != self->support.peer_count) { node_core__skew_peers(self); }
    self->skew_dirty = false;
    const enum hlc_skew_state before = self->skew_state;
    self->skew_state = hlc_skew_judge(&self->skew, now_ns);
    const bool isolated = self->skew_state == HLC_SKEW_QUARANTINED;
    self->support.reluctant = isolated;
    if (self->skew_state != before) { tell(self, before); }
    if (!isolated) { self->gave_away = false; }
    // Unsure after a step of the clock: the answer is a round trip away.
    if (!isolated || !self->skew.settled) { return; }
    if (!self->gave_away) {
        replica_table_give_away(self->table);
        self->offer_due_ns = now_ns + OFFER_NS;
        self->gave_away = true;
    } else if (now_ns >= self->offer_due_ns) {
        replica_table_offer(self->table);
        self->offer_due_ns = now_ns + OFFER_NS;
    }
}

const struct hlc_skew *node_core_skew(const struct node_core *self) {
    return &self->skew;
}

// A node whose clock is one of the majority, and whom clients can reach.
static const struct catalog_node *other_node(const struct node_core *self) {
    for (uint32_t i = 0; i < self->skew.peer_count; i++) {
        const struct hlc_skew_peer *peer = &self->skew.peers[i];
        const struct catalog_node *node = catalog_node(self->catalog, (struct node_id){peer->node});
        if (peer->agrees && node != NULL && node->rpc_address[0] != '\0') { return node; }
    }
    return NULL;
}

bool node_core_may_coordinate(const struct node_core *self, char text[NODE_SKEW_TEXT_SIZE]) {
    if (self->skew_state != HLC_SKEW_QUARANTINED) { return true; }
    if (text == NULL) { return false; }
    char reason[HLC_SKEW_TEXT_SIZE];
    (void)hlc_skew_reason(&self->skew, reason);
    const struct catalog_node *other = other_node(self);
    if (other != NULL) {
        (void)snprintf(text, NODE_SKEW_TEXT_SIZE,
                       "node %" PRIu32 " coordinates nothing, %.150s; ask node %" PRIu32
                       " at %.100s",
                       self->config.self.id.v, reason, other->id.v, other->rpc_address);
    } else {
        (void)snprintf(text, NODE_SKEW_TEXT_SIZE,
                       "node %" PRIu32 " coordinates nothing, %.150s; ask another node",
                       self->config.self.id.v, reason);
    }
    return false;
}
