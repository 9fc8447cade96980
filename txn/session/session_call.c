// SPDX-License-Identifier: Apache-2.0
// The life of one call at its gateway.
//
//            +------------------- RETRY_NOW (from a replica: by timer) -------------------+
//            v                                                                            |
//   start -> route --> LOCAL (this node's replica) ----------- answer ----> judge --------+
//            ^ |  |                                              ^          |   |
//            | |  +--> REMOTE (PEER_REQUEST) --- answer/silence -+          |   +-- FINISH: done
//            | +-----> WAITING (nobody to ask)                              |
//            +-------- WAITING (back-off, or until a leader is heard of) <--+ RETRY_LATER
//
//   Any state: deadline or cancel -> done. When the table of replicas still holds the execution the
//   slot is ENDED until it reports, then free.
//
// Every request carries the name of its call (slot and generation) and of the attempt. An answer to
// an earlier attempt may still bring the result, if a shard certifies it; what it says about the
// route only updates the map.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "txn/session/session_internal.h"

#include <stdio.h>

// id = generation (36 bits) | attempt (8 bits) | place in the table (20 bits)
enum { ID_PLACE_BITS = 20, ID_ATTEMPT_BITS = 8, ID_GENERATION_BITS = 36, DETAIL_SIZE = 200 };

static uint64_t low_bits(uint64_t v, unsigned bits) {
    return v & ((UINT64_C(1) << bits) - 1);
}

static uint64_t request_id(const struct session_slot *slot) {
    const struct session *self = slot->exec.session;
    return low_bits(slot->generation, ID_GENERATION_BITS) << (ID_ATTEMPT_BITS + ID_PLACE_BITS) |
           low_bits(slot->attempts, ID_ATTEMPT_BITS) << ID_PLACE_BITS |
           (uint64_t)(slot - self->slots);
}

// The slot whose call the id names, whichever attempt; NULL when that call is over.
static struct session_slot *slot_of_id(const struct session *self, uint64_t id) {
    const uint64_t place = low_bits(id, ID_PLACE_BITS);
    if (place >= self->config.calls_max) { return NULL; }
    struct session_slot *slot = &self->slots[place];
    const uint64_t generation = id >> (ID_ATTEMPT_BITS + ID_PLACE_BITS);
    const bool same = low_bits(slot->generation, ID_GENERATION_BITS) == generation;
    return same && slot->call != NULL ? slot : NULL;
}

struct session_slot *session__slot_of_call(const struct session *self,
                                           const struct session_call *call) {
    if (call->id == 0 || call->id > self->config.calls_max) { return NULL; }
    struct session_slot *slot = &self->slots[call->id - 1];
    return slot->call == call ? slot : NULL;
}

// --- Waiting ---

struct session_slot **session__waiters(struct session *self, struct shard_id shard) {
    return &self->waiters[shard.v % SESSION_WAITER_BUCKETS];
}

// The slot hears of the shard's next leader, session_on_leader.
static void enter_waiters(struct session_slot *slot) {
    ASSERT(slot->call != NULL && slot->link == NULL);
    struct session_slot **head = session__waiters(slot->exec.session, slot->shard);
    slot->next = *head;
    slot->link = head;
    if (slot->next != NULL) { slot->next->link = &slot->next; }
    *head = slot;
}

static void leave_waiters(struct session_slot *slot) {
    if (slot->link == NULL) { return; }
    *slot->link = slot->next;
    if (slot->next != NULL) { slot->next->link = slot->link; }
    slot->link = NULL;
    slot->next = NULL;
}

static void set_timer(struct session_slot *slot, uint64_t at_ns) {
    const uint64_t deadline = slot->call->deadline_ns;
    heap_put(&slot->exec.session->timers, &slot->timer, at_ns < deadline ? at_ns : deadline);
}

void session__wait_until(struct session_slot *slot, uint64_t at_ns) {
    slot->state = SESSION_SLOT_WAITING;
    slot->retry_at_ns = at_ns;
    enter_waiters(slot);
    set_timer(slot, at_ns);
}

static void back_off(struct session_slot *slot) {
    struct session *self = slot->exec.session;
    const uint64_t delay = session_route_backoff_ns(slot->waits, env_random(self->config.env));
    slot->waits++;
    slot->hops = 0;
    session__wait_until(slot, session__now(self) + delay);
}

