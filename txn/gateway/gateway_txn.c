// SPDX-License-Identifier: Apache-2.0
// A transaction over several shards: the coordinator says what to send, this file sends it.
//
//             attempt                        all answered, none left to tell
//   WAITING ----------> RUNNING -----------------------------------------------> FREE
//      ^                   |
//      +-------------------+ aborted by a conflict, all answered, time left: the next attempt
//
// The next attempt begins when the last has ended everywhere: before that it would be told BUSY.
// A recovery is the same object without a call: it begins RUNNING, and probes.
//
// The client is told as soon as the coordinator may tell; the object goes on until all participants
// have answered, or for GATEWAY_LINGER_NS. Prepares are calls of their own; everything after them
// goes out in batches (gateway_batch.c).
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/gateway/gateway_internal.h"
#include "txn/session/session_route.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { ANCHORS_SIZE_MAX = COMMAND_PARTICIPANTS_MAX * (SHARD_KEY_SIZE_MAX + CODEC_VARINT_SIZE_MAX) };

// --- Pool ---

static struct gateway_txn *make_txn(struct gateway *self) {
    ASSERT(self->txn_count < self->config.txns_max + self->config.recoveries_max);
    struct gateway_txn *txn = mem_alloc(sizeof(*txn));
    txn->gateway = self;
    txn->place = self->txn_count;
    buf_init(&txn->anchors, ANCHORS_SIZE_MAX);
    buf_init(&txn->prepares, GATEWAY_PREPARES_SIZE_MAX);
    buf_init(&txn->condition_parts, COMMAND_OPS_MAX);
    buf_init(&txn->why_key, SHARD_KEY_SIZE_MAX);
    self->txns[self->txn_count++] = txn;
    return txn;
}

struct gateway_txn *gateway__txn_take(struct gateway *self, bool recovering) {
    uint32_t *used = recovering ? &self->recoveries_used : &self->txns_used;
    const uint32_t max = recovering ? self->config.recoveries_max : self->config.txns_max;
    if (*used == max) { return NULL; }
    (*used)++;
    struct gateway_txn *txn = self->txns_free;
    if (txn != NULL) {
        self->txns_free = txn->next;
    } else {
        txn = make_txn(self);
    }
    ASSERT(txn->state == GATEWAY_TXN_FREE && txn->call == NULL);
    txn->recovering = recovering;
    txn->state = GATEWAY_TXN_WAITING;
    txn->linger_ns = UINT64_MAX;
    txn->retry_at_ns = UINT64_MAX;
    txn->deadline_ns = UINT64_MAX;
    txn->waits = 0;
    txn->attempts = 0;
    txn->begin = HLC_ZERO;
    txn->attempt = (struct txn_attempt){0};
    txn->refusal = STATUS_OK;
    txn->text[0] = 0;
    txn->begins_alone = false;
    buf_reset(&txn->why_key);
    return txn;
}

// --- By attempt ---

static struct gateway_txn **bucket(const struct gateway *self, struct txn_id id,
                                   struct txn_attempt attempt) {
    const uint64_t hash = hash64(slice_make(id.v, sizeof(id.v)), attempt.number + attempt.tag);
    return (struct gateway_txn **)&self->buckets[hash % GATEWAY_BUCKETS];
}

struct gateway_txn *gateway__txn_find(const struct gateway *self, struct txn_id id,
                                      struct txn_attempt attempt) {
    struct gateway_txn *at = *bucket(self, id, attempt);
    while (at != NULL && (!txn_id_equal(at->txn, id) || !txn_attempt_equal(at->attempt, attempt))) {
        at = at->next_same;
    }
    return at;
}

static void enter(struct gateway_txn *txn) {
    struct gateway_txn **head = bucket(txn->gateway, txn->txn, txn->attempt);
    txn->next_same = *head;
    *head = txn;
}

static void leave(struct gateway_txn *txn) {
    struct gateway_txn **link = bucket(txn->gateway, txn->txn, txn->attempt);
    while (*link != txn) {
        link = &(*link)->next_same;
    }
    *link = txn->next_same;
    txn->next_same = NULL;
}

