// SPDX-License-Identifier: Apache-2.0
// Reads back what a journal says was acknowledged. Reads go in waves: a wave is sent as a whole,
// and the next one begins when all of it was answered, which keeps the memory bounded and the order
// of reports that of the journal.
#include "api/cli/commands.h"
#include "api/cli/journal.h"
#include "api/cli/lines.h"
#include "api/cli/progress.h"
#include "api/cli/session.h"
#include "api/cli/text.h"
#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

enum { VERIFY_WAVE = 256, VERIFY_SHOWN_MAX = 5 };

struct verify;

struct verify_entry {
    struct verify *verify;
    struct buf key;
    struct buf value;
    enum { VERIFY_EQUAL, VERIFY_MISSING, VERIFY_DIFFERENT, VERIFY_UNREAD } verdict;
    struct err err;  // UNREAD
};

struct verify {
    struct cli *cli;
    struct session *session;
    struct verify_entry *wave;  // VERIFY_WAVE
    uint32_t wave_count;
    uint32_t in_flight;  // with mu
    pthread_mutex_t mu;
    pthread_cond_t answered;
    uint64_t equal;
    uint64_t missing;
    uint64_t different;
};

// --- One wave. The callback is on the client's thread and touches its entry alone.

static void on_read(void *ctx, const struct lc_result *result) {
    struct verify_entry *entry = ctx;
    struct verify *self = entry->verify;
    if (result->status != STATUS_OK) {
        entry->verdict = VERIFY_UNREAD;
        (void)err_set(&entry->err, result->status, "%.*s", (int)result->message.size,
                      (const char *)result->message.data);
    } else if (!result->rows[0].found) {
        entry->verdict = VERIFY_MISSING;
    } else {
        bool equal = slice_equal(result->rows[0].value, buf_slice(&entry->value));
        entry->verdict = equal ? VERIFY_EQUAL : VERIFY_DIFFERENT;
    }
    (void)pthread_mutex_lock(&self->mu);
    self->in_flight--;
    (void)pthread_cond_signal(&self->answered);
    (void)pthread_mutex_unlock(&self->mu);
}

static void send_wave(struct verify *self) {
    (void)pthread_mutex_lock(&self->mu);
    self->in_flight = self->wave_count;
    (void)pthread_mutex_unlock(&self->mu);
    for (uint32_t i = 0; i < self->wave_count; i++) {
        struct slice key = buf_slice(&self->wave[i].key);
        struct lc_read read = {.keyspace = self->session->keyspace, .keys = &key, .key_count = 1};
        struct lc_call call = {
            .timeout_ms = self->cli->timeout_ms, .done = on_read, .ctx = &self->wave[i]};
        enum status st = lc_read(self->session->client, &read, &call);
        ASSERT(st == STATUS_OK);  // a key within bounds, and room for a wave
    }
    (void)pthread_mutex_lock(&self->mu);
    while (self->in_flight > 0) {
        (void)pthread_cond_wait(&self->answered, &self->mu);
    }
    (void)pthread_mutex_unlock(&self->mu);
}

static void show_bad(struct verify *self, const struct verify_entry *entry) {
    if (self->missing + self->different > VERIFY_SHOWN_MAX) { return; }
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    text_escape(&text, buf_slice(&entry->key), TEXT_LINE);
    cli_note(self->cli, "%s: %.*s", entry->verdict == VERIFY_MISSING ? "missing" : "different",
             (int)text.size, (const char *)text.data);
    buf_deinit(&text);
}

static enum cli_exit check_wave(struct verify *self) {
    send_wave(self);
    enum cli_exit exit = CLI_OK;
    for (uint32_t i = 0; i < self->wave_count; i++) {
        struct verify_entry *entry = &self->wave[i];
        if (entry->verdict == VERIFY_UNREAD) {
            if (exit == CLI_OK) {
                exit = cli_fail_err(self->cli, &entry->err, "lightcone cluster status");
            }
            continue;
        }
        self->equal += entry->verdict == VERIFY_EQUAL;
        self->missing += entry->verdict == VERIFY_MISSING;
        self->different += entry->verdict == VERIFY_DIFFERENT;
        if (entry->verdict != VERIFY_EQUAL) { show_bad(self, entry); }
    }
    self->wave_count = 0;
    return exit;
}

// --- The journal

