// SPDX-License-Identifier: Apache-2.0
// The request to hold a key: there and back, and what does not decode.
#include "txn/command/command_hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { AT_KIND = 0, AT_ID = 1, AT_OTHERS = 25, AT_LEASE = 26 };

static void encode(const struct command_hold *hold, struct buf *out) {
    struct codec_writer w;
    buf_init(out, 1 << 16);
    codec_writer_init(&w, out);
    command_hold_encode(&w, hold);
    assert_int_equal(w.status, STATUS_OK);
}

static const struct command_hold sample = {.kind = COMMAND_HOLD_TAKE,
                                           .txn = {{1, 2, 3}},
                                           .begin = {77},
                                           .holds_others = true,
                                           .lease_ms = 3000,
                                           .key = {(const uint8_t *)"\0\0\0\1k", 5}};

static void test_hold_there_and_back(void **state) {
    (void)state;
    struct buf encoded;
    struct command_hold out;
    encode(&sample, &encoded);
    assert_int_equal(command_hold_decode(buf_slice(&encoded), &out), STATUS_OK);
    assert_int_equal(out.kind, sample.kind);
    assert_true(txn_id_equal(out.txn, sample.txn));
    assert_int_equal(out.begin.v, 77);
    assert_true(out.holds_others);
    assert_int_equal(out.lease_ms, 3000);
    assert_true(slice_equal(out.key, sample.key));
    for (size_t size = 0; size < encoded.size; size++) {
        assert_int_equal(command_hold_decode(slice_make(encoded.data, size), &out), STATUS_CORRUPT);
    }
    buf_deinit(&encoded);
}

// One byte of the encoding is another one.
static void corrupt(size_t at, uint8_t value) {
    struct buf encoded;
    struct command_hold out;
    encode(&sample, &encoded);
    encoded.data[at] = value;
    assert_int_equal(command_hold_decode(buf_slice(&encoded), &out), STATUS_CORRUPT);
    buf_deinit(&encoded);
}

static void test_hold_refuses_what_makes_no_sense(void **state) {
    (void)state;
    corrupt(AT_KIND, 0);
    corrupt(AT_KIND, COMMAND_HOLD_KIND_COUNT);
    corrupt(AT_KIND, COMMAND_HOLD_RELEASE);  // with a lease
    corrupt(AT_OTHERS, 2);
    corrupt(AT_LEASE + 1, 0xFF);  // longer than any
    corrupt(AT_LEASE + 4, 4);     // a key that is a prefix only
    struct command_hold none = sample;
    struct command_hold out;
    struct buf encoded;
    none.kind = COMMAND_HOLD_RENEW;
    encode(&none, &encoded);
    memset(encoded.data + AT_ID, 0, sizeof(none.txn.v));
    assert_int_equal(command_hold_decode(buf_slice(&encoded), &out), STATUS_CORRUPT);
    buf_deinit(&encoded);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hold_there_and_back),
        cmocka_unit_test(test_hold_refuses_what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
