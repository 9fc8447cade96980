// SPDX-License-Identifier: Apache-2.0
// Which part lies where: by hand at the borders, and against a plain reckoning for random commits.
#include "txn/gateway/gateway_split.h"

#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEY(text) SLICE_LITERAL("\0\0\0\1" text)

enum { SHARDS_MAX = 300, OPS_MAX = 40 };

struct fixture {
    struct shard_map *map;
    struct gateway_split split;
    struct buf encoded;
    struct buf part;
};

static int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof(*f));
    f->map = shard_map_create();
    gateway_split_init(&f->split);
    buf_init(&f->encoded, 16 << 20);
    buf_init(&f->part, 16 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    shard_map_destroy(f->map);
    gateway_split_deinit(&f->split);
    buf_deinit(&f->encoded);
    buf_deinit(&f->part);
    mem_free(f);
    return 0;
}

static void put_shard(struct fixture *f, uint64_t id, struct slice start, struct slice end) {
    struct shard_descriptor d = {.id = {id},
                                 .start = bytes_copy(start),
                                 .end = bytes_copy(end),
                                 .epoch = 1,
                                 .config_epoch = 1,
                                 .map_version = 1,
                                 .replica_count = 1,
                                 .replicas = {{.node = {1}, .incarnation = 1}}};
    assert_true(shard_map_put(f->map, &d));
    shard_descriptor_deinit(&d);
}

// Keyspace 1, cut at "g" and "p"; the last shard has no end.
static void three_shards(struct fixture *f) {
    put_shard(f, 16, SLICE_LITERAL("\0\0\0\1"), KEY("g"));
    put_shard(f, 17, KEY("g"), KEY("p"));
    put_shard(f, 18, KEY("p"), SLICE_EMPTY);
}

static enum status split(struct fixture *f, const struct command_commit *commit) {
    struct command_commit with_id = *commit;
    struct err err = {0};
    with_id.txn.v[0] = 1;
    struct codec_writer w;
    buf_reset(&f->encoded);
    codec_writer_init(&w, &f->encoded);
    command_commit_encode(&w, &with_id);
    assert_int_equal(w.status, STATUS_OK);
    const enum status st = gateway_split_commit(&f->split, f->map, buf_slice(&f->encoded), &err);
    assert_true(st == STATUS_OK || err.message[0] != 0);
    return st;
}

static uint64_t shard_of(const struct fixture *f, uint32_t part) {
    assert_true(part < f->split.part_count);
    return f->split.parts[part].shard.v;
}

static void test_gateway_split_by_keys(void **state) {
    struct fixture *f = *state;
    three_shards(f);
    const struct command_condition conditions[] = {{.kind = COMMAND_EXISTS, .key = KEY("z")},
                                                   {.kind = COMMAND_EXISTS, .key = KEY("b")}};
    const struct command_mutation puts[] = {{.kind = COMMAND_PUT, .key = KEY("h")},
                                            {.kind = COMMAND_PUT, .key = KEY("a")},
                                            {.kind = COMMAND_PUT, .key = KEY("g")}};
    const struct command_commit commit = {
        .condition_count = 2, .conditions = conditions, .mutation_count = 3, .mutations = puts};
    assert_int_equal(split(f, &commit), STATUS_OK);
    // The home is where the first mutation lies, though a condition came before it.
    assert_int_equal(f->split.part_count, 3);
    assert_int_equal(shard_of(f, 0), 17);
    assert_true(slice_equal(f->split.parts[0].anchor, KEY("g")));
    assert_int_equal(f->split.parts[0].mutation_count, 2);
    assert_true(slice_equal(f->split.mutations[f->split.parts[0].mutation_at].key, KEY("h")));
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(shard_of(f, f->split.condition_parts[i]), i == 0 ? 18 : 16);
    }
}

