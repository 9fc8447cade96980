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
    bool blocking;  // now; flapping links open in between
    uint64_t flap_ns;
    struct sim_event flap;
};

// A wall clock that jumps between two offsets.
struct sim_strobe {
    struct sim_event next;
    struct sim_node *node;
    int64_t offsets_us[2];
    uint64_t every_ns;
    uint64_t until_ns;
    uint32_t turn;
};

struct sim_faults {
    struct sim_world *world;
    struct prng prng;
    struct sim_event next;
    struct sim_partition partitions[SIM_FAULTS_ACTIVE_MAX];
    struct sim_strobe strobes[SIM_NODES_MAX];
    struct sim_event rolling;
    uint32_t rolling_left;  // nodes that the rolling restart has still to stop
    uint64_t counts[SIM_FAULT_COUNT];
    uint32_t begun;
};

void sim_faults_init(struct sim_faults *self, struct sim_world *world);
void sim_faults_start(struct sim_faults *self);
// Begins nothing more; what is under way goes on.
void sim_faults_pause(struct sim_faults *self);
// Begins nothing more, and opens all links.
void sim_faults_stop(struct sim_faults *self);
// Ends everything but for some nodes (bit = position): links open, nodes up, clocks right. Those
// left out are down, or cut off, or hear nothing, or are heard by nobody, for good.
void sim_faults_heal_but(struct sim_faults *self, uint32_t broken);
// Ends everything.
void sim_faults_heal(struct sim_faults *self);
