// SPDX-License-Identifier: Apache-2.0
// Design: hexadecimal, since keys and values may be any bytes and a line must be a line.
#include "api/cli/journal.h"

#include "api/cli/text.h"
#include "dataplane/base/assert.h"

#include <errno.h>
#include <string.h>

enum status journal_create(struct journal *self, const char *path, struct err *err) {
    self->file = fopen(path, "we");
    if (self->file == NULL) {
        return err_set(err, STATUS_IO, "%.200s: %s", path, strerrordesc_np(errno));
    }
    buf_init(&self->line, JOURNAL_LINE_SIZE_MAX + 1);
    return STATUS_OK;
}

void journal_add(struct journal *self, struct slice key, struct slice value) {
    ASSERT(key.size <= JOURNAL_KEY_SIZE_MAX && value.size <= JOURNAL_VALUE_SIZE_MAX);
    buf_reset(&self->line);
    text_hex(&self->line, key);
    text_add_string(&self->line, "\t");
    text_hex(&self->line, value);
    text_add_string(&self->line, "\n");
    // A failure stays in the stream until journal_close asks.
    (void)fwrite(self->line.data, 1, self->line.size, self->file);
}

enum status journal_close(struct journal *self, struct err *err) {
    bool failed = ferror(self->file) != 0;
    failed = fclose(self->file) != 0 || failed;
    buf_deinit(&self->line);
    return failed ? err_set(err, STATUS_IO, "the journal could not be written") : STATUS_OK;
}

static enum status parse_hex(struct slice digits, size_t size_max, struct buf *out) {
    if (digits.size % 2 != 0 || digits.size / 2 > size_max) { return STATUS_INVALID_ARGUMENT; }
    struct buf text;
    buf_init(&text, digits.size + 1);
    text_add(&text, digits);
    text_add(&text, slice_make((const uint8_t *)"", 1));
    bool has_nul = digits.size > 0 && memchr(digits.data, 0, digits.size) != NULL;
    enum status st = has_nul ? STATUS_INVALID_ARGUMENT : text_unhex(out, (const char *)text.data);
    buf_deinit(&text);
    return st;
}

enum status journal_parse(struct slice line, struct buf *key, struct buf *value) {
    const uint8_t *tab = line.size > 0 ? memchr(line.data, '\t', line.size) : NULL;
    if (tab == NULL || tab == line.data) { return STATUS_INVALID_ARGUMENT; }
    size_t at = (size_t)(tab - line.data);
    enum status st = parse_hex(slice_make(line.data, at), JOURNAL_KEY_SIZE_MAX, key);
    if (st != STATUS_OK) { return st; }
    return parse_hex(slice_make(tab + 1, line.size - at - 1), JOURNAL_VALUE_SIZE_MAX, value);
}
