// SPDX-License-Identifier: Apache-2.0
// Memberships through the life of a log, and logs that begin anew: what is known before and after a
// trim, a truncation, a base, a restart.
#include "dataplane/base/mark.h"
#include "storage/raftlog/raftlog.h"
#include "tests/sim/disk/sim_engine.h"
#include "tests/unit/storage/raftlog/raftlog_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// The same now and after a restart.
static void assert_kept(struct fixture *f, const char *wanted) {
    assert_memberships(f, A, wanted);
    raftlog_turn(f->log);
    assert_memberships(f, A, wanted);
    reopen(f);
    assert_memberships(f, A, wanted);
}

static void test_raftlog_memberships_of_entries(void **state) {
    struct fixture *f = *state;
    assert_memberships(f, A, "");
    submit(f, A, 1, 3, 1);
    assert_kept(f, "");
    submit_config(f, A, 4, 1, "abc");
    submit(f, A, 5, 6, 1);
    submit_config(f, A, 7, 1, "abd");
    assert_kept(f, "4=abc 7=abd ");
    assert_memberships(f, B, "");
}

// The one in force at the trim point stays, whatever entry it came by; older ones go.
static void test_raftlog_memberships_survive_trimming(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 3, 1);
    submit_config(f, A, 4, 1, "four");
    submit_config(f, A, 5, 1, "five");
    submit(f, A, 6, 9, 1);
    submit_config(f, A, 10, 1, "ten");
    submit(f, A, 11, 12, 1);
    f->store->trim(f->store->ctx, A, 3, 1);
    assert_kept(f, "4=four 5=five 10=ten ");
    f->store->trim(f->store->ctx, A, 4, 1);
    assert_kept(f, "4=four 5=five 10=ten ");
    f->store->trim(f->store->ctx, A, 5, 1);
    assert_kept(f, "5=five 10=ten ");
    f->store->trim(f->store->ctx, A, 8, 1);
    assert_kept(f, "5=five 10=ten ");
    f->store->trim(f->store->ctx, A, 12, 1);
    assert_kept(f, "10=ten ");
    submit(f, A, 13, 20, 1);
    f->store->trim(f->store->ctx, A, 15, 1);
    assert_kept(f, "10=ten ");
}

static void test_raftlog_memberships_fall_with_truncation(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 3, 1);
    submit_config(f, A, 4, 1, "four");
    submit_config(f, A, 5, 1, "five");
    submit(f, A, 6, 8, 1);
    f->store->trim(f->store->ctx, A, 4, 1);
    submit(f, A, 6, 6, 2);
    assert_kept(f, "4=four 5=five ");
    submit_config(f, A, 5, 3, "cinque");
    assert_kept(f, "4=four 5=cinque ");
    submit(f, A, 5, 7, 4);
    assert_kept(f, "4=four ");
}

// More than can be told: those below a committed one are left out, and only they.
static void test_raftlog_memberships_beyond_the_maximum(void **state) {
    struct fixture *f = *state;
    struct log_membership out[LOG_MEMBERSHIPS_MAX];
    uint32_t count = 0;
    for (uint64_t index = 1; index <= LOG_MEMBERSHIPS_MAX; index++) {
        submit_config(f, A, index, 1, "m");
    }
    assert_int_equal(f->store->memberships(f->store->ctx, A, out, &count), STATUS_OK);
    assert_int_equal(count, LOG_MEMBERSHIPS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        bytes_unref(out[i].owner);
    }
    submit_config(f, A, LOG_MEMBERSHIPS_MAX + 1, 1, "m");
    submit_config(f, A, LOG_MEMBERSHIPS_MAX + 2, 1, "m");
    assert_int_equal(f->store->memberships(f->store->ctx, A, out, &count),
                     STATUS_RESOURCE_EXHAUSTED);
    // One too many even when the second is committed; with the third it fits.
    for (uint64_t commit = 2; commit <= 3; commit++) {
        const struct log_hard_state hard_state = {1, {3}, commit, 1};
        const struct log_write write = {
            .shard = A, .sequence = ++f->sequence, .hard_state = &hard_state};
        f->store->submit(f->store->ctx, &write, 1);
        assert_int_equal(f->store->memberships(f->store->ctx, A, out, &count),
                         commit == 2 ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK);
    }
    assert_int_equal(count, LOG_MEMBERSHIPS_MAX);
    assert_int_equal(out[0].index, 3);
    assert_true(mark_count("raftlog.memberships_left_out") > 0);
    for (uint32_t i = 0; i < count; i++) {
        bytes_unref(out[i].owner);
    }
}

