// SPDX-License-Identifier: Apache-2.0
// death.h - runs a function that is expected to end its process, in a child, and tells how it
// ended.
// Invariants: the child writes no core file; its standard error is captured, not shown.
// Ownership:  the caller owns the result.
// Thread:     call from a program with one thread (it forks).
// See:        tests/unit/dataplane/base/assert_test.c
#pragma once

#include <stdbool.h>

struct death {
    bool aborted;     // by SIGABRT
    int exit_status;  // -1 when it did not exit by itself
    char text[4096];  // what it wrote to standard error, NUL-terminated, truncated
};

typedef void (*death_fn)(void *ctx);
struct death death_of(death_fn run, void *ctx);

// The function aborts by an assertion.
bool death_by_assert(death_fn run, void *ctx);
// The function ends by FATAL.
bool death_by_fatal(death_fn run, void *ctx);
