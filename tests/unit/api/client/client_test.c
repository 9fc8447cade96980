// SPDX-License-Identifier: Apache-2.0
// liblightcone against a real server over a session in memory: what is said of a commit's fate,
// when requests are sent again, and what happens when nodes are not there.
#include "api/client/admin.h"
#include "api/client/lightcone.h"
#include "dataplane/base/mem.h"
#include "tests/unit/api/data/fake_node.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct world {
    struct fake_node *node;
    struct lc_client *client;
    enum lc_mode mode;
};

static struct lc_client *connect_to(const char *address, enum lc_mode mode, bool via_gateway) {
    struct lc_client *client = NULL;
    struct err err = {0};
    struct lc_config config = {
        .addresses = &address, .address_count = 1, .mode = mode, .via_gateway = via_gateway};
    assert_int_equal(lc_connect(&config, &client, &err), STATUS_OK);
    return client;
}

static int setup_mode(void **state, enum lc_mode mode) {
    struct world *world = mem_alloc(sizeof(*world));
    world->node = fake_node_create(0, 0);
    world->mode = mode;
    world->client = connect_to(fake_node_address(world->node), mode, false);
    *state = world;
    return 0;
}

static int setup_batch(void **state) {
    return setup_mode(state, LC_BATCH);
}

static int setup_unary(void **state) {
    return setup_mode(state, LC_UNARY);
}

static int teardown(void **state) {
    struct world *world = *state;
    lc_close(world->client);
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

static struct slice text(const char *s) {
    return slice_from_string(s);
}

static void put(struct world *world, const char *key, const char *value) {
    struct lc_reply reply;
    assert_int_equal(lc_put_wait(world->client, FAKE_KEYSPACE, text(key), text(value), &reply),
                     STATUS_OK);
    assert_int_equal(reply.result.outcome, LC_COMMITTED);
    lc_reply_free(&reply);
}

// --- The plain path ---

static void test_client_puts_gets_deletes(void **state) {
    struct world *world = *state;
    struct lc_reply reply;
    put(world, "a", "1");
    assert_int_equal(lc_get_wait(world->client, FAKE_KEYSPACE, text("a"), &reply), STATUS_OK);
    assert_true(slice_equal(reply.result.rows[0].value, text("1")));
    assert_int_equal(reply.result.row_count, 1);
    assert_int_equal(reply.result.attempts, 1);
    assert_int_equal(reply.result.served_by, 1);
    assert_int_equal(reply.result.certificate.shard, 2);
    assert_int_equal(reply.result.certificate.method, 1);
    assert_true(reply.result.certificate.timestamp > 0 && reply.result.hlc > 0);
    lc_reply_free(&reply);
    assert_int_equal(lc_delete_wait(world->client, FAKE_KEYSPACE, text("a"), &reply), STATUS_OK);
    assert_true(reply.result.timestamp > 0);
    lc_reply_free(&reply);
    assert_int_equal(lc_get_wait(world->client, FAKE_KEYSPACE, text("a"), &reply),
                     STATUS_NOT_FOUND);
    assert_int_equal(reply.result.outcome, LC_COMMITTED);  // the read itself succeeded
    lc_reply_free(&reply);
}

static void test_client_finds_keyspaces(void **state) {
    struct world *world = *state;
    struct err err = {0};
    uint32_t id = 0;
    assert_int_equal(lc_keyspace(world->client, "test", &id, &err), STATUS_OK);
    assert_int_equal(id, FAKE_KEYSPACE);
    assert_int_equal(lc_keyspace(world->client, "nope", &id, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "nope"));
}

static void test_client_conditions(void **state) {
    struct world *world = *state;
    struct lc_reply reply;
    put(world, "a", "1");
    struct lc_condition conditions[] = {
        {.kind = LC_EXISTS, .key = text("a")},
        {.kind = LC_ABSENT, .key = text("b")},
        {.kind = LC_TIMESTAMP_AT_MOST, .key = text("a"), .timestamp = UINT64_MAX},
        {.kind = LC_VERSION_EQUALS, .key = text("b"), .timestamp = 0},
        {.kind = LC_VALUE_EQUALS, .key = text("a"), .value = text("2")}};
    struct lc_mutation mutation = {.kind = LC_DELETE_RANGE, .key = text("a"), .value = text("z")};
    struct lc_commit commit = {.keyspace = FAKE_KEYSPACE,
                               .conditions = conditions,
                               .condition_count = 5,
                               .mutations = &mutation,
                               .mutation_count = 1};
    assert_int_equal(lc_commit_wait(world->client, &commit, 0, &reply), STATUS_CONDITION_FAILED);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    assert_int_equal(reply.result.failed_condition, 4);
    lc_reply_free(&reply);
    commit.condition_count = 4;
    assert_int_equal(lc_commit_wait(world->client, &commit, 0, &reply), STATUS_OK);
    assert_int_equal(reply.result.outcome, LC_COMMITTED);
    lc_reply_free(&reply);
    assert_int_equal(lc_get_wait(world->client, FAKE_KEYSPACE, text("a"), &reply),
                     STATUS_NOT_FOUND);
    lc_reply_free(&reply);
}

static void test_client_reads_many_keys(void **state) {
    struct world *world = *state;
    struct slice keys[200];
    char names[200][8];
    struct lc_reply reply;
    for (uint32_t i = 0; i < 200; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "k%03u", i);
        keys[i] = text(names[i]);
        if (i % 2 == 0) { put(world, names[i], names[i]); }
    }
    struct lc_read read = {.keyspace = FAKE_KEYSPACE,
                           .keys = keys,
                           .key_count = 200,
                           .consistency = LC_STRONG_READ_INDEX};
    assert_int_equal(lc_read_wait(world->client, &read, 0, &reply), STATUS_OK);
    assert_int_equal(reply.result.row_count, 200);
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(reply.result.rows[i].found, i % 2 == 0);
        if (i % 2 == 0) { assert_true(slice_equal(reply.result.rows[i].value, keys[i])); }
    }
    lc_reply_free(&reply);
}

