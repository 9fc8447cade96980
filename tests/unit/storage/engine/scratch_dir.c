// SPDX-License-Identifier: Apache-2.0
// Plain POSIX; every failure aborts, because a test cannot say anything without its files.
#include "tests/unit/storage/engine/scratch_dir.h"

#include "dataplane/base/assert.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_DIRECTORIES_MAX = 16 };

void scratch_dir_init(struct scratch_dir *self) {
    const char *base = getenv("TEST_TMPDIR");
    const int n =
        snprintf(self->path, sizeof(self->path), "%s/storage.XXXXXX", base != NULL ? base : "/tmp");
    ASSERT(n > 0 && (size_t)n < sizeof(self->path));
    if (mkdtemp(self->path) == NULL) { FATAL("no scratch directory %s", self->path); }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void scratch_dir_deinit(struct scratch_dir *self) {
    if (nftw(self->path, remove_one, OPEN_DIRECTORIES_MAX, FTW_DEPTH | FTW_PHYS) != 0) {
        FATAL("cannot remove %s", self->path);
    }
}

void scratch_dir_join(const struct scratch_dir *self, const char *name, char *out, size_t size) {
    const int n = snprintf(out, size, "%s/%s", self->path, name);
    ASSERT(n > 0 && (size_t)n < size);
}

static int ends_with(const char *name, const char *suffix) {
    const size_t size = strlen(name);
    const size_t end = strlen(suffix);
    return size >= end && strcmp(name + size - end, suffix) == 0;
}

void scratch_dir_find(const char *dir, const char *suffix, char *out, size_t size) {
    char best[256] = "";
    DIR *d = opendir(dir);
    if (d == NULL) { FATAL("cannot list %s", dir); }
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (ends_with(e->d_name, suffix) && strcmp(e->d_name, best) > 0) {
            (void)snprintf(best, sizeof(best), "%s", e->d_name);
        }
    }
    (void)closedir(d);
    if (best[0] == '\0') { FATAL("%s holds no *%s", dir, suffix); }
    (void)snprintf(out, size, "%s/%s", dir, best);
}

size_t scratch_file_size(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) { FATAL("no file %s", path); }
    return (size_t)st.st_size;
}

void scratch_file_flip(const char *path, size_t offset) {
    uint8_t byte = 0;
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, &byte, 1, (off_t)offset) != 1) { FATAL("cannot read %s", path); }
    byte ^= 0x40;
    if (pwrite(fd, &byte, 1, (off_t)offset) != 1) { FATAL("cannot write %s", path); }
    (void)close(fd);
}

void scratch_file_cut(const char *path, size_t size) {
    if (truncate(path, (off_t)size) != 0) { FATAL("cannot cut %s", path); }
}
