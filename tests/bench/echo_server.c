// SPDX-License-Identifier: Apache-2.0
// A unary echo on the node's own gRPC server and nothing behind it: the floor under every unary
// call, measured in the same run as the rest. On SIGUSR1 it prints the CPU time per call since the
// last time; SIGTERM or SIGINT ends it.
#include "api/rpc/rpc.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void echo_start(void *ctx, struct rpc_call *call, struct slice request) {
    (void)ctx;
    rpc_reply(call, request);
}

static const struct rpc_handler echo_handler = {.start = echo_start};

static double echo_cpu_us(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) { return 0; }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void echo_report(const struct rpc_server *server, double *cpu_us, uint64_t *calls) {
    struct rpc_stats stats;
    rpc_stats(server, &stats);
    double now_us = echo_cpu_us();
    uint64_t count = stats.calls - *calls;
    printf("{\"calls\": %llu, \"cpu_us_per_call\": %.2f}\n", (unsigned long long)count,
           count == 0 ? 0.0 : (now_us - *cpu_us) / (double)count);
    (void)fflush(stdout);
    *cpu_us = now_us;
    *calls = stats.calls;
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: %s ADDRESS [POLLERS]\n", argv[0]);
        return 2;
    }
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGUSR1);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);

    struct rpc_config config = {.address = argv[1]};
    if (argc == 3) { config.poller_count = (uint32_t)strtoul(argv[2], NULL, 10); }
    struct rpc_server *server = NULL;
    struct err err = {0};
    if (rpc_create(&config, &server, &err) != STATUS_OK) {
        (void)fprintf(stderr, "echo_server: %s\n", err.message);
        return 1;
    }
    struct rpc_method method = {
        .path = "/lightcone.bench.Echo/Echo", .kind = RPC_UNARY, .handler = &echo_handler};
    rpc_register(server, &method);
    rpc_start(server);
    printf("{\"port\": %u}\n", rpc_port(server));
    (void)fflush(stdout);

    double cpu_us = echo_cpu_us();
    uint64_t calls = 0;
    int signal = 0;
    while (sigwait(&signals, &signal) == 0 && signal == SIGUSR1) {
        echo_report(server, &cpu_us, &calls);
    }
    echo_report(server, &cpu_us, &calls);
    rpc_stop(server, 100);
    rpc_destroy(server);
    return 0;
}
