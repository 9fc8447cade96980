// SPDX-License-Identifier: Apache-2.0
// The clock, sentence by sentence, and both forms of its text.
#include "dataplane/hlc/hlc.h"

#include "dataplane/base/prng.h"
#include "tests/unit/dataplane/base/death.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LEAD_US = 1000000 };
#define WALL UINT64_C(1795176000000000)  // 2026-11-20T12:00:00Z

static struct hlc_clock clock_new(void) {
    struct hlc_clock clock;
    hlc_init(&clock, LEAD_US);
    return clock;
}

// Goal: "now: last = max(last + 1, wall << 12)", with the wall ahead, equal and behind.
static void test_hlc_now_takes_the_larger_of_wall_and_step(void **state) {
    (void)state;
    struct hlc_clock clock = clock_new();
    assert_true(hlc_now(&clock, WALL).v == WALL << 12);
    assert_true(hlc_now(&clock, WALL).v == (WALL << 12) + 1);
    assert_true(hlc_now(&clock, WALL - 5000000).v == (WALL << 12) + 2);
    assert_true(hlc_now(&clock, WALL + 1).v == (WALL + 1) << 12);
}

// Goal: strictly increasing, whatever the wall clock does.
static void test_hlc_now_increases_under_a_mad_wall_clock(void **state) {
    (void)state;
    struct hlc_clock clock = clock_new();
    struct prng prng;
    prng_init(&prng, 3);
    struct hlc_ts before = HLC_ZERO;
    for (unsigned i = 0; i < 20000; i++) {
        const uint64_t wall = prng_chance(&prng, 1, 10) ? prng_below(&prng, WALL) : WALL + i;
        const struct hlc_ts now = hlc_now(&clock, wall);
        assert_true(hlc_before(before, now));
        assert_false(hlc_wall_us(now) < wall);
        before = now;
    }
}

// Goal: more than 4096 timestamps in a microsecond carry into the microseconds and stay increasing.
static void test_hlc_full_counter_carries(void **state) {
    (void)state;
    struct hlc_clock clock = clock_new();
    for (unsigned i = 0; i < 4096; i++) {
        assert_true(hlc_wall_us(hlc_now(&clock, WALL)) == WALL);
    }
    const struct hlc_ts carried = hlc_now(&clock, WALL);
    assert_true(carried.v == (WALL + 1) << 12);
}

// Goal: looking changes nothing.
static void test_hlc_peek_does_not_step(void **state) {
    (void)state;
    struct hlc_clock clock = clock_new();
    assert_true(hlc_peek(&clock, WALL).v == WALL << 12);
    assert_true(clock.last.v == 0);
    const struct hlc_ts now = hlc_now(&clock, WALL);
    assert_true(hlc_equal(hlc_peek(&clock, WALL - 7), now));
}

// Goal: "observe: last = max(last, remote)"; the next timestamp lies above what was seen.
static void test_hlc_observe_moves_forward_only(void **state) {
    (void)state;
    struct hlc_clock clock = clock_new();
    const struct hlc_ts remote = {(WALL << 12) + 9};
    assert_int_equal(hlc_observe(&clock, remote, WALL), STATUS_OK);
    assert_true(hlc_equal(clock.last, remote));
    assert_int_equal(hlc_observe(&clock, hlc_from_wall(WALL - 1), WALL), STATUS_OK);
    assert_true(hlc_equal(clock.last, remote));
    assert_true(hlc_before(remote, hlc_now(&clock, WALL - 1000)));
}

