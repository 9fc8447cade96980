// SPDX-License-Identifier: Apache-2.0
// replica_table.c - opens and finds replicas, and runs the turns that batch across them.
//
// A turn works off the list of replicas that something happened to. Idle ones are reached by
// nothing: their deadline is out of the heap,
// and liveness comes from node-pair support (time.md, Leases). Rejected: a tick per replica, which
// is what makes 10 000 idle shards
// expensive elsewhere.

#include "dataplane/replica/replica_table.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"
#include "dataplane/replica/replica_snapshot_internal.h"

// The other replicas of a new shard open when the catalogue's change reaches their nodes, a side
// channel's
// beat later; a vote asked for earlier finds nobody.
#define FIRST_CAMPAIGN_NS UINT64_C(60000000)

enum {
    TABLE_BUCKETS = 4096,
    TABLE_MESSAGE_SIZE_MAX = 64 << 20,
    TABLE_ROUNDS_MAX = 64,
};

struct replica_table *replica_table_create(const struct replica_table_config *config) {
    ASSERT(config->self.v != 0);
    ASSERT(config->machine_for != NULL);
    struct replica_table *self = mem_alloc(sizeof(*self));
    self->config = *config;
    self->bucket_count = TABLE_BUCKETS;
    self->buckets = mem_alloc_array(self->bucket_count, sizeof(*self->buckets));
    heap_init(&self->deadlines);
    buf_init(&self->scratch, TABLE_MESSAGE_SIZE_MAX);
    buf_init(&self->outcome_bytes, TABLE_MESSAGE_SIZE_MAX);
    buf_init(&self->chunk, TABLE_MESSAGE_SIZE_MAX);
    self->outgoing = mem_alloc_array(REPLICA_SNAPSHOTS_MAX, sizeof(*self->outgoing));
    self->incoming = mem_alloc_array(REPLICA_SNAPSHOTS_MAX, sizeof(*self->incoming));
    return self;
}

static void replica_free(struct replica *self) {
    replica__snapshots_abort(self);
    replica__snapshots_forget(self);
    replica__digest_free(self);
    replica__fail_all(self);
    replica__reads_confirmed(self, UINT64_MAX, false);
    heap_remove(&self->table->deadlines, &self->deadline);
    replica__share_leave(self);
    replica__leads_leave(self);
    while (self->held_head != NULL) {
        struct replica_held *held = self->held_head;
        self->held_head = held->next;
        mem_free(held);
    }
    raft_destroy(self->raft);
    shard_descriptor_deinit(&self->descriptor);
    mem_free(self);
}

void replica_table_destroy(struct replica_table *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        replica_free(self->replicas[i]);
    }
    while (self->held_free != NULL) {
        struct replica_held *held = self->held_free;
        self->held_free = held->next;
        mem_free(held);
    }
    heap_deinit(&self->deadlines);
    buf_deinit(&self->scratch);
    buf_deinit(&self->outcome_bytes);
    buf_deinit(&self->chunk);
    mem_free(self->outgoing);
    mem_free(self->incoming);
    mem_free(self->wants);
    while (self->gather_free != NULL) {
        struct replica_gather *room = self->gather_free;
        self->gather_free = room->next;
        mem_free(room);
    }
    mem_free(self->active);
    mem_free(self->by_id);
    mem_free(self->released);
    mem_free(self->outcomes);
    mem_free(self->replicas);
    mem_free(self->buckets);
    mem_free(self);
}

static uint32_t bucket_of(const struct replica_table *self, struct shard_id shard) {
    return (uint32_t)(shard.v & (self->bucket_count -
                                 1));  // ids are given in sequence: they spread by themselves
}

struct replica *replica_table_find(const struct replica_table *self, struct shard_id shard) {
    struct replica *replica = self->buckets[bucket_of(self, shard)];
    while (replica != NULL && replica->descriptor.id.v != shard.v) {
        replica = replica->next;
    }
    return replica;
}

uint32_t replica_table_count(const struct replica_table *self) {
    return self->count;
}

void replica_table_each(struct replica_table *self,
                        void (*visit)(void *ctx, struct replica *replica), void *ctx) {
    for (uint32_t i = 0; i < self->count; i++) {
        visit(ctx, self->replicas[i]);
    }
}

static void table_add(struct replica_table *self, struct replica *replica) {
    if (self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? 64 : 2 * self->capacity;
        self->replicas = mem_realloc(self->replicas, self->capacity * sizeof(struct replica *));
    }
    replica->position = self->count;
    self->replicas[self->count++] = replica;
    uint32_t bucket = bucket_of(self, replica->descriptor.id);
    replica->next = self->buckets[bucket];
    self->buckets[bucket] = replica;
    replica__leads_join(replica);
}

// Without its hard state nobody knows which incarnation wrote a log, nor whom it voted for: such a
// replica must neither go on nor pass for the remains of an older one.
static bool is_anonymous(const struct log_bounds *bounds) {
    return bounds->damaged_from != 0 && bounds->hard_state.term == 0;
}

