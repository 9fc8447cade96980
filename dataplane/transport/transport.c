// SPDX-License-Identifier: Apache-2.0
// Design: this file is the door: listening, what the node calls, and the end. The parts behind it:
//
//   transport_connection.c  life and writing of a connection     transport_frame.c    wire format
//   transport_receive.c     bytes to messages                    transport_queue.c    what waits
//   transport_handshake.c   who may talk                         transport_input.c    what came in
//   transport_peer.c        dialling, back-off, known boots      transport_timer.c    deadlines
//
// A stranger is a connection without an identity: one that has not shaken hands, or a join.
// Strangers are few by a maximum of their own, the oldest without a handshake making room for the
// newest, so that idle or slow ones cannot keep peers out.
#include "dataplane/transport/transport.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/obs/log.h"
#include "dataplane/transport/transport_internal.h"

#include <stdio.h>
#include <string.h>

enum { BACKLOG = 256 };

struct transport_metrics transport__metrics = {
#define TRANSPORT_METRIC_INIT(field, name, help) .field = METRIC_COUNTER_INIT(name, help),
    TRANSPORT_METRIC_LIST(TRANSPORT_METRIC_INIT)
#undef TRANSPORT_METRIC_INIT
};

static void register_metrics(void) {
#define TRANSPORT_METRIC_REGISTER(field, name, help) \
    metric_counter_register(&transport__metrics.field);
    TRANSPORT_METRIC_LIST(TRANSPORT_METRIC_REGISTER)
#undef TRANSPORT_METRIC_REGISTER
}

bool transport__may_log(struct transport *self) {
    uint64_t second = loop_monotonic_ns() / 1000000000U;
    if (second != self->log_second) {
        self->log_second = second;
        self->log_lines = 0;
    }
    self->log_lines++;
    return self->log_lines <= TRANSPORT_LOG_LINES_PER_S;
}

// ------------------------------------------------------------------------ listening

// Makes room for a newcomer by closing the oldest connection that has not shaken hands. False when
// there is none to close.
static bool close_oldest_silent(struct transport *self, const struct transport_connection *newest) {
    struct transport_connection *oldest = NULL;
    for (uint32_t i = 0; i < self->connections_count; i++) {
        struct transport_connection *conn = self->connections[i];
        if (conn == newest || conn->role != TRANSPORT_ACCEPTED) { continue; }
        if (conn->state != TRANSPORT_GREETING) { continue; }
        if (oldest == NULL || conn->id.v < oldest->id.v) { oldest = conn; }
    }
    if (oldest == NULL) { return false; }
    transport__connection_close(oldest, STATUS_RESOURCE_EXHAUSTED, "a newer one needs the room");
    return true;
}

static bool has_room(struct transport *self, const struct transport_connection *newest) {
    uint32_t accepted = 0;
    uint32_t strangers = 0;
    for (uint32_t i = 0; i < self->connections_count; i++) {
        const struct transport_connection *conn = self->connections[i];
        if (conn->role != TRANSPORT_ACCEPTED) { continue; }
        accepted++;
        strangers += transport__connection_is_stranger(conn);
    }
    if (accepted <= self->config.connections_max && strangers <= self->config.strangers_max) {
        return true;
    }
    TRANSPORT_TALLY(self, connections_turned_away, 1);
    return close_oldest_silent(self, newest);
}

static void on_connection(uv_stream_t *listener, int rc) {
    struct transport *self = listener->data;
    if (rc != 0) {
        if (transport__may_log(self)) {
            LOG_WARN("transport.accept_failed", LOG_STR("reason", uv_strerror(rc)));
        }
        return;
    }
    struct transport_connection *conn = transport__connection_create(self, TRANSPORT_ACCEPTED);
    rc = uv_accept(listener, (uv_stream_t *)&conn->tcp);
    if (rc != 0) {
        transport__connection_close(conn, STATUS_IO, uv_strerror(rc));
        return;
    }
    TRANSPORT_TALLY(self, connections_accepted, 1);
    if (!has_room(self, conn)) {
        transport__connection_close(conn, STATUS_RESOURCE_EXHAUSTED, "too many connections");
        return;
    }
    transport__connection_accepted(conn);
}

