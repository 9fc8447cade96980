// SPDX-License-Identifier: Apache-2.0
// Reads over several shards, over a session whose answers are the test's.
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "tests/unit/txn/gateway/gateway_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct world *world;
    struct client client;
};

static int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof(*f));
    mark_reset_all();
    f->world = world_create(2, 2);
    client_init(&f->client);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    world_destroy(f->world);
    client_deinit(&f->client);
    mem_free(f);
    return 0;
}

// B, A, B, C, A: the order of the request is none of the map's.
static void start_with(struct fixture *f, struct command_snapshot snapshot) {
    const struct slice keys[] = {KEY("h"), KEY("a"), KEY("i"), KEY("z"), KEY("b")};
    const struct command_read read = {.snapshot = snapshot, .key_count = 5, .keys = keys};
    client_read(f->world, &f->client, &read);
}

static struct session_call *call_of(struct fixture *f, struct shard_id shard,
                                    struct command_snapshot *out) {
    struct session_call *call = world_find(f->world, COMMAND_READ, shard);
    assert_non_null(call);
    assert_int_equal(command_snapshot_peek(call->payload, out), STATUS_OK);
    return call;
}

struct reply {
    uint64_t version;  // of all rows
    uint64_t ts;       // of the snapshot
    uint64_t closed;
    uint64_t contact;
    uint64_t uncertain;
};

// One row for each key: its value is the key.
static void reply(struct fixture *f, struct shard_id shard, const struct reply *with) {
    struct command_snapshot snapshot;
    struct session_call *call = call_of(f, shard, &snapshot);
    struct command_read_reader reader;
    struct buf rows;
    struct codec_writer w;
    buf_init(&rows, 1 << 20);
    codec_writer_init(&w, &rows);
    assert_int_equal(command_read_open(&reader, call->payload), STATUS_OK);
    for (uint32_t i = 0; i < reader.key_count && with->uncertain == 0; i++) {
        struct command_row row = {.found = true, .version = {with->version}};
        assert_int_equal(command_read_next(&reader, &row.value), STATUS_OK);
        command_read_row_encode(&w, &row);
    }
    const struct session_result result = {.status = STATUS_OK,
                                          .certificate = {.method = COMMAND_METHOD_LEASE,
                                                          .shard = shard,
                                                          .timestamp = {with->ts},
                                                          .closed = {with->closed}},
                                          .payload = buf_slice(&rows),
                                          .contact = {with->contact},
                                          .uncertain = {with->uncertain}};
    world_end(f->world, call, &result);
    buf_deinit(&rows);
}

static void check_rows(const struct fixture *f, const uint64_t versions[5]) {
    const struct slice keys[] = {KEY("h"), KEY("a"), KEY("i"), KEY("z"), KEY("b")};
    struct codec_reader r;
    assert_int_equal(f->client.ended, 1);
    assert_int_equal(f->client.result.status, STATUS_OK);
    codec_reader_init(&r, buf_slice(&f->client.told));
    for (uint32_t i = 0; i < 5; i++) {
        struct command_row row;
        assert_int_equal(command_read_row_decode(&r, &row), STATUS_OK);
        assert_true(slice_equal(row.value, keys[i]));
        assert_int_equal(row.version.v, versions[i]);
    }
    assert_int_equal(codec_remaining(&r), 0);
    assert_int_equal(gateway_stats(f->world->gateway).in_flight, 0);
}

static void test_gateway_read_strong_at_one_snapshot(void **state) {
    struct fixture *f = *state;
    struct command_snapshot a;
    struct command_snapshot b;
    struct command_snapshot c;
    start_with(f, (struct command_snapshot){.consistency = COMMAND_STRONG});
    (void)call_of(f, WORLD_A, &a);
    (void)call_of(f, WORLD_B, &b);
    (void)call_of(f, WORLD_C, &c);
    assert_true(a.at.v != 0 && a.at.v == b.at.v && b.at.v == c.at.v);
    assert_int_equal(a.contact.v, 0);
    assert_int_equal(a.consistency, COMMAND_STRONG);
    reply(f, WORLD_C, &(struct reply){.version = 3, .ts = c.at.v, .closed = 70});
    reply(f, WORLD_A, &(struct reply){.version = 1, .ts = a.at.v, .closed = 50});
    assert_int_equal(f->client.ended, 0);
    reply(f, WORLD_B, &(struct reply){.version = 2, .ts = b.at.v, .closed = 60});
    check_rows(f, (const uint64_t[]){2, 1, 2, 3, 1});
    assert_int_equal(f->client.result.certificate.method, COMMAND_METHOD_LEASE);
    assert_int_equal(f->client.result.certificate.shard.v, WORLD_B.v);
    assert_int_equal(f->client.result.certificate.timestamp.v, a.at.v);
    assert_int_equal(f->client.result.certificate.closed.v, 50);
    assert_int_equal(gateway_stats(f->world->gateway).reads_many, 1);
    assert_int_equal(gateway_stats(f->world->gateway).read_rounds, 0);
}