// --- The end of an attempt, and of the object ---

static void cancel_prepares(struct gateway_txn *txn) {
    for (uint32_t i = 0; i < txn->coordinator.count; i++) {
        struct gateway_member *member = &txn->members[i];
        if (member->calling) { session_cancel(txn->gateway->config.session, &member->call); }
        ASSERT(!member->calling);
    }
}

static void end_attempt(struct gateway_txn *txn) {
    ASSERT(txn->state == GATEWAY_TXN_RUNNING && !txn->driving);
    txn->driving = true;  // what the cancelled calls report leads nowhere
    cancel_prepares(txn);
    txn->driving = false;
    leave(txn);
    txn->state = GATEWAY_TXN_WAITING;
    gateway__buf_trim(&txn->anchors);
    gateway__buf_trim(&txn->prepares);
    gateway__buf_trim(&txn->condition_parts);
}

void gateway__txn_release(struct gateway_txn *txn) {
    struct gateway *self = txn->gateway;
    ASSERT(txn->call == NULL);
    if (txn->state == GATEWAY_TXN_RUNNING) { end_attempt(txn); }
    ASSERT(txn->state == GATEWAY_TXN_WAITING);
    heap_remove(&self->txn_timers, &txn->timer);
    uint32_t *used = txn->recovering ? &self->recoveries_used : &self->txns_used;
    ASSERT(*used > 0);
    (*used)--;
    txn->state = GATEWAY_TXN_FREE;
    txn->generation++;
    txn->next = self->txns_free;
    self->txns_free = txn;
}

void gateway__txn_close(struct gateway_txn *txn) {
    if (txn->state == GATEWAY_TXN_FREE) { return; }
    if (txn->call != NULL) { gateway__tell_open(txn, STATUS_CANCELLED); }
    gateway__txn_release(txn);
}

void gateway__txn_free(struct gateway_txn *txn) {
    ASSERT(txn->state == GATEWAY_TXN_FREE);
    buf_deinit(&txn->anchors);
    buf_deinit(&txn->prepares);
    buf_deinit(&txn->condition_parts);
    buf_deinit(&txn->why_key);
    mem_free(txn->members);
    mem_free(txn->participants);
    mem_free(txn);
}

void gateway__txn_check(const struct gateway_txn *txn) {
    const bool running = txn->state == GATEWAY_TXN_RUNNING;
    ASSERT_IF(txn->state == GATEWAY_TXN_FREE, txn->call == NULL && !heap_has(&txn->timer));
    ASSERT_IF(txn->state == GATEWAY_TXN_WAITING, txn->call != NULL);
    ASSERT_IF(txn->state != GATEWAY_TXN_FREE, heap_has(&txn->timer) && !txn->driving);
    ASSERT_IF(txn->recovering && running, txn->call == NULL);
    ASSERT_IF(running, gateway__txn_find(txn->gateway, txn->txn, txn->attempt) == txn);
    if (!running) { return; }
    coordinator_check(&txn->coordinator);
    for (uint32_t i = 0; i < txn->coordinator.count; i++) {
        const struct gateway_member *member = &txn->members[i];
        const bool batched = member->batched != COORDINATOR_SEND_NOTHING;
        ASSERT(!(member->calling && batched));
        ASSERT(txn->participants[i].in_flight == (member->calling || batched));
    }
}

// --- The beginning of an attempt ---

void gateway__txn_begin(struct gateway_txn *txn, uint32_t count) {
    ASSERT(txn->state == GATEWAY_TXN_WAITING && count <= COMMAND_PARTICIPANTS_MAX);
    if (count > txn->member_capacity) {
        mem_free(txn->members);
        mem_free(txn->participants);
        txn->members = mem_alloc_array(count, sizeof(txn->members[0]));
        txn->participants = mem_alloc_array(count, sizeof(txn->participants[0]));
        txn->member_capacity = count;
    }
    for (uint32_t i = 0; i < count; i++) {
        txn->members[i] = (struct gateway_member){.txn = txn};
    }
    coordinator_init(&txn->coordinator, txn->participants, count, txn->recovering);
    txn->home = (struct command_certificate){0};
    txn->generation++;
    txn->state = GATEWAY_TXN_RUNNING;
    txn->retry_at_ns = UINT64_MAX;
    enter(txn);
}

