// SPDX-License-Identifier: Apache-2.0
// Prepares and resolutions: the rules and the table of docs/protocols/transactions.md, row by row.
#include "dataplane/base/mark.h"
#include "tests/unit/txn/apply/apply_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct fixture f;
static struct buf part;
static struct buf message;
static uint32_t resolved_count;
static struct txn_id resolved_last;

static void on_resolved(void *ctx, struct shard_id shard, struct txn_id txn) {
    (void)ctx;
    assert_int_equal(shard.v, 1);
    resolved_count++;
    resolved_last = txn;
}

static int setup(void **state) {
    (void)state;
    const struct sim_engine_options options = {0};
    fixture_open(&f, sim_engine_create(&options));
    buf_init(&part, 1 << 16);
    buf_init(&message, 1 << 16);
    resolved_count = 0;
    apply_on_resolved(f.apply, on_resolved, NULL);
    mark_reset_all();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fixture_close(&f);
    engine_close(f.engine);
    buf_deinit(&part);
    buf_deinit(&message);
    return 0;
}

static void end(void) {
    f.machine->end(f.machine->ctx);
}

// The process dies and starts again on what the store holds.
static void restart(void) {
    struct engine *engine = f.engine;
    const struct fixture before = f;
    fixture_close(&f);
    fixture_open(&f, engine);
    memcpy(f.index, before.index, sizeof(f.index));
    f.clock = before.clock;
    f.next_id = before.next_id;
    apply_on_resolved(f.apply, on_resolved, NULL);
}

static struct hlc_ts unresolved(void) {
    return f.machine->unresolved(f.machine->ctx, (struct shard_id){1});
}

static struct command_txn_answer answer_of(const struct apply_result *result) {
    struct codec_reader r;
    struct command_txn_answer answer;
    codec_reader_init(&r, result->payload);
    assert_int_equal(command_txn_answer_decode(&r, &answer), STATUS_OK);
    return answer;
}

struct attempt {
    uint64_t id;
    uint64_t number;
    uint64_t begin;
    uint32_t self;
    uint64_t hash;
};

// The commit in `commit` (a view into f.payload), prepared.
static struct command_txn_answer prepare_part(const struct attempt *a, struct slice commit) {
    const struct slice anchors[] = {SLICE_LITERAL("\0\0\0\1a"), SLICE_LITERAL("\0\0\0\1z")};
    buf_reset(&part);
    assert_int_equal(buf_append(&part, commit), STATUS_OK);
    const struct command_prepare prepare = {.txn = fixture_id(a->id),
                                            .attempt = {a->number, 7},
                                            .begin = {a->begin},
                                            .request_hash = a->hash,
                                            .self = a->self,
                                            .participant_count = 2,
                                            .participants = anchors,
                                            .part = buf_slice(&part)};
    struct codec_writer w;
    buf_reset(&message);
    codec_writer_init(&w, &message);
    command_prepare_encode(&w, &prepare);
    const struct apply_result result = fixture_apply(&f, 1, buf_slice(&message));
    assert_int_equal(result.status, STATUS_OK);
    return answer_of(&result);
}

static struct command_txn_answer prepare(const struct attempt *a, const struct op *ops) {
    return prepare_part(a, fixture_commit(&f, fixture_id(a->id), ops));
}

static struct command_txn_answer prepare_reads(const struct attempt *a,
                                               const struct command_span *reads, uint32_t count,
                                               uint64_t snapshot) {
    const struct command_commit commit = {
        .txn = fixture_id(a->id), .snapshot = {snapshot}, .read_count = count, .reads = reads};
    struct codec_writer w;
    buf_reset(&f.payload);
    codec_writer_init(&w, &f.payload);
    command_commit_encode(&w, &commit);
    return prepare_part(a, buf_slice(&f.payload));
}

static struct command_txn_answer resolve_item(const struct command_resolution *item) {
    struct codec_writer w;
    buf_reset(&message);
    codec_writer_init(&w, &message);
    command_resolve_begin(&w, 1);
    command_resolution_encode(&w, item);
    const struct apply_result result = fixture_apply(&f, 1, buf_slice(&message));
    assert_int_equal(result.status, STATUS_OK);
    return answer_of(&result);
}

