// SPDX-License-Identifier: Apache-2.0
// Versions on the simulated store and on RocksDB: the encoding's order and inverse, what a read
// sees at each timestamp, and scans both ways against a model. Keys are drawn from zeros, 255s, and
// prefixes of one another, timestamps from the two ends of their range and from a handful between.
#include "storage/mvcc/mvcc.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "storage/engine/rocksdb_engine.h"
#include "tests/sim/disk/sim_engine.h"
#include "tests/unit/storage/engine/scratch_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct engine *engine;
    struct engine_batch *batch;
    struct mvcc_reader *reader;
    struct scratch_dir dir;
    bool on_disk;
};

static struct fixture *start(struct engine *engine) {
    struct fixture *f = mem_alloc(sizeof(*f));
    f->engine = engine;
    f->batch = engine_batch_create(engine);
    f->reader = mvcc_reader_create(engine);
    return f;
}

static int setup_sim(void **state) {
    *state = start(sim_engine_create(&(struct sim_engine_options){0}));
    return 0;
}

static int setup_rocksdb(void **state) {
    struct scratch_dir dir;
    struct engine *engine = NULL;
    struct err err = {0};
    char path[sizeof(dir.path)];
    scratch_dir_init(&dir);
    scratch_dir_join(&dir, "data", path, sizeof(path));
    const struct rocksdb_engine_options options = {
        .use = ROCKSDB_ENGINE_DATA, .path = path, .create_if_missing = true};
    if (rocksdb_engine_open(&options, &engine, &err) != STATUS_OK) { fail_msg("%s", err.message); }
    struct fixture *f = start(engine);
    f->dir = dir;
    f->on_disk = true;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    mvcc_reader_destroy(f->reader);
    engine_batch_destroy(f->batch);
    engine_close(f->engine);
    if (f->on_disk) { scratch_dir_deinit(&f->dir); }
    mem_free(f);
    return 0;
}

static struct hlc_ts at(uint64_t v) {
    return (struct hlc_ts){v};
}

static void write_batch(struct fixture *f) {
    assert_int_equal(engine_write(f->engine, f->batch, false), STATUS_OK);
    engine_batch_clear(f->batch);
    mvcc_reader_refresh(f->reader);
}

static void put(struct fixture *f, const char *key, uint64_t ts, const char *value) {
    mvcc_put(f->batch, slice_from_string(key), at(ts), at(ts), slice_from_string(value));
    write_batch(f);
}

static void put_delete(struct fixture *f, const char *key, uint64_t ts) {
    mvcc_delete(f->batch, slice_from_string(key), at(ts), at(ts));
    write_batch(f);
}

static void assert_read(struct fixture *f, const char *key, uint64_t ts, uint64_t expected_ts,
                        const char *expected) {
    struct mvcc_version v;
    assert_int_equal(mvcc_read(f->reader, slice_from_string(key), at(ts), &v), STATUS_OK);
    assert_true(slice_equal(v.value, slice_from_string(expected)));
    assert_int_equal(v.ts.v, expected_ts);
    assert_int_equal(v.kind, MVCC_PUT);
}

static void assert_nothing(struct fixture *f, const char *key, uint64_t ts, uint64_t delete_ts) {
    struct mvcc_version v;
    assert_int_equal(mvcc_read(f->reader, slice_from_string(key), at(ts), &v), STATUS_NOT_FOUND);
    assert_int_equal(v.ts.v, delete_ts);
}

// --- Encoding ---

static size_t random_key(struct prng *prng, uint8_t *out, size_t size_max) {
    static const uint8_t alphabet[] = {0, 1, 2, 'a', 0xfe, 0xff};
    const size_t size = prng_between(prng, 0, size_max);
    for (size_t i = 0; i < size; i++) {
        out[i] = alphabet[prng_below(prng, sizeof(alphabet))];
    }
    return size;
}

