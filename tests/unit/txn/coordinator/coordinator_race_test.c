// SPDX-License-Identifier: Apache-2.0
// Coordinators of several attempts of one id and recoverers race over a network that loses, delays
// and repeats; the participants are the tables of docs/protocols/transactions.md, written down
// again. Checked after every step: no attempt is committed here and aborted there, at most one
// attempt of the id commits, and whoever was told something was told the truth. In the end nothing
// is prepared, whoever crashed.
#include "dataplane/base/prng.h"
#include "txn/coordinator/coordinator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    SHARDS_MAX = 4,
    ATTEMPTS_MAX = 4,
    ACTORS_MAX = 24,
    LETTERS_MAX = 512,
    STEPS = 500,
    SEEDS = 4000,
};

// A record of the id on one shard.
struct record {
    uint32_t attempt;  // 0 = no record
    enum command_txn_state state;
    uint64_t ts;  // p, c
    bool forgotten;
};

struct shard {
    struct record record;
    uint64_t clock;
    bool has_outcome;  // of the home
    struct command_outcome outcome;
    uint64_t committed[ATTEMPTS_MAX + 1];  // history: c of what committed here
    bool aborted[ATTEMPTS_MAX + 1];        // and what can no longer commit here
};

struct letter {
    bool is_answer;
    uint32_t actor;
    uint32_t shard;
    uint32_t attempt;
    enum coordinator_send send;
    uint64_t commit;
    enum status outcome;
    struct command_txn_answer answer;
};

struct actor {
    bool alive;
    bool told;
    uint32_t attempt;
    struct coordinator self;
    struct coordinator_participant participants[SHARDS_MAX];
};

struct race {
    struct prng prng;
    uint32_t shard_count;
    uint32_t conflict_percent;
    bool horizon;  // what began before this race has no business any more
    struct shard shards[SHARDS_MAX];
    struct actor actors[ACTORS_MAX];
    uint32_t actor_count;
    uint32_t attempt_count;
    struct letter letters[LETTERS_MAX];
    uint32_t letter_count;
};

// --- A participant: the tables ---

static struct command_txn_answer say(enum command_txn_state state, uint64_t ts) {
    return (struct command_txn_answer){.state = state, .timestamp = {ts}};
}

static struct command_txn_answer say_no(const struct race *race, const struct shard *shard,
                                        enum command_txn_reason reason) {
    struct command_txn_answer answer = {.state = COMMAND_TXN_ABORTED, .reason = reason};
    if (shard == &race->shards[0] && shard->has_outcome) {
        answer.has_outcome = true;
        answer.outcome = shard->outcome;
    }
    return answer;
}

static void become_aborted(struct shard *shard, uint32_t attempt) {
    assert_int_equal(shard->committed[attempt], 0);
    shard->record = (struct record){.attempt = attempt, .state = COMMAND_TXN_ABORTED};
    shard->aborted[attempt] = true;
}

static struct command_txn_answer as_it_stands(const struct race *race, const struct shard *shard) {
    if (shard->record.state == COMMAND_TXN_ABORTED) {
        return say_no(race, shard, COMMAND_REASON_NONE);
    }
    return say(shard->record.state, shard->record.ts);
}

static struct command_txn_answer prepare(struct race *race, struct shard *shard, uint32_t attempt) {
    struct record *r = &shard->record;
    if (r->attempt == attempt) { return as_it_stands(race, shard); }
    const bool home = shard == &race->shards[0];
    if ((home && shard->has_outcome) ||
        (r->attempt > 0 && r->attempt < attempt && r->state == COMMAND_TXN_COMMITTED)) {
        shard->aborted[attempt] = true;
        return say_no(race, shard, COMMAND_REASON_NONE);
    }
    if (r->attempt > attempt) { return say_no(race, shard, COMMAND_REASON_SUPERSEDED); }
    if (r->state == COMMAND_TXN_PREPARED) { return say(COMMAND_TXN_BUSY, 0); }
    if (race->horizon) { return say_no(race, shard, COMMAND_REASON_HORIZON); }
    if (prng_chance(&race->prng, race->conflict_percent, 100)) {
        static const enum command_txn_reason reasons[] = {
            COMMAND_REASON_LOCKED, COMMAND_REASON_READ, COMMAND_REASON_CONDITION,
            COMMAND_REASON_TOO_MANY};
        become_aborted(shard, attempt);
        return say_no(race, shard, reasons[prng_below(&race->prng, 4)]);
    }
    *r = (struct record){.attempt = attempt, .state = COMMAND_TXN_PREPARED, .ts = ++shard->clock};
    return say(COMMAND_TXN_PREPARED, r->ts);
}

