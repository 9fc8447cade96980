// SPDX-License-Identifier: Apache-2.0
// env.h - the outside world of the sans-IO code: clocks, randomness and peers.
// Invariants: monotonic_ns never runs backwards; wall_us may do anything; random bits are the only
//             nondeterminism.
// Ownership:  the provider owns ctx and outlives the consumer; bodies are borrowed for the call.
// Thread:     the shard loop.
// See:        dataplane/port/README.md; api/node (real) and tests/sim (simulated) implement it
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/shard/shard.h"

// Kinds of messages between nodes; part of the peer protocol: append only.
enum peer_message_type {
    PEER_SUPPORT_REQUEST,
    PEER_SUPPORT_REPLY,
    PEER_LEADS,     // which (shard, term) pairs the sender leads
    PEER_RAFT,      // one raft message of one shard
    PEER_FRONTIER,  // batched (shard, term, closed, commit) of shards the sender leads
    PEER_REQUEST,   // a gateway asks a replica
    PEER_RESPONSE,
    PEER_CATALOG,         // delta of the catalogue
    PEER_JOIN,            // cluster membership before there is an identity
    PEER_STATUS,          // diagnostics, ask and answer
    PEER_SNAPSHOT,        // one chunk of a snapshot of one shard, with its own checksum
    PEER_SNAPSHOT_REPLY,  // how far the receiver is
    PEER_DIGEST,          // a replica's digest as of an index, to the leader; and its verdict
    PEER_MESSAGE_TYPE_COUNT
};

struct env {
    void *ctx;
    uint64_t (*monotonic_ns)(void *ctx);
    uint64_t (*wall_us)(void *ctx);
    uint64_t (*random)(void *ctx);
    // Adds one message to the batch of this turn for a peer (never for the node itself); it may be
    // lost, delayed or repeated.
    void (*send)(void *ctx, struct node_id peer, enum peer_message_type type, struct slice body);
};

static inline uint64_t env_now(const struct env *env) {
    return env->monotonic_ns(env->ctx);
}
static inline uint64_t env_wall_us(const struct env *env) {
    return env->wall_us(env->ctx);
}
static inline uint64_t env_random(const struct env *env) {
    return env->random(env->ctx);
}
static inline void env_send(const struct env *env, struct node_id peer, enum peer_message_type type,
                            struct slice body) {
    env->send(env->ctx, peer, type, body);
}
