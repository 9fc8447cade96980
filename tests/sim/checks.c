// SPDX-License-Identifier: Apache-2.0
// Each replica's log is walked as far as it is applied and held against what was applied first at
// that place anywhere: this one comparison finds lost and forked history of every kind. A replica
// that comes back after a crash is walked again from where its log begins.
#include "tests/sim/checks.h"

#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "tests/sim/damage.h"
#include "tests/sim/disk/sim_engine.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WALK_MAX = 256, CHECK_ONE_OF = 16, CLOCK_AHEAD_US_MAX = 8000000 };

void sim_checks_init(struct sim_checks *self, struct sim_world *world) {
    *self = (struct sim_checks){.world = world};
}

void sim_checks_deinit(struct sim_checks *self) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        mem_free(self->shards[i].entries);
    }
}

static struct sim_shard_record *record_of(struct sim_checks *self, struct shard_id id) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        if (shard_id_equal(self->shards[i].id, id)) { return &self->shards[i]; }
    }
    if (self->shard_count == SIM_CHECK_SHARDS_MAX) {
        sim_fail(self->world, "more shards than were created: %" PRIu64, id.v);
        return &self->shards[0];
    }
    struct sim_shard_record *record = &self->shards[self->shard_count++];
    record->id = id;
    return record;
}

void sim_checks_boot(struct sim_checks *self, struct sim_node *node) {
    node->last_hlc = 0;
    for (uint32_t i = 0; i < self->shard_count; i++) {
        self->shards[i].open[node->position] = false;
        self->shards[i].back[node->position] = true;
        self->shards[i].walked[node->position] = 0;
        self->shards[i].commits[node->position] = 0;
        self->shards[i].terms[node->position] = 0;
        self->shards[i].marks[node->position] = 0;
    }
}

static void note_whole(void *ctx, struct replica *replica) {
    struct sim_checks *self = ctx;
    struct sim_shard_record *record = record_of(self, replica_shard(replica));
    struct replica_frontiers f;
    replica_frontiers(replica, &f);
    record->whole[self->node->position] = f.health == RAFT_WHOLE;
}

void sim_checks_crash(struct sim_checks *self, struct sim_node *node) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        self->shards[i].whole[node->position] = false;
    }
    self->node = node;
    if (node->core != NULL) { replica_table_each(node_core_table(node->core), note_whole, self); }
}

static void note_removal(struct sim_checks *self, struct sim_shard_record *record) {
    uint32_t position = self->node->position;
    struct sim_removal *removals = record->removals[position];
    uint32_t *count = &record->removal_count[position];
    SIM_NOTE(self->world, self->node, SIM_TRACE_ROLE, "removed", record->id.v,
             record->incarnations[position], 0);
    if (*count == SIM_REMOVALS_MAX) {  // the oldest is durable by now, or the check is too strict
        memmove(removals, removals + 1, (SIM_REMOVALS_MAX - 1) * sizeof(*removals));
        *count -= 1;
    }
    removals[(*count)++] = (struct sim_removal){record->removed[position],
                                                sim_engine_sequence(self->node->log_engine)};
    record->removed[position] = record->incarnations[position];
    self->removals++;
}

// Removals that never became durable may be undone by a crash: the replica is back, with its log,
// and what had taken its place in memory alone is not. The log store writes in order: whatever a
// successor made durable, the tombstone before it is durable too.
void sim_checks_lost(struct sim_checks *self, struct sim_node *node, uint64_t kept) {
    uint32_t position = node->position;
    for (uint32_t i = 0; i < self->shard_count; i++) {
        struct sim_shard_record *record = &self->shards[i];
        const struct sim_removal *removals = record->removals[position];
        uint32_t *count = &record->removal_count[position];
        while (*count > 0 && removals[*count - 1].gone_at >= kept) {
            *count -= 1;
            record->removed[position] = removals[*count].before;
            record->incarnations[position] = 0;
        }
    }
}

