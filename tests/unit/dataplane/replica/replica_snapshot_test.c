// SPDX-License-Identifier: Apache-2.0
// replica_snapshot_test.c - a replica that cannot be helped by the log gets a snapshot: through
// losses, crashes at each step, changes of leaders, damage.

#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "tests/unit/dataplane/replica/replica_world.h"

// cmocka wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void start_all(struct world *world) {
    for (uint32_t i = 1; i <= world->node_count; i++) {
        world_start(world, i, i == 1);
    }
    world_run(world, 500);
    assert_int_equal(world_leader(world), 1);
}

static int setup(void **state) {
    mark_reset_all();
    struct world *world = world_create(3, 3, 42);
    start_all(world);
    *state = world;
    return 0;
}

static int teardown(void **state) {
    world_destroy(*state);
    return 0;
}

// Node 3 is away until the others have trimmed what it needs.
static void leave_behind(struct world *world) {
    world->cut[2] = true;
    world_puts(world, 60);
    world_run(world, 300);
    assert_true(world_frontiers(world, 1).trim > world_node(world, 3)->state.applied);
}

static bool third_hears(struct world *world) {
    return world_frontiers(world, 3).snapshot_in;
}

static bool third_ingested(struct world *world) {
    return world_node(world, 3)->ingests_ended > 0;
}

static void test_snapshot_of_a_lagging_follower_goes_on_by_the_log(void **state) {
    struct world *world = *state;
    world_puts(world, 5);
    leave_behind(world);
    assert_true(mark_count("replica.trim.past_a_peer") > 0);
    world->cut[2] = false;
    assert_true(world_run_until(world, 3000, world_is_equal));
    assert_int_equal(world_node(world, 3)->ingests_ended, 1);
    assert_int_equal(world_node(world, 3)->log.resets, 1);
    world_puts(world, 10);
    world_run(world, 200);
    assert_true(world_is_equal(world));
    assert_int_equal(world_node(world, 3)->ingests_ended, 1);
    struct replica_frontiers f = world_frontiers(world, 3);
    struct replica_frontiers leader = world_frontiers(world, 1);
    assert_false(f.snapshot_in);
    assert_int_equal(leader.snapshots_out, 0);
    assert_int_equal(f.last, leader.last);
    assert_int_equal(f.health, RAFT_WHOLE);
}

// Nothing is applied, served or trimmed while it is being received, and it leads nothing.
static void test_snapshot_receiver_is_hollow_and_serves_nothing(void **state) {
    struct world *world = *state;
    leave_behind(world);
    struct world_node *third = world_node(world, 3);
    third->flush_due_ns = UINT64_MAX;  // ingested, but never durable
    world->cut[2] = false;
    assert_true(world_run_until(world, 3000, third_ingested));
    world_puts(world, 10);
    world_run(world, 500);
    struct replica_frontiers f = world_frontiers(world, 3);
    assert_int_equal(f.health, RAFT_HOLLOW);
    assert_int_equal(f.applied, 0);
    assert_true(f.snapshot_in);
    assert_true(replica_table_flush_wanted(third->table));
    struct replica_read read = {.read_index = true};
    assert_int_equal(replica_read_begin(world_replica(world, 3), &read), STATUS_NOT_LEADER);
    world->cut[0] = true;  // 2 can lead with the vote of the hollow one
    world_run(world, 5000);
    assert_int_equal(world_leader(world), 2);
    world->cut[0] = false;
    third->flush_due_ns = 0;
    assert_true(world_run_until(world, 3000, world_is_equal));
}

static void test_snapshot_waits_for_a_flush_that_began_after_it(void **state) {
    struct world *world = *state;
    leave_behind(world);
    struct world_node *third = world_node(world, 3);
    third->flush_due_ns = UINT64_MAX;
    world_flush_begin(third);
    world->cut[2] = false;
    assert_true(world_run_until(world, 3000, third_ingested));
    world_flush_end(third, true);  // it began too early to cover anything
    world_turn(third);
    assert_int_equal(world_frontiers(world, 3).health, RAFT_HOLLOW);
    world_flush_begin(third);
    world_flush_end(third, false);  // it failed
    world_turn(third);
    assert_int_equal(world_frontiers(world, 3).health, RAFT_HOLLOW);
    world_flush_begin(third);
    world_flush_end(third, true);
    world_turn(third);
    assert_int_equal(world_frontiers(world, 3).health, RAFT_WHOLE);
}

