// SPDX-License-Identifier: Apache-2.0
// Random faults rarely hit the few milliseconds in which a rule matters: the first entry of a term
// on its way, a membership that is in few logs, a lease that was given up. This nemesis waits for
// them. One cut at a time: when it strikes anew the links that it cut before are opened, so that
// those who were cut off come back with what they alone know.
#include "tests/sim/storm.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "tests/sim/storm_internal.h"
#include "tests/sim/world.h"

#include <string.h>

#define MS      UINT64_C(1000000)
#define TICK_NS (5 * MS)
// In which an old release comes.
#define RELEASED_NS (MS / 2)

static void open_links(struct sim_storm_state *self) {
    struct sim_net *net = &self->world->net;
    sim_world_cancel(self->world, &self->heal);
    for (uint32_t a = 0; a < SIM_NODES_MAX; a++) {
        for (uint32_t b = 0; b < SIM_NODES_MAX; b++) {
            if (self->blocks[a][b]) { net->blocked[a][b]--; }
        }
    }
    memset(self->blocks, 0, sizeof(self->blocks));
    self->severed = NULL;
}

static void cut(struct sim_storm_state *self, uint32_t from, uint32_t to) {
    if (from == to || self->blocks[from][to]) { return; }
    self->blocks[from][to] = true;
    self->world->net.blocked[from][to]++;
}

// Cuts those of one side (bits = positions) off from the rest; now and then only one way.
void sim_storm__part(struct sim_storm_state *self, uint32_t side, uint64_t for_ns) {
    open_links(self);
    uint32_t count = self->world->plan.node_count;
    bool deaf = prng_chance(&self->prng, 1, 6);  // is heard, and hears nothing
    for (uint32_t a = 0; a < count; a++) {
        for (uint32_t b = 0; b < count; b++) {
            bool here = (side >> a & 1) != 0;
            bool there = (side >> b & 1) != 0;
            if (here && !there && !deaf) { cut(self, a, b); }
            if (!here && there) { cut(self, a, b); }
        }
    }
    SIM_NOTE(self->world, NULL, SIM_TRACE_FAULT, "storm cuts", side, deaf, for_ns);
    sim_world_put(self->world, &self->heal, self->world->now_ns + for_ns);
}

static void on_heal(struct sim_world *world, struct sim_event *event) {
    (void)event;
    open_links(&world->storm);
    SIM_NOTE(world, NULL, SIM_TRACE_FAULT, "storm heals", 0, 0, 0);
}

void sim_storm__crash(struct sim_storm_state *self, struct sim_node *node, uint64_t most_ns) {
    struct sim_world *world = self->world;
    if (!node->up || heap_has(&node->restart.heap)) { return; }
    sim_node_crash(node);
    sim_world_put(world, &node->restart, world->now_ns + prng_between(&self->prng, MS, most_ns));
}

static struct replica *replica_at(struct sim_storm_state *self, uint32_t position) {
    struct sim_world *world = self->world;
    struct sim_node *node = &world->nodes[position];
    for (uint32_t s = 0; node->up && s < world->checks.shard_count; s++) {
        struct shard_id id = world->checks.shards[s].id;
        if (shard_id_equal(id, SHARD_CATALOG)) { continue; }
        struct replica *replica = replica_table_find(node_core_table(node->core), id);
        if (replica != NULL) { return replica; }
    }
    return NULL;
}

// --- Messages kept ---

static void keep(struct sim_storm_state *self, struct sim_node *from, struct sim_node *to,
                 enum peer_message_type type, struct slice body) {
    struct sim_storm_kept *kept = &self->kept[self->kept_next++ % SIM_STORM_KEPT_MAX];
    bytes_unref(kept->body);
    *kept = (struct sim_storm_kept){.from = from,
                                    .to = to,
                                    .from_boot = from->boot,
                                    .to_boot = to->boot,
                                    .sent_ns = self->world->now_ns,
                                    .type = type,
                                    .body = bytes_copy(body)};
}

// No connection outlives a process.
static bool may_come(const struct sim_storm_kept *kept) {
    return kept->body != NULL && kept->from->boot == kept->from_boot &&
           kept->to->boot == kept->to_boot && kept->from->up && kept->to->up;
}

static void again(struct sim_storm_state *self, const struct sim_storm_kept *kept,
                  uint64_t most_ns) {
    const struct sim_net_seen seen = {kept->from, kept->to, kept->type, kept->body};
    sim_net_again(&self->world->net, &seen, prng_between(&self->prng, 1000, most_ns));
}

