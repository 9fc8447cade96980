// SPDX-License-Identifier: Apache-2.0
// Log-linear buckets: the position of the highest bit picks a power of two, the bits below it pick
// one of its 128 slices. With e the bits dropped, a value v >= 2^8 has index e * 128 + (v >> e),
// where v >> e lies in [128, 256); for e = 0 that is v itself, so the linear part needs no case of
// its own.
#include "dataplane/obs/histogram.h"

#include "dataplane/base/assert.h"

#include <stddef.h>

static unsigned dropped_bits(uint64_t ns) {
    const unsigned width = ns > 0 ? 64 - (unsigned)__builtin_clzll(ns) : 0;
    return width > HISTOGRAM_PRECISION_BITS + 1 ? width - (HISTOGRAM_PRECISION_BITS + 1) : 0;
}

static size_t bucket_of(uint64_t ns) {
    ASSERT(ns <= HISTOGRAM_NS_MAX);
    const unsigned dropped = dropped_bits(ns);
    const size_t index = ((size_t)dropped << HISTOGRAM_PRECISION_BITS) + (size_t)(ns >> dropped);
    ASSERT(index < HISTOGRAM_BUCKET_COUNT);
    return index;
}

// The largest value of a bucket: the inverse of bucket_of.
static uint64_t bucket_end(size_t index) {
    ASSERT(index < HISTOGRAM_BUCKET_COUNT);
    const size_t row = index >> HISTOGRAM_PRECISION_BITS;
    const size_t dropped = row > 0 ? row - 1 : 0;
    const uint64_t head = index - (dropped << HISTOGRAM_PRECISION_BITS);
    return ((head + 1) << dropped) - 1;
}

void histogram_init(struct histogram *self) {
    ASSERT(self != NULL);
    *self = (struct histogram){0};
}

void histogram_record(struct histogram *self, uint64_t ns) {
    ns = ns < HISTOGRAM_NS_MAX ? ns : HISTOGRAM_NS_MAX;
    self->ns_min = self->count == 0 || ns < self->ns_min ? ns : self->ns_min;
    self->ns_max = ns > self->ns_max ? ns : self->ns_max;
    self->count++;
    self->sum_ns += ns;
    self->buckets[bucket_of(ns)]++;
}

void histogram_merge(struct histogram *self, const struct histogram *other) {
    ASSERT(self != other);
    if (other->count == 0) { return; }
    self->ns_min = self->count == 0 || other->ns_min < self->ns_min ? other->ns_min : self->ns_min;
    self->ns_max = other->ns_max > self->ns_max ? other->ns_max : self->ns_max;
    self->count += other->count;
    self->sum_ns += other->sum_ns;
    for (size_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++) {
        self->buckets[i] += other->buckets[i];
    }
}

// How many values have to lie at or below the answer: percent of the count, rounded up, at least
// one.
static uint64_t rank_of(uint64_t count, double percent) {
    const double exact = percent / 100.0 * (double)count;
    uint64_t rank = (uint64_t)exact;
    rank += (double)rank < exact ? 1 : 0;
    rank = rank > 0 ? rank : 1;
    return rank < count ? rank : count;
}

uint64_t histogram_percentile(const struct histogram *self, double percent) {
    ASSERT(percent >= 0.0 && percent <= 100.0);
    if (self->count == 0) { return 0; }
    const uint64_t rank = rank_of(self->count, percent);
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++) {
        seen += self->buckets[i];
        if (seen >= rank) {
            const uint64_t end = bucket_end(i);
            return end < self->ns_max ? end : self->ns_max;
        }
    }
    ASSERT(seen == self->count);
    return self->ns_max;
}

uint64_t histogram_mean(const struct histogram *self) {
    return self->count > 0 ? self->sum_ns / self->count : 0;
}
