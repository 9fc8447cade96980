// SPDX-License-Identifier: Apache-2.0
// catalog.h - the control plane's replicated state: nodes, keyspaces and the shard map.
// Invariants: every change is a command, applied in log order; version grows by one per command
//             that changes something; ids are never reused; keyspace ranges never overlap; each
//             object remembers the version of its last change, so that any node that holds the
//             catalogue can make a delta from any version; leader hints are no part of it.
// Ownership:  the catalogue owns its contents; pointers returned are valid until the next change.
// Thread:     confined to the shard loop; readers on other threads get copies by message.
// See:        controlplane/catalog/README.md; tests/unit/controlplane/catalog
#pragma once

#include "dataplane/base/err.h"
#include "dataplane/port/state_machine.h"
#include "dataplane/shard/shard_map.h"
#include "storage/engine/engine.h"

enum {
    CATALOG_NAME_SIZE_MAX = 128,     // of the array: region and zone, one less in bytes
    CATALOG_ADDRESS_SIZE_MAX = 256,  // of the array: an address has one byte less
    CATALOG_KEYSPACE_NAME_SIZE_MAX = 63,
    CATALOG_NODES_MAX = 64,
    CATALOG_KEYSPACES_MAX = 1024,
    CATALOG_SHARDS_MAX = 16384,  // of all keyspaces
    CATALOG_KEYSPACE_SHARDS_MAX = 4096,
    CATALOG_SPLITS_SIZE_MAX = 1 << 20,  // bytes of all explicit splits of one command
    CATALOG_REPLICAS_DEFAULT_MAX = 3,
    CATALOG_FIRST_DATA_SHARD = 16,  // 1 is SHARD_CATALOG, the rest below is kept for later groups
};

enum catalog_node_state {
    CATALOG_NODE_JOINING,
    CATALOG_NODE_LIVE,
    CATALOG_NODE_SUSPECT,
    CATALOG_NODE_DRAINED,
    CATALOG_NODE_DECOMMISSIONED,
    CATALOG_NODE_STATE_COUNT
};

struct catalog_node {
    struct node_id id;
    uint64_t incarnation;  // random identity of the data directory: a wiped node is another node
    char peer_address[CATALOG_ADDRESS_SIZE_MAX];  // host:port for nodes
    char rpc_address[CATALOG_ADDRESS_SIZE_MAX];   // host:port for clients
    char region[CATALOG_NAME_SIZE_MAX];           // may be empty
    char zone[CATALOG_NAME_SIZE_MAX];             // may be empty
    int32_t latitude_microdegrees;
    int32_t longitude_microdegrees;
    enum catalog_node_state state;
    uint64_t version;  // of its last change
};

struct catalog_keyspace {
    uint32_t id;  // 1 and up; the big-endian prefix of its keys
    char name[CATALOG_NAME_SIZE_MAX];
    uint32_t replicas;
    uint64_t version;
};

struct catalog;

// Empty, at version 0.
struct catalog *catalog_create(void);
void catalog_destroy(struct catalog *self);

// The state before the first command, version 1: the group SHARD_CATALOG over these members, whose
// ids are taken (each registers later with its id and its incarnation). The order of members does
// not matter. No effect on a catalogue that is beyond version 0, so it may be called at each start,
// before or after catalog_machine_create, which puts what the store holds in its place.
void catalog_bootstrap(struct catalog *self, const struct node_id *members, uint32_t count);

uint64_t catalog_version(const struct catalog *self);
// The shard map for routing. It follows the catalogue, and carries leader hints besides: session
// and routing may note leaders in it without changing what is replicated.
struct shard_map *catalog_shard_map(struct catalog *self);
const struct catalog_node *catalog_node(const struct catalog *self, struct node_id id);
// In the order of ids; position counts from 0.
const struct catalog_node *catalog_node_at(const struct catalog *self, uint32_t position);
uint32_t catalog_node_count(const struct catalog *self);
const struct catalog_keyspace *catalog_keyspace_by_name(const struct catalog *self,
                                                        struct slice name);
const struct catalog_keyspace *catalog_keyspace_by_id(const struct catalog *self, uint32_t id);
const struct catalog_keyspace *catalog_keyspace_at(const struct catalog *self, uint32_t position);
uint32_t catalog_keyspace_count(const struct catalog *self);
// Shards as the catalogue has them, in the order of ids: leader is the first leader, not a hint.
const struct shard_descriptor *catalog_shard_at(const struct catalog *self, uint32_t position);
uint32_t catalog_shard_count(const struct catalog *self);
// By id, or NULL. Unlike the routing map, it shows targets.
const struct shard_descriptor *catalog_shard(const struct catalog *self, struct shard_id id);
// Digest of the whole replicated state: equal on two nodes that have applied the same.
uint64_t catalog_digest(const struct catalog *self);
// Aborts when an invariant of the contents does not hold; for tests and the simulator.
void catalog_check(const struct catalog *self);

// Everything changed after `since`; 0 = all. Ask for it with one's own catalog_version().
void catalog_encode_delta(const struct catalog *self, uint64_t since, struct codec_writer *w);
// Applies a delta: objects not newer than those held are skipped; the version advances only when
// the delta starts at or below the version held, so that no gap can hide. Deltas may thus be lost,
// repeated and reordered. STATUS_CORRUPT: nothing was changed; only of a delta that decodes, but
// contradicts itself or what is held, a part may have been taken, and never the version.
// A catalogue that a catalog_machine feeds learns from its log alone: deltas are checked, and
// skipped with STATUS_OK.
NODISCARD enum status catalog_apply_delta(struct catalog *self, struct slice delta);

