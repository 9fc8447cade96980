// SPDX-License-Identifier: Apache-2.0
//
// Design note. Every invariant of the core, written once, run after each step in tests and in the
// simulator. What needs two replicas (one leader a term, logs that match) is checked by those.
#include "dataplane/raft/raft_internal.h"

static void raft_check_log(const struct raft_core *core) {
    const struct raft_log *log = &core->log;
    ASSERT(log->capacity >= RAFT_RING_MIN && (log->capacity & (log->capacity - 1)) == 0);
    ASSERT(log->capacity <= log->count_max);
    ASSERT(log->first >= 1 && log->first <= log->last + 1);
    ASSERT(log->last + 1 - log->first <= log->capacity);
    ASSERT(log->trim_index <= log->last);
    ASSERT(log->durable <= log->last);
    // Nothing leaves memory before it is durable and applied.
    ASSERT(log->first - 1 <= log->durable);
    uint64_t size = 0;
    uint64_t term = log->before_term;
    for (uint64_t i = log->first; i <= log->last; i++) {
        const struct raft_slot *slot = &log->slots[i & (log->capacity - 1)];
        ASSERT(slot->entry.index == i);
        ASSERT(slot->entry.term >= term);
        ASSERT(slot->sequence > 0 && slot->sequence <= core->persist_sequence);
        ASSERT((i <= log->durable) == (slot->sequence <= core->persisted_sequence));
        term = slot->entry.term;
        size += slot->entry.record.size;
    }
    ASSERT(size == log->size);
    ASSERT(term <= core->term);
}

static void raft_check_frontiers(const struct raft_core *core) {
    ASSERT(core->log.trim_index <= core->applied);
    ASSERT(core->applied <= core->announced);
    ASSERT(core->announced <= core->commit);
    ASSERT(core->commit <= core->log.last);
    ASSERT(core->announced <= core->log.durable);
    ASSERT(core->verified <= core->log.last);
    ASSERT(core->persisted_sequence <= core->persist_sequence);
    ASSERT(core->hard_sequence <= core->persist_sequence);
    ASSERT(core->cover_sequence <= core->persist_sequence);
}

static void raft_check_configs(const struct raft_core *core) {
    ASSERT(core->config_count > 0);
    ASSERT(core->config_count <= core->config_capacity);
    // The bottom is the latest that is committed, the top is in use.
    ASSERT(core->configs[0].index <= core->commit);
    ASSERT(raft__config_index(core) <= core->log.last);
    for (uint32_t i = 1; i < core->config_count; i++) {
        ASSERT(core->configs[i].index > core->commit);
        ASSERT(core->configs[i].index > core->configs[i - 1].index);
        ASSERT(raft_membership_check(&core->configs[i].membership));
    }
    const struct raft_membership *m = raft__members(core);
    ASSERT_IF(m->count == 0, core->config_count == 1);
    uint32_t members = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct raft_member *member = &m->members[i];
        if (raft__member_is_self(core, member)) {
            ASSERT(core->voter == (member->role == RAFT_VOTER));
            ASSERT(core->outgoing == member->outgoing);
        }
        if (!node_id_equal(member->node, core->config.self)) { members++; }
    }
    for (uint32_t i = 0; i < core->peer_count; i++) {
        const struct raft_progress *peer = &core->peers[i];
        const struct raft_member *member = raft_membership_find(m, peer->node);
        if (peer->departed) {
            ASSERT(core->role == RAFT_LEADER && core->config_count > 1);
            ASSERT(member == NULL && !peer->voter && !peer->outgoing);
            continue;
        }
        ASSERT(member != NULL && member->incarnation == peer->incarnation);
        ASSERT(peer->voter == (member->role == RAFT_VOTER) && peer->outgoing == member->outgoing);
        members--;
    }
    ASSERT(members == 0);
}

static void raft_check_health(const struct raft_core *core) {
    ASSERT((unsigned)core->health < RAFT_HEALTH_COUNT);
    if (core->health == RAFT_WHOLE) { return; }
    ASSERT(core->role == RAFT_FOLLOWER);
    if (core->health != RAFT_DAMAGED) { return; }
    // Nothing is stored, promised or announced.
    ASSERT(core->log.first == core->log.last + 1);
    ASSERT(core->promise.leader.v == 0);
    ASSERT(core->commit == core->announced);
}

