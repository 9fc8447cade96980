// SPDX-License-Identifier: Apache-2.0
// The window of entries in memory: growth, wrap-around, what may be dropped and what is durable.
#include "dataplane/base/prng.h"
#include "dataplane/raft/raft_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void start(struct raft_log *log, uint32_t count_max, uint64_t size_max, uint64_t last) {
    struct raft_config config = {.cache_count_max = count_max, .cache_size_max = size_max};
    config.bounds.last_index = last;
    raft__log_init(log, &config, last == 0 ? 0 : 1);
}

static void append(struct raft_log *log, uint64_t term, uint64_t sequence) {
    struct log_entry entry = {.index = log->last + 1, .term = term};
    log_entry_seal(&entry);
    raft__log_append(log, &entry, sequence);
    log_entry_unref(&entry);
}

static void append_many(struct raft_log *log, uint32_t count, uint64_t term, uint64_t sequence) {
    for (uint32_t i = 0; i < count; i++) {
        append(log, term, sequence);
    }
}

// The ring doubles from its small beginning up to the bound and keeps all entries in place.
static void test_raft_log_grows_and_keeps_entries(void **state) {
    (void)state;
    struct raft_log log;
    start(&log, 64, 1 << 20, 5);
    assert_int_equal(log.capacity, RAFT_RING_MIN);
    append_many(&log, 64, 2, 1);
    assert_int_equal(log.capacity, 64);
    assert_int_equal(raft__log_room(&log), 0);
    assert_null(raft__log_cached(&log, 5));
    assert_null(raft__log_cached(&log, 70));
    for (uint64_t i = 6; i <= 69; i++) {
        assert_int_equal(raft__log_cached(&log, i)->index, i);
    }
    raft__log_deinit(&log);
}

// Entries that are not durable stay whatever the need; durable ones go when the ring is crowded.
static void test_raft_log_evicts_only_what_is_durable(void **state) {
    (void)state;
    struct raft_log log;
    start(&log, 16, 1 << 20, 0);
    append_many(&log, 8, 1, 1);
    append_many(&log, 8, 1, 2);
    raft__log_evict(&log, 0, 4);
    assert_int_equal(log.first, 1);
    raft__log_persisted(&log, 1);
    assert_int_equal(log.durable, 8);
    raft__log_evict(&log, 0, 4);
    assert_int_equal(log.first, 5);
    assert_int_equal(raft__log_room(&log), 4);
    raft__log_evict(&log, 16, 16);
    assert_int_equal(log.first, 9);
    assert_int_equal(log.before_term, 1);
    raft__log_deinit(&log);
}

// Beyond the bytes allowed, what is below the soft pin goes and what is above stays.
static void test_raft_log_soft_pin_holds_against_bytes(void **state) {
    (void)state;
    struct raft_log log;
    start(&log, 64, 100, 0);
    append_many(&log, 20, 1, 1);
    raft__log_persisted(&log, 1);
    raft__log_evict(&log, 10, 1);
    assert_int_equal(log.first, 11);
    raft__log_evict(&log, 20, 1);
    assert_true(log.first > 11);
    assert_true(log.size <= 100);
    raft__log_deinit(&log);
}

// A truncation takes durability back; the write that was under way must not give it again.
static void test_raft_log_truncation_forgets_durability(void **state) {
    (void)state;
    struct raft_log log;
    start(&log, 16, 1 << 20, 0);
    append_many(&log, 3, 1, 1);
    raft__log_persisted(&log, 1);
    append_many(&log, 3, 1, 2);
    raft__log_truncate(&log, 5, 1);
    append_many(&log, 2, 3, 3);
    raft__log_persisted(&log, 2);
    assert_int_equal(log.durable, 4);
    assert_int_equal(raft__log_pending(&log, 4), 0);
    assert_int_equal(raft__log_pending(&log, 5), 3);
    raft__log_truncate(&log, 3, 1);
    assert_int_equal(log.durable, 2);
    append(&log, 4, 4);
    raft__log_persisted(&log, 3);
    assert_int_equal(log.durable, 2);
    raft__log_persisted(&log, 4);
    assert_int_equal(log.durable, 3);
    raft__log_deinit(&log);
}

// After a restart nothing is in memory and a conflict may lie below the window.
static void test_raft_log_truncation_below_the_window(void **state) {
    (void)state;
    struct raft_log log;
    start(&log, 16, 1 << 20, 10);
    raft__log_truncate(&log, 7, 1);
    assert_int_equal(log.last, 6);
    assert_int_equal(log.first, 7);
    assert_int_equal(log.durable, 6);
    append(&log, 3, 1);
    assert_int_equal(raft__log_last_term(&log), 3);
    raft__log_deinit(&log);
}

// Against a plain array, with random appends, truncations, syncs and evictions.
static void test_raft_log_against_model(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 11);
    uint64_t terms[4096] = {0};
    struct raft_log log;
    start(&log, 32, 600, 0);
    uint64_t sequence = 0;
    uint64_t term = 1;
    for (uint32_t round = 0; round < 20000; round++) {
        uint64_t dice = prng_below(&prng, 10);
        if (dice < 4 && log.last < 4000) {
            sequence++;
            uint64_t count = prng_below(&prng, 5);
            for (uint64_t i = 0; i < count && raft__log_room(&log) > 0; i++) {
                terms[log.last + 1] = term;
                append(&log, term, sequence);
            }
        } else if (dice < 5 && log.last > log.first) {
            term++;
            uint64_t from = prng_between(&prng, log.first, log.last);
            raft__log_truncate(&log, from, from == 1 ? 0 : terms[from - 1]);
        } else if (dice < 8) {
            raft__log_persisted(&log, sequence);
            assert_int_equal(log.durable, log.last);
        } else {
            raft__log_evict(&log, prng_below(&prng, log.last + 1), 8);
        }
        for (uint64_t i = log.first; i <= log.last; i++) {
            assert_int_equal(raft__log_cached(&log, i)->term, terms[i]);
        }
        assert_int_equal(raft__log_last_term(&log), log.last == 0 ? 0 : terms[log.last]);
    }
    raft__log_deinit(&log);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_log_grows_and_keeps_entries),
        cmocka_unit_test(test_raft_log_evicts_only_what_is_durable),
        cmocka_unit_test(test_raft_log_soft_pin_holds_against_bytes),
        cmocka_unit_test(test_raft_log_truncation_forgets_durability),
        cmocka_unit_test(test_raft_log_truncation_below_the_window),
        cmocka_unit_test(test_raft_log_against_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
