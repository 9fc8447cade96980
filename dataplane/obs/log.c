// SPDX-License-Identifier: Apache-2.0
// A line is built on the stack and leaves by one write(2), so that lines of several threads do not
// mix and no lock is needed; a pipe keeps writes up to PIPE_BUF (4096) whole, and the longest line
// is below it. Everything outside printable ASCII is escaped, UTF-8 too: keys are arbitrary bytes,
// and U+009B alone starts a terminal escape. There is no buffering: the last line before a crash is
// the one that matters.
#include "dataplane/obs/log.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/civil.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char line_end[] = " truncated=true\n";
enum { LINE_END_SIZE = sizeof(line_end) - 1 };
static_assert(LOG_LINE_SIZE_MAX <= PIPE_BUF, "a line enters a pipe whole");

_Atomic(enum log_level) log__level = LOG_LEVEL_INFO;

// Set before threads start, read by all.
static int log_fd = STDERR_FILENO;
static log_sink_fn log_sink;
static void *log_sink_ctx;
static log_clock_fn log_clock;
static void *log_clock_ctx;

// Relaxed: counts order nothing.
static atomic_uint_fast64_t log_errors;
static atomic_uint_fast64_t log_lost;

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static_assert(sizeof(level_names) / sizeof(level_names[0]) == LOG_LEVEL_COUNT, "a name a level");

void log_set_level(enum log_level level) {
    ASSERT((unsigned)level < LOG_LEVEL_COUNT);
    atomic_store_explicit(&log__level, level, memory_order_relaxed);
}

const char *log_level_name(enum log_level level) {
    ASSERT((unsigned)level < LOG_LEVEL_COUNT);
    return level_names[level];
}

enum status log_level_parse(struct slice text, enum log_level *out_level) {
    for (unsigned i = 0; i < LOG_LEVEL_COUNT; i++) {
        if (slice_equal(text, slice_from_string(level_names[i]))) {
            *out_level = (enum log_level)i;
            return STATUS_OK;
        }
    }
    return STATUS_INVALID_ARGUMENT;
}

void log_set_fd(int fd) {
    ASSERT(fd >= 0);
    log_fd = fd;
}

void log_set_sink(log_sink_fn sink, void *ctx) {
    log_sink = sink;
    log_sink_ctx = ctx;
}

void log_set_clock(log_clock_fn clock, void *ctx) {
    log_clock = clock;
    log_clock_ctx = ctx;
}

uint64_t log_error_count(void) {
    return atomic_load_explicit(&log_errors, memory_order_relaxed);
}

uint64_t log_lost_count(void) {
    return atomic_load_explicit(&log_lost, memory_order_relaxed);
}

void log_reset_counts(void) {
    atomic_store_explicit(&log_errors, 0, memory_order_relaxed);
    atomic_store_explicit(&log_lost, 0, memory_order_relaxed);
}

// A line being built. Text that does not fit sets `full` and is dropped; room for line_end is kept.
struct line {
    char text[LOG_LINE_SIZE_MAX];
    size_t size;
    bool full;
};

static void put(struct line *self, const char *text, size_t size) {
    if (self->full || size > LOG_LINE_SIZE_MAX - LINE_END_SIZE - self->size) {
        self->full = true;
        return;
    }
    memcpy(self->text + self->size, text, size);
    self->size += size;
}

static void put_text(struct line *self, const char *text) {
    put(self, text, strlen(text));
}

static bool is_plain(uint8_t c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '=';
}

static void put_escaped(struct line *self, uint8_t c) {
    static const char digits[] = "0123456789abcdef";
    if (c == '"' || c == '\\') {
        put(self, (const char[]){'\\', (char)c}, 2);
    } else if (c >= ' ' && c < 0x7f) {
        put(self, (const char[]){(char)c}, 1);
    } else {
        put(self, (const char[]){'\\', 'x', digits[c >> 4], digits[c & 15]}, 4);
    }
}

static void put_string(struct line *self, struct slice value) {
    const size_t shown = value.size < LOG_VALUE_SIZE_MAX ? value.size : LOG_VALUE_SIZE_MAX;
    bool plain = shown > 0 && shown == value.size;
    for (size_t i = 0; i < shown && plain; i++) {
        plain = is_plain(value.data[i]);
    }
    if (plain) {
        put(self, (const char *)value.data, shown);
        return;
    }
    put(self, "\"", 1);
    for (size_t i = 0; i < shown; i++) {
        put_escaped(self, value.data[i]);
    }
    put_text(self, shown < value.size ? "...\"" : "\"");
}

