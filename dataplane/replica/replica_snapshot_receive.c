// SPDX-License-Identifier: Apache-2.0
// replica_snapshot_receive.c - the follower's side of a snapshot: from the offer to a state that
// this replica answers for.
//
//            accepted by raft           last chunk          end() of the turn
//   (offer) ----------------> INGESTING ----------> ENDED ------------------> FLUSHING
//                             |      ^                                            |
//      silence, abort, refuse |      | another leader's offer                     | a flush begins
//                             v      |                                            v
//                            FREE ---+      <---------- INSTALLED <---------- FLUSHED
//                                     durable: DONE             it finished
//
// | transition | function | a crash right after it leaves |
// |---|---|---|
// | offer -> INGESTING | begin | the mark of hollowness, durable or not: if it is not, the old
//   state stands as it was, since marking and wiping are one batch and what follows comes after |
// | INGESTING -> ENDED -> FLUSHING -> FLUSHED | on_chunk, ended, flush_begin | a hollow shard,
//   or (if a flush happened to cover it) the new state with its base and an old log: the opening
//   redoes the base (replica_open.c) |
// | FLUSHED -> INSTALLED | install | the new state with its base; the log is old or begins anew |
// | INSTALLED -> FREE | finish | all of it |
//
// A replica that is hollow keeps its log: it votes and stores, so that a shard with one replica
// being rebuilt loses no more than that replica's reads. What is durable of the state is told by
// the state machine alone; this file remembers nothing across a restart.

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mutant.h"
#include "dataplane/obs/log.h"
#include "dataplane/replica/replica_snapshot_internal.h"

// A sender gives up after ten seconds; what is silent for longer than that is not coming back.
#define SILENCE_NS UINT64_C(20000000000)

const struct replica_incoming *replica__incoming_of(const struct replica *self) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        if (self->table->incoming[i].replica == self) { return &self->table->incoming[i]; }
    }
    return NULL;
}

static struct replica_incoming *incoming_of(const struct replica *self) {
    return (struct replica_incoming *)replica__incoming_of(self);
}

static struct replica_incoming *free_place(struct replica_table *table) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        if (table->incoming[i].state == REPLICA_INCOMING_FREE) { return &table->incoming[i]; }
    }
    return NULL;
}

static void incoming_free(struct replica_incoming *in) {
    for (uint32_t i = 0; i < REPLICA_CHUNKS_MAX; i++) {
        bytes_unref(in->early[i]);
    }
    bytes_unref(in->membership);
    *in = (struct replica_incoming){0};
}

void replica__snapshots_forget(struct replica *self) {
    struct replica_incoming *in = incoming_of(self);
    if (in != NULL) { incoming_free(in); }
}

// --- answers

struct whom {
    struct node_id node;
    uint64_t incarnation;
    uint64_t id;
};

static void answer(struct replica *self, const struct whom *to, enum replica_snapshot_answer what,
                   uint64_t number) {
    struct replica_table *table = self->table;
    struct replica_snapshot_reply reply = {.shard = self->descriptor.id,
                                           .from_incarnation = self->incarnation,
                                           .to_incarnation = to->incarnation,
                                           .id = to->id,
                                           .answer = what};
    if (what == REPLICA_SNAPSHOT_TAKE) { reply.next = number; }
    if (what == REPLICA_SNAPSHOT_DONE) { reply.index = number; }
    replica__snapshot_reply_encode(&table->scratch, &reply);
    env_send(table->config.env, to->node, PEER_SNAPSHOT_REPLY, buf_slice(&table->scratch));
}

static void answer_state(const struct replica_incoming *in) {
    struct whom to = {in->from, in->from_incarnation, in->id};
    bool ingesting = in->state == REPLICA_INCOMING_INGESTING;
    answer(in->replica, &to, ingesting ? REPLICA_SNAPSHOT_TAKE : REPLICA_SNAPSHOT_FLUSHING,
           in->next);
}

// --- the offer

static enum status offer(struct replica *self, struct node_id from,
                         const struct replica_snapshot_message *message) {
    struct raft_message raft = {.type = RAFT_SNAPSHOT_OFFER,
                                .from = from,
                                .to = self->table->config.self,
                                .from_incarnation = message->from_incarnation,
                                .to_incarnation = message->to_incarnation,
                                .term = message->header.term,
                                .sequence = message->header.sequence,
                                .index = message->header.index,
                                .index_term = message->header.index_term};
    struct raft_event event = {.type = RAFT_EVENT_MESSAGE};
    event.u.message = &raft;
    return replica__step(self, &event);
}

