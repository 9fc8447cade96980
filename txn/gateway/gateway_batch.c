// SPDX-License-Identifier: Apache-2.0
// Resolutions of all transactions and recoveries, gathered by shard: one entry of a shard's log
// takes what a turn has for it. That makes thousands of leftovers of one gateway cost a handful of
// entries, and FORGET, which is in no hurry, costs none where something else goes out anyway.
//
// An entry that ends in silence is silence for each resolution in it; each is sent again by whoever
// wants it, to where its anchor lies then.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/gateway/gateway_internal.h"

#include <stddef.h>
#include <string.h>

enum { BATCH_ITEMS_SIZE_MAX = 1 << 20, REFS_MIN = 16 };

static struct gateway_batch *batch_of_call(struct session_call *call) {
    return (struct gateway_batch *)(void *)((char *)call - offsetof(struct gateway_batch, call));
}

static struct gateway_batch *batch_of_timer(struct heap_node *timer) {
    return (struct gateway_batch *)(void *)((char *)timer - offsetof(struct gateway_batch, timer));
}

static struct gateway_batch **bucket(struct gateway *self, struct shard_id shard) {
    return &self->open[shard.v % GATEWAY_BUCKETS];
}

static struct gateway_batch *take_batch(struct gateway *self) {
    struct gateway_batch *batch = self->batches_free;
    if (batch != NULL) {
        self->batches_free = batch->next;
        return batch;
    }
    batch = mem_alloc(sizeof(*batch));
    batch->gateway = self;
    buf_init(&batch->key, SHARD_KEY_SIZE_MAX);
    buf_init(&batch->items, BATCH_ITEMS_SIZE_MAX);
    buf_init(&batch->payload, BATCH_ITEMS_SIZE_MAX);
    return batch;
}

static void give_batch(struct gateway_batch *batch) {
    struct gateway *self = batch->gateway;
    gateway__buf_trim(&batch->items);
    gateway__buf_trim(&batch->payload);
    buf_reset(&batch->key);
    batch->count = 0;
    batch->next = self->batches_free;
    self->batches_free = batch;
}

static void free_batch(struct gateway_batch *batch) {
    buf_deinit(&batch->key);
    buf_deinit(&batch->items);
    buf_deinit(&batch->payload);
    mem_free(batch->refs);
    mem_free(batch);
}

// --- Gathering ---

static bool names(const struct gateway_batch *batch, struct txn_id txn) {
    for (uint32_t i = 0; i < batch->count; i++) {
        if (txn_id_equal(batch->refs[i].txn, txn)) { return true; }
    }
    return false;
}

// The batch that gathers for the shard, or a new one. An entry says one thing of an id: what one
// attempt is told must not depend on what the same entry does to another.
static struct gateway_batch *open_batch(struct gateway *self, struct shard_id shard,
                                        struct txn_id txn, struct slice anchor) {
    struct gateway_batch **head = bucket(self, shard);
    for (struct gateway_batch *at = *head; at != NULL; at = at->next) {
        if (shard_id_equal(at->shard, shard) && at->count < COMMAND_RESOLUTIONS_MAX &&
            !names(at, txn)) {
            return at;
        }
    }
    struct gateway_batch *batch = take_batch(self);
    if (buf_append(&batch->key, anchor) != STATUS_OK) {
        give_batch(batch);
        return NULL;
    }
    batch->shard = shard;
    batch->next = *head;
    *head = batch;
    return batch;
}

static void close_batch(struct gateway_batch *batch) {
    struct gateway_batch **link = bucket(batch->gateway, batch->shard);
    while (*link != batch) {
        link = &(*link)->next;
    }
    *link = batch->next;
    heap_remove(&batch->gateway->batch_timers, &batch->timer);
}

