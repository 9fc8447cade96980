// SPDX-License-Identifier: Apache-2.0
// What one entry does: conditions, mutations, dedupe, epochs, the applied index.
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"
#include "tests/unit/dataplane/base/death.h"
#include "tests/unit/txn/apply/apply_fixture.h"
#include "txn/apply/apply_touched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct fixture f;

static int setup(void **state) {
    (void)state;
    const struct sim_engine_options options = {0};
    fixture_open(&f, sim_engine_create(&options));
    mark_reset_all();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fixture_close(&f);
    engine_close(f.engine);
    return 0;
}

static void end(void) {
    f.machine->end(f.machine->ctx);
}

static uint64_t applied(uint64_t shard) {
    return f.machine->applied(f.machine->ctx, (struct shard_id){shard});
}

static void test_apply_puts_become_visible_at_the_end_of_the_turn(void **state) {
    (void)state;
    const struct command_outcome outcome = fixture_run(&f, 1, OPS(PUT("a", "1"), PUT("b", "2")));
    assert_int_equal(outcome.status, STATUS_OK);
    assert_int_equal(outcome.timestamp.v, f.clock.v);
    assert_int_equal(sim_engine_sequence(f.engine), 0);
    assert_int_equal(applied(1), 0);
    end();
    assert_int_equal(sim_engine_sequence(f.engine), 1);
    assert_int_equal(applied(1), 1);
    assert_string_equal(fixture_get(&f, "a"), "1");
    assert_string_equal(fixture_get(&f, "b"), "2");
}

// One batch per turn, however many shards had entries; none when nothing was applied.
static void test_apply_a_turn_is_one_batch(void **state) {
    (void)state;
    for (uint64_t shard = 1; shard <= FIXTURE_SHARDS; shard++) {
        (void)fixture_run(&f, shard, OPS(PUT("a", "1")));
        (void)fixture_run(&f, shard, OPS(PUT("b", "2")));
    }
    end();
    end();
    assert_int_equal(sim_engine_sequence(f.engine), 1);
    for (uint64_t shard = 1; shard <= FIXTURE_SHARDS; shard++) {
        assert_int_equal(applied(shard), 2);
    }
}

// A reader never lags behind what was applied, even in the middle of a turn.
static void test_apply_reader_sees_what_is_gathered(void **state) {
    (void)state;
    (void)fixture_run(&f, 1, OPS(PUT("a", "1")));
    assert_string_equal(fixture_get(&f, "a"), "1");
    (void)fixture_run(&f, 1, OPS(DELETE("a")));
    assert_string_equal(fixture_get(&f, "a"), "-");
}

static enum status run(const struct op *ops) {
    return fixture_run(&f, 1, ops).status;
}

static void test_apply_conditions_decide_against_the_newest_version(void **state) {
    (void)state;
    assert_int_equal(run(OPS(PUT("a", "1"))), STATUS_OK);
    const uint64_t version = f.clock.v;
    assert_int_equal(run(OPS(EXISTS("a"), PUT("x", "1"))), STATUS_OK);
    assert_int_equal(run(OPS(EXISTS("b"), PUT("x", "2"))), STATUS_CONDITION_FAILED);
    assert_int_equal(run(OPS(ABSENT("b"), PUT("x", "3"))), STATUS_OK);
    assert_int_equal(run(OPS(ABSENT("a"), PUT("x", "4"))), STATUS_CONDITION_FAILED);
    assert_int_equal(run(OPS(VALUE_IS("a", "1"), PUT("x", "5"))), STATUS_OK);
    assert_int_equal(run(OPS(VALUE_IS("a", "2"), PUT("x", "6"))), STATUS_CONDITION_FAILED);
    assert_int_equal(run(OPS(VALUE_IS("b", ""), PUT("x", "7"))), STATUS_CONDITION_FAILED);
    assert_int_equal(run(OPS(VERSION_IS("a", version), PUT("x", "8"))), STATUS_OK);
    assert_int_equal(run(OPS(VERSION_IS("a", version - 1), PUT("x", "9"))),
                     STATUS_CONDITION_FAILED);
    assert_int_equal(run(OPS(VERSION_IS("b", 0), PUT("x", "10"))), STATUS_OK);
    assert_int_equal(run(OPS(AT_MOST("a", version), PUT("x", "11"))), STATUS_OK);
    assert_int_equal(run(OPS(AT_MOST("a", version - 1), PUT("x", "12"))), STATUS_CONDITION_FAILED);
    assert_int_equal(run(OPS(AT_MOST("b", 0), PUT("x", "13"))), STATUS_OK);
    end();
    assert_string_equal(fixture_get(&f, "x"), "13");
}

