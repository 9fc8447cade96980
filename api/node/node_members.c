// SPDX-License-Identifier: Apache-2.0
// node_members.c - the members of shards as one node sees to them: replicas that belong here are
// opened, those that were removed go, and for shards led here the catalogue's intent is handed to
// the driver and the log's word to the catalogue.
//
// Only shards with something to do are watched, so an idle cluster pays nothing. A shard comes onto
// the list when its members, its leadership or the catalogue changed, and leaves it when intent,
// log and catalogue agree. Nothing here has to survive a crash: whoever leads next finds the same
// difference. Reports are idempotent, so they are simply repeated until the catalogue shows them.

#include "api/node/node_core_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"
#include "dataplane/obs/log.h"

#define WATCH_INTERVAL_NS  UINT64_C(50000000)
#define REPORT_RETRY_NS    UINT64_C(200000000)
#define REPORT_DEADLINE_NS UINT64_C(3000000000)

// --- Replicas of this node ----------------------------------------------------------------------

// A committed configuration without this incarnation, not earlier than the one that was to bring
// it: it has been removed, or its addition was rolled back, and it is gone for good, whatever
// became of the messages that would have told it.
static bool is_removed(const struct node_core *self, const struct shard_descriptor *at,
                       uint64_t incarnation) {
    const struct shard_replica *mine = shard_descriptor_replica(at, self->config.self.id);
    return at->config_epoch >= incarnation && (mine == NULL || mine->incarnation > incarnation);
}

static struct log_bounds bounds_of(struct node_core *self, struct shard_id shard) {
    const struct log_store *log = raftlog_store(self->config.log);
    struct log_bounds bounds = {0};
    enum status st = log->bounds(log->ctx, shard, &bounds);
    if (st != STATUS_OK) {
        FATAL("shard %llu: its log cannot be trusted: %s", (unsigned long long)shard.v,
              status_text(st));
    }
    return bounds;
}

// The incarnation that is to live here now; 0 = none. What the log holds may be newer than the
// catalogue (it was opened because its leader spoke to it), or older (it was removed meanwhile).
static uint64_t incarnation_here(struct node_core *self, const struct shard_descriptor *at) {
    const struct shard_replica *mine = shard_descriptor_replica(at, self->config.self.id);
    struct log_bounds bounds = bounds_of(self, at->id);
    uint64_t wanted = mine == NULL ? 0 : mine->incarnation;
    uint64_t written = bounds.hard_state.incarnation;
    // Written by a version that knew no incarnations: the first.
    if (written == 0 && (bounds.last_index > 0 || bounds.hard_state.term > 0)) { written = 1; }
    uint64_t here = written > wanted ? written : wanted;
    return here > bounds.removed_incarnation ? here : 0;
}

// The state machine forgets a shard with its replica, so it is told again whenever one asks for it.
void node_core__describe_shard(struct node_core *self, struct shard_id shard) {
    const struct shard_descriptor *at = catalog_shard(self->catalog, shard);
    if (at == NULL) { return; }
    apply_set_epoch(self->apply, at->id, at->epoch);
    apply_set_range(self->apply, at->id, bytes_slice(at->start), bytes_slice(at->end));
}

static bool is_refused(const struct node_core *self, struct shard_id shard) {
    for (uint32_t i = 0; i < self->refused_count; i++) {
        if (shard_id_equal(self->refused[i], shard)) { return true; }
    }
    return false;
}

// What cannot be trusted stays closed, and stays on the disk for whoever looks into it; the other
// shards of the node are none the worse.
// LIMIT: until the node is replaced. Which incarnation wrote it is not known, so that no later one
// may take its place.
static void refuse_replica(struct node_core *self, struct shard_id shard) {
    LOG_ERROR("node.replica.refused", LOG_U64("shard", shard.v),
              LOG_STR("why", "its hard state cannot be read"),
              LOG_STR("what_to_do", "move the shard's replica to another node"));
    self->refused = mem_realloc(self->refused, (self->refused_count + 1) * sizeof(*self->refused));
    self->refused[self->refused_count++] = shard;
}

