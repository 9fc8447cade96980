// SPDX-License-Identifier: Apache-2.0
// replica_open.c - what the log and the state machine hold becomes a replica, or is refused.
//
// The two stores are flushed apart, so a crash leaves them apart; each pair is either one that a
// crash can leave, and then it is mended here, or it is not trusted.
//
// | log | state machine | what happened | what is done |
// |---|---|---|---|
// | last >= applied >= trim | whole | the ordinary case | entries above applied come again |
// | any | hollow | an ingest was broken off | HOLLOW: raft asks for a snapshot |
// | trim > applied | whole, too old | its store was lost, or a removal came to half | HOLLOW |
// | applied is not its entry | base at applied | ingested and flushed, log not begun anew | redo |
// | last < applied | leftovers of a removed incarnation | its removal was not flushed | wiped |
// | empty | hollow, and an incarnation was removed | the same, or an ingest began | wiped |
// | last < applied | whole | the log lost its end | STATUS_CORRUPT |
// | damaged | any | a record is unreadable | DAMAGED: no promise counts before a snapshot |

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"
#include "dataplane/obs/log.h"
#include "dataplane/replica/replica_members.h"
#include "dataplane/replica/replica_snapshot_internal.h"

enum {
    INFLIGHT_MESSAGES_MAX = 256,
    APPEND_SIZE_MAX = 1 << 20,
    CACHE_COUNT_MAX = 8192,
    CACHE_SIZE_MAX = 16 << 20,
};

// What stands in the way of this replica's promises to its earlier self.
struct recovery {
    struct replica *replica;
    struct log_bounds bounds;
    enum raft_health health;
};

// Reads the term of an entry at or above the trim point; 0 = it cannot be read.
static uint64_t term_of(const struct recovery *self, uint64_t index) {
    if (index == self->bounds.trim_index) { return self->bounds.trim_term; }
    const struct log_store *log = self->replica->table->config.log;
    struct log_entry entry = {0};
    uint32_t count = 0;
    enum status st = log->read(log->ctx, self->replica->descriptor.id, index, index + 1, 1,
                               UINT64_MAX, &entry, &count);
    if (st != STATUS_OK || count != 1) { return 0; }
    uint64_t term = entry.term;
    log_entry_unref(&entry);
    return term;
}

// The log begins anew after the base, as it was to when the crash came. The snapshot is durable, so
// nobody need wait for this write.
static void redo_base(struct recovery *self, const struct replica_snapshot_header *base) {
    MARK("replica.open.base_redone");
    struct replica *replica = self->replica;
    struct log_bounds *bounds = &self->bounds;
    struct log_base from = {.index = base->index,
                            .term = base->index_term,
                            .ceiling = base->ceiling,
                            .timestamp = base->timestamp,
                            .membership = base->membership};
    struct log_hard_state hard = bounds->hard_state;
    if (hard.term < base->index_term) {
        hard.term = base->index_term;
        hard.vote = (struct node_id){0};
    }
    hard.commit = base->index;
    hard.incarnation = replica->incarnation;
    replica->sequence_base++;
    replica->sequence_submitted = replica->sequence_base;
    struct log_write write = {.shard = replica->descriptor.id,
                              .sequence = replica->sequence_base,
                              .base = &from,
                              .hard_state = &hard};
    replica->table->config.log->submit(replica->table->config.log->ctx, &write, 1);
    *bounds = (struct log_bounds){.hard_state = hard,
                                  .trim_index = base->index,
                                  .trim_term = base->index_term,
                                  .last_index = base->index,
                                  .base_ceiling = base->ceiling,
                                  .base_timestamp = base->timestamp,
                                  .removed_incarnation = bounds->removed_incarnation};
}

static enum status recover_base(struct recovery *self) {
    struct replica *replica = self->replica;
    struct replica_table *table = replica->table;
    buf_reset(&table->chunk);
    replica->machine->base(replica->machine->ctx, replica->descriptor.id, &table->chunk);
    if (table->chunk.size == 0) { return STATUS_OK; }
    struct replica_snapshot_header base;
    enum status st = replica__base_decode(buf_slice(&table->chunk), &base);
    if (st != STATUS_OK) { return st; }
    if (base.index > replica->applied) { return STATUS_CORRUPT; }
    replica->ceiling_log = base.ceiling;
    replica->timestamp_log = base.timestamp;
    replica->closed = base.closed;
    replica->ceiling_committed = base.committed;
    replica->timestamp_applied = base.timestamp;
    bool differs = replica->applied > self->bounds.last_index ||
                   (replica->applied >= self->bounds.trim_index &&
                    term_of(self, replica->applied) != base.index_term);
    // Entries beyond the base in a log with a gap may be acknowledged ones: not to be dropped.
    bool beyond = self->bounds.damaged_from != 0 && base.index < self->bounds.last_index;
    if (base.index == replica->applied && differs && !beyond) { redo_base(self, &base); }
    return STATUS_OK;
}

