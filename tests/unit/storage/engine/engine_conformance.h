// SPDX-License-Identifier: Apache-2.0
// engine_conformance.h - what every implementation of engine.h must do, as one group of tests.
// Invariants: each test gets an empty store of its own.
// Ownership:  the provider outlives the run.
// Thread:     one thread.
// See:        storage/engine/engine.h; rocksdb_engine_test.c and sim_engine_test.c run it
#pragma once

#include "storage/engine/engine.h"

struct engine_provider {
    void *ctx;
    struct engine *(*open)(void *ctx);  // an empty store
    // Closes it and drops its contents.
    void (*dispose)(void *ctx, struct engine *engine);
    // Closes it cleanly and opens it again.
    struct engine *(*reopen)(void *ctx, struct engine *engine);
};

// Number of failed tests.
int engine_conformance_run(const char *name, struct engine_provider *provider);
