// SPDX-License-Identifier: Apache-2.0
// Whose clock is wrong: offsets and their errors, majorities, what isolates a node and what never
// does.
#include "dataplane/hlc/hlc_skew.h"

#include "dataplane/base/mark.h"
#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MS       UINT64_C(1000)  // in microseconds
#define S_NS     UINT64_C(1000000000)
#define WALL_US  UINT64_C(1795000000000000)
#define START_NS (100 * S_NS)

// One node and the clocks of its peers, at an instant of true time.
struct world {
    struct hlc_skew skew;
    uint64_t now_ns;
    int64_t own_us;        // error of this node's clock
    int64_t clock_us[16];  // and of the peers', by number
};

static uint64_t wall(const struct world *w, int64_t off_us, uint64_t at_ns) {
    (void)w;
    return (uint64_t)((int64_t)(WALL_US + at_ns / 1000) + off_us);
}

static void begin(struct world *w, uint32_t peers) {
    *w = (struct world){.now_ns = START_NS};
    hlc_skew_init(&w->skew, &(struct hlc_skew_config){.now_ns = START_NS});
    for (uint32_t i = 1; i <= peers; i++) {
        assert_true(hlc_skew_set_peer(&w->skew, i, true, 0));
    }
}

// A message there and one back, each taking its time; the present moves on.
static bool exchange(struct world *w, uint32_t node, uint64_t there_us, uint64_t back_us) {
    struct hlc_skew_exchange x = {.sent_ns = w->now_ns,
                                  .sent_wall_us = wall(w, w->own_us, w->now_ns)};
    w->now_ns += there_us * 1000;
    x.received_wall_us = wall(w, w->clock_us[node], w->now_ns);
    x.replied_wall_us = x.received_wall_us;
    w->now_ns += back_us * 1000;
    x.arrived_ns = w->now_ns;
    x.arrived_wall_us = wall(w, w->own_us, w->now_ns);
    return hlc_skew_on_exchange(&w->skew, node, &x);
}

static enum hlc_skew_state exchange_all(struct world *w) {
    for (uint32_t i = 0; i < w->skew.peer_count; i++) {
        (void)exchange(w, w->skew.peers[i].node, 1 * MS, 1 * MS);
    }
    w->now_ns += S_NS / 10;
    return hlc_skew_judge(&w->skew, w->now_ns);
}

static void pass(struct world *w, uint64_t ns) {
    const uint64_t end_ns = w->now_ns + ns;
    while (w->now_ns < end_ns) {
        (void)exchange_all(w);
    }
}

// However unequal the two ways, the truth lies within the error.
static void test_skew_offset_is_never_wrong_by_more_than_its_error(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 7);
    for (int round = 0; round < 2000; round++) {
        struct world w;
        begin(&w, 1);
        w.clock_us[1] = (int64_t)prng_between(&prng, 0, 2000 * MS) - (int64_t)(1000 * MS);
        assert_true(exchange(&w, 1, prng_between(&prng, 0, 80 * MS), prng_between(&prng, 0, MS)));
        struct hlc_skew_sample best;
        assert_true(hlc_skew_best(&w.skew, &w.skew.peers[0], w.now_ns, &best));
        int64_t wrong_us = best.offset_us - w.clock_us[1];
        assert_true(wrong_us <= (int64_t)best.error_us && -wrong_us <= (int64_t)best.error_us);
        assert_true(best.error_us <= best.round_trip_us);
    }
}

static void test_skew_best_is_the_quickest_until_it_has_aged(void **state) {
    (void)state;
    struct world w;
    begin(&w, 1);
    struct hlc_skew_sample best;
    assert_false(hlc_skew_best(&w.skew, &w.skew.peers[0], w.now_ns, &best));
    (void)exchange(&w, 1, 1 * MS, 1 * MS);
    (void)exchange(&w, 1, 40 * MS, 2 * MS);
    assert_true(hlc_skew_best(&w.skew, &w.skew.peers[0], w.now_ns, &best));
    assert_int_equal(best.round_trip_us, 2 * MS);
    // It drifts by 1 ms a second: after 4.9 s it is worth less than one of 8 ms.
    w.now_ns += 49 * S_NS / 10;
    (void)exchange(&w, 1, 4 * MS, 4 * MS);
    assert_true(hlc_skew_best(&w.skew, &w.skew.peers[0], w.now_ns, &best));
    assert_int_equal(best.round_trip_us, 8 * MS);
    w.now_ns += 6 * S_NS;
    assert_false(hlc_skew_best(&w.skew, &w.skew.peers[0], w.now_ns, &best));
}

