// SPDX-License-Identifier: Apache-2.0
// Data.Batch: many tagged requests a message, many tagged replies a message.
//
//   poller                                   loop
//   message: decode all items  --- one task --->  start each in the session
//   read on, unless too much is in flight         done: append the reply to stream->out
//                                                 end of the turn: one gather, one flush a stream
//
// Everything about the life of a stream happens on the loop: the pollers only post what they saw
// (half-close, cancellation, drain, garbage) as tasks, each with a reference of the call. A stream
// ends when one of these is so and nothing is in flight.
//
// Reading on: the pollers read the next message while fewer than stream_items_max requests of the
// stream and DATA_UNREAD_MAX bytes of its replies are waiting; otherwise they set `paused` and who
// sees the load fall takes it back and reads. Both sides change first and look after, in
// sequentially consistent order, so one of them sees the other.
#include "api/data/data_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"

#include <stddef.h>
#include <string.h>

enum {
    DATA_REPLY_HINT = 100,
    DATA_STREAM_OUT_MAX = 32 << 20,
    DATA_STREAM_OUT_KEPT_MAX = 1 << 20,
    DATA_UNREAD_MAX = 8 << 20,
    DATA_REPLIES_MAX = 16 << 20,
    DATA_REPLY_LARGE = 64 << 10,
    DATA_DETAIL_HINT = 60,
};

enum data_end {
    DATA_END_HALF_CLOSED,
    DATA_END_CANCELLED,
    DATA_END_DRAIN,
    DATA_END_GARBAGE,
    DATA_END_COUNT
};

struct data_end_task {
    struct loop_task task;
    struct data_stream *stream;
    enum data_end end;
};

// State of a call of Batch.
struct data_stream {
    struct data *data;
    struct data_end_task ends[DATA_END_COUNT];
    atomic_uint_fast64_t in_flight;  // requests decoded and not answered
    atomic_bool paused;
    atomic_bool stopped;          // drained, garbage or finished: nothing is read any more
    struct data_refusal garbage;  // written before DATA_END_GARBAGE is posted
    // The loop's.
    bool ended[DATA_END_COUNT];
    bool finished;
    bool overflow;     // the replies of a turn found no room
    uint64_t started;  // requests in the session, and batches being started
    struct data_batch *batches;
    struct buf out;
    bool flushing;
    struct data_stream *next_flushing;
};

struct data_item {
    struct session_call call;
    struct data_batch *batch;
    uint64_t tag;
    struct txn_id txn;
    struct hlc_ts hlc;
    uint32_t timeout_ms;
    bool running;
    struct data_refusal *refusal;  // NULL = to be started
};

// One message.
struct data_batch {
    struct loop_task task;
    struct data_stream *stream;
    struct data_batch *next;
    struct data_batch *previous;
    uint64_t arrived_ns;
    uint8_t *encoded;
    uint32_t count;
    uint32_t left;  // not answered; one more while the batch is being walked
    struct data_item items[];
};

// --- Reading on ---

static bool data_stream_may_read(struct data_stream *stream) {
    return atomic_load(&stream->in_flight) < stream->data->config.stream_items_max &&
           rpc_gathered(rpc_call_of(stream)) < DATA_UNREAD_MAX;
}

static void data_stream_read_on(struct data_stream *stream) {
    if (!atomic_load(&stream->paused) || !data_stream_may_read(stream)) { return; }
    if (atomic_exchange(&stream->paused, false)) { rpc_read(rpc_call_of(stream)); }
}

// On a poller, after a message.
static void data_stream_read_next(struct data_stream *stream) {
    if (atomic_load(&stream->stopped)) { return; }
    if (data_stream_may_read(stream)) {
        rpc_read(rpc_call_of(stream));
        return;
    }
    MARK("data.batch.paused");
    atomic_store(&stream->paused, true);
    data_stream_read_on(stream);
}

// --- Replies, on the loop ---

static void data_stream_wants_flush(struct data_stream *stream) {
    if (stream->flushing) { return; }
    stream->flushing = true;
    stream->next_flushing = stream->data->flushing;
    stream->data->flushing = stream;
    rpc_call_ref(rpc_call_of(stream));
}

