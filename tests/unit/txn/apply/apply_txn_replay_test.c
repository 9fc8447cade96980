// SPDX-License-Identifier: Apache-2.0
// Prepares and resolutions among commits, at random: what is told of each resolution is what the
// table of docs/protocols/transactions.md says, and state and answers are the same however the
// entries are grouped into turns, and whatever suffix of the batches a crash takes.
#include "dataplane/base/checksum.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "tests/unit/txn/apply/apply_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { ENTRIES = 500, IDS = 90, KEYS = 8, ITEMS_MAX = 5, SEEDS = 12, TAG = 3 };

// What the table says of one id: its record.
struct expected {
    enum command_txn_state state;
    uint64_t attempt;
    uint64_t prepared;
    uint64_t commit;
    bool has_outcome;  // of the id, whatever it is
};

struct step {
    struct log_entry entry;
    struct bytes *payload;
    enum status status;
    uint64_t result;  // hash of the result payload
};

// One shard's log, made by applying it once, entry by entry.
struct history {
    struct step steps[ENTRIES];
    uint32_t count;
    struct expected ids[IDS + 1];
};

static const struct shard_id shard = {1};

static void open_fixture(struct fixture *f, struct engine *engine) {
    fixture_open(f, engine);
    apply_set_range(f->apply, shard, SLICE_LITERAL("\0\0\0\1"), SLICE_LITERAL("\0\0\0\2"));
}

static uint64_t state_digest(struct fixture *f) {
    uint64_t digest = 0;
    f->machine->end(f->machine->ctx);
    assert_int_equal(fixture_digest_shard(f, shard, &digest), STATUS_OK);
    return digest;
}

// --- Making a history ---

static const char *random_key(struct prng *prng, char out[2]) {
    out[0] = (char)('a' + prng_below(prng, KEYS));
    out[1] = '\0';
    return out;
}

static struct slice random_commit(struct fixture *f, struct prng *prng, uint64_t id) {
    struct op ops[5] = {0};
    char keys[4][2];
    uint32_t count = 0;
    if (prng_chance(prng, 1, 4)) {
        const char *key = random_key(prng, keys[0]);
        ops[count++] = prng_chance(prng, 1, 2) ? ABSENT(key) : EXISTS(key);
    }
    const char *first = random_key(prng, keys[1]);
    const char *second = random_key(prng, keys[2]);
    if (prng_chance(prng, 1, 4) && strcmp(first, second) < 0) {
        ops[count++] = DELETE_RANGE(first, second);
    } else {
        ops[count++] = prng_chance(prng, 1, 5) ? DELETE(first) : PUT(first, "1");
        if (strcmp(first, second) != 0) { ops[count++] = PUT(second, "2"); }
    }
    return fixture_commit(f, fixture_id(id), ops);
}

// Reads of a key or a span, at some recent snapshot, and a write.
static struct slice random_reader(struct fixture *f, struct prng *prng, uint64_t id) {
    uint8_t keys[3][5] = {{0, 0, 0, 1, 0}, {0, 0, 0, 1, 0}, {0, 0, 0, 1, 0}};
    keys[0][4] = (uint8_t)('a' + prng_below(prng, KEYS));
    keys[1][4] = (uint8_t)(keys[0][4] + 2);
    keys[2][4] = (uint8_t)('a' + prng_below(prng, KEYS));
    struct command_span read = {.start = slice_make(keys[0], 5)};
    if (prng_chance(prng, 1, 2)) { read.end = slice_make(keys[1], 5); }
    const struct command_mutation put = {COMMAND_PUT, slice_make(keys[2], 5), SLICE_LITERAL("r")};
    const struct command_commit commit = {.txn = fixture_id(id),
                                          .snapshot = {f->clock.v - prng_below(prng, 200)},
                                          .read_count = 1,
                                          .mutation_count = prng_chance(prng, 1, 2) ? 1 : 0,
                                          .reads = &read,
                                          .mutations = &put};
    struct codec_writer w;
    buf_reset(&f->payload);
    codec_writer_init(&w, &f->payload);
    command_commit_encode(&w, &commit);
    assert_int_equal(w.status, STATUS_OK);
    return buf_slice(&f->payload);
}

static struct bytes *random_payload(struct fixture *f, struct prng *prng, uint64_t id) {
    return bytes_copy(prng_chance(prng, 1, 3) ? random_reader(f, prng, id)
                                              : random_commit(f, prng, id));
}

