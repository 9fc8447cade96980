// SPDX-License-Identifier: Apache-2.0
// The hand-written wire format against protobuf-c, both ways, and against garbage.
#include "api/proto/wire.h"

#include "api/proto/lightcone.pb-c.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { BUFFER_MAX = 1 << 20 };

static int setup(void **state) {
    struct buf *buf = mem_alloc(sizeof(*buf));
    buf_init(buf, BUFFER_MAX);
    *state = buf;
    return 0;
}

static int teardown(void **state) {
    buf_deinit(*state);
    mem_free(*state);
    return 0;
}

// --- Writing ---

// Goal: nested messages of every length around the borders of the length's own length, whatever the
// guess was, are what protobuf-c would have written.
static void test_proto_writer_equals_protobuf_c(void **state) {
    struct buf *buf = *state;
    static uint8_t value[70000];
    static const size_t sizes[] = {0,   1,   50,    100,   110,   115,   116,   117,  118,
                                   119, 120, 121,   122,   123,   124,   125,   126,  127,
                                   128, 129, 16000, 16300, 16370, 16380, 16384, 65000};
    static const size_t hints[] = {0, 127, 128, 20000, 1 << 21};
    memset(value, 'v', sizeof(value));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t h = 0; h < sizeof(hints) / sizeof(hints[0]); h++) {
            struct proto_writer w;
            buf_reset(buf);
            proto_writer_init(&w, buf);
            size_t reply = proto_open(&w, 1, hints[h]);
            proto_put_uint(&w, 1, UINT64_MAX);
            size_t read = proto_open(&w, 3, hints[h]);
            size_t row = proto_open(&w, 2, hints[h]);
            proto_put_uint(&w, 1, 1);
            proto_put_bytes(&w, 2, slice_make(value, sizes[i]));
            proto_put_fixed64(&w, 3, UINT64_C(0x0102030405060708));
            proto_close(&w, row);
            proto_close(&w, read);
            proto_close(&w, reply);
            proto_put_uint(&w, 2, 77);
            assert_int_equal(w.status, STATUS_OK);

            Lightcone__V1__BatchResponse *message =
                lightcone__v1__batch_response__unpack(NULL, buf->size, buf->data);
            assert_non_null(message);
            assert_int_equal(message->n_replies, 1);
            assert_int_equal(message->load_percent, 77);
            assert_true(message->replies[0]->tag == UINT64_MAX);
            assert_int_equal(message->replies[0]->read->n_rows, 1);
            assert_int_equal(message->replies[0]->read->rows[0]->value.len, sizes[i]);
            assert_true(message->replies[0]->read->rows[0]->version ==
                        UINT64_C(0x0102030405060708));
            uint8_t *packed = mem_alloc(buf->size + 64);
            size_t size = lightcone__v1__batch_response__pack(message, packed);
            assert_int_equal(size, buf->size);
            assert_memory_equal(packed, buf->data, size);
            mem_free(packed);
            lightcone__v1__batch_response__free_unpacked(message, NULL);
        }
    }
}

static void test_proto_writer_leaves_defaults_out(void **state) {
    struct buf *buf = *state;
    struct proto_writer w;
    proto_writer_init(&w, buf);
    proto_put_uint(&w, 1, 0);
    proto_put_fixed64(&w, 2, 0);
    proto_put_bytes(&w, 3, SLICE_EMPTY);
    assert_int_equal(buf->size, 0);
    proto_put_bytes_always(&w, 3, SLICE_EMPTY);
    proto_put_fixed64_always(&w, 2, 0);
    assert_int_equal(buf->size, 2 + 9);
    assert_int_equal(w.status, STATUS_OK);
}

// Goal: a full buffer is a sticky status, at every position, and nothing is written past it.
static void test_proto_writer_stops_at_the_maximum(void **state) {
    (void)state;
    for (size_t size_max = 1; size_max < 160; size_max++) {
        struct buf small;
        struct proto_writer w;
        buf_init(&small, size_max);
        proto_writer_init(&w, &small);
        size_t mark = proto_open(&w, 1, 1);
        for (int i = 0; i < 20; i++) {
            proto_put_bytes(&w, 2, SLICE_LITERAL("0123456789"));
        }
        proto_close(&w, mark);
        assert_int_equal(w.status, STATUS_RESOURCE_EXHAUSTED);
        assert_true(small.size <= size_max);
        buf_deinit(&small);
    }
}

// --- Reading ---

