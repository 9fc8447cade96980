// SPDX-License-Identifier: Apache-2.0
// Rows go through a pipeline of commits, one a row: a row is there or not, and a row that was
// acknowledged stays. What was imported before a failure stays too; running the import again is
// safe, because a put of the same value changes nothing that a reader sees.
#include "api/cli/commands.h"
#include "api/cli/keyset.h"
#include "api/cli/pipeline.h"
#include "api/cli/progress.h"
#include "api/cli/rows.h"
#include "api/cli/session.h"
#include "api/cli/text.h"
#include "dataplane/base/assert.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

struct import {
    struct cli *cli;
    struct rows rows;
    uint64_t file_size;  // 0 = not known
    struct pipeline *pipeline;
    struct keyset keys;
    struct progress progress;
    uint64_t row_count;
    uint64_t repeated_count;  // rows whose key came before in the file
    uint64_t begin_ns;
};

static void show(struct import *self) {
    uint64_t read = self->rows.lines.bytes_read;
    uint32_t permille = self->file_size == 0 ? 0 : (uint32_t)(read * 1000 / self->file_size);
    progress_show(&self->progress, self->row_count, permille);
}

// Until the file ends, a row is wrong or the pipeline has failed.
static enum status read_rows(struct import *self, struct err *err) {
    for (;;) {
        struct rows_row row;
        bool end = false;
        enum status st = rows_next(&self->rows, &row, &end, err);
        if (st != STATUS_OK || end) { return st; }
        self->repeated_count += keyset_add(&self->keys, row.key) ? 0 : 1;
        if (!pipeline_put(self->pipeline, row.key, row.value, row.line)) { return STATUS_OK; }
        self->row_count++;
        show(self);
    }
}

// --- Reports

static double seconds_since(uint64_t begin_ns) {
    return (double)(progress_now_ns() - begin_ns) / 1e9;
}

static void print_table(struct cli *cli, const struct import *self,
                        const struct pipeline_stats *stats, double seconds) {
    char rows[TEXT_SIZE];
    char size[TEXT_SIZE];
    char rate[TEXT_SIZE];
    (void)fprintf(cli->out, "%s rows, %s, in %.2f s: %s rows/s\n",
                  text_format_count(stats->puts, rows), text_format_size(stats->bytes, size),
                  seconds, text_format_count((uint64_t)((double)stats->puts / seconds), rate));
    if (self->repeated_count > 0) {
        (void)fprintf(cli->out,
                      "%s different keys; rows whose key came before: %s, the last one "
                      "of a key stands\n",
                      text_format_count(self->keys.count, size),
                      text_format_count(self->repeated_count, rows));
    }
    if (stats->retries > 0) {
        (void)fprintf(cli->out, "repeated attempts: %s\n", text_format_count(stats->retries, rows));
    }
}

static void print_json(struct cli *cli, const struct import *self,
                       const struct pipeline_stats *stats, double seconds) {
    json_t *object = json_object();
    cli_json_string(object, "keyspace", args_operand(&cli->args, 0));
    cli_json_u64(object, "rows", stats->puts);
    cli_json_u64(object, "keys", self->keys.count);
    cli_json_u64(object, "repeated_keys", self->repeated_count);
    cli_json_u64(object, "bytes", stats->bytes);
    cli_json_u64(object, "retries", stats->retries);
    (void)json_object_set_new(object, "seconds", json_real(seconds));
    (void)json_object_set_new(object, "rows_per_second", json_real((double)stats->puts / seconds));
    cli_print_json(cli, object);
}

static enum cli_exit failed(struct cli *cli, const struct import *self,
                            const struct pipeline_failure *failure) {
    struct pipeline_stats stats = pipeline_stats(self->pipeline);
    char message[ERR_MESSAGE_SIZE + 128];
    (void)snprintf(message, sizeof(message),
                   "row of line %" PRIu64 ": %s; %" PRIu64 " other rows were written", failure->tag,
                   failure->err.message, stats.puts);
    enum cli_exit exit = cli_fail(
        cli, &(struct cli_error){.status = failure->err.status,
                                 .message = message,
                                 .hint = "import again: rows that are there already do no harm"});
    return failure->outcome == LC_UNKNOWN ? CLI_UNKNOWN : exit;
}

// --- Running