// What a replica that was just replaced had said, and was told.
static void echo_newcomer(struct sim_storm_state *self) {
    if (self->newcomer == NULL || self->world->now_ns > self->newcomer_until_ns) { return; }
    for (uint32_t i = 0; i < SIM_STORM_KEPT_MAX; i++) {
        const struct sim_storm_kept *kept = &self->kept[i];
        bool its = kept->from == self->newcomer || kept->to == self->newcomer;
        if (its && may_come(kept) && prng_chance(&self->prng, 1, 8)) { again(self, kept, 2 * MS); }
    }
}

bool sim_storm_sent(struct sim_storm_state *self, struct sim_node *from, struct sim_node *to,
                    enum peer_message_type type, struct slice body) {
    if (!self->on) { return false; }
    enum sim_storm kind = self->world->plan.storm;
    if (kind == SIM_STORM_SNAPSHOTS && type == PEER_SNAPSHOT) {
        return prng_chance(&self->prng, 1, 8);
    }
    if (kind == SIM_STORM_COMMITS) { return sim_storm__commits_sent(self, from, to, type, body); }
    // Rarely, so that what is kept reaches back for a while.
    bool raft = kind == SIM_STORM_MEMBERS && type == PEER_RAFT && prng_chance(&self->prng, 1, 8);
    if (raft || (kind == SIM_STORM_RELEASES && type == PEER_LEADS)) {
        keep(self, from, to, type, body);
    }
    return false;
}

// --- Releases ---

// What the new leader's node had told before it led comes now, and then nothing more: whoever
// believes it has a leader elected that the old one does not hear of. The cut waits until it has
// come, and not for the next append, which would renew the promise that it seems to end.
static void release(struct sim_storm_state *self) {
    for (uint32_t i = 0; i < SIM_STORM_KEPT_MAX; i++) {
        const struct sim_storm_kept *kept = &self->kept[i];
        bool early = kept->from == self->leads && kept->sent_ns < self->led_ns;
        if (early && may_come(kept)) { again(self, kept, RELEASED_NS); }
    }
    uint64_t after_ns = RELEASED_NS + prng_below(&self->prng, 2 * RELEASED_NS);
    sim_world_put(self->world, &self->sever, self->world->now_ns + after_ns);
}

static void on_sever(struct sim_world *world, struct sim_event *event) {
    (void)event;
    struct sim_storm_state *self = &world->storm;
    struct sim_node *node = self->leads;
    if (!node->up) { return; }
    sim_storm__part(self, UINT32_C(1) << node->position, 4 * world->plan.support_ns);
    self->severed = node;
}

// Two lead: the one that does not know it is read from.
static void read_severed(struct sim_storm_state *self) {
    struct sim_node *node = self->severed;
    if (node == NULL || node == self->leads || !node->up) { return; }
    const struct replica *replica = replica_at(self, node->position);
    if (replica == NULL || !replica_is_leader(replica)) { return; }
    if (prng_chance(&self->prng, 1, 3)) { (void)!sim_clients_read_through(self->world, node); }
}

// A leader that has slept meets a read before it meets the time.
static void on_wake(struct sim_world *world, struct sim_event *event) {
    (void)event;
    struct sim_node *node = world->storm.asleep;
    if (node == NULL || !node->up || !sim_node_is_paused(node)) { return; }
    node->paused_until_ns = world->now_ns;
    SIM_NOTE(world, node, SIM_TRACE_FAULT, "storm wakes", 0, 0, 0);
    for (uint32_t i = 0; i < 3; i++) {
        (void)!sim_clients_read_through(world, node);
    }
}

static void sleep_long(struct sim_storm_state *self, struct sim_node *node) {
    uint64_t support = self->world->plan.support_ns;
    uint64_t for_ns = prng_between(&self->prng, support, 4 * support);
    sim_node_pause(node, for_ns + 1000000);
    self->asleep = node;
    sim_world_put(self->world, &self->wake, self->world->now_ns + for_ns);
}

// --- Leaders ---

static void on_strike(struct sim_world *world, struct sim_event *event) {
    (void)event;
    struct sim_storm_state *self = &world->storm;
    struct sim_node *node = self->leads;
    if (!node->up) { return; }
    if (world->plan.storm == SIM_STORM_RELEASES) {
        release(self);
        return;
    }
    if (prng_chance(&self->prng, 1, 10)) {
        sim_storm__crash(self, node, 500 * MS);
        return;
    }
    sim_storm__part(self, UINT32_C(1) << node->position, 4 * world->plan.support_ns);
}

// At once, or after some journeys of messages.
static uint64_t soon(struct sim_storm_state *self, uint64_t journeys) {
    if (prng_chance(&self->prng, 2, 5)) { return 1000; }
    return prng_between(&self->prng, 1000, journeys * self->world->plan.delay_ns_max);
}

static uint64_t once_promised(struct sim_storm_state *self) {
    uint64_t at_least = 2 * self->world->plan.delay_ns_max;
    return at_least + prng_below(&self->prng, 50 * MS);
}