// Copies the anchors: a part's may lie in the map.
static enum status take_anchors(struct gateway_txn *txn, const struct gateway_split *split) {
    buf_reset(&txn->anchors);
    for (uint32_t i = 0; i < split->part_count; i++) {
        const enum status st = buf_append(&txn->anchors, split->parts[i].anchor);
        if (st != STATUS_OK) { return st; }
    }
    size_t at = 0;
    for (uint32_t i = 0; i < split->part_count; i++) {
        const size_t size = split->parts[i].anchor.size;
        txn->members[i].anchor = slice_make(txn->anchors.data + at, size);
        at += size;
    }
    return STATUS_OK;
}

static enum status encode_prepare(struct gateway_txn *txn, const struct gateway_split *split,
                                  const struct slice *anchors, uint32_t i) {
    struct gateway *self = txn->gateway;
    struct codec_writer w;
    buf_reset(&self->scratch);
    codec_writer_init(&w, &self->scratch);
    gateway_split_encode(split, i, &w);
    if (w.status != STATUS_OK || self->scratch.size > SHARD_COMMIT_SIZE_MAX) {
        return STATUS_INVALID_ARGUMENT;
    }
    const struct command_prepare prepare = {
        .txn = txn->txn,
        .attempt = txn->attempt,
        .begin = txn->begin,
        .request_hash = txn->request_hash,
        .self = i,
        .participant_count = split->part_count,
        .participants = anchors,
        .part = buf_slice(&self->scratch),
    };
    const size_t before = txn->prepares.size;
    codec_writer_init(&w, &txn->prepares);
    command_prepare_encode(&w, &prepare);
    // As a place, until the buffer has stopped moving.
    txn->members[i].prepare =
        (struct slice){(const uint8_t *)(uintptr_t)before, txn->prepares.size - before};
    return txn->prepares.size - before > COMMAND_PAYLOAD_SIZE_MAX ? STATUS_INVALID_ARGUMENT
                                                                  : w.status;
}

static enum status encode_parts(struct gateway_txn *txn, const struct gateway_split *split) {
    struct slice anchors[COMMAND_PARTICIPANTS_MAX];
    buf_reset(&txn->prepares);
    buf_reset(&txn->condition_parts);
    enum status st = take_anchors(txn, split);
    for (uint32_t i = 0; st == STATUS_OK && i < split->part_count; i++) {
        anchors[i] = txn->members[i].anchor;
    }
    for (uint32_t i = 0; st == STATUS_OK && i < split->part_count; i++) {
        st = encode_prepare(txn, split, anchors, i);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < split->part_count; i++) {
        struct slice *prepare = &txn->members[i].prepare;
        prepare->data = txn->prepares.data + (uintptr_t)prepare->data;
    }
    if (st == STATUS_OK && split->condition_total > 0) {
        st = buf_append(&txn->condition_parts,
                        slice_make(split->condition_parts, split->condition_total));
    }
    return st;
}

static void set_timer(struct gateway_txn *txn);

// An attempt that was refused for a lock is followed by one that takes that lock first, and waits
// for it: it holds nothing meanwhile, and asks for the rest when that is likely to be of use.
static void begin_where_refused(struct gateway_txn *txn, const struct gateway_split *split) {
    const struct command_txn_answer why = {.state = COMMAND_TXN_ABORTED,
                                           .reason = COMMAND_REASON_LOCKED};
    const struct shard_descriptor *descriptor =
        txn->begins_alone ? shard_map_find(txn->gateway->config.map, buf_slice(&txn->why_key))
                          : NULL;
    for (uint32_t i = 0; descriptor != NULL && i < split->part_count; i++) {
        if (!shard_id_equal(split->parts[i].shard, descriptor->id)) { continue; }
        MARK("gateway.begins_alone");
        coordinator_begin_with(&txn->coordinator, i, &why);
        return;
    }
}

