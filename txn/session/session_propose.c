// SPDX-License-Identifier: Apache-2.0
// What goes through the log: commits of one shard, prepares, resolutions, catalogue commands. The
// answer comes when the entry was applied.
//
// Whether something commits or prepares is decided there. Looking at the locks before only decides
// who waits: a commit of one shard holds nothing and always waits; a prepare waits for younger ones
// only, and otherwise is proposed, to be refused for good (wait-die: who holds locks never waits
// for a younger one, so there is no circle).
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "txn/command/command_merge.h"
#include "txn/session/session_internal.h"

#include <stddef.h>
#include <string.h>

static struct session_exec *exec_of_proposal(struct replica_proposal *proposal) {
    return (struct session_exec *)(void *)((char *)proposal -
                                           offsetof(struct session_exec, proposal));
}

// --- Answers ---

// The commit timestamp is the outcome's: a repeat is told when its first copy committed.
static struct hlc_ts commit_timestamp(const struct session_exec *self,
                                      const struct replica_proposal_result *result) {
    struct codec_reader r;
    struct command_outcome outcome;
    codec_reader_init(&r, result->applied.payload);
    const bool decoded = self->kind == COMMAND_COMMIT &&
                         result->applied.status != STATUS_ABORTED_RETRY &&
                         command_outcome_decode(&r, &outcome) == STATUS_OK;
    return decoded ? outcome.timestamp : result->timestamp;
}

static const char *commit_detail(enum status status) {
    switch ((int)status) {
    case STATUS_INVALID_ARGUMENT:
        return "transaction id: it was used before with another commit";
    case STATUS_RESOURCE_EXHAUSTED:
        return "delete_range: more than 10000 keys lie in it";
    case STATUS_FAILED_PRECONDITION:
        return COMMAND_TYPE_TEXT;
    case STATUS_CANCELLED:
        return "transaction id: it was settled as aborted; try again with another id";
    case STATUS_ABORTED_RETRY:
        return "a key that the transaction read has a newer version";
    default:
        return "";
    }
}

static void answer_applied(const struct session_exec *self,
                           const struct replica_proposal_result *result,
                           struct command_response *out) {
    const struct replica *replica = session__replica(self);
    ASSERT(replica != NULL);
    struct replica_frontiers frontiers;
    replica_frontiers(replica, &frontiers);
    out->status = result->applied.status;
    out->payload = result->applied.payload;
    out->certificate = (struct command_certificate){
        .method = COMMAND_METHOD_LOG,
        .shard = self->shard,
        .config_epoch = replica_descriptor(replica)->config_epoch,
        .term = result->term,
        .index = result->index,
        .timestamp = commit_timestamp(self, result),
        .closed = frontiers.closed,
    };
    if (self->kind == COMMAND_COMMIT) {
        out->detail = slice_from_string(commit_detail(result->applied.status));
    }
}

// What apply said of one attempt. False for other answers.
static bool txn_answer(const struct replica_proposal_result *result,
                       struct command_txn_answer *out) {
    struct codec_reader r;
    codec_reader_init(&r, result->applied.payload);
    return command_txn_answer_decode(&r, out) == STATUS_OK;
}

// A lock that was not there yet when the commit was proposed. Nothing happened: it waits like any
// other. True when it does.
static bool waits_after_all(struct session_exec *self,
                            const struct replica_proposal_result *result) {
    struct command_txn_answer answer;
    if (self->kind != COMMAND_COMMIT || result->applied.status != STATUS_ABORTED_RETRY ||
        self->payload.size == 0 || !txn_answer(result, &answer) ||
        answer.reason != COMMAND_REASON_LOCKED) {
        return false;
    }
    MARK("session.locked_when_applied");
    struct command_response refusal = {0};
    return !session__park(self, answer.holder, &refusal);
}

static void note_prepare(struct session_exec *self, const struct replica_proposal_result *result) {
    struct command_txn_answer answer;
    if (self->kind != COMMAND_PREPARE || !txn_answer(result, &answer)) { return; }
    struct participant *room = self->session->room;
    if (answer.state == COMMAND_TXN_PREPARED) { participant_note(room, self->shard); }
    // An attempt before this one was left behind: whoever recovers it need not wait to notice.
    if (answer.state == COMMAND_TXN_BUSY) { participant_hurry(room, self->shard, answer.holder); }
}

// The log has decided. Whoever waits for what is prepared now goes on waiting.
static void unlatch(struct session_exec *self, const struct replica_proposal_result *result) {
    struct session *session = self->session;
    struct command_txn_answer answer;
    if (!self->latched) { return; }
    self->latched = false;
    session_latches_remove(&session->latches, self->shard, self->waiter.txn);
    if (result->status == STATUS_OK && txn_answer(result, &answer) &&
        answer.state == COMMAND_TXN_PREPARED) {
        return;
    }
    participant_on_resolved(session->room, self->shard, self->waiter.txn);
}

