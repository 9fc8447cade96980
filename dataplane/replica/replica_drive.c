// SPDX-License-Identifier: Apache-2.0
// replica_drive.c - raft's actions carried out: persists to the log store, messages to peers, roles
// to whoever waits.
//
// No protocol decision is made here. The one duty is order: a message that names a persist leaves
// only after that persist is durable
// (raft.h, first invariant).

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"
#include "dataplane/replica/replica_snapshot_internal.h"

void replica__mark_dirty(struct replica *self) {
    if (self->dirty) { return; }
    struct replica_table *table = self->table;
    self->dirty = true;
    self->next_dirty = NULL;
    if (table->dirty_tail == NULL) {
        table->dirty_head = self;
    } else {
        table->dirty_tail->next_dirty = self;
    }
    table->dirty_tail = self;
}

void replica__reschedule(struct replica *self) {
    uint64_t at = raft_deadline_ns(self->raft);
    if (self->campaign_ns != 0 && self->campaign_ns < at) { at = self->campaign_ns; }
    if (at == UINT64_MAX) {
        heap_remove(&self->table->deadlines, &self->deadline);
    } else {
        heap_put(&self->table->deadlines, &self->deadline, at);
    }
}

uint32_t replica__collect(struct replica *self, uint64_t first, uint32_t count) {
    struct replica_table *table = self->table;
    ASSERT(count <= REPLICA_COLLECT_MAX);
    uint32_t got = 0;
    const struct log_entry *entry = count > 0 ? raft_entry(self->raft, first) : NULL;
    while (got < count && entry != NULL) {
        log_entry_ref(&table->collect[got], entry);
        got++;
        entry = got < count ? raft_entry(self->raft, first + got) : NULL;
    }
    if (got > 0 || count == 0) { return got; }
    enum status st = table->config.log->read(table->config.log->ctx, self->descriptor.id, first,
                                             first + count, count, 4 << 20, table->collect, &got);
    if (st == STATUS_CORRUPT) {
        FATAL("shard %llu: the log is corrupt near index %llu",
              (unsigned long long)self->descriptor.id.v, (unsigned long long)first);
    }
    return st == STATUS_OK ? got : 0;
}

void replica__collect_release(struct replica *self, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        log_entry_unref(&self->table->collect[i]);
    }
}

// The log begins anew after the snapshot that is being installed.
static void begin_anew(struct replica *self, const struct raft_action *action,
                       struct log_base *out) {
    ASSERT(self->installing != NULL);
    const struct replica_snapshot_header *header = &self->installing->header;
    ASSERT(action->u.persist.base_index == header->index);
    ASSERT(action->u.persist.base_term == header->index_term);
    *out = (struct log_base){.index = header->index,
                             .term = header->index_term,
                             .ceiling = header->ceiling,
                             .timestamp = header->timestamp,
                             .membership = header->membership};
    self->trim = header->index;
    self->trim_term = header->index_term;
}

static void act_persist(struct replica *self, const struct raft_action *action) {
    uint32_t count = action->u.persist.entry_count;
    uint32_t got = replica__collect(self, action->u.persist.first_index, count);
    ASSERT(got == count);  // what is to be persisted is in the window
    for (uint32_t i = 0; i < count; i++) {
        replica__note_appended(self, &self->table->collect[i]);
    }
    struct log_base base;
    bool anew = action->u.persist.base_index != 0;
    if (anew) { begin_anew(self, action, &base); }
    self->sequence_submitted = self->sequence_base + action->u.persist.sequence;
    struct log_write write = {
        .shard = self->descriptor.id,
        .sequence = self->sequence_submitted,
        .base = anew ? &base : NULL,
        .truncate_from = action->u.persist.truncate_from,
        .hard_state = action->u.persist.has_hard_state ? &action->u.persist.hard_state : NULL,
        .entries = self->table->collect,
        .entry_count = count,
    };
    self->table->config.log->submit(self->table->config.log->ctx, &write, 1);
    replica__collect_release(self, count);
}

