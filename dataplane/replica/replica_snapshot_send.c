// SPDX-License-Identifier: Apache-2.0
// replica_snapshot_send.c - the leader's side of a snapshot: when it begins, what is on its way,
// when it is given up.
//
//            header            TAKE                 every chunk acknowledged
//   (want) --------> OFFERED --------> STREAMING ----------------------------> FINISHING
//      ^                |                  |                                       |
//      +-- BUSY --------+                  |            DONE: SNAPSHOT_SENT(index) |
//                       +------------------+---------------------------------------+--> FREE
//            REFUSED, silence, lost leadership, another membership: SNAPSHOT_SENT(0)
//
// | transition | function |
// |---|---|
// | want -> OFFERED | begin |
// | OFFERED -> STREAMING, STREAMING -> FINISHING | on_take |
// | any -> FREE | end |
//
// Nothing here survives a restart of this node, and nothing needs to: raft asks again.
//
// The view is opened at the end of a turn, when everything applied is visible, so index and
// contents belong together. Chunks that are not acknowledged stay in memory, at most a window of
// them; on silence all of them are sent again from the first. An export pins the store's files: a
// receiver that does not come on for STALL_NS loses it.

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/obs/log.h"
#include "dataplane/replica/replica_snapshot_internal.h"

#include <string.h>

#define STALL_NS      UINT64_C(10000000000)
#define RESEND_NS_MAX UINT64_C(1600000000)
#define RETRY_NS      UINT64_C(250000000)  // after a failure, or when the receiver had no place
#define FILL_NS       UINT64_C(10000000)   // between two batches of empty entries
#define PACE_BURST_NS UINT64_C(50000000)
enum {
    FILL_COUNT = 64,
    FILL_MAX = 1 << 20,  // a peer cannot have acknowledged more that this leader does not have
};

// --- what raft asked for

static void want_add(struct replica_table *table, const struct replica_want *want) {
    if (table->want_count == table->want_capacity) {
        table->want_capacity = table->want_capacity == 0 ? 16 : 2 * table->want_capacity;
        table->wants = mem_realloc(table->wants, table->want_capacity * sizeof(*table->wants));
    }
    table->wants[table->want_count++] = *want;
}

static void want_remove(struct replica_table *table, uint32_t place) {
    ASSERT(place < table->want_count);
    table->want_count--;
    memmove(&table->wants[place], &table->wants[place + 1],
            (table->want_count - place) * sizeof(*table->wants));
}

static void outgoing_free(struct replica_outgoing *out) {
    const struct state_machine *machine = out->replica->machine;
    if (out->export != NULL) { machine->export_close(machine->ctx, out->export); }
    for (uint32_t i = 0; i < REPLICA_CHUNKS_MAX; i++) {
        bytes_unref(out->chunks[i]);
    }
    bytes_unref(out->membership);
    *out = (struct replica_outgoing){0};
}

static void tell_raft(struct replica *self, const struct replica_want *about, uint64_t index) {
    if (!raft_is_leader(self->raft) || raft_term(self->raft) != about->term) { return; }
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_SENT};
    event.u.sent.node = about->node;
    event.u.sent.incarnation = about->incarnation;
    event.u.sent.index = index;
    enum status st = replica__step(self, &event);
    ASSERT(st == STATUS_OK);
}

void replica__snapshot_wanted(struct replica *self, struct node_id node, uint64_t incarnation,
                              uint64_t min_index) {
    struct replica_table *table = self->table;
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        struct replica_outgoing *out = &table->outgoing[i];
        if (out->replica == self && node_id_equal(out->node, node)) { outgoing_free(out); }
    }
    for (uint32_t i = 0; i < table->want_count; i++) {
        struct replica_want *want = &table->wants[i];
        if (want->replica == self && node_id_equal(want->node, node)) {
            want_remove(table, i);
            break;
        }
    }
    struct replica_want want = {.replica = self,
                                .node = node,
                                .incarnation = incarnation,
                                .min_index = min_index,
                                .term = raft_term(self->raft),
                                .due_ns = self->snapshot_due_ns};
    want_add(table, &want);
    replica__mark_dirty(self);
}

