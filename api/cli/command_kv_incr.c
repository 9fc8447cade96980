// SPDX-License-Identifier: Apache-2.0
// A typed write: increments of many clients at once do not conflict with each other.
#include "api/cli/commands.h"
#include "api/cli/text.h"
#include "api/cli/write.h"

static enum cli_exit take_number(struct cli *cli, const char *what, const char *text,
                                 int64_t *out) {
    if (text_parse_i64(text, out) == STATUS_OK) { return CLI_OK; }
    return cli_usage(cli, "%s: \"%.40s\" is no number of 64 bits", what, text);
}

static enum cli_exit take_merge(struct cli *cli, struct lc_merge *out) {
    const char *amount = args_operand(&cli->args, 2);
    const char *min = args_text(&cli->args, "min");
    const char *max = args_text(&cli->args, "max");
    *out = (struct lc_merge){
        .type = LC_COUNTER, .amount = 1, .has_min = min != NULL, .has_max = max != NULL};
    enum cli_exit exit = CLI_OK;
    if (amount != NULL) { exit = take_number(cli, "N", amount, &out->amount); }
    if (exit == CLI_OK && min != NULL) { exit = take_number(cli, "--min", min, &out->min); }
    if (exit == CLI_OK && max != NULL) { exit = take_number(cli, "--max", max, &out->max); }
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    struct buf key;
    struct write write = {.refusal = "the number would leave its bounds", .shows_value = true};
    buf_init(&key, TEXT_BUF_MAX);
    enum cli_exit exit = take_merge(cli, &write.mutation.merge);
    if (exit == CLI_OK) {
        exit =
            session_key(cli, args_operand(&cli->args, 1), args_flag(&cli->args, "literal"), &key);
    }
    if (exit == CLI_OK) {
        write.mutation.kind = LC_MERGE;
        write.mutation.key = buf_slice(&key);
        exit = write_run(cli, &write);
    }
    buf_deinit(&key);
    return exit;
}

static const struct args_option options[] = {
    {.name = "min",
     .kind = ARGS_TEXT,
     .placeholder = "N",
     .help = "fail, exit code 1, when the number would fall below"},
    {.name = "max",
     .kind = ARGS_TEXT,
     .placeholder = "N",
     .help = "fail, exit code 1, when the number would rise above"},
    SESSION_OPTION_LITERAL,
    WRITE_OPTION_TXN_ID,
};

const struct cli_command commands_kv_incr = {
    .noun = "kv",
    .verb = "incr",
    .operands = "KEYSPACE KEY [N]",
    .summary = "add to a counter and print it",
    .details =
        "N is 1 unless it is given; behind -- it may be negative. A key without a value counts\n"
        "from 0; one whose value is no counter is refused. Increments of others never\n"
        "conflict. Printed is the number as of the commit. Exit code 3: it may have been\n"
        "added or not.",
    .examples = "  lightcone kv incr stats visits\n"
                "  lightcone kv incr stock widgets --min 0 -- -3   # never below 0\n"
                "  lightcone kv incr seats flight-7 2 --max 180 --format json\n",
    .operand_min = 2,
    .operand_max = 3,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