static void on_proposed(struct replica_proposal *proposal,
                        const struct replica_proposal_result *result) {
    struct session_exec *self = exec_of_proposal(proposal);
    struct session *session = self->session;
    ASSERT(self->pending && session->pending > 0);
    self->pending = false;
    session->pending--;
    if (session->closing) {
        session__unkeep(self);
        session__free_if_closed(session);
        return;
    }
    unlatch(self, result);
    struct command_response response = {0};
    const bool applied = result->status == STATUS_OK;
    if (applied && result->applied.status != STATUS_STALE_SHARD_MAP) {
        if (waits_after_all(self, result)) { return; }
        note_prepare(self, result);
        answer_applied(self, result, &response);
    } else {
        session__answer_route(self, applied ? result->applied.status : result->status, &response);
    }
    // Lost with its place in the log: it may commit yet.
    if (result->status == STATUS_UNAVAILABLE) { response.certificate.index = result->index; }
    self->done(self, &response);
}

// --- Proposing ---

// Resolving gives back room and locks; a commit that only deletes makes room, in time.
static bool makes_room(const struct session_exec *self) {
    if (self->kind == COMMAND_RESOLVE) { return true; }
    if (self->kind != COMMAND_COMMIT) { return false; }
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, self->payload);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.read_count; i++) {
        struct command_span span;
        st = command_commit_next_read(&reader, &span);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.condition_count; i++) {
        struct command_condition condition;
        st = command_commit_next_condition(&reader, &condition);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.mutation_count; i++) {
        struct command_mutation mutation = {0};
        st = command_commit_next_mutation(&reader, &mutation);
        const bool deletes =
            mutation.kind == COMMAND_DELETE || mutation.kind == COMMAND_DELETE_RANGE;
        if (st == STATUS_OK && !deletes) { return false; }
    }
    return st == STATUS_OK && reader.mutation_count > 0;
}

static bool propose(struct session_exec *self, struct replica *replica,
                    struct command_response *out) {
    self->proposal = (struct replica_proposal){.payload = self->payload,
                                               .shard_epoch = replica_descriptor(replica)->epoch,
                                               .done = on_proposed};
    if (replica_table_room(self->session->config.table) != REPLICA_ROOM_ENOUGH) {
        self->proposal.in_reserve = makes_room(self);
    }
    const enum status st = replica_propose(replica, &self->proposal);
    if (st != STATUS_OK) {
        session__answer_route(self, st, out);
        return true;
    }
    self->pending = true;
    self->session->pending++;
    // Whoever sent it has it still; here it is gone with this turn.
    if (!self->lasting && self->kept.data == NULL) { self->payload = SLICE_EMPTY; }
    return false;
}

// The same, of one transaction, which shows in its trace.
static bool propose_of(struct session_exec *self, struct replica *replica, const struct txn_id *txn,
                       struct trace_event event, struct command_response *out) {
    const struct txn_id id = *txn;
    const bool ended = propose(self, replica, out);
    if (!ended) {
        event.kind = TRACE_PROPOSED;
        event.shard = self->shard.v;
        trace_note(self->session->config.trace, &id, event);
    }
    return ended;
}

// --- Commits of one shard ---

static bool span_fits(const struct command_span *span, const struct shard_descriptor *descriptor) {
    return span->end.size == 0 ? shard_descriptor_contains(descriptor, span->start)
                               : shard_descriptor_covers(descriptor, span->start, span->end);
}

static bool mutation_fits(const struct command_mutation *mutation,
                          const struct shard_descriptor *descriptor) {
    return mutation->kind == COMMAND_DELETE_RANGE
               ? shard_descriptor_covers(descriptor, mutation->key, mutation->value)
               : shard_descriptor_contains(descriptor, mutation->key);
}

bool session__commit_fits(struct slice payload, const struct shard_descriptor *descriptor) {
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, payload);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.read_count; i++) {
        struct command_span span;
        st = command_commit_next_read(&reader, &span);
        if (st == STATUS_OK && !span_fits(&span, descriptor)) { return false; }
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.condition_count; i++) {
        struct command_condition condition;
        st = command_commit_next_condition(&reader, &condition);
        if (st == STATUS_OK && !shard_descriptor_contains(descriptor, condition.key)) {
            return false;
        }
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        st = command_commit_next_mutation(&reader, &mutation);
        if (st == STATUS_OK && !mutation_fits(&mutation, descriptor)) { return false; }
    }
    return st == STATUS_OK;
}

// The youngest in the way of the commit, which is verified: it holds locks, or is about to.
static bool conflicts(const struct session_exec *self, struct txn_id txn, struct slice commit,
                      struct lock_conflict *out) {
    const struct lock_table *locks = session__locks(self);
    const struct lock_table *latches = session_latches_of(&self->session->latches, self->shard);
    struct lock_conflict latch;
    const bool locked = locks != NULL && lock_table_count(locks) > 0 &&
                        lock_table_conflicts(locks, txn, commit, out);
    if (latches == NULL || !lock_table_conflicts(latches, txn, commit, &latch)) { return locked; }
    MARK("session.latched");
    if (!locked || txn_is_older(out->holder->begin, out->holder->txn, latch.holder->begin,
                                latch.holder->txn)) {
        *out = latch;
    }
    return true;
}