void replica__snapshots_abort(struct replica *self) {
    struct replica_table *table = self->table;
    for (uint32_t i = table->want_count; i > 0; i--) {
        if (table->wants[i - 1].replica == self) { want_remove(table, i - 1); }
    }
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        if (table->outgoing[i].replica == self) {
            MARK("replica.snapshot.send_aborted");
            outgoing_free(&table->outgoing[i]);
        }
    }
}

// --- messages

static struct replica_snapshot_message message_of(const struct replica_outgoing *out,
                                                  enum replica_snapshot_kind kind) {
    return (struct replica_snapshot_message){.kind = kind,
                                             .shard = out->replica->descriptor.id,
                                             .from_incarnation = out->replica->incarnation,
                                             .to_incarnation = out->incarnation,
                                             .id = out->id};
}

static void post(struct replica_outgoing *out, const struct replica_snapshot_message *message) {
    struct replica_table *table = out->replica->table;
    replica__snapshot_encode(&table->scratch, message);
    env_send(table->config.env, out->node, PEER_SNAPSHOT, buf_slice(&table->scratch));
}

static void send_header(struct replica_outgoing *out) {
    struct replica_snapshot_message message = message_of(out, REPLICA_SNAPSHOT_HEADER);
    out->header.sequence = support_next_sequence(out->replica->table->config.support);
    message.header = out->header;
    post(out, &message);
}

static void send_chunk(struct replica_outgoing *out, uint64_t number) {
    const struct bytes *chunk = out->chunks[number % REPLICA_CHUNKS_MAX];
    ASSERT(chunk != NULL);
    struct replica_snapshot_message message = message_of(out, REPLICA_SNAPSHOT_CHUNK);
    message.number = number;
    message.last = number == out->last;
    message.payload = bytes_slice(chunk);
    post(out, &message);
}

static void came_on(struct replica_outgoing *out) {
    const struct replica_table *table = out->replica->table;
    out->heard_ns = env_now(table->config.env);
    out->resend_ns = table->config.resend_ns;
    out->resend_at_ns = out->heard_ns + out->resend_ns;
}

// --- the end of one

// index: what the receiver holds durably; 0 = it failed, or must be tried again.
static void end(struct replica_outgoing *out, uint64_t index, bool busy) {
    struct replica *self = out->replica;
    struct replica_want want = {.replica = self,
                                .node = out->node,
                                .incarnation = out->incarnation,
                                .min_index = out->min_index,
                                .term = out->header.term,
                                .due_ns = replica__now(self) + RETRY_NS};
    outgoing_free(out);
    if (busy) {
        want_add(self->table, &want);
        return;
    }
    if (index == 0) { self->snapshot_due_ns = want.due_ns; }
    tell_raft(self, &want, index);
}

static void give_up(struct replica_outgoing *out, const char *why) {
    MARK("replica.snapshot.send_failed");
    LOG_INFO("replica.snapshot.send_failed", LOG_U64("shard", out->replica->descriptor.id.v),
             LOG_U64("to", out->node.v), LOG_U64("index", out->header.index), LOG_STR("why", why));
    struct replica_snapshot_message message = message_of(out, REPLICA_SNAPSHOT_ABORT);
    post(out, &message);
    end(out, 0, false);
}

// --- the beginning of one

static bool is_member(const struct replica *self, struct node_id node, uint64_t incarnation) {
    const struct raft_member *member = raft_membership_find(raft_members(self->raft), node);
    return member != NULL && member->incarnation == incarnation;
}

static bool is_present(const struct replica_table *table, struct node_id node) {
    return support_granted(table->config.support, node, env_now(table->config.env)) != 0;
}

enum verdict { BEGIN, WAIT, DROP };

// Entries without payload until the log has reached what the snapshot must: only then does a
// damaged replica know that it forgot nothing.
static enum verdict fill(struct replica *self, struct replica_want *want) {
    uint64_t last = raft_last_index(self->raft) + self->gathered_count;
    if (want->min_index > last + FILL_MAX) { return DROP; }
    for (uint32_t i = 0; i < FILL_COUNT && last < want->min_index; i++, last++) {
        replica__append_empty(self);
    }
    want->due_ns = replica__now(self) + FILL_NS;
    return WAIT;
}

