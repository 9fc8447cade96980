// SPDX-License-Identifier: Apache-2.0
// The server on the loopback with small handlers: each kind of call, each bound, hostile bytes, and
// stopping with calls in flight. Waiting is on conditions that the handlers signal, never on time.
#include "api/rpc/rpc.h"

#include "api/proto/services.descriptor.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "tests/unit/api/rpc/test_client.h"

#include <protobuf-c/protobuf-c.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { HELD_MAX = 64, CODE_CANCELLED = 1, CODE_INVALID = 3, CODE_DEADLINE = 4, CODE_EXHAUSTED = 8 };
enum { CODE_UNIMPLEMENTED = 12, CODE_UNAVAILABLE = 14 };

// What the handlers leave for the tests; everything under mu.
struct world {
    struct rpc_server *server;
    struct test_client *client;
    char address[64];
    pthread_mutex_t mu;
    pthread_cond_t changed;
    struct rpc_call *held[HELD_MAX];
    uint32_t held_count;
    uint32_t cancelled;
    uint32_t released;
    uint32_t writes_done;
    uint32_t pages_left;
    atomic_uint_fast64_t deadline_ns;
};

static void note(struct world *world, uint32_t *counter) {
    (void)pthread_mutex_lock(&world->mu);
    (*counter)++;
    (void)pthread_cond_broadcast(&world->changed);
    (void)pthread_mutex_unlock(&world->mu);
}

// Ends the test with a failure rather than hanging it.
static void wait_for(struct world *world, const uint32_t *counter, uint32_t at_least) {
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    int timeout = 0;
    (void)pthread_mutex_lock(&world->mu);
    while (*counter < at_least && timeout == 0) {
        timeout = pthread_cond_timedwait(&world->changed, &world->mu, &until);
    }
    (void)pthread_mutex_unlock(&world->mu);
    assert_int_equal(timeout, 0);
}

// --- Handlers ---

static void echo_start(void *ctx, struct rpc_call *call, struct slice request) {
    struct world *world = ctx;
    atomic_store(&world->deadline_ns, rpc_call_deadline_ns(call));
    rpc_reply(call, request);
}

static void fail_start(void *ctx, struct rpc_call *call, struct slice request) {
    (void)ctx;
    (void)request;
    struct rpc_error error = {.status = STATUS_ABORTED_RETRY,
                              .field = "a.b",
                              .limit = 300,
                              .txn_id = SLICE_LITERAL("0123456789abcdef"),
                              .leader_node = 5,
                              .leader_address = "host:1",
                              .retry_after_ms = 7,
                              .message = SLICE_LITERAL("try again")};
    rpc_fail(call, &error);
}

static void hold_start(void *ctx, struct rpc_call *call, struct slice request) {
    struct world *world = ctx;
    (void)request;
    (void)pthread_mutex_lock(&world->mu);
    world->held[world->held_count] = call;
    (void)pthread_mutex_unlock(&world->mu);
    note(world, &world->held_count);
}

static void hold_release(struct world *world) {
    uint32_t count = world->held_count;
    for (uint32_t i = 0; i < count; i++) {
        rpc_reply(world->held[i], SLICE_LITERAL("late"));
    }
    world->held_count = 0;
}

static void count_cancelled(void *ctx, struct rpc_call *call) {
    struct world *world = ctx;
    (void)call;
    note(world, &world->cancelled);
}

static void count_released(void *ctx, struct rpc_call *call) {
    struct world *world = ctx;
    (void)call;
    note(world, &world->released);
}

// A stream of 1 MiB pages, the next one when the last was taken.
static uint8_t page[1 << 20];

static void pages_next(struct world *world, struct rpc_call *call) {
    if (world->pages_left == 0) {
        rpc_finish(call);
        return;
    }
    world->pages_left--;
    assert_int_equal(rpc_gather(call, slice_make(page, sizeof(page))), STATUS_OK);
    rpc_flush(call);
}

