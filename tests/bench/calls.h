// SPDX-License-Identifier: Apache-2.0
// calls.h - unary gRPC calls on the C core, with the settings of liblightcone's unary mode.
// Invariants: a slot has at most one call in flight; each call ends with exactly one done.
// Ownership:  the request is copied; the response of done is valid during it only.
// Thread:     done runs on the one thread of the calls, and may start the slot's next call.
// See:        tests/bench/README.md
#pragma once

#include "dataplane/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum { CALLS_CHANNELS_MAX = 16, CALLS_METHODS_MAX = 8 };

// code: gRPC's; message: its text, when code is not 0.
typedef void (*calls_done_fn)(void *ctx, uint32_t slot, int code, struct slice response,
                              struct slice message);

struct calls_config {
    const char *const *addresses;
    uint32_t address_count;
    const char *const *methods;  // "/package.Service/Method"
    uint32_t method_count;
    uint32_t slots;
    calls_done_fn done;
    void *ctx;
};

struct calls;

// NULL: no thread.
struct calls *calls_open(const struct calls_config *config);
// Ends when nothing is in flight any more.
void calls_close(struct calls *self);
// Sends to the address `channel` modulo their number.
void calls_start(struct calls *self, uint32_t slot, uint32_t channel, uint32_t method,
                 struct slice request);
