// SPDX-License-Identifier: Apache-2.0
// Interactive transactions of liblightcone, against the real server over a session in memory.
#include "api/client/lightcone_txn.h"
#include "dataplane/base/mem.h"
#include "tests/unit/api/client/world.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct lc_txn *begin(struct world *world) {
    return lc_txn_begin(world->client, &(struct lc_txn_options){.keyspace = FAKE_KEYSPACE});
}

static void expect_get(struct lc_txn *txn, const char *key, const char *value) {
    struct lc_reply reply;
    enum status st = lc_txn_get(txn, world_text(key), &reply);
    assert_int_equal(st, value == NULL ? STATUS_NOT_FOUND : STATUS_OK);
    if (value != NULL) { assert_true(slice_equal(reply.result.rows[0].value, world_text(value))); }
    lc_reply_free(&reply);
}

static void put(struct lc_txn *txn, const char *key, const char *value) {
    assert_int_equal(lc_txn_put(txn, world_text(key), world_text(value)), STATUS_OK);
}

static void commit(struct lc_txn *txn, enum status expected) {
    struct lc_reply reply;
    assert_int_equal(lc_txn_commit(txn, NULL, 0, &reply), expected);
    assert_int_equal(reply.result.outcome, expected == STATUS_OK ? LC_COMMITTED : LC_ABORTED);
    assert_memory_equal(reply.result.txn, lc_txn_id(txn), LC_TXN_ID_SIZE);
    if (expected == STATUS_OK) { assert_true(reply.result.timestamp > 0); }
    lc_reply_free(&reply);
}

// --- Step by step ---

// Goal: a transaction sees its own writes over its snapshot; others see them after the commit.
static void test_client_txn_step_by_step(void **state) {
    struct world *world = *state;
    (void)world_put(world->client, "a", "1");
    (void)world_put(world->client, "b", "1");
    (void)world_put(world->client, "m", "1");
    struct lc_txn *txn = begin(world);
    expect_get(txn, "a", "1");
    assert_true(lc_txn_started(txn) > 0);
    put(txn, "a", "2");
    put(txn, "c", "new");
    expect_get(txn, "a", "2");
    assert_int_equal(lc_txn_delete(txn, world_text("b")), STATUS_OK);
    expect_get(txn, "b", NULL);
    assert_int_equal(lc_txn_delete_range(txn, world_text("l"), world_text("n")), STATUS_OK);
    expect_get(txn, "m", NULL);
    assert_int_equal(lc_txn_add(txn, world_text("n"), 5), STATUS_OK);
    expect_get(txn, "n", "5");
    assert_true(world_holds(world->client, "a", "1"));
    assert_true(world_holds(world->client, "c", NULL));
    commit(txn, STATUS_OK);
    lc_txn_close(txn);
    assert_true(world_holds(world->client, "a", "2"));
    assert_true(world_holds(world->client, "b", NULL));
    assert_true(world_holds(world->client, "c", "new"));
    assert_true(world_holds(world->client, "m", NULL));
    assert_true(world_holds(world->client, "n", "5"));
    assert_true(lc_session_token(world->client) > 0);
}