static void test_client_txn_status(void **state) {
    struct world *world = *state;
    struct lc_reply commit;
    struct lc_reply status;
    uint8_t other[LC_TXN_ID_SIZE];
    lc_txn_id_make(other);
    assert_int_equal(lc_put_wait(world->client, FAKE_KEYSPACE, text("a"), text("1"), &commit),
                     STATUS_OK);
    assert_int_equal(
        lc_txn_status_wait(world->client, FAKE_KEYSPACE, commit.result.txn, text("a"), &status),
        STATUS_OK);
    assert_true(status.result.known);
    assert_int_equal(status.result.outcome, LC_COMMITTED);
    assert_true(status.result.timestamp == commit.result.timestamp);
    lc_reply_free(&status);
    assert_int_equal(lc_txn_status_wait(world->client, FAKE_KEYSPACE, other, text("a"), &status),
                     STATUS_OK);
    assert_false(status.result.known);
    assert_int_equal(status.result.outcome, LC_UNKNOWN);
    lc_reply_free(&status);
    lc_reply_free(&commit);
}

static void test_client_refusals_name_the_field(void **state) {
    struct world *world = *state;
    struct lc_reply reply;
    assert_int_equal(lc_get_wait(world->client, FAKE_KEYSPACE, SLICE_EMPTY, &reply),
                     STATUS_INVALID_ARGUMENT);
    assert_true(slice_equal(reply.result.field, text("keys[0]")));
    assert_int_equal(reply.result.limit, 4096);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    assert_int_equal(reply.result.attempts, 1);
    lc_reply_free(&reply);
    assert_int_equal(lc_put_wait(world->client, 99, text("a"), text("b"), &reply),
                     STATUS_NOT_FOUND);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    lc_reply_free(&reply);
}

// --- Sending again ---

