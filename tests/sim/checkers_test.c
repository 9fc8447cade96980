// SPDX-License-Identifier: Apache-2.0
// The judges, judged: histories made by hand, good ones that must pass and bad ones that must not,
// each with the one flaw that its name says.
#include "dataplane/base/prng.h"
#include "tests/sim/history.h"
#include "tests/sim/linear.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 100000, X = 7, Y = 8, Z = 9 };

#define READ(from, to, v) \
    { LINEAR_READ, LINEAR_OK, from, to, v, 0 }
#define PUT(from, to, v) \
    { LINEAR_PUT, LINEAR_OK, from, to, v, 0 }
#define PUT_UNKNOWN(from, v) \
    { LINEAR_PUT, LINEAR_UNKNOWN, from, 0, v, 0 }
#define CAS(from, to, old, v) \
    { LINEAR_CAS, LINEAR_OK, from, to, v, old }
#define CAS_FAILED(from, to, old, v) \
    { LINEAR_CAS, LINEAR_FAILED, from, to, v, old }
#define CAS_UNKNOWN(from, old, v) \
    { LINEAR_CAS, LINEAR_UNKNOWN, from, 0, v, old }
#define CHECK(verdict, ...)                                                                  \
    do {                                                                                     \
        const struct linear_op ops[] = {__VA_ARGS__};                                        \
        assert_int_equal(linear_check(ops, (uint32_t)(sizeof(ops) / sizeof(ops[0])), STEPS), \
                         verdict);                                                           \
    } while (0)

// --- linear_check ---

static void test_linear_sequential_history_good(void **state) {
    (void)state;
    CHECK(LINEAR_GOOD, READ(1, 2, 0), PUT(3, 4, X), READ(5, 6, X), PUT(7, 8, 0), READ(9, 10, 0));
}

static void test_linear_read_of_overwritten_value_bad(void **state) {
    (void)state;
    CHECK(LINEAR_BAD, PUT(1, 2, X), PUT(3, 4, Y), READ(5, 6, X));
}

static void test_linear_read_before_the_write_bad(void **state) {
    (void)state;
    CHECK(LINEAR_BAD, READ(1, 2, X), PUT(3, 4, X));
}

static void test_linear_lost_write_bad(void **state) {
    (void)state;
    CHECK(LINEAR_BAD, PUT(1, 2, X), READ(3, 4, 0));
}

static void test_linear_concurrent_writes_either_order_good(void **state) {
    (void)state;
    CHECK(LINEAR_GOOD, PUT(1, 10, X), PUT(1, 10, Y), READ(11, 12, X));
    CHECK(LINEAR_GOOD, PUT(1, 10, X), PUT(1, 10, Y), READ(11, 12, Y));
}

static void test_linear_two_readers_disagree_on_order_bad(void **state) {
    (void)state;
    CHECK(LINEAR_BAD, PUT(1, 10, X), PUT(1, 10, Y), READ(11, 12, X), READ(13, 14, Y));
}

static void test_linear_new_then_old_during_a_write_bad(void **state) {
    (void)state;
    CHECK(LINEAR_BAD, PUT(1, 2, X), PUT(3, 20, Y), READ(4, 5, Y), READ(6, 7, X));
}

static void test_linear_unknown_write_late_good(void **state) {
    (void)state;
    CHECK(LINEAR_GOOD, PUT(1, 2, X), PUT_UNKNOWN(3, Y), READ(10, 11, X), READ(12, 13, Y));
}

static void test_linear_unknown_write_never_good(void **state) {
    (void)state;
    CHECK(LINEAR_GOOD, PUT(1, 2, X), PUT_UNKNOWN(3, Y), READ(10, 11, X), READ(12, 13, X));
}

static void test_linear_unknown_write_seen_then_gone_bad(void **state) {
    (void)state;
    CHECK(LINEAR_BAD, PUT(1, 2, X), PUT_UNKNOWN(3, Y), READ(10, 11, Y), READ(12, 13, X));
}

