// SPDX-License-Identifier: Apache-2.0
// mvcc.h - multi-version keys over an ordered store: versions by timestamp, reads at a timestamp.
// Invariants: encoded keys sort as (user key, newest first); a version once written never changes;
//             a read at r sees for each key the version with the largest timestamp <= r, or nothing
//             when that is a delete.
// Ownership:  the reader owns its cursors; values are views valid until its next call.
// Thread:     a reader is confined to the loop; encoders are pure.
// See:        storage/mvcc/README.md; replication.md "MVCC"; tests/unit/storage/mvcc
#pragma once

#include "dataplane/hlc/hlc.h"
#include "dataplane/shard/shard.h"
#include "storage/engine/engine.h"

// Kept on disk with each version: append only.
enum mvcc_kind {
    MVCC_PUT = 1,
    MVCC_DELETE = 2,
    // Typed values (txn/command/command_merge.h); to a reader they are values like others.
    MVCC_TYPED = 3,
    MVCC_COUNTER = MVCC_TYPED,
    MVCC_GROW_COUNTER,
    MVCC_GROW_SET,
    MVCC_SET,
    MVCC_REGISTER,
    MVCC_KIND_COUNT
};

enum { MVCC_KEY_SIZE_MAX = 2 * SHARD_KEY_SIZE_MAX + 2 + ENGINE_VERSION_SUFFIX_SIZE };

// escape(key) | terminator | big-endian ~timestamp. key <= SHARD_KEY_SIZE_MAX; out has room for
// MVCC_KEY_SIZE_MAX; returns the size. Without its last ENGINE_VERSION_SUFFIX_SIZE bytes, the
// result is a prefix of all versions of the key and of nothing else.
size_t mvcc_key_encode(struct slice key, struct hlc_ts ts, uint8_t *out);
// Inverse; key_out has room for SHARD_KEY_SIZE_MAX. STATUS_CORRUPT for anything mvcc_key_encode
// does not produce.
NODISCARD enum status mvcc_key_decode(struct slice encoded, uint8_t *key_out, size_t *out_key_size,
                                      struct hlc_ts *out_ts);

// Adds one version to a batch. prepared <= ts is the local prepare timestamp (equal to ts for
// one-shard commits).
void mvcc_put(struct engine_batch *batch, struct slice key, struct hlc_ts ts,
              struct hlc_ts prepared, struct slice value);
void mvcc_delete(struct engine_batch *batch, struct slice key, struct hlc_ts ts,
                 struct hlc_ts prepared);

struct mvcc_version {
    struct slice value;
    struct hlc_ts ts;
    struct hlc_ts prepared;
    enum mvcc_kind kind;
};

// Adds a version of any kind; one without a value is a delete.
void mvcc_put_version(struct engine_batch *batch, struct slice key,
                      const struct mvcc_version *version);

// Decodes what mvcc_put and mvcc_delete store, for a version of timestamp ts (of its key);
// out_version->value is a view into stored. STATUS_CORRUPT.
NODISCARD enum status mvcc_version_decode(struct slice stored, struct hlc_ts ts,
                                          struct mvcc_version *out_version);

struct mvcc_reader;

struct mvcc_reader *mvcc_reader_create(struct engine *engine);
void mvcc_reader_destroy(struct mvcc_reader *self);
// Call once after writes and before the reads that must see them; cheap when called again.
void mvcc_reader_refresh(struct mvcc_reader *self);
// Newest version of key at or below ts. STATUS_NOT_FOUND when there is none or it is a delete
// (out_version->ts then tells which delete, zero for none); STATUS_CORRUPT, STATUS_IO.
NODISCARD enum status mvcc_read(struct mvcc_reader *self, struct slice key, struct hlc_ts ts,
                                struct mvcc_version *out_version);

// Visits the visible keys of [start, end) at ts in order (or backwards); an empty end is unbounded.
// Stops when visit returns false. The key view is the decoded key, valid during the visit; visit
// must not call the reader.
struct mvcc_scan {
    struct slice start;
    struct slice end;
    struct hlc_ts ts;
    bool reverse;
    bool (*visit)(void *ctx, struct slice key, const struct mvcc_version *version);
    void *ctx;
};
// STATUS_OK also when visit stopped it; STATUS_CORRUPT, STATUS_IO after the visits made so far.
NODISCARD enum status mvcc_scan(struct mvcc_reader *self, const struct mvcc_scan *scan);

// Visits every version above ts, deletes too, of the keys of [start, end), or of start alone, key
// by key, of each the newest first; an empty end is unbounded. Stops when visit returns false.
// visit must not call the reader.
struct mvcc_above {
    struct slice start;
    struct slice end;
    bool alone;
    struct hlc_ts ts;
    bool (*visit)(void *ctx, const struct mvcc_version *version);
    void *ctx;
};
// STATUS_OK also when visit stopped it; STATUS_CORRUPT, STATUS_IO.
NODISCARD enum status mvcc_above(struct mvcc_reader *self, const struct mvcc_above *above);