// What is told outlives the log's own copy.
static void test_raftlog_membership_outlives_its_entry(void **state) {
    struct fixture *f = *state;
    struct log_membership out[LOG_MEMBERSHIPS_MAX];
    uint32_t count = 0;
    submit_config(f, A, 1, 1, "one");
    assert_int_equal(f->store->memberships(f->store->ctx, A, out, &count), STATUS_OK);
    f->store->remove(f->store->ctx, A, 1);
    assert_memberships(f, A, "");
    assert_int_equal(count, 1);
    assert_true(slice_equal(out[0].encoded, SLICE_LITERAL("one")));
    bytes_unref(out[0].owner);
}

// --- A log that begins anew ---

static void assert_base(struct fixture *f, uint64_t index, bool told) {
    const struct log_bounds b = bounds_of(f, A);
    assert_int_equal(b.trim_index, index);
    assert_int_equal(b.base_ceiling.v, told ? 10 * index : 0);
    assert_int_equal(b.base_timestamp.v, told ? 5 * index : 0);
}

static void test_raftlog_base_replaces_everything(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 40, 4);
    submit_config(f, A, 41, 4, "old");
    submit(f, B, 1, 3, 1);
    raftlog_turn(f->log);
    submit(f, A, 42, 44, 4);  // gathered in the same group
    submit_base(f, A, 20, 6, SLICE_LITERAL("new"));
    assert_bounds(f, A, 20, 20);
    assert_int_equal(bounds_of(f, A).trim_term, 6);
    assert_true(mark_count("raftlog.base") > 0);
    assert_int_equal(bounds_of(f, A).hard_state.term, 4);
    assert_base(f, 20, true);
    assert_int_equal(read_status(f, A, 21, 22), STATUS_NOT_FOUND);
    assert_kept(f, "20=new ");
    assert_bounds(f, A, 20, 20);
    assert_base(f, 20, true);
    assert_int_equal(bounds_of(f, A).hard_state.term, 4);
    assert_entries(f, B, 1, 3, 1);
    assert_int_equal(sim_engine_count(f->engine), 2 + 4);
    struct log_entry e = make_entry(1, 1);
    assert_int_equal(raftlog_size(f->log), 3 * e.record.size);
    log_entry_unref(&e);
}

