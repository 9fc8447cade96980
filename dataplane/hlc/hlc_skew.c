// SPDX-License-Identifier: Apache-2.0
//
// Design note. Each exchange gives an interval that the peer's clock certainly lies in: the middle
// of the two ways, plus or minus half of the round trip. The best of the last few exchanges counts,
// each error grown with its age by what two clocks may drift. An interval that misses an earlier
// one proves that a clock was stepped: then the earlier ones are void, lest the best of the past
// hide the present for as long as it is remembered.
//
// The verdict is Marzullo's: each clock, this one included, claims its interval widened by a
// tolerance; the point that most intervals hold decides, and when these are more than half of all
// nodes they are the majority. This node is inside when its own interval holds the point. Outside,
// its distance is taken from the *span* of the majority's intervals, not from their intersection.
//
// Why the outliers are a minority. Let C be outside of a majority M, and A be in M. Were A outside
// of a majority M' by its own measurements, M and M' share a node X. By C's measurements A and X
// are apart by at most 2 tolerances and 2 errors, 300 ms; by A's, X is further away than
// outside_us_max and a tolerance, 300 ms. Both cannot be. So no member of M is outside, and more
// than half of all nodes are in M. (That takes errors of at most error_us_max: no worse witness is
// heard. And one list of nodes, and clocks that stand still for the moment.)
//
// Rejected: an average of offsets, which one clock that is a day off moves by hours. Rejected: to
// follow the majority's clock; a clock that is wrong is somebody's to repair, and until then better
// not used.
#include "dataplane/hlc/hlc_skew.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/hlc/hlc.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOLERANCE_US   UINT64_C(50000)
#define ERROR_US_MAX   UINT64_C(100000)
#define OUTSIDE_US_MAX UINT64_C(250000)
#define FRESH_NS       UINT64_C(5000000000)
#define RECOVER_NS     UINT64_C(2000000000)
#define STARTUP_NS     UINT64_C(3000000000)
#define DRIFT_PPM      UINT64_C(1000)

enum {
    STEP_SLACK_US = 1000,  // of readings of two clocks that are not taken at one instant
    // A monotonic clock may be off by 10 %, as leases allow for: half of the round trip, and an
    // eighth of that half.
    HALF = 2,
    RATE_SLACK = 8,
    ROUND_TRIP_US_MAX = 60 * 1000000,
    LIGHT_KM_PER_S = 200000,
};
#define EARTH_RADIUS_KM 6371.0

static uint64_t or_default(uint64_t value, uint64_t otherwise) {
    return value != 0 ? value : otherwise;
}

void hlc_skew_init(struct hlc_skew *self, const struct hlc_skew_config *config) {
    *self =
        (struct hlc_skew){.config = {
                              .now_ns = config->now_ns,
                              .tolerance_us = or_default(config->tolerance_us, TOLERANCE_US),
                              .error_us_max = or_default(config->error_us_max, ERROR_US_MAX),
                              .outside_us_max = or_default(config->outside_us_max, OUTSIDE_US_MAX),
                              .fresh_ns = or_default(config->fresh_ns, FRESH_NS),
                              .recover_ns = or_default(config->recover_ns, RECOVER_NS),
                              .startup_ns = or_default(config->startup_ns, STARTUP_NS),
                              .drift_ppm = or_default(config->drift_ppm, DRIFT_PPM),
                          }};
    self->state = HLC_SKEW_QUARANTINED;
    self->verdict = (struct hlc_skew_verdict){.node_count = 1, .measured_count = 1};
    // See the design note.
    ASSERT(self->config.tolerance_us + 2 * self->config.error_us_max <=
           self->config.outside_us_max);
}

static struct hlc_skew_peer *find(struct hlc_skew *self, uint32_t node) {
    for (uint32_t i = 0; i < self->peer_count; i++) {
        if (self->peers[i].node == node) { return &self->peers[i]; }
    }
    return NULL;
}

const struct hlc_skew_peer *hlc_skew_find(const struct hlc_skew *self, uint32_t node) {
    for (uint32_t i = 0; i < self->peer_count; i++) {
        if (self->peers[i].node == node) { return &self->peers[i]; }
    }
    return NULL;
}

bool hlc_skew_set_peer(struct hlc_skew *self, uint32_t node, bool counts, uint64_t floor_us) {
    ASSERT(node != 0);
    struct hlc_skew_peer *peer = find(self, node);
    if (peer == NULL && self->peer_count == HLC_SKEW_PEERS_MAX) { return false; }
    if (peer == NULL) {
        peer = &self->peers[self->peer_count++];
        *peer = (struct hlc_skew_peer){.node = node};
    }
    peer->counts = counts;
    peer->floor_us = floor_us;
    return true;
}

