// SPDX-License-Identifier: Apache-2.0
// heap.h - an intrusive binary min-heap keyed by a 64-bit integer; for deadlines.
// Invariants: each node's key <= its children's; node->index is its place, HEAP_ABSENT when out;
//             ties break by the order of insertion, so equal runs are equal everywhere.
// Ownership:  nodes belong to the caller and must outlive their stay.
// Thread:     confined to its owner.
// See:        dataplane/base/README.md; tests/unit/dataplane/base/heap_test.c
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { HEAP_ABSENT = 0 };  // a zeroed node is out of the heap; places are 1-based

struct heap_node {
    uint64_t key;       // read-only while inside
    uint64_t sequence;  // private: tie-break
    uint32_t index;     // private: 1-based place
};

struct heap {
    struct heap_node **items;
    uint32_t count;
    uint32_t capacity;
    uint64_t sequence;
};

void heap_init(struct heap *self);
// Takes out whatever is still inside.
void heap_deinit(struct heap *self);
// Inserts the node, or moves it when it is already inside, under a new key.
void heap_put(struct heap *self, struct heap_node *node, uint64_t key);
// Takes the node out; no effect when it is not inside.
void heap_remove(struct heap *self, struct heap_node *node);
// Smallest node or NULL.
struct heap_node *heap_peek(const struct heap *self);
static inline bool heap_has(const struct heap_node *node) {
    return node->index != HEAP_ABSENT;
}
// O(n) sweep of the invariants.
bool heap_check(const struct heap *self);
