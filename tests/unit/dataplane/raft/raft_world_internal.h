// SPDX-License-Identifier: Apache-2.0
// raft_world_internal.h - what the two halves of a test's world, nodes and network, need of each
// other.
// Invariants: see raft_world.h.
// Ownership:  see raft_world.h.
// Thread:     the test's.
// See:        raft_world.h
#pragma once

#include "tests/unit/dataplane/raft/raft_world.h"

// Encodes the message with its entries and puts it on the network, unless the way is cut.
void world__send_message(struct world_node *node, const struct raft_message *message,
                         uint64_t first_index);
// Keeps a message until the write it waits for is done.
void world__hold(struct world_node *node, const struct raft_action *action);
void world__release_held(struct world_node *node, uint64_t sequence);
