// SPDX-License-Identifier: Apache-2.0
// The judges of transactions, judged: each by something that is right and by the one flaw it is
// there for.
#include "tests/sim/txn_judges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_SIZE = 4096 };
static char words[TEXT_SIZE];
static const struct txn_judge_text text = {words, sizeof(words)};
#define COUNT(items) ((uint32_t)(sizeof(items) / sizeof((items)[0])))

// --- Lists ---

static void add_list(struct list_append_history *history, uint64_t key, uint32_t count) {
    static const uint64_t list[] = {1, 2, 3};
    list_append_add_read(history, key, list, count);
}

// Alice (T1) appends to key 1, then Bob (T2) to key 2, both while Carol (T0) reads. Then all is
// read.
static void causal_reverse(struct list_append_history *history, bool apart) {
    list_append_init(history);
    const struct list_append_txn carol = {.id = 0, .invoke = 1, .ret = 8, .apart = apart};
    list_append_begin(history, &carol);
    add_list(history, 1, 0);
    add_list(history, 2, 1);
    list_append_begin(history, &(struct list_append_txn){.id = 1, .invoke = 2, .ret = 3});
    list_append_add(history, 1, 1);
    list_append_begin(history, &(struct list_append_txn){.id = 2, .invoke = 4, .ret = 5});
    list_append_add(history, 2, 1);
    list_append_begin(history, &(struct list_append_txn){.id = 3, .invoke = 9, .ret = 10});
    add_list(history, 1, 1);
    add_list(history, 2, 1);
}

static void test_lists_causal_reverse_of_a_strong_read_good(void **state) {
    (void)state;
    struct list_append_history history;
    causal_reverse(&history, true);
    assert_true(txn_judge_lists(&history, text));
    list_append_deinit(&history);
    causal_reverse(&history, false);
    assert_false(txn_judge_lists(&history, text));
    list_append_deinit(&history);
}

// Carol's snapshot is old, Dora read key 2 between Alice and Bob, and all have ended before Carol
// began: by timestamps Dora, Bob, Carol, Alice. Seed 105377.
static void old_reverse(struct list_append_history *history, uint32_t alices, bool apart) {
    list_append_init(history);
    const struct list_append_txn carol = {
        .id = 0, .invoke = 11, .ret = 12, .stale = true, .apart = apart};
    list_append_begin(history, &carol);
    add_list(history, 1, 0);
    add_list(history, 2, 1);
    list_append_begin(history, &(struct list_append_txn){.id = 1, .invoke = 1, .ret = 2});
    list_append_add(history, 1, 1);
    if (alices > 1) { list_append_add(history, 2, 1); }
    list_append_begin(history, &(struct list_append_txn){.id = 4, .invoke = 3, .ret = 4});
    add_list(history, 2, alices - 1);
    if (alices == 1) {
        list_append_begin(history, &(struct list_append_txn){.id = 2, .invoke = 5, .ret = 6});
        list_append_add(history, 2, 1);
    }
    list_append_begin(history, &(struct list_append_txn){.id = 3, .invoke = 13, .ret = 14});
    add_list(history, 1, 1);
    add_list(history, 2, 1);
}

static void test_lists_causal_reverse_of_an_old_read_good(void **state) {
    (void)state;
    struct list_append_history history;
    old_reverse(&history, 1, true);
    assert_true(txn_judge_lists(&history, text));
    list_append_deinit(&history);
    old_reverse(&history, 1, false);
    assert_false(txn_judge_lists(&history, text));
    list_append_deinit(&history);
}

static void test_lists_half_of_a_transaction_in_an_old_read_bad(void **state) {
    (void)state;
    struct list_append_history history;
    old_reverse(&history, 2, true);
    assert_false(txn_judge_lists(&history, text));
    assert_non_null(strstr(words, "G-single"));
    list_append_deinit(&history);
}

static void test_lists_what_was_acknowledged_is_missed_bad(void **state) {
    (void)state;
    struct list_append_history history;
    causal_reverse(&history, true);
    list_append_begin(&history,
                      &(struct list_append_txn){.id = 4, .invoke = 6, .ret = 7, .apart = true});
    add_list(&history, 1, 0);
    assert_false(txn_judge_lists(&history, text));
    assert_non_null(strstr(words, "without what T1 had appended before it began"));
    list_append_deinit(&history);
}

