// SPDX-License-Identifier: Apache-2.0
// transport.h - the mesh between nodes: messages to peers over TCP, batched, checked and bounded.
// Invariants: I1 messages of one peer and one connection arrive in the order of sending, whole or
//             not at all. I2 nothing of a peer is delivered before its handshake proved the same
//             cluster, a known version, another node and no older boot. I3 at most
//             queue_bytes_max bytes wait for a peer; what is lost is counted. I4 bytes from the
//             network are checked before they are believed, and memory is claimed for bytes that
//             came, never for bytes announced.
// Ownership:  the transport copies addresses and bodies it is given; a body received is a view into
//             `owner`, valid for the call; who keeps it takes a reference of owner.
// Thread:     the loop's thread. create and listen may come before the loop runs, destroy after.
// See:        dataplane/transport/README.md; tests/unit/dataplane/transport/transport_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/err.h"
#include "dataplane/base/status.h"
#include "dataplane/loop/loop.h"
#include "dataplane/port/env.h"
#include "dataplane/shard/shard.h"
#include "dataplane/transport/transport_filter.h"
#include "dataplane/transport/transport_frame.h"

#include <stdbool.h>
#include <stdint.h>

struct transport;

// A connection that a join needs before there is an identity. Never reused; 0 is none.
struct transport_connection_id {
    uint64_t v;
};

struct transport_identity {
    struct cluster_id cluster;  // zero while not initialised
    struct node_id node;        // 0 while none
    uint32_t boot;              // of this process, from 1
    uint64_t incarnation;       // of the data directory
};

struct transport_handlers {
    void *ctx;
    // A message of a peer with an identity. Never PEER_JOIN from a stranger.
    void (*on_message)(void *ctx, struct node_id from, enum peer_message_type type,
                       struct bytes *owner, struct slice body);
    // A PEER_JOIN message on a connection without identity, accepted or dialled. Answer with
    // transport_send_to_connection. NULL: such connections are refused.
    void (*on_join)(void *ctx, struct transport_connection_id from, struct bytes *owner,
                    struct slice body);
    // A connection of transport_dial_address, or one that on_join has named, is gone. May be NULL.
    void (*on_closed)(void *ctx, struct transport_connection_id id, enum status why);
    // The connection on which we send to that peer came up or went down. May be NULL.
    void (*on_peer)(void *ctx, struct node_id peer, bool is_up);
};

struct transport_config {
    struct loop *loop;
    struct transport_identity identity;
    struct transport_handlers handlers;
    const char *listen_address;     // "host:port", port 0 = any; NULL: only dial
    const char *advertise_address;  // what peers should dial; NULL: where we listen
    bool insecure;                  // allows plain text beyond the loopback
    uint32_t connections_max;       // accepted ones; 0: 512
    uint32_t strangers_max;         // of these, without a handshake or an identity; 0: 64
    size_t queue_bytes_max;         // waiting for one peer; 0: 64 MiB
    size_t offline_bytes_max;       // the same while not connected; 0: 4 MiB
    uint32_t handshake_ms_max;      // connect and handshake; 0: 5000
    uint32_t stranger_idle_ms_max;  // no frame either way without an identity; 0: 30000
    // Puts a filter (encryption) between socket and frames; NULL: plain.
    // LIMIT: no filter exists but the tests'; so listening beyond the loopback needs `insecure`.
    struct transport_filter *(*filter_create)(void *ctx, bool dialled);
    void *filter_ctx;
};

// Counted since create, over all peers.
struct transport_stats {
    uint64_t messages_sent;  // handed to the kernel or to the socket's queue
    uint64_t frames_sent;
    uint64_t bytes_sent;
    uint64_t messages_received;
    uint64_t frames_received;
    uint64_t bytes_received;
    uint64_t messages_dropped;  // for want of room, oldest resendable first
    uint64_t messages_lost;     // were being written when the connection went, or peer unknown
    uint64_t messages_blocked;  // by transport_block
    uint64_t messages_unknown;  // of a type newer than this program
    uint64_t connections_accepted;
    uint64_t connections_corrupt;                // closed for bytes that are no frames
    uint64_t connections_timed_out;              // no handshake in time, strangers idle
    uint64_t connections_turned_away;            // over a maximum
    uint64_t refusals[TRANSPORT_REFUSAL_COUNT];  // given, by reason
    uint32_t connections;                        // open now, both directions
};