static void test_gateway_read_on_one_shard_goes_through(void **state) {
    struct fixture *f = *state;
    const struct slice keys[] = {KEY("h"), KEY("i")};
    const struct command_read read = {.key_count = 2, .keys = keys};
    client_read(f->world, &f->client, &read);
    assert_ptr_equal(world_find(f->world, COMMAND_READ, WORLD_B), &f->client.call);
    gateway_cancel(f->world->gateway, &f->client.call);
    assert_int_equal(f->client.result.status, STATUS_CANCELLED);
}

// Somebody may have been acknowledged above r: all is read again, at that, with the first contacts.
static void test_gateway_read_raises_the_snapshot(void **state) {
    struct fixture *f = *state;
    struct command_snapshot first;
    struct command_snapshot again;
    start_with(f, (struct command_snapshot){.consistency = COMMAND_STRONG_READ_INDEX});
    (void)call_of(f, WORLD_A, &first);
    assert_int_equal(first.consistency, COMMAND_STRONG_READ_INDEX);
    const uint64_t r = first.at.v;
    reply(f, WORLD_A, &(struct reply){.contact = r + 5, .uncertain = r + 100});
    reply(f, WORLD_B, &(struct reply){.version = 1, .contact = r + 6});
    reply(f, WORLD_C, &(struct reply){.contact = r + 7, .uncertain = r + 90});
    assert_int_equal(f->client.ended, 0);
    (void)call_of(f, WORLD_A, &again);
    assert_int_equal(again.at.v, r + 100);
    assert_int_equal(again.contact.v, r + 5);
    (void)call_of(f, WORLD_B, &again);
    assert_int_equal(again.contact.v, r + 6);
    reply(f, WORLD_A, &(struct reply){.version = 1, .contact = r + 500});
    reply(f, WORLD_B, &(struct reply){.version = 2, .contact = r + 500});
    reply(f, WORLD_C, &(struct reply){.contact = r + 500, .uncertain = r + 101});
    (void)call_of(f, WORLD_C, &again);
    assert_int_equal(again.contact.v, r + 7);
    reply(f, WORLD_A, &(struct reply){.version = 1});
    reply(f, WORLD_B, &(struct reply){.version = 2});
    reply(f, WORLD_C, &(struct reply){.version = 3});
    check_rows(f, (const uint64_t[]){2, 1, 2, 3, 1});
    assert_int_equal(f->client.result.certificate.timestamp.v, r + 101);
    assert_int_equal(mark_count("gateway.read_raised"), 2);
    assert_int_equal(gateway_stats(f->world->gateway).read_rounds, 2);
}

static void test_gateway_read_does_not_chase_for_ever(void **state) {
    struct fixture *f = *state;
    start_with(f, (struct command_snapshot){.consistency = COMMAND_STRONG});
    for (uint32_t i = 0; i < 100 && f->client.ended == 0; i++) {
        struct command_snapshot now;
        (void)call_of(f, WORLD_A, &now);
        reply(f, WORLD_A, &(struct reply){.contact = 1, .uncertain = now.at.v + 1});
        reply(f, WORLD_B, &(struct reply){.version = 1, .contact = 1});
        reply(f, WORLD_C, &(struct reply){.version = 1, .contact = 1});
    }
    assert_int_equal(f->client.result.status, STATUS_ABORTED_RETRY);
    assert_int_equal(mark_count("gateway.read_rounds"), 1);
}

