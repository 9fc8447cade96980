// SPDX-License-Identifier: Apache-2.0
// mvcc_internal.h - what the reading files of mvcc share; nobody else includes it.
// Invariants: a cursor is as fresh as the last refresh, or fresher: it is renewed on its first use
//             after one, so that a turn without scans pays nothing for the scan cursor.
// Ownership:  the reader owns cursors and buffers.
// Thread:     confined to the loop.
// See:        storage/mvcc/README.md
#pragma once

#include "storage/mvcc/mvcc.h"

struct mvcc_reader {
    struct engine *engine;
    struct engine_cursor *point;  // for mvcc_read
    struct engine_cursor *scan;   // for mvcc_scan; NULL until the first one
    bool point_stale;
    bool scan_stale;
    struct buf value;                     // reverse scans: the candidate left behind
    uint8_t seek[MVCC_KEY_SIZE_MAX];      // an encoded key under construction
    uint8_t bound[MVCC_KEY_SIZE_MAX];     // prefix of the end of a scan
    uint8_t current[MVCC_KEY_SIZE_MAX];   // prefix of the key a scan is at
    uint8_t decoded[SHARD_KEY_SIZE_MAX];  // that key as the user gave it
};

// escape(key) | terminator; what all versions of the key start with. Returns the size.
size_t mvcc__prefix_encode(struct slice key, uint8_t *out);
// The last 8 bytes of a key.
void mvcc__ts_encode(struct hlc_ts ts, uint8_t *out);
struct hlc_ts mvcc__ts_decode(const uint8_t *encoded);
// The user key of a prefix; STATUS_CORRUPT for what mvcc__prefix_encode does not produce.
enum status mvcc__prefix_decode(struct slice prefix, uint8_t *key_out, size_t *out_key_size);
