// SPDX-License-Identifier: Apache-2.0
// Stopping is kept plain: no allocation of ours, no lock, straight to standard error. An assertion
// aborts (a core file is wanted: the program is wrong); a fatal environment leaves by _exit (a core
// would say nothing, and exit handlers must not touch what cannot be trusted).
#include "dataplane/base/assert.h"

#include <execinfo.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STOP_FRAMES_MAX = 48, STOP_REASON_SIZE = 512 };

static stop_hook_fn stop_hook;
static void *stop_hook_ctx;
static atomic_flag stop_hook_called = ATOMIC_FLAG_INIT;

void stop_set_hook(stop_hook_fn hook, void *ctx) {
    stop_hook = hook;
    stop_hook_ctx = ctx;
    atomic_flag_clear(&stop_hook_called);
}

// At most once after it was set: a hook that itself fails, or a second thread that fails meanwhile,
// must not start it again.
static void call_hook(const char *reason) {
    if (stop_hook != NULL && !atomic_flag_test_and_set(&stop_hook_called)) {
        stop_hook(stop_hook_ctx, reason);
    }
}

_Noreturn void assert_fail(const char *file, int line, const char *expression) {
    char reason[STOP_REASON_SIZE];
    (void)snprintf(reason, sizeof(reason), "ASSERT failed at %s:%d: %s", file, line, expression);
    (void)fprintf(stderr, "%s\n", reason);
    (void)fflush(stderr);
    void *frames[STOP_FRAMES_MAX];
    const int count = backtrace(frames, STOP_FRAMES_MAX);
    backtrace_symbols_fd(frames, count, STDERR_FILENO);
    call_hook(reason);
    (void)fflush(stderr);
    abort();
}

_Noreturn void fatal_stop(const char *file, int line, const char *format, ...) {
    char text[STOP_REASON_SIZE / 2];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0) { text[0] = '\0'; }
    va_end(args);
    char reason[STOP_REASON_SIZE];
    (void)snprintf(reason, sizeof(reason), "FATAL at %s:%d: %s", file, line, text);
    (void)fprintf(stderr, "%s\n", reason);
    call_hook(reason);
    (void)fflush(stderr);
    _exit(STOP_EXIT_STATUS);
}
