// SPDX-License-Identifier: Apache-2.0
// One key at one timestamp: a single seek. As ~timestamp is big-endian, the first encoded key at or
// after (key, ts) is the newest version not above ts, if it has the key's prefix at all; the point
// cursor stays inside that prefix, so what it lands on needs no comparison of keys, and it skips
// the files whose bloom filter lacks the prefix.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "storage/mvcc/mvcc.h"
#include "storage/mvcc/mvcc_internal.h"

struct mvcc_reader *mvcc_reader_create(struct engine *engine) {
    ASSERT(engine != NULL);
    struct mvcc_reader *self = mem_alloc(sizeof(*self));
    self->engine = engine;
    self->point = engine_point_cursor_create(engine, ENGINE_VERSION);
    // What is stored was admitted under this bound; a larger value is damage.
    buf_init(&self->value, (size_t)SHARD_VALUE_SIZE_MAX * 2);
    return self;
}

void mvcc_reader_destroy(struct mvcc_reader *self) {
    if (self == NULL) { return; }
    engine_cursor_destroy(self->point);
    if (self->scan != NULL) { engine_cursor_destroy(self->scan); }
    buf_deinit(&self->value);
    mem_free(self);
}

void mvcc_reader_refresh(struct mvcc_reader *self) {
    self->point_stale = true;
    self->scan_stale = true;
}

enum status mvcc_read(struct mvcc_reader *self, struct slice key, struct hlc_ts ts,
                      struct mvcc_version *out_version) {
    ASSERT(key.size <= SHARD_KEY_SIZE_MAX);
    if (self->point_stale) {
        engine_cursor_refresh(self->point);
        self->point_stale = false;
    }
    *out_version = (struct mvcc_version){.kind = MVCC_DELETE};
    const size_t size = mvcc_key_encode(key, ts, self->seek);
    engine_cursor_seek(self->point, slice_make(self->seek, size));
    if (!engine_cursor_valid(self->point)) {
        const enum status st = engine_cursor_status(self->point);
        return st == STATUS_OK ? STATUS_NOT_FOUND : st;
    }
    const struct slice found = engine_cursor_key(self->point);
    // Same prefix, hence same size; a stored key too short to have a timestamp is its own prefix.
    if (found.size != size) { return STATUS_CORRUPT; }
    const struct hlc_ts found_ts = mvcc__ts_decode(found.data + size - ENGINE_VERSION_SUFFIX_SIZE);
    ASSERT(found_ts.v <= ts.v);
    const enum status st =
        mvcc_version_decode(engine_cursor_value(self->point), found_ts, out_version);
    if (st != STATUS_OK) { return st; }
    return out_version->kind != MVCC_DELETE ? STATUS_OK : STATUS_NOT_FOUND;
}
