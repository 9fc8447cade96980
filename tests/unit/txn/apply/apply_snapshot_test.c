// SPDX-License-Identifier: Apache-2.0
// A shard leaves one replica and comes into another, which has a state of its own and a disk that
// crashes: after every batch, the receiver is what it was, or hollow, or what the sender was.
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "storage/snapshot/snapshot.h"
#include "tests/unit/dataplane/base/death.h"
#include "tests/unit/txn/apply/apply_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { CHUNKS_MAX = 64, OLD = 5, NEW = 40 };

static const struct shard_id ONE = {1};
static const struct shard_id TWO = {2};
static const struct slice BASE = {(const uint8_t *)"base", 4};

// Shard 1 has the keys from a to m, shard 2 those from m on.
struct world {
    struct fixture from;
    struct fixture to;
    struct bytes *chunks[CHUNKS_MAX];
    uint32_t chunk_count;
};

static void set_ranges(struct fixture *f) {
    apply_set_range(f->apply, ONE, SLICE_LITERAL("\0\0\0\1a"), SLICE_LITERAL("\0\0\0\1m"));
    apply_set_range(f->apply, TWO, SLICE_LITERAL("\0\0\0\1m"), SLICE_EMPTY);
}

static void open_on(struct fixture *f, struct engine *engine) {
    fixture_open(f, engine);
    set_ranges(f);
}

static void end(struct fixture *f) {
    f->machine->end(f->machine->ctx);
}

// The first n entries of one history of shard 1, and some of shard 2.
static void run_history(struct fixture *f, uint64_t n) {
    for (uint64_t i = f->index[0]; i < n; i++) {
        char key[16];
        char value[16];
        (void)snprintf(key, sizeof(key), "%c%u", (int)('a' + i % 12), (unsigned)(i % 5));
        (void)snprintf(value, sizeof(value), "v%u", (unsigned)i);
        f->next_id = 1000 + i;
        f->clock.v = 5000 + 10 * i;
        if (i % 7 == 6) {
            (void)fixture_run(f, 1, OPS(EXISTS("nothing"), DELETE(key)));
        } else if (i % 5 == 4) {
            (void)fixture_run(f, 1, OPS(DELETE(key)));
        } else {
            (void)fixture_run(f, 1, OPS(PUT(key, value)));
        }
    }
}

static void run_other_shard(struct fixture *f) {
    f->next_id = 77;
    f->clock.v = 100;
    (void)fixture_run(f, 2, OPS(PUT("m", "own"), PUT("zz", "own")));
    end(f);
}

static void export_all(struct world *w, uint32_t size_max) {
    const struct state_machine *m = w->from.machine;
    struct state_export *state = m->export_open(m->ctx, ONE);
    struct buf out;
    bool last = false;
    buf_init(&out, 1 << 20);
    while (!last) {
        buf_reset(&out);
        assert_true(w->chunk_count < CHUNKS_MAX);
        assert_int_equal(m->export_next(m->ctx, state, size_max, &out, &last), STATUS_OK);
        w->chunks[w->chunk_count++] = bytes_copy(buf_slice(&out));
    }
    buf_deinit(&out);
    m->export_close(m->ctx, state);
}

static void drop_chunks(struct world *w) {
    while (w->chunk_count > 0) {
        bytes_unref(w->chunks[--w->chunk_count]);
    }
}

static int setup(void **state) {
    struct world *w = mem_alloc(sizeof(*w));
    open_on(&w->from, sim_engine_create(&(struct sim_engine_options){0}));
    open_on(&w->to, sim_engine_create(&(struct sim_engine_options){.deferred = true}));
    run_history(&w->from, NEW);
    run_other_shard(&w->from);
    run_history(&w->to, OLD);
    run_other_shard(&w->to);
    end(&w->from);
    export_all(w, 300);
    assert_true(w->chunk_count > 5);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    struct engine *from = w->from.engine;
    struct engine *to = w->to.engine;
    drop_chunks(w);
    fixture_close(&w->from);
    fixture_close(&w->to);
    engine_close(from);
    engine_close(to);
    mem_free(w);
    return 0;
}

static void restart(struct fixture *f) {
    struct engine *engine = f->engine;
    fixture_close(f);
    open_on(f, engine);
}

static uint64_t applied(const struct fixture *f, struct shard_id shard) {
    return f->machine->applied(f->machine->ctx, shard);
}