static void keep_outcome(struct race *race, struct shard *shard, enum status status, uint64_t ts) {
    if (shard != &race->shards[0] || shard->has_outcome) { return; }
    shard->has_outcome = true;
    shard->outcome = (struct command_outcome){.status = status, .timestamp = {ts}};
}

static struct command_txn_answer commit(struct race *race, struct shard *shard,
                                        const struct letter *letter) {
    struct record *r = &shard->record;
    if (r->attempt == 0 || r->attempt > letter->attempt) { return say(COMMAND_TXN_NONE, 0); }
    assert_int_equal(r->attempt, letter->attempt);
    assert_int_not_equal(r->state, COMMAND_TXN_ABORTED);
    if (r->state == COMMAND_TXN_PREPARED) {
        assert_true(letter->commit >= r->ts);
        shard->clock = shard->clock > letter->commit ? shard->clock : letter->commit;
        shard->committed[r->attempt] = letter->commit;
        r->state = COMMAND_TXN_COMMITTED;
        r->ts = letter->commit;
        keep_outcome(race, shard, STATUS_OK, r->ts);
    }
    assert_int_equal(r->ts, letter->commit);
    return say(COMMAND_TXN_COMMITTED, r->ts);
}

static struct command_txn_answer end(struct race *race, struct shard *shard,
                                     const struct letter *letter) {
    struct record *r = &shard->record;
    const uint32_t attempt = letter->attempt;
    const bool aborts = letter->send == COORDINATOR_SEND_ABORT;
    if (r->attempt > attempt) { return say_no(race, shard, COMMAND_REASON_SUPERSEDED); }
    if (r->attempt == attempt && !aborts) { return as_it_stands(race, shard); }
    if (r->attempt > 0 && r->attempt < attempt && r->state == COMMAND_TXN_PREPARED) {
        return say(COMMAND_TXN_BUSY, 0);
    }
    if (r->attempt > 0 && r->attempt < attempt && r->state == COMMAND_TXN_COMMITTED) {
        return say_no(race, shard, COMMAND_REASON_SUPERSEDED);
    }
    // Nothing, a lower attempt that is aborted, or this attempt.
    assert_false(r->attempt == attempt && r->state == COMMAND_TXN_COMMITTED);
    become_aborted(shard, attempt);
    if (letter->outcome != STATUS_OK) {
        keep_outcome(race, shard, letter->outcome, ++shard->clock);
    }
    return say_no(race, shard, COMMAND_REASON_NONE);
}

static struct command_txn_answer forget(struct shard *shard, const struct letter *letter) {
    struct record *r = &shard->record;
    if (r->attempt != letter->attempt) { return say(COMMAND_TXN_NONE, 0); }
    assert_int_equal(r->state, COMMAND_TXN_COMMITTED);
    r->forgotten = true;
    return say(COMMAND_TXN_COMMITTED, r->ts);
}

static struct command_txn_answer process(struct race *race, const struct letter *letter) {
    struct shard *shard = &race->shards[letter->shard];
    switch (letter->send) {
    case COORDINATOR_SEND_PREPARE:
        return prepare(race, shard, letter->attempt);
    case COORDINATOR_SEND_COMMIT:
        return commit(race, shard, letter);
    case COORDINATOR_SEND_ABORT:
    case COORDINATOR_SEND_PROBE:
        return end(race, shard, letter);
    case COORDINATOR_SEND_FORGET:
        return forget(shard, letter);
    case COORDINATOR_SEND_NOTHING:
        break;
    }
    fail();
    return say(COMMAND_TXN_NONE, 0);
}

