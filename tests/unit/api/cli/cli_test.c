// SPDX-License-Identifier: Apache-2.0
// Whole lines without a server: what goes where, and which exit code.
#include "api/cli/cli.h"

#include "api/cli/commands.h"
#include "dataplane/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct run {
    enum cli_exit exit;
    char *out;
    char *err;
};

enum { WORDS_MAX = 16 };

static struct run run_words(const char *const *words) {
    char *argv[WORDS_MAX + 1] = {NULL};
    int argc = 0;
    while (words[argc] != NULL) {
        argv[argc] = (char *)words[argc];
        argc++;
    }
    struct run run = {.out = NULL};
    size_t out_size = 0;
    size_t err_size = 0;
    struct cli cli = {.in = stdin,
                      .out = open_memstream(&run.out, &out_size),
                      .err = open_memstream(&run.err, &err_size)};
    assert_non_null(cli.out);
    assert_non_null(cli.err);
    run.exit = cli_run(&cli, argc, argv);
    assert_int_equal(fclose(cli.out), 0);
    assert_int_equal(fclose(cli.err), 0);
    return run;
}

#define RUN(...) run_words((const char *const[]){"lightcone", __VA_ARGS__, NULL})

static void end(struct run *run) {
    mem_free(run->out);
    mem_free(run->err);
}

static void assert_usage(struct run run, const char *part) {
    assert_int_equal(run.exit, CLI_USAGE);
    assert_string_equal(run.out, "");
    if (strstr(run.err, part) == NULL) { fail_msg("%s", run.err); }
    assert_non_null(strstr(run.err, "next: lightcone help"));
    end(&run);
}

// Goal: a wrong line is exit code 2, nothing on out, and what is wrong on err.
static void test_cli_run_refuses_wrong_lines(void **state) {
    (void)state;
    assert_usage(RUN("nonsense"), "\"nonsense\": no such command");
    assert_usage(RUN("kv", "got"), "\"kv got\": no such command");
    assert_usage(RUN("--nonsense", "kv", "get"), "--nonsense: no such option");
    assert_usage(RUN("kv", "--raw", "get"), "--raw: no such option before a command");
    assert_usage(RUN("kv", "get", "a"), "wants KEYSPACE KEY; 1 of them given");
    assert_usage(RUN("kv", "get", "a", "b", "c"), "\"c\" is one operand too many");
    assert_usage(RUN("kv", "get", "a", "b", "--limit", "3"), "--limit: no such option");
    assert_usage(RUN("version", "x"), "wants none");
    assert_usage(RUN("kv", "scan", "a", "--limit", "-3"), "\"-3\" is no number");
    assert_usage(RUN("kv", "scan", "a", "--prefix", "x", "--end", "y"), "--prefix excludes");
    assert_usage(RUN("kv", "scan", "a", "--start", "y", "--end", "x"), "--end must be above");
    assert_usage(RUN("kv", "get", "a", "\\q"), "is no escape");
    assert_usage(RUN("kv", "get", "a", "b", "--consistency", "often"), "is none of strong|");
    assert_usage(RUN("kv", "get", "a", "b", "--at", "noon"), "\"noon\" is no timestamp");
    assert_usage(RUN("kv", "get", "a", "b", "--consistency", "at"), "wants --at");
    assert_usage(RUN("kv", "scan", "a", "--consistency", "bounded"), "wants --max-staleness");
    assert_usage(RUN("kv", "get", "a", "b", "--max-staleness", "5"), "is no duration");
    assert_usage(RUN("kv", "get", "a", "b", "--max-staleness", "0s"), "is no duration");
    assert_usage(RUN("kv", "get", "a", "b", "--at", "9", "--consistency", "any"),
                 "--at does not go with --consistency any");
    assert_usage(RUN("kv", "get", "a", "b", "--at", "9", "--session", "9"),
                 "--session does not go with --at");
    assert_usage(RUN("kv", "get", "a", "b", "--at", "9", "--read-index"), "--read-index does not");
    assert_usage(RUN("kv", "scan", "a", "--consistency", "strict"), "strict is for single keys");
    assert_usage(RUN("kv", "incr", "a", "b", "much"), "N: \"much\" is no number");
    assert_usage(RUN("kv", "incr", "a", "b", "--min", "1.5"), "--min: \"1.5\" is no number");
    assert_usage(RUN("txn", "run", "a"), "wants KEYSPACE FILE|-; 1 of them given");
    assert_usage(RUN("txn", "run", "a", "/dev/null"), "/dev/null: has no steps");
    assert_usage(RUN("kv", "put", "a", "b"), "either VALUE or --value-file");
    assert_usage(RUN("kv", "put", "a", "b", "c", "--txn-id", "00"), "is no transaction id");
    assert_usage(RUN("kv", "put", "a", "b", "c", "--txn-id", "00000000000000000000000000000000"),
                 "is no transaction id");
    assert_usage(RUN("cluster", "init", "--replicas", "2"), "an odd number");
    assert_usage(RUN("keyspace", "create", "a", "--shards", "2", "--split-at", "b"),
                 "--split-at excludes");
    assert_usage(RUN("keyspace", "create", "a", "--split-at", "b", "--split-at", "b"),
                 "the same key twice");
    assert_usage(RUN("keyspace", "create", "a", "--sample", "f"), "--sample wants --shards");
    assert_usage(RUN("shard", "show", "0"), "SHARD: \"0\" is no number");
    assert_usage(RUN("--address", "nowhere", "cluster", "status"), "--address: \"nowhere\"");
}

