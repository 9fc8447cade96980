// SPDX-License-Identifier: Apache-2.0
// What recovery finds after random crashes, and what it refuses: each way in which a log can be
// damaged, named with its shard and index.
#include "dataplane/base/mem.h"
#include "storage/raftlog/raftlog.h"
#include "tests/sim/disk/sim_engine.h"
#include "tests/unit/storage/raftlog/raftlog_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void collect(void *ctx, struct shard_id shard, const struct log_bounds *bounds) {
    char *text = ctx;
    const size_t size = strlen(text);
    (void)snprintf(text + size, 256 - size, "%llx:%llu ", (unsigned long long)shard.v,
                   (unsigned long long)bounds->last_index);
}

static void test_raftlog_each_visits_all_shards_in_order(void **state) {
    struct fixture *f = *state;
    char text[256] = "";
    submit(f, B, 1, 2, 1);
    submit(f, A, 1, 1, 1);
    submit_hard_state(f, (struct shard_id){UINT64_MAX}, 9);
    raftlog_turn(f->log);
    const uint64_t size = raftlog_size(f->log);
    reopen(f);
    raftlog_each(f->log, collect, text);
    assert_string_equal(text, "7:1 102030405060708:2 ffffffffffffffff:0 ");
    assert_int_equal(raftlog_size(f->log), size);
}

static struct slice entry_key(uint64_t index, uint8_t out[17]) {
    memset(out, 0, 17);
    out[7] = (uint8_t)A.v;
    out[8] = 3;
    out[16] = (uint8_t)index;
    return slice_make(out, 17);
}

static void damage(struct fixture *f, struct slice key, const struct slice *value) {
    struct engine_batch *batch = engine_batch_create(f->engine);
    if (value != NULL) {
        engine_put(batch, ENGINE_LOG, key, *value);
    } else {
        engine_remove(batch, ENGINE_LOG, key);
    }
    assert_int_equal(engine_write(f->engine, batch, true), STATUS_OK);
    engine_batch_destroy(batch);
}

static void assert_damaged(struct fixture *f, const char *shard, const char *index) {
    raftlog_destroy(f->log);
    f->log = NULL;
    assert_int_equal(try_open(f), STATUS_CORRUPT);
    assert_non_null(strstr(f->err.message, shard));
    assert_non_null(strstr(f->err.message, index));
}

static void write_ten(struct fixture *f) {
    submit(f, A, 1, 10, 5);
    raftlog_turn(f->log);
}

// The five ways in which a record can be wrong are refused at open, with shard and index.
static void test_raftlog_flipped_byte_is_corrupt(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    uint8_t bytes[256];
    struct log_entry e = make_entry(4, 5);
    write_ten(f);
    memcpy(bytes, e.record.data, e.record.size);
    bytes[e.record.size - 1] ^= 1;
    const struct slice record = slice_make(bytes, e.record.size);
    log_entry_unref(&e);
    damage(f, entry_key(4, key), &record);
    assert_int_equal(read_status(f, A, 1, 4), STATUS_OK);
    assert_int_equal(read_status(f, A, 1, 5), STATUS_CORRUPT);
    assert_damaged(f, "shard 7", "index 4");
}

static void test_raftlog_missing_entry_is_corrupt(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    write_ten(f);
    damage(f, entry_key(4, key), NULL);
    assert_int_equal(read_status(f, A, 2, 6), STATUS_CORRUPT);
    assert_int_equal(read_status(f, A, 4, 6), STATUS_CORRUPT);
    assert_damaged(f, "shard 7", "index 4");
}

static void test_raftlog_entry_under_another_index_is_corrupt(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    struct log_entry e = make_entry(5, 5);
    write_ten(f);
    damage(f, entry_key(4, key), &e.record);
    log_entry_unref(&e);
    assert_int_equal(read_status(f, A, 4, 5), STATUS_CORRUPT);
    assert_damaged(f, "shard 7", "index 4");
}

static void test_raftlog_falling_term_is_corrupt(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    struct log_entry e = make_entry(4, 3);
    write_ten(f);
    damage(f, entry_key(4, key), &e.record);
    log_entry_unref(&e);
    assert_damaged(f, "shard 7", "index 4");
}

