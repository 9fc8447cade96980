// SPDX-License-Identifier: Apache-2.0
// Peers by plain unary gRPC calls on the C core, with the same settings and the same technique as
// liblightcone's unary mode: the echo server, and etcd's KV service. Of etcd's protocol only the
// few fields that are needed are encoded here; their numbers are those of its public schema.
#include "api/proto/wire.h"
#include "api/rpc/core_init.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/bench/load.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { LOAD_METHODS = 3, LOAD_REQUEST_MAX = 16 << 20 };
enum load_method { LOAD_METHOD_RANGE, LOAD_METHOD_PUT, LOAD_METHOD_TXN };

struct load_call {
    uint32_t slot;
    grpc_call *call;
    grpc_byte_buffer *request;
    grpc_byte_buffer *response;
    grpc_metadata_array initial_metadata;
    grpc_metadata_array trailing_metadata;
    grpc_status_code code;
    grpc_slice details;
};

struct load_channel {
    grpc_channel *channel;
    void *handles[LOAD_METHODS];
};

struct load_state {
    bool is_etcd;
    grpc_completion_queue *cq;
    pthread_t thread;
    struct load_channel channels[LOAD_ADDRESSES_MAX];
    uint32_t channel_count;
    struct load_call *calls;
};

static grpc_channel *load_connect(const char *address) {
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_RETRIES},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_CHANNELZ},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_CENSUS},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_HTTP2_BDP_PROBE},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_DEADLINE_CHECKS},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_HTTP_PROXY},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION},
    };
    grpc_channel_args channel_args = {sizeof(args) / sizeof(args[0]), args};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(address, credentials, &channel_args);
    grpc_channel_credentials_release(credentials);
    return channel;
}

// --- Requests ---

static void load_put_fields(struct proto_writer *w, struct slice key, struct slice value) {
    proto_put_bytes(w, 1, key);
    proto_put_bytes(w, 2, value);
}

// TxnRequest.success: RequestOp{request_range = 1, request_put = 2}.
static void load_txn_fields(struct proto_writer *w, const struct load_operation *operation) {
    const uint32_t member = operation->kind == LOAD_GET10 ? 1 : 2;
    struct slice value = operation->kind == LOAD_GET10 ? SLICE_EMPTY : operation->value;
    for (uint32_t i = 0; i < operation->key_count; i++) {
        size_t outer = proto_open(w, 2, value.size + LOAD_KEY_SIZE + 10);
        size_t inner = proto_open(w, member, value.size + LOAD_KEY_SIZE + 6);
        load_put_fields(w, operation->keys[i], value);
        proto_close(w, inner);
        proto_close(w, outer);
    }
}

static enum load_method load_encode(const struct load_state *state,
                                    const struct load_operation *operation, struct buf *out) {
    struct proto_writer w;
    enum load_method method = LOAD_METHOD_PUT;
    proto_writer_init(&w, out);
    if (operation->key_count > 1) {
        load_txn_fields(&w, operation);
        method = LOAD_METHOD_TXN;
    } else if (operation->kind == LOAD_GET) {
        proto_put_bytes(&w, 1, operation->keys[0]);
        method = LOAD_METHOD_RANGE;
    } else {
        load_put_fields(&w, operation->keys[0], operation->value);
    }
    ASSERT(w.status == STATUS_OK);
    return state->is_etcd ? method : LOAD_METHOD_RANGE;
}

