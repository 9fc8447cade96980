// SPDX-License-Identifier: Apache-2.0
// Held keys at the leader (session_hold.h): who takes one waits for who has it; whoever writes one
// waits too, for a while. Nothing here is replicated, and nothing is refused for good: a leader
// that changes forgets them, and a conflict shows at the commit as ever.
//
// Who holds nothing waits for anybody. Who holds a key waits for younger ones only, and is told
// ABORTED_RETRY otherwise (wait-die), also when an older one gets the key meanwhile: there is no
// circle of holders that wait.
//
// Those that wait for a key stand in line, the oldest first, and one of them is woken when it is
// given back. Rejected: to wake all, or to look again every few milliseconds (docs/PERFORMANCE.md).
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "txn/command/command_hold.h"
#include "txn/session/session_internal.h"

#include <string.h>

#define AGAIN_NS        UINT64_C(500000000)   // who waits looks again after this
#define COMMIT_WAIT_NS  UINT64_C(3000000000)  // commits wait no longer for one hold
#define RESERVE_NS      UINT64_C(1000000000)  // nor beyond this before their deadline
#define PREPARE_WAIT_NS UINT64_C(100000000)   // a prepare: others may wait for its other parts

// --- Taking and giving back ---

// What those in line for a key call it.
static struct txn_id name_of(struct slice key) {
    const uint64_t parts[2] = {hash64(key, 1), hash64(key, 2)};
    struct txn_id name;
    memcpy(name.v, parts, sizeof(name.v));
    return name;
}

// When the hold runs out nobody tells, nor when whoever was woken can take no key any more.
static uint64_t again_ns(const struct session_exec *self, const struct session_hold *hold) {
    const uint64_t soon = session__now(self->session) + AGAIN_NS;
    return hold->until_ns < soon ? hold->until_ns : soon;
}

// As a shard tells what is in the way of a commit.
static void answer_held(struct session_exec *self, const struct session_hold *other,
                        struct slice key, struct command_response *out) {
    MARK("session.hold_dies");
    const struct command_txn_answer answer = {.state = COMMAND_TXN_ABORTED,
                                              .reason = COMMAND_REASON_LOCKED,
                                              .holder = other->txn,
                                              .key = key};
    struct codec_writer w;
    self->rows = session__buf_take(self->session);
    codec_writer_init(&w, &self->rows);
    command_txn_answer_encode(&w, &answer);
    session__refuse(out, STATUS_ABORTED_RETRY, "an older transaction has locked the key");
    if (w.status == STATUS_OK) { out->payload = buf_slice(&self->rows); }
}

static bool take(struct session_exec *self, const struct command_hold *hold,
                 struct command_response *out) {
    struct session *session = self->session;
    const struct session_hold *other =
        session_holds_take(&session->holds, hold, session__now(session));
    if (other == NULL || hold->kind == COMMAND_HOLD_RENEW) { return true; }
    if (hold->holds_others && !txn_is_older(hold->begin, hold->txn, other->begin, other->txn)) {
        answer_held(self, other, hold->key, out);
        return true;
    }
    self->waiter.txn = hold->txn;
    self->begin = hold->begin;
    const enum participant_line line =
        hold->holds_others ? PARTICIPANT_TAKES_OR_DIES : PARTICIPANT_TAKES;
    if (session__park_in_line(self, line, name_of(hold->key), again_ns(self, other))) {
        MARK("session.hold_waits");
        return false;
    }
    session__answer_later(self, line, out);
    return true;
}

bool session__exec_hold(struct session_exec *self, struct replica *replica,
                        struct command_response *out) {
    struct command_hold hold;
    if (command_hold_decode(self->payload, &hold) != STATUS_OK ||
        !shard_descriptor_contains(replica_descriptor(replica), hold.key)) {
        session__refuse(out, STATUS_INVALID_ARGUMENT, "the request to hold a key makes no sense");
        return true;
    }
    if (hold.kind != COMMAND_HOLD_RELEASE) { return take(self, &hold, out); }
    session_holds_release(&self->session->holds, hold.key, hold.txn);
    participant_pass(self->session->room, self->shard, name_of(hold.key));
    return true;
}

