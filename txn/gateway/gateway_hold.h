// SPDX-License-Identifier: Apache-2.0
// gateway_hold.h - the keys that one interactive transaction holds at their leaders: taken one
// after the other, renewed while it lasts, given back at its end.
// Invariants: done is called once for each take, unless the hold ends before; a leader forgets what
//             is not renewed for GATEWAY_HOLD_LEASE_MS. Only a hint: what could not be had is done
//             without.
// Ownership:  the caller owns the struct, from gateway_hold_init to gateway_hold_end; keys are
//             copied.
// Thread:     the shard loop.
// See:        txn/session/session_hold.h; txn/gateway/README.md;
//             tests/unit/txn/gateway/gateway_hold_test.c
#pragma once

#include "dataplane/base/heap.h"
#include "txn/gateway/gateway.h"

enum {
    GATEWAY_HOLD_LEASE_MS = 3000,
    GATEWAY_HOLD_KEYS_MAX = 100,  // of one transaction
};

struct gateway_hold {
    // The caller's.
    struct txn_id txn;
    struct hlc_ts begin;
    // OK: the keys are held, or could not be had in the lease's time. ABORTED_RETRY, with a payload
    // as of a commit: an older transaction has one of them, and this one holds others.
    void (*done)(struct gateway_hold *self, const struct session_result *result);
    // Private.
    struct gateway *gateway;
    struct session_call call;  // the key that is being taken
    struct buf payload;
    bool taking;
    uint64_t deadline_ns;
    struct bytes **keys;  // those held, then those to be taken
    uint32_t held;
    uint32_t count;
    struct heap_node timer;  // when to renew
};

void gateway_hold_init(struct gateway_hold *self, struct gateway *gateway);
// Takes keys (full ones), in their order, whatever that of the request. Not while it is taking.
// RESOURCE_EXHAUSTED: more than GATEWAY_HOLD_KEYS_MAX in all, and done will not be called.
NODISCARD enum status gateway_hold_take(struct gateway_hold *self, const struct slice *keys,
                                        uint32_t count, uint64_t deadline_ns);
// Gives everything back; done is not called any more. May be called again.
void gateway_hold_end(struct gateway_hold *self);
