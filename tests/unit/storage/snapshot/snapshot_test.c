// SPDX-License-Identifier: Apache-2.0
// Chunks from one store to another: what arrives, and that bytes that are no next chunk change
// nothing, whoever sent them.
#include "storage/snapshot/snapshot.h"

#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "dataplane/codec/codec.h"
#include "tests/sim/disk/sim_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { KIND = 't', CHUNKS_MAX = 512, SPAN_COUNT = 2 };

struct fixture {
    struct engine *from;
    struct engine *to;
    struct bytes *chunks[CHUNKS_MAX];
    uint32_t chunk_count;
    enum status check;  // what the check says of the key "f05"
};

static const struct snapshot_span spans[SPAN_COUNT] = {
    {ENGINE_LOCAL, {(const uint8_t *)"b", 1}, {(const uint8_t *)"d", 1}},
    {ENGINE_VERSION, {(const uint8_t *)"f", 1}, {(const uint8_t *)"k", 1}},
};

static struct snapshot_range range_of(struct engine *engine) {
    return (struct snapshot_range){engine, KIND, spans, SPAN_COUNT};
}

static void put(struct engine *engine, enum engine_family family, const char *key,
                const char *value) {
    struct engine_batch *batch = engine_batch_create(engine);
    engine_put(batch, family, slice_from_string(key), slice_from_string(value));
    assert_int_equal(engine_write(engine, batch, false), STATUS_OK);
    engine_batch_destroy(batch);
}

static int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof(*f));
    f->from = sim_engine_create(&(struct sim_engine_options){0});
    f->to = sim_engine_create(&(struct sim_engine_options){0});
    put(f->from, ENGINE_LOCAL, "a", "before");
    put(f->from, ENGINE_LOCAL, "b", "the first");
    put(f->from, ENGINE_LOCAL, "czzz", "");
    put(f->from, ENGINE_LOCAL, "d", "behind");
    for (int i = 0; i < 30; i++) {
        char key[16];
        char value[64];
        (void)snprintf(key, sizeof(key), "f%02d", i);
        (void)snprintf(value, sizeof(value), "%0*d", i + 1, i);
        put(f->from, ENGINE_VERSION, key, value);
    }
    put(f->from, ENGINE_VERSION, "k", "behind");
    put(f->from, ENGINE_LOCK, "g", "of another family");
    put(f->to, ENGINE_LOCAL, "a", "own");
    *state = f;
    return 0;
}

static void drop_chunks(struct fixture *f) {
    while (f->chunk_count > 0) {
        bytes_unref(f->chunks[--f->chunk_count]);
    }
}

static int teardown(void **state) {
    struct fixture *f = *state;
    drop_chunks(f);
    engine_close(f->from);
    engine_close(f->to);
    mem_free(f);
    return 0;
}

static void export_all(struct fixture *f, uint32_t size_max) {
    const struct snapshot_range range = range_of(f->from);
    struct state_export *state = snapshot_export_open(&range, SLICE_LITERAL("meta"));
    struct buf out;
    bool last = false;
    drop_chunks(f);
    buf_init(&out, 1 << 20);
    while (!last) {
        buf_reset(&out);
        assert_true(f->chunk_count < CHUNKS_MAX);
        assert_int_equal(snapshot_export_next(state, size_max, &out, &last), STATUS_OK);
        f->chunks[f->chunk_count++] = bytes_copy(buf_slice(&out));
    }
    buf_deinit(&out);
    snapshot_export_close(state);
}

static enum status check(void *ctx, uint32_t span, struct slice key, struct slice value) {
    const struct fixture *f = ctx;
    assert_true(span < SPAN_COUNT);
    assert_true(value.size < 100 || value.data != NULL);
    return slice_equal(key, SLICE_LITERAL("f05")) ? f->check : STATUS_OK;
}

static struct snapshot_ingest *begin(struct fixture *f) {
    const struct snapshot_range range = range_of(f->to);
    return snapshot_ingest_create(&range, check, f);
}

static enum status take(struct snapshot_ingest *ingest, const struct bytes *chunk) {
    return snapshot_ingest_chunk(ingest, bytes_slice(chunk));
}