// Goal: failures that promise better luck are tried again, under the same id, and applied once.
static void test_client_retries_what_is_safe(void **state) {
    struct world *world = *state;
    static const enum status statuses[] = {STATUS_NOT_LEADER, STATUS_UNAVAILABLE, STATUS_OVERLOADED,
                                           STATUS_ABORTED_RETRY, STATUS_UNKNOWN_OUTCOME};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct lc_reply reply;
        fake_node_fail(world->node, COMMAND_COMMIT, statuses[i], 2);
        assert_int_equal(lc_put_wait(world->client, FAKE_KEYSPACE, text("a"), text("1"), &reply),
                         STATUS_OK);
        assert_int_equal(reply.result.attempts, 3);
        lc_reply_free(&reply);
        assert_int_equal(fake_node_applied(world->node), i + 1);
    }
    struct lc_reply reply;
    fake_node_fail(world->node, COMMAND_READ, STATUS_NOT_SUPPORTED, 1);
    assert_int_equal(lc_get_wait(world->client, FAKE_KEYSPACE, text("a"), &reply),
                     STATUS_NOT_SUPPORTED);
    assert_int_equal(reply.result.attempts, 1);
    assert_true(slice_equal(reply.result.message, text("as the test wants")));
    lc_reply_free(&reply);
}

