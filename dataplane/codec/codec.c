// SPDX-License-Identifier: Apache-2.0
// Errors are sticky on both sides, so that encoders and
// decoders read as a plain list of fields with one test at the end. A reader that failed stands at
// its end and yields zeros: a loop over a count that was read after a failure runs zero times.
// Integers have one encoding each, so that equal values have equal bytes (digests and tests compare
// bytes).
#include "dataplane/codec/codec.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"

#include <string.h>

void codec_writer_init(struct codec_writer *self, struct buf *buf) {
    ASSERT(self != NULL);
    ASSERT(buf != NULL);
    *self = (struct codec_writer){.buf = buf, .status = STATUS_OK};
}

void codec_put_raw(struct codec_writer *self, struct slice s) {
    if (self->status == STATUS_OK) { self->status = buf_append(self->buf, s); }
}

// Where the next bytes are written in their place; NULL once the writer has failed.
static uint8_t *room_for(struct codec_writer *self, size_t size) {
    if (self->status != STATUS_OK) { return NULL; }
    uint8_t *at = buf_room(self->buf, size);
    if (at != NULL) { return at; }
    self->status = buf_reserve(self->buf, size);
    return self->status == STATUS_OK ? buf_room(self->buf, size) : NULL;
}

void codec_put_u8(struct codec_writer *self, uint8_t v) {
    uint8_t *at = room_for(self, sizeof(v));
    if (at == NULL) { return; }
    *at = v;
    buf_filled(self->buf, sizeof(v));
}

void codec_put_u32(struct codec_writer *self, uint32_t v) {
    uint8_t *at = room_for(self, sizeof(v));
    if (at == NULL) { return; }
    codec_store_u32(at, v);
    buf_filled(self->buf, sizeof(v));
}

void codec_put_u64(struct codec_writer *self, uint64_t v) {
    uint8_t *at = room_for(self, sizeof(v));
    if (at == NULL) { return; }
    codec_store_u64(at, v);
    buf_filled(self->buf, sizeof(v));
}

static size_t store_varint(uint8_t *out, uint64_t v) {
    size_t size = 0;
    for (; v >= 0x80; v >>= 7) {
        out[size++] = (uint8_t)(v | 0x80);
    }
    out[size++] = (uint8_t)v;
    return size;
}

// Near the largest size of a buffer the exact one counts: then by a copy.
void codec_put_varint(struct codec_writer *self, uint64_t v) {
    uint8_t *at = self->status == STATUS_OK ? buf_room(self->buf, CODEC_VARINT_SIZE_MAX) : NULL;
    if (at == NULL) {
        uint8_t out[CODEC_VARINT_SIZE_MAX];
        codec_put_raw(self, slice_make(out, store_varint(out, v)));
        return;
    }
    buf_filled(self->buf, store_varint(at, v));
}

void codec_put_slice(struct codec_writer *self, struct slice s) {
    codec_put_varint(self, s.size);
    codec_put_raw(self, s);
}

void codec_reader_init(struct codec_reader *self, struct slice input) {
    ASSERT(self != NULL);
    ASSERT(input.data != NULL || input.size == 0);
    // An empty input gets a real address: arithmetic on NULL is undefined.
    static const uint8_t nothing[1];
    const uint8_t *at = input.data != NULL ? input.data : nothing;
    *self = (struct codec_reader){.at = at, .end = at + input.size, .status = STATUS_OK};
}

size_t codec_remaining(const struct codec_reader *self) {
    ASSERT(self->at <= self->end);
    return (size_t)(self->end - self->at);
}

void codec_fail(struct codec_reader *self) {
    self->status = STATUS_CORRUPT;
    self->at = self->end;
}

// The next `size` bytes, or NULL after marking the input corrupt.
static const uint8_t *take(struct codec_reader *self, size_t size) {
    if (self->status != STATUS_OK || size > codec_remaining(self)) {
        codec_fail(self);
        return NULL;
    }
    const uint8_t *from = self->at;
    self->at += size;
    return from;
}

uint8_t codec_get_u8(struct codec_reader *self) {
    const uint8_t *from = take(self, sizeof(uint8_t));
    return from != NULL ? *from : 0;
}

uint32_t codec_get_u32(struct codec_reader *self) {
    const uint8_t *from = take(self, sizeof(uint32_t));
    return from != NULL ? codec_load_u32(from) : 0;
}

