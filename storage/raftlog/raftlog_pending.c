// SPDX-License-Identifier: Apache-2.0
// The entries of one shard that are not durable yet: a ring, newest at the tail. Appending pushes
// at the tail, a finished group pops at the head, a truncation pops at the tail. The ring keeps its
// memory while it is small, so that a busy shard allocates nothing, and ten thousand idle ones hold
// little.
#include "dataplane/base/assert.h"
#include "storage/raftlog/raftlog_internal.h"

enum { CAPACITY_MIN = 8, CAPACITY_KEPT = 64 };

struct raftlog_pending *raftlog__pending_at(const struct raftlog_shard *shard, uint32_t i) {
    ASSERT(i < shard->pending_count);
    return &shard->pending[(shard->pending_head + i) & (shard->pending_capacity - 1)];
}

uint64_t raftlog__pending_first(const struct raftlog_shard *shard) {
    return shard->bounds.last_index + 1 - shard->pending_count;
}

static void grow(struct raftlog_shard *shard) {
    const uint32_t capacity =
        shard->pending_capacity == 0 ? CAPACITY_MIN : shard->pending_capacity * 2;
    ASSERT(capacity > shard->pending_capacity);
    struct raftlog_pending *ring = mem_alloc_array(capacity, sizeof(*ring));
    for (uint32_t i = 0; i < shard->pending_count; i++) {
        ring[i] = *raftlog__pending_at(shard, i);
    }
    mem_free(shard->pending);
    shard->pending = ring;
    shard->pending_head = 0;
    shard->pending_capacity = capacity;
}

void raftlog__pending_push(struct raftlog_shard *shard, const struct log_entry *entry,
                           uint64_t group) {
    if (shard->pending_count == shard->pending_capacity) { grow(shard); }
    shard->pending_count++;
    struct raftlog_pending *slot = raftlog__pending_at(shard, shard->pending_count - 1);
    log_entry_ref(&slot->entry, entry);
    slot->group = group;
}

static void shrink(struct raftlog_shard *shard) {
    if (shard->pending_count == 0 && shard->pending_capacity > CAPACITY_KEPT) {
        raftlog__pending_deinit(shard);
    }
}

void raftlog__pending_pop_newest(struct raftlog_shard *shard, uint32_t n) {
    ASSERT(n <= shard->pending_count);
    for (uint32_t i = 0; i < n; i++) {
        log_entry_unref(&raftlog__pending_at(shard, shard->pending_count - 1)->entry);
        shard->pending_count--;
    }
    shrink(shard);
}

void raftlog__pending_pop_oldest(struct raftlog_shard *shard, uint32_t n) {
    ASSERT(n <= shard->pending_count);
    for (uint32_t i = 0; i < n; i++) {
        log_entry_unref(&raftlog__pending_at(shard, 0)->entry);
        shard->pending_head = (shard->pending_head + 1) & (shard->pending_capacity - 1);
        shard->pending_count--;
    }
    shrink(shard);
}

void raftlog__pending_deinit(struct raftlog_shard *shard) {
    for (uint32_t i = 0; i < shard->pending_count; i++) {
        log_entry_unref(&raftlog__pending_at(shard, i)->entry);
    }
    mem_free(shard->pending);
    shard->pending = NULL;
    shard->pending_head = 0;
    shard->pending_count = 0;
    shard->pending_capacity = 0;
}
