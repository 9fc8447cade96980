// SPDX-License-Identifier: Apache-2.0
// Arguments, phases, figures. Phases: preload (optional), warm-up (not counted), measurement,
// drain.
#include "tests/bench/load.h"

#include "dataplane/base/mem.h"
#include "tests/bench/program.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static void load_sleep_ms(uint32_t ms) {
    struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

static double load_cpu_us(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) { return 0; }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// --- Operations ---

static enum load_kind load_choose(struct load *load) {
    const char *operation = load->config.operation;
    if (strcmp(operation, "put") == 0) { return LOAD_PUT; }
    if (strcmp(operation, "get") == 0) { return LOAD_GET; }
    if (strcmp(operation, "put2") == 0) { return LOAD_PUT2; }
    if (strcmp(operation, "pair") == 0) { return LOAD_PAIR; }
    if (strcmp(operation, "put10") == 0) { return LOAD_PUT10; }
    if (strcmp(operation, "get10") == 0) { return LOAD_GET10; }
    return prng_chance(&load->prng, load->config.read_percent, 100) ? LOAD_GET : LOAD_PUT;
}

static void load_set_key(struct load_operation *out, uint32_t position, uint32_t key) {
    (void)snprintf(out->text[position], sizeof(out->text[position]), "key-%012" PRIu32, key);
    out->keys[position] = slice_make(out->text[position], LOAD_KEY_SIZE);
}

static bool load_next_preload(struct load *load, struct load_operation *out) {
    if (load->preload_next >= load->config.key_count) { return false; }
    out->kind = LOAD_PUT;
    out->key_count = 1;
    load_set_key(out, 0, load->preload_next++);
    return true;
}

// Two keys, as far apart as can be: of two shards, where there are any.
static void load_next_pair(struct load *load, struct load_operation *out) {
    const uint32_t half = load->config.key_count / 2;
    const uint32_t first = (uint32_t)prng_below(&load->prng, half);
    out->key_count = 2;
    load_set_key(out, 0, first);
    load_set_key(out, 1, first + half);
}

// Keys of one operation are neighbours: distinct, and mostly of one shard, as a transaction's are.
bool load_next(struct load *load, struct load_operation *out) {
    out->value = slice_make(load->value, load->config.value_size);
    if (atomic_load(&load->preloading)) { return load_next_preload(load, out); }
    if (atomic_load(&load->stopping)) { return false; }
    out->kind = load_choose(load);
    if (out->kind == LOAD_PUT2 || out->kind == LOAD_PAIR) {
        load_next_pair(load, out);
        return true;
    }
    out->key_count = out->kind == LOAD_PUT10 || out->kind == LOAD_GET10 ? LOAD_OPS_MAX : 1;
    uint32_t last = load->config.key_count - out->key_count;
    uint32_t first = (uint32_t)prng_below(&load->prng, (uint64_t)last + 1);
    for (uint32_t i = 0; i < out->key_count; i++) {
        load_set_key(out, i, first + i);
    }
    return true;
}

static void load_start(struct load *load, uint32_t slot) {
    load->started_ns[slot] = program_now_ns();
    load->driver->start(load, slot);
}

void load_done(struct load *load, uint32_t slot, bool ok, bool found) {
    bool phase_over = atomic_load(&load->preloading) ? load->preload_next >= load->config.key_count
                                                     : atomic_load(&load->stopping);
    atomic_fetch_add_explicit(&load->total, 1, memory_order_relaxed);
    if (!ok) { load->errors++; }
    if (ok && !found) { load->missing++; }
    if (atomic_load_explicit(&load->measuring, memory_order_relaxed) && ok) {
        load->operations++;
        histogram_record(&load->histogram, program_now_ns() - load->started_ns[slot]);
    }
    if (phase_over) {
        atomic_fetch_sub(&load->running, 1);
    } else {
        load_start(load, slot);
    }
}

// --- Phases ---

static void load_start_slots(struct load *load, uint32_t count) {
    atomic_store(&load->running, count);
    for (uint32_t i = 0; i < count; i++) {
        load_start(load, i);
    }
}

static void load_drain(const struct load *load) {
    while (atomic_load(&load->running) > 0) {
        load_sleep_ms(2);
    }
}

