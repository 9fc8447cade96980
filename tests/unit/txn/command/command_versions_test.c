// SPDX-License-Identifier: Apache-2.0
// Requests for the versions of a key, and their rows: limits, round trips, bytes that mean nothing.
#include "txn/command/command_versions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define KEY(text) SLICE_LITERAL("\0\0\0\1" text)

static struct buf buf;
static struct codec_writer w;

static int setup(void **state) {
    (void)state;
    buf_init(&buf, (size_t)1 << 20);
    codec_writer_init(&w, &buf);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    buf_deinit(&buf);
    return 0;
}

// What the check says; decoding the encoded request agrees with it.
static enum status check(const struct command_versions *versions, struct err *err) {
    const enum status st = command_versions_check(versions, err);
    struct command_versions decoded;
    buf_reset(&buf);
    command_versions_encode(&w, versions);
    assert_int_equal(command_versions_decode(buf_slice(&buf), &decoded),
                     st == STATUS_OK ? STATUS_OK : STATUS_CORRUPT);
    return st;
}

static void test_versions_limits_are_held(void **state) {
    (void)state;
    struct err err = {0};
    struct command_versions versions = {.key = KEY("a"), .limit = 1};
    assert_int_equal(check(&versions, &err), STATUS_OK);
    versions.limit = COMMAND_VERSIONS_MAX;
    versions.value_size_max = COMMAND_VERSIONS_VALUE_SIZE_MAX;
    assert_int_equal(check(&versions, &err), STATUS_OK);
    versions.value_size_max++;
    assert_int_equal(check(&versions, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "value size is 4097, it is at most 4096");
    versions.value_size_max = 0;
    versions.limit++;
    assert_int_equal(check(&versions, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "limit is 1001, it is 1 to 1000");
    versions.limit = 0;
    assert_int_equal(check(&versions, &err), STATUS_INVALID_ARGUMENT);
    versions.limit = 1;
    versions.key = KEY("");
    assert_int_equal(check(&versions, &err), STATUS_INVALID_ARGUMENT);
    versions.key = KEY("a");
    versions.snapshot.consistency = COMMAND_ANY;
    assert_int_equal(check(&versions, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "consistency"));
    versions.snapshot = (struct command_snapshot){.consistency = COMMAND_STRONG, .at = {5}};
    assert_int_equal(check(&versions, &err), STATUS_INVALID_ARGUMENT);
}

static void test_versions_request_comes_back(void **state) {
    (void)state;
    const struct command_versions versions = {
        .snapshot = {.consistency = COMMAND_STRONG_READ_INDEX, .at_least = {77}},
        .key = KEY("key"),
        .limit = 12,
        .value_size_max = 34};
    struct command_versions decoded;
    command_versions_encode(&w, &versions);
    assert_int_equal(command_versions_decode(buf_slice(&buf), &decoded), STATUS_OK);
    assert_int_equal(decoded.snapshot.consistency, COMMAND_STRONG_READ_INDEX);
    assert_int_equal(decoded.snapshot.at_least.v, 77);
    assert_true(slice_equal(decoded.key, versions.key));
    assert_int_equal(decoded.limit, 12);
    assert_int_equal(decoded.value_size_max, 34);
    // Routing and waiting look at its head as at that of any read.
    struct command_snapshot snapshot;
    assert_int_equal(command_snapshot_peek(buf_slice(&buf), &snapshot), STATUS_OK);
    assert_int_equal(snapshot.at_least.v, 77);
    for (size_t size = 0; size < buf.size; size++) {
        assert_int_equal(command_versions_decode(slice_make(buf.data, size), &decoded),
                         STATUS_CORRUPT);
    }
    codec_put_u8(&w, 0);
    assert_int_equal(command_versions_decode(buf_slice(&buf), &decoded), STATUS_CORRUPT);
}

static void test_versions_rows_come_back_in_order(void **state) {
    (void)state;
    const struct command_version_row rows[] = {
        {.kind = 2, .ts = {30}, .prepared = {30}},
        {.kind = 1, .ts = {20}, .prepared = {15}, .size = 100, .value = SLICE_LITERAL("begin")},
    };
    for (size_t i = 0; i < 2; i++) {
        command_version_row_encode(&w, &rows[i]);
    }
    command_version_end_encode(&w, true);
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&buf));
    bool end = false;
    bool more = false;
    for (size_t i = 0; i < 2; i++) {
        struct command_version_row row;
        assert_int_equal(command_version_row_decode(&r, &row, &end, &more), STATUS_OK);
        assert_false(end);
        assert_int_equal(row.kind, rows[i].kind);
        assert_int_equal(row.ts.v, rows[i].ts.v);
        assert_int_equal(row.prepared.v, rows[i].prepared.v);
        assert_int_equal(row.size, rows[i].size);
        assert_true(slice_equal(row.value, rows[i].value));
    }
    struct command_version_row row;
    assert_int_equal(command_version_row_decode(&r, &row, &end, &more), STATUS_OK);
    assert_true(end && more);
}

static void test_versions_rows_that_cannot_be_are_corrupt(void **state) {
    (void)state;
    struct command_version_row row;
    struct codec_reader r;
    bool end = false;
    bool more = false;
    // Prepared after it committed.
    codec_put_u8(&w, 1);
    codec_put_u8(&w, 1);
    codec_put_u64(&w, 10);
    codec_put_u64(&w, 11);
    codec_put_varint(&w, 0);
    codec_put_slice(&w, SLICE_EMPTY);
    codec_reader_init(&r, buf_slice(&buf));
    assert_int_equal(command_version_row_decode(&r, &row, &end, &more), STATUS_CORRUPT);
    // Bytes behind the end.
    buf_reset(&buf);
    command_version_end_encode(&w, false);
    codec_put_u8(&w, 7);
    codec_reader_init(&r, buf_slice(&buf));
    assert_int_equal(command_version_row_decode(&r, &row, &end, &more), STATUS_CORRUPT);
    // Nothing at all.
    codec_reader_init(&r, SLICE_EMPTY);
    assert_int_equal(command_version_row_decode(&r, &row, &end, &more), STATUS_CORRUPT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_versions_limits_are_held),
        TEST(test_versions_request_comes_back),
        TEST(test_versions_rows_come_back_in_order),
        TEST(test_versions_rows_that_cannot_be_are_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
