// SPDX-License-Identifier: Apache-2.0
// Cuts come from even distances (--shards), from keys on the
// line (--split-at), or from the keys of a file that is about to be imported (--sample).
#include "api/cli/admin_json.h"
#include "api/cli/commands.h"
#include "api/cli/rows.h"
#include "api/cli/sample.h"
#include "api/cli/session.h"
#include "api/cli/text.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { KEYSPACE_SHARDS_MAX = 4096 };

// The cuts of the new keyspace.
struct cuts {
    struct buf *items;
    size_t count;
};

static void cuts_add(struct cuts *self, struct slice key) {
    self->items = mem_realloc(self->items, (self->count + 1) * sizeof(*self->items));
    buf_init(&self->items[self->count], TEXT_BUF_MAX);
    text_add(&self->items[self->count++], key);
}

static void cuts_deinit(struct cuts *self) {
    for (size_t i = 0; i < self->count; i++) {
        buf_deinit(&self->items[i]);
    }
    mem_free(self->items);
    *self = (struct cuts){0};
}

// --- Cuts from the line

static int by_bytes(const void *a, const void *b) {
    return slice_compare(buf_slice(a), buf_slice(b));
}

static enum cli_exit cuts_from_line(struct cli *cli, struct cuts *out) {
    const char *text = NULL;
    for (size_t i = 0; (text = args_list(&cli->args, "split-at", i)) != NULL; i++) {
        struct buf key;
        buf_init(&key, TEXT_BUF_MAX);
        enum cli_exit exit = session_key(cli, text, false, &key);
        if (exit == CLI_OK && key.size == 0) {
            exit = cli_usage(cli, "--split-at: a cut at the empty key cuts nothing");
        }
        if (exit == CLI_OK) { cuts_add(out, buf_slice(&key)); }
        buf_deinit(&key);
        if (exit != CLI_OK) { return exit; }
    }
    if (out->count > 1) { qsort(out->items, out->count, sizeof(*out->items), by_bytes); }
    for (size_t i = 1; i < out->count; i++) {
        if (by_bytes(&out->items[i - 1], &out->items[i]) == 0) {
            return cli_usage(cli, "--split-at: the same key twice");
        }
    }
    return CLI_OK;
}

// --- Cuts from a file

static enum status sample_file(struct rows *rows, struct sample *sample, struct err *err) {
    for (;;) {
        struct rows_row row;
        bool end = false;
        enum status st = rows_next(rows, &row, &end, err);
        if (st != STATUS_OK || end) { return st; }
        sample_add(sample, row.key);
    }
}

static void take_cuts(struct sample *sample, uint32_t shards, struct cuts *out) {
    struct slice *keys = mem_alloc_array(shards, sizeof(*keys));
    size_t count = sample_cuts(sample, shards, keys);
    for (size_t i = 0; i < count; i++) {
        cuts_add(out, keys[i]);
    }
    mem_free(keys);
}

static enum cli_exit cuts_from_file(struct cli *cli, const char *path, struct cuts *out) {
    uint32_t shards = (uint32_t)args_number(&cli->args, "shards");
    if (shards < 2) { return cli_usage(cli, "--sample wants --shards of 2 or more"); }
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? cli->in : fopen(path, "re");
    struct err err = {0};
    if (file == NULL) {
        (void)err_set(&err, STATUS_IO, "--sample: %.150s: %s", path, strerror(errno));
        return cli_fail_err(cli, &err, NULL);
    }
    enum rows_format format = ROWS_AUTO;
    enum status st = rows_parse_format(args_text(&cli->args, "sample-format"), &format);
    ASSERT(st == STATUS_OK);
    struct rows rows;
    struct sample sample;
    rows_init(&rows, file, format);
    sample_init(&sample);
    st = sample_file(&rows, &sample, &err);
    if (st == STATUS_OK) { take_cuts(&sample, shards, out); }
    if (st == STATUS_OK && out->count + 1 < shards) {
        cli_note(cli, "%zu shards instead of %" PRIu32 ": the file has too few different keys",
                 out->count + 1, shards);
    }
    sample_deinit(&sample);
    rows_deinit(&rows);
    if (!is_stdin) { (void)fclose(file); }
    if (st == STATUS_OK) { return CLI_OK; }
    err_wrap(&err, "--sample: %.100s", path);
    return cli_fail_err(cli, &err, NULL);
}

