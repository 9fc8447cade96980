// SPDX-License-Identifier: Apache-2.0
// worker.h - one thread that runs blocking jobs in order and reports each back to a loop.
// Invariants: I1 jobs run one at a time, in the order of submission. I2 done runs exactly once for
//             each accepted job, on the job's loop, after run, and in the order of submission for
//             jobs of the same loop. I3 at most jobs_max jobs wait.
// Ownership:  jobs are the submitter's memory, untouched by it from submit until done; done may
//             free the job or submit it again.
// Thread:     submit: any. create, stop, destroy: the owner. run: the worker's thread. done: the
//             loop given with the job.
// See:        dataplane/loop/README.md; tests/unit/dataplane/loop/worker_test.c
#pragma once

#include "dataplane/base/err.h"
#include "dataplane/base/status.h"
#include "dataplane/loop/loop.h"

#include <stdint.h>

struct worker;

struct worker_job {
    void (*run)(struct worker_job *self);   // blocks as long as it needs
    void (*done)(struct worker_job *self);  // on the loop
    struct loop_task completion;            // private
    struct loop *loop;                      // private
    struct worker_job *next;                // private
};

struct worker_config {
    const char *name;   // of the thread, at most 15 bytes are shown; borrowed for the call
    uint32_t jobs_max;  // waiting jobs, > 0
};

struct worker_stats {
    uint64_t jobs;     // run
    uint64_t refused;  // by the maximum
    uint32_t waiting;
};

// Creates the worker and starts its thread.
NODISCARD enum status worker_create(const struct worker_config *config, struct worker **out,
                                    struct err *err);

// Queues a job; its done will run on `loop`. STATUS_RESOURCE_EXHAUSTED when jobs_max wait,
// STATUS_CANCELLED after worker_stop; the job is the caller's again then.
NODISCARD enum status worker_submit(struct worker *self, struct worker_job *job, struct loop *loop);

// Refuses new jobs, runs those that wait, joins the thread. Call it before the loops that get
// completions are stopped, or from a loop's on_stop: that loop still runs what is posted here.
void worker_stop(struct worker *self);

// Frees a stopped worker. NULL is allowed.
void worker_destroy(struct worker *self);

void worker_stats(struct worker *self, struct worker_stats *out);
