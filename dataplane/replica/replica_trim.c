// SPDX-License-Identifier: Apache-2.0
// replica_trim.c - which entries of a log may go: those that a flush covers and that nobody is to
// be sent any more.
//
// A replica that lags is served from the log as long as it lacks at most trim_lag_max entries,
// whether it is there or away: a restart of some seconds must not cost a copy of the shard. Whoever
// is further behind gets a snapshot, which bounds the log whatever a peer does. Rejected: to trim
// at once past a peer that is away; every short absence would end in a transfer of everything.

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "dataplane/replica/replica_snapshot_internal.h"

uint64_t replica__term_at(const struct replica *self, uint64_t index) {
    if (index == self->trim) { return self->trim_term; }
    const struct log_entry *cached = raft_entry(self->raft, index);
    if (cached != NULL) { return cached->term; }
    struct log_entry entry = {0};
    uint32_t count = 0;
    const struct log_store *log = self->table->config.log;
    enum status st =
        log->read(log->ctx, self->descriptor.id, index, index + 1, 1, UINT64_MAX, &entry, &count);
    if (st != STATUS_OK || count != 1) { return 0; }
    uint64_t term = entry.term;
    log_entry_unref(&entry);
    return term;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

// A receiver goes on by the log where its snapshot ends.
static uint64_t bound_by_snapshots(const struct replica *self, uint64_t safe) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        const struct replica_outgoing *out = &self->table->outgoing[i];
        if (out->replica == self) { safe = smaller(safe, out->header.index); }
    }
    return safe;
}

uint64_t replica__trim_safe(const struct replica *self) {
    ASSERT(raft_is_leader(self->raft));
    uint64_t lag_max = self->table->config.trim_lag_max;
    if (lag_max == 0) { lag_max = REPLICA_TRIM_LAG_MAX; }
    const uint64_t durable = raft_durable_index(self->raft);
    const uint64_t lag_floor = durable > lag_max ? durable - lag_max : 0;
    uint64_t safe = durable;
    const struct raft_membership *members = raft_members(self->raft);
    for (uint32_t i = 0; i < members->count; i++) {
        // 0 also before a new leader has heard of it: then the floor decides
        uint64_t match = raft_match_index(self->raft, members->members[i].node);
        if (match < lag_floor) { MARK("replica.trim.past_a_peer"); }
        safe = smaller(safe, match < lag_floor ? lag_floor : match);
    }
    return bound_by_snapshots(self, safe);
}

void replica_table_trim(struct replica_table *self, struct shard_id shard, uint64_t flushed) {
    struct replica *replica = replica_table_find(self, shard);
    if (replica == NULL || replica->hollow) { return; }
    if (MUTANT(TRIM_UNFLUSHED)) { flushed = replica->applied; }
    bool leads = raft_is_leader(replica->raft);
    uint64_t safe = leads ? replica__trim_safe(replica) : replica->trim_safe;
    uint64_t index = smaller(smaller(flushed, replica->applied), safe);
    uint64_t last = raft_last_index(replica->raft);
    if (index >= last) { index = last > 0 ? last - 1 : 0; }  // the last entry carries the ceiling
    if (index <= replica->trim) { return; }
    ASSERT(index <= replica->applied);
    uint64_t term = replica__term_at(replica, index);
    if (term == 0) { return; }
    self->config.log->trim(self->config.log->ctx, shard, index, term);
    raft_trimmed(replica->raft, index, term);
    replica->trim = index;
    replica->trim_term = term;
}

// --- flushes

bool replica_table_flush_begin(struct replica_table *self) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        struct replica *replica = self->replicas[i];
        replica->flush_applied = replica->applied;
        sum += replica->applied;
    }
    bool worthwhile = sum != self->flush_sum || replica_table_flush_wanted(self);
    self->flush_sum = sum;
    replica__snapshots_flush_begin(self);
    return worthwhile;
}

void replica_table_flush_done(struct replica_table *self, bool flushed) {
    replica__snapshots_flush_done(self, flushed);
    for (uint32_t i = 0; flushed && i < self->count; i++) {
        struct replica *replica = self->replicas[i];
        replica_table_trim(self, replica->descriptor.id, replica->flush_applied);
    }
    if (!flushed) { self->flush_sum = 0; }
}
