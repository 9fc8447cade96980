// SPDX-License-Identifier: Apache-2.0
// Design: the dialling side says HELLO, the accepting side answers with its own or with a REFUSAL
// that names the reason, and only then do messages flow. The round trip costs nothing that matters:
// connections live for days. The decision itself is pure (transport_hello_judge).
//
//   dialled:  connected --send HELLO--> GREETING --HELLO that suits--> OPEN
//                                           \--REFUSAL, unsuited HELLO--> CLOSED
//   accepted: GREETING --HELLO that suits, answer HELLO--> OPEN
//                 \--unsuited HELLO, answer REFUSAL--> ENDING --> CLOSED
//
// LIMIT: without a filter that authenticates, a hello proves nothing to an attacker on the network;
// it guards against mistakes: wrong cluster, cloned directories, processes that should be dead.
#include "dataplane/base/assert.h"
#include "dataplane/obs/log.h"
#include "dataplane/transport/transport_internal.h"

#include <string.h>

static enum transport_purpose purpose_of(const struct transport_connection *conn) {
    return conn->role == TRANSPORT_TO_PEER ? TRANSPORT_PEER : TRANSPORT_JOIN;
}

static void send_hello(struct transport_connection *conn, enum transport_purpose purpose) {
    struct transport_hello hello = conn->transport->hello;
    hello.purpose = purpose;
    struct transport_frame *frame = transport_frame_acquire(&conn->transport->pool);
    enum status st = transport_hello_put(&frame->buf, &hello);
    ASSERT(st == STATUS_OK);
    transport__connection_control(conn, frame);
}

void transport__handshake_begin(struct transport_connection *conn) {
    send_hello(conn, purpose_of(conn));
}

static void log_refusal(struct transport_connection *conn, const char *event,
                        enum transport_refusal refusal, const struct transport_hello *theirs) {
    if (!transport__may_log(conn->transport)) { return; }
    struct cluster_id cluster = theirs == NULL ? (struct cluster_id){{0}} : theirs->cluster;
    LOG_WARN(event, LOG_STR("remote", conn->remote),
             LOG_STR("reason", transport_refusal_name(refusal)),
             LOG_STR("text", transport_refusal_text(refusal)),
             LOG_U64("node", theirs == NULL ? 0 : theirs->node.v),
             LOG_U64("boot", theirs == NULL ? 0 : theirs->boot),
             LOG_HEX("cluster", slice_make(cluster.v, sizeof(cluster.v))));
}

// Accepted: says why and ends. Dialled: just ends; the peer is tried again, slowly.
static void refuse(struct transport_connection *conn, enum transport_refusal refusal,
                   const struct transport_hello *theirs) {
    struct transport *self = conn->transport;
    self->stats.refusals[refusal]++;
    metric_counter_add(&transport__metrics.refusals, 1);
    if (conn->role != TRANSPORT_ACCEPTED) {
        if (conn->peer == NULL || !conn->peer->failure_is_logged) {
            log_refusal(conn, "transport.peer_unsuitable", refusal, theirs);
        }
        transport__connection_close(conn, transport_refusal_status(refusal), NULL);
        return;
    }
    log_refusal(conn, "transport.refused", refusal, theirs);
    struct transport_frame *frame = transport_frame_acquire(&self->pool);
    enum status st = transport_refusal_put(&frame->buf, refusal);
    ASSERT(st == STATUS_OK);
    transport__connection_control(conn, frame);
    transport__connection_end(conn);
}

static void become_open(struct transport_connection *conn, const struct transport_hello *theirs) {
    struct transport *self = conn->transport;
    conn->hello = *theirs;
    conn->state = TRANSPORT_OPEN;
    conn->opened_ns = loop_monotonic_ns();
    bool is_stranger = transport__connection_is_stranger(conn);
    transport_input_trust(&conn->input, is_stranger ? TRANSPORT_JOIN_PAYLOAD_SIZE_MAX
                                                    : TRANSPORT_PAYLOAD_SIZE_MAX);
    if (is_stranger) {
        transport__timer_set(self, &conn->timer, self->config.stranger_idle_ms_max);
    } else {
        transport__timer_unset(self, &conn->timer);
        LOG_INFO("transport.connected", LOG_U64("peer", theirs->node.v),
                 LOG_STR("remote", conn->remote), LOG_U64("boot", theirs->boot),
                 LOG_STR("direction", conn->role == TRANSPORT_TO_PEER ? "out" : "in"));
    }
    transport__connection_touch(conn);
}

