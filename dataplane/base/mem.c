// SPDX-License-Identifier: Apache-2.0
// The libc names, which jemalloc provides in every program (it
// is linked in); under a sanitizer they are the sanitizer's. A size of zero asks for one byte, so
// that NULL always means "no memory".
// LIMIT: one arena for all subsystems; per-subsystem accounting would need an arena argument here.
#include "dataplane/base/mem.h"

#include "dataplane/base/assert.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// Calls that are left until one fails; 0 = none will. Relaxed: only its own count matters.
static atomic_uint_fast64_t mem_fault_countdown;

void mem_fault_set(uint64_t n) {
    atomic_store_explicit(&mem_fault_countdown, n, memory_order_relaxed);
}

static bool fault_hits(void) {
    uint_fast64_t left = atomic_load_explicit(&mem_fault_countdown, memory_order_relaxed);
    while (left > 0) {
        if (atomic_compare_exchange_weak_explicit(&mem_fault_countdown, &left, left - 1,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            return left == 1;
        }
    }
    return false;
}

static size_t at_least_one(size_t size) {
    return size > 0 ? size : 1;
}

static void *must(void *p, size_t size) {
    if (p == NULL) { FATAL("out of memory: %zu bytes wanted", size); }
    return p;
}

void *mem_alloc(size_t size) {
    return must(calloc(1, at_least_one(size)), size);
}

void *mem_alloc_array(size_t count, size_t size) {
    size_t total = 0;
    if (__builtin_mul_overflow(count, size, &total)) {
        FATAL("out of memory: %zu times %zu bytes wanted", count, size);
    }
    return mem_alloc(total);
}

void *mem_realloc(void *p, size_t size) {
    return must(realloc(p, at_least_one(size)), size);
}

void *mem_try_alloc(size_t size) {
    return fault_hits() ? NULL : malloc(at_least_one(size));
}

void *mem_try_realloc(void *p, size_t size) {
    return fault_hits() ? NULL : realloc(p, at_least_one(size));
}

void mem_free(void *p) {
    free(p);
}

char *mem_strdup(const char *text) {
    ASSERT(text != NULL);
    const size_t size = strlen(text) + 1;
    char *copy = (char *)mem_alloc(size);
    memcpy(copy, text, size);
    return copy;
}
