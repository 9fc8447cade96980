// SPDX-License-Identifier: Apache-2.0
// faults.h - the nemesis: begins and ends the faults of the plan.
// Invariants: every fault ends, at the latest when the world heals.
// Ownership:  the nemesis owns the faults under way.
// Thread:     confined to the world.
// See:        tests/sim/README.md "Faults"
#pragma once

#include "dataplane/base/prng.h"
#include "tests/sim/node.h"

enum { SIM_FAULTS_ACTIVE_MAX = 8 };

// A partition under way: the links it blocks.
struct sim_partition {
    struct sim_event end;
    bool active;
    bool blocks[SIM_NODES_MAX][SIM_NODES_MAX];
};

struct sim_faults {
    struct sim_world *world;
    struct prng prng;
    struct sim_event next;
    struct sim_partition partitions[SIM_FAULTS_ACTIVE_MAX];
    uint64_t counts[SIM_FAULT_COUNT];
};

void sim_faults_init(struct sim_faults *self, struct sim_world *world);
void sim_faults_start(struct sim_faults *self);
// Begins nothing more, and opens all links.
void sim_faults_stop(struct sim_faults *self);
// Ends everything: links open, nodes up, clocks right.
void sim_faults_heal(struct sim_faults *self);
