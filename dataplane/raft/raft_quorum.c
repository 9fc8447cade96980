// SPDX-License-Identifier: Apache-2.0
//
// Design note. Every quorum question of the core passes through here: what is committed, who was
// heard, which read round is confirmed, until when the lease runs, who won. The first two
// functions are pure arithmetic over one set of voters. A joint membership has two (Ongaro 4.3):
// then a value is the smaller of both sets' values, and a win needs both. A leader that is not in
// the newer set counts in the older alone; once the joint membership is left, nowhere.
#include "dataplane/raft/raft_internal.h"

uint64_t raft__quorum_value(uint64_t *values, uint32_t count) {
    ASSERT(count > 0);
    ASSERT(count <= RAFT_MEMBERS_MAX);
    // Insertion sort, largest first: at most nine values.
    for (uint32_t i = 1; i < count; i++) {
        uint64_t value = values[i];
        uint32_t at = i;
        while (at > 0 && values[at - 1] < value) {
            values[at] = values[at - 1];
            at--;
        }
        values[at] = value;
    }
    // count / 2 + 1 voters have at least the value at this place.
    return values[count / 2];
}

enum raft_vote raft__quorum_vote(uint32_t yes, uint32_t no, uint32_t count) {
    ASSERT(yes + no <= count);
    uint32_t majority = count / 2 + 1;
    if (yes >= majority) { return RAFT_VOTE_YES; }
    // Those not heard yet can no longer make a majority.
    if (count - no < majority) { return RAFT_VOTE_NO; }
    return RAFT_VOTE_NONE;
}

static uint64_t raft_quantity_self(const struct raft_core *core, enum raft_quantity quantity) {
    return quantity == RAFT_QUANTITY_MATCH ? core->log.durable : UINT64_MAX;
}

static uint64_t raft_quantity_peer(const struct raft_core *core, const struct raft_progress *peer,
                                   enum raft_quantity quantity) {
    switch (quantity) {
    case RAFT_QUANTITY_MATCH:
        return peer->match;
    case RAFT_QUANTITY_HEARD:
        return peer->heard_ns;
    case RAFT_QUANTITY_READ_ROUND:
        return peer->read_round;
    case RAFT_QUANTITY_FORTIFIED:
        return support_held_until(core->config.support, peer->node, peer->fort_epoch);
    }
    ASSERT(false);
    return 0;
}

// The quorum value over one configuration: the older one of a joint membership, or the newer.
static uint64_t raft_quorum_half(const struct raft_core *core, enum raft_quantity quantity,
                                 bool older) {
    uint64_t values[RAFT_MEMBERS_MAX] = {0};
    uint32_t count = 0;
    uint32_t learners = 0;
    if (older ? core->outgoing : core->voter) {
        values[count] = raft_quantity_self(core, quantity);
        count++;
    }
    for (uint32_t i = 0; i < core->peer_count; i++) {
        const struct raft_progress *peer = &core->peers[i];
        bool counts = older ? peer->outgoing : peer->voter;
        if (MUTANT(LEARNER_COUNTS) && !counts) { learners++; }
        if (!counts && !MUTANT(LEARNER_COUNTS)) { continue; }
        ASSERT(count < RAFT_MEMBERS_MAX);
        values[count] = raft_quantity_peer(core, peer, quantity);
        count++;
    }
    ASSERT(count - learners <= RAFT_VOTERS_MAX);
    uint64_t value = raft__quorum_value(values, count);
    return MUTANT(LEARNER_COUNTS) ? values[(count - learners) / 2] : value;
}

uint64_t raft__quorum_of(const struct raft_core *core, enum raft_quantity quantity) {
    uint64_t value = raft_quorum_half(core, quantity, false);
    if (!raft__is_joint(core)) { return value; }
    return raft__min(value, raft_quorum_half(core, quantity, true));
}

static enum raft_vote raft_votes_half(const struct raft_core *core, bool older) {
    bool self = older ? core->outgoing : core->voter;
    uint32_t count = self ? 1 : 0;
    uint32_t yes = self && core->self_vote == RAFT_VOTE_YES ? 1 : 0;
    uint32_t no = 0;
    for (uint32_t i = 0; i < core->peer_count; i++) {
        const struct raft_progress *peer = &core->peers[i];
        if (!(older ? peer->outgoing : peer->voter)) { continue; }
        count++;
        yes += peer->vote == RAFT_VOTE_YES ? 1 : 0;
        no += peer->vote == RAFT_VOTE_NO ? 1 : 0;
    }
    ASSERT(count > 0);
    return raft__quorum_vote(yes, no, count);
}

enum raft_vote raft__quorum_votes(const struct raft_core *core) {
    enum raft_vote newer = raft_votes_half(core, false);
    enum raft_vote older = raft__is_joint(core) ? raft_votes_half(core, true) : newer;
    // Won with both, lost with one of them.
    if (newer == RAFT_VOTE_NO || older == RAFT_VOTE_NO) { return RAFT_VOTE_NO; }
    return newer == RAFT_VOTE_YES ? older : newer;
}

bool raft__is_joint(const struct raft_core *core) {
    if (core->outgoing) { return true; }
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (core->peers[i].outgoing) { return true; }
    }
    return false;
}

bool raft__counts(const struct raft_progress *peer) {
    return peer->voter || peer->outgoing;
}

bool raft__is_alone(const struct raft_core *core) {
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (raft__counts(&core->peers[i])) { return false; }
    }
    return core->voter;
}
