// SPDX-License-Identifier: Apache-2.0
// RocksDB on a disk that is full and gets room again: what it refuses, what it still reads, that it
// comes back without anybody's help, and that nothing of before is lost. The disk is a small tmpfs
// in a mount namespace of this process, which takes it along when it ends; only root can have one.
// RocksDB looks for room every five seconds of real time, and so this test waits for it.
#include "dataplane/base/mem.h"
#include "storage/engine/rocksdb_engine.h"
#include "tests/unit/dataplane/base/death.h"
#include "tests/unit/storage/engine/scratch_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_SIZE = 600, VALUE_SIZE = 90000, WRITES_MAX = 1000, WAIT_ROUNDS = 600, MIB = 1 << 20 };

struct fixture {
    struct scratch_dir dir;
    char store[PATH_SIZE];
    char ballast[PATH_SIZE];
    struct engine *engine;
    uint8_t value[VALUE_SIZE];
};

// Before RocksDB has threads: they stay in the namespace in which they were made.
static bool leave_namespace(void) {
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static bool is_alone;

static bool mount_small_disk(const char *path) {
    return is_alone && mount("tmpfs", path, "tmpfs", 0, "size=24m") == 0;
}

static int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof(*f));
    scratch_dir_init(&f->dir);
    scratch_dir_join(&f->dir, "store", f->store, sizeof(f->store));
    scratch_dir_join(&f->dir, "ballast", f->ballast, sizeof(f->ballast));
    // Bytes that do not compress.
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < sizeof(f->value); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        f->value[i] = (uint8_t)x;
    }
    if (!mount_small_disk(f->dir.path)) {
        (void)fprintf(stderr, "!!!! NOT TESTED: no tmpfs can be mounted here: %s\n",
                      strerror(errno));
        scratch_dir_deinit(&f->dir);
        mem_free(f);
        f = NULL;
    }
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    if (f == NULL) { return 0; }
    if (f->engine != NULL) { engine_close(f->engine); }
    assert_int_equal(umount2(f->dir.path, MNT_DETACH), 0);
    scratch_dir_deinit(&f->dir);
    mem_free(f);
    return 0;
}

static void open_store(struct fixture *f, enum rocksdb_engine_use use) {
    const struct rocksdb_engine_options options = {.use = use,
                                                   .path = f->store,
                                                   .create_if_missing = true,
                                                   .cache_size = MIB,
                                                   .write_buffer_size = MIB};
    struct err err = {0};
    if (rocksdb_engine_open(&options, &f->engine, &err) != STATUS_OK) {
        fail_msg("%s", err.message);
    }
}

static void put_ballast(struct fixture *f, int mebibytes) {
    uint8_t *block = mem_alloc(MIB);
    FILE *file = fopen(f->ballast, "w");
    assert_non_null(file);
    for (int i = 0; i < mebibytes; i++) {
        assert_int_equal(fwrite(block, 1, MIB, file), MIB);
    }
    assert_int_equal(fclose(file), 0);
    mem_free(block);
}

static enum status put(struct fixture *f, int i, bool sync) {
    char key[16];
    struct engine_batch *batch = engine_batch_create(f->engine);
    (void)snprintf(key, sizeof(key), "k%06d", i);
    engine_put(batch, ENGINE_VERSION, slice_from_string(key),
               slice_make(f->value, sizeof(f->value)));
    const enum status st = engine_write(f->engine, batch, sync);
    engine_batch_destroy(batch);
    return st;
}

static void assert_all_there(struct fixture *f, int count) {
    struct buf out;
    buf_init(&out, MIB);
    for (int i = 0; i < count; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%06d", i);
        assert_int_equal(engine_get(f->engine, ENGINE_VERSION, slice_from_string(key), &out),
                         STATUS_OK);
        assert_true(slice_equal(buf_slice(&out), slice_make(f->value, sizeof(f->value))));
    }
    buf_deinit(&out);
}

// Goal: `data` refuses with NO_SPACE, keeps and serves what it took, and takes more as soon as
// there is room, without being opened anew.
static void test_rocksdb_data_comes_back_when_there_is_room(void **state) {
    struct fixture *f = *state;
    if (f == NULL) { skip(); }
    struct engine_pressure pressure;
    open_store(f, ROCKSDB_ENGINE_DATA);
    put_ballast(f, 16);
    int taken = 0;
    enum status st = STATUS_OK;
    while (taken < WRITES_MAX && st == STATUS_OK) {
        st = put(f, taken, false);
        taken += st == STATUS_OK;
    }
    assert_int_equal(st, STATUS_NO_SPACE);
    assert_true(taken > 10);
    assert_int_equal(engine_flush(f->engine), STATUS_NO_SPACE);
    assert_int_equal(put(f, taken, false), STATUS_NO_SPACE);
    engine_pressure(f->engine, &pressure);
    assert_true(pressure.disk_free_size < 2 * MIB);
    assert_true(pressure.background_errors > 0);
    assert_all_there(f, taken);
    assert_int_equal(unlink(f->ballast), 0);
    for (int i = 0; i < WAIT_ROUNDS && put(f, taken, false) != STATUS_OK; i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    assert_int_equal(put(f, taken, false), STATUS_OK);
    assert_int_equal(engine_flush(f->engine), STATUS_OK);
    assert_all_there(f, taken + 1);
    engine_close(f->engine);
    open_store(f, ROCKSDB_ENGINE_DATA);
    assert_all_there(f, taken + 1);
}

static void fill_log(void *ctx) {
    struct fixture *f = ctx;
    open_store(f, ROCKSDB_ENGINE_LOG);
    for (int i = 0; i < WRITES_MAX; i++) {
        if (put(f, i, true) != STATUS_OK) { return; }
    }
}

// Goal: a synced write to `log` that finds no room stops the process: part of a group may be on the
// disk. What was synced before is there when there is room again, and not before.
static void test_rocksdb_full_log_stops_the_process(void **state) {
    struct fixture *f = *state;
    if (f == NULL) { skip(); }
    put_ballast(f, 16);
    assert_true(death_by_fatal(fill_log, f));
    assert_int_equal(unlink(f->ballast), 0);
    open_store(f, ROCKSDB_ENGINE_LOG);
    assert_all_there(f, 20);
    assert_int_equal(put(f, 2000, true), STATUS_OK);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    is_alone = leave_namespace();
    const struct CMUnitTest tests[] = {
        // First: it forks, which wants a process without threads.
        TEST(test_rocksdb_full_log_stops_the_process),
        TEST(test_rocksdb_data_comes_back_when_there_is_room),
    };
    return cmocka_run_group_tests_name("rocksdb_full_disk", tests, NULL, NULL);
}
