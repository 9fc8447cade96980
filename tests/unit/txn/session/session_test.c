// SPDX-License-Identifier: Apache-2.0
// Calls through every kind of gateway while all is well: the leader's node, a follower's, and one
// without replicas.
#include "dataplane/base/mem.h"
#include "tests/unit/txn/session/session_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct world *world;

static int setup(void **state) {
    (void)state;
    world = world_create(64, 64, true);
    world_run(world, 300);
    assert_int_equal(world_leader(world, WORLD_LEFT), 1);
    assert_int_equal(world_leader(world, WORLD_RIGHT), 2);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    world_destroy(world);
    return 0;
}

static void ends_with(const struct world_call *call, enum status status) {
    assert_int_equal(call->ended, 1);
    if (call->status != status) { fail_msg("%s: %s", status_name(call->status), call->detail); }
}

static void put(uint32_t gateway, uint64_t id, struct slice key, struct slice value) {
    struct world_call call;
    world_put(world_node(world, gateway), &call, id, key, value);
    world_run(world, 50);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
}

static void read_back(uint32_t gateway, struct slice key, struct slice value) {
    struct world_call call;
    world_read(world_node(world, gateway), &call, key, NULL);
    world_run(world, 50);
    ends_with(&call, STATUS_OK);
    bool found = false;
    assert_true(slice_equal(world_row(&call, &found), value) && found);
    world_call_deinit(&call);
}

static void test_session_commit_and_read_on_the_leaders_node_stay_local(void **state) {
    (void)state;
    struct world_call call;
    world_put(world_node(world, 1), &call, 1, KEY("a"), SLICE_LITERAL("1"));
    assert_int_equal(call.ended, 0);  // a majority has not answered
    world_run(world, 50);
    ends_with(&call, STATUS_OK);
    assert_int_equal(call.certificate.method, COMMAND_METHOD_LOG);
    assert_int_equal(call.certificate.shard.v, WORLD_LEFT.v);
    assert_int_equal(call.certificate.config_epoch, 1);
    assert_true(call.certificate.index > 0 && call.certificate.term > 0);
    const struct command_outcome outcome = world_outcome(&call);
    assert_int_equal(outcome.status, STATUS_OK);
    assert_true(hlc_equal(outcome.timestamp, call.certificate.timestamp));
    world_call_deinit(&call);
    // Under the lease a read needs no message at all.
    world_read(world_node(world, 1), &call, KEY("a"), NULL);
    ends_with(&call, STATUS_OK);
    assert_int_equal(call.certificate.method, COMMAND_METHOD_LEASE);
    assert_false(hlc_before(call.certificate.timestamp, outcome.timestamp));
    bool found = false;
    assert_true(slice_equal(world_row(&call, &found), SLICE_LITERAL("1")) && found);
    world_call_deinit(&call);
    const struct session_stats stats = session_stats(world_node(world, 1)->session);
    assert_int_equal(stats.forwarded, 0);
    assert_int_equal(stats.served_local, 2);
    assert_int_equal(stats.in_flight, 0);
}

static void test_session_every_gateway_reaches_every_shard(void **state) {
    (void)state;
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway++) {
        char text[2] = {(char)('0' + gateway), 0};
        const struct slice value = slice_from_string(text);
        put(gateway, 10 + gateway, KEY("a"), value);
        put(gateway, 20 + gateway, KEY("z"), value);
        for (uint32_t reader = 1; reader <= WORLD_NODES; reader++) {
            read_back(reader, KEY("a"), value);
            read_back(reader, KEY("z"), value);
        }
    }
    // A hint, once known, is used: the last calls went straight to the leaders.
    const struct session_stats stats = session_stats(world_node(world, 4)->session);
    assert_true(stats.retries <= 4);
    assert_int_equal(stats.served_local, 0);
}

// However the gateway found the leader, by a hint or by luck, the next call goes straight there.
static void test_session_remembers_who_answered(void **state) {
    (void)state;
    struct world_node *gateway = world_node(world, 4);
    put(4, 1, KEY("a"), SLICE_LITERAL("1"));
    for (uint32_t i = 0; i < 10; i++) {
        const struct shard_descriptor *known = shard_map_by_id(gateway->map, WORLD_LEFT);
        shard_map_note_leader(gateway->map, WORLD_LEFT, (struct node_id){0}, known->term);
        read_back(4, KEY("a"), SLICE_LITERAL("1"));
        const uint64_t retries = session_stats(gateway->session).retries;
        // Twice, so that the rounds begin with different nodes.
        read_back(4, KEY("a"), SLICE_LITERAL("1"));
        read_back(4, KEY("a"), SLICE_LITERAL("1"));
        assert_int_equal(session_stats(gateway->session).retries, retries);
    }
}

