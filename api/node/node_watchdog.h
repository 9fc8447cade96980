// SPDX-License-Identifier: Apache-2.0
// node_watchdog.h - judges the disk under the raft log by how long its syncs take.
// Invariants: the state is worse the longer a sync takes, finished or not; it becomes better only
//             after a whole recover_ns in which nothing was as bad; time in which the loop itself
//             did not run (a paused process) is not blamed on the disk.
// Ownership:  the caller owns the struct; no memory beyond it.
// Thread:     confined to the shard loop. That is the point: whoever waits for a disk cannot tell
//             that it hangs.
// See:        api/node/README.md; docs/OPERATIONS.md "A disk that is slow";
//             tests/unit/api/node/node_watchdog_test.c
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum node_disk_state {
    NODE_DISK_OK,
    NODE_DISK_SLOW,    // leaderships are given away
    NODE_DISK_SICK,    // and no support is asked for: this node never campaigns
    NODE_DISK_FAILED,  // the process has to stop
    NODE_DISK_STATE_COUNT
};

struct node_watchdog_config {
    uint64_t slow_ns;  // a sync that takes so long makes the disk slow (500 ms)
    uint64_t sick_ns;  // 3 s
    uint64_t fail_ns;  // 10 s
    // Better again when so long no sync was as bad (10 s). Without any sync it is given another
    // try, since a node that leads nothing may have nothing to sync.
    uint64_t recover_ns;
};

struct node_watchdog {
    struct node_watchdog_config config;
    uint64_t looked_ns;  // private: when the age below was brought up to date
    uint64_t age_ns;     // private: of the pending sync
    bool pending;
    uint64_t last_ns;   // read-only: how long the latest finished sync took; 0 = none yet
    uint64_t worst_ns;  // read-only: longest ever
    uint64_t seen_ns[NODE_DISK_STATE_COUNT];  // private: when it was last as bad; 0 = never
};

// Thresholds of zero are replaced by the defaults named above. They must ascend.
void node_watchdog_init(struct node_watchdog *self, const struct node_watchdog_config *config);
// A sync was handed to the disk; at most one at a time.
void node_watchdog_started(struct node_watchdog *self, uint64_t now_ns);
// It has ended, well. A sync that fails is no matter of time: the process stops (raftlog.h).
void node_watchdog_finished(struct node_watchdog *self, uint64_t now_ns);
// The state now; called at each deadline and as often as one likes.
enum node_disk_state node_watchdog_check(struct node_watchdog *self, uint64_t now_ns);
// When to check next; UINT64_MAX = nothing is pending and all is well.
uint64_t node_watchdog_deadline_ns(const struct node_watchdog *self);
// How long the pending sync has been under way, as of the latest call; 0 = none is pending.
uint64_t node_watchdog_pending_ns(const struct node_watchdog *self);
const char *node_disk_state_text(enum node_disk_state state);
