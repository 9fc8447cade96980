// SPDX-License-Identifier: Apache-2.0
// sim --seed N replays one world; sim --seeds A..B runs a swarm. A failing seed can be thinned out:
// --shrink drops kinds of faults, faults, time and clients, as long as it still fails, and prints
// the command that replays what is left.
#include "dataplane/base/mutant.h"
#include "tests/sim/runner.h"

#include <popt.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    long long seed;
    char *seeds;
    int minutes;
    int trace;
    int verbose;
    int once;
    int shrink;
    int clients;
    int ordinary;
    int fault_max;
    int fault_ms;
    char *faults;
    char *mutant;
    uint64_t fault_mask;
    enum sim_mutant mutant_kind;
};

static bool parse_faults(const char *text, uint64_t *out_mask) {
    *out_mask = 0;
    char *copy = strdup(text);
    char *rest = copy;
    bool good = true;
    for (char *name = strtok_r(rest, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        uint32_t found = SIM_FAULT_COUNT;
        for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
            if (strcmp(name, sim_fault_name((enum sim_fault)i)) == 0) { found = i; }
        }
        good = good && (found < SIM_FAULT_COUNT || strcmp(name, "none") == 0);
        if (found < SIM_FAULT_COUNT) { *out_mask |= UINT64_C(1) << found; }
    }
    free(copy);  // lint: allow allocation: strdup's
    return good;
}

// A bug in the code itself, which a build with --config=mutants holds (dataplane/base/mutant.h).
static bool choose_in_product(const char *text) {
#ifdef LIGHTCONE_MUTANTS
    for (int i = 0; i < MUTANT_COUNT; i++) {
        if (strcmp(text, mutant_name((enum mutant)i)) != 0) { continue; }
        mutant_choose((enum mutant)i);
        return true;
    }
#endif
    (void)text;
    return false;
}

static bool parse_mutant(const char *text, enum sim_mutant *out) {
    for (uint32_t i = 0; i < SIM_MUTANT_COUNT; i++) {
        if (strcmp(text, sim_mutant_name((enum sim_mutant)i)) != 0) { continue; }
        *out = (enum sim_mutant)i;
        return true;
    }
    return choose_in_product(text);
}

static void make_plan(const struct options *options, uint64_t seed, struct sim_plan *out) {
    sim_plan_draw(out, seed, options->fault_mask);
    out->mutant = options->mutant_kind;
    if (options->ordinary) { sim_plan_ordinary(out); }
    if (options->clients > 0 && (uint32_t)options->clients < out->client_count) {
        out->client_count = (uint32_t)options->clients;
    }
    if (options->fault_max > 0) { out->fault_max = (uint32_t)options->fault_max; }
    if (options->fault_ms > 0 && (uint64_t)options->fault_ms * 1000000 < out->fault_ns) {
        out->fault_ns = (uint64_t)options->fault_ms * 1000000;
    }
}

static void print_report(const struct sim_plan *plan, const struct sim_run_report *report) {
    sim_plan_print(plan);
    struct sim_totals totals = {0};
    sim_totals_add(&totals, report);
    sim_totals_print(&totals, 0);
    (void)printf("hash %016" PRIx64 ", entries compared %" PRIu64 ", digests compared %" PRIu64
                 "\n",
                 report->result.hash, report->result.applied, report->result.digests);
}

static void print_faults(uint64_t mask) {
    const char *comma = " --faults ";
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if ((mask >> i & 1) == 0) { continue; }
        (void)printf("%s%s", comma, sim_fault_name((enum sim_fault)i));
        comma = ",";
    }
    if (mask == 0) { (void)printf(" --faults none"); }
}

static void print_replay(const struct options *options, const struct sim_plan *plan) {
    (void)printf("seed=%" PRIu64 "\nreplay: bazel run //tests/sim:sim -- --seed %" PRIu64,
                 plan->seed, plan->seed);
    if (options->mutant != NULL) { (void)printf(" --mutant %s", options->mutant); }
    if (options->fault_mask != SIM_FAULTS_ALL) { print_faults(plan->faults); }
    if (options->clients > 0) { (void)printf(" --clients %d", options->clients); }
    if (options->fault_max > 0) { (void)printf(" --fault-max %d", options->fault_max); }
    if (options->fault_ms > 0) { (void)printf(" --fault-ms %d", options->fault_ms); }
    if (options->ordinary) { (void)printf(" --ordinary"); }
    (void)printf(" --trace\n");
}

static bool run_seed(const struct options *options, uint64_t seed, struct sim_totals *totals) {
    struct sim_runner runner = {.twice = !options->once, .echo = options->trace};
    struct sim_plan plan;
    struct sim_run_report report;
    make_plan(options, seed, &plan);
    sim_runner_run(&runner, &plan, &report);
    sim_totals_add(totals, &report);
    if (!report.passed || options->verbose) { print_report(&plan, &report); }
    if (!report.passed) {
        (void)printf("FAILED: %s\n", report.result.failure);
        print_replay(options, &plan);
    }
    return report.passed;
}

static bool still_fails(const struct options *options, struct sim_run_report *out) {
    struct sim_runner runner = {.silent = true};
    struct sim_plan plan;
    make_plan(options, (uint64_t)options->seed, &plan);
    sim_runner_run(&runner, &plan, out);
    return !out->passed;
}

