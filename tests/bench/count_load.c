// SPDX-License-Identifier: Apache-2.0
// Threads that count up the same counters by reading and writing them, each through lc_txn_run: how
// many transactions commit a second, in how many tries, and how long the slowest of them wait.
//
// Each thread keeps its own figures; the main thread adds them up when all have ended.
#include "api/client/lightcone_txn.h"
#include "dataplane/base/mem.h"
#include "dataplane/obs/histogram.h"
#include "tests/bench/program.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WRITERS_MAX = 1024, COUNTERS_MAX = 16, ADDRESSES_MAX = 16, TIMEOUT_MS = 30000 };

struct load {
    struct lc_client *client;
    const char *addresses[ADDRESSES_MAX];
    const char *keyspace_name;
    uint32_t keyspace;
    uint32_t writers;
    uint32_t counters;
    uint32_t seconds;
    bool for_update;
    atomic_bool stopping;
};

struct writer {
    const struct load *load;
    pthread_t thread;
    uint64_t tries;
    uint64_t done;
    uint64_t errors;
    struct histogram latency;
};

// --- One transaction ---

static enum status count_up(const struct load *load, struct lc_txn *txn, uint32_t counter) {
    char name[24];
    char text[24] = "0";
    struct lc_reply reply;
    (void)snprintf(name, sizeof(name), "counter-%" PRIu32, counter);
    const struct slice key = slice_from_string(name);
    const struct lc_txn_read read = {.keys = &key, .key_count = 1, .for_update = load->for_update};
    const enum status st = lc_txn_read(txn, &read, &reply);
    if (st == STATUS_OK && reply.result.rows[0].found) {
        const struct slice value = reply.result.rows[0].value;
        (void)snprintf(text, sizeof(text), "%.*s", (int)value.size, (const char *)value.data);
    }
    lc_reply_free(&reply);
    if (st != STATUS_OK) { return st; }
    (void)snprintf(text, sizeof(text), "%ld", strtol(text, NULL, 10) + 1);
    return lc_txn_put(txn, key, slice_from_string(text));
}

static enum status body(struct lc_txn *txn, void *ctx) {
    struct writer *self = ctx;
    self->tries++;
    for (uint32_t i = 0; i < self->load->counters; i++) {
        const enum status st = count_up(self->load, txn, i);
        if (st != STATUS_OK) { return st; }
    }
    return STATUS_OK;
}

static void *write_on(void *arg) {
    struct writer *self = arg;
    const struct load *load = self->load;
    const struct lc_txn_options options = {.keyspace = load->keyspace, .timeout_ms = TIMEOUT_MS};
    while (!atomic_load(&load->stopping)) {
        struct lc_reply reply;
        const uint64_t began_ns = program_now_ns();
        const enum status st = lc_txn_run(load->client, &options, body, self, &reply);
        if (st == STATUS_OK) {
            self->done++;
            histogram_record(&self->latency, program_now_ns() - began_ns);
        } else if (self->errors++ == 0) {
            (void)fprintf(stderr, "count_load: %.*s\n", (int)reply.result.message.size,
                          (const char *)reply.result.message.data);
        }
        lc_reply_free(&reply);
    }
    return NULL;
}

// --- All of them ---

static void print(const struct load *load, const struct writer *sum, double seconds) {
    const struct histogram *h = &sum->latency;
    printf("{\"op\": \"count\", \"outstanding\": %" PRIu32 ", \"counters\": %" PRIu32
           ", \"for_update\": %s, \"seconds\": %.2f, \"ops\": %" PRIu64 ", \"ops_s\": %.0f, "
           "\"tries\": %" PRIu64 ", \"aborts\": %" PRIu64 ", \"errors\": %" PRIu64 ", ",
           load->writers, load->counters, load->for_update ? "true" : "false", seconds, sum->done,
           (double)sum->done / seconds, sum->tries, sum->tries - sum->done, sum->errors);
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
           (double)histogram_percentile(h, 50) / 1e3, (double)histogram_percentile(h, 99) / 1e3,
           (double)h->ns_max / 1e3);
}

static void run(struct load *load) {
    struct writer *writers = mem_alloc_array(load->writers + 1, sizeof(*writers));
    struct writer *sum = &writers[load->writers];
    const uint64_t began_ns = program_now_ns();
    histogram_init(&sum->latency);
    for (uint32_t i = 0; i < load->writers; i++) {
        writers[i].load = load;
        histogram_init(&writers[i].latency);
        if (pthread_create(&writers[i].thread, NULL, write_on, &writers[i]) != 0) { abort(); }
    }
    const struct timespec time = {.tv_sec = load->seconds};
    (void)nanosleep(&time, NULL);
    atomic_store(&load->stopping, true);
    for (uint32_t i = 0; i < load->writers; i++) {
        (void)pthread_join(writers[i].thread, NULL);
        sum->done += writers[i].done;
        sum->tries += writers[i].tries;
        sum->errors += writers[i].errors;
        histogram_merge(&sum->latency, &writers[i].latency);
    }
    print(load, sum, (double)(program_now_ns() - began_ns) / 1e9);
    mem_free(writers);
}

// --- Arguments ---

static const char usage[] = "usage: count_load --address HOST:PORT[,HOST:PORT...] [options]\n"
                            "  --keyspace NAME    (bench)\n"
                            "  --writers N        threads (64)\n"
                            "  --counters N       that each transaction counts up (1)\n"
                            "  --seconds N        (5)\n"
                            "  --for-update       reads have the counters held\n";

static bool option_of(struct load *load, struct lc_config *config, int option, char *value) {
    switch (option) {
    case 'a':
        return program_addresses(value, ADDRESSES_MAX, load->addresses, &config->address_count);
    case 'k':
        load->keyspace_name = value;
        return true;
    case 'w':
        return program_number(value, 1, WRITERS_MAX, &load->writers);
    case 'c':
        return program_number(value, 1, COUNTERS_MAX, &load->counters);
    case 's':
        return program_number(value, 1, 86400, &load->seconds);
    case 'u':
        load->for_update = true;
        return true;
    default:
        return false;
    }
}

static bool arguments(int argc, char **argv, struct load *load, struct lc_config *config) {
    static const struct option options[] = {{"address", required_argument, NULL, 'a'},
                                            {"keyspace", required_argument, NULL, 'k'},
                                            {"writers", required_argument, NULL, 'w'},
                                            {"counters", required_argument, NULL, 'c'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"for-update", no_argument, NULL, 'u'},
                                            {NULL, 0, NULL, 0}};
    int option = 0;
    bool ok = true;
    while (ok && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        ok = option_of(load, config, option, optarg);
    }
    return ok && optind == argc && config->address_count > 0;
}

int main(int argc, char **argv) {
    struct load load = {.keyspace_name = "bench", .writers = 64, .counters = 1, .seconds = 5};
    struct lc_config config = {.addresses = load.addresses};
    struct err err = {0};
    if (!arguments(argc, argv, &load, &config)) {
        (void)fputs(usage, stderr);
        return 2;
    }
    if (lc_connect(&config, &load.client, &err) != STATUS_OK ||
        lc_keyspace(load.client, load.keyspace_name, &load.keyspace, &err) != STATUS_OK) {
        (void)fprintf(stderr, "count_load: %s\n", err.message);
        return 1;
    }
    run(&load);
    lc_close(load.client);
    return 0;
}
