// SPDX-License-Identifier: Apache-2.0
// Addresses as they are typed.
#include "api/cli/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// Goal: one or several addresses, IPv6 in brackets.
static void test_session_split_reads_addresses(void **state) {
    (void)state;
    struct session_addresses addresses;
    assert_int_equal(session_split("a.example:1,[::1]:65535,127.0.0.1:7401", &addresses, NULL),
                     STATUS_OK);
    assert_int_equal(addresses.count, 3);
    assert_string_equal(addresses.items[0], "a.example:1");
    assert_string_equal(addresses.items[1], "[::1]:65535");
    assert_string_equal(addresses.items[2], "127.0.0.1:7401");
}

// Goal: what cannot be dialled is refused with the part that is wrong.
static void test_session_split_refuses_what_is_no_address(void **state) {
    (void)state;
    static const char *const wrong[] = {"",           "host",     ":1",   "host:", "host:0",
                                        "host:65536", "h:1,",     ",h:1", "h:1k",  "h:-1",
                                        "h:+1",       "h:1,,h:2", "h:1 ", "h: 1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct session_addresses addresses;
        struct err err = {0};
        assert_int_equal(session_split(wrong[i], &addresses, &err), STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "is not host:port"));
    }
}

// Goal: more addresses than the library takes are refused, not cut off.
static void test_session_split_bounds_the_list(void **state) {
    (void)state;
    struct session_addresses addresses;
    struct err err = {0};
    char text[2048] = "h:1";
    for (size_t i = 1; i < LC_ADDRESSES_MAX; i++) {
        memcpy(text + 4 * i - 1, ",h:1", 5);
    }
    assert_int_equal(session_split(text, &addresses, &err), STATUS_OK);
    assert_int_equal(addresses.count, LC_ADDRESSES_MAX);
    memcpy(text + (size_t)4 * LC_ADDRESSES_MAX - 1, ",h:1", 5);
    assert_int_equal(session_split(text, &addresses, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "more than 16 addresses");
    memset(text, 'h', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(session_split(text, &addresses, &err), STATUS_INVALID_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_split_reads_addresses),
        cmocka_unit_test(test_session_split_refuses_what_is_no_address),
        cmocka_unit_test(test_session_split_bounds_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
