// SPDX-License-Identifier: Apache-2.0
// How the process stops: by whom, with which status, with which words.
#include "dataplane/base/assert.h"

#include "tests/unit/dataplane/base/death.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void fail_an_assertion(void *ctx) {
    const int *value = (const int *)ctx;
    ASSERT(*value == 2);
}

static void fail_an_implication(void *ctx) {
    const int *value = (const int *)ctx;
    ASSERT_IF(*value == 1, *value > 1);
}

static void lose_the_disk(void *ctx) {
    (void)ctx;
    FATAL("cannot sync %s", "wal");
}

static void print_seed(void *ctx, const char *reason) {
    (void)fprintf(stderr, "seed=%d [%s]\n", *(const int *)ctx, reason);
}

static void print_seed_and_fail_again(void *ctx, const char *reason) {
    print_seed(ctx, reason);
    ASSERT(reason == NULL);
}

static void fail_with_hook(void *ctx) {
    stop_set_hook(print_seed, ctx);
    fail_an_assertion(ctx);
}

static void fatal_with_hook(void *ctx) {
    stop_set_hook(print_seed, ctx);
    lose_the_disk(ctx);
}

static void fail_with_failing_hook(void *ctx) {
    stop_set_hook(print_seed_and_fail_again, ctx);
    fail_an_assertion(ctx);
}

// Goal: a broken assertion aborts and names the expression and its place.
static void test_assert_failure_aborts_with_expression(void **state) {
    (void)state;
    int one = 1;
    const struct death death = death_of(fail_an_assertion, &one);
    assert_true(death.aborted);
    assert_non_null(strstr(death.text, "assert_test.c:"));
    assert_non_null(strstr(death.text, "*value == 2"));
}

// Goal: what holds costs nothing and stops nothing.
static void test_assert_success_continues(void **state) {
    (void)state;
    int two = 2;
    assert_int_equal(death_of(fail_an_assertion, &two).exit_status, 0);
    assert_int_equal(death_of(fail_an_implication, &two).exit_status, 0);
}

// Goal: an implication fails only when its condition holds, and prints both halves.
static void test_assert_if_failure_names_implication(void **state) {
    (void)state;
    int one = 1;
    const struct death death = death_of(fail_an_implication, &one);
    assert_true(death.aborted);
    assert_non_null(strstr(death.text, "*value == 1 => *value > 1"));
}

// Goal: a fatal environment leaves with its own exit status and its reason, without a core.
static void test_assert_fatal_exits_with_status_70(void **state) {
    (void)state;
    const struct death death = death_of(lose_the_disk, NULL);
    assert_int_equal(death.exit_status, 70);
    assert_non_null(strstr(death.text, "cannot sync wal\n"));
}

// Goal: the hook hears the reason before the end, for both kinds.
static void test_assert_hook_hears_the_reason(void **state) {
    (void)state;
    int seed = 41;
    const struct death aborted = death_of(fail_with_hook, &seed);
    assert_true(aborted.aborted);
    assert_non_null(strstr(aborted.text, "seed=41 [ASSERT failed at "));
    const struct death fatal = death_of(fatal_with_hook, &seed);
    assert_int_equal(fatal.exit_status, STOP_EXIT_STATUS);
    assert_non_null(strstr(fatal.text, "seed=41 [FATAL at "));
}

// Goal: a hook that fails itself does not start over for ever.
static void test_assert_failing_hook_still_aborts(void **state) {
    (void)state;
    int seed = 41;
    const struct death death = death_of(fail_with_failing_hook, &seed);
    assert_true(death.aborted);
    assert_non_null(strstr(death.text, "reason == NULL"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assert_failure_aborts_with_expression),
        cmocka_unit_test(test_assert_success_continues),
        cmocka_unit_test(test_assert_if_failure_names_implication),
        cmocka_unit_test(test_assert_fatal_exits_with_status_70),
        cmocka_unit_test(test_assert_hook_hears_the_reason),
        cmocka_unit_test(test_assert_failing_hook_still_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
