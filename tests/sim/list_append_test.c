// SPDX-License-Identifier: Apache-2.0
// The list-append checker, judged: by histories made by hand, each with the one flaw that its name
// says, and by a small database that is sound or flawed as asked for.
#include "tests/sim/list_append.h"

#include "dataplane/base/assert.h"
#include "tests/sim/list_append_db.h"
#include "tests/sim/list_append_json.h"

#include <jansson.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_SIZE = 1 << 14, LIST_MAX = 16 };
#define BIT(name) LIST_APPEND_BIT(LIST_APPEND_##name)

static char text[TEXT_SIZE];
static const char *expected_path;  // tests/data/histories/expected.json

// --- Histories in words ---

// Operations in words: "x+1" appends, "y=1,2" and "y=" read.
static void add_ops(struct list_append_history *history, const char *ops) {
    while (*ops != '\0') {
        uint64_t key = (uint64_t)(unsigned char)*ops++;
        bool is_read = *ops++ == '=';
        uint64_t list[LIST_MAX];
        uint32_t count = 0;
        while (*ops != ' ' && *ops != '\0') {
            char *end = NULL;
            ASSERT(count < LIST_MAX);
            list[count++] = strtoull(ops, &end, 10);
            ops = *end == ',' ? end + 1 : end;
        }
        if (is_read) {
            list_append_add_read(history, key, list, count);
        } else {
            list_append_add(history, key, list[0]);
        }
        ops += *ops == ' ';
    }
}

struct words {
    uint64_t invoke;
    uint64_t ret;  // 0: unknown outcome
    const char *ops;
    uint64_t process;  // 0: its own
    uint64_t commit_ts;
    uint64_t snapshot_ts;
    bool stale;
    bool fail;
};

static uint64_t judge_as(const struct words *txns, size_t count,
                         const struct list_append_config *config) {
    struct list_append_history history;
    list_append_init(&history);
    for (size_t i = 0; i < count; i++) {
        const struct words *words = &txns[i];
        struct list_append_txn txn = {
            .id = i + 1,
            .process = words->process == 0 ? 1000 + i : words->process,
            .invoke = words->invoke,
            .ret = words->ret == 0 ? LIST_APPEND_NEVER : words->ret,
            .type = words->fail ? LIST_APPEND_FAIL
                                : (words->ret == 0 ? LIST_APPEND_INFO : LIST_APPEND_OK),
            .commit_ts = words->commit_ts,
            .snapshot_ts = words->snapshot_ts,
            .stale = words->stale};
        list_append_begin(&history, &txn);
        add_ops(&history, words->ops);
    }
    struct list_append_result result;
    bool good = list_append_check(&history, config, &result, text, sizeof(text));
    assert_true(good == (result.forbidden == 0));
    assert_true((result.found != 0) == (text[0] != '\0'));
    list_append_deinit(&history);
    return result.found;
}

static uint64_t judge(const struct words *txns, size_t count) {
    return judge_as(txns, count, &(struct list_append_config){0});
}

#define T(from, to, what) \
    { .invoke = from, .ret = to, .ops = what }
#define P(process_, from, to, what) \
    { .invoke = from, .ret = to, .ops = what, .process = process_ }
#define JUDGE(...)                             \
    judge((const struct words[]){__VA_ARGS__}, \
          sizeof((const struct words[]){__VA_ARGS__}) / sizeof(struct words))

// --- Single reads ---

static void test_list_append_serial_history_clean(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 2, "x+1 y+1"), T(3, 4, "x=1 x+2 x=1,2"), T(5, 6, "x=1,2 y=1")), 0);
    assert_string_equal(text, "");
}

static void test_list_append_own_append_missing_internal(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 2, "x+1"), T(3, 4, "x+2 x=1")), BIT(INTERNAL));
    assert_int_equal(JUDGE(T(1, 2, "x+1"), T(3, 9, "x=1 x=")), BIT(INTERNAL));
    assert_int_equal(JUDGE(T(1, 2, "x=1 x+1")), BIT(INTERNAL));
}