// A snapshot that the caller keeps is the caller's to raise.
static void test_gateway_read_at_a_snapshot_of_the_caller(void **state) {
    struct fixture *f = *state;
    struct command_snapshot a;
    start_with(f, (struct command_snapshot){.consistency = COMMAND_STRONG, .at = {1234}});
    (void)call_of(f, WORLD_A, &a);
    assert_int_equal(a.at.v, 1234);
    assert_int_equal(a.contact.v, 0);
    reply(f, WORLD_A, &(struct reply){.version = 1});
    reply(f, WORLD_B, &(struct reply){.contact = 1, .uncertain = 2000});
    reply(f, WORLD_C, &(struct reply){.contact = 1, .uncertain = 1999});
    assert_int_equal(f->client.result.status, STATUS_OK);
    assert_int_equal(f->client.result.uncertain.v, 2000);
    assert_int_equal(f->client.told.size, 0);
}

static void test_gateway_read_strict_validates(void **state) {
    struct fixture *f = *state;
    struct command_snapshot a;
    start_with(f, (struct command_snapshot){.consistency = COMMAND_STRICT});
    (void)call_of(f, WORLD_A, &a);
    assert_int_equal(a.consistency, COMMAND_STRONG);
    const uint64_t r = a.at.v;
    for (uint32_t round = 0; round < 2; round++) {
        reply(f, WORLD_A, &(struct reply){.version = 1, .contact = 9});
        reply(f, WORLD_B, &(struct reply){.version = 2, .contact = 9});
        reply(f, WORLD_C, &(struct reply){.version = 3, .contact = 9});
        assert_int_equal(f->client.ended, 0);
        (void)call_of(f, WORLD_A, &a);
        assert_int_equal(a.at.v, 0);
        assert_int_equal(a.contact.v, 0);
        assert_int_equal(a.consistency, COMMAND_STRONG);
        reply(f, WORLD_A, &(struct reply){.version = 1});
        reply(f, WORLD_B, &(struct reply){.version = round == 0 ? 4 : 2});
        reply(f, WORLD_C, &(struct reply){.version = 3});
        if (round == 1) { continue; }
        // B changed: as if nothing had been asked.
        assert_int_equal(f->client.ended, 0);
        assert_int_equal(mark_count("gateway.read_invalid"), 1);
        (void)call_of(f, WORLD_A, &a);
        assert_true(a.at.v > r);
        assert_int_equal(a.contact.v, 0);
    }
    check_rows(f, (const uint64_t[]){2, 1, 2, 3, 1});
}

static void test_gateway_read_at_a_timestamp_and_with_a_token(void **state) {
    struct fixture *f = *state;
    const struct command_snapshot asked[] = {{.consistency = COMMAND_AT, .at = {77}},
                                             {.consistency = COMMAND_SESSION, .at_least = {77}}};
    for (uint32_t i = 0; i < 2; i++) {
        struct command_snapshot a;
        start_with(f, asked[i]);
        (void)call_of(f, WORLD_A, &a);
        assert_int_equal(a.consistency, COMMAND_AT);
        assert_int_equal(a.at.v, 77);
        assert_int_equal(a.at_least.v, 0);
        reply(f, WORLD_A, &(struct reply){.version = 1, .ts = 77, .closed = 80});
        reply(f, WORLD_B, &(struct reply){.version = 2, .ts = 77, .closed = 78});
        reply(f, WORLD_C, &(struct reply){.version = 3, .ts = 77, .closed = 90});
        check_rows(f, (const uint64_t[]){2, 1, 2, 3, 1});
        assert_int_equal(f->client.result.certificate.timestamp.v, 77);
        assert_int_equal(f->client.result.certificate.closed.v, 78);
    }
}