static void assert_same(const struct fixture *f) {
    for (uint32_t i = 0; i < SPAN_COUNT; i++) {
        assert_int_equal(
            sim_engine_digest_range(f->from, spans[i].family, spans[i].start, spans[i].end),
            sim_engine_digest_range(f->to, spans[i].family, spans[i].start, spans[i].end));
    }
    assert_int_equal(sim_engine_count(f->to), 1 + 2 + 30);
}

// Goal: whatever the size of the chunks, all records of the spans arrive and no others.
static void test_snapshot_round_trip(void **state) {
    for (uint32_t size_max = 1; size_max < 5000; size_max = size_max * 3 + 7) {
        struct fixture *f = *state;
        export_all(f, size_max);
        assert_true(size_max > 1 || f->chunk_count == 32);
        struct snapshot_ingest *ingest = begin(f);
        assert_int_equal(snapshot_ingest_meta(ingest).size, 0);
        for (uint32_t i = 0; i < f->chunk_count; i++) {
            assert_false(snapshot_ingest_is_complete(ingest));
            assert_true(size_max == 1 || f->chunks[i]->size < size_max + 80);
            assert_int_equal(take(ingest, f->chunks[i]), STATUS_OK);
            assert_true(slice_equal(snapshot_ingest_meta(ingest), SLICE_LITERAL("meta")));
        }
        assert_true(snapshot_ingest_is_complete(ingest));
        assert_same(f);
        snapshot_ingest_destroy(ingest);
        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
    }
}

static void test_snapshot_of_nothing_is_one_chunk(void **state) {
    struct fixture *f = *state;
    engine_close(f->from);
    f->from = sim_engine_create(&(struct sim_engine_options){0});
    export_all(f, 100);
    assert_int_equal(f->chunk_count, 1);
    struct snapshot_ingest *ingest = begin(f);
    assert_int_equal(take(ingest, f->chunks[0]), STATUS_OK);
    assert_true(snapshot_ingest_is_complete(ingest));
    assert_int_equal(sim_engine_count(f->to), 1);
    snapshot_ingest_destroy(ingest);
}

// Goal: what is written while a snapshot is read out is not in it.
static void test_snapshot_shows_one_moment(void **state) {
    struct fixture *f = *state;
    const struct snapshot_range range = range_of(f->from);
    struct state_export *export = snapshot_export_open(&range, SLICE_EMPTY);
    struct snapshot_ingest *ingest = begin(f);
    struct buf out;
    bool last = false;
    buf_init(&out, 1 << 20);
    put(f->from, ENGINE_VERSION, "f29a", "later");
    put(f->from, ENGINE_LOCAL, "c", "later");
    put(f->from, ENGINE_VERSION, "f10", "later");
    while (!last) {
        buf_reset(&out);
        assert_int_equal(snapshot_export_next(export, 50, &out, &last), STATUS_OK);
        assert_int_equal(snapshot_ingest_chunk(ingest, buf_slice(&out)), STATUS_OK);
        put(f->from, ENGINE_VERSION, "f20", "later");
    }
    assert_true(snapshot_ingest_is_complete(ingest));
    assert_int_equal(sim_engine_count(f->to), 1 + 2 + 30);
    assert_int_equal(engine_get(f->to, ENGINE_VERSION, SLICE_LITERAL("f20"), &out), STATUS_OK);
    assert_int_equal(out.size, 21);
    buf_deinit(&out);
    snapshot_export_close(export);
    snapshot_ingest_destroy(ingest);
}

// Goal: a caller without room gets the same chunk when it asks again.
static void test_snapshot_full_buffer_loses_nothing(void **state) {
    struct fixture *f = *state;
    export_all(f, 64);
    const struct snapshot_range range = range_of(f->from);
    struct state_export *export = snapshot_export_open(&range, SLICE_LITERAL("meta"));
    struct buf small;
    struct buf out;
    bool last = false;
    buf_init(&small, 20);
    buf_init(&out, 1 << 20);
    for (uint32_t i = 0; i < f->chunk_count; i++) {
        buf_reset(&out);
        assert_int_equal(snapshot_export_next(export, 64, &small, &last),
                         STATUS_RESOURCE_EXHAUSTED);
        assert_int_equal(snapshot_export_next(export, 64, &out, &last), STATUS_OK);
        assert_true(slice_equal(buf_slice(&out), bytes_slice(f->chunks[i])));
        assert_int_equal(last, i + 1 == f->chunk_count);
    }
    buf_deinit(&small);
    buf_deinit(&out);
    snapshot_export_close(export);
}