static bool hollow(const struct fixture *f, struct shard_id shard) {
    return f->machine->hollow(f->machine->ctx, shard);
}

static uint64_t digest(const struct fixture *f, struct shard_id shard) {
    uint64_t out = 0;
    assert_int_equal(fixture_digest_shard(f, shard, &out), STATUS_OK);
    return out;
}

static void begin(struct fixture *f) {
    f->machine->ingest_begin(f->machine->ctx, ONE);
}

static enum status take(struct fixture *f, const struct bytes *chunk) {
    return f->machine->ingest(f->machine->ctx, ONE, bytes_slice(chunk));
}

static void finish(struct fixture *f) {
    f->machine->ingest_end(f->machine->ctx, ONE, NEW, BASE);
}

static void take_all(struct world *w) {
    begin(&w->to);
    for (uint32_t i = 0; i < w->chunk_count; i++) {
        assert_int_equal(take(&w->to, w->chunks[i]), STATUS_OK);
    }
    finish(&w->to);
}

static void assert_base(struct fixture *f, struct slice wanted) {
    struct buf out;
    buf_init(&out, 1 << 10);
    assert_int_equal(buf_append(&out, SLICE_LITERAL("what was there before")), STATUS_OK);
    f->machine->base(f->machine->ctx, ONE, &out);
    assert_true(slice_equal(buf_slice(&out), wanted));
    buf_deinit(&out);
}

// Equal to the sender now, and after the same further entries.
static void assert_like_the_sender(struct world *w) {
    assert_false(hollow(&w->to, ONE));
    assert_int_equal(applied(&w->to, ONE), NEW);
    assert_int_equal(digest(&w->to, ONE), digest(&w->from, ONE));
    assert_base(&w->to, BASE);
}

// Goal: versions, outcomes, index and clock arrive; what comes later has the same effects.
static void test_apply_snapshot_round_trip(void **state) {
    struct world *w = *state;
    const uint64_t other = digest(&w->to, TWO);
    assert_base(&w->to, SLICE_EMPTY);
    take_all(w);
    assert_like_the_sender(w);
    assert_int_equal(digest(&w->to, TWO), other);
    restart(&w->to);
    assert_like_the_sender(w);
    // A repeat of a commit whose outcome came with the snapshot gets that outcome.
    struct fixture *both[] = {&w->from, &w->to};
    for (int i = 0; i < 2; i++) {
        struct fixture *f = both[i];
        f->index[0] = NEW;
        f->clock.v = 50000;
        f->next_id = 6000;
        struct slice repeat = fixture_commit(f, fixture_id(1000 + 7), OPS(PUT("h2", "v6")));
        struct apply_result result = fixture_apply(f, 1, repeat);
        assert_int_equal(result.status, STATUS_INVALID_ARGUMENT);  // the id had another body
        repeat = fixture_commit(f, fixture_id(1000 + 8), OPS(PUT("h2", "v7")));
        result = fixture_apply(f, 1, repeat);
        assert_int_equal(result.status, STATUS_OK);
        assert_int_equal(fixture_outcome(&result).timestamp.v, 5000 + 10 * 7 + 1);
        (void)fixture_run(f, 1, OPS(EXISTS("a0"), PUT("a0", "later")));
        end(f);
    }
    assert_int_equal(digest(&w->to, ONE), digest(&w->from, ONE));
    assert_string_equal(fixture_get(&w->to, "a0"), "later");
}

// Goal: what is applied while the snapshot is read out is not in it.
static void test_apply_snapshot_is_of_its_index(void **state) {
    struct world *w = *state;
    const uint64_t then = digest(&w->from, ONE);
    const struct state_machine *m = w->from.machine;
    struct state_export *export = m->export_open(m->ctx, ONE);
    struct buf out;
    bool last = false;
    buf_init(&out, 1 << 20);
    begin(&w->to);
    w->from.index[0] = NEW;
    w->from.clock.v = 90000;
    w->from.next_id = 5000;
    while (!last) {
        buf_reset(&out);
        (void)fixture_run(&w->from, 1, OPS(PUT("b1", "later"), DELETE("l4")));
        end(&w->from);
        assert_int_equal(m->export_next(m->ctx, export, 200, &out, &last), STATUS_OK);
        assert_int_equal(w->to.machine->ingest(w->to.machine->ctx, ONE, buf_slice(&out)),
                         STATUS_OK);
    }
    finish(&w->to);
    assert_int_equal(digest(&w->to, ONE), then);
    buf_deinit(&out);
    m->export_close(m->ctx, export);
}

