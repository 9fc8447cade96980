// SPDX-License-Identifier: Apache-2.0
// A deletion is a commit like any other: it has a timestamp and an id, also when there was nothing.
#include "api/cli/commands.h"
#include "api/cli/text.h"
#include "api/cli/write.h"

static enum cli_exit run(struct cli *cli) {
    struct buf key;
    buf_init(&key, TEXT_BUF_MAX);
    enum cli_exit exit =
        session_key(cli, args_operand(&cli->args, 1), args_flag(&cli->args, "literal"), &key);
    if (exit == CLI_OK) {
        struct write write = {
            .mutation = {.kind = LC_DELETE, .key = buf_slice(&key)},
            .condition = {.kind = LC_EXISTS, .key = buf_slice(&key)},
            .conditional = args_flag(&cli->args, "if-exists"),
        };
        exit = write_run(cli, &write);
    }
    buf_deinit(&key);
    return exit;
}

static const struct args_option options[] = {
    {.name = "if-exists", .kind = ARGS_FLAG, .help = "fail when the key has no value"},
    SESSION_OPTION_LITERAL,
    WRITE_OPTION_TXN_ID,
};

const struct cli_command commands_kv_delete = {
    .noun = "kv",
    .verb = "delete",
    .operands = "KEYSPACE KEY",
    .summary = "delete a key",
    .examples = "  lightcone kv delete users 42\n"
                "  lightcone kv delete users 42 --if-exists\n",
    .operand_min = 2,
    .operand_max = 2,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
