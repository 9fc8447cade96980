// SPDX-License-Identifier: Apache-2.0
// The client and its one thread, which sleeps in the completion queue: until an event, a deadline
// or a retry that is due. Another thread that starts a request with an earlier deadline wakes it
// with an empty batch on a call that is never sent.
#include "api/client/client_internal.h"
#include "api/rpc/core_init.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/shard/shard.h"

#include <grpc/slice.h>

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { LC_TIMEOUT_MS = 10000, LC_OUTSTANDING_MAX = 65536, LC_FIRST_MAP_PAUSE_NS = 20000000 };
static const uint64_t LC_MAP_INTERVAL_NS = UINT64_C(100000000);   // when it is known to be stale
static const uint64_t LC_MAP_AGE_NS_MAX = UINT64_C(10000000000);  // while requests are in flight

uint64_t lc__now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

gpr_timespec lc__timespec(uint64_t monotonic_ns) {
    if (monotonic_ns == UINT64_MAX) { return gpr_inf_future(GPR_CLOCK_MONOTONIC); }
    return (gpr_timespec){.tv_sec = (int64_t)(monotonic_ns / UINT64_C(1000000000)),
                          .tv_nsec = (int32_t)(monotonic_ns % UINT64_C(1000000000)),
                          .clock_type = GPR_CLOCK_MONOTONIC};
}

static void lc_random(void *out, size_t size) {
    ssize_t got = getrandom(out, size, 0);
    if (got != (ssize_t)size) { FATAL("the kernel gives no random bytes"); }
}

void lc_txn_id_make(uint8_t out[LC_TXN_ID_SIZE]) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint64_t random[2];
    lc_random(random, sizeof(random));
    uint64_t wall_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    struct txn_id id = txn_id_make(wall_ms, random);
    memcpy(out, id.v, LC_TXN_ID_SIZE);
}

bool lc__is_own_thread(const struct lc_client *self) {
    return self->thread_started && pthread_equal(pthread_self(), self->thread) != 0;
}

// --- Starting batches, and stopping that ---

void lc__start_batch(grpc_call *call, const grpc_op *ops, size_t count, struct lc_tag *tag) {
    atomic_fetch_add_explicit(&tag->order, 1, memory_order_release);
    grpc_call_error error = grpc_call_start_batch(call, ops, count, tag, NULL);
    ASSERT(error == GRPC_CALL_OK);
}

bool lc__may_start(struct lc_client *self) {
    if (self->closing) { return false; }
    self->starting++;
    return true;
}

void lc__start_cancelled(struct lc_client *self) {
    ASSERT(self->starting > 0);
    if (--self->starting == 0) { (void)pthread_cond_broadcast(&self->idle); }
}

void lc__started(struct lc_client *self) {
    (void)pthread_mutex_lock(&self->mu);
    lc__start_cancelled(self);
    (void)pthread_mutex_unlock(&self->mu);
}

void lc__wake_for(struct lc_client *self, uint64_t at_ns) {
    if (at_ns >= self->sleep_until_ns || self->waking || self->closing || lc__is_own_thread(self)) {
        return;
    }
    self->waking = true;
    // An empty batch only queues its tag.
    lc__start_batch(self->wake_call, NULL, 0, &self->wake_tag);
}

// --- The thread ---

static void lc_on_event(struct lc_client *self, const struct lc_tag *tag, bool ok) {
    (void)atomic_load_explicit(&tag->order, memory_order_acquire);
    switch (tag->event) {
    case LC_EVENT_STREAM_WRITTEN:
    case LC_EVENT_STREAM_READ:
    case LC_EVENT_STREAM_INITIAL:
    case LC_EVENT_STREAM_ENDED:
        lc__on_stream_event(tag->owner, tag->event, ok);
        break;
    case LC_EVENT_UNARY:
        lc__on_unary(tag->owner);
        break;
    case LC_EVENT_MAP:
        lc__on_map(tag->owner);
        break;
    case LC_EVENT_CONNECT:
        lc__on_connect(tag->owner);
        break;
    case LC_EVENT_WAKE:
        (void)pthread_mutex_lock(&self->mu);
        self->waking = false;
        (void)pthread_mutex_unlock(&self->mu);
        break;
    }
}

