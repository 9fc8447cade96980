// SPDX-License-Identifier: Apache-2.0
// Clocks: the monotonic one runs at its own rate and survives restarts; the wall clock has an
// offset and a drift. Timers are set on the node's clock and fire when the world's clock has caught
// up.
//
// Disks: a group is handed to the log store at once but durable only when its sync ends, so that a
// crash in between may keep or lose it. The data store is durable up to the beginning of the last
// finished flush.
#include "tests/sim/node.h"

#include "api/node/node_skew.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mutant.h"
#include "tests/sim/damage.h"
#include "tests/sim/disk/sim_engine.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdio.h>

#define WALL_BASE_US UINT64_C(1795000000000000)  // November 2026
#define PPM          1000000
enum { FLUSH_SOON_NS = 1000000, TIMER_GRAIN_NS = 10000, LYING_GROUPS = 20 };

// --- Clocks ---

uint64_t sim_node_mono_ns(struct sim_node *self) {
    const uint64_t now = self->world->now_ns;
    if (self->read_at_ns == now) { return self->read_mono_ns; }
    self->read_at_ns = now;
    self->read_mono_ns = self->mono_base_ns + now / PPM * (uint64_t)(PPM + self->mono_ppm) +
                         now % PPM * (uint64_t)(PPM + self->mono_ppm) / PPM;
    return self->read_mono_ns;
}

// The world's time at which the node's monotonic clock has reached an instant.
static uint64_t world_time_of(struct sim_node *self, uint64_t mono_ns) {
    uint64_t now = sim_node_mono_ns(self);
    if (mono_ns <= now) { return self->world->now_ns; }
    uint64_t left = mono_ns - now;
    if (left > UINT64_C(1000) * 1000000000) { left = UINT64_C(1000) * 1000000000; }
    return self->world->now_ns + left * PPM / (uint64_t)(PPM + self->mono_ppm) + 1;
}

uint64_t sim_node_wall_us(const struct sim_node *self) {
    int64_t elapsed = (int64_t)(self->world->now_ns / 1000);
    int64_t drift = elapsed / PPM * self->wall_ppm + elapsed % PPM * self->wall_ppm / PPM;
    return WALL_BASE_US + (uint64_t)(elapsed + drift + self->wall_offset_us);
}

static uint64_t env_monotonic(void *ctx) {
    return sim_node_mono_ns(ctx);
}
static uint64_t env_wall(void *ctx) {
    return sim_node_wall_us(ctx);
}
static uint64_t env_draw(void *ctx) {
    struct sim_node *self = ctx;
    return prng_next(&self->prng);
}
static void env_post(void *ctx, struct node_id peer, enum peer_message_type type,
                     struct slice body) {
    struct sim_node *self = ctx;
    sim_net_send(&self->world->net, self, peer, type, body);
}

// --- Disks ---

static uint64_t sync_time(struct sim_node *self) {
    const struct sim_plan *plan = &self->world->plan;
    uint64_t takes = prng_between(&self->prng, plan->sync_ns_min, plan->sync_ns_max);
    takes *= self->sync_scale;
    uint64_t slow = prng_between(&self->prng, 10, 400) * 1000000;
    return self->world->now_ns < self->slow_disk_until_ns ? takes + slow : takes;
}

// Once for each stall that was begun.
static uint64_t stall_time(struct sim_node *self) {
    uint64_t hangs = self->stall_ns;
    self->stall_ns = 0;
    return hangs;
}