// --- The network ---

static void post(struct race *race, const struct letter *letter) {
    if (race->letter_count < LETTERS_MAX) { race->letters[race->letter_count++] = *letter; }
}

static void deliver(struct race *race, uint32_t at, bool keep) {
    struct letter letter = race->letters[at];
    if (!keep) { race->letters[at] = race->letters[--race->letter_count]; }
    if (!letter.is_answer) {
        letter.answer = process(race, &letter);
        letter.is_answer = true;
        post(race, &letter);
        return;
    }
    struct actor *actor = &race->actors[letter.actor];
    if (actor->alive) {
        coordinator_on_answer(&actor->self, letter.shard, letter.send, &letter.answer);
    }
}

// --- Actors ---

static void send_of(struct race *race, uint32_t actor, uint32_t shard) {
    struct coordinator *self = &race->actors[actor].self;
    struct letter letter = {.actor = actor,
                            .shard = shard,
                            .attempt = race->actors[actor].attempt,
                            .send = coordinator_next(self, shard),
                            .commit = self->commit.v,
                            .outcome = STATUS_OK};
    if (letter.send == COORDINATOR_SEND_NOTHING) { return; }
    if (letter.send == COORDINATOR_SEND_ABORT && shard == 0 && coordinator_wants_outcome(self)) {
        letter.outcome = self->why.reason == COMMAND_REASON_CONDITION ? STATUS_CONDITION_FAILED
                                                                      : STATUS_RESOURCE_EXHAUSTED;
    }
    coordinator_sent(self, shard);
    post(race, &letter);
}

static void begin(struct race *race, uint32_t attempt, bool recovering, uint32_t who) {
    if (race->actor_count == ACTORS_MAX) { return; }
    struct actor *actor = &race->actors[race->actor_count++];
    *actor = (struct actor){.alive = true, .attempt = attempt};
    coordinator_init(&actor->self, actor->participants, race->shard_count, recovering);
    if (!recovering) { return; }
    const struct command_txn_answer own = say(COMMAND_TXN_PREPARED, race->shards[who].record.ts);
    coordinator_on_answer(&actor->self, who, COORDINATOR_SEND_PROBE, &own);
}

static void recover_one(struct race *race) {
    const uint32_t who = (uint32_t)prng_below(&race->prng, race->shard_count);
    const struct record *r = &race->shards[who].record;
    if (r->attempt > 0 && r->state == COMMAND_TXN_PREPARED) { begin(race, r->attempt, true, who); }
}

// --- What must hold ---

static void check_atomic(const struct race *race) {
    uint32_t committed_attempts = 0;
    for (uint32_t a = 1; a <= race->attempt_count; a++) {
        uint64_t c = 0;
        bool aborted = false;
        for (uint32_t s = 0; s < race->shard_count; s++) {
            const struct shard *shard = &race->shards[s];
            aborted = aborted || shard->aborted[a];
            if (shard->committed[a] == 0) { continue; }
            assert_true(c == 0 || c == shard->committed[a]);
            c = shard->committed[a];
        }
        assert_false(c != 0 && aborted);
        committed_attempts += c != 0 ? 1 : 0;
    }
    assert_true(committed_attempts <= 1);
}

static bool may_commit(const struct race *race, uint32_t attempt) {
    for (uint32_t s = 0; s < race->shard_count; s++) {
        const struct shard *shard = &race->shards[s];
        const bool holds =
            shard->record.attempt == attempt && shard->record.state == COMMAND_TXN_PREPARED;
        if (!holds && shard->committed[attempt] == 0) { return false; }
    }
    return true;
}

