// SPDX-License-Identifier: Apache-2.0
// apply_decided.h - records and outcomes that one entry of resolutions has decided so far.
// Invariants: holds what that entry put into the batch, and nothing else; of an id the latest
//             counts.
// Ownership:  the set owns its array; prepares are not kept.
// Thread:     the shard loop.
// See:        txn/apply/apply_resolve.c; tests/unit/txn/apply/apply_txn_test.c
#pragma once

#include "txn/command/command_txn.h"

struct apply_record;
struct apply_decided_item;

struct apply_decided {
    struct apply_decided_item *items;
    uint32_t count;
    uint32_t capacity;
    bool open;  // an entry is under way
};

void apply_decided_deinit(struct apply_decided *self);
// Between the two, what is put into the batch is remembered here, and is found here.
void apply_decided_open(struct apply_decided *self);
void apply_decided_close(struct apply_decided *self);
// Nothing happens outside an entry of resolutions.
void apply_decided_put_record(struct apply_decided *self, struct txn_id txn,
                              const struct apply_record *record);
void apply_decided_put_outcome(struct apply_decided *self, struct txn_id txn,
                               const struct command_outcome *outcome);
bool apply_decided_record(const struct apply_decided *self, struct txn_id txn,
                          struct apply_record *out);
bool apply_decided_outcome(const struct apply_decided *self, struct txn_id txn,
                           struct command_outcome *out);
