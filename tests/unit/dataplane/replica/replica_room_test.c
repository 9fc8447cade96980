// SPDX-License-Identifier: Apache-2.0
// A disk that fills up: commits are refused, or entries not stored, and everything else goes on.
#include "dataplane/replica/replica_room.h"

#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "tests/unit/dataplane/replica/replica_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SHARDS = 6 };

static int setup(void **state) {
    *state = cluster_create(SHARDS, CLUSTER_NODES);
    cluster_run(*state, 1000);
    return 0;
}

static int teardown(void **state) {
    cluster_destroy(*state);
    return 0;
}

static void set_room(struct cluster *cluster, uint32_t node, enum replica_room room) {
    replica_table_set_room(cluster->nodes[node - 1].table, room, "disk of node 1: full");
}

static uint64_t applied(struct cluster *cluster, uint32_t node, uint32_t place) {
    struct replica_frontiers f;
    replica_frontiers(cluster_replica(cluster, node, place), &f);
    return f.applied;
}

static void proposal_done(struct replica_proposal *self,
                          const struct replica_proposal_result *result) {
    assert_int_equal(result->status, STATUS_OK);
    mem_free(self);
}

static enum status remove_something(struct cluster *cluster, uint32_t node, uint32_t place) {
    struct replica_proposal *proposal = mem_alloc(sizeof(*proposal));
    proposal->payload = SLICE_LITERAL("deletes");
    proposal->shard_epoch = 1;
    proposal->in_reserve = true;
    proposal->done = proposal_done;
    enum status st = replica_propose(cluster_replica(cluster, node, place), proposal);
    if (st != STATUS_OK) { mem_free(proposal); }
    return st;
}

static void test_replica_room_reserve_is_for_what_makes_room(void **state) {
    struct cluster *cluster = *state;
    set_room(cluster, 1, REPLICA_ROOM_RESERVE);
    uint64_t before = applied(cluster, 1, 0);
    assert_int_equal(cluster_put(cluster, 0), STATUS_NO_SPACE);
    assert_string_equal(replica_table_room_text(cluster->nodes[0].table), "disk of node 1: full");
    assert_int_equal(remove_something(cluster, 1, 0), STATUS_OK);
    cluster_run(cluster, 100);
    assert_int_equal(applied(cluster, 1, 0), before + 1);
    assert_int_equal(cluster_put(cluster, 1), STATUS_OK);  // node 2 leads it, and has room
    cluster_run(cluster, 100);
    assert_int_equal(applied(cluster, 1, 1), applied(cluster, 2, 1));
    set_room(cluster, 1, REPLICA_ROOM_NONE);
    assert_int_equal(remove_something(cluster, 1, 0), STATUS_NO_SPACE);
    set_room(cluster, 1, REPLICA_ROOM_ENOUGH);
    assert_int_equal(cluster_put(cluster, 0), STATUS_OK);
}

// Goal: without any room a leader still serves reads, and keeps its lease over a long time.
static void test_replica_room_reads_and_leases_go_on(void **state) {
    struct cluster *cluster = *state;
    set_room(cluster, 1, REPLICA_ROOM_NONE);
    for (uint32_t i = 0; i < 20; i++) {
        struct replica_read read = {0};
        struct replica *replica = cluster_replica(cluster, 1, 0);
        assert_int_equal(replica_read_begin(replica, &read), STATUS_OK);
        assert_int_equal(replica_read_confirm(replica, &read), STATUS_OK);
        assert_true(read.by_lease);
        cluster_run(cluster, 200);
    }
    assert_int_equal(cluster_leader(cluster, 0), 1);
}

// Goal: a follower without room falls behind, votes, and catches up when there is room again.
static void test_replica_room_follower_falls_behind_and_catches_up(void **state) {
    struct cluster *cluster = *state;
    set_room(cluster, 3, REPLICA_ROOM_NONE);
    uint64_t before = applied(cluster, 3, 0);
    uint64_t dropped = mark_count("replica.room.append_dropped");
    for (uint32_t i = 0; i < 30; i++) {
        assert_int_equal(cluster_put(cluster, 0), STATUS_OK);
        cluster_run(cluster, 50);
    }
    assert_true(mark_count("replica.room.append_dropped") > dropped);
    assert_true(applied(cluster, 1, 0) >= before + 30);
    assert_int_equal(applied(cluster, 3, 0), before);
    cluster->cut = 1;  // node 2 has the entries, and needs the vote of node 3
    cluster_run(cluster, 2500);
    assert_int_equal(cluster_leader(cluster, 0), 2);
    set_room(cluster, 3, REPLICA_ROOM_ENOUGH);
    cluster_run(cluster, 3000);
    assert_int_equal(applied(cluster, 3, 0), applied(cluster, 2, 0));
}

// Goal: the chunks of a snapshot are as if lost.
static void test_replica_room_takes_no_snapshots_in(void **state) {
    struct cluster *cluster = *state;
    uint64_t dropped = mark_count("replica.room.snapshot_dropped");
    struct cluster_letter letter = {{1}, {2}, PEER_SNAPSHOT, bytes_copy(SLICE_LITERAL("chunk"))};
    set_room(cluster, 2, REPLICA_ROOM_RESERVE);
    assert_int_equal(cluster_deliver(cluster, &letter), STATUS_OK);
    assert_int_equal(mark_count("replica.room.snapshot_dropped"), dropped + 1);
    set_room(cluster, 2, REPLICA_ROOM_ENOUGH);
    assert_int_equal(cluster_deliver(cluster, &letter), STATUS_CORRUPT);
    bytes_unref(letter.body);
}

int main(void) {
#define ROOM_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_replica_room_reserve_is_for_what_makes_room),
        ROOM_TEST(test_replica_room_reads_and_leases_go_on),
        ROOM_TEST(test_replica_room_follower_falls_behind_and_catches_up),
        ROOM_TEST(test_replica_room_takes_no_snapshots_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
