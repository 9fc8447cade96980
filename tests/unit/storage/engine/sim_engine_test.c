// SPDX-License-Identifier: Apache-2.0
// The simulated store: conforms like the real one, and its disk fails exactly as told.
#include "tests/sim/disk/sim_engine.h"

#include "dataplane/base/mem.h"
#include "tests/unit/storage/engine/engine_conformance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

struct fixture {
    struct engine *engine;
    struct engine_batch *batch;
    struct buf value;
    struct prng prng;
};

static void start(struct fixture *f, const struct sim_engine_options *options) {
    f->engine = sim_engine_create(options);
    f->batch = engine_batch_create(f->engine);
    buf_init(&f->value, 1024);
    prng_init(&f->prng, 7);
}

static void stop(struct fixture *f) {
    sim_engine_check(f->engine);
    engine_batch_destroy(f->batch);
    engine_close(f->engine);
    buf_deinit(&f->value);
}

static struct slice key_of(int i, char out[16]) {
    (void)snprintf(out, 16, "k%05d", i);
    return slice_make(out, 6);
}

static void put(struct fixture *f, int i, bool sync) {
    char key[16];
    engine_batch_clear(f->batch);
    engine_put(f->batch, ENGINE_LOG, key_of(i, key), SLICE_LITERAL("value"));
    assert_int_equal(engine_write(f->engine, f->batch, sync), STATUS_OK);
}

static enum status get(struct fixture *f, int i) {
    char key[16];
    return engine_get(f->engine, ENGINE_LOG, key_of(i, key), &f->value);
}

// Number of keys k0, k1, ... that are there; none may follow a missing one.
static int prefix_length(struct fixture *f, int count) {
    int n = 0;
    while (n < count && get(f, n) == STATUS_OK) {
        n++;
    }
    for (int i = n; i < count; i++) {
        assert_int_equal(get(f, i), STATUS_NOT_FOUND);
    }
    return n;
}

// Over many crashes every prefix from the synced one to all of it comes up, and nothing else.
static void test_sim_engine_crash_keeps_a_prefix_from_the_synced(void **state) {
    (void)state;
    bool seen[11] = {false};
    struct prng prng;
    prng_init(&prng, 1);
    for (int run = 0; run < 200; run++) {
        struct fixture f;
        start(&f, &(struct sim_engine_options){0});
        for (int i = 0; i < 10; i++) {
            put(&f, i, i == 5);
        }
        const uint64_t lost = sim_engine_crash(f.engine, &prng);
        const int n = prefix_length(&f, 10);
        assert_in_range(n, 6, 10);
        assert_int_equal(lost, 10 - n);
        seen[n] = true;
        // What survived a crash is on the disk: the next crash finds it again.
        assert_int_equal(sim_engine_crash(f.engine, &prng), 0);
        stop(&f);
    }
    for (int n = 6; n <= 10; n++) {
        assert_true(seen[n]);
    }
}

// A crash undoes overwrites, removals and range removals, not only insertions.
static void test_sim_engine_crash_restores_what_was_changed(void **state) {
    (void)state;
    struct fixture f;
    start(&f, &(struct sim_engine_options){.deferred = true});
    for (int i = 0; i < 100; i++) {
        put(&f, i, false);
    }
    sim_engine_make_durable(f.engine, sim_engine_sequence(f.engine));
    const uint64_t digest = sim_engine_digest(f.engine);
    engine_batch_clear(f.batch);
    engine_put(f.batch, ENGINE_LOG, SLICE_LITERAL("k00001"), SLICE_LITERAL("other"));
    engine_remove(f.batch, ENGINE_LOG, SLICE_LITERAL("k00002"));
    engine_remove_range(f.batch, ENGINE_LOG, SLICE_LITERAL("k00050"), SLICE_LITERAL("k00060"));
    assert_int_equal(engine_write(f.engine, f.batch, true), STATUS_OK);
    const uint64_t changed = sim_engine_digest(f.engine);
    assert_true(changed != digest);
    assert_int_equal(sim_engine_count(f.engine), 89);
    while (sim_engine_crash(f.engine, &f.prng) == 0) {
        // Kept, by chance: write it once more.
        assert_true(sim_engine_digest(f.engine) == changed);
        engine_batch_clear(f.batch);
        for (int i = 0; i < 100; i++) {
            char key[16];
            engine_put(f.batch, ENGINE_LOG, key_of(i, key), SLICE_LITERAL("value"));
        }
        assert_int_equal(engine_write(f.engine, f.batch, true), STATUS_OK);
        sim_engine_make_durable(f.engine, sim_engine_sequence(f.engine));
        engine_batch_clear(f.batch);
        engine_remove_range(f.batch, ENGINE_LOG, SLICE_LITERAL("k00050"), SLICE_LITERAL("k00060"));
        assert_int_equal(engine_write(f.engine, f.batch, true), STATUS_OK);
    }
    assert_int_equal(sim_engine_count(f.engine), 100);
    assert_true(sim_engine_digest(f.engine) == digest);
    stop(&f);
}

