// SPDX-License-Identifier: Apache-2.0
// lightcone.h - liblightcone: the C client of a Lightcone cluster.
// Invariants: I1 each request ends with exactly one call of its done function. I2 a commit is sent
//             again only with the same transaction id, hence it applies at most once. I3 UNKNOWN is
//             said only when the commit may have been applied, ABORTED only when it was not.
//             I4 nothing ends later than its deadline, but for the callbacks in front of it.
// Ownership:  requests are copied before a function returns; what a result points to is valid
//             during the callback only, copies (lc_reply) are the caller's until lc_reply_free.
// Thread:     every function may be called from any thread. Callbacks run on the client's one
//             thread: they must not block, and may start further requests, but not call a function
//             that waits (those are marked so).
// See:        api/client/README.md; tests/unit/api/client
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/err.h"
#include "dataplane/base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct lc_client;

enum { LC_TXN_ID_SIZE = 16, LC_ADDRESSES_MAX = 16 };

// --- Connecting ---

enum lc_mode {
    LC_BATCH,  // requests gather on one stream per node (the fast way)
    LC_UNARY,  // one gRPC call a request
};

struct lc_config {
    const char *const *addresses;  // host:port of one or more nodes; others are found through them
    uint32_t address_count;        // 1 to LC_ADDRESSES_MAX
    enum lc_mode mode;
    bool via_gateway;          // do not route: every request goes to the first address that answers
    uint32_t timeout_ms;       // of requests that name none, and of connecting; 0 = 10 000
    uint32_t outstanding_max;  // requests in flight; 0 = 65 536
};

// Waits until a node told the shard map. UNAVAILABLE when none does in time.
NODISCARD enum status lc_connect(const struct lc_config *config, struct lc_client **out_client,
                                 struct err *err);
// Ends what is in flight (UNKNOWN or ABORTED, with status CANCELLED) and frees the client. Not from
// a callback; nothing else may be running in the client. Waits. NULL is allowed.
void lc_close(struct lc_client *self);

// The number that requests name a keyspace by. Asks the cluster when the name is new; waits.
NODISCARD enum status lc_keyspace(struct lc_client *self, const char *name, uint32_t *out_id,
                                  struct err *err);
// A new transaction id. It begins with the time, which spares the servers work; any 16 bytes that
// are
// not all zero and never used before will do as well.
void lc_txn_id_make(uint8_t out[LC_TXN_ID_SIZE]);

// --- Results ---

enum lc_outcome {
    LC_COMMITTED,  // it happened; for reads: here are the rows
    LC_ABORTED,    // it did not happen and will not
    LC_UNKNOWN,    // it may have happened, or may yet: ask lc_txn_status, or send it again
};

struct lc_certificate {
    uint32_t method;  // as CertificateMethod in lightcone.proto; 0 = none
    uint64_t shard;
    uint64_t config_epoch;
    uint64_t term;
    uint64_t index;
    uint64_t timestamp;
    uint64_t closed;
    uint64_t age_us;
};

struct lc_row {
    bool found;        // false: value is empty, version is that of the deletion, or 0
    struct slice key;  // scans only
    struct slice value;
    uint64_t version;
};

struct lc_result {
    enum lc_outcome outcome;
    enum status status;    // OK; CONDITION_FAILED of a commit; why not, otherwise
    struct slice message;  // a sentence, when status is not OK
    struct slice field;    // INVALID_ARGUMENT: which one
    uint64_t limit;        // INVALID_ARGUMENT, RESOURCE_EXHAUSTED: the bound
    struct lc_certificate certificate;
    uint64_t hlc;
    uint32_t served_by;  // node; 0 = no answer
    uint32_t attempts;   // how often it was sent
    // Commits and their status.
    uint8_t txn[LC_TXN_ID_SIZE];
    uint64_t timestamp;
    uint32_t failed_condition;
    bool known;  // lc_txn_status: whether an outcome is kept
    // Reads: in the order of the keys.
    const struct lc_row *rows;
    uint32_t row_count;
};

typedef void (*lc_done_fn)(void *ctx, const struct lc_result *result);

// --- Requests. OK: done will be called. INVALID_ARGUMENT (err says why), OVERLOADED
// (outstanding_max): it will not. ---

struct lc_call {
    uint32_t timeout_ms;  // 0 = the client's
    lc_done_fn done;
    void *ctx;
};