void hlc_skew_forget(struct hlc_skew *self, uint64_t now_ns) {
    self->settled = false;
    self->outcast = false;
    self->config.now_ns = now_ns;
    for (uint32_t i = 0; i < self->peer_count; i++) {
        self->peers[i].sample_count = 0;
    }
}

// --- Measuring

static uint64_t distance(int64_t a, int64_t b) {
    return a < b ? (uint64_t)(b - a) : (uint64_t)(a - b);
}

static uint64_t error_at(const struct hlc_skew *self, const struct hlc_skew_sample *sample,
                         uint64_t now_ns) {
    ASSERT(now_ns >= sample->at_ns);
    const uint64_t age_us = (now_ns - sample->at_ns) / 1000;
    return sample->error_us + age_us / 1000000 * self->config.drift_ppm +
           age_us % 1000000 * self->config.drift_ppm / 1000000;
}

static bool measure(const struct hlc_skew_exchange *x, struct hlc_skew_sample *out) {
    const uint64_t walls[] = {x->sent_wall_us, x->received_wall_us, x->replied_wall_us,
                              x->arrived_wall_us};
    for (size_t i = 0; i < sizeof(walls) / sizeof(walls[0]); i++) {
        if (walls[i] >= HLC_WALL_US_END) { return false; }
    }
    if (x->arrived_ns < x->sent_ns || x->replied_wall_us < x->received_wall_us) { return false; }
    const uint64_t total_us = (x->arrived_ns - x->sent_ns) / 1000;
    const uint64_t held_us = x->replied_wall_us - x->received_wall_us;
    if (total_us > ROUND_TRIP_US_MAX || held_us > total_us) { return false; }
    const int64_t by_wall = (int64_t)x->arrived_wall_us - (int64_t)x->sent_wall_us;
    if (distance(by_wall, (int64_t)total_us) > STEP_SLACK_US + total_us / RATE_SLACK) {
        MARK("hlc_skew.stepped_during_an_exchange");
        return false;
    }
    const int64_t there_us = (int64_t)x->received_wall_us - (int64_t)x->sent_wall_us;
    const int64_t back_us = (int64_t)x->replied_wall_us - (int64_t)x->arrived_wall_us;
    const uint64_t half_us = (total_us - held_us) / HALF;
    *out = (struct hlc_skew_sample){
        .offset_us = (there_us + back_us) / HALF,
        .error_us = half_us + half_us / RATE_SLACK + 1,
        .round_trip_us = total_us - held_us,
        .at_ns = x->arrived_ns,
    };
    return true;
}

// A message that light could not have carried so fast, or that arrived before it was sent: proof
// that one of the clocks is wrong.
static void note_physics(struct hlc_skew_peer *peer, const struct hlc_skew_exchange *x) {
    const int64_t floor_us = (int64_t)peer->floor_us;
    const int64_t there_us = (int64_t)x->received_wall_us - (int64_t)x->sent_wall_us;
    const int64_t back_us = (int64_t)x->arrived_wall_us - (int64_t)x->replied_wall_us;
    peer->violations += there_us < floor_us ? 1 : 0;
    peer->violations += back_us < floor_us ? 1 : 0;
}

static bool contradicts(const struct hlc_skew *self, const struct hlc_skew_peer *peer,
                        const struct hlc_skew_sample *news) {
    for (uint32_t i = 0; i < peer->sample_count; i++) {
        const struct hlc_skew_sample *old = &peer->samples[i];
        const uint64_t apart_us = distance(old->offset_us, news->offset_us);
        if (apart_us > error_at(self, old, news->at_ns) + news->error_us + STEP_SLACK_US) {
            return true;
        }
    }
    return false;
}

static void keep(struct hlc_skew *self, struct hlc_skew_peer *peer,
                 const struct hlc_skew_sample *news) {
    if (contradicts(self, peer, news)) {
        MARK("hlc_skew.a_clock_was_stepped");
        peer->steps++;
        peer->sample_count = 0;
    }
    if (peer->sample_count == 0) { peer->sample_next = 0; }
    peer->samples[peer->sample_next] = *news;
    peer->sample_next = (peer->sample_next + 1) % HLC_SKEW_SAMPLES_MAX;
    if (peer->sample_count < HLC_SKEW_SAMPLES_MAX) { peer->sample_count++; }
}

bool hlc_skew_on_exchange(struct hlc_skew *self, uint32_t node,
                          const struct hlc_skew_exchange *exchange) {
    struct hlc_skew_peer *peer = find(self, node);
    struct hlc_skew_sample sample;
    if (peer == NULL || !measure(exchange, &sample)) { return false; }
    note_physics(peer, exchange);
    keep(self, peer, &sample);
    return true;
}

