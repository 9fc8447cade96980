// SPDX-License-Identifier: Apache-2.0
// mem.h - the only door to the allocator.
// Invariants: mem_alloc never returns NULL; memory from here is freed here.
// Ownership:  the caller owns what it gets.
// Thread:     any.
// See:        dataplane/base/README.md; tests/unit/dataplane/base/mem_test.c
#pragma once

#include <stddef.h>
#include <stdint.h>

// Small allocations whose size we choose: zeroed, FATAL when memory is gone.
void *mem_alloc(size_t size) __attribute__((malloc));
// count * size with an overflow check; zeroed, FATAL when memory is gone.
void *mem_alloc_array(size_t count, size_t size) __attribute__((malloc));
// Grows or shrinks; contents kept, new part undefined; FATAL when memory is gone.
void *mem_realloc(void *p, size_t size);
// Sizes chosen by a client: NULL when memory is gone; not zeroed.
void *mem_try_alloc(size_t size) __attribute__((malloc));
// Same for growth: NULL when memory is gone, and then p stands unchanged.
void *mem_try_realloc(void *p, size_t size);
void mem_free(void *p);
// Copy of a NUL-terminated string.
char *mem_strdup(const char *text);

// Tests only: the n-th mem_try_* call from now, counted over all threads, finds no memory; 0 ends
// it.
void mem_fault_set(uint64_t n);
