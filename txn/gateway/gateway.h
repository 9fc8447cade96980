// SPDX-License-Identifier: Apache-2.0
// gateway.h - what a client asks of any number of shards: one shard goes to the session as it is;
// several become a transaction or a read at one snapshot. Also resolves what others left behind.
// Invariants: each call ends exactly once, at its deadline at the latest; a commit is told
//             committed, aborted, or UNKNOWN_OUTCOME, and the first two never wrongly; a decision
//             that was found reaches every participant, with retries, also after the client was
//             told; bounded numbers of transactions and recoveries.
// Ownership:  as session.h: the caller owns its session_call until done.
// Thread:     the shard loop.
// See:        docs/protocols/transactions.md; txn/gateway/README.md; tests/unit/txn/gateway
#pragma once

#include "txn/coordinator/coordinator.h"
#include "txn/lock/lock_table.h"
#include "txn/session/session.h"
#include "txn/trace/trace.h"

struct gateway;
struct gateway_txn;

enum { GATEWAY_TEXT_SIZE = 400 };

// Whether this node takes part in what clocks order.
enum gateway_verdict {
    GATEWAY_GO,
    GATEWAY_WAIT,       // not known yet
    GATEWAY_TURN_AWAY,  // its clock is wrong
};

struct gateway_config {
    struct node_id self;
    const struct env *env;
    struct hlc_clock *hlc;
    struct session *session;
    struct shard_map *map;
    uint32_t txns_max;        // coordinated at once, and as many reads; beyond: OVERLOADED
    uint32_t recoveries_max;  // at once; beyond: asked again later
    // Whether commits and strong reads may start here; if not now, `out_text` says why and whom to
    // ask (may be NULL: always). What any replica can serve is served.
    enum gateway_verdict (*may_coordinate)(void *ctx, char out_text[GATEWAY_TEXT_SIZE]);
    void *ctx;
    struct trace *trace;  // may be NULL
};

struct gateway *gateway_create(const struct gateway_config *config);
// Ends every call as gateway_cancel does. Before session_destroy.
void gateway_destroy(struct gateway *self);

// Takes what session_start takes: COMMIT, READ, SCAN, TXN_STATUS, CATALOG. A commit's key and
// key_high span its keys; so do a read's. Results of commits over several shards: payload is the
// command_outcome, the certificate is that of the home (method LOG) with timestamp = c.
void gateway_start(struct gateway *self, struct session_call *call);
// As session_cancel. A transaction that may have been prepared is still brought to an end.
void gateway_cancel(struct gateway *self, struct session_call *call);

// A participant on this node found a prepared transaction that is silent or in somebody's way.
// Takes what it needs of the holder; repeated calls for one attempt are one recovery.
void gateway_recover(struct gateway *self, struct shard_id shard, const struct lock_holder *holder);

uint64_t gateway_deadline_ns(const struct gateway *self);
void gateway_on_time(struct gateway *self);
// Hands the session what gathered since: resolutions, one entry per shard. Called in each turn, so
// that what a turn's answers decide goes out with it. False when nothing had gathered.
bool gateway_turn(struct gateway *self);

struct gateway_stats {
    uint64_t one_phase;  // commits that went to one shard as they were
    uint64_t two_phase;
    uint64_t committed;  // of two_phase, as told
    uint64_t aborted;
    uint64_t unknown;
    uint64_t attempts;     // beyond the first of a call
    uint64_t recovered;    // outcomes found for transactions of others
    uint64_t reads_many;   // reads over several shards
    uint64_t read_rounds;  // beyond the first
    uint64_t resolutions;  // sent
    uint64_t batches;      // entries in which they went
    uint64_t left;         // to recovery: not all participants had answered the decision in time
    uint64_t overloaded;
    uint64_t turned_away;  // by may_coordinate
    uint64_t held;         // calls that wait for it, now
    uint64_t in_flight;    // transactions and reads now, those already told included
    uint64_t recovering;   // now
};
struct gateway_stats gateway_stats(const struct gateway *self);

// A transaction over several shards that is driven here, to be listed.
struct gateway_view {
    struct txn_id txn;
    struct txn_attempt attempt;
    struct hlc_ts begin;
    bool recovering;
    bool told;     // or nobody's call
    bool waiting;  // the attempt is over, the next begins soon; phase and states say how it ended
    enum coordinator_phase phase;
    uint32_t attempts;
    uint32_t participant_count;
    const struct coordinator_participant *participants;  // the gateway's; the home first
    const struct gateway_txn *txn_private;
};
// The anchor of a participant; empty while it waits for the next attempt.
struct slice gateway_view_anchor(const struct gateway_view *view, uint32_t i);
// Those that have begun an attempt, in no order; stops when visit returns false. visit must change
// nothing.
void gateway_each(const struct gateway *self,
                  bool (*visit)(void *ctx, const struct gateway_view *view), void *ctx);
void gateway_check(const struct gateway *self);
