// SPDX-License-Identifier: Apache-2.0
// One commit, evaluated: dedupe, then locks, then reads, then conditions, then mutations.
//
// Order matters. The repeat of a commit must get its first outcome even though the state has moved
// on, so the id is looked up before any condition. Conditions and range deletes read the store;
// when the gathered batch may write what they read, it is written first. A blind put reads nothing
// but the outcome record of its own id.
//
// Nothing goes into the batch before the whole commit is decided: the batch may then be written at
// any moment without half a commit in it.
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "txn/apply/apply_internal.h"

enum { SPACE_KEY = 1 };

// The keys of one range delete: counted first, deleted in a second pass over the same view.
struct range_pass {
    struct apply *apply;
    struct hlc_ts timestamp;
    struct hlc_ts prepared;
    uint32_t count;
    bool deletes;
};

static bool range_visit(void *ctx, struct slice key, const struct mvcc_version *version) {
    struct range_pass *pass = ctx;
    ASSERT(version->kind != MVCC_DELETE);
    if (command_key_is_reserved(key)) { return true; }
    pass->count++;
    if (pass->deletes) {
        mvcc_delete(pass->apply->batch, key, pass->timestamp, pass->prepared);
        apply_touched_add(&pass->apply->touched, SPACE_KEY, key);
    }
    return pass->count <= COMMAND_OPS_MAX;
}

static void range_run(struct range_pass *pass, const struct command_mutation *range) {
    ASSERT(range->kind == COMMAND_DELETE_RANGE);
    const struct mvcc_scan scan = {
        .start = range->key, .end = range->value, .ts = HLC_MAX, .visit = range_visit, .ctx = pass};
    const enum status st = mvcc_scan(pass->apply->reader, &scan);
    if (st != STATUS_OK) { FATAL("the data store cannot be scanned: %s", status_text(st)); }
}

// The reader shows the key with all that was gathered; or, to merges, `merged` shows the rest.
static void show_key(struct apply *self, struct slice key, bool merges) {
    const bool gathered = apply_touched_has(&self->touched, SPACE_KEY, key);
    if (gathered && !(merges && apply_merged_has(&self->merged, key))) {
        MARK("apply.look_at_gathered_key");
        apply__write(self);
    }
    if (self->reader_stale) {
        mvcc_reader_refresh(self->reader);
        self->reader_stale = false;
    }
}

static bool condition_holds(struct apply *self, const struct command_condition *condition) {
    show_key(self, condition->key, false);
    struct mvcc_version newest;
    const enum status st = mvcc_read(self->reader, condition->key, HLC_MAX, &newest);
    if (st != STATUS_OK && st != STATUS_NOT_FOUND) {
        FATAL("the data store cannot be read: %s", status_text(st));
    }
    const bool found = st == STATUS_OK;
    switch (condition->kind) {
    case COMMAND_EXISTS:
        return found;
    case COMMAND_ABSENT:
        return !found;
    case COMMAND_VALUE_EQUALS:
        return found && slice_equal(newest.value, condition->value);
    case COMMAND_VERSION_EQUALS:
        return hlc_equal(newest.ts, condition->ts);
    case COMMAND_TIMESTAMP_AT_MOST:
        return !hlc_before(condition->ts, newest.ts);
    case COMMAND_CONDITION_KIND_COUNT:
        break;
    }
    ASSERT(false);  // the decoder lets no other kind pass
    return false;
}

// The first version found above the snapshot suffices.
struct newer_pass {
    bool found;
    struct hlc_ts ts;
};

static bool newer_visit(void *ctx, const struct mvcc_version *version) {
    struct newer_pass *pass = ctx;
    pass->found = true;
    pass->ts = version->ts;
    return false;
}

// Whether a span has a version above the snapshot, and the newest of the first such key.
static bool has_newer(struct apply *self, const struct command_span *read, struct hlc_ts snapshot,
                      struct hlc_ts *out) {
    struct newer_pass pass = {0};
    const struct mvcc_above above = {
        .start = read->start, .end = read->end, .ts = snapshot, .visit = newer_visit, .ctx = &pass};
    // A span may hold any gathered key.
    (void)apply_reader(self);
    const enum status st = mvcc_above(self->reader, &above);
    if (st != STATUS_OK) { FATAL("the data store cannot be read: %s", status_text(st)); }
    *out = pass.ts;
    return pass.found;
}