// A delete is a version too: a reader who saw the key before it must be told.
static void test_apply_version_of_a_deleted_key_is_that_of_its_delete(void **state) {
    (void)state;
    assert_int_equal(run(OPS(PUT("a", "1"))), STATUS_OK);
    assert_int_equal(run(OPS(DELETE("a"))), STATUS_OK);
    const uint64_t version = f.clock.v;
    assert_int_equal(run(OPS(VERSION_IS("a", 0), PUT("x", "1"))), STATUS_CONDITION_FAILED);
    assert_int_equal(run(OPS(ABSENT("a"), VERSION_IS("a", version), PUT("x", "2"))), STATUS_OK);
}

// Every part of an entry has its effect, or the replica is no replica: there is none that a release
// may pass over because it does not know it.
static void test_apply_passes_over_nothing(void **state) {
    (void)state;
#ifdef LIGHTCONE_MUTANTS
    mutant_old_release = true;
#endif
    assert_int_equal(run(OPS(PUT("a", "1"), PUT("b", "1"))), STATUS_OK);
    assert_int_equal(run(OPS(DELETE("a"), PUT("c", "1"))), STATUS_OK);
    end();
    assert_string_equal(fixture_get(&f, "a"), "-");
    assert_string_equal(fixture_get(&f, "b"), "1");
    assert_string_equal(fixture_get(&f, "c"), "1");
#ifdef LIGHTCONE_MUTANTS
    mutant_old_release = false;
#endif
}

static void test_apply_first_failed_condition_is_named_and_nothing_written(void **state) {
    (void)state;
    const struct command_outcome outcome = fixture_run(
        &f, 1, OPS(ABSENT("a"), EXISTS("b"), EXISTS("c"), PUT("a", "1"), DELETE_RANGE("d", "e")));
    assert_int_equal(outcome.status, STATUS_CONDITION_FAILED);
    assert_int_equal(outcome.failed_condition, 1);
    assert_int_equal(outcome.timestamp.v, f.clock.v);
    end();
    assert_string_equal(fixture_get(&f, "a"), "-");
    assert_int_equal(applied(1), 1);
}

// Compare-and-set twice in one turn: the second must see the first.
static void test_apply_conditions_see_earlier_entries_of_the_turn(void **state) {
    (void)state;
    assert_int_equal(run(OPS(PUT("a", "1"))), STATUS_OK);
    assert_int_equal(run(OPS(VALUE_IS("a", "1"), PUT("a", "2"))), STATUS_OK);
    assert_int_equal(run(OPS(VALUE_IS("a", "1"), PUT("a", "3"))), STATUS_CONDITION_FAILED);
    assert_int_equal(run(OPS(VALUE_IS("a", "2"), DELETE("a"))), STATUS_OK);
    assert_int_equal(run(OPS(ABSENT("a"), PUT("a", "4"))), STATUS_OK);
    end();
    assert_string_equal(fixture_get(&f, "a"), "4");
    assert_true(mark_count("apply.look_at_gathered_key") >= 3);
}

// Conditions on keys that the turn did not touch do not break the batch.
static void test_apply_conditions_on_other_keys_keep_the_batch(void **state) {
    (void)state;
    assert_int_equal(run(OPS(PUT("a", "1"))), STATUS_OK);
    assert_int_equal(run(OPS(ABSENT("b"), PUT("b", "1"))), STATUS_OK);
    assert_int_equal(run(OPS(ABSENT("c"), PUT("c", "1"))), STATUS_OK);
    end();
    assert_int_equal(sim_engine_sequence(f.engine), 1);
}

