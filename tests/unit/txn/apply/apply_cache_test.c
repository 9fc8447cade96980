// SPDX-License-Identifier: Apache-2.0
// The cache of newest versions: bounds, displacement, and that reads past it equal reads without
// it.
#include "txn/apply/apply_cache.h"

#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct mvcc_version version(const char *value, uint64_t ts) {
    return (struct mvcc_version){
        .value = slice_from_string(value), .ts = {ts}, .prepared = {ts}, .kind = MVCC_PUT};
}

static void test_apply_cache_serves_only_at_or_above_the_version(void **state) {
    (void)state;
    struct apply_cache *cache = apply_cache_create(16, 1 << 16);
    struct mvcc_version in = version("one", 10);
    struct mvcc_version out;
    assert_false(apply_cache_find(cache, SLICE_LITERAL("k"), (struct hlc_ts){99}, &out));
    apply_cache_put(cache, SLICE_LITERAL("k"), &in);
    assert_false(apply_cache_find(cache, SLICE_LITERAL("k"), (struct hlc_ts){9}, &out));
    assert_true(apply_cache_find(cache, SLICE_LITERAL("k"), (struct hlc_ts){10}, &out));
    assert_true(slice_equal(out.value, SLICE_LITERAL("one")));
    assert_int_equal(out.ts.v, 10);
    assert_false(apply_cache_find(cache, SLICE_LITERAL("kk"), (struct hlc_ts){99}, &out));
    apply_cache_drop(cache, SLICE_LITERAL("other"));
    assert_true(apply_cache_find(cache, SLICE_LITERAL("k"), (struct hlc_ts){99}, &out));
    apply_cache_drop(cache, SLICE_LITERAL("k"));
    assert_false(apply_cache_find(cache, SLICE_LITERAL("k"), (struct hlc_ts){99}, &out));
    assert_int_equal(apply_cache_bytes(cache), 0);
    apply_cache_destroy(cache);
}

static void test_apply_cache_remembers_that_nothing_is_there(void **state) {
    (void)state;
    struct apply_cache *cache = apply_cache_create(16, 1 << 16);
    struct mvcc_version none = {.kind = MVCC_DELETE};
    struct mvcc_version out;
    apply_cache_put(cache, SLICE_LITERAL("gone"), &none);
    assert_true(apply_cache_find(cache, SLICE_LITERAL("gone"), HLC_ZERO, &out));
    assert_int_equal(out.kind, MVCC_DELETE);
    assert_int_equal(out.value.size, 0);
    apply_cache_destroy(cache);
}

static void test_apply_cache_never_holds_more_than_its_bytes(void **state) {
    (void)state;
    enum { BYTES = 4096 };
    struct apply_cache *cache = apply_cache_create(64, BYTES);
    struct prng prng;
    prng_init(&prng, 3);
    char value[APPLY_CACHE_VALUE_SIZE_MAX + 2];
    memset(value, 'v', sizeof(value));
    for (int i = 0; i < 5000; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key%llu", (unsigned long long)prng_below(&prng, 200));
        struct mvcc_version in = version("", 5);
        in.value = slice_make(value, prng_below(&prng, 900));
        apply_cache_put(cache, slice_from_string(key), &in);
        assert_true(apply_cache_bytes(cache) <= BYTES);
        struct mvcc_version out;
        assert_true(apply_cache_find(cache, slice_from_string(key), HLC_MAX, &out));
        assert_true(slice_equal(out.value, in.value));
    }
    apply_cache_clear(cache);
    struct mvcc_version large = version("", 5);
    large.value = slice_make(value, APPLY_CACHE_VALUE_SIZE_MAX + 1);
    apply_cache_put(cache, SLICE_LITERAL("large"), &large);
    assert_int_equal(apply_cache_bytes(cache), 0);
    apply_cache_destroy(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply_cache_serves_only_at_or_above_the_version),
        cmocka_unit_test(test_apply_cache_remembers_that_nothing_is_there),
        cmocka_unit_test(test_apply_cache_never_holds_more_than_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
