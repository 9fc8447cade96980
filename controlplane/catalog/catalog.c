// SPDX-License-Identifier: Apache-2.0
// Design: three sorted arrays and one derived routing map. The catalogue is small (thousands of
// objects), changes rarely and is read by id, by name or as a whole, so arrays with binary search
// beat trees in every respect that matters. The shards are kept twice on purpose: the array is what
// is replicated, digested, persisted and sent; the map inside is for routing and takes hints from
// whoever learns of a leader. Were the map the truth, a hint noted on one node would make its state
// differ from the others'.
#include "controlplane/catalog/catalog.h"

#include "controlplane/catalog/catalog_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

#include <string.h>

struct catalog *catalog_create(void) {
    struct catalog *self = mem_alloc(sizeof(*self));
    self->nodes = mem_alloc_array(CATALOG_NODES_MAX, sizeof(*self->nodes));
    self->map = shard_map_create();
    self->next_node = 1;
    self->next_keyspace = 1;
    self->next_shard = CATALOG_FIRST_DATA_SHARD;
    return self;
}

static void catalog_free_contents(struct catalog *self) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        shard_descriptor_deinit(&self->shards[i]);
    }
    mem_free(self->shards);
    mem_free(self->keyspaces);
    mem_free(self->by_name);
    mem_free(self->nodes);
}

void catalog_destroy(struct catalog *self) {
    if (self == NULL) { return; }
    catalog_free_contents(self);
    shard_map_destroy(self->map);
    mem_free(self);
}

void catalog__reset(struct catalog *self) {
    // The map stays where it is, because others hold its address; what it has is only routing.
    struct catalog fresh = {.next_node = 1,
                            .next_keyspace = 1,
                            .next_shard = CATALOG_FIRST_DATA_SHARD,
                            .map = self->map,
                            .machine_fed = self->machine_fed};
    catalog_free_contents(self);
    *self = fresh;
    self->nodes = mem_alloc_array(CATALOG_NODES_MAX, sizeof(*self->nodes));
}

void catalog_bootstrap(struct catalog *self, const struct node_id *members, uint32_t count) {
    ASSERT(count >= 1);
    ASSERT(count <= SHARD_REPLICAS_MAX);
    if (self->version > 0) { return; }
    struct shard_descriptor group = {.id = SHARD_CATALOG,
                                     .start = bytes_copy(SLICE_LITERAL("\0")),
                                     .end = bytes_copy(SLICE_LITERAL("\0")),
                                     .epoch = 1,
                                     .config_epoch = 1,
                                     .map_version = 1,
                                     .replica_count = count};
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(members[i].v != 0);
        ASSERT(members[i].v < UINT32_MAX - 1);
        uint32_t at = i;
        for (; at > 0 && group.replicas[at - 1].node.v > members[i].v; at--) {
            group.replicas[at] = group.replicas[at - 1];
        }
        ASSERT_IF(at > 0, group.replicas[at - 1].node.v != members[i].v);
        group.replicas[at] =
            (struct shard_replica){.node = members[i], .role = SHARD_VOTER, .incarnation = 1};
    }
    self->next_node = group.replicas[count - 1].node.v + 1;
    self->version = 1;
    enum status st = catalog__put_shard(self, &group);
    ASSERT(st == STATUS_OK);
    shard_descriptor_deinit(&group);
}

uint64_t catalog_version(const struct catalog *self) {
    return self->version;
}

struct shard_map *catalog_shard_map(struct catalog *self) {
    return self->map;
}

// --- Nodes --------------------------------------------------------------------------------------

// Position of the first node whose id is not below id.
static uint32_t catalog_node_position(const struct catalog *self, uint32_t id) {
    uint32_t at = 0;
    while (at < self->node_count && self->nodes[at].id.v < id) {
        at++;
    }
    return at;
}

const struct catalog_node *catalog_node(const struct catalog *self, struct node_id id) {
    uint32_t at = catalog_node_position(self, id.v);
    if (at == self->node_count || self->nodes[at].id.v != id.v) { return NULL; }
    return &self->nodes[at];
}

const struct catalog_node *catalog_node_at(const struct catalog *self, uint32_t position) {
    ASSERT(position < self->node_count);
    return &self->nodes[position];
}

uint32_t catalog_node_count(const struct catalog *self) {
    return self->node_count;
}

enum status catalog__put_node(struct catalog *self, const struct catalog_node *node) {
    ASSERT(node->id.v != 0);
    uint32_t at = catalog_node_position(self, node->id.v);
    if (at == self->node_count || self->nodes[at].id.v != node->id.v) {
        if (self->node_count == CATALOG_NODES_MAX) { return STATUS_RESOURCE_EXHAUSTED; }
        memmove(&self->nodes[at + 1], &self->nodes[at],
                (self->node_count - at) * sizeof(*self->nodes));
        self->node_count++;
    }
    self->nodes[at] = *node;
    return STATUS_OK;
}

