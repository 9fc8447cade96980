// SPDX-License-Identifier: Apache-2.0
// sim_tree.h - an ordered map with cheap snapshots: a treap whose old versions stay readable.
// Invariants: keys are in order, priorities form a heap; a node with more than one reference is
//             never changed; count, size and digest of a node sum up its subtree; the shape depends
//             on the keys alone, because a node's priority is a hash of its key.
// Ownership:  a root is one reference on its top node: whoever holds it gives it to a function that
//             returns the next root, or drops it by sim_tree_unref. NULL is the empty map.
// Thread:     one thread; the counts are plain integers.
// See:        Seidel and Aragon, Randomized Search Trees (1996); Driscoll et al., Making Data
//             Structures Persistent (1989); tests/unit/storage/engine/sim_tree_test.c
#pragma once

#include "dataplane/base/bytes.h"

struct sim_node;

// What one key maps to, as a view. Keys start with the family.
struct sim_item {
    struct slice key;
    struct slice value;
    bool corrupt;
};

struct sim_sum {
    uint64_t count;
    uint64_t size;    // bytes of keys and values
    uint64_t digest;  // sum of the items' hashes: independent of order
};

struct sim_node *sim_tree_ref(struct sim_node *root);
void sim_tree_unref(struct sim_node *root);
// Each consumes root and returns the next one.
struct sim_node *sim_tree_put(struct sim_node *root, const struct sim_item *item);
struct sim_node *sim_tree_remove(struct sim_node *root, struct slice key);
// [start, end).
struct sim_node *sim_tree_remove_range(struct sim_node *root, struct slice start, struct slice end);

// The item with exactly that key; false when there is none. The views live as long as the root.
bool sim_tree_get(const struct sim_node *root, struct slice key, struct sim_item *out);
// First item with key >= (or >, when strict) key.
bool sim_tree_after(const struct sim_node *root, struct slice key, bool strict,
                    struct sim_item *out);
// Last item with key <= (or <, when strict) key.
bool sim_tree_before(const struct sim_node *root, struct slice key, bool strict,
                     struct sim_item *out);
// The item of a rank below count.
void sim_tree_at(const struct sim_node *root, uint64_t rank, struct sim_item *out);
// Of the items with key < end.
struct sim_sum sim_tree_sum_below(const struct sim_node *root, struct slice end);
struct sim_sum sim_tree_sum(const struct sim_node *root);
// Asserts the invariants; O(n).
void sim_tree_check(const struct sim_node *root);
