// SPDX-License-Identifier: Apache-2.0
// lock_table.h - which prepared transactions of one shard hold which keys and spans.
// Invariants: holds exactly the parts of the PREPARED records of the shard; two holders never
//             conflict; min_prepared is the smallest p of them.
// Ownership:  the table copies what it keeps; views in a conflict live until the next change.
// Thread:     the shard loop.
// See:        docs/protocols/transactions.md; txn/lock/README.md;
//             tests/unit/txn/lock/lock_table_test.c
#pragma once

#include "txn/command/command_txn.h"

struct lock_table;

// One prepared transaction on this shard. Views are the table's.
struct lock_holder {
    struct txn_id txn;
    struct txn_attempt attempt;
    struct hlc_ts begin;
    struct hlc_ts prepared;
    struct slice prepare;  // the encoded command_prepare, with participants and part
};

struct lock_conflict {
    const struct lock_holder *holder;
    struct slice key;  // of the request, or start of its span
};

struct lock_table *lock_table_create(void);
void lock_table_destroy(struct lock_table *self);
// Takes the locks of a decoded prepare (mutations write, merges merge, conditions and reads read);
// the id holds none yet, and nothing conflicts.
void lock_table_add(struct lock_table *self, const struct lock_holder *holder);
// False when the id holds nothing.
bool lock_table_remove(struct lock_table *self, struct txn_id txn);
const struct lock_holder *lock_table_find(const struct lock_table *self, struct txn_id txn);
uint32_t lock_table_count(const struct lock_table *self);
struct hlc_ts lock_table_min_prepared(const struct lock_table *self);  // HLC_MAX when empty

// True when the commit (encoded, verified; a part of a prepare is one) would conflict with a holder
// other than `self_id`; *out is then the conflict with the youngest such holder in the way (begin,
// then id, the largest): who is older than that one waits for all.
bool lock_table_conflicts(const struct lock_table *self, struct txn_id self_id, struct slice commit,
                          struct lock_conflict *out);
// Write or merge locks with prepared <= r on the key, or in [start, end) (empty end = unbounded).
bool lock_table_blocks_read(const struct lock_table *self, struct slice key, struct hlc_ts r,
                            struct lock_conflict *out);
bool lock_table_blocks_scan(const struct lock_table *self, struct slice start, struct slice end,
                            struct hlc_ts r, struct lock_conflict *out);
// Holders in order of p, the oldest first; stops when visit returns false. visit must not change
// the table.
void lock_table_each(const struct lock_table *self,
                     bool (*visit)(void *ctx, const struct lock_holder *holder), void *ctx);
void lock_table_check(const struct lock_table *self);
