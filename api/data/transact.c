// SPDX-License-Identifier: Apache-2.0
// Data.Transact: one interactive transaction a stream.
//
//   poller                                  loop
//   message: decode; writes go into  --task-->  reads: session, buffer laid over the rows
//   the buffer                                  commit: one commit of everything, session
//   rpc_read <---- writable ---------------  answer: gathered and flushed
//
// The next message is read when the transport has taken the last answer: one request is in flight,
// and a client that does not read is not read from. Whoever has the request at hand has the buffer
// and the scratch memory, first the poller, then the loop; the ends of the stream (half-close,
// cancellation, drain) touch neither.
//
// The first read is strong, and not below this node's clock: what was acknowledged through this
// node, or is older than the client's hlc, is in the snapshot on every shard. All that follows is
// read at that snapshot. An error is the last answer: the transaction is over, and as nothing was
// locked but by hints that run out, nothing has to be undone.
#include "api/data/transact_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define DATA_MARGIN_NS_MAX UINT64_C(50000000)

// --- Answers, on the loop ---

static void data_transact_done_with_request(struct data_transact *state) {
    if (state->scratch != NULL) { data__scratch_give(state->data, state->scratch); }
    state->scratch = NULL;
}

// Ends the stream; the handler's reference goes.
static void data_transact_finish(struct data_transact *state) {
    struct rpc_call *call = rpc_call_of(state);
    struct rpc_error error = {.status = STATUS_OK};
    ASSERT(!state->finished && !state->running && !state->holding);
    state->finished = true;
    atomic_store(&state->stopped, true);
    gateway_hold_end(&state->hold);
    if (state->overflow) {
        error.status = STATUS_RESOURCE_EXHAUSTED;
        error.message = SLICE_LITERAL("the answer is larger than a stream takes");
    } else if (state->ended[DATA_TRANSACT_CANCELLED]) {
        error.status = STATUS_CANCELLED;
    } else if (state->ended[DATA_TRANSACT_DRAIN]) {
        error.status = STATUS_UNAVAILABLE;
        error.message = SLICE_LITERAL("the node is stopping");
    }
    if (error.status == STATUS_OK) {
        rpc_finish(call);
    } else {
        rpc_fail(call, &error);
    }
}

void data__transact_writer(struct data_transact *state) {
    buf_reset(&state->out);
    proto_writer_init(&state->reply, &state->out);
}

// Sends what was written; the last answer ends the stream.
void data__transact_send(struct data_transact *state, bool last) {
    struct rpc_call *call = rpc_call_of(state);
    ASSERT(state->reply.status == STATUS_OK);
    // One answer is at most DATA_RESPONSE_SIZE_MAX, and the one before has gone.
    const enum status st = rpc_gather(call, buf_slice(&state->out));
    buf_reset(&state->out);
    if (state->out.capacity > DATA_TRANSACT_KEPT_MAX) {
        buf_deinit(&state->out);
        buf_init(&state->out, DATA_RESPONSE_SIZE_MAX);
    }
    data_transact_done_with_request(state);
    state->overflow = st != STATUS_OK;
    bool over = last || state->overflow;
    for (uint32_t i = 0; i < DATA_TRANSACT_END_COUNT; i++) {
        over = over || state->ended[i];
    }
    if (over && last) {
        // What was decided is told, also by a node that stops.
        state->ended[DATA_TRANSACT_DRAIN] = false;
    }
    if (over) {
        data_transact_finish(state);
    } else {
        rpc_flush(call);
    }
}

void data__transact_fail(struct data_transact *state, const struct rpc_error *error) {
    data__transact_writer(state);
    size_t mark = proto_open(&state->reply, DATA_TRANSACT_ERROR, DATA_TRANSACT_HINT);
    rpc_error_encode(&state->reply, error);
    proto_close(&state->reply, mark);
    data__transact_send(state, true);
}

void data__transact_fail_status(struct data_transact *state, enum status st, const char *text) {
    const struct rpc_error error = {.status = st, .message = slice_from_string(text)};
    data__transact_fail(state, &error);
}

