// SPDX-License-Identifier: Apache-2.0
// Every answer in every phase, as tables and stories. The races are in coordinator_race_test.c.
#include "txn/coordinator/coordinator.h"

#include "dataplane/base/mark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { COUNT = 3 };

struct fixture {
    struct coordinator self;
    struct coordinator_participant participants[COUNT];
};

static void init(struct fixture *f, bool recovering) {
    coordinator_init(&f->self, f->participants, COUNT, recovering);
    coordinator_check(&f->self);
}

static struct command_txn_answer answer_of(enum command_txn_state state, uint64_t ts) {
    return (struct command_txn_answer){.state = state, .timestamp = {ts}};
}

static struct command_txn_answer refusal(enum command_txn_reason reason) {
    return (struct command_txn_answer){.state = COMMAND_TXN_ABORTED, .reason = reason};
}

// What the participant wants is sent, and answered so.
static void answer(struct fixture *f, uint32_t i, enum coordinator_send want,
                   struct command_txn_answer with) {
    assert_int_equal(coordinator_next(&f->self, i), want);
    coordinator_sent(&f->self, i);
    assert_int_equal(coordinator_next(&f->self, i), COORDINATOR_SEND_NOTHING);
    coordinator_on_answer(&f->self, i, want, &with);
    coordinator_check(&f->self);
}

static void prepared(struct fixture *f, uint32_t i, uint64_t p) {
    answer(f, i, COORDINATOR_SEND_PREPARE, answer_of(COMMAND_TXN_PREPARED, p));
}

static void wants(const struct fixture *f, enum coordinator_send a, enum coordinator_send b,
                  enum coordinator_send c) {
    assert_int_equal(coordinator_next(&f->self, 0), a);
    assert_int_equal(coordinator_next(&f->self, 1), b);
    assert_int_equal(coordinator_next(&f->self, 2), c);
}

#define NOTHING COORDINATOR_SEND_NOTHING
#define PREPARE COORDINATOR_SEND_PREPARE
#define PROBE   COORDINATOR_SEND_PROBE
#define COMMIT  COORDINATOR_SEND_COMMIT
#define ABORT   COORDINATOR_SEND_ABORT
#define FORGET  COORDINATOR_SEND_FORGET

static void test_coordinator_commits_at_the_largest_prepare(void **state) {
    (void)state;
    struct fixture f;
    init(&f, false);
    wants(&f, PREPARE, PREPARE, PREPARE);
    prepared(&f, 1, 70);
    prepared(&f, 0, 50);
    assert_false(coordinator_may_tell(&f.self));
    wants(&f, NOTHING, NOTHING, PREPARE);
    prepared(&f, 2, 60);
    assert_true(coordinator_may_tell(&f.self));
    assert_int_equal(f.self.result, COORDINATOR_COMMITTED);
    assert_int_equal(f.self.commit.v, 70);
    wants(&f, COMMIT, COMMIT, COMMIT);
    for (uint32_t i = 0; i < COUNT; i++) {
        answer(&f, i, COMMIT, answer_of(COMMAND_TXN_COMMITTED, 70));
    }
    wants(&f, FORGET, FORGET, FORGET);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_false(coordinator_is_done(&f.self));
        answer(&f, i, FORGET, answer_of(COMMAND_TXN_COMMITTED, 70));
    }
    assert_true(coordinator_is_done(&f.self));
    wants(&f, NOTHING, NOTHING, NOTHING);
}

static void test_coordinator_one_participant(void **state) {
    (void)state;
    struct coordinator self;
    struct coordinator_participant one;
    coordinator_init(&self, &one, 1, false);
    const struct command_txn_answer p = answer_of(COMMAND_TXN_PREPARED, 9);
    coordinator_sent(&self, 0);
    coordinator_on_answer(&self, 0, PREPARE, &p);
    assert_int_equal(self.result, COORDINATOR_COMMITTED);
    assert_int_equal(self.commit.v, 9);
}

static const struct command_txn_answer locked = {.state = COMMAND_TXN_ABORTED,
                                                 .reason = COMMAND_REASON_LOCKED};