// Goal: the lead is exact: allowed at max_clock_lead, refused one microsecond beyond, without
// effect.
static void test_hlc_observe_refuses_beyond_the_lead(void **state) {
    (void)state;
    struct hlc_clock clock = clock_new();
    (void)hlc_now(&clock, WALL);
    const struct hlc_ts before = clock.last;
    const struct hlc_ts beyond = hlc_from_wall(WALL + LEAD_US + 1);
    assert_int_equal(hlc_observe(&clock, beyond, WALL), STATUS_CLOCK_AHEAD);
    assert_int_equal(hlc_observe(&clock, hlc_add_us(beyond, UINT64_C(31536000000000)), WALL),
                     STATUS_CLOCK_AHEAD);
    assert_int_equal(hlc_observe(&clock, HLC_MAX, WALL), STATUS_CLOCK_AHEAD);
    assert_true(hlc_equal(clock.last, before));
    const struct hlc_ts within = {hlc_from_wall(WALL + LEAD_US).v + 4095};
    assert_int_equal(hlc_observe(&clock, within, WALL), STATUS_OK);
    assert_true(hlc_equal(clock.last, within));
}

// Goal: with no limit on the lead the end of time is still refused: nothing would come after it.
static void test_hlc_observe_never_takes_the_end_of_time(void **state) {
    (void)state;
    struct hlc_clock clock;
    hlc_init(&clock, UINT64_MAX);
    assert_int_equal(hlc_observe(&clock, HLC_MAX, WALL), STATUS_CLOCK_AHEAD);
    assert_int_equal(hlc_observe(&clock, (struct hlc_ts){UINT64_MAX - 1}, WALL), STATUS_OK);
}

// Goal: after a backward jump of the wall clock, tokens given out before it are still accepted.
static void test_hlc_observe_accepts_what_is_already_reached(void **state) {
    (void)state;
    struct hlc_clock clock = clock_new();
    const struct hlc_ts token = hlc_now(&clock, WALL);
    assert_int_equal(hlc_observe(&clock, token, WALL - UINT64_C(3600000000)), STATUS_OK);
    assert_true(hlc_equal(clock.last, token));
}

// Goal: clocks that stand far above their walls, because all have adopted what was decided there,
// go on hearing each other; one that is far ahead of those is refused still.
static void test_hlc_observe_far_above_the_wall(void **state) {
    (void)state;
    const uint64_t far_us = WALL + UINT64_C(3600000000);
    struct hlc_clock clock = clock_new();
    hlc_adopt(&clock, hlc_from_wall(far_us));
    // A peer whose ceiling was some milliseconds higher.
    const struct hlc_ts peer = hlc_from_wall(far_us + 10000);
    assert_int_equal(hlc_observe(&clock, peer, WALL), STATUS_CLOCK_AHEAD);
    assert_int_equal(hlc_observe_peer(&clock, peer, WALL), STATUS_OK);
    assert_true(hlc_equal(clock.last, peer));
    const struct hlc_ts beyond = hlc_from_wall(far_us + 10000 + LEAD_US + 1);
    assert_int_equal(hlc_observe_peer(&clock, beyond, WALL), STATUS_CLOCK_AHEAD);
    // A token that another node's counter gave out.
    const struct hlc_ts token = {peer.v + 4095};
    assert_int_equal(hlc_observe(&clock, token, WALL), STATUS_OK);
    assert_int_equal(hlc_observe(&clock, hlc_add_us(token, 17), WALL), STATUS_CLOCK_AHEAD);
    assert_true(hlc_equal(clock.last, token));
    // Where the clock is at its wall, the lead counts from there for both.
    struct hlc_clock usual = clock_new();
    (void)hlc_now(&usual, WALL);
    const struct hlc_ts ahead = hlc_from_wall(WALL + LEAD_US + 1);
    assert_int_equal(hlc_observe_peer(&usual, ahead, WALL), STATUS_CLOCK_AHEAD);
    assert_int_equal(hlc_observe_peer(&usual, HLC_MAX, WALL), STATUS_CLOCK_AHEAD);
    assert_int_equal(hlc_observe_peer(&usual, hlc_from_wall(WALL + LEAD_US), WALL), STATUS_OK);
}

// Goal: decided timestamps are taken whatever their lead, and never move the clock back.
static void test_hlc_adopt_takes_any_lead(void **state) {
    (void)state;
    struct hlc_clock clock = clock_new();
    const struct hlc_ts far = hlc_from_wall(WALL + UINT64_C(86400000000));
    hlc_adopt(&clock, far);
    assert_true(hlc_equal(clock.last, far));
    hlc_adopt(&clock, hlc_from_wall(WALL));
    assert_true(hlc_equal(clock.last, far));
    assert_true(hlc_now(&clock, WALL).v == far.v + 1);
}