static void test_gateway_split_home(void **state) {
    struct fixture *f = *state;
    three_shards(f);
    const struct command_span reads[] = {{.start = KEY("z")}, {.start = KEY("a")}};
    const struct command_condition conditions[] = {{.kind = COMMAND_EXISTS, .key = KEY("h")}};
    const struct command_mutation range = {
        .kind = COMMAND_DELETE_RANGE, .key = KEY("b"), .value = KEY("z")};
    struct command_commit commit = {.snapshot = {9},
                                    .read_count = 2,
                                    .reads = reads,
                                    .condition_count = 1,
                                    .conditions = conditions,
                                    .mutation_count = 1,
                                    .mutations = &range};
    assert_int_equal(split(f, &commit), STATUS_OK);
    assert_int_equal(shard_of(f, 0), 16);  // of a range: where it begins
    commit.mutation_count = 0;
    assert_int_equal(split(f, &commit), STATUS_OK);
    assert_int_equal(shard_of(f, 0), 17);
    commit.condition_count = 0;
    assert_int_equal(split(f, &commit), STATUS_OK);
    assert_int_equal(f->split.part_count, 2);
    assert_int_equal(shard_of(f, 0), 18);
}

static void test_gateway_split_cuts_at_borders(void **state) {
    struct fixture *f = *state;
    three_shards(f);
    const struct command_mutation ranges[] = {
        {.kind = COMMAND_DELETE_RANGE, .key = KEY("b"), .value = KEY("g")},
        {.kind = COMMAND_DELETE_RANGE, .key = KEY("k"), .value = KEY("q")}};
    const struct command_commit commit = {.mutation_count = 2, .mutations = ranges};
    assert_int_equal(split(f, &commit), STATUS_OK);
    assert_int_equal(f->split.part_count, 3);
    const struct slice want[][2] = {
        {KEY("b"), KEY("g")}, {KEY("k"), KEY("p")}, {KEY("p"), KEY("q")}};
    for (uint32_t i = 0; i < 3; i++) {
        const struct gateway_part *part = &f->split.parts[i];
        assert_int_equal(part->shard.v, 16 + i);
        assert_int_equal(part->mutation_count, 1);
        const struct command_mutation *piece = &f->split.mutations[part->mutation_at];
        assert_int_equal(piece->kind, COMMAND_DELETE_RANGE);
        assert_true(slice_equal(piece->key, want[i][0]));
        assert_true(slice_equal(piece->value, want[i][1]));
        assert_true(slice_equal(part->anchor, want[i][0]));
    }
    // The excluded end is in the next shard, and nothing else is.
    const struct command_commit one = {.mutation_count = 1, .mutations = ranges};
    assert_int_equal(split(f, &one), STATUS_OK);
    assert_int_equal(f->split.part_count, 1);
}

static void test_gateway_split_refuses(void **state) {
    struct fixture *f = *state;
    const struct command_mutation puts[] = {{.kind = COMMAND_PUT, .key = KEY("a")},
                                            {.kind = COMMAND_PUT, .key = KEY("z")}};
    const struct command_mutation range = {
        .kind = COMMAND_DELETE_RANGE, .key = KEY("a"), .value = KEY("z")};
    const struct command_commit commit = {.mutation_count = 2, .mutations = puts};
    const struct command_commit whole = {.mutation_count = 1, .mutations = &range};
    assert_int_equal(split(f, &commit), STATUS_UNAVAILABLE);
    put_shard(f, 16, SLICE_LITERAL("\0\0\0\1"), KEY("g"));
    assert_int_equal(split(f, &commit), STATUS_UNAVAILABLE);
    assert_int_equal(split(f, &whole), STATUS_UNAVAILABLE);
    // Cut finer than a transaction may be wide.
    char border[2][3] = {"g"};
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        border[1][0] = (char)('h' + i / 100);
        border[1][1] = (char)(1 + i % 100);
        uint8_t start[8] = {0, 0, 0, 1};
        uint8_t end[8] = {0, 0, 0, 1};
        memcpy(start + 4, border[0], 3);
        memcpy(end + 4, border[1], 3);
        put_shard(f, 17 + i, slice_make(start, 4 + strlen(border[0])),
                  slice_make(end, 4 + strlen(border[1])));
        memcpy(border[0], border[1], 3);
    }
    uint8_t last[8] = {0, 0, 0, 1};
    memcpy(last + 4, border[0], 3);
    put_shard(f, 9999, slice_make(last, 4 + strlen(border[0])), SLICE_EMPTY);
    assert_int_equal(split(f, &whole), STATUS_INVALID_ARGUMENT);
    assert_int_equal(split(f, &commit), STATUS_OK);
    assert_int_equal(f->split.part_count, 2);
    // Nor into more pieces, though each shard alone would take them.
    enum { SPANS = 300 };
    static struct command_span spans[SPANS];
    for (uint32_t i = 0; i < SPANS; i++) {
        spans[i] = (struct command_span){.start = KEY("a"), .end = KEY("i\x30")};
    }
    const struct command_commit wide = {.snapshot = {1},
                                        .read_count = SPANS,
                                        .reads = spans,
                                        .mutation_count = 1,
                                        .mutations = puts};
    assert_int_equal(split(f, &wide), STATUS_INVALID_ARGUMENT);
    struct err err = {0};
    assert_int_equal(split(f, &commit), STATUS_OK);
    f->encoded.size--;
    assert_int_equal(gateway_split_commit(&f->split, f->map, buf_slice(&f->encoded), &err),
                     STATUS_CORRUPT);
}

