// SPDX-License-Identifier: Apache-2.0
// Data.Batch: tags, gathering, bounds, back pressure, and every way a stream may end.
#include "api/proto/wire.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "tests/unit/api/data/fake_node.h"
#include "tests/unit/api/rpc/test_client.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { ITEMS_MAX = 600, CODE_CANCELLED = 1, CODE_INVALID = 3, CODE_UNAVAILABLE = 14 };
enum { TAG_MAX = 8192, STREAM_ITEMS_MAX = 4096 };

static const char BATCH[] = "/lightcone.v1.Data/Batch";

struct world {
    struct fake_node *node;
    struct test_client *client;
    struct buf message;  // under construction
};

static struct world *world_create(uint32_t items_max, size_t stream_bytes_max) {
    struct world *world = mem_alloc(sizeof(*world));
    world->node = fake_node_create(items_max, stream_bytes_max);
    world->client = test_client_create(fake_node_address(world->node));
    buf_init(&world->message, 32 << 20);
    return world;
}

static int setup(void **state) {
    *state = world_create(0, 0);
    return 0;
}

static int setup_small(void **state) {
    *state = world_create(ITEMS_MAX, 0);
    return 0;
}

static int teardown(void **state) {
    struct world *world = *state;
    struct data_stats stats;
    test_client_destroy(world->client);
    if (world->node != NULL) {
        fake_node_hold(world->node, false);
        const struct timespec pause = {.tv_nsec = 1000000};
        data_stats(fake_node_data(world->node), &stats);
        for (int i = 0; i < 20000 && stats.in_flight > 0; i++) {
            (void)nanosleep(&pause, NULL);
            data_stats(fake_node_data(world->node), &stats);
        }
        assert_int_equal(stats.in_flight, 0);
        fake_node_destroy(world->node);
    }
    buf_deinit(&world->message);
    mem_free(world);
    return 0;
}

// Until the condition holds, for at most 20 s.
#define WAIT_UNTIL(condition)                                         \
    do {                                                              \
        const struct timespec pause = {.tv_nsec = 1000000};           \
        for (int round = 0; round < 20000 && !(condition); round++) { \
            (void)nanosleep(&pause, NULL);                            \
        }                                                             \
        assert_true(condition);                                       \
    } while (0)

// --- Requests ---

static size_t item_open(struct world *world, struct proto_writer *w, uint64_t tag) {
    proto_writer_init(w, &world->message);
    size_t item = proto_open(w, 1, 100);
    proto_put_uint(w, 1, tag);
    return item;
}

static void add_put(struct world *world, uint64_t tag, const char *key, struct slice value) {
    struct proto_writer w;
    uint8_t txn[16] = "tttttttttttttttt";
    memcpy(txn, &tag, sizeof(tag));
    size_t item = item_open(world, &w, tag);
    size_t commit = proto_open(&w, 4, 80);
    proto_put_uint(&w, 2, FAKE_KEYSPACE);
    proto_put_bytes(&w, 3, slice_make(txn, sizeof(txn)));
    size_t mutation = proto_open(&w, 5, 40);
    size_t put = proto_open(&w, 1, 40);
    proto_put_bytes(&w, 1, slice_from_string(key));
    proto_put_bytes(&w, 2, value);
    proto_close(&w, put);
    proto_close(&w, mutation);
    proto_close(&w, commit);
    proto_close(&w, item);
    assert_int_equal(w.status, STATUS_OK);
}

static void add_get(struct world *world, uint64_t tag, const char *key) {
    struct proto_writer w;
    size_t item = item_open(world, &w, tag);
    size_t read = proto_open(&w, 3, 40);
    proto_put_uint(&w, 2, FAKE_KEYSPACE);
    proto_put_bytes(&w, 3, slice_from_string(key));
    proto_close(&w, read);
    proto_close(&w, item);
    assert_int_equal(w.status, STATUS_OK);
}

static void send(struct world *world, struct test_stream *stream) {
    assert_true(test_stream_send(stream, buf_slice(&world->message)));
    buf_reset(&world->message);
}

// --- Replies ---

struct replies {
    uint32_t count;
    uint32_t messages;
    uint32_t errors;
    uint32_t load_percent;
    char last_error[32];
    uint8_t kinds[TAG_MAX];  // by tag: the field of the reply, 0 = none yet
};

static void take_error(struct replies *out, struct slice detail) {
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, detail);
    while (proto_next(&r, &field)) {
        if (field.number != 1) { continue; }
        (void)snprintf(out->last_error, sizeof(out->last_error), "%.*s", (int)field.bytes.size,
                       (const char *)field.bytes.data);
    }
    out->errors++;
}

