// SPDX-License-Identifier: Apache-2.0
// The state machine on a simulated disk: what a turn leaves there, what a crash takes away, and
// that the log gives it back.
#include "controlplane/catalog/catalog.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/prng.h"
#include "storage/snapshot/snapshot.h"
#include "tests/sim/disk/sim_engine.h"
#include "tests/unit/controlplane/catalog/catalog_kit.h"
#include "tests/unit/dataplane/base/death.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct engine *engine;
    struct catalog *catalog;
    struct catalog_machine *machine;
    const struct state_machine *port;
    uint32_t changed;
};

static void on_changed(void *ctx) {
    ((struct fixture *)ctx)->changed++;
}

static enum status boot(struct fixture *f, struct err *err) {
    f->catalog = catalog_create();
    catalog_bootstrap(f->catalog, (struct node_id[]){{1}, {2}, {3}}, 3);
    struct catalog_machine_config config = {
        .catalog = f->catalog, .engine = f->engine, .changed = on_changed, .ctx = f};
    enum status st = catalog_machine_create(&config, &f->machine, err);
    if (st == STATUS_OK) { f->port = catalog_machine_port(f->machine); }
    return st;
}

static void halt(struct fixture *f) {
    catalog_machine_destroy(f->machine);
    catalog_destroy(f->catalog);
    f->machine = NULL;
    f->catalog = NULL;
}

// STATUS_FAILED_PRECONDITION when there is nothing to digest.
static enum status port_digest(const struct state_machine *port, uint64_t *out_digest) {
    struct state_digest_slice slice = {0};
    struct state_digest *view = port->digest_open(port->ctx, SHARD_CATALOG);
    if (view == NULL) { return STATUS_FAILED_PRECONDITION; }
    enum status st = port->digest_next(port->ctx, view, 1 << 20, &slice);
    port->digest_close(port->ctx, view);
    assert_true(slice.last);
    *out_digest = slice.digest;
    return st;
}

static int setup(void **state) {
    static struct fixture f;
    f = (struct fixture){.engine = sim_engine_create(&(struct sim_engine_options){0, false})};
    assert_int_equal(boot(&f, NULL), STATUS_OK);
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    halt(f);
    engine_close(f->engine);
    return 0;
}

