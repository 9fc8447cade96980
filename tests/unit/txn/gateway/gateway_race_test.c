// SPDX-License-Identifier: Apache-2.0
// Two gateways over three shards that are tables: calls are executed late, their answers come late
// or never, gateways die with all they had under way, clients repeat under the same id at the other
// one what ended unknown, and what stays prepared is recovered by either. In the end each id is
// committed on all of its shards at one timestamp or on none, and every client was told the truth.
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "txn/gateway/gateway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    SHARDS = 3,
    KEYS = 3,  // of a shard
    IDS = 24,
    GATEWAYS = 2,
    CALLS_MAX = 512,
    SEEDS = 100,
};
#define MS UINT64_C(1000000)

struct record {
    bool exists;
    struct txn_attempt attempt;
    enum command_txn_state state;
    uint64_t ts;
    bool forgotten;
    uint64_t since_ns;
    struct hlc_ts begin;
    struct bytes *prepare;  // of a prepared one
    bool keys[KEYS];
};

struct shard {
    struct record records[IDS];
    uint64_t clock;
    bool has_outcome[IDS];
    struct command_outcome outcome[IDS];
    uint64_t committed[IDS];  // for good, whatever becomes of the record
    uint64_t times[IDS];      // it committed, by attempt
};

struct pending {
    struct session_call *call;
    uint32_t gateway;
    bool executed;
    struct buf answer;
    uint64_t execute_ns;
    uint64_t answer_ns;  // UINT64_MAX = lost
};

struct client {
    struct session_call call;
    struct buf payload;
    uint32_t id;
    uint32_t gateway;
    bool running;
    bool over;
    bool told_ok;
    bool told_aborted;
    bool told_condition;
    uint64_t ts;
    uint64_t again_ns;
};

struct race {
    uint64_t now_ns;
    struct prng prng;
    struct env env;
    struct hlc_clock hlc;
    struct shard_map *map;
    struct gateway *gateways[GATEWAYS];
    struct shard shards[SHARDS];
    struct pending pending[CALLS_MAX];
    struct client clients[IDS];
    uint32_t loss_percent;
    bool calm;  // nothing is lost any more, and nobody dies
};

static struct race *the_race;

// --- Shards ---

static uint32_t id_of(struct txn_id txn) {
    return (uint32_t)txn.v[0] - 1;
}

static void answer_as_it_stands(const struct shard *shard, uint32_t id, bool home,
                                struct command_txn_answer *out) {
    const struct record *r = &shard->records[id];
    *out = (struct command_txn_answer){.state = r->state, .timestamp = {r->ts}};
    if (r->state == COMMAND_TXN_ABORTED && home && shard->has_outcome[id]) {
        out->has_outcome = true;
        out->outcome = shard->outcome[id];
    }
}

static void refuse(const struct shard *shard, uint32_t id, bool home,
                   enum command_txn_reason reason, struct command_txn_answer *out) {
    *out = (struct command_txn_answer){.state = COMMAND_TXN_ABORTED, .reason = reason};
    if (home && shard->has_outcome[id]) {
        out->has_outcome = true;
        out->outcome = shard->outcome[id];
    }
}

static void set_aborted(struct shard *shard, uint32_t id, struct txn_attempt attempt) {
    struct record *r = &shard->records[id];
    assert_false(r->exists && txn_attempt_equal(r->attempt, attempt) &&
                 r->state == COMMAND_TXN_COMMITTED);
    bytes_unref(r->prepare);
    *r = (struct record){.exists = true, .attempt = attempt, .state = COMMAND_TXN_ABORTED};
}

static bool in_the_way(const struct shard *shard, uint32_t id, const bool keys[KEYS]) {
    for (uint32_t other = 0; other < IDS; other++) {
        const struct record *r = &shard->records[other];
        if (other == id || !r->exists || r->state != COMMAND_TXN_PREPARED) { continue; }
        for (uint32_t k = 0; k < KEYS; k++) {
            if (keys[k] && r->keys[k]) { return true; }
        }
    }
    return false;
}

static void keys_of(struct slice part, bool keys[KEYS]) {
    struct command_commit_reader r;
    assert_int_equal(command_commit_open(&r, part), STATUS_OK);
    for (uint32_t i = 0; i < r.mutation_count; i++) {
        struct command_mutation mutation;
        assert_int_equal(command_commit_next_mutation(&r, &mutation), STATUS_OK);
        keys[mutation.key.data[5] - '0'] = true;
    }
}