static void writer_start(void *ctx, struct raftlog_group *group) {
    struct sim_node *self = ctx;
    ASSERT(self->group == NULL);
    self->group = group;
    self->sync_begun_ns = self->world->now_ns;
    if (self->core != NULL) { node_core_on_sync_started(self->core); }
    // A full disk takes nothing of it; after a sync that failed any part of it may be there.
    if (self->trouble != SIM_DISK_FULL) { raftlog_group_write(group); }
    if (self->trouble == SIM_DISK_SYNC_FAILS && MUTANT(SYNC_ERROR_IGNORED)) {
        self->trouble = SIM_DISK_WELL;
        self->sync_hole = true;  // recovery ends at the hole
    }
    if (self->trouble != SIM_DISK_WELL) {
        sim_world_put(self->world, &self->stop, self->world->now_ns);
        return;
    }
    self->group_sequence = sim_engine_sequence(self->log_engine);
    sim_world_put(self->world, &self->sync_done,
                  self->world->now_ns + sync_time(self) + stall_time(self));
}

static void on_sync_done(struct sim_world *world, struct sim_event *event) {
    struct sim_node *self = event->node;
    struct raftlog_group *group = self->group;
    SIM_NOTE(world, self, SIM_TRACE_LOG, "synced", self->group_sequence, 0, 0);
    self->group = NULL;
    bool lies = world->plan.mutant == SIM_MUTANT_LYING_DISK;
    if (!self->sync_hole && (!lies || ++self->durable_lag % LYING_GROUPS == 0)) {
        sim_engine_make_durable(self->log_engine, self->group_sequence);
    }
    node_core_on_sync_finished(self->core);
    raftlog_group_done(self->log, group);
    sim_node_touch(self);
}

static void on_durable(void *ctx, const struct log_completion *items, uint32_t count) {
    struct sim_node *self = ctx;
    node_core_on_durable(self->core, items, count);
}

// Begins a flush, or ends the one under way.
static void on_flush(struct sim_world *world, struct sim_event *event) {
    struct sim_node *self = event->node;
    uint64_t next = prng_between(&self->prng, world->plan.flush_ns / 2, world->plan.flush_ns);
    if (self->flushing) {
        self->flushing = false;
        sim_engine_make_durable(self->data_engine, self->flush_sequence);
        SIM_NOTE(world, self, SIM_TRACE_FLUSH, "flushed", self->flush_sequence, 0, 0);
        node_core_flush_done(self->core, true);
        sim_node_touch(self);
    } else if (node_core_flush_begin(self->core)) {
        self->flushing = true;
        self->flush_sequence = sim_engine_sequence(self->data_engine);
        next = sync_time(self) * 4 + stall_time(self) + world->plan.flush_slow_ns;
    }
    sim_world_put(world, &self->flush, world->now_ns + next);
}

// --- Turns ---

void sim_node_touch(struct sim_node *self) {
    if (self->touched || heap_has(&self->turn.heap)) { return; }
    uint64_t longest = self->world->net.calm ? 0 : self->world->plan.turn_ns_max;
    if (longest == 0 && !sim_node_is_paused(self)) {
        self->touched = true;
        self->world->touched++;
        return;
    }
    uint64_t after = longest == 0 ? 0 : prng_below(&self->prng, longest);
    sim_world_put(self->world, &self->turn, self->world->now_ns + after);
}

static void set_timer(struct sim_node *self) {
    uint64_t at = world_time_of(self, node_core_deadline_ns(self->core));
    uint64_t soonest = self->world->now_ns + TIMER_GRAIN_NS;
    if (at < soonest) { at = soonest; }
    if (heap_has(&self->timer.heap) && self->timer.heap.key == at) { return; }
    sim_world_put(self->world, &self->timer, at);
}

// What a mutant of the release before does not know.
static void set_release(const struct sim_node *self) {
    bool mixed = (self->world->plan.faults >> SIM_FAULT_OLD_FORMAT & 1) != 0;
    (void)mixed;
#ifdef LIGHTCONE_MUTANTS
    mutant_old_release = mixed && !self->upgraded;
#endif
}

