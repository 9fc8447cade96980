// SPDX-License-Identifier: Apache-2.0
// command.h - what clients ask of one shard, and its answers, in the encoding that travels between
// nodes and lies in the log.
// Invariants: a commit's encoding is its raft payload, byte for byte, on every replica; decoding
//             checks every limit that admission checks, except that no key is named twice, which
//             needs memory (command_commit_check).
// Ownership:  decoded structs hold views into their input; arrays come from the caller's scratch.
// Thread:     pure; requests are encoded on the thread of the client's call, decoded on the shard
//             loop.
// See:        txn/command/README.md; transactions.md; tests/unit/txn/command/command_commit_test.c
#pragma once

#include "dataplane/base/err.h"
#include "dataplane/codec/codec.h"
#include "dataplane/hlc/hlc.h"
#include "dataplane/shard/shard.h"

enum {
    COMMAND_OPS_MAX = 10000,                // conditions + mutations of one commit, at least 1
    COMMAND_READ_KEYS_MAX = 1000,           // keys of one read
    COMMAND_READ_SIZE_MAX = 16 << 20,       // bytes of the rows that answer one read
    COMMAND_SCAN_ROWS_MAX = 10000,          // rows of one page
    COMMAND_SCAN_BYTES_MAX = 4 << 20,       // bytes of one page (the last row may exceed it)
    COMMAND_PAYLOAD_SIZE_MAX = 17 << 20,    // of a request or a response
    COMMAND_DESCRIPTORS_SIZE_MAX = 1 << 20  // of the descriptors in a response
};
#define COMMAND_STALENESS_US_MAX (UINT64_C(24) * 3600 * 1000 * 1000)  // of a bounded read

// --- Keys ---
// A full key is the big-endian id of a keyspace and 1 to SHARD_USER_KEY_SIZE_MAX user bytes, which
// do not begin with 0xFF 0xFF: those are reserved for the system. The bounds of ranges may have an
// empty user part (the begin of the keyspace); an end may also be the prefix of the next keyspace.

// `field` and `position` name the culprit in err ("mutation 3: key has ..."). INVALID_ARGUMENT.
NODISCARD enum status command_key_check(struct slice key, const char *field, uint32_t position,
                                        struct err *err);
// True for a key of the system's part of a keyspace: range deletes and scans pass it over.
bool command_key_is_reserved(struct slice key);
// First key after the keyspace of a full key or bound; empty after the last keyspace.
struct slice command_keyspace_end(struct slice key, uint8_t out[SHARD_KEYSPACE_PREFIX_SIZE]);

// --- Commit ---
enum command_mutation_kind {
    COMMAND_PUT = 1,
    COMMAND_DELETE,
    COMMAND_DELETE_RANGE,
    COMMAND_MERGE,
    COMMAND_MUTATION_KIND_COUNT
};

struct command_mutation {
    enum command_mutation_kind kind;
    struct slice key;
    // put: the value; delete_range: the end key (exclusive, not empty); merge: an encoded
    // command_merge.
    struct slice value;
};

enum command_condition_kind {
    COMMAND_EXISTS = 1,
    COMMAND_ABSENT,
    COMMAND_VALUE_EQUALS,
    COMMAND_VERSION_EQUALS,     // the newest version's timestamp; zero = never written
    COMMAND_TIMESTAMP_AT_MOST,  // same
    COMMAND_CONDITION_KIND_COUNT
};

struct command_condition {
    enum command_condition_kind kind;
    struct slice key;
    struct slice value;  // VALUE_EQUALS
    struct hlc_ts ts;    // VERSION_EQUALS, TIMESTAMP_AT_MOST
};

// A key, or the keys of [start, end).
struct command_span {
    struct slice start;
    struct slice end;  // exclusive; empty = the key `start` alone
};

// `reads` were made at `snapshot`: the commit stands only while none of them has a newer version
// (ABORTED_RETRY otherwise; nothing is kept of it).
struct command_commit {
    struct txn_id txn;
    struct hlc_ts snapshot;  // zero when there are no reads
    uint32_t read_count;
    uint32_t condition_count;
    uint32_t mutation_count;
    const struct command_span *reads;
    const struct command_condition *conditions;
    const struct command_mutation *mutations;
};

// Checks every limit and names the field and the limit in err: zero id, empty / oversized /
// reserved keys, oversized values, counts, total size, range start >= end, a range that leaves its
// keyspace. Mutations must be disjoint: the same key twice, and a key or range inside a
// delete_range of the same commit, are refused. INVALID_ARGUMENT; RESOURCE_EXHAUSTED without
// memory.
NODISCARD enum status command_commit_check(const struct command_commit *self, struct err *err);
void command_commit_encode(struct codec_writer *w, const struct command_commit *self);

