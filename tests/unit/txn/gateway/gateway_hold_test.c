// SPDX-License-Identifier: Apache-2.0
// Keys that an interactive transaction holds, and the age that it brings along.
#include "txn/gateway/gateway_hold.h"

#include "dataplane/base/mark.h"
#include "tests/unit/txn/gateway/gateway_world.h"
#include "txn/command/command_hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct world *world;
static struct gateway_hold hold;
static uint32_t told;
static enum status last;

static void on_done(struct gateway_hold *self, const struct session_result *result) {
    assert_ptr_equal(self, &hold);
    told++;
    last = result->status;
}

static int setup(void **state) {
    (void)state;
    mark_reset_all();
    world = world_create(8, 8);
    hold = (struct gateway_hold){.txn = {{3}}, .begin = {77}, .done = on_done};
    gateway_hold_init(&hold, world->gateway);
    told = 0;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    gateway_hold_end(&hold);
    while (world->call_count > 0) {
        world_silence(world, world->calls[0], STATUS_CANCELLED);
    }
    world_destroy(world);
    return 0;
}

// The next call of the session asks for that.
static void asked(enum command_hold_kind kind, struct slice key, bool holds_others,
                  enum status answer) {
    struct command_hold request;
    assert_true(world->call_count > 0);
    struct session_call *call = world->calls[0];
    assert_int_equal(call->kind, COMMAND_HOLD);
    assert_true(slice_equal(call->key, key));
    assert_int_equal(command_hold_decode(call->payload, &request), STATUS_OK);
    assert_int_equal(request.kind, kind);
    assert_true(slice_equal(request.key, key));
    assert_true(txn_id_equal(request.txn, hold.txn));
    assert_int_equal(request.begin.v, 77);
    if (kind == COMMAND_HOLD_TAKE) { assert_int_equal(request.holds_others, holds_others); }
    world_silence(world, call, answer);
}

static void take_two(void) {
    const struct slice keys[] = {KEY("z"), KEY("a"), KEY("z")};
    assert_int_equal(gateway_hold_take(&hold, keys, 3, world->now_ns + 60000000000), STATUS_OK);
}

static void test_hold_takes_keys_in_their_order(void **state) {
    (void)state;
    take_two();
    assert_int_equal(world->call_count, 1);
    asked(COMMAND_HOLD_TAKE, KEY("a"), false, STATUS_OK);
    assert_int_equal(told, 0);
    asked(COMMAND_HOLD_TAKE, KEY("z"), true, STATUS_OK);
    assert_int_equal(told, 1);
    assert_int_equal(last, STATUS_OK);
    take_two();  // it has them
    assert_int_equal(told, 2);
    assert_int_equal(world->call_count, 0);
    gateway_hold_end(&hold);
    asked(COMMAND_HOLD_RELEASE, KEY("a"), false, STATUS_OK);
    asked(COMMAND_HOLD_RELEASE, KEY("z"), false, STATUS_OK);
    world_advance(world, 2 * GATEWAY_HOLD_LEASE_MS);
    assert_int_equal(world->call_count, 0);
}

static void test_hold_is_renewed_while_it_lasts(void **state) {
    (void)state;
    take_two();
    asked(COMMAND_HOLD_TAKE, KEY("a"), false, STATUS_OK);
    asked(COMMAND_HOLD_TAKE, KEY("z"), true, STATUS_OK);
    for (uint32_t i = 0; i < 5; i++) {
        world_advance(world, GATEWAY_HOLD_LEASE_MS / 3);
        assert_int_equal(world->call_count, 2);
        asked(COMMAND_HOLD_RENEW, KEY("a"), true, STATUS_OK);
        asked(COMMAND_HOLD_RENEW, KEY("z"), true, STATUS_UNAVAILABLE);  // nobody minds
    }
    assert_int_equal(mark_count("gateway.hold_renewed"), 5);
}

