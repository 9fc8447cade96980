// SPDX-License-Identifier: Apache-2.0
// A transaction is two calls: a read of its keys at one snapshot, wherever they lie, then a
// commit that stands only while what was read is still the newest. Either of them may be cut off;
// who only reads ends with the first. A commit goes out once or, under the same id, through two
// gateways. What is not known in the end is asked for by its id, sometimes, and else stays unknown.
#include "tests/sim/clients_txn.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "tests/sim/clients_txn_internal.h"
#include "tests/sim/txn_judges.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <string.h>

enum { RETIRE_AT = 40, FINAL_TRIES_MAX = 300, CLIENT_OFFSET = 100, TEXT_SIZE = 4096 };
#define FINAL_BUDGET_NS UINT64_C(10000000000)
#define HOURS_BUDGET_NS UINT64_C(300000000)
#define AGAIN_NS        UINT64_C(50000000)

static struct sim_txn_load *load_of(struct sim_txn_client *self) {
    return &self->world->txns;
}

// --- Gateways ---

static bool serves(const struct sim_txn_client *self, struct sim_node *node) {
    const struct sim_world *world = self->world;
    if (!node->up || sim_node_is_paused(node) || !node_core_is_current(node->core)) {
        return false;
    }
    if (self->final && (world->broken >> node->position & 1) != 0) { return false; }
    if (self->final && !sim_node_coordinates(node)) { return false; }
    return catalog_keyspace_by_name(node_core_catalog(node->core), SLICE_LITERAL("sim")) != NULL;
}

static struct sim_node *draw_gateway(struct sim_txn_client *self) {
    struct sim_world *world = self->world;
    uint32_t first = (uint32_t)prng_below(&self->prng, world->plan.node_count);
    if (self->final) { first = self->final_gateway; }
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        struct sim_node *node = &world->nodes[(first + i) % world->plan.node_count];
        if (serves(self, node)) { return node; }
    }
    return NULL;
}

static uint64_t draw_budget(struct sim_txn_client *self) {
    const struct sim_plan *plan = &self->world->plan;
    if (self->final) { return plan->clock_hours ? HOURS_BUDGET_NS : FINAL_BUDGET_NS; }
    return prng_between(&self->prng, plan->deadline_ns_max / 8, plan->deadline_ns_max);
}

static void send(struct sim_txn_client *self, uint32_t which, struct sim_node *gateway,
                 uint64_t later) {
    struct sim_call *call = &self->calls[which].call;
    call->budget_ns = draw_budget(self);
    SIM_NOTE(self->world, gateway, SIM_TRACE_INVOKE,
             self->phase == SIM_TXN_READING ? "txn read" : "txn commit",
             CLIENT_OFFSET + self->index, self->count, self->kind);
    sim_call_begin(call, gateway, later);
}

void sim_txn__send(struct sim_txn_client *self, uint32_t which, struct sim_node *gateway) {
    send(self, which, gateway, 0);
}

// --- The end of a transaction ---

static void end(struct sim_txn_client *self, uint64_t pause_ns) {
    self->phase = SIM_TXN_IDLE;
    sim_world_put(self->world, &self->step, self->world->now_ns + pause_ns);
}

void sim_txn__think(struct sim_txn_client *self) {
    end(self, prng_between(&self->prng, 0, self->world->plan.think_ns_max));
}

static void see(struct sim_txn_client *self, struct hlc_ts ts) {
    self->token = hlc_larger(self->token, ts);
}

static void begin_record(struct sim_txn_client *self, struct list_append_history *history) {
    struct sim_txn_load *load = load_of(self);
    // Ranges are read one after the other: at one snapshot, but which is as old as the first.
    bool late = self->kind == SIM_TXN_RANGES && self->range_count > 1;
    bool weak = !command_consistency_is_strong(self->snapshot.consistency);
    bool reads = self->outcome == LIST_APPEND_OK && self->commit_ts.v == 0;
    struct list_append_txn txn = {
        .id = history->txn_count,
        .process = self->process,
        .invoke = self->invoke,
        .ret = ++load->moments,
        .type = self->outcome,
        .commit_ts = self->outcome == LIST_APPEND_OK ? self->commit_ts.v : 0,
        .snapshot_ts = self->read_ts.v,
        .stale = reads && (late || weak),
        .apart = reads && self->snapshot.consistency != COMMAND_STRICT && sim_txn__is_many(self)};
    list_append_begin(history, &txn);
}

