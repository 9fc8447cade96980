// SPDX-License-Identifier: Apache-2.0
// coordinator.h - one attempt of one transaction over several shards, driven to its end: sans-IO.
// Invariants: told COMMITTED only when every participant answered PREPARED (or one COMMITTED);
//             ABORTED only when some participant is durably aborted and the home holds a record of
//             this attempt or a higher one; never both; silence is no answer.
// Ownership:  the caller owns the struct and its participants; no memory is allocated.
// Thread:     pure.
// See:        docs/protocols/transactions.md "The coordinator"; txn/coordinator/README.md;
//             tests/unit/txn/coordinator/coordinator_test.c
#pragma once

#include "txn/command/command_txn.h"

enum coordinator_phase {
    COORDINATOR_PREPARING,
    COORDINATOR_COMMITTING,  // told or to be told committed; COMMIT goes to all
    COORDINATOR_ABORTING,    // it cannot commit; ABORT goes to all that may hold a record
    COORDINATOR_FORGETTING,  // all committed; FORGET goes to all
    COORDINATOR_DONE,
    COORDINATOR_PHASE_COUNT
};

// What is to be sent to a participant now.
enum coordinator_send {
    COORDINATOR_SEND_NOTHING,
    COORDINATOR_SEND_PREPARE,
    COORDINATOR_SEND_PROBE,
    COORDINATOR_SEND_COMMIT,
    COORDINATOR_SEND_ABORT,  // to the home with the outcome, when coordinator_wants_outcome
    COORDINATOR_SEND_FORGET,
};

enum coordinator_result {
    COORDINATOR_PENDING,
    COORDINATOR_COMMITTED,
    COORDINATOR_ABORTED,  // `why` tells: LOCKED, SUPERSEDED: another attempt may follow
};

struct coordinator_participant {
    enum command_txn_state state;  // as last answered; NONE = not known
    struct hlc_ts prepared;
    bool in_flight;  // a request is out; its answer or failure will be reported
    bool sent;       // a request was out: it may hold a record
    bool resolved;   // has answered the decision
    bool forgotten;
    bool silent;  // a prepare ended without an answer: probe from now on
};

struct coordinator {
    enum coordinator_phase phase;
    enum coordinator_result result;
    bool recovering;  // begun by a participant: everybody is probed, nobody prepared
    // The participant that is prepared before any other is asked; `count` = all are asked at once.
    uint32_t first;
    struct hlc_ts commit;  // COMMITTED: c
    // ABORTED: the refusal that decided; key is not kept. A condition that nobody could note at the
    // home (a higher attempt is there) has become SUPERSEDED once the client may be told.
    struct command_txn_answer why;
    uint32_t why_participant;
    // The home knows how the id ended: that is what the client is told.
    bool has_outcome;
    struct command_outcome outcome;
    uint32_t contradictions;  // certified answers that no correct history has: ignored, counted
    uint32_t count;
    struct coordinator_participant *participants;  // [0] is the home
};

// participants has `count` items, zeroed here.
void coordinator_init(struct coordinator *self, struct coordinator_participant *participants,
                      uint32_t count, bool recovering);
// Before anything was sent: participant `first` is prepared alone. It may wait there for whoever is
// in the way, since the attempt holds nothing elsewhere. `why` ended the attempt before; its key is
// not kept.
void coordinator_begin_with(struct coordinator *self, uint32_t first,
                            const struct command_txn_answer *why);
// Some participant was not asked yet, so the attempt cannot commit unless this coordinator goes on:
// it stands no better than between two attempts.
bool coordinator_may_abandon(const struct coordinator *self);
// It does not go on. Who was asked is told to abort, for the reason of the attempt before.
void coordinator_abandon(struct coordinator *self);
// What participant `i` wants to be sent now; the caller sends it and calls coordinator_sent. After
// an answer BUSY, and after silence, the caller lets some time pass first.
enum coordinator_send coordinator_next(const struct coordinator *self, uint32_t i);
void coordinator_sent(struct coordinator *self, uint32_t i);
// An answer to a request of kind `sent` that a shard certified. Repeated and late answers are
// harmless.
void coordinator_on_answer(struct coordinator *self, uint32_t i, enum coordinator_send sent,
                           const struct command_txn_answer *answer);
// The request ended without a certified answer; it may or may not have had its effect.
void coordinator_on_silence(struct coordinator *self, uint32_t i, enum coordinator_send sent);
// The refusal ends the id, not only the attempt: ABORT carries the outcome to the home, so that a
// repeat is told the same.
bool coordinator_wants_outcome(const struct coordinator *self);
// The client may be told: result is COMMITTED or ABORTED for good.
bool coordinator_may_tell(const struct coordinator *self);
bool coordinator_is_done(const struct coordinator *self);
void coordinator_check(const struct coordinator *self);
