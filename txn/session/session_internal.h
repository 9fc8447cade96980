// SPDX-License-Identifier: Apache-2.0
// session_internal.h - the tables of a session: calls as gateway, requests served, executions on
// this node's replicas.
// Invariants: a slot is in the free list, or has a call, or waits for its execution (exec.pending);
//             an execution is pending, or waits in the room, or neither;
//             a slot is in a list of waiters exactly when its state is WAITING; its timer is in the
//             heap exactly when it has a call.
// Ownership:  the session owns everything; slots never move, because the table of replicas holds
//             pointers into them.
// Thread:     the shard loop.
// See:        txn/session/session.h
#pragma once

#include "dataplane/base/heap.h"
#include "dataplane/replica/replica_room.h"
#include "txn/session/session.h"
#include "txn/session/session_hold.h"
#include "txn/session/session_latch.h"
#include "txn/session/session_route.h"
#include "txn/session/session_silence.h"
#include "txn/session/session_window.h"

struct session_exec;
typedef void (*session_exec_done_fn)(struct session_exec *exec,
                                     const struct command_response *response);

// One request executed on this node's replica. It ends at once, or the table of replicas holds it
// (pending), or it waits for its turn (waiter.room) and is then executed again from the beginning.
struct session_exec {
    struct session *session;
    session_exec_done_fn done;  // of an execution that did not end at once
    bool lasting;               // payload lives as long as this: it is a call of this gateway
    enum command_kind kind;
    bool alone;    // PREPARE: the attempt is nowhere else yet
    bool latched;  // what waiter.txn prepares is latched, while it is pending
    struct shard_id shard;
    uint64_t epoch;        // of the descriptor that the gateway used
    struct slice payload;  // empty once it is gone: what was answered cannot be executed again
    struct buf kept;       // the payload of a request that waits and is nobody's call
    struct hlc_ts begin;   // the clock when the request came
    uint64_t arrived_ns;
    uint64_t patient_ns;   // it waits until then
    uint64_t deadline_ns;  // of the call, as far as is known here
    bool hasty;            // it waited long enough: the answer is what is known now
    struct participant_waiter waiter;
    bool pending;  // the table of replicas holds proposal or read
    struct replica_proposal proposal;
    struct command_snapshot snapshot;  // of a read
    struct hlc_ts contact;             // of reads over several shards: this leader's first
    struct hlc_ts uncertain;
    struct replica_read read;
    enum command_method method;  // of the read's certificate, if it needs no confirmation
    enum status read_status;     // what the rows say: OK or NOT_FOUND
    struct buf rows;             // answer of a read; memory is lent by the session's spares
};

enum session_slot_state {
    SESSION_SLOT_FREE,
    SESSION_SLOT_LOCAL,
    SESSION_SLOT_REMOTE,
    SESSION_SLOT_WAITING,
    SESSION_SLOT_ENDED
};

struct session_slot {
    struct session_exec exec;
    struct heap_node timer;
    struct session_call *call;  // NULL when FREE or ENDED
    enum session_slot_state state;
    uint64_t generation;    // changes with each call: late answers to an earlier one do not match
    struct shard_id shard;  // of the last route; 0 = none found
    uint64_t epoch;
    struct node_id target;  // of the last attempt
    struct node_id avoid;
    uint64_t retry_at_ns;
    uint64_t asked_ns;  // when the attempt under way was sent
    uint64_t attempt_until_ns;
    uint64_t patient_ns;  // TXN_STATUS: the caller hears by then that there is no outcome
    uint32_t attempts;
    uint32_t hops;
    uint32_t waits;
    bool maybe_applied;
    bool anywhere;               // any replica may serve it, and none has refused yet
    enum status last_status;     // of the last answer, for the text at the deadline
    struct session_slot *next;   // free list, or list of waiters
    struct session_slot **link;  // what points to this waiter
};

// How long who asks for an outcome waits for one: there is to be time left to hear of none.
static inline uint64_t session__outcome_patience(uint64_t budget) {
    return budget - budget / 4;
}

