// SPDX-License-Identifier: Apache-2.0
// A client's request on its way to a gateway. What a crash of the gateway cuts off ends without an
// answer, which tells nothing about its effect.
#include "dataplane/base/assert.h"
#include "tests/sim/world.h"

enum { CALL_PAYLOAD_MAX = 1 << 16, CALL_KEY_MAX = 64 };

static void leave(struct sim_call *self) {
    ASSERT(self->active);
    struct sim_call **link = &self->world->calls;
    while (*link != self) {
        link = &(*link)->next;
    }
    *link = self->next;
    self->active = false;
    sim_world_cancel(self->world, &self->start);
}

static void finish(struct sim_call *self, const struct session_result *result) {
    leave(self);
    self->done(self, result);
}

// A session that is being destroyed may still end its calls: nobody listens any more.
static void on_done(struct session_call *call, const struct session_result *result) {
    struct sim_call *self = (struct sim_call *)call;
    if (self->active && self->started) { finish(self, result); }
}

static void on_start(struct sim_world *world, struct sim_event *event) {
    (void)world;
    struct sim_call *self = (struct sim_call *)((char *)event - offsetof(struct sim_call, start));
    struct sim_node *node = self->node;
    if (!node->up || node->boot != self->node_boot) {
        finish(self, NULL);
        return;
    }
    self->started = true;
    self->call.key = buf_slice(&self->key);
    self->call.key_high = buf_slice(&self->key_high);
    self->call.payload = buf_slice(&self->payload);
    self->call.deadline_ns = sim_node_mono_ns(node) + self->budget_ns;
    self->call.done = on_done;
    gateway_start(node_core_gateway(node->core), &self->call);
    sim_node_touch(node);
}

void sim_call_init(struct sim_call *self, struct sim_world *world) {
    *self = (struct sim_call){.world = world, .start = {.fire = on_start}};
    buf_init(&self->payload, CALL_PAYLOAD_MAX);
    buf_init(&self->key, CALL_KEY_MAX);
    buf_init(&self->key_high, CALL_KEY_MAX);
}

void sim_call_deinit(struct sim_call *self) {
    if (self->active) { leave(self); }  // in a world that failed
    buf_deinit(&self->payload);
    buf_deinit(&self->key);
    buf_deinit(&self->key_high);
}

void sim_call_begin(struct sim_call *self, struct sim_node *gateway, uint64_t delay_ns) {
    ASSERT(!self->active);
    enum command_kind kind = self->call.kind;
    self->call = (struct session_call){.kind = kind};
    self->node = gateway;
    self->node_boot = gateway->boot;
    self->active = true;
    self->started = false;
    self->next = self->world->calls;
    self->world->calls = self;
    self->start.node = gateway;
    sim_world_put(self->world, &self->start, self->world->now_ns + delay_ns);
}

void sim_calls_lost(struct sim_world *world, const struct sim_node *node) {
    struct sim_call *call = world->calls;
    while (call != NULL) {
        struct sim_call *next = call->next;
        if (call->node == node) { finish(call, NULL); }
        call = next;
    }
}
