// SPDX-License-Identifier: Apache-2.0
// Who is in whose way, by hand and against a table that compares everything with everything.
#include "txn/lock/lock_table.h"

#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { OPS_MAX = 4, HOLDERS_MAX = 24, KEY_SIZE = 5 };

// A transaction over keys "a" to "p", as few letters as make conflicts likely.
struct sketch {
    struct txn_id txn;
    uint64_t begin;
    uint64_t prepared;
    uint32_t read_count;
    uint32_t mutation_count;
    struct command_span reads[OPS_MAX];
    struct command_mutation mutations[OPS_MAX];
    uint8_t space[4 * OPS_MAX][KEY_SIZE];
    uint32_t used;
};

static struct slice key_of(struct sketch *self, char letter) {
    uint8_t *out = self->space[self->used++];
    memcpy(out, "\0\0\0\1", 4);
    out[4] = (uint8_t)letter;
    return slice_make(out, KEY_SIZE);
}

static void read_key(struct sketch *self, char from, char to) {
    struct command_span *read = &self->reads[self->read_count++];
    read->start = key_of(self, from);
    read->end = to != 0 ? key_of(self, to) : SLICE_EMPTY;
}

static void write_key(struct sketch *self, char from, char to) {
    struct command_mutation *mutation = &self->mutations[self->mutation_count++];
    mutation->kind = to != 0 ? COMMAND_DELETE_RANGE : COMMAND_PUT;
    mutation->key = key_of(self, from);
    mutation->value = to != 0 ? key_of(self, to) : SLICE_LITERAL("v");
}

static void encode(const struct sketch *self, struct buf *out) {
    const struct command_commit commit = {.txn = self->txn,
                                          .snapshot = {self->read_count > 0 ? 1 : 0},
                                          .read_count = self->read_count,
                                          .mutation_count = self->mutation_count,
                                          .reads = self->reads,
                                          .mutations = self->mutations};
    struct codec_writer w;
    codec_writer_init(&w, out);
    command_commit_encode(&w, &commit);
    assert_int_equal(w.status, STATUS_OK);
}

static void add(struct lock_table *table, const struct sketch *self) {
    struct buf part;
    struct buf prepare;
    buf_init(&part, 1 << 16);
    buf_init(&prepare, 1 << 16);
    encode(self, &part);
    const struct slice anchor = SLICE_LITERAL("\0\0\0\1a");
    const struct command_prepare message = {.txn = self->txn,
                                            .attempt = {1, 1},
                                            .begin = {self->begin},
                                            .participant_count = 1,
                                            .participants = &anchor,
                                            .part = buf_slice(&part)};
    struct codec_writer w;
    codec_writer_init(&w, &prepare);
    command_prepare_encode(&w, &message);
    const struct lock_holder holder = {.txn = self->txn,
                                       .attempt = {1, 1},
                                       .begin = {self->begin},
                                       .prepared = {self->prepared},
                                       .prepare = buf_slice(&prepare)};
    lock_table_add(table, &holder);
    buf_deinit(&part);
    buf_deinit(&prepare);
}

static bool conflicts(const struct lock_table *table, const struct sketch *self,
                      struct lock_conflict *out) {
    struct buf part;
    buf_init(&part, 1 << 16);
    encode(self, &part);
    const bool found = lock_table_conflicts(table, self->txn, buf_slice(&part), out);
    buf_deinit(&part);
    return found;
}

static struct sketch sketch_of(uint8_t id, uint64_t begin, uint64_t prepared) {
    return (struct sketch){.txn = {.v = {id}}, .begin = begin, .prepared = prepared};
}

