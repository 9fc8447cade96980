// SPDX-License-Identifier: Apache-2.0
// The whole file is one transaction, tried again when it meets others: statements of the shell, a
// line each. What its reads bring is kept and printed once it is committed: before that it is
// nobody's truth.
#include "api/cli/commands.h"
#include "api/cli/lines.h"
#include "api/cli/session.h"
#include "api/cli/statement.h"
#include "api/cli/text.h"
#include "dataplane/base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { TXN_RUN_LINE_SIZE_MAX = 8 << 20, TXN_RUN_STEPS_MIN = 16, TXN_RUN_HINT_SIZE = 512 };

struct txn_run_step {
    struct statement statement;
    uint64_t line;
};

struct txn_run {
    struct cli *cli;
    struct txn_run_step *steps;
    size_t count;
    size_t capacity;
    const char *path;
    struct buf lines;    // table: what the last try read
    json_t *results;     // JSON: the same, by steps
    json_t *rows;        // JSON: of the step that runs
    struct err refusal;  // why the script gave the transaction up; OK = it did not
};

// --- Results of steps ---

static void keep_row(void *ctx, const struct statement *statement, struct slice key,
                     const struct lc_row *row) {
    struct txn_run *self = ctx;
    (void)statement;
    if (self->cli->format == CLI_JSON) {
        json_t *object = json_object();
        cli_json_bytes(object, "key", key);
        cli_json_bool(object, "found", row->found);
        if (row->found) { cli_json_bytes(object, "value", row->value); }
        // What this transaction wrote has no version yet.
        if (row->version != 0) { cli_json_timestamp(object, "version", row->version); }
        (void)json_array_append_new(self->rows, object);
    } else if (row->found) {
        text_escape(&self->lines, key, TEXT_LINE);
        text_add_string(&self->lines, "\t");
        text_escape(&self->lines, row->value, TEXT_LINE);
        text_add_string(&self->lines, "\n");
    }
}

static void keep_step(struct txn_run *self, const struct txn_run_step *step, json_t *rows) {
    json_t *object = json_object();
    cli_json_u64(object, "line", step->line);
    cli_json_bytes(object, "step", step->statement.words[0]);
    (void)json_object_set_new(object, "rows", rows);
    (void)json_array_append_new(self->results, object);
}

static void forget(struct txn_run *self) {
    buf_reset(&self->lines);
    json_decref(self->results);
    self->results = json_array();
    self->refusal = (struct err){0};
}

// --- Steps ---

static bool is_reading(enum statement_kind kind) {
    return kind == STATEMENT_GET || kind == STATEMENT_SCAN;
}

static enum status run_step(struct txn_run *self, struct lc_txn *txn,
                            const struct txn_run_step *step) {
    const struct statement_sink sink = {keep_row, self};
    struct err err = {0};
    self->rows = json_array();
    const enum status st = statement_run(&step->statement, txn, &sink, &err);
    if (st == STATUS_OK && is_reading(step->statement.kind)) {
        keep_step(self, step, self->rows);
    } else {
        json_decref(self->rows);
    }
    if (st == STATUS_CONDITION_FAILED) {
        err_wrap(&err, "%.120s:%" PRIu64, self->path, step->line);
        self->refusal = err;
    }
    return st;
}

static enum status run_steps(struct lc_txn *txn, void *ctx) {
    struct txn_run *self = ctx;
    enum status st = STATUS_OK;
    forget(self);
    for (size_t i = 0; i < self->count && st == STATUS_OK; i++) {
        st = run_step(self, txn, &self->steps[i]);
    }
    return st;
}

// --- Outcomes ---

