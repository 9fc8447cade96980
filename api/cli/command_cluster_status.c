// SPDX-License-Identifier: Apache-2.0
// Speaks to one address directly, so that it answers for a node that belongs to no cluster, too.
#include "api/cli/admin_json.h"
#include "api/cli/commands.h"
#include "api/cli/session.h"
#include "api/cli/text.h"

#include <inttypes.h>

static void print_status(struct cli *cli, const Lightcone__V1__ClusterStatusResponse *status,
                         const char *cluster_id) {
    static const struct table_column columns[] = {{.title = "FIELD"}, {.title = "VALUE"}};
    char text[TEXT_SIZE];
    struct table table;
    table_init(&table, columns, 2);
    table_cell(&table, "cluster");
    table_cell(&table, "%s", cluster_id);
    table_cell(&table, "nodes live");
    table_cell(&table, "%" PRIu32 " of %" PRIu32, status->node_live_count, status->node_count);
    table_cell(&table, "keyspaces");
    table_cell(&table, "%" PRIu32, status->keyspace_count);
    table_cell(&table, "shards");
    table_cell(&table, "%" PRIu64, status->shard_count);
    table_cell(&table, "without leader");
    table_cell(&table, "%" PRIu64, status->shard_leaderless_count);
    table_cell(&table, "catalogue");
    if (status->catalog_leader != 0) {
        table_cell(&table, "version %" PRIu64 ", led by node %" PRIu32, status->catalog_version,
                   status->catalog_leader);
    } else {
        table_cell(&table, "version %" PRIu64 ", leader unknown", status->catalog_version);
    }
    table_cell(&table, "time");
    table_cell(&table, "%s", text_format_timestamp(status->hlc, text));
    table_cell(&table, "answered by");
    table_cell(&table, "node %" PRIu32 ", version %s", status->served_by, status->version);
    table_print_fields(&table, cli->out, cli_style(cli));
    table_deinit(&table);
}

static json_t *status_json(const Lightcone__V1__ClusterStatusResponse *status) {
    json_t *object = json_object();
    admin_json_cluster_id(object, status->cluster_id);
    cli_json_bool(object, "initialized", status->initialized != 0);
    cli_json_u64(object, "catalog_version", status->catalog_version);
    cli_json_u64(object, "catalog_leader", status->catalog_leader);
    cli_json_u64(object, "node_count", status->node_count);
    cli_json_u64(object, "node_live_count", status->node_live_count);
    cli_json_u64(object, "keyspace_count", status->keyspace_count);
    cli_json_u64(object, "shard_count", status->shard_count);
    cli_json_u64(object, "shard_leaderless_count", status->shard_leaderless_count);
    cli_json_timestamp(object, "hlc", status->hlc);
    cli_json_u64(object, "served_by", status->served_by);
    cli_json_string(object, "version", status->version);
    return object;
}

static enum cli_exit run_status(struct cli *cli) {
    Lightcone__V1__ClusterStatusRequest request = LIGHTCONE__V1__CLUSTER_STATUS_REQUEST__INIT;
    struct lc_admin_call call = {
        .method = "ClusterStatus",
        .request = &request.base,
        .response = &lightcone__v1__cluster_status_response__descriptor,
        .timeout_ms = cli->timeout_ms,
    };
    ProtobufCMessage *message = NULL;
    enum cli_exit exit = session_direct(cli, &call, &message);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__ClusterStatusResponse *status = (void *)message;
    json_t *object = status_json(status);
    if (cli->format == CLI_JSON) {
        cli_print_json(cli, json_incref(object));
    } else if (status->initialized == 0) {
        exit = cli_fail(
            cli, &(struct cli_error){.status = STATUS_FAILED_PRECONDITION,
                                     .message = "the node runs, but belongs to no cluster yet",
                                     .hint = "lightcone cluster init, once the nodes are up"});
    } else {
        print_status(cli, status, json_string_value(json_object_get(object, "cluster_id")));
    }
    json_decref(object);
    lightcone__v1__cluster_status_response__free_unpacked(status, NULL);
    return exit;
}

const struct cli_command commands_cluster_status = {
    .noun = "cluster",
    .verb = "status",
    .operands = "",
    .summary = "nodes, shards and the catalogue at a glance",
    .examples = "  lightcone cluster status\n"
                "  lightcone cluster status --format json\n",
    .run = run_status,
};