static void test_session_read_index_says_so(void **state) {
    (void)state;
    put(1, 1, KEY("a"), SLICE_LITERAL("1"));
    const struct command_read options = {.snapshot = {.consistency = COMMAND_STRONG_READ_INDEX}};
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway += 3) {
        struct world_call call;
        world_read(world_node(world, gateway), &call, KEY("a"), &options);
        assert_int_equal(call.ended, 0);
        world_run(world, 50);
        ends_with(&call, STATUS_OK);
        assert_int_equal(call.certificate.method, COMMAND_METHOD_READ_INDEX);
        world_call_deinit(&call);
    }
}

static void test_session_read_of_a_missing_key_finds_nothing(void **state) {
    (void)state;
    struct world_call call;
    world_read(world_node(world, 4), &call, KEY("none"), NULL);
    world_run(world, 50);
    ends_with(&call, STATUS_OK);
    bool found = true;
    assert_int_equal(world_row(&call, &found).size, 0);
    assert_false(found);
    world_call_deinit(&call);
}

static void test_session_a_token_is_honoured_and_must_be_sane(void **state) {
    (void)state;
    struct world_call call;
    // A little ahead of the leader's clock: the snapshot is at or above it.
    struct command_read options = {0};
    options.snapshot.at_least = hlc_peek(&world_node(world, 1)->hlc, 0);
    options.snapshot.at_least = hlc_add_us(options.snapshot.at_least, 50000);
    world_read(world_node(world, 1), &call, KEY("a"), &options);
    world_run(world, 200);
    ends_with(&call, STATUS_OK);
    assert_false(hlc_before(call.certificate.timestamp, options.snapshot.at_least));
    world_call_deinit(&call);
    const struct hlc_ts before = world_node(world, 1)->hlc.last;
    options.snapshot.at_least = HLC_MAX;
    world_read(world_node(world, 1), &call, KEY("a"), &options);
    ends_with(&call, STATUS_CLOCK_AHEAD);
    assert_true(world_node(world, 1)->hlc.last.v - before.v < 1000000);
    world_call_deinit(&call);
}

static void test_session_a_repeat_through_another_gateway_gets_the_first_outcome(void **state) {
    (void)state;
    struct world_call first;
    struct world_call again;
    world_create_key(world_node(world, 1), &first, 7, KEY("a"), 1000);
    world_run(world, 50);
    ends_with(&first, STATUS_OK);
    world_create_key(world_node(world, 4), &again, 7, KEY("a"), 1000);
    world_run(world, 50);
    ends_with(&again, STATUS_OK);
    assert_true(hlc_equal(first.certificate.timestamp, again.certificate.timestamp));
    assert_true(again.certificate.index > first.certificate.index);
    world_call_deinit(&first);
    world_call_deinit(&again);
    world_create_key(world_node(world, 4), &again, 8, KEY("a"), 1000);
    world_run(world, 50);
    ends_with(&again, STATUS_CONDITION_FAILED);
    assert_int_equal(world_outcome(&again).failed_condition, 0);
    world_call_deinit(&again);
    world_put(world_node(world, 4), &again, 7, KEY("a"), SLICE_LITERAL("other"));
    world_run(world, 50);
    ends_with(&again, STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(again.detail, "transaction id"));
    world_call_deinit(&again);
}

static void test_session_txn_status_tells_the_outcome(void **state) {
    (void)state;
    struct world_call call;
    world_put(world_node(world, 1), &call, 7, KEY("a"), SLICE_LITERAL("1"));
    world_run(world, 50);
    ends_with(&call, STATUS_OK);
    const struct hlc_ts committed = call.certificate.timestamp;
    world_call_deinit(&call);
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway += 3) {
        world_txn_status(world_node(world, gateway), &call, 7, KEY("a"));
        world_run(world, 50);
        ends_with(&call, STATUS_OK);
        assert_true(hlc_equal(world_outcome(&call).timestamp, committed));
        world_call_deinit(&call);
        world_txn_status(world_node(world, gateway), &call, 8, KEY("a"));
        world_run(world, 50);
        ends_with(&call, STATUS_NOT_FOUND);
        assert_int_equal(call.certificate.method, COMMAND_METHOD_LEASE);
        world_call_deinit(&call);
    }
}

