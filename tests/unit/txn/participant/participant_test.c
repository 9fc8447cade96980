// SPDX-License-Identifier: Apache-2.0
// Who is woken when, who is reported when, and that neither costs anything where nothing is
// prepared. Two shards with real lock tables; time by hand.
#include "txn/participant/participant.h"

#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SHARDS = 2, WAITERS_MAX = 8, HOLDERS_MAX = 4, EVENTS_MAX = 64 };

#define MS        UINT64_C(1000000)
#define WALL_US   UINT64_C(1700000000000000)
#define KEY(text) SLICE_LITERAL("\0\0\0\1" text)

struct waiter {
    struct participant_waiter base;
    uint32_t woken;
    enum participant_wake why;
    bool again;  // waits for the same anew when it is woken
};

static struct lock_table *tables[SHARDS];
static bool leads[SHARDS];
static bool quiet[SHARDS];
static uint32_t locks_asked;
static struct participant *room;
static uint64_t now_ns;
static struct waiter *order[EVENTS_MAX];
static uint32_t woken;
static struct txn_id reported[EVENTS_MAX];
static uint64_t reported_ms[EVENTS_MAX];
static uint32_t reports;

static struct shard_id shard(uint32_t i) {
    return (struct shard_id){100 + i};
}

static struct txn_id id_of(uint8_t n) {
    return (struct txn_id){{n}};
}

static const struct lock_table *locks(void *ctx, struct shard_id id, bool *out_quiet) {
    (void)ctx;
    const uint64_t i = id.v - 100;
    assert_true(i < SHARDS);
    locks_asked++;
    *out_quiet = quiet[i];
    return leads[i] ? tables[i] : NULL;
}

static void recover(void *ctx, struct shard_id id, const struct lock_holder *holder) {
    (void)ctx;
    (void)id;
    assert_true(reports < EVENTS_MAX);
    reported_ms[reports] = now_ns / MS - 1000;
    reported[reports++] = holder->txn;
}

static int setup(void **state) {
    (void)state;
    now_ns = 1000 * MS;
    woken = 0;
    reports = 0;
    locks_asked = 0;
    for (uint32_t i = 0; i < SHARDS; i++) {
        tables[i] = lock_table_create();
        leads[i] = true;
        quiet[i] = true;
    }
    const struct participant_config config = {.waiters_max = WAITERS_MAX,
                                              .holders_max = HOLDERS_MAX,
                                              .recovery_after_us = 500000,
                                              .now_ns = now_ns,
                                              .locks = locks,
                                              .recover = recover};
    room = participant_create(&config);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    participant_destroy(room);
    for (uint32_t i = 0; i < SHARDS; i++) {
        lock_table_destroy(tables[i]);
    }
    return 0;
}

static struct hlc_ts wall_now(void) {
    return hlc_from_wall(WALL_US + now_ns / 1000);
}

static void on_wake(struct participant_waiter *base, enum participant_wake why) {
    struct waiter *self = (struct waiter *)(void *)base;
    assert_true(woken < EVENTS_MAX);
    order[woken++] = self;
    self->woken++;
    self->why = why;
    if (self->again) { assert_int_equal(participant_wait(room, base, now_ns), STATUS_OK); }
}

static void on_time(void) {
    participant_on_time(room, now_ns, wall_now());
    participant_check(room);
    assert_true(participant_deadline_ns(room) > now_ns);
}

static void run(uint64_t ms) {
    for (uint64_t i = 0; i < ms; i++) {
        now_ns += MS;
        if (participant_deadline_ns(room) <= now_ns) { on_time(); }
    }
}

