// SPDX-License-Identifier: Apache-2.0
// apply_touched.h - the set of keys and transaction ids that the gathered batch writes.
// Invariants: never says no for a member; may say yes for others (equal hashes, or full), which
//             only costs an early write of the batch.
// Ownership:  the caller owns the struct, the set its memory; keys are hashed, not kept.
// Thread:     the shard loop.
// See:        txn/apply/README.md; tests/unit/txn/apply/apply_touched_test.c
#pragma once

#include "dataplane/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum { APPLY_TOUCHED_SLOTS = 16384, APPLY_TOUCHED_COUNT_MAX = APPLY_TOUCHED_SLOTS / 2 };

struct apply_touched {
    uint64_t *slots;  // hashes, 0 = free
    uint32_t *used;   // places in slots, so that clearing costs what was added
    uint32_t count;
    bool full;  // more was added than fits: everything counts as a member
};

void apply_touched_init(struct apply_touched *self);
void apply_touched_deinit(struct apply_touched *self);
void apply_touched_clear(struct apply_touched *self);
// `space` keeps keys and ids apart.
void apply_touched_add(struct apply_touched *self, uint64_t space, struct slice key);
bool apply_touched_has(const struct apply_touched *self, uint64_t space, struct slice key);
