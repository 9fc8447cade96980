// SPDX-License-Identifier: Apache-2.0
// The calendar, day by day over its whole range, and the fields that no calendar has.
#include "dataplane/base/civil.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define US_PER_DAY UINT64_C(86400000000)

static unsigned month_days(unsigned year, unsigned month) {
    if (month == 2) { return (year % 4 == 0 && year != 2100) ? 29 : 28; }
    return (month == 4 || month == 6 || month == 9 || month == 11) ? 30 : 31;
}

// Goal: counting days one by one, as a child would, meets the closed form on every day until 2112.
static void test_civil_every_day_until_2112(void **state) {
    (void)state;
    struct civil expected = {.year = 1970, .month = 1, .day = 1};
    uint64_t us = 0;
    for (; us <= CIVIL_US_MAX; us += US_PER_DAY) {
        const struct civil got = civil_from_us(us);
        assert_int_equal(got.year, expected.year);
        assert_int_equal(got.month, expected.month);
        assert_int_equal(got.day, expected.day);
        uint64_t back = 1;
        assert_true(civil_to_us(expected, &back));
        assert_true(back == us);
        expected.day++;
        if (expected.day > month_days(expected.year, expected.month)) {
            expected.day = 1;
            expected.month++;
        }
        if (expected.month > 12) {
            expected.month = 1;
            expected.year++;
        }
    }
    assert_int_equal(expected.year, 2112);
    assert_int_equal(expected.month, 9);
    assert_int_equal(expected.day, 18);
}

static void expect_text(uint64_t us, const char *text) {
    char out[CIVIL_TEXT_SIZE];
    assert_string_equal(civil_format(us, out), text);
}

// Goal: known instants, the first, the last, and both sides of leap days.
static void test_civil_format_known_instants(void **state) {
    (void)state;
    expect_text(0, "1970-01-01T00:00:00.000000Z");
    expect_text(UINT64_C(951782399999999), "2000-02-28T23:59:59.999999Z");
    expect_text(UINT64_C(951782400000000), "2000-02-29T00:00:00.000000Z");
    expect_text(UINT64_C(1709251199000001), "2024-02-29T23:59:59.000001Z");
    expect_text(UINT64_C(4107542399000000), "2100-02-28T23:59:59.000000Z");
    expect_text(UINT64_C(4107542400000000), "2100-03-01T00:00:00.000000Z");
    expect_text(CIVIL_US_MAX, "2112-09-17T23:53:47.370495Z");
}

// Goal: dates that do not exist are refused, and leave the output alone.
static void test_civil_to_us_refuses_what_no_calendar_has(void **state) {
    (void)state;
    const struct civil bad[] = {
        {.year = 1969, .month = 12, .day = 31},
        {.year = 2026, .month = 0, .day = 1},
        {.year = 2026, .month = 13, .day = 1},
        {.year = 2026, .month = 1, .day = 0},
        {.year = 2026, .month = 4, .day = 31},
        {.year = 2026, .month = 2, .day = 29},
        {.year = 2100, .month = 2, .day = 29},
        {.year = 2026, .month = 1, .day = 1, .hour = 24},
        {.year = 2026, .month = 1, .day = 1, .minute = 60},
        {.year = 2026, .month = 6, .day = 30, .hour = 23, .minute = 59, .second = 60},
        {.year = 2026, .month = 1, .day = 1, .us = 1000000},
        {.year = 2112, .month = 9, .day = 17, .hour = 23, .minute = 53, .second = 47, .us = 370496},
        {.year = 2113, .month = 1, .day = 1},
        {.year = UINT32_MAX, .month = 1, .day = 1},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t us = 77;
        assert_false(civil_to_us(bad[i], &us));
        assert_int_equal(us, 77);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_civil_every_day_until_2112),
        cmocka_unit_test(test_civil_format_known_instants),
        cmocka_unit_test(test_civil_to_us_refuses_what_no_calendar_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
