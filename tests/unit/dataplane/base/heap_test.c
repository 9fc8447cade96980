// SPDX-License-Identifier: Apache-2.0
// The heap against a plain list, and the order of equal keys.
#include "dataplane/base/heap.h"

#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// Goal: equal keys come out in the order they went in; that order is part of a simulated run.
static void test_heap_equal_keys_keep_insertion_order(void **state) {
    (void)state;
    enum { NODES = 100 };
    struct heap heap;
    struct heap_node nodes[NODES] = {{0}};
    heap_init(&heap);
    for (unsigned i = 0; i < NODES; i++) {
        heap_put(&heap, &nodes[i], 5);
    }
    heap_put(&heap, &nodes[0], 5);  // moved: now the last of its equals
    for (unsigned i = 1; i < NODES; i++) {
        assert_ptr_equal(heap_peek(&heap), &nodes[i]);
        heap_remove(&heap, &nodes[i]);
    }
    assert_ptr_equal(heap_peek(&heap), &nodes[0]);
    heap_deinit(&heap);
}

// Goal: a node that is out can be removed again, and a deinitialised heap leaves its nodes out.
static void test_heap_nodes_know_whether_they_are_inside(void **state) {
    (void)state;
    struct heap heap;
    struct heap_node node = {0};
    heap_init(&heap);
    assert_null(heap_peek(&heap));
    heap_remove(&heap, &node);
    heap_put(&heap, &node, 1);
    assert_true(heap_has(&node));
    heap_remove(&heap, &node);
    assert_false(heap_has(&node));
    heap_remove(&heap, &node);
    heap_put(&heap, &node, 1);
    heap_deinit(&heap);
    assert_false(heap_has(&node));
}

enum { MODEL_NODES = 64 };

// The smallest node by search: what the heap must peek.
static struct heap_node *model_peek(struct heap_node *nodes) {
    struct heap_node *best = NULL;
    for (unsigned i = 0; i < MODEL_NODES; i++) {
        struct heap_node *at = &nodes[i];
        if (heap_has(at) && (best == NULL || at->key < best->key ||
                             (at->key == best->key && at->sequence < best->sequence))) {
            best = at;
        }
    }
    return best;
}

// Goal: puts, moves and removals in any order keep the smallest on top.
static void test_heap_agrees_with_search(void **state) {
    (void)state;
    struct heap heap;
    struct heap_node nodes[MODEL_NODES] = {{0}};
    struct prng prng;
    heap_init(&heap);
    prng_init(&prng, 17);
    for (unsigned step = 0; step < 20000; step++) {
        struct heap_node *node = &nodes[prng_below(&prng, MODEL_NODES)];
        if (prng_chance(&prng, 2, 3)) {
            heap_put(&heap, node, prng_below(&prng, 50));
        } else {
            heap_remove(&heap, node);
        }
        assert_ptr_equal(heap_peek(&heap), model_peek(nodes));
        assert_true(heap_check(&heap));
    }
    heap_deinit(&heap);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap_equal_keys_keep_insertion_order),
        cmocka_unit_test(test_heap_nodes_know_whether_they_are_inside),
        cmocka_unit_test(test_heap_agrees_with_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