static void test_lock_writers_exclude_everybody(void **state) {
    (void)state;
    struct lock_table *table = lock_table_create();
    struct sketch held = sketch_of(1, 10, 100);
    write_key(&held, 'c', 0);
    add(table, &held);
    struct sketch reader = sketch_of(2, 5, 0);
    read_key(&reader, 'c', 0);
    struct lock_conflict conflict;
    assert_true(conflicts(table, &reader, &conflict));
    assert_int_equal(conflict.holder->begin.v, 10);
    assert_true(slice_equal(conflict.key, reader.reads[0].start));
    struct sketch other = sketch_of(2, 5, 0);
    read_key(&other, 'd', 'f');
    write_key(&other, 'b', 0);
    assert_false(conflicts(table, &other, &conflict));
    struct sketch range = sketch_of(2, 5, 0);
    write_key(&range, 'b', 'd');
    assert_true(conflicts(table, &range, &conflict));
    // Its own locks are in nobody's way but that of others.
    assert_false(conflicts(table, &held, &conflict));
    lock_table_destroy(table);
}

static void test_lock_readers_share(void **state) {
    (void)state;
    struct lock_table *table = lock_table_create();
    struct sketch held = sketch_of(1, 10, 100);
    read_key(&held, 'c', 'f');
    add(table, &held);
    struct sketch reader = sketch_of(2, 5, 0);
    read_key(&reader, 'a', 'z');
    struct lock_conflict conflict;
    assert_false(conflicts(table, &reader, &conflict));
    struct sketch phantom = sketch_of(2, 5, 0);
    write_key(&phantom, 'd', 0);
    assert_true(conflicts(table, &phantom, &conflict));
    struct sketch beyond = sketch_of(2, 5, 0);
    write_key(&beyond, 'f', 0);
    assert_false(conflicts(table, &beyond, &conflict));
    lock_table_destroy(table);
}

static void test_lock_the_youngest_in_the_way_is_named(void **state) {
    (void)state;
    struct lock_table *table = lock_table_create();
    for (uint8_t i = 1; i <= 3; i++) {
        struct sketch held = sketch_of(i, i == 2 ? 30 : 10u + i, 100u + i);
        read_key(&held, 'c', 0);
        add(table, &held);
    }
    struct sketch writer = sketch_of(9, 20, 0);
    write_key(&writer, 'c', 0);
    struct lock_conflict conflict;
    assert_true(conflicts(table, &writer, &conflict));
    assert_int_equal(conflict.holder->begin.v, 30);
    lock_table_destroy(table);
}

static void test_lock_reads_wait_for_what_was_prepared_at_or_below(void **state) {
    (void)state;
    struct lock_table *table = lock_table_create();
    struct sketch held = sketch_of(1, 10, 100);
    write_key(&held, 'c', 0);
    read_key(&held, 'x', 0);
    add(table, &held);
    const struct slice c = SLICE_LITERAL("\0\0\0\1c");
    const struct slice b = SLICE_LITERAL("\0\0\0\1b");
    const struct slice d = SLICE_LITERAL("\0\0\0\1d");
    const struct slice x = SLICE_LITERAL("\0\0\0\1x");
    struct lock_conflict conflict;
    assert_true(lock_table_blocks_read(table, c, (struct hlc_ts){100}, &conflict));
    assert_false(lock_table_blocks_read(table, c, (struct hlc_ts){99}, &conflict));
    assert_false(lock_table_blocks_read(table, x, (struct hlc_ts){100}, &conflict));
    assert_true(lock_table_blocks_scan(table, b, d, (struct hlc_ts){100}, &conflict));
    assert_true(lock_table_blocks_scan(table, b, SLICE_EMPTY, (struct hlc_ts){100}, &conflict));
    assert_false(lock_table_blocks_scan(table, d, SLICE_EMPTY, (struct hlc_ts){100}, &conflict));
    assert_false(lock_table_blocks_scan(table, b, c, (struct hlc_ts){100}, &conflict));
    lock_table_destroy(table);
}

static bool collect(void *ctx, const struct lock_holder *holder) {
    uint64_t *last = ctx;
    assert_true(holder->prepared.v > *last);
    *last = holder->prepared.v;
    return true;
}

