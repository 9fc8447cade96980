// SPDX-License-Identifier: Apache-2.0
// The data directory: one process at a time, an identity that lasts, boots that count, and nothing
// overwritten that is not understood.
#include "api/node/identity.h"

#include "dataplane/base/mem.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_SIZE = 512, FILE_SIZE = 64 << 10 };

struct fixture {
    char base[PATH_SIZE];  // a fresh directory
    char dir[PATH_SIZE];   // base/data, not there yet
};

static int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof(*f));
    // An error's text holds 256 bytes, and these tests look for the whole path in it: the directory
    // that
    // Bazel gives can be longer than that.
    enum { BASE_SIZE_MAX = 80 };
    const char *tmp = getenv("TEST_TMPDIR");
    if (tmp == NULL || strlen(tmp) > BASE_SIZE_MAX) { tmp = "/tmp"; }
    snprintf(f->base, sizeof(f->base), "%.80s/identity-XXXXXX", tmp);
    assert_non_null(mkdtemp(f->base));
    snprintf(f->dir, sizeof(f->dir), "%.300s/data", f->base);
    *state = f;
    return 0;
}

static void path_of(const struct fixture *f, const char *name, char out[PATH_SIZE]) {
    snprintf(out, PATH_SIZE, "%.400s/%.80s", f->dir, name);
}

static int teardown(void **state) {
    struct fixture *f = *state;
    static const char *const names[] = {IDENTITY_FILE, IDENTITY_FILE_TEMP, IDENTITY_LOCK, "other"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[PATH_SIZE];
        path_of(f, names[i], path);
        (void)remove(path);
    }
    (void)remove(f->dir);
    int removed = remove(f->base);
    mem_free(f);
    return removed;
}

