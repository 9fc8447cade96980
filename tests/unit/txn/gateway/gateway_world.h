// SPDX-License-Identifier: Apache-2.0
// gateway_world.h - a gateway over a session that does nothing by itself: each call that it is
// given is listed, and answered by the test.
// Invariants: time stands still but for world_advance; gateway_check holds after every answer.
// Ownership:  the world owns what it makes; client calls are the test's.
// Thread:     one.
// See:        tests/unit/txn/gateway/gateway_test.c
#pragma once

#include "dataplane/base/prng.h"
#include "txn/gateway/gateway.h"

// Keyspace 1 in three shards, cut at "g" and "p".
#define WORLD_A   ((struct shard_id){16})
#define WORLD_B   ((struct shard_id){17})
#define WORLD_C   ((struct shard_id){18})
#define KEY(text) SLICE_LITERAL("\0\0\0\1" text)

enum { WORLD_CALLS_MAX = 4096, WORLD_TERM = 7 };

struct world {
    uint64_t now_ns;
    struct prng prng;
    struct env env;
    struct hlc_clock hlc;
    struct shard_map *map;
    struct gateway *gateway;
    // Calls that the session was given and that have not ended, in order.
    struct session_call *calls[WORLD_CALLS_MAX];
    uint32_t call_count;
    uint32_t started;
    uint32_t cancelled;
    uint64_t index;
    // When set, calls end at once with this, uncertified.
    enum status refuse;
    enum gateway_verdict clock;
};

struct world *world_create(uint32_t txns_max, uint32_t recoveries_max);
void world_destroy(struct world *self);
void world_put_shards(struct world *self);
void world_advance(struct world *self, uint64_t ms);
struct shard_id world_shard(const struct world *self, const struct session_call *call);

// The first call of that kind for that shard, or NULL.
struct session_call *world_find(const struct world *self, enum command_kind kind,
                                struct shard_id shard);
void world_end(struct world *self, struct session_call *call, const struct session_result *result);
// Ends without a certificate.
void world_silence(struct world *self, struct session_call *call, enum status st);
void world_answer(struct world *self, struct session_call *call,
                  const struct command_txn_answer *answer);
// The call that prepares there, alone or not; fails the test when there is none.
struct session_call *world_prepare(const struct world *self, struct shard_id shard,
                                   struct command_prepare_view *out);
void world_prepared(struct world *self, struct shard_id shard, uint64_t p);
// The culprit is "culprit" in A, "h-culprit" in B.
void world_refused(struct world *self, struct shard_id shard, enum command_txn_reason reason);
// The one resolution of the one RESOLVE to that shard.
struct session_call *world_resolve(const struct world *self, struct shard_id shard,
                                   struct command_resolution *out);
// Answers it, after it was checked for its decision.
void world_resolved(struct world *self, struct shard_id shard, enum command_decision decision,
                    enum command_txn_state state, uint64_t ts);

// A client's call and what became of it.
struct client {
    struct session_call call;
    struct buf payload;
    uint32_t ended;
    struct session_result result;
    struct buf told;
    char detail[256];
};

void client_init(struct client *self);
void client_deinit(struct client *self);
void client_commit(struct world *world, struct client *self, uint64_t id, uint64_t ms,
                   const struct command_commit *commit);
// Two puts, in A and B (home A).
void client_put_two(struct world *world, struct client *self, uint64_t id, uint64_t ms);
void client_read(struct world *world, struct client *self, const struct command_read *read);
struct command_outcome client_outcome(const struct client *self);
