// SPDX-License-Identifier: Apache-2.0
// range.h - the part of a keyspace that --start, --end and --prefix name, and a walk over it.
// Invariants: rows come in key order (against it with reverse); a walk that cannot be finished says
//             so and returns an exit code other than CLI_OK.
// Ownership:  the caller owns the range; rows are valid during the callback.
// Thread:     one.
// See:        api/cli/command_kv_scan.c; tests/unit/api/cli/range_test.c
#pragma once

#include "api/cli/read_options.h"

struct range {
    struct buf start;  // inclusive
    struct buf end;    // exclusive; empty = to the end of the keyspace
};

// Reads the options --start, --end, --prefix and --literal.
NODISCARD enum cli_exit range_init(struct cli *cli, struct range *out);
void range_deinit(struct range *self);
// The smallest key above all that begin with `prefix`; empty = there is none.
void range_prefix_end(struct slice prefix, struct buf *out);

// Called for each row; another code than CLI_OK ends the walk and is returned by it.
typedef enum cli_exit (*range_row_fn)(void *ctx, const struct lc_row *row);

struct range_walk {
    uint64_t limit;
    bool reverse;
    bool keys_only;
    struct read_options read;
    range_row_fn row;
    void *ctx;
    struct lc_certificate certificate;  // read-only: of the last page with rows
};

// In the keyspace of the session.
NODISCARD enum cli_exit range_walk(struct cli *cli, const struct session *session,
                                   const struct range *range, struct range_walk *walk);

#define RANGE_OPTIONS                                                                            \
    {.name = "start",                                                                            \
     .kind = ARGS_TEXT,                                                                          \
     .placeholder = "KEY",                                                                       \
     .help = "first key, inclusive (escapes as in kv get)"},                                     \
        {.name = "end", .kind = ARGS_TEXT, .placeholder = "KEY", .help = "last key, exclusive"}, \
        {.name = "prefix",                                                                       \
         .kind = ARGS_TEXT,                                                                      \
         .placeholder = "KEY",                                                                   \
         .help = "only keys that begin like this; excludes --start and --end"},                  \
        SESSION_OPTION_LITERAL