static void raft_check_peer(const struct raft_core *core, const struct raft_progress *peer) {
    ASSERT(peer->match < peer->next);
    ASSERT(peer->next <= core->log.last + 1);
    ASSERT(peer->read_round <= core->reads.round);
    ASSERT(peer->backoff <= RAFT_BACKOFF_MAX);
    ASSERT(peer->window.messages <= core->config.inflight_messages_max);
    ASSERT(peer->window.used <= RAFT_WINDOW_SLOTS);
    ASSERT_IF(peer->state != RAFT_REPLICATE, peer->window.messages == 0);
    ASSERT_IF(peer->state != RAFT_PROBE, !peer->probe_sent);
    ASSERT_IF(peer->sending, peer->sending_floor <= core->applied);
}

static void raft_check_leader(const struct raft_core *core) {
    // One that just went leads until this node's disk holds what says so.
    ASSERT(raft__may_lead(core) || raft__config_index(core) > core->announced);
    // Every voter is this replica or a peer, so that all are counted.
    const struct raft_member *here = raft_membership_find(raft__members(core), core->config.self);
    ASSERT(here == NULL || raft__member_is_self(core, here));
    // A membership of this term stands on a committed entry of it.
    const bool left_out = MUTANT(CONFIG_BEFORE_OWN_TERM);
    ASSERT_IF(core->config_count > 1 && raft__config_index(core) > core->term_start && !left_out,
              core->commit >= core->term_start);
    ASSERT(node_id_equal(core->leader, core->config.self));
    ASSERT(node_id_equal(core->term_leader, core->config.self));
    ASSERT(node_id_equal(core->vote, core->config.self));
    ASSERT(core->hard_sequence <= core->persisted_sequence);
    ASSERT(core->promise.leader.v == 0);
    ASSERT(core->term_start > 0 && core->term_start <= core->log.last + 1);
    // Nothing of an earlier term was committed by counting: commit jumps to term_start or beyond.
    ASSERT_IF(core->reads.gathering, core->reads.inflight);
    ASSERT_IF(core->reads.inflight, core->reads.inflight_round <= core->reads.round);
    ASSERT_IF(core->transfer.told, core->transfer.target.v != 0);
    for (uint32_t i = 0; i < core->peer_count; i++) {
        raft_check_peer(core, &core->peers[i]);
    }
}

void raft_check(const struct raft_core *core) {
    ASSERT(core->out == NULL);
    ASSERT(core->role < RAFT_ROLE_COUNT);
    raft_check_log(core);
    raft_check_frontiers(core);
    ASSERT_IF(core->promise.leader.v != 0, core->promise.epoch != 0);
    ASSERT_IF(core->promise.leader.v != 0, core->promise.term <= core->term);
    // A live promise names the leader of whom a release would be heard; any other would never end.
    ASSERT_IF(raft__promise_binds(core, core->config.self),
              node_id_equal(core->promise.leader, core->leader));
    raft_check_configs(core);
    raft_check_health(core);
    if (core->role != RAFT_LEADER && !raft__may_lead(core)) {
        ASSERT(core->role == RAFT_FOLLOWER);
        ASSERT(core->deadline_ns == UINT64_MAX);
    }
    if (core->role == RAFT_LEADER) {
        raft_check_leader(core);
        return;
    }
    ASSERT(!core->reads.inflight);
    ASSERT(core->transfer.target.v == 0);
    ASSERT(!node_id_equal(core->leader, core->config.self));
    if (core->role != RAFT_FOLLOWER) {
        ASSERT(core->leader.v == 0);
        ASSERT(core->deadline_ns != UINT64_MAX);
    }
    ASSERT_IF(core->role == RAFT_CANDIDATE, node_id_equal(core->vote, core->config.self));
    ASSERT_IF(core->role == RAFT_PRECANDIDATE, core->self_vote == RAFT_VOTE_YES);
}
