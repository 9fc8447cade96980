// SPDX-License-Identifier: Apache-2.0
// Design: a command is u8 kind and the fields of its struct. Checks live here and run twice, at the
// gateway (for an early answer) and when the command is applied (because a log entry is input: a
// node of another version may have proposed it).
#include "controlplane/catalog/catalog_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LATITUDE_MICRODEGREES_MAX = 90 * 1000000,
    LONGITUDE_MICRODEGREES_MAX = 180 * 1000000,
    PORT_MAX = 65535,
    PORT_DIGITS_MAX = 5,
    RESULT_DETAIL_SIZE_MAX = ERR_MESSAGE_SIZE,
};

// --- Encoding -----------------------------------------------------------------------------------

void catalog_register_node_encode(struct codec_writer *w,
                                  const struct catalog_register_node *self) {
    codec_put_u8(w, CATALOG_REGISTER_NODE);
    catalog__put_node_self(w, &self->node);
}

void catalog_create_keyspace_encode(struct codec_writer *w,
                                    const struct catalog_create_keyspace *self) {
    codec_put_u8(w, CATALOG_CREATE_KEYSPACE);
    catalog__put_text(w, self->name, sizeof(self->name));
    codec_put_u32(w, self->replicas);
    codec_put_u32(w, self->shard_count);
    codec_put_varint(w, self->split_count);
    for (uint32_t i = 0; i < self->split_count; i++) {
        codec_put_slice(w, self->splits[i]);
    }
}

static void catalog_create_keyspace_decode(struct codec_reader *r, struct catalog__command *out) {
    struct catalog_create_keyspace *create = &out->create_keyspace;
    catalog__get_text(r, create->name, sizeof(create->name));
    create->replicas = codec_get_u32(r);
    create->shard_count = codec_get_u32(r);
    uint64_t count = codec_get_count(r, 1);
    if (count >= CATALOG_KEYSPACE_SHARDS_MAX) { codec_fail(r); }
    if (r->status != STATUS_OK || count == 0) { return; }
    out->splits = mem_alloc_array(count, sizeof(*out->splits));
    for (uint64_t i = 0; i < count; i++) {
        out->splits[i] = codec_get_slice(r, SHARD_USER_KEY_SIZE_MAX);
    }
    create->split_count = (uint32_t)count;
    create->splits = out->splits;
}

enum status catalog__command_decode(struct slice encoded, struct catalog__command *out,
                                    struct err *err) {
    memset(out, 0, sizeof(*out));
    struct codec_reader r;
    codec_reader_init(&r, encoded);
    uint8_t kind = codec_get_u8(&r);
    if (kind == CATALOG_REGISTER_NODE) {
        out->kind = CATALOG_REGISTER_NODE;
        catalog__get_node_self(&r, &out->register_node.node);
    } else if (kind == CATALOG_CREATE_KEYSPACE) {
        out->kind = CATALOG_CREATE_KEYSPACE;
        catalog_create_keyspace_decode(&r, out);
    } else if (kind == CATALOG_PLACE_SHARD) {
        out->kind = CATALOG_PLACE_SHARD;
        catalog__place_shard_decode(&r, &out->place_shard);
    } else if (kind == CATALOG_CANCEL_SHARD) {
        out->kind = CATALOG_CANCEL_SHARD;
        catalog__cancel_shard_decode(&r, &out->cancel_shard);
    } else if (kind == CATALOG_REPORT_SHARD) {
        out->kind = CATALOG_REPORT_SHARD;
        catalog__report_shard_decode(&r, &out->report_shard);
    } else {
        return err_set(err, STATUS_INVALID_ARGUMENT, "command: kind %u is unknown, 1 to %d known",
                       kind, CATALOG_COMMAND_KIND_COUNT - 1);
    }
    if (codec_finish(&r) != STATUS_OK) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "command: the bytes of kind %u do not decode",
                       kind);
    }
    return STATUS_OK;
}

void catalog__command_deinit(struct catalog__command *self) {
    mem_free(self->splits);
    self->splits = NULL;
}

enum status catalog_result_decode(struct slice encoded, struct catalog_result *out) {
    struct codec_reader r;
    codec_reader_init(&r, encoded);
    struct catalog_result result = {.id = codec_get_varint(&r)};
    result.detail = codec_get_slice(&r, RESULT_DETAIL_SIZE_MAX);
    enum status st = codec_finish(&r);
    if (st == STATUS_OK) { *out = result; }
    return st;
}

// --- Checks -------------------------------------------------------------------------------------

static enum status catalog_check_text(const char *field, const char *text, size_t size,
                                      struct err *err) {
    size_t length = strnlen(text, size);
    if (length == size) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%s: longer than the %zu bytes allowed", field,
                       size - 1);
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] <= 0x20 || text[i] > 0x7e) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "%s: byte %zu is 0x%02x; printable ASCII without spaces is allowed",
                           field, i, (unsigned char)text[i]);
        }
    }
    return STATUS_OK;
}

