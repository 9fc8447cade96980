// SPDX-License-Identifier: Apache-2.0
// Node-pair support: what lasts how long, what an epoch survives, and which messages are too late.
#include "dataplane/support/support.h"

#include "dataplane/base/mark.h"
#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static const struct node_id A = {1};
static const struct node_id B = {2};

static void boot(struct support *self, struct node_id node, uint32_t number, uint64_t now_ns) {
    struct support_config config = {
        .self = node,
        .boot = number,
        .duration_ns = 1000 * MS,
        .interval_ns = 100 * MS,
        .now_ns = now_ns,
    };
    support_init(self, &config);
    assert_true(support_add_peer(self, node.v == A.v ? B : A));
}

static struct support_request request_at(struct support *self, uint64_t now_ns) {
    struct support_request request;
    support_make_request(self, now_ns, now_ns / 1000, &request);
    return request;
}

static struct support_reply answer(struct support *self, struct node_id from,
                                   const struct support_request *request, uint64_t now_ns) {
    struct support_reply reply;
    bool new_boot = false;
    support_on_request(self, from, request, now_ns, now_ns / 1000, &reply, &new_boot);
    return reply;
}

// A asks B and hears the answer, all at one instant.
static uint64_t exchange(struct support *a, struct support *b, uint64_t now_ns) {
    struct support_request request = request_at(a, now_ns);
    struct support_reply reply = answer(b, a->config.self, &request, now_ns);
    support_on_reply(a, b->config.self, &reply, now_ns, now_ns / 1000);
    return reply.epoch;
}

static uint32_t measured_count;
static struct support_exchange measured_last;

static void note_exchange(void *ctx, struct node_id peer, const struct support_exchange *x) {
    assert_ptr_equal(ctx, &measured_count);
    assert_int_equal(peer.v, B.v);
    measured_count++;
    measured_last = *x;
}

// Whoever compares clocks gets all four of them, of requests of this boot only.
static void test_support_tells_what_it_measured(void **state) {
    (void)state;
    struct support a;
    struct support b;
    boot(&a, A, 2, 10 * MS);
    boot(&b, B, 1, 0);
    a.measured = note_exchange;
    a.measured_ctx = &measured_count;
    measured_count = 0;
    struct support_request request = request_at(&a, 20 * MS);
    struct support_reply reply = answer(&b, A, &request, 700 * MS);
    support_on_reply(&a, B, &reply, 50 * MS, 50000);
    assert_int_equal(measured_count, 1);
    assert_int_equal(measured_last.sent_wall_us, 20000);
    assert_int_equal(measured_last.received_wall_us, 700000);
    assert_int_equal(measured_last.replied_wall_us, 700000);
    assert_int_equal(measured_last.arrived_wall_us, 50000);
    assert_int_equal(measured_last.sent_ns, 20 * MS);
    assert_int_equal(measured_last.arrived_ns, 50 * MS);
    reply.boot = 1;
    support_on_reply(&a, B, &reply, 60 * MS, 60000);
    assert_int_equal(measured_count, 1);
    // An owner that corrects its clock tells the others of the one that needs correction.
    a.wall_shift_us = -5000;
    b.wall_shift_us = 3000;
    request = request_at(&a, 70 * MS);
    reply = answer(&b, A, &request, 700 * MS);
    support_on_reply(&a, B, &reply, 80 * MS, 80000);
    assert_int_equal(measured_last.sent_wall_us, 75000);
    assert_int_equal(measured_last.received_wall_us, 697000);
    assert_int_equal(measured_last.replied_wall_us, 697000);
    assert_int_equal(measured_last.arrived_wall_us, 85000);
}

// The grant counts from its receipt, the holding from the sending, and for 0.8 of the duration.
static void test_support_granter_outlasts_holder(void **state) {
    (void)state;
    struct support a;
    struct support b;
    boot(&a, A, 1, 0);
    boot(&b, B, 1, 0);
    struct support_request request = request_at(&a, 10 * MS);
    struct support_reply reply = answer(&b, A, &request, 30 * MS);
    support_on_reply(&a, B, &reply, 50 * MS, 0);
    assert_true(support_granted(&b, A, 30 * MS + 1000 * MS - 1) == reply.epoch);
    assert_true(support_granted(&b, A, 30 * MS + 1000 * MS) == 0);
    assert_true(support_held_until(&a, B, reply.epoch) == 10 * MS + 800 * MS);
    assert_true(support_held_until(&a, B, reply.epoch + 1) == 0);
    assert_true(support_held_until(&a, B, 0) == 0);
    assert_true(support_held_until(&a, (struct node_id){9}, reply.epoch) == 0);
}

