// SPDX-License-Identifier: Apache-2.0
// Opening a store: what may be opened, and how RocksDB is tuned for each use.
//
// What may be opened. RocksDB with create_if_missing makes a new store in any directory without a
// CURRENT file, and then deletes the files it does not know: a damaged store would be replaced by
// an empty one without a word. So we create only in a directory that holds nothing but what a crash
// during an earlier creation leaves. A store is ours when it holds the format record, which names
// its use; a creation that crashed before that record is an empty store, and is finished.
//
// The end of the WAL (log use). Four recovery modes exist:
//   absolute consistency       refuses the torn record that each power cut may leave;
//   point in time              stops at the first bad record and opens: a flipped byte in the
//                              middle silently drops acknowledged groups behind it (PAR, FAST
//                              2018);
//   skip any corrupted         worse;
//   tolerate corrupted tail    cuts off an incomplete record at the end, and refuses a record that
//                              is complete but fails its checksum, wherever it stands.
// The last is ours. It errs on the safe side: when sectors of the last, never acknowledged record
// reach the disk out of order, the store is refused and the replicas are rebuilt from their peers.
// It excludes recycled WAL files (old records behind the end look like corruption).
// It is fooled by a flipped length in the last block, which looks like an incomplete record: we
// walk the files ourselves first (rocksdb_wal.c; docs/decisions/0006-damage-in-the-wal.md).
// track_and_verify_wals_in_manifest adds that no closed WAL may be missing or shorter than synced.
// LIMIT: when whole records vanish from the end of the newest WAL after they were synced, nothing
// here can know; only a disk that lies about fdatasync does that.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "storage/engine/rocksdb_engine.h"
#include "storage/engine/rocksdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CACHE_SIZE_DEFAULT = 8 << 20,
    WRITE_BUFFER_SIZE_DEFAULT = 64 << 20,
    CACHE_SHARD_SIZE_MIN = 8 << 20,
    CACHE_SHARD_BITS_MAX = 6,
    BLOCK_SIZE = 8 << 10,
    METADATA_BLOCK_SIZE = 16 << 10,
    BLOOM_BITS_PER_KEY = 10,  // one false positive in a hundred
    MEMTABLE_BLOOM_PERCENT = 5,
    BACKGROUND_JOBS = 2,
    INFO_LOG_LEVEL_WARN = 2,
    INFO_LOG_FILES = 4,
    INFO_LOG_SIZE = 4 << 20,
    DIRECTORY_MODE = 0750,
    FORMAT_VERSION = 1,
    FORMAT_SIZE = 8,
};

// Key of the format record: prefix byte 0, which no family has. Value: magic, version, use, zero.
static const char format_key[] = "\0format";
enum { FORMAT_KEY_SIZE = sizeof(format_key) - 1 };
static const uint8_t format_magic[5] = {'L', 'C', 'S', 'T', 'O'};

// --- The prefix of a key, for the bloom filters ---

static char *prefix_transform(void *state, const char *key, size_t size, size_t *out_size) {
    (void)state;
    const bool is_version = size > ENGINE_VERSION_SUFFIX_SIZE &&
                            (uint8_t)key[0] == rocksdb_engine__prefix(ENGINE_VERSION);
    *out_size = is_version ? size - ENGINE_VERSION_SUFFIX_SIZE : size;
    return (char *)key;  // RocksDB wants a view that is not const, and does not write
}

static unsigned char prefix_in_domain(void *state, const char *key, size_t size) {
    (void)state;
    (void)key;
    return size > 0;
}

static unsigned char prefix_in_range(void *state, const char *key, size_t size) {
    (void)state;
    (void)key;
    (void)size;
    return 0;  // never asked since RocksDB 4
}

static void prefix_destroy(void *state) {
    (void)state;
}

// Kept with each file: a file whose filter has another name is read without its filter.
static const char *prefix_name(void *state) {
    (void)state;
    return "lightcone.prefix.1";
}

// --- Options ---

// RocksDB would make 64 shards of any cache of 32 MiB and more. One loop and two workers do not
// wait for each other's locks that often, and a shard has to hold more than a few blocks.
static rocksdb_cache_t *make_cache(uint64_t size) {
    int bits = 0;
    while (bits < CACHE_SHARD_BITS_MAX && size >> (bits + 1) >= CACHE_SHARD_SIZE_MIN) {
        bits++;
    }
    rocksdb_lru_cache_options_t *options = rocksdb_lru_cache_options_create();
    rocksdb_lru_cache_options_set_capacity(options, size);
    rocksdb_lru_cache_options_set_num_shard_bits(options, bits);
    rocksdb_cache_t *cache = rocksdb_cache_create_lru_opts(options);
    rocksdb_lru_cache_options_destroy(options);
    return cache;
}