// Applies the payload as the next entry, and notes what came of it.
static struct apply_result take_step(struct fixture *f, struct history *history,
                                     struct bytes *payload) {
    struct step *step = &history->steps[history->count++];
    f->clock.v++;
    *step = (struct step){.payload = payload};
    step->entry = (struct log_entry){.index = ++f->index[0],
                                     .term = 1,
                                     .shard_epoch = FIXTURE_EPOCH,
                                     .timestamp = f->clock,
                                     .kind = LOG_ENTRY_COMMAND,
                                     .payload = bytes_slice(payload)};
    struct apply_result result;
    f->machine->apply(f->machine->ctx, shard, &step->entry, &result);
    step->status = result.status;
    step->result = hash64(result.payload, 0);
    return result;
}

static uint64_t random_attempt(struct prng *prng, const struct expected *id) {
    const uint64_t base = id->attempt == 0 ? 10 : id->attempt;
    switch (prng_below(prng, 4)) {
    case 0:
        return base + 1;
    case 1:
        return base - 1;
    default:
        return base;
    }
}

static void make_prepare(struct fixture *f, struct prng *prng, struct history *history) {
    const uint64_t id = prng_between(prng, 1, IDS);
    struct expected *expected = &history->ids[id];
    const uint64_t attempt = random_attempt(prng, expected);
    struct bytes *part = random_payload(f, prng, id);
    const struct slice anchors[] = {SLICE_LITERAL("\0\0\0\1a"), SLICE_LITERAL("\0\0\0\1q")};
    const struct command_prepare prepare = {.txn = fixture_id(id),
                                            .attempt = {attempt, TAG},
                                            .begin = {id},
                                            .request_hash = id,
                                            .self = id % 2,
                                            .participant_count = 2,
                                            .participants = anchors,
                                            .part = bytes_slice(part)};
    struct codec_writer w;
    buf_reset(&f->payload);
    codec_writer_init(&w, &f->payload);
    command_prepare_encode(&w, &prepare);
    assert_int_equal(w.status, STATUS_OK);
    const struct apply_result result = take_step(f, history, bytes_copy(buf_slice(&f->payload)));
    bytes_unref(part);
    assert_int_equal(result.status, STATUS_OK);
    struct codec_reader r;
    struct command_txn_answer answer;
    codec_reader_init(&r, result.payload);
    assert_int_equal(command_txn_answer_decode(&r, &answer), STATUS_OK);
    const bool fresh = answer.state == COMMAND_TXN_PREPARED && answer.timestamp.v == f->clock.v;
    const bool judged =
        answer.reason == COMMAND_REASON_LOCKED || answer.reason == COMMAND_REASON_READ ||
        answer.reason == COMMAND_REASON_CONDITION || answer.reason == COMMAND_REASON_TOO_MANY;
    if (!fresh && !judged) { return; }
    // Only an id that nothing was known of, or whose lower attempt was aborted, is judged at all.
    assert_true(expected->state == COMMAND_TXN_NONE ||
                (expected->state == COMMAND_TXN_ABORTED && expected->attempt < attempt));
    assert_false(expected->has_outcome);
    expected->state = fresh ? COMMAND_TXN_PREPARED : COMMAND_TXN_ABORTED;
    expected->attempt = attempt;
    expected->prepared = f->clock.v;
}

// A decision that no coordinator and no recovery would contradict.
static struct command_resolution random_item(struct prng *prng, const struct history *history,
                                             uint64_t now, uint64_t *out_id) {
    const uint64_t id = prng_between(prng, 1, IDS);
    const struct expected *expected = &history->ids[id];
    struct command_resolution item = {.txn = fixture_id(id),
                                      .attempt = {random_attempt(prng, expected), TAG},
                                      .begin = {id},
                                      .decision = COMMAND_DECIDE_PROBE};
    *out_id = id;
    const bool its = item.attempt.number == expected->attempt;
    const bool prepared = expected->state == COMMAND_TXN_PREPARED;
    const bool committed = expected->state == COMMAND_TXN_COMMITTED;
    switch (prng_below(prng, 6)) {
    case 0:
    case 1:
        if (!its || (!prepared && !committed)) { break; }
        item.decision = COMMAND_DECIDE_COMMIT;
        item.commit.v = committed ? expected->commit : prng_between(prng, expected->prepared, now);
        break;
    case 2:
        if (its && committed) { break; }
        item.decision = COMMAND_DECIDE_ABORT;
        if (prng_chance(prng, 1, 4)) { item.outcome = STATUS_CONDITION_FAILED; }
        break;
    case 3:
        item.decision = COMMAND_DECIDE_FORGET;
        break;
    case 4:
        if (prng_chance(prng, 3, 4)) { break; }
        item.decision = COMMAND_DECIDE_SETTLE;
        break;
    default:
        break;
    }
    return item;
}