static void test_list_append_value_of_failed_txn_g1a(void **state) {
    (void)state;
    assert_int_equal(JUDGE({.invoke = 1, .ops = "x+1", .fail = true}, T(3, 4, "x=1")), BIT(G1A));
    // Committed on top of it: the failed one's value became part of what is committed.
    assert_int_equal(
        JUDGE({.invoke = 1, .ops = "x+1", .fail = true}, T(3, 4, "x+2"), T(5, 6, "x=1,2")),
        BIT(G1A) | BIT(DIRTY_UPDATE));
}

static void test_list_append_intermediate_value_g1b(void **state) {
    (void)state;
    uint64_t found = JUDGE(T(1, 10, "x+1 x+2"), T(2, 9, "x=1"), T(11, 12, "x=1,2"));
    assert_true((found & BIT(G1B)) != 0);
    assert_int_equal(JUDGE(T(1, 10, "x+1 x+2"), T(11, 12, "x=1,2")), 0);
}

static void test_list_append_value_read_twice_duplicate(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 2, "x+1"), T(3, 4, "x=1,1")), BIT(DUPLICATE));
}

static void test_list_append_value_from_nowhere_garbage(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 2, "x+1"), T(3, 4, "x=1,7")), BIT(GARBAGE));
}

static void test_list_append_value_appended_twice_generator(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 2, "x+1"), T(3, 4, "x+1"), T(5, 6, "x=1")), BIT(GENERATOR));
}

static void test_list_append_two_orders_incompatible(void **state) {
    (void)state;
    uint64_t found = JUDGE(T(1, 9, "x+1"), T(1, 9, "x+2"), T(10, 11, "x=1,2"), T(12, 13, "x=2,1"));
    assert_int_equal(found, BIT(INCOMPATIBLE_ORDER));
    assert_non_null(strstr(text, "[1 2]"));
    assert_non_null(strstr(text, "[2 1]"));
}

// --- Unknown outcomes ---

static void test_list_append_unknown_append_seen_or_not_clean(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 0, "x+1"), T(3, 4, "x="), T(5, 6, "x=")), 0);
    assert_int_equal(JUDGE(T(1, 0, "x+1"), T(3, 4, "x="), T(5, 6, "x=1")), 0);
}

static void test_list_append_unknown_append_seen_then_gone_realtime(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 0, "x+1"), T(3, 4, "x=1"), T(5, 6, "x=")), BIT(G_SINGLE_REALTIME));
}

// Half of an unknown transaction is seen, the other half is not.
static void test_list_append_unknown_txn_seen_by_half_g_single(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 0, "x+1 y+1"), T(3, 4, "x=1 y="), T(5, 6, "y=1")), BIT(G_SINGLE));
    assert_int_equal(JUDGE(T(1, 0, "x+1 y+1"), T(3, 4, "x=1 y=")), BIT(G_SINGLE));
    assert_int_equal(JUDGE(T(1, 0, "x+1 y+1"), T(3, 4, "x=1"), T(5, 6, "y=")),
                     BIT(G_SINGLE_REALTIME));
}

// --- Lost ---

static void test_list_append_append_gone_in_the_end_lost(void **state) {
    (void)state;
    struct words txns[] = {T(1, 2, "x+1"), T(3, 9, "x+2"), T(4, 9, "x=1")};
    assert_int_equal(judge(txns, 3), 0);
    assert_int_equal(judge_as(txns, 3, &(struct list_append_config){.final_reads = true}),
                     BIT(LOST_APPEND));
    // Read after it was acknowledged: that alone is wrong.
    txns[2] = (struct words)T(10, 11, "x=1");
    assert_int_equal(judge(txns, 3), BIT(G_SINGLE_REALTIME));
}

static void test_list_append_two_appends_to_one_version_lost_update(void **state) {
    (void)state;
    uint64_t found = JUDGE(T(1, 9, "x= x+1"), T(1, 9, "x= x+2"), T(10, 11, "x=1,2"));
    assert_int_equal(found, BIT(LOST_UPDATE) | BIT(G_SINGLE));
}

// --- Cycles ---