// Several parts: they are prepared. Encoding fails for want of memory, or at a limit.
static void begin_attempt(struct gateway_txn *txn, const struct gateway_split *split) {
    struct gateway *self = txn->gateway;
    const struct hlc_ts now = gateway__clock(self);
    self->stats.attempts += txn->attempts > 0 ? 1 : 0;
    txn->attempts++;
    txn->txn = split->txn;
    txn->attempt = (struct txn_attempt){now.v, (uint32_t)env_random(self->config.env)};
    if (txn->begin.v == 0) { txn->begin = now; }
    txn->request_hash = hash64(txn->call->payload, 0);
    gateway__txn_begin(txn, split->part_count);
    gateway__trace(txn, (struct trace_event){.kind = TRACE_BEGUN, .value = txn->begin.v});
    const enum status st = encode_parts(txn, split);
    if (st == STATUS_OK) {
        begin_where_refused(txn, split);
        gateway__txn_drive(txn);
        return;
    }
    gateway__tell_refused(txn, st,
                          st == STATUS_INVALID_ARGUMENT
                              ? "a part of the transaction is too large for one shard"
                              : "no memory to prepare the transaction");
    gateway__txn_release(txn);
}

static void wait_for_map(struct gateway_txn *txn) {
    MARK("gateway.no_shard");
    struct gateway *self = txn->gateway;
    txn->retry_at_ns = gateway__now(self) + gateway__backoff_ns(self, txn->waits++);
    set_timer(txn);
}

// What the split says: the call is refused, goes to one shard, or its parts are prepared.
static void begin_by_split(struct gateway_txn *txn, enum status st, const struct err *err) {
    struct gateway *self = txn->gateway;
    if (st == STATUS_UNAVAILABLE) {
        wait_for_map(txn);
    } else if (st != STATUS_OK) {
        gateway__tell_refused(txn, st, err->message);
        gateway__txn_release(txn);
    } else if (self->split.part_count == 1) {
        struct session_call *call = txn->call;
        txn->call = NULL;
        gateway__txn_release(txn);
        self->stats.one_phase++;
        session_start(self->config.session, call);
    } else {
        self->stats.two_phase += txn->attempts == 0 ? 1 : 0;
        begin_attempt(txn, &self->split);
    }
}

static void split_and_begin(struct gateway_txn *txn) {
    struct gateway *self = txn->gateway;
    struct err err = {0};
    const enum status st =
        gateway_split_commit(&self->split, self->config.map, txn->call->payload, &err);
    begin_by_split(txn, st, &err);
}

void gateway__txn_start(struct gateway *self, struct session_call *call) {
    struct err err = {0};
    const enum status st =
        gateway_split_commit(&self->split, self->config.map, call->payload, &err);
    if (st == STATUS_OK && self->split.part_count == 1) {
        self->stats.one_phase++;
        session_start(self->config.session, call);
        return;
    }
    struct gateway_txn *txn = gateway__txn_take(self, false);
    if (txn == NULL) {
        MARK("gateway.overloaded");
        self->stats.overloaded++;
        gateway__end_call(call, STATUS_OVERLOADED, "too many transactions over several shards");
        return;
    }
    txn->call = call;
    txn->begin = call->begin;
    txn->deadline_ns = call->deadline_ns;
    call->id = GATEWAY_ID_TXN | txn->place;
    begin_by_split(txn, st, &err);
}

struct gateway_txn *gateway__txn_of_call(const struct gateway *self,
                                         const struct session_call *call) {
    if ((call->id & GATEWAY_ID_TXN) == 0) { return NULL; }
    const uint64_t place = call->id & ~GATEWAY_ID_TXN;
    if (place >= self->txn_count || self->txns[place]->call != call) { return NULL; }
    return self->txns[place];
}

// --- Answers ---

