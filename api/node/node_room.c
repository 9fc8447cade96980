// SPDX-License-Identifier: Apache-2.0
// Design: thresholds of free bytes, not of a percentage. What needs the reserve (a flush of the
// memtables, a compaction, the WAL of the raft log) is as large on a large disk as on a small one.
#include "api/node/node_room.h"

#include "dataplane/base/assert.h"

#include <inttypes.h>
#include <stdio.h>

enum { NONE_PART = 4, HYSTERESIS_PART = 8, MEBIBYTE = 1 << 20 };

enum replica_room node_room_judge(enum replica_room now, uint64_t free_size, uint64_t reserve) {
    ASSERT(now < REPLICA_ROOM_COUNT);
    uint64_t slack = reserve / HYSTERESIS_PART;
    uint64_t none = reserve / NONE_PART + (now == REPLICA_ROOM_NONE ? slack : 0);
    uint64_t low = reserve + (now != REPLICA_ROOM_ENOUGH ? slack : 0);
    if (free_size < none) { return REPLICA_ROOM_NONE; }
    return free_size < low ? REPLICA_ROOM_RESERVE : REPLICA_ROOM_ENOUGH;
}

// lint: allow parameters: three facts and a place for the text.
void node_room_text(struct node_id node, uint64_t free_size, uint64_t reserve, char *out,
                    size_t size) {
    (void)snprintf(out, size,
                   "disk of node %" PRIu32 ": %" PRIu64 " MiB are free, and %" PRIu64
                   " MiB (disk.reserve_mb) are kept for deletes and what must go on",
                   node.v, free_size / MEBIBYTE, reserve / MEBIBYTE);
}