static void make_hollow(struct recovery *self) {
    struct replica *replica = self->replica;
    replica->machine->ingest_begin(replica->machine->ctx, replica->descriptor.id);
    replica->applied = 0;
    self->health = RAFT_HOLLOW;
}

static void wipe(struct recovery *self) {
    struct replica *replica = self->replica;
    MARK("replica.open.leftovers");
    replica->machine->remove(replica->machine->ctx, replica->descriptor.id);
    replica->applied = 0;
}

static enum status recover_state(struct recovery *self) {
    struct replica *replica = self->replica;
    const struct state_machine *machine = replica->machine;
    const struct shard_id shard = replica->descriptor.id;
    const bool empty = self->bounds.last_index == 0;
    const bool fresh = empty && self->bounds.hard_state.term == 0;
    const bool lived = self->bounds.removed_incarnation != 0;
    ASSERT(machine->hollow != NULL && machine->base != NULL);
    if (machine->hollow(machine->ctx, shard)) { self->health = RAFT_HOLLOW; }
    if (self->health == RAFT_WHOLE) { replica->applied = machine->applied(machine->ctx, shard); }
    // Half a state is worth nothing, whosever it was; one that holds no entry begins empty, also
    // when it has heard of a term.
    const bool half = empty && self->health != RAFT_WHOLE;
    if (lived && (half || (fresh && replica->applied > 0))) {
        self->health = RAFT_WHOLE;
        wipe(self);
    }
    if (self->health == RAFT_WHOLE && replica->applied > 0) {
        enum status st = recover_base(self);
        if (st != STATUS_OK) { return st; }
        if (replica->applied > self->bounds.last_index && lived) { wipe(self); }
    }
    if (self->health == RAFT_WHOLE && replica->applied < self->bounds.trim_index) {
        MARK("replica.open.state_lost");
        make_hollow(self);
    }
    if (self->bounds.damaged_from != 0) { self->health = RAFT_DAMAGED; }
    if (self->health == RAFT_WHOLE) { return STATUS_OK; }
    LOG_WARN("replica.open.not_whole", LOG_U64("shard", shard.v),
             LOG_BOOL("damaged", self->health == RAFT_DAMAGED),
             LOG_U64("damaged_from", self->bounds.damaged_from));
    replica->hollow = true;
    replica->applied = 0;
    return STATUS_OK;
}

// Ceilings and timestamps never fall along a log, so its last entry holds the largest of each;
// trimming always keeps the last entry, and a log that holds none has them in its base.
static enum status recover_ceiling(struct recovery *self) {
    struct replica *replica = self->replica;
    const struct log_bounds *bounds = &self->bounds;
    replica->ceiling_log = hlc_larger(replica->ceiling_log, bounds->base_ceiling);
    replica->timestamp_log = hlc_larger(replica->timestamp_log, bounds->base_timestamp);
    if (bounds->last_index == bounds->trim_index) { return STATUS_OK; }
    struct log_entry last = {0};
    uint32_t count = 0;
    const struct log_store *log = replica->table->config.log;
    enum status st = log->read(log->ctx, replica->descriptor.id, bounds->last_index,
                               bounds->last_index + 1, 1, UINT64_MAX, &last, &count);
    // A damaged replica leads nothing before a snapshot has brought a ceiling above all of these.
    if (st != STATUS_OK) { return self->health == RAFT_DAMAGED ? STATUS_OK : STATUS_CORRUPT; }
    ASSERT(count == 1);
    replica->ceiling_log = hlc_larger(replica->ceiling_log, last.ceiling);
    // earlier ones lie below ceiling_log, where a new leader's clock starts
    replica->timestamp_log = hlc_larger(replica->timestamp_log, last.timestamp);
    log_entry_unref(&last);
    return STATUS_OK;
}

// --- memberships

// A shard whose log names no membership is in its first one, which the descriptor names as long as
// there has been no other. A replica that does not know it joins none: it follows and stores until
// the log has told it.
static void first_membership(const struct replica *self, struct raft_config_entry *out) {
    *out = (struct raft_config_entry){.index = 0};
    if (self->descriptor.config_epoch == 1) {
        replica_members_of(&self->descriptor, &out->membership);
    }
}

