// SPDX-License-Identifier: Apache-2.0
// replica_resign.h - how a node that should not lead gives its leaderships away.
// Invariants: a shard with a single voter stays where it is, since nobody else could lead it; after
//             replica_table_resign nothing else is led here; a sick table asks for no support and
//             never campaigns.
// Ownership:  the table, see replica_table.h (which holds replica_table_resign).
// Thread:     confined to the shard loop.
// See:        dataplane/replica/README.md; tests/unit/dataplane/replica/replica_resign_test.c
#pragma once

#include "dataplane/replica/replica_table.h"

// Offers every leadership to a voter that can take over, and steps down where there is none, or
// where the offer was not taken within two election timeouts. What is in flight goes on until then.
void replica_table_give_away(struct replica_table *self);
// Offers every leadership to a voter that has everything, and keeps what nobody takes.
void replica_table_offer(struct replica_table *self);
// Sick: asks for no support and never campaigns, until it is told that all is well again.
void replica_table_set_sick(struct replica_table *self, bool sick);
