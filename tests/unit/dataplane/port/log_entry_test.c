// SPDX-License-Identifier: Apache-2.0
// The record of an entry: its exact bytes, what damage does to it, and who owns it.
#include "dataplane/port/log_entry.h"

#include "dataplane/base/checksum.h"
#include "dataplane/base/prng.h"
#include "tests/unit/dataplane/base/death.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct log_entry make(struct slice payload) {
    struct log_entry entry = {
        .index = 5,
        .term = 3,
        .shard_epoch = 2,
        .timestamp = {0x1111},
        .closed = {0x2222},
        .ceiling = {0x3333},
        .kind = LOG_ENTRY_COMMAND,
        .payload = payload,
    };
    log_entry_seal(&entry);
    return entry;
}

// Decodes a record that stands alone in a block of its own.
static enum status decode(struct slice record, struct log_entry *out) {
    struct bytes *owner = bytes_copy(record);
    struct codec_reader r;
    codec_reader_init(&r, bytes_slice(owner));
    const enum status st = log_entry_decode(&r, owner, out);
    assert_int_equal(r.status, st);
    bytes_unref(owner);  // a decoded entry holds its own reference
    return st;
}

static void assert_entries_equal(const struct log_entry *a, const struct log_entry *b) {
    assert_true(a->index == b->index && a->term == b->term && a->shard_epoch == b->shard_epoch);
    assert_true(hlc_equal(a->timestamp, b->timestamp) && hlc_equal(a->closed, b->closed));
    assert_true(hlc_equal(a->ceiling, b->ceiling) && a->kind == b->kind);
    assert_true(slice_equal(a->payload, b->payload));
    assert_true(slice_equal(a->record, b->record));
}

// Goal: the bytes on disk and wire are these; changing them needs a new version.
static void test_log_entry_layout_is_pinned(void **state) {
    (void)state;
    struct log_entry entry = make(SLICE_LITERAL("pay"));
    const uint8_t body[] = {1,    1,                        // version, kind
                            5,    0,    0,  0, 0, 0, 0, 0,  // index
                            3,    0,    0,  0, 0, 0, 0, 0,  // term
                            2,    0,    0,  0, 0, 0, 0, 0,  // shard_epoch
                            0x11, 0x11, 0,  0, 0, 0, 0, 0,  // timestamp
                            0x22, 0x22, 0,  0, 0, 0, 0, 0,  // closed
                            0x33, 0x33, 0,  0, 0, 0, 0, 0,  // ceiling
                            'p',  'a',  'y'};
    assert_int_equal(entry.record.size, 8 + sizeof(body));
    assert_int_equal(codec_load_u32(entry.record.data), sizeof(body));
    assert_int_equal(codec_load_u32(entry.record.data + 4),
                     crc32c_extend(0, slice_make(body, sizeof(body))));
    assert_memory_equal(entry.record.data + 8, body, sizeof(body));
    log_entry_unref(&entry);
}

// Goal: what is sealed is what is decoded, for every kind, empty and large payloads.
static void test_log_entry_round_trip(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 1000, LOG_ENTRY_PAYLOAD_SIZE_MAX};
    for (unsigned kind = 0; kind < LOG_ENTRY_KIND_COUNT; kind++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct bytes *payload = bytes_create(sizes[i]);
            memset(payload->data, 0xa5, sizes[i]);
            struct log_entry entry = {.index = UINT64_MAX,
                                      .term = UINT64_MAX,
                                      .closed = {UINT64_MAX - 1},
                                      .kind = (enum log_entry_kind)kind,
                                      .payload = bytes_slice(payload)};
            log_entry_seal(&entry);
            bytes_unref(payload);  // it was copied
            struct log_entry got = {0};
            assert_int_equal(decode(entry.record, &got), STATUS_OK);
            assert_entries_equal(&entry, &got);
            log_entry_unref(&entry);
            log_entry_unref(&got);
        }
    }
}

// Goal: sealing anew (another term, say) replaces the record and lets the old one go.
static void test_log_entry_reseal_keeps_the_payload(void **state) {
    (void)state;
    struct log_entry entry = make(SLICE_LITERAL("pay"));
    struct bytes *before = bytes_ref(entry.owner);
    entry.term = 4;
    log_entry_seal(&entry);
    assert_ptr_not_equal(entry.owner, before);
    bytes_unref(before);
    assert_true(slice_equal(entry.payload, SLICE_LITERAL("pay")));
    struct log_entry got = {0};
    assert_int_equal(decode(entry.record, &got), STATUS_OK);
    assert_int_equal(got.term, 4);
    log_entry_unref(&got);
    log_entry_unref(&entry);
}