static void test_sim_engine_deferred_sync_is_durable_when_told(void **state) {
    (void)state;
    struct fixture f;
    start(&f, &(struct sim_engine_options){.deferred = true});
    put(&f, 0, true);
    put(&f, 1, true);
    assert_int_equal(engine_flush(f.engine), STATUS_OK);
    assert_int_equal(sim_engine_sequence(f.engine), 2);
    assert_int_equal(sim_engine_durable(f.engine), 0);
    sim_engine_make_durable(f.engine, 1);
    assert_int_equal(sim_engine_durable(f.engine), 1);
    sim_engine_make_durable(f.engine, 0);
    assert_int_equal(sim_engine_durable(f.engine), 1);
    (void)sim_engine_crash(f.engine, &f.prng);
    assert_in_range(prefix_length(&f, 2), 1, 2);
    stop(&f);
}

static void test_sim_engine_flush_is_durable(void **state) {
    (void)state;
    struct fixture f;
    start(&f, &(struct sim_engine_options){0});
    put(&f, 0, false);
    assert_int_equal(engine_flush(f.engine), STATUS_OK);
    assert_int_equal(sim_engine_crash(f.engine, &f.prng), 0);
    assert_int_equal(get(&f, 0), STATUS_OK);
    stop(&f);
}

// Rot shows in get and in every cursor that meets it, and a new write heals it.
static void test_sim_engine_rot_is_reported_until_written_anew(void **state) {
    (void)state;
    struct fixture f;
    start(&f, &(struct sim_engine_options){0});
    for (int i = 0; i < 3; i++) {
        put(&f, i, true);
    }
    assert_int_equal(sim_engine_corrupt(f.engine, ENGINE_LOG, SLICE_LITERAL("none")),
                     STATUS_NOT_FOUND);
    assert_int_equal(sim_engine_corrupt(f.engine, ENGINE_LOG, SLICE_LITERAL("k00001")), STATUS_OK);
    assert_int_equal(get(&f, 1), STATUS_CORRUPT);
    assert_int_equal(get(&f, 2), STATUS_OK);
    struct engine_cursor *c = engine_cursor_create(f.engine, ENGINE_LOG);
    engine_cursor_seek(c, SLICE_EMPTY);
    assert_true(engine_cursor_valid(c));
    engine_cursor_next(c);
    assert_false(engine_cursor_valid(c));
    assert_int_equal(engine_cursor_status(c), STATUS_CORRUPT);
    engine_cursor_seek(c, SLICE_LITERAL("k00002"));
    assert_int_equal(engine_cursor_status(c), STATUS_OK);
    assert_true(engine_cursor_valid(c));
    engine_cursor_destroy(c);
    put(&f, 1, true);
    assert_int_equal(get(&f, 1), STATUS_OK);
    stop(&f);
}

static void test_sim_engine_rot_survives_a_crash(void **state) {
    (void)state;
    struct fixture f;
    start(&f, &(struct sim_engine_options){0});
    put(&f, 0, true);
    put(&f, 1, false);
    assert_true(sim_engine_corrupt_random(f.engine, ENGINE_LOG, &f.prng));
    assert_false(sim_engine_corrupt_random(f.engine, ENGINE_LOCK, &f.prng));
    const bool first = get(&f, 0) == STATUS_CORRUPT;
    (void)sim_engine_crash(f.engine, &f.prng);
    if (first) { assert_int_equal(get(&f, 0), STATUS_CORRUPT); }
    stop(&f);
}

// What no checksum sees, a digest must.
static void test_sim_engine_overwrite_changes_the_digest_only(void **state) {
    (void)state;
    struct fixture f;
    start(&f, &(struct sim_engine_options){0});
    put(&f, 0, true);
    const uint64_t before = sim_engine_digest(f.engine);
    assert_int_equal(
        sim_engine_overwrite(f.engine, ENGINE_LOG, SLICE_LITERAL("k00000"), SLICE_LITERAL("wrong")),
        STATUS_OK);
    assert_int_equal(get(&f, 0), STATUS_OK);
    assert_true(sim_engine_digest(f.engine) != before);
    stop(&f);
}

