// SPDX-License-Identifier: Apache-2.0
// Design: a mutex, a condition and a list. Jobs are disk syncs and flushes, 20 us at the least and
// a few thousand a second at most, so a lock-free queue would save nothing; the mutex makes the
// order and the maximum obvious. It is a leaf lock: nothing is called while it is held.
//
// The thread takes the whole list at once, so a burst costs one lock and the lock is never held
// while a job runs. `waiting` counts the jobs taken but not yet run too: they still wait.
//
// Grouping is the submitter's affair: it has one job in flight, gathers while that runs, and
// submits what gathered from done. The worker only guarantees order and completion.
#include "dataplane/loop/worker.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { THREAD_NAME_SIZE = 16 };

struct worker {
    pthread_mutex_t mu;
    pthread_cond_t work;
    struct worker_job *first;  // guarded by mu, as all down to stopping
    struct worker_job *last;
    uint32_t waiting;
    uint64_t jobs;
    uint64_t refused;
    bool stopping;
    uint32_t jobs_max;  // constant
    pthread_t thread;
    bool joined;  // the owner's
    char name[THREAD_NAME_SIZE];
};

// pthread calls fail only when used wrongly here: each failure is a bug.
static void check(int rc) {
    ASSERT(rc == 0);
}

static void complete(struct loop_task *task) {
    struct worker_job *job =
        (struct worker_job *)(void *)((char *)task - offsetof(struct worker_job, completion));
    job->done(job);
}

// Waits for work; NULL when stopping and nothing is left.
static struct worker_job *take(struct worker *self) {
    check(pthread_mutex_lock(&self->mu));
    while (self->first == NULL && !self->stopping) {
        check(pthread_cond_wait(&self->work, &self->mu));
    }
    struct worker_job *jobs = self->first;
    self->first = NULL;
    self->last = NULL;
    check(pthread_mutex_unlock(&self->mu));
    return jobs;
}

static void run_job(struct worker *self, struct worker_job *job) {
    check(pthread_mutex_lock(&self->mu));
    ASSERT(self->waiting > 0);
    self->waiting--;
    self->jobs++;
    check(pthread_mutex_unlock(&self->mu));
    job->run(job);
    job->completion = (struct loop_task){NULL, complete};
    loop_post_completion(job->loop, &job->completion);
}

static void *thread_main(void *arg) {
    struct worker *self = arg;
    if (self->name[0] != '\0') { (void)pthread_setname_np(pthread_self(), self->name); }
    for (;;) {
        struct worker_job *job = take(self);
        if (job == NULL) { return NULL; }
        while (job != NULL) {
            struct worker_job *next = job->next;  // read first: done may free the job at once
            run_job(self, job);
            job = next;
        }
    }
}

enum status worker_create(const struct worker_config *config, struct worker **out,
                          struct err *err) {
    ASSERT(config->jobs_max > 0);
    struct worker *self = mem_alloc(sizeof(*self));
    check(pthread_mutex_init(&self->mu, NULL));
    check(pthread_cond_init(&self->work, NULL));
    self->jobs_max = config->jobs_max;
    (void)snprintf(self->name, sizeof(self->name), "%s", config->name == NULL ? "" : config->name);
    int rc = pthread_create(&self->thread, NULL, thread_main, self);
    if (rc != 0) {
        check(pthread_cond_destroy(&self->work));
        check(pthread_mutex_destroy(&self->mu));
        mem_free(self);
        return err_set(err, STATUS_IO, "worker thread: %s", strerror(rc));
    }
    *out = self;
    return STATUS_OK;
}

enum status worker_submit(struct worker *self, struct worker_job *job, struct loop *loop) {
    ASSERT(job->run != NULL && job->done != NULL);
    enum status st = STATUS_OK;
    check(pthread_mutex_lock(&self->mu));
    if (self->stopping) {
        st = STATUS_CANCELLED;
    } else if (self->waiting >= self->jobs_max) {
        st = STATUS_RESOURCE_EXHAUSTED;
        self->refused++;
    } else {
        job->loop = loop;
        job->next = NULL;
        if (self->last == NULL) {
            self->first = job;
            check(pthread_cond_signal(&self->work));
        } else {
            self->last->next = job;
        }
        self->last = job;
        self->waiting++;
    }
    check(pthread_mutex_unlock(&self->mu));
    return st;
}

void worker_stop(struct worker *self) {
    ASSERT(!self->joined);
    check(pthread_mutex_lock(&self->mu));
    self->stopping = true;
    check(pthread_cond_signal(&self->work));
    check(pthread_mutex_unlock(&self->mu));
    check(pthread_join(self->thread, NULL));
    self->joined = true;
    ASSERT(self->waiting == 0);
}

void worker_destroy(struct worker *self) {
    if (self == NULL) { return; }
    ASSERT(self->joined);
    check(pthread_cond_destroy(&self->work));
    check(pthread_mutex_destroy(&self->mu));
    mem_free(self);
}

void worker_stats(struct worker *self, struct worker_stats *out) {
    check(pthread_mutex_lock(&self->mu));
    *out = (struct worker_stats){self->jobs, self->refused, self->waiting};
    check(pthread_mutex_unlock(&self->mu));
}
