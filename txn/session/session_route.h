// SPDX-License-Identifier: Apache-2.0
// session_route.h - the decisions of a gateway, as pure functions: whom to ask, and what an answer
// means for the call.
// Invariants: a commit that may have been applied never ends with a failure that nobody certified;
//             RETRY_NOW is decided only on new information, and at most SESSION_HOPS_MAX times
//             between two waits.
// Ownership:  none; values.
// Thread:     pure.
// See:        txn/session/README.md; tests/unit/txn/session/session_route_test.c
#pragma once

#include "txn/command/command.h"

enum { SESSION_HOPS_MAX = 4 };

enum session_step { SESSION_FINISH, SESSION_RETRY_NOW, SESSION_RETRY_LATER };

// Whom to ask.
struct session_candidates {
    struct node_id self;
    bool self_leads;              // this node's replica says that it leads
    struct node_id hint;          // leader by the freshest hint; 0 = unknown
    struct node_id avoid;         // refused or was silent in the last attempt; 0 = none
    const struct node_id *nodes;  // those that may lead
    uint32_t count;
    uint32_t rotor;  // where to begin in nodes
};
// 0 when there is nobody to ask.
struct node_id session_route_target(const struct session_candidates *self);

// Whom to ask for a read that any replica may serve: this node if it has one, else the nearest,
// rather not the leader, which has enough to do.
struct session_nearest {
    struct node_id self;
    bool self_has;                // a replica, that is
    struct node_id leader;        // by the freshest hint; 0 = unknown
    const struct node_id *nodes;  // of all replicas
    const uint64_t *distances;    // of each; NULL = all are equally far
    uint32_t count;
    uint32_t rotor;  // where to begin among equals
};
// 0 when there is nobody to ask.
struct node_id session_route_nearest(const struct session_nearest *self);

// What an answer means.
struct session_judgement {
    enum command_kind kind;
    enum status status;  // of the answer
    bool certified;      // it carries a certificate
    bool entered_log;    // UNAVAILABLE: the proposal was in a log and may still commit
    bool new_leader;     // NOT_LEADER: names another node than the one that answered, or this node
                         // and it leads
    bool newer_map;      // STALE_SHARD_MAP: what it brought changed the route of this call
    bool maybe_applied;  // by an earlier attempt
    bool locked;         // certified, but nothing happened or is decided yet: a lock is in the way
                         // of the commit, or is the very one whose outcome is asked for
    uint32_t hops;       // immediate retries since the last wait
};
struct session_verdict {
    enum session_step step;
    enum status status;  // of the call, when step is FINISH
    bool maybe_applied;  // for the attempts to come
};
struct session_verdict session_route_judge(const struct session_judgement *self);

// True for kinds of which a lost attempt may have had an effect.
bool session_route_mutates(enum command_kind kind);
// How a call ends whose time is up (or that is cancelled: `otherwise`).
enum status session_route_give_up(enum command_kind kind, bool maybe_applied,
                                  enum status otherwise);
// 2 ms to 100 ms: doubles with each wait, jittered upwards.
uint64_t session_route_backoff_ns(uint32_t waits, uint64_t random);
