// SPDX-License-Identifier: Apache-2.0
// The life of one call after it was accepted.
//
//   unary:   start -> [handler] -> FINISH (metadata, message, status and close in one batch: one
//            trip through the core and one completion)
//   streams: start -> CLOSE posted; READ and WRITE come and go, at most one each -> FINISH
//
// What a stream sends is appended to `gathered`. A flush with no write in flight takes all of it as
// one message; a flush during a write leaves it, and the write's completion sends what gathered
// meanwhile. So messages grow with the load and no timer is involved. Batches are started outside
// the mutex, because starting one may run the transport, system call included: the flag `writing`
// keeps the write direction to one thread.
#include "api/rpc/rpc_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/loop/clock.h"

#include <grpc/slice.h>

#include <string.h>

#define RPC_DETAIL_KEY "lightcone-error-bin"

enum { RPC_DETAIL_SIZE_MAX = 4096, RPC_OPS_MAX = 4 };

// --- References ---

static void rpc_release(struct rpc_call *call) {
    struct rpc_server *server = call->server;
    const struct rpc_method *method = &call->slot->method;
    if (method->handler->released != NULL) { method->handler->released(method->ctx, call); }
    if (method->kind != RPC_UNARY) { rpc__stream_remove(call); }
    atomic_fetch_sub_explicit(&server->bytes_in_flight, call->bytes, memory_order_relaxed);
    rpc__recycle(call);
    // Last, and under the mutex: rpc_stop may free the server once it has seen zero.
    (void)pthread_mutex_lock(&server->mu);
    if (atomic_fetch_sub_explicit(&server->in_flight, 1, memory_order_release) == 1) {
        (void)pthread_cond_broadcast(&server->changed);
    }
    (void)pthread_mutex_unlock(&server->mu);
}

void rpc_call_ref(struct rpc_call *call) {
    uint_fast64_t before = atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
}

void rpc_call_unref(struct rpc_call *call) {
    uint_fast64_t before = atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1) { rpc_release(call); }
}

// Released here, acquired by the poller that gets the completion: the core orders the two as well,
// but a race detector does not see into it.
void rpc__start(struct rpc_call *call, const grpc_op *ops, size_t count, enum rpc_op op) {
    uint_fast64_t before = atomic_fetch_add_explicit(&call->refs, 1, memory_order_release);
    ASSERT(before > 0);
    grpc_call_error error = grpc_call_start_batch(call->call, ops, count, &call->tags[op], NULL);
    ASSERT(error == GRPC_CALL_OK);
}

// --- Batches ---

struct rpc_batch {
    grpc_op ops[RPC_OPS_MAX];
    size_t count;
    grpc_slice text;
    grpc_metadata trailing;
};

static grpc_op *rpc_batch_add(struct rpc_batch *batch, grpc_op_type type) {
    ASSERT(batch->count < RPC_OPS_MAX);
    grpc_op *op = &batch->ops[batch->count++];
    memset(op, 0, sizeof(*op));
    op->op = type;
    return op;
}

static void rpc_batch_metadata(struct rpc_batch *batch, struct rpc_call *call) {
    if (call->metadata_sent) { return; }
    call->metadata_sent = true;
    (void)rpc_batch_add(batch, GRPC_OP_SEND_INITIAL_METADATA);
}

static void rpc_batch_buffer(struct rpc_batch *batch, struct rpc_call *call) {
    rpc_batch_add(batch, GRPC_OP_SEND_MESSAGE)->data.send_message.send_message = call->write_buffer;
}

static void rpc_batch_message(struct rpc_batch *batch, struct rpc_call *call, struct slice bytes) {
    ASSERT(call->write_buffer == NULL);
    call->write_buffer = rpc__byte_buffer(bytes);
    rpc_batch_buffer(batch, call);
}

static grpc_slice rpc_core_slice(struct slice s) {
    return grpc_slice_from_copied_buffer((const char *)s.data, s.size);
}

// The core copies text and detail while the batch starts; rpc_batch_clear drops ours after that.
static void rpc_batch_status(struct rpc_batch *batch, struct rpc_call *call) {
    grpc_op *op = rpc_batch_add(batch, GRPC_OP_SEND_STATUS_FROM_SERVER);
    op->data.send_status_from_server.status = (grpc_status_code)rpc_code(call->finish_status);
    if (call->finish_message != NULL) {
        batch->text = rpc_core_slice(bytes_slice(call->finish_message));
        op->data.send_status_from_server.status_details = &batch->text;
    }
    if (call->finish_detail != NULL) {
        memset(&batch->trailing, 0, sizeof(batch->trailing));
        batch->trailing.key = grpc_slice_from_static_string(RPC_DETAIL_KEY);
        batch->trailing.value = rpc_core_slice(bytes_slice(call->finish_detail));
        op->data.send_status_from_server.trailing_metadata = &batch->trailing;
        op->data.send_status_from_server.trailing_metadata_count = 1;
    }
    if (call->slot->method.kind == RPC_UNARY && !call->slot->method.watch_cancel) {
        rpc_batch_add(batch, GRPC_OP_RECV_CLOSE_ON_SERVER)->data.recv_close_on_server.cancelled =
            &call->close_cancelled;
    }
}

