// SPDX-License-Identifier: Apache-2.0
// Merges, applied: alone, many in a turn, in transactions that are resolved in any order.
#include "dataplane/base/mark.h"
#include "dataplane/base/prng.h"
#include "tests/unit/txn/apply/apply_fixture.h"
#include "txn/command/command_merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct fixture f;
static struct buf operation;
static struct buf message;

static int setup(void **state) {
    (void)state;
    const struct sim_engine_options options = {0};
    fixture_open(&f, sim_engine_create(&options));
    buf_init(&operation, 1 << 16);
    buf_init(&message, 1 << 16);
    mark_reset_all();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fixture_close(&f);
    engine_close(f.engine);
    buf_deinit(&operation);
    buf_deinit(&message);
    return 0;
}

static void end(void) {
    f.machine->end(f.machine->ctx);
}

static struct slice merge_commit(uint64_t id, const struct command_merge *merge) {
    struct codec_writer w;
    buf_reset(&operation);
    codec_writer_init(&w, &operation);
    command_merge_encode(&w, merge);
    const struct command_mutation mutation = {COMMAND_MERGE, SLICE_LITERAL("\0\0\0\1n"),
                                              buf_slice(&operation)};
    const struct command_commit commit = {
        .txn = fixture_id(id), .mutation_count = 1, .mutations = &mutation};
    buf_reset(&f.payload);
    codec_writer_init(&w, &f.payload);
    command_commit_encode(&w, &commit);
    assert_int_equal(w.status, STATUS_OK);
    return buf_slice(&f.payload);
}

static uint64_t next_id = 1000;

static struct command_outcome run(const struct command_merge *merge) {
    const struct apply_result result = fixture_apply(&f, 1, merge_commit(next_id++, merge));
    return fixture_outcome(&result);
}

static enum status add(int64_t amount) {
    const struct command_merge merge = {.type = COMMAND_MERGE_COUNTER, .amount = amount};
    return run(&merge).status;
}

static void test_apply_merge_many_in_a_turn_are_one_batch(void **state) {
    (void)state;
    for (int i = 1; i <= 100; i++) {
        assert_int_equal(add(i), STATUS_OK);
    }
    assert_int_equal(sim_engine_sequence(f.engine), 0);
    end();
    assert_int_equal(sim_engine_sequence(f.engine), 1);
    assert_string_equal(fixture_get(&f, "n"), "5050");
    assert_int_equal(add(-50), STATUS_OK);
    end();
    assert_string_equal(fixture_get(&f, "n"), "5000");
}

static void test_apply_merge_knows_the_type_of_a_value(void **state) {
    (void)state;
    mark_reset_all();
    (void)fixture_run(&f, 1, OPS(PUT("n", "5")));
    assert_int_equal(add(1), STATUS_FAILED_PRECONDITION);
    (void)fixture_run(&f, 1, OPS(DELETE("n")));
    assert_int_equal(add(1), STATUS_OK);
    const struct command_merge set = {.type = COMMAND_MERGE_SET, .element = SLICE_LITERAL("x")};
    assert_int_equal(run(&set).status, STATUS_FAILED_PRECONDITION);
    // A plain write replaces whatever there is.
    (void)fixture_run(&f, 1, OPS(PUT("n", "plain")));
    assert_int_equal(add(1), STATUS_FAILED_PRECONDITION);
    end();
    assert_string_equal(fixture_get(&f, "n"), "plain");
    assert_int_equal(mark_count("apply.merge_of_another_type"), 3);
}

static void test_apply_merge_keeps_its_bounds(void **state) {
    (void)state;
    const struct command_merge take = {
        .type = COMMAND_MERGE_COUNTER, .amount = -3, .has_min = true, .min = 0};
    assert_int_equal(add(5), STATUS_OK);
    assert_int_equal(run(&take).status, STATUS_OK);
    const struct command_outcome refused = run(&take);
    assert_int_equal(refused.status, STATUS_CONDITION_FAILED);
    assert_int_equal(refused.failed_condition, 0);
    end();
    assert_string_equal(fixture_get(&f, "n"), "2");
    assert_true(mark_count("apply.merge_out_of_bounds") > 0);
}

