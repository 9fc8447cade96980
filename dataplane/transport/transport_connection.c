// SPDX-License-Identifier: Apache-2.0
// Design: one connection from its birth to its last libuv callback.
//
//   dialled:  RESOLVING -> CONNECTING -> GREETING -> OPEN -> CLOSED
//   accepted:                            GREETING -> OPEN -> [ENDING ->] CLOSED
//
// CLOSED comes at once, from any state, and takes the connection out of every table; the memory
// goes when libuv has given back the handle and, where one was asked, the resolver's answer.
//
// Writing: at most one write is with libuv. What gathers meanwhile stays in the queue, where it can
// still be batched or thrown out. uv_try_write comes first: usually the kernel takes everything and
// no callback is needed.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/obs/log.h"
#include "dataplane/transport/transport_internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
    KEEPALIVE_S = 10,
    UNANSWERED_MS_MAX = 10000,  // bytes that the other kernel does not acknowledge
};

bool transport__connection_is_stranger(const struct transport_connection *conn) {
    return conn->peer == NULL;
}

// ------------------------------------------------------------------------ birth

static void on_timeout(struct transport_timer *timer) {
    struct transport_connection *conn = (struct transport_connection *)(void *)timer;
    TRANSPORT_TALLY(conn->transport, connections_timed_out, 1);
    bool is_open = conn->state == TRANSPORT_OPEN;
    transport__connection_close(conn, STATUS_DEADLINE_EXCEEDED,
                                is_open ? "idle without an identity" : "no handshake in time");
}

static void add_connection(struct transport *self, struct transport_connection *conn) {
    if (self->connections_count == self->connections_capacity) {
        self->connections_capacity = self->connections_capacity * 2 + 16;
        self->connections = mem_realloc(
            self->connections, self->connections_capacity * sizeof(struct transport_connection *));
    }
    conn->place = self->connections_count;
    self->connections[self->connections_count++] = conn;
    self->connections_alive++;
}

struct transport_connection *transport__connection_create(struct transport *self,
                                                          enum transport_role role) {
    struct transport_connection *conn = mem_alloc(sizeof(*conn));
    conn->transport = self;
    conn->id.v = ++self->connection_ids;
    conn->role = role;
    conn->state = role == TRANSPORT_ACCEPTED ? TRANSPORT_GREETING : TRANSPORT_CONNECTING;
    conn->timer.fire = on_timeout;
    (void)snprintf(conn->remote, sizeof(conn->remote), "?");
    transport_input_init(&conn->input);
    transport_queue_init(&conn->own, &self->pool, self->config.offline_bytes_max);
    buf_init(&conn->plain, TRANSPORT_WIRE_BYTES_MAX);
    buf_init(&conn->wire, TRANSPORT_WIRE_BYTES_MAX);
    buf_init(&conn->wire_next, TRANSPORT_WIRE_BYTES_MAX);
    if (self->config.filter_create != NULL) {
        conn->filter =
            self->config.filter_create(self->config.filter_ctx, role != TRANSPORT_ACCEPTED);
    }
    int rc = uv_tcp_init(self->uv, &conn->tcp);
    ASSERT(rc == 0);
    conn->tcp.data = conn;
    conn->connect.data = conn;
    conn->write.data = conn;
    conn->resolve.data = conn;
    add_connection(self, conn);
    transport__timer_set(self, &conn->timer, self->config.handshake_ms_max);
    return conn;
}

// Failures of these options cost latency or detection time, not correctness.
static void set_options(struct transport_connection *conn) {
    (void)uv_tcp_nodelay(&conn->tcp, 1);
    (void)uv_tcp_keepalive(&conn->tcp, 1, KEEPALIVE_S);
    uv_os_fd_t fd = -1;
    if (uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0) {
        unsigned ms = UNANSWERED_MS_MAX;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    }
}

static void learn_remote(struct transport_connection *conn) {
    struct sockaddr_storage storage;
    int size = sizeof(storage);
    memset(&storage, 0, sizeof(storage));
    if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&storage, &size) == 0) {
        transport_address_format((const struct sockaddr *)&storage, conn->remote);
    }
}

void transport__connection_accepted(struct transport_connection *conn) {
    set_options(conn);
    learn_remote(conn);
    transport__receive_start(conn);
}

static void on_connect(uv_connect_t *request, int rc) {
    struct transport_connection *conn = request->data;
    if (conn->state == TRANSPORT_CLOSED) { return; }
    if (rc != 0) {
        transport__connection_close(conn, STATUS_UNAVAILABLE, uv_strerror(rc));
        return;
    }
    conn->state = TRANSPORT_GREETING;
    set_options(conn);
    transport__handshake_begin(conn);
    transport__receive_start(conn);
}

