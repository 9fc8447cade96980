// SPDX-License-Identifier: Apache-2.0
// Every leader knows what is prepared on its shards, every gateway what it drives: all are asked,
// and put together here.
#include "api/cli/commands.h"
#include "api/cli/gather.h"
#include "api/cli/text.h"
#include "api/cli/txn_show.h"
#include "dataplane/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct row {
    uint32_t node;
    const Lightcone__V1__TxnHolder *holder;
};

struct listing {
    struct cli *cli;
    struct gather gather;
    struct txn_show_names names;
    struct row *rows;
    size_t row_count;
    uint64_t holders;
    uint64_t waiting;
    uint64_t oldest_us;
    uint64_t held;  // keys locked for update
};

static const Lightcone__V1__TxnListResponse *answer_at(const struct listing *self, size_t i) {
    return (const void *)self->gather.answers[i].response;
}

static int older_first(const void *a, const void *b) {
    const Lightcone__V1__TxnHolder *one = ((const struct row *)a)->holder;
    const Lightcone__V1__TxnHolder *other = ((const struct row *)b)->holder;
    if (one->prepared != other->prepared) { return one->prepared < other->prepared ? -1 : 1; }
    return one->shard < other->shard ? -1 : one->shard > other->shard;
}

static void add_up(struct listing *self) {
    size_t count = 0;
    for (size_t i = 0; i < self->gather.count; i++) {
        count += answer_at(self, i) == NULL ? 0 : answer_at(self, i)->n_holders;
    }
    self->rows = mem_alloc_array(count + 1, sizeof(self->rows[0]));
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnListResponse *answer = answer_at(self, i);
        if (answer == NULL) { continue; }
        for (size_t k = 0; k < answer->n_holders; k++) {
            self->rows[self->row_count++] = (struct row){answer->node, answer->holders[k]};
        }
        self->holders += answer->holder_count;
        self->waiting += answer->waiting_count;
        self->held += answer->held_count;
        if (answer->locks_oldest_age_us > self->oldest_us) {
            self->oldest_us = answer->locks_oldest_age_us;
        }
    }
    qsort(self->rows, self->row_count, sizeof(self->rows[0]), older_first);
}

// Who drives this attempt: its gateway rather than somebody who recovers it.
static const Lightcone__V1__TxnDriven *driver_of(const struct listing *self,
                                                 const Lightcone__V1__TxnHolder *holder) {
    const Lightcone__V1__TxnDriven *found = NULL;
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnListResponse *answer = answer_at(self, i);
        for (size_t k = 0; answer != NULL && k < answer->n_driven; k++) {
            const Lightcone__V1__TxnDriven *driven = answer->driven[k];
            if (txn_show_same(driven->txn_id, holder->txn_id) &&
                driven->attempt == holder->attempt && (found == NULL || found->recovering != 0)) {
                found = driven;
            }
        }
    }
    return found;
}

static void print_row(struct listing *self, struct table *table, const struct row *row) {
    const Lightcone__V1__TxnHolder *holder = row->holder;
    char id[TXN_SHOW_ID_SIZE];
    char age[TEXT_SIZE];
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    table_cell(table, "%s", txn_show_id(holder->txn_id, id));
    table_cell(table, "%s", text_format_duration(holder->age_us * 1000, age));
    table_cell(table, "%" PRIu64, holder->shard);
    table_cell(table, "%" PRIu32, row->node);
    table_cell(table, "%" PRIu32, holder->waiter_count);
    txn_show_driver(driver_of(self, holder), &text);
    table_cell_bytes(table, buf_slice(&text));
    buf_reset(&text);
    for (size_t i = 0; i < holder->n_locks; i++) {
        text_add_string(&text, i == 0 ? "" : ", ");
        txn_show_lock(&self->names, holder->locks[i], &text);
    }
    if (holder->lock_count > holder->n_locks) {
        text_addf(&text, ", %zu more", (size_t)holder->lock_count - holder->n_locks);
    }
    table_cell_bytes(table, buf_slice(&text));
    buf_deinit(&text);
}

// Locks of interactive transactions, which are no part of what is prepared.
static void print_held(struct listing *self) {
    static const struct table_column columns[] = {
        {.title = "TXN"},
        {.title = "HELD", .right = true},
        {.title = "RUNS OUT IN", .right = true},
        {.title = "SHARD", .right = true},
        {.title = "LEADER", .right = true},
        {.title = "LOCKED FOR UPDATE", .elastic = true},
    };
    char text[TEXT_SIZE];
    struct table table;
    struct buf key;
    buf_init(&key, TEXT_BUF_MAX);
    table_init(&table, columns, 6);
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnListResponse *answer = answer_at(self, i);
        for (size_t k = 0; answer != NULL && k < answer->n_held; k++) {
            const Lightcone__V1__TxnHeldKey *held = answer->held[k];
            buf_reset(&key);
            txn_show_key(&self->names, held->key, &key);
            table_cell(&table, "%s", txn_show_id(held->txn_id, text));
            table_cell(&table, "%s", text_format_duration(held->held_us * 1000, text));
            table_cell(&table, "%s", text_format_duration(held->remaining_us * 1000, text));
            table_cell(&table, "%" PRIu64, held->shard);
            table_cell(&table, "%" PRIu32, answer->node);
            table_cell_bytes(&table, buf_slice(&key));
        }
    }
    (void)fputc('\n', self->cli->out);
    table_print(&table, self->cli->out, cli_style(self->cli));
    table_deinit(&table);
    buf_deinit(&key);
}

