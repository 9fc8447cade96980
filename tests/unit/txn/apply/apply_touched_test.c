// SPDX-License-Identifier: Apache-2.0
// The set of gathered keys: never forgets a member, is empty after clear, says yes when full.
#include "txn/apply/apply_touched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct slice key_of(const uint32_t *v) {
    return slice_make(v, sizeof(*v));
}

static void test_apply_touched_has_what_was_added_to_the_space(void **state) {
    (void)state;
    struct apply_touched set;
    apply_touched_init(&set);
    for (uint32_t i = 0; i < 1000; i++) {
        apply_touched_add(&set, 1, key_of(&i));
        apply_touched_add(&set, 1, key_of(&i));
    }
    assert_int_equal(set.count, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(apply_touched_has(&set, 1, key_of(&i)));
        assert_false(apply_touched_has(&set, 2, key_of(&i)));
    }
    const uint32_t other = 1000;
    assert_false(apply_touched_has(&set, 1, key_of(&other)));
    apply_touched_deinit(&set);
}

static void test_apply_touched_full_has_everything_until_cleared(void **state) {
    (void)state;
    struct apply_touched set;
    apply_touched_init(&set);
    for (uint32_t i = 0; i < APPLY_TOUCHED_COUNT_MAX; i++) {
        apply_touched_add(&set, 1, key_of(&i));
    }
    assert_false(set.full);
    uint32_t more = APPLY_TOUCHED_COUNT_MAX;
    assert_false(apply_touched_has(&set, 1, key_of(&more)));
    apply_touched_add(&set, 1, key_of(&more));
    assert_true(set.full);
    more = UINT32_MAX;
    assert_true(apply_touched_has(&set, 1, key_of(&more)));
    apply_touched_clear(&set);
    for (uint32_t i = 0; i <= APPLY_TOUCHED_COUNT_MAX; i++) {
        assert_false(apply_touched_has(&set, 1, key_of(&i)));
    }
    apply_touched_deinit(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply_touched_has_what_was_added_to_the_space),
        cmocka_unit_test(test_apply_touched_full_has_everything_until_cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
