// SPDX-License-Identifier: Apache-2.0
// Data.Scan: page after page, each one a command of its own with its own certificate.
//
//   start (poller) --task--> page: session --> done: send it --> writable (poller) --task--> page
//                                              last page: send it and finish
//
// The next page is fetched when the transport has taken the last one: however slow the client and
// large the range, a scan holds one page. The call's task is posted by one side at a time: first by
// start, then by writable, which the rpc layer calls once a write; and by done for a page without
// rows (the border of a shard), which is not sent.
#include "api/data/data_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"

#include <protobuf-c/protobuf-c.h>

#include <stddef.h>
#include <string.h>

enum { DATA_SCAN_PAYLOAD_MAX = 3 * SHARD_KEY_SIZE_MAX };

// State of a call.
struct data_scan {
    struct loop_task task;    // the next page
    struct loop_task cancel;  // the client went away
    struct session_call call;
    struct data *data;
    struct data_scan_request request;
    uint64_t deadline_ns;  // of the whole scan; UINT64_MAX = none
    uint64_t left;
    uint8_t bound[SHARD_KEY_SIZE_MAX];  // where the scan goes on
    struct buf payload;
    // The loop's.
    bool observed;
    bool running;
    bool cancelled;
    bool finished;
};

static struct data_scan *data_scan_of(void *member, size_t offset) {
    return (struct data_scan *)(void *)((uint8_t *)member - offset);
}

// --- On the loop ---

static void data_scan_fail(struct data_scan *state, const struct rpc_error *error) {
    state->finished = true;
    rpc_fail(rpc_call_of(state), error);
}

static void data_scan_fail_status(struct data_scan *state, enum status st) {
    struct rpc_error error = {.status = st};
    data_scan_fail(state, &error);
}

// Where the next page begins: a copy, because the result goes away.
static void data_scan_resume(struct data_scan *state, struct slice resume) {
    ASSERT(resume.size <= sizeof(state->bound));
    memcpy(state->bound, resume.data, resume.size);
    struct slice bound = slice_make(state->bound, resume.size);
    if (state->request.scan.reverse) {
        state->request.scan.end = bound;
    } else {
        state->request.scan.start = bound;
    }
}

static void data_scan_post(struct data_scan *state) {
    rpc_call_ref(rpc_call_of(state));
    loop_post_completion(state->data->config.loop, &state->task);
}

// Sends a page, and ends the call after the last.
static void data_scan_send(struct data_scan *state, const struct session_result *result) {
    struct rpc_call *call = rpc_call_of(state);
    struct data *data = state->data;
    struct data_page page;
    struct proto_writer w;
    buf_reset(&data->out);
    proto_writer_init(&w, &data->out);
    enum status st = data__encode_page(data, &w, result, state->left, &page);
    state->left -= page.rows;
    bool more = page.more && state->left > 0;
    bool sends = page.rows > 0 || !more;
    if (st == STATUS_OK && sends) { st = rpc_gather(call, buf_slice(&data->out)); }
    if (st != STATUS_OK) {
        data_scan_fail_status(state, st);
        return;
    }
    if (!more) {
        state->finished = true;
        rpc_finish(call);
        return;
    }
    data_scan_resume(state, page.resume);
    if (sends) {
        rpc_flush(call);
    } else {
        data_scan_post(state);
    }
}

static void data_scan_done(struct session_call *session_call, const struct session_result *result) {
    struct data_scan *state = data_scan_of(session_call, offsetof(struct data_scan, call));
    struct data_answer answer = {COMMAND_SCAN, {{0}}, result};
    state->running = false;
    if (state->cancelled) {
        data_scan_fail_status(state, STATUS_CANCELLED);
    } else if (result->status != STATUS_OK) {
        struct rpc_error error = data__result_error(&answer);
        data_scan_fail(state, &error);
    } else {
        data_scan_send(state, result);
    }
}

static void data_scan_page(struct data_scan *state) {
    struct data *data = state->data;
    struct command_scan scan = state->request.scan;
    if (scan.row_limit > state->left) { scan.row_limit = (uint32_t)state->left; }
    struct codec_writer w;
    buf_reset(&state->payload);
    codec_writer_init(&w, &state->payload);
    command_scan_encode(&w, &scan);
    ASSERT(w.status == STATUS_OK);
    state->call = (struct session_call){
        .kind = COMMAND_SCAN,
        .key = scan.start,
        .payload = buf_slice(&state->payload),
        .deadline_ns = data__deadline(data__now(data), state->deadline_ns),
        .done = data_scan_done,
    };
    state->running = true;
    data__count(data, COMMAND_SCAN);
    gateway_start(data->config.gateway, &state->call);
}

