// SPDX-License-Identifier: Apache-2.0
// What a node thinks of its clock: it answers for itself only. Without an operand, all nodes are
// asked, a line each.
#include "api/cli/admin_json.h"
#include "api/cli/commands.h"
#include "api/cli/session.h"
#include "api/cli/text.h"

#include <inttypes.h>

static double ms(int64_t us) {
    return (double)us / 1e3;
}

// --- One node

static void print_verdict(struct cli *cli, const Lightcone__V1__NodeSkewResponse *skew) {
    static const struct table_column columns[] = {{.title = "FIELD"}, {.title = "VALUE"}};
    char text[TEXT_SIZE];
    struct table table;
    table_init(&table, columns, 2);
    table_cell(&table, "clock");
    table_cell(&table, "%s: %s", admin_json_skew_state(skew->state), skew->reason);
    table_cell(&table, "majority");
    if (skew->majority != 0) {
        table_cell(&table, "%" PRIu32 " of %" PRIu32 " nodes, within %+.3f to %+.3f ms of here",
                   skew->agreeing_count, skew->node_count, ms(skew->majority_low_us),
                   ms(skew->majority_high_us));
    } else {
        table_cell(&table, "none: %" PRIu32 " of %" PRIu32 " nodes agree", skew->agreeing_count,
                   skew->node_count);
    }
    table_cell(&table, "error");
    if (skew->outside_us > 0) {
        table_cell(&table, "%.3f ms outside of the majority", ms((int64_t)skew->outside_us));
    } else if (skew->error_us > 0) {
        table_cell(&table, "at most %.3f ms from any of them", ms((int64_t)skew->error_us));
    } else {
        table_cell(&table, "unknown");
    }
    table_cell(&table, "coordinates");
    table_cell(&table, "%s", skew->may_coordinate != 0 ? "yes" : "no");
    table_cell(&table, "kernel");
    if (skew->kernel_known != 0) {
        table_cell(&table, "%ssynchronized, offset %+.3f ms, error %.3f ms, at most %.3f ms",
                   skew->kernel_synchronized != 0 ? "" : "not ", ms(skew->kernel_offset_us),
                   ms((int64_t)skew->kernel_error_us), ms((int64_t)skew->kernel_error_max_us));
    } else {
        table_cell(&table, "unknown: adjtimex is not permitted");
    }
    table_cell(&table, "mark");
    table_cell(&table, "%s", text_format_timestamp(skew->clock_mark, text));
    if (skew->dev_offset_ms != 0) {
        table_cell(&table, "shifted");
        table_cell(&table, "%+" PRId64 " ms, by `dev skew`", skew->dev_offset_ms);
    }
    table_print_fields(&table, cli->out, cli_style(cli));
    table_deinit(&table);
}

static void print_peers(struct cli *cli, const Lightcone__V1__NodeSkewResponse *skew) {
    static const struct table_column columns[] = {
        {.title = "PEER", .right = true},    {.title = "OFFSET", .right = true},
        {.title = "ERROR", .right = true},   {.title = "RTT", .right = true},
        {.title = "AGE", .right = true},     {.title = "CLOCK"},
        {.title = "PHYSICS", .right = true},
    };
    char text[TEXT_SIZE];
    struct table table;
    table_init(&table, columns, 7);
    for (size_t i = 0; i < skew->n_peers; i++) {
        const Lightcone__V1__SkewPeer *peer = skew->peers[i];
        table_cell(&table, "%" PRIu32, peer->node);
        if (peer->measured != 0) {
            table_cell(&table, "%+.3f ms", ms(peer->offset_us));
            table_cell(&table, "%.3f ms", ms((int64_t)peer->error_us));
            table_cell(&table, "%s", text_format_duration(peer->round_trip_us * 1000, text));
            table_cell(&table, "%s", text_format_duration(peer->age_us * 1000, text));
            table_cell(&table, "%s", peer->agrees != 0 ? "majority" : "apart");
        } else {
            for (int column = 0; column < 4; column++) {
                table_cell(&table, "-");
            }
            table_cell(&table, "silent");
        }
        table_cell(&table, "%" PRIu64, peer->physics_violations);
    }
    table_print(&table, cli->out, cli_style(cli));
    table_deinit(&table);
}