static struct identity *open_ok(const struct fixture *f) {
    struct identity *identity = NULL;
    struct err err = {STATUS_OK, ""};
    enum status st = identity_open(f->dir, &identity, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(st, STATUS_OK);
    return identity;
}

static void open_fails(const struct fixture *f, enum status wanted, const char *text) {
    struct identity *identity = NULL;
    struct err err = {STATUS_OK, ""};
    assert_int_equal(identity_open(f->dir, &identity, &err), wanted);
    assert_non_null(strstr(err.message, text));
    assert_non_null(strstr(err.message, f->dir));
    assert_null(identity);
    assert_int_equal(identity_open(f->dir, &identity, NULL), wanted);
}

static size_t read_file(const struct fixture *f, const char *name, uint8_t *out) {
    char path[PATH_SIZE];
    path_of(f, name, path);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t size = read(fd, out, FILE_SIZE);
    assert_true(size >= 0);
    close(fd);
    return (size_t)size;
}

static void write_file(const struct fixture *f, const char *name, const void *bytes, size_t size) {
    char path[PATH_SIZE];
    path_of(f, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

static bool exists(const struct fixture *f, const char *name) {
    char path[PATH_SIZE];
    path_of(f, name, path);
    return access(path, F_OK) == 0;
}

static struct join_cluster make_cluster(void) {
    struct join_cluster cluster = {.self = {2}, .member_count = 3};
    for (uint32_t i = 0; i < 16; i++) {
        cluster.cluster.v[i] = (uint8_t)(i * 17);
    }
    for (uint32_t i = 0; i < 3; i++) {
        cluster.members[i].id.v = i + 1;
        cluster.members[i].incarnation = UINT64_C(0x8000000000000001) + i;
        snprintf(cluster.members[i].peer_address, sizeof(cluster.members[i].peer_address),
                 "host%u:7400", i + 1);
    }
    return cluster;
}

static void expect_cluster(const struct identity *identity) {
    struct join_cluster wanted = make_cluster();
    struct join_cluster found;
    assert_true(identity_cluster(identity, &found));
    assert_true(cluster_id_equal(found.cluster, wanted.cluster));
    assert_int_equal(found.self.v, 2);
    assert_int_equal(found.member_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(found.members[i].id.v, wanted.members[i].id.v);
        assert_true(found.members[i].incarnation == wanted.members[i].incarnation);
        assert_string_equal(found.members[i].peer_address, wanted.members[i].peer_address);
    }
}

// --- The life of a directory --------------------------------------------------------------------

static void test_identity_new_directory_is_created_and_counts_boots(void **state) {
    struct fixture *f = *state;
    struct identity *identity = open_ok(f);
    uint64_t incarnation = identity_incarnation(identity);
    struct join_cluster cluster;
    assert_true(incarnation != 0);
    assert_int_equal(identity_boot(identity), 1);
    assert_false(identity_cluster(identity, &cluster));
    identity_close(identity);
    for (uint32_t boot = 2; boot <= 5; boot++) {
        identity = open_ok(f);
        assert_true(identity_incarnation(identity) == incarnation);
        assert_int_equal(identity_boot(identity), boot);
        identity_close(identity);
    }
    assert_false(exists(f, IDENTITY_FILE_TEMP));
    struct stat info;
    assert_int_equal(stat(f->dir, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
}

// Goal: a wiped directory is another node.
static void test_identity_new_directory_another_incarnation(void **state) {
    struct fixture *f = *state;
    struct identity *identity = open_ok(f);
    uint64_t incarnation = identity_incarnation(identity);
    identity_close(identity);
    char path[PATH_SIZE];
    path_of(f, IDENTITY_FILE, path);
    assert_int_equal(unlink(path), 0);
    identity = open_ok(f);
    assert_true(identity_incarnation(identity) != incarnation);
    assert_int_equal(identity_boot(identity), 1);
    identity_close(identity);
}

static void test_identity_founded_once_and_kept(void **state) {
    struct fixture *f = *state;
    struct identity *identity = open_ok(f);
    uint64_t incarnation = identity_incarnation(identity);
    struct join_cluster cluster = make_cluster();
    struct err err = {STATUS_OK, ""};
    assert_int_equal(identity_found(identity, &cluster, &err), STATUS_OK);
    expect_cluster(identity);
    cluster.self.v = 3;
    assert_int_equal(identity_found(identity, &cluster, &err), STATUS_ALREADY_EXISTS);
    assert_non_null(strstr(err.message, "node 2"));
    identity_close(identity);
    identity = open_ok(f);
    expect_cluster(identity);
    assert_true(identity_incarnation(identity) == incarnation);
    assert_int_equal(identity_boot(identity), 2);
    identity_close(identity);
}

// Goal: founding that cannot be written leaves the node without a cluster, now and later.
static void test_identity_found_fails_leaves_none(void **state) {
    struct fixture *f = *state;
    struct identity *identity = open_ok(f);
    char path[PATH_SIZE];
    path_of(f, IDENTITY_FILE_TEMP, path);
    assert_int_equal(mkdir(path, 0700), 0);  // in the way of the temporary file
    struct join_cluster cluster = make_cluster();
    struct err err = {STATUS_OK, ""};
    assert_int_equal(identity_found(identity, &cluster, &err), STATUS_IO);
    assert_non_null(strstr(err.message, IDENTITY_FILE_TEMP));
    assert_false(identity_cluster(identity, &cluster));
    assert_int_equal(rmdir(path), 0);
    identity_close(identity);
    identity = open_ok(f);
    assert_false(identity_cluster(identity, &cluster));
    cluster = make_cluster();
    assert_int_equal(identity_found(identity, &cluster, NULL), STATUS_OK);
    expect_cluster(identity);
    identity_close(identity);
}

// Goal: what a crash during creation or replacement leaves is cleared away.
static void test_identity_leftovers_of_a_crash_are_harmless(void **state) {
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->dir, 0700), 0);
    write_file(f, IDENTITY_LOCK, "", 0);
    write_file(f, IDENTITY_FILE_TEMP, "half", 4);
    struct identity *identity = open_ok(f);
    assert_int_equal(identity_boot(identity), 1);
    identity_close(identity);
    write_file(f, IDENTITY_FILE_TEMP, "half of the next one", 20);
    identity = open_ok(f);
    assert_int_equal(identity_boot(identity), 2);
    identity_close(identity);
    assert_false(exists(f, IDENTITY_FILE_TEMP));
}

// --- The lock -----------------------------------------------------------------------------------

static void test_identity_second_open_is_refused_with_pid(void **state) {
    struct fixture *f = *state;
    struct identity *identity = open_ok(f);
    uint8_t before[FILE_SIZE];
    uint8_t after[FILE_SIZE];
    size_t size = read_file(f, IDENTITY_FILE, before);
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "in use by another process (%ld)", (long)getpid());
    open_fails(f, STATUS_FAILED_PRECONDITION, wanted);
    assert_int_equal(read_file(f, IDENTITY_FILE, after), size);
    assert_memory_equal(before, after, size);
    identity_close(identity);
    identity = open_ok(f);
    assert_int_equal(identity_boot(identity), 2);
    identity_close(identity);
}

// Goal: the lock of a process that was killed is no lock.
static void test_identity_lock_ends_with_its_process(void **state) {
    struct fixture *f = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct identity *identity = NULL;
        enum status st = identity_open(f->dir, &identity, NULL);
        _exit(st == STATUS_OK ? 0 : 1);  // without closing
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    struct identity *identity = open_ok(f);
    assert_int_equal(identity_boot(identity), 2);
    identity_close(identity);
}

// Goal: a lock file with nonsense in it gives the same refusal, without a pid.
static void test_identity_lock_without_pid(void **state) {
    struct fixture *f = *state;
    struct identity *identity = open_ok(f);
    write_file(f, IDENTITY_LOCK, "\x1b[31mroot", 9);
    open_fails(f, STATUS_FAILED_PRECONDITION, "in use by another process");
    identity_close(identity);
}

// --- Directories that are none ------------------------------------------------------------------

static void test_identity_not_a_directory(void **state) {
    struct fixture *f = *state;
    int fd = open(f->dir, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    open_fails(f, STATUS_FAILED_PRECONDITION, "is not a directory");
}

static void test_identity_missing_parent(void **state) {
    struct fixture *f = *state;
    size_t size = strlen(f->dir);
    snprintf(f->dir + size, sizeof(f->dir) - size, "/deep");
    open_fails(f, STATUS_IO, "cannot be created: No such file");
    f->dir[size] = '\0';
}

static void test_identity_foreign_files_are_refused_untouched(void **state) {
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->dir, 0700), 0);
    write_file(f, "other", "precious", 8);
    open_fails(f, STATUS_FAILED_PRECONDITION, "not empty (\"other\")");
    assert_false(exists(f, IDENTITY_LOCK));
    assert_false(exists(f, IDENTITY_FILE));
    uint8_t bytes[FILE_SIZE];
    assert_int_equal(read_file(f, "other", bytes), 8);
}

// Goal: stores whose identity was lost are not adopted by a new node.
static void test_identity_lost_identity_is_refused(void **state) {
    struct fixture *f = *state;
    identity_close(open_ok(f));
    write_file(f, "other", "store", 5);
    char path[PATH_SIZE];
    path_of(f, IDENTITY_FILE, path);
    assert_int_equal(unlink(path), 0);
    open_fails(f, STATUS_FAILED_PRECONDITION, "without identity");
    assert_false(exists(f, IDENTITY_FILE));
}

// Root passes over permissions; without this capability it does not.
static void respect_permissions(bool on) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    assert_int_equal(syscall(SYS_capget, &head, data), 0);
    uint32_t bits = (1U << CAP_DAC_OVERRIDE) | (1U << CAP_DAC_READ_SEARCH);
    data[0].effective = on ? data[0].effective & ~bits : data[0].permitted;
    assert_int_equal(syscall(SYS_capset, &head, data), 0);
}

