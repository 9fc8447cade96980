// SPDX-License-Identifier: Apache-2.0
// The clock is Kulkarni's with both parts in one integer, so
// that every comparison is one instruction and an overflow of the counter is an ordinary carry.
// Text is parsed by hand, strictly: a timestamp typed by an operator decides what a read returns,
// so nothing is guessed.
#include "dataplane/hlc/hlc.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/civil.h"
#include "dataplane/base/mutant.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

static_assert(HLC_WALL_US_END == CIVIL_US_MAX + 1, "every timestamp has a calendar time");
static_assert(HLC_TEXT_SIZE >= CIVIL_TEXT_SIZE + sizeof("+4095"), "the longest text fits");

enum {
    LOGICAL_MAX = (1 << HLC_LOGICAL_BITS) - 1,
    // What the counters of nodes that hear of each other's entries may differ by: 65 536 events. At
    // so many steps in a second no client moves a clock faster than time does.
    NEAR_US = 16,
};

struct hlc_ts hlc_add_us(struct hlc_ts ts, uint64_t us) {
    struct hlc_ts sum = HLC_MAX;
    if (us < HLC_WALL_US_END && !__builtin_add_overflow(ts.v, us << HLC_LOGICAL_BITS, &sum.v)) {
        ASSERT(sum.v >= ts.v);
        return sum;
    }
    return HLC_MAX;
}

void hlc_init(struct hlc_clock *self, uint64_t lead_us_max) {
    ASSERT(self != NULL);
    *self = (struct hlc_clock){.last = HLC_ZERO, .lead_us_max = lead_us_max};
}

struct hlc_ts hlc_now(struct hlc_clock *self, uint64_t wall_us) {
    ASSERT(wall_us < HLC_WALL_US_END);
    ASSERT(hlc_before(self->last, HLC_MAX));
    const struct hlc_ts next = {self->last.v + 1};
    self->last = hlc_larger(next, hlc_from_wall(wall_us));
    ASSERT(!hlc_before(self->last, next));
    return self->last;
}

struct hlc_ts hlc_peek(const struct hlc_clock *self, uint64_t wall_us) {
    ASSERT(wall_us < HLC_WALL_US_END);
    return hlc_larger(self->last, hlc_from_wall(wall_us));
}

static enum status observe(struct hlc_clock *self, struct hlc_ts remote, uint64_t wall_us,
                           uint64_t near_us) {
    ASSERT(wall_us < HLC_WALL_US_END);
    if (!hlc_before(self->last, remote)) { return STATUS_OK; }
    const uint64_t remote_us = hlc_wall_us(remote);
    const bool near = !hlc_before(hlc_add_us(self->last, near_us), remote);
    const bool ahead = remote_us > wall_us && remote_us - wall_us > self->lead_us_max;
    if (ahead && !near && !MUTANT(LEAD_UNCHECKED)) { return STATUS_CLOCK_AHEAD; }
    // A lead so wide that it admits the end of time would leave hlc_now nothing to give.
    if (hlc_equal(remote, HLC_MAX)) { return STATUS_CLOCK_AHEAD; }
    self->last = remote;
    return STATUS_OK;
}

enum status hlc_observe(struct hlc_clock *self, struct hlc_ts remote, uint64_t wall_us) {
    return observe(self, remote, wall_us, NEAR_US);
}

enum status hlc_observe_peer(struct hlc_clock *self, struct hlc_ts remote, uint64_t wall_us) {
    return observe(self, remote, wall_us, self->lead_us_max);
}

void hlc_adopt(struct hlc_clock *self, struct hlc_ts decided) {
    ASSERT(hlc_before(decided, HLC_MAX));
    self->last = hlc_larger(self->last, decided);
}