static void record_lists(struct sim_txn_client *self) {
    struct sim_txn_load *load = load_of(self);
    begin_record(self, &load->history);
    for (uint32_t i = 0; i < self->item_count; i++) {
        const struct sim_txn_item *item = &self->items[i];
        list_append_add_read(&load->history, item->key, item->list, item->count);
        if (item->append) { list_append_add(&load->history, item->key, item->value); }
        uint32_t next = item->key / SIM_TXN_SLOTS + 1;
        uint32_t *generation = &load->generations[item->key % SIM_TXN_SLOTS];
        if (item->count >= RETIRE_AT && next > *generation) { *generation = next; }
    }
}

static void record_audit(struct sim_txn_client *self) {
    struct sim_txn_load *load = load_of(self);
    if (load->audit_count == load->audit_capacity) {
        load->audit_capacity = 2 * load->audit_capacity + 64;
        load->balances = mem_realloc(load->balances, load->audit_capacity * SIM_TXN_ACCOUNTS *
                                                         sizeof(*load->balances));
        load->audit_ts =
            mem_realloc(load->audit_ts, load->audit_capacity * sizeof(*load->audit_ts));
    }
    ASSERT(self->item_count == SIM_TXN_ACCOUNTS);
    for (uint32_t i = 0; i < SIM_TXN_ACCOUNTS; i++) {
        load->balances[load->audit_count * SIM_TXN_ACCOUNTS + i] = self->items[i].balance;
    }
    load->audit_ts[load->audit_count++] = self->read_ts.v;
    load->stats.audits++;
}

static void record(struct sim_txn_client *self) {
    if (self->kind == SIM_TXN_LISTS) { record_lists(self); }
    if (self->kind == SIM_TXN_RANGES) {
        begin_record(self, &load_of(self)->members);
        sim_txn__record_ranges(self);
    }
    if (self->kind == SIM_TXN_AUDIT) { record_audit(self); }
    if (self->outcome == LIST_APPEND_INFO) { self->process = ++load_of(self)->last_process; }
}

void sim_txn__finish_read(struct sim_txn_client *self) {
    struct sim_txn_stats *stats = &load_of(self)->stats;
    self->outcome = LIST_APPEND_OK;
    self->commit_ts = HLC_ZERO;
    stats->reads++;
    stats->stale_reads += !command_consistency_is_strong(self->snapshot.consistency);
    record(self);
    if (self->final) {
        self->final_at += self->kind == SIM_TXN_RANGES ? 1 : self->item_count;
        end(self, 0);
        return;
    }
    sim_txn__think(self);
}

static void finish_commit(struct sim_txn_client *self) {
    struct sim_txn_stats *stats = &load_of(self)->stats;
    const bool talked = self->talk.on;
    sim_txn__talk_close(self);
    bool naive = self->world->plan.mutant == SIM_MUTANT_UNKNOWN_FAILED;
    if (!self->known) {
        self->outcome = self->maybe && !naive ? LIST_APPEND_INFO : LIST_APPEND_FAIL;
    }
    stats->ok += self->outcome == LIST_APPEND_OK;
    stats->many += self->outcome == LIST_APPEND_OK && sim_txn__is_many(self);
    stats->talks += self->outcome == LIST_APPEND_OK && talked;
    stats->aborted += self->outcome == LIST_APPEND_FAIL;
    stats->unknown += self->outcome == LIST_APPEND_INFO;
    if (self->outcome == LIST_APPEND_OK) { see(self, self->commit_ts); }
    record(self);
    if (self->outcome == LIST_APPEND_OK) { sim_storm_committed(&self->world->storm, self); }
    sim_txn__think(self);
}

// --- Commits ---

struct txn_id sim_txn__id(struct sim_txn_client *self) {
    struct txn_id id;
    uint64_t parts[2] = {hash64_u64(UINT64_C(0x74786e) + self->index), self->count};
    memcpy(id.v, parts, sizeof(id.v));
    return id;
}