static void test_snapshot_rot_ends_the_export(void **state) {
    struct fixture *f = *state;
    assert_int_equal(sim_engine_corrupt(f->from, ENGINE_VERSION, SLICE_LITERAL("f07")), STATUS_OK);
    const struct snapshot_range range = range_of(f->from);
    struct state_export *export = snapshot_export_open(&range, SLICE_EMPTY);
    struct buf out;
    bool last = false;
    enum status st = STATUS_OK;
    buf_init(&out, 1 << 20);
    for (int i = 0; i < 20 && st == STATUS_OK; i++) {
        st = snapshot_export_next(export, 30, &out, &last);
        assert_false(last);
    }
    assert_int_equal(st, STATUS_CORRUPT);
    buf_deinit(&out);
    snapshot_export_close(export);
}

// The chunk is refused, nothing of it is written, and the ingest takes no other.
static void assert_refused(struct fixture *f, struct snapshot_ingest *ingest, struct slice chunk,
                           enum status wanted) {
    const uint64_t before = sim_engine_sequence(f->to);
    assert_int_equal(snapshot_ingest_chunk(ingest, chunk), wanted);
    assert_int_equal(snapshot_ingest_chunk(ingest, bytes_slice(f->chunks[0])), STATUS_CORRUPT);
    assert_int_equal(sim_engine_sequence(f->to), before);
    assert_false(snapshot_ingest_is_complete(ingest));
}

// Goal: any flipped byte and any missing end of any chunk is found.
static void test_snapshot_damaged_chunk_is_refused(void **state) {
    struct fixture *f = *state;
    export_all(f, 300);
    for (uint32_t damaged = 0; damaged < f->chunk_count; damaged++) {
        struct bytes *chunk = f->chunks[damaged];
        for (size_t at = 0; at < chunk->size; at++) {
            for (int cut = 0; cut < 2; cut++) {
                struct snapshot_ingest *ingest = begin(f);
                for (uint32_t i = 0; i < damaged; i++) {
                    assert_int_equal(take(ingest, f->chunks[i]), STATUS_OK);
                }
                if (!cut) { chunk->data[at] ^= (uint8_t)(1 << (at % 8)); }
                assert_refused(f, ingest, slice_make(chunk->data, cut ? at : chunk->size),
                               STATUS_CORRUPT);
                if (!cut) { chunk->data[at] ^= (uint8_t)(1 << (at % 8)); }
                snapshot_ingest_destroy(ingest);
            }
        }
    }
}

// Goal: a chunk left out, repeated, or behind the last one is found, for each place.
static void test_snapshot_chunk_out_of_order_is_refused(void **state) {
    struct fixture *f = *state;
    export_all(f, 200);
    for (uint32_t next = 0; next <= f->chunk_count; next++) {
        for (uint32_t given = 0; given < f->chunk_count; given++) {
            if (given == next) { continue; }
            struct snapshot_ingest *ingest = begin(f);
            for (uint32_t i = 0; i < next; i++) {
                assert_int_equal(take(ingest, f->chunks[i]), STATUS_OK);
            }
            assert_refused(f, ingest, bytes_slice(f->chunks[given]), STATUS_CORRUPT);
            snapshot_ingest_destroy(ingest);
        }
    }
}

