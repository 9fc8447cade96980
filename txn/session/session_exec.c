// SPDX-License-Identifier: Apache-2.0
// One request on this node's replica, for a call of this gateway or for another gateway: both get
// the same answer in the same form, so that routing has one set of rules.
//
// A commit is proposed; its answer comes when it was applied. A read runs at once and its rows
// wait, if they must, for the proof that leadership still held after it ran.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "txn/session/session_internal.h"

#include <stddef.h>
#include <string.h>

static struct session_exec *exec_of_proposal(struct replica_proposal *proposal) {
    return (struct session_exec *)(void *)((char *)proposal -
                                           offsetof(struct session_exec, proposal));
}

static struct session_exec *exec_of_read(struct replica_read *read) {
    return (struct session_exec *)(void *)((char *)read - offsetof(struct session_exec, read));
}

static void refuse(struct command_response *out, enum status status, const char *detail) {
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
static void answer_elsewhere(struct session *self, const struct command_request *request,
                             struct command_response *out) {
    const struct shard_descriptor *known = shard_map_by_id(self->config.map, request->shard);
    if (request->kind != COMMAND_CATALOG && known != NULL && known->epoch > request->epoch) {
        answer_stale(self, known, out);
        return;
    }
    out->status = STATUS_NOT_LEADER;
    if (known != NULL && !node_id_equal(known->leader, self->config.self)) {
        out->leader = known->leader;
        out->leader_term = known->term;
    }
}

// Completes what a status of the replica leaves out.
static void answer_route(struct session_exec *self, enum status status,
                         struct command_response *out) {
    const struct replica *replica = replica_table_find(self->session->config.table, self->shard);
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

// --- Proposals ---

// The commit timestamp is the outcome's: a repeat is told when its first copy committed.
static struct hlc_ts commit_timestamp(const struct session_exec *self,
                                      const struct replica_proposal_result *result) {
    struct codec_reader r;
    struct command_outcome outcome;
    codec_reader_init(&r, result->applied.payload);
    const bool decoded =
        self->kind == COMMAND_COMMIT && command_outcome_decode(&r, &outcome) == STATUS_OK;
    return decoded ? outcome.timestamp : result->timestamp;
}

static void answer_applied(const struct session_exec *self,
                           const struct replica_proposal_result *result,
                           struct command_response *out) {
    const struct replica *replica = replica_table_find(self->session->config.table, self->shard);
    ASSERT(replica != NULL);
    struct replica_frontiers frontiers;
    replica_frontiers(replica, &frontiers);
    out->status = result->applied.status;
    out->payload = result->applied.payload;
    out->certificate = (struct command_certificate){
        .method = COMMAND_METHOD_LOG,
        .shard = self->shard,
        .config_epoch = replica_descriptor(replica)->config_epoch,
        .term = result->term,
        .index = result->index,
        .timestamp = commit_timestamp(self, result),
        .closed = frontiers.closed,
    };
    if (result->applied.status == STATUS_INVALID_ARGUMENT && self->kind == COMMAND_COMMIT) {
        out->detail = slice_from_string("transaction id: it was used before with another commit");
    }
    if (result->applied.status == STATUS_RESOURCE_EXHAUSTED && self->kind == COMMAND_COMMIT) {
        out->detail = slice_from_string("delete_range: more than 10000 keys lie in it");
    }
}

static void on_proposed(struct replica_proposal *proposal,
                        const struct replica_proposal_result *result) {
    struct session_exec *self = exec_of_proposal(proposal);
    struct session *session = self->session;
    ASSERT(self->pending && session->pending > 0);
    self->pending = false;
    session->pending--;
    if (session->closing) {
        session__free_if_closed(session);
        return;
    }
    struct command_response response = {0};
    const bool applied = result->status == STATUS_OK;
    if (applied && result->applied.status != STATUS_STALE_SHARD_MAP) {
        answer_applied(self, result, &response);
    } else {
        answer_route(self, applied ? result->applied.status : result->status, &response);
    }
    // Lost with its place in the log: it may commit yet.
    if (result->status == STATUS_UNAVAILABLE) { response.certificate.index = result->index; }
    self->done(self, &response);
}

// A commit that only deletes makes room, in time.
static bool only_deletes(const struct command_request *request) {
    if (request->kind != COMMAND_COMMIT) { return false; }
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, request->payload);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.condition_count; i++) {
        struct command_condition condition;
        st = command_commit_next_condition(&reader, &condition);
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        st = command_commit_next_mutation(&reader, &mutation);
        if (st == STATUS_OK && mutation.kind == COMMAND_PUT) { return false; }
    }
    return st == STATUS_OK && reader.mutation_count > 0;
}

