// SPDX-License-Identifier: Apache-2.0
// admin_txn.c - transactions that are under way on this node: what is prepared on the shards that
// it leads, who waits for it, and what its gateway drives.
//
// The oldest are told: holders come shard by shard, in each the oldest first, so the answer is kept
// as a sorted list of bounded length while they are walked over. Nothing outlives the call's turn,
// hence what is kept points into the lock tables.

#include "api/admin/admin_internal.h"
#include "dataplane/loop/clock.h"

#include <string.h>

enum {
    LIST_DEFAULT = 100,
    LIST_MAX = 1000,
    LIST_LOCKS = 4,
    LIST_WAITERS = 8,
    KEY_SHOWN_SIZE_MAX = 256,
};

// --- Ids and states ---

bool admin__txn_id_of(struct admin_call *call, ProtobufCBinaryData id, struct txn_id *out) {
    if (id.len != sizeof(out->v)) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "txn_id", "a transaction id has 16 bytes");
        return false;
    }
    memcpy(out->v, id.data, sizeof(out->v));
    if (txn_id_is_zero(*out)) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "txn_id", "a transaction id is not all zero");
        return false;
    }
    return true;
}

Lightcone__V1__TxnState admin__txn_state(enum command_txn_state state) {
    switch (state) {
    case COMMAND_TXN_PREPARED:
        return LIGHTCONE__V1__TXN_STATE__TXN_STATE_PREPARED;
    case COMMAND_TXN_COMMITTED:
        return LIGHTCONE__V1__TXN_STATE__TXN_STATE_COMMITTED;
    case COMMAND_TXN_ABORTED:
        return LIGHTCONE__V1__TXN_STATE__TXN_STATE_ABORTED;
    case COMMAND_TXN_BUSY:
        return LIGHTCONE__V1__TXN_STATE__TXN_STATE_BUSY;
    case COMMAND_TXN_NONE:
    case COMMAND_TXN_STATE_COUNT:
        break;
    }
    return LIGHTCONE__V1__TXN_STATE__TXN_STATE_NONE;
}

// --- Locks of a holder ---

static ProtobufCBinaryData bytes_of(struct admin_call *call, struct slice bytes) {
    ProtobufCBinaryData out = {.len = bytes.size, .data = admin__alloc(call, bytes.size)};
    if (bytes.size > 0) { memcpy(out.data, bytes.data, bytes.size); }
    return out;
}

ProtobufCBinaryData admin__txn_id(struct admin_call *call, struct txn_id txn) {
    return bytes_of(call, slice_make(txn.v, sizeof(txn.v)));
}

struct locks {
    struct admin_call *call;
    uint32_t max;
    Lightcone__V1__TxnHolder *out;
};

static ProtobufCBinaryData key_of(struct admin_call *call, struct slice key) {
    const size_t size = key.size < KEY_SHOWN_SIZE_MAX ? key.size : KEY_SHOWN_SIZE_MAX;
    return bytes_of(call, slice_make(key.data, size));
}

static void add_lock(struct locks *self, Lightcone__V1__LockMode mode, struct slice start,
                     struct slice end) {
    self->out->lock_count++;
    if (self->out->n_locks == self->max) { return; }
    Lightcone__V1__LockedSpan *span = admin__alloc(self->call, sizeof(*span));
    lightcone__v1__locked_span__init(span);
    span->mode = mode;
    span->start = key_of(self->call, start);
    span->end = key_of(self->call, end);
    self->out->locks[self->out->n_locks++] = span;
}

static void add_mutation(struct locks *self, const struct command_mutation *mutation) {
    const bool range = mutation->kind == COMMAND_DELETE_RANGE;
    add_lock(self,
             mutation->kind == COMMAND_MERGE ? LIGHTCONE__V1__LOCK_MODE__LOCK_MODE_MERGE
                                             : LIGHTCONE__V1__LOCK_MODE__LOCK_MODE_WRITE,
             mutation->key, range ? mutation->value : SLICE_EMPTY);
}

// What it writes is shown first, as far as there is room.
static void add_part(struct locks *self, struct slice part, bool writes) {
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, part);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.read_count; i++) {
        struct command_span span = {.start = SLICE_EMPTY};
        st = command_commit_next_read(&reader, &span);
        if (st == STATUS_OK && !writes) {
            add_lock(self, LIGHTCONE__V1__LOCK_MODE__LOCK_MODE_READ, span.start, span.end);
        }
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.condition_count; i++) {
        struct command_condition condition = {.key = SLICE_EMPTY};
        st = command_commit_next_condition(&reader, &condition);
        if (st == STATUS_OK && !writes) {
            add_lock(self, LIGHTCONE__V1__LOCK_MODE__LOCK_MODE_READ, condition.key, SLICE_EMPTY);
        }
    }
    for (uint32_t i = 0; st == STATUS_OK && writes && i < reader.mutation_count; i++) {
        struct command_mutation mutation = {.key = SLICE_EMPTY};
        st = command_commit_next_mutation(&reader, &mutation);
        if (st == STATUS_OK) { add_mutation(self, &mutation); }
    }
}

