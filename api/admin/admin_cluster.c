// SPDX-License-Identifier: Apache-2.0
// admin_cluster.c - the cluster and its nodes.

#include "api/admin/admin_internal.h"
#include "dataplane/loop/clock.h"

#define ADMIN_VERSION "0.1"

static ProtobufCBinaryData cluster_id_field(struct admin_call *call) {
    const struct join_cluster *cluster = node_cluster(call->admin->node);
    return (ProtobufCBinaryData){sizeof(cluster->cluster.v),
                                 (uint8_t *)(uintptr_t)cluster->cluster.v};
}

// Every founding member stands in the catalogue: what is created next is placed on all of them.
static bool is_founded(struct admin_call *call) {
    const struct node_core *core = admin__core(call);
    return core != NULL && catalog_node_count(node_core_catalog(admin__core(call))) >=
                               node_cluster(call->admin->node)->member_count;
}

static void reply_founded(struct admin_call *call) {
    Lightcone__V1__ClusterInitResponse response = LIGHTCONE__V1__CLUSTER_INIT_RESPONSE__INIT;
    response.cluster_id = cluster_id_field(call);
    admin__reply(call, &response.base);
}

void admin__cluster_init(struct admin_call *call) {
    const Lightcone__V1__ClusterInitRequest *request = (const void *)call->request;
    struct err err;
    enum status st = node_init_cluster(call->admin->node, request->replicas, &err);
    if (st != STATUS_OK) {
        admin__fail(call, st, st == STATUS_INVALID_ARGUMENT ? "replicas" : NULL, err.message);
        return;
    }
    admin__wait(call, is_founded, reply_founded);
}

// Shards with a replica here whose leader is not known here; of others this node hears nothing.
static uint64_t leaderless(struct node_core *core) {
    uint64_t count = 0;
    const struct catalog *catalog = node_core_catalog(core);
    for (uint32_t i = 0; i < catalog_shard_count(catalog); i++) {
        const struct replica *replica =
            replica_table_find(node_core_table(core), catalog_shard_at(catalog, i)->id);
        uint64_t term = 0;
        count += replica != NULL && replica_leader(replica, &term).v == 0;
    }
    return count;
}

// This node, and those whose connection to it stands.
static uint32_t nodes_live(const struct admin_call *call, const struct catalog *catalog) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < catalog_node_count(catalog); i++) {
        struct node_id id = catalog_node_at(catalog, i)->id;
        struct transport_peer_stats stats = {0};
        bool self = node_id_equal(id, node_self(call->admin->node)->id);
        bool known =
            transport_peer_stats(node_transport(call->admin->node), id, &stats) == STATUS_OK;
        count += self || (known && stats.is_heard);
    }
    return count;
}

void admin__cluster_status(struct admin_call *call) {
    Lightcone__V1__ClusterStatusResponse response = LIGHTCONE__V1__CLUSTER_STATUS_RESPONSE__INIT;
    response.version = admin__text(call, ADMIN_VERSION);
    struct node_core *core = admin__core(call);
    if (core != NULL) {
        struct catalog *catalog = node_core_catalog(core);
        const struct shard_descriptor *group =
            shard_map_by_id(catalog_shard_map(catalog), SHARD_CATALOG);
        response.cluster_id = cluster_id_field(call);
        response.initialized = true;
        response.catalog_version = catalog_version(catalog);
        response.catalog_leader = group != NULL && group->term != 0 ? group->leader.v : 0;
        response.node_count = catalog_node_count(catalog);
        response.node_live_count = nodes_live(call, catalog);
        response.keyspace_count = catalog_keyspace_count(catalog);
        response.shard_count = catalog_shard_count(catalog);
        response.shard_leaderless_count = leaderless(core);
        response.hlc = hlc_peek(node_core_hlc(core), node_core_wall_us(core)).v;
        response.served_by = node_self(call->admin->node)->id.v;
    }
    admin__reply(call, &response.base);
}

void admin__node_list(struct admin_call *call) {
    const struct catalog *catalog = node_core_catalog(admin__core(call));
    Lightcone__V1__NodeListResponse response = LIGHTCONE__V1__NODE_LIST_RESPONSE__INIT;
    response.n_nodes = catalog_node_count(catalog);
    response.nodes = admin__alloc(call, response.n_nodes * sizeof(*response.nodes));
    for (uint32_t i = 0; i < response.n_nodes; i++) {
        response.nodes[i] = admin__node(call, catalog_node_at(catalog, i));
    }
    admin__reply(call, &response.base);
}

static bool is_blocked(const struct admin *admin, uint32_t node) {
    for (uint32_t i = 0; i < admin->blocked_count; i++) {
        if (admin->blocked[i] == node) { return true; }
    }
    return false;
}

