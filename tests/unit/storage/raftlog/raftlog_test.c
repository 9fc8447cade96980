// SPDX-License-Identifier: Apache-2.0
// Group commit on the simulated store: what is told durable and when, what reads see meanwhile,
// truncation, trimming and removal across groups.
#include "storage/raftlog/raftlog.h"

#include "dataplane/base/mark.h"
#include "dataplane/base/prng.h"
#include "tests/sim/disk/sim_engine.h"
#include "tests/unit/dataplane/base/death.h"
#include "tests/unit/storage/raftlog/raftlog_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

// --- Groups and completions ---

// One write goes to disk in the turn that submitted it, and is told durable once.
static void test_raftlog_write_completes_and_survives(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 3, 2);
    assert_int_equal(f->done_count, 0);
    assert_true(raftlog_is_busy(f->log));
    raftlog_turn(f->log);
    assert_int_equal(f->done_count, 1);
    assert_int_equal(f->done[0].shard.v, A.v);
    assert_int_equal(f->done[0].sequence, 1);
    assert_false(raftlog_is_busy(f->log));
    struct prng prng;
    prng_init(&prng, 1);
    crash(f, &prng);
    assert_bounds(f, A, 0, 3);
    assert_entries(f, A, 1, 3, 2);
    const struct log_bounds b = bounds_of(f, A);
    assert_int_equal(b.hard_state.term, 2);
    assert_int_equal(b.hard_state.vote.v, 3);
    assert_int_equal(b.hard_state.commit, 0);
    assert_bounds(f, B, 0, 0);
}

static void test_raftlog_turn_without_work_writes_nothing(void **state) {
    struct fixture *f = *state;
    raftlog_turn(f->log);
    raftlog_turn(f->log);
    assert_int_equal(f->starts, 0);
    assert_int_equal(sim_engine_sequence(f->engine), 0);
}

// While one group is written everything else gathers in one further group, whatever its shard.
static void test_raftlog_gathers_while_a_group_is_written(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 1, 1);
    raftlog_turn(f->log);
    assert_int_equal(f->starts, 1);
    submit(f, A, 2, 2, 1);
    raftlog_turn(f->log);
    submit(f, B, 1, 2, 1);
    raftlog_turn(f->log);
    submit(f, A, 3, 3, 1);
    raftlog_turn(f->log);
    assert_int_equal(f->starts, 1);
    assert_int_equal(f->done_count, 0);
    finish(f);
    assert_int_equal(f->done_count, 1);
    assert_int_equal(f->starts, 2);
    finish(f);
    assert_int_equal(f->done_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(f->done[i].sequence, i + 1);
    }
    assert_int_equal(sim_engine_sequence(f->engine), 2);
    const struct raftlog_stats stats = raftlog_stats(f->log);
    assert_int_equal(stats.groups, 2);
    assert_int_equal(stats.writes, 4);
    assert_int_equal(stats.entries, 5);
}

// A write without contents completes after those before it.
static void test_raftlog_empty_write_completes_in_turn(void **state) {
    struct fixture *f = *state;
    const struct log_write write = {.shard = A, .sequence = 9};
    f->store->submit(f->store->ctx, &write, 1);
    raftlog_turn(f->log);
    finish(f);
    assert_int_equal(f->done_count, 1);
    assert_int_equal(f->done[0].sequence, 9);
}

// A callback that submits, with a writer that finishes at once: a loop, as deep as one call.
static void test_raftlog_callback_may_submit_without_recursion(void **state) {
    struct fixture *f = *state;
    f->respond = 200;
    submit_hard_state(f, A, 1);
    raftlog_turn(f->log);
    assert_int_equal(f->done_count, 201);
    assert_int_equal(f->starts, 201);
    assert_false(raftlog_is_busy(f->log));
}

// --- Reads ---

static void test_raftlog_reads_see_entries_before_they_are_durable(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 10, 1);
    assert_entries(f, A, 1, 10, 1);
    raftlog_turn(f->log);
    assert_entries(f, A, 1, 10, 1);
    finish(f);
    assert_entries(f, A, 1, 10, 1);
    submit(f, A, 11, 40, 1);
    raftlog_turn(f->log);
    submit(f, A, 41, 60, 1);
    assert_entries(f, A, 1, 60, 1);
    assert_entries(f, A, 9, 12, 1);
    assert_entries(f, A, 39, 42, 1);
    finish(f);
    assert_entries(f, A, 1, 60, 1);
    finish(f);
    assert_entries(f, A, 1, 60, 1);
}

