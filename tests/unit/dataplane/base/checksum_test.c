// SPDX-License-Identifier: Apache-2.0
// CRC32C against the vectors of RFC 3720 (B.4) and against the polynomial itself.
#include "dataplane/base/checksum.h"

#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// One bit a step, straight from the definition.
static uint32_t crc32c_by_bits(const uint8_t *data, size_t size) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? UINT32_C(0x82f63b78) : 0);
        }
    }
    return ~crc;
}

// Goal: the published vectors.
static void test_crc32c_matches_rfc3720(void **state) {
    (void)state;
    uint8_t block[32];
    assert_int_equal(crc32c_extend(0, SLICE_LITERAL("123456789")), 0xe3069283);
    assert_int_equal(crc32c_extend(0, SLICE_EMPTY), 0);
    memset(block, 0, sizeof(block));
    assert_int_equal(crc32c_extend(0, slice_make(block, 32)), 0x8a9136aa);
    memset(block, 0xff, sizeof(block));
    assert_int_equal(crc32c_extend(0, slice_make(block, 32)), 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++) {
        block[i] = (uint8_t)i;
    }
    assert_int_equal(crc32c_extend(0, slice_make(block, 32)), 0x46dd794e);
}

// Goal: instruction, table and definition agree at every length and alignment; every table slot is
// used.
static void test_crc32c_hardware_table_and_definition_agree(void **state) {
    (void)state;
    uint8_t data[300];
    struct prng prng;
    prng_init(&prng, 7);
    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)prng_next(&prng);
    }
    for (size_t from = 0; from < 9; from++) {
        for (size_t size = 0; size <= sizeof(data) - from; size++) {
            const struct slice s = slice_make(data + from, size);
            const uint32_t expected = crc32c_by_bits(s.data, s.size);
            assert_int_equal(crc32c_extend(0, s), expected);
            assert_int_equal(crc32c_extend_portable(0, s), expected);
        }
    }
    for (unsigned i = 0; i < 256; i++) {
        const uint8_t byte = (uint8_t)i;
        assert_int_equal(crc32c_extend_portable(0, slice_make(&byte, 1)), crc32c_by_bits(&byte, 1));
    }
}

// Goal: a checksum over pieces equals that over the whole.
static void test_crc32c_extends_over_pieces(void **state) {
    (void)state;
    const struct slice whole = SLICE_LITERAL("a history of one shard");
    for (size_t cut = 0; cut <= whole.size; cut++) {
        const uint32_t head = crc32c_extend(0, slice_make(whole.data, cut));
        const struct slice tail = slice_make(whole.data + cut, whole.size - cut);
        assert_int_equal(crc32c_extend(head, tail), crc32c_extend(0, whole));
        assert_int_equal(crc32c_extend_portable(head, tail), crc32c_extend(0, whole));
    }
}

// Goal: digests compare between machines and releases, so the hash is pinned.
static void test_hash64_is_pinned(void **state) {
    (void)state;
    assert_true(hash64(SLICE_EMPTY, 0) == UINT64_C(0xef46db3751d8e999));
    assert_true(hash64(SLICE_LITERAL("a"), 0) == UINT64_C(0xd24ec4f1a98c6e5b));
    assert_true(hash64(SLICE_LITERAL("a"), 0) != hash64(SLICE_LITERAL("a"), 1));
    assert_true(hash64_u64(0) == UINT64_C(0xe220a8397b1dcdaf));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_matches_rfc3720),
        cmocka_unit_test(test_crc32c_hardware_table_and_definition_agree),
        cmocka_unit_test(test_crc32c_extends_over_pieces),
        cmocka_unit_test(test_hash64_is_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
