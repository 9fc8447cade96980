// SPDX-License-Identifier: Apache-2.0
// Entries say in their payload which index and term they are, so that a read can be checked without
// remembering what was written.
#include "tests/unit/storage/raftlog/raftlog_fixture.h"

#include "dataplane/base/mem.h"
#include "tests/sim/disk/sim_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void writer_start(void *ctx, struct raftlog_group *group) {
    struct fixture *f = ctx;
    f->starts++;
    assert_null(f->waiting);
    if (f->immediate) {
        raftlog_group_write(group);
        raftlog_group_done(f->log, group);
    } else {
        f->waiting = group;
    }
}

static void durable(void *ctx, const struct log_completion *items, uint32_t count) {
    struct fixture *f = ctx;
    assert_true(count > 0);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(f->done_count < DONE_MAX);
        f->done[f->done_count++] = items[i];
    }
    if (f->respond > 0) {
        f->respond--;
        submit_hard_state(f, A, 1);
        raftlog_turn(f->log);  // has to wait for the end of the delivery
    }
}

enum status try_open(struct fixture *f) {
    const struct raftlog_config config = {
        .engine = f->engine,
        .writer = {f, writer_start},
        .durable = durable,
        .durable_ctx = f,
    };
    f->err = (struct err){0};
    const enum status st = raftlog_open(&config, &f->log, &f->err);
    if (st == STATUS_OK) { f->store = raftlog_store(f->log); }
    return st;
}

int setup(void **state) {
    struct fixture *f = mem_alloc(sizeof(*f));
    f->engine = sim_engine_create(&(struct sim_engine_options){0});
    f->immediate = true;
    assert_int_equal(try_open(f), STATUS_OK);
    *state = f;
    return 0;
}

int setup_delayed(void **state) {
    (void)setup(state);
    struct fixture *f = *state;
    f->immediate = false;
    return 0;
}

int teardown(void **state) {
    struct fixture *f = *state;
    if (f->log != NULL) { raftlog_check(f->log); }
    raftlog_destroy(f->log);
    engine_close(f->engine);
    mem_free(f);
    return 0;
}

void crash(struct fixture *f, struct prng *prng) {
    raftlog_destroy(f->log);
    f->log = NULL;
    f->waiting = NULL;
    (void)sim_engine_crash(f->engine, prng);
    assert_int_equal(try_open(f), STATUS_OK);
}

void reopen(struct fixture *f) {
    raftlog_destroy(f->log);
    f->log = NULL;
    assert_int_equal(try_open(f), STATUS_OK);
}

void finish(struct fixture *f) {
    struct raftlog_group *group = f->waiting;
    assert_non_null(group);
    f->waiting = NULL;
    raftlog_group_write(group);
    raftlog_group_done(f->log, group);
    raftlog_check(f->log);
}

struct log_entry make_entry(uint64_t index, uint64_t term) {
    char payload[64];
    const int n = snprintf(payload, sizeof(payload), "i%llu t%llu", (unsigned long long)index,
                           (unsigned long long)term);
    struct log_entry e = {
        .index = index,
        .term = term,
        .kind = LOG_ENTRY_COMMAND,
        .payload = slice_make(payload, (size_t)n),
    };
    log_entry_seal(&e);
    return e;
}

void submit(struct fixture *f, struct shard_id shard, uint64_t low, uint64_t high, uint64_t term) {
    struct log_entry entries[ENTRIES_MAX];
    uint32_t count = 0;
    for (uint64_t i = low; i <= high; i++) {
        entries[count++] = make_entry(i, term);
    }
    const struct log_hard_state hard_state = {term, {3}, low - 1, 1};
    const struct log_write write = {
        .shard = shard,
        .sequence = ++f->sequence,
        .truncate_from = low,
        .hard_state = &hard_state,
        .entries = entries,
        .entry_count = count,
    };
    f->store->submit(f->store->ctx, &write, 1);
    for (uint32_t i = 0; i < count; i++) {
        log_entry_unref(&entries[i]);
    }
    raftlog_check(f->log);
}

