// SPDX-License-Identifier: Apache-2.0
// Applying is deterministic: random histories give the same versions and the same results however
// they are grouped into turns, and whatever suffix of the batches a crash takes.
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "tests/unit/txn/apply/apply_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { ENTRIES = 400, IDS = 120, KEYS = 6, BIG_EVERY = 40 };

// One entry of the history, with what applying it told the first time.
struct step {
    uint64_t shard;
    struct log_entry entry;
    struct bytes *payload;
    enum status status;
    uint64_t result;  // hash of the result payload
    bool told;
};

struct history {
    struct step steps[ENTRIES];
};

// Each shard has its own keys: "<shard><letter>".
static const char *random_key(struct prng *prng, uint64_t shard, char out[3]) {
    out[0] = (char)('0' + shard);
    out[1] = (char)('a' + prng_below(prng, KEYS));
    out[2] = '\0';
    return out;
}

static struct op random_condition(struct prng *prng, const char *key) {
    switch (prng_below(prng, 5)) {
    case 0:
        return EXISTS(key);
    case 1:
        return ABSENT(key);
    case 2:
        return VALUE_IS(key, "1");
    case 3:
        return VERSION_IS(key, prng_between(prng, 0, 3));
    default:
        return AT_MOST(key, 1000 + prng_below(prng, ENTRIES));
    }
}

// Up to two conditions, then one or two mutations of different keys. Few ids, so that many entries
// are repeats, and some of them repeats with another body.
static struct slice random_commit(struct fixture *f, struct prng *prng, uint64_t shard) {
    struct op ops[8] = {0};
    char keys[6][3];
    uint32_t count = 0;
    const uint64_t conditions = prng_below(prng, 3);
    for (uint64_t i = 0; i < conditions; i++) {
        ops[count] = random_condition(prng, random_key(prng, shard, keys[count]));
        count++;
    }
    (void)random_key(prng, shard, keys[4]);
    (void)random_key(prng, shard, keys[5]);
    if (prng_chance(prng, 1, 6) && strcmp(keys[4], keys[5]) < 0) {
        ops[count++] = DELETE_RANGE(keys[4], keys[5]);
    } else {
        ops[count++] = prng_chance(prng, 1, 5) ? DELETE(keys[4])
                                               : PUT(keys[4], prng_chance(prng, 1, 2) ? "1" : "2");
        if (strcmp(keys[4], keys[5]) != 0) { ops[count++] = PUT(keys[5], "3"); }
    }
    return fixture_commit(f, fixture_id(prng_below(prng, IDS) + 1), ops);
}

// An earlier commit of the same shard, to be repeated; NULL when the one picked is of another.
static struct bytes *random_repeat(struct prng *prng, const struct history *history, uint32_t count,
                                   uint64_t shard) {
    if (count == 0) { return NULL; }
    const struct step *step = &history->steps[prng_below(prng, count)];
    return step->shard == shard ? bytes_ref(step->payload) : NULL;
}

static void make_step(struct fixture *f, struct prng *prng, struct history *history,
                      uint32_t position) {
    struct step *step = &history->steps[position];
    *step = (struct step){.shard = prng_between(prng, 1, FIXTURE_SHARDS)};
    f->clock.v++;
    step->entry = (struct log_entry){.index = ++f->index[step->shard - 1],
                                     .term = 1,
                                     .shard_epoch = FIXTURE_EPOCH,
                                     .timestamp = f->clock,
                                     .kind = LOG_ENTRY_COMMAND};
    const uint64_t dice = prng_below(prng, 20);
    if (dice == 0) {
        step->entry.kind = LOG_ENTRY_EMPTY;
        step->entry.timestamp = HLC_ZERO;
        return;
    }
    if (dice == 1) { step->entry.shard_epoch = FIXTURE_EPOCH - 1; }
    step->payload = random_repeat(prng, history, position, step->shard);
    if (step->payload == NULL) {
        step->payload = bytes_copy(random_commit(f, prng, step->shard));
        if (dice == 2) { step->payload->size -= 1; }
    }
    step->entry.payload = bytes_slice(step->payload);
}

static struct history *history_make(uint64_t seed) {
    struct history *history = mem_alloc(sizeof(*history));
    const struct sim_engine_options options = {0};
    struct fixture f;
    fixture_open(&f, sim_engine_create(&options));
    struct prng prng;
    prng_init(&prng, seed);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        make_step(&f, &prng, history, i);
    }
    fixture_close(&f);
    engine_close(f.engine);
    return history;
}

