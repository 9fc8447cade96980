// SPDX-License-Identifier: Apache-2.0
// read_options.h - how new a read is to be, as the line asks for it, and what its answer says.
// Invariants: options that contradict one another are refused, none is passed over in silence.
// Ownership:  none.
// Thread:     one.
// See:        api/cli/command_kv_get.c, api/cli/command_kv_scan.c; tests/unit/api/cli/cli_test.c
#pragma once

#include "api/cli/session.h"

struct read_options {
    enum lc_consistency consistency;
    uint64_t at_least;
    uint64_t at;
    uint64_t max_staleness_us;
};

// Reads --consistency and what belongs to it.
NODISCARD enum cli_exit read_options_take(struct cli *cli, struct read_options *out);
// --verbose: the certificate in full; --show-token: the session token, also with --quiet.
void read_options_note(struct cli *cli, const struct session *session,
                       const struct lc_certificate *certificate);

#define READ_OPTIONS                                                                             \
    {.name = "consistency",                                                                      \
     .kind = ARGS_CHOICE,                                                                        \
     .placeholder = "WORD",                                                                      \
     .help = "strong (the newest), read-index (the same, confirmed by a majority), strict (and " \
             "all keys at one instant), session (what --session saw), bounded (at most "         \
             "--max-staleness old), at (exactly --at), any (whatever a replica has)",            \
     .fallback = "strong",                                                                       \
     .choices = "strong|read-index|strict|session|bounded|at|any"},                              \
        {.name = "at",                                                                           \
         .kind = ARGS_TEXT,                                                                      \
         .placeholder = "TIMESTAMP",                                                             \
         .help = "the state at exactly this timestamp (a number or the form that is shown)"},    \
        {.name = "max-staleness",                                                                \
         .kind = ARGS_TEXT,                                                                      \
         .placeholder = "DURATION",                                                              \
         .help = "how old it may be: 500ms, 2s, 5m"},                                            \
        {.name = "session",                                                                      \
         .kind = ARGS_TEXT,                                                                      \
         .placeholder = "TOKEN",                                                                 \
         .help = "a token of --show-token, or the timestamp of a commit: what was seen or "      \
                 "written up to there is there"},                                                \
        {.name = "at-least",                                                                     \
         .kind = ARGS_TEXT,                                                                      \
         .placeholder = "TIMESTAMP",                                                             \
         .help = "read at or above this timestamp, with any consistency"},                       \
        {.name = "verbose", .kind = ARGS_FLAG, .help = "show the whole certificate"}, {          \
        .name = "show-token", .kind = ARGS_FLAG,                                                 \
        .help = "print the token for the next --session, on standard error"                      \
    }