void sim_checks_replaced(struct sim_checks *self, struct sim_node *node) {
    sim_checks_boot(self, node);
    for (uint32_t i = 0; i < self->shard_count; i++) {
        self->shards[i].incarnations[node->position] = 0;
        self->shards[i].removed[node->position] = 0;
        self->shards[i].removal_count[node->position] = 0;
    }
}

void sim_checks_sent(struct sim_checks *self, const struct sim_node *node, struct shard_id shard,
                     uint64_t incarnation) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        const struct sim_shard_record *record = &self->shards[i];
        if (!shard_id_equal(record->id, shard)) { continue; }
        if (incarnation > record->removed[node->position]) { return; }
        sim_fail(self->world,
                 "shard %" PRIu64 ": node %u speaks as incarnation %" PRIu64 ", which was removed",
                 shard.v, node->id.v, incarnation);
    }
}

// --- Log matching, and the frontiers along the log ---

static void first_applied(struct sim_checks *self, struct sim_shard_record *record,
                          const struct log_entry *entry) {
    bool writes = entry->timestamp.v != 0;
    if (writes && !hlc_before(record->closed, entry->timestamp)) {
        sim_fail(self->world,
                 "shard %" PRIu64 ": entry %" PRIu64 " commits at %" PRIu64 ", but %" PRIu64
                 " was closed before",
                 record->id.v, entry->index, entry->timestamp.v, record->closed.v);
    }
    // A new leader may know less of closed than entries it inherited say: no order among those.
    const char *wrong = NULL;
    if (writes && !hlc_before(record->timestamp, entry->timestamp)) { wrong = "timestamp falls"; }
    if (hlc_before(entry->ceiling, record->entry_ceiling)) { wrong = "ceiling falls"; }
    if (writes && !hlc_before(entry->closed, entry->timestamp)) { wrong = "closed is above it"; }
    if (hlc_before(entry->ceiling, entry->timestamp)) { wrong = "ceiling is below it"; }
    if (wrong != NULL) {
        sim_fail(self->world, "shard %" PRIu64 ", entry %" PRIu64 ": %s", record->id.v,
                 entry->index, wrong);
    }
    record->timestamp = hlc_larger(record->timestamp, entry->timestamp);
    record->entry_ceiling = entry->ceiling;
    if (record->count == record->capacity) {
        record->capacity = record->capacity == 0 ? 256 : 2 * record->capacity;
        record->entries = mem_realloc(record->entries, record->capacity * sizeof(*record->entries));
    }
    record->entries[record->count++] =
        (struct sim_committed){entry->term, hash64(entry->record, 0)};
}

static void compare(struct sim_checks *self, struct sim_shard_record *record,
                    const struct log_entry *entry) {
    self->applied++;
    if (entry->index == record->count + 1) {
        SIM_NOTE(self->world, self->node, SIM_TRACE_APPLY, "first", record->id.v, entry->index,
                 entry->timestamp.v);
        first_applied(self, record, entry);
        return;
    }
    if (entry->index > record->count) {
        sim_fail(self->world,
                 "shard %" PRIu64 ": node %u applied entry %" PRIu64 ", the one before nobody did",
                 record->id.v, self->node->id.v, entry->index);
        return;
    }
    const struct sim_committed *first = &record->entries[entry->index - 1];
    if (first->term != entry->term || first->hash != hash64(entry->record, 0)) {
        sim_fail(self->world,
                 "shard %" PRIu64 ": node %u applied another entry %" PRIu64 ", of term %" PRIu64
                 ", than was applied first, of term %" PRIu64,
                 record->id.v, self->node->id.v, entry->index, entry->term, first->term);
    }
}

