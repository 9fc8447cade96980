// SPDX-License-Identifier: Apache-2.0
// Page after page, because a cluster may have more shards than fit a message.
#include "api/cli/admin_json.h"
#include "api/cli/commands.h"
#include "api/cli/session.h"
#include "api/cli/text.h"
#include "dataplane/base/mem.h"

#include <inttypes.h>
#include <string.h>

enum { SHARD_LIST_PAGE = 1000 };

struct listing {
    struct cli *cli;
    struct lc_client *client;
    Lightcone__V1__KeyspaceListResponse *keyspaces;
    struct table table;
    json_t *shards;
};

static const char *keyspace_name(const struct listing *self, uint32_t id) {
    for (size_t i = 0; i < self->keyspaces->n_keyspaces; i++) {
        if (self->keyspaces->keyspaces[i]->id == id) { return self->keyspaces->keyspaces[i]->name; }
    }
    return id == 0 ? "(catalogue)" : "?";
}

static void add_replicas(struct table *table, const Lightcone__V1__Shard *shard) {
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    for (size_t i = 0; i < shard->n_replicas; i++) {
        text_addf(&text, "%s%" PRIu32, i == 0 ? "" : " ", shard->replicas[i]->node);
    }
    table_cell_bytes(table, buf_slice(&text));
    buf_deinit(&text);
}

// Who comes (+4) and who goes (-3) by the order that is under way.
static void add_change(struct table *table, const Lightcone__V1__Shard *shard) {
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    for (size_t i = 0; i < shard->n_targets; i++) {
        bool held = false;
        for (size_t k = 0; k < shard->n_replicas; k++) {
            held = held || (shard->replicas[k]->node == shard->targets[i]->node &&
                            shard->replicas[k]->role == shard->targets[i]->role);
        }
        if (!held) { text_addf(&text, "+%" PRIu32 " ", shard->targets[i]->node); }
    }
    for (size_t k = 0; k < shard->n_replicas && shard->n_targets > 0; k++) {
        bool wanted = false;
        for (size_t i = 0; i < shard->n_targets; i++) {
            wanted = wanted || shard->replicas[k]->node == shard->targets[i]->node;
        }
        if (!wanted) { text_addf(&text, "-%" PRIu32 " ", shard->replicas[k]->node); }
    }
    if (text.size == 0) { text_addf(&text, shard->n_targets == 0 ? "-" : "ending"); }
    table_cell_bytes(table, buf_slice(&text));
    buf_deinit(&text);
}

static void add_row(struct listing *self, const Lightcone__V1__Shard *shard) {
    struct admin_json_range range = admin_json_range_of(shard);
    struct table *table = &self->table;
    table_cell(table, "%" PRIu64, shard->id);
    table_cell(table, "%s", keyspace_name(self, range.keyspace));
    if (range.start.size == 0) {
        table_cell(table, "-");
    } else {
        table_cell_bytes(table, range.start);
    }
    if (range.unbounded) {
        table_cell(table, "-");
    } else {
        table_cell_bytes(table, range.end);
    }
    if (shard->leader != 0) {
        table_cell(table, "%" PRIu32, shard->leader);
    } else {
        table_cell(table, "?");
    }
    table_cell(table, "%" PRIu64, shard->term);
    table_cell(table, "%" PRIu64, shard->epoch);
    add_replicas(table, shard);
    add_change(table, shard);
}

static void add_page(struct listing *self, const Lightcone__V1__ShardListResponse *page) {
    for (size_t i = 0; i < page->n_shards; i++) {
        const Lightcone__V1__Shard *shard = page->shards[i];
        if (self->cli->format == CLI_JSON) {
            uint32_t keyspace = admin_json_range_of(shard).keyspace;
            (void)json_array_append_new(self->shards,
                                        admin_json_shard(shard, keyspace_name(self, keyspace)));
        } else {
            add_row(self, shard);
        }
    }
}

static enum status list_all(struct listing *self, struct err *err) {
    struct buf resume;
    buf_init(&resume, TEXT_BUF_MAX);
    bool more = true;
    enum status st = STATUS_OK;
    while (more && st == STATUS_OK) {
        Lightcone__V1__ShardListRequest request = LIGHTCONE__V1__SHARD_LIST_REQUEST__INIT;
        Lightcone__V1__ShardListResponse *page = NULL;
        const char *name = args_operand(&self->cli->args, 0);
        if (name != NULL) { request.keyspace = (char *)name; }
        request.limit = SHARD_LIST_PAGE;
        request.resume = (ProtobufCBinaryData){resume.size, resume.data};
        st = lc_admin_shard_list(self->client, 0, &request, &page, err);
        if (st != STATUS_OK) { break; }
        add_page(self, page);
        more = page->more != 0 && page->resume.len > 0;
        buf_reset(&resume);
        text_add(&resume, slice_make(page->resume.data, page->resume.len));
        lightcone__v1__shard_list_response__free_unpacked(page, NULL);
    }
    buf_deinit(&resume);
    return st;
}

static enum status list_keyspaces(struct listing *self, struct err *err) {
    Lightcone__V1__KeyspaceListRequest request = LIGHTCONE__V1__KEYSPACE_LIST_REQUEST__INIT;
    return lc_admin_keyspace_list(self->client, 0, &request, &self->keyspaces, err);
}

static enum cli_exit run(struct cli *cli) {
    static const struct table_column columns[] = {
        {.title = "SHARD", .right = true},
        {.title = "KEYSPACE", .elastic = true},
        {.title = "START", .elastic = true},
        {.title = "END", .elastic = true},
        {.title = "LEADER", .right = true},
        {.title = "TERM", .right = true},
        {.title = "EPOCH", .right = true},
        {.title = "REPLICAS"},
        {.title = "CHANGE"},
    };
    struct session session;
    enum cli_exit exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    struct listing listing = {.cli = cli, .client = session.client, .shards = json_array()};
    struct err err = {0};
    table_init(&listing.table, columns, sizeof(columns) / sizeof(columns[0]));
    enum status st = list_keyspaces(&listing, &err);
    if (st == STATUS_OK) { st = list_all(&listing, &err); }
    if (st != STATUS_OK) {
        exit = cli_fail_err(cli, &err, st == STATUS_NOT_FOUND ? "lightcone keyspace list" : NULL);
    } else if (cli->format == CLI_JSON) {
        cli_print_json(cli, json_pack("{s:O}", "shards", listing.shards));
    } else {
        table_print(&listing.table, cli->out, cli_style(cli));
    }
    json_decref(listing.shards);
    table_deinit(&listing.table);
    lightcone__v1__keyspace_list_response__free_unpacked(listing.keyspaces, NULL);
    session_close(&session);
    return exit;
}

const struct cli_command commands_shard_list = {
    .noun = "shard",
    .verb = "list",
    .operands = "[KEYSPACE]",
    .summary = "shards in key order, with ranges and leaders",
    .details =
        "A range is [START, END); - is the edge of the keyspace. LEADER ? is not known to the\n"
        "node that was asked. CHANGE tells which nodes come (+) and go (-) by an order that is\n"
        "under way.",
    .examples = "  lightcone shard list\n"
                "  lightcone shard list packages --format json\n",
    .operand_max = 1,
    .run = run,
};