void data__transact_refuse(struct data_transact *state) {
    struct rpc_error error = data__refusal_error(&state->refusal);
    if (error.status == STATUS_OVERLOADED) { error.retry_after_ms = DATA_RETRY_AFTER_MS; }
    atomic_fetch_add_explicit(&state->data->refused, 1, memory_order_relaxed);
    data__transact_fail(state, &error);
}

void data__transact_refused(struct data_refusal *out, enum status st, const char *field,
                            const struct interactive_refusal *why) {
    (void)data__refuse(out, st, field, why->limit, "%s", why->err.message);
}

// --- Sessions ---

// A little before the client's own clock, so that it still hears how its commit stands.
uint64_t data__transact_deadline(const struct data_transact *state) {
    const uint64_t now = data__now(state->data);
    const uint64_t deadline = data__deadline(now, state->deadline_ns);
    if (deadline <= now) { return deadline; }
    const uint64_t part = (deadline - now) / DATA_MARGIN_PARTS;
    return deadline - (part < DATA_MARGIN_NS_MAX ? part : DATA_MARGIN_NS_MAX);
}

void data__transact_start(struct data_transact *state, enum command_kind kind, struct slice key,
                          struct slice key_high) {
    state->call.kind = kind;
    state->call.key = key;
    state->call.key_high = key_high;
    state->call.payload = buf_slice(&state->scratch->encoded);
    state->call.begin = state->begin;
    state->call.deadline_ns = data__transact_deadline(state);
    state->running = true;
    data__count(state->data, kind);
    gateway_start(state->data->config.gateway, &state->call);
}

struct command_snapshot data__transact_snapshot(const struct data_transact *state) {
    const struct data *data = state->data;
    if (state->snapshot.v != 0) {
        return (struct command_snapshot){.consistency = COMMAND_AT, .at = state->snapshot};
    }
    return (struct command_snapshot){.consistency = COMMAND_STRONG,
                                     .at_least =
                                         hlc_now(data->config.hlc, env_wall_us(data->config.env))};
}

static void data_transact_take_snapshot(struct data_transact *state,
                                        const struct session_result *result) {
    ASSERT(result->certificate.method != COMMAND_METHOD_NONE);
    if (state->snapshot.v == 0) { state->snapshot = result->certificate.timestamp; }
}

// What is read and written counts against the node's memory.
bool data__transact_charge(struct data_transact *state) {
    struct data *data = state->data;
    const uint64_t bytes = state->buffer.bytes;
    const uint64_t before = atomic_fetch_add_explicit(&data->transact_bytes, bytes - state->charged,
                                                      memory_order_relaxed);
    const bool fits = bytes <= state->charged ||
                      before + (bytes - state->charged) <= data->config.transact_bytes_max;
    state->charged = bytes;
    return fits;
}

enum status data__transact_overloaded(struct data_refusal *out, const struct data *data) {
    MARK("data.transact.overloaded");
    return data__refuse(out, STATUS_OVERLOADED, NULL, data->config.transact_bytes_max,
                        "the transactions of this node keep too many bytes");
}

// --- Begin ---

static void data_transact_begin(struct data_transact *state) {
    struct data *data = state->data;
    const struct data_transact_request *request = &state->request;
    const struct hlc_ts given[] = {request->hlc, request->begin, request->snapshot};
    static const char *const names[] = {"begin.hlc", "begin.begin", "begin.snapshot"};
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        const enum status st = data__observe(data, given[i]);
        if (st == STATUS_OK) { continue; }
        const struct rpc_error error = {.status = st, .field = names[i]};
        data__transact_fail(state, &error);
        return;
    }
    state->keyspace = request->keyspace;
    state->txn = request->txn;
    state->snapshot = request->snapshot;
    state->begin = request->begin;
    if (state->begin.v == 0) {
        state->begin = hlc_now(data->config.hlc, env_wall_us(data->config.env));
    }
    gateway_hold_init(&state->hold, data->config.gateway);
    state->hold.txn = state->txn;
    state->hold.begin = state->begin;
    state->hold.done = data__transact_held;
    data__transact_writer(state);
    size_t mark = proto_open(&state->reply, DATA_TRANSACT_BEGUN, DATA_TRANSACT_HINT);
    proto_put_bytes(&state->reply, 1, slice_make(state->txn.v, sizeof(state->txn.v)));
    proto_put_fixed64(&state->reply, 2, state->begin.v);
    proto_close(&state->reply, mark);
    data__transact_send(state, false);
}