static void walk(struct sim_checks *self, struct sim_shard_record *record,
                 const struct replica_frontiers *f) {
    uint64_t *walked = &record->walked[self->node->position];
    if (*walked < f->trim) { *walked = f->trim; }
    const struct log_store *log = raftlog_store(self->node->log);
    while (*walked < f->applied && !self->world->failed) {
        struct log_entry entries[WALK_MAX];
        uint32_t count = 0;
        enum status st = log->read(log->ctx, record->id, *walked + 1, f->applied + 1, WALK_MAX,
                                   UINT64_MAX, entries, &count);
        if (st != STATUS_OK || count == 0) {
            sim_fail(self->world,
                     "shard %" PRIu64 ": node %u applied entry %" PRIu64 " and cannot read it: %s",
                     record->id.v, self->node->id.v, *walked + 1, status_name(st));
            return;
        }
        for (uint32_t i = 0; i < count; i++) {
            compare(self, record, &entries[i]);
            log_entry_unref(&entries[i]);
        }
        *walked += count;
    }
}

// --- Leaders and digests ---

static void check_leader(struct sim_checks *self, struct sim_shard_record *record,
                         const struct replica_frontiers *f) {
    uint32_t position = self->node->position;
    if (f->term < record->terms[position]) {
        sim_fail(self->world, "shard %" PRIu64 ": the term of node %u falls", record->id.v,
                 self->node->id.v);
    }
    record->terms[position] = f->term;
    if (f->role != RAFT_LEADER || f->term >= SIM_TERMS_MAX) { return; }
    struct sim_leader *leader = &record->leaders[f->term];
    bool same = leader->node == self->node->id.v && leader->incarnation == f->incarnation;
    if (same) { return; }
    if (leader->node != 0) {
        sim_fail(self->world,
                 "shard %" PRIu64 ": nodes %u and %u both lead term %" PRIu64
                 ", as incarnations %" PRIu64 " and %" PRIu64,
                 record->id.v, leader->node, self->node->id.v, f->term, leader->incarnation,
                 f->incarnation);
    }
    *leader = (struct sim_leader){self->node->id.v, f->incarnation};
    record->leader_changes++;
    sim_storm_leads(&self->world->storm, self->node, record->id);
    SIM_NOTE(self->world, self->node, SIM_TRACE_ROLE, "leads", record->id.v, f->term, f->last);
}

// What two nodes hold at one applied index must be the same.
static void compare_digest(struct sim_checks *self, struct sim_shard_record *record,
                           uint64_t applied, uint64_t digest) {
    struct sim_digest *slot = &record->digests[hash64_u64(applied) % SIM_DIGESTS_MAX];
    if (slot->applied == applied) {
        self->digests++;
        if (slot->digest != digest) {
            sim_fail(self->world,
                     "shard %" PRIu64 ": node %u holds other data at index %" PRIu64
                     " than another node",
                     record->id.v, self->node->id.v, applied);
        }
    }
    *slot = (struct sim_digest){applied, digest};
}

// What is kept by transaction, as txn/apply lays it out. Nodes drop what is old each in its own
// time: where anything gets so old, only the product's own digest, which skips it, can tell.
static uint64_t outcomes_sum(const struct engine *engine, struct shard_id shard) {
    enum { OUTCOME = 0x11, KEY_SIZE = 1 + sizeof(uint64_t) };
    uint8_t from[KEY_SIZE] = {OUTCOME};
    uint8_t to[KEY_SIZE] = {OUTCOME};
    for (unsigned i = 0; i < sizeof(uint64_t); i++) {
        from[1 + i] = (uint8_t)(shard.v >> 8 * (sizeof(uint64_t) - 1 - i));
        to[1 + i] = (uint8_t)((shard.v + 1) >> 8 * (sizeof(uint64_t) - 1 - i));
    }
    return sim_engine_digest_range(engine, ENGINE_LOCAL, slice_make(from, KEY_SIZE),
                                   slice_make(to, KEY_SIZE));
}

