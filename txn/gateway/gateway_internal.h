// SPDX-License-Identifier: Apache-2.0
// gateway_internal.h - transactions, reads and batches of resolutions of a gateway.
// Invariants: the session is called from gateway_start, gateway_on_time and gateway_turn alone, for
//             its answers may come in the middle of a turn of the table of replicas;
//             an object is freed only when no call of the session points to it;
//             what a batch answers is found by place and generation: it may be gone.
// Ownership:  the gateway owns everything.
// Thread:     the shard loop.
// See:        txn/gateway/gateway.h
#pragma once

#include "dataplane/base/heap.h"
#include "txn/coordinator/coordinator.h"
#include "txn/gateway/gateway.h"
#include "txn/gateway/gateway_split.h"

enum {
    GATEWAY_BUCKETS = 1024,
    GATEWAY_KEPT_SIZE_MAX = 1 << 16,  // memory that a free object keeps
    GATEWAY_READ_ROUNDS_MAX = 16,
    GATEWAY_KEY_TEXT_SIZE = 120,
};
#define GATEWAY_PREPARES_SIZE_MAX (UINT64_C(64) << 20)   // of one transaction
#define GATEWAY_LINGER_NS         UINT64_C(10000000000)  // then a decision is left to recovery
#define GATEWAY_FORGET_NS         UINT64_C(200000000)    // how long forgets gather
#define GATEWAY_RESOLVE_NS        UINT64_C(2000000000)   // until a batch counts as silent

// --- Transactions, and recoveries of those of others: gateway_txn.c ---

struct gateway_txn;

struct gateway_member {
    struct session_call call;  // PREPARE
    struct gateway_txn *txn;
    bool calling;
    enum coordinator_send batched;  // in a batch, or sent with one
    struct slice anchor;            // in txn->anchors
    struct slice prepare;           // in txn->prepares
    uint64_t at_ns;                 // nothing is sent before
    uint32_t waits;
};

enum gateway_txn_state {
    GATEWAY_TXN_FREE,
    GATEWAY_TXN_WAITING,  // for the next attempt, or for the map
    GATEWAY_TXN_RUNNING,  // the coordinator decides
};

struct gateway_txn {
    struct gateway *gateway;
    uint32_t place;
    uint64_t generation;  // changes with each attempt
    enum gateway_txn_state state;
    bool recovering;
    bool driving;
    bool again;  // while driving: something changed
    struct heap_node timer;
    struct gateway_txn *next;       // free list
    struct gateway_txn *next_same;  // bucket

    struct session_call *call;  // NULL: told, or a recovery
    uint64_t deadline_ns;       // of the call
    uint64_t linger_ns;         // end of the object once there is no call
    uint64_t retry_at_ns;       // WAITING
    uint32_t waits;
    uint32_t attempts;

    struct txn_id txn;
    struct txn_attempt attempt;
    struct hlc_ts begin;
    uint64_t request_hash;
    struct coordinator coordinator;
    struct coordinator_participant *participants;
    struct gateway_member *members;
    uint32_t member_capacity;
    struct buf anchors;
    struct buf prepares;
    struct buf condition_parts;       // a byte for each condition of the request
    struct buf why_key;               // where the latest refusal was; kept from attempt to attempt
    bool begins_alone;                // the next attempt begins there, and nowhere else
    struct command_certificate home;  // of the home's last answer, or of any when it gave none
    enum status refusal;              // a prepare was refused by this without a certificate
    char text[GATEWAY_TEXT_SIZE];     // and this detail
};

// Takes over the call, which touches several shards, or of which the map knows too little.
void gateway__txn_start(struct gateway *self, struct session_call *call);
struct gateway_txn *gateway__txn_of_call(const struct gateway *self,
                                         const struct session_call *call);
void gateway__txn_cancel(struct gateway_txn *txn);
// Free, with an empty coordinator; NULL when there are too many.
struct gateway_txn *gateway__txn_take(struct gateway *self, bool recovering);
// Forgets what it had; no call of the session may point to it.
void gateway__txn_release(struct gateway_txn *txn);
struct gateway_txn *gateway__txn_find(const struct gateway *self, struct txn_id id,
                                      struct txn_attempt attempt);