// The moment of telling: what is said now has to be true already.
static void check_told(struct race *race, struct actor *actor) {
    const struct coordinator *self = &actor->self;
    coordinator_check(self);
    assert_int_equal(self->contradictions, 0);
    if (actor->told || !coordinator_may_tell(self)) { return; }
    actor->told = true;
    const struct shard *home = &race->shards[0];
    if (self->result == COORDINATOR_COMMITTED) {
        assert_true(may_commit(race, actor->attempt));
        return;
    }
    for (uint32_t a = 1; a <= actor->attempt; a++) {
        assert_true(a < actor->attempt || !may_commit(race, a) || home->has_outcome);
        // The home lets no such attempt prepare any more.
        assert_false(home->record.attempt == a && home->record.state == COMMAND_TXN_PREPARED);
    }
    assert_true(home->record.attempt >= actor->attempt || home->has_outcome);
    assert_int_equal(home->committed[actor->attempt], 0);
    if (self->has_outcome) {
        assert_true(home->has_outcome);
        assert_int_equal(home->outcome.status, self->outcome.status);
        assert_int_equal(home->outcome.timestamp.v, self->outcome.timestamp.v);
    } else {
        assert_int_not_equal(self->why.reason, COMMAND_REASON_CONDITION);
        assert_int_not_equal(self->why.reason, COMMAND_REASON_TOO_MANY);
    }
}

static void check_all(struct race *race) {
    check_atomic(race);
    for (uint32_t i = 0; i < race->actor_count; i++) {
        if (race->actors[i].alive) { check_told(race, &race->actors[i]); }
    }
}

// What was told holds to the end.
static void check_history(const struct race *race) {
    const struct shard *home = &race->shards[0];
    for (uint32_t i = 0; i < race->actor_count; i++) {
        const struct actor *actor = &race->actors[i];
        if (!actor->told) { continue; }
        if (actor->self.result == COORDINATOR_COMMITTED) {
            for (uint32_t s = 0; s < race->shard_count; s++) {
                assert_int_equal(race->shards[s].committed[actor->attempt], actor->self.commit.v);
            }
            continue;
        }
        for (uint32_t a = 1; a <= actor->attempt; a++) {
            const bool other = actor->self.has_outcome && actor->self.outcome.status == STATUS_OK;
            assert_true(home->committed[a] == 0 || (other && a < actor->attempt));
        }
        if (actor->self.has_outcome) {
            assert_int_equal(home->outcome.status, actor->self.outcome.status);
        }
    }
}

// --- A run ---

static void act(struct race *race) {
    struct prng *prng = &race->prng;
    struct actor *actor = &race->actors[prng_below(prng, race->actor_count)];
    const uint32_t at = (uint32_t)(actor - race->actors);
    const uint32_t shard = (uint32_t)prng_below(prng, race->shard_count);
    if (!actor->alive) { return; }
    const enum coordinator_send kinds[] = {COORDINATOR_SEND_PREPARE, COORDINATOR_SEND_PROBE};
    if (actor->participants[shard].in_flight && prng_chance(prng, 1, 10)) {
        // Which request was out does not matter beyond its kind in this phase.
        const bool preparing = actor->self.phase == COORDINATOR_PREPARING;
        const bool probes = actor->self.recovering || actor->participants[shard].silent;
        coordinator_on_silence(&actor->self, shard,
                               preparing ? kinds[probes ? 1 : 0] : COORDINATOR_SEND_COMMIT);
    } else if (prng_chance(prng, 1, 150)) {
        actor->alive = false;  // the gateway crashed
    } else {
        send_of(race, at, shard);
    }
}

// A day later: what is finished everywhere is dropped, nobody of then is left, and of what was sent
// the worst is still on its way, the prepares.
static void drop_records(struct race *race) {
    for (uint32_t s = 0; s < race->shard_count; s++) {
        const struct record *r = &race->shards[s].record;
        if (r->attempt > 0 && r->state == COMMAND_TXN_PREPARED) { return; }
        if (r->attempt > 0 && r->state == COMMAND_TXN_COMMITTED && !r->forgotten) { return; }
    }
    for (uint32_t s = 0; s < race->shard_count; s++) {
        race->shards[s].record = (struct record){0};
    }
    for (uint32_t i = 0; i < race->actor_count; i++) {
        race->actors[i].alive = false;
    }
    for (uint32_t i = race->letter_count; i-- > 0;) {
        const struct letter *letter = &race->letters[i];
        if (letter->is_answer || letter->send != COORDINATOR_SEND_PREPARE) {
            race->letters[i] = race->letters[--race->letter_count];
        }
    }
}

