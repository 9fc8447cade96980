// SPDX-License-Identifier: Apache-2.0
// Design: what a turn changed is what carries a version above the last one written, so nothing has
// to remember what it touched, and a catalogue that was bootstrapped before its first entry gets
// written with it. Objects, counters, applied index and a digest of the whole go into one unsynced
// batch: after a crash the store holds the state as of some end(), the log gives the rest again.
//
// Keys in ENGINE_LOCAL: 0xC0 (the counters), 0xC1 + node id, 0xC2 + keyspace id, 0xC3 + shard id,
// ids big-endian. Values are sealed envelopes whose kind is the key's first byte. 0xC0 0x01 stands
// while a snapshot is being taken in, 0xC0 0x02 is the base of the latest one.
//
// A snapshot is the stored records as they are. They are decoded into a catalogue of their own
// while they come, and only when that is whole and has the digest that the sender stored does it
// take the place of the node's copy, in one step. Until then the copy serves, and follows by
// deltas: the node needs the shard map, and the addresses of those who send the snapshot. It may
// step back to an older version at that moment; the log, which comes next, makes up for it.
//
// A machine that has stored nothing may begin at the log's first entry only on the state before
// it, that of a catalogue just bootstrapped. A node that joins the group later has a copy with the
// effects of entries in it: its machine is hollow until a snapshot comes.
//
// LIMIT: changes of the group's own membership are not tracked; CONFIG entries only move the index.
#include "controlplane/catalog/catalog_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "storage/snapshot/snapshot.h"

enum {
    KEY_META = 0xC0,
    KEY_NODE = 0xC1,
    KEY_KEYSPACE = 0xC2,
    KEY_SHARD = 0xC3,
    KEY_END = 0xC4,
    META_HOLLOW = 1,  // second byte after KEY_META
    META_BASE = 2,
    SNAPSHOT_KIND = 'c',
    KEY_SIZE_MAX = 9,
    FORMAT_VERSION = 1,
    RESULT_SIZE_MAX = 1024,
    VALUE_SIZE_MAX = 4 * SHARD_KEY_SIZE_MAX,
};

// Records on their way into a catalogue; the counters come first.
struct catalog_load {
    struct catalog *catalog;
    uint64_t applied;
    uint64_t digest;
    bool begun;  // the counters are there
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
    bool hollow;
    struct snapshot_ingest *ingest;  // while a snapshot is being taken in
    struct catalog_load incoming;    // likewise: what it is so far
    bool incoming_whole;             // all of it came, and it is sound
};

// --- Writing ------------------------------------------------------------------------------------

static struct slice machine_key(uint8_t out[KEY_SIZE_MAX], uint8_t kind, uint64_t id, size_t size) {
    out[0] = kind;
    for (size_t i = 0; i < size; i++) {
        out[1 + i] = (uint8_t)(id >> (8 * (size - 1 - i)));
    }
    return slice_make(out, 1 + size);
}

