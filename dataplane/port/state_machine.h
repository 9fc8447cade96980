// SPDX-License-Identifier: Apache-2.0
// state_machine.h - the port to which a replica feeds its committed entries.
// Invariants: entries of one shard arrive in index order, each once per boot after applied();
//             applying is deterministic.
// Ownership:  entries are borrowed for the call; the result view is valid until the next call into
//             the state machine.
// Thread:     the shard loop.
// See:        dataplane/port/README.md; txn/apply and controlplane/catalog implement it
#pragma once

#include "dataplane/port/log_entry.h"
#include "dataplane/shard/shard.h"

struct apply_result {
    enum status status;    // outcome of the command, the same on every replica
    struct slice payload;  // encoded result for the proposer; may be empty
};

// A consistent view of one shard, being read out chunk by chunk for a snapshot.
struct state_export;

// A consistent view of one shard, being digested slice by slice.
struct state_digest;

struct state_digest_slice {
    uint64_t size;    // what was walked, see digest_next
    bool last;        // nothing follows
    uint64_t digest;  // of the whole view, with the last slice
};

struct state_machine {
    void *ctx;
    // Largest index whose effects the store holds now (after a restart: what the last flush kept).
    // 0 = none.
    uint64_t (*applied)(void *ctx, struct shard_id shard);
    // Applies one entry of any kind (EMPTY too: it moves the applied index). Effects may be
    // buffered until end().
    void (*apply)(void *ctx, struct shard_id shard, const struct log_entry *entry,
                  struct apply_result *out);
    // Makes everything applied in this turn visible to reads. Results are told to clients only
    // after end().
    void (*end)(void *ctx);
    // Smallest timestamp at which something may still commit although its entry was applied
    // (a prepared transaction); HLC_MAX when there is none. NULL = there never is.
    struct hlc_ts (*unresolved)(void *ctx, struct shard_id shard);
    // A replica was closed for good: drop its data.
    void (*remove)(void *ctx, struct shard_id shard);

    // --- Snapshots (replication.md "Replica") ---
    // A view of the shard as of applied(), called between turns (after end()). Later applies do not
    // show in it. Never NULL.
    struct state_export *(*export_open)(void *ctx, struct shard_id shard);
    // Appends the next chunk, about size_max bytes and at least one record, to the buffer;
    // *out_last tells that nothing follows. STATUS_CORRUPT, STATUS_IO: give the snapshot up.
    enum status (*export_next)(void *ctx, struct state_export *state, uint32_t size_max,
                               struct buf *out, bool *out_last);
    void (*export_close)(void *ctx, struct state_export *state);
    // Drops what the shard holds and marks it hollow, in one batch: until ingest_end, and after any
    // crash before it is durable, hollow() says so and applied() is 0. Callable again midway.
    void (*ingest_begin)(void *ctx, struct shard_id shard);
    // One chunk, in order. STATUS_CORRUPT for bytes that are no chunk of this kind of shard: then
    // ingest_begin again, or leave it hollow.
    enum status (*ingest)(void *ctx, struct shard_id shard, struct slice chunk);
    // The shard is whole as of index: applied index, base (opaque, kept until the next ingest) and
    // the end of hollowness in one batch. Durable after the next finished flush only.
    void (*ingest_end)(void *ctx, struct shard_id shard, uint64_t index, struct slice base);
    // The base given to the latest ingest_end; empty when there was none.
    void (*base)(void *ctx, struct shard_id shard, struct buf *out);
    bool (*hollow)(void *ctx, struct shard_id shard);

    // --- Digests: equal on replicas that applied the same (replication.md "Replica") ---
    // A view of the shard as of applied(), called right after end(). Later applies do not show in
    // it. At most one a shard at a time; it pins what the store would drop. To be closed before
    // ingest_begin and remove of the shard. NULL when the shard is hollow.
    struct state_digest *(*digest_open)(void *ctx, struct shard_id shard);
    // Goes on for about size_max bytes of keys and values, where a record counts for more than its
    // bytes and no slice is empty. STATUS_CORRUPT, STATUS_IO; STATUS_FAILED_PRECONDITION when the
    // shard became another than the view shows. After an error, or the last slice: close.
    enum status (*digest_next)(void *ctx, struct state_digest *state, uint32_t size_max,
                               struct state_digest_slice *out);
    void (*digest_close)(void *ctx, struct state_digest *state);
};
