// SPDX-License-Identifier: Apache-2.0
// The loop with its thread: tasks, turns, the deadline, shutdown, and posting from many threads.
#include "dataplane/loop/loop.h"

#include "dataplane/base/mem.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { TRACE_MAX = 32, MS = 1000000 };

// One fixture: a loop run by the test's own thread, with a trace of what ran ('k' task, 't' turn,
// 'd' deadline, 's' stop).
struct fixture {
    struct loop *loop;
    char trace[TRACE_MAX + 1];
    uint32_t trace_count;
    uint32_t turns;
    uint32_t tasks;
    uint64_t deadline_ns;  // set in the first turn when not 0
    uint64_t fired_ns;
    uint32_t deadlines_more;  // to set again from on_time
    uint32_t turns_until_stop;
    bool stop_on_time;
};

struct trace_task {
    struct loop_task task;
    struct fixture *fixture;
    bool stop;   // asks the loop to stop
    bool again;  // posts itself once more
};

static void trace(struct fixture *self, char what) {
    if (self->trace_count < TRACE_MAX) { self->trace[self->trace_count++] = what; }
}

static void on_turn(void *ctx) {
    struct fixture *self = ctx;
    trace(self, 't');
    self->turns++;
    if (self->turns == 1 && self->deadline_ns != 0) {
        loop_set_deadline(self->loop, self->deadline_ns);
    }
    if (self->turns == self->turns_until_stop) { loop_stop(self->loop); }
}

static void on_time(void *ctx) {
    struct fixture *self = ctx;
    trace(self, 'd');
    self->fired_ns = loop_monotonic_ns();
    if (self->deadlines_more > 0) {
        self->deadlines_more--;
        loop_set_deadline(self->loop, 0);  // already past: comes in the next turn
    } else if (self->stop_on_time) {
        loop_stop(self->loop);
    }
}

static void on_stop(void *ctx) {
    trace(ctx, 's');
}

static void run_trace_task(struct loop_task *task) {
    struct trace_task *self = (struct trace_task *)(void *)task;
    trace(self->fixture, 'k');
    self->fixture->tasks++;
    if (self->again) {
        self->again = false;
        assert_int_equal(loop_post(self->fixture->loop, task), STATUS_OK);
    }
    if (self->stop) { loop_stop(self->fixture->loop); }
}

static void fixture_init(struct fixture *self, uint32_t mailbox_count_max) {
    *self = (struct fixture){0};
    struct loop_config config = {"test", mailbox_count_max, {self, on_turn, on_time, on_stop}};
    struct err err = {0};
    assert_int_equal(loop_create(&config, &self->loop, &err), STATUS_OK);
}

// Goal: a burst of tasks runs in order in one turn, then the turn hook, and one wake-up paid it.
static void test_loop_burst_runs_in_one_turn(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 0);
    struct trace_task tasks[3] = {0};
    for (int i = 0; i < 3; i++) {
        tasks[i] = (struct trace_task){{NULL, run_trace_task}, &f, i == 2, false};
        assert_int_equal(loop_post(f.loop, &tasks[i].task), STATUS_OK);
    }
    loop_run(f.loop);
    assert_string_equal(f.trace, "tkkks");
    struct loop_stats stats;
    loop_stats(f.loop, &stats);
    assert_int_equal(stats.tasks, 3);
    assert_int_equal(stats.wakeups, 2);  // the burst, and loop_stop
    loop_destroy(f.loop);
}

// Goal: quiet posts wake nobody until the bell that is due is rung, once for all of them.
static void test_loop_quiet_posts_share_one_bell(void **state) {
    (void)state;
    struct fixture f;
    struct loop_stats stats;
    fixture_init(&f, 3);
    struct trace_task tasks[4] = {0};
    for (int i = 0; i < 4; i++) {
        tasks[i] = (struct trace_task){{NULL, run_trace_task}, &f, i == 2, false};
        assert_int_equal(loop_post_quietly(f.loop, &tasks[i].task),
                         i < 3 ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED);
    }
    loop_stats(f.loop, &stats);
    assert_int_equal(stats.wakeups, 0);
    loop_ring_due(f.loop);
    loop_ring_due(f.loop);
    loop_stats(f.loop, &stats);
    assert_int_equal(stats.wakeups, 1);
    assert_int_equal(stats.posts_refused, 1);
    loop_run(f.loop);
    assert_string_equal(f.trace, "tkkks");
    loop_destroy(f.loop);
}