static void connect_to(struct transport_connection *conn, const struct sockaddr *address) {
    conn->state = TRANSPORT_CONNECTING;
    int rc = uv_tcp_connect(&conn->connect, &conn->tcp, address, on_connect);
    if (rc != 0) { transport__connection_close(conn, STATUS_UNAVAILABLE, uv_strerror(rc)); }
}

static void free_if_unused(struct transport_connection *conn) {
    struct transport *self = conn->transport;
    if (!conn->tcp_is_closed || conn->is_resolving) { return; }
    ASSERT(!conn->is_writing && conn->flying_count == 0);
    if (conn->filter != NULL) { conn->filter->ops->destroy(conn->filter); }
    transport_input_deinit(&conn->input);
    buf_deinit(&conn->plain);
    buf_deinit(&conn->wire);
    buf_deinit(&conn->wire_next);
    ASSERT(self->connections_alive > 0);
    self->connections_alive--;
    mem_free(conn);
}

static void on_resolved(uv_getaddrinfo_t *request, int rc, struct addrinfo *found) {
    struct transport_connection *conn = request->data;
    conn->is_resolving = false;
    if (conn->state == TRANSPORT_CLOSED) {
        uv_freeaddrinfo(found);
        free_if_unused(conn);
        return;
    }
    if (rc != 0) {
        transport__connection_close(conn, STATUS_UNAVAILABLE, uv_strerror(rc));
    } else {
        // LIMIT: the first address counts; a name with several is served by trying again later,
        // when the resolver gives them in another order.
        connect_to(conn, found->ai_addr);
    }
    uv_freeaddrinfo(found);
}

void transport__connection_dial(struct transport_connection *conn, const char *address) {
    struct transport_address parsed;
    (void)snprintf(conn->remote, sizeof(conn->remote), "%s", address);
    if (transport_address_parse(address, &parsed) != STATUS_OK || parsed.port == 0) {
        // Announced by the peer itself: what we are given is checked before it gets here.
        transport__connection_close(conn, STATUS_INVALID_ARGUMENT, "not an address");
        return;
    }
    struct sockaddr_storage storage;
    if (transport_address_numeric(&parsed, &storage) == STATUS_OK) {
        connect_to(conn, (const struct sockaddr *)&storage);
        return;
    }
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", parsed.port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    conn->state = TRANSPORT_RESOLVING;
    int rc =
        uv_getaddrinfo(conn->transport->uv, &conn->resolve, on_resolved, parsed.host, port, &hints);
    conn->is_resolving = rc == 0;
    if (rc != 0) { transport__connection_close(conn, STATUS_UNAVAILABLE, uv_strerror(rc)); }
}

// ------------------------------------------------------------------------ writing

void transport__connection_touch(struct transport_connection *conn) {
    struct transport *self = conn->transport;
    if (conn->is_dirty || conn->state == TRANSPORT_CLOSED) { return; }
    conn->is_dirty = true;
    conn->dirty_next = self->dirty;
    self->dirty = conn;
}

void transport__connection_control(struct transport_connection *conn,
                                   struct transport_frame *frame) {
    ASSERT(conn->control == NULL);
    transport_frame_seal(frame->buf.data, frame->buf.size);
    conn->control = frame;
    transport__connection_touch(conn);
}

static struct transport_frame *take_frame(struct transport_connection *conn) {
    struct transport_frame *frame = conn->control;
    conn->control = NULL;
    if (frame != NULL) { return frame; }
    if (conn->state != TRANSPORT_OPEN && conn->state != TRANSPORT_ENDING) { return NULL; }
    if (conn->role == TRANSPORT_TO_PEER) { return transport_queue_take(&conn->peer->queue); }
    return transport_queue_take(&conn->own);
}

static void gather(struct transport_connection *conn) {
    ASSERT(conn->flying_count == 0);
    size_t bytes = 0;
    while (conn->flying_count < TRANSPORT_FLYING_MAX && bytes < TRANSPORT_FLYING_BYTES_MAX) {
        struct transport_frame *frame = take_frame(conn);
        if (frame == NULL) { return; }
        conn->flying[conn->flying_count++] = frame;
        bytes += frame->buf.size;
    }
}

