// SPDX-License-Identifier: Apache-2.0
// Read, Commit and TxnStatus as calls of their own: decode on the poller, one task to the loop, the
// session, one reply, sent by the poller when the turn has ended. The request's bytes and the
// encoded command stay in the call until it is released. A client that goes away is not noticed
// before the reply (that would cost each call a second trip through the core); its deadline bounds
// what it leaves behind.
#include "api/data/data_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"

#include <protobuf-c/protobuf-c.h>

#include <stddef.h>
#include <string.h>

// State of a call.
struct data_unary {
    struct loop_task task;
    struct session_call call;
    struct data *data;
    struct txn_id txn;
    struct hlc_ts hlc;
    bool settle;      // TXN_STATUS: what is not known is to be aborted
    struct buf text;  // the resolution that settles; then the outcome
};

static void data_unary_refuse(struct data *data, struct rpc_call *call,
                              const struct data_refusal *refusal) {
    atomic_fetch_add_explicit(&data->refused, 1, memory_order_relaxed);
    struct rpc_error error = data__refusal_error(refusal);
    rpc_fail(call, &error);
}

// --- On the loop ---

static void data_unary_answer(struct data_unary *state, enum command_kind kind,
                              const struct session_result *result) {
    struct data *data = state->data;
    struct rpc_call *call = rpc_call_of(state);
    struct data_answer answer = {kind, state->txn, result};
    struct rpc_error error;
    if (data__is_success(&answer)) {
        struct proto_writer w;
        buf_reset(&data->out);
        proto_writer_init(&w, &data->out);
        enum status st = data__encode(data, &w, &answer);
        if (st == STATUS_OK) {
            rpc_reply_later(call, buf_slice(&data->out));
            return;
        }
        error = (struct rpc_error){.status = st};
    } else {
        error = data__result_error(&answer);
    }
    rpc_fail(call, &error);
}

// Nobody knows of it: from now on everybody knows that it is aborted.
static void data_unary_settle(struct data_unary *state) {
    const struct command_resolution item = {.txn = state->txn, .decision = COMMAND_DECIDE_SETTLE};
    struct codec_writer w;
    buf_init(&state->text, 1 << 10);
    codec_writer_init(&w, &state->text);
    command_resolve_begin(&w, 1);
    command_resolution_encode(&w, &item);
    ASSERT(w.status == STATUS_OK);
    state->call.kind = COMMAND_RESOLVE;
    state->call.payload = buf_slice(&state->text);
    gateway_start(state->data->config.gateway, &state->call);
}

// It was prepared between the question and the settling: an outcome is on its way.
static void data_unary_ask_again(struct data_unary *state) {
    MARK("data.settle.prepared_meanwhile");
    buf_deinit(&state->text);
    state->call.kind = COMMAND_TXN_STATUS;
    state->call.payload = slice_make(state->txn.v, sizeof(state->txn.v));
    gateway_start(state->data->config.gateway, &state->call);
}

// The shard's answer to a resolution, as if its outcome had been asked for.
static void data_unary_settled(struct data_unary *state, const struct session_result *result) {
    struct codec_reader r;
    struct command_txn_answer told = {0};
    struct session_result known = *result;
    codec_reader_init(&r, result->payload);
    if (result->status == STATUS_OK && command_txn_answer_decode(&r, &told) != STATUS_OK) {
        known.status = STATUS_CORRUPT;
    }
    if (known.status == STATUS_OK && !told.has_outcome) {
        data_unary_ask_again(state);
        return;
    }
    buf_reset(&state->text);
    if (known.status == STATUS_OK) {
        struct codec_writer w;
        codec_writer_init(&w, &state->text);
        command_outcome_encode(&w, &told.outcome);
    }
    known.payload = buf_slice(&state->text);
    data_unary_answer(state, COMMAND_TXN_STATUS, &known);
    buf_deinit(&state->text);
}

static void data_unary_done(struct session_call *session_call,
                            const struct session_result *result) {
    struct data_unary *state =
        (struct data_unary *)(void *)((uint8_t *)session_call - offsetof(struct data_unary, call));
    const bool unknown = session_call->kind == COMMAND_TXN_STATUS &&
                         result->status == STATUS_NOT_FOUND && result->payload.size == 0 &&
                         result->certificate.method != COMMAND_METHOD_NONE;
    if (state->settle && unknown) {
        data_unary_settle(state);
    } else if (session_call->kind == COMMAND_RESOLVE) {
        data_unary_settled(state, result);
    } else {
        data_unary_answer(state, session_call->kind, result);
    }
}