// Encoded keys sort by key, then newest first; no key's prefix is a prefix of another key's.
static void test_mvcc_encoding_keeps_the_order(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 11);
    for (int i = 0; i < 20000; i++) {
        uint8_t keys[2][8];
        uint8_t encoded[2][MVCC_KEY_SIZE_MAX];
        struct slice key[2];
        struct slice full[2];
        uint64_t ts[2];
        for (int k = 0; k < 2; k++) {
            key[k] = slice_make(keys[k], random_key(&prng, keys[k], 4));
            ts[k] = prng_chance(&prng, 1, 3) ? prng_below(&prng, 2) * UINT64_MAX : prng_next(&prng);
            full[k] = slice_make(encoded[k], mvcc_key_encode(key[k], at(ts[k]), encoded[k]));
        }
        const int by_key = slice_compare(key[0], key[1]);
        const int by_ts = (ts[0] < ts[1]) - (ts[0] > ts[1]);
        const int expected = by_key != 0 ? by_key : by_ts;
        const int found = slice_compare(full[0], full[1]);
        assert_int_equal((found > 0) - (found < 0), (expected > 0) - (expected < 0));
        const struct slice prefix = slice_make(full[0].data, full[0].size - 8);
        assert_int_equal(slice_has_prefix(full[1], prefix), by_key == 0);
    }
}

static void test_mvcc_decoding_inverts_encoding(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 12);
    static uint8_t key[SHARD_KEY_SIZE_MAX];
    static uint8_t decoded[SHARD_KEY_SIZE_MAX];
    static uint8_t encoded[MVCC_KEY_SIZE_MAX];
    for (int i = 0; i < 2000; i++) {
        const size_t size = i == 0 ? sizeof(key) : random_key(&prng, key, i % 10 == 0 ? 4100 : 20);
        if (i == 0) { memset(key, 0, sizeof(key)); }  // the longest encoding
        const struct hlc_ts ts = at(i == 1 ? UINT64_MAX : prng_next(&prng));
        const size_t encoded_size = mvcc_key_encode(slice_make(key, size), ts, encoded);
        size_t decoded_size = 0;
        struct hlc_ts decoded_ts;
        assert_int_equal(
            mvcc_key_decode(slice_make(encoded, encoded_size), decoded, &decoded_size, &decoded_ts),
            STATUS_OK);
        assert_true(slice_equal(slice_make(decoded, decoded_size), slice_make(key, size)));
        assert_int_equal(decoded_ts.v, ts.v);
        if (i == 0) { assert_int_equal(encoded_size, MVCC_KEY_SIZE_MAX); }
    }
}

// Anything that encoding does not produce is corrupt: every proper prefix, bad escapes, a tail, a
// key beyond the limit.
static void test_mvcc_decoding_refuses_what_encoding_does_not_make(void **state) {
    (void)state;
    static uint8_t decoded[SHARD_KEY_SIZE_MAX];
    static uint8_t encoded[MVCC_KEY_SIZE_MAX + 16];
    size_t size = 0;
    struct hlc_ts ts;
    const size_t good = mvcc_key_encode(SLICE_LITERAL("a\0b"), at(5), encoded);
    for (size_t n = 0; n < good; n++) {
        assert_int_equal(mvcc_key_decode(slice_make(encoded, n), decoded, &size, &ts),
                         STATUS_CORRUPT);
    }
    memmove(encoded + good, encoded + good - 8, 8);  // a byte too many before the timestamp
    assert_int_equal(mvcc_key_decode(slice_make(encoded, good + 1), decoded, &size, &ts),
                     STATUS_CORRUPT);
    const struct slice bad_escape = SLICE_LITERAL("a\0\2\0\1\0\0\0\0\0\0\0\0");
    assert_int_equal(mvcc_key_decode(bad_escape, decoded, &size, &ts), STATUS_CORRUPT);
    memset(encoded, 'x', sizeof(encoded));
    encoded[SHARD_KEY_SIZE_MAX + 1] = 0;
    encoded[SHARD_KEY_SIZE_MAX + 2] = 1;
    assert_int_equal(
        mvcc_key_decode(slice_make(encoded, SHARD_KEY_SIZE_MAX + 11), decoded, &size, &ts),
        STATUS_CORRUPT);
    memset(encoded, 0, sizeof(encoded));
    for (size_t i = 0; i <= SHARD_KEY_SIZE_MAX; i++) {
        encoded[2 * i + 1] = 0xff;
    }
    assert_int_equal(
        mvcc_key_decode(slice_make(encoded, MVCC_KEY_SIZE_MAX + 2), decoded, &size, &ts),
        STATUS_CORRUPT);
}

