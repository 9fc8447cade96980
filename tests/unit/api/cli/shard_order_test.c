// SPDX-License-Identifier: Apache-2.0
// Lists of nodes on the command line, and what the commands about members do with them.
#include "api/cli/shard_order.h"

#include "api/cli/commands.h"
#include "dataplane/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// One line through the whole command; what it said on err.
static enum cli_exit run(const char *const *words, int count, char **out_err) {
    char *argv[16] = {NULL};
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        argv[i] = (char *)words[i];
    }
    struct cli cli = {.in = stdin, .out = stdout, .err = open_memstream(out_err, &size)};
    enum cli_exit exit = cli_run(&cli, count, argv);
    assert_int_equal(fclose(cli.err), 0);
    return exit;
}

// Goal: wrong lines are told apart from failures, before anybody is asked.
static void test_order_wrong_lines_are_usage(void **state) {
    (void)state;
    static const struct {
        const char *words[8];
        int count;
        const char *text;
    } lines[] = {
        {{"lightcone", "shard", "place", "16"}, 4, "--voters is needed"},
        {{"lightcone", "shard", "place", "16", "--voters", "1,2,2"}, 6, "--voters"},
        {{"lightcone", "shard", "place", "16", "--voters", "1,x"}, 6, "--voters"},
        {{"lightcone", "shard", "place", "16", "--voters", "1,,2"}, 6, "--voters"},
        {{"lightcone", "shard", "place", "16", "--voters", "0"}, 6, "--voters"},
        {{"lightcone", "shard", "place", "16", "--voters", "5000000000"}, 6, "--voters"},
        {{"lightcone", "shard", "place", "16", "--voters", "1,2,3,4,5,6,7,8,9,10"},
         6,
         "--voters: at most 9 nodes"},
        {{"lightcone", "shard", "place", "0", "--voters", "1"}, 6, "SHARD"},
        {{"lightcone", "shard", "place", "16", "--voters", "1", "--learners", "a"},
         8,
         "--learners"},
        {{"lightcone", "shard", "move", "16", "--from", "3"}, 6, "--from and --to are needed"},
        {{"lightcone", "shard", "transfer", "16"}, 4, "--to is needed"},
        {{"lightcone", "shard", "cancel"}, 3, "SHARD"},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char *text = NULL;
        assert_int_equal(run(lines[i].words, lines[i].count, &text), CLI_USAGE);
        assert_non_null(strstr(text, lines[i].text));
        mem_free(text);
    }
}

// Goal: lists in order, and back into text.
static void test_order_lists_parse_and_print(void **state) {
    (void)state;
    struct cli cli = {.err = stderr};
    struct shard_order_nodes nodes;
    enum cli_exit exit = CLI_OK;
    char text[64];
    assert_true(shard_order_parse(&cli, "voters", "4,1,300", &nodes, &exit));
    assert_int_equal(nodes.count, 3);
    assert_true(shard_order_has(&nodes, 300));
    assert_false(shard_order_has(&nodes, 3));
    shard_order_text(&nodes, text, sizeof(text));
    assert_string_equal(text, "4, 1, 300");
    assert_true(shard_order_parse(&cli, "learners", "", &nodes, &exit));
    assert_int_equal(nodes.count, 0);
    shard_order_text(&nodes, text, sizeof(text));
    assert_string_equal(text, "");
    char narrow[5];
    assert_true(shard_order_parse(&cli, "voters", "11,22,33", &nodes, &exit));
    shard_order_text(&nodes, narrow, sizeof(narrow));
    assert_string_equal(narrow, "11, ");
}

// Goal: members are told by role; those that leave are none.
static void test_order_members_by_role(void **state) {
    (void)state;
    Lightcone__V1__ShardReplica replicas[3];
    Lightcone__V1__ShardReplica *list[3];
    for (uint32_t i = 0; i < 3; i++) {
        lightcone__v1__shard_replica__init(&replicas[i]);
        replicas[i].node = i + 1;
        replicas[i].role = (Lightcone__V1__ReplicaRole)i;
        list[i] = &replicas[i];
    }
    Lightcone__V1__Shard shard = LIGHTCONE__V1__SHARD__INIT;
    shard.replicas = list;
    shard.n_replicas = 3;
    struct shard_order_nodes nodes;
    shard_order_members(&shard, LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_VOTER, &nodes);
    assert_true(nodes.count == 1 && nodes.nodes[0] == 1);
    shard_order_members(&shard, LIGHTCONE__V1__REPLICA_ROLE__REPLICA_ROLE_LEARNER, &nodes);
    assert_true(nodes.count == 1 && nodes.nodes[0] == 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_wrong_lines_are_usage),
        cmocka_unit_test(test_order_lists_parse_and_print),
        cmocka_unit_test(test_order_members_by_role),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
