// SPDX-License-Identifier: Apache-2.0
// `shell`: statements of the small language (statement.h), and every other command without the
// program's name in front. Outside of begin and commit each statement is a transaction of its own,
// tried again by itself; inside, what was read may have been used by whoever types, so a conflict
// is told and not tried again.
#include "api/cli/commands.h"
#include "api/cli/line_editor.h"
#include "api/cli/lines.h"
#include "api/cli/session.h"
#include "api/cli/statement.h"
#include "api/cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHELL_LINE_SIZE_MAX = 4 << 20,
    SHELL_PROMPT_SIZE = 160,
    SHELL_PATH_SIZE = 1024,
    SHELL_TXN_TIMEOUT_MS = 300000,
};

struct shell {
    struct cli *cli;
    struct session session;
    bool connected;
    char keyspace[128];
    struct lc_txn *txn;  // NULL = none is open
    bool quits;
    char prompt[SHELL_PROMPT_SIZE];
};

static enum cli_exit complain(struct shell *self, enum status st, const char *message) {
    return cli_fail(self->cli, &(struct cli_error){.status = st, .message = message});
}

// --- Keyspaces

static enum cli_exit use(struct shell *self, const char *keyspace) {
    if (self->txn != NULL) {
        return complain(
            self, STATUS_FAILED_PRECONDITION,
            "a transaction is open, and lies in one keyspace: commit or rollback first");
    }
    if (strlen(keyspace) >= sizeof(self->keyspace)) {
        return complain(self, STATUS_INVALID_ARGUMENT, "the name of the keyspace is too long");
    }
    enum cli_exit exit = CLI_OK;
    if (self->connected) {
        struct err err = {0};
        const enum status st =
            lc_keyspace(self->session.client, keyspace, &self->session.keyspace, &err);
        if (st != STATUS_OK) { exit = cli_fail_err(self->cli, &err, "lightcone keyspace list"); }
    } else {
        exit = session_open(self->cli, &(struct session_options){.keyspace = keyspace},
                            &self->session);
        self->connected = exit == CLI_OK;
    }
    if (exit == CLI_OK) { (void)snprintf(self->keyspace, sizeof(self->keyspace), "%s", keyspace); }
    return exit;
}

// --- Transactions

static enum cli_exit begin(struct shell *self) {
    if (self->txn != NULL) {
        return complain(self, STATUS_FAILED_PRECONDITION, "a transaction is open already");
    }
    const struct lc_txn_options options = {.keyspace = self->session.keyspace,
                                           .timeout_ms = SHELL_TXN_TIMEOUT_MS};
    self->txn = lc_txn_begin(self->session.client, &options);
    return CLI_OK;
}

static void give_up(struct shell *self) {
    if (self->txn == NULL) { return; }
    lc_txn_rollback(self->txn);
    lc_txn_close(self->txn);
    self->txn = NULL;
}

static enum cli_exit tell_unknown(struct shell *self, const struct lc_result *result) {
    enum { SHOWN = 160 };
    char txn[2 * LC_TXN_ID_SIZE + 1];
    char hint[512];
    struct buf key;
    buf_init(&key, TEXT_BUF_MAX);
    text_escape(&key, result->home, TEXT_LINE);
    text_add(&key, slice_make("", 1));
    session_txn_text(result->txn, txn);
    (void)snprintf(hint, sizeof(hint), "txn status %.127s '%.*s' %s", self->keyspace, SHOWN,
                   (const char *)key.data, txn);
    buf_deinit(&key);
    return session_fail(self->cli, result, hint);
}

static enum cli_exit tell(struct shell *self, const struct lc_result *result, bool committed) {
    char timestamp[TEXT_SIZE];
    if (result->status != STATUS_OK) {
        return result->outcome == LC_UNKNOWN ? tell_unknown(self, result)
                                             : session_fail(self->cli, result, NULL);
    }
    if (committed && result->timestamp != 0) {
        cli_note(self->cli, "committed at %s", text_format_timestamp(result->timestamp, timestamp));
    }
    return CLI_OK;
}

static enum cli_exit commit(struct shell *self) {
    if (self->txn == NULL) {
        return complain(self, STATUS_FAILED_PRECONDITION, "no transaction is open: begin");
    }
    struct lc_reply reply = {0};
    (void)!lc_txn_commit(self->txn, NULL, 0, &reply);
    const enum cli_exit exit = tell(self, &reply.result, true);
    lc_reply_free(&reply);
    lc_txn_close(self->txn);
    self->txn = NULL;
    return exit;
}

