// SPDX-License-Identifier: Apache-2.0
// replica_test.c - three tables in one process: proposals, reads, leadership and frontiers, with
// time and messages by hand.

#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "dataplane/replica/replica_table.h"
#include "tests/lib/fake_log.h"

#include <string.h>

// cmocka wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { NODES = 3, QUEUE_MAX = 4096, APPLIED_MAX = 4096 };
static const struct shard_id SHARD = {16};

struct world;

struct node {
    struct world *world;
    struct node_id id;
    struct env env;
    struct fake_log *log;
    struct support support;
    struct hlc_clock hlc;
    struct replica_table *table;
    struct state_machine machine;
    uint64_t applied;
    struct hlc_ts last_applied;
    bool ended;
    int64_t wall_offset_us;
};

struct letter {
    struct node_id from;
    struct node_id to;
    enum peer_message_type type;
    struct bytes *body;
};

struct world {
    struct node nodes[NODES];
    uint64_t now_ns;
    struct prng prng;
    struct letter queue[QUEUE_MAX];
    uint32_t head;
    uint32_t tail;
    uint32_t pending_max;
    uint32_t cut;  // this node number is cut off; 0 = nobody
};

static uint64_t env_mono(void *ctx) {
    return ((struct node *)ctx)->world->now_ns;
}
static uint64_t env_wall(void *ctx) {
    const struct node *node = ctx;
    return (uint64_t)((int64_t)(1700000000000000 + node->world->now_ns / 1000) +
                      node->wall_offset_us);
}
static uint64_t env_bits(void *ctx) {
    return prng_next(&((struct node *)ctx)->world->prng);
}
static void env_post(void *ctx, struct node_id peer, enum peer_message_type type,
                     struct slice body) {
    struct node *node = ctx;
    struct world *world = node->world;
    if (world->cut == peer.v || world->cut == node->id.v) { return; }
    assert_true(world->tail - world->head < QUEUE_MAX);
    world->queue[world->tail++ % QUEUE_MAX] =
        (struct letter){node->id, peer, type, bytes_copy(body)};
}

static uint64_t machine_applied(void *ctx, struct shard_id shard) {
    (void)shard;
    return ((struct node *)ctx)->applied;
}
static void machine_apply(void *ctx, struct shard_id shard, const struct log_entry *entry,
                          struct apply_result *out) {
    (void)shard;
    struct node *node = ctx;
    assert_int_equal(entry->index, node->applied + 1);
    node->applied = entry->index;
    node->ended = false;
    if (entry->timestamp.v != 0) {
        assert_true(hlc_before(node->last_applied, entry->timestamp));
        node->last_applied = entry->timestamp;
    }
    out->status = STATUS_OK;
    out->payload = entry->payload;
}
static void machine_end(void *ctx) {
    ((struct node *)ctx)->ended = true;
}
static void machine_remove(void *ctx, struct shard_id shard) {
    (void)ctx;
    (void)shard;
}
static void machine_base(void *ctx, struct shard_id shard, struct buf *out) {
    (void)ctx;
    (void)shard;
    (void)out;
}
static bool machine_hollow(void *ctx, struct shard_id shard) {
    (void)ctx;
    (void)shard;
    return false;
}
static const struct state_machine *machine_for(void *ctx, struct shard_id shard) {
    (void)shard;
    return &((struct node *)ctx)->machine;
}

static void descriptor_make(struct shard_descriptor *out) {
    *out = (struct shard_descriptor){
        .id = SHARD, .epoch = 1, .config_epoch = 1, .replica_count = NODES};
    out->start = bytes_copy(SLICE_LITERAL("a"));
    out->end = bytes_copy(SLICE_EMPTY);
    for (uint32_t i = 0; i < NODES; i++) {
        out->replicas[i] =
            (struct shard_replica){.node = {i + 1}, .role = SHARD_VOTER, .incarnation = 1};
    }
}