static void test_list_append_crossed_writes_g0(void **state) {
    (void)state;
    uint64_t found = JUDGE(T(1, 9, "x+1 y+1"), T(1, 9, "x+2 y+2"), T(10, 11, "x=1,2 y=2,1"));
    assert_int_equal(found, BIT(G0));
    assert_non_null(strstr(text, "-ww-> T1"));
    assert_non_null(strstr(text, "-ww-> T2"));
}

static void test_list_append_each_reads_the_other_g1c(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 9, "x+1 y=1"), T(1, 9, "y+1 x=1")), BIT(G1C));
}

static void test_list_append_read_skew_g_single(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 9, "x+1 y+1"), T(1, 9, "x=1 y="), T(10, 11, "y=1")), BIT(G_SINGLE));
    assert_non_null(strstr(text, "T2 read key 121=[], T1 appended 1 after that"));
}

static void test_list_append_write_skew_g2(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 9, "x= y+1"), T(1, 9, "y= x+1"), T(10, 11, "x=1 y=1")),
                     BIT(G2_ITEM));
}

// Two writers, and two readers who see one of them each.
static void test_list_append_long_fork_nonadjacent(void **state) {
    (void)state;
    assert_int_equal(JUDGE(T(1, 9, "x+1"), T(1, 9, "y+1"), T(1, 9, "x=1 y="), T(1, 9, "x= y=1")),
                     BIT(G_NONADJACENT));
}

// A ring of four and one of two: the shorter one is told.
static void test_list_append_two_rings_shortest_told(void **state) {
    (void)state;
    uint64_t found =
        JUDGE(T(1, 99, "a= b+1"), T(1, 99, "b= c+1"), T(1, 99, "c= d+1"), T(1, 99, "d= a+1"),
              T(1, 99, "e= f+1"), T(1, 99, "f= e+1"), T(100, 101, "a=1 b=1 c=1 d=1 e=1 f=1"));
    assert_int_equal(found, BIT(G2_ITEM));
    assert_true(strncmp(text, "G2-item: T5 -rw-> T6 -rw-> T5\n", 30) == 0 ||
                strncmp(text, "G2-item: T6 -rw-> T5 -rw-> T6\n", 30) == 0);
}

// --- Real time, processes, stale reads ---

static void test_list_append_stale_read_realtime_only(void **state) {
    (void)state;
    struct words txns[] = {T(1, 2, "x+1"), T(3, 4, "x="), T(5, 6, "x=1")};
    assert_int_equal(judge(txns, 3), BIT(G_SINGLE_REALTIME));
    struct list_append_config serializable = {.model = LIST_APPEND_SERIALIZABLE};
    assert_int_equal(judge_as(txns, 3, &serializable), BIT(G_SINGLE_REALTIME));
    txns[1].stale = true;
    assert_int_equal(judge(txns, 3), 0);
    txns[1].stale = false;
    txns[1].invoke = 2;  // the instant of the acknowledgement: concurrent
    assert_int_equal(judge(txns, 3), 0);
}

static void test_list_append_process_forgets_its_write_process(void **state) {
    (void)state;
    uint64_t found = JUDGE(P(7, 1, 2, "x+1"), P(7, 3, 4, "x="), P(8, 5, 6, "x=1"));
    assert_int_equal(found, BIT(G_SINGLE_PROCESS) | BIT(G_SINGLE_REALTIME));
}

// A stale read in between hides nothing of what came before it.
static void test_list_append_process_with_a_stale_read_process(void **state) {
    (void)state;
    uint64_t found =
        JUDGE(P(7, 1, 2, "x+1"), {.invoke = 3, .ret = 4, .ops = "y=", .process = 7, .stale = true},
              P(7, 5, 6, "x="), P(8, 7, 8, "x=1"));
    assert_int_equal(found, BIT(G_SINGLE_PROCESS) | BIT(G_SINGLE_REALTIME));
}

