// SPDX-License-Identifier: Apache-2.0
// Design: everything a node must never forget is in one small file that is only ever replaced as a
// whole: written beside it, synced, renamed over it, and the directory synced. A crash leaves the
// old file or the new one. Files are opened relative to the directory's descriptor, so a directory
// that is moved while the node runs stays the one that was locked. Symbolic links are not followed
// inside it: a link that leads out would let two directories share one identity.
//
//   nothing ----open----> not founded ----identity_found----> founded
//
// A crash while the directory is created leaves it empty, or with LOCK and identity.tmp alone: the
// next open begins anew. A directory that holds anything else and no identity belongs to somebody
// else, or lost its identity; either way a new node must not grow in it.
#include "api/node/identity.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FORMAT_VERSION = 1,
    FORMAT_KIND = 'I',
    FILE_SIZE_MAX = 16 << 10,
    DIR_SHOWN_SIZE_MAX = 120,
    DIR_MODE = 0700,
    FILE_MODE = 0600,
    PID_TEXT_SIZE_MAX = 24,
};

struct identity {
    char *path;   // of the directory, for errors
    int dir_fd;   // -1 = closed
    int lock_fd;  // likewise
    uint64_t incarnation;
    uint32_t boot;
    bool founded;
    struct join_cluster cluster;  // when founded
};

// --- Errors -------------------------------------------------------------------------------------

static enum status system_error(const struct identity *self, const char *what, struct err *err) {
    int code = errno;
    if (code == ELOOP) {  // of O_NOFOLLOW, though the kernel's text speaks of levels
        return err_set(err, STATUS_IO, "%.*s: %s: it is a symbolic link", DIR_SHOWN_SIZE_MAX,
                       self->path, what);
    }
    enum status st = code == ENOSPC || code == EDQUOT ? STATUS_NO_SPACE : STATUS_IO;
    return err_set(err, st, "%.*s: %s: %s", DIR_SHOWN_SIZE_MAX, self->path, what,
                   strerrordesc_np(code));
}

// --- The record ---------------------------------------------------------------------------------

static void put_cluster(struct codec_writer *w, const struct join_cluster *cluster) {
    codec_put_raw(w, slice_make(cluster->cluster.v, sizeof(cluster->cluster.v)));
    codec_put_u32(w, cluster->self.v);
    codec_put_varint(w, cluster->member_count);
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct join_member *member = &cluster->members[i];
        codec_put_u32(w, member->id.v);
        codec_put_u64(w, member->incarnation);
        codec_put_slice(w, slice_from_string(member->peer_address));
    }
}

static void get_cluster(struct codec_reader *r, struct join_cluster *out) {
    struct slice id = codec_get_raw(r, sizeof(out->cluster.v));
    if (id.size == sizeof(out->cluster.v)) { memcpy(out->cluster.v, id.data, id.size); }
    out->self.v = codec_get_u32(r);
    uint64_t count = codec_get_count(r, 1);
    if (count == 0 || count > SHARD_REPLICAS_MAX || out->self.v == 0) { codec_fail(r); }
    for (uint64_t i = 0; i < count && r->status == STATUS_OK; i++) {
        struct join_member *member = &out->members[i];
        member->id.v = codec_get_u32(r);
        member->incarnation = codec_get_u64(r);
        struct slice address = codec_get_slice(r, sizeof(member->peer_address) - 1);
        if (address.size > 0) { memcpy(member->peer_address, address.data, address.size); }
        // Also catches a NUL inside the address.
        if (member->id.v == 0 || strlen(member->peer_address) != address.size) { codec_fail(r); }
        out->member_count++;
    }
}

static void identity_encode(const struct identity *self, struct buf *out) {
    struct buf payload;
    struct codec_writer w;
    buf_init(&payload, FILE_SIZE_MAX - CODEC_ENVELOPE_SIZE);
    codec_writer_init(&w, &payload);
    codec_put_u64(&w, self->incarnation);
    codec_put_u32(&w, self->boot);
    codec_put_u8(&w, self->founded ? 1 : 0);
    if (self->founded) { put_cluster(&w, &self->cluster); }
    ASSERT(w.status == STATUS_OK);
    enum status st = codec_seal(out, FORMAT_VERSION, FORMAT_KIND, buf_slice(&payload));
    ASSERT(st == STATUS_OK);
    buf_deinit(&payload);
}

