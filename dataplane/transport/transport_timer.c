// SPDX-License-Identifier: Apache-2.0
// Design: one libuv timer and a heap instead of a handle for each connection and peer: a connection
// then has one handle to close, and closing is the hard part of a libuv program.
#include "dataplane/base/assert.h"
#include "dataplane/transport/transport_internal.h"

enum { NS_PER_MS = 1000000 };

static void arm(struct transport *self);

static void on_timer(uv_timer_t *handle) {
    struct transport *self = handle->data;
    self->armed_ns = UINT64_MAX;
    uint64_t now_ns = loop_monotonic_ns();
    // A timer set from within fire is at least 1 ms away, so this ends.
    struct heap_node *node = heap_peek(&self->timers);
    while (node != NULL && node->key <= now_ns) {
        struct transport_timer *timer = (struct transport_timer *)(void *)node;
        heap_remove(&self->timers, node);
        timer->fire(timer);
        node = heap_peek(&self->timers);
    }
    arm(self);
}

static void arm(struct transport *self) {
    struct heap_node *first = heap_peek(&self->timers);
    if (first == NULL || self->is_closing || first->key >= self->armed_ns) { return; }
    self->armed_ns = first->key;
    uv_update_time(self->uv);
    uint64_t now_ms = uv_now(self->uv);
    uint64_t due_ms = first->key / NS_PER_MS + 1;
    // Never 0: libuv 1.44 would run it again in the same pass.
    int rc = uv_timer_start(&self->timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 1, 0);
    ASSERT(rc == 0);
}

void transport__timer_init(struct transport *self) {
    int rc = uv_timer_init(self->uv, &self->timer);
    ASSERT(rc == 0);
    self->timer.data = self;
    self->armed_ns = UINT64_MAX;
    heap_init(&self->timers);
}

void transport__timer_set(struct transport *self, struct transport_timer *timer, uint32_t ms) {
    ASSERT(timer->fire != NULL);
    uint64_t after_ns = (uint64_t)(ms == 0 ? 1 : ms) * NS_PER_MS;
    heap_put(&self->timers, &timer->node, loop_monotonic_ns() + after_ns);
    arm(self);
}

// The libuv timer stays: it will find nothing due, which costs less than setting it again.
void transport__timer_unset(struct transport *self, struct transport_timer *timer) {
    heap_remove(&self->timers, &timer->node);
}