// Decoding without allocation: counts and id first, then one operation after the other.
struct command_commit_reader {
    struct codec_reader reader;
    struct txn_id txn;
    struct hlc_ts snapshot;
    uint32_t read_count;
    uint32_t condition_count;
    uint32_t mutation_count;
    uint32_t reads_left;       // private
    uint32_t conditions_left;  // private
    uint32_t mutations_left;   // private
};
NODISCARD enum status command_commit_open(struct command_commit_reader *self, struct slice encoded);
// Reads must be taken first, exactly read_count of them, then the conditions, then the mutations.
// The last operation is STATUS_CORRUPT when bytes follow it. Nothing may be taken after an error.
NODISCARD enum status command_commit_next_read(struct command_commit_reader *self,
                                               struct command_span *out);
NODISCARD enum status command_commit_next_condition(struct command_commit_reader *self,
                                                    struct command_condition *out);
NODISCARD enum status command_commit_next_mutation(struct command_commit_reader *self,
                                                   struct command_mutation *out);
// Walks everything: STATUS_OK, or STATUS_CORRUPT when opening or taking any operation would be.
NODISCARD enum status command_commit_verify(struct slice encoded);
// Smallest and largest key that the commit touches (delete_range: its end counts), for routing.
// Views into encoded.
NODISCARD enum status command_commit_span(struct slice encoded, struct slice *out_low,
                                          struct slice *out_high);

// The outcome, kept by transaction id and returned again to a repeat.
struct command_outcome {
    enum status status;  // OK = committed, CONDITION_FAILED = nothing was written,
                         // RESOURCE_EXHAUSTED = a delete_range met too many keys, nothing
                         // written; FAILED_PRECONDITION = a merge met a value of another type, or
                         // one that cannot grow; CANCELLED = settled as aborted
    struct hlc_ts timestamp;    // commit timestamp; of the evaluation when a condition failed
    uint32_t failed_condition;  // index of the first condition that does not hold; behind the
                                // conditions: that of the mutation whose bound does not
    uint64_t request_hash;      // of the encoded commit: a repeat with another body is refused
};
void command_outcome_encode(struct codec_writer *w, const struct command_outcome *self);
// More may follow in r; STATUS_CORRUPT.
NODISCARD enum status command_outcome_decode(struct codec_reader *r, struct command_outcome *out);

// --- Reads ---
// transactions.md "Reads". By value on the wire: append only.
enum command_consistency {
    COMMAND_STRONG,
    COMMAND_STRONG_READ_INDEX,
    COMMAND_STRICT,   // as strong, and all values are the newest at one instant
    COMMAND_SESSION,  // any replica that has closed `at_least`
    COMMAND_BOUNDED,  // any replica whose closed timestamp is at most `staleness_us` old
    COMMAND_AT,       // any replica that has closed `at`: the state at exactly that timestamp
    COMMAND_ANY,      // the nearest replica: what it has applied and closed
    COMMAND_CONSISTENCY_COUNT
};

// The snapshot that a read asks for, the same for keys and scans.
struct command_snapshot {
    enum command_consistency consistency;
    struct hlc_ts at_least;  // session token: the snapshot is at or above it; zero = none
    // The snapshot itself (AT, and reads over several shards); zero = the replica chooses.
    struct hlc_ts at;
    // Reads over several shards: the leader's clock when this shard was first asked; zero = now.
    struct hlc_ts contact;
    uint64_t staleness_us;  // BOUNDED: 1 to COMMAND_STALENESS_US_MAX; else zero
};
// Names the field and its limit: `at` missing for AT or below at_least, `contact` without an `at`
// or where nothing is uncertain, `staleness_us` out of its range. INVALID_ARGUMENT.
NODISCARD enum status command_snapshot_check(const struct command_snapshot *self, struct err *err);
// Answered by the leader alone: STRONG, STRONG_READ_INDEX, STRICT.
bool command_consistency_is_strong(enum command_consistency consistency);

struct command_read {
    struct command_snapshot snapshot;
    uint32_t key_count;
    const struct slice *keys;
};
NODISCARD enum status command_read_check(const struct command_read *self, struct err *err);
void command_read_encode(struct codec_writer *w, const struct command_read *self);
struct command_read_reader {
    struct codec_reader reader;
    struct command_snapshot snapshot;
    uint32_t key_count;
    uint32_t keys_left;  // private
};
NODISCARD enum status command_read_open(struct command_read_reader *self, struct slice encoded);
// At most key_count times; the last is STATUS_CORRUPT when bytes follow it.
NODISCARD enum status command_read_next(struct command_read_reader *self, struct slice *out_key);

struct command_scan {
    struct command_snapshot snapshot;
    struct slice start;  // inclusive; a bound
    struct slice end;    // exclusive; a bound in the same keyspace; empty = end of the keyspace
    uint32_t row_limit;  // rows of this page, 1 to COMMAND_SCAN_ROWS_MAX
    bool reverse;
    bool keys_only;
};
NODISCARD enum status command_scan_check(const struct command_scan *self, struct err *err);
void command_scan_encode(struct codec_writer *w, const struct command_scan *self);
NODISCARD enum status command_scan_decode(struct slice encoded, struct command_scan *out);