// Goal: a crash after any batch leaves the receiver whole at the old index, or hollow, or whole at
// the new one; and from there the snapshot comes through.
static void test_apply_snapshot_crash_after_each_batch(void **state) {
    struct world *w = *state;
    int seen[3] = {0, 0, 0};
    sim_engine_make_durable(w->to.engine, sim_engine_sequence(w->to.engine));
    const uint64_t old = digest(&w->to, ONE);
    const uint64_t other = digest(&w->to, TWO);
    const uint64_t first = sim_engine_sequence(w->to.engine);
    const uint64_t batches = 2 + w->chunk_count;
    for (uint64_t kept = 0; kept <= batches; kept++) {
        take_all(w);
        assert_int_equal(sim_engine_sequence(w->to.engine), first + batches);
        sim_engine_crash_at(w->to.engine, first + kept);
        restart(&w->to);
        assert_int_equal(digest(&w->to, TWO), other);
        if (kept == 0) {
            assert_false(hollow(&w->to, ONE));
            assert_int_equal(applied(&w->to, ONE), OLD);
            assert_int_equal(digest(&w->to, ONE), old);
            assert_base(&w->to, SLICE_EMPTY);
            seen[0]++;
        } else if (kept < batches) {
            uint64_t none = 0;
            assert_true(hollow(&w->to, ONE));
            assert_int_equal(applied(&w->to, ONE), 0);
            assert_int_equal(fixture_digest_shard(&w->to, ONE, &none), STATUS_FAILED_PRECONDITION);
            assert_base(&w->to, SLICE_EMPTY);
            seen[1]++;
        } else {
            assert_like_the_sender(w);
            seen[2]++;
        }
        if (kept > 0) {
            take_all(w);
            assert_like_the_sender(w);
        }
        // The old state again, on a disk of its own.
        struct engine *engine = w->to.engine;
        fixture_close(&w->to);
        engine_close(engine);
        open_on(&w->to, sim_engine_create(&(struct sim_engine_options){.deferred = true}));
        run_history(&w->to, OLD);
        run_other_shard(&w->to);
        sim_engine_make_durable(w->to.engine, sim_engine_sequence(w->to.engine));
        assert_int_equal(sim_engine_sequence(w->to.engine), first);
    }
    assert_true(seen[0] == 1 && seen[1] > 5 && seen[2] == 1);
}

// Goal: an end before the last chunk, after a refused one, or without a beginning changes nothing.
static void test_apply_snapshot_without_its_end_stays_hollow(void **state) {
    struct world *w = *state;
    mark_reset_all();
    finish(&w->to);
    assert_false(hollow(&w->to, ONE));
    assert_int_equal(applied(&w->to, ONE), OLD);
    begin(&w->to);
    assert_true(hollow(&w->to, ONE));
    assert_int_equal(applied(&w->to, ONE), 0);
    finish(&w->to);
    assert_true(hollow(&w->to, ONE));
    for (uint32_t i = 0; i + 1 < w->chunk_count; i++) {
        assert_int_equal(take(&w->to, w->chunks[i]), STATUS_OK);
    }
    finish(&w->to);
    assert_true(hollow(&w->to, ONE));
    assert_int_equal(take(&w->to, w->chunks[0]), STATUS_CORRUPT);
    finish(&w->to);
    assert_int_equal(mark_count("apply.snapshot_incomplete"), 4);
    assert_true(hollow(&w->to, ONE));
    restart(&w->to);
    assert_true(hollow(&w->to, ONE));
    take_all(w);
    assert_like_the_sender(w);
}

// Goal: a second snapshot leaves nothing of the first.
static void test_apply_snapshot_replaces_everything(void **state) {
    struct world *w = *state;
    take_all(w);
    w->from.index[0] = NEW;
    w->from.clock.v = 90000;
    w->from.next_id = 5000;
    (void)fixture_run(&w->from, 1, OPS(DELETE_RANGE("a", "m")));
    end(&w->from);
    drop_chunks(w);
    export_all(w, 1 << 20);
    assert_int_equal(w->chunk_count, 1);
    begin(&w->to);
    assert_base(&w->to, SLICE_EMPTY);
    assert_int_equal(sim_engine_count(w->to.engine), 1 + 4);  // the mark, and shard 2
    assert_int_equal(take(&w->to, w->chunks[0]), STATUS_OK);
    w->to.machine->ingest_end(w->to.machine->ctx, ONE, NEW + 1, SLICE_LITERAL("next"));
    assert_base(&w->to, SLICE_LITERAL("next"));
    assert_int_equal(digest(&w->to, ONE), digest(&w->from, ONE));
    assert_string_equal(fixture_get(&w->to, "b1"), "-");
}

