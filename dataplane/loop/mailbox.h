// SPDX-License-Identifier: Apache-2.0
// mailbox.h - bounded queue of tasks from any thread to one consumer; says when to ring the bell.
// Invariants: I1 an accepted task is handed over exactly once, in the order of acceptance. I2 at
//             most count_max tasks from mailbox_post are accepted and not yet consumed. I3 exactly
//             one post of each non-empty period reports was_empty, so that a burst costs one
//             wake-up. I4 after mailbox_close succeeded no task is accepted.
// Ownership:  tasks are the poster's memory (intrusive); an accepted task must live and stay
//             untouched until it runs; a refused one is the poster's at once.
// Thread:     post from any thread; take, consumed and close from the consumer's thread only.
// See:        dataplane/loop/README.md; tests/unit/dataplane/loop/mailbox_test.c
#pragma once

#include "dataplane/base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// Something to do on the loop's thread. It may be freed, or posted again, from within run.
struct loop_task {
    struct loop_task *next;  // private while posted
    void (*run)(struct loop_task *self);
};

struct mailbox {
    _Atomic(struct loop_task *) head;  // newest first; &closed once closed
    atomic_uint_fast32_t count;        // accepted and not yet consumed
    uint32_t count_max;
    struct loop_task closed;  // a place, never run: marks the closed state
};

void mailbox_init(struct mailbox *self, uint32_t count_max);

// Adds a task. STATUS_RESOURCE_EXHAUSTED at the maximum, STATUS_CANCELLED once closed. On success
// *out_was_empty says that the consumer may be asleep and this caller has to wake it.
NODISCARD enum status mailbox_post(struct mailbox *self, struct loop_task *task,
                                   bool *out_was_empty);

// The same without the maximum: for completions, whose number is bounded by the requests accepted
// before; refusing one would lose the end of an operation. STATUS_CANCELLED once closed.
NODISCARD enum status mailbox_post_completion(struct mailbox *self, struct loop_task *task,
                                              bool *out_was_empty);

// Takes everything, oldest first, linked by next; NULL when empty.
struct loop_task *mailbox_take(struct mailbox *self);

// Gives back the room of `count` tasks taken before.
void mailbox_consumed(struct mailbox *self, uint32_t count);

// Closes an empty mailbox; false when a task came in meanwhile (take, run and try again).
bool mailbox_close(struct mailbox *self);

// Tasks waiting or running now; a figure for metrics, stale when read.
uint32_t mailbox_count(const struct mailbox *self);