// Everybody at what it has; then those that are ahead, at what the last one has.
static void test_gateway_read_bounded_at_the_smallest(void **state) {
    struct fixture *f = *state;
    const struct command_snapshot asked[] = {{.consistency = COMMAND_BOUNDED, .staleness_us = 5000},
                                             {.consistency = COMMAND_ANY},
                                             {.consistency = COMMAND_SESSION}};
    for (uint32_t i = 0; i < 3; i++) {
        struct command_snapshot a;
        start_with(f, asked[i]);
        (void)call_of(f, WORLD_A, &a);
        assert_int_equal(a.consistency, asked[i].consistency);
        assert_int_equal(a.staleness_us, asked[i].staleness_us);
        reply(f, WORLD_A, &(struct reply){.version = 9, .ts = 90, .closed = 90});
        reply(f, WORLD_B, &(struct reply){.version = 2, .ts = 60, .closed = 60});
        reply(f, WORLD_C, &(struct reply){.version = 9, .ts = 61, .closed = 61});
        assert_int_equal(f->client.ended, 0);
        assert_null(world_find(f->world, COMMAND_READ, WORLD_B));
        (void)call_of(f, WORLD_A, &a);
        assert_int_equal(a.consistency, COMMAND_AT);
        assert_int_equal(a.at.v, 60);
        assert_int_equal(a.staleness_us, 0);
        reply(f, WORLD_A, &(struct reply){.version = 1, .ts = 60, .closed = 90});
        reply(f, WORLD_C, &(struct reply){.version = 3, .ts = 60, .closed = 61});
        check_rows(f, (const uint64_t[]){2, 1, 2, 3, 1});
        assert_int_equal(f->client.result.certificate.timestamp.v, 60);
    }
    // All at the same: that is it.
    start_with(f, asked[1]);
    reply(f, WORLD_A, &(struct reply){.version = 1, .ts = 60, .closed = 90});
    reply(f, WORLD_B, &(struct reply){.version = 2, .ts = 60, .closed = 60});
    reply(f, WORLD_C, &(struct reply){.version = 3, .ts = 60, .closed = 61});
    check_rows(f, (const uint64_t[]){2, 1, 2, 3, 1});
}

static void test_gateway_read_fails_with_its_parts(void **state) {
    struct fixture *f = *state;
    start_with(f, (struct command_snapshot){.consistency = COMMAND_STRONG});
    reply(f, WORLD_A, &(struct reply){.version = 1});
    world_silence(f->world, world_find(f->world, COMMAND_READ, WORLD_B), STATUS_CLOCK_AHEAD);
    assert_int_equal(f->client.result.status, STATUS_CLOCK_AHEAD);
    assert_string_equal(f->client.detail, "silence");
    assert_int_equal(f->world->call_count, 0);
    // At once, in the middle of asking.
    f->world->refuse = STATUS_OVERLOADED;
    start_with(f, (struct command_snapshot){.consistency = COMMAND_STRONG});
    assert_int_equal(f->client.result.status, STATUS_OVERLOADED);
    assert_int_equal(f->client.ended, 1);
    f->world->refuse = STATUS_OK;
    // At the deadline, when cancelled, and when there are too many.
    start_with(f, (struct command_snapshot){.consistency = COMMAND_STRONG});
    world_advance(f->world, 1000);
    assert_int_equal(f->client.result.status, STATUS_DEADLINE_EXCEEDED);
    start_with(f, (struct command_snapshot){.consistency = COMMAND_STRONG});
    gateway_cancel(f->world->gateway, &f->client.call);
    assert_int_equal(f->client.result.status, STATUS_CANCELLED);
    struct fixture more[2];
    for (uint32_t i = 0; i < 2; i++) {
        more[i].world = f->world;
        client_init(&more[i].client);
        start_with(&more[i], (struct command_snapshot){.consistency = COMMAND_STRONG});
    }
    start_with(f, (struct command_snapshot){.consistency = COMMAND_STRONG});
    assert_int_equal(f->client.result.status, STATUS_OVERLOADED);
    for (uint32_t i = 0; i < 2; i++) {
        gateway_cancel(f->world->gateway, &more[i].client.call);
        client_deinit(&more[i].client);
    }
    assert_int_equal(f->world->call_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_gateway_read_strong_at_one_snapshot),
        TEST(test_gateway_read_on_one_shard_goes_through),
        TEST(test_gateway_read_raises_the_snapshot),
        TEST(test_gateway_read_does_not_chase_for_ever),
        TEST(test_gateway_read_at_a_snapshot_of_the_caller),
        TEST(test_gateway_read_strict_validates),
        TEST(test_gateway_read_at_a_timestamp_and_with_a_token),
        TEST(test_gateway_read_bounded_at_the_smallest),
        TEST(test_gateway_read_fails_with_its_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