// --- Waiters ---

Lightcone__V1__TxnWaiter *admin__txn_waiter(struct admin_call *call,
                                            const struct participant_waiter *waiter) {
    Lightcone__V1__TxnWaiter *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__txn_waiter__init(out);
    if (!txn_id_is_zero(waiter->txn)) { out->txn_id = admin__txn_id(call, waiter->txn); }
    out->shard = waiter->shard.v;
    out->holder = admin__txn_id(call, waiter->holder);
    out->begin = waiter->begin.v;
    out->waited_us = (loop_monotonic_ns() - waiter->since_ns) / 1000;
    return out;
}

struct waiters {
    struct admin_call *call;
    uint32_t max;
    Lightcone__V1__TxnHolder *out;
};

static bool add_waiter(void *ctx, const struct participant_waiter *waiter) {
    struct waiters *self = ctx;
    if (self->out->n_waiters == self->max) { return false; }
    self->out->waiters[self->out->n_waiters++] = admin__txn_waiter(self->call, waiter);
    return true;
}

// --- One holder ---

static uint64_t age_us(struct admin_call *call, struct hlc_ts since) {
    const uint64_t now = node_core_wall_us(admin__core(call));
    const uint64_t then = hlc_wall_us(since);
    return now > then ? now - then : 0;
}

Lightcone__V1__TxnHolder *admin__txn_holder(struct admin_call *call, struct shard_id shard,
                                            const struct lock_holder *holder,
                                            struct admin_txn_shown shown) {
    Lightcone__V1__TxnHolder *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__txn_holder__init(out);
    out->txn_id = admin__txn_id(call, holder->txn);
    out->attempt = holder->attempt.number;
    out->attempt_tag = holder->attempt.tag;
    out->begin = holder->begin.v;
    out->shard = shard.v;
    out->prepared = holder->prepared.v;
    out->age_us = age_us(call, holder->prepared);
    out->waiter_count = shown.waiter_count;
    const uint32_t some =
        shown.waiter_count < shown.waiters_max ? shown.waiter_count : shown.waiters_max;
    struct waiters waiters = {call, some, out};
    out->waiters = admin__alloc(call, some * sizeof(*out->waiters));
    participant_each_waiter(session_participant(node_core_session(admin__core(call))), shard,
                            holder->txn, add_waiter, &waiters);
    struct command_prepare_view prepare;
    if (command_prepare_decode(holder->prepare, &prepare) != STATUS_OK) { return out; }
    out->participant_count = prepare.participant_count;
    out->home = prepare.self == 0;
    struct locks locks = {call, shown.locks_max, out};
    out->locks = admin__alloc(call, shown.locks_max * sizeof(*out->locks));
    add_part(&locks, prepare.part, true);
    add_part(&locks, prepare.part, false);
    return out;
}

// --- The list ---

struct listed {
    struct shard_id shard;
    const struct lock_holder *holder;
    uint32_t waiters;
};

struct listing {
    struct listed *items;  // oldest first
    uint32_t count;
    uint32_t max;
    uint64_t total;
};

static bool list_holder(void *ctx, struct shard_id shard, const struct lock_holder *holder,
                        uint32_t waiters) {
    struct listing *self = ctx;
    self->total++;
    uint32_t at = self->count;
    while (at > 0 && holder->prepared.v < self->items[at - 1].holder->prepared.v) {
        at--;
    }
    if (at == self->max) { return true; }
    const uint32_t kept = self->count < self->max ? self->count : self->max - 1;
    memmove(self->items + at + 1, self->items + at, (kept - at) * sizeof(self->items[0]));
    self->items[at] = (struct listed){shard, holder, waiters};
    self->count = kept + 1;
    return true;
}

static void add_holders(struct admin_call *call, uint32_t limit,
                        Lightcone__V1__TxnListResponse *out) {
    struct session *session = node_core_session(admin__core(call));
    struct listing listing = {.max = limit};
    listing.items = admin__alloc(call, (limit + 1) * sizeof(listing.items[0]));
    participant_each_holder(session_participant(session), list_holder, &listing);
    const struct admin_txn_shown shown = {.locks_max = LIST_LOCKS, .waiters_max = LIST_WAITERS};
    out->holders = admin__alloc(call, listing.count * sizeof(*out->holders));
    for (uint32_t i = 0; i < listing.count; i++) {
        const struct listed *item = &listing.items[i];
        struct admin_txn_shown its = shown;
        its.waiter_count = item->waiters;
        out->holders[out->n_holders++] = admin__txn_holder(call, item->shard, item->holder, its);
    }
    out->holder_count = listing.total;
    out->more = listing.total > listing.count;
    out->locks_oldest_age_us = out->n_holders > 0 ? out->holders[0]->age_us : 0;
    out->waiting_count = session_stats(session).locks.waiting;
}