static void test_raftlog_trailing_bytes_are_corrupt(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    uint8_t bytes[256] = {0};
    struct log_entry e = make_entry(4, 5);
    write_ten(f);
    memcpy(bytes, e.record.data, e.record.size);
    const struct slice record = slice_make(bytes, e.record.size + 1);
    log_entry_unref(&e);
    damage(f, entry_key(4, key), &record);
    assert_damaged(f, "shard 7", "index 4");
}

static void test_raftlog_damaged_hard_state_or_trim_is_corrupt(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    struct buf value;
    buf_init(&value, 256);
    write_ten(f);
    f->store->trim(f->store->ctx, A, 2, 5);
    raftlog_turn(f->log);
    for (uint8_t kind = 1; kind <= 2; kind++) {
        (void)entry_key(0, key);
        key[8] = kind;
        const struct slice shard_key = slice_make(key, 9);
        assert_int_equal(engine_get(f->engine, ENGINE_LOG, shard_key, &value), STATUS_OK);
        struct bytes *good = bytes_copy(buf_slice(&value));
        const struct slice whole = bytes_slice(good);
        value.data[value.size - 1] ^= 1;
        const struct slice flipped = buf_slice(&value);
        damage(f, shard_key, &flipped);
        assert_damaged(f, "shard 7", kind == 1 ? "hard state" : "trim point");
        const struct slice cut = slice_make(whole.data, whole.size - 1);
        damage(f, shard_key, &cut);
        assert_damaged(f, "shard 7", kind == 1 ? "hard state" : "trim point");
        damage(f, shard_key, &whole);
        assert_int_equal(try_open(f), STATUS_OK);
        bytes_unref(good);
    }
    buf_deinit(&value);
}

static void test_raftlog_lost_trim_point_is_corrupt(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    write_ten(f);
    f->store->trim(f->store->ctx, A, 2, 5);
    raftlog_turn(f->log);
    (void)entry_key(0, key);
    key[8] = 2;
    damage(f, slice_make(key, 9), NULL);
    assert_damaged(f, "shard 7", "index 1");
}

static void test_raftlog_unknown_key_is_corrupt(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    const struct slice value = SLICE_LITERAL("x");
    write_ten(f);
    (void)entry_key(0, key);
    key[8] = 9;
    damage(f, slice_make(key, 9), &value);
    assert_damaged(f, "shard 7", "unknown key");
}

// Rot that the store reports, at open and under a running log.
static void test_raftlog_rot_is_corrupt(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    write_ten(f);
    assert_int_equal(sim_engine_corrupt(f->engine, ENGINE_LOG, entry_key(6, key)), STATUS_OK);
    submit(f, B, 1, 1, 1);
    raftlog_turn(f->log);
    assert_int_equal(read_status(f, A, 5, 6), STATUS_OK);
    assert_int_equal(read_status(f, A, 5, 7), STATUS_CORRUPT);
    assert_int_equal(read_status(f, A, 6, 7), STATUS_CORRUPT);
    assert_damaged(f, "shard 7", "index 5");  // the last one that was read
}

// --- Random crashes ---

enum { SHARDS = 3, INDEX_MAX = 2000 };

// What the test remembers of one shard: the term of each index, in memory and as told durable.
struct shadow {
    uint64_t terms[INDEX_MAX];
    uint64_t trim;
    uint64_t last;
    uint64_t term;
};

struct world {
    struct shadow now[SHARDS];
    struct shadow durable[SHARDS];
    struct shadow written[SHARDS];  // what the group on its way makes of it
};

static void random_write(struct fixture *f, struct world *w, struct prng *prng) {
    const size_t s = prng_below(prng, SHARDS);
    struct shadow *shadow = &w->now[s];
    const struct shard_id shard = {s + 1};
    const uint64_t dice = prng_below(prng, 10);
    if (dice == 0 && shadow->last > shadow->trim) {
        const uint64_t index = prng_between(prng, shadow->trim + 1, shadow->last);
        f->store->trim(f->store->ctx, shard, index, shadow->terms[index]);
        shadow->trim = index;
        return;
    }
    uint64_t low = shadow->last + 1;
    if (dice < 3 && shadow->last > shadow->trim) {
        low = prng_between(prng, shadow->trim + 1, shadow->last);
        shadow->term++;
    }
    shadow->term = shadow->term == 0 ? 1 : shadow->term;
    const uint64_t high = low + prng_below(prng, 5);
    if (high >= INDEX_MAX) { return; }
    submit(f, shard, low, high, shadow->term);
    for (uint64_t i = low; i <= high; i++) {
        shadow->terms[i] = shadow->term;
    }
    shadow->last = high;
}