// --- At random, against a reckoning key by key ---

enum { LETTERS = 26 };

// Where one letter lies, as the map was cut.
static uint32_t owner(const bool cuts[LETTERS], uint32_t letter) {
    uint32_t shard = 0;
    for (uint32_t i = 1; i <= letter; i++) {
        shard += cuts[i] ? 1 : 0;
    }
    return shard;
}

static uint8_t letters[LETTERS + 1][5];

static struct slice letter(uint32_t i) {
    memcpy(letters[i], "\0\0\0\1", 4);
    letters[i][4] = (uint8_t)('a' + i);
    return slice_make(letters[i], 5);
}

static void cut_map(struct fixture *f, const bool cuts[LETTERS]) {
    shard_map_destroy(f->map);
    f->map = shard_map_create();
    uint32_t from = 0;
    uint64_t id = 16;
    for (uint32_t i = 1; i < LETTERS; i++) {
        if (!cuts[i]) { continue; }
        put_shard(f, id++, from == 0 ? SLICE_LITERAL("\0\0\0\1") : letter(from), letter(i));
        from = i;
    }
    put_shard(f, id, from == 0 ? SLICE_LITERAL("\0\0\0\1") : letter(from), SLICE_EMPTY);
}

struct sums {
    uint64_t reads[LETTERS];
    uint64_t deletes[LETTERS];
    uint64_t conditions[LETTERS];
};

// Every letter that each operation covers, times where it stands in the request.
static void sum_commit(struct slice encoded, const bool *cuts, uint32_t shard, struct sums *out) {
    struct command_commit_reader r;
    assert_int_equal(command_commit_open(&r, encoded), STATUS_OK);
    for (uint32_t i = 0; i < r.read_count; i++) {
        struct command_span span;
        assert_int_equal(command_commit_next_read(&r, &span), STATUS_OK);
        for (uint32_t k = 0; k < LETTERS; k++) {
            const struct slice at = letter(k);
            const bool in = span.end.size == 0 ? slice_equal(at, span.start)
                                               : slice_compare(span.start, at) <= 0 &&
                                                     slice_compare(at, span.end) < 0;
            if (in && cuts != NULL) { assert_int_equal(owner(cuts, k), shard); }
            out->reads[k] += in ? 1 : 0;
        }
    }
    for (uint32_t i = 0; i < r.condition_count; i++) {
        struct command_condition condition;
        assert_int_equal(command_commit_next_condition(&r, &condition), STATUS_OK);
        const uint32_t k = (uint32_t)(condition.key.data[4] - 'a');
        if (cuts != NULL) { assert_int_equal(owner(cuts, k), shard); }
        // The order within a part is that of the request.
        out->conditions[k] = out->conditions[k] * 7 + condition.ts.v;
    }
    for (uint32_t i = 0; i < r.mutation_count; i++) {
        struct command_mutation mutation;
        assert_int_equal(command_commit_next_mutation(&r, &mutation), STATUS_OK);
        for (uint32_t k = 0; k < LETTERS; k++) {
            const struct slice at = letter(k);
            const bool in =
                mutation.kind == COMMAND_DELETE_RANGE
                    ? slice_compare(mutation.key, at) <= 0 && slice_compare(at, mutation.value) < 0
                    : slice_equal(at, mutation.key);
            if (in && cuts != NULL) { assert_int_equal(owner(cuts, k), shard); }
            out->deletes[k] += in ? 1 : 0;
        }
    }
}

