// SPDX-License-Identifier: Apache-2.0
// admin_convert.c - the catalogue's values as protobuf messages, in the memory of the call.

#include "api/admin/admin_internal.h"
#include "dataplane/base/assert.h"

#include <string.h>

void *admin__alloc(struct admin_call *call, size_t size) {
    ProtobufCAllocator *allocator = rpc_call_allocator(call->call);
    void *memory = allocator->alloc(allocator->allocator_data, size == 0 ? 1 : size);
    if (memory == NULL) { FATAL("an administrative answer does not fit into its arena"); }
    memset(memory, 0, size);
    return memory;
}

char *admin__text(struct admin_call *call, const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = admin__alloc(call, size);
    memcpy(copy, text, size);
    return copy;
}

static ProtobufCBinaryData bytes_field(struct admin_call *call, const struct bytes *bytes) {
    ProtobufCBinaryData data = {.len = bytes->size, .data = admin__alloc(call, bytes->size)};
    if (bytes->size > 0) { memcpy(data.data, bytes->data, bytes->size); }
    return data;
}

static Lightcone__V1__NodeState node_state(enum catalog_node_state state) {
    switch (state) {
    case CATALOG_NODE_JOINING:
        return LIGHTCONE__V1__NODE_STATE__NODE_STATE_JOINING;
    case CATALOG_NODE_LIVE:
        return LIGHTCONE__V1__NODE_STATE__NODE_STATE_LIVE;
    case CATALOG_NODE_SUSPECT:
        return LIGHTCONE__V1__NODE_STATE__NODE_STATE_SUSPECT;
    case CATALOG_NODE_DRAINED:
        return LIGHTCONE__V1__NODE_STATE__NODE_STATE_DRAINED;
    case CATALOG_NODE_DECOMMISSIONED:
        return LIGHTCONE__V1__NODE_STATE__NODE_STATE_DECOMMISSIONED;
    case CATALOG_NODE_STATE_COUNT:
        break;
    }
    return LIGHTCONE__V1__NODE_STATE__NODE_STATE_UNSPECIFIED;
}

Lightcone__V1__Node *admin__node(struct admin_call *call, const struct catalog_node *node) {
    Lightcone__V1__Node *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__node__init(out);
    out->id = node->id.v;
    out->peer_address = admin__text(call, node->peer_address);
    out->rpc_address = admin__text(call, node->rpc_address);
    out->region = admin__text(call, node->region);
    out->zone = admin__text(call, node->zone);
    out->latitude_microdegrees = node->latitude_microdegrees;
    out->longitude_microdegrees = node->longitude_microdegrees;
    out->state = node_state(node->state);
    out->version = node->version;
    return out;
}

Lightcone__V1__Keyspace *admin__keyspace(struct admin_call *call,
                                         const struct catalog_keyspace *keyspace) {
    Lightcone__V1__Keyspace *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__keyspace__init(out);
    out->id = keyspace->id;
    out->name = admin__text(call, keyspace->name);
    out->replicas = keyspace->replicas;
    out->version = keyspace->version;
    return out;
}

static Lightcone__V1__ReplicaRole replica_role(enum shard_role role) {
    switch (role) {
    case SHARD_LEARNER:
        return LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_LEARNER;
    case SHARD_LEAVING:
        return LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_LEAVING;
    case SHARD_VOTER:
    case SHARD_ROLE_COUNT:
        break;
    }
    return LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_VOTER;
}

Lightcone__V1__ShardReplica *admin__replica(struct admin_call *call,
                                            const struct shard_replica *replica) {
    Lightcone__V1__ShardReplica *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__shard_replica__init(out);
    out->node = replica->node.v;
    out->role = replica_role(replica->role);
    out->incarnation = replica->incarnation;
    out->outgoing = replica->outgoing;
    return out;
}

Lightcone__V1__Shard *admin__shard(struct admin_call *call, const struct shard_descriptor *shard) {
    Lightcone__V1__Shard *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__shard__init(out);
    out->id = shard->id.v;
    out->start = bytes_field(call, shard->start);
    out->end = bytes_field(call, shard->end);
    out->epoch = shard->epoch;
    out->config_epoch = shard->config_epoch;
    out->version = shard->map_version;
    const struct shard_descriptor *hint =
        shard_map_by_id(catalog_shard_map(node_core_catalog(admin__core(call))), shard->id);
    out->leader = hint != NULL ? hint->leader.v : shard->leader.v;
    out->term = hint != NULL ? hint->term : 0;
    out->n_replicas = shard->replica_count;
    out->replicas = admin__alloc(call, shard->replica_count * sizeof(*out->replicas));
    for (uint32_t i = 0; i < shard->replica_count; i++) {
        out->replicas[i] = admin__replica(call, &shard->replicas[i]);
    }
    out->n_targets = shard->target_count;
    out->targets = admin__alloc(call, shard->target_count * sizeof(*out->targets));
    for (uint32_t i = 0; i < shard->target_count; i++) {
        struct shard_replica wanted = {.node = shard->targets[i].node,
                                       .role = shard->targets[i].role};
        out->targets[i] = admin__replica(call, &wanted);
    }
    return out;
}
