// SPDX-License-Identifier: Apache-2.0
// Damage to the files that RocksDB recovers from: no flipped byte, no lost sector of a WAL or a
// MANIFEST may cost a synced batch in silence, and no torn end may keep a store from opening.
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "storage/engine/rocksdb_engine.h"
#include "storage/engine/rocksdb_internal.h"
#include "tests/unit/storage/engine/scratch_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { PATH_SIZE = sizeof(((struct scratch_dir *)0)->path), BLOCK = 32 << 10, HEADER = 7 };

struct fixture {
    struct scratch_dir dir;
    char sound[PATH_SIZE];    // a crashed store, as it was
    char damaged[PATH_SIZE];  // a copy
    char file[PATH_SIZE + 300];
    int batches;
    uint8_t *bytes;  // of the file
    size_t size;
    struct err err;
};

static int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof(*f));
    scratch_dir_init(&f->dir);
    scratch_dir_join(&f->dir, "sound", f->sound, sizeof(f->sound));
    scratch_dir_join(&f->dir, "damaged", f->damaged, sizeof(f->damaged));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    scratch_dir_deinit(&f->dir);
    mem_free(f->bytes);
    mem_free(f);
    return 0;
}

static enum status open_at(struct fixture *f, const char *path, enum rocksdb_engine_use use,
                           struct engine **out) {
    const struct rocksdb_engine_options options = {
        .use = use, .path = path, .create_if_missing = true, .cache_size = 1 << 20};
    f->err = (struct err){0};
    return rocksdb_engine_open(&options, out, &f->err);
}

static size_t value_size(int i, size_t largest) {
    return 20 + (size_t)i * 577 % largest;
}

// Synced batches k0, k1, ... of different sizes, then a crash.
static void make_store(struct fixture *f, int batches, size_t largest) {
    char path[PATH_SIZE];
    char key[16];
    struct engine *engine = NULL;
    uint8_t *value = mem_alloc(largest + 20);
    scratch_dir_join(&f->dir, "store", path, sizeof(path));
    memset(value, 'v', largest + 20);
    assert_int_equal(open_at(f, path, ROCKSDB_ENGINE_LOG, &engine), STATUS_OK);
    struct engine_batch *batch = engine_batch_create(engine);
    for (int i = 0; i < batches; i++) {
        engine_batch_clear(batch);
        (void)snprintf(key, sizeof(key), "k%05d", i);
        engine_put(batch, ENGINE_LOG, slice_from_string(key),
                   slice_make(value, value_size(i, largest)));
        assert_int_equal(engine_write(engine, batch, true), STATUS_OK);
    }
    engine_batch_destroy(batch);
    scratch_dir_copy(path, f->sound);
    engine_close(engine);
    mem_free(value);
    f->batches = batches;
}

// The file whose name ends so, to be damaged in a copy of the store.
static void take_file(struct fixture *f, const char *suffix) {
    scratch_dir_copy(f->sound, f->damaged);
    scratch_dir_find(f->damaged, suffix, f->file, sizeof(f->file));
    f->size = scratch_file_size(f->file);
    f->bytes = mem_realloc(f->bytes, f->size);
    scratch_file_read(f->file, 0, f->bytes, f->size);
}

// Whole batches from the first on; -1 when the store refuses to open or to be read.
static int count_batches(struct fixture *f, const char *path) {
    struct engine *engine = NULL;
    const enum status st = open_at(f, path, ROCKSDB_ENGINE_LOG, &engine);
    if (st != STATUS_OK) {
        assert_true(st == STATUS_CORRUPT || st == STATUS_IO || st == STATUS_FAILED_PRECONDITION);
        assert_non_null(strstr(f->err.message, path));
        return -1;
    }
    struct engine_cursor *c = engine_cursor_create(engine, ENGINE_LOG);
    char key[16];
    int n = 0;
    for (engine_cursor_seek(c, SLICE_EMPTY); engine_cursor_valid(c); engine_cursor_next(c)) {
        (void)snprintf(key, sizeof(key), "k%05d", n++);
        assert_true(slice_equal(engine_cursor_key(c), slice_from_string(key)));
    }
    const enum status end = engine_cursor_status(c);
    engine_cursor_destroy(c);
    engine_close(engine);
    return end == STATUS_OK ? n : -1;
}

