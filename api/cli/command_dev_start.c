// SPDX-License-Identifier: Apache-2.0
// A node comes back with the data it had.
#include "api/cli/commands.h"
#include "api/cli/dev_ask.h"

enum { START_MS = 20000 };

static enum cli_exit start_node(struct cli *cli, const struct dev_cluster *cluster,
                                const struct dev_node *node) {
    struct err err = {0};
    struct dev_process process = {0};
    enum status st = dev_cluster_write_config(cluster, node, &err);
    if (st == STATUS_OK) { st = dev_cluster_start(cluster, node, &err); }
    if (st == STATUS_OK) { st = dev_ask_wait_up(cluster, node, START_MS, &err); }
    if (st != STATUS_OK) {
        char path[DEV_FILE_SIZE];
        dev_cluster_path(cluster, node, "log", path);
        return cli_fail_err(cli, &err, path);
    }
    (void)dev_cluster_state(cluster, node, &process);
    if (cli->format == CLI_JSON) {
        cli_print_json(cli, json_pack("{s:I,s:I}", "node", (json_int_t)dev_cluster_name(node),
                                      "pid", (json_int_t)process.pid));
    } else {
        (void)fprintf(cli->out, "node %u runs (pid %d)\n", dev_cluster_name(node),
                      (int)process.pid);
    }
    return CLI_OK;
}

static enum cli_exit run(struct cli *cli) {
    struct dev_cluster cluster;
    struct dev_node *node = NULL;
    enum cli_exit exit = dev_ask_open(cli, &cluster);
    if (exit != CLI_OK) { return exit; }
    exit = dev_ask_operand(cli, &cluster, 0, &node);
    if (exit == CLI_OK) { exit = start_node(cli, &cluster, node); }
    dev_cluster_close(&cluster);
    return exit;
}

static const struct args_option options[] = {DEV_OPTION_DIR};

const struct cli_command commands_dev_start = {
    .noun = "dev",
    .verb = "start",
    .operands = "NODE",
    .summary = "start a node again that was killed or stopped",
    .examples = "  lightcone dev kill 2 && lightcone dev start 2\n",
    .operand_min = 1,
    .operand_max = 1,
    .options = {options, 1},
    .run = run,
};