static enum status identity_decode(struct identity *self, struct slice file) {
    uint8_t version = 0;
    uint8_t kind = 0;
    struct slice payload;
    enum status st = codec_open(file, FORMAT_VERSION, &version, &kind, &payload);
    if (st != STATUS_OK) { return st; }
    struct codec_reader r;
    codec_reader_init(&r, payload);
    uint64_t incarnation = codec_get_u64(&r);
    uint32_t boot = codec_get_u32(&r);
    uint8_t founded = codec_get_u8(&r);
    struct join_cluster cluster = {.member_count = 0};
    if (founded == 1) { get_cluster(&r, &cluster); }
    if (kind != FORMAT_KIND || founded > 1 || incarnation == 0 || boot == 0) { codec_fail(&r); }
    st = codec_finish(&r);
    if (st != STATUS_OK) { return st; }
    self->incarnation = incarnation;
    self->boot = boot;
    self->founded = founded == 1;
    self->cluster = cluster;
    return STATUS_OK;
}

// --- The file -----------------------------------------------------------------------------------

static bool write_all(int fd, struct slice bytes) {
    while (bytes.size > 0) {
        ssize_t size = write(fd, bytes.data, bytes.size);
        if (size < 0 && errno == EINTR) { continue; }
        if (size < 0) { return false; }
        bytes.data += size;
        bytes.size -= (size_t)size;
    }
    return true;
}

// The new contents, durable under the temporary name.
static enum status write_temp(const struct identity *self, struct slice bytes, struct err *err) {
    int fd = openat(self->dir_fd, IDENTITY_FILE_TEMP,
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (fd < 0) { return system_error(self, "cannot create " IDENTITY_FILE_TEMP, err); }
    enum status st = STATUS_OK;
    if (!write_all(fd, bytes) || fsync(fd) != 0) {
        st = system_error(self, "cannot write " IDENTITY_FILE_TEMP, err);
    }
    if (close(fd) != 0 && st == STATUS_OK) {
        st = system_error(self, "cannot write " IDENTITY_FILE_TEMP, err);
    }
    if (st != STATUS_OK) { (void)unlinkat(self->dir_fd, IDENTITY_FILE_TEMP, 0); }
    return st;
}

static enum status identity_store(const struct identity *self, struct err *err) {
    struct buf bytes;
    buf_init(&bytes, FILE_SIZE_MAX);
    identity_encode(self, &bytes);
    enum status st = write_temp(self, buf_slice(&bytes), err);
    buf_deinit(&bytes);
    if (st != STATUS_OK) { return st; }
    if (renameat(self->dir_fd, IDENTITY_FILE_TEMP, self->dir_fd, IDENTITY_FILE) != 0) {
        st = system_error(self, "cannot rename " IDENTITY_FILE_TEMP, err);
        (void)unlinkat(self->dir_fd, IDENTITY_FILE_TEMP, 0);
        return st;
    }
    if (fsync(self->dir_fd) != 0) {
        // Whether the rename lasts is unknown, so what this process believes may not be what the
        // next one finds: an identity may be used only when it is certain.
        FATAL("%s: the directory cannot be synced: %s", self->path, strerrordesc_np(errno));
    }
    return STATUS_OK;
}

static enum status read_file(const struct identity *self, int fd, struct buf *out,
                             struct err *err) {
    uint8_t block[4096];
    for (;;) {
        ssize_t size = read(fd, block, sizeof(block));
        if (size == 0) { return STATUS_OK; }
        if (size < 0 && errno == EINTR) { continue; }
        if (size < 0) { return system_error(self, IDENTITY_FILE " cannot be read", err); }
        if (buf_append(out, slice_make(block, (size_t)size)) != STATUS_OK) {
            return err_set(err, STATUS_CORRUPT, "%.*s: " IDENTITY_FILE " is larger than %d bytes",
                           DIR_SHOWN_SIZE_MAX, self->path, FILE_SIZE_MAX);
        }
    }
}

// NOT_FOUND when there is none.
static enum status identity_load(struct identity *self, struct err *err) {
    // Not blocking, lest a FIFO of that name stop the start for ever.
    int fd = openat(self->dir_fd, IDENTITY_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) { return STATUS_NOT_FOUND; }
    if (fd < 0) { return system_error(self, IDENTITY_FILE " cannot be opened", err); }
    struct stat info;
    struct buf bytes;
    buf_init(&bytes, FILE_SIZE_MAX);
    enum status st = STATUS_OK;
    if (fstat(fd, &info) != 0) {
        st = system_error(self, IDENTITY_FILE " cannot be examined", err);
    } else if (!S_ISREG(info.st_mode)) {
        st = err_set(err, STATUS_CORRUPT, "%.*s: " IDENTITY_FILE " is no regular file",
                     DIR_SHOWN_SIZE_MAX, self->path);
    } else {
        st = read_file(self, fd, &bytes, err);
    }
    if (st == STATUS_OK) {
        st = identity_decode(self, buf_slice(&bytes));
        if (st == STATUS_NOT_SUPPORTED) {
            (void)err_set(err, st, "%.*s: " IDENTITY_FILE " was written by a newer version",
                          DIR_SHOWN_SIZE_MAX, self->path);
        } else if (st != STATUS_OK) {
            (void)err_set(err, st,
                          "%.*s: " IDENTITY_FILE " is damaged; restore it, or remove the whole "
                          "directory and let a new node join",
                          DIR_SHOWN_SIZE_MAX, self->path);
        }
    }
    buf_deinit(&bytes);
    (void)close(fd);
    return st;
}

// --- The directory ------------------------------------------------------------------------------

static bool is_harmless_name(const char *name) {
    static const char *const names[] = {".", "..", IDENTITY_LOCK, IDENTITY_FILE_TEMP,
                                        "lost+found"};  // of a file system's root
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) { return true; }
    }
    return false;
}

