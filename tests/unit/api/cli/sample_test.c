// SPDX-License-Identifier: Apache-2.0
// Cuts that share keys evenly.
#include "api/cli/sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CUTS_MAX = 16 };

static void add_number(struct sample *sample, unsigned number) {
    char key[32];
    (void)snprintf(key, sizeof(key), "key-%08u", number);
    sample_add(sample, slice_from_string(key));
}

// Goal: whatever the order of the file, each shard gets the same share.
static void test_sample_cuts_are_quantiles(void **state) {
    (void)state;
    struct sample sample;
    struct slice cuts[CUTS_MAX];
    sample_init(&sample);
    for (unsigned i = 0; i < 1000; i++) {
        add_number(&sample, i * 7 % 1000);
    }
    assert_int_equal(sample_cuts(&sample, 4, cuts), 3);
    assert_true(slice_equal(cuts[0], SLICE_LITERAL("key-00000250")));
    assert_true(slice_equal(cuts[1], SLICE_LITERAL("key-00000500")));
    assert_true(slice_equal(cuts[2], SLICE_LITERAL("key-00000750")));
    sample_deinit(&sample);
}

// Goal: too few different keys give fewer cuts, never equal ones, never one that leaves the first
// shard empty.
static void test_sample_cuts_leaves_out_empty_shards(void **state) {
    (void)state;
    struct sample sample;
    struct slice cuts[CUTS_MAX];
    sample_init(&sample);
    assert_int_equal(sample_cuts(&sample, 8, cuts), 0);
    for (int i = 0; i < 10; i++) {
        add_number(&sample, 5);
    }
    assert_int_equal(sample_cuts(&sample, 8, cuts), 0);
    for (int i = 0; i < 10; i++) {
        add_number(&sample, 6);
    }
    assert_int_equal(sample_cuts(&sample, 8, cuts), 1);
    assert_true(slice_equal(cuts[0], SLICE_LITERAL("key-00000006")));
    assert_int_equal(sample_cuts(&sample, 1, cuts), 0);
    sample_deinit(&sample);
}

// Goal: beyond its capacity the sample stays bounded, and its cuts stay near the true ones.
static void test_sample_add_keeps_a_fair_choice(void **state) {
    (void)state;
    struct sample sample;
    struct slice cuts[CUTS_MAX];
    sample_init(&sample);
    enum { KEYS = 3 * SAMPLE_KEYS_MAX };
    for (unsigned i = 0; i < KEYS; i++) {
        add_number(&sample, i);
    }
    assert_int_equal(sample.count, SAMPLE_KEYS_MAX);
    assert_int_equal(sample.seen, KEYS);
    assert_int_equal(sample_cuts(&sample, 2, cuts), 1);
    char digits[9] = "";
    memcpy(digits, cuts[0].data + strlen("key-"), 8);
    unsigned long middle = strtoul(digits, NULL, 10);
    assert_in_range(middle, KEYS / 2 - KEYS / 50, KEYS / 2 + KEYS / 50);
    sample_deinit(&sample);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample_cuts_are_quantiles),
        cmocka_unit_test(test_sample_cuts_leaves_out_empty_shards),
        cmocka_unit_test(test_sample_add_keeps_a_fair_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
