// SPDX-License-Identifier: Apache-2.0
// A stopped process (SIGSTOP) keeps its port open and never answers: it is not asked at all.
#include "api/cli/dev_ask.h"

#include "api/cli/progress.h"
#include "api/cli/text.h"
#include "dataplane/base/assert.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { DEV_ASK_MS = 1000, DEV_PAUSE_MS = 50, DEV_INIT_MS = 10000 };

static enum status ask(const struct dev_node *node, const struct lc_admin_call *call,
                       ProtobufCMessage **out, struct err *err) {
    char address[DEV_ADDRESS_SIZE];
    dev_cluster_rpc_address(node, address);
    return lc_admin_direct(address, call, out, err);
}

enum status dev_ask_status(const struct dev_node *node, uint32_t timeout_ms, struct dev_answer *out,
                           struct err *err) {
    Lightcone__V1__ClusterStatusRequest request = LIGHTCONE__V1__CLUSTER_STATUS_REQUEST__INIT;
    struct lc_admin_call call = {
        .method = "ClusterStatus",
        .request = &request.base,
        .response = &lightcone__v1__cluster_status_response__descriptor,
        .timeout_ms = timeout_ms,
    };
    ProtobufCMessage *message = NULL;
    enum status st = ask(node, &call, &message, err);
    if (st != STATUS_OK) { return st; }
    Lightcone__V1__ClusterStatusResponse *status = (void *)message;
    *out = (struct dev_answer){.initialized = status->initialized != 0,
                               .node_id = status->served_by,
                               .node_count = status->node_count,
                               .shard_count = status->shard_count};
    lightcone__v1__cluster_status_response__free_unpacked(status, NULL);
    return STATUS_OK;
}

enum status dev_ask_show(const struct dev_node *node, uint32_t timeout_ms,
                         Lightcone__V1__NodeShowResponse **out, struct err *err) {
    Lightcone__V1__NodeShowRequest request = LIGHTCONE__V1__NODE_SHOW_REQUEST__INIT;
    struct lc_admin_call call = {
        .method = "NodeShow",
        .request = &request.base,
        .response = &lightcone__v1__node_show_response__descriptor,
        .timeout_ms = timeout_ms,
    };
    ProtobufCMessage *message = NULL;
    enum status st = ask(node, &call, &message, err);
    if (st == STATUS_OK) { *out = (void *)message; }
    return st;
}

enum status dev_ask_block(const struct dev_node *node, const uint32_t *ids, uint32_t count,
                          struct err *err) {
    Lightcone__V1__DevBlockRequest request = LIGHTCONE__V1__DEV_BLOCK_REQUEST__INIT;
    struct lc_admin_call call = {
        .method = "DevBlock",
        .request = &request.base,
        .response = &lightcone__v1__dev_block_response__descriptor,
        .timeout_ms = DEV_ASK_MS,
    };
    request.nodes = (uint32_t *)ids;
    request.n_nodes = count;
    ProtobufCMessage *message = NULL;
    enum status st = ask(node, &call, &message, err);
    if (st == STATUS_OK) { protobuf_c_message_free_unpacked(message, NULL); }
    return st;
}

enum status dev_ask_clock(const struct dev_node *node, int64_t offset_ms, struct err *err) {
    Lightcone__V1__DevClockRequest request = LIGHTCONE__V1__DEV_CLOCK_REQUEST__INIT;
    struct lc_admin_call call = {
        .method = "DevClock",
        .request = &request.base,
        .response = &lightcone__v1__dev_clock_response__descriptor,
        .timeout_ms = DEV_ASK_MS,
    };
    request.offset_ms = offset_ms;
    ProtobufCMessage *message = NULL;
    enum status st = ask(node, &call, &message, err);
    if (st == STATUS_OK) { protobuf_c_message_free_unpacked(message, NULL); }
    return st;
}

// --- Waiting

static void pause_a_little(void) {
    (void)nanosleep(&(struct timespec){.tv_nsec = DEV_PAUSE_MS * 1000000L}, NULL);
}

