// SPDX-License-Identifier: Apache-2.0
// The node adds the offset to what its machine's clock says; other processes see nothing of it.
#include "api/cli/commands.h"
#include "api/cli/dev_ask.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

// "+500", "-250", "0".
static enum cli_exit read_offset(struct cli *cli, int64_t *out_ms) {
    const char *text = cli->args.operands[1];
    char *end = NULL;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') {
        return cli_usage(cli, "MS: \"%s\" is no whole number of milliseconds, as in +500", text);
    }
    *out_ms = value;
    return CLI_OK;
}

static enum cli_exit shift(struct cli *cli, struct dev_cluster *cluster) {
    struct dev_node *node = NULL;
    int64_t offset_ms = 0;
    enum cli_exit exit = dev_ask_operand(cli, cluster, 0, &node);
    if (exit == CLI_OK) { exit = read_offset(cli, &offset_ms); }
    if (exit != CLI_OK) { return exit; }
    struct err err = {0};
    if (dev_ask_clock(node, offset_ms, &err) != STATUS_OK) {
        err_wrap(&err, "node %u", dev_cluster_name(node));
        return cli_fail_err(cli, &err, "lightcone dev status");
    }
    if (cli->format == CLI_JSON) {
        cli_print_json(cli, json_pack("{s:I,s:I}", "node", (json_int_t)dev_cluster_name(node),
                                      "offset_ms", (json_int_t)offset_ms));
    } else {
        (void)fprintf(cli->out, "the clock of node %u is shifted by %+" PRId64 " ms\n",
                      dev_cluster_name(node), offset_ms);
    }
    return CLI_OK;
}

static enum cli_exit run_skew(struct cli *cli) {
    struct dev_cluster cluster;
    enum cli_exit exit = dev_ask_open(cli, &cluster);
    if (exit != CLI_OK) { return exit; }
    exit = shift(cli, &cluster);
    dev_cluster_close(&cluster);
    return exit;
}

static const struct args_option options[] = {DEV_OPTION_DIR};

const struct cli_command commands_dev_skew = {
    .noun = "dev",
    .verb = "skew",
    .operands = "NODE MS",
    .summary = "shift the clock of a node",
    .details = "The offset replaces an earlier one; 0 ends it, and so does a restart of the node.\n"
               "`node skew` shows what the nodes make of it. A negative one goes behind `--`.",
    .examples = "  lightcone dev skew 3 +800\n"
                "  lightcone dev skew 3 0\n"
                "  lightcone dev skew -- 3 -800\n",
    .operand_min = 2,
    .operand_max = 2,
    .options = {options, 1},
    .run = run_skew,
};