static void test_skew_agreeing_clocks_are_synced(void **state) {
    (void)state;
    struct world w;
    begin(&w, 2);
    w.clock_us[1] = 20 * (int64_t)MS;
    w.clock_us[2] = -30 * (int64_t)MS;
    assert_int_equal(exchange_all(&w), HLC_SKEW_SYNCED);
    assert_int_equal(w.skew.verdict.agreeing_count, 3);
    assert_true(w.skew.verdict.error_us > 30 * MS && w.skew.verdict.error_us < 33 * MS);
}

static void test_skew_beyond_the_bound_is_degraded(void **state) {
    (void)state;
    struct world w;
    begin(&w, 2);
    w.clock_us[1] = 101 * (int64_t)MS;
    w.clock_us[2] = 101 * (int64_t)MS;
    assert_int_equal(exchange_all(&w), HLC_SKEW_DEGRADED);
    assert_true(w.skew.verdict.majority);
    // Outside, and by less than 250 ms: still no reason to isolate it.
    w.own_us = -150 * (int64_t)MS;
    pass(&w, S_NS);
    assert_int_equal(w.skew.state, HLC_SKEW_DEGRADED);
    assert_true(w.skew.verdict.outside_us > 140 * MS && w.skew.verdict.outside_us < 250 * MS);
}

static void test_skew_outlier_is_quarantined_at_once_and_released_late(void **state) {
    (void)state;
    struct world w;
    char text[HLC_SKEW_TEXT_SIZE];
    begin(&w, 2);
    assert_int_equal(exchange_all(&w), HLC_SKEW_SYNCED);
    w.own_us = 3600 * (int64_t)(1000 * MS);
    assert_int_equal(exchange_all(&w), HLC_SKEW_QUARANTINED);
    assert_int_equal(w.skew.verdict.agreeing_count, 2);
    assert_true(w.skew.peers[0].agrees && w.skew.peers[1].agrees);
    assert_non_null(strstr(hlc_skew_reason(&w.skew, text), "ahead of what 2 of 3 nodes agree on"));
    w.own_us = 0;
    assert_int_equal(exchange_all(&w), HLC_SKEW_QUARANTINED);
    pass(&w, 19 * S_NS / 10 - S_NS / 5);
    assert_int_equal(w.skew.state, HLC_SKEW_QUARANTINED);
    pass(&w, S_NS);
    assert_int_equal(w.skew.state, HLC_SKEW_SYNCED);
    w.own_us = -400 * (int64_t)MS;
    assert_int_equal(exchange_all(&w), HLC_SKEW_QUARANTINED);
    assert_non_null(strstr(hlc_skew_reason(&w.skew, text), "behind what"));
}

// The same seen from the others: the one that is off makes no difference to them.
static void test_skew_majority_does_not_mind_the_outlier(void **state) {
    (void)state;
    struct world w;
    begin(&w, 2);
    w.clock_us[2] = -3600 * (int64_t)(1000 * MS);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(exchange_all(&w), HLC_SKEW_SYNCED);
    }
    assert_true(w.skew.peers[0].agrees);
    assert_false(w.skew.peers[1].agrees);
}

static void test_skew_strobe_stays_quarantined(void **state) {
    (void)state;
    struct world w;
    begin(&w, 4);
    assert_int_equal(exchange_all(&w), HLC_SKEW_SYNCED);
    for (int i = 0; i < 60; i++) {
        w.own_us = i % 3 == 0 ? 900 * (int64_t)MS : 0;
        assert_int_equal(exchange_all(&w), HLC_SKEW_QUARANTINED);
    }
}

static void test_skew_without_a_majority_nobody_is_isolated(void **state) {
    (void)state;
    struct world w;
    // Two nodes, an hour apart: who is right is nobody's to say.
    begin(&w, 1);
    w.clock_us[1] = 3600 * (int64_t)(1000 * MS);
    assert_int_equal(exchange_all(&w), HLC_SKEW_DEGRADED);
    // Three, all apart; four, two against two.
    begin(&w, 2);
    w.clock_us[1] = 400 * (int64_t)MS;
    w.clock_us[2] = 800 * (int64_t)MS;
    assert_int_equal(exchange_all(&w), HLC_SKEW_DEGRADED);
    begin(&w, 3);
    w.clock_us[1] = w.clock_us[2] = 900 * (int64_t)MS;
    assert_int_equal(exchange_all(&w), HLC_SKEW_DEGRADED);
    // The third one agrees with them: now it is three of four.
    w.clock_us[3] = 900 * (int64_t)MS;
    assert_int_equal(exchange_all(&w), HLC_SKEW_QUARANTINED);
}