// Goal: chunks of two exports that fit by their numbers are no snapshot.
static void test_snapshot_mixture_of_two_exports_is_refused(void **state) {
    struct fixture *f = *state;
    struct snapshot_ingest *ingest = begin(f);
    mark_reset_all();
    export_all(f, 200);
    assert_int_equal(take(ingest, f->chunks[0]), STATUS_OK);
    put(f->from, ENGINE_LOCAL, "b", "THE FIRST");  // in the chunk that was taken; same size
    export_all(f, 200);
    for (uint32_t i = 1; i + 1 < f->chunk_count; i++) {
        assert_int_equal(take(ingest, f->chunks[i]), STATUS_OK);
    }
    assert_refused(f, ingest, bytes_slice(f->chunks[f->chunk_count - 1]), STATUS_CORRUPT);
    assert_int_equal(mark_count("snapshot.of_another_export"), 1);
    snapshot_ingest_destroy(ingest);
}

// Goal: what the state machine would not have written is not written.
static void test_snapshot_record_that_the_owner_refuses(void **state) {
    struct fixture *f = *state;
    export_all(f, 1 << 20);
    f->check = STATUS_CORRUPT;
    struct snapshot_ingest *ingest = begin(f);
    assert_refused(f, ingest, bytes_slice(f->chunks[0]), STATUS_CORRUPT);
    assert_int_equal(sim_engine_count(f->to), 1);
    snapshot_ingest_destroy(ingest);
}

static void test_snapshot_full_disk_is_reported(void **state) {
    struct fixture *f = *state;
    export_all(f, 200);
    struct snapshot_ingest *ingest = begin(f);
    sim_engine_set_full(f->to, true);
    assert_refused(f, ingest, bytes_slice(f->chunks[0]), STATUS_NO_SPACE);
    sim_engine_set_full(f->to, false);
    assert_int_equal(take(ingest, f->chunks[0]), STATUS_CORRUPT);
    snapshot_ingest_destroy(ingest);
}

// --- Chunks that no export makes ---

struct forged {
    struct buf payload;
    struct buf chunk;
    struct codec_writer w;
};

static void forge(struct forged *self, uint32_t number, uint8_t span_count) {
    buf_init(&self->payload, 1 << 20);
    buf_init(&self->chunk, 1 << 20);
    codec_writer_init(&self->w, &self->payload);
    codec_put_u32(&self->w, number);
    codec_put_slice(&self->w, SLICE_LITERAL("meta"));
    codec_put_u8(&self->w, span_count);
}

static void forge_record(struct forged *self, uint8_t tag, struct slice key) {
    codec_put_u8(&self->w, tag);
    codec_put_slice(&self->w, key);
    codec_put_slice(&self->w, SLICE_LITERAL("value"));
}

static void assert_forged(struct fixture *f, struct forged *self, uint8_t version, uint8_t kind,
                          enum status wanted) {
    struct snapshot_ingest *ingest = begin(f);
    export_all(f, 1 << 20);
    assert_int_equal(codec_seal(&self->chunk, version, kind, buf_slice(&self->payload)), STATUS_OK);
    if (wanted == STATUS_OK) {
        assert_int_equal(snapshot_ingest_chunk(ingest, buf_slice(&self->chunk)), STATUS_OK);
    } else {
        assert_refused(f, ingest, buf_slice(&self->chunk), wanted);
    }
    snapshot_ingest_destroy(ingest);
    buf_deinit(&self->payload);
    buf_deinit(&self->chunk);
}

struct forged_record {
    uint8_t tag;
    const char *key;
};

// One chunk of two records, sound but for what the case changes.
static void assert_records(struct fixture *f, struct forged_record first,
                           struct forged_record second, enum status wanted) {
    struct forged forged;
    forge(&forged, 0, SPAN_COUNT);
    forge_record(&forged, first.tag, slice_from_string(first.key));
    forge_record(&forged, second.tag, slice_from_string(second.key));
    codec_put_u8(&forged.w, 0);
    assert_forged(f, &forged, 1, KIND, wanted);
}

