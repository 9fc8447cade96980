// SPDX-License-Identifier: Apache-2.0
// Reads, scans, rows, and the envelope: limits, round trips, and bytes that mean nothing.
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "txn/command/command.h"

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
    buf_init(&buf, (size_t)64 << 20);
    codec_writer_init(&w, &buf);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    buf_deinit(&buf);
    return 0;
}

static enum status verify_read(struct slice bytes) {
    struct command_read_reader reader;
    enum status st = command_read_open(&reader, bytes);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.key_count; i++) {
        struct slice key;
        st = command_read_next(&reader, &key);
    }
    return st;
}

static enum status check_read(uint32_t count, struct err *err) {
    struct slice *keys = mem_alloc_array(count + 1, sizeof(*keys));
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = KEY("a");
    }
    const struct command_read read = {.key_count = count, .keys = keys};
    const enum status st = command_read_check(&read, err);
    buf_reset(&buf);
    command_read_encode(&w, &read);
    assert_int_equal(verify_read(buf_slice(&buf)), st == STATUS_OK ? STATUS_OK : STATUS_CORRUPT);
    mem_free(keys);
    return st;
}

static void test_command_read_counts_hold_their_limits(void **state) {
    (void)state;
    struct err err = {0};
    assert_int_equal(check_read(0, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "read has 0 keys, it has 1 to 1000");
    assert_int_equal(check_read(1, &err), STATUS_OK);
    assert_int_equal(check_read(COMMAND_READ_KEYS_MAX - 1, &err), STATUS_OK);
    assert_int_equal(check_read(COMMAND_READ_KEYS_MAX, &err), STATUS_OK);
    assert_int_equal(check_read(COMMAND_READ_KEYS_MAX + 1, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "read has 1001 keys, it has 1 to 1000");
}

static void test_command_read_keys_are_checked_by_position(void **state) {
    (void)state;
    const struct slice keys[] = {KEY("a"), KEY("\xff\xff"
                                               "x")};
    struct command_read read = {.key_count = 2, .keys = keys};
    struct err err = {0};
    assert_int_equal(command_read_check(&read, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "key 1: "));
    command_read_encode(&w, &read);
    assert_int_equal(verify_read(buf_slice(&buf)), STATUS_CORRUPT);
    read.snapshot.consistency = COMMAND_CONSISTENCY_COUNT;
    assert_int_equal(command_read_check(&read, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "consistency"));
}

static void test_command_read_decodes_to_what_was_encoded(void **state) {
    (void)state;
    const struct slice keys[] = {KEY("b"), KEY("a"), KEY("b")};
    const struct command_read read = {
        .snapshot = {.consistency = COMMAND_STRONG_READ_INDEX, .at_least = {12345}},
        .key_count = 3,
        .keys = keys};
    command_read_encode(&w, &read);
    struct command_read_reader reader;
    assert_int_equal(command_read_open(&reader, buf_slice(&buf)), STATUS_OK);
    assert_int_equal(reader.snapshot.consistency, COMMAND_STRONG_READ_INDEX);
    assert_int_equal(reader.snapshot.at_least.v, 12345);
    for (uint32_t i = 0; i < 3; i++) {
        struct slice key;
        assert_int_equal(command_read_next(&reader, &key), STATUS_OK);
        assert_true(slice_equal(key, keys[i]));
    }
    for (size_t size = 0; size < buf.size; size++) {
        assert_int_equal(verify_read(slice_make(buf.data, size)), STATUS_CORRUPT);
    }
}

static enum status check_scan(const struct command_scan *scan, struct err *err) {
    const enum status st = command_scan_check(scan, err);
    buf_reset(&buf);
    command_scan_encode(&w, scan);
    struct command_scan got;
    assert_int_equal(command_scan_decode(buf_slice(&buf), &got),
                     st == STATUS_OK ? STATUS_OK : STATUS_CORRUPT);
    return st;
}

static void test_command_scan_limits_hold(void **state) {
    (void)state;
    struct err err = {0};
    struct command_scan scan = {.start = KEY("a"), .end = KEY("b"), .row_limit = 1};
    assert_int_equal(check_scan(&scan, &err), STATUS_OK);
    scan.row_limit = 0;
    assert_int_equal(check_scan(&scan, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "row limit is 0, it is 1 to 10000");
    scan.row_limit = COMMAND_SCAN_ROWS_MAX - 1;
    assert_int_equal(check_scan(&scan, &err), STATUS_OK);
    scan.row_limit = COMMAND_SCAN_ROWS_MAX;
    assert_int_equal(check_scan(&scan, &err), STATUS_OK);
    scan.row_limit = COMMAND_SCAN_ROWS_MAX + 1;
    assert_int_equal(check_scan(&scan, &err), STATUS_INVALID_ARGUMENT);
    scan.row_limit = UINT32_MAX;
    assert_int_equal(check_scan(&scan, &err), STATUS_INVALID_ARGUMENT);
}

static void test_command_scan_ranges_are_checked(void **state) {
    (void)state;
    struct err err = {0};
    struct command_scan scan = {.start = KEY("b"), .end = KEY("a"), .row_limit = 1};
    assert_int_equal(check_scan(&scan, &err), STATUS_INVALID_ARGUMENT);
    scan.end = KEY("b");
    assert_int_equal(check_scan(&scan, &err), STATUS_INVALID_ARGUMENT);
    scan.end = SLICE_EMPTY;
    assert_int_equal(check_scan(&scan, &err), STATUS_OK);
    scan.start = SLICE_LITERAL("\0\0\0\1");
    assert_int_equal(check_scan(&scan, &err), STATUS_OK);
    scan.end = SLICE_LITERAL("\0\0\0\2");
    assert_int_equal(check_scan(&scan, &err), STATUS_OK);
    scan.end = SLICE_LITERAL("\0\0\0\3");
    assert_int_equal(check_scan(&scan, &err), STATUS_INVALID_ARGUMENT);
    scan.start = SLICE_EMPTY;
    assert_int_equal(check_scan(&scan, &err), STATUS_INVALID_ARGUMENT);
    scan.end = SLICE_EMPTY;
    assert_int_equal(check_scan(&scan, &err), STATUS_INVALID_ARGUMENT);
    static const uint8_t big[SHARD_KEY_SIZE_MAX + 1] = {0, 0, 0, 1};
    scan.start = slice_make(big, SHARD_KEY_SIZE_MAX);
    assert_int_equal(check_scan(&scan, &err), STATUS_OK);
    scan.start = slice_make(big, SHARD_KEY_SIZE_MAX + 1);
    assert_int_equal(check_scan(&scan, &err), STATUS_INVALID_ARGUMENT);
}

static void test_command_scan_decodes_to_what_was_encoded(void **state) {
    (void)state;
    const struct command_scan scan = {
        .snapshot = {.consistency = COMMAND_STRONG_READ_INDEX, .at_least = {9}},
        .start = KEY("a"),
        .end = KEY("z"),
        .row_limit = 77,
        .reverse = true,
        .keys_only = true};
    command_scan_encode(&w, &scan);
    struct command_scan got;
    assert_int_equal(command_scan_decode(buf_slice(&buf), &got), STATUS_OK);
    assert_int_equal(got.snapshot.consistency, COMMAND_STRONG_READ_INDEX);
    assert_int_equal(got.snapshot.at_least.v, 9);
    assert_true(slice_equal(got.start, scan.start));
    assert_true(slice_equal(got.end, scan.end));
    assert_int_equal(got.row_limit, 77);
    assert_true(got.reverse && got.keys_only);
    // A flag of a later release must be refused, not ignored.
    buf.data[11] = 4;
    assert_int_equal(command_scan_decode(buf_slice(&buf), &got), STATUS_CORRUPT);
}

static void test_command_rows_decode_to_what_was_encoded(void **state) {
    (void)state;
    const struct command_row found = {true, KEY("a"), SLICE_LITERAL("v"), {7}};
    const struct command_row absent = {false, SLICE_EMPTY, SLICE_EMPTY, {8}};
    command_read_row_encode(&w, &found);
    command_read_row_encode(&w, &absent);
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&buf));
    struct command_row row;
    assert_int_equal(command_read_row_decode(&r, &row), STATUS_OK);
    assert_true(row.found && slice_equal(row.value, found.value) && row.version.v == 7);
    assert_int_equal(command_read_row_decode(&r, &row), STATUS_OK);
    assert_true(!row.found && row.value.size == 0 && row.version.v == 8);
    assert_int_equal(codec_finish(&r), STATUS_OK);
}

static void test_command_scan_rows_end_with_a_resume_key(void **state) {
    (void)state;
    const struct command_row row = {true, KEY("a"), SLICE_LITERAL("v"), {7}};
    command_scan_row_encode(&w, &row);
    command_scan_end_encode(&w, true, KEY("b"));
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(&buf));
    struct command_row got = {0};
    bool more = false;
    struct slice resume = SLICE_EMPTY;
    assert_int_equal(command_scan_row_decode(&r, &got, &more, &resume), STATUS_OK);
    assert_true(got.found && slice_equal(got.key, row.key) && slice_equal(got.value, row.value));
    assert_int_equal(command_scan_row_decode(&r, &got, &more, &resume), STATUS_OK);
    assert_true(!got.found && more && slice_equal(resume, KEY("b")));
    assert_int_equal(buf_append(&buf, SLICE_LITERAL("x")), STATUS_OK);
    codec_reader_init(&r, buf_slice(&buf));
    assert_int_equal(command_scan_row_decode(&r, &got, &more, &resume), STATUS_OK);
    assert_int_equal(command_scan_row_decode(&r, &got, &more, &resume), STATUS_CORRUPT);
}

