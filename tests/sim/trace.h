// SPDX-License-Identifier: Apache-2.0
// trace.h - what happened in a simulated world: a running hash of every event, and the
//           last of them.
// Invariants: the hash depends on nothing but the lines added; equal worlds have equal hashes.
// Ownership:  the caller owns the struct; texts are string literals.
// Thread:     confined to the world.
// See:        tests/sim/README.md
#pragma once

#include "dataplane/hlc/hlc.h"

#include <stdbool.h>
#include <stdint.h>

enum sim_trace_kind {
    SIM_TRACE_DELIVER,
    SIM_TRACE_LOST,
    SIM_TRACE_TIMER,
    SIM_TRACE_TURN,
    SIM_TRACE_LOG,
    SIM_TRACE_FLUSH,
    SIM_TRACE_APPLY,
    SIM_TRACE_ROLE,
    SIM_TRACE_INVOKE,
    SIM_TRACE_RETURN,
    SIM_TRACE_CRASH,
    SIM_TRACE_BOOT,
    SIM_TRACE_FAULT,
    SIM_TRACE_PHASE,
    SIM_TRACE_KIND_COUNT
};

struct sim_trace_line {
    uint64_t now_ns;
    struct hlc_ts hlc;  // largest of what the node knew of; of the line before for the world's own
    uint32_t node;      // 0 = the world itself
    enum sim_trace_kind kind;
    const char *what;  // literal
    uint64_t a;
    uint64_t b;
    uint64_t c;
};

enum { SIM_TRACE_LINES_MAX = 4096 };

struct sim_trace {
    uint64_t hash;
    uint64_t count;
    bool echo;                                         // print each line as it comes
    struct sim_trace_line lines[SIM_TRACE_LINES_MAX];  // a ring
};

void sim_trace_init(struct sim_trace *self, bool echo);
void sim_trace_add(struct sim_trace *self, const struct sim_trace_line *line);
// Prints the last lines, turns and timers left out, in HLC order.
void sim_trace_print(const struct sim_trace *self, uint32_t count_max);
