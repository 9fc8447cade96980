// SPDX-License-Identifier: Apache-2.0
// What recovery finds after random crashes, and each way in which a log can be damaged: which shard
// is called damaged and from where, what stays of it, what heals it, and what no other shard feels.
#include "dataplane/base/mark.h"
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

// As the disk has them.
enum raftlog_key_kind {
    RAFTLOG_HARD_STATE = 1,
    RAFTLOG_START = 2,
    RAFTLOG_TOMBSTONE = 4,
    RAFTLOG_DAMAGE = 5,
};

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

// After a restart: A is damaged from there and ends where it ended; B is whole, and nothing was cut
// away. The same again after another restart, though the disk is as it was.
static void assert_damaged(struct fixture *f, uint64_t from, uint64_t last, const char *text) {
    const uint64_t count = sim_engine_count(f->engine);
    const bool known = bounds_of(f, A).damaged_from != 0;
    for (int restarts = 0; restarts < 3; restarts++) {
        reopen(f);
        assert_int_equal(bounds_of(f, A).damaged_from, from);
        assert_int_equal(bounds_of(f, A).last_index, last);
        assert_non_null(raftlog_damage_text(f->log, A));
        if (restarts == 0) { assert_string_equal(raftlog_damage_text(f->log, A), text); }
        assert_int_equal(bounds_of(f, B).damaged_from, 0);
        assert_null(raftlog_damage_text(f->log, B));
        assert_entries(f, B, 1, 2, 1);
        raftlog_turn(f->log);  // the note of the damage reaches the disk
        assert_int_equal(sim_engine_count(f->engine), count + (known ? 0 : 1));
    }
}

// A snapshot: the log begins anew, and nothing of the damage is left.
static void assert_healed_by_base(struct fixture *f, uint64_t index) {
    submit_base(f, A, index, 9, SLICE_LITERAL("members"));
    assert_int_equal(bounds_of(f, A).damaged_from, 0);
    submit(f, A, index + 1, index + 2, 9);
    raftlog_turn(f->log);
    for (int restarts = 0; restarts < 2; restarts++) {
        reopen(f);
        assert_int_equal(bounds_of(f, A).damaged_from, 0);
        assert_null(raftlog_damage_text(f->log, A));
        assert_bounds(f, A, index, index + 2);
        assert_entries(f, A, index + 1, index + 2, 9);
        raftlog_turn(f->log);
    }
}

static void write_ten(struct fixture *f) {
    submit(f, A, 1, 10, 5);
    submit(f, B, 1, 2, 1);
    raftlog_turn(f->log);
}

static struct slice shard_key(enum raftlog_key_kind kind, uint8_t out[17]) {
    (void)entry_key(0, out);
    out[8] = (uint8_t)kind;
    return slice_make(out, 9);
}

// --- Damage ---

// Any flipped byte of a record: reads up to it serve, the record itself never, and the shard alone
// is damaged.
static void test_raftlog_flipped_byte_damages_the_shard(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    uint8_t bytes[256];
    struct log_entry e = make_entry(4, 5);
    const struct slice record = slice_make(bytes, e.record.size);
    for (size_t at = 0; at < e.record.size; at++) {
        write_ten(f);
        memcpy(bytes, e.record.data, e.record.size);
        bytes[at] ^= (uint8_t)(1 << (at % 8));
        damage(f, entry_key(4, key), &record);
        assert_int_equal(read_count(f, A, 1, 9), 3);
        assert_int_equal(read_status(f, A, 4, 5), STATUS_CORRUPT);
        assert_entries(f, A, 5, 10, 5);
        assert_damaged(f, 4, 10, "the record of an entry is damaged");
        assert_entries(f, A, 5, 10, 5);
        f->store->remove(f->store->ctx, A, 0);
        f->store->remove(f->store->ctx, B, 0);
    }
    log_entry_unref(&e);
    write_ten(f);
    damage(f, entry_key(7, key), NULL);
    reopen(f);
    assert_healed_by_base(f, 10);
}

