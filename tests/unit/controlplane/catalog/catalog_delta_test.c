// SPDX-License-Identifier: Apache-2.0
// Deltas: followers converge whatever the network does to them, and never claim what they lack.
#include "controlplane/catalog/catalog.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/prng.h"
#include "tests/unit/controlplane/catalog/catalog_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { DELTA_SIZE_MAX = 1 << 20, IN_FLIGHT_MAX = 8 };

static void encode(const struct catalog *catalog, uint64_t since, struct buf *out) {
    struct codec_writer w;
    buf_init(out, DELTA_SIZE_MAX);
    codec_writer_init(&w, out);
    catalog_encode_delta(catalog, since, &w);
    assert_int_equal(w.status, STATUS_OK);
}

static void follow(struct catalog *follower, const struct catalog *leader, uint64_t since) {
    struct buf delta;
    encode(leader, since, &delta);
    assert_int_equal(catalog_apply_delta(follower, buf_slice(&delta)), STATUS_OK);
    buf_deinit(&delta);
    catalog_check(follower);
}

static void create(struct catalog *catalog, const char *name, uint32_t shards) {
    struct catalog_create_keyspace command = kit_keyspace(name, shards);
    assert_int_equal(kit_create(catalog, &command).status, STATUS_OK);
}

// Goal: a full delta makes an equal catalogue, with a routing map that finds keys.
static void test_catalog_delta_full_copies_everything(void **state) {
    (void)state;
    struct catalog *leader = kit_cluster(3);
    create(leader, "a", 4);
    struct catalog *follower = catalog_create();
    follow(follower, leader, 0);
    assert_int_equal(catalog_version(follower), catalog_version(leader));
    assert_int_equal(catalog_digest(follower), catalog_digest(leader));
    const struct shard_map *map = catalog_shard_map(follower);
    assert_int_equal(shard_map_find(map, SLICE_LITERAL("\0\0\0\1\x80z"))->id.v, 18);
    assert_int_equal(shard_map_version(map), catalog_version(leader));
    catalog_destroy(leader);
    catalog_destroy(follower);
}

// Goal: only what changed travels.
static void test_catalog_delta_since_holds_only_changes(void **state) {
    (void)state;
    struct catalog *leader = kit_cluster(3);
    create(leader, "a", 100);
    struct buf all;
    struct buf none;
    encode(leader, 0, &all);
    encode(leader, catalog_version(leader), &none);
    assert_true(all.size > 1000);
    assert_true(none.size < 64);
    buf_deinit(&all);
    buf_deinit(&none);
    catalog_destroy(leader);
}

// Goal: with a delta lost, later objects are taken, the version is not; asking again heals it.
static void test_catalog_delta_gap_does_not_advance_the_version(void **state) {
    (void)state;
    mark_reset_all();
    struct catalog *leader = kit_cluster(3);
    struct catalog *follower = catalog_create();
    follow(follower, leader, 0);
    create(leader, "lost", 1);
    uint64_t before = catalog_version(leader);
    create(leader, "seen", 1);
    follow(follower, leader, before);
    assert_int_equal(mark_count("catalog.delta.gap"), 1);
    assert_non_null(catalog_keyspace_by_name(follower, slice_from_string("seen")));
    assert_null(catalog_keyspace_by_name(follower, slice_from_string("lost")));
    assert_int_equal(catalog_version(follower), 3);
    follow(follower, leader, catalog_version(follower));
    assert_int_equal(catalog_digest(follower), catalog_digest(leader));
    catalog_destroy(leader);
    catalog_destroy(follower);
}

// Goal: an old delta that arrives late does not bring old addresses back.
static void test_catalog_delta_late_delta_does_not_undo(void **state) {
    (void)state;
    struct catalog *leader = kit_cluster(2);
    struct buf old;
    encode(leader, 0, &old);
    struct catalog_register_node moved = kit_node(1, 1);
    snprintf(moved.node.rpc_address, sizeof(moved.node.rpc_address), "elsewhere:1");
    assert_int_equal(kit_register(leader, &moved).status, STATUS_OK);
    struct catalog *follower = catalog_create();
    follow(follower, leader, 0);
    assert_int_equal(catalog_apply_delta(follower, buf_slice(&old)), STATUS_OK);
    assert_string_equal(catalog_node(follower, (struct node_id){1})->rpc_address, "elsewhere:1");
    assert_int_equal(catalog_digest(follower), catalog_digest(leader));
    buf_deinit(&old);
    catalog_destroy(leader);
    catalog_destroy(follower);
}

