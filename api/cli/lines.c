// SPDX-License-Identifier: Apache-2.0
// fgets would stop at NUL bytes and getline knows no bound; this reads character by character from
// stdio's buffer, which is locked once a line.
#include "api/cli/lines.h"

#include "dataplane/base/assert.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void lines_init(struct lines *self, FILE *file, size_t size_max) {
    *self = (struct lines){.file = file};
    buf_init(&self->line, size_max);
}

void lines_deinit(struct lines *self) {
    buf_deinit(&self->line);
}

static enum status read_line(struct lines *self, bool *out_any, struct err *err) {
    char chunk[4096];
    size_t held = 0;
    int c = EOF;
    enum status st = STATUS_OK;
    buf_reset(&self->line);
    *out_any = false;
    flockfile(self->file);
    while (st == STATUS_OK && (c = getc_unlocked(self->file)) != EOF) {
        *out_any = true;
        self->bytes_read++;
        if (c == '\n') { break; }
        chunk[held++] = (char)c;
        if (held == sizeof(chunk)) {
            st = buf_append(&self->line, slice_make(chunk, held));
            held = 0;
        }
    }
    funlockfile(self->file);
    if (st == STATUS_OK) { st = buf_append(&self->line, slice_make(chunk, held)); }
    if (st != STATUS_OK) {
        return err_set(err, st, "line %" PRIu64 ": longer than %zu bytes", self->number + 1,
                       self->line.size_max);
    }
    if (c == EOF && ferror(self->file) != 0) {
        return err_set(err, STATUS_IO, "line %" PRIu64 ": %s", self->number + 1, strerror(errno));
    }
    return STATUS_OK;
}

enum status lines_next(struct lines *self, struct slice *out_line, bool *out_end, struct err *err) {
    bool any = true;
    if (!self->unread) {
        enum status st = read_line(self, &any, err);
        if (st != STATUS_OK) { return st; }
        self->number += any ? 1 : 0;
    }
    self->unread = false;
    *out_end = !any;
    *out_line = buf_slice(&self->line);
    return STATUS_OK;
}

void lines_unread(struct lines *self) {
    ASSERT(self->number > 0 && !self->unread);
    self->unread = true;
}
