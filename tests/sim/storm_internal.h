// SPDX-License-Identifier: Apache-2.0
// storm_internal.h - what the files of the storms share.
// Invariants: as storm.h.
// Ownership:  as storm.h.
// Thread:     confined to the world.
// See:        tests/sim/storm.h
#pragma once

#include "tests/sim/storm.h"

// Cuts those of one side (bits = positions) off from the rest.
void sim_storm__part(struct sim_storm_state *self, uint32_t side, uint64_t for_ns);
// For up to most_ns; nothing when it is down already.
void sim_storm__crash(struct sim_storm_state *self, struct sim_node *node, uint64_t most_ns);

// --- Commits (storm_commits.c) ---

// True when the message is lost; what is held comes later.
bool sim_storm__commits_sent(struct sim_storm_state *self, struct sim_node *from,
                             struct sim_node *to, enum peer_message_type type, struct slice body);
void sim_storm__on_dull(struct sim_world *world, struct sim_event *event);
void sim_storm__on_glance(struct sim_world *world, struct sim_event *event);
void sim_storm__strike_commits(struct sim_storm_state *self);
