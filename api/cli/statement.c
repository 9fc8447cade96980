// SPDX-License-Identifier: Apache-2.0
// The language is as small as can be: no variables and no conditions but `assert`. Who needs those
// has a client library.
#include "api/cli/statement.h"

#include "api/cli/args.h"
#include "api/cli/text.h"
#include "dataplane/base/assert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct statement_help statement_helps[] = {
    {"get", "KEY...", "print values"},
    {"put", "KEY VALUE", "write a value"},
    {"delete", "KEY...", "delete keys"},
    {"delete-range", "START END", "delete the keys from START up to, not including, END"},
    {"incr", "KEY [N]", "add to a counter (1, or N, which may be negative)"},
    {"scan", "[START [END]] [limit N]", "print rows in key order"},
    {"assert", "KEY VALUE", "stop here unless the key has this value"},
    {"assert-absent", "KEY", "stop here if the key has a value"},
    {"begin", "", "what follows is one transaction"},
    {"commit", "", "make it happen, all of it or nothing"},
    {"rollback", "", "give it up"},
    {"use", "KEYSPACE", "read and write there from now on"},
    {"help", "[COMMAND...]", "this list, or help for a command of lightcone"},
    {"quit", "", "leave; what was not committed is given up"},
    {NULL, NULL, NULL},
};

struct form {
    const char *name;
    enum statement_kind kind;
    uint32_t operand_min;
    uint32_t operand_max;
};

static const struct form forms[] = {
    {"get", STATEMENT_GET, 1, STATEMENT_WORDS_MAX},
    {"put", STATEMENT_PUT, 2, 2},
    {"delete", STATEMENT_DELETE, 1, STATEMENT_WORDS_MAX},
    {"delete-range", STATEMENT_DELETE_RANGE, 2, 2},
    {"incr", STATEMENT_INCR, 1, 2},
    {"scan", STATEMENT_SCAN, 0, 4},
    {"assert", STATEMENT_ASSERT, 2, 2},
    {"assert-absent", STATEMENT_ASSERT_ABSENT, 1, 1},
    {"begin", STATEMENT_BEGIN, 0, 0},
    {"commit", STATEMENT_COMMIT, 0, 0},
    {"rollback", STATEMENT_ROLLBACK, 0, 0},
    {"use", STATEMENT_USE, 1, 1},
    {"help", STATEMENT_HELP, 0, STATEMENT_WORDS_MAX},
    {"quit", STATEMENT_QUIT, 0, 0},
    {"exit", STATEMENT_QUIT, 0, 0},
};

// --- Words

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct cutting {
    struct slice line;
    size_t at;
    struct buf raw;  // of one word, with escapes as text_unescape knows them
};

// A backslash and what follows it. Of what text_unescape does not know the backslash goes.
static enum status take_escape(struct cutting *self, struct err *err) {
    if (self->at + 1 == self->line.size) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "the line ends with a backslash");
    }
    const uint8_t next = self->line.data[self->at + 1];
    const bool own = is_blank(next) || next == '"' || next == '\'' || next == '#';
    text_add(&self->raw, slice_make(self->line.data + self->at + (own ? 1 : 0), own ? 1 : 2));
    self->at += 2;
    return STATUS_OK;
}

// Up to the closing quote; nothing within '...' is an escape.
static enum status take_quoted(struct cutting *self, struct err *err) {
    const uint8_t quote = self->line.data[self->at++];
    while (self->at < self->line.size && self->line.data[self->at] != quote) {
        const uint8_t c = self->line.data[self->at];
        if (c == '\\' && quote == '"') {
            const enum status st = take_escape(self, err);
            if (st != STATUS_OK) { return st; }
            continue;
        }
        if (c == '\\') { text_add_string(&self->raw, "\\"); }
        text_add(&self->raw, slice_make(&c, 1));
        self->at++;
    }
    if (self->at == self->line.size) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "a %c is not closed", quote);
    }
    self->at++;
    return STATUS_OK;
}

static enum status take_word(struct cutting *self, struct buf *text, struct err *err) {
    enum status st = STATUS_OK;
    buf_reset(&self->raw);
    while (st == STATUS_OK && self->at < self->line.size && !is_blank(self->line.data[self->at])) {
        const uint8_t c = self->line.data[self->at];
        if (c == '"' || c == '\'') {
            st = take_quoted(self, err);
        } else if (c == '\\') {
            st = take_escape(self, err);
        } else if (c == '\0') {
            st = err_set(err, STATUS_INVALID_ARGUMENT, "a NUL byte; write it as \\x00");
        } else {
            text_add(&self->raw, slice_make(&c, 1));
            self->at++;
        }
    }
    if (st != STATUS_OK) { return st; }
    text_add(&self->raw, slice_make("", 1));
    return text_unescape(text, (const char *)self->raw.data, err);
}

