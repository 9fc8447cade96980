// SPDX-License-Identifier: Apache-2.0
// replica_propose.c - proposals: sealed as they come, handed to raft once a turn, answered when
// applied.
//
// Sealing at once fixes the timestamp order; gathering until the end of the turn makes one persist
// and one message per follower out of
// however many clients came. A proposal that this node loses track of (leadership went away) ends
// UNAVAILABLE: it may or may not commit,
// and a repeat under the same transaction id is safe.

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/replica/replica_internal.h"

static enum status propose_admit(const struct replica *self,
                                 const struct replica_proposal *proposal) {
    const struct replica_table_config *config = &self->table->config;
    if (!raft_is_leader(self->raft)) { return STATUS_NOT_LEADER; }
    if (!replica__ready(self)) { return STATUS_UNAVAILABLE; }
    if (proposal->shard_epoch != self->descriptor.epoch) { return STATUS_STALE_SHARD_MAP; }
    if (!replica__has_room(self, proposal)) { return STATUS_NO_SPACE; }
    bool full = self->pending_count >= config->pending_max ||
                (self->pending_count > 0 &&
                 self->pending_size + proposal->payload.size > config->pending_size_max);
    return full ? STATUS_OVERLOADED : STATUS_OK;
}

// Idle shards own no room for entries: 25 KB each would be a quarter of a gigabyte for 10 000.
static void gather_room(struct replica *self) {
    struct replica_table *table = self->table;
    if (self->gathered != NULL) { return; }
    struct replica_gather *room = table->gather_free;
    if (room != NULL) {
        table->gather_free = room->next;
        table->gather_free_count--;
    } else {
        room = mem_alloc(sizeof(*room));
    }
    self->gathered = room->entries;
}

static void gather_give_back(struct replica *self) {
    enum { FREE_MAX = 256 };
    struct replica_table *table = self->table;
    if (self->gathered == NULL) { return; }
    struct replica_gather *room =
        (struct replica_gather *)((char *)self->gathered -
                                  offsetof(struct replica_gather, entries));
    self->gathered = NULL;
    if (table->gather_free_count == FREE_MAX) {
        mem_free(room);
        return;
    }
    room->next = table->gather_free;
    table->gather_free = room;
    table->gather_free_count++;
}

static void gather(struct replica *self, enum log_entry_kind kind, struct slice payload) {
    ASSERT(self->gathered_count < REPLICA_GATHER_MAX);
    gather_room(self);
    struct log_entry *entry = &self->gathered[self->gathered_count];
    *entry = (struct log_entry){0};
    entry->index = raft_last_index(self->raft) + self->gathered_count + 1;
    entry->term = raft_term(self->raft);
    entry->shard_epoch = self->descriptor.epoch;
    entry->kind = kind;
    entry->payload = payload;
    replica__stamp(self, entry, kind == LOG_ENTRY_COMMAND);
    log_entry_seal(entry);
    replica__note_appended(self, entry);
    self->gathered_count++;
    replica__touch(self);
    replica__mark_dirty(self);
}

enum status replica_propose(struct replica *self, struct replica_proposal *proposal) {
    ASSERT(proposal->done != NULL);
    if (self->gathered_count == REPLICA_GATHER_MAX) { replica__flush_gathered(self); }
    enum status st = propose_admit(self, proposal);
    if (st != STATUS_OK) { return st; }
    if (self->gathered_count == REPLICA_GATHER_MAX) {
        return STATUS_OVERLOADED;
    }  // raft's ring is full
    proposal->index = raft_last_index(self->raft) + self->gathered_count + 1;
    proposal->next = NULL;
    proposal->size = proposal->payload.size;
    gather(self, LOG_ENTRY_COMMAND, proposal->payload);
    if (self->pending_tail == NULL) {
        self->pending_head = proposal;
    } else {
        ASSERT(self->pending_tail->index < proposal->index);
        self->pending_tail->next = proposal;
    }
    self->pending_tail = proposal;
    self->pending_count++;
    self->pending_size += proposal->payload.size;
    return STATUS_OK;
}

void replica__append(struct replica *self, enum log_entry_kind kind, struct slice payload) {
    if (self->gathered_count == REPLICA_GATHER_MAX) { replica__flush_gathered(self); }
    if (!raft_is_leader(self->raft) || self->gathered_count == REPLICA_GATHER_MAX) { return; }
    gather(self, kind, payload);
}

// A leader's first entry of its term and ceiling renewals.
void replica__append_empty(struct replica *self) {
    replica__append(self, LOG_ENTRY_EMPTY, SLICE_EMPTY);
}

static void drop_gathered(struct replica *self) {
    for (uint32_t i = 0; i < self->gathered_count; i++) {
        log_entry_unref(&self->gathered[i]);
    }
    self->gathered_count = 0;
    gather_give_back(self);
}

void replica__flush_gathered(struct replica *self) {
    if (self->gathered_count == 0) { return; }
    uint64_t first = self->gathered[0].index;
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE};
    event.u.propose.entries = self->gathered;
    event.u.propose.count = self->gathered_count;
    enum status st = replica__step(self, &event);
    if (st == STATUS_OVERLOADED) {
        return;
    }  // the ring is full: try again when something was applied
    drop_gathered(self);
    // Refused (a transfer is under way): these entries never entered the history.
    if (st != STATUS_OK) { replica__fail_pending(self, first, STATUS_NOT_LEADER); }
}

// Leadership is gone: what was only gathered never entered the history, what was proposed may still
// commit under a later leader.
void replica__fail_all(struct replica *self) {
    if (self->gathered_count > 0) {
        uint64_t first = self->gathered[0].index;
        drop_gathered(self);
        replica__fail_pending(self, first, STATUS_NOT_LEADER);
    }
    replica__fail_pending(self, 0, STATUS_UNAVAILABLE);
}

// Ends every pending proposal at or above first_index. The list is detached before any callback
// runs: callbacks may propose again.
void replica__fail_pending(struct replica *self, uint64_t first_index, enum status status) {
    struct replica_proposal **link = &self->pending_head;
    struct replica_proposal *kept = NULL;
    while (*link != NULL && (*link)->index < first_index) {
        kept = *link;
        link = &(*link)->next;
    }
    struct replica_proposal *lost = *link;
    *link = NULL;
    self->pending_tail = kept;
    for (struct replica_proposal *p = lost; p != NULL; p = p->next) {
        ASSERT(self->pending_count > 0);
        self->pending_count--;
        self->pending_size -= p->size;
    }
    while (lost != NULL) {
        struct replica_proposal *next = lost->next;
        struct replica_proposal_result result = {.status = status, .index = lost->index};
        lost->done(lost, &result);
        lost = next;
    }
}
