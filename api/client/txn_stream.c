// SPDX-License-Identifier: Apache-2.0
// The stream of a transaction. Requests whose answers say nothing that the caller waits for (begin,
// write) are sent together with the next one, and their answers are read before its: a transaction
// of one read, any number of writes and a commit takes two round trips.
//
// The stream ends before the deadline, so that there is time left to ask another node what became
// of a commit when this one is silent.
#include "api/client/txn_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <grpc/slice.h>

#include <string.h>

enum { LC_TXN_MESSAGE_MAX = LC_MESSAGE_SIZE_MAX, LC_TXN_HINT = 96, LC_TXN_RESERVE_PARTS = 4 };

// --- Ends ---

void lc__txn_fail(struct lc_txn *self, const struct lc_result *result) {
    ASSERT(result->status != STATUS_OK);
    if (self->over) { return; }
    struct lc_result end = *result;
    if (end.message.size == 0) { end.message = slice_from_string(status_text(end.status)); }
    memcpy(end.txn, self->id, LC_TXN_ID_SIZE);
    self->over = true;
    self->failed = true;
    lc__reply_fill(&self->end, &end);
}

void lc__txn_fail_status(struct lc_txn *self, enum status st, const char *text) {
    struct lc_result result = {
        .outcome = LC_ABORTED, .status = st, .message = slice_from_string(text)};
    lc__txn_fail(self, &result);
}

// --- Batches ---

static void lc_txn_batch(struct lc_txn *self, const grpc_op *ops, size_t count,
                         enum lc_txn_tag tag) {
    grpc_call_error error = grpc_call_start_batch(self->call, ops, count, &self->tags[tag], NULL);
    ASSERT(error == GRPC_CALL_OK);
}

// The call's deadline ends every wait.
static bool lc_txn_wait(struct lc_txn *self, enum lc_txn_tag tag) {
    grpc_event event = grpc_completion_queue_pluck(self->cq, &self->tags[tag],
                                                   gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    ASSERT(event.type == GRPC_OP_COMPLETE);
    return event.success != 0;
}

// Sends the encoded message; waits until the transport has taken it.
static bool lc_txn_transmit(struct lc_txn *self, bool first) {
    grpc_op ops[2];
    size_t count = 0;
    memset(ops, 0, sizeof(ops));
    grpc_byte_buffer *out = lc__byte_buffer(buf_slice(&self->message));
    if (first) { ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA; }
    ops[count].op = GRPC_OP_SEND_MESSAGE;
    ops[count++].data.send_message.send_message = out;
    lc_txn_batch(self, ops, count, LC_TXN_TAG_SENT);
    bool sent = lc_txn_wait(self, LC_TXN_TAG_SENT);
    grpc_byte_buffer_destroy(out);
    return sent;
}

static void lc_txn_listen(struct lc_txn *self) {
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op.data.recv_status_on_client.trailing_metadata = &self->trailing_metadata;
    op.data.recv_status_on_client.status = &self->code;
    op.data.recv_status_on_client.status_details = &self->details;
    lc_txn_batch(self, &op, 1, LC_TXN_TAG_ENDED);
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_INITIAL_METADATA;
    op.data.recv_initial_metadata.recv_initial_metadata = &self->initial_metadata;
    lc_txn_batch(self, &op, 1, LC_TXN_TAG_INITIAL);
}

static void lc_txn_drop_answer(struct lc_txn *self) {
    if (self->has_answer) { grpc_slice_unref(self->answer); }
    self->has_answer = false;
}

// Waits until the core is done with the call; the status stays readable until lc_txn_release.
static void lc_txn_drain(struct lc_txn *self) {
    (void)lc_txn_wait(self, LC_TXN_TAG_INITIAL);
    (void)lc_txn_wait(self, LC_TXN_TAG_ENDED);
}

static void lc_txn_release(struct lc_txn *self) {
    grpc_metadata_array_destroy(&self->initial_metadata);
    grpc_metadata_array_destroy(&self->trailing_metadata);
    grpc_slice_unref(self->details);
    grpc_call_unref(self->call);
    self->call = NULL;
}

void lc__txn_hang_up(struct lc_txn *self) {
    lc_txn_drop_answer(self);
    if (self->call == NULL) { return; }
    (void)grpc_call_cancel(self->call, NULL);
    lc_txn_drain(self);
    lc_txn_release(self);
}

// What a node says of a commit is certain, but for UNKNOWN_OUTCOME, and CANCELLED of a call that
// was given up.
static bool lc_is_certain(const struct lc_error *error) {
    return error->settled ||
           (error->status != STATUS_UNKNOWN_OUTCOME && error->status != STATUS_CANCELLED);
}

// The stream ended where an answer was awaited. A commit may have been applied, unless the node
// itself says that it turned the transaction away.
static void lc_txn_broke(struct lc_txn *self) {
    struct lc_client *client = self->client;
    struct lc_error error;
    // When sending failed the status may not have come yet.
    (void)grpc_call_cancel(self->call, NULL);
    lc_txn_drain(self);
    lc__error_of_call(&self->trailing_metadata, self->code, &self->details, &error);
    bool told = lc__was_told(&self->trailing_metadata);
    if (error.status == STATUS_OK) { error.status = STATUS_UNAVAILABLE; }
    if (!told) {
        (void)pthread_mutex_lock(&client->mu);
        lc__node_failed(self->node, lc__now_ns());
        client->map_wanted = true;
        (void)pthread_mutex_unlock(&client->mu);
        if (error.status == STATUS_CANCELLED) { error.status = STATUS_UNAVAILABLE; }
    }
    if (told && lc_is_certain(&error)) { self->may_have_committed = false; }
    struct lc_result result = lc__result_of(&error);
    self->retry_after_ms = error.retry_after_ms;
    lc__txn_fail(self, &result);
    lc_txn_release(self);
}

// --- Answers ---

static bool lc_txn_next(struct lc_txn *self) {
    grpc_op op;
    memset(&op, 0, sizeof(op));
    lc_txn_drop_answer(self);
    self->in = NULL;
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &self->in;
    lc_txn_batch(self, &op, 1, LC_TXN_TAG_RECEIVED);
    (void)lc_txn_wait(self, LC_TXN_TAG_RECEIVED);
    if (self->in == NULL) { return false; }
    self->answer = lc__flat(self->in);
    self->has_answer = true;
    grpc_byte_buffer_destroy(self->in);
    self->in = NULL;
    return true;
}

// An error is the last answer.
static void lc_txn_on_error(struct lc_txn *self, struct slice detail) {
    struct lc_error error;
    if (lc__decode_error(detail, &error) != STATUS_OK) {
        lc__txn_fail_status(self, STATUS_CORRUPT, "an answer does not decode");
        return;
    }
    if (lc_is_certain(&error)) { self->may_have_committed = false; }
    // The node knows best where the outcome is kept. Without memory our own notes have to do.
    if (error.status == STATUS_UNKNOWN_OUTCOME && error.key.size > 0 && self->has_home &&
        lc__txn_set_home(self, error.key, false) != STATUS_OK) {
        self->home_is_unsure = true;
    }
    self->retry_after_ms = error.retry_after_ms;
    struct lc_result result = lc__result_of(&error);
    lc__txn_fail(self, &result);
}

static enum status lc_txn_on_begun(struct lc_txn *self, struct slice body) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, body);
    while (proto_next(&r, &field)) {
        if (field.number == 2) { self->begin = proto_get_fixed64(&r, &field); }
    }
    return r.status;
}