// The store's own running sum: cheap enough for every entry.
static void check_sum(struct sim_checks *self, struct sim_shard_record *record,
                      const struct replica *replica, uint64_t applied) {
    const struct shard_descriptor *shard = replica_descriptor(replica);
    uint8_t low[MVCC_KEY_SIZE_MAX];
    uint8_t high[MVCC_KEY_SIZE_MAX];
    const struct slice end = bytes_slice(shard->end);
    const struct slice from =
        slice_make(low, mvcc_key_encode(bytes_slice(shard->start), HLC_MAX, low));
    const struct slice to =
        end.size > 0 ? slice_make(high, mvcc_key_encode(end, HLC_MAX, high)) : SLICE_EMPTY;
    const uint64_t versions =
        sim_engine_digest_range(self->node->data_engine, ENGINE_VERSION, from, to);
    const bool drops = self->world->plan.kept_us != 0;
    const uint64_t outcomes = drops ? 0 : outcomes_sum(self->node->data_engine, record->id);
    compare_digest(self, record, applied, versions + outcomes);
}

// Nothing in the simulator spoils a state unseen, so what replicas tell each other of one index is
// the same, whatever was written while they walked.
static void check_report(struct sim_checks *self, struct sim_shard_record *record,
                         const struct replica_frontiers *f) {
    uint64_t *seen = &record->reported[self->node->position];
    if (f->digest_index == 0 || f->digest_index == *seen) { return; }
    *seen = f->digest_index;
    struct sim_digest *slot = &record->reports[hash64_u64(f->digest_index) % SIM_REPORTS_MAX];
    if (slot->applied == f->digest_index && slot->digest != f->digest) {
        sim_fail(self->world,
                 "shard %" PRIu64 ": node %u reports another digest of index %" PRIu64
                 " than another node",
                 record->id.v, self->node->id.v, f->digest_index);
    }
    self->digests += slot->applied == f->digest_index;
    *slot = (struct sim_digest){f->digest_index, f->digest};
}

// As the product digests a shard, by reading all of it.
static void check_digest(struct sim_checks *self, const struct replica *replica,
                         uint64_t *io_digest) {
    const struct shard_descriptor *shard = replica_descriptor(replica);
    uint64_t digest = 0;
    enum status st = apply_digest(node_core_apply(self->node->core), bytes_slice(shard->start),
                                  bytes_slice(shard->end), &digest);
    if (st != STATUS_OK) {
        sim_fail(self->world, "shard %" PRIu64 ": node %u cannot be digested", shard->id.v,
                 self->node->id.v);
    } else if (*io_digest != 0 && *io_digest != digest) {
        sim_fail(self->world, "shard %" PRIu64 ": node %u ends with other data than another node",
                 shard->id.v, self->node->id.v);
    }
    self->digests++;
    *io_digest = digest;
}

// --- Entry points ---

// A later incarnation is another replica; an earlier one must never come back.
static void check_identity(struct sim_checks *self, struct sim_shard_record *record,
                           const struct replica_frontiers *f) {
    uint32_t position = self->node->position;
    uint64_t known = record->incarnations[position];
    if (f->incarnation == known) { return; }
    if (f->incarnation < known || f->incarnation <= record->removed[position]) {
        sim_fail(self->world,
                 "shard %" PRIu64 ": incarnation %" PRIu64 " is back on node %u after %" PRIu64,
                 record->id.v, f->incarnation, self->node->id.v, known);
    }
    if (known != 0) { note_removal(self, record); }
    record->incarnations[position] = f->incarnation;
    record->whole[position] = false;
    record->walked[position] = 0;
    record->commits[position] = 0;
    record->terms[position] = 0;
}

// What was here a turn ago and is not any more was removed for good.
static void check_gone(struct sim_checks *self) {
    uint32_t position = self->node->position;
    for (uint32_t i = 0; i < self->shard_count; i++) {
        struct sim_shard_record *record = &self->shards[i];
        if (!record->seen[position] && record->open[position]) {
            note_removal(self, record);
            record->incarnations[position] = 0;
        }
        record->open[position] = record->seen[position];
        record->seen[position] = false;
    }
}

// Only damage, or a comparison of digests, costs a whole replica its state; a crash does not.
static void check_whole(struct sim_checks *self, struct sim_shard_record *record,
                        const struct replica_frontiers *f) {
    uint32_t position = self->node->position;
    if (record->back[position] && record->whole[position] && f->health == RAFT_HOLLOW &&
        !self->node->damaged) {
        sim_fail(self->world,
                 "shard %" PRIu64 ": node %u was whole before its crash, and has lost its state",
                 record->id.v, self->node->id.v);
    }
    record->back[position] = false;
}