static void pages_start(void *ctx, struct rpc_call *call, struct slice request) {
    (void)request;
    pages_next(ctx, call);
}

static void pages_writable(void *ctx, struct rpc_call *call) {
    struct world *world = ctx;
    note(world, &world->writes_done);
    pages_next(world, call);
}

static void pages_cancelled(void *ctx, struct rpc_call *call) {
    count_cancelled(ctx, call);
    struct rpc_error error = {.status = STATUS_CANCELLED};
    rpc_fail(call, &error);
}

// Bidirectional: each message comes back; "burst" comes back as a hundred pieces.
struct talk_state {
    atomic_bool finished;
};

static void talk_end(struct rpc_call *call, const struct rpc_error *error) {
    struct talk_state *state = rpc_call_state(call);
    if (atomic_exchange(&state->finished, true)) { return; }
    if (error == NULL) {
        rpc_finish(call);
    } else {
        rpc_fail(call, error);
    }
}

static void talk_start(void *ctx, struct rpc_call *call, struct slice request) {
    (void)ctx;
    (void)request;
    rpc_read(call);
}

static void talk_message(void *ctx, struct rpc_call *call, struct slice message) {
    (void)ctx;
    bool burst = slice_equal(message, SLICE_LITERAL("burst"));
    for (int i = 0; i < (burst ? 100 : 1); i++) {
        assert_int_equal(rpc_gather(call, burst ? SLICE_LITERAL("x") : message), STATUS_OK);
        rpc_flush(call);
    }
    rpc_read(call);
}

static void talk_half_closed(void *ctx, struct rpc_call *call) {
    (void)ctx;
    talk_end(call, NULL);
}

static void talk_cancelled(void *ctx, struct rpc_call *call) {
    struct rpc_error error = {.status = STATUS_CANCELLED};
    count_cancelled(ctx, call);
    talk_end(call, &error);
}

static void talk_drain(void *ctx, struct rpc_call *call) {
    struct rpc_error error = {.status = STATUS_UNAVAILABLE};
    (void)ctx;
    talk_end(call, &error);
}

// Unpacks into the call's arena until it is full.
static void arena_start(void *ctx, struct rpc_call *call, struct slice request) {
    ProtobufCAllocator *allocator = rpc_call_allocator(call);
    (void)ctx;
    (void)request;
    size_t size = 0;
    while (size < (80u << 20)) {
        uint8_t *at = allocator->alloc(allocator->allocator_data, 1 << 20);
        if (at == NULL) { break; }
        assert_int_equal((uintptr_t)at % _Alignof(max_align_t), 0);
        size += 1 << 20;
    }
    bool bounded = size >= (60u << 20) && size <= (64u << 20) &&
                   allocator->alloc(allocator->allocator_data, SIZE_MAX - 4) == NULL;
    rpc_reply(call, bounded ? SLICE_LITERAL("bounded") : SLICE_LITERAL("unbounded"));
}

static const struct rpc_handler echo_handler = {.start = echo_start};
static const struct rpc_handler fail_handler = {.start = fail_start};
static const struct rpc_handler arena_handler = {.start = arena_start};
static const struct rpc_handler hold_handler = {
    .start = hold_start, .cancelled = count_cancelled, .released = count_released};
static const struct rpc_handler pages_handler = {.start = pages_start,
                                                 .writable = pages_writable,
                                                 .cancelled = pages_cancelled,
                                                 .released = count_released};
static const struct rpc_handler talk_handler = {.start = talk_start,
                                                .message = talk_message,
                                                .half_closed = talk_half_closed,
                                                .cancelled = talk_cancelled,
                                                .drain = talk_drain,
                                                .released = count_released};

// --- Fixture ---