static void data_put_error(struct proto_writer *w, const struct rpc_error *error) {
    size_t mark = proto_open(w, 2, DATA_DETAIL_HINT);
    rpc_error_encode(w, error);
    proto_close(w, mark);
}

// A BatchReply around an error, or around the answer when error is NULL.
static enum status data_put_reply(struct data_stream *stream, const struct data_item *item,
                                  const struct data_answer *answer, const struct rpc_error *error) {
    static const uint32_t fields[COMMAND_KIND_COUNT] = {
        [COMMAND_READ] = 3, [COMMAND_COMMIT] = 4, [COMMAND_TXN_STATUS] = 5};
    struct proto_writer w;
    enum status st = STATUS_OK;
    size_t hint = answer == NULL ? DATA_REPLY_HINT : answer->result->payload.size + DATA_REPLY_HINT;
    proto_writer_init(&w, &stream->out);
    size_t reply = proto_open(&w, 1, hint);
    proto_put_uint(&w, 1, item->tag);
    if (error != NULL) {
        data_put_error(&w, error);
    } else {
        size_t mark = proto_open(&w, fields[answer->kind], hint);
        st = data__encode(stream->data, &w, answer);
        proto_close(&w, mark);
    }
    proto_close(&w, reply);
    return st != STATUS_OK ? st : w.status;
}

// Whether a large answer has to wait: a reader gets at most DATA_REPLIES_MAX ahead of what it has
// read, or one answer of any size. Small ones always go, for a commit's must.
static bool data_reply_is_too_much(struct data_stream *stream, const struct data_answer *answer) {
    if (answer == NULL || answer->result->payload.size < DATA_REPLY_LARGE) { return false; }
    size_t waiting = stream->out.size + rpc_gathered(rpc_call_of(stream));
    return waiting > 0 && waiting + answer->result->payload.size > DATA_REPLIES_MAX;
}

static void data_stream_reply(struct data_stream *stream, const struct data_item *item,
                              const struct data_answer *answer, const struct rpc_error *error) {
    const size_t before = stream->out.size;
    struct rpc_error later = {.status = STATUS_OVERLOADED,
                              .limit = DATA_REPLIES_MAX,
                              .retry_after_ms = DATA_RETRY_AFTER_MS,
                              .message = SLICE_LITERAL("too many bytes of replies are unread")};
    if (error == NULL && data_reply_is_too_much(stream, answer)) {
        MARK("data.batch.unread");
        error = &later;
    }
    enum status st = data_put_reply(stream, item, answer, error);
    if (st != STATUS_OK) {
        // Half a reply is taken back, and the failure told in its place.
        stream->out.size = before;
        struct rpc_error failure = {.status = st};
        st = data_put_reply(stream, item, NULL, &failure);
    }
    // Small replies are bounded by what may be in flight, large ones by DATA_REPLIES_MAX.
    ASSERT(st == STATUS_OK);
    data_stream_wants_flush(stream);
}

static void data_batch_drop(struct data_batch *batch) {
    for (uint32_t i = 0; i < batch->count; i++) {
        mem_free(batch->items[i].refusal);
    }
    mem_free(batch->encoded);
    mem_free(batch);
}

// One answer less to wait for.
static void data_batch_unhold(struct data_batch *batch) {
    struct data_stream *stream = batch->stream;
    ASSERT(batch->left > 0 && stream->started > 0);
    batch->left--;
    stream->started--;
    if (batch->left > 0) { return; }
    if (batch->previous != NULL) {
        batch->previous->next = batch->next;
    } else {
        stream->batches = batch->next;
    }
    if (batch->next != NULL) { batch->next->previous = batch->previous; }
    data_stream_wants_flush(stream);  // it may have been the last
    data_batch_drop(batch);
    rpc_call_unref(rpc_call_of(stream));
}