// Told once, from the instant at which a lease may no longer count on it, and again after each
// grant that was renewed in between. A peer that boots anew takes its grant with it.
static void test_support_tells_once_that_a_holding_ended(void **state) {
    (void)state;
    struct support a;
    struct support b;
    boot(&a, A, 1, 0);
    boot(&b, B, 1, 0);
    assert_false(support_held_lapsed(&a, 5000 * MS));  // nothing was ever held
    (void)exchange(&a, &b, 10 * MS);
    assert_false(support_held_lapsed(&a, 10 * MS + 800 * MS - 1));
    assert_true(support_held_lapsed(&a, 10 * MS + 800 * MS));
    assert_false(support_held_lapsed(&a, 9000 * MS));
    (void)exchange(&a, &b, 9000 * MS);
    assert_false(support_held_lapsed(&a, 9001 * MS));
    struct support again;
    boot(&again, B, 2, 9002 * MS);
    (void)exchange(&again, &a, 9002 * MS);
    assert_true(support_held_lapsed(&a, 9003 * MS));
}

// Renewals keep the epoch; a lapse ends it for ever, whether or not anybody looked in between.
static void test_support_lapsed_epoch_never_returns(void **state) {
    (void)state;
    struct support a;
    struct support b;
    boot(&a, A, 1, 0);
    boot(&b, B, 1, 0);
    uint64_t first = exchange(&a, &b, 0);
    assert_true(exchange(&a, &b, 900 * MS) == first);
    assert_true(exchange(&a, &b, 1800 * MS) == first);
    assert_true(support_granted(&b, A, 2799 * MS) == first);
    uint64_t second = exchange(&a, &b, 2800 * MS);
    assert_true(second > first);
    assert_true(support_held_until(&a, B, first) == 0);
    assert_int_equal(mark_count("support.lapsed_grant_gets_new_epoch"), 1);
    struct node_id lapsed[SUPPORT_PEERS_MAX];
    assert_int_equal(support_expire(&b, 3799 * MS, lapsed), 0);
    assert_int_equal(support_expire(&b, 3800 * MS, lapsed), 1);
    assert_int_equal(lapsed[0].v, A.v);
    assert_int_equal(support_expire(&b, 3801 * MS, lapsed), 0);
    assert_true(exchange(&a, &b, 3900 * MS) > second);
}

// Epochs of a later boot are larger than all of an earlier one.
static void test_support_epochs_are_unique_across_boots(void **state) {
    (void)state;
    struct support a;
    struct support b;
    boot(&a, A, 1, 0);
    boot(&b, B, 1, 0);
    uint64_t old = 0;
    for (uint64_t i = 0; i < 50; i++) {
        old = exchange(&a, &b, i * 2000 * MS);
    }
    boot(&b, B, 2, 0);
    assert_true(exchange(&a, &b, 100000 * MS) > old);
    assert_int_equal(support_granted(&b, B, 0) >> 32, 2);
    assert_true(support_granted(&b, B, UINT64_MAX) != 0);
}

// A new boot of a peer voids what was granted to the old one, at once, and is reported once.
static void test_support_new_boot_of_peer_voids_its_grant(void **state) {
    (void)state;
    struct support a;
    struct support b;
    boot(&a, A, 1, 0);
    boot(&b, B, 1, 0);
    uint64_t old = exchange(&a, &b, 0);
    (void)exchange(&b, &a, 0);
    boot(&a, A, 2, 100 * MS);
    struct support_request request = request_at(&a, 100 * MS);
    struct support_reply reply;
    bool new_boot = false;
    support_on_request(&b, A, &request, 100 * MS, 0, &reply, &new_boot);
    assert_true(new_boot);
    assert_true(reply.epoch > old);
    // What the old boot of A granted to B is dead too: A does not remember it.
    assert_true(support_find(&b, A)->held_epoch == 0);
    request = request_at(&a, 200 * MS);
    support_on_request(&b, A, &request, 200 * MS, 0, &reply, &new_boot);
    assert_false(new_boot);
    // A message of the old boot that was long under way gets nothing.
    struct support_request late = {.boot = 1, .sequence = 1000, .sent_ns = 90 * MS};
    support_on_request(&b, A, &late, 300 * MS, 0, &reply, &new_boot);
    assert_true(reply.epoch == 0);
    assert_false(new_boot);
    assert_int_equal(mark_count("support.request_of_old_boot"), 1);
}

