// SPDX-License-Identifier: Apache-2.0
// admin_json.h - messages of the Admin service as JSON objects, and the names of their enums.
// Invariants: members are only ever added; timestamps stand twice, as decimal text and as time.
// Ownership:  the caller owns what it gets.
// Thread:     pure.
// See:        api/proto/lightcone.proto
#pragma once

#include "api/cli/cli.h"
#include "api/proto/lightcone.pb-c.h"

const char *admin_json_node_state(Lightcone__V1__NodeState state);
const char *admin_json_skew_state(Lightcone__V1__SkewState state);
const char *admin_json_replica_role(Lightcone__V1__ReplicaRole role);
const char *admin_json_health(Lightcone__V1__ReplicaHealth health);
json_t *admin_json_replica(const Lightcone__V1__ShardReplica *replica);
const char *admin_json_raft_role(Lightcone__V1__RaftRole role);
json_t *admin_json_node(const Lightcone__V1__Node *node);
json_t *admin_json_keyspace(const Lightcone__V1__Keyspace *keyspace);
// "cluster_id" as hexadecimal digits, null when there is none.
void admin_json_cluster_id(json_t *object, ProtobufCBinaryData id);

// Where a shard's range begins and ends inside its keyspace.
struct admin_json_range {
    uint32_t keyspace;   // 0 = the catalogue's own shard
    struct slice start;  // without prefix
    struct slice end;    // without prefix; meaningless when unbounded
    bool unbounded;      // to the end of the keyspace
};
struct admin_json_range admin_json_range_of(const Lightcone__V1__Shard *shard);
json_t *admin_json_shard(const Lightcone__V1__Shard *shard, const char *keyspace_name);
