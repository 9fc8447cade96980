// SPDX-License-Identifier: Apache-2.0
//
// Design note. Leadership transfer (Ongaro 3.10): stop taking proposals, bring the target up to
// date, send it TIMEOUT_NOW, and let it campaign without a pre-vote and against the stickiness of
// others.
//
// TIMEOUT_NOW gives up the lease of this term: who receives the target's vote request may break
// its promise to this leader. So every fortification known here is forgotten, and only answers to
// appends sent later count again (fort_round_min, carried by the read round that each answer
// echoes). Voters keep the same line from their side: the request carries the sequence of the
// TIMEOUT_NOW, and only promises made to appends before it are released
// (raft__promise_binds_transfer).
#include "dataplane/raft/raft_internal.h"

enum status raft__on_transfer(struct raft_core *core, struct node_id target) {
    if (core->role != RAFT_LEADER) { return STATUS_NOT_LEADER; }
    if (node_id_equal(target, core->config.self)) { return STATUS_OK; }
    struct raft_progress *peer = raft__progress(core, target);
    if (peer == NULL || !peer->voter) { return STATUS_INVALID_ARGUMENT; }
    if (core->transfer.target.v != 0) { return STATUS_UNAVAILABLE; }
    if (!raft_is_ready(core, target, RAFT_APPEND_ENTRIES_MAX)) {
        MARK("raft.transfer.target_not_ready");
        return STATUS_FAILED_PRECONDITION;
    }
    core->transfer.target = target;
    core->transfer.deadline_ns = raft__add(core->now_ns, 2 * core->config.election_ns_min);
    raft__replicate(core, peer, RAFT_SENDS_REPLY_MAX);
    raft__transfer_advance(core);
    return STATUS_OK;
}

// Only answers to what is sent from now on fortify again.
static void raft_give_lease_up(struct raft_core *core) {
    core->reads.round++;
    core->fort_round_min = core->reads.round;
    for (uint32_t i = 0; i < core->peer_count; i++) {
        core->peers[i].fort_epoch = 0;
    }
}

void raft__transfer_advance(struct raft_core *core) {
    struct raft_transfer *transfer = &core->transfer;
    if (transfer->target.v == 0 || transfer->told) { return; }
    struct raft_progress *peer = raft__progress(core, transfer->target);
    if (peer->match != core->log.last) { return; }
    transfer->told = true;
    if (!MUTANT(TRANSFER_KEEPS_LEASE)) { raft_give_lease_up(core); }
    struct raft_message message = raft__message(core, RAFT_TIMEOUT_NOW, peer);
    raft__send(core, &message, 0);
}

static const struct raft_progress *raft_best_successor(const struct raft_core *core) {
    for (uint32_t i = 0; i < core->peer_count; i++) {
        const struct raft_progress *peer = &core->peers[i];
        if (raft_is_ready(core, peer->node, 0)) { return peer; }
    }
    return NULL;
}

void raft__leave_office(struct raft_core *core) {
    if (core->role != RAFT_LEADER || core->voter || core->outgoing) { return; }
    // Those whose entries wait for this node's disk shall hear of them first.
    if (raft__config_index(core) > core->announced) { return; }
    MARK("raft.leader.left_office");
    const struct raft_progress *successor = raft_best_successor(core);
    if (successor != NULL && !core->transfer.told) {
        struct raft_message message = raft__message(core, RAFT_TIMEOUT_NOW, successor);
        raft__send(core, &message, 0);
    }
    raft__become_follower(core, core->term, (struct node_id){0});
}

void raft__transfer_expire(struct raft_core *core) {
    if (core->transfer.target.v == 0 || core->now_ns < core->transfer.deadline_ns) { return; }
    MARK("raft.transfer.given_up");
    core->transfer = (struct raft_transfer){0};
}

enum status raft__on_timeout_now(struct raft_core *core, const struct raft_message *message) {
    bool of_leader = message->term == core->term && core->role == RAFT_FOLLOWER &&
                     node_id_equal(message->from, core->term_leader);
    if (!of_leader || !raft__may_lead(core)) { return STATUS_OK; }
    if (core->term >= RAFT_NUMBER_MAX || core->config.support->withhold) { return STATUS_OK; }
    if (core->config.support->reluctant) { return STATUS_OK; }
    // One that was overtaken by a later append is void: that append was answered, which fortified
    // the leader again.
    bool released = message->sequence > core->promise.sequence || core->promise.leader.v == 0;
    bool to_sender = core->promise.leader.v == 0 || core->promise.term == core->term;
    if (raft__is_quiet(core) ||
        (raft__promise_binds(core, core->config.self) && !(released && to_sender))) {
        MARK("raft.transfer.timeout_now_refused");
        return STATUS_OK;
    }
    core->promise = (struct raft_promise){0};
    raft__start_election(core, message->sequence);
    return STATUS_OK;
}