struct session_served {
    struct session_exec exec;
    struct node_id from;
    uint64_t id;
    struct session_served *next_free;
};

enum {
    SESSION_WAITER_BUCKETS = 1024,
    SESSION_SPARES_MAX = 64,
    SESSION_SPARE_SIZE_MAX = 1 << 16,
    SESSION_KEPT_BYTES_MAX = 64 << 20
};

struct session {
    struct session_config config;
    struct session_slot *slots;
    struct session_slot *slots_free;
    struct session_served *served;
    struct session_served *served_free;
    struct heap timers;
    struct session_slot *waiters[SESSION_WAITER_BUCKETS];  // by shard
    struct session_windows windows;
    struct session_silences silences;
    struct buf message;      // being encoded for sending
    struct buf descriptors;  // delta of an answer being made
    struct buf spares[SESSION_SPARES_MAX];
    uint32_t spare_count;
    uint32_t pending;  // executions that the table of replicas holds
    struct participant *room;
    struct session_holds holds;
    struct session_latches latches;
    size_t kept_bytes;  // payloads of requests that wait
    bool closing;
    uint64_t boot;
    uint64_t sequence;
    uint32_t rotor;
    struct node_id catalog_leader;  // freshest hint
    uint64_t catalog_term;
    struct session_stats stats;
};

static inline uint64_t session__now(const struct session *self) {
    return env_now(self->config.env);
}
static inline uint64_t session__wall(const struct session *self) {
    return env_wall_us(self->config.env);
}

// --- session_exec.c ---

// Executes; true when *out is the answer (views live until session__exec_end), false when
// exec->done will be called with it.
NODISCARD bool session__exec(struct session_exec *self, const struct command_request *request,
                             struct command_response *out);
// The same from the beginning, for a request that waited.
NODISCARD bool session__exec_again(struct session_exec *self, struct command_response *out);
// After the answer was used.
void session__exec_end(struct session_exec *self);
void session__refuse(struct command_response *out, enum status status, const char *detail);
// Completes what a status of the replica leaves out.
void session__answer_route(struct session_exec *self, enum status status,
                           struct command_response *out);
struct replica *session__replica(const struct session_exec *self);
// Locks of the shard on this node, whoever leads it; NULL = none.
const struct lock_table *session__locks(const struct session_exec *self);
struct buf session__buf_take(struct session *self);
void session__buf_give(struct session *self, struct buf *buf);
// Frees the session once it is closing and nothing is pending.
void session__free_if_closed(struct session *self);

// --- session_propose.c: what goes through the log ---

// True when every key of the commit lies in the descriptor's range, and every range as a whole.
bool session__commit_fits(struct slice payload, const struct shard_descriptor *descriptor);
NODISCARD bool session__exec_catalog(struct session_exec *self, struct replica *replica,
                                     struct command_response *out);
NODISCARD bool session__exec_commit(struct session_exec *self, struct replica *replica,
                                    struct command_response *out);
NODISCARD bool session__exec_prepare(struct session_exec *self, struct replica *replica,
                                     struct command_response *out);
NODISCARD bool session__exec_resolve(struct session_exec *self, struct replica *replica,
                                     struct command_response *out);

// --- session_lease.c: keys held for interactive transactions ---

NODISCARD bool session__exec_hold(struct session_exec *self, struct replica *replica,
                                  struct command_response *out);
// A commit (verified) that writes what another transaction holds waits a while and is then executed
// again. False when it does not.
// *out_ended: it was answered instead, to come again.
NODISCARD bool session__waits_for_hold(struct session_exec *self, struct txn_id txn,
                                       struct slice commit, struct command_response *out,
                                       bool *out_ended);

// --- session_read.c ---

// READ, SCAN and TXN_STATUS; replica may lead or not.
NODISCARD bool session__exec_read(struct session_exec *self, struct replica *replica,
                                  struct command_response *out);

// --- session_park.c: requests that wait for their turn ---

