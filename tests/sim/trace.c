// SPDX-License-Identifier: Apache-2.0
// The ring keeps the end of the story, because that is what one reads first; the whole of it comes
// from running the same seed again with --trace. Nothing is formatted until it is printed.
#include "tests/sim/trace.h"

#include "dataplane/base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kind_names[SIM_TRACE_KIND_COUNT] = {
    "deliver", "lost", "timer",  "turn",  "log",  "flush", "apply",
    "role",    "call", "answer", "CRASH", "BOOT", "FAULT", "PHASE",
};

struct picked {
    const struct sim_trace_line *line;
    uint64_t number;
};

void sim_trace_init(struct sim_trace *self, bool echo) {
    self->hash = 0;
    self->count = 0;
    self->echo = echo;
}

static void print_line(const struct sim_trace_line *line) {
    char hlc[HLC_TEXT_SIZE];
    (void)printf("%10.6f  %-34s n%" PRIu32 " %-8s %-18s %" PRIu64 " %" PRIu64 " %" PRIx64 "\n",
                 (double)line->now_ns / 1e9, line->hlc.v == 0 ? "-" : hlc_format(line->hlc, hlc),
                 line->node, kind_names[line->kind], line->what, line->a, line->b, line->c);
}

static uint64_t mix(uint64_t hash, uint64_t part) {
    hash = (hash ^ part) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

void sim_trace_add(struct sim_trace *self, const struct sim_trace_line *line) {
    // A chain of multiplications: each step is a bijection of the hash so far.
    uint64_t hash = self->hash;
    hash = mix(hash, line->now_ns);
    hash = mix(hash, line->hlc.v);
    hash = mix(hash, (uint64_t)line->kind << 32 | line->node);
    hash = mix(hash, line->a);
    hash = mix(hash, line->b);
    hash = mix(hash, line->c);
    self->hash = hash;
    self->lines[self->count % SIM_TRACE_LINES_MAX] = *line;
    self->count++;
    if (self->echo) { print_line(line); }
}

// HLCs respect what caused what, since messages carry them; among equal ones the order in which
// the lines came does, which the ring keeps.
static int by_hlc(const void *a, const void *b) {
    const struct picked *x = a;
    const struct picked *y = b;
    if (x->line->hlc.v != y->line->hlc.v) { return x->line->hlc.v < y->line->hlc.v ? -1 : 1; }
    return x->number < y->number ? -1 : x->number > y->number;
}

static bool is_noise(const struct sim_trace_line *line) {
    return line->kind == SIM_TRACE_TURN || line->kind == SIM_TRACE_TIMER;
}

void sim_trace_print(const struct sim_trace *self, uint32_t count_max) {
    struct picked *items = mem_alloc_array(SIM_TRACE_LINES_MAX, sizeof(*items));
    uint64_t held = self->count < SIM_TRACE_LINES_MAX ? self->count : SIM_TRACE_LINES_MAX;
    uint32_t count = 0;
    for (uint64_t back = 1; back <= held && count < count_max; back++) {
        uint64_t number = self->count - back;
        const struct sim_trace_line *line = &self->lines[number % SIM_TRACE_LINES_MAX];
        if (!is_noise(line)) { items[count++] = (struct picked){line, number}; }
    }
    if (count > 0) { qsort(items, count, sizeof(*items), by_hlc); }
    (void)printf("   seconds  largest hlc known there           node event    what\n");
    for (uint32_t i = 0; i < count; i++) {
        print_line(items[i].line);
    }
    mem_free(items);
}
