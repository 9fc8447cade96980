// SPDX-License-Identifier: Apache-2.0
// Keys of a descriptor are shared blocks: a descriptor is copied into every replica, map and reply,
// and its keys never change. What the decoder accepts is exactly what shard_descriptor_check says,
// which is also asserted before encoding: the two ends cannot drift apart.
#include "dataplane/shard/shard.h"

#include "dataplane/base/assert.h"

#include <assert.h>
#include <string.h>

bool cluster_id_equal(struct cluster_id a, struct cluster_id b) {
    return memcmp(a.v, b.v, sizeof(a.v)) == 0;
}

bool txn_id_equal(struct txn_id a, struct txn_id b) {
    return memcmp(a.v, b.v, sizeof(a.v)) == 0;
}

bool txn_id_is_zero(struct txn_id id) {
    return txn_id_equal(id, (struct txn_id){{0}});
}

struct txn_id txn_id_make(uint64_t wall_ms, const uint64_t random[2]) {
    enum { TIME_SIZE = 6 };
    struct txn_id id;
    static_assert(sizeof(id.v) == 2 * sizeof(random[0]), "a transaction id is 128 bits");
    memcpy(id.v, random, sizeof(id.v));
    for (unsigned i = 0; i < TIME_SIZE; i++) {
        id.v[i] = (uint8_t)(wall_ms >> (8 * (TIME_SIZE - 1 - i)));
    }
    id.v[sizeof(id.v) - 1] |= 1;  // never all zero
    return id;
}

static struct slice start_of(const struct shard_descriptor *self) {
    ASSERT(self->start != NULL);
    return bytes_slice(self->start);
}

static struct slice end_of(const struct shard_descriptor *self) {
    ASSERT(self->end != NULL);
    return bytes_slice(self->end);
}

// Whether a position lies below an end, of which size 0 means unbounded.
static bool below_end(struct slice key, struct slice end) {
    return end.size == 0 || slice_compare(key, end) < 0;
}

static bool replicas_are_sound(const struct shard_descriptor *self) {
    if (self->replica_count > SHARD_MEMBERS_MAX) { return false; }
    uint32_t voters = 0;
    uint32_t outgoing = 0;
    for (uint32_t i = 0; i < self->replica_count; i++) {
        const struct shard_replica *replica = &self->replicas[i];
        if (replica->node.v == 0 || (unsigned)replica->role >= SHARD_ROLE_COUNT ||
            replica->incarnation == 0) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (node_id_equal(self->replicas[j].node, replica->node)) { return false; }
        }
        voters += replica->role == SHARD_VOTER;
        outgoing += replica->outgoing;
    }
    return voters <= SHARD_REPLICAS_MAX && outgoing <= SHARD_REPLICAS_MAX;
}

static bool targets_are_sound(const struct shard_descriptor *self) {
    if (self->target_count > SHARD_REPLICAS_MAX) { return false; }
    for (uint32_t i = 0; i < self->target_count; i++) {
        const struct shard_target *target = &self->targets[i];
        if (target->node.v == 0 || (target->role != SHARD_VOTER && target->role != SHARD_LEARNER)) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (node_id_equal(self->targets[j].node, target->node)) { return false; }
        }
    }
    return (self->target_count == 0) == (self->targets_epoch == 0);
}

bool shard_descriptor_check(const struct shard_descriptor *self) {
    if (self->id.v == 0 || self->start == NULL || self->end == NULL ||
        self->start->size > SHARD_KEY_SIZE_MAX || self->end->size > SHARD_KEY_SIZE_MAX) {
        return false;
    }
    const bool ordered = self->end->size == 0 || slice_compare(start_of(self), end_of(self)) <= 0;
    return ordered && replicas_are_sound(self) && targets_are_sound(self);
}

bool shard_descriptor_is_empty(const struct shard_descriptor *self) {
    return self->end->size > 0 && slice_equal(start_of(self), end_of(self));
}

