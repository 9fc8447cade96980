// SPDX-License-Identifier: Apache-2.0
// Batch streams: one per node, made when there is something to send, made anew after a failure.
// Requests gather while a write is in flight and leave as one message.
//
// A message is handed to the core only while the channel is READY. So a request whose message was
// never handed over certainly did not reach the node, and a cluster that is down is reported as
// ABORTED rather than UNKNOWN.
#include "api/client/client_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <grpc/slice.h>

#include <string.h>

enum { LC_ITEM_OVERHEAD = 24, LC_SLOT_BITS = 32, LC_PENDING_MIN = 64, LC_REPLIES_PER_FLUSH = 64 };
static const uint64_t LC_WATCH_NS = UINT64_C(200000000);
static const uint64_t LC_MS = UINT64_C(1000000);

// What the server gets of the time that is left: its answer has to travel, too.
static uint32_t lc_server_timeout(uint64_t deadline_ns, uint64_t now_ns) {
    uint64_t left_ms = deadline_ns > now_ns ? (deadline_ns - now_ns) / LC_MS : 0;
    uint64_t travel_ms = left_ms / 8 < 50 ? left_ms / 8 : 50;
    left_ms -= travel_ms;
    if (left_ms == 0) { return 1; }
    return left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms;
}

// The array starts over when its beginning is free; it grows to the number of requests in flight.
void lc__stream_send(struct lc_node *node, const struct lc_request *request) {
    uint32_t end = node->pending_first + node->pending_count;
    if (end == node->pending_capacity && node->pending_first > 0) {
        memmove(node->pending, node->pending + node->pending_first,
                node->pending_count * sizeof(*node->pending));
        node->pending_first = 0;
        end = node->pending_count;
    }
    if (end == node->pending_capacity) {
        uint32_t wanted = node->pending_capacity == 0 ? LC_PENDING_MIN : 2 * node->pending_capacity;
        node->pending = mem_realloc(node->pending, wanted * sizeof(*node->pending));
        node->pending_capacity = wanted;
    }
    node->pending[end] = (struct lc_pending){request->slot, request->generation};
    node->pending_count++;
}

// --- Connecting ---

static void lc_watch(struct lc_node *node, grpc_connectivity_state state) {
    node->connecting = true;
    node->connect_tag = (struct lc_tag){.event = LC_EVENT_CONNECT, .owner = node};
    atomic_fetch_add_explicit(&node->connect_tag.order, 1, memory_order_release);
    grpc_channel_watch_connectivity_state(node->channel, state,
                                          lc__timespec(lc__now_ns() + LC_WATCH_NS),
                                          node->client->cq, &node->connect_tag);
}

// Ends the attempts on a node. The mutex is held, and given up for the callbacks.
static void lc_fail_sent(struct lc_node *node, enum status st, const char *text) {
    struct lc_client *self = node->client;
    const struct lc_error error = {.status = st};
    struct lc_request *ended = NULL;
    while (node->sent != NULL) {
        struct lc_request *request = node->sent;
        if (request->kind == LC_KIND_COMMIT && request->handed) { request->maybe_applied = true; }
        if (lc__attempt_ended(request, &error)) {
            request->next_done = ended;
            ended = request;
        }
    }
    node->pending_first = 0;
    node->pending_count = 0;
    (void)pthread_mutex_unlock(&self->mu);
    while (ended != NULL) {
        struct lc_request *request = ended;
        ended = request->next_done;
        lc__request_end_status(request, request->maybe_applied ? STATUS_UNKNOWN_OUTCOME : st, text);
    }
    (void)pthread_mutex_lock(&self->mu);
}

// Whether messages may be handed to the core; if not, the way there is watched. Mutex held.
static bool lc_connected(struct lc_node *node) {
    grpc_connectivity_state state = grpc_channel_check_connectivity_state(node->channel, 1);
    if (state == GRPC_CHANNEL_READY) { return true; }
    if (!node->connecting && !node->client->closing) { lc_watch(node, state); }
    return false;
}

