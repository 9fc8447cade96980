// SPDX-License-Identifier: Apache-2.0
//
// Design note. Memberships as values: which one follows from which, and their wire form. Nothing
// here knows a core.
//
// A membership names each node once. A voter that shall go stays in the joint membership with the
// role RAFT_LEAVING and the mark `outgoing`, so that both configurations of a joint membership can
// be read off one list: the newer one is those whose role is RAFT_VOTER, the older one those that
// are outgoing. A learner that shall go has no say in any decision and is dropped at once.
// Rejected: two lists, of which most members would be in both.
#include "dataplane/raft/raft_internal.h"

enum { RAFT_MEMBERSHIP_VERSION = 1, RAFT_MEMBER_OUTGOING = 4, RAFT_MEMBER_FLAGS = 7 };

const struct raft_member *raft_membership_find(const struct raft_membership *self,
                                               struct node_id node) {
    for (uint32_t i = 0; i < self->count; i++) {
        if (node_id_equal(self->members[i].node, node)) { return &self->members[i]; }
    }
    return NULL;
}

bool raft_membership_is_joint(const struct raft_membership *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        if (self->members[i].outgoing) { return true; }
    }
    return false;
}

static uint32_t raft_voters_of(const struct raft_membership *self) {
    uint32_t voters = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        voters += self->members[i].role == RAFT_VOTER ? 1 : 0;
    }
    return voters;
}

static uint32_t raft_outgoing_of(const struct raft_membership *self) {
    uint32_t outgoing = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        outgoing += self->members[i].outgoing ? 1 : 0;
    }
    return outgoing;
}

bool raft_membership_check(const struct raft_membership *self) {
    if (self->count == 0 || self->count > RAFT_MEMBERS_MAX) { return false; }
    if (self->config_epoch > RAFT_NUMBER_MAX) { return false; }
    for (uint32_t i = 0; i < self->count; i++) {
        const struct raft_member *member = &self->members[i];
        if (member->node.v == 0 || member->incarnation == 0) { return false; }
        if ((unsigned)member->role >= RAFT_MEMBER_ROLE_COUNT) { return false; }
        if (member->role == RAFT_LEAVING && !member->outgoing) { return false; }
        // The first with that node is this one: nobody before it has the same.
        if (raft_membership_find(self, member->node) != member) { return false; }
    }
    uint32_t voters = raft_voters_of(self);
    return voters > 0 && voters <= RAFT_VOTERS_MAX && raft_outgoing_of(self) <= RAFT_VOTERS_MAX;
}

void raft_membership_leave(const struct raft_membership *self, struct raft_membership *out) {
    ASSERT(raft_membership_is_joint(self));
    struct raft_membership next = {.config_epoch = self->config_epoch + 1};
    for (uint32_t i = 0; i < self->count; i++) {
        if (self->members[i].role == RAFT_LEAVING) { continue; }
        next.members[next.count] = self->members[i];
        next.members[next.count].outgoing = false;
        next.count++;
    }
    *out = next;
}

// --- changes

// One change into the list; the roles of `next` are those of the newer configuration.
static enum status raft_change_apply(struct raft_membership *next, const struct raft_change *change,
                                     struct err *err) {
    for (uint32_t i = 0; i < next->count; i++) {
        struct raft_member *member = &next->members[i];
        if (!node_id_equal(member->node, change->node)) { continue; }
        if (change->role == RAFT_LEAVING && member->role == RAFT_LEARNER) {
            next->count--;
            *member = next->members[next->count];
        } else {
            member->role = change->role;
        }
        return STATUS_OK;
    }
    if (change->role == RAFT_LEAVING) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "node %u is no member and cannot be removed",
                       change->node.v);
    }
    if (next->count == RAFT_MEMBERS_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "node %u would be member %d, at most %d",
                       change->node.v, RAFT_MEMBERS_MAX + 1, RAFT_MEMBERS_MAX);
    }
    next->members[next->count] = (struct raft_member){
        .node = change->node, .incarnation = next->config_epoch, .role = change->role};
    next->count++;
    return STATUS_OK;
}

static enum status raft_changes_check(const struct raft_change *changes, uint32_t count,
                                      struct err *err) {
    for (uint32_t i = 0; i < count; i++) {
        if (changes[i].node.v == 0 || (unsigned)changes[i].role >= RAFT_MEMBER_ROLE_COUNT) {
            return err_set(err, STATUS_INVALID_ARGUMENT, "change %u names no node or no role",
                           i + 1);
        }
        for (uint32_t k = 0; k < i; k++) {
            if (!node_id_equal(changes[i].node, changes[k].node)) { continue; }
            return err_set(err, STATUS_INVALID_ARGUMENT, "node %u is named twice",
                           changes[i].node.v);
        }
    }
    return STATUS_OK;
}

static bool raft_members_equal(const struct raft_membership *a, const struct raft_membership *b) {
    if (a->count != b->count) { return false; }
    for (uint32_t i = 0; i < a->count; i++) {
        const struct raft_member *x = &a->members[i];
        const struct raft_member *y = raft_membership_find(b, x->node);
        if (y == NULL || x->incarnation != y->incarnation) { return false; }
        if (x->role != y->role || x->outgoing != y->outgoing) { return false; }
    }
    return true;
}

