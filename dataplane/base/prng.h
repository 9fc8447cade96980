// SPDX-License-Identifier: Apache-2.0
// prng.h - seeded random numbers (xoshiro256**, Blackman and Vigna 2018), the same on every
// machine.
// Invariants: equal seeds give equal sequences.
// Ownership:  the caller owns the struct.
// Thread:     confined to its owner.
// See:        dataplane/base/README.md; tests/unit/dataplane/base/prng_test.c
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t state[4];
};

void prng_init(struct prng *self, uint64_t seed);
uint64_t prng_next(struct prng *self);
// Uniform in [0, bound); bound > 0. Unbiased.
uint64_t prng_below(struct prng *self, uint64_t bound);
// Uniform in [low, high], low <= high.
uint64_t prng_between(struct prng *self, uint64_t low, uint64_t high);
// True with probability numerator / denominator.
bool prng_chance(struct prng *self, uint64_t numerator, uint64_t denominator);