// The witnesses fall silent: that makes the clock no better. It is over when they agree with it.
static void test_skew_quarantine_outlasts_silence(void **state) {
    (void)state;
    struct world w;
    begin(&w, 2);
    w.own_us = 900 * (int64_t)MS;
    assert_int_equal(exchange_all(&w), HLC_SKEW_QUARANTINED);
    for (int i = 0; i < 200; i++) {
        w.now_ns += S_NS / 10;
        assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
    }
    assert_false(w.skew.verdict.majority);
    char text[HLC_SKEW_TEXT_SIZE];
    assert_non_null(strstr(hlc_skew_reason(&w.skew, text), "is not heard any more"));
    // One that contradicts it is no majority either.
    (void)exchange(&w, 1, MS, MS);
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
    w.clock_us[1] = w.own_us;
    w.clock_us[2] = w.own_us;
    pass(&w, 8 * S_NS);
    assert_int_equal(w.skew.state, HLC_SKEW_SYNCED);
    // And once nothing is known of it because it was stepped, it is as at the start.
    w.own_us = 5000 * (int64_t)MS;
    hlc_skew_forget(&w.skew, w.now_ns);
    w.now_ns += 4 * S_NS;
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_DEGRADED);
}

// The first answer contradicts this clock: which of the two is right, only the third can tell.
static void test_skew_one_witness_settles_nothing(void **state) {
    (void)state;
    struct world w;
    begin(&w, 2);
    w.own_us = 3600 * 1000 * (int64_t)MS;
    (void)exchange(&w, 1, MS, MS);
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
    assert_false(w.skew.settled);
    (void)exchange(&w, 2, MS, MS);
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
    assert_true(w.skew.settled && w.skew.verdict.majority);
    // All are known and no two agree: it goes on, as everybody does.
    begin(&w, 2);
    w.own_us = 3600 * 1000 * (int64_t)MS;
    w.clock_us[2] = -w.own_us;
    assert_int_equal(exchange_all(&w), HLC_SKEW_DEGRADED);
}

static void test_skew_unsure_at_the_start(void **state) {
    (void)state;
    struct world w;
    begin(&w, 4);
    char text[HLC_SKEW_TEXT_SIZE];
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
    (void)exchange(&w, 1, MS, MS);
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
    assert_string_equal(hlc_skew_reason(&w.skew, text),
                        "unsure: 2 of 5 clocks are known since the start");
    (void)exchange(&w, 2, MS, MS);
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_SYNCED);

    // Nobody answers: not for ever.
    begin(&w, 4);
    (void)exchange(&w, 1, MS, MS);
    assert_int_equal(hlc_skew_judge(&w.skew, START_NS + 3 * S_NS - 1), HLC_SKEW_QUARANTINED);
    assert_int_equal(hlc_skew_judge(&w.skew, START_NS + 3 * S_NS), HLC_SKEW_DEGRADED);

    // Alone: nothing to be unsure about.
    begin(&w, 0);
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_SYNCED);
}

// Goal: the first answers after a step do not settle which of two clocks is right: the stepped one
// must not be used before the majority has spoken.
static void test_skew_unsure_until_a_majority_agrees(void **state) {
    (void)state;
    struct world w;
    for (uint32_t peers = 2; peers <= 4; peers += 2) {
        begin(&w, peers);
        pass(&w, S_NS);
        w.own_us = (int64_t)(14400 * S_NS / 1000);
        hlc_skew_forget(&w.skew, w.now_ns);
        for (uint32_t i = 1; i <= peers / 2; i++) {
            (void)exchange(&w, i, MS, MS);
            assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
            assert_false(w.skew.settled);
        }
        (void)exchange(&w, peers / 2 + 1, MS, MS);
        assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
        assert_true(w.skew.settled);
    }

    // All were heard and no majority agrees: nobody else will come to decide it.
    begin(&w, 2);
    w.clock_us[1] = (int64_t)S_NS;
    w.clock_us[2] = -(int64_t)S_NS;
    (void)exchange(&w, 1, MS, MS);
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
    (void)exchange(&w, 2, MS, MS);
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_DEGRADED);
}