static void look_back(void *ctx, struct replica *replica) {
    struct sim_checks *self = ctx;
    struct sim_shard_record *record = record_of(self, replica_shard(replica));
    if (!record->back[self->node->position]) { return; }
    struct replica_frontiers f;
    replica_frontiers(replica, &f);
    check_whole(self, record, &f);
}

// The first message may already begin a snapshot, which takes the place of a state that is whole.
void sim_checks_back(struct sim_checks *self, struct sim_node *node) {
    self->node = node;
    bool any = false;
    for (uint32_t i = 0; i < self->shard_count; i++) {
        any = any || self->shards[i].back[node->position];
    }
    if (any) { replica_table_each(node_core_table(node->core), look_back, self); }
}

static void look(void *ctx, struct replica *replica) {
    struct sim_checks *self = ctx;
    struct sim_shard_record *record = record_of(self, replica_shard(replica));
    const uint64_t mark = replica_mark(replica);
    record->seen[self->node->position] = true;
    if (mark == record->marks[self->node->position] && !record->back[self->node->position]) {
        return;
    }
    record->marks[self->node->position] = mark;
    struct replica_frontiers f;
    replica_frontiers(replica, &f);
    check_identity(self, record, &f);
    check_whole(self, record, &f);
    check_leader(self, record, &f);
    check_report(self, record, &f);
    record->hollow[self->node->position] = f.health == RAFT_HOLLOW;
    uint64_t *commit = &record->commits[self->node->position];
    if (f.commit < *commit && f.health == RAFT_WHOLE) {
        sim_fail(self->world, "shard %" PRIu64 ": the commit index of node %u falls", record->id.v,
                 self->node->id.v);
    }
    *commit = f.commit;
    const uint64_t sum = f.term + f.last + f.durable + f.commit + f.applied + (uint64_t)f.role;
    self->moved = self->moved || sum != record->sums[self->node->position];
    record->sums[self->node->position] = sum;
    // A replica that is not whole applies nothing, and its state is that of no index.
    if (f.health != RAFT_WHOLE) { return; }
    bool moved = record->walked[self->node->position] != f.applied;
    walk(self, record, &f);
    bool catalog = shard_id_equal(record->id, SHARD_CATALOG);
    if (moved && !catalog) { check_sum(self, record, replica, f.applied); }
    // Published from now on: nothing more may commit at or below it.
    record->closed = hlc_larger(record->closed, f.closed);
}

static bool disk_hangs(const struct sim_checks *self, const struct sim_node *node) {
    return node->group != NULL &&
           self->world->now_ns - node->sync_begun_ns > 5 * self->world->plan.disk_slow_ns;
}

static bool may_vote(const struct sim_checks *self, struct node_id id) {
    const struct sim_node *node = sim_world_node(self->world, id);
    return node != NULL && node->up && !disk_hangs(self, node);
}

// Whether another could be elected: votes, too, have to become durable.
static bool has_others(const struct sim_checks *self, const struct raft_membership *members) {
    uint32_t voters = 0;
    uint32_t able = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->members[i].role != RAFT_VOTER && !members->members[i].outgoing) { continue; }
        voters++;
        able += may_vote(self, members->members[i].node) ? 1 : 0;
    }
    return 2 * able > voters;
}

