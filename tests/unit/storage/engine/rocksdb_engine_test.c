// SPDX-License-Identifier: Apache-2.0
// RocksDB behind engine.h: conforms in both uses, refuses what is not a store of ours, and tells
// damage from a torn end. Crashes are copies of the directory taken while the store is open: what a
// killed process leaves, in the page cache.
#include "storage/engine/rocksdb_engine.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "storage/engine/rocksdb_internal.h"
#include "tests/unit/storage/engine/engine_conformance.h"
#include "tests/unit/storage/engine/scratch_dir.h"

#include <rocksdb/c.h>

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_SIZE = sizeof(((struct scratch_dir *)0)->path), GROUPS = 200 };

struct fixture {
    struct scratch_dir dir;
    char path[PATH_SIZE];   // of the store
    char crash[PATH_SIZE];  // of its copy
    struct err err;
};

static int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof(*f));
    scratch_dir_init(&f->dir);
    scratch_dir_join(&f->dir, "store", f->path, sizeof(f->path));
    scratch_dir_join(&f->dir, "crash", f->crash, sizeof(f->crash));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    scratch_dir_deinit(&f->dir);
    mem_free(f);
    return 0;
}

static enum status try_open(struct fixture *f, const char *path, enum rocksdb_engine_use use,
                            bool create, struct engine **out) {
    const struct rocksdb_engine_options options = {
        .use = use,
        .path = path,
        .create_if_missing = create,
        .cache_size = 1 << 20,
        .write_buffer_size = 1 << 20,
    };
    f->err = (struct err){0};
    return rocksdb_engine_open(&options, out, &f->err);
}

static struct engine *must_open(struct fixture *f, const char *path, enum rocksdb_engine_use use) {
    struct engine *engine = NULL;
    const enum status st = try_open(f, path, use, true, &engine);
    if (st != STATUS_OK) { fail_msg("%s", f->err.message); }
    return engine;
}

static void assert_refused(struct fixture *f, const char *path, enum rocksdb_engine_use use,
                           enum status expected) {
    struct engine *engine = NULL;
    const enum status st = try_open(f, path, use, true, &engine);
    if (st == STATUS_OK) { engine_close(engine); }
    assert_int_equal(st, expected);
    assert_int_equal(f->err.status, expected);
    assert_non_null(strstr(f->err.message, path));
}

// The state that a kill -9 at this instant leaves, in f->crash.
static void crash_copy(struct fixture *f) {
    scratch_dir_copy(f->path, f->crash);
}

static void clear_crash(struct fixture *f) {
    scratch_dir_remove(f->crash);
}

static struct slice key_of(int i, char out[16]) {
    (void)snprintf(out, 16, "k%05d", i);
    return slice_make(out, 6);
}

// One batch a key, k0 first.
static void write_keys(struct engine *engine, int from, int to, bool sync) {
    struct engine_batch *batch = engine_batch_create(engine);
    char key[16];
    static const uint8_t value[100] = {1};
    for (int i = from; i < to; i++) {
        engine_batch_clear(batch);
        engine_put(batch, ENGINE_LOG, key_of(i, key), slice_make(value, sizeof(value)));
        assert_int_equal(engine_write(engine, batch, sync), STATUS_OK);
    }
    engine_batch_destroy(batch);
}

// How many of the keys k0, k1, ... there are; none may follow a missing one.
static int count_prefix(struct engine *engine) {
    struct engine_cursor *c = engine_cursor_create(engine, ENGINE_LOG);
    char key[16];
    int n = 0;
    for (engine_cursor_seek(c, SLICE_EMPTY); engine_cursor_valid(c); engine_cursor_next(c)) {
        assert_true(slice_equal(engine_cursor_key(c), key_of(n, key)));
        n++;
    }
    assert_int_equal(engine_cursor_status(c), STATUS_OK);
    engine_cursor_destroy(c);
    return n;
}

// --- What survives ---

static void test_rocksdb_log_synced_batches_survive_a_crash(void **state) {
    struct fixture *f = *state;
    struct engine *engine = must_open(f, f->path, ROCKSDB_ENGINE_LOG);
    write_keys(engine, 0, GROUPS, true);
    crash_copy(f);
    engine_close(engine);
    engine = must_open(f, f->crash, ROCKSDB_ENGINE_LOG);
    assert_int_equal(count_prefix(engine), GROUPS);
    engine_close(engine);
}