static void node_start(struct node *node, bool first_leader) {
    struct support_config support = {node->id, 1, 1000000000, 100000000, node->world->now_ns};
    support_init(&node->support, &support);
    hlc_init(&node->hlc, 1000000);
    struct replica_table_config config = {
        .self = node->id,
        .env = &node->env,
        .log = &node->log->port,
        .support = &node->support,
        .hlc = &node->hlc,
        .machine_for = machine_for,
        .ctx = node,
        .election_ns_min = 150000000,
        .resend_ns = 100000000,
        .ceiling_window_us = 400000,
        .frontier_interval_ns = 20000000,
        .pending_max = node->world->pending_max,
        .pending_size_max = 64 << 20,
    };
    node->table = replica_table_create(&config);
    struct shard_descriptor descriptor;
    descriptor_make(&descriptor);
    assert_int_equal(replica_table_open(node->table, &descriptor, first_leader), STATUS_OK);
    assert_int_equal(replica_table_open(node->table, &descriptor, first_leader),
                     STATUS_ALREADY_EXISTS);
    shard_descriptor_deinit(&descriptor);
}

static int setup_with(void **state, uint32_t pending_max) {
    struct world *world = mem_alloc(sizeof(*world));
    world->pending_max = pending_max;
    world->now_ns = 1000000000;
    prng_init(&world->prng, 42);
    for (uint32_t i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        node->world = world;
        node->id = (struct node_id){i + 1};
        node->env = (struct env){node, env_mono, env_wall, env_bits, env_post};
        node->machine = (struct state_machine){.ctx = node,
                                               .applied = machine_applied,
                                               .apply = machine_apply,
                                               .end = machine_end,
                                               .remove = machine_remove,
                                               .base = machine_base,
                                               .hollow = machine_hollow};
        node->log = mem_alloc(sizeof(*node->log));
        fake_log_init(node->log);
        node_start(node, i == 0);
    }
    *state = world;
    return 0;
}

static int setup(void **state) {
    return setup_with(state, 8);
}
static int setup_wide(void **state) {
    return setup_with(state, 10000);
}

static int teardown(void **state) {
    struct world *world = *state;
    for (uint32_t i = 0; i < NODES; i++) {
        replica_table_destroy(world->nodes[i].table);
        fake_log_deinit(world->nodes[i].log);
        mem_free(world->nodes[i].log);
    }
    while (world->head < world->tail) {
        bytes_unref(world->queue[world->head++ % QUEUE_MAX].body);
    }
    mem_free(world);
    return 0;
}

static void turn(struct node *node) {
    replica_table_turn(node->table);
    struct log_completion done[FAKE_LOG_SHARDS_MAX];
    uint32_t count = fake_log_sync(node->log, done);
    replica_table_on_durable(node->table, done, count);
    replica_table_turn(node->table);
    replica_table_check(node->table);
}

// Runs messages and timers for a while of virtual time.
static void run(struct world *world, uint64_t ms) {
    uint64_t until = world->now_ns + ms * 1000000;
    while (world->now_ns < until) {
        while (world->head < world->tail) {
            struct letter letter = world->queue[world->head++ % QUEUE_MAX];
            struct node *to = &world->nodes[letter.to.v - 1];
            if (world->cut != letter.to.v && world->cut != letter.from.v) {
                assert_int_equal(replica_table_on_message(to->table, letter.from, letter.type,
                                                          letter.body, bytes_slice(letter.body)),
                                 STATUS_OK);
                turn(to);
            }
            bytes_unref(letter.body);
        }
        world->now_ns += 5000000;
        for (uint32_t i = 0; i < NODES; i++) {
            replica_table_on_time(world->nodes[i].table);
            turn(&world->nodes[i]);
        }
    }
}

static struct replica *replica_of(struct world *world, uint32_t node) {
    return replica_table_find(world->nodes[node - 1].table, SHARD);
}

static uint32_t leader_of(struct world *world) {
    for (uint32_t i = 1; i <= NODES; i++) {
        if (i != world->cut && replica_is_leader(replica_of(world, i))) { return i; }
    }
    return 0;
}

struct put {
    struct replica_proposal proposal;
    struct replica_proposal_result result;
    bool done;
};

static void put_done(struct replica_proposal *proposal,
                     const struct replica_proposal_result *result) {
    struct put *put = (struct put *)proposal;
    assert_false(put->done);
    put->done = true;
    put->result = *result;
}

static enum status put_start(struct world *world, uint32_t node, struct put *put) {
    *put = (struct put){
        .proposal = {.payload = SLICE_LITERAL("value"), .shard_epoch = 1, .done = put_done}};
    enum status st = replica_propose(replica_of(world, node), &put->proposal);
    turn(&world->nodes[node - 1]);
    return st;
}