static void test_raftlog_read_outside_the_log_is_not_found(void **state) {
    struct fixture *f = *state;
    assert_int_equal(read_status(f, A, 1, 2), STATUS_NOT_FOUND);
    submit(f, A, 1, 5, 1);
    raftlog_turn(f->log);
    f->store->trim(f->store->ctx, A, 2, 1);
    assert_int_equal(read_status(f, A, 1, 4), STATUS_NOT_FOUND);
    assert_int_equal(read_status(f, A, 2, 4), STATUS_NOT_FOUND);
    assert_int_equal(read_status(f, A, 6, 7), STATUS_NOT_FOUND);
    assert_int_equal(read_status(f, A, 3, 99), STATUS_OK);
}

static uint32_t count_read(struct fixture *f, uint64_t low, uint32_t count_max, uint64_t size_max) {
    struct log_entry out[ENTRIES_MAX];
    uint32_t count = 0;
    assert_int_equal(f->store->read(f->store->ctx, A, low, 1000, count_max, size_max, out, &count),
                     STATUS_OK);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(out[i].index, low + i);
        log_entry_unref(&out[i]);
    }
    return count;
}

// Count and size bound a read on both sides of the border between disk and memory; one entry
// always comes.
static void test_raftlog_read_keeps_its_bounds(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 4, 1);
    raftlog_turn(f->log);
    finish(f);
    submit(f, A, 5, 9, 1);
    struct log_entry e = make_entry(1, 1);
    const uint64_t size = e.record.size;
    log_entry_unref(&e);
    assert_int_equal(count_read(f, 1, 64, UINT64_MAX), 9);
    assert_int_equal(count_read(f, 1, 3, UINT64_MAX), 3);
    assert_int_equal(count_read(f, 1, 4, UINT64_MAX), 4);
    assert_int_equal(count_read(f, 3, 4, UINT64_MAX), 4);
    assert_int_equal(count_read(f, 1, 64, 0), 1);
    assert_int_equal(count_read(f, 6, 64, 1), 1);
    assert_int_equal(count_read(f, 1, 64, 2 * size), 2);
    assert_int_equal(count_read(f, 1, 64, 2 * size + size - 1), 2);
    assert_int_equal(count_read(f, 3, 64, 4 * size), 4);
    assert_int_equal(count_read(f, 1, 64, 9 * size), 9);
}

// --- Truncation ---

// A truncation that is durable, pending, or in the group being written; the new entries win.
static void test_raftlog_truncation_across_groups(void **state) {
    struct fixture *f = *state;
    struct prng prng;
    prng_init(&prng, 1);
    submit(f, A, 1, 10, 1);
    raftlog_turn(f->log);
    submit(f, A, 5, 6, 2);  // while 5..10 of term 1 are being written
    assert_entries(f, A, 1, 4, 1);
    assert_entries(f, A, 5, 6, 2);
    assert_bounds(f, A, 0, 6);
    finish(f);
    assert_entries(f, A, 5, 6, 2);
    assert_int_equal(read_status(f, A, 7, 8), STATUS_NOT_FOUND);
    submit(f, A, 6, 8, 3);  // while 5..6 of term 2 are being written
    finish(f);
    assert_entries(f, A, 5, 5, 2);
    assert_entries(f, A, 6, 8, 3);
    finish(f);
    assert_true(mark_count("raftlog.truncate") > 0);
    crash(f, &prng);
    assert_bounds(f, A, 0, 8);
    assert_entries(f, A, 1, 4, 1);
    assert_entries(f, A, 5, 5, 2);
    assert_entries(f, A, 6, 8, 3);
}

// A long truncated end goes by one range; nothing of it comes back after a restart.
static void test_raftlog_truncation_of_many_entries(void **state) {
    struct fixture *f = *state;
    for (uint64_t low = 1; low < 200; low += 50) {
        submit(f, A, low, low + 49, 1);
        raftlog_turn(f->log);
    }
    submit(f, A, 3, 3, 2);
    submit(f, B, 1, 1, 1);
    raftlog_turn(f->log);
    reopen(f);
    assert_bounds(f, A, 0, 3);
    assert_bounds(f, B, 0, 1);
    assert_entries(f, A, 3, 3, 2);
    assert_int_equal(sim_engine_count(f->engine), 3 + 1 + 2);  // entries and hard states
}

static void test_raftlog_truncation_to_nothing(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 3, 1);
    raftlog_turn(f->log);
    const struct log_write write = {.shard = A, .sequence = 5, .truncate_from = 1};
    f->store->submit(f->store->ctx, &write, 1);
    raftlog_turn(f->log);
    assert_bounds(f, A, 0, 0);
    assert_int_equal(raftlog_size(f->log), 0);
    reopen(f);
    assert_bounds(f, A, 0, 0);
}

