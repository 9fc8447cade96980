// SPDX-License-Identifier: Apache-2.0
// session_latch.h - what prepares on their way through the log will lock, if they are not refused.
// Invariants: a latch is a hint: the log decides, and may decide otherwise; latches of one shard do
//             not conflict with each other, an id has at most one there.
// Ownership:  by value in the session; a latch owns a copy of its prepare.
// Thread:     the shard loop.
// See:        txn/session/README.md "Latches"; tests/unit/txn/session/session_latch_test.c
#pragma once

#include "txn/lock/lock_table.h"

enum { SESSION_LATCH_BUCKETS = 256 };

struct session_latch_shard;

struct session_latches {
    struct session_latch_shard *buckets[SESSION_LATCH_BUCKETS];
};

void session_latches_deinit(struct session_latches *self);
// Latches of the shard; NULL = none.
const struct lock_table *session_latches_of(const struct session_latches *self,
                                            struct shard_id shard);
// Nothing of the shard conflicts with it, and the id has no latch there.
void session_latches_add(struct session_latches *self, struct shard_id shard,
                         const struct lock_holder *holder);
void session_latches_remove(struct session_latches *self, struct shard_id shard, struct txn_id txn);
