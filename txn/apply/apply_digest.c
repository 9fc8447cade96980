// SPDX-License-Identifier: Apache-2.0
// The digest of one shard, over a view that was taken at one index: two cursors that are never
// refreshed, made while nothing of the gathered batch is outstanding. Whatever is written later,
// and however the walk is cut into slices, the digest is that of the index.
//
// What decides which old outcomes count is the shard's timestamp at that index, kept with the view.
// A slice is bounded by bytes; a record counts for some more than it has, and a search for a span's
// beginning for more again, so that many small records, or many small shards, fill a slice too.
//
// LIMIT: removed records that the store has not forgotten yet are skipped inside the store, where
// nobody counts them.
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/mutant.h"
#include "txn/apply/apply_internal.h"

enum {
    RECORD_SIZE = 128,
    SEEK_SIZE = 1024,
};

struct state_digest {
    struct apply_shard *shard;
    struct apply__spans spans;  // points into itself: not to be copied
    struct engine_cursor *local;
    struct engine_cursor *versions;  // NULL without a span of them
    struct hlc_ts timestamp;
    uint32_t span;
    bool sought;  // the cursor stands in the span
    bool stale;
    uint64_t digest;
};

static struct state_digest *port_digest_open(void *ctx, struct shard_id id) {
    struct apply *self = ctx;
    struct state_digest *state = mem_alloc(sizeof(*state));
    apply__write(self);
    struct apply_shard *shard = apply__ranged_shard(self, id, &state->spans);
    if (shard->hollow) {
        mem_free(state);
        return NULL;
    }
    ASSERT(shard->digest == NULL);
    shard->digest = state;
    state->shard = shard;
    state->timestamp = shard->timestamp;
    state->local = engine_cursor_create(self->engine, ENGINE_LOCAL);
    if (state->spans.count > APPLY_SPAN_VERSIONS) {
        state->versions = engine_cursor_create(self->engine, ENGINE_VERSION);
    }
    state->digest = hash64_u64(shard->applied) + hash64_u64(shard->timestamp.v);
    return state;
}

void apply__digest_stale(struct state_digest *state) {
    state->stale = true;
}

// Old outcomes and records count for nothing, and are removed on each replica when it has time.
static bool counts(const struct apply *self, const struct state_digest *state, struct slice value) {
    struct command_outcome outcome;
    struct apply_record record;
    if (state->span == APPLY_SPAN_TXNS) {
        return apply__record_decode(value, &record) != STATUS_OK ||
               !apply__record_is_dead(self, &record, state->timestamp);
    }
    return state->span != APPLY_SPAN_OUTCOMES ||
           apply__outcome_decode(value, &outcome) != STATUS_OK ||
           !apply__is_old(self, outcome.timestamp, state->timestamp);
}

static void add(const struct apply *self, struct state_digest *state, struct slice key,
                struct slice value) {
    if (!counts(self, state, value)) { return; }
    // The sizes keep (ab, c) and (a, bc) apart, the place a version from a prepared write.
    state->digest = hash64_u64(hash64(key, state->digest + state->span) + key.size);
    state->digest = hash64(value, state->digest);
}

// The bug: what is left is shown as it is now.
static void forget_moment(struct engine_cursor *cursor) {
    if (!engine_cursor_valid(cursor)) { return; }
    struct bytes *at = bytes_copy(engine_cursor_key(cursor));
    engine_cursor_refresh(cursor);
    engine_cursor_seek(cursor, bytes_slice(at));
    bytes_unref(at);
}

// Walks the present span until it ends or the slice is full.
static enum status walk(const struct apply *self, struct state_digest *state, uint32_t size_max,
                        uint64_t *size) {
    const struct snapshot_span *span = &state->spans.items[state->span];
    struct engine_cursor *cursor = span->family == ENGINE_LOCAL ? state->local : state->versions;
    if (!state->sought) {
        engine_cursor_seek(cursor, span->start);
        state->sought = true;
        *size += SEEK_SIZE;
    }
    if (MUTANT(DIGEST_MOVING)) { forget_moment(cursor); }
    while (engine_cursor_valid(cursor)) {
        const struct slice key = engine_cursor_key(cursor);
        const struct slice value = engine_cursor_value(cursor);
        if (slice_compare(key, span->end) >= 0) { break; }
        if (*size >= size_max) { return STATUS_OK; }
        *size += key.size + value.size + RECORD_SIZE;
        add(self, state, key, value);
        engine_cursor_next(cursor);
    }
    const enum status st = engine_cursor_valid(cursor) ? STATUS_OK : engine_cursor_status(cursor);
    state->span++;
    state->sought = false;
    return st;
}

static enum status port_digest_next(void *ctx, struct state_digest *state, uint32_t size_max,
                                    struct state_digest_slice *out) {
    const struct apply *self = ctx;
    *out = (struct state_digest_slice){0};
    if (state->stale) { return STATUS_FAILED_PRECONDITION; }
    do {
        const enum status st = walk(self, state, size_max, &out->size);
        if (st != STATUS_OK) { return st; }
        out->last = state->span == state->spans.count;
    } while (!out->last && out->size < size_max);
    out->digest = state->digest;
    return STATUS_OK;
}

static void port_digest_close(void *ctx, struct state_digest *state) {
    (void)ctx;
    ASSERT(state->shard->digest == state);
    state->shard->digest = NULL;
    engine_cursor_destroy(state->local);
    if (state->versions != NULL) { engine_cursor_destroy(state->versions); }
    mem_free(state);
}

void apply__digest_port(struct state_machine *port) {
    port->digest_open = port_digest_open;
    port->digest_next = port_digest_next;
    port->digest_close = port_digest_close;
}