// Goal: nobody is asked before the first one is prepared.
static void test_coordinator_begins_with_one(void **state) {
    (void)state;
    struct fixture f;
    init(&f, false);
    coordinator_begin_with(&f.self, 1, &locked);
    wants(&f, NOTHING, PREPARE, NOTHING);
    answer(&f, 1, PREPARE, answer_of(COMMAND_TXN_BUSY, 0));
    wants(&f, NOTHING, PREPARE, NOTHING);
    prepared(&f, 1, 70);
    wants(&f, PREPARE, NOTHING, PREPARE);
    prepared(&f, 0, 80);
    prepared(&f, 2, 75);
    assert_int_equal(f.self.result, COORDINATOR_COMMITTED);
    assert_int_equal(f.self.commit.v, 80);
}

// Goal: who was not asked has nothing to abort, but the home has to hold a record.
static void test_coordinator_aborts_only_where_it_asked(void **state) {
    (void)state;
    struct fixture f;
    init(&f, false);
    coordinator_begin_with(&f.self, 1, &locked);
    answer(&f, 1, PREPARE, refusal(COMMAND_REASON_READ));
    wants(&f, ABORT, NOTHING, NOTHING);
    assert_false(coordinator_may_tell(&f.self));
    answer(&f, 0, ABORT, refusal(COMMAND_REASON_SUPERSEDED));
    assert_int_equal(f.self.result, COORDINATOR_ABORTED);
    assert_true(coordinator_is_done(&f.self));
    // Silent, the first one is probed, and nobody else.
    init(&f, false);
    coordinator_begin_with(&f.self, 0, &locked);
    coordinator_sent(&f.self, 0);
    coordinator_on_silence(&f.self, 0, PREPARE);
    wants(&f, PROBE, NOTHING, NOTHING);
    answer(&f, 0, PROBE, refusal(COMMAND_REASON_SUPERSEDED));
    assert_true(coordinator_is_done(&f.self));
}

// Goal: one that has not asked everybody can be abandoned, and then prepares nobody.
static void test_coordinator_abandons_what_cannot_commit(void **state) {
    (void)state;
    struct fixture f;
    init(&f, false);
    assert_false(coordinator_may_abandon(&f.self));  // all are asked at once
    coordinator_begin_with(&f.self, 1, &locked);
    assert_true(coordinator_may_abandon(&f.self));
    coordinator_sent(&f.self, 1);
    coordinator_abandon(&f.self);
    assert_false(coordinator_may_abandon(&f.self));
    assert_int_equal(f.self.why.reason, COMMAND_REASON_LOCKED);
    wants(&f, ABORT, NOTHING, NOTHING);
    // Its prepare had come through.
    coordinator_on_answer(
        &f.self, 1, PREPARE,
        &(struct command_txn_answer){.state = COMMAND_TXN_PREPARED, .timestamp = {9}});
    wants(&f, ABORT, ABORT, NOTHING);
    answer(&f, 1, ABORT, refusal(COMMAND_REASON_SUPERSEDED));
    answer(&f, 0, ABORT, refusal(COMMAND_REASON_SUPERSEDED));
    assert_int_equal(f.self.result, COORDINATOR_ABORTED);
    assert_true(coordinator_is_done(&f.self));
    // Everybody was asked: it may commit without this coordinator.
    init(&f, false);
    coordinator_begin_with(&f.self, 2, &locked);
    prepared(&f, 2, 70);
    coordinator_sent(&f.self, 0);
    assert_true(coordinator_may_abandon(&f.self));
    coordinator_sent(&f.self, 1);
    assert_false(coordinator_may_abandon(&f.self));
}

// A recoverer was faster: its c is the transaction's.
static void test_coordinator_takes_the_commit_of_another(void **state) {
    (void)state;
    struct fixture f;
    init(&f, false);
    prepared(&f, 0, 50);
    answer(&f, 1, PREPARE, answer_of(COMMAND_TXN_COMMITTED, 90));
    assert_int_equal(f.self.result, COORDINATOR_COMMITTED);
    assert_int_equal(f.self.commit.v, 90);
    wants(&f, COMMIT, NOTHING, COMMIT);
    // Whoever lost the record by now has forgotten it.
    answer(&f, 0, COMMIT, answer_of(COMMAND_TXN_NONE, 0));
    answer(&f, 2, COMMIT, refusal(COMMAND_REASON_SUPERSEDED));
    assert_int_equal(f.self.phase, COORDINATOR_FORGETTING);
    assert_int_equal(f.self.contradictions, 0);
}

