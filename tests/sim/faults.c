// SPDX-License-Identifier: Apache-2.0
// One nemesis steps at random intervals and picks one of the plan's faults. Partitions are sets of
// blocked links, so that several overlap without knowing of each other. Crashed nodes come back and
// paused ones go on by themselves.
#include "tests/sim/faults.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "tests/sim/damage.h"
#include "tests/sim/disk/sim_engine.h"
#include "tests/sim/world.h"

#include <string.h>

static uint64_t draw_duration(struct sim_faults *self) {
    return prng_between(&self->prng, 1000000, self->world->plan.fault_lasts_ns);
}

static uint32_t draw_node(struct sim_faults *self) {
    return (uint32_t)prng_below(&self->prng, self->world->plan.node_count);
}

// --- Partitions ---

static void block(struct sim_partition *self, uint32_t from, uint32_t to) {
    if (from != to) { self->blocks[from][to] = true; }
}

static void apply_blocks(struct sim_world *world, const struct sim_partition *self, bool add) {
    for (uint32_t a = 0; a < SIM_NODES_MAX; a++) {
        for (uint32_t b = 0; b < SIM_NODES_MAX; b++) {
            if (!self->blocks[a][b]) { continue; }
            ASSERT(add || world->net.blocked[a][b] > 0);
            world->net.blocked[a][b] += add ? 1 : UINT32_MAX;
        }
    }
}

static void set_blocking(struct sim_world *world, struct sim_partition *self, bool on) {
    if (self->blocking == on) { return; }
    self->blocking = on;
    apply_blocks(world, self, on);
}

static void end_partition(struct sim_world *world, struct sim_partition *self) {
    if (!self->active) { return; }
    self->active = false;
    sim_world_cancel(world, &self->end);
    sim_world_cancel(world, &self->flap);
    set_blocking(world, self, false);
    memset(self->blocks, 0, sizeof(self->blocks));
    SIM_NOTE(world, NULL, SIM_TRACE_FAULT, "links open", 0, 0, 0);
}

static void on_flap(struct sim_world *world, struct sim_event *event) {
    struct sim_partition *self =
        (struct sim_partition *)((char *)event - offsetof(struct sim_partition, flap));
    set_blocking(world, self, !self->blocking);
    uint64_t after = prng_between(&world->faults.prng, self->flap_ns / 4, self->flap_ns);
    sim_world_put(world, &self->flap, world->now_ns + after);
}

static void on_partition_end(struct sim_world *world, struct sim_event *event) {
    end_partition(world,
                  (struct sim_partition *)((char *)event - offsetof(struct sim_partition, end)));
}

static struct sim_partition *free_partition(struct sim_faults *self) {
    for (uint32_t i = 0; i < SIM_FAULTS_ACTIVE_MAX; i++) {
        if (!self->partitions[i].active) { return &self->partitions[i]; }
    }
    return NULL;
}

static void split_groups(struct sim_partition *self, uint32_t count, uint32_t side,
                         uint32_t bridge) {
    for (uint32_t a = 0; a < count; a++) {
        for (uint32_t b = 0; b < count; b++) {
            bool apart = (side >> a & 1) != (side >> b & 1);
            if (apart && a != bridge && b != bridge) { block(self, a, b); }
        }
    }
}

static void cut_off(struct sim_faults *self, struct sim_partition *partition, uint32_t node) {
    for (uint32_t other = 0; other < self->world->plan.node_count; other++) {
        block(partition, node, other);
        block(partition, other, node);
    }
}

// Each node hears just enough others for a majority, and no two hear the same ones. Three of them
// hear one neighbour each, in a circle.
static void ring(struct sim_faults *self, struct sim_partition *partition) {
    uint32_t count = self->world->plan.node_count;
    uint32_t stride = (uint32_t)prng_between(&self->prng, 1, count / 2);
    for (uint32_t a = 0; a < count; a++) {
        for (uint32_t b = 0; b < count; b++) {
            uint32_t apart = (b + count - a) % count;
            bool hears = apart == stride || (count > 3 && apart == count - stride);
            if (!hears) { block(partition, a, b); }
        }
    }
}

