// SPDX-License-Identifier: Apache-2.0
// One channel an address, one completion queue, one thread. Every peer is driven by this, so that
// what the client costs is the same for all.
#include "tests/bench/calls.h"

#include "api/rpc/core_init.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include <pthread.h>
#include <string.h>

struct calls_call {
    uint32_t slot;
    grpc_call *call;
    grpc_byte_buffer *request;
    grpc_byte_buffer *response;
    grpc_metadata_array initial_metadata;
    grpc_metadata_array trailing_metadata;
    grpc_status_code code;
    grpc_slice details;
};

struct calls_channel {
    grpc_channel *channel;
    void *handles[CALLS_METHODS_MAX];
};

struct calls {
    calls_done_fn done;
    void *ctx;
    grpc_completion_queue *cq;
    pthread_t thread;
    struct calls_channel channels[CALLS_CHANNELS_MAX];
    uint32_t channel_count;
    uint32_t method_count;
    struct calls_call *calls;
};

static grpc_channel *calls_connect(const char *address) {
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

// --- Calls ---

void calls_start(struct calls *self, uint32_t slot, uint32_t channel, uint32_t method,
                 struct slice request) {
    ASSERT(method < self->method_count);
    struct calls_call *call = &self->calls[slot];
    const struct calls_channel *to = &self->channels[channel % self->channel_count];
    grpc_slice bytes = grpc_slice_from_copied_buffer((const char *)request.data, request.size);
    call->request = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_slice_unref(bytes);
    call->call =
        grpc_channel_create_registered_call(to->channel, NULL, 0, self->cq, to->handles[method],
                                            gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    call->response = NULL;
    grpc_metadata_array_init(&call->initial_metadata);
    grpc_metadata_array_init(&call->trailing_metadata);
    grpc_op ops[6];
    memset(ops, 0, sizeof(ops));
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

// The call's own memory is free before done runs: done may start the next one in its place.
static void calls_end(struct calls *self, struct calls_call *call) {
    const int code = call->response == NULL && call->code == GRPC_STATUS_OK ? GRPC_STATUS_INTERNAL
                                                                            : (int)call->code;
    grpc_slice bytes = grpc_empty_slice();
    grpc_slice details = call->details;
    grpc_byte_buffer_reader reader;
    if (call->response != NULL && grpc_byte_buffer_reader_init(&reader, call->response) != 0) {
        bytes = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    grpc_byte_buffer_destroy(call->request);
    if (call->response != NULL) { grpc_byte_buffer_destroy(call->response); }
    grpc_metadata_array_destroy(&call->initial_metadata);
    grpc_metadata_array_destroy(&call->trailing_metadata);
    grpc_call_unref(call->call);
    self->done(self->ctx, call->slot, code,
               slice_make(GRPC_SLICE_START_PTR(bytes), GRPC_SLICE_LENGTH(bytes)),
               slice_make(GRPC_SLICE_START_PTR(details), GRPC_SLICE_LENGTH(details)));
    grpc_slice_unref(bytes);
    grpc_slice_unref(details);
}

static void *calls_poll(void *arg) {
    struct calls *self = arg;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(self->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) { return NULL; }
        calls_end(self, event.tag);
    }
}

// --- Life ---

struct calls *calls_open(const struct calls_config *config) {
    ASSERT(config->address_count > 0 && config->address_count <= CALLS_CHANNELS_MAX);
    ASSERT(config->method_count <= CALLS_METHODS_MAX);
    rpc_core_init();
    grpc_init();
    struct calls *self = mem_alloc(sizeof(*self));
    self->done = config->done;
    self->ctx = config->ctx;
    self->cq = grpc_completion_queue_create_for_next(NULL);
    self->channel_count = config->address_count;
    self->method_count = config->method_count;
    for (uint32_t i = 0; i < config->address_count; i++) {
        struct calls_channel *channel = &self->channels[i];
        channel->channel = calls_connect(config->addresses[i]);
        for (uint32_t m = 0; m < config->method_count; m++) {
            channel->handles[m] =
                grpc_channel_register_call(channel->channel, config->methods[m], NULL, NULL);
        }
    }
    self->calls = mem_alloc_array(config->slots, sizeof(self->calls[0]));
    for (uint32_t i = 0; i < config->slots; i++) {
        self->calls[i].slot = i;
    }
    if (pthread_create(&self->thread, NULL, calls_poll, self) == 0) { return self; }
    return NULL;
}

void calls_close(struct calls *self) {
    grpc_completion_queue_shutdown(self->cq);
    (void)pthread_join(self->thread, NULL);
    for (uint32_t i = 0; i < self->channel_count; i++) {
        grpc_channel_destroy(self->channels[i].channel);
    }
    grpc_completion_queue_destroy(self->cq);
    mem_free(self->calls);
    mem_free(self);
    grpc_shutdown();
}
