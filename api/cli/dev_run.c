// SPDX-License-Identifier: Apache-2.0
// The processes behind a development cluster: found by pid files, started, stopped, wiped.
#include "api/cli/dev_cluster.h"
#include "dataplane/base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { DEV_KILL_WAIT_MS = 5000, DEV_WIPE_DEPTH = 16 };

enum dev_state dev_cluster_state(const struct dev_cluster *self, const struct dev_node *node,
                                 struct dev_process *out_process) {
    char path[DEV_FILE_SIZE];
    struct dev_process process;
    dev_cluster_path(self, node, "pid", path);
    if (dev_process_read(path, &process) != STATUS_OK || !dev_process_is_alive(&process)) {
        return DEV_DOWN;
    }
    if (out_process != NULL) { *out_process = process; }
    return dev_process_is_stopped(&process) ? DEV_STOPPED : DEV_RUNNING;
}

enum status dev_cluster_start(const struct dev_cluster *self, const struct dev_node *node,
                              struct err *err) {
    if (dev_cluster_state(self, node, NULL) != DEV_DOWN) { return STATUS_OK; }
    char program[DEV_FILE_SIZE];
    char config[DEV_FILE_SIZE];
    char log[DEV_FILE_SIZE];
    char pid[DEV_FILE_SIZE];
    enum status st = dev_cluster_program(program, err);
    if (st != STATUS_OK) { return st; }
    dev_cluster_path(self, node, "node.yaml", config);
    dev_cluster_path(self, node, "log", log);
    dev_cluster_path(self, node, "pid", pid);
    char name[] = "lightconed";
    char option[] = "--config";
    char *argv[] = {name, option, config, NULL};
    struct dev_process process;
    struct dev_spawn spawn = {.program = program, .argv = argv, .log_path = log};
    st = dev_process_spawn(&spawn, &process, err);
    if (st != STATUS_OK) { return st; }
    if (dev_process_write(pid, &process) != STATUS_OK) {
        // Without a pid file nobody could stop it again.
        int reason = errno;
        (void)!dev_process_signal(&process, SIGKILL);
        (void)dev_process_wait(&process, DEV_KILL_WAIT_MS);
        return err_set(err, STATUS_IO, "%.150s: %s", pid, strerror(reason));
    }
    return STATUS_OK;
}

static uint64_t now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint32_t dev_cluster_stop(const struct dev_cluster *self, uint32_t timeout_ms) {
    uint64_t deadline = now_ms() + timeout_ms;
    struct dev_process processes[DEV_NODES_MAX];
    uint32_t running = 0;
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (dev_cluster_state(self, &self->nodes[i], &processes[running]) == DEV_DOWN) { continue; }
        // A stopped process takes the signal only once it continues.
        (void)!dev_process_signal(&processes[running], SIGTERM);
        (void)!dev_process_signal(&processes[running], SIGCONT);
        running++;
    }
    uint32_t killed = 0;
    for (uint32_t i = 0; i < running; i++) {
        uint64_t now = now_ms();
        uint32_t left = now < deadline ? (uint32_t)(deadline - now) : 0;
        if (dev_process_wait(&processes[i], left)) { continue; }
        (void)!dev_process_signal(&processes[i], SIGKILL);
        (void)dev_process_wait(&processes[i], DEV_KILL_WAIT_MS);
        killed++;
    }
    for (uint32_t i = 0; i < self->node_count; i++) {
        char path[DEV_FILE_SIZE];
        dev_cluster_path(self, &self->nodes[i], "pid", path);
        if (dev_cluster_state(self, &self->nodes[i], NULL) == DEV_DOWN) { (void)unlink(path); }
    }
    return killed;
}

// --- The program

static bool is_program(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

static bool beside_us(char out[DEV_FILE_SIZE]) {
    static const char *const places[] = {"", "../daemon/", "../libexec/lightcone/"};
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (size <= 0) { return false; }
    self[size] = '\0';
    const char *dir = dirname(self);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        int written = snprintf(out, DEV_FILE_SIZE, "%s/%slightconed", dir, places[i]);
        if (written > 0 && written < DEV_FILE_SIZE && is_program(out)) { return true; }
    }
    return false;
}

static bool in_path(char out[DEV_FILE_SIZE]) {
    const char *at = getenv("PATH");
    while (at != NULL && *at != '\0') {
        size_t size = strcspn(at, ":");
        int written = snprintf(out, DEV_FILE_SIZE, "%.*s/lightconed", (int)size, at);
        if (size > 0 && written > 0 && written < DEV_FILE_SIZE && is_program(out)) { return true; }
        at += size;
        at += *at == ':' ? 1 : 0;
    }
    return false;
}

enum status dev_cluster_program(char out[DEV_FILE_SIZE], struct err *err) {
    const char *named = getenv("LIGHTCONED");
    if (named != NULL && named[0] != '\0') {
        if (!is_program(named)) {
            return err_set(err, STATUS_NOT_FOUND, "LIGHTCONED: %.150s is no program", named);
        }
        (void)snprintf(out, DEV_FILE_SIZE, "%s", named);
        return STATUS_OK;
    }
    if (beside_us(out) || in_path(out)) { return STATUS_OK; }
    return err_set(err, STATUS_NOT_FOUND,
                   "lightconed is neither beside this program nor in PATH; set LIGHTCONED to it");
}

// --- Wiping

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

enum status dev_cluster_wipe(struct dev_cluster *self, struct err *err) {
    ASSERT(self->exists);
    char path[DEV_FILE_SIZE];
    for (uint32_t i = 0; i < self->node_count; i++) {
        dev_cluster_path(self, &self->nodes[i], "", path);
        // Links are removed, not followed, and the walk stays on its file system.
        if (nftw(path, remove_one, DEV_WIPE_DEPTH, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 &&
            errno != ENOENT) {
            return err_set(err, STATUS_IO, "%.150s: %s", path, strerror(errno));
        }
    }
    // The state file goes last: a wipe that was cut short can be repeated.
    (void)snprintf(path, sizeof(path), "%s/dev.json", self->dir);
    if (unlink(path) != 0 && errno != ENOENT) {
        return err_set(err, STATUS_IO, "%.150s: %s", path, strerror(errno));
    }
    self->exists = false;
    return STATUS_OK;
}

// --- For other commands

bool dev_cluster_running_addresses(const char *dir, char *out, size_t size) {
    struct dev_cluster cluster;
    size_t used = 0;
    if (dev_cluster_load(&cluster, dir, NULL) != STATUS_OK || !cluster.exists) { return false; }
    for (uint32_t i = 0; i < cluster.node_count; i++) {
        char address[DEV_ADDRESS_SIZE];
        if (dev_cluster_state(&cluster, &cluster.nodes[i], NULL) != DEV_RUNNING) { continue; }
        dev_cluster_rpc_address(&cluster.nodes[i], address);
        int written = snprintf(out + used, size - used, "%s%s", used == 0 ? "" : ",", address);
        if (written < 0 || (size_t)written >= size - used) { break; }
        used += (size_t)written;
    }
    return used > 0;
}
