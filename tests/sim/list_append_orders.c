// SPDX-License-Identifier: Apache-2.0
// Interns keys and values, finds the longest read of each key, and with it who committed. An
// unknown outcome counts as committed once anybody saw a value of it, in any read at all.
#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"
#include "tests/sim/list_append_internal.h"

#include <string.h>

#define NONE LIST_APPEND_NONE

// --- Interning ---

static void table_init(struct list_append_table *self, uint32_t size) {
    uint32_t slots = 64;
    while (slots < 2 * size) {
        slots *= 2;
    }
    *self = (struct list_append_table){.slots = mem_alloc_array(slots, sizeof(uint32_t)),
                                       .mask = slots - 1};
}

static void table_place(struct list_append_table *self, uint64_t hash, uint32_t position) {
    uint32_t at = (uint32_t)hash & self->mask;
    while (self->slots[at] != 0) {
        at = (at + 1) & self->mask;
    }
    self->slots[at] = position + 1;
    self->count++;
}

static uint64_t write_hash(uint32_t key, uint64_t value) {
    return hash64_u64(value + ((uint64_t)key << 40));
}

static uint32_t intern_key(struct list_append_run *self, uint64_t key) {
    struct list_append_table *table = &self->key_table;
    uint64_t hash = hash64_u64(key);
    for (uint32_t at = (uint32_t)hash & table->mask; table->slots[at] != 0;
         at = (at + 1) & table->mask) {
        if (self->keys[table->slots[at] - 1].key == key) { return table->slots[at] - 1; }
    }
    if (self->key_count == self->key_capacity) {
        self->key_capacity = 2 * self->key_capacity + 64;
        self->keys = mem_realloc(self->keys, self->key_capacity * sizeof(*self->keys));
    }
    self->keys[self->key_count] = (struct list_append_version_order){
        .key = key, .longest_op = NONE, .first_write = NONE, .first_ext = NONE};
    table_place(table, hash, self->key_count);
    return self->key_count++;
}

static uint32_t find_write(const struct list_append_run *self, uint32_t key, uint64_t value) {
    const struct list_append_table *table = &self->write_table;
    for (uint32_t at = (uint32_t)write_hash(key, value) & table->mask; table->slots[at] != 0;
         at = (at + 1) & table->mask) {
        const struct list_append_write *write = &self->writes[table->slots[at] - 1];
        if (write->key == key && write->value == value) { return table->slots[at] - 1; }
    }
    return NONE;
}

// Garbage can be as much as was read.
static void grow_write_table(struct list_append_run *self) {
    if (2 * self->write_table.count <= self->write_table.mask) { return; }
    mem_free(self->write_table.slots);
    table_init(&self->write_table, 2 * self->write_count);
    for (uint32_t i = 0; i < self->write_count; i++) {
        table_place(&self->write_table, write_hash(self->writes[i].key, self->writes[i].value), i);
    }
}

static uint32_t add_write(struct list_append_run *self, uint32_t key, uint64_t value,
                          uint32_t txn) {
    if (self->write_count == self->write_capacity) {
        self->write_capacity = 2 * self->write_capacity + 256;
        self->writes = mem_realloc(self->writes, self->write_capacity * sizeof(*self->writes));
    }
    self->writes[self->write_count] =
        (struct list_append_write){.value = value,
                                   .key = key,
                                   .txn = txn,
                                   .next = self->keys[key].first_write,
                                   .position = NONE,
                                   .last = true};
    self->keys[key].first_write = self->write_count;
    table_place(&self->write_table, write_hash(key, value), self->write_count);
    uint32_t write = self->write_count++;
    grow_write_table(self);
    return write;
}

uint32_t list_append__write_of(struct list_append_run *self, uint32_t key, uint64_t value) {
    uint32_t write = find_write(self, key, value);
    return write == NONE ? add_write(self, key, value, NONE) : write;
}

// --- Writes ---

static void tell_repeated(struct list_append_run *self, uint32_t txn, uint32_t write) {
    if (!list_append__found(self, LIST_APPEND_GENERATOR)) { return; }
    const struct list_append_write *first = &self->writes[write];
    list_append__tell(self, LIST_APPEND_GENERATOR, "generator: T%llu and T%llu append %llu to ",
                      (unsigned long long)self->history->txns[first->txn].id,
                      (unsigned long long)self->history->txns[txn].id,
                      (unsigned long long)first->value);
    list_append__tell_key(self, LIST_APPEND_GENERATOR, first->key);
    list_append__tell(self, LIST_APPEND_GENERATOR, "\n");
}