// Goal: a record outside the receiver's spans, at their borders, or out of order writes nothing.
static void test_snapshot_record_out_of_place_is_refused(void **state) {
    static const struct forged_record outside[][2] = {{{1, "a\xff"}, {2, "f"}},
                                                      {{1, "d"}, {2, "f"}},
                                                      {{1, "czz"}, {2, "k"}},
                                                      {{1, "c"}, {2, ""}}};
    static const struct forged_record misplaced[][2] = {{{1, "c"}, {1, "c"}},
                                                        {{1, "c1"}, {1, "c"}},
                                                        {{2, "g"}, {1, "c"}},
                                                        {{1, "c"}, {3, "f"}},
                                                        {{1, "c"}, {254, "f"}}};
    struct fixture *f = *state;
    mark_reset_all();
    assert_records(f, (struct forged_record){1, "b"}, (struct forged_record){2, "f"}, STATUS_OK);
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        assert_records(f, outside[i][0], outside[i][1], STATUS_CORRUPT);
    }
    assert_int_equal(mark_count("snapshot.outside_its_span"), 4);
    for (size_t i = 0; i < sizeof(misplaced) / sizeof(misplaced[0]); i++) {
        assert_records(f, misplaced[i][0], misplaced[i][1], STATUS_CORRUPT);
    }
    assert_int_equal(sim_engine_count(f->to), 1 + 2);
}

static void test_snapshot_other_format_is_refused(void **state) {
    struct fixture *f = *state;
    struct forged forged;
    forge(&forged, 0, SPAN_COUNT);
    codec_put_u8(&forged.w, 0);
    assert_forged(f, &forged, 2, KIND, STATUS_NOT_SUPPORTED);
    forge(&forged, 0, SPAN_COUNT);
    codec_put_u8(&forged.w, 0);
    assert_forged(f, &forged, 0, KIND, STATUS_CORRUPT);
    forge(&forged, 0, SPAN_COUNT);
    codec_put_u8(&forged.w, 0);
    assert_forged(f, &forged, 1, KIND + 1, STATUS_CORRUPT);
    forge(&forged, 0, SPAN_COUNT + 1);
    codec_put_u8(&forged.w, 0);
    assert_forged(f, &forged, 1, KIND, STATUS_CORRUPT);
    forge(&forged, 1, SPAN_COUNT);
    codec_put_u8(&forged.w, 0);
    assert_forged(f, &forged, 1, KIND, STATUS_CORRUPT);
    forge(&forged, 0, SPAN_COUNT);
    codec_put_u8(&forged.w, 0);
    codec_put_u8(&forged.w, 0);  // something behind the end
    assert_forged(f, &forged, 1, KIND, STATUS_CORRUPT);
    forge(&forged, 0, SPAN_COUNT);  // no end
    assert_forged(f, &forged, 1, KIND, STATUS_CORRUPT);
    forge(&forged, 0, SPAN_COUNT);  // an end that counts a record too many
    codec_put_u8(&forged.w, 255);
    codec_put_u64(&forged.w, 1);
    codec_put_u64(&forged.w, 0);
    assert_forged(f, &forged, 1, KIND, STATUS_CORRUPT);
}

// Goal: nothing comes after the last chunk, not even one with the next number.
static void test_snapshot_chunk_behind_the_last_is_refused(void **state) {
    struct fixture *f = *state;
    struct buf payload;
    struct buf chunk;
    struct codec_writer w;
    export_all(f, 1 << 20);
    struct snapshot_ingest *ingest = begin(f);
    assert_int_equal(take(ingest, f->chunks[0]), STATUS_OK);
    buf_init(&payload, 256);
    buf_init(&chunk, 256);
    codec_writer_init(&w, &payload);
    codec_put_u32(&w, 1);
    codec_put_u8(&w, 0);
    assert_int_equal(codec_seal(&chunk, 1, KIND, buf_slice(&payload)), STATUS_OK);
    assert_refused(f, ingest, buf_slice(&chunk), STATUS_CORRUPT);
    buf_deinit(&payload);
    buf_deinit(&chunk);
    snapshot_ingest_destroy(ingest);
}

