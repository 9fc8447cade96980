// SPDX-License-Identifier: Apache-2.0
// load.h - a closed-loop load driver: a fixed number of operations in flight, latency histograms.
// Invariants: each slot has one operation in flight until the time is up; every target is driven by
//             the same technique: asynchronous calls on the gRPC C core, one client thread.
// Ownership:  the program owns everything until it ends.
// Thread:     load_next and load_done: the driver's thread, after load_run has started the slots.
// See:        tests/bench/README.md
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/prng.h"
#include "dataplane/obs/histogram.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { LOAD_KEY_SIZE = 16, LOAD_OPS_MAX = 10, LOAD_ADDRESSES_MAX = 16 };

enum load_kind {
    LOAD_PUT,
    LOAD_GET,
    LOAD_PUT2,  // two keys of two shards, in one commit
    LOAD_PAIR,  // the same keys by two commits at once, neither of which waits for the other
    LOAD_PUT10,
    LOAD_GET10,
    LOAD_KIND_COUNT
};

struct load_config {
    const char *target;     // "lightcone", "echo", "etcd"
    const char *operation;  // "put", "get", "mixed", "put2", "pair", "put10", "get10"
    const char *mode;       // "batch", "unary"; of lightcone
    const char *keyspace;
    const char *addresses[LOAD_ADDRESSES_MAX];
    uint32_t address_count;
    uint32_t outstanding;
    uint32_t key_count;
    uint32_t value_size;
    uint32_t seconds;
    uint32_t warmup_ms;
    uint32_t read_percent;  // of mixed
    bool preload;
    bool via_gateway;
    const char *region;  // where the client says it is; NULL = nowhere
};

struct load;

// One operation, filled by load_next.
struct load_operation {
    enum load_kind kind;
    uint32_t key_count;
    struct slice keys[LOAD_OPS_MAX];
    struct slice value;
    char text[LOAD_OPS_MAX][LOAD_KEY_SIZE + 1];
};

// How a target is driven.
struct load_driver {
    // Connects, or says why not on standard error and returns false.
    bool (*open)(struct load *load, const struct load_config *config);
    // Starts the next operation of a slot; load_done is called when it ended.
    void (*start)(struct load *load, uint32_t slot);
    void (*close)(struct load *load);
};
extern const struct load_driver load_lightcone;
extern const struct load_driver load_grpc;  // echo and etcd

struct load {
    struct load_config config;
    const struct load_driver *driver;
    void *state;  // the driver's
    struct prng prng;
    uint8_t *value;
    uint64_t *started_ns;  // by slot
    uint32_t preload_next;
    atomic_bool preloading;
    atomic_bool measuring;
    atomic_bool stopping;
    atomic_uint_fast32_t running;  // slots
    uint64_t operations;           // measured; the driver's thread
    atomic_uint_fast64_t total;
    uint64_t errors;
    uint64_t missing;  // gets without a value
    struct histogram histogram;
};

// Chooses the next operation; false: the slot ends.
bool load_next(struct load *load, struct load_operation *out);
// The slot's operation ended; starts the next one.
void load_done(struct load *load, uint32_t slot, bool ok, bool found);
