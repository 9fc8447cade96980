// SPDX-License-Identifier: Apache-2.0
// The histogram against the sorted values themselves.
#include "dataplane/obs/histogram.h"

#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VALUES_MAX = 20000 };

static struct histogram histogram;
static struct histogram other;
static uint64_t values[VALUES_MAX];

static int setup(void **state) {
    (void)state;
    histogram_init(&histogram);
    histogram_init(&other);
    return 0;
}

static int compare_u64(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Goal: an empty histogram answers zeros.
static void test_histogram_empty_is_all_zero(void **state) {
    (void)state;
    assert_int_equal(histogram.count, 0);
    assert_int_equal(histogram_percentile(&histogram, 99.9), 0);
    assert_int_equal(histogram_mean(&histogram), 0);
    assert_int_equal(histogram.ns_max, 0);
}

// Goal: small values are exact.
static void test_histogram_small_values_are_exact(void **state) {
    (void)state;
    for (uint64_t v = 0; v < 256; v++) {
        histogram_record(&histogram, v);
    }
    assert_int_equal(histogram_percentile(&histogram, 0), 0);
    assert_int_equal(histogram_percentile(&histogram, 50), 127);
    assert_int_equal(histogram_percentile(&histogram, 100), 255);
    assert_int_equal(histogram_mean(&histogram), 127);
    assert_int_equal(histogram.ns_min, 0);
    assert_int_equal(histogram.ns_max, 255);
}

// Goal: around each power of two a single value reads back within 1/128 above, never below.
static void test_histogram_error_is_bounded_at_every_scale(void **state) {
    (void)state;
    for (unsigned bits = 1; bits <= 42; bits++) {
        for (int offset = -2; offset <= 2; offset++) {
            uint64_t v = (UINT64_C(1) << bits) + (uint64_t)(int64_t)offset;
            if (v > HISTOGRAM_NS_MAX) { continue; }
            histogram_init(&histogram);
            histogram_record(&histogram, v);
            histogram_record(&histogram, HISTOGRAM_NS_MAX);  // so that the maximum does not clip
            const uint64_t got = histogram_percentile(&histogram, 50);
            assert_true(got >= v);
            assert_true(got - v <= v / 128);
        }
    }
}

// Goal: values beyond the range count as the largest one.
static void test_histogram_huge_values_are_clamped(void **state) {
    (void)state;
    histogram_record(&histogram, UINT64_MAX);
    assert_true(histogram.ns_max == HISTOGRAM_NS_MAX);
    assert_true(histogram_percentile(&histogram, 50) == HISTOGRAM_NS_MAX);
}

static void record_random(struct prng *prng, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        values[i] = prng_next(prng) >> (22 + prng_below(prng, 42));
        histogram_record(i % 2 == 0 ? &histogram : &other, values[i]);
    }
    histogram_merge(&histogram, &other);
    qsort(values, count, sizeof(values[0]), compare_u64);
}

// Goal: percentiles of a merged histogram are those of the sorted values, within the error.
static void test_histogram_percentiles_match_sorted_values(void **state) {
    (void)state;
    const double percents[] = {0, 1, 10, 50, 90, 99, 99.9, 99.99, 100};
    struct prng prng;
    prng_init(&prng, 59);
    for (unsigned round = 0; round < 20; round++) {
        const unsigned count = 1 + (unsigned)prng_below(&prng, VALUES_MAX);
        histogram_init(&histogram);
        histogram_init(&other);
        record_random(&prng, count);
        assert_int_equal(histogram.count, count);
        assert_true(histogram.ns_min == values[0]);
        assert_true(histogram.ns_max == values[count - 1]);
        for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
            // The rank in exact arithmetic: percents are multiples of 1/100.
            const uint64_t parts = (uint64_t)(percents[i] * 100 + 0.5);
            uint64_t rank = (parts * count + 9999) / 10000;
            rank = rank > 0 ? rank : 1;
            const uint64_t exact = values[rank - 1];
            const uint64_t got = histogram_percentile(&histogram, percents[i]);
            assert_true(got >= exact);
            assert_true(got - exact <= exact / 128);
        }
    }
}

// Goal: merging equals recording both, and an empty one changes nothing.
static void test_histogram_merge_equals_recording_both(void **state) {
    (void)state;
    static struct histogram both;
    struct prng prng;
    prng_init(&prng, 61);
    histogram_init(&both);
    for (unsigned i = 0; i < 1000; i++) {
        const uint64_t v = prng_below(&prng, 1000000);
        histogram_record(&both, v);
        histogram_record(i < 300 ? &histogram : &other, v);
    }
    histogram_merge(&histogram, &other);
    assert_memory_equal(&histogram, &both, sizeof(both));
    histogram_init(&other);
    histogram_merge(&histogram, &other);
    assert_memory_equal(&histogram, &both, sizeof(both));
    histogram_merge(&other, &histogram);
    assert_memory_equal(&other, &both, sizeof(both));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_histogram_empty_is_all_zero, setup),
        cmocka_unit_test_setup(test_histogram_small_values_are_exact, setup),
        cmocka_unit_test_setup(test_histogram_error_is_bounded_at_every_scale, setup),
        cmocka_unit_test_setup(test_histogram_huge_values_are_clamped, setup),
        cmocka_unit_test_setup(test_histogram_percentiles_match_sorted_values, setup),
        cmocka_unit_test_setup(test_histogram_merge_equals_recording_both, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