// One TransactResponse: its kind, 0 when it does not decode.
static uint32_t lc_txn_take(struct lc_txn *self, struct slice *out_body) {
    struct proto_reader r;
    struct proto_field field;
    uint32_t kind = 0;
    *out_body = SLICE_EMPTY;
    proto_reader_init(&r, lc__slice(&self->answer));
    while (proto_next(&r, &field)) {
        if (field.number < LC_TXN_ERROR || field.number > LC_TXN_ROLLED_BACK) { continue; }
        kind = field.number;
        bool scalar = kind == LC_TXN_WRITTEN || kind == LC_TXN_ROLLED_BACK;
        if (!scalar) { *out_body = proto_get_bytes(&r, &field); }
    }
    if (kind == LC_TXN_BEGUN && lc_txn_on_begun(self, *out_body) != STATUS_OK) { return 0; }
    return r.status == STATUS_OK ? kind : 0;
}

// A request could not be sent: the stream is over, and what ended it may lie in an answer that was
// not read yet.
static void lc_txn_not_sent(struct lc_txn *self) {
    struct slice body;
    while (!self->over) {
        if (!lc_txn_next(self)) {
            lc_txn_broke(self);
        } else if (lc_txn_take(self, &body) == LC_TXN_ERROR) {
            lc_txn_on_error(self, body);
        }
    }
}

// --- Opening ---

