// SPDX-License-Identifier: Apache-2.0
// Why a transaction has not ended, or how it did: what every node knows of it, put together by
// shard. Which shards it touches is in what it prepared anywhere; once it is resolved everywhere,
// only the records tell.
#include "api/cli/commands.h"
#include "api/cli/gather.h"
#include "api/cli/text.h"
#include "api/cli/txn_show.h"
#include "dataplane/base/mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum { SENTENCES_MAX = 8 };

// One shard that the transaction touches.
struct part {
    const Lightcone__V1__TxnParticipant *place;  // NULL = told by a record alone
    uint64_t shard;
    uint32_t leader;  // who told, or is said to lead; 0 = nobody
    const Lightcone__V1__TxnHolder *holder;
    const Lightcone__V1__TxnRecord *record;
};

struct why {
    struct cli *cli;
    uint8_t txn[LC_TXN_ID_SIZE];
    struct gather gather;
    struct txn_show_names names;
    struct part *parts;
    size_t part_count;
    size_t part_capacity;
    size_t prepared_count;
    size_t waiter_count;
    uint64_t age_us;                         // of the oldest prepare
    const Lightcone__V1__TxnHolder *holder;  // of the latest attempt
    const Lightcone__V1__TxnRecord *committed;
    const Lightcone__V1__TxnRecord *outcome;  // the home's, if it keeps one
    const Lightcone__V1__TxnRecord *aborted;
    const Lightcone__V1__TxnDriven *driven;  // by its gateway rather than by a recovery
    size_t wait_count;
    size_t held_count;  // keys locked for update
};

static const Lightcone__V1__TxnWhyResponse *answer_at(const struct why *self, size_t i) {
    return (const void *)self->gather.answers[i].response;
}

// --- Putting together

static struct part *part_at(struct why *self, uint64_t shard) {
    for (size_t i = 0; i < self->part_count; i++) {
        if (self->parts[i].shard == shard && shard != 0) { return &self->parts[i]; }
    }
    if (self->part_count == self->part_capacity) {
        self->part_capacity = self->part_capacity == 0 ? 16 : 2 * self->part_capacity;
        self->parts = mem_realloc(self->parts, self->part_capacity * sizeof(self->parts[0]));
    }
    struct part *part = &self->parts[self->part_count++];
    *part = (struct part){.shard = shard};
    return part;
}

static void add_places(struct why *self, Lightcone__V1__TxnParticipant **places, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct part *part = part_at(self, places[i]->shard);
        part->place = places[i];
        part->leader = places[i]->leader;
    }
}

static void look_at_driven(struct why *self, const Lightcone__V1__TxnWhyResponse *answer) {
    for (size_t i = 0; i < answer->n_driven; i++) {
        const bool better = self->driven == NULL || self->driven->recovering != 0;
        if (better) { self->driven = answer->driven[i]; }
    }
}

static void take_places(struct why *self) {
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnWhyResponse *answer = answer_at(self, i);
        if (answer == NULL) { continue; }
        look_at_driven(self, answer);
        for (size_t k = 0; k < answer->n_holders; k++) {
            const Lightcone__V1__TxnHolder *holder = answer->holders[k];
            const bool newer = self->holder == NULL || holder->attempt > self->holder->attempt;
            if (newer) { self->holder = holder; }
        }
        self->wait_count += answer->n_waits;
        self->held_count += answer->n_held;
    }
    if (self->holder != NULL) {
        add_places(self, self->holder->participants, self->holder->n_participants);
    } else if (self->driven != NULL) {
        add_places(self, self->driven->participants, self->driven->n_participants);
    }
}

static void take_holder(struct why *self, uint32_t node, const Lightcone__V1__TxnHolder *holder) {
    struct part *part = part_at(self, holder->shard);
    part->holder = holder;
    part->leader = node;
    self->prepared_count++;
    self->waiter_count += holder->waiter_count;
    self->age_us = holder->age_us > self->age_us ? holder->age_us : self->age_us;
}

