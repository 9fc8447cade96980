// SPDX-License-Identifier: Apache-2.0
// The allocator's door: zeroed, never NULL, overflow refused, failures on demand.
#include "dataplane/base/mem.h"

#include "tests/unit/dataplane/base/death.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void ask_for_an_overflowing_array(void *ctx) {
    (void)ctx;
    mem_free(mem_alloc_array(SIZE_MAX / 2, 3));
}

// Goal: memory of ours starts as zeros, also where freed memory is handed out again.
static void test_mem_alloc_is_zeroed(void **state) {
    (void)state;
    for (unsigned round = 0; round < 8; round++) {
        uint8_t *p = (uint8_t *)mem_alloc_array(32, 8);
        for (unsigned i = 0; i < 256; i++) {
            assert_int_equal(p[i], 0);
        }
        memset(p, 0xff, 256);
        mem_free(p);
    }
}

// Goal: nothing may be asked for; NULL means "no memory" and nothing else.
static void test_mem_size_zero_is_not_null(void **state) {
    (void)state;
    void *p = mem_alloc(0);
    assert_non_null(p);
    p = mem_realloc(p, 0);
    assert_non_null(p);
    mem_free(p);
    p = mem_try_alloc(0);
    assert_non_null(p);
    mem_free(p);
    mem_free(NULL);
}

// Goal: contents survive growth.
static void test_mem_realloc_keeps_contents(void **state) {
    (void)state;
    char *p = mem_strdup("lightcone");
    p = (char *)mem_realloc(p, 100000);
    assert_string_equal(p, "lightcone");
    p = (char *)mem_try_realloc(p, 200000);
    assert_string_equal(p, "lightcone");
    mem_free(p);
}

// Goal: count * size cannot wrap into a small block.
static void test_mem_array_overflow_is_fatal(void **state) {
    (void)state;
    assert_true(death_by_fatal(ask_for_an_overflowing_array, NULL));
}

// Goal: the n-th fallible allocation fails, once; the infallible ones are not concerned.
static void test_mem_fault_fails_the_nth_try(void **state) {
    (void)state;
    mem_fault_set(2);
    void *first = mem_try_alloc(8);
    void *infallible = mem_alloc(8);
    assert_non_null(first);
    assert_null(mem_try_realloc(first, 16));
    void *third = mem_try_alloc(8);
    assert_non_null(third);
    mem_free(first);
    mem_free(infallible);
    mem_free(third);
    mem_fault_set(1);
    mem_fault_set(0);
    void *after = mem_try_alloc(8);
    assert_non_null(after);
    mem_free(after);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mem_alloc_is_zeroed),
        cmocka_unit_test(test_mem_size_zero_is_not_null),
        cmocka_unit_test(test_mem_realloc_keeps_contents),
        cmocka_unit_test(test_mem_array_overflow_is_fatal),
        cmocka_unit_test(test_mem_fault_fails_the_nth_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
