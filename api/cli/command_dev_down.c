// SPDX-License-Identifier: Apache-2.0
// Down keeps the data; only --wipe deletes it.
#include "api/cli/commands.h"
#include "api/cli/dev_ask.h"

#include <inttypes.h>

enum { DOWN_TERM_MS = 10000 };

static enum cli_exit wipe(struct cli *cli, struct dev_cluster *cluster) {
    struct err err = {0};
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        if (dev_cluster_state(cluster, &cluster->nodes[i], NULL) == DEV_DOWN) { continue; }
        (void)err_set(&err, STATUS_FAILED_PRECONDITION, "node %u still runs; nothing was deleted",
                      dev_cluster_name(&cluster->nodes[i]));
        return cli_fail_err(cli, &err, "lightcone dev down --wipe, again");
    }
    if (dev_cluster_wipe(cluster, &err) != STATUS_OK) { return cli_fail_err(cli, &err, NULL); }
    return CLI_OK;
}

static enum cli_exit run(struct cli *cli) {
    struct dev_cluster cluster;
    enum cli_exit exit = dev_ask_open(cli, &cluster);
    if (exit != CLI_OK) { return exit; }
    uint32_t killed = dev_cluster_stop(&cluster, DOWN_TERM_MS);
    bool wiped = args_flag(&cli->args, "wipe");
    uint32_t nodes = cluster.node_count;
    if (wiped) { exit = wipe(cli, &cluster); }
    dev_cluster_close(&cluster);
    if (exit != CLI_OK) { return exit; }
    if (cli->format == CLI_JSON) {
        cli_print_json(cli, json_pack("{s:I,s:I,s:b}", "nodes", (json_int_t)nodes, "killed",
                                      (json_int_t)killed, "wiped", (int)wiped));
    } else {
        (void)fprintf(cli->out, "%" PRIu32 " nodes are down%s\n", nodes,
                      wiped ? ", their data is deleted" : "");
        if (killed > 0) {
            cli_note(cli, "%" PRIu32 " of them had to be killed after %d s", killed,
                     DOWN_TERM_MS / 1000);
        }
    }
    return CLI_OK;
}

static const struct args_option options[] = {
    {.name = "wipe", .kind = ARGS_FLAG, .help = "delete the cluster and all its data"},
    DEV_OPTION_DIR,
};

const struct cli_command commands_dev_down = {
    .noun = "dev",
    .verb = "down",
    .operands = "",
    .summary = "stop the cluster; its data stays",
    .details =
        "SIGTERM, and SIGKILL to what is left after 10 seconds. Only processes that `dev up`\n"
        "and `dev start` started are signalled: pid and start time must match.",
    .examples = "  lightcone dev down\n"
                "  lightcone dev down --wipe   # the next dev up begins anew\n",
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
