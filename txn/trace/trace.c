// SPDX-License-Identifier: Apache-2.0
// One ring for all transactions, overwritten as it goes: what is asked for is what happened in the
// last seconds, and a list per transaction would cost memory and time on every commit. Looking
// walks over the whole ring, some megabytes, which happens when a human asks.
//
// Ids are kept as a hash: 40 bytes an event instead of 48. Two ids with one hash would show up in
// one answer; with 64 bits that does not happen.
//
// Time is the node's hybrid logical clock, read and not advanced: that noting changes nothing keeps
// simulations the same with and without. Events of one instant stay in the order in which they were
// noted. A sender's event is at or before the clock that its message carries, the receiver's clock
// has seen that one: so by these times causes never come after effects, on any node.
#include "txn/trace/trace.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

#include <assert.h>

static_assert(sizeof(struct trace_event) == 40, "an event is small");

struct trace {
    struct trace_clock clock;
    struct hlc_ts last;
    uint64_t noted;
    uint64_t mask;
    struct trace_event *events;
};

struct trace *trace_create(uint32_t count, struct trace_clock clock) {
    ASSERT(count > 0 && (count & (count - 1)) == 0);
    ASSERT(clock.now != NULL);
    struct trace *self = mem_alloc(sizeof(*self));
    self->clock = clock;
    self->mask = count - 1;
    self->events = mem_alloc_array(count, sizeof(self->events[0]));
    return self;
}

void trace_destroy(struct trace *self) {
    if (self == NULL) { return; }
    mem_free(self->events);
    mem_free(self);
}

uint64_t trace_hash(struct txn_id txn) {
    return hash64(slice_make(txn.v, sizeof(txn.v)), 0);
}

void trace__put(struct trace *self, const struct txn_id *txn, const struct trace_event *event) {
    ASSERT(event->kind > 0 && event->kind < TRACE_KIND_COUNT && event->what < TRACE_WHAT_COUNT);
    // A wall clock may be set back; times of the ring do not go back with it.
    self->last = hlc_larger(self->last, self->clock.now(self->clock.ctx));
    struct trace_event *at = &self->events[self->noted++ & self->mask];
    *at = *event;
    at->at = self->last;
    at->txn = trace_hash(*txn);
}

enum trace_what trace_of_decision(enum command_decision decision) {
    switch (decision) {
    case COMMAND_DECIDE_COMMIT:
        return TRACE_COMMIT;
    case COMMAND_DECIDE_ABORT:
        return TRACE_ABORT;
    case COMMAND_DECIDE_PROBE:
        return TRACE_PROBE;
    case COMMAND_DECIDE_FORGET:
        return TRACE_FORGET;
    case COMMAND_DECIDE_SETTLE:
        return TRACE_SETTLE;
    case COMMAND_DECISION_COUNT:
        break;
    }
    return TRACE_NOTHING;
}

static uint64_t first_kept(const struct trace *self) {
    return self->noted > self->mask ? self->noted - self->mask - 1 : 0;
}

void trace_each(const struct trace *self, struct txn_id txn,
                bool (*visit)(void *ctx, const struct trace_event *event), void *ctx) {
    const uint64_t hash = trace_hash(txn);
    for (uint64_t i = first_kept(self); i < self->noted; i++) {
        const struct trace_event *event = &self->events[i & self->mask];
        if (event->txn == hash && !visit(ctx, event)) { return; }
    }
}

struct hlc_ts trace_oldest(const struct trace *self) {
    const uint64_t first = first_kept(self);
    return first == 0 ? HLC_ZERO : self->events[first & self->mask].at;
}

uint64_t trace_noted(const struct trace *self) {
    return self->noted;
}
