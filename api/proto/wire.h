// SPDX-License-Identifier: Apache-2.0
// wire.h - protobuf's wire format by hand: a bounded writer and a pull reader.
// Invariants: the writer makes canonical proto3 (defaults left out, shortest lengths) and never
//             exceeds its buffer's maximum; the reader never looks outside its input, never
//             recurses and never allocates; after the first error it yields nothing more.
// Ownership:  the writer appends to the caller's buf; what the reader hands out are views into its
//             input.
// Thread:     confined to its owner.
// See:        api/proto/README.md; tests/unit/api/proto/wire_test.c
#pragma once

#include "dataplane/base/bytes.h"

// --- Writing. Errors are sticky: ask for status once at the end. ---

struct proto_writer {
    struct buf *buf;
    enum status status;  // read-only: STATUS_OK or STATUS_RESOURCE_EXHAUSTED
};

void proto_writer_init(struct proto_writer *self, struct buf *buf);
// Field numbers are 1 to 2^28. Zero, false and empty are left out, as proto3 wants.
void proto_put_uint(struct proto_writer *self, uint32_t field, uint64_t v);
void proto_put_fixed64(struct proto_writer *self, uint32_t field, uint64_t v);
void proto_put_bytes(struct proto_writer *self, uint32_t field, struct slice v);
// Also when empty: members of a oneof, elements of a repeated field.
void proto_put_bytes_always(struct proto_writer *self, uint32_t field, struct slice v);
// Also when zero: members of a oneof.
void proto_put_fixed64_always(struct proto_writer *self, uint32_t field, uint64_t v);
// Begins a nested message; its fields follow, then proto_close with what this returned. Messages
// are closed in the reverse order. size_hint: about how long it will be; right guesses save a move.
size_t proto_open(struct proto_writer *self, uint32_t field, size_t size_hint);
void proto_close(struct proto_writer *self, size_t mark);

// --- Reading ---

enum proto_type { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2, PROTO_FIXED32 = 5 };

struct proto_field {
    uint32_t number;
    enum proto_type type;
    uint64_t value;      // VARINT, FIXED64, FIXED32
    struct slice bytes;  // BYTES: string, bytes, nested message, packed numbers
};

struct proto_reader {
    const uint8_t *at;   // private
    const uint8_t *end;  // private
    enum status status;  // read-only: STATUS_OK or STATUS_CORRUPT
};

void proto_reader_init(struct proto_reader *self, struct slice input);
// The next field; false at the end and on corrupt input (then status says so): truncated or
// over-long varints, field number 0 or above 2^29 - 1, groups and unknown wire types, lengths
// beyond the end.
bool proto_next(struct proto_reader *self, struct proto_field *out);
// The value of a known field; a wrong wire type or a value out of range makes the input corrupt.
uint64_t proto_get_uint(struct proto_reader *self, const struct proto_field *field);
uint32_t proto_get_uint32(struct proto_reader *self, const struct proto_field *field);
bool proto_get_bool(struct proto_reader *self, const struct proto_field *field);
uint64_t proto_get_fixed64(struct proto_reader *self, const struct proto_field *field);
struct slice proto_get_bytes(struct proto_reader *self, const struct proto_field *field);
