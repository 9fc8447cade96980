// SPDX-License-Identifier: Apache-2.0
// lightcone_txn.h - interactive transactions of liblightcone: reads at one snapshot, writes that
//                   are kept until the commit, and a loop that tries again.
// Invariants: I1 nothing of a transaction is seen by others before its commit. I2 COMMITTED says
//             that everything it read was still the newest at its timestamp. I3 after an error the
//             transaction is over: every later call returns that error. I4 as in lightcone.h:
//             UNKNOWN only when it may have been applied, ABORTED only when it was not.
// Ownership:  a transaction belongs to the caller until lc_txn_close, and ends before its client.
// Thread:     one transaction: one thread at a time; every function waits, so none may be called
//             from a callback. Different transactions: any threads.
// See:        api/client/README.md "Transactions"; tests/unit/api/client/client_txn_test.c
#pragma once

#include "api/client/lightcone.h"

struct lc_txn;

struct lc_txn_options {
    uint32_t keyspace;
    uint32_t timeout_ms;  // until its outcome is known; 0 = the client's
    const uint8_t *txn;   // LC_TXN_ID_SIZE bytes; NULL = a new id
    uint64_t begin;       // lc_txn_started of the first try, for one that is tried again; 0 = now
    uint64_t snapshot;    // reads are made at this timestamp; 0 = chosen at the first read
};

// --- Step by step ---

// Sends nothing yet: the node is chosen by the first key, and what is known to need no answer goes
// with what does. So a write that is refused is told by the next call that waits for an answer.
struct lc_txn *lc_txn_begin(struct lc_client *self, const struct lc_txn_options *options);
// LC_TXN_ID_SIZE bytes.
const uint8_t *lc_txn_id(const struct lc_txn *self);
// When the first try began, as the server counts; 0 before the first answer.
uint64_t lc_txn_started(const struct lc_txn *self);

// Values as of the snapshot, or as this transaction wrote them (then with version 0). The status
// of the result; the reply is filled in any case.
struct lc_txn_read {
    const struct slice *keys;
    uint32_t key_count;
    // A hint, of use with the first read: have the keys (at most 100 of a transaction) held, so
    // that others wait instead of trying again.
    bool for_update;
};
NODISCARD enum status lc_txn_read(struct lc_txn *self, const struct lc_txn_read *read,
                                  struct lc_reply *out);
// One key. NOT_FOUND when it has no value, which does not end the transaction.
NODISCARD enum status lc_txn_get(struct lc_txn *self, struct slice key, struct lc_reply *out);
struct lc_txn_scan {
    struct slice start;  // inclusive; empty = from the beginning
    struct slice end;    // exclusive; empty = to the end
    uint32_t limit;      // rows, up to 10000; 0 = 1000
    bool reverse;
};
// Rows in key order. With result.more, result.resume is the `start` (reverse: the `end`) of the
// next call.
NODISCARD enum status lc_txn_scan(struct lc_txn *self, const struct lc_txn_scan *scan,
                                  struct lc_reply *out);

// Kept until the commit; a later write of a key replaces the one before. OK, or the error that
// ended the transaction before.
NODISCARD enum status lc_txn_write(struct lc_txn *self, const struct lc_mutation *mutations,
                                   uint32_t count);
NODISCARD enum status lc_txn_put(struct lc_txn *self, struct slice key, struct slice value);
NODISCARD enum status lc_txn_delete(struct lc_txn *self, struct slice key);
NODISCARD enum status lc_txn_delete_range(struct lc_txn *self, struct slice start,
                                          struct slice end);
// Adds to a counter.
NODISCARD enum status lc_txn_add(struct lc_txn *self, struct slice key, int64_t amount);

// All of it or nothing, if everything that was read is still the newest and the conditions hold.
// When the answer is lost, what became of it is asked for, and settled, until the deadline.
// ABORTED_RETRY: something in the way was newer; begin again with the same id and `begin`.
// CANCELLED with `known`: it was settled as aborted; begin again with another id.
NODISCARD enum status lc_txn_commit(struct lc_txn *self, const struct lc_condition *conditions,
                                    uint32_t count, struct lc_reply *out);
// Gives everything up, if it is not over anyway.
void lc_txn_rollback(struct lc_txn *self);
// What was not committed is rolled back. NULL is allowed.
void lc_txn_close(struct lc_txn *self);

// --- All at once ---

// Reads and writes by the functions above (neither commits nor rolls back) and returns OK to have
// it committed; any other status gives it up. May be called several times: it must have no effect
// besides the transaction's but what the caller takes from its last run.
typedef enum status (*lc_txn_fn)(struct lc_txn *txn, void *ctx);

// Runs the body and commits, again and again with jittered back-off while that promises luck,
// under the same id and with the age of the first try, until it is committed, refused for good, or
// out of time; then the reason of the last try that was refused is told, or else the deadline.
// A try that was refused for a key is followed by tries that have it held (for_update) where the
// body reads it alone or with up to 7 others, unless the body asks for keys to be held itself.
// result.attempts counts the tries; result.outcome is what is known. A status of the body's own is
// returned as it is, with LC_ABORTED.
NODISCARD enum status lc_txn_run(struct lc_client *self, const struct lc_txn_options *options,
                                 lc_txn_fn body, void *ctx, struct lc_reply *out);
