// SPDX-License-Identifier: Apache-2.0
// cli.h - one run of the `lightcone` command: streams, what the line asked for, how to report.
// Invariants: results go to out, everything else to err; with --format json, out carries one JSON
//             value and nothing else; the exit code says what became of the request.
// Ownership:  streams are borrowed; the rest belongs to cli_run.
// Thread:     one, from start to end.
// See:        api/cli/README.md; tests/unit/api/cli/cli_test.c
#pragma once

#include "api/cli/args.h"
#include "api/cli/table.h"
#include "dataplane/base/err.h"

#include <jansson.h>

#include <stdio.h>

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_UNKNOWN = 3,  // a commit may have happened or not
};

enum cli_format { CLI_TABLE, CLI_JSON };

struct cli;

// A command: `noun verb`, or `noun` alone when verb is NULL. Constants, one a file.
struct cli_command {
    const char *noun;
    const char *verb;
    const char *operands;  // "KEYSPACE KEY", as shown in help
    const char *summary;   // one line, no full stop
    const char *details;   // sentences, wrapped by the help; may be NULL
    const char *examples;  // lines; an explanation follows "  # "
    uint32_t operand_min;
    uint32_t operand_max;
    struct args_table options;
    enum cli_exit (*run)(struct cli *cli);
};

struct cli {
    // Set by the caller of cli_run.
    FILE *in;
    FILE *out;
    FILE *err;
    bool in_terminal;
    bool out_terminal;
    bool err_terminal;
    bool colour;     // allowed at all (NO_COLOR)
    uint32_t width;  // of the terminal; 0 = unknown
    // Set by cli_run.
    const struct cli_command *command;
    struct args args;
    enum cli_format format;
    bool quiet;
    uint32_t timeout_ms;
    const char *address;  // as given; NULL = not given
    int write_error;      // errno of the first write to out that failed; 0 = none did
};

// Parses, runs, reports. argv[0] is the program.
enum cli_exit cli_run(struct cli *cli, int argc, char **argv);

// --- For commands

// What went wrong, as people and programs want to know it. Only status or message is needed.
struct cli_error {
    enum status status;
    const char *status_name;  // as the server spelt it; NULL = the name of status
    const char *field;        // NULL or empty = none
    uint64_t limit;           // 0 = none
    const char *message;      // NULL or empty = the text of status
    const char *hint;         // what to do next; NULL = none
};

// Reports on err (a JSON object with --format json) and returns the exit code that fits.
enum cli_exit cli_fail(struct cli *cli, const struct cli_error *error);
// The same from a status and its err.
enum cli_exit cli_fail_err(struct cli *cli, const struct err *err, const char *hint);
// A wrong line: reports with a pointer to the help; CLI_USAGE.
enum cli_exit cli_usage(struct cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// A remark for people on err; silent with --quiet and with --format json.
void cli_note(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum cli_exit cli_exit_of(enum status st);

// How tables are to look on out.
struct table_style cli_style(const struct cli *cli);
// Prints and drops the value.
void cli_print_json(struct cli *cli, json_t *value);

// True once writing to out has failed: no point in going on. Ask right after a write.
bool cli_is_broken(struct cli *cli);

// --- JSON members

void cli_json_u64(json_t *object, const char *name, uint64_t v);
// NULL is null.
void cli_json_string(json_t *object, const char *name, const char *text);
void cli_json_bool(json_t *object, const char *name, bool v);
// "name" when the bytes are text, else "name_base64".
void cli_json_bytes(json_t *object, const char *name, struct slice bytes);
// "name" as a decimal string (64 bits do not fit a double), "name_text" as a time.
void cli_json_timestamp(json_t *object, const char *name, uint64_t timestamp);