// Goal: a hint that the follower noted survives the next delta.
static void test_catalog_delta_keeps_leader_hints(void **state) {
    (void)state;
    struct catalog *leader = kit_cluster(3);
    create(leader, "a", 1);
    struct catalog *follower = catalog_create();
    follow(follower, leader, 0);
    struct shard_id shard = {CATALOG_FIRST_DATA_SHARD};
    shard_map_note_leader(catalog_shard_map(follower), shard, (struct node_id){3}, 5);
    create(leader, "b", 1);
    follow(follower, leader, 0);
    assert_int_equal(shard_map_by_id(catalog_shard_map(follower), shard)->leader.v, 3);
    assert_int_equal(catalog_digest(follower), catalog_digest(leader));
    catalog_destroy(leader);
    catalog_destroy(follower);
}

// --- The random network -------------------------------------------------------------------------

struct network {
    struct buf deltas[IN_FLIGHT_MAX];
    uint32_t count;
};

static void network_send(struct network *net, const struct catalog *leader, uint64_t since) {
    if (net->count == IN_FLIGHT_MAX) { return; }  // dropped
    encode(leader, since, &net->deltas[net->count++]);
}

// Any delta in flight, maybe again later, maybe never.
static void network_deliver(struct network *net, struct prng *prng, struct catalog *follower) {
    if (net->count == 0) { return; }
    uint32_t at = (uint32_t)prng_below(prng, net->count);
    if (prng_chance(prng, 3, 4)) {
        assert_int_equal(catalog_apply_delta(follower, buf_slice(&net->deltas[at])), STATUS_OK);
        catalog_check(follower);
    }
    if (prng_chance(prng, 1, 3)) { return; }
    buf_deinit(&net->deltas[at]);
    net->deltas[at] = net->deltas[--net->count];
}

// An intent or a report about some shard, right or wrong.
static void change_members(struct catalog *leader, struct prng *prng) {
    uint64_t id = CATALOG_FIRST_DATA_SHARD + prng_below(prng, 8);
    const struct shard_descriptor *shard = catalog_shard(leader, (struct shard_id){id});
    if (shard == NULL) { return; }
    struct catalog_place_shard place = {
        .shard = {id}, .config_epoch = shard->config_epoch, .target_count = 1};
    struct catalog_report_shard report = {
        .shard = {id}, .config_epoch = shard->config_epoch + prng_below(prng, 3)};
    report.replica_count = (uint32_t)prng_between(prng, 1, 3);
    place.targets[0].node.v = (uint32_t)prng_between(prng, 1, 8);
    for (uint32_t i = 0; i < report.replica_count; i++) {
        report.replicas[i] = (struct shard_replica){.node = {i + 1}, .incarnation = 1};
        report.replicas[i].outgoing = prng_chance(prng, 1, 4);
    }
    switch (prng_below(prng, 4)) {
    case 0:
        (void)kit_cancel(leader, id);
        break;
    case 1:
        (void)kit_report(leader, &report);
        break;
    default:
        (void)kit_place(leader, &place);
    }
}

static void change(struct catalog *leader, struct prng *prng) {
    if (prng_chance(prng, 1, 3)) {
        change_members(leader, prng);
        return;
    }
    if (prng_chance(prng, 2, 3)) {
        uint64_t incarnation = prng_between(prng, 1, 8);
        struct catalog_register_node command = kit_node(0, incarnation);
        snprintf(command.node.peer_address, sizeof(command.node.peer_address), "h:%u",
                 (unsigned)prng_between(prng, 1, 9));
        assert_int_equal(kit_register(leader, &command).status, STATUS_OK);
        return;
    }
    char name[16];
    snprintf(name, sizeof(name), "k%u", (unsigned)prng_below(prng, 40));
    struct catalog_create_keyspace command = kit_keyspace(name, (uint32_t)prng_between(prng, 1, 5));
    (void)kit_create(leader, &command);
}

// The follower's claim: whatever the leader changed up to that version, it has.
static void check_claim(struct catalog *follower, const struct catalog *leader) {
    uint64_t claim = catalog_version(follower);
    assert_true(claim <= catalog_version(leader));
    for (uint32_t i = 0; i < catalog_node_count(leader); i++) {
        const struct catalog_node *node = catalog_node_at(leader, i);
        if (node->version > claim) { continue; }
        const struct catalog_node *held = catalog_node(follower, node->id);
        assert_non_null(held);
        assert_int_equal(held->version, node->version);
        assert_string_equal(held->peer_address, node->peer_address);
    }
    for (uint32_t i = 0; i < catalog_keyspace_count(leader); i++) {
        const struct catalog_keyspace *keyspace = catalog_keyspace_at(leader, i);
        if (keyspace->version > claim) { continue; }
        assert_non_null(catalog_keyspace_by_id(follower, keyspace->id));
    }
    for (uint32_t i = 0; i < catalog_shard_count(leader); i++) {
        const struct shard_descriptor *shard = catalog_shard_at(leader, i);
        if (shard->map_version > claim) { continue; }
        assert_non_null(shard_map_by_id(catalog_shard_map(follower), shard->id));
        const struct shard_descriptor *held = catalog_shard(follower, shard->id);
        assert_non_null(held);
        assert_int_equal(held->config_epoch, shard->config_epoch);
        assert_int_equal(held->target_count, shard->target_count);
    }
}

