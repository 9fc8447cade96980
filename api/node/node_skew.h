// SPDX-License-Identifier: Apache-2.0
// node_skew.h - what a node thinks of its clock, and what follows: whether it leads and
// coordinates.
// Invariants: a quarantined node gives its leaderships away, obeys no transfer to it, campaigns
//             only where nobody else can win, and coordinates nothing; it votes, follows and serves
//             its replicas; a node alone, or one that sees no majority agree, is never quarantined.
// Ownership:  the core, see node_core.h.
// Thread:     confined to the shard loop.
// See:        api/node/README.md; docs/protocols/time.md "Skew"; docs/OPERATIONS.md "Clocks"
#pragma once

#include "api/node/node_core.h"
#include "dataplane/hlc/hlc_skew.h"

enum { NODE_SKEW_TEXT_SIZE = 400 };

// All that is known: read-only.
const struct hlc_skew *node_core_skew(const struct node_core *self);
// Whether clients' commits and strong reads may start here. If not, and text is given, it says how
// far the clock is off and which other node to ask.
bool node_core_may_coordinate(const struct node_core *self, char text[NODE_SKEW_TEXT_SIZE]);