static void print_json(struct txn_run *self, const struct session *session,
                       const struct lc_result *result) {
    char txn[2 * LC_TXN_ID_SIZE + 1];
    json_t *object = json_object();
    session_txn_text(result->txn, txn);
    cli_json_string(object, "keyspace", args_operand(&self->cli->args, 0));
    cli_json_string(object, "outcome", "committed");
    cli_json_string(object, "txn_id", txn);
    cli_json_timestamp(object, "timestamp", result->timestamp);
    cli_json_u64(object, "attempts", result->attempts);
    (void)json_object_set(object, "results", self->results);
    session_json_token(object, session);
    (void)json_object_set_new(object, "header", session_header_json(result));
    cli_print_json(self->cli, object);
}

static void print_text(struct txn_run *self, const struct lc_result *result) {
    char txn[2 * LC_TXN_ID_SIZE + 1];
    char timestamp[TEXT_SIZE];
    struct cli *cli = self->cli;
    if (self->lines.size > 0) { (void)fwrite(self->lines.data, 1, self->lines.size, cli->out); }
    (void)fprintf(cli->out, "committed at %s\n",
                  text_format_timestamp(result->timestamp, timestamp));
    session_txn_text(result->txn, txn);
    cli_note(cli, "transaction %s, attempt %" PRIu32, txn, result->attempts);
    // One that only read needs nobody's log.
    if (result->certificate.method != LC_METHOD_NONE) { session_note_header(cli, result); }
}

static enum cli_exit fail(struct txn_run *self, const struct lc_result *result) {
    struct cli *cli = self->cli;
    if (result->status == STATUS_CONDITION_FAILED && self->refusal.status != STATUS_OK) {
        return cli_fail_err(cli, &self->refusal, "nothing was changed");
    }
    if (result->outcome != LC_UNKNOWN) { return session_fail(cli, result, NULL); }
    char txn[2 * LC_TXN_ID_SIZE + 1];
    char hint[TXN_RUN_HINT_SIZE];
    struct buf key;
    buf_init(&key, TEXT_BUF_MAX);
    text_escape(&key, result->home, TEXT_LINE);
    session_txn_text(result->txn, txn);
    (void)snprintf(hint, sizeof(hint), "lightcone txn status %.127s '%.*s' %s",
                   args_operand(&cli->args, 0), (int)(key.size < 160 ? key.size : 160),
                   key.size == 0 ? "" : (const char *)key.data, txn);
    buf_deinit(&key);
    return session_fail(cli, result, hint);
}

static enum cli_exit run_script(struct txn_run *self, const uint8_t *txn) {
    struct cli *cli = self->cli;
    struct session session;
    struct lc_reply reply = {0};
    enum cli_exit exit = session_open(
        cli, &(struct session_options){.keyspace = args_operand(&cli->args, 0)}, &session);
    if (exit != CLI_OK) { return exit; }
    const struct lc_txn_options options = {
        .keyspace = session.keyspace, .timeout_ms = cli->timeout_ms, .txn = txn};
    enum status st = lc_txn_run(session.client, &options, run_steps, self, &reply);
    if (st != STATUS_OK) {
        exit = fail(self, &reply.result);
    } else if (cli->format == CLI_JSON) {
        print_json(self, &session, &reply.result);
    } else {
        print_text(self, &reply.result);
    }
    lc_reply_free(&reply);
    session_close(&session);
    return exit;
}

// --- The file ---

static enum status add_step(struct txn_run *self, struct slice line, uint64_t number,
                            struct err *err) {
    if (self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? TXN_RUN_STEPS_MIN : 2 * self->capacity;
        self->steps = mem_realloc(self->steps, self->capacity * sizeof(*self->steps));
    }
    struct txn_run_step *step = &self->steps[self->count++];
    *step = (struct txn_run_step){.line = number};
    enum status st = statement_parse(&step->statement, line, err);
    if (st == STATUS_OK && step->statement.kind == STATEMENT_EMPTY) {
        statement_free(&step->statement);
        self->count--;
    } else if (st == STATUS_OK && !statement_is_data(step->statement.kind)) {
        st = err_set(err, STATUS_INVALID_ARGUMENT,
                     "\"%.40s\" is none of get, scan, put, incr, delete, delete-range, assert, "
                     "assert-absent",
                     (const char *)step->statement.words[0].data);
    }
    return st;
}

