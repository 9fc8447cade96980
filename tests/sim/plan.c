// SPDX-License-Identifier: Apache-2.0
// Swarm testing: each seed draws which faults there are at all, and how often, because a mix of
// everything all the time hides bugs that need one fault in peace. Masking a fault afterwards does
// not change what else was drawn, so a failing seed can be thinned out.
#include "tests/sim/plan.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/prng.h"

#include <inttypes.h>
#include <stdio.h>

#define MS UINT64_C(1000000)

static const char *const fault_names[SIM_FAULT_COUNT] = {
    "drop",       "duplicate", "reorder",  "slow_net",  "halves",    "one_way",    "bridge",
    "isolate",    "catalog",   "crash",    "crash_all", "pause",     "clock_jump", "clock_rate",
    "slow_disk",  "slow_cpu",  "transfer", "resign",    "orphan",    "ring",       "flap",
    "slow_link",  "replay",    "strobe",   "rolling",   "full_disk", "sync_error", "disk_stall",
    "old_format", "log_rot",   "wipe",     "members",
};

static const char *const mutant_names[SIM_MUTANT_COUNT] = {
    "none",       "lying_disk", "unknown_failed", "new_id",     "old_boot",
    "wild_clock", "same_boot",  "stale_read",     "eager_node",
};

static const char *const storm_names[SIM_STORM_COUNT] = {
    "none", "leaders", "members", "transfers", "snapshots", "releases", "commits"};

const char *sim_storm_name(enum sim_storm storm) {
    ASSERT((unsigned)storm < SIM_STORM_COUNT);
    return storm_names[storm];
}

const char *sim_fault_name(enum sim_fault fault) {
    ASSERT((unsigned)fault < SIM_FAULT_COUNT);
    return fault_names[fault];
}

const char *sim_mutant_name(enum sim_mutant mutant) {
    ASSERT((unsigned)mutant < SIM_MUTANT_COUNT);
    return mutant_names[mutant];
}

static void draw_cluster(struct sim_plan *self, struct prng *prng) {
    self->node_count = prng_chance(prng, 2, 3) ? 3 : 5;
    self->member_count = self->node_count == 5 && prng_chance(prng, 1, 2) ? 5 : 3;
    self->replicas = self->node_count == 5 && prng_chance(prng, 1, 2) ? 5 : 3;
    self->shard_count = (uint32_t)prng_between(prng, 1, 4);
    self->keys_per_shard = (uint32_t)prng_between(prng, 1, SIM_KEYS_PER_SHARD_MAX);
    self->client_count = (uint32_t)prng_between(prng, 2, SIM_CLIENTS_MAX);
    self->warm_ns = prng_between(prng, 200, 1000) * MS;
    self->busy = prng_chance(prng, 1, 2);
    self->fault_ns =
        self->busy ? prng_between(prng, 4000, 12000) * MS : prng_between(prng, 10000, 40000) * MS;
    self->support_ns = prng_chance(prng, 1, 2) ? 1000 * MS : prng_between(prng, 250, 800) * MS;
    self->frontier_ns = prng_between(prng, 10, 60) * MS;
    self->trim_lag = prng_chance(prng, 1, 3) ? 65536 : prng_between(prng, 1, 60);
    self->digest_ns = prng_chance(prng, 1, 2) ? 0 : prng_between(prng, 300, 10000) * MS;
    // Not drawn by itself, so that all other draws of a seed stay. Small ones let a walk meet
    // writes, crashes, snapshots and removals.
    self->digest_slice_size = self->digest_ns / MS % 4 == 0 ? 0 : 512U << self->digest_ns / MS % 4;
    self->snapshot_bytes_per_s = prng_chance(prng, 1, 2) ? 0 : prng_between(prng, 50000, 1000000);
    self->disk_slow_ns = prng_chance(prng, 1, 2) ? 500 * MS : prng_between(prng, 60, 400) * MS;
    self->flush_ns = prng_between(prng, 100, 2000) * MS;
    self->sync_ns_min = prng_between(prng, 20, 200) * 1000;
    self->sync_ns_max = self->sync_ns_min + prng_between(prng, 10, 5000) * 1000;
    self->delay_ns_min = prng_between(prng, 20, 500) * 1000;
    self->delay_ns_max = self->delay_ns_min + prng_between(prng, 10, 4000) * 1000;
    if (prng_chance(prng, 1, 8)) { self->delay_ns_max += prng_between(prng, 10, 40) * MS; }
}

