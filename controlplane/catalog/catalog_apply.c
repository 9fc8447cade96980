// SPDX-License-Identifier: Apache-2.0
// Design: applying is decide first, change after. All that may be refused is refused before the
// first field changes, so there is nothing to undo and "anything but OK leaves the state unchanged"
// holds by construction. Nothing here reads a clock, a random number or a leader hint: the load
// that placement sees is counted from the replicated shards, where replicas[0] is the first leader.
#include "controlplane/catalog/catalog_internal.h"
#include "controlplane/placement/placement.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"

#include <string.h>

enum { PREFIX_SPACE = 1 << 16, PREFIX_SPACE_SIZE = 2 };

// --- REGISTER_NODE ------------------------------------------------------------------------------

static const struct catalog_node *catalog_node_by_incarnation(const struct catalog *self,
                                                              uint64_t incarnation) {
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (self->nodes[i].incarnation == incarnation) { return &self->nodes[i]; }
    }
    return NULL;
}

static bool catalog_is_member(const struct catalog *self, struct node_id id) {
    const struct shard_descriptor *group = catalog__shard(self, SHARD_CATALOG);
    return group != NULL && shard_descriptor_has_node(group, id);
}

// Whether the id that a node claims is its own: either on record with its incarnation, or that of
// a founding member that has not registered yet.
static enum status catalog_check_claim(const struct catalog *self, const struct catalog_node *node,
                                       const struct catalog_node *known, struct err *err) {
    if (known != NULL) {
        if (node->id.v == 0 || node_id_equal(node->id, known->id)) { return STATUS_OK; }
        return err_set(err, STATUS_FAILED_PRECONDITION,
                       "id: node %u asked for, but its incarnation is that of node %u", node->id.v,
                       known->id.v);
    }
    if (node->id.v == 0) { return STATUS_OK; }
    if (catalog_node(self, node->id) != NULL) {
        return err_set(err, STATUS_FAILED_PRECONDITION,
                       "incarnation: node %u is on record with another one; a node whose data "
                       "directory is new must join as a new node",
                       node->id.v);
    }
    if (catalog_is_member(self, node->id)) { return STATUS_OK; }
    return err_set(err, STATUS_FAILED_PRECONDITION, "id: node %u was never given out", node->id.v);
}

static bool catalog_node_same(const struct catalog_node *a, const struct catalog_node *b) {
    return strcmp(a->peer_address, b->peer_address) == 0 &&
           strcmp(a->rpc_address, b->rpc_address) == 0 && strcmp(a->region, b->region) == 0 &&
           strcmp(a->zone, b->zone) == 0 && a->latitude_microdegrees == b->latitude_microdegrees &&
           a->longitude_microdegrees == b->longitude_microdegrees && a->state == b->state;
}

static enum status catalog_apply_register(struct catalog *self,
                                          const struct catalog_register_node *command,
                                          uint64_t *out_id, struct err *err) {
    enum status st = catalog_register_node_check(command, err);
    if (st != STATUS_OK) { return st; }
    const struct catalog_node *known = catalog_node_by_incarnation(self, command->node.incarnation);
    st = catalog_check_claim(self, &command->node, known, err);
    if (st != STATUS_OK) { return st; }
    struct catalog_node node = command->node;
    node.state = CATALOG_NODE_LIVE;
    if (known != NULL) {
        if (known->state == CATALOG_NODE_DECOMMISSIONED) {
            return err_set(err, STATUS_FAILED_PRECONDITION,
                           "id: node %u was decommissioned and cannot come back", known->id.v);
        }
        node.id = known->id;
        node.state = known->state == CATALOG_NODE_DRAINED ? known->state : CATALOG_NODE_LIVE;
        *out_id = known->id.v;
        if (catalog_node_same(&node, known)) {
            MARK("catalog.register.repeated");
            return STATUS_OK;
        }
    } else if (self->node_count == CATALOG_NODES_MAX) {
        return err_set(err, STATUS_RESOURCE_EXHAUSTED, "nodes: at most %d in a cluster",
                       CATALOG_NODES_MAX);
    }
    if (node.id.v == 0) { node.id.v = self->next_node++; }
    self->version++;
    node.version = self->version;
    *out_id = node.id.v;
    st = catalog__put_node(self, &node);
    ASSERT(st == STATUS_OK);
    return STATUS_OK;
}