static void test_session_catalogue_commands_pass_through(void **state) {
    (void)state;
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway++) {
        struct world_call call;
        world_catalog(world_node(world, gateway), &call, SLICE_LITERAL("hello"));
        world_run(world, 100);
        ends_with(&call, STATUS_OK);
        assert_true(slice_equal(buf_slice(&call.result), SLICE_LITERAL("hello")));
        assert_int_equal(call.certificate.shard.v, SHARD_CATALOG.v);
        world_call_deinit(&call);
        world_catalog(world_node(world, gateway), &call, SLICE_LITERAL("again"));
        world_run(world, 100);
        ends_with(&call, STATUS_ALREADY_EXISTS);
        world_call_deinit(&call);
    }
}

static void test_session_several_shards_are_not_supported(void **state) {
    (void)state;
    const struct command_mutation puts[] = {{COMMAND_PUT, KEY("a"), SLICE_EMPTY},
                                            {COMMAND_PUT, KEY("z"), SLICE_EMPTY}};
    const struct command_commit commit = {.mutations = puts, .mutation_count = 2};
    struct world_call call;
    world_commit(world_node(world, 4), &call, 1, 1000, &commit);
    ends_with(&call, STATUS_NOT_SUPPORTED);
    assert_string_equal(call.detail, "touches shards 16 and 17; transactions over several shards "
                                     "are not available yet");
    world_call_deinit(&call);
}

// The excluded end of a range may be the border, which belongs to the next shard.
static void test_session_a_range_up_to_the_border_is_one_shard(void **state) {
    (void)state;
    put(1, 1, KEY("k"), SLICE_LITERAL("1"));
    put(1, 2, KEY("m"), SLICE_LITERAL("1"));
    struct command_mutation range = {COMMAND_DELETE_RANGE, KEY("j"), KEY("m")};
    const struct command_commit commit = {.mutations = &range, .mutation_count = 1};
    struct world_call call;
    world_commit(world_node(world, 4), &call, 3, 1000, &commit);
    world_run(world, 50);
    ends_with(&call, STATUS_OK);
    world_call_deinit(&call);
    read_back(4, KEY("m"), SLICE_LITERAL("1"));
    range.value = KEY("m\0");
    world_commit(world_node(world, 4), &call, 4, 1000, &commit);
    ends_with(&call, STATUS_NOT_SUPPORTED);
    world_call_deinit(&call);
}

// A gateway that forgets to say how far a commit reaches is caught by the replica.
static void test_session_keys_outside_the_shard_are_refused_by_the_replica(void **state) {
    (void)state;
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway += 3) {
        struct world_node *node = world_node(world, gateway);
        struct world_call call;
        world_put(node, &call, 100 + gateway, KEY("z"), SLICE_EMPTY);
        world_run(world, 50);
        call.call.key = KEY("a");
        call.call.key_high = SLICE_EMPTY;
        call.call.deadline_ns = world->now_ns + 1000000000;
        session_start(node->session, &call.call);
        world_run(world, 50);
        assert_int_equal(call.ended, 2);
        assert_int_equal(call.status, STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(call.detail, "outside the shard"));
        world_call_deinit(&call);
    }
}

// All pages of a scan, joined: "a b c"; checks that they run in order.
static void collect(uint32_t gateway, struct command_scan scan, char *out, uint32_t *pages) {
    uint8_t resume_key[SHARD_KEY_SIZE_MAX];
    bool more = true;
    *pages = 0;
    while (more) {
        struct world_call call;
        world_scan(world_node(world, gateway), &call, &scan);
        world_run(world, 50);
        ends_with(&call, STATUS_OK);
        struct codec_reader r;
        codec_reader_init(&r, buf_slice(&call.result));
        struct command_row row = {.found = true};
        struct slice resume = SLICE_EMPTY;
        while (row.found) {
            assert_int_equal(command_scan_row_decode(&r, &row, &more, &resume), STATUS_OK);
            if (!row.found) { break; }
            memcpy(out, row.key.data + 4, row.key.size - 4);
            out += row.key.size - 4;
            assert_int_equal(row.value.size, scan.keys_only ? 0 : 1);
        }
        if (more) {
            memcpy(resume_key, resume.data, resume.size);
            *(scan.reverse ? &scan.end : &scan.start) = slice_make(resume_key, resume.size);
        }
        (*pages)++;
        assert_true(*pages < 20);
        world_call_deinit(&call);
    }
    *out = '\0';
}