static void test_lists_what_somebody_saw_is_missed_bad(void **state) {
    (void)state;
    struct list_append_history history;
    list_append_init(&history);
    list_append_begin(&history, &(struct list_append_txn){.id = 1, .invoke = 1, .ret = 9});
    list_append_add(&history, 1, 1);
    list_append_begin(&history, &(struct list_append_txn){.id = 2, .invoke = 2, .ret = 3});
    add_list(&history, 1, 1);
    list_append_begin(&history,
                      &(struct list_append_txn){.id = 3, .invoke = 4, .ret = 5, .apart = true});
    add_list(&history, 1, 0);
    list_append_begin(&history, &(struct list_append_txn){.id = 4, .invoke = 10, .ret = 11});
    add_list(&history, 1, 1);
    assert_false(txn_judge_lists(&history, text));
    assert_non_null(strstr(words, "without what T2 had read before it began"));
    list_append_deinit(&history);
}

// --- Bank ---

static void test_bank_transfers_good(void **state) {
    (void)state;
    const int64_t before[] = {10, 0, 5};
    const int64_t after[] = {3, 7, 5};
    const struct txn_judge_balances snapshots[] = {{1, before, 3}, {2, after, 3}};
    assert_true(txn_judge_bank(&(struct txn_judge_bank){15, false}, snapshots, 2, text));
    assert_string_equal(words, "");
}

static void test_bank_half_a_transfer_bad(void **state) {
    (void)state;
    const int64_t half[] = {3, 0, 5};
    const struct txn_judge_balances snapshots[] = {{9, half, 3}};
    assert_false(txn_judge_bank(&(struct txn_judge_bank){15, true}, snapshots, 1, text));
    assert_string_equal(words, "at 9 the total is 8 instead of 15");
}

static void test_bank_overdraft_bad_unless_allowed(void **state) {
    (void)state;
    const int64_t balances[] = {-1, 16};
    const struct txn_judge_balances snapshots[] = {{9, balances, 2}};
    assert_false(txn_judge_bank(&(struct txn_judge_bank){15, false}, snapshots, 1, text));
    assert_true(txn_judge_bank(&(struct txn_judge_bank){15, true}, snapshots, 1, text));
}

// --- Counter ---

#define ADD(from, to, by) \
    { .outcome = LIST_APPEND_OK, .invoke = from, .ret = to, .value = by }
#define ADD_FAILED(from, to, by) \
    { .outcome = LIST_APPEND_FAIL, .invoke = from, .ret = to, .value = by }
#define ADD_UNKNOWN(from, by) \
    { .outcome = LIST_APPEND_INFO, .invoke = from, .value = by }
#define SHOWS(from, to, sum) \
    { .is_read = true, .outcome = LIST_APPEND_OK, .invoke = from, .ret = to, .value = sum }

static bool counts(const struct txn_judge_count *ops, uint32_t count) {
    return txn_judge_counter(ops, count, text);
}

static void test_counter_each_once_good(void **state) {
    (void)state;
    const struct txn_judge_count ops[] = {ADD(1, 2, 3), SHOWS(3, 4, 3), ADD(5, 6, 4),
                                          SHOWS(7, 8, 7)};
    assert_true(counts(ops, COUNT(ops)));
}

static void test_counter_increment_lost_bad(void **state) {
    (void)state;
    const struct txn_judge_count ops[] = {ADD(1, 2, 3), ADD(3, 4, 4), SHOWS(5, 6, 4)};
    assert_false(counts(ops, COUNT(ops)));
    assert_non_null(strstr(words, "between 7 and 7"));
}

static void test_counter_increment_twice_bad(void **state) {
    (void)state;
    const struct txn_judge_count ops[] = {ADD(1, 2, 3), SHOWS(5, 6, 6)};
    assert_false(counts(ops, COUNT(ops)));
}

static void test_counter_failed_increment_counted_bad(void **state) {
    (void)state;
    const struct txn_judge_count ops[] = {ADD_FAILED(1, 2, 3), SHOWS(5, 6, 3)};
    assert_false(counts(ops, COUNT(ops)));
}

static void test_counter_concurrent_or_unknown_either_way_good(void **state) {
    (void)state;
    for (int64_t sum = 0; sum <= 3; sum += 3) {
        const struct txn_judge_count overlap[] = {ADD(1, 6, 3), SHOWS(5, 8, sum)};
        assert_true(counts(overlap, COUNT(overlap)));
        const struct txn_judge_count unknown[] = {ADD_UNKNOWN(1, 3), SHOWS(50, 51, sum)};
        assert_true(counts(unknown, COUNT(unknown)));
    }
    const struct txn_judge_count down[] = {ADD(1, 2, 9), ADD_UNKNOWN(3, -4), SHOWS(5, 6, 5)};
    assert_true(counts(down, COUNT(down)));
}