// The receiver crashes after n further turns of the clock, for each n, and with either outcome of
// what was written and not told.
static void test_snapshot_receiver_crashes_at_each_step(void **state) {
    (void)state;
    for (uint32_t n = 0; n < 120; n++) {
        struct world *world = world_create(3, 3, 1000 + n);
        world->chunk_pad = 100 << 10;
        world->delay_ns_max = 8000000;
        start_all(world);
        leave_behind(world);
        world->cut[2] = false;
        assert_true(world_run_until(world, 3000, third_hears));
        struct world_node *third = world_node(world, 3);
        world_run(world, (n / 4) * 5);
        if (n % 2 == 1) { third->flushed = third->state; }  // the store flushed by itself
        world_crash(world, 3, n % 4 < 2);
        world_run(world, 100);
        world_start(world, 3, false);
        assert_true(world_run_until(world, 30000, world_is_equal));
        world_puts(world, 3);
        world_run(world, 300);
        assert_true(world_is_equal(world));
        world_destroy(world);
    }
    assert_true(mark_count("replica.open.base_redone") > 0);
    assert_true(mark_count("replica.snapshot.refused") > 0);
}

static void test_snapshot_sender_crashes_midway_and_another_leader_sends(void **state) {
    struct world *world = *state;
    world->chunk_pad = 300 << 10;
    leave_behind(world);
    world->cut[2] = false;
    world->delay_ns_max = 20000000;
    assert_true(world_run_until(world, 3000, third_hears));
    world_crash(world, 1, false);
    assert_false(third_ingested(world));
    assert_true(world_run_until(world, 20000, world_is_equal));
    assert_true(world_leader(world) == 2);
    world_start(world, 1, false);
    assert_true(world_run_until(world, 20000, world_is_equal));
}

static void test_snapshot_is_replaced_by_that_of_a_later_leader(void **state) {
    struct world *world = *state;
    world->chunk_pad = 300 << 10;
    world->bytes_per_s = 200000;  // takes half a minute
    for (uint32_t i = 1; i <= 2; i++) {
        world_crash(world, i, true);
        world_start(world, i, false);
    }
    world_run(world, 4000);
    world->bytes_per_s = 0;
    uint32_t old = world_leader(world);
    assert_true(old != 0);
    if (old == 3) {
        assert_int_equal(replica_transfer(world_replica(world, 3), (struct node_id){1}), STATUS_OK);
        world_run(world, 1000);
        old = world_leader(world);
    }
    leave_behind(world);
    world->cut[2] = false;
    assert_true(world_run_until(world, 3000, third_hears));
    world_run(world, 500);
    assert_true(third_hears(world));
    uint32_t heir = 3 - old;
    world_crash(world, heir, true);
    world_start(world, heir, false);  // without the bound
    world_run(world, 1500);
    assert_true(third_hears(world));
    assert_int_equal(replica_transfer(world_replica(world, old), (struct node_id){heir}),
                     STATUS_OK);
    assert_true(world_run_until(world, 5000, world_is_equal));
    assert_true(mark_count("replica.snapshot.send_aborted") > 0);
}

static void test_snapshot_over_a_bad_network_arrives_whole(void **state) {
    struct world *world = *state;
    leave_behind(world);
    world->lose_percent = 15;
    world->repeat_percent = 15;
    world->corrupt_percent = 10;
    world->delay_ns_max = 60000000;
    world->cut[2] = false;
    assert_true(world_run_until(world, 60000, world_is_equal));
    assert_true(world->dropped_chunks > 0);
    assert_true(mark_count("replica.snapshot.resend") > 0);
    assert_true(mark_count("replica.snapshot.chunk_repeated") > 0);
}

