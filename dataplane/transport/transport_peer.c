// SPDX-License-Identifier: Apache-2.0
// Design: each node dials each peer and sends only on the connection that it dialled; what it
// accepted it only reads. Two connections a pair instead of one, and in exchange no rule for two
// nodes that dial each other at the same moment, and one side alone decides when to try again.
//
// Attempts back off from 20 ms to 1 s with jitter over the upper half, so that a restarted node is
// not met by all its peers at once. The back-off starts anew after a connection that lasted.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/obs/log.h"
#include "dataplane/transport/transport_internal.h"

#include <stdio.h>
#include <string.h>

#define LASTED_NS 1000000000U

// Index of the first peer whose id is not below.
static uint32_t lower_bound(const struct transport *self, struct node_id node) {
    uint32_t low = 0;
    uint32_t high = self->peers_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (self->peers[middle]->node.v < node.v) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct transport_peer *transport__peer_find(const struct transport *self, struct node_id node) {
    uint32_t at = lower_bound(self, node);
    bool found = at < self->peers_count && node_id_equal(self->peers[at]->node, node);
    return found ? self->peers[at] : NULL;
}

static void redial_fire(struct transport_timer *timer) {
    transport__peer_dial((struct transport_peer *)(void *)timer);
}

struct transport_peer *transport__peer_get(struct transport *self, struct node_id node) {
    ASSERT(node.v != 0);
    struct transport_peer *peer = transport__peer_find(self, node);
    if (peer != NULL || self->peers_count == TRANSPORT_PEERS_MAX) { return peer; }
    peer = mem_alloc(sizeof(*peer));
    peer->transport = self;
    peer->node = node;
    peer->redial.fire = redial_fire;
    transport_queue_init(&peer->queue, &self->pool, self->config.queue_bytes_max);
    uint32_t at = lower_bound(self, node);
    memmove(&self->peers[at + 1], &self->peers[at],
            (self->peers_count - at) * sizeof(struct transport_peer *));
    self->peers[at] = peer;
    self->peers_count++;
    return peer;
}

void transport__peer_dial(struct transport_peer *peer) {
    struct transport *self = peer->transport;
    bool has_identity = self->hello.node.v != 0;
    if (peer->out != NULL || peer->removed || peer->address[0] == '\0' || !has_identity ||
        self->is_closing || node_id_equal(peer->node, self->hello.node)) {
        return;
    }
    transport__timer_unset(self, &peer->redial);
    struct transport_connection *conn = transport__connection_create(self, TRANSPORT_TO_PEER);
    conn->peer = peer;
    peer->out = conn;
    transport__connection_dial(conn, peer->address);
}

void transport__peer_redial_now(struct transport_peer *peer) {
    peer->backoff_ms = 0;
    transport__peer_dial(peer);
}

void transport__peer_disconnected(struct transport_peer *peer, uint64_t open_ns, enum status why) {
    struct transport *self = peer->transport;
    if (open_ns > LASTED_NS) {
        peer->backoff_ms = 0;
    } else if (why == STATUS_WRONG_CLUSTER || why == STATUS_NOT_SUPPORTED) {
        peer->backoff_ms = TRANSPORT_BACKOFF_MS_MAX;  // will not change soon
    }
    peer->backoff_ms *= 2;
    if (peer->backoff_ms < TRANSPORT_BACKOFF_MS_MIN) {
        peer->backoff_ms = TRANSPORT_BACKOFF_MS_MIN;
    }
    if (peer->backoff_ms > TRANSPORT_BACKOFF_MS_MAX) {
        peer->backoff_ms = TRANSPORT_BACKOFF_MS_MAX;
    }
    uint32_t half = peer->backoff_ms / 2;
    uint32_t jitter = (uint32_t)(loop_random(self->loop) % (half + 1));
    transport__timer_set(self, &peer->redial, half + jitter);
}

void transport__peer_learn(struct transport_peer *peer, const struct transport_hello *hello) {
    ASSERT(hello->boot >= peer->boot);
    peer->incarnation = hello->incarnation;
    if (!peer->address_is_given && hello->address[0] != '\0') {
        (void)snprintf(peer->address, sizeof(peer->address), "%s", hello->address);
    }
    if (hello->boot == peer->boot) { return; }
    peer->boot = hello->boot;
    // The process at the other end of an older connection is dead, even if nothing said so yet.
    struct transport_connection *in = peer->in;
    if (in != NULL && in->state == TRANSPORT_OPEN && in->hello.boot < hello->boot) {
        transport__connection_close(in, STATUS_UNAVAILABLE, "the peer has booted again");
    }
    struct transport_connection *out = peer->out;
    if (out != NULL && out->state == TRANSPORT_OPEN && out->hello.boot < hello->boot) {
        transport__connection_close(out, STATUS_UNAVAILABLE, "the peer has booted again");
    }
}

// ------------------------------------------------------------------------ what the node asks for

static void close_both(struct transport_peer *peer, const char *text) {
    if (peer->in != NULL) { transport__connection_close(peer->in, STATUS_CANCELLED, text); }
    if (peer->out != NULL) { transport__connection_close(peer->out, STATUS_CANCELLED, text); }
}

enum status transport_set_peer(struct transport *self, struct node_id node, const char *address) {
    ASSERT(loop_is_here(self->loop));
    struct transport_address parsed;
    enum status st = transport_address_parse(address, &parsed);
    if (st != STATUS_OK || parsed.port == 0 || node.v == 0) { return STATUS_INVALID_ARGUMENT; }
    struct transport_peer *peer = transport__peer_get(self, node);
    if (peer == NULL) { return STATUS_RESOURCE_EXHAUSTED; }
    bool moved = strcmp(peer->address, address) != 0;
    (void)snprintf(peer->address, sizeof(peer->address), "%s", address);
    peer->address_is_given = true;
    peer->removed = false;
    if (moved && peer->out != NULL) {
        transport__connection_close(peer->out, STATUS_CANCELLED, "the peer's address changed");
    }
    if (moved) { transport__peer_redial_now(peer); }
    return STATUS_OK;
}

enum status transport_set_peer_incarnation(struct transport *self, struct node_id node,
                                           uint64_t incarnation) {
    ASSERT(loop_is_here(self->loop));
    ASSERT(incarnation != 0);
    struct transport_peer *peer = transport__peer_get(self, node);
    if (peer == NULL) { return STATUS_RESOURCE_EXHAUSTED; }
    if (peer->incarnation != 0 && peer->incarnation != incarnation) {
        close_both(peer, "another data directory is on record");
        peer->boot = 0;  // boots are counted by directory
    }
    peer->incarnation = incarnation;
    return STATUS_OK;
}

void transport_remove_peer(struct transport *self, struct node_id node) {
    ASSERT(loop_is_here(self->loop));
    struct transport_peer *peer = transport__peer_find(self, node);
    if (peer == NULL) { return; }
    peer->removed = true;
    peer->address[0] = '\0';
    peer->address_is_given = false;
    close_both(peer, "the peer was removed");
    transport__timer_unset(self, &peer->redial);
    TRANSPORT_TALLY(self, messages_lost, transport_queue_clear(&peer->queue));
}

enum status transport_block(struct transport *self, struct node_id node, bool inbound,
                            bool outbound) {
    ASSERT(loop_is_here(self->loop));
    struct transport_peer *peer = transport__peer_get(self, node);
    if (peer == NULL) { return STATUS_RESOURCE_EXHAUSTED; }
    peer->block_in = inbound;
    peer->block_out = outbound;
    if (outbound) { TRANSPORT_TALLY(self, messages_blocked, transport_queue_clear(&peer->queue)); }
    LOG_WARN("transport.blocked", LOG_U64("peer", node.v), LOG_BOOL("inbound", inbound),
             LOG_BOOL("outbound", outbound));
    return STATUS_OK;
}

enum status transport_peer_stats(const struct transport *self, struct node_id node,
                                 struct transport_peer_stats *out) {
    const struct transport_peer *peer = transport__peer_find(self, node);
    if (peer == NULL) { return STATUS_NOT_FOUND; }
    *out = (struct transport_peer_stats){
        .is_up = peer->out != NULL && peer->out->state == TRANSPORT_OPEN,
        .is_heard = peer->in != NULL && peer->in->state == TRANSPORT_OPEN,
        .boot = peer->boot,
        .queue_bytes = peer->queue.bytes,
        .messages_dropped = peer->queue.dropped,
    };
    return STATUS_OK;
}