static void test_hold_does_without_what_it_cannot_have(void **state) {
    (void)state;
    take_two();
    asked(COMMAND_HOLD_TAKE, KEY("a"), false, STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(mark_count("gateway.hold_without"), 1);
    // A copy that was late may have it.
    asked(COMMAND_HOLD_RELEASE, KEY("a"), false, STATUS_OK);
    asked(COMMAND_HOLD_TAKE, KEY("z"), false, STATUS_OK);
    assert_int_equal(told, 1);
    assert_int_equal(last, STATUS_OK);
    const struct slice more[] = {KEY("m"), KEY("n")};
    assert_int_equal(gateway_hold_take(&hold, more, 2, world->now_ns + 60000000000), STATUS_OK);
    asked(COMMAND_HOLD_TAKE, KEY("m"), true, STATUS_ABORTED_RETRY);
    assert_int_equal(told, 2);
    assert_int_equal(last, STATUS_ABORTED_RETRY);
    gateway_hold_end(&hold);
    asked(COMMAND_HOLD_RELEASE, KEY("z"), false, STATUS_OK);
    assert_int_equal(world->call_count, 0);
}

static void test_hold_that_ends_early_is_told_nothing(void **state) {
    (void)state;
    take_two();
    asked(COMMAND_HOLD_TAKE, KEY("a"), false, STATUS_OK);
    gateway_hold_end(&hold);
    assert_int_equal(told, 0);
    assert_int_equal(world->cancelled, 1);
    asked(COMMAND_HOLD_RELEASE, KEY("z"), false, STATUS_OK);
    asked(COMMAND_HOLD_RELEASE, KEY("a"), false, STATUS_OK);
    gateway_hold_end(&hold);
}

static void test_hold_is_bounded(void **state) {
    (void)state;
    static char names[GATEWAY_HOLD_KEYS_MAX + 1][16];
    struct slice keys[GATEWAY_HOLD_KEYS_MAX + 1];
    for (uint32_t i = 0; i < GATEWAY_HOLD_KEYS_MAX + 1; i++) {
        const int size = snprintf(names[i], sizeof(names[i]), "0001%03u", i);
        memcpy(names[i], "\0\0\0\1", 4);
        keys[i] = slice_make(names[i], (size_t)size);
    }
    assert_int_equal(gateway_hold_take(&hold, keys, GATEWAY_HOLD_KEYS_MAX + 1, world->now_ns + 1),
                     STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(world->call_count, 0);
    assert_int_equal(gateway_hold_take(&hold, keys, GATEWAY_HOLD_KEYS_MAX, world->now_ns + 1),
                     STATUS_OK);
    for (uint32_t i = 0; i < GATEWAY_HOLD_KEYS_MAX; i++) {
        asked(COMMAND_HOLD_TAKE, keys[i], i > 0, STATUS_OK);
    }
    assert_int_equal(told, 1);
}

static void on_committed(struct session_call *call, const struct session_result *result) {
    (void)call;
    last = result->status;
}

// `begin` of the first try comes with the call, and is kept over attempts.
static void test_begin_of_the_first_try_reaches_the_prepare(void **state) {
    (void)state;
    struct client client;
    struct command_prepare_view prepare;
    const struct command_mutation mutations[] = {{COMMAND_PUT, KEY("a"), SLICE_LITERAL("1")},
                                                 {COMMAND_PUT, KEY("h"), SLICE_LITERAL("2")}};
    const struct command_commit commit = {
        .txn = {{9}}, .mutation_count = 2, .mutations = mutations};
    const struct hlc_ts first = hlc_from_wall(UINT64_C(1699999999000000));
    struct codec_writer w;
    client_init(&client);
    codec_writer_init(&w, &client.payload);
    command_commit_encode(&w, &commit);
    client.call.kind = COMMAND_COMMIT;
    client.call.key = KEY("a");
    client.call.key_high = KEY("h");
    client.call.payload = buf_slice(&client.payload);
    client.call.begin = first;
    client.call.done = on_committed;
    client.call.deadline_ns = world->now_ns + 60000000000;
    gateway_start(world->gateway, &client.call);
    (void)world_prepare(world, WORLD_A, &prepare);
    assert_int_equal(prepare.begin.v, first.v);
    (void)world_prepare(world, WORLD_B, &prepare);
    assert_int_equal(prepare.begin.v, first.v);
    gateway_cancel(world->gateway, &client.call);
    assert_int_equal(last, STATUS_UNKNOWN_OUTCOME);
    client_deinit(&client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hold_takes_keys_in_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hold_is_renewed_while_it_lasts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hold_does_without_what_it_cannot_have, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_hold_that_ends_early_is_told_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hold_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_begin_of_the_first_try_reaches_the_prepare, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