static uint32_t some_leader(struct sim_faults *self) {
    struct sim_world *world = self->world;
    const struct sim_shard_record *shard =
        &world->checks.shards[prng_below(&self->prng, world->checks.shard_count)];
    uint32_t first = draw_node(self);
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        struct sim_node *node = &world->nodes[(first + i) % world->plan.node_count];
        if (!node->up) { continue; }
        struct replica *replica = replica_table_find(node_core_table(node->core), shard->id);
        if (replica != NULL && replica_is_leader(replica)) { return node->position; }
    }
    return first;
}

static void draw_partition(struct sim_faults *self, struct sim_partition *p, enum sim_fault kind) {
    uint32_t count = self->world->plan.node_count;
    uint32_t side = (uint32_t)prng_between(&self->prng, 1, (UINT64_C(1) << count) - 2);
    if (kind == SIM_FAULT_HALVES) {
        split_groups(p, count, side, UINT32_MAX);
    } else if (kind == SIM_FAULT_BRIDGE) {
        split_groups(p, count, side, draw_node(self));
    } else if (kind == SIM_FAULT_RING) {
        ring(self, p);
    } else if (kind == SIM_FAULT_ISOLATE) {
        cut_off(self, p, some_leader(self));
    } else if (kind == SIM_FAULT_CATALOG) {
        uint32_t members = self->world->plan.member_count;
        uint32_t first = (uint32_t)prng_below(&self->prng, members);
        for (uint32_t i = 0; i < members / 2 + 1; i++) {
            cut_off(self, p, (first + i) % members);
        }
    } else {
        for (uint32_t i = 0; i < count; i++) {
            uint32_t from = draw_node(self);
            block(p, from, draw_node(self));
        }
    }
}

static void start_partition(struct sim_faults *self, struct sim_partition *p, enum sim_fault kind) {
    p->active = true;
    p->end = (struct sim_event){.fire = on_partition_end};
    p->flap = (struct sim_event){.fire = on_flap};
    set_blocking(self->world, p, true);
    uint64_t bits = 0;
    for (uint32_t a = 0; a < SIM_NODES_MAX; a++) {
        for (uint32_t b = 0; b < SIM_NODES_MAX; b++) {
            bits |= (uint64_t)p->blocks[a][b] << (8 * a + b);
        }
    }
    SIM_NOTE(self->world, NULL, SIM_TRACE_FAULT, sim_fault_name(kind), 0, 0, bits);
    sim_world_put(self->world, &p->end, self->world->now_ns + draw_duration(self));
    if (kind != SIM_FAULT_FLAP) { return; }
    p->flap_ns = prng_between(&self->prng, 4000000, 400000000);
    sim_world_put(self->world, &p->flap, self->world->now_ns + p->flap_ns);
}

static void partition(struct sim_faults *self, enum sim_fault kind) {
    struct sim_partition *p = free_partition(self);
    if (p == NULL) { return; }
    draw_partition(self, p, kind);
    start_partition(self, p, kind);
}

static void slow_links(struct sim_faults *self) {
    struct sim_net *net = &self->world->net;
    uint64_t until = self->world->now_ns + draw_duration(self);
    for (uint64_t left = prng_between(&self->prng, 1, 4); left > 0; left--) {
        uint32_t from = draw_node(self);
        uint32_t to = draw_node(self);
        net->slower_ns[from][to] = prng_between(&self->prng, 5000000, 800000000);
        net->slower_until_ns[from][to] = until;
        SIM_NOTE(self->world, NULL, SIM_TRACE_FAULT, "slow_link", from + 1, to + 1, 0);
    }
}

// --- Nodes ---

static void crash(struct sim_faults *self, struct sim_node *node) {
    if (!node->up) { return; }
    sim_node_crash(node);
    sim_world_put(self->world, &node->restart, self->world->now_ns + draw_duration(self));
}