// Keeps what the coordinator does not: the key of the refusal that decided, the home's certificate.
static void note_answer(struct gateway_txn *txn, uint32_t i, enum coordinator_phase before,
                        const struct command_txn_answer *answer,
                        const struct command_certificate *certificate) {
    if (i == 0 || txn->home.method == COMMAND_METHOD_NONE) { txn->home = *certificate; }
    if (before != COORDINATOR_PREPARING || answer->state != COMMAND_TXN_ABORTED) { return; }
    buf_reset(&txn->why_key);
    // Without memory the client is told no key.
    (void)!buf_append(&txn->why_key, answer->key);
}

static void take_answer(struct gateway_txn *txn, uint32_t i, enum coordinator_send sent,
                        const struct command_txn_answer *answer,
                        const struct command_certificate *certificate) {
    struct gateway *self = txn->gateway;
    struct gateway_member *member = &txn->members[i];
    const enum coordinator_phase before = txn->coordinator.phase;
    note_answer(txn, i, before, answer, certificate);
    coordinator_on_answer(&txn->coordinator, i, sent, answer);
    gateway__trace_answer(txn, sent, answer, certificate->shard);
    gateway__trace_decided(txn, before);
    if (answer->state == COMMAND_TXN_BUSY) {
        MARK("gateway.busy");
        member->at_ns = gateway__now(self) + gateway__backoff_ns(self, member->waits++);
    }
}

// An operating error that the session is sure of: the same would be told without other shards.
static bool is_refusal(enum status st) {
    return st != STATUS_UNKNOWN_OUTCOME && st != STATUS_DEADLINE_EXCEEDED &&
           st != STATUS_CANCELLED && st != STATUS_OK;
}

static void note_refusal(struct gateway_txn *txn, const struct session_result *result) {
    if (txn->refusal != STATUS_OK || !is_refusal(result->status)) { return; }
    txn->refusal = result->status;
    const size_t size =
        result->detail.size < sizeof(txn->text) - 1 ? result->detail.size : sizeof(txn->text) - 1;
    if (size > 0) { memcpy(txn->text, result->detail.data, size); }
    txn->text[size] = 0;
}

static void prepare_done(struct session_call *call, const struct session_result *result) {
    struct gateway_member *member =
        (struct gateway_member *)(void *)((char *)call - offsetof(struct gateway_member, call));
    struct gateway_txn *txn = member->txn;
    const uint32_t i = (uint32_t)(member - txn->members);
    ASSERT(member->calling && txn->state == GATEWAY_TXN_RUNNING);
    member->calling = false;
    struct codec_reader r;
    struct command_txn_answer answer;
    codec_reader_init(&r, result->payload);
    if (result->status == STATUS_OK && result->certificate.method != COMMAND_METHOD_NONE &&
        command_txn_answer_decode(&r, &answer) == STATUS_OK) {
        take_answer(txn, i, COORDINATOR_SEND_PREPARE, &answer, &result->certificate);
    } else {
        note_refusal(txn, result);
        coordinator_on_silence(&txn->coordinator, i, COORDINATOR_SEND_PREPARE);
    }
    gateway__txn_drive(txn);
}

void gateway__txn_on_resolved(struct gateway_txn *txn, uint32_t i, enum coordinator_send sent,
                              const struct command_txn_answer *answer,
                              const struct command_certificate *certificate) {
    struct gateway *self = txn->gateway;
    struct gateway_member *member = &txn->members[i];
    ASSERT(i < txn->coordinator.count && member->batched == sent);
    member->batched = COORDINATOR_SEND_NOTHING;
    if (answer != NULL) {
        take_answer(txn, i, sent, answer, certificate);
    } else {
        MARK("gateway.resolve_silent");
        coordinator_on_silence(&txn->coordinator, i, sent);
        member->at_ns = gateway__now(self) + gateway__backoff_ns(self, member->waits++);
    }
    gateway__txn_drive(txn);
}

// --- Driving ---

static void send_prepare(struct gateway_txn *txn, uint32_t i) {
    struct gateway_member *member = &txn->members[i];
    ASSERT(!member->calling && member->batched == COORDINATOR_SEND_NOTHING);
    coordinator_sent(&txn->coordinator, i);
    gateway__trace_sent(txn, i, COORDINATOR_SEND_PREPARE);
    member->calling = true;
    member->call = (struct session_call){
        .kind = txn->coordinator.first == i ? COMMAND_PREPARE_ALONE : COMMAND_PREPARE,
        .key = member->anchor,
        .payload = member->prepare,
        .deadline_ns = txn->deadline_ns,
        .done = prepare_done,
    };
    session_start(txn->gateway->config.session, &member->call);
}

