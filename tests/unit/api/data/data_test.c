// SPDX-License-Identifier: Apache-2.0
// The service Data from outside, as a foreign client sees it: requests packed by protobuf-c, over a
// real connection, to a session that keeps its rows in memory.
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

enum { CODE_INVALID = 3, CODE_NOT_FOUND = 5, CODE_EXHAUSTED = 8, CODE_PRECONDITION = 9 };
enum { CODE_UNKNOWN = 2, CODE_UNAVAILABLE = 14, ITEMS_MAX = 600 };

struct world {
    struct fake_node *node;
    struct test_client *client;
};

static int setup(void **state) {
    struct world *world = mem_alloc(sizeof(*world));
    world->node = fake_node_create(ITEMS_MAX, 0);
    world->client = test_client_create(fake_node_address(world->node));
    *state = world;
    return 0;
}

static int teardown(void **state) {
    struct world *world = *state;
    test_client_destroy(world->client);
    fake_node_destroy(world->node);
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

// --- Calls ---

static struct slice pack(const ProtobufCMessage *message, uint8_t **out_memory) {
    size_t size = protobuf_c_message_get_packed_size(message);
    *out_memory = mem_alloc(size + 1);
    (void)protobuf_c_message_pack(message, *out_memory);
    return slice_make(*out_memory, size);
}

static struct test_reply call(struct world *world, const char *path,
                              const ProtobufCMessage *request) {
    uint8_t *memory;
    struct slice bytes = pack(request, &memory);
    struct test_reply reply = test_client_call(world->client, path, bytes, 0);
    mem_free(memory);
    return reply;
}

static ProtobufCBinaryData binary(const char *text) {
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static bool is(ProtobufCBinaryData data, const char *text) {
    return data.len == strlen(text) && (data.len == 0 || memcmp(data.data, text, data.len) == 0);
}

static char KEYSPACE[] = "test";

// One put, with a transaction id when txn is not NULL. The caller frees the response.
static Lightcone__V1__CommitResponse *commit_put(struct world *world, const char *key,
                                                 const char *value, const char *txn) {
    Lightcone__V1__CommitRequest request = LIGHTCONE__V1__COMMIT_REQUEST__INIT;
    Lightcone__V1__Mutation mutation = LIGHTCONE__V1__MUTATION__INIT;
    Lightcone__V1__Mutation *mutations[] = {&mutation};
    Lightcone__V1__Put put = LIGHTCONE__V1__PUT__INIT;
    put.key = binary(key);
    put.value = binary(value);
    mutation.kind_case = LIGHTCONE__V1__MUTATION__KIND_PUT;
    mutation.put = &put;
    request.keyspace = KEYSPACE;
    request.n_mutations = 1;
    request.mutations = mutations;
    if (txn != NULL) { request.txn_id = binary(txn); }
    struct test_reply reply = call(world, "/lightcone.v1.Data/Commit", &request.base);
    assert_int_equal(reply.code, 0);
    Lightcone__V1__CommitResponse *response =
        lightcone__v1__commit_response__unpack(NULL, reply.message->size, reply.message->data);
    assert_non_null(response);
    test_reply_free(&reply);
    return response;
}

static void put(struct world *world, const char *key, const char *value) {
    lightcone__v1__commit_response__free_unpacked(commit_put(world, key, value, NULL), NULL);
}

// The typed error of a reply, which is freed.
static void expect_error(struct test_reply reply, int code, const char *status, const char *field,
                         uint64_t limit) {
    assert_int_equal(reply.code, code);
    assert_non_null(reply.detail);
    Lightcone__V1__ErrorDetail *detail =
        lightcone__v1__error_detail__unpack(NULL, reply.detail->size, reply.detail->data);
    assert_non_null(detail);
    assert_string_equal(detail->status, status);
    assert_string_equal(detail->field, field);
    assert_true(detail->limit == limit);
    assert_true(strlen(detail->message) > 0);
    lightcone__v1__error_detail__free_unpacked(detail, NULL);
    test_reply_free(&reply);
}

// --- Unary ---

static void test_data_read_gives_rows_in_order(void **state) {
    struct world *world = *state;
    put(world, "a", "1");
    put(world, "b", "");
    Lightcone__V1__ReadRequest request = LIGHTCONE__V1__READ_REQUEST__INIT;
    ProtobufCBinaryData keys[] = {binary("b"), binary("nope"), binary("a")};
    request.keyspace_id = FAKE_KEYSPACE;
    request.n_keys = 3;
    request.keys = keys;
    struct test_reply reply = call(world, "/lightcone.v1.Data/Read", &request.base);
    assert_int_equal(reply.code, 0);
    Lightcone__V1__ReadResponse *response =
        lightcone__v1__read_response__unpack(NULL, reply.message->size, reply.message->data);
    assert_non_null(response);
    assert_int_equal(response->n_rows, 3);
    assert_true(response->rows[0]->found && response->rows[0]->value.len == 0);
    assert_true(response->rows[0]->version > 0);
    assert_false(response->rows[1]->found);
    assert_true(response->rows[1]->version == 0);
    assert_true(response->rows[2]->found && is(response->rows[2]->value, "1"));
    assert_int_equal(response->header->served_by, 1);
    assert_true(response->header->hlc > 0);
    assert_int_equal(response->header->certificate->method,
                     LIGHTCONE__V1__CERTIFICATE_METHOD__CERTIFICATE_METHOD_LEASE);
    assert_int_equal(response->header->certificate->shard, 2);
    assert_int_equal(response->header->certificate->term, 3);
    assert_true(response->header->certificate->timestamp ==
                response->header->certificate->closed + 1);
    // What we wrote is what protobuf-c would have written.
    uint8_t *memory;
    struct slice again = pack(&response->base, &memory);
    assert_true(slice_equal(again, bytes_slice(reply.message)));
    mem_free(memory);
    lightcone__v1__read_response__free_unpacked(response, NULL);
    test_reply_free(&reply);
}

static void test_data_commit_is_idempotent_by_id(void **state) {
    struct world *world = *state;
    Lightcone__V1__CommitResponse *first = commit_put(world, "k", "v", "0123456789abcdef");
    Lightcone__V1__CommitResponse *again = commit_put(world, "k", "v", "0123456789abcdef");
    assert_int_equal(first->result, LIGHTCONE__V1__COMMIT_RESULT__COMMIT_RESULT_COMMITTED);
    assert_true(first->timestamp == again->timestamp && first->timestamp > 0);
    assert_true(is(first->txn_id, "0123456789abcdef"));
    assert_int_equal(fake_node_applied(world->node), 1);
    lightcone__v1__commit_response__free_unpacked(first, NULL);
    lightcone__v1__commit_response__free_unpacked(again, NULL);
}

static void test_data_commit_without_id_gets_one(void **state) {
    struct world *world = *state;
    Lightcone__V1__CommitResponse *first = commit_put(world, "k", "v", NULL);
    Lightcone__V1__CommitResponse *second = commit_put(world, "k", "v", NULL);
    assert_int_equal(first->txn_id.len, 16);
    assert_int_equal(second->txn_id.len, 16);
    assert_memory_not_equal(first->txn_id.data, second->txn_id.data, 16);
    assert_int_equal(fake_node_applied(world->node), 2);
    lightcone__v1__commit_response__free_unpacked(first, NULL);
    lightcone__v1__commit_response__free_unpacked(second, NULL);
}

// Goal: each kind of condition and mutation reaches the shard as what it is.
static void test_data_commit_conditions_and_mutations(void **state) {
    struct world *world = *state;
    put(world, "a", "1");
    put(world, "c", "3");
    Lightcone__V1__CommitRequest request = LIGHTCONE__V1__COMMIT_REQUEST__INIT;
    Lightcone__V1__Condition conditions[5];
    Lightcone__V1__Condition *condition_list[5];
    for (size_t i = 0; i < 5; i++) {
        lightcone__v1__condition__init(&conditions[i]);
        conditions[i].key = binary(i == 1 ? "absent" : "a");
        condition_list[i] = &conditions[i];
    }
    conditions[0].test_case = LIGHTCONE__V1__CONDITION__TEST_EXISTS;
    conditions[0].exists = 1;
    conditions[1].test_case = LIGHTCONE__V1__CONDITION__TEST_ABSENT;
    conditions[1].absent = 1;
    conditions[2].test_case = LIGHTCONE__V1__CONDITION__TEST_VALUE_EQUALS;
    conditions[2].value_equals = binary("1");
    conditions[3].test_case = LIGHTCONE__V1__CONDITION__TEST_TIMESTAMP_AT_MOST;
    conditions[3].timestamp_at_most = UINT64_MAX;
    conditions[4].test_case = LIGHTCONE__V1__CONDITION__TEST_VERSION_EQUALS;
    conditions[4].version_equals = 0;  // does not hold
    Lightcone__V1__Mutation remove = LIGHTCONE__V1__MUTATION__INIT;
    Lightcone__V1__Mutation range = LIGHTCONE__V1__MUTATION__INIT;
    Lightcone__V1__Mutation *mutations[] = {&remove, &range};
    Lightcone__V1__Delete remove_body = LIGHTCONE__V1__DELETE__INIT;
    Lightcone__V1__DeleteRange range_body = LIGHTCONE__V1__DELETE_RANGE__INIT;
    remove_body.key = binary("a");
    remove.kind_case = LIGHTCONE__V1__MUTATION__KIND_DELETE;
    remove.delete_ = &remove_body;
    range_body.start = binary("b");
    range_body.end = binary("d");
    range.kind_case = LIGHTCONE__V1__MUTATION__KIND_DELETE_RANGE;
    range.delete_range = &range_body;
    request.keyspace = KEYSPACE;
    request.n_conditions = 5;
    request.conditions = condition_list;
    request.n_mutations = 2;
    request.mutations = mutations;
    for (size_t count = 5; count >= 4; count--) {
        request.n_conditions = count;
        struct test_reply reply = call(world, "/lightcone.v1.Data/Commit", &request.base);
        assert_int_equal(reply.code, 0);
        Lightcone__V1__CommitResponse *response =
            lightcone__v1__commit_response__unpack(NULL, reply.message->size, reply.message->data);
        assert_int_equal(response->result,
                         count == 5 ? LIGHTCONE__V1__COMMIT_RESULT__COMMIT_RESULT_CONDITION_FAILED
                                    : LIGHTCONE__V1__COMMIT_RESULT__COMMIT_RESULT_COMMITTED);
        assert_int_equal(response->failed_condition, count == 5 ? 4 : 0);
        lightcone__v1__commit_response__free_unpacked(response, NULL);
        test_reply_free(&reply);
    }
    Lightcone__V1__ReadRequest read = LIGHTCONE__V1__READ_REQUEST__INIT;
    ProtobufCBinaryData keys[] = {binary("a"), binary("c")};
    read.keyspace = KEYSPACE;
    read.n_keys = 2;
    read.keys = keys;
    struct test_reply reply = call(world, "/lightcone.v1.Data/Read", &read.base);
    Lightcone__V1__ReadResponse *rows =
        lightcone__v1__read_response__unpack(NULL, reply.message->size, reply.message->data);
    assert_false(rows->rows[0]->found || rows->rows[1]->found);
    assert_true(rows->rows[0]->version > 0);
    lightcone__v1__read_response__free_unpacked(rows, NULL);
    test_reply_free(&reply);
}

// A prepare arrives between the question and the settling: the outcome is asked for again.
static void test_data_settling_a_prepared_one_goes_on(void **state) {
    struct world *world = *state;
    Lightcone__V1__TxnStatusRequest request = LIGHTCONE__V1__TXN_STATUS_REQUEST__INIT;
    request.keyspace = KEYSPACE;
    request.key = binary("k");
    request.txn_id = binary("0123456789abcdef");
    request.settle = true;
    fake_node_prepare(world->node, 2);
    mark_reset_all();
    struct test_reply reply = call(world, "/lightcone.v1.Data/TxnStatus", &request.base);
    assert_int_equal(reply.code, 0);
    Lightcone__V1__TxnStatusResponse *response =
        lightcone__v1__txn_status_response__unpack(NULL, reply.message->size, reply.message->data);
    assert_true(response->known);
    assert_false(response->pending);
    assert_int_equal(mark_count("data.settle.prepared_meanwhile"), 2);
    assert_int_equal(response->result, LIGHTCONE__V1__COMMIT_RESULT__COMMIT_RESULT_ABORTED);
    lightcone__v1__txn_status_response__free_unpacked(response, NULL);
    test_reply_free(&reply);
}

static void test_data_txn_status_knows_and_does_not(void **state) {
    struct world *world = *state;
    Lightcone__V1__CommitResponse *commit = commit_put(world, "k", "v", "0123456789abcdef");
    Lightcone__V1__TxnStatusRequest request = LIGHTCONE__V1__TXN_STATUS_REQUEST__INIT;
    request.keyspace = KEYSPACE;
    request.key = binary("k");
    for (int known = 0; known < 2; known++) {
        request.txn_id = binary(known == 1 ? "0123456789abcdef" : "another-id-of-16");
        struct test_reply reply = call(world, "/lightcone.v1.Data/TxnStatus", &request.base);
        assert_int_equal(reply.code, 0);
        Lightcone__V1__TxnStatusResponse *response = lightcone__v1__txn_status_response__unpack(
            NULL, reply.message->size, reply.message->data);
        assert_int_equal(response->known, known);
        assert_true(response->timestamp == (known == 1 ? commit->timestamp : 0));
        lightcone__v1__txn_status_response__free_unpacked(response, NULL);
        test_reply_free(&reply);
    }
    lightcone__v1__commit_response__free_unpacked(commit, NULL);
}

static void test_data_session_errors_become_details(void **state) {
    struct world *world = *state;
    Lightcone__V1__ReadRequest read = LIGHTCONE__V1__READ_REQUEST__INIT;
    ProtobufCBinaryData key = binary("k");
    read.keyspace = KEYSPACE;
    read.n_keys = 1;
    read.keys = &key;
    fake_node_fail(world->node, 0, STATUS_UNAVAILABLE, 1);
    expect_error(call(world, "/lightcone.v1.Data/Read", &read.base), CODE_UNAVAILABLE,
                 "UNAVAILABLE", "", 0);
    Lightcone__V1__TxnStatusRequest status = LIGHTCONE__V1__TXN_STATUS_REQUEST__INIT;
    status.keyspace = KEYSPACE;
    status.key = key;
    status.txn_id = binary("0123456789abcdef");
    // Without a certificate NOT_FOUND is about the shard, and an error.
    fake_node_fail(world->node, 0, STATUS_NOT_FOUND, 1);
    expect_error(call(world, "/lightcone.v1.Data/TxnStatus", &status.base), CODE_NOT_FOUND,
                 "NOT_FOUND", "", 0);
    Lightcone__V1__CommitRequest commit = LIGHTCONE__V1__COMMIT_REQUEST__INIT;
    Lightcone__V1__Mutation mutation = LIGHTCONE__V1__MUTATION__INIT;
    Lightcone__V1__Mutation *mutations[] = {&mutation};
    Lightcone__V1__Delete remove = LIGHTCONE__V1__DELETE__INIT;
    remove.key = key;
    mutation.kind_case = LIGHTCONE__V1__MUTATION__KIND_DELETE;
    mutation.delete_ = &remove;
    commit.keyspace = KEYSPACE;
    commit.txn_id = binary("0123456789abcdef");
    commit.n_mutations = 1;
    commit.mutations = mutations;
    fake_node_fail(world->node, 0, STATUS_UNKNOWN_OUTCOME, 1);
    struct test_reply reply = call(world, "/lightcone.v1.Data/Commit", &commit.base);
    Lightcone__V1__ErrorDetail *detail =
        lightcone__v1__error_detail__unpack(NULL, reply.detail->size, reply.detail->data);
    assert_true(is(detail->txn_id, "0123456789abcdef"));
    lightcone__v1__error_detail__free_unpacked(detail, NULL);
    expect_error(reply, CODE_UNKNOWN, "UNKNOWN_OUTCOME", "", 0);
    fake_node_fail(world->node, 0, STATUS_OVERLOADED, 1);
    expect_error(call(world, "/lightcone.v1.Data/Read", &read.base), CODE_EXHAUSTED, "OVERLOADED",
                 "", 0);
}

// --- Limits and garbage ---

static void test_data_read_limits(void **state) {
    struct world *world = *state;
    static uint8_t long_key[SHARD_USER_KEY_SIZE_MAX + 1];
    memset(long_key, 'k', sizeof(long_key));
    ProtobufCBinaryData *keys = mem_alloc_array(COMMAND_READ_KEYS_MAX + 1, sizeof(*keys));
    char names[COMMAND_READ_KEYS_MAX + 1][8];
    for (uint32_t i = 0; i <= COMMAND_READ_KEYS_MAX; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "%05u", i);
        keys[i] = binary(names[i]);
    }
    Lightcone__V1__ReadRequest read = LIGHTCONE__V1__READ_REQUEST__INIT;
    const char *path = "/lightcone.v1.Data/Read";
    read.keyspace = KEYSPACE;
    read.keys = keys;
    expect_error(call(world, path, &read.base), CODE_INVALID, "INVALID_ARGUMENT", "keys",
                 COMMAND_READ_KEYS_MAX);
    read.n_keys = COMMAND_READ_KEYS_MAX + 1;
    expect_error(call(world, path, &read.base), CODE_INVALID, "INVALID_ARGUMENT", "keys",
                 COMMAND_READ_KEYS_MAX);
    read.n_keys = COMMAND_READ_KEYS_MAX;
    struct test_reply reply = call(world, path, &read.base);
    assert_int_equal(reply.code, 0);
    test_reply_free(&reply);
    keys[3] = (ProtobufCBinaryData){sizeof(long_key), long_key};
    expect_error(call(world, path, &read.base), CODE_INVALID, "INVALID_ARGUMENT", "keys[3]",
                 SHARD_USER_KEY_SIZE_MAX);
    keys[3].len--;
    reply = call(world, path, &read.base);
    assert_int_equal(reply.code, 0);
    test_reply_free(&reply);
    keys[3].len = 0;
    expect_error(call(world, path, &read.base), CODE_INVALID, "INVALID_ARGUMENT", "keys[3]",
                 SHARD_USER_KEY_SIZE_MAX);
    read.n_keys = 1;
    read.consistency = (Lightcone__V1__Consistency)7;
    expect_error(call(world, path, &read.base), CODE_INVALID, "INVALID_ARGUMENT", "consistency", 6);
    read.consistency = LIGHTCONE__V1__CONSISTENCY__CONSISTENCY_AT;
    expect_error(call(world, path, &read.base), CODE_INVALID, "INVALID_ARGUMENT", "at", 0);
    read.consistency = LIGHTCONE__V1__CONSISTENCY__CONSISTENCY_BOUNDED;
    expect_error(call(world, path, &read.base), CODE_INVALID, "INVALID_ARGUMENT",
                 "max_staleness_us", COMMAND_STALENESS_US_MAX);
    mem_free(keys);
}

static void test_data_keyspace_is_checked(void **state) {
    struct world *world = *state;
    char nope[] = "nope";
    char empty[] = "";
    Lightcone__V1__ReadRequest read = LIGHTCONE__V1__READ_REQUEST__INIT;
    ProtobufCBinaryData key = binary("k");
    const char *path = "/lightcone.v1.Data/Read";
    read.n_keys = 1;
    read.keys = &key;
    expect_error(call(world, path, &read.base), CODE_INVALID, "INVALID_ARGUMENT", "keyspace", 0);
    read.keyspace = KEYSPACE;
    read.keyspace_id = FAKE_KEYSPACE;
    expect_error(call(world, path, &read.base), CODE_INVALID, "INVALID_ARGUMENT", "keyspace", 0);
    read.keyspace = nope;
    read.keyspace_id = 0;
    expect_error(call(world, path, &read.base), CODE_NOT_FOUND, "NOT_FOUND", "keyspace", 0);
    read.keyspace = empty;
    read.keyspace_id = FAKE_KEYSPACE + 1;
    expect_error(call(world, path, &read.base), CODE_NOT_FOUND, "NOT_FOUND", "keyspace_id", 0);
    ProtobufCBinaryData reserved = {3, (uint8_t *)(uintptr_t) "\xff\xff\x01"};
    read.keyspace_id = FAKE_KEYSPACE;
    read.keys = &reserved;
    struct test_reply reply = call(world, path, &read.base);
    assert_int_equal(reply.code, CODE_INVALID);
    test_reply_free(&reply);
}

// Goal: a client's clock far ahead is refused and does not move ours.
static void test_data_clock_ahead_is_refused(void **state) {
    struct world *world = *state;
    Lightcone__V1__ReadRequest read = LIGHTCONE__V1__READ_REQUEST__INIT;
    ProtobufCBinaryData key = binary("k");
    read.keyspace = KEYSPACE;
    read.n_keys = 1;
    read.keys = &key;
    uint64_t day_ahead = hlc_from_wall(loop_wall_us() + UINT64_C(86400000000)).v;
    const uint64_t clocks[] = {day_ahead, UINT64_MAX};
    mark_reset_all();
    for (size_t i = 0; i < 2; i++) {
        read.hlc = clocks[i];
        expect_error(call(world, "/lightcone.v1.Data/Read", &read.base), CODE_PRECONDITION,
                     "CLOCK_AHEAD", "hlc", 0);
    }
    assert_int_equal(mark_count("data.request.clock_ahead"), 2);
    read.hlc = hlc_from_wall(loop_wall_us() + 1000).v;
    struct test_reply reply = call(world, "/lightcone.v1.Data/Read", &read.base);
    assert_int_equal(reply.code, 0);
    Lightcone__V1__ReadResponse *response =
        lightcone__v1__read_response__unpack(NULL, reply.message->size, reply.message->data);
    assert_true(response->header->hlc >= read.hlc && response->header->hlc < day_ahead);
    lightcone__v1__read_response__free_unpacked(response, NULL);
    test_reply_free(&reply);
}

static void test_data_commit_limits(void **state) {
    struct world *world = *state;
    const char *path = "/lightcone.v1.Data/Commit";
    uint8_t *big = mem_alloc(SHARD_VALUE_SIZE_MAX + 1);
    Lightcone__V1__CommitRequest request = LIGHTCONE__V1__COMMIT_REQUEST__INIT;
    Lightcone__V1__Mutation mutation = LIGHTCONE__V1__MUTATION__INIT;
    Lightcone__V1__Mutation *mutations[] = {&mutation};
    Lightcone__V1__Put body = LIGHTCONE__V1__PUT__INIT;
    request.keyspace = KEYSPACE;
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT", "mutations",
                 COMMAND_OPS_MAX);
    request.n_mutations = 1;
    request.mutations = mutations;
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT", "mutations[0]",
                 0);
    mutation.kind_case = LIGHTCONE__V1__MUTATION__KIND_PUT;
    mutation.put = &body;
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT",
                 "mutations[0].put.key", SHARD_USER_KEY_SIZE_MAX);
    body.key = binary("k");
    body.value = (ProtobufCBinaryData){SHARD_VALUE_SIZE_MAX + 1, big};
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT",
                 "mutations[0].put.value", SHARD_VALUE_SIZE_MAX);
    body.value.len--;
    struct test_reply reply = call(world, path, &request.base);
    assert_int_equal(reply.code, 0);
    test_reply_free(&reply);
    body.value.len = 0;
    request.txn_id = binary("short");
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT", "txn_id", 16);
    request.txn_id = (ProtobufCBinaryData){16, big};
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT", "txn_id", 0);
    request.txn_id.len = 0;
    Lightcone__V1__Condition condition = LIGHTCONE__V1__CONDITION__INIT;
    Lightcone__V1__Condition *conditions[] = {&condition};
    request.n_conditions = 1;
    request.conditions = conditions;
    condition.key = binary("k");
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT",
                 "conditions[0]", 0);
    condition.test_case = LIGHTCONE__V1__CONDITION__TEST_EXISTS;  // false
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT",
                 "conditions[0]", 0);
    condition.exists = 1;
    condition.key.len = 0;
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT",
                 "conditions[0].key", SHARD_USER_KEY_SIZE_MAX);
    mem_free(big);
}