// --- In transactions ---

static struct command_txn_answer prepare(uint64_t id, const struct command_merge *merge) {
    const struct slice commit = merge_commit(id, merge);
    struct buf part;
    buf_init(&part, 1 << 16);
    assert_int_equal(buf_append(&part, commit), STATUS_OK);
    const struct slice anchor = SLICE_LITERAL("\0\0\0\1n");
    const struct command_prepare prepare = {.txn = fixture_id(id),
                                            .attempt = {id, 1},
                                            .begin = {f.clock.v},
                                            .participant_count = 1,
                                            .participants = &anchor,
                                            .part = buf_slice(&part)};
    struct codec_writer w;
    buf_reset(&message);
    codec_writer_init(&w, &message);
    command_prepare_encode(&w, &prepare);
    const struct apply_result result = fixture_apply(&f, 1, buf_slice(&message));
    struct codec_reader r;
    struct command_txn_answer answer;
    codec_reader_init(&r, result.payload);
    assert_int_equal(command_txn_answer_decode(&r, &answer), STATUS_OK);
    buf_deinit(&part);
    return answer;
}

struct decision {
    uint64_t id;
    uint64_t commit;
    bool forgets;
};

static void commit_all(const struct decision *decisions, uint32_t count) {
    struct codec_writer w;
    buf_reset(&message);
    codec_writer_init(&w, &message);
    command_resolve_begin(&w, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct command_resolution item = {
            .txn = fixture_id(decisions[i].id),
            .attempt = {decisions[i].id, 1},
            .decision = decisions[i].forgets ? COMMAND_DECIDE_FORGET : COMMAND_DECIDE_COMMIT,
            .commit = {decisions[i].commit}};
        command_resolution_encode(&w, &item);
    }
    const struct apply_result result = fixture_apply(&f, 1, buf_slice(&message));
    assert_int_equal(result.status, STATUS_OK);
}

// A set as large as a value may be takes no more; what was admitted into the last room by two at
// once stays out the second time.
static void test_apply_merge_has_room_for_so_much(void **state) {
    (void)state;
    static uint8_t element[COMMAND_MERGE_ELEMENT_SIZE_MAX];
    struct command_merge set = {.type = COMMAND_MERGE_GROW_SET,
                                .element = slice_make(element, sizeof(element))};
    mark_reset_all();
    enum status st = STATUS_OK;
    uint32_t count = 0;
    for (; st == STATUS_OK; count += st == STATUS_OK ? 1 : 0) {
        element[0] = (uint8_t)(count >> 8);
        element[1] = (uint8_t)count;
        if (count + 2 == SHARD_VALUE_SIZE_MAX / COMMAND_MERGE_ELEMENT_SIZE_MAX) { break; }
        st = run(&set).status;
    }
    assert_int_equal(st, STATUS_OK);
    end();
    uint64_t ids[3];
    uint64_t admitted = 0;
    for (uint64_t id = 1; id <= 3; id++) {
        element[0] = 0xff;
        element[1] = (uint8_t)id;
        if (prepare(id, &set).state == COMMAND_TXN_PREPARED) { ids[admitted++] = id; }
    }
    assert_true(admitted >= 2);
    for (uint64_t i = 0; i < admitted; i++) {
        commit_all(&(struct decision){.id = ids[i], .commit = ++f.clock.v}, 1);
    }
    end();
    assert_true(mark_count("apply.merge_lost_its_room") > 0);
    element[1] = 99;
    assert_int_equal(run(&set).status, STATUS_FAILED_PRECONDITION);
    assert_int_equal(mark_count("apply.merge_is_full"), 1);
}

