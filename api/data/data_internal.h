// SPDX-License-Identifier: Apache-2.0
// data_internal.h - decoding and encoding, and the state that the handlers share.
// Invariants: a prepared request is positions in an encoding, so that it may be moved; placing it
//             turns them into views.
// Ownership:  scratch memory is lent by struct data for one message.
// Thread:     decoding: pollers, each with a scratch of its own. Encoding: the loop.
// See:        api/data/README.md
#pragma once

#include "api/data/data.h"

#include <stdatomic.h>

enum {
    DATA_FIELD_SIZE = 64,
    DATA_BATCH_ITEMS_MAX = 4096,  // of one message
    DATA_PAGE_ROWS = 1000,
    DATA_RESPONSE_SIZE_MAX = 18 << 20,
    DATA_RETRY_AFTER_MS = 50,
};

// Why a request is refused before it reaches the loop.
struct data_refusal {
    enum status status;
    char field[DATA_FIELD_SIZE];  // empty = none
    uint64_t limit;
    struct err err;
};
static inline void data__refusal_init(struct data_refusal *self) {
    self->status = STATUS_OK;
    self->field[0] = 0;
    self->limit = 0;
    self->err.message[0] = 0;
}
// Fills it and returns the status. field may be NULL.
enum status data__refuse(struct data_refusal *out, enum status st, const char *field,
                         uint64_t limit, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
struct rpc_error data__refusal_error(const struct data_refusal *self);

// Memory for decoding one message.
struct data_scratch {
    struct data_scratch *next;
    struct command_mutation *mutations;
    uint32_t mutation_capacity;
    struct command_condition *conditions;
    uint32_t condition_capacity;
    struct command_span *reads;
    uint32_t read_capacity;
    struct slice *keys;        // COMMAND_READ_KEYS_MAX
    struct buf full_keys;      // user keys behind their prefix
    struct buf encoded;        // the commands of the message
    struct buf merges;         // operations of the commit at hand
    uint32_t operation_count;  // of data__decode_operations
    struct directory *directory;
    uint64_t commit_size_max;
};

struct data_span {
    size_t at;
    size_t size;
};

// A request decoded, checked and encoded as a command; spans lie in scratch->encoded.
struct data_prepared {
    enum command_kind kind;
    struct data_span payload;
    struct data_span key;
    struct data_span key_high;
    struct txn_id txn;
    struct hlc_ts hlc;
    bool settle;  // TXN_STATUS
};

// What most requests begin with.
struct data_common {
    struct slice keyspace;
    uint32_t keyspace_id;
    struct command_snapshot snapshot;
    struct hlc_ts hlc;
};

// A scan, which is many commands: bounds are full keys in scratch->full_keys.
struct data_scan_request {
    struct command_scan scan;  // row_limit: of a page
    uint64_t limit;            // rows in all; UINT64_MAX = unlimited
    struct hlc_ts hlc;
};

// decode.c, decode_scan.c: INVALID_ARGUMENT, NOT_FOUND (keyspace), UNAVAILABLE (no directory yet),
// RESOURCE_EXHAUSTED, with the refusal filled.
NODISCARD enum status data__decode_read(struct data_scratch *scratch, struct slice request,
                                        struct data_prepared *out, struct data_refusal *refusal);
// needs_id: an empty txn_id is refused; else one is made up.
NODISCARD enum status data__decode_commit(struct data_scratch *scratch, struct slice request,
                                          bool needs_id, struct data_prepared *out,
                                          struct data_refusal *refusal);
NODISCARD enum status data__decode_txn_status(struct data_scratch *scratch, struct slice request,
                                              struct data_prepared *out,
                                              struct data_refusal *refusal);
NODISCARD enum status data__decode_scan(struct data_scratch *scratch, struct slice request,
                                        struct data_scan_request *out,
                                        struct data_refusal *refusal);

// Field 1 of TransactWrite (mutations) or TransactCommit (conditions): as many as
// scratch->operation_count says, with full keys, in scratch->mutations or scratch->conditions.
NODISCARD enum status data__decode_operations(struct data_scratch *scratch, uint32_t keyspace,
                                              struct slice message, bool mutations,
                                              struct data_refusal *refusal);

// --- Transact ---

// By field number of TransactRequest and, with some gaps, of TransactResponse.
enum data_transact_kind {
    DATA_TRANSACT_NONE,
    DATA_TRANSACT_BEGIN,
    DATA_TRANSACT_GET,
    DATA_TRANSACT_SCAN,
    DATA_TRANSACT_WRITE,
    DATA_TRANSACT_COMMIT,
    DATA_TRANSACT_ROLLBACK,
    DATA_TRANSACT_KIND_COUNT
};

// One request of a transaction. Get: keys, full, are in scratch->keys; write and commit: operations
// as data__decode_operations leaves them; slices lie in scratch->full_keys.
struct data_transact_request {
    enum data_transact_kind kind;
    // Begin.
    uint32_t keyspace;
    struct txn_id txn;
    struct hlc_ts begin;
    struct hlc_ts snapshot;
    struct hlc_ts hlc;
    // Get.
    uint32_t key_count;
    bool for_update;
    // Scan.
    struct slice start;
    struct slice end;  // not empty
    uint32_t limit;
    bool reverse;
};
// decode_transact.c. `keyspace` is that of the transaction, 0 before it has begun: begin comes
// first, and once.
NODISCARD enum status data__decode_transact(struct data_scratch *scratch, uint32_t keyspace,
                                            struct slice message, struct data_transact_request *out,
                                            struct data_refusal *refusal);

// decode.c: a refusal, and the span of what the writer appended to scratch->encoded since `at`.
enum status data__too_many(struct data_refusal *refusal, const char *field, uint64_t limit);
NODISCARD enum status data__span_since(const struct data_scratch *scratch, size_t at,
                                       const struct codec_writer *w, struct data_span *out,
                                       struct data_refusal *refusal);

// decode_key.c: what all requests have in common.
enum status data__garbage(struct data_refusal *refusal);
enum status data__get_consistency(struct proto_reader *r, const struct proto_field *field,
                                  struct data_common *common, struct data_refusal *refusal);
// What the fields of a snapshot must be to one another, with the name that the client knows.
enum status data__check_snapshot(const struct command_snapshot *snapshot,
                                 struct data_refusal *refusal);
enum status data__keyspace(struct data_scratch *scratch, struct slice name, uint32_t id,
                           uint32_t *out_id, struct data_refusal *refusal);
// Copies prefix and key into scratch->full_keys, which has room (data__room_for_keys).
struct slice data__full_key(struct data_scratch *scratch, uint32_t keyspace, struct slice key);
NODISCARD enum status data__room_for_keys(struct data_scratch *scratch, size_t request_size);
enum status data__check_key(struct slice key, const char *field, struct data_refusal *refusal);
enum status data__check_txn(struct slice id, struct txn_id *out, struct data_refusal *refusal);

// encode.c: the answer to a prepared request, on the loop.
struct data_answer {
    enum command_kind kind;
    struct txn_id txn;
    const struct session_result *result;
};
// Whether the result is a message rather than an error.
bool data__is_success(const struct data_answer *answer);
// Appends the fields of ReadResponse, CommitResponse or TxnStatusResponse. CORRUPT when the rows do
// not decode.
NODISCARD enum status data__encode(struct data *self, struct proto_writer *w,
                                   const struct data_answer *answer);
struct rpc_error data__result_error(const struct data_answer *answer);
// Field 1 of all answers. A certificate without method is left out.
void data__put_header(struct data *self, struct proto_writer *w,
                      const struct command_certificate *certificate);
void data__put_read_row(struct proto_writer *w, uint32_t field, const struct command_row *row);
void data__put_scan_row(struct proto_writer *w, uint32_t field, const struct command_row *row);
struct data_page {
    uint64_t rows;
    bool more;
    struct slice resume;  // full key; view into the result
};
// A ScanResponse. `left`: rows that the client still wants.
NODISCARD enum status data__encode_page(struct data *self, struct proto_writer *w,
                                        const struct session_result *result, uint64_t left,
                                        struct data_page *out);

// data.c
struct data_stream;
struct data {
    struct data_config config;
    struct directory_holder directory;
    pthread_mutex_t mu;
    struct data_scratch *scratches;  // guarded by mu
    // The loop's.
    struct buf out;                // one answer
    struct data_stream *flushing;  // streams with answers that gathered in this turn
    // Relaxed counters.
    atomic_uint_fast64_t items;  // in flight, of all Batch streams
    atomic_uint_fast64_t reads;
    atomic_uint_fast64_t scans;
    atomic_uint_fast64_t commits;
    atomic_uint_fast64_t statuses;
    atomic_uint_fast64_t refused;
    atomic_uint_fast64_t messages;
    atomic_uint_fast64_t transact_bytes;  // kept for transactions under way
};

struct data_scratch *data__scratch_take(struct data *self);
void data__scratch_give(struct data *self, struct data_scratch *scratch);
void data__count(struct data *self, enum command_kind kind);
// Observes the request's clock: OK or CLOCK_AHEAD.
NODISCARD enum status data__observe(struct data *self, struct hlc_ts hlc);
// The deadline of a request that came with `wish` (UINT64_MAX = none): now + 10 s at most without
// a wish.
uint64_t data__deadline(uint64_t now_ns, uint64_t wish_ns);
static inline uint64_t data__now(const struct data *self) {
    return env_now(self->config.env);
}

void data__unary_register(struct data *self);
void data__batch_register(struct data *self);
void data__scan_register(struct data *self);
void data__transact_register(struct data *self);
// batch.c: sends what gathered in this turn.
void data__streams_flush(struct data *self);