static void crash_all(struct sim_faults *self) {
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        crash(self, &self->world->nodes[i]);
    }
}

// One node after the other, as an upgrade does it.
static void on_rolling(struct sim_world *world, struct sim_event *event) {
    (void)event;
    struct sim_faults *self = &world->faults;
    if (self->rolling_left == 0) { return; }
    struct sim_node *node = &world->nodes[--self->rolling_left];
    uint64_t down = prng_between(&self->prng, 1, 400) * 1000000;
    if (node->up) {
        sim_node_crash(node);
        sim_world_put(world, &node->restart, world->now_ns + down);
    }
    uint64_t next = down + prng_between(&self->prng, 1, 3000) * 1000000;
    sim_world_put(world, &self->rolling, world->now_ns + next);
}

static void rolling(struct sim_faults *self) {
    if (heap_has(&self->rolling.heap)) { return; }
    self->rolling_left = self->world->plan.node_count;
    self->rolling.fire = on_rolling;
    SIM_NOTE(self->world, NULL, SIM_TRACE_FAULT, "rolling", 0, 0, 0);
    sim_world_put(self->world, &self->rolling, self->world->now_ns);
}

// The sharpest test of promises that must survive a restart: whoever fortified the leader comes
// back within its lease, while the leader hears of nothing and serves on.
static void orphan(struct sim_faults *self) {
    struct sim_partition *p = free_partition(self);
    if (p == NULL) { return; }
    uint32_t leader = some_leader(self);
    cut_off(self, p, leader);
    start_partition(self, p, SIM_FAULT_ORPHAN);
    for (uint32_t i = 0; i < self->world->plan.node_count; i++) {
        struct sim_node *node = &self->world->nodes[i];
        if (i == leader || !node->up) { continue; }
        sim_node_crash(node);
        uint64_t down = prng_between(&self->prng, 1000000, 60000000);
        sim_world_put(self->world, &node->restart, self->world->now_ns + down);
    }
}

static void pause_node(struct sim_faults *self) {
    struct sim_node *node = &self->world->nodes[draw_node(self)];
    uint64_t lasts = draw_duration(self);
    if (!node->up) { return; }
    SIM_NOTE(self->world, node, SIM_TRACE_FAULT, "pause", lasts, 0, 0);
    sim_node_pause(node, lasts);
}

static void clock_jump(struct sim_faults *self) {
    struct sim_node *node = &self->world->nodes[draw_node(self)];
    // Beyond the lead that nodes refuse (1 s, less the ceiling's 400 ms) only in worlds of hours.
    uint64_t most_us = prng_between(&self->prng, 1000, 400000);
    if (self->world->plan.clock_hours && prng_chance(&self->prng, 1, 3)) {
        most_us = UINT64_C(5) * 3600 * 1000000;
    }
    node->wall_offset_us = (int64_t)prng_between(&self->prng, 0, 2 * most_us) - (int64_t)most_us;
    SIM_NOTE(self->world, node, SIM_TRACE_FAULT, "clock_jump", node->wall_offset_us, 0, 0);
}

static void on_strobe(struct sim_world *world, struct sim_event *event) {
    struct sim_strobe *self = (struct sim_strobe *)event;
    if (world->now_ns >= self->until_ns) { return; }
    self->node->wall_offset_us = self->offsets_us[self->turn++ % 2];
    sim_world_put(world, &self->next, world->now_ns + self->every_ns);
}