static void data_item_ended(struct data_item *item) {
    struct data_stream *stream = item->batch->stream;
    item->running = false;
    atomic_fetch_sub(&stream->in_flight, 1);
    atomic_fetch_sub_explicit(&stream->data->items, 1, memory_order_relaxed);
    data_batch_unhold(item->batch);
}

static void data_item_done(struct session_call *call, const struct session_result *result) {
    struct data_item *item =
        (struct data_item *)(void *)((uint8_t *)call - offsetof(struct data_item, call));
    struct data_stream *stream = item->batch->stream;
    struct data_answer answer = {call->kind, item->txn, result};
    if (data__is_success(&answer)) {
        data_stream_reply(stream, item, &answer, NULL);
    } else {
        struct rpc_error error = data__result_error(&answer);
        data_stream_reply(stream, item, &answer, &error);
    }
    data_item_ended(item);
}

static void data_item_refused(struct data_item *item, const struct rpc_error *error) {
    data_stream_reply(item->batch->stream, item, NULL, error);
    data_item_ended(item);
}

static void data_item_start(struct data_item *item) {
    struct data *data = item->batch->stream->data;
    if (item->refusal != NULL) {
        struct rpc_error error = data__refusal_error(item->refusal);
        if (error.status == STATUS_OVERLOADED) { error.retry_after_ms = DATA_RETRY_AFTER_MS; }
        data_item_refused(item, &error);
        return;
    }
    enum status st = data__observe(data, item->hlc);
    if (st != STATUS_OK) {
        struct rpc_error error = {.status = st, .field = "hlc"};
        data_item_refused(item, &error);
        return;
    }
    data__count(data, item->call.kind);
    item->running = true;
    gateway_start(data->config.gateway, &item->call);
}

static void data_batch_run(struct loop_task *task) {
    struct data_batch *batch =
        (struct data_batch *)(void *)((uint8_t *)task - offsetof(struct data_batch, task));
    struct data_stream *stream = batch->stream;
    batch->next = stream->batches;
    if (batch->next != NULL) { batch->next->previous = batch; }
    stream->batches = batch;
    batch->left = batch->count + 1;
    stream->started += batch->left;
    const bool over = stream->finished || stream->ended[DATA_END_CANCELLED];
    for (uint32_t i = 0; i < batch->count; i++) {
        if (over) {
            data_item_ended(&batch->items[i]);
        } else {
            data_item_start(&batch->items[i]);
        }
    }
    data_batch_unhold(batch);
}

// --- The end of a stream, on the loop ---

static void data_stream_finish(struct data_stream *stream) {
    struct rpc_call *call = rpc_call_of(stream);
    struct rpc_error error = {.status = STATUS_OK};
    stream->finished = true;
    atomic_store(&stream->stopped, true);
    if (stream->overflow) {
        error.status = STATUS_RESOURCE_EXHAUSTED;
        error.message = SLICE_LITERAL("the client does not read its replies");
    } else if (stream->ended[DATA_END_GARBAGE]) {
        error = data__refusal_error(&stream->garbage);
    } else if (stream->ended[DATA_END_CANCELLED]) {
        error.status = STATUS_CANCELLED;
    } else if (!stream->ended[DATA_END_HALF_CLOSED]) {
        ASSERT(stream->ended[DATA_END_DRAIN]);
        error.status = STATUS_UNAVAILABLE;
        error.message = SLICE_LITERAL("the node is stopping");
    }
    if (error.status == STATUS_OK) {
        rpc_finish(call);
    } else {
        rpc_fail(call, &error);
    }
}

static void data_stream_try_end(struct data_stream *stream) {
    bool over = stream->overflow;
    for (uint32_t i = 0; i < DATA_END_COUNT; i++) {
        over = over || stream->ended[i];
    }
    // An overflow ends the stream at once: what is in flight ends without a reader.
    if (stream->finished || !over || (stream->started > 0 && !stream->overflow)) { return; }
    data_stream_finish(stream);
}