bool shard_descriptor_overlaps(const struct shard_descriptor *a, const struct shard_descriptor *b) {
    return !shard_descriptor_is_empty(a) && !shard_descriptor_is_empty(b) &&
           below_end(start_of(a), end_of(b)) && below_end(start_of(b), end_of(a));
}

void shard_descriptor_copy(struct shard_descriptor *dst, const struct shard_descriptor *src) {
    ASSERT(dst != src);
    ASSERT(dst->start == NULL && dst->end == NULL);
    *dst = *src;
    (void)bytes_ref(dst->start);
    (void)bytes_ref(dst->end);
}

void shard_descriptor_deinit(struct shard_descriptor *self) {
    bytes_unref(self->start);
    bytes_unref(self->end);
    *self = (struct shard_descriptor){0};
}

bool shard_descriptor_contains(const struct shard_descriptor *self, struct slice key) {
    return slice_compare(start_of(self), key) <= 0 && below_end(key, end_of(self));
}

bool shard_descriptor_covers(const struct shard_descriptor *self, struct slice start,
                             struct slice end) {
    if (!shard_descriptor_contains(self, start)) { return false; }
    const struct slice own_end = end_of(self);
    if (end.size == 0) { return own_end.size == 0; }
    return slice_compare(start, end) <= 0 &&
           (own_end.size == 0 || slice_compare(end, own_end) <= 0);
}

const struct shard_replica *shard_descriptor_replica(const struct shard_descriptor *self,
                                                     struct node_id node) {
    ASSERT(self->replica_count <= SHARD_MEMBERS_MAX);
    for (uint32_t i = 0; i < self->replica_count; i++) {
        if (node_id_equal(self->replicas[i].node, node)) { return &self->replicas[i]; }
    }
    return NULL;
}

bool shard_descriptor_has_node(const struct shard_descriptor *self, struct node_id node) {
    return shard_descriptor_replica(self, node) != NULL;
}

const struct shard_target *shard_descriptor_target(const struct shard_descriptor *self,
                                                   struct node_id node) {
    ASSERT(self->target_count <= SHARD_REPLICAS_MAX);
    for (uint32_t i = 0; i < self->target_count; i++) {
        if (node_id_equal(self->targets[i].node, node)) { return &self->targets[i]; }
    }
    return NULL;
}

bool shard_descriptor_is_joint(const struct shard_descriptor *self) {
    for (uint32_t i = 0; i < self->replica_count; i++) {
        if (self->replicas[i].outgoing) { return true; }
    }
    return false;
}

bool shard_descriptor_is_reached(const struct shard_descriptor *self) {
    if (self->target_count == 0 || self->target_count != self->replica_count) { return false; }
    for (uint32_t i = 0; i < self->replica_count; i++) {
        const struct shard_replica *replica = &self->replicas[i];
        const struct shard_target *target = shard_descriptor_target(self, replica->node);
        if (replica->outgoing || target == NULL || target->role != replica->role) { return false; }
    }
    return true;
}

bool shard_descriptor_newer(const struct shard_descriptor *a, const struct shard_descriptor *b) {
    if (a->epoch != b->epoch) { return a->epoch > b->epoch; }
    if (a->config_epoch != b->config_epoch) { return a->config_epoch > b->config_epoch; }
    return a->term > b->term;
}

// Format 1 began with the id, which is never 0; so a 0 there tells that a format follows.
enum { FORMAT_FIRST = 1, FORMAT_MEMBERS = 2, ROLE_OUTGOING = 0x80 };

static void put_members(struct codec_writer *w, const struct shard_descriptor *self) {
    codec_put_varint(w, self->replica_count);
    for (uint32_t i = 0; i < self->replica_count; i++) {
        const struct shard_replica *replica = &self->replicas[i];
        codec_put_varint(w, replica->node.v);
        codec_put_u8(w, (uint8_t)(replica->role | (replica->outgoing ? ROLE_OUTGOING : 0)));
        codec_put_varint(w, replica->incarnation);
    }
    codec_put_varint(w, self->target_count);
    for (uint32_t i = 0; i < self->target_count; i++) {
        codec_put_varint(w, self->targets[i].node.v);
        codec_put_u8(w, (uint8_t)self->targets[i].role);
    }
    if (self->target_count > 0) { codec_put_varint(w, self->targets_epoch); }
}

