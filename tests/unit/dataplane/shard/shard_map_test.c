// SPDX-License-Identifier: Apache-2.0
// The map: who replaces whom, holes, leader hints, deltas, and convergence under any order of
// arrival.
#include "dataplane/shard/shard_map.h"

#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state) {
    *state = shard_map_create();
    return 0;
}

static int teardown(void **state) {
    shard_map_destroy((struct shard_map *)*state);
    return 0;
}

static struct shard_descriptor make(uint64_t id, const char *start, const char *end,
                                    uint64_t epoch) {
    return (struct shard_descriptor){
        .id = {id},
        .start = bytes_copy(slice_from_string(start)),
        .end = bytes_copy(slice_from_string(end)),
        .epoch = epoch,
        .config_epoch = 1,
        .term = 1,
        .replica_count = 1,
        .replicas = {{{1}, SHARD_VOTER, 1, false}},
    };
}

static bool put(struct shard_map *map, uint64_t id, const char *start, const char *end,
                uint64_t epoch) {
    struct shard_descriptor d = make(id, start, end, epoch);
    const bool taken = shard_map_put(map, &d);
    shard_descriptor_deinit(&d);
    assert_true(shard_map_check(map));
    return taken;
}

static bool put_at_version(struct shard_map *map, uint64_t id, const char *start, const char *end,
                           const uint64_t epoch_and_version[2]) {
    struct shard_descriptor d = make(id, start, end, epoch_and_version[0]);
    d.map_version = epoch_and_version[1];
    const bool taken = shard_map_put(map, &d);
    shard_descriptor_deinit(&d);
    return taken;
}

// The shard that holds a key; 0 for a hole.
static uint64_t holder(const struct shard_map *map, const char *key) {
    const struct shard_descriptor *d = shard_map_find(map, slice_from_string(key));
    return d != NULL ? d->id.v : 0;
}

static uint64_t holder_or_next(const struct shard_map *map, const char *key) {
    const struct shard_descriptor *d = shard_map_at_or_after(map, slice_from_string(key));
    return d != NULL ? d->id.v : 0;
}

// Goal: nothing is found in an empty map.
static void test_shard_map_empty_is_one_hole(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    assert_int_equal(holder(map, ""), 0);
    assert_int_equal(holder_or_next(map, "x"), 0);
    assert_null(shard_map_by_id(map, (struct shard_id){2}));
    assert_int_equal(shard_map_count(map), 0);
    assert_int_equal(shard_map_version(map), 0);
    shard_map_note_leader(map, (struct shard_id){2}, (struct node_id){1}, 1);
}

// Goal: keys find their range, at its edges too; holes find the next one.
static void test_shard_map_finds_ranges_and_holes(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    assert_true(put(map, 4, "m", "p", 1));
    assert_true(put(map, 2, "", "c", 1));
    assert_true(put(map, 3, "c", "f", 1));
    assert_int_equal(holder(map, ""), 2);
    assert_int_equal(holder(map, "b\xff"), 2);
    assert_int_equal(holder(map, "c"), 3);
    assert_int_equal(holder(map, "f"), 0);
    assert_int_equal(holder(map, "l"), 0);
    assert_int_equal(holder(map, "m"), 4);
    assert_int_equal(holder(map, "p"), 0);
    assert_int_equal(holder_or_next(map, "e"), 3);
    assert_int_equal(holder_or_next(map, "f"), 4);
    assert_int_equal(holder_or_next(map, "p"), 0);
}

// Goal: a descriptor is replaced by a newer one of its shard only.
static void test_shard_map_replaces_only_by_newer(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    assert_true(put(map, 2, "a", "z", 5));
    assert_false(put(map, 2, "a", "m", 5));
    assert_false(put(map, 2, "a", "m", 4));
    assert_int_equal(holder(map, "x"), 2);
    assert_true(put(map, 2, "a", "m", 6));
    assert_int_equal(holder(map, "x"), 0);
    assert_int_equal(holder(map, "b"), 2);
    assert_int_equal(shard_map_count(map), 1);
}