static void test_apply_delete_range_deletes_what_is_visible(void **state) {
    (void)state;
    assert_int_equal(run(OPS(PUT("a", "1"), PUT("b", "1"), PUT("c", "1"), PUT("d", "1"))),
                     STATUS_OK);
    end();
    assert_int_equal(run(OPS(DELETE("c"), PUT("bb", "1"))), STATUS_OK);
    // Within the same turn: sees bb, passes over c.
    assert_int_equal(run(OPS(DELETE_RANGE("b", "d"), PUT("e", "1"))), STATUS_OK);
    const uint64_t version = f.clock.v;
    end();
    assert_string_equal(fixture_get(&f, "a"), "1");
    assert_string_equal(fixture_get(&f, "b"), "-");
    assert_string_equal(fixture_get(&f, "bb"), "-");
    assert_string_equal(fixture_get(&f, "d"), "1");
    assert_string_equal(fixture_get(&f, "e"), "1");
    assert_int_equal(run(OPS(VERSION_IS("bb", version), PUT("x", "1"))), STATUS_OK);
    assert_int_equal(run(OPS(VERSION_IS("c", version), PUT("x", "1"))), STATUS_CONDITION_FAILED);
}

// Keys that a range delete of this turn deleted are gathered keys as well.
static void test_apply_conditions_see_range_deletes_of_the_turn(void **state) {
    (void)state;
    assert_int_equal(run(OPS(PUT("a", "1"))), STATUS_OK);
    end();
    assert_int_equal(run(OPS(DELETE_RANGE("a", "b"))), STATUS_OK);
    assert_int_equal(run(OPS(EXISTS("a"), PUT("x", "1"))), STATUS_CONDITION_FAILED);
}

// `count` keys r0000000.. in the range, put directly into the store.
static void fill_range(uint32_t count) {
    struct engine_batch *batch = engine_batch_create(f.engine);
    for (uint32_t i = 0; i < count; i++) {
        char key[16];
        const int size = snprintf(key, sizeof(key), "%c%c%c%cr%07u", 0, 0, 0, 1, i);
        mvcc_put(batch, slice_make(key, (size_t)size), (struct hlc_ts){10}, (struct hlc_ts){10},
                 SLICE_LITERAL("v"));
    }
    assert_int_equal(engine_write(f.engine, batch, false), STATUS_OK);
    engine_batch_destroy(batch);
}

static void check_range_of(uint32_t count, enum status expected) {
    fill_range(count);
    const struct op *ops = OPS(PUT("x", "1"), DELETE_RANGE("r", "s"));
    assert_int_equal(fixture_run(&f, 1, ops).status, expected);
    end();
    const bool deleted = expected == STATUS_OK;
    assert_string_equal(fixture_get(&f, "r0000000"), deleted ? "-" : "v");
    assert_string_equal(fixture_get(&f, "x"), deleted ? "1" : "-");
}

static void test_apply_delete_range_below_its_limit_deletes(void **state) {
    (void)state;
    check_range_of(COMMAND_OPS_MAX - 1, STATUS_OK);
}

static void test_apply_delete_range_at_its_limit_deletes(void **state) {
    (void)state;
    check_range_of(COMMAND_OPS_MAX, STATUS_OK);
}

static void test_apply_delete_range_beyond_its_limit_changes_nothing(void **state) {
    (void)state;
    check_range_of(COMMAND_OPS_MAX + 1, STATUS_RESOURCE_EXHAUSTED);
}

// The limit counts all ranges of the commit together.
static void test_apply_delete_ranges_share_the_limit(void **state) {
    (void)state;
    fill_range(COMMAND_OPS_MAX);
    assert_int_equal(run(OPS(PUT("a", "1"))), STATUS_OK);
    assert_int_equal(run(OPS(DELETE_RANGE("a", "b"), DELETE_RANGE("r", "s"))),
                     STATUS_RESOURCE_EXHAUSTED);
    end();
    assert_string_equal(fixture_get(&f, "a"), "1");
}