// Goal: additions saturate; a wrapped timestamp would order before everything.
static void test_hlc_add_saturates(void **state) {
    (void)state;
    assert_true(hlc_add_us(hlc_from_wall(5), 7).v == hlc_from_wall(12).v);
    assert_true(hlc_equal(hlc_add_us((struct hlc_ts){1}, HLC_WALL_US_END - 1),
                          (struct hlc_ts){((HLC_WALL_US_END - 1) << 12) + 1}));
    assert_true(hlc_equal(hlc_add_us(HLC_ZERO, HLC_WALL_US_END), HLC_MAX));
    assert_true(hlc_equal(hlc_add_us(hlc_from_wall(WALL), UINT64_MAX), HLC_MAX));
    assert_true(hlc_equal(hlc_add_us(HLC_MAX, 1), HLC_MAX));
}

static void wall_beyond_the_end(void *ctx) {
    struct hlc_clock clock = clock_new();
    (void)ctx;
    (void)hlc_now(&clock, HLC_WALL_US_END);
}

static void adopt_the_end_of_time(void *ctx) {
    struct hlc_clock clock = clock_new();
    (void)ctx;
    hlc_adopt(&clock, HLC_MAX);
}

// Goal: misuse that would break the order stops the process.
static void test_hlc_misuse_is_asserted(void **state) {
    (void)state;
    assert_true(death_by_assert(wall_beyond_the_end, NULL));
    assert_true(death_by_assert(adopt_the_end_of_time, NULL));
}

struct text_case {
    const char *text;
    uint64_t v;
};