static bool no_snapshot_reply(struct world *world, const struct world_letter *letter) {
    (void)world;
    return letter->type != PEER_SNAPSHOT_REPLY;
}

static void test_snapshot_to_a_silent_receiver_is_given_up(void **state) {
    struct world *world = *state;
    leave_behind(world);
    world->filter = no_snapshot_reply;
    world->cut[2] = false;
    world_run(world, 9000);
    assert_int_equal(world_frontiers(world, 1).snapshots_out, 1);
    world_run(world, 3000);
    assert_true(mark_count("replica.snapshot.send_failed") > 0);
    world->filter = NULL;
    assert_true(world_run_until(world, 30000, world_is_equal));
}

static void test_snapshot_to_a_peer_that_went_away_is_given_up(void **state) {
    struct world *world = *state;
    world->chunk_pad = 300 << 10;
    leave_behind(world);
    world->cut[2] = false;
    assert_true(world_run_until(world, 3000, third_hears));
    world->cut[2] = true;
    world_run(world, 2500);
    assert_int_equal(world_frontiers(world, 1).snapshots_out, 0);
    assert_int_equal(world_node(world, 1)->exports_open, 0);
    world->cut[2] = false;
    assert_true(world_run_until(world, 30000, world_is_equal));
}

// It lost its state in the middle of a transfer that never ended, and comes back under a leader
// that holds the whole log: only a snapshot helps, the log alone would leave a hole.
static void test_snapshot_is_asked_for_by_a_hollow_replica_that_restarted(void **state) {
    struct world *world = *state;
    leave_behind(world);
    world->cut[2] = false;
    assert_true(world_run_until(world, 3000, third_hears));
    struct world_node *third = world_node(world, 3);
    third->state.hollow = true;
    third->flushed = third->state;
    world_crash(world, 3, true);
    world_start(world, 3, false);
    assert_int_equal(world_frontiers(world, 3).health, RAFT_HOLLOW);
    assert_true(world_run_until(world, 30000, world_is_equal));
}

// Its log misses what it may have acknowledged: the snapshot must reach as far, even on a shard
// where nothing is written.
static void test_snapshot_heals_a_damaged_log(void **state) {
    struct world *world = *state;
    world_puts(world, 10);
    world_run(world, 300);
    struct world_node *third = world_node(world, 3);
    world_crash(world, 3, true);
    uint64_t last = third->log.now.bounds.last_index;
    third->log.now.bounds.damaged_from = last - 2;
    world_start(world, 3, false);
    assert_int_equal(world_frontiers(world, 3).health, RAFT_DAMAGED);
    assert_true(world_run_until(world, 30000, world_is_equal));
    assert_true(world_frontiers(world, 3).applied >= last);
    assert_int_equal(third->log.now.bounds.damaged_from, 0);
    world_puts(world, 3);
    world_run(world, 300);
    assert_true(world_is_equal(world));
}

// The others have less than it had: they append until the snapshot is long enough.
static void test_snapshot_leader_appends_until_it_reaches_far_enough(void **state) {
    struct world *world = *state;
    world_puts(world, 5);
    world_run(world, 300);
    struct world_node *third = world_node(world, 3);
    world_crash(world, 3, true);
    // As if 3 had been the leader of entries that reached nobody else.
    struct log_entry extra = {
        .term = third->log.now.bounds.hard_state.term, .shard_epoch = 1, .kind = LOG_ENTRY_EMPTY};
    uint64_t last = third->log.now.bounds.last_index;
    struct world_log *log = &third->log;
    for (uint32_t i = 1; i <= 150; i++) {
        extra.index = last + i;
        extra.ceiling = (struct hlc_ts){1};
        log_entry_seal(&extra);
        struct log_write write = {
            .shard = WORLD_SHARD, .sequence = i, .entries = &extra, .entry_count = 1};
        log->port.submit(log->port.ctx, &write, 1);
    }
    log_entry_unref(&extra);
    log->sequence_submitted = 0;
    log->now.bounds.damaged_from = last + 10;
    world_start(world, 3, false);
    assert_true(world_run_until(world, 30000, world_is_equal));
    assert_true(world_frontiers(world, 1).last >= last + 150);
}