static void put_hex(struct line *self, struct slice value) {
    static const char digits[] = "0123456789abcdef";
    const size_t shown = value.size < LOG_VALUE_SIZE_MAX / 2 ? value.size : LOG_VALUE_SIZE_MAX / 2;
    for (size_t i = 0; i < shown; i++) {
        put(self, (const char[]){digits[value.data[i] >> 4], digits[value.data[i] & 15]}, 2);
    }
    put_text(self, shown < value.size ? "..." : "");
}

static void put_value(struct line *self, const struct log_field *field) {
    char number[32];
    number[0] = '\0';
    switch (field->type) {
    case LOG_FIELD_U64:
        (void)snprintf(number, sizeof(number), "%" PRIu64, field->u.u64);
        break;
    case LOG_FIELD_I64:
        (void)snprintf(number, sizeof(number), "%" PRId64, field->u.i64);
        break;
    case LOG_FIELD_F64:
        (void)snprintf(number, sizeof(number), "%.6g", field->u.f64);
        break;
    case LOG_FIELD_BOOL:
        put_text(self, field->u.boolean ? "true" : "false");
        break;
    case LOG_FIELD_STRING:
        put_string(self,
                   field->u.string != NULL ? slice_from_string(field->u.string) : SLICE_EMPTY);
        break;
    case LOG_FIELD_SLICE:
        put_string(self, field->u.slice);
        break;
    case LOG_FIELD_HEX:
        put_hex(self, field->u.slice);
        break;
    case LOG_FIELD_END:
        ASSERT(false);
    }
    put_text(self, number);
}

// Keys and events are ours; a stray character in one is a bug, not input.
static bool name_is_sound(const char *name) {
    for (const char *at = name; *at != '\0'; at++) {
        if (!((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '_' ||
              *at == '.')) {
            return false;
        }
    }
    return name[0] != '\0';
}

// A field enters whole or not at all.
static void put_field(struct line *self, const struct log_field *field) {
    ASSERT(name_is_sound(field->key));
    const size_t size_before = self->size;
    put(self, " ", 1);
    put_text(self, field->key);
    put(self, "=", 1);
    put_value(self, field);
    if (self->full) { self->size = size_before; }
}

static uint64_t now_us(void) {
    if (log_clock != NULL) { return log_clock(log_clock_ctx); }
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    // A clock before 1970 or after 2112 must not stop the log.
    const int64_t us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    return us < 0 ? 0 : (uint64_t)us;
}

static void put_head(struct line *self, enum log_level level, const char *event) {
    const uint64_t us = now_us();
    char when[CIVIL_TEXT_SIZE];
    put_text(self, "ts=");
    put_text(self, civil_format(us < CIVIL_US_MAX ? us : CIVIL_US_MAX, when));
    put_text(self, " level=");
    put_text(self, level_names[level]);
    put_text(self, " event=");
    put_text(self, event);
}

// One write in all but odd cases (a signal, a pipe that is nearly full).
static bool write_all(int fd, const char *text, size_t size) {
    while (size > 0) {
        const ssize_t written = write(fd, text, size);
        if (written < 0 && errno == EINTR) { continue; }
        if (written <= 0) { return false; }
        text += written;
        size -= (size_t)written;
    }
    return true;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields) {
    ASSERT((unsigned)level < LOG_LEVEL_COUNT);
    ASSERT(name_is_sound(event));
    if (level == LOG_LEVEL_ERROR) {
        atomic_fetch_add_explicit(&log_errors, 1, memory_order_relaxed);
    }
    if (level < atomic_load_explicit(&log__level, memory_order_relaxed)) { return; }
    const int errno_before = errno;  // logging must not disturb the error being logged
    struct line line;
    line.size = 0;
    line.full = false;
    put_head(&line, level, event);
    for (const struct log_field *at = fields; at->type != LOG_FIELD_END; at++) {
        put_field(&line, at);
    }
    const char *end = line.full ? line_end : "\n";
    memcpy(line.text + line.size, end, strlen(end));
    line.size += strlen(end);
    ASSERT(line.size <= LOG_LINE_SIZE_MAX);
    if (log_sink != NULL) {
        log_sink(log_sink_ctx, level, line.text, line.size);
    } else if (!write_all(log_fd, line.text, line.size)) {
        atomic_fetch_add_explicit(&log_lost, 1, memory_order_relaxed);
    }
    errno = errno_before;
}
