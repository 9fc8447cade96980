// SPDX-License-Identifier: Apache-2.0
// One transaction on one time line: each node tells what it did, and hybrid logical clocks order
// it, for a message carries its sender's clock and the receiver's never stays behind it.
//
// A column a node, as long as they fit; the text of an event may run on to the right, where its
// line has nothing else. With more nodes than fit, or wide ones, the node stands before the event.
#include "api/cli/commands.h"
#include "api/cli/gather.h"
#include "api/cli/text.h"
#include "api/cli/txn_show.h"
#include "dataplane/base/mem.h"
#include "dataplane/hlc/hlc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRACE_WIDTH = 80,       // of a terminal that does not say
    TRACE_TIME_WIDTH = 12,  // "+123.456 ms "
    TRACE_COLUMN_MIN = 10,  // narrower columns are none
    TRACE_COLUMN_MAX = 40,
    TRACE_TEXT_ROOM = 36,  // for the text of the last column
    TRACE_NODES_MAX = 16,
};

struct entry {
    uint32_t node;
    uint32_t column;
    size_t sequence;  // on its node
    const Lightcone__V1__TraceEvent *event;
};

struct tracing {
    struct cli *cli;
    uint8_t txn[LC_TXN_ID_SIZE];
    struct gather gather;
    struct entry *entries;
    size_t count;
    uint32_t nodes[TRACE_NODES_MAX];  // with events
    uint32_t node_count;
    uint32_t column_width;  // 0 = no columns
    uint32_t attempt;       // tag of the one shown last
};

static const Lightcone__V1__TxnTraceResponse *answer_at(const struct tracing *self, size_t i) {
    return (const void *)self->gather.answers[i].response;
}

// --- Order

// Within one instant: what is sent comes before what it leads to.
static uint32_t rank_of(const Lightcone__V1__TraceEvent *event) {
    static const uint8_t ranks[] = {0, 0, 3, 6, 7, 8, 9, 9, 0, 1, 4, 5};
    return (size_t)event->kind < sizeof(ranks) ? ranks[event->kind] : 0;
}

static int in_order(const void *a, const void *b) {
    const struct entry *one = a;
    const struct entry *other = b;
    if (one->event->at != other->event->at) { return one->event->at < other->event->at ? -1 : 1; }
    if (one->node == other->node) { return one->sequence < other->sequence ? -1 : 1; }
    const uint32_t first = rank_of(one->event);
    const uint32_t second = rank_of(other->event);
    if (first != second) { return first < second ? -1 : 1; }
    return one->node < other->node ? -1 : 1;
}

static void take_events(struct tracing *self) {
    size_t count = 0;
    for (size_t i = 0; i < self->gather.count; i++) {
        count += answer_at(self, i) == NULL ? 0 : answer_at(self, i)->n_events;
    }
    self->entries = mem_alloc_array(count + 1, sizeof(self->entries[0]));
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnTraceResponse *answer = answer_at(self, i);
        if (answer == NULL || answer->n_events == 0) { continue; }
        const uint32_t column = self->node_count;
        if (column < TRACE_NODES_MAX) { self->nodes[self->node_count++] = answer->node; }
        for (size_t k = 0; k < answer->n_events; k++) {
            self->entries[self->count++] =
                (struct entry){answer->node, column, k, answer->events[k]};
        }
    }
    qsort(self->entries, self->count, sizeof(self->entries[0]), in_order);
}

// --- Words

static uint64_t first_us(const struct tracing *self) {
    return hlc_wall_us((struct hlc_ts){self->entries[0].event->at});
}

