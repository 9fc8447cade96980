// SPDX-License-Identifier: Apache-2.0
// One table, expanded from the list in the header, so that a status cannot lack a name or a text.
// The functions answer for values outside the list too: a status may arrive from a newer peer.
#include "dataplane/base/status.h"

#include <assert.h>
#include <stddef.h>

struct status_row {
    const char *name;
    const char *text;
    bool retryable;
};

static const struct status_row status_rows[] = {
#define STATUS_ROW(name, text, retry) {#name, text, retry},
    STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

static_assert(STATUS_OK == 0, "success is zero");
static_assert(sizeof(status_rows) / sizeof(status_rows[0]) == STATUS_COUNT, "one row a status");

static const struct status_row *status_row(enum status st) {
    const size_t index = (size_t)st;
    return index < STATUS_COUNT ? &status_rows[index] : NULL;
}

const char *status_name(enum status st) {
    const struct status_row *row = status_row(st);
    return row != NULL ? row->name : "STATUS_?";
}

const char *status_text(enum status st) {
    const struct status_row *row = status_row(st);
    return row != NULL ? row->text : "a status this version does not know";
}

bool status_is_retryable(enum status st) {
    const struct status_row *row = status_row(st);
    return row != NULL && row->retryable;
}
