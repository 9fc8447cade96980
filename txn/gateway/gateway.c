// SPDX-License-Identifier: Apache-2.0
// Life and entry points of a gateway. What touches one shard goes through untouched: one look into
// the map, no copy, no allocation.
//
//   gateway_txn.c    transactions over several shards, recoveries
//   gateway_tell.c   what their clients are told
//   gateway_batch.c  resolutions, gathered by shard
//   gateway_read.c   reads over several shards
//   gateway_split.c  which operation lies where
//   gateway_held.c   what waits for a verdict about the clock
//   gateway_hold.c   keys that interactive transactions hold
#include "txn/gateway/gateway.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/gateway/gateway_internal.h"
#include "txn/session/session_route.h"

#include <stddef.h>

enum { TOLD_KEPT_SIZE = 4096 };

struct gateway *gateway_create(const struct gateway_config *config) {
    ASSERT(config->self.v != 0 && config->env != NULL && config->hlc != NULL);
    ASSERT(config->session != NULL && config->map != NULL);
    ASSERT(config->txns_max > 0 && config->recoveries_max > 0);
    struct gateway *self = mem_alloc(sizeof(*self));
    self->config = *config;
    self->held.deadline_ns = UINT64_MAX;
    gateway_split_init(&self->split);
    heap_init(&self->txn_timers);
    heap_init(&self->read_timers);
    heap_init(&self->batch_timers);
    heap_init(&self->hold_timers);
    self->txns = mem_alloc_array((size_t)config->txns_max + config->recoveries_max,
                                 sizeof(struct gateway_txn *));
    self->reads = mem_alloc_array(config->txns_max, sizeof(struct gateway_read *));
    buf_init(&self->scratch, COMMAND_PAYLOAD_SIZE_MAX);
    buf_init(&self->told, COMMAND_PAYLOAD_SIZE_MAX);
    const enum status st = buf_reserve(&self->told, TOLD_KEPT_SIZE);
    ASSERT(st == STATUS_OK);
    return self;
}

void gateway_destroy(struct gateway *self) {
    if (self == NULL) { return; }
    ASSERT(!self->closing);
    self->closing = true;  // calls that a callback starts now end at once
    gateway__held_close(self);
    for (uint32_t i = 0; i < self->txn_count; i++) {
        gateway__txn_close(self->txns[i]);
    }
    for (uint32_t i = 0; i < self->read_count; i++) {
        gateway__read_close(self->reads[i]);
    }
    gateway__batch_close_all(self);
    for (uint32_t i = 0; i < self->txn_count; i++) {
        gateway__txn_free(self->txns[i]);
    }
    for (uint32_t i = 0; i < self->read_count; i++) {
        gateway__read_free(self->reads[i]);
    }
    gateway_split_deinit(&self->split);
    heap_deinit(&self->txn_timers);
    heap_deinit(&self->read_timers);
    heap_deinit(&self->batch_timers);
    heap_deinit(&self->hold_timers);
    buf_deinit(&self->scratch);
    buf_deinit(&self->told);
    mem_free(self->txns);
    mem_free(self->reads);
    mem_free(self);
}

// --- Calls ---

void gateway__end_call(struct session_call *call, enum status st, const char *text) {
    const struct session_result result = {.status = st, .detail = slice_from_string(text)};
    call->id = 0;
    call->done(call, &result);
}

// False for certain when all keys lie on one shard that the map knows.
static bool may_be_many(const struct gateway *self, const struct session_call *call) {
    if (call->kind != COMMAND_COMMIT && call->kind != COMMAND_READ) { return false; }
    if (call->key_high.size == 0) { return false; }
    const struct shard_descriptor *descriptor = shard_map_find(self->config.map, call->key);
    return descriptor == NULL || !shard_descriptor_contains(descriptor, call->key_high);
}

static bool needs_coordination(const struct session_call *call) {
    if (call->kind == COMMAND_COMMIT) { return true; }
    if (call->kind != COMMAND_READ && call->kind != COMMAND_SCAN &&
        call->kind != COMMAND_VERSIONS) {
        return false;
    }
    struct command_snapshot snapshot;
    return command_snapshot_peek(call->payload, &snapshot) == STATUS_OK &&
           command_consistency_is_strong(snapshot.consistency);
}

// A node whose clock is wrong takes no part in what clocks order, nor does one that does not know.
static bool is_kept_out(struct gateway *self, struct session_call *call) {
    char text[GATEWAY_TEXT_SIZE];
    if (self->config.may_coordinate == NULL || !needs_coordination(call)) { return false; }
    const enum gateway_verdict verdict = self->config.may_coordinate(self->config.ctx, text);
    if (verdict == GATEWAY_GO) { return false; }
    if (verdict == GATEWAY_WAIT && gateway__held_add(self, call)) { return true; }
    MARK("gateway.turned_away");
    self->stats.turned_away++;
    gateway__end_call(call, STATUS_UNAVAILABLE, text);
    return true;
}

void gateway_start(struct gateway *self, struct session_call *call) {
    ASSERT(call->done != NULL);
    ASSERT(call->kind >= COMMAND_COMMIT && call->kind < COMMAND_KIND_COUNT);
    const bool before = self->may_start;
    self->may_start = true;
    if (self->closing) {
        gateway__end_call(call, STATUS_CANCELLED, "the node is stopping");
    } else if (is_kept_out(self, call)) {
        // Ended, or started again by gateway_turn.
    } else if (!may_be_many(self, call)) {
        self->stats.one_phase += call->kind == COMMAND_COMMIT ? 1 : 0;
        session_start(self->config.session, call);
    } else if (call->kind == COMMAND_READ) {
        gateway__read_start(self, call);
    } else {
        gateway__txn_start(self, call);
    }
    self->may_start = before;
}