// Goal: the ten-thousand-and-first operation is refused; ten million empty ones cost nothing much.
static void test_data_validated_reads_are_checked(void **state) {
    struct world *world = *state;
    const char *path = "/lightcone.v1.Data/Commit";
    static uint8_t long_key[SHARD_USER_KEY_SIZE_MAX + 1];
    Lightcone__V1__CommitRequest request = LIGHTCONE__V1__COMMIT_REQUEST__INIT;
    Lightcone__V1__ReadSpan span = LIGHTCONE__V1__READ_SPAN__INIT;
    Lightcone__V1__ReadSpan *spans[] = {&span};
    request.keyspace = KEYSPACE;
    request.n_reads = 1;
    request.reads = spans;
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT",
                 "reads[0].start", SHARD_USER_KEY_SIZE_MAX);
    span.start = binary("k");
    span.end = (ProtobufCBinaryData){sizeof(long_key), long_key};
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT", "reads[0].end",
                 SHARD_USER_KEY_SIZE_MAX);
    span.end.len = 0;
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT", "snapshot", 0);
    request.n_reads = 0;
    request.snapshot = 7;
    expect_error(call(world, path, &request.base), CODE_INVALID, "INVALID_ARGUMENT", "snapshot", 0);
}

static void test_data_commit_counts_are_bounded(void **state) {
    struct world *world = *state;
    size_t size = 2 * 5000000;
    uint8_t *bytes = mem_alloc(size);
    for (size_t i = 0; i < size; i += 2) {
        bytes[i] = 5 << 3 | 2;  // mutations, empty
    }
    struct test_reply reply =
        test_client_call(world->client, "/lightcone.v1.Data/Commit", slice_make(bytes, size), 0);
    expect_error(reply, CODE_INVALID, "INVALID_ARGUMENT", "mutations[0]", 0);
    mem_free(bytes);

    struct buf many;
    struct proto_writer w;
    buf_init(&many, 1 << 20);
    proto_writer_init(&w, &many);
    proto_put_bytes(&w, 1, SLICE_LITERAL("test"));
    for (uint32_t i = 0; i <= COMMAND_OPS_MAX; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "%05u", i);
        size_t mutation = proto_open(&w, 5, 16);
        size_t remove = proto_open(&w, 2, 8);
        proto_put_bytes(&w, 1, slice_from_string(key));
        proto_close(&w, remove);
        proto_close(&w, mutation);
    }
    assert_int_equal(w.status, STATUS_OK);
    reply = test_client_call(world->client, "/lightcone.v1.Data/Commit", buf_slice(&many), 0);
    expect_error(reply, CODE_INVALID, "INVALID_ARGUMENT", "mutations", COMMAND_OPS_MAX);
    many.size -= 11;  // without the last
    reply = test_client_call(world->client, "/lightcone.v1.Data/Commit", buf_slice(&many), 0);
    assert_int_equal(reply.code, 0);
    test_reply_free(&reply);
    buf_deinit(&many);
}