static void test_snapshot_oversized_key_and_meta_are_refused(void **state) {
    struct fixture *f = *state;
    struct forged forged;
    static uint8_t large[SNAPSHOT_KEY_SIZE_MAX + 1];
    memset(large, 'c', sizeof(large));
    forge(&forged, 0, SPAN_COUNT);
    forge_record(&forged, 1, slice_make(large, sizeof(large) - 1));
    codec_put_u8(&forged.w, 0);
    assert_forged(f, &forged, 1, KIND, STATUS_OK);
    forge(&forged, 0, SPAN_COUNT);
    forge_record(&forged, 1, slice_make(large, sizeof(large)));
    codec_put_u8(&forged.w, 0);
    assert_forged(f, &forged, 1, KIND, STATUS_CORRUPT);
    forge(&forged, 0, SPAN_COUNT);
    buf_reset(&forged.payload);
    codec_put_u32(&forged.w, 0);
    codec_put_slice(&forged.w, slice_make(large, SNAPSHOT_META_SIZE_MAX + 1));
    codec_put_u8(&forged.w, SPAN_COUNT);
    codec_put_u8(&forged.w, 0);
    assert_forged(f, &forged, 1, KIND, STATUS_CORRUPT);
}

// Goal: payloads that are sound chunks with a few bytes changed, sealed anew: refused or taken, but
// never a key outside the spans.
static void test_snapshot_forged_payloads_stay_in_their_place(void **state) {
    struct fixture *f = *state;
    struct prng prng;
    struct buf chunk;
    uint32_t taken = 0;
    buf_init(&chunk, 1 << 20);
    prng_init(&prng, 11);
    export_all(f, 1 << 20);
    const struct slice sound = bytes_slice(f->chunks[0]);
    const size_t size = sound.size - CODEC_ENVELOPE_SIZE;
    for (int round = 0; round < 20000; round++) {
        struct bytes *payload = bytes_copy(slice_make(sound.data + CODEC_ENVELOPE_SIZE, size));
        for (uint64_t n = prng_between(&prng, 1, 4); n > 0; n--) {
            payload->data[prng_below(&prng, size)] = (uint8_t)prng_next(&prng);
        }
        buf_reset(&chunk);
        const size_t cut = prng_chance(&prng, 1, 4) ? prng_below(&prng, size) : size;
        assert_int_equal(codec_seal(&chunk, 1, KIND, slice_make(payload->data, cut)), STATUS_OK);
        struct snapshot_ingest *ingest = begin(f);
        taken += snapshot_ingest_chunk(ingest, buf_slice(&chunk)) == STATUS_OK;
        snapshot_ingest_destroy(ingest);
        bytes_unref(payload);
    }
    assert_true(taken < 20000);
    uint64_t inside = 0;
    for (uint32_t i = 0; i < SPAN_COUNT; i++) {
        struct engine_cursor *cursor = engine_cursor_create(f->to, spans[i].family);
        for (engine_cursor_seek(cursor, spans[i].start);
             engine_cursor_valid(cursor) &&
             slice_compare(engine_cursor_key(cursor), spans[i].end) < 0;
             engine_cursor_next(cursor)) {
            inside++;
        }
        engine_cursor_destroy(cursor);
    }
    assert_int_equal(sim_engine_count(f->to), 1 + inside);
    buf_deinit(&chunk);
}

#define SNAPSHOT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        SNAPSHOT_TEST(test_snapshot_round_trip),
        SNAPSHOT_TEST(test_snapshot_of_nothing_is_one_chunk),
        SNAPSHOT_TEST(test_snapshot_shows_one_moment),
        SNAPSHOT_TEST(test_snapshot_full_buffer_loses_nothing),
        SNAPSHOT_TEST(test_snapshot_rot_ends_the_export),
        SNAPSHOT_TEST(test_snapshot_damaged_chunk_is_refused),
        SNAPSHOT_TEST(test_snapshot_chunk_out_of_order_is_refused),
        SNAPSHOT_TEST(test_snapshot_mixture_of_two_exports_is_refused),
        SNAPSHOT_TEST(test_snapshot_record_that_the_owner_refuses),
        SNAPSHOT_TEST(test_snapshot_full_disk_is_reported),
        SNAPSHOT_TEST(test_snapshot_record_out_of_place_is_refused),
        SNAPSHOT_TEST(test_snapshot_other_format_is_refused),
        SNAPSHOT_TEST(test_snapshot_chunk_behind_the_last_is_refused),
        SNAPSHOT_TEST(test_snapshot_oversized_key_and_meta_are_refused),
        SNAPSHOT_TEST(test_snapshot_forged_payloads_stay_in_their_place),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