// --- Writers ---

// What another transaction holds. Ranges pass: they are rare, and this is a hint.
static const struct session_hold *foreign_hold(struct session_exec *self, struct txn_id txn,
                                               struct slice commit) {
    struct session *session = self->session;
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, commit);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.read_count; i++) {
        struct command_span span;
        st = command_commit_next_read(&reader, &span);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.condition_count; i++) {
        struct command_condition condition;
        st = command_commit_next_condition(&reader, &condition);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        st = command_commit_next_mutation(&reader, &mutation);
        if (st != STATUS_OK || mutation.kind == COMMAND_DELETE_RANGE) { continue; }
        const struct session_hold *hold =
            session_holds_find(&session->holds, mutation.key, session__now(session));
        if (hold != NULL && !txn_id_equal(hold->txn, txn)) { return hold; }
    }
    return NULL;
}

// Bounded by the hold, for the request may have come again and again; and nobody misses a deadline
// for a hint.
static uint64_t wait_until(const struct session_exec *self, const struct session_hold *hold) {
    const uint64_t reserve = self->deadline_ns > RESERVE_NS ? self->deadline_ns - RESERVE_NS : 0;
    const uint64_t most = self->kind == COMMAND_PREPARE ? self->arrived_ns + PREPARE_WAIT_NS
                                                        : hold->since_ns + COMMIT_WAIT_NS;
    return most < reserve ? most : reserve;
}

bool session__waits_for_hold(struct session_exec *self, struct txn_id txn, struct slice commit,
                             struct command_response *out, bool *out_ended) {
    if (self->session->holds.count == 0) { return false; }
    const struct session_hold *hold = foreign_hold(self, txn, commit);
    *out_ended = false;
    if (hold == NULL) { return false; }
    const uint64_t until = wait_until(self, hold);
    if (session__now(self->session) >= until) {
        MARK("session.write_passes_hold");
        return false;
    }
    const uint64_t again = again_ns(self, hold);
    const struct txn_id name = name_of(slice_make(hold->key, hold->key_size));
    if (session__park_in_line(self, PARTICIPANT_PASSES_BY, name, again < until ? again : until)) {
        MARK("session.write_waits_for_hold");
        return true;
    }
    if (self->kind == COMMAND_PREPARE) { return false; }
    session__answer_later(self, PARTICIPANT_PASSES_BY, out);
    *out_ended = true;
    return true;
}

// --- To be listed ---

struct listing {
    const struct session *session;
    uint64_t now_ns;
    bool (*visit)(void *ctx, const struct session_held *held);
    void *ctx;
};

static bool list_hold(void *ctx, const struct session_hold *hold) {
    const struct listing *self = ctx;
    const struct slice key = slice_make(hold->key, hold->key_size);
    const struct shard_descriptor *shard = shard_map_find(self->session->config.map, key);
    const struct replica *replica =
        shard == NULL ? NULL : replica_table_find(self->session->config.table, shard->id);
    if (replica == NULL || !replica_is_leader(replica)) { return true; }
    const struct session_held held = {.txn = hold->txn,
                                      .begin = hold->begin,
                                      .shard = shard->id,
                                      .key = key,
                                      .held_ns = self->now_ns - hold->since_ns,
                                      .remaining_ns = hold->until_ns - self->now_ns};
    return self->visit(self->ctx, &held);
}

void session_each_held(const struct session *self,
                       bool (*visit)(void *ctx, const struct session_held *held), void *ctx) {
    struct listing listing = {self, session__now(self), visit, ctx};
    session_holds_each(&self->holds, listing.now_ns, list_hold, &listing);
}