static void prepare(struct race *race, struct shard *shard, struct slice payload,
                    struct command_txn_answer *out) {
    struct command_prepare_view view;
    assert_int_equal(command_prepare_decode(payload, &view), STATUS_OK);
    const uint32_t id = id_of(view.txn);
    struct record *r = &shard->records[id];
    const bool home = view.self == 0;
    const int order = r->exists ? txn_attempt_compare(r->attempt, view.attempt) : -1;
    bool keys[KEYS] = {false};
    keys_of(view.part, keys);
    if (r->exists && order == 0) {
        answer_as_it_stands(shard, id, home, out);
    } else if ((home && shard->has_outcome[id]) ||
               (r->exists && order < 0 && r->state == COMMAND_TXN_COMMITTED)) {
        refuse(shard, id, home, COMMAND_REASON_NONE, out);
    } else if (order > 0) {
        refuse(shard, id, home, COMMAND_REASON_SUPERSEDED, out);
    } else if (r->exists && r->state == COMMAND_TXN_PREPARED) {
        *out = (struct command_txn_answer){.state = COMMAND_TXN_BUSY};
    } else if (in_the_way(shard, id, keys)) {
        set_aborted(shard, id, view.attempt);
        refuse(shard, id, home, COMMAND_REASON_LOCKED, out);
    } else if (prng_chance(&race->prng, 1, 25)) {
        set_aborted(shard, id, view.attempt);
        refuse(shard, id, home, COMMAND_REASON_CONDITION, out);
    } else {
        bytes_unref(r->prepare);
        *r = (struct record){.exists = true,
                             .attempt = view.attempt,
                             .state = COMMAND_TXN_PREPARED,
                             .ts = ++shard->clock,
                             .since_ns = race->now_ns,
                             .begin = view.begin,
                             .prepare = bytes_copy(payload)};
        memcpy(r->keys, keys, sizeof(keys));
        answer_as_it_stands(shard, id, home, out);
    }
}

static void commit(struct race *race, struct shard *shard, const struct command_resolution *in,
                   struct command_txn_answer *out) {
    const uint32_t id = id_of(in->txn);
    struct record *r = &shard->records[id];
    *out = (struct command_txn_answer){.state = COMMAND_TXN_NONE};
    if (!r->exists || txn_attempt_compare(r->attempt, in->attempt) > 0) { return; }
    assert_true(txn_attempt_equal(r->attempt, in->attempt));
    assert_int_not_equal(r->state, COMMAND_TXN_ABORTED);
    if (r->state == COMMAND_TXN_PREPARED) {
        struct command_prepare_view view;
        assert_int_equal(command_prepare_decode(bytes_slice(r->prepare), &view), STATUS_OK);
        assert_true(in->commit.v >= r->ts);
        r->state = COMMAND_TXN_COMMITTED;
        r->ts = in->commit.v;
        shard->clock = shard->clock > r->ts ? shard->clock : r->ts;
        assert_int_equal(shard->committed[id], 0);
        shard->committed[id] = r->ts;
        if (view.self == 0) {
            assert_false(shard->has_outcome[id]);
            shard->has_outcome[id] = true;
            shard->outcome[id] = (struct command_outcome){
                .status = STATUS_OK, .timestamp = {r->ts}, .request_hash = view.request_hash};
        }
    }
    assert_int_equal(r->ts, in->commit.v);
    answer_as_it_stands(shard, id, false, out);
    (void)race;
}

static void end(struct shard *shard, const struct command_resolution *in,
                struct command_txn_answer *out) {
    const uint32_t id = id_of(in->txn);
    struct record *r = &shard->records[id];
    const bool aborts = in->decision == COMMAND_DECIDE_ABORT;
    const int order = r->exists ? txn_attempt_compare(r->attempt, in->attempt) : -1;
    if (order > 0) {
        refuse(shard, id, true, COMMAND_REASON_SUPERSEDED, out);
    } else if (r->exists && order == 0 && !aborts) {
        answer_as_it_stands(shard, id, true, out);
    } else if (r->exists && order < 0 && r->state == COMMAND_TXN_PREPARED) {
        *out = (struct command_txn_answer){.state = COMMAND_TXN_BUSY};
    } else if (r->exists && order < 0 && r->state == COMMAND_TXN_COMMITTED) {
        refuse(shard, id, true, COMMAND_REASON_SUPERSEDED, out);
    } else {
        set_aborted(shard, id, in->attempt);
        if (in->outcome != STATUS_OK && !shard->has_outcome[id]) {
            shard->has_outcome[id] = true;
            shard->outcome[id] = (struct command_outcome){.status = in->outcome,
                                                          .timestamp = {++shard->clock},
                                                          .failed_condition = in->failed_condition,
                                                          .request_hash = in->request_hash};
        }
        refuse(shard, id, true, COMMAND_REASON_NONE, out);
    }
}

