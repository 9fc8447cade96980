// SPDX-License-Identifier: Apache-2.0
// A disk whose syncs fail or hang, preloaded into a node. The file DATA_DIR.sync says what happens
// to the syncs of files below DATA_DIR: "eio N" fails the N-th from now on and every one after it,
// "hang MS" holds each up until MS have passed or the file says something else; an empty file or
// none leaves them alone. "eio" counts from the moment that the file changes.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, ORDER_SIZE = 64, STEP_MS = 10 };

// Syncs since the order "eio" was first seen, over all files: RocksDB syncs on threads of its own.
static atomic_long counted;

static bool order_of(const char *control, char order[ORDER_SIZE]) {
    int fd = open(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { return false; }
    ssize_t size = read(fd, order, ORDER_SIZE - 1);
    close(fd);
    order[size > 0 ? size : 0] = '\0';
    return size > 0;
}

// .../data2/log/000007.log -> .../data2.sync
static bool control_of(int fd, char control[PATH_SIZE]) {
    char link[ORDER_SIZE];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, control, PATH_SIZE - sizeof(".sync"));
    if (size <= 0) { return false; }
    control[size] = '\0';
    char *at = strstr(control, "/data");
    if (at == NULL) { return false; }
    char *end = strchr(at + 1, '/');
    if (end == NULL) { return false; }
    memcpy(end, ".sync", sizeof(".sync"));
    return true;
}

// False when the sync has to fail.
static bool admit(int fd) {
    char control[PATH_SIZE];
    char order[ORDER_SIZE];
    int saved = errno;
    if (!control_of(fd, control)) { return true; }
    for (long ms = 0; order_of(control, order) && strncmp(order, "hang ", 5) == 0; ms += STEP_MS) {
        if (ms >= strtol(order + 5, NULL, 10)) { break; }
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    }
    if (order_of(control, order) && strncmp(order, "eio ", 4) == 0 &&
        atomic_fetch_add(&counted, 1) + 1 >= strtol(order + 4, NULL, 10)) {
        errno = EIO;
        return false;
    }
    errno = saved;
    return true;
}

// The C library's own. (C has no conversion from dlsym's pointer to a function's.)
static void next_of(const char *name, void *function) {
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL) { abort(); }
    memcpy(function, &symbol, sizeof(symbol));
}

int fdatasync(int fd) {
    int (*next)(int) = NULL;
    next_of("fdatasync", &next);
    return admit(fd) ? next(fd) : -1;
}

int fsync(int fd) {
    int (*next)(int) = NULL;
    next_of("fsync", &next);
    return admit(fd) ? next(fd) : -1;
}

int sync_file_range(int fd, off64_t from, off64_t size, unsigned flags) {
    int (*next)(int, off64_t, off64_t, unsigned) = NULL;
    next_of("sync_file_range", &next);
    return admit(fd) ? next(fd, from, size, flags) : -1;
}
