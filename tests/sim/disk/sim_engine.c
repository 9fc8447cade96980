// SPDX-License-Identifier: Apache-2.0
// Each batch makes a new root of a persistent tree (sim_tree.h). The roots after the last durable
// batch are kept in a ring: what a crash may leave is exactly that list, and going back is dropping
// the newer roots. A cursor holds the root it shows. Keys in the tree carry the family in front, as
// in the RocksDB engine, so that one tree holds all families.
//
// The log and the data store crash alike: the end of the WAL may or may not have reached the disk,
// and a memtable may or may not have been flushed early; both leave whole batches, and a prefix.
#include "tests/sim/disk/sim_engine.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"
#include "tests/sim/disk/sim_tree.h"

#include <string.h>

struct sim_engine {
    struct engine base;
    struct sim_engine_options options;
    struct sim_node *root;    // what reads see
    struct sim_node **roots;  // roots[i] is the state after batch durable + i; one reference each
    uint32_t root_count;      // at least 1: the durable state
    uint32_t root_capacity;
    uint64_t durable;
    bool full;
};

enum sim_op_kind { SIM_PUT, SIM_REMOVE, SIM_REMOVE_RANGE };

struct sim_op {
    enum sim_op_kind kind;
    size_t key_offset;
    size_t key_size;
    size_t other_size;  // value, or end of the range; follows the key
};

struct sim_batch {
    struct engine_batch base;
    struct buf data;
    struct sim_op *ops;
    uint32_t count;
    uint32_t capacity;
};

struct sim_cursor {
    struct engine_cursor base;
    struct sim_engine *engine;
    struct sim_node *root;
    struct buf sought;  // key with its family
    struct sim_item item;
    enum engine_family family;
    bool point;
    bool valid;
    enum status status;
};

enum { BATCH_SIZE_MAX = 1 << 30, KEY_SIZE_MAX = 1 << 20 };

static void must(enum status st) {
    ASSERT(st == STATUS_OK);
}

static void append(struct buf *buf, struct slice s) {
    must(buf_append(buf, s));
}

// The family in front of the key, in a buffer that the caller resets.
static struct slice full_key(struct buf *buf, enum engine_family family, struct slice key) {
    ASSERT(family < ENGINE_FAMILY_COUNT);
    const uint8_t prefix = (uint8_t)(family + 1);
    buf_reset(buf);
    append(buf, slice_make(&prefix, 1));
    append(buf, key);
    return buf_slice(buf);
}

// --- Batches ---

static struct sim_batch *batch_of(struct engine_batch *base) {
    return (struct sim_batch *)(void *)base;
}

static struct sim_op *batch_add(struct sim_batch *self, enum sim_op_kind kind,
                                enum engine_family family, struct slice key) {
    if (self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? 16 : self->capacity * 2;
        self->ops = mem_realloc(self->ops, self->capacity * sizeof(*self->ops));
    }
    struct sim_op *op = &self->ops[self->count++];
    const uint8_t prefix = (uint8_t)(family + 1);
    ASSERT(family < ENGINE_FAMILY_COUNT);
    *op = (struct sim_op){kind, self->data.size, key.size + 1, 0};
    append(&self->data, slice_make(&prefix, 1));
    append(&self->data, key);
    return op;
}

static void batch_put(struct engine_batch *base, enum engine_family family, struct slice key,
                      struct slice head, struct slice tail) {
    struct sim_batch *self = batch_of(base);
    struct sim_op *op = batch_add(self, SIM_PUT, family, key);
    op->other_size = head.size + tail.size;
    append(&self->data, head);
    append(&self->data, tail);
}

static void batch_remove(struct engine_batch *base, enum engine_family family, struct slice key) {
    (void)batch_add(batch_of(base), SIM_REMOVE, family, key);
}

static void batch_remove_range(struct engine_batch *base, enum engine_family family,
                               struct slice start, struct slice end) {
    ASSERT(start.size > 0);
    ASSERT(slice_compare(start, end) < 0);
    struct sim_batch *self = batch_of(base);
    struct sim_op *op = batch_add(self, SIM_REMOVE_RANGE, family, start);
    const uint8_t prefix = (uint8_t)(family + 1);
    op->other_size = end.size + 1;
    append(&self->data, slice_make(&prefix, 1));
    append(&self->data, end);
}

