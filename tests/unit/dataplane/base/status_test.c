// SPDX-License-Identifier: Apache-2.0
// The list of statuses: complete, distinct, and stable on the wire.
#include "dataplane/base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// Goal: every status has a name and a text of its own.
static void test_status_all_have_distinct_name_and_text(void **state) {
    (void)state;
    for (unsigned i = 0; i < STATUS_COUNT; i++) {
        assert_true(strlen(status_name((enum status)i)) > 0);
        assert_true(strlen(status_text((enum status)i)) > 0);
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(status_name((enum status)i), status_name((enum status)j));
            assert_string_not_equal(status_text((enum status)i), status_text((enum status)j));
        }
    }
}

// Goal: a value from a newer peer is answered, never an index out of bounds.
static void test_status_unknown_value_has_placeholder(void **state) {
    (void)state;
    const enum status unknown[] = {STATUS_COUNT, (enum status)1000, (enum status) - 1};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_string_equal(status_name(unknown[i]), "STATUS_?");
        assert_non_null(status_text(unknown[i]));
        assert_false(status_is_retryable(unknown[i]));
    }
}

// Goal: the numbers are part of the peer protocol; moving one breaks a rolling upgrade.
static void test_status_numbers_are_stable(void **state) {
    (void)state;
    const char *const names[] = {"OK",
                                 "INVALID_ARGUMENT",
                                 "NOT_FOUND",
                                 "ALREADY_EXISTS",
                                 "CONDITION_FAILED",
                                 "ABORTED_RETRY",
                                 "NOT_LEADER",
                                 "STALE_SHARD_MAP",
                                 "UNAVAILABLE",
                                 "OVERLOADED",
                                 "RESOURCE_EXHAUSTED",
                                 "DEADLINE_EXCEEDED",
                                 "UNKNOWN_OUTCOME",
                                 "CLOCK_AHEAD",
                                 "SNAPSHOT_TOO_OLD",
                                 "NOT_SUPPORTED",
                                 "FAILED_PRECONDITION",
                                 "CORRUPT",
                                 "IO",
                                 "CANCELLED",
                                 "WRONG_CLUSTER",
                                 "NO_SPACE"};
    assert_true(STATUS_COUNT >= sizeof(names) / sizeof(names[0]));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_string_equal(status_name((enum status)i), names[i]);
    }
}

// Goal: an unknown outcome must never invite a blind retry; a routing answer must.
static void test_status_retryable_separates_routing_from_outcomes(void **state) {
    (void)state;
    assert_true(status_is_retryable(STATUS_NOT_LEADER));
    assert_true(status_is_retryable(STATUS_STALE_SHARD_MAP));
    assert_true(status_is_retryable(STATUS_ABORTED_RETRY));
    assert_false(status_is_retryable(STATUS_OK));
    assert_false(status_is_retryable(STATUS_UNKNOWN_OUTCOME));
    assert_false(status_is_retryable(STATUS_CONDITION_FAILED));
    assert_false(status_is_retryable(STATUS_CORRUPT));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_all_have_distinct_name_and_text),
        cmocka_unit_test(test_status_unknown_value_has_placeholder),
        cmocka_unit_test(test_status_numbers_are_stable),
        cmocka_unit_test(test_status_retryable_separates_routing_from_outcomes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
