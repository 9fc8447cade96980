// SPDX-License-Identifier: Apache-2.0
//
// Design note. The only door from the core to the log store: terms and entries older than the
// window. Both are rare (a follower that was away, a conflict after a restart), so one small
// buffer, made at the first need and kept while leading, serves one lagging follower a step; the
// next one is served by its own reply. Reads are bounded by RAFT_CATCHUP_MAX entries and one
// append message of bytes.
//
// A store that cannot read what it acknowledged is a log that cannot be trusted: the process stops
// (style: fatal environment) rather than send or vote on what it does not know.
#include "dataplane/base/mem.h"
#include "dataplane/raft/raft_internal.h"

// What a read of the store may bring.
struct raft_range {
    uint64_t low;
    uint64_t high;  // exclusive
    uint64_t size_max;
};

static enum status raft_store_read(const struct raft_core *core, struct raft_range range,
                                   struct log_entry *out, uint32_t *out_count) {
    ASSERT(range.low < range.high);
    const struct log_store *store = core->config.log;
    uint32_t count_max = (uint32_t)(range.high - range.low);
    *out_count = 0;
    enum status st = store->read(store->ctx, core->config.shard, range.low, range.high, count_max,
                                 range.size_max, out, out_count);
    if (st == STATUS_NOT_FOUND) { return st; }
    if (st != STATUS_OK) { FATAL("the log of a shard cannot be read: %s", status_name(st)); }
    ASSERT(*out_count > 0);
    ASSERT(*out_count <= count_max);
    return STATUS_OK;
}

uint64_t raft__term_at(const struct raft_core *core, uint64_t index) {
    const struct raft_log *log = &core->log;
    ASSERT(index <= log->last);
    const struct log_entry *cached = raft__log_cached(log, index);
    if (cached != NULL) { return cached->term; }
    if (index + 1 == log->first) { return log->before_term; }
    if (index == log->trim_index) { return log->trim_term; }
    if (index < log->trim_index) { return 0; }
    struct log_entry entry = {0};
    uint32_t count = 0;
    if (raft_store_read(core, (struct raft_range){index, index + 1, 1}, &entry, &count) !=
        STATUS_OK) {
        return 0;
    }
    uint64_t term = entry.term;
    log_entry_unref(&entry);
    return term;
}

uint64_t raft__last_index_of_term(const struct raft_core *core, uint64_t low, uint64_t high,
                                  uint64_t term) {
    ASSERT(low <= high);
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        if (raft__term_at(core, middle) <= term) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

const struct log_entry *raft__entry(const struct raft_core *core, uint64_t index) {
    const struct log_entry *cached = raft__log_cached(&core->log, index);
    if (cached != NULL) { return cached; }
    const struct raft_catchup *catchup = &core->catchup;
    bool held =
        catchup->count > 0 && index >= catchup->first && index < catchup->first + catchup->count;
    return held ? &catchup->entries[index - catchup->first] : NULL;
}

bool raft__catchup_fill(struct raft_core *core, uint64_t index) {
    struct raft_catchup *catchup = &core->catchup;
    ASSERT(index > core->log.trim_index);
    ASSERT(index < core->log.first);
    if (catchup->count > 0) { return raft__entry(core, index) != NULL; }
    if (catchup->entries == NULL) {
        catchup->entries = mem_alloc_array(RAFT_CATCHUP_MAX, sizeof(*catchup->entries));
    }
    struct raft_range range = {
        .low = index,
        .high = raft__min(index + RAFT_CATCHUP_MAX, core->log.first),
        .size_max = core->config.append_size_max,
    };
    uint32_t count = 0;
    enum status st = raft_store_read(core, range, catchup->entries, &count);
    if (st != STATUS_OK) { return false; }
    MARK("raft.catchup.read_from_store");
    catchup->first = index;
    catchup->count = count;
    return true;
}

void raft__catchup_release(struct raft_core *core) {
    struct raft_catchup *catchup = &core->catchup;
    for (uint32_t i = 0; i < catchup->count; i++) {
        log_entry_unref(&catchup->entries[i]);
    }
    catchup->count = 0;
    if (core->role != RAFT_LEADER && catchup->entries != NULL) {
        mem_free(catchup->entries);
        catchup->entries = NULL;
    }
}

void raft__catchup_free(struct raft_core *core) {
    raft__catchup_release(core);
    mem_free(core->catchup.entries);
    core->catchup = (struct raft_catchup){0};
}