// Goal: a task posted by a task runs in the next turn, after the turn hook.
static void test_loop_task_posting_itself_comes_next_turn(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 0);
    struct trace_task task = {{NULL, run_trace_task}, &f, false, true};
    assert_int_equal(loop_post(f.loop, &task.task), STATUS_OK);
    f.turns_until_stop = 3;
    loop_run(f.loop);
    assert_string_equal(f.trace, "tktkts");
    loop_destroy(f.loop);
}

// Goal: tasks accepted before the loop ended run even when it is told to stop first; later posts
// are refused.
static void test_loop_stop_runs_accepted_tasks(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 0);
    struct trace_task task = {{NULL, run_trace_task}, &f, false, true};
    loop_stop(f.loop);
    loop_stop(f.loop);
    assert_int_equal(loop_post(f.loop, &task.task), STATUS_OK);
    loop_run(f.loop);
    assert_string_equal(f.trace, "tksk");  // the second run is the task's own post
    assert_int_equal(loop_post(f.loop, &task.task), STATUS_CANCELLED);
    loop_destroy(f.loop);
}

// Goal: destroying a loop that never ran still runs what it accepted.
static void test_loop_destroy_without_run_keeps_the_promise(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 0);
    struct trace_task task = {{NULL, run_trace_task}, &f, false, false};
    assert_int_equal(loop_post(f.loop, &task.task), STATUS_OK);
    loop_destroy(f.loop);
    assert_int_equal(f.tasks, 1);
}

// Goal: a full mailbox refuses early, and counts it.
static void test_loop_post_over_maximum_refuses(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 1);
    struct trace_task a = {{NULL, run_trace_task}, &f, true, false};
    struct trace_task b = {{NULL, run_trace_task}, &f, false, false};
    assert_int_equal(loop_post(f.loop, &a.task), STATUS_OK);
    assert_int_equal(loop_post(f.loop, &b.task), STATUS_RESOURCE_EXHAUSTED);
    struct loop_stats stats;
    loop_stats(f.loop, &stats);
    assert_int_equal(stats.posts_refused, 1);
    loop_run(f.loop);
    assert_int_equal(f.tasks, 1);
    loop_destroy(f.loop);
}

// Goal: the deadline fires once, not before its time, also when it is no whole millisecond.
// (The request to stop made in on_time is met after that turn.)
static void test_loop_deadline_is_never_early(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 0);
    f.stop_on_time = true;
    // The last nanosecond of a millisecond: rounding down would nearly always be early.
    f.deadline_ns = (loop_monotonic_ns() / MS + 4) * MS - 1;
    loop_run(f.loop);
    assert_string_equal(f.trace, "tdts");
    assert_true(f.fired_ns >= f.deadline_ns);
    loop_destroy(f.loop);
}

// Goal: a deadline in the past, set from on_time again and again, takes a turn each: no spinning
// inside one turn.
static void test_loop_past_deadline_takes_a_turn_each(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 0);
    f.stop_on_time = true;
    f.deadline_ns = 1;
    f.deadlines_more = 2;
    loop_run(f.loop);
    assert_string_equal(f.trace, "tdtdtdts");
    loop_destroy(f.loop);
}

// Goal: the last call counts: an unset deadline does not fire.
static void test_loop_deadline_unset_does_not_fire(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 0);
    loop_set_deadline(f.loop, 1);
    loop_set_deadline(f.loop, LOOP_NO_DEADLINE);
    struct trace_task task = {{NULL, run_trace_task}, &f, false, true};
    assert_int_equal(loop_post(f.loop, &task.task), STATUS_OK);
    f.turns_until_stop = 3;
    loop_run(f.loop);
    assert_string_equal(f.trace, "tktkts");
    loop_destroy(f.loop);
}