static enum cli_exit add_line(struct verify *self, const struct lines *lines, struct slice line) {
    struct verify_entry *entry = &self->wave[self->wave_count];
    buf_reset(&entry->key);
    buf_reset(&entry->value);
    if (journal_parse(line, &entry->key, &entry->value) != STATUS_OK) {
        struct err err = {0};
        (void)err_set(&err, STATUS_INVALID_ARGUMENT,
                      "line %" PRIu64 " of the journal is not hex, tab, hex", lines->number);
        return cli_fail_err(self->cli, &err, NULL);
    }
    self->wave_count++;
    return self->wave_count == VERIFY_WAVE ? check_wave(self) : CLI_OK;
}

static enum cli_exit check_lines(struct verify *self, struct lines *lines) {
    struct progress progress;
    progress_init(&progress, self->cli, "writes verified");
    enum cli_exit exit = CLI_OK;
    bool end = false;
    while (exit == CLI_OK && !end) {
        struct slice line;
        struct err err = {0};
        if (lines_next(lines, &line, &end, &err) != STATUS_OK) {
            exit = cli_fail_err(self->cli, &err, NULL);
        } else {
            exit = end ? check_wave(self) : add_line(self, lines, line);
        }
        progress_show(&progress, lines->number, 0);
    }
    progress_end(&progress);
    return exit;
}

static enum cli_exit report(const struct verify *self) {
    struct cli *cli = self->cli;
    uint64_t writes = self->equal + self->missing + self->different;
    if (cli->format == CLI_JSON) {
        json_t *object = json_object();
        cli_json_u64(object, "writes", writes);
        cli_json_u64(object, "equal", self->equal);
        cli_json_u64(object, "missing", self->missing);
        cli_json_u64(object, "different", self->different);
        cli_print_json(cli, object);
    } else {
        (void)fprintf(cli->out,
                      "%" PRIu64 " acknowledged writes: %" PRIu64 " read back, %" PRIu64
                      " missing, %" PRIu64 " different\n",
                      writes, self->equal, self->missing, self->different);
    }
    return self->equal == writes ? CLI_OK : CLI_FAILED;
}

static enum cli_exit verify_file(struct cli *cli, struct session *session, FILE *file) {
    struct verify self = {.cli = cli, .session = session};
    self.wave = mem_alloc_array(VERIFY_WAVE, sizeof(*self.wave));
    for (uint32_t i = 0; i < VERIFY_WAVE; i++) {
        self.wave[i].verify = &self;
        buf_init(&self.wave[i].key, JOURNAL_KEY_SIZE_MAX);
        buf_init(&self.wave[i].value, JOURNAL_VALUE_SIZE_MAX);
    }
    (void)pthread_mutex_init(&self.mu, NULL);
    (void)pthread_cond_init(&self.answered, NULL);
    struct lines lines;
    lines_init(&lines, file, JOURNAL_LINE_SIZE_MAX);
    enum cli_exit exit = check_lines(&self, &lines);
    if (exit == CLI_OK) { exit = report(&self); }
    lines_deinit(&lines);
    (void)pthread_cond_destroy(&self.answered);
    (void)pthread_mutex_destroy(&self.mu);
    for (uint32_t i = 0; i < VERIFY_WAVE; i++) {
        buf_deinit(&self.wave[i].key);
        buf_deinit(&self.wave[i].value);
    }
    mem_free(self.wave);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    const char *path = args_operand(&cli->args, 1);
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? cli->in : fopen(path, "re");
    if (file == NULL) {
        struct err err = {0};
        (void)err_set(&err, STATUS_IO, "%.200s: %s", path, strerrordesc_np(errno));
        return cli_fail_err(cli, &err, NULL);
    }
    struct session session;
    enum cli_exit exit =
        session_open(cli,
                     &(struct session_options){.keyspace = args_operand(&cli->args, 0),
                                               .outstanding_max = VERIFY_WAVE},
                     &session);
    if (exit == CLI_OK) {
        exit = verify_file(cli, &session, file);
        session_close(&session);
    }
    if (!is_stdin) { (void)fclose(file); }
    return exit;
}

const struct cli_command commands_kv_verify = {
    .noun = "kv",
    .verb = "verify",
    .operands = "KEYSPACE JOURNAL|-",
    .summary = "read back what a journal says was written",
    .details =
        "JOURNAL is what `bench --journal` writes: a line for each acknowledged put, key, tab,\n"
        "value, both in hexadecimal. Exit code 1 when any is missing or different.",
    .examples = "  lightcone bench --unique --journal acked.txt --keyspace soak\n"
                "  lightcone kv verify soak acked.txt\n",
    .operand_min = 2,
    .operand_max = 2,
    .run = run,
};