// RUNNING with `count` members that have neither anchors nor prepares yet.
void gateway__txn_begin(struct gateway_txn *txn, uint32_t count);
// Acts on what the coordinator wants.
void gateway__txn_drive(struct gateway_txn *txn);
void gateway__txn_on_timer(struct gateway_txn *txn);
// A resolution was answered; NULL: silence.
void gateway__txn_on_resolved(struct gateway_txn *txn, uint32_t member, enum coordinator_send sent,
                              const struct command_txn_answer *answer,
                              const struct command_certificate *certificate);
// Ends all that is left, at the end of the gateway; and its memory.
void gateway__txn_close(struct gateway_txn *txn);
void gateway__txn_free(struct gateway_txn *txn);
void gateway__txn_check(const struct gateway_txn *txn);

// --- What the trace tells: gateway_trace.c ---

void gateway__trace(const struct gateway_txn *txn, struct trace_event event);
void gateway__trace_sent(const struct gateway_txn *txn, uint32_t member,
                         enum coordinator_send send);
void gateway__trace_answer(const struct gateway_txn *txn, enum coordinator_send sent,
                           const struct command_txn_answer *answer, struct shard_id shard);
// After an answer: whether it decided.
void gateway__trace_decided(const struct gateway_txn *txn, enum coordinator_phase before);

// --- What the client is told: gateway_tell.c ---

// The coordinator may tell. False when another attempt may follow instead.
bool gateway__tell_result(struct gateway_txn *txn);
// Another attempt could follow, but there is no time left for it.
void gateway__tell_conflict(struct gateway_txn *txn);
// The time is up, or the client gone (`otherwise`), with nothing known.
void gateway__tell_open(struct gateway_txn *txn, enum status otherwise);
void gateway__tell_refused(struct gateway_txn *txn, enum status st, const char *text);
// A key as a human reads it.
void gateway__key_text(struct slice key, char out[GATEWAY_KEY_TEXT_SIZE]);

// --- Resolutions, gathered by shard: gateway_batch.c ---

struct gateway_ref {
    struct txn_id txn;
    uint32_t place;
    uint32_t member;
    uint64_t generation;
    enum coordinator_send sent;
};

struct gateway_batch {
    struct session_call call;
    struct gateway *gateway;
    struct shard_id shard;
    struct heap_node timer;      // while it gathers
    struct gateway_batch *next;  // free list, or bucket of those that gather
    struct gateway_batch *sent_next;
    struct gateway_batch **sent_link;  // in the list of those sent; NULL = not sent
    struct buf key;
    struct buf items;  // encoded resolutions
    struct buf payload;
    struct gateway_ref *refs;
    uint32_t count;
    uint32_t capacity;
};

// Adds what `member` of the transaction is to be sent; false when no shard is known for it.
bool gateway__batch_add(struct gateway_txn *txn, uint32_t member, enum coordinator_send send);
bool gateway__batch_flush(struct gateway *self, uint64_t now_ns);
uint64_t gateway__batch_deadline(const struct gateway *self);
void gateway__batch_close_all(struct gateway *self);

// --- Reads over several shards: gateway_read.c ---

enum gateway_read_round {
    GATEWAY_READ_SPLIT,     // waits for the map, or to begin
    GATEWAY_READ_ROWS,      // at r
    GATEWAY_READ_VALIDATE,  // are they still the newest?
    GATEWAY_READ_CLOSED,    // how far is everybody? Rows too, each at its own snapshot
};

struct gateway_read;

struct gateway_read_part {
    struct session_call call;
    struct gateway_read *read;
    bool calling;
    bool has_rows;  // at r
    struct shard_id shard;
    uint32_t key_count;
    uint32_t key_at;     // first of its keys, grouped by part
    struct buf request;  // of this round
    struct buf rows;
    struct codec_reader rows_left;  // while rows are put together
    struct hlc_ts contact;
    struct command_certificate certificate;
};

