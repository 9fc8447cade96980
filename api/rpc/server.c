// SPDX-License-Identifier: Apache-2.0
// The server: completion queues, their threads, accepting, refusing and stopping. One poller is the
// default: it reads, decodes and posts to a loop, and a second one costs more in handing the epoll
// set back and forth than it gains until there are more cores than loops (measured: 16 us a call
// with one, 23 us with two). Every poller has its own queue, and accepts are posted on all of them.
#include "api/rpc/core_init.h"
#include "api/rpc/rpc_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "dataplane/loop/clock.h"

#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

// Few accepts stay posted: each is an outstanding tag, and a core built with its assertions on, as
// Debian's is, looks for every completed tag in the list of all of them (measured: 3 us a call with
// 256 accepts for each of 20 methods). What finds none waits in the core until the next is posted,
// which accepting does first.
enum {
    RPC_ACCEPT_COUNT = 16,
    RPC_ACCEPT_COUNT_UNKNOWN = 4,
    RPC_CALLS_MAX = 16384,
    RPC_STREAMS_MAX = 4096,
    RPC_STREAM_BYTES_MAX = 32 << 20,
    RPC_RETRY_AFTER_MS = 50,
};
static const uint64_t RPC_BYTES_MAX = UINT64_C(256) << 20;

// --- Accepting ---

static void rpc_refuse_overload(struct rpc_call *call) {
    struct rpc_server *server = call->server;
    MARK("rpc.call.refused");
    atomic_fetch_add_explicit(&server->refused, 1, memory_order_relaxed);
    struct rpc_error error = {.status = STATUS_OVERLOADED,
                              .limit = server->config.calls_max,
                              .retry_after_ms = server->config.retry_after_ms,
                              .message = SLICE_LITERAL("too many calls or bytes in flight")};
    rpc__refuse(call, &error);
}

static void rpc_refuse_payload(struct rpc_call *call, enum status st) {
    struct rpc_error error = {.status = st};
    if (st == STATUS_NOT_SUPPORTED) {
        error.message = SLICE_LITERAL("compressed messages are not accepted");
    } else {
        error.message = SLICE_LITERAL("the request has no message, or one beyond the size limit");
        error.limit = RPC_MESSAGE_SIZE_MAX;
    }
    rpc__refuse(call, &error);
}

static bool rpc_is_overloaded(const struct rpc_server *server, uint64_t in_flight, uint64_t bytes) {
    return in_flight > server->config.calls_max || bytes > server->config.bytes_max;
}

// A stream is listed once it has started, so that nobody drains what does not exist yet; one that
// starts while rpc_stop walks the list is drained here.
static void rpc_open_stream(struct rpc_call *call, struct slice request) {
    const struct rpc_method *method = &call->slot->method;
    rpc_call_ref(call);
    method->handler->start(method->ctx, call, request);
    rpc__stream_add(call);
    if (atomic_load_explicit(&call->server->stopping, memory_order_acquire)) {
        rpc__stream_drain(call);
    }
    rpc_call_unref(call);
}

static void rpc_open(struct rpc_call *call, uint64_t in_flight) {
    struct rpc_server *server = call->server;
    const struct rpc_method *method = &call->slot->method;
    struct slice request = SLICE_EMPTY;
    bool expects = method->kind != RPC_BIDI_STREAM && call->slot->handle != NULL;
    if (call->payload.buffer != NULL) {
        call->bytes = grpc_byte_buffer_length(call->payload.buffer);
    }
    uint64_t bytes = call->bytes + atomic_fetch_add_explicit(&server->bytes_in_flight, call->bytes,
                                                             memory_order_relaxed);
    rpc__call_opened(call);
    if (atomic_load_explicit(&server->stopping, memory_order_acquire)) {
        struct rpc_error error = {.status = STATUS_UNAVAILABLE,
                                  .message = SLICE_LITERAL("the server is stopping")};
        rpc__refuse(call, &error);
        return;
    }
    if (rpc_is_overloaded(server, in_flight, bytes)) {
        rpc_refuse_overload(call);
        return;
    }
    enum status st = expects ? rpc__payload_view(&call->payload, &request) : STATUS_OK;
    if (st != STATUS_OK) {
        rpc_refuse_payload(call, st);
        return;
    }
    if (method->kind == RPC_UNARY) {
        method->handler->start(method->ctx, call, request);
    } else {
        rpc_open_stream(call, request);
    }
}

void rpc__on_accept(struct rpc_call *call, bool ok) {
    struct rpc_server *server = call->server;
    if (!ok) {
        rpc__recycle(call);
        return;
    }
    call->bytes = 0;
    atomic_store_explicit(&call->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->calls, 1, memory_order_relaxed);
    uint64_t in_flight = 1 + atomic_fetch_add_explicit(&server->in_flight, 1, memory_order_relaxed);
    rpc__post_accept(call->slot, call->poller);
    rpc_open(call, in_flight);
}

