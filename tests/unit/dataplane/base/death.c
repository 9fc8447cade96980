// SPDX-License-Identifier: Apache-2.0
// A child per question, because an aborted process cannot be examined from within.
#include "tests/unit/dataplane/base/death.h"

#include "dataplane/base/assert.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void run_child(int fd, death_fn run, void *ctx) {
    const struct rlimit no_core = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)signal(SIGABRT, SIG_DFL);
    (void)dup2(fd, STDERR_FILENO);
    run(ctx);
    _exit(0);
}

struct death death_of(death_fn run, void *ctx) {
    struct death death = {.exit_status = -1};
    int ends[2] = {-1, -1};
    ASSERT(pipe(ends) == 0);
    (void)fflush(NULL);
    const pid_t child = fork();
    ASSERT(child >= 0);
    if (child == 0) { run_child(ends[1], run, ctx); }
    (void)close(ends[1]);
    size_t size = 0;
    for (;;) {
        char dropped[256];
        const bool keep = size < sizeof(death.text) - 1;
        char *into = keep ? death.text + size : dropped;
        const ssize_t got =
            read(ends[0], into, keep ? sizeof(death.text) - 1 - size : sizeof(dropped));
        if (got <= 0) { break; }
        size += keep ? (size_t)got : 0;
    }
    (void)close(ends[0]);
    int status = 0;
    ASSERT(waitpid(child, &status, 0) == child);
    death.aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    death.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return death;
}

bool death_by_assert(death_fn run, void *ctx) {
    const struct death death = death_of(run, ctx);
    return death.aborted && strstr(death.text, "ASSERT failed at ") != NULL;
}

bool death_by_fatal(death_fn run, void *ctx) {
    const struct death death = death_of(run, ctx);
    return death.exit_status == STOP_EXIT_STATUS && strstr(death.text, "FATAL at ") != NULL;
}