static void take_reply(struct replies *out, struct slice reply) {
    struct proto_reader r;
    struct proto_field field;
    uint64_t tag = 0;
    uint8_t kind = 0;
    proto_reader_init(&r, reply);
    while (proto_next(&r, &field)) {
        if (field.number == 1) { tag = field.value; }
        if (field.number >= 2) { kind = (uint8_t)field.number; }
        if (field.number == 2) { take_error(out, field.bytes); }
    }
    assert_int_equal(r.status, STATUS_OK);
    assert_true(tag < TAG_MAX);
    assert_int_equal(out->kinds[tag], 0);  // once each
    out->kinds[tag] = kind;
    out->count++;
}

// Receives until `count` replies are there.
static void receive(struct test_stream *stream, struct replies *out, uint32_t count) {
    while (out->count < count) {
        struct bytes *message = test_stream_receive(stream);
        assert_non_null(message);
        struct proto_reader r;
        struct proto_field field;
        proto_reader_init(&r, bytes_slice(message));
        while (proto_next(&r, &field)) {
            if (field.number == 1) { take_reply(out, field.bytes); }
            if (field.number == 2) { out->load_percent = (uint32_t)field.value; }
        }
        assert_int_equal(r.status, STATUS_OK);
        out->messages++;
        bytes_unref(message);
    }
}

static void expect_end(struct test_stream *stream, int code) {
    struct bytes *message = test_stream_receive(stream);
    assert_null(message);
    struct test_reply reply = test_stream_end(stream);
    assert_int_equal(reply.code, code);
    test_reply_free(&reply);
}

// --- Tests ---

static void test_batch_answers_each_tag_once(void **state) {
    struct world *world = *state;
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    char key[16];
    for (uint32_t i = 0; i < 500; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i / 2);
        if (i % 2 == 0) {
            add_put(world, i, key, SLICE_LITERAL("v"));
        } else {
            add_get(world, i, key);
        }
    }
    send(world, stream);
    receive(stream, replies, 500);
    assert_int_equal(replies->errors, 0);
    assert_int_equal(replies->messages, 1);  // all of it in one turn
    for (uint32_t i = 0; i < 500; i++) {
        assert_int_equal(replies->kinds[i], i % 2 == 0 ? 4 : 3);
    }
    test_stream_half_close(stream);
    expect_end(stream, 0);
    mem_free(replies);
}

// Goal: one bad item is refused alone, with its tag.
static void test_batch_bad_items_are_refused_alone(void **state) {
    struct world *world = *state;
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    struct proto_writer w;
    add_get(world, 1, "a");
    proto_close(&w, item_open(world, &w, 2));  // asks for nothing
    add_get(world, 3, "");                     // key missing
    size_t item = item_open(world, &w, 4);     // commit without id
    size_t commit = proto_open(&w, 4, 10);
    proto_put_uint(&w, 2, FAKE_KEYSPACE);
    proto_close(&w, commit);
    proto_close(&w, item);
    add_put(world, 5, "b", SLICE_LITERAL("v"));
    send(world, stream);
    receive(stream, replies, 5);
    static const uint8_t wanted[] = {0, 3, 2, 2, 2, 4};
    assert_memory_equal(replies->kinds, wanted, sizeof(wanted));
    assert_string_equal(replies->last_error, "INVALID_ARGUMENT");
    struct data_stats stats;
    data_stats(fake_node_data(world->node), &stats);
    assert_int_equal(stats.refused, 3);
    test_stream_half_close(stream);
    expect_end(stream, 0);
    mem_free(replies);
}

static void test_batch_session_errors_carry_their_tag(void **state) {
    struct world *world = *state;
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    fake_node_fail(world->node, COMMAND_READ, STATUS_NOT_SUPPORTED, 1);
    add_put(world, 1, "b", SLICE_LITERAL("v"));
    add_get(world, 2, "b");
    add_get(world, 3, "b");
    send(world, stream);
    receive(stream, replies, 3);
    static const uint8_t wanted[] = {0, 4, 2, 3};
    assert_memory_equal(replies->kinds, wanted, sizeof(wanted));
    assert_string_equal(replies->last_error, "NOT_SUPPORTED");
    test_stream_half_close(stream);
    expect_end(stream, 0);
    mem_free(replies);
}