static enum verdict judge(struct replica_table *table, struct replica_want *want, uint64_t now) {
    struct replica *self = want->replica;
    if (!raft_is_leader(self->raft) || raft_term(self->raft) != want->term) { return DROP; }
    if (!is_member(self, want->node, want->incarnation)) { return DROP; }
    if (now < want->due_ns) { return WAIT; }
    if (!is_present(table, want->node)) { return DROP; }
    if (self->applied < want->min_index || self->applied == 0) { return fill(self, want); }
    uint64_t config_index = 0;
    // A leader that was restarted may know its members by an entry that it does not know to be
    // committed, and not those before it; the first commit of its term tells. And what was
    // committed a moment ago is applied in a moment.
    bool known = raft_members_committed(self->raft, &config_index)->count > 0;
    if (!known || config_index > self->applied) {
        want->due_ns = now + FILL_NS;
        return WAIT;
    }
    return BEGIN;
}

static struct replica_outgoing *free_place(struct replica_table *table) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        if (table->outgoing[i].state == REPLICA_OUTGOING_FREE) { return &table->outgoing[i]; }
    }
    return NULL;
}

static void fill_header(struct replica_outgoing *out) {
    const struct replica *self = out->replica;
    struct replica_table *table = self->table;
    struct codec_writer w;
    uint64_t config_index = 0;
    buf_reset(&table->chunk);
    codec_writer_init(&w, &table->chunk);
    raft_membership_encode(&w, raft_members_committed(self->raft, &config_index));
    ASSERT(w.status == STATUS_OK);
    ASSERT(config_index <= self->applied);
    out->membership = bytes_copy(buf_slice(&table->chunk));
    const struct replica_table_config *config = &table->config;
    out->header = (struct replica_snapshot_header){
        .term = raft_term(self->raft),
        .index = self->applied,
        .index_term = replica__term_at(self, self->applied),
        .ceiling = hlc_larger(self->ceiling_log, self->closed),
        .committed = self->ceiling_committed,
        .timestamp = hlc_larger(self->timestamp_applied, self->closed),
        .closed = self->closed,
        .shard_epoch = self->descriptor.epoch,
        .total =
            config->state_size == NULL ? 0 : config->state_size(config->ctx, self->descriptor.id),
        .membership = bytes_slice(out->membership),
    };
}

// False when the log cannot tell the term of what was applied last.
static bool begin(struct replica_table *table, const struct replica_want *want) {
    struct replica *self = want->replica;
    struct replica_outgoing *out = free_place(table);
    ASSERT(out != NULL);
    ASSERT(!self->hollow);
    *out = (struct replica_outgoing){.state = REPLICA_OUTGOING_OFFERED,
                                     .replica = self,
                                     .node = want->node,
                                     .incarnation = want->incarnation,
                                     .min_index = want->min_index};
    while (out->id == 0) {
        out->id = env_random(table->config.env);
    }
    fill_header(out);
    if (out->header.index_term == 0) {
        outgoing_free(out);
        return false;
    }
    out->export = self->machine->export_open(self->machine->ctx, self->descriptor.id);
    ASSERT(out->export != NULL);
    LOG_INFO("replica.snapshot.send", LOG_U64("shard", self->descriptor.id.v),
             LOG_U64("to", out->node.v), LOG_U64("index", out->header.index));
    came_on(out);
    send_header(out);
    return true;
}

static void begin_wanted(struct replica_table *table) {
    uint64_t now = table->want_count > 0 ? env_now(table->config.env) : 0;
    uint32_t place = 0;
    while (place < table->want_count && free_place(table) != NULL) {
        enum verdict verdict = judge(table, &table->wants[place], now);
        if (verdict == WAIT) {
            place++;
            continue;
        }
        struct replica_want want = table->wants[place];
        want_remove(table, place);
        if (verdict == BEGIN && begin(table, &want)) { continue; }
        want.replica->snapshot_due_ns = now + RETRY_NS;
        tell_raft(want.replica, &want, 0);
    }
}

