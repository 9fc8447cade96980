// SPDX-License-Identifier: Apache-2.0
// command_txn.h - what travels and lies in logs of transactions over several shards: prepares,
// resolutions, and their answers.
// Invariants: a prepare's encoding is its raft payload, and a list of resolutions is one; decoding
//             checks every limit; attempts of an id are totally ordered.
// Ownership:  decoded structs hold views into their input; arrays are the caller's.
// Thread:     pure.
// See:        docs/protocols/transactions.md; txn/command/README.md;
//             tests/unit/txn/command/command_txn_test.c
#pragma once

#include "txn/command/command.h"

enum {
    COMMAND_PARTICIPANTS_MAX = 256,
    COMMAND_RESOLUTIONS_MAX = 1024,  // of one entry
};

// One try of one coordinator. Unique: number is the gateway's HLC when it was made, tag is random.
struct txn_attempt {
    uint64_t number;  // zero = none
    uint32_t tag;
};
int txn_attempt_compare(struct txn_attempt a, struct txn_attempt b);
// Whether a transaction is older than another one: by `begin`, then by id.
bool txn_is_older(struct hlc_ts begin, struct txn_id txn, struct hlc_ts than_begin,
                  struct txn_id than);
bool txn_attempt_equal(struct txn_attempt a, struct txn_attempt b);

// --- Prepare ---

struct command_prepare {
    struct txn_id txn;
    struct txn_attempt attempt;
    struct hlc_ts begin;
    uint64_t request_hash;       // of the whole request: the same for all its parts and attempts
    uint32_t self;               // place of this part in participants; 0 = home
    uint32_t participant_count;  // 1 to COMMAND_PARTICIPANTS_MAX
    // Anchors: full keys. Encoded beside one another; the array is filled by
    // command_prepare_participant.
    const struct slice *participants;
    struct slice part;  // an encoded command_commit under the same id: what lies on this shard
};
void command_prepare_encode(struct codec_writer *w, const struct command_prepare *self);

struct command_prepare_view {
    struct txn_id txn;
    struct txn_attempt attempt;
    struct hlc_ts begin;
    uint64_t request_hash;
    uint32_t self;
    uint32_t participant_count;
    struct slice participants;  // encoded: command_anchors_next
    struct slice part;
};
// Verifies all of it, the part included (command_commit_verify). STATUS_CORRUPT.
NODISCARD enum status command_prepare_decode(struct slice encoded,
                                             struct command_prepare_view *out);
// True for the encoding of a prepare / of resolutions (the first byte tells; a commit has others).
bool command_is_prepare(struct slice encoded);
bool command_is_resolve(struct slice encoded);
// Anchors one after the other: `rest` starts as command_prepare_view.participants. The bytes were
// verified; false at the end.
bool command_anchors_next(struct slice *rest, struct slice *out_anchor);

// --- Resolve ---

enum command_decision {
    COMMAND_DECIDE_COMMIT = 1,
    COMMAND_DECIDE_ABORT,
    COMMAND_DECIDE_PROBE,   // abort unless prepared or finished
    COMMAND_DECIDE_FORGET,  // every participant has resolved it
    COMMAND_DECIDE_SETTLE,  // at the home: the id has an outcome after this; attempt does not count
    COMMAND_DECISION_COUNT
};

struct command_resolution {
    struct txn_id txn;
    struct txn_attempt attempt;
    struct hlc_ts begin;
    enum command_decision decision;
    struct hlc_ts commit;  // COMMIT: c
    // ABORT at the home: the id ends with this outcome (CONDITION_FAILED, RESOURCE_EXHAUSTED),
    // which a repeat is told again; OK = none, another attempt may follow.
    enum status outcome;
    uint32_t failed_condition;
    uint64_t request_hash;
};
void command_resolve_begin(struct codec_writer *w, uint32_t count);
void command_resolution_encode(struct codec_writer *w, const struct command_resolution *self);
struct command_resolve_reader {
    struct codec_reader reader;
    uint32_t count;
    uint32_t left;  // private
};
NODISCARD enum status command_resolve_open(struct command_resolve_reader *self,
                                           struct slice encoded);
// At most count times; the last is STATUS_CORRUPT when bytes follow it.
NODISCARD enum status command_resolve_next(struct command_resolve_reader *self,
                                           struct command_resolution *out);

// --- Answers ---

enum command_txn_state {
    COMMAND_TXN_NONE,  // FORGET or COMMIT met no record
    COMMAND_TXN_PREPARED,
    COMMAND_TXN_COMMITTED,
    COMMAND_TXN_ABORTED,  // this attempt can never commit
    COMMAND_TXN_BUSY,     // a lower attempt is prepared and has to be resolved first; try again
    COMMAND_TXN_STATE_COUNT
};

enum command_txn_reason {
    COMMAND_REASON_NONE,
    COMMAND_REASON_LOCKED,         // key, holder
    COMMAND_REASON_READ,           // key: it has a newer version than was read, timestamp
    COMMAND_REASON_CONDITION,      // failed_condition: its place in this part
    COMMAND_REASON_TOO_MANY,       // a delete_range met too many keys
    COMMAND_REASON_SUPERSEDED,     // a higher attempt was here, or a probe
    COMMAND_REASON_HORIZON,        // begun too long ago
    COMMAND_REASON_OTHER_REQUEST,  // the id was committed with another request
    COMMAND_REASON_SETTLED,        // the id was settled as aborted
    COMMAND_REASON_TYPE,           // key: a merge met a value of another type, or one that is full
    COMMAND_REASON_COUNT
};

// What a participant says of one attempt: the answer to a prepare, and one per resolution.
struct command_txn_answer {
    enum command_txn_state state;
    enum command_txn_reason reason;
    struct hlc_ts timestamp;    // p, c, or of the newer version (READ)
    uint32_t failed_condition;  // CONDITION
    struct txn_id holder;       // LOCKED, BUSY: whom to resolve
    struct slice key;           // LOCKED, READ: a view
    // The outcome that the home keeps for the id, when it has one: of this attempt (COMMITTED, or
    // ABORTED with CONDITION / TOO_MANY), or of another (ABORTED: this one is too late).
    bool has_outcome;
    struct command_outcome outcome;
};
void command_txn_answer_encode(struct codec_writer *w, const struct command_txn_answer *self);
// More may follow in r.
NODISCARD enum status command_txn_answer_decode(struct codec_reader *r,
                                                struct command_txn_answer *out);
