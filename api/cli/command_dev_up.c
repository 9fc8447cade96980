// SPDX-License-Identifier: Apache-2.0
// Nodes are started one after the other, each when the one before answers, so that they ask to join
// in the order of their numbers; the first three, which found the cluster, get their ids in that
// order, later ones in the order in which the catalogue registers them. A step that fails leaves
// what runs running: `dev up` again goes on from there, `dev down` ends it.
#include "api/cli/commands.h"
#include "api/cli/dev_ask.h"
#include "api/cli/lines.h"
#include "api/cli/progress.h"
#include "api/cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    UP_START_MS = 20000,
    UP_LIVE_MS = 20000,
    UP_PAUSE_MS = 50,
    UP_LOG_LINES = 5,
    UP_ASK_MS = 1000
};

// --- What went wrong

// The last lines of the log say more than we could.
static void show_log(struct cli *cli, const struct dev_cluster *cluster,
                     const struct dev_node *node) {
    char path[DEV_FILE_SIZE];
    struct buf kept[UP_LOG_LINES];
    dev_cluster_path(cluster, node, "log", path);
    FILE *file = fopen(path, "re");
    if (file == NULL) { return; }
    for (int i = 0; i < UP_LOG_LINES; i++) {
        buf_init(&kept[i], TEXT_BUF_MAX);
    }
    struct lines lines;
    struct slice line = SLICE_EMPTY;
    bool end = false;
    lines_init(&lines, file, 1 << 20);
    while (lines_next(&lines, &line, &end, NULL) == STATUS_OK && !end) {
        struct buf *place = &kept[lines.number % UP_LOG_LINES];
        buf_reset(place);
        text_escape(place, line, TEXT_LINE);
    }
    for (uint64_t i = 1; i <= UP_LOG_LINES; i++) {
        struct buf *place = &kept[(lines.number + i) % UP_LOG_LINES];
        if (place->size > 0) {
            cli_note(cli, "  log: %.*s", (int)(place->size < 300 ? place->size : 300),
                     (const char *)place->data);
        }
        buf_deinit(place);
    }
    lines_deinit(&lines);
    (void)fclose(file);
}

static enum cli_exit node_failed(struct cli *cli, const struct dev_cluster *cluster,
                                 const struct dev_node *node, const struct err *err) {
    char hint[DEV_FILE_SIZE + 32];
    char path[DEV_FILE_SIZE];
    dev_cluster_path(cluster, node, "log", path);
    (void)snprintf(hint, sizeof(hint), "its log is %s", path);
    enum cli_exit exit = cli_fail_err(cli, err, hint);
    show_log(cli, cluster, node);
    return exit;
}

// --- Steps

static enum cli_exit plan(struct cli *cli, struct dev_cluster *cluster) {
    const char *regions = args_text(&cli->args, "regions");
    uint32_t nodes = (uint32_t)args_number(&cli->args, "nodes");
    struct err err = {0};
    bool same = !args_has(&cli->args, "nodes") || nodes == cluster->node_count;
    if (cluster->exists && same) { return CLI_OK; }
    if (cluster->exists && nodes < cluster->node_count) {
        (void)err_set(&err, STATUS_ALREADY_EXISTS,
                      "the cluster in %.150s has %u nodes, and nodes are not taken away again",
                      cluster->dir, cluster->node_count);
        return cli_fail_err(cli, &err,
                            "lightcone dev down --wipe deletes it; --dir names another one");
    }
    enum status st = dev_cluster_plan(cluster, nodes, regions, &err);
    if (st == STATUS_OK) { st = dev_cluster_save(cluster, &err); }
    if (st == STATUS_OK) {
        cluster->exists = true;
        return CLI_OK;
    }
    return st == STATUS_INVALID_ARGUMENT ? cli_usage(cli, "%s", err.message)
                                         : cli_fail_err(cli, &err, NULL);
}

static enum cli_exit start(struct cli *cli, const struct dev_cluster *cluster) {
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        const struct dev_node *node = &cluster->nodes[i];
        struct err err = {0};
        enum status st = dev_cluster_write_config(cluster, node, &err);
        if (st == STATUS_OK) { st = dev_cluster_start(cluster, node, &err); }
        if (st != STATUS_OK) { return cli_fail_err(cli, &err, "build it, or set LIGHTCONED"); }
        st = dev_ask_wait_up(cluster, node, UP_START_MS, &err);
        if (st != STATUS_OK) { return node_failed(cli, cluster, node, &err); }
    }
    return CLI_OK;
}

static enum cli_exit initialize(struct cli *cli, struct dev_cluster *cluster) {
    if (cluster->initialized) { return CLI_OK; }
    struct err err = {0};
    uint32_t replicas = cluster->node_count >= 3 ? 3 : 1;
    if (dev_ask_init(&cluster->nodes[0], replicas, &err) != STATUS_OK) {
        return node_failed(cli, cluster, &cluster->nodes[0], &err);
    }
    cluster->initialized = true;
    if (dev_cluster_save(cluster, &err) != STATUS_OK) { return cli_fail_err(cli, &err, NULL); }
    return CLI_OK;
}

// What is still missing, for the message when time is up.
struct missing {
    uint32_t place;    // of the node in the cluster
    const char *what;  // NULL = nothing
};