// What the log is about to lock. Proposals of an id that is here already are not latched.
static void latch(struct session_exec *self, const struct command_prepare_view *prepare,
                  struct slice payload) {
    struct session_latches *latches = &self->session->latches;
    const struct lock_table *others = session_latches_of(latches, self->shard);
    if (others != NULL && lock_table_find(others, prepare->txn) != NULL) { return; }
    const struct lock_holder holder = {.txn = prepare->txn,
                                       .attempt = prepare->attempt,
                                       .begin = prepare->begin,
                                       .prepared = HLC_MAX,  // behind all others
                                       .prepare = payload};
    self->waiter.txn = prepare->txn;
    self->latched = true;
    session_latches_add(latches, self->shard, &holder);
}

bool session__exec_commit(struct session_exec *self, struct replica *replica,
                          struct command_response *out) {
    if (!session__commit_fits(self->payload, replica_descriptor(replica))) {
        const bool decodes = command_commit_verify(self->payload) == STATUS_OK;
        session__refuse(out, STATUS_INVALID_ARGUMENT,
                        decodes ? "a key of the commit lies outside the shard"
                                : "the commit does not decode");
        return true;
    }
    struct command_commit_reader reader;
    const enum status st = command_commit_open(&reader, self->payload);
    ASSERT(st == STATUS_OK);
    struct lock_conflict conflict;
    if (conflicts(self, reader.txn, self->payload, &conflict)) {
        self->waiter.txn = reader.txn;
        return session__park(self, conflict.holder->txn, out);
    }
    bool ended = false;
    if (session__waits_for_hold(self, reader.txn, self->payload, out, &ended)) { return ended; }
    return propose_of(self, replica, &reader.txn, (struct trace_event){.what = TRACE_ONE_PHASE},
                      out);
}

bool session__exec_catalog(struct session_exec *self, struct replica *replica,
                           struct command_response *out) {
    return propose(self, replica, out);
}

// --- Transactions over several shards ---

bool session__exec_prepare(struct session_exec *self, struct replica *replica,
                           struct command_response *out) {
    struct command_prepare_view prepare;
    if (command_prepare_decode(self->payload, &prepare) != STATUS_OK) {
        session__refuse(out, STATUS_INVALID_ARGUMENT, "the prepare does not decode");
        return true;
    }
    if (!session__commit_fits(prepare.part, replica_descriptor(replica))) {
        session__refuse(out, STATUS_INVALID_ARGUMENT,
                        "a key of this part of the transaction lies outside the shard");
        return true;
    }
    struct lock_conflict conflict;
    const bool blocked = conflicts(self, prepare.txn, prepare.part, &conflict);
    if (blocked &&
        (self->alone ||
         txn_is_older(prepare.begin, prepare.txn, conflict.holder->begin, conflict.holder->txn) ||
         MUTANT(WAITS_FOR_OLDER))) {
        self->waiter.txn = prepare.txn;
        self->waiter.attempt = prepare.attempt;
        self->begin = prepare.begin;
        return session__park(self, conflict.holder->txn, out);
    }
    bool ended = false;
    if (session__waits_for_hold(self, prepare.txn, prepare.part, out, &ended)) { return ended; }
    const struct slice payload = self->payload;
    ended = propose_of(self, replica, &prepare.txn,
                       (struct trace_event){.what = TRACE_PREPARE, .attempt = prepare.attempt.tag},
                       out);
    if (!ended && !blocked) { latch(self, &prepare, payload); }
    return ended;
}

static void trace_resolution(const struct session_exec *self,
                             const struct command_resolution *resolution) {
    trace_note(self->session->config.trace, &resolution->txn,
               (struct trace_event){.kind = TRACE_PROPOSED,
                                    .what = (uint8_t)trace_of_decision(resolution->decision),
                                    .shard = self->shard.v,
                                    .attempt = resolution->attempt.tag,
                                    .value = resolution->commit.v});
}

// Entries of this shard shall lie above all that they resolve. False for bytes that mean nothing.
static bool adopt_decided(struct session_exec *self) {
    struct hlc_clock *hlc = self->session->config.hlc;
    struct command_resolve_reader reader;
    struct hlc_ts largest = HLC_ZERO;
    enum status st = command_resolve_open(&reader, self->payload);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.count; i++) {
        struct command_resolution resolution = {0};
        st = command_resolve_next(&reader, &resolution);
        if (st == STATUS_OK) { trace_resolution(self, &resolution); }
        if (st == STATUS_OK && resolution.decision == COMMAND_DECIDE_COMMIT) {
            largest = hlc_larger(largest, resolution.commit);
        }
    }
    if (st != STATUS_OK || hlc_equal(largest, HLC_MAX)) { return false; }
    if (!MUTANT(DECIDED_NOT_ADOPTED)) { hlc_adopt(hlc, largest); }
    return true;
}

bool session__exec_resolve(struct session_exec *self, struct replica *replica,
                           struct command_response *out) {
    if (!adopt_decided(self)) {
        session__refuse(out, STATUS_INVALID_ARGUMENT, "the resolutions do not decode");
        return true;
    }
    return propose(self, replica, out);
}
