// SPDX-License-Identifier: Apache-2.0
// raftlog_fixture.h - a raft log on the simulated store, with a writer that finishes at once or
//                     when told.
// Invariants: at most one group waits; completions are kept in the order delivered.
// Ownership:  setup allocates the fixture, teardown frees it.
// Thread:     one thread.
// See:        raftlog_test.c, raftlog_recover_test.c, raftlog_marks_test.c
#pragma once

#include "dataplane/base/prng.h"
#include "storage/raftlog/raftlog.h"

enum { DONE_MAX = 256, ENTRIES_MAX = 64 };

struct fixture {
    struct engine *engine;
    struct raftlog *log;
    const struct log_store *store;
    struct raftlog_group *waiting;  // started, not yet done
    bool immediate;
    uint64_t starts;
    struct log_completion done[DONE_MAX];
    uint32_t done_count;
    uint64_t sequence;
    uint64_t respond;  // how many further writes the durable callback submits
    struct err err;
};

static const struct shard_id A = {7};
static const struct shard_id B = {0x0102030405060708};

// For cmocka: the writer finishes at once, or when finish() is called.
int setup(void **state);
int setup_delayed(void **state);
int teardown(void **state);

// Opens the log on the engine; err tells why not.
enum status try_open(struct fixture *f);
// The node stops, the disk keeps a random end, the node starts again.
void crash(struct fixture *f, struct prng *prng);
void reopen(struct fixture *f);
// The waiting group reaches the disk, and the loop hears of it.
void finish(struct fixture *f);
struct log_entry make_entry(uint64_t index, uint64_t term);
// Entries [low, high] of one term; truncates from low first when it is inside the log.
void submit(struct fixture *f, struct shard_id shard, uint64_t low, uint64_t high, uint64_t term);
void submit_hard_state(struct fixture *f, struct shard_id shard, uint64_t term);
// The log begins anew behind index; ceiling and timestamp are 10 and 5 times the index.
void submit_base(struct fixture *f, struct shard_id shard, uint64_t index, uint64_t term,
                 struct slice membership);
// One entry of kind CONFIG; truncates from index first.
void submit_config(struct fixture *f, struct shard_id shard, uint64_t index, uint64_t term,
                   const char *membership);
// "index=membership" of each that is known, oldest first, each followed by a blank.
void assert_memberships(struct fixture *f, struct shard_id shard, const char *wanted);
struct log_bounds bounds_of(struct fixture *f, struct shard_id shard);
void assert_bounds(struct fixture *f, struct shard_id shard, uint64_t trim, uint64_t last);
enum status read_status(struct fixture *f, struct shard_id shard, uint64_t low, uint64_t high);
// Of a read that must succeed.
uint32_t read_count(struct fixture *f, struct shard_id shard, uint64_t low, uint64_t high);
// Entries [low, high] are there, of that term, with their payloads.
void assert_entries(struct fixture *f, struct shard_id shard, uint64_t low, uint64_t high,
                    uint64_t term);