// Without a WAL the store is at its last flush; what came after is for the log to replay.
static void test_rocksdb_data_is_at_its_last_flush_after_a_crash(void **state) {
    struct fixture *f = *state;
    struct engine *engine = must_open(f, f->path, ROCKSDB_ENGINE_DATA);
    write_keys(engine, 0, 10, false);
    assert_int_equal(engine_flush(engine), STATUS_OK);
    write_keys(engine, 10, 20, false);
    crash_copy(f);
    engine_close(engine);
    engine = must_open(f, f->crash, ROCKSDB_ENGINE_DATA);
    assert_int_equal(count_prefix(engine), 10);
    engine_close(engine);
    engine = must_open(f, f->path, ROCKSDB_ENGINE_DATA);
    assert_int_equal(count_prefix(engine), 20);  // a clean close flushes
    engine_close(engine);
}

static void test_rocksdb_data_sync_write_survives_a_crash(void **state) {
    struct fixture *f = *state;
    struct engine *engine = must_open(f, f->path, ROCKSDB_ENGINE_DATA);
    write_keys(engine, 0, 3, false);
    write_keys(engine, 3, 4, true);
    crash_copy(f);
    engine_close(engine);
    engine = must_open(f, f->crash, ROCKSDB_ENGINE_DATA);
    assert_int_equal(count_prefix(engine), 4);
    engine_close(engine);
}

// A WAL cut anywhere opens with a prefix of the batches: whole ones, in order.
static void test_rocksdb_log_torn_end_is_cut_off(void **state) {
    struct fixture *f = *state;
    struct engine *engine = must_open(f, f->path, ROCKSDB_ENGINE_LOG);
    write_keys(engine, 0, GROUPS, true);
    int previous = -1;
    for (size_t step = 0; step <= 12; step++) {
        char wal[PATH_SIZE + 300];
        crash_copy(f);
        scratch_dir_find(f->crash, ".log", wal, sizeof(wal));
        // 37 bytes a step from the end first, so that cuts fall inside a record; then halves.
        const size_t size = scratch_file_size(wal);
        const size_t cut = step <= 6 ? 37 * (6 - step) : 0;
        scratch_file_cut(wal, step <= 6 ? size - cut : size >> (step - 6));
        struct engine *torn = must_open(f, f->crash, ROCKSDB_ENGINE_LOG);
        const int n = count_prefix(torn);
        engine_close(torn);
        clear_crash(f);
        if (step <= 6) {
            assert_in_range(n, GROUPS - 3, GROUPS);
            assert_true(n >= previous);
        } else {
            assert_true(n <= previous && n > 0);
        }
        previous = n;
    }
    engine_close(engine);
}

// A flipped byte before the end is damage, never the end (PAR, FAST 2018): acknowledged batches
// follow it.
static void test_rocksdb_log_damage_in_the_middle_is_corrupt(void **state) {
    struct fixture *f = *state;
    struct engine *engine = must_open(f, f->path, ROCKSDB_ENGINE_LOG);
    write_keys(engine, 0, GROUPS, true);
    for (size_t part = 1; part < 16; part++) {
        char wal[PATH_SIZE + 300];
        crash_copy(f);
        scratch_dir_find(f->crash, ".log", wal, sizeof(wal));
        scratch_file_flip(wal, scratch_file_size(wal) * part / 16);
        assert_refused(f, f->crash, ROCKSDB_ENGINE_LOG, STATUS_CORRUPT);
        clear_crash(f);
    }
    engine_close(engine);
}

static void test_rocksdb_missing_table_file_is_corrupt(void **state) {
    struct fixture *f = *state;
    char sst[PATH_SIZE + 300];
    struct engine *engine = must_open(f, f->path, ROCKSDB_ENGINE_DATA);
    write_keys(engine, 0, GROUPS, true);
    engine_close(engine);
    scratch_dir_find(f->path, ".sst", sst, sizeof(sst));
    assert_int_equal(unlink(sst), 0);
    assert_refused(f, f->path, ROCKSDB_ENGINE_DATA, STATUS_CORRUPT);
}