static void batch_clear(struct engine_batch *base) {
    struct sim_batch *self = batch_of(base);
    buf_reset(&self->data);
    self->count = 0;
}

static uint32_t batch_count(const struct engine_batch *base) {
    return ((const struct sim_batch *)(const void *)base)->count;
}

static uint64_t batch_size(const struct engine_batch *base) {
    return ((const struct sim_batch *)(const void *)base)->data.size;
}

static void batch_destroy(struct engine_batch *base) {
    struct sim_batch *self = batch_of(base);
    buf_deinit(&self->data);
    mem_free(self->ops);
    mem_free(self);
}

static struct engine_batch *batch_create(struct engine *engine) {
    static const struct engine_batch_ops ops = {
        .put = batch_put,
        .remove = batch_remove,
        .remove_range = batch_remove_range,
        .clear = batch_clear,
        .count = batch_count,
        .size = batch_size,
        .destroy = batch_destroy,
    };
    ASSERT(engine != NULL);
    struct sim_batch *self = mem_alloc(sizeof(*self));
    self->base.ops = &ops;
    buf_init(&self->data, BATCH_SIZE_MAX);
    return &self->base;
}

// --- Cursors ---

static struct sim_engine *engine_of(struct engine *base) {
    return (struct sim_engine *)(void *)base;
}

static const struct sim_engine *const_engine_of(const struct engine *base) {
    return (const struct sim_engine *)(const void *)base;
}

static struct sim_cursor *cursor_of(struct engine_cursor *base) {
    return (struct sim_cursor *)(void *)base;
}

static const struct sim_cursor *const_cursor_of(const struct engine_cursor *base) {
    return (const struct sim_cursor *)(const void *)base;
}

static struct slice prefix_of(struct slice full) {
    const bool is_version =
        full.size > ENGINE_VERSION_SUFFIX_SIZE && full.data[0] == ENGINE_VERSION + 1;
    return slice_make(full.data, is_version ? full.size - ENGINE_VERSION_SUFFIX_SIZE : full.size);
}

// After each move: an item of another family, or prefix, is the end; a rotten one is an error.
static void land(struct sim_cursor *self, bool found) {
    self->valid = found && self->item.key.data[0] == (uint8_t)(self->family + 1);
    if (self->valid && self->point) {
        self->valid = slice_equal(prefix_of(self->item.key), prefix_of(buf_slice(&self->sought)));
    }
    self->status = self->valid && self->item.corrupt ? STATUS_CORRUPT : STATUS_OK;
    self->valid = self->valid && !self->item.corrupt;
}

static void cursor_refresh(struct engine_cursor *base) {
    struct sim_cursor *self = cursor_of(base);
    sim_tree_unref(self->root);
    self->root = sim_tree_ref(self->engine->root);
    self->valid = false;
    self->status = STATUS_OK;
}

static void cursor_seek(struct engine_cursor *base, struct slice key) {
    struct sim_cursor *self = cursor_of(base);
    const struct slice full = full_key(&self->sought, self->family, key);
    land(self, sim_tree_after(self->root, full, false, &self->item));
}

static void cursor_seek_for_prev(struct engine_cursor *base, struct slice key) {
    struct sim_cursor *self = cursor_of(base);
    ASSERT(!self->point);
    const struct slice full = full_key(&self->sought, self->family, key);
    land(self, sim_tree_before(self->root, full, false, &self->item));
}

static void cursor_next(struct engine_cursor *base) {
    struct sim_cursor *self = cursor_of(base);
    ASSERT(self->valid);
    land(self, sim_tree_after(self->root, self->item.key, true, &self->item));
}

static void cursor_prev(struct engine_cursor *base) {
    struct sim_cursor *self = cursor_of(base);
    ASSERT(self->valid);
    ASSERT(!self->point);
    land(self, sim_tree_before(self->root, self->item.key, true, &self->item));
}

