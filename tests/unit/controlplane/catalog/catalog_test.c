// SPDX-License-Identifier: Apache-2.0
// The catalogue as a value: identities of nodes, keyspaces and their shards, bootstrap, digest.
#include "controlplane/catalog/catalog.h"

#include "tests/unit/controlplane/catalog/catalog_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// --- Nodes --------------------------------------------------------------------------------------

// Goal: ids count up from 1, and each registration is one version.
static void test_catalog_register_new_nodes_get_ids_in_order(void **state) {
    (void)state;
    struct catalog *catalog = catalog_create();
    assert_int_equal(catalog_version(catalog), 0);
    for (uint32_t i = 1; i <= 3; i++) {
        struct catalog_register_node command = kit_node(0, 100 + i);
        struct kit_answer answer = kit_register(catalog, &command);
        assert_int_equal(answer.status, STATUS_OK);
        assert_int_equal(answer.id, i);
        assert_int_equal(catalog_version(catalog), i);
    }
    const struct catalog_node *node = catalog_node(catalog, (struct node_id){2});
    assert_non_null(node);
    assert_string_equal(node->peer_address, "host102:7102");
    assert_string_equal(node->rpc_address, "host102:8102");
    assert_string_equal(node->region, "region0");
    assert_string_equal(node->zone, "a");
    assert_int_equal(node->latitude_microdegrees, -33865143);
    assert_int_equal(node->longitude_microdegrees, 151209900);
    assert_int_equal(node->state, CATALOG_NODE_LIVE);
    assert_int_equal(node->version, 2);
    assert_null(catalog_node(catalog, (struct node_id){4}));
    assert_int_equal(catalog_node_count(catalog), 3);
    assert_int_equal(catalog_node_at(catalog, 2)->id.v, 3);
    catalog_destroy(catalog);
}

// Goal: a repeat is no change; a restart under another port is one, under the same id.
static void test_catalog_register_known_incarnation_same_id_new_address(void **state) {
    (void)state;
    struct catalog *catalog = kit_cluster(2);
    struct catalog_register_node command = kit_node(0, 1);
    struct kit_answer answer = kit_register(catalog, &command);
    assert_int_equal(answer.status, STATUS_OK);
    assert_int_equal(answer.id, 1);
    assert_int_equal(catalog_version(catalog), 2);
    snprintf(command.node.peer_address, sizeof(command.node.peer_address), "[::1]:9");
    command.node.id.v = 1;
    answer = kit_register(catalog, &command);
    assert_int_equal(answer.status, STATUS_OK);
    assert_int_equal(answer.id, 1);
    assert_int_equal(catalog_version(catalog), 3);
    assert_int_equal(catalog_node_count(catalog), 2);
    const struct catalog_node *node = catalog_node(catalog, (struct node_id){1});
    assert_string_equal(node->peer_address, "[::1]:9");
    assert_int_equal(node->version, 3);
    catalog_destroy(catalog);
}

// Goal: an id is refused with a wrong incarnation, with another's incarnation, and when never
// given out; the state stays.
static void test_catalog_register_wrong_claims_are_refused(void **state) {
    (void)state;
    struct catalog *catalog = kit_cluster(2);
    uint64_t before = catalog_digest(catalog);
    struct catalog_register_node wiped = kit_node(1, 77);
    struct kit_answer answer = kit_register(catalog, &wiped);
    assert_int_equal(answer.status, STATUS_FAILED_PRECONDITION);
    assert_non_null(strstr(answer.detail, "incarnation"));
    assert_non_null(strstr(answer.detail, "node 1"));
    struct catalog_register_node crossed = kit_node(1, 2);
    answer = kit_register(catalog, &crossed);
    assert_int_equal(answer.status, STATUS_FAILED_PRECONDITION);
    assert_non_null(strstr(answer.detail, "node 2"));
    struct catalog_register_node invented = kit_node(9, 78);
    answer = kit_register(catalog, &invented);
    assert_int_equal(answer.status, STATUS_FAILED_PRECONDITION);
    assert_non_null(strstr(answer.detail, "never given out"));
    assert_int_equal(catalog_digest(catalog), before);
    catalog_destroy(catalog);
}

