// SPDX-License-Identifier: Apache-2.0
// Design: four libuv handles make a loop. `bell` (uv_async) empties the mailbox; `timer` keeps the
// one deadline; `turn` (uv_prepare) runs when sockets, timers and tasks of this turn are done and
// before the kernel is asked to block; that is where a batch belongs. The first turn comes before
// anything has happened, so that the owner can set its first deadline there.
//
// The deadline is armed in `turn`, once, whatever was asked during the turn: heap work of libuv is
// saved, and libuv 1.44 would spin for ever on a timer that its own callback arms with 0 ms.
//
//   created --start/run--> running --stop requested, bell--> stopping --handles closed--> ended
//
// In `stopping` the mailbox is emptied until it can be closed; then no task can be forgotten. After
// that only closing handles keep the loop alive; libuv returns when the last one is gone.
//
// POSIX threads rather than libuv's wrappers: the race detector sees those.
#include "dataplane/loop/loop.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"
#include "dataplane/loop/thread.h"

#include <uv.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { THREAD_NAME_SIZE = 16, NS_PER_MS = 1000000 };

struct loop {
    uv_loop_t uv;
    uv_async_t bell;
    uv_timer_t timer;
    uv_prepare_t turn;
    struct mailbox mailbox;
    struct loop_hooks hooks;
    struct prng prng;
    uint64_t deadline_ns;  // asked for
    uint64_t armed_ns;     // what the timer is set to
    bool stopping;
    atomic_bool stop_asked;
    atomic_bool running;
    atomic_bool bell_due;      // a quiet post found the mailbox empty
    pthread_t thread;          // of the run; valid while running
    pthread_t thread_to_join;  // of loop_start
    bool started;
    char name[THREAD_NAME_SIZE];
    // Written by one thread each except wakeups and refused; relaxed, for metrics.
    atomic_uint_fast64_t turns;
    atomic_uint_fast64_t tasks;
    atomic_uint_fast64_t wakeups;
    atomic_uint_fast64_t refused;
};

