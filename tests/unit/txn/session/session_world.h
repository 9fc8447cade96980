// SPDX-License-Identifier: Apache-2.0
// session_world.h - four nodes in one process: three with replicas, one gateway alone; real tables,
// stores and sessions, with time and messages by hand.
// Invariants: node 1 leads the catalogue and the left shard, node 2 the right one, unless a test
//             moves them; every session is checked after each turn.
// Ownership:  the world owns everything; calls belong to the test.
// Thread:     one.
// See:        tests/unit/txn/session/session_test.c
#pragma once

#include "dataplane/base/prng.h"
#include "tests/lib/fake_log.h"
#include "tests/sim/disk/sim_engine.h"
#include "txn/command/command_hold.h"
#include "txn/session/session.h"

enum { WORLD_NODES = 4, WORLD_REPLICAS = 3, WORLD_QUEUE_MAX = 8192, WORLD_EPOCH = 2 };

// Keys below "m" of keyspace 1, and the rest of everything.
#define WORLD_LEFT  ((struct shard_id){16})
#define WORLD_RIGHT ((struct shard_id){17})
#define KEY(text)   SLICE_LITERAL("\0\0\0\1" text)

struct world;

struct world_node {
    struct world *world;
    struct node_id id;
    struct env env;
    struct fake_log *log;
    struct support support;
    struct hlc_clock hlc;
    struct engine *engine;
    struct apply *apply;
    struct replica_table *table;
    struct shard_map *map;
    struct session *session;
    struct state_machine catalog;  // answers ALREADY_EXISTS to "again", else echoes
    uint64_t catalog_applied;
    int64_t wall_offset_us;
    uint32_t recoveries;  // times that session_config.recover was called
    struct txn_id recovered;
};

struct world_letter {
    struct node_id from;
    struct node_id to;
    enum peer_message_type type;
    struct bytes *body;
};

struct world {
    struct world_node nodes[WORLD_NODES];
    uint64_t now_ns;
    struct prng prng;
    struct world_letter queue[WORLD_QUEUE_MAX];
    uint32_t head;
    uint32_t tail;
    uint32_t cut;  // this node is cut off; 0 = nobody
    // True = the letter is lost. May be NULL.
    bool (*lose)(struct world *world, const struct world_letter *letter);
    uint32_t lost;
    struct bytes *kept_request;  // copy of the last PEER_REQUEST
    uint32_t calls_max;
    uint32_t served_max;
};

// first_leaders: leaderships as above at once; otherwise nobody campaigns before its time.
struct world *world_create(uint32_t calls_max, uint32_t served_max, bool first_leaders);
// The usual one: room for 64 calls, led as above; no mark is set.
struct world *world_create_led(void);
void world_destroy(struct world *self);
struct world_node *world_node(struct world *self, uint32_t id);
// Descriptor of a shard; the caller deinitialises it.
void world_descriptor(struct shard_id shard, struct shard_descriptor *out);
// The node forgets its map, and starts a new session on an empty one.
void world_forget_map(struct world_node *node);
// One node's turn, and what its log made durable.
void world_turn(struct world_node *node);
// Messages and timers for a while of virtual time, in steps of a millisecond.
void world_run(struct world *self, uint64_t ms);
uint32_t world_leader(struct world *self, struct shard_id shard);

// A call with its payload and what became of it.
struct world_call {
    struct session_call call;
    struct buf payload;  // of the request
    uint32_t ended;      // times
    enum status status;
    struct command_certificate certificate;
    struct buf result;
    char detail[256];
    struct hlc_ts contact;
    struct hlc_ts uncertain;
};

// Starts a call whose deadline is `ms` from now (others: 3 s).
void world_commit(struct world_node *node, struct world_call *call, uint64_t id, uint64_t ms,
                  const struct command_commit *commit);
void world_put(struct world_node *node, struct world_call *call, uint64_t id, struct slice key,
               struct slice value);
// Put if absent.
void world_create_key(struct world_node *node, struct world_call *call, uint64_t id,
                      struct slice key, uint64_t ms);
void world_read(struct world_node *node, struct world_call *call, struct slice key,
                const struct command_read *options);
void world_read_within(struct world_node *node, struct world_call *call, struct slice key,
                       const struct command_read *options, uint64_t ms);
// All versions of the key, up to `limit`, five bytes of each value.
void world_versions(struct world_node *node, struct world_call *call, struct slice key,
                    uint32_t limit);
void world_scan(struct world_node *node, struct world_call *call, const struct command_scan *scan);
// One part of a transaction over two shards: the put of one key.
struct world_part {
    uint64_t id;
    uint64_t attempt;
    struct hlc_ts begin;
    struct slice key;
    struct slice value;
    bool reads;  // the key is read and locked, not written
    bool home;   // this part is
    bool alone;  // the attempt is nowhere else yet
    struct hlc_ts snapshot;
};
struct txn_id world_txn_id(uint64_t id);
void world_prepare(struct world_node *node, struct world_call *call, const struct world_part *part,
                   uint64_t ms);
// Of the part's attempt, to the shard of its key.
void world_resolve(struct world_node *node, struct world_call *call, const struct world_part *part,
                   enum command_decision decision, struct hlc_ts commit);
void world_hold(struct world_node *node, struct world_call *call, const struct command_hold *hold,
                uint64_t ms);
// The one answer that a prepare or a resolve ended with.
struct command_txn_answer world_answer(const struct world_call *call);
void world_txn_status(struct world_node *node, struct world_call *call, uint64_t id,
                      struct slice key);
void world_catalog(struct world_node *node, struct world_call *call, struct slice payload);
void world_call_deinit(struct world_call *call);
struct command_outcome world_outcome(const struct world_call *call);
// Value of the one row of a read; empty and *found false when absent.
struct slice world_row(const struct world_call *call, bool *found);
