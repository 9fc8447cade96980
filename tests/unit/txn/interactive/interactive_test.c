// SPDX-License-Identifier: Apache-2.0
// What a transaction has written and read: single cases. The model is in interactive_model_test.c.
#include "txn/interactive/interactive.h"

#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/command/command_merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES_MAX = 1 << 20, NAMES = 64 };

static struct interactive txn;
static struct interactive_refusal why;
static uint8_t names[NAMES][SHARD_KEY_SIZE_MAX];
static uint32_t names_used;
static struct buf encoded[NAMES];

static int setup(void **state) {
    (void)state;
    interactive_init(&txn, BYTES_MAX);
    why = (struct interactive_refusal){0};
    names_used = 0;
    for (int i = 0; i < NAMES; i++) {
        buf_init(&encoded[i], COMMAND_MERGE_SIZE_MAX);
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    interactive_check(&txn);
    interactive_deinit(&txn);
    for (int i = 0; i < NAMES; i++) {
        buf_deinit(&encoded[i]);
    }
    return 0;
}

// A full key of keyspace 1.
static struct slice key(const char *text) {
    uint8_t *out = names[names_used++ % NAMES];
    memcpy(out, "\0\0\0\1", SHARD_KEYSPACE_PREFIX_SIZE);
    memcpy(out + SHARD_KEYSPACE_PREFIX_SIZE, text, strlen(text));
    return slice_make(out, SHARD_KEYSPACE_PREFIX_SIZE + strlen(text));
}

static enum status apply(enum command_mutation_kind kind, struct slice at, struct slice value) {
    const struct command_mutation mutation = {kind, at, value};
    const enum status st = interactive_write(&txn, &mutation, &why);
    if (interactive_mutations(&txn) < NAMES) { interactive_check(&txn); }
    return st;
}

static void put(const char *at, const char *value) {
    assert_int_equal(apply(COMMAND_PUT, key(at), slice_from_string(value)), STATUS_OK);
}

static void delete (const char *at) {
    assert_int_equal(apply(COMMAND_DELETE, key(at), SLICE_EMPTY), STATUS_OK);
}

static void delete_range(const char *start, const char *end) {
    assert_int_equal(apply(COMMAND_DELETE_RANGE, key(start), key(end)), STATUS_OK);
}

static enum status merge(const char *at, const struct command_merge *operation) {
    struct buf *out = &encoded[names_used % NAMES];
    struct codec_writer w;
    buf_reset(out);
    codec_writer_init(&w, out);
    command_merge_encode(&w, operation);
    return apply(COMMAND_MERGE, key(at), buf_slice(out));
}

static enum status add(const char *at, int64_t amount) {
    const struct command_merge operation = {.type = COMMAND_MERGE_COUNTER, .amount = amount};
    return merge(at, &operation);
}

static enum status element(const char *at, const char *text, bool removes) {
    const struct command_merge operation = {
        .type = COMMAND_MERGE_SET, .removes = removes, .element = slice_from_string(text)};
    return merge(at, &operation);
}

static enum interactive_found find(const char *at, struct slice *out) {
    return interactive_find(&txn, key(at), out);
}

static void assert_shows(const char *at, enum interactive_found found, const char *value) {
    struct slice shown;
    assert_int_equal(find(at, &shown), found);
    assert_int_equal(shown.size, strlen(value));
    assert_memory_equal(shown.data, value, shown.size);
}

static struct command_merge merged(const char *at) {
    struct command_merge out;
    struct slice shown;
    assert_int_equal(find(at, &shown), INTERACTIVE_MERGED);
    assert_int_equal(command_merge_decode(shown, &out), STATUS_OK);
    return out;
}

// What a commit would carry, as "put a, delete_range b d".
static void assert_commit(const char *expected) {
    static const char *const kinds[] = {"", "put", "delete", "range", "merge"};
    char text[512] = "";
    size_t size = 0;
    struct command_commit commit;
    assert_int_equal(interactive_commit(&txn, &commit), STATUS_OK);
    for (uint32_t i = 0; i < commit.mutation_count; i++) {
        const struct command_mutation *m = &commit.mutations[i];
        size +=
            (size_t)snprintf(text + size, sizeof(text) - size, "%s%s %.*s", i == 0 ? "" : ", ",
                             kinds[m->kind], (int)m->key.size - 4, (const char *)m->key.data + 4);
        if (m->kind != COMMAND_DELETE_RANGE) { continue; }
        size += (size_t)snprintf(text + size, sizeof(text) - size, " %.*s", (int)m->value.size - 4,
                                 (const char *)m->value.data + 4);
    }
    assert_string_equal(text, expected);
    commit.txn = (struct txn_id){{1}};
    if (commit.mutation_count > 0) {
        commit.read_count = 0;
        assert_int_equal(command_commit_check(&commit, NULL), STATUS_OK);
    }
}

// --- Writes ---

static void test_interactive_later_writes_replace(void **state) {
    (void)state;
    put("a", "1");
    put("b", "1");
    put("a", "2");
    assert_shows("a", INTERACTIVE_PUT, "2");
    delete ("b");
    assert_shows("b", INTERACTIVE_DELETED, "");
    assert_shows("c", INTERACTIVE_UNTOUCHED, "");
    assert_int_equal(add("c", 5), STATUS_OK);
    put("c", "plain");
    assert_shows("c", INTERACTIVE_PUT, "plain");
    assert_commit("put a, delete b, put c");
}

static void test_interactive_commit_keeps_the_order_of_writing(void **state) {
    (void)state;
    put("m", "1");
    put("a", "1");
    delete_range("p", "z");
    put("m", "2");  // still the first: its shard keeps the outcome
    put("q", "1");
    assert_commit("put m, put a, range p q, range q z, put q");
    delete_range("k", "n");  // takes the place of what it takes in
    assert_commit("range k n, put a, range p q, range q z, put q");
}

static void test_interactive_ranges_unite_and_are_cut(void **state) {
    (void)state;
    const uint64_t before = mark_count("interactive.range_cut");
    delete_range("b", "d");
    delete_range("f", "h");
    delete_range("c", "g");
    assert_int_equal(interactive_mutations(&txn), 1);
    assert_shows("b", INTERACTIVE_DELETED, "");
    assert_shows("g", INTERACTIVE_DELETED, "");
    assert_shows("h", INTERACTIVE_UNTOUCHED, "");
    delete ("c");  // it is deleted already
    assert_int_equal(interactive_mutations(&txn), 1);
    put("b", "first");
    assert_shows("b", INTERACTIVE_PUT, "first");
    assert_shows("bb", INTERACTIVE_DELETED, "");
    put("e", "middle");
    assert_int_equal(interactive_mutations(&txn), 4);
    assert_int_equal(mark_count("interactive.range_cut"), before + 2);
    delete_range("a", "z");
    assert_int_equal(interactive_mutations(&txn), 1);
    assert_shows("e", INTERACTIVE_DELETED, "");
}

// The successor of a key of the largest size is no longer than it.
static void test_interactive_cuts_at_the_largest_keys(void **state) {
    (void)state;
    uint8_t large[SHARD_KEY_SIZE_MAX];
    memcpy(large, "\0\0\0\1", SHARD_KEYSPACE_PREFIX_SIZE);
    memset(large + SHARD_KEYSPACE_PREFIX_SIZE, 0xFF, SHARD_USER_KEY_SIZE_MAX);
    large[SHARD_KEYSPACE_PREFIX_SIZE] = 'f';
    delete_range("a", "z");
    assert_int_equal(apply(COMMAND_PUT, slice_make(large, sizeof(large)), SLICE_LITERAL("x")),
                     STATUS_OK);
    assert_int_equal(interactive_mutations(&txn), 3);
    assert_shows("f", INTERACTIVE_DELETED, "");
    assert_shows("g", INTERACTIVE_DELETED, "");
    struct command_commit commit;
    assert_int_equal(interactive_commit(&txn, &commit), STATUS_OK);
    commit.txn = (struct txn_id){{1}};
    assert_int_equal(command_commit_check(&commit, NULL), STATUS_OK);
    // And at the border of the system's keys.
    large[SHARD_KEYSPACE_PREFIX_SIZE] = 0xFF;
    large[SHARD_KEYSPACE_PREFIX_SIZE + 1] = 0xFE;
    const struct slice end = slice_make("\0\0\0\2", SHARD_KEYSPACE_PREFIX_SIZE);
    assert_int_equal(apply(COMMAND_DELETE_RANGE, key("y"), end), STATUS_OK);
    assert_int_equal(apply(COMMAND_PUT, slice_make(large, sizeof(large)), SLICE_LITERAL("x")),
                     STATUS_OK);
    assert_int_equal(interactive_commit(&txn, &commit), STATUS_OK);
    commit.txn = (struct txn_id){{1}};
    assert_int_equal(command_commit_check(&commit, NULL), STATUS_OK);
}

// --- Merges ---

static void test_interactive_counters_add_up(void **state) {
    (void)state;
    assert_int_equal(add("n", 5), STATUS_OK);
    assert_int_equal(add("n", -7), STATUS_OK);
    assert_int_equal(merged("n").amount, -2);
    assert_int_equal(interactive_mutations(&txn), 1);
    struct buf out;
    struct slice shown;
    buf_init(&out, 100);
    (void)find("n", &shown);
    assert_int_equal(interactive_fold(shown, SLICE_LITERAL("44"), true, &out), STATUS_OK);
    assert_memory_equal(out.data, "42", 2);
    buf_reset(&out);
    assert_int_equal(interactive_fold(shown, SLICE_EMPTY, false, &out), STATUS_OK);
    assert_memory_equal(out.data, "-2", 2);
    assert_int_equal(interactive_fold(shown, SLICE_LITERAL("x"), true, &out),
                     STATUS_FAILED_PRECONDITION);
    buf_deinit(&out);
    assert_int_equal(add("n", INT64_MIN), STATUS_INVALID_ARGUMENT);  // with -2: beyond 64 bits
    assert_int_equal(why.limit, 0);
}

// Withdraw 10 from at least 10, then 5 from at least 5: together 15 from at least 15.
static void test_interactive_bounds_hold_one_after_the_other(void **state) {
    (void)state;
    struct command_merge take = {
        .type = COMMAND_MERGE_COUNTER, .amount = -10, .has_min = true, .min = 0};
    assert_int_equal(merge("n", &take), STATUS_OK);
    take.amount = -5;
    assert_int_equal(merge("n", &take), STATUS_OK);
    assert_int_equal(merged("n").amount, -15);
    assert_int_equal(merged("n").min, 0);
    // Withdraw first, then pay in: the number must have been there before.
    take.amount = 100;
    take.has_min = false;
    assert_int_equal(merge("n", &take), STATUS_OK);
    assert_int_equal(merged("n").amount, 85);
    assert_true(merged("n").has_min);
    assert_int_equal(merged("n").min, 100);
    struct command_merge top = {
        .type = COMMAND_MERGE_COUNTER, .amount = 1, .has_max = true, .max = 50};
    assert_int_equal(merge("n", &top), STATUS_INVALID_ARGUMENT);  // 101 and at most 50: never
    top.max = 500;
    assert_int_equal(merge("m", &top), STATUS_OK);
    top.amount = -3;
    top.max = 600;
    assert_int_equal(merge("m", &top), STATUS_OK);
    assert_int_equal(merged("m").max, 497);
}

static void test_interactive_refuses_merges_that_cannot_be_one(void **state) {
    (void)state;
    const uint64_t before = mark_count("interactive.merge_refused");
    put("p", "1");
    delete ("d");
    delete_range("r", "s");
    assert_int_equal(add("p", 1), STATUS_INVALID_ARGUMENT);
    assert_int_equal(add("d", 1), STATUS_INVALID_ARGUMENT);
    assert_int_equal(add("r1", 1), STATUS_INVALID_ARGUMENT);
    assert_int_equal(element("e", "x", false), STATUS_OK);
    assert_int_equal(element("e", "x", true), STATUS_OK);
    assert_true(merged("e").removes);
    assert_int_equal(element("e", "y", false), STATUS_INVALID_ARGUMENT);
    assert_int_equal(add("e", 1), STATUS_INVALID_ARGUMENT);
    assert_int_equal(mark_count("interactive.merge_refused"), before + 5);
    struct command_merge value = {.type = COMMAND_MERGE_REGISTER, .element = SLICE_LITERAL("1")};
    assert_int_equal(merge("g", &value), STATUS_OK);
    value.element = SLICE_LITERAL("2");
    assert_int_equal(merge("g", &value), STATUS_OK);
    assert_memory_equal(merged("g").element.data, "2", 1);
}

// --- Reads ---

static void note(const char *start, const char *end) {
    const enum status st = end == NULL ? interactive_note_key(&txn, key(start), &why)
                                       : interactive_note_span(&txn, key(start), key(end), &why);
    assert_int_equal(st, STATUS_OK);
    interactive_check(&txn);
}

static void assert_reads(const char *expected) {
    char text[512] = "";
    size_t size = 0;
    struct command_commit commit;
    assert_int_equal(interactive_commit(&txn, &commit), STATUS_OK);
    for (uint32_t i = 0; i < commit.read_count; i++) {
        const struct command_span *span = &commit.reads[i];
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%s%.*s", i == 0 ? "" : " ",
                                 (int)span->start.size - 4, (const char *)span->start.data + 4);
        if (span->end.size == 0) { continue; }
        size += (size_t)snprintf(text + size, sizeof(text) - size, "-%.*s", (int)span->end.size - 4,
                                 (const char *)span->end.data + 4);
    }
    assert_string_equal(text, expected);
}