// Two words about one id are the same word.
static void take_outcome(struct sim_txn_client *self, const struct session_result *result) {
    struct codec_reader r;
    codec_reader_init(&r, result->payload);
    struct command_outcome told = {0};
    if (command_outcome_decode(&r, &told) != STATUS_OK) {
        sim_fail(self->world, "transaction %" PRIu64 " of client %" PRIu32 ": no outcome in %s",
                 self->count, self->index, status_name(result->status));
        return;
    }
    bool ok = told.status == STATUS_OK;
    enum list_append_type outcome = ok ? LIST_APPEND_OK : LIST_APPEND_FAIL;
    struct hlc_ts ts = ok ? told.timestamp : HLC_ZERO;
    if (self->known && (self->outcome != outcome || !hlc_equal(self->commit_ts, ts))) {
        sim_fail(self->world,
                 "transaction %" PRIu64 " of client %" PRIu32 ": first outcome %d at %" PRIu64
                 ", then %d at %" PRIu64,
                 self->count, self->index, (int)self->outcome, self->commit_ts.v, (int)outcome,
                 ts.v);
        return;
    }
    if (ok && !hlc_before(self->read_ts, ts)) {
        sim_fail(self->world,
                 "transaction %" PRIu64 " of client %" PRIu32 " read at %" PRIu64
                 " and committed at %" PRIu64,
                 self->count, self->index, self->read_ts.v, ts.v);
        return;
    }
    self->known = true;
    self->outcome = outcome;
    self->commit_ts = ts;
}

static void ask_or_finish(struct sim_txn_client *self) {
    bool ask = self->phase == SIM_TXN_COMMITTING && !self->world->clients_stop &&
               prng_chance(&self->prng, self->known ? 1 : 8, 16);
    struct sim_node *gateway = ask ? draw_gateway(self) : NULL;
    if (gateway == NULL) {
        finish_commit(self);
        return;
    }
    self->phase = SIM_TXN_ASKING;
    self->calls_left = 1;
    sim_txn__encode_status(self, &self->calls[SIM_TXN_ATTEMPTS].call);
    send(self, SIM_TXN_ATTEMPTS, gateway, 0);
}

// An answer that is no outcome ends an attempt; another attempt, through another gateway, may have
// gone further.
static void commit_done(struct sim_txn_client *self, const struct session_result *result) {
    if (result == NULL || result->status == STATUS_UNKNOWN_OUTCOME) {
        self->maybe = true;
    } else if (result->status == STATUS_OK || result->status == STATUS_CONDITION_FAILED) {
        take_outcome(self, result);
    }
    ASSERT(self->calls_left > 0);
    if (--self->calls_left == 0) { ask_or_finish(self); }
}

// "Not found" settles nothing: it may still be under way.
static void status_done(struct sim_txn_client *self, const struct session_result *result) {
    bool told = result != NULL && result->status == STATUS_OK;
    if (told) {
        bool refused = !self->known && !self->maybe;
        take_outcome(self, result);
        if (refused && self->outcome == LIST_APPEND_OK) {
            sim_fail(self->world,
                     "transaction %" PRIu64 " of client %" PRIu32 " was refused, and committed",
                     self->count, self->index);
        }
    }
    finish_commit(self);
}

// A read is what it is, whatever becomes of the commit. That one counts from now on: what was read
// is looked at again when it commits.
static void record_read(struct sim_txn_client *self) {
    if (self->kind != SIM_TXN_LISTS) { return; }
    self->outcome = LIST_APPEND_OK;
    self->commit_ts = HLC_ZERO;
    begin_record(self, &load_of(self)->history);
    for (uint32_t i = 0; i < self->item_count; i++) {
        const struct sim_txn_item *item = &self->items[i];
        list_append_add_read(&load_of(self)->history, item->key, item->list, item->count);
    }
    self->invoke = ++load_of(self)->moments;
}

void sim_txn__commits(struct sim_txn_client *self) {
    record_read(self);
    self->phase = SIM_TXN_COMMITTING;
    self->known = false;
    self->maybe = false;
    self->commit_ts = HLC_ZERO;
}

