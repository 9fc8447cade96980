// SPDX-License-Identifier: Apache-2.0
// assert.h - what stops the process: our bug (ASSERT) or an environment nobody can trust (FATAL).
// Invariants: ASSERT is on in every build; its argument has no side effect.
// Ownership:  none.
// Thread:     any.
// See:        dataplane/base/README.md; tests/unit/dataplane/base/assert_test.c
#pragma once

// Told once, before the process ends, what ended it. It may print more (a simulation its seed);
// when it returns, the process ends all the same. NULL takes it away. Set it before threads start.
typedef void (*stop_hook_fn)(void *ctx, const char *reason);
void stop_set_hook(stop_hook_fn hook, void *ctx);

// Prints file, line, expression and a back trace, flushes, aborts.
_Noreturn void assert_fail(const char *file, int line, const char *expression);

// Prints the reason, flushes and leaves with STOP_EXIT_STATUS, running no exit handlers: for failed
// syncs, corrupt logs, lost memory. A sentence without a newline.
enum { STOP_EXIT_STATUS = 70 };
_Noreturn void fatal_stop(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define ASSERT(expr) ((expr) ? (void)0 : assert_fail(__FILE__, __LINE__, #expr))
#define ASSERT_IF(cond, expr) \
    ((!(cond) || (expr)) ? (void)0 : assert_fail(__FILE__, __LINE__, #cond " => " #expr))
#define FATAL(...) fatal_stop(__FILE__, __LINE__, __VA_ARGS__)

// O(n) sweeps: on in debug and sanitizer builds (-DLIGHTCONE_SLOW_CHECKS=1); elsewhere they are
// compiled, so that they cannot rot, but not run.
#ifndef LIGHTCONE_SLOW_CHECKS
#define LIGHTCONE_SLOW_CHECKS 0
#endif
#define ASSERT_SLOW(expr) \
    ((!LIGHTCONE_SLOW_CHECKS || (expr)) ? (void)0 : assert_fail(__FILE__, __LINE__, #expr))