static void test_mvcc_version_decoding_refuses_damage(void **state) {
    (void)state;
    struct mvcc_version v;
    assert_int_equal(mvcc_version_decode(SLICE_EMPTY, at(5), &v), STATUS_CORRUPT);
    assert_int_equal(mvcc_version_decode(SLICE_LITERAL("\x00x"), at(5), &v), STATUS_CORRUPT);
    assert_int_equal(mvcc_version_decode(SLICE_LITERAL("\x08x"), at(5), &v), STATUS_CORRUPT);
    assert_int_equal(mvcc_version_decode(SLICE_LITERAL("\x11x"), at(5), &v), STATUS_CORRUPT);
    assert_int_equal(mvcc_version_decode(SLICE_LITERAL("\x02x"), at(5), &v), STATUS_CORRUPT);
    assert_int_equal(mvcc_version_decode(SLICE_LITERAL("\x81"), at(5), &v), STATUS_CORRUPT);
    assert_int_equal(mvcc_version_decode(SLICE_LITERAL("\x81\x06"), at(5), &v), STATUS_CORRUPT);
    assert_int_equal(mvcc_version_decode(SLICE_LITERAL("\x81\x05"), at(5), &v), STATUS_OK);
    assert_int_equal(v.prepared.v, 0);
    assert_int_equal(mvcc_version_decode(SLICE_LITERAL("\x01"), at(5), &v), STATUS_OK);
    assert_int_equal(v.value.size, 0);
}

// --- Reads ---

static void test_mvcc_read_sees_the_newest_at_or_below(void **state) {
    struct fixture *f = *state;
    put(f, "k", 10, "ten");
    put(f, "k", 20, "twenty");
    assert_nothing(f, "k", 9, 0);
    assert_read(f, "k", 10, 10, "ten");
    assert_read(f, "k", 19, 10, "ten");
    assert_read(f, "k", 20, 20, "twenty");
    assert_read(f, "k", UINT64_MAX, 20, "twenty");
    assert_nothing(f, "j", 30, 0);
    assert_nothing(f, "kk", 30, 0);
    assert_nothing(f, "", 30, 0);
}

static void test_mvcc_read_at_the_ends_of_time(void **state) {
    struct fixture *f = *state;
    put(f, "k", 0, "first");
    put(f, "k", UINT64_MAX, "last");
    assert_read(f, "k", 0, 0, "first");
    assert_read(f, "k", UINT64_MAX - 1, 0, "first");
    assert_read(f, "k", UINT64_MAX, UINT64_MAX, "last");
}

static void test_mvcc_delete_hides_older_versions(void **state) {
    struct fixture *f = *state;
    put(f, "k", 10, "ten");
    put_delete(f, "k", 20);
    put(f, "k", 30, "");
    assert_read(f, "k", 19, 10, "ten");
    assert_nothing(f, "k", 20, 20);
    assert_nothing(f, "k", 29, 20);
    assert_read(f, "k", 30, 30, "");
}

static void test_mvcc_prepare_timestamp_comes_back(void **state) {
    struct fixture *f = *state;
    struct mvcc_version v;
    const uint64_t prepared[] = {1000, 999, 1000 - 127, 1000 - 128, 0};
    for (size_t i = 0; i < sizeof(prepared) / sizeof(prepared[0]); i++) {
        mvcc_put(f->batch, SLICE_LITERAL("k"), at(1000), at(prepared[i]), SLICE_LITERAL("v"));
        mvcc_delete(f->batch, SLICE_LITERAL("d"), at(UINT64_MAX), at(prepared[i]));
        write_batch(f);
        assert_int_equal(mvcc_read(f->reader, SLICE_LITERAL("k"), at(1000), &v), STATUS_OK);
        assert_int_equal(v.prepared.v, prepared[i]);
        assert_true(slice_equal(v.value, SLICE_LITERAL("v")));
        assert_int_equal(mvcc_read(f->reader, SLICE_LITERAL("d"), HLC_MAX, &v), STATUS_NOT_FOUND);
        assert_int_equal(v.prepared.v, prepared[i]);
        assert_int_equal(v.kind, MVCC_DELETE);
    }
}

