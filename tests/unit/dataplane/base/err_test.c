// SPDX-License-Identifier: Apache-2.0
// Error texts: formatted, wrapped outward, truncated, never unterminated.
#include "dataplane/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// Goal: the status comes back, so that callers can return in one line.
static void test_err_set_formats_and_returns_status(void **state) {
    (void)state;
    struct err err = {0};
    assert_int_equal(err_set(&err, STATUS_IO, "open %s: %d", "wal", 5), STATUS_IO);
    assert_int_equal(err.status, STATUS_IO);
    assert_string_equal(err.message, "open wal: 5");
}

// Goal: callers that want no text pass NULL everywhere.
static void test_err_null_is_accepted(void **state) {
    (void)state;
    assert_int_equal(err_set(NULL, STATUS_CORRUPT, "%d", 1), STATUS_CORRUPT);
    err_wrap(NULL, "outer");
}

// Goal: outer layers put their words first and leave the status alone.
static void test_err_wrap_puts_prefix_and_keeps_status(void **state) {
    (void)state;
    struct err err = {0};
    (void)err_set(&err, STATUS_NOT_FOUND, "no such file");
    err_wrap(&err, "line %d", 7);
    err_wrap(&err, "node.yaml");
    assert_string_equal(err.message, "node.yaml: line 7: no such file");
    assert_int_equal(err.status, STATUS_NOT_FOUND);
}

// Goal: wrapping a bare status still tells what happened.
static void test_err_wrap_without_message_uses_status_text(void **state) {
    (void)state;
    struct err err = {.status = STATUS_NOT_FOUND};
    err_wrap(&err, "shard 7");
    assert_string_equal(err.message, "shard 7: not found");
}

// Goal: long texts are cut at the size and stay terminated, from either side.
static void test_err_long_texts_are_truncated(void **state) {
    (void)state;
    struct err err = {0};
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)err_set(&err, STATUS_IO, "%s", text);
    assert_int_equal(strlen(err.message), ERR_MESSAGE_SIZE - 1);
    err_wrap(&err, "prefix");
    assert_int_equal(strlen(err.message), ERR_MESSAGE_SIZE - 1);
    assert_int_equal(strncmp(err.message, "prefix: xxx", 11), 0);
    err_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.message), ERR_MESSAGE_SIZE - 1);
}

// Goal: the present message may be an argument of the new one.
static void test_err_set_may_quote_itself(void **state) {
    (void)state;
    struct err err = {0};
    (void)err_set(&err, STATUS_IO, "inner");
    (void)err_set(&err, STATUS_CORRUPT, "outer (%s)", err.message);
    assert_string_equal(err.message, "outer (inner)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err_set_formats_and_returns_status),
        cmocka_unit_test(test_err_null_is_accepted),
        cmocka_unit_test(test_err_wrap_puts_prefix_and_keeps_status),
        cmocka_unit_test(test_err_wrap_without_message_uses_status_text),
        cmocka_unit_test(test_err_long_texts_are_truncated),
        cmocka_unit_test(test_err_set_may_quote_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