static rocksdb_block_based_table_options_t *table_options(const struct rocksdb_engine *self) {
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, self->cache);
    rocksdb_block_based_options_set_block_size(table, BLOCK_SIZE);
    rocksdb_block_based_options_set_format_version(table, 5);
    // Indexes and filters live in the cache, so that one budget bounds all memory. They come in
    // parts: the filter of a whole file can be larger than a shard of the cache, which then keeps
    // none, and each lookup reads and checks all of it again.
    rocksdb_block_based_options_set_index_type(
        table, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_metadata_block_size(table, METADATA_BLOCK_SIZE);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1);
    if (self->use == ROCKSDB_ENGINE_DATA) {
        rocksdb_block_based_options_set_filter_policy(
            table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS_PER_KEY));
        rocksdb_block_based_options_set_partition_filters(table, 1);
        // The prefix of every key but a version is the key itself, and nobody looks up a version by
        // its whole key: filters of prefixes alone serve all reads at half the size.
        rocksdb_block_based_options_set_whole_key_filtering(table, 0);
    }
    return table;
}

static void set_data_options(rocksdb_options_t *options) {
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(options, MEMTABLE_BLOOM_PERCENT / 100.0);
    rocksdb_options_set_memtable_whole_key_filtering(options, 0);
}

static void set_common_options(const struct rocksdb_engine *self, rocksdb_options_t *options) {
    rocksdb_options_set_paranoid_checks(options, 1);
    // A log has no filters, but its point cursors end where the prefix ends too.
    rocksdb_options_set_prefix_extractor(
        options, rocksdb_slicetransform_create(NULL, prefix_destroy, prefix_transform,
                                               prefix_in_domain, prefix_in_range, prefix_name));
    rocksdb_options_set_wal_recovery_mode(options,
                                          rocksdb_tolerate_corrupted_tail_records_recovery);
    rocksdb_options_set_use_fsync(options, 0);  // fdatasync: sizes are synced, times are not
    rocksdb_options_set_compaction_style(options, rocksdb_level_compaction);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    rocksdb_options_set_write_buffer_size(options, self->write_buffer_size);
    rocksdb_options_set_max_write_buffer_number(options, ROCKSDB_WRITE_BUFFERS_MAX);
    rocksdb_options_set_max_background_jobs(options, BACKGROUND_JOBS);
    rocksdb_options_set_bytes_per_sync(options, 1 << 20);
    rocksdb_options_set_info_log_level(options, INFO_LOG_LEVEL_WARN);
    rocksdb_options_set_keep_log_file_num(options, INFO_LOG_FILES);
    rocksdb_options_set_max_log_file_size(options, INFO_LOG_SIZE);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
}

static enum status make_options(struct rocksdb_engine *self, struct err *err) {
    // These have no setter of their own in the C API.
    static const char *const by_name = "track_and_verify_wals_in_manifest=true;"
                                       "verify_sst_unique_id_in_manifest=true";
    rocksdb_options_t *plain = rocksdb_options_create();
    self->options = rocksdb_options_create();
    char *error = NULL;
    rocksdb_get_options_from_string(plain, by_name, self->options, &error);
    rocksdb_options_destroy(plain);
    const enum status st = rocksdb_engine__status(error, err, "options");
    if (st != STATUS_OK) { return st; }
    set_common_options(self, self->options);
    if (self->use == ROCKSDB_ENGINE_DATA) { set_data_options(self->options); }
    rocksdb_block_based_table_options_t *table = table_options(self);
    rocksdb_options_set_block_based_table_factory(self->options, table);
    rocksdb_block_based_options_destroy(table);

    self->get_options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(self->get_options, 1);
    self->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(self->write_options, self->use == ROCKSDB_ENGINE_DATA);
    self->sync_options = rocksdb_writeoptions_create();
    if (self->use == ROCKSDB_ENGINE_LOG) { rocksdb_writeoptions_set_sync(self->sync_options, 1); }
    return STATUS_OK;
}

// --- The directory ---

enum directory_kind { DIRECTORY_MISSING, DIRECTORY_EMPTY, DIRECTORY_STORE, DIRECTORY_FOREIGN };

