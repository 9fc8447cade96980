// SPDX-License-Identifier: Apache-2.0
// Tokens from elsewhere: timestamps that lie ahead of every clock here, by less than what is
// permitted, and then clocks follow, or by more, and then nobody may believe them.
#include "tests/sim/clients_txn_internal.h"
#include "tests/sim/world.h"

enum { ONE_OF = 12 };
#define SECOND_US UINT64_C(1000000)

static uint64_t furthest_wall_us(const struct sim_world *world) {
    uint64_t furthest = 0;
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        const uint64_t wall_us = sim_node_wall_us(&world->nodes[i]);
        if (wall_us > furthest) { furthest = wall_us; }
    }
    return furthest;
}

void sim_txn__draw_token(struct sim_txn_client *self) {
    const struct sim_world *world = self->world;
    self->wild = false;
    if (!world->plan.tokens || !prng_chance(&self->tokens, 1, ONE_OF)) { return; }
    self->wild = prng_chance(&self->tokens, 1, 6);
    uint64_t ahead_us = prng_between(&self->tokens, 0, SECOND_US);
    // As much as is believed by whoever has the furthest wall, and refused by the others.
    if (prng_chance(&self->tokens, 1, 2)) { ahead_us = SECOND_US - ahead_us / 8; }
    // A clock that starts after a crash, or follows one that did, is ahead as well.
    if (self->wild) { ahead_us = prng_between(&self->tokens, 10 * SECOND_US, 90000 * SECOND_US); }
    self->snapshot = (struct command_snapshot){
        .consistency = prng_chance(&self->tokens, 1, 4) ? COMMAND_SESSION : COMMAND_STRONG,
        .at_least = hlc_from_wall(furthest_wall_us(world) + ahead_us)};
}