// --- CREATE_KEYSPACE ----------------------------------------------------------------------------

static uint32_t catalog_placement_nodes(const struct catalog *self,
                                        struct placement_node out[CATALOG_NODES_MAX]) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->node_count; i++) {
        const struct catalog_node *node = &self->nodes[i];
        if (node->state != CATALOG_NODE_LIVE) { continue; }
        out[count++] = (struct placement_node){.id = node->id,
                                               .region = slice_from_string(node->region),
                                               .zone = slice_from_string(node->zone)};
    }
    return count;
}

static void catalog_count_load(const struct catalog *self, struct placement_node *nodes,
                               uint32_t node_count) {
    for (uint32_t n = 0; n < node_count; n++) {
        for (uint32_t i = 0; i < self->shard_count; i++) {
            const struct shard_descriptor *shard = &self->shards[i];
            if (!shard_descriptor_has_node(shard, nodes[n].id) &&
                shard_descriptor_target(shard, nodes[n].id) == NULL) {
                continue;
            }
            nodes[n].replica_count++;
            if (node_id_equal(shard->leader, nodes[n].id)) { nodes[n].leader_count++; }
        }
    }
}

static void catalog_put_big_endian(uint8_t *out, uint32_t value, size_t size) {
    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    }
}

// Boundary `i` of the keyspace's shards as a full key: 0 is the start of the keyspace, `count` the
// start of the next one.
static struct bytes *catalog_boundary(const struct catalog_create_keyspace *command,
                                      uint32_t keyspace, uint32_t i, uint32_t count) {
    uint8_t even[PREFIX_SPACE_SIZE];
    struct slice user_key = SLICE_EMPTY;
    if (i > 0 && i < count && command->split_count > 0) {
        user_key = command->splits[i - 1];
    } else if (i > 0 && i < count) {
        catalog_put_big_endian(even, (uint32_t)((uint64_t)i * PREFIX_SPACE / count), sizeof(even));
        user_key = slice_make(even, sizeof(even));
    }
    struct bytes *key = bytes_create(SHARD_KEYSPACE_PREFIX_SIZE + user_key.size);
    catalog_put_big_endian(key->data, i == count ? keyspace + 1 : keyspace,
                           SHARD_KEYSPACE_PREFIX_SIZE);
    if (user_key.size > 0) {
        memcpy(key->data + SHARD_KEYSPACE_PREFIX_SIZE, user_key.data, user_key.size);
    }
    return key;
}

static void catalog_create_shards(struct catalog *self,
                                  const struct catalog_create_keyspace *command,
                                  const struct catalog_keyspace *keyspace, uint32_t count) {
    struct placement_node nodes[CATALOG_NODES_MAX];
    uint32_t node_count = catalog_placement_nodes(self, nodes);
    catalog_count_load(self, nodes, node_count);
    struct bytes *start = catalog_boundary(command, keyspace->id, 0, count);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes *end = catalog_boundary(command, keyspace->id, i + 1, count);
        struct shard_descriptor shard = {.id = {self->next_shard++},
                                         .start = start,
                                         .end = end,
                                         .epoch = 1,
                                         .config_epoch = 1,
                                         .map_version = keyspace->version,
                                         .replica_count = keyspace->replicas};
        struct node_id chosen[SHARD_REPLICAS_MAX];
        enum status st = placement_choose(nodes, node_count, keyspace->replicas, chosen);
        ASSERT(st == STATUS_OK);
        for (uint32_t k = 0; k < keyspace->replicas; k++) {
            shard.replicas[k] =
                (struct shard_replica){.node = chosen[k], .role = SHARD_VOTER, .incarnation = 1};
        }
        shard.leader = chosen[0];
        st = catalog__put_shard(self, &shard);
        ASSERT(st == STATUS_OK);
        bytes_unref(start);
        start = end;
    }
    bytes_unref(start);
}

static enum status catalog_check_room(const struct catalog *self, uint32_t shard_count,
                                      struct err *err) {
    if (self->keyspace_count == CATALOG_KEYSPACES_MAX) {
        return err_set(err, STATUS_RESOURCE_EXHAUSTED, "keyspaces: at most %d in a cluster",
                       CATALOG_KEYSPACES_MAX);
    }
    if (self->shard_count + shard_count > CATALOG_SHARDS_MAX) {
        return err_set(err, STATUS_RESOURCE_EXHAUSTED,
                       "shards: %u more wanted, %u held, at most %d in a cluster", shard_count,
                       self->shard_count, CATALOG_SHARDS_MAX);
    }
    return STATUS_OK;
}