static const char *kind_name(Lightcone__V1__TraceKind kind) {
    static const char *const names[] = {"unknown",    "begun", "sent",     "answered",
                                        "decided",    "told",  "ended",    "left",
                                        "recovering", "waits", "proposed", "applied"};
    return (size_t)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

static const char *what_name(Lightcone__V1__TraceWhat what) {
    static const char *const names[] = {"",      "one-phase", "prepare", "commit",
                                        "abort", "probe",     "forget",  "settle"};
    return (size_t)what < sizeof(names) / sizeof(names[0]) ? names[what] : "?";
}

static const char *trace_state(Lightcone__V1__TxnState state) {
    static const char *const names[] = {"no record", "prepared", "committed", "aborted", "busy"};
    return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

static bool has_state(const Lightcone__V1__TraceEvent *event) {
    return event->what != LIGHTCONE__V1__TRACE_WHAT__TRACE_WHAT_FORGET &&
           (event->kind == LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_ANSWERED ||
            event->kind == LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_DECIDED ||
            event->kind == LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_APPLIED);
}

// "prepared, p +1.234 ms", "committed, c ...", "aborted (LOCKED)".
static void add_outcome(const struct tracing *self, const Lightcone__V1__TraceEvent *event,
                        struct buf *out) {
    if (!has_state(event)) {
        text_add_string(out, "forgotten");
        return;
    }
    text_add_string(out, trace_state(event->state));
    if (event->reason[0] != '\0') { text_addf(out, " (%s)", event->reason); }
    const bool prepared = event->state == LIGHTCONE__V1__TXN_STATE__TXN_STATE_PREPARED;
    const bool committed = event->state == LIGHTCONE__V1__TXN_STATE__TXN_STATE_COMMITTED;
    if (event->timestamp == 0 || (!prepared && !committed)) { return; }
    const int64_t us = (int64_t)(hlc_wall_us((struct hlc_ts){event->timestamp}) - first_us(self));
    text_addf(out, ", %s %+.3f ms", prepared ? "p" : "c", (double)us / 1e3);
}

// Whoever applies what it did not propose, as far as it remembers, follows.
static bool is_follower(const struct tracing *self, const struct entry *entry) {
    for (size_t i = 0; i < self->count; i++) {
        const struct entry *other = &self->entries[i];
        if (other->node == entry->node && other->event->shard == entry->event->shard &&
            other->event->kind == LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_PROPOSED) {
            return false;
        }
    }
    return true;
}

static void add_holder(const Lightcone__V1__TraceEvent *event, struct buf *out) {
    text_hex(out, slice_make(event->holder.data, event->holder.len));
    text_add_string(out, "...");
}

// What the entry did says the state; a probe and a settlement may find any.
static void add_applied(const struct tracing *self, const struct entry *entry, struct buf *out) {
    const Lightcone__V1__TraceEvent *event = entry->event;
    text_addf(out, "%s %" PRIu64 ": ", is_follower(self, entry) ? "copy" : "shard", event->shard);
    if (event->what == LIGHTCONE__V1__TRACE_WHAT__TRACE_WHAT_PROBE ||
        event->what == LIGHTCONE__V1__TRACE_WHAT__TRACE_WHAT_SETTLE) {
        text_addf(out, "%s: ", what_name(event->what));
    }
    add_outcome(self, event, out);
}

static void add_text(const struct tracing *self, const struct entry *entry, struct buf *out) {
    const Lightcone__V1__TraceEvent *event = entry->event;
    const char *what = what_name(event->what);
    switch (event->kind) {
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_BEGUN:
        text_addf(out, "begun%s", event->attempt_tag == 0 ? ", on one shard" : "");
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_SENT:
        text_addf(out, "%s -> shard %" PRIu64, what, event->shard);
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_ANSWERED:
        text_addf(out, "<- shard %" PRIu64 ": ", event->shard);
        add_outcome(self, event, out);
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_DECIDED:
        text_add_string(out, "decided: ");
        add_outcome(self, event, out);
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_TOLD:
        text_addf(out, "told the client: %s", event->status);
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_ENDED:
        text_add_string(out, "ended: all shards have answered");
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_LEFT:
        text_add_string(out, "left to recovery");
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_RECOVERING:
        text_addf(out, "recovers it, found on shard %" PRIu64, event->shard);
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_WAITS:
        text_addf(out, "waits on %" PRIu64 " for ", event->shard);
        add_holder(event, out);
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_PROPOSED:
        text_addf(out, "shard %" PRIu64 ": proposes %s", event->shard, what);
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_APPLIED:
        add_applied(self, entry, out);
        return;
    case LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_UNSPECIFIED:
    case _LIGHTCONE__V1__TRACE_KIND_IS_INT_SIZE:
        break;
    }
    text_add_string(out, "something that this program does not know");
}

// --- The time line

static void plan_columns(struct tracing *self) {
    const uint32_t width =
        cli_style(self->cli).width > 0 ? cli_style(self->cli).width : TRACE_WIDTH;
    const uint32_t fixed = TRACE_TIME_WIDTH + TRACE_TEXT_ROOM;
    self->column_width = 0;
    if (self->node_count < 2 || self->node_count == TRACE_NODES_MAX || width <= fixed) { return; }
    const uint32_t each = (width - fixed) / (self->node_count - 1);
    if (each < TRACE_COLUMN_MIN) { return; }
    self->column_width = each < TRACE_COLUMN_MAX ? each : TRACE_COLUMN_MAX;
}

static void print_titles(const struct tracing *self) {
    struct buf line;
    buf_init(&line, TEXT_BUF_MAX);
    text_addf(&line, "%*s ", TRACE_TIME_WIDTH - 1, "TIME");
    if (self->column_width == 0) { text_add_string(&line, "NODE  EVENT"); }
    for (uint32_t i = 0; i < self->node_count && self->column_width > 0; i++) {
        char title[TEXT_SIZE];
        (void)snprintf(title, sizeof(title), "NODE %" PRIu32, self->nodes[i]);
        const bool last = i + 1 == self->node_count;
        text_addf(&line, "%-*s", last ? 0 : (int)self->column_width, title);
    }
    const bool colour = cli_style(self->cli).colour;
    (void)fprintf(self->cli->out, "%s%.*s%s\n", colour ? "\033[1m" : "", (int)line.size,
                  (const char *)line.data, colour ? "\033[0m" : "");
    buf_deinit(&line);
}

// The columns to the left of the event: a bar for each node.
static void add_bars(const struct tracing *self, uint32_t column, struct buf *line) {
    for (uint32_t i = 0; i < column; i++) {
        text_addf(line, "%-*s", (int)self->column_width, "|");
    }
}

static void print_entry(struct tracing *self, const struct entry *entry) {
    struct buf line;
    struct buf text;
    char when[TEXT_SIZE];
    buf_init(&line, TEXT_BUF_MAX);
    buf_init(&text, TEXT_BUF_MAX);
    const uint64_t us = hlc_wall_us((struct hlc_ts){entry->event->at}) - first_us(self);
    (void)snprintf(when, sizeof(when), "+%" PRIu64 ".%03" PRIu64 " ms", us / 1000, us % 1000);
    text_addf(&line, "%*s ", TRACE_TIME_WIDTH - 1, when);
    if (self->column_width == 0) {
        text_addf(&line, "%4" PRIu32 "  ", entry->node);
    } else {
        add_bars(self, entry->column, &line);
    }
    add_text(self, entry, &text);
    text_add(&line, buf_slice(&text));
    const uint32_t tag = entry->event->attempt_tag;
    if (tag != 0 && tag != self->attempt) {
        if (self->attempt != 0) { text_addf(&line, " [attempt %08" PRIx32 "]", tag); }
        self->attempt = tag;
    }
    (void)fprintf(self->cli->out, "%.*s\n", (int)line.size, (const char *)line.data);
    buf_deinit(&text);
    buf_deinit(&line);
}

static void print_text(struct tracing *self) {
    char id[TXN_SHOW_ID_SIZE];
    char from[TEXT_SIZE];
    session_txn_text(self->txn, id);
    (void)fprintf(self->cli->out, "%s from %s\n\n", id,
                  text_format_timestamp(self->entries[0].event->at, from));
    plan_columns(self);
    print_titles(self);
    for (size_t i = 0; i < self->count; i++) {
        print_entry(self, &self->entries[i]);
    }
}

// --- JSON

static json_t *entry_json(const struct tracing *self, const struct entry *entry) {
    const Lightcone__V1__TraceEvent *event = entry->event;
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    json_t *object = json_object();
    cli_json_timestamp(object, "at", event->at);
    cli_json_u64(object, "offset_us", hlc_wall_us((struct hlc_ts){event->at}) - first_us(self));
    cli_json_u64(object, "node", entry->node);
    cli_json_string(object, "event", kind_name(event->kind));
    cli_json_string(object, "what", event->what == 0 ? NULL : what_name(event->what));
    cli_json_string(object, "state", has_state(event) ? trace_state(event->state) : NULL);
    cli_json_string(object, "reason", event->reason[0] == '\0' ? NULL : event->reason);
    cli_json_string(object, "status", event->status[0] == '\0' ? NULL : event->status);
    cli_json_u64(object, "shard", event->shard);
    cli_json_bool(object, "follower",
                  event->kind == LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_APPLIED &&
                      is_follower(self, entry));
    cli_json_timestamp(object, "timestamp", event->timestamp);
    cli_json_u64(object, "attempt_tag", event->attempt_tag);
    if (event->holder.len > 0) { add_holder(event, &text); }
    text_add(&text, slice_make("", 1));
    cli_json_string(object, "holder", event->holder.len == 0 ? NULL : (const char *)text.data);
    buf_reset(&text);
    add_text(self, entry, &text);
    cli_json_bytes(object, "text", buf_slice(&text));
    buf_deinit(&text);
    return object;
}

static json_t *memory_json(const struct tracing *self) {
    json_t *nodes = gather_nodes_json(&self->gather);
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnTraceResponse *answer = answer_at(self, i);
        if (answer == NULL) { continue; }
        json_t *node = json_array_get(nodes, i);
        cli_json_u64(node, "event_count", answer->n_events);
        cli_json_bool(node, "more", answer->more != 0);
        cli_json_timestamp(node, "oldest", answer->oldest);
    }
    return nodes;
}

static void print_json(const struct tracing *self) {
    char id[TXN_SHOW_ID_SIZE];
    json_t *object = json_object();
    json_t *events = json_array();
    session_txn_text(self->txn, id);
    cli_json_string(object, "txn_id", id);
    for (size_t i = 0; i < self->count; i++) {
        (void)json_array_append_new(events, entry_json(self, &self->entries[i]));
    }
    (void)json_object_set_new(object, "events", events);
    (void)json_object_set_new(object, "nodes", memory_json(self));
    cli_print_json(self->cli, object);
}

// --- The command

static void note_memory(const struct tracing *self) {
    char text[TEXT_SIZE];
    for (size_t i = 0; i < self->gather.count; i++) {
        const Lightcone__V1__TxnTraceResponse *answer = answer_at(self, i);
        if (answer == NULL) { continue; }
        const bool cut = self->count == 0 || answer->oldest > self->entries[0].event->at;
        if (answer->oldest != 0 && cut) {
            cli_note(self->cli, "node %" PRIu32 " remembers nothing before %s", answer->node,
                     text_format_timestamp(answer->oldest, text));
        }
        if (answer->more != 0) {
            cli_note(self->cli, "node %" PRIu32 " has more events than are shown", answer->node);
        }
    }
    gather_note_silent(self->cli, &self->gather);
}

static enum cli_exit show(struct tracing *self) {
    take_events(self);
    enum cli_exit exit = CLI_OK;
    if (self->count == 0) {
        const struct cli_error error = {
            .status = STATUS_NOT_FOUND,
            .field = "txn_id",
            .message = "no node that answers remembers anything of this transaction",
            .hint = "traces are kept in memory, the latest only; `txn why` tells of outcomes"};
        exit = cli_fail(self->cli, &error);
    } else if (self->cli->format == CLI_JSON) {
        print_json(self);
    } else {
        print_text(self);
    }
    note_memory(self);
    mem_free(self->entries);
    return exit;
}

static enum cli_exit ask(struct cli *cli, struct tracing *self) {
    struct session session;
    enum cli_exit exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__TxnTraceRequest request = LIGHTCONE__V1__TXN_TRACE_REQUEST__INIT;
    request.txn_id = (ProtobufCBinaryData){sizeof(self->txn), self->txn};
    const struct gather_question question = {
        .method = "TxnTrace",
        .request = &request.base,
        .response = &lightcone__v1__txn_trace_response__descriptor,
    };
    exit = gather_ask(cli, &session, &question, &self->gather);
    if (exit == CLI_OK) {
        exit = show(self);
        gather_deinit(&self->gather);
    }
    session_close(&session);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    struct tracing tracing = {.cli = cli};
    const enum cli_exit exit = session_txn_id(cli, args_operand(&cli->args, 0), tracing.txn);
    return exit == CLI_OK ? ask(cli, &tracing) : exit;
}

const struct cli_command commands_trace = {
    .noun = "trace",
    .verb = NULL,
    .operands = "TXN_ID",
    .summary = "what every node did for a transaction, in causal order",
    .details =
        "A line an event, a column a node, in the order of hybrid logical clocks: no\n"
        "effect comes before its cause, however the clocks of the machines differ.\n"
        "\"shard 16\" is said by its leader, \"copy 16\" by a follower. Nodes keep the latest\n"
        "events in memory, under load those of some seconds.",
    .examples = "  lightcone trace 6f9619ff8b86d011b42d00cf4fc964ff\n",
    .operand_min = 1,
    .operand_max = 1,
    .run = run,
};