static struct command_resolution item_of(const struct attempt *a, enum command_decision decision,
                                         uint64_t commit) {
    return (struct command_resolution){.txn = fixture_id(a->id),
                                       .attempt = {a->number, 7},
                                       .begin = {a->begin},
                                       .decision = decision,
                                       .commit = {commit}};
}

// All of them in one entry; the answers in the same order.
static void resolve_items(const struct command_resolution *items, uint32_t count,
                          struct command_txn_answer *out) {
    struct codec_writer w;
    buf_reset(&message);
    codec_writer_init(&w, &message);
    command_resolve_begin(&w, count);
    for (uint32_t i = 0; i < count; i++) {
        command_resolution_encode(&w, &items[i]);
    }
    const struct apply_result result = fixture_apply(&f, 1, buf_slice(&message));
    assert_int_equal(result.status, STATUS_OK);
    struct codec_reader r;
    codec_reader_init(&r, result.payload);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(command_txn_answer_decode(&r, &out[i]), STATUS_OK);
    }
    assert_int_equal(codec_finish(&r), STATUS_OK);
}

static struct command_txn_answer resolve(const struct attempt *a, enum command_decision decision,
                                         uint64_t commit) {
    const struct command_resolution item = item_of(a, decision, commit);
    return resolve_item(&item);
}

#define COMMIT_AT(a, c) resolve(a, COMMAND_DECIDE_COMMIT, c)
#define ABORT(a)        resolve(a, COMMAND_DECIDE_ABORT, 0)
#define PROBE(a)        resolve(a, COMMAND_DECIDE_PROBE, 0)
#define FORGET(a)       resolve(a, COMMAND_DECIDE_FORGET, 0)
#define SETTLE(a)       resolve(a, COMMAND_DECIDE_SETTLE, 0)

static enum command_txn_state record_of(const struct attempt *a) {
    return apply_txn_state(f.apply, (struct shard_id){1}, fixture_id(a->id));
}

static const struct attempt one = {.id = 101, .number = 10, .begin = 5, .hash = 3};
static const struct attempt one_later = {.id = 101, .number = 20, .begin = 5, .hash = 3};
static const struct attempt two = {.id = 102, .number = 11, .begin = 6, .hash = 4};

static void assert_prepared(struct command_txn_answer answer) {
    assert_int_equal(answer.state, COMMAND_TXN_PREPARED);
}

static void assert_refused(struct command_txn_answer answer, enum command_txn_reason reason) {
    assert_int_equal(answer.state, COMMAND_TXN_ABORTED);
    assert_int_equal(answer.reason, reason);
}

// --- What a prepare does ---

static void test_apply_prepare_shows_nothing_and_its_commit_everything(void **state) {
    (void)state;
    const struct command_txn_answer prepared = prepare(&one, OPS(PUT("a", "1"), PUT("b", "2")));
    assert_prepared(prepared);
    assert_int_equal(prepared.timestamp.v, f.clock.v);
    end();
    assert_string_equal(fixture_get(&f, "a"), "-");
    assert_int_equal(unresolved().v, prepared.timestamp.v);
    f.clock.v += 100;
    const uint64_t commit = prepared.timestamp.v + 50;
    const struct command_txn_answer committed = COMMIT_AT(&one, commit);
    assert_int_equal(committed.state, COMMAND_TXN_COMMITTED);
    assert_true(committed.has_outcome);  // it is the home
    assert_int_equal(committed.outcome.timestamp.v, commit);
    assert_int_equal(resolved_count, 0);
    end();
    assert_int_equal(resolved_count, 1);
    assert_true(txn_id_equal(resolved_last, fixture_id(101)));
    assert_true(hlc_equal(unresolved(), HLC_MAX));
    assert_string_equal(fixture_get(&f, "a"), "1");
    assert_string_equal(fixture_get(&f, "b"), "2");
    struct mvcc_version version;
    const struct slice key = SLICE_LITERAL("\0\0\0\1a");
    assert_int_equal(mvcc_read(apply_reader(f.apply), key, HLC_MAX, &version), STATUS_OK);
    assert_int_equal(version.ts.v, commit);
    assert_int_equal(version.prepared.v, prepared.timestamp.v);
    struct command_outcome outcome;
    assert_int_equal(apply_outcome(f.apply, (struct shard_id){1}, fixture_id(101), &outcome),
                     STATUS_OK);
    assert_int_equal(outcome.request_hash, 3);
}

