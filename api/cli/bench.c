// SPDX-License-Identifier: Apache-2.0
// A closed loop measures how fast the cluster answers so many clients that each wait for their
// answer. It does not measure what an open stream of arrivals would suffer while the cluster
// pauses: fewer requests meet the pause than would have arrived (coordinated omission). The longest
// pause is therefore reported beside the percentiles.
#include "api/cli/bench.h"

#include "api/cli/progress.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

#include <string.h>
#include <time.h>

enum { BENCH_POOL_SIZE = 2 * BENCH_VALUE_SIZE_MAX, BENCH_TICK_MS = 100, BENCH_SEED = 1 };

struct bench_slot {
    struct bench *bench;
    struct prng prng;
    uint64_t begin_ns;
    bool is_put;
    uint8_t key[BENCH_KEY_SIZE];
    struct slice value;  // of the put in flight; into the pool
};

void bench_key(uint64_t i, uint8_t out[BENCH_KEY_SIZE]) {
    uint64_t spread = hash64_u64(i + 1);
    for (int k = 0; k < BENCH_KEY_SIZE; k++) {
        out[k] = (uint8_t)(spread >> (56 - 8 * k));
    }
}

struct slice bench_value(const struct bench *self, struct prng *prng) {
    uint64_t offset = prng_below(prng, BENCH_POOL_SIZE - BENCH_VALUE_SIZE_MAX);
    return slice_make(self->pool + offset, self->options.value_size);
}