// --- The end ---

// Of a commit on one shard, as its gateway.
void session__trace_commit(const struct session_slot *slot, struct trace_event event) {
    struct trace *trace = slot->exec.session->config.trace;
    struct command_commit_reader reader;
    if (trace == NULL || slot->call->kind != COMMAND_COMMIT ||
        command_commit_open(&reader, slot->call->payload) != STATUS_OK) {
        return;
    }
    event.what = TRACE_ONE_PHASE;
    trace_note(trace, &reader.txn, event);
}

void session__finish(struct session_slot *slot, const struct session_result *result) {
    struct session *self = slot->exec.session;
    struct session_call *call = slot->call;
    ASSERT(call != NULL);
    leave_waiters(slot);
    heap_remove(&self->timers, &slot->timer);
    session__trace_commit(slot, (struct trace_event){.kind = TRACE_TOLD,
                                                     .state = (uint8_t)result->status,
                                                     .shard = result->certificate.shard.v,
                                                     .value = result->certificate.timestamp.v});
    slot->call = NULL;
    slot->maybe_applied = false;
    slot->state = SESSION_SLOT_ENDED;
    ASSERT(self->stats.in_flight > 0);
    self->stats.in_flight--;
    // The result may lie in the slot's rows: they are kept until done has seen them, while the slot
    // may already serve the call that done starts.
    struct buf rows = {0};
    session__park_end(&slot->exec);
    slot->exec.payload = SLICE_EMPTY;  // it was the call's
    if (!slot->exec.pending) {
        rows = slot->exec.rows;
        slot->exec.rows = (struct buf){0};
        slot->state = SESSION_SLOT_FREE;
        slot->next = self->slots_free;
        self->slots_free = slot;
    }
    call->id = 0;
    call->done(call, result);
    session__buf_give(self, &rows);
}

void session__finish_text(struct session_slot *slot, enum status status, const char *detail) {
    const struct session_result result = {.status = status, .detail = slice_from_string(detail)};
    session__finish(slot, &result);
}

void session__give_up(struct session_slot *slot, enum status otherwise) {
    const enum command_kind kind = slot->call->kind;
    const bool under_way = slot->state == SESSION_SLOT_REMOTE || slot->exec.pending;
    const bool maybe = session_route_mutates(kind) && (slot->maybe_applied || under_way);
    const enum status status = session_route_give_up(kind, maybe, otherwise);
    char detail[DETAIL_SIZE];
    if (slot->attempts == 0 && slot->shard.v == 0) {
        (void)snprintf(detail, sizeof(detail), "no shard is known that holds the key");
    } else {
        (void)snprintf(detail, sizeof(detail),
                       "%u attempts at shard %llu; last asked: node %u; last answer: %s",
                       slot->attempts, (unsigned long long)slot->shard.v, slot->target.v,
                       slot->last_status == STATUS_OK ? "none" : status_name(slot->last_status));
    }
    session__finish_text(slot, status, detail);
}

// --- Answers ---

// True when the map now sends the call elsewhere than to where it was sent.
static bool take_descriptors(struct session_slot *slot, struct slice delta) {
    struct session *self = slot->exec.session;
    if (delta.size == 0) { return false; }
    struct codec_reader r;
    codec_reader_init(&r, delta);
    // Each descriptor is independent: what came before damage is taken, the rest is as if not sent.
    (void)!shard_map_apply_delta(self->config.map, &r);
    uint8_t scan_key[SHARD_KEY_SIZE_MAX];
    struct slice key;
    if (slot->call->kind == COMMAND_CATALOG || !session__routing_key(slot->call, scan_key, &key)) {
        return false;
    }
    const struct shard_descriptor *now = shard_map_find(self->config.map, key);
    return now != NULL && (!shard_id_equal(now->id, slot->shard) || now->epoch != slot->epoch);
}

static void note_leader(struct session *self, struct shard_id shard, struct node_id leader,
                        uint64_t term) {
    shard_map_note_leader(self->config.map, shard, leader, term);
    if (shard_id_equal(shard, SHARD_CATALOG) && term >= self->catalog_term) {
        self->catalog_leader = leader;
        self->catalog_term = term;
    }
}

