// SPDX-License-Identifier: Apache-2.0
// Typed writes that commute, folded into whole values as they are applied.
//
// Merges of one key share their locks, so their transactions may be resolved in another order than
// that of their commit timestamps. One that comes late is folded into every later merge of the key
// as well. Nobody has read those yet: a reader at or above its timestamp waits for its lock, whose
// prepare lies below it. Two that commit at one timestamp become one version.
//
// A bound holds whatever becomes of what is prepared and not resolved: all that could push the
// number over it counts as if it had been (escrow; O'Neil, TODS 11(4), 1986).
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/apply/apply_internal.h"
#include "txn/command/command_merge.h"

#include <assert.h>

enum { MERGED_SIZE_MAX = SHARD_VALUE_SIZE_MAX + 2 * COMMAND_MERGE_ELEMENT_SIZE_MAX };

static enum mvcc_kind kind_of(enum command_merge_type type) {
    static_assert((int)MVCC_REGISTER - (int)MVCC_COUNTER ==
                      (int)COMMAND_MERGE_REGISTER - (int)COMMAND_MERGE_COUNTER,
                  "kinds on disk follow the types");
    return (enum mvcc_kind)(MVCC_COUNTER + (int)type - (int)COMMAND_MERGE_COUNTER);
}

// The newest at or below ts, in the store or gathered. False when there is none, or a delete.
static bool value_at(struct apply *self, struct slice key, struct hlc_ts ts,
                     struct mvcc_version *out) {
    struct mvcc_version gathered;
    const enum status st = mvcc_read(self->reader, key, ts, out);
    if (st != STATUS_OK && st != STATUS_NOT_FOUND) {
        FATAL("the data store cannot be read: %s", status_text(st));
    }
    // What is gathered is above what the store shows, or stands in its place.
    if (apply_merged_at(&self->merged, key, ts, &gathered) && !hlc_before(gathered.ts, out->ts)) {
        *out = gathered;
        return gathered.kind != MVCC_DELETE;
    }
    return st == STATUS_OK;
}

// --- Bounds ---

struct pending {
    struct slice key;
    int64_t down;  // the sum of what may still be taken away
    int64_t up;
};

static void add_saturating(int64_t *sum, int64_t amount) {
    if (__builtin_add_overflow(*sum, amount, sum)) { *sum = amount < 0 ? INT64_MIN : INT64_MAX; }
}

static bool pending_visit(void *ctx, const struct lock_holder *holder) {
    struct pending *pending = ctx;
    struct command_prepare_view prepare;
    const enum status st = command_prepare_decode(holder->prepare, &prepare);
    ASSERT(st == STATUS_OK);
    struct command_commit_reader reader = apply__mutations_of(prepare.part);
    for (uint32_t i = 0; i < reader.mutation_count; i++) {
        struct command_mutation mutation;
        struct command_merge merge;
        const enum status next = command_commit_next_mutation(&reader, &mutation);
        ASSERT(next == STATUS_OK);
        if (mutation.kind != COMMAND_MERGE || !slice_equal(mutation.key, pending->key) ||
            command_merge_decode(mutation.value, &merge) != STATUS_OK) {
            continue;
        }
        add_saturating(merge.amount < 0 ? &pending->down : &pending->up, merge.amount);
    }
    return true;
}

// `value` is the number with this operation in it.
static bool keeps_bounds(const struct apply_shard *shard, const struct command_merge *merge,
                         struct slice key, struct slice value) {
    if (!merge->has_min && !merge->has_max) { return true; }
    struct pending pending = {.key = key};
    int64_t number = 0;
    const enum status st = command_merge_number(value, true, &number);
    ASSERT(st == STATUS_OK);
    lock_table_each(shard->locks, pending_visit, &pending);
    int64_t low = number;
    int64_t high = number;
    add_saturating(&low, pending.down);
    add_saturating(&high, pending.up);
    return (!merge->has_min || low >= merge->min) && (!merge->has_max || high <= merge->max);
}

// --- Evaluation ---

