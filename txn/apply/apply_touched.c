// SPDX-License-Identifier: Apache-2.0
// Open addressing over 64-bit hashes in one fixed array, at most half full. The keys themselves are
// not kept: a false yes writes the batch a little earlier and changes nothing else.
#include "txn/apply/apply_touched.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

_Static_assert((APPLY_TOUCHED_SLOTS & (APPLY_TOUCHED_SLOTS - 1)) == 0, "a power of two");

void apply_touched_init(struct apply_touched *self) {
    *self = (struct apply_touched){0};
    self->slots = mem_alloc_array(APPLY_TOUCHED_SLOTS, sizeof(self->slots[0]));
    self->used = mem_alloc_array(APPLY_TOUCHED_COUNT_MAX, sizeof(self->used[0]));
}

void apply_touched_deinit(struct apply_touched *self) {
    mem_free(self->slots);
    mem_free(self->used);
    *self = (struct apply_touched){0};
}

void apply_touched_clear(struct apply_touched *self) {
    for (uint32_t i = 0; i < self->count; i++) {
        self->slots[self->used[i]] = 0;
    }
    self->count = 0;
    self->full = false;
}

static uint64_t member_hash(uint64_t space, struct slice key) {
    const uint64_t hash = hash64(key, space);
    return hash == 0 ? 1 : hash;
}

// Place of the hash, or the free place where it belongs. Ends: half of the slots are free.
static uint32_t find_slot(const struct apply_touched *self, uint64_t hash) {
    uint32_t at = (uint32_t)(hash & (APPLY_TOUCHED_SLOTS - 1));
    while (self->slots[at] != 0 && self->slots[at] != hash) {
        at = (at + 1) & (APPLY_TOUCHED_SLOTS - 1);
    }
    return at;
}

void apply_touched_add(struct apply_touched *self, uint64_t space, struct slice key) {
    if (self->full) { return; }
    const uint64_t hash = member_hash(space, key);
    const uint32_t at = find_slot(self, hash);
    if (self->slots[at] == hash) { return; }
    if (self->count == APPLY_TOUCHED_COUNT_MAX) {
        self->full = true;
        return;
    }
    self->slots[at] = hash;
    self->used[self->count++] = at;
    ASSERT(self->count <= APPLY_TOUCHED_COUNT_MAX);
}

bool apply_touched_has(const struct apply_touched *self, uint64_t space, struct slice key) {
    if (self->count == 0) { return false; }
    const uint64_t hash = member_hash(space, key);
    return self->full || self->slots[find_slot(self, hash)] == hash;
}