// Goal: after a split either half replaces the parent, whichever arrives first; the parent never
// comes back.
static void test_shard_map_split_halves_in_either_order(void **state) {
    (void)state;
    for (unsigned right_first = 0; right_first < 2; right_first++) {
        struct shard_map *map = shard_map_create();
        assert_true(put(map, 2, "", "", 4));
        if (right_first != 0) {
            assert_true(put(map, 3, "m", "", 5));
            assert_int_equal(holder(map, "a"), 0);  // a hole until the left half is heard of
            assert_int_equal(shard_map_count(map), 1);
            assert_false(put(map, 2, "", "", 4));
            assert_true(put(map, 2, "", "m", 5));
        } else {
            assert_true(put(map, 2, "", "m", 5));
            assert_int_equal(holder(map, "x"), 0);
            assert_true(put(map, 3, "m", "", 5));
        }
        assert_false(put(map, 2, "", "", 4));
        assert_int_equal(holder(map, "a"), 2);
        assert_int_equal(holder(map, "m"), 3);
        shard_map_destroy(map);
    }
}

// Goal: a merge drops the absorbed neighbour, which an old descriptor cannot revive.
static void test_shard_map_merge_drops_the_absorbed(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    assert_true(put(map, 2, "", "m", 5));
    assert_true(put(map, 3, "m", "", 7));
    assert_false(put(map, 2, "", "", 7));  // not above the epoch of what it would absorb
    assert_true(put(map, 2, "", "", 8));
    assert_int_equal(holder(map, "x"), 2);
    assert_null(shard_map_by_id(map, (struct shard_id){3}));
    assert_false(put(map, 3, "m", "", 7));
    assert_int_equal(shard_map_count(map), 1);
}

// Goal: one overlap with something newer refuses the whole, and changes nothing.
static void test_shard_map_refuses_when_any_overlap_is_newer(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    assert_true(put(map, 2, "a", "c", 1));
    assert_true(put(map, 3, "c", "e", 9));
    assert_true(put(map, 4, "e", "g", 1));
    assert_false(put(map, 5, "", "", 5));
    assert_int_equal(holder(map, "b"), 2);
    assert_int_equal(holder(map, "f"), 4);
    assert_null(shard_map_by_id(map, (struct shard_id){5}));
    assert_true(put(map, 5, "", "c", 5));
    assert_int_equal(shard_map_count(map), 3);
}

// Goal: the catalogue is found by id and by no key, and disturbs nobody.
static void test_shard_map_keeps_empty_ranges_by_id_only(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    assert_true(put(map, 2, "", "", 1));
    assert_true(put(map, SHARD_CATALOG.v, "\x01", "\x01", 3));
    assert_true(put(map, SHARD_CATALOG.v, "\x01", "\x01", 4));
    assert_int_equal(holder(map, "\x01"), 2);
    assert_non_null(shard_map_by_id(map, SHARD_CATALOG));
    assert_int_equal(shard_map_count(map), 2);
    assert_true(put(map, 2, "", "", 2));
    assert_non_null(shard_map_by_id(map, SHARD_CATALOG));
}

static struct node_id leader_of(const struct shard_map *map, uint64_t id) {
    return shard_map_by_id(map, (struct shard_id){id})->leader;
}

// Goal: hints follow the term: older ones are ignored, and forgetting concerns one term alone.
static void test_shard_map_leader_hints_follow_the_term(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    const struct shard_id id = {2};
    const struct node_id nobody = {0};
    assert_true(put(map, 2, "", "", 1));
    shard_map_note_leader(map, id, (struct node_id){7}, 5);
    assert_int_equal(leader_of(map, 2).v, 7);
    shard_map_note_leader(map, id, (struct node_id){8}, 4);
    assert_int_equal(leader_of(map, 2).v, 7);
    shard_map_note_leader(map, id, nobody, 4);
    assert_int_equal(leader_of(map, 2).v, 7);
    shard_map_note_leader(map, id, nobody, 6);
    assert_int_equal(leader_of(map, 2).v, 7);
    shard_map_note_leader(map, id, nobody, 5);
    assert_int_equal(leader_of(map, 2).v, 0);
    shard_map_note_leader(map, id, (struct node_id){9}, 5);
    assert_int_equal(leader_of(map, 2).v, 9);
    assert_false(put(map, 2, "", "", 1));  // the catalogue's older term does not undo the hint
    assert_int_equal(leader_of(map, 2).v, 9);
    assert_true(put(map, 2, "", "", 2));
    assert_int_equal(leader_of(map, 2).v, 0);  // 9 is no member of it
    shard_map_note_leader(map, id, (struct node_id){1}, 6);
    assert_true(put(map, 2, "", "", 3));
    assert_int_equal(leader_of(map, 2).v, 1);  // a member leads on, whatever else changed
}