static void test_sim_engine_full_disk_takes_nothing(void **state) {
    (void)state;
    struct fixture f;
    start(&f, &(struct sim_engine_options){0});
    put(&f, 0, true);
    sim_engine_set_full(f.engine, true);
    engine_batch_clear(f.batch);
    engine_put(f.batch, ENGINE_LOG, SLICE_LITERAL("k00001"), SLICE_LITERAL("x"));
    assert_int_equal(engine_write(f.engine, f.batch, false), STATUS_NO_SPACE);
    assert_int_equal(engine_flush(f.engine), STATUS_NO_SPACE);
    assert_int_equal(get(&f, 1), STATUS_NOT_FOUND);
    assert_int_equal(get(&f, 0), STATUS_OK);
    sim_engine_set_full(f.engine, false);
    assert_int_equal(engine_write(f.engine, f.batch, false), STATUS_OK);
    stop(&f);
}

static void test_sim_engine_capacity_is_kept_and_removals_go_on(void **state) {
    (void)state;
    struct fixture f;
    struct engine_pressure pressure;
    start(&f, &(struct sim_engine_options){.capacity = 30});
    put(&f, 0, false);  // 7 bytes of key and 5 of value
    put(&f, 1, false);
    engine_pressure(f.engine, &pressure);
    assert_int_equal(pressure.disk_free_size, 6);
    engine_batch_clear(f.batch);
    engine_put(f.batch, ENGINE_LOG, SLICE_LITERAL("k00002"), SLICE_LITERAL("value"));
    assert_int_equal(engine_write(f.engine, f.batch, false), STATUS_NO_SPACE);
    engine_batch_clear(f.batch);
    engine_remove(f.batch, ENGINE_LOG, SLICE_LITERAL("k00000"));
    assert_int_equal(engine_write(f.engine, f.batch, false), STATUS_OK);
    put(&f, 2, false);
    stop(&f);
}

// The digest depends on the contents alone, and the digests of parts tell them apart.
static void test_sim_engine_digest_depends_on_contents_alone(void **state) {
    (void)state;
    struct fixture a;
    struct fixture b;
    start(&a, &(struct sim_engine_options){0});
    start(&b, &(struct sim_engine_options){0});
    for (int i = 0; i < 500; i++) {
        put(&a, i, true);
        put(&b, 499 - i, false);
    }
    put(&b, 777, false);
    const struct slice from = SLICE_LITERAL("k00100");
    const struct slice to = SLICE_LITERAL("k00200");
    assert_true(sim_engine_digest(a.engine) != sim_engine_digest(b.engine));
    assert_true(sim_engine_digest_range(a.engine, ENGINE_LOG, from, to) ==
                sim_engine_digest_range(b.engine, ENGINE_LOG, from, to));
    assert_true(sim_engine_digest_range(a.engine, ENGINE_LOG, from, SLICE_EMPTY) !=
                sim_engine_digest_range(b.engine, ENGINE_LOG, from, SLICE_EMPTY));
    assert_true(engine_approximate_size(a.engine, ENGINE_LOG, from, to) == 1200);
    engine_batch_clear(b.batch);
    engine_remove(b.batch, ENGINE_LOG, SLICE_LITERAL("k00777"));
    assert_int_equal(engine_write(b.engine, b.batch, false), STATUS_OK);
    assert_true(sim_engine_digest(a.engine) == sim_engine_digest(b.engine));
    stop(&a);
    stop(&b);
}

static struct engine *provider_open(void *ctx) {
    (void)ctx;
    return sim_engine_create(&(struct sim_engine_options){0});
}

static void provider_dispose(void *ctx, struct engine *engine) {
    (void)ctx;
    sim_engine_check(engine);
    engine_close(engine);
}

static struct engine *provider_reopen(void *ctx, struct engine *engine) {
    (void)ctx;
    assert_int_equal(engine_flush(engine), STATUS_OK);
    struct prng prng;
    prng_init(&prng, 3);
    assert_int_equal(sim_engine_crash(engine, &prng), 0);
    return engine;
}

int main(void) {
    struct engine_provider provider = {NULL, provider_open, provider_dispose, provider_reopen};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim_engine_crash_keeps_a_prefix_from_the_synced),
        cmocka_unit_test(test_sim_engine_crash_restores_what_was_changed),
        cmocka_unit_test(test_sim_engine_deferred_sync_is_durable_when_told),
        cmocka_unit_test(test_sim_engine_flush_is_durable),
        cmocka_unit_test(test_sim_engine_rot_is_reported_until_written_anew),
        cmocka_unit_test(test_sim_engine_rot_survives_a_crash),
        cmocka_unit_test(test_sim_engine_overwrite_changes_the_digest_only),
        cmocka_unit_test(test_sim_engine_full_disk_takes_nothing),
        cmocka_unit_test(test_sim_engine_capacity_is_kept_and_removals_go_on),
        cmocka_unit_test(test_sim_engine_digest_depends_on_contents_alone),
    };
    const int failed = engine_conformance_run("sim_engine_conformance", &provider);
    return failed + cmocka_run_group_tests_name("sim_engine", tests, NULL, NULL);
}