// A node whose disk hangs gives its leaderships away, or loses them with the support it no longer
// asks for (time.md, Leases). The time in which it slept does not count, nor that in which nobody
// else could have led.
static void check_disk(struct sim_checks *self, struct sim_node *node) {
    const struct sim_plan *plan = &self->world->plan;
    const uint64_t now = self->world->now_ns;
    const bool hangs = disk_hangs(self, node);
    if (!hangs) { node->sick_ns = 0; }
    if (hangs && (node->sick_ns == 0 || node->sick_ns < node->paused_until_ns)) {
        node->sick_ns = now;
    }
    if (!hangs) { return; }
    const bool long_enough = now - node->sick_ns >= 4 * plan->support_ns + UINT64_C(1000000000);
    for (uint32_t i = 0; i < self->shard_count; i++) {
        const struct replica *replica =
            replica_table_find(node_core_table(node->core), self->shards[i].id);
        if (replica == NULL || !replica_is_leader(replica)) { continue; }
        if (!has_others(self, replica_members(replica))) {
            node->sick_ns = now;
            return;
        }
        if (long_enough) {
            sim_fail(self->world, "node %u leads shard %llu while its disk hangs", node->id.v,
                     (unsigned long long)self->shards[i].id.v);
        }
    }
}

// Clocks follow others, and what clients bring, by no more than the permitted lead, and start a
// little ahead of it. A node whose wall clock was set back goes on by the old one until a majority
// says which is right: what counts is how far any wall clock ever was ahead of the world's time,
// and how fast the monotonic clocks run that carry it on.
static void check_clock(struct sim_checks *self, struct sim_node *node) {
    const struct hlc_ts hlc = node_core_hlc(node->core)->last;
    if (hlc.v < node->last_hlc) { sim_fail(self->world, "node %u: its HLC falls", node->id.v); }
    node->last_hlc = hlc.v;
    const uint64_t now_us = self->world->now_ns / 1000;
    const uint64_t lead_us = sim_node_wall_us(node) - now_us;  // walls are of our years
    if (lead_us > self->wall_lead_us) { self->wall_lead_us = lead_us; }
    const uint64_t limit_us =
        now_us + self->wall_lead_us + now_us / 1000 * self->world->plan.rate_ppm / 1000;
    const uint64_t ahead_us = hlc_wall_us(hlc) > limit_us ? hlc_wall_us(hlc) - limit_us : 0;
    if (ahead_us <= CLOCK_AHEAD_US_MAX) { return; }
    sim_fail(self->world, "node %u: its HLC is %" PRIu64 " us ahead of all wall clocks", node->id.v,
             ahead_us);
}

void sim_checks_turn(struct sim_checks *self, struct sim_node *node) {
    check_disk(self, node);
    self->node = node;
    self->moved = false;
    replica_table_each(node_core_table(node->core), look, self);
    check_gone(self);
    uint64_t version = catalog_version(node_core_catalog(node->core));
    if (version > self->catalog_version) { self->catalog_version = version; }
    if (self->moved && self->moves++ % CHECK_ONE_OF == 0) {
        replica_table_check(node_core_table(node->core));
    }
    check_clock(self, node);
}

struct convergence {
    struct sim_checks *checks;
    const struct catalog *catalog;  // the newest
    // Where the catalogue cannot be told (find_unreported): what the leader goes by instead.
    const struct raft_membership *unreported[SIM_CHECK_SHARDS_MAX];
    uint64_t applied[SIM_CHECK_SHARDS_MAX];
    uint32_t replicas[SIM_CHECK_SHARDS_MAX];
    bool equal;
};

static const struct replica *leader_of(const struct sim_checks *self, struct shard_id shard,
                                       struct sim_node **out_node) {
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        struct sim_node *node = &self->world->nodes[i];
        if (!node->up) { continue; }
        const struct replica *replica = replica_table_find(node_core_table(node->core), shard);
        if (replica == NULL || !replica_is_leader(replica)) { continue; }
        *out_node = node;
        return replica;
    }
    return NULL;
}

