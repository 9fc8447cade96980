// SPDX-License-Identifier: Apache-2.0
// participant.h - the waiting room of a node: requests that wait for prepared transactions of the
// shards led here, and who has to be asked how those end: sans-IO.
// Invariants: a waiter is woken exactly once per wait; the oldest of those that wait for one holder
//             first; numbers of waiters and of holders watched are bounded; a holder that stays is
//             reported, and reported again with growing distance.
// Ownership:  waiters are embedded in their requests and alive until woken or until they left;
//             holders belong to the lock tables.
// Thread:     the shard loop.
// See:        txn/participant/README.md; docs/protocols/transactions.md "Recovery";
//             tests/unit/txn/participant/participant_test.c
#pragma once

#include "dataplane/base/heap.h"
#include "txn/lock/lock_table.h"

struct participant;

struct participant_config {
    uint32_t waiters_max;
    uint32_t holders_max;        // watched at once
    uint64_t recovery_after_us;  // txn_recovery_after
    uint64_t now_ns;
    // Locks of a shard, NULL when this node does not lead it. *out_quiet: nothing that was appended
    // to its log is still to be applied, so that a table without holders stays empty until
    // participant_note.
    const struct lock_table *(*locks)(void *ctx, struct shard_id shard, bool *out_quiet);
    // The log is about to decide whether the id will hold anything there; participant_on_resolved
    // follows if not (may be NULL).
    bool (*is_deciding)(void *ctx, struct shard_id shard, struct txn_id txn);
    // The coordinator of this holder is silent, or it keeps somebody waiting (may be NULL). Must
    // not resolve it before returning.
    void (*recover)(void *ctx, struct shard_id shard, const struct lock_holder *holder);
    void *ctx;
};

enum participant_wake {
    PARTICIPANT_AGAIN,    // look again: the holder is resolved, or it is time
    PARTICIPANT_EXPIRED,  // the deadline passed
};

// Who waits in line waits under a name for something that one of those waiting gets at a time;
// participant_pass, not the end of a transaction, ends the wait.
enum participant_line {
    PARTICIPANT_NOT_IN_LINE,
    PARTICIPANT_TAKES,
    PARTICIPANT_TAKES_OR_DIES,  // and has to look who got it whenever somebody else did
    PARTICIPANT_PASSES_BY,      // wants only that nobody has it
};

struct participant_holder;

// Fields before "private" are the caller's.
struct participant_waiter {
    struct shard_id shard;
    struct txn_id holder;  // zero: waits for time alone; in line: the name
    enum participant_line line;
    struct txn_id txn;           // who waits; zero = a read
    struct txn_attempt attempt;  // of a prepare
    struct hlc_ts begin;         // the smaller is woken first
    uint64_t again_ns;           // look again then at the latest
    uint64_t deadline_ns;
    void (*wake)(struct participant_waiter *self, enum participant_wake why);
    // private
    uint64_t since_ns;
    struct participant *room;  // NULL outside
    struct participant_holder *at;
    struct participant_waiter *next;
    struct participant_waiter *previous;
    bool ready;
    struct heap_node timer;
};

struct participant *participant_create(const struct participant_config *config);
// Nobody may be waiting.
void participant_destroy(struct participant *self);

// OVERLOADED: wake will not be called. A holder that is resolved already wakes it within a
// millisecond.
NODISCARD enum status participant_wait(struct participant *self, struct participant_waiter *waiter,
                                       uint64_t now_ns);
// Ends a wait early; no effect on one that is over.
void participant_leave(struct participant_waiter *waiter);

// The id holds nothing on the shard any more. Wakes nobody before the next on_time, which is due at
// once: this may be the middle of a turn.
void participant_on_resolved(struct participant *self, struct shard_id shard, struct txn_id txn);
// What is waited for under this name is free. With the next on_time the first who takes it is
// woken, and before it those who pass by.
void participant_pass(struct participant *self, struct shard_id shard, struct txn_id name);
// The shard may have holders now: one prepared, or this node began to lead it.
void participant_note(struct participant *self, struct shard_id shard);
// Everybody who waits at the shard looks again: this node leads it no more.
void participant_wake_shard(struct participant *self, struct shard_id shard);
// Reports the holder at the next on_time, however young it is: somebody asked for its outcome.
void participant_hurry(struct participant *self, struct shard_id shard, struct txn_id txn);

uint64_t participant_deadline_ns(const struct participant *self);
// wall is the wall clock as a timestamp: how old holders are is judged by it alone.
void participant_on_time(struct participant *self, uint64_t now_ns, struct hlc_ts wall);

// Holders of all shards led here, shard by shard, in each the oldest first; stops when visit
// returns false.
void participant_each_holder(struct participant *self,
                             bool (*visit)(void *ctx, struct shard_id shard,
                                           const struct lock_holder *holder, uint32_t waiters),
                             void *ctx);
// Those that wait for one holder, in the order in which they will be woken.
void participant_each_waiter(struct participant *self, struct shard_id shard, struct txn_id holder,
                             bool (*visit)(void *ctx, const struct participant_waiter *waiter),
                             void *ctx);

struct participant_stats {
    uint64_t waiting;     // now
    uint64_t waits;       // begun
    uint64_t overloaded;  // waits refused
    uint64_t expired;
    uint64_t reported;       // calls of recover
    uint64_t holders;        // prepared transactions of shards led here, as of the last sweep
    uint64_t oldest_age_us;  // of the oldest of them, then; 0 = none
};
struct participant_stats participant_stats(const struct participant *self);
// Asserts the invariants; O(waiters).
void participant_check(const struct participant *self);
