// SPDX-License-Identifier: Apache-2.0
// The coordinator and the recoverer of docs/protocols/transactions.md are one machine: the
// recoverer probes where the coordinator prepares, and both draw the same conclusions from the same
// answers.
//
//               all PREPARED, or one COMMITTED             all resolved
//   PREPARING ------------------------------> COMMITTING ---------------> FORGETTING ---> DONE
//       |                                                                                   ^
//       +---- one ABORTED ----> ABORTING ---- all resolved ---------------------------------+
//
// One request per participant is under way. Whoever wants the next one sooner (an ABORT while a
// PREPARE waits for a lock) ends the first and reports silence.
//
// Certified answers that contradict the decision cannot come from correct shards, except one: a
// late PREPARE that is refused because its record was dropped long ago. They are counted and change
// nothing.
#include "txn/coordinator/coordinator.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"

void coordinator_init(struct coordinator *self, struct coordinator_participant *participants,
                      uint32_t count, bool recovering) {
    ASSERT(count >= 1 && count <= COMMAND_PARTICIPANTS_MAX);
    *self = (struct coordinator){
        .recovering = recovering, .first = count, .count = count, .participants = participants};
    for (uint32_t i = 0; i < count; i++) {
        participants[i] = (struct coordinator_participant){0};
    }
}

void coordinator_begin_with(struct coordinator *self, uint32_t first,
                            const struct command_txn_answer *why) {
    ASSERT(first < self->count && !self->recovering && self->phase == COORDINATOR_PREPARING);
    for (uint32_t i = 0; i < self->count; i++) {
        ASSERT(!self->participants[i].sent);
    }
    self->first = first;
    self->why = *why;
    self->why.key = SLICE_EMPTY;
}

// Whoever waits for `first` is not asked yet.
static bool is_held_back(const struct coordinator *self, uint32_t i) {
    return self->first < self->count && i != self->first &&
           self->participants[self->first].state != COMMAND_TXN_PREPARED;
}

enum coordinator_send coordinator_next(const struct coordinator *self, uint32_t i) {
    ASSERT(i < self->count);
    const struct coordinator_participant *p = &self->participants[i];
    if (p->in_flight) { return COORDINATOR_SEND_NOTHING; }
    switch (self->phase) {
    case COORDINATOR_PREPARING:
        if (p->state == COMMAND_TXN_PREPARED || is_held_back(self, i)) {
            return COORDINATOR_SEND_NOTHING;
        }
        return self->recovering || p->silent ? COORDINATOR_SEND_PROBE : COORDINATOR_SEND_PREPARE;
    case COORDINATOR_COMMITTING:
        return p->resolved ? COORDINATOR_SEND_NOTHING : COORDINATOR_SEND_COMMIT;
    case COORDINATOR_ABORTING:
        return p->resolved ? COORDINATOR_SEND_NOTHING : COORDINATOR_SEND_ABORT;
    case COORDINATOR_FORGETTING:
        return p->forgotten ? COORDINATOR_SEND_NOTHING : COORDINATOR_SEND_FORGET;
    case COORDINATOR_DONE:
    case COORDINATOR_PHASE_COUNT:
        break;
    }
    return COORDINATOR_SEND_NOTHING;
}

void coordinator_sent(struct coordinator *self, uint32_t i) {
    ASSERT(coordinator_next(self, i) != COORDINATOR_SEND_NOTHING);
    self->participants[i].in_flight = true;
    self->participants[i].sent = true;
}

bool coordinator_wants_outcome(const struct coordinator *self) {
    return self->phase == COORDINATOR_ABORTING && !self->recovering && !self->has_outcome &&
           (self->why.reason == COMMAND_REASON_CONDITION ||
            self->why.reason == COMMAND_REASON_TOO_MANY || self->why.reason == COMMAND_REASON_TYPE);
}

static bool all_resolved(const struct coordinator *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        if (!self->participants[i].resolved) { return false; }
    }
    return true;
}

// --- Decisions ---

static void finish_commit_if_resolved(struct coordinator *self) {
    if (all_resolved(self)) { self->phase = COORDINATOR_FORGETTING; }
}

static void decide_commit(struct coordinator *self, struct hlc_ts commit) {
    ASSERT(self->phase == COORDINATOR_PREPARING && self->result == COORDINATOR_PENDING);
    self->phase = COORDINATOR_COMMITTING;
    self->result = COORDINATOR_COMMITTED;
    self->commit = commit;
}

