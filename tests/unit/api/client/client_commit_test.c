// SPDX-License-Identifier: Apache-2.0
// Commits beyond puts: typed writes, reads that must stand, conflicts that say with whom, outcomes
// that are settled.
#include "tests/unit/api/client/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static enum status merge(struct world *world, struct lc_mutation mutation, struct lc_reply *out) {
    mutation.kind = LC_MERGE;
    struct lc_commit commit = {
        .keyspace = FAKE_KEYSPACE, .mutations = &mutation, .mutation_count = 1};
    return lc_commit_wait(world->client, &commit, 0, out);
}

static enum status add(struct world *world, const char *key, struct lc_merge counter) {
    struct lc_reply reply;
    enum status st =
        merge(world, (struct lc_mutation){.key = world_text(key), .merge = counter}, &reply);
    lc_reply_free(&reply);
    return st;
}

static void test_client_merges_count(void **state) {
    struct world *world = *state;
    struct lc_merge counter = {.type = LC_COUNTER, .amount = 5};
    assert_int_equal(add(world, "n", counter), STATUS_OK);
    counter.amount = -12;
    assert_int_equal(add(world, "n", counter), STATUS_OK);
    assert_true(world_holds(world->client, "n", "-7"));
    counter = (struct lc_merge){.type = LC_COUNTER, .amount = INT64_MAX};
    assert_int_equal(add(world, "big", counter), STATUS_OK);
    assert_true(world_holds(world->client, "big", "9223372036854775807"));
    counter = (struct lc_merge){.type = LC_COUNTER, .amount = INT64_MIN};
    assert_int_equal(add(world, "small", counter), STATUS_OK);
    assert_true(world_holds(world->client, "small", "-9223372036854775808"));
    struct lc_reply reply;
    assert_int_equal(lc_add_wait(world->client, FAKE_KEYSPACE, world_text("n"), 8, &reply),
                     STATUS_OK);
    lc_reply_free(&reply);
    assert_true(world_holds(world->client, "n", "1"));
}

// Goal: bounds hold, zero ones too, and say which mutation they belong to.
static void test_client_merges_have_bounds(void **state) {
    struct world *world = *state;
    struct lc_merge counter = {
        .type = LC_COUNTER, .amount = -1, .has_min = true, .min = 0, .has_max = true, .max = 3};
    struct lc_reply reply;
    struct lc_mutation mutation = {.key = world_text("n"), .merge = counter};
    assert_int_equal(merge(world, mutation, &reply), STATUS_CONDITION_FAILED);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    assert_int_equal(reply.result.failed_condition, 0);
    lc_reply_free(&reply);
    counter.amount = 3;
    assert_int_equal(add(world, "n", counter), STATUS_OK);
    assert_int_equal(add(world, "n", counter), STATUS_CONDITION_FAILED);
    counter = (struct lc_merge){.type = LC_COUNTER, .amount = 0, .has_min = true, .min = 4};
    assert_int_equal(add(world, "n", counter), STATUS_CONDITION_FAILED);
    assert_true(world_holds(world->client, "n", "3"));
}

// Goal: the element and its removal arrive: a set is its elements in order behind their sizes.
static void test_client_merges_sets_and_registers(void **state) {
    struct world *world = *state;
    struct lc_reply reply;
    static const char *const elements[] = {"bb", "a"};
    for (size_t i = 0; i < 2; i++) {
        struct lc_mutation put = {
            .key = world_text("s"), .value = world_text(elements[i]), .merge = {.type = LC_SET}};
        assert_int_equal(merge(world, put, &reply), STATUS_OK);
        lc_reply_free(&reply);
    }
    assert_true(world_holds(world->client, "s", "\001a\002bb"));
    struct lc_mutation take = {.key = world_text("s"),
                               .value = world_text("a"),
                               .merge = {.type = LC_SET, .remove = true}};
    assert_int_equal(merge(world, take, &reply), STATUS_OK);
    lc_reply_free(&reply);
    assert_true(world_holds(world->client, "s", "\002bb"));
    struct lc_mutation reg = {
        .key = world_text("r"), .value = world_text("x"), .merge = {.type = LC_REGISTER}};
    assert_int_equal(merge(world, reg, &reply), STATUS_OK);
    lc_reply_free(&reply);
    assert_true(world_holds(world->client, "r", "x"));
    struct lc_mutation none = {.key = world_text("r"), .merge = {.type = (enum lc_merge_type)0}};
    assert_int_equal(merge(world, none, &reply), STATUS_INVALID_ARGUMENT);
    lc_reply_free(&reply);
}

