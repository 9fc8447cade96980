// SPDX-License-Identifier: Apache-2.0
// The memberships that a shard's log put in force, oldest first, as copies: they are asked for when
// their entries are long trimmed. A handful per shard at most, mostly one: an array searched from
// the end. What was in force at the start of the log is kept in the record of that start; the rest
// is found again in the entries.
#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "storage/raftlog/raftlog_internal.h"

#include <string.h>

static void forget(struct raftlog_shard *shard, uint32_t first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        bytes_unref(shard->marks[first + i].encoded);
    }
    memmove(&shard->marks[first], &shard->marks[first + count],
            (shard->mark_count - first - count) * sizeof(*shard->marks));
    shard->mark_count -= count;
}

void raftlog__mark_push(struct raftlog_shard *shard, uint64_t index, struct slice encoded) {
    ASSERT(index > 0);
    ASSERT_IF(shard->mark_count > 0,
              shard->marks[shard->mark_count - (shard->mark_count > 0)].index < index);
    if (shard->mark_count == shard->mark_capacity) {
        shard->mark_capacity = shard->mark_capacity == 0 ? 1 : shard->mark_capacity * 2;
        shard->marks = mem_realloc(shard->marks, shard->mark_capacity * sizeof(*shard->marks));
    }
    shard->marks[shard->mark_count++] = (struct raftlog_mark){index, bytes_copy(encoded)};
}

void raftlog__marks_truncate(struct raftlog_shard *shard, uint64_t index) {
    uint32_t kept = shard->mark_count;
    while (kept > 0 && shard->marks[kept - 1].index >= index) {
        kept--;
    }
    if (kept < shard->mark_count) { forget(shard, kept, shard->mark_count - kept); }
}

void raftlog__marks_trim(struct raftlog_shard *shard, uint64_t index) {
    uint32_t hidden = 0;
    while (hidden + 1 < shard->mark_count && shard->marks[hidden + 1].index <= index) {
        hidden++;
    }
    if (hidden > 0) { forget(shard, 0, hidden); }
}

void raftlog__marks_deinit(struct raftlog_shard *shard) {
    if (shard->mark_count > 0) { forget(shard, 0, shard->mark_count); }
    mem_free(shard->marks);
    shard->marks = NULL;
    shard->mark_capacity = 0;
}

enum status raftlog__memberships(void *ctx, struct shard_id id, struct log_membership *out,
                                 uint32_t *out_count) {
    const struct raftlog_shard *shard = raftlog__find(ctx, id);
    const uint32_t count = shard != NULL ? shard->mark_count : 0;
    uint32_t first = 0;
    // What is below a committed membership can never be in force again. It is told as long as there
    // is room, because a snapshot may be taken at an older index.
    while (count - first > LOG_MEMBERSHIPS_MAX &&
           shard->marks[first + 1].index <= shard->bounds.hard_state.commit) {
        MARK("raftlog.memberships_left_out");
        first++;
    }
    if (count - first > LOG_MEMBERSHIPS_MAX) { return STATUS_RESOURCE_EXHAUSTED; }
    for (uint32_t i = first; i < count; i++) {
        struct bytes *owner = bytes_ref(shard->marks[i].encoded);
        out[i - first] = (struct log_membership){shard->marks[i].index, bytes_slice(owner), owner};
    }
    *out_count = count - first;
    return STATUS_OK;
}
