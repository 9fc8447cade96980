// SPDX-License-Identifier: Apache-2.0
// Values from the line cannot hold NUL and keys on it are escaped; --value-file takes any bytes.
#include "api/cli/commands.h"
#include "api/cli/text.h"
#include "api/cli/write.h"

#include <errno.h>
#include <string.h>

enum { PUT_VALUE_SIZE_MAX = 1 << 20 };

static enum status read_all(FILE *file, struct buf *out) {
    char chunk[65536];
    size_t got = 0;
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        if (out->size + got > PUT_VALUE_SIZE_MAX) { return STATUS_RESOURCE_EXHAUSTED; }
        text_add(out, slice_make(chunk, got));
    }
    return ferror(file) != 0 ? STATUS_IO : STATUS_OK;
}

static enum cli_exit read_file(struct cli *cli, const char *path, struct buf *out) {
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? cli->in : fopen(path, "re");
    struct err err = {0};
    enum status st = file == NULL ? STATUS_IO : read_all(file, out);
    if (st == STATUS_RESOURCE_EXHAUSTED) {
        (void)err_set(&err, STATUS_INVALID_ARGUMENT,
                      "--value-file: %.150s: more than %d bytes, the limit of a value", path,
                      PUT_VALUE_SIZE_MAX);
    } else if (st != STATUS_OK) {
        (void)err_set(&err, st, "--value-file: %.150s: %s", path, strerror(errno));
    }
    if (file != NULL && !is_stdin) { (void)fclose(file); }
    return st == STATUS_OK ? CLI_OK : cli_fail_err(cli, &err, NULL);
}

static enum cli_exit take_value(struct cli *cli, struct buf *out) {
    const char *text = args_operand(&cli->args, 2);
    const char *path = args_text(&cli->args, "value-file");
    if ((text != NULL) == (path != NULL)) {
        return cli_usage(cli, "wants either VALUE or --value-file");
    }
    if (path != NULL) { return read_file(cli, path, out); }
    text_add_string(out, text);
    return CLI_OK;
}

static enum cli_exit run(struct cli *cli) {
    struct buf key;
    struct buf value;
    buf_init(&key, TEXT_BUF_MAX);
    buf_init(&value, TEXT_BUF_MAX);
    enum cli_exit exit =
        session_key(cli, args_operand(&cli->args, 1), args_flag(&cli->args, "literal"), &key);
    if (exit == CLI_OK) { exit = take_value(cli, &value); }
    if (exit == CLI_OK) {
        struct write write = {
            .mutation = {.kind = LC_PUT, .key = buf_slice(&key), .value = buf_slice(&value)},
            .condition = {.kind = LC_ABSENT, .key = buf_slice(&key)},
            .conditional = args_flag(&cli->args, "if-absent"),
        };
        exit = write_run(cli, &write);
    }
    buf_deinit(&key);
    buf_deinit(&value);
    return exit;
}

static const struct args_option options[] = {
    {.name = "value-file",
     .kind = ARGS_TEXT,
     .placeholder = "FILE|-",
     .help = "read the value from a file or standard input"},
    {.name = "if-absent", .kind = ARGS_FLAG, .help = "only when the key has no value"},
    SESSION_OPTION_LITERAL,
    WRITE_OPTION_TXN_ID,
};

const struct cli_command commands_kv_put = {
    .noun = "kv",
    .verb = "put",
    .operands = "KEYSPACE KEY [VALUE]",
    .summary = "write a value",
    .details =
        "KEY may hold escapes as in `kv get`; VALUE is taken as it is. Exit code 3: it may have\n"
        "been written or not; the message says how to find out.",
    .examples = "  lightcone kv put users 42 '{\"name\":\"Ada\"}'\n"
                "  lightcone kv put blobs logo --value-file logo.png\n"
                "  date | lightcone kv put notes today --value-file - --if-absent\n",
    .operand_min = 2,
    .operand_max = 3,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