// Nothing lived here, or an older incarnation whose remains go. STATUS_FAILED_PRECONDITION when
// this incarnation was removed, or is older than what lives here; STATUS_CORRUPT when nobody can
// tell.
static enum status admit(struct replica_table *self, struct shard_id shard, uint64_t incarnation,
                         struct log_bounds *bounds) {
    const struct log_store *log = self->config.log;
    enum status st = log->bounds(log->ctx, shard, bounds);
    if (st != STATUS_OK) { return st; }
    bool removed = incarnation <= bounds->removed_incarnation;
    if (removed && !MUTANT(TOMBSTONE_IGNORED)) { return STATUS_FAILED_PRECONDITION; }
    if (is_anonymous(bounds)) { return STATUS_CORRUPT; }
    const bool written = bounds->last_index > 0 || bounds->hard_state.term > 0;
    uint64_t lives = bounds->hard_state.incarnation;
    if (written && lives == 0) { lives = 1; }  // by a version that knew no incarnations
    if (lives > incarnation) { return STATUS_FAILED_PRECONDITION; }
    if (lives == 0 || lives == incarnation) { return STATUS_OK; }
    const struct state_machine *machine = self->config.machine_for(self->config.ctx, shard);
    machine->remove(machine->ctx, shard);
    log->remove(log->ctx, shard, lives);
    return log->bounds(log->ctx, shard, bounds);
}

static void campaign_first(struct replica *self) {
    bool alone = self->descriptor.replica_count == 1;
    self->campaign_ns = replica__now(self) + (alone ? 0 : FIRST_CAMPAIGN_NS);
    replica__reschedule(self);
}

enum status replica_table_open_as(struct replica_table *self,
                                  const struct shard_descriptor *descriptor, uint64_t incarnation,
                                  bool first_leader) {
    if (replica_table_find(self, descriptor->id) != NULL) { return STATUS_ALREADY_EXISTS; }
    if (incarnation == 0) { return STATUS_INVALID_ARGUMENT; }
    struct log_bounds bounds = {0};
    enum status st = admit(self, descriptor->id, incarnation, &bounds);
    if (st != STATUS_OK) { return st; }
    struct replica *replica = mem_alloc(sizeof(*replica));
    replica->table = self;
    replica->incarnation = incarnation;
    replica->sequence_base = self->sequence_high;
    replica->sequence_submitted = self->sequence_high;
    shard_descriptor_copy(&replica->descriptor, descriptor);
    replica->machine = self->config.machine_for(self->config.ctx, descriptor->id);
    st = replica__recover(replica, &bounds);
    if (st != STATUS_OK) {
        shard_descriptor_deinit(&replica->descriptor);
        mem_free(replica);
        return st;
    }
    table_add(self, replica);
    for (uint32_t i = 0; i < descriptor->replica_count; i++) {
        replica__add_peer(self, descriptor->replicas[i].node);
    }
    replica__members_changed(replica);
    replica__reschedule(replica);
    replica__mark_dirty(replica);
    bool is_new = bounds.last_index == 0 && bounds.hard_state.term == 0;
    if (first_leader && is_new && !self->sick) { campaign_first(replica); }
    return STATUS_OK;
}

enum status replica_table_open(struct replica_table *self,
                               const struct shard_descriptor *descriptor, bool first_leader) {
    const struct shard_replica *own = shard_descriptor_replica(descriptor, self->config.self);
    if (own == NULL) { return STATUS_INVALID_ARGUMENT; }
    return replica_table_open_as(self, descriptor, own->incarnation, first_leader);
}

static void table_drop(struct replica_table *self, struct replica *replica) {
    struct replica **link = &self->buckets[bucket_of(self, replica->descriptor.id)];
    while (*link != replica) {
        link = &(*link)->next;
    }
    *link = replica->next;
    struct replica *last = self->replicas[--self->count];
    self->replicas[replica->position] = last;
    last->position = replica->position;
    struct replica *before = NULL;
    struct replica *at = replica->dirty ? self->dirty_head : NULL;
    while (at != NULL && at != replica) {
        before = at;
        at = at->next_dirty;
    }
    if (at == NULL) { return; }
    if (before == NULL) { self->dirty_head = replica->next_dirty; }
    if (before != NULL) { before->next_dirty = replica->next_dirty; }
    if (self->dirty_tail == replica) { self->dirty_tail = before; }
}

enum status replica_table_remove(struct replica_table *self, struct shard_id shard) {
    struct replica *replica = replica_table_find(self, shard);
    if (replica == NULL) { return STATUS_NOT_FOUND; }
    const struct state_machine *machine = replica->machine;
    uint64_t incarnation = replica->incarnation;
    if (replica->sequence_submitted > self->sequence_high) {
        self->sequence_high = replica->sequence_submitted;
    }
    replica__fail_all(replica);
    replica__reads_confirmed(replica, UINT64_MAX, false);
    table_drop(self, replica);
    replica_free(replica);
    machine->remove(machine->ctx, shard);
    self->config.log->remove(self->config.log->ctx, shard, incarnation);
    return STATUS_OK;
}