// Goal: the 64th node is taken, the 65th refused, a repeat still answered.
static void test_catalog_register_node_limit(void **state) {
    (void)state;
    struct catalog *catalog = kit_cluster(CATALOG_NODES_MAX);
    struct catalog_register_node command = kit_node(0, CATALOG_NODES_MAX + 1);
    struct kit_answer answer = kit_register(catalog, &command);
    assert_int_equal(answer.status, STATUS_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(answer.detail, "64"));
    command = kit_node(0, CATALOG_NODES_MAX);
    answer = kit_register(catalog, &command);
    assert_int_equal(answer.status, STATUS_OK);
    assert_int_equal(answer.id, CATALOG_NODES_MAX);
    catalog_destroy(catalog);
}

// --- Bootstrap ----------------------------------------------------------------------------------

// Goal: members in any order found the same state; their ids are reserved and then claimed.
static void test_catalog_bootstrap_is_the_same_at_all_members(void **state) {
    (void)state;
    struct catalog *a = catalog_create();
    struct catalog *b = catalog_create();
    catalog_bootstrap(a, (struct node_id[]){{3}, {1}, {5}}, 3);
    catalog_bootstrap(b, (struct node_id[]){{5}, {3}, {1}}, 3);
    assert_int_equal(catalog_version(a), 1);
    assert_int_equal(catalog_digest(a), catalog_digest(b));
    catalog_bootstrap(b, (struct node_id[]){{9}}, 1);
    assert_int_equal(catalog_digest(a), catalog_digest(b));

    const struct shard_descriptor *group = shard_map_by_id(catalog_shard_map(a), SHARD_CATALOG);
    assert_non_null(group);
    assert_int_equal(group->replica_count, 3);
    assert_int_equal(group->replicas[0].node.v, 1);
    assert_int_equal(group->replicas[2].node.v, 5);
    assert_true(slice_equal(bytes_slice(group->start), SLICE_LITERAL("\0")));
    assert_true(slice_equal(bytes_slice(group->end), SLICE_LITERAL("\0")));
    assert_null(shard_map_find(catalog_shard_map(a), SLICE_LITERAL("\0")));

    // Node 4 was never given out, though it lies between members; a stranger gets 6.
    struct catalog_register_node invented = kit_node(4, 40);
    assert_int_equal(kit_register(a, &invented).status, STATUS_FAILED_PRECONDITION);
    struct catalog_register_node stranger = kit_node(0, 60);
    assert_int_equal(kit_register(a, &stranger).id, 6);
    struct catalog_register_node member = kit_node(5, 50);
    struct kit_answer answer = kit_register(a, &member);
    assert_int_equal(answer.status, STATUS_OK);
    assert_int_equal(answer.id, 5);
    member = kit_node(5, 51);
    assert_int_equal(kit_register(a, &member).status, STATUS_FAILED_PRECONDITION);
    catalog_destroy(a);
    catalog_destroy(b);
}

// --- Keyspaces ----------------------------------------------------------------------------------

static void expect_key(const struct bytes *key, const char *wanted, size_t size) {
    assert_int_equal(key->size, size);
    assert_memory_equal(key->data, wanted, size);
}