static enum status resolve_now(struct transport *self, const char *text,
                               struct sockaddr_storage *out, struct err *err) {
    struct transport_address address;
    if (transport_address_parse(text, &address) != STATUS_OK) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "\"%s\" is not host:port", text);
    }
    if (transport_address_numeric(&address, out) == STATUS_OK) { return STATUS_OK; }
    // A name to listen on is resolved while the node starts, when waiting harms nobody.
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", address.port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    uv_getaddrinfo_t request;
    int rc = uv_getaddrinfo(self->uv, &request, NULL, address.host, port, &hints);
    if (rc != 0) { return err_set(err, STATUS_INVALID_ARGUMENT, "%s: %s", text, uv_strerror(rc)); }
    memcpy(out, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
    uv_freeaddrinfo(request.addrinfo);
    return STATUS_OK;
}

static enum status advertise(struct transport *self, struct err *err) {
    const char *wanted = self->config.advertise_address;
    struct transport_address parsed;
    if (wanted != NULL) {
        if (transport_address_parse(wanted, &parsed) != STATUS_OK || parsed.port == 0) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "advertise address \"%s\" is not host:port", wanted);
        }
        (void)snprintf(self->hello.address, sizeof(self->hello.address), "%s", wanted);
        return STATUS_OK;
    }
    struct sockaddr_storage bound;
    int size = sizeof(bound);
    memset(&bound, 0, sizeof(bound));
    int rc = uv_tcp_getsockname(&self->listener, (struct sockaddr *)&bound, &size);
    if (rc != 0) { return err_set(err, STATUS_IO, "listening socket: %s", uv_strerror(rc)); }
    if (transport_address_is_any((const struct sockaddr *)&bound)) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "listening on every interface needs an advertise address for the peers");
    }
    transport_address_format((const struct sockaddr *)&bound, self->hello.address);
    return STATUS_OK;
}

static enum status listen_on(struct transport *self, const char *text, struct err *err) {
    struct sockaddr_storage storage;
    enum status st = resolve_now(self, text, &storage, err);
    if (st != STATUS_OK) { return st; }
    const struct sockaddr *address = (const struct sockaddr *)&storage;
    if (!transport_address_is_loopback(address) && !self->config.insecure) {
        return err_set(err, STATUS_FAILED_PRECONDITION,
                       "peer traffic is not encrypted: listening on %s, beyond the loopback, "
                       "needs insecure=true",
                       text);
    }
    int rc = uv_tcp_bind(&self->listener, address, 0);
    if (rc == 0) { rc = uv_listen((uv_stream_t *)&self->listener, BACKLOG, on_connection); }
    if (rc != 0) { return err_set(err, STATUS_IO, "listen on %s: %s", text, uv_strerror(rc)); }
    return advertise(self, err);
}

// ------------------------------------------------------------------------ beginning and end

static void set_u32(uint32_t *value, uint32_t when_zero) {
    if (*value == 0) { *value = when_zero; }
}

static void set_defaults(struct transport_config *config) {
    set_u32(&config->connections_max, 512);
    set_u32(&config->strangers_max, 64);
    set_u32(&config->handshake_ms_max, 5000);
    set_u32(&config->stranger_idle_ms_max, 30000);
    if (config->queue_bytes_max == 0) { config->queue_bytes_max = 64 << 20; }
    if (config->offline_bytes_max == 0) { config->offline_bytes_max = 4 << 20; }
    if (config->offline_bytes_max > config->queue_bytes_max) {
        config->offline_bytes_max = config->queue_bytes_max;
    }
}

static void free_self(struct transport *self) {
    ASSERT(self->is_closing && self->handles == 0 && self->connections_alive == 0);
    for (uint32_t i = 0; i < self->peers_count; i++) {
        heap_remove(&self->timers, &self->peers[i]->redial.node);
        transport_queue_deinit(&self->peers[i]->queue);
        mem_free(self->peers[i]);
    }
    transport_pool_deinit(&self->pool);
    heap_deinit(&self->timers);
    mem_free(self->connections);
    mem_free(self);
}