static void test_counter_increment_of_the_future_bad(void **state) {
    (void)state;
    const struct txn_judge_count ops[] = {SHOWS(1, 2, 3), ADD(3, 4, 3)};
    assert_false(counts(ops, COUNT(ops)));
}

// --- Long fork ---

static void test_long_fork_one_order_good(void **state) {
    (void)state;
    const struct txn_judge_fork reads[] = {{1, 3, 0}, {2, 3, 1}, {3, 3, 3}, {4, 6, 2}, {5, 6, 4}};
    assert_true(txn_judge_long_fork(reads, 4, text));
    assert_false(txn_judge_long_fork(reads, 5, text));
}

static void test_long_fork_two_orders_bad(void **state) {
    (void)state;
    const struct txn_judge_fork reads[] = {{1, 3, 1}, {2, 7, 6}};
    assert_false(txn_judge_long_fork(reads, 2, text));
    assert_string_equal(words, "T2 sees key 1 without 0, T1 the other way round");
}

// What only one of them read proves nothing.
static void test_long_fork_other_keys_good(void **state) {
    (void)state;
    const struct txn_judge_fork reads[] = {{1, 1, 1}, {2, 6, 6}, {3, 3, 1}};
    assert_true(txn_judge_long_fork(reads, 2, text));
    assert_true(txn_judge_long_fork(reads + 2, 1, text));
}

// --- Write skew ---

static void test_write_skew_one_claim_a_group_good(void **state) {
    (void)state;
    const struct txn_judge_claim claims[] = {{1, 7, LIST_APPEND_OK, false},
                                             {2, 7, LIST_APPEND_FAIL, false},
                                             {3, 7, LIST_APPEND_INFO, false},
                                             {4, 8, LIST_APPEND_INFO, true}};
    assert_true(txn_judge_write_skew(claims, COUNT(claims), text));
}

static void test_write_skew_two_claims_bad(void **state) {
    (void)state;
    struct txn_judge_claim claims[] = {{1, 7, LIST_APPEND_OK, false},
                                       {2, 7, LIST_APPEND_INFO, true}};
    assert_false(txn_judge_write_skew(claims, 2, text));
    assert_string_equal(words, "T1 and T2 both claimed group 7");
    claims[1].outcome = LIST_APPEND_FAIL;
    assert_false(txn_judge_write_skew(claims, 2, text));
}

// --- Phantoms ---

static uint64_t found_in(struct list_append_history *history) {
    struct list_append_result result;
    struct list_append_config config = {0};
    (void)list_append_check(history, &config, &result, words, sizeof(words));
    list_append_deinit(history);
    return result.found;
}

static void begin(struct list_append_history *history, uint64_t invoke, uint64_t ret) {
    struct list_append_txn txn = {
        .id = history->txn_count + 1, .process = history->txn_count, .invoke = invoke, .ret = ret};
    list_append_begin(history, &txn);
}

static const struct txn_judge_range first_ten = {0, 9};
static const struct txn_judge_range next_ten = {10, 19};

// Each of two looks at a range and inserts into the other one's.
static void skew(struct list_append_history *history, bool second_sees) {
    list_append_init(history);
    begin(history, 1, 9);
    assert_true(txn_judge_range_read(history, first_ten, NULL, 0, text));
    txn_judge_insert(history, 13);
    begin(history, 1, 9);
    const uint64_t seen[] = {13};
    assert_true(txn_judge_range_read(history, next_ten, seen, second_sees ? 1 : 0, text));
    txn_judge_insert(history, 4);
    begin(history, 10, 11);
    const uint64_t all[] = {4};
    assert_true(txn_judge_range_read(history, first_ten, all, 1, text));
    assert_true(txn_judge_range_read(history, next_ten, seen, 1, text));
}

static void test_phantom_serial_inserts_clean(void **state) {
    (void)state;
    struct list_append_history history;
    skew(&history, true);
    assert_int_equal(found_in(&history), 0);
}

static void test_phantom_both_miss_the_other_g2(void **state) {
    (void)state;
    struct list_append_history history;
    skew(&history, false);
    assert_int_equal(found_in(&history), LIST_APPEND_BIT(LIST_APPEND_G2_ITEM));
}

static void test_phantom_insert_missed_later_realtime(void **state) {
    (void)state;
    struct list_append_history history;
    list_append_init(&history);
    begin(&history, 1, 2);
    txn_judge_insert(&history, 4);
    begin(&history, 3, 4);
    assert_true(txn_judge_range_read(&history, first_ten, NULL, 0, text));
    assert_int_equal(found_in(&history), LIST_APPEND_BIT(LIST_APPEND_G_SINGLE_REALTIME));
}

