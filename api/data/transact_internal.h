// SPDX-License-Identifier: Apache-2.0
// transact_internal.h - the state of a stream of Data.Transact, for the files that share it.
// Invariants: whoever has the request at hand has the buffer and the scratch memory: first the
//             poller, then the loop; the fields of the loop are the loop's alone; at most one of
//             running and holding.
// Ownership:  the call owns its state.
// Thread:     functions: the loop, with a request at hand.
// See:        api/data/transact.c
#pragma once

#include "api/data/data_internal.h"
#include "txn/gateway/gateway_hold.h"
#include "txn/interactive/interactive.h"

enum {
    DATA_TRANSACT_KEPT_MAX = 1 << 16,
    DATA_TRANSACT_HINT = 100,
    DATA_TRANSACT_ERROR = 1,  // fields of TransactResponse
    DATA_TRANSACT_BEGUN = 2,
    DATA_TRANSACT_ROWS = 3,
    DATA_TRANSACT_WRITTEN = 4,
    DATA_TRANSACT_COMMITTED = 5,
    DATA_TRANSACT_ROLLED_BACK = 6,
    DATA_MARGIN_PARTS = 10,
};

enum data_transact_end {
    DATA_TRANSACT_HALF_CLOSED,
    DATA_TRANSACT_CANCELLED,
    DATA_TRANSACT_DRAIN,
    DATA_TRANSACT_END_COUNT
};

struct data_transact;

struct data_transact_end_task {
    struct loop_task task;
    struct data_transact *state;
    enum data_transact_end end;
};

// State of a call.
struct data_transact {
    struct data *data;
    struct loop_task task;  // the request at hand
    struct data_transact_end_task ends[DATA_TRANSACT_END_COUNT];
    struct session_call call;
    atomic_bool stopped;  // nothing is read any more
    uint64_t deadline_ns;
    // Of the transaction.
    uint32_t keyspace;  // 0 = not begun
    struct txn_id txn;
    struct hlc_ts begin;
    struct hlc_ts snapshot;  // zero = not chosen yet
    struct interactive buffer;
    uint64_t charged;  // of data->transact_bytes
    struct gateway_hold hold;
    // Of the request at hand.
    struct data_scratch *scratch;
    struct data_transact_request request;
    struct data_refusal refusal;  // status OK = to be done
    struct slice home;            // commit: the key whose shard keeps the outcome
    struct interactive_scan scan;
    struct proto_writer reply;
    size_t rows_mark;
    struct buf out;
    struct buf fold;
    // The loop's.
    bool running;  // the session has the request
    bool holding;  // keys are being taken for it
    bool ended[DATA_TRANSACT_END_COUNT];
    bool overflow;  // an answer found no room
    bool finished;
};

static inline struct data_transact *data__transact_of(void *member, size_t offset) {
    return (struct data_transact *)(void *)((uint8_t *)member - offset);
}

// --- transact.c ---

// Begins an answer, in state->reply.
void data__transact_writer(struct data_transact *state);
// Sends it; the last answer ends the stream.
void data__transact_send(struct data_transact *state, bool last);
// An error is the last answer.
void data__transact_fail(struct data_transact *state, const struct rpc_error *error);
void data__transact_fail_status(struct data_transact *state, enum status st, const char *text);
// The same, of state->refusal.
void data__transact_refuse(struct data_transact *state);
void data__transact_refused(struct data_refusal *out, enum status st, const char *field,
                            const struct interactive_refusal *why);
enum status data__transact_overloaded(struct data_refusal *out, const struct data *data);
// What is read and written counts against the node's memory: false when that is used up.
bool data__transact_charge(struct data_transact *state);
uint64_t data__transact_deadline(const struct data_transact *state);
// The snapshot, or what chooses it.
struct command_snapshot data__transact_snapshot(const struct data_transact *state);
// Starts what scratch->encoded holds.
void data__transact_start(struct data_transact *state, enum command_kind kind, struct slice key,
                          struct slice key_high);

// --- transact_read.c ---

void data__transact_get(struct data_transact *state);
void data__transact_get_for_update(struct data_transact *state);
void data__transact_held(struct gateway_hold *hold, const struct session_result *result);
void data__transact_scan(struct data_transact *state);
// What the shards said.
void data__transact_put_rows(struct data_transact *state, struct slice payload,
                             const struct command_certificate *certificate);
void data__transact_scanned(struct data_transact *state, const struct session_result *result);