static void test_skew_nodes_that_are_gone_do_not_count(void **state) {
    (void)state;
    struct world w;
    begin(&w, 4);
    w.own_us = 900 * (int64_t)MS;
    (void)exchange(&w, 1, MS, MS);
    (void)exchange(&w, 2, MS, MS);
    w.now_ns += 3 * S_NS;
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_DEGRADED);
    assert_true(hlc_skew_set_peer(&w.skew, 3, false, 0));
    assert_true(hlc_skew_set_peer(&w.skew, 4, false, 0));
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
    assert_int_equal(w.skew.verdict.node_count, 3);
}

// A round trip of 200 ms leaves 100 ms of doubt on either side, and then some: no witness.
static void test_skew_slow_peers_are_no_witnesses(void **state) {
    (void)state;
    struct world w;
    begin(&w, 2);
    w.own_us = 900 * (int64_t)MS;
    (void)exchange(&w, 1, 110 * MS, 110 * MS);
    (void)exchange(&w, 2, 110 * MS, 110 * MS);
    (void)hlc_skew_judge(&w.skew, w.now_ns);
    assert_int_equal(w.skew.verdict.measured_count, 1);
    w.now_ns += 3 * S_NS;
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_DEGRADED);
}

static void test_skew_exchanges_that_tell_nothing(void **state) {
    (void)state;
    struct world w;
    begin(&w, 1);
    mark_reset_all();
    const struct hlc_skew_exchange good = {.sent_wall_us = WALL_US,
                                           .received_wall_us = WALL_US + 1000,
                                           .replied_wall_us = WALL_US + 1500,
                                           .arrived_wall_us = WALL_US + 2500,
                                           .sent_ns = START_NS,
                                           .arrived_ns = START_NS + 2500000};
    struct hlc_skew_exchange x = good;
    assert_true(hlc_skew_on_exchange(&w.skew, 1, &x));
    assert_int_equal(w.skew.peers[0].samples[0].round_trip_us, 2000);
    assert_int_equal(w.skew.peers[0].samples[0].offset_us, 0);
    assert_false(hlc_skew_on_exchange(&w.skew, 9, &x));
    x.arrived_wall_us = WALL_US + 400000;  // own clock stepped on the way
    assert_false(hlc_skew_on_exchange(&w.skew, 1, &x));
    assert_int_equal(mark_count("hlc_skew.stepped_during_an_exchange"), 1);
    x = good;
    x.replied_wall_us = WALL_US + 900;  // the peer's clock went back
    assert_false(hlc_skew_on_exchange(&w.skew, 1, &x));
    x.replied_wall_us = WALL_US + 9000;  // longer than the whole
    assert_false(hlc_skew_on_exchange(&w.skew, 1, &x));
    x = good;
    x.received_wall_us = x.replied_wall_us = UINT64_MAX;
    assert_false(hlc_skew_on_exchange(&w.skew, 1, &x));
    x = good;
    x.arrived_ns = START_NS - 1;
    assert_false(hlc_skew_on_exchange(&w.skew, 1, &x));
    x.arrived_ns = START_NS + 3600 * S_NS;
    assert_false(hlc_skew_on_exchange(&w.skew, 1, &x));
}

static void test_skew_steps_void_what_was_known(void **state) {
    (void)state;
    struct world w;
    begin(&w, 1);
    struct hlc_skew_sample best;
    mark_reset_all();
    (void)exchange(&w, 1, 100, 100);
    w.clock_us[1] = 80 * (int64_t)MS;
    (void)exchange(&w, 1, 20 * MS, 20 * MS);  // worse, and yet the truth
    assert_true(hlc_skew_best(&w.skew, &w.skew.peers[0], w.now_ns, &best));
    assert_int_equal(best.offset_us, 80 * (int64_t)MS);
    assert_int_equal(w.skew.peers[0].steps, 1);
    assert_int_equal(mark_count("hlc_skew.a_clock_was_stepped"), 1);
    hlc_skew_forget(&w.skew, w.now_ns);
    assert_false(hlc_skew_best(&w.skew, &w.skew.peers[0], w.now_ns, &best));
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_QUARANTINED);
    (void)exchange(&w, 1, MS, MS);
    assert_int_equal(hlc_skew_judge(&w.skew, w.now_ns), HLC_SKEW_SYNCED);
}