struct transport_peer_stats {
    bool is_up;     // we can send
    bool is_heard;  // it can send
    uint32_t boot;  // the latest seen
    size_t queue_bytes;
    uint64_t messages_dropped;
};

// Listens at once, when there is an address; dials when the peers are known.
// STATUS_INVALID_ARGUMENT for an address that cannot be meant, STATUS_FAILED_PRECONDITION for plain
// text beyond the loopback without `insecure`, STATUS_IO when the kernel refuses; the text names
// the address.
NODISCARD enum status transport_create(const struct transport_config *config,
                                       struct transport **out, struct err *err);

// Closes everything; no handler runs any more. For the loop's on_stop. The loop ends the closing.
void transport_close(struct transport *self);

// Frees it, after the loop has ended. NULL is allowed.
void transport_destroy(struct transport *self);

// The address that peers are told to dial.
const char *transport_address(const struct transport *self);

// The node was given an identity (init or join), or its cluster was. Dials the known peers.
void transport_set_identity(struct transport *self, const struct transport_identity *identity);

// Where a peer lives; may change. A peer is also learnt, with the address it announces, from its
// own handshake; what is set here goes before that. STATUS_INVALID_ARGUMENT for a bad address,
// STATUS_RESOURCE_EXHAUSTED over TRANSPORT_PEERS_MAX.
NODISCARD enum status transport_set_peer(struct transport *self, struct node_id node,
                                         const char *address);

// The data directory that the catalogue has on record for a peer: another one is refused. Without
// this call the first one seen counts. STATUS_RESOURCE_EXHAUSTED over TRANSPORT_PEERS_MAX.
NODISCARD enum status transport_set_peer_incarnation(struct transport *self, struct node_id node,
                                                     uint64_t incarnation);

// The peer left the cluster: both directions are closed and its handshakes are refused, until it
// is set again.
void transport_remove_peer(struct transport *self, struct node_id node);

// Adds a message to the peer's batch; it leaves at the next transport_turn. It may be lost, for the
// reasons counted in the stats; port/env.h promises no more. Not for the node itself.
void transport_send(struct transport *self, struct node_id node, enum peer_message_type type,
                    struct slice body);

// Writes what gathered: one frame per peer when the socket takes it. For the loop's on_turn, last.
void transport_turn(struct transport *self);

// The join phase: one attempt at an address, without knowing who lives there. Messages may be sent
// at once; they leave after the handshake. on_closed tells when it failed or ended.
NODISCARD enum status transport_dial_address(struct transport *self, const char *address,
                                             struct transport_connection_id *out);

// A PEER_JOIN message on a stranger's connection. STATUS_NOT_FOUND when it is gone,
// STATUS_RESOURCE_EXHAUSTED when its queue is full, STATUS_INVALID_ARGUMENT over
// TRANSPORT_JOIN_MESSAGE_SIZE_MAX.
NODISCARD enum status transport_send_to_connection(struct transport *self,
                                                   struct transport_connection_id id,
                                                   struct slice body);

// Ends a stranger's connection after what was sent has left; no effect when it is gone.
void transport_close_connection(struct transport *self, struct transport_connection_id id);

// Simulated partition on real processes: messages from (inbound) and to (outbound) the peer vanish
// and are counted. Connections stay. STATUS_RESOURCE_EXHAUSTED over TRANSPORT_PEERS_MAX.
NODISCARD enum status transport_block(struct transport *self, struct node_id node, bool inbound,
                                      bool outbound);

void transport_stats(const struct transport *self, struct transport_stats *out);
// STATUS_NOT_FOUND for a node never heard of.
NODISCARD enum status transport_peer_stats(const struct transport *self, struct node_id node,
                                           struct transport_peer_stats *out);

enum { TRANSPORT_PEERS_MAX = 1024 };
