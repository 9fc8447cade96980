// SPDX-License-Identifier: Apache-2.0
// txn_show.h - what the commands about transactions under way have in common: ids, keys, locks and
// phases as people and programs read them.
// Invariants: keys are appended as they are: whoever prints the text escapes it, as tables do.
// Ownership:  buffers are the caller's; names live until txn_show_names_deinit.
// Thread:     one.
// See:        api/cli/README.md; api/proto/lightcone.proto
#pragma once

#include "api/cli/session.h"

// Keyspaces by their ids; without an answer, ids stand for them.
struct txn_show_names {
    Lightcone__V1__KeyspaceListResponse *list;
};
void txn_show_names_init(struct txn_show_names *self, struct session *session);
void txn_show_names_deinit(struct txn_show_names *self);

enum { TXN_SHOW_ID_SIZE = 2 * LC_TXN_ID_SIZE + 1 };

// 32 digits; "-" for no id. Returns out.
const char *txn_show_id(ProtobufCBinaryData id, char out[TXN_SHOW_ID_SIZE]);
bool txn_show_same(ProtobufCBinaryData a, ProtobufCBinaryData b);
// "keyspace/key", appended.
void txn_show_key(const struct txn_show_names *names, ProtobufCBinaryData key, struct buf *out);
// "write keyspace/key", "read keyspace/key to keyspace/key", appended.
void txn_show_lock(const struct txn_show_names *names, const Lightcone__V1__LockedSpan *lock,
                   struct buf *out);
const char *txn_show_phase(Lightcone__V1__TxnPhase phase);
// "node 1 commits it", "node 2 recovers it"; "-" for none.
void txn_show_driver(const Lightcone__V1__TxnDriven *driven, struct buf *out);

// {"keyspace", "key"}
json_t *txn_show_key_json(const struct txn_show_names *names, ProtobufCBinaryData key);
json_t *txn_show_waiter_json(const Lightcone__V1__TxnWaiter *waiter);
json_t *txn_show_holder_json(const struct txn_show_names *names, uint32_t node,
                             const Lightcone__V1__TxnHolder *holder);
json_t *txn_show_driven_json(const Lightcone__V1__TxnDriven *driven);
json_t *txn_show_held_json(const struct txn_show_names *names, uint32_t node,
                           const Lightcone__V1__TxnHeldKey *held);
void txn_show_attempt_json(json_t *object, uint64_t attempt, uint32_t tag);
