// SPDX-License-Identifier: Apache-2.0
// The messages of commits over several shards come late, come once more much later, or do not come
// at all for one transaction, until what its shards keep of it is old. Now and then one node hears
// everything late: it leads on, and its clock, which nothing pushes ahead, is behind the others'.
#include "dataplane/base/assert.h"
#include "tests/sim/storm_internal.h"
#include "tests/sim/world.h"

#define MS UINT64_C(1000000)

static void come(struct sim_storm_state *self, const struct sim_net_seen *seen, uint64_t after_ns) {
    SIM_NOTE(self->world, seen->to, SIM_TRACE_FAULT, "storm holds", seen->from->id.v, after_ns, 0);
    sim_net_again(&self->world->net, seen, after_ns);
}

// Whether it resolves the transaction that is not to be resolved; chooses one when there is none.
static bool is_cursed(struct sim_storm_state *self, const struct command_request *request) {
    const uint64_t now = self->world->now_ns;
    const uint64_t kept_ns = self->world->plan.kept_us * 1000;
    bool cursed = false;
    struct command_resolve_reader reader;
    struct command_resolution item;
    enum status st = command_resolve_open(&reader, request->payload);
    for (uint32_t i = 0; st == STATUS_OK && i < reader.count; i++) {
        st = command_resolve_next(&reader, &item);
        if (st != STATUS_OK) { break; }
        const bool due = now > self->cursed_until_ns + kept_ns;
        if (due && kept_ns > 0 && item.decision == COMMAND_DECIDE_COMMIT) {
            self->cursed = item.txn;
            self->cursed_until_ns = now + kept_ns + prng_between(&self->prng, 0, kept_ns);
            SIM_NOTE(self->world, NULL, SIM_TRACE_FAULT, "storm curses", self->cursed_until_ns, 0,
                     0);
        }
        cursed = cursed || (now < self->cursed_until_ns && txn_id_equal(item.txn, self->cursed));
    }
    return cursed;
}

static void hear_late(struct sim_storm_state *self, uint32_t position, uint64_t most_ns) {
    struct sim_world *world = self->world;
    const uint64_t late_ns = prng_between(&self->prng, 20, 300) * MS;
    const uint64_t until_ns = world->now_ns + prng_between(&self->prng, 100 * MS, most_ns);
    SIM_NOTE(world, &world->nodes[position], SIM_TRACE_FAULT, "storm delays", late_ns, until_ns, 0);
    for (uint32_t from = 0; from < world->plan.node_count; from++) {
        world->net.slower_ns[from][position] = late_ns;
        world->net.slower_until_ns[from][position] = until_ns;
    }
}

void sim_storm__on_dull(struct sim_world *world, struct sim_event *event) {
    (void)event;
    hear_late(&world->storm, world->storm.dull_position, 400 * MS);
    world->storm.dull_until_ns = world->now_ns + 400 * MS;
}

void sim_storm__on_glance(struct sim_world *world, struct sim_event *event) {
    (void)event;
    struct sim_storm_state *self = &world->storm;
    if (self->glance_count > 0) {
        struct sim_node *leader = sim_txn_leader_of(&world->txns, self->glance_lists[0]);
        if (leader == NULL) { return; }
        sim_txn_look_at(&world->txns, leader, self->glance_lists, self->glance_count);
        return;
    }
    const bool dull = world->now_ns < self->dull_until_ns;
    const uint32_t any = (uint32_t)prng_below(&self->prng, world->plan.node_count);
    sim_txn_read_through(&world->txns, &world->nodes[dull ? self->dull_position : any]);
}

// One list that the transaction wrote and one that it did not, on another shard: the leader of the
// first may not have heard yet at which timestamp it is committed, and then nobody tells.
static void choose_glance(struct sim_storm_state *self, const struct sim_txn_client *client) {
    const struct sim_txn_load *load = &self->world->txns;
    const uint32_t shards = self->world->plan.shard_count;
    uint32_t first = (uint32_t)prng_below(&self->prng, client->item_count);
    for (uint32_t i = 0; i < client->item_count && !client->items[first].append; i++) {
        first = (first + 1) % client->item_count;
    }
    const uint32_t list = client->items[first].key;
    uint32_t slot = (uint32_t)prng_below(&self->prng, SIM_TXN_SLOTS);
    for (uint32_t i = 0; i < SIM_TXN_SLOTS; i++, slot = (slot + 1) % SIM_TXN_SLOTS) {
        bool taken = slot % shards == list % SIM_TXN_SLOTS % shards;
        for (uint32_t k = 0; k < client->item_count; k++) {
            taken = taken || client->items[k].key % SIM_TXN_SLOTS == slot;
        }
        if (!taken) { break; }
    }
    self->glance_lists[0] = list;
    self->glance_lists[1] = load->generations[slot] * SIM_TXN_SLOTS + slot;
    self->glance_count = prng_chance(&self->prng, 1, 3) ? 1 : 2;
}

