// SPDX-License-Identifier: Apache-2.0
// bench.h - a closed loop of requests: so many in flight, each answer starts the next.
// Invariants: latencies are taken from the call of the library to its callback; only answers inside
//             the measured time count.
// Ownership:  the caller owns the struct (large: not for the stack) until bench_deinit.
// Thread:     init, run, deinit: one thread; the loop itself runs on the client's thread.
// See:        api/cli/command_bench.c
#pragma once

#include "api/cli/journal.h"
#include "api/client/lightcone.h"
#include "dataplane/base/prng.h"
#include "dataplane/obs/histogram.h"

#include <pthread.h>
#include <stdatomic.h>

enum bench_op { BENCH_PUT, BENCH_GET, BENCH_MIXED, BENCH_OP_COUNT };

enum {
    BENCH_KEY_SIZE = 8,
    BENCH_VALUE_SIZE_MAX = 1 << 20,
    BENCH_OUTSTANDING_MAX = 65536,
};

struct bench_options {
    struct lc_client *client;
    uint32_t keyspace;
    enum bench_op op;
    uint32_t outstanding;
    uint64_t keys;
    bool unique;              // every put goes to a key that no other put of any run goes to
    struct journal *journal;  // gets every acknowledged put; NULL = none
    uint32_t value_size;
    uint32_t timeout_ms;
    uint64_t warmup_ms;
    uint64_t measured_ms;
    // Called about ten times a second on the thread of bench_run.
    void (*progress)(void *ctx, uint64_t operations, uint32_t permille);
    void *ctx;
};

struct bench_result {
    struct histogram put;
    struct histogram get;
    uint64_t aborted;
    uint64_t unknown;
    uint64_t longest_pause_ns;  // between two good answers that follow one another
    uint64_t elapsed_ns;        // measured
    struct err first_error;     // status OK = none
};

struct bench_slot;

struct bench {
    struct bench_options options;
    struct bench_result result;  // read-only, after bench_run
    struct bench_slot *slots;    // private, like what follows
    uint8_t *pool;               // random bytes that values are cut from
    uint64_t begin_ns;           // of the measured time
    uint64_t end_ns;
    uint64_t last_good_ns;
    atomic_uint_fast64_t unique_next;
    atomic_uint_fast64_t operations;
    atomic_uint_fast32_t in_flight;
    pthread_mutex_t mu;
    pthread_cond_t idle;  // with mu: in_flight reached 0
};

void bench_init(struct bench *self, const struct bench_options *options);
void bench_deinit(struct bench *self);
void bench_run(struct bench *self);
// The i-th key: spread evenly over the key space, in no order.
void bench_key(uint64_t i, uint8_t out[BENCH_KEY_SIZE]);
// A value of value_size random bytes.
struct slice bench_value(const struct bench *self, struct prng *prng);
