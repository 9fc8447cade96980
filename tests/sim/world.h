// SPDX-License-Identifier: Apache-2.0
// world.h - a whole cluster with its clients in one thread and in virtual time, from one seed.
// Invariants: nothing reads a real clock or an address; equal seeds give equal event hashes.
// Ownership:  the world owns everything in it.
// Thread:     one.
// See:        tests/sim/README.md; docs/design: testing, Sans-IO
#pragma once

#include "dataplane/base/heap.h"
#include "tests/sim/checks.h"
#include "tests/sim/clients.h"
#include "tests/sim/clients_txn.h"
#include "tests/sim/faults.h"
#include "tests/sim/history.h"
#include "tests/sim/net.h"
#include "tests/sim/node.h"
#include "tests/sim/operator.h"
#include "tests/sim/plan.h"
#include "tests/sim/storm.h"
#include "tests/sim/trace.h"
#include "tests/sim/waits.h"

#include <setjmp.h>

struct sim_world {
    struct sim_plan plan;
    uint64_t now_ns;
    uint64_t events;
    uint64_t events_at_once;  // at this very instant
    struct heap heap;
    struct sim_trace trace;
    struct hlc_ts line_hlc;  // of the latest line
    struct sim_net net;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_faults faults;
    struct sim_operator operator;
    struct sim_storm_state storm;
    struct sim_checks checks;
    struct sim_waits waits;
    struct sim_history history;
    struct sim_client clients[SIM_CLIENTS_MAX + 1];  // the last one does the final check
    struct sim_txn_load txns;
    struct sim_call setup;   // of the bootstrap, one at a time
    struct sim_call *calls;  // active ones
    struct sim_client_stats stats;
    uint32_t keyspace;
    bool clients_stop;
    uint32_t broken;   // nodes that stay broken while the others must do
    uint32_t touched;  // nodes whose turn is due at the end of this event
    uint64_t restarts;
    struct sim_node *acting;  // whose code runs; it may stop itself
    jmp_buf stopped;
    bool armed;  // a node that stops itself is led back to the world
    bool failed;
    char failure[512];
};

struct sim_result {
    bool failed;
    char failure[512];
    uint64_t hash;
    uint64_t events;
    uint64_t faults;  // begun
    uint64_t virtual_ns;
    uint64_t ops;
    struct sim_client_stats stats;
    struct sim_txn_stats txns;
    uint64_t leader_changes;
    uint64_t restarts;
    uint64_t applied;
    uint64_t digests;
    uint32_t undecided;
    uint64_t clock_steps;  // noticed by nodes
};

enum { SIM_TIMELINE_LINES = 120 };

// Runs the world of a plan to its end. Prints a time line when it fails.
void sim_run(const struct sim_plan *plan, bool echo, struct sim_result *out);

// --- For the parts of a world ---

// The node that has the id now; NULL = none.
struct sim_node *sim_world_node(const struct sim_world *self, struct node_id id);
void sim_world_put(struct sim_world *self, struct sim_event *event, uint64_t at_ns);
void sim_world_cancel(struct sim_world *self, struct sim_event *event);
// Runs until the condition holds or the time is over; false when it is over or the world failed.
bool sim_world_until(struct sim_world *self, uint64_t for_ns,
                     bool (*condition)(struct sim_world *self));
// The first failure counts; the run ends after the present event.
void sim_fail(struct sim_world *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Adds to the hash and the time line. node may be NULL.
void sim_note(struct sim_world *self, struct sim_node *node, enum sim_trace_kind kind,
              const char *what, const uint64_t values[3]);
#define SIM_NOTE(world, node, kind, what, a, b, c) \
    sim_note((world), (node), (kind), (what),      \
             (const uint64_t[3]){(uint64_t)(a), (uint64_t)(b), (uint64_t)(c)})