void submit_hard_state(struct fixture *f, struct shard_id shard, uint64_t term) {
    const struct log_hard_state hard_state = {term, {0}, 0, 1};
    const struct log_write write = {
        .shard = shard, .sequence = ++f->sequence, .hard_state = &hard_state};
    f->store->submit(f->store->ctx, &write, 1);
}

void submit_base(struct fixture *f, struct shard_id shard, uint64_t index, uint64_t term,
                 struct slice membership) {
    const struct log_base base = {index, term, {10 * index}, {5 * index}, membership};
    const struct log_write write = {.shard = shard, .sequence = ++f->sequence, .base = &base};
    f->store->submit(f->store->ctx, &write, 1);
    raftlog_check(f->log);
}

void submit_config(struct fixture *f, struct shard_id shard, uint64_t index, uint64_t term,
                   const char *membership) {
    struct log_entry e = {
        .index = index,
        .term = term,
        .kind = LOG_ENTRY_CONFIG,
        .payload = slice_from_string(membership),
    };
    log_entry_seal(&e);
    const struct log_hard_state hard_state = {term, {3}, 0, 1};
    const struct log_write write = {
        .shard = shard,
        .sequence = ++f->sequence,
        .truncate_from = index,
        .hard_state = &hard_state,
        .entries = &e,
        .entry_count = 1,
    };
    f->store->submit(f->store->ctx, &write, 1);
    log_entry_unref(&e);
    raftlog_check(f->log);
}

void assert_memberships(struct fixture *f, struct shard_id shard, const char *wanted) {
    struct log_membership out[LOG_MEMBERSHIPS_MAX];
    uint32_t count = 0;
    char text[1024] = "";
    size_t size = 0;
    assert_int_equal(f->store->memberships(f->store->ctx, shard, out, &count), STATUS_OK);
    for (uint32_t i = 0; i < count; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%llu=%.*s ",
                                 (unsigned long long)out[i].index, (int)out[i].encoded.size,
                                 (const char *)out[i].encoded.data);
        bytes_unref(out[i].owner);
    }
    assert_string_equal(text, wanted);
}

struct log_bounds bounds_of(struct fixture *f, struct shard_id shard) {
    struct log_bounds b;
    assert_int_equal(f->store->bounds(f->store->ctx, shard, &b), STATUS_OK);
    return b;
}

void assert_bounds(struct fixture *f, struct shard_id shard, uint64_t trim, uint64_t last) {
    const struct log_bounds b = bounds_of(f, shard);
    assert_int_equal(b.trim_index, trim);
    assert_int_equal(b.last_index, last);
}

enum status read_status(struct fixture *f, struct shard_id shard, uint64_t low, uint64_t high) {
    struct log_entry out[ENTRIES_MAX];
    uint32_t count = 0;
    const enum status st =
        f->store->read(f->store->ctx, shard, low, high, ENTRIES_MAX, UINT64_MAX, out, &count);
    for (uint32_t i = 0; i < count; i++) {
        log_entry_unref(&out[i]);
    }
    return st;
}

uint32_t read_count(struct fixture *f, struct shard_id shard, uint64_t low, uint64_t high) {
    struct log_entry out[ENTRIES_MAX];
    uint32_t count = 0;
    assert_int_equal(
        f->store->read(f->store->ctx, shard, low, high, ENTRIES_MAX, UINT64_MAX, out, &count),
        STATUS_OK);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(out[i].index, low + i);
        log_entry_unref(&out[i]);
    }
    return count;
}

void assert_entries(struct fixture *f, struct shard_id shard, uint64_t low, uint64_t high,
                    uint64_t term) {
    struct log_entry out[ENTRIES_MAX];
    uint32_t count = 0;
    assert_int_equal(
        f->store->read(f->store->ctx, shard, low, high + 1, ENTRIES_MAX, UINT64_MAX, out, &count),
        STATUS_OK);
    assert_int_equal(count, high - low + 1);
    for (uint32_t i = 0; i < count; i++) {
        struct log_entry wanted = make_entry(low + i, term);
        assert_int_equal(out[i].index, low + i);
        assert_int_equal(out[i].term, term);
        assert_true(slice_equal(out[i].record, wanted.record));
        log_entry_unref(&wanted);
        log_entry_unref(&out[i]);
    }
}