// Goal: after an answer of unknown outcome, a refusal of the repeat does not make it ABORTED.
static void test_client_unknown_stays_unknown(void **state) {
    struct world *world = *state;
    struct lc_mutation mutation = {.kind = LC_PUT, .key = text("a"), .value = text("1")};
    struct lc_commit commit = {
        .keyspace = FAKE_KEYSPACE, .mutations = &mutation, .mutation_count = 1};
    struct lc_reply reply;
    fake_node_fail(world->node, COMMAND_COMMIT, STATUS_UNKNOWN_OUTCOME, FAKE_FAILURES_MAX);
    assert_int_equal(lc_commit_wait(world->client, &commit, 300, &reply), STATUS_UNKNOWN_OUTCOME);
    assert_int_equal(reply.result.outcome, LC_UNKNOWN);
    assert_true(reply.result.attempts > 1);
    lc_reply_free(&reply);
    // Known refusals only: certainly not applied.
    fake_node_fail(world->node, COMMAND_COMMIT, STATUS_ABORTED_RETRY, FAKE_FAILURES_MAX);
    enum status st = lc_commit_wait(world->client, &commit, 300, &reply);
    assert_true(st == STATUS_ABORTED_RETRY || st == STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    lc_reply_free(&reply);
    assert_int_equal(fake_node_applied(world->node), 0);
}

// Goal: a node that does not answer: reads end DEADLINE_EXCEEDED, commits UNKNOWN_OUTCOME.
static void test_client_deadline_of_a_silent_node(void **state) {
    struct world *world = *state;
    struct lc_mutation mutation = {.kind = LC_PUT, .key = text("a"), .value = text("1")};
    struct lc_commit commit = {
        .keyspace = FAKE_KEYSPACE, .mutations = &mutation, .mutation_count = 1};
    struct slice key = text("a");
    struct lc_read read = {.keyspace = FAKE_KEYSPACE, .keys = &key, .key_count = 1};
    struct lc_reply reply;
    fake_node_hold(world->node, true);
    assert_int_equal(lc_read_wait(world->client, &read, 200, &reply), STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    lc_reply_free(&reply);
    assert_int_equal(lc_commit_wait(world->client, &commit, 200, &reply), STATUS_UNKNOWN_OUTCOME);
    assert_int_equal(reply.result.outcome, LC_UNKNOWN);
    // The fate can be asked for later, by the id.
    fake_node_hold(world->node, false);
    WAIT_UNTIL(fake_node_applied(world->node) == 1);
    struct lc_reply status;
    assert_int_equal(
        lc_txn_status_wait(world->client, FAKE_KEYSPACE, reply.result.txn, text("a"), &status),
        STATUS_OK);
    assert_int_equal(status.result.outcome, LC_COMMITTED);
    lc_reply_free(&status);
    lc_reply_free(&reply);
}

// Goal: a map that points to a node that is not there: requests go elsewhere, and the node is asked
// again when the map says otherwise.
static void test_client_goes_around_a_dead_leader(void **state) {
    struct world *world = *state;
    struct fake_node *dead = fake_node_create(0, 0);
    fake_node_point_to(world->node, fake_node_address(dead));
    struct lc_client *client = connect_to(fake_node_address(world->node), world->mode, false);
    struct lc_reply reply;
    assert_int_equal(lc_put_wait(client, FAKE_KEYSPACE, text("a"), text("1"), &reply), STATUS_OK);
    lc_reply_free(&reply);
    assert_int_equal(fake_node_applied(dead), 1);  // routed to the leader
    fake_node_destroy(dead);
    assert_int_equal(lc_put_wait(client, FAKE_KEYSPACE, text("a"), text("2"), &reply), STATUS_OK);
    lc_reply_free(&reply);
    assert_int_equal(fake_node_applied(world->node), 1);
    lc_close(client);
}

// Goal: nobody there: in batch mode nothing is handed over once the stream is known to be broken,
// so the commit is ABORTED. The first may have been handed to a stream whose end was not yet seen.
static void test_client_without_any_node(void **state) {
    struct world *world = *state;
    struct lc_mutation mutation = {.kind = LC_PUT, .key = text("a"), .value = text("1")};
    struct lc_commit commit = {
        .keyspace = FAKE_KEYSPACE, .mutations = &mutation, .mutation_count = 1};
    struct lc_reply reply;
    put(world, "warm", "up");
    fake_node_destroy(world->node);
    world->node = NULL;
    assert_true(lc_commit_wait(world->client, &commit, 400, &reply) != STATUS_OK);
    assert_true(reply.result.outcome != LC_COMMITTED);
    lc_reply_free(&reply);
    assert_true(lc_commit_wait(world->client, &commit, 400, &reply) != STATUS_OK);
    if (world->mode == LC_BATCH) {
        assert_true(reply.result.outcome == LC_ABORTED);
    } else {
        assert_true(reply.result.outcome != LC_COMMITTED);
    }
    assert_true(reply.result.message.size > 0);
    lc_reply_free(&reply);
}

static void test_client_connect_fails_in_time(void **state) {
    (void)state;
    const char *addresses[] = {"127.0.0.1:1", "127.0.0.1:2"};
    struct lc_client *client = NULL;
    struct err err = {0};
    struct lc_config config = {.addresses = addresses, .address_count = 2, .timeout_ms = 300};
    enum status st = lc_connect(&config, &client, &err);
    assert_true(st == STATUS_UNAVAILABLE || st == STATUS_DEADLINE_EXCEEDED);
    assert_true(strlen(err.message) > 0);
    assert_null(client);
}

static void test_client_connect_tries_every_address(void **state) {
    struct world *world = *state;
    const char *addresses[] = {"127.0.0.1:1", fake_node_address(world->node)};
    struct lc_client *client = NULL;
    struct err err = {0};
    struct lc_config config = {
        .addresses = addresses, .address_count = 2, .mode = world->mode, .via_gateway = true};
    assert_int_equal(lc_connect(&config, &client, &err), STATUS_OK);
    struct lc_reply reply;
    assert_int_equal(lc_put_wait(client, FAKE_KEYSPACE, text("a"), text("1"), &reply), STATUS_OK);
    lc_reply_free(&reply);
    lc_close(client);
}

// --- Many at once ---

struct storm {
    struct lc_client *client;
    atomic_uint done;
    atomic_uint failed;
    atomic_uint unknown;
    atomic_uint to_start;
};

static void storm_start(struct storm *storm);

static void storm_done(void *ctx, const struct lc_result *result) {
    struct storm *storm = ctx;
    if (result->status != STATUS_OK) { atomic_fetch_add(&storm->failed, 1); }
    if (result->outcome == LC_UNKNOWN) { atomic_fetch_add(&storm->unknown, 1); }
    storm_start(storm);
    atomic_fetch_add(&storm->done, 1);
}

static void storm_start(struct storm *storm) {
    unsigned left = atomic_load(&storm->to_start);
    while (left > 0 && !atomic_compare_exchange_weak(&storm->to_start, &left, left - 1)) {
        continue;
    }
    if (left == 0) { return; }
    char key[16];
    (void)snprintf(key, sizeof(key), "k%u", left % 97);
    struct lc_mutation mutation = {.kind = LC_PUT, .key = text(key), .value = text("v")};
    struct lc_commit commit = {
        .keyspace = FAKE_KEYSPACE, .mutations = &mutation, .mutation_count = 1};
    struct lc_call call = {.done = storm_done, .ctx = storm};
    assert_int_equal(lc_commit(storm->client, &commit, &call), STATUS_OK);
}

// Goal: every request of a storm ends once and applies once, and they share messages.
static void test_client_storm_of_requests(void **state) {
    struct world *world = *state;
    struct storm storm = {.client = world->client};
    struct lc_stats stats;
    atomic_store(&storm.to_start, 3000);
    for (int i = 0; i < 300; i++) {
        storm_start(&storm);
    }
    WAIT_UNTIL(atomic_load(&storm.done) == 3000);
    assert_int_equal(atomic_load(&storm.failed), 0);
    assert_int_equal(fake_node_applied(world->node), 3000);
    lc_stats(world->client, &stats);
    WAIT_UNTIL((lc_stats(world->client, &stats), stats.in_flight == 0));
    assert_int_equal(stats.requests, 3000);
    if (world->mode == LC_BATCH) {
        assert_true(stats.messages > 0 && stats.messages < 3000);
    } else {
        assert_int_equal(stats.messages, 0);
    }
}

static void *storm_thread(void *arg) {
    struct storm *storm = arg;
    for (int i = 0; i < 50; i++) {
        struct lc_reply reply;
        enum status st =
            lc_put_wait(storm->client, FAKE_KEYSPACE, text("shared"), text("v"), &reply);
        if (st != STATUS_OK) { atomic_fetch_add(&storm->failed, 1); }
        lc_reply_free(&reply);
    }
    return NULL;
}

static void test_client_many_threads_may_wait(void **state) {
    struct world *world = *state;
    struct storm storm = {.client = world->client};
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, storm_thread, &storm), 0);
    }
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&storm.failed), 0);
    assert_int_equal(fake_node_applied(world->node), 400);
}