// Goal: clocks move and randomness differs between loops.
static void test_loop_clocks_and_randomness_work(void **state) {
    (void)state;
    struct fixture f;
    struct fixture g;
    fixture_init(&f, 0);
    fixture_init(&g, 0);
    uint64_t a = loop_monotonic_ns();
    assert_true(loop_monotonic_ns() >= a);
    assert_true(loop_wall_us() > 1700000000000000U);
    assert_int_not_equal(loop_random(f.loop), loop_random(g.loop));
    assert_int_not_equal(loop_entropy(), loop_entropy());
    loop_destroy(f.loop);
    loop_destroy(g.loop);
}

// ------------------------------------------------------------------------ many posters

enum { POSTERS = 4, POSTS = 5000 };

struct shared {
    struct loop *loop;
    uint64_t sum;  // the loop's thread only, until joined
};

struct sum_task {
    struct loop_task task;
    struct shared *shared;
    uint64_t value;
};

struct poster {
    struct shared *shared;
    uint64_t first;
};

static void run_sum(struct loop_task *task) {
    struct sum_task *self = (struct sum_task *)(void *)task;
    assert_true(loop_is_here(self->shared->loop));
    self->shared->sum += self->value;
    mem_free(self);
}

static void *post_sums(void *arg) {
    const struct poster *self = arg;
    for (uint64_t i = 0; i < POSTS; i++) {
        struct sum_task *task = mem_alloc(sizeof(*task));
        *task = (struct sum_task){{NULL, run_sum}, self->shared, self->first + i};
        // Every other thread posts quietly, a few at a time.
        bool quiet = (self->first / POSTS) % 2 == 0;
        enum status st = STATUS_RESOURCE_EXHAUSTED;
        while (st != STATUS_OK) {
            st = quiet ? loop_post_quietly(self->shared->loop, &task->task)
                       : loop_post(self->shared->loop, &task->task);
            if (st != STATUS_OK || i % 7 == 0) { loop_ring_due(self->shared->loop); }
            if (st != STATUS_OK) { sched_yield(); }
        }
    }
    loop_ring_due(self->shared->loop);
    assert_false(loop_is_here(self->shared->loop));
    return NULL;
}

// Goal: a loop on its own thread runs every task of four posters, though its mailbox is small and
// it sleeps in between: no wake-up is lost.
static void test_loop_thread_runs_every_post_of_four_threads(void **state) {
    (void)state;
    struct shared shared = {NULL, 0};
    struct loop_config config = {"sums", 32, {NULL, NULL, NULL, NULL}};
    struct err err = {0};
    assert_int_equal(loop_create(&config, &shared.loop, &err), STATUS_OK);
    assert_int_equal(loop_start(shared.loop, &err), STATUS_OK);
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];
    for (uint64_t p = 0; p < POSTERS; p++) {
        posters[p] = (struct poster){&shared, p * POSTS};
        assert_int_equal(pthread_create(&threads[p], NULL, post_sums, &posters[p]), 0);
    }
    for (uint32_t p = 0; p < POSTERS; p++) {
        assert_int_equal(pthread_join(threads[p], NULL), 0);
    }
    loop_stop(shared.loop);
    loop_join(shared.loop);
    uint64_t n = (uint64_t)POSTERS * POSTS;
    assert_int_equal(shared.sum, n * (n - 1) / 2);
    loop_destroy(shared.loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop_burst_runs_in_one_turn),
        cmocka_unit_test(test_loop_quiet_posts_share_one_bell),
        cmocka_unit_test(test_loop_task_posting_itself_comes_next_turn),
        cmocka_unit_test(test_loop_stop_runs_accepted_tasks),
        cmocka_unit_test(test_loop_destroy_without_run_keeps_the_promise),
        cmocka_unit_test(test_loop_post_over_maximum_refuses),
        cmocka_unit_test(test_loop_deadline_is_never_early),
        cmocka_unit_test(test_loop_past_deadline_takes_a_turn_each),
        cmocka_unit_test(test_loop_deadline_unset_does_not_fire),
        cmocka_unit_test(test_loop_clocks_and_randomness_work),
        cmocka_unit_test(test_loop_thread_runs_every_post_of_four_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