// A request that was overtaken renews nothing, or a message delayed for long would keep a dead
// node alive.
static void test_support_overtaken_request_renews_nothing(void **state) {
    (void)state;
    struct support a;
    struct support b;
    boot(&a, A, 1, 0);
    boot(&b, B, 1, 0);
    struct support_request early = request_at(&a, 0);
    struct support_request late = request_at(&a, 100 * MS);
    uint64_t epoch = answer(&b, A, &late, 110 * MS).epoch;
    assert_true(answer(&b, A, &early, 900 * MS).epoch == epoch);
    assert_true(support_granted(&b, A, 1110 * MS) == 0);
    assert_true(answer(&b, A, &late, 1200 * MS).epoch == 0);
    assert_true(support_granted(&b, A, 1200 * MS) == 0);
    assert_int_equal(mark_count("support.request_overtaken"), 2);
}

// Replies out of order: an older one shortens nothing, an older epoch does not come back, another
// boot's are ignored, and so are those from the future.
static void test_support_overtaken_replies_change_nothing(void **state) {
    (void)state;
    struct support a;
    struct support b;
    boot(&a, A, 1, 0);
    boot(&b, B, 1, 0);
    struct support_request r1 = request_at(&a, 0);
    struct support_reply first = answer(&b, A, &r1, 1 * MS);
    struct support_request r2 = request_at(&a, 100 * MS);
    struct support_reply second = answer(&b, A, &r2, 101 * MS);
    support_on_reply(&a, B, &second, 110 * MS, 0);
    uint64_t until = support_held_until(&a, B, second.epoch);
    support_on_reply(&a, B, &first, 120 * MS, 0);
    assert_true(support_held_until(&a, B, second.epoch) == until);
    assert_int_equal(mark_count("support.reply_shortens_nothing"), 1);

    struct support_request r3 = request_at(&a, 2000 * MS);
    struct support_reply third = answer(&b, A, &r3, 2001 * MS);
    assert_true(third.epoch > second.epoch);
    support_on_reply(&a, B, &third, 2002 * MS, 0);
    support_on_reply(&a, B, &second, 2003 * MS, 0);
    assert_true(support_held_until(&a, B, third.epoch) == 2800 * MS);
    assert_true(mark_count("support.reply_overtaken") > 0);

    struct support_reply refusal = third;
    refusal.epoch = 0;
    support_on_reply(&a, B, &refusal, 2004 * MS, 0);
    assert_true(support_held_until(&a, B, third.epoch) == 2800 * MS);
    struct support_reply other = third;
    other.boot = 7;
    other.sent_ns = 2100 * MS;
    support_on_reply(&a, B, &other, 2200 * MS, 0);
    other.boot = 1;
    other.sent_ns = 9000 * MS;  // sent in the future
    support_on_reply(&a, B, &other, 2200 * MS, 0);
    assert_true(support_held_until(&a, B, third.epoch) == 2800 * MS);
    assert_int_equal(mark_count("support.reply_to_old_boot"), 2);
}

// A peer configured with a shorter duration grants a shorter one, and the holder counts with that.
static void test_support_holder_counts_with_the_granters_duration(void **state) {
    (void)state;
    struct support a;
    struct support b;
    boot(&a, A, 1, 0);
    boot(&b, B, 1, 0);
    b.config.duration_ns = 500 * MS;
    uint64_t epoch = exchange(&a, &b, 0);
    assert_true(support_held_until(&a, B, epoch) == 400 * MS);
    assert_true(support_granted(&b, A, 500 * MS) == 0);
}

static void test_support_boot_quiet_lasts_one_duration(void **state) {
    (void)state;
    struct support a;
    boot(&a, A, 1, 50 * MS);
    assert_false(support_boot_quiet(&a, 50 * MS));
    boot(&a, A, 2, 50 * MS);
    assert_true(support_boot_quiet(&a, 50 * MS));
    assert_true(support_boot_quiet(&a, 1050 * MS - 1));
    assert_false(support_boot_quiet(&a, 1050 * MS));
}