static void begin_commit(struct sim_txn_client *self) {
    struct sim_node *gateway = draw_gateway(self);
    if (gateway == NULL) {
        load_of(self)->stats.unread++;
        sim_txn__think(self);
        return;
    }
    sim_txn__commits(self);
    self->txn = sim_txn__id(self);
    bool repeat = prng_chance(&self->prng, self->world->plan.repeat_percent, 100);
    self->calls_left = repeat ? SIM_TXN_ATTEMPTS : 1;
    uint32_t calls = self->calls_left;
    for (uint32_t i = 0; i < calls; i++) {
        struct sim_node *through = i == 0 ? gateway : draw_gateway(self);
        if (through == NULL) { through = gateway; }
        if (self->kind == SIM_TXN_RANGES) {
            sim_txn__encode_insert(self, &self->calls[i].call);
        } else {
            sim_txn__encode_commit(self, &self->calls[i].call);
        }
        uint64_t later = i == 0 ? 0 : prng_below(&self->prng, UINT64_C(40000000));
        send(self, i, through, later);
    }
}

// --- Reads ---

static void prepare_transfer(struct sim_txn_client *self) {
    int64_t have = self->items[0].balance;
    int64_t amount = have <= 0 ? 0 : (int64_t)prng_between(&self->prng, 1, (uint64_t)have);
    self->items[0].change = -amount;
    self->items[1].change = amount;
}

// A list that got long is only read.
static bool prepare_writes(struct sim_txn_client *self) {
    if (self->kind == SIM_TXN_RANGES) { return self->insert; }
    if (self->kind == SIM_TXN_TRANSFER) { prepare_transfer(self); }
    bool writes = false;
    for (uint32_t i = 0; i < self->item_count; i++) {
        struct sim_txn_item *item = &self->items[i];
        if (item->count >= SIM_TXN_LIST_MAX) { item->append = false; }
        writes = writes || item->append || item->change != 0;
    }
    return writes;
}

bool sim_txn__keeps_promise(struct sim_txn_client *self, struct hlc_ts ts) {
    const struct command_snapshot *asked = &self->snapshot;
    bool exact = asked->consistency != COMMAND_AT || hlc_equal(ts, asked->at);
    bool recent = !hlc_before(ts, asked->at_least);
    if (self->wild) {
        sim_fail(self->world, "a token far ahead of all clocks was believed: client %" PRIu32,
                 self->index);
        return false;
    }
    if (ts.v != 0 && exact && recent) { return true; }
    sim_fail(self->world,
             "client %" PRIu32 " asked for a snapshot at %" PRIu64 ", at least %" PRIu64
             ", and got %" PRIu64,
             self->index, asked->at.v, asked->at_least.v, ts.v);
    return false;
}

// A node whose clock was hours ahead is refused as a gateway until the others have caught up, and
// one whose disk hung leads nothing for a while: then another one must do. One that is full of
// calls whose clients are gone says so, and is asked again (clients.c).
static void read_failed(struct sim_txn_client *self, const struct session_result *result) {
    load_of(self)->stats.unread++;
    if (!self->final) {
        sim_txn__think(self);
        return;
    }
    bool hangs = (self->world->plan.faults >> SIM_FAULT_DISK_STALL & 1) != 0;
    bool full = result != NULL &&
                (result->status == STATUS_OVERLOADED || result->status == STATUS_CLOCK_AHEAD);
    bool again = self->world->plan.clock_hours || hangs || full;
    if (!again || self->final_tries++ >= FINAL_TRIES_MAX) {
        sim_fail(self->world, "after healing: a read over all shards does not succeed: %s",
                 result == NULL ? "no answer" : status_name(result->status));
        return;
    }
    self->final_gateway++;
    end(self, AGAIN_NS);
}

// The other range, at the snapshot of the first.
static void read_next_range(struct sim_txn_client *self) {
    struct sim_node *gateway = draw_gateway(self);
    if (gateway == NULL) {
        read_failed(self, NULL);
        return;
    }
    self->snapshot = (struct command_snapshot){.consistency = COMMAND_AT, .at = self->read_ts};
    sim_txn__encode_scan(self, &self->calls[0].call);
    send(self, 0, gateway, 0);
}

