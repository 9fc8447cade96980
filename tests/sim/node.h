// SPDX-License-Identifier: Apache-2.0
// node.h - one simulated node: the real node core over simulated clocks, disk and network.
// Invariants: after every event of a node a turn follows; what the disk did not make durable before
//             a crash may be gone after it; the boot number grows with each start.
// Ownership:  the node owns its disks, which outlive crashes, and its core, which does not.
// Thread:     confined to the world.
// See:        tests/sim/README.md
#pragma once

#include "api/node/node_core.h"
#include "dataplane/base/heap.h"
#include "dataplane/base/prng.h"
#include "tests/sim/plan.h"

struct sim_world;
struct sim_event;
struct sim_node;

// An instant at which something happens. Embedded in whatever it happens to.
struct sim_event {
    struct heap_node heap;
    void (*fire)(struct sim_world *world, struct sim_event *event);
    struct sim_node *node;  // of which this is an event; waits while it is paused. NULL = none
};

// What the next write meets; a node stops on it, since it cannot know what its disk holds.
enum sim_disk_trouble { SIM_DISK_WELL, SIM_DISK_FULL, SIM_DISK_SYNC_FAILS };

struct sim_node {
    struct sim_world *world;
    struct node_id id;
    uint32_t position;
    uint64_t incarnation;
    uint32_t boot;
    uint64_t started_ns;
    bool up;
    bool touched;  // a turn is due at the end of this event
    uint64_t paused_until_ns;
    struct prng prng;

    // Clocks.
    uint64_t mono_base_ns;
    int64_t mono_ppm;     // deviation of its rate
    uint64_t read_at_ns;  // world's time of the last reading, many of which come at one instant
    uint64_t read_mono_ns;
    int64_t wall_offset_us;
    int64_t wall_ppm;

    // Disks.
    struct engine *log_engine;
    struct engine *data_engine;
    struct raftlog *log;
    struct raftlog_group *group;  // under way to the disk
    uint64_t group_sequence;
    uint64_t sync_begun_ns;  // of the group under way
    uint64_t sick_ns;        // since when its disk hangs too long to lead; 0 = it does not
    uint64_t durable_lag;    // of a disk that lies
    uint64_t flush_sequence;
    bool flushing;
    uint64_t slow_disk_until_ns;
    enum sim_disk_trouble trouble;
    uint64_t trouble_down_ns;  // how long the node is down after it
    uint64_t stall_ns;         // how much longer the next sync takes
    bool sync_hole;            // a mutant went on after a failed sync: nothing reaches the disk
    bool data_full;            // the data store has no room: the node stops itself
    uint64_t sync_scale;       // how much slower than the plan says

    struct env env;
    struct node_core *core;
    bool upgraded;                           // writes records as they are written today
    bool damaged;                            // lost something that others have to give back
    uint64_t heal_goal[SIM_SHARDS_MAX + 1];  // by position among the checks' shards
    uint32_t falls;                          // stops of its own, over its damage
    struct sim_event timer;
    struct sim_event turn;
    struct sim_event sync_done;
    struct sim_event flush;
    struct sim_event stop;  // by its own doing
    struct sim_event restart;

    uint64_t last_hlc;
    struct hlc_ts causal;  // largest HLC of anything that came before, here or by a message
};

// What the node registers as.
void sim_node_describe(const struct sim_node *self, struct catalog_node *out);
void sim_node_init(struct sim_node *self, struct sim_world *world, uint32_t position);
void sim_node_deinit(struct sim_node *self);
void sim_node_start(struct sim_node *self);
void sim_node_crash(struct sim_node *self);
// It stopped itself in the middle of something (FATAL): what it held in memory is abandoned.
void sim_node_fell(struct sim_node *self);
// New disks and no identity. It is down.
void sim_node_replace(struct sim_node *self);
// Works off what the core was given.
void sim_node_turn(struct sim_node *self);
// Something was given to the core: a turn will follow, at once unless the node is slow.
void sim_node_touch(struct sim_node *self);
void sim_node_pause(struct sim_node *self, uint64_t for_ns);
bool sim_node_is_paused(const struct sim_node *self);
// Its clock agrees with the others', as far as it knows. Clients that are refused go elsewhere.
bool sim_node_coordinates(const struct sim_node *self);
uint64_t sim_node_mono_ns(struct sim_node *self);
uint64_t sim_node_wall_us(const struct sim_node *self);