static void send_resolution(struct gateway_txn *txn, uint32_t i, enum coordinator_send send,
                            uint64_t now_ns) {
    struct gateway_member *member = &txn->members[i];
    ASSERT(!member->calling && member->batched == COORDINATOR_SEND_NOTHING);
    if (!gateway__batch_add(txn, i, send)) {
        member->at_ns = now_ns + gateway__backoff_ns(txn->gateway, member->waits++);
        return;
    }
    coordinator_sent(&txn->coordinator, i);
    gateway__trace_sent(txn, i, send);
    member->batched = send;
}

// Nobody waits for prepares any more: at a participant they may wait long for a lock.
static void end_prepares(struct gateway_txn *txn) {
    if (txn->coordinator.phase == COORDINATOR_PREPARING) { return; }
    cancel_prepares(txn);
    gateway__buf_trim(&txn->prepares);
}

static void send_all(struct gateway_txn *txn, uint64_t now_ns) {
    for (uint32_t i = 0; i < txn->coordinator.count; i++) {
        const enum coordinator_send send = coordinator_next(&txn->coordinator, i);
        if (send == COORDINATOR_SEND_NOTHING || txn->members[i].at_ns > now_ns) { continue; }
        if (send != COORDINATOR_SEND_PREPARE) {
            send_resolution(txn, i, send, now_ns);
        } else if (txn->gateway->may_start && !txn->gateway->closing) {
            send_prepare(txn, i);
        }
    }
}

static void note_told(struct gateway_txn *txn, uint64_t now_ns) {
    if (txn->call == NULL && txn->linger_ns == UINT64_MAX) {
        txn->linger_ns = now_ns + GATEWAY_LINGER_NS;
    }
}

static void tell(struct gateway_txn *txn, uint64_t now_ns) {
    if (txn->call != NULL && coordinator_may_tell(&txn->coordinator)) {
        (void)gateway__tell_result(txn);
    }
    note_told(txn, now_ns);
}

// When the next attempt begins, from now. One that will wait for the lock that refused it needs no
// pause, unless it has waited and was refused all the same.
static uint64_t next_attempt_in(struct gateway_txn *txn) {
    const bool was_alone = txn->begins_alone;
    txn->begins_alone =
        txn->coordinator.why.reason == COMMAND_REASON_LOCKED && txn->why_key.size > 0;
    return txn->begins_alone && !was_alone ? 0 : gateway__backoff_ns(txn->gateway, txn->waits++);
}