// What is done after each event; returns when to look again.
static uint64_t lc_after_event(struct lc_client *self) {
    uint64_t next_ns = lc__timers_run(self);
    lc__streams_flush(self);
    uint64_t now_ns = lc__now_ns();
    (void)pthread_mutex_lock(&self->mu);
    uint64_t age_ns = now_ns > self->map_at_ns ? now_ns - self->map_at_ns : 0;
    bool stale = (self->map_wanted && age_ns > LC_MAP_INTERVAL_NS) ||
                 (self->in_flight > 0 && age_ns > LC_MAP_AGE_NS_MAX);
    if (stale && !self->via_gateway) { lc__map_ask(self, now_ns); }
    // A request that came in meanwhile has set its own timer.
    const struct heap_node *first = heap_peek(&self->timers);
    if (first != NULL && first->key < next_ns) { next_ns = first->key; }
    self->sleep_until_ns = next_ns;
    (void)pthread_mutex_unlock(&self->mu);
    return next_ns;
}

static void *lc_run(void *arg) {
    struct lc_client *self = arg;
    uint64_t next_ns = UINT64_MAX;
    for (;;) {
        grpc_event event = grpc_completion_queue_next(self->cq, lc__timespec(next_ns), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) { return NULL; }
        self->in_event = true;
        if (event.type == GRPC_OP_COMPLETE) { lc_on_event(self, event.tag, event.success != 0); }
        next_ns = lc_after_event(self);
        self->in_event = false;
    }
}

// --- Making ---

static enum status lc_map_from(struct lc_client *self, struct lc_node *node, uint64_t deadline_ns,
                               struct err *err) {
    struct lc_blocking call = {
        .channel = node->channel, .path = "/lightcone.v1.Admin/MapGet", .deadline_ns = deadline_ns};
    grpc_byte_buffer *response = NULL;
    enum status st = lc__blocking_call(&call, &response, err);
    if (st != STATUS_OK) { return st; }
    grpc_slice flat = lc__flat(response);
    (void)pthread_mutex_lock(&self->mu);
    st = lc__map_take(self, lc__slice(&flat));
    (void)pthread_mutex_unlock(&self->mu);
    grpc_slice_unref(flat);
    grpc_byte_buffer_destroy(response);
    return st == STATUS_OK ? st : err_set(err, st, "the shard map does not decode");
}

// The first map, from the first address that tells one, round after round until the time is up.
static enum status lc_first_map(struct lc_client *self, struct err *err) {
    const uint32_t addresses = self->node_count;
    const uint64_t whole_ns = (uint64_t)self->timeout_ms * UINT64_C(1000000);
    const uint64_t until_ns = lc__now_ns() + whole_ns;
    enum status st = STATUS_UNAVAILABLE;
    for (uint32_t i = 0; lc__now_ns() < until_ns; i++) {
        uint64_t turn_ns = lc__now_ns() + whole_ns / addresses;
        st = lc_map_from(self, self->nodes[i % addresses], turn_ns < until_ns ? turn_ns : until_ns,
                         err);
        if (st != STATUS_UNAVAILABLE && st != STATUS_DEADLINE_EXCEEDED) { break; }
        const struct timespec pause = {.tv_nsec = LC_FIRST_MAP_PAUSE_NS};
        (void)nanosleep(&pause, NULL);
    }
    return st;
}