// The snapshot of an encoded read or scan. STATUS_CORRUPT when that part of it does not decode.
NODISCARD enum status command_snapshot_peek(struct slice encoded, struct command_snapshot *out);

// Results of reads: rows in the order of the request's keys (read) or of the scan. Encoded as it
// goes:
//   read: per key u8 found, u64 version timestamp, slice value. Of a key that is not found the
//         version is that of its delete, or zero when it was never written: what VERSION_EQUALS
//         compares with.
//   scan: the count is unknown in advance: per row u8 1, slice key, u64 version timestamp, slice
//         value; then u8 0, u8 more, and when more: slice resume key (inclusive start of the next
//         page, or exclusive end when reverse).
// A page also ends at the border of the shard: then more is true and the next page is asked of the
// neighbour.
struct command_row {
    bool found;
    struct slice key;  // scans only
    struct slice value;
    struct hlc_ts version;
};
void command_read_row_encode(struct codec_writer *w, const struct command_row *row);
NODISCARD enum status command_read_row_decode(struct codec_reader *r, struct command_row *out);
void command_scan_row_encode(struct codec_writer *w, const struct command_row *row);
void command_scan_end_encode(struct codec_writer *w, bool more, struct slice resume);
// out_row->found is false at the end; then out_more and out_resume hold, and bytes that follow are
// corrupt.
NODISCARD enum status command_scan_row_decode(struct codec_reader *r, struct command_row *out_row,
                                              bool *out_more, struct slice *out_resume);

// --- The envelope between gateway and replica ---
enum command_kind {
    COMMAND_COMMIT = 1,
    COMMAND_READ,
    COMMAND_SCAN,
    COMMAND_TXN_STATUS,  // payload: the 16 bytes of a transaction id; asks for its outcome
    COMMAND_CATALOG,     // payload: a catalogue command, for SHARD_CATALOG only
    COMMAND_PREPARE,     // payload: command_prepare; answered by a command_txn_answer
    COMMAND_RESOLVE,     // payload: resolutions; answered by one command_txn_answer each
    COMMAND_VERSIONS,    // payload: command_versions; answered by rows of versions
    COMMAND_HOLD,        // payload: command_hold; changes no shard, and is never certified
    // COMMAND_PREPARE of an attempt that is nowhere else yet: it holds nothing, so it may wait for
    // whoever is in the way.
    COMMAND_PREPARE_ALONE,
    COMMAND_KIND_COUNT
};

enum command_method {
    COMMAND_METHOD_NONE,
    COMMAND_METHOD_LEASE,
    COMMAND_METHOD_READ_INDEX,
    COMMAND_METHOD_LOG,
    COMMAND_METHOD_CLOSED,   // any replica: nothing more commits at or below the snapshot
    COMMAND_METHOD_APPLIED,  // the same where nobody asked how old the snapshot is (ANY)
    COMMAND_METHOD_COUNT
};

// The evidence behind an answer (api.md: certificate). Method NONE backs nothing: the answer was
// given before the shard's history was asked.
struct command_certificate {
    enum command_method method;
    struct shard_id shard;
    uint64_t config_epoch;
    uint64_t term;
    uint64_t index;  // method NONE of a lost proposal: where it was put; 0 = it entered no log
    struct hlc_ts timestamp;  // snapshot or commit timestamp
    struct hlc_ts closed;
};
void command_certificate_encode(struct codec_writer *w, const struct command_certificate *self);
NODISCARD enum status command_certificate_decode(struct codec_reader *r,
                                                 struct command_certificate *out);

struct command_request {
    uint64_t id;        // of the gateway, echoed
    uint64_t boot;      // random name of the gateway's boot, not zero
    uint64_t sequence;  // grows with every request of that boot: each copy is processed once
    enum command_kind kind;
    struct shard_id shard;
    uint64_t epoch;      // of the descriptor used
    struct hlc_ts hlc;   // of the sender
    uint64_t budget_us;  // what is left until the caller's deadline
    struct slice payload;
};
void command_request_encode(struct codec_writer *w, const struct command_request *self);
NODISCARD enum status command_request_decode(struct slice encoded, struct command_request *out);

struct command_response {
    uint64_t id;
    enum status status;
    struct hlc_ts hlc;
    struct command_certificate certificate;
    struct node_id leader;  // NOT_LEADER: hint, 0 = unknown
    uint64_t leader_term;
    struct slice descriptors;  // STALE_SHARD_MAP: a shard_map delta; else empty
    struct slice detail;       // text for a human when status is not OK
    struct slice payload;      // outcome, rows
    // Reads over several shards (command_snapshot): the leader's clock at first contact; and when
    // not zero, the snapshot has to be raised to this (transactions.md "uncertain"), and payload is
    // empty.
    struct hlc_ts contact;
    struct hlc_ts uncertain;
};
void command_response_encode(struct codec_writer *w, const struct command_response *self);
NODISCARD enum status command_response_decode(struct slice encoded, struct command_response *out);