// --- Trimming ---

static void test_raftlog_trim_drops_the_beginning(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 60, 4);
    raftlog_turn(f->log);
    const uint64_t size = raftlog_size(f->log);
    f->store->trim(f->store->ctx, A, 45, 4);
    assert_bounds(f, A, 45, 60);
    assert_true(raftlog_size(f->log) < size / 2);
    raftlog_turn(f->log);
    f->store->trim(f->store->ctx, A, 30, 4);  // of the past: nothing happens
    assert_bounds(f, A, 45, 60);
    assert_entries(f, A, 46, 60, 4);
    reopen(f);
    assert_bounds(f, A, 45, 60);
    assert_int_equal(bounds_of(f, A).trim_term, 4);
    assert_entries(f, A, 46, 60, 4);
    assert_int_equal(sim_engine_count(f->engine), 15 + 2);
}

// A snapshot ahead of the log: everything goes, and the log goes on behind it.
static void test_raftlog_trim_beyond_the_end_moves_the_start(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 5, 1);
    raftlog_turn(f->log);
    submit(f, A, 6, 8, 1);  // not durable yet
    f->store->trim(f->store->ctx, A, 100, 3);
    assert_bounds(f, A, 100, 100);
    assert_int_equal(raftlog_size(f->log), 0);
    submit(f, A, 101, 102, 3);
    finish(f);
    assert_entries(f, A, 101, 102, 3);
    finish(f);
    reopen(f);
    assert_bounds(f, A, 100, 102);
    assert_entries(f, A, 101, 102, 3);
}

// Entries trimmed while they are on their way to the disk.
static void test_raftlog_trim_of_pending_entries(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 10, 1);
    raftlog_turn(f->log);
    submit(f, A, 11, 20, 1);
    f->store->trim(f->store->ctx, A, 15, 1);
    assert_entries(f, A, 16, 20, 1);
    finish(f);
    assert_entries(f, A, 16, 20, 1);
    finish(f);
    assert_entries(f, A, 16, 20, 1);
    reopen(f);
    assert_bounds(f, A, 15, 20);
    assert_entries(f, A, 16, 20, 1);
}

// --- Removal ---

static void count_visit(void *ctx, struct shard_id shard, const struct log_bounds *bounds) {
    assert_int_equal(shard.v, B.v);
    assert_int_equal(bounds->last_index, 3);
    ++*(int *)ctx;
}

// All that is left is the tombstone, which a visitor does not meet and nothing lowers.
static void test_raftlog_removed_shard_leaves_its_tombstone(void **state) {
    struct fixture *f = *state;
    int visits = 0;
    submit(f, A, 1, 3, 5);
    submit(f, B, 1, 3, 1);
    raftlog_turn(f->log);
    f->store->remove(f->store->ctx, A, 4);
    f->store->remove(f->store->ctx, A, 2);
    f->store->remove(f->store->ctx, (struct shard_id){99}, 0);
    assert_bounds(f, A, 0, 0);
    assert_int_equal(bounds_of(f, A).hard_state.term, 0);
    assert_int_equal(bounds_of(f, A).removed_incarnation, 4);
    raftlog_turn(f->log);
    reopen(f);
    assert_bounds(f, A, 0, 0);
    assert_int_equal(bounds_of(f, A).removed_incarnation, 4);
    assert_int_equal(bounds_of(f, A).damaged_from, 0);
    raftlog_each(f->log, count_visit, &visits);
    assert_int_equal(visits, 1);
    assert_entries(f, B, 1, 3, 1);
    assert_int_equal(sim_engine_count(f->engine), 5);
}

// A shard that was never written here can be removed all the same: an invitation may come late.
static void test_raftlog_tombstone_of_an_unknown_shard(void **state) {
    struct fixture *f = *state;
    f->store->remove(f->store->ctx, A, 7);
    raftlog_turn(f->log);
    reopen(f);
    assert_int_equal(bounds_of(f, A).removed_incarnation, 7);
}

// A later replica of the shard lives on the same node; the tombstone of the first stays beside it.
static void test_raftlog_new_write_keeps_the_tombstone(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 3, 5);
    f->store->remove(f->store->ctx, A, 3);
    submit(f, A, 1, 2, 1);
    raftlog_turn(f->log);
    reopen(f);
    assert_int_equal(bounds_of(f, A).removed_incarnation, 3);
    assert_int_equal(bounds_of(f, A).hard_state.term, 1);
    assert_entries(f, A, 1, 2, 1);
    submit_base(f, A, 10, 3, SLICE_EMPTY);
    raftlog_turn(f->log);
    reopen(f);
    assert_int_equal(bounds_of(f, A).removed_incarnation, 3);
    assert_bounds(f, A, 10, 10);
}