// Prepared `age_us` ago.
static void hold(uint32_t at, uint8_t n, const char *key, uint64_t age_us) {
    struct buf part;
    struct buf prepare;
    buf_init(&part, 1 << 16);
    buf_init(&prepare, 1 << 16);
    struct codec_writer w;
    uint8_t full[16] = {0, 0, 0, 1};
    memcpy(full + 4, key, strlen(key));
    const struct slice name = slice_make(full, 4 + strlen(key));
    const struct command_mutation put = {COMMAND_PUT, name, SLICE_LITERAL("v")};
    const struct command_commit commit = {.txn = id_of(n), .mutations = &put, .mutation_count = 1};
    codec_writer_init(&w, &part);
    command_commit_encode(&w, &commit);
    const struct command_prepare whole = {.txn = id_of(n),
                                          .attempt = {n, 0},
                                          .begin = {n},
                                          .participant_count = 1,
                                          .participants = &name,
                                          .part = buf_slice(&part)};
    codec_writer_init(&w, &prepare);
    command_prepare_encode(&w, &whole);
    const struct lock_holder holder = {.txn = id_of(n),
                                       .attempt = {n, 0},
                                       .begin = {n},
                                       .prepared = hlc_from_wall(WALL_US + now_ns / 1000 - age_us),
                                       .prepare = buf_slice(&prepare)};
    lock_table_add(tables[at], &holder);
    buf_deinit(&part);
    buf_deinit(&prepare);
}

static void resolve(uint32_t at, uint8_t n) {
    assert_true(lock_table_remove(tables[at], id_of(n)));
    participant_on_resolved(room, shard(at), id_of(n));
    participant_check(room);
}

static enum status wait_for(struct waiter *self, uint32_t at, uint8_t holder, uint64_t begin,
                            uint64_t ms) {
    *self = (struct waiter){.base = {.shard = shard(at),
                                     .holder = id_of(holder),
                                     .txn = id_of((uint8_t)(100 + begin)),
                                     .begin = {begin},
                                     .again_ns = UINT64_MAX,
                                     .deadline_ns = now_ns + ms * MS,
                                     .wake = on_wake}};
    const enum status st = participant_wait(room, &self->base, now_ns);
    participant_check(room);
    return st;
}

static void test_participant_wakes_the_oldest_first_and_not_at_once(void **state) {
    (void)state;
    struct waiter waiters[4];
    hold(0, 1, "a", 0);
    const uint64_t begins[4] = {30, 10, 40, 20};
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(wait_for(&waiters[i], 0, 1, begins[i], 1000), STATUS_OK);
    }
    assert_int_equal(participant_stats(room).waiting, 4);
    resolve(0, 1);
    // This may be the middle of a turn.
    assert_int_equal(woken, 0);
    assert_true(participant_deadline_ns(room) <= now_ns);
    on_time();
    assert_int_equal(woken, 4);
    const uint32_t expected[4] = {1, 3, 0, 2};
    for (uint32_t i = 0; i < 4; i++) {
        assert_ptr_equal(order[i], &waiters[expected[i]]);
        assert_int_equal(order[i]->why, PARTICIPANT_AGAIN);
    }
    run(2000);
    assert_int_equal(woken, 4);
    assert_int_equal(participant_stats(room).waiting, 0);
}

// The same id on another shard is another holder.
static void test_participant_wakes_by_shard_and_id(void **state) {
    (void)state;
    struct waiter left;
    struct waiter right;
    struct waiter other;
    hold(0, 1, "a", 0);
    hold(1, 1, "z", 0);
    hold(0, 2, "b", 0);
    assert_int_equal(wait_for(&left, 0, 1, 5, 1000), STATUS_OK);
    assert_int_equal(wait_for(&right, 1, 1, 6, 1000), STATUS_OK);
    assert_int_equal(wait_for(&other, 0, 2, 7, 1000), STATUS_OK);
    resolve(0, 1);
    on_time();
    assert_int_equal(left.woken, 1);
    assert_int_equal(right.woken + other.woken, 0);
    participant_leave(&right.base);
    participant_leave(&other.base);
    participant_leave(&other.base);  // no effect
    participant_check(room);
}