// Goal: whoever looks is told the attempt and its timestamps while it is prepared, when it ended,
// and that it was forgotten; of what never was, nothing.
static void test_apply_look_follows_the_record(void **state) {
    (void)state;
    struct apply_txn_view view;
    const struct shard_id shard = {1};
    apply_txn_look(f.apply, shard, fixture_id(101), &view);
    assert_int_equal(view.state, COMMAND_TXN_NONE);
    const uint64_t p = prepare(&one, OPS(PUT("a", "1"))).timestamp.v;
    apply_txn_look(f.apply, shard, fixture_id(101), &view);
    assert_int_equal(view.state, COMMAND_TXN_PREPARED);
    assert_int_equal(view.attempt.number, one.number);
    assert_int_equal(view.begin.v, one.begin);
    assert_int_equal(view.prepared.v, p);
    f.clock.v += 100;
    (void)COMMIT_AT(&one, p + 50);
    apply_txn_look(f.apply, shard, fixture_id(101), &view);
    assert_int_equal(view.state, COMMAND_TXN_COMMITTED);
    assert_int_equal(view.prepared.v, p);
    assert_int_equal(view.commit.v, p + 50);
    assert_false(view.forgotten);
    (void)FORGET(&one);
    end();
    apply_txn_look(f.apply, shard, fixture_id(101), &view);
    assert_true(view.forgotten);
    (void)PROBE(&two);
    apply_txn_look(f.apply, shard, fixture_id(102), &view);
    assert_int_equal(view.state, COMMAND_TXN_ABORTED);
    assert_int_equal(view.prepared.v, 0);
}

static void test_apply_prepare_survives_a_restart(void **state) {
    (void)state;
    assert_prepared(prepare(&one, OPS(PUT("a", "1"), DELETE_RANGE("m", "p"))));
    const uint64_t p = f.clock.v;
    end();
    restart();
    assert_int_equal(unresolved().v, p);
    assert_int_equal(fixture_run(&f, 1, OPS(PUT("z", "1"))).status, STATUS_OK);
    assert_refused(prepare(&two, OPS(PUT("n", "1"))), COMMAND_REASON_LOCKED);
    f.clock.v += 10;
    (void)COMMIT_AT(&one, p);
    end();
    assert_string_equal(fixture_get(&f, "a"), "1");
}

static void test_apply_prepare_again_is_told_the_same(void **state) {
    (void)state;
    const struct command_txn_answer first = prepare(&one, OPS(PUT("a", "1")));
    const struct command_txn_answer again = prepare(&one, OPS(PUT("a", "1")));
    assert_prepared(again);
    assert_int_equal(again.timestamp.v, first.timestamp.v);
    f.clock.v += 10;
    (void)COMMIT_AT(&one, first.timestamp.v + 1);
    const struct command_txn_answer late = prepare(&one, OPS(PUT("a", "1")));
    assert_int_equal(late.state, COMMAND_TXN_COMMITTED);
    assert_int_equal(late.timestamp.v, first.timestamp.v + 1);
}

// --- Conflicts ---

static void test_apply_prepare_refuses_what_is_locked(void **state) {
    (void)state;
    assert_prepared(prepare(&one_later, OPS(ABSENT("a"), PUT("b", "1"))));
    const struct command_txn_answer write = prepare(&two, OPS(PUT("b", "2")));
    assert_refused(write, COMMAND_REASON_LOCKED);
    assert_true(txn_id_equal(write.holder, fixture_id(101)));
    assert_true(slice_equal(write.key, SLICE_LITERAL("\0\0\0\1b")));
    assert_int_equal(record_of(&two), COMMAND_TXN_ABORTED);
    // The condition read "a": it may not change until the outcome is known.
    const struct attempt three = {.id = 103, .number = 12, .begin = 7};
    assert_refused(prepare(&three, OPS(PUT("a", "2"))), COMMAND_REASON_LOCKED);
    // A refusal is final, also when nothing is in the way any more.
    (void)ABORT(&one_later);
    assert_refused(prepare(&two, OPS(PUT("b", "2"))), COMMAND_REASON_SUPERSEDED);
}

