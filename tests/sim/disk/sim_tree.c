// SPDX-License-Identifier: Apache-2.0
// A change copies the nodes on the path from the root to the key, unless this root is the only one
// that refers to them: a batch of many puts copies each path once. Old roots remain whole, so a
// snapshot is one reference, and undoing a batch is going back to the root before it. The
// alternative, a mutable tree with an undo journal, cannot give cursors a stable view.
#include "tests/sim/disk/sim_tree.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

#include <string.h>

// Key and value are one block, shared by the copies of a node.
struct sim_node {
    struct sim_node *left;
    struct sim_node *right;
    struct bytes *data;
    uint64_t priority;
    uint64_t hash;  // of this item
    struct sim_sum sum;
    uint32_t refs;
    uint32_t key_size;
    bool corrupt;
};

enum { PRIORITY_SEED = 1, ITEM_SEED = 2 };

static struct slice key_of(const struct sim_node *node) {
    return slice_make(node->data->data, node->key_size);
}

static void item_of(const struct sim_node *node, struct sim_item *out) {
    *out = (struct sim_item){
        .key = key_of(node),
        .value = slice_make(node->data->data + node->key_size, node->data->size - node->key_size),
        .corrupt = node->corrupt,
    };
}

struct sim_node *sim_tree_ref(struct sim_node *root) {
    if (root != NULL) { root->refs++; }
    return root;
}

void sim_tree_unref(struct sim_node *root) {
    if (root == NULL) { return; }
    ASSERT(root->refs > 0);
    if (--root->refs > 0) { return; }
    sim_tree_unref(root->left);
    sim_tree_unref(root->right);
    bytes_unref(root->data);
    mem_free(root);
}

struct sim_sum sim_tree_sum(const struct sim_node *root) {
    return root == NULL ? (struct sim_sum){0, 0, 0} : root->sum;
}

static struct sim_sum add(struct sim_sum a, struct sim_sum b) {
    return (struct sim_sum){a.count + b.count, a.size + b.size, a.digest + b.digest};
}

static struct sim_sum own_sum(const struct sim_node *node) {
    return (struct sim_sum){1, node->data->size, node->hash};
}

static struct sim_node *summed(struct sim_node *node) {
    node->sum = add(own_sum(node), add(sim_tree_sum(node->left), sim_tree_sum(node->right)));
    return node;
}

static struct sim_node *node_create(const struct sim_item *item) {
    struct sim_node *node = mem_alloc(sizeof(*node));
    node->refs = 1;
    node->key_size = (uint32_t)item->key.size;
    node->corrupt = item->corrupt;
    node->data = bytes_create(item->key.size + item->value.size);
    if (item->key.size > 0) { memcpy(node->data->data, item->key.data, item->key.size); }
    if (item->value.size > 0) {
        memcpy(node->data->data + item->key.size, item->value.data, item->value.size);
    }
    node->priority = hash64(item->key, PRIORITY_SEED);
    // Chained, so that moving a byte from the key to the value makes another hash.
    node->hash = hash64(item->value, hash64(item->key, ITEM_SEED));
    return summed(node);
}

// A node like this one that only the caller refers to; consumes the reference.
static struct sim_node *own(struct sim_node *node) {
    if (node->refs == 1) { return node; }
    struct sim_node *copy = mem_alloc(sizeof(*copy));
    *copy = *node;
    copy->refs = 1;
    (void)bytes_ref(copy->data);
    (void)sim_tree_ref(copy->left);
    (void)sim_tree_ref(copy->right);
    sim_tree_unref(node);
    return copy;
}

// Consumes root; keys < key (or <= key, when inclusive) go left, the others right.
static void split(struct sim_node *root, struct slice key, bool inclusive,
                  struct sim_node **out_left, struct sim_node **out_right) {
    if (root == NULL) {
        *out_left = NULL;
        *out_right = NULL;
        return;
    }
    struct sim_node *node = own(root);
    const int order = slice_compare(key_of(node), key);
    if (order < 0 || (order == 0 && inclusive)) {
        split(node->right, key, inclusive, &node->right, out_right);
        *out_left = summed(node);
    } else {
        split(node->left, key, inclusive, out_left, &node->left);
        *out_right = summed(node);
    }
}

// Equal priorities: the smaller key stands higher, so that the shape stays unique.
static bool stands_higher(const struct sim_node *a, const struct sim_node *b) {
    if (a->priority != b->priority) { return a->priority > b->priority; }
    return slice_compare(key_of(a), key_of(b)) < 0;
}

// Consumes both; all keys of left are below all keys of right.
static struct sim_node *merge(struct sim_node *left, struct sim_node *right) {
    if (left == NULL) { return right; }
    if (right == NULL) { return left; }
    if (stands_higher(left, right)) {
        struct sim_node *node = own(left);
        node->right = merge(node->right, right);
        return summed(node);
    }
    struct sim_node *node = own(right);
    node->left = merge(left, node->left);
    return summed(node);
}

