// SPDX-License-Identifier: Apache-2.0
// Many puts in flight over a fake commit whose answers the test gives: order per key, idempotent
// repeats, and the end at the first failure.
#include "api/cli/pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { FAKE_MAX = 64 };

// Answers at once, by a script: one status a commit; committed beyond its end. Remembers what came.
struct fake {
    struct lc_result script[FAKE_MAX];
    size_t script_count;
    size_t count;
    uint8_t txn[FAKE_MAX][LC_TXN_ID_SIZE];
    char key[FAKE_MAX][8];
    char value[FAKE_MAX][8];
    // Answers that are held back.
    bool hold;
    struct lc_call held[FAKE_MAX];
    size_t held_count;
};

static struct fake fake;

static const struct lc_result committed = {.outcome = LC_COMMITTED, .status = STATUS_OK};

static enum status fake_commit(struct lc_client *client, const struct lc_commit *commit,
                               const struct lc_call *call) {
    (void)client;
    assert_true(fake.count < FAKE_MAX);
    assert_int_equal(commit->mutation_count, 1);
    assert_int_equal(commit->keyspace, 5);
    const struct lc_mutation *mutation = &commit->mutations[0];
    memcpy(fake.txn[fake.count], commit->txn, LC_TXN_ID_SIZE);
    memcpy(fake.key[fake.count], mutation->key.data, mutation->key.size);
    memcpy(fake.value[fake.count], mutation->value.data, mutation->value.size);
    size_t number = fake.count++;
    if (fake.hold) {
        fake.held[fake.held_count++] = *call;
        return STATUS_OK;
    }
    call->done(call->ctx, number < fake.script_count ? &fake.script[number] : &committed);
    return STATUS_OK;
}

static struct pipeline *make(uint32_t outstanding, uint32_t retry_ms) {
    struct pipeline_options options = {.keyspace = 5,
                                       .outstanding_max = outstanding,
                                       .timeout_ms = 1000,
                                       .retry_ms = retry_ms,
                                       .commit = fake_commit};
    return pipeline_create(&options);
}

static bool put(struct pipeline *pipeline, const char *key, const char *value, uint64_t tag) {
    return pipeline_put(pipeline, slice_from_string(key), slice_from_string(value), tag);
}

static int reset(void **state) {
    (void)state;
    memset(&fake, 0, sizeof(fake));
    return 0;
}

static void script(enum lc_outcome outcome, enum status st) {
    fake.script[fake.script_count++] = (struct lc_result){.outcome = outcome, .status = st};
}

// Goal: rows arrive in order, each under an id of its own, and are counted.
static void test_pipeline_put_commits_each_row(void **state) {
    (void)state;
    struct pipeline *pipeline = make(4, 1000);
    struct pipeline_failure failure;
    assert_true(put(pipeline, "a", "1", 1));
    assert_true(put(pipeline, "b", "22", 2));
    assert_true(put(pipeline, "a", "3", 3));
    assert_true(pipeline_finish(pipeline, &failure));
    struct pipeline_stats stats = pipeline_stats(pipeline);
    assert_int_equal(stats.puts, 3);
    assert_int_equal(stats.bytes, 7);
    assert_int_equal(stats.retries, 0);
    assert_string_equal(fake.value[2], "3");
    assert_memory_not_equal(fake.txn[0], fake.txn[1], LC_TXN_ID_SIZE);
    assert_memory_not_equal(fake.txn[0], fake.txn[2], LC_TXN_ID_SIZE);
    pipeline_destroy(pipeline);
}

// Goal: an unknown outcome and a conflict are repeated under the same id until they are decided.
static void test_pipeline_repeats_under_the_same_id(void **state) {
    (void)state;
    script(LC_UNKNOWN, STATUS_UNKNOWN_OUTCOME);
    script(LC_ABORTED, STATUS_UNAVAILABLE);
    struct pipeline *pipeline = make(1, 60000);
    struct pipeline_failure failure;
    assert_true(put(pipeline, "a", "1", 1));
    assert_true(pipeline_finish(pipeline, &failure));
    assert_int_equal(fake.count, 3);
    assert_memory_equal(fake.txn[0], fake.txn[1], LC_TXN_ID_SIZE);
    assert_memory_equal(fake.txn[0], fake.txn[2], LC_TXN_ID_SIZE);
    assert_int_equal(pipeline_stats(pipeline).puts, 1);
    assert_int_equal(pipeline_stats(pipeline).retries, 2);
    pipeline_destroy(pipeline);
}