void lc__on_connect(struct lc_node *node) {
    struct lc_client *self = node->client;
    (void)pthread_mutex_lock(&self->mu);
    grpc_connectivity_state state = grpc_channel_check_connectivity_state(node->channel, 1);
    node->connecting = false;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE && node->stream == NULL && !self->closing) {
        lc__node_failed(node, lc__now_ns());
        lc_fail_sent(node, STATUS_UNAVAILABLE, "the node cannot be reached");
    }
    (void)pthread_mutex_unlock(&self->mu);  // the flush after each event goes on
}

// --- Writing ---

static void lc_start_read(struct lc_stream *stream) {
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &stream->in;
    lc__start_batch(stream->call, &op, 1, &stream->read);
}

static void lc_start_write(struct lc_stream *stream, bool first) {
    grpc_op ops[2];
    size_t count = 0;
    memset(ops, 0, sizeof(ops));
    if (first) { ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA; }
    ops[count].op = GRPC_OP_SEND_MESSAGE;
    ops[count++].data.send_message.send_message = stream->out;
    lc__start_batch(stream->call, ops, count, &stream->written);
}

static void lc_start_receiving(struct lc_stream *stream) {
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op.data.recv_status_on_client.trailing_metadata = &stream->trailing_metadata;
    op.data.recv_status_on_client.status = &stream->code;
    op.data.recv_status_on_client.status_details = &stream->details;
    lc__start_batch(stream->call, &op, 1, &stream->status_tag);
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_INITIAL_METADATA;
    op.data.recv_initial_metadata.recv_initial_metadata = &stream->initial_metadata;
    lc__start_batch(stream->call, &op, 1, &stream->initial);
    lc_start_read(stream);
}