enum apply__merge_verdict apply__merge_check(struct apply *self, const struct apply_shard *shard,
                                             const struct command_mutation *mutation) {
    struct command_merge merge;
    struct mvcc_version newest;
    enum status st = command_merge_decode(mutation->value, &merge);
    ASSERT(st == STATUS_OK);  // the payload was verified
    const bool found = value_at(self, mutation->key, HLC_MAX, &newest);
    if (found && newest.kind != kind_of(merge.type)) {
        MARK("apply.merge_of_another_type");
        return APPLY_MERGE_OF_ANOTHER_TYPE;
    }
    struct buf merged;
    buf_init(&merged, MERGED_SIZE_MAX);
    st = command_merge_apply(&merge, found ? newest.value : SLICE_EMPTY, found, &merged);
    if (st == STATUS_CORRUPT) { FATAL("a typed value does not decode"); }
    enum apply__merge_verdict verdict = APPLY_MERGE_STANDS;
    if (st != STATUS_OK) {
        MARK("apply.merge_is_full");
        verdict = APPLY_MERGE_IS_FULL;
    } else if (!keeps_bounds(shard, &merge, mutation->key, buf_slice(&merged))) {
        MARK("apply.merge_out_of_bounds");
        verdict = APPLY_MERGE_OUT_OF_BOUNDS;
    }
    buf_deinit(&merged);
    return verdict;
}

// --- Effects ---

struct load_pass {
    struct apply *apply;
    struct slice key;
};

// What is gathered stands in the place of what the store shows.
static bool load_visit(void *ctx, const struct mvcc_version *version) {
    const struct load_pass *pass = ctx;
    struct apply_merged *merged = &pass->apply->merged;
    struct mvcc_version gathered;
    const bool found = apply_merged_at(merged, pass->key, version->ts, &gathered);
    if (!found || !hlc_equal(gathered.ts, version->ts)) {
        apply_merged_put(merged, pass->key, version, false);
    }
    return true;
}

// All that lies above ts is gathered from now on.
static void load_above(struct apply *self, struct slice key, struct hlc_ts ts) {
    if (apply_merged_is_loaded(&self->merged, key, ts)) { return; }
    struct load_pass pass = {self, key};
    const struct mvcc_above above = {
        .start = key, .alone = true, .ts = ts, .visit = load_visit, .ctx = &pass};
    const enum status st = mvcc_above(self->reader, &above);
    if (st != STATUS_OK) { FATAL("the data store cannot be read: %s", status_text(st)); }
    apply_merged_set_loaded(&self->merged, key, ts);
}

// An operation that takes effect.
struct folding {
    struct slice key;
    struct command_merge merge;
};

// `before` becomes the version `out` with the operation in it; NULL: there was none. One that would
// become too large stays as it is: there was room when the operation was admitted, and what came
// between has taken it.
static void fold(struct apply *self, const struct folding *folding,
                 const struct mvcc_version *before, struct mvcc_version out) {
    struct buf merged;
    buf_init(&merged, MERGED_SIZE_MAX);
    const enum status st = command_merge_apply(
        &folding->merge, before == NULL ? SLICE_EMPTY : before->value, before != NULL, &merged);
    if (st == STATUS_CORRUPT) { FATAL("a typed value does not decode"); }
    if (st == STATUS_OK) {
        out.kind = kind_of(folding->merge.type);
        out.value = buf_slice(&merged);
        apply_merged_put(&self->merged, folding->key, &out, true);
    } else {
        MARK("apply.merge_lost_its_room");
    }
    buf_deinit(&merged);
}

void apply__merge(struct apply *self, const struct command_mutation *mutation, struct hlc_ts ts,
                  struct hlc_ts prepared) {
    struct folding folding = {.key = mutation->key};
    struct mvcc_version version;
    ASSERT(!self->reader_stale);  // else what was gathered before the last write would be lost
    const enum status st = command_merge_decode(mutation->value, &folding.merge);
    ASSERT(st == STATUS_OK);
    const enum mvcc_kind kind = kind_of(folding.merge.type);
    const bool found = value_at(self, folding.key, ts, &version);
    struct mvcc_version own = {.ts = ts, .prepared = prepared};
    if (found && hlc_equal(version.ts, ts)) {
        own.prepared = hlc_smaller(prepared, version.prepared);
    }
    fold(self, &folding, found && version.kind == kind ? &version : NULL, own);
    // A register that was written later stays: the larger timestamp wins.
    if (folding.merge.type == COMMAND_MERGE_REGISTER) { return; }
    load_above(self, folding.key, ts);
    struct hlc_ts at = ts;
    while (apply_merged_after(&self->merged, folding.key, at, &version) && version.kind == kind) {
        MARK("apply.merge_below_another");
        at = version.ts;
        fold(self, &folding, &version,
             (struct mvcc_version){.ts = at, .prepared = version.prepared});
    }
}