static void test_apply_remove_drops_mark_and_base(void **state) {
    struct world *w = *state;
    take_all(w);
    w->to.machine->remove(w->to.machine->ctx, ONE);
    assert_int_equal(sim_engine_count(w->to.engine), 4);
    set_ranges(&w->to);
    begin(&w->to);
    assert_int_equal(take(&w->to, w->chunks[0]), STATUS_OK);
    w->to.machine->remove(w->to.machine->ctx, ONE);
    assert_int_equal(sim_engine_count(w->to.engine), 4);
    assert_false(hollow(&w->to, ONE));
}

static void apply_hollow(void *ctx) {
    struct fixture *f = ctx;
    f->index[0] = 0;
    (void)fixture_run(f, 1, OPS(PUT("a", "1")));
}

static void export_hollow(void *ctx) {
    struct fixture *f = ctx;
    (void)f->machine->export_open(f->machine->ctx, ONE);
}

// The next replica of the shard may have been announced before the last one went.
static void test_apply_remove_keeps_the_range(void **state) {
    struct world *w = *state;
    run_history(&w->to, OLD);
    end(&w->to);
    w->to.machine->remove(w->to.machine->ctx, ONE);
    assert_int_equal(w->to.machine->applied(w->to.machine->ctx, ONE), 0);
    w->to.machine->ingest_begin(w->to.machine->ctx, ONE);
    assert_true(w->to.machine->hollow(w->to.machine->ctx, ONE));
}

static void test_apply_hollow_shard_takes_no_entry(void **state) {
    struct world *w = *state;
    begin(&w->to);
    assert_true(death_by_assert(apply_hollow, &w->to));
    assert_true(death_by_assert(export_hollow, &w->to));
    restart(&w->to);
    assert_true(death_by_assert(apply_hollow, &w->to));
}

static void test_apply_snapshot_on_a_full_disk(void **state) {
    struct world *w = *state;
    begin(&w->to);
    assert_int_equal(take(&w->to, w->chunks[0]), STATUS_OK);
    sim_engine_set_full(w->to.engine, true);
    assert_int_equal(take(&w->to, w->chunks[1]), STATUS_NO_SPACE);
    sim_engine_set_full(w->to.engine, false);
    finish(&w->to);
    assert_true(hollow(&w->to, ONE));
    take_all(w);
    assert_like_the_sender(w);
}

// --- Chunks that no replica sends ---

// An export of a raw store in the form of a data shard's.
static enum status take_forged(struct world *w, enum engine_family family, struct slice key,
                               struct slice value, uint64_t timestamp) {
    struct engine *raw = sim_engine_create(&(struct sim_engine_options){0});
    struct engine_batch *batch = engine_batch_create(raw);
    engine_put(batch, family, key, value);
    assert_int_equal(engine_write(raw, batch, false), STATUS_OK);
    engine_batch_destroy(batch);
    const struct snapshot_span spans[] = {
        {ENGINE_LOCAL, SLICE_LITERAL("\x10"), SLICE_LITERAL("\x13")},
        {ENGINE_LOCAL, SLICE_LITERAL("\x14"), SLICE_LITERAL("\x15")},
        {ENGINE_VERSION, SLICE_LITERAL("\0"), SLICE_LITERAL("\xff")},
    };
    const struct snapshot_range range = {raw, 'd', spans, 3};
    uint8_t meta[9] = {1};
    codec_store_u64(meta + 1, timestamp);
    struct state_export *export = snapshot_export_open(&range, slice_make(meta, sizeof(meta)));
    struct buf out;
    bool last = false;
    buf_init(&out, 1 << 20);
    assert_int_equal(snapshot_export_next(export, 1 << 20, &out, &last), STATUS_OK);
    assert_true(last);
    begin(&w->to);
    const enum status st = w->to.machine->ingest(w->to.machine->ctx, ONE, buf_slice(&out));
    snapshot_export_close(export);
    buf_deinit(&out);
    engine_close(raw);
    if (st != STATUS_OK) {
        finish(&w->to);
        assert_true(hollow(&w->to, ONE));
        assert_int_equal(sim_engine_count(w->to.engine), 1 + 4);
    }
    return st;
}