// Goal: without a command there is help on err and exit code 2; asked for, on out and 0.
static void test_cli_run_shows_help(void **state) {
    (void)state;
    struct run run = run_words((const char *const[]){"lightcone", NULL});
    assert_int_equal(run.exit, CLI_USAGE);
    assert_string_equal(run.out, "");
    assert_non_null(strstr(run.err, "usage: lightcone NOUN VERB"));
    end(&run);
    static const char *const asked[][4] = {
        {"lightcone", "--help", NULL}, {"lightcone", "-h", NULL},
        {"lightcone", "help", NULL},   {"lightcone", "help", "kv", NULL},
        {"lightcone", "kv", "--help"}, {"lightcone", "kv", "help", NULL},
    };
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        run = run_words((const char *const[]){asked[i][0], asked[i][1], asked[i][2], NULL});
        assert_int_equal(run.exit, CLI_OK);
        assert_string_equal(run.err, "");
        assert_non_null(strstr(run.out, "lightcone"));
        end(&run);
    }
    run = RUN("kv");
    assert_int_equal(run.exit, CLI_USAGE);
    assert_non_null(strstr(run.err, "kv checksum"));
    end(&run);
}

// Goal: help for a command wins over its missing operands, and its own --format hides the global.
static void test_cli_run_shows_help_of_a_command(void **state) {
    (void)state;
    struct run run = RUN("kv", "import", "--help");
    assert_int_equal(run.exit, CLI_OK);
    assert_non_null(strstr(run.out, "usage: lightcone kv import [OPTIONS] KEYSPACE FILE|-"));
    assert_non_null(strstr(run.out, "--format auto|jsonl|debian"));
    assert_null(strstr(run.out, "--format table|json"));
    end(&run);
}

// Goal: with --format json, errors are JSON too, wherever the option stands.
static void test_cli_run_reports_errors_as_json(void **state) {
    (void)state;
    static const char *const lines[][7] = {
        {"lightcone", "--format", "json", "kv", "get", "a", NULL},
        {"lightcone", "kv", "--format=json", "get", "a", NULL},
        {"lightcone", "kv", "get", "a", "--format", "json", NULL},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct run run = run_words(lines[i]);
        assert_int_equal(run.exit, CLI_USAGE);
        assert_string_equal(run.out, "");
        json_t *root = json_loads(run.err, 0, NULL);
        assert_non_null(root);
        json_t *error = json_object_get(root, "error");
        assert_string_equal(json_string_value(json_object_get(error, "status")),
                            "INVALID_ARGUMENT");
        assert_string_equal(json_string_value(json_object_get(error, "hint")),
                            "lightcone help kv get");
        json_decref(root);
        end(&run);
    }
}

