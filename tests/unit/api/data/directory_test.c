// SPDX-License-Identifier: Apache-2.0
// The directory of keyspaces: finding, swapping, counting references.
#include "api/data/directory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_directory_finds_by_name_and_id(void **state) {
    (void)state;
    struct directory_entry entries[] = {
        {9, SLICE_LITERAL("orders")}, {2, SLICE_LITERAL("order")}, {5, SLICE_LITERAL("a")}};
    struct directory *directory = directory_create(entries, 3);
    assert_int_equal(directory_find(directory, SLICE_LITERAL("orders")), 9);
    assert_int_equal(directory_find(directory, SLICE_LITERAL("order")), 2);
    assert_int_equal(directory_find(directory, SLICE_LITERAL("a")), 5);
    assert_int_equal(directory_find(directory, SLICE_LITERAL("orde")), 0);
    assert_int_equal(directory_find(directory, SLICE_LITERAL("orders2")), 0);
    assert_int_equal(directory_find(directory, SLICE_LITERAL("")), 0);
    assert_true(directory_has(directory, 9) && directory_has(directory, 2));
    assert_false(directory_has(directory, 0) || directory_has(directory, 3) ||
                 directory_has(directory, UINT32_MAX));
    directory_unref(directory);
}

static void test_directory_may_be_empty(void **state) {
    (void)state;
    struct directory *directory = directory_create(NULL, 0);
    assert_int_equal(directory_find(directory, SLICE_LITERAL("a")), 0);
    assert_false(directory_has(directory, 1));
    directory_unref(directory);
    directory_unref(NULL);
}

static void test_directory_copies_its_names(void **state) {
    (void)state;
    char name[] = "orders";
    struct directory_entry entry = {1, slice_from_string(name)};
    struct directory *directory = directory_create(&entry, 1);
    memset(name, 'x', sizeof(name) - 1);
    assert_int_equal(directory_find(directory, SLICE_LITERAL("orders")), 1);
    directory_unref(directory);
}

// Goal: who holds the old directory keeps it while the holder has gone on.
static void test_directory_holder_swaps(void **state) {
    (void)state;
    struct directory_holder holder;
    struct directory_entry first = {1, SLICE_LITERAL("first")};
    struct directory_entry second = {2, SLICE_LITERAL("second")};
    directory_holder_init(&holder);
    assert_null(directory_holder_get(&holder));
    directory_holder_take(&holder, directory_create(&first, 1));
    struct directory *held = directory_holder_get(&holder);
    directory_holder_take(&holder, directory_create(&second, 1));
    assert_int_equal(directory_find(held, SLICE_LITERAL("first")), 1);
    directory_unref(held);
    held = directory_holder_get(&holder);
    assert_int_equal(directory_find(held, SLICE_LITERAL("second")), 2);
    directory_unref(held);
    directory_holder_deinit(&holder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_directory_finds_by_name_and_id),
        cmocka_unit_test(test_directory_may_be_empty),
        cmocka_unit_test(test_directory_copies_its_names),
        cmocka_unit_test(test_directory_holder_swaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