void session__park_create(struct session *self);
void session__park_destroy(struct session *self);
// The request waits until `holder` is resolved on its shard, and is then executed again. True when
// it cannot wait: *out says so.
NODISCARD bool session__park(struct session_exec *self, struct txn_id holder,
                             struct command_response *out);
// The same for time alone: it is executed again after `after_ns`, unless `until_ns` has passed.
// False when it does not wait: the caller answers.
NODISCARD bool session__park_for(struct session_exec *self, uint64_t after_ns, uint64_t until_ns);
// The request waits in line under a name, until again_ns at the latest. False when it does not
// wait.
NODISCARD bool session__park_in_line(struct session_exec *self, enum participant_line line,
                                     struct txn_id name, uint64_t again_ns);
// Nothing happened, and this node still leads: the gateway comes again. `line` tells what was in
// the way.
void session__answer_later(const struct session_exec *self, enum participant_line line,
                           struct command_response *out);
// Ends a wait and gives back what it held.
void session__park_end(struct session_exec *self);
// The room was left, but what is kept is still wanted.
void session__unkeep(struct session_exec *self);

// --- session_rows.c ---

// Rows of a read or scan at the snapshot of exec->read, into exec->rows. STATUS_OK; otherwise the
// request is refused with *out_detail.
NODISCARD enum status session__read_rows(struct session_exec *self,
                                         const struct shard_descriptor *descriptor,
                                         const char **out_detail);
NODISCARD enum status session__scan_rows(struct session_exec *self,
                                         const struct shard_descriptor *descriptor,
                                         const char **out_detail);
// session_versions.c
NODISCARD enum status session__version_rows(struct session_exec *self,
                                            const struct shard_descriptor *descriptor,
                                            const char **out_detail);
bool session__versions_blocked(const struct session_exec *self, const struct lock_table *locks,
                               struct hlc_ts limit, struct lock_conflict *out);
// True when a prepared write at or below `limit` lies on what the read or scan wants.
bool session__read_blocked(struct session_exec *self, const struct shard_descriptor *descriptor,
                           struct hlc_ts limit, struct lock_conflict *out);
// The key by which a scan is routed: where it begins, or for reverse ones the largest key below its
// end, written into out.
struct slice session__scan_key(const struct command_scan *scan, uint8_t out[SHARD_KEY_SIZE_MAX]);

// --- session_target.c: whom to ask ---

// Chooses shard and target of the next attempt; target 0 = nobody to ask now. False when the call
// ended here.
NODISCARD bool session__route(struct session_slot *slot);
// The key by which the call is routed. False when its payload makes no sense.
NODISCARD bool session__routing_key(const struct session_call *call,
                                    uint8_t out[SHARD_KEY_SIZE_MAX], struct slice *out_key);

// --- session_call.c ---

struct session_slot *session__slot_of_call(const struct session *self,
                                           const struct session_call *call);
// Notes an event of a commit of one shard; of other calls, nothing.
void session__trace_commit(const struct session_slot *slot, struct trace_event event);
// One attempt after the other until the call ended, waits, or is under way.
void session__drive(struct session_slot *slot);
// Ends the call; the slot is free, or ENDED while its execution is pending.
void session__finish(struct session_slot *slot, const struct session_result *result);
// The same without anything that a shard said.
void session__finish_text(struct session_slot *slot, enum status status, const char *detail);
// The deadline passed or the caller went away: `otherwise`, or UNKNOWN_OUTCOME.
void session__give_up(struct session_slot *slot, enum status otherwise);
// Waiting for a retry at that time.
void session__wait_until(struct session_slot *slot, uint64_t at_ns);
NODISCARD enum status session__on_response(struct session *self, struct node_id from,
                                           struct slice body);
// The head of the list of waiters in which those of the shard are.
struct session_slot **session__waiters(struct session *self, struct shard_id shard);
void session__timer_fired(struct session_slot *slot);
// An execution for a call ended.
void session__exec_done(struct session_exec *exec, const struct command_response *response);

// --- session_serve.c ---

NODISCARD enum status session__on_request(struct session *self, struct node_id from,
                                          struct slice body);
