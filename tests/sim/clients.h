// SPDX-License-Identifier: Apache-2.0
// clients.h - the load: closed-loop clients at any gateway, each operation recorded in the history.
// Invariants: a commit that is repeated goes out with the same id and body, perhaps through another
//             gateway, perhaps while the first is still under way, and must have the same outcome.
// Ownership:  the world owns the clients; calls live inside them.
// Thread:     confined to the world.
// See:        tests/sim/README.md
#pragma once

#include "dataplane/base/prng.h"
#include "tests/sim/history.h"
#include "tests/sim/node.h"

// A call through a gateway. When the gateway crashes, done is told NULL.
struct sim_call {
    struct session_call call;  // first
    struct sim_world *world;
    struct sim_event start;
    struct sim_node *node;
    uint32_t node_boot;
    bool active;   // between sim_call_begin and done
    bool started;  // the gateway has it
    uint64_t budget_ns;
    struct buf payload;
    struct buf key;
    struct buf key_high;  // empty = key
    void (*done)(struct sim_call *self, const struct session_result *result);
    struct sim_call *next;  // of the world's active calls
};

void sim_call_init(struct sim_call *self, struct sim_world *world);
void sim_call_deinit(struct sim_call *self);
// kind, key, payload and budget_ns are set; it reaches the gateway delay_ns from now.
void sim_call_begin(struct sim_call *self, struct sim_node *gateway, uint64_t delay_ns);
// The node is gone: its calls end without an answer.
void sim_calls_lost(struct sim_world *world, const struct sim_node *node);

// Two attempts at an operation, and one slot to ask for its outcome: an attempt that a crash cuts
// off still belongs to the session that dies.
enum { SIM_CLIENT_ATTEMPTS = 2, SIM_CLIENT_CALLS = 3 };

struct sim_client {
    struct sim_world *world;
    uint32_t index;
    struct prng prng;
    struct sim_event step;
    bool final;   // reads and writes everything once, then ends
    bool busy;    // an operation is under way
    uint32_t op;  // its position in the history
    bool known;   // it has a definite outcome
    bool maybe;   // an attempt of it may have happened
    uint32_t calls_left;
    struct sim_call calls[SIM_CLIENT_CALLS];
    uint32_t final_at;  // next step of the final check
    uint32_t final_tries;
    bool turned_away;  // the latest answer said so
    uint64_t txn_count;
    struct txn_id txn;
    bool asking;       // for the outcome of the operation, by its id
    struct sim_seen {  // last value this client saw or wrote, by key
        uint64_t value;
        struct hlc_ts version;
    } seen[SIM_SHARDS_MAX * SIM_KEYS_PER_SHARD_MAX];
    struct sim_node *through;  // the gateway that was chosen for it; NULL = any
    // Of the scan under way.
    bool scanning;
    bool reverse;
    bool range;  // the commit under way deletes the whole shard
};

struct sim_client_stats {
    uint64_t ok;
    uint64_t conflict;  // a condition did not hold
    uint64_t refused;
    uint64_t unknown;
    uint64_t repeats;
};

void sim_client_init(struct sim_client *self, struct sim_world *world, uint32_t index);
void sim_client_deinit(struct sim_client *self);
// Begins the load; it ends by itself when the world's clients_stop is set.
void sim_client_start(struct sim_client *self);
// One that has nothing under way reads through this node now. False when all are at work.
bool sim_clients_read_through(struct sim_world *world, struct sim_node *node);
// Writes every shard and reads every key once; each must succeed.
void sim_client_finish(struct sim_client *self);
bool sim_client_is_idle(const struct sim_client *self);
// The full key of a key number, in out (16 bytes suffice); returns its size.
enum { SIM_KEY_SIZE = 8 };
struct slice sim_key(const struct sim_world *world, uint32_t key, uint8_t out[SIM_KEY_SIZE]);
// The first key of a shard's range, with the keyspace's prefix.
struct slice sim_shard_start(const struct sim_world *world, uint32_t shard,
                             uint8_t out[SIM_KEY_SIZE]);
// What a stored value stands for; 0 when it is none of ours.
uint64_t sim_value_decode(struct slice stored);
