// SPDX-License-Identifier: Apache-2.0
#include "api/cli/commands.h"
#include "api/cli/shard_order.h"

static enum cli_exit run(struct cli *cli) {
    struct shard_order order = {.shard = 0};
    const char *voters = args_text(&cli->args, "voters");
    const char *learners = args_text(&cli->args, "learners");
    enum cli_exit exit = session_number(cli, 0, "SHARD", UINT64_MAX - 1, &order.shard);
    if (exit != CLI_OK) { return exit; }
    if (voters == NULL) { return cli_usage(cli, "--voters is needed, like --voters 1,2,4"); }
    if (!shard_order_parse(cli, "voters", voters, &order.voters, &exit) ||
        !shard_order_parse(cli, "learners", learners == NULL ? "" : learners, &order.learners,
                           &exit)) {
        return exit;
    }
    order.config_epoch = args_number(&cli->args, "config-epoch");
    struct session session;
    exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    exit = shard_order_run(cli, session.client, &order);
    session_close(&session);
    return exit;
}

static const struct args_option options[] = {
    {.name = "voters",
     .kind = ARGS_TEXT,
     .placeholder = "N,N,N",
     .help = "all nodes that shall hold a voter, an odd number"},
    {.name = "learners",
     .kind = ARGS_TEXT,
     .placeholder = "N,N",
     .help = "nodes that shall hold a copy without a vote (default none)"},
    {.name = "config-epoch",
     .kind = ARGS_NUMBER,
     .placeholder = "E",
     .help = "refuse unless the members are of this epoch still",
     .number_min = 1,
     .number_max = UINT64_MAX - 1},
    SHARD_ORDER_PLAN_OPTION,
    SHARD_ORDER_WAIT_OPTION,
    SHARD_ORDER_LIMIT_OPTION,
};

const struct cli_command commands_shard_place = {
    .noun = "shard",
    .verb = "place",
    .operands = "SHARD",
    .summary = "say which nodes shall hold a shard",
    .details = "New nodes come as learners and catch up before any of them votes; then all roles\n"
               "change at once, and nodes that are not named lose their copy. Writes go on. The\n"
               "shard's leader does it, whether somebody waits or not.",
    .examples = "  lightcone shard place 16 --voters 1,2,4 --plan\n"
                "  lightcone shard place 16 --voters 1,2,4 --wait\n"
                "  lightcone shard place 16 --voters 1,2,3 --learners 5\n",
    .operand_min = 1,
    .operand_max = 1,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
