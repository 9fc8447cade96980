// SPDX-License-Identifier: Apache-2.0
// Two indexes over the same entries: an array sorted by start key, binary-searched, and a hash by
// id. A balanced tree was rejected: maps hold at most some 10^5 ranges, are read at every request
// and change rarely, and a full delta arrives in key order, where inserting is appending. Empty
// ranges (the catalogue's) are in the hash alone.
//
// Epochs compare across shards: the halves of a split and the union of a merge carry an epoch above
// those of the ranges that they replace, so "newer" decides every overlap.
#include "dataplane/shard/shard_map.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"
#include "dataplane/base/mem.h"

#include <string.h>

#define uthash_malloc(size)           mem_alloc(size)
#define uthash_free(p, size)          mem_free(p)
#define uthash_fatal(text)            FATAL("shard map: %s", text)
#define HASH_FUNCTION(key, size, out) (out) = shard_map_hash(key, size)
#include <uthash.h>

enum { RANGES_CAPACITY_MIN = 16, DESCRIPTOR_ENCODED_SIZE_MIN = 9 };

struct shard_map_entry {
    struct shard_descriptor descriptor;
    UT_hash_handle hh;  // by descriptor.id.v
};

struct shard_map {
    struct shard_map_entry *by_id;    // every entry
    struct shard_map_entry **ranges;  // entries that hold keys, by start
    size_t range_count;
    size_t range_capacity;
    uint64_t version;
};

static unsigned shard_map_hash(const void *key, size_t size) {
    uint64_t v = 0;
    ASSERT(size == sizeof(v));
    memcpy(&v, key, sizeof(v));
    return (unsigned)hash64_u64(v);
}

struct shard_map *shard_map_create(void) {
    return (struct shard_map *)mem_alloc(sizeof(struct shard_map));
}

static void entry_destroy(struct shard_map_entry *entry) {
    shard_descriptor_deinit(&entry->descriptor);
    mem_free(entry);
}

void shard_map_destroy(struct shard_map *self) {
    if (self == NULL) { return; }
    struct shard_map_entry *entry = NULL;
    struct shard_map_entry *next = NULL;
    HASH_ITER (hh, self->by_id, entry, next) {
        HASH_DEL(self->by_id, entry);
        entry_destroy(entry);
    }
    mem_free(self->ranges);
    mem_free(self);
}

uint64_t shard_map_version(const struct shard_map *self) {
    return self->version;
}

size_t shard_map_count(const struct shard_map *self) {
    return HASH_COUNT(self->by_id);
}

static struct shard_map_entry *entry_by_id(const struct shard_map *self, struct shard_id id) {
    struct shard_map_entry *found = NULL;
    HASH_FIND(hh, self->by_id, &id.v, sizeof(id.v), found);
    return found;
}

