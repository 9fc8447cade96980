// SPDX-License-Identifier: Apache-2.0
// The search of Wing and Gong with Lowe's cache. Events lie in a list; an operation may go next
// when it was invoked before the first return in the list. Taking one lifts it out; when nothing
// can go next, the last one is put back. A configuration (what was taken, what the register holds)
// that failed once is never searched again.
//
// Two cuts make it nearly linear on real histories. Values are unique, so a value that someone must
// still see cannot be overwritten. And an operation of unknown outcome whose value nobody ever saw
// and that no condition can have met is left out: if it took effect, nobody can tell. Known
// operations are tried before unknown ones.
#include "tests/sim/linear.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = UINT32_MAX };

struct entry {
    uint64_t at;
    uint32_t op;
    bool is_return;
    uint32_t prev;
    uint32_t next;
};

struct taken {
    uint32_t op;
    uint64_t state;  // before it
};

struct search {
    const struct linear_op *ops;
    uint32_t count;
    struct entry *entries;  // 0 is the head
    uint32_t entry_count;
    uint32_t *invoke_of;  // op -> entry; NONE = left out
    uint32_t *return_of;  // op -> entry; NONE for unknown ones
    uint32_t returns;     // known operations not yet taken
    struct taken *stack;
    uint32_t depth;
    uint64_t set_hash;  // of the operations taken, order-free
    uint64_t *cache;    // open addressing, 0 = free
    uint64_t cache_size;
    uint64_t cache_count;
};

// --- Preparation ---

static bool is_observed(const struct search *self, uint64_t value) {
    for (uint32_t i = 0; i < self->count; i++) {
        const struct linear_op *op = &self->ops[i];
        if (op->kind == LINEAR_READ && op->outcome == LINEAR_OK && op->value == value) {
            return true;
        }
        if (op->kind == LINEAR_CAS && op->expected == value) { return true; }
        if (op->kind == LINEAR_CAS && op->outcome == LINEAR_FAILED) { return true; }
    }
    return false;
}

static bool is_wanted(const struct search *self, const struct linear_op *op) {
    if (op->outcome != LINEAR_UNKNOWN) { return true; }
    return op->kind != LINEAR_READ && is_observed(self, op->value);
}

// A return goes after an invocation of the same instant: the two count as concurrent.
static int by_time(const void *a, const void *b) {
    const struct entry *x = a;
    const struct entry *y = b;
    if (x->at != y->at) { return x->at < y->at ? -1 : 1; }
    if (x->is_return != y->is_return) { return x->is_return ? 1 : -1; }
    return x->op < y->op ? -1 : x->op > y->op;
}

static void add_entry(struct search *self, uint64_t at, uint32_t op, bool is_return) {
    self->entry_count++;
    self->entries[self->entry_count] = (struct entry){.at = at, .op = op, .is_return = is_return};
}

static void search_init(struct search *self, const struct linear_op *ops, uint32_t count) {
    *self = (struct search){.ops = ops, .count = count};
    self->entries = mem_alloc_array(2 * (size_t)count + 1, sizeof(*self->entries));
    self->invoke_of = mem_alloc_array(count, sizeof(*self->invoke_of));
    self->return_of = mem_alloc_array(count, sizeof(*self->return_of));
    self->stack = mem_alloc_array(count, sizeof(*self->stack));
    self->cache_size = 1024;
    self->cache = mem_alloc_array(self->cache_size, sizeof(*self->cache));
    for (uint32_t i = 0; i < count; i++) {
        self->invoke_of[i] = NONE;
        self->return_of[i] = NONE;
        if (!is_wanted(self, &ops[i])) { continue; }
        add_entry(self, ops[i].invoke, i, false);
        if (ops[i].outcome == LINEAR_UNKNOWN) { continue; }
        add_entry(self, ops[i].ret, i, true);
        self->returns++;
    }
    qsort(self->entries + 1, self->entry_count, sizeof(*self->entries), by_time);
    uint32_t last = 0;
    for (uint32_t i = 1; i <= self->entry_count; i++) {
        struct entry *entry = &self->entries[i];
        *(entry->is_return ? &self->return_of[entry->op] : &self->invoke_of[entry->op]) = i;
        entry->prev = last;
        self->entries[last].next = i;
        last = i;
    }
    self->entries[last].next = NONE;
}

static void search_deinit(struct search *self) {
    mem_free(self->entries);
    mem_free(self->invoke_of);
    mem_free(self->return_of);
    mem_free(self->stack);
    mem_free(self->cache);
}

// --- The list and the cache ---

static void unlink_entry(struct search *self, uint32_t at) {
    struct entry *entry = &self->entries[at];
    self->entries[entry->prev].next = entry->next;
    if (entry->next != NONE) { self->entries[entry->next].prev = entry->prev; }
}

static void relink_entry(struct search *self, uint32_t at) {
    struct entry *entry = &self->entries[at];
    self->entries[entry->prev].next = at;
    if (entry->next != NONE) { self->entries[entry->next].prev = at; }
}

