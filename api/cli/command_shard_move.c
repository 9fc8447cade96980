// SPDX-License-Identifier: Apache-2.0
// `place` with one node exchanged for another; the epoch of the members that were looked at goes
// with the order, so that two people cannot undo each other unknowingly.
#include "api/cli/commands.h"
#include "api/cli/shard_order.h"

#include <inttypes.h>

static bool replace(struct shard_order_nodes *list, uint32_t from, uint32_t to) {
    for (size_t i = 0; i < list->count; i++) {
        if (list->nodes[i] == from) {
            list->nodes[i] = to;
            return true;
        }
    }
    return false;
}

static enum cli_exit move(struct cli *cli, struct lc_client *client, struct shard_order *order) {
    uint32_t from = (uint32_t)args_number(&cli->args, "from");
    uint32_t to = (uint32_t)args_number(&cli->args, "to");
    Lightcone__V1__ShardShowResponse *show = NULL;
    struct err err = {0};
    if (shard_order_show(client, order->shard, &show, &err) != STATUS_OK) {
        return cli_fail_err(cli, &err, "lightcone shard list");
    }
    shard_order_members(show->shard, LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_VOTER,
                        &order->voters);
    shard_order_members(show->shard, LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_LEARNER,
                        &order->learners);
    order->config_epoch = show->shard->config_epoch;
    lightcone__v1__shard_show_response__free_unpacked(show, NULL);
    if (shard_order_has(&order->voters, to) || shard_order_has(&order->learners, to)) {
        (void)err_set(&err, STATUS_INVALID_ARGUMENT,
                      "--to: node %" PRIu32 " holds the shard already", to);
        return cli_fail_err(cli, &err, "lightcone shard place names all members at once");
    }
    if (!replace(&order->voters, from, to) && !replace(&order->learners, from, to)) {
        (void)err_set(&err, STATUS_INVALID_ARGUMENT,
                      "--from: node %" PRIu32 " does not hold the shard", from);
        return cli_fail_err(cli, &err, "lightcone shard show");
    }
    return shard_order_run(cli, client, order);
}

static enum cli_exit run(struct cli *cli) {
    struct shard_order order = {.shard = 0};
    enum cli_exit exit = session_number(cli, 0, "SHARD", UINT64_MAX - 1, &order.shard);
    if (exit != CLI_OK) { return exit; }
    if (!args_has(&cli->args, "from") || !args_has(&cli->args, "to")) {
        return cli_usage(cli, "--from and --to are needed");
    }
    struct session session;
    exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    exit = move(cli, session.client, &order);
    session_close(&session);
    return exit;
}

static const struct args_option options[] = {
    {.name = "from",
     .kind = ARGS_NUMBER,
     .placeholder = "NODE",
     .help = "node that holds the shard and shall not",
     .number_min = 1,
     .number_max = UINT32_MAX},
    {.name = "to",
     .kind = ARGS_NUMBER,
     .placeholder = "NODE",
     .help = "node that shall hold it instead, in the same role",
     .number_min = 1,
     .number_max = UINT32_MAX},
    SHARD_ORDER_PLAN_OPTION,
    SHARD_ORDER_WAIT_OPTION,
    SHARD_ORDER_LIMIT_OPTION,
};

const struct cli_command commands_shard_move = {
    .noun = "shard",
    .verb = "move",
    .operands = "SHARD",
    .summary = "move one replica of a shard to another node",
    .details = "Also replaces a replica whose node is dead: the new one is copied from the others.",
    .examples = "  lightcone shard move 16 --from 3 --to 4 --plan\n"
                "  lightcone shard move 16 --from 3 --to 4 --wait\n",
    .operand_min = 1,
    .operand_max = 1,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