static void test_identity_not_writable_or_readable(void **state) {
    struct fixture *f = *state;
    identity_close(open_ok(f));
    uint8_t before[FILE_SIZE];
    uint8_t after[FILE_SIZE];
    size_t size = read_file(f, IDENTITY_FILE, before);
    respect_permissions(true);
    assert_int_equal(chmod(f->dir, 0500), 0);
    open_fails(f, STATUS_IO, "cannot create identity.tmp: Permission denied");
    assert_int_equal(chmod(f->dir, 0000), 0);
    open_fails(f, STATUS_IO, "cannot be opened: Permission denied");
    assert_int_equal(chmod(f->dir, 0700), 0);
    char path[PATH_SIZE];
    path_of(f, IDENTITY_LOCK, path);
    assert_int_equal(chmod(path, 0400), 0);
    open_fails(f, STATUS_IO, "not writable: LOCK");
    assert_int_equal(chmod(path, 0600), 0);
    path_of(f, IDENTITY_FILE, path);
    assert_int_equal(chmod(path, 0000), 0);
    open_fails(f, STATUS_IO, "identity cannot be opened: Permission denied");
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(chmod(f->base, 0500), 0);
    char dir[PATH_SIZE];
    snprintf(dir, sizeof(dir), "%.500s", f->dir);
    snprintf(f->dir, sizeof(f->dir), "%.300s/new", f->base);
    open_fails(f, STATUS_IO, "cannot be created: Permission denied");
    snprintf(f->dir, sizeof(f->dir), "%.500s", dir);
    assert_int_equal(chmod(f->base, 0700), 0);
    respect_permissions(false);
    assert_int_equal(read_file(f, IDENTITY_FILE, after), size);
    assert_memory_equal(before, after, size);
}

