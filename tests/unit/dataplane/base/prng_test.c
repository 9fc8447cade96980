// SPDX-License-Identifier: Apache-2.0
// Random numbers that replay: pinned sequences, bounds, rough uniformity.
#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// Goal: a seed found today replays on every machine and release.
static void test_prng_sequence_is_pinned(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 0);
    assert_true(prng_next(&prng) == UINT64_C(11091344671253066420));
    assert_true(prng_next(&prng) == UINT64_C(13793997310169335082));
    assert_true(prng_next(&prng) == UINT64_C(1900383378846508768));
}

// Goal: equal seeds give equal sequences, others differ.
static void test_prng_seeds_decide_the_sequence(void **state) {
    (void)state;
    struct prng a;
    struct prng b;
    struct prng c;
    prng_init(&a, 42);
    prng_init(&b, 42);
    prng_init(&c, 43);
    unsigned equal = 0;
    for (unsigned i = 0; i < 1000; i++) {
        const uint64_t drawn = prng_next(&a);
        assert_true(drawn == prng_next(&b));
        equal += drawn == prng_next(&c) ? 1 : 0;
    }
    assert_int_equal(equal, 0);
}

// Goal: bounds hold at the edges of the type.
static void test_prng_stays_within_bounds(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 5);
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(prng_below(&prng, 1) == 0);
        assert_true(prng_below(&prng, 3) < 3);
        assert_true(prng_below(&prng, UINT64_MAX) < UINT64_MAX);
        const uint64_t between = prng_between(&prng, 10, 12);
        assert_true(between >= 10 && between <= 12);
        assert_true(prng_between(&prng, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
        (void)prng_between(&prng, 0, UINT64_MAX);
    }
}

// Goal: each value of a small range appears about as often as the others.
static void test_prng_below_is_about_uniform(void **state) {
    (void)state;
    enum { DRAWS = 60000, VALUES = 6 };
    struct prng prng;
    prng_init(&prng, 9);
    unsigned seen[VALUES] = {0};
    for (unsigned i = 0; i < DRAWS; i++) {
        seen[prng_below(&prng, VALUES)]++;
    }
    for (unsigned i = 0; i < VALUES; i++) {
        assert_in_range(seen[i], DRAWS / VALUES - 500, DRAWS / VALUES + 500);
    }
}

// Goal: a bound just above half the range is the worst case of a biased reduction: its low half
// would come up twice as often.
static void test_prng_below_is_unbiased_for_large_bounds(void **state) {
    (void)state;
    enum { DRAWS = 30000 };
    const uint64_t bound = UINT64_MAX / 3 * 2;
    struct prng prng;
    prng_init(&prng, 11);
    unsigned low = 0;
    for (unsigned i = 0; i < DRAWS; i++) {
        low += prng_below(&prng, bound) < bound / 2 ? 1 : 0;
    }
    assert_in_range(low, DRAWS / 2 - 500, DRAWS / 2 + 500);
}

// Goal: certainty is certain and still draws, so that sequences stay in step.
static void test_prng_chance_draws_always(void **state) {
    (void)state;
    struct prng a;
    struct prng b;
    prng_init(&a, 3);
    prng_init(&b, 3);
    for (unsigned i = 0; i < 100; i++) {
        assert_false(prng_chance(&a, 0, 4));
        assert_true(prng_chance(&b, 4, 4));
    }
    assert_true(prng_next(&a) == prng_next(&b));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prng_sequence_is_pinned),
        cmocka_unit_test(test_prng_seeds_decide_the_sequence),
        cmocka_unit_test(test_prng_stays_within_bounds),
        cmocka_unit_test(test_prng_below_is_about_uniform),
        cmocka_unit_test(test_prng_below_is_unbiased_for_large_bounds),
        cmocka_unit_test(test_prng_chance_draws_always),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