static void test_batch_empty_messages_are_harmless(void **state) {
    struct world *world = *state;
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    for (int i = 0; i < 10; i++) {
        send(world, stream);
    }
    add_get(world, 1, "a");
    send(world, stream);
    receive(stream, replies, 1);
    test_stream_half_close(stream);
    expect_end(stream, 0);
    mem_free(replies);
}

// Goal: garbage ends the stream with a reason, after what was in flight was answered.
static void test_batch_garbage_ends_the_stream(void **state) {
    struct world *world = *state;
    static const struct {
        const uint8_t *bytes;
        size_t size;
    } cases[] = {{(const uint8_t *)"\xff", 1},
                 {(const uint8_t *)"\x08\x01", 2},            // items with the wrong type
                 {(const uint8_t *)"\x0a\xff\xff\x03x", 5}};  // an item beyond the end
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct replies *replies = mem_alloc(sizeof(*replies));
        struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
        add_get(world, 1, "a");
        send(world, stream);
        assert_true(test_stream_send(stream, slice_make(cases[i].bytes, cases[i].size)));
        receive(stream, replies, 1);
        expect_end(stream, CODE_INVALID);
        mem_free(replies);
    }
}

static void test_batch_too_many_items_in_a_message(void **state) {
    struct world *world = *state;
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    for (uint32_t i = 0; i < 4096; i++) {
        add_get(world, i, "a");
    }
    send(world, stream);
    receive(stream, replies, 4096);
    for (uint32_t i = 0; i < 4097; i++) {
        add_get(world, i, "a");
    }
    send(world, stream);
    expect_end(stream, CODE_INVALID);
    mem_free(replies);
}

// Goal: beyond the node's bound the rest is refused at once; the load hint says how full it is.
static void test_batch_overload_is_told_item_by_item(void **state) {
    struct world *world = *state;
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    fake_node_hold(world->node, true);
    for (uint32_t i = 0; i < ITEMS_MAX; i++) {
        add_get(world, i, "a");
    }
    send(world, stream);
    WAIT_UNTIL(fake_node_held(world->node) == ITEMS_MAX);
    for (uint32_t i = 0; i < 5; i++) {
        add_get(world, ITEMS_MAX + i, "a");
    }
    send(world, stream);
    receive(stream, replies, 5);
    assert_int_equal(replies->errors, 5);
    assert_string_equal(replies->last_error, "OVERLOADED");
    assert_int_equal(replies->load_percent, 100);
    fake_node_hold(world->node, false);
    receive(stream, replies, ITEMS_MAX + 5);
    assert_int_equal(replies->errors, 5);
    test_stream_half_close(stream);
    expect_end(stream, 0);
    mem_free(replies);
}

// Goal: a stream with too much in flight is not read from, and goes on when that has been answered.
static void test_batch_pauses_and_reads_on(void **state) {
    struct world *world = *state;
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    mark_reset_all();
    fake_node_hold(world->node, true);
    for (uint32_t i = 0; i < STREAM_ITEMS_MAX; i++) {
        add_get(world, i, "a");
    }
    send(world, stream);
    WAIT_UNTIL(fake_node_held(world->node) == STREAM_ITEMS_MAX);
    WAIT_UNTIL(mark_count("data.batch.paused") == 1);
    add_get(world, STREAM_ITEMS_MAX, "a");
    send(world, stream);
    assert_int_equal(fake_node_started(world->node), STREAM_ITEMS_MAX);
    fake_node_hold(world->node, false);
    receive(stream, replies, STREAM_ITEMS_MAX + 1);
    test_stream_half_close(stream);
    expect_end(stream, 0);
    mem_free(replies);
}

static void put_big(struct world *world, struct test_stream *stream, struct replies *replies) {
    uint8_t *value = mem_alloc(SHARD_VALUE_SIZE_MAX);
    add_put(world, 0, "big", slice_make(value, SHARD_VALUE_SIZE_MAX));
    send(world, stream);
    receive(stream, replies, 1);
    assert_int_equal(replies->errors, 0);
    mem_free(value);
}

// Goal: what a reader may be behind is bounded: of 100 MiB asked for in one message some 16 come,
// the rest is to be asked for again, and the stream goes on.
static void test_batch_large_replies_are_bounded(void **state) {
    struct world *world = *state;
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    put_big(world, stream, replies);
    for (uint32_t i = 1; i <= 100; i++) {
        add_get(world, i, "big");
    }
    mark_reset_all();
    send(world, stream);
    receive(stream, replies, 101);
    assert_int_equal(replies->errors, 100 - 15);
    assert_int_equal(mark_count("data.batch.unread"), 100 - 15);
    assert_string_equal(replies->last_error, "OVERLOADED");
    add_get(world, 101, "big");
    send(world, stream);
    receive(stream, replies, 102);
    assert_int_equal(replies->kinds[101], 3);
    test_stream_half_close(stream);
    expect_end(stream, 0);
    mem_free(replies);
}