static void open_replica(struct node_core *self, const struct shard_descriptor *at,
                         uint64_t incarnation) {
    if (is_refused(self, at->id)) { return; }
    bool first = at->config_epoch == 1 && node_id_equal(at->leader, self->config.self.id);
    enum status st = replica_table_open_as(self->table, at, incarnation, first);
    if (st == STATUS_CORRUPT) {
        refuse_replica(self, at->id);
    } else if (st != STATUS_OK) {
        FATAL("shard %llu: its replica cannot be opened: %s", (unsigned long long)at->id.v,
              status_text(st));
    }
}

static void remove_replica(struct node_core *self, struct shard_id shard) {
    enum status st = replica_table_remove(self->table, shard);
    ASSERT(st == STATUS_OK);
}

static void place_replica(struct node_core *self, const struct shard_descriptor *at) {
    struct replica *replica = replica_table_find(self->table, at->id);
    if (replica != NULL && is_removed(self, at, replica_incarnation(replica))) {
        remove_replica(self, at->id);
        replica = NULL;
    }
    if (replica != NULL) { return; }
    uint64_t incarnation = incarnation_here(self, at);
    if (incarnation == 0) { return; }
    open_replica(self, at, incarnation);
    if (is_refused(self, at->id)) { return; }
    // Removed while this node was away: opened only to be removed properly.
    if (is_removed(self, at, incarnation)) { remove_replica(self, at->id); }
}

void node_core__place_replicas(struct node_core *self) {
    // Beyond its version a catalogue may hold single objects: those are looked at again.
    uint64_t seen = self->opened_version;
    self->opened_version = catalog_version(self->catalog);
    for (uint32_t i = 0; i < catalog_shard_count(self->catalog); i++) {
        const struct shard_descriptor *at = catalog_shard_at(self->catalog, i);
        if (at->map_version <= seen) { continue; }
        place_replica(self, at);
        node_core__watch(self, at->id);
    }
}

const struct shard_descriptor *node_core__wanted(void *ctx, struct shard_id shard,
                                                 uint64_t incarnation) {
    struct node_core *self = ctx;
    const struct shard_descriptor *at = catalog_shard(self->catalog, shard);
    if (at == NULL || shard_id_equal(shard, SHARD_CATALOG)) { return NULL; }
    if (is_refused(self, shard)) { return NULL; }
    bool placed = shard_descriptor_has_node(at, self->config.self.id) ||
                  shard_descriptor_target(at, self->config.self.id) != NULL;
    bool removed = is_removed(self, at, incarnation) && !MUTANT(TOMBSTONE_IGNORED);
    return placed && !removed ? at : NULL;
}

// --- Shards led here ----------------------------------------------------------------------------

static struct node_watch *find_watch(const struct node_core *self, struct shard_id shard) {
    for (uint32_t i = 0; i < self->watch_count; i++) {
        if (shard_id_equal(self->watches[i].shard, shard)) { return &self->watches[i]; }
    }
    return NULL;
}

const struct node_watch *node_core__watch_find(const struct node_core *self,
                                               struct shard_id shard) {
    return find_watch(self, shard);
}

// Intent, log and catalogue differ. Of a replica that leads.
static bool has_work(const struct shard_descriptor *at, const struct replica *replica) {
    const struct raft_membership *members = replica_members(replica);
    return at->target_count > 0 || members->config_epoch > at->config_epoch ||
           raft_membership_is_joint(members);
}

static bool is_watchable(const struct node_core *self, struct shard_id shard) {
    const struct replica *replica = replica_table_find(self->table, shard);
    const struct shard_descriptor *at = catalog_shard(self->catalog, shard);
    return replica != NULL && at != NULL && !shard_id_equal(shard, SHARD_CATALOG) &&
           replica_is_leader(replica) && has_work(at, replica);
}

