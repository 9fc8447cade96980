// SPDX-License-Identifier: Apache-2.0
// txn_internal.h - the struct behind lightcone_txn.h.
// Invariants: one operation of each kind is in flight at a time; `owed` answers come before the
//             next one that somebody waits for; once `over`, `end` says why and nothing is sent.
// Ownership:  the transaction owns its call and completion queue; the node is the client's.
// Thread:     the caller's, one at a time; what is the client's is looked at under its mutex.
// See:        api/client/README.md "Transactions"
#pragma once

#include "api/client/client_internal.h"
#include "api/client/lightcone_txn.h"

// By value the fields of TransactRequest and TransactResponse.
enum lc_txn_request {
    LC_TXN_BEGIN = 1,
    LC_TXN_GET,
    LC_TXN_SCAN,
    LC_TXN_WRITE,
    LC_TXN_COMMIT,
    LC_TXN_ROLLBACK,
};
enum lc_txn_answer {
    LC_TXN_ERROR = 1,
    LC_TXN_BEGUN,
    LC_TXN_ROWS,
    LC_TXN_WRITTEN,
    LC_TXN_COMMITTED,
    LC_TXN_ROLLED_BACK,
};

// The tags of the four kinds of batches.
enum lc_txn_tag {
    LC_TXN_TAG_SENT,
    LC_TXN_TAG_RECEIVED,
    LC_TXN_TAG_INITIAL,
    LC_TXN_TAG_ENDED,
    LC_TXN_TAG_COUNT
};

// Keys at which earlier tries of a transaction were refused.
enum { LC_CONTENDED_MAX = 8 };
struct lc_contended {
    struct bytes *keys[LC_CONTENDED_MAX];
    uint32_t count;
};

struct lc_txn {
    struct lc_client *client;
    uint32_t keyspace;
    uint8_t id[LC_TXN_ID_SIZE];
    uint64_t begin;
    uint64_t snapshot;                     // as asked for
    const struct lc_contended *contended;  // the loop's; NULL = first try
    bool holds;                            // the caller has asked for keys to be held
    uint64_t deadline_ns;
    struct buf writes;  // mutations that were not sent yet, as they lie in a TransactWrite
    // The first key written, or tested: its shard keeps the outcome.
    struct buf home;
    bool has_home;
    bool home_is_range;  // it is the start of a delete_range
    // A put has taken the start away from that range: the first key written is the next one, which
    // may lie in the next shard. Asking there is in vain at worst; settling there would be wrong.
    bool home_is_unsure;
    // How it ended.
    bool over;
    bool failed;              // by an error, not by commit or rollback
    bool may_have_committed;  // the commit was sent and not answered
    uint32_t retry_after_ms;  // of that error
    struct lc_reply end;      // what later calls return
    // The stream; call == NULL: none.
    grpc_completion_queue *cq;
    grpc_call *call;
    struct lc_node *node;
    char tags[LC_TXN_TAG_COUNT];
    uint32_t owed;
    struct buf message;  // being encoded
    grpc_byte_buffer *in;
    grpc_metadata_array initial_metadata;
    grpc_metadata_array trailing_metadata;
    grpc_status_code code;
    grpc_slice details;
    // The latest answer.
    bool has_answer;
    grpc_slice answer;
    struct lc_rows rows;
};

// --- txn_stream.c ---
// Ends the transaction with a result that is not OK.
void lc__txn_fail(struct lc_txn *self, const struct lc_result *result);
void lc__txn_fail_status(struct lc_txn *self, enum status st, const char *text);
// Begins a stream, unless there is one, at the node that is best for this key. False: over.
bool lc__txn_open(struct lc_txn *self, struct slice key);
// A message to be filled through `w`, and sent by lc__txn_send. Close with the mark.
size_t lc__txn_message(struct lc_txn *self, enum lc_txn_request kind, struct proto_writer *w);
// Closes and sends it; false: over.
bool lc__txn_send(struct lc_txn *self, struct proto_writer *w, size_t mark);
// Sends the writes that gathered; their answer is owed. False: over.
bool lc__txn_flush(struct lc_txn *self);
// Waits for the answer to the latest request: its body, valid until the next. False: over.
bool lc__txn_receive(struct lc_txn *self, enum lc_txn_answer wanted, struct slice *out_body);
// Gives up the stream, if there is one.
void lc__txn_hang_up(struct lc_txn *self);

// --- txn.c ---
// The key at which the outcome is kept.
NODISCARD enum status lc__txn_set_home(struct lc_txn *self, struct slice key, bool is_range);

// --- txn_outcome.c ---
// What became of a commit that was sent and not answered, until the deadline.
void lc__txn_find_out(struct lc_txn *self, struct lc_result *out, struct lc_reply *memory);
// Waits; nothing beyond the deadline.
void lc__pause(uint64_t ns);