// The same of one key: its newest version, a delete as well, is a search of its own.
static bool key_has_newer(struct apply *self, struct slice key, struct hlc_ts snapshot,
                          struct hlc_ts *out) {
    struct mvcc_version newest;
    show_key(self, key, false);
    const enum status st = mvcc_read(self->reader, key, HLC_MAX, &newest);
    if (st != STATUS_OK && st != STATUS_NOT_FOUND) {
        FATAL("the data store cannot be read: %s", status_text(st));
    }
    *out = newest.ts;
    return hlc_before(snapshot, newest.ts);
}

static void check_reads(struct apply *self, struct command_commit_reader *reader,
                        struct apply__verdict *verdict) {
    for (uint32_t i = 0; i < reader->read_count; i++) {
        struct command_span read;
        const enum status st = command_commit_next_read(reader, &read);
        ASSERT(st == STATUS_OK);  // the payload was verified
        if (verdict->status != STATUS_OK || MUTANT(READ_NOT_VALIDATED)) { continue; }
        struct hlc_ts newer = HLC_ZERO;
        const bool stale = read.end.size > 0
                               ? has_newer(self, &read, reader->snapshot, &newer)
                               : key_has_newer(self, read.start, reader->snapshot, &newer);
        if (!stale) { continue; }
        verdict->status = STATUS_ABORTED_RETRY;
        verdict->key = read.start;
        verdict->newer = newer;
    }
}

static void check_conditions(struct apply *self, struct command_commit_reader *reader,
                             struct apply__verdict *verdict) {
    for (uint32_t i = 0; i < reader->condition_count; i++) {
        struct command_condition condition;
        const enum status st = command_commit_next_condition(reader, &condition);
        ASSERT(st == STATUS_OK);
        if (verdict->status == STATUS_OK && !condition_holds(self, &condition)) {
            verdict->status = STATUS_CONDITION_FAILED;
            verdict->failed_condition = i;
        }
    }
}

// Counts what the range deletes would delete. The reader's copy is walked: the mutations are taken
// again afterwards.
static void check_ranges(struct apply *self, struct command_commit_reader reader,
                         struct apply__verdict *verdict) {
    struct range_pass pass = {.apply = self};
    bool ready = false;
    for (uint32_t i = 0; i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        const enum status st = command_commit_next_mutation(&reader, &mutation);
        ASSERT(st == STATUS_OK);
        if (mutation.kind != COMMAND_DELETE_RANGE) { continue; }
        // A range may hold any gathered key: write them all, once, and look at the result.
        if (!ready) { (void)apply_reader(self); }
        ready = true;
        range_run(&pass, &mutation);
        if (pass.count > COMMAND_OPS_MAX) {
            verdict->status = STATUS_RESOURCE_EXHAUSTED;
            return;
        }
    }
}

// Merges look at the value that they change. The reader's copy is walked.
static void check_merges(struct apply *self, const struct apply_shard *shard,
                         struct command_commit_reader reader, struct apply__verdict *verdict) {
    for (uint32_t i = 0; i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        const enum status st = command_commit_next_mutation(&reader, &mutation);
        ASSERT(st == STATUS_OK);
        if (mutation.kind != COMMAND_MERGE) { continue; }
        show_key(self, mutation.key, true);
        const enum apply__merge_verdict merge = apply__merge_check(self, shard, &mutation);
        if (merge == APPLY_MERGE_STANDS) { continue; }
        verdict->key = mutation.key;
        verdict->status = STATUS_FAILED_PRECONDITION;
        if (merge == APPLY_MERGE_OUT_OF_BOUNDS) {
            verdict->status = STATUS_CONDITION_FAILED;
            verdict->failed_condition = reader.condition_count + i;
        }
        return;
    }
}

