// SPDX-License-Identifier: Apache-2.0
// main.c - lightconed: arguments, configuration, and a wait for the signal to stop.
//
// SIGTERM and SIGINT are blocked in every thread and taken by sigwait here, so that stopping is
// ordinary code. SIGPIPE is ignored: a closed
// socket is an error of its write.

#include "api/daemon/daemon.h"
#include "api/node/config.h"
#include "dataplane/base/mem.h"
#include "dataplane/obs/log.h"

#include <popt.h>

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, DEV_START_MS = 10000 };

struct arguments {
    char *config;
    char *data;
    char *rpc;
    char *peer;
    int version;
    int pollers;
    bool dev;
};

static const char USAGE[] =
    "usage: lightconed --config node.yaml\n"
    "       lightconed dev [--data DIR] [--rpc HOST:PORT] [--peer HOST:PORT]\n"
    "\n"
    "lightconed is a node of a Lightcone cluster. `dev` needs no configuration: one process, one\n"
    "node, on loopback, with its data in a temporary directory that is removed at the end, unless\n"
    "--data names one.\n"
    "\n"
    "  lightconed --config /etc/lightcone/node.yaml\n"
    "  lightconed dev --data ./data        # keeps the data\n";

static int usage(const char *what, const char *argument) {
    (void)fprintf(stderr, "lightconed: %s%s%s\n%s", what, argument != NULL ? ": " : "",
                  argument != NULL ? argument : "", USAGE);
    return EXIT_USAGE;
}

// 0 when parsed; otherwise an exit code, negative for "done, all well".
static int parse(int argc, const char **argv, struct arguments *out) {
    int help = 0;
    struct poptOption options[] = {
        {"config", 'c', POPT_ARG_STRING, &out->config, 0, "configuration of the node", "FILE"},
        {"data", 'd', POPT_ARG_STRING, &out->data, 0, "data directory (dev)", "DIR"},
        {"rpc", 0, POPT_ARG_STRING, &out->rpc, 0, "where clients dial (dev)", "HOST:PORT"},
        {"peer", 0, POPT_ARG_STRING, &out->peer, 0, "where nodes dial (dev)", "HOST:PORT"},
        {"pollers", 0, POPT_ARG_INT, &out->pollers, 0, "threads that serve clients", "N"},
        {"version", 0, POPT_ARG_NONE, &out->version, 0, "print the version", NULL},
        {"help", 'h', POPT_ARG_NONE, &help, 0, "print this", NULL},
        POPT_TABLEEND,
    };
    poptContext context = poptGetContext("lightconed", argc, argv, options, 0);
    int code = poptGetNextOpt(context);
    int result = 0;
    if (code < -1) {
        result = usage(poptStrerror(code), poptBadOption(context, 0));
    } else if (help != 0) {
        (void)fputs(USAGE, stdout);
        result = -1;
    }
    const char *verb = poptGetArg(context);
    out->dev = verb != NULL && strcmp(verb, "dev") == 0;
    if (result == 0 && verb != NULL && !out->dev) { result = usage("unknown argument", verb); }
    if (result == 0 && out->version == 0 && !out->dev && out->config == NULL) {
        result = usage("--config is missing", NULL);
    }
    if (result == 0 && out->dev && out->config != NULL) {
        result = usage("dev takes no --config", NULL);
    }
    (void)poptFreeContext(context);
    return result;
}

static const char *or_null(const char *text) {
    return text[0] == '\0' ? NULL : text;
}

static void options_from(const struct node_config *config, struct daemon_options *out) {
    *out = (struct daemon_options){
        .rpc_listen = config->listen_rpc,
        .rpc_advertise = or_null(config->advertise_rpc),
        .dev = config->dev,
        .commit_size_max = config->max_commit_bytes,
        .node =
            {
                .data_dir = config->data_dir,
                .peer_listen = config->listen_peer,
                .peer_advertise = or_null(config->advertise_peer),
                .join_count = config->join_count,
                .region = config->region,
                .zone = config->zone,
                .latitude_microdegrees = config->latitude_microdegrees,
                .longitude_microdegrees = config->longitude_microdegrees,
                .insecure = config->insecure,
                .cache_size = config->cache_mb << 20,
                .write_buffer_size = config->write_buffer_mb << 20,
                .support_duration_ms = config->support_duration_ms,
                .election_ms_min = config->election_timeout_ms,
                .clock_lead_ms_max = config->clock_max_lead_ms,
                .disk = {.slow_ns = config->disk_slow_ms * 1000000,
                         .sick_ns = config->disk_sick_ms * 1000000,
                         .fail_ns = config->disk_stop_ms * 1000000,
                         .recover_ns = config->disk_recover_ms * 1000000},
                .disk_reserve_size = config->disk_reserve_mb << 20,
                .calls_max = (uint32_t)config->max_inflight_calls,
                .shard_bytes_max = config->max_inflight_bytes,
            },
    };
    for (uint32_t i = 0; i < config->join_count; i++) {
        out->node.join[i] = config->join[i];
    }
}