static void data_stream_flush(struct data_stream *stream) {
    struct rpc_call *call = rpc_call_of(stream);
    if (stream->out.size > 0 && !stream->finished) {
        struct proto_writer w;
        uint64_t items = atomic_load_explicit(&stream->data->items, memory_order_relaxed);
        proto_writer_init(&w, &stream->out);
        // The last of several load hints in one message counts.
        proto_put_uint(&w, 2, items * 100 / stream->data->config.items_max);
        if (rpc_gather(call, buf_slice(&stream->out)) != STATUS_OK) {
            MARK("data.batch.overflow");
            stream->overflow = true;
        }
        rpc_flush(call);
    }
    buf_reset(&stream->out);
    if (stream->out.capacity > DATA_STREAM_OUT_KEPT_MAX) {
        buf_deinit(&stream->out);
        buf_init(&stream->out, DATA_STREAM_OUT_MAX);
    }
    data_stream_try_end(stream);
    if (!atomic_load(&stream->stopped)) { data_stream_read_on(stream); }
}

void data__streams_flush(struct data *self) {
    while (self->flushing != NULL) {
        struct data_stream *stream = self->flushing;
        self->flushing = stream->next_flushing;
        stream->flushing = false;
        data_stream_flush(stream);
        rpc_call_unref(rpc_call_of(stream));
    }
}

// Ends the session calls of a client that went away.
static void data_stream_cancel_items(struct data_stream *stream) {
    struct data_batch *batch = stream->batches;
    while (batch != NULL) {
        batch->left++;
        stream->started++;
        for (uint32_t i = 0; i < batch->count; i++) {
            if (batch->items[i].running) {
                gateway_cancel(stream->data->config.gateway, &batch->items[i].call);
            }
        }
        struct data_batch *next = batch->next;
        data_batch_unhold(batch);
        batch = next;
    }
}

static void data_end_run(struct loop_task *task) {
    struct data_end_task *end =
        (struct data_end_task *)(void *)((uint8_t *)task - offsetof(struct data_end_task, task));
    struct data_stream *stream = end->stream;
    stream->ended[end->end] = true;
    if (end->end == DATA_END_CANCELLED) { data_stream_cancel_items(stream); }
    data_stream_wants_flush(stream);
    rpc_call_unref(rpc_call_of(stream));
}

// --- On a poller ---

static void data_end_post(struct data_stream *stream, enum data_end end) {
    struct data_end_task *task = &stream->ends[end];
    rpc_call_ref(rpc_call_of(stream));
    *task = (struct data_end_task){.task = {.run = data_end_run}, .stream = stream, .end = end};
    loop_post_completion(stream->data->config.loop, &task->task);
}

static enum status data_item_decode(struct data_scratch *scratch, struct slice message,
                                    struct data_item *item, struct data_prepared *prepared,
                                    struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    struct slice request = SLICE_EMPTY;
    uint32_t asked = 0;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { item->tag = proto_get_uint(&r, &field); }
        if (field.number == 2) { item->timeout_ms = proto_get_uint32(&r, &field); }
        if (field.number >= 3 && field.number <= 5) {
            asked = field.number;
            request = proto_get_bytes(&r, &field);
        }
    }
    if (r.status != STATUS_OK || asked == 0) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "request", 0,
                            asked == 0 ? "the item asks for nothing" : "the item does not decode");
    }
    if (data__room_for_keys(scratch, request.size) != STATUS_OK) {
        return data__refuse(refusal, STATUS_RESOURCE_EXHAUSTED, NULL, 0, "out of memory");
    }
    if (asked == 3) { return data__decode_read(scratch, request, prepared, refusal); }
    if (asked == 4) { return data__decode_commit(scratch, request, true, prepared, refusal); }
    const enum status st = data__decode_txn_status(scratch, request, prepared, refusal);
    if (st == STATUS_OK && prepared->settle) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "settle", 0,
                            "an outcome is settled by the unary TxnStatus");
    }
    return st;
}