void sim_storm_leads(struct sim_storm_state *self, struct sim_node *node, struct shard_id shard) {
    if (!self->on || shard_id_equal(shard, SHARD_CATALOG)) { return; }
    enum sim_storm kind = self->world->plan.storm;
    self->leads = node;
    self->led_ns = self->world->now_ns;
    bool strikes = (kind == SIM_STORM_LEADERS && !prng_chance(&self->prng, 1, 8)) ||
                   (kind == SIM_STORM_MEMBERS && prng_chance(&self->prng, 1, 8)) ||
                   (kind == SIM_STORM_RELEASES && prng_chance(&self->prng, 3, 4));
    if (!strikes || self->severed != NULL) { return; }
    // A release ends a promise: there has to be one.
    uint64_t after_ns = kind == SIM_STORM_RELEASES ? once_promised(self) : soon(self, 6);
    sim_world_put(self->world, &self->strike, self->world->now_ns + after_ns);
}

// Whoever leads in peace is struck too.
static void strike_leaders(struct sim_storm_state *self) {
    if (heap_has(&self->heal.heap) || heap_has(&self->strike.heap)) { return; }
    if (heap_has(&self->sever.heap)) { return; }
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        struct replica *replica = replica_at(self, i);
        if (replica == NULL || !replica_is_leader(replica)) { continue; }
        self->leads = &self->world->nodes[i];
        sim_world_put(self->world, &self->strike, self->world->now_ns + soon(self, 20));
        return;
    }
}

// --- Members ---

static bool votes_in(const struct raft_membership *members, struct node_id node) {
    const struct raft_member *member = raft_membership_find(members, node);
    return member != NULL && member->role == RAFT_VOTER;
}

// With whom the leader is left: nobody, those that do not vote, those that are to vote and do not
// yet, or anyone.
static uint32_t company(struct sim_storm_state *self, uint32_t leader,
                        const struct replica *replica) {
    struct sim_world *world = self->world;
    const struct raft_membership *members = replica_members(replica);
    const struct raft_membership *before = replica_members_committed(replica);
    uint64_t way = prng_below(&self->prng, 6);
    uint32_t side = UINT32_C(1) << leader;
    for (uint32_t i = 0; i < world->plan.node_count && way > 0; i++) {
        struct node_id node = world->nodes[i].id;
        bool votes = votes_in(members, node);
        bool joins = way < 3   ? !votes
                     : way < 5 ? votes && !votes_in(before, node)
                               : prng_chance(&self->prng, 1, 3);
        if (joins) { side |= UINT32_C(1) << i; }
    }
    return side;
}

static bool has_learner(const struct raft_membership *members) {
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->members[i].role == RAFT_LEARNER) { return true; }
    }
    return false;
}

// A replica of a later incarnation knows nothing yet: whoever was cut off may ask for its vote.
static bool newcomer(struct sim_storm_state *self) {
    bool found = false;
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        struct replica *replica = replica_at(self, i);
        if (replica == NULL) { continue; }
        struct replica_frontiers f;
        replica_frontiers(replica, &f);
        if (f.incarnation > self->incarnations[i]) {
            found = true;
            self->newcomer = &self->world->nodes[i];
            self->newcomer_until_ns = self->world->now_ns + 1000 * MS;
        }
        self->incarnations[i] = f.incarnation;
    }
    return found;
}

static bool hits_members(struct sim_storm_state *self, const struct replica *leader, bool new) {
    const struct raft_membership *members = replica_members(leader);
    bool under_way = replica_members_committed(leader)->config_epoch != members->config_epoch;
    bool settled = !under_way && has_learner(members) && prng_chance(&self->prng, 1, 20);
    bool fresh = members->config_epoch != self->epoch && under_way;
    if (fresh) { self->epoch = members->config_epoch; }
    return settled || (fresh && prng_chance(&self->prng, 1, 4)) ||
           (new &&prng_chance(&self->prng, 1, 3));
}

static void strike_members(struct sim_storm_state *self) {
    struct sim_world *world = self->world;
    sim_operator_change(&world->operator);
    bool new = newcomer(self);
    echo_newcomer(self);
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        struct replica *replica = replica_at(self, i);
        if (replica == NULL || !replica_is_leader(replica)) { continue; }
        if (!hits_members(self, replica, new)) { continue; }
        uint64_t for_ns = prng_between(&self->prng, 20, 1500) * MS;
        sim_storm__part(self, company(self, i, replica), for_ns);
        return;
    }
    if (!heap_has(&self->heal.heap) && prng_chance(&self->prng, 1, 100)) {
        // One voter stays behind while the others change.
        uint32_t other = (uint32_t)prng_below(&self->prng, world->plan.node_count);
        sim_storm__part(self, UINT32_C(1) << other, prng_between(&self->prng, 500, 3000) * MS);
    }
}