static void shrink_kinds(struct options *best) {
    struct sim_run_report report;
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        struct options tried = *best;
        tried.fault_mask &= ~(UINT64_C(1) << i);
        if (tried.fault_mask == best->fault_mask) { continue; }
        if (still_fails(&tried, &report)) { *best = tried; }
    }
}

// The smallest value of a number among the options with which it still fails, by halves, then by
// ones: failures are not monotone, so this is a search, not a proof.
static void shrink_number(struct options *best, int *number, int most) {
    struct sim_run_report report;
    for (int step = most / 2; step > 0 && *number > 1; step = step > 1 ? step / 2 : 0) {
        int kept = *number;
        while (kept > step) {
            *number = kept - step;
            if (!still_fails(best, &report)) { break; }
            kept = *number;
        }
        *number = kept;
    }
}

static void shrink(const struct options *options) {
    struct options best = *options;
    struct sim_plan plan;
    struct sim_run_report report;
    make_plan(&best, (uint64_t)options->seed, &plan);
    best.fault_mask = plan.faults;
    if (!still_fails(&best, &report)) {
        (void)printf("seed %lld does not fail again: nothing to shrink\n", options->seed);
        return;
    }
    shrink_kinds(&best);
    best.fault_ms = (int)(plan.fault_ns / 1000000);
    shrink_number(&best, &best.fault_ms, best.fault_ms);
    (void)still_fails(&best, &report);
    best.fault_max = report.died || report.result.faults == 0 ? 1000 : (int)report.result.faults;
    shrink_number(&best, &best.fault_max, best.fault_max);
    best.clients = (int)plan.client_count;
    shrink_number(&best, &best.clients, best.clients);
    (void)still_fails(&best, &report);
    make_plan(&best, (uint64_t)options->seed, &plan);
    (void)printf("shrunk to %.1f simulated seconds: %s\n", (double)report.result.virtual_ns / 1e9,
                 report.result.failure);
    sim_plan_print(&plan);
    print_replay(&best, &plan);
}

static int run_all(const struct options *options) {
    struct sim_range range = {(uint64_t)options->seed, (uint64_t)options->seed};
    if (options->seeds != NULL && !sim_range_parse(options->seeds, &range)) {
        (void)fprintf(stderr, "sim: --seeds wants A..B\n");
        return 2;
    }
    struct sim_totals totals = {0};
    double begin = sim_real_seconds();
    for (uint64_t seed = range.first; seed <= range.last; seed++) {
        if (!run_seed(options, seed, &totals) && options->shrink) {
            struct options one = *options;
            one.seed = (long long)seed;
            shrink(&one);
        }
        double spent = sim_real_seconds() - begin;
        if (options->minutes > 0 && spent > 60.0 * options->minutes) { break; }
    }
    double spent = sim_cpu_seconds();
    sim_totals_print(&totals, options->once ? spent : spent / 2);
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", totals.passed, totals.failed);
    return totals.failed == 0 ? 0 : 1;
}

int main(int argc, const char **argv) {
    struct options options = {.seed = 1, .fault_mask = SIM_FAULTS_ALL};
    struct poptOption table[] = {
        {"seed", 's', POPT_ARG_LONGLONG, &options.seed, 0, "replay one seed", "N"},
        {"seeds", 'S', POPT_ARG_STRING, &options.seeds, 0, "run a range of seeds", "A..B"},
        {"minutes", 'm', POPT_ARG_INT, &options.minutes, 0, "stop after so long", "M"},
        {"trace", 't', POPT_ARG_NONE, &options.trace, 0, "print every event", NULL},
        {"verbose", 'v', POPT_ARG_NONE, &options.verbose, 0, "print every seed", NULL},
        {"once", '1', POPT_ARG_NONE, &options.once, 0, "do not run twice to compare", NULL},
        {"ordinary", 'o', POPT_ARG_NONE, &options.ordinary, 0, "the load that speed is told of",
         NULL},
        {"shrink", 0, POPT_ARG_NONE, &options.shrink, 0, "thin out what fails", NULL},
        {"clients", 'c', POPT_ARG_INT, &options.clients, 0, "at most so many clients", "N"},
        {"fault-max", 0, POPT_ARG_INT, &options.fault_max, 0, "begin at most so many faults", "N"},
        {"fault-ms", 0, POPT_ARG_INT, &options.fault_ms, 0, "at most so long with faults", "MS"},
        {"faults", 'f', POPT_ARG_STRING, &options.faults, 0, "allow only these faults", "LIST"},
        {"mutant", 'M', POPT_ARG_STRING, &options.mutant, 0, "with a seeded bug", "NAME"},
        POPT_AUTOHELP POPT_TABLEEND};
    poptContext context = poptGetContext("sim", argc, argv, table, 0);
    int code = poptGetNextOpt(context);
    bool good = code == -1 && poptPeekArg(context) == NULL && options.seed >= 0;
    good = good && (options.faults == NULL || parse_faults(options.faults, &options.fault_mask));
    good = good && (options.mutant == NULL || parse_mutant(options.mutant, &options.mutant_kind));
    if (good) {
        code = run_all(&options);
    } else {
        poptPrintUsage(context, stderr, 0);
        code = 2;
    }
    free(options.seeds);   // lint: allow allocation: made by popt
    free(options.faults);  // lint: allow allocation: made by popt
    free(options.mutant);  // lint: allow allocation: made by popt
    (void)poptFreeContext(context);
    return code;
}
