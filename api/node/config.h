// SPDX-License-Identifier: Apache-2.0
// config.h - the settings of one node, as node.yaml says them.
// Invariants: a configuration that node_config_load returned has passed node_config_check; every
//             setting has one name, `section.key`, used in the file, in errors and in docs alike.
// Ownership:  the struct holds its texts; nothing is to be freed.
// Thread:     start of the process, before there are threads; no state is kept.
// See:        api/node/README.md; tests/unit/api/node/config_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/err.h"
#include "dataplane/obs/log.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    NODE_CONFIG_PATH_SIZE_MAX = 3968,    // leaves room for the names of files inside it
    NODE_CONFIG_ADDRESS_SIZE_MAX = 256,  // as in the catalogue
    NODE_CONFIG_NAME_SIZE_MAX = 128,     // likewise
    NODE_CONFIG_JOIN_MAX = 16,
    NODE_CONFIG_FILE_SIZE_MAX = 64 << 10,
};

// Comments give name, meaning and default. What may be set is in config_schema.c, limits included.
struct node_config {
    // data_dir: everything durable lies here. No default.
    char data_dir[NODE_CONFIG_PATH_SIZE_MAX];
    // listen.peer: host:port for other nodes, 127.0.0.1:7400. Port 0 = any free one.
    char listen_peer[NODE_CONFIG_ADDRESS_SIZE_MAX];
    // listen.rpc: host:port for clients, 127.0.0.1:7401. Port 0 = any free one.
    char listen_rpc[NODE_CONFIG_ADDRESS_SIZE_MAX];
    // advertise.peer, advertise.rpc: what others dial. Empty = as listened; needed when that is a
    // wildcard address.
    char advertise_peer[NODE_CONFIG_ADDRESS_SIZE_MAX];
    char advertise_rpc[NODE_CONFIG_ADDRESS_SIZE_MAX];
    // join: peer addresses to ask for an identity; none = wait for `cluster init`.
    char join[NODE_CONFIG_JOIN_MAX][NODE_CONFIG_ADDRESS_SIZE_MAX];
    uint32_t join_count;
    // region, zone: where the node stands, for placement. Empty = unknown.
    char region[NODE_CONFIG_NAME_SIZE_MAX];
    char zone[NODE_CONFIG_NAME_SIZE_MAX];
    // latitude, longitude: decimal degrees in the file, 0.
    int32_t latitude_microdegrees;
    int32_t longitude_microdegrees;
    // insecure: plain text beyond the loopback interface, false.
    bool insecure;
    // dev: allows what only development needs (cutting nodes off), false.
    bool dev;
    // limits.max_commit_bytes: of one commit, 16 MiB.
    uint64_t max_commit_bytes;
    // limits.max_inflight_calls: of clients at this gateway, 16384.
    uint64_t max_inflight_calls;
    // limits.max_inflight_bytes: of proposals of one shard, 64 MiB.
    uint64_t max_inflight_bytes;
    // limits.cache_mb: block cache, 256.
    uint64_t cache_mb;
    // limits.write_buffer_mb: one memtable, 64.
    uint64_t write_buffer_mb;
    // support_duration_ms: how long a node's support for another holds without renewal, 700.
    uint64_t support_duration_ms;
    // election_timeout_ms: the least silence before an election, 150.
    uint64_t election_timeout_ms;
    // clock.max_lead_ms: timestamps further ahead of the local clock are refused, 1000.
    uint64_t clock_max_lead_ms;
    // disk.slow_ms: a sync that takes so long makes the node give its leaderships away, 500.
    uint64_t disk_slow_ms;
    // disk.sick_ms: and one that takes so long makes it lead nothing and count for nobody, 3000.
    uint64_t disk_sick_ms;
    // disk.stop_ms: and after so long the process stops, 10000.
    uint64_t disk_stop_ms;
    // disk.recover_ms: all is well again after so long without a sync as slow, 10000.
    uint64_t disk_recover_ms;
    // disk.reserve_mb: MiB that commits leave free, for deletes and what must go on, 256.
    uint64_t disk_reserve_mb;
    // log.level: debug, info, warn or error; info.
    enum log_level log_level;
};

void node_config_defaults(struct node_config *self);
// Ranges and what must fit together; INVALID_ARGUMENT names setting, value and limit.
NODISCARD enum status node_config_check(const struct node_config *self, struct err *err);
// Reads YAML text over the defaults and checks. `name` stands before the line number in errors.
// INVALID_ARGUMENT: unknown or repeated key, wrong type, value out of range, not YAML. *out is
// written only on success.
NODISCARD enum status node_config_parse(struct slice text, const char *name,
                                        struct node_config *out, struct err *err);
// The same from a file. NOT_FOUND when missing, IO when it cannot be read.
NODISCARD enum status node_config_load(const char *path, struct node_config *out, struct err *err);