static enum command_decision decision_of(enum coordinator_send send) {
    switch (send) {
    case COORDINATOR_SEND_COMMIT:
        return COMMAND_DECIDE_COMMIT;
    case COORDINATOR_SEND_ABORT:
        return COMMAND_DECIDE_ABORT;
    case COORDINATOR_SEND_FORGET:
        return COMMAND_DECIDE_FORGET;
    case COORDINATOR_SEND_PROBE:
    case COORDINATOR_SEND_NOTHING:
    case COORDINATOR_SEND_PREPARE:
        break;
    }
    return COMMAND_DECIDE_PROBE;
}

// The place of a condition in the request, from its place in the part of a participant.
static uint32_t condition_place(const struct gateway_txn *txn) {
    uint32_t left = txn->coordinator.why.failed_condition;
    for (size_t i = 0; i < txn->condition_parts.size; i++) {
        if (txn->condition_parts.data[i] != txn->coordinator.why_participant) { continue; }
        if (left-- == 0) { return (uint32_t)i; }
    }
    return txn->coordinator.why.failed_condition;
}

static struct command_resolution make_resolution(const struct gateway_txn *txn, uint32_t member,
                                                 enum coordinator_send send) {
    struct command_resolution out = {
        .txn = txn->txn,
        .attempt = txn->attempt,
        .begin = txn->begin,
        .decision = decision_of(send),
        .outcome = STATUS_OK,
    };
    if (send == COORDINATOR_SEND_COMMIT) { out.commit = txn->coordinator.commit; }
    if (send == COORDINATOR_SEND_ABORT && member == 0 &&
        coordinator_wants_outcome(&txn->coordinator)) {
        const bool condition = txn->coordinator.why.reason == COMMAND_REASON_CONDITION;
        const bool type = txn->coordinator.why.reason == COMMAND_REASON_TYPE;
        out.outcome = condition ? STATUS_CONDITION_FAILED
                      : type    ? STATUS_FAILED_PRECONDITION
                                : STATUS_RESOURCE_EXHAUSTED;
        out.failed_condition = condition ? condition_place(txn) : 0;
        out.request_hash = txn->request_hash;
    }
    return out;
}

static void add_ref(struct gateway_batch *batch, struct gateway_ref ref) {
    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity == 0 ? REFS_MIN : 2 * batch->capacity;
        batch->refs = mem_realloc(batch->refs, batch->capacity * sizeof(batch->refs[0]));
    }
    batch->refs[batch->count++] = ref;
}

bool gateway__batch_add(struct gateway_txn *txn, uint32_t member, enum coordinator_send send) {
    struct gateway *self = txn->gateway;
    const struct slice anchor = txn->members[member].anchor;
    const struct shard_descriptor *descriptor = shard_map_find(self->config.map, anchor);
    if (descriptor == NULL) { return false; }
    struct gateway_batch *batch = open_batch(self, descriptor->id, txn->txn, anchor);
    if (batch == NULL) { return false; }
    const struct command_resolution resolution = make_resolution(txn, member, send);
    const size_t before = batch->items.size;
    struct codec_writer w;
    codec_writer_init(&w, &batch->items);
    command_resolution_encode(&w, &resolution);
    const bool fits = w.status == STATUS_OK;
    if (!fits) { batch->items.size = before; }
    if (!fits && batch->count == 0) {
        close_batch(batch);
        give_batch(batch);
    }
    if (!fits) { return false; }
    add_ref(batch, (struct gateway_ref){txn->txn, txn->place, member, txn->generation, send});
    const uint64_t now = gateway__now(self);
    const bool hurry = send != COORDINATOR_SEND_FORGET || batch->count == COMMAND_RESOLUTIONS_MAX;
    if (hurry || batch->count == 1) {
        heap_put(&self->batch_timers, &batch->timer, hurry ? now : now + GATEWAY_FORGET_NS);
    }
    return true;
}

// --- Sending ---