// A range over the whole keyspace leaves the system's part of it alone.
static void test_apply_delete_range_passes_over_reserved_keys(void **state) {
    (void)state;
    struct engine_batch *batch = engine_batch_create(f.engine);
    const struct hlc_ts ts = {10};
    mvcc_put(batch, SLICE_LITERAL("\0\0\0\1\xff\xffsys"), ts, ts, SLICE_LITERAL("kept"));
    mvcc_put(batch, SLICE_LITERAL("\0\0\0\1\xffuser"), ts, ts, SLICE_LITERAL("gone"));
    assert_int_equal(engine_write(f.engine, batch, false), STATUS_OK);
    engine_batch_destroy(batch);
    const struct command_mutation range = {COMMAND_DELETE_RANGE, SLICE_LITERAL("\0\0\0\1"),
                                           SLICE_LITERAL("\0\0\0\2")};
    const struct command_commit commit = {
        .txn = fixture_id(1), .mutations = &range, .mutation_count = 1};
    assert_int_equal(command_commit_check(&commit, NULL), STATUS_OK);
    struct codec_writer w;
    codec_writer_init(&w, &f.payload);
    command_commit_encode(&w, &commit);
    assert_int_equal(fixture_apply(&f, 1, buf_slice(&f.payload)).status, STATUS_OK);
    end();
    assert_string_equal(fixture_get(&f, "\xff\xffsys"), "kept");
    assert_string_equal(fixture_get(&f, "\xffuser"), "-");
}

static struct apply_result apply_as(uint64_t id, const struct op *ops) {
    return fixture_apply(&f, 1, fixture_commit(&f, fixture_id(id), ops));
}

// The core of exactly-once: the same commit again, in the same turn or later, changes nothing and
// says what the first one said, though its condition would fail now.
static void test_apply_a_repeat_returns_the_first_outcome(void **state) {
    (void)state;
    const struct op *ops = OPS(ABSENT("a"), PUT("a", "1"));
    struct apply_result result = apply_as(7, ops);
    const struct command_outcome first = fixture_outcome(&result);
    assert_int_equal(first.status, STATUS_OK);
    for (int turn = 0; turn < 2; turn++) {
        (void)fixture_run(&f, 1, OPS(PUT("a", "other")));
        result = apply_as(7, ops);
        const struct command_outcome again = fixture_outcome(&result);
        assert_int_equal(again.status, STATUS_OK);
        assert_int_equal(again.timestamp.v, first.timestamp.v);
        assert_int_equal(again.request_hash, first.request_hash);
        end();
        assert_string_equal(fixture_get(&f, "a"), "other");
    }
    assert_int_equal(mark_count("apply.repeat"), 2);
    assert_true(mark_count("apply.repeat_in_turn") >= 1);
    assert_int_equal(applied(1), 5);
}

static void test_apply_a_failed_condition_is_repeated_as_such(void **state) {
    (void)state;
    const struct op *ops = OPS(ABSENT("z"), EXISTS("a"), PUT("b", "1"));
    struct apply_result result = apply_as(7, ops);
    assert_int_equal(result.status, STATUS_CONDITION_FAILED);
    const uint64_t evaluated = f.clock.v;
    assert_int_equal(run(OPS(PUT("a", "1"))), STATUS_OK);
    result = apply_as(7, ops);
    const struct command_outcome again = fixture_outcome(&result);
    assert_int_equal(again.status, STATUS_CONDITION_FAILED);
    assert_int_equal(again.failed_condition, 1);
    assert_int_equal(again.timestamp.v, evaluated);
}

static void test_apply_an_id_with_another_body_is_refused(void **state) {
    (void)state;
    assert_int_equal(apply_as(7, OPS(PUT("a", "1"))).status, STATUS_OK);
    for (int turn = 0; turn < 2; turn++) {
        const struct apply_result result = apply_as(7, OPS(PUT("a", "2")));
        assert_int_equal(result.status, STATUS_INVALID_ARGUMENT);
        assert_int_equal(result.payload.size, 0);
        end();
    }
    assert_string_equal(fixture_get(&f, "a"), "1");
    assert_int_equal(mark_count("apply.id_reused"), 2);
}

// Outcomes belong to a shard: the same id on another shard is another transaction there.
static void test_apply_an_id_counts_per_shard(void **state) {
    (void)state;
    assert_int_equal(apply_as(7, OPS(PUT("a", "1"))).status, STATUS_OK);
    const struct slice payload = fixture_commit(&f, fixture_id(7), OPS(PUT("b", "1")));
    assert_int_equal(fixture_apply(&f, 2, payload).status, STATUS_OK);
    end();
    assert_string_equal(fixture_get(&f, "b"), "1");
    assert_int_equal(mark_count("apply.repeat_in_turn"), 0);
}

