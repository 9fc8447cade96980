// SPDX-License-Identifier: Apache-2.0
// Versions above a timestamp, against a model: keys that are prefixes of one another, many versions
// of some, and bounds in every place.
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "storage/mvcc/mvcc.h"
#include "tests/sim/disk/sim_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS = 6, TIMES = 24, VERSIONS_MAX = KEYS * TIMES };

static const struct slice keys[KEYS] = {{(const uint8_t *)"\0", 1},    {(const uint8_t *)"\0\0", 2},
                                        {(const uint8_t *)"a", 1},     {(const uint8_t *)"a\0", 2},
                                        {(const uint8_t *)"a\xff", 2}, {(const uint8_t *)"b", 1}};

static struct engine *engine;
static struct engine_batch *batch;
static struct mvcc_reader *reader;
static uint64_t prepared[KEYS][TIMES + 1];  // of the version at that time; 0 = there is none

static int setup(void **state) {
    (void)state;
    engine = sim_engine_create(&(struct sim_engine_options){0});
    batch = engine_batch_create(engine);
    reader = mvcc_reader_create(engine);
    memset(prepared, 0, sizeof(prepared));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    mvcc_reader_destroy(reader);
    engine_batch_destroy(batch);
    engine_close(engine);
    return 0;
}

static void put(uint32_t key, uint64_t ts, uint64_t local, bool removed) {
    if (removed) {
        mvcc_delete(batch, keys[key], (struct hlc_ts){ts}, (struct hlc_ts){local});
    } else {
        mvcc_put(batch, keys[key], (struct hlc_ts){ts}, (struct hlc_ts){local}, SLICE_LITERAL("v"));
    }
    prepared[key][ts] = local;
}

static void write_all(void) {
    assert_int_equal(engine_write(engine, batch, false), STATUS_OK);
    engine_batch_clear(batch);
    mvcc_reader_refresh(reader);
}

struct seen {
    uint32_t count;
    uint32_t max;
    struct hlc_ts ts[VERSIONS_MAX];
    struct hlc_ts local[VERSIONS_MAX];
};

static bool visit(void *ctx, const struct mvcc_version *version) {
    struct seen *seen = ctx;
    assert_true(seen->count < VERSIONS_MAX);
    seen->ts[seen->count] = version->ts;
    seen->local[seen->count++] = version->prepared;
    return seen->count < seen->max;
}

static bool holds(const struct mvcc_above *above, struct slice key) {
    if (above->alone) { return slice_equal(key, above->start); }
    return slice_compare(key, above->start) >= 0 &&
           (above->end.size == 0 || slice_compare(key, above->end) < 0);
}

static void agrees_with_the_model(struct mvcc_above above, uint32_t max) {
    struct seen seen = {.max = max};
    above.visit = visit;
    above.ctx = &seen;
    assert_int_equal(mvcc_above(reader, &above), STATUS_OK);
    uint32_t count = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        for (uint64_t ts = TIMES; holds(&above, keys[i]) && ts > above.ts.v && count < max; ts--) {
            if (prepared[i][ts] == 0) { continue; }
            assert_true(count < seen.count);
            assert_int_equal(seen.ts[count].v, ts);
            assert_int_equal(seen.local[count].v, prepared[i][ts]);
            count++;
        }
    }
    assert_int_equal(seen.count, count);
}

static void test_mvcc_above_agrees_with_a_model(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 5);
    for (uint32_t round = 0; round < 300; round++) {
        const uint32_t key = (uint32_t)prng_below(&prng, KEYS);
        const uint64_t ts = prng_between(&prng, 1, TIMES);
        if (prepared[key][ts] == 0) {
            put(key, ts, prng_between(&prng, 1, ts), prng_chance(&prng, 1, 4));
        }
        write_all();
        const struct mvcc_above above = {
            .start = keys[prng_below(&prng, KEYS)],
            .end = prng_chance(&prng, 1, 4) ? SLICE_EMPTY : keys[prng_below(&prng, KEYS)],
            .alone = prng_chance(&prng, 1, 3),
            .ts = {prng_below(&prng, TIMES + 1)}};
        agrees_with_the_model(above, VERSIONS_MAX);
        agrees_with_the_model(above, (uint32_t)prng_between(&prng, 1, 3));
    }
}

// What a key keeps below the timestamp is passed over, however much it is.
static void test_mvcc_above_passes_over_long_histories(void **state) {
    (void)state;
    for (uint64_t ts = 1; ts <= TIMES; ts++) {
        put(2, ts, ts, false);
    }
    put(3, TIMES, 1, true);
    write_all();
    for (uint64_t ts = 0; ts <= TIMES; ts++) {
        agrees_with_the_model((struct mvcc_above){.start = keys[0], .ts = {ts}}, VERSIONS_MAX);
        agrees_with_the_model((struct mvcc_above){.start = keys[2], .alone = true, .ts = {ts}},
                              VERSIONS_MAX);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mvcc_above_agrees_with_a_model, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mvcc_above_passes_over_long_histories, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
