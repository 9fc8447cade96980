// SPDX-License-Identifier: Apache-2.0
// The state of a development cluster: planned, saved, found again, wiped; and its configurations,
// read by the node's own reader.
#include "api/cli/dev_cluster.h"

#include "api/node/config.h"
#include "dataplane/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char base_dir[64];

static int setup(void **state) {
    (void)state;
    (void)snprintf(base_dir, sizeof(base_dir), "/tmp/lightcone-dev-cluster-XXXXXX");
    return mkdtemp(base_dir) == NULL ? -1 : 0;
}

static void path_of(const char *name, char out[DEV_FILE_SIZE]) {
    (void)snprintf(out, DEV_FILE_SIZE, "%s/%s", base_dir, name);
}

static int teardown(void **state) {
    (void)state;
    static const char *const left[] = {"dev.json", "lock", "kept/file"};
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        char path[DEV_FILE_SIZE];
        path_of(left[i], path);
        (void)unlink(path);
    }
    char kept[DEV_FILE_SIZE];
    path_of("kept", kept);
    (void)rmdir(kept);
    return rmdir(base_dir);
}

static void plan(struct dev_cluster *cluster, uint32_t nodes, const char *regions) {
    struct err err = {0};
    assert_int_equal(dev_cluster_open(cluster, base_dir, &err), STATUS_OK);
    assert_false(cluster->exists);
    assert_int_equal(dev_cluster_plan(cluster, nodes, regions, &err), STATUS_OK);
    assert_int_equal(dev_cluster_save(cluster, &err), STATUS_OK);
    cluster->exists = true;
}

// Goal: nodes that are added take nothing from those that are there, running or not.
static void test_dev_cluster_plan_adds_nodes(void **state) {
    (void)state;
    struct dev_cluster cluster;
    plan(&cluster, 2, "a,b");
    struct dev_cluster before = cluster;
    assert_int_equal(dev_cluster_plan(&cluster, 4, "a,b", NULL), STATUS_OK);
    assert_int_equal(cluster.node_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(cluster.nodes[i].number, i + 1);
        assert_string_equal(cluster.nodes[i].region, i % 2 == 0 ? "a" : "b");
        if (i < 2) { assert_int_equal(cluster.nodes[i].rpc_port, before.nodes[i].rpc_port); }
        for (uint32_t k = 0; k < i; k++) {
            assert_int_not_equal(cluster.nodes[i].rpc_port, cluster.nodes[k].rpc_port);
            assert_int_not_equal(cluster.nodes[i].peer_port, cluster.nodes[k].peer_port);
        }
    }
    dev_cluster_close(&cluster);
}

// Goal: ports differ, regions go round, and all of it is found again.
static void test_dev_cluster_load_finds_what_was_saved(void **state) {
    (void)state;
    struct dev_cluster cluster;
    plan(&cluster, 5, "a,b-2");
    cluster.nodes[2].id = 77;
    cluster.initialized = true;
    assert_int_equal(dev_cluster_save(&cluster, NULL), STATUS_OK);
    dev_cluster_close(&cluster);
    struct dev_cluster again;
    assert_int_equal(dev_cluster_load(&again, base_dir, NULL), STATUS_OK);
    assert_true(again.exists);
    assert_true(again.initialized);
    assert_int_equal(again.node_count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(again.nodes[i].number, i + 1);
        assert_int_equal(again.nodes[i].rpc_port, cluster.nodes[i].rpc_port);
        assert_string_equal(again.nodes[i].region, i % 2 == 0 ? "a" : "b-2");
        for (uint32_t k = 0; k < i; k++) {
            assert_int_not_equal(again.nodes[i].rpc_port, again.nodes[k].rpc_port);
            assert_int_not_equal(again.nodes[i].peer_port, again.nodes[k].peer_port);
        }
    }
    assert_ptr_equal(dev_cluster_find(&again, 77), &again.nodes[2]);
    assert_null(dev_cluster_find(&again, 3));
    assert_ptr_equal(dev_cluster_find(&again, 4), &again.nodes[3]);
}

// Goal: names that would not survive in a configuration are refused.
static void test_dev_cluster_plan_refuses_bad_regions(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "a,", "a,,b", "a b", "a\"b", "a:b"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct dev_cluster cluster;
        struct err err = {0};
        assert_int_equal(dev_cluster_load(&cluster, base_dir, NULL), STATUS_OK);
        assert_int_equal(dev_cluster_plan(&cluster, 3, wrong[i], &err), STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "--regions"));
    }
}

// Goal: a file that is not ours is never taken for a cluster.
static void test_dev_cluster_load_refuses_other_files(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        "{}",
        "[]",
        "{\"version\":2,\"initialized\":true,\"nodes\":[]}",
        "{\"version\":1,\"initialized\":true,\"nodes\":[]}",
        "{\"version\":1,\"initialized\":true,\"nodes\":[{\"number\":0,\"id\":1,\"peer_port\":1,"
        "\"rpc_port\":1,\"region\":\"a\"}]}",
        "{\"version\":1,\"initialized\":true,\"nodes\":[{\"number\":1,\"id\":1,\"peer_port\":70000,"
        "\"rpc_port\":1,\"region\":\"a\"}]}"};
    char path[DEV_FILE_SIZE];
    path_of("dev.json", path);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs(wrong[i], file) >= 0);
        assert_int_equal(fclose(file), 0);
        struct dev_cluster cluster;
        struct err err = {0};
        assert_int_equal(dev_cluster_load(&cluster, base_dir, &err), STATUS_CORRUPT);
    }
}

