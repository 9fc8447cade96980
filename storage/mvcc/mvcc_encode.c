// SPDX-License-Identifier: Apache-2.0
// Keys and values of versions. Byte 0 of a user key becomes 0 255, and 0 1 ends the key: the end
// sorts below every continuation (0 255 or a byte >= 1), so encoded keys sort as user keys do, and
// no encoded key is a prefix of another's. A length in front would not keep the order, and bare
// keys with a timestamp behind would let the timestamp of "a" compare with the letters of "ab".
//
// Runs without a zero byte are found by memchr and copied whole: most keys have only the zeros of
// their keyspace id.
//
// Value: one byte, then perhaps a varint, then the user's bytes.
//   bits 0-3  kind
//   bit 7     a varint follows: timestamp - prepare timestamp. Left out when they are equal.
#include "dataplane/base/assert.h"
#include "dataplane/codec/codec.h"
#include "storage/mvcc/mvcc.h"
#include "storage/mvcc/mvcc_internal.h"

#include <assert.h>
#include <string.h>

enum {
    ESCAPE = 0x00,
    ESCAPED_ZERO = 0xff,
    TERMINATOR = 0x01,
    VALUE_KIND_MASK = 0x0f,
    VALUE_HAS_DELTA = 0x80,
    VARINT_SIZE_MAX = 10,
};

static_assert(ENGINE_VERSION_SUFFIX_SIZE == sizeof(uint64_t), "a timestamp ends the key");

// Bytes before the first zero, or all.
static size_t run_size(const uint8_t *at, size_t left) {
    const uint8_t *zero = left > 0 ? memchr(at, ESCAPE, left) : NULL;
    return zero == NULL ? left : (size_t)(zero - at);
}

size_t mvcc__prefix_encode(struct slice key, uint8_t *out) {
    ASSERT(key.size <= SHARD_KEY_SIZE_MAX);
    size_t from = 0;
    size_t to = 0;
    while (from < key.size) {
        const size_t run = run_size(key.data + from, key.size - from);
        if (run > 0) { memcpy(out + to, key.data + from, run); }
        from += run;
        to += run;
        if (from < key.size) {
            out[to++] = ESCAPE;
            out[to++] = ESCAPED_ZERO;
            from++;
        }
    }
    out[to++] = ESCAPE;
    out[to++] = TERMINATOR;
    ASSERT(to <= MVCC_KEY_SIZE_MAX - ENGINE_VERSION_SUFFIX_SIZE);
    return to;
}

enum status mvcc__prefix_decode(struct slice prefix, uint8_t *key_out, size_t *out_key_size) {
    size_t from = 0;
    size_t to = 0;
    for (;;) {
        const size_t run = run_size(prefix.data + from, prefix.size - from);
        if (run > SHARD_KEY_SIZE_MAX - to) { return STATUS_CORRUPT; }
        if (run > 0) { memcpy(key_out + to, prefix.data + from, run); }
        from += run;
        to += run;
        if (prefix.size - from < 2) { return STATUS_CORRUPT; }
        const uint8_t after = prefix.data[from + 1];
        from += 2;
        if (after == TERMINATOR) { break; }
        if (after != ESCAPED_ZERO || to == SHARD_KEY_SIZE_MAX) { return STATUS_CORRUPT; }
        key_out[to++] = 0;
    }
    if (from != prefix.size) { return STATUS_CORRUPT; }
    *out_key_size = to;
    return STATUS_OK;
}

void mvcc__ts_encode(struct hlc_ts ts, uint8_t *out) {
    const uint64_t big_endian = __builtin_bswap64(~ts.v);
    memcpy(out, &big_endian, sizeof(big_endian));
}