// Goal: several keys at once, and rows in order with the transaction's own among them.
static void test_client_txn_reads_and_scans(void **state) {
    struct world *world = *state;
    (void)world_put(world->client, "a", "1");
    (void)world_put(world->client, "c", "3");
    (void)world_put(world->client, "d", "4");
    struct lc_txn *txn = begin(world);
    struct lc_reply reply;
    put(txn, "b", "2");
    const struct slice keys[] = {world_text("d"), world_text("x"), world_text("b")};
    const struct lc_txn_read read = {.keys = keys, .key_count = 3};
    assert_int_equal(lc_txn_read(txn, &read, &reply), STATUS_OK);
    assert_int_equal(reply.result.row_count, 3);
    assert_true(reply.result.rows[0].found && !reply.result.rows[1].found);
    assert_true(slice_equal(reply.result.rows[2].value, world_text("2")));
    assert_true(reply.result.rows[2].version == 0 && reply.result.rows[0].version > 0);
    lc_reply_free(&reply);
    struct lc_txn_scan scan = {.start = world_text("a"), .limit = 2};
    assert_int_equal(lc_txn_scan(txn, &scan, &reply), STATUS_OK);
    assert_int_equal(reply.result.row_count, 2);
    assert_true(slice_equal(reply.result.rows[1].key, world_text("b")));
    assert_true(reply.result.more);
    struct lc_reply rest;
    scan.start = reply.result.resume;
    assert_int_equal(lc_txn_scan(txn, &scan, &rest), STATUS_OK);
    assert_int_equal(rest.result.row_count, 2);
    assert_true(slice_equal(rest.result.rows[0].key, world_text("c")));
    lc_reply_free(&rest);
    lc_reply_free(&reply);
    scan = (struct lc_txn_scan){.end = world_text("d"), .reverse = true};
    assert_int_equal(lc_txn_scan(txn, &scan, &reply), STATUS_OK);
    assert_int_equal(reply.result.row_count, 3);
    assert_true(slice_equal(reply.result.rows[0].key, world_text("c")));
    assert_false(reply.result.more);
    lc_reply_free(&reply);
    lc_txn_close(txn);
}

static void test_client_txn_leaves_nothing_behind(void **state) {
    struct world *world = *state;
    for (int i = 0; i < 4; i++) {
        struct lc_txn *txn = begin(world);
        put(txn, "a", "1");
        if (i % 2 == 0) { expect_get(txn, "a", "1"); }
        if (i < 2) {
            lc_txn_rollback(txn);
            lc_txn_rollback(txn);
            assert_int_equal(lc_txn_put(txn, world_text("a"), world_text("2")),
                             STATUS_FAILED_PRECONDITION);
            commit(txn, STATUS_FAILED_PRECONDITION);
        }
        lc_txn_close(txn);
    }
    assert_true(world_holds(world->client, "a", NULL));
    assert_int_equal(fake_node_applied(world->node), 0);
}

// Goal: a refused write is told by the next answer, with its field, and by every later call.
static void test_client_txn_errors_end_it(void **state) {
    struct world *world = *state;
    struct lc_txn *txn = begin(world);
    struct lc_reply reply;
    put(txn, "a", "1");
    assert_int_equal(lc_txn_put(txn, SLICE_EMPTY, world_text("1")), STATUS_OK);
    assert_int_equal(lc_txn_get(txn, world_text("a"), &reply), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr((const char *)reply.result.field.data, "mutations[1]"));
    lc_reply_free(&reply);
    assert_int_equal(lc_txn_put(txn, world_text("b"), world_text("1")), STATUS_INVALID_ARGUMENT);
    commit(txn, STATUS_INVALID_ARGUMENT);
    lc_txn_close(txn);
    assert_int_equal(fake_node_applied(world->node), 0);
}

// Goal: what was read must still be the newest; the answer says what was not.
static void test_client_txn_is_validated(void **state) {
    struct world *world = *state;
    const uint8_t key[] = {0, 0, 0, FAKE_KEYSPACE, 'a'};
    struct txn_id holder = {.v = {7}};
    fake_node_conflict(world->node, slice_make(key, sizeof(key)), holder);
    struct lc_txn *txn = begin(world);
    struct lc_reply reply;
    expect_get(txn, "a", NULL);
    put(txn, "b", "1");
    (void)world_put(world->client, "a", "1");
    assert_int_equal(lc_txn_commit(txn, NULL, 0, &reply), STATUS_ABORTED_RETRY);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    assert_true(slice_equal(reply.result.conflict_key, world_text("a")));
    assert_memory_equal(reply.result.holder, holder.v, sizeof(holder.v));
    lc_reply_free(&reply);
    lc_txn_close(txn);
    assert_true(world_holds(world->client, "b", NULL));
    // A condition that does not hold is no reason to try again.
    txn = begin(world);
    put(txn, "b", "1");
    struct lc_condition condition = {.kind = LC_ABSENT, .key = world_text("a")};
    assert_int_equal(lc_txn_commit(txn, &condition, 1, &reply), STATUS_CONDITION_FAILED);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    lc_reply_free(&reply);
    lc_txn_close(txn);
    assert_true(world_holds(world->client, "b", NULL));
}