static void serve(struct world *world, const struct rpc_config *config) {
    struct err err = {0};
    struct rpc_method methods[] = {
        {.path = "/test.T/Echo", .handler = &echo_handler},
        {.path = "/test.T/Fail", .handler = &fail_handler},
        {.path = "/test.T/Arena", .handler = &arena_handler},
        {.path = "/test.T/Hold", .handler = &hold_handler, .watch_cancel = true},
        {.path = "/test.T/Pages", .handler = &pages_handler, .kind = RPC_SERVER_STREAM},
        {.path = "/test.T/Talk", .handler = &talk_handler, .kind = RPC_BIDI_STREAM},
    };
    assert_int_equal(rpc_create(config, &world->server, &err), STATUS_OK);
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        methods[i].ctx = world;
        methods[i].state_size = sizeof(struct talk_state);
        rpc_register(world->server, &methods[i]);
    }
    rpc_start(world->server);
    (void)snprintf(world->address, sizeof(world->address), "127.0.0.1:%u", rpc_port(world->server));
    world->client = test_client_create(world->address);
}

static struct world *world_create(void) {
    struct world *world = mem_alloc(sizeof(*world));
    assert_int_equal(pthread_mutex_init(&world->mu, NULL), 0);
    assert_int_equal(pthread_cond_init(&world->changed, NULL), 0);
    return world;
}

static int setup(void **state) {
    struct world *world = world_create();
    struct rpc_config config = {
        .address = "127.0.0.1:0",
        .accept_count = 8,
        .calls_max = 16,
        .bytes_max = 24 << 20,
        .retry_after_ms = 33,
        .descriptors = slice_make(services_descriptor_set, services_descriptor_set_size)};
    serve(world, &config);
    *state = world;
    return 0;
}

static void world_destroy(struct world *world) {
    (void)pthread_cond_destroy(&world->changed);
    (void)pthread_mutex_destroy(&world->mu);
    mem_free(world);
}

static int teardown(void **state) {
    struct world *world = *state;
    struct rpc_stats stats;
    test_client_destroy(world->client);
    rpc_stop(world->server, 5000);
    rpc_stats(world->server, &stats);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.bytes_in_flight, 0);
    rpc_destroy(world->server);
    world_destroy(world);
    return 0;
}

static void expect(struct test_reply reply, int code, struct slice message) {
    assert_int_equal(reply.code, code);
    assert_true(slice_equal(bytes_slice(reply.message), message));
    test_reply_free(&reply);
}

// --- Unary ---

static void test_rpc_unary_gets_its_answer(void **state) {
    struct world *world = *state;
    expect(test_client_call(world->client, "/test.T/Echo", SLICE_LITERAL("hello"), 0), 0,
           SLICE_LITERAL("hello"));
    expect(test_client_call(world->client, "/test.T/Echo", SLICE_EMPTY, 0), 0, SLICE_EMPTY);
}

// Goal: a message of many HTTP/2 frames arrives as contiguous bytes.
static void test_rpc_large_message_arrives_whole(void **state) {
    struct world *world = *state;
    size_t size = 3 << 20;
    uint8_t *bytes = mem_alloc(size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    }
    expect(test_client_call(world->client, "/test.T/Echo", slice_make(bytes, size), 0), 0,
           slice_make(bytes, size));
    mem_free(bytes);
}

static void test_rpc_oversized_message_is_refused(void **state) {
    struct world *world = *state;
    uint8_t *bytes = mem_alloc(RPC_MESSAGE_SIZE_MAX + 1);
    expect(test_client_call(world->client, "/test.T/Echo",
                            slice_make(bytes, RPC_MESSAGE_SIZE_MAX + 1), 0),
           CODE_EXHAUSTED, SLICE_EMPTY);
    struct test_reply reply =
        test_client_call(world->client, "/test.T/Echo", slice_make(bytes, RPC_MESSAGE_SIZE_MAX), 0);
    assert_int_equal(reply.code, 0);
    assert_int_equal(reply.message->size, RPC_MESSAGE_SIZE_MAX);
    test_reply_free(&reply);
    mem_free(bytes);
}

