// SPDX-License-Identifier: Apache-2.0
// The whole file is one transaction, tried again when it meets others. What its reads bring is kept
// and printed once it is committed: before that it is nobody's truth.
#include "api/cli/commands.h"
#include "api/cli/session.h"
#include "api/cli/text.h"
#include "api/cli/txn_script.h"
#include "api/client/lightcone_txn.h"
#include "dataplane/base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { TXN_RUN_SHOWN = 80, TXN_RUN_MESSAGE_SIZE = 512, TXN_RUN_HINT_SIZE = 512 };

struct txn_run {
    struct cli *cli;
    struct txn_script script;
    const char *path;
    struct buf lines;  // table: what the last try read
    json_t *results;   // JSON: the same
    // Why the script gave the transaction up; empty = it did not.
    char refusal[TXN_RUN_MESSAGE_SIZE];
};

// --- Results of steps ---

static void keep_row(struct txn_run *self, json_t *rows, struct slice key,
                     const struct lc_row *row) {
    if (self->cli->format == CLI_JSON) {
        json_t *object = json_object();
        cli_json_bytes(object, "key", key);
        cli_json_bool(object, "found", row->found);
        if (row->found) { cli_json_bytes(object, "value", row->value); }
        // What this transaction wrote has no version yet.
        if (row->version != 0) { cli_json_timestamp(object, "version", row->version); }
        (void)json_array_append_new(rows, object);
    } else if (row->found) {
        text_escape(&self->lines, key, TEXT_LINE);
        text_add_string(&self->lines, "\t");
        text_escape(&self->lines, row->value, TEXT_LINE);
        text_add_string(&self->lines, "\n");
    }
}

static void keep_step(struct txn_run *self, const struct txn_script_step *step, json_t *rows) {
    json_t *object = json_object();
    cli_json_u64(object, "line", step->line);
    cli_json_string(object, "step", txn_script_word(step->op));
    (void)json_object_set_new(object, "rows", rows);
    (void)json_array_append_new(self->results, object);
}

static void forget(struct txn_run *self) {
    buf_reset(&self->lines);
    json_decref(self->results);
    self->results = json_array();
    self->refusal[0] = '\0';
}

// --- Steps ---

static enum status run_get(struct txn_run *self, struct lc_txn *txn,
                           const struct txn_script_step *step) {
    struct lc_reply reply;
    struct slice key = buf_slice(&step->key);
    enum status st = lc_txn_get(txn, key, &reply);
    if (reply.result.status == STATUS_OK) {
        json_t *rows = json_array();
        keep_row(self, rows, key, &reply.result.rows[0]);
        keep_step(self, step, rows);
        st = STATUS_OK;
    }
    lc_reply_free(&reply);
    return st;
}

static enum status run_scan(struct txn_run *self, struct lc_txn *txn,
                            const struct txn_script_step *step) {
    struct buf start;
    struct lc_txn_scan scan = {.end = buf_slice(&step->value)};
    json_t *rows = json_array();
    enum status st = STATUS_OK;
    bool more = true;
    buf_init(&start, TEXT_BUF_MAX);
    text_add(&start, buf_slice(&step->key));
    while (st == STATUS_OK && more) {
        struct lc_reply reply;
        scan.start = buf_slice(&start);
        st = lc_txn_scan(txn, &scan, &reply);
        for (uint32_t i = 0; st == STATUS_OK && i < reply.result.row_count; i++) {
            keep_row(self, rows, reply.result.rows[i].key, &reply.result.rows[i]);
        }
        more = reply.result.more;
        buf_reset(&start);
        text_add(&start, reply.result.resume);
        lc_reply_free(&reply);
    }
    buf_deinit(&start);
    keep_step(self, step, rows);
    return st;
}

static void refuse(struct txn_run *self, const struct txn_script_step *step,
                   const struct lc_row *row) {
    struct buf key;
    struct buf value;
    buf_init(&key, TEXT_BUF_MAX);
    buf_init(&value, TEXT_BUF_MAX);
    text_escape(&key, buf_slice(&step->key), TEXT_LINE);
    text_escape(&value, row->value, TEXT_LINE);
    (void)snprintf(self->refusal, sizeof(self->refusal), "%.120s:%" PRIu64 ": '%.*s' %s%.*s%s",
                   self->path, step->line,
                   (int)(key.size < TXN_RUN_SHOWN ? key.size : TXN_RUN_SHOWN),
                   (const char *)key.data, row->found ? "holds '" : "has no value",
                   (int)(value.size < TXN_RUN_SHOWN ? value.size : TXN_RUN_SHOWN),
                   value.size == 0 ? "" : (const char *)value.data, row->found ? "'" : "");
    buf_deinit(&key);
    buf_deinit(&value);
}