static const struct command_request request_example = {.id = 0x0102030405060708,
                                                       .boot = 77,
                                                       .sequence = 5,
                                                       .kind = COMMAND_COMMIT,
                                                       .shard = {9},
                                                       .epoch = 3,
                                                       .hlc = {1000},
                                                       .budget_us = 2000,
                                                       .payload = {(const uint8_t *)"pay", 3}};

static void test_command_request_decodes_to_what_was_encoded(void **state) {
    (void)state;
    command_request_encode(&w, &request_example);
    struct command_request got;
    assert_int_equal(command_request_decode(buf_slice(&buf), &got), STATUS_OK);
    assert_int_equal(got.id, request_example.id);
    assert_int_equal(got.boot, 77);
    assert_int_equal(got.sequence, 5);
    assert_int_equal(got.kind, COMMAND_COMMIT);
    assert_int_equal(got.shard.v, 9);
    assert_int_equal(got.epoch, 3);
    assert_int_equal(got.hlc.v, 1000);
    assert_int_equal(got.budget_us, 2000);
    assert_true(slice_equal(got.payload, request_example.payload));
    for (size_t size = 0; size < buf.size; size++) {
        assert_int_equal(command_request_decode(slice_make(buf.data, size), &got), STATUS_CORRUPT);
    }
}

