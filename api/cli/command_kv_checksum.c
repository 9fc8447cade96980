// SPDX-License-Identifier: Apache-2.0
// Reads through the node that is asked, even when it leads nothing: the point is to compare what
// different gateways see.
#include "api/cli/commands.h"
#include "api/cli/digest.h"
#include "api/cli/progress.h"
#include "api/cli/range.h"
#include "api/cli/text.h"

#include <inttypes.h>

struct summing {
    struct digest digest;
    struct progress progress;
};

static enum cli_exit add_row(void *ctx, const struct lc_row *row) {
    struct summing *self = ctx;
    digest_add(&self->digest, row->key, row->value);
    progress_show(&self->progress, self->digest.rows, 0);
    return CLI_OK;
}

static void report(struct cli *cli, const struct digest *digest) {
    char text[DIGEST_TEXT_SIZE];
    digest_format(digest, text);
    if (cli->format == CLI_TABLE) {
        (void)fprintf(cli->out, "%s  %" PRIu64 " rows  %" PRIu64 " bytes\n", text, digest->rows,
                      digest->bytes);
        return;
    }
    json_t *object = json_object();
    cli_json_string(object, "keyspace", args_operand(&cli->args, 0));
    cli_json_string(object, "checksum", text);
    cli_json_u64(object, "rows", digest->rows);
    cli_json_u64(object, "bytes", digest->bytes);
    cli_print_json(cli, object);
}

static enum cli_exit sum(struct cli *cli, const struct range *range) {
    struct session session;
    enum cli_exit exit =
        session_open(cli,
                     &(struct session_options){.route = SESSION_GATEWAY,
                                               .keyspace = args_operand(&cli->args, 0)},
                     &session);
    if (exit != CLI_OK) { return exit; }
    struct summing summing;
    digest_init(&summing.digest);
    progress_init(&summing.progress, cli, "rows");
    struct range_walk walk = {.row = add_row, .ctx = &summing};
    exit = range_walk(cli, &session, range, &walk);
    progress_end(&summing.progress);
    if (exit == CLI_OK) { report(cli, &summing.digest); }
    session_close(&session);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    struct range range;
    enum cli_exit exit = range_init(cli, &range);
    if (exit != CLI_OK) { return exit; }
    exit = sum(cli, &range);
    range_deinit(&range);
    return exit;
}

static const struct args_option options[] = {RANGE_OPTIONS};

const struct cli_command commands_kv_checksum = {
    .noun = "kv",
    .verb = "checksum",
    .operands = "KEYSPACE",
    .summary = "count and checksum of keys and values, in order",
    .details =
        "CRC32C and xxHash 64 over all rows: equal checksums, equal contents. Everything is\n"
        "read through the node of --address. Rows that are written meanwhile may or may not\n"
        "be counted.",
    .examples = "  lightcone kv checksum packages\n"
                "  lightcone --address 127.0.0.1:7403 kv checksum packages --format json\n",
    .operand_min = 1,
    .operand_max = 1,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
