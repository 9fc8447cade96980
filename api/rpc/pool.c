// SPDX-License-Identifier: Apache-2.0
// Calls are made once and used again: a posted accept, a running call and a refused call are the
// same object in different phases. The pool of a method is bounded by its accepts, calls_max and
// some room for refusals on their way out; when it is empty the next accept waits for a call to end
// (the transport's stream limit then holds clients back).
#include "api/rpc/rpc_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <string.h>

enum {
    RPC_REFUSALS_MAX = 1024,
    RPC_GATHERED_KEPT_MAX = 64 << 10,  // memory that a pooled call keeps
    RPC_CHUNK_SIZE = 4096,
    RPC_ARENA_SIZE_MAX = 64 << 20,
};

// --- The arena ---

static void *rpc_arena_alloc(void *ctx, size_t size) {
    struct rpc_arena *self = ctx;
    const size_t align = _Alignof(max_align_t);
    if (size > RPC_ARENA_SIZE_MAX) { return NULL; }
    size = (size + align - 1) & ~(align - 1);
    if (self->chunks == NULL || self->chunks->size - self->used < size) {
        size_t wanted = size > RPC_CHUNK_SIZE ? size : RPC_CHUNK_SIZE;
        if (self->total + wanted > RPC_ARENA_SIZE_MAX) { return NULL; }
        struct rpc_chunk *chunk = mem_try_alloc(sizeof(*chunk) + wanted);
        if (chunk == NULL) { return NULL; }
        chunk->next = self->chunks;
        chunk->size = wanted;
        self->chunks = chunk;
        self->total += wanted;
        self->used = 0;
    }
    void *at = self->chunks->data + self->used;
    self->used += size;
    return at;
}

static void rpc_arena_no_free(void *ctx, void *pointer) {
    (void)ctx;
    (void)pointer;
}

void rpc__arena_init(struct rpc_arena *self) {
    *self = (struct rpc_arena){.allocator = {rpc_arena_alloc, rpc_arena_no_free, self}};
}

void rpc__arena_reset(struct rpc_arena *self) {
    struct rpc_chunk *kept = NULL;
    while (self->chunks != NULL) {
        struct rpc_chunk *chunk = self->chunks;
        self->chunks = chunk->next;
        if (kept == NULL && chunk->size == RPC_CHUNK_SIZE) {
            kept = chunk;
            kept->next = NULL;
        } else {
            mem_free(chunk);
        }
    }
    self->chunks = kept;
    self->used = 0;
    self->total = kept == NULL ? 0 : RPC_CHUNK_SIZE;
}

void rpc__arena_deinit(struct rpc_arena *self) {
    rpc__arena_reset(self);
    mem_free(self->chunks);
    self->chunks = NULL;
}

struct ProtobufCAllocator *rpc_call_allocator(struct rpc_call *call) {
    return &call->arena.allocator;
}

// --- Calls ---

struct rpc_slot *rpc__slot_create(struct rpc_server *server, const struct rpc_method *method) {
    struct rpc_slot *self = mem_alloc(sizeof(*self));
    self->server = server;
    self->method = *method;
    self->accept_count = server->config.accept_count;
    self->call_count_max = self->accept_count + server->config.calls_max + RPC_REFUSALS_MAX;
    int error = pthread_mutex_init(&self->mu, NULL);
    ASSERT(error == 0);
    return self;
}

void rpc__slot_destroy(struct rpc_slot *self) {
    uint32_t freed = 0;
    while (self->free_calls != NULL) {
        struct rpc_call *call = self->free_calls;
        self->free_calls = call->next;
        grpc_metadata_array_destroy(&call->metadata);
        buf_deinit(&call->gathered);
        rpc__arena_deinit(&call->arena);
        (void)pthread_mutex_destroy(&call->mu);
        mem_free(call);
        freed++;
    }
    ASSERT(freed == self->call_count);
    (void)pthread_mutex_destroy(&self->mu);
    mem_free(self);
}