static void test_apply_outcomes_can_be_asked_for(void **state) {
    (void)state;
    struct command_outcome outcome;
    const struct shard_id shard = {1};
    assert_int_equal(apply_outcome(f.apply, shard, fixture_id(7), &outcome), STATUS_NOT_FOUND);
    assert_int_equal(apply_as(7, OPS(PUT("a", "1"))).status, STATUS_OK);
    assert_int_equal(apply_outcome(f.apply, shard, fixture_id(7), &outcome), STATUS_OK);
    assert_int_equal(outcome.status, STATUS_OK);
    assert_int_equal(outcome.timestamp.v, f.clock.v);
    assert_int_equal(apply_outcome(f.apply, (struct shard_id){2}, fixture_id(7), &outcome),
                     STATUS_NOT_FOUND);
}

// An outcome counts for 24 hours of commit timestamps: at that age still, one later no more.
static void test_apply_outcomes_count_for_a_day(void **state) {
    (void)state;
    assert_int_equal(apply_as(7, OPS(PUT("a", "1"))).status, STATUS_OK);
    const struct hlc_ts first = f.clock;
    f.clock.v = hlc_add_us(first, APPLY_OUTCOME_KEPT_US).v - 1;
    struct apply_result result = apply_as(7, OPS(PUT("a", "1")));
    assert_int_equal(fixture_outcome(&result).timestamp.v, first.v);
    result = apply_as(7, OPS(PUT("a", "1")));
    assert_int_equal(fixture_outcome(&result).timestamp.v, f.clock.v);
    assert_int_equal(mark_count("apply.outcome_too_old"), 1);
}

static void test_apply_collect_removes_old_outcomes_only(void **state) {
    (void)state;
    for (uint64_t shard = 1; shard <= 2; shard++) {
        for (int i = 0; i < 5; i++) {
            (void)fixture_run(&f, shard, OPS(PUT("a", "1")));
        }
    }
    assert_int_equal(apply_collect(f.apply, 100), 0);
    // Nothing can be too old for a day: the next call does not even look.
    assert_int_equal(mark_count("apply.nothing_to_collect"), 0);
    assert_int_equal(apply_collect(f.apply, 100), 0);
    assert_int_equal(mark_count("apply.nothing_to_collect"), 1);
    const uint64_t before = sim_engine_count(f.engine);
    f.clock = hlc_add_us(f.clock, APPLY_OUTCOME_KEPT_US + 1);
    (void)fixture_run(&f, 1, OPS(PUT("b", "1")));
    // Only shard 1 has moved on: its five old outcomes go, in steps of three records looked at.
    uint32_t removed = 0;
    for (int i = 0; i < 4; i++) {
        removed += apply_collect(f.apply, 3);
    }
    assert_int_equal(removed, 5);
    // One version and one outcome came, five outcomes went.
    assert_int_equal(sim_engine_count(f.engine), before + 2 - 5);
    struct command_outcome outcome;
    assert_int_equal(apply_outcome(f.apply, (struct shard_id){1}, fixture_id(1), &outcome),
                     STATUS_NOT_FOUND);
    assert_int_equal(apply_outcome(f.apply, (struct shard_id){2}, fixture_id(6), &outcome),
                     STATUS_OK);
}

static void test_apply_another_epoch_has_no_effect(void **state) {
    (void)state;
    const struct slice payload = fixture_commit(&f, fixture_id(1), OPS(PUT("a", "1")));
    struct log_entry entry = {
        .index = 1, .term = 1, .timestamp = {2000}, .kind = LOG_ENTRY_COMMAND, .payload = payload};
    struct apply_result result;
    const uint64_t epochs[] = {FIXTURE_EPOCH - 1, FIXTURE_EPOCH + 1};
    for (uint64_t i = 0; i < 2; i++) {
        entry.index = i + 1;
        entry.timestamp.v++;
        entry.shard_epoch = epochs[i];
        f.machine->apply(f.machine->ctx, (struct shard_id){1}, &entry, &result);
        assert_int_equal(result.status, STATUS_STALE_SHARD_MAP);
        assert_int_equal(result.payload.size, 0);
    }
    assert_int_equal(mark_count("apply.other_epoch"), 2);
    end();
    assert_int_equal(applied(1), 2);
    assert_string_equal(fixture_get(&f, "a"), "-");
    // The id is not spent: the same commit under the right epoch goes through.
    entry.index = 3;
    entry.timestamp.v++;
    entry.shard_epoch = FIXTURE_EPOCH;
    f.machine->apply(f.machine->ctx, (struct shard_id){1}, &entry, &result);
    assert_int_equal(result.status, STATUS_OK);
}