static void test_participant_ends_waits_at_their_deadlines(void **state) {
    (void)state;
    struct waiter soon;
    struct waiter late;
    struct waiter timed;
    hold(0, 1, "a", 0);
    assert_int_equal(wait_for(&soon, 0, 1, 5, 10), STATUS_OK);
    assert_int_equal(wait_for(&late, 0, 1, 4, 20), STATUS_OK);
    timed = (struct waiter){.base = {.shard = shard(0),
                                     .again_ns = now_ns + 5 * MS,
                                     .deadline_ns = now_ns + 30 * MS,
                                     .wake = on_wake}};
    assert_int_equal(participant_wait(room, &timed.base, now_ns), STATUS_OK);
    run(4);
    assert_int_equal(woken, 0);
    run(1);
    assert_int_equal(timed.woken, 1);
    assert_int_equal(timed.why, PARTICIPANT_AGAIN);
    run(5);
    assert_int_equal(soon.woken, 1);
    assert_int_equal(soon.why, PARTICIPANT_EXPIRED);
    assert_int_equal(late.woken, 0);
    run(10);
    assert_int_equal(late.why, PARTICIPANT_EXPIRED);
    assert_int_equal(participant_stats(room).expired, 2);
    resolve(0, 1);
    run(10);
    assert_int_equal(woken, 3);
}

static void test_participant_is_bounded(void **state) {
    (void)state;
    struct waiter waiters[WAITERS_MAX + 1];
    mark_reset_all();
    hold(0, 1, "a", 0);
    for (uint32_t i = 0; i < WAITERS_MAX; i++) {
        assert_int_equal(wait_for(&waiters[i], 0, 1, i, 100), STATUS_OK);
    }
    assert_int_equal(wait_for(&waiters[WAITERS_MAX], 0, 1, 50, 100), STATUS_OVERLOADED);
    assert_int_equal(mark_count("participant.overloaded"), 1);
    assert_int_equal(participant_stats(room).overloaded, 1);
    participant_leave(&waiters[0].base);
    assert_int_equal(wait_for(&waiters[WAITERS_MAX], 0, 1, 50, 100), STATUS_OK);
    resolve(0, 1);
    on_time();
    assert_int_equal(woken, WAITERS_MAX);
    // No more holders than that are watched.
    for (uint8_t i = 0; i < HOLDERS_MAX; i++) {
        const char key[2] = {(char)('a' + i), 0};
        hold(0, (uint8_t)(1 + i), key, 0);
        assert_int_equal(wait_for(&waiters[i], 0, (uint8_t)(1 + i), i, 100), STATUS_OK);
    }
    hold(0, 9, "x", 0);
    assert_int_equal(wait_for(&waiters[7], 0, 9, 7, 100), STATUS_OVERLOADED);
    run(200);
}

// Whoever waits for what is resolved already looks again at once.
static void test_participant_forgets_nobody_whose_holder_went_before(void **state) {
    (void)state;
    struct waiter waiter;
    assert_int_equal(wait_for(&waiter, 0, 1, 5, 1000), STATUS_OK);
    run(2);
    assert_int_equal(waiter.woken, 1);
    assert_int_equal(waiter.why, PARTICIPANT_AGAIN);
}

static void test_participant_wakes_all_of_a_shard_that_is_led_elsewhere(void **state) {
    (void)state;
    struct waiter left;
    struct waiter right;
    hold(0, 1, "a", 0);
    hold(1, 2, "z", 0);
    assert_int_equal(wait_for(&left, 0, 1, 5, 1000), STATUS_OK);
    assert_int_equal(wait_for(&right, 1, 2, 6, 1000), STATUS_OK);
    leads[0] = false;
    participant_wake_shard(room, shard(0));
    on_time();
    assert_int_equal(left.woken, 1);
    assert_int_equal(right.woken, 0);
    // And if nobody said so, at the next look.
    leads[1] = false;
    run(60);
    assert_int_equal(right.woken, 1);
    assert_int_equal(reports, 0);
}

