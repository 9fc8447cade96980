// SPDX-License-Identifier: Apache-2.0
// kill -9, for real: a child process appends to the logs of a few shards on RocksDB and applies
// what is durable to a data store without a WAL, and tells each acknowledged index down a pipe; the
// parent kills it in the middle and looks at what is there. Several lives on the same stores.
//   - every acknowledged entry is in the log, whole and in its place;
//   - the data store is at an index that the log covers, and holds exactly the entries up to it.
#include "dataplane/base/assert.h"
#include "dataplane/base/prng.h"
#include "storage/engine/rocksdb_engine.h"
#include "storage/raftlog/raftlog.h"
#include "tests/unit/storage/engine/scratch_dir.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SHARDS = 3, LIVES = 6, ACKS_MAX = 600, PAYLOAD_SIZE = 300, CHILD_GROUPS_MAX = 100000 };

// Both stores and what runs on them.
struct node {
    struct engine *log_engine;
    struct engine *data;
    struct raftlog *log;
    const struct log_store *store;
    struct engine_batch *batch;
    int pipe;                      // the child's end; -1 in the parent
    uint64_t last[SHARDS + 1];     // submitted
    uint64_t applied[SHARDS + 1];  // by the data store
};

static void writer_start(void *ctx, struct raftlog_group *group) {
    struct node *node = ctx;
    raftlog_group_write(group);
    raftlog_group_done(node->log, group);
}

static struct slice shard_key(uint64_t shard, uint64_t index, char out[64]) {
    const int n =
        snprintf(out, 64, "%03llu/%012llu", (unsigned long long)shard, (unsigned long long)index);
    return slice_make(out, (size_t)n);
}

// The data store's effect of an entry and its applied index, in one batch.
static void apply(struct node *node, uint64_t shard, uint64_t index) {
    char key[64];
    uint8_t value[PAYLOAD_SIZE];
    memset(value, (int)(index % 251), sizeof(value));
    engine_batch_clear(node->batch);
    engine_put(node->batch, ENGINE_LOCK, shard_key(shard, index, key),
               slice_make(value, sizeof(value)));
    engine_put(node->batch, ENGINE_LOCAL, shard_key(shard, 0, key),
               slice_make(&index, sizeof(index)));
    ASSERT(engine_write(node->data, node->batch, false) == STATUS_OK);
    node->applied[shard] = index;
}

// An acknowledgement: the shard in the top byte, the index below.
static void durable(void *ctx, const struct log_completion *items, uint32_t count) {
    struct node *node = ctx;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t shard = items[i].shard.v;
        while (node->applied[shard] < node->last[shard]) {
            apply(node, shard, node->applied[shard] + 1);
        }
        const uint64_t ack = shard << 56 | node->last[shard];
        if (write(node->pipe, &ack, sizeof(ack)) != sizeof(ack)) { _exit(0); }
    }
}

static struct engine *open_store(const char *dir, const char *name, enum rocksdb_engine_use use) {
    char path[600];
    struct engine *engine = NULL;
    struct err err = {0};
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    const struct rocksdb_engine_options options = {
        .use = use,
        .path = path,
        .create_if_missing = true,
        .write_buffer_size = 64 << 10,  // small, so that RocksDB flushes by itself
    };
    if (rocksdb_engine_open(&options, &engine, &err) != STATUS_OK) { FATAL("%s", err.message); }
    return engine;
}

static void node_open(struct node *node, const char *dir) {
    *node = (struct node){.pipe = -1};
    node->log_engine = open_store(dir, "log", ROCKSDB_ENGINE_LOG);
    node->data = open_store(dir, "data", ROCKSDB_ENGINE_DATA);
    node->batch = engine_batch_create(node->data);
    struct err err = {0};
    const struct raftlog_config config = {
        .engine = node->log_engine,
        .writer = {node, writer_start},
        .durable = durable,
        .durable_ctx = node,
    };
    if (raftlog_open(&config, &node->log, &err) != STATUS_OK) { FATAL("%s", err.message); }
    node->store = raftlog_store(node->log);
    struct buf value;
    buf_init(&value, 64);
    for (uint64_t shard = 1; shard <= SHARDS; shard++) {
        char key[64];
        struct log_bounds bounds;
        ASSERT(node->store->bounds(node->store->ctx, (struct shard_id){shard}, &bounds) ==
               STATUS_OK);
        node->last[shard] = bounds.last_index;
        if (engine_get(node->data, ENGINE_LOCAL, shard_key(shard, 0, key), &value) == STATUS_OK) {
            memcpy(&node->applied[shard], value.data, sizeof(uint64_t));
        }
    }
    buf_deinit(&value);
}

static void node_close(struct node *node) {
    raftlog_destroy(node->log);
    engine_batch_destroy(node->batch);
    engine_close(node->data);
    engine_close(node->log_engine);
}

// --- The child ---

static struct log_entry make_entry(uint64_t shard, uint64_t index) {
    uint8_t payload[PAYLOAD_SIZE];
    memset(payload, (int)((shard * 31 + index) % 251), sizeof(payload));
    struct log_entry e = {
        .index = index,
        .term = 1 + index / 1000,
        .kind = LOG_ENTRY_COMMAND,
        .payload = slice_make(payload, sizeof(payload)),
    };
    log_entry_seal(&e);
    return e;
}