// Only catalogue commands go to the catalogue's shard, and they go nowhere else.
static void test_command_request_kind_must_fit_the_shard(void **state) {
    (void)state;
    struct command_request request = request_example;
    struct command_request got;
    request.shard = SHARD_CATALOG;
    command_request_encode(&w, &request);
    assert_int_equal(command_request_decode(buf_slice(&buf), &got), STATUS_CORRUPT);
    request.kind = COMMAND_CATALOG;
    buf_reset(&buf);
    command_request_encode(&w, &request);
    assert_int_equal(command_request_decode(buf_slice(&buf), &got), STATUS_OK);
    request.shard = request_example.shard;
    buf_reset(&buf);
    command_request_encode(&w, &request);
    assert_int_equal(command_request_decode(buf_slice(&buf), &got), STATUS_CORRUPT);
}

static const struct command_response response_example = {
    .id = 7,
    .status = STATUS_NOT_LEADER,
    .hlc = {5},
    .certificate = {COMMAND_METHOD_LEASE, {9}, 2, 3, 4, {5}, {6}},
    .leader = {UINT32_MAX},
    .leader_term = 8,
    .descriptors = {(const uint8_t *)"d", 1},
    .detail = {(const uint8_t *)"text", 4},
    .payload = {(const uint8_t *)"pay", 3}};

static void test_command_response_decodes_to_what_was_encoded(void **state) {
    (void)state;
    command_response_encode(&w, &response_example);
    struct command_response got;
    assert_int_equal(command_response_decode(buf_slice(&buf), &got), STATUS_OK);
    assert_int_equal(got.id, 7);
    assert_int_equal(got.status, STATUS_NOT_LEADER);
    assert_int_equal(got.hlc.v, 5);
    assert_int_equal(got.certificate.method, COMMAND_METHOD_LEASE);
    assert_int_equal(got.certificate.shard.v, 9);
    assert_int_equal(got.certificate.config_epoch, 2);
    assert_int_equal(got.certificate.term, 3);
    assert_int_equal(got.certificate.index, 4);
    assert_int_equal(got.certificate.timestamp.v, 5);
    assert_int_equal(got.certificate.closed.v, 6);
    assert_int_equal(got.leader.v, UINT32_MAX);
    assert_int_equal(got.leader_term, 8);
    assert_true(slice_equal(got.descriptors, response_example.descriptors));
    assert_true(slice_equal(got.detail, response_example.detail));
    assert_true(slice_equal(got.payload, response_example.payload));
    for (size_t size = 0; size < buf.size; size++) {
        assert_int_equal(command_response_decode(slice_make(buf.data, size), &got), STATUS_CORRUPT);
    }
}