// Goal: records stand one after another in one block, which lives as long as any of them.
static void test_log_entry_records_share_a_block(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1 << 12);
    struct log_entry first = make(SLICE_LITERAL("one"));
    struct log_entry second = make(SLICE_LITERAL("two!"));
    assert_int_equal(buf_append(&buf, first.record), STATUS_OK);
    assert_int_equal(buf_append(&buf, second.record), STATUS_OK);
    struct bytes *block = buf_steal(&buf);
    struct codec_reader r;
    struct log_entry got[2] = {{0}};
    codec_reader_init(&r, bytes_slice(block));
    assert_int_equal(log_entry_decode(&r, block, &got[0]), STATUS_OK);
    assert_int_equal(log_entry_decode(&r, block, &got[1]), STATUS_OK);
    assert_int_equal(codec_finish(&r), STATUS_OK);
    bytes_unref(block);
    assert_entries_equal(&got[0], &first);
    log_entry_unref(&got[0]);
    assert_null(got[0].owner);
    assert_entries_equal(&got[1], &second);
    struct log_entry copy = {0};
    log_entry_ref(&copy, &got[1]);
    log_entry_unref(&got[1]);
    assert_true(slice_equal(copy.payload, SLICE_LITERAL("two!")));
    log_entry_unref(&copy);
    log_entry_unref(&first);
    log_entry_unref(&second);
    buf_deinit(&buf);
}

// Goal: each flipped bit and each truncation is corrupt, and *out stays untouched.
static void test_log_entry_notices_any_damage(void **state) {
    (void)state;
    struct log_entry entry = make(SLICE_LITERAL("payload"));
    struct bytes *damaged = bytes_copy(entry.record);
    struct log_entry got = {.index = 77};
    for (size_t bit = 0; bit < (size_t)damaged->size * 8; bit++) {
        damaged->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(decode(bytes_slice(damaged), &got), STATUS_CORRUPT);
        damaged->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t size = 0; size < damaged->size; size++) {
        assert_int_equal(decode(slice_make(damaged->data, size), &got), STATUS_CORRUPT);
    }
    assert_int_equal(got.index, 77);
    assert_null(got.owner);
    bytes_unref(damaged);
    log_entry_unref(&entry);
}

// The record with some bytes of its body replaced and its checksum made right again.
static struct bytes *forge(struct slice record, size_t offset, struct slice with) {
    struct bytes *forged = bytes_copy(record);
    memcpy(forged->data + LOG_ENTRY_PREFIX_SIZE + offset, with.data, with.size);
    const struct slice body =
        slice_make(forged->data + LOG_ENTRY_PREFIX_SIZE, forged->size - LOG_ENTRY_PREFIX_SIZE);
    codec_store_u32(forged->data + 4, crc32c_extend(0, body));
    return forged;
}

struct forgery {
    size_t offset;
    struct slice with;
    enum status expected;
};

// Goal: a good checksum over bad fields is still corrupt: a peer may have a bug, too.
static void test_log_entry_refuses_bad_fields_with_good_checksum(void **state) {
    (void)state;
    const struct slice zero = SLICE_LITERAL("\0\0\0\0\0\0\0\0");
    const struct slice ones = SLICE_LITERAL("\xff\xff\xff\xff\xff\xff\xff\xff");
    const struct forgery forgeries[] = {
        {0, SLICE_LITERAL("\1"), STATUS_OK},
        {0, SLICE_LITERAL("\0"), STATUS_CORRUPT},
        {0, SLICE_LITERAL("\2"), STATUS_CORRUPT},
        {1, SLICE_LITERAL("\3"), STATUS_OK},
        {1, SLICE_LITERAL("\4"), STATUS_CORRUPT},
        {2, zero, STATUS_CORRUPT},
        {2, ones, STATUS_OK},
        {10, zero, STATUS_CORRUPT},
        {18, ones, STATUS_OK},
        {26, ones, STATUS_CORRUPT},
        {34, ones, STATUS_CORRUPT},
        {42, ones, STATUS_CORRUPT},
        {26, zero, STATUS_OK},
    };
    struct log_entry entry = make(SLICE_LITERAL("pay"));
    for (size_t i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++) {
        struct bytes *forged = forge(entry.record, forgeries[i].offset, forgeries[i].with);
        struct log_entry got = {0};
        assert_int_equal(decode(bytes_slice(forged), &got), forgeries[i].expected);
        log_entry_unref(&got);
        bytes_unref(forged);
    }
    log_entry_unref(&entry);
}

