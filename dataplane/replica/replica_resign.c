// SPDX-License-Identifier: Apache-2.0
// replica_resign.c - a node gives its leaderships away: to a replica that can take over at once, or
// to whoever wins the election.
//
// A transfer costs clients a round trip, a step down an election timeout. So each shard is offered
// to a voter that has everything; where there is none, or it does not take over in time, the leader
// steps down, and the list of leaderships tells its followers so that none of them waits for
// support to lapse. A shard with a single voter stays where it is: nobody else could lead it.

#include "dataplane/replica/replica_resign.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "dataplane/replica/replica_internal.h"

// A target may be so many entries behind when there is time to wait for it.
enum { RESIGN_LAG_MAX = 1024 };

static uint32_t voters_of(const struct replica *self) {
    const struct raft_membership *members = raft_members(self->raft);
    uint32_t count = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        count += members->members[i].role == RAFT_VOTER;
    }
    return count;
}

// Targets are drawn by the shard's number, so that one node does not get them all; hashed, since
// leaders of a keyspace were given out in turn by just that number.
static bool offer(struct replica *self, uint64_t lag) {
    const struct raft_membership *members = raft_members(self->raft);
    for (uint32_t i = 0; i < members->count; i++) {
        uint64_t at = (hash64_u64(self->descriptor.id.v) + i) % members->count;
        struct node_id node = members->members[at].node;
        if (node_id_equal(node, self->table->config.self) ||
            !raft_is_ready(self->raft, node, lag)) {
            continue;
        }
        struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
        event.u.target = node;
        if (replica__step(self, &event) == STATUS_OK) { return true; }
    }
    return false;
}

static void step_down(struct replica *self) {
    struct raft_event event = {.type = RAFT_EVENT_STEP_DOWN};
    enum status st = replica__step(self, &event);
    ASSERT(st == STATUS_OK);
}

static bool can_leave(const struct replica *self) {
    return raft_is_leader(self->raft) && voters_of(self) > 1;
}

void replica_table_set_sick(struct replica_table *self, bool sick) {
    self->sick = sick;
    self->config.support->withhold = sick;
}

void replica_table_resign(struct replica_table *self, bool sick) {
    // Leaving for another reason heals nobody.
    if (sick) { replica_table_set_sick(self, true); }
    for (uint32_t i = 0; i < self->count; i++) {
        struct replica *replica = self->replicas[i];
        if (!can_leave(replica)) { continue; }
        // Whoever has everything hears of it before the release, and wins without a rival.
        (void)offer(replica, 0);
        step_down(replica);
    }
    self->resign_due_ns = 0;
    replica__share_releases(self);
}

void replica_table_give_away(struct replica_table *self) {
    uint64_t now = env_now(self->config.env);
    for (uint32_t i = 0; i < self->count; i++) {
        struct replica *replica = self->replicas[i];
        if (!can_leave(replica)) { continue; }
        replica->resign_term = raft_term(replica->raft);
        if (!offer(replica, RESIGN_LAG_MAX)) {
            MARK("replica.resign.nobody_is_ready");
            step_down(replica);
        }
    }
    // As long as raft itself waits for the target of a transfer.
    self->resign_due_ns = now + 2 * self->config.election_ns_min;
    replica__share_releases(self);
}

void replica_table_offer(struct replica_table *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        struct replica *replica = self->replicas[i];
        if (can_leave(replica)) { (void)offer(replica, 0); }
    }
}

// Those that were offered and not taken.
void replica__resign_on_time(struct replica_table *self, uint64_t now_ns) {
    if (self->resign_due_ns == 0 || now_ns < self->resign_due_ns) { return; }
    self->resign_due_ns = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        struct replica *replica = self->replicas[i];
        bool same_term = replica->resign_term == raft_term(replica->raft);
        if (replica->resign_term == 0) { continue; }
        replica->resign_term = 0;
        if (!raft_is_leader(replica->raft) || !same_term) { continue; }
        MARK("replica.resign.offer_not_taken");
        step_down(replica);
    }
    replica__share_releases(self);
}