// A stale read may be old, but who comes after it must not be older.
static void test_list_append_after_a_stale_read_realtime(void **state) {
    (void)state;
    uint64_t found = JUDGE({.invoke = 1, .ret = 9, .ops = "x+1"},
                           {.invoke = 2, .ret = 3, .ops = "x=1", .stale = true},
                           {.invoke = 4, .ret = 5, .ops = "x="});
    assert_int_equal(found, BIT(G_SINGLE_REALTIME));
    found = JUDGE({.invoke = 1, .ret = 2, .ops = "y+1"},
                  {.invoke = 3, .ret = 4, .ops = "z=", .stale = true},
                  {.invoke = 5, .ret = 6, .ops = "y="}, {.invoke = 7, .ret = 8, .ops = "y=1"});
    assert_int_equal(found, BIT(G_SINGLE_REALTIME));
}

// --- Timestamps ---

static void test_list_append_versions_against_timestamps_commit_order(void **state) {
    (void)state;
    uint64_t found = JUDGE({.invoke = 1, .ret = 9, .ops = "x+1", .commit_ts = 20},
                           {.invoke = 1, .ret = 9, .ops = "x+2", .commit_ts = 10},
                           {.invoke = 10, .ret = 11, .ops = "x=1,2"});
    assert_int_equal(found, BIT(COMMIT_ORDER));
}

static void test_list_append_read_against_timestamps_commit_order(void **state) {
    (void)state;
    struct words txns[] = {{.invoke = 1, .ret = 9, .ops = "x+1", .commit_ts = 10},
                           {.invoke = 1, .ret = 9, .ops = "x= y+1", .commit_ts = 20},
                           {.invoke = 10, .ret = 11, .ops = "x=1 y=1"}};
    assert_int_equal(judge(txns, 3), BIT(COMMIT_ORDER));
    txns[1].commit_ts = 5;
    assert_int_equal(judge(txns, 3), 0);
    txns[1].commit_ts = 10;
    assert_int_equal(judge(txns, 3), BIT(EQUAL_TIMESTAMPS));
    txns[1].ops = "x=1 y+1";
    assert_int_equal(judge(txns, 3), BIT(EQUAL_TIMESTAMPS));
    txns[1].ops = "z= y+1";  // no key in common
    assert_int_equal(judge(txns, 3), 0);
}

static void test_list_append_snapshot_not_the_state_snapshot_read(void **state) {
    (void)state;
    struct words txns[] = {{.invoke = 1, .ret = 2, .ops = "x+1", .commit_ts = 10},
                           {.invoke = 3, .ret = 4, .ops = "x+2", .commit_ts = 20},
                           {.invoke = 5, .ret = 6, .ops = "x=1", .snapshot_ts = 10, .stale = true},
                           {.invoke = 7, .ret = 8, .ops = "x=1,2", .snapshot_ts = 30}};
    assert_int_equal(judge(txns, 4), 0);
    txns[2].snapshot_ts = 19;
    assert_int_equal(judge(txns, 4), 0);
    txns[2].snapshot_ts = 20;
    assert_int_equal(judge(txns, 4), BIT(SNAPSHOT_READ));
    txns[2].snapshot_ts = 9;
    assert_int_equal(judge(txns, 4), BIT(SNAPSHOT_READ));
}

// --- Histories from files ---

static void check_names(uint64_t found, const json_t *names, const char *what) {
    uint64_t expected = 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        int class = 0;
        while (strcmp(name, list_append_class_name((enum list_append_class) class)) != 0) {
            class ++;
            ASSERT(class < LIST_APPEND_CLASS_COUNT);
        }
        expected |= LIST_APPEND_BIT(class);
    }
    if (found != expected) { print_message("%s: %s", what, text); }
    assert_int_equal(found, expected);
}