// Reading a damaged block gives an error, by get and by cursor, and says so again the next time.
static void test_rocksdb_damaged_block_is_corrupt(void **state) {
    struct fixture *f = *state;
    char sst[PATH_SIZE + 300];
    struct engine *engine = must_open(f, f->path, ROCKSDB_ENGINE_DATA);
    write_keys(engine, 0, GROUPS, false);
    engine_close(engine);
    crash_copy(f);
    scratch_dir_find(f->crash, ".sst", sst, sizeof(sst));
    scratch_file_flip(sst, 20);  // the file begins with its first data block
    engine = must_open(f, f->crash, ROCKSDB_ENGINE_DATA);
    struct engine_cursor *c = engine_cursor_create(engine, ENGINE_LOG);
    engine_cursor_seek(c, SLICE_EMPTY);
    while (engine_cursor_valid(c)) {
        engine_cursor_next(c);
    }
    assert_int_equal(engine_cursor_status(c), STATUS_CORRUPT);
    engine_cursor_destroy(c);
    engine_close(engine);
}

// --- What may be opened ---

static void test_rocksdb_missing_store_is_not_found(void **state) {
    struct fixture *f = *state;
    struct engine *engine = NULL;
    assert_int_equal(try_open(f, f->path, ROCKSDB_ENGINE_LOG, false, &engine), STATUS_NOT_FOUND);
    assert_non_null(strstr(f->err.message, f->path));
    struct stat st;
    assert_int_not_equal(stat(f->path, &st), 0);  // nothing was made
}

static void test_rocksdb_second_opener_is_refused(void **state) {
    struct fixture *f = *state;
    struct engine *engine = must_open(f, f->path, ROCKSDB_ENGINE_DATA);
    assert_refused(f, f->path, ROCKSDB_ENGINE_DATA, STATUS_IO);
    assert_non_null(strstr(f->err.message, "lock"));
    write_keys(engine, 0, 1, true);
    engine_close(engine);
}

static void write_file(const char *dir, const char *name, const char *text) {
    char path[PATH_SIZE + 300];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static void test_rocksdb_foreign_directory_is_refused_untouched(void **state) {
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->path, 0700), 0);
    write_file(f->path, "photos.db", "mine");
    assert_refused(f, f->path, ROCKSDB_ENGINE_DATA, STATUS_FAILED_PRECONDITION);
    char found[PATH_SIZE + 300];
    scratch_dir_find(f->path, "", found, sizeof(found));
    assert_non_null(strstr(found, "photos.db"));
    assert_int_equal(scratch_file_size(found), 4);
}

static void test_rocksdb_path_that_is_a_file_is_refused(void **state) {
    struct fixture *f = *state;
    write_file(f->dir.path, "store", "a file");
    assert_refused(f, f->path, ROCKSDB_ENGINE_DATA, STATUS_IO);
}

static void test_rocksdb_missing_parent_is_refused(void **state) {
    struct fixture *f = *state;
    char path[PATH_SIZE];
    scratch_dir_join(&f->dir, "no/store", path, sizeof(path));
    assert_refused(f, path, ROCKSDB_ENGINE_DATA, STATUS_IO);
}

// A store that lost CURRENT would be replaced by an empty one if RocksDB had its way.
static void test_rocksdb_lost_current_is_refused(void **state) {
    struct fixture *f = *state;
    char current[PATH_SIZE + 300];
    struct engine *engine = must_open(f, f->path, ROCKSDB_ENGINE_LOG);
    write_keys(engine, 0, 3, true);
    engine_close(engine);
    (void)snprintf(current, sizeof(current), "%s/CURRENT", f->path);
    assert_int_equal(unlink(current), 0);
    assert_refused(f, f->path, ROCKSDB_ENGINE_LOG, STATUS_FAILED_PRECONDITION);
}

static void test_rocksdb_damaged_current_is_corrupt(void **state) {
    struct fixture *f = *state;
    engine_close(must_open(f, f->path, ROCKSDB_ENGINE_LOG));
    static const char *const contents[] = {"", "MANIFEST-999999\n", "nonsense", "\n"};
    for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
        write_file(f->path, "CURRENT", contents[i]);
        struct engine *engine = NULL;
        const enum status st = try_open(f, f->path, ROCKSDB_ENGINE_LOG, true, &engine);
        assert_true(st == STATUS_CORRUPT || st == STATUS_IO);
        assert_int_equal(f->err.status, st);
        assert_non_null(strstr(f->err.message, f->path));
    }
}