static void test_apply_commit_waits_for_a_lock_and_leaves_nothing(void **state) {
    (void)state;
    assert_prepared(prepare(&one, OPS(PUT("a", "1"))));
    const struct txn_id id = fixture_id(500);
    struct apply_result result = fixture_apply(&f, 1, fixture_commit(&f, id, OPS(PUT("a", "2"))));
    assert_int_equal(result.status, STATUS_ABORTED_RETRY);
    const struct command_txn_answer answer = answer_of(&result);
    assert_int_equal(answer.reason, COMMAND_REASON_LOCKED);
    assert_true(txn_id_equal(answer.holder, fixture_id(101)));
    struct command_outcome outcome;
    assert_int_equal(apply_outcome(f.apply, (struct shard_id){1}, id, &outcome), STATUS_NOT_FOUND);
    (void)ABORT(&one);
    result = fixture_apply(&f, 1, fixture_commit(&f, id, OPS(PUT("a", "2"))));
    assert_int_equal(result.status, STATUS_OK);
    end();
    assert_string_equal(fixture_get(&f, "a"), "2");
}

static void test_apply_commit_of_an_id_that_is_prepared_waits(void **state) {
    (void)state;
    assert_prepared(prepare(&one, OPS(PUT("a", "1"))));
    const struct apply_result result =
        fixture_apply(&f, 1, fixture_commit(&f, fixture_id(101), OPS(PUT("a", "1"))));
    assert_int_equal(result.status, STATUS_ABORTED_RETRY);
}

static void test_apply_reads_must_still_stand(void **state) {
    (void)state;
    (void)fixture_run(&f, 1, OPS(PUT("c", "1")));
    const uint64_t version = f.clock.v;
    const struct command_span key = {SLICE_LITERAL("\0\0\0\1c"), SLICE_EMPTY};
    const struct command_span range = {SLICE_LITERAL("\0\0\0\1b"), SLICE_LITERAL("\0\0\0\1d")};
    const struct command_txn_answer stale = prepare_reads(&one, &key, 1, version - 1);
    assert_refused(stale, COMMAND_REASON_READ);
    assert_int_equal(stale.timestamp.v, version);
    assert_refused(prepare_reads(&two, &range, 1, version - 1), COMMAND_REASON_READ);
    const struct attempt three = {.id = 103, .number = 12, .begin = 7};
    assert_prepared(prepare_reads(&three, &range, 1, version));
    // Nobody slips a key into what was read, nor takes one out of it.
    const struct attempt four = {.id = 104, .number = 13, .begin = 8};
    assert_refused(prepare(&four, OPS(PUT("bb", "phantom"))), COMMAND_REASON_LOCKED);
    const struct attempt five = {.id = 105, .number = 14, .begin = 9};
    assert_prepared(prepare_reads(&five, &range, 1, version));  // readers share
    // A delete is a newer version too.
    (void)ABORT(&three);
    (void)ABORT(&five);
    (void)fixture_run(&f, 1, OPS(DELETE("c")));
    const struct attempt six = {.id = 106, .number = 15, .begin = 10};
    assert_refused(prepare_reads(&six, &key, 1, version), COMMAND_REASON_READ);
}

static void test_apply_conditions_of_a_prepare(void **state) {
    (void)state;
    const struct command_txn_answer answer =
        prepare(&one, OPS(ABSENT("a"), EXISTS("b"), PUT("a", "1")));
    assert_refused(answer, COMMAND_REASON_CONDITION);
    assert_int_equal(answer.failed_condition, 1);
    // The abort that ends the id tells the home how; a repeat hears of it.
    const struct command_resolution item = {.txn = fixture_id(101),
                                            .attempt = {10, 7},
                                            .begin = {5},
                                            .decision = COMMAND_DECIDE_ABORT,
                                            .outcome = STATUS_CONDITION_FAILED,
                                            .failed_condition = 9,
                                            .request_hash = 3};
    assert_true(resolve_item(&item).has_outcome);
    const struct command_txn_answer repeat =
        prepare(&one_later, OPS(ABSENT("a"), EXISTS("b"), PUT("a", "1")));
    assert_int_equal(repeat.state, COMMAND_TXN_ABORTED);
    assert_true(repeat.has_outcome);
    assert_int_equal(repeat.outcome.status, STATUS_CONDITION_FAILED);
    assert_int_equal(repeat.outcome.failed_condition, 9);
}

