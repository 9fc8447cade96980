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
#include "dataplane/replica/replica_internal.h"

// The other replicas of a new shard open when the catalogue's change reaches their nodes, a side
// channel's
// beat later; a vote asked for earlier finds nobody.
#define FIRST_CAMPAIGN_NS UINT64_C(60000000)

enum {
    TABLE_BUCKETS = 4096,
    TABLE_MESSAGE_SIZE_MAX = 64 << 20,
    TABLE_ROUNDS_MAX = 64,
    INFLIGHT_MESSAGES_MAX = 256,
    APPEND_SIZE_MAX = 1 << 20,
    CACHE_COUNT_MAX = 8192,
    CACHE_SIZE_MAX = 16 << 20,
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
    return self;
}

static void replica_free(struct replica *self) {
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

static void membership_from(const struct shard_descriptor *descriptor,
                            struct raft_membership *out) {
    *out = (struct raft_membership){.config_epoch = descriptor->config_epoch};
    for (uint32_t i = 0; i < descriptor->replica_count; i++) {
        const struct shard_replica *replica = &descriptor->replicas[i];
        out->members[out->count] = (struct raft_member){
            .node = replica->node,
            .incarnation = 1,
            .role = replica->role == SHARD_VOTER ? RAFT_VOTER : RAFT_LEARNER,
        };
        out->count++;
    }
}

static enum status raft_open(struct replica *self, const struct log_bounds *bounds) {
    const struct replica_table_config *config = &self->table->config;
    struct raft_config_entry first = {.index = 0};
    membership_from(&self->descriptor, &first.membership);
    uint64_t written = bounds->hard_state.incarnation;
    struct raft_config raft = {
        .shard = self->descriptor.id,
        .self = config->self,
        .incarnation = written == 0 ? 1 : written,
        .health = RAFT_WHOLE,
        .configs = &first,
        .config_count = 1,
        .support = config->support,
        .log = config->log,
        .bounds = *bounds,
        .applied = self->applied,
        .election_ns_min = config->election_ns_min,
        .resend_ns = config->resend_ns,
        .inflight_messages_max = INFLIGHT_MESSAGES_MAX,
        .append_size_max = APPEND_SIZE_MAX,
        .cache_count_max = CACHE_COUNT_MAX,
        .cache_size_max = CACHE_SIZE_MAX,
    };
    return raft_create(&raft, replica__now(self), env_random(config->env), &self->raft);
}

// Ceilings and timestamps never fall along a log, so its last entry holds the largest of each.
// Trimming always keeps the last entry.
static enum status recover_ceiling(struct replica *self, const struct log_bounds *bounds) {
    if (bounds->last_index == 0) { return STATUS_OK; }
    struct log_entry last = {0};
    uint32_t count = 0;
    const struct log_store *log = self->table->config.log;
    enum status st = log->read(log->ctx, self->descriptor.id, bounds->last_index,
                               bounds->last_index + 1, 1, UINT64_MAX, &last, &count);
    if (st != STATUS_OK) { return STATUS_CORRUPT; }
    ASSERT(count == 1);
    self->ceiling_log = last.ceiling;
    // earlier ones lie below ceiling_log, where a new leader's clock starts
    self->timestamp_log = last.timestamp;
    log_entry_unref(&last);
    return STATUS_OK;
}

enum status replica_table_open(struct replica_table *self,
                               const struct shard_descriptor *descriptor, bool first_leader) {
    if (replica_table_find(self, descriptor->id) != NULL) { return STATUS_ALREADY_EXISTS; }
    if (!shard_descriptor_has_node(descriptor, self->config.self)) {
        return STATUS_INVALID_ARGUMENT;
    }
    struct log_bounds bounds = {0};
    enum status st = self->config.log->bounds(self->config.log->ctx, descriptor->id, &bounds);
    if (st != STATUS_OK) { return st; }
    struct replica *replica = mem_alloc(sizeof(*replica));
    replica->table = self;
    shard_descriptor_copy(&replica->descriptor, descriptor);
    replica->machine = self->config.machine_for(self->config.ctx, descriptor->id);
    replica->applied = replica->machine->applied(replica->machine->ctx, descriptor->id);
    replica->trim = bounds.trim_index;
    st = recover_ceiling(replica, &bounds);
    if (st == STATUS_OK) { st = raft_open(replica, &bounds); }
    if (st != STATUS_OK) {
        shard_descriptor_deinit(&replica->descriptor);
        mem_free(replica);
        return st;
    }
    table_add(self, replica);
    for (uint32_t i = 0; i < descriptor->replica_count; i++) {
        replica__add_peer(self, descriptor->replicas[i].node);
    }
    replica__reschedule(replica);
    replica__mark_dirty(replica);
    bool is_new = bounds.last_index == 0 && bounds.hard_state.term == 0;
    if (first_leader && is_new && !self->sick) {
        bool alone = descriptor->replica_count == 1;
        replica->campaign_ns = env_now(self->config.env) + (alone ? 0 : FIRST_CAMPAIGN_NS);
        replica__reschedule(replica);
    }
    return STATUS_OK;
}

void replica_table_on_durable(struct replica_table *self, const struct log_completion *items,
                              uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct replica *replica = replica_table_find(self, items[i].shard);
        if (replica == NULL) { continue; }
        ASSERT(items[i].sequence > replica->durable_sequence);
        replica->durable_sequence = items[i].sequence;
        struct raft_event event = {.type = RAFT_EVENT_PERSISTED};
        event.u.persisted_sequence = items[i].sequence;
        enum status st = replica__step(replica, &event);
        ASSERT(st == STATUS_OK);
        replica__release_held(replica);
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
}

void replica_table_turn(struct replica_table *self) {
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

uint64_t replica_table_deadline_ns(const struct replica_table *self) {
    uint64_t at = support_deadline_ns(self->config.support);
    if (self->frontier_due_ns < at) { at = self->frontier_due_ns; }
    struct heap_node *first = heap_peek(&self->deadlines);
    return first != NULL && first->key < at ? first->key : at;
}

void replica_table_on_time(struct replica_table *self) {
    uint64_t now = env_now(self->config.env);
    replica__peers_on_time(self, now);
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

void replica_table_trim(struct replica_table *self, struct shard_id shard, uint64_t flushed) {
    struct replica *replica = replica_table_find(self, shard);
    if (replica == NULL || raft_last_index(replica->raft) == 0) { return; }
    uint64_t safe = replica->trim_safe;
    if (raft_is_leader(replica->raft)) {
        uint64_t needed = raft_needed_index(replica->raft);
        safe = needed == 0 ? 0 : needed - 1;
    }
    uint64_t index = flushed < safe ? flushed : safe;
    uint64_t last = raft_last_index(replica->raft);
    if (index >= last) { index = last - 1; }  // the last entry carries the ceiling
    if (index <= replica->trim) { return; }
    ASSERT(index <= replica->applied);
    struct log_entry entry = {0};
    uint32_t count = 0;
    const struct log_store *log = self->config.log;
    enum status st = log->read(log->ctx, shard, index, index + 1, 1, UINT64_MAX, &entry, &count);
    if (st != STATUS_OK) { return; }
    log->trim(log->ctx, shard, index, entry.term);
    raft_trimmed(replica->raft, index, entry.term);
    replica->trim = index;
    log_entry_unref(&entry);
}

static void replica_check(const struct replica *self) {
    struct replica_frontiers f;
    replica_frontiers(self, &f);
    ASSERT(f.trim <= f.commit);
    ASSERT(f.durable <= f.last);
    ASSERT(f.applied <= f.commit);
    ASSERT(f.applied <= f.last);
    ASSERT(!hlc_before(self->ceiling_log, self->ceiling_committed));
    raft_check(self->raft);
}

void replica_table_check(const struct replica_table *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        replica_check(self->replicas[i]);
    }
}
