// SPDX-License-Identifier: Apache-2.0
// Reads, scans and questions for outcomes.
//
// At the leader: a snapshot is picked, prepared writes at or below it that are in the way are
// waited for, the read runs, and its rows wait, if they must, for the proof that leadership still
// held after it ran. A read over several shards names its snapshot, `at`, and remembers this
// leader's clock when it first asked, `contact`: what was prepared here up to then may have been
// acknowledged before the read began, so a lock up to there is waited for, and a version above `at`
// that was prepared by then makes the snapshot uncertain (transactions.md, "Reads").
//
// At any replica: at or below closed nothing more commits and nothing is prepared; the rows are the
// answer. A replica that is a little behind waits for its closed timestamp, then sends the call to
// the leader, which serves it by its own rules.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "txn/session/session_internal.h"

#include <stddef.h>
#include <string.h>

#define SOON_NS       UINT64_C(100000)    // entries below the snapshot are in flight: look again
#define SOON_UNTIL_NS UINT64_C(5000000)   // as often as that for so long
#define AGAIN_NS      UINT64_C(1000000)   // the leader cannot serve yet: look again after this
#define READY_NS      UINT64_C(50000000)  // for so long; then the gateway backs off
#define CLOSED_NS     UINT64_C(20000000)  // a follower waits for its closed timestamp
#define CLOSED_US_MAX UINT64_C(50000)     // if it lags by no more

static struct session_exec *exec_of_read(struct replica_read *read) {
    return (struct session_exec *)(void *)((char *)read - offsetof(struct session_exec, read));
}

// --- The snapshot ---

// A timestamp from the future of every clock must not drag this one along, nor be waited for.
static bool refuses_clock(struct session_exec *self, struct hlc_ts ts, const char *detail,
                          struct command_response *out) {
    struct session *session = self->session;
    const enum status st = hlc_observe(session->config.hlc, ts, session__wall(session));
    if (st == STATUS_OK) { return false; }
    session__refuse(out, st, detail);
    return true;
}

// The oldest snapshot that a bounded read may be served at.
static struct hlc_ts bounded_floor(const struct session_exec *self) {
    const uint64_t wall = session__wall(self->session);
    const uint64_t staleness = self->snapshot.staleness_us;
    return hlc_from_wall(wall > staleness ? wall - staleness : 0);
}

// What the request says of its snapshot, into self->read. True when it is refused.
static bool take_snapshot(struct session_exec *self, struct command_response *out) {
    self->snapshot = (struct command_snapshot){0};
    if (self->kind == COMMAND_TXN_STATUS) {
        if (self->payload.size == sizeof(struct txn_id)) { return false; }
        session__refuse(out, STATUS_INVALID_ARGUMENT, "the transaction id has 16 bytes");
        return true;
    }
    if (command_snapshot_peek(self->payload, &self->snapshot) != STATUS_OK) {
        session__refuse(out, STATUS_INVALID_ARGUMENT, "the read does not decode");
        return true;
    }
    const struct command_snapshot *snapshot = &self->snapshot;
    if (refuses_clock(self, snapshot->at_least,
                      "at_least: the timestamp is too far ahead of the replica's clock", out) ||
        refuses_clock(self, snapshot->at,
                      "at: the timestamp is too far ahead of the replica's clock", out)) {
        return true;
    }
    self->read.at_least = snapshot->at_least;
    self->read.at = snapshot->at;
    self->read.read_index = snapshot->consistency == COMMAND_STRONG_READ_INDEX;
    if (snapshot->consistency == COMMAND_BOUNDED && snapshot->at.v == 0) {
        self->read.at_least = hlc_larger(snapshot->at_least, bounded_floor(self));
    }
    return false;
}

static bool is_uncertain_kind(const struct session_exec *self) {
    return self->snapshot.at.v != 0 && command_consistency_is_strong(self->snapshot.consistency);
}

// --- Execution ---