static void test_linear_unknown_write_seen_before_it_began_bad(void **state) {
    (void)state;
    CHECK(LINEAR_BAD, READ(1, 2, Y), PUT_UNKNOWN(3, Y));
}

static void test_linear_conditions_good(void **state) {
    (void)state;
    CHECK(LINEAR_GOOD, CAS(1, 2, 0, X), CAS(3, 4, X, Y), CAS_FAILED(5, 6, X, Z), READ(7, 8, Y));
}

static void test_linear_two_conditions_on_one_value_bad(void **state) {
    (void)state;
    CHECK(LINEAR_BAD, PUT(1, 2, X), CAS(3, 10, X, Y), CAS(3, 10, X, Z));
}

static void test_linear_condition_failed_although_it_held_bad(void **state) {
    (void)state;
    CHECK(LINEAR_BAD, PUT(1, 2, X), CAS_FAILED(3, 4, X, Y), READ(5, 6, X));
}

// Nobody read Y, but the condition that failed can only have met it.
static void test_linear_condition_failed_by_unread_unknown_write_good(void **state) {
    (void)state;
    CHECK(LINEAR_GOOD, PUT(1, 2, X), PUT_UNKNOWN(3, Y), CAS_FAILED(5, 6, X, Z));
}

static void test_linear_unknown_condition_takes_effect_good(void **state) {
    (void)state;
    CHECK(LINEAR_GOOD, PUT(1, 2, X), CAS_UNKNOWN(3, X, Y), READ(8, 9, Y));
    CHECK(LINEAR_BAD, PUT(1, 2, X), CAS_UNKNOWN(3, Z, Y), READ(8, 9, Y));
}

static void test_linear_step_budget_undecided(void **state) {
    (void)state;
    const struct linear_op ops[] = {PUT(1, 2, X), READ(3, 4, X)};
    assert_int_equal(linear_check(ops, 2, 1), LINEAR_UNDECIDED);
}

enum { RANDOM_OPS = 120 };

// A register that a random schedule plays by the rules: each operation happens at one instant
// between its call and its answer.
static void play(struct linear_op *ops, struct prng *prng) {
    uint64_t held = 0;
    for (uint32_t i = 0; i < RANDOM_OPS; i++) {
        uint64_t instant = 100 * (uint64_t)(i + 1);
        struct linear_op *op = &ops[i];
        *op = (struct linear_op){.invoke = instant - prng_below(prng, 100),
                                 .ret = instant + prng_below(prng, 400),
                                 .value = i + 1};
        // Whatever is called earlier must not depend on what happens later: reads alone stretch.
        op->invoke = op->invoke > 300 ? op->invoke - 300 : 1;
        op->kind = (enum linear_kind)prng_below(prng, 3);
        if (op->kind == LINEAR_READ) { op->value = held; }
        if (op->kind == LINEAR_CAS) {
            op->expected = prng_chance(prng, 1, 2) ? held : prng_below(prng, i + 1);
            if (op->expected != held) { op->outcome = LINEAR_FAILED; }
        }
        bool wrote = op->kind != LINEAR_READ && op->outcome == LINEAR_OK;
        bool lost = wrote && prng_chance(prng, 1, 8);
        if (lost) { op->outcome = LINEAR_UNKNOWN; }
        if (wrote && !(lost && prng_chance(prng, 1, 2))) { held = op->value; }
    }
}

static void test_linear_random_good_histories_pass(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct linear_op ops[RANDOM_OPS];
        struct prng prng;
        prng_init(&prng, seed);
        play(ops, &prng);
        assert_int_not_equal(linear_check(ops, RANDOM_OPS, STEPS), LINEAR_BAD);
    }
}