static void test_session_scan_pages_run_over_the_border(void **state) {
    (void)state;
    const char letters[] = "abklmnz";
    for (uint32_t i = 0; letters[i] != '\0'; i++) {
        const uint8_t key[5] = {0, 0, 0, 1, (uint8_t)letters[i]};
        put(4, 50 + i, slice_make(key, 5), SLICE_LITERAL("v"));
    }
    char got[32];
    uint32_t pages = 0;
    for (uint32_t gateway = 1; gateway <= WORLD_NODES; gateway += 3) {
        struct command_scan scan = {.start = SLICE_LITERAL("\0\0\0\1"), .row_limit = 100};
        collect(gateway, scan, got, &pages);
        assert_string_equal(got, "abklmnz");
        assert_int_equal(pages, 2);
        scan.row_limit = 2;
        collect(gateway, scan, got, &pages);
        assert_string_equal(got, "abklmnz");
        assert_int_equal(pages, 4);
        scan.reverse = true;
        collect(gateway, scan, got, &pages);
        assert_string_equal(got, "znmlkba");
        assert_int_equal(pages, 4);
        scan.row_limit = 100;
        scan.keys_only = true;
        scan.end = KEY("m");
        collect(gateway, scan, got, &pages);
        assert_string_equal(got, "lkba");
        assert_int_equal(pages, 1);
        scan.start = KEY("b");
        scan.end = KEY("n");
        collect(gateway, scan, got, &pages);
        assert_string_equal(got, "mlkb");
        assert_int_equal(pages, 2);
        scan.reverse = false;
        collect(gateway, scan, got, &pages);
        assert_string_equal(got, "bklm");
        scan.start = KEY("m");
        scan.end = KEY("mm");
        collect(gateway, scan, got, &pages);
        assert_string_equal(got, "m");
        assert_int_equal(pages, 1);
    }
}

// A scan stays in the keyspace of its start, though the last shard runs on beyond it.
static void test_session_scan_never_leaves_its_keyspace(void **state) {
    (void)state;
    put(4, 1, KEY("z"), SLICE_LITERAL("v"));
    put(4, 2, SLICE_LITERAL("\0\0\0\2a"), SLICE_LITERAL("v"));
    char got[32];
    uint32_t pages = 0;
    struct command_scan scan = {.start = KEY("m"), .row_limit = 10};
    collect(4, scan, got, &pages);
    assert_string_equal(got, "z");
    scan.reverse = true;
    collect(4, scan, got, &pages);
    assert_string_equal(got, "z");
}

static void test_session_a_page_is_bounded_in_bytes(void **state) {
    (void)state;
    uint8_t *big = mem_alloc(SHARD_VALUE_SIZE_MAX);
    for (uint32_t i = 0; i < 6; i++) {
        const uint8_t key[5] = {0, 0, 0, 1, (uint8_t)('n' + i)};
        put(2, 1 + i, slice_make(key, 5), slice_make(big, SHARD_VALUE_SIZE_MAX - 100));
    }
    mem_free(big);
    const struct command_scan scan = {.start = KEY("n"), .row_limit = 100};
    struct world_call call;
    world_scan(world_node(world, 4), &call, &scan);
    world_run(world, 50);
    ends_with(&call, STATUS_OK);
    assert_true(call.result.size > COMMAND_SCAN_BYTES_MAX);
    assert_true(call.result.size < COMMAND_SCAN_BYTES_MAX + SHARD_VALUE_SIZE_MAX + 10000);
    world_call_deinit(&call);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_session_commit_and_read_on_the_leaders_node_stay_local),
        TEST(test_session_every_gateway_reaches_every_shard),
        TEST(test_session_remembers_who_answered),
        TEST(test_session_read_index_says_so),
        TEST(test_session_read_of_a_missing_key_finds_nothing),
        TEST(test_session_a_token_is_honoured_and_must_be_sane),
        TEST(test_session_a_repeat_through_another_gateway_gets_the_first_outcome),
        TEST(test_session_txn_status_tells_the_outcome),
        TEST(test_session_catalogue_commands_pass_through),
        TEST(test_session_several_shards_are_not_supported),
        TEST(test_session_a_range_up_to_the_border_is_one_shard),
        TEST(test_session_keys_outside_the_shard_are_refused_by_the_replica),
        TEST(test_session_scan_pages_run_over_the_border),
        TEST(test_session_scan_never_leaves_its_keyspace),
        TEST(test_session_a_page_is_bounded_in_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
