// SPDX-License-Identifier: Apache-2.0
// Consistencies: what goes to the server, which node is asked, and what the session token knows.
#include "tests/unit/api/client/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct lc_result read_one(struct lc_client *client, struct lc_read *read) {
    struct slice key = world_text("a");
    struct lc_reply reply;
    read->keyspace = FAKE_KEYSPACE;
    read->keys = &key;
    read->key_count = 1;
    assert_int_equal(lc_read_wait(client, read, 0, &reply), STATUS_OK);
    struct lc_result result = reply.result;
    lc_reply_free(&reply);
    return result;
}

static void expect_asked(struct fake_node *node, enum command_consistency consistency,
                         uint64_t at_least, uint64_t at, uint64_t staleness_us) {
    struct command_snapshot asked = fake_node_snapshot(node);
    assert_int_equal(asked.consistency, consistency);
    assert_true(asked.at_least.v == at_least);
    assert_true(asked.at.v == at);
    assert_true(asked.staleness_us == staleness_us);
}

// Goal: every consistency arrives as it was asked for, with its parameter.
static void test_client_consistencies_arrive(void **state) {
    struct world *world = *state;
    uint64_t put_at = world_put(world->client, "a", "1");
    static const enum lc_method methods[] = {
        [LC_STRONG] = LC_METHOD_LEASE,   [LC_STRONG_READ_INDEX] = LC_METHOD_LEASE,
        [LC_STRICT] = LC_METHOD_LEASE,   [LC_SESSION] = LC_METHOD_CLOSED,
        [LC_BOUNDED] = LC_METHOD_CLOSED, [LC_AT] = LC_METHOD_CLOSED,
        [LC_ANY] = LC_METHOD_APPLIED};
    for (uint32_t i = 0; i <= LC_ANY; i++) {
        struct lc_read read = {.consistency = (enum lc_consistency)i};
        if (read.consistency == LC_AT) { read.at = put_at; }
        if (read.consistency == LC_BOUNDED) { read.max_staleness_us = 1234; }
        struct lc_result result = read_one(world->client, &read);
        assert_int_equal(result.certificate.method, methods[i]);
        expect_asked(world->node, (enum command_consistency)i,
                     read.consistency == LC_SESSION ? lc_session_token(world->client) : 0, read.at,
                     read.max_staleness_us);
    }
    struct lc_read read = {.consistency = LC_STRONG, .at_least = 77};
    (void)read_one(world->client, &read);
    expect_asked(world->node, COMMAND_STRONG, 77, 0, 0);
}

// Goal: a session read asks for what this client wrote and read; another client's token is taken
// over; one that the caller gives stands.
static void test_client_session_token(void **state) {
    struct world *world = *state;
    const char *address = fake_node_address(world->node);
    struct lc_client *other = world_connect(&address, 1, world->mode);
    assert_true(lc_session_token(world->client) == 0);
    struct lc_read read = {.consistency = LC_SESSION};
    uint64_t put_at = world_put(world->client, "a", "1");
    assert_true(lc_session_token(world->client) == put_at);
    (void)read_one(world->client, &read);
    expect_asked(world->node, COMMAND_SESSION, put_at, 0, 0);
    // The other client has seen nothing, then what it reads, then what it is told.
    assert_true(lc_session_token(other) == 0);
    uint64_t second = world_put(world->client, "a", "2");
    struct lc_result seen = read_one(other, &read);
    expect_asked(world->node, COMMAND_SESSION, 0, 0, 0);
    assert_true(lc_session_token(other) == seen.certificate.timestamp);
    uint64_t third = world_put(world->client, "a", "3");
    assert_true(third > second && lc_session_token(other) < third);
    lc_session_raise(other, third);
    lc_session_raise(other, 1);
    assert_true(lc_session_token(other) == third);
    (void)read_one(other, &read);
    expect_asked(world->node, COMMAND_SESSION, third, 0, 0);
    read.at_least = put_at;
    (void)read_one(other, &read);
    expect_asked(world->node, COMMAND_SESSION, put_at, 0, 0);
    lc_close(other);
}

