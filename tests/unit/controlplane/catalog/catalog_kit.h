// SPDX-License-Identifier: Apache-2.0
// catalog_kit.h - commands for tests of the catalogue, in one line each.
// Invariants: equal arguments give equal commands.
// Ownership:  the caller owns buffers; a kit_answer owns its text.
// Thread:     one thread.
// See:        tests/unit/controlplane/catalog/catalog_kit.c
#pragma once

#include "controlplane/catalog/catalog.h"

struct kit_answer {
    enum status status;
    uint64_t id;
    char detail[ERR_MESSAGE_SIZE];
};

// A sound node with that id and incarnation, listening on port 7000 + incarnation.
struct catalog_register_node kit_node(uint32_t id, uint64_t incarnation);
// A sound keyspace with shard_count even shards.
struct catalog_create_keyspace kit_keyspace(const char *name, uint32_t shard_count);

// Encoded commands; *out is initialised here.
void kit_encode_node(const struct catalog_register_node *command, struct buf *out);
void kit_encode_keyspace(const struct catalog_create_keyspace *command, struct buf *out);

struct kit_answer kit_apply(struct catalog *catalog, struct slice command);
struct kit_answer kit_register(struct catalog *catalog,
                               const struct catalog_register_node *command);
struct kit_answer kit_create(struct catalog *catalog,
                             const struct catalog_create_keyspace *command);
struct kit_answer kit_place(struct catalog *catalog, const struct catalog_place_shard *command);
struct kit_answer kit_cancel(struct catalog *catalog, uint64_t shard);
struct kit_answer kit_report(struct catalog *catalog, const struct catalog_report_shard *command);
// A catalogue with `count` registered nodes 1.., without founding members.
struct catalog *kit_cluster(uint32_t count);