// Goal: the worked example of the README, byte for byte.
static void test_catalog_create_four_even_shards(void **state) {
    (void)state;
    struct catalog *catalog = catalog_create();
    catalog_bootstrap(catalog, (struct node_id[]){{1}, {2}, {3}}, 3);
    for (uint32_t i = 1; i <= 4; i++) {
        struct catalog_register_node command = kit_node(i < 4 ? i : 0, i);
        memset(command.node.region, 0, sizeof(command.node.region));
        assert_int_equal(kit_register(catalog, &command).id, i);
    }
    struct catalog_create_keyspace create = kit_keyspace("orders", 4);
    struct kit_answer answer = kit_create(catalog, &create);
    assert_int_equal(answer.status, STATUS_OK);
    assert_int_equal(answer.id, 1);
    assert_int_equal(catalog_version(catalog), 6);
    const struct shard_map *map = catalog_shard_map(catalog);
    assert_int_equal(shard_map_version(map), 6);
    static const char *const starts[] = {"\0\0\0\1", "\0\0\0\1\x40\0", "\0\0\0\1\x80\0",
                                         "\0\0\0\1\xC0\0", "\0\0\0\2"};
    static const size_t sizes[] = {4, 6, 6, 6, 4};
    for (uint32_t i = 0; i < 4; i++) {
        const struct shard_descriptor *shard = catalog_shard_at(catalog, i + 1);
        assert_int_equal(shard->id.v, 16 + i);
        expect_key(shard->start, starts[i], sizes[i]);
        expect_key(shard->end, starts[i + 1], sizes[i + 1]);
        assert_int_equal(shard->epoch, 1);
        assert_int_equal(shard->config_epoch, 1);
        assert_int_equal(shard->term, 0);
        assert_int_equal(shard->map_version, 6);
        assert_int_equal(shard->replica_count, 3);
        assert_int_equal(shard->leader.v, shard->replicas[0].node.v);
        assert_ptr_not_equal(shard_map_by_id(map, shard->id), NULL);
    }
    const struct shard_descriptor *first = catalog_shard_at(catalog, 1);
    assert_int_equal(first->leader.v, 1);
    assert_true(shard_descriptor_has_node(first, (struct node_id){4}));
    const struct catalog_keyspace *keyspace =
        catalog_keyspace_by_name(catalog, slice_from_string("orders"));
    assert_non_null(keyspace);
    assert_int_equal(keyspace->id, 1);
    assert_int_equal(keyspace->replicas, 3);
    assert_ptr_equal(catalog_keyspace_by_id(catalog, 1), keyspace);
    catalog_destroy(catalog);
}

// Goal: explicit splits win over shard_count and become boundaries as they are.
static void test_catalog_create_explicit_splits(void **state) {
    (void)state;
    struct catalog *catalog = kit_cluster(1);
    const struct slice splits[] = {SLICE_LITERAL("b"), SLICE_LITERAL("b\0"), SLICE_LITERAL("m")};
    struct catalog_create_keyspace create = kit_keyspace("k", 99);
    create.split_count = 3;
    create.splits = splits;
    assert_int_equal(kit_create(catalog, &create).status, STATUS_OK);
    assert_int_equal(catalog_shard_count(catalog), 4);
    expect_key(catalog_shard_at(catalog, 0)->end, "\0\0\0\1b", 5);
    expect_key(catalog_shard_at(catalog, 1)->end, "\0\0\0\1b\0", 6);
    expect_key(catalog_shard_at(catalog, 2)->end, "\0\0\0\1m", 5);
    expect_key(catalog_shard_at(catalog, 3)->end, "\0\0\0\2", 4);
    const struct shard_descriptor *held =
        shard_map_find(catalog_shard_map(catalog), SLICE_LITERAL("\0\0\0\1b\0\0"));
    assert_int_equal(held->id.v, catalog_shard_at(catalog, 2)->id.v);
    catalog_destroy(catalog);
}

// Goal: the same name again answers with the id of what exists and changes nothing.
static void test_catalog_create_same_name_already_exists(void **state) {
    (void)state;
    struct catalog *catalog = kit_cluster(3);
    struct catalog_create_keyspace create = kit_keyspace("one", 2);
    assert_int_equal(kit_create(catalog, &create).id, 1);
    create = kit_keyspace("two", 2);
    assert_int_equal(kit_create(catalog, &create).id, 2);
    uint64_t before = catalog_digest(catalog);
    create.shard_count = 7;
    struct kit_answer answer = kit_create(catalog, &create);
    assert_int_equal(answer.status, STATUS_ALREADY_EXISTS);
    assert_int_equal(answer.id, 2);
    assert_non_null(strstr(answer.detail, "two"));
    assert_int_equal(catalog_digest(catalog), before);
    catalog_destroy(catalog);
}

