// SPDX-License-Identifier: Apache-2.0
// replica_members.h - from the members that a shard has to those that are wanted, one safe
// configuration after the other.
// Invariants: decided afresh from the log's membership and the targets each time, so any leader
//             goes on where another stopped; learners first, voters when they are caught up; a
//             joint configuration is entered only if a majority of the new voters is alive and no
//             less can be spared afterwards than before; one change at a time.
// Ownership:  everything is borrowed for the call; decisions are values.
// Thread:     replica_members_plan is pure, the rest is confined to the shard loop.
// See:        dataplane/replica/README.md; control-plane.md "Operations"; Ongaro chapter 4;
//             tests/unit/dataplane/replica/replica_members_test.c
#pragma once

#include "dataplane/replica/replica.h"

enum { REPLICA_MEMBERS_TEXT_SIZE = 160 };

// What the shard's leader does or waits for; the order is that of an operation.
enum replica_members_step {
    REPLICA_MEMBERS_IDLE,      // nothing is wanted
    REPLICA_MEMBERS_COMMIT,    // a configuration is in the log and not committed yet
    REPLICA_MEMBERS_ADD,       // nodes that are to come become learners
    REPLICA_MEMBERS_CATCH_UP,  // a learner that is to vote lags
    REPLICA_MEMBERS_ENTER,     // the roles change; voters by a joint configuration
    REPLICA_MEMBERS_TRANSFER,  // joint: this leader is to go, another voter shall lead first
    REPLICA_MEMBERS_LEAVE,     // joint: the final configuration
    REPLICA_MEMBERS_DONE,      // the members are those that are wanted
    REPLICA_MEMBERS_STEP_COUNT
};
const char *replica_members_step_name(enum replica_members_step step);

struct replica_members_progress {
    enum replica_members_step step;
    uint64_t config_epoch;  // in use when it was decided
    uint64_t since_ns;      // this step of this configuration is being tried since then; 0 = new
    char text[REPLICA_MEMBERS_TEXT_SIZE];  // what is done, or what is waited for and why
};

// What a leader knows of a node.
struct replica_members_node {
    bool alive;    // it supports this node, or is this node
    uint64_t lag;  // entries that it lacks; UINT64_MAX = unknown
    bool ready;    // to lead
};

struct replica_members_view {
    struct node_id self;  // the leader
    const struct raft_membership *members;
    bool committed;  // they are, and so another change may follow
    const struct shard_target *targets;
    uint32_t target_count;  // 0 = nothing is wanted, but a joint configuration is left
    uint64_t waited_ns;     // how long the step of the progress has been tried
    void (*look)(void *ctx, struct node_id node, struct replica_members_node *out);
    void *ctx;
};

struct replica_members_decision {
    enum replica_members_step step;
    char text[REPLICA_MEMBERS_TEXT_SIZE];
    bool propose;  // next
    struct raft_membership next;
    struct node_id transfer;  // hand leadership to it; 0 = nobody
};

// Pure. out->propose and out->transfer are never both set; neither = wait.
void replica_members_plan(const struct replica_members_view *view,
                          struct replica_members_decision *out);

// Leader: appends the next membership, in a batch of its own. It is in use at once; its commit
// shows by replica_members_committed. NOT_LEADER; UNAVAILABLE (no entry of this term is applied, a
// transfer is under way); OVERLOADED; FAILED_PRECONDITION (an earlier one is not committed);
// INVALID_ARGUMENT (it does not follow from the one in use).
NODISCARD enum status replica_propose_membership(struct replica *self,
                                                 const struct raft_membership *next);
// The latest committed membership.
const struct raft_membership *replica_members_committed(const struct replica *self);
// Leader that may serve: looks, plans and does one step towards the targets (none: only ends a
// joint configuration). To be called again every now and then, with the same progress; that of a
// replica that does not lead becomes IDLE.
void replica_members_drive(struct replica *self, const struct shard_target *targets, uint32_t count,
                           struct replica_members_progress *progress);

// One form of the members into the other.
void replica_members_of(const struct shard_descriptor *descriptor, struct raft_membership *out);
// Returns the count, at most SHARD_MEMBERS_MAX.
uint32_t replica_members_describe(const struct raft_membership *members,
                                  struct shard_replica out[SHARD_MEMBERS_MAX]);
