// SPDX-License-Identifier: Apache-2.0
// A RESOLVE, applied: the table of docs/protocols/transactions.md, a row at a time.
//
//            COMMIT c, ABORT
//   PREPARED ----------------> COMMITTED | ABORTED       PROBE leaves it
//   none     --ABORT, PROBE--> ABORTED                   (a tombstone)
//
// Commits of an attempt that is aborted here, and the reverse, cannot come to be: whoever decides
// has seen records that exclude it. Should it happen all the same, stopping is better than one half
// of a transaction.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "txn/apply/apply_internal.h"

// One resolution on its way: what the shard holds of the transaction, and what is to be told.
struct resolving {
    struct apply *apply;
    struct apply_shard *shard;
    const struct command_resolution *item;
    struct hlc_ts now;
    const struct lock_holder *holder;  // NULL = not prepared here
    bool recorded;                     // a finished record
    struct apply_record record;
    int order;  // of the attempt that is here to that of the item
    struct command_txn_answer answer;
};

static void tell(struct resolving *self, enum command_txn_state state,
                 enum command_txn_reason reason) {
    self->answer.state = state;
    self->answer.reason = reason;
}

// The outcome that the home keeps, when it keeps one.
static void tell_outcome(struct resolving *self) {
    struct command_outcome outcome;
    if (apply__outcome_find(self->apply, self->shard->id, self->item->txn, self->now, &outcome) !=
        STATUS_OK) {
        return;
    }
    self->answer.has_outcome = true;
    self->answer.outcome = outcome;
}

static void keep_outcome(struct resolving *self, const struct command_outcome *outcome) {
    apply__outcome_put(self->apply, self->shard->id, self->item->txn, outcome);
    self->answer.has_outcome = true;
    self->answer.outcome = *outcome;
}

// An abort for good tells the home with what outcome the id ended.
static void keep_refusal(struct resolving *self) {
    tell_outcome(self);
    const struct command_resolution *item = self->item;
    if (item->outcome == STATUS_OK || self->answer.has_outcome) { return; }
    const struct command_outcome outcome = {.status = item->outcome,
                                            .timestamp = self->now,
                                            .failed_condition = item->failed_condition,
                                            .request_hash = item->request_hash};
    keep_outcome(self, &outcome);
}

// Ends what is prepared: the record says how, the locks go.
static void end_prepared(struct resolving *self, enum command_txn_state state,
                         struct hlc_ts commit) {
    const struct lock_holder *holder = self->holder;
    const struct apply_record record = {.state = state,
                                        .attempt = holder->attempt,
                                        .begin = holder->begin,
                                        .prepared = holder->prepared,
                                        .commit = commit,
                                        .ended = self->now};
    apply__record_put(self->apply, self->shard, self->item->txn, &record);
    apply__resolved(self->apply, self->shard->id, self->item->txn);
    const bool held = lock_table_remove(self->shard->locks, self->item->txn);
    ASSERT(held);
    self->holder = NULL;
}

static void commit_prepared(struct resolving *self) {
    const struct hlc_ts commit = self->item->commit;
    const struct lock_holder *holder = self->holder;
    ASSERT(!hlc_before(commit, holder->prepared));
    ASSERT(hlc_before(commit, self->now) || MUTANT(DECIDED_NOT_ADOPTED));
    struct command_prepare_view prepare;
    const enum status st = command_prepare_decode(holder->prepare, &prepare);
    ASSERT(st == STATUS_OK);
    const struct hlc_ts ts = MUTANT(COMMIT_TS_LOCAL) ? holder->prepared : commit;
    apply__mutate(self->apply, prepare.part, ts, MUTANT(PREPARED_TS_LOST) ? ts : holder->prepared);
    if (prepare.self == 0) {
        const struct command_outcome outcome = {
            .status = STATUS_OK, .timestamp = commit, .request_hash = prepare.request_hash};
        keep_outcome(self, &outcome);
    }
    end_prepared(self, COMMAND_TXN_COMMITTED, commit);
}

static void tell_committed(struct resolving *self) {
    tell(self, COMMAND_TXN_COMMITTED, COMMAND_REASON_NONE);
    self->answer.timestamp = self->record.commit;
    tell_outcome(self);
}