static void data_unary_run(struct loop_task *task) {
    struct data_unary *state =
        (struct data_unary *)(void *)((uint8_t *)task - offsetof(struct data_unary, task));
    enum status st = data__observe(state->data, state->hlc);
    if (st != STATUS_OK) {
        MARK("data.request.clock_ahead");
        struct rpc_error error = {.status = st, .field = "hlc"};
        rpc_fail(rpc_call_of(state), &error);
        return;
    }
    data__count(state->data, state->call.kind);
    gateway_start(state->data->config.gateway, &state->call);
}

// --- On a poller ---

static bool data_unary_place(struct data_unary *state, const struct data_prepared *prepared,
                             const struct buf *encoded) {
    ProtobufCAllocator *allocator = rpc_call_allocator(rpc_call_of(state));
    uint8_t *base = allocator->alloc(allocator->allocator_data, encoded->size);
    if (base == NULL) { return false; }
    memcpy(base, encoded->data, encoded->size);
    uint64_t wish_ns = rpc_call_deadline_ns(rpc_call_of(state));
    state->txn = prepared->txn;
    state->hlc = prepared->hlc;
    state->settle = prepared->settle;
    state->call = (struct session_call){
        .kind = prepared->kind,
        .key = slice_make(base + prepared->key.at, prepared->key.size),
        .key_high = slice_make(base + prepared->key_high.at, prepared->key_high.size),
        .payload = slice_make(base + prepared->payload.at, prepared->payload.size),
        .deadline_ns = data__deadline(loop_monotonic_ns(), wish_ns),
        .done = data_unary_done,
    };
    return true;
}

static enum status data_unary_decode(struct data_scratch *scratch, enum command_kind kind,
                                     struct slice request, struct data_prepared *out,
                                     struct data_refusal *refusal) {
    if (data__room_for_keys(scratch, request.size) != STATUS_OK) {
        return data__refuse(refusal, STATUS_RESOURCE_EXHAUSTED, NULL, 0, "out of memory");
    }
    if (kind == COMMAND_READ) { return data__decode_read(scratch, request, out, refusal); }
    if (kind == COMMAND_COMMIT) {
        return data__decode_commit(scratch, request, false, out, refusal);
    }
    return data__decode_txn_status(scratch, request, out, refusal);
}

static void data_unary_start(struct data *data, struct rpc_call *call, struct slice request,
                             enum command_kind kind) {
    struct data_unary *state = rpc_call_state(call);
    struct data_refusal refusal;
    struct data_prepared prepared;
    data__refusal_init(&refusal);
    state->data = data;
    state->task.run = data_unary_run;
    struct data_scratch *scratch = data__scratch_take(data);
    enum status st = data_unary_decode(scratch, kind, request, &prepared, &refusal);
    if (st == STATUS_OK && !data_unary_place(state, &prepared, &scratch->encoded)) {
        st = data__refuse(&refusal, STATUS_RESOURCE_EXHAUSTED, NULL, 0, "out of memory");
    }
    data__scratch_give(data, scratch);
    if (st != STATUS_OK) {
        data_unary_refuse(data, call, &refusal);
        return;
    }
    if (loop_post_quietly(data->config.loop, &state->task) != STATUS_OK) {
        struct rpc_error error = {.status = STATUS_OVERLOADED,
                                  .retry_after_ms = DATA_RETRY_AFTER_MS};
        rpc_fail(call, &error);
    }
}

static void data_read(void *ctx, struct rpc_call *call, struct slice request) {
    data_unary_start(ctx, call, request, COMMAND_READ);
}

static void data_commit(void *ctx, struct rpc_call *call, struct slice request) {
    data_unary_start(ctx, call, request, COMMAND_COMMIT);
}

static void data_txn_status(void *ctx, struct rpc_call *call, struct slice request) {
    data_unary_start(ctx, call, request, COMMAND_TXN_STATUS);
}

void data__unary_register(struct data *self) {
    static const struct rpc_handler read = {.start = data_read};
    static const struct rpc_handler commit = {.start = data_commit};
    static const struct rpc_handler txn_status = {.start = data_txn_status};
    struct rpc_method methods[] = {
        {.path = "/lightcone.v1.Data/Read", .handler = &read},
        {.path = "/lightcone.v1.Data/Commit", .handler = &commit},
        {.path = "/lightcone.v1.Data/TxnStatus", .handler = &txn_status},
    };
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        methods[i].kind = RPC_UNARY;
        methods[i].state_size = sizeof(struct data_unary);
        methods[i].ctx = self;
        rpc_register(self->config.server, &methods[i]);
    }
}
