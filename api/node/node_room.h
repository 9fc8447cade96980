// SPDX-License-Identifier: Apache-2.0
// node_room.h - judges how much room is left on the disks of a node, and from when on to refuse
//             what would fill them.
// Invariants: below the reserve commits are refused, below a quarter of it everything that can be;
//             a state is left only when there is an eighth of the reserve more than led to it, so
//             that it does not flap.
// Ownership:  values.
// Thread:     any.
// See:        dataplane/replica/replica_room.h; docs/OPERATIONS.md "A disk that fills up";
//             tests/unit/api/node/node_room_test.c
#pragma once

#include "dataplane/replica/replica_room.h"

#include <stddef.h>
#include <stdint.h>

// Bytes free on a disk, the reserve, and the state so far.
enum replica_room node_room_judge(enum replica_room now, uint64_t free_size, uint64_t reserve);
// The sentence that refused clients read. out holds size bytes.
void node_room_text(struct node_id node, uint64_t free_size, uint64_t reserve, char *out,
                    size_t size);