void sim_node_turn(struct sim_node *self) {
    struct sim_world *world = self->world;
    if (!self->touched) { return; }
    self->touched = false;
    world->touched--;
    if (!self->up) { return; }
    world->acting = self;
    set_release(self);
    node_core_turn(self->core);
    struct node_disk_status disk;
    node_core_disk(self->core, &disk);
    if (disk.state == NODE_DISK_FAILED && !heap_has(&self->stop.heap)) {
        sim_world_put(world, &self->stop, world->now_ns);
    }
    if (node_core_flush_wanted(self->core) && !self->flushing) {
        uint64_t soon = world->now_ns + FLUSH_SOON_NS;
        if (self->flush.heap.key > soon) { sim_world_put(world, &self->flush, soon); }
    }
    set_timer(self);
    SIM_NOTE(world, self, SIM_TRACE_TURN, "", 0, 0, 0);
    sim_checks_turn(&world->checks, self);
    sim_waits_turn(&world->waits, self);
}

static void on_turn(struct sim_world *world, struct sim_event *event) {
    struct sim_node *self = event->node;
    self->touched = true;
    world->touched++;
    sim_node_turn(self);
}

static void on_timer(struct sim_world *world, struct sim_event *event) {
    struct sim_node *self = event->node;
    SIM_NOTE(world, self, SIM_TRACE_TIMER, "", 0, 0, 0);
    node_core_on_time(self->core);
    sim_node_touch(self);
}

// --- Life ---

static void on_restart(struct sim_world *world, struct sim_event *event) {
    struct sim_node *self = (struct sim_node *)((char *)event - offsetof(struct sim_node, restart));
    world->acting = self;
    sim_node_start(self);
}

static void on_stop(struct sim_world *world, struct sim_event *event) {
    struct sim_node *self = event->node;
    self->trouble = SIM_DISK_WELL;
    sim_node_crash(self);
    sim_world_put(world, &self->restart, world->now_ns + self->trouble_down_ns);
}

static void draw_clocks(struct sim_node *self) {
    const struct sim_plan *plan = &self->world->plan;
    self->read_at_ns = 0;  // before the world begins
    self->mono_base_ns = prng_between(&self->prng, 1, 1000000) * 1000000;
    int64_t rate = (int64_t)prng_between(&self->prng, 0, 2 * (uint64_t)plan->rate_ppm);
    self->mono_ppm = rate - (int64_t)plan->rate_ppm;
    if (plan->rate_ppm == 95000) {  // the very ends
        self->mono_ppm = prng_chance(&self->prng, 1, 2) ? 95000 : -95000;
    }
    if (plan->mutant == SIM_MUTANT_WILD_CLOCK) {
        self->mono_ppm = self->position > 0 ? 500000 : -500000;
    }
    int64_t drift = (int64_t)prng_between(&self->prng, 0, 2 * (uint64_t)plan->drift_ppm);
    self->wall_ppm = drift - (int64_t)plan->drift_ppm;
    self->wall_offset_us =
        (int64_t)prng_between(&self->prng, 0, 2 * plan->wall_us_max) - (int64_t)plan->wall_us_max;
}

void sim_node_init(struct sim_node *self, struct sim_world *world, uint32_t position) {
    *self = (struct sim_node){.world = world, .position = position};
    if (position < world->plan.member_count) { self->id.v = position + 1; }
    prng_init(&self->prng, hash64_u64(world->plan.seed) + position);
    self->incarnation = prng_next(&self->prng) | 1;
    draw_clocks(self);
    // A disk much slower than the network shows who answers before his own is done.
    self->sync_scale = prng_chance(&self->prng, 1, 3) ? prng_between(&self->prng, 2, 30) : 1;
    struct sim_engine_options options = {.deferred = true};
    self->log_engine = sim_engine_create(&options);
    self->data_engine = sim_engine_create(&options);
    self->env = (struct env){.ctx = self,
                             .monotonic_ns = env_monotonic,
                             .wall_us = env_wall,
                             .random = env_draw,
                             .send = env_post};
    self->timer = (struct sim_event){.fire = on_timer, .node = self};
    self->turn = (struct sim_event){.fire = on_turn, .node = self};
    self->sync_done = (struct sim_event){.fire = on_sync_done, .node = self};
    self->flush = (struct sim_event){.fire = on_flush, .node = self};
    self->stop = (struct sim_event){.fire = on_stop, .node = self};
    self->restart = (struct sim_event){.fire = on_restart};
}

