// SPDX-License-Identifier: Apache-2.0
// replica_members.c - the way from the members that a shard has to those that are wanted.
//
//     IDLE --> ADD --------------> CATCH_UP --> ENTER ------> (TRANSFER) --> LEAVE -------> DONE
//     n        n + 1, + learners                n + 2, joint                 n + 3, final
//
// The plan keeps no state: it is made from the membership in the log and the targets, whenever it
// is asked for. A new leader, a repeated call or targets that changed midway need no code of their
// own. What a crash leaves at any point is a configuration of the log, and the next leader plans
// from there; a joint one is left even when nobody remembers why it was entered. Rejected: a step
// machine with its own record of progress, which would have to agree with the log after each crash.
//
// A node comes as learner first, however small the shard: a voter with an empty log would raise the
// majority without being able to help it. All roles then change in one joint step, so that a move
// never passes through a group of even size. Before a leader that is to go leaves the joint
// configuration it hands its leadership over, since committing its own removal costs an election
// (Ongaro 4.2.2 allows it, and it is done when nobody else can lead).
#include "dataplane/replica/replica_members.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mutant.h"
#include "dataplane/replica/replica_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    // Entries that a learner may lack when it becomes a voter: about what is in flight under load.
    MEMBERS_LAG_MAX = 1000,
    MEMBERS_ENTRY_SIZE_MAX = 1 << 12,
};
// A leader that is to go and finds nobody to lead leaves by itself after this.
#define MEMBERS_TRANSFER_NS UINT64_C(10000000000)

static_assert((int)SHARD_MEMBERS_MAX == (int)RAFT_MEMBERS_MAX, "a descriptor holds a membership");

const char *replica_members_step_name(enum replica_members_step step) {
    static const char *const names[REPLICA_MEMBERS_STEP_COUNT] = {
        [REPLICA_MEMBERS_IDLE] = "idle",          [REPLICA_MEMBERS_COMMIT] = "commit",
        [REPLICA_MEMBERS_ADD] = "add-learners",   [REPLICA_MEMBERS_CATCH_UP] = "catch-up",
        [REPLICA_MEMBERS_ENTER] = "change-roles", [REPLICA_MEMBERS_TRANSFER] = "transfer",
        [REPLICA_MEMBERS_LEAVE] = "leave-joint",  [REPLICA_MEMBERS_DONE] = "done",
    };
    return (unsigned)step < REPLICA_MEMBERS_STEP_COUNT ? names[step] : "unknown";
}

// --- The plan -----------------------------------------------------------------------------------

static struct replica_members_node look(const struct replica_members_view *view,
                                        struct node_id node) {
    if (node_id_equal(node, view->self)) { return (struct replica_members_node){true, 0, true}; }
    struct replica_members_node out = {.lag = UINT64_MAX};
    view->look(view->ctx, node, &out);
    return out;
}

static enum raft_member_role role_of(enum shard_role role) {
    switch (role) {
    case SHARD_VOTER:
        return RAFT_VOTER;
    case SHARD_LEARNER:
        return RAFT_LEARNER;
    case SHARD_LEAVING:
    case SHARD_ROLE_COUNT:
        break;
    }
    return RAFT_LEAVING;
}

static const struct shard_target *target_of(const struct replica_members_view *view,
                                            struct node_id node) {
    for (uint32_t i = 0; i < view->target_count; i++) {
        if (node_id_equal(view->targets[i].node, node)) { return &view->targets[i]; }
    }
    return NULL;
}

__attribute__((format(printf, 3, 4))) static void decide(struct replica_members_decision *out,
                                                         enum replica_members_step step,
                                                         const char *format, ...) {
    va_list list;
    va_start(list, format);
    out->step = step;
    (void)vsnprintf(out->text, sizeof(out->text), format, list);
    va_end(list);
}

// What raft refuses here was decided wrongly before, or comes from targets that nobody checked: the
// operation then waits, and says so.
static void propose_changes(const struct replica_members_view *view,
                            const struct raft_change *changes, uint32_t count,
                            struct replica_members_decision *out) {
    struct err err = {STATUS_OK, ""};
    if (raft_membership_change(view->members, changes, count, &out->next, &err) == STATUS_OK) {
        out->propose = true;
        return;
    }
    decide(out, out->step, "cannot be done: %.120s", err.message);
}