// Only reads over several shards pay for what only they say.
static void test_command_response_says_contact_only_where_there_is_one(void **state) {
    (void)state;
    struct command_response response = response_example;
    struct command_response got;
    command_response_encode(&w, &response);
    const size_t plain = buf.size;
    buf_reset(&buf);
    response.contact.v = 77;
    command_response_encode(&w, &response);
    assert_int_equal(buf.size, plain + 9);
    assert_int_equal(command_response_decode(buf_slice(&buf), &got), STATUS_OK);
    assert_int_equal(got.contact.v, 77);
    assert_int_equal(got.uncertain.v, 0);
    assert_true(slice_equal(got.payload, response_example.payload));
    for (size_t size = plain + 1; size < buf.size; size++) {
        assert_int_equal(command_response_decode(slice_make(buf.data, size), &got), STATUS_CORRUPT);
    }
    buf_reset(&buf);
    response.payload = SLICE_EMPTY;
    response.uncertain.v = UINT64_C(1) << 62;
    command_response_encode(&w, &response);
    assert_int_equal(command_response_decode(buf_slice(&buf), &got), STATUS_OK);
    assert_int_equal(got.uncertain.v, UINT64_C(1) << 62);
    assert_int_equal(got.contact.v, 77);
}

static enum status check_snapshot(const struct command_snapshot *snapshot, struct err *err) {
    const struct slice key = KEY("a");
    const struct command_read read = {.snapshot = *snapshot, .key_count = 1, .keys = &key};
    const enum status st = command_read_check(&read, err);
    buf_reset(&buf);
    command_read_encode(&w, &read);
    struct command_snapshot got = {0};
    const enum status peeked = command_snapshot_peek(buf_slice(&buf), &got);
    assert_int_equal(peeked, st == STATUS_OK ? STATUS_OK : STATUS_CORRUPT);
    assert_int_equal(verify_read(buf_slice(&buf)), peeked);
    if (st == STATUS_OK) {
        assert_int_equal(got.consistency, snapshot->consistency);
        assert_int_equal(got.at_least.v, snapshot->at_least.v);
        assert_int_equal(got.at.v, snapshot->at.v);
        assert_int_equal(got.contact.v, snapshot->contact.v);
        assert_int_equal(got.staleness_us, snapshot->staleness_us);
    }
    return st;
}

