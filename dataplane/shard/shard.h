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
    SHARD_REPLICAS_MAX = 9,
    SHARD_USER_KEY_SIZE_MAX = 4096,  // bytes of a key as the user gives it
    SHARD_KEYSPACE_PREFIX_SIZE = 4,  // big-endian keyspace id before every user key
    SHARD_KEY_SIZE_MAX = SHARD_USER_KEY_SIZE_MAX + SHARD_KEYSPACE_PREFIX_SIZE,
    SHARD_VALUE_SIZE_MAX = 1 << 20,
    SHARD_COMMIT_SIZE_MAX = 16 << 20,
};
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

enum shard_role { SHARD_VOTER, SHARD_LEARNER, SHARD_ROLE_COUNT };

struct shard_replica {
    struct node_id node;
    enum shard_role role;
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
    struct shard_replica replicas[SHARD_REPLICAS_MAX];
};

// Start equals end, and is not empty: such a range holds no key (the catalogue's).
bool shard_descriptor_is_empty(const struct shard_descriptor *self);
// True when both hold at least one key in common; an empty range overlaps nothing.
bool shard_descriptor_overlaps(const struct shard_descriptor *a, const struct shard_descriptor *b);
// The invariants of one descriptor: ids, key sizes, order of the range, replicas without
// repetition.
bool shard_descriptor_check(const struct shard_descriptor *self);
// Copies src into dst (dst must be zeroed or deinitialised); references the keys.
void shard_descriptor_copy(struct shard_descriptor *dst, const struct shard_descriptor *src);
void shard_descriptor_deinit(struct shard_descriptor *self);
bool shard_descriptor_contains(const struct shard_descriptor *self, struct slice key);
// True when [start, end) lies inside the shard and start is one of its keys; an empty end is
// unbounded, an end below start lies nowhere.
bool shard_descriptor_covers(const struct shard_descriptor *self, struct slice start,
                             struct slice end);
bool shard_descriptor_has_node(const struct shard_descriptor *self, struct node_id node);
// (epoch, config_epoch, term) larger: only then may a replace b (control-plane.md, routing rules).
bool shard_descriptor_newer(const struct shard_descriptor *a, const struct shard_descriptor *b);
void shard_descriptor_encode(struct codec_writer *w, const struct shard_descriptor *self);
// Fills *out on success, which the caller then owns; STATUS_CORRUPT otherwise (sticky in r).
NODISCARD enum status shard_descriptor_decode(struct codec_reader *r, struct shard_descriptor *out);