// Goal: a good request cut at each byte, and with each byte flipped, gets an answer.
static void test_data_garbage_is_answered(void **state) {
    struct world *world = *state;
    Lightcone__V1__CommitRequest request = LIGHTCONE__V1__COMMIT_REQUEST__INIT;
    Lightcone__V1__Mutation mutation = LIGHTCONE__V1__MUTATION__INIT;
    Lightcone__V1__Mutation *mutations[] = {&mutation};
    Lightcone__V1__Put body = LIGHTCONE__V1__PUT__INIT;
    body.key = binary("key");
    body.value = binary("value");
    mutation.kind_case = LIGHTCONE__V1__MUTATION__KIND_PUT;
    mutation.put = &body;
    request.keyspace = KEYSPACE;
    request.n_mutations = 1;
    request.mutations = mutations;
    uint8_t *memory;
    struct slice good = pack(&request.base, &memory);
    static const char *const paths[] = {"/lightcone.v1.Data/Commit", "/lightcone.v1.Data/Read",
                                        "/lightcone.v1.Data/TxnStatus"};
    for (size_t i = 0; i < good.size; i++) {
        for (size_t p = 0; p < 3; p++) {
            struct test_reply reply =
                test_client_call(world->client, paths[p], slice_make(good.data, i), 0);
            assert_true(reply.code == CODE_INVALID || reply.code == 0);
            test_reply_free(&reply);
        }
        memory[i] ^= 0xff;
        struct test_reply reply = test_client_call(world->client, paths[0], good, 0);
        assert_true(reply.code == CODE_INVALID || reply.code == CODE_NOT_FOUND || reply.code == 0);
        test_reply_free(&reply);
        memory[i] ^= 0xff;
    }
    mem_free(memory);
    put(world, "k", "v");
}

