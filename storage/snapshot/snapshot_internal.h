// SPDX-License-Identifier: Apache-2.0
// snapshot_internal.h - the form of a chunk, and spans that own their keys.
// Invariants: the sum of a stream depends on every record before it, and on their order.
// Ownership:  a kept span holds references on its keys.
// Thread:     see snapshot.h.
// See:        storage/snapshot/README.md
#pragma once

#include "dataplane/codec/codec.h"
#include "storage/snapshot/snapshot.h"

// A chunk, in a codec envelope whose kind is the state machine's:
//
//   u32 number, from 0
//   number 0: slice meta | u8 count of spans
//   records:  u8 span + 1 | slice key | slice value     ascending by span, then key
//   u8 0 (more follow) or 255 (the last chunk)
//   the last: u64 count of all records | u64 their sum
enum {
    SNAPSHOT_VERSION = 1,
    SNAPSHOT_CHUNK_ENDS = 0,
    SNAPSHOT_STREAM_ENDS = 255,
};

struct snapshot__span {
    enum engine_family family;
    struct bytes *start;
    struct bytes *end;
};

struct snapshot__spans {
    struct snapshot__span items[SNAPSHOT_SPANS_MAX];
    uint32_t count;
};

void snapshot__spans_init(struct snapshot__spans *self, const struct snapshot_range *range);
void snapshot__spans_deinit(struct snapshot__spans *self);
// One more record into the sum of those before it.
uint64_t snapshot__sum(uint64_t before, uint32_t span, struct slice key, struct slice value);
