// SPDX-License-Identifier: Apache-2.0
// session.h - the gateway of a node: routes a client's request to the replica that can serve it,
// retries inside the deadline, and serves requests that other gateways send here.
// Invariants: each call ends exactly once, at its deadline at the latest; a commit whose fate is
//             not known at the deadline ends UNKNOWN_OUTCOME, never as a failure; a repeat goes out
//             with the same transaction id; a copy of a request is processed at most once; one bad
//             shard delays nobody else.
// Ownership:  the caller owns struct session_call until done; payload views live until done; views
//             in a result live during done.
// Thread:     confined to the shard loop.
// See:        txn/session/README.md; control-plane.md "Routing rules"; tests/unit/txn/session
#pragma once

#include "dataplane/port/env.h"
#include "dataplane/replica/replica_table.h"
#include "dataplane/shard/shard_map.h"
#include "txn/apply/apply.h"
#include "txn/command/command_txn.h"
#include "txn/lock/lock_table.h"
#include "txn/participant/participant.h"
#include "txn/trace/trace.h"

struct session;

enum {
    SESSION_CALLS_MAX = 1 << 20
};  // largest calls_max: the place in the table is 20 bits of ids

struct session_config {
    struct node_id self;
    const struct env *env;
    struct hlc_clock *hlc;
    struct replica_table *table;
    struct apply *apply;
    struct shard_map *map;  // the node's copy; leader hints are noted in it
    uint32_t calls_max;     // in flight as gateway; beyond: OVERLOADED at once
    uint32_t served_max;    // in flight for other gateways
    uint64_t attempt_ns;  // an attempt without an answer is repeated elsewhere after this (500 ms)
    // The peers that may hold a catalogue replica, for COMMAND_CATALOG when no leader is known;
    // returns their number (<= SHARD_REPLICAS_MAX).
    uint32_t (*catalog_nodes)(void *ctx, struct node_id *out_nodes);
    void *ctx;
    // How far a peer is, by any measure, for reads that any replica may serve (may be NULL: all are
    // equally far).
    uint64_t (*distance)(void *ctx, struct node_id node);
    // A prepared transaction of a shard led here is silent or in somebody's way (may be NULL).
    void (*recover)(void *ctx, struct shard_id shard, const struct lock_holder *holder);
    uint64_t recovery_after_us;  // txn_recovery_after; 0 = SESSION_RECOVERY_AFTER_US
    uint32_t waits_max;   // requests that wait for prepared transactions; 0 = SESSION_WAITS_MAX
    struct trace *trace;  // may be NULL
};

enum { SESSION_WAITS_MAX = 4096, SESSION_RECOVERY_AFTER_US = 500000 };

struct session_result {
    enum status status;
    struct command_certificate certificate;
    struct slice payload;   // outcome, rows or command_txn_answers, see command.h
    struct slice detail;    // text for a human, may be empty
    struct hlc_ts contact;  // as in command_response
    struct hlc_ts uncertain;
};

// One request of a client. The fields before "private" are the caller's.
// A certificate (method not NONE) says that the status was decided by the shard; without one, the
// request changed nothing, except that UNKNOWN_OUTCOME says that nobody knows.
// TXN_STATUS ends NOT_FOUND with a payload of one byte, 1, while the transaction is prepared here.
// PREPARE and RESOLVE are routed by `key` and may be repeated: certified they end OK with
// command_txn_answers, and UNKNOWN_OUTCOME is silence. A certified ABORTED_RETRY of a commit has
// one of them: what it read has a newer version. (One that met a lock is tried again.)
struct session_call {
    enum command_kind kind;
    // Full key that selects the shard. Ignored for COMMAND_CATALOG, and for COMMAND_SCAN, whose
    // payload says where it starts: a page ends at the border of the shard, with more = true.
    struct slice key;
    // Largest key touched (command_commit_span); outside the shard of `key`: NOT_SUPPORTED, unless
    // only the end of a delete_range lies there. Empty = key.
    struct slice key_high;
    // Encoded command_commit / command_read / command_scan / id / catalogue command /
    // command_prepare / resolutions / command_versions, checked before (command_*_check).
    struct slice payload;
    // COMMIT over several shards: when its first try began, which decides who waits for whom; zero
    // = now. Not above the clock.
    struct hlc_ts begin;
    uint64_t deadline_ns;  // monotonic
    void (*done)(struct session_call *self, const struct session_result *result);
    uint64_t id;  // private
};

struct session *session_create(const struct session_config *config);
// Ends every call (as session_cancel does). Call it before replica_table_destroy: what the table
// still holds of this session is answered, and then freed, by the table's end.
void session_destroy(struct session *self);

// Starts a call; done may be called before this returns, and may start the next.
void session_start(struct session *self, struct session_call *call);
// Ends a call early (client went away): done is called with CANCELLED (UNKNOWN_OUTCOME for a commit
// that may have been applied). The call must not have ended.
void session_cancel(struct session *self, struct session_call *call);
// PEER_REQUEST and PEER_RESPONSE from a peer. STATUS_CORRUPT for what does not decode.
NODISCARD enum status session_on_message(struct session *self, struct node_id from,
                                         enum peer_message_type type, struct slice body);
// When session_on_time is wanted next; UINT64_MAX = never.
uint64_t session_deadline_ns(const struct session *self);
void session_on_time(struct session *self);
// The table heard of a leader: calls waiting for that shard, or for the answer of another node that
// led it, go out at the next session_on_time, which is due at once. May be called in the middle of
// a turn of the table.
void session_on_leader(struct session *self, struct shard_id shard, struct node_id leader,
                       uint64_t term);

struct session_stats {
    uint64_t calls;         // started
    uint64_t served_local;  // attempts executed on this node's own replica
    uint64_t forwarded;     // attempts sent to another node
    uint64_t retries;       // attempts after a call's first
    uint64_t overloaded;    // calls and served requests refused for want of room
    uint64_t duplicates;    // copies of requests not processed again
    uint64_t clock_ahead;   // messages whose clock was not adopted
    uint64_t in_flight;     // calls now
    uint64_t served;        // requests of other gateways now
    struct participant_stats locks;
};
struct session_stats session_stats(const struct session *self);
// Prepared transactions of the shards led here, and who waits for them, to be listed.
struct participant *session_participant(struct session *self);
// A key that an interactive transaction asked to be left alone. The view lives during the visit.
struct session_held {
    struct txn_id txn;
    struct hlc_ts begin;
    struct shard_id shard;
    struct slice key;
    uint64_t held_ns;
    uint64_t remaining_ns;  // unless it is renewed
};
// Of the shards led here, in no order; stops when visit returns false.
void session_each_held(const struct session *self,
                       bool (*visit)(void *ctx, const struct session_held *held), void *ctx);
// Asserts the invariants of the tables; O(calls_max). For tests and the simulator.
void session_check(const struct session *self);