struct gateway_read {
    struct gateway *gateway;
    uint32_t place;
    struct heap_node timer;
    struct gateway_read *next;  // free list
    struct session_call *call;  // NULL = free
    uint64_t generation;        // changes when a call ends
    enum gateway_read_round round;
    struct command_snapshot snapshot;  // as asked
    struct hlc_ts r;
    struct hlc_ts raise;  // largest uncertain of this round
    bool changed;         // the validation met another version
    bool starting;        // the round is not complete until all have been asked
    uint32_t rounds;
    uint32_t waits;
    uint64_t due_ns;  // when the round begins; UINT64_MAX = it is under way
    uint32_t key_count;
    uint16_t key_parts[COMMAND_READ_KEYS_MAX];
    uint32_t part_count;
    uint32_t calling;  // parts that have not answered
    struct gateway_read_part *parts;
    uint32_t part_capacity;
};

void gateway__read_start(struct gateway *self, struct session_call *call);
struct gateway_read *gateway__read_of_call(const struct gateway *self,
                                           const struct session_call *call);
void gateway__read_cancel(struct gateway_read *read, enum status st);
void gateway__read_on_timer(struct gateway_read *read);
void gateway__read_close(struct gateway_read *read);
void gateway__read_free(struct gateway_read *read);
void gateway__read_check(const struct gateway_read *read);

// --- Calls that wait for a verdict about the clock: gateway_held.c ---

struct gateway_held {
    struct session_call **calls;  // [first, end): in order of arrival
    uint32_t first;
    uint32_t end;
    uint32_t capacity;
    uint64_t deadline_ns;  // not after the first of theirs; UINT64_MAX = none
};

// False when too many wait.
bool gateway__held_add(struct gateway *self, struct session_call *call);
// False when it does not wait here.
bool gateway__held_remove(struct gateway *self, const struct session_call *call);
// Starts them all, once there is a verdict; whether there was one.
bool gateway__held_turn(struct gateway *self);
void gateway__held_on_time(struct gateway *self, uint64_t now_ns);
void gateway__held_close(struct gateway *self);

// --- Keys held for interactive transactions: gateway_hold.c ---

void gateway__holds_on_time(struct gateway *self, uint64_t now_ns);

// --- All of it ---

struct gateway {
    struct gateway_config config;
    struct gateway_split split;
    struct heap txn_timers;
    struct gateway_txn **txns;  // txns_max + recoveries_max, made when first needed
    uint32_t txn_count;         // made
    uint32_t txns_used;
    uint32_t recoveries_used;
    struct gateway_txn *txns_free;
    struct gateway_txn *buckets[GATEWAY_BUCKETS];
    struct heap read_timers;
    struct gateway_read **reads;  // txns_max
    uint32_t read_count;
    uint32_t reads_used;
    struct gateway_read *reads_free;
    struct heap batch_timers;
    struct heap hold_timers;
    struct gateway_batch *open[GATEWAY_BUCKETS];
    struct gateway_batch *batches_free;
    struct gateway_batch *batches_sent;
    struct gateway_held held;
    struct buf scratch;  // a command being encoded
    struct buf told;     // payload of a result
    bool may_start;      // the session may be called: this is no callback of it
    bool closing;
    struct gateway_stats stats;
};

// Calls that the gateway itself holds: which one, in the id that is private to whoever holds it.
#define GATEWAY_ID_TXN  (UINT64_C(1) << 63)
#define GATEWAY_ID_READ (UINT64_C(1) << 62)
#define GATEWAY_ID_HELD (UINT64_C(1) << 61)

static inline uint64_t gateway__now(const struct gateway *self) {
    return env_now(self->config.env);
}
static inline struct hlc_ts gateway__clock(struct gateway *self) {
    return hlc_now(self->config.hlc, env_wall_us(self->config.env));
}
// 2 ms to 100 ms, as the session waits.
uint64_t gateway__backoff_ns(struct gateway *self, uint32_t waits);
void gateway__end_call(struct session_call *call, enum status st, const char *text);
void gateway__buf_trim(struct buf *buf);
