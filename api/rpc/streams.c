// SPDX-License-Identifier: Apache-2.0
// The live streams of a server, for two things that no call can do for itself: asking all to end
// when the server stops, and ending those whose client neither reads nor goes away. The core's own
// deadline timer is off (core.c), so a stream past its deadline is ended here too, a second late.
#include "api/rpc/rpc_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"

static const uint64_t RPC_WRITE_STALL_NS = UINT64_C(30000000000);
static const uint64_t RPC_DEADLINE_GRACE_NS = UINT64_C(1000000000);

void rpc__stream_add(struct rpc_call *call) {
    struct rpc_server *server = call->server;
    (void)pthread_mutex_lock(&server->mu);
    call->listed = true;
    call->previous = NULL;
    call->next = server->streams;
    if (call->next != NULL) { call->next->previous = call; }
    server->streams = call;
    (void)pthread_mutex_unlock(&server->mu);
}

void rpc__stream_remove(struct rpc_call *call) {
    struct rpc_server *server = call->server;
    (void)pthread_mutex_lock(&server->mu);
    if (!call->listed) {
        (void)pthread_mutex_unlock(&server->mu);
        return;
    }
    call->listed = false;
    if (call->previous != NULL) {
        call->previous->next = call->next;
    } else {
        ASSERT(server->streams == call);
        server->streams = call->next;
    }
    if (call->next != NULL) { call->next->previous = call->previous; }
    call->previous = NULL;
    call->next = NULL;
    (void)pthread_mutex_unlock(&server->mu);
}

// A reference unless the last one is already gone.
static bool rpc_try_ref(struct rpc_call *call) {
    uint_fast64_t refs = atomic_load_explicit(&call->refs, memory_order_relaxed);
    while (refs > 0) {
        if (atomic_compare_exchange_weak_explicit(&call->refs, &refs, refs + 1,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

void rpc__stream_drain(struct rpc_call *call) {
    const struct rpc_method *method = &call->slot->method;
    if (method->handler->drain == NULL ||
        atomic_load_explicit(&call->finishing, memory_order_relaxed) ||
        atomic_exchange_explicit(&call->drained, true, memory_order_relaxed)) {
        return;
    }
    method->handler->drain(method->ctx, call);
}

// Handlers may finish their calls at once, which takes the list's mutex: so they are told from a
// copy of the list.
void rpc__streams_drain(struct rpc_server *server) {
    size_t count = 0;
    (void)pthread_mutex_lock(&server->mu);
    for (struct rpc_call *call = server->streams; call != NULL; call = call->next) {
        count++;
    }
    struct rpc_call **calls = mem_alloc_array(count + 1, sizeof(struct rpc_call *));
    size_t held = 0;
    for (struct rpc_call *call = server->streams; call != NULL; call = call->next) {
        if (rpc_try_ref(call)) { calls[held++] = call; }
    }
    (void)pthread_mutex_unlock(&server->mu);
    for (size_t i = 0; i < held; i++) {
        rpc__stream_drain(calls[i]);
        rpc_call_unref(calls[i]);
    }
    mem_free(calls);
}

static bool rpc_is_overdue(struct rpc_call *call, uint64_t now_ns) {
    uint64_t deadline_ns = rpc_call_deadline_ns(call);
    if (deadline_ns < now_ns && now_ns - deadline_ns > RPC_DEADLINE_GRACE_NS) { return true; }
    (void)pthread_mutex_lock(&call->mu);
    // The write may have begun after the caller read the clock.
    bool stalled = call->writing && now_ns > call->writing_since_ns &&
                   now_ns - call->writing_since_ns > RPC_WRITE_STALL_NS;
    (void)pthread_mutex_unlock(&call->mu);
    return stalled;
}

// Cancelling only queues completions, so it may be done with the list's mutex held; a call in the
// list still has its grpc_call.
void rpc__streams_sweep(struct rpc_server *server, uint64_t now_ns) {
    (void)pthread_mutex_lock(&server->mu);
    for (struct rpc_call *call = server->streams; call != NULL; call = call->next) {
        if (rpc_is_overdue(call, now_ns)) {
            MARK("rpc.stream.overdue");
            (void)grpc_call_cancel_with_status(call->call, GRPC_STATUS_DEADLINE_EXCEEDED,
                                               "the stream is overdue", NULL);
        }
    }
    (void)pthread_mutex_unlock(&server->mu);
}