// --- on its way

static bool may_send(struct replica_table *table, size_t size) {
    uint64_t rate = table->config.snapshot_bytes_per_s;
    if (rate == 0) { return true; }
    uint64_t now = env_now(table->config.env);
    if (table->pace_ns > now + PACE_BURST_NS) { return false; }
    if (table->pace_ns < now) { table->pace_ns = now; }
    table->pace_ns += (uint64_t)size * 1000000000 / rate;
    return true;
}

// Reads the next chunk into its place. False when the export is at its end or broke.
static bool make_chunk(struct replica_outgoing *out) {
    const struct state_machine *machine = out->replica->machine;
    struct buf *buf = &out->replica->table->chunk;
    bool last = false;
    buf_reset(buf);
    uint32_t size = out->replica->table->config.snapshot_chunk_size;
    if (size == 0) { size = REPLICA_CHUNK_SIZE; }
    enum status st = machine->export_next(machine->ctx, out->export, size, buf, &last);
    if (st != STATUS_OK || buf->size > REPLICA_CHUNK_SIZE_MAX) {
        LOG_WARN("replica.snapshot.export", LOG_U64("shard", out->replica->descriptor.id.v),
                 LOG_STATUS("status", st), LOG_U64("size", buf->size));
        give_up(out, "export");
        return false;
    }
    out->made++;
    out->flying += buf->size;
    bytes_unref(out->chunks[out->made % REPLICA_CHUNKS_MAX]);
    out->chunks[out->made % REPLICA_CHUNKS_MAX] = bytes_copy(buf_slice(buf));
    if (last) {
        out->last = out->made;
        machine->export_close(machine->ctx, out->export);
        out->export = NULL;
    }
    return true;
}

static void stream(struct replica_outgoing *out) {
    out->paced = false;
    while (out->state == REPLICA_OUTGOING_STREAMING &&
           out->sent - out->acked < REPLICA_CHUNKS_MAX) {
        if (out->sent == out->made) {
            bool full = out->made > out->acked && out->flying >= REPLICA_WINDOW_SIZE;
            if (out->last != 0 || full || !make_chunk(out)) { return; }
        }
        const struct bytes *next = out->chunks[(out->sent + 1) % REPLICA_CHUNKS_MAX];
        out->paced = !may_send(out->replica->table, next->size);
        if (out->paced) { return; }
        out->sent++;
        send_chunk(out, out->sent);
    }
}

static void pump(struct replica_outgoing *out) {
    struct replica *self = out->replica;
    ASSERT(raft_is_leader(self->raft) && raft_term(self->raft) == out->header.term);
    if (!is_member(self, out->node, out->incarnation)) {
        give_up(out, "no member");
    } else if (!is_present(self->table, out->node)) {
        give_up(out, "peer is away");
    } else {
        stream(out);
    }
}

void replica__snapshots_send(struct replica_table *table) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        if (table->outgoing[i].state != REPLICA_OUTGOING_FREE) { pump(&table->outgoing[i]); }
    }
    begin_wanted(table);
}

static void on_silence(struct replica_outgoing *out, uint64_t now_ns) {
    if (now_ns - out->heard_ns >= STALL_NS) {
        give_up(out, "no progress");
        return;
    }
    if (now_ns < out->resend_at_ns) { return; }
    MARK("replica.snapshot.resend");
    out->resend_ns = 2 * out->resend_ns < RESEND_NS_MAX ? 2 * out->resend_ns : RESEND_NS_MAX;
    out->resend_at_ns = now_ns + out->resend_ns;
    if (out->state == REPLICA_OUTGOING_STREAMING) {
        out->sent = out->acked;
        stream(out);
    } else if (out->state == REPLICA_OUTGOING_OFFERED) {
        send_header(out);
    } else {
        // Not the header: a receiver that has restarted would begin anew, with chunks gone.
        struct replica_snapshot_message poll = message_of(out, REPLICA_SNAPSHOT_POLL);
        post(out, &poll);
    }
}