static enum cli_exit find_cuts(struct cli *cli, struct cuts *out) {
    const char *sample = args_text(&cli->args, "sample");
    bool at_keys = args_has(&cli->args, "split-at");
    if (at_keys && (sample != NULL || args_has(&cli->args, "shards"))) {
        return cli_usage(cli, "--split-at excludes --shards and --sample");
    }
    if (sample != NULL) { return cuts_from_file(cli, sample, out); }
    return cuts_from_line(cli, out);
}

// --- create

static enum cli_exit create(struct cli *cli, const struct cuts *cuts) {
    struct session session;
    enum cli_exit exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__KeyspaceCreateRequest request = LIGHTCONE__V1__KEYSPACE_CREATE_REQUEST__INIT;
    Lightcone__V1__KeyspaceCreateResponse *response = NULL;
    struct err err = {0};
    ProtobufCBinaryData *splits = mem_alloc_array(cuts->count + 1, sizeof(*splits));
    for (size_t i = 0; i < cuts->count; i++) {
        splits[i] = (ProtobufCBinaryData){cuts->items[i].size, cuts->items[i].data};
    }
    request.name = (char *)args_operand(&cli->args, 0);
    request.replicas = (uint32_t)args_number(&cli->args, "replicas");
    request.shard_count = cuts->count > 0 ? 0 : (uint32_t)args_number(&cli->args, "shards");
    request.splits = splits;
    request.n_splits = cuts->count;
    if (lc_admin_keyspace_create(session.client, 0, &request, &response, &err) != STATUS_OK) {
        exit = cli_fail_err(cli, &err,
                            err.status == STATUS_ALREADY_EXISTS ? "lightcone keyspace list" : NULL);
    } else if (cli->format == CLI_JSON) {
        cli_print_json(cli,
                       json_pack("{s:o}", "keyspace", admin_json_keyspace(response->keyspace)));
    } else {
        (void)fprintf(cli->out, "keyspace %s, id %" PRIu32 ", %" PRIu32 " replicas\n",
                      response->keyspace->name, response->keyspace->id,
                      response->keyspace->replicas);
    }
    lightcone__v1__keyspace_create_response__free_unpacked(response, NULL);
    mem_free(splits);
    session_close(&session);
    return exit;
}

static enum cli_exit run_create(struct cli *cli) {
    struct cuts cuts = {0};
    enum cli_exit exit = find_cuts(cli, &cuts);
    if (exit == CLI_OK) { exit = create(cli, &cuts); }
    cuts_deinit(&cuts);
    return exit;
}

static const struct args_option create_options[] = {
    {.name = "shards",
     .kind = ARGS_NUMBER,
     .placeholder = "N",
     .help = "shards to begin with, cut at even distances of the first two key bytes; 1 when not "
             "given",
     .number_min = 1,
     .number_max = KEYSPACE_SHARDS_MAX},
    {.name = "replicas",
     .kind = ARGS_NUMBER,
     .placeholder = "N",
     .help = "copies of each shard, odd; 3, or as many as there are nodes, when not given",
     .number_min = 1,
     .number_max = 7},
    {.name = "split-at",
     .kind = ARGS_LIST,
     .placeholder = "KEY",
     .help = "cut exactly here; may be given many times (escapes as in kv get)"},
    {.name = "sample",
     .kind = ARGS_TEXT,
     .placeholder = "FILE|-",
     .help = "cut so that the keys of this import file spread evenly over --shards"},
    {.name = "sample-format",
     .kind = ARGS_CHOICE,
     .placeholder = "auto|jsonl|debian",
     .help = "format of that file",
     .fallback = "auto",
     .choices = "auto|jsonl|debian"},
};

const struct cli_command commands_keyspace_create = {
    .noun = "keyspace",
    .verb = "create",
    .operands = "NAME",
    .summary = "create a keyspace",
    .details = "NAME has small letters, digits, '_' and '-'. Shards are placed on the live nodes,\n"
               "spread over regions.",
    .examples =
        "  lightcone keyspace create users --shards 8\n"
        "  lightcone keyspace create words --split-at g --split-at p\n"
        "  apt-cache dumpavail | lightcone keyspace create packages --shards 8 --sample -\n",
    .operand_min = 1,
    .operand_max = 1,
    .options = {create_options, sizeof(create_options) / sizeof(create_options[0])},
    .run = run_create,
};
