// SPDX-License-Identifier: Apache-2.0
// Messages are formatted into a local array first and copied after: the present message may be one
// of the arguments, and snprintf must not read what it writes.
#include "dataplane/base/err.h"

#include "dataplane/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void format_into(char out[ERR_MESSAGE_SIZE], const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void format_into(char out[ERR_MESSAGE_SIZE], const char *format, va_list args) {
    if (vsnprintf(out, ERR_MESSAGE_SIZE, format, args) < 0) { out[0] = '\0'; }
}

enum status err_set(struct err *err, enum status st, const char *format, ...) {
    ASSERT(format != NULL);
    if (err == NULL) { return st; }
    char message[ERR_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    format_into(message, format, args);
    va_end(args);
    memcpy(err->message, message, sizeof(message));
    err->status = st;
    return st;
}

// Appends text as far as it fits and keeps the NUL.
static size_t append_text(char out[ERR_MESSAGE_SIZE], size_t size, const char *text) {
    ASSERT(size < ERR_MESSAGE_SIZE);
    const size_t room = ERR_MESSAGE_SIZE - 1 - size;
    const size_t more = strnlen(text, room);
    memcpy(out + size, text, more);
    out[size + more] = '\0';
    return size + more;
}

void err_wrap(struct err *err, const char *format, ...) {
    ASSERT(format != NULL);
    if (err == NULL) { return; }
    char wrapped[ERR_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    format_into(wrapped, format, args);
    va_end(args);
    size_t size = strlen(wrapped);
    size = append_text(wrapped, size, ": ");
    const char *inner = err->message[0] != '\0' ? err->message : status_text(err->status);
    (void)append_text(wrapped, size, inner);
    memcpy(err->message, wrapped, sizeof(wrapped));
}
