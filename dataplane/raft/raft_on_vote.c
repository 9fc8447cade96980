// SPDX-License-Identifier: Apache-2.0
//
// Design note. Somebody asks for a vote or for a pre-vote. Three things stand before the
// comparison of logs, and a request that fails one of them does not even bring its term in: the
// quiet time after a boot, a live promise, a live leader. Were the term taken, this replica would
// refuse its leader's appends, and one restless peer could unseat a leader that a quorum is
// content with (Ongaro 4.2.3).
//
// A leader that refuses a request answers with an append besides: whoever asks does not know it
// leads, and an idle leader would otherwise not tell (the live-lock of etcd #8243's family).
#include "dataplane/raft/raft_internal.h"

// Raft 5.4.1: the candidate's log is at least as complete.
static bool raft_log_up_to_date(const struct raft_core *core, const struct raft_message *m) {
    uint64_t last_term = raft__log_last_term(&core->log);
    if (m->index_term != last_term) { return m->index_term > last_term; }
    return m->index >= core->log.last;
}

static bool raft_vote_withheld(struct raft_core *core, const struct raft_message *m) {
    if (core->health == RAFT_DAMAGED && !MUTANT(DAMAGED_VOTES)) {
        // Entries that it acknowledged may be committed by its word, and it cannot tell whether the
        // candidate has them.
        MARK("raft.vote.damaged");
        return true;
    }
    if (raft__is_quiet(core)) {
        MARK("raft.vote.quiet_after_boot");
        return true;
    }
    if (core->role == RAFT_LEADER) {
        // Stepping down is always safe; loyalty to itself is only to keep the peace.
        return !m->transfer && raft__leads_live(core);
    }
    bool bound =
        m->transfer ? raft__promise_binds_transfer(core, m) : raft__promise_binds(core, m->from);
    if (bound) {
        MARK("raft.vote.bound_by_promise");
        return true;
    }
    if (!m->transfer && raft__has_live_leader(core, m->from)) {
        MARK("raft.vote.leader_is_alive");
        return true;
    }
    return false;
}

static void raft_vote_answer(struct raft_core *core, const struct raft_message *m, bool granted) {
    bool prevote = m->type == RAFT_PREVOTE_REQUEST;
    // A replica that has seen no term has none to name, and its refusal would teach nothing.
    if (!granted && core->term == 0) { return; }
    struct raft_message reply =
        raft__answer(core, prevote ? RAFT_PREVOTE_REPLY : RAFT_VOTE_REPLY, m);
    reply.reject = !granted;
    // A granted pre-vote names the term that was asked for, all else the own one.
    if (prevote && granted) { reply.term = m->term; }
    bool waits = granted && !prevote && !MUTANT(VOTE_BEFORE_DURABLE);
    raft__send(core, &reply, waits ? raft__hard_state_pending(core) : 0);
}

static void raft_on_prevote_request(struct raft_core *core, const struct raft_message *m) {
    // Nothing changes here: a pre-vote is an opinion.
    bool granted = m->term > core->term && raft_log_up_to_date(core, m);
    raft_vote_answer(core, m, granted);
}

static void raft_on_vote_request(struct raft_core *core, const struct raft_message *m) {
    if (m->term > core->term) { raft__become_follower(core, m->term, (struct node_id){0}); }
    bool free = core->vote.v == 0 || node_id_equal(core->vote, m->from);
    bool granted = m->term == core->term && free && raft_log_up_to_date(core, m);
    if (granted && core->vote.v == 0) {
        // Only a pre-candidate of this term may still stand here; it gives way.
        ASSERT(core->role == RAFT_FOLLOWER || core->role == RAFT_PRECANDIDATE);
        if (core->role != RAFT_FOLLOWER) {
            raft__become_follower(core, core->term, (struct node_id){0});
        }
        core->vote = m->from;
        raft__persist_hard_state(core);
        // Room for the candidate to win before this replica tries itself (Raft 5.2).
        core->election_deadline_ns = raft__add(core->now_ns, raft__timeout(core));
    }
    if (!granted && free && m->term == core->term) { MARK("raft.vote.log_is_behind"); }
    raft_vote_answer(core, m, granted);
}

enum status raft__on_vote(struct raft_core *core, const struct raft_message *m) {
    if (m->term < core->term) {
        raft_vote_answer(core, m, false);
        return STATUS_OK;
    }
    raft__promise_end_by_request(core, m);
    if (raft_vote_withheld(core, m)) {
        raft_vote_answer(core, m, false);
        struct raft_progress *peer = core->role == RAFT_LEADER ? raft__sender(core, m) : NULL;
        if (peer != NULL) { raft__send_append(core, peer, false); }
        return STATUS_OK;
    }
    if (m->type == RAFT_PREVOTE_REQUEST) {
        raft_on_prevote_request(core, m);
    } else {
        raft_on_vote_request(core, m);
    }
    return STATUS_OK;
}