static int64_t number_at(uint64_t ts) {
    struct mvcc_version version;
    int64_t number = 0;
    const enum status st =
        mvcc_read(apply_reader(f.apply), SLICE_LITERAL("\0\0\0\1n"), (struct hlc_ts){ts}, &version);
    assert_int_equal(command_merge_number(version.value, st == STATUS_OK, &number), STATUS_OK);
    return number;
}

static void test_apply_merges_share_a_key_and_one_entry(void **state) {
    (void)state;
    const struct command_merge one = {.type = COMMAND_MERGE_COUNTER, .amount = 1};
    const struct command_merge ten = {.type = COMMAND_MERGE_COUNTER, .amount = 10};
    const uint64_t p1 = prepare(1, &one).timestamp.v;
    const uint64_t p2 = prepare(2, &ten).timestamp.v;
    assert_true(p1 > 0 && p2 > p1);
    assert_int_equal(add(100), STATUS_OK);  // one that comes between waits for nobody
    const uint64_t between = f.clock.v;
    // A writer does wait.
    const struct apply_result put =
        fixture_apply(&f, 1, fixture_commit(&f, fixture_id(77), OPS(PUT("n", "1"))));
    assert_int_equal(put.status, STATUS_ABORTED_RETRY);
    f.clock.v += 100;
    // Resolved the later first, in one entry, and both below what came between.
    const struct decision both[] = {{.id = 2, .commit = p2}, {.id = 1, .commit = p1}};
    commit_all(both, 2);
    end();
    assert_int_equal(number_at(p1 - 1), 0);
    assert_int_equal(number_at(p1), 1);
    assert_int_equal(number_at(p2), 11);
    assert_int_equal(number_at(between), 111);
    assert_true(mark_count("apply.merge_below_another") >= 2);
}

// Hundreds in flight on one counter, resolved the last first: every one changes all above it. What
// the store has is looked up once a turn, and each version is written once.
static void test_apply_merges_resolved_backwards_over_turns(void **state) {
    (void)state;
    enum { MERGES = 60, A_TURN = 15 };
    uint64_t at[MERGES];
    int64_t sum = 0;
    for (uint32_t i = 0; i < MERGES; i++) {
        const struct command_merge merge = {.type = COMMAND_MERGE_COUNTER, .amount = 1 << (i % 20)};
        at[i] = prepare(i + 1, &merge).timestamp.v;
        assert_true(at[i] > 0);
    }
    f.clock.v += 100;
    for (uint32_t i = MERGES; i > 0; i--) {
        commit_all(&(struct decision){.id = i, .commit = at[i - 1]}, 1);
        if (i % A_TURN == 1) { end(); }
    }
    end();
    for (uint32_t i = 0; i < MERGES; i++) {
        sum += 1 << (i % 20);
        assert_int_equal(number_at(at[i]), sum);
    }
}

// Whoever is forgotten was committed in the same turn: to find its record the batch is written in
// the middle of the entry's preparations, and what the merges had gathered lies in the store then.
static void test_apply_merge_beside_one_that_is_forgotten(void **state) {
    (void)state;
    const struct command_merge one = {.type = COMMAND_MERGE_COUNTER, .amount = 1};
    const struct command_merge ten = {.type = COMMAND_MERGE_COUNTER, .amount = 10};
    const uint64_t p1 = prepare(1, &one).timestamp.v;
    const uint64_t p2 = prepare(2, &ten).timestamp.v;
    f.clock.v += 100;
    end();
    const struct decision first = {.id = 1, .commit = p1};
    const struct decision then[] = {{.id = 2, .commit = p2}, {.id = 1, .forgets = true}};
    commit_all(&first, 1);
    commit_all(then, 2);
    end();
    assert_int_equal(number_at(p1), 1);
    assert_int_equal(number_at(p2), 11);
}