static void rpc_batch_start(struct rpc_batch *batch, struct rpc_call *call, enum rpc_op op) {
    bool text = call->finish_message != NULL && op == RPC_OP_FINISH;
    bool detail = call->finish_detail != NULL && op == RPC_OP_FINISH;
    rpc__start(call, batch->ops, batch->count, op);
    // Nothing of the call may be touched from here on but through a reference that is ours.
    if (text) { grpc_slice_unref(batch->text); }
    if (detail) { grpc_slice_unref(batch->trailing.value); }
}

// --- Finishing ---

static void rpc_note_error(struct rpc_call *call, const struct rpc_error *error) {
    struct buf detail;
    buf_init(&detail, RPC_DETAIL_SIZE_MAX);
    struct proto_writer w;
    proto_writer_init(&w, &detail);
    rpc_error_encode(&w, error);
    struct slice text = error->message;
    if (text.size == 0) { text = slice_from_string(status_text(error->status)); }
    call->finish_status = error->status;
    // A detail too long for metadata is left out; the code and the text remain.
    if (w.status == STATUS_OK) { call->finish_detail = bytes_copy(buf_slice(&detail)); }
    if (text.size > RPC_DETAIL_SIZE_MAX) { text.size = RPC_DETAIL_SIZE_MAX; }
    call->finish_message = bytes_copy(text);
    buf_deinit(&detail);
}

// The one batch that ends a unary call.
static void rpc_unary_end(struct rpc_call *call, const struct slice *message) {
    ASSERT(call->slot->method.kind == RPC_UNARY);
    bool before = atomic_exchange_explicit(&call->finishing, true, memory_order_relaxed);
    ASSERT(!before);
    struct rpc_batch batch;
    batch.count = 0;
    rpc_batch_metadata(&batch, call);
    if (message != NULL) { rpc_batch_message(&batch, call, *message); }
    rpc_batch_status(&batch, call);
    rpc_batch_start(&batch, call, RPC_OP_FINISH);
    rpc_call_unref(call);
}

void rpc_reply(struct rpc_call *call, struct slice message) {
    rpc_unary_end(call, &message);
}

void rpc__reply_now(struct rpc_call *call) {
    struct rpc_batch batch;
    batch.count = 0;
    rpc_batch_metadata(&batch, call);
    rpc_batch_buffer(&batch, call);
    rpc_batch_status(&batch, call);
    rpc_batch_start(&batch, call, RPC_OP_FINISH);
    rpc_call_unref(call);
}

void rpc_reply_later(struct rpc_call *call, struct slice message) {
    ASSERT(call->slot->method.kind == RPC_UNARY);
    bool before = atomic_exchange_explicit(&call->finishing, true, memory_order_relaxed);
    ASSERT(!before && call->write_buffer == NULL);
    call->write_buffer = rpc__byte_buffer(message);
    rpc__poller_push(call->poller, call);
}

// Takes what gathered as one message; with the mutex held.
static void rpc_take_gathered(struct rpc_batch *batch, struct rpc_call *call) {
    rpc_batch_message(batch, call, buf_slice(&call->gathered));
    buf_reset(&call->gathered);
}

// Sends what there is to send when no write is in flight, the end included. Takes and releases mu.
static void rpc_stream_push(struct rpc_call *call) {
    struct rpc_batch batch;
    batch.count = 0;
    enum rpc_op op = RPC_OP_WRITE;
    (void)pthread_mutex_lock(&call->mu);
    if (call->writing || call->finish_started) {
        (void)pthread_mutex_unlock(&call->mu);
        return;
    }
    if (call->broken) { buf_reset(&call->gathered); }
    bool message = call->gathered.size > 0;
    if (message || call->finish_wanted) { rpc_batch_metadata(&batch, call); }
    if (message) {
        rpc_take_gathered(&batch, call);
        call->writing = true;
        call->writing_since_ns = loop_monotonic_ns();
    }
    if (call->finish_wanted) {
        call->finish_started = true;
        rpc_batch_status(&batch, call);
        op = RPC_OP_FINISH;
    }
    (void)pthread_mutex_unlock(&call->mu);
    if (batch.count > 0) { rpc_batch_start(&batch, call, op); }
}

static void rpc_stream_end(struct rpc_call *call, const struct rpc_error *error) {
    bool before = atomic_exchange_explicit(&call->finishing, true, memory_order_relaxed);
    ASSERT(!before);
    (void)pthread_mutex_lock(&call->mu);
    if (error != NULL) { rpc_note_error(call, error); }
    call->finish_wanted = true;
    (void)pthread_mutex_unlock(&call->mu);
    rpc_stream_push(call);
    rpc_call_unref(call);
}

void rpc_finish(struct rpc_call *call) {
    ASSERT(call->slot->method.kind != RPC_UNARY);
    rpc_stream_end(call, NULL);
}

