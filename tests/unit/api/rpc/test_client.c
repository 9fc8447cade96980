// SPDX-License-Identifier: Apache-2.0
// Plain use of the core: one pluck queue per client, one tag per kind of batch.
#include "tests/unit/api/rpc/test_client.h"

#include "api/rpc/core_init.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include <string.h>

enum { TEST_MESSAGE_MAX = 64 << 20, TEST_CALL_MS = 10000, TEST_STREAM_MS = 20000 };

struct test_client {
    grpc_channel *channel;
    grpc_completion_queue *cq;
};

struct test_stream {
    struct test_client *client;
    grpc_call *call;
    grpc_byte_buffer *in;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code code;
    grpc_slice details;
    char tag_status, tag_start, tag_send, tag_receive, tag_close;
};

void test_reply_free(struct test_reply *self) {
    bytes_unref(self->message);
    bytes_unref(self->detail);
    bytes_unref(self->text);
}

static struct test_client *test_client_make(const char *address, bool patient) {
    struct test_client *self = mem_alloc(sizeof(*self));
    rpc_core_init();
    grpc_init();
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
         .value.integer = TEST_MESSAGE_MAX},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
         .value.integer = 1},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_RETRIES,
         .value.integer = 0},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_DEADLINE_CHECKS,
         .value.integer = patient ? 0 : 1},
    };
    grpc_channel_args channel_args = {sizeof(args) / sizeof(args[0]), args};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    self->channel = grpc_channel_create(address, credentials, &channel_args);
    grpc_channel_credentials_release(credentials);
    self->cq = grpc_completion_queue_create_for_pluck(NULL);
    return self;
}

struct test_client *test_client_create(const char *address) {
    return test_client_make(address, false);
}

struct test_client *test_client_create_patient(const char *address) {
    return test_client_make(address, true);
}

void test_client_destroy(struct test_client *self) {
    grpc_channel_destroy(self->channel);
    grpc_completion_queue_shutdown(self->cq);
    grpc_completion_queue_destroy(self->cq);
    mem_free(self);
    grpc_shutdown();
}

static void test_start(struct test_stream *self, const grpc_op *ops, size_t count, char *tag) {
    grpc_call_error error = grpc_call_start_batch(self->call, ops, count, tag, NULL);
    ASSERT(error == GRPC_CALL_OK);
}

static bool test_wait(struct test_stream *self, char *tag) {
    grpc_event event = grpc_completion_queue_pluck(self->client->cq, tag,
                                                   gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    ASSERT(event.type == GRPC_OP_COMPLETE);
    return event.success != 0;
}

struct test_stream *test_stream_open(struct test_client *client, const char *path,
                                     uint32_t deadline_ms) {
    struct test_stream *self = mem_alloc(sizeof(*self));
    gpr_timespec deadline =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_millis(deadline_ms == 0 ? TEST_STREAM_MS : (int64_t)deadline_ms,
                                          GPR_TIMESPAN));
    self->client = client;
    self->details = grpc_empty_slice();
    grpc_metadata_array_init(&self->initial);
    grpc_metadata_array_init(&self->trailing);
    grpc_slice method = grpc_slice_from_copied_string(path);
    self->call = grpc_channel_create_call(client->channel, NULL, 0, client->cq, method, NULL,
                                          deadline, NULL);
    grpc_slice_unref(method);
    grpc_op op[2];
    memset(op, 0, sizeof(op));
    op[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op[0].data.recv_status_on_client.trailing_metadata = &self->trailing;
    op[0].data.recv_status_on_client.status = &self->code;
    op[0].data.recv_status_on_client.status_details = &self->details;
    test_start(self, op, 1, &self->tag_status);
    memset(op, 0, sizeof(op));
    op[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    op[1].op = GRPC_OP_RECV_INITIAL_METADATA;
    op[1].data.recv_initial_metadata.recv_initial_metadata = &self->initial;
    test_start(self, op, 2, &self->tag_start);
    return self;
}

bool test_stream_send(struct test_stream *self, struct slice message) {
    grpc_slice bytes = grpc_slice_from_copied_buffer((const char *)message.data, message.size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_slice_unref(bytes);
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = buffer;
    test_start(self, &op, 1, &self->tag_send);
    bool ok = test_wait(self, &self->tag_send);
    grpc_byte_buffer_destroy(buffer);
    return ok;
}

void test_stream_half_close(struct test_stream *self) {
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    test_start(self, &op, 1, &self->tag_close);
    (void)test_wait(self, &self->tag_close);
}

struct bytes *test_stream_receive(struct test_stream *self) {
    grpc_op op;
    memset(&op, 0, sizeof(op));
    self->in = NULL;
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &self->in;
    test_start(self, &op, 1, &self->tag_receive);
    (void)test_wait(self, &self->tag_receive);
    if (self->in == NULL) { return NULL; }
    grpc_byte_buffer_reader reader;
    int ok = grpc_byte_buffer_reader_init(&reader, self->in);
    ASSERT(ok != 0);
    grpc_slice flat = grpc_byte_buffer_reader_readall(&reader);
    struct bytes *message =
        bytes_copy(slice_make(GRPC_SLICE_START_PTR(flat), GRPC_SLICE_LENGTH(flat)));
    grpc_slice_unref(flat);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(self->in);
    return message;
}

static struct slice test_slice(const grpc_slice *slice) {
    return slice_make(GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
}

struct test_reply test_stream_end(struct test_stream *self) {
    struct test_reply reply = {0};
    (void)test_wait(self, &self->tag_start);
    (void)test_wait(self, &self->tag_status);
    reply.code = (int)self->code;
    reply.text = bytes_copy(test_slice(&self->details));
    for (size_t i = 0; i < self->trailing.count; i++) {
        if (slice_equal(test_slice(&self->trailing.metadata[i].key),
                        SLICE_LITERAL("lightcone-error-bin"))) {
            reply.detail = bytes_copy(test_slice(&self->trailing.metadata[i].value));
        }
    }
    grpc_metadata_array_destroy(&self->initial);
    grpc_metadata_array_destroy(&self->trailing);
    grpc_slice_unref(self->details);
    grpc_call_unref(self->call);
    mem_free(self);
    return reply;
}

void test_stream_cancel(struct test_stream *self) {
    (void)grpc_call_cancel(self->call, NULL);
    struct test_reply reply = test_stream_end(self);
    test_reply_free(&reply);
}

struct test_reply test_client_call(struct test_client *self, const char *path, struct slice request,
                                   uint32_t deadline_ms) {
    struct test_stream *stream =
        test_stream_open(self, path, deadline_ms == 0 ? TEST_CALL_MS : deadline_ms);
    if (test_stream_send(stream, request)) { test_stream_half_close(stream); }
    struct bytes *message = test_stream_receive(stream);
    struct test_reply reply = test_stream_end(stream);
    reply.message = message;
    return reply;
}

void test_client_call_and_cancel(struct test_client *self, const char *path, struct slice request) {
    struct test_stream *stream = test_stream_open(self, path, 0);
    (void)test_stream_send(stream, request);
    test_stream_half_close(stream);
    test_stream_cancel(stream);
}