// Odd and at most what the live nodes can hold.
static enum status catalog_decide_replicas(uint32_t wanted, uint32_t live, uint32_t *out,
                                           struct err *err) {
    uint32_t replicas = wanted;
    if (wanted == 0) {
        replicas = live < CATALOG_REPLICAS_DEFAULT_MAX ? live : CATALOG_REPLICAS_DEFAULT_MAX;
        if (replicas % 2 == 0 && replicas > 0) { replicas--; }
        if (replicas == 0) { replicas = 1; }
    }
    if (replicas > live) {
        return err_set(err, STATUS_FAILED_PRECONDITION,
                       "replicas: %u wanted, but %u nodes are live", replicas, live);
    }
    *out = replicas;
    return STATUS_OK;
}

static enum status catalog_apply_create(struct catalog *self,
                                        const struct catalog_create_keyspace *command,
                                        uint64_t *out_id, struct err *err) {
    enum status st = catalog_create_keyspace_check(command, err);
    if (st != STATUS_OK) { return st; }
    const struct catalog_keyspace *held =
        catalog_keyspace_by_name(self, slice_from_string(command->name));
    if (held != NULL) {
        *out_id = held->id;
        return err_set(err, STATUS_ALREADY_EXISTS, "name: keyspace %u is called \"%s\"", held->id,
                       held->name);
    }
    uint32_t shard_count =
        command->split_count > 0 ? command->split_count + 1 : command->shard_count;
    st = catalog_check_room(self, shard_count, err);
    if (st != STATUS_OK) { return st; }
    struct placement_node nodes[CATALOG_NODES_MAX];
    struct catalog_keyspace keyspace = {.id = self->next_keyspace};
    st = catalog_decide_replicas(command->replicas, catalog_placement_nodes(self, nodes),
                                 &keyspace.replicas, err);
    if (st != STATUS_OK) { return st; }
    // Decided; from here on nothing is refused.
    memcpy(keyspace.name, command->name, sizeof(keyspace.name));
    self->next_keyspace++;
    self->version++;
    keyspace.version = self->version;
    *out_id = keyspace.id;
    st = catalog__put_keyspace(self, &keyspace);
    ASSERT(st == STATUS_OK);
    catalog_create_shards(self, command, &keyspace, shard_count);
    return STATUS_OK;
}

// --- Dispatch -----------------------------------------------------------------------------------

enum status catalog_apply(struct catalog *self, struct slice command, struct buf *out_result) {
    struct err err = {STATUS_OK, ""};
    uint64_t id = 0;
    struct catalog__command decoded;
    enum status st = catalog__command_decode(command, &decoded, &err);
    if (st == STATUS_OK) {
        switch (decoded.kind) {
        case CATALOG_REGISTER_NODE:
            st = catalog_apply_register(self, &decoded.register_node, &id, &err);
            break;
        case CATALOG_CREATE_KEYSPACE:
            st = catalog_apply_create(self, &decoded.create_keyspace, &id, &err);
            break;
        case CATALOG_PLACE_SHARD:
            id = decoded.place_shard.shard.v;
            st = catalog__apply_place(self, &decoded.place_shard, &err);
            break;
        case CATALOG_CANCEL_SHARD:
            id = decoded.cancel_shard.shard.v;
            st = catalog__apply_cancel(self, &decoded.cancel_shard, &err);
            break;
        case CATALOG_REPORT_SHARD:
            id = decoded.report_shard.shard.v;
            st = catalog__apply_report(self, &decoded.report_shard, &err);
            break;
        case CATALOG_COMMAND_KIND_COUNT:
            assert_fail(__FILE__, __LINE__, "a decoded command has a kind");
        }
    }
    catalog__command_deinit(&decoded);
    buf_reset(out_result);
    struct codec_writer w;
    codec_writer_init(&w, out_result);
    codec_put_varint(&w, id);
    codec_put_slice(&w, st == STATUS_OK ? SLICE_EMPTY : slice_from_string(err.message));
    ASSERT(w.status == STATUS_OK);
    return st;
}
