// SPDX-License-Identifier: Apache-2.0
// history.h - what the clients saw, and whether one database could have shown it to them.
// Invariants: values are unique over all writes (0 = absent); an operation is recorded when it is
//             invoked and completed at most once; the audit judges by the record alone.
// Ownership:  the history owns its operations; sim_history_begin may move them.
// Thread:     confined to the world.
// See:        tests/sim/README.md "Checkers"; tests/sim/checkers_test.c
#pragma once

#include "dataplane/hlc/hlc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIM_OP_ITEMS_MAX = 8 };

enum sim_op_kind {
    SIM_OP_READ,    // get of some keys, or a scan: items hold what was seen
    SIM_OP_COMMIT,  // puts and deletes, perhaps under a condition on the first item's key
    SIM_OP_KIND_COUNT
};

enum sim_outcome {
    SIM_PENDING,
    SIM_OK,
    SIM_CONDITION_FAILED,
    SIM_REFUSED,  // an error that says: nothing happened
    SIM_UNKNOWN,  // may have happened, may still happen
    SIM_OUTCOME_COUNT
};

struct sim_item {
    uint32_t key;           // index into the world's keys
    uint64_t value;         // read: seen; commit: written; 0 = absent
    struct hlc_ts version;  // read: of the value seen
};

struct sim_op {
    enum sim_op_kind kind;
    enum sim_outcome outcome;
    uint32_t client;
    uint32_t shard;  // position of the shard among the world's
    uint64_t invoke_ns;
    uint64_t return_ns;
    bool conditional;
    uint64_t expected;  // the condition: the first key's value equals it; 0 = absent
    struct hlc_ts ts;   // commit or snapshot timestamp, of the evaluation when a condition failed
    uint64_t term;      // certificate
    uint64_t index;
    uint32_t item_count;
    struct sim_item items[SIM_OP_ITEMS_MAX];
};

// One version of a key as a replica keeps it, after everything has settled.
struct sim_version {
    struct hlc_ts ts;
    uint64_t value;  // 0 = a delete
};
struct sim_versions {
    const struct sim_version *items;  // ascending timestamps
    uint32_t count;
};

struct sim_history {
    struct sim_op *ops;
    uint32_t count;
    uint32_t capacity;
    uint64_t last_value;
};

struct sim_audit {
    const struct sim_history *history;
    uint32_t key_count;
    const struct sim_versions *versions;  // by key; NULL = not known, only what clients saw counts
    uint64_t steps_max;                   // of the search per key
    uint32_t undecided;                   // out: keys whose search was cut off
    char failure[256];                    // out: empty when all is well
    // private
    struct sim_home *kept;     // what lies in the store, by key and value
    struct sim_home *written;  // what the history wrote, by key and value
    size_t kept_count;
    size_t written_count;
};

void sim_history_init(struct sim_history *self);
void sim_history_deinit(struct sim_history *self);
// A new pending operation; returns its position.
uint32_t sim_history_begin(struct sim_history *self, const struct sim_op *op);
// A value no one wrote before.
uint64_t sim_history_value(struct sim_history *self);

// Everything below; true when no rule is broken.
bool sim_audit(struct sim_audit *self);
// Acknowledged writes are there, at their timestamp; refused ones are nowhere; what is there was
// written once, whole, by somebody; reads show the versions at their snapshot; conditions held or
// failed as was said. Needs versions.
bool sim_audit_versions(struct sim_audit *self);
// Timestamps agree with real time, shard by shard, and certificates never run backwards.
bool sim_audit_order(struct sim_audit *self);
// Each key is a linearizable register, judged from values alone.
bool sim_audit_registers(struct sim_audit *self);