static void strobe(struct sim_faults *self) {
    struct sim_node *node = &self->world->nodes[draw_node(self)];
    struct sim_strobe *strobe = &self->strobes[node->position];
    uint64_t apart = prng_between(&self->prng, 1000, 400000);
    uint64_t every = prng_between(&self->prng, 1, 300) * 1000000;
    if (heap_has(&strobe->next.heap)) { return; }
    *strobe = (struct sim_strobe){.next = {.fire = on_strobe}, .node = node, .every_ns = every};
    strobe->offsets_us[0] = (int64_t)prng_between(&self->prng, 0, apart) - (int64_t)(apart / 2);
    strobe->offsets_us[1] =
        strobe->offsets_us[0] > 0 ? -(int64_t)(apart / 2) : (int64_t)(apart / 2);
    strobe->until_ns = self->world->now_ns + draw_duration(self);
    SIM_NOTE(self->world, node, SIM_TRACE_FAULT, "strobe", apart, every, 0);
    sim_world_put(self->world, &strobe->next, self->world->now_ns);
}

static void break_disk(struct sim_faults *self, enum sim_disk_trouble trouble) {
    struct sim_node *node = &self->world->nodes[draw_node(self)];
    uint64_t down = draw_duration(self);
    if (!node->up || node->trouble != SIM_DISK_WELL) { return; }
    node->trouble = trouble;
    node->trouble_down_ns = down;
    SIM_NOTE(self->world, node, SIM_TRACE_FAULT, "disk", (uint64_t)trouble, 0, 0);
    // Or the other store has no room: the node stops itself over its next apply.
    if (trouble == SIM_DISK_FULL && (down & 1) != 0) {
        node->trouble = SIM_DISK_WELL;
        node->data_full = true;
        sim_engine_set_full(node->data_engine, true);
    }
}

static void stall_disk(struct sim_faults *self) {
    struct sim_node *node = &self->world->nodes[draw_node(self)];
    uint64_t most = 20 * self->world->plan.disk_slow_ns;
    node->stall_ns = prng_between(&self->prng, self->world->plan.disk_slow_ns / 2, most);
    node->trouble_down_ns = draw_duration(self);
    SIM_NOTE(self->world, node, SIM_TRACE_FAULT, "disk_stall", node->stall_ns, 0, 0);
}

// The catalogue knows so many nodes and no more, those that are gone among them.
static bool has_identity_left(const struct sim_world *world) {
    const struct catalog *catalog = sim_newest_catalog(world);
    uint32_t given = catalog != NULL ? catalog_node_count(catalog) : CATALOG_NODES_MAX;
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        given += world->nodes[i].id.v == 0 ? 1 : 0;
    }
    return given < CATALOG_NODES_MAX;
}

// Losses for good, as far as the budget allows. The catalogue's own group cannot be moved: its
// nodes are not wiped.
static void lose(struct sim_faults *self, enum sim_fault kind) {
    struct sim_world *world = self->world;
    struct sim_node *node = &world->nodes[draw_node(self)];
    uint64_t down = draw_duration(self);
    bool wipes = kind == SIM_FAULT_WIPE;
    if (wipes && node->position < world->plan.member_count) { return; }
    if (!node->up || !sim_damage_allowed(world, node)) { return; }
    if (wipes && !has_identity_left(world)) { return; }
    sim_node_crash(node);
    if (wipes) {
        sim_damage_wipe(world, node);  // the operator gives it an identity
        return;
    }
    sim_damage_rot(world, node, &self->prng);
    sim_world_put(world, &node->restart, world->now_ns + down);
}

static void slow_disk(struct sim_faults *self) {
    struct sim_node *node = &self->world->nodes[draw_node(self)];
    node->slow_disk_until_ns = self->world->now_ns + draw_duration(self);
    SIM_NOTE(self->world, node, SIM_TRACE_FAULT, "slow_disk", 0, 0, 0);
}

// --- Leaderships ---

static void transfer(struct sim_faults *self) {
    struct sim_world *world = self->world;
    struct sim_node *node = &world->nodes[some_leader(self)];
    struct node_id target = world->nodes[draw_node(self)].id;
    const struct sim_shard_record *shard =
        &world->checks.shards[prng_below(&self->prng, world->checks.shard_count)];
    if (!node->up || sim_node_is_paused(node)) { return; }
    struct replica *replica = replica_table_find(node_core_table(node->core), shard->id);
    if (replica == NULL) { return; }
    SIM_NOTE(world, node, SIM_TRACE_FAULT, "transfer", shard->id.v, target.v, 0);
    // Refused by who does not lead: then nothing happens.
    enum status st = replica_transfer(replica, target);
    ASSERT(st != STATUS_CORRUPT);
    sim_node_touch(node);
}