static void load_preload(struct load *load) {
    if (!load->config.preload) { return; }
    uint32_t slots = load->config.outstanding < 256 ? 256 : load->config.outstanding;
    if (slots > load->config.key_count) { slots = load->config.key_count; }
    if (slots > load->config.outstanding) { slots = load->config.outstanding; }
    atomic_store(&load->preloading, true);
    load_start_slots(load, slots);
    load_drain(load);
    atomic_store(&load->preloading, false);
}

static void load_print(const struct load *load, double seconds, double cpu_us) {
    const struct histogram *h = &load->histogram;
    double ops = (double)load->operations;
    printf("{\"target\": \"%s\", \"mode\": \"%s\", \"op\": \"%s\", \"outstanding\": %" PRIu32
           ", \"keys\": %" PRIu32 ", \"value_size\": %" PRIu32
           ", \"seconds\": %.2f, \"ops\": %" PRIu64 ", \"ops_s\": %.0f, \"errors\": %" PRIu64
           ", \"missing\": %" PRIu64 ", ",
           load->config.target, load->config.mode, load->config.operation, load->config.outstanding,
           load->config.key_count, load->config.value_size, seconds, load->operations,
           seconds > 0 ? ops / seconds : 0.0, load->errors, load->missing);
    printf("\"mean_us\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.1f, \"client_cpu_us_per_op\": %.2f}\n",
           (double)histogram_mean(h) / 1e3, (double)histogram_percentile(h, 50) / 1e3,
           (double)histogram_percentile(h, 90) / 1e3, (double)histogram_percentile(h, 99) / 1e3,
           (double)histogram_percentile(h, 99.9) / 1e3, (double)h->ns_max / 1e3,
           ops > 0 ? cpu_us / ops : 0.0);
    (void)fflush(stdout);
}

static void load_run(struct load *load) {
    load_preload(load);
    load_start_slots(load, load->config.outstanding);
    load_sleep_ms(load->config.warmup_ms);
    double cpu_us = load_cpu_us();
    uint64_t begin_ns = program_now_ns();
    atomic_store(&load->measuring, true);
    load_sleep_ms(load->config.seconds * 1000);
    atomic_store(&load->measuring, false);
    double seconds = (double)(program_now_ns() - begin_ns) / 1e9;
    cpu_us = load_cpu_us() - cpu_us;
    atomic_store(&load->stopping, true);
    load_drain(load);
    load_print(load, seconds, cpu_us);
}

// --- Arguments ---

static const char load_usage[] =
    "usage: load --address HOST:PORT[,HOST:PORT...] [options]\n"
    "  --target lightcone|echo|etcd     what listens there (lightcone)\n"
    "  --op put|get|mixed|put2|pair|put10|get10   (put)\n"
    "  --mode batch|unary               how liblightcone sends (batch)\n"
    "  --outstanding N                  operations in flight (64)\n"
    "  --keys N  --value-size N         (100000, 128)\n"
    "  --seconds N  --warmup-ms N       (5, 500)\n"
    "  --read-percent N                 of mixed (90)\n"
    "  --keyspace NAME                  of lightcone (bench)\n"
    "  --preload                        put every key first\n"
    "  --via-gateway                    do not route to leaders\n"
    "  --region NAME                    where the client is: what has several leaders goes there\n";

enum load_option {
    OPTION_ADDRESS = 1,
    OPTION_TARGET,
    OPTION_OP,
    OPTION_MODE,
    OPTION_OUTSTANDING,
    OPTION_KEYS,
    OPTION_VALUE_SIZE,
    OPTION_SECONDS,
    OPTION_WARMUP,
    OPTION_READ_PERCENT,
    OPTION_KEYSPACE,
    OPTION_PRELOAD,
    OPTION_VIA_GATEWAY,
    OPTION_REGION
};