static enum command_txn_state expect_settle(struct expected *id) {
    if (id->has_outcome && id->state == COMMAND_TXN_COMMITTED) { return COMMAND_TXN_COMMITTED; }
    if (id->has_outcome) { return COMMAND_TXN_STATE_COUNT; }  // a commit at once, or a refusal
    if (id->state == COMMAND_TXN_COMMITTED) { return COMMAND_TXN_COMMITTED; }
    if (id->state == COMMAND_TXN_PREPARED) { return COMMAND_TXN_BUSY; }
    id->has_outcome = true;
    return COMMAND_TXN_ABORTED;
}

// PROBE and ABORT by the table; ABORT with an outcome leaves it at whoever it is told.
static enum command_txn_state expect_abort(struct expected *id,
                                           const struct command_resolution *item) {
    const uint64_t attempt = item->attempt.number;
    const bool probe = item->decision == COMMAND_DECIDE_PROBE;
    if (id->state == COMMAND_TXN_PREPARED && id->attempt < attempt) { return COMMAND_TXN_BUSY; }
    if (id->state != COMMAND_TXN_NONE && id->attempt > attempt) { return COMMAND_TXN_ABORTED; }
    if (id->state == COMMAND_TXN_COMMITTED) {
        return id->attempt == attempt ? COMMAND_TXN_COMMITTED : COMMAND_TXN_ABORTED;
    }
    if (id->state == COMMAND_TXN_PREPARED && probe) { return COMMAND_TXN_PREPARED; }
    id->state = COMMAND_TXN_ABORTED;
    id->attempt = attempt;
    if (item->outcome != STATUS_OK) { id->has_outcome = true; }
    return COMMAND_TXN_ABORTED;
}

// The answer that the table gives; the record moves on. STATE_COUNT = any.
static enum command_txn_state expect(struct expected *id, uint64_t place,
                                     const struct command_resolution *item) {
    switch (item->decision) {
    case COMMAND_DECIDE_COMMIT:
        id->state = COMMAND_TXN_COMMITTED;
        id->commit = item->commit.v;
        if (place % 2 == 0) { id->has_outcome = true; }
        return COMMAND_TXN_COMMITTED;
    case COMMAND_DECIDE_FORGET:
        return COMMAND_TXN_NONE;
    case COMMAND_DECIDE_SETTLE:
        return expect_settle(id);
    case COMMAND_DECIDE_ABORT:
    case COMMAND_DECIDE_PROBE:
    case COMMAND_DECISION_COUNT:
        break;
    }
    return expect_abort(id, item);
}

static void make_resolve(struct fixture *f, struct prng *prng, struct history *history) {
    const uint32_t count = (uint32_t)prng_between(prng, 1, ITEMS_MAX);
    enum command_txn_state states[ITEMS_MAX];
    struct codec_writer w;
    buf_reset(&f->payload);
    codec_writer_init(&w, &f->payload);
    command_resolve_begin(&w, count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t id = 0;
        const struct command_resolution item = random_item(prng, history, f->clock.v, &id);
        command_resolution_encode(&w, &item);
        states[i] = expect(&history->ids[id], id, &item);
    }
    const struct apply_result result = take_step(f, history, bytes_copy(buf_slice(&f->payload)));
    assert_int_equal(result.status, STATUS_OK);
    struct codec_reader r;
    codec_reader_init(&r, result.payload);
    for (uint32_t i = 0; i < count; i++) {
        struct command_txn_answer answer;
        assert_int_equal(command_txn_answer_decode(&r, &answer), STATUS_OK);
        if (states[i] == COMMAND_TXN_STATE_COUNT) { continue; }
        assert_int_equal(answer.state, states[i]);
    }
    assert_int_equal(codec_finish(&r), STATUS_OK);
}

static void make_commit(struct fixture *f, struct prng *prng, struct history *history) {
    // Some under ids that are prepared, or settled.
    const uint64_t id =
        prng_chance(prng, 1, 6) ? prng_between(prng, 1, IDS) : 1000 + prng_below(prng, ENTRIES);
    const struct apply_result result = take_step(f, history, random_payload(f, prng, id));
    const bool kept =
        result.status != STATUS_ABORTED_RETRY && result.status != STATUS_INVALID_ARGUMENT;
    if (id <= IDS && kept) { history->ids[id].has_outcome = true; }
}