static void delta(const struct shard_map *from, uint64_t since, struct buf *out) {
    struct codec_writer w;
    buf_reset(out);
    codec_writer_init(&w, out);
    shard_map_encode_delta(from, since, &w);
    assert_int_equal(w.status, STATUS_OK);
}

static enum status apply(struct shard_map *to, struct slice input) {
    struct codec_reader r;
    codec_reader_init(&r, input);
    return shard_map_apply_delta(to, &r);
}

// Goal: a delta carries what changed since, and the version with it.
static void test_shard_map_delta_carries_changes_since(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    struct shard_map *other = shard_map_create();
    struct buf buf;
    buf_init(&buf, 1 << 16);
    assert_true(put_at_version(map, 2, "", "c", (const uint64_t[]){1, 10}));
    assert_true(put_at_version(map, 3, "c", "", (const uint64_t[]){1, 20}));
    assert_true(put_at_version(map, 1, "x", "x", (const uint64_t[]){1, 15}));
    shard_map_note_version(map, 20);
    delta(map, 10, &buf);
    assert_int_equal(apply(other, buf_slice(&buf)), STATUS_OK);
    assert_int_equal(shard_map_version(other), 20);
    assert_int_equal(shard_map_count(other), 2);
    assert_int_equal(holder(other, "a"), 0);
    delta(map, 0, &buf);
    assert_int_equal(apply(other, buf_slice(&buf)), STATUS_OK);
    assert_int_equal(shard_map_count(other), 3);
    delta(map, 20, &buf);
    assert_int_equal(buf.size, 2);  // the version and a count of zero
    buf_deinit(&buf);
    shard_map_destroy(other);
}

// Goal: a descriptor learned on the side must not hide the changes before it.
static void test_shard_map_put_does_not_advance_the_version(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    shard_map_note_version(map, 5);
    assert_true(put_at_version(map, 2, "", "c", (const uint64_t[]){1, 10}));
    assert_int_equal(shard_map_version(map), 5);
    shard_map_note_version(map, 4);
    assert_int_equal(shard_map_version(map), 5);
}

// Goal: what refuses a descriptor, or replaces one, stands for it in later deltas.
static void test_shard_map_survivors_inherit_the_map_version(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    assert_true(put(map, 3, "m", "", 5));  // heard from the shard itself, without a map version
    assert_false(put_at_version(map, 2, "", "", (const uint64_t[]){4, 60}));
    assert_int_equal(shard_map_by_id(map, (struct shard_id){3})->map_version, 60);
    assert_true(put(map, 4, "p", "", 6));
    assert_int_equal(shard_map_by_id(map, (struct shard_id){4})->map_version, 60);
    assert_false(put_at_version(map, 4, "p", "", (const uint64_t[]){6, 61}));
    assert_int_equal(shard_map_by_id(map, (struct shard_id){4})->map_version, 61);
    assert_true(put(map, SHARD_CATALOG.v, "x", "x", 2));
    assert_false(put_at_version(map, SHARD_CATALOG.v, "x", "x", (const uint64_t[]){2, 62}));
    assert_int_equal(shard_map_by_id(map, SHARD_CATALOG)->map_version, 62);
}

// Goal: a delta cut anywhere is corrupt, leaves a sound map and its version; applied whole it
// heals.
static void test_shard_map_truncated_delta_keeps_the_version(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    struct buf buf;
    buf_init(&buf, 1 << 16);
    assert_true(put_at_version(map, 2, "", "c", (const uint64_t[]){1, 1}));
    assert_true(put_at_version(map, 3, "c", "f", (const uint64_t[]){1, 2}));
    assert_true(put_at_version(map, 4, "f", "", (const uint64_t[]){1, 3}));
    shard_map_note_version(map, 3);
    delta(map, 0, &buf);
    struct shard_map *other = shard_map_create();
    for (size_t size = 0; size < buf.size; size++) {
        assert_int_equal(apply(other, slice_make(buf.data, size)), STATUS_CORRUPT);
        assert_int_equal(shard_map_version(other), 0);
        assert_true(shard_map_check(other));
    }
    assert_int_equal(apply(other, buf_slice(&buf)), STATUS_OK);
    assert_int_equal(shard_map_count(other), 3);
    shard_map_destroy(other);
    buf_deinit(&buf);
}