static void refuses(struct command_snapshot snapshot, const char *text) {
    struct err err = {0};
    assert_int_equal(check_snapshot(&snapshot, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, text);
}

static void accepts(struct command_snapshot snapshot) {
    struct err err = {0};
    assert_int_equal(check_snapshot(&snapshot, &err), STATUS_OK);
}

static void test_command_snapshot_fields_fit_the_consistency(void **state) {
    (void)state;
    accepts((struct command_snapshot){0});
    accepts((struct command_snapshot){.at = {7}});
    accepts((struct command_snapshot){.at = {7}, .contact = {9}});
    accepts((struct command_snapshot){.consistency = COMMAND_STRICT, .at = {7}, .contact = {9}});
    accepts((struct command_snapshot){.consistency = COMMAND_AT, .at = {7}});
    accepts((struct command_snapshot){.consistency = COMMAND_SESSION, .at_least = {UINT64_MAX}});
    accepts((struct command_snapshot){.consistency = COMMAND_SESSION});
    accepts((struct command_snapshot){.consistency = COMMAND_ANY});
    accepts((struct command_snapshot){.consistency = COMMAND_BOUNDED, .staleness_us = 1});
    accepts((struct command_snapshot){.consistency = COMMAND_BOUNDED,
                                      .staleness_us = COMMAND_STALENESS_US_MAX});
    refuses((struct command_snapshot){.consistency = COMMAND_CONSISTENCY_COUNT},
            "consistency: unknown value 7");
    refuses((struct command_snapshot){.consistency = COMMAND_AT},
            "at: is zero, a read at a timestamp names one from 1");
    accepts((struct command_snapshot){.at = {7}, .at_least = {7}});
    refuses((struct command_snapshot){.at = {7}, .at_least = {8}}, "at: lies below at_least");
    refuses((struct command_snapshot){.contact = {9}},
            "contact: it is set, and only a strong read at a timestamp has one");
    refuses((struct command_snapshot){.consistency = COMMAND_AT, .at = {7}, .contact = {9}},
            "contact: it is set, and only a strong read at a timestamp has one");
    refuses((struct command_snapshot){.consistency = COMMAND_BOUNDED},
            "staleness: is 0 us, it is 1 to 86400000000 us");
    refuses((struct command_snapshot){.consistency = COMMAND_BOUNDED,
                                      .staleness_us = COMMAND_STALENESS_US_MAX + 1},
            "staleness: is 86400000001 us, it is 1 to 86400000000 us");
    refuses((struct command_snapshot){.staleness_us = 1},
            "staleness: it is set, and only a bounded read has one");
}

static void test_command_snapshot_has_one_encoding(void **state) {
    (void)state;
    const struct slice key = KEY("a");
    const struct command_read read = {.snapshot = {.at_least = {1}}, .key_count = 1, .keys = &key};
    command_read_encode(&w, &read);
    assert_int_equal(verify_read(buf_slice(&buf)), STATUS_OK);
    // The formats before, and one of a later release.
    const uint8_t formats[] = {0, 1, 3};
    for (uint32_t i = 0; i < 3; i++) {
        buf.data[0] = formats[i];
        assert_int_equal(verify_read(buf_slice(&buf)), STATUS_CORRUPT);
    }
    buf.data[0] = 2;
    // A field that is there is not zero, and there is none but those known.
    memset(buf.data + 3, 0, 8);
    assert_int_equal(verify_read(buf_slice(&buf)), STATUS_CORRUPT);
    buf.data[3] = 1;
    assert_int_equal(verify_read(buf_slice(&buf)), STATUS_OK);
    buf.data[2] = 16 + 1;
    assert_int_equal(verify_read(buf_slice(&buf)), STATUS_CORRUPT);
}

static void decode_all(struct slice bytes) {
    struct command_request request;
    struct command_response response;
    struct command_scan scan;
    struct command_certificate certificate;
    struct command_outcome outcome;
    struct command_row row;
    struct slice low;
    struct slice high;
    bool more = false;
    (void)!command_request_decode(bytes, &request);
    (void)!command_response_decode(bytes, &response);
    (void)!command_scan_decode(bytes, &scan);
    (void)!command_commit_verify(bytes);
    (void)!command_commit_span(bytes, &low, &high);
    (void)!verify_read(bytes);
    struct codec_reader r;
    codec_reader_init(&r, bytes);
    (void)!command_certificate_decode(&r, &certificate);
    codec_reader_init(&r, bytes);
    (void)!command_outcome_decode(&r, &outcome);
    codec_reader_init(&r, bytes);
    (void)!command_read_row_decode(&r, &row);
    codec_reader_init(&r, bytes);
    (void)!command_scan_row_decode(&r, &row, &more, &low);
}

// Under the sanitizers: no decoder leaves its input, whatever it holds. The bytes are in a heap
// block of exactly their size, so that one byte too far is found.
static void test_command_random_bytes_never_crash(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 11);
    command_response_encode(&w, &response_example);
    for (uint32_t round = 0; round < 20000; round++) {
        const size_t size = (size_t)prng_below(&prng, 96);
        uint8_t *bytes = mem_alloc(size > 0 ? size : 1);
        for (size_t i = 0; i < size; i++) {
            // Small values make plausible kinds, counts and lengths.
            bytes[i] =
                (uint8_t)(prng_chance(&prng, 1, 2) ? prng_below(&prng, 8) : prng_next(&prng));
        }
        if (prng_chance(&prng, 1, 3) && size >= buf.size) {
            memcpy(bytes, buf.data, buf.size);
            bytes[prng_below(&prng, buf.size)] ^= (uint8_t)prng_between(&prng, 1, 255);
        }
        decode_all(slice_make(bytes, size));
        mem_free(bytes);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_command_read_counts_hold_their_limits),
        TEST(test_command_read_keys_are_checked_by_position),
        TEST(test_command_read_decodes_to_what_was_encoded),
        TEST(test_command_response_says_contact_only_where_there_is_one),
        TEST(test_command_snapshot_fields_fit_the_consistency),
        TEST(test_command_snapshot_has_one_encoding),
        TEST(test_command_scan_limits_hold),
        TEST(test_command_scan_ranges_are_checked),
        TEST(test_command_scan_decodes_to_what_was_encoded),
        TEST(test_command_rows_decode_to_what_was_encoded),
        TEST(test_command_scan_rows_end_with_a_resume_key),
        TEST(test_command_request_decodes_to_what_was_encoded),
        TEST(test_command_request_kind_must_fit_the_shard),
        TEST(test_command_response_decodes_to_what_was_encoded),
        TEST(test_command_random_bytes_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
