// SPDX-License-Identifier: Apache-2.0
// replica.c - what one replica tells about itself.

#include "dataplane/replica/replica.h"

#include "dataplane/base/assert.h"
#include "dataplane/replica/replica_snapshot_internal.h"

struct shard_id replica_shard(const struct replica *self) {
    return self->descriptor.id;
}

uint64_t replica_incarnation(const struct replica *self) {
    return self->incarnation;
}

const struct raft_membership *replica_members(const struct replica *self) {
    return raft_members(self->raft);
}

enum raft_health replica_health(const struct replica *self) {
    return raft_health_of(self->raft);
}

bool replica_is_caught_up(const struct replica *self) {
    return raft_is_caught_up(self->raft);
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

static void snapshot_frontiers(const struct replica *self, struct replica_frontiers *out) {
    const struct replica_incoming *in = replica__incoming_of(self);
    out->snapshot_in = in != NULL;
    out->snapshot_in_bytes = in == NULL ? 0 : in->bytes;
    out->snapshot_in_total = in == NULL ? 0 : in->header.total;
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        const struct replica_outgoing *sending = &self->table->outgoing[i];
        if (sending->replica != self) { continue; }
        out->snapshots_out++;
        out->snapshot_out_bytes += sending->bytes;
        out->snapshot_out_total += sending->header.total;
    }
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
        .incarnation = self->incarnation,
        .config_epoch = raft_members(self->raft)->config_epoch,
        .health = raft_health_of(self->raft),
        .closed_hold = replica__closed_hold(self),
        .digest_index = self->digest_index,
        .digest = self->digest,
    };
    snapshot_frontiers(self, out);
}

static uint64_t mixed(uint64_t mark, uint64_t value) {
    return (mark ^ value) * UINT64_C(0x9e3779b97f4a7c15) + value;
}

uint64_t replica_mark(const struct replica *self) {
    uint64_t mark = mixed(raft_term(self->raft), raft_last_index(self->raft));
    mark = mixed(mark, raft_durable_index(self->raft));
    mark = mixed(mark, raft_commit_index(self->raft));
    mark = mixed(mark, self->applied);
    mark = mixed(mark, self->trim);
    mark = mixed(mark, self->closed.v);
    mark = mixed(mark, self->incarnation);
    mark = mixed(mark, self->digest_index);
    mark = mixed(mark, self->digest);
    mark = mixed(mark, raft_members(self->raft)->config_epoch);
    return mixed(mark, (uint64_t)raft_role(self->raft) << 8 | (uint64_t)raft_health_of(self->raft));
}

uint64_t replica_match(const struct replica *self, struct node_id peer) {
    return raft_match_index(self->raft, peer);
}

enum status replica_transfer(struct replica *self, struct node_id target) {
    if (raft_membership_find(raft_members(self->raft), target) == NULL) {
        return STATUS_INVALID_ARGUMENT;
    }
    struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
    event.u.target = target;
    return replica__step(self, &event);
}