static struct lc_node *lc_txn_route(struct lc_txn *self, struct slice key) {
    struct lc_client *client = self->client;
    uint8_t full[SHARD_KEY_SIZE_MAX];
    shard_keyspace_prefix(self->keyspace, full);
    size_t size = key.size < SHARD_USER_KEY_SIZE_MAX ? key.size : SHARD_USER_KEY_SIZE_MAX;
    if (size > 0) { memcpy(full + SHARD_KEYSPACE_PREFIX_SIZE, key.data, size); }
    (void)pthread_mutex_lock(&client->mu);
    struct lc_node *node = lc__map_route_near(
        client, slice_make(full, SHARD_KEYSPACE_PREFIX_SIZE + size), lc__now_ns());
    (void)pthread_mutex_unlock(&client->mu);
    return node;
}

static void lc_txn_encode_begin(struct lc_txn *self) {
    struct proto_writer w;
    (void)pthread_mutex_lock(&self->client->mu);
    uint64_t hlc = self->client->hlc;
    (void)pthread_mutex_unlock(&self->client->mu);
    size_t mark = lc__txn_message(self, LC_TXN_BEGIN, &w);
    proto_put_uint(&w, 2, self->keyspace);
    proto_put_bytes(&w, 3, slice_make(self->id, LC_TXN_ID_SIZE));
    proto_put_fixed64(&w, 4, self->begin);
    proto_put_fixed64(&w, 5, self->snapshot);
    proto_put_fixed64(&w, 6, hlc);
    proto_close(&w, mark);
    ASSERT(w.status == STATUS_OK);  // some bytes in a buffer that may hold megabytes
}

bool lc__txn_open(struct lc_txn *self, struct slice key) {
    if (self->over) { return false; }
    if (self->call != NULL) { return true; }
    uint64_t now_ns = lc__now_ns();
    if (now_ns >= self->deadline_ns) {
        lc__txn_fail_status(self, STATUS_DEADLINE_EXCEEDED, "the deadline passed");
        return false;
    }
    uint64_t until_ns = self->deadline_ns - (self->deadline_ns - now_ns) / LC_TXN_RESERVE_PARTS;
    self->node = lc_txn_route(self, key);
    self->details = grpc_empty_slice();
    grpc_metadata_array_init(&self->initial_metadata);
    grpc_metadata_array_init(&self->trailing_metadata);
    self->call =
        grpc_channel_create_call(self->node->channel, NULL, 0, self->cq,
                                 grpc_slice_from_static_string("/lightcone.v1.Data/Transact"), NULL,
                                 lc__timespec(until_ns), NULL);
    lc_txn_listen(self);
    lc_txn_encode_begin(self);
    self->owed = 1;
    if (lc_txn_transmit(self, true)) { return true; }
    lc_txn_not_sent(self);
    return false;
}

// --- Sending ---

size_t lc__txn_message(struct lc_txn *self, enum lc_txn_request kind, struct proto_writer *w) {
    buf_reset(&self->message);
    proto_writer_init(w, &self->message);
    return proto_open(w, (uint32_t)kind, LC_TXN_HINT);
}

bool lc__txn_send(struct lc_txn *self, struct proto_writer *w, size_t mark) {
    proto_close(w, mark);
    if (w->status != STATUS_OK) {
        lc__txn_fail_status(self, w->status, "the request is too large");
        return false;
    }
    if (lc_txn_transmit(self, false)) { return true; }
    lc_txn_not_sent(self);
    return false;
}

bool lc__txn_flush(struct lc_txn *self) {
    struct proto_writer w;
    if (self->over) { return false; }
    if (self->writes.size == 0) { return true; }
    buf_reset(&self->message);
    proto_writer_init(&w, &self->message);
    proto_put_bytes_always(&w, LC_TXN_WRITE, buf_slice(&self->writes));
    buf_reset(&self->writes);
    if (w.status != STATUS_OK) {
        lc__txn_fail_status(self, w.status, "the writes are too large");
        return false;
    }
    self->owed++;
    if (lc_txn_transmit(self, false)) { return true; }
    lc_txn_not_sent(self);
    return false;
}

// --- Receiving ---

bool lc__txn_receive(struct lc_txn *self, enum lc_txn_answer wanted, struct slice *out_body) {
    ASSERT(self->call != NULL && !self->over);
    for (;;) {
        if (!lc_txn_next(self)) {
            lc_txn_broke(self);
            return false;
        }
        uint32_t kind = lc_txn_take(self, out_body);
        if (kind == LC_TXN_ERROR) {
            lc_txn_on_error(self, *out_body);
            return false;
        }
        bool is_owed = kind == LC_TXN_BEGUN || kind == LC_TXN_WRITTEN;
        if (self->owed > 0 && is_owed) {
            self->owed--;
            continue;
        }
        if (self->owed == 0 && kind == (uint32_t)wanted) { return true; }
        lc__txn_fail_status(self, STATUS_CORRUPT, "an answer is not what was asked for");
        return false;
    }
}