static void test_coordinator_silence_is_no_answer(void **state) {
    (void)state;
    struct fixture f;
    init(&f, false);
    coordinator_sent(&f.self, 0);
    coordinator_on_silence(&f.self, 0, PREPARE);
    assert_false(coordinator_may_tell(&f.self));
    wants(&f, PROBE, PREPARE, PREPARE);
    coordinator_sent(&f.self, 0);
    coordinator_on_silence(&f.self, 0, PROBE);
    wants(&f, PROBE, PREPARE, PREPARE);
    prepared(&f, 1, 5);
    prepared(&f, 2, 6);
    // It had arrived.
    answer(&f, 0, PROBE, answer_of(COMMAND_TXN_PREPARED, 7));
    assert_int_equal(f.self.commit.v, 7);
    for (uint32_t round = 0; round < 3; round++) {
        coordinator_sent(&f.self, 1);
        coordinator_on_silence(&f.self, 1, COMMIT);
        assert_int_equal(coordinator_next(&f.self, 1), COMMIT);
    }
    answer(&f, 0, COMMIT, answer_of(COMMAND_TXN_COMMITTED, 7));
    answer(&f, 1, COMMIT, answer_of(COMMAND_TXN_COMMITTED, 7));
    answer(&f, 2, COMMIT, answer_of(COMMAND_TXN_COMMITTED, 7));
    coordinator_sent(&f.self, 2);
    coordinator_on_silence(&f.self, 2, FORGET);
    wants(&f, FORGET, FORGET, FORGET);
}

static void test_coordinator_busy_is_asked_again(void **state) {
    (void)state;
    struct fixture f;
    init(&f, false);
    prepared(&f, 1, 5);
    prepared(&f, 2, 6);
    answer(&f, 0, PREPARE, answer_of(COMMAND_TXN_BUSY, 0));
    assert_int_equal(f.participants[0].state, COMMAND_TXN_BUSY);
    wants(&f, PREPARE, NOTHING, NOTHING);
    answer(&f, 0, PREPARE, answer_of(COMMAND_TXN_BUSY, 0));
    prepared(&f, 0, 8);
    assert_int_equal(f.self.commit.v, 8);
}

// The refusals that another attempt may follow: by whom, and what has to happen before it is told.
static void test_coordinator_tells_aborted_when_the_home_has_it(void **state) {
    (void)state;
    static const enum command_txn_reason reasons[] = {
        COMMAND_REASON_NONE, COMMAND_REASON_LOCKED, COMMAND_REASON_READ, COMMAND_REASON_SUPERSEDED,
        COMMAND_REASON_HORIZON};
    for (size_t k = 0; k < sizeof(reasons) / sizeof(reasons[0]); k++) {
        struct fixture f;
        init(&f, false);
        prepared(&f, 0, 5);
        answer(&f, 1, PREPARE, refusal(reasons[k]));
        assert_false(coordinator_may_tell(&f.self));
        assert_int_equal(f.self.why.reason, reasons[k]);
        assert_int_equal(f.self.why_participant, 1);
        wants(&f, ABORT, NOTHING, ABORT);
        answer(&f, 2, ABORT, refusal(COMMAND_REASON_NONE));
        assert_false(coordinator_may_tell(&f.self));
        answer(&f, 0, ABORT, refusal(COMMAND_REASON_NONE));
        assert_true(coordinator_may_tell(&f.self));
        assert_true(coordinator_is_done(&f.self));
        assert_int_equal(f.self.result, COORDINATOR_ABORTED);
        assert_int_equal(f.self.why.reason, reasons[k]);
        assert_false(f.self.has_outcome);
    }
}

static void test_coordinator_home_refuses(void **state) {
    (void)state;
    struct fixture f;
    init(&f, false);
    prepared(&f, 2, 5);
    answer(&f, 0, PREPARE, refusal(COMMAND_REASON_LOCKED));
    assert_true(coordinator_may_tell(&f.self));
    assert_false(coordinator_is_done(&f.self));
    wants(&f, NOTHING, ABORT, ABORT);
    answer(&f, 1, ABORT, answer_of(COMMAND_TXN_BUSY, 0));
    wants(&f, NOTHING, ABORT, ABORT);
    answer(&f, 1, ABORT, refusal(COMMAND_REASON_NONE));
    answer(&f, 2, ABORT, refusal(COMMAND_REASON_NONE));
    assert_true(coordinator_is_done(&f.self));
}