// Goal: replicas 0 is min(3, live), made odd; more than the live nodes is refused.
static void test_catalog_create_replicas_follow_the_nodes(void **state) {
    (void)state;
    static const uint32_t wanted[] = {0, 1, 1, 3, 3, 3};
    for (uint32_t nodes = 1; nodes <= 5; nodes++) {
        struct catalog *catalog = kit_cluster(nodes);
        struct catalog_create_keyspace create = kit_keyspace("k", 1);
        assert_int_equal(kit_create(catalog, &create).status, STATUS_OK);
        assert_int_equal(catalog_keyspace_at(catalog, 0)->replicas, wanted[nodes]);
        assert_int_equal(catalog_shard_at(catalog, 0)->replica_count, wanted[nodes]);
        create = kit_keyspace("more", 1);
        create.replicas = nodes % 2 == 0 ? nodes + 1 : nodes + 2;
        uint64_t before = catalog_digest(catalog);
        struct kit_answer answer = kit_create(catalog, &create);
        assert_int_equal(answer.status, STATUS_FAILED_PRECONDITION);
        assert_non_null(strstr(answer.detail, "replicas"));
        assert_int_equal(catalog_digest(catalog), before);
        catalog_destroy(catalog);
    }
    struct catalog *empty = catalog_create();
    struct catalog_create_keyspace create = kit_keyspace("k", 1);
    assert_int_equal(kit_create(empty, &create).status, STATUS_FAILED_PRECONDITION);
    assert_int_equal(catalog_version(empty), 0);
    catalog_destroy(empty);
}

// Goal: 3 nodes x 8 shards: leaders 3, 3, 2; the next keyspace goes on from there.
static void test_catalog_create_spreads_leaders_across_keyspaces(void **state) {
    (void)state;
    struct catalog *catalog = kit_cluster(3);
    struct catalog_create_keyspace create = kit_keyspace("a", 8);
    assert_int_equal(kit_create(catalog, &create).status, STATUS_OK);
    // A hint of another leader must not move the next decision.
    shard_map_note_leader(catalog_shard_map(catalog), (struct shard_id){16}, (struct node_id){3},
                          9);
    create = kit_keyspace("b", 1);
    assert_int_equal(kit_create(catalog, &create).status, STATUS_OK);
    uint32_t leaders[4] = {0, 0, 0, 0};
    for (uint32_t i = 0; i < catalog_shard_count(catalog); i++) {
        leaders[catalog_shard_at(catalog, i)->leader.v]++;
    }
    assert_int_equal(leaders[1], 3);
    assert_int_equal(leaders[2], 3);
    assert_int_equal(leaders[3], 3);
    catalog_destroy(catalog);
}

// Goal: the shards of every keyspace tile its range: each begins where the one before ends.
static void test_catalog_create_any_shard_count_tiles_the_range(void **state) {
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 7, 255, 256, 257, 4095, 4096, 4096};
    struct catalog *catalog = kit_cluster(1);
    char name[16];
    uint32_t at = 0;
    for (uint32_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        snprintf(name, sizeof(name), "k%u", i);
        struct catalog_create_keyspace create = kit_keyspace(name, counts[i]);
        assert_int_equal(kit_create(catalog, &create).status, STATUS_OK);
        const uint8_t prefix[] = {0, 0, 0, (uint8_t)(i + 1)};
        struct slice expected = slice_make(prefix, sizeof(prefix));
        for (uint32_t k = 0; k < counts[i]; k++, at++) {
            const struct shard_descriptor *shard = catalog_shard_at(catalog, at);
            assert_true(slice_equal(bytes_slice(shard->start), expected));
            assert_true(slice_compare(bytes_slice(shard->start), bytes_slice(shard->end)) < 0);
            expected = bytes_slice(shard->end);
        }
        const uint8_t next[] = {0, 0, 0, (uint8_t)(i + 2)};
        assert_true(slice_equal(expected, slice_make(next, sizeof(next))));
    }
    assert_int_equal(catalog_shard_count(catalog), at);
    assert_int_equal(shard_map_count(catalog_shard_map(catalog)), at);
    // 13068 shards are held: one more keyspace of 4096 would pass the limit of the cluster.
    uint64_t before = catalog_digest(catalog);
    struct catalog_create_keyspace create = kit_keyspace("last", 4096);
    struct kit_answer answer = kit_create(catalog, &create);
    assert_int_equal(answer.status, STATUS_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(answer.detail, "16384"));
    assert_int_equal(catalog_digest(catalog), before);
    create = kit_keyspace("last", CATALOG_SHARDS_MAX - at);
    assert_int_equal(kit_create(catalog, &create).status, STATUS_OK);
    catalog_destroy(catalog);
}

