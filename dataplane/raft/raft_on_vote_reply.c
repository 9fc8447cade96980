// SPDX-License-Identifier: Apache-2.0
//
// Design note. Answers to requests for votes and pre-votes. A vote counts only in the term it was
// given for and only from a voter; repeated answers count once because they are kept per peer.
#include "dataplane/raft/raft_internal.h"

static void raft_record_vote(struct raft_core *core, const struct raft_message *m) {
    struct raft_progress *peer = raft__sender(core, m);
    ASSERT(peer != NULL);
    if (!raft__counts(peer)) {
        MARK("raft.vote.of_learner_ignored");
        return;
    }
    // A grant is not taken back by a late refusal: the voter said yes to this very request.
    if (peer->vote != RAFT_VOTE_YES) { peer->vote = m->reject ? RAFT_VOTE_NO : RAFT_VOTE_YES; }
    raft__count_votes(core);
}

enum status raft__on_vote_reply(struct raft_core *core, const struct raft_message *m) {
    bool prevote = m->type == RAFT_PREVOTE_REPLY;
    enum raft_role asking = prevote ? RAFT_PRECANDIDATE : RAFT_CANDIDATE;
    bool granted_prevote = prevote && !m->reject;
    if (!granted_prevote && m->term > core->term && !MUTANT(PREVOTE_KEEPS_TERM)) {
        // Behind the others: take their term, or no request of ours would ever count (etcd #8501).
        if (core->role != RAFT_FOLLOWER) {
            raft__become_follower(core, m->term, (struct node_id){0});
        }
        return STATUS_OK;
    }
    if (core->role != asking) { return STATUS_OK; }
    // A voter that withholds its pre-vote answers with its own term, which may be an earlier one.
    uint64_t wanted = granted_prevote ? core->term + 1 : core->term;
    bool counts = prevote && m->reject ? m->term <= wanted : m->term == wanted;
    if (!counts) {
        MARK("raft.vote.stale_answer");
        return STATUS_OK;
    }
    raft_record_vote(core, m);
    return STATUS_OK;
}