static struct lc_client *lc_make(const struct lc_config *config) {
    struct lc_client *self = mem_alloc(sizeof(*self));
    uint64_t seed = 0;
    lc_random(&seed, sizeof(seed));
    prng_init(&self->prng, seed);
    self->mode = config->mode;
    self->via_gateway = config->via_gateway;
    (void)snprintf(self->region, sizeof(self->region), "%s",
                   config->region != NULL ? config->region : "");
    (void)snprintf(self->zone, sizeof(self->zone), "%s", config->zone != NULL ? config->zone : "");
    self->timeout_ms = config->timeout_ms == 0 ? LC_TIMEOUT_MS : config->timeout_ms;
    self->outstanding_max =
        config->outstanding_max == 0 ? LC_OUTSTANDING_MAX : config->outstanding_max;
    int error = pthread_mutex_init(&self->mu, NULL);
    error |= pthread_cond_init(&self->idle, NULL);
    ASSERT(error == 0);
    self->cq = grpc_completion_queue_create_for_next(NULL);
    self->map = shard_map_create();
    self->sleep_until_ns = UINT64_MAX;
    self->wake_tag = (struct lc_tag){.event = LC_EVENT_WAKE, .owner = self};
    heap_init(&self->timers);
    buf_init(&self->message, 2 * LC_MESSAGE_SIZE_MAX);
    return self;
}

static enum status lc_check_place(const struct lc_config *config, struct err *err) {
    const char *places[] = {config->region, config->zone};
    for (uint32_t i = 0; i < 2; i++) {
        if (places[i] == NULL || strlen(places[i]) < LC_PLACE_SIZE) { continue; }
        return err_set(err, STATUS_INVALID_ARGUMENT, "%s: longer than %d bytes",
                       i == 0 ? "region" : "zone", LC_PLACE_SIZE - 1);
    }
    return STATUS_OK;
}

enum status lc_connect(const struct lc_config *config, struct lc_client **out_client,
                       struct err *err) {
    ASSERT(config->address_count > 0 && config->address_count <= LC_ADDRESSES_MAX);
    rpc_core_init();
    grpc_init();
    struct lc_client *self = lc_make(config);
    enum status st = lc_check_place(config, err);
    for (uint32_t i = 0; st == STATUS_OK && i < config->address_count; i++) {
        if (lc__node(self, config->addresses[i], 0) == NULL) {
            st = err_set(err, STATUS_INVALID_ARGUMENT, "the address is too long");
        }
    }
    if (st == STATUS_OK) { st = lc_first_map(self, err); }
    if (st == STATUS_OK) {
        self->wake_call =
            grpc_channel_create_call(self->nodes[0]->channel, NULL, 0, self->cq,
                                     grpc_slice_from_static_string("/lightcone.v1.Data/Read"), NULL,
                                     gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (pthread_create(&self->thread, NULL, lc_run, self) != 0) {
            st = err_set(err, STATUS_RESOURCE_EXHAUSTED, "cannot start a thread");
        } else {
            self->thread_started = true;
        }
    }
    if (st != STATUS_OK) {
        lc_close(self);
        return st;
    }
    *out_client = self;
    return STATUS_OK;
}

// --- Closing ---

// Cancels every call, so that its completions come.
static void lc_cancel_all(struct lc_client *self) {
    (void)pthread_mutex_lock(&self->mu);
    self->closing = true;
    while (self->starting > 0) {
        (void)pthread_cond_wait(&self->idle, &self->mu);
    }
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (self->nodes[i]->stream != NULL) {
            (void)grpc_call_cancel(self->nodes[i]->stream->call, NULL);
        }
    }
    for (struct lc_unary *unary = self->unaries; unary != NULL; unary = unary->next) {
        (void)grpc_call_cancel(unary->call, NULL);
    }
    (void)pthread_mutex_unlock(&self->mu);
}

static void lc_end_all(struct lc_client *self) {
    for (uint32_t i = 0; i < self->request_count; i++) {
        struct lc_request *request = self->requests[i];
        if (request->state == LC_FREE) { continue; }
        bool handed = request->state == LC_SENT && request->handed;
        if (handed && request->kind == LC_KIND_COMMIT) { request->maybe_applied = true; }
        (void)pthread_mutex_lock(&self->mu);
        lc__request_detach(request);
        (void)pthread_mutex_unlock(&self->mu);
        lc__request_end_status(request, STATUS_CANCELLED, "the client was closed");
    }
}