static void draw_load(struct sim_plan *self, struct prng *prng) {
    bool hectic = prng_chance(prng, 1, 2);
    self->think_ns_max = self->busy ? prng_between(prng, 1, hectic ? 10 : 60) * MS
                                    : prng_between(prng, 100, 800) * MS;
    // Short ones keep clients from waiting, all of them, for a node that is cut off.
    bool patient = prng_chance(prng, 1, 3);
    self->deadline_ns_max =
        (patient ? prng_between(prng, 1000, 4000) : prng_between(prng, 80, 800)) * MS;
    // Nearly nothing but reads leaves a leader that lost its place without a hint of it.
    bool reads = prng_chance(prng, 1, 3);
    self->read_percent =
        (uint32_t)(reads ? prng_between(prng, 88, 98) : prng_between(prng, 20, 80));
    self->sticky = prng_chance(prng, 1, 2);
    self->condition_percent = (uint32_t)prng_between(prng, 0, 60);
    self->repeat_percent = prng_chance(prng, 1, 2) ? 0 : (uint32_t)prng_between(prng, 5, 50);
}

// Half of the worlds know few kinds of faults: too many at once leave no quorum anywhere, and then
// nothing happens that could be wrong.
static uint64_t draw_set(struct prng *prng) {
    if (prng_chance(prng, 1, 2)) {
        uint64_t few = 0;
        for (uint64_t left = prng_between(prng, 1, 3); left > 0; left--) {
            few |= UINT64_C(1) << prng_below(prng, SIM_FAULT_COUNT);
        }
        return few;
    }
    uint32_t odds = (uint32_t)prng_between(prng, 1, 6);  // of 8, for each fault
    uint64_t set = 0;
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (prng_chance(prng, odds, 8)) { set |= UINT64_C(1) << i; }
    }
    return set;
}

static void draw_faults(struct sim_plan *self, struct prng *prng) {
    self->faults = draw_set(prng);
    self->drop_ppm = (uint32_t)prng_between(prng, 1000, prng_chance(prng, 1, 3) ? 300000 : 50000);
    self->duplicate_ppm = (uint32_t)prng_between(prng, 1000, 100000);
    self->slow_ppm = (uint32_t)prng_between(prng, 1000, 30000);
    self->slow_ns_max = prng_between(prng, 20, 3000) * MS;
    self->replay_ppm = (uint32_t)prng_between(prng, 100, 20000);
    self->replay_ns_max = prng_between(prng, 100, prng_chance(prng, 1, 2) ? 2000 : 180000) * MS;
    self->turn_ns_max = prng_between(prng, 100, 20000) * 1000;
    // Half the time the extremes that the leases allow for: 10 % (time.md, Leases).
    self->rate_ppm = prng_chance(prng, 1, 2) ? 95000 : (uint32_t)prng_between(prng, 1000, 50000);
    self->drift_ppm = (uint32_t)prng_between(prng, 0, 2000);
    // Two clocks may be apart by twice this: below the lead that is refused.
    self->wall_us_max = prng_between(prng, 1000, 400000);
    self->fault_every_ns = prng_between(prng, 50, 1000) * MS;
    self->fault_lasts_ns = prng_between(prng, 30, 2500) * MS;
    // One after the other, with time to elect between, or overlapping.
    bool spaced = prng_chance(prng, 1, 2);
    if (spaced) {
        self->fault_every_ns = self->fault_lasts_ns + prng_between(prng, 100, 1000) * MS;
    }
    self->clock_hours = prng_chance(prng, 1, 4);
    self->fault_max = UINT32_MAX;
    self->heal_all = prng_chance(prng, 1, 4);
}