static void check_file(const char *name, const json_t *by_model) {
    char path[1024];
    const char *slash = strrchr(expected_path, '/');
    assert_non_null(slash);
    (void)snprintf(path, sizeof(path), "%.*s/%s.jsonl", (int)(slash - expected_path), expected_path,
                   name);
    struct list_append_history history;
    struct err err = {0};
    list_append_init(&history);
    if (list_append_read_json(&history, path, &err) != STATUS_OK) {
        print_message("%s: %s\n", path, err.message);
        fail();
    }
    for (int m = 0; m < LIST_APPEND_MODEL_COUNT; m++) {
        struct list_append_config config = {.model = (enum list_append_model)m,
                                            .final_reads = true};
        struct list_append_result result;
        (void)list_append_check(&history, &config, &result, text, sizeof(text));
        const json_t *names = json_object_get(by_model, list_append_model_name(config.model));
        assert_true(json_is_array(names));
        check_names(result.forbidden, names, name);
    }
    list_append_deinit(&history);
}

static void test_list_append_files_as_expected(void **state) {
    (void)state;
    json_t *expected = json_load_file(expected_path, 0, NULL);
    assert_non_null(expected);
    assert_true(json_object_size(expected) >= 15);
    const char *name = NULL;
    json_t *by_model = NULL;
    json_object_foreach(expected, name, by_model) {
        check_file(name, by_model);
    }
    json_decref(expected);
}

static void test_list_append_bad_files_refused(void **state) {
    (void)state;
    static const char *const lines[] = {
        "{",
        "{}",
        "{\"process\": 1, \"type\": \"ok\", \"value\": []}",
        "{\"process\": 1, \"type\": \"invoke\"}",
        "{\"process\": 1, \"type\": \"invoke\", \"value\": [[\"append\", \"x\", \"y\"]]}",
        "{\"process\": 1, \"type\": \"invoke\", \"value\": [[\"cas\", \"x\", 1]]}",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct list_append_history history;
        struct err err = {0};
        list_append_init(&history);
        FILE *file = fopen("bad.jsonl", "w");
        assert_non_null(file);
        assert_true(fputs(lines[i], file) >= 0);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(list_append_read_json(&history, "bad.jsonl", &err),
                         STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "line 1"));
        list_append_deinit(&history);
    }
    struct list_append_history history;
    list_append_init(&history);
    assert_int_equal(list_append_read_json(&history, "there/is/none", NULL), STATUS_NOT_FOUND);
    list_append_deinit(&history);
    assert_int_equal(remove("bad.jsonl"), 0);
}

// --- The database ---

static uint64_t judge_db(struct list_append_db_config config, enum list_append_model model,
                         bool *out_good) {
    struct list_append_history history;
    list_append_init(&history);
    list_append_db_run(&config, &history);
    struct list_append_result result;
    struct list_append_config as = {.model = model, .final_reads = true};
    *out_good = list_append_check(&history, &as, &result, text, sizeof(text));
    assert_true(result.ok_count > config.txns / 4);
    list_append_deinit(&history);
    return result.found;
}

enum { DB_SEEDS = 60 };

static struct list_append_db_config db_of(uint64_t seed, enum list_append_db_mode mode) {
    return (struct list_append_db_config){
        .seed = seed, .mode = mode, .txns = 400, .processes = 6, .keys = 5};
}

static void test_list_append_serializable_database_clean(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= DB_SEEDS; seed++) {
        bool good = false;
        uint64_t found = judge_db(db_of(seed, LIST_APPEND_DB_SERIALIZABLE),
                                  LIST_APPEND_STRICT_SERIALIZABLE, &good);
        if (found != 0) { print_message("%s", text); }
        assert_int_equal(found, 0);
    }
}

static void test_list_append_snapshot_database_g2_only(void **state) {
    (void)state;
    uint32_t skewed = 0;
    for (uint64_t seed = 1; seed <= DB_SEEDS; seed++) {
        bool good = false;
        uint64_t found =
            judge_db(db_of(seed, LIST_APPEND_DB_SNAPSHOT), LIST_APPEND_SNAPSHOT_ISOLATION, &good);
        assert_true(good);
        uint64_t rest =
            ~(BIT(G2_ITEM) | BIT(G2_ITEM_PROCESS) | BIT(G2_ITEM_REALTIME) | BIT(COMMIT_ORDER));
        assert_int_equal(found & rest, 0);
        skewed += (found & BIT(G2_ITEM)) != 0;
    }
    assert_true(skewed > DB_SEEDS / 2);
}