static void cache_insert(uint64_t *cache, uint64_t size, uint64_t key) {
    uint64_t at = key & (size - 1);
    while (cache[at] != 0) {
        at = (at + 1) & (size - 1);
    }
    cache[at] = key;
}

static void cache_grow(struct search *self) {
    uint64_t size = 2 * self->cache_size;
    uint64_t *bigger = mem_alloc_array(size, sizeof(*bigger));
    for (uint64_t i = 0; i < self->cache_size; i++) {
        if (self->cache[i] != 0) { cache_insert(bigger, size, self->cache[i]); }
    }
    mem_free(self->cache);
    self->cache = bigger;
    self->cache_size = size;
}

// True when the configuration is new. 64 bits of hash stand for it: a false "seen" has odds of one
// in 10^12 even for a million configurations.
static bool cache_add(struct search *self, uint64_t set_hash, uint64_t state) {
    // Hashed another way than the operations: else an operation and a state of one number cancel.
    uint64_t key = hash64_u64(set_hash + hash64_u64(~state)) | 1;
    uint64_t at = key & (self->cache_size - 1);
    while (self->cache[at] != 0) {
        if (self->cache[at] == key) { return false; }
        at = (at + 1) & (self->cache_size - 1);
    }
    self->cache[at] = key;
    self->cache_count++;
    if (2 * self->cache_count > self->cache_size) { cache_grow(self); }
    return true;
}

// --- The register ---

// Somebody not yet taken must still see the value.
static bool is_needed(const struct search *self, uint64_t value) {
    for (uint32_t at = self->entries[0].next; at != NONE; at = self->entries[at].next) {
        const struct linear_op *op = &self->ops[self->entries[at].op];
        if (self->entries[at].is_return || op->outcome != LINEAR_OK) { continue; }
        if (op->kind == LINEAR_READ && op->value == value) { return true; }
        if (op->kind == LINEAR_CAS && op->expected == value) { return true; }
    }
    return false;
}

// Whether op may happen in this state, and the state after it.
static bool op_happens(const struct linear_op *op, uint64_t state, uint64_t *out_state) {
    *out_state = state;
    switch (op->kind) {
    case LINEAR_READ:
        return op->value == state;
    case LINEAR_PUT:
        *out_state = op->value;
        return true;
    case LINEAR_CAS:
        if (op->outcome == LINEAR_FAILED) { return state != op->expected; }
        *out_state = op->value;
        return state == op->expected;
    }
    return false;
}

static void take(struct search *self, uint32_t op, uint64_t state) {
    self->stack[self->depth++] = (struct taken){op, state};
    unlink_entry(self, self->invoke_of[op]);
    if (self->return_of[op] != NONE) {
        unlink_entry(self, self->return_of[op]);
        self->returns--;
    }
    self->set_hash ^= hash64_u64((uint64_t)op + 1);
}

static struct taken put_back(struct search *self) {
    struct taken last = self->stack[--self->depth];
    if (self->return_of[last.op] != NONE) {
        relink_entry(self, self->return_of[last.op]);
        self->returns++;
    }
    relink_entry(self, self->invoke_of[last.op]);
    self->set_hash ^= hash64_u64((uint64_t)last.op + 1);
    return last;
}

static bool try_take(struct search *self, uint32_t op, uint64_t *state) {
    uint64_t after = 0;
    if (!op_happens(&self->ops[op], *state, &after)) { return false; }
    if (!cache_add(self, self->set_hash ^ hash64_u64((uint64_t)op + 1), after)) { return false; }
    uint64_t before = *state;
    take(self, op, before);
    if (after != before && before != 0 && is_needed(self, before)) {
        (void)put_back(self);
        return false;
    }
    *state = after;
    return true;
}

// Tries what may go next, known operations first. What was tried from this configuration before
// is refused by the cache.
static bool advance(struct search *self, uint64_t *state) {
    for (int pass = 0; pass < 2; pass++) {
        uint32_t at = self->entries[0].next;
        while (at != NONE && !self->entries[at].is_return) {
            uint32_t op = self->entries[at].op;
            bool unknown = self->ops[op].outcome == LINEAR_UNKNOWN;
            uint32_t next = self->entries[at].next;
            if (unknown == (pass == 1) && try_take(self, op, state)) { return true; }
            at = next;
        }
    }
    return false;
}

enum linear_verdict linear_check(const struct linear_op *ops, uint32_t count, uint64_t steps_max) {
    if (count > LINEAR_OPS_MAX) { return LINEAR_UNDECIDED; }
    if (count == 0) { return LINEAR_GOOD; }
    struct search search;
    search_init(&search, ops, count);
    uint64_t state = 0;
    uint64_t steps = 0;
    enum linear_verdict verdict = LINEAR_GOOD;
    while (search.returns > 0) {
        if (++steps > steps_max) {
            verdict = LINEAR_UNDECIDED;
            break;
        }
        if (advance(&search, &state)) { continue; }
        if (search.depth == 0) {
            verdict = LINEAR_BAD;
            break;
        }
        state = put_back(&search).state;
    }
    search_deinit(&search);
    return verdict;
}