// True when the answer names a leader worth asking at once.
static bool take_leader(struct session_slot *slot, struct node_id from,
                        const struct command_response *response) {
    struct session *self = slot->exec.session;
    const struct shard_descriptor *known = shard_map_by_id(self->config.map, slot->shard);
    if (response->leader.v == 0 || node_id_equal(response->leader, from)) {
        // It does not know. Whoever sent the call there by this hint shall not do so again.
        if (known != NULL && node_id_equal(known->leader, from)) {
            shard_map_note_leader(self->config.map, slot->shard, (struct node_id){0}, known->term);
        }
        if (node_id_equal(self->catalog_leader, from)) {
            self->catalog_leader = (struct node_id){0};
        }
        return false;
    }
    shard_map_note_leader(self->config.map, slot->shard, response->leader, response->leader_term);
    if (shard_id_equal(slot->shard, SHARD_CATALOG) && response->leader_term >= self->catalog_term) {
        self->catalog_leader = response->leader;
        self->catalog_term = response->leader_term;
    }
    // "You lead" is news only if it is true.
    const struct replica *replica = replica_table_find(self->config.table, slot->shard);
    return !node_id_equal(response->leader, self->config.self) ||
           (replica != NULL && replica_is_leader(replica));
}

// A lock was in the way of the commit when it was applied. Or it is still held by the transaction
// whose outcome is asked for: its leader answers that long before the caller's time is up.
static bool met_lock(const struct session_slot *slot, const struct command_response *response) {
    if (slot->call->kind == COMMAND_TXN_STATUS) {
        return response->status == STATUS_NOT_FOUND && response->payload.size > 0 &&
               response->certificate.method != COMMAND_METHOD_NONE &&
               session__now(slot->exec.session) < slot->patient_ns;
    }
    if (slot->call->kind != COMMAND_COMMIT || response->status != STATUS_ABORTED_RETRY ||
        response->certificate.method == COMMAND_METHOD_NONE) {
        return false;
    }
    struct codec_reader r;
    struct command_txn_answer answer;
    codec_reader_init(&r, response->payload);
    return command_txn_answer_decode(&r, &answer) == STATUS_OK &&
           answer.reason == COMMAND_REASON_LOCKED;
}

// Methods that only a leader has.
static bool is_leaders(const struct command_certificate *certificate) {
    return certificate->method == COMMAND_METHOD_LEASE ||
           certificate->method == COMMAND_METHOD_READ_INDEX ||
           certificate->method == COMMAND_METHOD_LOG;
}

static struct session_verdict judge(struct session_slot *slot, struct node_id from,
                                    const struct command_response *response) {
    struct session_judgement judgement = {
        .kind = slot->call->kind,
        .status = response->status,
        .certified = response->certificate.method != COMMAND_METHOD_NONE,
        .entered_log = response->certificate.index != 0,
        .maybe_applied = slot->maybe_applied,
        .locked = met_lock(slot, response),
        .hops = slot->hops,
    };
    if (is_leaders(&response->certificate) &&
        !node_id_equal(from, slot->exec.session->config.self)) {
        // Who decides for a shard leads it: the next call goes straight there.
        note_leader(slot->exec.session, slot->shard, from, response->certificate.term);
    }
    if (response->status == STATUS_NOT_LEADER) {
        judgement.new_leader = take_leader(slot, from, response);
    }
    if (response->status == STATUS_STALE_SHARD_MAP) {
        judgement.newer_map = take_descriptors(slot, response->descriptors);
    }
    return session_route_judge(&judgement);
}

static void finish_with(struct session_slot *slot, enum status status,
                        const struct command_response *response) {
    const struct session_result result = {.status = status,
                                          .certificate = response->certificate,
                                          .payload = response->payload,
                                          .detail = response->detail,
                                          .contact = response->contact,
                                          .uncertain = response->uncertain};
    session__finish(slot, &result);
}

// A leader that had the request wait for a lock, in vain.
static bool waits_for_lock(struct node_id from, const struct command_response *response) {
    return response->status == STATUS_ABORTED_RETRY || response->status == STATUS_NOT_FOUND ||
           (response->status == STATUS_UNAVAILABLE && node_id_equal(response->leader, from));
}