// --- Statements that read and write

struct single {
    const struct statement *statement;
    struct buf *out;
    struct err *err;
};

// A get is answered by values alone.
static void add_row(void *ctx, const struct statement *statement, struct slice key,
                    const struct lc_row *row) {
    struct buf *out = ctx;
    if (statement->kind == STATEMENT_SCAN) {
        text_escape(out, key, TEXT_LINE);
        text_add_string(out, "\t");
    }
    if (row->found) {
        text_escape(out, row->value, TEXT_LINE);
    } else {
        text_add_string(out, "(no value)");
    }
    text_add_string(out, "\n");
}

static enum status run_single(struct lc_txn *txn, void *ctx) {
    struct single *single = ctx;
    const struct statement_sink sink = {add_row, single->out};
    buf_reset(single->out);
    return statement_run(single->statement, txn, &sink, single->err);
}

static enum cli_exit run_alone(struct shell *self, const struct statement *statement,
                               struct buf *out) {
    struct err err = {0};
    struct single single = {statement, out, &err};
    struct lc_reply reply = {0};
    const struct lc_txn_options options = {.keyspace = self->session.keyspace,
                                           .timeout_ms = self->cli->timeout_ms};
    (void)!lc_txn_run(self->session.client, &options, run_single, &single, &reply);
    enum cli_exit exit = CLI_OK;
    if (reply.result.status != STATUS_OK && err.status == reply.result.status) {
        exit = cli_fail_err(self->cli, &err, NULL);
    } else {
        exit = tell(self, &reply.result, statement_writes(statement->kind));
    }
    lc_reply_free(&reply);
    return exit;
}

static enum cli_exit run_inside(struct shell *self, const struct statement *statement,
                                struct buf *out) {
    struct err err = {0};
    const struct statement_sink sink = {add_row, out};
    const enum status st = statement_run(statement, self->txn, &sink, &err);
    if (st == STATUS_OK) { return CLI_OK; }
    if (st == STATUS_CONDITION_FAILED) { return cli_fail_err(self->cli, &err, NULL); }
    const enum cli_exit exit = cli_fail_err(self->cli, &err, "the transaction is given up");
    give_up(self);
    return exit;
}

static enum cli_exit run_data(struct shell *self, const struct statement *statement) {
    struct buf out;
    buf_init(&out, TEXT_BUF_MAX);
    const enum cli_exit exit =
        self->txn != NULL ? run_inside(self, statement, &out) : run_alone(self, statement, &out);
    if (exit == CLI_OK) { (void)fwrite(out.data, 1, out.size, self->cli->out); }
    buf_deinit(&out);
    return exit;
}

// --- Commands of the program

static enum cli_exit run_command(struct shell *self, const struct statement *statement) {
    struct cli *cli = self->cli;
    const char *noun = (const char *)statement->words[0].data;
    if (!commands_has_noun(noun) || strcmp(noun, "shell") == 0) {
        char message[160];
        (void)snprintf(message, sizeof(message), "\"%.80s\": no such statement; try help", noun);
        (void)complain(self, STATUS_INVALID_ARGUMENT, message);
        return CLI_USAGE;
    }
    char address[SESSION_ADDRESSES_SIZE + 16];
    char *words[STATEMENT_WORDS_MAX + 3];
    static char program[] = "lightcone";
    int count = 0;
    words[count++] = program;
    if (cli->address != NULL) {
        (void)snprintf(address, sizeof(address), "--address=%s", cli->address);
        words[count++] = address;
    }
    for (uint32_t i = 0; i < statement->word_count; i++) {
        words[count++] = (char *)(uintptr_t)statement->words[i].data;
    }
    words[count] = NULL;
    struct cli inner = {.in = cli->in,
                        .out = cli->out,
                        .err = cli->err,
                        .out_terminal = cli->out_terminal,
                        .err_terminal = cli->err_terminal,
                        .colour = cli->colour,
                        .width = cli->width};
    return cli_run(&inner, count, words);
}

