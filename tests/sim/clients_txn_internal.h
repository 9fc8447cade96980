// SPDX-License-Identifier: Apache-2.0
// clients_txn_internal.h - what the clients of transactions send, and how they read the answers.
// Invariants: a call's key and key_high span all keys of the transaction.
// Ownership:  as clients_txn.h.
// Thread:     confined to the world.
// See:        tests/sim/clients_txn.h
#pragma once

#include "tests/sim/clients_txn.h"

enum {
    SIM_TXN_BALANCE = 100,  // of an account that nobody has written yet
    SIM_TXN_VALUE_SIZE_MAX = 8 * (SIM_TXN_LIST_MAX + 1),
};

// --- clients_txn.c ---

struct txn_id sim_txn__id(struct sim_txn_client *self);
void sim_txn__think(struct sim_txn_client *self);
// A call that is encoded goes out.
void sim_txn__send(struct sim_txn_client *self, uint32_t which, struct sim_node *gateway);
// Fails the world when a read is not what was asked for.
bool sim_txn__keeps_promise(struct sim_txn_client *self, struct hlc_ts ts);
// What was read is recorded; what comes now is the commit.
void sim_txn__commits(struct sim_txn_client *self);
void sim_txn__finish_read(struct sim_txn_client *self);

// --- clients_txn_wire.c ---

struct slice sim_txn__key(const struct sim_txn_client *self, const struct sim_txn_item *item,
                          uint8_t out[SIM_TXN_KEY_SIZE]);
// The keys lie on more than one shard.
bool sim_txn__is_many(const struct sim_txn_client *self);
void sim_txn__encode_read(const struct sim_txn_client *self, struct sim_call *call);
// False when it is not one row for each item.
bool sim_txn__decode_rows(struct sim_txn_client *self, struct slice payload);
// Of these items, by their places.
void sim_txn__encode_some(const struct sim_txn_client *self, struct sim_call *call,
                          const uint32_t *places, uint32_t count);
bool sim_txn__decode_row(const struct sim_txn_client *self, struct codec_reader *r,
                         struct sim_txn_item *item);
// The value that is to be put. out has SIM_TXN_VALUE_SIZE_MAX bytes.
struct slice sim_txn__value(const struct sim_txn_client *self, const struct sim_txn_item *item,
                            uint8_t *out);
// The smallest and the largest key lead the gateway to the shards.
void sim_txn__route(const struct sim_txn_client *self, struct sim_call *call);
// The commit, which makes sense, becomes what the call carries; its keys are the caller's business.
void sim_txn__put_commit(struct sim_call *call, const struct command_commit *commit);
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

// --- clients_txn_talk.c ---

// The transaction that was drawn is interactive; else false, and nothing was done.
bool sim_txn__talk_begin(struct sim_txn_client *self, struct sim_node *node);
void sim_txn__talk_step(struct sim_txn_client *self);
void sim_txn__talk_read_done(struct sim_txn_client *self, const struct session_result *result);
// Its end, however it ended; nothing when there is none.
void sim_txn__talk_close(struct sim_txn_client *self);
