// SPDX-License-Identifier: Apache-2.0
// replica_pace.c - how many elections a node begins at a time.
//
// When a node dies, all shards that it led want a new leader at once, and so do all shards of a new
// keyspace. Begun together, thousands of elections are all slower than an election timeout: each is
// begun anew before it could end, by every replica, and none ever does. So a node begins at most
// PACE_ELECTIONS in a window of PACE_WINDOW_NS, not counting those that have ended; the others
// wait, and most of them hear of a leader meanwhile. An election that cannot be won (its quorum is
// gone) holds its place for one window only, so that such shards do not keep others waiting for
// long. A shard that has elected nobody yet is idle at worst a few windows longer; rejected: longer
// election timeouts, which would make the common case, one shard, slow.
//
// Protocol decisions stay in raft: this merely is late in telling it what time it is.

#include "dataplane/base/assert.h"
#include "dataplane/base/mark.h"
#include "dataplane/replica/replica_internal.h"

#define PACE_WINDOW_NS UINT64_C(50000000)
#define PACE_DEFER_NS  UINT64_C(10000000)
enum { PACE_ELECTIONS = 128 };

static bool is_campaigning(const struct replica *self) {
    enum raft_role role = raft_role(self->raft);
    return role == RAFT_PRECANDIDATE || role == RAFT_CANDIDATE;
}

// False: not now, it is woken again soon.
bool replica__may_begin_election(struct replica *self, uint64_t now_ns) {
    struct replica_table *table = self->table;
    if (now_ns >= table->campaigns_until_ns) {
        table->campaigns = 0;
        table->campaigns_until_ns = now_ns + PACE_WINDOW_NS;
    }
    if (self->campaign_window_ns == table->campaigns_until_ns) { return true; }
    if (table->campaigns >= PACE_ELECTIONS) {
        MARK("replica.pace.election_deferred");
        heap_put(&table->deadlines, &self->deadline, now_ns + PACE_DEFER_NS);
        return false;
    }
    table->campaigns++;
    self->campaign_window_ns = table->campaigns_until_ns;
    return true;
}

// An election that ended makes room for another.
void replica__note_role(struct replica *self) {
    if (self->campaign_window_ns == 0 || is_campaigning(self)) { return; }
    struct replica_table *table = self->table;
    if (self->campaign_window_ns == table->campaigns_until_ns) {
        ASSERT(table->campaigns > 0);
        table->campaigns--;
    }
    self->campaign_window_ns = 0;
}
