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
void world__packet_add(struct world *self, struct world_packet *packet);
struct world_packet *world__packet_make(struct world_node *node, enum world_packet_kind kind,
                                        uint32_t to);

// The node's log, as a driver would hand it to the core.
void world__log_put(struct world_log *log, const struct log_entry *entry);
void world__log_cut(struct world_log *log, uint64_t from);
void world__log_reset(struct world_log *log, uint64_t index);
// Opens the replica from what the disk holds.
enum status world__open(struct world_node *node, uint64_t flushed);

// raft_world_members.c
// Memberships as the log store knows them; returns their number.
uint32_t world__memberships(const struct world_node *node, struct raft_config_entry *out,
                            uint32_t max);
// A log that the installed snapshot has overtaken begins anew.
void world__recover_log(struct world_node *node);
void world__act_snapshot(struct world_node *node, const struct raft_action *action);
void world__act_members(struct world_node *node);
// Sends what can be sent; gives up what took too long.
void world__snapshots_send(struct world_node *node);
void world__snapshots_expire(struct world_node *node);
void world__deliver_snapshot(struct world_node *node, const struct world_packet *packet);
void world__tell_installed(struct world_node *node, uint64_t sequence);
void world__deliver_snapshot_reply(struct world_node *node, const struct world_packet *packet);
// A message to a newer incarnation than the one here: the driver opens that one.
void world__open_wanted(struct world *self, uint32_t number, uint64_t incarnation);
// A majority of what the leader uses has voted for it, or holds what it just committed.
void world__check_majority(struct world_node *leader, bool election);
// A decision was made by a majority of what the node uses.
void world__note_decision(struct world_node *node);
