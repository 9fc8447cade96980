// SPDX-License-Identifier: Apache-2.0
// Interactive transactions, as a node's stream would carry them out: some reads one after the
// other at the snapshot of the first, writes that stay in a buffer and lie over what is read later,
// keys that others are asked to leave alone, and one commit of it all through the same node, which
// may be gone by then. What the buffer does not decide is asked again now and then, and must not
// have changed.
#include "dataplane/base/assert.h"
#include "tests/sim/clients_txn_internal.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <string.h>

#define MS        UINT64_C(1000000)
#define BYTES_MAX ((size_t)1 << 20)

// --- The end ---

void sim_txn__talk_close(struct sim_txn_client *self) {
    struct sim_txn_talk *talk = &self->talk;
    if (!talk->on) { return; }
    talk->on = false;
    gateway_hold_end(&talk->hold);
    interactive_deinit(&talk->buffer);
    if (talk->node->up) { sim_node_touch(talk->node); }
}

static void abandon(struct sim_txn_client *self) {
    sim_txn__talk_close(self);
    self->world->txns.stats.unread++;
    sim_txn__think(self);
}

void sim_txn_lost(struct sim_txn_load *self, const struct sim_node *node, bool fell) {
    for (uint32_t i = 0; i < self->client_count; i++) {
        struct sim_txn_client *client = &self->clients[i];
        if (!client->talk.on || client->talk.node != node) { continue; }
        // What fell is not to be spoken to.
        if (fell) { client->talk.hold.gateway = NULL; }
        gateway_hold_end(&client->talk.hold);
        if (!client->talk.holding) { continue; }  // a call, or an event, will find out
        client->talk.holding = false;
        abandon(client);
    }
}

static bool is_there(const struct sim_txn_client *self) {
    const struct sim_txn_talk *talk = &self->talk;
    return talk->node->up && talk->node->boot == talk->boot && !self->world->clients_stop;
}

// --- Reads ---

static bool is_asked(const struct sim_txn_client *self, uint32_t place) {
    uint8_t space[SIM_TXN_KEY_SIZE];
    struct slice value;
    const struct slice key = sim_txn__key(self, &self->items[place], space);
    return interactive_find(&self->talk.buffer, key, &value) == INTERACTIVE_UNTOUCHED;
}

// The items from read_from to read_to that the buffer does not decide.
static uint32_t choose_asked(struct sim_txn_client *self) {
    struct sim_txn_talk *talk = &self->talk;
    talk->asked_count = 0;
    for (uint32_t i = talk->read_from; i < talk->read_to; i++) {
        if (is_asked(self, i)) { talk->asked[talk->asked_count++] = i; }
    }
    return talk->asked_count;
}

static void ask(struct sim_txn_client *self) {
    struct sim_txn_talk *talk = &self->talk;
    struct hlc_clock *hlc = node_core_hlc(talk->node->core);
    self->snapshot = (struct command_snapshot){.consistency = COMMAND_AT, .at = talk->snapshot};
    if (talk->snapshot.v == 0) {
        self->snapshot = (struct command_snapshot){
            .consistency = COMMAND_STRONG,
            .at_least = hlc_now(hlc, node_core_wall_us(talk->node->core))};
    }
    self->phase = SIM_TXN_READING;
    self->calls_left = 1;
    sim_txn__encode_some(self, &self->calls[0].call, talk->asked, talk->asked_count);
    sim_txn__send(self, 0, talk->node);
}

static void on_held(struct gateway_hold *hold, const struct session_result *result) {
    struct sim_txn_talk *talk =
        (struct sim_txn_talk *)(void *)((char *)hold - offsetof(struct sim_txn_talk, hold));
    struct sim_txn_client *self = talk->client;
    if (!talk->holding) { return; }
    talk->holding = false;
    // Not from within: the hold is used when this returns.
    talk->refused = result->status != STATUS_OK;
    self->phase = SIM_TXN_TALKING;
    sim_world_put(self->world, &self->step, self->world->now_ns);
}

static void hold(struct sim_txn_client *self) {
    struct sim_txn_talk *talk = &self->talk;
    uint8_t space[SIM_TXN_KEYS_MAX][SIM_TXN_KEY_SIZE];
    struct slice keys[SIM_TXN_KEYS_MAX];
    for (uint32_t i = 0; i < talk->asked_count; i++) {
        keys[i] = sim_txn__key(self, &self->items[talk->asked[i]], space[i]);
    }
    const uint64_t deadline =
        sim_node_mono_ns(talk->node) + prng_between(&talk->prng, 100 * MS, 3000 * MS);
    talk->holding = true;
    talk->held = true;
    self->phase = SIM_TXN_HOLDING;
    const enum status st = gateway_hold_take(&talk->hold, keys, talk->asked_count, deadline);
    ASSERT(st == STATUS_OK);
    sim_node_touch(talk->node);
}

// --- What was read ---

// A list that was read before, at the same snapshot.
static void check_repeats(struct sim_txn_client *self, const struct sim_txn_item *was,
                          const struct sim_txn_item *is) {
    const size_t size = was->count * sizeof(was->list[0]);
    const bool same = hlc_equal(was->version, is->version) && was->count == is->count &&
                      memcmp(was->list, is->list, size) == 0;
    if (same) { return; }
    sim_fail(self->world,
             "client %" PRIu32 " read list %" PRIu32 " twice at %" PRIu64 ": of %" PRIu64
             ", then of %" PRIu64,
             self->index, was->key, self->read_ts.v, was->version.v, is->version.v);
}

