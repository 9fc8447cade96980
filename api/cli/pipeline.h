// SPDX-License-Identifier: Apache-2.0
// pipeline.h - many puts in flight at once, each a commit of its own that is sent again until its
//              outcome is known.
// Invariants: I1 puts to the same key take effect in the order of pipeline_put: a key is in flight
//             at most once. I2 a put is only ever repeated under its first transaction id, hence it
//             applies at most once. I3 after the first failure no new put is taken.
// Ownership:  keys and values are copied.
// Thread:     create, put, finish, destroy: one thread. Replies come on the client's thread.
// See:        api/cli/command_kv_import.c; tests/unit/api/cli/pipeline_test.c
#pragma once

#include "api/client/lightcone.h"

enum { PIPELINE_OUTSTANDING_MAX = 16384 };

struct pipeline_options {
    struct lc_client *client;
    uint32_t keyspace;
    uint32_t outstanding_max;  // 1 to PIPELINE_OUTSTANDING_MAX
    uint32_t timeout_ms;       // of one attempt
    uint32_t retry_ms;         // a put is given up when it was not done after so long
    // Instead of lc_commit; NULL = lc_commit. For tests.
    enum status (*commit)(struct lc_client *client, const struct lc_commit *commit,
                          const struct lc_call *call);
};

struct pipeline_stats {
    uint64_t puts;   // committed
    uint64_t bytes;  // of their keys and values
    uint64_t retries;
};

// Why the pipeline stopped.
struct pipeline_failure {
    enum lc_outcome outcome;
    uint64_t tag;
    struct err err;
};

struct pipeline *pipeline_create(const struct pipeline_options *options);
// After pipeline_finish.
void pipeline_destroy(struct pipeline *self);
// Waits for room, and while the key is in flight. False when the pipeline has failed. tag comes
// back in a failure.
bool pipeline_put(struct pipeline *self, struct slice key, struct slice value, uint64_t tag);
// Waits until nothing is in flight. False when it has failed; *out_failure says why.
bool pipeline_finish(struct pipeline *self, struct pipeline_failure *out_failure);
struct pipeline_stats pipeline_stats(struct pipeline *self);
