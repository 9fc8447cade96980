// SPDX-License-Identifier: Apache-2.0
// The swarm of continuous integration: the seeds of LIGHTCONE_SEEDS (A..B), or 1..300, each run
// twice, and the seeds that failed once (regressions.txt). Its last line is "N passed, N failed".
#include "tests/sim/runner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sim_runner runner = {.twice = true};

static void run(uint64_t seed, struct sim_totals *totals) {
    struct sim_plan plan;
    struct sim_run_report report;
    sim_plan_draw(&plan, seed, SIM_FAULTS_ALL);
    sim_runner_run(&runner, &plan, &report);
    sim_totals_add(totals, &report);
    if (report.passed) { return; }
    sim_plan_print(&plan);
    (void)printf("FAILED: %s\nseed=%" PRIu64
                 "\nreplay: bazel run //tests/sim:sim -- --seed %" PRIu64 " --trace\n",
                 report.result.failure, seed, seed);
}

// A line begins with a seed; what follows it is a comment, and so is a line that begins with '#'.
static bool run_regressions(const char *path, struct sim_totals *totals) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        (void)printf("FAILED: cannot read %s\n", path);
        return false;
    }
    char line[512];
    while (fgets(line, sizeof(line), file) != NULL) {
        char *end = NULL;
        uint64_t seed = strtoull(line, &end, 10);
        if (end != line) { run(seed, totals); }
    }
    (void)fclose(file);
    return true;
}

// What a swarm of some size must have come to, lest it proves nothing about it.
static bool reached_all(const struct sim_range *range, const struct sim_totals *totals) {
    enum { SWARM_MIN = 100 };
    if (range->last - range->first + 1 < SWARM_MIN || totals->clock_steps > 0) { return true; }
    (void)printf("FAILED: no node noticed a step of its clock\n");
    return false;
}

int main(int argc, char **argv) {
    const char *wanted = getenv("LIGHTCONE_SEEDS");
    struct sim_range range;
    if (!sim_range_parse(wanted != NULL ? wanted : "1..300", &range)) {
        (void)printf("LIGHTCONE_SEEDS wants A..B, not \"%s\"\n0 passed, 1 failed\n", wanted);
        return 1;
    }
    struct sim_totals totals = {0};
    if (argc > 1 && !run_regressions(argv[1], &totals)) { totals.failed++; }
    for (uint64_t seed = range.first; seed <= range.last; seed++) {
        run(seed, &totals);
    }
    if (!reached_all(&range, &totals)) { totals.failed++; }
    sim_totals_print(&totals, sim_cpu_seconds() / 2);
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", totals.passed, totals.failed);
    return totals.failed == 0 ? 0 : 1;
}
