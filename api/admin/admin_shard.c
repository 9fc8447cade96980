// SPDX-License-Identifier: Apache-2.0
// admin_shard.c - shards: listed from this node's map, shown with what their replicas say,
// leadership transferred.

#include "api/admin/admin_internal.h"
#include "dataplane/base/assert.h"

#include <assert.h>
#include <string.h>

enum { ADMIN_SHARDS_DEFAULT = 1000, ADMIN_SHARDS_MAX = 10000 };

// 0 = of every keyspace; false when the request names one that does not exist.
static bool keyspace_of(struct admin_call *call, const char *name, uint32_t id, uint32_t *out_id) {
    const struct catalog *catalog = node_core_catalog(admin__core(call));
    *out_id = id;
    if (name[0] == '\0') { return id == 0 || catalog_keyspace_by_id(catalog, id) != NULL; }
    const struct catalog_keyspace *keyspace =
        catalog_keyspace_by_name(catalog, slice_from_string(name));
    if (keyspace == NULL) { return false; }
    *out_id = keyspace->id;
    return true;
}

static uint32_t prefix_of(const struct shard_descriptor *shard) {
    uint32_t prefix = 0;
    for (uint32_t i = 0;
         i < SHARD_KEYSPACE_PREFIX_SIZE && shard->start->size >= SHARD_KEYSPACE_PREFIX_SIZE; i++) {
        prefix = prefix << 8 | shard->start->data[i];
    }
    return prefix;
}

void admin__shard_list(struct admin_call *call) {
    const Lightcone__V1__ShardListRequest *request = (const void *)call->request;
    uint32_t keyspace = 0;
    if (!keyspace_of(call, request->keyspace, request->keyspace_id, &keyspace)) {
        admin__fail(call, STATUS_NOT_FOUND, "keyspace", "no such keyspace");
        return;
    }
    uint32_t limit = request->limit == 0 ? ADMIN_SHARDS_DEFAULT : request->limit;
    if (limit > ADMIN_SHARDS_MAX) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "limit", "at most 10000 shards a page");
        return;
    }
    struct catalog *catalog = node_core_catalog(admin__core(call));
    const struct shard_map *map = catalog_shard_map(catalog);
    Lightcone__V1__ShardListResponse response = LIGHTCONE__V1__SHARD_LIST_RESPONSE__INIT;
    response.shards = admin__alloc(call, limit * sizeof(*response.shards));
    const struct shard_descriptor *at =
        shard_map_at_or_after(map, slice_make(request->resume.data, request->resume.len));
    while (at != NULL && response.n_shards < limit) {
        if (keyspace == 0 || prefix_of(at) == keyspace) {
            // The catalogue's own entry shows what was ordered, too; the map routes.
            const struct shard_descriptor *entry = catalog_shard(catalog, at->id);
            response.shards[response.n_shards++] = admin__shard(call, entry != NULL ? entry : at);
        }
        at = at->end->size == 0 ? NULL : shard_map_at_or_after(map, bytes_slice(at->end));
    }
    response.more = at != NULL;
    if (at != NULL) {
        response.resume =
            (ProtobufCBinaryData){at->start->size, admin__alloc(call, at->start->size)};
        memcpy(response.resume.data, at->start->data, at->start->size);
    }
    admin__reply(call, &response.base);
}

static Lightcone__V1__RaftRole role_of(enum raft_role role) {
    switch (role) {
    case RAFT_FOLLOWER:
        return LIGHTCONE__V1__RAFT_ROLE__RAFT_ROLE_FOLLOWER;
    case RAFT_PRECANDIDATE:
        return LIGHTCONE__V1__RAFT_ROLE__RAFT_ROLE_PRECANDIDATE;
    case RAFT_CANDIDATE:
        return LIGHTCONE__V1__RAFT_ROLE__RAFT_ROLE_CANDIDATE;
    case RAFT_LEADER:
        return LIGHTCONE__V1__RAFT_ROLE__RAFT_ROLE_LEADER;
    case RAFT_ROLE_COUNT:
        break;
    }
    return LIGHTCONE__V1__RAFT_ROLE__RAFT_ROLE_UNSPECIFIED;
}