static struct lc_stream *lc_stream_make(struct lc_node *node) {
    struct lc_stream *stream = mem_alloc(sizeof(*stream));
    stream->client = node->client;
    stream->node = node;
    stream->written = (struct lc_tag){.event = LC_EVENT_STREAM_WRITTEN, .owner = stream};
    stream->read = (struct lc_tag){.event = LC_EVENT_STREAM_READ, .owner = stream};
    stream->initial = (struct lc_tag){.event = LC_EVENT_STREAM_INITIAL, .owner = stream};
    stream->status_tag = (struct lc_tag){.event = LC_EVENT_STREAM_ENDED, .owner = stream};
    stream->details = grpc_empty_slice();
    grpc_metadata_array_init(&stream->initial_metadata);
    grpc_metadata_array_init(&stream->trailing_metadata);
    stream->call = grpc_channel_create_registered_call(node->channel, NULL, 0, node->client->cq,
                                                       node->batch_handle,
                                                       gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    return stream;
}

static void lc_put_item(struct proto_writer *w, struct lc_request *request, uint64_t now_ns) {
    uint64_t tag = (uint64_t)request->generation << LC_SLOT_BITS | request->slot;
    size_t item = proto_open(w, 1, request->body.size + LC_ITEM_OVERHEAD);
    proto_put_uint(w, 1, tag);
    proto_put_uint(w, 2, lc_server_timeout(request->deadline_ns, now_ns));
    proto_put_bytes_always(w, (uint32_t)request->kind, buf_slice(&request->body));
    proto_close(w, item);
    request->handed = true;
}

// Encodes the node's next message into client->message. Mutex held.
static void lc_encode_message(struct lc_node *node) {
    struct lc_client *self = node->client;
    struct proto_writer w;
    uint64_t now_ns = lc__now_ns();
    uint32_t count = 0;
    buf_reset(&self->message);
    proto_writer_init(&w, &self->message);
    while (node->pending_count > 0 && count < LC_MESSAGE_ITEMS_MAX) {
        const struct lc_pending *next = &node->pending[node->pending_first];
        struct lc_request *request = lc__request_of(self, next->slot, next->generation);
        if (request != NULL && count > 0 &&
            self->message.size + request->body.size > LC_MESSAGE_SIZE_SOFT_MAX) {
            break;
        }
        node->pending_first++;
        node->pending_count--;
        if (request == NULL) { continue; }
        lc_put_item(&w, request, now_ns);
        count++;
    }
    if (node->pending_count == 0) { node->pending_first = 0; }
    // One body of at most LC_MESSAGE_SIZE_MAX, or several that stay below the soft maximum.
    ASSERT(w.status == STATUS_OK);
}

// Hands client->message to the stream, which then has a write in flight. Mutex held.
static void lc_stream_take(struct lc_stream *stream) {
    struct lc_client *self = stream->client;
    stream->out = lc__byte_buffer(buf_slice(&self->message));
    stream->writing = true;
    stream->ops++;
    self->stats.messages++;
    if (self->message.capacity > LC_MESSAGE_SIZE_SOFT_MAX) {
        buf_deinit(&self->message);
        buf_init(&self->message, 2 * LC_MESSAGE_SIZE_MAX);
    }
}

// True when the node had something to send. The mutex is held, and given up while a batch starts.
static bool lc_node_flush(struct lc_node *node) {
    struct lc_client *self = node->client;
    if (node->pending_count == 0 || (node->stream != NULL && node->stream->writing)) {
        return false;
    }
    if (node->stream == NULL && !lc_connected(node)) { return false; }
    if (!lc__may_start(self)) { return false; }
    lc_encode_message(node);
    if (self->message.size == 0) {  // all of it ended meanwhile
        lc__start_cancelled(self);
        return false;
    }
    bool fresh = node->stream == NULL;
    if (fresh) {
        node->stream = lc_stream_make(node);
        node->stream->ops += 3;
    }
    struct lc_stream *stream = node->stream;
    bool first = !stream->metadata_sent;
    stream->metadata_sent = true;
    lc_stream_take(stream);
    (void)pthread_mutex_unlock(&self->mu);
    // `writing` keeps others out, and the operations counted keep the stream.
    lc_start_write(stream, first);
    if (fresh) { lc_start_receiving(stream); }
    lc__started(self);
    (void)pthread_mutex_lock(&self->mu);
    return true;
}

void lc__streams_flush(struct lc_client *self) {
    (void)pthread_mutex_lock(&self->mu);
    for (uint32_t i = 0; i < self->node_count; i++) {
        (void)lc_node_flush(self->nodes[i]);
    }
    (void)pthread_mutex_unlock(&self->mu);
}

// --- Replies ---

static void lc_reply_error(struct lc_client *self, struct lc_request *request,
                           struct slice detail) {
    struct lc_error error;
    if (lc__decode_error(detail, &error) != STATUS_OK) {
        error = (struct lc_error){.status = STATUS_CORRUPT};
        request->maybe_applied = true;
    }
    (void)pthread_mutex_lock(&self->mu);
    bool over = lc__attempt_ended(request, &error);
    (void)pthread_mutex_unlock(&self->mu);
    if (!over) { return; }
    struct lc_result result = lc__result_of(&error);
    lc__request_end(request, &result);
}

static void lc_reply_response(struct lc_client *self, struct lc_request *request,
                              struct slice message) {
    struct lc_result result = {.outcome = LC_COMMITTED, .status = STATUS_OK};
    enum status st = lc__decode_response(&self->rows, request->kind, message, &result);
    (void)pthread_mutex_lock(&self->mu);
    lc__request_detach(request);
    lc__note_result(self, &result);
    (void)pthread_mutex_unlock(&self->mu);
    if (st != STATUS_OK) {
        request->maybe_applied = true;
        lc__request_end_status(request, st, "the answer does not decode");
        return;
    }
    lc__request_end(request, &result);
}

// One BatchReply.
static void lc_reply(struct lc_client *self, struct slice message) {
    struct proto_reader r;
    struct proto_field field;
    uint64_t tag = 0;
    uint32_t kind = 0;
    struct slice body = SLICE_EMPTY;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { tag = proto_get_uint(&r, &field); }
        if (field.number >= 2 && field.number < LC_KIND_COUNT) {
            kind = field.number;
            body = proto_get_bytes(&r, &field);
        }
    }
    (void)pthread_mutex_lock(&self->mu);
    struct lc_request *request =
        lc__request_of(self, (uint32_t)(tag & UINT32_MAX), (uint32_t)(tag >> LC_SLOT_BITS));
    (void)pthread_mutex_unlock(&self->mu);
    if (request == NULL || r.status != STATUS_OK) { return; }
    // This thread alone ends requests that were sent, so it is still there.
    if (kind == 2) {
        lc_reply_error(self, request, body);
    } else if (kind == (uint32_t)request->kind) {
        lc_reply_response(self, request, body);
    }
}

