// SPDX-License-Identifier: Apache-2.0
// Limits at limit - 1, limit and limit + 1, each refusal with field and limit; garbage commands.
#include "controlplane/catalog/catalog.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "tests/unit/controlplane/catalog/catalog_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void refused_node(const struct catalog_register_node *command, const char *text) {
    struct err err = {STATUS_OK, ""};
    assert_int_equal(catalog_register_node_check(command, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, text));
    assert_int_equal(catalog_register_node_check(command, NULL), STATUS_INVALID_ARGUMENT);
    struct catalog *catalog = kit_cluster(1);
    uint64_t before = catalog_digest(catalog);
    assert_int_equal(kit_register(catalog, command).status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(catalog_digest(catalog), before);
    catalog_destroy(catalog);
}

static void refused_keyspace(const struct catalog_create_keyspace *command, const char *text) {
    struct err err = {STATUS_OK, ""};
    assert_int_equal(catalog_create_keyspace_check(command, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, text));
    struct catalog *catalog = kit_cluster(1);
    uint64_t before = catalog_digest(catalog);
    assert_int_equal(kit_create(catalog, command).status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(catalog_digest(catalog), before);
    catalog_destroy(catalog);
}

static void accepted_node(const struct catalog_register_node *command) {
    struct err err = {STATUS_OK, ""};
    assert_int_equal(catalog_register_node_check(command, &err), STATUS_OK);
}

static void accepted_keyspace(const struct catalog_create_keyspace *command) {
    struct err err = {STATUS_OK, ""};
    assert_int_equal(catalog_create_keyspace_check(command, &err), STATUS_OK);
}

static void set_text(char *out, size_t size, const char *text) {
    memset(out, 0, size);
    memcpy(out, text, strlen(text));
}

// --- REGISTER_NODE ------------------------------------------------------------------------------

static void test_catalog_check_node_incarnation_zero(void **state) {
    (void)state;
    struct catalog_register_node command = kit_node(0, 1);
    command.node.incarnation = 0;
    refused_node(&command, "incarnation");
}

static void test_catalog_check_node_addresses(void **state) {
    (void)state;
    static const char *const bad[] = {"",         "host",       "host:",      ":7000",
                                      "host:0",   "h:65536",    "h:-1",       "h:70 00",
                                      "h h:7000", "h:7000x",    "h:+700",     "h\n:7000",
                                      "h:000001", "h\x7f:7000", "h\xc3\xa4:1"};
    static const char *const good[] = {"h:1", "h:65535", "[::1]:7000", "10.0.0.1:07000"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct catalog_register_node command = kit_node(0, 1);
        set_text(command.node.peer_address, CATALOG_ADDRESS_SIZE_MAX, bad[i]);
        refused_node(&command, "peer_address");
        command = kit_node(0, 1);
        set_text(command.node.rpc_address, CATALOG_ADDRESS_SIZE_MAX, bad[i]);
        refused_node(&command, "rpc_address");
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct catalog_register_node command = kit_node(0, 1);
        set_text(command.node.peer_address, CATALOG_ADDRESS_SIZE_MAX, good[i]);
        accepted_node(&command);
    }
}

// Goal: an array that is full to the last byte has no terminator and must not be read past its end.
static void test_catalog_check_node_text_sizes(void **state) {
    (void)state;
    struct catalog_register_node command = kit_node(0, 1);
    memset(command.node.region, 'r', CATALOG_NAME_SIZE_MAX);
    refused_node(&command, "127");
    command.node.region[CATALOG_NAME_SIZE_MAX - 1] = '\0';
    accepted_node(&command);
    memset(command.node.zone, 'z', CATALOG_NAME_SIZE_MAX);
    refused_node(&command, "zone");
    command.node.zone[0] = '\0';
    accepted_node(&command);
    memset(command.node.peer_address, 'h', CATALOG_ADDRESS_SIZE_MAX);
    memcpy(command.node.peer_address + CATALOG_ADDRESS_SIZE_MAX - 4, ":700", 4);
    refused_node(&command, "255");
    memcpy(command.node.peer_address + CATALOG_ADDRESS_SIZE_MAX - 4, ":70\0", 4);
    accepted_node(&command);
}

static void test_catalog_check_node_coordinates(void **state) {
    (void)state;
    struct catalog_register_node command = kit_node(0, 1);
    command.node.latitude_microdegrees = 90000000;
    command.node.longitude_microdegrees = -180000000;
    accepted_node(&command);
    command.node.latitude_microdegrees = 90000001;
    refused_node(&command, "latitude");
    command.node.latitude_microdegrees = INT32_MIN;
    refused_node(&command, "latitude");
    command.node.latitude_microdegrees = 0;
    command.node.longitude_microdegrees = -180000001;
    refused_node(&command, "longitude");
}

// --- CREATE_KEYSPACE ----------------------------------------------------------------------------

static void test_catalog_check_keyspace_names(void **state) {
    (void)state;
    struct catalog_create_keyspace command = kit_keyspace("", 1);
    refused_keyspace(&command, "between 1 and 63");
    static const char *const bad[] = {"A", "a b", "a.b", "a/b", "\xc3\xa4", "a\n", "a\x1b", "a:"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        command = kit_keyspace(bad[i], 1);
        refused_keyspace(&command, "name");
    }
    command = kit_keyspace("a-z_0-9", 1);
    accepted_keyspace(&command);
    memset(command.name, 0, sizeof(command.name));
    memset(command.name, 'x', 63);
    accepted_keyspace(&command);
    memset(command.name, 'x', 64);
    refused_keyspace(&command, "63");
    memset(command.name, 'x', sizeof(command.name));
    refused_keyspace(&command, "63");
}

static void test_catalog_check_keyspace_replicas(void **state) {
    (void)state;
    struct catalog_create_keyspace command = kit_keyspace("k", 1);
    for (uint32_t replicas = 0; replicas <= 9; replicas++) {
        command.replicas = replicas;
        if (replicas % 2 == 1 || replicas == 0) {
            accepted_keyspace(&command);
        } else {
            refused_keyspace(&command, "even");
        }
    }
    command.replicas = 10;
    refused_keyspace(&command, "at most 9");
    command.replicas = UINT32_MAX;
    refused_keyspace(&command, "at most 9");
}

static void test_catalog_check_keyspace_shard_count(void **state) {
    (void)state;
    struct catalog_create_keyspace command = kit_keyspace("k", 0);
    refused_keyspace(&command, "between 1 and 4096");
    command.shard_count = 4096;
    accepted_keyspace(&command);
    command.shard_count = 4097;
    refused_keyspace(&command, "4096");
    command.shard_count = UINT32_MAX;
    refused_keyspace(&command, "4096");
}

static void test_catalog_check_keyspace_splits(void **state) {
    (void)state;
    static uint8_t bytes[SHARD_USER_KEY_SIZE_MAX + 1];
    memset(bytes, 0xff, sizeof(bytes));
    struct slice splits[3] = {SLICE_LITERAL("a"), SLICE_LITERAL("b"),
                              slice_make(bytes, SHARD_USER_KEY_SIZE_MAX)};
    struct catalog_create_keyspace command = kit_keyspace("k", 0);
    command.split_count = 3;
    command.splits = splits;
    accepted_keyspace(&command);
    splits[1] = SLICE_LITERAL("a");
    refused_keyspace(&command, "splits[1]");
    splits[1] = SLICE_LITERAL("A");
    refused_keyspace(&command, "splits[1]");
    splits[0] = SLICE_EMPTY;
    refused_keyspace(&command, "splits[0]");
    splits[0] = SLICE_LITERAL("1");
    splits[2].size++;
    struct err err = {STATUS_OK, ""};
    assert_int_equal(catalog_create_keyspace_check(&command, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "splits[2]"));
    assert_non_null(strstr(err.message, "4096"));
}

// Ascending keys of `size` bytes each, big-endian counters at their end.
static struct slice *many_splits(uint32_t count, size_t size, uint8_t **out_bytes) {
    struct slice *splits = mem_alloc_array(count, sizeof(*splits));
    uint8_t *bytes = mem_alloc_array(count, size);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *key = bytes + i * size;
        key[size - 2] = (uint8_t)(i >> 8);
        key[size - 1] = (uint8_t)i;
        splits[i] = slice_make(key, size);
    }
    *out_bytes = bytes;
    return splits;
}