static void on_handle_closed(uv_handle_t *handle) {
    struct transport *self = handle->data;
    ASSERT(self->handles > 0);
    self->handles--;
    if (self->handles == 0 && self->is_abandoned) { free_self(self); }
}

static void set_hello(struct transport *self, const struct transport_identity *identity) {
    self->hello.cluster = identity->cluster;
    self->hello.node = identity->node;
    self->hello.boot = identity->boot;
    self->hello.incarnation = identity->incarnation;
}

enum status transport_create(const struct transport_config *config, struct transport **out,
                             struct err *err) {
    ASSERT(config->loop != NULL && config->handlers.on_message != NULL);
    ASSERT(loop_is_here(config->loop));
    struct transport *self = mem_alloc(sizeof(*self));
    self->config = *config;
    set_defaults(&self->config);
    self->loop = config->loop;
    self->uv = loop_uv(config->loop);
    self->hello.instance = loop_entropy();
    set_hello(self, &config->identity);
    transport_pool_init(&self->pool);
    register_metrics();
    transport__timer_init(self);
    int rc = uv_tcp_init(self->uv, &self->listener);
    ASSERT(rc == 0);
    self->listener.data = self;
    self->handles = 2;
    enum status st = STATUS_OK;
    if (config->listen_address != NULL) { st = listen_on(self, config->listen_address, err); }
    self->config.listen_address = NULL;
    self->config.advertise_address = NULL;
    if (st != STATUS_OK) {
        // libuv gives the handles back in a turn of the loop; the memory goes then.
        self->is_abandoned = true;
        transport_close(self);
        return st;
    }
    *out = self;
    return STATUS_OK;
}

void transport_close(struct transport *self) {
    ASSERT(loop_is_here(self->loop));
    if (self->is_closing) { return; }
    self->is_closing = true;
    while (self->connections_count > 0) {
        transport__connection_close(self->connections[self->connections_count - 1],
                                    STATUS_CANCELLED, NULL);
    }
    uv_close((uv_handle_t *)&self->listener, on_handle_closed);
    uv_close((uv_handle_t *)&self->timer, on_handle_closed);
}

void transport_destroy(struct transport *self) {
    if (self != NULL) { free_self(self); }
}

const char *transport_address(const struct transport *self) {
    return self->hello.address;
}

void transport_set_identity(struct transport *self, const struct transport_identity *identity) {
    ASSERT(loop_is_here(self->loop));
    bool changed = !cluster_id_equal(self->hello.cluster, identity->cluster) ||
                   !node_id_equal(self->hello.node, identity->node);
    set_hello(self, identity);
    for (uint32_t i = self->connections_count; changed && i > 0; i--) {
        // What was agreed under the old identity has to be agreed anew. Joins go on: their answer
        // is still to be sent. A handler may have closed others meanwhile.
        struct transport_connection *conn =
            i <= self->connections_count ? self->connections[i - 1] : NULL;
        if (conn != NULL && !transport__connection_is_stranger(conn)) {
            transport__connection_close(conn, STATUS_CANCELLED, "this node's identity changed");
        }
    }
    for (uint32_t i = 0; i < self->peers_count; i++) {
        transport__peer_redial_now(self->peers[i]);
    }
}

// ------------------------------------------------------------------------ messages