// --- Attempts ---

static void test_apply_attempts_are_admitted_upwards_only(void **state) {
    (void)state;
    assert_prepared(prepare(&one_later, OPS(PUT("a", "1"))));
    assert_refused(prepare(&one, OPS(PUT("a", "1"))), COMMAND_REASON_SUPERSEDED);
    (void)ABORT(&one_later);
    assert_refused(prepare(&one, OPS(PUT("a", "1"))), COMMAND_REASON_SUPERSEDED);
    const struct attempt last = {.id = 101, .number = 30, .begin = 5, .hash = 3};
    assert_prepared(prepare(&last, OPS(PUT("a", "1"))));
}

static void test_apply_higher_attempt_waits_until_the_lower_is_resolved(void **state) {
    (void)state;
    assert_prepared(prepare(&one, OPS(PUT("a", "1"))));
    assert_int_equal(prepare(&one_later, OPS(PUT("a", "1"))).state, COMMAND_TXN_BUSY);
    assert_int_equal(PROBE(&one_later).state, COMMAND_TXN_BUSY);
    assert_int_equal(ABORT(&one_later).state, COMMAND_TXN_BUSY);
    (void)COMMIT_AT(&one, f.clock.v);
    const struct command_txn_answer late = prepare(&one_later, OPS(PUT("a", "1")));
    assert_int_equal(late.state, COMMAND_TXN_ABORTED);
    assert_true(late.has_outcome);
    assert_int_equal(late.outcome.status, STATUS_OK);
    const struct attempt other = {.id = 101, .number = 40, .begin = 5, .hash = 99};
    assert_refused(prepare(&other, OPS(PUT("a", "9"))), COMMAND_REASON_OTHER_REQUEST);
    assert_true(mark_count("apply.prepare_of_another_request") > 0);
}

static void test_apply_lower_attempt_that_committed_excludes_higher_ones(void **state) {
    (void)state;
    const struct attempt elsewhere = {.id = 101, .number = 10, .begin = 5, .self = 1, .hash = 3};
    const struct attempt later = {.id = 101, .number = 20, .begin = 5, .self = 1, .hash = 3};
    assert_prepared(prepare(&elsewhere, OPS(PUT("a", "1"))));
    (void)COMMIT_AT(&elsewhere, f.clock.v);
    const struct command_txn_answer late = prepare(&later, OPS(PUT("a", "1")));
    assert_refused(late, COMMAND_REASON_SUPERSEDED);
    assert_false(late.has_outcome);  // only the home keeps one
    assert_int_equal(ABORT(&later).state, COMMAND_TXN_ABORTED);
    assert_int_equal(PROBE(&elsewhere).state, COMMAND_TXN_COMMITTED);
}

// --- Resolutions ---

static void test_apply_probe_of_nothing_is_a_tombstone(void **state) {
    (void)state;
    assert_int_equal(PROBE(&one).state, COMMAND_TXN_ABORTED);
    assert_int_equal(record_of(&one), COMMAND_TXN_ABORTED);
    assert_refused(prepare(&one, OPS(PUT("a", "1"))), COMMAND_REASON_SUPERSEDED);
    end();
    restart();
    assert_refused(prepare(&one, OPS(PUT("a", "1"))), COMMAND_REASON_SUPERSEDED);
}