static void restart(struct fixture *f) {
    halt(f);
    struct err err = {STATUS_OK, ""};
    enum status st = boot(f, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(st, STATUS_OK);
}

static struct apply_result apply(struct fixture *f, uint64_t index, enum log_entry_kind kind,
                                 struct slice payload) {
    struct log_entry entry = {.index = index, .term = 1, .kind = kind, .payload = payload};
    struct apply_result result;
    f->port->apply(f->port->ctx, SHARD_CATALOG, &entry, &result);
    return result;
}

static uint64_t applied(const struct fixture *f) {
    return f->port->applied(f->port->ctx, SHARD_CATALOG);
}

// The command of index i: members first, then strangers and keyspaces by turns.
static struct apply_result apply_nth(struct fixture *f, uint64_t index) {
    struct buf encoded;
    if (index <= 3) {
        struct catalog_register_node command = kit_node((uint32_t)index, index);
        kit_encode_node(&command, &encoded);
    } else if (index % 2 == 0) {
        struct catalog_register_node command = kit_node(0, index % 11 + 4);
        snprintf(command.node.zone, sizeof(command.node.zone), "z%u", (unsigned)(index % 5));
        kit_encode_node(&command, &encoded);
    } else {
        char name[16];
        snprintf(name, sizeof(name), "k%u", (unsigned)(index % 23));
        struct catalog_create_keyspace command = kit_keyspace(name, (uint32_t)(index % 4));
        kit_encode_keyspace(&command, &encoded);
    }
    struct apply_result result = apply(f, index, LOG_ENTRY_COMMAND, buf_slice(&encoded));
    buf_deinit(&encoded);
    return result;
}

// Goal: the result is there until the next call, ids and statuses as the catalogue gives them.
static void test_catalog_machine_results(void **state) {
    struct fixture *f = *state;
    struct catalog_result decoded;
    assert_int_equal(applied(f), 0);
    for (uint64_t index = 1; index <= 3; index++) {
        struct apply_result result = apply_nth(f, index);
        assert_int_equal(result.status, STATUS_OK);
        assert_int_equal(catalog_result_decode(result.payload, &decoded), STATUS_OK);
        assert_int_equal(decoded.id, index);
    }
    // The store does not have it before end().
    assert_int_equal(applied(f), 0);
    assert_int_equal(f->changed, 0);
    f->port->end(f->port->ctx);
    assert_int_equal(applied(f), 3);
    assert_int_equal(f->changed, 1);
    struct apply_result result = apply(f, 4, LOG_ENTRY_COMMAND, SLICE_LITERAL("\xff garbage"));
    assert_int_equal(result.status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(catalog_result_decode(result.payload, &decoded), STATUS_OK);
    assert_true(decoded.detail.size > 0);
    result = apply(f, 5, LOG_ENTRY_COMMAND, SLICE_EMPTY);
    assert_int_equal(result.status, STATUS_INVALID_ARGUMENT);
    result = apply(f, 6, LOG_ENTRY_EMPTY, SLICE_EMPTY);
    assert_int_equal(result.status, STATUS_OK);
    assert_int_equal(result.payload.size, 0);
    result = apply(f, 7, LOG_ENTRY_CONFIG, SLICE_LITERAL("members"));
    assert_int_equal(result.status, STATUS_OK);
    f->port->end(f->port->ctx);
    // The index moved, nothing else did.
    assert_int_equal(applied(f), 7);
    assert_int_equal(f->changed, 1);
}

// Goal: a turn is one batch, and a turn without entries none.
static void test_catalog_machine_end_writes_one_batch(void **state) {
    struct fixture *f = *state;
    uint64_t before = sim_engine_sequence(f->engine);
    f->port->end(f->port->ctx);
    assert_int_equal(sim_engine_sequence(f->engine), before);
    for (uint64_t index = 1; index <= 9; index++) {
        (void)apply_nth(f, index);
    }
    f->port->end(f->port->ctx);
    assert_int_equal(sim_engine_sequence(f->engine), before + 1);
    f->port->end(f->port->ctx);
    assert_int_equal(sim_engine_sequence(f->engine), before + 1);
    // It asked for no sync.
    assert_int_equal(sim_engine_durable(f->engine), 0);
}

// Goal: a restart finds the same state, ids go on where they were, and the bootstrap of a later
// start does not disturb it.
static void test_catalog_machine_restart_loads_the_same(void **state) {
    struct fixture *f = *state;
    for (uint64_t index = 1; index <= 40; index++) {
        (void)apply_nth(f, index);
        if (index % 7 == 0) { f->port->end(f->port->ctx); }
    }
    f->port->end(f->port->ctx);
    uint64_t digest = catalog_digest(f->catalog);
    uint64_t version = catalog_version(f->catalog);
    uint32_t shards = catalog_shard_count(f->catalog);
    restart(f);
    assert_int_equal(applied(f), 40);
    assert_int_equal(catalog_version(f->catalog), version);
    assert_int_equal(catalog_digest(f->catalog), digest);
    assert_int_equal(catalog_shard_count(f->catalog), shards);
    assert_int_equal(shard_map_count(catalog_shard_map(f->catalog)), shards);
    assert_true(shard_map_check(catalog_shard_map(f->catalog)));
    // A further end() without entries writes nothing and tells nobody.
    uint32_t changed = f->changed;
    f->port->end(f->port->ctx);
    assert_int_equal(f->changed, changed);
}

// Goal: with entries applied but not ended, a restart is as if they never were.
static void test_catalog_machine_without_end_nothing_is_stored(void **state) {
    struct fixture *f = *state;
    (void)apply_nth(f, 1);
    restart(f);
    assert_int_equal(applied(f), 0);
    assert_int_equal(catalog_version(f->catalog), 1);
}

// Goal: after a crash at any point the store holds the state of some turn; replaying the log from
// there ends in the state of the machine that never crashed.
static void test_catalog_machine_crash_and_replay_converge(void **state) {
    struct fixture *f = *state;
    enum { ENTRIES = 60 };
    static uint64_t digests[ENTRIES + 1];
    digests[0] = catalog_digest(f->catalog);
    for (uint64_t index = 1; index <= ENTRIES; index++) {
        (void)apply_nth(f, index);
        digests[index] = catalog_digest(f->catalog);
    }
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct fixture victim = {.engine =
                                     sim_engine_create(&(struct sim_engine_options){0, true})};
        assert_int_equal(boot(&victim, NULL), STATUS_OK);
        uint64_t index = 0;
        while (index < ENTRIES) {
            index++;
            (void)apply_nth(&victim, index);
            assert_int_equal(catalog_digest(victim.catalog), digests[index]);
            if (prng_chance(&prng, 1, 2)) { victim.port->end(victim.port->ctx); }
            if (prng_chance(&prng, 1, 10)) {
                uint64_t durable = prng_below(&prng, sim_engine_sequence(victim.engine) + 1);
                sim_engine_make_durable(victim.engine, durable);
            }
            if (!prng_chance(&prng, 1, 15)) { continue; }
            halt(&victim);
            (void)sim_engine_crash(victim.engine, &prng);
            assert_int_equal(boot(&victim, NULL), STATUS_OK);
            index = applied(&victim);
            assert_int_equal(catalog_digest(victim.catalog), digests[index]);
        }
        halt(&victim);
        engine_close(victim.engine);
    }
}

// Goal: a stored record that does not fit is reported, with its key, whatever it is.
static void test_catalog_machine_damaged_store_is_corrupt(void **state) {
    struct fixture *f = *state;
    for (uint64_t index = 1; index <= 7; index++) {
        (void)apply_nth(f, index);
    }
    f->port->end(f->port->ctx);
    halt(f);
    static const char keys[][9] = {"\xC0", "\xC1\0\0\0\2", "\xC2\0\0\0\1",
                                   "\xC3\0\0\0\0\0\0\0\x10"};
    static const size_t sizes[] = {1, 5, 5, 9};
    struct buf value;
    buf_init(&value, 1 << 16);
    for (uint32_t k = 0; k < 4; k++) {
        struct slice key = slice_make(keys[k], sizes[k]);
        assert_int_equal(engine_get(f->engine, ENGINE_LOCAL, key, &value), STATUS_OK);
        for (size_t at = 0; at < value.size; at++) {
            value.data[at] ^= 1;
            assert_int_equal(sim_engine_overwrite(f->engine, ENGINE_LOCAL, key, buf_slice(&value)),
                             STATUS_OK);
            struct err err = {STATUS_OK, ""};
            enum status st = boot(f, &err);
            assert_true(st == STATUS_CORRUPT || st == STATUS_NOT_SUPPORTED);
            assert_non_null(strstr(err.message, "catalogue"));
            catalog_destroy(f->catalog);
            value.data[at] ^= 1;
        }
        assert_int_equal(sim_engine_overwrite(f->engine, ENGINE_LOCAL, key, buf_slice(&value)),
                         STATUS_OK);
    }
    buf_deinit(&value);
    assert_int_equal(boot(f, NULL), STATUS_OK);
}

// Goal: a record that is missing, or there without the counters, is found by the digest and the
// order of loading.
static void test_catalog_machine_missing_record_is_corrupt(void **state) {
    struct fixture *f = *state;
    for (uint64_t index = 1; index <= 7; index++) {
        (void)apply_nth(f, index);
    }
    f->port->end(f->port->ctx);
    halt(f);
    static const char keys[][9] = {"\xC3\0\0\0\0\0\0\0\x10", "\xC2\0\0\0\1", "\xC0"};
    static const size_t sizes[] = {9, 5, 1};
    struct engine_batch *batch = engine_batch_create(f->engine);
    for (uint32_t k = 0; k < 3; k++) {
        engine_batch_clear(batch);
        engine_remove(batch, ENGINE_LOCAL, slice_make(keys[k], sizes[k]));
        assert_int_equal(engine_write(f->engine, batch, false), STATUS_OK);
        assert_int_equal(boot(f, NULL), STATUS_CORRUPT);
        catalog_destroy(f->catalog);
    }
    // Nothing left at all: a new beginning.
    engine_batch_clear(batch);
    engine_remove_range(batch, ENGINE_LOCAL, SLICE_LITERAL("\xC0"), SLICE_LITERAL("\xC4"));
    assert_int_equal(engine_write(f->engine, batch, false), STATUS_OK);
    engine_batch_destroy(batch);
    assert_int_equal(boot(f, NULL), STATUS_OK);
    assert_int_equal(applied(f), 0);
}

// Goal: an unreadable block of the store is an error of creation, not a shorter catalogue.
static void test_catalog_machine_rotten_block_is_corrupt(void **state) {
    struct fixture *f = *state;
    for (uint64_t index = 1; index <= 7; index++) {
        (void)apply_nth(f, index);
    }
    f->port->end(f->port->ctx);
    halt(f);
    assert_int_equal(sim_engine_corrupt(f->engine, ENGINE_LOCAL, SLICE_LITERAL("\xC1\0\0\0\3")),
                     STATUS_OK);
    struct err err = {STATUS_OK, ""};
    assert_int_equal(boot(f, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.message, "catalogue"));
    catalog_destroy(f->catalog);
    engine_close(f->engine);
    f->engine = sim_engine_create(&(struct sim_engine_options){0, false});
    assert_int_equal(boot(f, NULL), STATUS_OK);
}

// Goal: the keys of others in the same family are neither read nor removed.
static void test_catalog_machine_leaves_other_keys_alone(void **state) {
    struct fixture *f = *state;
    struct engine_batch *batch = engine_batch_create(f->engine);
    engine_put(batch, ENGINE_LOCAL, SLICE_LITERAL("\xBF\xFF"), SLICE_LITERAL("a"));
    engine_put(batch, ENGINE_LOCAL, SLICE_LITERAL("\xC4"), SLICE_LITERAL("b"));
    assert_int_equal(engine_write(f->engine, batch, false), STATUS_OK);
    engine_batch_destroy(batch);
    (void)apply_nth(f, 1);
    f->port->end(f->port->ctx);
    restart(f);
    assert_int_equal(applied(f), 1);
    f->port->remove(f->port->ctx, SHARD_CATALOG);
    assert_int_equal(applied(f), 0);
    assert_int_equal(sim_engine_count(f->engine), 2);
    restart(f);
    assert_int_equal(applied(f), 0);
    assert_int_equal(catalog_version(f->catalog), 1);
}

// Goal: what the log feeds takes nothing from deltas, since it would run ahead of the log.
static void test_catalog_machine_fed_catalogue_skips_deltas(void **state) {
    struct fixture *f = *state;
    mark_reset_all();
    struct catalog *other = kit_cluster(5);
    struct buf delta;
    struct codec_writer w;
    buf_init(&delta, 1 << 20);
    codec_writer_init(&w, &delta);
    catalog_encode_delta(other, 0, &w);
    uint64_t before = catalog_digest(f->catalog);
    assert_int_equal(catalog_apply_delta(f->catalog, buf_slice(&delta)), STATUS_OK);
    assert_int_equal(catalog_digest(f->catalog), before);
    assert_int_equal(mark_count("catalog.delta.machine_fed"), 1);
    assert_int_equal(catalog_apply_delta(f->catalog, SLICE_LITERAL("?")), STATUS_CORRUPT);
    buf_deinit(&delta);
    catalog_destroy(other);
}

// Goal: a repeated registration, which every restart of a node sends, stores only the index.
static void test_catalog_machine_repeated_registration_is_no_change(void **state) {
    struct fixture *f = *state;
    mark_reset_all();
    (void)apply_nth(f, 1);
    f->port->end(f->port->ctx);
    struct catalog_register_node command = kit_node(1, 1);
    struct buf encoded;
    kit_encode_node(&command, &encoded);
    assert_int_equal(apply(f, 2, LOG_ENTRY_COMMAND, buf_slice(&encoded)).status, STATUS_OK);
    f->port->end(f->port->ctx);
    buf_deinit(&encoded);
    assert_int_equal(mark_count("catalog.register.repeated"), 1);
    assert_int_equal(f->changed, 1);
    assert_int_equal(applied(f), 2);
}

static void end_on_full_disk(void *ctx) {
    struct fixture *f = ctx;
    sim_engine_set_full(f->engine, true);
    (void)apply_nth(f, 1);
    f->port->end(f->port->ctx);
}

// Goal: a state machine that cannot store what it applied must not go on.
static void test_catalog_machine_failed_write_stops_the_process(void **state) {
    assert_true(death_by_fatal(end_on_full_disk, *state));
}

// --- Snapshots ----------------------------------------------------------------------------------

enum { CHUNKS_MAX = 64, SOURCE_LAST = 30 };

struct stream {
    struct bytes *chunks[CHUNKS_MAX];
    uint32_t count;
    uint64_t digest;
    uint64_t version;
};

// What a machine that has applied SOURCE_LAST commands exports.
static void stream_make(struct stream *out, uint32_t size_max) {
    struct fixture source = {.engine = sim_engine_create(&(struct sim_engine_options){0, false})};
    struct buf chunk;
    bool last = false;
    assert_int_equal(boot(&source, NULL), STATUS_OK);
    for (uint64_t index = 1; index <= SOURCE_LAST; index++) {
        (void)apply_nth(&source, index);
    }
    source.port->end(source.port->ctx);
    *out = (struct stream){.digest = catalog_digest(source.catalog),
                           .version = catalog_version(source.catalog)};
    struct state_export *export = source.port->export_open(source.port->ctx, SHARD_CATALOG);
    buf_init(&chunk, 1 << 20);
    while (!last) {
        buf_reset(&chunk);
        assert_true(out->count < CHUNKS_MAX);
        assert_int_equal(
            source.port->export_next(source.port->ctx, export, size_max, &chunk, &last), STATUS_OK);
        out->chunks[out->count++] = bytes_copy(buf_slice(&chunk));
    }
    source.port->export_close(source.port->ctx, export);
    buf_deinit(&chunk);
    halt(&source);
    engine_close(source.engine);
}

static void stream_free(struct stream *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        bytes_unref(self->chunks[i]);
    }
}

