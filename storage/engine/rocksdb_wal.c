// SPDX-License-Identifier: Apache-2.0
// Reads what RocksDB is about to recover from, and tells a torn end from damage better than it
// does.
//
// RocksDB's log format, of WALs and of the MANIFEST: blocks of 32 KiB, records of masked crc32c of
// type and payload (4 bytes), length (2), type (1), payload; a record that does not fit is cut into
// fragments; fewer than 7 bytes at the end of a block are padding. The checksum does not cover the
// length. In the mode that we use (rocksdb_open.c), a length that points beyond the end of the file
// counts as the end of the log: one flipped bit in the length of a record in the last block then
// drops that record and all behind it without a word, though they were synced. A header of zeros (a
// sector that was never written) skips the rest of its block likewise.
//
// So each file is walked first. Where the walk cannot go on is the end of the log if nothing whole
// stands there or behind: a torn write leaves only a part of itself. It is damage if the payload is
// whole after all, under another length, or if a whole record follows. The rest, records that are
// complete and fail their checksum, RocksDB finds by itself.
//
// LIMIT: what was torn is not told from damage when a whole record is found behind it: sectors of a
// large write that reached the disk out of order, or bytes within the torn write's own payload that
// look like a record. The store is refused then, and the node is rebuilt from its peers.
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "storage/engine/rocksdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    BLOCK_SIZE = 32 << 10,
    HEADER_SIZE = 4 + 2 + 1,
    TYPE_OFFSET = 6,
    TYPE_MAX = 4,  // full, first, middle, last; others are of recycled files, which we exclude
    PATH_SIZE = 4096,
    CURRENT_SIZE_MAX = 64,
};

// One file being walked, and the block in memory.
struct walk {
    const char *path;
    int fd;
    uint64_t offset;  // of the block
    size_t size;      // bytes in it; less than BLOCK_SIZE in the last one only
    uint8_t block[BLOCK_SIZE];
};

static uint32_t unmasked(uint32_t stored) {
    const uint32_t rotated = stored - 0xa282ead8u;
    return rotated >> 17 | rotated << 15;
}

static uint32_t stored_checksum(const uint8_t *header) {
    return unmasked((uint32_t)header[0] | (uint32_t)header[1] << 8 | (uint32_t)header[2] << 16 |
                    (uint32_t)header[3] << 24);
}

static size_t stored_length(const uint8_t *header) {
    return (size_t)header[4] | (size_t)header[5] << 8;
}

// Size of the whole record at that place of the block; 0 when there is none.
static size_t whole_record(const struct walk *self, size_t at) {
    if (self->size - at < HEADER_SIZE) { return 0; }
    const uint8_t *header = self->block + at;
    const size_t length = stored_length(header);
    if (header[TYPE_OFFSET] == 0 || header[TYPE_OFFSET] > TYPE_MAX) { return 0; }
    if (length > self->size - at - HEADER_SIZE) { return 0; }
    const uint32_t crc = crc32c_extend(0, slice_make(header + TYPE_OFFSET, 1 + length));
    return crc == stored_checksum(header) ? HEADER_SIZE + length : 0;
}

// Whether the checksum fits some other length: then that was flipped, and nothing is torn.
static bool length_is_flipped(const struct walk *self, size_t at) {
    const uint8_t *header = self->block + at;
    const uint32_t wanted = stored_checksum(header);
    uint32_t crc = 0;
    if (header[TYPE_OFFSET] == 0) { return false; }
    for (size_t i = at + TYPE_OFFSET; i < self->size; i++) {
        crc = crc32c_extend(crc, slice_make(self->block + i, 1));
        if (crc == wanted) { return true; }
    }
    return false;
}

static enum status read_block(struct walk *self, uint64_t offset, struct err *err) {
    self->offset = offset;
    self->size = 0;
    while (self->size < BLOCK_SIZE) {
        const ssize_t n = pread(self->fd, self->block + self->size, BLOCK_SIZE - self->size,
                                (off_t)(offset + self->size));
        if (n < 0 && errno == EINTR) { continue; }
        if (n < 0) { return err_set(err, STATUS_IO, "%s: %s", self->path, strerror(errno)); }
        if (n == 0) { break; }
        self->size += (size_t)n;
    }
    return STATUS_OK;
}

