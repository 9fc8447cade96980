// SPDX-License-Identifier: Apache-2.0
// session_window.h - which requests of a gateway this node has processed, so that a copy which the
// network repeats is not processed again.
// Invariants: accepts each (node, boot, sequence) at most once while its gateway is remembered;
//             what lies SESSION_WINDOW_SIZE or more behind the newest is refused, new or not.
// Ownership:  the caller owns the struct, the set its memory, which is fixed.
// Thread:     confined to its owner.
// See:        txn/session/README.md; tests/unit/txn/session/session_window_test.c
#pragma once

#include "dataplane/shard/shard.h"

enum {
    SESSION_WINDOW_SIZE = 4096,  // sequences remembered of one gateway
    SESSION_WINDOW_COUNT = 128,  // gateways remembered: the peers, and their boots before
};

struct session_window {
    struct node_id node;  // 0 = free
    uint64_t boot;
    uint64_t newest;                          // largest sequence accepted
    uint64_t used;                            // when last, in messages
    uint64_t seen[SESSION_WINDOW_SIZE / 64];  // bit = sequence modulo the size
};

struct session_windows {
    struct session_window *windows;  // SESSION_WINDOW_COUNT of them
    uint64_t clock;
};

void session_windows_init(struct session_windows *self);
void session_windows_deinit(struct session_windows *self);
// True when the request was not seen before, and remembers it. sequence > 0.
bool session_windows_accept(struct session_windows *self, struct node_id node, uint64_t boot,
                            uint64_t sequence);