static void test_catalog_check_keyspace_split_count_and_size(void **state) {
    (void)state;
    uint8_t *bytes = NULL;
    struct slice *splits = many_splits(4096, 256, &bytes);
    struct catalog_create_keyspace command = kit_keyspace("k", 0);
    command.splits = splits;
    command.split_count = 4095;
    accepted_keyspace(&command);
    command.split_count = 4096;
    refused_keyspace(&command, "4095");
    struct catalog *catalog = kit_cluster(3);
    command.split_count = 4095;
    assert_int_equal(kit_create(catalog, &command).status, STATUS_OK);
    assert_int_equal(catalog_shard_count(catalog), 4096);
    catalog_destroy(catalog);
    mem_free(splits);
    mem_free(bytes);

    // 1 MiB together and one byte more.
    splits = many_splits(256, 4096, &bytes);
    command.splits = splits;
    command.split_count = 256;
    accepted_keyspace(&command);
    mem_free(splits);
    mem_free(bytes);
    splits = many_splits(257, 4096, &bytes);
    splits[0].size = 1;
    command.splits = splits;
    command.split_count = 257;
    refused_keyspace(&command, "1048576");
    mem_free(splits);
    mem_free(bytes);
}

// --- Garbage ------------------------------------------------------------------------------------

// Goal: a truncated, extended or unknown command is refused and changes nothing.
static void test_catalog_apply_truncated_command_is_invalid(void **state) {
    (void)state;
    struct catalog *catalog = kit_cluster(1);
    uint64_t before = catalog_digest(catalog);
    struct buf encoded[2];
    struct catalog_register_node node = kit_node(0, 9);
    kit_encode_node(&node, &encoded[0]);
    const struct slice splits[] = {SLICE_LITERAL("b"), SLICE_LITERAL("c")};
    struct catalog_create_keyspace create = kit_keyspace("k", 1);
    create.splits = splits;
    create.split_count = 2;
    kit_encode_keyspace(&create, &encoded[1]);
    for (uint32_t i = 0; i < 2; i++) {
        for (size_t size = 0; size < encoded[i].size; size++) {
            struct kit_answer answer = kit_apply(catalog, slice_make(encoded[i].data, size));
            assert_int_equal(answer.status, STATUS_INVALID_ARGUMENT);
            assert_non_null(strstr(answer.detail, "command"));
        }
        assert_int_equal(buf_append(&encoded[i], SLICE_LITERAL("x")), STATUS_OK);
        assert_int_equal(kit_apply(catalog, buf_slice(&encoded[i])).status,
                         STATUS_INVALID_ARGUMENT);
        buf_deinit(&encoded[i]);
    }
    for (uint32_t kind = 0; kind < 256; kind++) {
        uint8_t byte = (uint8_t)kind;
        assert_int_equal(kit_apply(catalog, slice_make(&byte, 1)).status, STATUS_INVALID_ARGUMENT);
    }
    assert_int_equal(catalog_digest(catalog), before);
    catalog_destroy(catalog);
}