static void test_replica_put_on_the_first_leader_is_applied_everywhere(void **state) {
    struct world *world = *state;
    run(world, 500);
    assert_int_equal(leader_of(world), 1);
    struct put put;
    assert_int_equal(put_start(world, 1, &put), STATUS_OK);
    assert_false(put.done);  // a majority has not answered yet
    run(world, 100);
    assert_true(put.done);
    assert_int_equal(put.result.status, STATUS_OK);
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(world->nodes[i].applied, put.result.index);
        assert_true(world->nodes[i].ended);
    }
}

static void test_replica_refuses_proposals_it_must_not_take(void **state) {
    struct world *world = *state;
    run(world, 500);
    struct put put;
    assert_int_equal(put_start(world, 2, &put), STATUS_NOT_LEADER);
    put.proposal.shard_epoch = 2;
    assert_int_equal(replica_propose(replica_of(world, 1), &put.proposal), STATUS_STALE_SHARD_MAP);
    world->cut = 1;  // nothing commits any more: the bound on what is in flight is reached
    struct put puts[9];
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(put_start(world, 1, &puts[i]), STATUS_OK);
    }
    assert_int_equal(put_start(world, 1, &puts[8]), STATUS_OVERLOADED);
    run(world, 5000);  // the old leader steps down: those proposals may or may not commit
    for (uint32_t i = 0; i < 8; i++) {
        assert_true(puts[i].done);
        assert_int_equal(puts[i].result.status, STATUS_UNAVAILABLE);
    }
}

static void read_confirmed(struct replica_read *read, enum status status) {
    read->token = 1000 + (uint64_t)status;
}

static void test_replica_read_under_a_lease_sees_every_acknowledged_write(void **state) {
    struct world *world = *state;
    run(world, 500);
    struct put put;
    assert_int_equal(put_start(world, 1, &put), STATUS_OK);
    run(world, 100);
    struct replica_read read = {.confirmed = read_confirmed};
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_OK);
    assert_false(hlc_before(read.timestamp, put.result.timestamp));
    assert_int_equal(replica_read_confirm(replica_of(world, 1), &read), STATUS_OK);
    assert_true(read.by_lease);
    struct replica_frontiers f;
    replica_frontiers(replica_of(world, 1), &f);
    assert_false(hlc_before(f.ceiling, read.timestamp));
    assert_int_equal(replica_read_begin(replica_of(world, 2), &read), STATUS_NOT_LEADER);
}

// The process slept between the read and its answer: somebody else may lead since then.
static void test_replica_read_that_outlives_the_lease_needs_a_round(void **state) {
    struct world *world = *state;
    run(world, 500);
    struct replica_read read = {.confirmed = read_confirmed};
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_OK);
    world->now_ns += UINT64_C(10000000000);
    assert_int_equal(replica_read_confirm(replica_of(world, 1), &read), STATUS_UNAVAILABLE);
    assert_false(read.by_lease);
    run(world, 2000);
    assert_true(read.token >= 1000);
}

static void test_replica_read_below_a_write_in_flight_does_not_wait(void **state) {
    struct world *world = *state;
    run(world, 500);
    struct put put;
    assert_int_equal(put_start(world, 1, &put),
                     STATUS_OK);  // in flight: no message was delivered yet
    struct replica_read read = {.confirmed = read_confirmed};
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_OK);
    run(world, 100);
    assert_true(put.done);
    assert_true(hlc_before(read.timestamp, put.result.timestamp));
}

static void test_replica_read_index_is_confirmed_by_a_round(void **state) {
    struct world *world = *state;
    run(world, 500);
    struct replica_read read = {.read_index = true, .confirmed = read_confirmed};
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_OK);
    assert_int_equal(replica_read_confirm(replica_of(world, 1), &read), STATUS_UNAVAILABLE);
    turn(&world->nodes[0]);
    run(world, 50);
    assert_int_equal(read.token, 1000 + STATUS_OK);
}