void replica__snapshots_send_on_time(struct replica_table *table, uint64_t now_ns) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        if (table->outgoing[i].state != REPLICA_OUTGOING_FREE) {
            on_silence(&table->outgoing[i], now_ns);
        }
    }
}

uint64_t replica__snapshots_send_deadline(const struct replica_table *table) {
    uint64_t at = UINT64_MAX;
    bool place = false;
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        const struct replica_outgoing *out = &table->outgoing[i];
        place = place || out->state == REPLICA_OUTGOING_FREE;
        if (out->state == REPLICA_OUTGOING_FREE) { continue; }
        if (out->resend_at_ns < at) { at = out->resend_at_ns; }
        if (!out->paced) { continue; }
        ASSERT(table->pace_ns > PACE_BURST_NS);
        if (table->pace_ns - PACE_BURST_NS < at) { at = table->pace_ns - PACE_BURST_NS; }
    }
    for (uint32_t i = 0; place && i < table->want_count; i++) {
        if (table->wants[i].due_ns < at) { at = table->wants[i].due_ns; }
    }
    return at;
}

// --- answers

static struct replica_outgoing *outgoing_by(struct replica_table *table, struct node_id from,
                                            const struct replica_snapshot_reply *reply) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        struct replica_outgoing *out = &table->outgoing[i];
        if (out->state != REPLICA_OUTGOING_FREE && out->id == reply->id &&
            node_id_equal(out->node, from) && out->incarnation == reply->from_incarnation &&
            shard_id_equal(out->replica->descriptor.id, reply->shard)) {
            return out;
        }
    }
    return NULL;
}

static enum status on_take(struct replica_outgoing *out, uint64_t next) {
    if (next == 0 || next - 1 > out->made) { return STATUS_CORRUPT; }
    if (out->state == REPLICA_OUTGOING_OFFERED) {
        out->state = REPLICA_OUTGOING_STREAMING;
        came_on(out);
    }
    if (next - 1 > out->acked) { came_on(out); }
    while (out->acked < next - 1) {
        out->acked++;
        struct bytes **chunk = &out->chunks[out->acked % REPLICA_CHUNKS_MAX];
        out->flying -= (*chunk)->size;
        out->bytes += (*chunk)->size;
        bytes_unref(*chunk);
        *chunk = NULL;
    }
    if (out->sent < out->acked) { out->sent = out->acked; }
    if (out->last != 0 && out->acked == out->last) { out->state = REPLICA_OUTGOING_FINISHING; }
    return STATUS_OK;
}

enum status replica__on_snapshot_reply(struct replica_table *table, struct node_id from,
                                       struct slice body) {
    struct replica_snapshot_reply reply;
    enum status st = replica__snapshot_reply_decode(body, &reply);
    if (st != STATUS_OK) { return st; }
    struct replica_outgoing *out = outgoing_by(table, from, &reply);
    if (out == NULL) { return STATUS_OK; }  // of a transfer that ended
    replica__mark_dirty(out->replica);      // what follows is sent at the end of the turn
    switch (reply.answer) {
    case REPLICA_SNAPSHOT_TAKE:
        return on_take(out, reply.next);
    case REPLICA_SNAPSHOT_FLUSHING:
        if (out->last == 0) { return STATUS_CORRUPT; }
        out->heard_ns = env_now(table->config.env);  // polled at a slackening pace
        return on_take(out, out->last + 1);
    case REPLICA_SNAPSHOT_BUSY:
        MARK("replica.snapshot.busy");
        end(out, 0, true);
        break;
    case REPLICA_SNAPSHOT_DONE:
        if (reply.index < out->header.index) { return STATUS_CORRUPT; }
        LOG_INFO("replica.snapshot.sent", LOG_U64("shard", out->replica->descriptor.id.v),
                 LOG_U64("to", out->node.v), LOG_U64("index", out->header.index));
        end(out, out->header.index, false);
        break;
    case REPLICA_SNAPSHOT_REFUSED:
        MARK("replica.snapshot.refused");
        end(out, 0, false);
        break;
    case REPLICA_SNAPSHOT_ANSWER_COUNT:
        break;
    }
    return STATUS_OK;
}
