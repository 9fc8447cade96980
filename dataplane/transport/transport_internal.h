// SPDX-License-Identifier: Apache-2.0
// transport_internal.h - the state behind transport.h, shared by the files of this package.
// Invariants: I1 a connection is in `connections` from its creation until transport__close. I2 a
//             peer's `out` is the one connection we dialled to it, `in` the one it dialled to us.
//             I3 `dirty` lists exactly the connections whose flag says so; none of them is closed.
//             I4 peers are never freed before the transport is: a node id is never reused.
// Ownership:  the transport owns peers and connections; a connection frees itself when libuv has
//             closed its handle and its resolver is done.
// Thread:     the loop's thread.
// See:        dataplane/transport/README.md
#pragma once

#include "dataplane/base/heap.h"
#include "dataplane/obs/metrics.h"
#include "dataplane/transport/transport.h"
#include "dataplane/transport/transport_address.h"
#include "dataplane/transport/transport_input.h"
#include "dataplane/transport/transport_queue.h"

#include <uv.h>

enum {
    TRANSPORT_FLYING_MAX = 16,             // frames in one write
    TRANSPORT_FLYING_BYTES_MAX = 2 << 20,  // bytes that cannot be thrown out any more
    TRANSPORT_WIRE_ROOM_SIZE = 64 << 10,   // one read when there is a filter
    TRANSPORT_WIRE_BYTES_MAX = 128 << 20,  // sealed bytes of one connection
    TRANSPORT_BACKOFF_MS_MIN = 20,
    TRANSPORT_BACKOFF_MS_MAX = 1000,
    TRANSPORT_LOG_LINES_PER_S = 20,  // about strangers
};

enum transport_state {
    TRANSPORT_RESOLVING,
    TRANSPORT_CONNECTING,
    TRANSPORT_GREETING,  // waits for the other side's hello
    TRANSPORT_OPEN,
    TRANSPORT_ENDING,  // writes what waits, reads no more, then closes
    TRANSPORT_CLOSED,
};

enum transport_role {
    TRANSPORT_ACCEPTED,
    TRANSPORT_TO_PEER,     // dialled to a peer, again and again
    TRANSPORT_TO_ADDRESS,  // dialled once for a join
};

struct transport_timer {
    struct heap_node node;  // first: the cast back is plain
    void (*fire)(struct transport_timer *self);
};

struct transport_peer {
    struct transport_timer redial;  // first
    struct transport *transport;
    struct node_id node;
    char address[TRANSPORT_ADDRESS_SIZE_MAX];  // to dial; empty while unknown
    bool address_is_given;                     // by transport_set_peer, not by the peer itself
    bool removed;
    bool block_in;
    bool block_out;
    uint32_t boot;         // the latest seen, 0 = none
    uint64_t incarnation;  // the one that counts, 0 = none yet
    uint32_t backoff_ms;
    bool failure_is_logged;  // one line for a series of failed attempts
    struct transport_queue queue;
    struct transport_connection *out;
    struct transport_connection *in;
};

struct transport_connection {
    struct transport_timer timer;  // first: handshake, then idleness of strangers
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    uv_getaddrinfo_t resolve;
    struct transport *transport;
    struct transport_connection_id id;
    enum transport_role role;
    enum transport_state state;
    struct transport_peer *peer;   // TO_PEER always, ACCEPTED once it has an identity, else NULL
    struct transport_hello hello;  // theirs, once OPEN
    char remote[TRANSPORT_ADDRESS_SIZE_MAX];
    uint64_t opened_ns;
    uint32_t place;     // in transport->connections
    bool is_resolving;  // libuv holds `resolve`
    bool is_writing;    // libuv holds `write`
    bool tcp_is_closed;
    bool is_dirty;
    bool is_named;  // the user knows the id and hears of the end
    struct transport_connection *dirty_next;

    struct transport_input input;
    struct transport_frame *control;  // hello or refusal that has to leave first
    struct transport_queue own;       // messages of a stranger's connection
    struct transport_frame *flying[TRANSPORT_FLYING_MAX];
    uint32_t flying_count;

    struct transport_filter *filter;  // NULL: plain
    struct buf plain;                 // what the filter opened
    struct buf wire;                  // being written
    struct buf wire_next;             // sealed, to be written next
};