// The copy as it is: our walk finds the damage, or RocksDB does, or nothing is lost.
static bool walk_refuses(struct fixture *f) {
    f->err = (struct err){0};
    const enum status st = rocksdb_engine__check_logs(f->damaged, &f->err);
    if (st == STATUS_OK) { return false; }
    assert_int_equal(st, STATUS_CORRUPT);
    assert_non_null(strstr(f->err.message, f->file));
    return true;
}

static void assert_nothing_lost(struct fixture *f, size_t at) {
    if (walk_refuses(f)) { return; }
    // On a copy of its own: what opens is changed by opening.
    char path[PATH_SIZE];
    scratch_dir_join(&f->dir, "opened", path, sizeof(path));
    scratch_dir_copy(f->damaged, path);
    const int n = count_batches(f, path);
    if (n >= 0 && n < f->batches) { fail_msg("byte %zu: %d batches are left", at, n); }
    scratch_dir_remove(path);
}

// Offsets of the headers in the file, by following the lengths.
static bool is_header(const struct fixture *f, size_t wanted) {
    for (size_t at = 0; at + HEADER <= f->size;) {
        const size_t left = BLOCK - at % BLOCK;
        if (left < HEADER) {
            at += left;
            continue;
        }
        if (wanted >= at && wanted < at + HEADER) { return true; }
        at += HEADER + (size_t)f->bytes[at + 4] + ((size_t)f->bytes[at + 5] << 8);
    }
    return false;
}

static void flip_all(struct fixture *f, size_t stride) {
    static const uint8_t masks[] = {0x40, 0x01, 0xff};
    for (size_t at = 0; at < f->size; at++) {
        const bool header = is_header(f, at);
        if (!header && at % stride != 0) { continue; }
        for (size_t m = 0; m < (header ? sizeof(masks) : 1); m++) {
            const uint8_t flipped = f->bytes[at] ^ masks[m];
            scratch_file_write(f->file, at, &flipped, 1);
            assert_nothing_lost(f, at);
        }
        scratch_file_write(f->file, at, &f->bytes[at], 1);
    }
}

// Goal: any flipped byte of a WAL within one block, the length of each record among them.
static void test_rocksdb_wal_flipped_byte_loses_nothing(void **state) {
    struct fixture *f = *state;
    make_store(f, 30, 150);
    take_file(f, ".log");
    assert_true(f->size < BLOCK);
    flip_all(f, 5);
}

// Goal: the same in a WAL of several blocks, with records cut into fragments.
static void test_rocksdb_wal_flipped_byte_in_blocks_loses_nothing(void **state) {
    struct fixture *f = *state;
    make_store(f, 40, 3500);
    take_file(f, ".log");
    assert_true(f->size > 2 * BLOCK);
    flip_all(f, 1009);
}

// Goal: a length of one that was 256 larger, at the very end: complete under another length.
static void test_rocksdb_wal_flipped_last_length_is_refused(void **state) {
    struct fixture *f = *state;
    make_store(f, 3, 900);
    take_file(f, ".log");
    size_t last = 0;
    for (size_t at = 0; at + HEADER <= f->size;) {
        last = at;
        at += HEADER + (size_t)f->bytes[at + 4] + ((size_t)f->bytes[at + 5] << 8);
    }
    const uint8_t longer = (uint8_t)(f->bytes[last + 5] + 1);
    scratch_file_write(f->file, last + 5, &longer, 1);
    assert_true(walk_refuses(f));
    assert_int_equal(count_batches(f, f->damaged), -1);  // opening asks for the walk
}

// --- Files made by hand ---

// Appends a record of that payload, whole or cut.
static size_t put_record(uint8_t *at, uint8_t type, size_t length) {
    memset(at + HEADER, 'p', length);
    at[6] = type;
    uint32_t crc = crc32c_extend(0, slice_make(at + 6, 1 + length));
    crc = (crc >> 15 | crc << 17) + 0xa282ead8u;
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(crc >> (8 * i));
    }
    at[4] = (uint8_t)length;
    at[5] = (uint8_t)(length >> 8);
    return HEADER + length;
}