static void resign(struct sim_faults *self) {
    struct sim_node *node = &self->world->nodes[draw_node(self)];
    if (!node->up || sim_node_is_paused(node)) { return; }
    SIM_NOTE(self->world, node, SIM_TRACE_FAULT, "resign", 0, 0, 0);
    replica_table_resign(node_core_table(node->core), false);
    sim_node_touch(node);
}

// --- Steps ---

static void begin_on_links(struct sim_faults *self, enum sim_fault kind) {
    if (kind == SIM_FAULT_SLOW_LINK) {
        slow_links(self);
    } else {
        partition(self, kind);
    }
}

static void begin_on_disk(struct sim_faults *self, enum sim_fault kind) {
    if (kind == SIM_FAULT_SLOW_DISK) {
        slow_disk(self);
    } else if (kind == SIM_FAULT_DISK_STALL) {
        stall_disk(self);
    } else if (kind == SIM_FAULT_FULL_DISK) {
        break_disk(self, SIM_DISK_FULL);
    } else if (kind == SIM_FAULT_SYNC_ERROR) {
        break_disk(self, SIM_DISK_SYNC_FAILS);
    } else {
        lose(self, kind);
    }
}

static void begin(struct sim_faults *self, enum sim_fault kind) {
    self->counts[kind]++;
    self->begun++;
    switch (kind) {
    case SIM_FAULT_HALVES:
    case SIM_FAULT_ONE_WAY:
    case SIM_FAULT_BRIDGE:
    case SIM_FAULT_ISOLATE:
    case SIM_FAULT_CATALOG:
    case SIM_FAULT_RING:
    case SIM_FAULT_FLAP:
    case SIM_FAULT_SLOW_LINK:
        begin_on_links(self, kind);
        break;
    case SIM_FAULT_SLOW_DISK:
    case SIM_FAULT_DISK_STALL:
    case SIM_FAULT_FULL_DISK:
    case SIM_FAULT_SYNC_ERROR:
    case SIM_FAULT_LOG_ROT:
    case SIM_FAULT_WIPE:
        begin_on_disk(self, kind);
        break;
    case SIM_FAULT_STROBE:
        strobe(self);
        break;
    case SIM_FAULT_CLOCK_JUMP:
        clock_jump(self);
        break;
    case SIM_FAULT_ROLLING:
        rolling(self);
        break;
    case SIM_FAULT_CRASH:
        crash(self, &self->world->nodes[draw_node(self)]);
        break;
    case SIM_FAULT_CRASH_ALL:
        crash_all(self);
        break;
    case SIM_FAULT_ORPHAN:
        orphan(self);
        break;
    case SIM_FAULT_PAUSE:
        pause_node(self);
        break;
    case SIM_FAULT_MEMBERS:
        sim_operator_change(&self->world->operator);
        break;
    case SIM_FAULT_TRANSFER:
        transfer(self);
        break;
    case SIM_FAULT_RESIGN:
        resign(self);
        break;
    case SIM_FAULT_DROP:  // these are always on
    case SIM_FAULT_DUPLICATE:
    case SIM_FAULT_REORDER:
    case SIM_FAULT_SLOW_NET:
    case SIM_FAULT_CLOCK_RATE:
    case SIM_FAULT_SLOW_CPU:
    case SIM_FAULT_REPLAY:
    case SIM_FAULT_OLD_FORMAT:
    case SIM_FAULT_COUNT:
        break;
    }
}

static void schedule(struct sim_faults *self) {
    uint64_t every = self->world->plan.fault_every_ns;
    uint64_t after = prng_between(&self->prng, every / 4, every * 7 / 4);
    sim_world_put(self->world, &self->next, self->world->now_ns + after);
}