static void test_snapshot_trim_keeps_what_a_peer_needs_within_the_lag(void **state) {
    struct world *world = *state;
    world_puts(world, 10);
    world->cut[2] = true;
    world_puts(world, 15);  // within the lag of 20
    world_run(world, 500);
    struct replica_frontiers leader = world_frontiers(world, 1);
    assert_true(leader.trim <= world_frontiers(world, 3).last);
    world->cut[2] = false;
    assert_true(world_run_until(world, 3000, world_is_equal));
    assert_int_equal(world_node(world, 3)->ingests_begun, 0);
}

static void test_snapshot_log_never_loses_its_last_entry_to_trimming(void **state) {
    struct world *world = *state;
    world_puts(world, 50);
    world_run(world, 1000);
    for (uint32_t i = 1; i <= 3; i++) {
        struct replica_frontiers f = world_frontiers(world, i);
        assert_true(f.trim > 0);
        assert_true(f.trim < f.last);
    }
}

// A new leader out of a snapshot starts above everything the old ones served.
static void test_snapshot_carries_the_ceiling(void **state) {
    struct world *world = *state;
    leave_behind(world);
    world->cut[2] = false;
    assert_true(world_run_until(world, 3000, world_is_equal));
    struct replica_read read = {.read_index = false};
    assert_int_equal(replica_read_begin(world_replica(world, 1), &read), STATUS_OK);
    assert_int_equal(replica_read_confirm(world_replica(world, 1), &read), STATUS_OK);
    // The clock of 3 is an hour behind, and it restarts with nothing but the base of its log.
    world_node(world, 3)->wall_offset_us = -3600000000;
    world_crash(world, 3, true);
    world_start(world, 3, false);
    world_run(world, 1500);
    assert_int_equal(replica_transfer(world_replica(world, 1), (struct node_id){3}), STATUS_OK);
    world_run(world, 1000);
    assert_int_equal(world_leader(world), 3);
    struct replica_read later = {.read_index = true};
    world_puts(world, 1);
    world_run(world, 100);
    assert_int_equal(replica_read_begin(world_replica(world, 3), &later), STATUS_OK);
    assert_false(hlc_before(later.timestamp, read.timestamp));
}

static void lose_state(struct world *world, uint32_t number) {
    struct world_node *node = world_node(world, number);
    world_crash(world, number, true);
    node->state = (struct world_state){0};
    node->flushed = node->state;
    world_start(world, number, false);
}

// The store of a node's state is gone, its log is not, and begins beyond what an empty one holds.
static void test_snapshot_replaces_a_state_that_was_lost(void **state) {
    struct world *world = *state;
    world_puts(world, 60);
    world_run(world, 500);
    assert_true(world_frontiers(world, 3).trim > 0);
    lose_state(world, 3);
    assert_int_equal(world_frontiers(world, 3).health, RAFT_HOLLOW);
    assert_true(world_run_until(world, 5000, world_is_equal));
    assert_true(mark_count("replica.open.state_lost") > 0);
}

static void test_snapshot_at_most_two_are_sent_at_once(void **state) {
    (void)state;
    struct world *world = world_create(5, 5, 7);
    world->chunk_pad = 300 << 10;
    world->bytes_per_s = 4000000;
    start_all(world);
    world_puts(world, 60);
    world_run(world, 500);
    for (uint32_t i = 3; i <= 5; i++) {
        lose_state(world, i);
    }
    bool both = false;
    for (uint32_t i = 0; i < 4000 && !world_is_equal(world); i++) {
        world_run(world, 5);
        uint32_t leader = world_leader(world);
        uint32_t out = leader == 0 ? 0 : world_frontiers(world, leader).snapshots_out;
        assert_true(out <= 2);
        both = both || out == 2;
    }
    assert_true(both);
    assert_true(world_is_equal(world));
    world_destroy(world);
}

