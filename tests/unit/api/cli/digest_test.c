// SPDX-License-Identifier: Apache-2.0
// Digests tell different contents apart.
#include "api/cli/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *of(char out[DIGEST_TEXT_SIZE], const char *const *parts, size_t count) {
    struct digest digest;
    digest_init(&digest);
    for (size_t i = 0; i < count; i += 2) {
        digest_add(&digest, slice_from_string(parts[i]), slice_from_string(parts[i + 1]));
    }
    assert_int_equal(digest.rows, count / 2);
    return digest_format(&digest, out);
}

// Goal: order, borders between key and value, and empty rows all count, in both halves.
static void test_digest_add_depends_on_borders_and_order(void **state) {
    (void)state;
    static const char *const variants[][4] = {
        {"ab", "c", "d", "e"}, {"a", "bc", "d", "e"}, {"d", "e", "ab", "c"},
        {"ab", "cd", "", "e"}, {"ab", "c", "d", ""},  {"ab", "c", "", "de"},
    };
    enum { VARIANTS = sizeof(variants) / sizeof(variants[0]) };
    char texts[VARIANTS][DIGEST_TEXT_SIZE];
    for (size_t i = 0; i < VARIANTS; i++) {
        assert_int_equal(strlen(of(texts[i], variants[i], 4)), 25);
        for (size_t k = 0; k < i; k++) {
            assert_memory_not_equal(texts[i], texts[k], 8);
            assert_string_not_equal(texts[i] + 9, texts[k] + 9);
        }
    }
    char again[DIGEST_TEXT_SIZE];
    assert_string_equal(of(again, variants[0], 4), texts[0]);
}

// Goal: the digest of nothing is fixed, and bytes are counted.
static void test_digest_counts_bytes(void **state) {
    (void)state;
    struct digest digest;
    char text[DIGEST_TEXT_SIZE];
    digest_init(&digest);
    assert_string_equal(digest_format(&digest, text), "00000000-0000000000000000");
    digest_add(&digest, SLICE_LITERAL("key"), SLICE_LITERAL("value"));
    assert_int_equal(digest.bytes, 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest_add_depends_on_borders_and_order),
        cmocka_unit_test(test_digest_counts_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