static Lightcone__V1__PeerLink *link_of(struct admin_call *call, const struct support_peer *peer) {
    struct node_core *core = admin__core(call);
    Lightcone__V1__PeerLink *link = admin__alloc(call, sizeof(*link));
    lightcone__v1__peer_link__init(link);
    uint64_t now = loop_monotonic_ns();
    uint64_t until = support_held_until(node_core_support(core), peer->node, peer->held_epoch);
    struct transport_peer_stats stats = {0};
    if (transport_peer_stats(node_transport(call->admin->node), peer->node, &stats) == STATUS_OK) {
        link->connected = stats.is_up;
    }
    link->node = peer->node.v;
    link->support_remaining_ms = until > now ? (uint32_t)((until - now) / 1000000) : 0;
    link->round_trip_us = peer->round_trip_ns / 1000;
    link->wall_offset_us = peer->wall_offset_us;
    link->blocked = is_blocked(call->admin, peer->node.v);
    return link;
}

struct tally {
    uint64_t replicas;
    uint64_t leaders;
};

static void tally_replica(void *ctx, struct replica *replica) {
    struct tally *tally = ctx;
    tally->replicas++;
    tally->leaders += replica_is_leader(replica);
}

// LIMIT: a node answers for itself only; the command asks each node at its own address.
void admin__node_show(struct admin_call *call) {
    const Lightcone__V1__NodeShowRequest *request = (const void *)call->request;
    struct node_core *core = admin__core(call);
    const struct catalog_node *self = node_self(call->admin->node);
    if (request->node != 0 && request->node != self->id.v) {
        admin__fail(call, STATUS_NOT_FOUND, "node", "ask that node at its own address");
        return;
    }
    struct tally tally = {0};
    replica_table_each(node_core_table(core), tally_replica, &tally);
    struct session_stats stats = session_stats(node_core_session(core));
    const struct support *support = node_core_support(core);
    struct node_disk_status disk;
    node_core_disk(core, &disk);
    Lightcone__V1__NodeShowResponse response = LIGHTCONE__V1__NODE_SHOW_RESPONSE__INIT;
    const struct catalog_node *known = catalog_node(node_core_catalog(core), self->id);
    response.node = admin__node(call, known != NULL ? known : self);
    response.uptime_ms = node_uptime_ms(call->admin->node);
    response.replica_count = tally.replicas;
    response.leader_count = tally.leaders;
    response.calls_in_flight = stats.in_flight;
    response.calls_total = stats.calls;
    response.overloaded_total = stats.overloaded;
    response.hlc = hlc_peek(node_core_hlc(core), node_core_wall_us(core)).v;
    response.version = admin__text(call, ADMIN_VERSION);
    response.disk_healthy = disk.state == NODE_DISK_OK;
    response.disk_state = admin__text(call, node_disk_state_text(disk.state));
    response.disk_last_sync_us = disk.last_ns / 1000;
    response.disk_worst_sync_us = disk.worst_ns / 1000;
    response.disk_pending_sync_us = disk.pending_ns / 1000;
    response.skew_state = admin__skew_state(core);
    response.peers = admin__alloc(call, support->peer_count * sizeof(*response.peers));
    for (uint32_t i = 0; i < support->peer_count; i++) {
        response.peers[response.n_peers++] = link_of(call, &support->peers[i]);
    }
    admin__reply(call, &response.base);
}

void admin__dev_block(struct admin_call *call) {
    const Lightcone__V1__DevBlockRequest *request = (const void *)call->request;
    struct admin *admin = call->admin;
    if (!admin->dev) {
        admin__fail(call, STATUS_FAILED_PRECONDITION, NULL,
                    "only nodes started with `dev: true` can be cut off");
        return;
    }
    if (request->n_nodes > SUPPORT_PEERS_MAX) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "nodes", "too many nodes");
        return;
    }
    struct transport *transport = node_transport(admin->node);
    for (uint32_t i = 0; i < admin->blocked_count; i++) {
        (void)!transport_block(transport, (struct node_id){admin->blocked[i]}, false, false);
    }
    admin->blocked_count = 0;
    enum status st = STATUS_OK;
    for (size_t i = 0; i < request->n_nodes && st == STATUS_OK; i++) {
        st = transport_block(transport, (struct node_id){request->nodes[i]}, true, true);
        admin->blocked[admin->blocked_count++] = request->nodes[i];
    }
    if (st != STATUS_OK) {
        admin__fail(call, st, "nodes", status_text(st));
        return;
    }
    Lightcone__V1__DevBlockResponse response = LIGHTCONE__V1__DEV_BLOCK_RESPONSE__INIT;
    admin__reply(call, &response.base);
}
