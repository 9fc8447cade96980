// SPDX-License-Identifier: Apache-2.0
// admin.h - calls of the service Admin for the command line, as protobuf-c messages.
// Invariants: a call is sent to one node at a time; reads are tried at other addresses, changes are
//             not sent twice unless the first certainly did not arrive.
// Ownership:  requests are borrowed; an answer is the caller's until its __free_unpacked(m, NULL).
// Thread:     any but a callback's: each function waits.
// See:        api/client/README.md; api/proto/lightcone.proto
#pragma once

#include "api/client/lightcone.h"
#include "api/proto/lightcone.pb-c.h"

// The general form: `method` is a name in service Admin. timeout_ms 0 = the client's. On failure
// err holds the server's sentence.
struct lc_admin_call {
    const char *method;
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *response;
    uint32_t node;  // ask this node; 0 = any
    uint32_t timeout_ms;
};
NODISCARD enum status lc_admin(struct lc_client *self, const struct lc_admin_call *call,
                               ProtobufCMessage **out_response, struct err *err);

// lc_admin_node_list(client, node, &request, &response, err) and so on, one a method.
#define LC_ADMIN_METHODS(X)                       \
    X(ClusterInit, cluster_init)                  \
    X(ClusterStatus, cluster_status)              \
    X(NodeList, node_list)                        \
    X(NodeShow, node_show)                        \
    X(NodeSkew, node_skew)                        \
    X(KeyspaceCreate, keyspace_create)            \
    X(KeyspaceList, keyspace_list)                \
    X(ShardList, shard_list)                      \
    X(ShardShow, shard_show)                      \
    X(ShardPlace, shard_place)                    \
    X(ShardCancel, shard_cancel)                  \
    X(ShardTransferLeader, shard_transfer_leader) \
    X(TxnList, txn_list)                          \
    X(TxnWhy, txn_why)                            \
    X(TxnTrace, txn_trace)                        \
    X(KeyHistory, key_history)                    \
    X(MapGet, map_get)                            \
    X(DevBlock, dev_block)                        \
    X(DevClock, dev_clock)

#define LC_ADMIN_DECLARE(Name, name)                                                            \
    NODISCARD static inline enum status lc_admin_##name(                                        \
        struct lc_client *self, uint32_t node, const Lightcone__V1__##Name##Request *request,   \
        Lightcone__V1__##Name##Response **out_response, struct err *err) {                      \
        struct lc_admin_call call = {.method = #Name,                                           \
                                     .request = &request->base,                                 \
                                     .response = &lightcone__v1__##name##_response__descriptor, \
                                     .node = node};                                             \
        ProtobufCMessage *response = NULL;                                                      \
        enum status st = lc_admin(self, &call, &response, err);                                 \
        if (st == STATUS_OK) {                                                                  \
            *out_response = (Lightcone__V1__##Name##Response *)(void *)response;                \
        }                                                                                       \
        return st;                                                                              \
    }
LC_ADMIN_METHODS(LC_ADMIN_DECLARE)
#undef LC_ADMIN_DECLARE

// Without a client, for a node that is no member of a cluster yet: a connection of its own to one
// address.
NODISCARD enum status lc_admin_direct(const char *address, const struct lc_admin_call *call,
                                      ProtobufCMessage **out_response, struct err *err);
