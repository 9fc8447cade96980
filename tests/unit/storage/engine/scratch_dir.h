// SPDX-License-Identifier: Apache-2.0
// scratch_dir.h - a temporary directory for tests that need real files.
// Invariants: the directory is new and empty; removing it removes everything inside.
// Ownership:  the caller owns the struct.
// Thread:     one thread.
// See:        the storage tests
#pragma once

#include <stddef.h>

struct scratch_dir {
    char path[512];
};

// Under $TEST_TMPDIR (Bazel) or /tmp. Aborts the test program when it cannot.
void scratch_dir_init(struct scratch_dir *self);
void scratch_dir_deinit(struct scratch_dir *self);
// "path/name" in out.
void scratch_dir_join(const struct scratch_dir *self, const char *name, char *out, size_t size);
// Copies the files of one directory into another, made if need be, but not RocksDB's LOCK: what a
// kill -9 at this instant leaves.
void scratch_dir_copy(const char *from, const char *to);
// Removes a directory with what is in it.
void scratch_dir_remove(const char *path);
// Path of the file in dir whose name ends with the suffix and is the last in byte order.
void scratch_dir_find(const char *dir, const char *suffix, char *out, size_t size);
// Size of a file; changes to it, as a failing disk makes them.
size_t scratch_file_size(const char *path);
void scratch_file_flip(const char *path, size_t offset);
void scratch_file_read(const char *path, size_t offset, void *out, size_t size);
void scratch_file_write(const char *path, size_t offset, const void *bytes, size_t size);
void scratch_file_cut(const char *path, size_t size);
