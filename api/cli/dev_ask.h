// SPDX-License-Identifier: Apache-2.0
// dev_ask.h - questions to the nodes of a development cluster, each at its own address.
// Invariants: no question waits longer than its timeout, whatever state the node's process is in.
// Ownership:  values; a NodeShowResponse is the caller's.
// Thread:     one.
// See:        api/cli/command_dev_up.c
#pragma once

#include "api/cli/dev_cluster.h"
#include "api/cli/session.h"

// Says that it serves, and what it knows.
struct dev_answer {
    bool initialized;
    uint32_t node_id;      // 0 = it has none yet
    uint32_t node_count;   // nodes that it knows of
    uint64_t shard_count;  // of the cluster, as it knows it
};
NODISCARD enum status dev_ask_status(const struct dev_node *node, uint32_t timeout_ms,
                                     struct dev_answer *out, struct err *err);
NODISCARD enum status dev_ask_show(const struct dev_node *node, uint32_t timeout_ms,
                                   Lightcone__V1__NodeShowResponse **out, struct err *err);
// Founds the cluster at this node. OK, too, when it was founded before.
NODISCARD enum status dev_ask_init(const struct dev_node *node, uint32_t replicas, struct err *err);
// Cuts the node off from those in `ids`, and from nobody else.
NODISCARD enum status dev_ask_block(const struct dev_node *node, const uint32_t *ids,
                                    uint32_t count, struct err *err);
// Shifts the clock that the node sees.
NODISCARD enum status dev_ask_clock(const struct dev_node *node, int64_t offset_ms,
                                    struct err *err);

// Until the node answers; NOT_FOUND when its process ended meanwhile.
NODISCARD enum status dev_ask_wait_up(const struct dev_cluster *cluster,
                                      const struct dev_node *node, uint32_t timeout_ms,
                                      struct err *err);

// --- What the commands share

// Opens the cluster that --dir names, which must exist. Close it after CLI_OK.
NODISCARD enum cli_exit dev_ask_open(struct cli *cli, struct dev_cluster *out);
// The node of an operand.
NODISCARD enum cli_exit dev_ask_operand(struct cli *cli, struct dev_cluster *cluster,
                                        size_t operand, struct dev_node **out);
// A row a node: processes, addresses, leaders. Asks the nodes that run.
void dev_ask_print(struct cli *cli, const struct dev_cluster *cluster);

#define DEV_OPTION_DIR                                                             \
    {                                                                              \
        .name = "dir", .kind = ARGS_TEXT, .placeholder = "DIR",                    \
        .help = "state directory; default $LIGHTCONE_DEV_DIR, else lightcone/dev " \
                "in $XDG_STATE_HOME or ~/.local/state"                             \
    }
