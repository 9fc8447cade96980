// SPDX-License-Identifier: Apache-2.0
// sample.h - keys of a file, and where to cut a keyspace so that its shards share them evenly.
// Invariants: the sample is all keys up to SAMPLE_KEYS_MAX, beyond that an unbiased choice of as
//             many; equal input gives equal cuts.
// Ownership:  keys are copied; the cuts are views into the sample.
// Thread:     confined to its owner.
// See:        Vitter, Random Sampling with a Reservoir (1985), algorithm R;
//             tests/unit/api/cli/sample_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/prng.h"

enum { SAMPLE_KEYS_MAX = 1 << 17 };

struct sample {
    struct bytes **keys;  // private
    size_t count;         // read-only: keys held
    size_t capacity;      // private
    uint64_t seen;        // read-only: keys offered
    struct prng prng;     // private
};

void sample_init(struct sample *self);
void sample_deinit(struct sample *self);
void sample_add(struct sample *self, struct slice key);
// Up to shard_count - 1 ascending cuts, all different and above the smallest key; fewer when there
// are too few different keys. Sorts the sample. out_cuts holds shard_count - 1. Returns how many.
size_t sample_cuts(struct sample *self, size_t shard_count, struct slice *out_cuts);
