// SPDX-License-Identifier: Apache-2.0
// Rows are printed as they come: a scan may be longer than memory, in JSON too.
#include "api/cli/commands.h"
#include "api/cli/range.h"
#include "api/cli/text.h"

#include <inttypes.h>

enum scan_form { SCAN_LINES, SCAN_RAW, SCAN_JSON };

struct printing {
    struct cli *cli;
    enum scan_form form;
    bool keys_only;
    uint64_t rows;
};

static void print_line(struct printing *self, const struct lc_row *row) {
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    text_escape(&text, row->key, TEXT_LINE);
    if (!self->keys_only) {
        text_add_string(&text, "\t");
        text_escape(&text, row->value, TEXT_LINE);
    }
    text_add_string(&text, "\n");
    (void)fwrite(text.data, 1, text.size, self->cli->out);
    buf_deinit(&text);
}

static void print_raw(struct printing *self, const struct lc_row *row) {
    FILE *out = self->cli->out;
    (void)fwrite(row->key.data, 1, row->key.size, out);
    if (!self->keys_only) {
        (void)fputc('\t', out);
        (void)fwrite(row->value.data, 1, row->value.size, out);
    }
    (void)fputc('\n', out);
}

static void print_json(struct printing *self, const struct lc_row *row) {
    json_t *object = json_object();
    cli_json_bytes(object, "key", row->key);
    if (!self->keys_only) { cli_json_bytes(object, "value", row->value); }
    cli_json_timestamp(object, "version", row->version);
    (void)fputs(self->rows == 0 ? "\n" : ",\n", self->cli->out);
    (void)json_dumpf(object, self->cli->out, JSON_COMPACT);
    json_decref(object);
}

static enum cli_exit print_row(void *ctx, const struct lc_row *row) {
    struct printing *self = ctx;
    switch (self->form) {
    case SCAN_LINES:
        print_line(self, row);
        break;
    case SCAN_RAW:
        print_raw(self, row);
        break;
    case SCAN_JSON:
        print_json(self, row);
        break;
    }
    self->rows++;
    // A reader that went away (head) ends the scan.
    return cli_is_broken(self->cli) ? CLI_FAILED : CLI_OK;
}

// The rows are members of one object, which is valid only when the scan came to its end.
static void begin(struct printing *self) {
    if (self->form == SCAN_JSON) { (void)fputs("{\"rows\":[", self->cli->out); }
}

static void end(struct printing *self, const struct session *session,
                const struct range_walk *walk) {
    if (self->form != SCAN_JSON) {
        cli_note(self->cli, "%" PRIu64 " rows", self->rows);
        read_options_note(self->cli, session, &walk->certificate);
        return;
    }
    (void)fprintf(self->cli->out,
                  "%s],\"row_count\":%" PRIu64 ",\"certificate\":", self->rows == 0 ? "" : "\n",
                  self->rows);
    json_t *certificate =
        self->rows == 0 ? json_null() : session_certificate_json(&walk->certificate);
    (void)json_dumpf(certificate, self->cli->out, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(certificate);
    (void)fprintf(self->cli->out, ",\"session_token\":\"%" PRIu64 "\"}\n",
                  lc_session_token(session->client));
}

static enum cli_exit scan(struct cli *cli, const struct range *range,
                          const struct read_options *read) {
    struct session session;
    enum cli_exit exit = session_open(
        cli, &(struct session_options){.keyspace = args_operand(&cli->args, 0)}, &session);
    if (exit != CLI_OK) { return exit; }
    bool raw = args_flag(&cli->args, "raw");
    struct printing printing = {
        .cli = cli,
        .form = cli->format == CLI_JSON ? SCAN_JSON
                : raw                   ? SCAN_RAW
                                        : SCAN_LINES,
        .keys_only = args_flag(&cli->args, "keys-only"),
    };
    struct range_walk walk = {
        .limit = args_number(&cli->args, "limit"),
        .reverse = args_flag(&cli->args, "reverse"),
        .keys_only = printing.keys_only,
        .read = *read,
        .row = print_row,
        .ctx = &printing,
    };
    begin(&printing);
    exit = range_walk(cli, &session, range, &walk);
    if (exit == CLI_OK) { end(&printing, &session, &walk); }
    session_close(&session);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    struct range range;
    struct read_options read;
    enum cli_exit exit = read_options_take(cli, &read);
    if (exit == CLI_OK && read.consistency == LC_STRICT) {
        exit = cli_usage(cli, "--consistency strict is for single keys; `at` shows one instant");
    }
    if (exit == CLI_OK) { exit = range_init(cli, &range); }
    if (exit != CLI_OK) { return exit; }
    exit = scan(cli, &range, &read);
    range_deinit(&range);
    return exit;
}

static const struct args_option options[] = {
    RANGE_OPTIONS,
    {.name = "limit",
     .kind = ARGS_NUMBER,
     .placeholder = "N",
     .help = "at most so many rows",
     .number_min = 1,
     .number_max = UINT64_MAX - 1},
    {.name = "reverse", .kind = ARGS_FLAG, .help = "from the end down to the start"},
    {.name = "raw", .kind = ARGS_FLAG, .help = "write the bytes of keys and values as they are"},
    {.name = "keys-only", .kind = ARGS_FLAG, .help = "leave the values out"},
    READ_OPTIONS,
};

const struct cli_command commands_kv_scan = {
    .noun = "kv",
    .verb = "scan",
    .operands = "KEYSPACE",
    .summary = "print rows in key order",
    .details =
        "A row a line: key, tab, value, with control characters escaped; --raw writes bytes.\n"
        "Each page of a long scan is a snapshot of its own, unless --at names one for all.",
    .examples = "  lightcone kv scan packages --prefix lib --limit 5\n"
                "  lightcone kv scan users --start 40 --end 50 --keys-only\n"
                "  lightcone kv scan users --reverse --limit 1 --format json\n"
                "  lightcone kv scan users --at 7353369016256880640   # as it was then\n"
                "  lightcone kv scan users --max-staleness 5s   # from any replica that is near\n",
    .operand_min = 1,
    .operand_max = 1,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
