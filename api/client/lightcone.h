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
    // Where the client is, as the nodes name it; NULL = anywhere. Nodes of its zone are near, then
    // those of its region: what touches shards with several leaders is coordinated there, and reads
    // that any replica may serve are served there. At most 127 bytes each.
    const char *region;
    const char *zone;
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
// are not all zero and never used before will do as well.
void lc_txn_id_make(uint8_t out[LC_TXN_ID_SIZE]);

// --- Results ---

enum lc_outcome {
    LC_COMMITTED,  // it happened; for reads: here are the rows
    LC_ABORTED,    // it did not happen and will not
    LC_UNKNOWN,    // it may have happened, or may yet: ask lc_txn_status, or send it again
};

// By which evidence a replica answered; by value as CertificateMethod in lightcone.proto.
enum lc_method {
    LC_METHOD_NONE,
    LC_METHOD_LEASE,
    LC_METHOD_READ_INDEX,
    LC_METHOD_LOG,
    LC_METHOD_CLOSED,
    LC_METHOD_APPLIED,
};

struct lc_certificate {
    uint32_t method;  // enum lc_method, or one of a newer server
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
    // ABORTED_RETRY: the key in conflict and the transaction in the way, as far as they are known
    // (empty, all zero).
    struct slice conflict_key;
    uint8_t holder[LC_TXN_ID_SIZE];
    struct lc_certificate certificate;
    uint64_t hlc;
    uint32_t served_by;  // node; 0 = no answer
    uint32_t attempts;   // how often it was sent
    // Commits and their status.
    uint8_t txn[LC_TXN_ID_SIZE];
    uint64_t timestamp;
    uint32_t failed_condition;  // behind the conditions: the merge whose bound does not hold
    // lc_txn_status: whether an outcome is kept; CANCELLED: the id is settled as aborted, for good
    bool known;
    bool pending;  // lc_txn_status: prepared, and not resolved yet
    // Reads: in the order of the keys.
    const struct lc_row *rows;
    uint32_t row_count;
    bool more;            // lc_txn_scan: rows may follow,
    struct slice resume;  // from here
    struct slice home;    // lc_txn_commit, lc_txn_run: the key to ask lc_txn_status about
};

typedef void (*lc_done_fn)(void *ctx, const struct lc_result *result);

// --- Requests. OK: done will be called. INVALID_ARGUMENT (err says why), OVERLOADED
// (outstanding_max): it will not. ---

struct lc_call {
    uint32_t timeout_ms;  // 0 = the client's
    lc_done_fn done;
    void *ctx;
};

// What a read sees; by value as Consistency in lightcone.proto. The first three are answered by the
// leaders; of the others the client asks a replica that it is connected to.
enum lc_consistency {
    LC_STRONG,             // nothing acknowledged before the request began is missing
    LC_STRONG_READ_INDEX,  // the same, confirmed by a round even where a lease would do
    LC_STRICT,             // and there was one instant at which all values were the newest
    LC_SESSION,            // what this client wrote and read is there
    LC_BOUNDED,            // at most max_staleness_us old
    LC_AT,                 // the state at exactly `at`
    LC_ANY,                // whatever the replica has; the certificate says how old
};

struct lc_read {
    uint32_t keyspace;
    const struct slice *keys;
    uint32_t key_count;
    enum lc_consistency consistency;
    // The snapshot is at or above this timestamp. 0 = no wish; of LC_SESSION: lc_session_token.
    uint64_t at_least;
    uint64_t at;                // LC_AT
    uint64_t max_staleness_us;  // LC_BOUNDED
};
NODISCARD enum status lc_read(struct lc_client *self, const struct lc_read *read,
                              const struct lc_call *call);

// The largest snapshot or commit timestamp that an answer has brought: reads at least there see
// what this client wrote and read. May be handed to another client. 0 = none yet.
uint64_t lc_session_token(struct lc_client *self);
// Takes the token of another client over; a smaller one changes nothing.
void lc_session_raise(struct lc_client *self, uint64_t token);