// Goal: the printed form is the documented one, at both ends of time too.
static void test_hlc_format_is_the_documented_form(void **state) {
    (void)state;
    const struct text_case cases[] = {
        {"2026-11-20T12:00:00.123456Z+7", ((WALL + 123456) << 12) + 7},
        {"1970-01-01T00:00:00.000000Z+0", 0},
        {"2112-09-17T23:53:47.370495Z+4095", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[HLC_TEXT_SIZE];
        assert_string_equal(hlc_format((struct hlc_ts){cases[i].v}, out), cases[i].text);
    }
}

// Goal: both forms are read, counter and fraction optional.
static void test_hlc_parse_accepts_both_forms(void **state) {
    (void)state;
    const struct text_case cases[] = {
        {"2026-11-20T12:00:00.123456Z+7", ((WALL + 123456) << 12) + 7},
        {"2026-11-20T12:00:00.123456Z", (WALL + 123456) << 12},
        {"2026-11-20T12:00:00.5Z", (WALL + 500000) << 12},
        {"2026-11-20T12:00:00Z+4095", (WALL << 12) + 4095},
        {"2024-02-29T00:00:00Z", UINT64_C(1709164800000000) << 12},
        {"0", 0},
        {"007", 7},
        {"18446744073709551615", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hlc_ts ts = HLC_ZERO;
        assert_int_equal(hlc_parse(slice_from_string(cases[i].text), &ts), STATUS_OK);
        assert_true(ts.v == cases[i].v);
    }
}

// Goal: nothing is guessed; a refused text leaves the output alone.
static void test_hlc_parse_refuses_the_rest(void **state) {
    (void)state;
    const char *const bad[] = {"",
                               " 7",
                               "7 ",
                               "-1",
                               "+7",
                               "0x10",
                               "1e9",
                               "18446744073709551616",
                               "000000000000000000007",
                               "99999999999999999999",
                               "2026-11-20",
                               "2026-11-20T12:00:00",
                               "2026-11-20 12:00:00Z",
                               "2026-11-20T12:00:00z",
                               "2026-11-20T12:00:00.Z",
                               "2026-11-20T12:00:00.1234567Z",
                               "2026-11-20T12:00:00Z+",
                               "2026-11-20T12:00:00Z+4096",
                               "2026-11-20T12:00:00Z+00007",
                               "2026-11-20T12:00:00Z-7",
                               "2026-11-20T12:00:00Z+7 ",
                               "2026-11-20T12:00:00+01:00",
                               "2026-2-3T12:00:00Z",
                               "2025-02-29T00:00:00Z",
                               "2026-11-20T24:00:00Z",
                               "1969-12-31T23:59:59Z",
                               "2016-12-31T23:59:60Z",
                               "2112-09-17T23:53:47.370496Z",
                               "9999-01-01T00:00:00Z",
                               "Z",
                               "now"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct hlc_ts ts = {77};
        assert_int_equal(hlc_parse(slice_from_string(bad[i]), &ts), STATUS_INVALID_ARGUMENT);
        assert_true(ts.v == 77);
    }
    struct hlc_ts ts = {77};
    assert_int_equal(hlc_parse(SLICE_LITERAL("7\0"), &ts), STATUS_INVALID_ARGUMENT);
}

// Goal: what is printed is read back, for any timestamp.
static void test_hlc_text_round_trip(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 23);
    for (unsigned i = 0; i < 5000; i++) {
        const struct hlc_ts ts = {prng_next(&prng) >> prng_below(&prng, 64)};
        char out[HLC_TEXT_SIZE];
        struct hlc_ts back = HLC_ZERO;
        assert_int_equal(hlc_parse(slice_from_string(hlc_format(ts, out)), &back), STATUS_OK);
        assert_true(hlc_equal(back, ts));
        (void)snprintf(out, sizeof(out), "%" PRIu64, ts.v);
        assert_int_equal(hlc_parse(slice_from_string(out), &back), STATUS_OK);
        assert_true(hlc_equal(back, ts));
    }
}

// Goal: mutilated texts are answered, never a crash or a read outside (AddressSanitizer watches).
static void test_hlc_parse_survives_noise(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 29);
    for (unsigned i = 0; i < 20000; i++) {
        char text[HLC_TEXT_SIZE];
        (void)hlc_format((struct hlc_ts){prng_next(&prng)}, text);
        const size_t size = prng_below(&prng, strlen(text) + 1);
        // An exact copy on the heap, so that one byte too far is noticed.
        struct bytes *copy = bytes_copy(slice_make(text, size));
        if (size > 0) { copy->data[prng_below(&prng, size)] = (uint8_t)prng_next(&prng); }
        struct hlc_ts ts = HLC_ZERO;
        const enum status st = hlc_parse(bytes_slice(copy), &ts);
        assert_true(st == STATUS_OK || st == STATUS_INVALID_ARGUMENT);
        bytes_unref(copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hlc_now_takes_the_larger_of_wall_and_step),
        cmocka_unit_test(test_hlc_now_increases_under_a_mad_wall_clock),
        cmocka_unit_test(test_hlc_full_counter_carries),
        cmocka_unit_test(test_hlc_peek_does_not_step),
        cmocka_unit_test(test_hlc_observe_moves_forward_only),
        cmocka_unit_test(test_hlc_observe_refuses_beyond_the_lead),
        cmocka_unit_test(test_hlc_observe_never_takes_the_end_of_time),
        cmocka_unit_test(test_hlc_observe_accepts_what_is_already_reached),
        cmocka_unit_test(test_hlc_observe_far_above_the_wall),
        cmocka_unit_test(test_hlc_adopt_takes_any_lead),
        cmocka_unit_test(test_hlc_add_saturates),
        cmocka_unit_test(test_hlc_misuse_is_asserted),
        cmocka_unit_test(test_hlc_format_is_the_documented_form),
        cmocka_unit_test(test_hlc_parse_accepts_both_forms),
        cmocka_unit_test(test_hlc_parse_refuses_the_rest),
        cmocka_unit_test(test_hlc_text_round_trip),
        cmocka_unit_test(test_hlc_parse_survives_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
