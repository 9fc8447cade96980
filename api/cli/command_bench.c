// SPDX-License-Identifier: Apache-2.0
// Prepares the keyspace, loads the keys that reads will ask for, runs the loop, reports.
#include "api/cli/bench.h"
#include "api/cli/commands.h"
#include "api/cli/journal.h"
#include "api/cli/pipeline.h"
#include "api/cli/progress.h"
#include "api/cli/session.h"
#include "api/cli/text.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <inttypes.h>
#include <string.h>

enum { BENCH_LOAD_OUTSTANDING = 512, BENCH_RETRY_MS = 30000, BENCH_SHARDS = 8 };

static const char *const op_names[BENCH_OP_COUNT] = {"put", "get", "mixed"};

static enum bench_op op_of(const struct cli *cli) {
    const char *name = args_text(&cli->args, "op");
    for (int i = 0; i < BENCH_OP_COUNT; i++) {
        if (strcmp(name, op_names[i]) == 0) { return (enum bench_op)i; }
    }
    ASSERT(false);
    return BENCH_PUT;
}

// --- The keyspace

static enum status create_keyspace(struct session *session, const char *name, struct err *err) {
    Lightcone__V1__KeyspaceCreateRequest request = LIGHTCONE__V1__KEYSPACE_CREATE_REQUEST__INIT;
    Lightcone__V1__KeyspaceCreateResponse *response = NULL;
    request.name = (char *)name;
    request.shard_count = BENCH_SHARDS;
    enum status st = lc_admin_keyspace_create(session->client, 0, &request, &response, err);
    lightcone__v1__keyspace_create_response__free_unpacked(response, NULL);
    // Two benches that start together: whoever comes second finds it.
    return st == STATUS_ALREADY_EXISTS ? STATUS_OK : st;
}

static enum cli_exit find_keyspace(struct cli *cli, struct session *session) {
    const char *name = args_text(&cli->args, "keyspace");
    struct err err = {0};
    enum status st = lc_keyspace(session->client, name, &session->keyspace, &err);
    if (st == STATUS_NOT_FOUND) {
        err = (struct err){0};
        st = create_keyspace(session, name, &err);
        if (st == STATUS_OK) {
            cli_note(cli, "created keyspace %s with %d shards", name, BENCH_SHARDS);
            st = lc_keyspace(session->client, name, &session->keyspace, &err);
        }
    }
    return st == STATUS_OK ? CLI_OK : cli_fail_err(cli, &err, "lightcone keyspace list");
}

static enum cli_exit load(struct cli *cli, const struct bench *bench) {
    struct pipeline_options options = {
        .client = bench->options.client,
        .keyspace = bench->options.keyspace,
        .outstanding_max = BENCH_LOAD_OUTSTANDING,
        .timeout_ms = bench->options.timeout_ms,
        .retry_ms = BENCH_RETRY_MS,
    };
    struct pipeline *pipeline = pipeline_create(&options);
    struct progress progress;
    struct prng prng;
    bool ok = true;
    progress_init(&progress, cli, "keys loaded");
    prng_init(&prng, 2);
    for (uint64_t i = 0; i < bench->options.keys && ok; i++) {
        uint8_t key[BENCH_KEY_SIZE];
        bench_key(i, key);
        ok = pipeline_put(pipeline, slice_make(key, sizeof(key)), bench_value(bench, &prng), i);
        progress_show(&progress, i, (uint32_t)(i * 1000 / bench->options.keys));
    }
    struct pipeline_failure failure = {0};
    ok = pipeline_finish(pipeline, &failure);
    progress_end(&progress);
    pipeline_destroy(pipeline);
    if (ok) { return CLI_OK; }
    err_wrap(&failure.err, "loading keys");
    return cli_fail_err(cli, &failure.err, "lightcone cluster status");
}

// --- Reports

static const double percentiles[] = {50, 90, 99, 99.9};
static const char *const percentile_names[] = {"p50_ns", "p90_ns", "p99_ns", "p999_ns"};
enum { PERCENTILE_COUNT = sizeof(percentiles) / sizeof(percentiles[0]) };

static json_t *histogram_json(const struct histogram *histogram) {
    json_t *object = json_object();
    cli_json_u64(object, "operations", histogram->count);
    cli_json_u64(object, "mean_ns", histogram_mean(histogram));
    for (size_t i = 0; i < PERCENTILE_COUNT; i++) {
        cli_json_u64(object, percentile_names[i], histogram_percentile(histogram, percentiles[i]));
    }
    cli_json_u64(object, "max_ns", histogram->ns_max);
    return object;
}

static double rate(const struct bench_result *result, uint64_t operations) {
    return (double)operations / ((double)result->elapsed_ns / 1e9);
}