// Goal: a client that does not read is not read from, and is served again once it reads.
static void test_batch_slow_reader_is_not_read_from(void **state) {
    struct world *world = *state;
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    const struct timespec pause = {.tv_nsec = 1000000};
    uint32_t sent = 1;
    put_big(world, stream, replies);
    mark_reset_all();
    while (mark_count("data.batch.paused") == 0 && sent < TAG_MAX) {
        add_get(world, sent++, "big");
        send(world, stream);
        (void)nanosleep(&pause, NULL);
    }
    assert_true(sent < TAG_MAX);
    receive(stream, replies, sent);
    test_stream_half_close(stream);
    expect_end(stream, 0);
    mem_free(replies);
}

// Goal: replies beyond what the server lets a stream hold end the stream with a reason.
static void test_batch_overflow_ends_the_stream(void **state) {
    (void)state;
    struct world *world = world_create(0, 1 << 19);
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    put_big(world, stream, replies);
    mark_reset_all();
    add_get(world, 1, "big");
    send(world, stream);
    expect_end(stream, 8);
    assert_int_equal(mark_count("data.batch.overflow"), 1);
    mem_free(replies);
    (void)teardown((void **)&world);
}

static void test_batch_half_close_waits_for_replies(void **state) {
    struct world *world = *state;
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    fake_node_hold(world->node, true);
    for (uint32_t i = 0; i < 10; i++) {
        add_get(world, i, "a");
    }
    send(world, stream);
    test_stream_half_close(stream);
    WAIT_UNTIL(fake_node_held(world->node) == 10);
    fake_node_hold(world->node, false);
    receive(stream, replies, 10);
    expect_end(stream, 0);
    mem_free(replies);
}

static void test_batch_cancel_ends_what_is_in_flight(void **state) {
    struct world *world = *state;
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    fake_node_hold(world->node, true);
    for (uint32_t i = 0; i < 10; i++) {
        add_get(world, i, "a");
    }
    send(world, stream);
    for (uint32_t i = 10; i < 20; i++) {
        add_put(world, i, "a", SLICE_LITERAL("v"));
    }
    send(world, stream);
    WAIT_UNTIL(fake_node_held(world->node) == 20);
    test_stream_cancel(stream);
    WAIT_UNTIL(fake_node_cancelled(world->node) == 20);
    assert_int_equal(fake_node_held(world->node), 0);
}

static void *destroy_node(void *arg) {
    struct world *world = arg;
    rpc_stop(fake_node_server(world->node), 20000);
    return NULL;
}

// Goal: a stopping node answers what it has and ends the stream with UNAVAILABLE.
static void test_batch_drains_when_the_node_stops(void **state) {
    (void)state;
    struct world *world = world_create(0, 0);
    struct replies *replies = mem_alloc(sizeof(*replies));
    struct test_stream *stream = test_stream_open(world->client, BATCH, 0);
    fake_node_hold(world->node, true);
    add_get(world, 1, "a");
    send(world, stream);
    WAIT_UNTIL(fake_node_held(world->node) == 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, destroy_node, world), 0);
    fake_node_hold(world->node, false);
    receive(stream, replies, 1);
    expect_end(stream, CODE_UNAVAILABLE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    fake_node_destroy_stopped(world->node);
    test_client_destroy(world->client);
    buf_deinit(&world->message);
    mem_free(world);
    mem_free(replies);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        SERVED(test_batch_answers_each_tag_once),
        SERVED(test_batch_bad_items_are_refused_alone),
        SERVED(test_batch_session_errors_carry_their_tag),
        SERVED(test_batch_empty_messages_are_harmless),
        SERVED(test_batch_garbage_ends_the_stream),
        SERVED(test_batch_too_many_items_in_a_message),
        cmocka_unit_test_setup_teardown(test_batch_overload_is_told_item_by_item, setup_small,
                                        teardown),
        SERVED(test_batch_pauses_and_reads_on),
        SERVED(test_batch_slow_reader_is_not_read_from),
        SERVED(test_batch_large_replies_are_bounded),
        cmocka_unit_test(test_batch_overflow_ends_the_stream),
        SERVED(test_batch_half_close_waits_for_replies),
        SERVED(test_batch_cancel_ends_what_is_in_flight),
        cmocka_unit_test(test_batch_drains_when_the_node_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