// The deadline is the earliest thing to do; a past end of the quiet time does not keep the loop
// spinning.
static void test_support_deadline_is_the_earliest_duty(void **state) {
    (void)state;
    struct support a;
    struct support b;
    struct node_id lapsed[SUPPORT_PEERS_MAX];
    boot(&a, A, 1, 0);
    boot(&b, B, 2, 0);
    assert_true(support_deadline_ns(&b) == 0);
    (void)request_at(&b, 0);
    assert_true(support_deadline_ns(&b) == 100 * MS);
    b.withhold = true;
    assert_true(support_deadline_ns(&b) == 1000 * MS);
    (void)exchange(&a, &b, 500 * MS);
    (void)support_expire(&b, 1000 * MS, lapsed);
    assert_true(support_deadline_ns(&b) == 1500 * MS);
    assert_int_equal(support_expire(&b, 1500 * MS, lapsed), 1);
    assert_true(support_deadline_ns(&b) == UINT64_MAX);
}

// Four timestamps give offset and round trip; absurd clocks are not believed.
static void test_support_measures_offset_and_round_trip(void **state) {
    (void)state;
    struct support a;
    boot(&a, A, 1, 0);
    // A's wall reads 1 000 000 us at 10 ms; B's is 250 us ahead; 3 ms there, 1 ms held, 3 ms back.
    struct support_reply reply = {
        .boot = 1,
        .sent_ns = 10 * MS,
        .epoch = (UINT64_C(1) << 32) | 2,
        .duration_ns = 1000 * MS,
        .sent_wall_us = 1000000,
        .received_wall_us = 1003250,
        .replied_wall_us = 1004250,
    };
    support_on_reply(&a, B, &reply, 17 * MS, 1007000);
    assert_int_equal(support_find(&a, B)->wall_offset_us, 250);
    assert_int_equal(support_find(&a, B)->round_trip_ns, 6 * MS);
    reply.received_wall_us = UINT64_MAX;
    support_on_reply(&a, B, &reply, 18 * MS, 1008000);
    assert_int_equal(support_find(&a, B)->wall_offset_us, 250);
    assert_int_equal(mark_count("support.wall_clock_absurd"), 1);
}

static void test_support_table_is_bounded_and_idempotent(void **state) {
    (void)state;
    struct support a;
    boot(&a, A, 1, 0);
    assert_true(support_add_peer(&a, B));
    for (uint32_t i = 3; i < 2 + SUPPORT_PEERS_MAX; i++) {
        assert_true(support_add_peer(&a, (struct node_id){i}));
    }
    assert_int_equal(a.peer_count, SUPPORT_PEERS_MAX);
    assert_false(support_add_peer(&a, (struct node_id){5000}));
    struct support_request request = {.boot = 1, .sequence = 1};
    assert_true(answer(&a, (struct node_id){5000}, &request, 0).epoch == 0);
    assert_int_equal(mark_count("support.request_of_unknown_peer"), 1);
}

// When all epochs of a boot are used up nothing is granted any more; nothing is given twice.
static void test_support_epochs_end_before_they_repeat(void **state) {
    (void)state;
    struct support a;
    struct support b;
    boot(&a, A, 1, 0);
    boot(&b, B, 1, 0);
    b.epoch_count = UINT32_MAX - 1;
    assert_true((uint32_t)exchange(&a, &b, 0) == UINT32_MAX);
    assert_true(exchange(&a, &b, 5000 * MS) == 0);
    assert_int_equal(mark_count("support.epochs_used_up"), 1);
}