static void intern_append(struct list_append_run *self, uint32_t txn, uint32_t op) {
    const struct list_append_txn *t = &self->history->txns[txn];
    uint32_t key = self->op_keys[op];
    uint32_t write = find_write(self, key, self->history->ops[op].value);
    if (write != NONE) {
        tell_repeated(self, txn, write);
    } else {
        write = add_write(self, key, self->history->ops[op].value, txn);
    }
    self->op_writes[op] = write;
    for (uint32_t before = t->op_first; before < op; before++) {
        bool same = self->op_keys[before] == key && !self->history->ops[before].is_read;
        if (same && self->op_writes[before] != write) {
            self->writes[self->op_writes[before]].last = false;
        }
    }
}

static void intern_txn(struct list_append_run *self, uint32_t txn) {
    const struct list_append_txn *t = &self->history->txns[txn];
    for (uint32_t op = t->op_first; op < t->op_first + t->op_count; op++) {
        const struct list_append_op *it = &self->history->ops[op];
        self->op_keys[op] = intern_key(self, it->key);
        self->op_writes[op] = NONE;
        if (!it->is_read) {
            intern_append(self, txn, op);
            continue;
        }
        struct list_append_version_order *key = &self->keys[self->op_keys[op]];
        bool longer = key->longest_op == NONE || it->list_count > key->count;
        if (t->type == LIST_APPEND_OK && longer) {
            key->longest_op = op;
            key->count = it->list_count;
        }
    }
}

// --- Version orders ---

static void place_longest(struct list_append_run *self, uint32_t k) {
    uint32_t count = self->keys[k].count;
    const uint64_t *list = list_append__list(self, self->keys[k].longest_op);
    uint32_t *writes = mem_alloc_array((size_t)count + 1, sizeof(*writes));
    for (uint32_t i = 0; i < count; i++) {
        writes[i] = list_append__write_of(self, k, list[i]);
        struct list_append_write *write = &self->writes[writes[i]];
        write->observed = true;
        if (write->position == NONE) { write->position = i; }
    }
    self->keys[k].list = list;
    self->keys[k].writes = writes;
}

static bool is_prefix(const struct list_append_run *self, uint32_t op) {
    const struct list_append_version_order *key = &self->keys[self->op_keys[op]];
    uint32_t count = self->history->ops[op].list_count;
    if (count == 0) { return true; }
    return count <= key->count &&
           memcmp(list_append__list(self, op), key->list, count * sizeof(uint64_t)) == 0;
}

static void observe(struct list_append_run *self, uint32_t op) {
    const uint64_t *list = list_append__list(self, op);
    for (uint32_t i = 0; i < self->history->ops[op].list_count; i++) {
        uint32_t write = list_append__write_of(self, self->op_keys[op], list[i]);
        self->writes[write].observed = true;
    }
}

static void find_committed(struct list_append_run *self) {
    const struct list_append_history *history = self->history;
    for (uint32_t t = 0; t < history->txn_count; t++) {
        const struct list_append_txn *txn = &history->txns[t];
        self->committed[t] = txn->type == LIST_APPEND_OK;
        if (txn->type != LIST_APPEND_INFO) { continue; }
        for (uint32_t op = txn->op_first; op < txn->op_first + txn->op_count; op++) {
            uint32_t write = self->op_writes[op];
            if (write != NONE && self->writes[write].observed) { self->committed[t] = true; }
        }
    }
}

void list_append__orders_init(struct list_append_run *self) {
    const struct list_append_history *history = self->history;
    table_init(&self->key_table, history->op_count);
    table_init(&self->write_table, history->op_count);
    self->op_keys = mem_alloc_array((size_t)history->op_count + 1, sizeof(*self->op_keys));
    self->op_writes = mem_alloc_array((size_t)history->op_count + 1, sizeof(*self->op_writes));
    self->exts = mem_alloc_array((size_t)history->op_count + 1, sizeof(*self->exts));
    self->committed = mem_alloc_array((size_t)history->txn_count + 1, sizeof(*self->committed));
    for (uint32_t t = 0; t < history->txn_count; t++) {
        intern_txn(self, t);
    }
    for (uint32_t k = 0; k < self->key_count; k++) {
        if (self->keys[k].longest_op != NONE) { place_longest(self, k); }
    }
    for (uint32_t t = 0; t < history->txn_count; t++) {
        const struct list_append_txn *txn = &history->txns[t];
        for (uint32_t op = txn->op_first; op < txn->op_first + txn->op_count; op++) {
            bool read = txn->type == LIST_APPEND_OK && history->ops[op].is_read;
            if (read && !is_prefix(self, op)) { observe(self, op); }
        }
    }
    find_committed(self);
}

void list_append__orders_deinit(struct list_append_run *self) {
    for (uint32_t k = 0; k < self->key_count; k++) {
        mem_free(self->keys[k].writes);
    }
    mem_free(self->keys);
    mem_free(self->key_table.slots);
    mem_free(self->writes);
    mem_free(self->write_table.slots);
    mem_free(self->exts);
    mem_free(self->op_keys);
    mem_free(self->op_writes);
    mem_free(self->committed);
}