// What RocksDB makes before CURRENT when it creates a store, and what a file system puts there.
static bool name_is_harmless(const char *name) {
    static const char *const names[] = {".",        "..",         "LOCK",           "LOG",
                                        "IDENTITY", "lost+found", "MANIFEST-000001"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) { return true; }
    }
    const size_t size = strlen(name);
    return strncmp(name, "LOG.old.", 8) == 0 ||
           (size > 6 && strcmp(name + size - 6, ".dbtmp") == 0);
}

static enum status look_at_directory(const char *path, enum directory_kind *out_kind,
                                     struct err *err) {
    DIR *dir = opendir(path);
    if (dir == NULL && errno == ENOENT) {
        *out_kind = DIRECTORY_MISSING;
        return STATUS_OK;
    }
    if (dir == NULL) { return err_set(err, STATUS_IO, "%s: %s", path, strerror(errno)); }
    enum directory_kind kind = DIRECTORY_EMPTY;
    errno = 0;
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strcmp(e->d_name, "CURRENT") == 0) {
            kind = DIRECTORY_STORE;
            break;
        }
        if (!name_is_harmless(e->d_name)) { kind = DIRECTORY_FOREIGN; }
    }
    const int problem = errno;
    (void)closedir(dir);
    if (problem != 0) { return err_set(err, STATUS_IO, "%s: %s", path, strerror(problem)); }
    *out_kind = kind;
    return STATUS_OK;
}

// The entry of a new directory is durable only when its parent is synced (ALICE, OSDI 2014).
static enum status make_directory(const char *path, struct err *err) {
    if (mkdir(path, DIRECTORY_MODE) != 0 && errno != EEXIST) {
        return err_set(err, STATUS_IO, "%s: %s", path, strerror(errno));
    }
    char *parent = mem_alloc(strlen(path) + sizeof("/.."));
    (void)snprintf(parent, strlen(path) + sizeof("/.."), "%s/..", path);
    const int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mem_free(parent);
    if (fd < 0) { return err_set(err, STATUS_IO, "the parent of %s: %s", path, strerror(errno)); }
    if (fsync(fd) != 0) { FATAL("fsync of the parent of %s: %s", path, strerror(errno)); }
    (void)close(fd);
    return STATUS_OK;
}

static enum status check_directory(const struct rocksdb_engine_options *options, struct err *err) {
    enum directory_kind kind = DIRECTORY_MISSING;
    const enum status st = look_at_directory(options->path, &kind, err);
    if (st != STATUS_OK) { return st; }
    if (kind == DIRECTORY_STORE) { return rocksdb_engine__check_logs(options->path, err); }
    if (kind == DIRECTORY_FOREIGN) {
        return err_set(err, STATUS_FAILED_PRECONDITION,
                       "%s holds files but no CURRENT: a foreign directory, or a store that lost "
                       "it; nothing was changed",
                       options->path);
    }
    if (!options->create_if_missing) {
        return err_set(err, STATUS_NOT_FOUND, "%s holds no store", options->path);
    }
    return make_directory(options->path, err);
}

// --- The format record ---

static enum status check_format(const struct rocksdb_engine *self, const char *value, size_t size,
                                struct err *err) {
    uint8_t record[FORMAT_SIZE] = {0};
    if (size == FORMAT_SIZE) { memcpy(record, value, FORMAT_SIZE); }
    if (size != FORMAT_SIZE || memcmp(record, format_magic, sizeof(format_magic)) != 0) {
        return err_set(err, STATUS_CORRUPT, "%s: the format record is damaged", self->path);
    }
    if (record[5] > FORMAT_VERSION) {
        return err_set(err, STATUS_NOT_SUPPORTED, "%s: format %u is newer than this program",
                       self->path, record[5]);
    }
    if (record[6] != (uint8_t)self->use) {
        return err_set(err, STATUS_FAILED_PRECONDITION, "%s holds %s, not %s", self->path,
                       self->use == ROCKSDB_ENGINE_LOG ? "data" : "a log",
                       self->use == ROCKSDB_ENGINE_LOG ? "a log" : "data");
    }
    return STATUS_OK;
}

