// SPDX-License-Identifier: Apache-2.0
// Key order, one line a row, the same bytes each time: two exports can be compared with diff.
#include "api/cli/commands.h"
#include "api/cli/progress.h"
#include "api/cli/range.h"
#include "api/cli/rows.h"
#include "api/cli/text.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct export {
    FILE *file;
    int write_error;  // errno of the write that failed; 0 = none did
    struct progress progress;
    struct buf line;
    uint64_t rows;
};

static enum cli_exit write_row(void *ctx, const struct lc_row *row) {
    struct export *self = ctx;
    buf_reset(&self->line);
    rows_write_jsonl(&self->line, row->key, row->value);
    text_add_string(&self->line, "\n");
    if (fwrite(self->line.data, 1, self->line.size, self->file) != self->line.size) {
        self->write_error = errno;
        return CLI_FAILED;
    }
    self->rows++;
    progress_show(&self->progress, self->rows, 0);
    return CLI_OK;
}

static enum cli_exit report(struct cli *cli, struct export *self, enum cli_exit exit) {
    if (fflush(self->file) != 0 && self->write_error == 0) { self->write_error = errno; }
    if (self->write_error != 0 && self->file == cli->out) {
        // cli_run reports it, as for every command; a reader that went away is no news.
        cli->write_error = self->write_error;
        return CLI_FAILED;
    }
    if (self->write_error != 0) {
        struct err err = {0};
        (void)err_set(&err, STATUS_IO, "writing: %s", strerror(self->write_error));
        return cli_fail_err(cli, &err, "what was written is not complete");
    }
    if (exit == CLI_OK) { cli_note(cli, "%" PRIu64 " rows", self->rows); }
    return exit;
}

static enum cli_exit export_to(struct cli *cli, const struct range *range, FILE *file) {
    struct session session;
    enum cli_exit exit = session_open(
        cli, &(struct session_options){.keyspace = args_operand(&cli->args, 0)}, &session);
    if (exit != CLI_OK) { return exit; }
    struct export export = {.file = file};
    buf_init(&export.line, TEXT_BUF_MAX);
    progress_init(&export.progress, cli, "rows");
    struct range_walk walk = {.row = write_row, .ctx = &export};
    exit = range_walk(cli, &session, range, &walk);
    progress_end(&export.progress);
    exit = report(cli, &export, exit);
    buf_deinit(&export.line);
    session_close(&session);
    return exit;
}

static enum cli_exit run_range(struct cli *cli, const struct range *range) {
    const char *path = args_operand(&cli->args, 1);
    if (path == NULL || strcmp(path, "-") == 0) { return export_to(cli, range, cli->out); }
    FILE *file = fopen(path, "we");
    struct err err = {0};
    if (file == NULL) {
        (void)err_set(&err, STATUS_IO, "%.150s: %s", path, strerror(errno));
        return cli_fail_err(cli, &err, NULL);
    }
    enum cli_exit exit = export_to(cli, range, file);
    if (fclose(file) != 0 && exit == CLI_OK) {
        (void)err_set(&err, STATUS_IO, "%.150s: %s", path, strerror(errno));
        exit = cli_fail_err(cli, &err, NULL);
    }
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    struct range range;
    enum cli_exit exit = range_init(cli, &range);
    if (exit != CLI_OK) { return exit; }
    exit = run_range(cli, &range);
    range_deinit(&range);
    return exit;
}

static const struct args_option options[] = {
    RANGE_OPTIONS,
    {.name = "format",
     .kind = ARGS_CHOICE,
     .placeholder = "jsonl",
     .help = "of the file",
     .fallback = "jsonl",
     .choices = "jsonl"},
};

const struct cli_command commands_kv_export = {
    .noun = "kv",
    .verb = "export",
    .operands = "KEYSPACE [FILE|-]",
    .summary = "write rows as JSON lines, in key order",
    .details =
        "The form that `kv import` reads. Each page is a snapshot of its own: what is written\n"
        "meanwhile may or may not be there.",
    .examples = "  lightcone kv export users users.jsonl\n"
                "  lightcone kv export users --prefix 4 | head -3\n",
    .operand_min = 1,
    .operand_max = 2,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