// What the answer to the present attempt leads to. True: try again at once.
static bool on_answer(struct session_slot *slot, struct node_id from,
                      const struct command_response *response) {
    const struct session_verdict verdict = judge(slot, from, response);
    if (verdict.step == SESSION_FINISH) {
        finish_with(slot, verdict.status, response);
        return false;
    }
    session__exec_end(&slot->exec);
    slot->maybe_applied = verdict.maybe_applied;
    slot->last_status = response->status;
    slot->anywhere = false;
    if (waits_for_lock(from, response)) {
        // It is the right one to ask, and has waited already.
        slot->waits = 0;
    } else if (!node_id_equal(from, slot->exec.session->config.self)) {
        slot->avoid = from;
    }
    if (verdict.step == SESSION_RETRY_NOW) {
        slot->hops++;
        return true;
    }
    back_off(slot);
    return false;
}

// --- Attempts ---

static struct command_request make_request(struct session_slot *slot, uint64_t now_ns) {
    const struct session *self = slot->exec.session;
    const uint64_t budget_us = (slot->call->deadline_ns - now_ns) / 1000;
    return (struct command_request){
        .id = request_id(slot),
        .boot = self->boot,
        .kind = slot->call->kind,
        .shard = slot->shard,
        .epoch = slot->epoch,
        .hlc = hlc_peek(self->config.hlc, session__wall(self)),
        .budget_us = budget_us > 0 ? budget_us : 1,
        .payload = slot->call->payload,
    };
}

// A replica that any call may ask answers at once or after a moment: when it does not, there is to
// be time left for the leader.
static uint64_t attempt_time(const struct session_slot *slot, uint64_t now_ns) {
    const uint64_t most = slot->exec.session->config.attempt_ns;
    const uint64_t half = (slot->call->deadline_ns - now_ns) / 2;
    return slot->anywhere && half < most ? half : most;
}

static void send_request(struct session_slot *slot, struct command_request *request,
                         uint64_t now_ns) {
    struct session *self = slot->exec.session;
    request->sequence = ++self->sequence;
    buf_reset(&self->message);
    struct codec_writer w;
    codec_writer_init(&w, &self->message);
    command_request_encode(&w, request);
    // Without memory it counts as sent and lost: the attempt times out.
    if (w.status == STATUS_OK) {
        env_send(self->config.env, slot->target, PEER_REQUEST, buf_slice(&self->message));
    }
    self->stats.forwarded++;
    session_silences_asked(&self->silences, slot->target, now_ns);
    slot->state = SESSION_SLOT_REMOTE;
    slot->asked_ns = now_ns;
    slot->attempt_until_ns = now_ns + attempt_time(slot, now_ns);
    enter_waiters(slot);
    set_timer(slot, slot->attempt_until_ns);
}

// One attempt. True: try again at once.
static bool attempt(struct session_slot *slot, uint64_t now_ns) {
    struct session *self = slot->exec.session;
    if (!session__route(slot)) { return false; }
    if (slot->target.v == 0) {
        back_off(slot);
        return false;
    }
    self->stats.retries += slot->attempts > 0 ? 1 : 0;
    slot->attempts++;
    struct command_request request = make_request(slot, now_ns);
    if (!node_id_equal(slot->target, self->config.self)) {
        send_request(slot, &request, now_ns);
        return false;
    }
    self->stats.served_local++;
    struct command_response response;
    slot->state = SESSION_SLOT_LOCAL;
    if (!session__exec(&slot->exec, &request, &response)) {
        // No attempt time-out: a leader that cannot go on ends its proposals itself.
        set_timer(slot, slot->call->deadline_ns);
        return false;
    }
    return on_answer(slot, self->config.self, &response);
}

void session__drive(struct session_slot *slot) {
    ASSERT(slot->call != NULL && !slot->exec.pending && slot->link == NULL);
    const struct session *self = slot->exec.session;
    const uint64_t now = session__now(self);
    if (now >= slot->call->deadline_ns) {
        session__give_up(slot, STATUS_DEADLINE_EXCEEDED);
        return;
    }
    // Ends: on_answer allows SESSION_HOPS_MAX immediate retries.
    bool again = true;
    while (again) {
        again = attempt(slot, now);
    }
}

static void free_ended(struct session_slot *slot) {
    struct session *self = slot->exec.session;
    ASSERT(slot->state == SESSION_SLOT_ENDED && !slot->exec.pending);
    session__exec_end(&slot->exec);
    slot->state = SESSION_SLOT_FREE;
    slot->next = self->slots_free;
    self->slots_free = slot;
}