// Base, hard state and entries of one write are one: all of it after a crash, or nothing.
static void test_raftlog_base_is_atomic_with_its_write(void **state) {
    struct fixture *f = *state;
    struct prng prng;
    bool seen[2] = {false, false};
    raftlog_destroy(f->log);
    engine_close(f->engine);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        f->engine = sim_engine_create(&(struct sim_engine_options){.deferred = true});
        prng_init(&prng, seed);
        assert_int_equal(try_open(f), STATUS_OK);
        submit(f, A, 1, 30, 4);
        raftlog_turn(f->log);
        sim_engine_make_durable(f->engine, sim_engine_sequence(f->engine));
        struct log_entry e = make_entry(21, 8);
        const struct log_base base = {20, 7, {200}, {100}, SLICE_LITERAL("m")};
        const struct log_hard_state hard_state = {8, {2}, 20, 3};
        const struct log_write write = {.shard = A,
                                        .sequence = ++f->sequence,
                                        .base = &base,
                                        .hard_state = &hard_state,
                                        .entries = &e,
                                        .entry_count = 1};
        f->store->submit(f->store->ctx, &write, 1);
        log_entry_unref(&e);
        raftlog_turn(f->log);
        crash(f, &prng);
        const struct log_bounds b = bounds_of(f, A);
        const bool is_new = b.trim_index == 20;
        seen[is_new] = true;
        assert_int_equal(b.last_index, is_new ? 21 : 30);
        assert_int_equal(b.hard_state.term, is_new ? 8 : 4);
        assert_int_equal(b.hard_state.incarnation, is_new ? 3 : 1);
        assert_int_equal(b.damaged_from, 0);
        assert_memberships(f, A, is_new ? "20=m " : "");
        raftlog_destroy(f->log);
        engine_close(f->engine);
    }
    assert_true(seen[0] && seen[1]);
    f->engine = sim_engine_create(&(struct sim_engine_options){0});
    assert_int_equal(try_open(f), STATUS_OK);
}

// The times of the base are told while no entry follows it, also when one came and was cut again.
static void test_raftlog_base_times_are_told_while_it_is_the_end(void **state) {
    struct fixture *f = *state;
    submit_hard_state(f, A, 3);
    submit_base(f, A, 20, 3, SLICE_LITERAL("m"));
    assert_base(f, 20, true);
    submit(f, A, 21, 22, 3);
    assert_base(f, 20, false);
    raftlog_turn(f->log);
    reopen(f);
    assert_base(f, 20, false);
    const struct log_write write = {.shard = A, .sequence = ++f->sequence, .truncate_from = 21};
    f->store->submit(f->store->ctx, &write, 1);
    assert_base(f, 20, true);
    raftlog_turn(f->log);
    reopen(f);
    assert_base(f, 20, true);
    submit(f, A, 21, 30, 3);
    f->store->trim(f->store->ctx, A, 30, 3);
    assert_base(f, 30, false);
    raftlog_turn(f->log);
    reopen(f);
    assert_base(f, 30, false);
    assert_memberships(f, A, "20=m ");
}

// While the group before is being written: its entries come to the disk after the decision, and
// are gone all the same.
static void test_raftlog_base_while_a_group_is_written(void **state) {
    struct fixture *f = *state;
    submit(f, A, 1, 10, 1);
    raftlog_turn(f->log);
    submit(f, A, 11, 12, 1);
    submit_base(f, A, 5, 2, SLICE_LITERAL("m"));
    submit(f, A, 6, 7, 2);
    assert_entries(f, A, 6, 7, 2);
    finish(f);
    assert_entries(f, A, 6, 7, 2);
    finish(f);
    assert_entries(f, A, 6, 7, 2);
    reopen(f);
    assert_bounds(f, A, 5, 7);
    assert_entries(f, A, 6, 7, 2);
    assert_int_equal(f->done_count, 4);
    assert_int_equal(bounds_of(f, A).damaged_from, 0);
}

#define IMMEDIATE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
#define DELAYED(function)   cmocka_unit_test_setup_teardown(function, setup_delayed, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IMMEDIATE(test_raftlog_memberships_of_entries),
        IMMEDIATE(test_raftlog_memberships_survive_trimming),
        IMMEDIATE(test_raftlog_memberships_fall_with_truncation),
        IMMEDIATE(test_raftlog_memberships_beyond_the_maximum),
        IMMEDIATE(test_raftlog_membership_outlives_its_entry),
        IMMEDIATE(test_raftlog_base_replaces_everything),
        IMMEDIATE(test_raftlog_base_is_atomic_with_its_write),
        IMMEDIATE(test_raftlog_base_times_are_told_while_it_is_the_end),
        DELAYED(test_raftlog_base_while_a_group_is_written),
    };
    return cmocka_run_group_tests_name("raftlog_marks", tests, NULL, NULL);
}