// Goal: a result that could not be written is a failure that says why.
static void test_cli_run_reports_a_full_disk(void **state) {
    (void)state;
    char *text = NULL;
    size_t size = 0;
    char program[] = "lightcone";
    char command[] = "version";
    char *argv[] = {program, command, NULL};
    struct cli cli = {
        .in = stdin, .out = fopen("/dev/full", "w"), .err = open_memstream(&text, &size)};
    assert_non_null(cli.out);
    assert_int_equal(cli_run(&cli, 2, argv), CLI_FAILED);
    (void)fclose(cli.out);
    assert_int_equal(fclose(cli.err), 0);
    assert_string_equal(text, "lightcone: writing the result: No space left on device\n");
    mem_free(text);
}

// Goal: results are one JSON value.
static void test_cli_run_prints_json(void **state) {
    (void)state;
    struct run run = RUN("version", "--format", "json");
    assert_int_equal(run.exit, CLI_OK);
    json_t *root = json_loads(run.out, 0, NULL);
    assert_true(json_is_string(json_object_get(root, "version")));
    json_decref(root);
    end(&run);
}

// Goal: where nobody listens, the answer is a failure that says what to look at, not a hang.
static void test_cli_run_reports_an_unreachable_node(void **state) {
    (void)state;
    struct run run = RUN("--timeout", "300", "--address", "127.0.0.1:1", "cluster", "status");
    assert_int_equal(run.exit, CLI_FAILED);
    assert_string_equal(run.out, "");
    assert_non_null(strstr(run.err, "127.0.0.1:1"));
    assert_non_null(strstr(run.err, "next: is a node running there?"));
    end(&run);
}

// Goal: files that are missing or wrong are named before anything is connected.
static void test_cli_run_names_bad_files(void **state) {
    (void)state;
    struct run run = RUN("kv", "import", "a", "/nonexistent");
    assert_int_equal(run.exit, CLI_FAILED);
    assert_non_null(strstr(run.err, "/nonexistent: No such file"));
    end(&run);
    run = RUN("keyspace", "create", "a", "--shards", "2", "--sample", "/nonexistent");
    assert_int_equal(run.exit, CLI_FAILED);
    assert_non_null(strstr(run.err, "--sample: /nonexistent: No such file"));
    end(&run);
}

// Goal: outcomes map to exit codes; unknown is neither success nor failure.
static void test_cli_exit_of_tells_unknown_from_failed(void **state) {
    (void)state;
    assert_int_equal(cli_exit_of(STATUS_OK), CLI_OK);
    assert_int_equal(cli_exit_of(STATUS_NOT_FOUND), CLI_FAILED);
    assert_int_equal(cli_exit_of(STATUS_UNKNOWN_OUTCOME), CLI_UNKNOWN);
}

// Goal: bytes and timestamps keep their value in JSON.
static void test_cli_json_keeps_bytes_and_timestamps(void **state) {
    (void)state;
    json_t *object = json_object();
    cli_json_bytes(object, "key", SLICE_LITERAL("a\0b"));
    cli_json_bytes(object, "value", SLICE_LITERAL("\xff\xfe\xfd"));
    cli_json_timestamp(object, "closed", UINT64_C(7353239052178513920));
    cli_json_timestamp(object, "never", 0);
    assert_int_equal(json_string_length(json_object_get(object, "key")), 3);
    assert_null(json_object_get(object, "value"));
    assert_string_equal(json_string_value(json_object_get(object, "value_base64")), "//79");
    assert_string_equal(json_string_value(json_object_get(object, "closed")),
                        "7353239052178513920");
    assert_string_equal(json_string_value(json_object_get(object, "closed_text")),
                        "2026-11-21T01:26:17.973270Z+0");
    assert_string_equal(json_string_value(json_object_get(object, "never")), "0");
    assert_true(json_is_null(json_object_get(object, "never_text")));
    json_decref(object);
}

int main(void) {
    (void)unsetenv("LIGHTCONE_ADDRESS");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_run_refuses_wrong_lines),
        cmocka_unit_test(test_cli_run_shows_help),
        cmocka_unit_test(test_cli_run_shows_help_of_a_command),
        cmocka_unit_test(test_cli_run_reports_errors_as_json),
        cmocka_unit_test(test_cli_run_reports_a_full_disk),
        cmocka_unit_test(test_cli_run_prints_json),
        cmocka_unit_test(test_cli_run_reports_an_unreachable_node),
        cmocka_unit_test(test_cli_run_names_bad_files),
        cmocka_unit_test(test_cli_exit_of_tells_unknown_from_failed),
        cmocka_unit_test(test_cli_json_keeps_bytes_and_timestamps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