// Goal: a name with a NUL inside is not cut short to another name.
static void test_catalog_apply_embedded_nul_is_invalid(void **state) {
    (void)state;
    struct catalog *catalog = kit_cluster(1);
    struct buf encoded;
    struct catalog_create_keyspace create = kit_keyspace("abc", 1);
    kit_encode_keyspace(&create, &encoded);
    encoded.data[3] = 0;  // kind, size, 'a', 'b' -> NUL
    assert_int_equal(kit_apply(catalog, buf_slice(&encoded)).status, STATUS_INVALID_ARGUMENT);
    buf_deinit(&encoded);
    catalog_destroy(catalog);
}

// Goal: whatever the bytes are, two catalogues answer the same, and the invariants hold
// (kit_apply checks them).
static void test_catalog_apply_mutated_commands_deterministic(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 7);
    struct catalog *a = kit_cluster(3);
    struct catalog *b = kit_cluster(3);
    for (uint32_t round = 0; round < 1000; round++) {
        struct buf encoded;
        if (prng_chance(&prng, 1, 2)) {
            struct catalog_register_node node =
                kit_node((uint32_t)prng_below(&prng, 5), prng_below(&prng, 100));
            kit_encode_node(&node, &encoded);
        } else {
            char name[8];
            snprintf(name, sizeof(name), "k%u", (unsigned)prng_below(&prng, 500));
            struct catalog_create_keyspace create =
                kit_keyspace(name, (uint32_t)prng_below(&prng, 9));
            kit_encode_keyspace(&create, &encoded);
        }
        for (uint64_t flips = prng_below(&prng, 4); flips > 0; flips--) {
            encoded.data[prng_below(&prng, encoded.size)] ^= (uint8_t)(1U << prng_below(&prng, 8));
        }
        struct kit_answer one = kit_apply(a, buf_slice(&encoded));
        struct kit_answer two = kit_apply(b, buf_slice(&encoded));
        assert_int_equal(one.status, two.status);
        assert_int_equal(one.id, two.id);
        assert_string_equal(one.detail, two.detail);
        buf_deinit(&encoded);
    }
    assert_int_equal(catalog_digest(a), catalog_digest(b));
    assert_true(catalog_version(a) > 50);
    catalog_destroy(a);
    catalog_destroy(b);
}

