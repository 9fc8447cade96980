// SPDX-License-Identifier: Apache-2.0
// replica_snapshot_internal.h - snapshots between two tables: their messages, the places where they
// are sent and received.
// Invariants: a node sends at most REPLICA_SNAPSHOTS_MAX snapshots and receives as many, one of a
//             replica; chunks are numbered from 1 and ingested in order; acked <= sent <= made;
//             an export is open only while something is left to read from it.
// Ownership:  the table owns both arrays; a place owns its export, its chunks and its header's
//             bytes.
// Thread:     confined to the shard loop.
// See:        dataplane/replica/README.md "Snapshots"
#pragma once

#include "dataplane/replica/replica_internal.h"

enum {
    REPLICA_SNAPSHOTS_MAX = 2,          // each way, a node
    REPLICA_CHUNK_SIZE = 128 << 10,     // small beside what Raft sends on the same connection
    REPLICA_CHUNK_SIZE_MAX = 18 << 20,  // one record may be larger than a chunk should be
    REPLICA_CHUNKS_MAX = 8,             // on their way to one receiver
    REPLICA_WINDOW_SIZE = 1 << 20,      // and their bytes, but always one chunk
};

// What a snapshot is of; the first message of it.
struct replica_snapshot_header {
    uint64_t term;      // of the leader that sends it
    uint64_t sequence;  // support_next_sequence
    uint64_t index;     // everything up to it is in the snapshot
    uint64_t index_term;
    struct hlc_ts ceiling;    // largest in the leader's log, committed or not
    struct hlc_ts committed;  // largest ceiling known to be committed
    struct hlc_ts timestamp;  // nothing above index has one at or below it
    struct hlc_ts closed;     // nothing above index commits at or below it
    uint64_t shard_epoch;
    uint64_t total;           // bytes expected, 0 = unknown
    struct slice membership;  // encoded, committed at index
};

enum replica_snapshot_kind {
    REPLICA_SNAPSHOT_HEADER,
    REPLICA_SNAPSHOT_CHUNK,
    REPLICA_SNAPSHOT_POLL,   // asks how far the receiver is; never begins anything
    REPLICA_SNAPSHOT_ABORT,  // the sender gave it up; saves the receiver the wait
    REPLICA_SNAPSHOT_KIND_COUNT
};

struct replica_snapshot_message {
    enum replica_snapshot_kind kind;
    struct shard_id shard;
    uint64_t from_incarnation;
    uint64_t to_incarnation;
    uint64_t id;  // drawn by the sender
    struct replica_snapshot_header header;
    uint64_t number;  // of a chunk, from 1
    bool last;
    struct slice payload;
};

enum replica_snapshot_answer {
    REPLICA_SNAPSHOT_TAKE,      // give chunk `next`
    REPLICA_SNAPSHOT_BUSY,      // no place now: try again later
    REPLICA_SNAPSHOT_FLUSHING,  // all chunks are here and become durable
    REPLICA_SNAPSHOT_DONE,      // this replica holds everything up to index, durable
    REPLICA_SNAPSHOT_REFUSED,   // not wanted, unknown, or unusable: end it
    REPLICA_SNAPSHOT_ANSWER_COUNT
};

struct replica_snapshot_reply {
    struct shard_id shard;
    uint64_t from_incarnation;
    uint64_t to_incarnation;
    uint64_t id;
    enum replica_snapshot_answer answer;
    uint64_t next;
    uint64_t index;
};

enum replica_outgoing_state {
    REPLICA_OUTGOING_FREE,
    REPLICA_OUTGOING_OFFERED,    // the header is out
    REPLICA_OUTGOING_STREAMING,  // the receiver takes it
    REPLICA_OUTGOING_FINISHING,  // it has all chunks
};

