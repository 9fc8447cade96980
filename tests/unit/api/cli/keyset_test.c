// SPDX-License-Identifier: Apache-2.0
// Keys seen before.
#include "api/cli/keyset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct slice numbered(unsigned i, char key[32]) {
    (void)snprintf(key, 32, "%u", i);
    return slice_from_string(key);
}

// Goal: every key is new once, also after the table grew many times.
static void test_keyset_add_tells_new_from_known(void **state) {
    (void)state;
    enum { KEYS = 20000 };
    struct keyset set;
    char key[32];
    keyset_init(&set);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_true(keyset_add(&set, numbered(i, key)));
    }
    for (unsigned i = 0; i < KEYS; i++) {
        assert_false(keyset_add(&set, numbered(i, key)));
    }
    assert_int_equal(set.count, KEYS);
    assert_true(keyset_add(&set, SLICE_EMPTY));
    assert_false(keyset_add(&set, SLICE_EMPTY));
    keyset_deinit(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_keyset_add_tells_new_from_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