static enum status check_bytes(struct fixture *f, const uint8_t *bytes, size_t size) {
    (void)mkdir(f->damaged, 0700);
    (void)snprintf(f->file, sizeof(f->file), "%s/000007.log", f->damaged);
    FILE *file = fopen(f->file, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return rocksdb_engine__check_logs(f->damaged, &f->err);
}

// Goal: a block that ends with its last record, which is lost: the next block tells.
static void test_rocksdb_wal_lost_end_of_a_block_is_refused(void **state) {
    struct fixture *f = *state;
    uint8_t *bytes = mem_alloc(2 * BLOCK);
    size_t size = put_record(bytes, 1, 1000);
    const size_t last = size;
    size += put_record(bytes + size, 1, BLOCK - size - HEADER);
    assert_int_equal(size, BLOCK);
    size += put_record(bytes + size, 1, 10);
    assert_int_equal(check_bytes(f, bytes, size), STATUS_OK);
    memset(bytes + last, 0, BLOCK - last);
    assert_int_equal(check_bytes(f, bytes, size), STATUS_CORRUPT);
    // And when nothing whole comes behind it, it is an end.
    assert_int_equal(check_bytes(f, bytes, BLOCK), STATUS_OK);
    assert_int_equal(check_bytes(f, bytes, BLOCK + HEADER + 9), STATUS_OK);
    mem_free(bytes);
}

// Goal: padding of up to six bytes is no record, whatever stands in it, and a seventh is.
static void test_rocksdb_wal_padding_is_skipped(void **state) {
    struct fixture *f = *state;
    for (size_t padding = 0; padding < HEADER; padding++) {
        uint8_t *bytes = mem_alloc(2 * BLOCK);
        size_t size = put_record(bytes, 1, BLOCK - HEADER - padding);
        memset(bytes + size, 0xff, padding);
        size = BLOCK;
        size += put_record(bytes + size, 2, 500);
        assert_int_equal(check_bytes(f, bytes, size), STATUS_OK);
        assert_int_equal(check_bytes(f, bytes, size - 1), STATUS_OK);
        mem_free(bytes);
    }
}

// Goal: types that we never write are no records.
static void test_rocksdb_wal_unknown_type_is_no_record(void **state) {
    struct fixture *f = *state;
    uint8_t bytes[256];
    for (uint8_t type = 0; type < 10; type++) {
        const size_t first = put_record(bytes, type, 20);
        const size_t size = first + put_record(bytes + first, 1, 20);
        const bool known = type >= 1 && type <= 4;
        assert_int_equal(check_bytes(f, bytes, size), known ? STATUS_OK : STATUS_CORRUPT);
    }
}

// Goal: a sector of zeros anywhere, as a write that was lost leaves it.
static void test_rocksdb_wal_lost_sector_loses_nothing(void **state) {
    struct fixture *f = *state;
    static const uint8_t zeros[512];
    make_store(f, 60, 2000);
    take_file(f, ".log");
    // The last sector is where a torn end may be; the one before it holds synced records.
    for (size_t at = 0; at + 2 * sizeof(zeros) <= f->size; at += sizeof(zeros)) {
        scratch_file_write(f->file, at, zeros, sizeof(zeros));
        assert_nothing_lost(f, at);
        scratch_file_write(f->file, at, &f->bytes[at], sizeof(zeros));
    }
}

// Goal: an end torn at any byte opens, with whole batches from the first on; also with zeros, or
// bytes of no meaning, up to the end of the sector.
static void test_rocksdb_wal_torn_end_opens(void **state) {
    struct fixture *f = *state;
    char path[PATH_SIZE];
    scratch_dir_join(&f->dir, "opened", path, sizeof(path));
    make_store(f, 30, 3500);
    take_file(f, ".log");
    assert_true(f->size > BLOCK);
    int previous = f->batches;
    for (size_t cut = f->size; cut-- > 0;) {
        scratch_file_cut(f->file, cut);
        assert_false(walk_refuses(f));
        if (cut % 997 != 0) { continue; }
        scratch_dir_copy(f->damaged, path);
        const int n = count_batches(f, path);
        assert_in_range(n, 0, previous);
        assert_true(n >= 0);
        previous = n;
        scratch_dir_remove(path);
    }
    assert_int_equal(previous, 0);
}

static void test_rocksdb_wal_torn_end_with_zeros_opens(void **state) {
    struct fixture *f = *state;
    static const uint8_t zeros[512];
    make_store(f, 10, 900);
    take_file(f, ".log");
    // Inside the payload of the last record.
    for (size_t cut = f->size - 60; cut < f->size - 1; cut++) {
        scratch_file_cut(f->file, cut);
        assert_false(walk_refuses(f));
        scratch_file_write(f->file, cut, &f->bytes[cut], f->size - cut);
        scratch_file_cut(f->file, f->size);
    }
    scratch_file_write(f->file, f->size, zeros, sizeof(zeros));
    assert_false(walk_refuses(f));
    assert_int_equal(count_batches(f, f->damaged), f->batches);
}

// Goal: the MANIFEST, by which RocksDB knows its files: nothing is forgotten in silence.
static void test_rocksdb_manifest_flipped_byte_loses_nothing(void **state) {
    struct fixture *f = *state;
    struct engine *engine = NULL;
    make_store(f, 20, 300);
    // The last the MANIFEST tells is the table that took the WAL's place.
    assert_int_equal(open_at(f, f->sound, ROCKSDB_ENGINE_LOG, &engine), STATUS_OK);
    struct engine_batch *batch = engine_batch_create(engine);
    engine_put(batch, ENGINE_LOG, SLICE_LITERAL("k00020"), SLICE_LITERAL("last"));
    assert_int_equal(engine_write(engine, batch, true), STATUS_OK);
    engine_batch_destroy(batch);
    assert_int_equal(engine_flush(engine), STATUS_OK);
    engine_close(engine);
    f->batches = 21;
    take_file(f, "CURRENT");
    (void)snprintf(f->file, sizeof(f->file), "%s/%.*s", f->damaged, (int)f->size - 1, f->bytes);
    f->size = scratch_file_size(f->file);
    f->bytes = mem_realloc(f->bytes, f->size);
    scratch_file_read(f->file, 0, f->bytes, f->size);
    flip_all(f, 3);
    assert_int_equal(count_batches(f, f->damaged), f->batches);
}

// Goal: a flipped byte of a table is told at open or when it is read, or matters to nobody.
static void test_rocksdb_table_flipped_byte_loses_nothing(void **state) {
    struct fixture *f = *state;
    struct engine *engine = NULL;
    make_store(f, 60, 300);
    assert_int_equal(open_at(f, f->sound, ROCKSDB_ENGINE_LOG, &engine), STATUS_OK);
    assert_int_equal(engine_flush(engine), STATUS_OK);
    engine_close(engine);
    take_file(f, ".sst");
    for (size_t at = 0; at < f->size; at += 61) {
        scratch_file_flip(f->file, at);
        assert_nothing_lost(f, at);
        scratch_file_flip(f->file, at);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_rocksdb_wal_flipped_byte_loses_nothing),
        TEST(test_rocksdb_wal_flipped_byte_in_blocks_loses_nothing),
        TEST(test_rocksdb_wal_flipped_last_length_is_refused),
        TEST(test_rocksdb_wal_lost_end_of_a_block_is_refused),
        TEST(test_rocksdb_wal_padding_is_skipped),
        TEST(test_rocksdb_wal_unknown_type_is_no_record),
        TEST(test_rocksdb_wal_lost_sector_loses_nothing),
        TEST(test_rocksdb_wal_torn_end_opens),
        TEST(test_rocksdb_wal_torn_end_with_zeros_opens),
        TEST(test_rocksdb_manifest_flipped_byte_loses_nothing),
        TEST(test_rocksdb_table_flipped_byte_loses_nothing),
    };
    return cmocka_run_group_tests_name("rocksdb_wal", tests, NULL, NULL);
}
