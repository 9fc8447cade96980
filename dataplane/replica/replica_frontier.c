// SPDX-License-Identifier: Apache-2.0
// replica_frontier.c - closed timestamps and the ceiling: what may be promised about time, and
// when.
//
// Every entry carries the ceiling its leader claims and the closed timestamp it vouches for. A new
// leader starts its clock at the
// largest ceiling in its log, committed or not, so nothing it assigns can lie below anything an
// earlier leader served (time.md,
// "The ceiling"). Rejected: a bound on clock skew, which would make truth depend on clocks.

#include "dataplane/base/assert.h"
#include "dataplane/base/mutant.h"
#include "dataplane/replica/replica_internal.h"

// A leader may serve and close only once an entry of its own term is applied (time.md, Leases, last
// sentence).
bool replica__ready(const struct replica *self) {
    if (MUTANT(SERVE_BEFORE_OWN_TERM)) { return raft_is_leader(self->raft); }
    return raft_is_leader(self->raft) && self->applied >= raft_term_start_index(self->raft);
}

// Entries in the log carry strictly increasing timestamps, so the first one after `applied` that
// writes is the smallest.
struct hlc_ts replica__min_in_flight(const struct replica *self) {
    uint64_t last = raft_last_index(self->raft);
    for (uint64_t index = self->applied + 1; index <= last; index++) {
        const struct log_entry *entry = raft_entry(self->raft, index);
        // Out of the window (large entries, commits held up): whatever it is, it lies above what is
        // applied and above what is closed.
        if (entry == NULL) {
            return (struct hlc_ts){hlc_larger(self->timestamp_applied, self->closed).v + 1};
        }
        if (entry->timestamp.v != 0) { return entry->timestamp; }
    }
    for (uint32_t i = 0; i < self->gathered_count; i++) {
        if (self->gathered[i].timestamp.v != 0) { return self->gathered[i].timestamp; }
    }
    return HLC_MAX;
}

// The smallest timestamp at which something may still commit: in flight, or applied and prepared.
static struct hlc_ts min_open(const struct replica *self) {
    const bool blind = MUTANT(CLOSED_ABOVE_IN_FLIGHT);
    const struct hlc_ts in_flight = blind ? HLC_MAX : replica__min_in_flight(self);
    const struct state_machine *machine = self->machine;
    if (machine->unresolved == NULL || MUTANT(CLOSED_ABOVE_PREPARED)) { return in_flight; }
    return hlc_smaller(in_flight, machine->unresolved(machine->ctx, self->descriptor.id));
}

// How far a ceiling reaches: a window beyond the wall clock. A clock that runs ahead of the wall
// stands still until the wall has caught up, so then a small step suffices; and it must suffice,
// for each new leader starts at the ceiling: with a whole window from there, every change of
// leadership would push the clocks of all nodes another window ahead, until peers refuse them.
struct hlc_ts replica__ceiling_at(const struct replica *self, struct hlc_ts now,
                                  uint64_t window_us) {
    enum { STEPS_PER_WINDOW = 40 };
    struct hlc_ts by_wall = hlc_add_us(hlc_from_wall(replica__wall(self)), window_us);
    return hlc_larger(by_wall, hlc_add_us(now, window_us / STEPS_PER_WINDOW));
}

// Fills timestamp, ceiling and closed of an entry this leader is about to append.
void replica__stamp(struct replica *self, struct log_entry *entry, bool writes) {
    struct hlc_clock *hlc = self->table->config.hlc;
    struct hlc_ts now = hlc_now(hlc, replica__wall(self));
    ASSERT(hlc_before(self->timestamp_log, now));
    entry->timestamp = writes ? now : HLC_ZERO;
    uint64_t window_us = self->table->config.ceiling_window_us;
    entry->ceiling = hlc_larger(self->ceiling_log, replica__ceiling_at(self, now, window_us));
    entry->closed = self->closed;
    if (replica__ready(self)) {
        struct hlc_ts limit = hlc_smaller(min_open(self), now);
        entry->closed = hlc_larger(self->closed, (struct hlc_ts){limit.v - 1});
    }
    ASSERT(hlc_before(entry->closed, now));
    ASSERT(hlc_before(entry->closed, entry->ceiling));
}

// Called for every entry that enters the log of this replica, as leader or as follower.
void replica__note_appended(struct replica *self, const struct log_entry *entry) {
    self->ceiling_log = hlc_larger(self->ceiling_log, entry->ceiling);
    self->timestamp_log = hlc_larger(self->timestamp_log, entry->timestamp);
}

// Leader, for the side channel: nothing will commit at or below the result. Bounded by the
// committed ceiling, because a later leader may assign anything above that.
void replica__advance_closed(struct replica *self) {
    if (!replica__ready(self)) { return; }
    struct hlc_ts limit = min_open(self);
    if (hlc_equal(limit, HLC_MAX)) {
        limit = hlc_now(self->table->config.hlc, replica__wall(self));
    }
    struct hlc_ts candidate = hlc_smaller((struct hlc_ts){limit.v - 1}, self->ceiling_committed);
    self->closed = hlc_larger(self->closed, candidate);
}

// Follower: what the side channel promised holds once everything up to its commit index is applied
// here.
void replica__adopt_frontier(struct replica *self) {
    if (self->frontier_commit != 0 && self->applied >= self->frontier_commit) {
        self->closed = hlc_larger(self->closed, self->frontier_closed);
    }
}

enum replica_hold replica__closed_hold(const struct replica *self) {
    if (!raft_is_leader(self->raft)) {
        if (raft_leader(self->raft).v == 0) { return REPLICA_HELD_BY_SILENCE; }
        return self->applied < self->frontier_commit ? REPLICA_HELD_BY_APPLYING
                                                     : REPLICA_HELD_BY_NOTHING;
    }
    if (!replica__ready(self)) { return REPLICA_HELD_BY_TERM; }
    const struct hlc_ts open = min_open(self);
    if (hlc_before(open, self->ceiling_committed)) {
        return hlc_equal(open, replica__min_in_flight(self)) ? REPLICA_HELD_BY_IN_FLIGHT
                                                             : REPLICA_HELD_BY_PREPARED;
    }
    const struct hlc_ts now = hlc_from_wall(replica__wall(self));
    return hlc_before(self->ceiling_committed, now) ? REPLICA_HELD_BY_CEILING
                                                    : REPLICA_HELD_BY_NOTHING;
}