// Goal: random bytes and mutated deltas never crash, leak or break the map.
static void test_shard_map_survives_noisy_deltas(void **state) {
    struct shard_map *map = (struct shard_map *)*state;
    struct buf buf;
    struct prng prng;
    buf_init(&buf, 1 << 16);
    prng_init(&prng, 41);
    for (uint64_t i = 0; i < 20; i++) {
        char start[8];
        char end[8];
        (void)snprintf(start, sizeof(start), "%02u", (unsigned)i);
        (void)snprintf(end, sizeof(end), "%02u", (unsigned)i + 1);
        assert_true(put_at_version(map, 2 + i, start, end, (const uint64_t[]){1, 1 + i}));
    }
    delta(map, 0, &buf);
    struct shard_map *other = shard_map_create();
    for (unsigned round = 0; round < 3000; round++) {
        struct bytes *noisy = bytes_copy(buf_slice(&buf));
        for (uint64_t i = 1 + prng_below(&prng, 4); i > 0; i--) {
            noisy->data[prng_below(&prng, noisy->size)] = (uint8_t)prng_next(&prng);
        }
        (void)!apply(other, bytes_slice(noisy));
        assert_true(shard_map_check(other));
        bytes_unref(noisy);
    }
    shard_map_destroy(other);
    buf_deinit(&buf);
}

// --- Histories of splits and merges -------------------------------------------------------------

enum { HISTORY_MAX = 120, LIVE_MAX = 40 };

// Every descriptor that ever was, in the order of the catalogue's versions 1, 2, ...; the current
// ones in key order.
struct history {
    struct shard_descriptor all[HISTORY_MAX];
    unsigned count;
    unsigned live[LIVE_MAX];  // indexes into all
    unsigned live_count;
    uint64_t id_next;
};

static unsigned history_add(struct history *self, uint64_t id, const char *start, const char *end,
                            uint64_t epoch) {
    assert_true(self->count < HISTORY_MAX);
    self->all[self->count] = make(id, start, end, epoch);
    self->all[self->count].map_version = self->count + 1;
    return self->count++;
}

static void key_of(struct bytes *from, char out[8]) {
    memcpy(out, from->data, from->size);
    out[from->size] = '\0';
}

static void history_split(struct history *self, unsigned at, const char *key) {
    const struct shard_descriptor *parent = &self->all[self->live[at]];
    if (self->live_count == LIVE_MAX ||
        !shard_descriptor_contains(parent, slice_from_string(key)) ||
        slice_equal(bytes_slice(parent->start), slice_from_string(key))) {
        return;
    }
    char start[8];
    char end[8];
    key_of(parent->start, start);
    key_of(parent->end, end);
    memmove(&self->live[at + 2], &self->live[at + 1],
            (self->live_count - at - 1) * sizeof(self->live[0]));
    self->live[at] = history_add(self, parent->id.v, start, key, parent->epoch + 1);
    self->live[at + 1] = history_add(self, self->id_next++, key, end, parent->epoch + 1);
    self->live_count++;
}

static void history_merge(struct history *self, unsigned at) {
    if (at + 1 >= self->live_count) { return; }
    const struct shard_descriptor *left = &self->all[self->live[at]];
    const struct shard_descriptor *right = &self->all[self->live[at + 1]];
    char start[8];
    char end[8];
    key_of(left->start, start);
    key_of(right->end, end);
    const uint64_t epoch = (left->epoch > right->epoch ? left->epoch : right->epoch) + 1;
    self->live[at] = history_add(self, left->id.v, start, end, epoch);
    memmove(&self->live[at + 1], &self->live[at + 2],
            (self->live_count - at - 2) * sizeof(self->live[0]));
    self->live_count--;
}

static void history_make(struct history *self, struct prng *prng) {
    *self = (struct history){.id_next = 3};
    self->live[self->live_count++] = history_add(self, 2, "", "", 1);
    while (self->count + 2 <= HISTORY_MAX) {
        const unsigned at = (unsigned)prng_below(prng, self->live_count);
        if (prng_chance(prng, 2, 3)) {
            char key[8];
            (void)snprintf(key, sizeof(key), "%03u", (unsigned)prng_below(prng, 1000));
            for (unsigned i = 0; i < self->live_count; i++) {
                if (shard_descriptor_contains(&self->all[self->live[i]], slice_from_string(key))) {
                    history_split(self, i, key);
                    break;
                }
            }
        } else {
            history_merge(self, at);
        }
    }
}

static void history_free(struct history *self) {
    for (unsigned i = 0; i < self->count; i++) {
        shard_descriptor_deinit(&self->all[i]);
    }
}

