// SPDX-License-Identifier: Apache-2.0
#include "api/cli/admin_json.h"
#include "api/cli/commands.h"
#include "api/cli/shard_order.h"

#include <inttypes.h>

static enum cli_exit cancel(struct cli *cli, struct lc_client *client, uint64_t shard) {
    Lightcone__V1__ShardCancelRequest request = LIGHTCONE__V1__SHARD_CANCEL_REQUEST__INIT;
    Lightcone__V1__ShardCancelResponse *answer = NULL;
    struct err err = {0};
    request.shard = shard;
    if (lc_admin_shard_cancel(client, 0, &request, &answer, &err) != STATUS_OK) {
        return cli_fail_err(cli, &err, "lightcone shard show tells what is under way");
    }
    enum cli_exit exit = CLI_OK;
    if (args_flag(&cli->args, "wait")) {
        exit = shard_order_wait(cli, client, answer->shard, NULL);
    } else if (cli->format == CLI_JSON) {
        json_t *object = json_object();
        (void)json_object_set_new(object, "shard", admin_json_shard(answer->shard, NULL));
        (void)json_object_del(json_object_get(object, "shard"), "keyspace");
        cli_print_json(cli, object);
    } else {
        (void)fprintf(cli->out, "shard %" PRIu64 " goes back to the members it had\n", shard);
    }
    lightcone__v1__shard_cancel_response__free_unpacked(answer, NULL);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    uint64_t shard = 0;
    enum cli_exit exit = session_number(cli, 0, "SHARD", UINT64_MAX - 1, &shard);
    if (exit != CLI_OK) { return exit; }
    struct session session;
    exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    exit = cancel(cli, session.client, shard);
    session_close(&session);
    return exit;
}

static const struct args_option options[] = {
    SHARD_ORDER_WAIT_OPTION,
    SHARD_ORDER_LIMIT_OPTION,
};

const struct cli_command commands_shard_cancel = {
    .noun = "shard",
    .verb = "cancel",
    .operands = "SHARD",
    .summary = "take an order about a shard's members back",
    .details = "Possible until the voters change; what was added so far goes again.",
    .examples = "  lightcone shard cancel 16 --wait\n",
    .operand_min = 1,
    .operand_max = 1,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
