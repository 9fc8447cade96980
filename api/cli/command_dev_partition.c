// SPDX-License-Identifier: Apache-2.0
// Two sides, the named nodes and the rest; each node is told to drop what comes from and goes to
// the other side. A node that cannot be told (down, frozen) is cut off by the others all the same.
#include "api/cli/commands.h"
#include "api/cli/dev_ask.h"

#include <inttypes.h>

struct sides {
    bool named[DEV_NODES_MAX];  // by place in the cluster
};

static enum cli_exit read_sides(struct cli *cli, struct dev_cluster *cluster, struct sides *out) {
    uint32_t count = 0;
    *out = (struct sides){{false}};
    for (size_t i = 0; i < cli->args.operand_count; i++) {
        struct dev_node *node = NULL;
        enum cli_exit exit = dev_ask_operand(cli, cluster, i, &node);
        if (exit != CLI_OK) { return exit; }
        count += out->named[node - cluster->nodes] ? 0 : 1;
        out->named[node - cluster->nodes] = true;
    }
    if (count == cluster->node_count) {
        return cli_usage(cli, "all nodes are on one side; name fewer than %" PRIu32,
                         cluster->node_count);
    }
    return CLI_OK;
}

// Blocks for node `place` everything on the other side; without sides, nothing.
static enum status tell(const struct dev_cluster *cluster, uint32_t place,
                        const struct sides *sides, struct err *err) {
    uint32_t ids[DEV_NODES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; sides != NULL && i < cluster->node_count; i++) {
        if (sides->named[i] != sides->named[place]) {
            ids[count++] = dev_cluster_name(&cluster->nodes[i]);
        }
    }
    return dev_ask_block(&cluster->nodes[place], ids, count, err);
}

static enum cli_exit tell_all(struct cli *cli, const struct dev_cluster *cluster,
                              const struct sides *sides) {
    uint32_t told = 0;
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct err err = {0};
        if (dev_cluster_state(cluster, &cluster->nodes[i], NULL) != DEV_RUNNING) {
            cli_note(cli, "node %u does not run and was not told",
                     dev_cluster_name(&cluster->nodes[i]));
            continue;
        }
        if (tell(cluster, i, sides, &err) != STATUS_OK) {
            err_wrap(&err, "node %u", dev_cluster_name(&cluster->nodes[i]));
            return cli_fail_err(cli, &err, "lightcone dev heal, then again");
        }
        told++;
    }
    if (cli->format == CLI_JSON) {
        cli_print_json(cli, json_pack("{s:I,s:b}", "told", (json_int_t)told, "partitioned",
                                      (int)(sides != NULL)));
    } else {
        (void)fprintf(cli->out, "%s\n",
                      sides != NULL ? "partitioned; lightcone dev heal ends it" : "healed");
    }
    return CLI_OK;
}

static enum cli_exit run_partition(struct cli *cli) {
    struct dev_cluster cluster;
    struct sides sides;
    enum cli_exit exit = dev_ask_open(cli, &cluster);
    if (exit != CLI_OK) { return exit; }
    exit = read_sides(cli, &cluster, &sides);
    if (exit == CLI_OK) { exit = tell_all(cli, &cluster, &sides); }
    dev_cluster_close(&cluster);
    return exit;
}

static enum cli_exit run_heal(struct cli *cli) {
    struct dev_cluster cluster;
    enum cli_exit exit = dev_ask_open(cli, &cluster);
    if (exit != CLI_OK) { return exit; }
    exit = tell_all(cli, &cluster, NULL);
    dev_cluster_close(&cluster);
    return exit;
}

static const struct args_option options[] = {DEV_OPTION_DIR};

const struct cli_command commands_dev_partition = {
    .noun = "dev",
    .verb = "partition",
    .operands = "NODE...",
    .summary = "cut these nodes off from the others",
    .details =
        "The named nodes reach each other, and so do the others; between the two sides every\n"
        "message is dropped. It replaces an earlier partition. Clients reach all nodes. A\n"
        "node that is restarted is no longer cut off on its own side.",
    .examples = "  lightcone dev partition 3\n"
                "  lightcone dev partition 1 2 && lightcone dev heal\n",
    .operand_min = 1,
    .operand_max = DEV_NODES_MAX,
    .options = {options, 1},
    .run = run_partition,
};

const struct cli_command commands_dev_heal = {
    .noun = "dev",
    .verb = "heal",
    .operands = "",
    .summary = "end a partition",
    .examples = "  lightcone dev heal\n",
    .options = {options, 1},
    .run = run_heal,
};