static void begin(struct replica_incoming *in, struct replica *self, struct node_id from,
                  const struct replica_snapshot_message *message) {
    ASSERT(!raft_is_leader(self->raft));
    if (in->state != REPLICA_INCOMING_FREE) {
        MARK("replica.snapshot.replaced");
        incoming_free(in);
    }
    *in = (struct replica_incoming){.state = REPLICA_INCOMING_INGESTING,
                                    .replica = self,
                                    .from = from,
                                    .from_incarnation = message->from_incarnation,
                                    .id = message->id,
                                    .header = message->header,
                                    .membership = bytes_copy(message->header.membership),
                                    .next = 1,
                                    .heard_ns = replica__now(self)};
    in->header.membership = bytes_slice(in->membership);
    self->hollow = true;
    self->applied = 0;
    replica__digest_forget(self);
    self->machine->ingest_begin(self->machine->ctx, self->descriptor.id);
    replica__touch_machine(self->table, self->machine);
    replica__mark_dirty(self);
    LOG_INFO("replica.snapshot.receive", LOG_U64("shard", self->descriptor.id.v),
             LOG_U64("from", from.v), LOG_U64("index", in->header.index));
    answer_state(in);
}

static void on_header(struct replica *self, struct node_id from,
                      const struct replica_snapshot_message *message) {
    struct whom to = {from, message->from_incarnation, message->id};
    struct replica_incoming *in = incoming_of(self);
    if (in != NULL && in->id == message->id) {
        in->heard_ns = replica__now(self);
        answer_state(in);
        return;
    }
    if (message->id == self->snapshot_id) {
        answer(self, &to, REPLICA_SNAPSHOT_DONE, self->snapshot_index);
        return;
    }
    // What is ingested already becomes the state first: then the newer one may prove unnecessary.
    bool late = in != NULL && in->state != REPLICA_INCOMING_INGESTING;
    if (in == NULL) { in = free_place(self->table); }
    if (late || in == NULL) {
        answer(self, &to, REPLICA_SNAPSHOT_BUSY, 0);
        return;
    }
    enum status st = offer(self, from, message);
    if (st == STATUS_OK) {
        begin(in, self, from, message);
    } else if (st == STATUS_ALREADY_EXISTS) {
        bool durable = raft_durable_index(self->raft) >= message->header.index;
        answer(self, &to, durable ? REPLICA_SNAPSHOT_DONE : REPLICA_SNAPSHOT_BUSY,
               message->header.index);
    } else {
        answer(self, &to, REPLICA_SNAPSHOT_REFUSED, 0);
    }
}

// --- chunks

// False when the state machine says that something is missing.
static bool ingested(struct replica_incoming *in) {
    struct replica *self = in->replica;
    const struct state_machine *machine = self->machine;
    const struct shard_id shard = self->descriptor.id;
    replica__base_encode(&self->table->chunk, &in->header);
    machine->ingest_end(machine->ctx, shard, in->header.index, buf_slice(&self->table->chunk));
    if (machine->hollow(machine->ctx, shard)) { return false; }
    in->state = REPLICA_INCOMING_ENDED;
    return true;
}

// False when the state machine cannot use it; then this transfer is over.
static bool take_chunk(struct replica_incoming *in, struct slice chunk) {
    struct replica *self = in->replica;
    enum status st = self->machine->ingest(self->machine->ctx, self->descriptor.id, chunk);
    if (st == STATUS_OK) {
        in->next++;
        in->bytes += chunk.size;
        if (in->next == in->last + 1 && !ingested(in)) { st = STATUS_CORRUPT; }
    }
    if (st != STATUS_OK) {
        MARK("replica.snapshot.chunk_refused");
        LOG_WARN("replica.snapshot.chunk", LOG_U64("shard", self->descriptor.id.v),
                 LOG_U64("from", in->from.v), LOG_STATUS("status", st));
        struct whom to = {in->from, in->from_incarnation, in->id};
        incoming_free(in);  // hollow, until raft has asked for another
        answer(self, &to, REPLICA_SNAPSHOT_REFUSED, 0);
        return false;
    }
    replica__touch_machine(self->table, self->machine);
    replica__mark_dirty(self);
    return true;
}