static struct slice version_key(const char *key, uint64_t ts, uint8_t out[MVCC_KEY_SIZE_MAX]) {
    uint8_t user[32] = {0, 0, 0, 1};
    memcpy(user + 4, key, strlen(key));
    const struct slice full = slice_make(user, 4 + strlen(key));
    return slice_make(out, mvcc_key_encode(full, (struct hlc_ts){ts}, out));
}

// Goal: a version that its reader could not bear, or that is not of this shard or its time.
static void test_apply_snapshot_with_bad_versions_is_refused(void **state) {
    struct world *w = *state;
    uint8_t key[MVCC_KEY_SIZE_MAX];
    const struct slice put = SLICE_LITERAL("\x01value");
    assert_int_equal(take_forged(w, ENGINE_VERSION, version_key("b", 9, key), put, 9), STATUS_OK);
    assert_int_equal(take_forged(w, ENGINE_VERSION, version_key("b", 10, key), put, 9),
                     STATUS_CORRUPT);
    assert_int_equal(take_forged(w, ENGINE_VERSION, version_key("m", 9, key), put, 9),
                     STATUS_CORRUPT);
    assert_int_equal(take_forged(w, ENGINE_VERSION, version_key("Z", 9, key), put, 9),
                     STATUS_CORRUPT);
    const struct slice cut = version_key("b", 9, key);
    for (size_t size = 1; size < cut.size; size++) {
        assert_int_equal(take_forged(w, ENGINE_VERSION, slice_make(cut.data, cut.size - size), put,
                                     UINT64_MAX - 1),
                         STATUS_CORRUPT);
    }
    const struct slice values[] = {SLICE_EMPTY, SLICE_LITERAL("\x08"), SLICE_LITERAL("\x02x"),
                                   SLICE_LITERAL("\x81"), SLICE_LITERAL("\x81\x0a")};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        assert_int_equal(take_forged(w, ENGINE_VERSION, version_key("b", 9, key), values[i], 9),
                         STATUS_CORRUPT);
    }
    assert_int_equal(take_forged(w, ENGINE_VERSION, version_key("b", 9, key), put, UINT64_MAX),
                     STATUS_CORRUPT);
}

static void test_apply_snapshot_with_bad_outcomes_is_refused(void **state) {
    struct world *w = *state;
    struct buf value;
    struct codec_writer writer;
    uint8_t key[1 + 8 + sizeof(struct txn_id) + 1] = {0x11, 0, 0, 0, 0, 0, 0, 0, 1, 0xEE};
    const struct slice name = slice_make(key, sizeof(key) - 1);
    buf_init(&value, 256);
    codec_writer_init(&writer, &value);
    codec_put_u8(&writer, 1);
    command_outcome_encode(&writer, &(struct command_outcome){.timestamp = {5}});
    const struct slice sound = buf_slice(&value);
    assert_int_equal(take_forged(w, ENGINE_LOCAL, name, sound, 9), STATUS_OK);
    assert_int_equal(take_forged(w, ENGINE_LOCAL, slice_make(key, sizeof(key)), sound, 9),
                     STATUS_CORRUPT);
    assert_int_equal(take_forged(w, ENGINE_LOCAL, slice_make(key, sizeof(key) - 2), sound, 9),
                     STATUS_CORRUPT);
    for (size_t size = 0; size < sound.size; size++) {
        assert_int_equal(take_forged(w, ENGINE_LOCAL, name, slice_make(sound.data, size), 9),
                         STATUS_CORRUPT);
    }
    key[8] = 2;  // of shard 2
    assert_int_equal(take_forged(w, ENGINE_LOCAL, name, sound, 9), STATUS_CORRUPT);
    key[8] = 1;
    key[0] = 0x10;  // an applied index
    assert_int_equal(take_forged(w, ENGINE_LOCAL, slice_make(key, 9), sound, 9), STATUS_CORRUPT);
    key[0] = 0x12;  // the mark
    assert_int_equal(take_forged(w, ENGINE_LOCAL, slice_make(key, 9), sound, 9), STATUS_CORRUPT);
    buf_deinit(&value);
}

