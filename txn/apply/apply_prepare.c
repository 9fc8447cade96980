// SPDX-License-Identifier: Apache-2.0
// A PREPARE, applied: rules 1 to 7 of docs/protocols/transactions.md, in that order.
//
// Everything is decided here, from the entry and the store: the leader only chose when to propose
// it. A refusal is kept like a prepare, so that it is final whichever copy of the message or of the
// entry comes later.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "txn/apply/apply_internal.h"

void apply__answer(struct apply *self, const struct command_txn_answer *answer) {
    struct codec_writer w;
    codec_writer_init(&w, &self->result);
    command_txn_answer_encode(&w, answer);
    ASSERT(w.status == STATUS_OK);
}

// What stands in the way of a new attempt, before its own operations are looked at. True when *out
// is the answer.
static bool known_already(struct apply *self, struct apply_shard *shard,
                          const struct command_prepare_view *prepare, struct hlc_ts now,
                          struct command_txn_answer *out) {
    const struct lock_holder *holder = lock_table_find(shard->locks, prepare->txn);
    if (holder != NULL) {
        const int order = txn_attempt_compare(holder->attempt, prepare->attempt);
        *out = (struct command_txn_answer){.state = COMMAND_TXN_ABORTED,
                                           .reason = COMMAND_REASON_SUPERSEDED};
        if (order == 0) {
            *out = (struct command_txn_answer){.state = COMMAND_TXN_PREPARED,
                                               .timestamp = holder->prepared};
        } else if (order < 0) {
            MARK("apply.prepare_busy");
            *out = (struct command_txn_answer){.state = COMMAND_TXN_BUSY, .holder = holder->txn};
        }
        return true;
    }
    struct apply_record record = {0};
    const bool recorded = apply__record_find(self, shard, prepare->txn, now, &record) == STATUS_OK;
    const int order = recorded ? txn_attempt_compare(record.attempt, prepare->attempt) : -1;
    *out = (struct command_txn_answer){.state = COMMAND_TXN_ABORTED,
                                       .reason = COMMAND_REASON_SUPERSEDED};
    struct command_outcome outcome;
    if (apply__outcome_find(self, shard->id, prepare->txn, now, &outcome) == STATUS_OK) {
        const bool settled = outcome.status == STATUS_CANCELLED;
        if (settled) { out->reason = COMMAND_REASON_SETTLED; }
        if (!settled && outcome.request_hash != prepare->request_hash) {
            MARK("apply.prepare_of_another_request");
            out->reason = COMMAND_REASON_OTHER_REQUEST;
            return true;
        }
        out->has_outcome = true;
        out->outcome = outcome;
    } else if (recorded && record.state == COMMAND_TXN_COMMITTED && prepare->self == 0) {
        // The home's outcome has aged, and the record is there because nobody said FORGET.
        MARK("apply.prepare_after_its_outcome");
        out->has_outcome = true;
        out->outcome = (struct command_outcome){
            .status = STATUS_OK, .timestamp = record.commit, .request_hash = prepare->request_hash};
    }
    if (recorded && order == 0 && record.state == COMMAND_TXN_COMMITTED) {
        out->state = COMMAND_TXN_COMMITTED;
        out->reason = COMMAND_REASON_NONE;
        out->timestamp = record.commit;
        return true;
    }
    if (out->has_outcome || (recorded && order == 0)) { return true; }
    if (order > 0 && !MUTANT(LOWER_ATTEMPT_ADMITTED)) {
        MARK("apply.prepare_superseded");
        return true;
    }
    return recorded && record.state == COMMAND_TXN_COMMITTED;
}

// LIMIT: over several shards, a bound that does not hold is told as a merge that cannot be made.
static bool is_bound(const struct command_prepare_view *prepare,
                     const struct apply__verdict *verdict) {
    struct command_commit_reader reader;
    const enum status st = command_commit_open(&reader, prepare->part);
    ASSERT(st == STATUS_OK);
    return verdict->status == STATUS_CONDITION_FAILED &&
           verdict->failed_condition >= reader.condition_count;
}

