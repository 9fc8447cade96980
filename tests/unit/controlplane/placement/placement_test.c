// SPDX-License-Identifier: Apache-2.0
// Placement: examples small enough to check by hand, and the balance it promises over random
// topologies.
#include "controlplane/placement/placement.h"

#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { NODES_MAX = 16 };

static struct placement_node node(uint32_t id, const char *region, const char *zone) {
    return (struct placement_node){
        .id = {id}, .region = slice_from_string(region), .zone = slice_from_string(zone)};
}

static void expect(const struct node_id *chosen, const uint32_t *wanted, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(chosen[i].v, wanted[i]);
    }
}

// Goal: first leaders go round.
static void test_placement_three_nodes_eight_shards_leaders_3_3_2(void **state) {
    (void)state;
    struct placement_node nodes[] = {node(1, "", ""), node(2, "", ""), node(3, "", "")};
    for (uint32_t i = 0; i < 8; i++) {
        struct node_id chosen[3];
        assert_int_equal(placement_choose(nodes, 3, 3, chosen), STATUS_OK);
        assert_int_equal(chosen[0].v, i % 3 + 1);
    }
    assert_int_equal(nodes[0].leader_count, 3);
    assert_int_equal(nodes[1].leader_count, 3);
    assert_int_equal(nodes[2].leader_count, 2);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(nodes[i].replica_count, 8);
    }
}

// Goal: the worked example of the README: one replica per region, then the least loaded.
static void test_placement_five_nodes_three_regions_one_replica_each(void **state) {
    (void)state;
    struct placement_node nodes[] = {node(1, "east", "a"), node(2, "east", "b"),
                                     node(3, "north", "a"), node(4, "north", "b"),
                                     node(5, "west", "a")};
    struct node_id chosen[3];
    assert_int_equal(placement_choose(nodes, 5, 3, chosen), STATUS_OK);
    expect(chosen, (uint32_t[]){1, 3, 5}, 3);
    assert_int_equal(placement_choose(nodes, 5, 3, chosen), STATUS_OK);
    // 2, 4 and 5 all lead nothing yet; the smallest id leads.
    expect(chosen, (uint32_t[]){2, 4, 5}, 3);
}

// Goal: inside one region the zones are spread, though a busier node must be taken for it.
static void test_placement_one_region_spreads_over_zones_before_load(void **state) {
    (void)state;
    struct placement_node nodes[] = {node(1, "east", "a"), node(2, "east", "a"),
                                     node(3, "east", "b"), node(4, "east", "c")};
    nodes[2].replica_count = 100;
    nodes[3].replica_count = 50;
    struct node_id chosen[3];
    assert_int_equal(placement_choose(nodes, 4, 3, chosen), STATUS_OK);
    expect(chosen, (uint32_t[]){1, 4, 3}, 3);
}

// Goal: equal zone names in two regions are two zones.
static void test_placement_zone_counts_only_inside_its_region(void **state) {
    (void)state;
    struct placement_node nodes[] = {node(1, "east", "a"), node(2, "west", "b"),
                                     node(3, "west", "a")};
    nodes[1].replica_count = 1;
    struct node_id chosen[3];
    assert_int_equal(placement_choose(nodes, 3, 3, chosen), STATUS_OK);
    // 3 before 2: its zone "a" is not the zone of 1, and it is less loaded.
    expect(chosen, (uint32_t[]){1, 3, 2}, 3);
}

// Goal: five replicas over three regions are 2 + 2 + 1, so that any region may be lost.
static void test_placement_five_replicas_three_regions_survive_any_region(void **state) {
    (void)state;
    const char *regions[] = {"east", "east", "east", "north", "north", "north", "west", "west"};
    struct placement_node nodes[8];
    for (uint32_t i = 0; i < 8; i++) {
        nodes[i] = node(i + 1, regions[i], "");
    }
    struct node_id chosen[5];
    assert_int_equal(placement_choose(nodes, 8, 5, chosen), STATUS_OK);
    uint32_t per_region[3] = {0, 0, 0};
    for (uint32_t i = 0; i < 5; i++) {
        per_region[chosen[i].v <= 3 ? 0 : chosen[i].v <= 6 ? 1 : 2]++;
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(per_region[i] <= 2);
    }
}

// Goal: a refusal changes nothing.
static void test_placement_too_few_nodes_is_refused_unchanged(void **state) {
    (void)state;
    struct placement_node nodes[] = {node(1, "", ""), node(2, "", "")};
    struct node_id chosen[3] = {{7}, {7}, {7}};
    assert_int_equal(placement_choose(nodes, 2, 3, chosen), STATUS_FAILED_PRECONDITION);
    assert_int_equal(placement_choose(nodes, 0, 1, chosen), STATUS_FAILED_PRECONDITION);
    assert_int_equal(nodes[0].replica_count + nodes[1].replica_count, 0);
    assert_int_equal(chosen[0].v, 7);
}