static enum transport_refusal judge(struct transport_connection *conn,
                                    const struct transport_hello *theirs) {
    struct transport *self = conn->transport;
    struct transport_known known = {0};
    const struct transport_peer *peer = transport__peer_find(self, theirs->node);
    if (peer != NULL) {
        known = (struct transport_known){peer->boot, peer->incarnation, peer->removed};
    }
    return transport_hello_judge(&self->hello, theirs, &known);
}

static void accept_hello(struct transport_connection *conn, const struct transport_hello *theirs) {
    struct transport *self = conn->transport;
    enum transport_refusal refusal = judge(conn, theirs);
    bool is_peer = theirs->purpose == TRANSPORT_PEER;
    struct transport_peer *peer = NULL;
    if (refusal == TRANSPORT_REFUSAL_NONE && is_peer) {
        peer = transport__peer_get(self, theirs->node);
        if (peer == NULL) { refusal = TRANSPORT_REFUSAL_TOO_MANY; }
    }
    if (refusal == TRANSPORT_REFUSAL_NONE && !is_peer && self->config.handlers.on_join == NULL) {
        refusal = TRANSPORT_REFUSAL_NOT_READY;
    }
    if (refusal != TRANSPORT_REFUSAL_NONE) {
        refuse(conn, refusal, theirs);
        return;
    }
    if (peer != NULL) {
        transport__peer_learn(peer, theirs);
        if (peer->in != NULL) {
            transport__connection_close(peer->in, STATUS_UNAVAILABLE, "the peer dialled again");
        }
        peer->in = conn;
        conn->peer = peer;
    }
    send_hello(conn, theirs->purpose);
    become_open(conn, theirs);
    // It lives: no reason to wait any longer for our own direction.
    if (peer != NULL) { transport__peer_redial_now(peer); }
}

static void check_hello(struct transport_connection *conn, const struct transport_hello *theirs) {
    if (theirs->purpose != purpose_of(conn)) {
        transport__connection_corrupt(conn, "hello for another purpose");
        return;
    }
    struct transport_peer *peer = conn->peer;
    enum transport_refusal refusal = judge(conn, theirs);
    if (refusal == TRANSPORT_REFUSAL_NONE && peer != NULL &&
        !node_id_equal(peer->node, theirs->node)) {
        refusal = TRANSPORT_REFUSAL_WRONG_NODE;
    }
    if (refusal != TRANSPORT_REFUSAL_NONE) {
        refuse(conn, refusal, theirs);
        return;
    }
    if (peer != NULL) {
        transport__peer_learn(peer, theirs);
        peer->failure_is_logged = false;
    }
    become_open(conn, theirs);
    const struct transport_handlers *handlers = &conn->transport->config.handlers;
    if (peer != NULL && handlers->on_peer != NULL) {
        handlers->on_peer(handlers->ctx, peer->node, true);
    }
}

static void hear_refusal(struct transport_connection *conn, struct slice body) {
    enum transport_refusal refusal = TRANSPORT_REFUSAL_NONE;
    struct slice text = SLICE_EMPTY;
    if (transport_refusal_get(body, &refusal, &text) != STATUS_OK) {
        transport__connection_corrupt(conn, "malformed refusal");
        return;
    }
    if (conn->peer == NULL || !conn->peer->failure_is_logged) {
        LOG_WARN("transport.refused_by_peer", LOG_STR("remote", conn->remote),
                 LOG_U64("peer", conn->peer == NULL ? 0 : conn->peer->node.v),
                 LOG_STR("reason", transport_refusal_name(refusal)), LOG_SLICE("text", text));
    }
    transport__connection_close(conn, transport_refusal_status(refusal), NULL);
}

void transport__handshake_frame(struct transport_connection *conn, struct slice payload) {
    ASSERT(conn->state == TRANSPORT_GREETING);
    bool is_accepted = conn->role == TRANSPORT_ACCEPTED;
    struct codec_reader reader;
    codec_reader_init(&reader, payload);
    struct transport_item item = transport_item_get(&reader);
    bool is_refusal = item.type == TRANSPORT_ITEM_REFUSAL && !is_accepted;
    if (codec_finish(&reader) != STATUS_OK || (item.type != TRANSPORT_ITEM_HELLO && !is_refusal)) {
        transport__connection_corrupt(conn, "the first frame is no hello");
        return;
    }
    if (is_refusal) {
        hear_refusal(conn, item.body);
        return;
    }
    struct transport_hello theirs;
    enum status st = transport_hello_get(item.body, &theirs);
    if (st == STATUS_NOT_SUPPORTED) {
        refuse(conn, TRANSPORT_REFUSAL_VERSION, NULL);
    } else if (st != STATUS_OK) {
        transport__connection_corrupt(conn, "malformed hello");
    } else if (is_accepted) {
        accept_hello(conn, &theirs);
    } else {
        check_hello(conn, &theirs);
    }
}
