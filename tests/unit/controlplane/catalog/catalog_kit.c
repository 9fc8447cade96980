// SPDX-License-Identifier: Apache-2.0
// Everything goes through the encoded form, as it does in the log.
#include "tests/unit/controlplane/catalog/catalog_kit.h"

#include "dataplane/base/assert.h"

#include <stdio.h>
#include <string.h>

enum { KIT_COMMAND_SIZE_MAX = 17 << 20, KIT_RESULT_SIZE_MAX = 1024 };

struct catalog_register_node kit_node(uint32_t id, uint64_t incarnation) {
    struct catalog_register_node command = {.node = {.id = {id}, .incarnation = incarnation}};
    struct catalog_node *node = &command.node;
    snprintf(node->peer_address, sizeof(node->peer_address), "host%llu:%llu",
             (unsigned long long)incarnation, (unsigned long long)(7000 + incarnation));
    snprintf(node->rpc_address, sizeof(node->rpc_address), "host%llu:%llu",
             (unsigned long long)incarnation, (unsigned long long)(8000 + incarnation));
    snprintf(node->region, sizeof(node->region), "region%llu",
             (unsigned long long)(incarnation % 3));
    snprintf(node->zone, sizeof(node->zone), "a");
    node->latitude_microdegrees = -33865143;
    node->longitude_microdegrees = 151209900;
    return command;
}

struct catalog_create_keyspace kit_keyspace(const char *name, uint32_t shard_count) {
    struct catalog_create_keyspace command = {.shard_count = shard_count};
    snprintf(command.name, sizeof(command.name), "%s", name);
    return command;
}

void kit_encode_node(const struct catalog_register_node *command, struct buf *out) {
    struct codec_writer w;
    buf_init(out, KIT_COMMAND_SIZE_MAX);
    codec_writer_init(&w, out);
    catalog_register_node_encode(&w, command);
    ASSERT(w.status == STATUS_OK);
}

void kit_encode_keyspace(const struct catalog_create_keyspace *command, struct buf *out) {
    struct codec_writer w;
    buf_init(out, KIT_COMMAND_SIZE_MAX);
    codec_writer_init(&w, out);
    catalog_create_keyspace_encode(&w, command);
    ASSERT(w.status == STATUS_OK);
}

struct kit_answer kit_apply(struct catalog *catalog, struct slice command) {
    struct buf result;
    buf_init(&result, KIT_RESULT_SIZE_MAX);
    struct kit_answer answer = {.status = catalog_apply(catalog, command, &result)};
    struct catalog_result decoded;
    enum status st = catalog_result_decode(buf_slice(&result), &decoded);
    ASSERT(st == STATUS_OK);
    answer.id = decoded.id;
    ASSERT(decoded.detail.size < sizeof(answer.detail));
    if (decoded.detail.size > 0) {
        memcpy(answer.detail, decoded.detail.data, decoded.detail.size);
    }
    buf_deinit(&result);
    catalog_check(catalog);
    return answer;
}

struct kit_answer kit_register(struct catalog *catalog,
                               const struct catalog_register_node *command) {
    struct buf encoded;
    kit_encode_node(command, &encoded);
    struct kit_answer answer = kit_apply(catalog, buf_slice(&encoded));
    buf_deinit(&encoded);
    return answer;
}

struct kit_answer kit_create(struct catalog *catalog,
                             const struct catalog_create_keyspace *command) {
    struct buf encoded;
    kit_encode_keyspace(command, &encoded);
    struct kit_answer answer = kit_apply(catalog, buf_slice(&encoded));
    buf_deinit(&encoded);
    return answer;
}

struct kit_answer kit_place(struct catalog *catalog, const struct catalog_place_shard *command) {
    struct buf encoded;
    struct codec_writer w;
    buf_init(&encoded, KIT_COMMAND_SIZE_MAX);
    codec_writer_init(&w, &encoded);
    catalog_place_shard_encode(&w, command);
    struct kit_answer answer = kit_apply(catalog, buf_slice(&encoded));
    buf_deinit(&encoded);
    return answer;
}

struct kit_answer kit_cancel(struct catalog *catalog, uint64_t shard) {
    struct catalog_cancel_shard command = {.shard = {shard}};
    struct buf encoded;
    struct codec_writer w;
    buf_init(&encoded, KIT_COMMAND_SIZE_MAX);
    codec_writer_init(&w, &encoded);
    catalog_cancel_shard_encode(&w, &command);
    struct kit_answer answer = kit_apply(catalog, buf_slice(&encoded));
    buf_deinit(&encoded);
    return answer;
}

struct kit_answer kit_report(struct catalog *catalog, const struct catalog_report_shard *command) {
    struct buf encoded;
    struct codec_writer w;
    buf_init(&encoded, KIT_COMMAND_SIZE_MAX);
    codec_writer_init(&w, &encoded);
    catalog_report_shard_encode(&w, command);
    struct kit_answer answer = kit_apply(catalog, buf_slice(&encoded));
    buf_deinit(&encoded);
    return answer;
}

struct catalog *kit_cluster(uint32_t count) {
    struct catalog *catalog = catalog_create();
    for (uint32_t i = 1; i <= count; i++) {
        struct catalog_register_node command = kit_node(0, i);
        struct kit_answer answer = kit_register(catalog, &command);
        ASSERT(answer.status == STATUS_OK);
    }
    return catalog;
}