static void test_phantom_rows_out_of_range_or_order_refused(void **state) {
    (void)state;
    struct list_append_history history;
    list_append_init(&history);
    begin(&history, 1, 2);
    const uint64_t outside[] = {4, 12};
    const uint64_t twice[] = {4, 4};
    assert_false(txn_judge_range_read(&history, first_ten, outside, 2, text));
    assert_false(txn_judge_range_read(&history, first_ten, twice, 2, text));
    assert_int_equal(history.op_count, 0);
    list_append_deinit(&history);
}

// --- Sessions ---

#define READS(session_, key_, at) \
    { .session = session_, .key = key_, .version = at }
#define WRITES(session_, key_, at) \
    { .session = session_, .key = key_, .version = at, .is_write = true, .txn = at }

static bool keeps(const struct txn_judge_step *steps, uint32_t count) {
    return txn_judge_sessions(&(struct txn_judge_sessions){2, 2, steps, count}, text);
}

static void test_sessions_forward_good(void **state) {
    (void)state;
    const struct txn_judge_step steps[] = {READS(0, 0, 0),   WRITES(0, 0, 5), WRITES(0, 1, 5),
                                           READS(0, 0, 5),   READS(1, 0, 0),  READS(1, 0, 5),
                                           READS(0, 1, 9),   READS(0, 0, 5),  WRITES(0, 0, 10),
                                           WRITES(1, 1, 20), READS(1, 0, 5)};
    assert_true(keeps(steps, COUNT(steps)));
}

static void test_sessions_own_write_missed_bad(void **state) {
    (void)state;
    const struct txn_judge_step steps[] = {WRITES(0, 0, 5), READS(0, 0, 3)};
    assert_false(keeps(steps, 2));
    assert_non_null(strstr(words, "wrote it at 5"));
}

static void test_sessions_read_goes_back_bad(void **state) {
    (void)state;
    const struct txn_judge_step steps[] = {READS(0, 0, 5), READS(0, 0, 3)};
    assert_false(keeps(steps, 2));
}

static void test_sessions_writes_go_back_bad(void **state) {
    (void)state;
    const struct txn_judge_step steps[] = {WRITES(0, 0, 5), WRITES(0, 1, 4)};
    assert_false(keeps(steps, 2));
}

static void test_sessions_write_below_read_bad(void **state) {
    (void)state;
    const struct txn_judge_step steps[] = {READS(0, 0, 5), WRITES(0, 1, 4)};
    assert_false(keeps(steps, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_causal_reverse_of_a_strong_read_good),
        cmocka_unit_test(test_lists_causal_reverse_of_an_old_read_good),
        cmocka_unit_test(test_lists_half_of_a_transaction_in_an_old_read_bad),
        cmocka_unit_test(test_lists_what_was_acknowledged_is_missed_bad),
        cmocka_unit_test(test_lists_what_somebody_saw_is_missed_bad),
        cmocka_unit_test(test_bank_transfers_good),
        cmocka_unit_test(test_bank_half_a_transfer_bad),
        cmocka_unit_test(test_bank_overdraft_bad_unless_allowed),
        cmocka_unit_test(test_counter_each_once_good),
        cmocka_unit_test(test_counter_increment_lost_bad),
        cmocka_unit_test(test_counter_increment_twice_bad),
        cmocka_unit_test(test_counter_failed_increment_counted_bad),
        cmocka_unit_test(test_counter_concurrent_or_unknown_either_way_good),
        cmocka_unit_test(test_counter_increment_of_the_future_bad),
        cmocka_unit_test(test_long_fork_one_order_good),
        cmocka_unit_test(test_long_fork_two_orders_bad),
        cmocka_unit_test(test_long_fork_other_keys_good),
        cmocka_unit_test(test_write_skew_one_claim_a_group_good),
        cmocka_unit_test(test_write_skew_two_claims_bad),
        cmocka_unit_test(test_phantom_serial_inserts_clean),
        cmocka_unit_test(test_phantom_both_miss_the_other_g2),
        cmocka_unit_test(test_phantom_insert_missed_later_realtime),
        cmocka_unit_test(test_phantom_rows_out_of_range_or_order_refused),
        cmocka_unit_test(test_sessions_forward_good),
        cmocka_unit_test(test_sessions_own_write_missed_bad),
        cmocka_unit_test(test_sessions_read_goes_back_bad),
        cmocka_unit_test(test_sessions_writes_go_back_bad),
        cmocka_unit_test(test_sessions_write_below_read_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