// These are there all the time, or not at all.
static bool is_standing(enum sim_fault kind) {
    static const uint64_t standing =
        UINT64_C(1) << SIM_FAULT_DROP | UINT64_C(1) << SIM_FAULT_DUPLICATE |
        UINT64_C(1) << SIM_FAULT_REORDER | UINT64_C(1) << SIM_FAULT_SLOW_NET |
        UINT64_C(1) << SIM_FAULT_CLOCK_RATE | UINT64_C(1) << SIM_FAULT_SLOW_CPU |
        UINT64_C(1) << SIM_FAULT_REPLAY | UINT64_C(1) << SIM_FAULT_OLD_FORMAT;
    return (standing >> kind & 1) != 0;
}

static void on_next(struct sim_world *world, struct sim_event *event) {
    (void)event;
    struct sim_faults *self = &world->faults;
    if (self->begun >= world->plan.fault_max) { return; }
    enum sim_fault kind = (enum sim_fault)prng_below(&self->prng, SIM_FAULT_COUNT);
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {  // the next one that the plan has
        if ((world->plan.faults >> kind & 1) != 0 && !is_standing(kind)) {
            begin(self, kind);
            break;
        }
        kind = (enum sim_fault)((kind + 1) % SIM_FAULT_COUNT);
    }
    schedule(self);
}

void sim_faults_init(struct sim_faults *self, struct sim_world *world) {
    *self = (struct sim_faults){.world = world, .next = {.fire = on_next}};
    prng_init(&self->prng, hash64_u64(world->plan.seed ^ UINT64_C(0x6661756c74)));
}

void sim_faults_start(struct sim_faults *self) {
    schedule(self);
}

void sim_faults_pause(struct sim_faults *self) {
    sim_world_cancel(self->world, &self->next);
}

void sim_faults_stop(struct sim_faults *self) {
    sim_storm_stop(&self->world->storm);
    sim_world_cancel(self->world, &self->next);
    sim_world_cancel(self->world, &self->rolling);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        sim_world_cancel(self->world, &self->strobes[i].next);
    }
    for (uint32_t i = 0; i < SIM_FAULTS_ACTIVE_MAX; i++) {
        end_partition(self->world, &self->partitions[i]);
    }
}

static void heal_node(struct sim_node *node) {
    node->wall_offset_us = 0;
    node->wall_ppm = 0;
    node->slow_disk_until_ns = 0;
    node->trouble = SIM_DISK_WELL;
    node->stall_ns = 0;
    if (node->data_full) { sim_engine_set_full(node->data_engine, false); }
    node->data_full = false;
    if (!node->up && node->id.v != 0) { sim_node_start(node); }
}

static void break_for_good(struct sim_faults *self, struct sim_node *node) {
    struct sim_world *world = self->world;
    uint64_t way = prng_below(&self->prng, 4);
    struct sim_partition *p = free_partition(self);
    node->paused_until_ns = 0;
    SIM_NOTE(world, node, SIM_TRACE_FAULT, "broken for good", way, 0, 0);
    if (way == 0 || p == NULL) {
        if (node->up) { sim_node_crash(node); }
        sim_world_cancel(world, &node->restart);
        return;
    }
    for (uint32_t other = 0; other < world->plan.node_count; other++) {
        if (way != 2) { block(p, node->position, other); }
        if (way != 3) { block(p, other, node->position); }
    }
    p->active = true;
    set_blocking(world, p, true);
    if (!node->up) { sim_node_start(node); }
}

void sim_faults_heal_but(struct sim_faults *self, uint32_t broken) {
    struct sim_world *world = self->world;
    sim_faults_stop(self);
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        if ((broken >> i & 1) != 0) {
            break_for_good(self, &world->nodes[i]);
        } else {
            heal_node(&world->nodes[i]);
        }
    }
    world->net.calm = true;
}

void sim_faults_heal(struct sim_faults *self) {
    sim_faults_heal_but(self, 0);
}
