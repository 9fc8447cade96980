// SPDX-License-Identifier: Apache-2.0
// Arguments, phases, figures. Phases: preload (optional), warm-up (not counted), measurement,
// drain.
#include "tests/bench/txn_load.h"

#include "dataplane/base/mem.h"
#include "tests/bench/program.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { REQUEST_MAX = 1 << 20 };

static const struct txn_plan plans[] = {
    {.name = "put1", .key_count = 1, .write_count = 1},
    {.name = "put2", .key_count = 2, .write_count = 2},
    {.name = "transfer", .key_count = 2, .read_count = 2, .write_count = 2},
    {.name = "zipf", .key_count = 4, .read_count = 2, .write_count = 2, .zipf = true},
    {.name = "merge", .key_count = 1, .write_count = 1, .hot = true, .merge = true},
    {.name = "merge2", .key_count = 2, .write_count = 2, .hot = true, .merge = true},
    {.name = "increment", .key_count = 1, .read_count = 1, .write_count = 1, .hot = true},
    {.name = "read", .key_count = 1, .read_count = 1, .read_only = true},
    {.name = "read2", .key_count = 2, .read_count = 2, .read_only = true},
};

static void sleep_ms(uint32_t ms) {
    struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

static double cpu_us(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) { return 0; }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// --- Phases ---

static void start_all(struct txn_load *load) {
    atomic_store(&load->running, load->config.outstanding);
    (void)pthread_mutex_lock(&load->lock);
    for (uint32_t i = 0; i < load->config.outstanding; i++) {
        txn_ops_start(load, &load->slots[i]);
    }
    (void)pthread_mutex_unlock(&load->lock);
}

static void drain(const struct txn_load *load) {
    while (atomic_load(&load->running) > 0) {
        sleep_ms(2);
    }
}

static void print(const struct txn_load *load, double seconds, double client_us) {
    const struct histogram *h = &load->latency;
    const double done = load->done == 0 ? 1 : (double)load->done;
    printf("{\"op\": \"%s\", \"outstanding\": %" PRIu32 ", \"keys\": %" PRIu32
           ", \"seconds\": %.2f, \"ops\": %" PRIu64 ", \"ops_s\": %.0f, \"tries\": %" PRIu64
           ", \"aborts\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"ops_total\": %" PRIu64
           ", \"errors_total\": %" PRIu64 ", ",
           load->config.plan->name, load->config.outstanding, load->config.key_count, seconds,
           load->done, (double)load->done / seconds, load->tries, load->aborts, load->errors,
           load->done_total, load->errors_total);
    printf("\"mean_us\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, "
           "\"max_us\": %.1f, \"client_cpu_us_per_op\": %.2f, ",
           (double)histogram_mean(h) / 1e3, (double)histogram_percentile(h, 50) / 1e3,
           (double)histogram_percentile(h, 90) / 1e3, (double)histogram_percentile(h, 99) / 1e3,
           (double)h->ns_max / 1e3, client_us / done);
    h = &load->age;
    printf("\"age_p50_us\": %.1f, \"age_p99_us\": %.1f, \"age_max_us\": %.1f, \"certificates\": [",
           (double)histogram_percentile(h, 50) / 1e3, (double)histogram_percentile(h, 99) / 1e3,
           (double)h->ns_max / 1e3);
    for (uint32_t i = 0; i < TXN_CERTIFICATES; i++) {
        printf("%s%" PRIu64, i > 0 ? ", " : "", load->certificates[i]);
    }
    printf("]}\n");
    (void)fflush(stdout);
}

static void run(struct txn_load *load) {
    if (load->config.preload) {
        atomic_store(&load->preloading, true);
        start_all(load);
        drain(load);
        atomic_store(&load->preloading, false);
    }
    start_all(load);
    sleep_ms(load->config.warmup_ms);
    double client_us = cpu_us();
    const uint64_t begin_ns = program_now_ns();
    atomic_store(&load->measuring, true);
    sleep_ms(load->config.seconds * 1000);
    atomic_store(&load->measuring, false);
    const double seconds = (double)(program_now_ns() - begin_ns) / 1e9;
    client_us = cpu_us() - client_us;
    atomic_store(&load->stopping, true);
    drain(load);
    print(load, seconds, client_us);
}

// --- Arguments ---

static const char usage[] =
    "usage: txn_load --address HOST:PORT[,HOST:PORT...] [options]\n"
    "  --target lightcone|etcd    what listens there (lightcone)\n"
    "  --op put1|put2|transfer|zipf|merge|merge2|increment|read|read2   (transfer)\n"
    "  --outstanding N            transactions in flight (64)\n"
    "  --keys N  --shards N       keys, and into how many equal shards they are split (10000, 8)\n"
    "  --only BITS                of read: the shards it reads, as a number of bits (0 = all)\n"
    "  --consistency N            of reads, as in lightcone.proto (0 = strong)\n"
    "  --staleness-ms N           of bounded reads (0)\n"
    "  --seconds N  --warmup-ms N (5, 500)\n"
    "  --pace-us N                pause between transactions; with --outstanding 1\n"
    "  --keyspace NAME            (bench)\n"
    "  --preload                  write every key first\n";

static bool plan_of(struct txn_config *config, const char *name) {
    for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
        if (strcmp(plans[i].name, name) == 0) { config->plan = &plans[i]; }
    }
    return config->plan != NULL;
}