static void copy(char *out, size_t size, const char *text) {
    (void)snprintf(out, size, "%s", text);
}

// One node, no configuration: the data directory is a new temporary one unless it is named.
static enum status dev_config(const struct arguments *arguments, struct node_config *config,
                              bool *out_temporary, struct err *err) {
    node_config_defaults(config);
    config->dev = true;
    copy(config->region, sizeof(config->region), "dev");
    if (arguments->rpc != NULL) {
        copy(config->listen_rpc, sizeof(config->listen_rpc), arguments->rpc);
    }
    copy(config->listen_peer, sizeof(config->listen_peer),
         arguments->peer != NULL ? arguments->peer : "127.0.0.1:0");
    *out_temporary = arguments->data == NULL;
    if (arguments->data != NULL) {
        copy(config->data_dir, sizeof(config->data_dir), arguments->data);
        return node_config_check(config, err);
    }
    const char *base = getenv("TMPDIR");
    (void)snprintf(config->data_dir, sizeof(config->data_dir), "%s/lightcone-dev-XXXXXX",
                   base != NULL ? base : "/tmp");
    if (mkdtemp(config->data_dir) == NULL) {
        return err_set(err, STATUS_IO, "cannot make a directory like %s", config->data_dir);
    }
    return node_config_check(config, err);
}

static void wait_for_signal(const sigset_t *signals) {
    int number = 0;
    (void)sigwait(signals, &number);
    LOG_INFO("daemon.stopping", LOG_I64("signal", number));
}

static void announce(const struct node_config *config, const struct daemon *daemon,
                     bool temporary) {
    (void)printf(
        "lightconed: one node, insecure, on loopback; clients dial 127.0.0.1:%u; data in %s%s\n",
        daemon_rpc_port(daemon), config->data_dir, temporary ? " (removed at the end)" : "");
    (void)fflush(stdout);
}

static int run(const struct arguments *arguments, const struct node_config *config,
               bool temporary) {
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    log_set_level(config->log_level);
    struct daemon_options options;
    options_from(config, &options);
    options.node.alone = arguments->dev;
    options.poller_count = arguments->pollers > 0 ? (uint32_t)arguments->pollers : 0;
    struct daemon *daemon = NULL;
    struct err err = {0};
    if (daemon_start(&options, &daemon, &err) != STATUS_OK) {
        (void)fprintf(stderr, "lightconed: %s\n", err.message);
        return EXIT_FAILED;
    }
    if (arguments->dev && daemon_wait_usable(daemon, DEV_START_MS)) {
        announce(config, daemon, temporary);
    }
    wait_for_signal(&signals);
    daemon_stop(daemon);
    return EXIT_SUCCESS;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int serve(const struct arguments *arguments) {
    int code = EXIT_FAILED;
    struct node_config *config = mem_alloc(sizeof(*config));
    struct err err = {0};
    bool temporary = false;
    enum status st = arguments->dev ? dev_config(arguments, config, &temporary, &err)
                                    : node_config_load(arguments->config, config, &err);
    if (st != STATUS_OK) {
        (void)fprintf(stderr, "lightconed: %s\n", err.message);
    } else {
        code = run(arguments, config, temporary);
    }
    if (temporary) { (void)nftw(config->data_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }
    mem_free(config);
    return code;
}

int main(int argc, const char **argv) {
    struct arguments arguments = {0};
    int code = parse(argc, argv, &arguments);
    if (code < 0) {
        code = EXIT_SUCCESS;
    } else if (code == 0 && arguments.version != 0) {
        (void)puts("lightconed 0.1");
    } else if (code == 0) {
        code = serve(&arguments);
    }
    free(arguments.config);  // lint: allow allocation: made by popt
    free(arguments.data);    // lint: allow allocation: made by popt
    free(arguments.rpc);     // lint: allow allocation: made by popt
    free(arguments.peer);    // lint: allow allocation: made by popt
    return code;
}