static bool cursor_valid(const struct engine_cursor *base) {
    return const_cursor_of(base)->valid;
}

static struct slice cursor_key(const struct engine_cursor *base) {
    const struct sim_cursor *self = const_cursor_of(base);
    ASSERT(self->valid);
    return slice_make(self->item.key.data + 1, self->item.key.size - 1);
}

static struct slice cursor_value(const struct engine_cursor *base) {
    const struct sim_cursor *self = const_cursor_of(base);
    ASSERT(self->valid);
    return self->item.value;
}

static enum status cursor_status(const struct engine_cursor *base) {
    return const_cursor_of(base)->status;
}

static void cursor_destroy(struct engine_cursor *base) {
    struct sim_cursor *self = cursor_of(base);
    sim_tree_unref(self->root);
    buf_deinit(&self->sought);
    mem_free(self);
}

static struct engine_cursor *create_cursor(struct engine *base, enum engine_family family,
                                           bool point) {
    static const struct engine_cursor_ops ops = {
        .refresh = cursor_refresh,
        .seek = cursor_seek,
        .seek_for_prev = cursor_seek_for_prev,
        .next = cursor_next,
        .prev = cursor_prev,
        .valid = cursor_valid,
        .key = cursor_key,
        .value = cursor_value,
        .status = cursor_status,
        .destroy = cursor_destroy,
    };
    struct sim_cursor *self = mem_alloc(sizeof(*self));
    self->base.ops = &ops;
    self->engine = engine_of(base);
    self->family = family;
    self->point = point;
    buf_init(&self->sought, KEY_SIZE_MAX);
    self->root = sim_tree_ref(self->engine->root);
    return &self->base;
}

static struct engine_cursor *cursor_create(struct engine *base, enum engine_family family) {
    return create_cursor(base, family, false);
}

static struct engine_cursor *point_cursor_create(struct engine *base, enum engine_family family) {
    return create_cursor(base, family, true);
}

// --- The store ---

static enum status engine_op_get(struct engine *base, enum engine_family family, struct slice key,
                                 struct buf *out_value) {
    struct buf buf;
    struct sim_item item;
    buf_init(&buf, KEY_SIZE_MAX);
    const struct slice full = full_key(&buf, family, key);
    const bool found = sim_tree_get(engine_of(base)->root, full, &item);
    buf_deinit(&buf);
    if (!found) { return STATUS_NOT_FOUND; }
    if (item.corrupt) { return STATUS_CORRUPT; }
    buf_reset(out_value);
    return buf_append(out_value, item.value);
}

static struct sim_node *apply(struct sim_node *root, const struct sim_batch *batch,
                              bool *out_grows) {
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct sim_op *op = &batch->ops[i];
        const struct slice key = slice_make(batch->data.data + op->key_offset, op->key_size);
        const struct slice other = slice_make(key.data + key.size, op->other_size);
        switch (op->kind) {
        case SIM_PUT:
            root = sim_tree_put(root, &(struct sim_item){key, other, false});
            *out_grows = true;
            break;
        case SIM_REMOVE:
            root = sim_tree_remove(root, key);
            break;
        case SIM_REMOVE_RANGE:
            root = sim_tree_remove_range(root, key, other);
            break;
        }
    }
    return root;
}

// Takes over one reference on the root.
static void push_root(struct sim_engine *self, struct sim_node *root) {
    if (self->root_count == self->root_capacity) {
        self->root_capacity = self->root_capacity == 0 ? 16 : self->root_capacity * 2;
        self->roots = mem_realloc(self->roots, self->root_capacity * sizeof(struct sim_node *));
    }
    self->roots[self->root_count++] = root;
    self->root = root;
}

static enum status engine_op_write(struct engine *base, struct engine_batch *batch, bool sync) {
    struct sim_engine *self = engine_of(base);
    if (self->full) { return STATUS_NO_SPACE; }
    bool grows = false;
    struct sim_node *root = apply(sim_tree_ref(self->root), batch_of(batch), &grows);
    if (grows && self->options.capacity > 0 && sim_tree_sum(root).size > self->options.capacity) {
        sim_tree_unref(root);
        return STATUS_NO_SPACE;
    }
    push_root(self, root);
    if (sync && !self->options.deferred) {
        sim_engine_make_durable(base, sim_engine_sequence(base));
    }
    return STATUS_OK;
}