// How many ranges start at or below the key.
static size_t starts_up_to(const struct shard_map *self, struct slice key) {
    size_t low = 0;
    size_t high = self->range_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct shard_descriptor *at = &self->ranges[middle]->descriptor;
        if (slice_compare(bytes_slice(at->start), key) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// Index of the first range whose end lies beyond the key; range_count when there is none.
static size_t first_beyond(const struct shard_map *self, struct slice key) {
    const size_t after = starts_up_to(self, key);
    if (after > 0 && shard_descriptor_contains(&self->ranges[after - 1]->descriptor, key)) {
        return after - 1;
    }
    return after;
}

const struct shard_descriptor *shard_map_at_or_after(const struct shard_map *self,
                                                     struct slice key) {
    const size_t index = first_beyond(self, key);
    return index < self->range_count ? &self->ranges[index]->descriptor : NULL;
}

const struct shard_descriptor *shard_map_find(const struct shard_map *self, struct slice key) {
    const struct shard_descriptor *at = shard_map_at_or_after(self, key);
    return at != NULL && shard_descriptor_contains(at, key) ? at : NULL;
}

const struct shard_descriptor *shard_map_by_id(const struct shard_map *self, struct shard_id id) {
    const struct shard_map_entry *entry = entry_by_id(self, id);
    return entry != NULL ? &entry->descriptor : NULL;
}

// The ranges that overlap a descriptor lie side by side: [*out_low, *out_high).
static void find_overlaps(const struct shard_map *self, const struct shard_descriptor *descriptor,
                          size_t *out_low, size_t *out_high) {
    size_t low = first_beyond(self, bytes_slice(descriptor->start));
    size_t high = low;
    while (high < self->range_count &&
           shard_descriptor_overlaps(&self->ranges[high]->descriptor, descriptor)) {
        high++;
    }
    *out_low = low;
    *out_high = high;
}

static void remove_range(struct shard_map *self, const struct shard_map_entry *entry) {
    const size_t after = starts_up_to(self, bytes_slice(entry->descriptor.start));
    ASSERT(after > 0 && self->ranges[after - 1] == entry);
    memmove(&self->ranges[after - 1], &self->ranges[after],
            (self->range_count - after) * sizeof(self->ranges[0]));
    self->range_count--;
}

static void remove_entry(struct shard_map *self, struct shard_map_entry *entry) {
    if (!shard_descriptor_is_empty(&entry->descriptor)) { remove_range(self, entry); }
    HASH_DEL(self->by_id, entry);
    entry_destroy(entry);
}

static void insert_range(struct shard_map *self, struct shard_map_entry *entry) {
    if (self->range_count == self->range_capacity) {
        self->range_capacity =
            self->range_capacity > 0 ? self->range_capacity * 2 : RANGES_CAPACITY_MIN;
        self->ranges = (struct shard_map_entry **)mem_realloc(
            self->ranges, self->range_capacity * sizeof(self->ranges[0]));
    }
    const size_t at = starts_up_to(self, bytes_slice(entry->descriptor.start));
    memmove(&self->ranges[at + 1], &self->ranges[at],
            (self->range_count - at) * sizeof(self->ranges[0]));
    self->ranges[at] = entry;
    self->range_count++;
}

// What is known of a shard's leader, besides its place and members.
struct shard_map_hint {
    uint64_t term;
    struct node_id leader;
};

// A leader learnt under a later term than the descriptor knows survives a change of members, if it
// is among them: terms belong to the shard, and the catalogue does not follow them.
static void insert_entry(struct shard_map *self, const struct shard_descriptor *descriptor,
                         uint64_t map_version, const struct shard_map_hint *hint) {
    struct shard_map_entry *entry = (struct shard_map_entry *)mem_alloc(sizeof(*entry));
    shard_descriptor_copy(&entry->descriptor, descriptor);
    entry->descriptor.map_version = map_version;
    if (hint->term > descriptor->term && shard_descriptor_has_node(descriptor, hint->leader)) {
        entry->descriptor.term = hint->term;
        entry->descriptor.leader = hint->leader;
    }
    HASH_ADD(hh, self->by_id, descriptor.id.v, sizeof(entry->descriptor.id.v), entry);
    if (!shard_descriptor_is_empty(descriptor)) { insert_range(self, entry); }
}

static void raise_map_version(struct shard_map_entry *entry, uint64_t map_version) {
    if (entry->descriptor.map_version < map_version) {
        entry->descriptor.map_version = map_version;
    }
}

bool shard_map_put(struct shard_map *self, const struct shard_descriptor *descriptor) {
    ASSERT(shard_descriptor_check(descriptor));
    struct shard_map_entry *held = entry_by_id(self, descriptor->id);
    ASSERT_IF(held != NULL, &held->descriptor != descriptor);
    size_t low = 0;
    size_t high = 0;
    if (!shard_descriptor_is_empty(descriptor)) { find_overlaps(self, descriptor, &low, &high); }
    bool newest = true;
    uint64_t map_version = descriptor->map_version;
    if (held != NULL) {
        newest = shard_descriptor_newer(descriptor, &held->descriptor);
        map_version =
            held->descriptor.map_version > map_version ? held->descriptor.map_version : map_version;
    }
    for (size_t i = low; i < high; i++) {
        const struct shard_descriptor *other = &self->ranges[i]->descriptor;
        newest = newest && shard_descriptor_newer(descriptor, other);
        map_version = other->map_version > map_version ? other->map_version : map_version;
    }
    if (!newest) {
        // What stands in for the refused one must be in every delta that the refused one was in.
        if (held != NULL) { raise_map_version(held, descriptor->map_version); }
        for (size_t i = low; i < high; i++) {
            raise_map_version(self->ranges[i], descriptor->map_version);
        }
        return false;
    }
    struct shard_map_hint hint = {0};
    if (held != NULL) {
        hint = (struct shard_map_hint){held->descriptor.term, held->descriptor.leader};
    }
    for (size_t i = high; i > low; i--) {
        struct shard_map_entry *other = self->ranges[i - 1];
        held = other == held ? NULL : held;
        remove_entry(self, other);
    }
    if (held != NULL) { remove_entry(self, held); }
    insert_entry(self, descriptor, map_version, &hint);
    ASSERT_SLOW(shard_map_check(self));
    return true;
}

void shard_map_note_leader(struct shard_map *self, struct shard_id id, struct node_id leader,
                           uint64_t term) {
    struct shard_map_entry *entry = entry_by_id(self, id);
    if (entry == NULL || term < entry->descriptor.term) { return; }
    // A term without a leader says nothing unless it is the term of the hint that is held.
    if (leader.v == 0 && term != entry->descriptor.term) { return; }
    entry->descriptor.term = term;
    entry->descriptor.leader = leader;
}

void shard_map_note_version(struct shard_map *self, uint64_t version) {
    self->version = version > self->version ? version : self->version;
}

// LIMIT: a delta walks the whole map, some 2 ms at 10^5 shards; an index by map_version would make
// it proportional to the changes.
void shard_map_encode_delta(const struct shard_map *self, uint64_t since, struct codec_writer *w) {
    uint64_t count = 0;
    const struct shard_map_entry *entry = NULL;
    for (entry = self->by_id; entry != NULL;
         entry = (const struct shard_map_entry *)entry->hh.next) {
        count += entry->descriptor.map_version > since ? 1 : 0;
    }
    codec_put_varint(w, self->version);
    codec_put_varint(w, count);
    // In key order, so that the receiver appends; what holds no key comes last.
    for (size_t i = 0; i < self->range_count; i++) {
        if (self->ranges[i]->descriptor.map_version > since) {
            shard_descriptor_encode(w, &self->ranges[i]->descriptor);
            count--;
        }
    }
    for (entry = self->by_id; entry != NULL;
         entry = (const struct shard_map_entry *)entry->hh.next) {
        if (shard_descriptor_is_empty(&entry->descriptor) &&
            entry->descriptor.map_version > since) {
            shard_descriptor_encode(w, &entry->descriptor);
            count--;
        }
    }
    ASSERT(count == 0);
}

enum status shard_map_apply_delta(struct shard_map *self, struct codec_reader *r) {
    const uint64_t version = codec_get_varint(r);
    const uint64_t count = codec_get_count(r, DESCRIPTOR_ENCODED_SIZE_MIN);
    for (uint64_t i = 0; i < count; i++) {
        struct shard_descriptor descriptor = {0};
        const enum status st = shard_descriptor_decode(r, &descriptor);
        if (st != STATUS_OK) { return st; }
        (void)shard_map_put(self, &descriptor);
        shard_descriptor_deinit(&descriptor);
    }
    if (r->status == STATUS_OK) { shard_map_note_version(self, version); }
    return r->status;
}

bool shard_map_check(const struct shard_map *self) {
    size_t empties = 0;
    const struct shard_map_entry *entry = NULL;
    for (entry = self->by_id; entry != NULL;
         entry = (const struct shard_map_entry *)entry->hh.next) {
        empties += shard_descriptor_is_empty(&entry->descriptor) ? 1 : 0;
        if (!shard_descriptor_check(&entry->descriptor)) { return false; }
    }
    for (size_t i = 0; i < self->range_count; i++) {
        const struct shard_descriptor *at = &self->ranges[i]->descriptor;
        if (entry_by_id(self, at->id) != self->ranges[i] || shard_descriptor_is_empty(at)) {
            return false;
        }
        if (i > 0 && (slice_compare(bytes_slice(self->ranges[i - 1]->descriptor.start),
                                    bytes_slice(at->start)) >= 0 ||
                      shard_descriptor_overlaps(&self->ranges[i - 1]->descriptor, at))) {
            return false;
        }
    }
    return empties + self->range_count == shard_map_count(self);
}
