// SPDX-License-Identifier: Apache-2.0
// command_versions.h - the versions of one key, newest first: the request and its rows.
// Invariants: decoding checks every limit that the check does; rows come newest first.
// Ownership:  decoded structs hold views into their input.
// Thread:     pure.
// See:        txn/command/README.md; tests/unit/txn/command/command_versions_test.c
#pragma once

#include "txn/command/command.h"

enum {
    COMMAND_VERSIONS_MAX = 1000,
    COMMAND_VERSIONS_VALUE_SIZE_MAX = 4096,  // shown of each value
};

// At the leader, as a strong read: what is prepared on the key at or below the snapshot is waited
// for, and leadership is proven after the walk.
struct command_versions {
    struct command_snapshot snapshot;  // strong, and without a timestamp of its own
    struct slice key;
    uint32_t limit;           // 1 to COMMAND_VERSIONS_MAX
    uint32_t value_size_max;  // bytes shown of each, to COMMAND_VERSIONS_VALUE_SIZE_MAX
};
NODISCARD enum status command_versions_check(const struct command_versions *self, struct err *err);
void command_versions_encode(struct codec_writer *w, const struct command_versions *self);
NODISCARD enum status command_versions_decode(struct slice encoded, struct command_versions *out);

// Rows: per version u8 1, u8 kind, u64 timestamp, u64 prepared, varint size, slice of what is
// shown; then u8 0 and u8 more.
struct command_version_row {
    uint8_t kind;  // enum mvcc_kind, which lies above this layer's knowledge
    struct hlc_ts ts;
    struct hlc_ts prepared;  // on this shard
    uint64_t size;           // of the whole value
    struct slice value;      // the first bytes of it
};
void command_version_row_encode(struct codec_writer *w, const struct command_version_row *row);
void command_version_end_encode(struct codec_writer *w, bool more);
// *out_end: the rows are over, and out_more holds; bytes that follow are corrupt.
NODISCARD enum status command_version_row_decode(struct codec_reader *r,
                                                 struct command_version_row *out, bool *out_end,
                                                 bool *out_more);
