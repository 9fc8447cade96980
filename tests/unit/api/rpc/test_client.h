// SPDX-License-Identifier: Apache-2.0
// test_client.h - a blocking gRPC client on the C core for tests: what any foreign client would do.
// Invariants: knows nothing of our messages; every wait ends by the call's deadline.
// Ownership:  the test owns clients and streams; replies are freed by test_reply_free.
// Thread:     one at a time per client.
// See:        tests/unit/api/rpc/rpc_test.c
#pragma once

#include "dataplane/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct test_client;
struct test_stream;

struct test_reply {
    int code;
    struct bytes *message;  // NULL = none
    struct bytes *detail;   // lightcone-error-bin, NULL = none
    struct bytes *text;     // of the status
};
void test_reply_free(struct test_reply *self);

struct test_client *test_client_create(const char *address);
// One that tells the server its deadlines but does not keep them itself.
struct test_client *test_client_create_patient(const char *address);
void test_client_destroy(struct test_client *self);
// deadline_ms 0 = 10 s.
struct test_reply test_client_call(struct test_client *self, const char *path, struct slice request,
                                   uint32_t deadline_ms);
// Cancelled right after the request went out, without waiting for the answer.
void test_client_call_and_cancel(struct test_client *self, const char *path, struct slice request);

// Streams of any kind; deadline_ms 0 = 20 s.
struct test_stream *test_stream_open(struct test_client *self, const char *path,
                                     uint32_t deadline_ms);
bool test_stream_send(struct test_stream *self, struct slice message);
void test_stream_half_close(struct test_stream *self);
// The next message, or NULL at the end. The caller unrefs it.
struct bytes *test_stream_receive(struct test_stream *self);
// Cancels, or waits for the status; frees the stream.
void test_stream_cancel(struct test_stream *self);
struct test_reply test_stream_end(struct test_stream *self);