struct hlc_ts mvcc__ts_decode(const uint8_t *encoded) {
    uint64_t big_endian = 0;
    memcpy(&big_endian, encoded, sizeof(big_endian));
    return (struct hlc_ts){~__builtin_bswap64(big_endian)};
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the swaps above assume it");

size_t mvcc_key_encode(struct slice key, struct hlc_ts ts, uint8_t *out) {
    const size_t size = mvcc__prefix_encode(key, out);
    mvcc__ts_encode(ts, out + size);
    return size + ENGINE_VERSION_SUFFIX_SIZE;
}

enum status mvcc_key_decode(struct slice encoded, uint8_t *key_out, size_t *out_key_size,
                            struct hlc_ts *out_ts) {
    if (encoded.size < ENGINE_VERSION_SUFFIX_SIZE) { return STATUS_CORRUPT; }
    const size_t prefix_size = encoded.size - ENGINE_VERSION_SUFFIX_SIZE;
    const enum status st =
        mvcc__prefix_decode(slice_make(encoded.data, prefix_size), key_out, out_key_size);
    if (st == STATUS_OK) { *out_ts = mvcc__ts_decode(encoded.data + prefix_size); }
    return st;
}

// The bytes before the user's; returns their number.
static size_t value_head(enum mvcc_kind kind, struct hlc_ts ts, struct hlc_ts prepared,
                         uint8_t *out) {
    ASSERT(prepared.v <= ts.v);
    uint64_t delta = ts.v - prepared.v;
    size_t size = 0;
    out[size++] = (uint8_t)(kind | (delta > 0 ? VALUE_HAS_DELTA : 0));
    if (delta == 0) { return size; }
    while (delta >= 0x80) {
        out[size++] = (uint8_t)(delta | 0x80);
        delta >>= 7;
    }
    out[size++] = (uint8_t)delta;
    return size;
}

static void add(struct engine_batch *batch, struct slice key, const struct mvcc_version *version) {
    uint8_t encoded[MVCC_KEY_SIZE_MAX];
    uint8_t head[1 + VARINT_SIZE_MAX];
    const size_t size = mvcc_key_encode(key, version->ts, encoded);
    const size_t head_size = value_head(version->kind, version->ts, version->prepared, head);
    engine_put_parts(batch, ENGINE_VERSION, slice_make(encoded, size), slice_make(head, head_size),
                     version->value);
}

void mvcc_put(struct engine_batch *batch, struct slice key, struct hlc_ts ts,
              struct hlc_ts prepared, struct slice value) {
    add(batch, key, &(struct mvcc_version){value, ts, prepared, MVCC_PUT});
}

void mvcc_put_version(struct engine_batch *batch, struct slice key,
                      const struct mvcc_version *version) {
    ASSERT(version->kind >= MVCC_PUT && version->kind < MVCC_KIND_COUNT);
    ASSERT(version->kind != MVCC_DELETE || version->value.size == 0);
    add(batch, key, version);
}

void mvcc_delete(struct engine_batch *batch, struct slice key, struct hlc_ts ts,
                 struct hlc_ts prepared) {
    add(batch, key, &(struct mvcc_version){SLICE_EMPTY, ts, prepared, MVCC_DELETE});
}

enum status mvcc_version_decode(struct slice stored, struct hlc_ts ts,
                                struct mvcc_version *out_version) {
    struct codec_reader r;
    codec_reader_init(&r, stored);
    const uint8_t first = codec_get_u8(&r);
    const uint8_t kind = first & VALUE_KIND_MASK;
    const uint64_t delta = (first & VALUE_HAS_DELTA) != 0 ? codec_get_varint(&r) : 0;
    const struct slice value = codec_get_raw(&r, codec_remaining(&r));
    if (codec_finish(&r) != STATUS_OK || delta > ts.v ||
        (first & ~(VALUE_KIND_MASK | VALUE_HAS_DELTA)) != 0 || kind < MVCC_PUT ||
        kind >= MVCC_KIND_COUNT || (kind == MVCC_DELETE && value.size > 0)) {
        return STATUS_CORRUPT;
    }
    *out_version = (struct mvcc_version){
        .value = value,
        .ts = ts,
        .prepared = {ts.v - delta},
        .kind = (enum mvcc_kind)kind,
    };
    return STATUS_OK;
}