bool hlc_skew_best(const struct hlc_skew *self, const struct hlc_skew_peer *peer, uint64_t now_ns,
                   struct hlc_skew_sample *out) {
    bool found = false;
    for (uint32_t i = 0; i < peer->sample_count; i++) {
        struct hlc_skew_sample sample = peer->samples[i];
        if (now_ns - sample.at_ns > self->config.fresh_ns) { continue; }
        sample.error_us = error_at(self, &sample, now_ns);
        if (found && sample.error_us >= out->error_us) { continue; }
        *out = sample;
        found = true;
    }
    return found;
}

// --- Judging

// What a clock claims: the present lies in [low, high], seen from this node's clock.
struct claim {
    int64_t low_us;
    int64_t high_us;
    uint64_t far_us;             // how far it may be from this node's clock
    struct hlc_skew_peer *peer;  // NULL = this node
};

static uint32_t gather(struct hlc_skew *self, uint64_t now_ns, struct claim *out) {
    const int64_t tolerance_us = (int64_t)self->config.tolerance_us;
    uint32_t count = 1;
    uint32_t nodes = 1;
    out[0] = (struct claim){.low_us = -tolerance_us, .high_us = tolerance_us};
    for (uint32_t i = 0; i < self->peer_count; i++) {
        struct hlc_skew_peer *peer = &self->peers[i];
        struct hlc_skew_sample best;
        peer->agrees = false;
        if (!peer->counts) { continue; }
        nodes++;
        if (!hlc_skew_best(self, peer, now_ns, &best)) { continue; }
        if (best.error_us > self->config.error_us_max) { continue; }
        const int64_t wide_us = (int64_t)best.error_us + tolerance_us;
        out[count++] = (struct claim){.low_us = best.offset_us - wide_us,
                                      .high_us = best.offset_us + wide_us,
                                      .far_us = distance(best.offset_us, 0) + best.error_us,
                                      .peer = peer};
    }
    self->verdict = (struct hlc_skew_verdict){.node_count = nodes, .measured_count = count};
    return count;
}

static bool holds(const struct claim *claim, int64_t point_us) {
    return claim->low_us <= point_us && point_us <= claim->high_us;
}

// A point that most claims hold; among equals one that this node's clock holds, so that what is in
// doubt is in its favour. Claims are few: no sorting.
static int64_t best_point(const struct claim *claims, uint32_t count, uint32_t *out_holding) {
    int64_t best_us = 0;
    uint32_t best = 0;
    for (uint32_t i = 0; i < count; i++) {
        const int64_t point_us = claims[i].low_us;
        uint32_t holding = 0;
        for (uint32_t k = 0; k < count; k++) {
            holding += holds(&claims[k], point_us);
        }
        const bool own = holds(&claims[0], point_us) && !holds(&claims[0], best_us);
        if (holding > best || (holding == best && own)) {
            best = holding;
            best_us = point_us;
        }
    }
    *out_holding = best;
    return best_us;
}

static void judge(struct hlc_skew *self, uint64_t now_ns) {
    struct claim claims[HLC_SKEW_PEERS_MAX + 1];
    const uint32_t count = gather(self, now_ns, claims);
    struct hlc_skew_verdict *verdict = &self->verdict;
    const int64_t point_us = best_point(claims, count, &verdict->agreeing_count);
    verdict->majority = verdict->agreeing_count > verdict->node_count / 2;
    if (!verdict->majority) { return; }
    verdict->inside = holds(&claims[0], point_us);
    verdict->low_us = INT64_MAX;
    verdict->high_us = INT64_MIN;
    for (uint32_t i = 0; i < count; i++) {
        const struct claim *claim = &claims[i];
        if (!holds(claim, point_us)) { continue; }
        if (claim->low_us < verdict->low_us) { verdict->low_us = claim->low_us; }
        if (claim->high_us > verdict->high_us) { verdict->high_us = claim->high_us; }
        if (claim->far_us > verdict->error_us) { verdict->error_us = claim->far_us; }
        if (claim->peer != NULL) { claim->peer->agrees = true; }
    }
    if (verdict->low_us > 0) { verdict->outside_us = (uint64_t)verdict->low_us; }
    if (verdict->high_us < 0) { verdict->outside_us = distance(verdict->high_us, 0); }
    ASSERT(!verdict->inside || verdict->outside_us == 0);
}

static enum hlc_skew_state state_of(const struct hlc_skew *self) {
    const struct hlc_skew_verdict *verdict = &self->verdict;
    if (!verdict->majority) { return self->outcast ? HLC_SKEW_QUARANTINED : HLC_SKEW_DEGRADED; }
    if (verdict->outside_us > self->config.outside_us_max) { return HLC_SKEW_QUARANTINED; }
    const bool close = verdict->inside && verdict->error_us <= self->config.error_us_max;
    return close ? HLC_SKEW_SYNCED : HLC_SKEW_DEGRADED;
}

