// SPDX-License-Identifier: Apache-2.0
// Options and operands: values, ranges, order, and every way to get them wrong.
#include "api/cli/args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct args_option global_options[] = {
    {.name = "format", .kind = ARGS_CHOICE, .choices = "table|json", .fallback = "table"},
    {.name = "quiet", .kind = ARGS_FLAG},
    {.name = "help", .letter = 'h', .kind = ARGS_FLAG},
};
static const struct args_option command_options[] = {
    {.name = "format", .kind = ARGS_CHOICE, .choices = "auto|jsonl", .fallback = "auto"},
    {.name = "limit", .kind = ARGS_NUMBER, .number_min = 1, .number_max = 50000, .fallback = "7"},
    {.name = "start", .kind = ARGS_TEXT},
    {.name = "split", .kind = ARGS_LIST},
};
static const struct args_table globals = {global_options, 3};
static const struct args_table command = {command_options, 4};

static enum status parse(struct args *args, struct err *err, const char *const *words) {
    int count = 0;
    while (words[count] != NULL) {
        count++;
    }
    args_init(args, globals);
    args_add_table(args, command);
    return args_parse(args, count, (char **)words, err);
}

#define PARSE(args, err, ...) parse(args, err, (const char *const[]){__VA_ARGS__, NULL})

// Goal: options in either form and anywhere among the operands; fallbacks where none is given.
static void test_args_parse_reads_options_and_operands(void **state) {
    (void)state;
    struct args args;
    assert_int_equal(PARSE(&args, NULL, "one", "--limit", "30k", "--start=a=b", "-h", "two"),
                     STATUS_OK);
    assert_int_equal(args.operand_count, 2);
    assert_string_equal(args_operand(&args, 0), "one");
    assert_string_equal(args_operand(&args, 1), "two");
    assert_null(args_operand(&args, 2));
    assert_int_equal(args_number(&args, "limit"), 30000);
    assert_string_equal(args_text(&args, "start"), "a=b");
    assert_true(args_flag(&args, "help"));
    assert_false(args_flag(&args, "quiet"));
    assert_true(args_has(&args, "limit"));
    assert_false(args_has(&args, "format"));
    assert_string_equal(args_text(&args, "format"), "auto");
    args_deinit(&args);
    assert_int_equal(PARSE(&args, NULL, "x"), STATUS_OK);
    assert_int_equal(args_number(&args, "limit"), 7);
    assert_null(args_text(&args, "start"));
    args_deinit(&args);
}

// Goal: operands may look like anything: a lone dash, what follows --, the empty word, the
// characters that popt treats specially in aliases.
static void test_args_parse_leaves_operands_alone(void **state) {
    (void)state;
    struct args args;
    assert_int_equal(
        PARSE(&args, NULL, "k", "-", "", "!#:+", "--start", "", "--", "--limit", "-", "-x"),
        STATUS_OK);
    static const char *const want[] = {"k", "-", "", "!#:+", "--limit", "-", "-x"};
    assert_int_equal(args.operand_count, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_string_equal(args_operand(&args, i), want[i]);
    }
    assert_string_equal(args_text(&args, "start"), "");
    args_deinit(&args);
}

// Goal: the last value of an option counts; a list keeps all in order.
static void test_args_parse_repeats(void **state) {
    (void)state;
    struct args args;
    assert_int_equal(PARSE(&args, NULL, "--split", "a", "--limit=1", "--split=b", "--limit", "2"),
                     STATUS_OK);
    assert_int_equal(args_number(&args, "limit"), 2);
    assert_string_equal(args_list(&args, "split", 0), "a");
    assert_string_equal(args_list(&args, "split", 1), "b");
    assert_null(args_list(&args, "split", 2));
    args_deinit(&args);
}

// Goal: a command's own name hides the global one, which keeps what was parsed before.
static void test_args_add_table_hides_globals(void **state) {
    (void)state;
    struct args args;
    char *before[] = {(char[]){"--format"}, (char[]){"json"}};
    char *after[] = {(char[]){"--format=jsonl"}};
    args_init(&args, globals);
    assert_int_equal(args_parse(&args, 2, before, NULL), STATUS_OK);
    args_add_table(&args, command);
    assert_int_equal(args_parse(&args, 1, after, NULL), STATUS_OK);
    assert_string_equal(args_text(&args, "format"), "jsonl");
    assert_string_equal(args_text_of(&args, &global_options[0]), "json");
    args_deinit(&args);
}

static void assert_refused(const char *word, const char *more, const char *message) {
    struct args args;
    struct err err = {0};
    const char *words[] = {word, more, NULL};
    assert_int_equal(parse(&args, &err, words), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, message);
    args_deinit(&args);
}

// Goal: what is wrong is named.
static void test_args_parse_refuses_bad_lines(void **state) {
    (void)state;
    assert_refused("--nonsense", NULL, "--nonsense: no such option");
    assert_refused("-z", NULL, "-z: no such option");
    assert_refused("--lim", "3", "--lim: no such option");
    assert_refused("--start", NULL, "--start: wants a value");
    assert_refused("--quiet=yes", NULL, "--quiet=yes: takes no value");
    assert_refused("--limit", "many", "--limit: \"many\" is no number from 1 to 50000");
    assert_refused("--limit", "0", "--limit: \"0\" is no number from 1 to 50000");
    assert_refused("--limit=50001", NULL, "--limit: \"50001\" is no number from 1 to 50000");
    assert_refused("--format", "xml", "--format: \"xml\" is none of auto|jsonl");
    assert_refused("--format", "", "--format: \"\" is none of auto|jsonl");
    assert_refused("--format", "auto|jsonl", "--format: \"auto|jsonl\" is none of auto|jsonl");
}

// Goal: numbers are decimal, with the three units, and never wrap.
static void test_args_parse_number_has_no_surprises(void **state) {
    (void)state;
    uint64_t number = 0;
    assert_int_equal(args_parse_number("10M", &number), STATUS_OK);
    assert_int_equal(number, 10000000);
    assert_int_equal(args_parse_number("18446744073709551614", &number), STATUS_OK);
    static const char *const wrong[] = {"",
                                        " 1",
                                        "-1",
                                        "+1",
                                        "1 ",
                                        "1K",
                                        "1kk",
                                        "k",
                                        "0x10",
                                        "18446744073709551616",
                                        "18446744073709551G"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(args_parse_number(wrong[i], &number), STATUS_INVALID_ARGUMENT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_args_parse_reads_options_and_operands),
        cmocka_unit_test(test_args_parse_leaves_operands_alone),
        cmocka_unit_test(test_args_parse_repeats),
        cmocka_unit_test(test_args_add_table_hides_globals),
        cmocka_unit_test(test_args_parse_refuses_bad_lines),
        cmocka_unit_test(test_args_parse_number_has_no_surprises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