static void take_record(struct why *self, uint32_t node, const Lightcone__V1__TxnRecord *record) {
    struct part *part = part_at(self, record->shard);
    part->record = record;
    part->leader = node;
    if (record->outcome[0] != '\0') { self->outcome = record; }
    if (record->state == LIGHTCONE__V1__TXN_STATE__TXN_STATE_COMMITTED) {
        self->committed = record;
    }
    if (record->state == LIGHTCONE__V1__TXN_STATE__TXN_STATE_ABORTED) { self->aborted = record; }
}

static void put_together(struct why *self) {
    take_places(self);
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnWhyResponse *answer = answer_at(self, i);
        if (answer == NULL) { continue; }
        for (size_t k = 0; k < answer->n_holders; k++) {
            take_holder(self, answer->node, answer->holders[k]);
        }
        for (size_t k = 0; k < answer->n_records; k++) {
            take_record(self, answer->node, answer->records[k]);
        }
    }
}

static bool is_known(const struct why *self) {
    return self->part_count > 0 || self->driven != NULL || self->wait_count > 0 ||
           self->held_count > 0;
}

static const struct gather_answer *answer_of(const struct why *self, uint32_t node) {
    for (size_t i = 0; i < self->gather.count; i++) {
        if (self->gather.answers[i].node == node) { return &self->gather.answers[i]; }
    }
    return NULL;
}

static bool is_silent(const struct why *self, uint32_t node) {
    const struct gather_answer *answer = answer_of(self, node);
    return answer == NULL || answer->response == NULL;
}

// --- States

static const char *state_name(const struct why *self) {
    const bool committed = self->committed != NULL ||
                           (self->outcome != NULL && strcmp(self->outcome->outcome, "OK") == 0);
    if (committed) { return "committed"; }
    if (self->outcome != NULL) { return "aborted"; }
    if (self->prepared_count > 0) { return "prepared"; }
    if (self->driven != NULL) { return "under way"; }
    if (self->wait_count > 0) { return "waiting"; }
    if (self->held_count > 0) { return "open"; }
    return "aborted";
}

static const char *part_state(const struct why *self, const struct part *part) {
    if (part->holder != NULL) { return "prepared"; }
    if (part->record != NULL) {
        const Lightcone__V1__TxnRecord *record = part->record;
        const bool committed = record->state == LIGHTCONE__V1__TXN_STATE__TXN_STATE_COMMITTED ||
                               strcmp(record->outcome, "OK") == 0;
        return committed ? "committed" : "aborted";
    }
    if (part->leader == 0) { return "no leader"; }
    return is_silent(self, part->leader) ? "no answer" : "no record";
}

static uint64_t part_timestamp(const struct part *part) {
    if (part->holder != NULL) { return part->holder->prepared; }
    if (part->record == NULL) { return 0; }
    return part->record->commit != 0 ? part->record->commit : part->record->outcome_timestamp;
}

// --- Sentences

__attribute__((format(printf, 2, 3))) static void say(const struct why *self, const char *format,
                                                      ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(self->cli->out, format, arguments);
    va_end(arguments);
    (void)fputc('\n', self->cli->out);
}

static void say_committed(const struct why *self) {
    char at[TEXT_SIZE];
    const uint64_t timestamp = self->committed != NULL && self->committed->commit != 0
                                   ? self->committed->commit
                                   : self->outcome->outcome_timestamp;
    say(self, "Committed at %s.", text_format_timestamp(timestamp, at));
    if (self->prepared_count > 0) {
        say(self, "%zu of its shards are yet to be told; what they hold is decided.",
            self->prepared_count);
    }
}

static void say_state(const struct why *self) {
    char age[TEXT_SIZE];
    char begin[TEXT_SIZE];
    const char *state = state_name(self);
    if (strcmp(state, "committed") == 0) {
        say_committed(self);
    } else if (self->outcome != NULL) {
        say(self, "Ended with %s at %s: nothing of it was written.", self->outcome->outcome,
            text_format_timestamp(self->outcome->outcome_timestamp, begin));
    } else if (strcmp(state, "prepared") == 0) {
        say(self, "Prepared on %zu of %" PRIu32 " shards, for %s; begun at %s.",
            self->prepared_count, self->holder->participant_count,
            text_format_duration(self->age_us * 1000, age),
            text_format_timestamp(self->holder->begin, begin));
    } else if (strcmp(state, "aborted") == 0) {
        say(self, "Its latest attempt was aborted, and holds nothing. The same id may be tried "
                  "again.");
    } else {
        say(self, "Not prepared on any shard that answers.");
    }
}