// Chunks that were overtaken come into their turn.
static bool take_early(struct replica_incoming *in) {
    while (in->state == REPLICA_INCOMING_INGESTING) {
        struct bytes **place = &in->early[in->next % REPLICA_CHUNKS_MAX];
        struct bytes *chunk = *place;
        if (chunk == NULL) { return true; }
        *place = NULL;
        bool taken = take_chunk(in, bytes_slice(chunk));
        bytes_unref(chunk);
        if (!taken) { return false; }
    }
    return true;
}

static void keep_early(struct replica_incoming *in,
                       const struct replica_snapshot_message *message) {
    struct bytes **place = &in->early[message->number % REPLICA_CHUNKS_MAX];
    bool in_window = message->number > in->next && message->number - in->next < REPLICA_CHUNKS_MAX;
    if (!in_window || *place != NULL) {
        MARK("replica.snapshot.chunk_repeated");
        return;
    }
    *place = bytes_copy(message->payload);
}

static void on_chunk(struct replica_incoming *in, const struct replica_snapshot_message *message) {
    if (message->last) { in->last = message->number; }
    // Not before the first one, which says what the others are of.
    const bool lacks_one = in->next > 1 && message->number > in->next;
    if (MUTANT(CHUNK_UNCHECKED) && lacks_one) { in->next = message->number; }
    if (message->number == in->next) {
        if (!take_chunk(in, message->payload) || !take_early(in)) { return; }
    } else {
        keep_early(in, message);
    }
    answer_state(in);
}

// A chunk, or a poll for the answer to one.
static void on_progress(struct replica *self, struct node_id from,
                        const struct replica_snapshot_message *message) {
    struct replica_incoming *in = incoming_of(self);
    if (in == NULL || in->id != message->id || !node_id_equal(in->from, from)) {
        struct whom to = {from, message->from_incarnation, message->id};
        bool done = message->id == self->snapshot_id;
        answer(self, &to, done ? REPLICA_SNAPSHOT_DONE : REPLICA_SNAPSHOT_REFUSED,
               self->snapshot_index);
        return;
    }
    in->heard_ns = replica__now(self);
    bool brings =
        message->kind == REPLICA_SNAPSHOT_CHUNK && in->state == REPLICA_INCOMING_INGESTING;
    if (brings) {
        on_chunk(in, message);
    } else {
        answer_state(in);
    }
}

static void on_abort(struct replica *self, struct node_id from, uint64_t id) {
    struct replica_incoming *in = incoming_of(self);
    if (in == NULL || in->id != id || !node_id_equal(in->from, from)) { return; }
    if (in->state == REPLICA_INCOMING_INGESTING) { incoming_free(in); }
}

enum status replica__on_snapshot(struct replica_table *table, struct node_id from,
                                 struct slice body) {
    struct replica_snapshot_message message;
    enum status st = replica__snapshot_decode(body, &message);
    if (st != STATUS_OK) { return st; }
    struct replica *self = replica__wanted(table, message.shard, message.to_incarnation);
    if (self == NULL || self->incarnation != message.to_incarnation) { return STATUS_OK; }
    switch (message.kind) {
    case REPLICA_SNAPSHOT_HEADER:
        on_header(self, from, &message);
        break;
    case REPLICA_SNAPSHOT_CHUNK:
    case REPLICA_SNAPSHOT_POLL:
        on_progress(self, from, &message);
        break;
    case REPLICA_SNAPSHOT_ABORT:
        on_abort(self, from, message.id);
        break;
    case REPLICA_SNAPSHOT_KIND_COUNT:
        break;
    }
    return STATUS_OK;
}

// --- from ingested to durable

static void finish(struct replica_incoming *in) {
    struct replica *self = in->replica;
    struct whom to = {in->from, in->from_incarnation, in->id};
    self->snapshot_id = in->id;
    self->snapshot_index = in->header.index;
    incoming_free(in);
    answer(self, &to, REPLICA_SNAPSHOT_DONE, self->snapshot_index);
}

// What the entries up to the snapshot's index would have taught this replica about time.
static void adopt(struct replica *self, const struct replica_snapshot_header *header) {
    hlc_adopt(self->table->config.hlc, header->timestamp);
    self->applied = header->index;
    self->flush_applied = header->index;
    self->hollow = false;
    self->ceiling_log = hlc_larger(self->ceiling_log, header->ceiling);
    self->ceiling_committed = hlc_larger(self->ceiling_committed, header->committed);
    self->timestamp_log = hlc_larger(self->timestamp_log, header->timestamp);
    self->timestamp_applied = hlc_larger(self->timestamp_applied, header->timestamp);
    // Not the larger of both: this state may be older than the one that was lost, and then what
    // was closed there is not whole here.
    self->closed = header->closed;
}