static enum status take(struct fixture *f, const struct bytes *chunk) {
    return f->port->ingest(f->port->ctx, SHARD_CATALOG, bytes_slice(chunk));
}

static void ingest_end(struct fixture *f) {
    f->port->ingest_end(f->port->ctx, SHARD_CATALOG, SOURCE_LAST, SLICE_LITERAL("base"));
}

static void take_all(struct fixture *f, const struct stream *stream) {
    f->port->ingest_begin(f->port->ctx, SHARD_CATALOG);
    for (uint32_t i = 0; i < stream->count; i++) {
        assert_int_equal(take(f, stream->chunks[i]), STATUS_OK);
    }
    ingest_end(f);
}

static bool hollow(const struct fixture *f) {
    return f->port->hollow(f->port->ctx, SHARD_CATALOG);
}

static void assert_base(const struct fixture *f, const char *wanted) {
    struct buf out;
    buf_init(&out, 256);
    f->port->base(f->port->ctx, SHARD_CATALOG, &out);
    assert_true(slice_equal(buf_slice(&out), slice_from_string(wanted)));
    buf_deinit(&out);
}

static void assert_like_the_source(const struct fixture *f, const struct stream *stream) {
    uint64_t digest = 0;
    assert_false(hollow(f));
    assert_int_equal(applied(f), SOURCE_LAST);
    assert_int_equal(catalog_version(f->catalog), stream->version);
    assert_int_equal(catalog_digest(f->catalog), stream->digest);
    assert_int_equal(port_digest(f->port, &digest), STATUS_OK);
    assert_int_equal(digest, stream->digest);
    catalog_check(f->catalog);
    assert_base(f, "base");
}