// Goal: the node's own reader takes the configuration, and finds in it what was planned.
static void test_dev_cluster_write_config_is_what_nodes_read(void **state) {
    (void)state;
    struct dev_cluster cluster;
    struct err err = {0};
    char path[DEV_FILE_SIZE];
    char address[DEV_ADDRESS_SIZE];
    plan(&cluster, 3, NULL);
    assert_int_equal(dev_cluster_write_config(&cluster, &cluster.nodes[1], &err), STATUS_OK);
    dev_cluster_path(&cluster, &cluster.nodes[1], "node.yaml", path);
    struct node_config *config = mem_alloc(sizeof(*config));
    if (node_config_load(path, config, &err) != STATUS_OK) { fail_msg("%s", err.message); }
    dev_cluster_rpc_address(&cluster.nodes[1], address);
    assert_string_equal(config->listen_rpc, address);
    assert_string_equal(config->region, "us-east");
    assert_int_equal(config->latitude_microdegrees, 39040000);
    assert_int_equal(config->join_count, 3);
    assert_true(config->dev);
    assert_false(config->insecure);
    dev_cluster_path(&cluster, &cluster.nodes[1], "data", path);
    assert_string_equal(config->data_dir, path);
    mem_free(config);
    assert_int_equal(dev_cluster_wipe(&cluster, &err), STATUS_OK);
    dev_cluster_close(&cluster);
}

// Goal: a wipe deletes the nodes' directories and the state, and nothing else; links are not
// followed.
static void test_dev_cluster_wipe_keeps_what_is_not_ours(void **state) {
    (void)state;
    struct dev_cluster cluster;
    struct err err = {0};
    char keep[DEV_FILE_SIZE];
    char link_path[DEV_FILE_SIZE];
    plan(&cluster, 1, NULL);
    assert_int_equal(dev_cluster_write_config(&cluster, &cluster.nodes[0], &err), STATUS_OK);
    char kept_dir[DEV_FILE_SIZE];
    path_of("kept", kept_dir);
    assert_int_equal(mkdir(kept_dir, 0700), 0);
    path_of("kept/file", keep);
    FILE *file = fopen(keep, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    dev_cluster_path(&cluster, &cluster.nodes[0], "link", link_path);
    assert_int_equal(symlink(kept_dir, link_path), 0);
    assert_int_equal(dev_cluster_wipe(&cluster, &err), STATUS_OK);
    dev_cluster_close(&cluster);
    assert_int_equal(access(keep, F_OK), 0);
    struct dev_cluster again;
    assert_int_equal(dev_cluster_load(&again, base_dir, NULL), STATUS_OK);
    assert_false(again.exists);
    char path[DEV_FILE_SIZE];
    dev_cluster_path(&cluster, &cluster.nodes[0], "", path);
    assert_int_not_equal(access(path, F_OK), 0);
}

// Goal: a directory comes from the option, then the environment, and is absolute.
static void test_dev_cluster_directory_follows_the_environment(void **state) {
    (void)state;
    char dir[DEV_PATH_SIZE];
    struct err err = {0};
    assert_int_equal(setenv("LIGHTCONE_DEV_DIR", "/from/env", 1), 0);
    assert_int_equal(dev_cluster_directory("/given", dir, &err), STATUS_OK);
    assert_string_equal(dir, "/given");
    assert_int_equal(dev_cluster_directory(NULL, dir, &err), STATUS_OK);
    assert_string_equal(dir, "/from/env");
    assert_int_equal(unsetenv("LIGHTCONE_DEV_DIR"), 0);
    assert_int_equal(setenv("XDG_STATE_HOME", "/state", 1), 0);
    assert_int_equal(dev_cluster_directory(NULL, dir, &err), STATUS_OK);
    assert_string_equal(dir, "/state/lightcone/dev");
    assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
    assert_int_equal(setenv("HOME", "/home/ada", 1), 0);
    assert_int_equal(dev_cluster_directory(NULL, dir, &err), STATUS_OK);
    assert_string_equal(dir, "/home/ada/.local/state/lightcone/dev");
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(dev_cluster_directory(NULL, dir, &err), STATUS_INVALID_ARGUMENT);
    assert_int_equal(dev_cluster_directory("relative", dir, &err), STATUS_OK);
    assert_int_equal(dir[0], '/');
    assert_int_equal(dev_cluster_directory("/quo\"te", dir, &err), STATUS_INVALID_ARGUMENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_dev_cluster_load_finds_what_was_saved),
        TEST(test_dev_cluster_plan_adds_nodes),
        TEST(test_dev_cluster_plan_refuses_bad_regions),
        TEST(test_dev_cluster_load_refuses_other_files),
        TEST(test_dev_cluster_write_config_is_what_nodes_read),
        TEST(test_dev_cluster_wipe_keeps_what_is_not_ours),
        TEST(test_dev_cluster_directory_follows_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
