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

enum { OPEN_DIRECTORIES_MAX = 16, PATH_SIZE = 1024 };

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

void scratch_dir_remove(const char *path) {
    if (nftw(path, remove_one, OPEN_DIRECTORIES_MAX, FTW_DEPTH | FTW_PHYS) != 0) {
        FATAL("cannot remove %s", path);
    }
}

void scratch_dir_deinit(struct scratch_dir *self) {
    scratch_dir_remove(self->path);
}

static void copy_file(const char *from, const char *to) {
    static char block[1 << 16];
    const int in = open(from, O_RDONLY | O_CLOEXEC);
    const int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (in < 0 || out < 0) { FATAL("cannot copy %s to %s", from, to); }
    for (ssize_t n = read(in, block, sizeof(block)); n > 0; n = read(in, block, sizeof(block))) {
        if (write(out, block, (size_t)n) != n) { FATAL("cannot write %s", to); }
    }
    (void)close(in);
    (void)close(out);
}

void scratch_dir_copy(const char *from, const char *to) {
    char source[PATH_SIZE];
    char target[PATH_SIZE];
    (void)mkdir(to, 0700);
    DIR *d = opendir(from);
    if (d == NULL) { FATAL("cannot list %s", from); }
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, "LOCK") == 0) { continue; }
        (void)snprintf(source, sizeof(source), "%s/%s", from, e->d_name);
        (void)snprintf(target, sizeof(target), "%s/%s", to, e->d_name);
        copy_file(source, target);
    }
    (void)closedir(d);
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

void scratch_file_read(const char *path, size_t offset, void *out, size_t size) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, out, size, (off_t)offset) != (ssize_t)size) {
        FATAL("cannot read %s", path);
    }
    (void)close(fd);
}

void scratch_file_write(const char *path, size_t offset, const void *bytes, size_t size) {
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, bytes, size, (off_t)offset) != (ssize_t)size) {
        FATAL("cannot write %s", path);
    }
    (void)close(fd);
}

void scratch_file_flip(const char *path, size_t offset) {
    uint8_t byte = 0;
    scratch_file_read(path, offset, &byte, 1);
    byte ^= 0x40;
    scratch_file_write(path, offset, &byte, 1);
}

void scratch_file_cut(const char *path, size_t size) {
    if (truncate(path, (off_t)size) != 0) { FATAL("cannot cut %s", path); }
}
