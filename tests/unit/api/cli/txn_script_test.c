// SPDX-License-Identifier: Apache-2.0
// Scripts of transactions: what is read, and what is refused with its line.
#include "api/cli/txn_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static enum status read_text(struct txn_script *script, struct slice text, bool literal,
                             struct err *err) {
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(fwrite(text.data, 1, text.size, file), text.size);
    rewind(file);
    enum status st = txn_script_read(script, file, literal, err);
    assert_int_equal(fclose(file), 0);
    return st;
}

static void expect_step(const struct txn_script *script, size_t i, enum txn_script_op op,
                        const char *key, const char *value) {
    assert_true(i < script->count);
    const struct txn_script_step *step = &script->steps[i];
    assert_int_equal(step->op, op);
    assert_true(slice_equal(buf_slice(&step->key), slice_from_string(key)));
    assert_true(slice_equal(buf_slice(&step->value), slice_from_string(value)));
}

// Goal: every step with its arguments, whatever blanks stand around them, and the line it is from.
static void test_txn_script_reads_every_step(void **state) {
    (void)state;
    static const char text[] = "# a comment\n"
                               "\n"
                               "get a\n"
                               "\t scan \n"
                               "scan b\r\n"
                               "scan b c\n"
                               "put d two words  and\\ttab \n"
                               "put e \"\"\n"
                               "incr f\n"
                               "incr f -12\n"
                               "   delete\tg\n"
                               "delete-range h i\n"
                               "assert j {\"x\": 1}\n"
                               "assert-absent k#";
    struct txn_script script;
    struct err err = {0};
    assert_int_equal(read_text(&script, slice_from_string(text), false, &err), STATUS_OK);
    assert_int_equal(script.count, 12);
    expect_step(&script, 0, TXN_SCRIPT_GET, "a", "");
    expect_step(&script, 1, TXN_SCRIPT_SCAN, "", "");
    expect_step(&script, 2, TXN_SCRIPT_SCAN, "b", "");
    expect_step(&script, 3, TXN_SCRIPT_SCAN, "b", "c");
    expect_step(&script, 4, TXN_SCRIPT_PUT, "d", "two words  and\ttab");
    expect_step(&script, 5, TXN_SCRIPT_PUT, "e", "");
    expect_step(&script, 6, TXN_SCRIPT_INCR, "f", "");
    expect_step(&script, 7, TXN_SCRIPT_INCR, "f", "");
    expect_step(&script, 8, TXN_SCRIPT_DELETE, "g", "");
    expect_step(&script, 9, TXN_SCRIPT_DELETE_RANGE, "h", "i");
    expect_step(&script, 10, TXN_SCRIPT_ASSERT, "j", "{\"x\": 1}");
    expect_step(&script, 11, TXN_SCRIPT_ASSERT_ABSENT, "k#", "");
    assert_true(script.steps[6].amount == 1 && script.steps[7].amount == -12);
    assert_int_equal(script.steps[0].line, 3);
    assert_int_equal(script.steps[11].line, 14);
    txn_script_deinit(&script);
}

static void test_txn_script_knows_escapes(void **state) {
    (void)state;
    struct txn_script script;
    struct err err = {0};
    struct slice text = SLICE_LITERAL("put a\\x20b c\\\\d\n");
    assert_int_equal(read_text(&script, text, false, &err), STATUS_OK);
    expect_step(&script, 0, TXN_SCRIPT_PUT, "a b", "c\\d");
    txn_script_deinit(&script);
    assert_int_equal(read_text(&script, text, true, &err), STATUS_OK);
    expect_step(&script, 0, TXN_SCRIPT_PUT, "a\\x20b", "c\\\\d");
    txn_script_deinit(&script);
    assert_int_equal(read_text(&script, SLICE_EMPTY, true, &err), STATUS_OK);
    assert_int_equal(script.count, 0);
    txn_script_deinit(&script);
}

// Goal: what is wrong is named with its line; nothing is guessed.
static void test_txn_script_refuses(void **state) {
    (void)state;
    const struct {
        struct slice text;
        const char *part;
    } wrong[] = {
        {SLICE_LITERAL("get a\nfetch b\n"), "line 2: \"fetch\" is none of get"},
        {SLICE_LITERAL("get\n"), "line 1: get wants KEY"},
        {SLICE_LITERAL("get a b\n"), "line 1: get wants KEY"},
        {SLICE_LITERAL("\nput a\n"), "line 2: put wants KEY VALUE"},
        {SLICE_LITERAL("scan a b c\n"), "scan wants [START [END]]"},
        {SLICE_LITERAL("incr a much\n"), "N: \"much\" is no number"},
        {SLICE_LITERAL("incr a 1 2\n"), "incr wants KEY [N]"},
        {SLICE_LITERAL("incr a 99999999999999999999999999999999999999\n"), "is no number"},
        {SLICE_LITERAL("delete-range a\n"), "delete-range wants START END"},
        {SLICE_LITERAL("put a \\q\n"), "is no escape"},
        {SLICE_LITERAL("put a b\0c\n"), "a NUL byte"},
        {SLICE_LITERAL("GET a\n"), "\"GET\" is none of get"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct txn_script script;
        struct err err = {0};
        assert_int_equal(read_text(&script, wrong[i].text, false, &err), STATUS_INVALID_ARGUMENT);
        if (strstr(err.message, wrong[i].part) == NULL) { fail_msg("%s", err.message); }
        txn_script_deinit(&script);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_txn_script_reads_every_step),
        cmocka_unit_test(test_txn_script_knows_escapes),
        cmocka_unit_test(test_txn_script_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
