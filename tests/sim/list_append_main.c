// SPDX-License-Identifier: Apache-2.0
// list_append FILE judges a history: the names of the anomalies that the model forbids, one a line,
// sorted; --all adds what it allows, --explain an example of each. The exit code is 1 when any was
// found, 2 when the file cannot be read.
#include "dataplane/base/err.h"
#include "dataplane/base/mem.h"
#include "tests/sim/list_append.h"
#include "tests/sim/list_append_json.h"

#include <popt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TEXT_SIZE = 1 << 16, GOOD = 0, FORBIDDEN = 1, USAGE = 2 };

struct options {
    char *model;
    int final_reads;
    int all;
    int explain;
    int timing;
};

static bool parse_model(const char *name, enum list_append_model *out) {
    for (int i = 0; i < LIST_APPEND_MODEL_COUNT; i++) {
        if (name != NULL && strcmp(name, list_append_model_name((enum list_append_model)i)) != 0) {
            continue;
        }
        *out = (enum list_append_model)i;
        return true;
    }
    return false;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void print_found(uint64_t found) {
    const char *names[LIST_APPEND_CLASS_COUNT];
    size_t count = 0;
    for (int i = 0; i < LIST_APPEND_CLASS_COUNT; i++) {
        enum list_append_class class = (enum list_append_class)i;
        if ((found & LIST_APPEND_BIT(i)) != 0) { names[count++] = list_append_class_name(class); }
    }
    qsort(names, count, sizeof(names[0]), by_name);
    for (size_t i = 0; i < count; i++) {
        (void)printf("%s\n", names[i]);
    }
}

static double milliseconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int judge(const struct options *options, const char *path) {
    struct list_append_history history;
    struct list_append_config config = {.final_reads = options->final_reads != 0};
    struct err err = {0};
    if (!parse_model(options->model, &config.model)) {
        (void)fprintf(stderr, "unknown model %s\n", options->model);
        return USAGE;
    }
    list_append_init(&history);
    int code = USAGE;
    char *text = mem_alloc(TEXT_SIZE);
    if (list_append_read_json(&history, path, &err) != STATUS_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        goto out;
    }
    struct list_append_result result;
    double begin = milliseconds();
    bool good = list_append_check(&history, &config, &result, text, TEXT_SIZE);
    double took = milliseconds() - begin;
    print_found(options->all ? result.found : result.forbidden);
    if (options->explain) { (void)printf("%s", text); }
    if (options->timing) {
        (void)fprintf(stderr, "%u transactions, %.3f ms\n", history.txn_count, took);
    }
    code = good ? GOOD : FORBIDDEN;
out:
    mem_free(text);
    list_append_deinit(&history);
    return code;
}

int main(int argc, const char **argv) {
    struct options options = {0};
    struct poptOption table[] = {
        {"model", 'm', POPT_ARG_STRING, &options.model, 0, "strict-serializable (the default), ...",
         "MODEL"},
        {"final-reads", 'f', POPT_ARG_NONE, &options.final_reads, 0,
         "the history ends with quiet reads of every key", NULL},
        {"all", 'a', POPT_ARG_NONE, &options.all, 0, "also what the model allows", NULL},
        {"explain", 'e', POPT_ARG_NONE, &options.explain, 0, "show an example of each", NULL},
        {"timing", 't', POPT_ARG_NONE, &options.timing, 0, "how long it took, on stderr", NULL},
        POPT_AUTOHELP POPT_TABLEEND};
    poptContext context = poptGetContext("list_append", argc, argv, table, 0);
    poptSetOtherOptionHelp(context, "[OPTIONS] FILE");
    int parsed = poptGetNextOpt(context);
    const char *path = poptGetArg(context);
    int code = USAGE;
    if (parsed < -1 || path == NULL) {
        poptPrintUsage(context, stderr, 0);
    } else {
        code = judge(&options, path);
    }
    poptFreeContext(context);
    free(options.model);  // lint: allow allocation: popt's
    return code;
}
