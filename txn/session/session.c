// SPDX-License-Identifier: Apache-2.0
// Life and tables of a session. The decisions are in session_route.c, the life of one call in
// session_call.c.
//
// Slots are allocated once. The table of replicas keeps pointers to proposals and reads in them, so
// a slot whose call ended while its execution is pending stays taken (ENDED) until that reports;
// the same holds for the session as a whole when it is destroyed first.
#include "txn/session/session.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/session/session_internal.h"

enum { MESSAGE_SIZE_MAX = 32 << 20 };

static void init_slots(struct session *self) {
    const uint64_t now_random = env_random(self->config.env);
    self->slots = mem_alloc_array(self->config.calls_max, sizeof(self->slots[0]));
    for (uint32_t i = self->config.calls_max; i-- > 0;) {
        struct session_slot *slot = &self->slots[i];
        slot->exec.session = self;
        slot->exec.done = session__exec_done;
        slot->exec.lasting = true;
        // Random per boot: an answer to a call of an earlier boot does not match by chance.
        slot->generation = now_random;
        slot->next = self->slots_free;
        self->slots_free = slot;
    }
    self->served = mem_alloc_array(self->config.served_max, sizeof(self->served[0]));
    for (uint32_t i = self->config.served_max; i-- > 0;) {
        self->served[i].next_free = self->served_free;
        self->served_free = &self->served[i];
    }
}

struct session *session_create(const struct session_config *config) {
    ASSERT(config->self.v != 0 && config->env != NULL && config->hlc != NULL);
    ASSERT(config->table != NULL && config->apply != NULL && config->map != NULL);
    ASSERT(config->calls_max > 0 && config->calls_max <= SESSION_CALLS_MAX);
    ASSERT(config->served_max > 0 && config->attempt_ns > 0 && config->catalog_nodes != NULL);
    struct session *self = mem_alloc(sizeof(*self));
    self->config = *config;
    heap_init(&self->timers);
    buf_init(&self->message, MESSAGE_SIZE_MAX);
    buf_init(&self->descriptors, COMMAND_DESCRIPTORS_SIZE_MAX);
    session_windows_init(&self->windows);
    self->boot = env_random(config->env) | 1;  // not zero
    self->rotor = (uint32_t)env_random(config->env);
    init_slots(self);
    session__park_create(self);
    return self;
}

void session__free_if_closed(struct session *self) {
    if (!self->closing || self->pending > 0) { return; }
    for (uint32_t i = 0; i < self->spare_count; i++) {
        buf_deinit(&self->spares[i]);
    }
    session_windows_deinit(&self->windows);
    session_holds_deinit(&self->holds);
    session_latches_deinit(&self->latches);
    heap_deinit(&self->timers);
    buf_deinit(&self->message);
    buf_deinit(&self->descriptors);
    mem_free(self->slots);
    mem_free(self->served);
    mem_free(self);
}

void session_destroy(struct session *self) {
    if (self == NULL) { return; }
    ASSERT(!self->closing);
    self->closing = true;  // calls that a callback starts now end at once
    for (uint32_t i = 0; i < self->config.calls_max; i++) {
        if (self->slots[i].call != NULL) { session__give_up(&self->slots[i], STATUS_CANCELLED); }
    }
    session__park_destroy(self);
    session__free_if_closed(self);
}

// A read that needs no leader.
static bool may_go_anywhere(const struct session_call *call) {
    struct command_snapshot snapshot;
    return (call->kind == COMMAND_READ || call->kind == COMMAND_SCAN) &&
           command_snapshot_peek(call->payload, &snapshot) == STATUS_OK &&
           !command_consistency_is_strong(snapshot.consistency);
}

static void end_unstarted(struct session_call *call, enum status status, const char *detail) {
    const struct session_result result = {.status = status, .detail = slice_from_string(detail)};
    call->done(call, &result);
}

void session_start(struct session *self, struct session_call *call) {
    ASSERT(call->done != NULL);
    ASSERT(call->kind >= COMMAND_COMMIT && call->kind < COMMAND_KIND_COUNT);
    call->id = 0;
    self->stats.calls++;
    if (self->closing) {
        end_unstarted(call, STATUS_CANCELLED, "the node is stopping");
        return;
    }
    struct session_slot *slot = self->slots_free;
    if (slot == NULL) {
        self->stats.overloaded++;
        end_unstarted(call, STATUS_OVERLOADED, "too many calls in flight at this node");
        return;
    }
    self->slots_free = slot->next;
    ASSERT(slot->state == SESSION_SLOT_FREE && slot->call == NULL);
    const struct session_exec exec = slot->exec;
    *slot = (struct session_slot){.exec = exec,
                                  .call = call,
                                  .state = SESSION_SLOT_LOCAL,
                                  .generation = slot->generation + 1,
                                  .anywhere = may_go_anywhere(call),
                                  .last_status = STATUS_OK};
    if (call->kind == COMMAND_TXN_STATUS) {
        const uint64_t now = session__now(self);
        const uint64_t budget = call->deadline_ns > now ? call->deadline_ns - now : 0;
        slot->patient_ns = now + session__outcome_patience(budget);
    }
    call->id = (uint64_t)(slot - self->slots) + 1;
    self->stats.in_flight++;
    heap_put(&self->timers, &slot->timer, call->deadline_ns);
    session__trace_commit(slot, (struct trace_event){.kind = TRACE_BEGUN});
    session__drive(slot);
}