// Goal: writes beyond one message leave early, and all of them are committed.
static void test_client_txn_with_many_bytes(void **state) {
    struct world *world = *state;
    enum { COUNT = 15, SIZE = 100000 };
    char *value = mem_alloc(SIZE + 1);
    memset(value, 'v', SIZE);
    struct lc_txn *txn = begin(world);
    char key[16];
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(key, sizeof(key), "k%02d", i);
        put(txn, key, value);
    }
    commit(txn, STATUS_OK);
    lc_txn_close(txn);
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(key, sizeof(key), "k%02d", i);
        assert_true(world_holds(world->client, key, value));
    }
    // Beyond what the node keeps: the reason is told, not the end of the stream that it brings.
    txn = begin(world);
    enum status st = STATUS_OK;
    for (int i = 0; i < 10 * COUNT && st == STATUS_OK; i++) {
        (void)snprintf(key, sizeof(key), "k%03d", i);
        st = lc_txn_put(txn, world_text(key), world_text(value));
    }
    assert_int_equal(st, STATUS_OVERLOADED);
    lc_txn_close(txn);
    mem_free(value);
}

// --- Lost answers ---

// Goal: an answer that is lost is asked for: committed is told committed.
static void test_client_txn_finds_its_outcome(void **state) {
    struct world *world = *state;
    struct lc_txn *txn = begin(world);
    expect_get(txn, "a", NULL);
    put(txn, "b", "1");
    fake_node_lose(world->node, 1);
    commit(txn, STATUS_OK);
    lc_txn_close(txn);
    assert_true(world_holds(world->client, "b", "1"));
}

// Goal: what nobody knows of is settled as aborted; what is prepared is waited for, and unknown at
// the deadline.
static void test_client_txn_settles_what_is_lost(void **state) {
    struct world *world = *state;
    struct lc_txn *txn = begin(world);
    struct lc_reply reply;
    put(txn, "b", "1");
    fake_node_fail(world->node, COMMAND_COMMIT, STATUS_UNKNOWN_OUTCOME, 1);
    assert_int_equal(lc_txn_commit(txn, NULL, 0, &reply), STATUS_CANCELLED);
    assert_true(reply.result.known);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    lc_reply_free(&reply);
    assert_int_equal(
        lc_txn_status_wait(world->client, FAKE_KEYSPACE, lc_txn_id(txn), world_text("b"), &reply),
        STATUS_CANCELLED);
    lc_reply_free(&reply);
    lc_txn_close(txn);
    const struct lc_txn_options options = {.keyspace = FAKE_KEYSPACE, .timeout_ms = 1500};
    txn = lc_txn_begin(world->client, &options);
    put(txn, "b", "1");
    fake_node_pend(world->node, true);
    fake_node_fail(world->node, COMMAND_COMMIT, STATUS_UNKNOWN_OUTCOME, 1);
    assert_int_equal(lc_txn_commit(txn, NULL, 0, &reply), STATUS_UNKNOWN_OUTCOME);
    assert_int_equal(reply.result.outcome, LC_UNKNOWN);
    assert_memory_equal(reply.result.txn, lc_txn_id(txn), LC_TXN_ID_SIZE);
    assert_true(slice_equal(reply.result.home, world_text("b")));
    lc_reply_free(&reply);
    lc_txn_close(txn);
    fake_node_pend(world->node, false);
}

// Writes of a transaction: keys and ranges, and where its outcome is kept.
struct homing {
    const char *ranges[3][2];  // key alone: a put
    struct slice home;
    bool sure;  // also when the node does not say
};

static struct lc_txn *homing_begin(struct world *world, const struct homing *homing) {
    const struct lc_txn_options options = {.keyspace = FAKE_KEYSPACE, .timeout_ms = 1000};
    struct lc_txn *txn = lc_txn_begin(world->client, &options);
    for (size_t i = 0; i < 3 && homing->ranges[i][0] != NULL; i++) {
        const char *const *range = homing->ranges[i];
        enum status st = range[1] == NULL
                             ? lc_txn_put(txn, world_text(range[0]), SLICE_EMPTY)
                             : lc_txn_delete_range(txn, world_text(range[0]), world_text(range[1]));
        assert_int_equal(st, STATUS_OK);
    }
    return txn;
}