static void test_raftlog_missing_entry_damages_the_shard(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    write_ten(f);
    damage(f, entry_key(4, key), NULL);
    assert_int_equal(read_count(f, A, 2, 6), 2);
    assert_int_equal(read_status(f, A, 4, 6), STATUS_CORRUPT);
    assert_damaged(f, 4, 10, "an entry is missing");
    assert_int_equal(read_status(f, A, 4, 6), STATUS_CORRUPT);
    assert_healed_by_base(f, 12);
}

static void test_raftlog_first_damage_counts(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    write_ten(f);
    damage(f, entry_key(3, key), NULL);
    damage(f, entry_key(4, key), NULL);
    damage(f, entry_key(8, key), NULL);
    assert_damaged(f, 3, 10, "an entry is missing");
}

static void test_raftlog_entry_under_another_index_damages_the_shard(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    struct log_entry e = make_entry(5, 5);
    write_ten(f);
    damage(f, entry_key(4, key), &e.record);
    log_entry_unref(&e);
    assert_int_equal(read_status(f, A, 4, 5), STATUS_CORRUPT);
    assert_damaged(f, 4, 10, "the record of an entry is damaged");
}

static void test_raftlog_falling_term_damages_the_shard(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    struct log_entry e = make_entry(4, 3);
    write_ten(f);
    damage(f, entry_key(4, key), &e.record);
    log_entry_unref(&e);
    assert_damaged(f, 4, 10, "the term of an entry is below the one before");
}

static void test_raftlog_trailing_bytes_damage_the_shard(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    uint8_t bytes[256] = {0};
    struct log_entry e = make_entry(4, 5);
    write_ten(f);
    memcpy(bytes, e.record.data, e.record.size);
    const struct slice record = slice_make(bytes, e.record.size + 1);
    log_entry_unref(&e);
    damage(f, entry_key(4, key), &record);
    assert_damaged(f, 4, 10, "the record of an entry is damaged");
}

// A lost vote is damage even of an empty log, and of each byte.
static void test_raftlog_damaged_hard_state_damages_the_shard(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    struct buf value;
    buf_init(&value, 256);
    write_ten(f);
    assert_int_equal(engine_get(f->engine, ENGINE_LOG, shard_key(RAFTLOG_HARD_STATE, key), &value),
                     STATUS_OK);
    for (size_t at = 0; at < value.size; at++) {
        value.data[at] ^= 4;
        const struct slice flipped = buf_slice(&value);
        damage(f, shard_key(RAFTLOG_HARD_STATE, key), &flipped);
        value.data[at] ^= 4;
        assert_damaged(f, 1, 10, "the hard state is damaged");
        assert_entries(f, A, 1, 10, 5);
        f->store->remove(f->store->ctx, A, 0);
        f->store->remove(f->store->ctx, B, 0);
        write_ten(f);
    }
    const struct slice cut = slice_make(value.data, value.size - 1);
    damage(f, shard_key(RAFTLOG_HARD_STATE, key), &cut);
    assert_damaged(f, 1, 10, "the hard state is damaged");
    assert_healed_by_base(f, 10);
    // A base alone heals it too: the hard state is written with it.
    damage(f, shard_key(RAFTLOG_HARD_STATE, key), &cut);
    reopen(f);
    assert_int_equal(bounds_of(f, A).damaged_from, 11);
    submit_base(f, A, 20, 9, SLICE_LITERAL("members"));
    raftlog_turn(f->log);
    reopen(f);
    assert_int_equal(bounds_of(f, A).damaged_from, 0);
    submit_hard_state(f, (struct shard_id){3}, 6);
    raftlog_turn(f->log);
    (void)shard_key(RAFTLOG_HARD_STATE, key);
    key[7] = 3;
    damage(f, slice_make(key, 9), &cut);
    reopen(f);
    assert_int_equal(bounds_of(f, (struct shard_id){3}).damaged_from, 1);
    buf_deinit(&value);
}

static void test_raftlog_missing_hard_state_damages_the_shard(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    write_ten(f);
    f->store->trim(f->store->ctx, A, 3, 5);
    raftlog_turn(f->log);
    damage(f, shard_key(RAFTLOG_HARD_STATE, key), NULL);
    assert_damaged(f, 4, 10, "the hard state is missing");
}