static void say_driver(const struct why *self) {
    const Lightcone__V1__TxnDriven *driven = self->driven;
    if (driven == NULL && self->prepared_count > 0) {
        say(self, "No node that answers coordinates or recovers it.");
    } else if (driven != NULL && driven->recovering != 0) {
        const bool asks = driven->phase == LIGHTCONE__V1__TXN_PHASE__TXN_PHASE_PREPARING;
        say(self, "Node %" PRIu32 " recovers it: %s.", driven->node,
            asks ? "it asks the other shards" : txn_show_phase(driven->phase));
    } else if (driven != NULL) {
        say(self, "Node %" PRIu32 " coordinates it: %s, attempt %" PRIu32 "%s.", driven->node,
            txn_show_phase(driven->phase), driven->attempts,
            driven->told != 0 ? "; its client was told" : "");
    }
}

// What stands in the way of an end.
static void say_obstacles(const struct why *self) {
    size_t said = 0;
    const bool open = self->prepared_count > 0 && strcmp(state_name(self), "prepared") == 0;
    for (size_t i = 0; open && i < self->part_count && said < SENTENCES_MAX; i++) {
        const struct part *part = &self->parts[i];
        if (part->holder != NULL || part->record != NULL) { continue; }
        if (part->leader == 0) {
            say(self, "Shard %" PRIu64 " has no leader: nobody can tell whether it prepared there.",
                part->shard);
        } else if (is_silent(self, part->leader)) {
            say(self,
                "Shard %" PRIu64 " is led by node %" PRIu32 ", which does not answer: nobody can "
                "tell whether it prepared there.",
                part->shard, part->leader);
        } else {
            say(self, "Shard %" PRIu64 " has no record of it: it has not prepared there.",
                part->shard);
        }
        said++;
    }
}

static void say_waits(const struct why *self) {
    char id[TXN_SHOW_ID_SIZE];
    char waited[TEXT_SIZE];
    size_t said = 0;
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnWhyResponse *answer = answer_at(self, i);
        for (size_t k = 0; answer != NULL && k < answer->n_waits && said < SENTENCES_MAX; k++) {
            const Lightcone__V1__TxnWaiter *wait = answer->waits[k];
            say(self, "It waits on shard %" PRIu64 " for %s, since %s.", wait->shard,
                txn_show_id(wait->holder, id),
                text_format_duration(wait->waited_us * 1000, waited));
            said++;
        }
    }
    if (self->waiter_count > 0) {
        say(self, "%zu %s for it.", self->waiter_count,
            self->waiter_count == 1 ? "request waits" : "requests wait");
    }
}

static void say_held(const struct why *self) {
    struct buf key;
    size_t said = 0;
    buf_init(&key, TEXT_BUF_MAX);
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnWhyResponse *answer = answer_at(self, i);
        for (size_t k = 0; answer != NULL && k < answer->n_held && said < SENTENCES_MAX; k++) {
            struct buf text;
            buf_init(&text, TEXT_BUF_MAX);
            buf_reset(&key);
            txn_show_key(&self->names, answer->held[k]->key, &key);
            text_escape(&text, buf_slice(&key), TEXT_LINE);
            say(self, "It has locked %.*s for update.", (int)text.size, (const char *)text.data);
            buf_deinit(&text);
            said++;
        }
    }
    if (self->held_count > said) { say(self, "And %zu more keys.", self->held_count - said); }
    buf_deinit(&key);
}

// --- Tables