static void hold(struct replica *self, const struct raft_action *action) {
    struct replica_table *table = self->table;
    struct replica_held *held = table->held_free;
    if (held != NULL) {
        table->held_free = held->next;
    } else {
        held = mem_alloc(sizeof(*held));
    }
    ASSERT(action->u.send.message.entry_count ==
           0);  // entries never wait: only votes and replies do
    held->after_sequence = action->u.send.after_sequence;
    held->message = action->u.send.message;
    held->next = NULL;
    if (self->held_tail == NULL) {
        self->held_head = held;
    } else {
        ASSERT(self->held_tail->after_sequence <= held->after_sequence);
        self->held_tail->next = held;
    }
    self->held_tail = held;
}

void replica__release_held(struct replica *self) {
    while (self->held_head != NULL && self->held_head->after_sequence <= self->durable_sequence) {
        struct replica_held *held = self->held_head;
        self->held_head = held->next;
        if (self->held_head == NULL) { self->held_tail = NULL; }
        replica__send_message(self, &held->message, 0);
        held->next = self->table->held_free;
        self->table->held_free = held;
    }
}

static void act_send(struct replica *self, const struct raft_action *action) {
    if (action->u.send.after_sequence > self->durable_sequence) {
        hold(self, action);
        return;
    }
    replica__send_message(self, &action->u.send.message, action->u.send.first_index);
}

static void act_role(struct replica *self, const struct raft_action *action) {
    struct replica_table *table = self->table;
    bool leads = action->u.role.role == RAFT_LEADER;
    if (leads != self->was_leader) {
        replica__leads_changed(self, leads ? action->u.role.term : 0);
    }
    if (leads && !self->was_leader) {
        // Above everything an earlier leader may have served or assigned (time.md, "The ceiling").
        if (!MUTANT(CEILING_FORGOTTEN)) { hlc_adopt(table->config.hlc, self->ceiling_log); }
        hlc_adopt(table->config.hlc, self->timestamp_log);
        replica__append_empty(self);
    }
    bool lost = self->was_leader && !leads;
    self->was_leader = leads;
    if (table->config.leader_changed != NULL) {
        table->config.leader_changed(table->config.ctx, self->descriptor.id, action->u.role.leader,
                                     action->u.role.term);
    }
    if (lost) {
        replica__snapshots_abort(self);
        replica__fail_all(self);
    }
    replica__mark_dirty(self);
}

static void act(struct replica *self, const struct raft_action *action) {
    switch (action->type) {
    case RAFT_ACTION_PERSIST:
        act_persist(self, action);
        break;
    case RAFT_ACTION_SEND:
        act_send(self, action);
        break;
    case RAFT_ACTION_COMMIT:
        replica__mark_dirty(self);
        break;
    case RAFT_ACTION_READ:
        replica__reads_confirmed(self, action->u.read.token, action->u.read.confirmed);
        break;
    case RAFT_ACTION_ROLE:
        act_role(self, action);
        break;
    case RAFT_ACTION_MEMBERSHIP:
        replica__members_changed(self);
        break;
    case RAFT_ACTION_SNAPSHOT:
        replica__snapshot_wanted(self, action->u.snapshot.node, action->u.snapshot.incarnation,
                                 action->u.snapshot.min_index);
        break;
    case RAFT_ACTION_TYPE_COUNT:
        ASSERT(false);
        break;
    }
}

// Raft refuses what a replica in its state cannot do; whatever it decided is carried out at once.
// The actions lie on the stack because a
// callback that ends here may lead to a step of another replica.
enum status replica__step(struct replica *self, struct raft_event *event) {
    struct raft_action items[RAFT_ACTIONS_MAX];
    struct raft_actions actions = {.items = items, .count = 0, .count_max = RAFT_ACTIONS_MAX};
    event->now_ns = replica__now(self);
    self->stepped_ns = event->now_ns;
    event->random = env_random(self->table->config.env);
    enum status st = raft_core_step(self->raft, event, &actions);
    for (uint32_t i = 0; i < actions.count; i++) {
        act(self, &items[i]);
    }
    if (LIGHTCONE_SLOW_CHECKS) { raft_check(self->raft); }
    replica__note_role(self);
    replica__reschedule(self);
    return st;
}