// Below the horizon the home refuses without a record: it has to make one.
static void test_coordinator_home_refuses_below_the_horizon(void **state) {
    (void)state;
    struct fixture f;
    init(&f, false);
    answer(&f, 0, PREPARE, refusal(COMMAND_REASON_HORIZON));
    assert_false(coordinator_may_tell(&f.self));
    wants(&f, ABORT, ABORT, ABORT);
    answer(&f, 0, ABORT, refusal(COMMAND_REASON_NONE));
    assert_true(coordinator_may_tell(&f.self));
    assert_int_equal(f.self.why.reason, COMMAND_REASON_HORIZON);
}

static struct command_txn_answer with_outcome(enum status status) {
    return (struct command_txn_answer){.state = COMMAND_TXN_ABORTED,
                                       .has_outcome = true,
                                       .outcome = {.status = status, .timestamp = {33}}};
}

static void test_coordinator_notes_final_refusals_at_the_home(void **state) {
    (void)state;
    static const enum command_txn_reason reasons[] = {COMMAND_REASON_CONDITION,
                                                      COMMAND_REASON_TOO_MANY};
    for (uint32_t k = 0; k < 4; k++) {
        const uint32_t who = k / 2;  // the home itself, or another
        struct fixture f;
        init(&f, false);
        struct command_txn_answer no = refusal(reasons[k % 2]);
        no.failed_condition = 4;
        answer(&f, who, PREPARE, no);
        assert_true(coordinator_wants_outcome(&f.self));
        assert_false(coordinator_may_tell(&f.self));
        assert_int_equal(coordinator_next(&f.self, 0), ABORT);
        answer(&f, 0, ABORT, with_outcome(STATUS_CONDITION_FAILED));
        assert_true(coordinator_may_tell(&f.self));
        assert_true(f.self.has_outcome);
        assert_int_equal(f.self.outcome.status, STATUS_CONDITION_FAILED);
        assert_int_equal(f.self.why.failed_condition, 4);
    }
}

// A higher attempt came first: how the id ends is not for this one to say.
static void test_coordinator_final_refusal_superseded(void **state) {
    (void)state;
    mark_reset_all();
    struct fixture f;
    init(&f, false);
    answer(&f, 2, PREPARE, refusal(COMMAND_REASON_CONDITION));
    answer(&f, 0, ABORT, refusal(COMMAND_REASON_SUPERSEDED));
    assert_true(coordinator_may_tell(&f.self));
    assert_false(f.self.has_outcome);
    assert_int_equal(f.self.why.reason, COMMAND_REASON_SUPERSEDED);
    assert_int_equal(mark_count("coordinator.outcome_superseded"), 1);
}

static void test_coordinator_repeat_is_told_the_outcome(void **state) {
    (void)state;
    struct fixture f;
    init(&f, false);
    prepared(&f, 1, 4);
    answer(&f, 0, PREPARE, with_outcome(STATUS_OK));
    assert_true(coordinator_may_tell(&f.self));
    assert_int_equal(f.self.result, COORDINATOR_ABORTED);
    assert_true(f.self.has_outcome);
    assert_int_equal(f.self.outcome.timestamp.v, 33);
    wants(&f, NOTHING, ABORT, ABORT);
    // The same, learned with the ABORT.
    init(&f, false);
    answer(&f, 1, PREPARE, refusal(COMMAND_REASON_LOCKED));
    answer(&f, 0, ABORT, with_outcome(STATUS_OK));
    assert_true(f.self.has_outcome);
    // Only the home's word counts.
    init(&f, false);
    answer(&f, 1, PREPARE, with_outcome(STATUS_OK));
    assert_false(coordinator_may_tell(&f.self));
    assert_false(f.self.has_outcome);
}

