// SPDX-License-Identifier: Apache-2.0
// The shard map as a client needs it: who leads which keys, and where that node listens. Each
// answer of MapGet replaces the map as a whole: a client with an old map is slower, never wrong,
// because every node routes on.
#include "api/client/client_internal.h"
#include "api/proto/lightcone.pb-c.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <stdio.h>
#include <string.h>

static bool lc_map_take_shard(struct shard_map *map, const Lightcone__V1__Shard *shard) {
    struct shard_descriptor descriptor = {
        .id = {shard->id},
        .epoch = shard->epoch,
        .config_epoch = shard->config_epoch,
        .term = shard->term,
        .leader = {shard->leader},
        .map_version = shard->version,
    };
    if (shard->n_replicas > SHARD_MEMBERS_MAX || shard->start.len > SHARD_KEY_SIZE_MAX ||
        shard->end.len > SHARD_KEY_SIZE_MAX) {
        return false;
    }
    for (size_t i = 0; i < shard->n_replicas; i++) {
        const Lightcone__V1__ShardReplica *replica = shard->replicas[i];
        enum shard_role role = SHARD_VOTER;
        if (replica->role == LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_LEARNER) {
            role = SHARD_LEARNER;
        } else if (replica->role == LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_LEAVING) {
            role = SHARD_LEAVING;
        }
        descriptor.replicas[descriptor.replica_count++] = (struct shard_replica){
            .node = {replica->node},
            .role = role,
            .incarnation = replica->incarnation == 0 ? 1 : replica->incarnation,
            .outgoing = replica->outgoing != 0};
    }
    descriptor.start = bytes_copy(slice_make(shard->start.data, shard->start.len));
    descriptor.end = bytes_copy(slice_make(shard->end.data, shard->end.len));
    bool good = shard_descriptor_check(&descriptor);
    if (good) { (void)shard_map_put(map, &descriptor); }
    shard_descriptor_deinit(&descriptor);
    return good;
}

static void lc_map_take_keyspaces(struct lc_client *self,
                                  const Lightcone__V1__MapGetResponse *response) {
    mem_free(self->keyspaces);
    self->keyspaces = mem_alloc_array(response->n_keyspaces + 1, sizeof(*self->keyspaces));
    self->keyspace_count = 0;
    for (size_t i = 0; i < response->n_keyspaces; i++) {
        struct lc_keyspace_entry *entry = &self->keyspaces[self->keyspace_count++];
        entry->id = response->keyspaces[i]->id;
        (void)snprintf(entry->name, sizeof(entry->name), "%s", response->keyspaces[i]->name);
    }
}

static uint8_t lc_distance(const struct lc_client *self, const Lightcone__V1__Node *node) {
    if (!lc__is_placed(self)) { return LC_NEAR; }
    const bool in_region = self->region[0] == 0 || strcmp(self->region, node->region) == 0;
    if (!in_region) { return LC_FAR; }
    if (self->zone[0] == 0 || strcmp(self->zone, node->zone) == 0) { return LC_NEAR; }
    return self->region[0] == 0 ? LC_FAR : LC_IN_REGION;
}

static void lc_map_take_nodes(struct lc_client *self,
                              const Lightcone__V1__MapGetResponse *response) {
    for (size_t i = 0; i < response->n_nodes; i++) {
        const Lightcone__V1__Node *item = response->nodes[i];
        struct lc_node *node =
            item->rpc_address[0] != 0 ? lc__node(self, item->rpc_address, item->id) : NULL;
        if (node != NULL) { node->distance = lc_distance(self, item); }
    }
}

enum status lc__map_take(struct lc_client *self, struct slice message) {
    Lightcone__V1__MapGetResponse *response =
        lightcone__v1__map_get_response__unpack(NULL, message.size, message.data);
    if (response == NULL) { return STATUS_CORRUPT; }
    struct shard_map *map = shard_map_create();
    enum status st = STATUS_OK;
    for (size_t i = 0; st == STATUS_OK && i < response->n_shards; i++) {
        if (!lc_map_take_shard(map, response->shards[i])) { st = STATUS_CORRUPT; }
    }
    if (st == STATUS_OK) {
        lc_map_take_nodes(self, response);
        lc_map_take_keyspaces(self, response);
        shard_map_destroy(self->map);
        self->map = map;
        map = NULL;
        self->map_at_ns = lc__now_ns();
    }
    if (map != NULL) { shard_map_destroy(map); }
    lightcone__v1__map_get_response__free_unpacked(response, NULL);
    return st;
}

static struct lc_node *lc_node_by_id(struct lc_client *self, uint32_t id) {
    for (uint32_t i = 0; id != 0 && i < self->node_count; i++) {
        if (self->nodes[i]->id == id) { return self->nodes[i]; }
    }
    return NULL;
}