// Goal: a commit whose reads are no longer the newest ends ABORTED_RETRY at once, as the same would
// happen again, and says what was in the way.
static void test_client_reads_must_stand(void **state) {
    struct world *world = *state;
    uint64_t first = world_put(world->client, "a", "1");
    struct lc_span spans[] = {{.start = world_text("a")},
                              {.start = world_text("b"), .end = world_text("d")}};
    struct lc_mutation put = {.kind = LC_PUT, .key = world_text("x"), .value = world_text("1")};
    struct lc_commit commit = {.keyspace = FAKE_KEYSPACE,
                               .mutations = &put,
                               .mutation_count = 1,
                               .reads = spans,
                               .read_count = 2,
                               .snapshot = first};
    struct lc_reply reply;
    const uint8_t key[] = {0, 0, 0, FAKE_KEYSPACE, 'c'};
    struct txn_id holder = {.v = {1, 2, 3}};
    fake_node_conflict(world->node, slice_make(key, sizeof(key)), holder);
    assert_int_equal(lc_commit_wait(world->client, &commit, 0, &reply), STATUS_OK);
    lc_reply_free(&reply);
    uint64_t second = world_put(world->client, "c", "1");
    assert_int_equal(lc_commit_wait(world->client, &commit, 0, &reply), STATUS_ABORTED_RETRY);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    assert_int_equal(reply.result.attempts, 1);
    assert_true(slice_equal(reply.result.conflict_key, world_text("c")));
    assert_memory_equal(reply.result.holder, holder.v, sizeof(holder.v));
    lc_reply_free(&reply);
    commit.snapshot = second;
    assert_int_equal(lc_commit_wait(world->client, &commit, 0, &reply), STATUS_OK);
    assert_int_equal(reply.result.conflict_key.size, 0);
    lc_reply_free(&reply);
}

// Goal: an outcome that nobody knows is settled, and then the commit cannot happen any more.
static void test_client_settles(void **state) {
    struct world *world = *state;
    struct lc_reply reply;
    uint8_t txn[LC_TXN_ID_SIZE];
    lc_txn_id_make(txn);
    fake_node_pend(world->node, true);
    assert_int_equal(lc_txn_settle_wait(world->client, FAKE_KEYSPACE, txn, world_text("a"), &reply),
                     STATUS_OK);
    assert_true(!reply.result.known && reply.result.pending);
    assert_int_equal(reply.result.outcome, LC_UNKNOWN);
    lc_reply_free(&reply);
    fake_node_pend(world->node, false);
    assert_int_equal(lc_txn_settle_wait(world->client, FAKE_KEYSPACE, txn, world_text("a"), &reply),
                     STATUS_CANCELLED);
    assert_true(reply.result.known && !reply.result.pending);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    assert_memory_equal(reply.result.txn, txn, sizeof(txn));
    lc_reply_free(&reply);
    assert_int_equal(lc_txn_status_wait(world->client, FAKE_KEYSPACE, txn, world_text("a"), &reply),
                     STATUS_CANCELLED);
    assert_true(reply.result.known);
    lc_reply_free(&reply);
    // A commit under the id is told so at once, also when an attempt of it was lost before.
    const struct lc_mutation put = {
        .kind = LC_PUT, .key = world_text("a"), .value = world_text("1")};
    const struct lc_commit late = {
        .keyspace = FAKE_KEYSPACE, .txn = txn, .mutations = &put, .mutation_count = 1};
    for (uint32_t lost = 0; lost < 2; lost++) {
        fake_node_fail(world->node, COMMAND_COMMIT, STATUS_UNKNOWN_OUTCOME, lost);
        assert_int_equal(lc_commit_wait(world->client, &late, 0, &reply), STATUS_CANCELLED);
        assert_int_equal(reply.result.outcome, LC_ABORTED);
        assert_true(reply.result.known);
        assert_int_equal(reply.result.attempts, 1 + lost);
        lc_reply_free(&reply);
    }
    // What has an outcome keeps it.
    assert_int_equal(
        lc_put_wait(world->client, FAKE_KEYSPACE, world_text("a"), world_text("1"), &reply),
        STATUS_OK);
    memcpy(txn, reply.result.txn, sizeof(txn));
    lc_reply_free(&reply);
    assert_int_equal(lc_txn_settle_wait(world->client, FAKE_KEYSPACE, txn, world_text("a"), &reply),
                     STATUS_OK);
    assert_int_equal(reply.result.outcome, LC_COMMITTED);
    lc_reply_free(&reply);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_BOTH(test_client_merges_count),
        WORLD_BOTH(test_client_merges_have_bounds),
        WORLD_BOTH(test_client_merges_sets_and_registers),
        WORLD_BOTH(test_client_reads_must_stand),
        WORLD_BOTH(test_client_settles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
