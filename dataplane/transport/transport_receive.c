// SPDX-License-Identifier: Apache-2.0
// Design: read, cut into frames, check each frame as a whole, only then act on it. A connection
// whose bytes are wrong once is closed: after a wrong byte nothing says where the next frame
// begins, and a peer will dial again.
#include "dataplane/base/assert.h"
#include "dataplane/obs/log.h"
#include "dataplane/transport/transport_internal.h"

#include <string.h>

// One message of a checked frame. The handler may close the connection; the caller looks.
static void deliver(struct transport_connection *conn, struct bytes *owner,
                    struct transport_item item) {
    struct transport *self = conn->transport;
    if (item.type >= TRANSPORT_ITEM_HELLO) {
        transport__connection_corrupt(conn, "handshake after the handshake");
        return;
    }
    if (item.type >= PEER_MESSAGE_TYPE_COUNT) {
        TRANSPORT_TALLY(self, messages_unknown, 1);
        return;
    }
    const struct transport_handlers *handlers = &self->config.handlers;
    if (!transport__connection_is_stranger(conn)) {
        if (conn->peer->block_in) {
            TRANSPORT_TALLY(self, messages_blocked, 1);
            return;
        }
        handlers->on_message(handlers->ctx, conn->peer->node, (enum peer_message_type)item.type,
                             owner, item.body);
    } else if (item.type == PEER_JOIN && handlers->on_join != NULL) {
        conn->is_named = true;
        handlers->on_join(handlers->ctx, conn->id, owner, item.body);
    } else {
        transport__connection_corrupt(conn, "a message that needs an identity");
    }
}

static void handle_messages(struct transport_connection *conn, struct bytes *owner,
                            struct slice payload) {
    if (conn->role == TRANSPORT_TO_PEER) {
        transport__connection_corrupt(conn, "messages on a connection for the other direction");
        return;
    }
    if (transport_payload_check(payload) != STATUS_OK) {
        transport__connection_corrupt(conn, "items do not fill their frame");
        return;
    }
    if (transport__connection_is_stranger(conn)) {
        transport__timer_set(conn->transport, &conn->timer,
                             conn->transport->config.stranger_idle_ms_max);
    }
    uint64_t messages = 0;
    struct codec_reader reader;
    codec_reader_init(&reader, payload);
    while (codec_remaining(&reader) > 0 && conn->state == TRANSPORT_OPEN) {
        struct transport_item item = transport_item_get(&reader);
        ASSERT(reader.status == STATUS_OK);
        messages++;
        deliver(conn, owner, item);
    }
    TRANSPORT_TALLY(conn->transport, messages_received, messages);
}

static void handle_frames(struct transport_connection *conn) {
    while (conn->state == TRANSPORT_GREETING || conn->state == TRANSPORT_OPEN) {
        bool ready = false;
        struct bytes *owner = NULL;
        struct slice payload = SLICE_EMPTY;
        enum status st = transport_input_next(&conn->input, &ready, &owner, &payload);
        if (st != STATUS_OK) {
            transport__connection_corrupt(conn, "no frame: wrong size or checksum");
            return;
        }
        if (!ready) { return; }
        TRANSPORT_TALLY(conn->transport, frames_received, 1);
        if (conn->state == TRANSPORT_GREETING) {
            transport__handshake_frame(conn, payload);
        } else {
            handle_messages(conn, owner, payload);
        }
    }
}

// Bytes from a filter: they take one more copy than those read in place.
static void handle_plain(struct transport_connection *conn, struct slice plain) {
    while (plain.size > 0 && (conn->state == TRANSPORT_GREETING || conn->state == TRANSPORT_OPEN)) {
        size_t room = 0;
        uint8_t *to = transport_input_room(&conn->input, &room);
        size_t size = plain.size < room ? plain.size : room;
        memcpy(to, plain.data, size);
        transport_input_commit(&conn->input, size);
        plain = slice_make(plain.data + size, plain.size - size);
        handle_frames(conn);
    }
}

static void handle_wire(struct transport_connection *conn, struct slice wire) {
    buf_reset(&conn->plain);
    enum status st = conn->filter->ops->open(conn->filter, wire, &conn->plain, &conn->wire_next);
    if (st != STATUS_OK) {
        transport__connection_corrupt(conn, "the filter refused the bytes");
        return;
    }
    if (conn->wire_next.size > 0) { transport__connection_touch(conn); }
    handle_plain(conn, buf_slice(&conn->plain));
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    (void)suggested;
    struct transport_connection *conn = handle->data;
    size_t size = TRANSPORT_WIRE_ROOM_SIZE;
    uint8_t *room = conn->transport->wire_room;
    if (conn->filter == NULL) { room = transport_input_room(&conn->input, &size); }
    *out = uv_buf_init((char *)room, (unsigned)size);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *from) {
    struct transport_connection *conn = stream->data;
    if (size == 0) { return; }  // nothing there after all
    if (size < 0) {
        transport__connection_close(conn, STATUS_UNAVAILABLE,
                                    size == UV_EOF ? "closed by the other side"
                                                   : uv_strerror((int)size));
        return;
    }
    TRANSPORT_TALLY(conn->transport, bytes_received, (uint64_t)size);
    if (conn->filter == NULL) {
        transport_input_commit(&conn->input, (size_t)size);
        handle_frames(conn);
    } else {
        handle_wire(conn, slice_make(from->base, (size_t)size));
    }
}

void transport__receive_start(struct transport_connection *conn) {
    int rc = uv_read_start((uv_stream_t *)&conn->tcp, on_room, on_read);
    if (rc != 0) { transport__connection_close(conn, STATUS_IO, uv_strerror(rc)); }
}