static uint32_t region_free(const struct placement_node *nodes, uint32_t count,
                            struct slice region) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        found += slice_equal(nodes[i].region, region) ? 1 : 0;
    }
    return found;
}

// No region holds two more than another that still has a node without a replica.
static void check_regions(const struct placement_node *nodes, uint32_t count,
                          const struct node_id *chosen, uint32_t replicas) {
    uint32_t held[NODES_MAX];
    for (uint32_t i = 0; i < count; i++) {
        held[i] = 0;
        for (uint32_t k = 0; k < replicas; k++) {
            held[i] += slice_equal(nodes[chosen[k].v - 1].region, nodes[i].region) ? 1 : 0;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < count; j++) {
            if (held[j] < region_free(nodes, count, nodes[j].region)) {
                assert_true(held[i] <= held[j] + 1);
            }
        }
    }
}

// Goal: for any topology the nodes are distinct, the regions even and the counts right; run twice,
// the answers are the same.
static void test_placement_random_topologies_distinct_even_deterministic(void **state) {
    (void)state;
    static const char *const names[] = {"", "east", "north", "west"};
    struct prng prng;
    prng_init(&prng, 20261120);
    for (uint32_t round = 0; round < 500; round++) {
        struct placement_node nodes[NODES_MAX];
        struct placement_node again[NODES_MAX];
        uint32_t count = (uint32_t)prng_between(&prng, 1, NODES_MAX);
        for (uint32_t i = 0; i < count; i++) {
            nodes[i] = node(i + 1, names[prng_below(&prng, 4)], names[prng_below(&prng, 4)]);
        }
        memcpy(again, nodes, sizeof(nodes[0]) * count);
        uint32_t most = count < SHARD_REPLICAS_MAX ? count : SHARD_REPLICAS_MAX;
        uint32_t replicas = (uint32_t)prng_between(&prng, 1, most);
        for (uint32_t shard = 0; shard < 20; shard++) {
            struct node_id chosen[SHARD_REPLICAS_MAX];
            struct node_id repeated[SHARD_REPLICAS_MAX];
            assert_int_equal(placement_choose(nodes, count, replicas, chosen), STATUS_OK);
            assert_int_equal(placement_choose(again, count, replicas, repeated), STATUS_OK);
            for (uint32_t k = 0; k < replicas; k++) {
                assert_int_equal(chosen[k].v, repeated[k].v);
                for (uint32_t m = 0; m < k; m++) {
                    assert_int_not_equal(chosen[k].v, chosen[m].v);
                }
            }
            check_regions(nodes, count, chosen, replicas);
        }
        uint32_t total = 0;
        uint32_t leaders = 0;
        for (uint32_t i = 0; i < count; i++) {
            total += nodes[i].replica_count;
            leaders += nodes[i].leader_count;
        }
        assert_int_equal(total, 20 * replicas);
        assert_int_equal(leaders, 20);
    }
}

// Goal: with nothing to tell the nodes apart, replicas differ by at most one and leaders by at most
// two (one step of greed may lead a node that the next shards leave out).
static void test_placement_equal_nodes_are_balanced(void **state) {
    (void)state;
    for (uint32_t count = 1; count <= NODES_MAX; count++) {
        for (uint32_t replicas = 1; replicas <= count && replicas <= SHARD_REPLICAS_MAX;
             replicas++) {
            struct placement_node nodes[NODES_MAX];
            for (uint32_t i = 0; i < count; i++) {
                nodes[i] = node(i + 1, "one", "a");
            }
            for (uint32_t shard = 0; shard < 137; shard++) {
                struct node_id chosen[SHARD_REPLICAS_MAX];
                assert_int_equal(placement_choose(nodes, count, replicas, chosen), STATUS_OK);
            }
            for (uint32_t i = 1; i < count; i++) {
                int64_t by = (int64_t)nodes[i].replica_count - nodes[0].replica_count;
                assert_true(by >= -1 && by <= 1);
                by = (int64_t)nodes[i].leader_count - nodes[0].leader_count;
                assert_true(by >= -2 && by <= 2);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placement_three_nodes_eight_shards_leaders_3_3_2),
        cmocka_unit_test(test_placement_five_nodes_three_regions_one_replica_each),
        cmocka_unit_test(test_placement_one_region_spreads_over_zones_before_load),
        cmocka_unit_test(test_placement_zone_counts_only_inside_its_region),
        cmocka_unit_test(test_placement_five_replicas_three_regions_survive_any_region),
        cmocka_unit_test(test_placement_too_few_nodes_is_refused_unchanged),
        cmocka_unit_test(test_placement_random_topologies_distinct_even_deterministic),
        cmocka_unit_test(test_placement_equal_nodes_are_balanced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
