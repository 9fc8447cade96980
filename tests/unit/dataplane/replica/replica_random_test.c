// SPDX-License-Identifier: Apache-2.0
// replica_random_test.c - random schedules of writes, losses, partitions, crashes, damage, moves of
// replicas and of leaderships over a log that is trimmed to almost nothing; afterwards all replicas
// must be equal and no acknowledged write lost. At each index every replica ever had one state.

#include "dataplane/base/mark.h"
#include "tests/unit/dataplane/replica/replica_world.h"

#include <stdlib.h>

// cmocka wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SEEDS = 200, STEPS = 60 };
static uint64_t first_seed = 1;
static uint64_t last_seed = SEEDS;

static uint64_t draw(struct world *world, uint64_t below) {
    return prng_below(&world->prng, below);
}

static uint32_t any(struct world *world) {
    return 1 + (uint32_t)draw(world, world->node_count);
}

static uint32_t down_count(struct world *world) {
    uint32_t count = 0;
    for (uint32_t i = 1; i <= world->node_count; i++) {
        count += !world_node(world, i)->up || world->cut[i - 1];
    }
    return count;
}

// At most one damaged log at a time: two of three could never elect anybody.
static bool may_damage(struct world *world, uint32_t number) {
    for (uint32_t i = 1; i <= world->node_count; i++) {
        const struct world_node *node = world_node(world, i);
        if (i != number && node->log.now.bounds.damaged_from != 0) { return false; }
    }
    struct log_bounds *bounds = &world_node(world, number)->log.now.bounds;
    return bounds->last_index > bounds->trim_index;
}

static void damage(struct world *world, uint32_t number) {
    if (!may_damage(world, number)) { return; }
    struct world_log_image *now = &world_node(world, number)->log.now;
    uint64_t held = now->bounds.last_index - now->bounds.trim_index;
    now->bounds.damaged_from = now->bounds.trim_index + 1 + draw(world, held);
    world_node(world, number)->log.durable.bounds.damaged_from = 0;
}

static void restart(struct world *world, uint32_t number) {
    struct world_node *node = world_node(world, number);
    if (!node->up) {
        world_start(world, number, false);
        return;
    }
    if (draw(world, 3) == 0) { node->flushed = node->state; }  // the store flushed by itself
    bool keep = draw(world, 2) == 0;
    world_crash(world, number, keep);
    if (keep && draw(world, 8) == 0) { damage(world, number); }
}

static void transfer(struct world *world) {
    uint32_t leader = world_leader(world);
    if (leader == 0) { return; }
    (void)!replica_transfer(world_replica(world, leader), (struct node_id){any(world)});
}

// Three voters out of the nodes.
static void move(struct world *world) {
    uint32_t numbers[3];
    for (uint32_t i = 0; i < 3; i++) {
        numbers[i] = any(world);
        for (uint32_t k = 0; k < i; k++) {
            if (numbers[k] == numbers[i]) { return; }
        }
    }
    world_want(world, numbers, 3);
}

static void faults(struct world *world) {
    world->lose_percent = (uint32_t)draw(world, 2) * (uint32_t)draw(world, 20);
    world->repeat_percent = (uint32_t)draw(world, 2) * (uint32_t)draw(world, 20);
    world->delay_ns_max = draw(world, 2) * draw(world, 80000000);
    world->corrupt_percent = (uint32_t)draw(world, 3) == 0 ? 5 : 0;
}

static void act(struct world *world, bool moves) {
    uint32_t number = any(world);
    switch (draw(world, 12)) {
    case 0:
    case 1:
        if (!world->cut[number - 1] && down_count(world) >= 2) { break; }
        world->cut[number - 1] = !world->cut[number - 1];
        break;
    case 2:
    case 3:
        if (world_node(world, number)->up && down_count(world) >= 2) { break; }
        restart(world, number);
        break;
    case 4:
        faults(world);
        break;
    case 5:
        transfer(world);
        break;
    case 6:
        if (moves) { move(world); }
        break;
    case 7:
        if (world_node(world, number)->up) { world_flush_end(world_node(world, number), false); }
        break;
    default:
        for (uint64_t i = draw(world, 40); i > 0; i--) {
            (void)world_put(world);
            if (draw(world, 4) == 0) { world_run(world, 5); }
        }
        break;
    }
    world_run(world, draw(world, 250));
}

