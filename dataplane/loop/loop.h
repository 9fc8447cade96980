// SPDX-License-Identifier: Apache-2.0
// loop.h - one libuv loop, usually on a thread of its own: mailbox, turn hook, deadline, shutdown.
// Invariants: I1 hooks and tasks run on the loop's thread only, never inside one another.
//             I2 on_turn runs once at the end of every turn, after tasks, sockets and timers, and
//             before the loop blocks. I3 a task accepted by loop_post runs exactly once, also when
//             the loop is stopping. I4 on_time never runs before the deadline it was set for.
// Ownership:  the loop owns its libuv handles; tasks and the hooks' ctx belong to the caller and
//             outlive the loop's run.
// Thread:     loop_post, loop_post_completion, loop_stop, loop_stats: any. create, start, run,
//             join, destroy: the owner. Everything else: the loop's thread.
// See:        dataplane/loop/README.md; tests/unit/dataplane/loop/loop_test.c
#pragma once

#include "dataplane/base/err.h"
#include "dataplane/base/status.h"
#include "dataplane/loop/clock.h"
#include "dataplane/loop/mailbox.h"

#include <stdint.h>

struct loop;
struct uv_loop_s;

enum { LOOP_MAILBOX_COUNT_MAX = 1 << 16 };
#define LOOP_NO_DEADLINE UINT64_MAX

struct loop_hooks {
    void *ctx;
    // The end of a turn: run what gathered as one batch. It may send, post and set the deadline;
    // what that causes comes in the next turn. NULL is allowed.
    void (*on_turn)(void *ctx);
    // The deadline passed. It is unset by then; set the next one here or in on_turn.
    void (*on_time)(void *ctx);
    // The loop was told to stop: close every handle that you put on it. Tasks accepted so far run
    // after this; on_turn and on_time do not run any more. NULL is allowed.
    void (*on_stop)(void *ctx);
};

struct loop_config {
    const char *name;            // of the thread, at most 15 bytes are shown; borrowed for the call
    uint32_t mailbox_count_max;  // 0: LOOP_MAILBOX_COUNT_MAX
    struct loop_hooks hooks;
};

struct loop_stats {
    uint64_t turns;
    uint64_t tasks;          // run
    uint64_t wakeups;        // bells rung by posters
    uint64_t posts_refused;  // the mailbox was at its maximum
    uint32_t mailbox_count;
};

// A loop that does not run yet. STATUS_IO with a text when the kernel refuses.
NODISCARD enum status loop_create(const struct loop_config *config, struct loop **out,
                                  struct err *err);

// Runs it on a new thread, until loop_stop; then loop_join.
NODISCARD enum status loop_start(struct loop *self, struct err *err);

// Or runs it on this thread and returns after loop_stop.
void loop_run(struct loop *self);

// Asks the loop to end; returns at once, may be called again. The loop ends when on_stop has run,
// the mailbox is empty and closed, and every handle on it is closed.
void loop_stop(struct loop *self);

// Waits for the thread of loop_start.
void loop_join(struct loop *self);

// Frees a loop that never ran or has ended. Every thread that posts has returned from its last call
// before (a poster may still be ringing while the loop ends). NULL is allowed.
void loop_destroy(struct loop *self);

// Runs the task on the loop's thread, soon. STATUS_RESOURCE_EXHAUSTED when the mailbox is full: the
// caller refuses its own work then, early. STATUS_CANCELLED when the loop has closed its mailbox.
NODISCARD enum status loop_post(struct loop *self, struct loop_task *task);

// The same without waking the loop: for a thread that has more to post at once. It must call
// loop_ring_due soon after, whatever the answer was.
NODISCARD enum status loop_post_quietly(struct loop *self, struct loop_task *task);
void loop_ring_due(struct loop *self);

// For the end of an operation that the loop itself asked for: has no maximum (see mailbox.h). Who
// posts completions is stopped before the loop is; a closed mailbox is a bug of the caller.
void loop_post_completion(struct loop *self, struct loop_task *task);

// on_time runs once the monotonic clock has reached the deadline, rounded up to a millisecond;
// LOOP_NO_DEADLINE unsets it. There is one deadline; the last call counts.
// LIMIT: libuv's timers have millisecond resolution; a deadline may be late by 1 ms and the turn.
void loop_set_deadline(struct loop *self, uint64_t monotonic_ns);

// A random number from the loop's own generator, seeded by the kernel.
uint64_t loop_random(struct loop *self);

// True on the thread that runs the loop, and on any thread while it does not run; for ASSERT.
bool loop_is_here(const struct loop *self);

// For those who put handles on it (dataplane/transport, api/node).
struct uv_loop_s *loop_uv(struct loop *self);

void loop_stats(const struct loop *self, struct loop_stats *out);