// A read that names its snapshot waits for what is in flight below it, and for the ceiling.
static void test_replica_reads_at_exactly_the_timestamp_asked_for(void **state) {
    struct world *world = *state;
    run(world, 500);
    struct node *leader = &world->nodes[0];
    struct put put;
    assert_int_equal(put_start(world, 1, &put), STATUS_OK);  // in flight
    const struct hlc_ts at = hlc_now(&leader->hlc, env_wall_us(&leader->env));
    struct replica_read read = {.at = at, .confirmed = read_confirmed};
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_UNAVAILABLE);
    run(world, 100);
    assert_true(put.done && hlc_before(put.result.timestamp, at));
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_OK);
    assert_true(hlc_equal(read.timestamp, at));
    assert_int_equal(replica_read_confirm(replica_of(world, 1), &read), STATUS_OK);
    // Far below what is closed by now: the past is as good.
    run(world, 1000);
    read.at = (struct hlc_ts){put.result.timestamp.v - 1};
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_OK);
    assert_true(hlc_equal(read.timestamp, read.at));
    // Above the ceiling of an idle shard: a renewal is on its way.
    run(world, 3000);
    read.at = hlc_now(&leader->hlc, env_wall_us(&leader->env));
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_UNAVAILABLE);
    turn(leader);
    run(world, 50);
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_OK);
    assert_true(hlc_equal(read.timestamp, read.at));
}

static void test_replica_reads_what_is_closed_anywhere(void **state) {
    struct world *world = *state;
    run(world, 500);
    struct put put;
    assert_int_equal(put_start(world, 1, &put), STATUS_OK);
    run(world, 200);
    for (uint32_t i = 1; i <= NODES; i++) {
        struct replica *replica = replica_of(world, i);
        struct replica_read read = {.at_least = put.result.timestamp};
        assert_int_equal(replica_read_closed(replica, &read), STATUS_OK);
        assert_false(hlc_before(read.timestamp, put.result.timestamp));
        assert_true(hlc_equal(read.timestamp, read.closed));
        assert_int_equal(read.index, put.result.index);
        const struct hlc_ts closed = read.closed;
        read = (struct replica_read){.at = {put.result.timestamp.v - 1}};
        assert_int_equal(replica_read_closed(replica, &read), STATUS_OK);
        assert_int_equal(read.timestamp.v, put.result.timestamp.v - 1);
        // One more than is promised.
        read = (struct replica_read){.at = hlc_add_us(closed, 1000000)};
        assert_int_equal(replica_read_closed(replica, &read), STATUS_UNAVAILABLE);
        read = (struct replica_read){.at_least = hlc_add_us(closed, 1000000)};
        assert_int_equal(replica_read_closed(replica, &read), STATUS_UNAVAILABLE);
    }
    // What a leader served at, no write comes at or below.
    struct replica_read read = {0};
    assert_int_equal(replica_read_closed(replica_of(world, 1), &read), STATUS_OK);
    const struct hlc_ts served = read.timestamp;
    assert_int_equal(put_start(world, 1, &put), STATUS_OK);
    assert_int_equal(replica_read_closed(replica_of(world, 1), &read), STATUS_OK);
    const struct hlc_ts beside = read.timestamp;
    run(world, 100);
    assert_true(hlc_before(served, put.result.timestamp));
    assert_true(hlc_before(beside, put.result.timestamp));
}

// A replica that knows of nothing closed serves nothing; one that is cut off serves the past.
static void test_replica_serves_the_past_without_a_leader(void **state) {
    struct world *world = *state;
    struct replica_read read = {0};
    assert_int_equal(replica_read_closed(replica_of(world, 2), &read), STATUS_UNAVAILABLE);
    run(world, 500);
    struct put put;
    assert_int_equal(put_start(world, 1, &put), STATUS_OK);
    run(world, 200);
    world->cut = 2;
    run(world, 3000);
    read = (struct replica_read){.at = put.result.timestamp};
    assert_int_equal(replica_read_closed(replica_of(world, 2), &read), STATUS_OK);
    struct replica_read later = {.at = read.closed};
    assert_int_equal(put_start(world, 1, &put), STATUS_OK);
    run(world, 100);
    assert_true(put.done && hlc_before(later.at, put.result.timestamp));
    assert_int_equal(replica_read_closed(replica_of(world, 2), &later), STATUS_OK);
    later.at = put.result.timestamp;
    assert_int_equal(replica_read_closed(replica_of(world, 2), &later), STATUS_UNAVAILABLE);
}

