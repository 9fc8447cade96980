// SPDX-License-Identifier: Apache-2.0
// Lightcone through its own client library.
#include "api/client/lightcone.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/bench/load.h"

#include <stdio.h>
#include <string.h>

struct load_slot {
    struct load *load;
    uint32_t number;
    uint32_t rows_expected;
    uint32_t calls;  // in flight
    bool failed;     // one of them
};

struct load_state {
    struct lc_client *client;
    uint32_t keyspace;
    struct load_slot *slots;
};

static bool load_lightcone_open(struct load *load, const struct load_config *config) {
    struct load_state *state = mem_alloc(sizeof(*state));
    struct err err = {0};
    struct lc_config client = {.addresses = config->addresses,
                               .address_count = config->address_count,
                               .mode = strcmp(config->mode, "unary") == 0 ? LC_UNARY : LC_BATCH,
                               .via_gateway = config->via_gateway,
                               .region = config->region};
    if (lc_connect(&client, &state->client, &err) != STATUS_OK ||
        lc_keyspace(state->client, config->keyspace, &state->keyspace, &err) != STATUS_OK) {
        (void)fprintf(stderr, "load: %s\n", err.message);
        return false;
    }
    state->slots = mem_alloc_array(config->outstanding, sizeof(*state->slots));
    for (uint32_t i = 0; i < config->outstanding; i++) {
        state->slots[i] = (struct load_slot){.load = load, .number = i};
    }
    load->state = state;
    return true;
}

static void load_lightcone_done(void *ctx, const struct lc_result *result) {
    struct load_slot *slot = ctx;
    uint32_t found = 0;
    for (uint32_t i = 0; i < result->row_count; i++) {
        if (result->rows[i].found) { found++; }
    }
    if (result->status != STATUS_OK) { slot->failed = true; }
    ASSERT(slot->calls > 0);
    if (--slot->calls > 0) { return; }
    load_done(slot->load, slot->number, !slot->failed, found == slot->rows_expected);
}

static void load_commit(const struct load_state *state, struct load_slot *slot,
                        const struct slice *keys, uint32_t count, struct slice value) {
    const struct lc_call call = {.done = load_lightcone_done, .ctx = slot};
    struct lc_mutation mutations[LOAD_OPS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        mutations[i] = (struct lc_mutation){.kind = LC_PUT, .key = keys[i], .value = value};
    }
    const struct lc_commit commit = {
        .keyspace = state->keyspace, .mutations = mutations, .mutation_count = count};
    const enum status st = lc_commit(state->client, &commit, &call);
    ASSERT(st == STATUS_OK);  // outstanding is below the client's bound
}

static void load_lightcone_start(struct load *load, uint32_t number) {
    struct load_state *state = load->state;
    struct load_slot *slot = &state->slots[number];
    struct load_operation operation;
    if (!load_next(load, &operation)) {
        atomic_fetch_sub(&load->running, 1);
        return;
    }
    const bool reads = operation.kind == LOAD_GET || operation.kind == LOAD_GET10;
    const uint32_t calls = operation.kind == LOAD_PAIR ? operation.key_count : 1;
    slot->rows_expected = reads ? operation.key_count : 0;
    slot->calls = calls;
    slot->failed = false;
    if (reads) {
        const struct lc_call call = {.done = load_lightcone_done, .ctx = slot};
        const struct lc_read read = {
            .keyspace = state->keyspace, .keys = operation.keys, .key_count = operation.key_count};
        const enum status st = lc_read(state->client, &read, &call);
        ASSERT(st == STATUS_OK);
        return;
    }
    for (uint32_t i = 0; i < calls; i++) {
        load_commit(state, slot, operation.keys + i, operation.key_count / calls, operation.value);
    }
}

static void load_lightcone_close(struct load *load) {
    struct load_state *state = load->state;
    struct lc_stats stats;
    lc_stats(state->client, &stats);
    (void)fprintf(stderr, "load: %llu requests, %llu messages, %llu retries\n",
                  (unsigned long long)stats.requests, (unsigned long long)stats.messages,
                  (unsigned long long)stats.retries);
    lc_close(state->client);
    mem_free(state->slots);
    mem_free(state);
}

const struct load_driver load_lightcone = {
    .open = load_lightcone_open, .start = load_lightcone_start, .close = load_lightcone_close};