static struct slice meta_key(uint8_t out[KEY_SIZE_MAX], uint8_t second) {
    return machine_key(out, KEY_META, second, 1);
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

static void machine_write(struct catalog_machine *self) {
    enum status st = engine_write(self->config.engine, self->batch, false);
    if (st != STATUS_OK) { FATAL("the catalogue cannot be written: %s", status_text(st)); }
    engine_batch_clear(self->batch);
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

// All records out of the store; the value stays as the node's copy, which follows by deltas.
static void machine_drop(struct catalog_machine *self) {
    uint8_t start = KEY_META;
    uint8_t end = KEY_END;
    engine_batch_clear(self->batch);
    engine_remove_range(self->batch, ENGINE_LOCAL, slice_make(&start, 1), slice_make(&end, 1));
    self->applied = 0;
    self->applied_stored = 0;
    self->version_stored = 0;
    self->config.catalog->machine_fed = false;
}

// Dropped and marked in one batch.
static void machine_become_hollow(struct catalog_machine *self) {
    uint8_t key[KEY_SIZE_MAX];
    machine_drop(self);
    engine_put(self->batch, ENGINE_LOCAL, meta_key(key, META_HOLLOW), SLICE_LITERAL("\1"));
    machine_write(self);
    self->hollow = true;
}

// --- Loading ------------------------------------------------------------------------------------

static uint64_t machine_key_id(struct slice key) {
    uint64_t id = 0;
    for (size_t i = 1; i < key.size; i++) {
        id = id << 8 | key.data[i];
    }
    return id;
}

static enum status load_meta(struct catalog_load *self, struct codec_reader *r) {
    struct catalog *catalog = self->catalog;
    self->applied = codec_get_u64(r);
    catalog->version = codec_get_u64(r);
    catalog->next_node = codec_get_u32(r);
    catalog->next_keyspace = codec_get_u32(r);
    catalog->next_shard = codec_get_u64(r);
    self->digest = codec_get_u64(r);
    self->begun = true;
    if (catalog->version == 0) { codec_fail(r); }
    return codec_finish(r);
}

static enum status load_object(struct catalog_load *self, struct slice key,
                               struct codec_reader *r) {
    struct catalog *catalog = self->catalog;
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

static enum status load_record(struct catalog_load *self, struct slice key, struct slice value) {
    uint8_t version = 0;
    uint8_t kind = 0;
    struct slice payload;
    enum status st = codec_open(value, FORMAT_VERSION, &version, &kind, &payload);
    if (st != STATUS_OK) { return st; }
    if (kind != key.data[0]) { return STATUS_CORRUPT; }
    struct codec_reader r;
    codec_reader_init(&r, payload);
    if (kind == KEY_META) { return key.size == 1 ? load_meta(self, &r) : STATUS_CORRUPT; }
    // The counters come first in key order; objects without them are half a catalogue.
    if (!self->begun) { return STATUS_CORRUPT; }
    return load_object(self, key, &r);
}

// Whether what was loaded is what once was stored.
static bool load_is_whole(const struct catalog_load *self) {
    return self->begun && self->digest == catalog_digest(self->catalog) &&
           catalog__is_sound(self->catalog);
}

static bool is_base_key(struct slice key) {
    return key.size == 2 && key.data[0] == KEY_META && key.data[1] == META_BASE;
}

static enum status machine_load_items(struct catalog_load *load, struct engine_cursor *cursor,
                                      struct err *err) {
    uint8_t first = KEY_META;
    engine_cursor_seek(cursor, slice_make(&first, 1));
    for (; engine_cursor_valid(cursor); engine_cursor_next(cursor)) {
        struct slice key = engine_cursor_key(cursor);
        ASSERT(key.size >= 1);
        if (key.data[0] >= KEY_END) { break; }
        if (is_base_key(key)) { continue; }
        if (!load->begun) { catalog__reset(load->catalog); }
        enum status st = load_record(load, key, engine_cursor_value(cursor));
        if (st != STATUS_OK) {
            return err_set(err, st, "catalogue: stored record 0x%02x %llu: %s", key.data[0],
                           (unsigned long long)machine_key_id(key), status_text(st));
        }
    }
    enum status st = engine_cursor_status(cursor);
    if (st != STATUS_OK) { return err_set(err, st, "catalogue: reading the store failed"); }
    return STATUS_OK;
}

static enum status machine_load_hollow(struct catalog_machine *self, struct err *err) {
    uint8_t key[KEY_SIZE_MAX];
    const enum status st =
        engine_get(self->config.engine, ENGINE_LOCAL, meta_key(key, META_HOLLOW), &self->sealed);
    self->hollow = st == STATUS_OK;
    if (st == STATUS_OK || st == STATUS_NOT_FOUND) { return STATUS_OK; }
    return err_set(err, st, "catalogue: the mark of a snapshot cannot be read");
}

static enum status machine_load(struct catalog_machine *self, struct err *err) {
    struct catalog_load load = {.catalog = self->config.catalog};
    enum status st = machine_load_hollow(self, err);
    if (st != STATUS_OK || self->hollow) { return st; }
    struct engine_cursor *cursor = engine_cursor_create(self->config.engine, ENGINE_LOCAL);
    st = machine_load_items(&load, cursor, err);
    engine_cursor_destroy(cursor);
    if (st != STATUS_OK) { return st; }
    if (!load.begun) {
        if (catalog_version(load.catalog) > 1) { machine_become_hollow(self); }
        return STATUS_OK;
    }
    if (!load_is_whole(&load)) {
        return err_set(err, STATUS_CORRUPT,
                       "catalogue: what is stored does not match its digest at version %llu",
                       (unsigned long long)load.catalog->version);
    }
    self->applied = load.applied;
    self->applied_stored = load.applied;
    self->digest = load.digest;
    self->version_stored = load.catalog->version;
    self->version_told = load.catalog->version;
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
    ASSERT(!self->hollow);
    ASSERT(entry->index > self->applied);
    *out = (struct apply_result){STATUS_OK, SLICE_EMPTY};
    if (entry->kind == LOG_ENTRY_COMMAND) {
        out->status = catalog_apply(self->config.catalog, entry->payload, &self->result);
        out->payload = buf_slice(&self->result);
    }
    self->applied = entry->index;
}

static void machine_tell(struct catalog_machine *self) {
    uint64_t version = self->config.catalog->version;
    if (version == self->version_told) { return; }
    self->version_told = version;
    if (self->config.changed != NULL) { self->config.changed(self->config.ctx); }
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
    machine_write(self);
    self->applied_stored = self->applied;
    self->version_stored = version;
    machine_tell(self);
}

static void ingest_free(struct catalog_machine *self) {
    snapshot_ingest_destroy(self->ingest);
    catalog_destroy(self->incoming.catalog);
    self->ingest = NULL;
    self->incoming = (struct catalog_load){0};
    self->incoming_whole = false;
}

static void machine_remove(void *ctx, struct shard_id shard) {
    struct catalog_machine *self = ctx;
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    ingest_free(self);
    machine_drop(self);
    machine_write(self);
    // Another replica of the group may be opened here later, on top of what was learnt meanwhile.
    self->hollow = true;
}

// --- Snapshots ----------------------------------------------------------------------------------

// The counters alone, then all objects: the records of META_HOLLOW and META_BASE are in between.
static const struct snapshot_span spans[] = {
    {ENGINE_LOCAL, {(const uint8_t[]){KEY_META}, 1}, {(const uint8_t[]){KEY_META, 0}, 2}},
    {ENGINE_LOCAL, {(const uint8_t[]){KEY_NODE}, 1}, {(const uint8_t[]){KEY_END}, 1}},
};

static struct snapshot_range machine_range(const struct catalog_machine *self) {
    return (struct snapshot_range){self->config.engine, SNAPSHOT_KIND, spans,
                                   sizeof(spans) / sizeof(spans[0])};
}

static struct state_export *machine_export_open(void *ctx, struct shard_id shard) {
    const struct catalog_machine *self = ctx;
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    ASSERT(!self->hollow && self->applied == self->applied_stored);
    const struct snapshot_range range = machine_range(self);
    return snapshot_export_open(&range, SLICE_EMPTY);
}

static enum status machine_export_next(void *ctx, struct state_export *state, uint32_t size_max,
                                       struct buf *out, bool *out_last) {
    (void)ctx;
    return snapshot_export_next(state, size_max, out, out_last);
}

static void machine_export_close(void *ctx, struct state_export *state) {
    (void)ctx;
    snapshot_export_close(state);
}

static enum status machine_check_record(void *ctx, uint32_t span, struct slice key,
                                        struct slice value) {
    struct catalog_machine *self = ctx;
    (void)span;
    return load_record(&self->incoming, key, value);
}

static void machine_ingest_begin(void *ctx, struct shard_id shard) {
    struct catalog_machine *self = ctx;
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    ASSERT(self->applied == self->applied_stored);
    ingest_free(self);
    machine_become_hollow(self);
    const struct snapshot_range range = machine_range(self);
    self->ingest = snapshot_ingest_create(&range, machine_check_record, self);
    self->incoming.catalog = catalog_create();
}

static enum status machine_ingest(void *ctx, struct shard_id shard, struct slice chunk) {
    struct catalog_machine *self = ctx;
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    ASSERT(self->ingest != NULL);
    self->incoming_whole = false;
    const enum status st = snapshot_ingest_chunk(self->ingest, chunk);
    if (st != STATUS_OK || !snapshot_ingest_is_complete(self->ingest)) { return st; }
    self->incoming_whole = load_is_whole(&self->incoming);
    return self->incoming_whole ? STATUS_OK : STATUS_CORRUPT;
}

// The node's copy becomes like what came in. Its address stays: others hold it.
static void machine_replace(struct catalog *to, const struct catalog *from) {
    enum status st = STATUS_OK;
    catalog__reset(to);
    to->version = from->version;
    to->next_node = from->next_node;
    to->next_keyspace = from->next_keyspace;
    to->next_shard = from->next_shard;
    for (uint32_t i = 0; i < from->node_count && st == STATUS_OK; i++) {
        st = catalog__put_node(to, &from->nodes[i]);
    }
    for (uint32_t i = 0; i < from->keyspace_count && st == STATUS_OK; i++) {
        st = catalog__put_keyspace(to, &from->keyspaces[i]);
    }
    for (uint32_t i = 0; i < from->shard_count && st == STATUS_OK; i++) {
        st = catalog__put_shard(to, &from->shards[i]);
    }
    ASSERT(st == STATUS_OK);  // it fitted once
    ASSERT(catalog_digest(to) == catalog_digest(from));
}

static void machine_ingest_end(void *ctx, struct shard_id shard, uint64_t index,
                               struct slice base) {
    struct catalog_machine *self = ctx;
    uint8_t key[KEY_SIZE_MAX];
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    ASSERT(index > 0);
    if (self->ingest == NULL || !self->incoming_whole) {
        MARK("catalog.snapshot_incomplete");
        return;
    }
    machine_replace(self->config.catalog, self->incoming.catalog);
    self->digest = self->incoming.digest;
    self->applied = index;
    self->applied_stored = index;
    self->version_stored = self->config.catalog->version;
    engine_batch_clear(self->batch);
    machine_put_meta(self);
    engine_put(self->batch, ENGINE_LOCAL, meta_key(key, META_BASE), base);
    engine_remove(self->batch, ENGINE_LOCAL, meta_key(key, META_HOLLOW));
    machine_write(self);
    self->hollow = false;
    self->config.catalog->machine_fed = true;
    ingest_free(self);
    machine_tell(self);
}

static void machine_base(void *ctx, struct shard_id shard, struct buf *out) {
    const struct catalog_machine *self = ctx;
    uint8_t key[KEY_SIZE_MAX];
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    buf_reset(out);
    const enum status st =
        engine_get(self->config.engine, ENGINE_LOCAL, meta_key(key, META_BASE), out);
    if (st != STATUS_OK && st != STATUS_NOT_FOUND) {
        FATAL("the base of the catalogue's snapshot cannot be read: %s", status_text(st));
    }
}

static bool machine_hollow(void *ctx, struct shard_id shard) {
    const struct catalog_machine *self = ctx;
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    return self->hollow;
}

// --- Digest: small enough to be computed at one go ---

struct state_digest {
    uint64_t digest;
};

static struct state_digest *machine_digest_open(void *ctx, struct shard_id shard) {
    const struct catalog_machine *self = ctx;
    ASSERT(shard_id_equal(shard, SHARD_CATALOG));
    if (self->hollow) { return NULL; }
    struct state_digest *state = mem_alloc(sizeof(*state));
    state->digest = catalog_digest(self->config.catalog);
    return state;
}

static enum status machine_digest_next(void *ctx, struct state_digest *state, uint32_t size_max,
                                       struct state_digest_slice *out) {
    (void)ctx;
    (void)size_max;
    *out = (struct state_digest_slice){.size = 1, .last = true, .digest = state->digest};
    return STATUS_OK;
}

static void machine_digest_close(void *ctx, struct state_digest *state) {
    (void)ctx;
    mem_free(state);
}

static const struct state_machine machine_port = {
    .applied = machine_applied,
    .apply = machine_apply,
    .end = machine_end,
    .remove = machine_remove,
    .export_open = machine_export_open,
    .export_next = machine_export_next,
    .export_close = machine_export_close,
    .ingest_begin = machine_ingest_begin,
    .ingest = machine_ingest,
    .ingest_end = machine_ingest_end,
    .base = machine_base,
    .hollow = machine_hollow,
    .digest_open = machine_digest_open,
    .digest_next = machine_digest_next,
    .digest_close = machine_digest_close,
};

enum status catalog_machine_create(const struct catalog_machine_config *config,
                                   struct catalog_machine **out_machine, struct err *err) {
    ASSERT(config->engine != NULL);
    struct catalog_machine *self = mem_alloc(sizeof(*self));
    self->config = *config;
    self->port = machine_port;
    self->port.ctx = self;
    self->batch = engine_batch_create(config->engine);
    buf_init(&self->result, RESULT_SIZE_MAX);
    buf_init(&self->payload, VALUE_SIZE_MAX);
    buf_init(&self->sealed, VALUE_SIZE_MAX + CODEC_ENVELOPE_SIZE);
    self->version_told = catalog_version(config->catalog);
    enum status st = machine_load(self, err);
    if (st != STATUS_OK) {
        catalog_machine_destroy(self);
        return st;
    }
    config->catalog->machine_fed = !self->hollow;
    *out_machine = self;
    return STATUS_OK;
}

void catalog_machine_destroy(struct catalog_machine *self) {
    if (self == NULL) { return; }
    ingest_free(self);
    engine_batch_destroy(self->batch);
    buf_deinit(&self->result);
    buf_deinit(&self->payload);
    buf_deinit(&self->sealed);
    mem_free(self);
}

const struct state_machine *catalog_machine_port(struct catalog_machine *self) {
    return &self->port;
}
