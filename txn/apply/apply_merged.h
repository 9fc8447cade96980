// SPDX-License-Identifier: Apache-2.0
// apply_merged.h - typed versions of the batch that is gathered, which the store does not show.
// Invariants: has every version of a key that merges have made since the batch was written, and of
//             two with one timestamp the later one; those that are dirty are not in the batch yet.
//             From the timestamp up to which a key is loaded, it has all that the store shows, too.
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
// dirty: the batch is to get it, once, however often it is put before.
void apply_merged_put(struct apply_merged *self, struct slice key,
                      const struct mvcc_version *version, bool dirty);
// The newest at or below ts; a view until the next put. False when there is none.
bool apply_merged_at(const struct apply_merged *self, struct slice key, struct hlc_ts ts,
                     struct mvcc_version *out);
// The oldest above ts.
bool apply_merged_after(const struct apply_merged *self, struct slice key, struct hlc_ts ts,
                        struct mvcc_version *out);
// Whether everything above ts is here, and that it is now.
bool apply_merged_is_loaded(const struct apply_merged *self, struct slice key, struct hlc_ts ts);
void apply_merged_set_loaded(struct apply_merged *self, struct slice key, struct hlc_ts ts);
// Adds the dirty versions to a batch; they are clean then.
void apply_merged_flush(struct apply_merged *self, struct engine_batch *batch);