static json_t *peer_json(const Lightcone__V1__SkewPeer *peer) {
    json_t *object = json_object();
    cli_json_u64(object, "node", peer->node);
    cli_json_bool(object, "measured", peer->measured != 0);
    if (peer->measured != 0) {
        (void)json_object_set_new(object, "offset_us", json_integer(peer->offset_us));
        cli_json_u64(object, "error_us", peer->error_us);
        cli_json_u64(object, "round_trip_us", peer->round_trip_us);
        cli_json_u64(object, "age_us", peer->age_us);
        cli_json_bool(object, "agrees", peer->agrees != 0);
    }
    cli_json_u64(object, "physics_violations", peer->physics_violations);
    return object;
}

static json_t *kernel_json(const Lightcone__V1__NodeSkewResponse *skew) {
    if (skew->kernel_known == 0) { return json_null(); }
    json_t *object = json_object();
    cli_json_bool(object, "synchronized", skew->kernel_synchronized != 0);
    (void)json_object_set_new(object, "offset_us", json_integer(skew->kernel_offset_us));
    cli_json_u64(object, "error_us", skew->kernel_error_us);
    cli_json_u64(object, "error_max_us", skew->kernel_error_max_us);
    return object;
}

static json_t *skew_json(const Lightcone__V1__NodeSkewResponse *skew) {
    json_t *object = json_object();
    json_t *peers = json_array();
    cli_json_u64(object, "node", skew->node);
    cli_json_string(object, "state", admin_json_skew_state(skew->state));
    cli_json_string(object, "reason", skew->reason);
    cli_json_u64(object, "node_count", skew->node_count);
    cli_json_u64(object, "agreeing_count", skew->agreeing_count);
    cli_json_bool(object, "majority", skew->majority != 0);
    (void)json_object_set_new(object, "majority_low_us", json_integer(skew->majority_low_us));
    (void)json_object_set_new(object, "majority_high_us", json_integer(skew->majority_high_us));
    cli_json_u64(object, "outside_us", skew->outside_us);
    cli_json_u64(object, "error_us", skew->error_us);
    cli_json_bool(object, "may_coordinate", skew->may_coordinate != 0);
    cli_json_timestamp(object, "clock_mark", skew->clock_mark);
    (void)json_object_set_new(object, "dev_offset_ms", json_integer(skew->dev_offset_ms));
    (void)json_object_set_new(object, "kernel", kernel_json(skew));
    for (size_t i = 0; i < skew->n_peers; i++) {
        (void)json_array_append_new(peers, peer_json(skew->peers[i]));
    }
    (void)json_object_set_new(object, "peers", peers);
    return object;
}

static enum status ask(struct session *session, uint32_t node,
                       Lightcone__V1__NodeSkewResponse **out, struct err *err) {
    Lightcone__V1__NodeSkewRequest request = LIGHTCONE__V1__NODE_SKEW_REQUEST__INIT;
    request.node = node;
    return lc_admin_node_skew(session->client, node, &request, out, err);
}

static enum cli_exit show_one(struct cli *cli, struct session *session, uint32_t node) {
    Lightcone__V1__NodeSkewResponse *skew = NULL;
    struct err err = {0};
    if (ask(session, node, &skew, &err) != STATUS_OK) {
        return cli_fail_err(cli, &err, "lightcone node list; lightcone dev status");
    }
    if (cli->format == CLI_JSON) {
        cli_print_json(cli, skew_json(skew));
    } else {
        print_verdict(cli, skew);
        if (skew->n_peers > 0) {
            (void)fputc('\n', cli->out);
            print_peers(cli, skew);
        }
    }
    lightcone__v1__node_skew_response__free_unpacked(skew, NULL);
    return CLI_OK;
}

// --- All nodes

struct overview {
    struct cli *cli;
    struct table table;
    json_t *nodes;
};

static uint64_t violations_of(const Lightcone__V1__NodeSkewResponse *skew) {
    uint64_t count = 0;
    for (size_t i = 0; i < skew->n_peers; i++) {
        count += skew->peers[i]->physics_violations;
    }
    return count;
}