// --- Scans ---

struct scanned {
    uint32_t rows;
    uint32_t pages;
    char first[16];
    char last[16];
    bool more;
    int code;
};

static struct scanned scan(struct world *world, const Lightcone__V1__ScanRequest *request) {
    struct scanned out = {0};
    uint8_t *memory;
    struct slice bytes = pack(&request->base, &memory);
    struct test_stream *stream = test_stream_open(world->client, "/lightcone.v1.Data/Scan", 0);
    assert_true(test_stream_send(stream, bytes));
    test_stream_half_close(stream);
    mem_free(memory);
    for (;;) {
        struct bytes *message = test_stream_receive(stream);
        if (message == NULL) { break; }
        Lightcone__V1__ScanResponse *page =
            lightcone__v1__scan_response__unpack(NULL, message->size, message->data);
        assert_non_null(page);
        assert_non_null(page->header->certificate);
        for (size_t i = 0; i < page->n_rows; i++) {
            char *place = out.rows++ == 0 ? out.first : out.last;
            (void)snprintf(place, sizeof(out.last), "%.*s", (int)page->rows[i]->key.len,
                           (const char *)page->rows[i]->key.data);
            assert_int_equal(page->rows[i]->value.len, request->keys_only ? 0 : 1);
        }
        assert_true(page->more == (page->resume.len > 0));
        out.more = page->more;
        out.pages++;
        lightcone__v1__scan_response__free_unpacked(page, NULL);
        bytes_unref(message);
    }
    struct test_reply reply = test_stream_end(stream);
    out.code = reply.code;
    test_reply_free(&reply);
    return out;
}