// Every node has its id and knows all the others. (Whether it takes them for alive says nothing
// here: nodes without a common shard do not watch each other.)
static struct missing find_missing_node(struct dev_cluster *cluster, uint64_t *out_shards) {
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct dev_answer answer = {0};
        struct err ignored = {0};
        enum status st = dev_ask_status(&cluster->nodes[i], UP_ASK_MS, &answer, &ignored);
        if (st != STATUS_OK) { return (struct missing){i, "does not answer"}; }
        if (answer.node_id == 0) { return (struct missing){i, "has not joined the cluster"}; }
        cluster->nodes[i].id = answer.node_id;
        if (answer.node_count < cluster->node_count) {
            return (struct missing){i, "does not know all nodes"};
        }
        *out_shards = answer.shard_count;
    }
    return (struct missing){0, NULL};
}

// Every shard is led: a leader knows it of itself, others may not know.
static struct missing find_missing_leader(const struct dev_cluster *cluster, uint64_t shards) {
    uint64_t led = 0;
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        Lightcone__V1__NodeShowResponse *show = NULL;
        struct err ignored = {0};
        if (dev_ask_show(&cluster->nodes[i], UP_ASK_MS, &show, &ignored) != STATUS_OK) {
            return (struct missing){i, "does not answer"};
        }
        led += show->leader_count;
        lightcone__v1__node_show_response__free_unpacked(show, NULL);
    }
    return (struct missing){0, led < shards ? "runs, but some shards have no leader" : NULL};
}

static struct missing find_missing(struct dev_cluster *cluster) {
    uint64_t shards = 0;
    struct missing missing = find_missing_node(cluster, &shards);
    return missing.what == NULL ? find_missing_leader(cluster, shards) : missing;
}

static int by_id(const void *a, const void *b) {
    const struct dev_node *left = a;
    const struct dev_node *right = b;
    return left->id < right->id ? -1 : left->id > right->id ? 1 : 0;
}

static enum cli_exit wait_complete(struct cli *cli, struct dev_cluster *cluster) {
    uint64_t end = progress_now_ns() + UP_LIVE_MS * UINT64_C(1000000);
    struct missing missing = find_missing(cluster);
    while (missing.what != NULL && progress_now_ns() < end) {
        (void)nanosleep(&(struct timespec){.tv_nsec = UP_PAUSE_MS * 1000000L}, NULL);
        missing = find_missing(cluster);
    }
    struct err err = {0};
    if (missing.what != NULL) {
        const struct dev_node *node = &cluster->nodes[missing.place];
        (void)err_set(&err, STATUS_DEADLINE_EXCEEDED, "after %d s node %u %s", UP_LIVE_MS / 1000,
                      dev_cluster_name(node), missing.what);
        return node_failed(cli, cluster, node, &err);
    }
    qsort(cluster->nodes, cluster->node_count, sizeof(cluster->nodes[0]), by_id);
    if (dev_cluster_save(cluster, &err) != STATUS_OK) { return cli_fail_err(cli, &err, NULL); }
    return CLI_OK;
}

static enum cli_exit bring_up(struct cli *cli, struct dev_cluster *cluster) {
    enum cli_exit exit = plan(cli, cluster);
    if (exit == CLI_OK) { exit = start(cli, cluster); }
    if (exit == CLI_OK) { exit = initialize(cli, cluster); }
    if (exit == CLI_OK) { exit = wait_complete(cli, cluster); }
    if (exit == CLI_OK) {
        dev_ask_print(cli, cluster);
        cli_note(cli, "insecure, on loopback, for development; data and logs in %s", cluster->dir);
    }
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    char dir[DEV_PATH_SIZE];
    struct dev_cluster cluster;
    struct err err = {0};
    enum status st = dev_cluster_directory(args_text(&cli->args, "dir"), dir, &err);
    if (st == STATUS_OK) { st = dev_cluster_open(&cluster, dir, &err); }
    if (st != STATUS_OK) { return cli_fail_err(cli, &err, "name another directory with --dir"); }
    enum cli_exit exit = bring_up(cli, &cluster);
    dev_cluster_close(&cluster);
    return exit;
}

static const struct args_option options[] = {
    {.name = "nodes",
     .kind = ARGS_NUMBER,
     .placeholder = "N",
     .help = "of the cluster; more than it has adds nodes to it",
     .fallback = "3",
     .number_min = 1,
     .number_max = DEV_NODES_MAX},
    {.name = "regions",
     .kind = ARGS_TEXT,
     .placeholder = "A,B,C",
     .help = "names of regions, given to the nodes in turn (default "
             "eu-central,us-east,ap-southeast)"},
    DEV_OPTION_DIR,
};

const struct cli_command commands_dev_up = {
    .noun = "dev",
    .verb = "up",
    .operands = "",
    .summary = "start a cluster of real processes on this machine",
    .details =
        "Writes configurations, starts lightconed once a node, makes them a cluster when they\n"
        "are new, and waits until all serve. Nodes that run already are left alone; nodes\n"
        "that were killed are started again. No TLS, loopback only.",
    .examples = "  lightcone dev up\n"
                "  lightcone dev up && lightcone dev up --nodes 4   # a node more\n"
                "  lightcone dev up --nodes 5 --regions berlin,paris,tokyo\n"
                "  LIGHTCONED=./lightconed lightcone dev up --dir ./dev\n",
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