static enum cli_exit help(struct shell *self, const struct statement *statement) {
    if (statement->word_count > 1) { return run_command(self, statement); }
    for (const struct statement_help *at = statement_helps; at->name != NULL; at++) {
        char form[80];
        (void)snprintf(form, sizeof(form), "%s %s", at->name, at->operands);
        (void)fprintf(self->cli->out, "  %-44s%s\n", form, at->summary);
    }
    (void)fputs(
        "\nWords with blanks stand in quotes; bytes may be written \\xNN. Everything else is "
        "a\ncommand of lightcone: node list, shard show 17, txn list, help kv scan, ...\n",
        self->cli->out);
    return CLI_OK;
}

static enum cli_exit rollback(struct shell *self) {
    if (self->txn == NULL) {
        return complain(self, STATUS_FAILED_PRECONDITION, "no transaction is open");
    }
    give_up(self);
    return CLI_OK;
}

static enum cli_exit run_statement(struct shell *self, const struct statement *statement) {
    if ((statement_is_data(statement->kind) || statement->kind == STATEMENT_BEGIN) &&
        self->keyspace[0] == '\0') {
        return complain(self, STATUS_FAILED_PRECONDITION, "in which keyspace? say: use KEYSPACE");
    }
    if (statement_is_data(statement->kind)) { return run_data(self, statement); }
    switch (statement->kind) {
    case STATEMENT_BEGIN:
        return begin(self);
    case STATEMENT_COMMIT:
        return commit(self);
    case STATEMENT_ROLLBACK:
        return rollback(self);
    case STATEMENT_USE:
        return use(self, (const char *)statement->words[1].data);
    case STATEMENT_HELP:
        return help(self, statement);
    case STATEMENT_OTHER:
        return run_command(self, statement);
    case STATEMENT_QUIT:
        self->quits = true;
        return CLI_OK;
    case STATEMENT_EMPTY:
    case STATEMENT_GET:
    case STATEMENT_PUT:
    case STATEMENT_DELETE:
    case STATEMENT_DELETE_RANGE:
    case STATEMENT_INCR:
    case STATEMENT_SCAN:
    case STATEMENT_ASSERT:
    case STATEMENT_ASSERT_ABSENT:
    case STATEMENT_KIND_COUNT:
        break;
    }
    return CLI_OK;
}

static enum cli_exit run_line(struct shell *self, struct slice line) {
    struct statement statement;
    struct err err = {0};
    enum cli_exit exit = CLI_USAGE;
    if (statement_parse(&statement, line, &err) == STATUS_OK) {
        exit = run_statement(self, &statement);
    } else {
        (void)cli_fail_err(self->cli, &err, "help");
    }
    statement_free(&statement);
    (void)fflush(self->cli->out);
    return exit;
}

// --- From a terminal

static const char *prompt(void *ctx) {
    struct shell *self = ctx;
    (void)snprintf(self->prompt, sizeof(self->prompt), "%s%s> ",
                   self->keyspace[0] == '\0' ? "lightcone" : self->keyspace,
                   self->txn != NULL ? "*" : "");
    return self->prompt;
}

static void complete_keyspaces(struct shell *self, struct line_editor *editor) {
    // Only what was used: the tab key never waits for a network.
    if (self->keyspace[0] != '\0') { line_editor_candidate(editor, self->keyspace); }
}

static void complete(void *ctx, struct line_editor *editor, struct slice line,
                     struct slice completed) {
    struct shell *self = ctx;
    struct statement before;
    struct err err = {0};
    const struct slice head = slice_make(line.data, line.size - completed.size);
    if (statement_parse(&before, head, &err) != STATUS_OK && before.word_count == 0) {
        statement_free(&before);
        return;
    }
    const char *first = before.word_count > 0 ? (const char *)before.words[0].data : NULL;
    const bool helps = first != NULL && strcmp(first, "help") == 0;
    if (first == NULL) {
        for (const struct statement_help *at = statement_helps; at->name != NULL; at++) {
            line_editor_candidate(editor, at->name);
        }
    }
    if (first == NULL || (helps && before.word_count == 1)) {
        for (size_t i = 0; commands_nouns[i].name != NULL; i++) {
            line_editor_candidate(editor, commands_nouns[i].name);
        }
    } else if (before.word_count == (helps ? 2U : 1U)) {
        const char *noun = (const char *)before.words[helps ? 1 : 0].data;
        for (size_t i = 0; commands_all[i] != NULL; i++) {
            if (commands_all[i]->verb != NULL && strcmp(commands_all[i]->noun, noun) == 0) {
                line_editor_candidate(editor, commands_all[i]->verb);
            }
        }
        if (strcmp(noun, "use") == 0) { complete_keyspaces(self, editor); }
    }
    statement_free(&before);
}