// Goal: the receiver's range is what counts, not the sender's.
static void test_apply_snapshot_of_a_wider_range_is_refused(void **state) {
    struct world *w = *state;
    apply_set_range(w->to.apply, ONE, SLICE_LITERAL("\0\0\0\1a"), SLICE_LITERAL("\0\0\0\1c"));
    begin(&w->to);
    enum status st = STATUS_OK;
    for (uint32_t i = 0; i < w->chunk_count && st == STATUS_OK; i++) {
        st = take(&w->to, w->chunks[i]);
    }
    assert_int_equal(st, STATUS_CORRUPT);
    finish(&w->to);
    assert_true(hollow(&w->to, ONE));
}

// --- Digest ---

enum { APPLY_KEY_SIZE = 1 + 8 + 16 };
// Format, ABORTED, attempt 1/1, begin, p, c, ended far ahead, not forgotten.
static const uint8_t aborted_record[] = {1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0,
                                         0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                         0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};

// Goal: the digest tells one changed, missing or added record of each kind; nothing of other shards
// and no old outcome counts.
static void test_apply_digest_of_a_shard(void **state) {
    struct world *w = *state;
    uint8_t key[MVCC_KEY_SIZE_MAX];
    uint64_t out = 0;
    take_all(w);
    const uint64_t same = digest(&w->from, ONE);
    assert_int_equal(digest(&w->to, ONE), same);
    w->to.next_id = 900;
    w->to.index[1] = applied(&w->to, TWO);
    w->to.clock.v = 200;
    (void)fixture_run(&w->to, 2, OPS(PUT("x", "1")));
    assert_int_equal(digest(&w->to, ONE), same);
    const struct slice version = version_key("a0", 5001, key);
    assert_int_equal(
        sim_engine_overwrite(w->to.engine, ENGINE_VERSION, version, SLICE_LITERAL("\x01V0")),
        STATUS_OK);
    assert_int_not_equal(digest(&w->to, ONE), same);
    assert_int_equal(
        sim_engine_overwrite(w->to.engine, ENGINE_VERSION, version, SLICE_LITERAL("\x01v0")),
        STATUS_OK);
    assert_int_equal(digest(&w->to, ONE), same);
    struct engine_batch *batch = engine_batch_create(w->to.engine);
    uint8_t record[APPLY_KEY_SIZE] = {0x14, 0, 0, 0, 0, 0, 0, 0, (uint8_t)ONE.v};
    const struct slice aborted = slice_make(record, sizeof(record));
    engine_put(batch, ENGINE_LOCAL, aborted, slice_make(aborted_record, sizeof(aborted_record)));
    assert_int_equal(engine_write(w->to.engine, batch, false), STATUS_OK);
    assert_int_not_equal(digest(&w->to, ONE), same);
    engine_batch_clear(batch);
    engine_remove(batch, ENGINE_LOCAL, aborted);
    assert_int_equal(engine_write(w->to.engine, batch, false), STATUS_OK);
    assert_int_equal(digest(&w->to, ONE), same);
    engine_batch_clear(batch);
    engine_remove(batch, ENGINE_VERSION, version);
    assert_int_equal(engine_write(w->to.engine, batch, false), STATUS_OK);
    assert_int_not_equal(digest(&w->to, ONE), same);
    engine_batch_destroy(batch);
    assert_int_equal(sim_engine_corrupt(w->to.engine, ENGINE_VERSION, version_key("b1", 5011, key)),
                     STATUS_OK);
    assert_int_equal(fixture_digest_shard(&w->to, ONE, &out), STATUS_CORRUPT);
}

// Goal: removing old outcomes, which each replica does when it has time, is not seen.
static void test_apply_digest_ignores_old_outcomes(void **state) {
    struct world *w = *state;
    take_all(w);
    struct fixture *both[] = {&w->from, &w->to};
    for (int i = 0; i < 2; i++) {
        both[i]->index[0] = NEW;
        both[i]->clock.v = hlc_add_us((struct hlc_ts){5000}, APPLY_OUTCOME_KEPT_US).v + 30000;
        both[i]->next_id = 8000;
        (void)fixture_run(both[i], 1, OPS(PUT("c", "next day")));
        end(both[i]);
    }
    assert_true(apply_collect(w->from.apply, 1000) > 10);
    assert_int_equal(digest(&w->from, ONE), digest(&w->to, ONE));
    // The index counts: two digests are of the same entry, or differ.
    const struct log_entry empty = {.index = NEW + 2, .term = 1, .kind = LOG_ENTRY_EMPTY};
    struct apply_result result;
    w->from.machine->apply(w->from.machine->ctx, ONE, &empty, &result);
    assert_int_not_equal(digest(&w->from, ONE), digest(&w->to, ONE));
}