static void resolve(struct race *race, struct shard *shard, const struct command_resolution *in,
                    struct command_txn_answer *out) {
    if (in->decision == COMMAND_DECIDE_COMMIT) {
        commit(race, shard, in, out);
    } else if (in->decision == COMMAND_DECIDE_FORGET) {
        struct record *r = &shard->records[id_of(in->txn)];
        assert_true(r->exists && r->state == COMMAND_TXN_COMMITTED);
        r->forgotten = true;
        *out = (struct command_txn_answer){.state = COMMAND_TXN_COMMITTED};
    } else {
        end(shard, in, out);
    }
}

static void execute(struct race *race, struct pending *pending) {
    const struct session_call *call = pending->call;
    struct shard *shard = &race->shards[call->key.data[4] - 'a'];
    struct codec_writer w;
    struct command_txn_answer answer;
    codec_writer_init(&w, &pending->answer);
    pending->executed = true;
    if (call->kind == COMMAND_PREPARE) {
        prepare(race, shard, call->payload, &answer);
        command_txn_answer_encode(&w, &answer);
        return;
    }
    struct command_resolve_reader r;
    assert_int_equal(call->kind, COMMAND_RESOLVE);
    assert_int_equal(command_resolve_open(&r, call->payload), STATUS_OK);
    for (uint32_t i = 0; i < r.count; i++) {
        struct command_resolution resolution;
        assert_int_equal(command_resolve_next(&r, &resolution), STATUS_OK);
        resolve(race, shard, &resolution, &answer);
        command_txn_answer_encode(&w, &answer);
    }
}

// --- The session of each gateway ---

static uint64_t delay(struct race *race) {
    const uint64_t most = prng_chance(&race->prng, 1, 12) ? 900 : 12;
    return prng_below(&race->prng, most) * MS;
}

void session_start(struct session *self, struct session_call *call) {
    struct race *race = the_race;
    uint32_t at = 0;
    while (at < CALLS_MAX && race->pending[at].call != NULL) {
        at++;
    }
    assert_true(at < CALLS_MAX);
    const bool lost = !race->calm && prng_below(&race->prng, 100) < race->loss_percent;
    const bool unsent = lost && prng_chance(&race->prng, 1, 2);
    struct pending *pending = &race->pending[at];
    *pending = (struct pending){.call = call, .gateway = (uint32_t)((uintptr_t)self - 1)};
    buf_init(&pending->answer, 1 << 20);
    pending->execute_ns = unsent ? UINT64_MAX : race->now_ns + delay(race);
    pending->answer_ns = lost ? UINT64_MAX : pending->execute_ns + delay(race);
    call->id = at + 1;
}

static void finish(struct race *race, struct pending *pending, enum status st) {
    struct session_call *call = pending->call;
    struct buf answer = pending->answer;
    *pending = (struct pending){0};
    struct session_result result = {.status = st};
    if (st == STATUS_OK) {
        result.certificate = (struct command_certificate){
            .method = COMMAND_METHOD_LOG, .shard = {16}, .term = 1, .index = 1};
        result.payload = buf_slice(&answer);
    }
    call->id = 0;
    call->done(call, &result);
    buf_deinit(&answer);
    (void)race;
}

// A cancelled call may still be executed: it stays, with nobody to hear of it. That its payload is
// gone with its gateway is the reason why it is executed at once, or never.
void session_cancel(struct session *self, struct session_call *call) {
    struct race *race = the_race;
    (void)self;
    struct pending *pending = &race->pending[call->id - 1];
    assert_ptr_equal(pending->call, call);
    if (!pending->executed && prng_chance(&race->prng, 1, 2)) { execute(race, pending); }
    finish(race, pending, STATUS_UNKNOWN_OUTCOME);
}

// --- Clients ---

static void client_done(struct session_call *call, const struct session_result *result) {
    struct race *race = the_race;
    struct client *client = (struct client *)call;
    client->running = false;
    client->again_ns = race->now_ns + prng_below(&race->prng, 300) * MS;
    assert_false(client->told_ok || client->told_aborted || client->told_condition);
    struct codec_reader r;
    struct command_outcome outcome = {0};
    codec_reader_init(&r, result->payload);
    switch ((int)result->status) {
    case STATUS_OK:
        assert_int_equal(command_outcome_decode(&r, &outcome), STATUS_OK);
        client->told_ok = true;
        client->ts = outcome.timestamp.v;
        break;
    case STATUS_CONDITION_FAILED:
        client->told_condition = true;
        break;
    case STATUS_ABORTED_RETRY:
        client->told_aborted = true;
        break;
    case STATUS_UNKNOWN_OUTCOME:
        return;  // the same again, at any gateway
    case STATUS_CANCELLED:
        return;
    default:
        fail();
    }
    client->over = true;
}