static void data_scan_run(struct loop_task *task) {
    struct data_scan *state = data_scan_of(task, offsetof(struct data_scan, task));
    struct rpc_call *call = rpc_call_of(state);
    if (!state->finished) {
        enum status st =
            state->observed ? STATUS_OK : data__observe(state->data, state->request.hlc);
        state->observed = true;
        if (st == STATUS_OK) {
            data_scan_page(state);
        } else {
            struct rpc_error error = {.status = st, .field = "hlc"};
            data_scan_fail(state, &error);
        }
    }
    rpc_call_unref(call);
}

static void data_scan_cancel_run(struct loop_task *task) {
    struct data_scan *state = data_scan_of(task, offsetof(struct data_scan, cancel));
    struct rpc_call *call = rpc_call_of(state);
    MARK("data.scan.cancelled");
    state->cancelled = true;
    if (state->running) {
        gateway_cancel(state->data->config.gateway, &state->call);
    } else if (!state->finished) {
        data_scan_fail_status(state, STATUS_CANCELLED);
    }
    rpc_call_unref(call);
}

// --- On a poller ---

// The bounds outlive the scratch memory in the call's arena.
static bool data_scan_keep(struct data_scan *state, struct slice *bound) {
    ProtobufCAllocator *allocator = rpc_call_allocator(rpc_call_of(state));
    if (bound->size == 0) { return true; }
    uint8_t *copy = allocator->alloc(allocator->allocator_data, bound->size);
    if (copy == NULL) { return false; }
    memcpy(copy, bound->data, bound->size);
    bound->data = copy;
    return true;
}

static enum status data_scan_decode(struct data_scan *state, struct slice request,
                                    struct data_refusal *refusal) {
    struct data_scratch *scratch = data__scratch_take(state->data);
    enum status st = data__room_for_keys(scratch, request.size);
    if (st != STATUS_OK) { (void)data__refuse(refusal, st, NULL, 0, "out of memory"); }
    if (st == STATUS_OK) { st = data__decode_scan(scratch, request, &state->request, refusal); }
    if (st == STATUS_OK && (!data_scan_keep(state, &state->request.scan.start) ||
                            !data_scan_keep(state, &state->request.scan.end))) {
        st = data__refuse(refusal, STATUS_RESOURCE_EXHAUSTED, NULL, 0, "out of memory");
    }
    data__scratch_give(state->data, scratch);
    return st;
}

static void data_scan_start(void *ctx, struct rpc_call *call, struct slice request) {
    struct data_scan *state = rpc_call_state(call);
    struct data_refusal refusal;
    data__refusal_init(&refusal);
    state->data = ctx;
    state->task.run = data_scan_run;
    buf_init(&state->payload, DATA_SCAN_PAYLOAD_MAX);
    if (data_scan_decode(state, request, &refusal) != STATUS_OK) {
        atomic_fetch_add_explicit(&state->data->refused, 1, memory_order_relaxed);
        struct rpc_error error = data__refusal_error(&refusal);
        rpc_fail(call, &error);
        return;
    }
    state->deadline_ns = rpc_call_deadline_ns(call);
    state->left = state->request.limit;
    rpc_call_ref(call);
    if (loop_post(state->data->config.loop, &state->task) != STATUS_OK) {
        struct rpc_error error = {.status = STATUS_OVERLOADED,
                                  .retry_after_ms = DATA_RETRY_AFTER_MS};
        rpc_fail(call, &error);
        rpc_call_unref(call);
    }
}

static void data_scan_writable(void *ctx, struct rpc_call *call) {
    (void)ctx;
    data_scan_post(rpc_call_state(call));
}

static void data_scan_cancelled(void *ctx, struct rpc_call *call) {
    struct data_scan *state = rpc_call_state(call);
    (void)ctx;
    rpc_call_ref(call);
    state->cancel.run = data_scan_cancel_run;
    loop_post_completion(state->data->config.loop, &state->cancel);
}

static void data_scan_released(void *ctx, struct rpc_call *call) {
    struct data_scan *state = rpc_call_state(call);
    (void)ctx;
    if (state->data != NULL) { buf_deinit(&state->payload); }
}

void data__scan_register(struct data *self) {
    static const struct rpc_handler handler = {
        .start = data_scan_start,
        .writable = data_scan_writable,
        .cancelled = data_scan_cancelled,
        .released = data_scan_released,
    };
    struct rpc_method method = {.path = "/lightcone.v1.Data/Scan",
                                .kind = RPC_SERVER_STREAM,
                                .state_size = sizeof(struct data_scan),
                                .handler = &handler,
                                .ctx = self};
    rpc_register(self->config.server, &method);
}
