// SPDX-License-Identifier: Apache-2.0
// Metrics: registration, buckets, the exported text.
#include "dataplane/obs/metrics.h"

#include "tests/unit/dataplane/base/death.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct metric_counter commits = METRIC_COUNTER_INIT("test_commits_total", "Commits.");
static struct metric_counter refused = {.metric = {.name = "test_commits_total",
                                                   .help = "Commits.",
                                                   .label = "outcome",
                                                   .label_value = "refused",
                                                   .type = METRIC_COUNTER}};
static struct metric_gauge open_files = METRIC_GAUGE_INIT("test_open_files", "Files open now.");
static struct metric_histogram syncs = METRIC_HISTOGRAM_INIT("test_sync_seconds", "Log syncs.");

// The registry of this process: metrics stay, so the group registers them once.
static int setup_group(void **state) {
    (void)state;
    metric_counter_register(&commits);
    metric_counter_register(&refused);
    metric_counter_register(&commits);  // again: no effect
    metric_gauge_register(&open_files);
    metric_histogram_register(&syncs);
    metric_counter_add(&commits, 3);
    metric_counter_add(&refused, 1);
    metric_gauge_set(&open_files, 5);
    metric_gauge_add(&open_files, -7);
    metric_histogram_record(&syncs, 1000);
    metric_histogram_record(&syncs, 1001);
    metric_histogram_record(&syncs, 3000000);
    metric_histogram_record(&syncs, UINT64_C(100000000000));
    return 0;
}

static void append_name(void *ctx, const struct metric *metric) {
    struct buf *buf = (struct buf *)ctx;
    assert_int_equal(buf_append(buf, slice_from_string(metric->name)), STATUS_OK);
    assert_int_equal(buf_append(buf, SLICE_LITERAL(" ")), STATUS_OK);
}

// Goal: each registered metric once, in order.
static void test_metrics_each_visits_in_order_of_registration(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    metrics_each(append_name, &buf);
    assert_true(slice_equal(
        buf_slice(&buf),
        SLICE_LITERAL("test_commits_total test_commits_total test_open_files test_sync_seconds ")));
    buf_deinit(&buf);
}

// Goal: values read back as updated.
static void test_metrics_values(void **state) {
    (void)state;
    assert_int_equal(metric_counter_value(&commits), 3);
    assert_int_equal(metric_gauge_value(&open_files), -2);
    assert_int_equal(metric_histogram_count(&syncs), 4);
}

// Goal: a value lands in the first bucket whose end it does not exceed, at both sides of each end.
static void test_metrics_histogram_bucket_edges(void **state) {
    (void)state;
    for (unsigned k = 0; k + 1 < METRIC_BUCKET_COUNT; k++) {
        struct metric_histogram h = METRIC_HISTOGRAM_INIT("test_edges_seconds", "Edges.");
        const uint64_t end_ns = (UINT64_C(1) << k) * 1000;
        metric_histogram_record(&h, end_ns);
        metric_histogram_record(&h, end_ns + 1);
        assert_int_equal(atomic_load(&h.buckets[k]), 1);
        assert_int_equal(atomic_load(&h.buckets[k + 1]), 1);
    }
    struct metric_histogram h = METRIC_HISTOGRAM_INIT("test_edges_seconds", "Edges.");
    metric_histogram_record(&h, 0);
    metric_histogram_record(&h, UINT64_MAX);
    assert_int_equal(atomic_load(&h.buckets[0]), 1);
    assert_int_equal(atomic_load(&h.buckets[METRIC_BUCKET_COUNT - 1]), 1);
}

static bool has_line(const char *text, const char *line) {
    const char *at = strstr(text, line);
    return at != NULL && (at == text || at[-1] == '\n');
}

// Goal: the text that a scraper reads: one head a name, series, cumulative buckets, seconds.
static void test_metrics_text_is_what_prometheus_reads(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 1 << 16);
    assert_int_equal(metrics_write_text(&buf), STATUS_OK);
    assert_int_equal(buf_append(&buf, slice_make("", 1)), STATUS_OK);
    const char *text = (const char *)buf.data;
    static const char head[] = "# HELP test_commits_total Commits.\n"
                               "# TYPE test_commits_total counter\n"
                               "test_commits_total 3\n"
                               "test_commits_total{outcome=\"refused\"} 1\n"
                               "# HELP test_open_files Files open now.\n"
                               "# TYPE test_open_files gauge\n"
                               "test_open_files -2\n"
                               "# HELP test_sync_seconds Log syncs.\n"
                               "# TYPE test_sync_seconds histogram\n"
                               "test_sync_seconds_bucket{le=\"0.000001\"} 1\n"
                               "test_sync_seconds_bucket{le=\"0.000002\"} 2\n";
    assert_int_equal(strncmp(text, head, sizeof(head) - 1), 0);
    assert_true(has_line(text, "test_sync_seconds_bucket{le=\"0.002048\"} 2\n"));
    assert_true(has_line(text, "test_sync_seconds_bucket{le=\"0.004096\"} 3\n"));
    assert_true(has_line(text, "test_sync_seconds_bucket{le=\"67.108864\"} 3\n"));
    assert_true(has_line(text, "test_sync_seconds_bucket{le=\"+Inf\"} 4\n"));
    assert_true(has_line(text, "test_sync_seconds_sum 100.003002001\n"));
    assert_true(has_line(text, "test_sync_seconds_count 4\n"));
    buf_deinit(&buf);
}

// Goal: a buffer that is too small is reported, not overrun.
static void test_metrics_text_respects_the_maximum(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 100);
    assert_int_equal(metrics_write_text(&buf), STATUS_RESOURCE_EXHAUSTED);
    assert_true(buf.size <= 100);
    buf_deinit(&buf);
}

static void *count_up(void *ctx) {
    for (unsigned i = 0; i < 10000; i++) {
        metric_counter_add((struct metric_counter *)ctx, 1);
    }
    return NULL;
}

// Goal: no update is lost between threads.
static void test_metrics_updates_of_threads_all_count(void **state) {
    (void)state;
    struct metric_counter counter = METRIC_COUNTER_INIT("test_threads_total", "Threads.");
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, &counter), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(metric_counter_value(&counter), 40000);
}

static void register_bad_name(void *ctx) {
    (void)ctx;
    static struct metric_counter bad = METRIC_COUNTER_INIT("Bad-Name", "Bad.");
    metric_counter_register(&bad);
}

// Goal: a name that no scraper takes is a bug, found at start.
static void test_metrics_bad_name_is_asserted(void **state) {
    (void)state;
    assert_true(death_by_assert(register_bad_name, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_each_visits_in_order_of_registration),
        cmocka_unit_test(test_metrics_values),
        cmocka_unit_test(test_metrics_histogram_bucket_edges),
        cmocka_unit_test(test_metrics_text_is_what_prometheus_reads),
        cmocka_unit_test(test_metrics_text_respects_the_maximum),
        cmocka_unit_test(test_metrics_updates_of_threads_all_count),
        cmocka_unit_test(test_metrics_bad_name_is_asserted),
    };
    return cmocka_run_group_tests(tests, setup_group, NULL);
}