static enum status engine_op_flush(struct engine *base) {
    struct sim_engine *self = engine_of(base);
    if (self->full) { return STATUS_NO_SPACE; }
    if (!self->options.deferred) { sim_engine_make_durable(base, sim_engine_sequence(base)); }
    return STATUS_OK;
}

static struct sim_sum sum_of_range(const struct sim_engine *self, enum engine_family family,
                                   struct slice start, struct slice end) {
    struct buf buf;
    buf_init(&buf, KEY_SIZE_MAX);
    const struct sim_sum low = sim_tree_sum_below(self->root, full_key(&buf, family, start));
    // An empty end is the start of the next family.
    const uint8_t next_family = (uint8_t)(family + 2);
    const struct slice high_key =
        end.size > 0 ? full_key(&buf, family, end) : slice_make(&next_family, 1);
    const struct sim_sum high = sim_tree_sum_below(self->root, high_key);
    buf_deinit(&buf);
    return (struct sim_sum){high.count - low.count, high.size - low.size, high.digest - low.digest};
}

static uint64_t engine_op_approximate_size(struct engine *base, enum engine_family family,
                                           struct slice start, struct slice end) {
    return sum_of_range(const_engine_of(base), family, start, end).size;
}

static void engine_op_pressure(struct engine *base, struct engine_pressure *out) {
    const struct sim_engine *self = const_engine_of(base);
    const uint64_t size = sim_tree_sum(self->root).size;
    uint64_t free_size = UINT64_MAX;
    if (self->options.capacity > 0) {
        free_size = size < self->options.capacity ? self->options.capacity - size : 0;
    }
    *out = (struct engine_pressure){.disk_free_size = self->full ? 0 : free_size};
}

static void engine_op_close(struct engine *base) {
    struct sim_engine *self = engine_of(base);
    for (uint32_t i = 0; i < self->root_count; i++) {
        sim_tree_unref(self->roots[i]);
    }
    mem_free(self->roots);
    mem_free(self);
}

struct engine *sim_engine_create(const struct sim_engine_options *options) {
    static const struct engine_ops ops = {
        .close = engine_op_close,
        .get = engine_op_get,
        .batch_create = batch_create,
        .cursor_create = cursor_create,
        .point_cursor_create = point_cursor_create,
        .write = engine_op_write,
        .flush = engine_op_flush,
        .approximate_size = engine_op_approximate_size,
        .pressure = engine_op_pressure,
    };
    struct sim_engine *self = mem_alloc(sizeof(*self));
    self->base.ops = &ops;
    self->options = *options;
    push_root(self, NULL);
    return &self->base;
}

// --- Time ---

uint64_t sim_engine_sequence(const struct engine *engine) {
    const struct sim_engine *self = const_engine_of(engine);
    return self->durable + self->root_count - 1;
}

uint64_t sim_engine_durable(const struct engine *engine) {
    return const_engine_of(engine)->durable;
}

void sim_engine_make_durable(struct engine *engine, uint64_t sequence) {
    struct sim_engine *self = engine_of(engine);
    ASSERT(sequence <= sim_engine_sequence(engine));
    if (sequence <= self->durable) { return; }
    const uint32_t drop = (uint32_t)(sequence - self->durable);
    for (uint32_t i = 0; i < drop; i++) {
        sim_tree_unref(self->roots[i]);
    }
    self->root_count -= drop;
    memmove(self->roots, self->roots + drop, self->root_count * sizeof(struct sim_node *));
    self->durable = sequence;
}

// --- Faults ---

uint64_t sim_engine_crash(struct engine *engine, struct prng *prng) {
    struct sim_engine *self = engine_of(engine);
    const uint64_t sequence = sim_engine_sequence(engine);
    const uint64_t kept = self->durable + prng_below(prng, self->root_count);
    sim_engine_crash_at(engine, kept);
    return sequence - kept;
}

