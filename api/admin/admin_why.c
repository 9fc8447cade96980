// SPDX-License-Identifier: Apache-2.0
// admin_why.c - all that this node knows of one transaction: where it is prepared, whom it waits
// for and who for it, what its gateway does with it, and what the records of led shards say.
//
// Records lie in the store, one lookup a shard, and a node may lead thousands of shards: they are
// looked at in portions, each a task of its own, so that the loop serves others between them.

#include "api/admin/admin_internal.h"

#include <string.h>

enum {
    WHY_LOCKS = 64,
    WHY_WAITERS = 256,
    WHY_WAITS = 256,
    WHY_HELD = 256,
    WHY_DRIVEN = 16,
    WHY_PORTION = 64
};

struct why {
    struct admin_call *call;
    struct txn_id txn;
    struct shard_id *shards;  // led here
    uint32_t shard_count;
    uint32_t at;
    Lightcone__V1__TxnWhyResponse response;
};

// --- Participants ---

static Lightcone__V1__TxnParticipant *participant_of(struct why *self, struct slice anchor) {
    struct admin_call *call = self->call;
    const struct shard_map *map = catalog_shard_map(node_core_catalog(admin__core(call)));
    const struct shard_descriptor *shard = shard_map_find(map, anchor);
    Lightcone__V1__TxnParticipant *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__txn_participant__init(out);
    out->anchor = (ProtobufCBinaryData){anchor.size, admin__alloc(call, anchor.size)};
    memcpy(out->anchor.data, anchor.data, anchor.size);
    if (shard == NULL) { return out; }
    out->shard = shard->id.v;
    out->leader = shard->leader.v;
    return out;
}

static void add_participants(struct why *self, const struct lock_holder *holder,
                             Lightcone__V1__TxnHolder *out) {
    struct command_prepare_view prepare;
    if (command_prepare_decode(holder->prepare, &prepare) != STATUS_OK) { return; }
    out->participants =
        admin__alloc(self->call, prepare.participant_count * sizeof(*out->participants));
    struct slice rest = prepare.participants;
    struct slice anchor;
    while (out->n_participants < prepare.participant_count &&
           command_anchors_next(&rest, &anchor)) {
        out->participants[out->n_participants++] = participant_of(self, anchor);
    }
}

// --- Locks and waits ---

static bool note_wait(void *ctx, const struct participant_waiter *waiter) {
    struct why *self = ctx;
    Lightcone__V1__TxnWhyResponse *out = &self->response;
    if (!txn_id_equal(waiter->txn, self->txn)) { return true; }
    if (out->n_waits == WHY_WAITS) { return false; }
    out->waits[out->n_waits++] = admin__txn_waiter(self->call, waiter);
    return true;
}

static bool count_holder(void *ctx, struct shard_id shard, const struct lock_holder *holder,
                         uint32_t waiters) {
    struct why *self = ctx;
    struct session *session = node_core_session(admin__core(self->call));
    if (waiters > 0) {
        participant_each_waiter(session_participant(session), shard, holder->txn, note_wait, self);
    }
    self->response.n_holders += txn_id_equal(holder->txn, self->txn) ? 1 : 0;
    return true;
}

static bool add_holder(void *ctx, struct shard_id shard, const struct lock_holder *holder,
                       uint32_t waiters) {
    struct why *self = ctx;
    if (!txn_id_equal(holder->txn, self->txn)) { return true; }
    const struct admin_txn_shown shown = {
        .waiter_count = waiters, .waiters_max = WHY_WAITERS, .locks_max = WHY_LOCKS};
    Lightcone__V1__TxnHolder *out = admin__txn_holder(self->call, shard, holder, shown);
    add_participants(self, holder, out);
    self->response.holders[self->response.n_holders++] = out;
    return true;
}

static void add_holders(struct why *self) {
    Lightcone__V1__TxnWhyResponse *out = &self->response;
    struct participant *room = session_participant(node_core_session(admin__core(self->call)));
    out->waits = admin__alloc(self->call, WHY_WAITS * sizeof(*out->waits));
    participant_each_holder(room, count_holder, self);
    out->holders = admin__alloc(self->call, out->n_holders * sizeof(*out->holders));
    out->n_holders = 0;
    participant_each_holder(room, add_holder, self);
}

// --- Its gateway ---

static bool add_driven(void *ctx, const struct gateway_view *view) {
    struct why *self = ctx;
    Lightcone__V1__TxnWhyResponse *out = &self->response;
    if (!txn_id_equal(view->txn, self->txn)) { return true; }
    Lightcone__V1__TxnDriven *driven = admin__txn_driven(self->call, view);
    driven->participants =
        admin__alloc(self->call, view->participant_count * sizeof(*driven->participants));
    for (uint32_t i = 0; i < view->participant_count; i++) {
        const struct slice anchor = gateway_view_anchor(view, i);
        if (anchor.size == 0) { break; }
        Lightcone__V1__TxnParticipant *participant = participant_of(self, anchor);
        participant->state = admin__txn_state(view->participants[i].state);
        participant->prepared = view->participants[i].prepared.v;
        driven->participants[driven->n_participants++] = participant;
    }
    out->driven[out->n_driven++] = driven;
    return out->n_driven < WHY_DRIVEN;
}

