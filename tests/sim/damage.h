// SPDX-License-Identifier: Apache-2.0
// damage.h - what may be lost for good, and how much of it at a time: the fault budget.
// Invariants: never more than a minority of the voters of a group are gone or not whole yet;
//             nothing is lost while members change.
// Ownership:  the nodes own their disks.
// Thread:     confined to the world.
// See:        tests/sim/README.md "Faults"
#pragma once

#include "tests/sim/node.h"

struct catalog;

// The newest catalogue there ever was, of a node that is up; NULL when none there holds it.
const struct catalog *sim_newest_catalog(const struct sim_world *world);
// Whether this node, too, may lose something: looks first which of the damaged ones are whole
// again.
bool sim_damage_allowed(struct sim_world *world, struct sim_node *node);
// The node counts as damaged until all its replicas are whole and know what was applied by now.
void sim_damage_note(struct sim_world *world, struct sim_node *node);
// The log's records as the release before wrote them, where they can be said in its format. The
// node is down.
void sim_disk_downgrade(struct sim_node *node);
// Some records of the log rot, wherever they lie. The node is down.
void sim_damage_rot(struct sim_world *world, struct sim_node *node, struct prng *prng);
// Nothing is left of the node, not even its identity. It is down.
void sim_damage_wipe(struct sim_world *world, struct sim_node *node);
