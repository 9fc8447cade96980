// SPDX-License-Identifier: Apache-2.0
// trace.h - what happened lately to transactions on this node: a ring of small events.
// Invariants: the newest events are kept, as many as the ring holds; times of one ring never run
//             backwards; noting allocates nothing, takes no lock and decides nothing.
// Ownership:  whoever creates it; users hold a pointer, NULL = nothing is noted.
// Thread:     the shard loop.
// See:        txn/trace/README.md; tests/unit/txn/trace/trace_test.c
#pragma once

#include "txn/command/command_txn.h"

// By value in the answers of nodes: append only.
enum trace_kind {
    TRACE_BEGUN = 1,   // at the gateway: an attempt; value = begin
    TRACE_SENT,        // by the gateway, to a shard: `what`
    TRACE_ANSWERED,    // to the gateway: state, reason; value = p or c
    TRACE_DECIDED,     // by the gateway: state COMMITTED, value = c; or ABORTED with the reason
    TRACE_TOLD,        // the client: status; value = c
    TRACE_ENDED,       // every shard has answered the decision
    TRACE_LEFT,        // by the gateway, to recovery
    TRACE_RECOVERING,  // this node found it prepared and silent
    TRACE_WAITS,       // at a leader: value = the first eight bytes of whom it waits for
    TRACE_PROPOSED,    // by a leader: `what`
    TRACE_APPLIED,     // by a replica: `what`, state, reason; value = p or c
    TRACE_KIND_COUNT
};

// What is sent, proposed or applied.
enum trace_what {
    TRACE_NOTHING,
    TRACE_ONE_PHASE,  // everything on one shard
    TRACE_PREPARE,
    TRACE_COMMIT,
    TRACE_ABORT,
    TRACE_PROBE,
    TRACE_FORGET,
    TRACE_SETTLE,
    TRACE_WHAT_COUNT
};

struct trace_event {
    struct hlc_ts at;
    uint64_t txn;  // hash of the id
    uint64_t value;
    uint64_t shard;    // 0 = none
    uint32_t attempt;  // its tag; 0 = not known, or of one phase
    uint8_t kind;
    uint8_t what;
    uint8_t state;   // enum command_txn_state; of TOLD: enum status
    uint8_t reason;  // enum command_txn_reason
};

struct trace_clock {
    void *ctx;
    // The present by the node's hybrid logical clock, without a step of it and without any effect.
    struct hlc_ts (*now)(void *ctx);
};

struct trace;

// `count` events, a power of two.
struct trace *trace_create(uint32_t count, struct trace_clock clock);
void trace_destroy(struct trace *self);

uint64_t trace_hash(struct txn_id txn);
// at and txn are filled in.
void trace__put(struct trace *self, const struct txn_id *txn, const struct trace_event *event);
// For the hot path: nothing at all without a ring.
static inline void trace_note(struct trace *self, const struct txn_id *txn,
                              struct trace_event event) {
    if (self != NULL) { trace__put(self, txn, &event); }
}
enum trace_what trace_of_decision(enum command_decision decision);

// Events of one transaction, the oldest first; stops when visit returns false. O(count).
void trace_each(const struct trace *self, struct txn_id txn,
                bool (*visit)(void *ctx, const struct trace_event *event), void *ctx);
// Nothing before this is remembered; zero = everything since the start is.
struct hlc_ts trace_oldest(const struct trace *self);
uint64_t trace_noted(const struct trace *self);  // since the start