// Without its start nobody knows what the log ever held.
static void test_raftlog_damaged_start_damages_the_shard(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    struct buf value;
    buf_init(&value, 256);
    for (size_t at = 0; at < 100; at++) {
        write_ten(f);
        f->store->trim(f->store->ctx, A, 2, 5);
        raftlog_turn(f->log);
        const struct slice name = shard_key(RAFTLOG_START, key);
        assert_int_equal(engine_get(f->engine, ENGINE_LOG, name, &value), STATUS_OK);
        if (at == value.size) { break; }
        value.data[at] ^= 0x10;
        const struct slice flipped = buf_slice(&value);
        damage(f, name, &flipped);
        assert_damaged(f, 1, 10, "the start of the log is damaged");
        assert_entries(f, A, 3, 10, 5);
        f->store->remove(f->store->ctx, A, 0);
        f->store->remove(f->store->ctx, B, 0);
    }
    damage(f, shard_key(RAFTLOG_START, key), NULL);
    assert_damaged(f, 1, 10, "an entry is missing");
    assert_healed_by_base(f, 10);
    buf_deinit(&value);
}

// What is written over the damage heals nothing: neither a new vote nor entries, cut or appended;
// and the larger of damaged_from and last_index never falls below the end that was found.
static void test_raftlog_damage_stays_until_the_log_begins_anew(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    const struct slice junk = SLICE_LITERAL("?");
    write_ten(f);
    damage(f, shard_key(RAFTLOG_HARD_STATE, key), &junk);
    reopen(f);
    submit_hard_state(f, A, 6);
    raftlog_turn(f->log);
    assert_damaged(f, 1, 10, "damage was found at an earlier start");
    submit(f, A, 5, 6, 7);  // cuts 7..10
    assert_int_equal(bounds_of(f, A).damaged_from, 10);
    assert_int_equal(bounds_of(f, A).last_index, 6);
    raftlog_turn(f->log);
    assert_damaged(f, 10, 6, "damage was found at an earlier start");
    submit(f, A, 7, 12, 7);
    assert_int_equal(bounds_of(f, A).damaged_from, 1);
    raftlog_turn(f->log);
    assert_damaged(f, 1, 12, "damage was found at an earlier start");
    f->store->trim(f->store->ctx, A, 12, 7);
    raftlog_turn(f->log);
    reopen(f);
    assert_true(bounds_of(f, A).damaged_from > 0);
    assert_healed_by_base(f, 12);
}

// A crash before the note of the damage is durable finds the damage again.
static void test_raftlog_damage_is_noted_before_anything_else(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    struct prng prng;
    const struct slice junk = SLICE_LITERAL("?");
    prng_init(&prng, 5);
    raftlog_destroy(f->log);
    engine_close(f->engine);
    f->engine = sim_engine_create(&(struct sim_engine_options){.deferred = true});
    f->immediate = true;
    assert_int_equal(try_open(f), STATUS_OK);
    write_ten(f);
    damage(f, shard_key(RAFTLOG_HARD_STATE, key), &junk);
    sim_engine_make_durable(f->engine, sim_engine_sequence(f->engine));
    for (int i = 0; i < 20; i++) {
        crash(f, &prng);
        assert_int_equal(bounds_of(f, A).damaged_from, 1);
        submit_hard_state(f, A, 20);
        raftlog_turn(f->log);
    }
}

// A tombstone that cannot be read buries every incarnation but the living one.
static void test_raftlog_damaged_tombstone_buries_all(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    const struct slice junk = SLICE_LITERAL("?");
    write_ten(f);
    f->store->remove(f->store->ctx, A, 3);
    raftlog_turn(f->log);
    damage(f, shard_key(RAFTLOG_TOMBSTONE, key), &junk);
    reopen(f);
    assert_true(bounds_of(f, A).removed_incarnation == UINT64_MAX);
    const struct log_hard_state hard_state = {2, {3}, 0, 8};
    const struct log_write write = {.shard = A, .sequence = 99, .hard_state = &hard_state};
    f->store->submit(f->store->ctx, &write, 1);
    raftlog_turn(f->log);
    reopen(f);
    assert_int_equal(bounds_of(f, A).removed_incarnation, 7);
    assert_int_equal(bounds_of(f, A).damaged_from, 0);
    assert_true(mark_count("raftlog.tombstone_damaged") > 0);
}