static void submit(struct node *node, uint64_t shard, uint64_t count) {
    struct log_entry entries[4];
    for (uint64_t i = 0; i < count; i++) {
        entries[i] = make_entry(shard, node->last[shard] + 1 + i);
    }
    node->last[shard] += count;
    const struct log_write write = {
        .shard = {shard},
        .sequence = node->last[shard],
        .entries = entries,
        .entry_count = (uint32_t)count,
    };
    node->store->submit(node->store->ctx, &write, 1);
    for (uint64_t i = 0; i < count; i++) {
        log_entry_unref(&entries[i]);
    }
}

// Runs until it is killed.
static int child(const char *dir, const char *seed) {
    struct node node;
    struct prng prng;
    prng_init(&prng, (uint64_t)seed[0]);
    node_open(&node, dir);
    node.pipe = STDOUT_FILENO;
    // What the last life logged and did not apply, or lost from the data store's memory.
    for (uint64_t shard = 1; shard <= SHARDS; shard++) {
        while (node.applied[shard] < node.last[shard]) {
            apply(&node, shard, node.applied[shard] + 1);
        }
    }
    for (int i = 0; i < CHILD_GROUPS_MAX; i++) {
        for (uint64_t shard = 1; shard <= SHARDS; shard++) {
            if (prng_chance(&prng, 2, 3)) { submit(&node, shard, prng_between(&prng, 1, 4)); }
        }
        raftlog_turn(node.log);
    }
    node_close(&node);
    return 0;
}

// --- The parent ---

// Starts a child, reads that many acknowledgements, kills it, and reads what else it told.
static void one_life(const char *dir, int life, uint64_t acks, uint64_t acked[SHARDS + 1]) {
    int ends[2];
    char seed[2] = {(char)('a' + life), '\0'};
    assert_int_equal(pipe(ends), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        (void)execl("/proc/self/exe", "raftlog_kill_test", "--child", dir, seed, (char *)NULL);
        _exit(1);
    }
    (void)close(ends[1]);
    uint64_t ack = 0;
    uint64_t count = 0;
    while (read(ends[0], &ack, sizeof(ack)) == sizeof(ack)) {
        const uint64_t shard = ack >> 56;
        assert_in_range(shard, 1, SHARDS);
        acked[shard] = ack & ((UINT64_C(1) << 56) - 1);
        if (++count == acks) { assert_int_equal(kill(pid, SIGKILL), 0); }
    }
    (void)close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(count >= acks);
}

static void check_log(struct node *node, uint64_t shard, uint64_t acked) {
    assert_true(node->last[shard] >= acked);
    for (uint64_t index = 1; index <= node->last[shard]; index++) {
        struct log_entry e;
        uint32_t count = 0;
        assert_int_equal(node->store->read(node->store->ctx, (struct shard_id){shard}, index,
                                           index + 1, 1, 1 << 20, &e, &count),
                         STATUS_OK);
        struct log_entry wanted = make_entry(shard, index);
        assert_true(slice_equal(e.record, wanted.record));
        log_entry_unref(&wanted);
        log_entry_unref(&e);
    }
}

static void check_data(struct node *node, uint64_t shard) {
    char key[64];
    assert_true(node->applied[shard] <= node->last[shard]);
    struct engine_cursor *c = engine_cursor_create(node->data, ENGINE_LOCK);
    engine_cursor_seek(c, shard_key(shard, 1, key));
    for (uint64_t index = 1; index <= node->applied[shard]; index++) {
        assert_true(engine_cursor_valid(c));
        assert_true(slice_equal(engine_cursor_key(c), shard_key(shard, index, key)));
        assert_int_equal(engine_cursor_value(c).data[0], index % 251);
        engine_cursor_next(c);
    }
    if (engine_cursor_valid(c)) {
        assert_true(slice_compare(engine_cursor_key(c), shard_key(shard + 1, 0, key)) > 0);
    }
    assert_int_equal(engine_cursor_status(c), STATUS_OK);
    engine_cursor_destroy(c);
}

static void test_raftlog_killed_process_loses_nothing_acknowledged(void **state) {
    (void)state;
    struct scratch_dir dir;
    struct prng prng;
    uint64_t acked[SHARDS + 1] = {0};
    scratch_dir_init(&dir);
    prng_init(&prng, 2026);
    for (int life = 0; life < LIVES; life++) {
        one_life(dir.path, life, prng_between(&prng, 1, ACKS_MAX), acked);
        struct node node;
        node_open(&node, dir.path);
        for (uint64_t shard = 1; shard <= SHARDS; shard++) {
            check_log(&node, shard, acked[shard]);
            check_data(&node, shard);
        }
        node_close(&node);
    }
    scratch_dir_deinit(&dir);
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "--child") == 0) { return child(argv[2], argv[3]); }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raftlog_killed_process_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests_name("raftlog_kill", tests, NULL, NULL);
}
