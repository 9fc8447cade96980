// SPDX-License-Identifier: Apache-2.0
// fake_node.h - a node for tests of api/data and api/client: the real server, handlers and loop
// over a session that keeps its rows in memory.
// Invariants: gateway_start, gateway_cancel and gateway_hold_* are this fake's: a program that
//             links it must not link txn/gateway.
// Ownership:  the test owns the node.
// Thread:     create and destroy: the test's thread. Knobs are atomics, to be set at any time.
// See:        tests/unit/api/data/data_test.c
#pragma once

#include "api/data/data.h"
#include "api/rpc/rpc.h"
#include "txn/command/command_merge.h"
#include "txn/command/command_txn.h"

#include <stdatomic.h>

enum {
    FAKE_KEYSPACE = 7,
    FAKE_FAILURES_MAX = 1000000,
    FAKE_TRANSACT_BYTES_MAX = 2 << 20,  // of all transactions of the node
};

struct fake_node;

// items_max of data, stream_bytes_max of rpc; 0 = their defaults.
struct fake_node *fake_node_create(uint32_t items_max, size_t stream_bytes_max);
// Everything in flight is answered first.
void fake_node_destroy(struct fake_node *self);
// After the test stopped its server.
void fake_node_destroy_stopped(struct fake_node *self);
const char *fake_node_address(const struct fake_node *self);
struct rpc_server *fake_node_server(struct fake_node *self);
struct data *fake_node_data(struct fake_node *self);

// The next `count` session calls of `kind` (0 = any) end with `status`, without a certificate.
void fake_node_fail(struct fake_node *self, uint32_t kind, enum status status, uint32_t count);
// The next `count` commits are made, and answered UNKNOWN_OUTCOME.
void fake_node_lose(struct fake_node *self, uint32_t count);
// Session calls are held back until released or cancelled.
void fake_node_hold(struct fake_node *self, bool hold);
bool fake_node_is_holding(const struct fake_node *self);
uint32_t fake_node_held(const struct fake_node *self);
// Of this node's life.
uint32_t fake_node_started(const struct fake_node *self);
uint32_t fake_node_cancelled(const struct fake_node *self);
// Commits that changed something.
uint32_t fake_node_applied(const struct fake_node *self);
// Keys that transactions hold (TransactGet.for_update).
uint32_t fake_node_keys_held(const struct fake_node *self);
// When the first try of the last commit began, as the gateway was told.
uint64_t fake_node_begin(const struct fake_node *self);
// Pages end after this many rows although more follow; 0 = no such border.
void fake_node_border(struct fake_node *self, uint32_t rows);
// What MapGet tells as the address of the leader; its own at first.
void fake_node_point_to(struct fake_node *self, const char *address);
// MapGet tells of a second replica of the shard, on node 2 at this address; NULL = of none.
void fake_node_follower(struct fake_node *self, const char *address);
// MapGet tells of a second shard, from "m" on, that this node leads; 0 = of none. Node 1 is in
// region "east", node 2 in "west".
void fake_node_split(struct fake_node *self, uint32_t leader);
// What ABORTED_RETRY says was in the way (a full key), from now on.
void fake_node_conflict(struct fake_node *self, struct slice key, struct txn_id holder);
// The next `count` ids that are to be settled turn out to be prepared since they were asked about.
void fake_node_prepare(struct fake_node *self, uint32_t count);
// Transactions without an outcome are said to be prepared.
void fake_node_pend(struct fake_node *self, bool pend);
// The snapshot that the latest read or scan asked for.
struct command_snapshot fake_node_snapshot(struct fake_node *self);