// --- What the gateway drives ---

static Lightcone__V1__TxnPhase phase_of(const struct gateway_view *view) {
    if (view->waiting) { return LIGHTCONE__V1__TXN_PHASE__TXN_PHASE_WAITING; }
    switch (view->phase) {
    case COORDINATOR_PREPARING:
        return LIGHTCONE__V1__TXN_PHASE__TXN_PHASE_PREPARING;
    case COORDINATOR_COMMITTING:
        return LIGHTCONE__V1__TXN_PHASE__TXN_PHASE_COMMITTING;
    case COORDINATOR_ABORTING:
        return LIGHTCONE__V1__TXN_PHASE__TXN_PHASE_ABORTING;
    case COORDINATOR_FORGETTING:
        return LIGHTCONE__V1__TXN_PHASE__TXN_PHASE_FORGETTING;
    case COORDINATOR_DONE:
    case COORDINATOR_PHASE_COUNT:
        break;
    }
    return LIGHTCONE__V1__TXN_PHASE__TXN_PHASE_UNSPECIFIED;
}

Lightcone__V1__TxnDriven *admin__txn_driven(struct admin_call *call,
                                            const struct gateway_view *view) {
    Lightcone__V1__TxnDriven *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__txn_driven__init(out);
    out->txn_id = admin__txn_id(call, view->txn);
    out->attempt = view->attempt.number;
    out->attempt_tag = view->attempt.tag;
    out->begin = view->begin.v;
    out->node = node_self(call->admin->node)->id.v;
    out->phase = phase_of(view);
    out->recovering = view->recovering;
    out->told = view->told && !view->recovering;
    out->participant_count = view->participant_count;
    out->attempts = view->attempts;
    return out;
}

struct driven {
    struct admin_call *call;
    uint32_t max;
    Lightcone__V1__TxnListResponse *out;
};

static bool add_driven(void *ctx, const struct gateway_view *view) {
    struct driven *self = ctx;
    self->out->driven_more = self->out->n_driven == self->max;
    if (self->out->driven_more) { return false; }
    self->out->driven[self->out->n_driven++] = admin__txn_driven(self->call, view);
    return true;
}

// --- Keys held for update ---

Lightcone__V1__TxnHeldKey *admin__txn_held(struct admin_call *call,
                                           const struct session_held *held) {
    Lightcone__V1__TxnHeldKey *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__txn_held_key__init(out);
    out->txn_id = admin__txn_id(call, held->txn);
    out->key = key_of(call, held->key);
    out->shard = held->shard.v;
    out->begin = held->begin.v;
    out->held_us = held->held_ns / 1000;
    out->remaining_us = held->remaining_ns / 1000;
    return out;
}

static bool add_held(void *ctx, const struct session_held *held) {
    struct driven *self = ctx;
    self->out->held_count++;
    if (self->out->n_held < self->max) {
        self->out->held[self->out->n_held++] = admin__txn_held(self->call, held);
    }
    return true;
}

bool admin__txn_is_asked_here(struct admin_call *call, uint32_t node) {
    if (node == 0 || node == node_self(call->admin->node)->id.v) { return true; }
    admin__fail(call, STATUS_NOT_FOUND, "node", "ask that node at its own address");
    return false;
}

void admin__txn_list(struct admin_call *call) {
    const Lightcone__V1__TxnListRequest *request = (const void *)call->request;
    struct node_core *core = admin__core(call);
    if (!admin__txn_is_asked_here(call, request->node)) { return; }
    if (request->limit > LIST_MAX) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "limit", "at most 1000 transactions");
        return;
    }
    const uint32_t limit = request->limit == 0 ? LIST_DEFAULT : request->limit;
    Lightcone__V1__TxnListResponse response = LIGHTCONE__V1__TXN_LIST_RESPONSE__INIT;
    response.node = node_self(call->admin->node)->id.v;
    response.hlc = hlc_peek(node_core_hlc(core), node_core_wall_us(core)).v;
    add_holders(call, limit, &response);
    struct driven driven = {call, limit, &response};
    response.driven = admin__alloc(call, limit * sizeof(*response.driven));
    gateway_each(node_core_gateway(core), add_driven, &driven);
    response.held = admin__alloc(call, limit * sizeof(*response.held));
    session_each_held(node_core_session(core), add_held, &driven);
    admin__reply(call, &response.base);
}
