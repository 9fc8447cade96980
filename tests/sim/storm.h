// SPDX-License-Identifier: Apache-2.0
// storm.h - a nemesis that looks: it strikes the leader that was just elected, the change of
// members under way, the replica that has just got a snapshot.
// Invariants: it does nothing that the random nemesis could not do at the same moment; it ends when
//             the faults end.
// Ownership:  the world owns it.
// Thread:     confined to the world.
// See:        tests/sim/README.md "Storms"
#pragma once

#include "tests/sim/node.h"
#include "txn/command/command_txn.h"

// Messages that came by, kept to come once more at the worst moment.
enum { SIM_STORM_KEPT_MAX = 64 };
struct sim_storm_kept {
    struct sim_node *from;
    struct sim_node *to;
    uint32_t from_boot;
    uint32_t to_boot;
    uint64_t sent_ns;
    enum peer_message_type type;
    struct bytes *body;  // NULL = empty place
};

struct sim_storm_state {
    struct sim_world *world;
    struct prng prng;
    bool on;
    struct sim_event tick;
    struct sim_event strike;  // at whoever came to lead
    struct sim_event sever;   // cuts it off, once an old release has come to those who follow it
    struct sim_event heal;
    bool blocks[SIM_NODES_MAX][SIM_NODES_MAX];
    struct sim_node *leads;  // the latest leader of a shard of data
    uint64_t epoch;          // of the membership that was struck last
    bool whole[SIM_NODES_MAX];
    uint64_t incarnations[SIM_NODES_MAX];
    // Messages to and from this one, of its earlier incarnation, come once more until then.
    struct sim_node *newcomer;
    uint64_t newcomer_until_ns;
    struct sim_storm_kept kept[SIM_STORM_KEPT_MAX];
    uint32_t kept_next;
    struct sim_event wake;  // of a leader that slept: a read is what it meets first
    struct sim_node *asleep;
    uint64_t led_ns;           // when `leads` came to lead
    struct sim_node *severed;  // cut off with its lease, NULL = nobody
    // Nothing that resolves this transaction arrives until then.
    struct txn_id cursed;
    uint64_t cursed_until_ns;
    // When a prepare that was held comes, this node hears late; reads follow commits there.
    struct sim_event dull;
    uint32_t dull_position;
    uint64_t dull_until_ns;
    struct sim_event glance;
    uint32_t glance_lists[2];  // where tokens are: one that was written, and another one
    uint32_t glance_count;
};

void sim_storm_init(struct sim_storm_state *self, struct sim_world *world);
void sim_storm_start(struct sim_storm_state *self);
void sim_storm_stop(struct sim_storm_state *self);
// A node has come to lead a shard.
void sim_storm_leads(struct sim_storm_state *self, struct sim_node *node, struct shard_id shard);
// A client was told of its commit.
struct sim_txn_client;
void sim_storm_committed(struct sim_storm_state *self, const struct sim_txn_client *client);
// A message is about to leave: true when it is lost.
bool sim_storm_sent(struct sim_storm_state *self, struct sim_node *from, struct sim_node *to,
                    enum peer_message_type type, struct slice body);
void sim_storm_deinit(struct sim_storm_state *self);
