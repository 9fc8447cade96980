// SPDX-License-Identifier: Apache-2.0
// The ring of events: what it keeps, of whom, in which order, and at which times.
#include "txn/trace/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { RING = 8 };

static struct hlc_ts now;
static struct trace *trace;

static struct hlc_ts read_clock(void *ctx) {
    return *(struct hlc_ts *)ctx;
}

static int setup(void **state) {
    (void)state;
    now = (struct hlc_ts){100};
    trace = trace_create(RING, (struct trace_clock){&now, read_clock});
    return 0;
}

static int teardown(void **state) {
    (void)state;
    trace_destroy(trace);
    return 0;
}

static struct txn_id id_of(uint8_t number) {
    return (struct txn_id){{[15] = number}};
}

static void note(uint8_t number, uint64_t value) {
    const struct txn_id id = id_of(number);
    trace_note(trace, &id, (struct trace_event){.kind = TRACE_SENT, .value = value});
}

struct seen {
    uint32_t count;
    uint32_t max;
    struct trace_event events[2 * RING];
};

static bool see(void *ctx, const struct trace_event *event) {
    struct seen *self = ctx;
    self->events[self->count++] = *event;
    return self->count < self->max;
}

static struct seen seen_of(uint8_t number, uint32_t max) {
    struct seen seen = {.max = max};
    trace_each(trace, id_of(number), see, &seen);
    return seen;
}

// Goal: events of one id only, in the order in which they were noted, with the clock's times.
static void test_trace_events_of_one_transaction_in_order(void **state) {
    (void)state;
    note(1, 10);
    now.v = 105;
    note(2, 20);
    note(1, 11);
    const struct seen one = seen_of(1, RING);
    assert_int_equal(one.count, 2);
    assert_int_equal(one.events[0].value, 10);
    assert_int_equal(one.events[0].at.v, 100);
    assert_int_equal(one.events[1].value, 11);
    assert_int_equal(one.events[1].at.v, 105);
    assert_int_equal(seen_of(2, RING).count, 1);
    assert_int_equal(seen_of(3, RING).count, 0);
    assert_int_equal(seen_of(1, 1).count, 1);
}

// Goal: the ring keeps its newest events, and tells that older ones are gone.
static void test_trace_the_newest_are_kept(void **state) {
    (void)state;
    for (uint64_t i = 0; i < RING; i++) {
        now.v = 200 + i;
        note(1, i);
    }
    assert_int_equal(trace_oldest(trace).v, 0);
    for (uint64_t i = RING; i < RING + 3; i++) {
        now.v = 200 + i;
        note(1, i);
    }
    const struct seen seen = seen_of(1, 2 * RING);
    assert_int_equal(seen.count, RING);
    assert_int_equal(seen.events[0].value, 3);
    assert_int_equal(seen.events[RING - 1].value, RING + 2);
    assert_int_equal(trace_oldest(trace).v, 203);
    assert_int_equal(trace_noted(trace), RING + 3);
}

// Goal: a clock that is set back takes no event before another.
static void test_trace_times_never_run_backwards(void **state) {
    (void)state;
    note(1, 1);
    now.v = 50;
    note(1, 2);
    now.v = 101;
    note(1, 3);
    const struct seen seen = seen_of(1, RING);
    assert_int_equal(seen.events[1].at.v, 100);
    assert_int_equal(seen.events[2].at.v, 101);
}

static void test_trace_without_a_ring_nothing_happens(void **state) {
    (void)state;
    const struct txn_id id = id_of(1);
    trace_note(NULL, &id, (struct trace_event){.kind = TRACE_TOLD});
    assert_int_equal(trace_noted(trace), 0);
}

static void test_trace_names_every_decision(void **state) {
    (void)state;
    bool used[TRACE_WHAT_COUNT] = {false};
    for (int d = COMMAND_DECIDE_COMMIT; d < COMMAND_DECISION_COUNT; d++) {
        const enum trace_what what = trace_of_decision((enum command_decision)d);
        assert_true(what != TRACE_NOTHING && !used[what]);
        used[what] = true;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_trace_events_of_one_transaction_in_order),
        TEST(test_trace_the_newest_are_kept),
        TEST(test_trace_times_never_run_backwards),
        TEST(test_trace_without_a_ring_nothing_happens),
        TEST(test_trace_names_every_decision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