uint64_t codec_get_u64(struct codec_reader *self) {
    const uint8_t *from = take(self, sizeof(uint64_t));
    return from != NULL ? codec_load_u64(from) : 0;
}

uint64_t codec_get_varint(struct codec_reader *self) {
    // A reader that failed stands at its end.
    const uint8_t *at = self->at;
    uint64_t value = 0;
    for (unsigned i = 0; i < CODEC_VARINT_SIZE_MAX && at < self->end; i++) {
        const uint8_t byte = *at++;
        // The tenth byte holds bit 63 alone.
        if (i == CODEC_VARINT_SIZE_MAX - 1 && byte > 1) { break; }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            if (byte == 0 && i > 0) { break; }
            self->at = at;
            return value;
        }
    }
    codec_fail(self);
    return 0;
}

struct slice codec_get_raw(struct codec_reader *self, size_t size) {
    const uint8_t *from = take(self, size);
    return from != NULL ? slice_make(from, size) : SLICE_EMPTY;
}

struct slice codec_get_slice(struct codec_reader *self, size_t size_max) {
    const uint64_t size = codec_get_varint(self);
    if (size > size_max) {
        codec_fail(self);
        return SLICE_EMPTY;
    }
    return codec_get_raw(self, (size_t)size);
}

uint64_t codec_get_count(struct codec_reader *self, size_t item_size_min) {
    ASSERT(item_size_min > 0);
    const uint64_t count = codec_get_varint(self);
    if (count > codec_remaining(self) / item_size_min) {
        codec_fail(self);
        return 0;
    }
    return count;
}

enum status codec_finish(const struct codec_reader *self) {
    return self->status == STATUS_OK && codec_remaining(self) > 0 ? STATUS_CORRUPT : self->status;
}

enum { ENVELOPE_CHECKSUM_OFFSET = 4 };

static uint32_t envelope_checksum(uint8_t version, uint8_t kind, struct slice payload) {
    const uint8_t head[2] = {version, kind};
    return crc32c_extend(crc32c_extend(0, slice_make(head, sizeof(head))), payload);
}

enum status codec_seal(struct buf *out, uint8_t version, uint8_t kind, struct slice payload) {
    // Both parts or neither: the room is made before the first byte is written.
    const size_t size_before = out->size;
    if (payload.size > SIZE_MAX - CODEC_ENVELOPE_SIZE) { return STATUS_RESOURCE_EXHAUSTED; }
    enum status st = buf_reserve(out, CODEC_ENVELOPE_SIZE + payload.size);
    if (st != STATUS_OK) { return st; }
    uint8_t head[CODEC_ENVELOPE_SIZE] = {version, kind};
    codec_store_u32(head + ENVELOPE_CHECKSUM_OFFSET, envelope_checksum(version, kind, payload));
    st = buf_append(out, slice_make(head, sizeof(head)));
    if (st == STATUS_OK) { st = buf_append(out, payload); }
    ASSERT(st == STATUS_OK);
    ASSERT(out->size == size_before + CODEC_ENVELOPE_SIZE + payload.size);
    return st;
}

enum status codec_open(struct slice input, uint8_t version_max, uint8_t *out_version,
                       uint8_t *out_kind, struct slice *out_payload) {
    ASSERT(out_version != NULL && out_kind != NULL && out_payload != NULL);
    if (input.size < CODEC_ENVELOPE_SIZE || input.data[2] != 0 || input.data[3] != 0) {
        return STATUS_CORRUPT;
    }
    const uint8_t version = input.data[0];
    const uint8_t kind = input.data[1];
    const struct slice payload =
        slice_make(input.data + CODEC_ENVELOPE_SIZE, input.size - CODEC_ENVELOPE_SIZE);
    // The checksum first: a flipped bit in the version is corruption, not a newer release.
    const uint32_t stored = codec_load_u32(input.data + ENVELOPE_CHECKSUM_OFFSET);
    if (stored != envelope_checksum(version, kind, payload)) { return STATUS_CORRUPT; }
    if (version > version_max) { return STATUS_NOT_SUPPORTED; }
    *out_version = version;
    *out_kind = kind;
    *out_payload = payload;
    return STATUS_OK;
}