void sim_storm_committed(struct sim_storm_state *self, const struct sim_txn_client *client) {
    if (!self->on || self->world->plan.storm != SIM_STORM_COMMITS) { return; }
    if (heap_has(&self->glance.heap)) { return; }
    if (self->world->plan.tokens) {
        if (client->kind != SIM_TXN_LISTS) { return; }
        choose_glance(self, client);
        sim_world_put(self->world, &self->glance,
                      self->world->now_ns + prng_between(&self->prng, 10000, 2 * MS));
        return;
    }
    sim_world_put(self->world, &self->glance,
                  self->world->now_ns + prng_between(&self->prng, 1000, 8 * MS));
}

// Who neither sent the prepare nor receives it knows nothing of the timestamp that it gets; a read
// there, right after the commit, must find it all the same.
static void dull_another(struct sim_storm_state *self, const struct sim_net_seen *seen,
                         uint64_t after_ns) {
    struct sim_world *world = self->world;
    if (heap_has(&self->dull.heap)) { return; }
    uint32_t position = (uint32_t)prng_below(&self->prng, world->plan.node_count);
    while (position == seen->from->position || position == seen->to->position) {
        position = (position + 1) % world->plan.node_count;
    }
    self->dull_position = position;
    sim_world_put(world, &self->dull, world->now_ns + after_ns);
}

// Where tokens are: little is held up but the word of a commit, so that commits are many, and reads
// come between the two.
static bool draw_short_fate(struct sim_storm_state *self, enum command_kind kind,
                            uint64_t *out_again) {
    const uint64_t dice = prng_below(&self->prng, 64);
    if (kind == COMMAND_PREPARE && dice < 1) {
        *out_again = prng_between(&self->prng, 5, 200) * MS;
        return true;
    }
    if (kind != COMMAND_RESOLVE || dice >= 40) { return false; }
    *out_again = prng_between(&self->prng, 2, 30) * MS;
    return true;
}

// Whether it is lost; 0 in *out_again when it comes no more.
static bool draw_fate(struct sim_storm_state *self, const struct command_request *request,
                      uint64_t *out_again) {
    if (self->world->plan.tokens) { return draw_short_fate(self, request->kind, out_again); }
    const uint64_t dice = prng_below(&self->prng, 16);
    if (request->kind == COMMAND_PREPARE && dice < 4) {
        // Rarely so late that recovery has refused it.
        const bool once = dice < 3;
        const uint64_t most = once ? 100 : 5000;
        const bool long_after = prng_chance(&self->prng, 1, 4);
        *out_again = prng_between(&self->prng, 5, long_after ? 2000 : most) * MS;
        return once;
    }
    if (request->kind != COMMAND_RESOLVE) { return false; }
    if (is_cursed(self, request)) { return true; }
    if (dice < 3) {
        const bool long_after = prng_chance(&self->prng, 1, 4);
        *out_again = prng_between(&self->prng, 5, long_after ? 600 : 100) * MS;
    }
    return dice < 3;
}

bool sim_storm__commits_sent(struct sim_storm_state *self, struct sim_node *from,
                             struct sim_node *to, enum peer_message_type type, struct slice body) {
    struct command_request request;
    if (type != PEER_REQUEST || command_request_decode(body, &request) != STATUS_OK) {
        return false;
    }
    uint64_t again_ns = 0;
    const bool lost = draw_fate(self, &request, &again_ns);
    if (again_ns > 0) {
        const struct sim_net_seen seen = {from, to, type, bytes_copy(body)};
        come(self, &seen, again_ns);
        const bool slow = !self->world->plan.tokens;
        if (lost && slow && request.kind == COMMAND_PREPARE) {
            dull_another(self, &seen, again_ns);
        }
        bytes_unref(seen.body);
    }
    return lost;
}

void sim_storm__strike_commits(struct sim_storm_state *self) {
    struct sim_world *world = self->world;
    const uint32_t position = (uint32_t)prng_below(&self->prng, world->plan.node_count);
    const uint64_t dice = prng_below(&self->prng, 4000);
    if (dice < 1) {
        sim_storm__crash(self, &world->nodes[position], 400 * MS);
    } else if (dice < 3 && !heap_has(&self->heal.heap)) {
        sim_storm__part(self, UINT32_C(1) << position, prng_between(&self->prng, 50, 2000) * MS);
    } else if (dice < (world->plan.tokens ? 12 : 60)) {
        hear_late(self, position, 1500 * MS);
    }
}
