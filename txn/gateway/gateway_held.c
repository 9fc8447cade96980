// SPDX-License-Identifier: Apache-2.0
// Calls that wait until this node knows whether its clock is one of the majority's: a round trip
// after its start or a step of the clock, a few seconds where nobody answers. A refusal would be
// honest too, but no client could make more of it than to ask again.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/base/mem.h"
#include "txn/gateway/gateway_internal.h"

#include <string.h>

enum { HELD_MIN = 64 };

bool gateway__held_add(struct gateway *self, struct session_call *call) {
    struct gateway_held *held = &self->held;
    if (held->end - held->first == self->config.txns_max) { return false; }
    if (held->end == held->capacity) {
        const uint32_t waiting = held->end - held->first;
        if (held->first > 0) {
            memmove(held->calls, held->calls + held->first, waiting * sizeof(held->calls[0]));
        } else {
            held->capacity = held->capacity == 0 ? HELD_MIN : 2 * held->capacity;
            held->calls = mem_realloc(held->calls, held->capacity * sizeof(held->calls[0]));
        }
        held->first = 0;
        held->end = waiting;
    }
    MARK("gateway.held");
    call->id = GATEWAY_ID_HELD;
    held->calls[held->end++] = call;
    if (call->deadline_ns < held->deadline_ns) { held->deadline_ns = call->deadline_ns; }
    return true;
}

bool gateway__held_remove(struct gateway *self, const struct session_call *call) {
    struct gateway_held *held = &self->held;
    for (uint32_t i = held->first; i < held->end; i++) {
        if (held->calls[i] != call) { continue; }
        held->end--;
        memmove(&held->calls[i], &held->calls[i + 1], (held->end - i) * sizeof(held->calls[0]));
        return true;
    }
    return false;
}

static struct session_call *take_first(struct gateway_held *held) {
    struct session_call *call = held->calls[held->first++];
    if (held->first == held->end) {
        held->first = 0;
        held->end = 0;
        held->deadline_ns = UINT64_MAX;
    }
    call->id = 0;
    return call;
}

// What is released may start or cancel other calls.
bool gateway__held_turn(struct gateway *self) {
    struct gateway_held *held = &self->held;
    char text[GATEWAY_TEXT_SIZE];
    bool any = false;
    while (held->first < held->end &&
           self->config.may_coordinate(self->config.ctx, text) != GATEWAY_WAIT) {
        gateway_start(self, take_first(held));
        any = true;
    }
    return any;
}

void gateway__held_on_time(struct gateway *self, uint64_t now_ns) {
    struct gateway_held *held = &self->held;
    char text[GATEWAY_TEXT_SIZE];
    if (now_ns < held->deadline_ns) { return; }
    (void)self->config.may_coordinate(self->config.ctx, text);
    // In order of arrival, so most of those before the one that is late are late as well.
    uint32_t i = held->first;
    while (i < held->end) {
        struct session_call *call = held->calls[i];
        if (call->deadline_ns > now_ns) {
            i++;
            continue;
        }
        const bool found = gateway__held_remove(self, call);
        ASSERT(found);
        gateway__end_call(call, STATUS_DEADLINE_EXCEEDED, text);
        i = held->first;  // whatever the callback did
    }
    held->deadline_ns = UINT64_MAX;
    for (i = held->first; i < held->end; i++) {
        const uint64_t deadline_ns = held->calls[i]->deadline_ns;
        if (deadline_ns < held->deadline_ns) { held->deadline_ns = deadline_ns; }
    }
}

void gateway__held_close(struct gateway *self) {
    while (self->held.first < self->held.end) {
        gateway__end_call(take_first(&self->held), STATUS_CANCELLED, "the node is stopping");
    }
    mem_free(self->held.calls);
    self->held.calls = NULL;
}
