// SPDX-License-Identifier: Apache-2.0
// Byte strings: order, sharing, bounded growth.
#include "dataplane/base/bytes.h"

#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "tests/unit/dataplane/base/death.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// Goal: the order is that of unsigned bytes, and a prefix comes first.
static void test_slice_compare_orders_as_unsigned_bytes(void **state) {
    (void)state;
    const struct slice ascending[] = {
        SLICE_EMPTY,           SLICE_LITERAL("\0"),      SLICE_LITERAL("\0\0"),
        SLICE_LITERAL("a"),    SLICE_LITERAL("a\0"),     SLICE_LITERAL("ab"),
        SLICE_LITERAL("b"),    SLICE_LITERAL("\x7f"),    SLICE_LITERAL("\x80"),
        SLICE_LITERAL("\xff"), SLICE_LITERAL("\xff\xff")};
    const size_t count = sizeof(ascending) / sizeof(ascending[0]);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            const int order = slice_compare(ascending[i], ascending[j]);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            assert_int_equal(slice_equal(ascending[i], ascending[j]), i == j);
        }
    }
}

// Goal: an empty prefix fits everything, a longer one nothing.
static void test_slice_has_prefix_at_the_edges(void **state) {
    (void)state;
    assert_true(slice_has_prefix(SLICE_EMPTY, SLICE_EMPTY));
    assert_true(slice_has_prefix(SLICE_LITERAL("ab"), SLICE_EMPTY));
    assert_true(slice_has_prefix(SLICE_LITERAL("ab"), SLICE_LITERAL("ab")));
    assert_false(slice_has_prefix(SLICE_LITERAL("ab"), SLICE_LITERAL("abc")));
    assert_false(slice_has_prefix(SLICE_LITERAL("ab"), SLICE_LITERAL("b")));
    assert_true(slice_equal(slice_from_string("ab"), SLICE_LITERAL("ab")));
}

// Goal: the last reference frees (AddressSanitizer sees a leak or a double free otherwise).
static void test_bytes_live_until_the_last_unref(void **state) {
    (void)state;
    struct bytes *block = bytes_copy(SLICE_LITERAL("shared"));
    assert_ptr_equal(bytes_ref(block), block);
    bytes_unref(block);
    assert_true(slice_equal(bytes_slice(block), SLICE_LITERAL("shared")));
    bytes_unref(block);
    assert_null(bytes_ref(NULL));
    bytes_unref(NULL);
    assert_int_equal(bytes_slice(NULL).size, 0);
}

static void *drop_many(void *ctx) {
    struct bytes *block = (struct bytes *)ctx;
    for (unsigned i = 0; i < 10000; i++) {
        bytes_unref(bytes_ref(block));
    }
    bytes_unref(block);
    return NULL;
}

// Goal: counts hold under contention (ThreadSanitizer checks the order of the free).
static void test_bytes_refs_from_two_threads(void **state) {
    (void)state;
    struct bytes *block = bytes_copy(SLICE_LITERAL("x"));
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, drop_many, bytes_ref(block)), 0);
    }
    bytes_unref(block);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

// Goal: growth keeps the contents, up to the maximum and not a byte further.
static void test_buf_grows_to_its_maximum_only(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    struct prng prng;
    prng_init(&prng, 1);
    uint8_t expected[1000];
    size_t size = 0;
    while (size < sizeof(expected)) {
        uint8_t piece[32];
        size_t more = 1 + prng_below(&prng, sizeof(piece));
        more = more < sizeof(expected) - size ? more : sizeof(expected) - size;
        memset(piece, (int)(prng_next(&prng) & 0xff), sizeof(piece));
        memcpy(expected + size, piece, more);
        assert_int_equal(buf_append(&buf, slice_make(piece, more)), STATUS_OK);
        size += more;
    }
    assert_int_equal(buf_append(&buf, SLICE_LITERAL("x")), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(buf_reserve(&buf, SIZE_MAX), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(buf_append(&buf, SLICE_EMPTY), STATUS_OK);
    assert_true(slice_equal(buf_slice(&buf), slice_make(expected, sizeof(expected))));
    assert_true(buf.capacity <= 1000);
    buf_deinit(&buf);
}

// Goal: when memory is gone the buffer says so and stays as it was.
static void test_buf_out_of_memory_is_a_status(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1 << 20);
    assert_int_equal(buf_append(&buf, SLICE_LITERAL("kept")), STATUS_OK);
    mem_fault_set(1);
    assert_int_equal(buf_reserve(&buf, 4096), STATUS_RESOURCE_EXHAUSTED);
    mem_fault_set(0);
    assert_true(slice_equal(buf_slice(&buf), SLICE_LITERAL("kept")));
    assert_int_equal(buf_reserve(&buf, 4096), STATUS_OK);
    buf_deinit(&buf);
}

// Goal: resetting keeps the memory, stealing moves the contents out.
static void test_buf_reset_and_steal_empty_it(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 64);
    assert_int_equal(buf_append(&buf, SLICE_LITERAL("abc")), STATUS_OK);
    struct bytes *block = buf_steal(&buf);
    assert_true(slice_equal(bytes_slice(block), SLICE_LITERAL("abc")));
    assert_int_equal(buf.size, 0);
    const size_t capacity = buf.capacity;
    assert_int_equal(buf_append(&buf, SLICE_LITERAL("def")), STATUS_OK);
    buf_reset(&buf);
    assert_int_equal(buf.size, 0);
    assert_int_equal(buf.capacity, capacity);
    bytes_unref(block);
    block = buf_steal(&buf);
    assert_int_equal(block->size, 0);
    bytes_unref(block);
    buf_deinit(&buf);
}

static void append_to_itself(void *ctx) {
    struct buf *buf = (struct buf *)ctx;
    (void)!buf_append(buf, buf_slice(buf));
}

static void create_too_large(void *ctx) {
    (void)ctx;
    bytes_unref(bytes_create((size_t)BYTES_SIZE_MAX + 1));
}

// Goal: what would read freed memory, or wrap a size, is caught as a bug.
static void test_bytes_misuse_is_asserted(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 64);
    assert_int_equal(buf_append(&buf, SLICE_LITERAL("abc")), STATUS_OK);
    assert_true(death_by_assert(append_to_itself, &buf));
    assert_true(death_by_assert(create_too_large, NULL));
    buf_deinit(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slice_compare_orders_as_unsigned_bytes),
        cmocka_unit_test(test_slice_has_prefix_at_the_edges),
        cmocka_unit_test(test_bytes_live_until_the_last_unref),
        cmocka_unit_test(test_bytes_refs_from_two_threads),
        cmocka_unit_test(test_buf_grows_to_its_maximum_only),
        cmocka_unit_test(test_buf_out_of_memory_is_a_status),
        cmocka_unit_test(test_buf_reset_and_steal_empty_it),
        cmocka_unit_test(test_bytes_misuse_is_asserted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