static bool has(const struct sim_plan *self, enum sim_fault fault) {
    return (self->faults >> fault & 1) != 0;
}

// What is not among the faults does not happen at all.
static void clear_absent(struct sim_plan *self) {
    if (!has(self, SIM_FAULT_CLOCK_JUMP)) { self->clock_hours = false; }
    if (!has(self, SIM_FAULT_DROP)) { self->drop_ppm = 0; }
    if (!has(self, SIM_FAULT_DUPLICATE)) { self->duplicate_ppm = 0; }
    if (!has(self, SIM_FAULT_SLOW_NET)) { self->slow_ppm = 0; }
    if (!has(self, SIM_FAULT_REPLAY)) { self->replay_ppm = 0; }
    self->reorder = has(self, SIM_FAULT_REORDER);
    if (!has(self, SIM_FAULT_SLOW_CPU)) { self->turn_ns_max = 0; }
    if (!has(self, SIM_FAULT_CLOCK_RATE)) {
        self->rate_ppm = 0;
        self->drift_ppm = 0;
        self->wall_us_max = 1000;
    }
}

static void draw_storm_world(struct sim_plan *self, struct prng *prng) {
    bool five = self->storm == SIM_STORM_MEMBERS;
    self->node_count = five ? 5 : 3;
    self->member_count = 3;
    self->replicas = 3;
    self->shard_count = 1;
    self->keys_per_shard = (uint32_t)prng_between(prng, 1, 3);
    self->client_count = (uint32_t)prng_between(prng, 2, 5);
    self->busy = false;
    self->think_ns_max = prng_between(prng, 5, 60) * MS;
    self->fault_ns = prng_between(prng, 8000, 25000) * MS;
    self->support_ns = prng_between(prng, 250, 500) * MS;
    self->deadline_ns_max = prng_between(prng, 80, 600) * MS;
    if (self->storm == SIM_STORM_LEADERS) {
        self->append_size_max = 1;  // the entries of earlier terms come one by one
        self->delay_ns_min = prng_between(prng, 2, 10) * MS;
        self->delay_ns_max = 2 * self->delay_ns_min;
        self->sync_ns_max = self->sync_ns_min + 10000;
    }
    if (self->storm == SIM_STORM_MEMBERS && prng_chance(prng, 1, 2)) {
        self->delay_ns_min = prng_between(prng, 2, 10) * MS;
        self->delay_ns_max = 2 * self->delay_ns_min;
    }
    if (self->storm == SIM_STORM_TRANSFERS) {
        self->sticky = true;
        self->support_ns = prng_between(prng, 300, 1000) * MS;
    }
    if (self->storm == SIM_STORM_RELEASES) {
        self->sticky = true;
        self->support_ns = prng_between(prng, 400, 1000) * MS;
        self->think_ns_max = prng_between(prng, 2, 15) * MS;
    }
    if (self->storm == SIM_STORM_SNAPSHOTS) {
        self->trim_lag = prng_between(prng, 1, 4);
        self->keys_per_shard = SIM_KEYS_PER_SHARD_MAX;
        self->snapshot_chunk_size = (uint32_t)prng_between(prng, 1, 400);
        self->flush_slow_ns = prng_between(prng, 10, 1500) * MS;
    }
}

// Several shards, transactions over them, and walls that are far apart.
static void draw_commits_world(struct sim_plan *self, struct prng *prng) {
    self->node_count = prng_chance(prng, 2, 3) ? 3 : 5;
    self->shard_count = (uint32_t)prng_between(prng, 2, 5);
    self->client_count = (uint32_t)prng_between(prng, 2, 3);
    self->fault_ns = prng_between(prng, 10000, 25000) * MS;
    self->think_ns_max = prng_between(prng, 2, 10) * MS;
    self->delay_ns_max = self->delay_ns_min + prng_between(prng, 100, 3000) * 1000;
    self->deadline_ns_max = prng_between(prng, 500, 3000) * MS;
    self->support_ns = prng_between(prng, 500, 1000) * MS;
    self->repeat_percent = (uint32_t)prng_between(prng, 20, 60);
    // No clock is so far off that its node takes no part.
    self->wall_us_max = prng_between(prng, 20000, 110000);
    self->txn_client_count = (uint32_t)prng_between(prng, 5, 6);
    // Longer than a client asks again for what it began, shorter than the world.
    if (prng_chance(prng, 1, 2)) { self->kept_us = prng_between(prng, 5000000, 8000000); }
}

