// SPDX-License-Identifier: Apache-2.0
// Whole days are counted from 1970-01-01; a year's first day follows from the Gregorian rule in
// closed form. The range is 142 years, so the year is found by a guess that is at most one short:
// days / 366 can lag by (366 - 365.2425) * 142 / 366, which is less than one.
#include "dataplane/base/civil.h"

#include "dataplane/base/assert.h"

#include <stddef.h>

enum { US_PER_SECOND = 1000000, SECONDS_PER_DAY = 86400, YEAR_FIRST = 1970, YEAR_LAST = 2112 };

static const uint32_t days_before_month[13] = {0,   31,  59,  90,  120, 151, 181,
                                               212, 243, 273, 304, 334, 365};

static bool is_leap(uint32_t year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

// Days from 1970-01-01 to January 1st of the year; each term counts the leap-rule years passed
// since.
static uint32_t days_before_year(uint32_t year) {
    ASSERT(year >= YEAR_FIRST);
    const uint32_t past = year - 1;
    const uint32_t leaps =
        (past / 4 - 1969 / 4) - (past / 100 - 1969 / 100) + (past / 400 - 1969 / 400);
    return (year - YEAR_FIRST) * 365 + leaps;
}

// Days of the year before the month (1 to 13).
static uint32_t month_offset(uint32_t year, uint32_t month) {
    ASSERT(month >= 1 && month <= 13);
    return days_before_month[month - 1] + ((month > 2 && is_leap(year)) ? 1 : 0);
}

struct civil civil_from_us(uint64_t us) {
    ASSERT(us <= CIVIL_US_MAX);
    const uint64_t seconds = us / US_PER_SECOND;
    const uint32_t days = (uint32_t)(seconds / SECONDS_PER_DAY);
    const uint32_t of_day = (uint32_t)(seconds % SECONDS_PER_DAY);
    uint32_t year = YEAR_FIRST + days / 366;
    while (days_before_year(year + 1) <= days) {
        year++;
    }
    const uint32_t of_year = days - days_before_year(year);
    uint32_t month = 1;
    while (month_offset(year, month + 1) <= of_year) {
        month++;
    }
    return (struct civil){
        .year = year,
        .month = month,
        .day = of_year - month_offset(year, month) + 1,
        .hour = of_day / 3600,
        .minute = of_day / 60 % 60,
        .second = of_day % 60,
        .us = (uint32_t)(us % US_PER_SECOND),
    };
}

bool civil_to_us(struct civil civil, uint64_t *out_us) {
    ASSERT(out_us != NULL);
    if (civil.year < YEAR_FIRST || civil.year > YEAR_LAST || civil.month < 1 || civil.month > 12) {
        return false;
    }
    const uint32_t month_days =
        month_offset(civil.year, civil.month + 1) - month_offset(civil.year, civil.month);
    if (civil.day < 1 || civil.day > month_days || civil.hour > 23 || civil.minute > 59 ||
        civil.second > 59 || civil.us >= US_PER_SECOND) {
        return false;
    }
    const uint64_t days =
        days_before_year(civil.year) + month_offset(civil.year, civil.month) + civil.day - 1;
    const uint64_t seconds =
        days * SECONDS_PER_DAY + civil.hour * 3600 + civil.minute * 60 + civil.second;
    const uint64_t us = seconds * US_PER_SECOND + civil.us;
    if (us > CIVIL_US_MAX) { return false; }
    *out_us = us;
    return true;
}

// Writes value in exactly `digits` decimal digits and then one separator; returns the end.
static char *put_digits(char *at, uint32_t value, uint32_t digits, char after) {
    for (uint32_t i = digits; i > 0; i--) {
        at[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
    at[digits] = after;
    return at + digits + 1;
}

char *civil_format(uint64_t us, char out[CIVIL_TEXT_SIZE]) {
    ASSERT(out != NULL);
    const struct civil civil = civil_from_us(us);
    char *at = out;
    at = put_digits(at, civil.year, 4, '-');
    at = put_digits(at, civil.month, 2, '-');
    at = put_digits(at, civil.day, 2, 'T');
    at = put_digits(at, civil.hour, 2, ':');
    at = put_digits(at, civil.minute, 2, ':');
    at = put_digits(at, civil.second, 2, '.');
    at = put_digits(at, civil.us, 6, 'Z');
    *at = '\0';
    ASSERT(at == out + CIVIL_TEXT_SIZE - 1);
    return out;
}