static void rpc_unknown_start(void *ctx, struct rpc_call *call, struct slice request) {
    struct rpc_server *server = ctx;
    (void)request;
    MARK("rpc.call.unknown_method");
    atomic_fetch_add_explicit(&server->unknown, 1, memory_order_relaxed);
    char text[192];
    grpc_slice path = call->details.method;
    int shown = (int)(GRPC_SLICE_LENGTH(path) < 100 ? GRPC_SLICE_LENGTH(path) : 100);
    (void)snprintf(text, sizeof(text), "no such method: %.*s", shown,
                   (const char *)GRPC_SLICE_START_PTR(path));
    struct rpc_error error = {.status = STATUS_NOT_SUPPORTED, .message = slice_from_string(text)};
    rpc__refuse(call, &error);
}

static const struct rpc_handler rpc_unknown_handler = {.start = rpc_unknown_start};

// --- Making and stopping ---

static void rpc_defaults(struct rpc_config *config) {
    config->tls = NULL;
    config->address = NULL;
    if (config->poller_count == 0) { config->poller_count = 1; }
    if (config->accept_count == 0) { config->accept_count = RPC_ACCEPT_COUNT; }
    if (config->calls_max == 0) { config->calls_max = RPC_CALLS_MAX; }
    if (config->bytes_max == 0) { config->bytes_max = RPC_BYTES_MAX; }
    if (config->stream_bytes_max == 0) { config->stream_bytes_max = RPC_STREAM_BYTES_MAX; }
    if (config->streams_max == 0) { config->streams_max = RPC_STREAMS_MAX; }
    if (config->retry_after_ms == 0) { config->retry_after_ms = RPC_RETRY_AFTER_MS; }
}

static void rpc_init_waiting(struct rpc_server *self) {
    pthread_condattr_t attributes;
    int error = pthread_mutex_init(&self->mu, NULL);
    error |= pthread_condattr_init(&attributes);
    error |= pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    error |= pthread_cond_init(&self->changed, &attributes);
    ASSERT(error == 0);
    (void)pthread_condattr_destroy(&attributes);
}

static enum status rpc_bind(struct rpc_server *self, const struct rpc_tls *tls, struct err *err) {
    grpc_arg args[RPC_ARGS_MAX];
    grpc_channel_args channel_args = {rpc__server_args(&self->config, args), args};
    self->server = grpc_server_create(&channel_args, NULL);
    ASSERT(self->server != NULL);
    for (uint32_t i = 0; i < self->config.poller_count; i++) {
        struct rpc_poller *poller = &self->pollers[i];
        rpc__poller_init(poller, self, i);
        grpc_server_register_completion_queue(self->server, poller->cq, NULL);
    }
    grpc_server_credentials *credentials = rpc__server_credentials(tls);
    if (credentials == NULL) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "the TLS key or certificates are not usable");
    }
    int port = grpc_server_add_http2_port(self->server, self->address, credentials);
    grpc_server_credentials_release(credentials);
    if (port <= 0) {
        return err_set(err, STATUS_UNAVAILABLE, "cannot listen on %s for clients", self->address);
    }
    self->port = (uint16_t)port;
    return STATUS_OK;
}

enum status rpc_create(const struct rpc_config *config, struct rpc_server **out_server,
                       struct err *err) {
    ASSERT(config->poller_count <= RPC_POLLERS_MAX);
    rpc_core_init();
    grpc_init();
    struct rpc_server *self = mem_alloc(sizeof(*self));
    self->config = *config;
    rpc_defaults(&self->config);
    (void)snprintf(self->address, sizeof(self->address), "%s", config->address);
    self->descriptors = bytes_copy(config->descriptors);
    rpc_init_waiting(self);
    rpc__health_init(self);
    enum status st = rpc_bind(self, config->tls, err);
    if (st != STATUS_OK) {
        rpc_destroy(self);
        return st;
    }
    rpc__health_register(self);
    if (config->descriptors.size > 0) { rpc__reflection_register(self); }
    *out_server = self;
    return STATUS_OK;
}

void rpc_register(struct rpc_server *self, const struct rpc_method *method) {
    ASSERT(!self->started);
    ASSERT(self->slot_count < RPC_METHODS_MAX);
    ASSERT(method->handler->start != NULL);
    ASSERT((method->kind == RPC_BIDI_STREAM) == (method->handler->message != NULL));
    struct rpc_slot *slot = rpc__slot_create(self, method);
    slot->handle = grpc_server_register_method(self->server, method->path, NULL,
                                               method->kind == RPC_BIDI_STREAM
                                                   ? GRPC_SRM_PAYLOAD_NONE
                                                   : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER,
                                               0);
    ASSERT(slot->handle != NULL);  // NULL: registered twice
    self->slots[self->slot_count++] = slot;
    rpc__health_add(self, method->path);
}

void rpc_set_burst_end(struct rpc_server *self, void (*burst_end)(void *ctx), void *ctx) {
    ASSERT(!self->started);
    self->burst_end = burst_end;
    self->burst_ctx = ctx;
}

