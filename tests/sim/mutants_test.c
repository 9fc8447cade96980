// SPDX-License-Identifier: Apache-2.0
// A checker that finds nothing may be blind. Each mutant is a bug put into the simulator's own
// ports (a disk that lies, a client that guesses); some seed among the first few must catch it.
#include "tests/sim/runner.h"

#include <inttypes.h>
#include <stdio.h>

struct mutant_case {
    enum sim_mutant mutant;
    uint32_t seeds_max;
    uint64_t faults;  // only these, and only seeds that have one of them; 0 = whatever is drawn
};

static const struct mutant_case cases[] = {
    {SIM_MUTANT_LYING_DISK, 60, 0},
    {SIM_MUTANT_UNKNOWN_FAILED, 60, 0},
    {SIM_MUTANT_NEW_ID, 40, 0},
    {SIM_MUTANT_STALE_READ, 20, 0},
    {SIM_MUTANT_EAGER_NODE, 60, 0},
    {SIM_MUTANT_SAME_BOOT, 300, 1 << SIM_FAULT_ORPHAN},
    {SIM_MUTANT_WILD_CLOCK, 300, 1 << SIM_FAULT_ISOLATE},
};

// The seed that caught it; 0 = none did.
static uint64_t hunt(const struct mutant_case *self, char failure[], size_t size) {
    const struct sim_runner runner = {.silent = true};
    for (uint64_t seed = 1; seed <= self->seeds_max; seed++) {
        struct sim_plan plan;
        struct sim_run_report report;
        sim_plan_draw(&plan, seed, self->faults == 0 ? SIM_FAULTS_ALL : self->faults);
        if (self->faults != 0 && plan.faults == 0) { continue; }
        plan.mutant = self->mutant;
        sim_runner_run(&runner, &plan, &report);
        if (report.passed) { continue; }
        (void)snprintf(failure, size, "%s", report.result.failure);
        return seed;
    }
    return 0;
}

int main(void) {
    uint32_t passed = 0;
    uint32_t failed = 0;
    for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char failure[512] = "";
        uint64_t seed = hunt(&cases[i], failure, sizeof(failure));
        *(seed != 0 ? &passed : &failed) += 1;
        if (seed != 0) {
            (void)printf("%-16s caught by seed %" PRIu64 ": %s\n", sim_mutant_name(cases[i].mutant),
                         seed, failure);
        } else {
            (void)printf("FAILED %-16s not caught by seeds 1..%" PRIu32 "\n",
                         sim_mutant_name(cases[i].mutant), cases[i].seeds_max);
        }
    }
    (void)printf("%" PRIu32 " passed, %" PRIu32 " failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