static void test_apply_probe_leaves_what_is_prepared(void **state) {
    (void)state;
    const struct command_txn_answer prepared = prepare(&one, OPS(PUT("a", "1")));
    const struct command_txn_answer probed = PROBE(&one);
    assert_prepared(probed);
    assert_int_equal(probed.timestamp.v, prepared.timestamp.v);
    // A late abort of an earlier attempt, or a probe of it, touches nothing.
    const struct attempt earlier = {.id = 101, .number = 1, .begin = 5};
    assert_refused(PROBE(&earlier), COMMAND_REASON_SUPERSEDED);
    assert_refused(ABORT(&earlier), COMMAND_REASON_SUPERSEDED);
    assert_int_equal(record_of(&one), COMMAND_TXN_PREPARED);
}

static void test_apply_commit_that_comes_twice_or_of_nothing(void **state) {
    (void)state;
    assert_int_equal(COMMIT_AT(&one, 100).state, COMMAND_TXN_NONE);
    assert_int_equal(record_of(&one), COMMAND_TXN_NONE);
    assert_prepared(prepare(&two, OPS(PUT("a", "1"))));
    const uint64_t c = f.clock.v;
    assert_int_equal(COMMIT_AT(&two, c).state, COMMAND_TXN_COMMITTED);
    assert_int_equal(COMMIT_AT(&two, c).state, COMMAND_TXN_COMMITTED);
    assert_int_equal(PROBE(&two).state, COMMAND_TXN_COMMITTED);
    end();
    assert_string_equal(fixture_get(&f, "a"), "1");
    assert_true(mark_count("apply.commit_of_nothing") > 0);
}

static void test_apply_range_delete_of_a_transaction(void **state) {
    (void)state;
    (void)fixture_run(&f, 1, OPS(PUT("m1", "1"), PUT("m2", "2"), PUT("x", "3")));
    assert_prepared(prepare(&one, OPS(DELETE_RANGE("m", "n"), PUT("y", "4"))));
    const uint64_t c = f.clock.v;
    (void)fixture_run(&f, 1, OPS(PUT("w", "gathered")));
    (void)COMMIT_AT(&one, c);
    end();
    assert_string_equal(fixture_get(&f, "m1"), "-");
    assert_string_equal(fixture_get(&f, "m2"), "-");
    assert_string_equal(fixture_get(&f, "x"), "3");
    assert_string_equal(fixture_get(&f, "y"), "4");
}

static void test_apply_settled_id_never_commits(void **state) {
    (void)state;
    const struct command_txn_answer settled = SETTLE(&one);
    assert_refused(settled, COMMAND_REASON_SETTLED);
    assert_int_equal(settled.outcome.status, STATUS_CANCELLED);
    const struct command_txn_answer late = prepare(&one_later, OPS(PUT("a", "1")));
    assert_refused(late, COMMAND_REASON_SETTLED);
    assert_true(late.has_outcome);
    const struct apply_result result =
        fixture_apply(&f, 1, fixture_commit(&f, fixture_id(101), OPS(PUT("a", "1"))));
    assert_int_equal(result.status, STATUS_CANCELLED);
    // What has an outcome keeps it; what is prepared has to be resolved first.
    assert_prepared(prepare(&two, OPS(PUT("a", "1"))));
    assert_int_equal(SETTLE(&two).state, COMMAND_TXN_BUSY);
    (void)COMMIT_AT(&two, f.clock.v);
    assert_int_equal(SETTLE(&two).state, COMMAND_TXN_COMMITTED);
}

// One entry is one step: what its first items did is what the later ones meet, and nothing of it is
// in the store before all of it is.
static void test_apply_items_of_an_entry_meet_one_another(void **state) {
    (void)state;
    struct command_txn_answer answers[5];
    assert_prepared(prepare(&one, OPS(PUT("a", "1"))));
    assert_prepared(prepare(&two, OPS(PUT("m", "1"), DELETE_RANGE("n", "p"))));
    const uint64_t c = f.clock.v;
    end();
    const struct attempt unknown = {.id = 103, .number = 12, .begin = 7};
    const struct command_resolution items[] = {
        item_of(&unknown, COMMAND_DECIDE_PROBE, 0), item_of(&unknown, COMMAND_DECIDE_PROBE, 0),
        item_of(&one, COMMAND_DECIDE_COMMIT, c), item_of(&two, COMMAND_DECIDE_COMMIT, c),
        item_of(&one, COMMAND_DECIDE_SETTLE, 0)};
    f.clock.v += 10;
    resolve_items(items, 5, answers);
    assert_refused(answers[0], COMMAND_REASON_SUPERSEDED);
    assert_refused(answers[1], COMMAND_REASON_SUPERSEDED);
    assert_int_equal(answers[2].state, COMMAND_TXN_COMMITTED);
    assert_int_equal(answers[3].state, COMMAND_TXN_COMMITTED);
    assert_int_equal(answers[4].state, COMMAND_TXN_COMMITTED);
    assert_int_equal(answers[4].outcome.timestamp.v, c);
    end();
    assert_int_equal(record_of(&unknown), COMMAND_TXN_ABORTED);
    assert_string_equal(fixture_get(&f, "a"), "1");
}