struct releasing {
    struct fake_node *node;
    uint32_t cancelled;  // before
};

// Lets the node answer again when it has lost the commit.
static void *release(void *arg) {
    const struct releasing *self = arg;
    const struct timespec pause = {.tv_nsec = 1000000};
    while (fake_node_cancelled(self->node) == self->cancelled) {
        (void)nanosleep(&pause, NULL);
    }
    fake_node_hold(self->node, false);
    return NULL;
}

// Goal: the outcome is asked for where it is kept, however later writes cover the first: by what
// the node says, else by what was written. Where that is not certain nothing is settled.
static void test_client_txn_knows_its_home(void **state) {
    struct world *world = *state;
    const struct homing cases[] = {{{{"k", NULL}, {"b", NULL}}, world_text("k"), true},
                                   {{{"k", NULL}, {"b", NULL}, {"j", "l"}}, world_text("j"), true},
                                   {{{"k", NULL}, {"l", "m"}, {"a", "k"}}, world_text("k"), true},
                                   {{{"m", "z"}, {"c", "n"}, {"a", "d"}}, world_text("a"), true},
                                   {{{"c", "m"}, {"k", "z"}, {"d", NULL}}, world_text("c"), true},
                                   {{{"c", "m"}, {"c", NULL}}, SLICE_LITERAL("c\0"), false},
                                   {{{"c", "m"}, {"c", NULL}, {"b", "d"}}, world_text("b"), true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lc_txn *txn = homing_begin(world, &cases[i]);
        struct lc_reply reply;
        fake_node_fail(world->node, COMMAND_COMMIT, STATUS_UNKNOWN_OUTCOME, 1);
        assert_int_equal(lc_txn_commit(txn, NULL, 0, &reply), STATUS_CANCELLED);
        assert_true(slice_equal(reply.result.home, cases[i].home));
        lc_reply_free(&reply);
        lc_txn_close(txn);
        // The same on a stream that breaks.
        pthread_t thread;
        struct releasing releasing = {world->node, fake_node_cancelled(world->node)};
        txn = homing_begin(world, &cases[i]);
        fake_node_hold(world->node, true);
        assert_int_equal(pthread_create(&thread, NULL, release, &releasing), 0);
        enum status st = lc_txn_commit(txn, NULL, 0, &reply);
        assert_int_equal(st, cases[i].sure ? STATUS_CANCELLED : STATUS_UNKNOWN_OUTCOME);
        if (cases[i].sure) { assert_true(slice_equal(reply.result.home, cases[i].home)); }
        lc_reply_free(&reply);
        lc_txn_close(txn);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

// Goal: a node that is silent at the commit: not known, in time; one that is silent before it:
// certainly nothing happened.
static void test_client_txn_of_a_silent_node(void **state) {
    struct world *world = *state;
    struct lc_reply reply;
    const struct lc_txn_options options = {.keyspace = FAKE_KEYSPACE, .timeout_ms = 1500};
    struct lc_txn *txn = lc_txn_begin(world->client, &options);
    expect_get(txn, "a", NULL);
    put(txn, "a", "1");
    fake_node_hold(world->node, true);
    assert_int_equal(lc_txn_commit(txn, NULL, 0, &reply), STATUS_UNKNOWN_OUTCOME);
    assert_int_equal(reply.result.outcome, LC_UNKNOWN);
    lc_reply_free(&reply);
    lc_txn_close(txn);
    txn = lc_txn_begin(world->client, &options);
    assert_int_equal(lc_txn_get(txn, world_text("a"), &reply), STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    lc_reply_free(&reply);
    lc_txn_close(txn);
    fake_node_hold(world->node, false);
}

// --- The loop ---

enum { LATE_MS = 1000, RUNS_KEPT = 32 };

struct counting {
    struct world *world;
    uint32_t runs;
    uint32_t disturbed;  // so many runs meet a write of somebody else
    enum status result;  // what the body returns in the end
    uint32_t late;       // this run, counted from 1, begins after all deadlines
    uint8_t ids[RUNS_KEPT][LC_TXN_ID_SIZE];
    uint64_t begins[RUNS_KEPT];
};

// a = a + 1, by reading it.
static enum status count_up(struct lc_txn *txn, void *ctx) {
    struct counting *self = ctx;
    struct lc_reply reply;
    char text[24] = "0";
    assert_true(self->runs < RUNS_KEPT);
    if (self->runs + 1 == self->late) { (void)usleep(LATE_MS * 1000); }
    memcpy(self->ids[self->runs], lc_txn_id(txn), LC_TXN_ID_SIZE);
    enum status st = lc_txn_get(txn, world_text("a"), &reply);
    if (st == STATUS_OK) {
        struct slice value = reply.result.rows[0].value;
        (void)snprintf(text, sizeof(text), "%.*s", (int)value.size, (const char *)value.data);
    }
    lc_reply_free(&reply);
    if (st != STATUS_OK && st != STATUS_NOT_FOUND) {
        self->runs++;
        return st;
    }
    self->begins[self->runs++] = lc_txn_started(txn);
    if (self->runs <= self->disturbed) { (void)world_put(self->world->client, "a", "100"); }
    (void)snprintf(text, sizeof(text), "%ld", strtol(text, NULL, 10) + 1);
    put(txn, "a", text);
    return self->result;
}

static enum status run(struct world *world, struct counting *counting, struct lc_reply *out) {
    const struct lc_txn_options options = {.keyspace = FAKE_KEYSPACE, .timeout_ms = 5000};
    counting->world = world;
    return lc_txn_run(world->client, &options, count_up, counting, out);
}

// Goal: conflicts are tried again under the same id and with the age of the first try.
static void test_client_txn_run_tries_again(void **state) {
    struct world *world = *state;
    struct counting counting = {.disturbed = 2};
    struct lc_reply reply;
    assert_int_equal(run(world, &counting, &reply), STATUS_OK);
    assert_int_equal(reply.result.outcome, LC_COMMITTED);
    assert_int_equal(reply.result.attempts, 3);
    assert_int_equal(counting.runs, 3);
    assert_memory_equal(reply.result.txn, counting.ids[0], LC_TXN_ID_SIZE);
    for (int i = 1; i < 3; i++) {
        assert_memory_equal(counting.ids[i], counting.ids[0], LC_TXN_ID_SIZE);
        assert_true(counting.begins[i] == counting.begins[0]);
    }
    lc_reply_free(&reply);
    assert_true(world_holds(world->client, "a", "101"));
    // A node that cannot serve for a moment.
    fake_node_fail(world->node, COMMAND_READ, STATUS_UNAVAILABLE, 2);
    counting = (struct counting){.disturbed = 0};
    assert_int_equal(run(world, &counting, &reply), STATUS_OK);
    assert_int_equal(reply.result.attempts, 3);
    lc_reply_free(&reply);
    assert_true(world_holds(world->client, "a", "102"));
}

// Goal: what is final is not tried again, a status of the body's own neither.
static void test_client_txn_run_knows_when_to_stop(void **state) {
    struct world *world = *state;
    struct counting counting = {.result = STATUS_ALREADY_EXISTS};
    struct lc_reply reply;
    assert_int_equal(run(world, &counting, &reply), STATUS_ALREADY_EXISTS);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    assert_int_equal(counting.runs, 1);
    lc_reply_free(&reply);
    fake_node_fail(world->node, COMMAND_READ, STATUS_SNAPSHOT_TOO_OLD, 1);
    counting = (struct counting){.disturbed = 0};
    assert_int_equal(run(world, &counting, &reply), STATUS_SNAPSHOT_TOO_OLD);
    assert_int_equal(counting.runs, 1);
    lc_reply_free(&reply);
    assert_true(world_holds(world->client, "a", NULL));
}

// Goal: out of time, the last reason is told, and that nothing happened: also by a try that the
// deadline cut short.
static void test_client_txn_run_out_of_time(void **state) {
    struct world *world = *state;
    struct lc_reply reply;
    for (uint32_t late = 0; late <= 2; late += 2) {
        fake_node_fail(world->node, COMMAND_COMMIT, STATUS_ABORTED_RETRY, FAKE_FAILURES_MAX);
        struct counting counting = {.world = world, .late = late};
        const struct lc_txn_options options = {.keyspace = FAKE_KEYSPACE, .timeout_ms = LATE_MS};
        assert_int_equal(lc_txn_run(world->client, &options, count_up, &counting, &reply),
                         STATUS_ABORTED_RETRY);
        assert_int_equal(reply.result.outcome, LC_ABORTED);
        assert_true(reply.result.attempts > 1);
        lc_reply_free(&reply);
        fake_node_fail(world->node, 0, STATUS_OK, 0);
    }
    assert_true(world_holds(world->client, "a", NULL));
}

// a = 1, after reading b and a; notes how many keys were held then.
struct holding {
    struct world *world;
    uint32_t runs;
    uint32_t held[3];
    bool for_update;  // asks for b itself
};

static enum status read_two(struct lc_txn *txn, void *ctx) {
    struct holding *self = ctx;
    const struct slice keys[2] = {world_text("b"), world_text("a")};
    struct lc_reply reply;
    for (uint32_t i = 0; i < 2; i++) {
        const struct lc_txn_read read = {
            .keys = &keys[i], .key_count = 1, .for_update = self->for_update && i == 0};
        const enum status st = lc_txn_read(txn, &read, &reply);
        lc_reply_free(&reply);
        if (st != STATUS_OK) { return st; }
    }
    assert_true(self->runs < 3);
    self->held[self->runs++] = fake_node_keys_held(self->world->node);
    put(txn, "a", "1");
    return STATUS_OK;
}

// Goal: the key at which a try was refused is held by the next ones, and no other; one that holds
// keys itself is left alone.
static void test_client_txn_run_gets_in_line(void **state) {
    struct world *world = *state;
    const struct lc_txn_options options = {.keyspace = FAKE_KEYSPACE, .timeout_ms = 5000};
    const uint8_t key[] = {0, 0, 0, FAKE_KEYSPACE, 'a'};
    fake_node_conflict(world->node, slice_make(key, sizeof(key)), (struct txn_id){.v = {1}});
    for (uint32_t own = 0; own < 2; own++) {
        struct holding holding = {.world = world, .for_update = own == 1};
        struct lc_reply reply;
        fake_node_fail(world->node, COMMAND_COMMIT, STATUS_ABORTED_RETRY, 2);
        assert_int_equal(lc_txn_run(world->client, &options, read_two, &holding, &reply),
                         STATUS_OK);
        lc_reply_free(&reply);
        assert_int_equal(holding.runs, 3);
        assert_int_equal(holding.held[0], own);
        assert_int_equal(holding.held[1], 1);
        assert_int_equal(holding.held[2], 1);
    }
}

// Goal: a try whose answer was lost counts when it was committed, and when it was settled, the next
// one has another id: the body takes effect once.
static void test_client_txn_run_counts_once(void **state) {
    struct world *world = *state;
    struct counting counting = {.disturbed = 0};
    struct lc_reply reply;
    fake_node_lose(world->node, 1);
    assert_int_equal(run(world, &counting, &reply), STATUS_OK);
    assert_int_equal(reply.result.attempts, 1);
    lc_reply_free(&reply);
    assert_true(world_holds(world->client, "a", "1"));
    counting = (struct counting){.disturbed = 0};
    fake_node_fail(world->node, COMMAND_COMMIT, STATUS_UNKNOWN_OUTCOME, 1);
    assert_int_equal(run(world, &counting, &reply), STATUS_OK);
    assert_int_equal(reply.result.attempts, 2);
    assert_memory_not_equal(counting.ids[0], counting.ids[1], LC_TXN_ID_SIZE);
    lc_reply_free(&reply);
    assert_true(world_holds(world->client, "a", "2"));
    // An id that the caller chose is not replaced.
    uint8_t id[LC_TXN_ID_SIZE];
    lc_txn_id_make(id);
    counting = (struct counting){.world = world};
    fake_node_fail(world->node, COMMAND_COMMIT, STATUS_UNKNOWN_OUTCOME, 1);
    const struct lc_txn_options options = {.keyspace = FAKE_KEYSPACE, .txn = id};
    assert_int_equal(lc_txn_run(world->client, &options, count_up, &counting, &reply),
                     STATUS_CANCELLED);
    assert_int_equal(reply.result.outcome, LC_ABORTED);
    assert_memory_equal(reply.result.txn, id, sizeof(id));
    lc_reply_free(&reply);
}

// Goal: the leader is gone: the transaction goes through another node.
static void test_client_txn_run_goes_around_a_dead_leader(void **state) {
    struct world *world = *state;
    struct fake_node *dead = fake_node_create(0, 0);
    fake_node_point_to(world->node, fake_node_address(dead));
    const char *address = fake_node_address(world->node);
    struct lc_client *client = world_connect(&address, 1, world->mode);
    struct counting counting = {.world = world};
    struct lc_reply reply;
    fake_node_destroy(dead);
    const struct lc_txn_options options = {.keyspace = FAKE_KEYSPACE};
    assert_int_equal(lc_txn_run(client, &options, count_up, &counting, &reply), STATUS_OK);
    lc_reply_free(&reply);
    lc_close(client);
    assert_int_equal(fake_node_applied(world->node), 1);
    assert_true(world_holds(world->client, "a", "1"));
}

// --- Many at once ---

enum { THREADS = 8, RUNS = 25 };

static enum status add_one(struct lc_txn *txn, void *ctx) {
    struct lc_reply reply;
    char text[24];
    (void)ctx;
    enum status st = lc_txn_get(txn, world_text("a"), &reply);
    if (st == STATUS_OK) {
        struct slice value = reply.result.rows[0].value;
        (void)snprintf(text, sizeof(text), "%.*s", (int)value.size, (const char *)value.data);
        (void)snprintf(text, sizeof(text), "%ld", strtol(text, NULL, 10) + 1);
        st = lc_txn_put(txn, world_text("a"), world_text(text));
    }
    lc_reply_free(&reply);
    return st;
}

struct storm {
    struct world *world;
    atomic_uint committed;
};

static void *storm_thread(void *arg) {
    struct storm *storm = arg;
    const struct lc_txn_options options = {.keyspace = FAKE_KEYSPACE, .timeout_ms = 30000};
    for (int i = 0; i < RUNS; i++) {
        struct lc_reply reply;
        enum status st = lc_txn_run(storm->world->client, &options, add_one, NULL, &reply);
        if (st == STATUS_OK) { atomic_fetch_add(&storm->committed, 1); }
        lc_reply_free(&reply);
    }
    return NULL;
}

// Goal: no increment of many threads is lost, though each reads before it writes.
static void test_client_txn_run_in_many_threads(void **state) {
    struct world *world = *state;
    struct storm storm = {.world = world};
    pthread_t threads[THREADS];
    char expected[24];
    (void)world_put(world->client, "a", "0");
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, storm_thread, &storm), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&storm.committed), THREADS * RUNS);
    (void)snprintf(expected, sizeof(expected), "%d", THREADS * RUNS);
    assert_true(world_holds(world->client, "a", expected));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_BATCH(test_client_txn_step_by_step),
        WORLD_BATCH(test_client_txn_reads_and_scans),
        WORLD_BATCH(test_client_txn_leaves_nothing_behind),
        WORLD_BATCH(test_client_txn_errors_end_it),
        WORLD_BATCH(test_client_txn_is_validated),
        WORLD_BATCH(test_client_txn_with_many_bytes),
        WORLD_BOTH(test_client_txn_finds_its_outcome),
        WORLD_BOTH(test_client_txn_settles_what_is_lost),
        WORLD_BATCH(test_client_txn_knows_its_home),
        WORLD_BATCH(test_client_txn_of_a_silent_node),
        WORLD_BATCH(test_client_txn_run_tries_again),
        WORLD_BATCH(test_client_txn_run_knows_when_to_stop),
        WORLD_BATCH(test_client_txn_run_out_of_time),
        WORLD_BATCH(test_client_txn_run_gets_in_line),
        WORLD_BATCH(test_client_txn_run_counts_once),
        WORLD_BATCH(test_client_txn_run_goes_around_a_dead_leader),
        WORLD_BATCH(test_client_txn_run_in_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