static void mutate(struct apply *self, const struct command_mutation *mutation, struct hlc_ts ts,
                   struct hlc_ts prepared) {
    switch (mutation->kind) {
    case COMMAND_PUT:
        // How entries are grouped into turns differs from node to node.
        if (MUTANT(APPLY_LOCAL) && engine_batch_count(self->batch) > 2) { return; }
        mvcc_put(self->batch, mutation->key, ts, prepared, mutation->value);
        break;
    case COMMAND_DELETE:
        if (MUTANT(UNKNOWN_ENTRY_IGNORED) && mutant_old_release) { return; }
        mvcc_delete(self->batch, mutation->key, ts, prepared);
        break;
    case COMMAND_DELETE_RANGE: {
        struct range_pass pass = {
            .apply = self, .timestamp = ts, .prepared = prepared, .deletes = true};
        range_run(&pass, mutation);
        ASSERT(pass.count <= COMMAND_OPS_MAX);
        return;
    }
    case COMMAND_MERGE:
        apply__merge(self, mutation, ts, prepared);
        break;
    case COMMAND_MUTATION_KIND_COUNT:
        ASSERT(false);
        return;
    }
    apply_touched_add(&self->touched, SPACE_KEY, mutation->key);
    // Merges that follow in this turn look there, not in the store.
    if (mutation->kind != COMMAND_MERGE && apply_merged_has(&self->merged, mutation->key)) {
        const struct mvcc_version version = {
            .value = mutation->kind == COMMAND_PUT ? mutation->value : SLICE_EMPTY,
            .ts = ts,
            .prepared = prepared,
            .kind = mutation->kind == COMMAND_PUT ? MVCC_PUT : MVCC_DELETE};
        apply_merged_put(&self->merged, mutation->key, &version, false);
    }
}

struct command_commit_reader apply__mutations_of(struct slice commit) {
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, commit);
    struct command_span read;
    struct command_condition condition;
    for (uint32_t i = 0; st == STATUS_OK && i < reader.read_count; i++) {
        st = command_commit_next_read(&reader, &read);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.condition_count; i++) {
        st = command_commit_next_condition(&reader, &condition);
    }
    ASSERT(st == STATUS_OK);
    return reader;
}

void apply__make_ready(struct apply *self, struct slice commit) {
    struct command_commit_reader reader = apply__mutations_of(commit);
    for (uint32_t i = 0; i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        const enum status st = command_commit_next_mutation(&reader, &mutation);
        ASSERT(st == STATUS_OK);
        if (mutation.kind == COMMAND_DELETE_RANGE) { (void)apply_reader(self); }
        if (mutation.kind == COMMAND_MERGE) { show_key(self, mutation.key, true); }
    }
}

void apply__evaluate(struct apply *self, const struct apply_shard *shard, struct slice commit,
                     struct apply__verdict *out) {
    struct command_commit_reader reader;
    const enum status st = command_commit_open(&reader, commit);
    ASSERT(st == STATUS_OK);
    *out = (struct apply__verdict){.status = STATUS_OK};
    check_reads(self, &reader, out);
    check_conditions(self, &reader, out);
    if (out->status == STATUS_OK) { check_ranges(self, reader, out); }
    if (out->status == STATUS_OK) { check_merges(self, shard, reader, out); }
}

void apply__mutate(struct apply *self, struct slice commit, struct hlc_ts ts,
                   struct hlc_ts prepared) {
    struct command_commit_reader reader = apply__mutations_of(commit);
    for (uint32_t i = 0; i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        const enum status st = command_commit_next_mutation(&reader, &mutation);
        ASSERT(st == STATUS_OK);
        mutate(self, &mutation, ts, prepared);
    }
}

static void give_outcome(struct apply *self, const struct command_outcome *outcome,
                         struct apply_result *out) {
    buf_reset(&self->result);
    struct codec_writer w;
    codec_writer_init(&w, &self->result);
    command_outcome_encode(&w, outcome);
    ASSERT(w.status == STATUS_OK);
    *out = (struct apply_result){.status = outcome->status, .payload = buf_slice(&self->result)};
}

// Nothing is kept of it: the same command may come again, and then be answered otherwise.
static void give_retry(struct apply *self, const struct command_txn_answer *answer,
                       struct apply_result *out) {
    buf_reset(&self->result);
    apply__answer(self, answer);
    *out =
        (struct apply_result){.status = STATUS_ABORTED_RETRY, .payload = buf_slice(&self->result)};
}

// True when *out is the answer: the id has an outcome already.
static bool is_repeat(struct apply *self, struct apply_shard *shard, const struct log_entry *entry,
                      struct txn_id txn, struct apply_result *out) {
    struct command_outcome first;
    const enum status found = apply__outcome_find(self, shard->id, txn, entry->timestamp, &first);
    if (found != STATUS_OK || MUTANT(NO_DEDUPE)) { return false; }
    const bool settled = first.status == STATUS_CANCELLED;
    if (!settled && first.request_hash != hash64(entry->payload, 0)) {
        MARK("apply.id_reused");
        out->status = STATUS_INVALID_ARGUMENT;
        return true;
    }
    MARK("apply.repeat");
    give_outcome(self, &first, out);
    return true;
}

