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
    // A replica was closed for good: drop its data.
    void (*remove)(void *ctx, struct shard_id shard);
};
