// SPDX-License-Identifier: Apache-2.0
// The life of one transaction:
//
//   start --> read --> commit --> committed: counted, the slot's next one starts
//               ^         |
//               +---------+ aborted: again, with the same keys and a new id
//
// Plans without reads begin at the commit, those that only read end before it.
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/bench/program.h"
#include "tests/bench/txn_load.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#define ZIPF_EXPONENT 0.99
// A prime: ranks are spread over the keys, and so over the shards.
#define ZIPF_SPREAD UINT64_C(2654435761)

// --- Keys ---

void txn_ops_prepare(struct txn_load *load) {
    const uint32_t count = load->config.key_count;
    double sum = 0;
    load->zipf = mem_alloc_array(count, sizeof(load->zipf[0]));
    for (uint32_t i = 0; i < count; i++) {
        sum += 1 / pow((double)i + 1, ZIPF_EXPONENT);
        load->zipf[i] = sum;
    }
    for (uint32_t i = 0; i < count; i++) {
        load->zipf[i] /= sum;
    }
}

static uint32_t zipf_key(struct txn_load *load) {
    const double at = (double)(prng_next(&load->prng) >> 11) * 0x1p-53;
    uint32_t low = 0;
    uint32_t high = load->config.key_count - 1;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (load->zipf[middle] < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (uint32_t)(low * ZIPF_SPREAD % load->config.key_count);
}

static uint32_t key_of_shard(struct txn_load *load, uint32_t shard) {
    const uint32_t size = load->config.key_count / load->config.shards;
    return shard * size + (uint32_t)prng_below(&load->prng, size);
}

static bool is_taken(const struct txn_slot *slot, uint32_t count, uint32_t key) {
    for (uint32_t i = 0; i < count; i++) {
        if (slot->keys[i] == key) { return true; }
    }
    return false;
}

static uint32_t choose_shard(struct txn_load *load) {
    const struct txn_config *config = &load->config;
    uint32_t shard = 0;
    do {
        shard = (uint32_t)prng_below(&load->prng, config->shards);
    } while (config->only != 0 && (config->only >> shard & 1) == 0);
    return shard;
}

static uint32_t choose_key(struct txn_load *load, uint32_t place, uint32_t shard) {
    const struct txn_plan *plan = load->config.plan;
    if (plan->hot) { return place * (load->config.key_count / plan->key_count); }
    return plan->zipf ? zipf_key(load) : key_of_shard(load, shard);
}

// Uniform keys lie in different shards.
static void choose_keys(struct txn_load *load, struct txn_slot *slot) {
    const uint32_t shards = load->config.shards;
    uint32_t shard = choose_shard(load);
    for (uint32_t i = 0; i < load->config.plan->key_count; i++) {
        do {
            slot->keys[i] = choose_key(load, i, shard);
        } while (is_taken(slot, i, slot->keys[i]));
        if (shards > 1) {
            shard = (shard + 1 + (uint32_t)prng_below(&load->prng, shards - 1)) % shards;
        }
    }
}

// --- Steps ---

static void send_step(struct txn_load *load, struct txn_slot *slot, bool commit) {
    slot->committing = commit;
    if (commit) {
        txn_encode_commit(load, slot);
    } else {
        txn_encode_read(load, slot);
    }
    // etcd reads by Txn as well.
    calls_start(load->calls, slot->number, slot->number,
                commit ? TXN_METHOD_COMMIT : TXN_METHOD_READ, buf_slice(&load->request));
}

static void begin(struct txn_load *load, struct txn_slot *slot) {
    send_step(load, slot, load->config.plan->read_count == 0);
}

static void preload_next(struct txn_load *load, struct txn_slot *slot) {
    const uint32_t first = load->preload_next;
    if (first >= load->config.key_count) {
        atomic_fetch_sub(&load->running, 1);
        return;
    }
    const uint32_t left = load->config.key_count - first;
    const uint32_t count = left < TXN_PRELOAD_KEYS ? left : TXN_PRELOAD_KEYS;
    load->preload_next += count;
    txn_encode_preload(load, first, count);
    slot->committing = true;
    calls_start(load->calls, slot->number, slot->number, TXN_METHOD_COMMIT,
                buf_slice(&load->request));
}

void txn_ops_start(struct txn_load *load, struct txn_slot *slot) {
    if (atomic_load(&load->preloading)) {
        preload_next(load, slot);
    } else if (atomic_load(&load->stopping)) {
        atomic_fetch_sub(&load->running, 1);
    } else {
        choose_keys(load, slot);
        slot->started_ns = program_now_ns();
        begin(load, slot);
    }
}

// Only of a load with one slot: it holds up all others.
static void pace(const struct txn_load *load) {
    if (load->config.pace_us == 0) { return; }
    struct timespec time = {.tv_nsec = (long)load->config.pace_us * 1000};
    (void)nanosleep(&time, NULL);
}

static void finished(struct txn_load *load, struct txn_slot *slot) {
    if (!atomic_load(&load->preloading)) { load->done_total++; }
    if (atomic_load_explicit(&load->measuring, memory_order_relaxed)) {
        load->done++;
        histogram_record(&load->latency, program_now_ns() - slot->started_ns);
    }
    pace(load);
    txn_ops_start(load, slot);
}

static void failed(struct txn_load *load, struct txn_slot *slot, int code, struct slice message) {
    if (load->errors_total++ == 0) {
        (void)fprintf(stderr, "txn_load: code %d: %.*s\n", code, (int)message.size,
                      (const char *)message.data);
    }
    load->errors += atomic_load(&load->measuring) ? 1 : 0;
    txn_ops_start(load, slot);
}

static void on_read(struct txn_load *load, struct txn_slot *slot, struct slice response) {
    txn_decode_read(load, response, &slot->read);
    if (!load->config.plan->read_only) {
        send_step(load, slot, true);
        return;
    }
    if (atomic_load(&load->measuring)) {
        histogram_record(&load->age, slot->read.age_us * 1000);
        if (slot->read.method < TXN_CERTIFICATES) { load->certificates[slot->read.method]++; }
    }
    finished(load, slot);
}

static void on_commit(struct txn_load *load, struct txn_slot *slot, bool committed) {
    const bool measuring = atomic_load(&load->measuring);
    load->tries += measuring ? 1 : 0;
    load->aborts += measuring && !committed ? 1 : 0;
    if (committed) {
        finished(load, slot);
    } else {
        begin(load, slot);
    }
}

void txn_ops_done(void *ctx, uint32_t number, int code, struct slice response,
                  struct slice message) {
    struct txn_load *load = ctx;
    struct txn_slot *slot = &load->slots[number];
    (void)pthread_mutex_lock(&load->lock);
    if (code != 0 && (code != TXN_CODE_ABORTED || !slot->committing)) {
        failed(load, slot, code, message);
    } else if (slot->committing) {
        on_commit(load, slot, code == 0 && txn_decode_commit(load, response));
    } else {
        on_read(load, slot, response);
    }
    (void)pthread_mutex_unlock(&load->lock);
}