// --- Keyspaces ----------------------------------------------------------------------------------

static uint32_t catalog_keyspace_position(const struct catalog *self, uint32_t id) {
    uint32_t low = 0;
    uint32_t high = self->keyspace_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (self->keyspaces[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// Position in by_name of the first keyspace whose name is not below name.
static uint32_t catalog_name_position(const struct catalog *self, struct slice name) {
    uint32_t low = 0;
    uint32_t high = self->keyspace_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const char *held = self->keyspaces[self->by_name[middle]].name;
        if (slice_compare(slice_from_string(held), name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct catalog_keyspace *catalog_keyspace_by_name(const struct catalog *self,
                                                        struct slice name) {
    uint32_t at = catalog_name_position(self, name);
    if (at == self->keyspace_count) { return NULL; }
    const struct catalog_keyspace *found = &self->keyspaces[self->by_name[at]];
    return slice_equal(slice_from_string(found->name), name) ? found : NULL;
}

const struct catalog_keyspace *catalog_keyspace_by_id(const struct catalog *self, uint32_t id) {
    uint32_t at = catalog_keyspace_position(self, id);
    if (at == self->keyspace_count || self->keyspaces[at].id != id) { return NULL; }
    return &self->keyspaces[at];
}

const struct catalog_keyspace *catalog_keyspace_at(const struct catalog *self, uint32_t position) {
    ASSERT(position < self->keyspace_count);
    return &self->keyspaces[position];
}

uint32_t catalog_keyspace_count(const struct catalog *self) {
    return self->keyspace_count;
}

static void catalog_reserve_keyspace(struct catalog *self) {
    if (self->keyspace_count < self->keyspace_capacity) { return; }
    uint32_t capacity = self->keyspace_capacity == 0 ? 8 : self->keyspace_capacity * 2;
    self->keyspaces = mem_realloc(self->keyspaces, capacity * sizeof(*self->keyspaces));
    self->by_name = mem_realloc(self->by_name, capacity * sizeof(*self->by_name));
    self->keyspace_capacity = capacity;
}

// A new keyspace at position `at`: everything behind it moves up, in by_name too.
static void catalog_insert_keyspace(struct catalog *self, uint32_t at,
                                    const struct catalog_keyspace *keyspace) {
    uint32_t name_at = catalog_name_position(self, slice_from_string(keyspace->name));
    catalog_reserve_keyspace(self);
    memmove(&self->keyspaces[at + 1], &self->keyspaces[at],
            (self->keyspace_count - at) * sizeof(*self->keyspaces));
    self->keyspaces[at] = *keyspace;
    for (uint32_t i = 0; i < self->keyspace_count; i++) {
        if (self->by_name[i] >= at) { self->by_name[i]++; }
    }
    memmove(&self->by_name[name_at + 1], &self->by_name[name_at],
            (self->keyspace_count - name_at) * sizeof(*self->by_name));
    self->by_name[name_at] = at;
    self->keyspace_count++;
}

enum status catalog__put_keyspace(struct catalog *self, const struct catalog_keyspace *keyspace) {
    ASSERT(keyspace->id != 0);
    const struct catalog_keyspace *named =
        catalog_keyspace_by_name(self, slice_from_string(keyspace->name));
    if (named != NULL && named->id != keyspace->id) { return STATUS_CORRUPT; }
    uint32_t at = catalog_keyspace_position(self, keyspace->id);
    if (at < self->keyspace_count && self->keyspaces[at].id == keyspace->id) {
        // LIMIT: keyspaces are not renamed; another name for a known id cannot be right.
        if (named == NULL) { return STATUS_CORRUPT; }
        self->keyspaces[at] = *keyspace;
        return STATUS_OK;
    }
    if (self->keyspace_count == CATALOG_KEYSPACES_MAX) { return STATUS_RESOURCE_EXHAUSTED; }
    catalog_insert_keyspace(self, at, keyspace);
    return STATUS_OK;
}

// --- Shards -------------------------------------------------------------------------------------

static uint32_t catalog_shard_position(const struct catalog *self, uint64_t id) {
    uint32_t low = 0;
    uint32_t high = self->shard_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (self->shards[middle].id.v < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct shard_descriptor *catalog__shard(const struct catalog *self, struct shard_id id) {
    uint32_t at = catalog_shard_position(self, id.v);
    if (at == self->shard_count || self->shards[at].id.v != id.v) { return NULL; }
    return &self->shards[at];
}

const struct shard_descriptor *catalog_shard(const struct catalog *self, struct shard_id id) {
    return catalog__shard(self, id);
}

const struct shard_descriptor *catalog_shard_at(const struct catalog *self, uint32_t position) {
    ASSERT(position < self->shard_count);
    return &self->shards[position];
}

uint32_t catalog_shard_count(const struct catalog *self) {
    return self->shard_count;
}

static void catalog_insert_shard(struct catalog *self, uint32_t at,
                                 const struct shard_descriptor *descriptor) {
    if (self->shard_count == self->shard_capacity) {
        uint32_t capacity = self->shard_capacity == 0 ? 16 : self->shard_capacity * 2;
        self->shards = mem_realloc(self->shards, capacity * sizeof(*self->shards));
        self->shard_capacity = capacity;
    }
    memmove(&self->shards[at + 1], &self->shards[at],
            (self->shard_count - at) * sizeof(*self->shards));
    self->shards[at] = (struct shard_descriptor){.id = {0}};
    shard_descriptor_copy(&self->shards[at], descriptor);
    self->shard_count++;
}

enum status catalog__put_shard(struct catalog *self, const struct shard_descriptor *descriptor) {
    ASSERT(descriptor->id.v != 0);
    uint32_t at = catalog_shard_position(self, descriptor->id.v);
    if (at < self->shard_count && self->shards[at].id.v == descriptor->id.v) {
        struct shard_descriptor copy = {.id = {0}};
        shard_descriptor_copy(&copy, descriptor);
        shard_descriptor_deinit(&self->shards[at]);
        self->shards[at] = copy;
    } else {
        if (self->shard_count == CATALOG_SHARDS_MAX) { return STATUS_RESOURCE_EXHAUSTED; }
        catalog_insert_shard(self, at, descriptor);
    }
    // Not taken when the map learnt something newer from a hint already: routing keeps that.
    (void)shard_map_put(self->map, descriptor);
    shard_map_note_version(self->map, self->version);
    return STATUS_OK;
}

// --- The whole ----------------------------------------------------------------------------------

uint64_t catalog_digest(const struct catalog *self) {
    // One object at a time through one buffer: chaining the hashes makes the order matter, and the
    // encoding of the whole never has to fit in memory.
    struct buf buf;
    buf_init(&buf, (size_t)SHARD_KEY_SIZE_MAX * 4);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    codec_put_u64(&w, self->version);
    codec_put_u32(&w, self->next_node);
    codec_put_u32(&w, self->next_keyspace);
    codec_put_u64(&w, self->next_shard);
    uint64_t digest = hash64(buf_slice(&buf), 0);
    for (uint32_t i = 0; i < self->node_count; i++) {
        buf_reset(&buf);
        catalog__node_encode(&w, &self->nodes[i]);
        digest = hash64(buf_slice(&buf), digest);
    }
    for (uint32_t i = 0; i < self->keyspace_count; i++) {
        buf_reset(&buf);
        catalog__keyspace_encode(&w, &self->keyspaces[i]);
        digest = hash64(buf_slice(&buf), digest);
    }
    for (uint32_t i = 0; i < self->shard_count; i++) {
        buf_reset(&buf);
        shard_descriptor_encode(&w, &self->shards[i]);
        digest = hash64(buf_slice(&buf), digest);
    }
    ASSERT(w.status == STATUS_OK);
    buf_deinit(&buf);
    return digest;
}

static bool catalog_nodes_are_sound(const struct catalog *self) {
    for (uint32_t i = 0; i < self->node_count; i++) {
        const struct catalog_node *node = &self->nodes[i];
        if (node->id.v >= self->next_node) { return false; }
        if (i > 0 && self->nodes[i - 1].id.v >= node->id.v) { return false; }
    }
    return true;
}

static bool catalog_keyspaces_are_sound(const struct catalog *self) {
    for (uint32_t i = 0; i < self->keyspace_count; i++) {
        const struct catalog_keyspace *keyspace = &self->keyspaces[i];
        struct slice name = slice_from_string(keyspace->name);
        if (keyspace->id >= self->next_keyspace) { return false; }
        if (i > 0 && self->keyspaces[i - 1].id >= keyspace->id) { return false; }
        if (catalog_keyspace_by_name(self, name) != keyspace) { return false; }
    }
    return true;
}

static bool catalog_shards_are_sound(const struct catalog *self) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        const struct shard_descriptor *shard = &self->shards[i];
        if (shard->id.v >= self->next_shard || shard->replica_count == 0) { return false; }
        if (i > 0 && self->shards[i - 1].id.v >= shard->id.v) { return false; }
    }
    return true;
}

bool catalog__is_sound(const struct catalog *self) {
    return catalog_nodes_are_sound(self) && catalog_keyspaces_are_sound(self) &&
           catalog_shards_are_sound(self);
}

void catalog_check(const struct catalog *self) {
    ASSERT(catalog_nodes_are_sound(self));
    ASSERT(catalog_keyspaces_are_sound(self));
    ASSERT(catalog_shards_are_sound(self));
}
