// SPDX-License-Identifier: Apache-2.0
// Requests that wait on this node: for a prepared transaction that is in their way, or for the
// replica to get so far. The waiting itself is txn/participant's; here are payloads, time limits
// and the way back.
//
// A call of this gateway waits until its deadline. A request of another gateway waits for half of
// the time after which that gateway would take silence for a loss, and is then told that nothing
// happened and that this node still leads: it comes again at once, and its fate was never in doubt.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "txn/session/session_internal.h"

#include <stddef.h>

static struct session_exec *exec_of_waiter(struct participant_waiter *waiter) {
    return (struct session_exec *)(void *)((char *)waiter - offsetof(struct session_exec, waiter));
}

// --- The node's locks ---

static const struct lock_table *locks_of(void *ctx, struct shard_id shard, bool *out_quiet) {
    const struct session *self = ctx;
    const struct replica *replica = replica_table_find(self->config.table, shard);
    *out_quiet = false;
    if (replica == NULL || !replica_is_leader(replica)) { return NULL; }
    struct replica_frontiers frontiers;
    replica_frontiers(replica, &frontiers);
    *out_quiet = frontiers.applied == frontiers.last && frontiers.pending == 0;
    return apply_locks(self->config.apply, shard);
}

static bool is_deciding(void *ctx, struct shard_id shard, struct txn_id txn) {
    const struct session *self = ctx;
    const struct lock_table *latches = session_latches_of(&self->latches, shard);
    return latches != NULL && lock_table_find(latches, txn) != NULL;
}

static void recover(void *ctx, struct shard_id shard, const struct lock_holder *holder) {
    const struct session *self = ctx;
    if (self->config.recover == NULL || self->closing) { return; }
    self->config.recover(self->config.ctx, shard, holder);
}

static void on_resolved(void *ctx, struct shard_id shard, struct txn_id txn) {
    struct session *self = ctx;
    participant_on_resolved(self->room, shard, txn);
}

void session__park_create(struct session *self) {
    const uint32_t waits = self->config.waits_max == 0 ? SESSION_WAITS_MAX : self->config.waits_max;
    const uint64_t after = self->config.recovery_after_us;
    const struct participant_config config = {
        .waiters_max = waits,
        .holders_max = waits,
        .recovery_after_us = after == 0 ? SESSION_RECOVERY_AFTER_US : after,
        .now_ns = session__now(self),
        .locks = locks_of,
        .is_deciding = is_deciding,
        .recover = recover,
        .ctx = self,
    };
    self->room = participant_create(&config);
    apply_on_resolved(self->config.apply, on_resolved, self);
}

void session__park_destroy(struct session *self) {
    apply_on_resolved(self->config.apply, NULL, NULL);
    for (uint32_t i = 0; i < self->config.served_max; i++) {
        session__park_end(&self->served[i].exec);
    }
    ASSERT(self->kept_bytes == 0 || self->pending > 0);
    participant_destroy(self->room);
    self->room = NULL;
}

// --- Waiting ---

void session__unkeep(struct session_exec *self) {
    if (self->kept.data == NULL) { return; }
    ASSERT(self->session->kept_bytes >= self->kept.size);
    self->session->kept_bytes -= self->kept.size;
    buf_deinit(&self->kept);
    self->kept = (struct buf){0};
    self->payload = SLICE_EMPTY;
}

void session__park_end(struct session_exec *self) {
    participant_leave(&self->waiter);
    if (!self->pending) { session__unkeep(self); }
}

// The message in which the request came goes with this turn.
static bool keep(struct session_exec *self) {
    struct session *session = self->session;
    if (self->lasting || self->kept.data != NULL) { return true; }
    if (session->kept_bytes + self->payload.size > SESSION_KEPT_BYTES_MAX) { return false; }
    buf_init(&self->kept, COMMAND_PAYLOAD_SIZE_MAX);
    if (buf_append(&self->kept, self->payload) != STATUS_OK) {
        buf_deinit(&self->kept);
        self->kept = (struct buf){0};
        return false;
    }
    self->payload = buf_slice(&self->kept);
    session->kept_bytes += self->kept.size;
    return true;
}

