// SPDX-License-Identifier: Apache-2.0
// admin_internal.h - one call on its way from a poller to the loop and back.
// Invariants: see admin.h.
// Ownership:  the call's state belongs to the rpc call; the request lives in the call's arena.
// Thread:     see admin.h.
// See:        api/admin/README.md
#pragma once

#include "api/admin/admin.h"
#include "api/proto/lightcone.pb-c.h"

struct admin_call {
    struct loop_task task;
    struct admin *admin;
    struct rpc_call *call;
    const struct admin_method *method;
    ProtobufCMessage *request;
    // Calls that wait for something.
    struct session_call session;
    struct buf payload;
    struct node_status_call status;
    uint64_t keyspace_id;
    struct catalog_place_shard place;
    uint64_t version;  // of the shard's entry in the catalogue when it was asked for
    void *progress;    // of a call that works in portions, in the call's arena
    // Waiting for the catalogue: asked at the end of each turn, answered at the deadline at the
    // latest.
    bool (*is_ready)(struct admin_call *call);
    void (*finish)(struct admin_call *call);
    uint64_t deadline_ns;
    struct admin_call *next;
};

struct admin_method {
    const char *path;
    const ProtobufCMessageDescriptor *request;
    void (*run)(struct admin_call *call);  // loop
    bool without_core;                     // may run on a node without identity
};

struct admin {
    struct node *node;
    bool dev;
    struct admin_call *waiting;
    uint32_t blocked[SUPPORT_PEERS_MAX];
    uint32_t blocked_count;
};

// Answers with a packed message.
void admin__reply(struct admin_call *call, const ProtobufCMessage *response);
void admin__fail(struct admin_call *call, enum status st, const char *field, const char *message);
// finish(call) runs at the end of the turn in which is_ready(call) is true, or after ADMIN_WAIT_NS.
void admin__wait(struct admin_call *call, bool (*is_ready)(struct admin_call *call),
                 void (*finish)(struct admin_call *call));
struct node_core *admin__core(const struct admin_call *call);

// Conversions; memory comes from the call's arena.
void *admin__alloc(struct admin_call *call, size_t size);
char *admin__text(struct admin_call *call, const char *text);
Lightcone__V1__Node *admin__node(struct admin_call *call, const struct catalog_node *node);
Lightcone__V1__Keyspace *admin__keyspace(struct admin_call *call,
                                         const struct catalog_keyspace *keyspace);
Lightcone__V1__ShardReplica *admin__replica(struct admin_call *call,
                                            const struct shard_replica *replica);
// With the leader hint of the routing map.
Lightcone__V1__Shard *admin__shard(struct admin_call *call, const struct shard_descriptor *shard);

// admin_cluster.c
void admin__cluster_init(struct admin_call *call);
void admin__cluster_status(struct admin_call *call);
void admin__node_list(struct admin_call *call);
void admin__node_show(struct admin_call *call);
void admin__dev_block(struct admin_call *call);
// admin_keyspace.c
void admin__keyspace_create(struct admin_call *call);
void admin__keyspace_list(struct admin_call *call);
// admin_shard.c
void admin__shard_list(struct admin_call *call);
void admin__shard_show(struct admin_call *call);
void admin__shard_transfer_leader(struct admin_call *call);
void admin__map_get(struct admin_call *call);
// admin_skew.c
void admin__node_skew(struct admin_call *call);
void admin__dev_clock(struct admin_call *call);
Lightcone__V1__SkewState admin__skew_state(const struct node_core *core);
// admin_txn.c
void admin__txn_list(struct admin_call *call);
ProtobufCBinaryData admin__txn_id(struct admin_call *call, struct txn_id txn);
Lightcone__V1__TxnWaiter *admin__txn_waiter(struct admin_call *call,
                                            const struct participant_waiter *waiter);
struct admin_txn_shown {
    uint32_t waiter_count;  // how many there are
    uint32_t waiters_max;   // how many are shown
    uint32_t locks_max;
};
Lightcone__V1__TxnHolder *admin__txn_holder(struct admin_call *call, struct shard_id shard,
                                            const struct lock_holder *holder,
                                            struct admin_txn_shown shown);
Lightcone__V1__TxnDriven *admin__txn_driven(struct admin_call *call,
                                            const struct gateway_view *view);
Lightcone__V1__TxnHeldKey *admin__txn_held(struct admin_call *call,
                                           const struct session_held *held);
// False when the request was for another node: it has failed.
bool admin__txn_is_asked_here(struct admin_call *call, uint32_t node);
// The id of a request; false when it is none: the call has failed.
bool admin__txn_id_of(struct admin_call *call, ProtobufCBinaryData id, struct txn_id *out);
Lightcone__V1__TxnState admin__txn_state(enum command_txn_state state);
// admin_why.c
void admin__txn_why(struct admin_call *call);
// admin_trace.c
void admin__txn_trace(struct admin_call *call);
// admin_history.c
void admin__key_history(struct admin_call *call);
// admin_place.c
void admin__shard_place(struct admin_call *call);
void admin__shard_cancel(struct admin_call *call);