static void fill_whole(Lightcone__V1__ReplicaStatus *out, const struct replica_frontiers *f) {
    out->incarnation = f->incarnation;
    out->config_epoch = f->config_epoch;
    out->health = f->health == RAFT_HOLLOW ? LIGHTCONE__V1__REPLICA_HEALTH__REPLICA_HEALTH_HOLLOW
                  : f->health == RAFT_DAMAGED
                      ? LIGHTCONE__V1__REPLICA_HEALTH__REPLICA_HEALTH_DAMAGED
                      : LIGHTCONE__V1__REPLICA_HEALTH__REPLICA_HEALTH_WHOLE;
    out->snapshot_in = f->snapshot_in;
    out->snapshot_in_bytes = f->snapshot_in_bytes;
    out->snapshot_in_total = f->snapshot_in_total;
    out->snapshots_out = f->snapshots_out;
    out->snapshot_out_bytes = f->snapshot_out_bytes;
    out->snapshot_out_total = f->snapshot_out_total;
    out->digest_index = f->digest_index;
    out->digest = f->digest;
}

static Lightcone__V1__ReplicaStatus *status_of(struct admin_call *call, uint32_t node,
                                               const struct node_replica_status *item) {
    Lightcone__V1__ReplicaStatus *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__replica_status__init(out);
    out->node = node;
    if (item == NULL) { return out; }
    const struct replica_frontiers *f = &item->frontiers;
    // Of a node without a replica, nothing but that it answers is told.
    out->present = item->present;
    out->reachable = item->present;
    if (!item->present) { return out; }
    fill_whole(out, f);
    out->role = role_of(f->role);
    out->term = f->term;
    out->leader = f->leader.v;
    out->last = f->last;
    out->durable = f->durable;
    out->applied = f->applied;
    out->commit = f->commit;
    out->trim = f->trim;
    out->closed = f->closed.v;
    static_assert((int)REPLICA_HELD_BY_SILENCE ==
                      (int)LIGHTCONE__V1__CLOSED_HOLD__CLOSED_HOLD_SILENCE,
                  "the names of the interface follow those of the replica");
    out->closed_hold = (Lightcone__V1__ClosedHold)f->closed_hold;
    out->ceiling = f->ceiling.v;
    out->lease_remaining_us = f->lease_remaining_us;
    out->pending = f->pending;
    return out;
}

static Lightcone__V1__ShardMembers *members_of(struct admin_call *call,
                                               const struct node_members_status *members) {
    if (members->leader.v == 0) { return NULL; }
    Lightcone__V1__ShardMembers *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__shard_members__init(out);
    out->leader = members->leader.v;
    out->config_epoch = members->config_epoch;
    out->committed_epoch = members->committed_epoch;
    out->members = admin__alloc(call, members->count * sizeof(*out->members));
    for (uint32_t i = 0; i < members->count; i++) {
        Lightcone__V1__ShardMember *member = admin__alloc(call, sizeof(*member));
        lightcone__v1__shard_member__init(member);
        member->replica = admin__replica(call, &members->members[i]);
        member->match = members->matches[i];
        member->lag = members->last > member->match ? members->last - member->match : 0;
        out->members[out->n_members++] = member;
    }
    out->step = admin__text(call, replica_members_step_name(members->progress.step));
    out->text = admin__text(call, members->progress.text);
    out->waited_ms = members->waited_ms;
    return out;
}

static const struct node_replica_status *find_item(const struct node_replica_status *items,
                                                   uint32_t count, struct node_id node) {
    for (uint32_t i = 0; i < count; i++) {
        if (node_id_equal(items[i].node, node)) { return &items[i]; }
    }
    return NULL;
}

// The members by the catalogue, answering or not, then whoever else answered and holds a replica or
// is to hold one.
static void shown(struct node_status_call *status, const struct node_replica_status *items,
                  uint32_t count) {
    struct admin_call *call =
        (struct admin_call *)((char *)status - offsetof(struct admin_call, status));
    const struct shard_descriptor *shard =
        catalog_shard(node_core_catalog(admin__core(call)), status->shard);
    if (shard == NULL) {
        admin__fail(call, STATUS_NOT_FOUND, "shard", "no such shard");
        return;
    }
    Lightcone__V1__ShardShowResponse response = LIGHTCONE__V1__SHARD_SHOW_RESPONSE__INIT;
    response.shard = admin__shard(call, shard);
    response.members = members_of(call, &status->members);
    response.replicas =
        admin__alloc(call, (shard->replica_count + count) * sizeof(*response.replicas));
    for (uint32_t i = 0; i < shard->replica_count; i++) {
        struct node_id node = shard->replicas[i].node;
        response.replicas[response.n_replicas++] =
            status_of(call, node.v, find_item(items, count, node));
    }
    for (uint32_t i = 0; i < count; i++) {
        if (shard_descriptor_has_node(shard, items[i].node)) { continue; }
        response.replicas[response.n_replicas++] = status_of(call, items[i].node.v, &items[i]);
    }
    admin__reply(call, &response.base);
}

