// SPDX-License-Identifier: Apache-2.0
// The versions of a key, asked through any node: newest first, with what is prepared waited for.
#include "dataplane/base/mark.h"
#include "storage/mvcc/mvcc.h"
#include "tests/unit/txn/session/session_world.h"
#include "txn/command/command_versions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS_MAX = 8 };

static struct world *world;

struct versions {
    uint32_t count;
    struct command_version_row rows[ROWS_MAX];
    bool more;
};

static int setup(void **state) {
    (void)state;
    world = world_create_led();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    world_destroy(world);
    return 0;
}

static void run_until(const struct world_call *call, uint32_t ms) {
    for (uint32_t i = 0; i < ms && call->ended == 0; i++) {
        world_run(world, 1);
    }
}

static struct hlc_ts put(uint64_t id, const char *value) {
    struct world_call call;
    world_put(world_node(world, 1), &call, id, KEY("a"), slice_from_string(value));
    run_until(&call, 100);
    assert_int_equal(call.status, STATUS_OK);
    const struct hlc_ts ts = call.certificate.timestamp;
    world_call_deinit(&call);
    return ts;
}

// Views live as long as the call.
static struct versions decode(const struct world_call *call) {
    struct versions out = {.count = 0};
    struct codec_reader r;
    bool end = false;
    codec_reader_init(&r, buf_slice(&call->result));
    while (!end) {
        struct command_version_row row;
        assert_int_equal(command_version_row_decode(&r, &row, &end, &out.more), STATUS_OK);
        if (end) { break; }
        assert_true(out.count < ROWS_MAX);
        out.rows[out.count++] = row;
    }
    return out;
}

static void test_versions_come_newest_first_through_any_node(void **state) {
    (void)state;
    const struct hlc_ts first = put(1, "1");
    const struct hlc_ts second = put(2, "longer than is shown");
    (void)put(3, "3");
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway++) {
        struct world_call call;
        world_versions(world_node(world, gateway), &call, KEY("a"), 3);
        run_until(&call, 100);
        assert_int_equal(call.status, STATUS_OK);
        assert_int_equal(call.certificate.shard.v, WORLD_LEFT.v);
        assert_true(call.certificate.method == COMMAND_METHOD_LEASE ||
                    call.certificate.method == COMMAND_METHOD_READ_INDEX);
        struct versions versions = decode(&call);
        assert_int_equal(versions.count, 3);
        assert_false(versions.more);
        assert_int_equal(versions.rows[1].ts.v, second.v);
        assert_int_equal(versions.rows[1].size, strlen("longer than is shown"));
        assert_true(slice_equal(versions.rows[1].value, SLICE_LITERAL("longe")));
        assert_int_equal(versions.rows[2].ts.v, first.v);
        assert_int_equal(versions.rows[2].prepared.v, first.v);
        assert_int_equal(versions.rows[2].kind, MVCC_PUT);
        world_call_deinit(&call);
        world_versions(world_node(world, gateway), &call, KEY("a"), 2);
        run_until(&call, 100);
        versions = decode(&call);
        assert_int_equal(versions.count, 2);
        assert_true(versions.more);
        world_call_deinit(&call);
    }
    struct world_call call;
    world_versions(world_node(world, 2), &call, KEY("never"), 3);
    run_until(&call, 100);
    assert_int_equal(decode(&call).count, 0);
    world_call_deinit(&call);
}

// Goal: what is prepared may commit below the snapshot: it is waited for, and is then shown with
// both of its timestamps.
static void test_versions_wait_for_what_is_prepared(void **state) {
    (void)state;
    (void)put(1, "old");
    const struct world_part part = {.id = 7,
                                    .attempt = 7,
                                    .begin = hlc_from_wall(1700000000000000),
                                    .key = KEY("a"),
                                    .value = SLICE_LITERAL("new")};
    struct world_call call;
    struct world_call read;
    world_prepare(world_node(world, 2), &call, &part, 1000);
    run_until(&call, 100);
    const struct hlc_ts p = world_answer(&call).timestamp;
    world_call_deinit(&call);
    world_versions(world_node(world, 3), &read, KEY("a"), ROWS_MAX);
    world_run(world, 1200);
    assert_int_equal(read.ended, 0);
    const struct hlc_ts c = {p.v + 1};
    world_resolve(world_node(world, 2), &call, &part, COMMAND_DECIDE_COMMIT, c);
    run_until(&call, 100);
    run_until(&read, 100);
    assert_int_equal(read.status, STATUS_OK);
    const struct versions versions = decode(&read);
    assert_int_equal(versions.count, 2);
    assert_int_equal(versions.rows[0].ts.v, c.v);
    assert_int_equal(versions.rows[0].prepared.v, p.v);
    assert_true(mark_count("session.waits_for_lock") > 0);
    world_call_deinit(&call);
    world_call_deinit(&read);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_versions_come_newest_first_through_any_node),
        TEST(test_versions_wait_for_what_is_prepared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