// It contradicts what is committed here, which no correct leader sends: begin again.
static void refuse(struct replica_incoming *in, enum status why) {
    struct replica *self = in->replica;
    LOG_ERROR("replica.snapshot.not_installed", LOG_U64("shard", self->descriptor.id.v),
              LOG_U64("index", in->header.index), LOG_STATUS("status", why));
    struct whom to = {in->from, in->from_incarnation, in->id};
    self->machine->ingest_begin(self->machine->ctx, self->descriptor.id);
    replica__touch_machine(self->table, self->machine);
    incoming_free(in);
    answer(self, &to, REPLICA_SNAPSHOT_REFUSED, 0);
}

static void install(struct replica_incoming *in) {
    struct replica *self = in->replica;
    struct raft_membership membership;
    struct codec_reader r;
    codec_reader_init(&r, in->header.membership);
    enum status st = raft_membership_decode(&r, &membership);
    ASSERT(st == STATUS_OK);  // it was checked when the header came
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_INSTALLED};
    event.u.installed.index = in->header.index;
    event.u.installed.term = in->header.index_term;
    event.u.installed.membership = &membership;
    self->installing = in;
    st = replica__step(self, &event);
    self->installing = NULL;
    if (st != STATUS_OK) {
        refuse(in, st);
        return;
    }
    adopt(self, &in->header);
    in->state = REPLICA_INCOMING_INSTALLED;
    in->sequence = self->sequence_submitted - self->sequence_base;
    LOG_INFO("replica.snapshot.installed", LOG_U64("shard", self->descriptor.id.v),
             LOG_U64("index", self->applied), LOG_U64("bytes", in->bytes));
    replica__mark_dirty(self);
    if (in->sequence <= self->durable_sequence) { finish(in); }
}

void replica__snapshots_ended(struct replica_table *table) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        struct replica_incoming *in = &table->incoming[i];
        if (in->state != REPLICA_INCOMING_ENDED) { continue; }
        in->state = REPLICA_INCOMING_FLUSHING;
        if (MUTANT(SNAPSHOT_BEFORE_FLUSH)) { install(in); }
    }
}

void replica__snapshots_flush_begin(struct replica_table *table) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        struct replica_incoming *in = &table->incoming[i];
        if (in->state == REPLICA_INCOMING_FLUSHING) { in->state = REPLICA_INCOMING_FLUSHED; }
    }
}

void replica__snapshots_flush_done(struct replica_table *table, bool flushed) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        struct replica_incoming *in = &table->incoming[i];
        if (in->state != REPLICA_INCOMING_FLUSHED) { continue; }
        if (flushed) {
            install(in);
        } else {
            in->state = REPLICA_INCOMING_FLUSHING;
        }
    }
}

bool replica_table_flush_wanted(const struct replica_table *self) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        if (self->incoming[i].state == REPLICA_INCOMING_FLUSHING) { return true; }
    }
    return false;
}

// A persist became durable.
void replica__snapshots_durable(struct replica *self) {
    struct replica_incoming *in = incoming_of(self);
    if (in != NULL && in->state == REPLICA_INCOMING_INSTALLED &&
        in->sequence <= self->durable_sequence) {
        finish(in);
    }
}

// --- time

void replica__snapshots_receive_on_time(struct replica_table *table, uint64_t now_ns) {
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        struct replica_incoming *in = &table->incoming[i];
        if (in->state != REPLICA_INCOMING_INGESTING || now_ns - in->heard_ns < SILENCE_NS) {
            continue;
        }
        MARK("replica.snapshot.sender_silent");
        incoming_free(in);
    }
}

uint64_t replica__snapshots_receive_deadline(const struct replica_table *table) {
    uint64_t at = UINT64_MAX;
    for (uint32_t i = 0; i < REPLICA_SNAPSHOTS_MAX; i++) {
        const struct replica_incoming *in = &table->incoming[i];
        if (in->state != REPLICA_INCOMING_INGESTING) { continue; }
        if (in->heard_ns + SILENCE_NS < at) { at = in->heard_ns + SILENCE_NS; }
    }
    return at;
}
