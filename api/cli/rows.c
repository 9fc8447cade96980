// SPDX-License-Identifier: Apache-2.0
// The limits are checked here, although the server checks them too, because here the line of the
// file is known.
#include "api/cli/rows.h"

#include "api/cli/rows_internal.h"
#include "api/cli/text.h"
#include "dataplane/base/assert.h"

#include <inttypes.h>
#include <string.h>

// A value in JSON may take six bytes a byte (\u0000), and its key stands beside it.
enum { ROWS_LINE_SIZE_MAX = 6 * (ROWS_VALUE_SIZE_MAX + ROWS_KEY_SIZE_MAX) + 256 };

static const char *const rows_names[ROWS_FORMAT_COUNT] = {"auto", "jsonl", "debian"};

enum status rows_parse_format(const char *text, enum rows_format *out_format) {
    for (int i = 0; i < ROWS_FORMAT_COUNT; i++) {
        if (strcmp(text, rows_names[i]) == 0) {
            *out_format = (enum rows_format)i;
            return STATUS_OK;
        }
    }
    return STATUS_INVALID_ARGUMENT;
}

void rows_init(struct rows *self, FILE *file, enum rows_format format) {
    *self = (struct rows){.format = format};
    lines_init(&self->lines, file, ROWS_LINE_SIZE_MAX);
    buf_init(&self->key, TEXT_BUF_MAX);
    buf_init(&self->value, TEXT_BUF_MAX);
}

void rows_deinit(struct rows *self) {
    lines_deinit(&self->lines);
    buf_deinit(&self->key);
    buf_deinit(&self->value);
}

bool rows__is_blank(struct slice line) {
    for (size_t i = 0; i < line.size; i++) {
        uint8_t c = line.data[i];
        if (c != ' ' && c != '\t' && c != '\r') { return false; }
    }
    return true;
}

static enum status detect(struct rows *self, struct err *err) {
    struct slice line = SLICE_EMPTY;
    bool end = false;
    do {
        enum status st = lines_next(&self->lines, &line, &end, err);
        if (st != STATUS_OK) { return st; }
    } while (!end && rows__is_blank(line));
    if (end) { return STATUS_OK; }
    size_t at = 0;
    while (line.data[at] == ' ' || line.data[at] == '\t') {
        at++;
    }
    self->format = line.data[at] == '{' ? ROWS_JSONL : ROWS_DEBIAN;
    lines_unread(&self->lines);
    return STATUS_OK;
}

static enum status check(const struct rows *self, uint64_t line, struct err *err) {
    if (self->key.size == 0 || self->key.size > ROWS_KEY_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "line %" PRIu64 ": a key of %zu bytes; keys have 1 to %d", line,
                       self->key.size, ROWS_KEY_SIZE_MAX);
    }
    if (self->value.size > ROWS_VALUE_SIZE_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "line %" PRIu64 ": a value of %zu bytes; values have at most %d", line,
                       self->value.size, ROWS_VALUE_SIZE_MAX);
    }
    return STATUS_OK;
}

enum status rows_next(struct rows *self, struct rows_row *out_row, bool *out_end, struct err *err) {
    enum status st = STATUS_OK;
    if (self->format == ROWS_AUTO) { st = detect(self, err); }
    if (st != STATUS_OK) { return st; }
    if (self->format == ROWS_AUTO) {  // the stream is empty
        *out_end = true;
        return STATUS_OK;
    }
    uint64_t line = 0;
    bool end = false;
    buf_reset(&self->key);
    buf_reset(&self->value);
    st = self->format == ROWS_JSONL ? rows__next_jsonl(self, &line, &end, err)
                                    : rows__next_debian(self, &line, &end, err);
    if (st == STATUS_OK && !end) { st = check(self, line, err); }
    if (st != STATUS_OK) { return st; }
    *out_end = end;
    *out_row = (struct rows_row){buf_slice(&self->key), buf_slice(&self->value), line};
    return STATUS_OK;
}