// Goal: strong reads go to the leader; others to the replica that the caller named first.
static void test_client_reads_at_a_follower(void **state) {
    struct world *world = *state;
    struct fake_node *follower = fake_node_create(0, 0);
    const char *addresses[] = {fake_node_address(follower), fake_node_address(world->node)};
    for (int i = 0; i < 2; i++) {
        struct fake_node *node = i == 0 ? world->node : follower;
        fake_node_point_to(node, addresses[1]);
        fake_node_follower(node, addresses[0]);
    }
    struct lc_client *client = world_connect(addresses, 2, world->mode);
    uint32_t before = fake_node_started(follower);
    struct lc_read read = {.consistency = LC_STRONG};
    (void)read_one(client, &read);
    read.consistency = LC_STRICT;
    (void)read_one(client, &read);
    (void)world_put(client, "a", "1");
    assert_int_equal(fake_node_started(follower), before);
    assert_int_equal(fake_node_applied(world->node), 1);
    static const enum lc_consistency anywhere[] = {LC_SESSION, LC_BOUNDED, LC_AT, LC_ANY};
    for (size_t i = 0; i < sizeof(anywhere) / sizeof(anywhere[0]); i++) {
        uint32_t at_leader = fake_node_started(world->node);
        read = (struct lc_read){.consistency = anywhere[i]};
        if (anywhere[i] == LC_AT) { read.at = 5; }
        if (anywhere[i] == LC_BOUNDED) { read.max_staleness_us = 5; }
        (void)read_one(client, &read);
        assert_int_equal(fake_node_started(follower), before + i + 1);
        assert_int_equal(fake_node_started(world->node), at_leader);
    }
    // One that fails is asked elsewhere.
    fake_node_fail(follower, COMMAND_READ, STATUS_UNAVAILABLE, 1);
    uint32_t at_leader = fake_node_started(world->node);
    struct lc_result result = read_one(client, &read);
    assert_int_equal(result.attempts, 2);
    assert_int_equal(fake_node_started(world->node), at_leader + 1);
    lc_close(client);
    fake_node_destroy(follower);
}

static uint32_t scan_rows(struct lc_client *client, const struct lc_scan_options *options) {
    struct lc_scan *scan = NULL;
    struct err err = {0};
    const struct lc_row *row = NULL;
    uint32_t count = 0;
    assert_int_equal(lc_scan_open(client, options, &scan, &err), STATUS_OK);
    do {
        assert_int_equal(lc_scan_next(scan, &row, &err), STATUS_OK);
        count += row != NULL ? 1 : 0;
    } while (row != NULL);
    lc_scan_close(scan);
    return count;
}

// Goal: scans take the same options, and their snapshots count for the session.
static void test_client_scans_with_a_consistency(void **state) {
    struct world *world = *state;
    const char *address = fake_node_address(world->node);
    struct lc_client *other = world_connect(&address, 1, world->mode);
    uint64_t put_at = world_put(world->client, "a", "1");
    struct lc_scan_options options = {.keyspace = FAKE_KEYSPACE, .consistency = LC_SESSION};
    assert_int_equal(scan_rows(world->client, &options), 1);
    expect_asked(world->node, COMMAND_SESSION, put_at, 0, 0);
    assert_int_equal(scan_rows(other, &options), 1);
    assert_true(lc_session_token(other) == put_at);
    options = (struct lc_scan_options){
        .keyspace = FAKE_KEYSPACE, .consistency = LC_BOUNDED, .max_staleness_us = 99};
    assert_int_equal(scan_rows(other, &options), 1);
    expect_asked(world->node, COMMAND_BOUNDED, 0, 0, 99);
    options = (struct lc_scan_options){
        .keyspace = FAKE_KEYSPACE, .consistency = LC_AT, .at = put_at, .at_least = put_at};
    assert_int_equal(scan_rows(other, &options), 1);
    expect_asked(world->node, COMMAND_AT, put_at, put_at, 0);
    lc_close(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_BOTH(test_client_consistencies_arrive),
        WORLD_BOTH(test_client_session_token),
        WORLD_BOTH(test_client_reads_at_a_follower),
        WORLD_BATCH(test_client_scans_with_a_consistency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
