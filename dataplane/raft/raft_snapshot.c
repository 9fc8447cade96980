// SPDX-License-Identifier: Apache-2.0
//
// Design note. Snapshots as the core sees them: it says who needs one, and is told what became of
// it; the bytes pass beside it.
//
// Leader. A peer needs one when what comes next for it is trimmed here, or when it says that its
// state is gone (hollow) or its log cannot be trusted (damaged). One that is hollow still gets
// entries meanwhile, for its log counts; the others get messages without entries only, which keep
// them loyal and confirm read rounds. A snapshot is asked for in answer to a message of the peer,
// never for one that is silent.
//
// A damaged peer may have lost what it acknowledged to this very leader, so its match falls to
// nothing. Commit does not follow, nor need it: what was committed with its help was durable there
// at that time, and as it votes for nobody before it holds a snapshot of everything it ever had,
// no leader can be elected without those who still hold it. Answers from before the damage that
// arrive later would raise the match again; the order of the peer's own messages tells them apart.
//
// Follower. From the offer on it is hollow, because its driver drops what it has: it stores, votes
// and acknowledges, but must not lead. When the snapshot is durable in the state machine, it stands
// for everything up to its index. If the log holds the very entry at that index, the log goes on,
// since its end may have been acknowledged to this leader; else the log begins anew after it.
// Until the log's own write of that is durable, only the state machine keeps what the snapshot
// stands for, and the next snapshot may wipe it: so acknowledgements wait for that write.
#include "dataplane/raft/raft_internal.h"

// --- leader

void raft__snapshot_begin(struct raft_core *core, struct raft_progress *peer) {
    ASSERT(core->role == RAFT_LEADER);
    if (peer->sending || peer->departed || core->now_ns < peer->send_again_ns) { return; }
    peer->sending = true;
    peer->sending_floor = core->applied;
    struct raft_action *action = raft__emit(core, RAFT_ACTION_SNAPSHOT);
    action->u.snapshot.node = peer->node;
    action->u.snapshot.incarnation = peer->incarnation;
    action->u.snapshot.min_index =
        raft__max(core->log.trim_index, peer->wants ? peer->wanted_index : 0);
}

enum status raft__on_snapshot_sent(struct raft_core *core, const struct raft_event *event) {
    struct raft_progress *peer = raft__progress(core, event->u.sent.node);
    bool stale = core->role != RAFT_LEADER || peer == NULL || !peer->sending ||
                 peer->incarnation != event->u.sent.incarnation;
    if (stale) { return STATUS_OK; }
    peer->sending = false;
    uint64_t index = event->u.sent.index;
    ASSERT(index <= core->log.last);
    if (index == 0) {
        MARK("raft.snapshot.failed");
        peer->send_again_ns = raft__add(core->now_ns, core->config.resend_ns);
        return STATUS_OK;
    }
    peer->wants = false;
    peer->heard_ns = raft__max(core->now_ns, 1);
    peer->backoff = 0;
    peer->match = raft__max(peer->match, index);
    if (peer->state == RAFT_SNAPSHOT || peer->next <= peer->match) {
        raft__progress_probe(peer, peer->match + 1);
    }
    raft__advance_commit(core);
    raft__replicate(core, peer, RAFT_SENDS_REPLY_MAX);
    raft__transfer_advance(core);
    return STATUS_OK;
}

// --- follower

uint64_t raft__wanted_index(const struct raft_core *core) {
    switch (core->health) {
    case RAFT_HOLLOW:
        return core->log.trim_index;
    case RAFT_DAMAGED:
        // Whatever it acknowledged, and no less.
        return core->log.last;
    case RAFT_WHOLE:
    case RAFT_HEALTH_COUNT:
        break;
    }
    return 0;
}

// A whole replica gives up its state only for what its log does not hold. What the leader applied
// is committed, known here or not.
static enum status raft_offer_to_whole(struct raft_core *core, const struct raft_message *m) {
    if (m->index > core->announced) {
        bool held = m->index <= core->log.last && raft__term_at(core, m->index) == m->index_term;
        if (!held) {
            core->health = RAFT_HOLLOW;
            return STATUS_OK;
        }
        core->commit = raft__max(core->commit, m->index);
        core->verified = raft__max(core->verified, m->index);
        if (m->index > core->log.durable) { return STATUS_FAILED_PRECONDITION; }
    }
    MARK("raft.snapshot.known");
    return STATUS_ALREADY_EXISTS;
}

