// SPDX-License-Identifier: Apache-2.0
// Marks push themselves on a list when first hit; nothing is ever taken off, so the push needs no
// protection against reuse. Names need not be unique: a macro or an inline function may place the
// same mark in several files, and mark_count sums them.
#include "dataplane/base/mark.h"

#include "dataplane/base/assert.h"

#include <string.h>

static struct mark *_Atomic mark_list;

void mark_hit(struct mark *self) {
    ASSERT(self->name != NULL);
    atomic_fetch_add_explicit(&self->count, 1, memory_order_relaxed);
    // The load keeps the common path free of a locked write; the exchange elects the one that
    // links.
    if (atomic_load_explicit(&self->linked, memory_order_relaxed) ||
        atomic_exchange_explicit(&self->linked, true, memory_order_relaxed)) {
        return;
    }
    self->next = atomic_load_explicit(&mark_list, memory_order_relaxed);
    // Release: a reader that finds the mark also finds its next.
    while (!atomic_compare_exchange_weak_explicit(&mark_list, &self->next, self,
                                                  memory_order_release, memory_order_relaxed)) {}
}

uint64_t mark_count(const char *name) {
    ASSERT(name != NULL);
    uint64_t sum = 0;
    struct mark *at = atomic_load_explicit(&mark_list, memory_order_acquire);
    for (; at != NULL; at = at->next) {
        if (strcmp(at->name, name) == 0) {
            sum += atomic_load_explicit(&at->count, memory_order_relaxed);
        }
    }
    return sum;
}

void mark_reset_all(void) {
    struct mark *at = atomic_load_explicit(&mark_list, memory_order_acquire);
    for (; at != NULL; at = at->next) {
        atomic_store_explicit(&at->count, 0, memory_order_relaxed);
    }
}
