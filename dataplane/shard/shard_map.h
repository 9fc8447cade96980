// SPDX-License-Identifier: Apache-2.0
// shard_map.h - the versioned map from key to shard descriptor, as every node and client keeps it.
// Invariants: ranges in the map never overlap; a descriptor is replaced only by a newer one;
//             version is the catalogue version up to which nothing is missing, and grows only by
//             what is complete: a delta applied to its end, or shard_map_note_version. A descriptor
//             learned on the side (STALE_SHARD_MAP) does not advance it, or the changes between
//             would never be asked for.
// Ownership:  the map owns its descriptors; pointers returned are valid until the next change.
// Thread:     confined to its owner.
// See:        dataplane/shard/README.md; control-plane.md "Who is right";
//             tests/unit/dataplane/shard/shard_map_test.c
#pragma once

#include "dataplane/shard/shard.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shard_map;

struct shard_map *shard_map_create(void);
void shard_map_destroy(struct shard_map *self);
uint64_t shard_map_version(const struct shard_map *self);
size_t shard_map_count(const struct shard_map *self);
// Takes a copy when it is newer than what is held for that shard id and for every range it
// overlaps; true when taken. Older descriptors that a newer one overlaps are dropped. What stays
// takes the largest map_version of all involved, so that deltas made from this map leave nothing
// out, and a leader hint of a later term stays with its shard if the leader still is a member. The
// version of the map stays: the catalogue, whose map is complete by definition, calls
// shard_map_note_version after it.
bool shard_map_put(struct shard_map *self, const struct shard_descriptor *descriptor);
// Leader hint of a shard, unless its term is older than the one held; unknown shards are ignored.
// node 0 forgets the leader of that very term.
void shard_map_note_leader(struct shard_map *self, struct shard_id id, struct node_id leader,
                           uint64_t term);
// Nothing is missing up to `version`: advances the version, never backwards.
void shard_map_note_version(struct shard_map *self, uint64_t version);
// The shard that holds key, or NULL for a hole. O(log n).
const struct shard_descriptor *shard_map_find(const struct shard_map *self, struct slice key);
const struct shard_descriptor *shard_map_by_id(const struct shard_map *self, struct shard_id id);
// In key order: the first descriptor whose end lies beyond key (the one holding it, or the next
// after a hole), or NULL.
const struct shard_descriptor *shard_map_at_or_after(const struct shard_map *self,
                                                     struct slice key);
// Appends varint version, varint count, then every descriptor with map_version > since.
void shard_map_encode_delta(const struct shard_map *self, uint64_t since, struct codec_writer *w);
// Applies such a delta; STATUS_CORRUPT leaves the map as far as it was applied (each descriptor is
// independent) and at its old version, so that the same delta is asked for again.
NODISCARD enum status shard_map_apply_delta(struct shard_map *self, struct codec_reader *r);
// O(n) sweep of the invariants.
bool shard_map_check(const struct shard_map *self);