static bool lc_usable(const struct lc_node *node, uint64_t now_ns) {
    return node != NULL && node->usable_at_ns <= now_ns;
}

static struct lc_node *lc_route_shard(struct lc_client *self, struct slice key, uint64_t now_ns) {
    const struct shard_descriptor *shard = shard_map_find(self->map, key);
    if (shard == NULL) { return NULL; }
    struct lc_node *leader = lc_node_by_id(self, shard->leader.v);
    if (lc_usable(leader, now_ns)) { return leader; }
    self->map_wanted = true;
    for (uint32_t i = 0; i < shard->replica_count; i++) {
        struct lc_node *node = lc_node_by_id(self, shard->replicas[i].node.v);
        if (lc_usable(node, now_ns)) { return node; }
    }
    return NULL;
}

// The first that is not in trouble; else the one whose trouble ends first.
static struct lc_node *lc_route_anywhere(struct lc_client *self, uint64_t now_ns) {
    struct lc_node *best = self->nodes[0];
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (lc_usable(self->nodes[i], now_ns)) { return self->nodes[i]; }
        if (self->nodes[i]->usable_at_ns < best->usable_at_ns) { best = self->nodes[i]; }
    }
    return best;
}

// The leader; else a node that holds the shard; else any.
struct lc_node *lc__map_route(struct lc_client *self, struct slice key, uint64_t now_ns) {
    ASSERT(self->node_count > 0);
    struct lc_node *node = NULL;
    if (!self->via_gateway) { node = lc_route_shard(self, key, now_ns); }
    return node != NULL ? node : lc_route_anywhere(self, now_ns);
}

// --- Several leaders ---

// Of those that are nearest and not in trouble, each in turn; NULL when all are.
static struct lc_node *lc_nearest(struct lc_client *self, uint64_t now_ns) {
    struct lc_node *best = NULL;
    const uint32_t first = self->near_rotor++;
    for (uint32_t i = 0; i < self->node_count; i++) {
        struct lc_node *node = self->nodes[(first + i) % self->node_count];
        if (!lc_usable(node, now_ns)) { continue; }
        if (best == NULL || node->distance < best->distance) { best = node; }
    }
    return best;
}

struct lc_node *lc__map_route_near(struct lc_client *self, struct slice key, uint64_t now_ns) {
    struct lc_node *home = lc__map_route(self, key, now_ns);
    if (self->via_gateway || home->distance == LC_NEAR) { return home; }
    struct lc_node *near = lc_nearest(self, now_ns);
    return near != NULL && near->distance < home->distance ? near : home;
}

static uint32_t lc_leader(const struct lc_client *self, struct slice key) {
    const struct shard_descriptor *shard = shard_map_find(self->map, key);
    return shard == NULL ? 0 : shard->leader.v;
}

// LIMIT: shards between the first and the last key with leaders of their own are not seen when the
// leaders of those two are the same: their parts then travel by way of that leader.
struct lc_node *lc__map_route_span(struct lc_client *self, struct slice key, struct slice low,
                                   struct slice high, uint64_t now_ns) {
    const uint32_t leader = lc_leader(self, key);
    const bool one = leader == lc_leader(self, low) && leader == lc_leader(self, high);
    return one ? lc__map_route(self, key, now_ns) : lc__map_route_near(self, key, now_ns);
}

// --- Any replica ---

static bool lc_holds(const struct shard_descriptor *shard, const struct lc_node *node) {
    for (uint32_t i = 0; i < shard->replica_count; i++) {
        if (shard->replicas[i].node.v == node->id) { return true; }
    }
    return false;
}

static bool lc_is_connected(const struct lc_node *node) {
    return node->stream != NULL ||
           grpc_channel_check_connectivity_state(node->channel, 0) == GRPC_CHANNEL_READY;
}

// The nearest first; among equals connected ones, then those that the caller named first: nodes
// stand in the order in which they were heard of. A read that failed goes on to the next.
struct lc_node *lc__map_route_any(struct lc_client *self, struct slice key, uint32_t turn,
                                  uint64_t now_ns) {
    const struct shard_descriptor *shard =
        self->via_gateway ? NULL : shard_map_find(self->map, key);
    struct lc_node *found[LC_NODES_MAX];
    uint32_t ranks[LC_NODES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; shard != NULL && i < self->node_count; i++) {
        struct lc_node *node = self->nodes[i];
        if (!lc_usable(node, now_ns) || !lc_holds(shard, node)) { continue; }
        const uint32_t rank = 2 * (uint32_t)node->distance + (lc_is_connected(node) ? 0 : 1);
        uint32_t at = count++;
        for (; at > 0 && ranks[at - 1] > rank; at--) {
            found[at] = found[at - 1];
            ranks[at] = ranks[at - 1];
        }
        found[at] = node;
        ranks[at] = rank;
    }
    return count == 0 ? lc_route_anywhere(self, now_ns) : found[turn % count];
}
