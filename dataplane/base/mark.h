// SPDX-License-Identifier: Apache-2.0
// mark.h - counters that prove a rare branch was reached by a test.
// Invariants: a mark has no effect on behaviour; each mark registers itself once, on its first hit.
// Ownership:  marks are static objects at the place they count; names are string literals.
// Thread:     any; the counter is relaxed atomic, registration is a lock-free push (never removed).
// See:        dataplane/base/README.md; tests/unit/dataplane/base/mark_test.c
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mark {
    const char *name;
    atomic_uint_fast64_t count;
    atomic_bool linked;  // private: true from the first hit on
    struct mark *next;   // private: written before the mark is published
};

// Adds one; the first hit links the mark into the list that mark_count searches.
void mark_hit(struct mark *self);
// Sum of the hits of all marks of that name since mark_reset_all; 0 when none was reached.
uint64_t mark_count(const char *name);
void mark_reset_all(void);

#define MARK(text)                                       \
    do {                                                 \
        static struct mark mark_here = {.name = (text)}; \
        mark_hit(&mark_here);                            \
    } while (0)
