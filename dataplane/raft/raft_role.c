// SPDX-License-Identifier: Apache-2.0
//
// Design note. The role changes, each in one function.
//
//             deadline, CAMPAIGN            a quorum would vote             a quorum voted
//   FOLLOWER ------------------> PRECANDIDATE --------------> CANDIDATE ------------------> LEADER
//      ^  |                          |                          |  ^                           |
//      |  +---- TIMEOUT_NOW ---------|--------------------------|--+                           |
//      +--- append of a leader, higher term, a quorum refused --+--- higher term, lost quorum -+
//
// An election that times out goes back to the pre-vote. Pre-vote does not touch the term, so a
// replica that cannot win cannot force others to a new term (Ongaro 9.6).
//
// Why vote requests wait for the candidate's own hard state. The request names the candidate's
// last entry. If it left before that entry and the new term were durable, a crash could take both
// away, and the candidate, back in the same term with a shorter log, would count the late grants
// that were given for the longer one. Behind the persist everything the request names is durable,
// since persists complete in order; and the candidate's own vote is counted when that persist is
// done.
#include "dataplane/raft/raft_internal.h"

uint64_t raft__timeout(const struct raft_core *core) {
    // [min, 2 min): the spread that lets one replica be first (Raft 5.2).
    return core->config.election_ns_min + core->random % core->config.election_ns_min;
}

void raft__become_follower(struct raft_core *core, uint64_t term, struct node_id leader) {
    ASSERT(term >= core->term);
    ASSERT(term <= RAFT_NUMBER_MAX);
    if (core->role == RAFT_LEADER) {
        raft__reads_fail(core);
        raft__peers_drop_departed(core);
    }
    if (term > core->term) {
        core->term = term;
        core->vote = (struct node_id){0};
        core->term_leader = (struct node_id){0};
        core->verified = 0;
        core->heard_sequence = 0;
        core->heard_commit = 0;
        raft__persist_hard_state(core);
    }
    core->role = RAFT_FOLLOWER;
    core->leader = leader;
    if (leader.v != 0) {
        ASSERT(core->term_leader.v == 0 || node_id_equal(core->term_leader, leader));
        core->term_leader = leader;
    }
    core->self_vote = RAFT_VOTE_NONE;
    core->transfer = (struct raft_transfer){0};
    core->election_deadline_ns = raft__add(core->now_ns, raft__timeout(core));
}

void raft__become_leader(struct raft_core *core) {
    ASSERT(core->role == RAFT_CANDIDATE);
    ASSERT(node_id_equal(core->vote, core->config.self));
    ASSERT(core->term_leader.v == 0);
    core->role = RAFT_LEADER;
    core->leader = core->config.self;
    core->term_leader = core->config.self;
    core->term_start = core->log.last + 1;
    core->worried_since_ns = core->now_ns;
    core->fort_round_min = 0;
    core->reads = (struct raft_reads){0};
    core->transfer = (struct raft_transfer){0};
    core->promise = (struct raft_promise){0};
    for (uint32_t i = 0; i < core->peer_count; i++) {
        raft__progress_reset(&core->peers[i], core->log.last + 1);
    }
    // Nothing is sent yet: the driver proposes the first entry of the term at once, and that append
    // tells the others. Should it not, the deadline of this very instant brings a TICK that does.
}

bool raft__may_campaign(const struct raft_core *core) {
    if (!raft__may_lead(core) || core->term >= RAFT_NUMBER_MAX) { return false; }
    // A node that withholds its requests for support is sick: it must not lead.
    if (core->config.support->withhold && !raft__is_alone(core)) { return false; }
    if (raft__is_quiet(core)) {
        MARK("raft.campaign.quiet_after_boot");
        return false;
    }
    if (raft__promise_binds(core, core->config.self)) {
        MARK("raft.campaign.bound_by_promise");
        return false;
    }
    return true;
}