// Goal: closing ends what is in flight, once each: handed over, hence UNKNOWN.
static void test_client_close_ends_requests(void **state) {
    struct world *world = *state;
    struct storm storm = {.client = connect_to(fake_node_address(world->node), world->mode, false)};
    fake_node_hold(world->node, true);
    atomic_store(&storm.to_start, 20);
    for (int i = 0; i < 20; i++) {
        storm_start(&storm);
    }
    WAIT_UNTIL(fake_node_held(world->node) == 20);
    lc_close(storm.client);
    assert_int_equal(atomic_load(&storm.done), 20);
    assert_int_equal(atomic_load(&storm.unknown), 20);
}

// Goal: the connection breaks with commits in flight: none of them is said to be ABORTED.
static void test_client_broken_connection_with_commits(void **state) {
    struct world *world = *state;
    struct storm storm = {.client = world->client};
    fake_node_hold(world->node, true);
    atomic_store(&storm.to_start, 20);
    for (int i = 0; i < 20; i++) {
        storm_start(&storm);
    }
    WAIT_UNTIL(fake_node_held(world->node) == 20);
    rpc_stop(fake_node_server(world->node), 1);  // cancels what is held
    assert_int_equal(fake_node_applied(world->node), 0);
    fake_node_destroy_stopped(world->node);
    world->node = fake_node_create(0, 0);
    lc_close(world->client);
    world->client = connect_to(fake_node_address(world->node), world->mode, false);
    assert_int_equal(atomic_load(&storm.done), 20);
    assert_int_equal(atomic_load(&storm.unknown), 20);
}

