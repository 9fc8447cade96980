// SPDX-License-Identifier: Apache-2.0
// A pid alone names whoever has it now. The start time tells processes of one boot apart, the boot
// id those of different boots; both are compared after the pidfd is open: had the pid been reused
// before that, the comparison fails, and afterwards the pidfd cannot change its process.
#include "api/cli/dev_process.h"

#include "dataplane/base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STAT_SIZE = 1024, STAT_FIELD_START_TIME = 22 };

// --- /proc

// Reads a small file as text; false when it cannot be read.
static bool read_text(const char *path, char *out, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { return false; }
    ssize_t got = read(fd, out, size - 1);
    (void)close(fd);
    if (got <= 0) { return false; }
    out[got] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return true;
}

// Field 2 is the name in parentheses and may hold anything, parentheses too; fields are counted
// from behind the last one.
static bool parse_stat(const char *stat, char *out_state, uint64_t *out_start) {
    const char *at = strrchr(stat, ')');
    if (at == NULL || at[1] != ' ') { return false; }
    at += 2;
    *out_state = *at;
    for (int field = 3; field < STAT_FIELD_START_TIME; field++) {
        at = strchr(at, ' ');
        if (at == NULL) { return false; }
        at++;
    }
    char *end = NULL;
    *out_start = strtoull(at, &end, 10);
    return end != at;
}

static bool read_stat(pid_t pid, char *out_state, uint64_t *out_start) {
    char path[64];
    char stat[STAT_SIZE];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    return read_text(path, stat, sizeof(stat)) && parse_stat(stat, out_state, out_start);
}

static bool is_dead(char state) {
    return state == 'Z' || state == 'X' || state == 'x';
}

static void read_boot(char out[DEV_BOOT_SIZE]) {
    if (!read_text("/proc/sys/kernel/random/boot_id", out, DEV_BOOT_SIZE)) {
        (void)snprintf(out, DEV_BOOT_SIZE, "unknown");
    }
}

enum status dev_process_of(pid_t pid, struct dev_process *out) {
    char state = 0;
    uint64_t start = 0;
    if (!read_stat(pid, &state, &start) || is_dead(state)) { return STATUS_NOT_FOUND; }
    *out = (struct dev_process){.pid = pid, .start_ticks = start};
    read_boot(out->boot);
    return STATUS_OK;
}

// --- Pid files

// "PID START BOOT"
static bool parse_pid_file(const char *text, struct dev_process *out) {
    char *end = NULL;
    long pid = strtol(text, &end, 10);
    if (end == text || *end != ' ' || pid <= 1 || pid > INT32_MAX) { return false; }
    const char *start_text = end + 1;
    uint64_t start_ticks = strtoull(start_text, &end, 10);
    if (end == start_text || *end != ' ' || strlen(end + 1) >= DEV_BOOT_SIZE) { return false; }
    if (end[1] == '\0') { return false; }
    *out = (struct dev_process){.pid = (pid_t)pid, .start_ticks = start_ticks};
    (void)snprintf(out->boot, sizeof(out->boot), "%s", end + 1);
    return true;
}

enum status dev_process_read(const char *path, struct dev_process *out) {
    char text[128];
    if (access(path, F_OK) != 0) { return STATUS_NOT_FOUND; }
    if (!read_text(path, text, sizeof(text))) { return STATUS_CORRUPT; }
    return parse_pid_file(text, out) ? STATUS_OK : STATUS_CORRUPT;
}

enum status dev_process_write(const char *path, const struct dev_process *process) {
    char text[128];
    int size = snprintf(text, sizeof(text), "%d %" PRIu64 " %s\n", (int)process->pid,
                        process->start_ticks, process->boot);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) { return STATUS_IO; }
    bool ok = write(fd, text, (size_t)size) == size;
    ok = close(fd) == 0 && ok;
    return ok ? STATUS_OK : STATUS_IO;
}

// --- Handles and signals

int dev_process_open(const struct dev_process *process) {
    char boot[DEV_BOOT_SIZE];
    read_boot(boot);
    if (strcmp(boot, process->boot) != 0) { return -1; }
    int handle = pidfd_open(process->pid, 0);
    if (handle < 0) { return -1; }
    char state = 0;
    uint64_t start = 0;
    if (!read_stat(process->pid, &state, &start) || start != process->start_ticks ||
        is_dead(state)) {
        dev_process_close(&handle);
    }
    return handle;
}