static void test_rpc_absent_message_is_refused(void **state) {
    struct world *world = *state;
    struct test_stream *stream = test_stream_open(world->client, "/test.T/Echo", 0);
    test_stream_half_close(stream);
    assert_null(test_stream_receive(stream));
    expect(test_stream_end(stream), CODE_INVALID, SLICE_EMPTY);
}

static void test_rpc_deadline_reaches_the_handler(void **state) {
    struct world *world = *state;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
    expect(test_client_call(world->client, "/test.T/Echo", SLICE_LITERAL("d"), 60000), 0,
           SLICE_LITERAL("d"));
    assert_in_range(atomic_load(&world->deadline_ns), now_ns + UINT64_C(50000000000),
                    now_ns + UINT64_C(80000000000));
}

static void test_rpc_error_carries_its_detail(void **state) {
    struct world *world = *state;
    struct test_reply reply =
        test_client_call(world->client, "/test.T/Fail", SLICE_LITERAL("x"), 0);
    assert_int_equal(reply.code, 10);
    assert_true(slice_equal(bytes_slice(reply.text), SLICE_LITERAL("try again")));
    static const uint8_t wanted[] = "\x0a\x0d"
                                    "ABORTED_RETRY"
                                    "\x12\x03"
                                    "a.b"
                                    "\x18\xac\x02"
                                    "\x22\x10"
                                    "0123456789abcdef"
                                    "\x28\x05"
                                    "\x32\x06"
                                    "host:1"
                                    "\x38\x07"
                                    "\x42\x09"
                                    "try again"
                                    "\x48\x01";
    assert_int_equal(reply.detail->size, sizeof(wanted) - 1);
    assert_memory_equal(reply.detail->data, wanted, sizeof(wanted) - 1);
    test_reply_free(&reply);
}

static void test_rpc_every_status_has_a_code(void **state) {
    (void)state;
    assert_int_equal(rpc_code(STATUS_OK), 0);
    for (int st = 1; st < STATUS_COUNT; st++) {
        assert_in_range(rpc_code((enum status)st), 1, 16);
    }
    assert_int_equal(rpc_code(STATUS_UNKNOWN_OUTCOME), 2);
    assert_int_equal(rpc_code(STATUS_OVERLOADED), CODE_EXHAUSTED);
    assert_int_equal(rpc_code(STATUS_NOT_LEADER), CODE_UNAVAILABLE);
}

static void test_rpc_unknown_method_is_unimplemented(void **state) {
    struct world *world = *state;
    mark_reset_all();
    struct test_reply reply =
        test_client_call(world->client, "/no.Such/Method", SLICE_LITERAL("x"), 0);
    assert_int_equal(reply.code, CODE_UNIMPLEMENTED);
    assert_non_null(strstr((const char *)reply.text->data, "/no.Such/Method"));
    assert_int_equal(mark_count("rpc.call.unknown_method"), 1);
    test_reply_free(&reply);
}

static void test_rpc_arena_is_bounded(void **state) {
    struct world *world = *state;
    for (int i = 0; i < 3; i++) {  // the second call finds the memory of the first given back
        expect(test_client_call(world->client, "/test.T/Arena", SLICE_LITERAL("x"), 0), 0,
               SLICE_LITERAL("bounded"));
    }
}

// --- Overload, cancellation ---

