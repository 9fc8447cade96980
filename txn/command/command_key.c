// SPDX-License-Identifier: Apache-2.0
// The limits of keys and ranges, in one place, because admission, decoding and the state machine
// must agree on them to the byte.
#include "dataplane/base/assert.h"
#include "txn/command/command_internal.h"

#include <string.h>

enum { RESERVED_LEAD = 0xFF, RESERVED_LEAD_SIZE = 2 };

static struct slice user_part(struct slice key) {
    ASSERT(key.size >= SHARD_KEYSPACE_PREFIX_SIZE);
    return slice_make(key.data + SHARD_KEYSPACE_PREFIX_SIZE, key.size - SHARD_KEYSPACE_PREFIX_SIZE);
}

bool command_key_is_reserved(struct slice key) {
    if (key.size < SHARD_KEYSPACE_PREFIX_SIZE + RESERVED_LEAD_SIZE) { return false; }
    const struct slice user = user_part(key);
    return user.data[0] == RESERVED_LEAD && user.data[1] == RESERVED_LEAD;
}

struct slice command_keyspace_end(struct slice key, uint8_t out[SHARD_KEYSPACE_PREFIX_SIZE]) {
    ASSERT(key.size >= SHARD_KEYSPACE_PREFIX_SIZE);
    memcpy(out, key.data, SHARD_KEYSPACE_PREFIX_SIZE);
    for (int i = SHARD_KEYSPACE_PREFIX_SIZE - 1; i >= 0; i--) {
        out[i] = (uint8_t)(out[i] + 1);
        if (out[i] != 0) { return slice_make(out, SHARD_KEYSPACE_PREFIX_SIZE); }
    }
    return SLICE_EMPTY;
}

// What keys and bounds have in common: the prefix, the largest size, nothing of the system's.
static enum status bound_check(struct slice key, const char *field, uint32_t position,
                               struct err *err) {
    if (key.size < SHARD_KEYSPACE_PREFIX_SIZE) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "%s %u: key has no keyspace prefix of %d bytes", field, position,
                       SHARD_KEYSPACE_PREFIX_SIZE);
    }
    if (key.size > SHARD_KEY_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%s %u: key has %zu bytes, limit %d", field,
                       position, user_part(key).size, SHARD_USER_KEY_SIZE_MAX);
    }
    if (command_key_is_reserved(key)) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "%s %u: keys that begin with 0xFF 0xFF are reserved for the system", field,
                       position);
    }
    return STATUS_OK;
}

enum status command_key_check(struct slice key, const char *field, uint32_t position,
                              struct err *err) {
    const enum status st = bound_check(key, field, position, err);
    if (st != STATUS_OK) { return st; }
    if (user_part(key).size == 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%s %u: key is empty, it has 1 to %d bytes",
                       field, position, SHARD_USER_KEY_SIZE_MAX);
    }
    return STATUS_OK;
}

static enum status range_end_check(struct slice start, struct slice end, const char *field,
                                   uint32_t position, struct err *err) {
    uint8_t next[SHARD_KEYSPACE_PREFIX_SIZE];
    const struct slice keyspace_end = command_keyspace_end(start, next);
    if (keyspace_end.size > 0 && slice_equal(end, keyspace_end)) { return STATUS_OK; }
    if (end.size < SHARD_KEYSPACE_PREFIX_SIZE || end.size > SHARD_KEY_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%s %u: end key has %zu bytes, limit %d",
                       field, position, end.size, SHARD_KEY_SIZE_MAX);
    }
    if (memcmp(start.data, end.data, SHARD_KEYSPACE_PREFIX_SIZE) != 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%s %u: the range leaves its keyspace", field,
                       position);
    }
    return STATUS_OK;
}

enum status command__range_check(struct slice start, struct slice end, const char *field,
                                 uint32_t position, struct err *err) {
    enum status st = bound_check(start, field, position, err);
    if (st == STATUS_OK) { st = range_end_check(start, end, field, position, err); }
    if (st != STATUS_OK) { return st; }
    if (slice_compare(start, end) >= 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "%s %u: the start of the range must lie before its end", field, position);
    }
    return STATUS_OK;
}

struct slice command__get_key(struct codec_reader *r) {
    const struct slice key = codec_get_slice(r, SHARD_KEY_SIZE_MAX);
    if (r->status == STATUS_OK && command_key_check(key, "", 0, NULL) != STATUS_OK) {
        codec_fail(r);
        return SLICE_EMPTY;
    }
    return key;
}

uint8_t command__get_enum(struct codec_reader *r, uint8_t first, uint8_t count) {
    ASSERT(first < count);
    const uint8_t v = codec_get_u8(r);
    if (v < first || v >= count) {
        codec_fail(r);
        return first;
    }
    return v;
}

bool command__get_bool(struct codec_reader *r) {
    return command__get_enum(r, 0, 2) == 1;
}