static void print_parts(const struct why *self) {
    static const struct table_column columns[] = {
        {.title = "SHARD", .right = true},
        {.title = "LEADER", .right = true},
        {.title = "STATE"},
        {.title = "AT"},
        {.title = "WAITERS", .right = true},
        {.title = "FIRST KEY", .elastic = true},
    };
    char at[TEXT_SIZE];
    struct table table;
    struct buf key;
    table_init(&table, columns, 6);
    buf_init(&key, TEXT_BUF_MAX);
    for (size_t i = 0; i < self->part_count; i++) {
        const struct part *part = &self->parts[i];
        buf_reset(&key);
        if (part->place != NULL) { txn_show_key(&self->names, part->place->anchor, &key); }
        table_cell(&table, "%" PRIu64, part->shard);
        table_cell(&table, "%" PRIu32, part->leader);
        table_cell(&table, "%s", part_state(self, part));
        table_cell(&table, "%s", text_format_timestamp(part_timestamp(part), at));
        table_cell(&table, "%" PRIu32, part->holder == NULL ? 0 : part->holder->waiter_count);
        table_cell_bytes(&table, key.size == 0 ? SLICE_LITERAL("-") : buf_slice(&key));
    }
    (void)fputc('\n', self->cli->out);
    table_print(&table, self->cli->out, cli_style(self->cli));
    buf_deinit(&key);
    table_deinit(&table);
}

static void print_waiters(const struct why *self) {
    static const struct table_column columns[] = {
        {.title = "WAITER"},
        {.title = "SHARD", .right = true},
        {.title = "WAITED", .right = true},
        {.title = "BEGUN", .elastic = true},
    };
    char id[TXN_SHOW_ID_SIZE];
    char text[TEXT_SIZE];
    struct table table;
    table_init(&table, columns, 4);
    for (size_t i = 0; i < self->part_count; i++) {
        const Lightcone__V1__TxnHolder *holder = self->parts[i].holder;
        for (size_t k = 0; holder != NULL && k < holder->n_waiters; k++) {
            const Lightcone__V1__TxnWaiter *waiter = holder->waiters[k];
            const bool read = waiter->txn_id.len == 0;
            table_cell(&table, "%s", read ? "a read" : txn_show_id(waiter->txn_id, id));
            table_cell(&table, "%" PRIu64, waiter->shard);
            table_cell(&table, "%s", text_format_duration(waiter->waited_us * 1000, text));
            table_cell(&table, "%s", text_format_timestamp(waiter->begin, text));
        }
    }
    (void)fputc('\n', self->cli->out);
    table_print(&table, self->cli->out, cli_style(self->cli));
    table_deinit(&table);
}

static void print_text(const struct why *self) {
    say_state(self);
    say_driver(self);
    say_obstacles(self);
    say_waits(self);
    say_held(self);
    if (self->part_count > 0) { print_parts(self); }
    if (self->waiter_count > 0) { print_waiters(self); }
}

// --- JSON

static json_t *part_json(const struct why *self, const struct part *part) {
    json_t *object = json_object();
    const Lightcone__V1__TxnRecord *record = part->record;
    cli_json_u64(object, "shard", part->shard);
    cli_json_u64(object, "leader", part->leader);
    cli_json_string(object, "state", part_state(self, part));
    (void)json_object_set_new(
        object, "anchor",
        part->place == NULL ? json_null() : txn_show_key_json(&self->names, part->place->anchor));
    cli_json_timestamp(object, "prepared",
                       part->holder != NULL ? part->holder->prepared
                       : record != NULL     ? record->prepared
                                            : 0);
    cli_json_timestamp(object, "commit", record != NULL ? record->commit : 0);
    cli_json_bool(object, "forgotten", record != NULL && record->forgotten != 0);
    return object;
}

static json_t *outcome_json(const struct why *self) {
    if (self->outcome == NULL) { return json_null(); }
    json_t *object = json_object();
    const bool committed = strcmp(self->outcome->outcome, "OK") == 0;
    cli_json_string(object, "status", committed ? "COMMITTED" : self->outcome->outcome);
    cli_json_timestamp(object, "timestamp", self->outcome->outcome_timestamp);
    return object;
}