static void test_rpc_overload_is_refused_at_once(void **state) {
    struct world *world = *state;
    struct test_stream *streams[16];
    mark_reset_all();
    for (uint32_t i = 0; i < 16; i++) {
        streams[i] = test_stream_open(world->client, "/test.T/Hold", 0);
        assert_true(test_stream_send(streams[i], SLICE_LITERAL("x")));
        test_stream_half_close(streams[i]);
    }
    wait_for(world, &world->held_count, 16);
    struct test_reply reply =
        test_client_call(world->client, "/test.T/Echo", SLICE_LITERAL("x"), 0);
    assert_int_equal(reply.code, CODE_EXHAUSTED);
    struct proto_reader r;
    struct proto_field field;
    uint64_t retry_after_ms = 0;
    proto_reader_init(&r, bytes_slice(reply.detail));
    while (proto_next(&r, &field)) {
        if (field.number == 7) { retry_after_ms = field.value; }
    }
    assert_int_equal(retry_after_ms, 33);
    assert_int_equal(mark_count("rpc.call.refused"), 1);
    test_reply_free(&reply);
    hold_release(world);
    for (uint32_t i = 0; i < 16; i++) {
        struct bytes *message = test_stream_receive(streams[i]);
        assert_true(slice_equal(bytes_slice(message), SLICE_LITERAL("late")));
        bytes_unref(message);
        expect(test_stream_end(streams[i]), 0, SLICE_EMPTY);
    }
    wait_for(world, &world->released, 16);
    expect(test_client_call(world->client, "/test.T/Echo", SLICE_LITERAL("y"), 0), 0,
           SLICE_LITERAL("y"));
}

static void test_rpc_bytes_in_flight_are_bounded(void **state) {
    struct world *world = *state;
    uint8_t *bytes = mem_alloc(16 << 20);
    struct test_stream *stream = test_stream_open(world->client, "/test.T/Hold", 0);
    assert_true(test_stream_send(stream, slice_make(bytes, 16 << 20)));
    test_stream_half_close(stream);
    wait_for(world, &world->held_count, 1);
    expect(test_client_call(world->client, "/test.T/Echo", slice_make(bytes, 9 << 20), 0),
           CODE_EXHAUSTED, SLICE_EMPTY);
    hold_release(world);
    struct bytes *message = test_stream_receive(stream);
    bytes_unref(message);
    expect(test_stream_end(stream), 0, SLICE_EMPTY);
    wait_for(world, &world->released, 1);
    mem_free(bytes);
}

static void test_rpc_cancellation_is_noticed(void **state) {
    struct world *world = *state;
    mark_reset_all();
    struct test_stream *stream = test_stream_open(world->client, "/test.T/Hold", 0);
    assert_true(test_stream_send(stream, SLICE_LITERAL("x")));
    test_stream_half_close(stream);
    wait_for(world, &world->held_count, 1);
    test_stream_cancel(stream);
    wait_for(world, &world->cancelled, 1);
    assert_true(rpc_call_is_cancelled(world->held[0]));
    assert_int_equal(mark_count("rpc.call.cancelled"), 1);
    hold_release(world);
    wait_for(world, &world->released, 1);
}

// --- Streams ---

static void test_rpc_server_stream_sends_all_pages(void **state) {
    struct world *world = *state;
    world->pages_left = 5;
    struct test_stream *stream = test_stream_open(world->client, "/test.T/Pages", 0);
    assert_true(test_stream_send(stream, SLICE_LITERAL("x")));
    test_stream_half_close(stream);
    for (int i = 0; i < 5; i++) {
        struct bytes *message = test_stream_receive(stream);
        assert_non_null(message);
        assert_int_equal(message->size, sizeof(page));
        bytes_unref(message);
    }
    assert_null(test_stream_receive(stream));
    expect(test_stream_end(stream), 0, SLICE_EMPTY);
}

// Goal: a reader that does not read stops the producer after a few pages; memory stays bounded. The
// pages that flow control lets through are at most those of the windows.
static void test_rpc_server_stream_waits_for_its_reader(void **state) {
    struct world *world = *state;
    world->pages_left = 1000;
    struct test_stream *stream = test_stream_open(world->client, "/test.T/Pages", 0);
    assert_true(test_stream_send(stream, SLICE_LITERAL("x")));
    test_stream_half_close(stream);
    // A second call on the same connection shows that the server has had its turns.
    for (int i = 0; i < 50; i++) {
        expect(test_client_call(world->client, "/test.T/Echo", SLICE_LITERAL("x"), 0), 0,
               SLICE_LITERAL("x"));
    }
    (void)pthread_mutex_lock(&world->mu);
    assert_true(world->writes_done < 16);
    (void)pthread_mutex_unlock(&world->mu);
    test_stream_cancel(stream);
    wait_for(world, &world->cancelled, 1);
    wait_for(world, &world->released, 1);
}