// What was in force before the first change that the log names, when that is the second membership
// there is: the one that the descriptor names. A leader that did not know it could commit the
// change only with the voters of both, and send no snapshot to one of them that needs it first.
static uint32_t before_first_change(const struct replica *self, struct raft_config_entry *out,
                                    uint32_t count) {
    enum { SECOND = 2 };
    struct raft_config_entry first;
    first_membership(self, &first);
    bool told = first.membership.count > 0 && out[0].membership.config_epoch == SECOND;
    if (!told || out[0].index == 0 || count == LOG_MEMBERSHIPS_MAX) { return count; }
    for (uint32_t i = count; i > 0; i--) {
        out[i] = out[i - 1];
    }
    out[0] = first;
    return count + 1;
}

static enum status recover_memberships(const struct recovery *self, struct raft_config_entry *out,
                                       uint32_t *out_count) {
    struct log_membership found[LOG_MEMBERSHIPS_MAX];
    uint32_t count = 0;
    const struct log_store *log = self->replica->table->config.log;
    enum status st = log->memberships(log->ctx, self->replica->descriptor.id, found, &count);
    if (st != STATUS_OK) { return st; }
    for (uint32_t i = 0; i < count; i++) {
        struct codec_reader r;
        codec_reader_init(&r, found[i].encoded);
        out[i].index = found[i].index;
        if (raft_membership_decode(&r, &out[i].membership) != STATUS_OK ||
            codec_finish(&r) != STATUS_OK) {
            st = STATUS_CORRUPT;
        }
        bytes_unref(found[i].owner);
    }
    if (st != STATUS_OK) { return st; }
    if (count == 0) {
        first_membership(self->replica, &out[0]);
        count = 1;
    } else {
        count = before_first_change(self->replica, out, count);
    }
    *out_count = count;
    return STATUS_OK;
}

static enum status create_core(const struct recovery *self) {
    struct replica *replica = self->replica;
    const struct replica_table_config *config = &replica->table->config;
    struct raft_config_entry configs[LOG_MEMBERSHIPS_MAX];
    uint32_t config_count = 0;
    enum status st = recover_memberships(self, configs, &config_count);
    if (st != STATUS_OK) { return st; }
    struct raft_config raft = {
        .shard = replica->descriptor.id,
        .self = config->self,
        .incarnation = replica->incarnation,
        .health = self->health,
        .configs = configs,
        .config_count = config_count,
        .support = config->support,
        .log = config->log,
        .bounds = self->bounds,
        .applied = replica->hollow ? self->bounds.trim_index : replica->applied,
        .election_ns_min = config->election_ns_min,
        .resend_ns = config->resend_ns,
        .inflight_messages_max = INFLIGHT_MESSAGES_MAX,
        .append_size_max = config->append_size_max > 0 ? config->append_size_max : APPEND_SIZE_MAX,
        .cache_count_max = CACHE_COUNT_MAX,
        .cache_size_max = CACHE_SIZE_MAX,
    };
    return raft_create(&raft, replica__now(replica), env_random(config->env), &replica->raft);
}

enum status replica__recover(struct replica *self, const struct log_bounds *bounds) {
    struct recovery recovery = {.replica = self, .bounds = *bounds, .health = RAFT_WHOLE};
    enum status st = recover_state(&recovery);
    if (st == STATUS_OK) { st = recover_ceiling(&recovery); }
    if (st != STATUS_OK) { return st; }
    hlc_adopt(self->table->config.hlc, self->closed);
    self->trim = recovery.bounds.trim_index;
    self->trim_term = recovery.bounds.trim_term;
    self->digest_floor = recovery.bounds.hard_state.commit;
    return create_core(&recovery);
}

// --- opening by need

struct replica *replica__wanted(struct replica_table *table, struct shard_id shard,
                                uint64_t incarnation) {
    struct replica *replica = replica_table_find(table, shard);
    if (table->config.wanted == NULL || incarnation == 0) { return replica; }
    if (replica != NULL && replica->incarnation >= incarnation) { return replica; }
    struct log_bounds bounds = {0};
    const struct log_store *log = table->config.log;
    if (log->bounds(log->ctx, shard, &bounds) != STATUS_OK) { return replica; }
    if (incarnation <= bounds.removed_incarnation && !MUTANT(TOMBSTONE_IGNORED)) {
        MARK("replica.open.tombstone");
        return replica;
    }
    const struct shard_descriptor *at = table->config.wanted(table->config.ctx, shard, incarnation);
    if (at == NULL) { return replica; }
    ASSERT(shard_id_equal(at->id, shard));
    if (replica != NULL) {
        MARK("replica.open.newer_incarnation");
        enum status removed = replica_table_remove(table, shard);
        ASSERT(removed == STATUS_OK);
    }
    enum status st = replica_table_open_as(table, at, incarnation, false);
    if (st != STATUS_OK) {
        LOG_ERROR("replica.open.failed", LOG_U64("shard", shard.v),
                  LOG_U64("incarnation", incarnation), LOG_STATUS("status", st));
    }
    return replica_table_find(table, shard);
}