static void test_interactive_reads_are_as_few_as_they_can_be(void **state) {
    (void)state;
    note("c", NULL);
    note("a", NULL);
    note("c", NULL);
    assert_reads("a c");
    note("e", "g");
    note("f", NULL);  // inside
    note("g", NULL);  // at its end, which is outside
    assert_reads("a c e-g g");
    note("b", "e");
    assert_reads("a b-g g");
    note("g", "h");
    assert_reads("a b-h");
    note("c", "d");
    assert_reads("a b-h");
    note("x", "z");
    note("a", "y");
    assert_reads("a-z");
}

// --- Limits ---

static void test_interactive_is_bounded(void **state) {
    (void)state;
    char name[16];
    const uint64_t many = mark_count("interactive.too_many");
    const uint64_t large = mark_count("interactive.too_large");
    for (uint32_t i = 0; i < COMMAND_OPS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "k%05u", (i * 7919) % COMMAND_OPS_MAX);
        if (i % 2 == 0) {
            put(name, "v");
        } else {
            assert_int_equal(interactive_note_key(&txn, key(name), &why), STATUS_OK);
        }
    }
    assert_int_equal(apply(COMMAND_PUT, key("one more"), SLICE_EMPTY), STATUS_INVALID_ARGUMENT);
    assert_int_equal(why.limit, COMMAND_OPS_MAX);
    assert_int_equal(interactive_note_key(&txn, key("one more"), &why), STATUS_INVALID_ARGUMENT);
    put("k00000", "instead");  // which was there
    assert_int_equal(mark_count("interactive.too_many"), many + 2);
    interactive_deinit(&txn);
    interactive_init(&txn, 100);
    uint8_t value[90] = {0};
    assert_int_equal(apply(COMMAND_PUT, key("a"), slice_make(value, sizeof(value))), STATUS_OK);
    assert_int_equal(apply(COMMAND_PUT, key("b"), slice_make(value, sizeof(value))),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(why.limit, 100);
    assert_int_equal(mark_count("interactive.too_large"), large + 1);
    put("a", "smaller");
    put("b", "fits now");
}

static void test_interactive_without_memory_says_so(void **state) {
    (void)state;
    for (uint64_t n = 1; n < 4; n++) {
        mem_fault_set(n);
        const enum status st = apply(COMMAND_PUT, key("a"), SLICE_LITERAL("1"));
        mem_fault_set(0);
        if (st != STATUS_OK) { assert_int_equal(st, STATUS_RESOURCE_EXHAUSTED); }
        mem_fault_set(n);
        const enum status noted = interactive_note_key(&txn, key("a"), &why);
        mem_fault_set(0);
        if (noted != STATUS_OK) { assert_int_equal(noted, STATUS_RESOURCE_EXHAUSTED); }
        interactive_check(&txn);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_interactive_later_writes_replace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interactive_commit_keeps_the_order_of_writing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_interactive_ranges_unite_and_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interactive_cuts_at_the_largest_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interactive_counters_add_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interactive_bounds_hold_one_after_the_other, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_interactive_refuses_merges_that_cannot_be_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_interactive_reads_are_as_few_as_they_can_be, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_interactive_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interactive_without_memory_says_so, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