static void test_proto_reader_reads_protobuf_c(void **state) {
    (void)state;
    Lightcone__V1__ReadRequest message = LIGHTCONE__V1__READ_REQUEST__INIT;
    uint8_t key1[] = "first";
    uint8_t key2[300] = {0};
    char keyspace[] = "space";
    ProtobufCBinaryData keys[] = {{5, key1}, {sizeof(key2), key2}, {0, NULL}};
    uint8_t packed[1024];
    message.keyspace = keyspace;
    message.n_keys = 3;
    message.keys = keys;
    message.consistency = LIGHTCONE__V1__CONSISTENCY__CONSISTENCY_STRONG_READ_INDEX;
    message.at_least = UINT64_MAX - 1;
    size_t size = lightcone__v1__read_request__pack(&message, packed);

    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, slice_make(packed, size));
    assert_true(proto_next(&r, &field));
    assert_int_equal(field.number, 1);
    assert_true(slice_equal(proto_get_bytes(&r, &field), SLICE_LITERAL("space")));
    for (size_t i = 0; i < 3; i++) {
        assert_true(proto_next(&r, &field));
        assert_int_equal(field.number, 3);
        assert_int_equal(proto_get_bytes(&r, &field).size, keys[i].len);
    }
    assert_true(proto_next(&r, &field));
    assert_int_equal(proto_get_uint32(&r, &field), 1);
    assert_true(proto_next(&r, &field));
    assert_true(proto_get_fixed64(&r, &field) == UINT64_MAX - 1);
    assert_false(proto_next(&r, &field));
    assert_int_equal(r.status, STATUS_OK);
}

static enum status read_all(struct slice input, uint32_t *out_fields) {
    struct proto_reader r;
    struct proto_field field;
    *out_fields = 0;
    proto_reader_init(&r, input);
    while (proto_next(&r, &field)) {
        (*out_fields)++;
    }
    return r.status;
}

static void test_proto_reader_refuses_garbage(void **state) {
    (void)state;
    const struct {
        const char *why;
        struct slice input;
    } cases[] = {
        {"tag without value", SLICE_LITERAL("\x08")},
        {"truncated varint", SLICE_LITERAL("\x08\x80")},
        {"varint of eleven bytes",
         SLICE_LITERAL("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")},
        {"varint beyond 64 bits", SLICE_LITERAL("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")},
        {"field number 0", SLICE_LITERAL("\x02\x01x")},
        {"field number 2^29", SLICE_LITERAL("\x80\x80\x80\x80\x10\x00")},
        {"group start", SLICE_LITERAL("\x0b")},
        {"group end", SLICE_LITERAL("\x0c")},
        {"wire type 6", SLICE_LITERAL("\x0e\x01")},
        {"wire type 7", SLICE_LITERAL("\x0f\x01")},
        {"length beyond the end", SLICE_LITERAL("\x0a\x05xyz")},
        {"length of 2^64 - 1", SLICE_LITERAL("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x")},
        {"short fixed64", SLICE_LITERAL("\x09\x01\x02\x03\x04\x05\x06\x07")},
        {"short fixed32", SLICE_LITERAL("\x0d\x01\x02\x03")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t fields;
        if (read_all(cases[i].input, &fields) != STATUS_CORRUPT || fields != 0) {
            fail_msg("not refused: %s", cases[i].why);
        }
    }
}

static void test_proto_reader_refuses_wrong_types_and_ranges(void **state) {
    (void)state;
    struct proto_reader r;
    struct proto_field field;
    proto_reader_init(&r, SLICE_LITERAL("\x08\x01"));
    assert_true(proto_next(&r, &field));
    assert_int_equal(proto_get_bytes(&r, &field).size, 0);
    assert_int_equal(r.status, STATUS_CORRUPT);
    proto_reader_init(&r, SLICE_LITERAL("\x08\x80\x80\x80\x80\x10\x10\x01"));  // 2^32, then more
    assert_true(proto_next(&r, &field));
    assert_int_equal(proto_get_uint32(&r, &field), 0);
    assert_int_equal(r.status, STATUS_CORRUPT);
    assert_false(proto_next(&r, &field));  // stays failed
    proto_reader_init(&r, SLICE_LITERAL("\x0a\x01x"));
    assert_true(proto_next(&r, &field));
    assert_int_equal(proto_get_fixed64(&r, &field), 0);
    assert_int_equal(r.status, STATUS_CORRUPT);
}

// Goal: no input, cut and flipped at random, makes the reader leave its bounds (the sanitizers
// watch: each input is a block of its own size).
static void test_proto_reader_survives_random_bytes(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 20261121);
    for (int round = 0; round < 20000; round++) {
        size_t size = (size_t)prng_below(&prng, 40);
        uint8_t *bytes = mem_alloc(size + 1);
        uint8_t *tight = mem_try_alloc(size == 0 ? 1 : size);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = prng_chance(&prng, 1, 2) ? (uint8_t)prng_below(&prng, 256)
                                                : (uint8_t)(prng_below(&prng, 16) << 3 | 2);
        }
        memcpy(tight, bytes, size);
        uint32_t fields;
        (void)read_all(slice_make(tight, size), &fields);
        assert_true(fields <= size);
        mem_free(tight);
        mem_free(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_proto_writer_equals_protobuf_c, setup, teardown),
        cmocka_unit_test_setup_teardown(test_proto_writer_leaves_defaults_out, setup, teardown),
        cmocka_unit_test(test_proto_writer_stops_at_the_maximum),
        cmocka_unit_test(test_proto_reader_reads_protobuf_c),
        cmocka_unit_test(test_proto_reader_refuses_garbage),
        cmocka_unit_test(test_proto_reader_refuses_wrong_types_and_ranges),
        cmocka_unit_test(test_proto_reader_survives_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