void admin__shard_show(struct admin_call *call) {
    const Lightcone__V1__ShardShowRequest *request = (const void *)call->request;
    call->status = (struct node_status_call){.shard = {request->shard}, .done = shown};
    if (node_core_shard_status(admin__core(call), &call->status) != STATUS_OK) {
        admin__fail(call, STATUS_NOT_FOUND, "shard", "no such shard");
    }
}

// LIMIT: only the leader itself can be asked; the command sends the call to it.
void admin__shard_transfer_leader(struct admin_call *call) {
    const Lightcone__V1__ShardTransferLeaderRequest *request = (const void *)call->request;
    struct node_core *core = admin__core(call);
    struct replica *replica =
        replica_table_find(node_core_table(core), (struct shard_id){request->shard});
    const struct shard_descriptor *shard = shard_map_by_id(
        catalog_shard_map(node_core_catalog(core)), (struct shard_id){request->shard});
    if (shard == NULL) {
        admin__fail(call, STATUS_NOT_FOUND, "shard", "no such shard");
        return;
    }
    if (replica == NULL || !replica_is_leader(replica)) {
        struct rpc_error error = {.status = STATUS_NOT_LEADER, .leader_node = shard->leader.v};
        rpc_fail(call->call, &error);
        return;
    }
    enum status st = replica_transfer(replica, (struct node_id){request->target_node});
    if (st != STATUS_OK) {
        admin__fail(call, st, "target_node",
                    st == STATUS_INVALID_ARGUMENT ? "the node holds no voter of the shard"
                                                  : status_text(st));
        return;
    }
    Lightcone__V1__ShardTransferLeaderResponse response =
        LIGHTCONE__V1__SHARD_TRANSFER_LEADER_RESPONSE__INIT;
    response.leader = replica_leader(replica, &response.term).v;
    admin__reply(call, &response.base);
}

void admin__map_get(struct admin_call *call) {
    const Lightcone__V1__MapGetRequest *request = (const void *)call->request;
    const struct catalog *catalog = node_core_catalog(admin__core(call));
    const struct join_cluster *cluster = node_cluster(call->admin->node);
    Lightcone__V1__MapGetResponse response = LIGHTCONE__V1__MAP_GET_RESPONSE__INIT;
    response.version = catalog_version(catalog);
    response.cluster_id =
        (ProtobufCBinaryData){sizeof(cluster->cluster.v), (uint8_t *)(uintptr_t)cluster->cluster.v};
    // Leader hints are no part of the catalogue's version: shards are told whole, whatever the
    // version asked from.
    response.shards = admin__alloc(call, catalog_shard_count(catalog) * sizeof(*response.shards));
    for (uint32_t i = 0; i < catalog_shard_count(catalog); i++) {
        response.shards[response.n_shards++] = admin__shard(call, catalog_shard_at(catalog, i));
    }
    response.nodes = admin__alloc(call, catalog_node_count(catalog) * sizeof(*response.nodes));
    for (uint32_t i = 0; i < catalog_node_count(catalog); i++) {
        const struct catalog_node *node = catalog_node_at(catalog, i);
        if (node->version > request->since_version) {
            response.nodes[response.n_nodes++] = admin__node(call, node);
        }
    }
    response.keyspaces =
        admin__alloc(call, catalog_keyspace_count(catalog) * sizeof(*response.keyspaces));
    for (uint32_t i = 0; i < catalog_keyspace_count(catalog); i++) {
        const struct catalog_keyspace *keyspace = catalog_keyspace_at(catalog, i);
        if (keyspace->version > request->since_version) {
            response.keyspaces[response.n_keyspaces++] = admin__keyspace(call, keyspace);
        }
    }
    admin__reply(call, &response.base);
}