// Neither a key that goes on where another ends, nor one with zeros, is mistaken for it.
static void test_mvcc_keys_that_extend_each_other_stay_apart(void **state) {
    struct fixture *f = *state;
    const struct slice keys[] = {
        SLICE_LITERAL(""),     SLICE_LITERAL("\0"),      SLICE_LITERAL("\0\0"),
        SLICE_LITERAL("\0\1"), SLICE_LITERAL("a"),       SLICE_LITERAL("a\0"),
        SLICE_LITERAL("a\0b"), SLICE_LITERAL("a\xff"),   SLICE_LITERAL("aa"),
        SLICE_LITERAL("\xff"), SLICE_LITERAL("\xff\xff")};
    enum { COUNT = sizeof(keys) / sizeof(keys[0]) };
    for (size_t i = 0; i < COUNT; i += 2) {
        const uint8_t value = (uint8_t)i;
        mvcc_put(f->batch, keys[i], at(100), at(100), slice_make(&value, 1));
    }
    write_batch(f);
    for (size_t i = 0; i < COUNT; i++) {
        struct mvcc_version v;
        const enum status st = mvcc_read(f->reader, keys[i], at(100), &v);
        assert_int_equal(st, i % 2 == 0 ? STATUS_OK : STATUS_NOT_FOUND);
        if (i % 2 == 0) { assert_int_equal(v.value.data[0], i); }
    }
}

// A reader shows what it showed until it is refreshed.
static void test_mvcc_reader_sees_writes_after_refresh(void **state) {
    struct fixture *f = *state;
    put(f, "k", 10, "ten");
    assert_read(f, "k", 50, 10, "ten");
    mvcc_put(f->batch, SLICE_LITERAL("k"), at(20), at(20), SLICE_LITERAL("twenty"));
    assert_int_equal(engine_write(f->engine, f->batch, false), STATUS_OK);
    assert_read(f, "k", 50, 10, "ten");
    mvcc_reader_refresh(f->reader);
    assert_read(f, "k", 50, 20, "twenty");
}

// --- Scans ---

struct seen {
    char text[512];
    size_t size;
    int left;  // visits until it stops
};

static bool note(void *ctx, struct slice key, const struct mvcc_version *version) {
    struct seen *seen = ctx;
    const int n = snprintf(seen->text + seen->size, sizeof(seen->text) - seen->size, "%.*s=%.*s ",
                           (int)key.size, (const char *)key.data, (int)version->value.size,
                           (const char *)version->value.data);
    ASSERT(n > 0);
    seen->size += (size_t)n;
    return --seen->left > 0;
}

static void assert_scan(struct fixture *f, const struct mvcc_scan *scan, int visits_max,
                        const char *expected) {
    struct seen seen = {.left = visits_max};
    struct mvcc_scan copy = *scan;
    copy.visit = note;
    copy.ctx = &seen;
    assert_int_equal(mvcc_scan(f->reader, &copy), STATUS_OK);
    assert_string_equal(seen.text, expected);
}

static void test_mvcc_scan_shows_each_visible_key_once(void **state) {
    struct fixture *f = *state;
    put(f, "a", 10, "a10");
    put(f, "b", 10, "b10");
    put(f, "b", 20, "b20");
    put(f, "c", 30, "c30");
    put(f, "d", 10, "d10");
    put_delete(f, "d", 20);
    put(f, "e", 5, "e5");
    struct mvcc_scan scan = {.ts = at(20)};
    assert_scan(f, &scan, 9, "a=a10 b=b20 e=e5 ");
    assert_scan(f, &scan, 2, "a=a10 b=b20 ");
    scan.reverse = true;
    assert_scan(f, &scan, 9, "e=e5 b=b20 a=a10 ");
    assert_scan(f, &scan, 1, "e=e5 ");
    scan = (struct mvcc_scan){SLICE_LITERAL("b"), SLICE_LITERAL("e"), at(19), false, NULL, NULL};
    assert_scan(f, &scan, 9, "b=b10 d=d10 ");
    scan.reverse = true;
    assert_scan(f, &scan, 9, "d=d10 b=b10 ");
    scan.end = SLICE_LITERAL("b");
    assert_scan(f, &scan, 9, "");
    scan.ts = at(4);
    scan.end = SLICE_EMPTY;
    assert_scan(f, &scan, 9, "");
}

