// SPDX-License-Identifier: Apache-2.0
// dev_process.h - processes that were started earlier, perhaps by another run of the command, and
// signals that never reach a stranger.
// Invariants: a process is named by pid, start time and boot; a signal goes through a pidfd that
//             was opened before the three were compared, so a recycled pid is never hit.
// Ownership:  values; a handle is the caller's and is closed with dev_process_close.
// Thread:     one.
// See:        proc(5), pidfd_open(2); tests/unit/api/cli/dev_process_test.c
#pragma once

#include "dataplane/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { DEV_BOOT_SIZE = 40 };

struct dev_process {
    pid_t pid;
    uint64_t start_ticks;  // since the boot, from /proc/PID/stat
    char boot[DEV_BOOT_SIZE];
};

// What a program is started with; stdin is /dev/null, stdout and stderr are appended to log_path.
struct dev_spawn {
    const char *program;
    char *const *argv;
    const char *log_path;
};

// In a session of its own. IO when it cannot be executed; err says why.
NODISCARD enum status dev_process_spawn(const struct dev_spawn *spawn, struct dev_process *out,
                                        struct err *err);
// The process that has this pid now; NOT_FOUND when there is none or it has ended.
NODISCARD enum status dev_process_of(pid_t pid, struct dev_process *out);

// Pid files. NOT_FOUND: no file. CORRUPT: no pid file of ours.
NODISCARD enum status dev_process_read(const char *path, struct dev_process *out);
NODISCARD enum status dev_process_write(const char *path, const struct dev_process *process);

// A handle of the very process; -1 when it has ended.
int dev_process_open(const struct dev_process *process);
void dev_process_close(int *handle);
// Whether it runs (a stopped one does).
bool dev_process_is_alive(const struct dev_process *process);
// Whether a signal stopped it.
bool dev_process_is_stopped(const struct dev_process *process);
// NOT_FOUND when it has ended already.
NODISCARD enum status dev_process_signal(const struct dev_process *process, int signal);
// Waits until it has ended; false when timeout_ms were not enough.
bool dev_process_wait(const struct dev_process *process, uint32_t timeout_ms);
