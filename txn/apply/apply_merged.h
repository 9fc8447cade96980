// SPDX-License-Identifier: Apache-2.0
// apply_merged.h - typed versions that the gathered batch holds and the store does not show.
// Invariants: has every version of a key that merges have put into the batch since it was written;
//             of two with one timestamp the later put counts.
// Ownership:  copies keys and values.
// Thread:     the shard loop.
// See:        txn/apply/apply_merge.c
#pragma once

#include "storage/mvcc/mvcc.h"

struct apply_merged_key;

struct apply_merged {
    struct apply_merged_key *keys;  // uthash
};

void apply_merged_clear(struct apply_merged *self);
bool apply_merged_has(const struct apply_merged *self, struct slice key);
void apply_merged_put(struct apply_merged *self, struct slice key,
                      const struct mvcc_version *version);
// The newest at or below ts; a view until the next put. False when there is none.
bool apply_merged_at(const struct apply_merged *self, struct slice key, struct hlc_ts ts,
                     struct mvcc_version *out);
// The oldest above ts.
bool apply_merged_after(const struct apply_merged *self, struct slice key, struct hlc_ts ts,
                        struct mvcc_version *out);