static enum status run_assert(struct txn_run *self, struct lc_txn *txn,
                              const struct txn_script_step *step) {
    struct lc_reply reply;
    enum status st = lc_txn_get(txn, buf_slice(&step->key), &reply);
    if (reply.result.status == STATUS_OK) {
        const struct lc_row *row = &reply.result.rows[0];
        bool holds = step->op == TXN_SCRIPT_ASSERT_ABSENT
                         ? !row->found
                         : row->found && slice_equal(row->value, buf_slice(&step->value));
        if (!holds) { refuse(self, step, row); }
        st = holds ? STATUS_OK : STATUS_CONDITION_FAILED;
    }
    lc_reply_free(&reply);
    return st;
}

static enum status run_step(struct txn_run *self, struct lc_txn *txn,
                            const struct txn_script_step *step) {
    struct slice key = buf_slice(&step->key);
    struct slice value = buf_slice(&step->value);
    switch (step->op) {
    case TXN_SCRIPT_GET:
        return run_get(self, txn, step);
    case TXN_SCRIPT_SCAN:
        return run_scan(self, txn, step);
    case TXN_SCRIPT_PUT:
        return lc_txn_put(txn, key, value);
    case TXN_SCRIPT_INCR:
        return lc_txn_add(txn, key, step->amount);
    case TXN_SCRIPT_DELETE:
        return lc_txn_delete(txn, key);
    case TXN_SCRIPT_DELETE_RANGE:
        return lc_txn_delete_range(txn, key, value);
    case TXN_SCRIPT_ASSERT:
    case TXN_SCRIPT_ASSERT_ABSENT:
        return run_assert(self, txn, step);
    case TXN_SCRIPT_OP_COUNT:
        break;
    }
    return STATUS_INVALID_ARGUMENT;
}

static enum status run_steps(struct lc_txn *txn, void *ctx) {
    struct txn_run *self = ctx;
    enum status st = STATUS_OK;
    forget(self);
    for (size_t i = 0; i < self->script.count && st == STATUS_OK; i++) {
        st = run_step(self, txn, &self->script.steps[i]);
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
    if (result->status == STATUS_CONDITION_FAILED && self->refusal[0] != '\0') {
        return cli_fail(cli, &(struct cli_error){.status = result->status,
                                                 .message = self->refusal,
                                                 .hint = "nothing was changed"});
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

static enum cli_exit read_script(struct txn_run *self) {
    struct cli *cli = self->cli;
    struct err err = {0};
    bool is_stdin = strcmp(self->path, "-") == 0;
    FILE *file = is_stdin ? cli->in : fopen(self->path, "re");
    enum status st = STATUS_OK;
    if (file == NULL) {
        st = err_set(&err, STATUS_IO, "%s", strerror(errno));
    } else {
        st = txn_script_read(&self->script, file, args_flag(&cli->args, "literal"), &err);
    }
    if (file != NULL && !is_stdin) { (void)fclose(file); }
    if (st == STATUS_INVALID_ARGUMENT) {
        return cli_usage(cli, "%.120s: %s", self->path, err.message);
    }
    if (st != STATUS_OK) {
        err_wrap(&err, "%.120s", self->path);
        return cli_fail_err(cli, &err, NULL);
    }
    return self->script.count > 0 ? CLI_OK : cli_usage(cli, "%.120s: has no steps", self->path);
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
    txn_script_deinit(&self.script);
    return exit;
}

static const struct args_option options[] = {
    SESSION_OPTION_LITERAL,
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
        "One step a line: get KEY, scan [START [END]], put KEY VALUE, incr KEY [N], delete KEY,\n"
        "delete-range START END, assert KEY VALUE, assert-absent KEY. A value goes to the end of\n"
        "the line, \"\" is the empty one; escapes are those of `kv get`; # begins a comment. All\n"
        "steps see one snapshot and what was written before them. When the transaction meets\n"
        "another one it is run again, until --timeout. What was read is printed once it is\n"
        "committed. Exit code 1: nothing was changed; 3: it may have been committed.",
    .examples = "  lightcone txn run bank transfer.txn\n"
                "  printf 'assert a 5\\nput a 4\\nincr b\\n' | lightcone txn run bank -\n"
                "  lightcone --format json txn run bank sums.txn | jq '.results[0].rows'\n",
    .operand_min = 2,
    .operand_max = 2,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