// --- Commit ---

static void data_transact_put_committed(struct data_transact *state,
                                        const struct session_result *result) {
    const struct data_answer answer = {COMMAND_COMMIT, state->txn, result};
    data__transact_writer(state);
    size_t mark = proto_open(&state->reply, DATA_TRANSACT_COMMITTED, DATA_TRANSACT_HINT);
    const enum status st = data__encode(state->data, &state->reply, &answer);
    proto_close(&state->reply, mark);
    if (st != STATUS_OK) {
        data__transact_fail_status(state, st, "the outcome does not decode");
    } else {
        data__transact_send(state, true);
    }
}

// Nothing was written and nothing is tested: what was read is one snapshot, which is its order.
static void data_transact_commit_reads(struct data_transact *state) {
    const struct command_outcome outcome = {.status = STATUS_OK, .timestamp = state->snapshot};
    struct codec_writer w;
    MARK("data.transact.read_only");
    buf_reset(&state->scratch->encoded);
    codec_writer_init(&w, &state->scratch->encoded);
    command_outcome_encode(&w, &outcome);
    if (w.status != STATUS_OK) {
        data__transact_fail_status(state, w.status, "no memory");
        return;
    }
    const struct session_result result = {.status = STATUS_OK,
                                          .payload = buf_slice(&state->scratch->encoded)};
    data_transact_put_committed(state, &result);
}

static enum status data_transact_encode_commit(struct data_transact *state) {
    struct data_scratch *scratch = state->scratch;
    struct data_refusal *refusal = &state->refusal;
    struct command_commit commit;
    enum status st = interactive_commit(&state->buffer, &commit);
    if (st != STATUS_OK) { return data__refuse(refusal, st, NULL, 0, "no memory to commit"); }
    commit.txn = state->txn;
    commit.snapshot = commit.read_count > 0 ? state->snapshot : HLC_ZERO;
    commit.condition_count = scratch->operation_count;
    commit.conditions = scratch->conditions;
    st = command_commit_check(&commit, &refusal->err);
    if (st != STATUS_OK) {
        refusal->status = st;
        refusal->limit = COMMAND_OPS_MAX;
        return st;
    }
    state->home = commit.mutation_count > 0 ? commit.mutations[0].key : commit.conditions[0].key;
    struct codec_writer w;
    buf_reset(&scratch->encoded);
    codec_writer_init(&w, &scratch->encoded);
    command_commit_encode(&w, &commit);
    if (w.status != STATUS_OK) {
        return data__refuse(refusal, w.status, NULL, 0, "no memory to commit");
    }
    if (scratch->encoded.size <= scratch->commit_size_max) { return STATUS_OK; }
    return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "commit", scratch->commit_size_max,
                        "the transaction is larger than this node takes");
}

static void data_transact_commit(struct data_transact *state) {
    struct slice low;
    struct slice high;
    if (interactive_mutations(&state->buffer) == 0 && state->scratch->operation_count == 0) {
        data_transact_commit_reads(state);
        return;
    }
    if (data_transact_encode_commit(state) != STATUS_OK) {
        data__transact_refuse(state);
        return;
    }
    const enum status st = command_commit_span(buf_slice(&state->scratch->encoded), &low, &high);
    ASSERT(st == STATUS_OK);
    data__transact_start(state, COMMAND_COMMIT, low, high);
}

// --- One request, on the loop ---

static void data_transact_answer_error(struct data_transact *state, enum command_kind kind,
                                       const struct session_result *result) {
    const struct data_answer answer = {kind, state->txn, result};
    struct rpc_error error = data__result_error(&answer);
    if (error.status == STATUS_UNKNOWN_OUTCOME) {
        error.key = slice_make(state->home.data + SHARD_KEYSPACE_PREFIX_SIZE,
                               state->home.size - SHARD_KEYSPACE_PREFIX_SIZE);
    }
    data__transact_fail(state, &error);
}