static void test_coordinator_recoverer_probes(void **state) {
    (void)state;
    struct fixture f;
    init(&f, true);
    wants(&f, PROBE, PROBE, PROBE);
    answer(&f, 0, PROBE, answer_of(COMMAND_TXN_PREPARED, 3));
    answer(&f, 1, PROBE, answer_of(COMMAND_TXN_BUSY, 0));
    answer(&f, 2, PROBE, answer_of(COMMAND_TXN_PREPARED, 9));
    wants(&f, NOTHING, PROBE, NOTHING);
    answer(&f, 1, PROBE, answer_of(COMMAND_TXN_PREPARED, 5));
    assert_int_equal(f.self.commit.v, 9);
    // Refused.
    init(&f, true);
    answer(&f, 0, PROBE, answer_of(COMMAND_TXN_PREPARED, 3));
    answer(&f, 1, PROBE, refusal(COMMAND_REASON_CONDITION));
    assert_false(coordinator_wants_outcome(&f.self));
    wants(&f, ABORT, NOTHING, ABORT);
}

// Answers to requests that were given up, and copies.
static void test_coordinator_late_answers(void **state) {
    (void)state;
    mark_reset_all();
    struct fixture f;
    const struct command_txn_answer busy = answer_of(COMMAND_TXN_BUSY, 0);
    const struct command_txn_answer ready = answer_of(COMMAND_TXN_PREPARED, 5);
    const struct command_txn_answer no = refusal(COMMAND_REASON_NONE);
    const struct command_txn_answer yes = answer_of(COMMAND_TXN_COMMITTED, 5);
    init(&f, false);
    prepared(&f, 0, 5);
    coordinator_on_answer(&f.self, 0, PREPARE, &busy);
    assert_int_equal(f.participants[0].state, COMMAND_TXN_PREPARED);
    answer(&f, 1, PREPARE, no);
    coordinator_on_answer(&f.self, 0, PREPARE, &ready);
    assert_int_equal(coordinator_next(&f.self, 0), ABORT);
    coordinator_on_answer(&f.self, 0, PREPARE, &yes);  // no correct shard says so
    assert_int_equal(f.self.contradictions, 1);
    assert_int_equal(mark_count("coordinator.contradiction"), 1);
    answer(&f, 0, ABORT, no);
    coordinator_on_answer(&f.self, 0, PREPARE, &ready);
    assert_true(f.participants[0].resolved);
    answer(&f, 2, ABORT, no);
    coordinator_on_answer(&f.self, 1, PREPARE, &no);
    assert_true(coordinator_is_done(&f.self));
    coordinator_check(&f.self);
    // After a commit.
    init(&f, false);
    answer(&f, 0, PREPARE, yes);
    coordinator_on_answer(&f.self, 1, PREPARE, &no);
    assert_int_equal(f.self.contradictions, 1);
    assert_int_equal(coordinator_next(&f.self, 1), COMMIT);
    coordinator_on_answer(&f.self, 1, PREPARE, &ready);
    assert_int_equal(coordinator_next(&f.self, 1), COMMIT);
    coordinator_on_answer(&f.self, 1, PREPARE, &yes);
    assert_int_equal(coordinator_next(&f.self, 1), NOTHING);
    answer(&f, 2, COMMIT, busy);
    answer(&f, 2, COMMIT, yes);
    coordinator_on_answer(&f.self, 2, COMMIT, &yes);
    wants(&f, FORGET, FORGET, FORGET);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coordinator_commits_at_the_largest_prepare),
        cmocka_unit_test(test_coordinator_one_participant),
        cmocka_unit_test(test_coordinator_begins_with_one),
        cmocka_unit_test(test_coordinator_aborts_only_where_it_asked),
        cmocka_unit_test(test_coordinator_abandons_what_cannot_commit),
        cmocka_unit_test(test_coordinator_takes_the_commit_of_another),
        cmocka_unit_test(test_coordinator_silence_is_no_answer),
        cmocka_unit_test(test_coordinator_busy_is_asked_again),
        cmocka_unit_test(test_coordinator_tells_aborted_when_the_home_has_it),
        cmocka_unit_test(test_coordinator_home_refuses),
        cmocka_unit_test(test_coordinator_home_refuses_below_the_horizon),
        cmocka_unit_test(test_coordinator_notes_final_refusals_at_the_home),
        cmocka_unit_test(test_coordinator_final_refusal_superseded),
        cmocka_unit_test(test_coordinator_repeat_is_told_the_outcome),
        cmocka_unit_test(test_coordinator_recoverer_probes),
        cmocka_unit_test(test_coordinator_late_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