static bool matches(struct fixture *f, const struct shadow *shadow, struct shard_id shard) {
    const struct log_bounds b = bounds_of(f, shard);
    if (b.trim_index != shadow->trim || b.last_index != shadow->last) { return false; }
    for (uint64_t i = shadow->trim + 1; i <= shadow->last; i++) {
        struct log_entry e;
        uint32_t count = 0;
        assert_int_equal(f->store->read(f->store->ctx, shard, i, i + 1, 1, 1 << 20, &e, &count),
                         STATUS_OK);
        const uint64_t term = e.term;
        log_entry_unref(&e);
        if (term != shadow->terms[i]) { return false; }
    }
    return true;
}

static bool all_match(struct fixture *f, const struct shadow *shadows) {
    for (size_t s = 0; s < SHARDS; s++) {
        if (!matches(f, &shadows[s], (struct shard_id){s + 1})) { return false; }
    }
    return true;
}

// Between start and end of a sync a crash may leave the group or not, and all of it or nothing;
// what was told durable stays.
static void test_raftlog_crashes_leave_whole_groups(void **state) {
    struct fixture *f = *state;
    struct world *w = mem_alloc(sizeof(*w));
    struct prng prng;
    prng_init(&prng, 99);
    raftlog_destroy(f->log);
    engine_close(f->engine);
    f->engine = sim_engine_create(&(struct sim_engine_options){.deferred = true});
    assert_int_equal(try_open(f), STATUS_OK);
    int kept = 0;
    int lost = 0;
    for (int step = 0; step < 1500; step++) {
        f->done_count = 0;
        random_write(f, w, &prng);
        if (prng_chance(&prng, 1, 3)) { raftlog_turn(f->log); }
        assert_true(all_match(f, w->now));
        if (f->waiting == NULL) { continue; }
        memcpy(w->written, w->now, sizeof(w->now));
        struct raftlog_group *group = f->waiting;
        raftlog_group_write(group);
        if (prng_chance(&prng, 1, 10)) {
            crash(f, &prng);
            const bool is_new = all_match(f, w->written);
            assert_true(is_new || all_match(f, w->durable));
            kept += is_new;
            lost += !is_new;
            memcpy(w->now, is_new ? w->written : w->durable, sizeof(w->now));
        } else {
            sim_engine_make_durable(f->engine, sim_engine_sequence(f->engine));
            f->waiting = NULL;
            raftlog_group_done(f->log, group);
        }
        memcpy(w->durable, w->now, sizeof(w->now));
    }
    assert_true(kept > 5 && lost > 5);
    mem_free(w);
}

#define IMMEDIATE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
#define DELAYED(function)   cmocka_unit_test_setup_teardown(function, setup_delayed, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IMMEDIATE(test_raftlog_each_visits_all_shards_in_order),
        IMMEDIATE(test_raftlog_flipped_byte_is_corrupt),
        IMMEDIATE(test_raftlog_missing_entry_is_corrupt),
        IMMEDIATE(test_raftlog_entry_under_another_index_is_corrupt),
        IMMEDIATE(test_raftlog_falling_term_is_corrupt),
        IMMEDIATE(test_raftlog_trailing_bytes_are_corrupt),
        IMMEDIATE(test_raftlog_damaged_hard_state_or_trim_is_corrupt),
        IMMEDIATE(test_raftlog_lost_trim_point_is_corrupt),
        IMMEDIATE(test_raftlog_unknown_key_is_corrupt),
        IMMEDIATE(test_raftlog_rot_is_corrupt),
        DELAYED(test_raftlog_crashes_leave_whole_groups),
    };
    return cmocka_run_group_tests_name("raftlog_recover", tests, NULL, NULL);
}