static void random_commit(struct prng *prng, struct command_commit *out) {
    static struct command_span reads[OPS_MAX];
    static struct command_condition conditions[OPS_MAX];
    static struct command_mutation mutations[OPS_MAX];
    *out = (struct command_commit){
        .read_count = (uint32_t)prng_below(prng, 6),
        .condition_count = (uint32_t)prng_below(prng, 6),
        .reads = reads,
        .conditions = conditions,
        .mutations = mutations,
    };
    for (uint32_t i = 0; i < out->read_count; i++) {
        const uint32_t from = (uint32_t)prng_below(prng, LETTERS - 1);
        const uint32_t to = (uint32_t)prng_between(prng, from + 1, LETTERS);
        reads[i] = (struct command_span){.start = letter(from),
                                         .end = prng_chance(prng, 1, 2) ? letter(to) : SLICE_EMPTY};
    }
    for (uint32_t i = 0; i < out->condition_count; i++) {
        conditions[i] =
            (struct command_condition){.kind = COMMAND_VERSION_EQUALS,
                                       .key = letter((uint32_t)prng_below(prng, LETTERS)),
                                       .ts = {i + 1}};
    }
    uint32_t at = (uint32_t)prng_below(prng, 8);
    while (at < LETTERS - 1) {
        const uint32_t to = (uint32_t)prng_between(prng, at + 1, LETTERS);
        mutations[out->mutation_count++] =
            prng_chance(prng, 1, 2)
                ? (struct command_mutation){.kind = COMMAND_DELETE, .key = letter(at)}
                : (struct command_mutation){
                      .kind = COMMAND_DELETE_RANGE, .key = letter(at), .value = letter(to)};
        at = to + (uint32_t)prng_below(prng, 6);
    }
    if (out->read_count > 0) { out->snapshot.v = 5; }
}

static void test_gateway_split_loses_nothing(void **state) {
    struct fixture *f = *state;
    struct prng prng;
    prng_init(&prng, 3);
    uint32_t many = 0;
    for (uint32_t run = 0; run < 2000; run++) {
        bool cuts[LETTERS] = {false};
        for (uint32_t i = 1; i < LETTERS; i++) {
            cuts[i] = prng_chance(&prng, 1, 5);
        }
        cut_map(f, cuts);
        struct command_commit commit;
        random_commit(&prng, &commit);
        if (commit.read_count + commit.condition_count + commit.mutation_count == 0) { continue; }
        assert_int_equal(split(f, &commit), STATUS_OK);
        if (f->split.part_count == 1) { continue; }
        many++;
        struct sums want = {0};
        struct sums got = {0};
        sum_commit(buf_slice(&f->encoded), NULL, 0, &want);
        for (uint32_t i = 0; i < f->split.part_count; i++) {
            struct codec_writer w;
            buf_reset(&f->part);
            codec_writer_init(&w, &f->part);
            gateway_split_encode(&f->split, i, &w);
            assert_int_equal(command_commit_verify(buf_slice(&f->part)), STATUS_OK);
            const uint64_t shard = f->split.parts[i].shard.v;
            sum_commit(buf_slice(&f->part), cuts, (uint32_t)(shard - 16), &got);
        }
        assert_memory_equal(&want, &got, sizeof(want));
    }
    assert_true(many > 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_gateway_split_by_keys),         TEST(test_gateway_split_home),
        TEST(test_gateway_split_cuts_at_borders), TEST(test_gateway_split_refuses),
        TEST(test_gateway_split_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