static enum cli_exit import_rows(struct cli *cli, struct import *self) {
    struct err err = {0};
    struct pipeline_failure failure = {0};
    self->begin_ns = progress_now_ns();
    enum status st = read_rows(self, &err);
    bool ok = pipeline_finish(self->pipeline, &failure);
    double seconds = seconds_since(self->begin_ns);
    progress_end(&self->progress);
    if (!ok) { return failed(cli, self, &failure); }
    if (st != STATUS_OK) {
        err_wrap(&err, "%.100s", args_operand(&cli->args, 1));
        return cli_fail_err(cli, &err, "the rows before that line were imported");
    }
    struct pipeline_stats stats = pipeline_stats(self->pipeline);
    if (cli->format == CLI_JSON) {
        print_json(cli, self, &stats, seconds);
    } else {
        print_table(cli, self, &stats, seconds);
    }
    return CLI_OK;
}

static enum cli_exit import_file(struct cli *cli, FILE *file) {
    struct session session;
    enum cli_exit exit = session_open(cli,
                                      &(struct session_options){
                                          .route = SESSION_LEADERS,
                                          .keyspace = args_operand(&cli->args, 0),
                                      },
                                      &session);
    if (exit != CLI_OK) { return exit; }
    struct import import = {.cli = cli};
    struct stat status;
    enum rows_format format = ROWS_AUTO;
    enum status st = rows_parse_format(args_text(&cli->args, "format"), &format);
    ASSERT(st == STATUS_OK);
    if (fstat(fileno(file), &status) == 0 && S_ISREG(status.st_mode)) {
        import.file_size = (uint64_t)status.st_size;
    }
    struct pipeline_options pipeline = {
        .client = session.client,
        .keyspace = session.keyspace,
        .outstanding_max = (uint32_t)args_number(&cli->args, "outstanding"),
        .timeout_ms = cli->timeout_ms,
        .retry_ms = (uint32_t)args_number(&cli->args, "retry"),
    };
    rows_init(&import.rows, file, format);
    keyset_init(&import.keys);
    progress_init(&import.progress, cli, "rows");
    import.pipeline = pipeline_create(&pipeline);
    exit = import_rows(cli, &import);
    pipeline_destroy(import.pipeline);
    keyset_deinit(&import.keys);
    rows_deinit(&import.rows);
    session_close(&session);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    const char *path = args_operand(&cli->args, 1);
    if (strcmp(path, "-") == 0) { return import_file(cli, cli->in); }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        struct err err = {0};
        (void)err_set(&err, STATUS_IO, "%.150s: %s", path, strerror(errno));
        return cli_fail_err(cli, &err, NULL);
    }
    enum cli_exit exit = import_file(cli, file);
    (void)fclose(file);
    return exit;
}

static const struct args_option options[] = {
    {.name = "format",
     .kind = ARGS_CHOICE,
     .placeholder = "auto|jsonl|debian",
     .help = "of the file; auto looks at its first byte",
     .fallback = "auto",
     .choices = "auto|jsonl|debian"},
    {.name = "outstanding",
     .kind = ARGS_NUMBER,
     .placeholder = "N",
     .help = "rows in flight",
     .fallback = "512",
     .number_min = 1,
     .number_max = PIPELINE_OUTSTANDING_MAX},
    {.name = "retry",
     .kind = ARGS_NUMBER,
     .placeholder = "MS",
     .help = "how long a row is sent again, under the same transaction id, before the import fails",
     .fallback = "60000",
     .number_min = 0,
     .number_max = 86400000},
};

const struct cli_command commands_kv_import = {
    .noun = "kv",
    .verb = "import",
    .operands = "KEYSPACE FILE|-",
    .summary = "write the rows of a file",
    .details =
        "jsonl: {\"key\": \"...\", \"value\": \"...\"} a line, or key_base64 and value_base64\n"
        "for other bytes. debian: the paragraphs of a Packages file; key Package=Version,\n"
        "value the paragraph. A key that comes twice: the later row stands.\n"
        "--format names the file's format here; for a JSON summary put --format json in\n"
        "front: lightcone --format json kv import ...",
    .examples = "  lightcone kv import users users.jsonl\n"
                "  apt-cache dumpavail | lightcone kv import packages - --format debian\n"
                "  lightcone kv export a - | lightcone kv import b -\n",
    .operand_min = 2,
    .operand_max = 2,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
