// SPDX-License-Identifier: Apache-2.0
// The paragraphs of Debian's control data (deb-control(5), Debian Policy chapter 5): lines "Field:
// value", continued by lines that begin with a space or a tab, ended by a blank line. Field names
// ignore case. The value of a row is the paragraph as it stands, so that an export gives back what
// was read; only Package and Version are looked at.
#include "api/cli/rows_internal.h"
#include "api/cli/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

struct paragraph {
    struct buf package;
    struct buf version;
    uint64_t line;
};

static struct slice trim(struct slice s) {
    while (s.size > 0 && isspace(s.data[0]) != 0) {
        s = slice_make(s.data + 1, s.size - 1);
    }
    while (s.size > 0 && isspace(s.data[s.size - 1]) != 0) {
        s.size--;
    }
    return s;
}

static bool is_named(struct slice field, const char *name) {
    return field.size == strlen(name) &&
           strncasecmp((const char *)field.data, name, field.size) == 0;
}

// Keeps the value of Package and Version; a second one in the same paragraph is refused.
static enum status keep(struct buf *out, const char *name, struct slice value, struct err *err) {
    if (out->size > 0) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "a second %s in one paragraph", name);
    }
    if (value.size == 0) { return err_set(err, STATUS_INVALID_ARGUMENT, "%s is empty", name); }
    text_add(out, value);
    return STATUS_OK;
}

static enum status read_field(struct paragraph *self, struct slice line, struct err *err) {
    if (line.data[0] == ' ' || line.data[0] == '\t') {
        return self->line != 0 ? STATUS_OK
                               : err_set(err, STATUS_INVALID_ARGUMENT,
                                         "a continuation line without a field before it");
    }
    const uint8_t *colon = memchr(line.data, ':', line.size);
    if (colon == NULL || colon == line.data) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "neither \"Field: value\" nor a continuation");
    }
    struct slice field = slice_make(line.data, (size_t)(colon - line.data));
    struct slice value = trim(slice_make(colon + 1, line.size - field.size - 1));
    if (is_named(field, "Package")) { return keep(&self->package, "Package", value, err); }
    if (is_named(field, "Version")) { return keep(&self->version, "Version", value, err); }
    return STATUS_OK;
}

// Lines up to the blank one that ends the paragraph; line 0 when none came before the end.
static enum status read_paragraph(struct rows *rows, struct paragraph *self, struct err *err) {
    for (;;) {
        struct slice line = SLICE_EMPTY;
        bool end = false;
        enum status st = lines_next(&rows->lines, &line, &end, err);
        if (st != STATUS_OK || end) { return st; }
        if (rows__is_blank(line)) {
            if (self->line != 0) { return STATUS_OK; }
            continue;
        }
        st = read_field(self, line, err);
        if (st != STATUS_OK) {
            err_wrap(err, "line %" PRIu64, rows->lines.number);
            return st;
        }
        self->line = self->line == 0 ? rows->lines.number : self->line;
        if (rows->value.size > ROWS_VALUE_SIZE_MAX) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "line %" PRIu64 ": the paragraph is longer than %d bytes",
                           rows->lines.number, ROWS_VALUE_SIZE_MAX);
        }
        text_add(&rows->value, line);
        text_add_string(&rows->value, "\n");
    }
}

static enum status finish(struct rows *rows, const struct paragraph *self, struct err *err) {
    const char *missing = self->package.size == 0   ? "Package"
                          : self->version.size == 0 ? "Version"
                                                    : NULL;
    if (missing != NULL) {
        return err_set(err, STATUS_INVALID_ARGUMENT,
                       "line %" PRIu64 ": the paragraph that begins here has no %s", self->line,
                       missing);
    }
    text_add(&rows->key, buf_slice(&self->package));
    text_add_string(&rows->key, "=");
    text_add(&rows->key, buf_slice(&self->version));
    return STATUS_OK;
}

enum status rows__next_debian(struct rows *self, uint64_t *out_line, bool *out_end,
                              struct err *err) {
    struct paragraph paragraph = {.line = 0};
    buf_init(&paragraph.package, TEXT_BUF_MAX);
    buf_init(&paragraph.version, TEXT_BUF_MAX);
    enum status st = read_paragraph(self, &paragraph, err);
    if (st == STATUS_OK && paragraph.line != 0) { st = finish(self, &paragraph, err); }
    *out_line = paragraph.line;
    *out_end = paragraph.line == 0;
    buf_deinit(&paragraph.package);
    buf_deinit(&paragraph.version);
    return st;
}