void gateway_cancel(struct gateway *self, struct session_call *call) {
    struct gateway_txn *txn = gateway__txn_of_call(self, call);
    struct gateway_read *read = gateway__read_of_call(self, call);
    if (call->id == GATEWAY_ID_HELD) {
        const bool held = gateway__held_remove(self, call);
        ASSERT(held);
        gateway__end_call(call, STATUS_CANCELLED, "");
    } else if (txn != NULL) {
        gateway__txn_cancel(txn);
    } else if (read != NULL) {
        gateway__read_cancel(read, STATUS_CANCELLED);
    } else {
        session_cancel(self->config.session, call);
    }
}

// --- Time ---

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t first_key(const struct heap *heap) {
    const struct heap_node *first = heap_peek(heap);
    return first != NULL ? first->key : UINT64_MAX;
}

uint64_t gateway_deadline_ns(const struct gateway *self) {
    const uint64_t timers = smaller(first_key(&self->txn_timers), first_key(&self->read_timers));
    const uint64_t waits = smaller(self->held.deadline_ns, first_key(&self->hold_timers));
    return smaller(smaller(gateway__batch_deadline(self), waits), timers);
}

static void fire_txns(struct gateway *self, uint64_t now_ns) {
    // Ends: whatever fires is put at a later time, or ends.
    struct heap_node *first = heap_peek(&self->txn_timers);
    while (first != NULL && first->key <= now_ns) {
        gateway__txn_on_timer(
            (struct gateway_txn *)(void *)((char *)first - offsetof(struct gateway_txn, timer)));
        first = heap_peek(&self->txn_timers);
    }
}

static void fire_reads(struct gateway *self, uint64_t now_ns) {
    struct heap_node *first = heap_peek(&self->read_timers);
    while (first != NULL && first->key <= now_ns) {
        gateway__read_on_timer(
            (struct gateway_read *)(void *)((char *)first - offsetof(struct gateway_read, timer)));
        first = heap_peek(&self->read_timers);
    }
}

void gateway_on_time(struct gateway *self) {
    const uint64_t now = gateway__now(self);
    const bool before = self->may_start;
    self->may_start = true;
    gateway__held_on_time(self, now);
    fire_txns(self, now);
    fire_reads(self, now);
    (void)gateway__batch_flush(self, now);
    gateway__holds_on_time(self, now);
    self->may_start = before;
}

bool gateway_turn(struct gateway *self) {
    const bool released = gateway__held_turn(self);
    if (gateway_deadline_ns(self) > gateway__now(self)) { return released; }
    gateway_on_time(self);
    return true;
}

uint64_t gateway__backoff_ns(struct gateway *self, uint32_t waits) {
    return session_route_backoff_ns(waits, env_random(self->config.env));
}

void gateway__buf_trim(struct buf *buf) {
    const size_t size_max = buf->size_max;
    buf_reset(buf);
    if (buf->capacity <= GATEWAY_KEPT_SIZE_MAX) { return; }
    buf_deinit(buf);
    buf_init(buf, size_max);
}

// --- What it does ---

static bool visit_txn(const struct gateway_txn *txn,
                      bool (*visit)(void *ctx, const struct gateway_view *view), void *ctx) {
    const bool begun = txn->attempts > 0 || txn->recovering;
    if (txn->state == GATEWAY_TXN_FREE || !begun) { return true; }
    const struct gateway_view view = {.txn = txn->txn,
                                      .attempt = txn->attempt,
                                      .begin = txn->begin,
                                      .recovering = txn->recovering,
                                      .told = txn->call == NULL,
                                      .waiting = txn->state == GATEWAY_TXN_WAITING,
                                      .phase = txn->coordinator.phase,
                                      .attempts = txn->attempts,
                                      .participant_count = txn->coordinator.count,
                                      .participants = txn->participants,
                                      .txn_private = txn};
    return visit(ctx, &view);
}

struct slice gateway_view_anchor(const struct gateway_view *view, uint32_t i) {
    ASSERT(i < view->participant_count);
    return view->waiting ? SLICE_EMPTY : view->txn_private->members[i].anchor;
}

void gateway_each(const struct gateway *self,
                  bool (*visit)(void *ctx, const struct gateway_view *view), void *ctx) {
    for (uint32_t i = 0; i < self->txn_count; i++) {
        if (!visit_txn(self->txns[i], visit, ctx)) { return; }
    }
}

struct gateway_stats gateway_stats(const struct gateway *self) {
    struct gateway_stats stats = self->stats;
    stats.in_flight = self->txns_used + self->reads_used;
    stats.recovering = self->recoveries_used;
    stats.held = self->held.end - self->held.first;
    return stats;
}

void gateway_check(const struct gateway *self) {
    uint32_t txns = 0;
    uint32_t recoveries = 0;
    uint32_t reads = 0;
    for (uint32_t i = 0; i < self->txn_count; i++) {
        const struct gateway_txn *txn = self->txns[i];
        gateway__txn_check(txn);
        txns += txn->state != GATEWAY_TXN_FREE && !txn->recovering ? 1 : 0;
        recoveries += txn->state != GATEWAY_TXN_FREE && txn->recovering ? 1 : 0;
    }
    for (uint32_t i = 0; i < self->read_count; i++) {
        gateway__read_check(self->reads[i]);
        reads += self->reads[i]->call != NULL ? 1 : 0;
    }
    ASSERT(txns == self->txns_used && recoveries == self->recoveries_used);
    ASSERT(reads == self->reads_used);
}