struct replica_outgoing {
    enum replica_outgoing_state state;
    struct replica *replica;
    struct node_id node;
    uint64_t incarnation;  // of the receiver
    uint64_t min_index;
    uint64_t id;
    struct replica_snapshot_header header;
    struct bytes *membership;  // what header.membership views
    struct state_export *export;
    struct bytes *chunks[REPLICA_CHUNKS_MAX];  // by number, those not acknowledged
    uint64_t acked;
    uint64_t sent;
    uint64_t made;
    uint64_t last;      // number of the last chunk; 0 = not read yet
    uint64_t flying;    // bytes made and not acknowledged
    uint64_t bytes;     // acknowledged
    uint64_t heard_ns;  // when it last came on
    uint64_t resend_at_ns;
    uint64_t resend_ns;
    bool paced;  // the bound on bytes a second holds the next chunk back
};

enum replica_incoming_state {
    REPLICA_INCOMING_FREE,
    REPLICA_INCOMING_INGESTING,
    REPLICA_INCOMING_ENDED,     // ingested in this turn: not visible before end()
    REPLICA_INCOMING_FLUSHING,  // waits for a flush that begins from now on
    REPLICA_INCOMING_FLUSHED,   // such a flush is under way
    REPLICA_INCOMING_INSTALLED  // the log begins anew; waits for that to be durable
};

struct replica_incoming {
    enum replica_incoming_state state;
    struct replica *replica;
    struct node_id from;
    uint64_t from_incarnation;
    uint64_t id;
    struct replica_snapshot_header header;
    struct bytes *membership;
    uint64_t next;                            // chunk that is wanted
    uint64_t last;                            // number of the last chunk; 0 = not seen yet
    struct bytes *early[REPLICA_CHUNKS_MAX];  // by number, those that came before their turn
    uint64_t bytes;
    uint64_t heard_ns;
    uint64_t sequence;  // of the persist that INSTALLED waits for
};

// replica_snapshot_wire.c
// Both append a checksum over all of the message.
void replica__snapshot_encode(struct buf *out, const struct replica_snapshot_message *self);
// Views into body. STATUS_CORRUPT.
NODISCARD enum status replica__snapshot_decode(struct slice body,
                                               struct replica_snapshot_message *out);
void replica__snapshot_reply_encode(struct buf *out, const struct replica_snapshot_reply *self);
NODISCARD enum status replica__snapshot_reply_decode(struct slice body,
                                                     struct replica_snapshot_reply *out);
// What the state machine keeps of a snapshot's header (state_machine.ingest_end).
void replica__base_encode(struct buf *out, const struct replica_snapshot_header *header);
NODISCARD enum status replica__base_decode(struct slice base, struct replica_snapshot_header *out);

// replica_snapshot_send.c
void replica__snapshot_wanted(struct replica *self, struct node_id node, uint64_t incarnation,
                              uint64_t min_index);
// Leadership is gone, or the replica goes.
void replica__snapshots_abort(struct replica *self);
// After end() of a turn: begins what can begin and sends what the windows allow.
void replica__snapshots_send(struct replica_table *table);
void replica__snapshots_send_on_time(struct replica_table *table, uint64_t now_ns);
uint64_t replica__snapshots_send_deadline(const struct replica_table *table);
enum status replica__on_snapshot_reply(struct replica_table *table, struct node_id from,
                                       struct slice body);

// replica_snapshot_receive.c
enum status replica__on_snapshot(struct replica_table *table, struct node_id from,
                                 struct slice body);
// After end() of a turn: what was ingested may be flushed from now on.
void replica__snapshots_ended(struct replica_table *table);
void replica__snapshots_flush_begin(struct replica_table *table);
void replica__snapshots_flush_done(struct replica_table *table, bool flushed);
void replica__snapshots_durable(struct replica *self);
void replica__snapshots_receive_on_time(struct replica_table *table, uint64_t now_ns);
uint64_t replica__snapshots_receive_deadline(const struct replica_table *table);
// The replica goes.
void replica__snapshots_forget(struct replica *self);
const struct replica_incoming *replica__incoming_of(const struct replica *self);
