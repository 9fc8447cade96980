// SPDX-License-Identifier: Apache-2.0
// mesh.h - a few transports on one loop in one process, driven by the test's own thread.
// Invariants: mesh_run returns with its condition true or fails the test after MESH_TIMEOUT_MS.
// Ownership:  the mesh owns loop, nodes and copies of nothing; the caller owns the struct.
// Thread:     the test's.
// See:        tests/unit/dataplane/transport/transport_test.c
#pragma once

#include "dataplane/loop/loop.h"
#include "dataplane/transport/transport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MESH_NODES_MAX = 4, MESH_TIMEOUT_MS = 20000, MESH_BODY_KEPT = 64 };

struct mesh;

struct mesh_node {
    struct mesh *mesh;
    struct transport *transport;  // NULL while stopped
    struct node_id id;
    uint64_t received;        // messages, all senders
    uint64_t received_bytes;  // of bodies
    uint64_t out_of_order;    // bodies made by mesh_send_numbered
    uint64_t next_number[MESH_NODES_MAX + 1];
    struct node_id last_from;
    enum peer_message_type last_type;
    char last_body[MESH_BODY_KEPT];  // with a NUL
    struct bytes *kept;              // reference of the last owner when keep is set
    struct slice kept_body;
    bool keep;
    // Called with each body when set; takes references as it likes.
    void (*on_body)(struct mesh_node *self, struct bytes *owner, struct slice body);
    uint64_t joins;
    char last_join[MESH_BODY_KEPT];
    bool answers_joins;  // with the same body
    struct transport_connection_id last_join_from;
    uint32_t closed;
    enum status last_closed_why;
    uint32_t ups;
    uint32_t downs;
};

struct mesh {
    struct loop *loop;
    struct mesh_node nodes[MESH_NODES_MAX];
    uint32_t count;
    uint64_t turns;
    bool timed_out;
    uint64_t spin_limit_ns;              // a test that only spins ends too
    void (*on_turn)(struct mesh *self);  // before the transports' turn, or NULL
};

void mesh_init(struct mesh *self);
void mesh_deinit(struct mesh *self);

// A configuration with the mesh's cluster, loopback and port 0, for node id = place + 1.
struct transport_config mesh_config(struct mesh *self, uint32_t place);
// Creates the transport of a place, which must succeed.
void mesh_start(struct mesh *self, uint32_t place, const struct transport_config *config);
// Starts `count` nodes that know each other's addresses, and waits until all are connected.
void mesh_start_all(struct mesh *self, uint32_t count);
// Closes one node as if its process had died; its sockets are gone when this returns.
void mesh_stop(struct mesh *self, uint32_t place);
void mesh_introduce(struct mesh *self, uint32_t place, uint32_t to);

typedef bool (*mesh_condition_fn)(struct mesh *self, void *arg);
void mesh_run(struct mesh *self, mesh_condition_fn condition, void *arg);
// A few turns of the loop that do not block; fails the test MESH_TIMEOUT_MS after mesh_init.
void mesh_spin(struct mesh *self);

void mesh_send(struct mesh *self, uint32_t from, uint32_t to, const char *text);
// From node 0 to node 1: first 8 bytes that count from 0, the rest filled.
void mesh_send_numbered(struct mesh *self, enum peer_message_type type, uint64_t number,
                        size_t size);
struct transport_stats mesh_stats(const struct mesh *self, uint32_t place);
bool mesh_is_up(const struct mesh *self, uint32_t from, uint32_t to);

// A plain blocking socket to a node's port: what an attacker or a lost program would open.
int mesh_raw_connect(const struct mesh *self, uint32_t place);