void dev_process_close(int *handle) {
    if (*handle >= 0) { (void)close(*handle); }
    *handle = -1;
}

bool dev_process_is_alive(const struct dev_process *process) {
    int handle = dev_process_open(process);
    bool alive = handle >= 0;
    dev_process_close(&handle);
    return alive;
}

bool dev_process_is_stopped(const struct dev_process *process) {
    char state = 0;
    uint64_t start = 0;
    return read_stat(process->pid, &state, &start) && start == process->start_ticks && state == 'T';
}

enum status dev_process_signal(const struct dev_process *process, int signal) {
    int handle = dev_process_open(process);
    if (handle < 0) { return STATUS_NOT_FOUND; }
    int sent = pidfd_send_signal(handle, signal, NULL, 0);
    int reason = errno;
    dev_process_close(&handle);
    if (sent == 0) { return STATUS_OK; }
    return reason == ESRCH ? STATUS_NOT_FOUND : STATUS_IO;
}

// A child of ours that ended is a zombie until somebody asks; others are reaped by init.
static void reap(pid_t pid) {
    (void)waitpid(pid, NULL, WNOHANG);
}

bool dev_process_wait(const struct dev_process *process, uint32_t timeout_ms) {
    int handle = dev_process_open(process);
    if (handle < 0) {
        reap(process->pid);
        return true;
    }
    struct pollfd poll_fd = {.fd = handle, .events = POLLIN};
    int ready = 0;
    do {
        ready = poll(&poll_fd, 1, (int)timeout_ms);
    } while (ready < 0 && errno == EINTR);
    dev_process_close(&handle);
    if (ready > 0) { reap(process->pid); }
    return ready > 0;
}

// --- Starting

// In the child, after fork: only async-signal-safe calls. Tells errno through the pipe on failure.
static _Noreturn void become(const struct dev_spawn *spawn, int log_fd, int report_fd) {
    int null_fd = open("/dev/null", O_RDONLY);
    bool ok = setsid() >= 0 && null_fd >= 0 && dup2(null_fd, STDIN_FILENO) >= 0 &&
              dup2(log_fd, STDOUT_FILENO) >= 0 && dup2(log_fd, STDERR_FILENO) >= 0;
    if (ok) {
        if (null_fd > STDERR_FILENO) { (void)close(null_fd); }
        (void)execv(spawn->program, spawn->argv);
    }
    int reason = errno;
    (void)!write(report_fd, &reason, sizeof(reason));
    _exit(127);
}

// 0 when the program runs (the pipe was closed by exec), else why it does not.
static int exec_result(int report_fd) {
    int reason = 0;
    ssize_t got = 0;
    do {
        got = read(report_fd, &reason, sizeof(reason));
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof(reason) ? reason : 0;
}

static enum status start(const struct dev_spawn *spawn, int log_fd, struct dev_process *out,
                         struct err *err) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) {
        return err_set(err, STATUS_IO, "pipe: %s", strerror(errno));
    }
    pid_t pid = fork();
    if (pid == 0) { become(spawn, log_fd, report[1]); }
    int reason = pid < 0 ? errno : 0;
    (void)close(report[1]);
    reason = pid < 0 ? reason : exec_result(report[0]);
    (void)close(report[0]);
    if (reason != 0) {
        if (pid > 0) { (void)waitpid(pid, NULL, 0); }
        return err_set(err, STATUS_IO, "%s: %s", spawn->program, strerror(reason));
    }
    if (dev_process_of(pid, out) != STATUS_OK) {
        reap(pid);
        return err_set(err, STATUS_IO, "%s ended at once", spawn->program);
    }
    return STATUS_OK;
}

enum status dev_process_spawn(const struct dev_spawn *spawn, struct dev_process *out,
                              struct err *err) {
    int log_fd = open(spawn->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) { return err_set(err, STATUS_IO, "%s: %s", spawn->log_path, strerror(errno)); }
    enum status st = start(spawn, log_fd, out, err);
    (void)close(log_fd);
    return st;
}