static void run_random(uint64_t seed) {
    struct prng prng;
    prng_init(&prng, seed);
    struct catalog *leader = kit_cluster(1);
    struct catalog *follower = catalog_create();
    struct network net = {.count = 0};
    for (uint32_t step = 0; step < 200; step++) {
        if (prng_chance(&prng, 1, 3)) { change(leader, &prng); }
        if (prng_chance(&prng, 1, 3)) {
            // A request may itself be late: it names any version up to the follower's.
            uint64_t since = prng_chance(&prng, 1, 4)
                                 ? prng_below(&prng, catalog_version(leader) + 1)
                                 : catalog_version(follower);
            network_send(&net, leader, since);
        }
        if (prng_chance(&prng, 1, 2)) { network_deliver(&net, &prng, follower); }
        check_claim(follower, leader);
    }
    // One delta from the claim is enough.
    follow(follower, leader, catalog_version(follower));
    assert_int_equal(catalog_version(follower), catalog_version(leader));
    assert_int_equal(catalog_digest(follower), catalog_digest(leader));
    assert_true(shard_map_check(catalog_shard_map(follower)));
    assert_int_equal(shard_map_count(catalog_shard_map(follower)), catalog_shard_count(leader));
    // And whatever is still in flight changes nothing any more.
    for (uint32_t i = 0; i < net.count; i++) {
        assert_int_equal(catalog_apply_delta(follower, buf_slice(&net.deltas[i])), STATUS_OK);
        buf_deinit(&net.deltas[i]);
    }
    assert_int_equal(catalog_digest(follower), catalog_digest(leader));
    catalog_destroy(leader);
    catalog_destroy(follower);
}

static void test_catalog_delta_random_network_converges(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        run_random(seed);
    }
}

// --- Garbage ------------------------------------------------------------------------------------

// Goal: no truncation of a delta is taken, not even in part.
static void test_catalog_delta_truncated_changes_nothing(void **state) {
    (void)state;
    struct catalog *leader = kit_cluster(3);
    create(leader, "a", 3);
    struct buf delta;
    encode(leader, 0, &delta);
    struct catalog *follower = catalog_create();
    uint64_t before = catalog_digest(follower);
    for (size_t size = 0; size < delta.size; size++) {
        assert_int_equal(catalog_apply_delta(follower, slice_make(delta.data, size)),
                         STATUS_CORRUPT);
        assert_int_equal(catalog_digest(follower), before);
        assert_int_equal(shard_map_count(catalog_shard_map(follower)), 0);
    }
    assert_int_equal(buf_append(&delta, SLICE_LITERAL("x")), STATUS_OK);
    assert_int_equal(catalog_apply_delta(follower, buf_slice(&delta)), STATUS_CORRUPT);
    assert_int_equal(catalog_digest(follower), before);
    buf_deinit(&delta);
    catalog_destroy(leader);
    catalog_destroy(follower);
}

// Goal: any flipped bit is survived, and the invariants hold afterwards.
static void test_catalog_delta_flipped_bits_never_break_invariants(void **state) {
    (void)state;
    struct catalog *leader = kit_cluster(2);
    create(leader, "a", 2);
    create(leader, "b", 1);
    struct buf delta;
    encode(leader, 0, &delta);
    for (size_t at = 0; at < delta.size * 8; at++) {
        struct catalog *follower = catalog_create();
        delta.data[at / 8] ^= (uint8_t)(1U << at % 8);
        (void)!catalog_apply_delta(follower, buf_slice(&delta));
        delta.data[at / 8] ^= (uint8_t)(1U << at % 8);
        for (uint32_t i = 0; i < catalog_keyspace_count(follower); i++) {
            const struct catalog_keyspace *keyspace = catalog_keyspace_at(follower, i);
            assert_ptr_equal(catalog_keyspace_by_name(follower, slice_from_string(keyspace->name)),
                             keyspace);
        }
        assert_true(shard_map_check(catalog_shard_map(follower)));
        catalog_destroy(follower);
    }
    buf_deinit(&delta);
    catalog_destroy(leader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catalog_delta_full_copies_everything),
        cmocka_unit_test(test_catalog_delta_since_holds_only_changes),
        cmocka_unit_test(test_catalog_delta_gap_does_not_advance_the_version),
        cmocka_unit_test(test_catalog_delta_late_delta_does_not_undo),
        cmocka_unit_test(test_catalog_delta_keeps_leader_hints),
        cmocka_unit_test(test_catalog_delta_random_network_converges),
        cmocka_unit_test(test_catalog_delta_truncated_changes_nothing),
        cmocka_unit_test(test_catalog_delta_flipped_bits_never_break_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