static void test_rpc_bidi_gathers_into_few_messages(void **state) {
    struct world *world = *state;
    struct test_stream *stream = test_stream_open(world->client, "/test.T/Talk", 0);
    assert_true(test_stream_send(stream, SLICE_LITERAL("burst")));
    size_t bytes = 0;
    uint32_t messages = 0;
    while (bytes < 100) {
        struct bytes *message = test_stream_receive(stream);
        assert_non_null(message);
        bytes += message->size;
        messages++;
        bytes_unref(message);
    }
    assert_int_equal(bytes, 100);
    assert_true(messages < 100);  // nearly always 2
    test_stream_half_close(stream);
    assert_null(test_stream_receive(stream));
    expect(test_stream_end(stream), 0, SLICE_EMPTY);
}

static void test_rpc_bidi_survives_a_client_that_dies(void **state) {
    struct world *world = *state;
    struct test_client *other = test_client_create(world->address);
    struct test_stream *stream = test_stream_open(other, "/test.T/Talk", 0);
    assert_true(test_stream_send(stream, SLICE_LITERAL("hi")));
    bytes_unref(test_stream_receive(stream));
    test_stream_cancel(stream);
    test_client_destroy(other);
    wait_for(world, &world->released, 1);
    expect(test_client_call(world->client, "/test.T/Echo", SLICE_LITERAL("x"), 0), 0,
           SLICE_LITERAL("x"));
}

// Goal: a stream whose client keeps neither its deadline nor reading is ended by the sweep.
static void test_rpc_overdue_stream_is_ended(void **state) {
    struct world *world = *state;
    struct test_client *patient = test_client_create_patient(world->address);
    mark_reset_all();
    world->pages_left = 1000;
    struct test_stream *stream = test_stream_open(patient, "/test.T/Pages", 1);
    assert_true(test_stream_send(stream, SLICE_LITERAL("x")));
    test_stream_half_close(stream);
    wait_for(world, &world->cancelled, 1);
    wait_for(world, &world->released, 1);
    assert_true(mark_count("rpc.stream.overdue") > 0);
    test_stream_cancel(stream);
    test_client_destroy(patient);
}

// --- Hostile bytes ---

static void throw_bytes(const struct world *world, const void *bytes, size_t size) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(rpc_port(world->server)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    if (size > 0) { assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size); }
    (void)shutdown(fd, SHUT_WR);
    uint8_t answer[4096];
    while (recv(fd, answer, sizeof(answer), 0) > 0) {
        continue;
    }
    (void)close(fd);
}

static void test_rpc_garbage_on_the_port_hurts_nobody(void **state) {
    struct world *world = *state;
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    uint8_t bytes[512];
    throw_bytes(world, NULL, 0);
    throw_bytes(world, SLICE_LITERAL("GET / HTTP/1.1\r\nHost: x\r\n\r\n").data, 27);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 37 + 11);
    }
    throw_bytes(world, bytes, sizeof(bytes));
    memcpy(bytes, preface, sizeof(preface) - 1);  // a good beginning, then noise
    throw_bytes(world, bytes, sizeof(bytes));
    memset(bytes + sizeof(preface) - 1, 0xff, sizeof(bytes) - sizeof(preface) + 1);
    throw_bytes(world, bytes, sizeof(bytes));
    expect(test_client_call(world->client, "/test.T/Echo", SLICE_LITERAL("x"), 0), 0,
           SLICE_LITERAL("x"));
}

// --- Health and reflection ---