// In a joint configuration: the final one, led by somebody who stays.
static void plan_leave(const struct replica_members_view *view,
                       struct replica_members_decision *out) {
    const struct raft_member *self = raft_membership_find(view->members, view->self);
    bool stays = self != NULL && self->role == RAFT_VOTER;
    if (!stays && view->waited_ns < MEMBERS_TRANSFER_NS) {
        for (uint32_t i = 0; i < view->members->count && out->transfer.v == 0; i++) {
            const struct raft_member *member = &view->members->members[i];
            if (member->role == RAFT_VOTER && look(view, member->node).ready) {
                out->transfer = member->node;
            }
        }
        if (out->transfer.v != 0) {
            decide(out, REPLICA_MEMBERS_TRANSFER, "handing the leadership to node %" PRIu32,
                   out->transfer.v);
        } else {
            decide(out, REPLICA_MEMBERS_TRANSFER,
                   "waiting for a voter that stays to be ready to lead");
        }
        return;
    }
    raft_membership_leave(view->members, &out->next);
    out->propose = true;
    decide(out, REPLICA_MEMBERS_LEAVE, "leaving the joint configuration");
}

// Nodes that are wanted and no members yet. True when something was decided: they are added, or one
// that is to vote is waited for.
static bool plan_add(const struct replica_members_view *view,
                     struct replica_members_decision *out) {
    struct raft_change changes[SHARD_REPLICAS_MAX];
    uint32_t count = 0;
    struct node_id absent = {0};
    for (uint32_t i = 0; i < view->target_count; i++) {
        const struct shard_target *target = &view->targets[i];
        if (raft_membership_find(view->members, target->node) != NULL) { continue; }
        if (look(view, target->node).alive) {
            changes[count++] = (struct raft_change){target->node, RAFT_LEARNER};
        } else if (target->role == SHARD_VOTER) {
            absent = target->node;
        }
    }
    if (count > 0) {
        decide(out, REPLICA_MEMBERS_ADD, "adding node %" PRIu32 " as learner", changes[0].node.v);
        propose_changes(view, changes, count, out);
    } else if (absent.v != 0) {
        decide(out, REPLICA_MEMBERS_ADD, "waiting for node %" PRIu32 ": it does not answer",
               absent.v);
    }
    return count > 0 || absent.v != 0;
}

// Learners that are to vote. True when one of them is waited for.
static bool plan_catch_up(const struct replica_members_view *view,
                          struct replica_members_decision *out) {
    for (uint32_t i = 0; i < view->members->count; i++) {
        const struct raft_member *member = &view->members->members[i];
        const struct shard_target *target = target_of(view, member->node);
        bool comes = member->role == RAFT_LEARNER && target != NULL && target->role == SHARD_VOTER;
        if (!comes) { continue; }
        struct replica_members_node node = look(view, member->node);
        if (!node.alive) {
            decide(out, REPLICA_MEMBERS_CATCH_UP,
                   "waiting for node %" PRIu32 ": it does not answer", member->node.v);
            return true;
        }
        if (node.lag == UINT64_MAX) {
            decide(out, REPLICA_MEMBERS_CATCH_UP,
                   "waiting for node %" PRIu32 ": it has not begun to copy", member->node.v);
            return true;
        }
        if (node.lag > MEMBERS_LAG_MAX) {
            decide(out, REPLICA_MEMBERS_CATCH_UP,
                   "waiting for node %" PRIu32 ": %" PRIu64 " entries behind", member->node.v,
                   node.lag);
            return true;
        }
    }
    return false;
}

struct tally {
    uint32_t voters;
    uint32_t alive;
};

static struct tally tally_of(const struct replica_members_view *view,
                             const struct raft_membership *members, bool outgoing) {
    struct tally tally = {0};
    for (uint32_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->members[i];
        if (outgoing ? !member->outgoing : member->role != RAFT_VOTER) { continue; }
        tally.voters++;
        tally.alive += look(view, member->node).alive;
    }
    return tally;
}

// How many more voters may fail.
static int64_t spare(struct tally tally) {
    return (int64_t)tally.alive - (int64_t)(tally.voters / 2 + 1);
}

// A majority of the new voters must be alive, and not less to spare than now, as far as the number
// of voters that is wanted allows.
static bool joint_is_safe(const struct replica_members_view *view,
                          struct replica_members_decision *out) {
    struct tally before = tally_of(view, &out->next, true);
    struct tally after = tally_of(view, &out->next, false);
    int64_t most = spare((struct tally){after.voters, after.voters});
    int64_t wanted = spare(before) < most ? spare(before) : most;
    if (spare(after) >= 0 && spare(after) >= wanted) { return true; }
    decide(out, REPLICA_MEMBERS_ENTER,
           "waiting: %" PRIu32 " of %" PRIu32 " voters would be alive, now %" PRIu32 " of %" PRIu32
           " are",
           after.alive, after.voters, before.alive, before.voters);
    return false;
}

