// SPDX-License-Identifier: Apache-2.0
// histogram.h - latencies with a bounded relative error in fixed memory, for the bench and for
// diagnostics.
// Invariants: a value lands in a bucket at most 1/128 of it wide; count is the sum of the buckets;
//             merging equals recording both inputs.
// Ownership:  the caller owns the struct (about 36 KiB: not for the stack of a loop); nothing
//             beyond it.
// Thread:     confined to its owner; merge per-thread histograms at the end.
// See:        dataplane/obs/README.md; tests/unit/dataplane/obs/histogram_test.c
#pragma once

#include <stdint.h>

// Below 2^8 ns each value has its bucket; above, each power of two is cut into 128 of equal width.
enum {
    HISTOGRAM_PRECISION_BITS = 7,
    HISTOGRAM_VALUE_BITS = 42,
    HISTOGRAM_BUCKET_COUNT = (HISTOGRAM_VALUE_BITS - HISTOGRAM_PRECISION_BITS + 1)
                             << HISTOGRAM_PRECISION_BITS,
};
// Larger values (beyond 73 minutes) count as this one.
#define HISTOGRAM_NS_MAX ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1)

struct histogram {
    uint64_t count;   // read-only
    uint64_t sum_ns;  // read-only
    uint64_t ns_min;  // read-only: 0 when empty
    uint64_t ns_max;  // read-only: 0 when empty
    uint64_t buckets[HISTOGRAM_BUCKET_COUNT];
};

void histogram_init(struct histogram *self);
void histogram_record(struct histogram *self, uint64_t ns);
// Adds what `other` recorded.
void histogram_merge(struct histogram *self, const struct histogram *other);
// The smallest value that at least `percent` (0 to 100) of the values do not exceed, rounded up by
// at most 1/128 and never above the largest recorded; 0 when empty.
uint64_t histogram_percentile(const struct histogram *self, double percent);
// 0 when empty.
uint64_t histogram_mean(const struct histogram *self);