static bool propose(struct session_exec *self, struct replica *replica,
                    const struct command_request *request, struct command_response *out) {
    self->proposal = (struct replica_proposal){.payload = request->payload,
                                               .shard_epoch = replica_descriptor(replica)->epoch,
                                               .done = on_proposed};
    if (replica_table_room(self->session->config.table) != REPLICA_ROOM_ENOUGH) {
        self->proposal.in_reserve = only_deletes(request);
    }
    const enum status st = replica_propose(replica, &self->proposal);
    if (st != STATUS_OK) {
        answer_route(self, st, out);
        return true;
    }
    self->pending = true;
    self->session->pending++;
    return false;
}

bool session__commit_fits(struct slice payload, const struct shard_descriptor *descriptor) {
    struct command_commit_reader reader;
    enum status st = command_commit_open(&reader, payload);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.condition_count; i++) {
        struct command_condition condition;
        st = command_commit_next_condition(&reader, &condition);
        if (st == STATUS_OK && !shard_descriptor_contains(descriptor, condition.key)) {
            return false;
        }
    }
    for (uint32_t i = 0; st == STATUS_OK && i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        st = command_commit_next_mutation(&reader, &mutation);
        if (st != STATUS_OK) { break; }
        const bool inside = mutation.kind == COMMAND_DELETE_RANGE
                                ? shard_descriptor_covers(descriptor, mutation.key, mutation.value)
                                : shard_descriptor_contains(descriptor, mutation.key);
        if (!inside) { return false; }
    }
    return st == STATUS_OK;
}

static bool exec_commit(struct session_exec *self, struct replica *replica,
                        const struct command_request *request, struct command_response *out) {
    if (!session__commit_fits(request->payload, replica_descriptor(replica))) {
        const bool decodes = command_commit_verify(request->payload) == STATUS_OK;
        refuse(out, STATUS_INVALID_ARGUMENT,
               decodes ? "a key of the commit lies outside the shard"
                       : "the commit does not decode");
        return true;
    }
    return propose(self, replica, request, out);
}

// --- Reads ---

// What the kinds of reads have in common, taken from the payload. False when it does not decode.
static bool read_options(enum command_kind kind, struct slice payload, struct replica_read *out) {
    if (kind == COMMAND_TXN_STATUS) { return payload.size == sizeof(struct txn_id); }
    struct command_snapshot snapshot;
    if (command_snapshot_peek(payload, &snapshot) != STATUS_OK) { return false; }
    out->at_least = snapshot.at_least;
    out->read_index = snapshot.consistency == COMMAND_STRONG_READ_INDEX;
    return true;
}

static enum status txn_status_rows(struct session_exec *self, struct slice payload) {
    struct txn_id txn;
    ASSERT(payload.size == sizeof(txn.v));
    memcpy(txn.v, payload.data, sizeof(txn.v));
    struct command_outcome outcome;
    const enum status st = apply_outcome(self->session->config.apply, self->shard, txn, &outcome);
    if (st != STATUS_OK) {
        self->read_status = st;
        return st == STATUS_NOT_FOUND ? STATUS_OK : st;
    }
    struct codec_writer w;
    codec_writer_init(&w, &self->rows);
    command_outcome_encode(&w, &outcome);
    return w.status;
}