static bool is_empty(struct rocksdb_engine *self) {
    rocksdb_iterator_t *it = rocksdb_create_iterator(self->db, self->get_options);
    rocksdb_iter_seek_to_first(it);
    char *error = NULL;
    rocksdb_iter_get_error(it, &error);
    const bool empty = !rocksdb_iter_valid(it) && error == NULL;
    rocksdb_free(error);
    rocksdb_iter_destroy(it);
    return empty;
}

static enum status write_format(struct rocksdb_engine *self, struct err *err) {
    uint8_t record[FORMAT_SIZE] = {0};
    memcpy(record, format_magic, sizeof(format_magic));
    record[5] = FORMAT_VERSION;
    record[6] = (uint8_t)self->use;
    char *error = NULL;
    rocksdb_put(self->db,
                self->use == ROCKSDB_ENGINE_LOG ? self->sync_options : self->write_options,
                format_key, FORMAT_KEY_SIZE, (const char *)record, sizeof(record), &error);
    const enum status st = rocksdb_engine__status(error, err, self->path);
    if (st != STATUS_OK || self->use == ROCKSDB_ENGINE_LOG) { return st; }
    return engine_flush(&self->base);
}

static enum status ensure_format(struct rocksdb_engine *self, struct err *err) {
    char *error = NULL;
    size_t size = 0;
    char *value =
        rocksdb_get(self->db, self->get_options, format_key, FORMAT_KEY_SIZE, &size, &error);
    enum status st = rocksdb_engine__status(error, err, self->path);
    if (st != STATUS_OK) { return st; }
    if (value != NULL) {
        st = check_format(self, value, size, err);
        rocksdb_free(value);
        return st;
    }
    if (!is_empty(self)) {
        return err_set(err, STATUS_FAILED_PRECONDITION, "%s is a RocksDB store, but not ours",
                       self->path);
    }
    return write_format(self, err);
}

// --- Opening ---

// LZ4 when the library was built with it, else the next best; RocksDB says so only at open.
static rocksdb_t *try_open(struct rocksdb_engine *self, char **out_error) {
    static const int compressions[] = {rocksdb_lz4_compression, rocksdb_snappy_compression,
                                       rocksdb_no_compression};
    rocksdb_t *db = NULL;
    for (size_t i = 0; i < sizeof(compressions) / sizeof(compressions[0]); i++) {
        rocksdb_options_set_compression(self->options, compressions[i]);
        char *error = NULL;
        db = rocksdb_open(self->options, self->path, &error);
        if (error != NULL && strstr(error, "is not linked with the binary") != NULL) {
            rocksdb_free(error);
            continue;
        }
        *out_error = error;
        break;
    }
    return db;
}

static enum status open_db(struct rocksdb_engine *self, bool create_if_missing, struct err *err) {
    rocksdb_options_set_create_if_missing(self->options, create_if_missing);
    char *error = NULL;
    self->db = try_open(self, &error);
    ASSERT_IF(error == NULL, self->db != NULL);
    enum status st = rocksdb_engine__status(error, err, self->path);
    // RocksDB calls a store it cannot make sense of an invalid argument at times.
    if (st == STATUS_INVALID_ARGUMENT || st == STATUS_NOT_FOUND) {
        st = STATUS_CORRUPT;
        if (err != NULL) { err->status = st; }
    }
    return st;
}

enum status rocksdb_engine_open(const struct rocksdb_engine_options *options,
                                struct engine **out_engine, struct err *err) {
    ASSERT(options->use < ROCKSDB_ENGINE_USE_COUNT);
    ASSERT(options->path != NULL);
    ASSERT(out_engine != NULL);
    enum status st = check_directory(options, err);
    if (st != STATUS_OK) { return st; }
    struct rocksdb_engine *self = mem_alloc(sizeof(*self));
    rocksdb_engine__install(self);
    atomic_init(&self->flushes, 0);
    self->use = options->use;
    self->path = mem_strdup(options->path);
    self->write_buffer_size =
        options->write_buffer_size > 0 ? options->write_buffer_size : WRITE_BUFFER_SIZE_DEFAULT;
    self->cache = make_cache(options->cache_size > 0 ? options->cache_size : CACHE_SIZE_DEFAULT);
    st = make_options(self, err);
    if (st != STATUS_OK) { goto out; }
    st = open_db(self, options->create_if_missing, err);
    if (st != STATUS_OK) { goto out; }
    st = ensure_format(self, err);
    if (st != STATUS_OK) { goto out; }
    *out_engine = &self->base;
    self = NULL;
out:
    if (self != NULL) { rocksdb_engine__free(self); }
    return st;
}