static void print_json(struct cli *cli, const struct bench *bench) {
    const struct bench_result *result = &bench->result;
    uint64_t operations = result->put.count + result->get.count;
    json_t *object = json_object();
    cli_json_string(object, "op", op_names[bench->options.op]);
    cli_json_string(object, "mode", args_text(&cli->args, "mode"));
    cli_json_string(object, "keyspace", args_text(&cli->args, "keyspace"));
    cli_json_u64(object, "outstanding", bench->options.outstanding);
    cli_json_u64(object, "keys", bench->options.keys);
    cli_json_u64(object, "value_size", bench->options.value_size);
    (void)json_object_set_new(object, "seconds", json_real((double)result->elapsed_ns / 1e9));
    cli_json_u64(object, "operations", operations);
    (void)json_object_set_new(object, "operations_per_second", json_real(rate(result, operations)));
    cli_json_u64(object, "aborted", result->aborted);
    cli_json_u64(object, "unknown", result->unknown);
    cli_json_u64(object, "longest_pause_ns", result->longest_pause_ns);
    (void)json_object_set_new(object, "put", histogram_json(&result->put));
    (void)json_object_set_new(object, "get", histogram_json(&result->get));
    cli_print_json(cli, object);
}

static void add_row(struct table *table, const char *name, const struct bench_result *result,
                    const struct histogram *histogram) {
    char text[TEXT_SIZE];
    if (histogram->count == 0) { return; }
    table_cell(table, "%s", name);
    table_cell(table, "%s", text_format_count(histogram->count, text));
    table_cell(table, "%s", text_format_count((uint64_t)rate(result, histogram->count), text));
    for (size_t i = 0; i < PERCENTILE_COUNT; i++) {
        uint64_t ns = histogram_percentile(histogram, percentiles[i]);
        table_cell(table, "%s", text_format_duration(ns, text));
    }
    table_cell(table, "%s", text_format_duration(histogram->ns_max, text));
}

static void print_table(struct cli *cli, const struct bench *bench) {
    static const struct table_column columns[] = {
        {.title = "OP"},
        {.title = "COUNT", .right = true},
        {.title = "PER SECOND", .right = true},
        {.title = "P50", .right = true},
        {.title = "P90", .right = true},
        {.title = "P99", .right = true},
        {.title = "P99.9", .right = true},
        {.title = "MAX", .right = true},
    };
    const struct bench_result *result = &bench->result;
    char text[TEXT_SIZE];
    struct table table;
    table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
    add_row(&table, "put", result, &result->put);
    add_row(&table, "get", result, &result->get);
    table_print(&table, cli->out, cli_style(cli));
    table_deinit(&table);
    (void)fprintf(cli->out,
                  "\n%" PRIu32 " in flight, values of %" PRIu32 " bytes, %s mode; longest pause "
                  "%s\n",
                  bench->options.outstanding, bench->options.value_size,
                  args_text(&cli->args, "mode"),
                  text_format_duration(result->longest_pause_ns, text));
    if (result->aborted + result->unknown > 0) {
        (void)fprintf(cli->out,
                      "%" PRIu64 " aborted, %" PRIu64 " with unknown outcome; first: %s\n",
                      result->aborted, result->unknown, result->first_error.message);
    }
}

static enum cli_exit report(struct cli *cli, const struct bench *bench) {
    const struct bench_result *result = &bench->result;
    if (result->put.count + result->get.count == 0) {
        struct err err = result->first_error;
        if (err.status == STATUS_OK) {
            (void)err_set(&err, STATUS_DEADLINE_EXCEEDED, "no request was answered in time");
        }
        return cli_fail_err(cli, &err, "lightcone cluster status");
    }
    if (cli->format == CLI_JSON) {
        print_json(cli, bench);
    } else {
        print_table(cli, bench);
    }
    return CLI_OK;
}

// --- Running

static void show(void *ctx, uint64_t operations, uint32_t permille) {
    progress_show(ctx, operations, permille);
}

static enum cli_exit measure(struct cli *cli, const struct session *session,
                             struct journal *journal) {
    struct progress progress;
    struct bench *bench = mem_alloc(sizeof(*bench));
    progress_init(&progress, cli, "operations");
    bench_init(bench, &(struct bench_options){
                          .client = session->client,
                          .keyspace = session->keyspace,
                          .op = op_of(cli),
                          .outstanding = (uint32_t)args_number(&cli->args, "outstanding"),
                          .keys = args_number(&cli->args, "keys"),
                          .unique = args_flag(&cli->args, "unique"),
                          .journal = journal,
                          .value_size = (uint32_t)args_number(&cli->args, "value-size"),
                          .timeout_ms = cli->timeout_ms,
                          .warmup_ms = args_number(&cli->args, "warmup") * 1000,
                          .measured_ms = args_number(&cli->args, "seconds") * 1000,
                          .progress = show,
                          .ctx = &progress,
                      });
    enum cli_exit exit = bench->options.op == BENCH_PUT ? CLI_OK : load(cli, bench);
    if (exit == CLI_OK) {
        bench_run(bench);
        progress_end(&progress);
        exit = report(cli, bench);
    }
    bench_deinit(bench);
    mem_free(bench);
    return exit;
}

