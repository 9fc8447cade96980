// SPDX-License-Identifier: Apache-2.0
// Registered metrics hang in a list that only grows, newest first; export turns it round, so that
// series of one name, which are registered together, stay together as the format demands.
// Histograms here are coarse (a bucket per power of two) since every bucket is a line in every
// scrape; the bench uses dataplane/obs/histogram.h.
#include "dataplane/obs/metrics.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static_assert(offsetof(struct metric_counter, metric) == 0, "cast from the common part");
static_assert(offsetof(struct metric_gauge, metric) == 0, "cast from the common part");
static_assert(offsetof(struct metric_histogram, metric) == 0, "cast from the common part");

static struct metric *_Atomic metric_list;

static bool name_is_sound(const char *name) {
    for (const char *at = name; *at != '\0'; at++) {
        if (!((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '_')) {
            return false;
        }
    }
    return name[0] >= 'a' && name[0] <= 'z';
}

void metric_register(struct metric *self) {
    ASSERT(name_is_sound(self->name));
    ASSERT((self->label == NULL) == (self->label_value == NULL));
    ASSERT((unsigned)self->type < METRIC_TYPE_COUNT);
    if (atomic_exchange_explicit(&self->registered, true, memory_order_relaxed)) { return; }
    self->next = atomic_load_explicit(&metric_list, memory_order_relaxed);
    // Release: a reader that finds the metric also finds its next.
    while (!atomic_compare_exchange_weak_explicit(&metric_list, &self->next, self,
                                                  memory_order_release, memory_order_relaxed)) {}
}

void metric_histogram_record(struct metric_histogram *self, uint64_t ns) {
    // A value belongs to the first bucket whose end it does not exceed.
    const uint64_t us = ns / 1000 + (ns % 1000 != 0 ? 1 : 0);
    unsigned bucket = us <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(us - 1);
    bucket = bucket < METRIC_BUCKET_COUNT - 1 ? bucket : METRIC_BUCKET_COUNT - 1;
    atomic_fetch_add_explicit(&self->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&self->sum_ns, ns, memory_order_relaxed);
}

uint64_t metric_histogram_count(const struct metric_histogram *self) {
    uint64_t count = 0;
    for (unsigned i = 0; i < METRIC_BUCKET_COUNT; i++) {
        count += atomic_load_explicit(&self->buckets[i], memory_order_relaxed);
    }
    return count;
}

void metrics_each(metric_visit_fn visit, void *ctx) {
    const struct metric *newest = atomic_load_explicit(&metric_list, memory_order_acquire);
    size_t count = 0;
    for (const struct metric *at = newest; at != NULL; at = at->next) {
        count++;
    }
    const struct metric **all = (const struct metric **)mem_alloc_array(count, sizeof(*all));
    size_t left = count;
    for (const struct metric *at = newest; at != NULL; at = at->next) {
        all[--left] = at;
    }
    for (size_t i = 0; i < count; i++) {
        visit(ctx, all[i]);
    }
    mem_free(all);
}

// The text being written; the status is sticky.
struct text_writer {
    struct buf *out;
    enum status status;
    const char *name_before;  // series of one name share their head
};

static void put_line(struct text_writer *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put_line(struct text_writer *self, const char *format, ...) {
    enum { LINE_SIZE_MAX = 512 };
    char line[LINE_SIZE_MAX];
    va_list args;
    va_start(args, format);
    const int size = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    ASSERT(size > 0 && size < LINE_SIZE_MAX);  // names and helps are ours
    if (self->status == STATUS_OK) {
        self->status = buf_append(self->out, slice_make(line, (size_t)size));
    }
}

static const char *const type_names[] = {"counter", "gauge", "histogram"};
static_assert(sizeof(type_names) / sizeof(type_names[0]) == METRIC_TYPE_COUNT, "a name a type");

// `name{label="value"} ` up to the value; nothing in braces without a label.
static void series_name(const struct metric *metric, char *out, size_t size) {
    if (metric->label != NULL) {
        (void)snprintf(out, size, "%s{%s=\"%s\"}", metric->name, metric->label,
                       metric->label_value);
    } else {
        (void)snprintf(out, size, "%s", metric->name);
    }
}

static void put_histogram(struct text_writer *w, const struct metric_histogram *self) {
    const struct metric *m = &self->metric;
    char label[128] = "";
    if (m->label != NULL) {
        (void)snprintf(label, sizeof(label), "%s=\"%s\",", m->label, m->label_value);
    }
    uint64_t below = 0;
    for (unsigned i = 0; i < METRIC_BUCKET_COUNT; i++) {
        below += atomic_load_explicit(&self->buckets[i], memory_order_relaxed);
        if (i + 1 < METRIC_BUCKET_COUNT) {
            put_line(w, "%s_bucket{%sle=\"%.6f\"} %" PRIu64 "\n", m->name, label,
                     (double)(UINT64_C(1) << i) / 1e6, below);
        } else {
            put_line(w, "%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", m->name, label, below);
        }
    }
    const uint64_t sum_ns = atomic_load_explicit(&self->sum_ns, memory_order_relaxed);
    const size_t comma = strlen(label);
    if (comma > 0) { label[comma - 1] = '\0'; }
    const char *open = comma > 0 ? "{" : "";
    const char *close = comma > 0 ? "}" : "";
    put_line(w, "%s_sum%s%s%s %.9f\n", m->name, open, label, close, (double)sum_ns / 1e9);
    put_line(w, "%s_count%s%s%s %" PRIu64 "\n", m->name, open, label, close, below);
}

static void put_metric(void *ctx, const struct metric *metric) {
    struct text_writer *w = (struct text_writer *)ctx;
    if (w->name_before == NULL || strcmp(w->name_before, metric->name) != 0) {
        put_line(w, "# HELP %s %s\n", metric->name, metric->help);
        put_line(w, "# TYPE %s %s\n", metric->name, type_names[metric->type]);
    }
    w->name_before = metric->name;
    char name[256];
    series_name(metric, name, sizeof(name));
    switch (metric->type) {
    case METRIC_COUNTER:
        put_line(w, "%s %" PRIu64 "\n", name,
                 metric_counter_value((const struct metric_counter *)(const void *)metric));
        break;
    case METRIC_GAUGE:
        put_line(w, "%s %" PRId64 "\n", name,
                 metric_gauge_value((const struct metric_gauge *)(const void *)metric));
        break;
    case METRIC_HISTOGRAM:
        put_histogram(w, (const struct metric_histogram *)(const void *)metric);
        break;
    case METRIC_TYPE_COUNT:
        ASSERT(false);
    }
}

enum status metrics_write_text(struct buf *out) {
    struct text_writer writer = {.out = out, .status = STATUS_OK};
    metrics_each(put_metric, &writer);
    return writer.status;
}