static enum status read_steps(struct txn_run *self, FILE *file, struct err *err) {
    struct lines lines;
    struct slice line;
    bool end = false;
    lines_init(&lines, file, TXN_RUN_LINE_SIZE_MAX);
    enum status st = lines_next(&lines, &line, &end, err);
    while (st == STATUS_OK && !end) {
        st = add_step(self, line, lines.number, err);
        if (st != STATUS_OK) { err_wrap(err, "line %" PRIu64, lines.number); }
        if (st == STATUS_OK) { st = lines_next(&lines, &line, &end, err); }
    }
    lines_deinit(&lines);
    return st;
}

static enum cli_exit read_script(struct txn_run *self) {
    struct cli *cli = self->cli;
    struct err err = {0};
    bool is_stdin = strcmp(self->path, "-") == 0;
    FILE *file = is_stdin ? cli->in : fopen(self->path, "re");
    enum status st = file == NULL ? err_set(&err, STATUS_IO, "%s", strerror(errno))
                                  : read_steps(self, file, &err);
    if (file != NULL && !is_stdin) { (void)fclose(file); }
    if (st == STATUS_INVALID_ARGUMENT) {
        return cli_usage(cli, "%.120s: %s", self->path, err.message);
    }
    if (st != STATUS_OK) {
        err_wrap(&err, "%.120s", self->path);
        return cli_fail_err(cli, &err, NULL);
    }
    return self->count > 0 ? CLI_OK : cli_usage(cli, "%.120s: has no steps", self->path);
}

static enum cli_exit run(struct cli *cli) {
    struct txn_run self = {.cli = cli, .path = args_operand(&cli->args, 1)};
    uint8_t txn[LC_TXN_ID_SIZE];
    const char *given = args_text(&cli->args, "txn-id");
    enum cli_exit exit = given == NULL ? CLI_OK : session_txn_id(cli, given, txn);
    buf_init(&self.lines, TEXT_BUF_MAX);
    self.results = json_array();
    if (exit == CLI_OK) { exit = read_script(&self); }
    if (exit == CLI_OK) { exit = run_script(&self, given == NULL ? NULL : txn); }
    json_decref(self.results);
    buf_deinit(&self.lines);
    for (size_t i = 0; i < self.count; i++) {
        statement_free(&self.steps[i].statement);
    }
    mem_free(self.steps);
    return exit;
}

static const struct args_option options[] = {
    {.name = "txn-id",
     .kind = ARGS_TEXT,
     .placeholder = "HEX",
     .help = "transaction id, 32 hexadecimal digits (default: a new one)"},
};

const struct cli_command commands_txn_run = {
    .noun = "txn",
    .verb = "run",
    .operands = "KEYSPACE FILE|-",
    .summary = "run a file as one transaction",
    .details =
        "One statement of the shell a line: get KEY..., scan [START [END]] [limit N], put KEY\n"
        "VALUE, incr KEY [N], delete KEY..., delete-range START END, assert KEY VALUE,\n"
        "assert-absent KEY. Words with blanks stand in quotes, escapes are those of `kv get`, #\n"
        "begins a comment. All steps see one snapshot and what was written before them. When\n"
        "the transaction meets another one it is run again, until --timeout. What was read is\n"
        "printed once it is committed. Exit code 1: nothing was changed; 3: it may have been\n"
        "committed.",
    .examples = "  lightcone txn run bank transfer.txn\n"
                "  printf 'assert a 5\\nput a 4\\nincr b\\n' | lightcone txn run bank -\n"
                "  lightcone --format json txn run bank sums.txn | jq '.results[0].rows'\n",
    .operand_min = 2,
    .operand_max = 2,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