// One read of each history is made to see a value that was overwritten long before. Where the first
// write's outcome is unknown, it may explain the read by happening late, and rightly so.
static void test_linear_random_stale_read_found(void **state) {
    (void)state;
    uint32_t found = 0;
    uint32_t planted = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct linear_op ops[RANDOM_OPS];
        struct prng prng;
        prng_init(&prng, seed);
        play(ops, &prng);
        if (ops[0].kind != LINEAR_PUT || ops[0].outcome != LINEAR_OK) { continue; }
        planted++;
        ops[RANDOM_OPS - 1] = (struct linear_op)READ(1000000, 1000001, 1);
        ops[RANDOM_OPS - 2] = (struct linear_op)PUT(900000, 900001, 999);
        found += linear_check(ops, RANDOM_OPS, STEPS) == LINEAR_BAD;
    }
    assert_int_equal(found, planted);
    assert_true(planted > 30);
}

// --- The audits ---

static bool judge(const struct sim_op *ops, uint32_t count, const struct sim_version *versions,
                  uint32_t version_count) {
    struct sim_history history;
    sim_history_init(&history);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = sim_history_begin(&history, &ops[i]);
        history.ops[at].outcome = ops[i].outcome;
    }
    struct sim_versions of_key = {versions, version_count};
    struct sim_audit audit = {
        .history = &history, .key_count = 1, .versions = &of_key, .steps_max = STEPS};
    bool good = sim_audit(&audit);
    assert_true(good == (audit.failure[0] == '\0'));
    sim_history_deinit(&history);
    return good;
}

static struct sim_op commit(uint64_t at, uint64_t ts, uint64_t value) {
    return (struct sim_op){.kind = SIM_OP_COMMIT,
                           .outcome = SIM_OK,
                           .invoke_ns = at,
                           .return_ns = at + 1,
                           .ts = {ts},
                           .term = 1,
                           .index = at,
                           .item_count = 1,
                           .items = {{.value = value}}};
}

static struct sim_op get(uint64_t at, uint64_t ts, uint64_t value, uint64_t version) {
    struct sim_op op = commit(at, ts, value);
    op.kind = SIM_OP_READ;
    op.items[0].version.v = version;
    return op;
}

#define JUDGE(ops, versions)                                         \
    judge(ops, (uint32_t)(sizeof(ops) / sizeof((ops)[0])), versions, \
          (uint32_t)(sizeof(versions) / sizeof((versions)[0])))

static const struct sim_version two[] = {{{10}, X}, {{20}, Y}};

static void test_audit_plain_history_good(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), get(3, 15, X, 10), commit(5, 20, Y),
                           get(7, 25, Y, 20)};
    assert_true(JUDGE(ops, two));
}

static void test_audit_acknowledged_write_lost_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), commit(3, 20, Y), commit(5, 30, Z)};
    assert_false(JUDGE(ops, two));
}

static void test_audit_write_at_another_timestamp_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), commit(3, 21, Y)};
    assert_false(JUDGE(ops, two));
}

static void test_audit_refused_write_there_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), commit(3, 20, Y)};
    ops[1].outcome = SIM_REFUSED;
    assert_false(JUDGE(ops, two));
    ops[1].outcome = SIM_UNKNOWN;
    assert_true(JUDGE(ops, two));
}

static void test_audit_value_from_nowhere_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X)};
    assert_false(JUDGE(ops, two));
}

static void test_audit_written_twice_bad(void **state) {
    (void)state;
    static const struct sim_version versions[] = {{{10}, X}, {{20}, X}};
    struct sim_op ops[] = {commit(1, 10, X)};
    ops[0].outcome = SIM_UNKNOWN;
    assert_false(JUDGE(ops, versions));
}

static void test_audit_read_below_its_snapshot_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), commit(3, 20, Y), get(3, 25, X, 10)};
    assert_false(JUDGE(ops, two));
}

static void test_audit_read_names_another_version_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), commit(3, 20, Y), get(5, 25, Y, 10)};
    assert_false(JUDGE(ops, two));
}

