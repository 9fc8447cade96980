// SPDX-License-Identifier: Apache-2.0
// protobuf-c has no JSON of its own; and a form written by hand can leave out what means nothing to
// a reader (the keyspace prefix of a key).
#include "api/cli/admin_json.h"

#include "api/cli/text.h"
#include "dataplane/shard/shard.h"

#include <string.h>

const char *admin_json_node_state(Lightcone__V1__NodeState state) {
    static const char *const names[] = {"unknown", "joining", "live",
                                        "suspect", "drained", "decommissioned"};
    return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

const char *admin_json_skew_state(Lightcone__V1__SkewState state) {
    static const char *const names[] = {"unknown", "synced", "degraded", "quarantined"};
    return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

const char *admin_json_raft_role(Lightcone__V1__RaftRole role) {
    static const char *const names[] = {"unknown", "follower", "precandidate", "candidate",
                                        "leader"};
    return (size_t)role < sizeof(names) / sizeof(names[0]) ? names[role] : "?";
}

json_t *admin_json_node(const Lightcone__V1__Node *node) {
    json_t *object = json_object();
    cli_json_u64(object, "id", node->id);
    cli_json_string(object, "state", admin_json_node_state(node->state));
    cli_json_string(object, "rpc_address", node->rpc_address);
    cli_json_string(object, "peer_address", node->peer_address);
    cli_json_string(object, "region", node->region);
    cli_json_string(object, "zone", node->zone);
    (void)json_object_set_new(object, "latitude", json_real(node->latitude_microdegrees / 1e6));
    (void)json_object_set_new(object, "longitude", json_real(node->longitude_microdegrees / 1e6));
    cli_json_u64(object, "version", node->version);
    return object;
}

json_t *admin_json_keyspace(const Lightcone__V1__Keyspace *keyspace) {
    json_t *object = json_object();
    cli_json_u64(object, "id", keyspace->id);
    cli_json_string(object, "name", keyspace->name);
    cli_json_u64(object, "replicas", keyspace->replicas);
    cli_json_u64(object, "version", keyspace->version);
    return object;
}

void admin_json_cluster_id(json_t *object, ProtobufCBinaryData id) {
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    text_hex(&text, slice_make(id.data, id.len));
    text_add(&text, slice_make("", 1));
    cli_json_string(object, "cluster_id", id.len == 0 ? NULL : (const char *)text.data);
    buf_deinit(&text);
}

// --- Shards

static uint32_t prefix_of(struct slice key) {
    uint32_t prefix = 0;
    for (size_t i = 0; key.size >= SHARD_KEYSPACE_PREFIX_SIZE && i < SHARD_KEYSPACE_PREFIX_SIZE;
         i++) {
        prefix = prefix << 8 | key.data[i];
    }
    return prefix;
}

static struct slice without_prefix(struct slice key) {
    if (key.size <= SHARD_KEYSPACE_PREFIX_SIZE) { return SLICE_EMPTY; }
    return slice_make(key.data + SHARD_KEYSPACE_PREFIX_SIZE, key.size - SHARD_KEYSPACE_PREFIX_SIZE);
}

struct admin_json_range admin_json_range_of(const Lightcone__V1__Shard *shard) {
    struct slice start = slice_make(shard->start.data, shard->start.len);
    struct slice end = slice_make(shard->end.data, shard->end.len);
    struct admin_json_range range = {.keyspace = prefix_of(start)};
    range.start = without_prefix(start);
    range.end = without_prefix(end);
    range.unbounded = end.size == 0 || prefix_of(end) != range.keyspace;
    return range;
}

const char *admin_json_replica_role(Lightcone__V1__ReplicaRole role) {
    switch (role) {
    case LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_VOTER:
        return "voter";
    case LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_LEARNER:
        return "learner";
    case LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_LEAVING:
        return "leaving";
    case _LIGHTCONE__V1__REPLICA_ROLE_IS_INT_SIZE:
        break;
    }
    return "unknown";
}

const char *admin_json_health(Lightcone__V1__ReplicaHealth health) {
    switch (health) {
    case LIGHTCONE__V1__REPLICA_HEALTH__REPLICA_HEALTH_WHOLE:
        return "whole";
    case LIGHTCONE__V1__REPLICA_HEALTH__REPLICA_HEALTH_HOLLOW:
        return "hollow";
    case LIGHTCONE__V1__REPLICA_HEALTH__REPLICA_HEALTH_DAMAGED:
        return "damaged";
    case _LIGHTCONE__V1__REPLICA_HEALTH_IS_INT_SIZE:
        break;
    }
    return "unknown";
}

json_t *admin_json_replica(const Lightcone__V1__ShardReplica *replica) {
    json_t *object = json_object();
    cli_json_u64(object, "node", replica->node);
    cli_json_string(object, "role", admin_json_replica_role(replica->role));
    cli_json_u64(object, "incarnation", replica->incarnation);
    cli_json_bool(object, "outgoing", replica->outgoing != 0);
    return object;
}

json_t *admin_json_shard(const Lightcone__V1__Shard *shard, const char *keyspace_name) {
    struct admin_json_range range = admin_json_range_of(shard);
    json_t *object = json_object();
    json_t *replicas = json_array();
    cli_json_u64(object, "id", shard->id);
    cli_json_u64(object, "keyspace_id", range.keyspace);
    cli_json_string(object, "keyspace", keyspace_name);
    cli_json_bytes(object, "start", range.start);
    if (range.unbounded) {
        cli_json_string(object, "end", NULL);
    } else {
        cli_json_bytes(object, "end", range.end);
    }
    cli_json_u64(object, "epoch", shard->epoch);
    cli_json_u64(object, "config_epoch", shard->config_epoch);
    cli_json_u64(object, "leader", shard->leader);
    cli_json_u64(object, "term", shard->term);
    cli_json_u64(object, "version", shard->version);
    for (size_t i = 0; i < shard->n_replicas; i++) {
        (void)json_array_append_new(replicas, admin_json_replica(shard->replicas[i]));
    }
    (void)json_object_set_new(object, "replicas", replicas);
    json_t *targets = json_array();
    for (size_t i = 0; i < shard->n_targets; i++) {
        (void)json_array_append_new(
            targets, json_pack("{s:I,s:s}", "node", (json_int_t)shard->targets[i]->node, "role",
                               admin_json_replica_role(shard->targets[i]->role)));
    }
    (void)json_object_set_new(object, "targets", targets);
    return object;
}