// Whether a later block begins with a whole record, as all blocks but the first after the end do.
static enum status any_block_follows(struct walk *self, bool *out, struct err *err) {
    *out = false;
    while (!*out && self->size == BLOCK_SIZE) {
        const enum status st = read_block(self, self->offset + BLOCK_SIZE, err);
        if (st != STATUS_OK) { return st; }
        *out = whole_record(self, 0) > 0;
    }
    return STATUS_OK;
}

// The walk cannot go on at that place.
static enum status judge(struct walk *self, size_t at, struct err *err) {
    const uint64_t place = self->offset + at;
    bool damaged = length_is_flipped(self, at);
    for (size_t i = at + 1; i + HEADER_SIZE <= self->size && !damaged; i++) {
        damaged = whole_record(self, i) > 0;
    }
    if (!damaged) {
        const enum status st = any_block_follows(self, &damaged, err);
        if (st != STATUS_OK) { return st; }
    }
    if (!damaged) { return STATUS_OK; }
    return err_set(err, STATUS_CORRUPT, "%s: damaged at byte %llu, before what was synced later",
                   self->path, (unsigned long long)place);
}

static enum status walk_file(struct walk *self, struct err *err) {
    for (uint64_t offset = 0;; offset += BLOCK_SIZE) {
        const enum status st = read_block(self, offset, err);
        if (st != STATUS_OK) { return st; }
        size_t at = 0;
        while (self->size - at >= HEADER_SIZE) {
            const size_t size = whole_record(self, at);
            if (size == 0) { return judge(self, at, err); }
            at += size;
        }
        if (self->size < BLOCK_SIZE) { return STATUS_OK; }
    }
}

static enum status check_file(const char *path, struct err *err) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { return err_set(err, STATUS_IO, "%s: %s", path, strerror(errno)); }
    struct walk *walk = mem_alloc(sizeof(*walk));
    walk->path = path;
    walk->fd = fd;
    const enum status st = walk_file(walk, err);
    mem_free(walk);
    (void)close(fd);
    return st;
}

// The MANIFEST that CURRENT names. What is wrong with CURRENT itself RocksDB tells.
static enum status check_manifest(const char *dir, struct err *err) {
    char path[PATH_SIZE];
    char name[CURRENT_SIZE_MAX] = "";
    (void)snprintf(path, sizeof(path), "%s/CURRENT", dir);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) { return STATUS_OK; }
    const ssize_t n = read(fd, name, sizeof(name) - 1);
    (void)close(fd);
    name[n > 0 ? (size_t)n : 0] = '\0';
    name[strcspn(name, "\n")] = '\0';
    if (strncmp(name, "MANIFEST-", 9) != 0 || strchr(name, '/') != NULL) { return STATUS_OK; }
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (access(path, F_OK) != 0) { return STATUS_OK; }
    return check_file(path, err);
}

static bool is_wal(const char *name) {
    const size_t digits = strspn(name, "0123456789");
    return digits > 0 && strcmp(name + digits, ".log") == 0;
}

enum status rocksdb_engine__check_logs(const char *dir, struct err *err) {
    char path[PATH_SIZE];
    enum status st = check_manifest(dir, err);
    if (st != STATUS_OK) { return st; }
    DIR *d = opendir(dir);
    if (d == NULL) { return err_set(err, STATUS_IO, "%s: %s", dir, strerror(errno)); }
    errno = 0;
    for (const struct dirent *e = readdir(d); e != NULL && st == STATUS_OK; e = readdir(d)) {
        if (!is_wal(e->d_name)) { continue; }
        (void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        st = check_file(path, err);
        errno = 0;
    }
    if (st == STATUS_OK && errno != 0) {
        st = err_set(err, STATUS_IO, "%s: %s", dir, strerror(errno));
    }
    (void)closedir(d);
    return st;
}