// The voters of two memberships that are not joint.
static bool raft_voters_equal(const struct raft_membership *a, const struct raft_membership *b) {
    if (raft_voters_of(a) != raft_voters_of(b)) { return false; }
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->members[i].role != RAFT_VOTER) { continue; }
        const struct raft_member *y = raft_membership_find(b, a->members[i].node);
        if (y == NULL || y->role != RAFT_VOTER) { return false; }
        if (y->incarnation != a->members[i].incarnation) { return false; }
    }
    return true;
}

enum status raft_membership_change(const struct raft_membership *self,
                                   const struct raft_change *changes, uint32_t count,
                                   struct raft_membership *out, struct err *err) {
    if (raft_membership_is_joint(self)) {
        return err_set(err, STATUS_FAILED_PRECONDITION,
                       "the change to configuration %llu is still under way",
                       (unsigned long long)self->config_epoch);
    }
    enum status st = raft_changes_check(changes, count, err);
    if (st != STATUS_OK) { return st; }
    struct raft_membership next = *self;
    next.config_epoch = self->config_epoch + 1;
    for (uint32_t i = 0; i < count; i++) {
        st = raft_change_apply(&next, &changes[i], err);
        if (st != STATUS_OK) { return st; }
    }
    uint32_t voters = raft_voters_of(&next);
    if (voters == 0) { return err_set(err, STATUS_INVALID_ARGUMENT, "no voter would be left"); }
    if (voters > RAFT_VOTERS_MAX) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%u voters, at most %d", voters,
                       RAFT_VOTERS_MAX);
    }
    if (raft_members_equal(self, &next)) {
        return err_set(err, STATUS_ALREADY_EXISTS, "the members have these roles already");
    }
    if (!raft_voters_equal(self, &next)) {
        for (uint32_t i = 0; i < next.count; i++) {
            const struct raft_member *before = raft_membership_find(self, next.members[i].node);
            next.members[i].outgoing = before != NULL && before->role == RAFT_VOTER;
        }
    }
    *out = next;
    return STATUS_OK;
}

// True when every outgoing member of `next` is a voter of `self`, and every voter of `self` is
// outgoing in `next`: the older configuration of the joint membership is the one in use.
static bool raft_outgoing_are_voters(const struct raft_membership *self,
                                     const struct raft_membership *next) {
    for (uint32_t i = 0; i < next->count; i++) {
        if (!next->members[i].outgoing) { continue; }
        const struct raft_member *before = raft_membership_find(self, next->members[i].node);
        if (before == NULL || before->role != RAFT_VOTER) { return false; }
    }
    return raft_outgoing_of(next) == raft_voters_of(self);
}

bool raft__membership_follows(const struct raft_membership *self,
                              const struct raft_membership *next) {
    if (!raft_membership_check(next) || next->config_epoch != self->config_epoch + 1) {
        return false;
    }
    if (raft_membership_is_joint(self)) {
        struct raft_membership final = {0};
        raft_membership_leave(self, &final);
        return raft_members_equal(&final, next);
    }
    for (uint32_t i = 0; i < next->count; i++) {
        const struct raft_member *before = raft_membership_find(self, next->members[i].node);
        uint64_t expected = before == NULL ? next->config_epoch : before->incarnation;
        if (next->members[i].incarnation != expected) { return false; }
    }
    if (raft_membership_is_joint(next)) { return raft_outgoing_are_voters(self, next); }
    return raft_voters_equal(self, next) && !raft_members_equal(self, next);
}

// --- wire form

void raft_membership_encode(struct codec_writer *w, const struct raft_membership *self) {
    ASSERT(raft_membership_check(self));
    codec_put_u8(w, RAFT_MEMBERSHIP_VERSION);
    codec_put_varint(w, self->config_epoch);
    codec_put_varint(w, self->count);
    for (uint32_t i = 0; i < self->count; i++) {
        const struct raft_member *member = &self->members[i];
        codec_put_varint(w, member->node.v);
        codec_put_varint(w, member->incarnation);
        int flags = (int)member->role | (member->outgoing ? RAFT_MEMBER_OUTGOING : 0);
        codec_put_u8(w, (uint8_t)flags);
    }
}

static void raft_member_decode(struct codec_reader *r, struct raft_member *out) {
    uint64_t node = codec_get_varint(r);
    out->incarnation = codec_get_varint(r);
    uint8_t flags = codec_get_u8(r);
    unsigned role = flags & (RAFT_MEMBER_OUTGOING - 1);
    if (node > UINT32_MAX || role >= RAFT_MEMBER_ROLE_COUNT || (flags & ~RAFT_MEMBER_FLAGS) != 0) {
        codec_fail(r);
        return;
    }
    out->node.v = (uint32_t)node;
    out->role = (enum raft_member_role)role;
    out->outgoing = (flags & RAFT_MEMBER_OUTGOING) != 0;
}

enum status raft_membership_decode(struct codec_reader *r, struct raft_membership *out) {
    struct raft_membership m = {0};
    if (codec_get_u8(r) != RAFT_MEMBERSHIP_VERSION) { codec_fail(r); }
    m.config_epoch = codec_get_varint(r);
    uint64_t count = codec_get_count(r, 3);
    if (count > RAFT_MEMBERS_MAX) { codec_fail(r); }
    for (uint64_t i = 0; i < count && r->status == STATUS_OK; i++) {
        raft_member_decode(r, &m.members[i]);
        m.count++;
    }
    if (r->status != STATUS_OK || !raft_membership_check(&m)) {
        MARK("raft.membership.corrupt");
        codec_fail(r);
        return STATUS_CORRUPT;
    }
    *out = m;
    return STATUS_OK;
}
