// SPDX-License-Identifier: Apache-2.0
// admin.h - the Admin service: what the command and smart clients ask about cluster, nodes, shards.
// Invariants: every call is decoded on a poller thread and answered from the shard loop, exactly
//             once;
//             a node without identity answers FAILED_PRECONDITION to all but ClusterInit and
//             ClusterStatus.
// Ownership:  borrows the node; the server borrows the admin object until destroyed.
// Thread:     handlers on pollers, answers on the loop; create, destroy: the owner.
// See:        api/admin/README.md; api/proto/lightcone.proto
#pragma once

#include "api/node/node.h"
#include "api/rpc/rpc.h"

struct admin;

// dev: allows DevBlock.
struct admin *admin_create(struct node *node, bool dev);
void admin_destroy(struct admin *self);
// Before rpc_start.
void admin_register(struct admin *self, struct rpc_server *server);
// Loop, at the end of a turn: answers who waits for the catalogue.
void admin_turn(struct admin *self);
