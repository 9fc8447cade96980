// SPDX-License-Identifier: Apache-2.0
// replica_read.c - reads: strong ones at the leader, admitted at a timestamp, executed by the
// caller, then confirmed; and those at a closed timestamp, at any replica.
//
// The snapshot timestamp r of a strong read lies below every write still in flight, so a read never
// waits for one; every acknowledged write is applied and therefore below r. Only a read that names
// its snapshot may lie above a write in flight, and is tried again then. r never exceeds the
// committed ceiling. Leadership is checked AFTER the read ran (time.md, Leases): a pause between
// check and answer can then not let a newer leader's write slip past.
//
// At a closed timestamp nothing commits any more, whoever leads: no lease, no round, no lock.

#include "dataplane/base/assert.h"
#include "dataplane/base/mutant.h"
#include "dataplane/replica/replica_internal.h"

// Half of the ceiling's window is spent: the next turn appends an empty entry, so that readers
// rarely meet a spent ceiling.
static void renew_when_due(struct replica *self) {
    struct hlc_ts now = hlc_peek(self->table->config.hlc, replica__wall(self));
    struct hlc_ts due = replica__ceiling_at(self, now, self->table->config.ceiling_window_us / 2);
    bool in_flight = raft_last_index(self->raft) > self->applied || self->gathered_count > 0;
    if (hlc_before(self->ceiling_committed, due) && !in_flight) {
        self->renew_wanted = true;
        replica__mark_dirty(self);
    }
}

enum status replica_read_begin(struct replica *self, struct replica_read *read) {
    if (!raft_is_leader(self->raft)) { return STATUS_NOT_LEADER; }
    if (!replica__ready(self)) { return STATUS_UNAVAILABLE; }
    if (MUTANT(LEASE_BEFORE_READ) && !read->read_index &&
        self->stepped_ns >= raft_lease_until_ns(self->raft)) {
        return STATUS_UNAVAILABLE;
    }
    renew_when_due(self);
    replica__touch(self);
    struct hlc_ts now = hlc_now(self->table->config.hlc, replica__wall(self));
    struct hlc_ts in_flight = replica__min_in_flight(self);
    struct hlc_ts r = hlc_equal(in_flight, HLC_MAX) ? now : (struct hlc_ts){in_flight.v - 1};
    r = hlc_smaller(r, self->ceiling_committed);
    if (hlc_before(r, read->at_least) || hlc_before(r, read->at)) { return STATUS_UNAVAILABLE; }
    if (read->at.v != 0) {
        r = read->at;
    } else {
        ASSERT(!hlc_before(r, self->closed));
    }
    read->timestamp = r;
    read->term = raft_term(self->raft);
    read->index = self->applied;
    read->closed = self->closed;
    return STATUS_OK;
}

enum status replica_read_closed(struct replica *self, struct replica_read *read) {
    if (replica_health(self) != RAFT_WHOLE) { return STATUS_UNAVAILABLE; }
    if (raft_is_leader(self->raft)) {
        // As if the side channel had just spoken.
        if (replica__ready(self)) { replica__touch(self); }
        replica__advance_closed(self);
    }
    struct hlc_ts r = read->at.v != 0 ? read->at : self->closed;
    if (MUTANT(FOLLOWER_READS_EARLY)) { r = hlc_larger(r, read->at_least); }
    const bool closed = !hlc_before(self->closed, r) || MUTANT(FOLLOWER_READS_EARLY);
    if (r.v == 0 || !closed || hlc_before(r, read->at_least)) { return STATUS_UNAVAILABLE; }
    read->timestamp = r;
    read->term = raft_term(self->raft);
    read->index = self->applied;
    read->closed = self->closed;
    return STATUS_OK;
}

enum status replica_read_confirm(struct replica *self, struct replica_read *read) {
    read->by_lease = false;
    if (MUTANT(LEASE_BEFORE_READ) && !read->read_index) {
        read->by_lease = true;
        return STATUS_OK;
    }
    if (!raft_is_leader(self->raft) || raft_term(self->raft) != read->term) {
        return STATUS_NOT_LEADER;
    }
    if (!read->read_index && replica__now(self) < raft_lease_until_ns(self->raft)) {
        read->by_lease = true;
        return STATUS_OK;
    }
    read->token = ++self->read_token;
    read->next = NULL;
    if (self->reads_tail == NULL) {
        self->reads_head = read;
    } else {
        self->reads_tail->next = read;
    }
    self->reads_tail = read;
    replica__mark_dirty(
        self);  // one round at the end of the turn serves every read gathered by then
    return STATUS_UNAVAILABLE;
}

// Raft confirmed (or lost) leadership for every read up to token.
void replica__reads_confirmed(struct replica *self, uint64_t token, bool confirmed) {
    while (self->reads_head != NULL && self->reads_head->token <= token) {
        struct replica_read *read = self->reads_head;
        self->reads_head = read->next;
        if (self->reads_head == NULL) { self->reads_tail = NULL; }
        read->next = NULL;
        bool same_term = raft_term(self->raft) == read->term;
        read->confirmed(read, confirmed && same_term ? STATUS_OK : STATUS_NOT_LEADER);
    }
}