static bool catalog_is_port(const char *text) {
    size_t length = strlen(text);
    if (length == 0 || length > PORT_DIGITS_MAX || strspn(text, "0123456789") != length) {
        return false;
    }
    long port = strtol(text, NULL, 10);
    return port >= 1 && port <= PORT_MAX;
}

static enum status catalog_check_address(const char *field, const char *text, struct err *err) {
    enum status st = catalog_check_text(field, text, CATALOG_ADDRESS_SIZE_MAX, err);
    if (st != STATUS_OK) { return st; }
    // The last colon parts host and port, since an IPv6 host has colons of its own.
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || !catalog_is_port(colon + 1)) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "%s: \"%.64s\" is not host:port with a port from 1 to %d", field, text,
                       PORT_MAX);
    }
    return STATUS_OK;
}

static enum status catalog_check_degrees(const char *field, int32_t value, int32_t max,
                                         struct err *err) {
    if (value >= -max && value <= max) { return STATUS_OK; }
    return err_set(err, STATUS_INVALID_ARGUMENT, "%s: %d microdegrees, between %d and %d allowed",
                   field, value, -max, max);
}

enum status catalog_register_node_check(const struct catalog_register_node *self, struct err *err) {
    const struct catalog_node *node = &self->node;
    if (node->incarnation == 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "incarnation: 0 is no incarnation");
    }
    enum status st = catalog_check_address("peer_address", node->peer_address, err);
    if (st != STATUS_OK) { return st; }
    st = catalog_check_address("rpc_address", node->rpc_address, err);
    if (st != STATUS_OK) { return st; }
    st = catalog_check_text("region", node->region, sizeof(node->region), err);
    if (st != STATUS_OK) { return st; }
    st = catalog_check_text("zone", node->zone, sizeof(node->zone), err);
    if (st != STATUS_OK) { return st; }
    st = catalog_check_degrees("latitude", node->latitude_microdegrees, LATITUDE_MICRODEGREES_MAX,
                               err);
    if (st != STATUS_OK) { return st; }
    return catalog_check_degrees("longitude", node->longitude_microdegrees,
                                 LONGITUDE_MICRODEGREES_MAX, err);
}

static enum status catalog_check_name(const struct catalog_create_keyspace *self, struct err *err) {
    size_t length = strnlen(self->name, sizeof(self->name));
    if (length == 0 || length > CATALOG_KEYSPACE_NAME_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "name: %zu bytes, between 1 and %d allowed",
                       length, CATALOG_KEYSPACE_NAME_SIZE_MAX);
    }
    for (size_t i = 0; i < length; i++) {
        char c = self->name[i];
        bool allowed = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!allowed) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "name: byte %zu is 0x%02x; only a-z, 0-9, _ and - are allowed", i,
                           (unsigned char)c);
        }
    }
    return STATUS_OK;
}

static enum status catalog_check_splits(const struct catalog_create_keyspace *self,
                                        struct err *err) {
    size_t total = 0;
    for (uint32_t i = 0; i < self->split_count; i++) {
        struct slice split = self->splits[i];
        if (split.size == 0 || split.size > SHARD_USER_KEY_SIZE_MAX) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "splits[%u]: %zu bytes, between 1 and %d allowed", i, split.size,
                           SHARD_USER_KEY_SIZE_MAX);
        }
        if (i > 0 && slice_compare(self->splits[i - 1], split) >= 0) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "splits[%u]: not above splits[%u]; split keys must ascend", i, i - 1);
        }
        total += split.size;
    }
    if (total > CATALOG_SPLITS_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "splits: %zu bytes together, at most %d",
                       total, CATALOG_SPLITS_SIZE_MAX);
    }
    return STATUS_OK;
}

enum status catalog_create_keyspace_check(const struct catalog_create_keyspace *self,
                                          struct err *err) {
    enum status st = catalog_check_name(self, err);
    if (st != STATUS_OK) { return st; }
    if (self->replicas > SHARD_REPLICAS_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "replicas: %u, at most %d", self->replicas,
                       SHARD_REPLICAS_MAX);
    }
    if (self->replicas != 0 && self->replicas % 2 == 0) {
        // An even group needs a larger majority and survives no more failures than one less.
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "replicas: %u is even, an odd number is needed", self->replicas);
    }
    if (self->split_count >= CATALOG_KEYSPACE_SHARDS_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "splits: %u, at most %d", self->split_count,
                       CATALOG_KEYSPACE_SHARDS_MAX - 1);
    }
    if (self->split_count == 0 &&
        (self->shard_count == 0 || self->shard_count > CATALOG_KEYSPACE_SHARDS_MAX)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "shard_count: %u, between 1 and %d allowed",
                       self->shard_count, CATALOG_KEYSPACE_SHARDS_MAX);
    }
    return catalog_check_splits(self, err);
}