static void history_free(struct history *history) {
    for (uint32_t i = 0; i < ENTRIES; i++) {
        bytes_unref(history->steps[i].payload);
    }
    mem_free(history);
}

// The first run of a step records its result; every later one must give the same.
static void run_step(struct fixture *f, struct step *step) {
    struct apply_result result;
    f->machine->apply(f->machine->ctx, (struct shard_id){step->shard}, &step->entry, &result);
    const uint64_t hash = hash64(result.payload, 0);
    if (step->told) {
        assert_int_equal(result.status, step->status);
        assert_int_equal(hash, step->result);
    }
    step->status = result.status;
    step->result = hash;
    step->told = true;
}

// Runs everything with a turn's end after each entry with chance 1/turn; digest of the versions.
static uint64_t run_grouped(struct history *history, uint64_t turn, uint64_t seed) {
    const struct sim_engine_options options = {0};
    struct fixture f;
    fixture_open(&f, sim_engine_create(&options));
    struct prng prng;
    prng_init(&prng, seed);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        run_step(&f, &history->steps[i]);
        if (prng_chance(&prng, 1, turn)) { f.machine->end(f.machine->ctx); }
    }
    f.machine->end(f.machine->ctx);
    const uint64_t digest = fixture_digest(&f);
    fixture_close(&f);
    engine_close(f.engine);
    return digest;
}

static void test_apply_any_grouping_gives_the_same_state_and_results(void **state) {
    (void)state;
    mark_reset_all();
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct history *history = history_make(seed);
        const uint64_t expected = run_grouped(history, 1, seed);
        const uint64_t turns[] = {2, 5, 30, ENTRIES, 1000000};
        for (uint32_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
            assert_int_equal(run_grouped(history, turns[i], seed + i), expected);
        }
        history_free(history);
    }
    // The histories are worth it: they meet every special case.
    assert_true(mark_count("apply.repeat") > 100);
    assert_true(mark_count("apply.repeat_in_turn") > 100);
    assert_true(mark_count("apply.id_reused") > 100);
    assert_true(mark_count("apply.look_at_gathered_key") > 100);
    assert_true(mark_count("apply.other_epoch") > 0);
    assert_true(mark_count("apply.not_a_commit") > 0);
}

// Restart after the crash of a random suffix of batches: every shard goes on from its applied
// index, in the order of the log, and gives the results it gave before.
static void replay(struct fixture *f, struct history *history, uint32_t until) {
    for (uint32_t i = 0; i < until; i++) {
        struct step *step = &history->steps[i];
        if (step->entry.index <= f->index[step->shard - 1]) { continue; }
        assert_int_equal(step->entry.index, f->index[step->shard - 1] + 1);
        run_step(f, step);
        f->index[step->shard - 1] = step->entry.index;
    }
    f->machine->end(f->machine->ctx);
}

static void test_apply_replay_after_a_crash_gives_the_same_state(void **state) {
    (void)state;
    uint32_t lost = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct history *history = history_make(seed);
        const uint64_t expected = run_grouped(history, 7, seed);
        const struct sim_engine_options options = {0};
        struct engine *engine = sim_engine_create(&options);
        struct prng prng;
        prng_init(&prng, seed);
        struct fixture f;
        fixture_open(&f, engine);
        for (uint32_t i = 0; i < ENTRIES; i++) {
            const uint64_t shard = history->steps[i].shard;
            if (history->steps[i].entry.index > f.index[shard - 1]) {
                run_step(&f, &history->steps[i]);
                f.index[shard - 1]++;
            }
            if (prng_chance(&prng, 1, 5)) { f.machine->end(f.machine->ctx); }
            if (prng_chance(&prng, 1, 50)) { assert_int_equal(engine_flush(engine), STATUS_OK); }
            if (!prng_chance(&prng, 1, BIG_EVERY)) { continue; }
            fixture_close(&f);
            lost += sim_engine_crash(engine, &prng) > 0 ? 1 : 0;
            fixture_open(&f, engine);
            replay(&f, history, i + 1);
        }
        f.machine->end(f.machine->ctx);
        assert_int_equal(fixture_digest(&f), expected);
        fixture_close(&f);
        engine_close(engine);
        history_free(history);
    }
    assert_true(lost > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply_any_grouping_gives_the_same_state_and_results),
        cmocka_unit_test(test_apply_replay_after_a_crash_gives_the_same_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