static void fill(struct world *world, uint32_t count) {
    char key[16];
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(key, sizeof(key), "k%03u", i);
        put(world, key, "v");
    }
}

static void test_data_scan_pages_over_borders(void **state) {
    struct world *world = *state;
    fill(world, 50);
    Lightcone__V1__ScanRequest request = LIGHTCONE__V1__SCAN_REQUEST__INIT;
    request.keyspace = KEYSPACE;
    struct scanned all = scan(world, &request);
    assert_int_equal(all.code, 0);
    assert_int_equal(all.rows, 50);
    assert_int_equal(all.pages, 1);
    fake_node_border(world->node, 7);
    all = scan(world, &request);
    assert_int_equal(all.rows, 50);
    assert_int_equal(all.pages, 8);
    assert_string_equal(all.first, "k000");
    assert_string_equal(all.last, "k049");
    request.reverse = 1;
    request.keys_only = 1;
    all = scan(world, &request);
    assert_int_equal(all.rows, 50);
    assert_string_equal(all.first, "k049");
    assert_string_equal(all.last, "k000");
}

static void test_data_scan_bounds_and_limit(void **state) {
    struct world *world = *state;
    fill(world, 30);
    fake_node_border(world->node, 4);
    Lightcone__V1__ScanRequest request = LIGHTCONE__V1__SCAN_REQUEST__INIT;
    request.keyspace_id = FAKE_KEYSPACE;
    request.start = binary("k005");
    request.end = binary("k020");
    struct scanned some = scan(world, &request);
    assert_int_equal(some.rows, 15);
    assert_string_equal(some.first, "k005");
    assert_string_equal(some.last, "k019");
    request.limit = 9;
    request.page_rows = 3;
    some = scan(world, &request);
    assert_int_equal(some.rows, 9);
    assert_int_equal(some.pages, 3);
    assert_string_equal(some.last, "k013");
    assert_true(some.more);  // the last page says that there would be more
    request.start = binary("zzz");
    request.end = binary("zzzz");
    some = scan(world, &request);
    assert_int_equal(some.code, 0);
    assert_int_equal(some.rows, 0);
    assert_int_equal(some.pages, 1);  // the certificate of nothing
}