static void test_client_outstanding_is_bounded(void **state) {
    struct world *world = *state;
    const char *address = fake_node_address(world->node);
    struct err err = {0};
    struct storm storm = {.client = NULL};
    struct lc_config config = {.addresses = &address, .address_count = 1, .outstanding_max = 3};
    assert_int_equal(lc_connect(&config, &storm.client, &err), STATUS_OK);
    fake_node_hold(world->node, true);
    atomic_store(&storm.to_start, 3);
    for (int i = 0; i < 3; i++) {
        storm_start(&storm);
    }
    struct lc_reply reply;
    assert_int_equal(lc_get_wait(storm.client, FAKE_KEYSPACE, text("a"), &reply),
                     STATUS_OVERLOADED);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    lc_reply_free(&reply);
    fake_node_hold(world->node, false);
    WAIT_UNTIL(atomic_load(&storm.done) == 3);
    lc_close(storm.client);
}

// --- Scans ---

// Appends the key and a blank; returns how much.
static size_t append_key(char *out, const struct lc_row *row) {
    memcpy(out, row->key.data, row->key.size);
    out[row->key.size] = ' ';
    out[row->key.size + 1] = 0;
    return row->key.size + 1;
}

static uint32_t scan_all(struct world *world, const struct lc_scan_options *options, char *out) {
    struct lc_scan *scan = NULL;
    struct err err = {0};
    const struct lc_row *row = NULL;
    uint32_t count = 0;
    assert_int_equal(lc_scan_open(world->client, options, &scan, &err), STATUS_OK);
    do {
        assert_int_equal(lc_scan_next(scan, &row, &err), STATUS_OK);
        if (row != NULL) {
            out += append_key(out, row);
            count++;
        }
    } while (row != NULL);
    assert_int_equal(lc_scan_next(scan, &row, &err), STATUS_OK);
    assert_null(row);
    assert_int_equal(lc_scan_certificate(scan)->shard, 2);
    lc_scan_close(scan);
    return count;
}

static void fill(struct world *world, uint32_t count) {
    char key[16];
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(key, sizeof(key), "%02u", i);
        put(world, key, "v");
    }
}

static void test_client_scans(void **state) {
    struct world *world = *state;
    char rows[512] = {0};
    fill(world, 12);
    fake_node_border(world->node, 5);
    struct lc_scan_options options = {.keyspace = FAKE_KEYSPACE};
    assert_int_equal(scan_all(world, &options, rows), 12);
    assert_string_equal(rows, "00 01 02 03 04 05 06 07 08 09 10 11 ");
    memset(rows, 0, sizeof(rows));
    options.reverse = true;
    options.start = text("02");
    options.end = text("08");
    options.limit = 4;
    assert_int_equal(scan_all(world, &options, rows), 4);
    assert_string_equal(rows, "07 06 05 04 ");
}

// Goal: streams that break are taken up again: no row lost, none twice.
static void test_client_scan_goes_on_after_failures(void **state) {
    struct world *world = *state;
    char rows[512] = {0};
    fill(world, 12);
    fake_node_border(world->node, 3);
    struct lc_scan_options options = {.keyspace = FAKE_KEYSPACE, .limit = 11};
    for (int reverse = 0; reverse < 2; reverse++) {
        struct lc_scan *scan = NULL;
        struct err err = {0};
        const struct lc_row *row = NULL;
        char *at = rows;
        memset(rows, 0, sizeof(rows));
        options.reverse = reverse == 1;
        assert_int_equal(lc_scan_open(world->client, &options, &scan, &err), STATUS_OK);
        for (uint32_t i = 0; i < 11; i++) {
            if (i % 4 == 1) { fake_node_fail(world->node, COMMAND_SCAN, STATUS_UNAVAILABLE, 1); }
            assert_int_equal(lc_scan_next(scan, &row, &err), STATUS_OK);
            assert_non_null(row);
            at += append_key(at, row);
        }
        assert_int_equal(lc_scan_next(scan, &row, &err), STATUS_OK);
        assert_null(row);
        lc_scan_close(scan);
        assert_string_equal(rows, reverse == 0 ? "00 01 02 03 04 05 06 07 08 09 10 "
                                               : "11 10 09 08 07 06 05 04 03 02 01 ");
    }
}

