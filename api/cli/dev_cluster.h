// SPDX-License-Identifier: Apache-2.0
// dev_cluster.h - the development cluster of a state directory: which nodes, which ports, which
// processes.
// Invariants: ports and numbers of a cluster never change once written; dev_cluster_save replaces
//             the state file at once or not at all; only processes that dev_process verified are
//             signalled.
// Ownership:  the caller owns the struct; dev_cluster_close releases the lock.
// Thread:     one; commands that change something hold the lock of the directory.
// See:        api/cli/README.md "The development cluster"; tests/unit/api/cli/dev_cluster_test.c
#pragma once

#include "api/cli/dev_process.h"

enum {
    DEV_NODES_MAX = 9,
    DEV_PATH_SIZE = 3072,  // of the directory; names inside it are short
    DEV_FILE_SIZE = DEV_PATH_SIZE + 128,
    DEV_REGION_SIZE = 64,
    DEV_ADDRESS_SIZE = 32,
};

struct dev_node {
    uint32_t number;  // 1 and up; names its directory
    uint32_t id;      // given by the cluster; 0 = not yet known
    uint16_t peer_port;
    uint16_t rpc_port;
    char region[DEV_REGION_SIZE];
};

struct dev_cluster {
    char dir[DEV_PATH_SIZE];
    bool exists;       // read-only: the directory held a cluster when it was opened
    bool initialized;  // `cluster init` was done
    uint32_t node_count;
    struct dev_node nodes[DEV_NODES_MAX];
    int lock_fd;  // private
};

// `given` (may be NULL), else $LIGHTCONE_DEV_DIR, else $XDG_STATE_HOME/lightcone/dev, else
// ~/.local/state/lightcone/dev, absolute. INVALID_ARGUMENT: too long, or none of them is set.
NODISCARD enum status dev_cluster_directory(const char *given, char out[DEV_PATH_SIZE],
                                            struct err *err);
// Reads the state; exists is false when there is none. CORRUPT: a state file that is not ours.
NODISCARD enum status dev_cluster_load(struct dev_cluster *self, const char *dir, struct err *err);
// Makes the directory, waits for its lock, then loads. Close it in every case after OK.
NODISCARD enum status dev_cluster_open(struct dev_cluster *self, const char *dir, struct err *err);
void dev_cluster_close(struct dev_cluster *self);
NODISCARD enum status dev_cluster_save(const struct dev_cluster *self, struct err *err);

// Fills in new nodes up to node_count, behind those there are: numbers, regions in turn, free
// ports.
NODISCARD enum status dev_cluster_plan(struct dev_cluster *self, uint32_t node_count,
                                       const char *regions, struct err *err);
// Writes the node's directory and configuration.
NODISCARD enum status dev_cluster_write_config(const struct dev_cluster *self,
                                               const struct dev_node *node, struct err *err);
// Deletes the cluster with its data: the files that dev_cluster_* and the nodes made.
NODISCARD enum status dev_cluster_wipe(struct dev_cluster *self, struct err *err);

// The node with this cluster id, or this number while ids are unknown; NULL when there is none.
struct dev_node *dev_cluster_find(struct dev_cluster *self, uint32_t node);
// What to call the node: its id, or its number while that is unknown.
uint32_t dev_cluster_name(const struct dev_node *node);
void dev_cluster_rpc_address(const struct dev_node *node, char out[DEV_ADDRESS_SIZE]);
// "log", "pid", "node.yaml" of the node.
void dev_cluster_path(const struct dev_cluster *self, const struct dev_node *node, const char *name,
                      char out[DEV_FILE_SIZE]);

// --- Processes

enum dev_state { DEV_DOWN, DEV_RUNNING, DEV_STOPPED };

enum dev_state dev_cluster_state(const struct dev_cluster *self, const struct dev_node *node,
                                 struct dev_process *out_process);
// Starts the node's process, unless it runs.
NODISCARD enum status dev_cluster_start(const struct dev_cluster *self, const struct dev_node *node,
                                        struct err *err);
// SIGTERM, and SIGKILL to what is left after timeout_ms, for all nodes. Returns how many needed
// that.
uint32_t dev_cluster_stop(const struct dev_cluster *self, uint32_t timeout_ms);
// The program of a node: $LIGHTCONED, beside this program, or in $PATH. NOT_FOUND says where it was
// looked for.
NODISCARD enum status dev_cluster_program(char out[DEV_FILE_SIZE], struct err *err);
// Addresses of the running nodes of the directory, "a:1,b:2"; false when none runs.
bool dev_cluster_running_addresses(const char *dir, char *out, size_t size);
