// SPDX-License-Identifier: Apache-2.0
// One request on this node's replica, for a call of this gateway or for another gateway: both get
// the same answer in the same form, so that routing has one set of rules.
//
// What goes through the log is in session_propose.c, reads are in session_read.c. Either may find
// that it has to wait (session_park.c), and then begins anew.
#include "dataplane/base/assert.h"
#include "txn/session/session_internal.h"

void session__refuse(struct command_response *out, enum status status, const char *detail) {
    out->status = status;
    out->detail = slice_from_string(detail);
}

// --- Answers about the route ---

static void answer_not_leader(const struct replica *replica, struct command_response *out) {
    out->status = STATUS_NOT_LEADER;
    out->leader = replica_leader(replica, &out->leader_term);
}

// A delta of one descriptor. It carries no version of the map: it says nothing about other shards.
static void answer_stale(struct session *self, const struct shard_descriptor *descriptor,
                         struct command_response *out) {
    out->status = STATUS_STALE_SHARD_MAP;
    buf_reset(&self->descriptors);
    struct codec_writer w;
    codec_writer_init(&w, &self->descriptors);
    codec_put_varint(&w, 0);
    codec_put_varint(&w, 1);
    shard_descriptor_encode(&w, descriptor);
    if (w.status == STATUS_OK) { out->descriptors = buf_slice(&self->descriptors); }
}

// This node holds no replica of the shard. What its map knows may help: a newer descriptor, or who
// leads.
static void answer_elsewhere(const struct session_exec *self, struct command_response *out) {
    struct session *session = self->session;
    const struct shard_descriptor *known = shard_map_by_id(session->config.map, self->shard);
    if (self->kind != COMMAND_CATALOG && known != NULL && known->epoch > self->epoch) {
        answer_stale(session, known, out);
        return;
    }
    out->status = STATUS_NOT_LEADER;
    if (known != NULL && !node_id_equal(known->leader, session->config.self)) {
        out->leader = known->leader;
        out->leader_term = known->term;
    }
}

void session__answer_route(struct session_exec *self, enum status status,
                           struct command_response *out) {
    const struct replica *replica = session__replica(self);
    out->status = status;
    if (replica == NULL) { return; }
    if (status == STATUS_NOT_LEADER) { answer_not_leader(replica, out); }
    if (status == STATUS_STALE_SHARD_MAP) {
        answer_stale(self->session, replica_descriptor(replica), out);
    }
    if (status == STATUS_NO_SPACE) {
        out->detail = slice_from_string(replica_table_room_text(self->session->config.table));
    }
}

// --- Execution ---

struct replica *session__replica(const struct session_exec *self) {
    return replica_table_find(self->session->config.table, self->shard);
}

const struct lock_table *session__locks(const struct session_exec *self) {
    ASSERT(!shard_id_equal(self->shard, SHARD_CATALOG));
    return apply_locks(self->session->config.apply, self->shard);
}

static bool only_reads(enum command_kind kind) {
    return kind == COMMAND_READ || kind == COMMAND_SCAN || kind == COMMAND_TXN_STATUS ||
           kind == COMMAND_VERSIONS;
}

bool session__exec_again(struct session_exec *self, struct command_response *out) {
    ASSERT(!self->pending && self->waiter.room == NULL && self->rows.data == NULL);
    *out = (struct command_response){0};
    struct replica *replica = session__replica(self);
    if (replica == NULL) {
        answer_elsewhere(self, out);
        return true;
    }
    if (!replica_is_leader(replica) && !only_reads(self->kind)) {
        answer_not_leader(replica, out);
        return true;
    }
    if (self->kind == COMMAND_CATALOG) { return session__exec_catalog(self, replica, out); }
    if (self->epoch != replica_descriptor(replica)->epoch) {
        answer_stale(self->session, replica_descriptor(replica), out);
        return true;
    }
    if (self->kind == COMMAND_COMMIT) { return session__exec_commit(self, replica, out); }
    if (self->kind == COMMAND_PREPARE) { return session__exec_prepare(self, replica, out); }
    if (self->kind == COMMAND_RESOLVE) { return session__exec_resolve(self, replica, out); }
    if (self->kind == COMMAND_HOLD) { return session__exec_hold(self, replica, out); }
    return session__exec_read(self, replica, out);
}

// A prepare timestamp is this node's clock: when that leads the gateway's by more than clocks may
// differ, the transaction would commit at a time which the others refuse to follow.
static bool clock_leads(const struct session_exec *self, const struct command_request *request) {
    const struct session *session = self->session;
    const struct hlc_clock *hlc = session->config.hlc;
    return self->kind == COMMAND_PREPARE && hlc_before(hlc_add_us(request->hlc, hlc->lead_us_max),
                                                       hlc_peek(hlc, session__wall(session)));
}

// When a request gives up waiting. Who asks for an outcome shall hear in time that there is none.
static uint64_t patience(const struct session_exec *self, uint64_t budget_us) {
    uint64_t budget_ns = budget_us < UINT64_MAX / 1000 ? budget_us * 1000 : UINT64_MAX / 2;
    if (self->kind == COMMAND_TXN_STATUS) { budget_ns = session__outcome_patience(budget_ns); }
    const uint64_t half = self->session->config.attempt_ns / 2;
    if (!self->lasting && budget_ns > half) { budget_ns = half; }
    return budget_ns < UINT64_MAX - self->arrived_ns ? self->arrived_ns + budget_ns : UINT64_MAX;
}

bool session__exec(struct session_exec *self, const struct command_request *request,
                   struct command_response *out) {
    struct session *session = self->session;
    self->alone = request->kind == COMMAND_PREPARE_ALONE;
    self->kind = self->alone ? COMMAND_PREPARE : request->kind;
    self->shard = request->shard;
    self->epoch = request->epoch;
    self->payload = request->payload;
    self->begin = hlc_peek(session->config.hlc, session__wall(session));
    self->arrived_ns = session__now(session);
    self->patient_ns = patience(self, request->budget_us);
    self->deadline_ns = request->budget_us < (UINT64_MAX - self->arrived_ns) / 1000
                            ? self->arrived_ns + request->budget_us * 1000
                            : UINT64_MAX;
    self->hasty = false;
    self->latched = false;
    self->contact = HLC_ZERO;
    self->waiter.txn = (struct txn_id){{0}};
    self->waiter.attempt = (struct txn_attempt){0};
    if (clock_leads(self, request)) {
        *out = (struct command_response){0};
        session__refuse(out, STATUS_CLOCK_AHEAD,
                        "this node's clock is too far ahead of the gateway's to prepare anything");
        return true;
    }
    return session__exec_again(self, out);
}

void session__exec_end(struct session_exec *self) {
    ASSERT(!self->pending);
    session__park_end(self);
    session__buf_give(self->session, &self->rows);
}

struct buf session__buf_take(struct session *self) {
    struct buf buf;
    buf_init(&buf, COMMAND_PAYLOAD_SIZE_MAX);
    return self->spare_count > 0 ? self->spares[--self->spare_count] : buf;
}

// Small buffers are kept for the next read; the memory of a large answer goes back at once.
void session__buf_give(struct session *self, struct buf *buf) {
    if (buf->capacity > 0 && buf->capacity <= SESSION_SPARE_SIZE_MAX &&
        self->spare_count < SESSION_SPARES_MAX) {
        buf_reset(buf);
        self->spares[self->spare_count++] = *buf;
    } else {
        buf_deinit(buf);
    }
    *buf = (struct buf){0};
}