static void test_list_append_dirty_database_everything(void **state) {
    (void)state;
    uint64_t all = 0;
    for (uint64_t seed = 1; seed <= DB_SEEDS; seed++) {
        bool good = true;
        all |= judge_db(db_of(seed, LIST_APPEND_DB_DIRTY), LIST_APPEND_SNAPSHOT_ISOLATION, &good);
        assert_false(good);
    }
    uint64_t expected = BIT(INTERNAL) | BIT(G1A) | BIT(G1B) | BIT(DIRTY_UPDATE) | BIT(LOST_UPDATE);
    assert_int_equal(all & expected, expected);
    assert_true((all & (BIT(G0) | BIT(G1C))) != 0);
    assert_int_equal(all & (BIT(GENERATOR) | BIT(GARBAGE) | BIT(DUPLICATE)), 0);
}

static void test_list_append_stale_database_realtime_only(void **state) {
    (void)state;
    uint32_t stale = 0;
    for (uint64_t seed = 1; seed <= DB_SEEDS; seed++) {
        bool good = false;
        struct list_append_db_config config = db_of(seed, LIST_APPEND_DB_STALE);
        uint64_t found = judge_db(config, LIST_APPEND_SERIALIZABLE, &good);
        assert_true(good);
        stale += found != 0;
        config.tell_stale = true;
        assert_int_equal(judge_db(config, LIST_APPEND_STRICT_SERIALIZABLE, &good), 0);
    }
    assert_true(stale > DB_SEEDS / 2);
}

// --- All orders ---

// Looks for a serial order by trying all of them: the definition itself, for a few transactions.
struct orders {
    const struct list_append_history *history;
    uint32_t taken;  // bits of transactions
    uint64_t lists[LIST_MAX][2 * LIST_MAX];
    uint32_t counts[LIST_MAX];
};

static bool may_come_next(const struct orders *self, uint32_t t) {
    for (uint32_t u = 0; u < self->history->txn_count; u++) {
        const struct list_append_txn *other = &self->history->txns[u];
        bool left = (self->taken >> u & 1) == 0 && other->type == LIST_APPEND_OK;
        if (left && other->ret < self->history->txns[t].invoke) { return false; }
    }
    return true;
}

static bool plays(struct orders *self, uint32_t t) {
    const struct list_append_txn *txn = &self->history->txns[t];
    for (uint32_t i = 0; i < txn->op_count; i++) {
        const struct list_append_op *op = &self->history->ops[txn->op_first + i];
        ASSERT(op->key < LIST_MAX && self->counts[op->key] < 2 * LIST_MAX);
        uint64_t *list = self->lists[op->key];
        uint32_t *count = &self->counts[op->key];
        if (!op->is_read) {
            list[(*count)++] = op->value;
        } else if (txn->type == LIST_APPEND_OK) {
            if (op->list_count != *count) { return false; }
            const uint64_t *seen = self->history->elements + op->list_first;
            if (*count > 0 && memcmp(seen, list, *count * sizeof(*list)) != 0) { return false; }
        }
    }
    return true;
}

static bool has_order(struct orders *self) {
    bool done = true;
    for (uint32_t t = 0; t < self->history->txn_count; t++) {
        const struct list_append_txn *txn = &self->history->txns[t];
        if ((self->taken >> t & 1) != 0 || txn->type == LIST_APPEND_FAIL) { continue; }
        done = done && txn->type == LIST_APPEND_INFO;
        if (!may_come_next(self, t)) { continue; }
        struct orders before = *self;
        self->taken |= UINT32_C(1) << t;
        if (plays(self, t) && has_order(self)) { return true; }
        *self = before;
    }
    return done;
}

