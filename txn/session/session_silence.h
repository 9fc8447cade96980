// SPDX-License-Identifier: Apache-2.0
// session_silence.h - which peers leave requests without an answer, remembered from call to call:
// a call whose own time is short would never learn it.
// Invariants: a peer that answered its latest requests is not silent; a silent one is asked again
//             once an interval at the latest, when anybody wants it.
// Ownership:  the caller owns the struct, which holds no memory.
// Thread:     confined to its owner.
// See:        txn/session/README.md; tests/unit/txn/session/session_silence_test.c
#pragma once

#include "dataplane/shard/shard.h"

enum {
    // With more the one that was asked longest ago is forgotten, which is safe: it counts as
    // answering.
    SESSION_SILENCE_PEERS_MAX = 128,
};

struct session_silence {
    struct node_id node;
    uint64_t since_ns;  // when the first request without an answer went out; 0 = none did
    uint64_t asked_ns;  // when the latest went out
};

struct session_silences {
    struct session_silence peers[SESSION_SILENCE_PEERS_MAX];
    uint32_t count;
};

// A request goes to the node.
void session_silences_asked(struct session_silences *self, struct node_id node, uint64_t now_ns);
// It answered, whatever it said.
void session_silences_heard(struct session_silences *self, struct node_id node);
// True when it has answered nothing for an interval and was asked within the last one: whoever can
// ask somebody else should.
bool session_silences_is_silent(const struct session_silences *self, struct node_id node,
                                uint64_t now_ns, uint64_t interval_ns);
// True when the node has said nothing since a request that was sent to it then.
bool session_silences_answered_none_since(const struct session_silences *self, struct node_id node,
                                          uint64_t sent_ns);
