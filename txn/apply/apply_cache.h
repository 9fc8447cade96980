// SPDX-License-Identifier: Apache-2.0
// apply_cache.h - the newest versions of keys read lately, so that a hot read need not search the
// store.
// Invariants: an entry is the newest applied version of its key: whoever applies a newer one drops
//             it
//             first; the bytes held never exceed bytes_max.
// Ownership:  the cache owns copies of keys and values; what find hands out is valid until the next
//             call.
// Thread:     the shard loop.
// See:        txn/apply/README.md; tests/unit/txn/apply/apply_cache_test.c
#pragma once

#include "storage/mvcc/mvcc.h"

enum { APPLY_CACHE_VALUE_SIZE_MAX = 4096 };  // larger values cost more to copy than they save

struct apply_cache;

// slot_count is a power of two.
struct apply_cache *apply_cache_create(uint32_t slot_count, size_t bytes_max);
void apply_cache_destroy(struct apply_cache *self);
// True when the newest version is known and not above ts; a delete, and a key never written (ts
// zero),
// are found as MVCC_DELETE.
bool apply_cache_find(const struct apply_cache *self, struct slice key, struct hlc_ts ts,
                      struct mvcc_version *out);
// The caller knows that this is the newest applied version. May displace other keys.
void apply_cache_put(struct apply_cache *self, struct slice key,
                     const struct mvcc_version *version);
void apply_cache_drop(struct apply_cache *self, struct slice key);
void apply_cache_clear(struct apply_cache *self);
size_t apply_cache_bytes(const struct apply_cache *self);