static void test_replica_new_leader_assigns_above_everything_the_old_one_served(void **state) {
    struct world *world = *state;
    run(world, 500);
    world->nodes[1].wall_offset_us =
        -3600000000;  // an hour behind: only the ceiling keeps it honest
    world->nodes[2].wall_offset_us = -3600000000;
    struct replica_read read = {.confirmed = read_confirmed};
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_OK);
    assert_int_equal(replica_read_confirm(replica_of(world, 1), &read), STATUS_OK);
    world->cut = 1;
    run(world, 4000);
    uint32_t leader = leader_of(world);
    assert_true(leader == 2 || leader == 3);
    struct put put;
    assert_int_equal(put_start(world, leader, &put), STATUS_OK);
    run(world, 200);
    assert_true(put.done);
    assert_true(hlc_before(read.timestamp, put.result.timestamp));
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read) == STATUS_OK
                         ? replica_read_confirm(replica_of(world, 1), &read)
                         : STATUS_NOT_LEADER,
                     STATUS_NOT_LEADER);  // the zombie does not serve
}

static void test_replica_closed_follows_on_an_idle_shard(void **state) {
    struct world *world = *state;
    run(world, 3000);
    struct replica_frontiers leader;
    struct replica_frontiers follower;
    replica_frontiers(replica_of(world, 1), &leader);
    replica_frontiers(replica_of(world, 2), &follower);
    assert_true(follower.closed.v > 0);
    assert_false(hlc_before(leader.closed, follower.closed));
    assert_int_equal(follower.applied, leader.applied);
    assert_false(hlc_before(leader.ceiling, leader.closed));
    assert_int_equal(leader.closed_hold, REPLICA_HELD_BY_CEILING);
    assert_int_equal(follower.closed_hold, REPLICA_HELD_BY_NOTHING);
    // Each entry brings a new ceiling, and holds closed below itself until it is applied.
    struct put puts[2];
    assert_int_equal(put_start(world, 1, &puts[0]), STATUS_OK);
    run(world, 50);
    replica_frontiers(replica_of(world, 1), &leader);
    const enum replica_hold between = leader.closed_hold;
    assert_int_equal(put_start(world, 1, &puts[1]), STATUS_OK);
    replica_frontiers(replica_of(world, 1), &leader);
    const enum replica_hold during = leader.closed_hold;
    run(world, 50);
    assert_true(puts[0].done && puts[1].done);
    assert_int_equal(between, REPLICA_HELD_BY_NOTHING);
    assert_int_equal(during, REPLICA_HELD_BY_IN_FLIGHT);
}

// One put after the other through node 1, each applied before the next.
static void put_twenty(struct world *world) {
    struct put put;
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(put_start(world, 1, &put), STATUS_OK);
        run(world, 20);
        assert_true(put.done);
    }
}

static void test_replica_trim_keeps_what_a_replica_needs_and_the_last_entry(void **state) {
    struct world *world = *state;
    run(world, 500);
    put_twenty(world);
    struct replica_frontiers f;
    replica_frontiers(replica_of(world, 1), &f);
    replica_table_trim(world->nodes[0].table, SHARD, f.applied);
    replica_frontiers(replica_of(world, 1), &f);
    assert_true(f.trim > 0);
    assert_true(f.trim < f.last);
    world->cut = 3;
    uint64_t behind = f.last;
    put_twenty(world);
    replica_frontiers(replica_of(world, 1), &f);
    replica_table_trim(world->nodes[0].table, SHARD, f.applied);
    replica_frontiers(replica_of(world, 1), &f);
    assert_true(f.trim <= behind);
    world->cut = 0;
    run(world, 2000);
    assert_int_equal(world->nodes[2].applied, world->nodes[0].applied);
}

// What the store has not flushed would be gone after a crash: it has to stay in the log.
static void test_replica_trim_stops_at_what_is_flushed(void **state) {
    struct world *world = *state;
    run(world, 500);
    put_twenty(world);
    const uint64_t flushed = 5;
    replica_table_trim(world->nodes[0].table, SHARD, flushed);
    struct replica_frontiers f;
    replica_frontiers(replica_of(world, 1), &f);
    assert_true(f.applied > flushed);
    assert_int_equal(f.trim, flushed);
}