static void load_begin(struct load_state *state, struct load_call *call, void *handle,
                       grpc_channel *channel) {
    grpc_op ops[6];
    memset(ops, 0, sizeof(ops));
    call->call = grpc_channel_create_registered_call(channel, NULL, 0, state->cq, handle,
                                                     gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    call->response = NULL;
    grpc_metadata_array_init(&call->initial_metadata);
    grpc_metadata_array_init(&call->trailing_metadata);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = call->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &call->initial_metadata;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &call->response;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &call->trailing_metadata;
    ops[5].data.recv_status_on_client.status = &call->code;
    ops[5].data.recv_status_on_client.status_details = &call->details;
    grpc_call_error error = grpc_call_start_batch(call->call, ops, 6, call, NULL);
    ASSERT(error == GRPC_CALL_OK);
}

static void load_grpc_start(struct load *load, uint32_t slot) {
    struct load_state *state = load->state;
    struct load_call *call = &state->calls[slot];
    struct load_channel *channel = &state->channels[slot % state->channel_count];
    struct load_operation operation;
    if (!load_next(load, &operation)) {
        atomic_fetch_sub(&load->running, 1);
        return;
    }
    struct buf request;
    buf_init(&request, LOAD_REQUEST_MAX);
    enum load_method method = load_encode(state, &operation, &request);
    grpc_slice bytes = grpc_slice_from_copied_buffer((const char *)request.data, request.size);
    buf_deinit(&request);
    call->request = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_slice_unref(bytes);
    load_begin(state, call, channel->handles[method], channel->channel);
}

// --- Responses ---

// RangeResponse.kvs is field 2: whether there is one. Other answers need none.
static bool load_has_value(const struct load_call *call) {
    const grpc_slice_buffer *pieces = &call->response->data.raw.slice_buffer;
    if (pieces->count != 1) { return true; }
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, slice_make(GRPC_SLICE_START_PTR(pieces->slices[0]),
                                     GRPC_SLICE_LENGTH(pieces->slices[0])));
    while (proto_next(&r, &field)) {
        if (field.number == 2) { return true; }
    }
    return false;
}

static void load_on_response(struct load *load, struct load_call *call) {
    bool ok = call->code == GRPC_STATUS_OK && call->response != NULL;
    bool needs_value = strcmp(load->config.operation, "get") == 0 &&
                       strcmp(load->config.target, "etcd") == 0 && !atomic_load(&load->preloading);
    bool found = !ok || !needs_value || load_has_value(call);
    grpc_byte_buffer_destroy(call->request);
    if (call->response != NULL) { grpc_byte_buffer_destroy(call->response); }
    grpc_metadata_array_destroy(&call->initial_metadata);
    grpc_metadata_array_destroy(&call->trailing_metadata);
    grpc_slice_unref(call->details);
    grpc_call_unref(call->call);
    load_done(load, call->slot, ok, found);
}

static void *load_poll(void *arg) {
    struct load *load = arg;
    struct load_state *state = load->state;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(state->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) { return NULL; }
        load_on_response(load, event.tag);
    }
}

// --- Opening ---

static bool load_grpc_open(struct load *load, const struct load_config *config) {
    static const char *const etcd[LOAD_METHODS] = {"/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put",
                                                   "/etcdserverpb.KV/Txn"};
    rpc_core_init();
    grpc_init();
    struct load_state *state = mem_alloc(sizeof(*state));
    state->is_etcd = strcmp(config->target, "etcd") == 0;
    state->cq = grpc_completion_queue_create_for_next(NULL);
    state->channel_count = config->address_count;
    for (uint32_t i = 0; i < config->address_count; i++) {
        struct load_channel *channel = &state->channels[i];
        channel->channel = load_connect(config->addresses[i]);
        for (uint32_t m = 0; m < LOAD_METHODS; m++) {
            const char *path = state->is_etcd ? etcd[m] : "/lightcone.bench.Echo/Echo";
            channel->handles[m] = grpc_channel_register_call(channel->channel, path, NULL, NULL);
        }
    }
    state->calls = mem_alloc_array(config->outstanding, sizeof(*state->calls));
    for (uint32_t i = 0; i < config->outstanding; i++) {
        state->calls[i].slot = i;
    }
    load->state = state;
    return pthread_create(&state->thread, NULL, load_poll, load) == 0;
}

static void load_grpc_close(struct load *load) {
    struct load_state *state = load->state;
    grpc_completion_queue_shutdown(state->cq);
    (void)pthread_join(state->thread, NULL);
    for (uint32_t i = 0; i < state->channel_count; i++) {
        grpc_channel_destroy(state->channels[i].channel);
    }
    grpc_completion_queue_destroy(state->cq);
    mem_free(state->calls);
    mem_free(state);
    grpc_shutdown();
}

const struct load_driver load_grpc = {
    .open = load_grpc_open, .start = load_grpc_start, .close = load_grpc_close};
