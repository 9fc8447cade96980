// SPDX-License-Identifier: Apache-2.0
// clients_txn.h - the load of transactions over several shards: lists that are read and appended
//                 to, ranges into which members are put, and a bank; the record, and its judges.
// Invariants: a transaction reads its keys at one snapshot and commits only while they still are
//             the newest; values are unique; whoever's outcome is unknown goes on under another
//             name of process.
// Ownership:  the world owns the load; calls live inside the clients.
// Thread:     confined to the world.
// See:        tests/sim/README.md; tests/sim/list_append.h; tests/sim/txn_judges.h
#pragma once

#include "dataplane/base/prng.h"
#include "tests/sim/clients.h"
#include "tests/sim/list_append.h"
#include "txn/gateway/gateway_hold.h"
#include "txn/interactive/interactive.h"

enum {
    SIM_TXN_CLIENTS_MAX = 6,
    SIM_TXN_SLOTS = 8,      // list keys alive at a time
    SIM_TXN_LIST_MAX = 80,  // elements of one list
    SIM_TXN_OPS_MAX = 4,
    SIM_TXN_ACCOUNTS = 6,
    SIM_TXN_KEYS_MAX = 8,  // of one transaction
    SIM_TXN_KEY_SIZE = 12,
    SIM_TXN_GROUPS = 4,    // ranges alive at a time
    SIM_TXN_MEMBERS = 12,  // of a range
    SIM_TXN_RANGES_MAX = 2,
    SIM_TXN_ATTEMPTS = 2,
    // One more to ask for an outcome: an attempt that a crash cuts off still belongs to the session
    // that dies.
    SIM_TXN_CALLS = 3,
};

struct sim_txn_client;

struct sim_txn_call {
    struct sim_call call;  // first
    struct sim_txn_client *client;
};

enum sim_txn_kind {
    SIM_TXN_LISTS,
    SIM_TXN_RANGES,
    SIM_TXN_TRANSFER,
    SIM_TXN_AUDIT,
};
enum sim_txn_phase {
    SIM_TXN_IDLE,
    SIM_TXN_READING,
    SIM_TXN_COMMITTING,
    SIM_TXN_ASKING,
    SIM_TXN_TALKING,  // between the steps of an interactive transaction
    SIM_TXN_HOLDING,
};

// A key of the transaction under way: what it held, and what is to be written.
struct sim_txn_item {
    uint32_t key;       // of a list: generation * SIM_TXN_SLOTS + slot; else the account
    bool append;        // list
    bool by_condition;  // validated by a condition on its version instead of a read
    uint64_t value;     // appended
    struct hlc_ts version;
    uint64_t list[SIM_TXN_LIST_MAX + 1];
    uint32_t count;
    int64_t balance;
    int64_t change;
};

// A range of members, each put once by whoever drew its number, and what was seen in it.
struct sim_txn_range {
    uint32_t group;
    uint32_t generation;
    uint64_t seen[SIM_TXN_MEMBERS];  // numbers among all members (sim_txn__member)
    uint32_t seen_count;
};

// An interactive transaction (clients_txn_talk.c).
struct sim_txn_talk {
    struct sim_txn_client *client;
    struct prng prng;  // kept over transactions
    bool on;
    struct sim_node *node;
    uint32_t boot;
    struct hlc_ts begin;
    struct hlc_ts snapshot;
    struct interactive buffer;
    struct gateway_hold hold;
    bool for_update;
    bool holding;  // asks for the keys
    bool held;     // has asked
    bool refused;
    bool again;  // reads what it has read before
    uint64_t pause_ns_max;
    uint32_t read_from;  // items of the read under way
    uint32_t read_to;
    uint32_t asked[SIM_TXN_KEYS_MAX];
    uint32_t asked_count;
};

struct sim_txn_client {
    struct sim_world *world;
    uint32_t index;
    struct prng prng;
    struct prng tokens;  // what they are drawn from
    struct sim_event step;
    enum sim_txn_phase phase;
    enum sim_txn_kind kind;
    uint64_t process;
    uint64_t invoke;
    uint64_t count;  // of transactions begun
    struct txn_id txn;
    struct command_snapshot snapshot;  // as it was asked for
    bool wild;                         // the token is one that nobody may believe
    struct hlc_ts read_ts;
    struct hlc_ts token;  // everything this client has seen lies at or below it
    struct sim_txn_item items[SIM_TXN_KEYS_MAX];
    uint32_t item_count;
    struct sim_txn_range ranges[SIM_TXN_RANGES_MAX];
    uint32_t range_count;
    uint32_t range_at;  // being read
    bool insert;
    uint32_t member;  // to be put into the last range
    uint32_t calls_left;
    bool known;  // a definite outcome came
    bool maybe;  // an attempt may have happened
    struct hlc_ts commit_ts;
    enum list_append_type outcome;
    struct sim_txn_call calls[SIM_TXN_CALLS];
    struct sim_txn_talk talk;
    bool watches;  // reads when it is told to
    bool final;
    uint32_t final_at;  // what was read so far: lists, ranges, then accounts
    uint32_t final_tries;
    uint32_t final_gateway;  // the one that served last
};

struct sim_txn_stats {
    uint64_t ok;
    uint64_t many;  // of these, over several shards
    uint64_t aborted;
    uint64_t unknown;
    uint64_t reads;
    uint64_t stale_reads;
    uint64_t unread;  // the read did not succeed, nothing else was tried
    uint64_t audits;
    uint64_t talks;  // interactive ones, committed
};

struct sim_txn_load {
    struct sim_world *world;
    uint32_t client_count;  // 0: this world has no such load
    struct sim_txn_client clients[SIM_TXN_CLIENTS_MAX];
    struct list_append_history history;  // of lists
    struct list_append_history members;  // of ranges (txn_judges.h)
    uint64_t moments;                    // of the histories: each invocation and each return is one
    uint64_t last_value;
    uint64_t last_process;
    uint32_t generations[SIM_TXN_SLOTS];
    uint32_t range_generations[SIM_TXN_GROUPS];
    uint32_t next_members[SIM_TXN_GROUPS];
    int64_t *balances;  // SIM_TXN_ACCOUNTS each audit
    uint64_t *audit_ts;
    uint32_t audit_count;
    uint32_t audit_capacity;
    struct sim_txn_stats stats;
};

// The number of clients is the plan's.
void sim_txn_init(struct sim_txn_load *self, struct sim_world *world);
void sim_txn_deinit(struct sim_txn_load *self);
// Begins; ends by itself when the world's clients_stop is set.
void sim_txn_start(struct sim_txn_load *self);
// Whoever has nothing to do reads lists at this node, now. Some do nothing else (watches).
void sim_txn_read_through(struct sim_txn_load *self, struct sim_node *gateway);
// One of those reads these lists there.
void sim_txn_look_at(struct sim_txn_load *self, struct sim_node *gateway, const uint32_t *lists,
                     uint32_t count);
// The node that leads the shard in which the list lies, or NULL.
struct sim_node *sim_txn_leader_of(struct sim_txn_load *self, uint32_t list);
// Everything is quiet: reads every list and every account, each must succeed.
void sim_txn_finish(struct sim_txn_load *self);
// The node stops, or fell in the middle of something: what is interactive through it is over.
void sim_txn_lost(struct sim_txn_load *self, const struct sim_node *node, bool fell);
bool sim_txn_is_idle(const struct sim_txn_load *self);
void sim_txn_stats_add(struct sim_txn_stats *self, const struct sim_txn_stats *more);
// Judges what was seen; fails the world.
void sim_txn_audit(struct sim_txn_load *self);