static void test_list_append_agrees_with_all_orders(void **state) {
    (void)state;
    uint32_t counts[2] = {0, 0};
    for (uint64_t seed = 1; seed <= 4000; seed++) {
        struct list_append_history history;
        list_append_init(&history);
        struct list_append_db_config config = {.seed = seed,
                                               .mode = (enum list_append_db_mode)(seed % 4),
                                               .txns = 4,
                                               .processes = 3,
                                               .keys = 2};
        list_append_db_run(&config, &history);
        for (uint32_t t = 0; t < history.txn_count; t++) {  // values and orders alone
            history.txns[t].commit_ts = 0;
            history.txns[t].snapshot_ts = 0;
        }
        struct orders orders = {.history = &history};
        bool expected = has_order(&orders);
        struct list_append_config as = {0};
        struct list_append_result result;
        bool good = list_append_check(&history, &as, &result, text, sizeof(text));
        if (good != expected) { print_message("seed %d: %s", (int)seed, text); }
        assert_int_equal(good, expected);
        counts[expected]++;
        list_append_deinit(&history);
    }
    assert_true(counts[0] > 100 && counts[1] > 100);
}

static void test_list_append_text_is_cut_off(void **state) {
    (void)state;
    struct list_append_history history;
    list_append_init(&history);
    struct list_append_db_config config = db_of(1, LIST_APPEND_DB_DIRTY);
    list_append_db_run(&config, &history);
    char little[32];
    memset(little, 'z', sizeof(little));
    struct list_append_result result;
    struct list_append_config as = {0};
    assert_false(list_append_check(&history, &as, &result, little, 20));
    assert_int_equal(strlen(little), 19);
    assert_int_equal(little[20], 'z');
    assert_false(list_append_check(&history, &as, &result, NULL, 0));
    list_append_deinit(&history);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strstr(argv[i], "expected.json") != NULL) { expected_path = argv[i]; }
    }
    ASSERT(expected_path != NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_append_serial_history_clean),
        cmocka_unit_test(test_list_append_own_append_missing_internal),
        cmocka_unit_test(test_list_append_value_of_failed_txn_g1a),
        cmocka_unit_test(test_list_append_intermediate_value_g1b),
        cmocka_unit_test(test_list_append_value_read_twice_duplicate),
        cmocka_unit_test(test_list_append_value_from_nowhere_garbage),
        cmocka_unit_test(test_list_append_value_appended_twice_generator),
        cmocka_unit_test(test_list_append_two_orders_incompatible),
        cmocka_unit_test(test_list_append_unknown_append_seen_or_not_clean),
        cmocka_unit_test(test_list_append_unknown_append_seen_then_gone_realtime),
        cmocka_unit_test(test_list_append_unknown_txn_seen_by_half_g_single),
        cmocka_unit_test(test_list_append_append_gone_in_the_end_lost),
        cmocka_unit_test(test_list_append_two_appends_to_one_version_lost_update),
        cmocka_unit_test(test_list_append_crossed_writes_g0),
        cmocka_unit_test(test_list_append_each_reads_the_other_g1c),
        cmocka_unit_test(test_list_append_read_skew_g_single),
        cmocka_unit_test(test_list_append_write_skew_g2),
        cmocka_unit_test(test_list_append_long_fork_nonadjacent),
        cmocka_unit_test(test_list_append_two_rings_shortest_told),
        cmocka_unit_test(test_list_append_stale_read_realtime_only),
        cmocka_unit_test(test_list_append_process_forgets_its_write_process),
        cmocka_unit_test(test_list_append_process_with_a_stale_read_process),
        cmocka_unit_test(test_list_append_after_a_stale_read_realtime),
        cmocka_unit_test(test_list_append_versions_against_timestamps_commit_order),
        cmocka_unit_test(test_list_append_read_against_timestamps_commit_order),
        cmocka_unit_test(test_list_append_snapshot_not_the_state_snapshot_read),
        cmocka_unit_test(test_list_append_files_as_expected),
        cmocka_unit_test(test_list_append_bad_files_refused),
        cmocka_unit_test(test_list_append_serializable_database_clean),
        cmocka_unit_test(test_list_append_snapshot_database_g2_only),
        cmocka_unit_test(test_list_append_dirty_database_everything),
        cmocka_unit_test(test_list_append_stale_database_realtime_only),
        cmocka_unit_test(test_list_append_agrees_with_all_orders),
        cmocka_unit_test(test_list_append_text_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