static void data_transact_done(struct session_call *call, const struct session_result *result) {
    struct data_transact *state = data__transact_of(call, offsetof(struct data_transact, call));
    const struct data_answer answer = {call->kind, state->txn, result};
    state->running = false;
    if (state->ended[DATA_TRANSACT_CANCELLED]) {
        data_transact_done_with_request(state);
        data_transact_finish(state);
        return;
    }
    if (!data__is_success(&answer) &&
        !(call->kind == COMMAND_SCAN && result->status == STATUS_OK)) {
        data_transact_answer_error(state, call->kind, result);
        return;
    }
    if (call->kind == COMMAND_COMMIT) {
        data_transact_put_committed(state, result);
        return;
    }
    data_transact_take_snapshot(state, result);
    if (call->kind == COMMAND_READ) {
        data__transact_put_rows(state, result->payload, &result->certificate);
    } else {
        data__transact_scanned(state, result);
    }
}

static void data_transact_written(struct data_transact *state) {
    data__transact_writer(state);
    const uint32_t count = interactive_mutations(&state->buffer);
    ASSERT(count > 0);
    proto_put_uint(&state->reply, DATA_TRANSACT_WRITTEN, count);
    data__transact_send(state, false);
}

static void data_transact_rollback(struct data_transact *state) {
    data__transact_writer(state);
    proto_put_uint(&state->reply, DATA_TRANSACT_ROLLED_BACK, 1);
    data__transact_send(state, true);
}

static void data_transact_act(struct data_transact *state) {
    switch (state->request.kind) {
    case DATA_TRANSACT_BEGIN:
        data_transact_begin(state);
        return;
    case DATA_TRANSACT_GET:
        if (state->request.for_update) {
            data__transact_get_for_update(state);
        } else {
            data__transact_get(state);
        }
        return;
    case DATA_TRANSACT_SCAN:
        data__transact_scan(state);
        return;
    case DATA_TRANSACT_WRITE:
        data_transact_written(state);
        return;
    case DATA_TRANSACT_COMMIT:
        data_transact_commit(state);
        return;
    case DATA_TRANSACT_ROLLBACK:
        data_transact_rollback(state);
        return;
    case DATA_TRANSACT_NONE:
    case DATA_TRANSACT_KIND_COUNT:
        break;
    }
    ASSERT(false);
}

static void data_transact_run(struct loop_task *task) {
    struct data_transact *state = data__transact_of(task, offsetof(struct data_transact, task));
    struct rpc_call *call = rpc_call_of(state);
    if (state->finished) {
        data_transact_done_with_request(state);
    } else if (state->refusal.status != STATUS_OK) {
        data__transact_refuse(state);
    } else {
        data_transact_act(state);
    }
    rpc_call_unref(call);
}

// --- The end of a stream, on the loop ---

static void data_transact_end_run(struct loop_task *task) {
    struct data_transact_end_task *end = (struct data_transact_end_task *)(void *)task;
    struct data_transact *state = end->state;
    struct rpc_call *call = rpc_call_of(state);
    state->ended[end->end] = true;
    if (state->running && end->end == DATA_TRANSACT_CANCELLED) {
        MARK("data.transact.cancelled");
        gateway_cancel(state->data->config.gateway, &state->call);
    } else if (state->holding && end->end == DATA_TRANSACT_CANCELLED) {
        state->holding = false;
        data_transact_done_with_request(state);
        data_transact_finish(state);
    } else if (!state->running && !state->holding && !state->finished) {
        data_transact_finish(state);
    }
    rpc_call_unref(call);
}

static void data_transact_end_post(struct rpc_call *call, enum data_transact_end end) {
    struct data_transact *state = rpc_call_state(call);
    struct data_transact_end_task *task = &state->ends[end];
    rpc_call_ref(call);
    *task = (struct data_transact_end_task){
        .task = {.run = data_transact_end_run}, .state = state, .end = end};
    loop_post_completion(state->data->config.loop, &task->task);
}

// --- On a poller ---