// A removal that never reached the disk leaves the shard; one that did leaves the tombstone.
static void test_raftlog_removal_is_atomic(void **state) {
    struct fixture *f = *state;
    struct prng prng;
    bool seen[2] = {false, false};
    raftlog_destroy(f->log);
    engine_close(f->engine);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        f->engine = sim_engine_create(&(struct sim_engine_options){.deferred = true});
        prng_init(&prng, seed);
        assert_int_equal(try_open(f), STATUS_OK);
        submit(f, A, 1, 3, 5);
        raftlog_turn(f->log);
        finish(f);
        sim_engine_make_durable(f->engine, sim_engine_sequence(f->engine));
        f->store->remove(f->store->ctx, A, 4);
        raftlog_turn(f->log);
        finish(f);
        crash(f, &prng);
        const struct log_bounds b = bounds_of(f, A);
        seen[b.removed_incarnation == 4] = true;
        assert_int_equal(b.last_index, b.removed_incarnation == 4 ? 0 : 3);
        assert_int_equal(b.hard_state.term, b.removed_incarnation == 4 ? 0 : 5);
        raftlog_destroy(f->log);
        engine_close(f->engine);
    }
    assert_true(seen[0] && seen[1]);
    f->engine = sim_engine_create(&(struct sim_engine_options){0});
    assert_int_equal(try_open(f), STATUS_OK);
}

// Removed and made anew before its old writes are done: the old completions are not delivered.
static void test_raftlog_shard_removed_in_flight_can_come_back(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 3, 5);
    submit(f, B, 1, 1, 1);
    raftlog_turn(f->log);
    submit(f, A, 4, 4, 5);
    f->store->remove(f->store->ctx, A, 1);
    submit(f, A, 1, 1, 1);
    assert_entries(f, A, 1, 1, 1);
    finish(f);
    assert_int_equal(f->done_count, 1);
    assert_int_equal(f->done[0].shard.v, B.v);
    assert_entries(f, A, 1, 1, 1);
    finish(f);
    assert_int_equal(f->done_count, 2);
    assert_int_equal(f->done[1].sequence, 4);
    reopen(f);
    assert_bounds(f, A, 0, 1);
    assert_int_equal(bounds_of(f, A).hard_state.term, 1);
}

// --- Failure ---

// A log that cannot be written stops the process; nothing tries again.
static void write_group(void *ctx) {
    struct fixture *f = ctx;
    raftlog_group_write(f->waiting);
}

static void test_raftlog_failed_write_stops_the_process(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 1, 1);
    raftlog_turn(f->log);
    sim_engine_set_full(f->engine, true);
    assert_true(death_by_fatal(write_group, f));
}

#define IMMEDIATE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
#define DELAYED(function)   cmocka_unit_test_setup_teardown(function, setup_delayed, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IMMEDIATE(test_raftlog_write_completes_and_survives),
        IMMEDIATE(test_raftlog_turn_without_work_writes_nothing),
        DELAYED(test_raftlog_gathers_while_a_group_is_written),
        DELAYED(test_raftlog_empty_write_completes_in_turn),
        IMMEDIATE(test_raftlog_callback_may_submit_without_recursion),
        DELAYED(test_raftlog_reads_see_entries_before_they_are_durable),
        IMMEDIATE(test_raftlog_read_outside_the_log_is_not_found),
        DELAYED(test_raftlog_read_keeps_its_bounds),
        DELAYED(test_raftlog_truncation_across_groups),
        IMMEDIATE(test_raftlog_truncation_of_many_entries),
        IMMEDIATE(test_raftlog_truncation_to_nothing),
        IMMEDIATE(test_raftlog_trim_drops_the_beginning),
        DELAYED(test_raftlog_trim_beyond_the_end_moves_the_start),
        DELAYED(test_raftlog_trim_of_pending_entries),
        IMMEDIATE(test_raftlog_removed_shard_leaves_its_tombstone),
        IMMEDIATE(test_raftlog_tombstone_of_an_unknown_shard),
        IMMEDIATE(test_raftlog_new_write_keeps_the_tombstone),
        DELAYED(test_raftlog_removal_is_atomic),
        DELAYED(test_raftlog_shard_removed_in_flight_can_come_back),
        DELAYED(test_raftlog_failed_write_stops_the_process),
    };
    return cmocka_run_group_tests_name("raftlog", tests, NULL, NULL);
}