// Goal: a snapshot replaces the node's copy in place, survives a restart, and the log goes on.
static void test_catalog_machine_snapshot_round_trip(void **state) {
    struct fixture *f = *state;
    struct stream stream;
    struct catalog *other = kit_cluster(5);
    struct buf delta;
    struct codec_writer w;
    buf_init(&delta, 1 << 20);
    codec_writer_init(&w, &delta);
    catalog_encode_delta(other, 0, &w);
    for (uint32_t size_max = 1; size_max < 100000; size_max = size_max * 9 + 400) {
        stream_make(&stream, size_max);
        f->changed = 0;
        take_all(f, &stream);
        assert_int_equal(f->changed, 1);
        // Fed by the log again: deltas are for others.
        mark_reset_all();
        assert_int_equal(catalog_apply_delta(f->catalog, buf_slice(&delta)), STATUS_OK);
        assert_int_equal(mark_count("catalog.delta.machine_fed"), 1);
        assert_like_the_source(f, &stream);
        restart(f);
        assert_like_the_source(f, &stream);
        (void)apply_nth(f, SOURCE_LAST + 1);
        f->port->end(f->port->ctx);
        assert_int_equal(applied(f), SOURCE_LAST + 1);
        restart(f);
        assert_int_equal(applied(f), SOURCE_LAST + 1);
        assert_base(f, "base");
        stream_free(&stream);
    }
    buf_deinit(&delta);
    catalog_destroy(other);
}