static void cancel_events(struct sim_node *self) {
    sim_world_cancel(self->world, &self->timer);
    sim_world_cancel(self->world, &self->turn);
    sim_world_cancel(self->world, &self->sync_done);
    sim_world_cancel(self->world, &self->flush);
    sim_world_cancel(self->world, &self->stop);
}

static void lose_memory(struct sim_node *self) {
    uint64_t log_lost = sim_engine_crash(self->log_engine, &self->prng);
    uint64_t data_lost = sim_engine_crash(self->data_engine, &self->prng);
    self->paused_until_ns = 0;
    sim_checks_lost(&self->world->checks, self, sim_engine_sequence(self->log_engine));
    self->sync_hole = false;
    if (self->data_full) { sim_engine_set_full(self->data_engine, false); }
    self->data_full = false;
    SIM_NOTE(self->world, self, SIM_TRACE_CRASH, "lost log, data", log_lost, data_lost, self->boot);
}

static void stop_core(struct sim_node *self) {
    sim_txn_lost(&self->world->txns, self, false);
    self->up = false;
    cancel_events(self);
    sim_calls_lost(self->world, self);
    node_core_destroy(self->core);
    raftlog_destroy(self->log);
    self->core = NULL;
    self->log = NULL;
    self->group = NULL;
    self->flushing = false;
}

void sim_node_deinit(struct sim_node *self) {
    if (self->up) { stop_core(self); }
    sim_world_cancel(self->world, &self->restart);
    engine_close(self->log_engine);
    engine_close(self->data_engine);
}

void sim_node_crash(struct sim_node *self) {
    ASSERT(self->up);
    sim_checks_crash(&self->world->checks, self);
    stop_core(self);
    lose_memory(self);
}

// Nothing of the core may be touched again, not even to free it.
void sim_node_fell(struct sim_node *self) {
    enum { FALLS_MAX = 60 };
    struct sim_world *world = self->world;
    if (self->touched) {
        self->touched = false;
        world->touched--;
    }
    self->up = false;
    cancel_events(self);
    self->core = NULL;
    self->log = NULL;
    self->group = NULL;
    self->flushing = false;
    sim_checks_crash(&world->checks, self);
    sim_txn_lost(&world->txns, self, true);
    sim_calls_lost(world, self);
    lose_memory(self);
    uint64_t down = prng_between(&self->prng, 1, 500) * 1000000;
    sim_world_put(world, &self->restart, world->now_ns + down);
    if (self->falls++ > FALLS_MAX) { sim_fail(world, "node %u stops again and again", self->id.v); }
}

void sim_node_replace(struct sim_node *self) {
    ASSERT(!self->up);
    sim_world_cancel(self->world, &self->restart);
    struct sim_engine_options options = {.deferred = true};
    engine_close(self->log_engine);
    engine_close(self->data_engine);
    self->log_engine = sim_engine_create(&options);
    self->data_engine = sim_engine_create(&options);
    self->id = (struct node_id){0};
    self->incarnation = prng_next(&self->prng) | 1;
    self->boot = 0;
    self->damaged = false;
    self->group_sequence = 0;
    self->flush_sequence = 0;
}

void sim_node_describe(const struct sim_node *self, struct catalog_node *out) {
    uint32_t number = self->position + 1;
    out->id = self->id;
    out->incarnation = self->incarnation;
    (void)snprintf(out->peer_address, sizeof(out->peer_address), "node%" PRIu32 ":7100", number);
    (void)snprintf(out->rpc_address, sizeof(out->rpc_address), "node%" PRIu32 ":7000", number);
    (void)snprintf(out->region, sizeof(out->region), "sim");
    (void)snprintf(out->zone, sizeof(out->zone), "z%" PRIu32, number % 3);
}