// Tokens drag clocks ahead of all walls: there they only count, and a node whose clock is behind
// stays behind until it hears of something. Most of what happens is unheard of somewhere when not
// every node has a replica of every shard.
static void draw_tokens_world(struct sim_plan *self, struct prng *prng) {
    self->node_count = prng_chance(prng, 1, 4) ? 3 : 5;
    // Walls that are apart: a node may take another one's answer and not follow its clock.
    const bool apart = prng_chance(prng, 1, 2);
    self->wall_us_max = apart ? prng_between(prng, 60000, 110000) : prng_between(prng, 1000, 60000);
    self->client_count = 2;
    self->think_ns_max = prng_between(prng, 2, 20) * MS;
    self->delay_ns_max = self->delay_ns_min + prng_between(prng, 100, 1000) * 1000;
    self->sync_ns_max = self->sync_ns_min + prng_between(prng, 10, 100) * 1000;
    self->kept_us = 0;
    self->lead_us_max = 0;
}

// A fifth of the worlds. What else was drawn stays as it is in the others.
static void draw_storm(struct sim_plan *self) {
    struct prng prng;
    prng_init(&prng, self->seed ^ UINT64_C(0x73746f726d));
    bool early = prng_chance(&prng, 1, 5);
    if (early) { self->storm = (enum sim_storm)prng_between(&prng, 1, SIM_STORM_RELEASES - 1); }
    struct prng more;
    prng_init(&more, self->seed ^ UINT64_C(0x72656c656173));
    if (!early && prng_chance(&more, 1, 20)) { self->storm = SIM_STORM_RELEASES; }
    struct prng last;
    prng_init(&last, self->seed ^ UINT64_C(0x636f6d6d697473));
    if (self->storm == SIM_STORM_NONE && prng_chance(&last, 1, 10)) {
        self->storm = SIM_STORM_COMMITS;
    }
    struct prng ahead;
    prng_init(&ahead, self->seed ^ UINT64_C(0x746f6b656e7b));
    if (self->storm == SIM_STORM_NONE && prng_chance(&ahead, 1, 20)) {
        self->storm = SIM_STORM_COMMITS;
        self->tokens = true;
    }
    if (self->storm == SIM_STORM_NONE) { return; }
    draw_storm_world(self, &prng);
    if (self->storm == SIM_STORM_COMMITS) { draw_commits_world(self, &last); }
    if (self->tokens) { draw_tokens_world(self, &ahead); }
    // Little beside it: no more kinds than three, and rarely.
    uint64_t kept = 0;
    for (uint32_t i = 0; i < 3; i++) {
        kept |= UINT64_C(1) << prng_below(&prng, SIM_FAULT_COUNT);
    }
    if (self->storm == SIM_STORM_MEMBERS) {
        self->faults |= UINT64_C(1) << SIM_FAULT_REPLAY;
        kept |= UINT64_C(1) << SIM_FAULT_REPLAY;
    }
    if (self->storm == SIM_STORM_SNAPSHOTS) {
        uint64_t net = UINT64_C(1) << SIM_FAULT_DROP | UINT64_C(1) << SIM_FAULT_REORDER;
        self->faults |= net;
        kept |= net;
    }
    if (self->storm == SIM_STORM_COMMITS) {
        kept |= UINT64_C(1) << SIM_FAULT_CLOCK_RATE;
        self->faults |= UINT64_C(1) << SIM_FAULT_CLOCK_RATE;
        self->clock_hours = false;
    }
    self->faults &= kept;
    self->fault_every_ns = prng_between(&prng, 500, 3000) * MS;
}