// --- Transfers ---

static void strike_transfers(struct sim_storm_state *self) {
    struct sim_world *world = self->world;
    if (heap_has(&self->heal.heap) || !prng_chance(&self->prng, 1, 30)) { return; }
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        struct replica *replica = replica_at(self, i);
        if (replica == NULL || !replica_is_leader(replica)) { continue; }
        struct sim_node *node = &world->nodes[i];
        if (sim_node_is_paused(node)) { return; }
        if (prng_chance(&self->prng, 1, 2)) {  // it sleeps longer than its lease
            sleep_long(self, node);
            return;
        }
        uint32_t other = (uint32_t)prng_below(&self->prng, world->plan.node_count);
        SIM_NOTE(world, node, SIM_TRACE_FAULT, "storm transfers", other, 0, 0);
        if (replica_transfer(replica, world->nodes[other].id) != STATUS_OK) { return; }
        sim_node_touch(node);
        self->leads = node;
        sim_world_put(world, &self->strike, world->now_ns + soon(self, 2));
        return;
    }
}

// --- Snapshots ---

static void strike_snapshots(struct sim_storm_state *self) {
    struct sim_world *world = self->world;
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        struct replica *replica = replica_at(self, i);
        if (replica == NULL) { continue; }
        struct replica_frontiers f;
        replica_frontiers(replica, &f);
        bool got = f.health == RAFT_WHOLE && !self->whole[i];
        self->whole[i] = f.health == RAFT_WHOLE;
        if (got && prng_chance(&self->prng, 1, 2)) {
            sim_storm__crash(self, &world->nodes[i], 400 * MS);
            return;
        }
    }
    if (prng_chance(&self->prng, 1, 200)) {
        sim_storm__crash(self, &world->nodes[prng_below(&self->prng, world->plan.node_count)],
                         400 * MS);
    } else if (!heap_has(&self->heal.heap) && prng_chance(&self->prng, 1, 100)) {
        uint32_t away = (uint32_t)prng_below(&self->prng, world->plan.node_count);
        sim_storm__part(self, UINT32_C(1) << away, prng_between(&self->prng, 50, 1200) * MS);
    }
}

// --- Life ---

static void on_tick(struct sim_world *world, struct sim_event *event) {
    struct sim_storm_state *self = &world->storm;
    sim_world_put(world, event, world->now_ns + TICK_NS);
    switch (world->plan.storm) {
    case SIM_STORM_MEMBERS:
        strike_members(self);
        break;
    case SIM_STORM_TRANSFERS:
        strike_transfers(self);
        break;
    case SIM_STORM_SNAPSHOTS:
        strike_snapshots(self);
        break;
    case SIM_STORM_LEADERS:
        strike_leaders(self);
        break;
    case SIM_STORM_RELEASES:
        read_severed(self);
        if (prng_chance(&self->prng, 1, 60)) { strike_leaders(self); }
        break;
    case SIM_STORM_COMMITS:
        sim_storm__strike_commits(self);
        break;
    case SIM_STORM_NONE:
    case SIM_STORM_COUNT:
        break;
    }
}

void sim_storm_init(struct sim_storm_state *self, struct sim_world *world) {
    *self = (struct sim_storm_state){.world = world};
    prng_init(&self->prng, hash64_u64(world->plan.seed ^ UINT64_C(0x6c6f6f6b)));
    self->tick = (struct sim_event){.fire = on_tick};
    self->strike = (struct sim_event){.fire = on_strike};
    self->sever = (struct sim_event){.fire = on_sever};
    self->heal = (struct sim_event){.fire = on_heal};
    self->wake = (struct sim_event){.fire = on_wake};
    self->dull = (struct sim_event){.fire = sim_storm__on_dull};
    self->glance = (struct sim_event){.fire = sim_storm__on_glance};
}

void sim_storm_deinit(struct sim_storm_state *self) {
    for (uint32_t i = 0; i < SIM_STORM_KEPT_MAX; i++) {
        bytes_unref(self->kept[i].body);
    }
}

void sim_storm_start(struct sim_storm_state *self) {
    if (self->world->plan.storm == SIM_STORM_NONE) { return; }
    self->on = true;
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        self->whole[i] = true;
    }
    sim_world_put(self->world, &self->tick, self->world->now_ns + TICK_NS);
}

void sim_storm_stop(struct sim_storm_state *self) {
    if (!self->on) { return; }
    self->on = false;
    sim_world_cancel(self->world, &self->tick);
    sim_world_cancel(self->world, &self->strike);
    sim_world_cancel(self->world, &self->sever);
    sim_world_cancel(self->world, &self->wake);
    sim_world_cancel(self->world, &self->dull);
    sim_world_cancel(self->world, &self->glance);
    open_links(self);
}
