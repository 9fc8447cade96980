// SPDX-License-Identifier: Apache-2.0
// clients_txn_internal.h - what the clients of transactions send, and how they read the answers.
// Invariants: a call's key and key_high span all keys of the transaction.
// Ownership:  as clients_txn.h.
// Thread:     confined to the world.
// See:        tests/sim/clients_txn.h
#pragma once

#include "tests/sim/clients_txn.h"

enum { SIM_TXN_BALANCE = 100 };  // of an account that nobody has written yet

struct slice sim_txn__key(const struct sim_txn_client *self, const struct sim_txn_item *item,
                          uint8_t out[SIM_TXN_KEY_SIZE]);
// The keys lie on more than one shard.
bool sim_txn__is_many(const struct sim_txn_client *self);
void sim_txn__encode_read(const struct sim_txn_client *self, struct sim_call *call);
// False when it is not one row for each item.
bool sim_txn__decode_rows(struct sim_txn_client *self, struct slice payload);
void sim_txn__encode_commit(const struct sim_txn_client *self, struct sim_call *call);
void sim_txn__encode_status(const struct sim_txn_client *self, struct sim_call *call);

// --- clients_txn_ranges.c ---

// Ranges, and whether a member is put into the last of them.
void sim_txn__draw_ranges(struct sim_txn_client *self);
// The range at range_at, at the client's snapshot.
void sim_txn__encode_scan(const struct sim_txn_client *self, struct sim_call *call);
// False when they are no rows of that range.
bool sim_txn__decode_scan(struct sim_txn_client *self, struct slice payload);
void sim_txn__encode_insert(const struct sim_txn_client *self, struct sim_call *call);
// The key of the member that is put.
struct slice sim_txn__member_key(const struct sim_txn_client *self, uint8_t out[SIM_TXN_KEY_SIZE]);
// Adds what the ranges showed, and the member, to the transaction that was begun last.
void sim_txn__record_ranges(const struct sim_txn_client *self);

// --- clients_txn_tokens.c ---

// Now and then the snapshot is to be at or above a timestamp that is ahead of every clock.
void sim_txn__draw_token(struct sim_txn_client *self);