static bool target_of(struct txn_config *config, const char *name) {
    config->target = strcmp(name, "etcd") == 0 ? TXN_ETCD : TXN_LIGHTCONE;
    return strcmp(name, "etcd") == 0 || strcmp(name, "lightcone") == 0;
}

static bool option_of(struct txn_config *config, int option, char *value) {
    switch (option) {
    case 'a':
        return program_addresses(value, CALLS_CHANNELS_MAX, config->addresses,
                                 &config->address_count);
    case 't':
        return target_of(config, value);
    case 'o':
        return plan_of(config, value);
    case 'n':
        return program_number(value, 1, 65536, &config->outstanding);
    case 'k':
        return program_number(value, 8, 100000000, &config->key_count);
    case 's':
        return program_number(value, 1, 32, &config->shards);
    case 'b':
        return program_number(value, 0, UINT32_MAX, &config->only);
    case 'c':
        return program_number(value, 0, 6, &config->consistency);
    case 'm':
        return program_number(value, 0, 60000, &config->staleness_ms);
    case 'd':
        return program_number(value, 1, 86400, &config->seconds);
    case 'w':
        return program_number(value, 0, 60000, &config->warmup_ms);
    case 'p':
        return program_number(value, 0, 999999, &config->pace_us);
    case 'y':
        config->keyspace = value;
        return true;
    case 'l':
        config->preload = true;
        return true;
    default:
        return false;
    }
}

static bool arguments(int argc, char **argv, struct txn_config *config) {
    static const struct option options[] = {{"address", required_argument, NULL, 'a'},
                                            {"target", required_argument, NULL, 't'},
                                            {"op", required_argument, NULL, 'o'},
                                            {"outstanding", required_argument, NULL, 'n'},
                                            {"keys", required_argument, NULL, 'k'},
                                            {"shards", required_argument, NULL, 's'},
                                            {"only", required_argument, NULL, 'b'},
                                            {"consistency", required_argument, NULL, 'c'},
                                            {"staleness-ms", required_argument, NULL, 'm'},
                                            {"seconds", required_argument, NULL, 'd'},
                                            {"warmup-ms", required_argument, NULL, 'w'},
                                            {"pace-us", required_argument, NULL, 'p'},
                                            {"keyspace", required_argument, NULL, 'y'},
                                            {"preload", no_argument, NULL, 'l'},
                                            {NULL, 0, NULL, 0}};
    int option = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!option_of(config, option, optarg)) { return false; }
    }
    const bool is_ours = config->target == TXN_LIGHTCONE;
    return optind == argc && config->address_count > 0 && (is_ours || !config->plan->merge);
}

static bool open_calls(struct txn_load *load) {
    static const char *const ours[TXN_METHODS] = {"/lightcone.v1.Data/Read",
                                                  "/lightcone.v1.Data/Commit"};
    static const char *const etcd[TXN_METHODS] = {"/etcdserverpb.KV/Txn", "/etcdserverpb.KV/Txn"};
    const struct calls_config config = {
        .addresses = load->config.addresses,
        .address_count = load->config.address_count,
        .methods = load->config.target == TXN_ETCD ? etcd : ours,
        .method_count = TXN_METHODS,
        .slots = load->config.outstanding,
        .done = txn_ops_done,
        .ctx = load,
    };
    load->calls = calls_open(&config);
    return load->calls != NULL;
}

int main(int argc, char **argv) {
    struct txn_load *load = mem_alloc(sizeof(*load));
    load->config = (struct txn_config){.plan = &plans[2],
                                       .keyspace = "bench",
                                       .outstanding = 64,
                                       .key_count = 10000,
                                       .shards = 8,
                                       .seconds = 5,
                                       .warmup_ms = 500};
    if (!arguments(argc, argv, &load->config)) {
        (void)fputs(usage, stderr);
        return 2;
    }
    prng_init(&load->prng, program_now_ns());
    histogram_init(&load->latency);
    histogram_init(&load->age);
    buf_init(&load->request, REQUEST_MAX);
    load->slots = mem_alloc_array(load->config.outstanding, sizeof(load->slots[0]));
    for (uint32_t i = 0; i < load->config.outstanding; i++) {
        load->slots[i].number = i;
    }
    (void)pthread_mutex_init(&load->lock, NULL);
    txn_ops_prepare(load);
    if (!open_calls(load)) { return 1; }
    run(load);
    calls_close(load->calls);
    const bool failed = load->done == 0;
    buf_deinit(&load->request);
    mem_free(load->zipf);
    mem_free(load->slots);
    mem_free(load);
    return failed ? 1 : 0;
}