// --- Reports ---

static void test_participant_reports_who_keeps_somebody_waiting(void **state) {
    (void)state;
    struct waiter waiter;
    mark_reset_all();
    hold(0, 1, "a", 100000);
    assert_int_equal(wait_for(&waiter, 0, 1, 5, 60000), STATUS_OK);
    run(49);
    assert_int_equal(reports, 0);
    run(1);
    assert_int_equal(reports, 1);
    assert_true(txn_id_equal(reported[0], id_of(1)));
    assert_true(mark_count("participant.reported") > 0);
    // Again while it stays, at growing distance: 0.5, 1, 2, 4, 4 seconds.
    run(12000);
    const uint64_t expected[] = {50, 550, 1550, 3550, 7550, 11550};
    assert_int_equal(reports, 6);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(reported_ms[i], expected[i]);
    }
    resolve(0, 1);
    run(10000);
    assert_int_equal(reports, 6);
    assert_int_equal(woken, 1);
}

// Somebody waits for long, but the coordinator has hardly had the time.
static void test_participant_gives_the_young_a_moment(void **state) {
    (void)state;
    struct waiter waiter;
    hold(0, 1, "a", 20000);
    assert_int_equal(wait_for(&waiter, 0, 1, 5, 1000), STATUS_OK);
    run(79);
    assert_int_equal(reports, 0);
    run(2);
    assert_int_equal(reports, 1);
    participant_leave(&waiter.base);
}

// Nobody waits: silence alone is the sign.
static void test_participant_reports_the_silent(void **state) {
    (void)state;
    hold(0, 2, "b", 300000);
    hold(0, 1, "a", 0);
    participant_note(room, shard(0));
    run(199);
    assert_int_equal(reports, 0);
    run(102);
    assert_int_equal(reports, 1);
    assert_true(txn_id_equal(reported[0], id_of(2)));
    assert_int_equal(participant_stats(room).holders, 2);
    assert_in_range(participant_stats(room).oldest_age_us, 500000, 601000);
    run(300);
    assert_int_equal(reports, 2);
    assert_true(txn_id_equal(reported[1], id_of(1)));
    resolve(0, 1);
    resolve(0, 2);
    run(300);
    assert_int_equal(participant_stats(room).holders, 0);
    assert_int_equal(participant_stats(room).oldest_age_us, 0);
    assert_int_equal(reports, 2);
}

// The wall was set back: by it the holder is not born yet.
static void test_participant_reports_what_was_prepared_ahead_of_the_wall(void **state) {
    (void)state;
    const uint64_t hour_us = UINT64_C(3600000000);
    hold(0, 1, "a", (uint64_t)0 - hour_us);
    participant_note(room, shard(0));
    run(400);
    assert_int_equal(reports, 0);
    run(300);
    assert_int_equal(reports, 1);
    assert_true(txn_id_equal(reported[0], id_of(1)));
    // Who waits for such a one shortens it as ever.
    struct waiter waiter;
    hold(1, 2, "b", (uint64_t)0 - hour_us);
    assert_int_equal(wait_for(&waiter, 1, 2, 5, 60000), STATUS_OK);
    run(160);
    assert_int_equal(reports, 2);
    assert_true(txn_id_equal(reported[1], id_of(2)));
    participant_leave(&waiter.base);
}

static void test_participant_reports_at_once_when_hurried(void **state) {
    (void)state;
    hold(0, 1, "a", 0);
    participant_hurry(room, shard(0), id_of(1));
    participant_hurry(room, shard(0), id_of(1));
    on_time();
    assert_int_equal(reports, 1);
    participant_hurry(room, shard(0), id_of(1));
    run(100);
    assert_int_equal(reports, 1);
    // One that holds nothing is nobody's business.
    participant_hurry(room, shard(0), id_of(7));
    on_time();
    assert_int_equal(reports, 1);
}