void replica_table_on_durable(struct replica_table *self, const struct log_completion *items,
                              uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct replica *replica = replica_table_find(self, items[i].shard);
        // Of an incarnation that was removed, or of what the opening wrote itself.
        if (replica == NULL || items[i].sequence <= replica->sequence_base) { continue; }
        uint64_t sequence = items[i].sequence - replica->sequence_base;
        ASSERT(sequence > replica->durable_sequence);
        replica->durable_sequence = sequence;
        struct raft_event event = {.type = RAFT_EVENT_PERSISTED};
        event.u.persisted_sequence = sequence;
        enum status st = replica__step(replica, &event);
        ASSERT(st == STATUS_OK);
        replica__release_held(replica);
        replica__snapshots_durable(replica);
    }
}

static void ask_read_round(struct replica *self) {
    if (self->reads_tail == NULL || self->reads_tail->token <= self->read_asked) { return; }
    self->read_asked = self->reads_tail->token;
    struct raft_event event = {.type = RAFT_EVENT_READ};
    event.u.read_token = self->read_asked;
    if (replica__step(self, &event) != STATUS_OK) {
        replica__reads_confirmed(self, self->read_asked, false);
    }
}

static void drive(struct replica *self) {
    if (self->renew_wanted) {
        self->renew_wanted = false;
        if (self->gathered_count == 0 && replica__ready(self)) { replica__append_empty(self); }
    }
    replica__flush_gathered(self);
    ask_read_round(self);
    replica__apply(self);
    if (self->fence_wanted) { replica__fence(self); }
}

static void drive_all(struct replica_table *self) {
    for (uint32_t round = 0; self->dirty_head != NULL; round++) {
        ASSERT(round < TABLE_ROUNDS_MAX);
        struct replica *replica = self->dirty_head;
        self->dirty_head = NULL;
        self->dirty_tail = NULL;
        while (replica != NULL) {
            struct replica *next = replica->next_dirty;
            replica->dirty = false;
            replica->next_dirty = NULL;
            drive(replica);
            replica = next;
        }
        replica__tell_outcomes(self);
    }
}

void replica_table_turn(struct replica_table *self) {
    for (uint32_t round = 0; round < TABLE_ROUNDS_MAX; round++) {
        drive_all(self);
        replica__snapshots_ended(self);
        replica__snapshots_send(self);  // may append entries, and tells raft what ended
        if (self->dirty_head == NULL) { return; }
    }
    ASSERT(false);
}

uint64_t replica_table_deadline_ns(const struct replica_table *self) {
    uint64_t at = support_deadline_ns(self->config.support);
    if (self->frontier_due_ns < at) { at = self->frontier_due_ns; }
    if (self->config.digest_interval_ns != 0 && self->digest_due_ns < at) {
        at = self->digest_due_ns;
    }
    uint64_t walks = replica__walks_deadline(self);
    if (walks < at) { at = walks; }
    uint64_t snapshots = replica__snapshots_send_deadline(self);
    if (snapshots < at) { at = snapshots; }
    snapshots = replica__snapshots_receive_deadline(self);
    if (snapshots < at) { at = snapshots; }
    struct heap_node *first = heap_peek(&self->deadlines);
    return first != NULL && first->key < at ? first->key : at;
}

void replica_table_on_time(struct replica_table *self) {
    uint64_t now = env_now(self->config.env);
    replica__peers_on_time(self, now);
    replica__snapshots_send_on_time(self, now);
    replica__snapshots_receive_on_time(self, now);
    replica__digest_on_time(self, now);
    replica__walks_on_time(self, now);
    for (uint32_t i = 0; i < self->count; i++) {
        struct heap_node *first = heap_peek(&self->deadlines);
        if (first == NULL || first->key > now) { break; }
        struct replica *replica =
            (struct replica *)((char *)first - offsetof(struct replica, deadline));
        bool leads = raft_is_leader(replica->raft);
        if (!leads && !replica__may_begin_election(replica, now)) { continue; }
        struct raft_event event = {.type = RAFT_EVENT_TICK};
        if (replica->campaign_ns != 0 && now >= replica->campaign_ns) {
            replica->campaign_ns = 0;
            if (raft_term(replica->raft) == 0) { event.type = RAFT_EVENT_CAMPAIGN; }
        }
        // A node that may not campaign yet leaves it to the election timeout.
        (void)!replica__step(replica, &event);
    }
}

static void replica_check(const struct replica *self) {
    struct replica_frontiers f;
    replica_frontiers(self, &f);
    ASSERT(f.trim <= f.commit);
    ASSERT(f.durable <= f.last);
    ASSERT(f.applied <= f.commit);
    ASSERT(f.applied <= f.last);
    ASSERT(!hlc_before(self->ceiling_log, self->ceiling_committed));
    ASSERT_IF(self->hollow, self->applied == 0 && !raft_is_leader(self->raft));
    ASSERT_IF(!self->hollow, raft_health_of(self->raft) == RAFT_WHOLE);
    raft_check(self->raft);
}

void replica_table_check(const struct replica_table *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        replica_check(self->replicas[i]);
    }
}