static void assert_refused(struct fixture *f, enum status st, const char *shard, const char *text) {
    raftlog_destroy(f->log);
    f->log = NULL;
    assert_int_equal(try_open(f), st);
    assert_non_null(strstr(f->err.message, shard));
    assert_non_null(strstr(f->err.message, text));
}

static void test_raftlog_unknown_key_is_refused(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    const struct slice value = SLICE_LITERAL("x");
    write_ten(f);
    (void)entry_key(0, key);
    key[8] = 9;
    damage(f, slice_make(key, 9), &value);
    assert_refused(f, STATUS_CORRUPT, "shard 7", "unknown key");
}

// A record of a newer program is no damage: an old one must not touch it.
static void test_raftlog_newer_record_is_refused(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    struct buf value;
    buf_init(&value, 256);
    write_ten(f);
    assert_int_equal(codec_seal(&value, 99, RAFTLOG_HARD_STATE, SLICE_LITERAL("later")), STATUS_OK);
    const struct slice newer = buf_slice(&value);
    damage(f, shard_key(RAFTLOG_HARD_STATE, key), &newer);
    assert_refused(f, STATUS_NOT_SUPPORTED, "shard 7", "record");
    buf_deinit(&value);
}

// Records of the first format: a hard state without incarnation, a start without its membership.
static void test_raftlog_first_format_is_read(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    struct buf payload;
    struct buf record;
    struct codec_writer w;
    buf_init(&payload, 256);
    buf_init(&record, 256);
    write_ten(f);
    f->store->trim(f->store->ctx, A, 2, 5);
    raftlog_turn(f->log);
    codec_writer_init(&w, &payload);
    codec_put_u64(&w, 6);
    codec_put_u32(&w, 2);
    codec_put_u64(&w, 9);
    assert_int_equal(codec_seal(&record, 1, RAFTLOG_HARD_STATE, buf_slice(&payload)), STATUS_OK);
    struct slice old = buf_slice(&record);
    damage(f, shard_key(RAFTLOG_HARD_STATE, key), &old);
    buf_reset(&payload);
    buf_reset(&record);
    codec_writer_init(&w, &payload);
    codec_put_u64(&w, 2);
    codec_put_u64(&w, 4);
    assert_int_equal(codec_seal(&record, 1, RAFTLOG_START, buf_slice(&payload)), STATUS_OK);
    old = buf_slice(&record);
    damage(f, shard_key(RAFTLOG_START, key), &old);
    buf_deinit(&payload);
    buf_deinit(&record);
    reopen(f);
    const struct log_bounds b = bounds_of(f, A);
    assert_int_equal(b.hard_state.term, 6);
    assert_int_equal(b.hard_state.vote.v, 2);
    assert_int_equal(b.hard_state.commit, 9);
    assert_int_equal(b.hard_state.incarnation, 1);
    assert_int_equal(b.trim_index, 2);
    assert_int_equal(b.trim_term, 4);
    assert_int_equal(b.damaged_from, 0);
    assert_memberships(f, A, "");
}

// --- Blocks that cannot be read ---

static void rot(struct fixture *f, uint64_t low, uint64_t high) {
    uint8_t key[17];
    for (uint64_t index = low; index <= high; index++) {
        assert_int_equal(sim_engine_corrupt(f->engine, ENGINE_LOG, entry_key(index, key)),
                         STATUS_OK);
    }
}