// Refuses a directory with files but without an identity. Called before anything is created in it,
// so that somebody else's directory stays as it was.
static enum status check_foreign(const struct identity *self, struct err *err) {
    int fd = openat(self->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        enum status failed = system_error(self, "cannot be listed", err);
        if (fd >= 0) { (void)close(fd); }
        return failed;
    }
    bool identity = false;
    char foreign[64] = "";
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strcmp(entry->d_name, IDENTITY_FILE) == 0) {
            identity = true;
        } else if (!is_harmless_name(entry->d_name)) {
            snprintf(foreign, sizeof(foreign), "%.60s", entry->d_name);
        }
    }
    (void)closedir(dir);
    if (identity || foreign[0] == '\0') { return STATUS_OK; }
    for (char *c = foreign; *c != '\0'; c++) {
        if (*c < 0x20 || *c > 0x7e) { *c = '?'; }
    }
    return err_set(err, STATUS_FAILED_PRECONDITION,
                   "%.*s: not empty (\"%s\") and without " IDENTITY_FILE
                   ": not the data directory of a node",
                   DIR_SHOWN_SIZE_MAX, self->path, foreign);
}

// A new name in the parent directory must be as durable as what will lie below it.
static void sync_parent(int dir_fd) {
    int parent = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) { return; }  // not ours to read: then it is the creator's to sync
    (void)fsync(parent);
    (void)close(parent);
}

static enum status open_directory(struct identity *self, struct err *err) {
    bool created = mkdir(self->path, DIR_MODE) == 0;
    if (!created && errno != EEXIST) { return system_error(self, "cannot be created", err); }
    self->dir_fd = open(self->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (self->dir_fd < 0 && errno == ENOTDIR) {
        return err_set(err, STATUS_FAILED_PRECONDITION, "%.*s: is not a directory",
                       DIR_SHOWN_SIZE_MAX, self->path);
    }
    if (self->dir_fd < 0) { return system_error(self, "cannot be opened", err); }
    if (created) { sync_parent(self->dir_fd); }
    return STATUS_OK;
}

// --- The lock -----------------------------------------------------------------------------------

static enum status locked_by(const struct identity *self, struct err *err) {
    char text[PID_TEXT_SIZE_MAX + 1] = "";
    ssize_t size = pread(self->lock_fd, text, PID_TEXT_SIZE_MAX, 0);
    size_t digits = size <= 0 ? 0 : strspn(text, "0123456789");
    text[digits] = '\0';
    return err_set(err, STATUS_FAILED_PRECONDITION, "%.*s: in use by another process%s%s%s",
                   DIR_SHOWN_SIZE_MAX, self->path, digits > 0 ? " (" : "", digits > 0 ? text : "",
                   digits > 0 ? ")" : "");
}

static enum status take_lock(struct identity *self, struct err *err) {
    self->lock_fd =
        openat(self->dir_fd, IDENTITY_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (self->lock_fd < 0) {
        return system_error(self, "not writable: " IDENTITY_LOCK " cannot be opened", err);
    }
    if (flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) { return locked_by(self, err); }
        return system_error(self, IDENTITY_LOCK " cannot be locked", err);
    }
    // For whoever finds it locked; the lock itself is the kernel's and ends with the process.
    char text[PID_TEXT_SIZE_MAX];
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(self->lock_fd, 0) != 0 || pwrite(self->lock_fd, text, (size_t)size, 0) != size) {
        return system_error(self, IDENTITY_LOCK " cannot be written", err);
    }
    return STATUS_OK;
}

