// SPDX-License-Identifier: Apache-2.0
// Speaks to one address directly: before there is a cluster there is no map to route by.
#include "api/cli/admin_json.h"
#include "api/cli/commands.h"
#include "api/cli/session.h"

static const struct args_option init_options[] = {
    {.name = "replicas",
     .kind = ARGS_NUMBER,
     .placeholder = "1|3|5",
     .help = "nodes that keep the catalogue; as many as the known nodes allow when not given",
     .number_min = 1,
     .number_max = 5},
};

static enum cli_exit run_init(struct cli *cli) {
    Lightcone__V1__ClusterInitRequest request = LIGHTCONE__V1__CLUSTER_INIT_REQUEST__INIT;
    request.replicas = (uint32_t)args_number(&cli->args, "replicas");
    if (request.replicas != 0 && request.replicas % 2 == 0) {
        return cli_usage(cli, "--replicas: an odd number is wanted, a majority must be clear");
    }
    struct lc_admin_call call = {
        .method = "ClusterInit",
        .request = &request.base,
        .response = &lightcone__v1__cluster_init_response__descriptor,
        .timeout_ms = cli->timeout_ms,
    };
    ProtobufCMessage *message = NULL;
    enum cli_exit exit = session_direct(cli, &call, &message);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__ClusterInitResponse *response = (void *)message;
    json_t *object = json_object();
    admin_json_cluster_id(object, response->cluster_id);
    lightcone__v1__cluster_init_response__free_unpacked(response, NULL);
    if (cli->format == CLI_JSON) {
        cli_print_json(cli, object);
        return CLI_OK;
    }
    (void)fprintf(cli->out, "cluster %s\n",
                  json_string_value(json_object_get(object, "cluster_id")));
    json_decref(object);
    return CLI_OK;
}

const struct cli_command commands_cluster_init = {
    .noun = "cluster",
    .verb = "init",
    .operands = "",
    .summary = "make a cluster of the node asked and those it knows of",
    .details = "Once in the life of a cluster, at one node. The nodes that have this one in their\n"
               "`join` list become members; nodes that come later join by themselves.",
    .examples = "  lightcone --address 127.0.0.1:7401 cluster init\n"
                "  lightcone cluster init --replicas 3\n",
    .options = {init_options, 1},
    .run = run_init,
};