static void release_flying(struct transport_connection *conn, bool sent) {
    struct transport *self = conn->transport;
    uint64_t messages = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < conn->flying_count; i++) {
        messages += conn->flying[i]->messages;
        bytes += conn->flying[i]->buf.size;
        transport_frame_release(&self->pool, conn->flying[i]);
    }
    if (sent) {
        TRANSPORT_TALLY(self, messages_sent, messages);
        TRANSPORT_TALLY(self, frames_sent, conn->flying_count);
        TRANSPORT_TALLY(self, bytes_sent, bytes);
    } else {
        TRANSPORT_TALLY(self, messages_lost, messages);
    }
    conn->flying_count = 0;
}

static void on_written(uv_write_t *request, int rc) {
    struct transport_connection *conn = request->data;
    conn->is_writing = false;
    release_flying(conn, rc == 0);
    buf_reset(&conn->wire);
    if (conn->state == TRANSPORT_CLOSED) { return; }
    if (rc != 0) {
        transport__connection_close(conn, STATUS_UNAVAILABLE, uv_strerror(rc));
        return;
    }
    // At the end of the turn, so that what this turn brings goes along.
    transport__connection_touch(conn);
}

// Writes the buffers: true when the kernel took all of it, false when libuv has the rest or the
// connection was closed for a failure.
static bool write_all(struct transport_connection *conn, uv_buf_t *bufs, unsigned count) {
    uv_stream_t *stream = (uv_stream_t *)&conn->tcp;
    int rc = uv_try_write(stream, bufs, count);
    if (rc < 0 && rc != UV_EAGAIN) {
        transport__connection_close(conn, STATUS_UNAVAILABLE, uv_strerror(rc));
        return false;
    }
    size_t written = rc < 0 ? 0 : (size_t)rc;
    while (count > 0 && written >= bufs->len) {
        written -= bufs->len;
        bufs++;
        count--;
    }
    if (count == 0) { return true; }
    *bufs = uv_buf_init(bufs->base + written, (unsigned)(bufs->len - written));
    rc = uv_write(&conn->write, stream, bufs, count, on_written);
    if (rc != 0) {
        transport__connection_close(conn, STATUS_UNAVAILABLE, uv_strerror(rc));
        return false;
    }
    conn->is_writing = true;
    return false;
}

static bool write_plain(struct transport_connection *conn) {
    uv_buf_t bufs[TRANSPORT_FLYING_MAX];
    for (uint32_t i = 0; i < conn->flying_count; i++) {
        const struct buf *buf = &conn->flying[i]->buf;
        bufs[i] = uv_buf_init((char *)buf->data, (unsigned)buf->size);
    }
    if (conn->flying_count == 0 || !write_all(conn, bufs, conn->flying_count)) { return false; }
    release_flying(conn, true);
    return true;
}

static bool write_sealed(struct transport_connection *conn) {
    enum status st = STATUS_OK;
    for (uint32_t i = 0; i < conn->flying_count && st == STATUS_OK; i++) {
        st = conn->filter->ops->seal(conn->filter, buf_slice(&conn->flying[i]->buf),
                                     &conn->wire_next);
    }
    release_flying(conn, st == STATUS_OK);
    if (st != STATUS_OK) {
        transport__connection_close(conn, st, "the filter failed");
        return false;
    }
    struct buf swap = conn->wire;
    conn->wire = conn->wire_next;
    conn->wire_next = swap;
    uv_buf_t buf = uv_buf_init((char *)conn->wire.data, (unsigned)conn->wire.size);
    if (buf.len == 0 || !write_all(conn, &buf, 1)) { return false; }
    buf_reset(&conn->wire);
    return true;
}

void transport__connection_flush(struct transport_connection *conn) {
    bool more = conn->state >= TRANSPORT_GREETING && conn->state < TRANSPORT_CLOSED;
    while (more && !conn->is_writing) {
        gather(conn);
        more = conn->filter == NULL ? write_plain(conn) : write_sealed(conn);
    }
    if (conn->state == TRANSPORT_ENDING && !conn->is_writing) {
        transport__connection_close(conn, STATUS_CANCELLED, NULL);
    }
}

// ------------------------------------------------------------------------ end

void transport__connection_end(struct transport_connection *conn) {
    if (conn->state == TRANSPORT_CLOSED || conn->state == TRANSPORT_ENDING) { return; }
    if (conn->state != TRANSPORT_GREETING && conn->state != TRANSPORT_OPEN) {
        transport__connection_close(conn, STATUS_CANCELLED, NULL);
        return;
    }
    conn->state = TRANSPORT_ENDING;
    (void)uv_read_stop((uv_stream_t *)&conn->tcp);
    // Who does not read our last words is not waited for.
    transport__timer_set(conn->transport, &conn->timer, conn->transport->config.handshake_ms_max);
    transport__connection_touch(conn);
}

