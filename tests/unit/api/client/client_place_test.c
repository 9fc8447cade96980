// SPDX-License-Identifier: Apache-2.0
// A client that says where it is: what touches shards with several leaders goes to a node near it,
// so that the way to the leaders and back is gone once. Node 1 is in the east and leads what lies
// below "m"; node 2 is in the west, and so is the client.
#include "dataplane/base/assert.h"
#include "tests/unit/api/client/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct fake_node *near;
static const char *addresses[2];

static void open_two(struct world *world, uint32_t second_leader) {
    near = fake_node_create(0, 0);
    addresses[0] = fake_node_address(world->node);
    addresses[1] = fake_node_address(near);
    struct fake_node *nodes[] = {world->node, near};
    for (size_t i = 0; i < 2; i++) {
        fake_node_point_to(nodes[i], addresses[0]);
        fake_node_follower(nodes[i], addresses[1]);
        fake_node_split(nodes[i], second_leader);
    }
}

static struct lc_client *connect_from(const struct world *world, const char *region,
                                      const char *zone) {
    struct lc_client *client = NULL;
    struct err err = {0};
    const struct lc_config config = {.addresses = addresses,
                                     .address_count = 2,
                                     .mode = world->mode,
                                     .region = region,
                                     .zone = zone};
    if (lc_connect(&config, &client, &err) != STATUS_OK) { FATAL("%s", err.message); }
    return client;
}

static void commit_all(struct lc_client *client, const struct lc_mutation *mutations,
                       uint32_t count) {
    const struct lc_commit commit = {
        .keyspace = FAKE_KEYSPACE, .mutations = mutations, .mutation_count = count};
    struct lc_reply reply;
    assert_int_equal(lc_commit_wait(client, &commit, 0, &reply), STATUS_OK);
    lc_reply_free(&reply);
}

static void put_both(struct lc_client *client, const char *first, const char *second) {
    const struct lc_mutation mutations[] = {
        {.kind = LC_PUT, .key = world_text(first), .value = world_text("1")},
        {.kind = LC_PUT, .key = world_text(second), .value = world_text("2")}};
    commit_all(client, mutations, 2);
}

static void read_both(struct lc_client *client, const char *first, const char *second,
                      enum lc_consistency consistency) {
    const struct slice keys[] = {world_text(first), world_text(second)};
    const struct lc_read read = {
        .keyspace = FAKE_KEYSPACE, .keys = keys, .key_count = 2, .consistency = consistency};
    struct lc_reply reply;
    assert_int_equal(lc_read_wait(client, &read, 0, &reply), STATUS_OK);
    lc_reply_free(&reply);
}

// How many requests went to the near node during what `step` does.
static uint32_t near_served(struct lc_client *client, void (*step)(struct lc_client *client)) {
    const uint32_t before = fake_node_started(near);
    step(client);
    return fake_node_started(near) - before;
}

static void put_one(struct lc_client *client) {
    (void)world_put(client, "a", "1");
}
static void put_in_one_shard(struct lc_client *client) {
    put_both(client, "a", "b");
}
static void put_in_two(struct lc_client *client) {
    put_both(client, "a", "z");
}
static void put_in_two_down(struct lc_client *client) {
    put_both(client, "l", "m");
}
static void read_in_one_shard(struct lc_client *client) {
    read_both(client, "b", "a", LC_STRONG);
}
static void read_in_two(struct lc_client *client) {
    read_both(client, "a", "z", LC_STRONG);
}
static void read_any(struct lc_client *client) {
    read_both(client, "a", "b", LC_ANY);
}
static void delete_range(struct lc_client *client) {
    const struct lc_mutation mutation = {
        .kind = LC_DELETE_RANGE, .key = world_text("b"), .value = world_text("x")};
    commit_all(client, &mutation, 1);
}

static void test_place_what_has_several_leaders_goes_near(void **state) {
    struct world *world = *state;
    open_two(world, 2);
    struct lc_client *client = connect_from(world, "west", NULL);
    assert_int_equal(near_served(client, put_one), 0);
    assert_int_equal(near_served(client, put_in_one_shard), 0);
    assert_int_equal(near_served(client, read_in_one_shard), 0);
    assert_int_equal(near_served(client, put_in_two), 1);
    assert_int_equal(near_served(client, put_in_two_down), 1);
    assert_int_equal(near_served(client, read_in_two), 1);
    assert_int_equal(near_served(client, delete_range), 1);
    assert_int_equal(near_served(client, read_any), 1);
    lc_close(client);
    fake_node_destroy(near);
}

// One leader is asked at once, wherever it is: going by way of another would be further.
static void test_place_one_leader_is_asked_at_once(void **state) {
    struct world *world = *state;
    open_two(world, 1);
    struct lc_client *client = connect_from(world, "west", NULL);
    assert_int_equal(near_served(client, put_in_two), 0);
    assert_int_equal(near_served(client, read_in_two), 0);
    lc_close(client);
    fake_node_destroy(near);
}

static void test_place_unknown_or_the_leader_s(void **state) {
    struct world *world = *state;
    open_two(world, 2);
    struct lc_client *nowhere = connect_from(world, NULL, NULL);
    assert_int_equal(near_served(nowhere, put_in_two), 0);
    assert_int_equal(near_served(nowhere, read_any), 0);  // the one named first
    lc_close(nowhere);
    struct lc_client *east = connect_from(world, "east", NULL);
    assert_int_equal(near_served(east, put_in_two), 0);
    assert_int_equal(near_served(east, read_any), 0);
    lc_close(east);
    // In the region, in another zone: still nearer than another region.
    struct lc_client *zone = connect_from(world, "west", "b");
    assert_int_equal(near_served(zone, put_in_two), 1);
    lc_close(zone);
    // No node there: as if nothing had been said.
    struct lc_client *south = connect_from(world, "south", NULL);
    assert_int_equal(near_served(south, put_in_two), 0);
    lc_close(south);
    fake_node_destroy(near);
}

static void test_place_too_long(void **state) {
    struct world *world = *state;
    const char *address = fake_node_address(world->node);
    char name[129] = {0};
    memset(name, 'x', sizeof(name) - 1);
    struct lc_config config = {
        .addresses = &address, .address_count = 1, .mode = world->mode, .zone = name};
    struct lc_client *client = NULL;
    struct err err = {0};
    assert_int_equal(lc_connect(&config, &client, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "zone: longer than 127 bytes");
    name[127] = 0;
    assert_int_equal(lc_connect(&config, &client, &err), STATUS_OK);
    lc_close(client);
}

// A near node that fails is no obstacle.
static void test_place_a_near_node_that_fails(void **state) {
    struct world *world = *state;
    open_two(world, 2);
    struct lc_client *client = connect_from(world, "west", NULL);
    assert_int_equal(near_served(client, put_in_two), 1);
    fake_node_destroy(near);
    put_in_two(client);
    assert_true(world_holds(client, "z", "2"));
    lc_close(client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_BOTH(test_place_what_has_several_leaders_goes_near),
        WORLD_BOTH(test_place_one_leader_is_asked_at_once),
        WORLD_BOTH(test_place_unknown_or_the_leader_s),
        WORLD_BATCH(test_place_too_long),
        WORLD_BATCH(test_place_a_near_node_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