// --- Damaged identities -------------------------------------------------------------------------

// A founded identity in the directory; returns its bytes.
static size_t founded_file(const struct fixture *f, uint8_t *out) {
    struct identity *identity = open_ok(f);
    struct join_cluster cluster = make_cluster();
    assert_int_equal(identity_found(identity, &cluster, NULL), STATUS_OK);
    identity_close(identity);
    return read_file(f, IDENTITY_FILE, out);
}

static void expect_refused_unchanged(const struct fixture *f, const uint8_t *bytes, size_t size) {
    struct identity *identity = NULL;
    struct err err = {STATUS_OK, ""};
    enum status st = identity_open(f->dir, &identity, &err);
    assert_true(st == STATUS_CORRUPT || st == STATUS_NOT_SUPPORTED);
    assert_non_null(strstr(err.message, "identity"));
    uint8_t after[FILE_SIZE];
    assert_int_equal(read_file(f, IDENTITY_FILE, after), size);
    if (size > 0) { assert_memory_equal(after, bytes, size); }
}

static void test_identity_truncated_at_each_byte_is_refused(void **state) {
    struct fixture *f = *state;
    uint8_t bytes[FILE_SIZE];
    size_t full = founded_file(f, bytes);
    for (size_t size = 0; size < full; size++) {
        write_file(f, IDENTITY_FILE, bytes, size);
        expect_refused_unchanged(f, bytes, size);
    }
    write_file(f, IDENTITY_FILE, bytes, full);
    struct identity *identity = open_ok(f);
    expect_cluster(identity);
    identity_close(identity);
}

static void test_identity_each_byte_flipped_is_refused(void **state) {
    struct fixture *f = *state;
    uint8_t bytes[FILE_SIZE];
    size_t size = founded_file(f, bytes);
    for (size_t at = 0; at < size; at++) {
        for (uint32_t bit = 0; bit < 8; bit += 7) {
            bytes[at] ^= (uint8_t)(1U << bit);
            write_file(f, IDENTITY_FILE, bytes, size);
            expect_refused_unchanged(f, bytes, size);
            bytes[at] ^= (uint8_t)(1U << bit);
        }
    }
}

static void seal_identity(const struct fixture *f, uint8_t version, uint8_t kind,
                          struct slice payload) {
    struct buf sealed;
    buf_init(&sealed, FILE_SIZE);
    assert_int_equal(codec_seal(&sealed, version, kind, payload), STATUS_OK);
    write_file(f, IDENTITY_FILE, sealed.data, sealed.size);
    buf_deinit(&sealed);
}