static void configure(struct sim_node *self, struct node_core_config *config) {
    const struct sim_plan *plan = &self->world->plan;
    node_core_config_defaults(config);
    sim_node_describe(self, &config->self);
    config->boot = self->boot;
    config->member_count = plan->member_count;
    for (uint32_t i = 0; i < plan->member_count; i++) {
        config->members[i] = (struct node_id){i + 1};
    }
    config->env = &self->env;
    config->data = self->data_engine;
    config->log = self->log;
    config->support_duration_ns = plan->support_ns;
    config->support_interval_ns = plan->support_ns / 10;
    config->frontier_interval_ns = plan->frontier_ns;
    config->trim_lag_max = plan->trim_lag;
    config->digest_interval_ns = plan->digest_ns;
    config->digest_slice_size = plan->digest_slice_size;
    config->snapshot_bytes_per_s = plan->snapshot_bytes_per_s;
    config->snapshot_chunk_size = plan->snapshot_chunk_size;
    config->append_size_max = plan->append_size_max;
    config->disk = (struct node_watchdog_config){.slow_ns = plan->disk_slow_ns,
                                                 .sick_ns = 4 * plan->disk_slow_ns,
                                                 .fail_ns = 16 * plan->disk_slow_ns,
                                                 .recover_ns = 8 * plan->disk_slow_ns};
    if (plan->lead_us_max != 0) { config->clock_lead_us_max = plan->lead_us_max; }
    config->calls_max = 64;  // a few clients
    config->served_max = 256;
}

void sim_node_start(struct sim_node *self) {
    ASSERT(!self->up);
    struct sim_world *world = self->world;
    sim_world_cancel(world, &self->restart);
    if (self->boot > 0) {
        world->restarts++;
        bool mixed = (world->plan.faults >> SIM_FAULT_OLD_FORMAT & 1) != 0;
        if (mixed && !self->upgraded) {
            sim_disk_downgrade(self);
            self->upgraded = prng_chance(&self->prng, 1, 3);
        }
    }
    bool same = world->plan.mutant == SIM_MUTANT_SAME_BOOT || MUTANT(OLD_BOOT);
    if (self->boot == 0 || !same) { self->boot++; }
    self->started_ns = world->now_ns;
    SIM_NOTE(world, self, SIM_TRACE_BOOT, "boot", self->boot, 0, 0);
    struct raftlog_config log = {.engine = self->log_engine,
                                 .writer = {.ctx = self, .start = writer_start},
                                 .durable = on_durable,
                                 .durable_ctx = self};
    struct err err = {0};
    if (raftlog_open(&log, &self->log, &err) != STATUS_OK) {
        sim_fail(world, "node %u cannot open its log: %s", self->id.v, err.message);
        return;
    }
    struct node_core_config config;
    configure(self, &config);
    if (node_core_create(&config, &self->core, &err) != STATUS_OK) {
        sim_fail(world, "node %u cannot start: %s", self->id.v, err.message);
        raftlog_destroy(self->log);
        return;
    }
    if (world->plan.kept_us != 0) {
        apply_set_kept(node_core_apply(self->core), world->plan.kept_us);
    }
    self->up = true;
    sim_checks_boot(&world->checks, self);
    uint64_t flush = prng_between(&self->prng, 1, world->plan.flush_ns);
    sim_world_put(world, &self->flush, world->now_ns + flush);
    set_timer(self);
    sim_node_touch(self);
}

void sim_node_pause(struct sim_node *self, uint64_t for_ns) {
    self->paused_until_ns = self->world->now_ns + for_ns;
}

bool sim_node_is_paused(const struct sim_node *self) {
    return self->world->now_ns < self->paused_until_ns;
}

bool sim_node_coordinates(const struct sim_node *self) {
    char why[NODE_SKEW_TEXT_SIZE];
    return node_core_may_coordinate(self->core, why);
}