// LIMIT: a node whose clock was hours ahead for a moment is refused as a gateway (CLOCK_AHEAD), and
// with it the reports of the shards that it leads, until the time has come. Their leader's members
// are then held against the replicas, in the place of the catalogue's.
static void find_unreported(struct convergence *self) {
    struct sim_node *told = NULL;
    if (!self->checks->world->plan.clock_hours) { return; }
    if (leader_of(self->checks, SHARD_CATALOG, &told) == NULL) { return; }
    for (uint32_t i = 0; i < self->checks->shard_count; i++) {
        struct sim_node *tells = NULL;
        const struct replica *leader = leader_of(self->checks, self->checks->shards[i].id, &tells);
        if (leader == NULL || tells == told) { continue; }
        struct hlc_clock clock = *node_core_hlc(told->core);
        enum status st =
            hlc_observe(&clock, node_core_hlc(tells->core)->last, sim_node_wall_us(told));
        if (st == STATUS_CLOCK_AHEAD) { self->unreported[i] = replica_members(leader); }
    }
}

static void convergence_init(struct convergence *self, struct sim_checks *checks) {
    *self = (struct convergence){
        .checks = checks, .catalog = sim_newest_catalog(checks->world), .equal = true};
    find_unreported(self);
}

// LIMIT: a replica that was added by a membership which was rolled back stays, and follows nobody,
// until the shard's members change again: its node cannot know that its catalogue is not behind.
static bool is_left_over(const struct convergence *self, const struct replica *replica,
                         const struct replica_frontiers *f) {
    const struct shard_descriptor *at = catalog_shard(self->catalog, replica_shard(replica));
    const struct sim_shard_record *record = record_of(self->checks, replica_shard(replica));
    const struct raft_membership *members = self->unreported[record - self->checks->shards];
    if (members != NULL) {
        const struct raft_member *member = raft_membership_find(members, self->checks->node->id);
        return member == NULL || member->incarnation != f->incarnation;
    }
    return at != NULL && f->incarnation > at->config_epoch &&
           !shard_descriptor_has_node(at, self->checks->node->id);
}

static void compare_applied(void *ctx, struct replica *replica) {
    struct convergence *self = ctx;
    struct sim_shard_record *record = record_of(self->checks, replica_shard(replica));
    struct replica_frontiers f;
    replica_frontiers(replica, &f);
    if (is_left_over(self, replica, &f)) { return; }
    uint64_t *applied = &self->applied[record - self->checks->shards];
    uint32_t before = self->replicas[record - self->checks->shards]++;
    // The first may be one that holds nothing yet: it has nothing in common with the others.
    if (before == 0) { *applied = f.applied; }
    if (f.health != RAFT_WHOLE) { self->equal = false; }
    if (f.applied != *applied || f.applied != f.last) { self->equal = false; }
}

// Each shard is where the newest catalogue places it, and nowhere else; nothing is on its way.
static bool all_placed(const struct convergence *self) {
    for (uint32_t i = 0; i < self->checks->shard_count; i++) {
        const struct raft_membership *members = self->unreported[i];
        if (members != NULL) {
            bool done = members->count == self->replicas[i] && !raft_membership_is_joint(members);
            if (!done) { return false; }
            continue;
        }
        const struct shard_descriptor *at =
            catalog_shard(self->catalog, self->checks->shards[i].id);
        if (at == NULL || at->replica_count != self->replicas[i]) { return false; }
        if (at->target_count > 0 || shard_descriptor_is_joint(at)) { return false; }
    }
    return self->checks->shard_count == catalog_shard_count(self->catalog);
}

bool sim_checks_converged(struct sim_checks *self) {
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        if (!self->world->nodes[i].up) { return false; }
    }
    struct convergence convergence;
    convergence_init(&convergence, self);
    if (convergence.catalog == NULL) { return false; }
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        self->node = &self->world->nodes[i];
        replica_table_each(node_core_table(self->node->core), compare_applied, &convergence);
    }
    return convergence.equal && all_placed(&convergence);
}

static void look_at_digest(void *ctx, struct replica *replica) {
    struct sim_checks *self = ctx;
    struct sim_shard_record *record = record_of(self, replica_shard(replica));
    if (shard_id_equal(record->id, SHARD_CATALOG)) { return; }
    struct replica_frontiers f;
    replica_frontiers(replica, &f);
    struct convergence at_end;
    convergence_init(&at_end, self);
    if (is_left_over(&at_end, replica, &f)) { return; }
    check_digest(self, replica, &record->last_digest);
}