static void read_done(struct sim_txn_client *self, const struct session_result *result) {
    if (self->talk.on) {
        sim_txn__talk_read_done(self, result);
        return;
    }
    if (result == NULL || result->status != STATUS_OK) {
        read_failed(self, result);
        return;
    }
    self->read_ts = result->certificate.timestamp;
    if (!sim_txn__keeps_promise(self, self->read_ts)) { return; }
    bool ranges = self->kind == SIM_TXN_RANGES;
    if (ranges ? !sim_txn__decode_scan(self, result->payload)
               : !sim_txn__decode_rows(self, result->payload)) {
        sim_fail(self->world, "client %" PRIu32 ": the rows of a read do not decode", self->index);
        return;
    }
    see(self, self->read_ts);
    if (ranges && ++self->range_at < self->range_count) {
        read_next_range(self);
        return;
    }
    bool writes = prepare_writes(self);
    if (!writes || self->final) {
        sim_txn__finish_read(self);
        return;
    }
    begin_commit(self);
}

static void call_done(struct sim_call *call, const struct session_result *result) {
    struct sim_txn_client *self = ((struct sim_txn_call *)call)->client;
    SIM_NOTE(self->world, call->node, SIM_TRACE_RETURN,
             result == NULL ? "lost" : status_name(result->status), CLIENT_OFFSET + self->index,
             self->count, result == NULL ? 0 : result->certificate.timestamp.v);
    switch (self->phase) {
    case SIM_TXN_READING:
        read_done(self, result);
        break;
    case SIM_TXN_COMMITTING:
        commit_done(self, result);
        break;
    case SIM_TXN_ASKING:
        status_done(self, result);
        break;
    case SIM_TXN_IDLE:
    case SIM_TXN_TALKING:
    case SIM_TXN_HOLDING:
        ASSERT(false);
    }
}

// --- Beginning a transaction ---

// Half of the keys drawn are among two, the others among all: hot ones and cold ones.
static void draw_lists(struct sim_txn_client *self) {
    struct sim_txn_load *load = load_of(self);
    uint32_t wanted = (uint32_t)prng_between(&self->prng, 1, SIM_TXN_OPS_MAX);
    bool reads = prng_chance(&self->prng, 1, 4);
    while (self->item_count < wanted) {
        bool hot = prng_chance(&self->prng, 1, 2);
        uint32_t slot = (uint32_t)prng_below(&self->prng, hot ? 2 : SIM_TXN_SLOTS);
        bool twice = false;
        for (uint32_t i = 0; i < self->item_count; i++) {
            twice = twice || self->items[i].key % SIM_TXN_SLOTS == slot;
        }
        if (twice) {
            wanted--;
            continue;
        }
        self->items[self->item_count++] =
            (struct sim_txn_item){.key = load->generations[slot] * SIM_TXN_SLOTS + slot,
                                  .append = !reads && prng_chance(&self->prng, 1, 2),
                                  .by_condition = prng_chance(&self->prng, 1, 4),
                                  .value = ++load->last_value};
    }
}

static void draw_accounts(struct sim_txn_client *self) {
    self->kind = SIM_TXN_TRANSFER;
    uint32_t from = (uint32_t)prng_below(&self->prng, SIM_TXN_ACCOUNTS);
    uint32_t to =
        (from + 1 + (uint32_t)prng_below(&self->prng, SIM_TXN_ACCOUNTS - 1)) % SIM_TXN_ACCOUNTS;
    self->items[0] = (struct sim_txn_item){.key = from};
    self->items[1] = (struct sim_txn_item){.key = to};
    self->item_count = 2;
}

static void all_accounts(struct sim_txn_client *self) {
    self->kind = SIM_TXN_AUDIT;
    self->item_count = SIM_TXN_ACCOUNTS;
    for (uint32_t i = 0; i < SIM_TXN_ACCOUNTS; i++) {
        self->items[i] = (struct sim_txn_item){.key = i};
    }
}