static bool write_item(struct sim_txn_client *self, uint32_t place) {
    struct sim_txn_item *item = &self->items[place];
    uint8_t space[SIM_TXN_KEY_SIZE];
    uint8_t value[SIM_TXN_VALUE_SIZE_MAX];
    struct interactive_refusal why = {0};
    if (item->count >= SIM_TXN_LIST_MAX) { item->append = false; }
    if (!item->append) { return true; }
    const struct command_mutation put = {.kind = COMMAND_PUT,
                                         .key = sim_txn__key(self, item, space),
                                         .value = sim_txn__value(self, item, value)};
    return interactive_write(&self->talk.buffer, &put, &why) == STATUS_OK;
}

static bool take_rows(struct sim_txn_client *self, struct slice payload) {
    struct sim_txn_talk *talk = &self->talk;
    struct codec_reader r;
    codec_reader_init(&r, payload);
    for (uint32_t i = 0; i < talk->asked_count; i++) {
        struct sim_txn_item *item = &self->items[talk->asked[i]];
        struct sim_txn_item is = {.key = item->key};
        struct interactive_refusal why = {0};
        uint8_t space[SIM_TXN_KEY_SIZE];
        if (!sim_txn__decode_row(self, &r, &is)) { return false; }
        if (talk->again) { check_repeats(self, item, &is); }
        memcpy(item->list, is.list, sizeof(is.list));
        item->count = is.count;
        item->version = is.version;
        const struct slice key = sim_txn__key(self, item, space);
        if (interactive_note_key(&talk->buffer, key, &why) != STATUS_OK) { return false; }
    }
    for (uint32_t i = 0; !talk->again && i < talk->asked_count; i++) {
        if (!write_item(self, talk->asked[i])) { return false; }
    }
    return true;
}

void sim_txn__talk_read_done(struct sim_txn_client *self, const struct session_result *result) {
    struct sim_txn_talk *talk = &self->talk;
    if (result == NULL || result->status != STATUS_OK) {
        abandon(self);
        return;
    }
    const struct hlc_ts ts = result->certificate.timestamp;
    if (talk->snapshot.v == 0) {
        talk->snapshot = ts;
        self->read_ts = ts;
    }
    if (!sim_txn__keeps_promise(self, ts)) { return; }
    if (!take_rows(self, result->payload)) {
        sim_fail(self->world, "client %" PRIu32 ": a step of a transaction is refused",
                 self->index);
        return;
    }
    self->phase = SIM_TXN_TALKING;
    sim_world_put(self->world, &self->step,
                  self->world->now_ns + prng_between(&talk->prng, 0, talk->pause_ns_max));
}

// --- The commit ---

static bool encode_commit(struct sim_txn_client *self, struct sim_call *call) {
    struct command_commit commit;
    if (interactive_commit(&self->talk.buffer, &commit) != STATUS_OK) { return false; }
    if (commit.mutation_count == 0) { return false; }
    commit.txn = self->txn;
    commit.snapshot = commit.read_count > 0 ? self->talk.snapshot : HLC_ZERO;
    sim_txn__route(self, call);
    sim_txn__put_commit(call, &commit);
    return true;
}

static void commit(struct sim_txn_client *self) {
    struct sim_txn_talk *talk = &self->talk;
    struct sim_call *call = &self->calls[0].call;
    if (!encode_commit(self, call)) {
        sim_txn__talk_close(self);
        sim_txn__finish_read(self);
        return;
    }
    sim_txn__commits(self);
    self->calls_left = 1;
    sim_txn__send(self, 0, talk->node);
    call->call.begin = talk->begin;
}

// --- Steps ---

void sim_txn__talk_step(struct sim_txn_client *self) {
    struct sim_txn_talk *talk = &self->talk;
    if (!is_there(self) || talk->refused) {
        abandon(self);
        return;
    }
    if (talk->held) {  // asked for, and to be read now
        talk->held = false;
        ask(self);
        return;
    }
    talk->again = talk->read_to > 0 && prng_chance(&talk->prng, 1, 4);
    if (talk->again) {
        talk->read_from = 0;
        if (choose_asked(self) > 0) {
            ask(self);
            return;
        }
        talk->again = false;
    }
    if (talk->read_to == self->item_count) {
        commit(self);
        return;
    }
    talk->read_from = talk->read_to;
    const uint32_t left = self->item_count - talk->read_to;
    talk->read_to += (uint32_t)prng_between(&talk->prng, 1, left < 2 ? left : 2);
    const uint32_t asked = choose_asked(self);
    ASSERT(asked > 0);
    if (talk->for_update) {
        hold(self);
    } else {
        ask(self);
    }
}

// Instead of what was drawn: the same lists, one after the other.
bool sim_txn__talk_begin(struct sim_txn_client *self, struct sim_node *node) {
    struct sim_txn_talk *talk = &self->talk;
    const uint32_t percent = self->world->plan.talk_percent;
    if (self->kind != SIM_TXN_LISTS || !prng_chance(&talk->prng, percent, 100)) { return false; }
    struct prng prng = talk->prng;
    *talk = (struct sim_txn_talk){.client = self, .on = true, .node = node, .boot = node->boot};
    talk->prng = prng;
    talk->for_update = prng_chance(&talk->prng, 1, 3);
    talk->pause_ns_max = prng_chance(&talk->prng, 1, 2) ? 0 : prng_between(&talk->prng, 1, 60) * MS;
    talk->begin = hlc_now(node_core_hlc(node->core), node_core_wall_us(node->core));
    interactive_init(&talk->buffer, BYTES_MAX);
    gateway_hold_init(&talk->hold, node_core_gateway(node->core));
    self->wild = false;
    self->txn = sim_txn__id(self);
    talk->hold.txn = self->txn;
    talk->hold.begin = talk->begin;
    talk->hold.done = on_held;
    sim_txn__talk_step(self);
    return true;
}
