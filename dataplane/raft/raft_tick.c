// SPDX-License-Identifier: Apache-2.0
//
// Design note. What time does. A follower whose deadline passed asks for pre-votes. A leader looks
// at each peer: is there something it waits for (an acknowledgement, a read round, to be fortified
// under the epoch that the peer's node now grants, a first word in this term), and if so, was the
// peer silent long enough to ask again. With nothing to wait for there is no deadline, so an idle
// shard is silent.
//
// Without a quorum of support the leader is worried: it asks every peer each resend_ns, as classic
// Raft does with its heartbeats, and gives up when no quorum answered for twice the longest
// election timeout (check quorum, Ongaro 6.2), so that its clients go and look for the leader that
// the other side may have.
#include "dataplane/raft/raft_internal.h"

// Twice the longest election timeout, which is below 2 * min.
static uint64_t raft_patience_ns(const struct raft_core *core) {
    return 4 * core->config.election_ns_min;
}

// Looks whether a quorum supports this leader, and remembers since when none does.
static bool raft_look_worried(struct raft_core *core) {
    bool worried = raft__quorum_of(core, RAFT_QUANTITY_FORTIFIED) <= core->now_ns;
    if (!worried) {
        core->worried_since_ns = UINT64_MAX;
    } else if (core->worried_since_ns == UINT64_MAX) {
        // Not since the lease ended: an idle shard may have slept for hours, and when support is
        // back under a new epoch the leader must have its chance to be fortified again.
        core->worried_since_ns = core->now_ns;
    }
    // While a transfer is under way heartbeats would only renew promises that hinder its target.
    return worried && !core->transfer.told;
}

// The instant at which a worried leader that hears nothing more gives up.
static uint64_t raft_give_up_ns(const struct raft_core *core) {
    ASSERT(core->worried_since_ns != UINT64_MAX);
    uint64_t heard_ns = raft__quorum_of(core, RAFT_QUANTITY_HEARD);
    return raft__add(raft__max(core->worried_since_ns, heard_ns), raft_patience_ns(core));
}

static bool raft_wants_fortification(const struct raft_core *core,
                                     const struct raft_progress *peer) {
    // While a transfer is under way its target must be able to win.
    if (core->transfer.told) { return false; }
    const struct support *support = core->config.support;
    const struct support_peer *pair = support_find(support, peer->node);
    if (pair == NULL || pair->held_epoch == 0) { return false; }
    // A learner fortifies nobody, but it too may have come back without its state, and say so only
    // when asked.
    uint64_t known = raft__counts(peer) ? peer->fort_epoch : peer->heard_epoch;
    if (pair->held_epoch == known) { return false; }
    return support_held_until(support, peer->node, pair->held_epoch) > core->now_ns;
}

static bool raft_is_waiting(const struct raft_core *core, const struct raft_progress *peer,
                            bool worried) {
    if (worried || peer->heard_ns == 0 || peer->match < core->log.last) { return true; }
    // It came back since it acknowledged all that: an empty append tells it where it stands.
    if (peer->verified < peer->match) { return true; }
    // Its answer is what a snapshot is begun upon.
    if (peer->wants && !peer->sending) { return true; }
    const struct raft_reads *reads = &core->reads;
    if (reads->inflight && raft__counts(peer) && peer->read_round < reads->inflight_round) {
        return true;
    }
    return raft_wants_fortification(core, peer);
}

// When to ask a peer again that something is waited for from.
static uint64_t raft_due_ns(const struct raft_core *core, const struct raft_progress *peer,
                            bool worried) {
    if (peer->sent_ns == 0) { return 0; }
    bool present = support_granted(core->config.support, peer->node, core->now_ns) != 0;
    uint32_t shift = worried || present ? 0 : peer->backoff;
    uint64_t interval_ns = core->config.resend_ns << shift;
    return raft__add(raft__max(peer->sent_ns, peer->heard_ns), interval_ns);
}

static void raft_ask_again(struct raft_core *core, struct raft_progress *peer) {
    bool first = peer->sent_ns == 0;
    if (peer->state == RAFT_REPLICATE && peer->match + 1 < peer->next) {
        // What is in flight may be lost. Ask where the peer stands before sending it all again: if
        // it is only slow, the answer says so and costs nothing.
        MARK("raft.progress.silent_peer_probed");
        raft__progress_probe(peer, peer->match + 1);
    }
    if (!first && peer->backoff < RAFT_BACKOFF_MAX) { peer->backoff++; }
    raft__send_append(core, peer, first);
}

void raft__tick_leader(struct raft_core *core) {
    ASSERT(core->role == RAFT_LEADER);
    raft__transfer_expire(core);
    bool worried = raft_look_worried(core);
    if (worried && core->now_ns >= raft_give_up_ns(core) && !MUTANT(NO_CHECK_QUORUM)) {
        MARK("raft.leader.lost_its_quorum");
        raft__become_follower(core, core->term, (struct node_id){0});
        return;
    }
    for (uint32_t i = 0; i < core->peer_count; i++) {
        struct raft_progress *peer = &core->peers[i];
        if (!raft_is_waiting(core, peer, worried)) { continue; }
        if (core->now_ns >= raft_due_ns(core, peer, worried)) { raft_ask_again(core, peer); }
    }
}

uint64_t raft__leader_deadline(struct raft_core *core) {
    bool worried = raft_look_worried(core);
    bool gives_up = worried && !MUTANT(NO_CHECK_QUORUM);
    uint64_t deadline_ns = gives_up ? raft_give_up_ns(core) : UINT64_MAX;
    if (core->transfer.target.v != 0) {
        deadline_ns = raft__min(deadline_ns, core->transfer.deadline_ns);
    }
    for (uint32_t i = 0; i < core->peer_count; i++) {
        const struct raft_progress *peer = &core->peers[i];
        if (!raft_is_waiting(core, peer, worried)) { continue; }
        deadline_ns = raft__min(deadline_ns, raft_due_ns(core, peer, worried));
    }
    return raft__max(deadline_ns, core->now_ns);
}

// Who had better not lead campaigns when all others had their chances and have failed: theirs may
// be the logs that lack an entry.
static bool raft_holds_back(struct raft_core *core) {
    enum { RELUCTANCE = 16 };  // election timeouts without a leader
    if (!core->config.support->reluctant || raft__is_alone(core)) { return false; }
    core->held_back++;
    if (core->held_back < RELUCTANCE) { return true; }
    MARK("raft.campaign.reluctantly");
    core->held_back = 0;
    return false;
}

enum status raft__on_tick(struct raft_core *core) {
    if (core->role == RAFT_LEADER) {
        raft__tick_leader(core);
        return STATUS_OK;
    }
    if (!raft__may_lead(core) || core->now_ns < core->election_deadline_ns) { return STATUS_OK; }
    if (raft__may_campaign(core) && !raft_holds_back(core)) {
        raft__start_prevote(core);
    } else {
        // Try again later: promises, the quiet time and reluctance end without an event.
        raft__become_follower(core, core->term, core->leader);
    }
    return STATUS_OK;
}