// Goal: a size that no record can have is refused by itself, before the bytes are looked at.
static void test_log_entry_refuses_impossible_sizes(void **state) {
    (void)state;
    const size_t body_min = LOG_ENTRY_HEADER_SIZE - LOG_ENTRY_PREFIX_SIZE;
    const size_t sizes[] = {0, body_min - 1, body_min + LOG_ENTRY_PAYLOAD_SIZE_MAX + 1};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bytes *block = bytes_create(LOG_ENTRY_PREFIX_SIZE + sizes[i]);
        memset(block->data, 1, block->size);
        codec_store_u32(block->data, (uint32_t)sizes[i]);
        const struct slice body = slice_make(block->data + LOG_ENTRY_PREFIX_SIZE, sizes[i]);
        codec_store_u32(block->data + 4, crc32c_extend(0, body));
        struct log_entry got = {0};
        assert_int_equal(decode(bytes_slice(block), &got), STATUS_CORRUPT);
        bytes_unref(block);
    }
}

// Goal: random bytes, some behind a checksum that fits, never crash or leak; what decodes encodes
// to
// the same record.
static void test_log_entry_survives_noise(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 53);
    unsigned decoded = 0;
    for (unsigned round = 0; round < 20000; round++) {
        struct bytes *noise = bytes_create(prng_below(&prng, 120));
        for (uint32_t i = 0; i < noise->size; i++) {
            noise->data[i] = (uint8_t)prng_next(&prng);
        }
        if (noise->size >= LOG_ENTRY_HEADER_SIZE && prng_chance(&prng, 1, 2)) {
            const uint32_t size = noise->size - LOG_ENTRY_PREFIX_SIZE;
            codec_store_u32(noise->data, size);
            noise->data[8] = LOG_ENTRY_VERSION;
            noise->data[9] = (uint8_t)prng_below(&prng, LOG_ENTRY_KIND_COUNT + 1);
            codec_store_u32(noise->data + 4, crc32c_extend(0, slice_make(noise->data + 8, size)));
        }
        struct log_entry got = {0};
        if (decode(bytes_slice(noise), &got) == STATUS_OK) {
            decoded++;
            log_entry_seal(&got);
            assert_true(slice_equal(got.record, bytes_slice(noise)));
            log_entry_unref(&got);
        }
        bytes_unref(noise);
    }
    assert_true(decoded > 1000);
}

static void seal_index_zero(void *ctx) {
    (void)ctx;
    struct log_entry entry = {.term = 1};
    log_entry_seal(&entry);
}

static void seal_too_large(void *ctx) {
    struct bytes *payload = (struct bytes *)ctx;
    struct log_entry entry = {.index = 1, .term = 1, .payload = bytes_slice(payload)};
    log_entry_seal(&entry);
}

// Goal: what a decoder would refuse is never written.
static void test_log_entry_seal_asserts_its_fields(void **state) {
    (void)state;
    struct bytes *payload = bytes_create(LOG_ENTRY_PAYLOAD_SIZE_MAX + 1);
    assert_true(death_by_assert(seal_index_zero, NULL));
    assert_true(death_by_assert(seal_too_large, payload));
    bytes_unref(payload);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_entry_layout_is_pinned),
        cmocka_unit_test(test_log_entry_round_trip),
        cmocka_unit_test(test_log_entry_reseal_keeps_the_payload),
        cmocka_unit_test(test_log_entry_records_share_a_block),
        cmocka_unit_test(test_log_entry_notices_any_damage),
        cmocka_unit_test(test_log_entry_refuses_bad_fields_with_good_checksum),
        cmocka_unit_test(test_log_entry_refuses_impossible_sizes),
        cmocka_unit_test(test_log_entry_survives_noise),
        cmocka_unit_test(test_log_entry_seal_asserts_its_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
