// SPDX-License-Identifier: Apache-2.0
// The routing rules of control-plane.md as functions of values, so that a table can test them.
//
// What an attempt may end with, and why:
//   certified                      the shard decided: this is the result of the call; only a
//                                  lock that was in the way of a commit is no end of it
//   NOT_LEADER                     nothing happened there; with a leader named ask it at once
//   STALE_SHARD_MAP                nothing happened; with a newer route take it at once, else the
//                                  other side is behind: wait for it
//   UNAVAILABLE                    nobody can say now; when it had entered a log it may commit yet
//   OVERLOADED                     nothing happened; the client is told at once, so that it slows
//                                  down, unless an earlier attempt left the fate open
//   anything else                  a refusal of the request itself: told, unless an earlier attempt
//                                  left the fate open
#include "txn/session/session_route.h"

#include "dataplane/base/assert.h"

#define BACKOFF_NS_MIN UINT64_C(2000000)
#define BACKOFF_NS_MAX UINT64_C(100000000)
enum { BACKOFF_DOUBLINGS_MAX = 6 };

static bool may_ask(const struct session_candidates *self, struct node_id node) {
    return node.v != 0 && !node_id_equal(node, self->self) && !node_id_equal(node, self->avoid);
}

struct node_id session_route_target(const struct session_candidates *self) {
    ASSERT(self->self.v != 0);
    if (self->self_leads) { return self->self; }
    if (may_ask(self, self->hint)) { return self->hint; }
    bool avoided_may_lead = false;
    for (uint32_t i = 0; i < self->count; i++) {
        const struct node_id node = self->nodes[(self->rotor + i) % self->count];
        if (may_ask(self, node)) { return node; }
        avoided_may_lead = avoided_may_lead || node_id_equal(node, self->avoid);
    }
    // Nobody else is left: better again the one that failed than nobody.
    const bool avoided_is_other = !node_id_equal(self->avoid, self->self);
    return avoided_may_lead && avoided_is_other ? self->avoid : (struct node_id){0};
}

struct node_id session_route_nearest(const struct session_nearest *self) {
    ASSERT(self->self.v != 0);
    if (self->self_has) { return self->self; }
    struct node_id best = {0};
    uint64_t best_distance = UINT64_MAX;
    for (uint32_t i = 0; i < self->count; i++) {
        const uint32_t place = (self->rotor + i) % self->count;
        const struct node_id node = self->nodes[place];
        if (node_id_equal(node, self->self) || node_id_equal(node, self->leader)) { continue; }
        const uint64_t distance = self->distances == NULL ? 0 : self->distances[place];
        if (best.v == 0 || distance < best_distance) {
            best = node;
            best_distance = distance;
        }
    }
    if (best.v != 0) { return best; }
    return node_id_equal(self->leader, self->self) ? (struct node_id){0} : self->leader;
}

bool session_route_mutates(enum command_kind kind) {
    return kind == COMMAND_COMMIT || kind == COMMAND_CATALOG || kind == COMMAND_PREPARE ||
           kind == COMMAND_PREPARE_ALONE || kind == COMMAND_RESOLVE;
}

enum status session_route_give_up(enum command_kind kind, bool maybe_applied,
                                  enum status otherwise) {
    ASSERT_IF(maybe_applied, session_route_mutates(kind));
    return maybe_applied ? STATUS_UNKNOWN_OUTCOME : otherwise;
}

static enum session_step retry_now_if(const struct session_judgement *self, bool informed) {
    return informed && self->hops < SESSION_HOPS_MAX ? SESSION_RETRY_NOW : SESSION_RETRY_LATER;
}

struct session_verdict session_route_judge(const struct session_judgement *self) {
    ASSERT_IF(self->maybe_applied, session_route_mutates(self->kind));
    struct session_verdict verdict = {
        .step = SESSION_FINISH, .status = self->status, .maybe_applied = self->maybe_applied};
    if (self->locked) {
        ASSERT(self->certified &&
               (self->status == STATUS_ABORTED_RETRY || self->kind == COMMAND_TXN_STATUS));
        verdict.step = SESSION_RETRY_LATER;
        return verdict;
    }
    if (self->certified || self->status == STATUS_OK) { return verdict; }
    if (self->status == STATUS_NOT_LEADER) {
        verdict.step = retry_now_if(self, self->new_leader);
    } else if (self->status == STATUS_STALE_SHARD_MAP) {
        verdict.step = retry_now_if(self, self->newer_map);
    } else if (self->status == STATUS_UNAVAILABLE) {
        verdict.step = SESSION_RETRY_LATER;
        verdict.maybe_applied =
            self->maybe_applied || (self->entered_log && session_route_mutates(self->kind));
    } else if (self->maybe_applied) {
        // A refusal of this attempt says nothing about the one before: ask on until the deadline.
        verdict.step = SESSION_RETRY_LATER;
    }
    return verdict;
}

uint64_t session_route_backoff_ns(uint32_t waits, uint64_t random) {
    const uint32_t doublings = waits < BACKOFF_DOUBLINGS_MAX ? waits : BACKOFF_DOUBLINGS_MAX;
    const uint64_t base = BACKOFF_NS_MIN << doublings;
    const uint64_t delay = base + random % base;
    return delay < BACKOFF_NS_MAX ? delay : BACKOFF_NS_MAX;
}