static void lc_replies(struct lc_client *self, struct slice message) {
    struct proto_reader r;
    struct proto_field field;
    uint32_t count = 0;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == 1) {
            lc_reply(self, proto_get_bytes(&r, &field));
            // What the callbacks sent so far leaves while the rest is read: otherwise all that is
            // in flight would move to and fro as one message, and one side always wait for the
            // other.
            if (++count % LC_REPLIES_PER_FLUSH == 0) { lc__streams_flush(self); }
        }
        if (field.number == 2) { self->stats.load_percent = proto_get_uint32(&r, &field); }
    }
}

// --- Events ---

static void lc_stream_unhold(struct lc_stream *stream) {
    ASSERT(stream->ops > 0);
    if (--stream->ops > 0) { return; }
    grpc_metadata_array_destroy(&stream->initial_metadata);
    grpc_metadata_array_destroy(&stream->trailing_metadata);
    grpc_slice_unref(stream->details);
    if (stream->in != NULL) { grpc_byte_buffer_destroy(stream->in); }
    if (stream->out != NULL) { grpc_byte_buffer_destroy(stream->out); }
    grpc_call_unref(stream->call);
    mem_free(stream);
}

static void lc_on_read(struct lc_stream *stream, bool ok) {
    struct lc_client *self = stream->client;
    if (!ok || stream->in == NULL) { return; }  // the end comes by itself
    grpc_slice flat = lc__flat(stream->in);
    grpc_byte_buffer_destroy(stream->in);
    stream->in = NULL;
    lc_replies(self, lc__slice(&flat));
    grpc_slice_unref(flat);
    (void)pthread_mutex_lock(&self->mu);
    stream->node->failures = 0;
    bool again = !stream->ended && lc__may_start(self);
    if (again) { stream->ops++; }
    (void)pthread_mutex_unlock(&self->mu);
    if (again) {
        lc_start_read(stream);
        lc__started(self);
    }
}

static void lc_on_ended(struct lc_stream *stream) {
    struct lc_client *self = stream->client;
    struct lc_node *node = stream->node;
    struct lc_error error;
    lc__error_of_call(&stream->trailing_metadata, stream->code, &stream->details, &error);
    enum status st = error.status == STATUS_OK ? STATUS_UNAVAILABLE : error.status;
    // Refusals of the stream as a whole say nothing about a request; those are tried elsewhere.
    if (!status_is_retryable(st)) { st = STATUS_UNAVAILABLE; }
    (void)pthread_mutex_lock(&self->mu);
    stream->ended = true;
    node->stream = NULL;
    if (!self->closing) {
        lc__node_failed(node, lc__now_ns());
        lc_fail_sent(node, st, "the connection to the node broke");
    }
    (void)pthread_mutex_unlock(&self->mu);
}

void lc__on_stream_event(struct lc_stream *stream, enum lc_event event, bool ok) {
    struct lc_client *self = stream->client;
    if (event == LC_EVENT_STREAM_READ) { lc_on_read(stream, ok); }
    if (event == LC_EVENT_STREAM_ENDED) { lc_on_ended(stream); }
    (void)pthread_mutex_lock(&self->mu);
    if (event == LC_EVENT_STREAM_WRITTEN) {
        grpc_byte_buffer_destroy(stream->out);
        stream->out = NULL;
        stream->writing = false;
    }
    lc_stream_unhold(stream);
    (void)pthread_mutex_unlock(&self->mu);
}