// Each mutation by itself: what they are to one another is for the buffer to say.
static enum status data_transact_write_one(struct data_transact *state, uint32_t position) {
    static const struct txn_id any = {{1}};
    const struct command_mutation *mutation = &state->scratch->mutations[position];
    const struct command_commit alone = {.txn = any, .mutation_count = 1, .mutations = mutation};
    struct interactive_refusal why = {0};
    char field[DATA_FIELD_SIZE];
    enum status st = command_commit_check(&alone, &why.err);
    if (st == STATUS_OK) { st = interactive_write(&state->buffer, mutation, &why); }
    if (st == STATUS_OK) { return STATUS_OK; }
    (void)snprintf(field, sizeof(field), "write.mutations[%u]", position);
    // The check counts from the mutation that it was shown.
    const char *text = strstr(why.err.message, "mutation 0: ");
    text = text == why.err.message ? text + strlen("mutation 0: ") : why.err.message;
    return data__refuse(&state->refusal, st, field, why.limit, "%s", text);
}

static void data_transact_write(struct data_transact *state) {
    for (uint32_t i = 0; i < state->scratch->operation_count; i++) {
        if (data_transact_write_one(state, i) != STATUS_OK) { return; }
    }
    if (!data__transact_charge(state)) {
        (void)data__transact_overloaded(&state->refusal, state->data);
    }
}

static void data_transact_message(void *ctx, struct rpc_call *call, struct slice message) {
    struct data *data = ctx;
    struct data_transact *state = rpc_call_state(call);
    data__refusal_init(&state->refusal);
    state->scratch = data__scratch_take(data);
    const enum status st = data__decode_transact(state->scratch, state->keyspace, message,
                                                 &state->request, &state->refusal);
    if (st == STATUS_OK && state->request.kind == DATA_TRANSACT_WRITE) {
        data_transact_write(state);
    }
    rpc_call_ref(call);
    state->task = (struct loop_task){.run = data_transact_run};
    loop_post_completion(data->config.loop, &state->task);
}

static void data_transact_open(void *ctx, struct rpc_call *call, struct slice request) {
    struct data_transact *state = rpc_call_state(call);
    struct data *data = ctx;
    (void)request;
    state->data = data;
    state->call.done = data_transact_done;
    state->deadline_ns = rpc_call_deadline_ns(call);
    interactive_init(&state->buffer, data->config.commit_size_max);
    buf_init(&state->out, DATA_RESPONSE_SIZE_MAX);
    buf_init(&state->fold, COMMAND_READ_SIZE_MAX);
    rpc_read(call);
}

static void data_transact_writable(void *ctx, struct rpc_call *call) {
    struct data_transact *state = rpc_call_state(call);
    (void)ctx;
    if (!atomic_load(&state->stopped)) { rpc_read(call); }
}

static void data_transact_half_closed(void *ctx, struct rpc_call *call) {
    (void)ctx;
    data_transact_end_post(call, DATA_TRANSACT_HALF_CLOSED);
}

static void data_transact_cancelled(void *ctx, struct rpc_call *call) {
    (void)ctx;
    data_transact_end_post(call, DATA_TRANSACT_CANCELLED);
}

static void data_transact_drain(void *ctx, struct rpc_call *call) {
    (void)ctx;
    data_transact_end_post(call, DATA_TRANSACT_DRAIN);
}

static void data_transact_released(void *ctx, struct rpc_call *call) {
    struct data_transact *state = rpc_call_state(call);
    (void)ctx;
    if (state->data == NULL) { return; }
    ASSERT(!state->running && state->scratch == NULL);
    atomic_fetch_sub_explicit(&state->data->transact_bytes, state->charged, memory_order_relaxed);
    interactive_deinit(&state->buffer);
    buf_deinit(&state->out);
    buf_deinit(&state->fold);
}

void data__transact_register(struct data *self) {
    static const struct rpc_handler handler = {
        .start = data_transact_open,
        .message = data_transact_message,
        .half_closed = data_transact_half_closed,
        .writable = data_transact_writable,
        .cancelled = data_transact_cancelled,
        .drain = data_transact_drain,
        .released = data_transact_released,
    };
    struct rpc_method method = {.path = "/lightcone.v1.Data/Transact",
                                .kind = RPC_BIDI_STREAM,
                                .state_size = sizeof(struct data_transact),
                                .handler = &handler,
                                .ctx = self};
    rpc_register(self->config.server, &method);
}