static void test_apply_merges_at_one_timestamp_are_one_version(void **state) {
    (void)state;
    const struct command_merge one = {.type = COMMAND_MERGE_COUNTER, .amount = 1};
    (void)prepare(1, &one);
    (void)prepare(2, &one);
    const uint64_t c = f.clock.v + 50;
    f.clock.v += 100;
    const struct decision first = {.id = 1, .commit = c};
    const struct decision second = {.id = 2, .commit = c};
    commit_all(&first, 1);
    end();
    commit_all(&second, 1);
    end();
    assert_int_equal(number_at(c), 2);
    assert_int_equal(number_at(c - 1), 0);
}

static void test_apply_merge_bounds_count_what_is_prepared(void **state) {
    (void)state;
    const struct command_merge take = {
        .type = COMMAND_MERGE_COUNTER, .amount = -3, .has_min = true, .min = 0};
    assert_int_equal(add(5), STATUS_OK);
    assert_int_equal(prepare(1, &take).state, COMMAND_TXN_PREPARED);
    assert_int_equal(run(&take).status, STATUS_CONDITION_FAILED);
    const struct command_txn_answer second = prepare(2, &take);
    assert_int_equal(second.state, COMMAND_TXN_ABORTED);
    assert_int_equal(second.reason, COMMAND_REASON_TYPE);
}

// Any order of prepares, commits at any timestamps, single merges between, batches and restarts: at
// each timestamp the sum of what committed at or below it.
static void test_apply_merges_add_up_in_any_order(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 5);
    for (int round = 0; round < 60; round++) {
        (void)teardown(state);
        (void)setup(state);
        struct decision pending[8];
        uint32_t pending_count = 0;
        struct {
            uint64_t ts;
            int64_t amount;
        } done[64];
        uint32_t done_count = 0;
        int64_t amounts[64] = {0};
        for (uint64_t step = 1; step <= 40; step++) {
            const struct command_merge merge = {.type = COMMAND_MERGE_COUNTER,
                                                .amount = (int64_t)prng_below(&prng, 100) - 50};
            const uint64_t what = prng_below(&prng, 4);
            if (what == 0 && pending_count < 8) {
                const struct command_txn_answer answer = prepare(step, &merge);
                assert_int_equal(answer.state, COMMAND_TXN_PREPARED);
                amounts[step] = merge.amount;
                pending[pending_count++] = (struct decision){
                    .id = step, .commit = answer.timestamp.v + prng_below(&prng, 30)};
            } else if (what == 1 && pending_count > 0) {
                const uint64_t at = prng_below(&prng, pending_count);
                f.clock.v += 40;
                commit_all(&pending[at], 1);
                done[done_count].ts = pending[at].commit;
                done[done_count++].amount = amounts[pending[at].id];
                pending[at] = pending[--pending_count];
            } else if (what == 2) {
                assert_int_equal(run(&merge).status, STATUS_OK);
                done[done_count].ts = f.clock.v;
                done[done_count++].amount = merge.amount;
            } else {
                end();
            }
        }
        end();
        for (uint32_t i = 0; i < done_count; i++) {
            int64_t sum = 0;
            for (uint32_t j = 0; j < done_count; j++) {
                if (done[j].ts <= done[i].ts) { sum += done[j].amount; }
            }
            assert_int_equal(number_at(done[i].ts), sum);
        }
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_apply_merge_many_in_a_turn_are_one_batch),
        CASE(test_apply_merge_knows_the_type_of_a_value),
        CASE(test_apply_merge_keeps_its_bounds),
        CASE(test_apply_merge_has_room_for_so_much),
        CASE(test_apply_merges_share_a_key_and_one_entry),
        CASE(test_apply_merges_resolved_backwards_over_turns),
        CASE(test_apply_merge_beside_one_that_is_forgotten),
        CASE(test_apply_merges_at_one_timestamp_are_one_version),
        CASE(test_apply_merge_bounds_count_what_is_prepared),
        CASE(test_apply_merges_add_up_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
