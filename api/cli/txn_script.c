// SPDX-License-Identifier: Apache-2.0
// A table of words with what each takes; a line is a word and its arguments.
#include "api/cli/txn_script.h"

#include "api/cli/lines.h"
#include "api/cli/text.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <inttypes.h>
#include <string.h>

enum { SCRIPT_LINE_MAX = 8 << 20, SCRIPT_STEPS_MIN = 16 };

static const struct {
    const char *word;
    uint32_t words_min;  // arguments
    uint32_t words_max;
    bool to_the_end;  // the last one is the rest of the line
    const char *wants;
} ops[TXN_SCRIPT_OP_COUNT] = {
    [TXN_SCRIPT_GET] = {"get", 1, 1, false, "KEY"},
    [TXN_SCRIPT_SCAN] = {"scan", 0, 2, false, "[START [END]]"},
    [TXN_SCRIPT_PUT] = {"put", 2, 2, true, "KEY VALUE"},
    [TXN_SCRIPT_INCR] = {"incr", 1, 2, false, "KEY [N]"},
    [TXN_SCRIPT_DELETE] = {"delete", 1, 1, false, "KEY"},
    [TXN_SCRIPT_DELETE_RANGE] = {"delete-range", 2, 2, false, "START END"},
    [TXN_SCRIPT_ASSERT] = {"assert", 2, 2, true, "KEY VALUE"},
    [TXN_SCRIPT_ASSERT_ABSENT] = {"assert-absent", 1, 1, false, "KEY"},
};

const char *txn_script_word(enum txn_script_op op) {
    return ops[op].word;
}

// --- Words ---

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice text) {
    while (text.size > 0 && is_blank(text.data[0])) {
        text = slice_make(text.data + 1, text.size - 1);
    }
    while (text.size > 0 && is_blank(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

// Takes the first word off.
static struct slice take_word(struct slice *rest) {
    size_t size = 0;
    while (size < rest->size && !is_blank(rest->data[size])) {
        size++;
    }
    struct slice word = slice_make(rest->data, size);
    *rest = trim(slice_make(rest->data + size, rest->size - size));
    return word;
}

static enum status add_text(struct buf *out, struct slice text, bool literal, struct err *err) {
    if (memchr(text.data, '\0', text.size) != NULL) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "a NUL byte: write it as \\x00");
    }
    if (literal) {
        text_add(out, text);
        return STATUS_OK;
    }
    char *copy = mem_alloc(text.size + 1);
    memcpy(copy, text.data, text.size);
    enum status st = text_unescape(out, copy, err);
    mem_free(copy);
    return st;
}

// --- Lines ---

static enum status find_op(struct slice word, enum txn_script_op *out, struct err *err) {
    for (uint32_t i = 0; i < TXN_SCRIPT_OP_COUNT; i++) {
        if (slice_equal(word, slice_from_string(ops[i].word))) {
            *out = (enum txn_script_op)i;
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_INVALID_ARGUMENT,
                   "\"%.*s\" is none of get, scan, put, incr, delete, delete-range, assert, "
                   "assert-absent",
                   (int)(word.size < 40 ? word.size : 40), (const char *)word.data);
}

static enum status take_amount(struct txn_script_step *step, struct slice word, struct err *err) {
    char text[32];
    (void)snprintf(text, sizeof(text), "%.*s", (int)word.size, (const char *)word.data);
    if (word.size < sizeof(text) && text_parse_i64(text, &step->amount) == STATUS_OK) {
        return STATUS_OK;
    }
    return err_set(err, STATUS_INVALID_ARGUMENT, "N: \"%.31s\" is no number of 64 bits", text);
}

static enum status take_argument(struct txn_script_step *step, uint32_t i, struct slice word,
                                 bool literal, struct err *err) {
    if (i == 0) { return add_text(&step->key, word, literal, err); }
    if (step->op == TXN_SCRIPT_INCR) { return take_amount(step, word, err); }
    const bool empty = ops[step->op].to_the_end && slice_equal(word, SLICE_LITERAL("\"\""));
    return empty ? STATUS_OK : add_text(&step->value, word, literal, err);
}

static enum status take_line(struct txn_script_step *step, struct slice rest, bool literal,
                             struct err *err) {
    enum status st = find_op(take_word(&rest), &step->op, err);
    uint32_t count = 0;
    for (; st == STATUS_OK && rest.size > 0 && count < ops[step->op].words_max; count++) {
        bool all = ops[step->op].to_the_end && count + 1 == ops[step->op].words_max;
        struct slice word = all ? rest : take_word(&rest);
        if (all) { rest = SLICE_EMPTY; }
        st = take_argument(step, count, word, literal, err);
    }
    if (st != STATUS_OK) { return st; }
    if (rest.size > 0 || count < ops[step->op].words_min) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%s wants %s", ops[step->op].word,
                       ops[step->op].wants);
    }
    return STATUS_OK;
}

static struct txn_script_step *add_step(struct txn_script *self, uint64_t line) {
    if (self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? SCRIPT_STEPS_MIN : 2 * self->capacity;
        self->steps = mem_realloc(self->steps, self->capacity * sizeof(*self->steps));
    }
    struct txn_script_step *step = &self->steps[self->count++];
    *step = (struct txn_script_step){.line = line, .amount = 1};
    buf_init(&step->key, TEXT_BUF_MAX);
    buf_init(&step->value, TEXT_BUF_MAX);
    return step;
}

enum status txn_script_read(struct txn_script *self, FILE *file, bool literal, struct err *err) {
    struct lines lines;
    struct slice line;
    bool end = false;
    *self = (struct txn_script){.steps = NULL};
    lines_init(&lines, file, SCRIPT_LINE_MAX);
    enum status st = lines_next(&lines, &line, &end, err);
    while (st == STATUS_OK && !end) {
        struct slice text = trim(line);
        if (text.size > 0 && text.data[0] != '#') {
            st = take_line(add_step(self, lines.number), text, literal, err);
            if (st != STATUS_OK) { err_wrap(err, "line %" PRIu64, lines.number); }
        }
        if (st == STATUS_OK) { st = lines_next(&lines, &line, &end, err); }
    }
    lines_deinit(&lines);
    return st;
}

void txn_script_deinit(struct txn_script *self) {
    for (size_t i = 0; i < self->count; i++) {
        buf_deinit(&self->steps[i].key);
        buf_deinit(&self->steps[i].value);
    }
    mem_free(self->steps);
    *self = (struct txn_script){.steps = NULL};
}
