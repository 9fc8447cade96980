// SPDX-License-Identifier: Apache-2.0
// replica_apply.c - committed entries go to the state machine; proposers hear after the turn's
// end().
//
// Results are copied into one buffer of the table, because a state machine's result view ends with
// its next call while proposers may be told
// only when the whole turn's batch is visible to reads.

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/replica/replica_internal.h"

#include <string.h>

void replica__touch_machine(struct replica_table *table, const struct state_machine *machine) {
    for (uint32_t i = 0; i < table->machine_touched_count; i++) {
        if (table->machines_touched[i] == machine) { return; }
    }
    ASSERT(table->machine_touched_count <
           sizeof(table->machines_touched) / sizeof(table->machines_touched[0]));
    table->machines_touched[table->machine_touched_count++] = machine;
}

static struct replica_outcome *outcome_add(struct replica_table *table) {
    if (table->outcome_count == table->outcome_capacity) {
        table->outcome_capacity = table->outcome_capacity == 0 ? 256 : 2 * table->outcome_capacity;
        table->outcomes =
            mem_realloc(table->outcomes, table->outcome_capacity * sizeof(*table->outcomes));
    }
    struct replica_outcome *outcome = &table->outcomes[table->outcome_count++];
    *outcome = (struct replica_outcome){0};
    return outcome;
}

// The head of the pending list waits for exactly this entry, unless another leader put it there.
static void settle(struct replica *self, const struct log_entry *entry,
                   const struct apply_result *applied) {
    struct replica_proposal *proposal = self->pending_head;
    if (proposal == NULL || proposal->index != entry->index) { return; }
    ASSERT(entry->term == raft_term(self->raft));  // pending is emptied whenever leadership is lost
    self->pending_head = proposal->next;
    if (self->pending_head == NULL) { self->pending_tail = NULL; }
    self->pending_count--;
    self->pending_size -= proposal->size;
    struct replica_table *table = self->table;
    struct replica_outcome *outcome = outcome_add(table);
    outcome->proposal = proposal;
    outcome->payload_offset = table->outcome_bytes.size;
    enum status st = buf_append(&table->outcome_bytes, applied->payload);
    ASSERT(st ==
           STATUS_OK);  // results are small and the buffer is bounded far above a turn's worth
    outcome->result = (struct replica_proposal_result){
        .status = STATUS_OK,
        .term = entry->term,
        .index = entry->index,
        .timestamp = entry->timestamp,
        .applied = {applied->status, {NULL, applied->payload.size}}};
}

static void apply_one(struct replica *self, const struct log_entry *entry) {
    ASSERT(entry->index == self->applied + 1);
    struct apply_result result = {.status = STATUS_OK, .payload = SLICE_EMPTY};
    hlc_adopt(self->table->config.hlc, entry->timestamp);
    self->machine->apply(self->machine->ctx, self->descriptor.id, entry, &result);
    self->applied = entry->index;
    self->timestamp_applied = hlc_larger(self->timestamp_applied, entry->timestamp);
    self->ceiling_committed = hlc_larger(self->ceiling_committed, entry->ceiling);
    ASSERT_IF(entry->timestamp.v != 0, hlc_before(self->closed, entry->timestamp));
    self->closed = hlc_larger(self->closed, entry->closed);
    settle(self, entry, &result);
    if (entry->kind == LOG_ENTRY_COMMAND) { self->written = entry->index; }
    if (entry->kind == LOG_ENTRY_DIGEST) { replica__digest_applied(self, entry); }
}

// Applies everything committed. Entries come from raft's window; right after a restart, from the
// log store.
void replica__apply(struct replica *self) {
    bool moved = false;
    if (self->hollow) { return; }
    while (self->applied < raft_commit_index(self->raft)) {
        uint64_t left = raft_commit_index(self->raft) - self->applied;
        uint32_t count = left < REPLICA_COLLECT_MAX ? (uint32_t)left : REPLICA_COLLECT_MAX;
        uint32_t got = replica__collect(self, self->applied + 1, count);
        if (got == 0) {
            FATAL("shard %llu: a committed entry cannot be read",
                  (unsigned long long)self->descriptor.id.v);
        }
        replica__touch_machine(self->table, self->machine);
        for (uint32_t i = 0; i < got; i++) {
            apply_one(self, &self->table->collect[i]);
        }
        replica__collect_release(self, got);
        moved = true;
    }
    replica__adopt_frontier(self);
    if (!moved) { return; }
    struct raft_event event = {.type = RAFT_EVENT_APPLIED};
    event.u.applied_index = self->applied;
    enum status st = replica__step(self, &event);
    ASSERT(st == STATUS_OK);
}

// After this turn's applies: makes them visible, then tells the proposers. Callbacks may propose
// again; what they add waits for the
// next round of the turn.
void replica__tell_outcomes(struct replica_table *table) {
    for (uint32_t i = 0; i < table->machine_touched_count; i++) {
        table->machines_touched[i]->end(table->machines_touched[i]->ctx);
    }
    table->machine_touched_count = 0;
    uint32_t count = table->outcome_count;
    for (uint32_t i = 0; i < count; i++) {
        struct replica_outcome *outcome = &table->outcomes[i];
        outcome->result.applied.payload.data = table->outcome_bytes.data + outcome->payload_offset;
        outcome->proposal->done(outcome->proposal, &outcome->result);
    }
    ASSERT(table->outcome_count ==
           count);  // only applying adds outcomes, and callbacks never apply
    table->outcome_count = 0;
    buf_reset(&table->outcome_bytes);
}