// --- Keys held for update ---

static bool add_held(void *ctx, const struct session_held *held) {
    struct why *self = ctx;
    Lightcone__V1__TxnWhyResponse *out = &self->response;
    if (!txn_id_equal(held->txn, self->txn)) { return true; }
    if (out->n_held == WHY_HELD) { return false; }
    out->held[out->n_held++] = admin__txn_held(self->call, held);
    return true;
}

// --- Records ---

static void note_led(void *ctx, struct replica *replica) {
    struct why *self = ctx;
    if (!replica_is_leader(replica) || shard_id_equal(replica_shard(replica), SHARD_CATALOG)) {
        return;
    }
    self->shards[self->shard_count++] = replica_shard(replica);
}

static void look_at(struct why *self, struct shard_id shard) {
    Lightcone__V1__TxnWhyResponse *out = &self->response;
    struct node_core *core = admin__core(self->call);
    struct replica *replica = replica_table_find(node_core_table(core), shard);
    if (replica == NULL || !replica_is_leader(replica)) { return; }  // no more
    struct apply_txn_view view;
    struct command_outcome outcome = {.status = STATUS_OK};
    apply_txn_look(node_core_apply(core), shard, self->txn, &view);
    const bool kept = apply_outcome(node_core_apply(core), shard, self->txn, &outcome) == STATUS_OK;
    if (view.state == COMMAND_TXN_PREPARED || (view.state == COMMAND_TXN_NONE && !kept)) { return; }
    Lightcone__V1__TxnRecord *record = admin__alloc(self->call, sizeof(*record));
    lightcone__v1__txn_record__init(record);
    record->shard = shard.v;
    record->state = admin__txn_state(view.state);
    record->attempt = view.attempt.number;
    record->attempt_tag = view.attempt.tag;
    record->begin = view.begin.v;
    record->prepared = view.prepared.v;
    record->commit = view.commit.v;
    record->forgotten = view.forgotten;
    if (kept) {
        record->outcome = admin__text(self->call, status_name(outcome.status));
        record->outcome_timestamp = outcome.timestamp.v;
    }
    out->records[out->n_records++] = record;
}

// What changes fast is looked at last, and at one moment.
static void finish(struct why *self) {
    struct node_core *core = admin__core(self->call);
    Lightcone__V1__TxnWhyResponse *out = &self->response;
    out->node = node_self(self->call->admin->node)->id.v;
    out->hlc = hlc_peek(node_core_hlc(core), node_core_wall_us(core)).v;
    out->shard_count = self->shard_count;
    add_holders(self);
    out->driven = admin__alloc(self->call, WHY_DRIVEN * sizeof(*out->driven));
    gateway_each(node_core_gateway(core), add_driven, self);
    out->held = admin__alloc(self->call, WHY_HELD * sizeof(*out->held));
    session_each_held(node_core_session(core), add_held, self);
    admin__reply(self->call, &out->base);
}

static void look_on(struct loop_task *task) {
    struct admin_call *call =
        (struct admin_call *)((char *)task - offsetof(struct admin_call, task));
    struct why *self = call->progress;
    for (uint32_t i = 0; i < WHY_PORTION && self->at < self->shard_count; i++) {
        look_at(self, self->shards[self->at++]);
    }
    if (self->at == self->shard_count) {
        finish(self);
        return;
    }
    if (loop_post(node_loop(call->admin->node), &call->task) != STATUS_OK) {
        admin__fail(call, STATUS_OVERLOADED, NULL, "the node's mailbox is full");
    }
}

void admin__txn_why(struct admin_call *call) {
    const Lightcone__V1__TxnWhyRequest *request = (const void *)call->request;
    if (!admin__txn_is_asked_here(call, request->node)) { return; }
    struct why *self = admin__alloc(call, sizeof(*self));
    struct replica_table *table = node_core_table(admin__core(call));
    self->call = call;
    if (!admin__txn_id_of(call, request->txn_id, &self->txn)) { return; }
    lightcone__v1__txn_why_response__init(&self->response);
    self->shards = admin__alloc(call, replica_table_count(table) * sizeof(self->shards[0]));
    replica_table_each(table, note_led, self);
    self->response.records =
        admin__alloc(call, self->shard_count * sizeof(*self->response.records));
    call->progress = self;
    call->task.run = look_on;
    look_on(&call->task);
}