enum status raft__on_snapshot_offer(struct raft_core *core, const struct raft_message *m) {
    if (m->term < core->term) {
        MARK("raft.snapshot.offer_of_old_term");
        return STATUS_FAILED_PRECONDITION;
    }
    if (raft__is_second_leader(core, m)) { return STATUS_CORRUPT; }
    (void)raft__follow(core, m);
    if (core->health == RAFT_WHOLE) { return raft_offer_to_whole(core, m); }
    if (m->index < raft__wanted_index(core)) {
        MARK("raft.snapshot.too_short");
        return STATUS_FAILED_PRECONDITION;
    }
    return STATUS_OK;
}

// The log holds the entry that the snapshot ends with.
static bool raft_log_goes_on(const struct raft_core *core, uint64_t index, uint64_t term) {
    if (core->health == RAFT_DAMAGED || index > core->log.last) { return false; }
    return raft__term_at(core, index) == term;
}

static void raft_log_anew(struct raft_core *core, uint64_t index, uint64_t term) {
    MARK("raft.snapshot.log_began_anew");
    // Nothing of what this term's leader was told to be here may go (raft_log_goes_on).
    ASSERT(core->verified < index || core->verified == 0);
    struct raft_action *action = raft__persist(core);
    action->u.persist.base_index = index;
    action->u.persist.base_term = term;
    core->cover_sequence = core->persist_sequence;
    raft__log_reset(&core->log, index, term);
}

uint64_t raft__cover_pending(const struct raft_core *core) {
    return core->cover_sequence > core->persisted_sequence ? core->cover_sequence : 0;
}

enum status raft__on_snapshot_installed(struct raft_core *core, const struct raft_event *event) {
    uint64_t index = event->u.installed.index;
    uint64_t term = event->u.installed.term;
    const struct raft_membership *membership = event->u.installed.membership;
    ASSERT(index > 0 && index <= RAFT_NUMBER_MAX);
    if (term == 0 || term > core->term || !raft_membership_check(membership)) {
        return STATUS_INVALID_ARGUMENT;
    }
    if (core->health == RAFT_WHOLE) { return STATUS_ALREADY_EXISTS; }
    if (index < raft__wanted_index(core)) { return STATUS_FAILED_PRECONDITION; }
    ASSERT(core->role == RAFT_FOLLOWER);
    if (raft_log_goes_on(core, index, term)) {
        MARK("raft.snapshot.log_goes_on");
        core->cover_sequence =
            raft__max(core->cover_sequence, raft__log_pending(&core->log, index));
        raft__log_covered(&core->log, index);
    } else if (index <= core->commit && core->health != RAFT_DAMAGED) {
        // It contradicts what is committed here.
        return STATUS_CORRUPT;
    } else {
        raft_log_anew(core, index, term);
    }
    core->commit = raft__max(core->commit, index);
    core->announced = raft__max(core->announced, index);
    core->applied = raft__max(core->applied, index);
    core->verified = raft__max(core->verified, index);
    core->health = RAFT_WHOLE;
    core->election_deadline_ns = raft__add(core->now_ns, raft__timeout(core));
    raft__configs_installed(core, index, membership);
    return STATUS_OK;
}

// Tells the leader at once: an idle shard's would not ask.
static void raft_hollow_tell(struct raft_core *core) {
    const struct raft_progress *leader = raft__progress(core, core->leader);
    if (leader == NULL || !node_id_equal(core->leader, core->term_leader)) { return; }
    struct raft_message reply = raft__message(core, RAFT_APPEND_REPLY, leader);
    reply.index = raft__min(core->verified, core->log.durable);
    reply.commit = core->verified;
    reply.wants_snapshot = true;
    reply.wanted_index = raft__wanted_index(core);
    raft__send(core, &reply, raft__max(raft__hard_state_pending(core), raft__cover_pending(core)));
}

enum status raft__on_hollowed(struct raft_core *core) {
    if (core->health == RAFT_DAMAGED) { return STATUS_OK; }
    core->health = RAFT_HOLLOW;
    if (core->role != RAFT_FOLLOWER) {
        raft__become_follower(core, core->term, (struct node_id){0});
    }
    raft_hollow_tell(core);
    return STATUS_OK;
}