static void test_participant_without_prepared_transactions_never_stirs(void **state) {
    (void)state;
    assert_int_equal(participant_deadline_ns(room), UINT64_MAX);
    // A new leader may still apply a prepare that it inherited.
    quiet[0] = false;
    participant_note(room, shard(0));
    participant_note(room, shard(1));
    run(150);
    assert_true(participant_deadline_ns(room) != UINT64_MAX);
    hold(0, 1, "a", 0);
    quiet[0] = true;
    run(700);
    assert_int_equal(reports, 1);
    resolve(0, 1);
    run(200);
    assert_int_equal(participant_deadline_ns(room), UINT64_MAX);
    const uint32_t asked = locks_asked;
    run(1000);
    assert_int_equal(locks_asked, asked);
    // Led by somebody else: not this node's to watch.
    leads[0] = false;
    hold(0, 1, "a", 9000000);
    participant_note(room, shard(0));
    run(200);
    assert_int_equal(participant_deadline_ns(room), UINT64_MAX);
    assert_int_equal(reports, 1);
}

// --- Lists ---

struct listed {
    uint32_t count;
    uint8_t ids[EVENTS_MAX];
    uint32_t waiters[EVENTS_MAX];
    uint32_t max;
};

static bool list_holder(void *ctx, struct shard_id id, const struct lock_holder *holder,
                        uint32_t waiters) {
    struct listed *self = ctx;
    (void)id;
    self->ids[self->count] = holder->txn.v[0];
    self->waiters[self->count++] = waiters;
    return self->count < self->max;
}

static bool list_waiter(void *ctx, const struct participant_waiter *waiter) {
    struct listed *self = ctx;
    self->ids[self->count++] = waiter->txn.v[0];
    return self->count < self->max;
}

static void test_participant_lists_who_waits_for_whom(void **state) {
    (void)state;
    struct waiter waiters[3];
    hold(1, 3, "z", 50);
    hold(0, 2, "b", 100);
    hold(0, 1, "a", 200);
    participant_note(room, shard(0));
    assert_int_equal(wait_for(&waiters[0], 1, 3, 9, 1000), STATUS_OK);
    assert_int_equal(wait_for(&waiters[1], 0, 1, 8, 1000), STATUS_OK);
    assert_int_equal(wait_for(&waiters[2], 0, 1, 7, 1000), STATUS_OK);
    struct listed all = {.max = EVENTS_MAX};
    participant_each_holder(room, list_holder, &all);
    assert_int_equal(all.count, 3);
    const uint8_t ids[3] = {1, 2, 3};
    const uint32_t counts[3] = {2, 0, 1};
    assert_memory_equal(all.ids, ids, sizeof(ids));
    assert_memory_equal(all.waiters, counts, sizeof(counts));
    struct listed some = {.max = 1};
    participant_each_holder(room, list_holder, &some);
    assert_int_equal(some.count, 1);
    struct listed why = {.max = EVENTS_MAX};
    participant_each_waiter(room, shard(0), id_of(1), list_waiter, &why);
    assert_int_equal(why.count, 2);
    assert_int_equal(why.ids[0], 107);
    assert_int_equal(why.ids[1], 108);
    for (uint32_t i = 0; i < 3; i++) {
        participant_leave(&waiters[i].base);
    }
}

// --- In line ---

static void stand_in_line(struct waiter *self, uint64_t begin, enum participant_line line) {
    *self = (struct waiter){.base = {.shard = shard(0),
                                     .holder = id_of(77),
                                     .line = line,
                                     .txn = id_of((uint8_t)(100 + begin)),
                                     .begin = {begin},
                                     .again_ns = now_ns + 1000 * MS,
                                     .deadline_ns = now_ns + 2000 * MS,
                                     .wake = on_wake}};
    assert_int_equal(participant_wait(room, &self->base, now_ns), STATUS_OK);
    participant_check(room);
}