// FAILED_PRECONDITION: the others have not asked to join yet; they try again all the time.
enum status dev_ask_init(const struct dev_node *node, uint32_t replicas, struct err *err) {
    uint64_t end = progress_now_ns() + DEV_INIT_MS * UINT64_C(1000000);
    enum status st = STATUS_OK;
    do {
        Lightcone__V1__ClusterInitRequest request = LIGHTCONE__V1__CLUSTER_INIT_REQUEST__INIT;
        struct lc_admin_call call = {
            .method = "ClusterInit",
            .request = &request.base,
            .response = &lightcone__v1__cluster_init_response__descriptor,
            .timeout_ms = DEV_INIT_MS,
        };
        ProtobufCMessage *message = NULL;
        request.replicas = replicas;
        *err = (struct err){0};
        st = ask(node, &call, &message, err);
        if (st == STATUS_OK) { protobuf_c_message_free_unpacked(message, NULL); }
        if (st == STATUS_OK || st == STATUS_ALREADY_EXISTS) { return STATUS_OK; }
        pause_a_little();
    } while (st == STATUS_FAILED_PRECONDITION && progress_now_ns() < end);
    return st;
}

enum status dev_ask_wait_up(const struct dev_cluster *cluster, const struct dev_node *node,
                            uint32_t timeout_ms, struct err *err) {
    uint64_t end = progress_now_ns() + timeout_ms * UINT64_C(1000000);
    do {
        struct dev_answer answer;
        struct err ignored = {0};
        if (dev_ask_status(node, DEV_ASK_MS, &answer, &ignored) == STATUS_OK) { return STATUS_OK; }
        if (dev_cluster_state(cluster, node, NULL) == DEV_DOWN) {
            return err_set(err, STATUS_NOT_FOUND, "the process of node %u ended",
                           dev_cluster_name(node));
        }
        pause_a_little();
    } while (progress_now_ns() < end);
    return err_set(err, STATUS_DEADLINE_EXCEEDED, "node %u does not answer",
                   dev_cluster_name(node));
}

// --- Operands

enum cli_exit dev_ask_open(struct cli *cli, struct dev_cluster *out) {
    char dir[DEV_PATH_SIZE];
    struct err err = {0};
    enum status st = dev_cluster_directory(args_text(&cli->args, "dir"), dir, &err);
    if (st == STATUS_OK) { st = dev_cluster_open(out, dir, &err); }
    if (st != STATUS_OK) { return cli_fail_err(cli, &err, "name another directory with --dir"); }
    if (out->exists) { return CLI_OK; }
    dev_cluster_close(out);
    (void)err_set(&err, STATUS_NOT_FOUND, "no development cluster in %.180s", dir);
    return cli_fail_err(cli, &err, "lightcone dev up");
}

enum cli_exit dev_ask_operand(struct cli *cli, struct dev_cluster *cluster, size_t operand,
                              struct dev_node **out) {
    uint64_t number = 0;
    enum cli_exit exit = session_number(cli, operand, "NODE", UINT32_MAX, &number);
    if (exit != CLI_OK) { return exit; }
    *out = dev_cluster_find(cluster, (uint32_t)number);
    if (*out != NULL) { return CLI_OK; }
    struct err err = {0};
    (void)err_set(&err, STATUS_NOT_FOUND, "no node %" PRIu64 " in %.150s", number, cluster->dir);
    return cli_fail_err(cli, &err, "lightcone dev status");
}

// --- The table

// What is known of a node; show is NULL when it did not answer.
struct sight {
    enum dev_state state;
    struct dev_process process;
    Lightcone__V1__NodeShowResponse *show;
};

static const char *state_name(const struct sight *sight) {
    switch (sight->state) {
    case DEV_DOWN:
        return "down";
    case DEV_STOPPED:
        return "stopped";
    case DEV_RUNNING:
        break;
    }
    return sight->show != NULL ? "running" : "not serving";
}

// ", cut off from 1 2", or nothing.
static void add_blocked(struct buf *out, const struct sight *sight) {
    bool first = true;
    for (size_t i = 0; sight->show != NULL && i < sight->show->n_peers; i++) {
        const Lightcone__V1__PeerLink *link = sight->show->peers[i];
        if (link->blocked == 0) { continue; }
        text_addf(out, "%s %" PRIu32, first ? ", cut off from" : "", link->node);
        first = false;
    }
}

static void add_state(struct table *table, const struct sight *sight) {
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    text_add_string(&text, state_name(sight));
    add_blocked(&text, sight);
    table_cell_bytes(table, buf_slice(&text));
    buf_deinit(&text);
}

static json_t *blocked_json(const struct sight *sight) {
    json_t *blocked = json_array();
    for (size_t i = 0; i < sight->show->n_peers; i++) {
        if (sight->show->peers[i]->blocked == 0) { continue; }
        (void)json_array_append_new(blocked, json_integer(sight->show->peers[i]->node));
    }
    return blocked;
}