struct transport {
    struct transport_config config;  // texts in it are not kept
    struct loop *loop;
    uv_loop_t *uv;
    uv_tcp_t listener;
    uv_timer_t timer;
    uint32_t handles;  // listener and timer not yet closed
    bool is_closing;
    bool is_abandoned;             // create failed: freed by the last closing handle
    struct transport_hello hello;  // ours; purpose is set for each connection
    struct heap timers;
    uint64_t armed_ns;  // what the timer is set to, UINT64_MAX = nothing
    struct transport_peer *peers[TRANSPORT_PEERS_MAX];  // by node id
    uint32_t peers_count;
    struct transport_connection **connections;
    uint32_t connections_count;
    uint32_t connections_capacity;
    uint32_t connections_alive;  // closed ones that libuv still holds included
    uint64_t connection_ids;
    struct transport_connection *dirty;
    struct transport_pool pool;
    struct transport_stats stats;
    uint64_t log_second;
    uint32_t log_lines;
    uint8_t wire_room[TRANSPORT_WIRE_ROOM_SIZE];
};

// The process's counters; one transport's own are in its stats. X(FIELD, NAME, HELP)
#define TRANSPORT_METRIC_LIST(X)                                                             \
    X(messages_sent, "transport_messages_sent_total", "Messages written to peers.")          \
    X(frames_sent, "transport_frames_sent_total", "Frames written to peers.")                \
    X(bytes_sent, "transport_bytes_sent_total", "Bytes of frames written to peers.")         \
    X(messages_received, "transport_messages_received_total", "Messages read from peers.")   \
    X(frames_received, "transport_frames_received_total", "Frames read from peers.")         \
    X(bytes_received, "transport_bytes_received_total", "Bytes read from sockets.")          \
    X(messages_dropped, "transport_messages_dropped_total", "Messages without room.")        \
    X(messages_lost, "transport_messages_lost_total", "Messages lost with a connection.")    \
    X(messages_blocked, "transport_messages_blocked_total", "Messages of blocked peers.")    \
    X(messages_unknown, "transport_messages_unknown_total", "Messages of a newer type.")     \
    X(connections_accepted, "transport_connections_accepted_total", "Connections accepted.") \
    X(connections_corrupt, "transport_connections_corrupt_total", "Closed for bad bytes.")   \
    X(connections_timed_out, "transport_connections_timed_out_total", "Closed as too slow.") \
    X(connections_turned_away, "transport_connections_turned_away_total", "Over a maximum.") \
    X(refusals, "transport_refusals_total", "Handshakes refused.")

struct transport_metrics {
#define TRANSPORT_METRIC_FIELD(field, name, help) struct metric_counter field;
    TRANSPORT_METRIC_LIST(TRANSPORT_METRIC_FIELD)
#undef TRANSPORT_METRIC_FIELD
};
extern struct transport_metrics transport__metrics;

#define TRANSPORT_TALLY(self, field, n) \
    ((self)->stats.field += (n), metric_counter_add(&transport__metrics.field, (n)))

// True when a line about a stranger may be logged: they must not fill the disk.
bool transport__may_log(struct transport *self);

// transport_timer.c
void transport__timer_init(struct transport *self);
void transport__timer_set(struct transport *self, struct transport_timer *timer, uint32_t ms);
void transport__timer_unset(struct transport *self, struct transport_timer *timer);

// transport_peer.c
struct transport_peer *transport__peer_find(const struct transport *self, struct node_id node);
// Finds or adds; NULL at the maximum.
struct transport_peer *transport__peer_get(struct transport *self, struct node_id node);
void transport__peer_dial(struct transport_peer *peer);
void transport__peer_redial_now(struct transport_peer *peer);
// The dialled connection is gone: tries again later.
void transport__peer_disconnected(struct transport_peer *peer, uint64_t open_ns, enum status why);
// A hello named this boot: what belongs to an older one is closed.
void transport__peer_learn(struct transport_peer *peer, const struct transport_hello *hello);

// transport_connection.c
struct transport_connection *transport__connection_create(struct transport *self,
                                                          enum transport_role role);
void transport__connection_dial(struct transport_connection *conn, const char *address);
void transport__connection_accepted(struct transport_connection *conn);
// Puts the frame holding this hello or refusal before everything else.
void transport__connection_control(struct transport_connection *conn,
                                   struct transport_frame *frame);
// Something waits: it is written at the next turn.
void transport__connection_touch(struct transport_connection *conn);
void transport__connection_flush(struct transport_connection *conn);
// Writes what waits, then closes.
void transport__connection_end(struct transport_connection *conn);
// Closes now. `text` is for the log; NULL when the caller has logged it.
void transport__connection_close(struct transport_connection *conn, enum status why,
                                 const char *text);
// Closes for bytes that no correct peer sends.
void transport__connection_corrupt(struct transport_connection *conn, const char *text);
bool transport__connection_is_stranger(const struct transport_connection *conn);

// transport_handshake.c
void transport__handshake_begin(struct transport_connection *conn);  // dialled: says hello
void transport__handshake_frame(struct transport_connection *conn, struct slice payload);

// transport_receive.c
void transport__receive_start(struct transport_connection *conn);