// --- Commands: proposed to SHARD_CATALOG as payload, applied deterministically ------------------
enum catalog_command_kind {
    CATALOG_REGISTER_NODE = 1,
    CATALOG_CREATE_KEYSPACE,
    CATALOG_PLACE_SHARD,
    CATALOG_CANCEL_SHARD,
    CATALOG_REPORT_SHARD,
    CATALOG_COMMAND_KIND_COUNT
};

// state and version of the node are not part of the command.
struct catalog_register_node {
    struct catalog_node node;  // id 0 = give one; otherwise it must match the incarnation on record
};
struct catalog_create_keyspace {
    char name[CATALOG_NAME_SIZE_MAX];  // [a-z0-9_-], 1 to CATALOG_KEYSPACE_NAME_SIZE_MAX bytes
    uint32_t replicas;                 // odd; 0 = min(3, live nodes), made odd
    uint32_t shard_count;  // 1 to CATALOG_KEYSPACE_SHARDS_MAX; used when split_count is 0 (then
                           // even byte ranges)
    uint32_t split_count;  // explicit split keys, ascending, user keys
    const struct slice *splits;
};
// Intent: the members that a shard is to have. The shard's leader goes there step by step and
// reports; until then no other intent is taken, but for the same one again.
struct catalog_place_shard {
    struct shard_id shard;
    uint64_t config_epoch;  // of the descriptor that the decision was based on
    uint32_t target_count;  // an odd number of voters among them
    struct shard_target targets[SHARD_REPLICAS_MAX];
};
// Back to the members before the operation; refused once two configurations overlap.
struct catalog_cancel_shard {
    struct shard_id shard;
};
// What the shard's log says: a committed configuration. Only a larger config_epoch than the one
// held changes the members; targets end when they are reached.
struct catalog_report_shard {
    struct shard_id shard;
    uint64_t config_epoch;
    struct node_id leader;  // who reports
    uint32_t replica_count;
    struct shard_replica replicas[SHARD_MEMBERS_MAX];
};
void catalog_register_node_encode(struct codec_writer *w, const struct catalog_register_node *self);
void catalog_create_keyspace_encode(struct codec_writer *w,
                                    const struct catalog_create_keyspace *self);
void catalog_place_shard_encode(struct codec_writer *w, const struct catalog_place_shard *self);
void catalog_cancel_shard_encode(struct codec_writer *w, const struct catalog_cancel_shard *self);
void catalog_report_shard_encode(struct codec_writer *w, const struct catalog_report_shard *self);
// INVALID_ARGUMENT names the field and the limit.
NODISCARD enum status catalog_register_node_check(const struct catalog_register_node *self,
                                                  struct err *err);
NODISCARD enum status catalog_create_keyspace_check(const struct catalog_create_keyspace *self,
                                                    struct err *err);
// Against a catalogue, as applying it would: NOT_FOUND (shard), INVALID_ARGUMENT (which target and
// why), FAILED_PRECONDITION (another config_epoch, an operation under way), ALREADY_EXISTS (the
// members are these already). OK without a change when just this operation is under way.
NODISCARD enum status catalog_place_shard_check(const struct catalog *catalog,
                                                const struct catalog_place_shard *self,
                                                struct err *err);

// Applies one encoded command and puts the encoded result into *out_result (replaced; its maximum
// must be 1 KiB or more). The outcome is a function of the catalogue and the command alone.
// OK, ALREADY_EXISTS (with the id of what exists), INVALID_ARGUMENT (garbage too), NOT_FOUND,
// FAILED_PRECONDITION (not enough nodes, another incarnation or config_epoch), RESOURCE_EXHAUSTED
// (the catalogue is full). Anything but OK leaves the state unchanged.
NODISCARD enum status catalog_apply(struct catalog *self, struct slice command,
                                    struct buf *out_result);

// Result of a command: encoded { varint id (node, keyspace or shard), slice detail }; the detail is
// empty for OK and a sentence for people otherwise.
struct catalog_result {
    uint64_t id;
    struct slice detail;
};
NODISCARD enum status catalog_result_decode(struct slice encoded, struct catalog_result *out);

// --- The state machine of SHARD_CATALOG, on nodes that hold a replica of it ---------------------
// Persists every change and the applied index in one batch of `engine` (no sync) at end(); loads
// the whole state at creation.
struct catalog_machine;
struct catalog_machine_config {
    struct catalog *catalog;  // the node's copy, empty or just bootstrapped; outlives the machine
    struct engine *engine;    // ENGINE_LOCAL, keys that begin with bytes 0xC0 to 0xC3
    void (*changed)(void *ctx);  // after end() of a turn that changed something; may be NULL
    void *ctx;
};
// STATUS_CORRUPT when what the store holds is not a whole catalogue, STATUS_IO when it cannot be
// read; the catalogue is unusable then.
NODISCARD enum status catalog_machine_create(const struct catalog_machine_config *config,
                                             struct catalog_machine **out_machine, struct err *err);
void catalog_machine_destroy(struct catalog_machine *self);
const struct state_machine *catalog_machine_port(struct catalog_machine *self);