// Until the encoding is complete and stays where it is, keys and payload are positions in it.
static void data_item_prepare(struct data_item *item, const struct data_prepared *prepared) {
    item->txn = prepared->txn;
    item->hlc = prepared->hlc;
    item->call = (struct session_call){
        .kind = prepared->kind,
        .key = {(const uint8_t *)prepared->key.at, prepared->key.size},
        .key_high = {(const uint8_t *)prepared->key_high.at, prepared->key_high.size},
        .payload = {(const uint8_t *)prepared->payload.at, prepared->payload.size},
        .done = data_item_done,
    };
}

static void data_item_place(struct data_item *item, const uint8_t *base) {
    struct slice *views[] = {&item->call.key, &item->call.key_high, &item->call.payload};
    for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
        views[i]->data = base + (uintptr_t)views[i]->data;
    }
}

static void data_item_refuse(struct data_item *item, const struct data_refusal *refusal) {
    atomic_fetch_add_explicit(&item->batch->stream->data->refused, 1, memory_order_relaxed);
    item->refusal = mem_alloc(sizeof(*item->refusal));
    *item->refusal = *refusal;
}

// Decodes item after item; false when the message itself is garbage.
static bool data_batch_items(struct data_batch *batch, struct data_scratch *scratch,
                             struct slice message, bool overloaded) {
    struct proto_reader r;
    struct proto_field field;
    uint32_t count = 0;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number != 1) { continue; }
        struct data_item *item = &batch->items[count];
        struct data_prepared prepared;
        struct data_refusal refusal;
        data__refusal_init(&refusal);
        item->batch = batch;
        struct slice body = proto_get_bytes(&r, &field);
        enum status st = data_item_decode(scratch, body, item, &prepared, &refusal);
        if (st == STATUS_OK && overloaded) {
            st = data__refuse(&refusal, STATUS_OVERLOADED, NULL,
                              batch->stream->data->config.items_max, "too many requests in flight");
        }
        if (st == STATUS_OK) {
            data_item_prepare(item, &prepared);
        } else {
            data_item_refuse(item, &refusal);
        }
        count++;
    }
    ASSERT(count <= batch->count);
    return r.status == STATUS_OK;
}

static uint64_t data_item_deadline(const struct data_batch *batch, const struct data_item *item) {
    if (item->timeout_ms == 0) { return data__deadline(batch->arrived_ns, UINT64_MAX); }
    return batch->arrived_ns + (uint64_t)item->timeout_ms * UINT64_C(1000000);
}

static bool data_batch_place(struct data_batch *batch, const struct buf *encoded) {
    batch->encoded = mem_try_alloc(encoded->size + 1);
    if (batch->encoded == NULL) { return false; }
    if (encoded->size > 0) { memcpy(batch->encoded, encoded->data, encoded->size); }
    batch->arrived_ns = loop_monotonic_ns();
    for (uint32_t i = 0; i < batch->count; i++) {
        struct data_item *item = &batch->items[i];
        if (item->refusal != NULL) { continue; }
        data_item_place(item, batch->encoded);
        item->call.deadline_ns = data_item_deadline(batch, item);
    }
    return true;
}

// How many items a message has; more than DATA_BATCH_ITEMS_MAX and garbage are refused.
static enum status data_batch_count(struct slice message, uint32_t *out,
                                    struct data_refusal *refusal) {
    struct proto_reader r;
    struct proto_field field;
    uint32_t count = 0;
    proto_reader_init(&r, message);
    while (proto_next(&r, &field)) {
        if (field.number != 1) { continue; }
        if (field.type != PROTO_BYTES) {
            return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "items", 0,
                                "the message does not decode");
        }
        if (count++ == DATA_BATCH_ITEMS_MAX) {
            return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "items", DATA_BATCH_ITEMS_MAX,
                                "a message has at most %d items", DATA_BATCH_ITEMS_MAX);
        }
    }
    *out = count;
    if (r.status == STATUS_OK) { return STATUS_OK; }
    return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "items", 0,
                        "the message does not decode");
}