void transport_send(struct transport *self, struct node_id node, enum peer_message_type type,
                    struct slice body) {
    ASSERT(loop_is_here(self->loop));
    ASSERT(type < PEER_MESSAGE_TYPE_COUNT);
    ASSERT(!node_id_equal(node, self->hello.node));
    struct transport_peer *peer = transport__peer_find(self, node);
    if (peer == NULL || peer->removed || self->is_closing) {
        TRANSPORT_TALLY(self, messages_lost, 1);
        return;
    }
    if (peer->block_out) {
        TRANSPORT_TALLY(self, messages_blocked, 1);
        return;
    }
    if (body.size > TRANSPORT_MESSAGE_SIZE_MAX) {
        TRANSPORT_TALLY(self, messages_dropped, 1);
        LOG_WARN("transport.message_too_large", LOG_U64("peer", node.v), LOG_U64("type", type),
                 LOG_U64("bytes", body.size));
        return;
    }
    bool is_up = peer->out != NULL && peer->out->state == TRANSPORT_OPEN;
    uint64_t dropped = peer->queue.dropped;
    enum status st =
        transport_queue_push(&peer->queue, type, body,
                             is_up ? self->config.queue_bytes_max : self->config.offline_bytes_max);
    if (peer->queue.dropped != dropped) {
        TRANSPORT_TALLY(self, messages_dropped, peer->queue.dropped - dropped);
    }
    if (st == STATUS_OK && is_up && !peer->out->is_dirty) {
        transport__connection_touch(peer->out);
    }
}

void transport_turn(struct transport *self) {
    ASSERT(loop_is_here(self->loop));
    while (self->dirty != NULL) {
        struct transport_connection *conn = self->dirty;
        self->dirty = conn->dirty_next;
        conn->is_dirty = false;
        transport__connection_flush(conn);
    }
}

// ------------------------------------------------------------------------ joining

enum status transport_dial_address(struct transport *self, const char *address,
                                   struct transport_connection_id *out) {
    ASSERT(loop_is_here(self->loop));
    struct transport_address parsed;
    enum status st = transport_address_parse(address, &parsed);
    if (st != STATUS_OK || parsed.port == 0) { return STATUS_INVALID_ARGUMENT; }
    uint32_t dialled = 0;
    for (uint32_t i = 0; i < self->connections_count; i++) {
        dialled += self->connections[i]->role == TRANSPORT_TO_ADDRESS;
    }
    if (dialled >= self->config.strangers_max) { return STATUS_RESOURCE_EXHAUSTED; }
    struct transport_connection *conn = transport__connection_create(self, TRANSPORT_TO_ADDRESS);
    *out = conn->id;
    transport__connection_dial(conn, address);
    // A failure that is known at once is told here; on_closed is for what ends later.
    if (conn->state == TRANSPORT_CLOSED) { return STATUS_UNAVAILABLE; }
    conn->is_named = true;
    return STATUS_OK;
}

static struct transport_connection *find_stranger(const struct transport *self,
                                                  struct transport_connection_id id) {
    for (uint32_t i = 0; i < self->connections_count; i++) {
        struct transport_connection *conn = self->connections[i];
        if (conn->id.v == id.v && transport__connection_is_stranger(conn)) { return conn; }
    }
    return NULL;
}

enum status transport_send_to_connection(struct transport *self, struct transport_connection_id id,
                                         struct slice body) {
    ASSERT(loop_is_here(self->loop));
    struct transport_connection *conn = find_stranger(self, id);
    if (conn == NULL || conn->state == TRANSPORT_ENDING) { return STATUS_NOT_FOUND; }
    if (body.size > TRANSPORT_JOIN_MESSAGE_SIZE_MAX) { return STATUS_INVALID_ARGUMENT; }
    enum status st =
        transport_queue_push(&conn->own, PEER_JOIN, body, self->config.offline_bytes_max);
    if (st != STATUS_OK) {
        TRANSPORT_TALLY(self, messages_dropped, 1);
        return st;
    }
    if (conn->state == TRANSPORT_OPEN) {
        transport__timer_set(self, &conn->timer, self->config.stranger_idle_ms_max);
    }
    transport__connection_touch(conn);
    return STATUS_OK;
}

void transport_close_connection(struct transport *self, struct transport_connection_id id) {
    ASSERT(loop_is_here(self->loop));
    struct transport_connection *conn = find_stranger(self, id);
    if (conn == NULL) { return; }
    conn->is_named = false;
    if (conn->state == TRANSPORT_OPEN) {
        transport__connection_end(conn);
    } else {
        transport__connection_close(conn, STATUS_CANCELLED, NULL);
    }
}

void transport_stats(const struct transport *self, struct transport_stats *out) {
    *out = self->stats;
    out->connections = self->connections_count;
}