// The file of the history; NULL when there is no place for it.
static const char *history_path(char out[SHELL_PATH_SIZE]) {
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int size = 0;
    if (state != NULL && state[0] == '/') {
        size = snprintf(out, SHELL_PATH_SIZE, "%s/lightcone/history", state);
    } else if (home != NULL && home[0] == '/') {
        size = snprintf(out, SHELL_PATH_SIZE, "%s/.local/state/lightcone/history", home);
    }
    return size > 0 && size < SHELL_PATH_SIZE ? out : NULL;
}

static enum cli_exit run_terminal(struct shell *self) {
    char path[SHELL_PATH_SIZE];
    const bool keeps = !args_flag(&self->cli->args, "no-history");
    struct line_editor *editor = line_editor_open(&(struct line_editor_config){
        .in = self->cli->in,
        .out = self->cli->out,
        .err = self->cli->err,
        .history = keeps ? history_path(path) : NULL,
        .prompt = prompt,
        .complete = complete,
        .ctx = self,
    });
    if (editor == NULL) { return complain(self, STATUS_IO, "the terminal cannot be used"); }
    cli_note(self->cli, "help shows what there is, quit leaves");
    struct slice line;
    enum line_editor_end end = LINE_EDITOR_LINE;
    while (!self->quits && (end = line_editor_next(editor, &line)) != LINE_EDITOR_EOF) {
        if (end == LINE_EDITOR_LINE) { (void)run_line(self, line); }
    }
    if (end == LINE_EDITOR_EOF) { (void)fputc('\n', self->cli->out); }
    line_editor_close(editor);
    return CLI_OK;
}

// --- From a pipe or a file

// Ends at the first line that fails: what comes behind it may build on it.
static enum cli_exit run_stream(struct shell *self) {
    struct lines lines;
    struct slice line;
    struct err err = {0};
    bool ended = false;
    enum cli_exit exit = CLI_OK;
    lines_init(&lines, self->cli->in, SHELL_LINE_SIZE_MAX);
    while (exit == CLI_OK && !self->quits) {
        if (lines_next(&lines, &line, &ended, &err) != STATUS_OK) {
            exit = cli_fail_err(self->cli, &err, NULL);
        } else if (ended) {
            break;
        } else {
            exit = run_line(self, line);
        }
    }
    if (exit != CLI_OK) { cli_note(self->cli, "ended at line %" PRIu64, lines.number); }
    lines_deinit(&lines);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    struct shell self = {.cli = cli};
    enum cli_exit exit = CLI_OK;
    const char *keyspace = args_operand(&cli->args, 0);
    if (keyspace != NULL) { exit = use(&self, keyspace); }
    if (exit == CLI_OK) {
        exit = cli->in_terminal && cli->out_terminal ? run_terminal(&self) : run_stream(&self);
    }
    if (self.txn != NULL) {
        cli_note(cli, "the open transaction was given up");
        give_up(&self);
        if (exit == CLI_OK && !cli->in_terminal) { exit = CLI_FAILED; }
    }
    if (self.connected) { session_close(&self.session); }
    return exit;
}

static const struct args_option options[] = {
    {.name = "no-history", .kind = ARGS_FLAG, .help = "neither read nor write the history file"},
};

const struct cli_command commands_shell = {
    .noun = "shell",
    .operands = "[KEYSPACE]",
    .summary = "statements and commands, one after the other",
    .details =
        "On a terminal with editing, completion and a history\n"
        "($XDG_STATE_HOME/lightcone/history). Statements between begin and commit are one\n"
        "transaction; each other one is a transaction of its own. From a pipe it ends at the\n"
        "first line that fails, with its exit code.",
    .examples = "  lightcone shell users\n"
                "  printf 'begin\\nget a\\nput b 2\\ncommit\\n' | lightcone shell users\n"
                "  lightcone shell < statements.txt\n",
    .operand_min = 0,
    .operand_max = 1,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
