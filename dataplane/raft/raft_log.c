// SPDX-License-Identifier: Apache-2.0
//
// Design note. The newest entries of the log live in a ring, index & (capacity - 1) being the
// place. Each carries the sequence of the persist that makes it durable, which answers "is index
// durable" and "up to where does this sequence reach" without a list of outstanding writes, and
// stays right when a conflict removes entries whose write is still under way: their replacements
// carry a later sequence.
//
// What must stay: entries that are not durable. What should stay: entries that are not applied,
// and those that a responsive follower was not sent yet; they go only when the ring is full, and
// are then read back from the store. Were they to stay at any price, a follower whose ring is full
// of entries that wait for their commit could not take the one entry of the new term that commits
// them all. Older ones stay while they fit into size_max, because a follower that lost a message
// needs them again. The ring starts small and doubles up to its bound, so that ten thousand idle
// shards cost little; rejected: the full ring at once (100 KiB a shard).
#include "dataplane/base/mem.h"
#include "dataplane/raft/raft_internal.h"

static struct raft_slot *raft_log_slot(const struct raft_log *log, uint64_t index) {
    ASSERT(index >= log->first);
    ASSERT(index <= log->last);
    return &log->slots[index & (log->capacity - 1)];
}

static uint32_t raft_log_count(const struct raft_log *log) {
    ASSERT(log->last + 1 >= log->first);
    return (uint32_t)(log->last + 1 - log->first);
}

void raft__log_init(struct raft_log *log, const struct raft_config *config, uint64_t last_term) {
    const struct log_bounds *bounds = &config->bounds;
    *log = (struct raft_log){
        .capacity = RAFT_RING_MIN,
        .count_max = config->cache_count_max,
        .size_max = config->cache_size_max,
        .first = bounds->last_index + 1,
        .last = bounds->last_index,
        .before_term = last_term,
        .durable = bounds->last_index,
        .trim_index = bounds->trim_index,
        .trim_term = bounds->trim_term,
    };
    log->slots = mem_alloc_array(log->capacity, sizeof(*log->slots));
}

void raft__log_deinit(struct raft_log *log) {
    for (uint64_t i = log->first; i <= log->last; i++) {
        log_entry_unref(&raft_log_slot(log, i)->entry);
    }
    mem_free(log->slots);
    *log = (struct raft_log){0};
}

const struct log_entry *raft__log_cached(const struct raft_log *log, uint64_t index) {
    if (index < log->first || index > log->last) { return NULL; }
    const struct log_entry *entry = &raft_log_slot(log, index)->entry;
    ASSERT(entry->index == index);
    return entry;
}

static void raft_log_drop_first(struct raft_log *log) {
    struct raft_slot *slot = raft_log_slot(log, log->first);
    log->before_term = slot->entry.term;
    log->size -= slot->entry.record.size;
    log_entry_unref(&slot->entry);
    log->first++;
}

void raft__log_evict(struct raft_log *log, uint64_t soft_pin, uint32_t need) {
    while (log->first <= log->last && log->first <= log->durable) {
        bool crowded = raft_log_count(log) + (uint64_t)need > log->count_max;
        bool heavy = log->size > log->size_max && log->first <= soft_pin;
        if (!crowded && !heavy) { break; }
        if (log->first > soft_pin) { MARK("raft.log.evicted_above_pin"); }
        raft_log_drop_first(log);
    }
}

uint32_t raft__log_room(const struct raft_log *log) {
    return log->count_max - raft_log_count(log);
}

static void raft_log_grow(struct raft_log *log) {
    ASSERT(log->capacity < log->count_max);
    struct raft_slot *slots = mem_alloc_array((size_t)log->capacity * 2, sizeof(*slots));
    for (uint64_t i = log->first; i <= log->last; i++) {
        slots[i & (log->capacity * 2 - 1)] = *raft_log_slot(log, i);
    }
    mem_free(log->slots);
    log->slots = slots;
    log->capacity *= 2;
}

void raft__log_append(struct raft_log *log, const struct log_entry *entry, uint64_t sequence) {
    ASSERT(entry->index == log->last + 1);
    ASSERT(entry->term >= raft__log_last_term(log));
    ASSERT(raft__log_room(log) > 0);
    if (raft_log_count(log) == log->capacity) { raft_log_grow(log); }
    log->last++;
    struct raft_slot *slot = raft_log_slot(log, log->last);
    log_entry_ref(&slot->entry, entry);
    slot->sequence = sequence;
    log->size += entry->record.size;
}

void raft__log_truncate(struct raft_log *log, uint64_t from, uint64_t before_term) {
    ASSERT(from > log->trim_index);
    ASSERT(from <= log->last);
    while (log->last >= from && log->last >= log->first) {
        struct raft_slot *slot = raft_log_slot(log, log->last);
        log->size -= slot->entry.record.size;
        log_entry_unref(&slot->entry);
        log->last--;
    }
    log->last = from - 1;
    log->durable = raft__min(log->durable, log->last);
    if (log->first > log->last + 1) {
        // The cut lies below the window: after a restart, when nothing was in memory yet.
        log->first = log->last + 1;
        log->before_term = before_term;
    }
    ASSERT(raft__log_last_term(log) == before_term);
}

void raft__log_persisted(struct raft_log *log, uint64_t sequence) {
    while (log->durable < log->last && raft_log_slot(log, log->durable + 1)->sequence <= sequence) {
        log->durable++;
    }
}

uint64_t raft__log_pending(const struct raft_log *log, uint64_t index) {
    if (index <= log->durable) { return 0; }
    return raft_log_slot(log, index)->sequence;
}

uint64_t raft__log_last_term(const struct raft_log *log) {
    return log->first > log->last ? log->before_term : raft_log_slot(log, log->last)->entry.term;
}

void raft__log_reset(struct raft_log *log, uint64_t index, uint64_t term) {
    while (log->first <= log->last) {
        raft_log_drop_first(log);
    }
    ASSERT(log->size == 0);
    log->first = index + 1;
    log->last = index;
    log->before_term = term;
    log->durable = index;
    log->trim_index = index;
    log->trim_term = term;
}

void raft__log_covered(struct raft_log *log, uint64_t index) {
    ASSERT(index <= log->last);
    if (index <= log->durable) { return; }
    // They left memory for no reason of room: their writes may still be under way, and it must not
    // matter when those end.
    while (log->first <= index) {
        raft_log_drop_first(log);
    }
    log->durable = index;
}