static void heal(struct world *world) {
    world->lose_percent = 0;
    world->repeat_percent = 0;
    world->corrupt_percent = 0;
    world->delay_ns_max = 0;
    for (uint32_t i = 1; i <= world->node_count; i++) {
        world->cut[i - 1] = false;
        if (!world_node(world, i)->up) { world_start(world, i, false); }
    }
}

static void describe(struct world *world, uint64_t seed) {
    print_message("seed %llu: acknowledged %llu, leader %u\n", (unsigned long long)seed,
                  (unsigned long long)world->acknowledged, world_leader(world));
    for (uint32_t i = 1; i <= world->node_count; i++) {
        if (world_replica(world, i) == NULL) { continue; }
        struct replica_frontiers f = world_frontiers(world, i);
        print_message("  %u: incarnation %llu epoch %llu term %llu role %d trim %llu applied %llu "
                      "commit %llu durable %llu last %llu health %d in %d out %u\n",
                      i, (unsigned long long)f.incarnation, (unsigned long long)f.config_epoch,
                      (unsigned long long)f.term, (int)f.role, (unsigned long long)f.trim,
                      (unsigned long long)f.applied, (unsigned long long)f.commit,
                      (unsigned long long)f.durable, (unsigned long long)f.last, (int)f.health,
                      f.snapshot_in, f.snapshots_out);
    }
}

static void run_seed(uint64_t seed) {
    bool moves = seed % 3 == 0;
    struct world *world = world_create(moves ? 5 : 3, 3, seed);
    world->trim_lag_max = 1 + seed % 5 * 4;
    world->chunk_pad = seed % 4 == 0 ? 200 << 10 : 0;
    world->bytes_per_s = seed % 7 == 0 ? 3000000 : 0;
    world->digest_interval_ns = seed % 2 == 0 ? 200000000 : 0;
    world->digest_slice_size = seed % 4 == 0 ? 3 * WORLD_RECORD_SIZE : 0;
    for (uint32_t i = 1; i <= world->node_count; i++) {
        world_node(world, i)->flush_every_ns = 20000000 + draw(world, 300000000);
        world_start(world, i, i == 1);
    }
    world_run(world, 500);
    for (uint32_t i = 0; i < STEPS; i++) {
        act(world, moves);
    }
    heal(world);
    bool healed = world_run_until(world, 60000, world_is_equal);
    if (!healed) { describe(world, seed); }
    assert_true(healed);
    uint64_t puts = world->puts;
    for (uint32_t i = 0; i < 1000 && world->puts < puts + 5; i++) {
        (void)world_put(world);
        world_run(world, 10);
    }
    assert_true(world->puts >= puts + 5);
    healed = world_run_until(world, 5000, world_is_equal);
    if (!healed) { describe(world, seed); }
    assert_true(healed);
    world_destroy(world);
}

static void test_random_schedules_end_with_equal_replicas(void **state) {
    (void)state;
    for (uint64_t seed = first_seed; seed <= last_seed; seed++) {
        run_seed(seed);
    }
    if (last_seed - first_seed + 1 < SEEDS) { return; }
    static const char *const reached[] = {
        "replica.trim.past_a_peer",        "replica.snapshot.replaced",
        "replica.snapshot.resend",         "replica.snapshot.busy",
        "replica.snapshot.send_aborted",   "replica.snapshot.send_failed",
        "replica.snapshot.chunk_repeated", "replica.open.base_redone",
    };
    for (uint32_t i = 0; i < sizeof(reached) / sizeof(reached[0]); i++) {
        if (mark_count(reached[i]) == 0) { print_message("never reached: %s\n", reached[i]); }
    }
}

int main(int argc, char **argv) {
    if (argc > 1) { first_seed = last_seed = strtoull(argv[1], NULL, 10); }
    if (argc > 2) { last_seed = strtoull(argv[2], NULL, 10); }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_schedules_end_with_equal_replicas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
