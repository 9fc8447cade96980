// SPDX-License-Identifier: Apache-2.0
// The codec: exact bytes, sticky errors, and input that lies about itself.
#include "dataplane/codec/codec.h"

#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { BUF_MAX = 1 << 16 };

static int setup(void **state) {
    struct buf *buf = (struct buf *)mem_alloc(sizeof(*buf));
    buf_init(buf, BUF_MAX);
    *state = buf;
    return 0;
}

static int teardown(void **state) {
    struct buf *buf = (struct buf *)*state;
    buf_deinit(buf);
    mem_free(buf);
    return 0;
}

// Goal: the byte order is fixed; these bytes are on disks.
static void test_codec_layout_is_little_endian(void **state) {
    struct codec_writer w;
    codec_writer_init(&w, (struct buf *)*state);
    codec_put_u8(&w, 0x01);
    codec_put_u32(&w, 0x05040302);
    codec_put_u64(&w, UINT64_C(0x0d0c0b0a09080706));
    codec_put_slice(&w, SLICE_LITERAL("ab"));
    codec_put_raw(&w, SLICE_LITERAL("c"));
    assert_int_equal(w.status, STATUS_OK);
    const struct slice expected =
        SLICE_LITERAL("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x02"
                      "abc");
    assert_true(slice_equal(buf_slice(w.buf), expected));
}

// Goal: every field comes back, and nothing is left over.
static void test_codec_round_trip(void **state) {
    struct codec_writer w;
    codec_writer_init(&w, (struct buf *)*state);
    codec_put_u8(&w, 255);
    codec_put_u32(&w, UINT32_MAX);
    codec_put_u64(&w, UINT64_MAX);
    codec_put_varint(&w, 300);
    codec_put_slice(&w, SLICE_EMPTY);
    codec_put_slice(&w, SLICE_LITERAL("key"));
    struct codec_reader r;
    codec_reader_init(&r, buf_slice(w.buf));
    assert_int_equal(codec_get_u8(&r), 255);
    assert_true(codec_get_u32(&r) == UINT32_MAX);
    assert_true(codec_get_u64(&r) == UINT64_MAX);
    assert_int_equal(codec_get_varint(&r), 300);
    assert_int_equal(codec_get_slice(&r, 0).size, 0);
    assert_int_equal(codec_finish(&r), STATUS_CORRUPT);  // something is left
    assert_true(slice_equal(codec_get_slice(&r, 3), SLICE_LITERAL("key")));
    assert_int_equal(codec_remaining(&r), 0);
    assert_int_equal(codec_finish(&r), STATUS_OK);
}

// Goal: varints change their length at each power of 2^7, and 64 bits fit in ten bytes.
static void test_codec_varint_edges_round_trip(void **state) {
    struct buf *buf = (struct buf *)*state;
    for (unsigned bits = 0; bits <= 64; bits++) {
        const uint64_t top = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
        for (uint64_t v = top; v - top <= 1; v++) {
            struct codec_writer w;
            struct codec_reader r;
            buf_reset(buf);
            codec_writer_init(&w, buf);
            codec_put_varint(&w, v);
            codec_reader_init(&r, buf_slice(buf));
            assert_true(codec_get_varint(&r) == v);
            assert_int_equal(codec_finish(&r), STATUS_OK);
        }
        assert_in_range(buf->size, 1, CODEC_VARINT_SIZE_MAX);
    }
}