static void add_row(struct table *table, const Lightcone__V1__NodeSkewResponse *skew) {
    table_cell(table, "%" PRIu32, skew->node);
    table_cell(table, "%s", admin_json_skew_state(skew->state));
    if (skew->outside_us > 0) {
        table_cell(table, "%.3f ms outside", ms((int64_t)skew->outside_us));
    } else if (skew->error_us > 0) {
        table_cell(table, "%.3f ms", ms((int64_t)skew->error_us));
    } else {
        table_cell(table, "-");
    }
    table_cell(table, "%s", skew->may_coordinate != 0 ? "yes" : "no");
    table_cell(table, "%s",
               skew->kernel_known == 0          ? "unknown"
               : skew->kernel_synchronized != 0 ? "synchronized"
                                                : "not synchronized");
    table_cell(table, "%" PRIu64, violations_of(skew));
    table_cell(table, "%s", skew->reason);
}

static void add_silent(struct overview *all, uint32_t node, const struct err *err) {
    if (all->nodes != NULL) {
        json_t *object = json_object();
        cli_json_u64(object, "node", node);
        cli_json_string(object, "error", err->message);
        (void)json_array_append_new(all->nodes, object);
        return;
    }
    table_cell(&all->table, "%" PRIu32, node);
    table_cell(&all->table, "no answer");
    for (int column = 0; column < 4; column++) {
        table_cell(&all->table, "-");
    }
    table_cell(&all->table, "%s", err->message);
}

static void add_node(struct overview *all, struct session *session, uint32_t node) {
    Lightcone__V1__NodeSkewResponse *skew = NULL;
    struct err err = {0};
    if (ask(session, node, &skew, &err) != STATUS_OK) {
        add_silent(all, node, &err);
        return;
    }
    if (all->nodes != NULL) {
        (void)json_array_append_new(all->nodes, skew_json(skew));
    } else {
        add_row(&all->table, skew);
    }
    lightcone__v1__node_skew_response__free_unpacked(skew, NULL);
}

static enum cli_exit show_all(struct cli *cli, struct session *session) {
    static const struct table_column columns[] = {
        {.title = "NODE", .right = true},  {.title = "CLOCK"},  {.title = "ERROR", .right = true},
        {.title = "COORDINATES"},          {.title = "KERNEL"}, {.title = "PHYSICS", .right = true},
        {.title = "WHY", .elastic = true},
    };
    Lightcone__V1__NodeListRequest request = LIGHTCONE__V1__NODE_LIST_REQUEST__INIT;
    Lightcone__V1__NodeListResponse *list = NULL;
    struct err err = {0};
    if (lc_admin_node_list(session->client, 0, &request, &list, &err) != STATUS_OK) {
        return cli_fail_err(cli, &err, NULL);
    }
    struct overview all = {.cli = cli};
    if (cli->format == CLI_JSON) { all.nodes = json_array(); }
    table_init(&all.table, columns, 7);
    for (size_t i = 0; i < list->n_nodes; i++) {
        add_node(&all, session, list->nodes[i]->id);
    }
    if (all.nodes != NULL) {
        cli_print_json(cli, json_pack("{s:o}", "nodes", all.nodes));
    } else {
        table_print(&all.table, cli->out, cli_style(cli));
    }
    table_deinit(&all.table);
    lightcone__v1__node_list_response__free_unpacked(list, NULL);
    return CLI_OK;
}

static enum cli_exit run_skew(struct cli *cli) {
    uint64_t node = 0;
    if (cli->args.operand_count > 0) {
        enum cli_exit exit = session_number(cli, 0, "NODE", UINT32_MAX, &node);
        if (exit != CLI_OK) { return exit; }
    }
    struct session session;
    enum cli_exit exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    exit = node != 0 ? show_one(cli, &session, (uint32_t)node) : show_all(cli, &session);
    session_close(&session);
    return exit;
}

const struct cli_command commands_node_skew = {
    .noun = "node",
    .verb = "skew",
    .operands = "[NODE]",
    .summary = "whose clock is off, and by how much",
    .details =
        "OFFSET is the peer's wall clock minus this node's, ERROR how wrong that may be. Who is\n"
        "far outside of what a majority agrees on is quarantined: it leads nothing and takes no\n"
        "commits. PHYSICS counts messages that seemed faster than light. KERNEL is what\n"
        "adjtimex believes of the clock.",
    .examples = "  lightcone node skew\n"
                "  lightcone node skew 2 --format json\n",
    .operand_min = 0,
    .operand_max = 1,
    .run = run_skew,
};