static void raft_campaign_reset(struct raft_core *core, enum raft_role role) {
    ASSERT(core->role != RAFT_LEADER);
    core->role = role;
    core->leader = (struct node_id){0};
    core->self_vote = RAFT_VOTE_NONE;
    for (uint32_t i = 0; i < core->peer_count; i++) {
        core->peers[i].vote = RAFT_VOTE_NONE;
    }
    core->election_deadline_ns = raft__add(core->now_ns, raft__timeout(core));
}

static void raft_ask_voters(struct raft_core *core, const struct raft_message *form,
                            uint64_t after) {
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (!raft__counts(&core->peers[i])) { continue; }
        struct raft_message request = raft__message(core, form->type, &core->peers[i]);
        request.term = form->term;
        request.transfer = form->transfer;
        request.transfer_sequence = form->transfer_sequence;
        request.index = core->log.last;
        request.index_term = raft__log_last_term(&core->log);
        raft__send(core, &request, after);
    }
}

void raft__start_prevote(struct raft_core *core) {
    ASSERT(raft__may_campaign(core));
    raft_campaign_reset(core, RAFT_PRECANDIDATE);
    // Would vote for itself; nothing to make durable, since nothing is decided.
    core->self_vote = RAFT_VOTE_YES;
    if (raft__quorum_votes(core) == RAFT_VOTE_YES) {
        raft__start_election(core, 0);
        return;
    }
    struct raft_message request = {.type = RAFT_PREVOTE_REQUEST, .term = core->term + 1};
    raft_ask_voters(core, &request, 0);
}

void raft__start_election(struct raft_core *core, uint64_t transfer_sequence) {
    ASSERT(raft__may_lead(core));
    ASSERT(core->term < RAFT_NUMBER_MAX);
    raft_campaign_reset(core, RAFT_CANDIDATE);
    core->term++;
    core->vote = core->config.self;
    core->term_leader = (struct node_id){0};
    core->verified = 0;
    core->heard_sequence = 0;
    core->heard_commit = 0;
    raft__persist_hard_state(core);
    struct raft_message request = {.type = RAFT_VOTE_REQUEST,
                                   .term = core->term,
                                   .transfer = transfer_sequence != 0,
                                   .transfer_sequence = transfer_sequence};
    raft_ask_voters(core, &request, core->hard_sequence);
}

void raft__count_votes(struct raft_core *core) {
    ASSERT(core->role == RAFT_PRECANDIDATE || core->role == RAFT_CANDIDATE);
    // The own vote is part of every win: it says that the term and all entries before it are
    // durable.
    if (core->self_vote != RAFT_VOTE_YES) { return; }
    enum raft_vote result = raft__quorum_votes(core);
    if (result == RAFT_VOTE_NO) {
        MARK("raft.election.lost");
        raft__become_follower(core, core->term, (struct node_id){0});
        return;
    }
    if (result != RAFT_VOTE_YES) { return; }
    if (core->role == RAFT_CANDIDATE) {
        raft__become_leader(core);
    } else if (raft__may_campaign(core)) {
        raft__start_election(core, 0);
    }
}

static uint64_t raft_follower_deadline(struct raft_core *core) {
    if (!raft__may_lead(core)) { return UINT64_MAX; }
    bool loyal = core->role == RAFT_FOLLOWER && core->leader.v != 0 &&
                 support_granted(core->config.support, core->leader, core->now_ns) != 0;
    if (loyal) {
        // The node of the leader is watched once for all shards; LEADER_LOST ends this peace.
        core->election_deadline_ns = UINT64_MAX;
        core->held_back = 0;
    } else if (core->election_deadline_ns == UINT64_MAX) {
        core->election_deadline_ns = raft__add(core->now_ns, raft__timeout(core));
    }
    return core->election_deadline_ns;
}

void raft__update_deadline(struct raft_core *core) {
    core->deadline_ns =
        core->role == RAFT_LEADER ? raft__leader_deadline(core) : raft_follower_deadline(core);
}
