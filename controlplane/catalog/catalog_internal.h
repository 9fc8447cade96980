// SPDX-License-Identifier: Apache-2.0
// catalog_internal.h - what the files of this package share: the state and its building blocks.
// Invariants: nodes, keyspaces and shards are sorted by id; by_name holds the positions of the
//             keyspaces in the order of names; no id reaches its next_ counter.
// Ownership:  as in catalog.h.
// Thread:     as in catalog.h.
// See:        controlplane/catalog/catalog.h
#pragma once

#include "controlplane/catalog/catalog.h"

struct catalog {
    uint64_t version;
    uint32_t next_node;      // ids that the next objects get
    uint32_t next_keyspace;  // likewise
    uint64_t next_shard;     // likewise
    struct catalog_node *nodes;
    uint32_t node_count;
    struct catalog_keyspace *keyspaces;
    uint32_t keyspace_count;
    uint32_t keyspace_capacity;
    uint32_t *by_name;  // keyspace_count positions in keyspaces[], ordered by name
    struct shard_descriptor *shards;
    uint32_t shard_count;
    uint32_t shard_capacity;
    struct shard_map *map;  // derived from shards, plus hints
    bool machine_fed;       // the log is the only source of changes
};

// --- Objects into the state (catalog.c) ---------------------------------------------------------
// Each inserts or replaces by id, and reports RESOURCE_EXHAUSTED when the catalogue is full.
NODISCARD enum status catalog__put_node(struct catalog *self, const struct catalog_node *node);
// CORRUPT when another keyspace has the name.
NODISCARD enum status catalog__put_keyspace(struct catalog *self,
                                            const struct catalog_keyspace *keyspace);
NODISCARD enum status catalog__put_shard(struct catalog *self,
                                         const struct shard_descriptor *descriptor);
struct shard_descriptor *catalog__shard(const struct catalog *self, struct shard_id id);
// Whether the invariants hold; for what a disk gave.
bool catalog__is_sound(const struct catalog *self);
// Back to version 0.
void catalog__reset(struct catalog *self);

// --- Encodings of objects (catalog_object.c) ----------------------------------------------------
// Terminated text of an array of `size` bytes. Never reads beyond the array.
void catalog__put_text(struct codec_writer *w, const char *text, size_t size);
// Fills `size` bytes, padded with NULs; an embedded NUL or a text that does not fit is corrupt.
void catalog__get_text(struct codec_reader *r, char *out, size_t size);
// What a node says of itself: everything but state and version.
void catalog__put_node_self(struct codec_writer *w, const struct catalog_node *node);
void catalog__get_node_self(struct codec_reader *r, struct catalog_node *out);
void catalog__node_encode(struct codec_writer *w, const struct catalog_node *node);
NODISCARD enum status catalog__node_decode(struct codec_reader *r, struct catalog_node *out);
void catalog__keyspace_encode(struct codec_writer *w, const struct catalog_keyspace *keyspace);
NODISCARD enum status catalog__keyspace_decode(struct codec_reader *r,
                                               struct catalog_keyspace *out);

// --- Commands (catalog_command.c) ---------------------------------------------------------------
struct catalog__command {
    enum catalog_command_kind kind;
    struct catalog_register_node register_node;
    struct catalog_create_keyspace create_keyspace;
    struct catalog_place_shard place_shard;
    struct catalog_cancel_shard cancel_shard;
    struct catalog_report_shard report_shard;
    struct slice *splits;  // owned; views into the input
};
// INVALID_ARGUMENT with the reason; deinit is due in every case.
NODISCARD enum status catalog__command_decode(struct slice encoded, struct catalog__command *out,
                                              struct err *err);
void catalog__command_deinit(struct catalog__command *self);

// --- Commands about the members of a shard (catalog_shard.c) ------------------------------------
// The reader's status tells whether the bytes were good.
void catalog__place_shard_decode(struct codec_reader *r, struct catalog_place_shard *out);
void catalog__cancel_shard_decode(struct codec_reader *r, struct catalog_cancel_shard *out);
void catalog__report_shard_decode(struct codec_reader *r, struct catalog_report_shard *out);
NODISCARD enum status catalog__apply_place(struct catalog *self,
                                           const struct catalog_place_shard *command,
                                           struct err *err);
NODISCARD enum status catalog__apply_cancel(struct catalog *self,
                                            const struct catalog_cancel_shard *command,
                                            struct err *err);
NODISCARD enum status catalog__apply_report(struct catalog *self,
                                            const struct catalog_report_shard *command,
                                            struct err *err);
