// SPDX-License-Identifier: Apache-2.0
// Where the keys of a prefix end.
#include "api/cli/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_end(struct slice prefix, struct slice want) {
    struct buf end;
    buf_init(&end, 64);
    range_prefix_end(prefix, &end);
    assert_true(slice_equal(buf_slice(&end), want));
    buf_deinit(&end);
}

// Goal: the end is above every key with the prefix and at or below every other larger key.
static void test_range_prefix_end_carries_over_full_bytes(void **state) {
    (void)state;
    assert_end(SLICE_LITERAL("ab"), SLICE_LITERAL("ac"));
    assert_end(SLICE_LITERAL("a\xff"), SLICE_LITERAL("b"));
    assert_end(SLICE_LITERAL("a\xff\xff"), SLICE_LITERAL("b"));
    assert_end(SLICE_LITERAL("\0"), SLICE_LITERAL("\x01"));
    assert_end(SLICE_LITERAL("\xff\xff"), SLICE_EMPTY);
    assert_end(SLICE_EMPTY, SLICE_EMPTY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range_prefix_end_carries_over_full_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
