// SPDX-License-Identifier: Apache-2.0
// A binary heap in an array of pointers; nodes know their place, so a deadline moves in O(log n)
// without a search. A timer wheel was rejected: deadlines here are few (tens of thousands) and an
// exact order is what makes simulated runs equal.
#include "dataplane/base/heap.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <stddef.h>

enum { HEAP_CAPACITY_MIN = 16 };

static bool node_before(const struct heap_node *a, const struct heap_node *b) {
    return a->key != b->key ? a->key < b->key : a->sequence < b->sequence;
}

static struct heap_node *heap_at(const struct heap *self, uint32_t place) {
    ASSERT(place >= 1 && place <= self->count);
    return self->items[place - 1];
}

static void heap_place(struct heap *self, uint32_t place, struct heap_node *node) {
    ASSERT(place >= 1 && place <= self->count);
    self->items[place - 1] = node;
    node->index = place;
}

// Both sifts carry the node and shift the others, which writes each slot once.
static void sift_up(struct heap *self, struct heap_node *node, uint32_t place) {
    while (place > 1 && node_before(node, heap_at(self, place / 2))) {
        heap_place(self, place, heap_at(self, place / 2));
        place /= 2;
    }
    heap_place(self, place, node);
}

static void sift_down(struct heap *self, struct heap_node *node, uint32_t place) {
    for (;;) {
        uint32_t child = place * 2;
        if (child > self->count) { break; }
        if (child < self->count && node_before(heap_at(self, child + 1), heap_at(self, child))) {
            child++;
        }
        if (!node_before(heap_at(self, child), node)) { break; }
        heap_place(self, place, heap_at(self, child));
        place = child;
    }
    heap_place(self, place, node);
}

// Puts the node where it belongs, given a place that is free for it.
static void settle(struct heap *self, struct heap_node *node, uint32_t place) {
    if (place > 1 && node_before(node, heap_at(self, place / 2))) {
        sift_up(self, node, place);
    } else {
        sift_down(self, node, place);
    }
}

void heap_init(struct heap *self) {
    ASSERT(self != NULL);
    *self = (struct heap){0};
}

void heap_deinit(struct heap *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        self->items[i]->index = HEAP_ABSENT;
    }
    mem_free(self->items);
    *self = (struct heap){0};
}

void heap_put(struct heap *self, struct heap_node *node, uint64_t key) {
    ASSERT(node != NULL);
    ASSERT_IF(heap_has(node), heap_at(self, node->index) == node);
    node->key = key;
    node->sequence = self->sequence++;
    if (heap_has(node)) {
        settle(self, node, node->index);
        return;
    }
    if (self->count == self->capacity) {
        ASSERT(self->capacity < UINT32_MAX / 4);
        self->capacity = self->capacity > 0 ? self->capacity * 2 : HEAP_CAPACITY_MIN;
        self->items = (struct heap_node **)mem_realloc(self->items, (size_t)self->capacity *
                                                                        sizeof(struct heap_node *));
    }
    self->count++;
    sift_up(self, node, self->count);
}

void heap_remove(struct heap *self, struct heap_node *node) {
    if (!heap_has(node)) { return; }
    const uint32_t place = node->index;
    ASSERT(heap_at(self, place) == node);
    struct heap_node *last = heap_at(self, self->count);
    self->count--;
    node->index = HEAP_ABSENT;
    if (last != node) { settle(self, last, place); }
}

struct heap_node *heap_peek(const struct heap *self) {
    return self->count > 0 ? self->items[0] : NULL;
}

bool heap_check(const struct heap *self) {
    for (uint32_t place = 1; place <= self->count; place++) {
        const struct heap_node *node = heap_at(self, place);
        if (node->index != place || (place > 1 && node_before(node, heap_at(self, place / 2)))) {
            return false;
        }
    }
    return self->count <= self->capacity;
}
