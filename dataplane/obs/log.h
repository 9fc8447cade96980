// SPDX-License-Identifier: Apache-2.0
// log.h - the process's log: stable event names with typed fields, one logfmt line an event.
// Invariants: a line holds printable ASCII and one newline, whatever the values hold; it is at most
//             LOG_LINE_SIZE_MAX bytes and leaves in one write.
// Ownership:  names and keys are string literals; values are borrowed for the call.
// Thread:     LOG_* from any thread, without a lock; the log_set_* functions before threads start.
// See:        dataplane/obs/README.md; tests/unit/dataplane/obs/log_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARN,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_COUNT
};

enum {
    LOG_LINE_SIZE_MAX = 2048,  // fields that no longer fit are replaced by "truncated=true"
    LOG_VALUE_SIZE_MAX =
        256,  // bytes of one string value that are shown; "..." follows a longer one
};

// LOG_INFO("shard.split", LOG_U64("shard", id.v), LOG_STR("reason", text));
//  ERROR means that a person has to look: a simulation run with a line at ERROR fails unless the
// event is expected. The fields are not evaluated when the level is filtered out.
#define LOG_DEBUG(...) LOG__AT(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define LOG_INFO(...)  LOG__AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define LOG_WARN(...)  LOG__AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define LOG_ERROR(...) LOG__AT(LOG_LEVEL_ERROR, __VA_ARGS__)

enum log_field_type {
    LOG_FIELD_END,
    LOG_FIELD_U64,
    LOG_FIELD_I64,
    LOG_FIELD_F64,
    LOG_FIELD_BOOL,
    LOG_FIELD_STRING,
    LOG_FIELD_SLICE,
    LOG_FIELD_HEX
};

struct log_field {
    const char *key;  // lower case letters, digits, '_' and '.'
    enum log_field_type type;
    union {
        uint64_t u64;
        int64_t i64;
        double f64;
        bool boolean;
        const char *string;
        struct slice slice;
    } u;
};

#define LOG_U64(name, v)  LOG__FIELD(name, LOG_FIELD_U64, u64, v)
#define LOG_I64(name, v)  LOG__FIELD(name, LOG_FIELD_I64, i64, v)
#define LOG_F64(name, v)  LOG__FIELD(name, LOG_FIELD_F64, f64, v)
#define LOG_BOOL(name, v) LOG__FIELD(name, LOG_FIELD_BOOL, boolean, v)
// NUL-terminated; NULL is shown as an empty string.
#define LOG_STR(name, v) LOG__FIELD(name, LOG_FIELD_STRING, string, v)
// Bytes as text, what is not printable ASCII escaped. Never for user values or secrets; for user
// keys only where an operator needs them.
#define LOG_SLICE(name, v) LOG__FIELD(name, LOG_FIELD_SLICE, slice, v)
// Bytes in hexadecimal digits: ids, digests.
#define LOG_HEX(name, v)     LOG__FIELD(name, LOG_FIELD_HEX, slice, v)
#define LOG_STATUS(name, st) LOG_STR(name, status_name(st))
#define LOG__FIELD(name, kind, member, v) \
    ((struct log_field){.key = (name), .type = (kind), .u.member = (v)})

// Lines below the level are dropped; LOG_LEVEL_INFO at first.
void log_set_level(enum log_level level);
// STATUS_INVALID_ARGUMENT for a word that is no level ("debug", "info", "warn", "error").
NODISCARD enum status log_level_parse(struct slice text, enum log_level *out_level);
const char *log_level_name(enum log_level level);

// Where lines go: a file descriptor, which stays the caller's (standard error at first).
void log_set_fd(int fd);
// Takes each line instead of the descriptor, newline included, valid for the call (tests, the
// simulator). It may be called by several threads at once. NULL gives the lines back to the
// descriptor.
typedef void (*log_sink_fn)(void *ctx, enum log_level level, const char *line, size_t size);
void log_set_sink(log_sink_fn sink, void *ctx);
// The wall clock in microseconds that stamps lines; NULL = the system's.
typedef uint64_t (*log_clock_fn)(void *ctx);
void log_set_clock(log_clock_fn clock, void *ctx);

// Lines at ERROR since the last reset. No level filters them out.
uint64_t log_error_count(void);
// Lines that could not be written whole.
uint64_t log_lost_count(void);
void log_reset_counts(void);

// Behind the macros: fields end with LOG_FIELD_END.
void log_write(enum log_level level, const char *event, const struct log_field *fields);

extern _Atomic(enum log_level) log__level;
static inline bool log_is_enabled(enum log_level level) {
    return level >= atomic_load_explicit(&log__level, memory_order_relaxed);
}

// The event is the first argument, the fields are the rest, an end mark is added. The extra 0 keeps
// the variadic part of LOG__FIRST from being empty, which C17 forbids.
#define LOG__FIRST(first, ...) first
#define LOG__REST(first, ...)  __VA_ARGS__
#define LOG__END               ((struct log_field){.type = LOG_FIELD_END})
#define LOG__AT(level, ...)                                                        \
    (log_is_enabled(level)                                                         \
         ? log_write(level, LOG__FIRST(__VA_ARGS__, 0),                            \
                     (const struct log_field[]){LOG__REST(__VA_ARGS__, LOG__END)}) \
         : (void)0)
