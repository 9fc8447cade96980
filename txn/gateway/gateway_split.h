// SPDX-License-Identifier: Apache-2.0
// gateway_split.h - which part of a commit lies on which shard.
// Invariants: every operation lies in exactly one part, spans cut at the borders of shards; parts
//             keep the order of the request; part 0 is the home: the shard of the first mutation,
//             else of the first condition, else of the first read.
// Ownership:  the arrays are the split's and live until the next split; slices are views into the
//             commit and the map.
// Thread:     confined to its owner.
// See:        txn/gateway/README.md; docs/protocols/transactions.md "Words";
//             tests/unit/txn/gateway/gateway_split_test.c
#pragma once

#include "dataplane/shard/shard_map.h"
#include "txn/command/command_txn.h"

enum { GATEWAY_OPS_MAX = 4 * COMMAND_OPS_MAX };  // of all parts, after cutting

struct gateway_part {
    struct shard_id shard;
    // Smallest key of the part; of a span that begins at a bound without user part, the bound.
    struct slice anchor;
    uint32_t read_at;  // first in the split's reads
    uint32_t read_count;
    uint32_t condition_at;
    uint32_t condition_count;
    uint32_t mutation_at;
    uint32_t mutation_count;
};

struct gateway_split {
    struct txn_id txn;
    struct hlc_ts snapshot;
    uint32_t part_count;
    struct gateway_part parts[COMMAND_PARTICIPANTS_MAX];
    // Grouped by part.
    struct command_span *reads;
    struct command_condition *conditions;
    struct command_mutation *mutations;
    // Of the request: the part in which each condition lies.
    uint8_t *condition_parts;
    uint32_t condition_total;
    uint32_t read_capacity;  // private
    uint32_t condition_capacity;
    uint32_t mutation_capacity;
    uint32_t last;  // part found last
};

void gateway_split_init(struct gateway_split *self);
void gateway_split_deinit(struct gateway_split *self);
// UNAVAILABLE: a key lies in no shard that the map knows; INVALID_ARGUMENT: more shards or pieces
// than the limits, named in err; RESOURCE_EXHAUSTED without memory; CORRUPT.
NODISCARD enum status gateway_split_commit(struct gateway_split *self, const struct shard_map *map,
                                           struct slice encoded, struct err *err);
// Part `i` as an encoded command_commit.
void gateway_split_encode(const struct gateway_split *self, uint32_t i, struct codec_writer *w);