void sim_checks_equality(struct sim_checks *self) {
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        self->node = &self->world->nodes[i];
        replica_table_each(node_core_table(self->node->core), look_at_digest, self);
    }
}

bool sim_checks_is_hollow(const struct sim_checks *self, const struct sim_node *node,
                          struct shard_id shard) {
    for (uint32_t i = 0; i < self->shard_count; i++) {
        if (!shard_id_equal(self->shards[i].id, shard)) { continue; }
        return self->shards[i].hollow[node->position];
    }
    return false;
}

struct sim_node *sim_checks_holder(struct sim_checks *self, struct shard_id shard) {
    struct convergence at_end;
    convergence_init(&at_end, self);
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        self->node = &self->world->nodes[i];
        struct replica *replica = replica_table_find(node_core_table(self->node->core), shard);
        if (replica == NULL) { continue; }
        struct replica_frontiers f;
        replica_frontiers(replica, &f);
        if (!is_left_over(&at_end, replica, &f)) { return self->node; }
    }
    return NULL;
}

static void print_replica(void *ctx, struct replica *replica) {
    const struct sim_checks *self = ctx;
    static const char *const roles[] = {"follower", "precandidate", "candidate", "leader"};
    struct replica_frontiers f;
    replica_frontiers(replica, &f);
    (void)printf(
        "n%u shard %" PRIu64 " %-12s term %" PRIu64 " leader n%u last %" PRIu64 " durable %" PRIu64
        " commit %" PRIu64 " applied %" PRIu64 " trim %" PRIu64 " pending %" PRIu64
        " lease %" PRIu64 " us, incarnation %" PRIu64 " config %" PRIu64 " health %d%s\n",
        self->node->id.v, replica_shard(replica).v, roles[f.role], f.term, f.leader.v, f.last,
        f.durable, f.commit, f.applied, f.trim, f.pending, f.lease_remaining_us, f.incarnation,
        f.config_epoch, (int)f.health, f.snapshot_in ? " snapshot coming" : "");
}

static void print_members(const struct shard_descriptor *at) {
    static const char *const roles[] = {"voter", "learner", "leaving"};
    for (uint32_t i = 0; i < at->replica_count; i++) {
        const struct shard_replica *member = &at->replicas[i];
        (void)printf(" n%u/%" PRIu64 " %s%s", member->node.v, member->incarnation,
                     roles[member->role], member->outgoing ? " (outgoing)" : "");
    }
    (void)printf(at->target_count > 0 ? ", ordered at %" PRIu64 ":" : "", at->targets_epoch);
    for (uint32_t i = 0; i < at->target_count; i++) {
        (void)printf(" n%u %s", at->targets[i].node.v, roles[at->targets[i].role]);
    }
    (void)printf("\n");
}

// Where the catalogue places shards, as the node that knows most has it.
static void print_catalog(const struct sim_checks *self) {
    const struct catalog *catalog = sim_newest_catalog(self->world);
    (void)printf("catalogue %" PRIu64 "%s\n", self->catalog_version,
                 catalog == NULL ? ", held by no node that is up" : "");
    for (uint32_t i = 0; catalog != NULL && i < catalog_shard_count(catalog); i++) {
        const struct shard_descriptor *at = catalog_shard_at(catalog, i);
        (void)printf("shard %" PRIu64 " config %" PRIu64 ":", at->id.v, at->config_epoch);
        print_members(at);
    }
}

void sim_checks_print(struct sim_checks *self) {
    print_catalog(self);
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        self->node = &self->world->nodes[i];
        (void)printf("n%u boot %u, %s", self->node->id.v, self->node->boot,
                     self->node->up ? "up" : "down\n");
        if (!self->node->up) { continue; }
        (void)printf(", catalogue %" PRIu64 "\n",
                     catalog_version(node_core_catalog(self->node->core)));
        replica_table_each(node_core_table(self->node->core), print_replica, self);
    }
}
