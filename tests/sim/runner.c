// SPDX-License-Identifier: Apache-2.0
// One child a seed: it owns the process-wide log sink and stop hook, and whatever it leaks or
// breaks goes with it. The result comes back through a pipe; none means that the child died.
#include "tests/sim/runner.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Memory given back is soon wanted again: worlds come and go.
const char *malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:-1,narenas:1";

static void run_child(const struct sim_runner *self, const struct sim_plan *plan, int out) {
    struct sim_result first;
    struct sim_result second;
    if (self->silent) {
        int null = open("/dev/null", O_WRONLY);
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
    }
    sim_run(plan, self->echo, &first);
    if (self->twice && !first.failed) {
        sim_run(plan, false, &second);
        if (first.hash != second.hash) {
            first.failed = true;
            (void)snprintf(first.failure, sizeof(first.failure),
                           "two runs differ: hash %016" PRIx64 " and %016" PRIx64, first.hash,
                           second.hash);
            (void)printf("FAILED seed=%" PRIu64 ": %s\n", plan->seed, first.failure);
        }
    }
    first.clock_steps = mark_count("node.clock.stepped");
    (void)fflush(NULL);
    ssize_t written = write(out, &first, sizeof(first));
    _exit(written == (ssize_t)sizeof(first) ? 0 : 1);
}

void sim_runner_run(const struct sim_runner *self, const struct sim_plan *plan,
                    struct sim_run_report *out) {
    int pipes[2];
    *out = (struct sim_run_report){0};
    (void)fflush(NULL);
    if (pipe(pipes) != 0) { FATAL("no pipe: %s", strerror(errno)); }
    pid_t child = fork();
    if (child < 0) { FATAL("no process: %s", strerror(errno)); }
    if (child == 0) {
        (void)close(pipes[0]);
        run_child(self, plan, pipes[1]);
    }
    (void)close(pipes[1]);
    size_t got = 0;
    ssize_t n = 0;
    do {
        n = read(pipes[0], (char *)&out->result + got, sizeof(out->result) - got);
        got += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    (void)close(pipes[0]);
    int status = 0;
    (void)waitpid(child, &status, 0);
    out->died = got != sizeof(out->result) || status != 0;
    out->passed = !out->died && !out->result.failed;
    if (out->died) {
        (void)snprintf(out->result.failure, sizeof(out->result.failure),
                       "the process of the world ended with status %d", status);
    }
}

bool sim_range_parse(const char *text, struct sim_range *out) {
    char *end = NULL;
    out->first = strtoull(text, &end, 10);
    if (end == text) { return false; }
    out->last = out->first;
    if (*end == '\0') { return true; }
    if (end[0] != '.' || end[1] != '.') { return false; }
    const char *second = end + 2;
    out->last = strtoull(second, &end, 10);
    return end != second && *end == '\0' && out->first <= out->last;
}

void sim_totals_add(struct sim_totals *self, const struct sim_run_report *report) {
    const struct sim_result *result = &report->result;
    *(report->passed ? &self->passed : &self->failed) += 1;
    if (report->died) { return; }
    self->ops += result->ops;
    self->committed_ok += result->stats.ok;
    self->unknown += result->stats.unknown;
    self->refused += result->stats.refused;
    self->leader_changes += result->leader_changes;
    self->restarts += result->restarts;
    self->events += result->events;
    self->faults += result->faults;
    self->virtual_ns += result->virtual_ns;
    self->undecided += result->undecided;
    self->clock_steps += result->clock_steps;
    sim_txn_stats_add(&self->txns, &result->txns);
}

void sim_totals_print(const struct sim_totals *self, double cpu_seconds) {
    double simulated = (double)self->virtual_ns / 1e9;
    (void)printf("ops %" PRIu64 " (ok %" PRIu64 ", unknown %" PRIu64 ", refused %" PRIu64
                 "), leader changes %" PRIu64 ", restarts %" PRIu64 ", events %" PRIu64
                 ", undecided keys %" PRIu64 "\n",
                 self->ops, self->committed_ok, self->unknown, self->refused, self->leader_changes,
                 self->restarts, self->events, self->undecided);
    const struct sim_txn_stats *txns = &self->txns;
    (void)printf("transactions: ok %" PRIu64 " (%" PRIu64 " over several shards), aborted %" PRIu64
                 ", unknown %" PRIu64 "; reads %" PRIu64 " (%" PRIu64
                 " of any age), audits %" PRIu64 ", not read %" PRIu64 ", interactive %" PRIu64
                 "\n",
                 txns->ok, txns->many, txns->aborted, txns->unknown, txns->reads, txns->stale_reads,
                 txns->audits, txns->unread, txns->talks);
    if (cpu_seconds <= 0 || simulated <= 0) { return; }
    (void)printf("%.0f simulated seconds in %.1f of one core: %.0f times real time; per simulated "
                 "second %.1f ops, %.1f faults, %.0f events\n",
                 simulated, cpu_seconds, simulated / cpu_seconds, (double)self->ops / simulated,
                 (double)self->faults / simulated, (double)self->events / simulated);
}

double sim_real_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double sim_cpu_seconds(void) {
    struct rusage usage;
    (void)getrusage(RUSAGE_CHILDREN, &usage);
    double user = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6;
    double system = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
    return user + system;
}