static void test_lock_holders_stand_in_the_order_of_their_prepares(void **state) {
    (void)state;
    struct lock_table *table = lock_table_create();
    assert_true(hlc_equal(lock_table_min_prepared(table), HLC_MAX));
    const uint64_t prepared[] = {50, 20, 90, 70};
    for (uint8_t i = 0; i < 4; i++) {
        struct sketch held = sketch_of((uint8_t)(i + 1), 1, prepared[i]);
        read_key(&held, (char)('a' + i), 0);
        add(table, &held);
        lock_table_check(table);
    }
    uint64_t last = 0;
    lock_table_each(table, collect, &last);
    assert_int_equal(last, 90);
    assert_int_equal(lock_table_min_prepared(table).v, 20);
    assert_true(lock_table_remove(table, (struct txn_id){.v = {2}}));
    assert_false(lock_table_remove(table, (struct txn_id){.v = {2}}));
    assert_int_equal(lock_table_min_prepared(table).v, 50);
    assert_int_equal(lock_table_count(table), 3);
    lock_table_check(table);
    lock_table_destroy(table);
}

// --- Against a naive table ---

static bool naive_overlap(char from, char to, char other_from, char other_to) {
    for (char letter = from; letter < (to != 0 ? to : from + 1); letter++) {
        if (letter >= other_from && letter < (other_to != 0 ? other_to : other_from + 1)) {
            return true;
        }
    }
    return false;
}

struct plain {
    char from[2 * OPS_MAX];
    char to[2 * OPS_MAX];
    bool writes[2 * OPS_MAX];
    uint32_t count;
};

static bool naive_conflict(const struct plain *a, const struct plain *b) {
    for (uint32_t i = 0; i < a->count; i++) {
        for (uint32_t j = 0; j < b->count; j++) {
            if ((a->writes[i] || b->writes[j]) &&
                naive_overlap(a->from[i], a->to[i], b->from[j], b->to[j])) {
                return true;
            }
        }
    }
    return false;
}

static void draw(struct prng *prng, struct sketch *sketch, struct plain *plain) {
    const uint64_t count = prng_between(prng, 1, OPS_MAX);
    *plain = (struct plain){0};
    for (uint64_t i = 0; i < count; i++) {
        const char from = (char)('a' + prng_below(prng, 14));
        const char to = prng_chance(prng, 1, 3) ? (char)(from + 1 + (char)prng_below(prng, 3)) : 0;
        const bool writes = prng_chance(prng, 1, 2);
        plain->from[plain->count] = from;
        plain->to[plain->count] = to;
        plain->writes[plain->count++] = writes;
        if (writes) {
            write_key(sketch, from, to);
        } else {
            read_key(sketch, from, to);
        }
    }
}

static void test_lock_table_agrees_with_a_naive_one(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 11);
    static struct plain held[256];
    bool lives[256] = {false};
    uint32_t found_some = 0;
    struct lock_table *table = lock_table_create();
    for (uint64_t step = 1; step <= 20000; step++) {
        const uint8_t id = (uint8_t)prng_between(&prng, 1, HOLDERS_MAX);
        if (lives[id]) {
            assert_true(lock_table_remove(table, (struct txn_id){.v = {id}}));
            lives[id] = false;
            continue;
        }
        struct sketch sketch = sketch_of(id, step, step);
        struct plain plain;
        draw(&prng, &sketch, &plain);
        bool expected = false;
        for (uint32_t i = 1; i <= HOLDERS_MAX; i++) {
            expected = expected || (lives[i] && naive_conflict(&plain, &held[i]));
        }
        struct lock_conflict conflict;
        assert_int_equal(conflicts(table, &sketch, &conflict), expected);
        found_some += expected;
        if (expected) { continue; }
        add(table, &sketch);
        held[id] = plain;
        lives[id] = true;
        if (step % 16 == 0) { lock_table_check(table); }
    }
    assert_true(found_some > 1000);
    lock_table_destroy(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lock_writers_exclude_everybody),
        cmocka_unit_test(test_lock_readers_share),
        cmocka_unit_test(test_lock_the_youngest_in_the_way_is_named),
        cmocka_unit_test(test_lock_reads_wait_for_what_was_prepared_at_or_below),
        cmocka_unit_test(test_lock_holders_stand_in_the_order_of_their_prepares),
        cmocka_unit_test(test_lock_table_agrees_with_a_naive_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