// Goal: a second row of a key is not sent before the first one's fate is known, even when that
// takes a repetition: the later row stands.
static void test_pipeline_keeps_the_order_of_a_key(void **state) {
    (void)state;
    script(LC_UNKNOWN, STATUS_UNKNOWN_OUTCOME);
    struct pipeline *pipeline = make(8, 60000);
    struct pipeline_failure failure;
    assert_true(put(pipeline, "a", "old", 1));
    assert_true(put(pipeline, "a", "new", 2));
    assert_true(pipeline_finish(pipeline, &failure));
    assert_int_equal(fake.count, 3);
    assert_string_equal(fake.value[0], "old");
    assert_string_equal(fake.value[1], "old");
    assert_string_equal(fake.value[2], "new");
    pipeline_destroy(pipeline);
}

// Goal: an error that a repetition cannot mend ends the pipeline and names the row.
static void test_pipeline_stops_at_the_first_failure(void **state) {
    (void)state;
    script(LC_COMMITTED, STATUS_OK);
    script(LC_ABORTED, STATUS_INVALID_ARGUMENT);
    struct pipeline *pipeline = make(4, 60000);
    struct pipeline_failure failure;
    assert_true(put(pipeline, "a", "1", 11));
    assert_true(put(pipeline, "b", "2", 12));
    assert_false(put(pipeline, "c", "3", 13));
    assert_false(pipeline_finish(pipeline, &failure));
    assert_int_equal(failure.tag, 12);
    assert_int_equal(failure.outcome, LC_ABORTED);
    assert_int_equal(failure.err.status, STATUS_INVALID_ARGUMENT);
    assert_string_equal(failure.err.message, status_text(STATUS_INVALID_ARGUMENT));
    assert_int_equal(fake.count, 2);
    assert_int_equal(pipeline_stats(pipeline).puts, 1);
    pipeline_destroy(pipeline);
}

// Goal: when its time is up, a row of unknown outcome is reported as such.
static void test_pipeline_gives_up_when_time_is_up(void **state) {
    (void)state;
    script(LC_UNKNOWN, STATUS_UNKNOWN_OUTCOME);
    struct pipeline *pipeline = make(4, 0);
    struct pipeline_failure failure;
    assert_true(put(pipeline, "a", "1", 7));
    assert_false(pipeline_finish(pipeline, &failure));
    assert_int_equal(failure.tag, 7);
    assert_int_equal(failure.outcome, LC_UNKNOWN);
    assert_int_equal(failure.err.status, STATUS_UNKNOWN_OUTCOME);
    pipeline_destroy(pipeline);
}

// Goal: what is in flight at a failure is waited for, and counted when it was committed.
static void test_pipeline_finish_waits_for_what_is_in_flight(void **state) {
    (void)state;
    fake.hold = true;
    struct pipeline *pipeline = make(4, 0);
    struct pipeline_failure failure;
    struct lc_result refused = {.outcome = LC_ABORTED, .status = STATUS_NO_SPACE};
    assert_true(put(pipeline, "a", "1", 1));
    assert_true(put(pipeline, "b", "2", 2));
    fake.held[0].done(fake.held[0].ctx, &refused);
    assert_false(put(pipeline, "c", "3", 3));
    fake.held[1].done(fake.held[1].ctx, &committed);
    assert_false(pipeline_finish(pipeline, &failure));
    assert_int_equal(failure.tag, 1);
    assert_int_equal(pipeline_stats(pipeline).puts, 1);
    pipeline_destroy(pipeline);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_pipeline_put_commits_each_row, reset),
        cmocka_unit_test_setup(test_pipeline_repeats_under_the_same_id, reset),
        cmocka_unit_test_setup(test_pipeline_keeps_the_order_of_a_key, reset),
        cmocka_unit_test_setup(test_pipeline_stops_at_the_first_failure, reset),
        cmocka_unit_test_setup(test_pipeline_gives_up_when_time_is_up, reset),
        cmocka_unit_test_setup(test_pipeline_finish_waits_for_what_is_in_flight, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
