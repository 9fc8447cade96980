// SPDX-License-Identifier: Apache-2.0
// join.h - the two messages by which a node without identity gets one: JOIN asks, WELCOME gives.
// Invariants: an identity is given once per incarnation; a WELCOME repeats the same answer to the
//             same
//             incarnation; the founding members and their ids are fixed in the initiator's durable
//             identity before anybody hears of them.
// Ownership:  values; decoded text is copied.
// Thread:     pure.
// See:        api/node/README.md "How a cluster comes into being"; tests/unit/api/node/join_test.c
#pragma once

#include "controlplane/catalog/catalog.h"

// A founding member: one of the catalogue's group.
struct join_member {
    struct node_id id;
    uint64_t incarnation;
    char peer_address[CATALOG_ADDRESS_SIZE_MAX];
};

// What a node must keep about its cluster for good.
struct join_cluster {
    struct cluster_id cluster;
    struct node_id self;
    uint32_t member_count;
    struct join_member members[SHARD_REPLICAS_MAX];
};

// JOIN carries the asker as it describes itself; its id is 0. An uninitialised receiver remembers
// it.
void join_request_encode(struct codec_writer *w, const struct catalog_node *self);
NODISCARD enum status join_request_decode(struct slice body, struct catalog_node *out);

void join_welcome_encode(struct codec_writer *w, const struct join_cluster *cluster);
NODISCARD enum status join_welcome_decode(struct slice body, struct join_cluster *out);

// True when body is a JOIN, false when it is a WELCOME (or garbage, which does not decode as
// either).
bool join_is_request(struct slice body);

// The member with that incarnation, or NULL.
const struct join_member *join_find(const struct join_cluster *cluster, uint64_t incarnation);
