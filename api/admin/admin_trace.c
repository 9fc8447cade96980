// SPDX-License-Identifier: Apache-2.0
// admin_trace.c - the events of one transaction out of this node's ring.

#include "api/admin/admin_internal.h"

#include <assert.h>
#include <string.h>

enum { TRACE_EVENTS_MAX = 2000, HOLDER_SHOWN_SIZE = 8 };

// The numbers are the same by intent.
static_assert((int)TRACE_APPLIED == (int)LIGHTCONE__V1__TRACE_KIND__TRACE_KIND_APPLIED, "kinds");
static_assert((int)TRACE_SETTLE == (int)LIGHTCONE__V1__TRACE_WHAT__TRACE_WHAT_SETTLE, "what");
static_assert((int)TRACE_KIND_COUNT == (int)TRACE_APPLIED + 1, "a new kind goes into the proto");

struct tracing {
    struct admin_call *call;
    Lightcone__V1__TxnTraceResponse response;
};

static const char *reason_name(enum command_txn_reason reason) {
    static const char *const names[] = {
        [COMMAND_REASON_NONE] = "",
        [COMMAND_REASON_LOCKED] = "LOCKED",
        [COMMAND_REASON_READ] = "READ",
        [COMMAND_REASON_CONDITION] = "CONDITION",
        [COMMAND_REASON_TOO_MANY] = "TOO_MANY",
        [COMMAND_REASON_SUPERSEDED] = "SUPERSEDED",
        [COMMAND_REASON_HORIZON] = "HORIZON",
        [COMMAND_REASON_OTHER_REQUEST] = "OTHER_REQUEST",
        [COMMAND_REASON_SETTLED] = "SETTLED",
        [COMMAND_REASON_TYPE] = "TYPE",
    };
    static_assert(sizeof(names) / sizeof(names[0]) == COMMAND_REASON_COUNT, "all have names");
    return reason < COMMAND_REASON_COUNT ? names[reason] : "";
}

static void fill_holder(struct admin_call *call, uint64_t first, Lightcone__V1__TraceEvent *out) {
    uint8_t *bytes = admin__alloc(call, HOLDER_SHOWN_SIZE);
    for (uint32_t i = 0; i < HOLDER_SHOWN_SIZE; i++) {
        bytes[i] = (uint8_t)(first >> (8 * (HOLDER_SHOWN_SIZE - 1 - i)));
    }
    out->holder = (ProtobufCBinaryData){HOLDER_SHOWN_SIZE, bytes};
}

static bool add_event(void *ctx, const struct trace_event *event) {
    struct tracing *self = ctx;
    Lightcone__V1__TxnTraceResponse *response = &self->response;
    response->more = response->n_events == TRACE_EVENTS_MAX;
    if (response->more) { return false; }
    Lightcone__V1__TraceEvent *out = admin__alloc(self->call, sizeof(*out));
    lightcone__v1__trace_event__init(out);
    out->at = event->at.v;
    out->kind = (Lightcone__V1__TraceKind)event->kind;
    out->what = (Lightcone__V1__TraceWhat)event->what;
    out->reason = admin__text(self->call, reason_name((enum command_txn_reason)event->reason));
    out->shard = event->shard;
    out->attempt_tag = event->attempt;
    if (event->kind == TRACE_WAITS) {
        fill_holder(self->call, event->value, out);
    } else {
        out->timestamp = event->value;
    }
    if (event->kind == TRACE_TOLD) {
        out->status = admin__text(self->call, status_name((enum status)event->state));
    } else {
        out->state = admin__txn_state((enum command_txn_state)event->state);
    }
    response->events[response->n_events++] = out;
    return true;
}

void admin__txn_trace(struct admin_call *call) {
    const Lightcone__V1__TxnTraceRequest *request = (const void *)call->request;
    struct node_core *core = admin__core(call);
    const struct trace *trace = node_core_trace(core);
    struct txn_id txn;
    if (!admin__txn_is_asked_here(call, request->node) ||
        !admin__txn_id_of(call, request->txn_id, &txn)) {
        return;
    }
    struct tracing self = {call, LIGHTCONE__V1__TXN_TRACE_RESPONSE__INIT};
    self.response.node = node_self(call->admin->node)->id.v;
    self.response.hlc = hlc_peek(node_core_hlc(core), node_core_wall_us(core)).v;
    self.response.events = admin__alloc(call, TRACE_EVENTS_MAX * sizeof(*self.response.events));
    if (trace != NULL) {
        self.response.oldest = trace_oldest(trace).v;
        trace_each(trace, txn, add_event, &self);
    }
    admin__reply(call, &self.response.base);
}