// --- Public -------------------------------------------------------------------------------------

static enum status draw_incarnation(struct identity *self, struct err *err) {
    while (self->incarnation == 0) {
        uint64_t bits = 0;
        ssize_t size = getrandom(&bits, sizeof(bits), 0);
        if (size < 0 && errno != EINTR) { return system_error(self, "no random bits", err); }
        if (size == (ssize_t)sizeof(bits)) { self->incarnation = bits; }
    }
    return STATUS_OK;
}

static enum status start(struct identity *self, struct err *err) {
    enum status st = open_directory(self, err);
    if (st != STATUS_OK) { return st; }
    st = check_foreign(self, err);
    if (st != STATUS_OK) { return st; }
    st = take_lock(self, err);
    if (st != STATUS_OK) { return st; }
    // Again under the lock: another process may have filled the directory in between.
    st = check_foreign(self, err);
    if (st != STATUS_OK) { return st; }
    st = identity_load(self, err);
    if (st == STATUS_NOT_FOUND) { st = draw_incarnation(self, err); }
    if (st != STATUS_OK) { return st; }
    if (self->boot == UINT32_MAX) {
        return err_set(err, STATUS_FAILED_PRECONDITION, "%.*s: was opened %u times, which is all",
                       DIR_SHOWN_SIZE_MAX, self->path, UINT32_MAX);
    }
    if (self->boot == 0 || !MUTANT(OLD_BOOT)) { self->boot++; }
    return identity_store(self, err);
}

enum status identity_open(const char *data_dir, struct identity **out_identity, struct err *err) {
    ASSERT(data_dir != NULL);
    struct identity *self = mem_alloc(sizeof(*self));
    self->path = mem_strdup(data_dir);
    self->dir_fd = -1;
    self->lock_fd = -1;
    enum status st = start(self, err);
    if (st != STATUS_OK) {
        identity_close(self);
        return st;
    }
    ASSERT(self->incarnation != 0);
    *out_identity = self;
    return STATUS_OK;
}

void identity_close(struct identity *self) {
    if (self == NULL) { return; }
    // LOCK stays: to remove it would let two later processes lock two files of that name.
    if (self->lock_fd >= 0) { (void)close(self->lock_fd); }
    if (self->dir_fd >= 0) { (void)close(self->dir_fd); }
    mem_free(self->path);
    mem_free(self);
}

uint64_t identity_incarnation(const struct identity *self) {
    return self->incarnation;
}

uint32_t identity_boot(const struct identity *self) {
    return self->boot;
}

bool identity_cluster(const struct identity *self, struct join_cluster *out_cluster) {
    if (self->founded) { *out_cluster = self->cluster; }
    return self->founded;
}

enum status identity_found(struct identity *self, const struct join_cluster *cluster,
                           struct err *err) {
    ASSERT(cluster->self.v != 0);
    ASSERT(cluster->member_count >= 1);
    ASSERT(cluster->member_count <= SHARD_REPLICAS_MAX);
    if (self->founded) {
        return err_set(err, STATUS_ALREADY_EXISTS, "%.*s: node %u of a cluster lives here",
                       DIR_SHOWN_SIZE_MAX, self->path, self->cluster.self.v);
    }
    self->cluster = *cluster;
    self->founded = true;
    enum status st = identity_store(self, err);
    if (st != STATUS_OK) { self->founded = false; }
    return st;
}
