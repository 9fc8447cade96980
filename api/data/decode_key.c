// SPDX-License-Identifier: Apache-2.0
// The parts that all requests have: a keyspace, keys behind its prefix, transaction ids. Texts name
// the bound; keys themselves are never repeated in them.
#include "api/data/data_internal.h"
#include "dataplane/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum status data__refuse(struct data_refusal *out, enum status st, const char *field,
                         uint64_t limit, const char *format, ...) {
    ASSERT(st != STATUS_OK);
    va_list args;
    va_start(args, format);
    out->status = st;
    out->limit = limit;
    out->err.status = st;
    (void)snprintf(out->field, sizeof(out->field), "%s", field == NULL ? "" : field);
    (void)vsnprintf(out->err.message, sizeof(out->err.message), format, args);
    va_end(args);
    return st;
}

struct rpc_error data__refusal_error(const struct data_refusal *self) {
    return (struct rpc_error){
        .status = self->status,
        .field = self->field[0] == 0 ? NULL : self->field,
        .limit = self->limit,
        .message = slice_from_string(self->err.message),
    };
}

enum status data__garbage(struct data_refusal *refusal) {
    return data__refuse(refusal, STATUS_INVALID_ARGUMENT, NULL, 0,
                        "the request does not decode as protobuf of its type");
}

enum status data__get_consistency(struct proto_reader *r, const struct proto_field *field,
                                  struct data_common *common, struct data_refusal *refusal) {
    uint64_t value = proto_get_uint(r, field);
    if (value >= COMMAND_CONSISTENCY_COUNT) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "consistency",
                            COMMAND_CONSISTENCY_COUNT - 1, "unknown consistency");
    }
    common->snapshot.consistency = (enum command_consistency)value;
    return STATUS_OK;
}

enum status data__check_snapshot(const struct command_snapshot *snapshot,
                                 struct data_refusal *refusal) {
    const enum status st = command_snapshot_check(snapshot, &refusal->err);
    if (st == STATUS_OK) { return st; }
    const bool at = snapshot->consistency == COMMAND_AT;
    char message[ERR_MESSAGE_SIZE];
    (void)snprintf(message, sizeof(message), "%s", refusal->err.message);
    return data__refuse(refusal, st, at ? "at" : "max_staleness_us",
                        at ? 0 : COMMAND_STALENESS_US_MAX, "%s", message);
}

enum status data__keyspace(struct data_scratch *scratch, struct slice name, uint32_t id,
                           uint32_t *out_id, struct data_refusal *refusal) {
    if ((name.size == 0) == (id == 0)) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "keyspace", 0,
                            "exactly one of keyspace and keyspace_id must be given");
    }
    if (scratch->directory == NULL) {
        return data__refuse(refusal, STATUS_UNAVAILABLE, NULL, 0,
                            "the node does not know the keyspaces yet");
    }
    uint32_t found = id;
    if (name.size > 0) {
        found = directory_find(scratch->directory, name);
    } else if (!directory_has(scratch->directory, id)) {
        found = 0;
    }
    if (found == 0) {
        return data__refuse(refusal, STATUS_NOT_FOUND, name.size > 0 ? "keyspace" : "keyspace_id",
                            0, "there is no such keyspace");
    }
    *out_id = found;
    return STATUS_OK;
}

// A key takes two bytes of the request or more, so prefixes add at most twice its size; two bounds
// of a scan may be empty and cost nothing there.
enum status data__room_for_keys(struct data_scratch *scratch, size_t request_size) {
    buf_reset(&scratch->full_keys);
    return buf_reserve(&scratch->full_keys, 3 * request_size + 4 * SHARD_KEYSPACE_PREFIX_SIZE);
}

struct slice data__full_key(struct data_scratch *scratch, uint32_t keyspace, struct slice key) {
    uint8_t prefix[SHARD_KEYSPACE_PREFIX_SIZE];
    shard_keyspace_prefix(keyspace, prefix);
    struct buf *keys = &scratch->full_keys;
    const uint8_t *before = keys->data;
    const size_t at = keys->size;
    enum status st = buf_append(keys, slice_make(prefix, sizeof(prefix)));
    ASSERT(st == STATUS_OK);
    st = buf_append(keys, key);
    ASSERT(st == STATUS_OK && keys->data == before);
    return slice_make(keys->data + at, sizeof(prefix) + key.size);
}

enum status data__check_key(struct slice key, const char *field, struct data_refusal *refusal) {
    if (key.size == 0) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, field, SHARD_USER_KEY_SIZE_MAX,
                            "the key is empty, it has 1 to %d bytes", SHARD_USER_KEY_SIZE_MAX);
    }
    if (key.size > SHARD_USER_KEY_SIZE_MAX) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, field, SHARD_USER_KEY_SIZE_MAX,
                            "the key has %zu bytes, at most %d", key.size, SHARD_USER_KEY_SIZE_MAX);
    }
    return STATUS_OK;
}

enum status data__check_txn(struct slice id, struct txn_id *out, struct data_refusal *refusal) {
    if (id.size != sizeof(out->v)) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "txn_id", sizeof(out->v),
                            "the transaction id has %zu bytes, it has %zu", id.size,
                            sizeof(out->v));
    }
    memcpy(out->v, id.data, sizeof(out->v));
    if (txn_id_is_zero(*out)) {
        return data__refuse(refusal, STATUS_INVALID_ARGUMENT, "txn_id", 0,
                            "the transaction id is all zero");
    }
    return STATUS_OK;
}
