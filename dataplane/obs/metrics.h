// SPDX-License-Identifier: Apache-2.0
// metrics.h - what the process counts about itself: counters, gauges and latency histograms.
// Invariants: a counter never falls; updates neither lock nor allocate; a registered metric stays
//             for the life of the process.
// Ownership:  metrics are static objects of the module that counts; names, helps and labels are
//             string literals.
// Thread:     any; values are relaxed atomics, registration is a lock-free push.
// See:        dataplane/obs/README.md; tests/unit/dataplane/obs/metrics_test.c
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_TYPE_COUNT };

// What all metrics have in common; embedded first in each. A label splits a name into a few series
// that are known at compile time ("status", "ok"): nothing of a user may become a label.
struct metric {
    const char *name;         // area_noun_unit_total for counters, area_noun_unit otherwise
    const char *help;         // one line
    const char *label;        // or NULL
    const char *label_value;  // or NULL
    enum metric_type type;
    atomic_bool registered;  // private
    struct metric *next;     // private: written before the metric is published
};

struct metric_counter {
    struct metric metric;
    atomic_uint_fast64_t value;
};
struct metric_gauge {
    struct metric metric;
    atomic_int_fast64_t value;
};

// Buckets end at 2^k microseconds, k = 0 .. METRIC_BUCKET_COUNT - 2 (about 67 s); the last has no
// end.
enum { METRIC_BUCKET_COUNT = 28 };
struct metric_histogram {
    struct metric metric;
    atomic_uint_fast64_t buckets[METRIC_BUCKET_COUNT];
    atomic_uint_fast64_t sum_ns;
};

// static struct metric_counter elections = METRIC_COUNTER_INIT("raft_elections_total", "Elections
// started.");
#define METRIC_COUNTER_INIT(text, about)                                     \
    {                                                                        \
        .metric = {.name = (text), .help = (about), .type = METRIC_COUNTER } \
    }
#define METRIC_GAUGE_INIT(text, about)                                     \
    {                                                                      \
        .metric = {.name = (text), .help = (about), .type = METRIC_GAUGE } \
    }
#define METRIC_HISTOGRAM_INIT(text, about)                                     \
    {                                                                          \
        .metric = {.name = (text), .help = (about), .type = METRIC_HISTOGRAM } \
    }

// Makes it visible to export. Idempotent. Series of one name should be registered one after
// another.
void metric_register(struct metric *self);
static inline void metric_counter_register(struct metric_counter *self) {
    metric_register(&self->metric);
}
static inline void metric_gauge_register(struct metric_gauge *self) {
    metric_register(&self->metric);
}
static inline void metric_histogram_register(struct metric_histogram *self) {
    metric_register(&self->metric);
}

static inline void metric_counter_add(struct metric_counter *self, uint64_t more) {
    atomic_fetch_add_explicit(&self->value, more, memory_order_relaxed);
}
static inline uint64_t metric_counter_value(const struct metric_counter *self) {
    return atomic_load_explicit(&self->value, memory_order_relaxed);
}
static inline void metric_gauge_set(struct metric_gauge *self, int64_t value) {
    atomic_store_explicit(&self->value, value, memory_order_relaxed);
}
static inline void metric_gauge_add(struct metric_gauge *self, int64_t more) {
    atomic_fetch_add_explicit(&self->value, more, memory_order_relaxed);
}
static inline int64_t metric_gauge_value(const struct metric_gauge *self) {
    return atomic_load_explicit(&self->value, memory_order_relaxed);
}
void metric_histogram_record(struct metric_histogram *self, uint64_t ns);
// Values recorded: the sum of the buckets.
uint64_t metric_histogram_count(const struct metric_histogram *self);

// Calls visit for each registered metric, in the order of registration.
typedef void (*metric_visit_fn)(void *ctx, const struct metric *metric);
void metrics_each(metric_visit_fn visit, void *ctx);
// Appends all of them in the text format that Prometheus reads; seconds for histograms.
// STATUS_RESOURCE_EXHAUSTED when the buffer's maximum is reached.
NODISCARD enum status metrics_write_text(struct buf *out);
