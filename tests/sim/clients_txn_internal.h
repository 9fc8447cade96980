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
void sim_txn__encode_read(const struct sim_txn_client *self, struct sim_call *call);
// False when it is not one row for each item.
bool sim_txn__decode_rows(struct sim_txn_client *self, struct slice payload);
void sim_txn__encode_commit(const struct sim_txn_client *self, struct sim_call *call);
void sim_txn__encode_status(const struct sim_txn_client *self, struct sim_call *call);