static void test_client_scan_may_be_left(void **state) {
    struct world *world = *state;
    struct lc_scan *scan = NULL;
    struct err err = {0};
    const struct lc_row *row = NULL;
    fill(world, 12);
    fake_node_border(world->node, 1);
    struct lc_scan_options options = {.keyspace = FAKE_KEYSPACE};
    assert_int_equal(lc_scan_open(world->client, &options, &scan, &err), STATUS_OK);
    assert_int_equal(lc_scan_next(scan, &row, &err), STATUS_OK);
    lc_scan_close(scan);
    options.keyspace = 99;
    assert_int_equal(lc_scan_open(world->client, &options, &scan, &err), STATUS_OK);
    assert_int_equal(lc_scan_next(scan, &row, &err), STATUS_NOT_FOUND);
    assert_true(strlen(err.message) > 0);
    lc_scan_close(scan);
}

// --- Admin ---

static void test_client_admin_calls(void **state) {
    struct world *world = *state;
    struct err err = {0};
    Lightcone__V1__MapGetRequest ask = LIGHTCONE__V1__MAP_GET_REQUEST__INIT;
    Lightcone__V1__MapGetResponse *map = NULL;
    assert_int_equal(lc_admin_map_get(world->client, 0, &ask, &map, &err), STATUS_OK);
    assert_int_equal(map->n_shards, 1);
    assert_string_equal(map->keyspaces[0]->name, "test");
    lightcone__v1__map_get_response__free_unpacked(map, NULL);
    assert_int_equal(lc_admin_map_get(world->client, 77, &ask, &map, &err), STATUS_NOT_FOUND);
    Lightcone__V1__NodeListRequest list = LIGHTCONE__V1__NODE_LIST_REQUEST__INIT;
    Lightcone__V1__NodeListResponse *nodes = NULL;
    assert_int_equal(lc_admin_node_list(world->client, 0, &list, &nodes, &err),
                     STATUS_NOT_SUPPORTED);
    assert_non_null(strstr(err.message, "NodeList"));
    struct lc_admin_call call = {.method = "MapGet",
                                 .request = &ask.base,
                                 .response = &lightcone__v1__map_get_response__descriptor,
                                 .timeout_ms = 5000};
    ProtobufCMessage *response = NULL;
    assert_int_equal(lc_admin_direct(fake_node_address(world->node), &call, &response, &err),
                     STATUS_OK);
    protobuf_c_message_free_unpacked(response, NULL);
    call.timeout_ms = 200;
    assert_int_equal(lc_admin_direct("127.0.0.1:1", &call, &response, &err), STATUS_UNAVAILABLE);
}

#define BATCH(test) \
    { #test "_batch", test, setup_batch, teardown, NULL }
#define UNARY(test) \
    { #test "_unary", test, setup_unary, teardown, NULL }
#define BOTH(test) BATCH(test), UNARY(test)

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH(test_client_puts_gets_deletes),
        BATCH(test_client_finds_keyspaces),
        BOTH(test_client_conditions),
        BOTH(test_client_reads_many_keys),
        BOTH(test_client_txn_status),
        BOTH(test_client_refusals_name_the_field),
        BOTH(test_client_retries_what_is_safe),
        BOTH(test_client_unknown_stays_unknown),
        BOTH(test_client_deadline_of_a_silent_node),
        BOTH(test_client_goes_around_a_dead_leader),
        BOTH(test_client_without_any_node),
        cmocka_unit_test(test_client_connect_fails_in_time),
        BOTH(test_client_connect_tries_every_address),
        BOTH(test_client_storm_of_requests),
        BOTH(test_client_many_threads_may_wait),
        BOTH(test_client_close_ends_requests),
        BATCH(test_client_broken_connection_with_commits),
        BATCH(test_client_outstanding_is_bounded),
        BATCH(test_client_scans),
        BATCH(test_client_scan_goes_on_after_failures),
        BATCH(test_client_scan_may_be_left),
        BATCH(test_client_admin_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
