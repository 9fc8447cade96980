// SPDX-License-Identifier: Apache-2.0
// session_hold.h - keys that interactive transactions have asked to be left alone, at the leader:
// who has which key, until when. A hint that spares others a conflict, and decides nothing.
// Invariants: a key has at most one holder; an entry whose time is over counts as absent; bounded:
//             when full, keys are simply not held.
// Ownership:  copies keys; entries handed out live until the next change.
// Thread:     confined to its owner.
// See:        txn/session/README.md "Held keys"; tests/unit/txn/session/session_hold_test.c
#pragma once

#include "txn/command/command_hold.h"

enum { SESSION_HOLDS_MAX = 1 << 14, SESSION_HOLD_BUCKETS = 1024 };

struct session_hold {
    struct session_hold *next;
    struct txn_id txn;
    struct hlc_ts begin;
    uint64_t since_ns;  // taken; not when it was renewed
    uint64_t until_ns;
    uint32_t key_size;
    uint8_t key[];
};

struct session_holds {
    struct session_hold *buckets[SESSION_HOLD_BUCKETS];
    uint32_t count;
    uint32_t sweep;  // bucket to be looked through next
};

void session_holds_deinit(struct session_holds *self);
// The key's holder at that time, or NULL.
const struct session_hold *session_holds_find(struct session_holds *self, struct slice key,
                                              uint64_t now_ns);
// Takes the key, or has it for longer; NULL. Another's: that holder, and nothing changes.
const struct session_hold *session_holds_take(struct session_holds *self,
                                              const struct command_hold *request, uint64_t now_ns);
// No effect on another's.
void session_holds_release(struct session_holds *self, struct slice key, struct txn_id txn);
// Those that have not run out, in no order; stops when visit returns false.
void session_holds_each(const struct session_holds *self, uint64_t now_ns,
                        bool (*visit)(void *ctx, const struct session_hold *hold), void *ctx);
