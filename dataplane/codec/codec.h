// SPDX-License-Identifier: Apache-2.0
// codec.h - bounded little-endian writer and reader, and the checksummed envelope of peer messages
// and records.
// Invariants: a reader never touches a byte outside its input; after the first error it returns
//             zeros and stays failed; a writer never exceeds its buffer's maximum.
// Ownership:  the reader borrows its input and hands out views into it; the writer appends to the
//             caller's buf.
// Thread:     confined to its owner.
// See:        dataplane/codec/README.md; tests/unit/dataplane/codec/codec_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/status.h"

#include <stddef.h>
#include <stdint.h>

// Little-endian integers at any address.
static inline void codec_store_u32(uint8_t *out, uint32_t v) {
    for (unsigned i = 0; i < sizeof(v); i++) {
        out[i] = (uint8_t)(v >> (8 * i));
    }
}
static inline void codec_store_u64(uint8_t *out, uint64_t v) {
    for (unsigned i = 0; i < sizeof(v); i++) {
        out[i] = (uint8_t)(v >> (8 * i));
    }
}
static inline uint32_t codec_load_u32(const uint8_t *from) {
    uint32_t v = 0;
    for (unsigned i = 0; i < sizeof(v); i++) {
        v |= (uint32_t)from[i] << (8 * i);
    }
    return v;
}
static inline uint64_t codec_load_u64(const uint8_t *from) {
    uint64_t v = 0;
    for (unsigned i = 0; i < sizeof(v); i++) {
        v |= (uint64_t)from[i] << (8 * i);
    }
    return v;
}

// Writer: errors are sticky, ask once at the end.
struct codec_writer {
    struct buf *buf;
    enum status status;  // read-only
};

void codec_writer_init(struct codec_writer *self, struct buf *buf);
void codec_put_u8(struct codec_writer *self, uint8_t v);
void codec_put_u32(struct codec_writer *self, uint32_t v);
void codec_put_u64(struct codec_writer *self, uint64_t v);
// LEB128, 1 to CODEC_VARINT_SIZE_MAX bytes.
enum { CODEC_VARINT_SIZE_MAX = 10 };
void codec_put_varint(struct codec_writer *self, uint64_t v);
// varint length, then the bytes.
void codec_put_slice(struct codec_writer *self, struct slice s);
// The bytes alone.
void codec_put_raw(struct codec_writer *self, struct slice s);

struct codec_reader {
    const uint8_t *at;   // private
    const uint8_t *end;  // private
    enum status status;  // read-only: STATUS_OK or STATUS_CORRUPT
};

void codec_reader_init(struct codec_reader *self, struct slice input);
uint8_t codec_get_u8(struct codec_reader *self);
uint32_t codec_get_u32(struct codec_reader *self);
uint64_t codec_get_u64(struct codec_reader *self);
// Truncated varints are corrupt, and so are those longer than their value needs: one encoding each.
uint64_t codec_get_varint(struct codec_reader *self);
// A view of at most size_max bytes; a longer one is corrupt.
struct slice codec_get_slice(struct codec_reader *self, size_t size_max);
struct slice codec_get_raw(struct codec_reader *self, size_t size);
// A count of items of which each takes at least item_size_min further bytes: refuses counts the
// input cannot hold.
uint64_t codec_get_count(struct codec_reader *self, size_t item_size_min);
size_t codec_remaining(const struct codec_reader *self);
// Marks the input corrupt (a value out of range found by the caller).
void codec_fail(struct codec_reader *self);
// STATUS_OK only when nothing failed and nothing is left over.
NODISCARD enum status codec_finish(const struct codec_reader *self);

// Envelope: u8 version | u8 kind | u16 0 | u32 crc32c(version..kind + payload) | payload. For disk
// records and peer frames.
enum { CODEC_ENVELOPE_SIZE = 8 };
// Appends an envelope around payload.
NODISCARD enum status codec_seal(struct buf *out, uint8_t version, uint8_t kind,
                                 struct slice payload);
// Checks it; out_payload is a view into input. STATUS_CORRUPT on any mismatch, STATUS_NOT_SUPPORTED
// for a newer version.
NODISCARD enum status codec_open(struct slice input, uint8_t version_max, uint8_t *out_version,
                                 uint8_t *out_kind, struct slice *out_payload);
