// SPDX-License-Identifier: Apache-2.0
// A node answers for itself only; the client library sends the call to its address.
#include "api/cli/admin_json.h"
#include "api/cli/commands.h"
#include "api/cli/session.h"
#include "api/cli/text.h"

#include <inttypes.h>

static void print_peers(struct cli *cli, const Lightcone__V1__NodeShowResponse *show) {
    static const struct table_column columns[] = {
        {.title = "PEER", .right = true},   {.title = "LINK"},
        {.title = "RTT", .right = true},    {.title = "SUPPORT", .right = true},
        {.title = "OFFSET", .right = true},
    };
    char text[TEXT_SIZE];
    struct table table;
    table_init(&table, columns, 5);
    for (size_t i = 0; i < show->n_peers; i++) {
        const Lightcone__V1__PeerLink *link = show->peers[i];
        const char *state = link->blocked != 0 ? "blocked" : link->connected != 0 ? "up" : "down";
        table_cell(&table, "%" PRIu32, link->node);
        table_cell(&table, "%s", state);
        table_cell(&table, "%s", text_format_duration(link->round_trip_us * 1000, text));
        table_cell(&table, "%" PRIu32 " ms", link->support_remaining_ms);
        table_cell(&table, "%+.3f ms", (double)link->wall_offset_us / 1e3);
    }
    table_print(&table, cli->out, cli_style(cli));
    table_deinit(&table);
}

static void print_show(struct cli *cli, const Lightcone__V1__NodeShowResponse *show) {
    static const struct table_column columns[] = {{.title = "FIELD"}, {.title = "VALUE"}};
    const Lightcone__V1__Node *node = show->node;
    char text[TEXT_SIZE];
    struct table table;
    table_init(&table, columns, 2);
    table_cell(&table, "node");
    table_cell(&table, "%" PRIu32 ", version %s, up %s", node->id, show->version,
               text_format_duration(show->uptime_ms * 1000000, text));
    table_cell(&table, "state");
    table_cell(&table, "%s%s", admin_json_node_state(node->state),
               show->disk_healthy != 0 ? "" : ", disk too slow to sync");
    table_cell(&table, "disk");
    table_cell(&table, "%s, last sync %.3f ms, longest %.3f ms%s", show->disk_state,
               (double)show->disk_last_sync_us / 1e3, (double)show->disk_worst_sync_us / 1e3,
               show->disk_pending_sync_us > 0 ? ", one under way" : "");
    table_cell(&table, "clock");
    table_cell(&table, "%s", admin_json_skew_state(show->skew_state));
    table_cell(&table, "place");
    table_cell(&table, "%s / %s (%.2f, %.2f)", node->region, node->zone,
               node->latitude_microdegrees / 1e6, node->longitude_microdegrees / 1e6);
    table_cell(&table, "addresses");
    table_cell(&table, "clients %s, peers %s", node->rpc_address, node->peer_address);
    table_cell(&table, "replicas");
    table_cell(&table, "%" PRIu64 ", leading %" PRIu64, show->replica_count, show->leader_count);
    table_cell(&table, "calls");
    table_cell(&table, "%" PRIu64 " in flight, %" PRIu64 " in all, %" PRIu64 " refused as overload",
               show->calls_in_flight, show->calls_total, show->overloaded_total);
    table_cell(&table, "time");
    table_cell(&table, "%s", text_format_timestamp(show->hlc, text));
    table_print_fields(&table, cli->out, cli_style(cli));
    table_deinit(&table);
    if (show->n_peers > 0) {
        (void)fputc('\n', cli->out);
        print_peers(cli, show);
    }
}

static json_t *show_json(const Lightcone__V1__NodeShowResponse *show) {
    json_t *object = json_object();
    json_t *peers = json_array();
    (void)json_object_set_new(object, "node", admin_json_node(show->node));
    cli_json_string(object, "version", show->version);
    cli_json_u64(object, "uptime_ms", show->uptime_ms);
    cli_json_u64(object, "replica_count", show->replica_count);
    cli_json_u64(object, "leader_count", show->leader_count);
    cli_json_u64(object, "calls_in_flight", show->calls_in_flight);
    cli_json_u64(object, "calls_total", show->calls_total);
    cli_json_u64(object, "overloaded_total", show->overloaded_total);
    cli_json_bool(object, "disk_healthy", show->disk_healthy != 0);
    cli_json_string(object, "disk_state", show->disk_state);
    cli_json_u64(object, "disk_last_sync_us", show->disk_last_sync_us);
    cli_json_u64(object, "disk_worst_sync_us", show->disk_worst_sync_us);
    cli_json_u64(object, "disk_pending_sync_us", show->disk_pending_sync_us);
    cli_json_string(object, "skew_state", admin_json_skew_state(show->skew_state));
    cli_json_timestamp(object, "hlc", show->hlc);
    for (size_t i = 0; i < show->n_peers; i++) {
        const Lightcone__V1__PeerLink *link = show->peers[i];
        json_t *peer = json_object();
        cli_json_u64(peer, "node", link->node);
        cli_json_bool(peer, "connected", link->connected != 0);
        cli_json_bool(peer, "blocked", link->blocked != 0);
        cli_json_u64(peer, "support_remaining_ms", link->support_remaining_ms);
        cli_json_u64(peer, "round_trip_us", link->round_trip_us);
        (void)json_object_set_new(peer, "wall_offset_us", json_integer(link->wall_offset_us));
        (void)json_array_append_new(peers, peer);
    }
    (void)json_object_set_new(object, "peers", peers);
    return object;
}

static enum cli_exit run_show(struct cli *cli) {
    uint64_t node = 0;
    enum cli_exit exit = session_number(cli, 0, "NODE", UINT32_MAX, &node);
    if (exit != CLI_OK) { return exit; }
    struct session session;
    exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__NodeShowRequest request = LIGHTCONE__V1__NODE_SHOW_REQUEST__INIT;
    Lightcone__V1__NodeShowResponse *show = NULL;
    struct err err = {0};
    request.node = (uint32_t)node;
    if (lc_admin_node_show(session.client, (uint32_t)node, &request, &show, &err) != STATUS_OK) {
        exit = cli_fail_err(cli, &err, "lightcone node list; lightcone dev status");
    } else if (cli->format == CLI_JSON) {
        cli_print_json(cli, show_json(show));
    } else {
        print_show(cli, show);
    }
    lightcone__v1__node_show_response__free_unpacked(show, NULL);
    session_close(&session);
    return exit;
}

const struct cli_command commands_node_show = {
    .noun = "node",
    .verb = "show",
    .operands = "NODE",
    .summary = "one node, asked itself, with its links to the others",
    .details =
        "SUPPORT is how long the peer still supports this node's leases; OFFSET is the peer's\n"
        "wall clock minus this node's.",
    .examples = "  lightcone node show 2\n",
    .operand_min = 1,
    .operand_max = 1,
    .run = run_show,
};
