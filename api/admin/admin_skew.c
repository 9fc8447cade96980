// SPDX-License-Identifier: Apache-2.0
// admin_skew.c - what a node thinks of its clock, what the kernel thinks, and, for development, how
// to shift it.

#include "api/admin/admin_internal.h"
#include "api/node/node_skew.h"
#include "dataplane/loop/clock.h"

#include <sys/timex.h>

#define DEV_CLOCK_MS_MAX (INT64_C(24) * 3600 * 1000)

static Lightcone__V1__SkewState state_of(const struct hlc_skew *skew) {
    switch (skew->state) {
    case HLC_SKEW_SYNCED:
        return LIGHTCONE__V1__SKEW_STATE__SKEW_STATE_SYNCED;
    case HLC_SKEW_DEGRADED:
        return LIGHTCONE__V1__SKEW_STATE__SKEW_STATE_DEGRADED;
    case HLC_SKEW_QUARANTINED:
        return LIGHTCONE__V1__SKEW_STATE__SKEW_STATE_QUARANTINED;
    case HLC_SKEW_STATE_COUNT:
        break;
    }
    return LIGHTCONE__V1__SKEW_STATE__SKEW_STATE_UNSPECIFIED;
}

Lightcone__V1__SkewState admin__skew_state(const struct node_core *core) {
    return state_of(node_core_skew(core));
}

static Lightcone__V1__SkewPeer *peer_of(struct admin_call *call, const struct hlc_skew *skew,
                                        const struct hlc_skew_peer *peer) {
    Lightcone__V1__SkewPeer *out = admin__alloc(call, sizeof(*out));
    lightcone__v1__skew_peer__init(out);
    const uint64_t now_ns = loop_monotonic_ns();
    struct hlc_skew_sample best;
    out->node = peer->node;
    out->physics_violations = peer->violations;
    out->measured = hlc_skew_best(skew, peer, now_ns, &best);
    if (!out->measured) { return out; }
    out->offset_us = best.offset_us;
    out->error_us = best.error_us;
    out->round_trip_us = best.round_trip_us;
    out->age_us = (now_ns - best.at_ns) / 1000;
    out->agrees = peer->agrees;
    return out;
}

// Reading (modes = 0) needs no privilege, but sandboxes forbid the call now and then.
// LIMIT: then nothing is shown of the kernel's belief.
static void add_kernel(Lightcone__V1__NodeSkewResponse *response) {
    enum { NS_PER_US = 1000 };
    struct timex kernel = {.modes = 0};
    const int state = adjtimex(&kernel);
    response->kernel_known = state >= 0;
    if (state < 0) { return; }
    const bool nano = (kernel.status & STA_NANO) != 0;
    response->kernel_synchronized = state != TIME_ERROR && (kernel.status & STA_UNSYNC) == 0;
    response->kernel_offset_us = nano ? kernel.offset / NS_PER_US : kernel.offset;
    response->kernel_error_us = kernel.esterror > 0 ? (uint64_t)kernel.esterror : 0;
    response->kernel_error_max_us = kernel.maxerror > 0 ? (uint64_t)kernel.maxerror : 0;
}

void admin__node_skew(struct admin_call *call) {
    const Lightcone__V1__NodeSkewRequest *request = (const void *)call->request;
    struct node_core *core = admin__core(call);
    const struct node_id self = node_self(call->admin->node)->id;
    if (request->node != 0 && request->node != self.v) {
        admin__fail(call, STATUS_NOT_FOUND, "node", "ask that node at its own address");
        return;
    }
    const struct hlc_skew *skew = node_core_skew(core);
    const struct hlc_skew_verdict *verdict = &skew->verdict;
    char reason[HLC_SKEW_TEXT_SIZE];
    Lightcone__V1__NodeSkewResponse response = LIGHTCONE__V1__NODE_SKEW_RESPONSE__INIT;
    response.node = self.v;
    response.state = state_of(skew);
    response.reason = admin__text(call, hlc_skew_reason(skew, reason));
    response.node_count = verdict->node_count;
    response.agreeing_count = verdict->agreeing_count;
    response.majority = verdict->majority;
    response.majority_low_us = verdict->low_us;
    response.majority_high_us = verdict->high_us;
    response.outside_us = verdict->outside_us;
    response.error_us = verdict->error_us;
    response.may_coordinate = node_core_may_coordinate(core, NULL);
    response.dev_offset_ms = node_dev_clock(call->admin->node);
    response.clock_mark = node_core_clock_mark(core).v;
    response.peers = admin__alloc(call, skew->peer_count * sizeof(*response.peers));
    for (uint32_t i = 0; i < skew->peer_count; i++) {
        if (!skew->peers[i].counts) { continue; }
        response.peers[response.n_peers++] = peer_of(call, skew, &skew->peers[i]);
    }
    add_kernel(&response);
    admin__reply(call, &response.base);
}

void admin__dev_clock(struct admin_call *call) {
    const Lightcone__V1__DevClockRequest *request = (const void *)call->request;
    if (!call->admin->dev) {
        admin__fail(call, STATUS_FAILED_PRECONDITION, NULL,
                    "only the clocks of nodes started with `dev: true` can be shifted");
        return;
    }
    if (request->offset_ms > DEV_CLOCK_MS_MAX || request->offset_ms < -DEV_CLOCK_MS_MAX) {
        admin__fail(call, STATUS_INVALID_ARGUMENT, "offset_ms", "at most a day, 86400000 ms");
        return;
    }
    node_set_dev_clock(call->admin->node, request->offset_ms);
    Lightcone__V1__DevClockResponse response = LIGHTCONE__V1__DEV_CLOCK_RESPONSE__INIT;
    admin__reply(call, &response.base);
}