static struct slice key_of(uint32_t shard, uint32_t key, uint8_t out[6]) {
    memcpy(out, "\0\0\0\1", 4);
    out[4] = (uint8_t)('a' + shard);
    out[5] = (uint8_t)('0' + key);
    return slice_make(out, 6);
}

static void make_client(struct race *race, uint32_t id) {
    struct client *client = &race->clients[id];
    uint8_t keys[SHARDS][6];
    struct command_mutation puts[SHARDS];
    uint32_t count = 0;
    const uint32_t skip = (uint32_t)prng_below(&race->prng, SHARDS + 2);
    const uint32_t first = (uint32_t)prng_below(&race->prng, SHARDS);
    for (uint32_t i = 0; i < SHARDS; i++) {
        const uint32_t shard = (first + i) % SHARDS;
        if (shard == skip) { continue; }
        puts[count] = (struct command_mutation){
            .kind = COMMAND_PUT,
            .key = key_of(shard, (uint32_t)prng_below(&race->prng, KEYS), keys[count])};
        count++;
    }
    struct command_commit commit = {.mutation_count = count, .mutations = puts};
    commit.txn.v[0] = (uint8_t)(id + 1);
    struct codec_writer w;
    buf_init(&client->payload, 1 << 16);
    codec_writer_init(&w, &client->payload);
    command_commit_encode(&w, &commit);
    client->id = id;
    client->again_ns = prng_below(&race->prng, 2000) * MS;
}

static void start_client(struct race *race, struct client *client) {
    client->gateway = (uint32_t)prng_below(&race->prng, GATEWAYS);
    client->call = (struct session_call){
        .kind = COMMAND_COMMIT,
        .payload = buf_slice(&client->payload),
        .deadline_ns = race->now_ns + prng_between(&race->prng, 5, 1500) * MS,
        .done = client_done,
    };
    assert_int_equal(
        command_commit_span(client->call.payload, &client->call.key, &client->call.key_high),
        STATUS_OK);
    client->running = true;
    gateway_start(race->gateways[client->gateway], &client->call);
}

// --- The world ---

static uint64_t env_mono(void *ctx) {
    return ((struct race *)ctx)->now_ns;
}
static uint64_t env_wall(void *ctx) {
    return UINT64_C(1700000000000000) + ((struct race *)ctx)->now_ns / 1000;
}
static uint64_t env_bits(void *ctx) {
    return prng_next(&((struct race *)ctx)->prng);
}
static void env_post(void *ctx, struct node_id peer, enum peer_message_type type,
                     struct slice body) {
    (void)ctx;
    (void)peer;
    (void)type;
    (void)body;
}

static void make_gateway(struct race *race, uint32_t i) {
    const struct gateway_config config = {
        .self = {i + 1},
        .env = &race->env,
        .hlc = &race->hlc,
        .session = (struct session *)(uintptr_t)(i + 1),
        .map = race->map,
        .txns_max = 64,
        .recoveries_max = 8,
    };
    race->gateways[i] = gateway_create(&config);
}

static void put_shards(struct race *race) {
    static const char borders[SHARDS + 1][5] = {"\0\0\0\1", "\0\0\0\1b", "\0\0\0\1c", "\0\0\0\2"};
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard_descriptor d = {
            .id = {16 + i},
            .start = bytes_copy(slice_make(borders[i], i == 0 ? 4 : 5)),
            .end = bytes_copy(slice_make(borders[i + 1], i + 1 == SHARDS ? 4 : 5)),
            .epoch = 1,
            .config_epoch = 1,
            .map_version = 1,
            .replica_count = 1,
            .replicas = {{.node = {1}, .incarnation = 1}}};
        assert_true(shard_map_put(race->map, &d));
        shard_descriptor_deinit(&d);
    }
}

// A shard's leader finds what is prepared for long.
static void recover(struct race *race) {
    for (uint32_t s = 0; s < SHARDS; s++) {
        for (uint32_t id = 0; id < IDS; id++) {
            const struct record *r = &race->shards[s].records[id];
            if (!r->exists || r->state != COMMAND_TXN_PREPARED) { continue; }
            if (race->now_ns < r->since_ns + 500 * MS) { continue; }
            struct lock_holder holder = {.attempt = r->attempt,
                                         .begin = r->begin,
                                         .prepared = {r->ts},
                                         .prepare = bytes_slice(r->prepare)};
            holder.txn.v[0] = (uint8_t)(id + 1);
            gateway_recover(race->gateways[prng_below(&race->prng, GATEWAYS)],
                            (struct shard_id){16 + s}, &holder);
        }
    }
}