static void test_apply_empty_and_config_entries_move_the_index_only(void **state) {
    (void)state;
    const enum log_entry_kind kinds[] = {LOG_ENTRY_EMPTY, LOG_ENTRY_CONFIG};
    for (uint64_t i = 0; i < 2; i++) {
        const struct log_entry entry = {
            .index = i + 1, .term = 1, .kind = kinds[i], .payload = SLICE_LITERAL("not a commit")};
        struct apply_result result;
        f.machine->apply(f.machine->ctx, (struct shard_id){1}, &entry, &result);
        assert_int_equal(result.status, STATUS_OK);
        assert_int_equal(result.payload.size, 0);
    }
    end();
    assert_int_equal(applied(1), 2);
    assert_int_equal(sim_engine_count(f.engine), 1);
}

static void test_apply_bytes_that_are_no_commit_are_refused(void **state) {
    (void)state;
    const struct slice payload =
        fixture_commit(&f, fixture_id(1), OPS(PUT("a", "1"), PUT("b", "2")));
    const struct slice cut = slice_make(payload.data, payload.size - 1);
    assert_int_equal(fixture_apply(&f, 1, cut).status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(fixture_apply(&f, 1, SLICE_EMPTY).status, STATUS_INVALID_ARGUMENT);
    end();
    assert_int_equal(applied(1), 2);
    assert_string_equal(fixture_get(&f, "a"), "-");
    assert_int_equal(mark_count("apply.not_a_commit"), 2);
}

// More keys in a turn than the set of gathered keys holds: the batch is written early, and a
// condition on any of them still sees it.
static void test_apply_a_turn_larger_than_the_set_of_keys_stays_right(void **state) {
    (void)state;
    char key[16];
    uint64_t batches = sim_engine_sequence(f.engine);
    assert_int_equal(batches, 0);
    // Each entry adds an id and a key.
    for (uint32_t i = 0; i <= APPLY_TOUCHED_COUNT_MAX / 2; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(run(OPS(PUT(key, "1"))), STATUS_OK);
    }
    assert_int_equal(sim_engine_sequence(f.engine), 1);
    for (uint32_t i = 0; i <= APPLY_TOUCHED_COUNT_MAX / 2; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(run(OPS(ABSENT(key), PUT("x", "1"))), STATUS_CONDITION_FAILED);
    }
}

static void test_apply_a_large_turn_is_written_in_parts(void **state) {
    (void)state;
    const size_t size = 600 * 1024;
    uint8_t *value = mem_alloc(size);
    for (uint32_t i = 0; i < 10; i++) {
        const struct command_mutation put = {COMMAND_PUT, SLICE_LITERAL("\0\0\0\1k"),
                                             slice_make(value, size)};
        const struct command_commit commit = {
            .txn = fixture_id(i + 1), .mutations = &put, .mutation_count = 1};
        buf_reset(&f.payload);
        struct codec_writer w;
        codec_writer_init(&w, &f.payload);
        command_commit_encode(&w, &commit);
        assert_int_equal(fixture_apply(&f, 1, buf_slice(&f.payload)).status, STATUS_OK);
    }
    assert_int_equal(sim_engine_sequence(f.engine), 1);
    end();
    assert_int_equal(sim_engine_sequence(f.engine), 2);
    assert_int_equal(applied(1), 10);
    mem_free(value);
}

static void test_apply_remove_drops_the_shard_and_nothing_else(void **state) {
    (void)state;
    apply_set_range(f.apply, (struct shard_id){1}, SLICE_LITERAL("\0\0\0\1a"),
                    SLICE_LITERAL("\0\0\0\1c"));
    assert_int_equal(run(OPS(PUT("a", "1"), PUT("bz", "1"))), STATUS_OK);
    (void)fixture_run(&f, 2, OPS(PUT("c", "2")));
    f.machine->remove(f.machine->ctx, (struct shard_id){1});
    assert_string_equal(fixture_get(&f, "a"), "-");
    assert_string_equal(fixture_get(&f, "bz"), "-");
    assert_string_equal(fixture_get(&f, "c"), "2");
    assert_int_equal(applied(1), 0);
    assert_int_equal(applied(2), 1);
    struct command_outcome outcome;
    assert_int_equal(apply_outcome(f.apply, (struct shard_id){1}, fixture_id(1), &outcome),
                     STATUS_NOT_FOUND);
    assert_int_equal(apply_outcome(f.apply, (struct shard_id){2}, fixture_id(2), &outcome),
                     STATUS_OK);
    // version, outcome, applied index of shard 2
    assert_int_equal(sim_engine_count(f.engine), 3);
}

static void test_apply_digest_depends_on_the_range_alone(void **state) {
    (void)state;
    uint64_t before = 0;
    uint64_t after = 0;
    const struct slice low = SLICE_LITERAL("\0\0\0\1b");
    const struct slice high = SLICE_LITERAL("\0\0\0\1d");
    assert_int_equal(run(OPS(PUT("a", "1"), PUT("b", "1"), PUT("d", "1"))), STATUS_OK);
    assert_int_equal(apply_digest(f.apply, low, high, &before), STATUS_OK);
    assert_int_equal(run(OPS(PUT("a", "2"), PUT("d", "2"))), STATUS_OK);
    assert_int_equal(apply_digest(f.apply, low, high, &after), STATUS_OK);
    assert_true(before == after && before != 0);
    assert_int_equal(run(OPS(PUT("c", "1"))), STATUS_OK);
    assert_int_equal(apply_digest(f.apply, low, high, &after), STATUS_OK);
    assert_true(before != after);
}

static void end_on_a_full_disk(void *ctx) {
    (void)ctx;
    sim_engine_set_full(f.engine, true);
    f.machine->end(f.machine->ctx);
}

// What the log has committed and the store has no room for is not passed over: the process ends,
// and its successor applies the entries again.
static void test_apply_stops_where_the_disk_is_full(void **state) {
    (void)state;
    (void)fixture_run(&f, 1, OPS(PUT("a", "1")));
    assert_true(death_by_fatal(end_on_a_full_disk, NULL));
    f.machine->end(f.machine->ctx);
    assert_string_equal(fixture_get(&f, "a"), "1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_apply_stops_where_the_disk_is_full),
        TEST(test_apply_puts_become_visible_at_the_end_of_the_turn),
        TEST(test_apply_a_turn_is_one_batch),
        TEST(test_apply_reader_sees_what_is_gathered),
        TEST(test_apply_conditions_decide_against_the_newest_version),
        TEST(test_apply_version_of_a_deleted_key_is_that_of_its_delete),
        TEST(test_apply_passes_over_nothing),
        TEST(test_apply_first_failed_condition_is_named_and_nothing_written),
        TEST(test_apply_conditions_see_earlier_entries_of_the_turn),
        TEST(test_apply_conditions_on_other_keys_keep_the_batch),
        TEST(test_apply_delete_range_deletes_what_is_visible),
        TEST(test_apply_conditions_see_range_deletes_of_the_turn),
        TEST(test_apply_delete_range_below_its_limit_deletes),
        TEST(test_apply_delete_range_at_its_limit_deletes),
        TEST(test_apply_delete_range_beyond_its_limit_changes_nothing),
        TEST(test_apply_delete_ranges_share_the_limit),
        TEST(test_apply_delete_range_passes_over_reserved_keys),
        TEST(test_apply_a_repeat_returns_the_first_outcome),
        TEST(test_apply_a_failed_condition_is_repeated_as_such),
        TEST(test_apply_an_id_with_another_body_is_refused),
        TEST(test_apply_an_id_counts_per_shard),
        TEST(test_apply_outcomes_can_be_asked_for),
        TEST(test_apply_outcomes_count_for_a_day),
        TEST(test_apply_collect_removes_old_outcomes_only),
        TEST(test_apply_another_epoch_has_no_effect),
        TEST(test_apply_empty_and_config_entries_move_the_index_only),
        TEST(test_apply_bytes_that_are_no_commit_are_refused),
        TEST(test_apply_a_turn_larger_than_the_set_of_keys_stays_right),
        TEST(test_apply_a_large_turn_is_written_in_parts),
        TEST(test_apply_remove_drops_the_shard_and_nothing_else),
        TEST(test_apply_digest_depends_on_the_range_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