// The worst verdict of the last recover_ns.
static enum hlc_skew_state worst_recent(const struct hlc_skew *self, uint64_t now_ns) {
    for (int state = HLC_SKEW_QUARANTINED; state > HLC_SKEW_SYNCED; state--) {
        const uint64_t seen_ns = self->seen_ns[state];
        if (seen_ns != 0 && now_ns + 1 - seen_ns < self->config.recover_ns) {
            return (enum hlc_skew_state)state;
        }
    }
    return HLC_SKEW_SYNCED;
}

enum hlc_skew_state hlc_skew_judge(struct hlc_skew *self, uint64_t now_ns) {
    judge(self, now_ns);
    const struct hlc_skew_verdict *verdict = &self->verdict;
    // Two that contradict one another settle nothing while a third has not been heard.
    const bool heard = verdict->majority || verdict->measured_count == verdict->node_count;
    const bool waited = now_ns - self->config.now_ns >= self->config.startup_ns;
    self->settled = self->settled || heard || waited;
    if (verdict->majority) { self->outcast = verdict->outside_us > self->config.outside_us_max; }
    if (!self->settled) {
        self->state = HLC_SKEW_QUARANTINED;
        return self->state;
    }
    const enum hlc_skew_state now = state_of(self);
    self->seen_ns[now] = now_ns + 1;
    const enum hlc_skew_state recent = worst_recent(self, now_ns);
    self->state = recent > now ? recent : now;
    return self->state;
}

// --- For people

const char *hlc_skew_state_text(enum hlc_skew_state state) {
    switch (state) {
    case HLC_SKEW_SYNCED:
        return "synced";
    case HLC_SKEW_DEGRADED:
        return "degraded";
    case HLC_SKEW_QUARANTINED:
        return "quarantined";
    case HLC_SKEW_STATE_COUNT:
        break;
    }
    return "?";
}

char *hlc_skew_reason(const struct hlc_skew *self, char out[HLC_SKEW_TEXT_SIZE]) {
    const struct hlc_skew_verdict *verdict = &self->verdict;
    const char *side = verdict->high_us < 0 ? "ahead of" : "behind";
    if (!self->settled) {
        (void)snprintf(out, HLC_SKEW_TEXT_SIZE,
                       "unsure: %" PRIu32 " of %" PRIu32 " clocks are known since the start",
                       verdict->measured_count, verdict->node_count);
    } else if (verdict->majority && verdict->outside_us > 0) {
        (void)snprintf(out, HLC_SKEW_TEXT_SIZE,
                       "the clock is %" PRIu64 ".%03" PRIu64 " ms %s what %" PRIu32 " of %" PRIu32
                       " nodes agree on",
                       verdict->outside_us / 1000, verdict->outside_us % 1000, side,
                       verdict->agreeing_count, verdict->node_count);
    } else if (!verdict->majority && self->outcast) {
        (void)snprintf(out, HLC_SKEW_TEXT_SIZE,
                       "a majority found the clock wrong and is not heard any more: %" PRIu32
                       " of %" PRIu32 " clocks are known",
                       verdict->measured_count, verdict->node_count);
    } else if (!verdict->majority) {
        (void)snprintf(out, HLC_SKEW_TEXT_SIZE,
                       "no majority agrees on the time: %" PRIu32 " of %" PRIu32
                       " nodes do, %" PRIu32 " are known",
                       verdict->agreeing_count, verdict->node_count, verdict->measured_count);
    } else {
        (void)snprintf(out, HLC_SKEW_TEXT_SIZE,
                       "%" PRIu32 " of %" PRIu32 " nodes agree, this one%s among them",
                       verdict->agreeing_count, verdict->node_count, verdict->inside ? "" : " not");
    }
    return out;
}

static double radians(int32_t microdegrees) {
    return (double)microdegrees / 1e6 * (M_PI / 180);
}

uint64_t hlc_skew_light_us(int32_t latitude_a, int32_t longitude_a, int32_t latitude_b,
                           int32_t longitude_b) {
    if (latitude_a == latitude_b && longitude_a == longitude_b) { return 0; }
    const double a = radians(latitude_a);
    const double b = radians(latitude_b);
    const double up = sin((b - a) / 2);
    const double along = sin((radians(longitude_b) - radians(longitude_a)) / 2);
    double half = up * up + cos(a) * cos(b) * along * along;  // haversine of the angle
    if (half > 1) { half = 1; }
    const double km = 2 * EARTH_RADIUS_KM * asin(sqrt(half));
    return (uint64_t)(km * 1e6 / LIGHT_KM_PER_S);
}