void shard_descriptor_encode(struct codec_writer *w, const struct shard_descriptor *self) {
    ASSERT(shard_descriptor_check(self));
    codec_put_varint(w, 0);
    codec_put_u8(w, FORMAT_MEMBERS);
    codec_put_varint(w, self->id.v);
    codec_put_slice(w, start_of(self));
    codec_put_slice(w, end_of(self));
    codec_put_varint(w, self->epoch);
    codec_put_varint(w, self->config_epoch);
    codec_put_varint(w, self->term);
    codec_put_varint(w, self->leader.v);
    codec_put_varint(w, self->map_version);
    put_members(w, self);
}

static struct node_id get_node(struct codec_reader *r) {
    const uint64_t v = codec_get_varint(r);
    if (v > UINT32_MAX) {
        codec_fail(r);
        return (struct node_id){0};
    }
    return (struct node_id){(uint32_t)v};
}

static void get_replicas(struct codec_reader *r, uint8_t format, struct shard_descriptor *out) {
    const bool first = format == FORMAT_FIRST;
    const uint64_t count = codec_get_count(r, first ? 2 : 3);
    if (count > (first ? SHARD_REPLICAS_MAX : SHARD_MEMBERS_MAX)) {
        codec_fail(r);
        return;
    }
    for (uint32_t i = 0; i < (uint32_t)count; i++) {
        struct shard_replica *replica = &out->replicas[i];
        replica->node = get_node(r);
        const uint8_t role = codec_get_u8(r);
        replica->outgoing = !first && (role & ROLE_OUTGOING) != 0;
        replica->role = (enum shard_role)(first ? role : role & ~ROLE_OUTGOING);
        replica->incarnation = first ? 1 : codec_get_varint(r);
    }
    out->replica_count = (uint32_t)count;
}

static void get_targets(struct codec_reader *r, struct shard_descriptor *out) {
    enum { TARGET_SIZE_MIN = 2 };
    const uint64_t count = codec_get_count(r, TARGET_SIZE_MIN);
    if (count > SHARD_REPLICAS_MAX) {
        codec_fail(r);
        return;
    }
    for (uint32_t i = 0; i < (uint32_t)count; i++) {
        out->targets[i].node = get_node(r);
        out->targets[i].role = (enum shard_role)codec_get_u8(r);
    }
    out->target_count = (uint32_t)count;
    if (count > 0) { out->targets_epoch = codec_get_varint(r); }
}

enum status shard_descriptor_decode(struct codec_reader *r, struct shard_descriptor *out) {
    struct shard_descriptor read = {0};
    uint8_t format = FORMAT_FIRST;
    read.id.v = codec_get_varint(r);
    if (r->status == STATUS_OK && read.id.v == 0) {
        format = codec_get_u8(r);
        if (format != FORMAT_MEMBERS) { codec_fail(r); }
        read.id.v = codec_get_varint(r);
    }
    const struct slice start = codec_get_slice(r, SHARD_KEY_SIZE_MAX);
    const struct slice end = codec_get_slice(r, SHARD_KEY_SIZE_MAX);
    read.epoch = codec_get_varint(r);
    read.config_epoch = codec_get_varint(r);
    read.term = codec_get_varint(r);
    read.leader = get_node(r);
    read.map_version = codec_get_varint(r);
    get_replicas(r, format, &read);
    if (format != FORMAT_FIRST) { get_targets(r, &read); }
    if (r->status != STATUS_OK) { return r->status; }
    read.start = bytes_copy(start);
    read.end = bytes_copy(end);
    if (!shard_descriptor_check(&read)) {
        shard_descriptor_deinit(&read);
        codec_fail(r);
        return STATUS_CORRUPT;
    }
    *out = read;  // the references move
    return STATUS_OK;
}
