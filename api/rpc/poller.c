// SPDX-License-Identifier: Apache-2.0
// A poller is a thread with a completion queue; all that the core does for a connection (reading,
// parsing, encoding, sending) it does inside the queue's `next`, on that thread. Two threads inside
// one connection disturb each other: its combiner hands work back and forth, and every completion
// wakes the sleeper. Hence both ways between pollers and other threads go in bursts:
//
//   in:   events are taken until none is ready; then `burst_end` tells the handlers' owner, who
//         wakes its loop once for all that came
//   out:  rpc_reply_later leaves the answer with the call's poller; rpc_replies_flush wakes it once
//         for all of a turn, and it starts the batches, which completes them on the spot
//
// A poller is woken by an empty batch on a call of a lame channel: the only completion that the
// core's public surface gives to whoever asks. `asleep` says whether that is needed. The poller
// sets it and then looks for replies; others push and then take it back: in sequentially consistent
// order one of them sees the other.
#include "api/rpc/rpc_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/loop/clock.h"
#include "dataplane/loop/thread.h"

#include <grpc/slice.h>

#include <sched.h>

enum { RPC_SWEEP_EVENTS = 4096, RPC_BURST_EVENTS = 128 };
static const uint64_t RPC_SWEEP_NS = UINT64_C(1000000000);

// --- Replies of other threads ---

static void rpc_poller_ring(struct rpc_poller *self) {
    grpc_call_error error = grpc_call_start_batch(self->bell, NULL, 0, &self->bell_tag, NULL);
    ASSERT(error == GRPC_CALL_OK);
}

void rpc__poller_push(struct rpc_poller *self, struct rpc_call *call) {
    struct rpc_call *head = atomic_load_explicit(&self->replies, memory_order_relaxed);
    do {
        call->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&self->replies, &head, call,
                                                    memory_order_seq_cst, memory_order_relaxed));
}

// rpc_stop waits until nobody is in here once no call is left: then nobody rings any more.
static void rpc_poller_wake(struct rpc_poller *self) {
    if (atomic_load(&self->replies) == NULL) { return; }
    atomic_fetch_add(&self->ringing, 1);
    if (atomic_load(&self->replies) != NULL && atomic_exchange(&self->asleep, false)) {
        rpc_poller_ring(self);
    }
    atomic_fetch_sub(&self->ringing, 1);
}

void rpc_replies_flush(struct rpc_server *self) {
    for (uint32_t i = 0; i < self->config.poller_count; i++) {
        rpc_poller_wake(&self->pollers[i]);
    }
}

// Starts what was left here, oldest first.
static void rpc_poller_reply(struct rpc_poller *self) {
    if (atomic_load_explicit(&self->replies, memory_order_relaxed) == NULL) { return; }
    struct rpc_call *newest = atomic_exchange(&self->replies, NULL);
    struct rpc_call *oldest = NULL;
    while (newest != NULL) {
        struct rpc_call *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct rpc_call *call = oldest;
        oldest = call->next;
        call->next = NULL;
        rpc__reply_now(call);
    }
}

// --- Events ---

static void rpc_on_event(struct rpc_server *server, const struct rpc_tag *tag, bool ok) {
    struct rpc_call *call = tag->call;
    if (call == NULL && tag == &server->shutdown_tag) {
        (void)pthread_mutex_lock(&server->mu);
        server->shut_down = true;
        (void)pthread_cond_broadcast(&server->changed);
        (void)pthread_mutex_unlock(&server->mu);
    }
    if (call == NULL) { return; }                                   // a bell
    (void)atomic_load_explicit(&call->refs, memory_order_acquire);  // see rpc__start
    switch (tag->op) {
    case RPC_OP_ACCEPT:
        rpc__on_accept(call, ok);
        return;  // holds no reference
    case RPC_OP_CLOSE:
        rpc__on_close(call);
        break;
    case RPC_OP_READ:
        rpc__on_read(call, ok);
        break;
    case RPC_OP_WRITE:
        rpc__on_write(call, ok);
        break;
    case RPC_OP_FINISH:
        rpc__written(call);
        break;
    case RPC_OP_COUNT:
        ASSERT(tag->op != RPC_OP_COUNT);
        break;
    }
    rpc_call_unref(call);
}