// Like run_step of a replay, but the results are those of the first time.
static struct history *history_make(uint64_t seed, uint64_t *out_digest) {
    struct history *history = mem_alloc(sizeof(*history));
    *history = (struct history){0};
    const struct sim_engine_options options = {0};
    struct fixture f;
    open_fixture(&f, sim_engine_create(&options));
    struct prng prng;
    prng_init(&prng, seed);
    while (history->count < ENTRIES) {
        switch (prng_below(&prng, 5)) {
        case 0:
        case 1:
            make_prepare(&f, &prng, history);
            break;
        case 2:
        case 3:
            make_resolve(&f, &prng, history);
            break;
        default:
            make_commit(&f, &prng, history);
            break;
        }
        f.machine->end(f.machine->ctx);
    }
    *out_digest = state_digest(&f);
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

// --- Running it again ---

static void run_step(struct fixture *f, const struct step *step) {
    struct apply_result result;
    f->machine->apply(f->machine->ctx, shard, &step->entry, &result);
    assert_int_equal(result.status, step->status);
    assert_int_equal(hash64(result.payload, 0), step->result);
    lock_table_check(apply_locks(f->apply, shard));
}

static void test_apply_txn_any_grouping_gives_the_same(void **state) {
    (void)state;
    mark_reset_all();
    const uint64_t turns[] = {2, 5, 30, 1000000};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t expected = 0;
        struct history *history = history_make(seed, &expected);
        for (uint32_t t = 0; t < sizeof(turns) / sizeof(turns[0]); t++) {
            const struct sim_engine_options options = {0};
            struct fixture f;
            struct prng prng;
            open_fixture(&f, sim_engine_create(&options));
            prng_init(&prng, seed + t);
            for (uint32_t i = 0; i < ENTRIES; i++) {
                run_step(&f, &history->steps[i]);
                if (prng_chance(&prng, 1, turns[t])) { f.machine->end(f.machine->ctx); }
            }
            assert_int_equal(state_digest(&f), expected);
            fixture_close(&f);
            engine_close(f.engine);
        }
        history_free(history);
    }
    // The histories are worth it.
    assert_true(mark_count("apply.prepare_locked") > 100);
    assert_true(mark_count("apply.prepare_stale") > 100);
    assert_true(mark_count("apply.prepare_busy") > 100);
    assert_true(mark_count("apply.prepare_superseded") > 100);
    assert_true(mark_count("apply.commit_locked") > 100);
    assert_true(mark_count("apply.commit_stale") > 100);
    assert_true(mark_count("apply.record_in_turn") > 100);
    assert_true(mark_count("apply.resolved_in_turn") > 100);
    assert_true(mark_count("apply.tombstone") > 100);
    assert_true(mark_count("apply.settled") > 10);
}

// Restart after the crash of a random suffix of batches: the log goes on from the applied index.
static void crash(struct fixture *f, struct prng *prng, uint32_t *lost) {
    struct engine *engine = f->engine;
    fixture_close(f);
    *lost += sim_engine_crash(engine, prng) > 0 ? 1 : 0;
    open_fixture(f, engine);
}

static void test_apply_txn_replay_after_a_crash_gives_the_same(void **state) {
    (void)state;
    uint32_t lost = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t expected = 0;
        struct history *history = history_make(seed, &expected);
        const struct sim_engine_options options = {0};
        struct fixture f;
        struct prng prng;
        open_fixture(&f, sim_engine_create(&options));
        prng_init(&prng, seed);
        while (f.index[0] < ENTRIES) {
            run_step(&f, &history->steps[f.index[0]++]);
            if (prng_chance(&prng, 1, 5)) { f.machine->end(f.machine->ctx); }
            if (prng_chance(&prng, 1, 30)) { assert_int_equal(engine_flush(f.engine), STATUS_OK); }
            if (prng_chance(&prng, 1, 40)) { crash(&f, &prng, &lost); }
        }
        assert_int_equal(state_digest(&f), expected);
        fixture_close(&f);
        engine_close(f.engine);
        history_free(history);
    }
    assert_true(lost > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply_txn_any_grouping_gives_the_same),
        cmocka_unit_test(test_apply_txn_replay_after_a_crash_gives_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