static void test_rpc_health_tells_and_watches(void **state) {
    struct world *world = *state;
    static const uint8_t test_service[] = "\x0a\x06test.T";
    struct slice service = slice_make(test_service, sizeof(test_service) - 1);
    expect(test_client_call(world->client, "/grpc.health.v1.Health/Check", service, 0), 0,
           SLICE_LITERAL("\x08\x02"));
    expect(test_client_call(world->client, "/grpc.health.v1.Health/Check",
                            SLICE_LITERAL("\x0a\x02no"), 0),
           5, SLICE_EMPTY);
    expect(test_client_call(world->client, "/grpc.health.v1.Health/Check",
                            SLICE_LITERAL("\x0a\x7f"), 0),
           CODE_INVALID, SLICE_EMPTY);
    struct test_stream *stream = test_stream_open(world->client, "/grpc.health.v1.Health/Watch", 0);
    assert_true(test_stream_send(stream, service));
    test_stream_half_close(stream);
    struct bytes *message = test_stream_receive(stream);
    assert_true(slice_equal(bytes_slice(message), SLICE_LITERAL("\x08\x02")));
    bytes_unref(message);
    rpc_health_set(world->server, "", true);  // of another service: says nothing here
    rpc_health_set(world->server, "test.T", true);
    message = test_stream_receive(stream);
    assert_true(slice_equal(bytes_slice(message), SLICE_LITERAL("\x08\x01")));
    bytes_unref(message);
    test_stream_cancel(stream);
    expect(test_client_call(world->client, "/grpc.health.v1.Health/Check", SLICE_EMPTY, 0), 0,
           SLICE_LITERAL("\x08\x01"));
}

static struct bytes *reflect(struct test_stream *stream, struct slice question) {
    assert_true(test_stream_send(stream, question));
    struct bytes *answer = test_stream_receive(stream);
    assert_non_null(answer);
    return answer;
}

static bool contains(const struct bytes *bytes, const char *text) {
    return memmem(bytes->data, bytes->size, text, strlen(text)) != NULL;
}

static void test_rpc_reflection_lists_and_finds(void **state) {
    struct world *world = *state;
    struct test_stream *stream = test_stream_open(
        world->client, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", 0);
    struct bytes *answer = reflect(stream, SLICE_LITERAL("\x3a\x01*"));
    assert_true(contains(answer, "lightcone.v1.Data"));
    assert_true(contains(answer, "grpc.health.v1.Health"));
    bytes_unref(answer);
    answer = reflect(stream, SLICE_LITERAL("\x22\x16lightcone.v1.Data.Read"));
    assert_true(contains(answer, "ReadRequest"));
    bytes_unref(answer);
    answer = reflect(stream, SLICE_LITERAL("\x22\x0alightcone."));
    assert_true(contains(answer, "no such file or symbol"));
    bytes_unref(answer);
    answer = reflect(stream, SLICE_LITERAL("\x1a\x16"
                                           "api/proto/health.proto"));
    assert_true(contains(answer, "HealthCheckRequest"));
    bytes_unref(answer);
    answer = reflect(stream, SLICE_LITERAL("\x22\x7f"));
    assert_true(contains(answer, "does not decode"));
    bytes_unref(answer);
    test_stream_half_close(stream);
    assert_null(test_stream_receive(stream));
    expect(test_stream_end(stream), 0, SLICE_EMPTY);
}

// --- Stopping ---

static void *stop_thread(void *arg) {
    struct world *world = arg;
    rpc_stop(world->server, 20000);
    return NULL;
}

// Goal: a stop lets the held call end, tells streams to drain, and returns only then.
static void test_rpc_stop_waits_for_calls_in_flight(void **state) {
    (void)state;
    struct world *world = world_create();
    struct rpc_config config = {.address = "127.0.0.1:0"};
    serve(world, &config);
    struct test_stream *held = test_stream_open(world->client, "/test.T/Hold", 0);
    struct test_stream *talk = test_stream_open(world->client, "/test.T/Talk", 0);
    assert_true(test_stream_send(held, SLICE_LITERAL("x")));
    test_stream_half_close(held);
    assert_true(test_stream_send(talk, SLICE_LITERAL("x")));
    bytes_unref(test_stream_receive(talk));
    wait_for(world, &world->held_count, 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_thread, world), 0);
    assert_null(test_stream_receive(talk));
    expect(test_stream_end(talk), CODE_UNAVAILABLE, SLICE_EMPTY);
    wait_for(world, &world->released, 1);
    hold_release(world);
    struct bytes *message = test_stream_receive(held);
    assert_true(slice_equal(bytes_slice(message), SLICE_LITERAL("late")));
    bytes_unref(message);
    expect(test_stream_end(held), 0, SLICE_EMPTY);
    assert_int_equal(pthread_join(thread, NULL), 0);
    rpc_destroy(world->server);
    test_client_destroy(world->client);
    world_destroy(world);
}

