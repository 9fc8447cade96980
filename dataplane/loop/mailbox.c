// SPDX-License-Identifier: Apache-2.0
// Design: a stack that only grows by compare-and-swap and is only emptied as a whole (Treiber 1986
// without pop). The consumer reverses what it took, which restores the order of acceptance. No node
// is ever popped alone, hence there is no ABA problem, and the intrusive links need no allocation.
// Vyukov's MPSC queue was rejected: its producer has a moment in which the list is broken, so that
// "was it empty" has no exact answer, and that answer is what saves the wake-ups.
//
// Memory order. A push is sequentially consistent, which contains release: what the poster wrote
// into its task is visible to whoever takes it by the acquiring exchange. Sequential consistency is
// wanted for the bell: the poster writes `head` and then looks at the bell's flag, the consumer
// clears the flag and then reads `head` (store then load of two places on both sides). With
// anything weaker both could read the old value, and the task would sleep until the next bell.
#include "dataplane/loop/mailbox.h"

#include "dataplane/base/assert.h"

#include <stddef.h>

void mailbox_init(struct mailbox *self, uint32_t count_max) {
    ASSERT(count_max > 0);
    atomic_init(&self->head, NULL);
    atomic_init(&self->count, 0);
    self->count_max = count_max;
    self->closed = (struct loop_task){NULL, NULL};
}

static enum status push(struct mailbox *self, struct loop_task *task, bool *out_was_empty) {
    struct loop_task *head = atomic_load_explicit(&self->head, memory_order_relaxed);
    do {
        if (head == &self->closed) { return STATUS_CANCELLED; }
        task->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&self->head, &head, task, memory_order_seq_cst,
                                                    memory_order_relaxed));
    // The success above is one side of the pair described at the head of this file; the fence
    // orders it before the plain read of the bell's flag inside uv_async_send.
    atomic_thread_fence(memory_order_seq_cst);
    *out_was_empty = head == NULL;
    return STATUS_OK;
}

enum status mailbox_post_completion(struct mailbox *self, struct loop_task *task,
                                    bool *out_was_empty) {
    ASSERT(task->run != NULL);
    // Relaxed: the count carries no data, only a bound.
    atomic_fetch_add_explicit(&self->count, 1, memory_order_relaxed);
    enum status st = push(self, task, out_was_empty);
    if (st != STATUS_OK) { atomic_fetch_sub_explicit(&self->count, 1, memory_order_relaxed); }
    return st;
}

enum status mailbox_post(struct mailbox *self, struct loop_task *task, bool *out_was_empty) {
    ASSERT(task->run != NULL);
    // Taking the place first and giving it back keeps the bound exact with any number of posters.
    uint_fast32_t before = atomic_fetch_add_explicit(&self->count, 1, memory_order_relaxed);
    enum status st = STATUS_RESOURCE_EXHAUSTED;
    if (before < self->count_max) { st = push(self, task, out_was_empty); }
    if (st != STATUS_OK) { atomic_fetch_sub_explicit(&self->count, 1, memory_order_relaxed); }
    return st;
}

struct loop_task *mailbox_take(struct mailbox *self) {
    // An empty mailbox is left alone: the exchange would take the cache line from the posters.
    if (atomic_load_explicit(&self->head, memory_order_seq_cst) == NULL) { return NULL; }
    struct loop_task *newest = atomic_exchange_explicit(&self->head, NULL, memory_order_seq_cst);
    ASSERT(newest != &self->closed);
    struct loop_task *oldest = NULL;
    while (newest != NULL) {
        struct loop_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

void mailbox_consumed(struct mailbox *self, uint32_t count) {
    uint_fast32_t before = atomic_fetch_sub_explicit(&self->count, count, memory_order_relaxed);
    ASSERT(before >= count);
}

bool mailbox_close(struct mailbox *self) {
    struct loop_task *empty = NULL;
    return atomic_compare_exchange_strong_explicit(&self->head, &empty, &self->closed,
                                                   memory_order_seq_cst, memory_order_seq_cst);
}

uint32_t mailbox_count(const struct mailbox *self) {
    return (uint32_t)atomic_load_explicit(&self->count, memory_order_relaxed);
}