// Everything that is left: roles of members, and those that are to go.
static void plan_enter(const struct replica_members_view *view,
                       struct replica_members_decision *out) {
    struct raft_change changes[RAFT_MEMBERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->members->count; i++) {
        const struct raft_member *member = &view->members->members[i];
        const struct shard_target *target = target_of(view, member->node);
        enum raft_member_role role = target == NULL ? RAFT_LEAVING : role_of(target->role);
        if (role != member->role) { changes[count++] = (struct raft_change){member->node, role}; }
    }
    if (count == 0) {
        bool all = view->target_count == view->members->count;
        decide(out, all ? REPLICA_MEMBERS_DONE : REPLICA_MEMBERS_ADD,
               all ? "the members are those that are wanted"
                   : "waiting for a learner that does not answer");
        return;
    }
    out->step = REPLICA_MEMBERS_ENTER;
    propose_changes(view, changes, count, out);
    if (!out->propose) { return; }
    if (!raft_membership_is_joint(&out->next)) {
        decide(out, REPLICA_MEMBERS_ENTER, "changing learners");
        return;
    }
    out->propose = joint_is_safe(view, out);
    if (out->propose) { decide(out, REPLICA_MEMBERS_ENTER, "entering the joint configuration"); }
}

void replica_members_plan(const struct replica_members_view *view,
                          struct replica_members_decision *out) {
    ASSERT(raft_membership_check(view->members));
    ASSERT(view->target_count <= SHARD_REPLICAS_MAX);
    *out = (struct replica_members_decision){.step = REPLICA_MEMBERS_IDLE};
    if (!view->committed) {
        decide(out, REPLICA_MEMBERS_COMMIT, "waiting for configuration %" PRIu64 " to be committed",
               view->members->config_epoch);
        return;
    }
    if (raft_membership_is_joint(view->members)) {
        plan_leave(view, out);
    } else if (view->target_count > 0 && !plan_add(view, out) && !plan_catch_up(view, out)) {
        plan_enter(view, out);
    }
    ASSERT(!(out->propose && out->transfer.v != 0));
    ASSERT_IF(out->propose, raft_membership_check(&out->next));
}

// --- At a replica -------------------------------------------------------------------------------

const struct raft_membership *replica_members_committed(const struct replica *self) {
    uint64_t index = 0;
    return raft_members_committed(self->raft, &index);
}

static void look_at(void *ctx, struct node_id node, struct replica_members_node *out) {
    const struct replica *self = ctx;
    const struct support *support = self->table->config.support;
    const struct support_peer *peer = support_find(support, node);
    uint64_t now = replica__now(self);
    out->alive = peer != NULL && peer->held_epoch != 0 &&
                 support_held_until(support, node, peer->held_epoch) > now;
    uint64_t match = raft_match_index(self->raft, node);
    out->lag = match == 0 ? UINT64_MAX : raft_last_index(self->raft) - match;
    out->ready = raft_is_ready(self->raft, node, MEMBERS_LAG_MAX);
}

// Raft refuses what comes too early; the driver does not even ask. So a mutant that is to show what
// the rule is for has to leave it out here as well.
static bool may_change(const struct replica *self) {
    return MUTANT(CONFIG_BEFORE_OWN_TERM) ? raft_is_leader(self->raft) : replica__ready(self);
}

static bool is_settled(const struct replica *self, uint64_t config_epoch) {
    if (MUTANT(CONFIG_BEFORE_OWN_TERM)) { return true; }
    return replica_members_committed(self)->config_epoch == config_epoch;
}

enum status replica_propose_membership(struct replica *self, const struct raft_membership *next) {
    ASSERT(raft_membership_check(next));
    if (!raft_is_leader(self->raft)) { return STATUS_NOT_LEADER; }
    if (!may_change(self)) { return STATUS_UNAVAILABLE; }
    // In a batch of its own: raft refuses a batch as a whole, and others must not pay for this one.
    replica__flush_gathered(self);
    if (self->gathered_count > 0) { return STATUS_OVERLOADED; }
    struct buf payload;
    struct codec_writer w;
    buf_init(&payload, MEMBERS_ENTRY_SIZE_MAX);
    codec_writer_init(&w, &payload);
    raft_membership_encode(&w, next);
    ASSERT(w.status == STATUS_OK);
    struct log_entry entry = {.index = raft_last_index(self->raft) + 1,
                              .term = raft_term(self->raft),
                              .shard_epoch = self->descriptor.epoch,
                              .kind = LOG_ENTRY_CONFIG,
                              .payload = buf_slice(&payload)};
    replica__stamp(self, &entry, false);
    log_entry_seal(&entry);
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE};
    event.u.propose.entries = &entry;
    event.u.propose.count = 1;
    enum status st = replica__step(self, &event);
    log_entry_unref(&entry);
    buf_deinit(&payload);
    replica__mark_dirty(self);
    return st;
}

