// SPDX-License-Identifier: Apache-2.0
// progress.h - one line on the terminal that tells how far a long operation is.
// Invariants: silent unless err is a terminal, without --quiet; written at most ten times a second;
//             gone when the operation ends.
// Ownership:  a value; the cli is borrowed.
// Thread:     one.
// See:        api/cli/command_kv_import.c
#pragma once

#include "api/cli/cli.h"

struct progress {
    struct cli *cli;    // private
    const char *unit;   // private: "rows"
    uint64_t begin_ns;  // private
    uint64_t shown_ns;  // private: 0 = never
};

// Monotonic nanoseconds.
uint64_t progress_now_ns(void);
void progress_init(struct progress *self, struct cli *cli, const char *unit);
// permille: how much of the whole is done, 0 = not known.
void progress_show(struct progress *self, uint64_t count, uint32_t permille);
// Clears the line.
void progress_end(struct progress *self);
