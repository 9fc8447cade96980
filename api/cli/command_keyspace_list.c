// SPDX-License-Identifier: Apache-2.0
// Both forms are gathered in one pass over the answer.
#include "api/cli/admin_json.h"
#include "api/cli/commands.h"
#include "api/cli/session.h"

#include <inttypes.h>

static enum cli_exit run_list(struct cli *cli) {
    struct session session;
    enum cli_exit exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__KeyspaceListRequest request = LIGHTCONE__V1__KEYSPACE_LIST_REQUEST__INIT;
    Lightcone__V1__KeyspaceListResponse *list = NULL;
    struct err err = {0};
    static const struct table_column columns[] = {{.title = "ID", .right = true},
                                                  {.title = "NAME", .elastic = true},
                                                  {.title = "REPLICAS", .right = true}};
    struct table table;
    table_init(&table, columns, 3);
    json_t *keyspaces = json_array();
    if (lc_admin_keyspace_list(session.client, 0, &request, &list, &err) != STATUS_OK) {
        exit = cli_fail_err(cli, &err, NULL);
    }
    for (size_t i = 0; list != NULL && i < list->n_keyspaces; i++) {
        const Lightcone__V1__Keyspace *keyspace = list->keyspaces[i];
        (void)json_array_append_new(keyspaces, admin_json_keyspace(keyspace));
        table_cell(&table, "%" PRIu32, keyspace->id);
        table_cell(&table, "%s", keyspace->name);
        table_cell(&table, "%" PRIu32, keyspace->replicas);
    }
    if (exit == CLI_OK && cli->format == CLI_JSON) {
        cli_print_json(cli, json_pack("{s:O}", "keyspaces", keyspaces));
    } else if (exit == CLI_OK) {
        table_print(&table, cli->out, cli_style(cli));
    }
    json_decref(keyspaces);
    table_deinit(&table);
    lightcone__v1__keyspace_list_response__free_unpacked(list, NULL);
    session_close(&session);
    return exit;
}

const struct cli_command commands_keyspace_list = {
    .noun = "keyspace",
    .verb = "list",
    .operands = "",
    .summary = "the keyspaces of the cluster",
    .examples = "  lightcone keyspace list\n",
    .run = run_list,
};
