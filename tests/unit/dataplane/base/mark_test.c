// SPDX-License-Identifier: Apache-2.0
// Marks: counted by name, across places and threads.
#include "dataplane/base/mark.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void *hit_many(void *ctx) {
    (void)ctx;
    for (unsigned i = 0; i < 10000; i++) {
        MARK("test.mark.threads");
    }
    return NULL;
}

static void hit_here(void) {
    MARK("test.mark.twice");
}

static void hit_there(void) {
    MARK("test.mark.twice");
}

// Goal: a branch never reached counts nothing.
static void test_mark_unreached_counts_zero(void **state) {
    (void)state;
    assert_int_equal(mark_count("test.mark.never"), 0);
}

// Goal: equal names in several places add up, and a reset starts over without losing the marks.
static void test_mark_counts_add_up_by_name_and_reset(void **state) {
    (void)state;
    mark_reset_all();
    hit_here();
    hit_here();
    hit_there();
    assert_int_equal(mark_count("test.mark.twice"), 3);
    mark_reset_all();
    assert_int_equal(mark_count("test.mark.twice"), 0);
    hit_there();
    hit_here();
    assert_int_equal(mark_count("test.mark.twice"), 2);
}

// Goal: no hit is lost, and the mark links itself once, when threads race for the first hit.
static void test_mark_hits_of_threads_all_count(void **state) {
    (void)state;
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hit_many, NULL), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(mark_count("test.mark.threads"), 40000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mark_unreached_counts_zero),
        cmocka_unit_test(test_mark_counts_add_up_by_name_and_reset),
        cmocka_unit_test(test_mark_hits_of_threads_all_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