// Replaces the item of a key that is there; the shape stays.
static struct sim_node *replace(struct sim_node *root, struct sim_node *fresh) {
    struct sim_node *node = own(root);
    const int order = slice_compare(key_of(fresh), key_of(node));
    if (order < 0) {
        node->left = replace(node->left, fresh);
    } else if (order > 0) {
        node->right = replace(node->right, fresh);
    } else {
        bytes_unref(node->data);
        node->data = bytes_ref(fresh->data);
        node->hash = fresh->hash;
        node->corrupt = fresh->corrupt;
    }
    return summed(node);
}

// Puts a node whose key is not there yet where its priority wants it.
static struct sim_node *insert(struct sim_node *root, struct sim_node *fresh) {
    if (root == NULL) { return fresh; }
    if (stands_higher(fresh, root)) {
        split(root, key_of(fresh), false, &fresh->left, &fresh->right);
        return summed(fresh);
    }
    struct sim_node *node = own(root);
    if (slice_compare(key_of(fresh), key_of(node)) < 0) {
        node->left = insert(node->left, fresh);
    } else {
        node->right = insert(node->right, fresh);
    }
    return summed(node);
}

struct sim_node *sim_tree_put(struct sim_node *root, const struct sim_item *item) {
    struct sim_item present;
    struct sim_node *fresh = node_create(item);
    if (!sim_tree_get(root, item->key, &present)) { return insert(root, fresh); }
    root = replace(root, fresh);
    sim_tree_unref(fresh);
    return root;
}

static struct sim_node *take_out(struct sim_node *root, struct slice key) {
    struct sim_node *node = own(root);
    const int order = slice_compare(key, key_of(node));
    if (order < 0) {
        node->left = take_out(node->left, key);
        return summed(node);
    }
    if (order > 0) {
        node->right = take_out(node->right, key);
        return summed(node);
    }
    struct sim_node *rest = merge(node->left, node->right);
    node->left = NULL;
    node->right = NULL;
    sim_tree_unref(node);
    return rest;
}

struct sim_node *sim_tree_remove(struct sim_node *root, struct slice key) {
    struct sim_item present;
    return sim_tree_get(root, key, &present) ? take_out(root, key) : root;
}

struct sim_node *sim_tree_remove_range(struct sim_node *root, struct slice start,
                                       struct slice end) {
    ASSERT(slice_compare(start, end) < 0);
    struct sim_node *left = NULL;
    struct sim_node *middle = NULL;
    struct sim_node *right = NULL;
    split(root, start, false, &left, &right);
    split(right, end, false, &middle, &right);
    sim_tree_unref(middle);
    return merge(left, right);
}

bool sim_tree_get(const struct sim_node *root, struct slice key, struct sim_item *out) {
    while (root != NULL) {
        const int order = slice_compare(key, key_of(root));
        if (order == 0) {
            item_of(root, out);
            return true;
        }
        root = order < 0 ? root->left : root->right;
    }
    return false;
}

bool sim_tree_after(const struct sim_node *root, struct slice key, bool strict,
                    struct sim_item *out) {
    const struct sim_node *best = NULL;
    while (root != NULL) {
        const int order = slice_compare(key_of(root), key);
        if (order > 0 || (order == 0 && !strict)) {
            best = root;
            root = root->left;
        } else {
            root = root->right;
        }
    }
    if (best != NULL) { item_of(best, out); }
    return best != NULL;
}

bool sim_tree_before(const struct sim_node *root, struct slice key, bool strict,
                     struct sim_item *out) {
    const struct sim_node *best = NULL;
    while (root != NULL) {
        const int order = slice_compare(key_of(root), key);
        if (order < 0 || (order == 0 && !strict)) {
            best = root;
            root = root->right;
        } else {
            root = root->left;
        }
    }
    if (best != NULL) { item_of(best, out); }
    return best != NULL;
}

void sim_tree_at(const struct sim_node *root, uint64_t rank, struct sim_item *out) {
    ASSERT(rank < sim_tree_sum(root).count);
    for (;;) {
        const uint64_t left = sim_tree_sum(root->left).count;
        if (rank == left) {
            item_of(root, out);
            return;
        }
        if (rank < left) {
            root = root->left;
        } else {
            rank -= left + 1;
            root = root->right;
        }
    }
}

struct sim_sum sim_tree_sum_below(const struct sim_node *root, struct slice end) {
    struct sim_sum sum = {0, 0, 0};
    while (root != NULL) {
        if (slice_compare(key_of(root), end) < 0) {
            sum = add(sum, add(own_sum(root), sim_tree_sum(root->left)));
            root = root->right;
        } else {
            root = root->left;
        }
    }
    return sum;
}

static void check_child(const struct sim_node *parent, const struct sim_node *child, int side) {
    if (child == NULL) { return; }
    ASSERT(stands_higher(parent, child));
    const int order = slice_compare(key_of(child), key_of(parent));
    ASSERT(side < 0 ? order < 0 : order > 0);
}

void sim_tree_check(const struct sim_node *root) {
    if (root == NULL) { return; }
    ASSERT(root->refs > 0);
    check_child(root, root->left, -1);
    check_child(root, root->right, 1);
    const struct sim_sum sum =
        add(own_sum(root), add(sim_tree_sum(root->left), sim_tree_sum(root->right)));
    ASSERT(sum.count == root->sum.count);
    ASSERT(sum.size == root->sum.size);
    ASSERT(sum.digest == root->sum.digest);
    sim_tree_check(root->left);
    sim_tree_check(root->right);
}