static void carry_out(struct replica *self, struct replica_members_decision *decision) {
    enum status st = STATUS_OK;
    if (decision->transfer.v != 0) {
        st = replica_transfer(self, decision->transfer);
    } else if (decision->propose) {
        st = replica_propose_membership(self, &decision->next);
    }
    if (st != STATUS_OK) {
        (void)snprintf(decision->text, sizeof(decision->text), "not yet: %s", status_text(st));
    }
}

static void note(struct replica_members_progress *progress, uint64_t now_ns, uint64_t config_epoch,
                 const struct replica_members_decision *decision) {
    bool same = progress->step == decision->step && progress->config_epoch == config_epoch;
    if (!same || progress->since_ns == 0) { progress->since_ns = now_ns; }
    progress->step = decision->step;
    progress->config_epoch = config_epoch;
    static_assert(sizeof(progress->text) == sizeof(decision->text), "the same sentence");
    (void)snprintf(progress->text, sizeof(progress->text), "%s", decision->text);
}

void replica_members_drive(struct replica *self, const struct shard_target *targets, uint32_t count,
                           struct replica_members_progress *progress) {
    if (!may_change(self)) {
        *progress = (struct replica_members_progress){.step = REPLICA_MEMBERS_IDLE};
        return;
    }
    // Support is exchanged with those that are to come, so that it shows whether they are alive.
    for (uint32_t i = 0; i < count; i++) {
        replica__add_peer(self->table, targets[i].node);
    }
    const struct raft_membership *members = raft_members(self->raft);
    uint64_t now = replica__now(self);
    uint64_t config_epoch = members->config_epoch;
    bool same = progress->config_epoch == config_epoch && progress->since_ns != 0;
    struct replica_members_view view = {
        .self = self->table->config.self,
        .members = members,
        .committed = is_settled(self, config_epoch),
        .targets = targets,
        .target_count = count,
        .waited_ns =
            same && progress->step == REPLICA_MEMBERS_TRANSFER ? now - progress->since_ns : 0,
        .look = look_at,
        .ctx = self,
    };
    struct replica_members_decision decision;
    replica_members_plan(&view, &decision);
    carry_out(self, &decision);
    note(progress, now, config_epoch, &decision);
}

// The membership in use is another: who gets the side channel and the list of leaderships follows.
void replica__members_changed(struct replica *self) {
    struct replica_table *table = self->table;
    const struct raft_membership *members = raft_members(self->raft);
    if (members->count == 0) { return; }  // nothing is known: a replica that is still to hear of it
    self->descriptor.config_epoch = members->config_epoch;
    self->descriptor.replica_count = replica_members_describe(members, self->descriptor.replicas);
    for (uint32_t i = 0; i < members->count; i++) {
        replica__add_peer(table, members->members[i].node);
    }
    table->leads_version++;
    if (table->config.members_changed != NULL) {
        table->config.members_changed(table->config.ctx, self->descriptor.id);
    }
}

// --- Forms --------------------------------------------------------------------------------------

void replica_members_of(const struct shard_descriptor *descriptor, struct raft_membership *out) {
    *out = (struct raft_membership){.config_epoch = descriptor->config_epoch,
                                    .count = descriptor->replica_count};
    for (uint32_t i = 0; i < descriptor->replica_count; i++) {
        const struct shard_replica *replica = &descriptor->replicas[i];
        out->members[i] = (struct raft_member){.node = replica->node,
                                               .incarnation = replica->incarnation,
                                               .role = role_of(replica->role),
                                               .outgoing = replica->outgoing};
    }
}

uint32_t replica_members_describe(const struct raft_membership *members,
                                  struct shard_replica out[SHARD_MEMBERS_MAX]) {
    for (uint32_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->members[i];
        out[i] = (struct shard_replica){
            .node = member->node,
            .role = member->role == RAFT_VOTER     ? SHARD_VOTER
                    : member->role == RAFT_LEARNER ? SHARD_LEARNER
                                                   : SHARD_LEAVING,
            .incarnation = member->incarnation,
            .outgoing = member->outgoing,
        };
    }
    return members->count;
}
