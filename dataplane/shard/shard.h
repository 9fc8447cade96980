// SPDX-License-Identifier: Apache-2.0
// shard.h - identities, key ranges and descriptors: what a shard is, as values.
// Invariants: a range is [start, end) in byte order, an empty end means unbounded; epoch,
//             config_epoch and term only grow for one shard.
// Ownership:  descriptors own their keys (inline refcounted bytes); ids are values.
// Thread:     values; a descriptor is confined to whoever holds it, its bytes may be shared.
// See:        dataplane/shard/README.md; tests/unit/dataplane/shard/shard_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/status.h"
#include "dataplane/codec/codec.h"
#include "dataplane/hlc/hlc.h"

#include <stdbool.h>
#include <stdint.h>

struct shard_id {
    uint64_t v;  // 0 is never a shard
};
struct node_id {
    uint32_t v;  // 0 is never a node; never reused
};
struct cluster_id {
    uint8_t v[16];
};
// 128 bits chosen by the client; the idempotency key of a commit. All zero is refused.
struct txn_id {
    uint8_t v[16];
};

enum {
    SHARD_REPLICAS_MAX = 9,  // of one configuration, voters and learners together
    SHARD_MEMBERS_MAX = 2 * SHARD_REPLICAS_MAX,  // while two configurations overlap
    SHARD_USER_KEY_SIZE_MAX = 4096,              // bytes of a key as the user gives it
    SHARD_KEYSPACE_PREFIX_SIZE = 4,              // big-endian keyspace id before every user key
    SHARD_KEY_SIZE_MAX = SHARD_USER_KEY_SIZE_MAX + SHARD_KEYSPACE_PREFIX_SIZE,
    SHARD_VALUE_SIZE_MAX = 1 << 20,
    SHARD_COMMIT_SIZE_MAX = 16 << 20,
};

// What stands before every user key of the keyspace.
static inline void shard_keyspace_prefix(uint32_t keyspace,
                                         uint8_t out[SHARD_KEYSPACE_PREFIX_SIZE]) {
    for (uint32_t i = 0; i < SHARD_KEYSPACE_PREFIX_SIZE; i++) {
        out[i] = (uint8_t)(keyspace >> (8 * (SHARD_KEYSPACE_PREFIX_SIZE - 1 - i)));
    }
}
// The catalogue's own Raft group. Its range is empty: no user key lives there.
#define SHARD_CATALOG ((struct shard_id){1})

static inline bool shard_id_equal(struct shard_id a, struct shard_id b) {
    return a.v == b.v;
}
static inline bool node_id_equal(struct node_id a, struct node_id b) {
    return a.v == b.v;
}
bool cluster_id_equal(struct cluster_id a, struct cluster_id b);
bool txn_id_equal(struct txn_id a, struct txn_id b);
bool txn_id_is_zero(struct txn_id id);
// An id that begins with the time: 48 bits of milliseconds, big-endian, then 80 of the random bits.
// Ids
// made around the same time lie beside one another in the store, which makes keeping outcomes
// cheap;
// that the clock may be wrong or repeat costs nothing else.
struct txn_id txn_id_make(uint64_t wall_ms, const uint64_t random[2]);

// What a member is in the newer configuration; raft_member_role as the catalogue tells it.
enum shard_role {
    SHARD_VOTER,
    SHARD_LEARNER,  // holds the data, counts for nothing
    SHARD_LEAVING,  // member of the older of two overlapping configurations only
    SHARD_ROLE_COUNT
};

// One member. Its identity is (node, incarnation): a node that was removed and comes back is
// another replica.
struct shard_replica {
    struct node_id node;
    enum shard_role role;
    uint64_t incarnation;  // config_epoch of the change that added it; 1 for the first members
    bool outgoing;         // voter of the older configuration, while two overlap (joint)
};

// What the control plane wants of one node.
struct shard_target {
    struct node_id node;
    enum shard_role role;  // voter or learner
};

struct shard_descriptor {
    struct shard_id id;
    struct bytes *start;  // full key, never NULL
    struct bytes *end;  // full key, size 0 = unbounded, never NULL; equal to start = no key at all
    uint64_t epoch;     // range changes (split, merge)
    uint64_t config_epoch;  // membership changes
    uint64_t term;          // of the leader hint
    struct node_id leader;  // hint; 0 = unknown
    uint64_t map_version;   // catalogue version of its last change; orders deltas
    uint32_t replica_count;
    struct shard_replica replicas[SHARD_MEMBERS_MAX];
    // Intent: the members that the shard is to have. None = as it is, no operation is under way.
    uint32_t target_count;
    struct shard_target targets[SHARD_REPLICAS_MAX];
    // config_epoch when the operation was ordered: members with a larger incarnation were added by
    // it. 0 without targets.
    uint64_t targets_epoch;
};

// Start equals end, and is not empty: such a range holds no key (the catalogue's).
bool shard_descriptor_is_empty(const struct shard_descriptor *self);
// True when both hold at least one key in common; an empty range overlaps nothing.
bool shard_descriptor_overlaps(const struct shard_descriptor *a, const struct shard_descriptor *b);
// The invariants of one descriptor: ids, key sizes, order of the range, replicas and targets
// without repetition.
bool shard_descriptor_check(const struct shard_descriptor *self);
// Copies src into dst (dst must be zeroed or deinitialised); references the keys.
void shard_descriptor_copy(struct shard_descriptor *dst, const struct shard_descriptor *src);
void shard_descriptor_deinit(struct shard_descriptor *self);
bool shard_descriptor_contains(const struct shard_descriptor *self, struct slice key);
// True when [start, end) lies inside the shard and start is one of its keys; an empty end is
// unbounded, an end below start lies nowhere.
bool shard_descriptor_covers(const struct shard_descriptor *self, struct slice start,
                             struct slice end);
// True for any member, leaving ones too.
bool shard_descriptor_has_node(const struct shard_descriptor *self, struct node_id node);
// The member or the target on a node, or NULL.
const struct shard_replica *shard_descriptor_replica(const struct shard_descriptor *self,
                                                     struct node_id node);
const struct shard_target *shard_descriptor_target(const struct shard_descriptor *self,
                                                   struct node_id node);
// Two configurations overlap.
bool shard_descriptor_is_joint(const struct shard_descriptor *self);
// The members are what the targets want, no more and no less, and nothing overlaps. False without
// targets.
bool shard_descriptor_is_reached(const struct shard_descriptor *self);
// (epoch, config_epoch, term) larger: only then may a replace b (control-plane.md, routing rules).
bool shard_descriptor_newer(const struct shard_descriptor *a, const struct shard_descriptor *b);
// Encoded in format 2. Format 1, which knew neither incarnations nor overlapping configurations nor
// targets, is still decoded: its replicas are first members.
void shard_descriptor_encode(struct codec_writer *w, const struct shard_descriptor *self);
// Fills *out on success, which the caller then owns; STATUS_CORRUPT otherwise (sticky in r).
NODISCARD enum status shard_descriptor_decode(struct codec_reader *r, struct shard_descriptor *out);