// Goal: a leader that restarted with the first change of members in its log, not committed, knows
// the members before it. Else it waited for itself: the change needs node 3, node 3 a snapshot, and
// none is sent before the members in force are known.
static void test_snapshot_to_a_voter_of_a_first_change_that_outlived_a_restart(void **state) {
    struct world *world = *state;
    leave_behind(world);
    struct replica *leader = world_replica(world, 1);
    const struct raft_change changes[] = {{{1}, RAFT_LEAVING}, {{2}, RAFT_LEAVING}};
    struct raft_membership joint;
    struct err err = {STATUS_OK, ""};
    assert_int_equal(raft_membership_change(replica_members(leader), changes, 2, &joint, &err),
                     STATUS_OK);
    assert_int_equal(replica_propose_membership(leader, &joint), STATUS_OK);
    world_run(world, 300);
    for (uint32_t i = 1; i <= 2; i++) {
        assert_int_equal(replica_members_committed(world_replica(world, i))->config_epoch, 1);
        world_crash(world, i, true);
        world_start(world, i, false);
        assert_int_equal(replica_members_committed(world_replica(world, i))->count, 3);
    }
    world->cut[2] = false;
    assert_true(world_run_until(world, 30000, third_ingested));
}

// A node that is added learns of it from its leader alone: it opens by need, is filled by a
// snapshot, and when it is removed it never comes back as it was.
static void test_snapshot_fills_a_replica_that_was_added(void **state) {
    (void)state;
    struct world *world = world_create(4, 3, 9);
    start_all(world);
    world_puts(world, 60);
    world_run(world, 500);
    static const uint32_t with_fourth[] = {1, 2, 4};
    static const uint32_t with_third[] = {1, 2, 3};
    world_want(world, with_fourth, 3);
    assert_true(world_run_until(world, 20000, world_is_equal));
    assert_true(world_node(world, 4)->ingests_ended > 0);
    assert_null(world_replica(world, 3));
    assert_true(world_node(world, 3)->removed > 0);
    assert_int_equal(world_node(world, 3)->log.now.bounds.removed_incarnation, 1);
    assert_int_equal(
        replica_table_open_as(world_node(world, 3)->table, &world->descriptor, 1, false),
        STATUS_FAILED_PRECONDITION);
    world_puts(world, 30);
    world_want(world, with_third, 3);
    assert_true(world_run_until(world, 20000, world_is_equal));
    assert_true(replica_incarnation(world_replica(world, 3)) > 1);
    assert_null(world_replica(world, 4));
    world_puts(world, 3);
    world_run(world, 300);
    assert_true(world_is_equal(world));
    world_destroy(world);
}

static struct world_letter kept;  // some message to replica 3 in its first life

static bool keep_letter(struct world *world, const struct world_letter *letter) {
    (void)world;
    if (letter->type == PEER_RAFT && letter->to.v == 3 && kept.body == NULL) {
        kept = *letter;
        (void)bytes_ref(kept.body);
    }
    return true;
}

static bool third_gone(struct world *world) {
    return world_replica(world, 3) == NULL;
}

// Its log is forgotten durably, its state is not: the crash came before a flush. An old message
// does not bring it back, and its successor does not take the remains for its own.
static void test_snapshot_successor_of_a_removed_replica_begins_empty(void **state) {
    (void)state;
    mark_reset_all();
    struct world *world = world_create(4, 3, 21);
    world->filter = keep_letter;
    start_all(world);
    world->filter = NULL;
    world_puts(world, 30);
    world_run(world, 500);
    static const uint32_t with_fourth[] = {1, 2, 4};
    static const uint32_t with_third[] = {1, 2, 3};
    world_node(world, 3)->flush_due_ns = UINT64_MAX;
    world_want(world, with_fourth, 3);
    assert_true(world_run_until(world, 20000, third_gone));
    assert_int_equal(replica_table_on_message(world_node(world, 3)->table, kept.from, kept.type,
                                              kept.body, bytes_slice(kept.body)),
                     STATUS_OK);
    bytes_unref(kept.body);
    kept = (struct world_letter){0};
    assert_true(third_gone(world));
    assert_true(mark_count("replica.open.tombstone") > 0);
    world_crash(world, 3, true);
    assert_true(world_node(world, 3)->state.applied > 0);
    world_node(world, 3)->flush_due_ns = 0;
    world_start(world, 3, false);
    assert_true(world_run_until(world, 20000, world_is_equal));
    world_want(world, with_third, 3);
    assert_true(world_run_until(world, 20000, world_is_equal));
    assert_true(mark_count("replica.open.leftovers") > 0);
    world_destroy(world);
}