// All participants have answered. Who still waits for an answer gets another attempt.
static void finish(struct gateway_txn *txn, uint64_t now_ns) {
    struct gateway *self = txn->gateway;
    if (txn->recovering) { self->stats.recovered++; }
    gateway__trace(txn, (struct trace_event){.kind = TRACE_ENDED});
    if (txn->call == NULL) {
        gateway__txn_release(txn);
        return;
    }
    const uint64_t at = now_ns + next_attempt_in(txn);
    if (at >= txn->deadline_ns) {
        gateway__tell_conflict(txn);
        gateway__txn_release(txn);
        return;
    }
    end_attempt(txn);
    txn->retry_at_ns = at;
    set_timer(txn);
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void set_timer(struct gateway_txn *txn) {
    uint64_t at = txn->call != NULL ? txn->deadline_ns : txn->linger_ns;
    if (txn->state == GATEWAY_TXN_WAITING) { at = smaller(at, txn->retry_at_ns); }
    for (uint32_t i = 0; txn->state == GATEWAY_TXN_RUNNING && i < txn->coordinator.count; i++) {
        if (coordinator_next(&txn->coordinator, i) != COORDINATOR_SEND_NOTHING) {
            at = smaller(at, txn->members[i].at_ns);
        }
    }
    ASSERT(at != UINT64_MAX);
    heap_put(&txn->gateway->txn_timers, &txn->timer, at);
}

void gateway__txn_drive(struct gateway_txn *txn) {
    ASSERT(txn->state == GATEWAY_TXN_RUNNING);
    txn->again = true;
    if (txn->driving) { return; }
    txn->driving = true;
    const uint64_t now = gateway__now(txn->gateway);
    while (txn->again) {
        txn->again = false;
        end_prepares(txn);
        tell(txn, now);
        send_all(txn, now);
    }
    txn->driving = false;
    if (coordinator_is_done(&txn->coordinator)) {
        finish(txn, now);
    } else {
        set_timer(txn);
    }
}

// --- Time, and clients that go away ---

// True when the object is gone.
static bool give_up(struct gateway_txn *txn, enum status otherwise) {
    gateway__tell_open(txn, otherwise);
    if (txn->state == GATEWAY_TXN_WAITING) {
        gateway__txn_release(txn);
        return true;
    }
    if (coordinator_may_abandon(&txn->coordinator)) {
        MARK("gateway.abandoned");
        coordinator_abandon(&txn->coordinator);
    }
    note_told(txn, gateway__now(txn->gateway));
    return false;
}

void gateway__txn_on_timer(struct gateway_txn *txn) {
    struct gateway *self = txn->gateway;
    const uint64_t now = gateway__now(self);
    ASSERT(txn->state != GATEWAY_TXN_FREE);
    if (txn->call != NULL && now >= txn->deadline_ns && give_up(txn, STATUS_DEADLINE_EXCEEDED)) {
        return;
    }
    if (txn->call == NULL && now >= txn->linger_ns) {
        MARK("gateway.left_to_recovery");
        self->stats.left++;
        gateway__trace(txn, (struct trace_event){.kind = TRACE_LEFT});
        gateway__txn_release(txn);
        return;
    }
    if (txn->state == GATEWAY_TXN_WAITING) {
        ASSERT(now >= txn->retry_at_ns);
        split_and_begin(txn);
    } else {
        gateway__txn_drive(txn);
    }
}

void gateway__txn_cancel(struct gateway_txn *txn) {
    if (!give_up(txn, STATUS_CANCELLED)) { gateway__txn_drive(txn); }
}

// --- Recovery ---

void gateway_recover(struct gateway *self, struct shard_id shard,
                     const struct lock_holder *holder) {
    struct command_prepare_view view;
    (void)shard;
    if (self->closing || gateway__txn_find(self, holder->txn, holder->attempt) != NULL) { return; }
    if (command_prepare_decode(holder->prepare, &view) != STATUS_OK) {
        MARK("gateway.recover_corrupt");
        return;
    }
    struct gateway_txn *txn = gateway__txn_take(self, true);
    if (txn == NULL) {
        MARK("gateway.recoveries_full");
        return;
    }
    buf_reset(&txn->anchors);
    if (buf_append(&txn->anchors, view.participants) != STATUS_OK) {
        gateway__txn_release(txn);
        return;
    }
    txn->txn = holder->txn;
    txn->attempt = holder->attempt;
    txn->begin = holder->begin;
    txn->request_hash = view.request_hash;
    txn->linger_ns = gateway__now(self) + GATEWAY_LINGER_NS;
    gateway__txn_begin(txn, view.participant_count);
    gateway__trace(txn, (struct trace_event){.kind = TRACE_RECOVERING,
                                             .value = holder->prepared.v,
                                             .shard = shard.v});
    struct slice rest = buf_slice(&txn->anchors);
    for (uint32_t i = 0; i < view.participant_count; i++) {
        const bool found = command_anchors_next(&rest, &txn->members[i].anchor);
        ASSERT(found);
    }
    // What was applied is durable: this participant need not be asked.
    const struct command_txn_answer own = {.state = COMMAND_TXN_PREPARED,
                                           .timestamp = holder->prepared};
    coordinator_on_answer(&txn->coordinator, view.self, COORDINATOR_SEND_PROBE, &own);
    gateway__txn_drive(txn);
}