// Goal: the index is the receiver's to say, and it is what a restart finds.
static void test_catalog_machine_snapshot_index_is_kept(void **state) {
    struct fixture *f = *state;
    struct stream stream;
    stream_make(&stream, 1 << 20);
    f->port->ingest_begin(f->port->ctx, SHARD_CATALOG);
    assert_int_equal(take(f, stream.chunks[0]), STATUS_OK);
    f->port->ingest_end(f->port->ctx, SHARD_CATALOG, SOURCE_LAST + 3, SLICE_EMPTY);
    restart(f);
    assert_int_equal(applied(f), SOURCE_LAST + 3);
    assert_int_equal(catalog_digest(f->catalog), stream.digest);
    stream_free(&stream);
}

// Goal: while it is hollow the copy serves and follows by deltas, and no restart ends that.
static void test_catalog_machine_hollow_copy_follows_deltas(void **state) {
    struct fixture *f = *state;
    struct catalog *other = kit_cluster(5);
    struct buf delta;
    struct codec_writer w;
    uint64_t digest = 0;
    buf_init(&delta, 1 << 20);
    codec_writer_init(&w, &delta);
    catalog_encode_delta(other, 0, &w);
    for (uint64_t index = 1; index <= 3; index++) {
        (void)apply_nth(f, index);
    }
    f->port->end(f->port->ctx);
    const uint64_t before = catalog_digest(f->catalog);
    f->port->ingest_begin(f->port->ctx, SHARD_CATALOG);
    assert_true(hollow(f));
    assert_int_equal(applied(f), 0);
    assert_int_equal(catalog_digest(f->catalog), before);
    assert_int_equal(port_digest(f->port, &digest), STATUS_FAILED_PRECONDITION);
    restart(f);
    assert_true(hollow(f));
    assert_int_equal(applied(f), 0);
    assert_base(f, "");
    assert_int_equal(catalog_apply_delta(f->catalog, buf_slice(&delta)), STATUS_OK);
    assert_int_equal(catalog_version(f->catalog), catalog_version(other));
    buf_deinit(&delta);
    catalog_destroy(other);
}

