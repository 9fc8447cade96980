// SPDX-License-Identifier: Apache-2.0
// A direct-mapped table: one slot per hash, a collision displaces. Over its bytes, a hand goes
// round and
// frees slots as it meets them. Rejected: LRU, whose list costs a write per read; a cache inside
// mvcc_reader, which does not see what is applied.
#include "txn/apply/apply_cache.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

#include <string.h>

struct cache_entry {
    struct hlc_ts ts;
    struct hlc_ts prepared;
    uint32_t key_size;
    uint32_t value_size;
    enum mvcc_kind kind;
    uint8_t data[];  // key, then value
};

struct apply_cache {
    struct cache_entry **slots;
    uint32_t mask;
    uint32_t hand;
    size_t bytes;
    size_t bytes_max;
};

static size_t entry_size(const struct cache_entry *entry) {
    return sizeof(*entry) + entry->key_size + entry->value_size;
}

static uint32_t slot_of(const struct apply_cache *self, struct slice key) {
    return (uint32_t)hash64(key, 0) & self->mask;
}

static bool holds(const struct cache_entry *entry, struct slice key) {
    return entry != NULL && slice_equal(slice_make(entry->data, entry->key_size), key);
}

static void free_slot(struct apply_cache *self, uint32_t slot) {
    struct cache_entry *entry = self->slots[slot];
    if (entry == NULL) { return; }
    ASSERT(self->bytes >= entry_size(entry));
    self->bytes -= entry_size(entry);
    self->slots[slot] = NULL;
    mem_free(entry);
}

struct apply_cache *apply_cache_create(uint32_t slot_count, size_t bytes_max) {
    ASSERT(slot_count > 0 && (slot_count & (slot_count - 1)) == 0);
    struct apply_cache *self = mem_alloc(sizeof(*self));
    self->slots = mem_alloc_array(slot_count, sizeof(struct cache_entry *));
    self->mask = slot_count - 1;
    self->bytes_max = bytes_max;
    return self;
}

void apply_cache_destroy(struct apply_cache *self) {
    apply_cache_clear(self);
    mem_free(self->slots);
    mem_free(self);
}

bool apply_cache_find(const struct apply_cache *self, struct slice key, struct hlc_ts ts,
                      struct mvcc_version *out) {
    const struct cache_entry *entry = self->slots[slot_of(self, key)];
    if (!holds(entry, key) || hlc_before(ts, entry->ts)) { return false; }
    *out = (struct mvcc_version){
        .value = slice_make(entry->data + entry->key_size, entry->value_size),
        .ts = entry->ts,
        .prepared = entry->prepared,
        .kind = entry->kind,
    };
    return true;
}

void apply_cache_put(struct apply_cache *self, struct slice key,
                     const struct mvcc_version *version) {
    uint32_t slot = slot_of(self, key);
    size_t size = sizeof(struct cache_entry) + key.size + version->value.size;
    if (version->value.size > APPLY_CACHE_VALUE_SIZE_MAX || size > self->bytes_max) { return; }
    free_slot(self, slot);
    while (self->bytes + size > self->bytes_max) {
        free_slot(self, self->hand);
        self->hand = (self->hand + 1) & self->mask;
    }
    struct cache_entry *entry = mem_alloc(size);
    entry->ts = version->ts;
    entry->prepared = version->prepared;
    entry->kind = version->kind;
    entry->key_size = (uint32_t)key.size;
    entry->value_size = (uint32_t)version->value.size;
    memcpy(entry->data, key.data, key.size);
    if (version->value.size > 0) {
        memcpy(entry->data + key.size, version->value.data, version->value.size);
    }
    self->slots[slot] = entry;
    self->bytes += size;
}

void apply_cache_drop(struct apply_cache *self, struct slice key) {
    uint32_t slot = slot_of(self, key);
    if (holds(self->slots[slot], key)) { free_slot(self, slot); }
}

void apply_cache_clear(struct apply_cache *self) {
    for (uint32_t slot = 0; self->bytes > 0 && slot <= self->mask; slot++) {
        free_slot(self, slot);
    }
    ASSERT(self->bytes == 0);
}

size_t apply_cache_bytes(const struct apply_cache *self) {
    return self->bytes;
}