static void lc_free(struct lc_client *self) {
    for (uint32_t i = 0; i < self->request_count; i++) {
        buf_deinit(&self->requests[i]->body);
        buf_deinit(&self->requests[i]->route);
        buf_deinit(&self->requests[i]->low);
        buf_deinit(&self->requests[i]->high);
        mem_free(self->requests[i]);
    }
    for (uint32_t i = 0; i < self->node_count; i++) {
        lc__node_destroy(self->nodes[i]);
    }
    grpc_completion_queue_destroy(self->cq);
    heap_deinit(&self->timers);
    buf_deinit(&self->message);
    shard_map_destroy(self->map);
    mem_free(self->requests);
    mem_free(self->keyspaces);
    mem_free(self->rows.items);
    (void)pthread_cond_destroy(&self->idle);
    (void)pthread_mutex_destroy(&self->mu);
    mem_free(self);
    grpc_shutdown();
}

void lc_close(struct lc_client *self) {
    if (self == NULL) { return; }
    ASSERT(!lc__is_own_thread(self));
    lc_cancel_all(self);
    if (self->wake_call != NULL) { grpc_call_unref(self->wake_call); }
    grpc_completion_queue_shutdown(self->cq);
    if (self->thread_started) {
        (void)pthread_join(self->thread, NULL);
    } else {
        (void)grpc_completion_queue_next(self->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    }
    ASSERT(self->unaries == NULL);
    lc_end_all(self);
    lc_free(self);
}

void lc_stats(struct lc_client *self, struct lc_stats *out) {
    (void)pthread_mutex_lock(&self->mu);
    *out = self->stats;
    out->in_flight = self->in_flight;
    out->nodes = self->node_count;
    (void)pthread_mutex_unlock(&self->mu);
}

// --- Starting requests ---

static enum status lc_launch(struct lc_request *request, enum status encoded) {
    if (encoded != STATUS_OK) {
        lc__request_drop(request);
        return encoded;
    }
    lc__request_start(request);
    return STATUS_OK;
}

enum status lc_read(struct lc_client *self, const struct lc_read *read,
                    const struct lc_call *call) {
    struct lc_request *request = lc__request_new(self, LC_KIND_READ, call);
    if (request == NULL) { return STATUS_OVERLOADED; }
    return lc_launch(request, lc__encode_read(request, read));
}

enum status lc_commit(struct lc_client *self, const struct lc_commit *commit,
                      const struct lc_call *call) {
    struct lc_request *request = lc__request_new(self, LC_KIND_COMMIT, call);
    if (request == NULL) { return STATUS_OVERLOADED; }
    return lc_launch(request, lc__encode_commit(request, commit));
}

enum status lc_txn_status(struct lc_client *self, uint32_t keyspace, const uint8_t *txn,
                          struct slice key, const struct lc_call *call) {
    struct lc_request *request = lc__request_new(self, LC_KIND_TXN_STATUS, call);
    if (request == NULL) { return STATUS_OVERLOADED; }
    return lc_launch(request, lc__encode_txn_status(request, keyspace, txn, key));
}

enum status lc_txn_settle(struct lc_client *self, uint32_t keyspace, const uint8_t *txn,
                          struct slice key, const struct lc_call *call) {
    struct lc_request *request = lc__request_new(self, LC_KIND_TXN_STATUS, call);
    if (request == NULL) { return STATUS_OVERLOADED; }
    enum status encoded = lc__encode_txn_status(request, keyspace, txn, key);
    if (encoded == STATUS_OK) { encoded = lc__encode_settle(request); }
    return lc_launch(request, encoded);
}

// --- Sessions ---

uint64_t lc_session_token(struct lc_client *self) {
    (void)pthread_mutex_lock(&self->mu);
    uint64_t token = self->session;
    (void)pthread_mutex_unlock(&self->mu);
    return token;
}

void lc_session_raise(struct lc_client *self, uint64_t token) {
    (void)pthread_mutex_lock(&self->mu);
    if (token > self->session) { self->session = token; }
    (void)pthread_mutex_unlock(&self->mu);
}