static void test_rocksdb_store_of_another_use_is_refused(void **state) {
    struct fixture *f = *state;
    engine_close(must_open(f, f->path, ROCKSDB_ENGINE_LOG));
    assert_refused(f, f->path, ROCKSDB_ENGINE_DATA, STATUS_FAILED_PRECONDITION);
    engine_close(must_open(f, f->path, ROCKSDB_ENGINE_LOG));
}

static void test_rocksdb_store_of_another_program_is_refused(void **state) {
    struct fixture *f = *state;
    char *error = NULL;
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_t *db = rocksdb_open(options, f->path, &error);
    assert_null(error);
    rocksdb_writeoptions_t *write_options = rocksdb_writeoptions_create();
    rocksdb_put(db, write_options, "k", 1, "v", 1, &error);
    assert_null(error);
    rocksdb_close(db);
    rocksdb_writeoptions_destroy(write_options);
    rocksdb_options_destroy(options);
    assert_refused(f, f->path, ROCKSDB_ENGINE_DATA, STATUS_FAILED_PRECONDITION);
}

// A creation that crashed before the format record is finished by the next open.
static void test_rocksdb_half_created_store_is_finished(void **state) {
    struct fixture *f = *state;
    char *error = NULL;
    assert_int_equal(mkdir(f->path, 0700), 0);
    write_file(f->path, "MANIFEST-000001", "torn");
    write_file(f->path, "LOCK", "");
    engine_close(must_open(f, f->path, ROCKSDB_ENGINE_DATA));
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_t *db = rocksdb_open(options, f->crash, &error);
    assert_null(error);
    rocksdb_close(db);
    rocksdb_options_destroy(options);
    engine_close(must_open(f, f->crash, ROCKSDB_ENGINE_LOG));
    assert_refused(f, f->crash, ROCKSDB_ENGINE_DATA, STATUS_FAILED_PRECONDITION);
}

// --- Translation of errors ---

static void test_rocksdb_error_texts_become_statuses(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum status status;
    } cases[] = {
        {"NotFound: ", STATUS_NOT_FOUND},
        {"Corruption: block checksum mismatch", STATUS_CORRUPT},
        {"IO error: No space left on device: While appending to file", STATUS_NO_SPACE},
        {"IO error: While appending to file: x: No space left on device", STATUS_NO_SPACE},
        {"IO error: While fdatasync: Input/output error", STATUS_IO},
        {"Invalid argument: x", STATUS_INVALID_ARGUMENT},
        {"Not implemented: x", STATUS_NOT_SUPPORTED},
        {"Something new", STATUS_IO},
    };
    assert_int_equal(rocksdb_engine__status(NULL, NULL, "x"), STATUS_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};
        assert_int_equal(rocksdb_engine__status(strdup(cases[i].text), &err, "here"),
                         cases[i].status);
        assert_non_null(strstr(err.message, "here"));
    }
}

// --- Conformance ---

struct provider_ctx {
    struct fixture *fixture;
    enum rocksdb_engine_use use;
};

static struct engine *provider_open(void *ctx) {
    struct provider_ctx *p = ctx;
    (void)setup((void **)&p->fixture);
    return must_open(p->fixture, p->fixture->path, p->use);
}

static void provider_dispose(void *ctx, struct engine *engine) {
    struct provider_ctx *p = ctx;
    engine_close(engine);
    (void)teardown((void **)&p->fixture);
}

// --- What a lookup costs ---

enum { MANY_KEYS = 700000, MANY_BATCH = 1000, LOOKUPS = 500 };

static struct slice id_of(uint64_t i, uint64_t out[2]) {
    out[0] = i * UINT64_C(0x9e3779b97f4a7c15);
    out[1] = i;
    return slice_make(out, 2 * sizeof(out[0]));
}

static uint64_t bytes_read_by_lookups(struct engine *engine, rocksdb_perfcontext_t *perf) {
    uint64_t id[2];
    struct buf value;
    buf_init(&value, 64);
    rocksdb_perfcontext_reset(perf);
    for (uint64_t i = 0; i < LOOKUPS; i++) {
        const struct slice absent = id_of(2 * i * MANY_KEYS / LOOKUPS + 1, id);
        assert_int_equal(engine_get(engine, ENGINE_LOCAL, absent, &value), STATUS_NOT_FOUND);
    }
    buf_deinit(&value);
    return rocksdb_perfcontext_metric(perf, rocksdb_block_read_byte);
}