void bench_init(struct bench *self, const struct bench_options *options) {
    ASSERT(options->outstanding > 0 && options->outstanding <= BENCH_OUTSTANDING_MAX);
    ASSERT(options->value_size <= BENCH_VALUE_SIZE_MAX);
    ASSERT(options->keys > 0);
    struct prng prng;
    prng_init(&prng, BENCH_SEED);
    memset(self, 0, sizeof(*self));
    self->options = *options;
    histogram_init(&self->result.put);
    histogram_init(&self->result.get);
    self->pool = mem_alloc(BENCH_POOL_SIZE);
    for (size_t i = 0; i < BENCH_POOL_SIZE; i += sizeof(uint64_t)) {
        uint64_t bits = prng_next(&prng);
        memcpy(self->pool + i, &bits, sizeof(bits));
    }
    self->slots = mem_alloc_array(options->outstanding, sizeof(*self->slots));
    for (uint32_t i = 0; i < options->outstanding; i++) {
        self->slots[i].bench = self;
        prng_init(&self->slots[i].prng, prng_next(&prng));
    }
    // Keys are a permutation of numbers: runs that begin in different places meet only if they lie
    // closer than they are long, among 2^64.
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    atomic_store_explicit(&self->unique_next,
                          hash64_u64((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec),
                          memory_order_relaxed);
    (void)pthread_mutex_init(&self->mu, NULL);
    (void)pthread_cond_init(&self->idle, NULL);
}

void bench_deinit(struct bench *self) {
    (void)pthread_cond_destroy(&self->idle);
    (void)pthread_mutex_destroy(&self->mu);
    mem_free(self->slots);
    mem_free(self->pool);
}

// --- The loop: on the client's thread, but for each slot's first request

static void done(void *ctx, const struct lc_result *result);

static enum status start_put(struct bench_slot *slot, struct slice key,
                             const struct lc_call *call) {
    struct bench *self = slot->bench;
    slot->value = bench_value(self, &slot->prng);
    struct lc_mutation mutation = {.kind = LC_PUT, .key = key, .value = slot->value};
    struct lc_commit commit = {
        .keyspace = self->options.keyspace, .mutations = &mutation, .mutation_count = 1};
    return lc_commit(self->options.client, &commit, call);
}

static enum status start_get(struct bench_slot *slot, struct slice key,
                             const struct lc_call *call) {
    struct lc_read read = {.keyspace = slot->bench->options.keyspace, .keys = &key, .key_count = 1};
    return lc_read(slot->bench->options.client, &read, call);
}

static void leave(struct bench *self) {
    // Acquire and release: who sees 0 sees everything the callbacks wrote.
    if (atomic_fetch_sub_explicit(&self->in_flight, 1, memory_order_acq_rel) != 1) { return; }
    (void)pthread_mutex_lock(&self->mu);
    (void)pthread_cond_signal(&self->idle);
    (void)pthread_mutex_unlock(&self->mu);
}

static uint64_t next_key(struct bench_slot *slot) {
    struct bench *self = slot->bench;
    if (!self->options.unique) { return prng_below(&slot->prng, self->options.keys); }
    // Only a number that nobody else gets.
    return atomic_fetch_add_explicit(&self->unique_next, 1, memory_order_relaxed);
}

static void start(struct bench_slot *slot) {
    struct bench *self = slot->bench;
    bench_key(next_key(slot), slot->key);
    slot->is_put = self->options.op == BENCH_PUT ||
                   (self->options.op == BENCH_MIXED && prng_chance(&slot->prng, 1, 2));
    slot->begin_ns = progress_now_ns();
    struct lc_call call = {.timeout_ms = self->options.timeout_ms, .done = done, .ctx = slot};
    struct slice bytes = slice_make(slot->key, sizeof(slot->key));
    enum status st = slot->is_put ? start_put(slot, bytes, &call) : start_get(slot, bytes, &call);
    // The client's own bound is above the slots and the arguments are ours: it takes every request.
    ASSERT(st == STATUS_OK);
}

static void note_error(struct bench *self, const struct lc_result *result) {
    if (result->outcome == LC_UNKNOWN) {
        self->result.unknown++;
    } else {
        self->result.aborted++;
    }
    if (self->result.first_error.status == STATUS_OK) {
        (void)err_set(&self->result.first_error, result->status, "%.*s", (int)result->message.size,
                      (const char *)result->message.data);
    }
}

static void record(struct bench *self, const struct bench_slot *slot,
                   const struct lc_result *result, uint64_t now) {
    if (result->outcome != LC_COMMITTED) {
        note_error(self, result);
        return;
    }
    uint64_t pause = now - self->last_good_ns;
    self->last_good_ns = now;
    if (pause > self->result.longest_pause_ns) { self->result.longest_pause_ns = pause; }
    histogram_record(slot->is_put ? &self->result.put : &self->result.get, now - slot->begin_ns);
    // Only a number to show.
    atomic_fetch_add_explicit(&self->operations, 1, memory_order_relaxed);
}

static void done(void *ctx, const struct lc_result *result) {
    struct bench_slot *slot = ctx;
    struct bench *self = slot->bench;
    uint64_t now = progress_now_ns();
    if (result->outcome == LC_COMMITTED && slot->is_put && self->options.journal != NULL) {
        journal_add(self->options.journal, slice_make(slot->key, sizeof(slot->key)), slot->value);
    }
    if (now >= self->begin_ns && now < self->end_ns) { record(self, slot, result, now); }
    if (now < self->end_ns) {
        start(slot);
    } else {
        leave(self);
    }
}

// --- Around it

static void tick(struct bench *self) {
    struct timespec pause = {.tv_nsec = BENCH_TICK_MS * 1000000L};
    (void)nanosleep(&pause, NULL);
    uint64_t now = progress_now_ns();
    uint64_t warmup = self->options.warmup_ms * 1000000;
    uint64_t all = self->end_ns - (self->begin_ns - warmup);
    uint64_t past = now - (self->begin_ns - warmup);
    if (self->options.progress != NULL) {
        self->options.progress(self->options.ctx,
                               atomic_load_explicit(&self->operations, memory_order_relaxed),
                               (uint32_t)(past * 1000 / all));
    }
}

void bench_run(struct bench *self) {
    self->begin_ns = progress_now_ns() + self->options.warmup_ms * 1000000;
    self->end_ns = self->begin_ns + self->options.measured_ms * 1000000;
    self->last_good_ns = self->begin_ns;
    atomic_store_explicit(&self->in_flight, self->options.outstanding, memory_order_release);
    for (uint32_t i = 0; i < self->options.outstanding; i++) {
        start(&self->slots[i]);
    }
    while (progress_now_ns() < self->end_ns) {
        tick(self);
    }
    (void)pthread_mutex_lock(&self->mu);
    while (atomic_load_explicit(&self->in_flight, memory_order_acquire) > 0) {
        (void)pthread_cond_wait(&self->idle, &self->mu);
    }
    (void)pthread_mutex_unlock(&self->mu);
    uint64_t tail = self->end_ns - self->last_good_ns;
    if (tail > self->result.longest_pause_ns) { self->result.longest_pause_ns = tail; }
    self->result.elapsed_ns = self->options.measured_ms * 1000000;
}