// Goal: a crash after any batch leaves the old state, a hollow one, or the new one.
static void test_catalog_machine_snapshot_crash_after_each_batch(void **state) {
    struct fixture *f = *state;
    struct stream stream;
    stream_make(&stream, 500);
    const uint64_t batches = stream.count + 2;
    assert_true(stream.count > 3);
    for (uint64_t kept = 0; kept <= batches; kept++) {
        halt(f);
        engine_close(f->engine);
        f->engine = sim_engine_create(&(struct sim_engine_options){0, true});
        assert_int_equal(boot(f, NULL), STATUS_OK);
        (void)apply_nth(f, 1);
        f->port->end(f->port->ctx);
        const uint64_t old = catalog_digest(f->catalog);
        const uint64_t first = sim_engine_sequence(f->engine);
        take_all(f, &stream);
        assert_int_equal(sim_engine_sequence(f->engine), first + batches);
        halt(f);
        sim_engine_crash_at(f->engine, first + kept);
        assert_int_equal(boot(f, NULL), STATUS_OK);
        assert_int_equal(hollow(f), kept > 0 && kept < batches);
        if (kept == 0) {
            assert_int_equal(applied(f), 1);
            assert_int_equal(catalog_digest(f->catalog), old);
            assert_base(f, "");
        } else if (kept == batches) {
            assert_like_the_source(f, &stream);
        } else {
            assert_int_equal(applied(f), 0);
            take_all(f, &stream);
            assert_like_the_source(f, &stream);
        }
    }
    stream_free(&stream);
}