static void add(atomic_uint_fast64_t *counter, uint64_t n) {
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void ring(struct loop *self) {
    add(&self->wakeups, 1);
    int rc = uv_async_send(&self->bell);
    ASSERT(rc == 0);
}

static void run_tasks(struct loop *self, struct loop_task *task) {
    uint32_t count = 0;
    while (task != NULL) {
        struct loop_task *next = task->next;  // read first: run may free or post the task again
        task->run(task);
        task = next;
        count++;
    }
    add(&self->tasks, count);
    mailbox_consumed(&self->mailbox, count);
}

static void stop_now(struct loop *self) {
    self->stopping = true;
    if (self->hooks.on_stop != NULL) { self->hooks.on_stop(self->hooks.ctx); }
    do {
        run_tasks(self, mailbox_take(&self->mailbox));
    } while (!mailbox_close(&self->mailbox));
    uv_close((uv_handle_t *)&self->timer, NULL);
    uv_close((uv_handle_t *)&self->turn, NULL);
    uv_close((uv_handle_t *)&self->bell, NULL);
}

static void on_bell(uv_async_t *bell) {
    struct loop *self = bell->data;
    // What is posted from now on rings again; one take per turn keeps a turn bounded.
    run_tasks(self, mailbox_take(&self->mailbox));
    // Acquire pairs with the release of loop_stop: what its caller did before is seen by on_stop.
    if (!self->stopping && atomic_load_explicit(&self->stop_asked, memory_order_acquire)) {
        stop_now(self);
    }
}

static void on_timer(uv_timer_t *timer) {
    struct loop *self = timer->data;
    self->armed_ns = LOOP_NO_DEADLINE;
    self->deadline_ns = LOOP_NO_DEADLINE;
    if (self->hooks.on_time != NULL) { self->hooks.on_time(self->hooks.ctx); }
}

static void arm(struct loop *self) {
    if (self->armed_ns == self->deadline_ns) { return; }
    self->armed_ns = self->deadline_ns;
    if (self->deadline_ns == LOOP_NO_DEADLINE) {
        uv_timer_stop(&self->timer);
        return;
    }
    // libuv compares with a cached, floored millisecond clock; rounding the deadline up and
    // subtracting the same clock's reading makes the timer late by less than 1 ms, never early.
    uv_update_time(&self->uv);
    uint64_t now_ms = uv_now(&self->uv);
    uint64_t due_ms = self->deadline_ns / NS_PER_MS + (self->deadline_ns % NS_PER_MS != 0);
    int rc = uv_timer_start(&self->timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
    ASSERT(rc == 0);
}

static void on_prepare(uv_prepare_t *turn) {
    struct loop *self = turn->data;
    ASSERT(!self->stopping);
    add(&self->turns, 1);
    if (self->hooks.on_turn != NULL) { self->hooks.on_turn(self->hooks.ctx); }
    arm(self);
}

static void attach(struct loop *self) {
    int rc = uv_timer_init(&self->uv, &self->timer);
    ASSERT(rc == 0);
    rc = uv_prepare_init(&self->uv, &self->turn);
    ASSERT(rc == 0);
    rc = uv_prepare_start(&self->turn, on_prepare);
    ASSERT(rc == 0);
    self->bell.data = self;
    self->timer.data = self;
    self->turn.data = self;
}

enum status loop_create(const struct loop_config *config, struct loop **out, struct err *err) {
    struct loop *self = mem_alloc(sizeof(*self));
    int rc = uv_loop_init(&self->uv);
    if (rc != 0) {
        mem_free(self);
        return err_set(err, STATUS_IO, "event loop: %s", uv_strerror(rc));
    }
    rc = uv_async_init(&self->uv, &self->bell, on_bell);
    if (rc != 0) {
        (void)uv_loop_close(&self->uv);
        mem_free(self);
        return err_set(err, STATUS_IO, "event loop's bell: %s", uv_strerror(rc));
    }
    attach(self);
    uint32_t count_max = config->mailbox_count_max;
    mailbox_init(&self->mailbox, count_max == 0 ? LOOP_MAILBOX_COUNT_MAX : count_max);
    self->hooks = config->hooks;
    self->deadline_ns = LOOP_NO_DEADLINE;
    self->armed_ns = LOOP_NO_DEADLINE;
    prng_init(&self->prng, loop_entropy());
    (void)snprintf(self->name, sizeof(self->name), "%s", config->name == NULL ? "" : config->name);
    *out = self;
    return STATUS_OK;
}

void loop_run(struct loop *self) {
    ASSERT(!self->stopping);
    self->thread = pthread_self();
    atomic_store_explicit(&self->running, true, memory_order_release);
    int rc = uv_run(&self->uv, UV_RUN_DEFAULT);
    ASSERT(rc == 0 && self->stopping);
    atomic_store_explicit(&self->running, false, memory_order_release);
}

static void *thread_main(void *arg) {
    struct loop *self = arg;
    if (self->name[0] != '\0') { (void)pthread_setname_np(pthread_self(), self->name); }
    thread_gather();
    loop_run(self);
    return NULL;
}

enum status loop_start(struct loop *self, struct err *err) {
    ASSERT(!self->started);
    int rc = pthread_create(&self->thread_to_join, NULL, thread_main, self);
    if (rc != 0) { return err_set(err, STATUS_IO, "loop thread: %s", strerror(rc)); }
    self->started = true;
    return STATUS_OK;
}

void loop_stop(struct loop *self) {
    // Only the first call rings: by the second one the bell may be closing already.
    if (!atomic_exchange_explicit(&self->stop_asked, true, memory_order_acq_rel)) { ring(self); }
}

void loop_join(struct loop *self) {
    ASSERT(self->started);
    int rc = pthread_join(self->thread_to_join, NULL);
    ASSERT(rc == 0);
    self->started = false;
}

void loop_destroy(struct loop *self) {
    if (self == NULL) { return; }
    ASSERT(!self->started);
    if (!self->stopping) {
        // Never ran: let the same shutdown happen here, so that accepted tasks run as promised.
        loop_stop(self);
        loop_run(self);
    }
    int rc = uv_loop_close(&self->uv);
    ASSERT(rc == 0);
    mem_free(self);
}

enum status loop_post(struct loop *self, struct loop_task *task) {
    bool was_empty = false;
    enum status st = mailbox_post(&self->mailbox, task, &was_empty);
    if (st == STATUS_RESOURCE_EXHAUSTED) { add(&self->refused, 1); }
    if (st == STATUS_OK && was_empty) { ring(self); }
    return st;
}

enum status loop_post_quietly(struct loop *self, struct loop_task *task) {
    bool was_empty = false;
    enum status st = mailbox_post(&self->mailbox, task, &was_empty);
    if (st == STATUS_RESOURCE_EXHAUSTED) { add(&self->refused, 1); }
    if (st == STATUS_OK && was_empty) { atomic_store(&self->bell_due, true); }
    return st;
}

void loop_ring_due(struct loop *self) {
    if (atomic_load(&self->bell_due) && atomic_exchange(&self->bell_due, false)) { ring(self); }
}

void loop_post_completion(struct loop *self, struct loop_task *task) {
    bool was_empty = false;
    enum status st = mailbox_post_completion(&self->mailbox, task, &was_empty);
    ASSERT(st == STATUS_OK);
    if (was_empty) { ring(self); }
}

void loop_set_deadline(struct loop *self, uint64_t monotonic_ns) {
    ASSERT(loop_is_here(self));
    self->deadline_ns = monotonic_ns;
}

uint64_t loop_random(struct loop *self) {
    ASSERT(loop_is_here(self));
    return prng_next(&self->prng);
}

bool loop_is_here(const struct loop *self) {
    if (!atomic_load_explicit(&self->running, memory_order_acquire)) { return true; }
    return pthread_equal(self->thread, pthread_self()) != 0;
}

struct uv_loop_s *loop_uv(struct loop *self) {
    return &self->uv;
}

void loop_stats(const struct loop *self, struct loop_stats *out) {
    out->turns = atomic_load_explicit(&self->turns, memory_order_relaxed);
    out->tasks = atomic_load_explicit(&self->tasks, memory_order_relaxed);
    out->wakeups = atomic_load_explicit(&self->wakeups, memory_order_relaxed);
    out->posts_refused = atomic_load_explicit(&self->refused, memory_order_relaxed);
    out->mailbox_count = mailbox_count(&self->mailbox);
}