static enum status txn_status_rows(struct session_exec *self) {
    struct txn_id txn;
    ASSERT(self->payload.size == sizeof(txn.v));
    memcpy(txn.v, self->payload.data, sizeof(txn.v));
    struct codec_writer w;
    codec_writer_init(&w, &self->rows);
    struct command_outcome outcome;
    const enum status st = apply_outcome(self->session->config.apply, self->shard, txn, &outcome);
    if (st == STATUS_OK) {
        command_outcome_encode(&w, &outcome);
        return w.status;
    }
    self->read_status = st;
    if (st != STATUS_NOT_FOUND) { return st; }
    const struct lock_table *locks = session__locks(self);
    if (locks != NULL && lock_table_find(locks, txn) != NULL) { codec_put_u8(&w, 1); }
    return w.status;
}

static enum status read_execute(struct session_exec *self,
                                const struct shard_descriptor *descriptor,
                                const char **out_detail) {
    self->read_status = STATUS_OK;
    self->uncertain = HLC_ZERO;
    *out_detail = "";
    self->rows = session__buf_take(self->session);
    enum status st = STATUS_OK;
    if (self->kind == COMMAND_READ) {
        st = session__read_rows(self, descriptor, out_detail);
    } else if (self->kind == COMMAND_SCAN) {
        st = session__scan_rows(self, descriptor, out_detail);
    } else if (self->kind == COMMAND_VERSIONS) {
        st = session__version_rows(self, descriptor, out_detail);
    } else {
        ASSERT(self->kind == COMMAND_TXN_STATUS);
        st = txn_status_rows(self);
    }
    if (st == STATUS_OK && self->uncertain.v != 0) { buf_reset(&self->rows); }
    return st;
}

static void answer_read(const struct session_exec *self, struct command_response *out) {
    const struct replica *replica = session__replica(self);
    ASSERT(replica != NULL);
    const bool by_lease = self->read.by_lease;
    out->status = self->read_status;
    out->payload = buf_slice(&self->rows);
    out->contact = self->contact;
    out->uncertain = self->uncertain;
    out->certificate = (struct command_certificate){
        .method = self->method != COMMAND_METHOD_NONE ? self->method
                  : by_lease                          ? COMMAND_METHOD_LEASE
                                                      : COMMAND_METHOD_READ_INDEX,
        .shard = self->shard,
        .config_epoch = replica_descriptor(replica)->config_epoch,
        .term = self->read.term,
        .index = self->read.index,
        .timestamp = self->read.timestamp,
        .closed = self->read.closed,
    };
}

// --- At the leader ---

static void on_confirmed(struct replica_read *read, enum status status) {
    struct session_exec *self = exec_of_read(read);
    struct session *session = self->session;
    ASSERT(self->pending && session->pending > 0);
    self->pending = false;
    session->pending--;
    if (session->closing) {
        buf_deinit(&self->rows);
        session__unkeep(self);
        session__free_if_closed(session);
        return;
    }
    struct command_response response = {0};
    if (status == STATUS_OK) {
        answer_read(self, &response);
    } else {
        session__answer_route(self, status, &response);
    }
    self->done(self, &response);
}

// Executed first, confirmed after (time.md, "Leases").
static bool read_confirm(struct session_exec *self, struct replica *replica,
                         struct command_response *out) {
    const enum status st = replica_read_confirm(replica, &self->read);
    if (st == STATUS_OK) {
        answer_read(self, out);
        return true;
    }
    if (st != STATUS_UNAVAILABLE) {
        session__answer_route(self, st, out);
        return true;
    }
    self->pending = true;
    self->session->pending++;
    return false;
}

// A question for the outcome of a transaction that is prepared here: it has none yet. Whoever
// recovers it is told, and the question waits.
static bool asks_for_holder(struct session_exec *self, struct txn_id *out_holder) {
    const struct lock_table *locks = session__locks(self);
    if (self->kind != COMMAND_TXN_STATUS || self->hasty || locks == NULL) { return false; }
    memcpy(out_holder->v, self->payload.data, sizeof(out_holder->v));
    if (lock_table_find(locks, *out_holder) == NULL) { return false; }
    participant_hurry(self->session->room, self->shard, *out_holder);
    return true;
}

// Somebody prepared what may commit at or below the snapshot, or was acknowledged before the read
// began.
static bool is_blocked(struct session_exec *self, const struct replica *replica,
                       struct txn_id *out_holder) {
    if (self->kind == COMMAND_TXN_STATUS) { return asks_for_holder(self, out_holder); }
    struct lock_conflict conflict;
    const struct hlc_ts limit = hlc_larger(self->contact, self->read.timestamp);
    if (MUTANT(READ_IGNORES_LOCKS) ||
        !session__read_blocked(self, replica_descriptor(replica), limit, &conflict)) {
        return false;
    }
    *out_holder = conflict.holder->txn;
    return true;
}