static void rpc_register_unknown(struct rpc_server *self) {
    struct rpc_method method = {.path = "", .handler = &rpc_unknown_handler, .ctx = self};
    struct rpc_slot *slot = rpc__slot_create(self, &method);
    slot->accept_count = RPC_ACCEPT_COUNT_UNKNOWN;
    self->slots[self->slot_count++] = slot;
}

void rpc_start(struct rpc_server *self) {
    ASSERT(!self->started);
    rpc_register_unknown(self);
    self->started = true;
    grpc_server_start(self->server);
    for (uint32_t s = 0; s < self->slot_count; s++) {
        for (uint32_t i = 0; i < self->slots[s]->accept_count; i++) {
            rpc__post_accept(self->slots[s], &self->pollers[i % self->config.poller_count]);
        }
    }
    for (uint32_t i = 0; i < self->config.poller_count; i++) {
        if (pthread_create(&self->pollers[i].thread, NULL, rpc__poll, &self->pollers[i]) != 0) {
            // Threads are made at the start of the process; without them there is no node.
            FATAL("cannot start a gRPC poller thread");
        }
        (void)pthread_setname_np(self->pollers[i].thread, "rpc-poller");
    }
}

uint16_t rpc_port(const struct rpc_server *self) {
    return self->port;
}

static void rpc_wait_calls(struct rpc_server *self, uint32_t drain_ms) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(drain_ms / 1000);
    until.tv_nsec += (long)(drain_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    int timeout = 0;
    (void)pthread_mutex_lock(&self->mu);
    while (atomic_load_explicit(&self->in_flight, memory_order_acquire) > 0 && timeout == 0) {
        timeout = pthread_cond_timedwait(&self->changed, &self->mu, &until);
    }
    (void)pthread_mutex_unlock(&self->mu);
}

static void rpc_wait_end(struct rpc_server *self) {
    (void)pthread_mutex_lock(&self->mu);
    while (!self->shut_down || atomic_load_explicit(&self->in_flight, memory_order_acquire) > 0) {
        (void)pthread_cond_wait(&self->changed, &self->mu);
    }
    (void)pthread_mutex_unlock(&self->mu);
}

void rpc_stop(struct rpc_server *self, uint32_t drain_ms) {
    ASSERT(self->started && !self->stopped);
    atomic_store_explicit(&self->stopping, true, memory_order_release);
    grpc_server_shutdown_and_notify(self->server, self->pollers[0].cq, &self->shutdown_tag);
    rpc__streams_drain(self);
    rpc_wait_calls(self, drain_ms);
    // Also closes connections that are idle, which would otherwise wait for a ping of theirs.
    grpc_server_cancel_all_calls(self->server);
    rpc_wait_end(self);
    for (uint32_t i = 0; i < self->config.poller_count; i++) {
        rpc__poller_shutdown(&self->pollers[i]);
    }
    for (uint32_t i = 0; i < self->config.poller_count; i++) {
        (void)pthread_join(self->pollers[i].thread, NULL);
    }
    self->stopped = true;
}

// The core wants its queues drained and its server shut down even when it never started.
static void rpc_discard_core(struct rpc_server *self) {
    if (self->server == NULL) { return; }
    if (!self->started) {
        grpc_server_shutdown_and_notify(self->server, self->pollers[0].cq, &self->shutdown_tag);
        grpc_server_cancel_all_calls(self->server);
        (void)grpc_completion_queue_next(self->pollers[0].cq, gpr_inf_future(GPR_CLOCK_MONOTONIC),
                                         NULL);
        for (uint32_t i = 0; i < self->config.poller_count; i++) {
            grpc_completion_queue_shutdown(self->pollers[i].cq);
            (void)grpc_completion_queue_next(self->pollers[i].cq,
                                             gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        }
    }
    grpc_server_destroy(self->server);
    for (uint32_t i = 0; i < self->config.poller_count; i++) {
        rpc__poller_deinit(&self->pollers[i]);
    }
}

void rpc_destroy(struct rpc_server *self) {
    if (self == NULL) { return; }
    ASSERT(!self->started || self->stopped);
    rpc_discard_core(self);
    for (uint32_t i = 0; i < self->slot_count; i++) {
        rpc__slot_destroy(self->slots[i]);
    }
    rpc__health_deinit(self);
    bytes_unref(self->descriptors);
    (void)pthread_cond_destroy(&self->changed);
    (void)pthread_mutex_destroy(&self->mu);
    mem_free(self);
    grpc_shutdown();
}

void rpc_stats(const struct rpc_server *self, struct rpc_stats *out) {
    *out = (struct rpc_stats){
        .calls = atomic_load_explicit(&self->calls, memory_order_relaxed),
        .refused = atomic_load_explicit(&self->refused, memory_order_relaxed),
        .unknown = atomic_load_explicit(&self->unknown, memory_order_relaxed),
        .cancelled = atomic_load_explicit(&self->cancelled, memory_order_relaxed),
        .in_flight = atomic_load_explicit(&self->in_flight, memory_order_relaxed),
        .bytes_in_flight = atomic_load_explicit(&self->bytes_in_flight, memory_order_relaxed),
    };
}
