// SPDX-License-Identifier: Apache-2.0
// xoshiro256** seeded by splitmix64, both as their authors published them (public domain). Not for
// secrets: whoever sees outputs can compute the rest. rand() of libc is banned, since its sequence
// differs between machines and its state is shared.
#include "dataplane/base/prng.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/checksum.h"

static uint64_t rotate_left(uint64_t v, unsigned bits) {
    return (v << bits) | (v >> (64 - bits));
}

void prng_init(struct prng *self, uint64_t seed) {
    ASSERT(self != NULL);
    // hash64_u64 adds splitmix64's constant itself; stepping the seed by it gives the sequence.
    for (unsigned i = 0; i < 4; i++) {
        self->state[i] = hash64_u64(seed + i * UINT64_C(0x9e3779b97f4a7c15));
    }
    // A permutation at four different points gives at most one zero; xoshiro needs one bit set.
    ASSERT((self->state[0] | self->state[1] | self->state[2] | self->state[3]) != 0);
}

uint64_t prng_next(struct prng *self) {
    uint64_t *s = self->state;
    const uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    const uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *self, uint64_t bound) {
    ASSERT(bound > 0);
    // The lowest 2^64 mod bound values are drawn again; the rest divides evenly.
    const uint64_t refused = (UINT64_MAX - bound + 1) % bound;
    uint64_t drawn = prng_next(self);
    while (drawn < refused) {
        drawn = prng_next(self);
    }
    return drawn % bound;
}

uint64_t prng_between(struct prng *self, uint64_t low, uint64_t high) {
    ASSERT(low <= high);
    const uint64_t span = high - low;
    return span == UINT64_MAX ? prng_next(self) : low + prng_below(self, span + 1);
}

bool prng_chance(struct prng *self, uint64_t numerator, uint64_t denominator) {
    ASSERT(denominator > 0);
    // Drawn even when the answer is certain, so that a changed chance leaves the sequence in step.
    return prng_below(self, denominator) < numerator;
}