// Goal: a checksum that fits does not make nonsense an identity; a newer version is named as such.
static void test_identity_sound_envelope_bad_content(void **state) {
    struct fixture *f = *state;
    identity_close(open_ok(f));
    static const char good[] = "\1\0\0\0\0\0\0\0\7\0\0\0\0";  // incarnation 1, boot 7, no cluster
    seal_identity(f, 1, 'I', slice_make(good, 13));
    struct identity *identity = open_ok(f);
    assert_true(identity_incarnation(identity) == 1);
    assert_int_equal(identity_boot(identity), 8);
    identity_close(identity);
    seal_identity(f, 2, 'I', slice_make(good, 13));
    open_fails(f, STATUS_NOT_SUPPORTED, "newer version");
    seal_identity(f, 1, 'J', slice_make(good, 13));
    open_fails(f, STATUS_CORRUPT, "damaged");
    seal_identity(f, 1, 'I', slice_make(good, 12));
    open_fails(f, STATUS_CORRUPT, "damaged");
    seal_identity(f, 1, 'I', slice_make(good, 14));
    open_fails(f, STATUS_CORRUPT, "damaged");
    seal_identity(f, 1, 'I', SLICE_LITERAL("\0\0\0\0\0\0\0\0\7\0\0\0\0"));
    open_fails(f, STATUS_CORRUPT, "damaged");
    seal_identity(f, 1, 'I', SLICE_LITERAL("\1\0\0\0\0\0\0\0\0\0\0\0\0"));
    open_fails(f, STATUS_CORRUPT, "damaged");
    seal_identity(f, 1, 'I', SLICE_LITERAL("\1\0\0\0\0\0\0\0\7\0\0\0\2"));
    open_fails(f, STATUS_CORRUPT, "damaged");
    seal_identity(f, 1, 'I', SLICE_LITERAL("\1\0\0\0\0\0\0\0\xff\xff\xff\xff\0"));
    open_fails(f, STATUS_FAILED_PRECONDITION, "4294967295 times");
}

static void test_identity_not_a_file(void **state) {
    struct fixture *f = *state;
    identity_close(open_ok(f));
    char path[PATH_SIZE];
    path_of(f, IDENTITY_FILE, path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    open_fails(f, STATUS_CORRUPT, "no regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    open_fails(f, STATUS_CORRUPT, "no regular file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(IDENTITY_LOCK, path), 0);
    open_fails(f, STATUS_IO, "symbolic link");
    assert_int_equal(unlink(path), 0);
    static uint8_t large[FILE_SIZE];
    write_file(f, IDENTITY_FILE, large, sizeof(large));
    open_fails(f, STATUS_CORRUPT, "larger than");
    path_of(f, IDENTITY_LOCK, path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("elsewhere", path), 0);
    open_fails(f, STATUS_IO, "symbolic link");
}

int main(void) {
#define IDENTITY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        IDENTITY_TEST(test_identity_new_directory_is_created_and_counts_boots),
        IDENTITY_TEST(test_identity_new_directory_another_incarnation),
        IDENTITY_TEST(test_identity_founded_once_and_kept),
        IDENTITY_TEST(test_identity_found_fails_leaves_none),
        IDENTITY_TEST(test_identity_leftovers_of_a_crash_are_harmless),
        IDENTITY_TEST(test_identity_second_open_is_refused_with_pid),
        IDENTITY_TEST(test_identity_lock_ends_with_its_process),
        IDENTITY_TEST(test_identity_lock_without_pid),
        IDENTITY_TEST(test_identity_not_a_directory),
        IDENTITY_TEST(test_identity_missing_parent),
        IDENTITY_TEST(test_identity_foreign_files_are_refused_untouched),
        IDENTITY_TEST(test_identity_lost_identity_is_refused),
        IDENTITY_TEST(test_identity_not_writable_or_readable),
        IDENTITY_TEST(test_identity_truncated_at_each_byte_is_refused),
        IDENTITY_TEST(test_identity_each_byte_flipped_is_refused),
        IDENTITY_TEST(test_identity_sound_envelope_bad_content),
        IDENTITY_TEST(test_identity_not_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
