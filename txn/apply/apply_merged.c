// SPDX-License-Identifier: Apache-2.0
// A hot counter gets hundreds of increments in one turn. Were the batch written before each so that
// the store shows the number, a turn would be hundreds of batches; and within an entry of
// resolutions it must not be written at all. So what merges make is found here until the batch is
// written.
//
// The versions of a key stand in the order of their timestamps; new ones come last but for
// transactions that are resolved out of order. Such a one changes all versions above it, so with
// hundreds in flight most versions change many times a turn: the batch gets the last state of each,
// once, and the store is asked for what lies above only by the first of them.
#include "txn/apply/apply_merged.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#define uthash_malloc(size)  mem_alloc(size)
#define uthash_free(p, size) mem_free(p)
#define uthash_fatal(text)   FATAL("merged values: %s", text)
#include <uthash.h>

#include <string.h>

struct merged_version {
    struct mvcc_version version;
    bool dirty;
};

struct apply_merged_key {
    uint8_t *key;
    size_t key_size;
    struct merged_version *versions;
    uint32_t count;
    uint32_t capacity;
    struct hlc_ts loaded;  // all above this is here
    UT_hash_handle hh;
};

static void *copy_of(struct slice bytes) {
    uint8_t *copy = mem_alloc(bytes.size + 1);
    if (bytes.size > 0) { memcpy(copy, bytes.data, bytes.size); }
    return copy;
}

static void value_free(struct merged_version *self) {
    mem_free((void *)(uintptr_t)self->version.value.data);
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
    *entry =
        (struct apply_merged_key){.key = copy_of(key), .key_size = key.size, .loaded = HLC_MAX};
    HASH_ADD_KEYPTR(hh, self->keys, entry->key, key.size, entry);
    return entry;
}

// How many versions lie at or below ts.
static uint32_t count_up_to(const struct apply_merged_key *entry, struct hlc_ts ts) {
    uint32_t low = 0;
    uint32_t high = entry == NULL ? 0 : entry->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (hlc_before(ts, entry->versions[middle].version.ts)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

void apply_merged_put(struct apply_merged *self, struct slice key,
                      const struct mvcc_version *version, bool dirty) {
    struct apply_merged_key *entry = find_or_add(self, key);
    if (entry->count == entry->capacity) {
        entry->capacity = entry->capacity == 0 ? 4 : 2 * entry->capacity;
        entry->versions = mem_realloc(entry->versions, entry->capacity * sizeof(*entry->versions));
    }
    struct merged_version copy = {*version, dirty};
    copy.version.value = slice_make(copy_of(version->value), version->value.size);
    const uint32_t at = count_up_to(entry, version->ts);
    if (at > 0 && hlc_equal(version->ts, entry->versions[at - 1].version.ts)) {
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
    const uint32_t count = count_up_to(entry, ts);
    if (count == 0) { return false; }
    *out = entry->versions[count - 1].version;
    return true;
}

bool apply_merged_after(const struct apply_merged *self, struct slice key, struct hlc_ts ts,
                        struct mvcc_version *out) {
    const struct apply_merged_key *entry = find(self, key);
    const uint32_t count = count_up_to(entry, ts);
    if (entry == NULL || count == entry->count) { return false; }
    *out = entry->versions[count].version;
    return true;
}

bool apply_merged_is_loaded(const struct apply_merged *self, struct slice key, struct hlc_ts ts) {
    const struct apply_merged_key *entry = find(self, key);
    return entry != NULL && !hlc_before(ts, entry->loaded);
}

void apply_merged_set_loaded(struct apply_merged *self, struct slice key, struct hlc_ts ts) {
    struct apply_merged_key *entry = find_or_add(self, key);
    entry->loaded = hlc_smaller(entry->loaded, ts);
}

static void flush_key(struct apply_merged_key *entry, struct engine_batch *batch) {
    const struct slice key = slice_make(entry->key, entry->key_size);
    for (uint32_t i = 0; i < entry->count; i++) {
        struct merged_version *item = &entry->versions[i];
        if (item->dirty) { mvcc_put_version(batch, key, &item->version); }
        item->dirty = false;
    }
}

void apply_merged_flush(struct apply_merged *self, struct engine_batch *batch) {
    for (struct apply_merged_key *entry = self->keys; entry != NULL; entry = entry->hh.next) {
        flush_key(entry, batch);
    }
}