// By value as MergeType in lightcone.proto.
enum lc_merge_type { LC_COUNTER = 1, LC_GROW_COUNTER, LC_GROW_SET, LC_SET, LC_REGISTER };

// A typed write, which does not conflict with others of its type on the key.
struct lc_merge {
    enum lc_merge_type type;
    bool remove;   // sets: takes the element out
    bool has_min;  // counters: CONDITION_FAILED when the number would leave its bounds
    bool has_max;
    int64_t amount;  // counters
    int64_t min;
    int64_t max;
};

enum lc_mutation_kind { LC_PUT = 1, LC_DELETE, LC_DELETE_RANGE, LC_MERGE };
struct lc_mutation {
    enum lc_mutation_kind kind;
    struct slice key;    // delete_range: the start
    struct slice value;  // put: the value; delete_range: the end (exclusive); merge: the element of
                         // a set, the value of a register
    struct lc_merge merge;
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

// A key, or with an end the keys of [start, end), that was read.
struct lc_span {
    struct slice start;
    struct slice end;  // exclusive; empty = the key `start` alone
};

// Keys may lie in any shards. With reads, the commit is ABORTED_RETRY when any of them would show
// something newer than at `snapshot`: it is not sent again then, the caller has to read again.
struct lc_commit {
    uint32_t keyspace;
    const uint8_t *txn;  // LC_TXN_ID_SIZE bytes, to send a commit again; NULL = a new id
    const struct lc_condition *conditions;
    uint32_t condition_count;
    const struct lc_mutation *mutations;
    uint32_t mutation_count;
    const struct lc_span *reads;  // made at `snapshot`
    uint32_t read_count;
    uint64_t snapshot;  // certificate.timestamp of the read
};
NODISCARD enum status lc_commit(struct lc_client *self, const struct lc_commit *commit,
                                const struct lc_call *call);

// What became of a transaction; key is the first key that it wrote (tested, or read, when it wrote
// none): its shard keeps the outcome. The outcome is LC_UNKNOWN while none is kept (see `known` and
// `pending`); the status CANCELLED says that it was settled as aborted.
NODISCARD enum status lc_txn_status(struct lc_client *self, uint32_t keyspace, const uint8_t *txn,
                                    struct slice key, const struct lc_call *call);
// The same; when no outcome is known, the transaction is aborted for good, whatever is still on its
// way.
NODISCARD enum status lc_txn_settle(struct lc_client *self, uint32_t keyspace, const uint8_t *txn,
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
NODISCARD enum status lc_txn_settle_wait(struct lc_client *self, uint32_t keyspace,
                                         const uint8_t *txn, struct slice key,
                                         struct lc_reply *out);
// One key. NOT_FOUND when it has no value.
NODISCARD enum status lc_get_wait(struct lc_client *self, uint32_t keyspace, struct slice key,
                                  struct lc_reply *out);
NODISCARD enum status lc_put_wait(struct lc_client *self, uint32_t keyspace, struct slice key,
                                  struct slice value, struct lc_reply *out);
NODISCARD enum status lc_delete_wait(struct lc_client *self, uint32_t keyspace, struct slice key,
                                     struct lc_reply *out);
// Adds to a counter.
NODISCARD enum status lc_add_wait(struct lc_client *self, uint32_t keyspace, struct slice key,
                                  int64_t amount, struct lc_reply *out);

// --- Scans, waiting ---

struct lc_scan_options {
    uint32_t keyspace;
    struct slice start;  // inclusive; empty = from the beginning
    struct slice end;    // exclusive; empty = to the end
    uint64_t limit;      // rows; 0 = all
    uint32_t page_rows;  // 0 = the server's choice
    bool reverse;
    bool keys_only;
    enum lc_consistency consistency;  // not LC_STRICT
    uint64_t at_least;                // these three as in lc_read, for each page
    uint64_t at;
    uint64_t max_staleness_us;
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