static void commit_if_all_prepared(struct coordinator *self) {
    struct hlc_ts commit = HLC_ZERO;
    for (uint32_t i = 0; i < self->count; i++) {
        const bool last = i > 0 && i + 1 == self->count;
        if (last && MUTANT(DECIDED_EARLY)) { break; }
        if (self->participants[i].state != COMMAND_TXN_PREPARED) { return; }
        commit = hlc_larger(commit, self->participants[i].prepared);
    }
    decide_commit(self, commit);
}

// The home's refusal counts once it is a record: below the horizon it refuses without one, and a
// refusal that ends the id is no outcome before it is noted as one.
static bool home_has_record(const struct coordinator *self, enum coordinator_send sent,
                            const struct command_txn_answer *answer) {
    if (answer->has_outcome) { return true; }
    if (sent == COORDINATOR_SEND_ABORT) { return true; }
    return answer->reason != COMMAND_REASON_HORIZON && !coordinator_wants_outcome(self);
}

// An ABORTED answer while, or with which, the attempt aborts.
static void note_aborted(struct coordinator *self, uint32_t i, enum coordinator_send sent,
                         const struct command_txn_answer *answer) {
    ASSERT(self->phase == COORDINATOR_ABORTING);
    struct coordinator_participant *p = &self->participants[i];
    p->state = COMMAND_TXN_ABORTED;
    if (i == 0 && answer->has_outcome && !self->has_outcome) {
        self->has_outcome = true;
        self->outcome = answer->outcome;
        self->why.reason = answer->reason;
    }
    if (i > 0 || home_has_record(self, sent, answer)) {
        if (i == 0 && coordinator_wants_outcome(self)) {
            // A higher attempt is at the home: the id may still end otherwise.
            MARK("coordinator.outcome_superseded");
            self->why.reason = COMMAND_REASON_SUPERSEDED;
        }
        p->resolved = true;
    }
    if (self->participants[0].resolved) { self->result = COORDINATOR_ABORTED; }
    if (all_resolved(self)) { self->phase = COORDINATOR_DONE; }
}

// Nobody but this coordinator sends prepares of this attempt: who was not asked has no record. The
// home gets one, which lower attempts of the id will meet.
static void pass_by_unasked(struct coordinator *self) {
    for (uint32_t i = 1; self->first < self->count && i < self->count; i++) {
        if (self->participants[i].sent) { continue; }
        self->participants[i].state = COMMAND_TXN_ABORTED;
        self->participants[i].resolved = true;
    }
}

static void decide_abort(struct coordinator *self, uint32_t i, enum coordinator_send sent,
                         const struct command_txn_answer *answer) {
    ASSERT(self->phase == COORDINATOR_PREPARING && self->result == COORDINATOR_PENDING);
    self->phase = COORDINATOR_ABORTING;
    self->why = *answer;
    self->why.key = SLICE_EMPTY;
    self->why_participant = i;
    pass_by_unasked(self);
    note_aborted(self, i, sent, answer);
}

bool coordinator_may_abandon(const struct coordinator *self) {
    if (self->phase != COORDINATOR_PREPARING || self->first == self->count) { return false; }
    for (uint32_t i = 0; i < self->count; i++) {
        if (!self->participants[i].sent) { return true; }
    }
    return false;
}

void coordinator_abandon(struct coordinator *self) {
    ASSERT(coordinator_may_abandon(self));
    self->phase = COORDINATOR_ABORTING;
    pass_by_unasked(self);
}

// --- Answers, by phase ---

static void on_answer_preparing(struct coordinator *self, uint32_t i, enum coordinator_send sent,
                                const struct command_txn_answer *answer) {
    struct coordinator_participant *p = &self->participants[i];
    switch (answer->state) {
    case COMMAND_TXN_PREPARED:
        p->state = COMMAND_TXN_PREPARED;
        p->prepared = answer->timestamp;
        commit_if_all_prepared(self);
        return;
    case COMMAND_TXN_COMMITTED:
        p->state = COMMAND_TXN_COMMITTED;
        p->resolved = true;
        decide_commit(self, answer->timestamp);
        finish_commit_if_resolved(self);
        return;
    case COMMAND_TXN_ABORTED:
        decide_abort(self, i, sent, answer);
        return;
    case COMMAND_TXN_BUSY:
        // Of an earlier copy; what was learned since is newer.
        if (p->state == COMMAND_TXN_NONE) { p->state = COMMAND_TXN_BUSY; }
        return;
    case COMMAND_TXN_NONE:
    case COMMAND_TXN_STATE_COUNT:
        break;
    }
    self->contradictions++;
}