// Two attempts of one id in one entry, and a range that wants the store up to date: were the first
// items in the store without the entry's index, a replay would raise the record to the second.
static void test_apply_half_an_entry_is_never_in_the_store(void **state) {
    (void)state;
    struct command_txn_answer answers[3];
    assert_prepared(prepare(&one, OPS(PUT("a", "1"))));
    assert_prepared(prepare(&two, OPS(DELETE_RANGE("n", "p"))));
    const uint64_t c = f.clock.v;
    const struct command_resolution items[] = {item_of(&one_later, COMMAND_DECIDE_PROBE, 0),
                                               item_of(&one, COMMAND_DECIDE_ABORT, 0),
                                               item_of(&two, COMMAND_DECIDE_COMMIT, c)};
    const uint64_t index = f.index[0];
    const struct hlc_ts clock = {f.clock.v + 10};
    for (int i = 0; i < 2; i++) {
        f.index[0] = index;
        f.clock = clock;
        resolve_items(items, 3, answers);
        assert_int_equal(answers[0].state, COMMAND_TXN_BUSY);
        assert_refused(answers[1], COMMAND_REASON_SUPERSEDED);
        assert_int_equal(answers[2].state, COMMAND_TXN_COMMITTED);
        if (i == 0) { restart(); }
    }
    end();
    assert_prepared(prepare(&one_later, OPS(PUT("a", "1"))));
}

// --- Dropping ---

static void test_apply_records_are_dropped_behind_the_horizon(void **state) {
    (void)state;
    apply_set_kept(f.apply, 1000);
    const struct attempt young = {.id = 101, .number = 10, .begin = f.clock.v, .self = 1};
    assert_prepared(prepare(&young, OPS(PUT("a", "1"))));
    (void)COMMIT_AT(&young, f.clock.v);
    const struct attempt dead = {.id = 102, .number = 11, .begin = f.clock.v};
    assert_int_equal(PROBE(&dead).state, COMMAND_TXN_ABORTED);
    f.clock = hlc_add_us(f.clock, 2000);
    // The tombstone is gone, and what it held off is too old now.
    assert_refused(prepare(&dead, OPS(PUT("b", "1"))), COMMAND_REASON_HORIZON);
    assert_int_equal(record_of(&dead), COMMAND_TXN_NONE);
    // One that is not resolved everywhere stays, however old.
    assert_int_equal(record_of(&young), COMMAND_TXN_COMMITTED);
    assert_int_equal(PROBE(&young).state, COMMAND_TXN_COMMITTED);
    assert_int_equal(SETTLE(&young).state, COMMAND_TXN_COMMITTED);
    (void)FORGET(&young);
    f.clock = hlc_add_us(f.clock, 2000);
    (void)fixture_run(&f, 1, OPS(PUT("c", "1")));
    assert_int_equal(record_of(&young), COMMAND_TXN_NONE);
    end();
    const uint64_t before = sim_engine_count(f.engine);
    while (apply_collect(f.apply, 100) > 0) {}
    assert_true(sim_engine_count(f.engine) < before);
    assert_string_equal(fixture_get(&f, "a"), "1");
    assert_true(mark_count("apply.prepare_below_horizon") > 0);
    assert_true(mark_count("apply.record_too_old") > 0);
    assert_true(mark_count("apply.settled_without_outcome") > 0);
}