// A third of the worlds, chosen so that those known to catch mutants, and the regressions, are not
// among them: what else was drawn stays as it is, but not what comes of it.
static void draw_txns(struct sim_plan *self) {
    struct prng prng;
    prng_init(&prng, self->seed ^ UINT64_C(685079) << 32);
    if (!prng_chance(&prng, 1, 3) || self->storm == SIM_STORM_COMMITS) { return; }
    self->txn_client_count = (uint32_t)prng_between(&prng, 2, 5);
}

// A fifth of the worlds with transactions, chosen in the same way.
static void draw_talks(struct sim_plan *self) {
    struct prng prng;
    prng_init(&prng, self->seed ^ UINT64_C(0x74616c6ba7));
    if (self->txn_client_count == 0 || !prng_chance(&prng, 1, 5)) { return; }
    self->talk_percent = (uint32_t)prng_between(&prng, 20, 90);
}

// A quarter of the worlds with transactions, chosen in the same way: clocks as far apart as they
// are from the start just follow each other, and one that gets further ahead is refused.
static void draw_lead(struct sim_plan *self) {
    struct prng prng;
    prng_init(&prng, self->seed ^ UINT64_C(0x6c656164));
    if (self->txn_client_count == 0 || self->clock_hours || !prng_chance(&prng, 1, 4)) { return; }
    self->lead_us_max = 2 * self->wall_us_max + prng_between(&prng, 1000, 60000);
}

void sim_plan_draw(struct sim_plan *self, uint64_t seed, uint64_t faults_allowed) {
    struct prng prng;
    prng_init(&prng, seed);
    *self = (struct sim_plan){.seed = seed};
    draw_cluster(self, &prng);
    draw_load(self, &prng);
    draw_faults(self, &prng);
    draw_storm(self);
    draw_txns(self);
    draw_talks(self);
    draw_lead(self);
    self->faults &= faults_allowed;
    clear_absent(self);
}

void sim_plan_ordinary(struct sim_plan *self) {
    self->storm = SIM_STORM_NONE;
    self->append_size_max = 0;
    self->snapshot_chunk_size = 0;
    self->flush_slow_ns = 0;
    self->node_count = 3;
    self->member_count = 3;
    self->replicas = 3;
    self->shard_count = 2;
    self->client_count = 4;
    self->txn_client_count = 0;
    self->tokens = false;
    self->talk_percent = 0;
    self->busy = false;
    self->think_ns_max = 500 * MS;
    self->support_ns = 1000 * MS;
    self->frontier_ns = 20 * MS;
    self->fault_ns = 120000 * MS;
    self->trim_lag = 65536;
    self->digest_ns = 10000 * MS;
    self->snapshot_bytes_per_s = 0;
    self->disk_slow_ns = 500 * MS;
    self->kept_us = 0;
}

void sim_plan_print(const struct sim_plan *self) {
    (void)printf("seed=%" PRIu64 " nodes=%" PRIu32 " members=%" PRIu32 " shards=%" PRIu32
                 "x%" PRIu32 " keys=%" PRIu32 " clients=%" PRIu32 " support=%" PRIu64 "ms faults=",
                 self->seed, self->node_count, self->member_count, self->shard_count,
                 self->replicas, self->keys_per_shard, self->client_count, self->support_ns / MS);
    const char *comma = "";
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (!has(self, (enum sim_fault)i)) { continue; }
        (void)printf("%s%s", comma, fault_names[i]);
        comma = ",";
    }
    (void)printf("%s", self->faults == 0 ? "none" : "");
    if (self->txn_client_count > 0) { (void)printf(" txns=%" PRIu32, self->txn_client_count); }
    if (self->talk_percent > 0) { (void)printf(" talks=%" PRIu32, self->talk_percent); }
    if (self->tokens) { (void)printf(" tokens"); }
    if (self->storm != SIM_STORM_NONE) { (void)printf(" storm=%s", storm_names[self->storm]); }
    if (self->mutant != SIM_MUTANT_NONE) { (void)printf(" mutant=%s", mutant_names[self->mutant]); }
    (void)printf("\n");
}
