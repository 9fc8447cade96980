// SPDX-License-Identifier: Apache-2.0
// apply.h - the state machine of data shards: commits become versions, outcomes are kept,
// everything exactly once.
// Invariants: applied index and effects of an entry are in one batch; a transaction id commits at
//             most once per shard and 24 h; applying reads nothing but the entry and the store;
//             entries proposed under another epoch than the shard's change nothing; how entries
//             are grouped into turns changes no effect and no result.
// Ownership:  borrows the engine; owns its batch and reader.
// Thread:     the shard loop.
// See:        txn/apply/README.md; transactions.md; tests/unit/txn/apply/apply_test.c
#pragma once

#include "dataplane/port/state_machine.h"
#include "storage/engine/engine.h"
#include "storage/mvcc/mvcc.h"
#include "txn/command/command.h"
#include "txn/command/command_txn.h"
#include "txn/lock/lock_table.h"
#include "txn/trace/trace.h"

struct apply;

// How long an outcome is kept, in the shard's own commit timestamps. A repeat that comes later is
// a new transaction.
#define APPLY_OUTCOME_KEPT_US (UINT64_C(24) * 3600 * 1000 * 1000)

struct apply *apply_create(struct engine *engine);
// What was applied since the last end() is dropped, as by a crash.
void apply_destroy(struct apply *self);
// The port for replicas: apply() gathers, end() writes one batch without sync for all shards of the
// turn. Result payload of an applied commit is an encoded command_outcome, valid until the next
// call; apply_result.status is its status: OK, CONDITION_FAILED, RESOURCE_EXHAUSTED (a delete_range
// met more than COMMAND_OPS_MAX keys). Without a payload: STALE_SHARD_MAP when the epoch did not
// match, INVALID_ARGUMENT when the id was used before with another body or the bytes are no commit.
// ABORTED_RETRY with a command_txn_answer: a foreign lock is in the way (LOCKED: nothing is kept,
// the same command may be proposed again), or a read has been overwritten (READ). The result of a
// prepare is one command_txn_answer, that of resolutions one each; status OK.
// applied() counts what the store holds: entries of a turn count after its end(). A store that
// fails to read or write stops the process: a replica that skips an entry has diverged. (Taking in
// a snapshot gives the store's error back instead: the shard is hollow then anyway.)
// ingest_end() before the last chunk was taken changes nothing: hollow() still says so.
const struct state_machine *apply_machine(struct apply *self);
// The epoch under which entries of the shard are valid (set when a replica opens; later by split
// entries). Must be known before a command of the shard is applied.
void apply_set_epoch(struct apply *self, struct shard_id shard, uint64_t epoch);
// The keys of the shard; both are copied, an empty end is unbounded. Must be known before a
// snapshot of the shard is exported or taken in.
// LIMIT: without this, remove() drops what is kept by shard id, and the versions stay in the store.
void apply_set_range(struct apply *self, struct shard_id shard, struct slice start,
                     struct slice end);
// Reader of the same store, refreshed to include everything applied (also what the turn in progress
// has gathered: that is written out first). Shared by the loop's reads.
struct mvcc_reader *apply_reader(struct apply *self);
// Outcome of a transaction on a shard: STATUS_NOT_FOUND when none is kept.
NODISCARD enum status apply_outcome(struct apply *self, struct shard_id shard, struct txn_id txn,
                                    struct command_outcome *out);
// The locks of prepared transactions, as of everything applied. Valid until the shard is removed.
const struct lock_table *apply_locks(struct apply *self, struct shard_id shard);
// Called at end(), after the effects are visible, for each transaction whose locks on a shard went.
void apply_on_resolved(struct apply *self,
                       void (*resolved)(void *ctx, struct shard_id shard, struct txn_id txn),
                       void *ctx);
// Where what is applied is noted; NULL = nowhere.
void apply_set_trace(struct apply *self, struct trace *trace);
// How long outcomes and records are kept; the same on all replicas, before anything is applied.
// Default APPLY_OUTCOME_KEPT_US. Shorter in tests.
void apply_set_kept(struct apply *self, uint64_t kept_us);
// What a shard's record says of a transaction: state NONE when there is none. For inspection.
enum command_txn_state apply_txn_state(struct apply *self, struct shard_id shard,
                                       struct txn_id txn);
// The same with all that the record says. The shard is one of which something was applied.
struct apply_txn_view {
    enum command_txn_state state;
    struct txn_attempt attempt;
    struct hlc_ts begin;
    struct hlc_ts prepared;  // zero = it never was
    struct hlc_ts commit;    // COMMITTED
    bool forgotten;
};
void apply_txn_look(struct apply *self, struct shard_id shard, struct txn_id txn,
                    struct apply_txn_view *out);
// Looks at up to `count_max` outcomes, on from where the last call stopped, and removes those too
// old to count. Never decides anything: an old outcome counts as absent whether removed or not.
// Returns how many were removed. For idle moments; outcomes only pile up when nobody calls it.
uint32_t apply_collect(struct apply *self, uint32_t count_max);

// Digest of all versions of [start, end), empty end = unbounded (state equality in tests and the
// simulator). STATUS_CORRUPT, STATUS_IO.
NODISCARD enum status apply_digest(struct apply *self, struct slice start, struct slice end,
                                   uint64_t *out_digest);