// A key with many versions, all of them older, newer, or around the timestamp, costs seeks, and is
// still right.
static void test_mvcc_scan_over_many_versions(void **state) {
    struct fixture *f = *state;
    char value[16];
    put(f, "a", 7, "a");
    put(f, "z", 7, "z");
    for (uint64_t ts = 100; ts < 140; ts++) {
        (void)snprintf(value, sizeof(value), "%d", (int)ts);
        put(f, "m", ts, value);
    }
    for (uint64_t ts = 99; ts < 142; ts++) {
        char forwards[64];
        char backwards[64];
        const int shown = (int)(ts < 139 ? ts : 139);
        (void)snprintf(forwards, sizeof(forwards), "a=a m=%d z=z ", shown);
        (void)snprintf(backwards, sizeof(backwards), "z=z m=%d a=a ", shown);
        struct mvcc_scan scan = {.ts = at(ts)};
        assert_scan(f, &scan, 9, ts == 99 ? "a=a z=z " : forwards);
        scan.reverse = true;
        assert_scan(f, &scan, 9, ts == 99 ? "z=z a=a " : backwards);
    }
}

// --- Random versions against a model ---

enum { KEYS = 40, TIMES = 16, KEY_SIZE_MAX = 4 };

// value[k][t]: 0 = no version, 1 = delete, else the byte stored.
struct model {
    uint8_t keys[KEYS][KEY_SIZE_MAX];
    size_t key_sizes[KEYS];
    uint64_t times[TIMES];  // ascending, the ends included
    uint8_t values[KEYS][TIMES];
    size_t key_count;  // sorted
};

static struct slice model_key(const struct model *m, size_t k) {
    return slice_make(m->keys[k], m->key_sizes[k]);
}

static void model_add_key(struct model *m, struct slice key) {
    size_t place = 0;
    while (place < m->key_count && slice_compare(model_key(m, place), key) < 0) {
        place++;
    }
    if (place < m->key_count && slice_equal(model_key(m, place), key)) { return; }
    for (size_t k = m->key_count; k > place; k--) {
        memcpy(m->keys[k], m->keys[k - 1], KEY_SIZE_MAX);
        m->key_sizes[k] = m->key_sizes[k - 1];
    }
    if (key.size > 0) { memcpy(m->keys[place], key.data, key.size); }
    m->key_sizes[place] = key.size;
    m->key_count++;
}

static void model_init(struct model *m, struct prng *prng) {
    *m = (struct model){0};
    while (m->key_count < KEYS) {
        uint8_t key[KEY_SIZE_MAX];
        model_add_key(m, slice_make(key, random_key(prng, key, KEY_SIZE_MAX)));
    }
    for (size_t t = 0; t < TIMES; t++) {
        m->times[t] = t == TIMES - 1 ? UINT64_MAX : t * 3;
    }
}

// The byte visible at a timestamp; 0 or 1 when there is nothing.
static uint8_t model_visible(const struct model *m, size_t k, uint64_t ts) {
    uint8_t found = 0;
    for (size_t t = 0; t < TIMES && m->times[t] <= ts; t++) {
        found = m->values[k][t] != 0 ? m->values[k][t] : found;
    }
    return found;
}

struct expectation {
    const struct model *model;
    const struct mvcc_scan *scan;
    size_t next;  // place of the next key to look at; wraps below zero going backwards
    size_t limit;
};

static bool in_range(const struct mvcc_scan *scan, struct slice key) {
    return slice_compare(key, scan->start) >= 0 &&
           (scan->end.size == 0 || slice_compare(key, scan->end) < 0);
}

// The next key that the scan must show, or KEYS.
static size_t expected_next(struct expectation *e) {
    while (e->next < e->model->key_count) {
        const size_t k = e->next;
        e->next = e->scan->reverse ? k - 1 : k + 1;
        if (in_range(e->scan, model_key(e->model, k)) &&
            model_visible(e->model, k, e->scan->ts.v) > 1) {
            return k;
        }
    }
    return KEYS;
}

static bool check_visit(void *ctx, struct slice key, const struct mvcc_version *version) {
    struct expectation *e = ctx;
    const size_t k = expected_next(e);
    assert_true(k < KEYS);
    assert_true(slice_equal(key, model_key(e->model, k)));
    assert_int_equal(version->value.size, 1);
    assert_int_equal(version->value.data[0], model_visible(e->model, k, e->scan->ts.v));
    assert_true(version->ts.v <= e->scan->ts.v);
    return --e->limit > 0;
}

