// SPDX-License-Identifier: Apache-2.0
// Typed writes: what they make of a value, in any order.
#include "txn/command/command_merge.h"

#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct buf value;
static bool exists;

static int setup(void **state) {
    (void)state;
    buf_init(&value, 4 << 20);
    exists = false;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    buf_deinit(&value);
    return 0;
}

static enum status apply(const struct command_merge *merge) {
    struct buf next;
    buf_init(&next, 4 << 20);
    const enum status st = command_merge_apply(merge, buf_slice(&value), exists, &next);
    if (st == STATUS_OK) {
        buf_deinit(&value);
        value = next;
        exists = true;
    } else {
        buf_deinit(&next);
    }
    return st;
}

static void assert_value(const char *text) {
    assert_int_equal(value.size, strlen(text));
    assert_memory_equal(value.data, text, value.size);
}

static struct command_merge add(int64_t amount) {
    return (struct command_merge){.type = COMMAND_MERGE_COUNTER, .amount = amount};
}

static struct command_merge element(enum command_merge_type type, const char *text, bool removes) {
    return (struct command_merge){
        .type = type, .removes = removes, .element = slice_from_string(text)};
}

static void test_merge_counters_add_up(void **state) {
    (void)state;
    const int64_t amounts[] = {5, -12, 0, 1000000007};
    for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++) {
        const struct command_merge merge = add(amounts[i]);
        assert_int_equal(apply(&merge), STATUS_OK);
    }
    assert_value("1000000000");
    int64_t number = 0;
    assert_int_equal(command_merge_number(buf_slice(&value), true, &number), STATUS_OK);
    assert_int_equal(number, 1000000000);
    assert_int_equal(command_merge_number(SLICE_EMPTY, false, &number), STATUS_OK);
    assert_int_equal(number, 0);
}

static void test_merge_counters_do_not_wrap(void **state) {
    (void)state;
    struct command_merge merge = add(INT64_MIN);
    assert_int_equal(apply(&merge), STATUS_OK);
    assert_value("-9223372036854775808");
    merge = add(-1);
    assert_int_equal(apply(&merge), STATUS_RESOURCE_EXHAUSTED);
    merge = add(INT64_MAX);
    assert_int_equal(apply(&merge), STATUS_OK);
    assert_value("-1");
}

static void test_merge_of_another_kind_of_value_is_corrupt(void **state) {
    (void)state;
    const char *bad[] = {"", "-", "1x", "9223372036854775808", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t number = 0;
        assert_int_equal(command_merge_number(slice_from_string(bad[i]), true, &number),
                         STATUS_CORRUPT);
    }
    buf_reset(&value);
    assert_int_equal(buf_append(&value, SLICE_LITERAL("\2ab\1a")), STATUS_OK);
    exists = true;
    const struct command_merge merge = element(COMMAND_MERGE_SET, "c", false);
    assert_int_equal(apply(&merge), STATUS_CORRUPT);  // not in order
}

static void test_merge_sets_hold_each_element_once_and_in_order(void **state) {
    (void)state;
    const char *elements[] = {"bb", "a", "bb", "c", "a"};
    for (size_t i = 0; i < 5; i++) {
        const struct command_merge merge = element(COMMAND_MERGE_SET, elements[i], false);
        assert_int_equal(apply(&merge), STATUS_OK);
    }
    assert_value("\1a\2bb\1c");
    struct command_merge merge = element(COMMAND_MERGE_SET, "bb", true);
    assert_int_equal(apply(&merge), STATUS_OK);
    assert_int_equal(apply(&merge), STATUS_OK);
    assert_value("\1a\1c");
    merge = element(COMMAND_MERGE_SET, "zz", true);
    assert_int_equal(apply(&merge), STATUS_OK);
    assert_value("\1a\1c");
}

static void test_merge_order_does_not_matter(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 3);
    for (int round = 0; round < 200; round++) {
        char texts[6][4];
        struct command_merge merges[6];
        for (int i = 0; i < 6; i++) {
            (void)snprintf(texts[i], sizeof(texts[i]), "%u", (unsigned)prng_below(&prng, 8));
            merges[i] = round % 2 == 0 ? element(COMMAND_MERGE_GROW_SET, texts[i], false)
                                       : add((int64_t)prng_below(&prng, 100) - 50);
            assert_true(command_merge_shares(&merges[i]));
        }
        struct buf first = {0};
        for (int order = 0; order < 4; order++) {
            buf_reset(&value);
            exists = false;
            for (int i = 0; i < 6; i++) {
                const int place = (i * (order % 2 == 0 ? 1 : 5) + order) % 6;
                assert_int_equal(apply(&merges[place]), STATUS_OK);
            }
            if (order == 0) {
                buf_init(&first, 1 << 16);
                assert_int_equal(buf_append(&first, buf_slice(&value)), STATUS_OK);
            }
            assert_true(slice_equal(buf_slice(&first), buf_slice(&value)));
        }
        buf_deinit(&first);
    }
}

static void test_merge_encodings_are_checked(void **state) {
    (void)state;
    const struct command_merge merges[] = {
        {.type = COMMAND_MERGE_COUNTER, .amount = -5, .has_min = true, .min = -7},
        {.type = COMMAND_MERGE_GROW_COUNTER, .amount = 5, .has_max = true, .max = 9},
        {.type = COMMAND_MERGE_SET, .removes = true, .element = SLICE_LITERAL("x")},
        {.type = COMMAND_MERGE_REGISTER, .element = SLICE_LITERAL("")},
    };
    for (size_t i = 0; i < sizeof(merges) / sizeof(merges[0]); i++) {
        buf_reset(&value);
        struct codec_writer w;
        struct command_merge got;
        codec_writer_init(&w, &value);
        command_merge_encode(&w, &merges[i]);
        assert_int_equal(command_merge_decode(buf_slice(&value), &got), STATUS_OK);
        assert_int_equal(got.amount, merges[i].amount);
        assert_int_equal(got.min, merges[i].min);
        assert_true(slice_equal(got.element, merges[i].element));
        for (size_t size = 0; size < value.size; size++) {
            assert_int_equal(command_merge_decode(slice_make(value.data, size), &got),
                             STATUS_CORRUPT);
        }
    }
    const struct command_merge bad[] = {
        {.type = COMMAND_MERGE_TYPE_COUNT},
        {.type = COMMAND_MERGE_GROW_COUNTER, .amount = -1},
        {.type = COMMAND_MERGE_COUNTER, .has_min = true, .min = 2, .has_max = true, .max = 1},
        {.type = COMMAND_MERGE_GROW_SET, .removes = true, .element = SLICE_LITERAL("x")},
        {.type = COMMAND_MERGE_SET, .element = SLICE_LITERAL("")},
        {.type = COMMAND_MERGE_SET, .amount = 1, .element = SLICE_LITERAL("x")},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(command_merge_check(&bad[i], 0, NULL), STATUS_INVALID_ARGUMENT);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_merge_counters_add_up),
        CASE(test_merge_counters_do_not_wrap),
        CASE(test_merge_of_another_kind_of_value_is_corrupt),
        CASE(test_merge_sets_hold_each_element_once_and_in_order),
        CASE(test_merge_order_does_not_matter),
        CASE(test_merge_encodings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