void session_cancel(struct session *self, struct session_call *call) {
    struct session_slot *slot = session__slot_of_call(self, call);
    ASSERT(slot != NULL);
    session__give_up(slot, STATUS_CANCELLED);
}

enum status session_on_message(struct session *self, struct node_id from,
                               enum peer_message_type type, struct slice body) {
    ASSERT(type == PEER_REQUEST || type == PEER_RESPONSE);
    ASSERT(from.v != 0 && !node_id_equal(from, self->config.self));
    return type == PEER_REQUEST ? session__on_request(self, from, body)
                                : session__on_response(self, from, body);
}

uint64_t session_deadline_ns(const struct session *self) {
    const struct heap_node *first = heap_peek(&self->timers);
    const uint64_t room = participant_deadline_ns(self->room);
    return first != NULL && first->key < room ? first->key : room;
}

void session_on_time(struct session *self) {
    // Ends: whatever fires is put at a later time, or its call ends. Callbacks may start calls.
    const uint64_t now = session__now(self);
    participant_on_time(self->room, now, hlc_from_wall(session__wall(self)));
    struct heap_node *first = heap_peek(&self->timers);
    while (first != NULL && first->key <= now) {
        struct session_slot *slot =
            (struct session_slot *)(void *)((char *)first - offsetof(struct session_slot, timer));
        session__timer_fired(slot);
        first = heap_peek(&self->timers);
    }
}

// Whether the node that was asked leads no more, so that its answer need not be waited for: it may
// be dead, and a call that waits would learn of its successor only when the attempt times out.
static bool is_superseded(const struct session *self, const struct session_slot *slot,
                          struct node_id leader) {
    const struct shard_descriptor *known = shard_map_by_id(self->config.map, slot->shard);
    return !node_id_equal(slot->target, leader) &&
           (known == NULL || !node_id_equal(slot->target, known->leader));
}

void session_on_leader(struct session *self, struct shard_id shard, struct node_id leader,
                       uint64_t term) {
    if (self->closing) { return; }
    if (node_id_equal(leader, self->config.self)) {
        if (!shard_id_equal(shard, SHARD_CATALOG)) { participant_note(self->room, shard); }
    } else {
        participant_wake_shard(self->room, shard);
    }
    if (leader.v == 0) { return; }
    shard_map_note_leader(self->config.map, shard, leader, term);
    if (shard_id_equal(shard, SHARD_CATALOG) && term >= self->catalog_term) {
        self->catalog_leader = leader;
        self->catalog_term = term;
    }
    // Only the timers move: this may be the middle of a turn of the table of replicas.
    const uint64_t now = session__now(self);
    for (struct session_slot *slot = *session__waiters(self, shard); slot != NULL;
         slot = slot->next) {
        if (!shard_id_equal(slot->shard, shard)) { continue; }
        if (slot->state == SESSION_SLOT_REMOTE) {
            if (!is_superseded(self, slot, leader)) { continue; }
            MARK("session.leader_superseded");
            slot->attempt_until_ns = now;
        } else {
            slot->avoid = (struct node_id){0};
            slot->retry_at_ns = now;
        }
        heap_put(&self->timers, &slot->timer, now);
    }
}

struct session_stats session_stats(const struct session *self) {
    struct session_stats stats = self->stats;
    stats.locks = participant_stats(self->room);
    return stats;
}

struct participant *session_participant(struct session *self) {
    return self->room;
}

static void check_slot(const struct session *self, const struct session_slot *slot) {
    const bool has_call = slot->call != NULL;
    ASSERT(has_call == (slot->state != SESSION_SLOT_FREE && slot->state != SESSION_SLOT_ENDED));
    ASSERT(has_call == (slot->timer.index != HEAP_ABSENT));
    ASSERT((slot->link != NULL) ==
           (slot->state == SESSION_SLOT_WAITING || slot->state == SESSION_SLOT_REMOTE));
    ASSERT_IF(slot->link != NULL, *slot->link == slot);
    ASSERT_IF(slot->state == SESSION_SLOT_ENDED, slot->exec.pending);
    ASSERT_IF(slot->state == SESSION_SLOT_FREE, !slot->exec.pending);
    ASSERT_IF(slot->exec.waiter.room != NULL,
              slot->state == SESSION_SLOT_LOCAL && !slot->exec.pending);
    ASSERT_IF(has_call, session__slot_of_call(self, slot->call) == slot);
    ASSERT_IF(slot->maybe_applied, has_call && session_route_mutates(slot->call->kind));
}

void session_check(const struct session *self) {
    uint64_t in_flight = 0;
    uint32_t pending = 0;
    size_t kept = 0;
    for (uint32_t i = 0; i < self->config.calls_max; i++) {
        check_slot(self, &self->slots[i]);
        in_flight += self->slots[i].call != NULL ? 1 : 0;
        pending += self->slots[i].exec.pending ? 1 : 0;
    }
    for (uint32_t i = 0; i < self->config.served_max; i++) {
        const struct session_exec *exec = &self->served[i].exec;
        pending += exec->pending ? 1 : 0;
        kept += exec->kept.size;
        ASSERT_IF(exec->waiter.room != NULL, !exec->pending && exec->kept.data != NULL);
    }
    participant_check(self->room);
    ASSERT(kept == self->kept_bytes);
    ASSERT(in_flight == self->stats.in_flight);
    ASSERT(pending == self->pending);
}