// Between entries of one shard: that shard is damaged, whatever the size of the gap.
static void test_raftlog_unreadable_entries_damage_the_shard(void **state) {
    for (uint64_t high = 2; high <= 9; high++) {
        struct fixture *f = *state;
        write_ten(f);
        rot(f, 2, high);
        submit(f, B, 3, 3, 1);
        raftlog_turn(f->log);
        assert_int_equal(read_count(f, A, 1, 7), 1);
        assert_int_equal(read_status(f, A, 2, 7), STATUS_CORRUPT);
        assert_damaged(f, 2, 10, "entries cannot be read");
        assert_int_equal(read_status(f, A, 2, 7), STATUS_CORRUPT);
        assert_entries(f, A, high + 1, 10, 5);
        assert_healed_by_base(f, 10);
        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
    }
}

static void test_raftlog_unreadable_entries_in_two_places(void **state) {
    struct fixture *f = *state;
    write_ten(f);
    rot(f, 1, 2);
    rot(f, 6, 8);
    assert_damaged(f, 1, 10, "entries cannot be read");
    assert_entries(f, A, 3, 5, 5);
    assert_true(mark_count("raftlog.unreadable_entries") > 0);
    assert_true(mark_count("raftlog.damage_found") > 0);
}

// Up to the end of a shard, or at a shard's own records: what else is hidden nobody can tell.
static void test_raftlog_unreadable_border_is_refused(void **state) {
    struct fixture *f = *state;
    uint8_t key[17];
    write_ten(f);
    rot(f, 9, 10);
    assert_refused(f, STATUS_CORRUPT, "shard 7", "index 8");
    assert_int_equal(teardown(state), 0);
    assert_int_equal(setup(state), 0);
    f = *state;
    write_ten(f);
    assert_int_equal(sim_engine_corrupt(f->engine, ENGINE_LOG, shard_key(RAFTLOG_HARD_STATE, key)),
                     STATUS_OK);
    assert_refused(f, STATUS_CORRUPT, "shard 0", "cannot be read");
    assert_int_equal(teardown(state), 0);
    assert_int_equal(setup(state), 0);
    f = *state;
    write_ten(f);
    f->store->remove(f->store->ctx, A, 1);
    submit(f, A, 1, 3, 2);
    raftlog_turn(f->log);
    memcpy(key, (uint8_t[]){1, 2, 3, 4, 5, 6, 7, 8, RAFTLOG_HARD_STATE}, 9);
    assert_int_equal(sim_engine_corrupt(f->engine, ENGINE_LOG, slice_make(key, 9)), STATUS_OK);
    assert_refused(f, STATUS_CORRUPT, "shard 7", "cannot be read");
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
        IMMEDIATE(test_raftlog_flipped_byte_damages_the_shard),
        IMMEDIATE(test_raftlog_missing_entry_damages_the_shard),
        IMMEDIATE(test_raftlog_first_damage_counts),
        IMMEDIATE(test_raftlog_entry_under_another_index_damages_the_shard),
        IMMEDIATE(test_raftlog_falling_term_damages_the_shard),
        IMMEDIATE(test_raftlog_trailing_bytes_damage_the_shard),
        IMMEDIATE(test_raftlog_damaged_hard_state_damages_the_shard),
        IMMEDIATE(test_raftlog_missing_hard_state_damages_the_shard),
        IMMEDIATE(test_raftlog_damaged_start_damages_the_shard),
        IMMEDIATE(test_raftlog_damage_stays_until_the_log_begins_anew),
        IMMEDIATE(test_raftlog_damage_is_noted_before_anything_else),
        IMMEDIATE(test_raftlog_damaged_tombstone_buries_all),
        IMMEDIATE(test_raftlog_unknown_key_is_refused),
        IMMEDIATE(test_raftlog_newer_record_is_refused),
        IMMEDIATE(test_raftlog_first_format_is_read),
        IMMEDIATE(test_raftlog_unreadable_entries_damage_the_shard),
        IMMEDIATE(test_raftlog_unreadable_entries_in_two_places),
        IMMEDIATE(test_raftlog_unreadable_border_is_refused),
        DELAYED(test_raftlog_crashes_leave_whole_groups),
    };
    return cmocka_run_group_tests_name("raftlog_recover", tests, NULL, NULL);
}
