// SPDX-License-Identifier: Apache-2.0
// Lines of the shell, cut into words and checked.
#include "api/cli/statement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct expected {
    const char *line;
    enum statement_kind kind;
    uint32_t count;
    const char *words[5];
};

static void test_statement_words(void **state) {
    (void)state;
    static const struct expected rows[] = {
        {"", STATEMENT_EMPTY, 0, {NULL}},
        {"  # get a", STATEMENT_EMPTY, 0, {NULL}},
        {"get a b # both", STATEMENT_GET, 3, {"get", "a", "b"}},
        {"put a#b c", STATEMENT_PUT, 3, {"put", "a#b", "c"}},
        {"put \\#a ''", STATEMENT_PUT, 3, {"put", "#a", ""}},
        {"\tput  \"a b\" 'c \\n \"d\"'\r\n", STATEMENT_PUT, 3, {"put", "a b", "c \\n \"d\""}},
        {"put a\\ b \"say \\\"hi\\\"\"", STATEMENT_PUT, 3, {"put", "a b", "say \"hi\""}},
        {"put a\"b\"'c' \\x41\\\\\\n", STATEMENT_PUT, 3, {"put", "abc", "A\\\n"}},
        {"delete a", STATEMENT_DELETE, 2, {"delete", "a"}},
        {"assert-absent a", STATEMENT_ASSERT_ABSENT, 2, {"assert-absent", "a"}},
        {"scan", STATEMENT_SCAN, 1, {"scan"}},
        {"scan a b limit 7", STATEMENT_SCAN, 3, {"scan", "a", "b"}},
        {"scan limit 7", STATEMENT_SCAN, 1, {"scan"}},
        {"scan limit", STATEMENT_SCAN, 2, {"scan", "limit"}},
        {"exit", STATEMENT_QUIT, 1, {"exit"}},
        {"shard show 17 --format json",
         STATEMENT_OTHER,
         5,
         {"shard", "show", "17", "--format", "json"}},
        {"GET a", STATEMENT_OTHER, 2, {"GET", "a"}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct statement statement;
        struct err err = {0};
        const struct slice line = slice_from_string(rows[i].line);
        assert_int_equal(statement_parse(&statement, line, &err), STATUS_OK);
        assert_int_equal(statement.kind, rows[i].kind);
        assert_int_equal(statement.word_count, rows[i].count);
        for (uint32_t k = 0; k < rows[i].count; k++) {
            assert_string_equal((const char *)statement.words[k].data, rows[i].words[k]);
            assert_int_equal(statement.words[k].size, strlen(rows[i].words[k]));
        }
        statement_free(&statement);
    }
}

static void test_statement_holds_any_bytes(void **state) {
    (void)state;
    struct statement statement;
    struct err err = {0};
    assert_int_equal(statement_parse(&statement, SLICE_LITERAL("put a\\x00b \\xff"), &err),
                     STATUS_OK);
    assert_true(slice_equal(statement.words[1], SLICE_LITERAL("a\0b")));
    assert_true(slice_equal(statement.words[2], SLICE_LITERAL("\xff")));
    statement_free(&statement);
}

static void test_statement_numbers(void **state) {
    (void)state;
    static const struct {
        const char *line;
        int64_t amount;
        uint32_t limit;
    } rows[] = {{"incr a", 1, 0},
                {"incr a -9223372036854775808", INT64_MIN, 0},
                {"incr a +5", 5, 0},
                {"scan a limit 10k", 0, 10000}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct statement statement;
        struct err err = {0};
        const struct slice line = slice_from_string(rows[i].line);
        assert_int_equal(statement_parse(&statement, line, &err), STATUS_OK);
        assert_int_equal(statement.amount, rows[i].amount);
        assert_int_equal(statement.limit, rows[i].limit);
        statement_free(&statement);
    }
}

static void test_statement_refusals_say_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *line;
        const char *says;
    } rows[] = {
        {"get", "get wants KEY...; 0 given"},
        {"put a", "put wants KEY VALUE; 1 given"},
        {"begin now", "begin wants nothing behind it; 1 given"},
        {"put a 'b", "a ' is not closed"},
        {"put a \"b", "a \" is not closed"},
        {"put a \\", "the line ends with a backslash"},
        {"put a \\q", "\\q"},
        {"incr a 1.5", "whole number of 64 bits, not \"1.5\""},
        {"incr a 9223372036854775808", "whole number of 64 bits"},
        {"scan limit 0", "limit wants 1 to 10000, not \"0\""},
        {"scan a b c", "scan wants [START [END]] [limit N]"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct statement statement;
        struct err err = {0};
        const struct slice line = slice_from_string(rows[i].line);
        assert_int_equal(statement_parse(&statement, line, &err), STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, rows[i].says));
        statement_free(&statement);
    }
    char many[3 + 2 * STATEMENT_WORDS_MAX + 1] = "get";
    for (size_t k = 0; k < STATEMENT_WORDS_MAX; k++) {
        memcpy(many + 3 + 2 * k, " k", 3);
    }
    struct statement statement;
    struct err err = {0};
    assert_int_equal(statement_parse(&statement, slice_from_string(many), &err),
                     STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "more than 64 words"));
    statement_free(&statement);
}

static void test_statement_table_knows_its_statements(void **state) {
    (void)state;
    for (const struct statement_help *at = statement_helps; at->name != NULL; at++) {
        struct statement statement;
        struct err err = {0};
        (void)!statement_parse(&statement, slice_from_string(at->name), &err);
        assert_true(statement.kind != STATEMENT_OTHER && statement.kind != STATEMENT_EMPTY);
        assert_true(!statement_writes(statement.kind) || statement_is_data(statement.kind));
        statement_free(&statement);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statement_words),
        cmocka_unit_test(test_statement_holds_any_bytes),
        cmocka_unit_test(test_statement_numbers),
        cmocka_unit_test(test_statement_refusals_say_what_is_wrong),
        cmocka_unit_test(test_statement_table_knows_its_statements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