// Goal: without the last chunk, or after a refused one, the end changes nothing.
static void test_catalog_machine_snapshot_without_its_end_stays_hollow(void **state) {
    struct fixture *f = *state;
    struct stream stream;
    mark_reset_all();
    stream_make(&stream, 500);
    ingest_end(f);
    assert_false(hollow(f));
    f->port->ingest_begin(f->port->ctx, SHARD_CATALOG);
    for (uint32_t i = 0; i + 1 < stream.count; i++) {
        assert_int_equal(take(f, stream.chunks[i]), STATUS_OK);
    }
    ingest_end(f);
    assert_true(hollow(f));
    assert_int_equal(take(f, stream.chunks[0]), STATUS_CORRUPT);
    ingest_end(f);
    assert_true(hollow(f));
    assert_int_equal(mark_count("catalog.snapshot_incomplete"), 3);
    // One chunk too many spoils what was whole.
    f->port->ingest_begin(f->port->ctx, SHARD_CATALOG);
    for (uint32_t i = 0; i < stream.count; i++) {
        assert_int_equal(take(f, stream.chunks[i]), STATUS_OK);
    }
    assert_int_equal(take(f, stream.chunks[0]), STATUS_CORRUPT);
    ingest_end(f);
    assert_true(hollow(f));
    stream_free(&stream);
}

// The chunks of a store whose record was overwritten, or is missing when the value is empty.
static enum status take_spoilt(struct fixture *f, struct slice key, struct slice value) {
    static const struct snapshot_span spans[] = {
        {ENGINE_LOCAL, {(const uint8_t *)"\xC0", 1}, {(const uint8_t *)"\xC0\0", 2}},
        {ENGINE_LOCAL, {(const uint8_t *)"\xC1", 1}, {(const uint8_t *)"\xC4", 1}},
    };
    struct fixture source = {.engine = sim_engine_create(&(struct sim_engine_options){0, false})};
    struct buf chunk;
    bool last = false;
    assert_int_equal(boot(&source, NULL), STATUS_OK);
    for (uint64_t index = 1; index <= 7; index++) {
        (void)apply_nth(&source, index);
    }
    source.port->end(source.port->ctx);
    struct engine_batch *batch = engine_batch_create(source.engine);
    if (value.size > 0) {
        engine_put(batch, ENGINE_LOCAL, key, value);
    } else {
        engine_remove(batch, ENGINE_LOCAL, key);
    }
    assert_int_equal(engine_write(source.engine, batch, false), STATUS_OK);
    engine_batch_destroy(batch);
    const struct snapshot_range range = {source.engine, 'c', spans, 2};
    struct state_export *export = snapshot_export_open(&range, SLICE_EMPTY);
    buf_init(&chunk, 1 << 20);
    assert_int_equal(snapshot_export_next(export, 1 << 20, &chunk, &last), STATUS_OK);
    assert_true(last);
    snapshot_export_close(export);
    halt(&source);
    engine_close(source.engine);
    f->port->ingest_begin(f->port->ctx, SHARD_CATALOG);
    const enum status st = f->port->ingest(f->port->ctx, SHARD_CATALOG, buf_slice(&chunk));
    ingest_end(f);
    assert_int_equal(hollow(f), st != STATUS_OK);
    buf_deinit(&chunk);
    return st;
}