char *hlc_format(struct hlc_ts ts, char out[HLC_TEXT_SIZE]) {
    ASSERT(out != NULL);
    (void)civil_format(hlc_wall_us(ts), out);
    char *at = out + CIVIL_TEXT_SIZE - 1;
    const size_t room = HLC_TEXT_SIZE - (CIVIL_TEXT_SIZE - 1);
    const int size = snprintf(at, room, "+%" PRIu64, ts.v & LOGICAL_MAX);
    ASSERT(size > 0 && (size_t)size < room);
    return out;
}

// What is left of a text being parsed; `ok` is sticky, so that one test at the end suffices.
struct text_cursor {
    struct slice left;
    bool ok;
};

static bool next_is(const struct text_cursor *self, char c) {
    return self->left.size > 0 && self->left.data[0] == (uint8_t)c;
}

static bool next_is_digit(const struct text_cursor *self) {
    return self->left.size > 0 && self->left.data[0] >= '0' && self->left.data[0] <= '9';
}

static void skip_one(struct text_cursor *self) {
    ASSERT(self->left.size > 0);
    self->left = slice_make(self->left.data + 1, self->left.size - 1);
}

static void expect(struct text_cursor *self, char c) {
    if (next_is(self, c)) {
        skip_one(self);
    } else {
        self->ok = false;
    }
}

// Between digits_min and digits_max digits; fails on overflow of 64 bits.
static uint64_t get_number(struct text_cursor *self, unsigned digits_min, unsigned digits_max) {
    uint64_t value = 0;
    unsigned digits = 0;
    for (; digits < digits_max && next_is_digit(self); digits++) {
        const uint64_t digit = (uint64_t)(self->left.data[0] - '0');
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            self->ok = false;
        }
        skip_one(self);
    }
    self->ok = self->ok && digits >= digits_min;
    return value;
}

// ".123" is 123 000 microseconds.
static uint32_t get_fraction(struct text_cursor *self) {
    if (!next_is(self, '.')) { return 0; }
    skip_one(self);
    const size_t before = self->left.size;
    uint64_t value = get_number(self, 1, 6);
    for (size_t digits = before - self->left.size; digits < 6; digits++) {
        value *= 10;
    }
    return (uint32_t)value;
}

static uint64_t get_calendar_time(struct text_cursor *self) {
    struct civil civil = {0};
    civil.year = (uint32_t)get_number(self, 4, 4);
    expect(self, '-');
    civil.month = (uint32_t)get_number(self, 2, 2);
    expect(self, '-');
    civil.day = (uint32_t)get_number(self, 2, 2);
    expect(self, 'T');
    civil.hour = (uint32_t)get_number(self, 2, 2);
    expect(self, ':');
    civil.minute = (uint32_t)get_number(self, 2, 2);
    expect(self, ':');
    civil.second = (uint32_t)get_number(self, 2, 2);
    civil.us = get_fraction(self);
    expect(self, 'Z');
    uint64_t us = 0;
    self->ok = self->ok && civil_to_us(civil, &us);
    return us;
}

static bool is_all_digits(struct slice text) {
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') { return false; }
    }
    return text.size > 0;
}

enum status hlc_parse(struct slice text, struct hlc_ts *out_ts) {
    ASSERT(out_ts != NULL);
    enum { DECIMAL_DIGITS_MAX = 20, LOGICAL_DIGITS_MAX = 4 };
    struct text_cursor cursor = {.left = text, .ok = true};
    struct hlc_ts ts = HLC_ZERO;
    if (is_all_digits(text)) {
        ts.v = get_number(&cursor, 1, DECIMAL_DIGITS_MAX);
    } else {
        ts = hlc_from_wall(get_calendar_time(&cursor));
        if (next_is(&cursor, '+')) {
            skip_one(&cursor);
            const uint64_t logical = get_number(&cursor, 1, LOGICAL_DIGITS_MAX);
            cursor.ok = cursor.ok && logical <= LOGICAL_MAX;
            ts.v |= logical;
        }
    }
    if (!cursor.ok || cursor.left.size > 0) { return STATUS_INVALID_ARGUMENT; }
    *out_ts = ts;
    return STATUS_OK;
}
