// SPDX-License-Identifier: Apache-2.0
//
// Design note. The events that come from this node itself (its driver, its disk, its state
// machine, its support table) and not as a message of this shard. Each is small; the larger ones
// have files of their own (raft_propose.c, raft_read.c, raft_transfer.c, raft_tick.c).
#include "dataplane/raft/raft_internal.h"

enum status raft__on_message(struct raft_core *core, const struct raft_message *m) {
    enum status st = raft__message_check(core, m);
    if (st != STATUS_OK) { return st; }
    switch (m->type) {
    case RAFT_PREVOTE_REQUEST:
    case RAFT_VOTE_REQUEST:
        return raft__on_vote(core, m);
    case RAFT_PREVOTE_REPLY:
    case RAFT_VOTE_REPLY:
        return raft__on_vote_reply(core, m);
    case RAFT_APPEND_REQUEST:
        return raft__on_append(core, m);
    case RAFT_APPEND_REPLY:
        return raft__on_append_reply(core, m);
    case RAFT_TIMEOUT_NOW:
        return raft__on_timeout_now(core, m);
    case RAFT_SNAPSHOT_OFFER:
        return raft__on_snapshot_offer(core, m);
    case RAFT_MESSAGE_TYPE_COUNT:
        break;
    }
    ASSERT(false);
    return STATUS_CORRUPT;
}

enum status raft__on_persisted(struct raft_core *core, uint64_t sequence) {
    ASSERT(sequence <= core->persist_sequence);
    if (sequence <= core->persisted_sequence) { return STATUS_OK; }
    core->persisted_sequence = sequence;
    raft__log_persisted(&core->log, sequence);
    if (core->role == RAFT_LEADER) {
        raft__advance_commit(core);
    } else if (core->role == RAFT_CANDIDATE && core->self_vote == RAFT_VOTE_NONE &&
               core->hard_sequence <= sequence) {
        core->self_vote = RAFT_VOTE_YES;
        raft__count_votes(core);
    }
    return STATUS_OK;
}

enum status raft__on_applied(struct raft_core *core, uint64_t index) {
    ASSERT(index <= core->announced);
    core->applied = raft__max(core->applied, index);
    return STATUS_OK;
}

enum status raft__on_leader_lost(struct raft_core *core, const struct raft_event *event) {
    struct node_id node = event->u.lost.node;
    uint64_t term = event->u.lost.term;
    uint64_t sequence = event->u.lost.sequence;
    if (core->role == RAFT_LEADER) { return STATUS_OK; }
    if (term != 0 && core->term > term) {
        MARK("raft.release.of_earlier_term");
        return STATUS_OK;
    }
    bool of_leader = node_id_equal(core->leader, node);
    bool of_promise = node_id_equal(core->promise.leader, node);
    if (sequence != 0) {
        // A release that was sent before the last append that was answered says nothing about the
        // leadership that this answer fortified.
        bool before_promise = of_promise && sequence <= core->promise.sequence;
        bool before_append = of_leader && sequence <= core->heard_sequence;
        if ((before_promise || before_append) && !MUTANT(STALE_RELEASE)) {
            MARK("raft.release.stale");
            return STATUS_OK;
        }
        if (of_promise) { core->promise = (struct raft_promise){0}; }
    }
    // Without a sequence support itself ended; then the promise's epoch is dead, and needs no
    // clearing.
    if (of_leader) {
        ASSERT(core->role == RAFT_FOLLOWER);
        core->leader = (struct node_id){0};
        // Soon, and not all at the same moment.
        uint64_t spread_ns = core->config.election_ns_min / 2 + 1;
        core->election_deadline_ns = raft__add(core->now_ns, 1 + core->random % spread_ns);
    }
    return STATUS_OK;
}

enum status raft__on_frontier(struct raft_core *core, const struct raft_event *event) {
    bool of_leader = core->role == RAFT_FOLLOWER && event->u.frontier.term == core->term &&
                     core->term_leader.v != 0 &&
                     node_id_equal(event->u.frontier.from, core->term_leader);
    if (!of_leader) {
        MARK("raft.frontier.ignored");
        return STATUS_OK;
    }
    core->heard_commit = raft__max(core->heard_commit, event->u.frontier.commit);
    // Only what is known to equal the leader's log: beyond it may lie entries of a lost branch.
    uint64_t index = raft__min(event->u.frontier.commit, core->verified);
    core->commit = raft__max(core->commit, index);
    ASSERT(core->commit <= core->log.last);
    return STATUS_OK;
}

enum status raft__on_campaign(struct raft_core *core) {
    if (core->role == RAFT_LEADER) { return STATUS_OK; }
    bool reluctant = core->config.support->reluctant && !raft__is_alone(core);
    if (reluctant || !raft__may_campaign(core)) { return STATUS_FAILED_PRECONDITION; }
    raft__start_prevote(core);
    return STATUS_OK;
}

enum status raft__on_step_down(struct raft_core *core) {
    if (core->role == RAFT_FOLLOWER) { return STATUS_OK; }
    raft__become_follower(core, core->term, (struct node_id){0});
    // The others first.
    core->election_deadline_ns =
        raft__add(core->election_deadline_ns, 4 * core->config.election_ns_min);
    return STATUS_OK;
}