static void on_commit(struct resolving *self) {
    if (self->holder != NULL && self->order == 0) {
        commit_prepared(self);
        tell(self, COMMAND_TXN_COMMITTED, COMMAND_REASON_NONE);
        self->answer.timestamp = self->item->commit;
        return;
    }
    if (self->recorded && self->order == 0) {
        ASSERT(self->record.state == COMMAND_TXN_COMMITTED);
        ASSERT(hlc_equal(self->record.commit, self->item->commit));
        tell_committed(self);
        return;
    }
    // Committed and forgotten long ago.
    MARK("apply.commit_of_nothing");
    tell(self, COMMAND_TXN_NONE, COMMAND_REASON_NONE);
}

static void on_abort_of_prepared(struct resolving *self, bool probe) {
    if (self->order > 0) {
        tell(self, COMMAND_TXN_ABORTED, COMMAND_REASON_SUPERSEDED);
    } else if (self->order < 0) {
        tell(self, COMMAND_TXN_BUSY, COMMAND_REASON_NONE);
        self->answer.holder = self->item->txn;
    } else if (probe) {
        tell(self, COMMAND_TXN_PREPARED, COMMAND_REASON_NONE);
        self->answer.timestamp = self->holder->prepared;
    } else {
        tell(self, COMMAND_TXN_ABORTED, COMMAND_REASON_SUPERSEDED);
        end_prepared(self, COMMAND_TXN_ABORTED, HLC_ZERO);
        keep_refusal(self);
    }
}

static void on_abort(struct resolving *self, bool probe) {
    if (self->holder != NULL) {
        on_abort_of_prepared(self, probe);
        return;
    }
    if (self->recorded && self->order == 0 && self->record.state == COMMAND_TXN_COMMITTED) {
        // Behind the horizon a participant that has dropped what it was told to forget answers a
        // late probe ABORTED, and whoever probed believes it.
        const bool late = apply__is_old(self->apply, self->item->begin, self->now);
        ASSERT(probe || late);
        tell_committed(self);
        return;
    }
    tell(self, COMMAND_TXN_ABORTED, COMMAND_REASON_SUPERSEDED);
    const bool higher = self->recorded && self->order > 0;
    const bool committed = self->recorded && self->record.state == COMMAND_TXN_COMMITTED;
    if (higher || committed) {
        tell_outcome(self);
        return;
    }
    const bool already = self->recorded && self->order == 0;
    const bool below_horizon =
        !self->recorded && apply__is_old(self->apply, self->item->begin, self->now);
    const bool skips = probe && MUTANT(TOMBSTONE_SKIPPED);
    if (!already && !below_horizon && !skips) {
        MARK("apply.tombstone");
        const struct apply_record record = {.state = COMMAND_TXN_ABORTED,
                                            .attempt = self->item->attempt,
                                            .begin = self->item->begin,
                                            .ended = self->now};
        apply__record_put(self->apply, self->shard, self->item->txn, &record);
    }
    keep_refusal(self);
}

static void on_forget(struct resolving *self) {
    tell(self, COMMAND_TXN_NONE, COMMAND_REASON_NONE);
    const bool its = self->recorded && self->order == 0;
    if (!its || self->record.state != COMMAND_TXN_COMMITTED || self->record.forgotten) { return; }
    self->record.forgotten = true;
    apply__record_put(self->apply, self->shard, self->item->txn, &self->record);
}

static void on_settle(struct resolving *self) {
    tell_outcome(self);
    if (self->answer.has_outcome) {
        const bool committed = self->answer.outcome.status == STATUS_OK;
        tell(self, committed ? COMMAND_TXN_COMMITTED : COMMAND_TXN_ABORTED, COMMAND_REASON_NONE);
        self->answer.timestamp = self->answer.outcome.timestamp;
        return;
    }
    // Older than outcomes are kept, but not resolved everywhere: it committed all the same.
    if (self->recorded && self->record.state == COMMAND_TXN_COMMITTED) {
        MARK("apply.settled_without_outcome");
        tell_committed(self);
        return;
    }
    if (self->holder != NULL) {
        tell(self, COMMAND_TXN_BUSY, COMMAND_REASON_NONE);
        self->answer.holder = self->item->txn;
        return;
    }
    MARK("apply.settled");
    tell(self, COMMAND_TXN_ABORTED, COMMAND_REASON_SETTLED);
    const struct command_outcome outcome = {.status = STATUS_CANCELLED, .timestamp = self->now};
    keep_outcome(self, &outcome);
}