// The filter of one large file (0.9 MB) beside a cache of 8 MiB: asking for what is not there reads
// a part of the filter once, not all of it each time. Found by a load whose throughput fell to a
// seventh within two minutes.
static void test_rocksdb_lookups_of_what_is_not_there_read_nothing(void **state) {
    struct fixture *f = *state;
    const struct rocksdb_engine_options options = {.use = ROCKSDB_ENGINE_DATA,
                                                   .path = f->path,
                                                   .create_if_missing = true,
                                                   .cache_size = 8 << 20,
                                                   .write_buffer_size = 256 << 20};
    struct engine *engine = NULL;
    assert_int_equal(rocksdb_engine_open(&options, &engine, &f->err), STATUS_OK);
    struct engine_batch *batch = engine_batch_create(engine);
    uint64_t id[2];
    for (uint64_t i = 0; i < MANY_KEYS; i++) {
        engine_put(batch, ENGINE_LOCAL, id_of(2 * i, id), SLICE_LITERAL("v"));
        if ((i + 1) % MANY_BATCH != 0) { continue; }
        assert_int_equal(engine_write(engine, batch, false), STATUS_OK);
        engine_batch_clear(batch);
        // Two files that overlap: one alone would be moved as it is, with its filter pinned.
        if ((i + 1) % (MANY_KEYS / 2) == 0) { assert_int_equal(engine_flush(engine), STATUS_OK); }
    }
    engine_batch_destroy(batch);
    rocksdb_compact_range(((struct rocksdb_engine *)engine)->db, NULL, 0, NULL, 0);
    enum { COUNTS = 2 };  // rocksdb's level of what is measured: counts without times
    rocksdb_set_perf_level(COUNTS);
    rocksdb_perfcontext_t *perf = rocksdb_perfcontext_create();
    (void)bytes_read_by_lookups(engine, perf);
    assert_true(bytes_read_by_lookups(engine, perf) < 1 << 20);
    rocksdb_perfcontext_destroy(perf);
    engine_close(engine);
}

static struct engine *provider_reopen(void *ctx, struct engine *engine) {
    struct provider_ctx *p = ctx;
    engine_close(engine);
    return must_open(p->fixture, p->fixture->path, p->use);
}

static int conformance(const char *name, enum rocksdb_engine_use use) {
    struct provider_ctx ctx = {NULL, use};
    struct engine_provider provider = {&ctx, provider_open, provider_dispose, provider_reopen};
    return engine_conformance_run(name, &provider);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_rocksdb_log_synced_batches_survive_a_crash),
        TEST(test_rocksdb_data_is_at_its_last_flush_after_a_crash),
        TEST(test_rocksdb_data_sync_write_survives_a_crash),
        TEST(test_rocksdb_log_torn_end_is_cut_off),
        TEST(test_rocksdb_log_damage_in_the_middle_is_corrupt),
        TEST(test_rocksdb_missing_table_file_is_corrupt),
        TEST(test_rocksdb_damaged_block_is_corrupt),
        TEST(test_rocksdb_missing_store_is_not_found),
        TEST(test_rocksdb_second_opener_is_refused),
        TEST(test_rocksdb_foreign_directory_is_refused_untouched),
        TEST(test_rocksdb_path_that_is_a_file_is_refused),
        TEST(test_rocksdb_missing_parent_is_refused),
        TEST(test_rocksdb_lost_current_is_refused),
        TEST(test_rocksdb_damaged_current_is_corrupt),
        TEST(test_rocksdb_store_of_another_use_is_refused),
        TEST(test_rocksdb_store_of_another_program_is_refused),
        TEST(test_rocksdb_half_created_store_is_finished),
        TEST(test_rocksdb_error_texts_become_statuses),
        TEST(test_rocksdb_lookups_of_what_is_not_there_read_nothing),
    };
    int failed = cmocka_run_group_tests_name("rocksdb_engine", tests, NULL, NULL);
    failed += conformance("rocksdb_data_conformance", ROCKSDB_ENGINE_DATA);
    failed += conformance("rocksdb_log_conformance", ROCKSDB_ENGINE_LOG);
    return failed;
}