// Positions first: the text moves while it grows.
static enum status cut(struct statement *out, struct slice line, struct err *err) {
    struct cutting cutting = {.line = line};
    size_t starts[STATEMENT_WORDS_MAX + 1];
    enum status st = STATUS_OK;
    buf_init(&cutting.raw, TEXT_BUF_MAX);
    while (st == STATUS_OK) {
        while (cutting.at < line.size && is_blank(line.data[cutting.at])) {
            cutting.at++;
        }
        if (cutting.at == line.size || line.data[cutting.at] == '#') { break; }
        if (out->word_count == STATEMENT_WORDS_MAX) {
            st = err_set(err, STATUS_INVALID_ARGUMENT, "more than %d words", STATEMENT_WORDS_MAX);
            break;
        }
        starts[out->word_count] = out->text.size;
        st = take_word(&cutting, &out->text, err);
        text_add(&out->text, slice_make("", 1));
        out->word_count++;
    }
    buf_deinit(&cutting.raw);
    starts[out->word_count] = out->text.size;
    for (uint32_t i = 0; i < out->word_count; i++) {
        out->words[i] = slice_make(out->text.data + starts[i], starts[i + 1] - starts[i] - 1);
    }
    return st;
}

// --- Meaning

static const char *word(const struct statement *self, uint32_t i) {
    return (const char *)self->words[i].data;
}

static bool is_word(const struct statement *self, uint32_t i, const char *text) {
    return i < self->word_count && slice_equal(self->words[i], slice_from_string(text));
}

static enum status take_amount(struct statement *self, struct err *err) {
    self->amount = 1;
    if (self->word_count < 3) { return STATUS_OK; }
    char *end = NULL;
    errno = 0;
    const long long amount = strtoll(word(self, 2), &end, 10);
    if (end == word(self, 2) || *end != '\0' || errno != 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "incr wants a whole number of 64 bits, not \"%.80s\"", word(self, 2));
    }
    self->amount = amount;
    return STATUS_OK;
}

// "limit N" at the end.
static enum status take_limit(struct statement *self, struct err *err) {
    enum { LIMIT_MAX = 10000 };
    const uint32_t count = self->word_count;
    const bool has = count >= 3 && is_word(self, count - 2, "limit");
    uint64_t limit = 0;
    if (has && (args_parse_number(word(self, count - 1), &limit) != STATUS_OK || limit == 0 ||
                limit > LIMIT_MAX)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "limit wants 1 to %d, not \"%.80s\"",
                       LIMIT_MAX, word(self, count - 1));
    }
    self->limit = (uint32_t)limit;
    self->word_count -= has ? 2 : 0;
    if (self->word_count > 3) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "scan wants [START [END]] [limit N]");
    }
    return STATUS_OK;
}

static enum status check(struct statement *self, const struct form *form, struct err *err) {
    const uint32_t operands = self->word_count - 1;
    if (operands < form->operand_min || operands > form->operand_max) {
        const struct statement_help *help = statement_helps;
        while (help->name != NULL && strcmp(help->name, form->name) != 0) {
            help++;
        }
        const char *wanted =
            help->name == NULL || help->operands[0] == '\0' ? "nothing behind it" : help->operands;
        return err_set(err, STATUS_INVALID_ARGUMENT, "%s wants %s; %" PRIu32 " given", form->name,
                       wanted, operands);
    }
    if (form->kind == STATEMENT_INCR) { return take_amount(self, err); }
    if (form->kind == STATEMENT_SCAN) { return take_limit(self, err); }
    return STATUS_OK;
}

enum status statement_parse(struct statement *out, struct slice line, struct err *err) {
    *out = (struct statement){.kind = STATEMENT_EMPTY};
    buf_init(&out->text, TEXT_BUF_MAX);
    const enum status st = cut(out, line, err);
    if (st != STATUS_OK || out->word_count == 0) { return st; }
    out->kind = STATEMENT_OTHER;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (!is_word(out, 0, forms[i].name)) { continue; }
        out->kind = forms[i].kind;
        return check(out, &forms[i], err);
    }
    return STATUS_OK;
}

void statement_free(struct statement *self) {
    buf_deinit(&self->text);
}

bool statement_is_data(enum statement_kind kind) {
    return kind >= STATEMENT_GET && kind <= STATEMENT_ASSERT_ABSENT;
}

bool statement_writes(enum statement_kind kind) {
    return kind >= STATEMENT_PUT && kind <= STATEMENT_INCR;
}

// --- Running

static enum status failed(const struct lc_reply *reply, enum status st, struct err *err) {
    const struct slice message = reply->result.message;
    if (message.size == 0) { return err_set(err, st, "%s", status_text(st)); }
    return err_set(err, st, "%.*s", (int)message.size, (const char *)message.data);
}