// Whether the operations may stand. True when *out is the refusal.
static bool refused(struct apply *self, struct apply_shard *shard,
                    const struct command_prepare_view *prepare, struct command_txn_answer *out) {
    struct lock_conflict conflict;
    *out = (struct command_txn_answer){.state = COMMAND_TXN_ABORTED};
    if (lock_table_conflicts(shard->locks, prepare->txn, prepare->part, &conflict)) {
        MARK("apply.prepare_locked");
        out->reason = COMMAND_REASON_LOCKED;
        out->holder = conflict.holder->txn;
        out->key = conflict.key;
        return true;
    }
    struct apply__verdict verdict;
    apply__evaluate(self, shard, prepare->part, &verdict);
    if (verdict.status == STATUS_OK) { return false; }
    if (verdict.status == STATUS_ABORTED_RETRY) {
        MARK("apply.prepare_stale");
        out->reason = COMMAND_REASON_READ;
        out->key = verdict.key;
        out->timestamp = verdict.newer;
    } else if (verdict.status == STATUS_FAILED_PRECONDITION || is_bound(prepare, &verdict)) {
        out->reason = COMMAND_REASON_TYPE;
        out->key = verdict.key;
    } else if (verdict.status == STATUS_CONDITION_FAILED) {
        out->reason = COMMAND_REASON_CONDITION;
        out->failed_condition = verdict.failed_condition;
    } else {
        ASSERT(verdict.status == STATUS_RESOURCE_EXHAUSTED);
        out->reason = COMMAND_REASON_TOO_MANY;
    }
    return true;
}

static void prepare_anew(struct apply *self, struct apply_shard *shard,
                         const struct command_prepare_view *prepare, const struct log_entry *entry,
                         struct command_txn_answer *out) {
    struct apply_record record = {.attempt = prepare->attempt, .begin = prepare->begin};
    if (refused(self, shard, prepare, out)) {
        record.state = COMMAND_TXN_ABORTED;
        record.ended = entry->timestamp;
        apply__record_put(self, shard, prepare->txn, &record);
        return;
    }
    record.state = COMMAND_TXN_PREPARED;
    record.prepared = entry->timestamp;
    record.prepare = entry->payload;
    apply__record_put(self, shard, prepare->txn, &record);
    const struct lock_holder holder = {.txn = prepare->txn,
                                       .attempt = prepare->attempt,
                                       .begin = prepare->begin,
                                       .prepared = entry->timestamp,
                                       .prepare = entry->payload};
    lock_table_add(shard->locks, &holder);
    *out =
        (struct command_txn_answer){.state = COMMAND_TXN_PREPARED, .timestamp = entry->timestamp};
}

void apply__prepare(struct apply *self, struct apply_shard *shard, const struct log_entry *entry,
                    struct apply_result *out) {
    struct command_prepare_view prepare;
    if (command_prepare_decode(entry->payload, &prepare) != STATUS_OK) {
        out->status = STATUS_INVALID_ARGUMENT;
        return;
    }
    struct command_txn_answer answer;
    if (!known_already(self, shard, &prepare, entry->timestamp, &answer)) {
        if (apply__is_old(self, prepare.begin, entry->timestamp)) {
            MARK("apply.prepare_below_horizon");
            answer = (struct command_txn_answer){.state = COMMAND_TXN_ABORTED,
                                                 .reason = COMMAND_REASON_HORIZON};
        } else {
            prepare_anew(self, shard, &prepare, entry, &answer);
        }
    }
    trace_note(self->trace, &prepare.txn,
               (struct trace_event){.kind = TRACE_APPLIED,
                                    .what = TRACE_PREPARE,
                                    .state = (uint8_t)answer.state,
                                    .reason = (uint8_t)answer.reason,
                                    .attempt = prepare.attempt.tag,
                                    .shard = shard->id.v,
                                    .value = answer.timestamp.v});
    buf_reset(&self->result);
    apply__answer(self, &answer);
    *out = (struct apply_result){.status = STATUS_OK, .payload = buf_slice(&self->result)};
}
