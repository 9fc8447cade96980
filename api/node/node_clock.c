// SPDX-License-Identifier: Apache-2.0
// node_clock.c - the wall clock that a node goes by, and the mark that its successor starts at.
//
// A wall clock that is stepped by hours would be in every timestamp before anybody has noticed, and
// log entries carry it to all replicas. So what the core reads is the machine's clock with two
// exceptions. After a step the time goes on as before, at the pace of the monotonic clock, until a
// majority has agreed: one round trip, or as long as this node is cut off. And while a majority
// says that this clock is wrong, the time is kept at the edge of what the majority agrees on, or
// agreed on when it was heard last: what the node still has to say then harms nobody. In the
// exchanges the clock stands as it is, lest a node took its own correction for health.
//
// The mark: timestamps that were given out (tokens, begins of transactions) must not come after
// those that a restart gives out, when the clock was set back in between. What leaders assign and
// serve is covered by the ceilings in their logs; the mark is for the rest. It is kept a part of
// the permitted lead ahead of what was used, so that a node that starts at it is believed at once.
//
// LIMIT: the mark is made durable beside the work, not before it. A timestamp that was given out
// right after a long silence, within the few milliseconds that the first mark takes, is forgotten
// by a crash in between.

#include "api/node/node_core_internal.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"

#define STEP_US UINT64_C(250000)
enum { RATE_SLACK = 8, MARK_PART = 4, MARK_OF = 5 };

static uint64_t outer_now(const struct node_core *self) {
    return self->outer->monotonic_ns(self->outer->ctx);
}

static uint64_t core_now(void *ctx) {
    return outer_now(ctx);
}

static uint64_t core_random(void *ctx) {
    const struct env *outer = ((struct node_core *)ctx)->outer;
    return env_random(outer);
}

static void core_send(void *ctx, struct node_id peer, enum peer_message_type type,
                      struct slice body) {
    env_send(((struct node_core *)ctx)->outer, peer, type, body);
}

static void note_step(struct node_core *self, uint64_t now_ns) {
    MARK("node.clock.stepped");
    self->clock.stepped = true;
    self->clock.kept_us = 0;
    hlc_skew_forget(&self->skew, now_ns);
    self->skew_dirty = true;
    if (self->support.next_request_ns > now_ns) { self->support.next_request_ns = now_ns; }
}

static bool is_step(const struct node_clock *clock, uint64_t raw_us, uint64_t elapsed_us) {
    const uint64_t expected_us = clock->raw_us + elapsed_us;
    const uint64_t apart_us = raw_us < expected_us ? expected_us - raw_us : raw_us - expected_us;
    return apart_us > STEP_US + elapsed_us / RATE_SLACK;
}

// The machine's clock, moved to the edge of the majority's span if it is outside; by as much as
// before when the majority is not heard any more.
static uint64_t kept_inside(struct node_core *self, uint64_t raw_us) {
    const struct hlc_skew_verdict *verdict = &self->skew.verdict;
    int64_t *kept_us = &self->clock.kept_us;
    if (self->skew.state != HLC_SKEW_QUARANTINED) {
        *kept_us = 0;
    } else if (verdict->majority) {
        *kept_us = verdict->low_us > 0 ? verdict->low_us : verdict->high_us;
        if (verdict->low_us <= 0 && verdict->high_us >= 0) { *kept_us = 0; }
    }
    if (*kept_us < 0 && raw_us <= (uint64_t) - *kept_us) { return raw_us; }
    return raw_us + (uint64_t)*kept_us;
}

static uint64_t core_wall(void *ctx) {
    struct node_core *self = ctx;
    struct node_clock *clock = &self->clock;
    const uint64_t now_ns = outer_now(self);
    const uint64_t raw_us = env_wall_us(self->outer);
    ASSERT(now_ns >= clock->read_ns);
    const uint64_t elapsed_us = (now_ns - clock->read_ns) / 1000;
    if (clock->raw_us != 0 && is_step(clock, raw_us, elapsed_us)) { note_step(self, now_ns); }
    if (self->skew.settled && self->skew.verdict.majority) { clock->stepped = false; }
    const uint64_t wall_us =
        clock->stepped ? clock->wall_us + elapsed_us : kept_inside(self, raw_us);
    // Whole microseconds only: what is left counts next time.
    clock->read_ns += elapsed_us * 1000;
    clock->raw_us = raw_us;
    clock->wall_us = wall_us;
    self->support.wall_shift_us = (int64_t)(wall_us - raw_us);
    return wall_us;
}

void node_core__clock_init(struct node_core *self) {
    self->outer = self->config.env;
    self->env = (struct env){self, core_now, core_wall, core_random, core_send};
    self->config.env = &self->env;
    self->clock = (struct node_clock){.read_ns = outer_now(self)};
    self->clock_mark = self->config.clock_floor;
    if (hlc_before(self->hlc.last, self->clock_mark)) { hlc_adopt(&self->hlc, self->clock_mark); }
}

// Reads on from where the wall clock was read last, since reading it again may take note of a step.
// A microsecond less than that, for it was rounded: no event may lie beyond what the next message
// will carry.
static struct hlc_ts trace_now(void *ctx) {
    const struct node_core *self = ctx;
    const struct node_clock *clock = &self->clock;
    const uint64_t now_ns = outer_now(self);
    const uint64_t elapsed_us = now_ns > clock->read_ns ? (now_ns - clock->read_ns) / 1000 : 0;
    const uint64_t wall_us = clock->wall_us + elapsed_us;
    return hlc_larger(self->hlc.last, hlc_from_wall(wall_us > 0 ? wall_us - 1 : 0));
}

void node_core__trace_init(struct node_core *self) {
    if (self->config.trace_events == 0) { return; }
    self->trace = trace_create(self->config.trace_events, (struct trace_clock){self, trace_now});
}

uint64_t node_core_wall_us(struct node_core *self) {
    return env_wall_us(&self->env);
}

struct hlc_ts node_core_clock_mark(const struct node_core *self) {
    return self->clock_mark;
}

bool node_core_clock_wanted(struct node_core *self, struct hlc_ts *out_mark) {
    // A clock that is wrong must not be remembered.
    if (self->skew.state == HLC_SKEW_QUARANTINED) { return false; }
    const uint64_t calls = session_stats(self->session).calls;
    struct hlc_ts used = self->hlc.last;
    if (calls != self->clock_calls) {
        used = hlc_peek(&self->hlc, env_wall_us(&self->env));
        self->clock_calls = calls;
    }
    const uint64_t ahead_us = self->config.clock_lead_us_max / MARK_OF * MARK_PART;
    if (!hlc_before(self->clock_mark, hlc_add_us(used, ahead_us / 2))) { return false; }
    *out_mark = hlc_add_us(used, ahead_us);
    return hlc_before(*out_mark, HLC_MAX);
}

void node_core_clock_kept(struct node_core *self, struct hlc_ts mark) {
    self->clock_mark = hlc_larger(self->clock_mark, mark);
}