static void test_data_scan_refuses_bad_requests(void **state) {
    struct world *world = *state;
    Lightcone__V1__ScanRequest request = LIGHTCONE__V1__SCAN_REQUEST__INIT;
    request.keyspace = KEYSPACE;
    request.page_rows = COMMAND_SCAN_ROWS_MAX + 1;
    assert_int_equal(scan(world, &request).code, CODE_INVALID);
    request.page_rows = 0;
    request.start = binary("b");
    request.end = binary("a");
    assert_int_equal(scan(world, &request).code, CODE_INVALID);
    request.end = binary("c");
    request.hlc = UINT64_MAX;
    assert_int_equal(scan(world, &request).code, CODE_PRECONDITION);
    request.hlc = 0;
    fake_node_fail(world->node, COMMAND_SCAN, STATUS_UNAVAILABLE, 1);
    assert_int_equal(scan(world, &request).code, CODE_UNAVAILABLE);
}

static void test_data_scan_is_cancelled_with_its_client(void **state) {
    struct world *world = *state;
    Lightcone__V1__ScanRequest request = LIGHTCONE__V1__SCAN_REQUEST__INIT;
    uint8_t *memory;
    request.keyspace = KEYSPACE;
    mark_reset_all();
    fake_node_hold(world->node, true);
    struct slice bytes = pack(&request.base, &memory);
    struct test_stream *stream = test_stream_open(world->client, "/lightcone.v1.Data/Scan", 0);
    assert_true(test_stream_send(stream, bytes));
    test_stream_half_close(stream);
    WAIT_UNTIL(fake_node_held(world->node) == 1);
    test_stream_cancel(stream);
    WAIT_UNTIL(fake_node_cancelled(world->node) == 1);
    assert_int_equal(mark_count("data.scan.cancelled"), 1);
    mem_free(memory);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        SERVED(test_data_read_gives_rows_in_order),
        SERVED(test_data_commit_is_idempotent_by_id),
        SERVED(test_data_commit_without_id_gets_one),
        SERVED(test_data_commit_conditions_and_mutations),
        SERVED(test_data_txn_status_knows_and_does_not),
        SERVED(test_data_settling_a_prepared_one_goes_on),
        SERVED(test_data_session_errors_become_details),
        SERVED(test_data_read_limits),
        SERVED(test_data_keyspace_is_checked),
        SERVED(test_data_clock_ahead_is_refused),
        SERVED(test_data_commit_limits),
        SERVED(test_data_validated_reads_are_checked),
        SERVED(test_data_commit_counts_are_bounded),
        SERVED(test_data_garbage_is_answered),
        SERVED(test_data_scan_pages_over_borders),
        SERVED(test_data_scan_bounds_and_limit),
        SERVED(test_data_scan_refuses_bad_requests),
        SERVED(test_data_scan_is_cancelled_with_its_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
