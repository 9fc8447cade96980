// SPDX-License-Identifier: Apache-2.0
// A hot counter gets hundreds of increments in one turn. Were the batch written before each so that
// the store shows the number, a turn would be hundreds of batches; and within an entry of
// resolutions it must not be written at all. So what merges put is found here until the batch is
// written.
//
// The versions of a key stand in the order of their timestamps; new ones come last but for
// transactions that are resolved out of order.
#include "txn/apply/apply_merged.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#define uthash_malloc(size)  mem_alloc(size)
#define uthash_free(p, size) mem_free(p)
#define uthash_fatal(text)   FATAL("merged values: %s", text)
#include <uthash.h>

#include <string.h>

struct apply_merged_key {
    uint8_t *key;
    struct mvcc_version *versions;
    uint32_t count;
    uint32_t capacity;
    UT_hash_handle hh;
};

static void *copy_of(struct slice bytes) {
    uint8_t *copy = mem_alloc(bytes.size + 1);
    if (bytes.size > 0) { memcpy(copy, bytes.data, bytes.size); }
    return copy;
}

static void value_free(struct mvcc_version *version) {
    mem_free((void *)(uintptr_t)version->value.data);
}

void apply_merged_clear(struct apply_merged *self) {
    while (self->keys != NULL) {
        struct apply_merged_key *entry = self->keys;
        HASH_DEL(self->keys, entry);
        for (uint32_t i = 0; i < entry->count; i++) {
            value_free(&entry->versions[i]);
        }
        mem_free(entry->versions);
        mem_free(entry->key);
        mem_free(entry);
    }
}

static struct apply_merged_key *find(const struct apply_merged *self, struct slice key) {
    struct apply_merged_key *entry = NULL;
    if (self->keys != NULL) { HASH_FIND(hh, self->keys, key.data, key.size, entry); }
    return entry;
}

bool apply_merged_has(const struct apply_merged *self, struct slice key) {
    return find(self, key) != NULL;
}

static struct apply_merged_key *find_or_add(struct apply_merged *self, struct slice key) {
    struct apply_merged_key *entry = find(self, key);
    if (entry != NULL) { return entry; }
    entry = mem_alloc(sizeof(*entry));
    *entry = (struct apply_merged_key){.key = copy_of(key)};
    HASH_ADD_KEYPTR(hh, self->keys, entry->key, key.size, entry);
    return entry;
}

void apply_merged_put(struct apply_merged *self, struct slice key,
                      const struct mvcc_version *version) {
    struct apply_merged_key *entry = find_or_add(self, key);
    if (entry->count == entry->capacity) {
        entry->capacity = entry->capacity == 0 ? 4 : 2 * entry->capacity;
        entry->versions = mem_realloc(entry->versions, entry->capacity * sizeof(*entry->versions));
    }
    struct mvcc_version copy = *version;
    copy.value = slice_make(copy_of(version->value), version->value.size);
    uint32_t at = entry->count;
    while (at > 0 && hlc_before(copy.ts, entry->versions[at - 1].ts)) {
        at--;
    }
    if (at > 0 && hlc_equal(copy.ts, entry->versions[at - 1].ts)) {
        value_free(&entry->versions[at - 1]);
        entry->versions[at - 1] = copy;
        return;
    }
    memmove(&entry->versions[at + 1], &entry->versions[at],
            (entry->count - at) * sizeof(*entry->versions));
    entry->versions[at] = copy;
    entry->count++;
}

bool apply_merged_at(const struct apply_merged *self, struct slice key, struct hlc_ts ts,
                     struct mvcc_version *out) {
    const struct apply_merged_key *entry = find(self, key);
    for (uint32_t i = entry == NULL ? 0 : entry->count; i > 0; i--) {
        if (hlc_before(ts, entry->versions[i - 1].ts)) { continue; }
        *out = entry->versions[i - 1];
        return true;
    }
    return false;
}

bool apply_merged_after(const struct apply_merged *self, struct slice key, struct hlc_ts ts,
                        struct mvcc_version *out) {
    const struct apply_merged_key *entry = find(self, key);
    bool found = false;
    for (uint32_t i = entry == NULL ? 0 : entry->count; i > 0; i--) {
        if (!hlc_before(ts, entry->versions[i - 1].ts)) { break; }
        *out = entry->versions[i - 1];
        found = true;
    }
    return found;
}
