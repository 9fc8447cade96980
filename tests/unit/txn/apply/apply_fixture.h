// SPDX-License-Identifier: Apache-2.0
// apply_fixture.h - commits and entries for tests of apply, over the simulator's store.
// Invariants: timestamps and indexes of a shard grow by one per entry.
// Ownership:  the fixture owns engine and apply.
// Thread:     one.
// See:        tests/unit/txn/apply/apply_test.c
#pragma once

#include "tests/sim/disk/sim_engine.h"
#include "txn/apply/apply.h"

enum { FIXTURE_SHARDS = 4, FIXTURE_EPOCH = 5 };

struct fixture {
    struct engine *engine;
    struct apply *apply;
    const struct state_machine *machine;
    uint64_t index[FIXTURE_SHARDS];  // last applied, by shard id - 1
    struct hlc_ts clock;
    struct buf payload;
    uint64_t next_id;
};

// One operation: a condition or a mutation, keys without their keyspace prefix.
struct op {
    enum { OP_END, OP_CONDITION, OP_MUTATION } type;
    int kind;
    const char *key;
    const char *value;  // value, or end of the range
    uint64_t ts;
};

#define PUT(k, v)          ((struct op){OP_MUTATION, COMMAND_PUT, k, v, 0})
#define DELETE(k)          ((struct op){OP_MUTATION, COMMAND_DELETE, k, NULL, 0})
#define DELETE_RANGE(a, b) ((struct op){OP_MUTATION, COMMAND_DELETE_RANGE, a, b, 0})
#define EXISTS(k)          ((struct op){OP_CONDITION, COMMAND_EXISTS, k, NULL, 0})
#define ABSENT(k)          ((struct op){OP_CONDITION, COMMAND_ABSENT, k, NULL, 0})
#define VALUE_IS(k, v)     ((struct op){OP_CONDITION, COMMAND_VALUE_EQUALS, k, v, 0})
#define VERSION_IS(k, t)   ((struct op){OP_CONDITION, COMMAND_VERSION_EQUALS, k, NULL, t})
#define AT_MOST(k, t)      ((struct op){OP_CONDITION, COMMAND_TIMESTAMP_AT_MOST, k, NULL, t})
// Conditions first.
#define OPS(...) ((const struct op[]){__VA_ARGS__, {OP_END, 0, NULL, NULL, 0}})

void fixture_open(struct fixture *self, struct engine *engine);
// Drops the apply, as a crash of the process does, and the fixture; the engine stays.
void fixture_close(struct fixture *self);
struct txn_id fixture_id(uint64_t v);
// Encodes a commit into self->payload.
struct slice fixture_commit(struct fixture *self, struct txn_id id, const struct op *ops);
// Applies a payload as the next entry of the shard, without end().
struct apply_result fixture_apply(struct fixture *self, uint64_t shard, struct slice payload);
// A commit under a fresh id, applied; its outcome.
struct command_outcome fixture_run(struct fixture *self, uint64_t shard, const struct op *ops);
struct command_outcome fixture_outcome(const struct apply_result *result);
// Newest value of a key, "-" when absent; into a static buffer.
const char *fixture_get(struct fixture *self, const char *key);
uint64_t fixture_digest(struct fixture *self);
// Of one shard by the port, all slices at once.
enum status fixture_digest_shard(const struct fixture *self, struct shard_id shard,
                                 uint64_t *out_digest);
