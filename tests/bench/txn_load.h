// SPDX-License-Identifier: Apache-2.0
// txn_load.h - closed-loop load of transactions: read, commit if nothing read has changed, again if
// it has; on Lightcone and on etcd by the same unary calls.
// Invariants: each slot has one transaction in flight until the time is up; a transaction that is
//             aborted begins again with its reads, and counts once, when it has committed; its
//             latency is that of all its tries together.
// Ownership:  the program owns everything until it ends.
// Thread:     the thread of the calls, and the main thread while it starts slots, hold the lock.
// See:        tests/bench/README.md
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/prng.h"
#include "dataplane/obs/histogram.h"
#include "tests/bench/calls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { TXN_KEY_SIZE = 16, TXN_KEYS_MAX = 4, TXN_PRELOAD_KEYS = 100, TXN_ID_SIZE = 16 };
enum { TXN_VALUE_MAX = 32, TXN_METHODS = 2, TXN_CODE_ABORTED = 10, TXN_CERTIFICATES = 6 };

enum txn_target { TXN_LIGHTCONE, TXN_ETCD };
enum txn_method { TXN_METHOD_READ, TXN_METHOD_COMMIT };

// What one transaction does. Keys: those read come first, those written last; they overlap when
// there are fewer keys than reads and writes.
struct txn_plan {
    const char *name;
    uint32_t key_count;
    uint32_t read_count;
    uint32_t write_count;
    bool read_only;  // no commit follows
    bool hot;        // always the same keys
    bool zipf;       // keys by rank, 0.99; otherwise uniform, of two shards
    bool merge;      // the write is a counter's merge
};

struct txn_config {
    enum txn_target target;
    const struct txn_plan *plan;
    const char *keyspace;
    const char *addresses[CALLS_CHANNELS_MAX];
    uint32_t address_count;
    uint32_t outstanding;
    uint32_t key_count;
    uint32_t shards;  // equal parts of the keys
    uint32_t only;    // bits: reads of one key stay in these shards; 0 = all
    uint32_t seconds;
    uint32_t warmup_ms;
    uint32_t consistency;   // number as in lightcone.proto; of reads
    uint32_t staleness_ms;  // of bounded reads
    uint32_t pace_us;       // from one transaction of a slot to its next; 0 = at once
    bool preload;
};

struct txn_row {
    int64_t value;
    uint64_t version;  // etcd: mod_revision
};

struct txn_read_result {
    struct txn_row rows[TXN_KEYS_MAX];
    uint32_t count;
    uint64_t snapshot;
    uint64_t age_us;
    uint64_t hlc;
    uint32_t method;
};

struct txn_slot {
    uint32_t number;
    uint32_t keys[TXN_KEYS_MAX];
    struct txn_read_result read;
    uint64_t started_ns;
    bool committing;
};

struct txn_load {
    struct txn_config config;
    pthread_mutex_t lock;
    struct calls *calls;
    struct prng prng;
    struct txn_slot *slots;
    double *zipf;  // by rank: the chance of this one or any before
    struct buf request;
    uint64_t hlc;
    uint32_t preload_next;
    atomic_bool preloading;
    atomic_bool measuring;
    atomic_bool stopping;
    atomic_uint_fast32_t running;
    // Measured.
    uint64_t done;
    uint64_t tries;
    uint64_t aborts;
    uint64_t errors;
    uint64_t certificates[TXN_CERTIFICATES];
    struct histogram latency;
    struct histogram age;
    // Of the whole run.
    uint64_t done_total;
    uint64_t errors_total;
};

// txn_wire.c. Requests are appended to load->request.
void txn_encode_read(struct txn_load *load, const struct txn_slot *slot);
void txn_encode_commit(struct txn_load *load, const struct txn_slot *slot);
void txn_encode_preload(struct txn_load *load, uint32_t first, uint32_t count);
void txn_decode_read(struct txn_load *load, struct slice response, struct txn_read_result *out);
// Whether it committed; etcd says no in an ordinary answer.
bool txn_decode_commit(struct txn_load *load, struct slice response);

// txn_ops.c
void txn_ops_prepare(struct txn_load *load);
void txn_ops_start(struct txn_load *load, struct txn_slot *slot);
void txn_ops_done(void *ctx, uint32_t slot, int code, struct slice response, struct slice message);