static void test_support_wire_round_trip_and_garbage(void **state) {
    (void)state;
    struct support_request request = {
        .boot = 7, .sequence = UINT64_MAX, .sent_ns = 123456789, .sent_wall_us = 99};
    struct support_reply reply = {.boot = 7,
                                  .sent_ns = UINT64_MAX,
                                  .epoch = (UINT64_C(7) << 32) | 5,
                                  .duration_ns = 8,
                                  .sent_wall_us = 1,
                                  .received_wall_us = 2,
                                  .replied_wall_us = 3};
    struct buf buf;
    buf_init(&buf, 256);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    support_request_encode(&w, &request);
    size_t split = buf.size;
    support_reply_encode(&w, &reply);
    assert_int_equal(w.status, STATUS_OK);
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&buf));
    struct support_request request_got;
    struct support_reply reply_got;
    assert_int_equal(support_request_decode(&r, &request_got), STATUS_OK);
    assert_int_equal(support_reply_decode(&r, &reply_got), STATUS_OK);
    assert_int_equal(codec_finish(&r), STATUS_OK);
    assert_true(request_got.sequence == UINT64_MAX && request_got.sent_wall_us == 99);
    assert_true(reply_got.epoch == reply.epoch && reply_got.duration_ns == 8);
    assert_true(reply_got.replied_wall_us == 3 && reply_got.sent_ns == UINT64_MAX);
    for (size_t size = 0; size < split; size++) {
        codec_reader_init(&r, slice_make(buf.data, size));
        assert_int_equal(support_request_decode(&r, &request_got), STATUS_CORRUPT);
    }
    for (size_t size = split; size < buf.size; size++) {
        codec_reader_init(&r, slice_make(buf.data + split, size - split));
        assert_int_equal(support_reply_decode(&r, &reply_got), STATUS_CORRUPT);
    }
    buf_deinit(&buf);
}

// With clocks between 0.9 and 1.1 of true time, any delays and any losses: whenever the holder
// counts on support, the granter still grants that very epoch.
static void test_support_holder_never_outlives_granter_under_drift(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        uint64_t rate_a = prng_chance(&prng, 1, 2) ? 900 : prng_between(&prng, 900, 1100);
        uint64_t rate_b = prng_chance(&prng, 1, 2) ? 1100 : prng_between(&prng, 900, 1100);
        struct support a;
        struct support b;
        boot(&a, A, 1, 0);
        boot(&b, B, 1, 0);
        struct support_request requests[4] = {{0}};
        struct support_reply replies[4] = {{0}};
        for (uint64_t t = 1; t < 6000; t++) {
            uint64_t now_a = t * MS / 1000 * rate_a;
            uint64_t now_b = t * MS / 1000 * rate_b;
            uint64_t slot = prng_below(&prng, 4);
            switch (prng_below(&prng, 300)) {
            case 0:
                requests[slot] = request_at(&a, now_a);
                break;
            case 1:
                if (requests[slot].boot != 0) {
                    replies[slot] = answer(&b, A, &requests[slot], now_b);
                }
                break;
            case 2:
                if (replies[slot].boot != 0) { support_on_reply(&a, B, &replies[slot], now_a, 0); }
                break;
            default:
                break;
            }
            uint64_t epoch = support_find(&a, B)->held_epoch;
            if (now_a < support_held_until(&a, B, epoch)) {
                assert_true(support_granted(&b, A, now_b) == epoch);
            }
        }
    }
}

static int reset_marks(void **state) {
    (void)state;
    mark_reset_all();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_support_tells_what_it_measured),
        cmocka_unit_test(test_support_granter_outlasts_holder),
        cmocka_unit_test_setup(test_support_tells_once_that_a_holding_ended, reset_marks),
        cmocka_unit_test_setup(test_support_lapsed_epoch_never_returns, reset_marks),
        cmocka_unit_test(test_support_epochs_are_unique_across_boots),
        cmocka_unit_test_setup(test_support_new_boot_of_peer_voids_its_grant, reset_marks),
        cmocka_unit_test_setup(test_support_overtaken_request_renews_nothing, reset_marks),
        cmocka_unit_test_setup(test_support_overtaken_replies_change_nothing, reset_marks),
        cmocka_unit_test(test_support_holder_counts_with_the_granters_duration),
        cmocka_unit_test(test_support_boot_quiet_lasts_one_duration),
        cmocka_unit_test(test_support_deadline_is_the_earliest_duty),
        cmocka_unit_test_setup(test_support_measures_offset_and_round_trip, reset_marks),
        cmocka_unit_test_setup(test_support_table_is_bounded_and_idempotent, reset_marks),
        cmocka_unit_test_setup(test_support_epochs_end_before_they_repeat, reset_marks),
        cmocka_unit_test(test_support_wire_round_trip_and_garbage),
        cmocka_unit_test(test_support_holder_never_outlives_granter_under_drift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