// Whose log is it? Its hard state cannot be read, so no incarnation may go on with it, and none may
// take it for the remains of an older one: it may hold what a quorum needs.
static void test_snapshot_anonymous_log_is_neither_used_nor_wiped(void **state) {
    (void)state;
    struct world *world = world_create(4, 3, 22);
    start_all(world);
    struct world_node *fourth = world_node(world, 4);
    fourth->log.now.bounds =
        (struct log_bounds){.last_index = 5, .damaged_from = 1, .base_ceiling = HLC_ZERO};
    for (uint64_t incarnation = 1; incarnation <= 9; incarnation += 8) {
        assert_int_equal(
            replica_table_open_as(fourth->table, &world->descriptor, incarnation, false),
            STATUS_CORRUPT);
        assert_null(world_replica(world, 4));
        assert_int_equal(fourth->log.now.bounds.last_index, 5);
        assert_int_equal(fourth->log.now.bounds.removed_incarnation, 0);
    }
    fourth->log.now.bounds = (struct log_bounds){0};
    world_destroy(world);
}

// What an older incarnation had received by half is not held against one that has heard of a term,
// and of nothing else, before the crash.
static void test_snapshot_half_a_state_of_a_removed_replica_is_wiped(void **state) {
    (void)state;
    mark_reset_all();
    struct world *world = world_create(4, 3, 23);
    start_all(world);
    struct world_node *fourth = world_node(world, 4);
    fourth->state.hollow = true;
    fourth->log.now.bounds =
        (struct log_bounds){.hard_state = {.term = 3, .incarnation = 9}, .removed_incarnation = 5};
    assert_int_equal(replica_table_open_as(fourth->table, &world->descriptor, 9, false), STATUS_OK);
    assert_int_equal(replica_health(world_replica(world, 4)), RAFT_WHOLE);
    assert_false(fourth->state.hollow);
    assert_int_equal(mark_count("replica.open.leftovers"), 1);
    world_destroy(world);
}

// It never heard that it was removed, and is spoken to as its successor.
static void test_snapshot_older_incarnation_gives_way(void **state) {
    (void)state;
    mark_reset_all();
    struct world *world = world_create(4, 3, 22);
    start_all(world);
    world_puts(world, 30);
    world->deaf = true;
    static const uint32_t with_fourth[] = {1, 2, 4};
    static const uint32_t with_third[] = {1, 2, 3};
    world_want(world, with_fourth, 3);
    world_run(world, 5000);
    assert_int_equal(world->committed.count, 3);
    assert_null(raft_membership_find(&world->committed, (struct node_id){3}));
    assert_int_equal(replica_incarnation(world_replica(world, 3)), 1);
    world_want(world, with_third, 3);
    world_run(world, 5000);
    assert_true(replica_incarnation(world_replica(world, 3)) > 1);
    assert_true(mark_count("replica.open.newer_incarnation") > 0);
    world->deaf = false;
    assert_true(world_run_until(world, 20000, world_is_equal));
    world_destroy(world);
}

static void test_snapshot_with_a_chunk_that_is_none_is_begun_anew(void **state) {
    struct world *world = *state;
    leave_behind(world);
    world->refuse_chunks = 2;
    world->cut[2] = false;
    assert_true(world_run_until(world, 5000, world_is_equal));
    assert_true(mark_count("replica.snapshot.chunk_refused") == 2);
    assert_int_equal(world_node(world, 3)->ingests_begun, 3);
}