static void print_table(struct listing *self, size_t shown) {
    static const struct table_column columns[] = {
        {.title = "TXN"},
        {.title = "AGE", .right = true},
        {.title = "SHARD", .right = true},
        {.title = "LEADER", .right = true},
        {.title = "WAITERS", .right = true},
        {.title = "DRIVEN BY", .elastic = true},
        {.title = "LOCKS", .elastic = true},
    };
    char age[TEXT_SIZE];
    struct table table;
    table_init(&table, columns, 7);
    for (size_t i = 0; i < shown; i++) {
        print_row(self, &table, &self->rows[i]);
    }
    if (shown > 0) { table_print(&table, self->cli->out, cli_style(self->cli)); }
    table_deinit(&table);
    if (self->holders == 0) { (void)fputs("nothing is prepared\n", self->cli->out); }
    if (self->held > 0) { print_held(self); }
    if (self->holders == 0) { return; }
    cli_note(self->cli, "%" PRIu64 " prepared, the oldest for %s; %" PRIu64 " waiting",
             self->holders, text_format_duration(self->oldest_us * 1000, age), self->waiting);
}

static void print_json(struct listing *self, size_t shown) {
    json_t *object = json_object();
    json_t *transactions = json_array();
    json_t *driven = json_array();
    json_t *held = json_array();
    for (size_t i = 0; i < shown; i++) {
        (void)json_array_append_new(
            transactions,
            txn_show_holder_json(&self->names, self->rows[i].node, self->rows[i].holder));
    }
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnListResponse *answer = answer_at(self, i);
        for (size_t k = 0; answer != NULL && k < answer->n_driven; k++) {
            (void)json_array_append_new(driven, txn_show_driven_json(answer->driven[k]));
        }
        for (size_t k = 0; answer != NULL && k < answer->n_held; k++) {
            (void)json_array_append_new(
                held, txn_show_held_json(&self->names, answer->node, answer->held[k]));
        }
    }
    (void)json_object_set_new(object, "transactions", transactions);
    (void)json_object_set_new(object, "driven", driven);
    (void)json_object_set_new(object, "held", held);
    cli_json_u64(object, "held_count", self->held);
    cli_json_u64(object, "prepared_count", self->holders);
    cli_json_u64(object, "waiting_count", self->waiting);
    cli_json_u64(object, "locks_oldest_age_us", self->oldest_us);
    cli_json_bool(object, "more", self->holders > shown);
    (void)json_object_set_new(object, "nodes", gather_nodes_json(&self->gather));
    cli_print_json(self->cli, object);
}

static void show(struct listing *self) {
    const uint64_t limit = args_number(&self->cli->args, "limit");
    add_up(self);
    const size_t shown = self->row_count < limit ? self->row_count : (size_t)limit;
    if (self->cli->format == CLI_JSON) {
        print_json(self, shown);
    } else {
        print_table(self, shown);
    }
    if (self->holders > shown) {
        cli_note(self->cli, "%" PRIu64 " younger ones are not shown; --limit shows more",
                 self->holders - shown);
    }
    gather_note_silent(self->cli, &self->gather);
    mem_free(self->rows);
}

static enum cli_exit run(struct cli *cli) {
    struct session session;
    struct listing listing = {.cli = cli};
    enum cli_exit exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__TxnListRequest request = LIGHTCONE__V1__TXN_LIST_REQUEST__INIT;
    request.limit = (uint32_t)args_number(&cli->args, "limit");
    const struct gather_question question = {
        .method = "TxnList",
        .request = &request.base,
        .response = &lightcone__v1__txn_list_response__descriptor,
        .node = (uint32_t)args_number(&cli->args, "node"),
    };
    exit = gather_ask(cli, &session, &question, &listing.gather);
    if (exit == CLI_OK) {
        txn_show_names_init(&listing.names, &session);
        show(&listing);
        txn_show_names_deinit(&listing.names);
        gather_deinit(&listing.gather);
    }
    session_close(&session);
    return exit;
}

static const struct args_option options[] = {
    {.name = "node",
     .kind = ARGS_NUMBER,
     .placeholder = "N",
     .help = "of the shards that this node leads; default all nodes",
     .number_min = 1,
     .number_max = UINT32_MAX},
    {.name = "limit",
     .kind = ARGS_NUMBER,
     .placeholder = "N",
     .help = "how many are shown",
     .fallback = "100",
     .number_min = 1,
     .number_max = 1000},
};

const struct cli_command commands_txn_list = {
    .noun = "txn",
    .verb = "list",
    .operands = "",
    .summary = "what is prepared, oldest first, and who waits for it",
    .details = "A line for each shard on which a transaction is prepared and not yet resolved.\n"
               "Under load there are always some, milliseconds old; one of seconds is stuck,\n"
               "and `txn why` tells by what. DRIVEN BY is the node that coordinates or\n"
               "recovers it, \"-\" when no node that answers does.",
    .examples = "  lightcone txn list\n"
                "  lightcone txn list --node 2 --format json\n",
    .operand_min = 0,
    .operand_max = 0,
    .options = {options, 2},
    .run = run,
};