static void trace_commit(const struct apply *self, const struct apply_shard *shard,
                         const struct txn_id *txn, struct trace_event event) {
    event.kind = TRACE_APPLIED;
    event.what = TRACE_ONE_PHASE;
    event.shard = shard->id.v;
    trace_note(self->trace, txn, event);
}

// True when *out is the answer: a lock is in the way. An attempt of the same transaction that is
// prepared here has to be resolved first, too.
static bool is_locked(struct apply *self, const struct apply_shard *shard, struct txn_id txn,
                      struct slice commit, struct apply_result *out) {
    struct lock_conflict conflict = {.holder = lock_table_find(shard->locks, txn)};
    if (conflict.holder == NULL && !lock_table_conflicts(shard->locks, txn, commit, &conflict)) {
        return false;
    }
    MARK("apply.commit_locked");
    const struct command_txn_answer answer = {.state = COMMAND_TXN_NONE,
                                              .reason = COMMAND_REASON_LOCKED,
                                              .holder = conflict.holder->txn,
                                              .key = conflict.key};
    trace_commit(self, shard, &txn, (struct trace_event){.reason = COMMAND_REASON_LOCKED});
    give_retry(self, &answer, out);
    return true;
}

static enum command_txn_reason reason_of(enum status verdict) {
    if (verdict == STATUS_CONDITION_FAILED) { return COMMAND_REASON_CONDITION; }
    if (verdict == STATUS_RESOURCE_EXHAUSTED) { return COMMAND_REASON_TOO_MANY; }
    return verdict == STATUS_OK ? COMMAND_REASON_NONE : COMMAND_REASON_TYPE;
}

static void commit_at_once(struct apply *self, struct apply_shard *shard,
                           const struct log_entry *entry, struct apply_result *out) {
    if (command_commit_verify(entry->payload) != STATUS_OK) {
        MARK("apply.not_a_commit");
        out->status = STATUS_INVALID_ARGUMENT;
        return;
    }
    struct command_commit_reader reader;
    const enum status opened = command_commit_open(&reader, entry->payload);
    ASSERT(opened == STATUS_OK);
    if (is_repeat(self, shard, entry, reader.txn, out) ||
        is_locked(self, shard, reader.txn, entry->payload, out)) {
        return;
    }
    struct apply__verdict verdict;
    apply__evaluate(self, shard, entry->payload, &verdict);
    if (verdict.status == STATUS_ABORTED_RETRY) {
        MARK("apply.commit_stale");
        const struct command_txn_answer answer = {.state = COMMAND_TXN_NONE,
                                                  .reason = COMMAND_REASON_READ,
                                                  .timestamp = verdict.newer,
                                                  .key = verdict.key};
        trace_commit(self, shard, &reader.txn,
                     (struct trace_event){.state = COMMAND_TXN_ABORTED,
                                          .reason = COMMAND_REASON_READ,
                                          .value = verdict.newer.v});
        give_retry(self, &answer, out);
        return;
    }
    if (verdict.status == STATUS_OK) {
        apply__mutate(self, entry->payload, entry->timestamp, entry->timestamp);
    }
    const struct command_outcome outcome = {.status = verdict.status,
                                            .timestamp = entry->timestamp,
                                            .failed_condition = verdict.failed_condition,
                                            .request_hash = hash64(entry->payload, 0)};
    const bool committed = verdict.status == STATUS_OK;
    trace_commit(self, shard, &reader.txn,
                 (struct trace_event){
                     .state = committed ? COMMAND_TXN_COMMITTED : COMMAND_TXN_ABORTED,
                     .reason = (uint8_t)reason_of(verdict.status),
                     .value = entry->timestamp.v,
                 });
    apply__outcome_put(self, shard->id, reader.txn, &outcome);
    give_outcome(self, &outcome, out);
}

void apply__command(struct apply *self, struct apply_shard *shard, const struct log_entry *entry,
                    struct apply_result *out) {
    ASSERT(shard->epoch != 0);
    ASSERT(hlc_before(shard->timestamp, entry->timestamp));
    if (entry->shard_epoch != shard->epoch) {
        MARK("apply.other_epoch");
        out->status = STATUS_STALE_SHARD_MAP;
        return;
    }
    if (command_is_prepare(entry->payload)) {
        apply__prepare(self, shard, entry, out);
    } else if (command_is_resolve(entry->payload)) {
        apply__resolve(self, shard, entry, out);
    } else {
        commit_at_once(self, shard, entry, out);
    }
}
