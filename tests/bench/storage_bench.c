// SPDX-License-Identifier: Apache-2.0
// Figures of the storage layer on this machine: group commits of the raft log, point reads and
// scans of versions. Nothing is asserted: absolute figures depend on the disk. The argument is an
// empty directory, which is left behind.
//
// The writer of the log runs inline, so that a figure is the cost of one group from turn to
// completion; with the real writer thread the next group gathers meanwhile.
#include "dataplane/base/assert.h"
#include "dataplane/base/prng.h"
#include "storage/engine/rocksdb_engine.h"
#include "storage/mvcc/mvcc.h"
#include "storage/raftlog/raftlog.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    ROWS = 100000,
    VALUE_SIZE = 128,
    READS = 300000,
    SCANS = 3000,
    SCAN_ROWS = 100,
    GROUP_ENTRIES_MAX = 1024,
    SHARDS = 16,
};

static double now_us(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static struct engine *open_store(const char *dir, const char *name, enum rocksdb_engine_use use) {
    char path[1024];
    struct engine *engine = NULL;
    struct err err = {0};
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    const struct rocksdb_engine_options options = {
        .use = use,
        .path = path,
        .create_if_missing = true,
        .cache_size = 128 << 20,
    };
    if (rocksdb_engine_open(&options, &engine, &err) != STATUS_OK) { FATAL("%s", err.message); }
    return engine;
}

// --- The log ---

struct log_bench {
    struct raftlog *log;
    const struct log_store *store;
    uint64_t last[SHARDS + 1];
    uint64_t sequence;
};

static void writer_start(void *ctx, struct raftlog_group *group) {
    struct log_bench *b = ctx;
    raftlog_group_write(group);
    raftlog_group_done(b->log, group);
}

static void durable(void *ctx, const struct log_completion *items, uint32_t count) {
    (void)ctx;
    (void)items;
    (void)count;
}

static void submit_one(struct log_bench *b, uint64_t shard) {
    static const uint8_t payload[VALUE_SIZE];
    struct log_entry e = {
        .index = ++b->last[shard],
        .term = 1,
        .kind = LOG_ENTRY_COMMAND,
        .payload = slice_make(payload, sizeof(payload)),
    };
    log_entry_seal(&e);
    const struct log_write write = {
        .shard = {shard}, .sequence = ++b->sequence, .entries = &e, .entry_count = 1};
    b->store->submit(b->store->ctx, &write, 1);
    log_entry_unref(&e);
}

static void bench_groups(struct log_bench *b, uint32_t entries) {
    const uint32_t groups = entries < 64 ? 2000 : 500;
    const double start = now_us();
    double submit_us = 0;
    for (uint32_t g = 0; g < groups; g++) {
        const double before = now_us();
        for (uint32_t i = 0; i < entries; i++) {
            submit_one(b, 1 + i % SHARDS);
        }
        submit_us += now_us() - before;
        raftlog_turn(b->log);
    }
    const double us = now_us() - start;
    printf(
        "log    %4u entries a group: %8.1f us a group, %9.0f entries/s, submit %.2f us an entry\n",
        entries, us / groups, (double)entries * groups / us * 1e6, submit_us / groups / entries);
}

static void bench_log(const char *dir) {
    struct log_bench b = {0};
    struct err err = {0};
    struct engine *engine = open_store(dir, "log", ROCKSDB_ENGINE_LOG);
    const struct raftlog_config config = {
        .engine = engine, .writer = {&b, writer_start}, .durable = durable};
    if (raftlog_open(&config, &b.log, &err) != STATUS_OK) { FATAL("%s", err.message); }
    b.store = raftlog_store(b.log);
    for (uint32_t entries = 1; entries <= GROUP_ENTRIES_MAX; entries *= 4) {
        bench_groups(&b, entries);
    }
    raftlog_destroy(b.log);
    const double start = now_us();
    if (raftlog_open(&config, &b.log, &err) != STATUS_OK) { FATAL("%s", err.message); }
    const double us = now_us() - start;
    printf("log    recovery: %.2f us an entry, %.0f MiB/s\n", us / (double)b.sequence,
           (double)raftlog_size(b.log) / us * 1e6 / (1 << 20));
    raftlog_destroy(b.log);
    engine_close(engine);
}

// --- Versions ---

struct data_bench {
    struct engine *engine;
    struct mvcc_reader *reader;
    struct engine_batch *batch;
    struct prng prng;
    uint64_t ts;
};

static struct slice row_key(uint64_t row, char out[32]) {
    // A keyspace id with its zeros, then 16 bytes.
    memcpy(out, "\0\0\0\1", 4);
    const int n = snprintf(out + 4, 28, "user%012llu", (unsigned long long)row);
    return slice_make(out, 4 + (size_t)n);
}

static void write_row(struct data_bench *b, uint64_t row) {
    char key[32];
    uint8_t value[VALUE_SIZE];
    memset(value, (int)prng_next(&b->prng), sizeof(value));
    b->ts += 4096;
    mvcc_put(b->batch, row_key(row, key), (struct hlc_ts){b->ts}, (struct hlc_ts){b->ts},
             slice_make(value, sizeof(value)));
}

static void write_batch(struct data_bench *b) {
    if (engine_write(b->engine, b->batch, false) != STATUS_OK) { FATAL("write failed"); }
    engine_batch_clear(b->batch);
    mvcc_reader_refresh(b->reader);
}

static void load(struct data_bench *b) {
    const double start = now_us();
    for (uint64_t row = 0; row < ROWS; row++) {
        write_row(b, row * 7919 % ROWS);
        if (row % 50 == 49) { write_batch(b); }
    }
    write_batch(b);
    printf("mvcc   load: %.2f us a row in batches of 50\n", (now_us() - start) / ROWS);
}

// Random rows, with one write of one row after every `every` reads; 0 = none.
static void bench_reads(struct data_bench *b, const char *where, uint32_t every, bool present) {
    double writes = 0;
    const double start = now_us();
    for (uint32_t i = 0; i < READS; i++) {
        char key[32];
        struct mvcc_version v;
        const uint64_t row = prng_below(&b->prng, ROWS) + (present ? 0 : ROWS);
        const enum status st = mvcc_read(b->reader, row_key(row, key), HLC_MAX, &v);
        if ((st == STATUS_OK) != present) { FATAL("a row is missing, or one too many"); }
        if (every > 0 && i % every == every - 1) {
            const double before = now_us();
            write_row(b, prng_below(&b->prng, ROWS));
            write_batch(b);
            writes += now_us() - before;
        }
    }
    printf("mvcc   read, %s, %s, a write after each %u: %.2f us\n", where,
           present ? "present" : "absent", every, (now_us() - start - writes) / READS);
}

static bool count_row(void *ctx, struct slice key, const struct mvcc_version *version) {
    (void)key;
    (void)version;
    uint32_t *left = ctx;
    return --*left > 0;
}

static void bench_scans(struct data_bench *b, const char *where, bool reverse) {
    const double start = now_us();
    for (uint32_t i = 0; i < SCANS; i++) {
        char key[32];
        uint32_t left = SCAN_ROWS;
        const struct slice from =
            row_key(SCAN_ROWS + prng_below(&b->prng, ROWS - 2 * SCAN_ROWS), key);
        const struct mvcc_scan scan = {
            .start = reverse ? SLICE_EMPTY : from,
            .end = reverse ? from : SLICE_EMPTY,
            .ts = HLC_MAX,
            .reverse = reverse,
            .visit = count_row,
            .ctx = &left,
        };
        if (mvcc_scan(b->reader, &scan) != STATUS_OK || left != 0) { FATAL("scan failed"); }
    }
    const double us = now_us() - start;
    printf("mvcc   scan of %d rows, %s, %s: %.1f us, %.2f us a row\n", SCAN_ROWS, where,
           reverse ? "backwards" : "forwards", us / SCANS, us / SCANS / SCAN_ROWS);
}

static void bench_cursors(struct data_bench *b) {
    const uint32_t count = 20000;
    const double start = now_us();
    for (uint32_t i = 0; i < count; i++) {
        engine_cursor_destroy(engine_point_cursor_create(b->engine, ENGINE_VERSION));
    }
    printf("engine cursor create and destroy: %.2f us\n", (now_us() - start) / count);
    struct engine_cursor *c = engine_point_cursor_create(b->engine, ENGINE_VERSION);
    const double refresh = now_us();
    for (uint32_t i = 0; i < count * 10; i++) {
        engine_cursor_refresh(c);
    }
    printf("engine cursor refresh, nothing written: %.3f us\n", (now_us() - refresh) / count / 10);
    engine_cursor_destroy(c);
    struct buf value;
    buf_init(&value, 1 << 20);
    const double get = now_us();
    for (uint32_t i = 0; i < count * 5; i++) {
        char key[32];
        const enum status st =
            engine_get(b->engine, ENGINE_LOCK, row_key(prng_below(&b->prng, ROWS), key), &value);
        if (st != STATUS_NOT_FOUND) { FATAL("get failed"); }
    }
    printf("engine get of an absent lock: %.2f us\n", (now_us() - get) / count / 5);
    buf_deinit(&value);
}

static void bench_all_reads(struct data_bench *b, const char *where) {
    bench_reads(b, where, 0, true);
    bench_reads(b, where, 0, false);
    bench_scans(b, where, false);
    bench_scans(b, where, true);
    bench_cursors(b);
}

static void bench_data(const char *dir) {
    struct data_bench b = {.engine = open_store(dir, "data", ROCKSDB_ENGINE_DATA)};
    b.reader = mvcc_reader_create(b.engine);
    b.batch = engine_batch_create(b.engine);
    prng_init(&b.prng, 1);
    load(&b);
    bench_all_reads(&b, "in memory");
    if (engine_flush(b.engine) != STATUS_OK) { FATAL("flush failed"); }
    mvcc_reader_refresh(b.reader);
    bench_all_reads(&b, "one file");
    for (int files = 0; files < 3; files++) {
        for (uint64_t row = 0; row < ROWS; row += 10) {
            write_row(&b, prng_below(&b.prng, ROWS));
            if (row % 500 == 0) { write_batch(&b); }
        }
        write_batch(&b);
        if (engine_flush(b.engine) != STATUS_OK) { FATAL("flush failed"); }
    }
    mvcc_reader_refresh(b.reader);
    bench_all_reads(&b, "four files");
    bench_reads(&b, "four files", 100, true);
    bench_reads(&b, "four files", 50, true);
    bench_reads(&b, "four files", 1, true);
    mvcc_reader_destroy(b.reader);
    engine_batch_destroy(b.batch);
    engine_close(b.engine);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: storage_bench <empty directory>\n");
        return 2;
    }
    bench_log(argv[1]);
    bench_data(argv[1]);
    return 0;
}
