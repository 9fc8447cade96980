// SPDX-License-Identifier: Apache-2.0
// replica.c - what one replica tells about itself.

#include "dataplane/replica/replica.h"

#include "dataplane/base/assert.h"
#include "dataplane/replica/replica_internal.h"

struct shard_id replica_shard(const struct replica *self) {
    return self->descriptor.id;
}

bool replica_is_leader(const struct replica *self) {
    return raft_is_leader(self->raft);
}

struct node_id replica_leader(const struct replica *self, uint64_t *out_term) {
    *out_term = raft_term(self->raft);
    return raft_leader(self->raft);
}

const struct shard_descriptor *replica_descriptor(const struct replica *self) {
    return &self->descriptor;
}

void replica_frontiers(const struct replica *self, struct replica_frontiers *out) {
    uint64_t now = replica__now(self);
    uint64_t lease = raft_lease_until_ns(self->raft);
    *out = (struct replica_frontiers){
        .last = raft_last_index(self->raft),
        .durable = raft_durable_index(self->raft),
        .applied = self->applied,
        .commit = raft_commit_index(self->raft),
        .trim = self->trim,
        .closed = self->closed,
        .ceiling = self->ceiling_committed,
        .term = raft_term(self->raft),
        .role = raft_role(self->raft),
        .leader = raft_leader(self->raft),
        .lease_remaining_us = lease > now ? (lease - now) / 1000 : 0,
        .pending = self->pending_count,
    };
}

uint64_t replica_match(const struct replica *self, struct node_id peer) {
    return raft_match_index(self->raft, peer);
}

enum status replica_transfer(struct replica *self, struct node_id target) {
    if (!shard_descriptor_has_node(&self->descriptor, target)) { return STATUS_INVALID_ARGUMENT; }
    struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
    event.u.target = target;
    return replica__step(self, &event);
}