static enum status run_get(const struct statement *self, struct lc_txn *txn,
                           const struct statement_sink *sink, struct err *err) {
    const struct lc_txn_read read = {.keys = self->words + 1, .key_count = self->word_count - 1};
    struct lc_reply reply = {0};
    enum status st = lc_txn_read(txn, &read, &reply);
    if (st != STATUS_OK) { st = failed(&reply, st, err); }
    for (uint32_t i = 0; st == STATUS_OK && i < reply.result.row_count; i++) {
        sink->row(sink->ctx, self, read.keys[i], &reply.result.rows[i]);
    }
    lc_reply_free(&reply);
    return st;
}

static enum status run_scan(const struct statement *self, struct lc_txn *txn,
                            const struct statement_sink *sink, struct err *err) {
    struct lc_txn_scan scan = {.end = self->word_count > 2 ? self->words[2] : SLICE_EMPTY,
                               .limit = self->limit};
    struct buf start;
    buf_init(&start, TEXT_BUF_MAX);
    if (self->word_count > 1) { text_add(&start, self->words[1]); }
    enum status st = STATUS_OK;
    bool more = true;
    while (st == STATUS_OK && more) {
        struct lc_reply reply = {0};
        scan.start = buf_slice(&start);
        st = lc_txn_scan(txn, &scan, &reply);
        if (st != STATUS_OK) { st = failed(&reply, st, err); }
        for (uint32_t i = 0; st == STATUS_OK && i < reply.result.row_count; i++) {
            const struct lc_row *row = &reply.result.rows[i];
            sink->row(sink->ctx, self, row->key, row);
        }
        more = reply.result.more && self->limit == 0;
        buf_reset(&start);
        text_add(&start, reply.result.resume);
        lc_reply_free(&reply);
    }
    buf_deinit(&start);
    return st;
}

static enum status refuse(const struct statement *self, const struct lc_row *row, struct err *err) {
    enum { SHOWN = 80 };
    struct buf key;
    struct buf value;
    buf_init(&key, TEXT_BUF_MAX);
    buf_init(&value, TEXT_BUF_MAX);
    text_escape(&key, self->words[1], TEXT_LINE);
    text_add(&key, slice_make("", 1));
    if (row != NULL) { text_escape(&value, row->value, TEXT_LINE); }
    text_add(&value, slice_make("", 1));
    const enum status st = err_set(err, STATUS_CONDITION_FAILED, "'%.*s' %s%.*s%s", SHOWN,
                                   (const char *)key.data, row != NULL ? "holds '" : "has no value",
                                   SHOWN, (const char *)value.data, row != NULL ? "'" : "");
    buf_deinit(&key);
    buf_deinit(&value);
    return st;
}

static enum status run_assert(const struct statement *self, struct lc_txn *txn, struct err *err) {
    struct lc_reply reply = {0};
    enum status st = lc_txn_get(txn, self->words[1], &reply);
    const struct lc_row *row = st == STATUS_OK ? &reply.result.rows[0] : NULL;
    if (st != STATUS_OK && st != STATUS_NOT_FOUND) {
        st = failed(&reply, st, err);
    } else {
        const bool holds = self->kind == STATEMENT_ASSERT_ABSENT
                               ? row == NULL
                               : row != NULL && slice_equal(row->value, self->words[2]);
        st = holds ? STATUS_OK : refuse(self, row, err);
    }
    lc_reply_free(&reply);
    return st;
}

static enum status run_delete(const struct statement *self, struct lc_txn *txn) {
    enum status st = STATUS_OK;
    for (uint32_t i = 1; st == STATUS_OK && i < self->word_count; i++) {
        st = lc_txn_delete(txn, self->words[i]);
    }
    return st;
}

static enum status run_write(const struct statement *self, struct lc_txn *txn, struct err *err) {
    enum status st = STATUS_OK;
    if (self->kind == STATEMENT_PUT) {
        st = lc_txn_put(txn, self->words[1], self->words[2]);
    } else if (self->kind == STATEMENT_DELETE) {
        st = run_delete(self, txn);
    } else if (self->kind == STATEMENT_DELETE_RANGE) {
        st = lc_txn_delete_range(txn, self->words[1], self->words[2]);
    } else {
        st = lc_txn_add(txn, self->words[1], self->amount);
    }
    return st == STATUS_OK ? st : err_set(err, st, "%s", status_text(st));
}

enum status statement_run(const struct statement *self, struct lc_txn *txn,
                          const struct statement_sink *sink, struct err *err) {
    ASSERT(statement_is_data(self->kind));
    if (self->kind == STATEMENT_GET) { return run_get(self, txn, sink, err); }
    if (self->kind == STATEMENT_SCAN) { return run_scan(self, txn, sink, err); }
    return statement_writes(self->kind) ? run_write(self, txn, err) : run_assert(self, txn, err);
}
