// SPDX-License-Identifier: Apache-2.0
// operator.h - who changes the members of shards, and puts new nodes in the place of lost ones.
// Invariants: one command at a time; a shard never stays on a node that is gone.
// Ownership:  the world owns the operator.
// Thread:     confined to the world.
// See:        tests/sim/README.md "Faults"
#pragma once

#include "tests/sim/clients.h"

struct sim_operator {
    struct sim_world *world;
    struct prng prng;
    struct sim_event step;
    struct sim_call call;
    uint32_t joining;  // position + 1 of the node that asks for an id; 0 = none
    bool change;       // draw a change of members at the next step
    uint64_t placed;
    uint64_t cancelled;
};

void sim_operator_init(struct sim_operator *self, struct sim_world *world);
void sim_operator_deinit(struct sim_operator *self);
// Looks from now on whether there is something to repair.
void sim_operator_start(struct sim_operator *self);
// Some shard shall have other members.
void sim_operator_change(struct sim_operator *self);