static void test_skew_faster_than_light_is_counted(void **state) {
    (void)state;
    // Frankfurt and Tokyo: some 9 300 km, 46 ms in fibre.
    const uint64_t floor_us = hlc_skew_light_us(50110000, 8680000, 35680000, 139690000);
    assert_in_range(floor_us, 45000, 48000);
    assert_int_equal(hlc_skew_light_us(50110000, 8680000, 50110000, 8680000), 0);
    assert_in_range(hlc_skew_light_us(90000000, 0, -90000000, 0), 99000, 101000);
    struct world w;
    begin(&w, 1);
    assert_true(hlc_skew_set_peer(&w.skew, 1, true, floor_us));
    (void)exchange(&w, 1, 60 * MS, 60 * MS);
    assert_int_equal(w.skew.peers[0].violations, 0);
    w.clock_us[1] = 30 * (int64_t)MS;  // the way back seems to take 30 ms
    (void)exchange(&w, 1, 60 * MS, 60 * MS);
    assert_int_equal(w.skew.peers[0].violations, 1);
}

// Clocks and ways drawn at random: those in quarantine are a minority, whatever happens; and who is
// far from all others, when these are close together, is in it.
static uint32_t check_cluster(struct prng *prng, uint32_t nodes) {
    int64_t clock_us[16];
    const uint64_t wide_us = prng_chance(prng, 1, 2) ? 200 * MS : 900 * MS;
    for (uint32_t i = 0; i < nodes; i++) {
        clock_us[i] = (int64_t)prng_between(prng, 0, wide_us);
        if (prng_chance(prng, 1, 4)) { clock_us[i] = (int64_t)prng_between(prng, 0, 5000 * MS); }
    }
    const uint64_t way_us_max = prng_chance(prng, 1, 2) ? 5 * MS : 100 * MS;
    uint32_t isolated = 0;
    for (uint32_t i = 0; i < nodes; i++) {
        struct world w;
        begin(&w, 0);
        w.own_us = clock_us[i];
        for (uint32_t k = 0; k < nodes; k++) {
            w.clock_us[k + 1] = clock_us[k];
            if (k != i) { (void)hlc_skew_set_peer(&w.skew, k + 1, true, 0); }
        }
        for (uint32_t k = 0; k < w.skew.peer_count; k++) {
            (void)exchange(&w, w.skew.peers[k].node, prng_between(prng, 0, way_us_max),
                           prng_between(prng, 0, way_us_max));
        }
        (void)hlc_skew_judge(&w.skew, w.now_ns);
        isolated += w.skew.settled && w.skew.state == HLC_SKEW_QUARANTINED;
    }
    assert_true(isolated < nodes - nodes / 2);
    return isolated;
}

static void test_skew_isolated_nodes_are_a_minority(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 11);
    uint32_t isolated = 0;
    for (int round = 0; round < 20000; round++) {
        isolated += check_cluster(&prng, (uint32_t)prng_between(&prng, 2, 9));
    }
    assert_true(isolated > 1000);  // it does happen
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skew_offset_is_never_wrong_by_more_than_its_error),
        cmocka_unit_test(test_skew_best_is_the_quickest_until_it_has_aged),
        cmocka_unit_test(test_skew_agreeing_clocks_are_synced),
        cmocka_unit_test(test_skew_beyond_the_bound_is_degraded),
        cmocka_unit_test(test_skew_outlier_is_quarantined_at_once_and_released_late),
        cmocka_unit_test(test_skew_majority_does_not_mind_the_outlier),
        cmocka_unit_test(test_skew_strobe_stays_quarantined),
        cmocka_unit_test(test_skew_without_a_majority_nobody_is_isolated),
        cmocka_unit_test(test_skew_quarantine_outlasts_silence),
        cmocka_unit_test(test_skew_one_witness_settles_nothing),
        cmocka_unit_test(test_skew_unsure_at_the_start),
        cmocka_unit_test(test_skew_unsure_until_a_majority_agrees),
        cmocka_unit_test(test_skew_nodes_that_are_gone_do_not_count),
        cmocka_unit_test(test_skew_slow_peers_are_no_witnesses),
        cmocka_unit_test(test_skew_exchanges_that_tell_nothing),
        cmocka_unit_test(test_skew_steps_void_what_was_known),
        cmocka_unit_test(test_skew_faster_than_light_is_counted),
        cmocka_unit_test(test_skew_isolated_nodes_are_a_minority),
    };
    return cmocka_run_group_tests_name("hlc_skew", tests, NULL, NULL);
}