static void on_tcp_closed(uv_handle_t *handle) {
    struct transport_connection *conn = handle->data;
    conn->tcp_is_closed = true;
    free_if_unused(conn);
}

static void leave_tables(struct transport_connection *conn) {
    struct transport *self = conn->transport;
    transport__timer_unset(self, &conn->timer);
    for (struct transport_connection **link = &self->dirty; conn->is_dirty;
         link = &(*link)->dirty_next) {
        if (*link != conn) { continue; }
        *link = conn->dirty_next;
        conn->is_dirty = false;
        break;
    }
    ASSERT(self->connections[conn->place] == conn);
    self->connections_count--;
    struct transport_connection *moved = self->connections[self->connections_count];
    self->connections[conn->place] = moved;
    moved->place = conn->place;
}

static void log_close(struct transport_connection *conn, enum status why, const char *text,
                      bool was_open) {
    struct transport *self = conn->transport;
    struct transport_peer *peer = conn->peer;
    if (text == NULL || self->is_closing) { return; }
    if (peer == NULL) {
        if (transport__may_log(self)) {
            LOG_INFO("transport.stranger_closed", LOG_STR("remote", conn->remote),
                     LOG_STATUS("status", why), LOG_STR("reason", text));
        }
        return;
    }
    // A peer that is away is reported once, not at each attempt.
    bool is_repeated = conn->role == TRANSPORT_TO_PEER && !was_open && peer->failure_is_logged;
    if (is_repeated) { return; }
    LOG_INFO("transport.disconnected", LOG_U64("peer", peer->node.v),
             LOG_STR("remote", conn->remote), LOG_STATUS("status", why), LOG_STR("reason", text),
             LOG_STR("direction", conn->role == TRANSPORT_TO_PEER ? "out" : "in"));
}

static void leave_peer(struct transport_connection *conn, enum status why, bool was_open) {
    struct transport *self = conn->transport;
    struct transport_peer *peer = conn->peer;
    if (peer->in == conn) { peer->in = NULL; }
    if (peer->out != conn) { return; }
    peer->out = NULL;
    if (!was_open) { peer->failure_is_logged = true; }
    if (self->is_closing) { return; }
    uint64_t open_ns = was_open ? loop_monotonic_ns() - conn->opened_ns : 0;
    transport__peer_disconnected(peer, open_ns, why);
    const struct transport_handlers *handlers = &self->config.handlers;
    if (was_open && handlers->on_peer != NULL) {
        handlers->on_peer(handlers->ctx, peer->node, false);
    }
}

void transport__connection_close(struct transport_connection *conn, enum status why,
                                 const char *text) {
    struct transport *self = conn->transport;
    if (conn->state == TRANSPORT_CLOSED) { return; }
    bool was_open = conn->state == TRANSPORT_OPEN;
    conn->state = TRANSPORT_CLOSED;
    leave_tables(conn);
    log_close(conn, why, text, was_open);
    if (!conn->is_writing) { release_flying(conn, false); }
    if (conn->control != NULL) { transport_frame_release(&self->pool, conn->control); }
    conn->control = NULL;
    TRANSPORT_TALLY(self, messages_lost, transport_queue_clear(&conn->own));
    if (conn->is_resolving) { (void)uv_cancel((uv_req_t *)&conn->resolve); }
    uv_close((uv_handle_t *)&conn->tcp, on_tcp_closed);
    const struct transport_handlers *handlers = &self->config.handlers;
    if (conn->peer != NULL) {
        leave_peer(conn, why, was_open);
    } else if (conn->is_named && !self->is_closing && handlers->on_closed != NULL) {
        handlers->on_closed(handlers->ctx, conn->id, why);
    }
}

void transport__connection_corrupt(struct transport_connection *conn, const char *text) {
    struct transport *self = conn->transport;
    if (conn->state == TRANSPORT_CLOSED) { return; }
    TRANSPORT_TALLY(self, connections_corrupt, 1);
    if (transport__may_log(self)) {
        LOG_WARN("transport.corrupt", LOG_STR("remote", conn->remote),
                 LOG_U64("peer", conn->peer == NULL ? 0 : conn->peer->node.v),
                 LOG_STR("reason", text));
    }
    transport__connection_close(conn, STATUS_CORRUPT, NULL);
}