static uint64_t random_time(const struct model *m, struct prng *prng) {
    const uint64_t t = m->times[prng_below(prng, TIMES)];
    const uint64_t by = prng_below(prng, 3);
    return t > UINT64_MAX - by ? t : t + by;
}

static void random_scan(struct fixture *f, const struct model *m, struct prng *prng) {
    uint8_t start[KEY_SIZE_MAX];
    uint8_t end[KEY_SIZE_MAX];
    struct mvcc_scan scan = {
        .start = slice_make(start, random_key(prng, start, KEY_SIZE_MAX)),
        .end = slice_make(end, random_key(prng, end, KEY_SIZE_MAX)),
        .ts = at(random_time(m, prng)),
        .reverse = prng_chance(prng, 1, 2),
        .visit = check_visit,
    };
    if (prng_chance(prng, 1, 3)) { scan.start = SLICE_EMPTY; }
    if (prng_chance(prng, 1, 3)) { scan.end = SLICE_EMPTY; }
    struct expectation e = {m, &scan, scan.reverse ? m->key_count - 1 : 0, 0};
    e.limit = prng_chance(prng, 1, 4) ? prng_between(prng, 1, 5) : SIZE_MAX;
    scan.ctx = &e;
    assert_int_equal(mvcc_scan(f->reader, &scan), STATUS_OK);
    if (e.limit > 0) { assert_int_equal(expected_next(&e), KEYS); }
}

static void random_read(struct fixture *f, const struct model *m, struct prng *prng) {
    const size_t k = prng_below(prng, m->key_count);
    const uint64_t ts = random_time(m, prng);
    const uint8_t expected = model_visible(m, k, ts);
    struct mvcc_version v;
    const enum status st = mvcc_read(f->reader, model_key(m, k), at(ts), &v);
    assert_int_equal(st, expected > 1 ? STATUS_OK : STATUS_NOT_FOUND);
    if (expected > 1) { assert_int_equal(v.value.data[0], expected); }
}

static void random_write(struct fixture *f, struct model *m, struct prng *prng) {
    const size_t k = prng_below(prng, m->key_count);
    const size_t t = prng_below(prng, TIMES);
    if (m->values[k][t] != 0) { return; }  // a version once written never changes
    const uint8_t value = (uint8_t)prng_between(prng, 1, 255);
    m->values[k][t] = value;
    const struct hlc_ts ts = at(m->times[t]);
    const struct hlc_ts prepared = at(prng_chance(prng, 1, 2) ? ts.v : ts.v / 2);
    if (value == 1) {
        mvcc_delete(f->batch, model_key(m, k), ts, prepared);
    } else {
        mvcc_put(f->batch, model_key(m, k), ts, prepared, slice_make(&value, 1));
    }
}

static void test_mvcc_random_versions_match_model(void **state) {
    struct fixture *f = *state;
    struct model *m = mem_alloc(sizeof(*m));
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        model_init(m, &prng);
        for (int step = 0; step < 300; step++) {
            for (int i = 0; i < 3; i++) {
                random_write(f, m, &prng);
            }
            write_batch(f);
            random_scan(f, m, &prng);
            random_scan(f, m, &prng);
            random_read(f, m, &prng);
            if (prng_chance(&prng, 1, 100)) {
                assert_int_equal(engine_flush(f->engine), STATUS_OK);
            }
        }
        engine_remove_range(f->batch, ENGINE_VERSION, SLICE_LITERAL("\0"),
                            SLICE_LITERAL("\xff\xff\xff\xff\xff\xff\xff"));
        write_batch(f);
    }
    mem_free(m);
}

// --- Damage ---

static enum status scan_status(struct fixture *f, bool reverse) {
    struct seen seen = {.left = 100};
    struct mvcc_scan scan = {.ts = HLC_MAX, .reverse = reverse, .visit = note, .ctx = &seen};
    return mvcc_scan(f->reader, &scan);
}