// Another participant had resolved, forgotten and dropped it when a probe from before came there:
// whoever probed takes it for aborted.
static void test_apply_abort_of_what_committed_long_ago_changes_nothing(void **state) {
    (void)state;
    apply_set_kept(f.apply, 1000);
    const struct attempt late = {.id = 103, .number = 10, .begin = f.clock.v, .self = 1};
    assert_prepared(prepare(&late, OPS(PUT("a", "1"))));
    f.clock = hlc_add_us(f.clock, 2000);
    const uint64_t c = f.clock.v;
    (void)COMMIT_AT(&late, c);
    const struct command_txn_answer answer = ABORT(&late);
    assert_int_equal(answer.state, COMMAND_TXN_COMMITTED);
    assert_int_equal(answer.timestamp.v, c);
    assert_int_equal(record_of(&late), COMMAND_TXN_COMMITTED);
    end();
    assert_string_equal(fixture_get(&f, "a"), "1");
}

// Nobody said FORGET, so the record outlives the outcome: a repeat is told by the record.
static void test_apply_repeat_after_the_outcome_has_aged(void **state) {
    (void)state;
    apply_set_kept(f.apply, 1000);
    const struct attempt first = {.id = 101, .number = 10, .begin = f.clock.v, .hash = 3};
    assert_prepared(prepare(&first, OPS(PUT("a", "1"))));
    const uint64_t c = f.clock.v;
    (void)COMMIT_AT(&first, c);
    f.clock = hlc_add_us(f.clock, 2000);
    const struct attempt repeat = {.id = 101, .number = 20, .begin = f.clock.v, .hash = 3};
    const struct command_txn_answer late = prepare(&repeat, OPS(PUT("a", "1")));
    assert_int_equal(late.state, COMMAND_TXN_ABORTED);
    assert_true(late.has_outcome);
    assert_int_equal(late.outcome.status, STATUS_OK);
    assert_int_equal(late.outcome.timestamp.v, c);
    assert_int_equal(mark_count("apply.prepare_after_its_outcome"), 1);
}

static void test_apply_prepare_keeps_no_record_of_garbage(void **state) {
    (void)state;
    const uint8_t garbage[] = {0x20, 1, 2, 3};
    assert_int_equal(fixture_apply(&f, 1, slice_make(garbage, sizeof(garbage))).status,
                     STATUS_INVALID_ARGUMENT);
    const uint8_t more[] = {0x21, 1};
    assert_int_equal(fixture_apply(&f, 1, slice_make(more, sizeof(more))).status,
                     STATUS_INVALID_ARGUMENT);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_apply_prepare_shows_nothing_and_its_commit_everything),
        CASE(test_apply_look_follows_the_record),
        CASE(test_apply_prepare_survives_a_restart),
        CASE(test_apply_prepare_again_is_told_the_same),
        CASE(test_apply_prepare_refuses_what_is_locked),
        CASE(test_apply_commit_waits_for_a_lock_and_leaves_nothing),
        CASE(test_apply_commit_of_an_id_that_is_prepared_waits),
        CASE(test_apply_reads_must_still_stand),
        CASE(test_apply_conditions_of_a_prepare),
        CASE(test_apply_attempts_are_admitted_upwards_only),
        CASE(test_apply_higher_attempt_waits_until_the_lower_is_resolved),
        CASE(test_apply_lower_attempt_that_committed_excludes_higher_ones),
        CASE(test_apply_probe_of_nothing_is_a_tombstone),
        CASE(test_apply_probe_leaves_what_is_prepared),
        CASE(test_apply_commit_that_comes_twice_or_of_nothing),
        CASE(test_apply_range_delete_of_a_transaction),
        CASE(test_apply_settled_id_never_commits),
        CASE(test_apply_items_of_an_entry_meet_one_another),
        CASE(test_apply_half_an_entry_is_never_in_the_store),
        CASE(test_apply_records_are_dropped_behind_the_horizon),
        CASE(test_apply_abort_of_what_committed_long_ago_changes_nothing),
        CASE(test_apply_repeat_after_the_outcome_has_aged),
        CASE(test_apply_prepare_keeps_no_record_of_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
