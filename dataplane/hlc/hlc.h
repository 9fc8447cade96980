// SPDX-License-Identifier: Apache-2.0
// hlc.h - hybrid logical clock: one 64-bit timestamp, 52 bits of microseconds and 12 bits of
// counter.
// Invariants: hlc_now is strictly increasing per clock; hlc_observe never moves the clock back; a
//             refused observation changes nothing.
// Ownership:  the caller owns the clock; the wall clock is an argument, nothing is read here.
// Thread:     confined to the shard loop that owns the clock.
// See:        dataplane/hlc/README.md; Kulkarni et al., Logical Physical Clocks (2014), section 3;
//             tests/unit/dataplane/hlc/hlc_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hlc_ts {
    uint64_t v;
};

enum { HLC_LOGICAL_BITS = 12, HLC_TEXT_SIZE = 48 };
#define HLC_ZERO ((struct hlc_ts){0})
#define HLC_MAX  ((struct hlc_ts){UINT64_MAX})

static inline bool hlc_before(struct hlc_ts a, struct hlc_ts b) {
    return a.v < b.v;
}
static inline bool hlc_equal(struct hlc_ts a, struct hlc_ts b) {
    return a.v == b.v;
}
static inline struct hlc_ts hlc_larger(struct hlc_ts a, struct hlc_ts b) {
    return a.v < b.v ? b : a;
}
static inline struct hlc_ts hlc_smaller(struct hlc_ts a, struct hlc_ts b) {
    return a.v < b.v ? a : b;
}
// Walls from HLC_WALL_US_END on (the year 2112) have no timestamp.
#define HLC_WALL_US_END (UINT64_C(1) << (64 - HLC_LOGICAL_BITS))
// wall_us < HLC_WALL_US_END.
static inline struct hlc_ts hlc_from_wall(uint64_t wall_us) {
    return (struct hlc_ts){wall_us << HLC_LOGICAL_BITS};
}
static inline uint64_t hlc_wall_us(struct hlc_ts ts) {
    return ts.v >> HLC_LOGICAL_BITS;
}
// ts + microseconds, saturating at HLC_MAX.
struct hlc_ts hlc_add_us(struct hlc_ts ts, uint64_t us);

struct hlc_clock {
    struct hlc_ts last;    // read-only: largest timestamp given or observed
    uint64_t lead_us_max;  // observations further ahead of the wall clock are refused
};

// lead_us_max: see max_clock_lead in docs (default 1 000 000).
void hlc_init(struct hlc_clock *self, uint64_t lead_us_max);
// last = max(last + 1, wall << 12). When the counter is full the addition carries into the
// microseconds: it is one integer. A wall clock at or beyond HLC_WALL_US_END, or a clock that
// stands at HLC_MAX, is a bug of the caller.
struct hlc_ts hlc_now(struct hlc_clock *self, uint64_t wall_us);
// The present without a step: max(last, wall << 12). Not unique: hlc_now gives later ones.
struct hlc_ts hlc_peek(const struct hlc_clock *self, uint64_t wall_us);
// last = max(last, remote), or STATUS_CLOCK_AHEAD, and no change, when remote is news (beyond last)
// and leads the wall clock by more than lead_us_max. What the clock has reached already is never
// refused: it drags nothing, and after a backward jump of the wall clock our own tokens come back.
// Nor is what lies a few steps of the counter beyond (16 us).
NODISCARD enum status hlc_observe(struct hlc_clock *self, struct hlc_ts remote, uint64_t wall_us);
// The same of a peer's clock, which is refused when it leads the wall clock *and* what this clock
// has reached by more than lead_us_max: peers that have adopted timestamps far above all walls
// stand there together, each a little apart, until the walls have caught up (decisions/0011).
NODISCARD enum status hlc_observe_peer(struct hlc_clock *self, struct hlc_ts remote,
                                       uint64_t wall_us);
// For timestamps that are already decided (log entries, ceilings, commits): always taken. Not
// HLC_MAX: whoever decodes a timestamp that is meant to be adopted refuses it.
void hlc_adopt(struct hlc_clock *self, struct hlc_ts decided);

// "2026-11-20T12:00:00.123456Z+7"; out has HLC_TEXT_SIZE bytes; returns out.
char *hlc_format(struct hlc_ts ts, char out[HLC_TEXT_SIZE]);
// Accepts that form (fraction of 1 to 6 digits optional, counter optional) and a decimal integer;
// STATUS_INVALID_ARGUMENT otherwise, also for times before 1970 and from
// 2112-09-17T23:53:47.370496Z.
NODISCARD enum status hlc_parse(struct slice text, struct hlc_ts *out_ts);