// A key that cannot be a version's, and a value that cannot, end a scan with an error both ways.
static void test_mvcc_damaged_keys_and_values_are_corrupt(void **state) {
    struct fixture *f = *state;
    static const char *const keys[] = {"mm", "mm12345678", "m\x01", "mmmmmmmmmmmmmmmmmmmm"};
    put(f, "a", 5, "a");
    put(f, "z", 5, "z");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        engine_put(f->batch, ENGINE_VERSION, slice_from_string(keys[i]), SLICE_LITERAL("\x01v"));
        write_batch(f);
        assert_int_equal(scan_status(f, false), STATUS_CORRUPT);
        assert_int_equal(scan_status(f, true), STATUS_CORRUPT);
        assert_read(f, "a", 9, 5, "a");
        engine_remove(f->batch, ENGINE_VERSION, slice_from_string(keys[i]));
        write_batch(f);
        assert_int_equal(scan_status(f, false), STATUS_OK);
    }
    uint8_t encoded[MVCC_KEY_SIZE_MAX];
    const size_t size = mvcc_key_encode(SLICE_LITERAL("m"), at(5), encoded);
    engine_put(f->batch, ENGINE_VERSION, slice_make(encoded, size), SLICE_LITERAL("\x08"));
    write_batch(f);
    struct mvcc_version v;
    assert_int_equal(mvcc_read(f->reader, SLICE_LITERAL("m"), at(9), &v), STATUS_CORRUPT);
    assert_int_equal(scan_status(f, false), STATUS_CORRUPT);
    assert_int_equal(scan_status(f, true), STATUS_CORRUPT);
}

// The store's own errors come through.
static void test_mvcc_rot_is_corrupt(void **state) {
    (void)state;
    void *own = NULL;
    (void)setup_sim(&own);
    struct fixture *f = own;
    uint8_t encoded[MVCC_KEY_SIZE_MAX];
    for (uint64_t ts = 1; ts <= 10; ts++) {
        put(f, "m", ts, "m");
    }
    put(f, "a", 1, "a");
    put(f, "z", 1, "z");
    const size_t size = mvcc_key_encode(SLICE_LITERAL("m"), at(8), encoded);
    assert_int_equal(sim_engine_corrupt(f->engine, ENGINE_VERSION, slice_make(encoded, size)),
                     STATUS_OK);
    mvcc_reader_refresh(f->reader);
    struct mvcc_version v;
    assert_int_equal(mvcc_read(f->reader, SLICE_LITERAL("m"), at(8), &v), STATUS_CORRUPT);
    assert_read(f, "m", 7, 7, "m");
    // Forwards a scan passes the newer versions, backwards the older ones.
    assert_int_equal(scan_status(f, false), STATUS_CORRUPT);
    assert_int_equal(scan_status(f, true), STATUS_OK);
    put(f, "m", 8, "m");
    assert_int_equal(scan_status(f, false), STATUS_OK);
    const size_t older = mvcc_key_encode(SLICE_LITERAL("m"), at(3), encoded);
    assert_int_equal(sim_engine_corrupt(f->engine, ENGINE_VERSION, slice_make(encoded, older)),
                     STATUS_OK);
    mvcc_reader_refresh(f->reader);
    assert_int_equal(scan_status(f, true), STATUS_CORRUPT);
    (void)teardown(&own);
}

#define BOTH(function)                                                \
    {#function " sim", function, setup_sim, teardown, NULL}, {        \
#function " rocksdb", function, setup_rocksdb, teardown, NULL \
    }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mvcc_encoding_keeps_the_order),
        cmocka_unit_test(test_mvcc_decoding_inverts_encoding),
        cmocka_unit_test(test_mvcc_decoding_refuses_what_encoding_does_not_make),
        cmocka_unit_test(test_mvcc_version_decoding_refuses_damage),
        cmocka_unit_test(test_mvcc_rot_is_corrupt),
        BOTH(test_mvcc_read_sees_the_newest_at_or_below),
        BOTH(test_mvcc_read_at_the_ends_of_time),
        BOTH(test_mvcc_delete_hides_older_versions),
        BOTH(test_mvcc_prepare_timestamp_comes_back),
        BOTH(test_mvcc_keys_that_extend_each_other_stay_apart),
        BOTH(test_mvcc_reader_sees_writes_after_refresh),
        BOTH(test_mvcc_scan_shows_each_visible_key_once),
        BOTH(test_mvcc_scan_over_many_versions),
        BOTH(test_mvcc_random_versions_match_model),
        BOTH(test_mvcc_damaged_keys_and_values_are_corrupt),
    };
    return cmocka_run_group_tests_name("mvcc", tests, NULL, NULL);
}
