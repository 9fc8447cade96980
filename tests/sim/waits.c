// SPDX-License-Identifier: Apache-2.0
// Locks are waited for by order of age, so nobody ever waits in a circle. Recovery would end one
// after a while, and nothing but some time would be lost: no history tells. Hence the look at the
// waits themselves, whenever one was added.
#include "tests/sim/waits.h"

#include "tests/sim/world.h"

#include <inttypes.h>

// Who waits is told of a resolution with the next turn, and may seem to wait for what holds the
// same locks next.
#define STANDS_NS UINT64_C(5000000)

void sim_waits_init(struct sim_waits *self, struct sim_world *world) {
    *self = (struct sim_waits){.world = world};
}

// --- Who waits for whom ---

struct look {
    struct sim_waits *waits;
    struct participant *room;
    struct sim_waits_who holds;
    uint64_t shard;
};

static bool look_at_waiter(void *ctx, const struct participant_waiter *waiter) {
    const struct look *look = ctx;
    struct sim_waits *self = look->waits;
    if (txn_id_is_zero(waiter->txn)) { return true; }  // a read holds nothing
    if (self->edge_count == SIM_WAITS_EDGES_MAX) { return false; }
    self->edges[self->edge_count++] =
        (struct sim_waits_edge){.waits = {waiter->txn, waiter->attempt, waiter->begin},
                                .holds = look->holds,
                                .shard = look->shard};
    return true;
}

static bool look_at_holder(void *ctx, struct shard_id shard, const struct lock_holder *holder,
                           uint32_t waiters) {
    struct look *look = ctx;
    if (waiters == 0) { return true; }
    look->holds = (struct sim_waits_who){holder->txn, holder->attempt, holder->begin};
    look->shard = shard.v;
    participant_each_waiter(look->room, shard, holder->txn, look_at_waiter, look);
    return true;
}

static void gather(struct sim_waits *self) {
    struct sim_world *world = self->world;
    self->edge_count = 0;
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        struct sim_node *node = &world->nodes[i];
        if (!node->up) { continue; }
        struct look look = {.waits = self,
                            .room = session_participant(node_core_session(node->core))};
        participant_each_holder(look.room, look_at_holder, &look);
    }
}

// --- Circles ---

static bool is_same(const struct sim_waits_who *a, const struct sim_waits_who *b) {
    return txn_id_equal(a->txn, b->txn) && txn_attempt_equal(a->attempt, b->attempt);
}

static bool waits(const struct sim_waits *self, const struct sim_waits_who *who) {
    for (uint32_t i = 0; i < self->edge_count; i++) {
        if (is_same(&self->edges[i].waits, who)) { return true; }
    }
    return false;
}

// Whoever waits for somebody that waits for nobody will go on. Nobody is left, or a circle, and
// those that wait for it.
static bool is_circle(struct sim_waits *self) {
    uint32_t before = 0;
    do {
        before = self->edge_count;
        for (uint32_t i = 0; i < self->edge_count;) {
            if (waits(self, &self->edges[i].holds)) {
                i++;
            } else {
                self->edges[i] = self->edges[--self->edge_count];
            }
        }
    } while (self->edge_count < before);
    return self->edge_count > 0;
}

void sim_waits_turn(struct sim_waits *self, struct sim_node *node) {
    const struct participant_stats stats =
        participant_stats(session_participant(node_core_session(node->core)));
    const bool more = stats.waits != self->begun[node->position];
    self->begun[node->position] = stats.waits;
    if (!more && self->circle_ns == 0) { return; }
    gather(self);
    if (!is_circle(self)) {
        self->circle_ns = 0;
        return;
    }
    const uint64_t now = self->world->now_ns;
    if (self->circle_ns == 0) { self->circle_ns = now; }
    if (now - self->circle_ns < STANDS_NS) { return; }
    sim_fail(self->world,
             "transactions wait in a circle: on shard %" PRIu64 " one of %" PRIu64
             " for one of %" PRIu64 ", which waits as well",
             self->edges[0].shard, self->edges[0].waits.begin.v, self->edges[0].holds.begin.v);
}
