// SPDX-License-Identifier: Apache-2.0
// apply_internal.h - the parts of apply: shards, the gathered batch, the set of what it touches.
// Invariants: the batch holds the effects of whole entries only whenever it may be written; every
//             shard with effects in the batch is in the dirty list; everything the batch writes is
//             in `touched`, or `touched` is full.
// Ownership:  the apply owns all of it.
// Thread:     the shard loop.
// See:        txn/apply/apply.h
#pragma once

#include "dataplane/base/err.h"
#include "storage/snapshot/snapshot.h"
#include "txn/apply/apply.h"
#include "txn/apply/apply_decided.h"
#include "txn/apply/apply_merged.h"
#include "txn/apply/apply_touched.h"
#include "txn/command/command_txn.h"
#include "txn/lock/lock_table.h"

// First byte of this package's keys in ENGINE_LOCAL; other packages use other bytes there.
enum {
    APPLY_LOCAL_APPLIED = 0x10,
    APPLY_LOCAL_OUTCOME = 0x11,
    APPLY_LOCAL_HOLLOW = 0x12,  // there while a snapshot is being taken in
    APPLY_LOCAL_BASE = 0x13,    // of the latest snapshot that was
    APPLY_LOCAL_TXN = 0x14,     // what became of an attempt of a transaction over several shards
    APPLY_LOCAL_FORMAT = 1,     // first byte of each value
    APPLY_SHARD_KEY_SIZE = 1 + sizeof(uint64_t),
    APPLY_OUTCOME_KEY_SIZE = APPLY_SHARD_KEY_SIZE + sizeof(struct txn_id),
};

struct apply_shard;

enum { LOCAL_VALUE_SIZE_MAX = 256 };

struct apply {
    struct engine *engine;
    struct engine_batch *batch;
    struct mvcc_reader *reader;
    bool reader_stale;  // something was written since its last refresh
    struct state_machine port;
    struct apply_touched touched;
    struct apply_decided decided;
    struct apply_merged merged;
    struct apply_shard *shards;      // uthash by id
    struct apply_shard *last_shard;  // found last: entries of a shard come in runs
    struct apply_shard *dirty;       // shards whose applied index moved since the last write
    struct buf scratch;              // values read from ENGINE_LOCAL
    struct buf outcomes;             // of the gathered entries: key, then value with its size
    struct buf result;               // payload of the last apply()
    struct buf resolved;             // shard and id of each whose locks went in this turn
    void (*on_resolved)(void *ctx, struct shard_id shard, struct txn_id txn);
    void *on_resolved_ctx;
    struct trace *trace;         // may be NULL
    uint64_t kept_us;            // APPLY_OUTCOME_KEPT_US
    struct slice collect_after;  // view into collect_key: where apply_collect stopped
    uint8_t collect_key[APPLY_OUTCOME_KEY_SIZE];
    struct hlc_ts collect_least;  // smallest outcome that the pass under way has kept
    struct hlc_ts collect_due;    // no pass begins before a shard has got that far
    struct hlc_ts largest;        // timestamp of any shard
};

// What is known of one shard. Loaded from the store at first contact, kept from then on.
struct apply_shard {
    struct shard_id id;
    uint64_t epoch;  // 0 = not told yet
    uint64_t applied;
    uint64_t written;           // applied index that the store holds
    struct hlc_ts timestamp;    // largest of its applied commands
    struct bytes *range_start;  // NULL = not told
    struct bytes *range_end;
    bool dirty;
    struct apply_shard *next_dirty;
    // Its data were dropped, and no snapshot has replaced them: nothing may be applied or read.
    bool hollow;
    struct snapshot_ingest *ingest;  // while one is being taken in
    struct state_digest *digest;     // the walk under way, owned by who opened it
    struct lock_table *locks;        // of the PREPARED records
};

struct apply_shard *apply__shard(struct apply *self, struct shard_id id);
void apply__shards_destroy(struct apply *self);
void apply__mark_dirty(struct apply *self, struct apply_shard *shard);
// Writes the gathered batch with the applied indexes, if there is anything to write.
void apply__write(struct apply *self);
void apply__remove_shard(struct apply *self, struct shard_id id);

// A key of ENGINE_LOCAL of one shard; out has APPLY_SHARD_KEY_SIZE bytes.
struct slice apply__shard_key(uint8_t kind, struct shard_id shard, uint8_t *out);
// An outcome's record without its shard. STATUS_CORRUPT.
NODISCARD enum status apply__outcome_decode(struct slice value, struct command_outcome *out);
// What ended at `ended` counts for nothing at `now`.
bool apply__is_old(const struct apply *self, struct hlc_ts ended, struct hlc_ts now);
// The record of the applied index into the batch.
void apply__put_applied(struct apply *self, const struct apply_shard *shard);
// Writes the batch as it is; FATAL when the store refuses.
void apply__write_batch(struct apply *self);

// --- Everything kept of one shard (apply_snapshot.c) ---

enum { APPLY_SPAN_OUTCOMES, APPLY_SPAN_TXNS, APPLY_SPAN_VERSIONS, APPLY_SPAN_COUNT };

// Without a range told, what is kept by transaction alone.
struct apply__spans {
    struct snapshot_span items[APPLY_SPAN_COUNT];
    uint32_t count;
    uint8_t outcomes_low[APPLY_SHARD_KEY_SIZE];
    uint8_t outcomes_high[APPLY_OUTCOME_KEY_SIZE + 1];
    uint8_t txns_low[APPLY_SHARD_KEY_SIZE];
    uint8_t txns_high[APPLY_OUTCOME_KEY_SIZE + 1];
    uint8_t low[MVCC_KEY_SIZE_MAX];
    uint8_t high[MVCC_KEY_SIZE_MAX];
};
void apply__spans(const struct apply_shard *shard, struct apply__spans *out);
// A shard whose range is known, and its spans.
struct apply_shard *apply__ranged_shard(struct apply *self, struct shard_id id,
                                        struct apply__spans *out_spans);