enum { SLICE = 700, SLICE_OVER = 1024 + 128 + 256 };  // by at most a search and a record

// Goal: writes between the slices, whatever they do, and old outcomes that go, change nothing; and
// no slice is larger than it was asked to be.
static void test_apply_digest_in_slices_is_of_its_index(void **state) {
    struct world *w = *state;
    const struct state_machine *m = w->from.machine;
    const uint64_t then = digest(&w->from, ONE);
    struct state_digest_slice slice = {0};
    uint32_t slices = 0;
    w->from.index[0] = NEW;
    w->from.clock.v = 90000;
    w->from.next_id = 8000;
    struct state_digest *view = m->digest_open(m->ctx, ONE);
    for (; !slice.last; slices++) {
        if (slices == 5) {
            w->from.clock.v = hlc_add_us((struct hlc_ts){5000}, APPLY_OUTCOME_KEPT_US).v + 30000;
        }
        (void)fixture_run(&w->from, 1, OPS(PUT("a0", "later"), PUT("zz", "new"), DELETE("l4")));
        end(&w->from);
        (void)apply_collect(w->from.apply, 1000);
        assert_int_equal(m->digest_next(m->ctx, view, SLICE, &slice), STATUS_OK);
        assert_in_range(slice.size, 1, SLICE + SLICE_OVER);
    }
    m->digest_close(m->ctx, view);
    assert_true(slices > 10);
    assert_int_equal(slice.digest, then);
    assert_int_not_equal(digest(&w->from, ONE), then);
}

// Goal: a shard that was told another range is another shard; the same one again changes nothing.
static void test_apply_digest_ends_with_its_range(void **state) {
    struct world *w = *state;
    const struct state_machine *m = w->from.machine;
    struct state_digest_slice slice;
    struct state_digest *view = m->digest_open(m->ctx, ONE);
    assert_int_equal(m->digest_next(m->ctx, view, SLICE, &slice), STATUS_OK);
    apply_set_range(w->from.apply, ONE, SLICE_LITERAL("\0\0\0\1a"), SLICE_LITERAL("\0\0\0\1m"));
    assert_int_equal(m->digest_next(m->ctx, view, SLICE, &slice), STATUS_OK);
    assert_false(slice.last);
    apply_set_range(w->from.apply, ONE, SLICE_LITERAL("\0\0\0\1a"), SLICE_LITERAL("\0\0\0\1f"));
    assert_int_equal(m->digest_next(m->ctx, view, SLICE, &slice), STATUS_FAILED_PRECONDITION);
    m->digest_close(m->ctx, view);
}

#define SNAPSHOT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        SNAPSHOT_TEST(test_apply_snapshot_round_trip),
        SNAPSHOT_TEST(test_apply_snapshot_is_of_its_index),
        SNAPSHOT_TEST(test_apply_snapshot_crash_after_each_batch),
        SNAPSHOT_TEST(test_apply_snapshot_without_its_end_stays_hollow),
        SNAPSHOT_TEST(test_apply_snapshot_replaces_everything),
        SNAPSHOT_TEST(test_apply_remove_drops_mark_and_base),
        SNAPSHOT_TEST(test_apply_remove_keeps_the_range),
        SNAPSHOT_TEST(test_apply_hollow_shard_takes_no_entry),
        SNAPSHOT_TEST(test_apply_snapshot_on_a_full_disk),
        SNAPSHOT_TEST(test_apply_snapshot_with_bad_versions_is_refused),
        SNAPSHOT_TEST(test_apply_snapshot_with_bad_outcomes_is_refused),
        SNAPSHOT_TEST(test_apply_snapshot_of_a_wider_range_is_refused),
        SNAPSHOT_TEST(test_apply_digest_of_a_shard),
        SNAPSHOT_TEST(test_apply_digest_ignores_old_outcomes),
        SNAPSHOT_TEST(test_apply_digest_in_slices_is_of_its_index),
        SNAPSHOT_TEST(test_apply_digest_ends_with_its_range),
    };
    return cmocka_run_group_tests_name("apply_snapshot", tests, NULL, NULL);
}