// Goal: records that are no catalogue together, or one of which is none, replace nothing.
static void test_catalog_machine_spoilt_snapshot_is_refused(void **state) {
    struct fixture *f = *state;
    const uint64_t before = catalog_digest(f->catalog);
    const struct slice meta = SLICE_LITERAL("\xC0");
    const struct slice node = SLICE_LITERAL("\xC1\0\0\0\3");
    const struct slice shard = SLICE_LITERAL("\xC3\0\0\0\0\0\0\0\x10");
    const struct slice keyspace = SLICE_LITERAL("\xC2\0\0\0\1");
    assert_int_equal(take_spoilt(f, meta, SLICE_EMPTY), STATUS_CORRUPT);
    assert_int_equal(take_spoilt(f, node, SLICE_EMPTY), STATUS_CORRUPT);
    assert_int_equal(take_spoilt(f, shard, SLICE_EMPTY), STATUS_CORRUPT);
    assert_int_equal(take_spoilt(f, keyspace, SLICE_EMPTY), STATUS_CORRUPT);
    assert_int_equal(take_spoilt(f, node, SLICE_LITERAL("garbage")), STATUS_CORRUPT);
    assert_int_equal(take_spoilt(f, meta, SLICE_LITERAL("garbage")), STATUS_CORRUPT);
    assert_int_equal(take_spoilt(f, SLICE_LITERAL("\xC1x"), SLICE_LITERAL("x")), STATUS_CORRUPT);
    assert_int_equal(catalog_digest(f->catalog), before);
    // What is outside the spans does not travel.
    assert_int_equal(take_spoilt(f, SLICE_LITERAL("\xC0\1"), SLICE_LITERAL("\1")), STATUS_OK);
}

static void apply_hollow(void *ctx) {
    struct fixture *f = ctx;
    (void)apply_nth(f, 1);
}

static void test_catalog_machine_hollow_takes_no_entry(void **state) {
    struct fixture *f = *state;
    f->port->ingest_begin(f->port->ctx, SHARD_CATALOG);
    assert_true(death_by_assert(apply_hollow, f));
    restart(f);
    assert_true(death_by_assert(apply_hollow, f));
}

// Goal: a machine made on a copy that already follows others is hollow, now and after a restart:
// the log's first entries are in the copy already.
static void test_catalog_machine_of_a_late_member_is_hollow(void **state) {
    struct fixture *f = *state;
    struct stream stream;
    stream_make(&stream, 500);
    halt(f);
    f->catalog = kit_cluster(5);
    const struct catalog_machine_config config = {
        .catalog = f->catalog, .engine = f->engine, .changed = on_changed, .ctx = f};
    assert_int_equal(catalog_machine_create(&config, &f->machine, NULL), STATUS_OK);
    f->port = catalog_machine_port(f->machine);
    assert_true(hollow(f));
    restart(f);
    assert_true(hollow(f));
    take_all(f, &stream);
    assert_like_the_source(f, &stream);
    stream_free(&stream);
}

int main(void) {
#define MACHINE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        MACHINE_TEST(test_catalog_machine_results),
        MACHINE_TEST(test_catalog_machine_end_writes_one_batch),
        MACHINE_TEST(test_catalog_machine_restart_loads_the_same),
        MACHINE_TEST(test_catalog_machine_without_end_nothing_is_stored),
        MACHINE_TEST(test_catalog_machine_crash_and_replay_converge),
        MACHINE_TEST(test_catalog_machine_damaged_store_is_corrupt),
        MACHINE_TEST(test_catalog_machine_missing_record_is_corrupt),
        MACHINE_TEST(test_catalog_machine_rotten_block_is_corrupt),
        MACHINE_TEST(test_catalog_machine_leaves_other_keys_alone),
        MACHINE_TEST(test_catalog_machine_fed_catalogue_skips_deltas),
        MACHINE_TEST(test_catalog_machine_repeated_registration_is_no_change),
        MACHINE_TEST(test_catalog_machine_failed_write_stops_the_process),
        MACHINE_TEST(test_catalog_machine_snapshot_round_trip),
        MACHINE_TEST(test_catalog_machine_snapshot_index_is_kept),
        MACHINE_TEST(test_catalog_machine_hollow_copy_follows_deltas),
        MACHINE_TEST(test_catalog_machine_snapshot_crash_after_each_batch),
        MACHINE_TEST(test_catalog_machine_snapshot_without_its_end_stays_hollow),
        MACHINE_TEST(test_catalog_machine_spoilt_snapshot_is_refused),
        MACHINE_TEST(test_catalog_machine_hollow_takes_no_entry),
        MACHINE_TEST(test_catalog_machine_of_a_late_member_is_hollow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