// --- The thread ---

static gpr_timespec rpc_poll_until(const struct rpc_poller *self) {
    if (self->index != 0) { return gpr_inf_future(GPR_CLOCK_MONOTONIC); }
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_nanos((int64_t)RPC_SWEEP_NS, GPR_TIMESPAN));
}

static void rpc_burst_end(struct rpc_poller *self) {
    struct rpc_server *server = self->server;
    self->burst = 0;
    if (server->burst_end != NULL) { server->burst_end(server->burst_ctx); }
    rpc_poller_reply(self);
}

// The next event: without waiting while a burst lasts.
static grpc_event rpc_poller_next(struct rpc_poller *self, gpr_timespec until) {
    if (self->burst > 0 && self->burst < RPC_BURST_EVENTS) {
        grpc_event event =
            grpc_completion_queue_next(self->cq, gpr_inf_past(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type != GRPC_QUEUE_TIMEOUT) { return event; }
    }
    for (;;) {
        if (self->burst > 0) { rpc_burst_end(self); }
        atomic_store(&self->asleep, true);
        if (atomic_load(&self->replies) == NULL) { break; }
        atomic_store(&self->asleep, false);
        rpc_poller_reply(self);
    }
    grpc_event event = grpc_completion_queue_next(self->cq, until, NULL);
    atomic_store(&self->asleep, false);
    return event;
}

void *rpc__poll(void *arg) {
    struct rpc_poller *self = arg;
    uint32_t events = 0;
    thread_gather();
    gpr_timespec until = rpc_poll_until(self);
    for (;;) {
        grpc_event event = rpc_poller_next(self, until);
        if (event.type == GRPC_QUEUE_SHUTDOWN) { return NULL; }
        if (event.type == GRPC_OP_COMPLETE) {
            const struct rpc_tag *tag = event.tag;
            rpc_on_event(self->server, tag, event.success != 0);
            bool opens = tag->op == RPC_OP_ACCEPT && self->server->burst_end != NULL;
            if (opens || self->burst > 0) { self->burst++; }
        }
        events++;
        if (self->index == 0 && (event.type == GRPC_QUEUE_TIMEOUT || events >= RPC_SWEEP_EVENTS)) {
            rpc__streams_sweep(self->server, loop_monotonic_ns());
            until = rpc_poll_until(self);
            events = 0;
        }
    }
}

// --- Making and ending ---

void rpc__poller_init(struct rpc_poller *self, struct rpc_server *server, uint32_t index) {
    *self = (struct rpc_poller){.server = server, .index = index};
    self->cq = grpc_completion_queue_create_for_next(NULL);
    self->lame = grpc_lame_client_channel_create("bell", GRPC_STATUS_UNAVAILABLE, "a bell");
    self->bell = grpc_channel_create_call(self->lame, NULL, GRPC_PROPAGATE_DEFAULTS, self->cq,
                                          grpc_slice_from_static_string("/bell"), NULL,
                                          gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    self->bell_tag = (struct rpc_tag){.op = RPC_OP_COUNT};
}

void rpc__poller_shutdown(struct rpc_poller *self) {
    while (atomic_load(&self->ringing) > 0) {
        (void)sched_yield();
    }
    ASSERT(atomic_load(&self->replies) == NULL);
    grpc_completion_queue_shutdown(self->cq);
}

void rpc__poller_deinit(struct rpc_poller *self) {
    grpc_call_unref(self->bell);
    grpc_channel_destroy(self->lame);
    grpc_completion_queue_destroy(self->cq);
}