void rpc_fail(struct rpc_call *call, const struct rpc_error *error) {
    if (call->slot->method.kind != RPC_UNARY) {
        rpc_stream_end(call, error);
        return;
    }
    rpc_note_error(call, error);
    rpc_unary_end(call, NULL);
}

void rpc__refuse(struct rpc_call *call, const struct rpc_error *error) {
    rpc_fail(call, error);
}

// --- Streams ---

enum status rpc_gather(struct rpc_call *call, struct slice bytes) {
    ASSERT(call->slot->method.kind != RPC_UNARY);
    enum status st = STATUS_OK;
    (void)pthread_mutex_lock(&call->mu);
    ASSERT(!call->finish_wanted);
    if (!call->broken) { st = buf_append(&call->gathered, bytes); }
    (void)pthread_mutex_unlock(&call->mu);
    return st;
}

void rpc_flush(struct rpc_call *call) {
    rpc_stream_push(call);
}

size_t rpc_gathered(struct rpc_call *call) {
    (void)pthread_mutex_lock(&call->mu);
    size_t size = call->gathered.size;
    (void)pthread_mutex_unlock(&call->mu);
    return size;
}

void rpc_read(struct rpc_call *call) {
    ASSERT(call->slot->method.kind == RPC_BIDI_STREAM);
    rpc__payload_reset(&call->payload);
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &call->payload.buffer;
    rpc__start(call, &op, 1, RPC_OP_READ);
}

// --- Completions (poller threads); the batch's reference is dropped by the caller ---

void rpc__call_opened(struct rpc_call *call) {
    const struct rpc_method *method = &call->slot->method;
    if (method->kind == RPC_UNARY && !method->watch_cancel) { return; }
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &call->close_cancelled;
    rpc__start(call, &op, 1, RPC_OP_CLOSE);
}

void rpc__on_close(struct rpc_call *call) {
    const struct rpc_method *method = &call->slot->method;
    if (call->close_cancelled == 0) { return; }
    atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
    if (atomic_load_explicit(&call->finishing, memory_order_relaxed)) { return; }
    MARK("rpc.call.cancelled");
    atomic_fetch_add_explicit(&call->server->cancelled, 1, memory_order_relaxed);
    if (method->handler->cancelled != NULL) { method->handler->cancelled(method->ctx, call); }
}

void rpc__on_read(struct rpc_call *call, bool ok) {
    const struct rpc_method *method = &call->slot->method;
    struct slice message;
    if (!ok || call->payload.buffer == NULL) {
        // A stream that broke ends the same way; CLOSE tells the two apart.
        if (method->handler->half_closed != NULL) {
            method->handler->half_closed(method->ctx, call);
        }
        return;
    }
    enum status st = rpc__payload_view(&call->payload, &message);
    if (st != STATUS_OK) {
        (void)grpc_call_cancel_with_status(call->call, GRPC_STATUS_UNIMPLEMENTED,
                                           "compressed messages are not accepted", NULL);
        if (method->handler->half_closed != NULL) {
            method->handler->half_closed(method->ctx, call);
        }
        return;
    }
    method->handler->message(method->ctx, call, message);
}

void rpc__written(struct rpc_call *call) {
    if (call->write_buffer != NULL) { grpc_byte_buffer_destroy(call->write_buffer); }
    call->write_buffer = NULL;
}

void rpc__on_write(struct rpc_call *call, bool ok) {
    const struct rpc_method *method = &call->slot->method;
    (void)pthread_mutex_lock(&call->mu);
    ASSERT(call->writing);
    rpc__written(call);
    call->writing = false;
    if (!ok) { call->broken = true; }
    bool more = call->gathered.size > 0 || call->finish_wanted;
    (void)pthread_mutex_unlock(&call->mu);
    if (more) {
        rpc_stream_push(call);
        return;
    }
    if (ok && method->handler->writable != NULL &&
        !atomic_load_explicit(&call->finishing, memory_order_relaxed)) {
        method->handler->writable(method->ctx, call);
    }
}

// --- Small questions ---

void *rpc_call_state(struct rpc_call *call) {
    return call->state;
}

struct rpc_call *rpc_call_of(void *state) {
    return (struct rpc_call *)(void *)((uint8_t *)state - offsetof(struct rpc_call, state));
}

struct rpc_server *rpc_call_server(const struct rpc_call *call) {
    return call->server;
}

uint64_t rpc_call_deadline_ns(const struct rpc_call *call) {
    gpr_timespec at = gpr_convert_clock_type(call->deadline, GPR_CLOCK_MONOTONIC);
    if (gpr_time_cmp(at, gpr_inf_future(GPR_CLOCK_MONOTONIC)) >= 0) { return UINT64_MAX; }
    if (at.tv_sec < 0) { return 0; }
    if ((uint64_t)at.tv_sec >= UINT64_MAX / UINT64_C(1000000000)) { return UINT64_MAX; }
    return (uint64_t)at.tv_sec * UINT64_C(1000000000) + (uint64_t)at.tv_nsec;
}

bool rpc_call_is_cancelled(const struct rpc_call *call) {
    return atomic_load_explicit(&call->cancelled, memory_order_relaxed);
}
