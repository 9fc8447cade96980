// SPDX-License-Identifier: Apache-2.0
// Data.Transact from outside: one transaction a stream, and every way it may end.
#include "api/proto/lightcone.pb-c.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/loop/clock.h"
#include "tests/unit/api/data/fake_node.h"
#include "tests/unit/api/rpc/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { CODE_UNAVAILABLE = 14, KEYS_MAX = 1000 };

#define request_type  Lightcone__V1__TransactRequest
#define response_type Lightcone__V1__TransactResponse

#define PATH "/lightcone.v1.Data/Transact"

struct world {
    struct fake_node *node;
    struct test_client *client;
    struct test_stream *stream;
    response_type *response;
};

static int setup(void **state) {
    struct world *world = mem_alloc(sizeof(*world));
    world->node = fake_node_create(0, 0);
    world->client = test_client_create(fake_node_address(world->node));
    *state = world;
    return 0;
}

static void forget(struct world *world) {
    if (world->response != NULL) {
        lightcone__v1__transact_response__free_unpacked(world->response, NULL);
    }
    world->response = NULL;
}

static int teardown(void **state) {
    struct world *world = *state;
    forget(world);
    if (world->stream != NULL) { test_stream_cancel(world->stream); }
    test_client_destroy(world->client);
    if (world->node != NULL) { fake_node_destroy(world->node); }
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

// --- Requests and answers ---

static ProtobufCBinaryData text(const char *s) {
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static void send_only(struct world *world, const request_type *request) {
    const size_t size = lightcone__v1__transact_request__get_packed_size(request);
    uint8_t *packed = mem_alloc(size + 1);
    (void)lightcone__v1__transact_request__pack(request, packed);
    assert_true(test_stream_send(world->stream, slice_make(packed, size)));
    mem_free(packed);
}

static response_type *receive(struct world *world) {
    struct bytes *message = test_stream_receive(world->stream);
    assert_non_null(message);
    forget(world);
    world->response = lightcone__v1__transact_response__unpack(NULL, message->size, message->data);
    bytes_unref(message);
    assert_non_null(world->response);
    return world->response;
}

static response_type *ask(struct world *world, const request_type *request) {
    send_only(world, request);
    return receive(world);
}

static void open_stream(struct world *world) {
    if (world->stream != NULL) { test_stream_cancel(world->stream); }
    world->stream = test_stream_open(world->client, PATH, 0);
}

// A begin with the id; NULL = the node chooses.
static void begin(struct world *world, const char *id, uint64_t first) {
    request_type request = LIGHTCONE__V1__TRANSACT_REQUEST__INIT;
    Lightcone__V1__TransactBegin body = LIGHTCONE__V1__TRANSACT_BEGIN__INIT;
    request.request_case = LIGHTCONE__V1__TRANSACT_REQUEST__REQUEST_BEGIN;
    request.begin = &body;
    body.keyspace = (char *)(uintptr_t) "test";
    if (id != NULL) { body.txn_id = text(id); }
    body.begin = first;
    open_stream(world);
    const response_type *response = ask(world, &request);
    assert_int_equal(response->response_case, LIGHTCONE__V1__TRANSACT_RESPONSE__RESPONSE_BEGUN);
    assert_int_equal(response->begun->txn_id.len, 16);
    assert_true(response->begun->begin > 0);
    if (id != NULL) { assert_memory_equal(response->begun->txn_id.data, id, 16); }
    if (first != 0) { assert_int_equal(response->begun->begin, first); }
}

static response_type *get_as(struct world *world, const char *const *keys, size_t count,
                             bool for_update) {
    request_type request = LIGHTCONE__V1__TRANSACT_REQUEST__INIT;
    Lightcone__V1__TransactGet body = LIGHTCONE__V1__TRANSACT_GET__INIT;
    ProtobufCBinaryData names[KEYS_MAX + 1];
    for (size_t i = 0; i < count; i++) {
        names[i] = text(keys[i]);
    }
    request.request_case = LIGHTCONE__V1__TRANSACT_REQUEST__REQUEST_GET;
    request.get = &body;
    body.n_keys = count;
    body.keys = names;
    body.for_update = for_update;
    send_only(world, &request);
    return fake_node_is_holding(world->node) ? NULL : receive(world);
}

static response_type *get(struct world *world, const char *const *keys, size_t count) {
    return get_as(world, keys, count, false);
}

static void assert_bytes(ProtobufCBinaryData data, const char *expected) {
    assert_int_equal(data.len, strlen(expected));
    assert_memory_equal(data.data, expected, data.len);
}

// NULL = not found.
static void assert_get(struct world *world, const char *key, const char *value) {
    const response_type *response = get(world, &key, 1);
    assert_int_equal(response->response_case, LIGHTCONE__V1__TRANSACT_RESPONSE__RESPONSE_ROWS);
    assert_int_equal(response->rows->n_rows, 1);
    assert_int_equal(response->rows->rows[0]->found, value != NULL);
    if (value != NULL) { assert_bytes(response->rows->rows[0]->value, value); }
}

static response_type *write_one(struct world *world, Lightcone__V1__Mutation *mutation) {
    request_type request = LIGHTCONE__V1__TRANSACT_REQUEST__INIT;
    Lightcone__V1__TransactWrite body = LIGHTCONE__V1__TRANSACT_WRITE__INIT;
    request.request_case = LIGHTCONE__V1__TRANSACT_REQUEST__REQUEST_WRITE;
    request.write = &body;
    body.n_mutations = 1;
    body.mutations = &mutation;
    return ask(world, &request);
}

static response_type *put(struct world *world, const char *key, const char *value) {
    Lightcone__V1__Mutation mutation = LIGHTCONE__V1__MUTATION__INIT;
    Lightcone__V1__Put body = LIGHTCONE__V1__PUT__INIT;
    mutation.kind_case = LIGHTCONE__V1__MUTATION__KIND_PUT;
    mutation.put = &body;
    body.key = text(key);
    body.value = text(value);
    return write_one(world, &mutation);
}

static response_type *delete_range(struct world *world, const char *start, const char *end) {
    Lightcone__V1__Mutation mutation = LIGHTCONE__V1__MUTATION__INIT;
    Lightcone__V1__DeleteRange body = LIGHTCONE__V1__DELETE_RANGE__INIT;
    mutation.kind_case = LIGHTCONE__V1__MUTATION__KIND_DELETE_RANGE;
    mutation.delete_range = &body;
    body.start = text(start);
    body.end = text(end);
    return write_one(world, &mutation);
}

static response_type *add(struct world *world, const char *key, int64_t amount) {
    Lightcone__V1__Mutation mutation = LIGHTCONE__V1__MUTATION__INIT;
    Lightcone__V1__Merge body = LIGHTCONE__V1__MERGE__INIT;
    mutation.kind_case = LIGHTCONE__V1__MUTATION__KIND_MERGE;
    mutation.merge = &body;
    body.key = text(key);
    body.type = LIGHTCONE__V1__MERGE_TYPE__MERGE_TYPE_COUNTER;
    body.amount = amount;
    return write_one(world, &mutation);
}

static void assert_written(const response_type *response, uint32_t count) {
    assert_int_equal(response->response_case, LIGHTCONE__V1__TRANSACT_RESPONSE__RESPONSE_WRITTEN);
    assert_int_equal(response->written, count);
}

static response_type *scan(struct world *world, const char *start, const char *end, uint32_t limit,
                           bool reverse) {
    request_type request = LIGHTCONE__V1__TRANSACT_REQUEST__INIT;
    Lightcone__V1__TransactScan body = LIGHTCONE__V1__TRANSACT_SCAN__INIT;
    request.request_case = LIGHTCONE__V1__TRANSACT_REQUEST__REQUEST_SCAN;
    request.scan = &body;
    body.start = text(start);
    body.end = text(end);
    body.limit = limit;
    body.reverse = reverse;
    return ask(world, &request);
}

// Keys and values as "a=1 b=2".
static void assert_scanned(const response_type *response, const char *expected,
                           const char *resume) {
    char shown[256] = "";
    size_t size = 0;
    assert_int_equal(response->response_case, LIGHTCONE__V1__TRANSACT_RESPONSE__RESPONSE_ROWS);
    for (size_t i = 0; i < response->rows->n_scanned; i++) {
        const Lightcone__V1__ScanRow *row = response->rows->scanned[i];
        size += (size_t)snprintf(shown + size, sizeof(shown) - size, "%s%.*s=%.*s",
                                 i == 0 ? "" : " ", (int)row->key.len, (const char *)row->key.data,
                                 (int)row->value.len, (const char *)row->value.data);
    }
    assert_string_equal(shown, expected);
    assert_int_equal(response->rows->more, resume != NULL);
    if (resume != NULL) {
        assert_memory_equal(response->rows->resume.data, resume, strlen(resume));
    }
}

static void commit_request(struct world *world) {
    request_type request = LIGHTCONE__V1__TRANSACT_REQUEST__INIT;
    Lightcone__V1__TransactCommit body = LIGHTCONE__V1__TRANSACT_COMMIT__INIT;
    request.request_case = LIGHTCONE__V1__TRANSACT_REQUEST__REQUEST_COMMIT;
    request.commit = &body;
    send_only(world, &request);
}

static void expect_end(struct world *world, int code) {
    struct bytes *message = test_stream_receive(world->stream);
    assert_null(message);
    struct test_reply reply = test_stream_end(world->stream);
    world->stream = NULL;
    assert_int_equal(reply.code, code);
    test_reply_free(&reply);
}

static void assert_committed(struct world *world) {
    commit_request(world);
    const response_type *response = receive(world);
    assert_int_equal(response->response_case, LIGHTCONE__V1__TRANSACT_RESPONSE__RESPONSE_COMMITTED);
    assert_int_equal(response->committed->result,
                     LIGHTCONE__V1__COMMIT_RESULT__COMMIT_RESULT_COMMITTED);
    assert_int_equal(response->committed->txn_id.len, 16);
    expect_end(world, 0);
}

// The error is the last answer, and the stream ends well.
static void assert_error(struct world *world, const response_type *response, const char *status,
                         const char *field) {
    assert_int_equal(response->response_case, LIGHTCONE__V1__TRANSACT_RESPONSE__RESPONSE_ERROR);
    assert_string_equal(response->error->status, status);
    assert_string_equal(response->error->field, field);
    assert_true(strlen(response->error->message) > 0);
    expect_end(world, 0);
}

static void store(struct world *world, const char *key, const char *value) {
    begin(world, NULL, 0);
    assert_written(put(world, key, value), 1);
    assert_committed(world);
}

// --- Tests ---

static void test_transact_reads_its_own_writes(void **state) {
    struct world *world = *state;
    store(world, "a", "1");
    store(world, "b", "2");
    begin(world, NULL, 0);
    assert_get(world, "a", "1");
    assert_written(put(world, "a", "10"), 1);
    assert_written(put(world, "c", "30"), 2);
    assert_get(world, "a", "10");
    assert_get(world, "c", "30");
    assert_written(delete_range(world, "b", "z"), 2);
    assert_get(world, "b", NULL);
    assert_get(world, "c", NULL);
    const char *const both[] = {"c", "a", "b", "a"};
    const response_type *response = get(world, both, 4);
    assert_int_equal(response->rows->n_rows, 4);
    assert_bytes(response->rows->rows[1]->value, "10");
    assert_bytes(response->rows->rows[3]->value, "10");
    assert_committed(world);
    begin(world, NULL, 0);
    assert_get(world, "a", "10");
    assert_get(world, "b", NULL);
}

static void test_transact_scans_with_its_writes(void **state) {
    struct world *world = *state;
    store(world, "a", "1");
    store(world, "c", "3");
    store(world, "e", "5");
    begin(world, NULL, 0);
    assert_written(put(world, "b", "2"), 1);
    assert_written(put(world, "c", "33"), 2);
    assert_written(put(world, "f", "6"), 3);
    assert_scanned(scan(world, "", "", 0, false), "a=1 b=2 c=33 e=5 f=6", NULL);
    assert_scanned(scan(world, "", "", 0, true), "f=6 e=5 c=33 b=2 a=1", NULL);
    assert_scanned(scan(world, "", "", 2, false), "a=1 b=2", "b");
    assert_scanned(scan(world, "b", "f", 2, true), "e=5 c=33", "c");
    fake_node_border(world->node, 1);  // each page ends after a row
    assert_scanned(scan(world, "", "", 0, false), "a=1 b=2 c=33 e=5 f=6", NULL);
    assert_scanned(scan(world, "", "", 4, true), "f=6 e=5 c=33 b=2", "b");
    fake_node_border(world->node, 0);
    assert_written(delete_range(world, "b", "e"), 2);
    assert_scanned(scan(world, "", "", 0, false), "a=1 e=5 f=6", NULL);
    assert_scanned(scan(world, "", "", 2, false), "a=1 e=5", "e");
}

static void test_transact_commits_nothing_for_reads(void **state) {
    struct world *world = *state;
    store(world, "a", "1");
    begin(world, NULL, 0);
    assert_get(world, "a", "1");
    const uint32_t started = fake_node_started(world->node);
    const uint64_t before = mark_count("data.transact.read_only");
    assert_committed(world);
    assert_int_equal(fake_node_started(world->node), started);
    assert_int_equal(mark_count("data.transact.read_only"), before + 1);
}

static void test_transact_is_validated(void **state) {
    struct world *world = *state;
    store(world, "a", "1");
    begin(world, "0123456789abcdef", 0);
    assert_get(world, "a", "1");
    assert_written(put(world, "b", "x"), 1);
    struct test_stream *first = world->stream;
    world->stream = NULL;
    store(world, "a", "2");
    world->stream = first;
    const struct txn_id holder = {{7}};
    fake_node_conflict(world->node,
                       SLICE_LITERAL("\0\0\0\7"
                                     "a"),
                       holder);
    commit_request(world);
    const response_type *response = receive(world);
    assert_int_equal(response->response_case, LIGHTCONE__V1__TRANSACT_RESPONSE__RESPONSE_ERROR);
    assert_bytes(response->error->key, "a");
    assert_memory_equal(response->error->holder.data, holder.v, sizeof(holder.v));
    assert_true(response->error->retryable);
    assert_error(world, response, "ABORTED_RETRY", "");
    // The next try is as old as the first.
    const uint64_t old = hlc_from_wall(loop_wall_us() - 1000000).v;
    begin(world, "0123456789abcdef", old);
    assert_get(world, "a", "2");
    assert_written(put(world, "b", "y"), 1);
    assert_committed(world);
    assert_int_equal(fake_node_begin(world->node), old);
}

static void test_transact_phantoms_are_refused(void **state) {
    struct world *world = *state;
    store(world, "k5", "1");
    begin(world, NULL, 0);
    assert_scanned(scan(world, "k", "l", 0, false), "k5=1", NULL);
    assert_written(put(world, "sum", "1"), 1);
    struct test_stream *first = world->stream;
    world->stream = NULL;
    store(world, "k7", "2");
    world->stream = first;
    commit_request(world);
    assert_error(world, receive(world), "ABORTED_RETRY", "");
}

static void test_transact_rolls_back(void **state) {
    struct world *world = *state;
    request_type request = LIGHTCONE__V1__TRANSACT_REQUEST__INIT;
    Lightcone__V1__TransactRollback body = LIGHTCONE__V1__TRANSACT_ROLLBACK__INIT;
    begin(world, NULL, 0);
    assert_written(put(world, "a", "1"), 1);
    request.request_case = LIGHTCONE__V1__TRANSACT_REQUEST__REQUEST_ROLLBACK;
    request.rollback = &body;
    assert_true(ask(world, &request)->rolled_back);
    expect_end(world, 0);
    begin(world, NULL, 0);
    assert_written(put(world, "a", "2"), 1);
    test_stream_half_close(world->stream);
    expect_end(world, 0);
    assert_int_equal(fake_node_applied(world->node), 0);
}

static void test_transact_wants_begin_first_and_once(void **state) {
    struct world *world = *state;
    const char *key = "a";
    open_stream(world);
    assert_error(world, get(world, &key, 1), "INVALID_ARGUMENT", "begin");
    begin(world, NULL, 0);
    request_type request = LIGHTCONE__V1__TRANSACT_REQUEST__INIT;
    Lightcone__V1__TransactBegin body = LIGHTCONE__V1__TRANSACT_BEGIN__INIT;
    request.request_case = LIGHTCONE__V1__TRANSACT_REQUEST__REQUEST_BEGIN;
    request.begin = &body;
    assert_error(world, ask(world, &request), "INVALID_ARGUMENT", "begin");
    open_stream(world);
    body.keyspace = (char *)(uintptr_t) "nowhere";
    assert_error(world, ask(world, &request), "NOT_FOUND", "keyspace");
    open_stream(world);
    body.keyspace = (char *)(uintptr_t) "test";
    body.begin = 1;  // of a try whose id is not given
    assert_error(world, ask(world, &request), "INVALID_ARGUMENT", "begin.txn_id");
    open_stream(world);
    body.begin = 0;
    body.hlc = hlc_from_wall(loop_wall_us() + 3600000000).v;
    assert_error(world, ask(world, &request), "CLOCK_AHEAD", "begin.hlc");
}

static void test_transact_refuses_by_field_and_limit(void **state) {
    struct world *world = *state;
    const char *keys[KEYS_MAX + 1];
    for (size_t i = 0; i < KEYS_MAX + 1; i++) {
        keys[i] = "k";
    }
    begin(world, NULL, 0);
    assert_error(world, get(world, keys, KEYS_MAX + 1), "INVALID_ARGUMENT", "get.keys");
    begin(world, NULL, 0);
    assert_error(world, get(world, keys, 0), "INVALID_ARGUMENT", "get.keys");
    begin(world, NULL, 0);
    assert_error(world, scan(world, "a", "b", 10001, false), "INVALID_ARGUMENT", "scan.limit");
    begin(world, NULL, 0);
    assert_error(world, delete_range(world, "b", "a"), "INVALID_ARGUMENT", "write.mutations[0]");
    begin(world, NULL, 0);
    assert_error(world, put(world, "\xff\xff", "x"), "INVALID_ARGUMENT", "write.mutations[0]");
    begin(world, NULL, 0);
    assert_written(put(world, "a", "1"), 1);
    assert_error(world, add(world, "a", 1), "INVALID_ARGUMENT", "write.mutations[0]");
    begin(world, NULL, 0);
    assert_true(test_stream_send(world->stream, SLICE_LITERAL("\xff\xff\xff")));
    assert_error(world, receive(world), "INVALID_ARGUMENT", "");
    begin(world, NULL, 0);
    assert_true(test_stream_send(world->stream, SLICE_EMPTY));
    assert_error(world, receive(world), "INVALID_ARGUMENT", "request");
}

static void test_transact_folds_merges(void **state) {
    struct world *world = *state;
    store(world, "n", "40");
    begin(world, NULL, 0);
    assert_written(add(world, "n", 1), 1);
    assert_written(add(world, "n", 1), 1);
    assert_written(add(world, "new", -5), 2);
    assert_get(world, "n", "42");
    assert_get(world, "new", "-5");
    assert_scanned(scan(world, "", "", 0, false), "n=42 new=-5", NULL);
    store(world, "t", "text");
    begin(world, NULL, 0);
    assert_written(add(world, "t", 1), 1);
    const char *key = "t";
    assert_error(world, get(world, &key, 1), "FAILED_PRECONDITION", "");
}

static void test_transact_errors_of_shards_end_it(void **state) {
    struct world *world = *state;
    const char *key = "a";
    begin(world, NULL, 0);
    fake_node_fail(world->node, COMMAND_READ, STATUS_SNAPSHOT_TOO_OLD, 1);
    assert_error(world, get(world, &key, 1), "SNAPSHOT_TOO_OLD", "");
    begin(world, NULL, 0);
    fake_node_fail(world->node, COMMAND_SCAN, STATUS_UNAVAILABLE, 1);
    assert_error(world, scan(world, "", "", 0, false), "UNAVAILABLE", "");
    begin(world, "0123456789abcdef", 0);
    assert_written(put(world, "a", "1"), 1);
    fake_node_fail(world->node, COMMAND_COMMIT, STATUS_UNKNOWN_OUTCOME, 1);
    commit_request(world);
    const response_type *response = receive(world);
    assert_bytes(response->error->txn_id, "0123456789abcdef");
    assert_bytes(response->error->key, "a");
    assert_error(world, response, "UNKNOWN_OUTCOME", "");
}

static void test_transact_of_a_lost_client_ends(void **state) {
    struct world *world = *state;
    begin(world, NULL, 0);
    assert_written(put(world, "a", "1"), 1);
    fake_node_hold(world->node, true);
    commit_request(world);
    WAIT_UNTIL(fake_node_held(world->node) == 1);
    const uint64_t before = mark_count("data.transact.cancelled");
    test_stream_cancel(world->stream);
    world->stream = NULL;
    WAIT_UNTIL(fake_node_cancelled(world->node) == 1);
    WAIT_UNTIL(mark_count("data.transact.cancelled") == before + 1);
    fake_node_hold(world->node, false);
    begin(world, NULL, 0);
    test_stream_cancel(world->stream);  // with nothing in flight
    world->stream = NULL;
}

static void test_transact_ends_with_the_node(void **state) {
    struct world *world = *state;
    begin(world, NULL, 0);
    rpc_stop(fake_node_server(world->node), 1000);
    expect_end(world, CODE_UNAVAILABLE);
    test_client_destroy(world->client);
    world->client = NULL;
    fake_node_destroy_stopped(world->node);
    world->node = NULL;
    world->client = test_client_create("127.0.0.1:1");
}

static void test_transact_memory_of_the_node_is_bounded(void **state) {
    struct world *world = *state;
    char *large = mem_alloc(FAKE_TRANSACT_BYTES_MAX / 2 + 1);
    memset(large, 'x', FAKE_TRANSACT_BYTES_MAX / 2);
    large[FAKE_TRANSACT_BYTES_MAX / 2] = 0;
    const uint64_t before = mark_count("data.transact.overloaded");
    begin(world, NULL, 0);
    assert_written(put(world, "a", large), 1);
    assert_written(put(world, "a", large), 1);  // in its place
    const response_type *response = put(world, "b", large);
    assert_true(response->error->retry_after_ms > 0);
    assert_int_equal(response->error->limit, FAKE_TRANSACT_BYTES_MAX);
    assert_error(world, response, "OVERLOADED", "");
    assert_int_equal(mark_count("data.transact.overloaded"), before + 1);
    begin(world, NULL, 0);  // what the first kept is free again
    assert_written(put(world, "b", large), 1);
    assert_committed(world);
    mem_free(large);
}

static void test_transact_holds_keys_for_update(void **state) {
    struct world *world = *state;
    const char *const keys[] = {"a", "b", "a"};
    const char *many[101];
    for (size_t i = 0; i < 101; i++) {
        many[i] = "k";
    }
    store(world, "a", "1");
    begin(world, NULL, 0);
    const response_type *response = get_as(world, keys, 3, true);
    assert_int_equal(response->rows->n_rows, 3);
    assert_bytes(response->rows->rows[2]->value, "1");
    assert_int_equal(fake_node_keys_held(world->node), 3);
    assert_written(put(world, "a", "2"), 1);
    assert_int_equal(fake_node_keys_held(world->node), 3);
    assert_committed(world);
    assert_int_equal(fake_node_keys_held(world->node), 0);
    begin(world, NULL, 0);
    fake_node_fail(world->node, COMMAND_HOLD, STATUS_ABORTED_RETRY, 1);
    assert_error(world, get_as(world, keys, 2, true), "ABORTED_RETRY", "");
    begin(world, NULL, 0);
    response = get_as(world, many, 101, true);
    assert_int_equal(response->error->limit, 100);
    assert_error(world, response, "INVALID_ARGUMENT", "get.for_update");
    begin(world, NULL, 0);
    fake_node_hold(world->node, true);
    assert_null(get_as(world, keys, 2, true));  // it waits for them
    WAIT_UNTIL(fake_node_keys_held(world->node) == 2);
    test_stream_cancel(world->stream);
    world->stream = NULL;
    WAIT_UNTIL(fake_node_keys_held(world->node) == 0);
    fake_node_hold(world->node, false);
}

static void test_transact_answers_in_order(void **state) {
    struct world *world = *state;
    request_type request = LIGHTCONE__V1__TRANSACT_REQUEST__INIT;
    Lightcone__V1__TransactGet body = LIGHTCONE__V1__TRANSACT_GET__INIT;
    ProtobufCBinaryData key = text("a");
    request.request_case = LIGHTCONE__V1__TRANSACT_REQUEST__REQUEST_GET;
    request.get = &body;
    body.n_keys = 1;
    body.keys = &key;
    store(world, "a", "1");
    begin(world, NULL, 0);
    for (int i = 0; i < 50; i++) {
        send_only(world, &request);
    }
    for (int i = 0; i < 50; i++) {
        assert_bytes(receive(world)->rows->rows[0]->value, "1");
    }
    commit_request(world);
    send_only(world, &request);  // behind the end: nobody looks at it
    assert_int_equal(receive(world)->response_case,
                     LIGHTCONE__V1__TRANSACT_RESPONSE__RESPONSE_COMMITTED);
    expect_end(world, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_transact_reads_its_own_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_scans_with_its_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_commits_nothing_for_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_is_validated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_phantoms_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_rolls_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_wants_begin_first_and_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_refuses_by_field_and_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_folds_merges, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_errors_of_shards_end_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_of_a_lost_client_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_ends_with_the_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_memory_of_the_node_is_bounded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_transact_holds_keys_for_update, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transact_answers_in_order, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