static void print_json(const struct why *self) {
    char id[TXN_SHOW_ID_SIZE];
    json_t *object = json_object();
    json_t *parts = json_array();
    json_t *holders = json_array();
    json_t *waits = json_array();
    json_t *driven = json_array();
    json_t *held = json_array();
    session_txn_text(self->txn, id);
    cli_json_string(object, "txn_id", id);
    cli_json_string(object, "state", state_name(self));
    (void)json_object_set_new(object, "outcome", outcome_json(self));
    for (size_t i = 0; i < self->part_count; i++) {
        const struct part *part = &self->parts[i];
        (void)json_array_append_new(parts, part_json(self, part));
        if (part->holder == NULL) { continue; }
        (void)json_array_append_new(holders,
                                    txn_show_holder_json(&self->names, part->leader, part->holder));
    }
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnWhyResponse *answer = answer_at(self, i);
        for (size_t k = 0; answer != NULL && k < answer->n_waits; k++) {
            (void)json_array_append_new(waits, txn_show_waiter_json(answer->waits[k]));
        }
        for (size_t k = 0; answer != NULL && k < answer->n_driven; k++) {
            (void)json_array_append_new(driven, txn_show_driven_json(answer->driven[k]));
        }
        for (size_t k = 0; answer != NULL && k < answer->n_held; k++) {
            (void)json_array_append_new(
                held, txn_show_held_json(&self->names, answer->node, answer->held[k]));
        }
    }
    (void)json_object_set_new(object, "participants", parts);
    (void)json_object_set_new(object, "holders", holders);
    (void)json_object_set_new(object, "waits", waits);
    (void)json_object_set_new(object, "driven", driven);
    (void)json_object_set_new(object, "held", held);
    (void)json_object_set_new(object, "nodes", gather_nodes_json(&self->gather));
    cli_print_json(self->cli, object);
}

// --- The command

static enum cli_exit show(struct why *self) {
    put_together(self);
    if (!is_known(self)) {
        gather_note_silent(self->cli, &self->gather);
        const struct cli_error error = {
            .status = STATUS_NOT_FOUND,
            .field = "txn_id",
            .message = "no node that answers knows this transaction: it is prepared nowhere, waits "
                       "for nothing, and no outcome of it is kept",
            .hint = "outcomes are kept for 24 h; `txn status KEYSPACE KEY TXN_ID` settles it"};
        return cli_fail(self->cli, &error);
    }
    if (self->cli->format == CLI_JSON) {
        print_json(self);
    } else {
        print_text(self);
    }
    gather_note_silent(self->cli, &self->gather);
    return CLI_OK;
}

static enum cli_exit ask(struct cli *cli, struct why *self) {
    struct session session;
    enum cli_exit exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__TxnWhyRequest request = LIGHTCONE__V1__TXN_WHY_REQUEST__INIT;
    request.txn_id = (ProtobufCBinaryData){sizeof(self->txn), self->txn};
    const struct gather_question question = {
        .method = "TxnWhy",
        .request = &request.base,
        .response = &lightcone__v1__txn_why_response__descriptor,
    };
    exit = gather_ask(cli, &session, &question, &self->gather);
    if (exit == CLI_OK) {
        txn_show_names_init(&self->names, &session);
        exit = show(self);
        txn_show_names_deinit(&self->names);
        gather_deinit(&self->gather);
    }
    mem_free(self->parts);
    session_close(&session);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    struct why why = {.cli = cli};
    const enum cli_exit exit = session_txn_id(cli, args_operand(&cli->args, 0), why.txn);
    return exit == CLI_OK ? ask(cli, &why) : exit;
}

const struct cli_command commands_txn_why = {
    .noun = "txn",
    .verb = "why",
    .operands = "TXN_ID",
    .summary = "why a transaction has not ended, or how it did",
    .details = "Asks every node: where it is prepared, whom it waits for and who for it, which\n"
               "node coordinates or recovers it, and what the records of its shards say.",
    .examples = "  lightcone txn why 6f9619ff8b86d011b42d00cf4fc964ff\n",
    .operand_min = 1,
    .operand_max = 1,
    .run = run,
};