static void unlink_sent(struct gateway_batch *batch) {
    *batch->sent_link = batch->sent_next;
    if (batch->sent_next != NULL) { batch->sent_next->sent_link = batch->sent_link; }
    batch->sent_link = NULL;
    batch->sent_next = NULL;
}

static void link_sent(struct gateway_batch *batch) {
    struct gateway *self = batch->gateway;
    batch->sent_next = self->batches_sent;
    batch->sent_link = &self->batches_sent;
    if (batch->sent_next != NULL) { batch->sent_next->sent_link = &batch->sent_next; }
    self->batches_sent = batch;
}

static void answer_ref(struct gateway *self, const struct gateway_ref *ref,
                       const struct command_txn_answer *answer,
                       const struct command_certificate *certificate) {
    ASSERT(ref->place < self->txn_count);
    struct gateway_txn *txn = self->txns[ref->place];
    if (txn->state != GATEWAY_TXN_RUNNING || txn->generation != ref->generation) {
        MARK("gateway.resolved_after_end");
        return;
    }
    gateway__txn_on_resolved(txn, ref->member, ref->sent, answer, certificate);
}

static void batch_done(struct session_call *call, const struct session_result *result) {
    struct gateway_batch *batch = batch_of_call(call);
    struct gateway *self = batch->gateway;
    unlink_sent(batch);
    bool certified =
        result->status == STATUS_OK && result->certificate.method != COMMAND_METHOD_NONE;
    struct codec_reader r;
    codec_reader_init(&r, result->payload);
    for (uint32_t i = 0; i < batch->count; i++) {
        struct command_txn_answer answer;
        certified = certified && command_txn_answer_decode(&r, &answer) == STATUS_OK;
        answer_ref(self, &batch->refs[i], certified ? &answer : NULL, &result->certificate);
    }
    give_batch(batch);
}

static void send_batch(struct gateway_batch *batch, uint64_t now_ns) {
    struct gateway *self = batch->gateway;
    close_batch(batch);
    buf_reset(&batch->payload);
    struct codec_writer w;
    codec_writer_init(&w, &batch->payload);
    command_resolve_begin(&w, batch->count);
    codec_put_raw(&w, buf_slice(&batch->items));
    batch->call = (struct session_call){
        .kind = COMMAND_RESOLVE,
        .key = buf_slice(&batch->key),
        .payload = buf_slice(&batch->payload),
        .deadline_ns = now_ns + GATEWAY_RESOLVE_NS,
        .done = batch_done,
    };
    link_sent(batch);
    self->stats.batches++;
    self->stats.resolutions += batch->count;
    if (w.status != STATUS_OK) {
        const struct session_result silence = {.status = w.status};
        batch_done(&batch->call, &silence);
        return;
    }
    session_start(self->config.session, &batch->call);
}

bool gateway__batch_flush(struct gateway *self, uint64_t now_ns) {
    // Ends: what fails at once is added again only after a while.
    bool any = false;
    struct heap_node *first = heap_peek(&self->batch_timers);
    while (first != NULL && first->key <= now_ns) {
        send_batch(batch_of_timer(first), now_ns);
        any = true;
        first = heap_peek(&self->batch_timers);
    }
    return any;
}

uint64_t gateway__batch_deadline(const struct gateway *self) {
    const struct heap_node *first = heap_peek(&self->batch_timers);
    return first != NULL ? first->key : UINT64_MAX;
}

void gateway__batch_close_all(struct gateway *self) {
    for (struct heap_node *first = heap_peek(&self->batch_timers); first != NULL;
         first = heap_peek(&self->batch_timers)) {
        struct gateway_batch *batch = batch_of_timer(first);
        close_batch(batch);
        give_batch(batch);
    }
    while (self->batches_sent != NULL) {
        session_cancel(self->config.session, &self->batches_sent->call);
    }
    while (self->batches_free != NULL) {
        struct gateway_batch *batch = self->batches_free;
        self->batches_free = batch->next;
        free_batch(batch);
    }
}