// Any snapshot will do for what is validated at the commit; who only reads may be served by
// followers as well, and is held to the timestamp that it is told.
static void draw_snapshot(struct sim_txn_client *self) {
    static const enum command_consistency strong[] = {COMMAND_STRONG, COMMAND_STRONG,
                                                      COMMAND_STRONG_READ_INDEX, COMMAND_STRICT};
    static const enum command_consistency weak[] = {COMMAND_SESSION, COMMAND_BOUNDED, COMMAND_AT,
                                                    COMMAND_ANY};
    uint64_t which = prng_below(&self->prng, 4);
    self->snapshot = (struct command_snapshot){.consistency = strong[which]};
    uint64_t past_us = prng_below(&self->prng, 300000);
    if (self->token.v == 0 || !prng_chance(&self->prng, 1, 3)) { return; }
    self->snapshot.consistency = weak[which];
    if (weak[which] == COMMAND_SESSION) { self->snapshot.at_least = self->token; }
    if (weak[which] == COMMAND_BOUNDED) { self->snapshot.staleness_us = 1 + 10 * past_us; }
    if (weak[which] == COMMAND_AT) {
        uint64_t wall_us = hlc_wall_us(self->token);
        self->snapshot.at = hlc_from_wall(wall_us - (past_us < wall_us ? past_us : 0));
    }
}

static void begin(struct sim_txn_client *self, struct sim_node *gateway) {
    self->count++;
    self->invoke = ++load_of(self)->moments;
    self->phase = SIM_TXN_READING;
    self->calls_left = 1;
    if (self->kind == SIM_TXN_RANGES) {
        sim_txn__encode_scan(self, &self->calls[0].call);
    } else {
        sim_txn__encode_read(self, &self->calls[0].call);
    }
    send(self, 0, gateway, 0);
}

static bool begin_talk(struct sim_txn_client *self, struct sim_node *gateway) {
    if (self->world->plan.talk_percent == 0) { return false; }
    self->count++;
    self->invoke = ++load_of(self)->moments;
    return sim_txn__talk_begin(self, gateway);
}

static void random_step(struct sim_txn_client *self, struct sim_node *gateway) {
    uint64_t what = prng_below(&self->prng, 10);
    self->item_count = 0;
    if (what < 5) {
        self->kind = SIM_TXN_LISTS;
        draw_lists(self);
    } else if (what < 7) {
        self->kind = SIM_TXN_RANGES;
        sim_txn__draw_ranges(self);
    } else if (what < 9) {
        draw_accounts(self);
    } else {
        all_accounts(self);
    }
    draw_snapshot(self);
    sim_txn__draw_token(self);
    if (!begin_talk(self, gateway)) { begin(self, gateway); }
}

void sim_txn_look_at(struct sim_txn_load *self, struct sim_node *gateway, const uint32_t *lists,
                     uint32_t count) {
    for (uint32_t i = 0; i < self->client_count; i++) {
        struct sim_txn_client *client = &self->clients[i];
        const bool idle = client->phase == SIM_TXN_IDLE && !client->final && client->watches;
        if (!idle || self->world->clients_stop || !serves(client, gateway)) { continue; }
        client->kind = SIM_TXN_LISTS;
        client->item_count = count;
        client->wild = false;
        for (uint32_t k = 0; k < count; k++) {
            client->items[k] = (struct sim_txn_item){.key = lists[k]};
        }
        client->snapshot = (struct command_snapshot){.consistency = COMMAND_STRONG};
        begin(client, gateway);
        return;
    }
}

struct sim_node *sim_txn_leader_of(struct sim_txn_load *self, uint32_t list) {
    const struct sim_world *world = self->world;
    const struct sim_txn_client any = {.world = self->world, .kind = SIM_TXN_LISTS};
    const struct sim_txn_item item = {.key = list};
    uint8_t space[SIM_TXN_KEY_SIZE];
    const struct slice key = sim_txn__key(&any, &item, space);
    for (uint32_t i = 0; i < world->plan.node_count; i++) {
        struct sim_node *node = &self->world->nodes[i];
        if (!node->up) { continue; }
        const struct shard_descriptor *shard =
            shard_map_find(catalog_shard_map(node_core_catalog(node->core)), key);
        if (shard == NULL) { continue; }
        const struct replica *replica = replica_table_find(node_core_table(node->core), shard->id);
        if (replica != NULL && replica_is_leader(replica)) { return node; }
    }
    return NULL;
}