static void pass(uint32_t at, uint8_t name) {
    participant_pass(room, shard(at), id_of(name));
    participant_check(room);
}

// Goal: what is free goes to the oldest who takes it; nobody else stirs but who passes by before
// it, and who must look.
static void test_participant_passes_to_the_first_in_line(void **state) {
    (void)state;
    struct waiter waiters[5];
    stand_in_line(&waiters[4], 50, PARTICIPANT_TAKES);
    stand_in_line(&waiters[1], 20, PARTICIPANT_TAKES);
    stand_in_line(&waiters[0], 10, PARTICIPANT_PASSES_BY);
    stand_in_line(&waiters[3], 40, PARTICIPANT_TAKES_OR_DIES);
    stand_in_line(&waiters[2], 30, PARTICIPANT_PASSES_BY);
    run(500);  // there is no lock, and nobody looks for one
    pass(1, 77);
    pass(0, 78);
    run(10);
    assert_int_equal(woken, 0);
    pass(0, 77);
    assert_int_equal(woken, 0);
    on_time();
    assert_int_equal(woken, 3);
    assert_ptr_equal(order[0], &waiters[0]);
    assert_ptr_equal(order[1], &waiters[1]);
    assert_ptr_equal(order[2], &waiters[3]);
    pass(0, 77);
    on_time();
    assert_int_equal(woken, 5);
    assert_ptr_equal(order[3], &waiters[2]);
    assert_ptr_equal(order[4], &waiters[4]);
    pass(0, 77);
    on_time();
    assert_int_equal(reports, 0);
}

// Goal: what was passed to one that goes away before it is woken is passed on.
static void test_participant_passes_on_what_nobody_takes(void **state) {
    (void)state;
    struct waiter waiters[3];
    for (uint32_t i = 0; i < 3; i++) {
        stand_in_line(&waiters[i], 10 + i, PARTICIPANT_TAKES);
    }
    participant_leave(&waiters[1].base);  // not its turn: nothing happens
    pass(0, 77);
    participant_leave(&waiters[0].base);
    on_time();
    assert_int_equal(woken, 1);
    assert_ptr_equal(order[0], &waiters[2]);
}

// Goal: those in line look again at the latest at the time they said, and go with the shard.
static void test_participant_in_line_is_woken_by_time_and_shard(void **state) {
    (void)state;
    struct waiter waiters[2];
    stand_in_line(&waiters[0], 10, PARTICIPANT_TAKES);
    run(600);
    stand_in_line(&waiters[1], 20, PARTICIPANT_TAKES);
    run(401);
    assert_int_equal(woken, 1);
    assert_int_equal(waiters[0].why, PARTICIPANT_AGAIN);
    participant_wake_shard(room, shard(0));
    on_time();
    assert_int_equal(waiters[1].woken, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_participant_wakes_the_oldest_first_and_not_at_once),
        TEST(test_participant_wakes_by_shard_and_id),
        TEST(test_participant_ends_waits_at_their_deadlines),
        TEST(test_participant_is_bounded),
        TEST(test_participant_forgets_nobody_whose_holder_went_before),
        TEST(test_participant_wakes_all_of_a_shard_that_is_led_elsewhere),
        TEST(test_participant_reports_who_keeps_somebody_waiting),
        TEST(test_participant_gives_the_young_a_moment),
        TEST(test_participant_reports_the_silent),
        TEST(test_participant_reports_what_was_prepared_ahead_of_the_wall),
        TEST(test_participant_reports_at_once_when_hurried),
        TEST(test_participant_without_prepared_transactions_never_stirs),
        TEST(test_participant_lists_who_waits_for_whom),
        TEST(test_participant_passes_to_the_first_in_line),
        TEST(test_participant_passes_on_what_nobody_takes),
        TEST(test_participant_in_line_is_woken_by_time_and_shard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
