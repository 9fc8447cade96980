// SPDX-License-Identifier: Apache-2.0
// Eight bytes a key, open addressing, at most half full: an import of a hundred million rows can
// still say how many keys it repeated.
#include "api/cli/keyset.h"

#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

enum { KEYSET_CAPACITY_MIN = 1024, KEYSET_SEED = 1 };

void keyset_init(struct keyset *self) {
    *self = (struct keyset){.capacity = KEYSET_CAPACITY_MIN};
    self->slots = mem_alloc_array(self->capacity, sizeof(*self->slots));
}

void keyset_deinit(struct keyset *self) {
    mem_free(self->slots);
    *self = (struct keyset){0};
}

static bool insert(uint64_t *slots, size_t capacity, uint64_t hash) {
    size_t at = hash & (capacity - 1);
    while (slots[at] != 0) {
        if (slots[at] == hash) { return false; }
        at = (at + 1) & (capacity - 1);
    }
    slots[at] = hash;
    return true;
}

static void grow(struct keyset *self) {
    size_t capacity = 2 * self->capacity;
    uint64_t *slots = mem_alloc_array(capacity, sizeof(*slots));
    for (size_t i = 0; i < self->capacity; i++) {
        if (self->slots[i] != 0) { (void)insert(slots, capacity, self->slots[i]); }
    }
    mem_free(self->slots);
    self->slots = slots;
    self->capacity = capacity;
}

bool keyset_add(struct keyset *self, struct slice key) {
    uint64_t hash = hash64(key, KEYSET_SEED);
    hash = hash == 0 ? 1 : hash;
    if (2 * (self->count + 1) > self->capacity) { grow(self); }
    bool is_new = insert(self->slots, self->capacity, hash);
    self->count += is_new ? 1 : 0;
    return is_new;
}