struct lc_read {
    uint32_t keyspace;
    const struct slice *keys;
    uint32_t key_count;
    bool read_index;    // confirmed by a round even where a lease would do
    uint64_t at_least;  // the snapshot is at or above this timestamp; 0 = no wish
};
NODISCARD enum status lc_read(struct lc_client *self, const struct lc_read *read,
                              const struct lc_call *call);

enum lc_mutation_kind { LC_PUT = 1, LC_DELETE, LC_DELETE_RANGE };
struct lc_mutation {
    enum lc_mutation_kind kind;
    struct slice key;    // delete_range: the start
    struct slice value;  // put: the value; delete_range: the end (exclusive)
};

enum lc_condition_kind {
    LC_EXISTS = 2,
    LC_ABSENT,
    LC_VALUE_EQUALS,
    LC_VERSION_EQUALS,
    LC_TIMESTAMP_AT_MOST
};
struct lc_condition {
    enum lc_condition_kind kind;
    struct slice key;
    struct slice value;  // VALUE_EQUALS
    uint64_t timestamp;  // VERSION_EQUALS, TIMESTAMP_AT_MOST
};

struct lc_commit {
    uint32_t keyspace;
    const uint8_t *txn;  // LC_TXN_ID_SIZE bytes, to send a commit again; NULL = a new id
    const struct lc_condition *conditions;
    uint32_t condition_count;
    const struct lc_mutation *mutations;
    uint32_t mutation_count;
};
NODISCARD enum status lc_commit(struct lc_client *self, const struct lc_commit *commit,
                                const struct lc_call *call);

// What became of a transaction; key is any key that it touched.
NODISCARD enum status lc_txn_status(struct lc_client *self, uint32_t keyspace, const uint8_t *txn,
                                    struct slice key, const struct lc_call *call);

// --- The same, waiting ---

// A result and the memory behind it.
struct lc_reply {
    struct lc_result result;
    void *memory;  // private
};
void lc_reply_free(struct lc_reply *self);

// The status of the result; the reply holds the rest and is filled in any case.
NODISCARD enum status lc_read_wait(struct lc_client *self, const struct lc_read *read,
                                   uint32_t timeout_ms, struct lc_reply *out);
NODISCARD enum status lc_commit_wait(struct lc_client *self, const struct lc_commit *commit,
                                     uint32_t timeout_ms, struct lc_reply *out);
NODISCARD enum status lc_txn_status_wait(struct lc_client *self, uint32_t keyspace,
                                         const uint8_t *txn, struct slice key,
                                         struct lc_reply *out);
// One key. NOT_FOUND when it has no value.
NODISCARD enum status lc_get_wait(struct lc_client *self, uint32_t keyspace, struct slice key,
                                  struct lc_reply *out);
NODISCARD enum status lc_put_wait(struct lc_client *self, uint32_t keyspace, struct slice key,
                                  struct slice value, struct lc_reply *out);
NODISCARD enum status lc_delete_wait(struct lc_client *self, uint32_t keyspace, struct slice key,
                                     struct lc_reply *out);

// --- Scans, waiting ---

struct lc_scan_options {
    uint32_t keyspace;
    struct slice start;  // inclusive; empty = from the beginning
    struct slice end;    // exclusive; empty = to the end
    uint64_t limit;      // rows; 0 = all
    uint32_t page_rows;  // 0 = the server's choice
    bool reverse;
    bool keys_only;
    uint64_t at_least;
    uint32_t timeout_ms;  // of the whole scan; 0 = none
};
struct lc_scan;

NODISCARD enum status lc_scan_open(struct lc_client *self, const struct lc_scan_options *options,
                                   struct lc_scan **out_scan, struct err *err);
// The next row, valid until the next call; *out_row is NULL at the end. A stream that breaks is
// taken up again behind the last row, while there is time.
NODISCARD enum status lc_scan_next(struct lc_scan *self, const struct lc_row **out_row,
                                   struct err *err);
// The certificate of the page that the last row came from.
const struct lc_certificate *lc_scan_certificate(const struct lc_scan *self);
// NULL is allowed.
void lc_scan_close(struct lc_scan *self);

// --- Diagnostics ---

struct lc_stats {
    uint64_t requests;
    uint64_t sent;  // attempts
    uint64_t retries;
    uint64_t messages;  // Batch messages out
    uint64_t in_flight;
    uint32_t nodes;
    uint32_t load_percent;  // largest hint in the latest replies
};
void lc_stats(struct lc_client *self, struct lc_stats *out);
