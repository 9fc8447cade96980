// SPDX-License-Identifier: Apache-2.0
// Design: one encoding per object, shared by commands, deltas, digests and the store, so that a
// field added in one place cannot be forgotten in another. Shards use shard_descriptor_encode.
#include "controlplane/catalog/catalog_internal.h"
#include "dataplane/base/assert.h"

#include <string.h>

void catalog__put_text(struct codec_writer *w, const char *text, size_t size) {
    codec_put_slice(w, slice_make(text, strnlen(text, size)));
}

void catalog__get_text(struct codec_reader *r, char *out, size_t size) {
    struct slice text = codec_get_slice(r, size - 1);
    memset(out, 0, size);
    if (text.size == 0) { return; }
    ASSERT(text.size < size);
    if (memchr(text.data, 0, text.size) != NULL) {
        codec_fail(r);
        return;
    }
    memcpy(out, text.data, text.size);
}

void catalog__put_node_self(struct codec_writer *w, const struct catalog_node *node) {
    codec_put_u32(w, node->id.v);
    codec_put_u64(w, node->incarnation);
    catalog__put_text(w, node->peer_address, sizeof(node->peer_address));
    catalog__put_text(w, node->rpc_address, sizeof(node->rpc_address));
    catalog__put_text(w, node->region, sizeof(node->region));
    catalog__put_text(w, node->zone, sizeof(node->zone));
    codec_put_u32(w, (uint32_t)node->latitude_microdegrees);
    codec_put_u32(w, (uint32_t)node->longitude_microdegrees);
}

void catalog__get_node_self(struct codec_reader *r, struct catalog_node *out) {
    out->id.v = codec_get_u32(r);
    out->incarnation = codec_get_u64(r);
    catalog__get_text(r, out->peer_address, sizeof(out->peer_address));
    catalog__get_text(r, out->rpc_address, sizeof(out->rpc_address));
    catalog__get_text(r, out->region, sizeof(out->region));
    catalog__get_text(r, out->zone, sizeof(out->zone));
    // Two's complement on every compiler that builds this (gcc and clang define it so).
    out->latitude_microdegrees = (int32_t)codec_get_u32(r);
    out->longitude_microdegrees = (int32_t)codec_get_u32(r);
}

void catalog__node_encode(struct codec_writer *w, const struct catalog_node *node) {
    catalog__put_node_self(w, node);
    codec_put_u8(w, (uint8_t)node->state);
    codec_put_varint(w, node->version);
}

enum status catalog__node_decode(struct codec_reader *r, struct catalog_node *out) {
    struct catalog_node node = {.id = {0}};
    catalog__get_node_self(r, &node);
    uint8_t state = codec_get_u8(r);
    node.version = codec_get_varint(r);
    if (node.id.v == 0 || node.id.v == UINT32_MAX || state >= CATALOG_NODE_STATE_COUNT) {
        codec_fail(r);
    }
    if (r->status != STATUS_OK) { return r->status; }
    node.state = (enum catalog_node_state)state;
    *out = node;
    return STATUS_OK;
}

void catalog__keyspace_encode(struct codec_writer *w, const struct catalog_keyspace *keyspace) {
    codec_put_u32(w, keyspace->id);
    catalog__put_text(w, keyspace->name, sizeof(keyspace->name));
    codec_put_u32(w, keyspace->replicas);
    codec_put_varint(w, keyspace->version);
}

enum status catalog__keyspace_decode(struct codec_reader *r, struct catalog_keyspace *out) {
    struct catalog_keyspace keyspace = {.id = codec_get_u32(r)};
    catalog__get_text(r, keyspace.name, sizeof(keyspace.name));
    keyspace.replicas = codec_get_u32(r);
    keyspace.version = codec_get_varint(r);
    if (keyspace.id == 0 || keyspace.id == UINT32_MAX || keyspace.name[0] == '\0' ||
        keyspace.replicas == 0 || keyspace.replicas > SHARD_REPLICAS_MAX) {
        codec_fail(r);
    }
    if (r->status != STATUS_OK) { return r->status; }
    *out = keyspace;
    return STATUS_OK;
}