// Goal: names are found whatever the order of creation; the 1025th keyspace is refused.
static void test_catalog_create_keyspace_limit_and_names(void **state) {
    (void)state;
    struct catalog *catalog = kit_cluster(1);
    char name[16];
    for (uint32_t i = 0; i < CATALOG_KEYSPACES_MAX; i++) {
        snprintf(name, sizeof(name), "k%u", i * 389 % CATALOG_KEYSPACES_MAX);
        struct catalog_create_keyspace create = kit_keyspace(name, 1);
        assert_int_equal(kit_create(catalog, &create).id, i + 1);
    }
    for (uint32_t i = 0; i < CATALOG_KEYSPACES_MAX; i++) {
        snprintf(name, sizeof(name), "k%u", i * 389 % CATALOG_KEYSPACES_MAX);
        const struct catalog_keyspace *found =
            catalog_keyspace_by_name(catalog, slice_from_string(name));
        assert_non_null(found);
        assert_int_equal(found->id, i + 1);
    }
    assert_null(catalog_keyspace_by_name(catalog, slice_from_string("k")));
    assert_null(catalog_keyspace_by_name(catalog, SLICE_EMPTY));
    struct catalog_create_keyspace create = kit_keyspace("more", 1);
    struct kit_answer answer = kit_create(catalog, &create);
    assert_int_equal(answer.status, STATUS_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(answer.detail, "1024"));
    catalog_destroy(catalog);
}

// Goal: a leader hint is not part of the state.
static void test_catalog_digest_ignores_leader_hints(void **state) {
    (void)state;
    struct catalog *catalog = kit_cluster(3);
    struct catalog_create_keyspace create = kit_keyspace("a", 2);
    assert_int_equal(kit_create(catalog, &create).status, STATUS_OK);
    uint64_t before = catalog_digest(catalog);
    shard_map_note_leader(catalog_shard_map(catalog), (struct shard_id){16}, (struct node_id){3},
                          9);
    assert_int_equal(catalog_digest(catalog), before);
    assert_int_equal(shard_map_by_id(catalog_shard_map(catalog), (struct shard_id){16})->leader.v,
                     3);
    catalog_destroy(catalog);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catalog_register_new_nodes_get_ids_in_order),
        cmocka_unit_test(test_catalog_register_known_incarnation_same_id_new_address),
        cmocka_unit_test(test_catalog_register_wrong_claims_are_refused),
        cmocka_unit_test(test_catalog_register_node_limit),
        cmocka_unit_test(test_catalog_bootstrap_is_the_same_at_all_members),
        cmocka_unit_test(test_catalog_create_four_even_shards),
        cmocka_unit_test(test_catalog_create_explicit_splits),
        cmocka_unit_test(test_catalog_create_same_name_already_exists),
        cmocka_unit_test(test_catalog_create_replicas_follow_the_nodes),
        cmocka_unit_test(test_catalog_create_spreads_leaders_across_keyspaces),
        cmocka_unit_test(test_catalog_create_any_shard_count_tiles_the_range),
        cmocka_unit_test(test_catalog_create_keyspace_limit_and_names),
        cmocka_unit_test(test_catalog_digest_ignores_leader_hints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