static void test_catalog_result_decode_refuses_garbage(void **state) {
    (void)state;
    struct catalog_result result = {.id = 42};
    assert_int_equal(catalog_result_decode(SLICE_EMPTY, &result), STATUS_CORRUPT);
    assert_int_equal(catalog_result_decode(SLICE_LITERAL("\x01\x05xy"), &result), STATUS_CORRUPT);
    assert_int_equal(catalog_result_decode(SLICE_LITERAL("\x01\x01xy"), &result), STATUS_CORRUPT);
    assert_int_equal(result.id, 42);
    assert_int_equal(catalog_result_decode(SLICE_LITERAL("\x07\x02xy"), &result), STATUS_OK);
    assert_int_equal(result.id, 7);
    assert_true(slice_equal(result.detail, SLICE_LITERAL("xy")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catalog_check_node_incarnation_zero),
        cmocka_unit_test(test_catalog_check_node_addresses),
        cmocka_unit_test(test_catalog_check_node_text_sizes),
        cmocka_unit_test(test_catalog_check_node_coordinates),
        cmocka_unit_test(test_catalog_check_keyspace_names),
        cmocka_unit_test(test_catalog_check_keyspace_replicas),
        cmocka_unit_test(test_catalog_check_keyspace_shard_count),
        cmocka_unit_test(test_catalog_check_keyspace_splits),
        cmocka_unit_test(test_catalog_check_keyspace_split_count_and_size),
        cmocka_unit_test(test_catalog_apply_truncated_command_is_invalid),
        cmocka_unit_test(test_catalog_apply_embedded_nul_is_invalid),
        cmocka_unit_test(test_catalog_apply_mutated_commands_deterministic),
        cmocka_unit_test(test_catalog_result_decode_refuses_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
