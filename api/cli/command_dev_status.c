// SPDX-License-Identifier: Apache-2.0
// Reads only, and takes no lock: it may run while another dev command waits for something.
#include "api/cli/commands.h"
#include "api/cli/dev_ask.h"

static enum cli_exit run(struct cli *cli) {
    char dir[DEV_PATH_SIZE];
    struct dev_cluster cluster;
    struct err err = {0};
    enum status st = dev_cluster_directory(args_text(&cli->args, "dir"), dir, &err);
    if (st == STATUS_OK) { st = dev_cluster_load(&cluster, dir, &err); }
    if (st == STATUS_OK && !cluster.exists) {
        st = err_set(&err, STATUS_NOT_FOUND, "no development cluster in %.180s", dir);
    }
    if (st != STATUS_OK) {
        return cli_fail_err(cli, &err, "lightcone dev up; --dir names another directory");
    }
    dev_ask_print(cli, &cluster);
    return CLI_OK;
}

static const struct args_option options[] = {DEV_OPTION_DIR};

const struct cli_command commands_dev_status = {
    .noun = "dev",
    .verb = "status",
    .operands = "",
    .summary = "processes, addresses and leaders",
    .examples = "  lightcone dev status\n"
                "  lightcone dev status --format json\n",
    .options = {options, 1},
    .run = run,
};
