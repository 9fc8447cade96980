// SPDX-License-Identifier: Apache-2.0
// What the catalogue says about the nodes.
#include "api/cli/admin_json.h"
#include "api/cli/commands.h"
#include "api/cli/session.h"

#include <inttypes.h>

static void print_list(struct cli *cli, const Lightcone__V1__NodeListResponse *list) {
    static const struct table_column columns[] = {
        {.title = "NODE", .right = true},      {.title = "STATE"},
        {.title = "CLIENTS", .elastic = true}, {.title = "PEERS", .elastic = true},
        {.title = "REGION", .elastic = true},  {.title = "ZONE", .elastic = true},
    };
    struct table table;
    table_init(&table, columns, 6);
    for (size_t i = 0; i < list->n_nodes; i++) {
        const Lightcone__V1__Node *node = list->nodes[i];
        table_cell(&table, "%" PRIu32, node->id);
        table_cell(&table, "%s", admin_json_node_state(node->state));
        table_cell(&table, "%s", node->rpc_address);
        table_cell(&table, "%s", node->peer_address);
        table_cell(&table, "%s", node->region);
        table_cell(&table, "%s", node->zone);
    }
    table_print(&table, cli->out, cli_style(cli));
    table_deinit(&table);
}

static enum cli_exit run_list(struct cli *cli) {
    struct session session;
    enum cli_exit exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__NodeListRequest request = LIGHTCONE__V1__NODE_LIST_REQUEST__INIT;
    Lightcone__V1__NodeListResponse *list = NULL;
    struct err err = {0};
    if (lc_admin_node_list(session.client, 0, &request, &list, &err) != STATUS_OK) {
        exit = cli_fail_err(cli, &err, NULL);
    } else if (cli->format == CLI_JSON) {
        json_t *nodes = json_array();
        for (size_t i = 0; i < list->n_nodes; i++) {
            (void)json_array_append_new(nodes, admin_json_node(list->nodes[i]));
        }
        cli_print_json(cli, json_pack("{s:o}", "nodes", nodes));
    } else {
        print_list(cli, list);
    }
    lightcone__v1__node_list_response__free_unpacked(list, NULL);
    session_close(&session);
    return exit;
}

const struct cli_command commands_node_list = {
    .noun = "node",
    .verb = "list",
    .operands = "",
    .summary = "the nodes of the cluster",
    .details = "STATE is what the catalogue says; `node show` asks the node itself.",
    .examples = "  lightcone node list\n",
    .run = run_list,
};