void sim_txn_read_through(struct sim_txn_load *self, struct sim_node *gateway) {
    for (uint32_t i = 0; i < self->client_count; i++) {
        struct sim_txn_client *client = &self->clients[i];
        const bool idle = client->phase == SIM_TXN_IDLE && !client->final;
        if (!idle || self->world->clients_stop || !serves(client, gateway)) { continue; }
        sim_world_cancel(self->world, &client->step);
        client->kind = SIM_TXN_LISTS;
        client->item_count = 0;
        client->wild = false;
        draw_lists(client);
        for (uint32_t k = 0; k < client->item_count; k++) {
            client->items[k].append = false;
        }
        client->snapshot = (struct command_snapshot){.consistency = COMMAND_STRONG};
        begin(client, gateway);
    }
}

// Lists of every generation, as many at a time as fit; their number.
// LIMIT: where clocks were hours ahead, one at a time: what spans shards may be refused until the
// walls have caught up (CLOCK_AHEAD), since a snapshot above one leader's clock leads its wall.
static uint32_t final_lists(struct sim_txn_client *self) {
    const struct sim_txn_load *load = load_of(self);
    uint32_t most = self->world->plan.clock_hours ? 1 : SIM_TXN_KEYS_MAX;
    uint32_t lists = 0;
    self->kind = SIM_TXN_LISTS;
    self->wild = false;
    self->item_count = 0;
    for (uint32_t slot = 0; slot < SIM_TXN_SLOTS; slot++) {
        for (uint32_t g = 0; g <= load->generations[slot]; g++, lists++) {
            if (lists < self->final_at || self->item_count == most) { continue; }
            self->items[self->item_count++] =
                (struct sim_txn_item){.key = g * SIM_TXN_SLOTS + slot};
        }
    }
    return lists;
}

// The range at a place among those of every generation; their number.
static uint32_t final_range(struct sim_txn_client *self, uint32_t place) {
    const struct sim_txn_load *load = load_of(self);
    uint32_t ranges = 0;
    for (uint32_t group = 0; group < SIM_TXN_GROUPS; group++) {
        for (uint32_t g = 0; g <= load->range_generations[group]; g++, ranges++) {
            if (ranges != place) { continue; }
            self->kind = SIM_TXN_RANGES;
            self->ranges[0] = (struct sim_txn_range){.group = group, .generation = g};
            self->range_count = 1;
            self->range_at = 0;
            self->insert = false;
        }
    }
    return ranges;
}

static void final_step(struct sim_txn_client *self, struct sim_node *gateway) {
    uint32_t before = final_lists(self);
    if (self->final_at >= before) {
        before += final_range(self, self->final_at - before);
        uint32_t accounts = self->world->plan.clock_hours ? 0 : SIM_TXN_ACCOUNTS;
        if (self->final_at >= before + accounts) { return; }
        if (self->final_at >= before) { all_accounts(self); }
    }
    self->snapshot = (struct command_snapshot){.consistency = COMMAND_STRONG};
    begin(self, gateway);
}

static void on_step(struct sim_world *world, struct sim_event *event) {
    struct sim_txn_client *self =
        (struct sim_txn_client *)((char *)event - offsetof(struct sim_txn_client, step));
    if (self->phase == SIM_TXN_TALKING) {
        sim_txn__talk_step(self);
        return;
    }
    if ((world->clients_stop || self->watches) && !self->final) { return; }
    struct sim_node *gateway = draw_gateway(self);
    if (gateway == NULL) {
        sim_world_put(world, &self->step, world->now_ns + AGAIN_NS);
    } else if (self->final) {
        final_step(self, gateway);
    } else {
        random_step(self, gateway);
    }
}

// --- Life ---