static enum status read_execute(struct session_exec *self,
                                const struct shard_descriptor *descriptor, struct slice payload,
                                const char **out_detail) {
    self->read_status = STATUS_OK;
    *out_detail = "";
    if (self->kind == COMMAND_READ) {
        return session__read_rows(self, descriptor, payload, out_detail);
    }
    if (self->kind == COMMAND_SCAN) {
        return session__scan_rows(self, descriptor, payload, out_detail);
    }
    ASSERT(self->kind == COMMAND_TXN_STATUS);
    return txn_status_rows(self, payload);
}

static void answer_read(const struct session_exec *self, struct command_response *out) {
    const struct replica *replica = replica_table_find(self->session->config.table, self->shard);
    ASSERT(replica != NULL);
    out->status = self->read_status;
    out->payload = buf_slice(&self->rows);
    out->certificate = (struct command_certificate){
        .method = self->read.by_lease ? COMMAND_METHOD_LEASE : COMMAND_METHOD_READ_INDEX,
        .shard = self->shard,
        .config_epoch = replica_descriptor(replica)->config_epoch,
        .term = self->read.term,
        .index = self->read.index,
        .timestamp = self->read.timestamp,
        .closed = self->read.closed,
    };
}

static void on_confirmed(struct replica_read *read, enum status status) {
    struct session_exec *self = exec_of_read(read);
    struct session *session = self->session;
    ASSERT(self->pending && session->pending > 0);
    self->pending = false;
    session->pending--;
    if (session->closing) {
        buf_deinit(&self->rows);
        session__free_if_closed(session);
        return;
    }
    struct command_response response = {0};
    if (status == STATUS_OK) {
        answer_read(self, &response);
    } else {
        answer_route(self, status, &response);
    }
    self->done(self, &response);
}

// Executed first, confirmed after (time.md, "Leases").
static bool read_confirm(struct session_exec *self, struct replica *replica,
                         struct command_response *out) {
    const enum status st = replica_read_confirm(replica, &self->read);
    if (st == STATUS_OK) {
        answer_read(self, out);
        return true;
    }
    if (st != STATUS_UNAVAILABLE) {
        answer_route(self, st, out);
        return true;
    }
    self->pending = true;
    self->session->pending++;
    return false;
}

static bool exec_read(struct session_exec *self, struct replica *replica,
                      const struct command_request *request, struct command_response *out) {
    struct session *session = self->session;
    self->read = (struct replica_read){.confirmed = on_confirmed};
    if (!read_options(request->kind, request->payload, &self->read)) {
        refuse(out, STATUS_INVALID_ARGUMENT, "the read does not decode");
        return true;
    }
    // A token from the future of every clock must not drag this one along.
    enum status st = hlc_observe(session->config.hlc, self->read.at_least, session__wall(session));
    if (st != STATUS_OK) {
        refuse(out, st, "at_least: the timestamp is too far ahead of the leader's clock");
        return true;
    }
    st = replica_read_begin(replica, &self->read);
    if (st != STATUS_OK) {
        answer_route(self, st, out);
        return true;
    }
    const char *detail = "";
    self->rows = session__buf_take(session);
    st = read_execute(self, replica_descriptor(replica), request->payload, &detail);
    if (st != STATUS_OK) {
        refuse(out, st, detail);
        return true;
    }
    return read_confirm(self, replica, out);
}

// --- Both ---

bool session__exec(struct session_exec *self, const struct command_request *request,
                   struct command_response *out) {
    struct session *session = self->session;
    ASSERT(!self->pending && self->rows.data == NULL);
    *out = (struct command_response){0};
    self->kind = request->kind;
    self->shard = request->shard;
    struct replica *replica = replica_table_find(session->config.table, request->shard);
    if (replica == NULL) {
        answer_elsewhere(session, request, out);
        return true;
    }
    if (!replica_is_leader(replica)) {
        answer_not_leader(replica, out);
        return true;
    }
    if (request->kind == COMMAND_CATALOG) { return propose(self, replica, request, out); }
    if (request->epoch != replica_descriptor(replica)->epoch) {
        answer_stale(session, replica_descriptor(replica), out);
        return true;
    }
    return request->kind == COMMAND_COMMIT ? exec_commit(self, replica, request, out)
                                           : exec_read(self, replica, request, out);
}

void session__exec_end(struct session_exec *self) {
    ASSERT(!self->pending);
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
