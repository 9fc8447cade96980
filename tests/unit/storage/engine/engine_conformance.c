// SPDX-License-Identifier: Apache-2.0
// Single behaviours first, then random operations against a model: a sorted array of all keys, so
// simple that it is right by inspection. Keys are drawn from few bytes, among them 0 and 255, so
// that neighbours, prefixes and ranges meet often.
#include "tests/unit/storage/engine/engine_conformance.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct engine_provider *provider;
    struct engine *engine;
    struct engine_batch *batch;
    struct buf value;
};

static int setup(void **state) {
    struct engine_provider *provider = *state;
    struct fixture *f = mem_alloc(sizeof(*f));
    f->provider = provider;
    f->engine = provider->open(provider->ctx);
    f->batch = engine_batch_create(f->engine);
    buf_init(&f->value, 1 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    engine_batch_destroy(f->batch);
    f->provider->dispose(f->provider->ctx, f->engine);
    buf_deinit(&f->value);
    mem_free(f);
    return 0;
}

static void write_batch(struct fixture *f) {
    assert_int_equal(engine_write(f->engine, f->batch, false), STATUS_OK);
    engine_batch_clear(f->batch);
}

static void put(struct fixture *f, enum engine_family family, const char *key, const char *value) {
    engine_put(f->batch, family, slice_from_string(key), slice_from_string(value));
}

static void assert_slice(struct slice s, const char *text) {
    assert_true(slice_equal(s, slice_from_string(text)));
}

static void assert_value(struct fixture *f, enum engine_family family, const char *key,
                         const char *value) {
    assert_int_equal(engine_get(f->engine, family, slice_from_string(key), &f->value), STATUS_OK);
    assert_slice(buf_slice(&f->value), value);
}

static void assert_absent(struct fixture *f, enum engine_family family, const char *key) {
    assert_int_equal(engine_get(f->engine, family, slice_from_string(key), &f->value),
                     STATUS_NOT_FOUND);
}

static void assert_end(struct engine_cursor *c) {
    assert_false(engine_cursor_valid(c));
    assert_int_equal(engine_cursor_status(c), STATUS_OK);
}

// --- Single behaviours ---

static void test_engine_get_absent_gives_not_found(void **state) {
    struct fixture *f = *state;
    assert_absent(f, ENGINE_LOCAL, "a");
    put(f, ENGINE_LOCAL, "ab", "1");
    write_batch(f);
    assert_absent(f, ENGINE_LOCAL, "a");
    assert_absent(f, ENGINE_LOCAL, "abc");
}

// Nothing of a batch shows before it is written; then all of it does; later puts replace earlier.
static void test_engine_write_makes_batch_visible_in_order(void **state) {
    struct fixture *f = *state;
    put(f, ENGINE_LOCAL, "a", "1");
    put(f, ENGINE_LOCAL, "b", "2");
    put(f, ENGINE_LOCAL, "a", "3");
    engine_remove(f->batch, ENGINE_LOCAL, SLICE_LITERAL("b"));
    assert_absent(f, ENGINE_LOCAL, "a");
    assert_int_equal(engine_batch_count(f->batch), 4);
    assert_true(engine_batch_size(f->batch) > 0);
    write_batch(f);
    assert_int_equal(engine_batch_count(f->batch), 0);
    assert_value(f, ENGINE_LOCAL, "a", "3");
    assert_absent(f, ENGINE_LOCAL, "b");
}

static void test_engine_write_keeps_the_batch(void **state) {
    struct fixture *f = *state;
    put(f, ENGINE_LOCAL, "a", "1");
    assert_int_equal(engine_write(f->engine, f->batch, true), STATUS_OK);
    assert_int_equal(engine_batch_count(f->batch), 1);
    assert_int_equal(engine_write(f->engine, f->batch, true), STATUS_OK);
    assert_value(f, ENGINE_LOCAL, "a", "1");
}

static void test_engine_put_parts_joins_them(void **state) {
    struct fixture *f = *state;
    engine_put_parts(f->batch, ENGINE_LOCAL, SLICE_LITERAL("a"), SLICE_LITERAL("he"),
                     SLICE_LITERAL("ad"));
    engine_put_parts(f->batch, ENGINE_LOCAL, SLICE_LITERAL("b"), SLICE_EMPTY, SLICE_LITERAL("x"));
    engine_put_parts(f->batch, ENGINE_LOCAL, SLICE_LITERAL("c"), SLICE_EMPTY, SLICE_EMPTY);
    write_batch(f);
    assert_value(f, ENGINE_LOCAL, "a", "head");
    assert_value(f, ENGINE_LOCAL, "b", "x");
    assert_value(f, ENGINE_LOCAL, "c", "");
}

static void test_engine_get_into_a_full_buffer_is_refused(void **state) {
    struct fixture *f = *state;
    struct buf small;
    buf_init(&small, 3);
    put(f, ENGINE_LOCAL, "a", "four");
    write_batch(f);
    assert_int_equal(engine_get(f->engine, ENGINE_LOCAL, SLICE_LITERAL("a"), &small),
                     STATUS_RESOURCE_EXHAUSTED);
    buf_deinit(&small);
}

static void test_engine_large_keys_and_values_come_back(void **state) {
    struct fixture *f = *state;
    static uint8_t bytes[300000];
    memset(bytes, 0xff, sizeof(bytes));
    const struct slice key = slice_make(bytes, 9000);
    engine_put(f->batch, ENGINE_VERSION, key, slice_make(bytes, sizeof(bytes)));
    write_batch(f);
    assert_int_equal(engine_get(f->engine, ENGINE_VERSION, key, &f->value), STATUS_OK);
    assert_true(slice_equal(buf_slice(&f->value), slice_make(bytes, sizeof(bytes))));
}

// The same key in each family is another key, the empty one too; cursors end at the family's ends.
static void test_engine_families_are_apart(void **state) {
    struct fixture *f = *state;
    const char *const values[] = {"local", "version", "lock", "log"};
    for (int i = 0; i < ENGINE_FAMILY_COUNT; i++) {
        put(f, (enum engine_family)i, "", values[i]);
        put(f, (enum engine_family)i, "k", values[i]);
        put(f, (enum engine_family)i, "\xff\xff", values[i]);
    }
    write_batch(f);
    for (int i = 0; i < ENGINE_FAMILY_COUNT; i++) {
        assert_value(f, (enum engine_family)i, "k", values[i]);
        struct engine_cursor *c = engine_cursor_create(f->engine, (enum engine_family)i);
        int count = 0;
        for (engine_cursor_seek(c, SLICE_EMPTY); engine_cursor_valid(c); engine_cursor_next(c)) {
            assert_slice(engine_cursor_value(c), values[i]);
            count++;
        }
        assert_end(c);
        engine_cursor_seek_for_prev(c, SLICE_LITERAL("\xff\xff\xff"));
        for (; engine_cursor_valid(c); engine_cursor_prev(c)) {
            assert_slice(engine_cursor_value(c), values[i]);
            count++;
        }
        assert_end(c);
        assert_int_equal(count, 6);
        engine_cursor_destroy(c);
    }
}

static void test_engine_remove_range_is_half_open_and_of_one_family(void **state) {
    struct fixture *f = *state;
    const char *const keys[] = {"a", "b", "b\x01", "c", "d"};
    for (size_t i = 0; i < 5; i++) {
        put(f, ENGINE_LOG, keys[i], "x");
        put(f, ENGINE_LOCK, keys[i], "x");
    }
    write_batch(f);
    engine_remove_range(f->batch, ENGINE_LOG, SLICE_LITERAL("b"), SLICE_LITERAL("d"));
    put(f, ENGINE_LOG, "c", "again");
    write_batch(f);
    assert_value(f, ENGINE_LOG, "a", "x");
    assert_absent(f, ENGINE_LOG, "b");
    assert_absent(f, ENGINE_LOG, "b\x01");
    assert_value(f, ENGINE_LOG, "c", "again");
    assert_value(f, ENGINE_LOG, "d", "x");
    for (size_t i = 0; i < 5; i++) {
        assert_value(f, ENGINE_LOCK, keys[i], "x");
    }
}

static void test_engine_cursor_seeks_both_ways(void **state) {
    struct fixture *f = *state;
    put(f, ENGINE_LOCK, "b", "1");
    put(f, ENGINE_LOCK, "d", "2");
    write_batch(f);
    struct engine_cursor *c = engine_cursor_create(f->engine, ENGINE_LOCK);
    assert_false(engine_cursor_valid(c));
    engine_cursor_seek(c, SLICE_LITERAL("b"));
    assert_slice(engine_cursor_key(c), "b");
    engine_cursor_seek(c, SLICE_LITERAL("c"));
    assert_slice(engine_cursor_key(c), "d");
    engine_cursor_prev(c);
    assert_slice(engine_cursor_key(c), "b");
    engine_cursor_next(c);
    assert_slice(engine_cursor_key(c), "d");
    engine_cursor_next(c);
    assert_end(c);
    engine_cursor_seek_for_prev(c, SLICE_LITERAL("c"));
    assert_slice(engine_cursor_key(c), "b");
    engine_cursor_seek_for_prev(c, SLICE_LITERAL("d"));
    assert_slice(engine_cursor_key(c), "d");
    engine_cursor_seek_for_prev(c, SLICE_LITERAL("a"));
    assert_end(c);
    engine_cursor_destroy(c);
}

// A cursor goes on showing what it showed, through writes and a flush, until it is refreshed.
static void test_engine_cursor_is_a_snapshot(void **state) {
    struct fixture *f = *state;
    put(f, ENGINE_LOCK, "a", "1");
    put(f, ENGINE_LOCK, "b", "1");
    write_batch(f);
    struct engine_cursor *c = engine_cursor_create(f->engine, ENGINE_LOCK);
    engine_cursor_seek(c, SLICE_LITERAL("a"));
    put(f, ENGINE_LOCK, "a", "2");
    engine_remove(f->batch, ENGINE_LOCK, SLICE_LITERAL("b"));
    write_batch(f);
    assert_int_equal(engine_flush(f->engine), STATUS_OK);
    engine_cursor_next(c);
    assert_slice(engine_cursor_value(c), "1");
    engine_cursor_seek(c, SLICE_LITERAL("a"));
    assert_slice(engine_cursor_value(c), "1");
    engine_cursor_refresh(c);
    assert_false(engine_cursor_valid(c));
    engine_cursor_seek(c, SLICE_LITERAL("a"));
    assert_slice(engine_cursor_value(c), "2");
    engine_cursor_next(c);
    assert_end(c);
    engine_cursor_refresh(c);
    engine_cursor_seek(c, SLICE_LITERAL("a"));
    assert_slice(engine_cursor_value(c), "2");
    engine_cursor_destroy(c);
}

// The prefix of a version is its key without the timestamp; beyond it a point cursor is invalid,
// in memory and on disk.
static void test_engine_point_cursor_stays_in_its_prefix(void **state) {
    struct fixture *f = *state;
    struct engine_cursor *c = engine_point_cursor_create(f->engine, ENGINE_VERSION);
    put(f, ENGINE_VERSION, "ka00000003", "a3");
    put(f, ENGINE_VERSION, "ka00000005", "a5");
    put(f, ENGINE_VERSION, "kb00000001", "b1");
    write_batch(f);
    for (int flushed = 0; flushed < 2; flushed++) {
        engine_cursor_refresh(c);
        engine_cursor_seek(c, SLICE_LITERAL("ka00000004"));
        assert_slice(engine_cursor_key(c), "ka00000005");
        assert_slice(engine_cursor_value(c), "a5");
        engine_cursor_next(c);
        assert_end(c);
        engine_cursor_seek(c, SLICE_LITERAL("ka00000006"));
        assert_end(c);
        engine_cursor_seek(c, SLICE_LITERAL("k_00000000"));
        assert_end(c);
        engine_cursor_seek(c, SLICE_LITERAL("kb00000000"));
        assert_slice(engine_cursor_value(c), "b1");
        assert_int_equal(engine_flush(f->engine), STATUS_OK);
    }
    engine_cursor_destroy(c);
}

static void test_engine_reopened_cleanly_has_everything(void **state) {
    struct fixture *f = *state;
    put(f, ENGINE_LOCAL, "a", "1");
    put(f, ENGINE_VERSION, "b", "2");
    write_batch(f);
    engine_batch_destroy(f->batch);
    f->engine = f->provider->reopen(f->provider->ctx, f->engine);
    f->batch = engine_batch_create(f->engine);
    assert_value(f, ENGINE_LOCAL, "a", "1");
    assert_value(f, ENGINE_VERSION, "b", "2");
}

static void test_engine_pressure_tells_free_space(void **state) {
    struct fixture *f = *state;
    struct engine_pressure pressure;
    engine_pressure(f->engine, &pressure);
    assert_true(pressure.disk_free_size > 0);
    assert_int_equal(pressure.background_errors, 0);
    assert_false(pressure.stalled);
}

// --- Random operations against a model ---

enum { MODEL_KEY_SIZE_MAX = 12, MODEL_COUNT_MAX = 4096, STEPS = 1500 };

struct model_item {
    uint8_t key[MODEL_KEY_SIZE_MAX + 1];  // family first
    size_t key_size;
    uint64_t value;
};

struct model {
    struct model_item items[MODEL_COUNT_MAX];
    size_t count;
};

static struct slice item_key(const struct model_item *item) {
    return slice_make(item->key, item->key_size);
}

// Place of the first item whose key is >= key.
static size_t model_place(const struct model *self, struct slice key) {
    size_t i = 0;
    while (i < self->count && slice_compare(item_key(&self->items[i]), key) < 0) {
        i++;
    }
    return i;
}

static bool model_has(const struct model *self, size_t place, struct slice key) {
    return place < self->count && slice_equal(item_key(&self->items[place]), key);
}

static void model_remove(struct model *self, size_t from, size_t to) {
    memmove(&self->items[from], &self->items[to], (self->count - to) * sizeof(self->items[0]));
    self->count -= to - from;
}

static void model_put(struct model *self, const struct model_item *item) {
    const size_t place = model_place(self, item_key(item));
    if (!model_has(self, place, item_key(item))) {
        ASSERT(self->count < MODEL_COUNT_MAX);
        memmove(&self->items[place + 1], &self->items[place],
                (self->count - place) * sizeof(self->items[0]));
        self->count++;
    }
    self->items[place] = *item;
}

// A key of 1 to MODEL_KEY_SIZE_MAX bytes behind its family.
static void random_key(struct prng *prng, struct model_item *out) {
    static const uint8_t alphabet[] = {0, 1, 'a', 'b', 0xff};
    *out = (struct model_item){.key_size = 1 + prng_between(prng, 1, 5)};
    out->key[0] = (uint8_t)prng_below(prng, ENGINE_FAMILY_COUNT);
    for (size_t i = 1; i < out->key_size; i++) {
        out->key[i] = alphabet[prng_below(prng, sizeof(alphabet))];
    }
}

static enum engine_family family_of(const struct model_item *item) {
    return (enum engine_family)item->key[0];
}

static struct slice user_key(const struct model_item *item) {
    return slice_make(item->key + 1, item->key_size - 1);
}

static void random_operation(struct fixture *f, struct model *model, struct prng *prng) {
    struct model_item a;
    struct model_item b;
    random_key(prng, &a);
    random_key(prng, &b);
    a.value = prng_next(prng);
    const uint64_t dice = prng_below(prng, 20);
    if (dice == 0) {
        b.key[0] = a.key[0];
        if (slice_compare(item_key(&a), item_key(&b)) >= 0) { return; }
        engine_remove_range(f->batch, family_of(&a), user_key(&a), user_key(&b));
        model_remove(model, model_place(model, item_key(&a)), model_place(model, item_key(&b)));
    } else if (dice < 6) {
        const size_t place = model_place(model, item_key(&a));
        engine_remove(f->batch, family_of(&a), user_key(&a));
        if (model_has(model, place, item_key(&a))) { model_remove(model, place, place + 1); }
    } else {
        engine_put(f->batch, family_of(&a), user_key(&a), slice_make(&a.value, sizeof(a.value)));
        model_put(model, &a);
    }
}

static void assert_at(const struct model *model, size_t place, enum engine_family family,
                      struct engine_cursor *c) {
    const bool inside = place < model->count && family_of(&model->items[place]) == family;
    assert_int_equal(engine_cursor_valid(c), inside);
    if (!inside) {
        assert_end(c);
        return;
    }
    const struct model_item *item = &model->items[place];
    assert_true(slice_equal(engine_cursor_key(c), user_key(item)));
    assert_true(slice_equal(engine_cursor_value(c), slice_make(&item->value, sizeof(item->value))));
}

static void compare_family(struct fixture *f, const struct model *model,
                           enum engine_family family) {
    struct engine_cursor *c = engine_cursor_create(f->engine, family);
    size_t place = 0;
    while (place < model->count && family_of(&model->items[place]) < family) {
        place++;
    }
    engine_cursor_seek(c, SLICE_EMPTY);
    for (; engine_cursor_valid(c); engine_cursor_next(c)) {
        assert_at(model, place++, family, c);
    }
    assert_at(model, place, family, c);
    engine_cursor_seek_for_prev(c, SLICE_LITERAL("\xff\xff\xff\xff\xff\xff\xff"));
    for (; engine_cursor_valid(c); engine_cursor_prev(c)) {
        assert_at(model, --place, family, c);
    }
    assert_at(model, place - 1, family, c);  // before the first: wraps beyond count
    engine_cursor_destroy(c);
}

static void compare_random_key(struct fixture *f, const struct model *model, struct prng *prng) {
    struct model_item wanted;
    random_key(prng, &wanted);
    const enum engine_family family = family_of(&wanted);
    const size_t place = model_place(model, item_key(&wanted));
    const bool present = model_has(model, place, item_key(&wanted));
    const enum status st = engine_get(f->engine, family, user_key(&wanted), &f->value);
    assert_int_equal(st, present ? STATUS_OK : STATUS_NOT_FOUND);
    struct engine_cursor *c = engine_cursor_create(f->engine, family);
    engine_cursor_seek(c, user_key(&wanted));
    assert_at(model, place, family, c);
    engine_cursor_seek_for_prev(c, user_key(&wanted));
    assert_at(model, present ? place : place - 1, family, c);
    engine_cursor_destroy(c);
}

static void test_engine_random_operations_match_model(void **state) {
    struct fixture *f = *state;
    struct model *model = mem_alloc(sizeof(*model));
    struct prng prng;
    prng_init(&prng, 20261120);
    for (int step = 0; step < STEPS; step++) {
        const uint64_t operations = prng_between(&prng, 1, 8);
        for (uint64_t i = 0; i < operations; i++) {
            random_operation(f, model, &prng);
        }
        write_batch(f);
        compare_random_key(f, model, &prng);
        if (prng_chance(&prng, 1, 100)) { assert_int_equal(engine_flush(f->engine), STATUS_OK); }
        if (prng_chance(&prng, 1, 40)) {
            for (int i = 0; i < ENGINE_FAMILY_COUNT; i++) {
                compare_family(f, model, (enum engine_family)i);
            }
        }
        if (prng_chance(&prng, 1, 500)) {
            engine_batch_destroy(f->batch);
            f->engine = f->provider->reopen(f->provider->ctx, f->engine);
            f->batch = engine_batch_create(f->engine);
        }
    }
    assert_true(model->count > 100);
    mem_free(model);
}

int engine_conformance_run(const char *name, struct engine_provider *provider) {
    struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_engine_get_absent_gives_not_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_write_makes_batch_visible_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_engine_write_keeps_the_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_put_parts_joins_them, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_get_into_a_full_buffer_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_engine_large_keys_and_values_come_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_engine_families_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_remove_range_is_half_open_and_of_one_family,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_cursor_seeks_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_cursor_is_a_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_point_cursor_stays_in_its_prefix, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_engine_reopened_cleanly_has_everything, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_engine_pressure_tells_free_space, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_random_operations_match_model, setup, teardown),
    };
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        tests[i].initial_state = provider;
    }
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