static void test_snapshot_place_of_a_silent_sender_is_free_again(void **state) {
    struct world *world = *state;
    world->chunk_pad = 300 << 10;
    world->delay_ns_max = 20000000;
    leave_behind(world);
    world->cut[2] = false;
    assert_true(world_run_until(world, 3000, third_hears));
    world_crash(world, 1, true);
    world_crash(world, 2, true);
    world_run(world, 15000);
    assert_true(third_hears(world));
    world_run(world, 7000);
    assert_false(third_hears(world));
    assert_true(mark_count("replica.snapshot.sender_silent") > 0);
    world_start(world, 1, false);
    world_start(world, 2, false);
    assert_true(world_run_until(world, 20000, world_is_equal));
}

struct ended {
    struct replica_proposal proposal;
    enum status status;
    bool done;
};

static void ended_done(struct replica_proposal *proposal,
                       const struct replica_proposal_result *result) {
    struct ended *ended = (struct ended *)proposal;
    ended->done = true;
    ended->status = result->status;
}

static void test_snapshot_removal_ends_what_is_pending(void **state) {
    struct world *world = *state;
    world->cut[0] = true;
    struct ended put = {
        .proposal = {.payload = SLICE_LITERAL("12345678"), .shard_epoch = 1, .done = ended_done}};
    assert_int_equal(replica_propose(world_replica(world, 1), &put.proposal), STATUS_OK);
    struct world_node *first = world_node(world, 1);
    assert_int_equal(replica_table_remove(first->table, WORLD_SHARD), STATUS_OK);
    assert_true(put.done);
    assert_true(put.status == STATUS_NOT_LEADER || put.status == STATUS_UNAVAILABLE);
    assert_int_equal(replica_table_remove(first->table, WORLD_SHARD), STATUS_NOT_FOUND);
    assert_int_equal(replica_table_count(first->table), 0);
    world_run(world, 200);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_snapshot_of_a_lagging_follower_goes_on_by_the_log),
        TEST(test_snapshot_receiver_is_hollow_and_serves_nothing),
        TEST(test_snapshot_waits_for_a_flush_that_began_after_it),
        cmocka_unit_test(test_snapshot_receiver_crashes_at_each_step),
        TEST(test_snapshot_sender_crashes_midway_and_another_leader_sends),
        TEST(test_snapshot_is_replaced_by_that_of_a_later_leader),
        TEST(test_snapshot_over_a_bad_network_arrives_whole),
        TEST(test_snapshot_to_a_silent_receiver_is_given_up),
        TEST(test_snapshot_to_a_peer_that_went_away_is_given_up),
        TEST(test_snapshot_is_asked_for_by_a_hollow_replica_that_restarted),
        TEST(test_snapshot_to_a_voter_of_a_first_change_that_outlived_a_restart),
        TEST(test_snapshot_heals_a_damaged_log),
        TEST(test_snapshot_leader_appends_until_it_reaches_far_enough),
        TEST(test_snapshot_trim_keeps_what_a_peer_needs_within_the_lag),
        TEST(test_snapshot_log_never_loses_its_last_entry_to_trimming),
        TEST(test_snapshot_carries_the_ceiling),
        TEST(test_snapshot_replaces_a_state_that_was_lost),
        cmocka_unit_test(test_snapshot_at_most_two_are_sent_at_once),
        cmocka_unit_test(test_snapshot_fills_a_replica_that_was_added),
        cmocka_unit_test(test_snapshot_successor_of_a_removed_replica_begins_empty),
        cmocka_unit_test(test_snapshot_half_a_state_of_a_removed_replica_is_wiped),
        cmocka_unit_test(test_snapshot_older_incarnation_gives_way),
        cmocka_unit_test(test_snapshot_anonymous_log_is_neither_used_nor_wiped),
        TEST(test_snapshot_with_a_chunk_that_is_none_is_begun_anew),
        TEST(test_snapshot_place_of_a_silent_sender_is_free_again),
        TEST(test_snapshot_removal_ends_what_is_pending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
