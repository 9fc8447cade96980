// SPDX-License-Identifier: Apache-2.0
// replica_room.h - what a table still takes in when the disk under it fills up.
// Invariants: votes, elections, empty entries, reads, trimming and the catalogue go on whatever the
//             room; a commit is refused before it is proposed, never afterwards.
// Ownership:  the table copies the text.
// Thread:     confined to the shard loop.
// See:        api/node/node_room.h decides; tests/unit/dataplane/replica/replica_room_test.c
#pragma once

#include "dataplane/replica/replica_table.h"

enum replica_room {
    REPLICA_ROOM_ENOUGH,
    // What is left is kept for what makes room or must go on: commits that only delete, the
    // catalogue. Other commits end STATUS_NO_SPACE, and no snapshot is taken in.
    REPLICA_ROOM_RESERVE,
    // And now not even those; entries of other leaders are not stored either, as if their messages
    // were lost, since a log that cannot be written would stop the process.
    REPLICA_ROOM_NONE,
    REPLICA_ROOM_COUNT
};

// text says to a human which disk it is, and what the threshold is.
void replica_table_set_room(struct replica_table *self, enum replica_room room, const char *text);
enum replica_room replica_table_room(const struct replica_table *self);
const char *replica_table_room_text(const struct replica_table *self);
