// SPDX-License-Identifier: Apache-2.0
// Design: what a turn changed is what carries a version above the last one written, so nothing has
// to remember what it touched, and a catalogue that was bootstrapped before its first entry gets
// written with it. Objects, counters, applied index and a digest of the whole go into one unsynced
// batch: after a crash the store holds the state as of some end(), the log gives the rest again.
//
// Keys in ENGINE_LOCAL: 0xC0 (the counters), 0xC1 + node id, 0xC2 + keyspace id, 0xC3 + shard id,
// ids big-endian. Values are sealed envelopes whose kind is the key's first byte.
//
// LIMIT: changes of the group's own membership are not tracked; CONFIG entries only move the index.
#include "controlplane/catalog/catalog_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"

enum {
    KEY_META = 0xC0,
    KEY_NODE = 0xC1,
    KEY_KEYSPACE = 0xC2,
    KEY_SHARD = 0xC3,
    KEY_END = 0xC4,
    KEY_SIZE_MAX = 9,
    FORMAT_VERSION = 1,
    RESULT_SIZE_MAX = 1024,
    VALUE_SIZE_MAX = 4 * SHARD_KEY_SIZE_MAX,
};

struct catalog_machine {
    struct catalog_machine_config config;
    struct state_machine port;
    struct engine_batch *batch;
    uint64_t applied;         // in memory
    uint64_t applied_stored;  // as of the last end()
    uint64_t version_stored;  // likewise; objects above it are still to be written
    uint64_t version_told;    // of the last call of changed()
    uint64_t digest;          // at version_stored
    struct buf result;
    struct buf payload;  // scratch of end()
    struct buf sealed;   // likewise
};

// --- Writing ------------------------------------------------------------------------------------

static struct slice machine_key(uint8_t out[KEY_SIZE_MAX], uint8_t kind, uint64_t id, size_t size) {
    out[0] = kind;
    for (size_t i = 0; i < size; i++) {
        out[1 + i] = (uint8_t)(id >> (8 * (size - 1 - i)));
    }
    return slice_make(out, 1 + size);
}

// Seals what was put into payload and adds it to the batch.
static void machine_put(struct catalog_machine *self, const struct codec_writer *w, uint8_t kind,
                        uint64_t id) {
    ASSERT(w->status == STATUS_OK);
    uint8_t key[KEY_SIZE_MAX];
    size_t id_size = kind == KEY_META ? 0 : kind == KEY_SHARD ? sizeof(uint64_t) : sizeof(uint32_t);
    buf_reset(&self->sealed);
    enum status st = codec_seal(&self->sealed, FORMAT_VERSION, kind, buf_slice(&self->payload));
    ASSERT(st == STATUS_OK);
    engine_put(self->batch, ENGINE_LOCAL, machine_key(key, kind, id, id_size),
               buf_slice(&self->sealed));
}

static struct codec_writer machine_writer(struct catalog_machine *self) {
    struct codec_writer w;
    buf_reset(&self->payload);
    codec_writer_init(&w, &self->payload);
    return w;
}

static void machine_put_objects(struct catalog_machine *self) {
    const struct catalog *catalog = self->config.catalog;
    for (uint32_t i = 0; i < catalog->node_count; i++) {
        const struct catalog_node *node = &catalog->nodes[i];
        if (node->version <= self->version_stored) { continue; }
        struct codec_writer w = machine_writer(self);
        catalog__node_encode(&w, node);
        machine_put(self, &w, KEY_NODE, node->id.v);
    }
    for (uint32_t i = 0; i < catalog->keyspace_count; i++) {
        const struct catalog_keyspace *keyspace = &catalog->keyspaces[i];
        if (keyspace->version <= self->version_stored) { continue; }
        struct codec_writer w = machine_writer(self);
        catalog__keyspace_encode(&w, keyspace);
        machine_put(self, &w, KEY_KEYSPACE, keyspace->id);
    }
    for (uint32_t i = 0; i < catalog->shard_count; i++) {
        const struct shard_descriptor *shard = &catalog->shards[i];
        if (shard->map_version <= self->version_stored) { continue; }
        struct codec_writer w = machine_writer(self);
        shard_descriptor_encode(&w, shard);
        machine_put(self, &w, KEY_SHARD, shard->id.v);
    }
}

