// SPDX-License-Identifier: Apache-2.0
// A request for versions begins with a snapshot as every read does, so that routing, clocks and
// waiting treat it as one.
#include "txn/command/command_versions.h"

#include "dataplane/base/assert.h"
#include "txn/command/command_internal.h"

enum status command_versions_check(const struct command_versions *self, struct err *err) {
    enum status st = command_snapshot_check(&self->snapshot, err);
    if (st != STATUS_OK) { return st; }
    if (!command_consistency_is_strong(self->snapshot.consistency) || self->snapshot.at.v != 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "consistency: versions are read at the leader, as they are now");
    }
    if (self->limit == 0 || self->limit > COMMAND_VERSIONS_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "limit is %u, it is 1 to %d", self->limit,
                       COMMAND_VERSIONS_MAX);
    }
    if (self->value_size_max > COMMAND_VERSIONS_VALUE_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "value size is %u, it is at most %d",
                       self->value_size_max, COMMAND_VERSIONS_VALUE_SIZE_MAX);
    }
    return command_key_check(self->key, "key", 0, err);
}

void command_versions_encode(struct codec_writer *w, const struct command_versions *self) {
    command__snapshot_encode(w, &self->snapshot);
    codec_put_varint(w, self->limit);
    codec_put_varint(w, self->value_size_max);
    codec_put_slice(w, self->key);
}

enum status command_versions_decode(struct slice encoded, struct command_versions *out) {
    struct codec_reader r;
    struct command_versions versions = {.limit = 0};
    codec_reader_init(&r, encoded);
    command__snapshot_decode(&r, &versions.snapshot);
    const uint64_t limit = codec_get_varint(&r);
    const uint64_t size = codec_get_varint(&r);
    if (limit > COMMAND_VERSIONS_MAX || size > COMMAND_VERSIONS_VALUE_SIZE_MAX) { codec_fail(&r); }
    versions.limit = (uint32_t)limit;
    versions.value_size_max = (uint32_t)size;
    versions.key = codec_get_slice(&r, SHARD_KEY_SIZE_MAX);
    const enum status st = codec_finish(&r);
    if (st != STATUS_OK) { return st; }
    if (command_versions_check(&versions, NULL) != STATUS_OK) { return STATUS_CORRUPT; }
    *out = versions;
    return STATUS_OK;
}

void command_version_row_encode(struct codec_writer *w, const struct command_version_row *row) {
    ASSERT(row->value.size <= row->size && row->prepared.v <= row->ts.v);
    codec_put_u8(w, 1);
    codec_put_u8(w, row->kind);
    codec_put_u64(w, row->ts.v);
    codec_put_u64(w, row->prepared.v);
    codec_put_varint(w, row->size);
    codec_put_slice(w, row->value);
}

void command_version_end_encode(struct codec_writer *w, bool more) {
    codec_put_u8(w, 0);
    codec_put_u8(w, more ? 1 : 0);
}

enum status command_version_row_decode(struct codec_reader *r, struct command_version_row *out,
                                       bool *out_end, bool *out_more) {
    if (!command__get_bool(r)) {
        const bool more = command__get_bool(r);
        const enum status st = codec_finish(r);
        if (st != STATUS_OK) { return st; }
        *out_end = true;
        *out_more = more;
        return STATUS_OK;
    }
    struct command_version_row row = {.kind = codec_get_u8(r)};
    row.ts.v = codec_get_u64(r);
    row.prepared.v = codec_get_u64(r);
    row.size = codec_get_varint(r);
    row.value = codec_get_slice(r, COMMAND_VERSIONS_VALUE_SIZE_MAX);
    if (row.value.size > row.size || row.prepared.v > row.ts.v) { codec_fail(r); }
    if (r->status != STATUS_OK) { return r->status; }
    *out = row;
    *out_end = false;
    return STATUS_OK;
}