static enum cli_exit run_bench(struct cli *cli, const struct session *session) {
    const char *path = args_text(&cli->args, "journal");
    if (path == NULL) { return measure(cli, session, NULL); }
    struct journal journal;
    struct err err = {0};
    if (journal_create(&journal, path, &err) != STATUS_OK) { return cli_fail_err(cli, &err, NULL); }
    enum cli_exit exit = measure(cli, session, &journal);
    if (journal_close(&journal, &err) != STATUS_OK) { return cli_fail_err(cli, &err, NULL); }
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    bool puts_only = strcmp(args_text(&cli->args, "op"), "put") == 0;
    if (!puts_only && (args_flag(&cli->args, "unique") || args_has(&cli->args, "journal"))) {
        return cli_usage(cli, "--unique and --journal go with --op put");
    }
    if (args_has(&cli->args, "journal") && !args_flag(&cli->args, "unique")) {
        return cli_usage(cli, "--journal goes with --unique: a later put would replace an earlier");
    }
    bool unary = strcmp(args_text(&cli->args, "mode"), "unary") == 0;
    struct session_options options = {
        .mode = unary ? LC_UNARY : LC_BATCH,
        .route = args_flag(&cli->args, "gateway") ? SESSION_GATEWAY : SESSION_LEADERS,
        .outstanding_max = BENCH_OUTSTANDING_MAX + BENCH_LOAD_OUTSTANDING,
    };
    struct session session;
    enum cli_exit exit = session_open(cli, &options, &session);
    if (exit != CLI_OK) { return exit; }
    exit = find_keyspace(cli, &session);
    if (exit == CLI_OK) { exit = run_bench(cli, &session); }
    session_close(&session);
    return exit;
}

static const struct args_option options_all[] = {
    {.name = "op",
     .kind = ARGS_CHOICE,
     .placeholder = "put|get|mixed",
     .help = "what to do; mixed is half and half",
     .fallback = "put",
     .choices = "put|get|mixed"},
    {.name = "outstanding",
     .kind = ARGS_NUMBER,
     .placeholder = "N",
     .help = "requests in flight",
     .fallback = "64",
     .number_min = 1,
     .number_max = BENCH_OUTSTANDING_MAX},
    {.name = "seconds",
     .kind = ARGS_NUMBER,
     .placeholder = "S",
     .help = "measured time",
     .fallback = "10",
     .number_min = 1,
     .number_max = 86400},
    {.name = "warmup",
     .kind = ARGS_NUMBER,
     .placeholder = "S",
     .help = "seconds before that do not count",
     .fallback = "1",
     .number_max = 3600},
    {.name = "keys",
     .kind = ARGS_NUMBER,
     .placeholder = "N",
     .help = "different keys; get and mixed load them first",
     .fallback = "10k",
     .number_min = 1,
     .number_max = 1000000000},
    {.name = "value-size",
     .kind = ARGS_NUMBER,
     .placeholder = "BYTES",
     .help = "of the values, random bytes",
     .fallback = "100",
     .number_max = BENCH_VALUE_SIZE_MAX},
    {.name = "mode",
     .kind = ARGS_CHOICE,
     .placeholder = "batch|unary",
     .help = "requests gathered on streams, or a gRPC call each",
     .fallback = "batch",
     .choices = "batch|unary"},
    {.name = "gateway",
     .kind = ARGS_FLAG,
     .help = "everything through the first node, which forwards; else to the leaders"},
    {.name = "unique",
     .kind = ARGS_FLAG,
     .help = "every put to a key of its own, different in every run (--op put)"},
    {.name = "journal",
     .kind = ARGS_TEXT,
     .placeholder = "FILE",
     .help = "a line for each acknowledged put, for kv verify (--unique)"},
    {.name = "keyspace",
     .kind = ARGS_TEXT,
     .placeholder = "NAME",
     .help = "created with 8 shards when it is missing",
     .fallback = "bench"},
};

const struct cli_command commands_bench = {
    .noun = "bench",
    .operands = "",
    .summary = "measure latency and throughput",
    .details =
        "A closed loop: each answer starts the next request. The longest pause tells what the\n"
        "percentiles of a closed loop hide.",
    .examples = "  lightcone bench --op put --outstanding 64\n"
                "  lightcone bench --op get --outstanding 512 --seconds 30 --format json\n"
                "  lightcone bench --op mixed --mode unary --value-size 1000 --keys 100k\n",
    .options = {options_all, sizeof(options_all) / sizeof(options_all[0])},
    .run = run,
};