static void machine_put_meta(struct catalog_machine *self) {
    const struct catalog *catalog = self->config.catalog;
    struct codec_writer w = machine_writer(self);
    codec_put_u64(&w, self->applied);
    codec_put_u64(&w, catalog->version);
    codec_put_u32(&w, catalog->next_node);
    codec_put_u32(&w, catalog->next_keyspace);
    codec_put_u64(&w, catalog->next_shard);
    codec_put_u64(&w, self->digest);
    machine_put(self, &w, KEY_META, 0);
}

// --- Loading ------------------------------------------------------------------------------------

static uint64_t machine_key_id(struct slice key) {
    uint64_t id = 0;
    for (size_t i = 1; i < key.size; i++) {
        id = id << 8 | key.data[i];
    }
    return id;
}

static enum status machine_load_meta(struct catalog_machine *self, struct codec_reader *r) {
    struct catalog *catalog = self->config.catalog;
    self->applied = codec_get_u64(r);
    catalog->version = codec_get_u64(r);
    catalog->next_node = codec_get_u32(r);
    catalog->next_keyspace = codec_get_u32(r);
    catalog->next_shard = codec_get_u64(r);
    self->digest = codec_get_u64(r);
    self->applied_stored = self->applied;
    self->version_stored = catalog->version;
    self->version_told = catalog->version;
    if (catalog->version == 0) { codec_fail(r); }
    return codec_finish(r);
}

static enum status machine_load_object(struct catalog_machine *self, struct slice key,
                                       struct codec_reader *r) {
    struct catalog *catalog = self->config.catalog;
    enum status st = STATUS_CORRUPT;
    uint64_t id = 0;
    if (key.data[0] == KEY_NODE) {
        struct catalog_node node;
        st = catalog__node_decode(r, &node);
        if (st == STATUS_OK) { st = catalog__put_node(catalog, &node); }
        id = st == STATUS_OK ? node.id.v : 0;
    } else if (key.data[0] == KEY_KEYSPACE) {
        struct catalog_keyspace keyspace;
        st = catalog__keyspace_decode(r, &keyspace);
        if (st == STATUS_OK) { st = catalog__put_keyspace(catalog, &keyspace); }
        id = st == STATUS_OK ? keyspace.id : 0;
    } else if (key.data[0] == KEY_SHARD) {
        struct shard_descriptor shard = {.id = {0}};
        st = shard_descriptor_decode(r, &shard);
        if (st == STATUS_OK) {
            st = catalog__put_shard(catalog, &shard);
            id = shard.id.v;
            shard_descriptor_deinit(&shard);
        }
    }
    if (st != STATUS_OK || id != machine_key_id(key)) { return STATUS_CORRUPT; }
    return codec_finish(r);
}

static enum status machine_load_item(struct catalog_machine *self, struct slice key,
                                     struct slice value) {
    uint8_t version = 0;
    uint8_t kind = 0;
    struct slice payload;
    enum status st = codec_open(value, FORMAT_VERSION, &version, &kind, &payload);
    if (st != STATUS_OK) { return st; }
    if (kind != key.data[0]) { return STATUS_CORRUPT; }
    struct codec_reader r;
    codec_reader_init(&r, payload);
    if (kind == KEY_META) { return key.size == 1 ? machine_load_meta(self, &r) : STATUS_CORRUPT; }
    // The counters come first in key order; objects without them are half a catalogue.
    if (self->version_stored == 0) { return STATUS_CORRUPT; }
    return machine_load_object(self, key, &r);
}

static enum status machine_load_items(struct catalog_machine *self, struct engine_cursor *cursor,
                                      struct err *err) {
    uint8_t first = KEY_META;
    engine_cursor_seek(cursor, slice_make(&first, 1));
    for (; engine_cursor_valid(cursor); engine_cursor_next(cursor)) {
        struct slice key = engine_cursor_key(cursor);
        ASSERT(key.size >= 1);
        if (key.data[0] >= KEY_END) { break; }
        if (self->version_stored == 0) { catalog__reset(self->config.catalog); }
        enum status st = machine_load_item(self, key, engine_cursor_value(cursor));
        if (st != STATUS_OK) {
            return err_set(err, st, "catalogue: stored record 0x%02x %llu: %s", key.data[0],
                           (unsigned long long)machine_key_id(key), status_text(st));
        }
    }
    enum status st = engine_cursor_status(cursor);
    if (st != STATUS_OK) { return err_set(err, st, "catalogue: reading the store failed"); }
    return STATUS_OK;
}