void sim_txn_init(struct sim_txn_load *self, struct sim_world *world) {
    *self = (struct sim_txn_load){.world = world, .client_count = world->plan.txn_client_count};
    ASSERT(self->client_count <= SIM_TXN_CLIENTS_MAX);
    list_append_init(&self->history);
    list_append_init(&self->members);
    for (uint32_t i = 0; i < self->client_count; i++) {
        struct sim_txn_client *client = &self->clients[i];
        *client = (struct sim_txn_client){
            .world = world, .index = i, .process = ++self->last_process, .step = {.fire = on_step}};
        // Clients 1 and 2, for the first one does the last reads.
        client->watches = world->plan.storm == SIM_STORM_COMMITS && (i == 1 || i == 2);
        prng_init(&client->prng, hash64_u64(world->plan.seed ^ UINT64_C(0x74786e)) + i);
        prng_init(&client->talk.prng, hash64_u64(world->plan.seed ^ UINT64_C(0x74616c6b)) + i);
        prng_init(&client->tokens, hash64_u64(world->plan.seed ^ UINT64_C(0x746f6b)) + i);
        for (uint32_t c = 0; c < SIM_TXN_CALLS; c++) {
            sim_call_init(&client->calls[c].call, world);
            client->calls[c].call.done = call_done;
            client->calls[c].client = client;
        }
    }
}

void sim_txn_deinit(struct sim_txn_load *self) {
    for (uint32_t i = 0; i < self->client_count; i++) {
        sim_world_cancel(self->world, &self->clients[i].step);
        sim_txn__talk_close(&self->clients[i]);
        for (uint32_t c = 0; c < SIM_TXN_CALLS; c++) {
            sim_call_deinit(&self->clients[i].calls[c].call);
        }
    }
    list_append_deinit(&self->history);
    list_append_deinit(&self->members);
    mem_free(self->balances);
    mem_free(self->audit_ts);
}

void sim_txn_start(struct sim_txn_load *self) {
    for (uint32_t i = 0; i < self->client_count; i++) {
        sim_txn__think(&self->clients[i]);
    }
}

void sim_txn_finish(struct sim_txn_load *self) {
    if (self->client_count == 0) { return; }
    struct sim_txn_client *client = &self->clients[0];
    client->final = true;
    client->process = ++self->last_process;
    end(client, 0);
}

bool sim_txn_is_idle(const struct sim_txn_load *self) {
    for (uint32_t i = 0; i < self->client_count; i++) {
        const struct sim_txn_client *client = &self->clients[i];
        if (client->phase != SIM_TXN_IDLE || heap_has(&client->step.heap)) { return false; }
    }
    return true;
}

void sim_txn_stats_add(struct sim_txn_stats *self, const struct sim_txn_stats *more) {
    self->ok += more->ok;
    self->many += more->many;
    self->aborted += more->aborted;
    self->unknown += more->unknown;
    self->reads += more->reads;
    self->stale_reads += more->stale_reads;
    self->unread += more->unread;
    self->audits += more->audits;
    self->talks += more->talks;
}

// --- The judges ---

static void audit_history(struct sim_txn_load *self, const struct list_append_history *history,
                          const char *what) {
    char text[TEXT_SIZE];
    if (txn_judge_lists(history, (struct txn_judge_text){text, sizeof(text)})) { return; }
    sim_fail(self->world, "%s: %s", what, text);
}

static void audit_bank(struct sim_txn_load *self) {
    char text[TEXT_SIZE];
    struct txn_judge_bank bank = {.total = SIM_TXN_ACCOUNTS * SIM_TXN_BALANCE};
    for (uint32_t i = 0; i < self->audit_count; i++) {
        struct txn_judge_balances snapshot = {.ts = self->audit_ts[i],
                                              .balances = &self->balances[i * SIM_TXN_ACCOUNTS],
                                              .count = SIM_TXN_ACCOUNTS};
        if (txn_judge_bank(&bank, &snapshot, 1, (struct txn_judge_text){text, sizeof(text)})) {
            continue;
        }
        sim_fail(self->world, "bank: %s", text);
        return;
    }
}

void sim_txn_audit(struct sim_txn_load *self) {
    if (self->client_count == 0) { return; }
    audit_history(self, &self->history, "lists");
    audit_history(self, &self->members, "ranges");
    audit_bank(self);
}