// More entries are in flight than raft's window holds: the leader must still know a safe timestamp
// below
// all of them.
static void test_replica_reads_while_more_is_in_flight_than_the_window_holds(void **state) {
    struct world *world = *state;
    run(world, 500);
    world->cut = 1;
    enum { PUTS = 9000 };
    struct put *puts = mem_alloc_array(PUTS, sizeof(*puts));
    uint32_t accepted = 0;
    while (accepted < PUTS && put_start(world, 1, &puts[accepted]) == STATUS_OK) {
        accepted++;
    }
    struct replica_read read = {.confirmed = read_confirmed};
    assert_int_equal(replica_read_begin(replica_of(world, 1), &read), STATUS_OK);
    run(world, 50);
    world->cut = 0;
    run(world, 6000);
    for (uint32_t i = 0; i < accepted; i++) {
        assert_true(puts[i].done);
        assert_true(puts[i].result.status != STATUS_OK ||
                    hlc_before(read.timestamp, puts[i].result.timestamp));
    }
    mem_free(puts);
}

static void test_replica_transfer_moves_leadership(void **state) {
    struct world *world = *state;
    run(world, 500);
    assert_int_equal(replica_transfer(replica_of(world, 1), (struct node_id){9}),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(replica_transfer(replica_of(world, 1), (struct node_id){2}), STATUS_OK);
    run(world, 500);
    assert_int_equal(leader_of(world), 2);
}

// Each new leader starts its clock at the ceiling: that must not push the clocks a window ahead
// each time
// (docs/BUGS.md, 4), or peers refuse them in the end.
static void test_replica_many_transfers_do_not_push_the_clocks_ahead(void **state) {
    struct world *world = *state;
    run(world, 500);
    for (uint32_t i = 0; i < 12; i++) {
        uint32_t leader = leader_of(world);
        assert_true(leader != 0);
        struct node_id target = {leader % NODES + 1};
        assert_int_equal(replica_transfer(replica_of(world, leader), target), STATUS_OK);
        run(world, 60);
    }
    for (uint32_t i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        uint64_t ahead_us = hlc_wall_us(hlc_peek(&node->hlc, env_wall(node))) - env_wall(node);
        assert_true(ahead_us < 800000);
    }
}

// The leader steps down alone: its next list of leaderships misses the shard, which releases the
// followers at
// once instead of after the support duration (time.md, Leases: "absence from the list is a
// release").
static void test_replica_absence_from_the_list_releases_the_followers(void **state) {
    struct world *world = *state;
    run(world, 1500);
    mark_reset_all();
    replica_table_resign(world->nodes[0].table, false);
    run(world, 600);
    assert_true(mark_count("replica.leads.released") > 0);
    assert_true(leader_of(world) != 0);
}

static void test_replica_garbage_from_a_peer_is_refused(void **state) {
    struct world *world = *state;
    run(world, 300);
    struct prng prng;
    prng_init(&prng, 7);
    for (uint32_t i = 0; i < 20000; i++) {
        struct bytes *body = bytes_create(prng_below(&prng, 80));
        for (uint32_t k = 0; k < body->size; k++) {
            body->data[k] = (uint8_t)prng_below(&prng, 5);
        }
        enum peer_message_type type =
            (enum peer_message_type)prng_below(&prng, PEER_MESSAGE_TYPE_COUNT);
        if (type != PEER_SUPPORT_REQUEST && type != PEER_SUPPORT_REPLY && type != PEER_LEADS) {
            (void)!replica_table_on_message(world->nodes[0].table, (struct node_id){2}, type, body,
                                            bytes_slice(body));
            turn(&world->nodes[0]);
        }
        bytes_unref(body);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replica_put_on_the_first_leader_is_applied_everywhere,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_replica_refuses_proposals_it_must_not_take, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_replica_read_under_a_lease_sees_every_acknowledged_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replica_read_that_outlives_the_lease_needs_a_round,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_replica_trim_stops_at_what_is_flushed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_replica_read_below_a_write_in_flight_does_not_wait,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_replica_read_index_is_confirmed_by_a_round, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_replica_reads_at_exactly_the_timestamp_asked_for,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_replica_reads_what_is_closed_anywhere, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_replica_serves_the_past_without_a_leader, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_replica_new_leader_assigns_above_everything_the_old_one_served, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replica_closed_follows_on_an_idle_shard, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_replica_trim_keeps_what_a_replica_needs_and_the_last_entry, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_replica_reads_while_more_is_in_flight_than_the_window_holds, setup_wide, teardown),
        cmocka_unit_test_setup_teardown(test_replica_transfer_moves_leadership, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replica_absence_from_the_list_releases_the_followers,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_replica_garbage_from_a_peer_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_replica_many_transfers_do_not_push_the_clocks_ahead,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