static void test_audit_snapshot_below_acknowledged_write_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), commit(3, 20, Y), get(7, 15, X, 10)};
    assert_false(JUDGE(ops, two));
}

static void test_audit_write_below_answered_read_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), get(3, 22, X, 10), commit(5, 20, Y)};
    assert_false(JUDGE(ops, two));
}

static void test_audit_condition_held_then_failed_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), commit(3, 15, Z), commit(5, 20, Y)};
    ops[1].outcome = SIM_CONDITION_FAILED;
    ops[1].conditional = true;
    ops[1].expected = X;
    assert_false(JUDGE(ops, two));
    ops[1].expected = Y;
    assert_true(JUDGE(ops, two));
}

static void test_audit_committed_on_a_false_condition_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), commit(3, 20, Y)};
    ops[1].conditional = true;
    ops[1].expected = X;
    assert_true(JUDGE(ops, two));
    ops[1].expected = Z;
    assert_false(JUDGE(ops, two));
}

static void test_audit_half_applied_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), commit(3, 20, Y)};
    ops[1].item_count = 2;
    ops[1].items[1].value = Z;
    ops[1].outcome = SIM_UNKNOWN;
    assert_false(JUDGE(ops, two));
}

static void test_audit_certificate_runs_backwards_bad(void **state) {
    (void)state;
    struct sim_op ops[] = {commit(1, 10, X), commit(3, 20, Y), get(5, 25, Y, 20)};
    ops[2].index = 1;
    assert_false(JUDGE(ops, two));
    ops[2].term = 2;
    assert_true(JUDGE(ops, two));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_sequential_history_good),
        cmocka_unit_test(test_linear_read_of_overwritten_value_bad),
        cmocka_unit_test(test_linear_read_before_the_write_bad),
        cmocka_unit_test(test_linear_lost_write_bad),
        cmocka_unit_test(test_linear_concurrent_writes_either_order_good),
        cmocka_unit_test(test_linear_two_readers_disagree_on_order_bad),
        cmocka_unit_test(test_linear_new_then_old_during_a_write_bad),
        cmocka_unit_test(test_linear_unknown_write_late_good),
        cmocka_unit_test(test_linear_unknown_write_never_good),
        cmocka_unit_test(test_linear_unknown_write_seen_then_gone_bad),
        cmocka_unit_test(test_linear_unknown_write_seen_before_it_began_bad),
        cmocka_unit_test(test_linear_conditions_good),
        cmocka_unit_test(test_linear_two_conditions_on_one_value_bad),
        cmocka_unit_test(test_linear_condition_failed_although_it_held_bad),
        cmocka_unit_test(test_linear_condition_failed_by_unread_unknown_write_good),
        cmocka_unit_test(test_linear_unknown_condition_takes_effect_good),
        cmocka_unit_test(test_linear_step_budget_undecided),
        cmocka_unit_test(test_linear_random_good_histories_pass),
        cmocka_unit_test(test_linear_random_stale_read_found),
        cmocka_unit_test(test_audit_plain_history_good),
        cmocka_unit_test(test_audit_acknowledged_write_lost_bad),
        cmocka_unit_test(test_audit_write_at_another_timestamp_bad),
        cmocka_unit_test(test_audit_refused_write_there_bad),
        cmocka_unit_test(test_audit_value_from_nowhere_bad),
        cmocka_unit_test(test_audit_written_twice_bad),
        cmocka_unit_test(test_audit_read_below_its_snapshot_bad),
        cmocka_unit_test(test_audit_read_names_another_version_bad),
        cmocka_unit_test(test_audit_snapshot_below_acknowledged_write_bad),
        cmocka_unit_test(test_audit_write_below_answered_read_bad),
        cmocka_unit_test(test_audit_condition_held_then_failed_bad),
        cmocka_unit_test(test_audit_committed_on_a_false_condition_bad),
        cmocka_unit_test(test_audit_half_applied_bad),
        cmocka_unit_test(test_audit_certificate_runs_backwards_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