static void assert_map_is_current(const struct shard_map *map, const struct history *history) {
    assert_true(shard_map_check(map));
    assert_int_equal(shard_map_count(map), history->live_count);
    for (unsigned i = 0; i < history->live_count; i++) {
        const struct shard_descriptor *expected = &history->all[history->live[i]];
        const struct shard_descriptor *got = shard_map_find(map, bytes_slice(expected->start));
        assert_non_null(got);
        assert_int_equal(got->id.v, expected->id.v);
        assert_int_equal(got->epoch, expected->epoch);
        assert_true(slice_equal(bytes_slice(got->end), bytes_slice(expected->end)));
    }
}

// Goal: whoever hears every descriptor, in any order and repeatedly, ends with the current map.
static void test_shard_map_converges_in_any_order(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 43);
    for (unsigned round = 0; round < 200; round++) {
        static struct history history;
        history_make(&history, &prng);
        struct shard_map *map = shard_map_create();
        unsigned order[HISTORY_MAX];
        for (unsigned i = 0; i < history.count; i++) {
            const unsigned j = (unsigned)prng_below(&prng, i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        for (unsigned i = 0; i < history.count; i++) {
            (void)shard_map_put(map, &history.all[order[prng_below(&prng, i + 1)]]);
            (void)shard_map_put(map, &history.all[order[i]]);
        }
        assert_map_is_current(map, &history);
        shard_map_destroy(map);
        history_free(&history);
    }
}

// Goal: through a chain catalogue -> node -> client of deltas at random moments, with descriptors
// learned on the side anywhere and without map versions, nothing is missed at the end.
static void test_shard_map_chained_deltas_miss_nothing(void **state) {
    (void)state;
    struct prng prng;
    struct buf buf;
    prng_init(&prng, 47);
    buf_init(&buf, 1 << 20);
    for (unsigned round = 0; round < 200; round++) {
        static struct history history;
        history_make(&history, &prng);
        struct shard_map *maps[3] = {shard_map_create(), shard_map_create(), shard_map_create()};
        for (unsigned i = 0; i < history.count; i++) {
            (void)shard_map_put(maps[0], &history.all[i]);
            shard_map_note_version(maps[0], i + 1);
            const unsigned to = 1 + (unsigned)prng_below(&prng, 2);
            if (prng_chance(&prng, 1, 4)) {
                delta(maps[to - 1], shard_map_version(maps[to]), &buf);
                assert_int_equal(apply(maps[to], buf_slice(&buf)), STATUS_OK);
            }
            if (prng_chance(&prng, 1, 3)) {
                struct shard_descriptor aside = {0};
                shard_descriptor_copy(&aside, &history.all[prng_below(&prng, i + 1)]);
                aside.map_version = 0;
                (void)shard_map_put(maps[to], &aside);
                shard_descriptor_deinit(&aside);
            }
        }
        for (unsigned to = 1; to < 3; to++) {
            delta(maps[to - 1], shard_map_version(maps[to]), &buf);
            assert_int_equal(apply(maps[to], buf_slice(&buf)), STATUS_OK);
            assert_map_is_current(maps[to], &history);
        }
        for (unsigned i = 0; i < 3; i++) {
            shard_map_destroy(maps[i]);
        }
        history_free(&history);
    }
    buf_deinit(&buf);
}

#define WITH_MAP(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_MAP(test_shard_map_empty_is_one_hole),
        WITH_MAP(test_shard_map_finds_ranges_and_holes),
        WITH_MAP(test_shard_map_replaces_only_by_newer),
        cmocka_unit_test(test_shard_map_split_halves_in_either_order),
        WITH_MAP(test_shard_map_merge_drops_the_absorbed),
        WITH_MAP(test_shard_map_refuses_when_any_overlap_is_newer),
        WITH_MAP(test_shard_map_keeps_empty_ranges_by_id_only),
        WITH_MAP(test_shard_map_leader_hints_follow_the_term),
        WITH_MAP(test_shard_map_delta_carries_changes_since),
        WITH_MAP(test_shard_map_put_does_not_advance_the_version),
        WITH_MAP(test_shard_map_survivors_inherit_the_map_version),
        WITH_MAP(test_shard_map_truncated_delta_keeps_the_version),
        WITH_MAP(test_shard_map_survives_noisy_deltas),
        cmocka_unit_test(test_shard_map_converges_in_any_order),
        cmocka_unit_test(test_shard_map_chained_deltas_miss_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
