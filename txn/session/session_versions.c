// SPDX-License-Identifier: Apache-2.0
// All versions of a key, for whoever wants to know how it came to its value. A read like others:
// what is prepared on the key is waited for, so that no version can appear below one that was
// shown.
#include "dataplane/base/assert.h"
#include "txn/command/command_versions.h"
#include "txn/session/session_internal.h"

struct walk {
    struct codec_writer w;
    struct hlc_ts snapshot;
    uint32_t left;
    uint32_t value_size_max;
    bool more;
};

static bool add_version(void *ctx, const struct mvcc_version *version) {
    struct walk *self = ctx;
    if (hlc_before(self->snapshot, version->ts)) { return true; }
    self->more = self->left == 0;
    if (self->more) { return false; }
    self->left--;
    const size_t shown =
        version->value.size < self->value_size_max ? version->value.size : self->value_size_max;
    const struct command_version_row row = {.kind = (uint8_t)version->kind,
                                            .ts = version->ts,
                                            .prepared = version->prepared,
                                            .size = version->value.size,
                                            .value = slice_make(version->value.data, shown)};
    command_version_row_encode(&self->w, &row);
    return self->w.status == STATUS_OK;
}

enum status session__version_rows(struct session_exec *self,
                                  const struct shard_descriptor *descriptor,
                                  const char **out_detail) {
    struct command_versions versions;
    *out_detail = "the request for versions does not decode";
    if (command_versions_decode(self->payload, &versions) != STATUS_OK) {
        return STATUS_INVALID_ARGUMENT;
    }
    *out_detail = "the key lies outside the shard";
    if (!shard_descriptor_contains(descriptor, versions.key)) { return STATUS_INVALID_ARGUMENT; }
    struct walk walk = {.snapshot = self->read.timestamp,
                        .left = versions.limit,
                        .value_size_max = versions.value_size_max};
    codec_writer_init(&walk.w, &self->rows);
    const struct mvcc_above above = {
        .start = versions.key, .alone = true, .visit = add_version, .ctx = &walk};
    *out_detail = "the store cannot be read";
    const enum status st = mvcc_above(apply_reader(self->session->config.apply), &above);
    if (st != STATUS_OK) { return st; }
    command_version_end_encode(&walk.w, walk.more);
    *out_detail = "no memory for the rows";
    return walk.w.status;
}

bool session__versions_blocked(const struct session_exec *self, const struct lock_table *locks,
                               struct hlc_ts limit, struct lock_conflict *out) {
    struct command_versions versions;
    return command_versions_decode(self->payload, &versions) == STATUS_OK &&
           lock_table_blocks_read(locks, versions.key, limit, out);
}
