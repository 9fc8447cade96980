// SPDX-License-Identifier: Apache-2.0
// A read takes the durable entries from the store and the others from memory, so that it sees what
// was submitted at once. What the store still holds beyond the end (truncated in a group that is
// not written yet) is never looked at, because the bounds in memory come first.
#include "dataplane/base/assert.h"
#include "storage/raftlog/raftlog_internal.h"

// Entries [low, high) of one shard.
struct span {
    struct shard_id shard;
    uint64_t low;
    uint64_t high;
};

// What a read may still take.
struct budget {
    uint64_t size_left;
    uint32_t count;
    uint32_t count_max;
};

// At least one entry is taken whatever its size.
static bool take(struct budget *self, uint64_t size) {
    if (self->count == self->count_max) { return false; }
    if (self->count > 0 && size > self->size_left) { return false; }
    self->size_left -= size < self->size_left ? size : self->size_left;
    self->count++;
    return true;
}

// The span lies in the store.
static enum status read_store(struct raftlog *self, const struct span *span, struct budget *budget,
                              struct log_entry *out) {
    uint8_t key[RAFTLOG_KEY_SIZE];
    engine_cursor_refresh(self->cursor);
    engine_cursor_seek(self->cursor, raftlog__entry_key(span->shard, span->low, key));
    for (uint64_t index = span->low; index < span->high; index++) {
        if (!engine_cursor_valid(self->cursor)) {
            const enum status st = engine_cursor_status(self->cursor);
            return st == STATUS_OK ? STATUS_CORRUPT : st;  // bounds say it exists
        }
        const struct slice wanted = raftlog__entry_key(span->shard, index, key);
        if (!slice_equal(engine_cursor_key(self->cursor), wanted)) { return STATUS_CORRUPT; }
        const struct slice record = engine_cursor_value(self->cursor);
        if (!take(budget, record.size)) { return STATUS_OK; }
        const enum status st = raftlog__entry_decode(record, index, &out[budget->count - 1]);
        if (st != STATUS_OK) {
            budget->count--;
            return st;
        }
        // The step after the last entry could meet an error that concerns nobody.
        if (index + 1 < span->high) { engine_cursor_next(self->cursor); }
    }
    return STATUS_OK;
}

static void read_pending(const struct raftlog_shard *shard, uint64_t low, uint64_t high,
                         struct budget *budget, struct log_entry *out) {
    const uint64_t first = raftlog__pending_first(shard);
    for (uint64_t index = low; index < high; index++) {
        const struct raftlog_pending *p = raftlog__pending_at(shard, (uint32_t)(index - first));
        ASSERT(p->entry.index == index);
        if (!take(budget, p->entry.record.size)) { return; }
        log_entry_ref(&out[budget->count - 1], &p->entry);
    }
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

// lint: allow parameters: the port's shape (log_store.h)
enum status raftlog__read(void *ctx, struct shard_id id, uint64_t low, uint64_t high,
                          uint32_t count_max, uint64_t size_max, struct log_entry *out,
                          uint32_t *out_count) {
    struct raftlog *self = ctx;
    ASSERT(low < high);
    ASSERT(count_max > 0);
    const struct raftlog_shard *shard = raftlog__find(self, id);
    if (shard == NULL || low <= shard->bounds.trim_index || low > shard->bounds.last_index) {
        return STATUS_NOT_FOUND;
    }
    high = smaller(high, shard->bounds.last_index + 1);
    struct budget budget = {size_max, 0, count_max};
    const uint64_t pending = raftlog__pending_first(shard);
    if (low < pending) {
        const struct span span = {id, low, smaller(high, pending)};
        const enum status st = read_store(self, &span, &budget, out);
        // What precedes a damaged record is as good as ever; the next read begins at the damage.
        if (st != STATUS_OK && budget.count == 0) { return st; }
    }
    // Only when everything before it was taken.
    if (low + budget.count >= pending) {
        read_pending(shard, low + budget.count, high, &budget, out);
    }
    ASSERT(budget.count > 0);
    *out_count = budget.count;
    return STATUS_OK;
}
