// SPDX-License-Identifier: Apache-2.0
// shard_order.h - what the commands about the members of a shard have in common: ordering, planning
// and waiting for the end.
// Invariants: whatever returns an exit code other than CLI_OK has reported why; waiting only looks,
//             so interrupting it leaves the operation as it is.
// Ownership:  lists are values; messages are the caller's until freed.
// Thread:     one.
// See:        api/cli/README.md; docs/OPERATIONS.md "Moving replicas"
#pragma once

#include "api/cli/session.h"
#include "dataplane/shard/shard.h"

struct shard_order_nodes {
    uint32_t nodes[SHARD_MEMBERS_MAX];
    size_t count;
};

// Options of these commands: --plan, --wait, --wait-seconds.
#define SHARD_ORDER_PLAN_OPTION                                            \
    {                                                                      \
        .name = "plan", .kind = ARGS_FLAG,                                 \
        .help = "only say what would be done, and what stands in the way", \
    }
#define SHARD_ORDER_WAIT_OPTION                                                 \
    {                                                                           \
        .name = "wait", .kind = ARGS_FLAG,                                      \
        .help = "wait until the members are those ordered, and tell the steps", \
    }
#define SHARD_ORDER_LIMIT_OPTION                                                            \
    {                                                                                       \
        .name = "wait-seconds", .kind = ARGS_NUMBER, .placeholder = "S", .fallback = "600", \
        .number_min = 1, .number_max = 86400, .help = "how long --wait waits",              \
    }

// "1,2,4" into a list. False: reported as a wrong line.
bool shard_order_parse(struct cli *cli, const char *option, const char *text,
                       struct shard_order_nodes *out, enum cli_exit *exit);
bool shard_order_has(const struct shard_order_nodes *self, uint32_t node);
// "1, 2, 4"
void shard_order_text(const struct shard_order_nodes *self, char *out, size_t size);
// The members of a role that are to stay (leaving ones are none), by the catalogue.
void shard_order_members(const Lightcone__V1__Shard *shard, Lightcone__V1__ReplicaRole role,
                         struct shard_order_nodes *out);

NODISCARD enum status shard_order_show(struct lc_client *client, uint64_t shard,
                                       Lightcone__V1__ShardShowResponse **out, struct err *err);

struct shard_order {
    uint64_t shard;
    uint64_t config_epoch;  // that the order is based on; 0 = whichever
    struct shard_order_nodes voters;
    struct shard_order_nodes learners;
};
// Orders, or plans with --plan, waits with --wait, and prints the outcome.
enum cli_exit shard_order_run(struct cli *cli, struct lc_client *client,
                              const struct shard_order *order);
// Waits until no operation of the shard is under way, then prints its members; those must be the
// order's when there is one. `since`: the shard as it was answered to the order; a node whose
// catalogue is older than that is not believed.
enum cli_exit shard_order_wait(struct cli *cli, struct lc_client *client,
                               const Lightcone__V1__Shard *since, const struct shard_order *order);
// Lets a node lead, and waits until it does.
enum cli_exit shard_order_transfer(struct cli *cli, uint64_t shard, uint32_t target);