// Removes all of it, and the records of the shard itself, in the batch.
void apply__drop(struct apply *self, const struct apply_shard *shard);
// Fills in the part of the port that is about snapshots.
void apply__snapshot_port(struct state_machine *port);

// --- Digests (apply_digest.c) ---

void apply__digest_port(struct state_machine *port);
// The range that the shard is told is another: a walk under way is of no use any more.
void apply__digest_stale(struct state_digest *state);

// The outcome that counts for an entry at `now`: too old ones do not. STATUS_NOT_FOUND. What the
// gathered batch holds is seen.
NODISCARD enum status apply__outcome_find(struct apply *self, struct shard_id shard,
                                          struct txn_id txn, struct hlc_ts now,
                                          struct command_outcome *out);
void apply__outcome_put(struct apply *self, struct shard_id shard, struct txn_id txn,
                        const struct command_outcome *outcome);

// Evaluates one command entry; effects go to the batch.
void apply__command(struct apply *self, struct apply_shard *shard, const struct log_entry *entry,
                    struct apply_result *out);
// Evaluates conditions, validates reads and counts what range deletes would delete, as the store
// stands now: OK, ABORTED_RETRY (*out_key: the read that is stale, *out_ts: by which version),
// CONDITION_FAILED (*out_failed; behind the conditions: a mutation whose bound does not hold),
// RESOURCE_EXHAUSTED, FAILED_PRECONDITION (*out_key: a merge met a value that it cannot change).
struct apply__verdict {
    enum status status;
    uint32_t failed_condition;
    struct slice key;
    struct hlc_ts newer;
};
void apply__evaluate(struct apply *self, const struct apply_shard *shard, struct slice commit,
                     struct apply__verdict *out);
// The writes of a commit, into the batch, as versions at ts that were prepared here at `prepared`.
// A range delete looks at the store as the reader shows it: apply__evaluate has brought that up to
// date, and whoever comes without it calls apply_reader first, before the entry has any effect.
// Not in between: half an entry must not reach the store, where a replay would evaluate it anew.
// Brings the store up to date for the effects of a commit that was evaluated in an earlier entry.
// Before the entry has any effect.
void apply__make_ready(struct apply *self, struct slice commit);
void apply__mutate(struct apply *self, struct slice commit, struct hlc_ts ts,
                   struct hlc_ts prepared);

// A verified commit, opened behind its reads and conditions.
struct command_commit_reader apply__mutations_of(struct slice commit);

// --- Merges (apply_merge.c); the reader must show the key as it stands ---

enum apply__merge_verdict {
    APPLY_MERGE_STANDS,
    APPLY_MERGE_OF_ANOTHER_TYPE,
    APPLY_MERGE_IS_FULL,
    APPLY_MERGE_OUT_OF_BOUNDS
};
enum apply__merge_verdict apply__merge_check(struct apply *self, const struct apply_shard *shard,
                                             const struct command_mutation *mutation);
void apply__merge(struct apply *self, const struct command_mutation *mutation, struct hlc_ts ts,
                  struct hlc_ts prepared);

// --- Transactions over several shards ---

// What became of the latest attempt of a transaction here. While it is prepared, the lock table has
// it too.
struct apply_record {
    enum command_txn_state state;  // PREPARED, COMMITTED, ABORTED
    struct txn_attempt attempt;
    struct hlc_ts begin;
    struct hlc_ts prepared;
    struct hlc_ts commit;
    struct hlc_ts ended;   // timestamp of the entry that resolved it
    bool forgotten;        // every participant has resolved it
    struct slice prepare;  // PREPARED: the encoded command_prepare
};
// STATUS_CORRUPT.
NODISCARD enum status apply__record_decode(struct slice value, struct apply_record *out);
// A finished record, as it counts at `now`; STATUS_NOT_FOUND also for one that is too old. Prepared
// ones are found in the lock table.
NODISCARD enum status apply__record_find(struct apply *self, struct apply_shard *shard,
                                         struct txn_id txn, struct hlc_ts now,
                                         struct apply_record *out);
bool apply__record_touched(const struct apply *self, struct shard_id shard, struct txn_id txn);
// What the gathered batch may hold of the id is written out. Not in the middle of an entry.
void apply__settle_id(struct apply *self, struct shard_id shard, struct txn_id txn);
void apply__record_put(struct apply *self, const struct apply_shard *shard, struct txn_id txn,
                       const struct apply_record *record);
// True when no later entry of the shard can count it.
bool apply__record_is_dead(const struct apply *self, const struct apply_record *record,
                           struct hlc_ts now);
// The locks of the shard, from its records.
void apply__locks_load(struct apply *self, struct apply_shard *shard);
void apply__locks_clear(struct apply_shard *shard);
// The locks of the transaction are gone: those who wait hear of it at the end of the turn.
void apply__resolved(struct apply *self, struct shard_id shard, struct txn_id txn);

void apply__prepare(struct apply *self, struct apply_shard *shard, const struct log_entry *entry,
                    struct apply_result *out);
void apply__resolve(struct apply *self, struct apply_shard *shard, const struct log_entry *entry,
                    struct apply_result *out);
// One answer behind those that are there.
void apply__answer(struct apply *self, const struct command_txn_answer *answer);