static void look(struct resolving *self) {
    const struct command_resolution *item = self->item;
    self->holder = lock_table_find(self->shard->locks, item->txn);
    if (self->holder != NULL) {
        self->order = txn_attempt_compare(self->holder->attempt, item->attempt);
        return;
    }
    self->recorded = apply__record_find(self->apply, self->shard, item->txn, self->now,
                                        &self->record) == STATUS_OK;
    if (self->recorded) { self->order = txn_attempt_compare(self->record.attempt, item->attempt); }
}

static void resolve_one(struct resolving *self) {
    look(self);
    switch (self->item->decision) {
    case COMMAND_DECIDE_COMMIT:
        on_commit(self);
        return;
    case COMMAND_DECIDE_ABORT:
        on_abort(self, false);
        return;
    case COMMAND_DECIDE_PROBE:
        on_abort(self, true);
        return;
    case COMMAND_DECIDE_FORGET:
        on_forget(self);
        return;
    case COMMAND_DECIDE_SETTLE:
        on_settle(self);
        return;
    case COMMAND_DECISION_COUNT:
        break;
    }
    ASSERT(false);  // the decoder lets no other decision pass
}

static bool verify(struct slice payload) {
    struct command_resolve_reader reader;
    struct command_resolution item;
    enum status st = command_resolve_open(&reader, payload);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.count; i++) {
        st = command_resolve_next(&reader, &item);
    }
    return st == STATUS_OK;
}

// What committing it will look at: what its range deletes meet, and what its merges change.
static void make_ready(struct apply *self, const struct apply_shard *shard,
                       const struct command_resolution *item) {
    const struct lock_holder *holder = lock_table_find(shard->locks, item->txn);
    if (holder == NULL || item->decision != COMMAND_DECIDE_COMMIT) { return; }
    struct command_prepare_view prepare;
    const enum status st = command_prepare_decode(holder->prepare, &prepare);
    ASSERT(st == STATUS_OK);
    apply__make_ready(self, prepare.part);
}

// Whatever the entry will read is made readable before its first effect: then it is never in the
// store by half. What its own items do shows in `decided` and `merged`, and a range delete needs to
// see nothing of them: two transactions that are prepared together share no keys but merged ones.
static void settle(struct apply *self, const struct apply_shard *shard, struct slice payload) {
    struct command_resolve_reader reader;
    enum status st = command_resolve_open(&reader, payload);
    while (st == STATUS_OK && reader.left > 0) {
        struct command_resolution item;
        st = command_resolve_next(&reader, &item);
        apply__settle_id(self, shard->id, item.txn);
    }
    // Only now: settling an id may write the batch, and what merges see has to be looked up after.
    st = command_resolve_open(&reader, payload);
    while (st == STATUS_OK && reader.left > 0) {
        struct command_resolution item;
        st = command_resolve_next(&reader, &item);
        make_ready(self, shard, &item);
    }
    ASSERT(st == STATUS_OK);  // it was verified
}

void apply__resolve(struct apply *self, struct apply_shard *shard, const struct log_entry *entry,
                    struct apply_result *out) {
    if (!verify(entry->payload)) {
        out->status = STATUS_INVALID_ARGUMENT;
        return;
    }
    settle(self, shard, entry->payload);
    struct command_resolve_reader reader;
    enum status st = command_resolve_open(&reader, entry->payload);
    buf_reset(&self->result);
    apply_decided_open(&self->decided);
    while (st == STATUS_OK && reader.left > 0) {
        struct command_resolution item;
        st = command_resolve_next(&reader, &item);
        ASSERT(st == STATUS_OK);
        struct resolving resolving = {
            .apply = self, .shard = shard, .item = &item, .now = entry->timestamp};
        resolve_one(&resolving);
        trace_note(self->trace, &item.txn,
                   (struct trace_event){.kind = TRACE_APPLIED,
                                        .what = (uint8_t)trace_of_decision(item.decision),
                                        .state = (uint8_t)resolving.answer.state,
                                        .reason = (uint8_t)resolving.answer.reason,
                                        .attempt = item.attempt.tag,
                                        .shard = shard->id.v,
                                        .value = resolving.answer.timestamp.v});
        apply__answer(self, &resolving.answer);
    }
    apply_decided_close(&self->decided);
    *out = (struct apply_result){.status = STATUS_OK, .payload = buf_slice(&self->result)};
}
