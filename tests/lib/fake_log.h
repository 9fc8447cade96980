// SPDX-License-Identifier: Apache-2.0
// fake_log.h - a log store in memory whose syncs the test completes by hand.
// Invariants: writes become durable in the order submitted; sequences of a shard grow, and begin
//             again after its removal.
// Ownership:  the caller owns the struct; it references the entries it keeps.
// Thread:     the test's.
// See:        tests/lib/README.md
#pragma once

#include "dataplane/port/log_store.h"

enum { FAKE_LOG_SHARDS_MAX = 8, FAKE_LOG_ENTRIES_MAX = 16384 };

struct fake_log_shard {
    struct shard_id id;
    struct log_bounds bounds;
    struct log_entry entries[FAKE_LOG_ENTRIES_MAX];  // index origin + 1 at place 0
    uint64_t origin;                                 // of the latest base; 0 without one
    struct bytes *origin_membership;                 // NULL = none
    struct hlc_ts base_ceiling;
    struct hlc_ts base_timestamp;
    uint64_t sequence_submitted;
    uint64_t sequence_durable;
};

struct fake_log {
    struct log_store port;
    struct fake_log_shard shards[FAKE_LOG_SHARDS_MAX];
    uint32_t shard_count;
};

void fake_log_init(struct fake_log *self);
void fake_log_deinit(struct fake_log *self);
// Completes everything submitted; writes at most FAKE_LOG_SHARDS_MAX completions and returns how
// many.
uint32_t fake_log_sync(struct fake_log *self, struct log_completion *out);