// The whole of a message, ready to be posted; NULL with the refusal filled.
static struct data_batch *data_batch_make(struct data_stream *stream, struct slice message,
                                          struct data_refusal *refusal) {
    struct data *data = stream->data;
    uint32_t count = 0;
    if (data_batch_count(message, &count, refusal) != STATUS_OK) { return NULL; }
    const size_t size = sizeof(struct data_batch) + count * sizeof(struct data_item);
    struct data_batch *batch = mem_try_alloc(size);
    if (batch == NULL) {
        (void)data__refuse(refusal, STATUS_RESOURCE_EXHAUSTED, NULL, 0, "out of memory");
        return NULL;
    }
    memset(batch, 0, size);
    batch->stream = stream;
    batch->count = count;
    batch->task.run = data_batch_run;
    uint64_t before = atomic_fetch_add_explicit(&data->items, count, memory_order_relaxed);
    atomic_fetch_add(&stream->in_flight, count);
    struct data_scratch *scratch = data__scratch_take(data);
    bool ok = data_batch_items(batch, scratch, message, before + count > data->config.items_max) &&
              data_batch_place(batch, &scratch->encoded);
    data__scratch_give(data, scratch);
    if (ok) { return batch; }
    (void)data__refuse(refusal, STATUS_RESOURCE_EXHAUSTED, NULL, 0, "out of memory");
    atomic_fetch_sub_explicit(&data->items, count, memory_order_relaxed);
    atomic_fetch_sub(&stream->in_flight, count);
    data_batch_drop(batch);
    return NULL;
}

static void data_batch_start(void *ctx, struct rpc_call *call, struct slice request) {
    struct data_stream *stream = rpc_call_state(call);
    (void)request;
    stream->data = ctx;
    buf_init(&stream->out, DATA_STREAM_OUT_MAX);
    rpc_read(call);
}

static void data_batch_message(void *ctx, struct rpc_call *call, struct slice message) {
    struct data *data = ctx;
    struct data_stream *stream = rpc_call_state(call);
    atomic_fetch_add_explicit(&data->messages, 1, memory_order_relaxed);
    data__refusal_init(&stream->garbage);
    struct data_batch *batch = data_batch_make(stream, message, &stream->garbage);
    if (batch == NULL) {
        atomic_store(&stream->stopped, true);
        data_end_post(stream, DATA_END_GARBAGE);
        return;
    }
    // A completion, because the number is bounded by what streams may have in flight and a client
    // that was read from is owed its replies.
    rpc_call_ref(call);
    loop_post_completion(data->config.loop, &batch->task);
    data_stream_read_next(stream);
}

static void data_batch_half_closed(void *ctx, struct rpc_call *call) {
    (void)ctx;
    data_end_post(rpc_call_state(call), DATA_END_HALF_CLOSED);
}

static void data_batch_writable(void *ctx, struct rpc_call *call) {
    struct data_stream *stream = rpc_call_state(call);
    (void)ctx;
    if (!atomic_load(&stream->stopped)) { data_stream_read_on(stream); }
}

static void data_batch_cancelled(void *ctx, struct rpc_call *call) {
    (void)ctx;
    data_end_post(rpc_call_state(call), DATA_END_CANCELLED);
}

static void data_batch_drain(void *ctx, struct rpc_call *call) {
    struct data_stream *stream = rpc_call_state(call);
    (void)ctx;
    atomic_store(&stream->stopped, true);
    data_end_post(stream, DATA_END_DRAIN);
}

static void data_batch_released(void *ctx, struct rpc_call *call) {
    struct data_stream *stream = rpc_call_state(call);
    (void)ctx;
    ASSERT(stream->batches == NULL && !stream->flushing);
    buf_deinit(&stream->out);
}

void data__batch_register(struct data *self) {
    static const struct rpc_handler handler = {
        .start = data_batch_start,
        .message = data_batch_message,
        .half_closed = data_batch_half_closed,
        .writable = data_batch_writable,
        .cancelled = data_batch_cancelled,
        .drain = data_batch_drain,
        .released = data_batch_released,
    };
    struct rpc_method method = {.path = "/lightcone.v1.Data/Batch",
                                .kind = RPC_BIDI_STREAM,
                                .state_size = sizeof(struct data_stream),
                                .handler = &handler,
                                .ctx = self};
    rpc_register(self->config.server, &method);
}