// Goal: one encoding a value: longer ones, more than 64 bits and cut ones are corrupt.
static void test_codec_varint_refuses_other_encodings(void **state) {
    (void)state;
    const struct slice bad[] = {
        SLICE_EMPTY,
        SLICE_LITERAL("\x80"),
        SLICE_LITERAL("\x80\x00"),
        SLICE_LITERAL("\xff\x80\x00"),
        SLICE_LITERAL("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
        SLICE_LITERAL("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00"),
        SLICE_LITERAL("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct codec_reader r;
        codec_reader_init(&r, bad[i]);
        assert_true(codec_get_varint(&r) == 0);
        assert_int_equal(r.status, STATUS_CORRUPT);
    }
}

// Goal: after the first error all reads give zeros and stay failed, though bytes were left.
static void test_codec_reader_errors_are_sticky(void **state) {
    (void)state;
    struct codec_reader r;
    codec_reader_init(&r, SLICE_LITERAL("\x01\x02\x03"));
    assert_true(codec_get_u32(&r) == 0);
    assert_int_equal(codec_get_u8(&r), 0);
    assert_int_equal(codec_get_varint(&r), 0);
    assert_int_equal(codec_get_slice(&r, 10).size, 0);
    assert_int_equal(codec_get_raw(&r, 1).size, 0);
    assert_int_equal(codec_get_count(&r, 1), 0);
    assert_int_equal(codec_remaining(&r), 0);
    assert_int_equal(codec_finish(&r), STATUS_CORRUPT);
    codec_reader_init(&r, SLICE_LITERAL("\x01"));
    codec_fail(&r);
    assert_int_equal(codec_get_u8(&r), 0);
    assert_int_equal(codec_finish(&r), STATUS_CORRUPT);
}

// Goal: a missing input is an empty one.
static void test_codec_reader_of_nothing(void **state) {
    (void)state;
    struct codec_reader r;
    codec_reader_init(&r, SLICE_EMPTY);
    assert_int_equal(codec_remaining(&r), 0);
    assert_int_equal(codec_get_raw(&r, 0).size, 0);
    assert_int_equal(codec_finish(&r), STATUS_OK);
}

// Goal: lengths and counts are compared with the bytes present before anyone allocates by them.
static void test_codec_lying_lengths_are_corrupt(void **state) {
    (void)state;
    struct codec_reader r;
    codec_reader_init(&r, SLICE_LITERAL("\x05"
                                        "abcd"));
    assert_int_equal(codec_get_slice(&r, 100).size, 0);
    assert_int_equal(r.status, STATUS_CORRUPT);
    codec_reader_init(&r, SLICE_LITERAL("\x04"
                                        "abcd"));
    assert_int_equal(codec_get_slice(&r, 3).size, 0);
    assert_int_equal(r.status, STATUS_CORRUPT);
    codec_reader_init(&r, SLICE_LITERAL("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                                        "abcd"));
    assert_int_equal(codec_get_slice(&r, SIZE_MAX).size, 0);
    assert_int_equal(r.status, STATUS_CORRUPT);
    codec_reader_init(&r, SLICE_LITERAL("\x03"
                                        "abcd"));
    assert_int_equal(codec_get_count(&r, 2), 0);
    assert_int_equal(r.status, STATUS_CORRUPT);
    codec_reader_init(&r, SLICE_LITERAL("\x02"
                                        "abcd"));
    assert_int_equal(codec_get_count(&r, 2), 2);
    assert_int_equal(r.status, STATUS_OK);
}

// Goal: the writer stops at its buffer's maximum and says so at the end.
static void test_codec_writer_errors_are_sticky(void **state) {
    (void)state;
    struct buf small;
    buf_init(&small, 5);
    struct codec_writer w;
    codec_writer_init(&w, &small);
    codec_put_u32(&w, 1);
    codec_put_u32(&w, 2);
    codec_put_u8(&w, 3);  // would fit, but comes after an error
    assert_int_equal(w.status, STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(small.size, 4);
    buf_deinit(&small);
}

static enum status open_any(struct slice input, uint8_t *kind, struct slice *payload) {
    uint8_t version = 0;
    return codec_open(input, 3, &version, kind, payload);
}

// Goal: an envelope gives back what it was given, the empty payload too.
static void test_codec_envelope_round_trip(void **state) {
    struct buf *buf = (struct buf *)*state;
    const struct slice payloads[] = {SLICE_EMPTY, SLICE_LITERAL("x"), SLICE_LITERAL("payload")};
    for (size_t i = 0; i < 3; i++) {
        uint8_t version = 0;
        uint8_t kind = 0;
        struct slice payload = SLICE_EMPTY;
        buf_reset(buf);
        assert_int_equal(codec_seal(buf, 3, 9, payloads[i]), STATUS_OK);
        assert_int_equal(buf->size, CODEC_ENVELOPE_SIZE + payloads[i].size);
        assert_int_equal(codec_open(buf_slice(buf), 3, &version, &kind, &payload), STATUS_OK);
        assert_int_equal(version, 3);
        assert_int_equal(kind, 9);
        assert_true(slice_equal(payload, payloads[i]));
    }
}

// Goal: every single flipped bit and every truncation is noticed, and outputs stay untouched.
static void test_codec_envelope_notices_any_damage(void **state) {
    struct buf *buf = (struct buf *)*state;
    assert_int_equal(codec_seal(buf, 1, 2, SLICE_LITERAL("payload")), STATUS_OK);
    uint8_t kind = 77;
    struct slice payload = SLICE_EMPTY;
    for (size_t bit = 0; bit < buf->size * 8; bit++) {
        buf->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(open_any(buf_slice(buf), &kind, &payload), STATUS_CORRUPT);
        buf->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t size = 0; size < buf->size; size++) {
        assert_int_equal(open_any(slice_make(buf->data, size), &kind, &payload), STATUS_CORRUPT);
    }
    assert_int_equal(kind, 77);
    assert_int_equal(open_any(buf_slice(buf), &kind, &payload), STATUS_OK);
}

// Goal: a sound envelope of a later release is told apart from damage.
static void test_codec_envelope_newer_version_is_not_supported(void **state) {
    struct buf *buf = (struct buf *)*state;
    uint8_t kind = 0;
    struct slice payload = SLICE_EMPTY;
    assert_int_equal(codec_seal(buf, 4, 2, SLICE_LITERAL("x")), STATUS_OK);
    assert_int_equal(open_any(buf_slice(buf), &kind, &payload), STATUS_NOT_SUPPORTED);
}

// Goal: an envelope that does not fit leaves no half of it behind.
static void test_codec_seal_is_all_or_nothing(void **state) {
    (void)state;
    struct buf small;
    buf_init(&small, CODEC_ENVELOPE_SIZE + 3);
    assert_int_equal(codec_seal(&small, 1, 1, SLICE_LITERAL("four")), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(small.size, 0);
    assert_int_equal(codec_seal(&small, 1, 1, SLICE_LITERAL("ten")), STATUS_OK);
    buf_deinit(&small);
}

// One random read.
static void read_something(struct codec_reader *r, struct prng *prng) {
    switch (prng_below(prng, 7)) {
    case 0:
        (void)codec_get_u8(r);
        break;
    case 1:
        (void)codec_get_u32(r);
        break;
    case 2:
        (void)codec_get_u64(r);
        break;
    case 3:
        (void)codec_get_varint(r);
        break;
    case 4:
        (void)codec_get_slice(r, prng_below(prng, 100));
        break;
    case 5:
        (void)codec_get_raw(r, prng_below(prng, 100));
        break;
    default:
        (void)codec_get_count(r, 1 + prng_below(prng, 10));
    }
}

// Goal: random reads of random bytes stay inside (the input is an exact heap block:
// AddressSanitizer sees one byte too far), never run backwards, and a failed reader stays failed.
static void test_codec_reader_survives_noise(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 31);
    for (unsigned round = 0; round < 5000; round++) {
        struct bytes *input = bytes_create(prng_below(&prng, 64));
        for (uint32_t i = 0; i < input->size; i++) {
            input->data[i] = (uint8_t)(prng_next(&prng) >> prng_below(&prng, 64));
        }
        struct codec_reader r;
        codec_reader_init(&r, bytes_slice(input));
        size_t before = codec_remaining(&r);
        for (unsigned step = 0; step < 10; step++) {
            const bool failed = r.status != STATUS_OK;
            read_something(&r, &prng);
            assert_true(codec_remaining(&r) <= before);
            assert_true(!failed || r.status == STATUS_CORRUPT);
            before = codec_remaining(&r);
        }
        uint8_t kind = 0;
        struct slice payload = SLICE_EMPTY;
        (void)!open_any(bytes_slice(input), &kind, &payload);
        bytes_unref(input);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_codec_layout_is_little_endian, setup, teardown),
        cmocka_unit_test_setup_teardown(test_codec_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_codec_varint_edges_round_trip, setup, teardown),
        cmocka_unit_test(test_codec_varint_refuses_other_encodings),
        cmocka_unit_test(test_codec_reader_errors_are_sticky),
        cmocka_unit_test(test_codec_reader_of_nothing),
        cmocka_unit_test(test_codec_lying_lengths_are_corrupt),
        cmocka_unit_test(test_codec_writer_errors_are_sticky),
        cmocka_unit_test_setup_teardown(test_codec_envelope_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_codec_envelope_notices_any_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_codec_envelope_newer_version_is_not_supported, setup,
                                        teardown),
        cmocka_unit_test(test_codec_seal_is_all_or_nothing),
        cmocka_unit_test(test_codec_reader_survives_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
