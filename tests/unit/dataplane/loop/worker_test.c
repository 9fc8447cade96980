// SPDX-License-Identifier: Apache-2.0
// The worker with its loop: order, completion on the loop's thread, maximum, shutdown.
#include "dataplane/loop/worker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { JOBS = 500 };

// `gate` holds the worker inside its first job until the test has queued what it wants.
struct fixture {
    struct loop *loop;
    struct worker *worker;
    pthread_mutex_t gate;
    uint32_t ran;   // the worker's thread, read by the loop through the completion
    uint32_t done;  // the loop's thread
    uint32_t stop_after;
};

struct order_job {
    struct worker_job job;  // first: the cast back is plain
    struct fixture *fixture;
    uint32_t number;
    uint32_t ran_as;
    uint32_t resubmits;
};

static void run_order(struct worker_job *job) {
    struct order_job *self = (struct order_job *)(void *)job;
    assert_int_equal(pthread_mutex_lock(&self->fixture->gate), 0);
    assert_int_equal(pthread_mutex_unlock(&self->fixture->gate), 0);
    self->ran_as = self->fixture->ran++;
}

static void done_order(struct worker_job *job) {
    struct order_job *self = (struct order_job *)(void *)job;
    struct fixture *f = self->fixture;
    assert_true(loop_is_here(f->loop));
    assert_int_equal(self->ran_as, f->done);
    f->done++;
    if (self->resubmits > 0) {
        self->resubmits--;
        assert_int_equal(worker_submit(f->worker, job, f->loop), STATUS_OK);
    }
    if (f->done == f->stop_after) { loop_stop(f->loop); }
}

static void stop_worker(void *ctx) {
    struct fixture *f = ctx;
    worker_stop(f->worker);
}

static void fixture_init(struct fixture *self, uint32_t jobs_max) {
    *self = (struct fixture){0};
    assert_int_equal(pthread_mutex_init(&self->gate, NULL), 0);
    struct loop_config loop_config = {"jobs", 4, {self, NULL, NULL, stop_worker}};
    struct worker_config worker_config = {"worker", jobs_max};
    struct err err = {0};
    assert_int_equal(loop_create(&loop_config, &self->loop, &err), STATUS_OK);
    assert_int_equal(worker_create(&worker_config, &self->worker, &err), STATUS_OK);
}

static void fixture_deinit(struct fixture *self) {
    loop_destroy(self->loop);
    worker_destroy(self->worker);
    assert_int_equal(pthread_mutex_destroy(&self->gate), 0);
}

static struct order_job order_job_make(struct fixture *f, uint32_t number) {
    struct order_job job = {.fixture = f, .number = number};
    job.job.run = run_order;
    job.job.done = done_order;
    return job;
}

// Goal: jobs run and complete in the order of submission, each once; completions pass a mailbox
// that is smaller than their number.
static void test_worker_jobs_complete_in_order_on_the_loop(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, JOBS);
    static struct order_job jobs[JOBS];
    f.stop_after = JOBS;
    for (uint32_t i = 0; i < JOBS; i++) {
        jobs[i] = order_job_make(&f, i);
        assert_int_equal(worker_submit(f.worker, &jobs[i].job, f.loop), STATUS_OK);
    }
    loop_run(f.loop);
    assert_int_equal(f.done, JOBS);
    for (uint32_t i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].ran_as, i);
    }
    fixture_deinit(&f);
}

// Goal: a job may be submitted again from its own done: the way of a group commit.
static void test_worker_job_may_be_submitted_again_from_done(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 1);
    struct order_job job = order_job_make(&f, 0);
    job.resubmits = 9;
    f.stop_after = 10;
    assert_int_equal(worker_submit(f.worker, &job.job, f.loop), STATUS_OK);
    loop_run(f.loop);
    assert_int_equal(f.done, 10);
    fixture_deinit(&f);
}

// Goal: waiting jobs are bounded; the refusal is counted and the job stays the caller's.
static void test_worker_over_maximum_refuses(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 2);
    struct order_job jobs[5];
    assert_int_equal(pthread_mutex_lock(&f.gate), 0);
    uint32_t accepted = 0;
    enum status st = STATUS_OK;
    while (st == STATUS_OK) {
        assert_true(accepted < 4);  // one running, two waiting at the most
        jobs[accepted] = order_job_make(&f, accepted);
        st = worker_submit(f.worker, &jobs[accepted].job, f.loop);
        accepted += st == STATUS_OK;
    }
    assert_int_equal(st, STATUS_RESOURCE_EXHAUSTED);
    assert_true(accepted >= 2);
    struct worker_stats stats;
    worker_stats(f.worker, &stats);
    assert_int_equal(stats.refused, 1);
    f.stop_after = accepted;
    assert_int_equal(pthread_mutex_unlock(&f.gate), 0);
    loop_run(f.loop);
    assert_int_equal(f.done, accepted);
    fixture_deinit(&f);
}

// Goal: stopping runs what waits, completes it on a loop that is stopping too, and then refuses.
static void test_worker_stop_finishes_accepted_jobs(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 8);
    struct order_job jobs[3];
    assert_int_equal(pthread_mutex_lock(&f.gate), 0);
    for (uint32_t i = 0; i < 3; i++) {
        jobs[i] = order_job_make(&f, i);
        assert_int_equal(worker_submit(f.worker, &jobs[i].job, f.loop), STATUS_OK);
    }
    assert_int_equal(pthread_mutex_unlock(&f.gate), 0);
    loop_stop(f.loop);
    loop_run(f.loop);  // on_stop stops the worker
    assert_int_equal(f.done, 3);
    struct order_job late = order_job_make(&f, 3);
    assert_int_equal(worker_submit(f.worker, &late.job, f.loop), STATUS_CANCELLED);
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker_jobs_complete_in_order_on_the_loop),
        cmocka_unit_test(test_worker_job_may_be_submitted_again_from_done),
        cmocka_unit_test(test_worker_over_maximum_refuses),
        cmocka_unit_test(test_worker_stop_finishes_accepted_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