static bool load_option(struct load_config *config, int option, char *value) {
    switch (option) {
    case OPTION_ADDRESS:
        return program_addresses(value, LOAD_ADDRESSES_MAX, config->addresses,
                                 &config->address_count);
    case OPTION_TARGET:
        config->target = value;
        return true;
    case OPTION_OP:
        config->operation = value;
        return true;
    case OPTION_MODE:
        config->mode = value;
        return true;
    case OPTION_OUTSTANDING:
        return program_number(value, 1, 65536, &config->outstanding);
    case OPTION_KEYS:
        return program_number(value, LOAD_OPS_MAX, 100000000, &config->key_count);
    case OPTION_VALUE_SIZE:
        return program_number(value, 0, 1 << 20, &config->value_size);
    case OPTION_SECONDS:
        return program_number(value, 1, 86400, &config->seconds);
    case OPTION_WARMUP:
        return program_number(value, 0, 60000, &config->warmup_ms);
    case OPTION_READ_PERCENT:
        return program_number(value, 0, 100, &config->read_percent);
    case OPTION_KEYSPACE:
        config->keyspace = value;
        return true;
    case OPTION_REGION:
        config->region = value;
        return true;
    case OPTION_PRELOAD:
        config->preload = true;
        return true;
    case OPTION_VIA_GATEWAY:
        config->via_gateway = true;
        return true;
    default:
        return false;
    }
}

static bool load_is_one_of(const char *value, const char *const *words) {
    for (; *words != NULL; words++) {
        if (strcmp(value, *words) == 0) { return true; }
    }
    return false;
}

static bool load_arguments(int argc, char **argv, struct load_config *config) {
    static const struct option options[] = {
        {"address", required_argument, NULL, OPTION_ADDRESS},
        {"target", required_argument, NULL, OPTION_TARGET},
        {"op", required_argument, NULL, OPTION_OP},
        {"mode", required_argument, NULL, OPTION_MODE},
        {"outstanding", required_argument, NULL, OPTION_OUTSTANDING},
        {"keys", required_argument, NULL, OPTION_KEYS},
        {"value-size", required_argument, NULL, OPTION_VALUE_SIZE},
        {"seconds", required_argument, NULL, OPTION_SECONDS},
        {"warmup-ms", required_argument, NULL, OPTION_WARMUP},
        {"read-percent", required_argument, NULL, OPTION_READ_PERCENT},
        {"keyspace", required_argument, NULL, OPTION_KEYSPACE},
        {"preload", no_argument, NULL, OPTION_PRELOAD},
        {"via-gateway", no_argument, NULL, OPTION_VIA_GATEWAY},
        {"region", required_argument, NULL, OPTION_REGION},
        {NULL, 0, NULL, 0}};
    static const char *const targets[] = {"lightcone", "echo", "etcd", NULL};
    static const char *const operations[] = {"put",  "get",   "mixed", "put2",
                                             "pair", "put10", "get10", NULL};
    static const char *const modes[] = {"batch", "unary", NULL};
    int option = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!load_option(config, option, optarg)) { return false; }
    }
    return optind == argc && config->address_count > 0 && load_is_one_of(config->target, targets) &&
           load_is_one_of(config->operation, operations) && load_is_one_of(config->mode, modes);
}

int main(int argc, char **argv) {
    struct load *load = mem_alloc(sizeof(*load));
    load->config = (struct load_config){.target = "lightcone",
                                        .operation = "put",
                                        .mode = "batch",
                                        .keyspace = "bench",
                                        .outstanding = 64,
                                        .key_count = 100000,
                                        .value_size = 128,
                                        .seconds = 5,
                                        .warmup_ms = 500,
                                        .read_percent = 90};
    if (!load_arguments(argc, argv, &load->config)) {
        (void)fputs(load_usage, stderr);
        return 2;
    }
    prng_init(&load->prng, 1);
    histogram_init(&load->histogram);
    load->value = mem_alloc(load->config.value_size + 1);
    memset(load->value, 'v', load->config.value_size);
    load->started_ns = mem_alloc_array(load->config.outstanding, sizeof(uint64_t));
    bool is_lightcone = strcmp(load->config.target, "lightcone") == 0;
    load->driver = is_lightcone ? &load_lightcone : &load_grpc;
    if (!load->driver->open(load, &load->config)) { return 1; }
    load_run(load);
    load->driver->close(load);
    bool failed = load->operations == 0;
    mem_free(load->started_ns);
    mem_free(load->value);
    mem_free(load);
    return failed ? 1 : 0;
}