void sim_engine_crash_at(struct engine *engine, uint64_t sequence) {
    struct sim_engine *self = engine_of(engine);
    ASSERT(sequence >= self->durable && sequence <= sim_engine_sequence(engine));
    const uint32_t keep = (uint32_t)(sequence - self->durable);
    while (self->root_count > keep + 1) {
        sim_tree_unref(self->roots[--self->root_count]);
    }
    self->root = self->roots[keep];
    sim_engine_make_durable(engine, sequence);
}

void sim_engine_set_full(struct engine *engine, bool full) {
    engine_of(engine)->full = full;
}

// Changes an item in place: in the newest state and in each that a crash may leave. Rot is not a
// write, and going back in time does not heal it.
static void damage(struct sim_engine *self, struct slice full, struct slice value, bool corrupt) {
    for (uint32_t i = 0; i < self->root_count; i++) {
        struct sim_item item;
        if (!sim_tree_get(self->roots[i], full, &item)) { continue; }
        // The views die with the node that holds them.
        struct sim_node *kept = sim_tree_ref(self->roots[i]);
        item.value = corrupt ? item.value : value;
        item.corrupt = corrupt;
        self->roots[i] = sim_tree_put(self->roots[i], &item);
        sim_tree_unref(kept);
    }
    self->root = self->roots[self->root_count - 1];
}

static enum status damage_key(struct sim_engine *self, struct slice full, struct slice value,
                              bool corrupt) {
    struct sim_item item;
    if (!sim_tree_get(self->root, full, &item)) { return STATUS_NOT_FOUND; }
    damage(self, full, value, corrupt);
    return STATUS_OK;
}

enum status sim_engine_corrupt(struct engine *engine, enum engine_family family, struct slice key) {
    struct buf buf;
    buf_init(&buf, KEY_SIZE_MAX);
    const enum status st =
        damage_key(engine_of(engine), full_key(&buf, family, key), SLICE_EMPTY, true);
    buf_deinit(&buf);
    return st;
}

enum status sim_engine_overwrite(struct engine *engine, enum engine_family family, struct slice key,
                                 struct slice value) {
    struct buf buf;
    buf_init(&buf, KEY_SIZE_MAX);
    const enum status st = damage_key(engine_of(engine), full_key(&buf, family, key), value, false);
    buf_deinit(&buf);
    return st;
}

bool sim_engine_corrupt_random(struct engine *engine, enum engine_family family,
                               struct prng *prng) {
    struct sim_engine *self = engine_of(engine);
    const uint64_t count = sum_of_range(self, family, SLICE_EMPTY, SLICE_EMPTY).count;
    if (count == 0) { return false; }
    const uint8_t prefix = (uint8_t)(family + 1);
    const uint64_t before = sim_tree_sum_below(self->root, slice_make(&prefix, 1)).count;
    struct sim_item item;
    sim_tree_at(self->root, before + prng_below(prng, count), &item);
    struct sim_node *kept = sim_tree_ref(self->root);
    damage(self, item.key, SLICE_EMPTY, true);
    sim_tree_unref(kept);
    return true;
}

// --- Looking ---

uint64_t sim_engine_digest(const struct engine *engine) {
    return sim_tree_sum(const_engine_of(engine)->root).digest;
}

uint64_t sim_engine_digest_range(const struct engine *engine, enum engine_family family,
                                 struct slice start, struct slice end) {
    return sum_of_range(const_engine_of(engine), family, start, end).digest;
}

uint64_t sim_engine_count(const struct engine *engine) {
    return sim_tree_sum(const_engine_of(engine)->root).count;
}

uint64_t sim_engine_size(const struct engine *engine) {
    return sim_tree_sum(const_engine_of(engine)->root).size;
}

void sim_engine_check(const struct engine *engine) {
    const struct sim_engine *self = const_engine_of(engine);
    ASSERT(self->root_count > 0);
    ASSERT(self->root == self->roots[self->root_count - 1]);
    for (uint32_t i = 0; i < self->root_count; i++) {
        sim_tree_check(self->roots[i]);
    }
}