static void step(struct race *race) {
    race->now_ns += MS;
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        struct pending *pending = &race->pending[i];
        if (pending->call == NULL) { continue; }
        if (!pending->executed && race->now_ns >= pending->execute_ns) { execute(race, pending); }
        if (race->now_ns >= pending->call->deadline_ns) {
            finish(race, pending, STATUS_UNKNOWN_OUTCOME);
        } else if (pending->executed && race->now_ns >= pending->answer_ns) {
            finish(race, pending, STATUS_OK);
        }
    }
    for (uint32_t i = 0; i < IDS; i++) {
        struct client *client = &race->clients[i];
        if (client->running || client->over || race->now_ns < client->again_ns) { continue; }
        start_client(race, client);
    }
    if (race->now_ns / MS % 100 == 0) { recover(race); }
    for (uint32_t i = 0; i < GATEWAYS; i++) {
        if (!race->calm && prng_chance(&race->prng, 1, 1500)) {
            gateway_destroy(race->gateways[i]);
            make_gateway(race, i);
        }
        gateway_on_time(race->gateways[i]);
        (void)gateway_turn(race->gateways[i]);
        gateway_check(race->gateways[i]);
    }
}

static void check_end(const struct race *race, uint32_t *committed, uint32_t *aborted) {
    for (uint32_t id = 0; id < IDS; id++) {
        const struct client *client = &race->clients[id];
        uint64_t c = 0;
        uint32_t shards = 0;
        uint32_t touched = 0;
        struct command_commit_reader r;
        assert_int_equal(command_commit_open(&r, buf_slice(&client->payload)), STATUS_OK);
        touched = r.mutation_count;
        for (uint32_t s = 0; s < SHARDS; s++) {
            const struct record *record = &race->shards[s].records[id];
            assert_false(record->exists && record->state == COMMAND_TXN_PREPARED);
            if (race->shards[s].committed[id] == 0) { continue; }
            shards++;
            assert_true(c == 0 || c == race->shards[s].committed[id]);
            c = race->shards[s].committed[id];
        }
        assert_true(shards == 0 || shards == touched);
        assert_true(client->over);
        if (client->told_ok) { assert_int_equal(client->ts, c); }
        if (client->told_aborted || client->told_condition) { assert_int_equal(shards, 0); }
        *committed += client->told_ok ? 1 : 0;
        *aborted += client->told_ok ? 0 : 1;
    }
}

static void run(uint64_t seed, uint32_t *committed, uint32_t *aborted) {
    struct race *race = mem_alloc(sizeof(*race));
    the_race = race;
    prng_init(&race->prng, seed);
    race->now_ns = MS;
    race->env = (struct env){race, env_mono, env_wall, env_bits, env_post};
    race->map = shard_map_create();
    race->loss_percent = (uint32_t)prng_below(&race->prng, 4) * 10;
    hlc_init(&race->hlc, 1000000);
    put_shards(race);
    for (uint32_t i = 0; i < GATEWAYS; i++) {
        make_gateway(race, i);
    }
    for (uint32_t i = 0; i < IDS; i++) {
        make_client(race, i);
    }
    for (uint32_t i = 0; i < 4000; i++) {
        step(race);
    }
    race->calm = true;
    for (uint32_t i = 0; i < 16000; i++) {
        step(race);
    }
    check_end(race, committed, aborted);
    for (uint32_t i = 0; i < GATEWAYS; i++) {
        gateway_destroy(race->gateways[i]);
    }
    for (uint32_t i = 0; i < IDS; i++) {
        buf_deinit(&race->clients[i].payload);
        for (uint32_t s = 0; s < SHARDS; s++) {
            bytes_unref(race->shards[s].records[i].prepare);
        }
    }
    shard_map_destroy(race->map);
    mem_free(race);
}

static void test_gateway_races_agree(void **state) {
    (void)state;
    uint32_t committed = 0;
    uint32_t aborted = 0;
    const char *one = getenv("GATEWAY_SEED");
    const uint64_t from = one != NULL ? strtoull(one, NULL, 10) : 1;
    for (uint64_t seed = from; seed < (one != NULL ? from + 1 : SEEDS); seed++) {
        run(seed, &committed, &aborted);
    }
    print_message("told: %u committed, %u aborted\n", committed, aborted);
    if (one == NULL) { assert_true(committed > 20 * SEEDS / 10 && aborted > SEEDS); }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gateway_races_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