static void on_answer_committing(struct coordinator *self, uint32_t i, enum coordinator_send sent,
                                 const struct command_txn_answer *answer) {
    struct coordinator_participant *p = &self->participants[i];
    if (answer->state == COMMAND_TXN_COMMITTED) {
        p->state = COMMAND_TXN_COMMITTED;
        p->resolved = true;
    } else if (sent == COORDINATOR_SEND_COMMIT &&
               (answer->state == COMMAND_TXN_NONE || answer->state == COMMAND_TXN_ABORTED)) {
        // Forgotten already, and perhaps a higher attempt has been refused here since.
        p->resolved = true;
    } else if (answer->state == COMMAND_TXN_ABORTED) {
        MARK("coordinator.contradiction");
        self->contradictions++;
    }
    finish_commit_if_resolved(self);
}

static void on_answer_aborting(struct coordinator *self, uint32_t i, enum coordinator_send sent,
                               const struct command_txn_answer *answer) {
    if (answer->state == COMMAND_TXN_ABORTED) {
        note_aborted(self, i, sent, answer);
    } else if (answer->state == COMMAND_TXN_COMMITTED) {
        MARK("coordinator.contradiction");
        self->contradictions++;
    } else if (!self->participants[i].resolved) {
        self->participants[i].state = answer->state;
    }
}

static void on_answer_forgetting(struct coordinator *self, uint32_t i, enum coordinator_send sent) {
    if (sent != COORDINATOR_SEND_FORGET) { return; }
    self->participants[i].forgotten = true;
    for (uint32_t k = 0; k < self->count; k++) {
        if (!self->participants[k].forgotten) { return; }
    }
    self->phase = COORDINATOR_DONE;
}

void coordinator_on_answer(struct coordinator *self, uint32_t i, enum coordinator_send sent,
                           const struct command_txn_answer *answer) {
    ASSERT(i < self->count && sent != COORDINATOR_SEND_NOTHING);
    self->participants[i].in_flight = false;
    switch (self->phase) {
    case COORDINATOR_PREPARING:
        on_answer_preparing(self, i, sent, answer);
        return;
    case COORDINATOR_COMMITTING:
        on_answer_committing(self, i, sent, answer);
        return;
    case COORDINATOR_ABORTING:
        on_answer_aborting(self, i, sent, answer);
        return;
    case COORDINATOR_FORGETTING:
        on_answer_forgetting(self, i, sent);
        return;
    case COORDINATOR_DONE:
    case COORDINATOR_PHASE_COUNT:
        break;
    }
}

void coordinator_on_silence(struct coordinator *self, uint32_t i, enum coordinator_send sent) {
    ASSERT(i < self->count && sent != COORDINATOR_SEND_NOTHING);
    struct coordinator_participant *p = &self->participants[i];
    p->in_flight = false;
    if (sent == COORDINATOR_SEND_PREPARE) { p->silent = true; }
}

bool coordinator_may_tell(const struct coordinator *self) {
    return self->result != COORDINATOR_PENDING;
}

bool coordinator_is_done(const struct coordinator *self) {
    return self->phase == COORDINATOR_DONE;
}

void coordinator_check(const struct coordinator *self) {
    ASSERT(self->count >= 1 && self->count <= COMMAND_PARTICIPANTS_MAX);
    const bool committed = self->result == COORDINATOR_COMMITTED;
    const bool aborted = self->result == COORDINATOR_ABORTED;
    ASSERT_IF(self->phase == COORDINATOR_PREPARING, !committed && !aborted);
    ASSERT_IF(self->phase == COORDINATOR_COMMITTING, committed);
    ASSERT_IF(self->phase == COORDINATOR_FORGETTING, committed && all_resolved(self));
    ASSERT_IF(self->phase == COORDINATOR_ABORTING, !committed && !all_resolved(self));
    ASSERT_IF(self->phase == COORDINATOR_DONE, (committed || aborted) && all_resolved(self));
    ASSERT_IF(aborted, self->participants[0].resolved);
    ASSERT_IF(self->has_outcome, aborted);
    for (uint32_t i = 0; i < self->count; i++) {
        const struct coordinator_participant *p = &self->participants[i];
        ASSERT_IF(self->phase == COORDINATOR_PREPARING, !p->resolved && !p->forgotten);
        ASSERT_IF(p->resolved && !committed, p->state == COMMAND_TXN_ABORTED);
        ASSERT_IF(p->state == COMMAND_TXN_COMMITTED, committed);
        ASSERT_IF(committed,
                  hlc_before(p->prepared, self->commit) || hlc_equal(p->prepared, self->commit));
    }
}