void session__answer_later(const struct session_exec *self, enum participant_line line,
                           struct command_response *out) {
    session__refuse(out, STATUS_UNAVAILABLE,
                    line == PARTICIPANT_NOT_IN_LINE ? "a prepared transaction is in the way"
                                                    : "another transaction has locked the key");
    out->leader = self->session->config.self;
}

static void answer_waited(const struct session_exec *self, enum participant_line line,
                          struct command_response *out) {
    MARK("session.waited_in_vain");
    session__answer_later(self, line, out);
}

static void on_wake(struct participant_waiter *waiter, enum participant_wake why) {
    struct session_exec *self = exec_of_waiter(waiter);
    ASSERT(!self->pending && !self->session->closing);
    struct command_response response = {0};
    bool ended = true;
    if (why == PARTICIPANT_EXPIRED && self->kind != COMMAND_TXN_STATUS) {
        answer_waited(self, waiter->line, &response);
    } else {
        self->hasty = why == PARTICIPANT_EXPIRED;
        ended = session__exec_again(self, &response);
    }
    if (ended) { self->done(self, &response); }
}

static enum status wait_until(struct session_exec *self, enum participant_line line,
                              struct txn_id holder, uint64_t again_ns) {
    if (!keep(self)) { return STATUS_OVERLOADED; }
    self->waiter.shard = self->shard;
    self->waiter.holder = holder;
    self->waiter.line = line;
    self->waiter.begin = self->begin;
    self->waiter.again_ns = again_ns;
    self->waiter.deadline_ns = self->patient_ns;
    self->waiter.wake = on_wake;
    return participant_wait(self->session->room, &self->waiter, session__now(self->session));
}

static void trace_wait(const struct session_exec *self, struct txn_id holder) {
    if (txn_id_is_zero(self->waiter.txn)) { return; }
    uint64_t first = 0;
    for (uint32_t i = 0; i < sizeof(first); i++) {
        first = first << 8 | holder.v[i];
    }
    const bool prepares = self->kind == COMMAND_PREPARE;
    trace_note(self->session->config.trace, &self->waiter.txn,
               (struct trace_event){.kind = TRACE_WAITS,
                                    .what = prepares ? TRACE_PREPARE : TRACE_ONE_PHASE,
                                    .shard = self->shard.v,
                                    .value = first});
}

bool session__park(struct session_exec *self, struct txn_id holder, struct command_response *out) {
    ASSERT(!txn_id_is_zero(holder) && !self->pending);
    if (session__now(self->session) >= self->patient_ns) {
        answer_waited(self, PARTICIPANT_NOT_IN_LINE, out);
        return true;
    }
    if (wait_until(self, PARTICIPANT_NOT_IN_LINE, holder, UINT64_MAX) != STATUS_OK) {
        session__refuse(out, STATUS_OVERLOADED,
                        "too many requests wait for prepared transactions on this node");
        return true;
    }
    MARK("session.waits_for_lock");
    trace_wait(self, holder);
    return false;
}

bool session__park_for(struct session_exec *self, uint64_t after_ns, uint64_t until_ns) {
    const uint64_t now = session__now(self->session);
    if (now + after_ns > until_ns || now + after_ns >= self->patient_ns) { return false; }
    const struct txn_id nobody = {{0}};
    return wait_until(self, PARTICIPANT_NOT_IN_LINE, nobody, now + after_ns) == STATUS_OK;
}

bool session__park_in_line(struct session_exec *self, enum participant_line line,
                           struct txn_id name, uint64_t again_ns) {
    return session__now(self->session) < self->patient_ns &&
           wait_until(self, line, name, again_ns) == STATUS_OK;
}