void node_core__watch(struct node_core *self, struct shard_id shard) {
    // The table speaks while it is being created, too.
    if (self->table == NULL || !is_watchable(self, shard)) { return; }
    if (find_watch(self, shard) != NULL) { return; }
    if (self->watch_count == self->watch_capacity) {
        self->watch_capacity = self->watch_capacity == 0 ? 16 : 2 * self->watch_capacity;
        self->watches = mem_realloc(self->watches, self->watch_capacity * sizeof(*self->watches));
    }
    self->watches[self->watch_count++] = (struct node_watch){.shard = shard};
}

// Whether the catalogue lacks what the log has committed: newer members, or the end of an operation
// that ended without a change.
static bool wants_report(const struct node_core *self, struct shard_id shard) {
    if (!is_watchable(self, shard)) { return false; }
    const struct shard_descriptor *at = catalog_shard(self->catalog, shard);
    const struct replica *replica = replica_table_find(self->table, shard);
    uint64_t committed = replica_members_committed(replica)->config_epoch;
    bool settled = committed == replica_members(replica)->config_epoch;
    return committed > at->config_epoch ||
           (committed == at->config_epoch && settled && shard_descriptor_is_reached(at));
}

static void report_next(struct node_core *self, uint64_t now_ns);

static void report_done(struct session_call *call, const struct session_result *result) {
    struct node_core *self =
        (struct node_core *)((char *)call - offsetof(struct node_core, report_call));
    self->reporting = false;
    // The catalogue itself tells whether it worked, a moment later on a node that follows it.
    if (result->status == STATUS_OK) { report_next(self, env_now(self->config.env)); }
}

static void send_report(struct node_core *self, struct node_watch *watch, uint64_t now_ns) {
    const struct raft_membership *members =
        replica_members_committed(replica_table_find(self->table, watch->shard));
    struct catalog_report_shard report = {.shard = watch->shard,
                                          .config_epoch = members->config_epoch,
                                          .leader = self->config.self.id};
    report.replica_count = replica_members_describe(members, report.replicas);
    buf_reset(&self->report_payload);
    struct codec_writer w;
    codec_writer_init(&w, &self->report_payload);
    catalog_report_shard_encode(&w, &report);
    ASSERT(w.status == STATUS_OK);
    self->report_call = (struct session_call){
        .kind = COMMAND_CATALOG,
        .payload = buf_slice(&self->report_payload),
        .deadline_ns = now_ns + REPORT_DEADLINE_NS,
        .done = report_done,
    };
    self->reporting = true;
    watch->report_due_ns = now_ns + REPORT_RETRY_NS;
    session_start(self->session, &self->report_call);
}

// One report at a time, the shards in turn.
static void report_next(struct node_core *self, uint64_t now_ns) {
    for (uint32_t i = 0; i < self->watch_count && !self->reporting; i++) {
        self->report_position = (self->report_position + 1) % self->watch_count;
        struct node_watch *watch = &self->watches[self->report_position];
        if (now_ns >= watch->report_due_ns && wants_report(self, watch->shard)) {
            send_report(self, watch, now_ns);
        }
    }
}

void node_core__members_on_time(struct node_core *self, uint64_t now_ns) {
    if (self->watch_count == 0 || now_ns < self->watch_due_ns) { return; }
    self->watch_due_ns = now_ns + WATCH_INTERVAL_NS;
    for (uint32_t i = 0; i < self->watch_count;) {
        struct node_watch watch = self->watches[i];
        if (!is_watchable(self, watch.shard)) {
            self->watches[i] = self->watches[--self->watch_count];
            continue;
        }
        const struct shard_descriptor *at = catalog_shard(self->catalog, watch.shard);
        // Driving may put further shards onto the list, which may move it.
        replica_members_drive(replica_table_find(self->table, watch.shard), at->targets,
                              at->target_count, &watch.progress);
        self->watches[i++].progress = watch.progress;
    }
    if (!self->reporting) { report_next(self, now_ns); }
}

uint64_t node_core__members_deadline(const struct node_core *self) {
    return self->watch_count > 0 ? self->watch_due_ns : UINT64_MAX;
}