// A snapshot named by somebody else is mostly below entries that are being replicated: they are
// applied with one of the next turns. Anything else that keeps a leader from serving takes longer.
static uint64_t again_after_ns(const struct session_exec *self) {
    const uint64_t waited = session__now(self->session) - self->arrived_ns;
    return self->read.at.v != 0 && waited < SOON_UNTIL_NS ? SOON_NS : AGAIN_NS;
}

static bool exec_strong(struct session_exec *self, struct replica *replica,
                        struct command_response *out) {
    struct session *session = self->session;
    self->method = COMMAND_METHOD_NONE;
    enum status st = replica_read_begin(replica, &self->read);
    if (st != STATUS_OK) {
        const bool soon =
            st == STATUS_UNAVAILABLE &&
            session__park_for(self, again_after_ns(self), self->arrived_ns + READY_NS);
        if (soon) { return false; }
        session__answer_route(self, st, out);
        return true;
    }
    if (is_uncertain_kind(self) && self->contact.v == 0) {
        const struct hlc_ts given = self->snapshot.contact;
        self->contact = given.v != 0 ? given : hlc_now(session->config.hlc, session__wall(session));
    }
    struct txn_id holder;
    if (is_blocked(self, replica, &holder)) { return session__park(self, holder, out); }
    const char *detail = "";
    st = read_execute(self, replica_descriptor(replica), &detail);
    if (st != STATUS_OK) {
        session__refuse(out, st, detail);
        return true;
    }
    return read_confirm(self, replica, out);
}

// --- At any replica ---

static void check_closed(const struct session_exec *self) {
    const struct lock_table *locks = session__locks(self);
    if (locks == NULL || MUTANT(FOLLOWER_READS_EARLY)) { return; }
    ASSERT(hlc_before(self->read.timestamp, lock_table_min_prepared(locks)));
}

// Lags by so little that waiting is shorter than asking the leader.
static bool may_close_soon(const struct session_exec *self, const struct replica *replica) {
    struct replica_frontiers frontiers;
    replica_frontiers(replica, &frontiers);
    const struct hlc_ts wanted = hlc_larger(self->read.at, self->read.at_least);
    return frontiers.closed.v != 0 && frontiers.health == RAFT_WHOLE &&
           !hlc_before(hlc_add_us(frontiers.closed, CLOSED_US_MAX), wanted);
}

static bool exec_closed(struct session_exec *self, struct replica *replica,
                        struct command_response *out) {
    if (replica_read_closed(replica, &self->read) == STATUS_OK) {
        check_closed(self);
        self->method = self->snapshot.consistency == COMMAND_ANY ? COMMAND_METHOD_APPLIED
                                                                 : COMMAND_METHOD_CLOSED;
        const char *detail = "";
        const enum status st = read_execute(self, replica_descriptor(replica), &detail);
        if (st != STATUS_OK) {
            session__refuse(out, st, detail);
        } else {
            answer_read(self, out);
        }
        return true;
    }
    if (replica_is_leader(replica)) { return exec_strong(self, replica, out); }
    if (may_close_soon(self, replica) &&
        session__park_for(self, AGAIN_NS, self->arrived_ns + CLOSED_NS)) {
        MARK("session.waits_for_closed");
        return false;
    }
    session__answer_route(self, STATUS_NOT_LEADER, out);
    return true;
}

bool session__exec_read(struct session_exec *self, struct replica *replica,
                        struct command_response *out) {
    self->read = (struct replica_read){.confirmed = on_confirmed};
    const bool strong = self->kind == COMMAND_TXN_STATUS;
    if (take_snapshot(self, out)) { return true; }
    if (strong || command_consistency_is_strong(self->snapshot.consistency)) {
        if (replica_is_leader(replica)) { return exec_strong(self, replica, out); }
        session__answer_route(self, STATUS_NOT_LEADER, out);
        return true;
    }
    return exec_closed(self, replica, out);
}