static void look(const struct dev_cluster *cluster, const struct dev_node *node,
                 struct sight *out) {
    *out = (struct sight){.state = DEV_DOWN};
    out->state = dev_cluster_state(cluster, node, &out->process);
    struct err ignored = {0};
    if (out->state == DEV_RUNNING) { (void)!dev_ask_show(node, DEV_ASK_MS, &out->show, &ignored); }
}

static void add_row(struct table *table, const struct dev_node *node, const struct sight *sight) {
    char address[DEV_ADDRESS_SIZE];
    char text[TEXT_SIZE];
    dev_cluster_rpc_address(node, address);
    table_cell(table, "%u", dev_cluster_name(node));
    add_state(table, sight);
    table_cell(table, "%s", node->region);
    table_cell(table, "%s", address);
    if (sight->state == DEV_DOWN) {
        table_cell(table, "-");
    } else {
        table_cell(table, "%d", (int)sight->process.pid);
    }
    if (sight->show == NULL) {
        table_cell(table, "-");
        table_cell(table, "-");
        table_cell(table, "-");
        return;
    }
    table_cell(table, "%" PRIu64, sight->show->replica_count);
    table_cell(table, "%" PRIu64, sight->show->leader_count);
    table_cell(table, "%s", text_format_duration(sight->show->uptime_ms * 1000000, text));
}

static json_t *node_json(const struct dev_cluster *cluster, const struct dev_node *node,
                         const struct sight *sight) {
    char address[DEV_ADDRESS_SIZE];
    char log[DEV_FILE_SIZE];
    json_t *object = json_object();
    dev_cluster_rpc_address(node, address);
    dev_cluster_path(cluster, node, "log", log);
    cli_json_u64(object, "node", dev_cluster_name(node));
    cli_json_string(object, "state",
                    sight->state == DEV_RUNNING && sight->show == NULL ? "not_serving"
                                                                       : state_name(sight));
    cli_json_string(object, "region", node->region);
    cli_json_string(object, "rpc_address", address);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", node->peer_port);
    cli_json_string(object, "peer_address", address);
    if (sight->state == DEV_DOWN) {
        cli_json_string(object, "pid", NULL);
    } else {
        cli_json_u64(object, "pid", (uint64_t)sight->process.pid);
    }
    cli_json_string(object, "log", log);
    if (sight->show != NULL) {
        cli_json_u64(object, "replica_count", sight->show->replica_count);
        cli_json_u64(object, "leader_count", sight->show->leader_count);
        cli_json_u64(object, "uptime_ms", sight->show->uptime_ms);
        (void)json_object_set_new(object, "blocked", blocked_json(sight));
    }
    return object;
}

static void print_json(struct cli *cli, const struct dev_cluster *cluster,
                       const struct sight *sights) {
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        (void)json_array_append_new(nodes, node_json(cluster, &cluster->nodes[i], &sights[i]));
    }
    json_t *object = json_object();
    cli_json_string(object, "dir", cluster->dir);
    cli_json_bool(object, "initialized", cluster->initialized);
    (void)json_object_set_new(object, "nodes", nodes);
    cli_print_json(cli, object);
}

static void print_table(struct cli *cli, const struct dev_cluster *cluster,
                        const struct sight *sights) {
    static const struct table_column columns[] = {
        {.title = "NODE", .right = true},     {.title = "STATE", .elastic = true},
        {.title = "REGION", .elastic = true}, {.title = "CLIENTS"},
        {.title = "PID", .right = true},      {.title = "REPLICAS", .right = true},
        {.title = "LEADS", .right = true},    {.title = "UP", .right = true},
    };
    struct table table;
    table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        add_row(&table, &cluster->nodes[i], &sights[i]);
    }
    table_print(&table, cli->out, cli_style(cli));
    table_deinit(&table);
}

void dev_ask_print(struct cli *cli, const struct dev_cluster *cluster) {
    struct sight sights[DEV_NODES_MAX];
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        look(cluster, &cluster->nodes[i], &sights[i]);
    }
    if (cli->format == CLI_JSON) {
        print_json(cli, cluster, sights);
    } else {
        print_table(cli, cluster, sights);
    }
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        lightcone__v1__node_show_response__free_unpacked(sights[i].show, NULL);
    }
}