static struct rpc_call *rpc_call_create(struct rpc_slot *slot) {
    struct rpc_call *call = mem_alloc(sizeof(*call) + slot->method.state_size);
    call->server = slot->server;
    call->slot = slot;
    for (uint32_t op = 0; op < RPC_OP_COUNT; op++) {
        call->tags[op] = (struct rpc_tag){call, (enum rpc_op)op};
    }
    grpc_metadata_array_init(&call->metadata);
    buf_init(&call->gathered, slot->server->config.stream_bytes_max);
    rpc__arena_init(&call->arena);
    int error = pthread_mutex_init(&call->mu, NULL);
    ASSERT(error == 0);
    return call;
}

// A call from the pool, or NULL; then one more accept is noted as missing.
static struct rpc_call *rpc_take(struct rpc_slot *self) {
    (void)pthread_mutex_lock(&self->mu);
    struct rpc_call *call = self->free_calls;
    bool make = call == NULL && self->call_count < self->call_count_max;
    if (call != NULL) {
        self->free_calls = call->next;
    } else if (make) {
        self->call_count++;
    } else {
        self->accepts_missing++;
    }
    (void)pthread_mutex_unlock(&self->mu);
    return make ? rpc_call_create(self) : call;
}

static void rpc_request(struct rpc_call *call) {
    struct rpc_slot *slot = call->slot;
    grpc_server *server = slot->server->server;
    struct rpc_tag *tag = &call->tags[RPC_OP_ACCEPT];
    atomic_store_explicit(&call->refs, 0, memory_order_release);  // see rpc__start
    grpc_call_error error;
    if (slot->handle == NULL) {
        grpc_call_details_init(&call->details);
        error = grpc_server_request_call(server, &call->call, &call->details, &call->metadata,
                                         call->poller->cq, call->poller->cq, tag);
    } else {
        grpc_byte_buffer **payload =
            slot->method.kind == RPC_BIDI_STREAM ? NULL : &call->payload.buffer;
        error = grpc_server_request_registered_call(server, slot->handle, &call->call,
                                                    &call->deadline, &call->metadata, payload,
                                                    call->poller->cq, call->poller->cq, tag);
    }
    // Only a queue that is shut down refuses, and rpc_stop drains every accept before.
    ASSERT(error == GRPC_CALL_OK);
}

void rpc__post_accept(struct rpc_slot *self, struct rpc_poller *poller) {
    struct rpc_call *call = rpc_take(self);
    if (call == NULL) { return; }
    call->poller = poller;
    rpc_request(call);
}

// Makes a call ready for its next use.
static void rpc_clear(struct rpc_call *call) {
    rpc__payload_reset(&call->payload);
    rpc__arena_reset(&call->arena);
    if (call->slot->handle == NULL) { grpc_call_details_destroy(&call->details); }
    if (call->call != NULL) { grpc_call_unref(call->call); }
    call->call = NULL;
    call->metadata.count = 0;
    if (call->gathered.capacity > RPC_GATHERED_KEPT_MAX) {
        buf_deinit(&call->gathered);
        buf_init(&call->gathered, call->server->config.stream_bytes_max);
    }
    buf_reset(&call->gathered);
    bytes_unref(call->finish_detail);
    bytes_unref(call->finish_message);
    call->finish_detail = NULL;
    call->finish_message = NULL;
    call->metadata_sent = false;
    call->writing = false;
    call->broken = false;
    call->finish_wanted = false;
    call->finish_started = false;
    call->finish_status = STATUS_OK;
    call->close_cancelled = 0;
    atomic_store_explicit(&call->cancelled, false, memory_order_relaxed);
    atomic_store_explicit(&call->finishing, false, memory_order_relaxed);
    atomic_store_explicit(&call->drained, false, memory_order_relaxed);
    memset(call->state, 0, call->slot->method.state_size);
}

void rpc__recycle(struct rpc_call *call) {
    struct rpc_slot *slot = call->slot;
    struct rpc_poller *poller = call->poller;
    rpc_clear(call);
    (void)pthread_mutex_lock(&slot->mu);
    call->next = slot->free_calls;
    slot->free_calls = call;
    bool missing = slot->accepts_missing > 0 &&
                   !atomic_load_explicit(&slot->server->stopping, memory_order_acquire);
    if (missing) { slot->accepts_missing--; }
    (void)pthread_mutex_unlock(&slot->mu);
    if (missing) { rpc__post_accept(slot, poller); }
}