// Goal: what does not drain is cancelled, so that a stuck client cannot hold the node.
static void test_rpc_stop_cancels_what_does_not_drain(void **state) {
    (void)state;
    struct world *world = world_create();
    struct rpc_config config = {.address = "127.0.0.1:0"};
    serve(world, &config);
    world->pages_left = 1000;
    struct test_stream *stream = test_stream_open(world->client, "/test.T/Pages", 0);
    assert_true(test_stream_send(stream, SLICE_LITERAL("x")));
    test_stream_half_close(stream);
    bytes_unref(test_stream_receive(stream));
    rpc_stop(world->server, 1);
    assert_int_equal(world->cancelled, 1);
    assert_int_equal(world->released, 1);
    test_stream_cancel(stream);
    rpc_destroy(world->server);
    test_client_destroy(world->client);
    world_destroy(world);
}

static void test_rpc_address_in_use_is_an_error(void **state) {
    struct world *world = *state;
    struct rpc_config config = {.address = world->address};
    struct rpc_server *server = NULL;
    struct err err = {0};
    assert_int_equal(rpc_create(&config, &server, &err), STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.message, world->address));
}

// Goal: with two pollers and their own queues everything still works.
static void test_rpc_two_pollers_serve(void **state) {
    (void)state;
    struct world *world = world_create();
    struct rpc_config config = {.address = "127.0.0.1:0", .poller_count = 2};
    serve(world, &config);
    for (int i = 0; i < 100; i++) {
        expect(test_client_call(world->client, "/test.T/Echo", SLICE_LITERAL("x"), 0), 0,
               SLICE_LITERAL("x"));
    }
    rpc_stop(world->server, 1000);
    rpc_destroy(world->server);
    test_client_destroy(world->client);
    world_destroy(world);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        SERVED(test_rpc_unary_gets_its_answer),
        SERVED(test_rpc_large_message_arrives_whole),
        SERVED(test_rpc_oversized_message_is_refused),
        SERVED(test_rpc_absent_message_is_refused),
        SERVED(test_rpc_deadline_reaches_the_handler),
        SERVED(test_rpc_error_carries_its_detail),
        cmocka_unit_test(test_rpc_every_status_has_a_code),
        SERVED(test_rpc_unknown_method_is_unimplemented),
        SERVED(test_rpc_arena_is_bounded),
        SERVED(test_rpc_overload_is_refused_at_once),
        SERVED(test_rpc_bytes_in_flight_are_bounded),
        SERVED(test_rpc_cancellation_is_noticed),
        SERVED(test_rpc_server_stream_sends_all_pages),
        SERVED(test_rpc_server_stream_waits_for_its_reader),
        SERVED(test_rpc_bidi_gathers_into_few_messages),
        SERVED(test_rpc_bidi_survives_a_client_that_dies),
        SERVED(test_rpc_overdue_stream_is_ended),
        SERVED(test_rpc_garbage_on_the_port_hurts_nobody),
        SERVED(test_rpc_health_tells_and_watches),
        SERVED(test_rpc_reflection_lists_and_finds),
        cmocka_unit_test(test_rpc_stop_waits_for_calls_in_flight),
        cmocka_unit_test(test_rpc_stop_cancels_what_does_not_drain),
        SERVED(test_rpc_address_in_use_is_an_error),
        cmocka_unit_test(test_rpc_two_pollers_serve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
