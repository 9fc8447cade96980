// SPDX-License-Identifier: Apache-2.0
// replica_room.c - admission by the room that is left on the disk.
//
// It is decided before an entry enters the history, by the leader that would propose it. A follower
// has no such choice: what a quorum committed has to be stored, or this node falls behind. So it
// falls behind, by dropping the entries as a bad network would; its leader tries again, more and
// more slowly, and catches it up (or sends a snapshot) when there is room again. It still votes.
// Rejected: to stop the process, which would take from the shard a voter that is fine.
//
// LIMIT: a leader whose disk is full stays leader and refuses commits, also where a follower has
// room; an operator moves the leadership, or the shard.

#include "dataplane/replica/replica_room.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/replica/replica_internal.h"

#include <stdio.h>

void replica_table_set_room(struct replica_table *self, enum replica_room room, const char *text) {
    ASSERT(room < REPLICA_ROOM_COUNT);
    self->room = room;
    (void)snprintf(self->room_text, sizeof(self->room_text), "%s", text);
}

enum replica_room replica_table_room(const struct replica_table *self) {
    return self->room;
}

const char *replica_table_room_text(const struct replica_table *self) {
    return self->room_text;
}

bool replica__has_room(const struct replica *self, const struct replica_proposal *proposal) {
    enum replica_room room = self->table->room;
    if (room == REPLICA_ROOM_ENOUGH || shard_id_equal(self->descriptor.id, SHARD_CATALOG)) {
        return true;
    }
    return room == REPLICA_ROOM_RESERVE && proposal->in_reserve;
}

bool replica__drops(const struct replica_table *table, const struct raft_message *message) {
    bool stores = message->type == RAFT_APPEND_REQUEST && message->entry_count > 0;
    if (table->room != REPLICA_ROOM_NONE || !stores) { return false; }
    MARK("replica.room.append_dropped");
    return true;
}

bool replica__drops_snapshot(const struct replica_table *table) {
    if (table->room == REPLICA_ROOM_ENOUGH) { return false; }
    MARK("replica.room.snapshot_dropped");
    return true;
}
