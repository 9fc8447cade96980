// SPDX-License-Identifier: Apache-2.0
#include "api/cli/commands.h"
#include "api/cli/shard_order.h"

static enum cli_exit run(struct cli *cli) {
    uint64_t shard = 0;
    enum cli_exit exit = session_number(cli, 0, "SHARD", UINT64_MAX - 1, &shard);
    if (exit != CLI_OK) { return exit; }
    if (!args_has(&cli->args, "to")) { return cli_usage(cli, "--to is needed"); }
    return shard_order_transfer(cli, shard, (uint32_t)args_number(&cli->args, "to"));
}

static const struct args_option options[] = {
    {.name = "to",
     .kind = ARGS_NUMBER,
     .placeholder = "NODE",
     .help = "node that shall lead",
     .number_min = 1,
     .number_max = UINT32_MAX},
};

const struct cli_command commands_shard_transfer = {
    .noun = "shard",
    .verb = "transfer",
    .operands = "SHARD",
    .summary = "let another replica lead",
    .details = "The target must hold a voter of the shard; writes pause for about a round trip.",
    .examples = "  lightcone shard transfer 16 --to 2\n",
    .operand_min = 1,
    .operand_max = 1,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
