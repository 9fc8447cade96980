// SPDX-License-Identifier: Apache-2.0
// Design: a delta is u8 format, varint since, varint version, the three id counters, then nodes,
// keyspaces and shards that changed after `since`, each as varint count and objects. It names the
// version it starts from, because the receiver may only claim the version it ends at when it held
// everything before: with a lost delta between, the objects are welcome and the version is not.
// A delta is decoded twice, first without effect, so that a corrupt one changes nothing; a copy of
// the reader costs nothing, while an undo would have to be written and tested.
//
// LIMIT: nothing is ever deleted from a catalogue, so deltas have no tombstones; and a delta is one
// message: a full one of 16384 shards is about 2 MB with short keys.
#include "controlplane/catalog/catalog_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"

enum { DELTA_FORMAT = 1 };

void catalog_encode_delta(const struct catalog *self, uint64_t since, struct codec_writer *w) {
    codec_put_u8(w, DELTA_FORMAT);
    codec_put_varint(w, since);
    codec_put_varint(w, self->version);
    codec_put_u32(w, self->next_node);
    codec_put_u32(w, self->next_keyspace);
    codec_put_u64(w, self->next_shard);
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->node_count; i++) {
        count += self->nodes[i].version > since ? 1 : 0;
    }
    codec_put_varint(w, count);
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (self->nodes[i].version > since) { catalog__node_encode(w, &self->nodes[i]); }
    }
    count = 0;
    for (uint32_t i = 0; i < self->keyspace_count; i++) {
        count += self->keyspaces[i].version > since ? 1 : 0;
    }
    codec_put_varint(w, count);
    for (uint32_t i = 0; i < self->keyspace_count; i++) {
        if (self->keyspaces[i].version > since) {
            catalog__keyspace_encode(w, &self->keyspaces[i]);
        }
    }
    count = 0;
    for (uint32_t i = 0; i < self->shard_count; i++) {
        count += self->shards[i].map_version > since ? 1 : 0;
    }
    codec_put_varint(w, count);
    for (uint32_t i = 0; i < self->shard_count; i++) {
        if (self->shards[i].map_version > since) { shard_descriptor_encode(w, &self->shards[i]); }
    }
}

struct catalog_delta_head {
    uint64_t since;
    uint64_t version;
    uint32_t next_node;
    uint32_t next_keyspace;
    uint64_t next_shard;
};

static struct catalog_delta_head catalog_delta_head(struct codec_reader *r) {
    if (codec_get_u8(r) != DELTA_FORMAT) { codec_fail(r); }
    struct catalog_delta_head head = {.since = codec_get_varint(r)};
    head.version = codec_get_varint(r);
    head.next_node = codec_get_u32(r);
    head.next_keyspace = codec_get_u32(r);
    head.next_shard = codec_get_u64(r);
    if (head.next_node == 0 || head.next_keyspace == 0 ||
        head.next_shard < CATALOG_FIRST_DATA_SHARD) {
        codec_fail(r);
    }
    return head;
}

// What a delta says about an object must fit its own head: else ids could be given out twice.
static bool catalog_delta_fits(const struct catalog_delta_head *head, uint64_t version,
                               bool below) {
    return below && version > 0 && version <= head->version;
}

static void catalog_delta_node(struct catalog *self, const struct catalog_delta_head *head,
                               struct codec_reader *r) {
    struct catalog_node node;
    if (catalog__node_decode(r, &node) != STATUS_OK) { return; }
    if (!catalog_delta_fits(head, node.version, node.id.v < head->next_node)) {
        codec_fail(r);
        return;
    }
    if (self == NULL) { return; }
    const struct catalog_node *held = catalog_node(self, node.id);
    if (held != NULL && held->version >= node.version) { return; }
    if (catalog__put_node(self, &node) != STATUS_OK) { codec_fail(r); }
}

static void catalog_delta_keyspace(struct catalog *self, const struct catalog *seen,
                                   const struct catalog_delta_head *head, struct codec_reader *r) {
    struct catalog_keyspace keyspace;
    if (catalog__keyspace_decode(r, &keyspace) != STATUS_OK) { return; }
    const struct catalog_keyspace *held = catalog_keyspace_by_id(seen, keyspace.id);
    const struct catalog_keyspace *named =
        catalog_keyspace_by_name(seen, slice_from_string(keyspace.name));
    if (held != named ||
        !catalog_delta_fits(head, keyspace.version, keyspace.id < head->next_keyspace)) {
        codec_fail(r);
        return;
    }
    if (self == NULL || (held != NULL && held->version >= keyspace.version)) { return; }
    if (catalog__put_keyspace(self, &keyspace) != STATUS_OK) { codec_fail(r); }
}

static void catalog_delta_shard(struct catalog *self, const struct catalog_delta_head *head,
                                struct codec_reader *r) {
    struct shard_descriptor shard = {.id = {0}};
    if (shard_descriptor_decode(r, &shard) != STATUS_OK) { return; }
    bool fits = catalog_delta_fits(head, shard.map_version, shard.id.v < head->next_shard) &&
                shard.replica_count >= 1;
    if (!fits) { codec_fail(r); }
    if (fits && self != NULL) {
        const struct shard_descriptor *held = catalog__shard(self, shard.id);
        if ((held == NULL || held->map_version < shard.map_version) &&
            catalog__put_shard(self, &shard) != STATUS_OK) {
            codec_fail(r);
        }
    }
    shard_descriptor_deinit(&shard);
}

// Reads everything behind the head; `self` NULL = only look. `seen` is the catalogue to compare to.
static enum status catalog_delta_walk(struct catalog *self, const struct catalog *seen,
                                      const struct catalog_delta_head *head,
                                      struct codec_reader *r) {
    uint64_t nodes = codec_get_count(r, 1);
    for (uint64_t i = 0; i < nodes && r->status == STATUS_OK; i++) {
        catalog_delta_node(self, head, r);
    }
    uint64_t keyspaces = codec_get_count(r, 1);
    for (uint64_t i = 0; i < keyspaces && r->status == STATUS_OK; i++) {
        catalog_delta_keyspace(self, seen, head, r);
    }
    uint64_t shards = codec_get_count(r, 1);
    for (uint64_t i = 0; i < shards && r->status == STATUS_OK; i++) {
        catalog_delta_shard(self, head, r);
    }
    return codec_finish(r);
}

enum status catalog_apply_delta(struct catalog *self, struct slice delta) {
    struct codec_reader r;
    codec_reader_init(&r, delta);
    struct catalog_delta_head head = catalog_delta_head(&r);
    struct codec_reader again = r;
    enum status st = catalog_delta_walk(NULL, self, &head, &r);
    if (st != STATUS_OK) { return st; }
    if (self->machine_fed) {
        MARK("catalog.delta.machine_fed");
        return STATUS_OK;
    }
    st = catalog_delta_walk(self, self, &head, &again);
    if (st != STATUS_OK) { return st; }
    if (head.next_node > self->next_node) { self->next_node = head.next_node; }
    if (head.next_keyspace > self->next_keyspace) { self->next_keyspace = head.next_keyspace; }
    if (head.next_shard > self->next_shard) { self->next_shard = head.next_shard; }
    if (head.since <= self->version && head.version > self->version) {
        self->version = head.version;
        shard_map_note_version(self->map, head.version);
    }
    if (head.since > self->version) { MARK("catalog.delta.gap"); }
    return STATUS_OK;
}