static void step(struct race *race) {
    struct prng *prng = &race->prng;
    const uint64_t what = prng_below(prng, 100);
    if (race->letter_count > 0 && what < 50) {
        const uint32_t at = (uint32_t)prng_below(prng, race->letter_count);
        if (prng_chance(prng, 1, 12)) {
            race->letters[at] = race->letters[--race->letter_count];  // lost
        } else {
            deliver(race, at, prng_chance(prng, 1, 6));
        }
    } else if (what < 96) {
        act(race);
    } else if (what == 96 && race->attempt_count < ATTEMPTS_MAX) {
        begin(race, ++race->attempt_count, false, 0);
    } else if (what == 97) {
        recover_one(race);
    } else if (what == 98 && prng_chance(prng, 1, 20)) {
        race->horizon = true;
    }
    if (race->horizon && prng_chance(prng, 1, 100)) { drop_records(race); }
}

static bool any_prepared(const struct race *race) {
    for (uint32_t s = 0; s < race->shard_count; s++) {
        const struct record *r = &race->shards[s].record;
        if (r->attempt > 0 && r->state == COMMAND_TXN_PREPARED) { return true; }
    }
    return false;
}

// Letters that are still on their way arrive in between.
static void settle(struct race *race) {
    for (uint32_t round = 0; round < 200; round++) {
        while (race->letter_count > 0) {
            deliver(race, (uint32_t)prng_below(&race->prng, race->letter_count), false);
            check_all(race);
        }
        race->actor_count = race->actor_count == ACTORS_MAX ? ACTORS_MAX - 1 : race->actor_count;
        recover_one(race);
        for (uint32_t i = 0; i < race->actor_count; i++) {
            for (uint32_t s = 0; race->actors[i].alive && s < race->shard_count; s++) {
                if (race->actors[i].participants[s].in_flight) {
                    coordinator_on_silence(&race->actors[i].self, s, COORDINATOR_SEND_COMMIT);
                }
                send_of(race, i, s);
            }
        }
    }
    assert_false(any_prepared(race));
    for (uint32_t i = 0; i < race->actor_count; i++) {
        if (race->actors[i].alive) { assert_true(coordinator_is_done(&race->actors[i].self)); }
    }
}

struct totals {
    uint32_t committed;
    uint32_t aborted;
    uint32_t outcomes;
};

static void run(uint64_t seed, struct totals *totals) {
    static struct race race;
    memset(&race, 0, sizeof(race));
    prng_init(&race.prng, seed);
    race.shard_count = (uint32_t)prng_between(&race.prng, 1, SHARDS_MAX);
    race.conflict_percent = (uint32_t)prng_below(&race.prng, 4) * 15;
    for (uint32_t s = 0; s < race.shard_count; s++) {
        race.shards[s].clock = prng_below(&race.prng, 100) + 1;
    }
    race.attempt_count = 1;
    begin(&race, 1, false, 0);
    for (uint32_t i = 0; i < STEPS; i++) {
        step(&race);
        check_all(&race);
    }
    settle(&race);
    check_history(&race);
    for (uint32_t i = 0; i < race.actor_count; i++) {
        const struct actor *actor = &race.actors[i];
        totals->committed += actor->told && actor->self.result == COORDINATOR_COMMITTED;
        totals->aborted += actor->told && actor->self.result == COORDINATOR_ABORTED;
        totals->outcomes += actor->told && actor->self.has_outcome;
    }
}

static void test_coordinator_races_agree(void **state) {
    (void)state;
    struct totals totals = {0};
    const char *one = getenv("COORDINATOR_SEED");
    const uint64_t from = one != NULL ? strtoull(one, NULL, 10) : 1;
    for (uint64_t seed = from; seed < (one != NULL ? from + 1 : SEEDS); seed++) {
        run(seed, &totals);
    }
    if (one != NULL) { return; }
    print_message("told: %u committed, %u aborted, %u by outcome\n", totals.committed,
                  totals.aborted, totals.outcomes);
    // The runs reach what they are for.
    assert_true(totals.committed > 500 && totals.aborted > 500 && totals.outcomes > 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_coordinator_races_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
