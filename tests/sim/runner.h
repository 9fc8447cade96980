// SPDX-License-Identifier: Apache-2.0
// runner.h - runs worlds in processes of their own, so that an assertion in one ends only that one.
// Invariants: a world run twice must have one hash; a child that dies is a failure.
// Ownership:  values.
// Thread:     one; forks.
// See:        tests/sim/README.md
#pragma once

#include "tests/sim/world.h"

struct sim_runner {
    bool twice;   // and compare the hashes
    bool silent;  // children print nothing (mutants are meant to fail)
    bool echo;    // children print every event
};

struct sim_run_report {
    bool passed;
    bool died;  // by an assertion or a fatal stop
    struct sim_result result;
};

void sim_runner_run(const struct sim_runner *self, const struct sim_plan *plan,
                    struct sim_run_report *out);

struct sim_range {
    uint64_t first;
    uint64_t last;
};
// "A..B" or "A".
bool sim_range_parse(const char *text, struct sim_range *out);

struct sim_totals {
    uint64_t passed;
    uint64_t failed;
    uint64_t ops;
    uint64_t committed_ok;
    uint64_t unknown;
    uint64_t refused;
    uint64_t leader_changes;
    uint64_t restarts;
    uint64_t events;
    uint64_t faults;
    uint64_t virtual_ns;
    uint64_t undecided;
    uint64_t clock_steps;
    struct sim_txn_stats txns;
};
void sim_totals_add(struct sim_totals *self, const struct sim_run_report *report);
// cpu_seconds: of processor time, for one run of each world.
void sim_totals_print(const struct sim_totals *self, double cpu_seconds);
// Real seconds since some moment.
double sim_real_seconds(void);
// Seconds of processor time that the worlds run so far have used.
double sim_cpu_seconds(void);