static enum status machine_load(struct catalog_machine *self, struct err *err) {
    struct engine_cursor *cursor = engine_cursor_create(self->config.engine, ENGINE_LOCAL);
    enum status st = machine_load_items(self, cursor, err);
    engine_cursor_destroy(cursor);
    if (st != STATUS_OK || self->version_stored == 0) { return st; }
    if (self->digest != catalog_digest(self->config.catalog) ||
        !catalog__is_sound(self->config.catalog)) {
        return err_set(err, STATUS_CORRUPT,
                       "catalogue: what is stored does not match its digest at version %llu",
                       (unsigned long long)self->version_stored);
    }
    return STATUS_OK;
}

// --- The port -----------------------------------------------------------------------------------

static uint64_t machine_applied(void *ctx, struct shard_id shard) {
    const struct catalog_machine *self = ctx;
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    return self->applied_stored;
}

static void machine_apply(void *ctx, struct shard_id shard, const struct log_entry *entry,
                          struct apply_result *out) {
    struct catalog_machine *self = ctx;
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    ASSERT(entry->index > self->applied);
    *out = (struct apply_result){STATUS_OK, SLICE_EMPTY};
    if (entry->kind == LOG_ENTRY_COMMAND) {
        out->status = catalog_apply(self->config.catalog, entry->payload, &self->result);
        out->payload = buf_slice(&self->result);
    }
    self->applied = entry->index;
}

static void machine_end(void *ctx) {
    struct catalog_machine *self = ctx;
    if (self->applied == self->applied_stored) { return; }
    uint64_t version = self->config.catalog->version;
    engine_batch_clear(self->batch);
    if (version != self->version_stored) {
        machine_put_objects(self);
        self->digest = catalog_digest(self->config.catalog);
    }
    machine_put_meta(self);
    enum status st = engine_write(self->config.engine, self->batch, false);
    if (st != STATUS_OK) { FATAL("the catalogue cannot be written: %s", status_text(st)); }
    self->applied_stored = self->applied;
    self->version_stored = version;
    if (version == self->version_told) { return; }
    self->version_told = version;
    if (self->config.changed != NULL) { self->config.changed(self->config.ctx); }
}

static void machine_remove(void *ctx, struct shard_id shard) {
    struct catalog_machine *self = ctx;
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    uint8_t start = KEY_META;
    uint8_t end = KEY_END;
    engine_batch_clear(self->batch);
    engine_remove_range(self->batch, ENGINE_LOCAL, slice_make(&start, 1), slice_make(&end, 1));
    enum status st = engine_write(self->config.engine, self->batch, false);
    if (st != STATUS_OK) { FATAL("the catalogue cannot be removed: %s", status_text(st)); }
    // The value stays as the node's copy, which follows by deltas from now on.
    self->applied = 0;
    self->applied_stored = 0;
    self->version_stored = 0;
    self->config.catalog->machine_fed = false;
}

enum status catalog_machine_create(const struct catalog_machine_config *config,
                                   struct catalog_machine **out_machine, struct err *err) {
    ASSERT(config->engine != NULL);
    ASSERT(catalog_version(config->catalog) <= 1);
    struct catalog_machine *self = mem_alloc(sizeof(*self));
    self->config = *config;
    self->port = (struct state_machine){.ctx = self,
                                        .applied = machine_applied,
                                        .apply = machine_apply,
                                        .end = machine_end,
                                        .remove = machine_remove};
    self->batch = engine_batch_create(config->engine);
    buf_init(&self->result, RESULT_SIZE_MAX);
    buf_init(&self->payload, VALUE_SIZE_MAX);
    buf_init(&self->sealed, VALUE_SIZE_MAX + CODEC_ENVELOPE_SIZE);
    self->version_told = catalog_version(config->catalog);
    config->catalog->machine_fed = true;
    enum status st = machine_load(self, err);
    if (st != STATUS_OK) {
        catalog_machine_destroy(self);
        return st;
    }
    *out_machine = self;
    return STATUS_OK;
}

void catalog_machine_destroy(struct catalog_machine *self) {
    if (self == NULL) { return; }
    engine_batch_destroy(self->batch);
    buf_deinit(&self->result);
    buf_deinit(&self->payload);
    buf_deinit(&self->sealed);
    mem_free(self);
}

const struct state_machine *catalog_machine_port(struct catalog_machine *self) {
    return &self->port;
}