// Comes out of the table of replicas, perhaps in the middle of its turn: a retry waits for the
// timer instead of calling back into it.
void session__exec_done(struct session_exec *exec, const struct command_response *response) {
    struct session_slot *slot = (struct session_slot *)(void *)exec;
    if (slot->state == SESSION_SLOT_ENDED) {
        MARK("session.answer_after_end");
        free_ended(slot);
        return;
    }
    ASSERT(slot->state == SESSION_SLOT_LOCAL);
    struct session *self = exec->session;
    if (on_answer(slot, self->config.self, response)) {
        session__wait_until(slot, session__now(self));
    }
}

// Whoever comes next shall not go there by the same hint.
static void note_silence(struct session_slot *slot) {
    const struct command_response silence = {0};
    (void)take_leader(slot, slot->target, &silence);
}

// Silence: the request or its answer was lost, or the node is gone or slow.
static void attempt_timed_out(struct session_slot *slot) {
    MARK("session.attempt_timed_out");
    leave_waiters(slot);
    if (session_route_mutates(slot->call->kind)) { slot->maybe_applied = true; }
    slot->last_status = STATUS_DEADLINE_EXCEEDED;
    slot->avoid = slot->target;
    slot->anywhere = false;
    note_silence(slot);
    slot->state = SESSION_SLOT_LOCAL;
    session__drive(slot);
}

void session__timer_fired(struct session_slot *slot) {
    const uint64_t now = session__now(slot->exec.session);
    ASSERT(slot->call != NULL);
    if (now >= slot->call->deadline_ns) {
        const struct session_silences *silences = &slot->exec.session->silences;
        if (slot->state == SESSION_SLOT_REMOTE &&
            session_silences_answered_none_since(silences, slot->target, slot->asked_ns)) {
            note_silence(slot);
        }
        session__give_up(slot, STATUS_DEADLINE_EXCEEDED);
        return;
    }
    if (slot->state == SESSION_SLOT_REMOTE) {
        ASSERT(now >= slot->attempt_until_ns);
        attempt_timed_out(slot);
        return;
    }
    ASSERT(slot->state == SESSION_SLOT_WAITING && now >= slot->retry_at_ns);
    leave_waiters(slot);
    session__drive(slot);
}

// An answer from a clock that this node refuses to follow. A certified commit is what it is; a read
// carries a timestamp that no other leader would serve from.
static bool refused_clock(struct session *self, const struct session_slot *slot,
                          struct command_response *response) {
    const enum status st = hlc_observe_peer(self->config.hlc, response->hlc, session__wall(self));
    if (st == STATUS_OK) { return false; }
    self->stats.clock_ahead++;
    const bool certified = response->certificate.method != COMMAND_METHOD_NONE;
    if (!certified || session_route_mutates(slot->call->kind)) { return false; }
    *response = (struct command_response){
        .id = response->id,
        .status = st,
        .detail = SLICE_LITERAL("the clock of the shard's leader is too far ahead of this node's")};
    return true;
}

enum status session__on_response(struct session *self, struct node_id from, struct slice body) {
    struct command_response response;
    const enum status st = command_response_decode(body, &response);
    if (st != STATUS_OK) { return st; }
    session_silences_heard(&self->silences, from);
    struct session_slot *slot = slot_of_id(self, response.id);
    if (slot == NULL) { return STATUS_OK; }
    const bool refused = refused_clock(self, slot, &response);
    const bool present = slot->state == SESSION_SLOT_REMOTE && response.id == request_id(slot) &&
                         node_id_equal(from, slot->target);
    if (present) {
        leave_waiters(slot);
        if (on_answer(slot, from, &response)) { session__drive(slot); }
        return STATUS_OK;
    }
    // Late, from an attempt that was given up: a result still counts, anything else is only noted.
    if (refused) { return STATUS_OK; }
    MARK("session.late_answer");
    const struct session_verdict verdict = judge(slot, from, &response);
    if (verdict.step == SESSION_FINISH && response.certificate.method != COMMAND_METHOD_NONE) {
        finish_with(slot, verdict.status, &response);
    }
    return STATUS_OK;
}
