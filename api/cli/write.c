// SPDX-License-Identifier: Apache-2.0
// The id is chosen here, before the commit is sent: when the outcome is unknown, the user gets it
// and can ask, or repeat the very same commit.
#include "api/cli/write.h"

#include "api/cli/text.h"

#include <inttypes.h>
#include <string.h>

enum { WRITE_HINT_SIZE = 512 };

static enum cli_exit unknown(struct cli *cli, const struct write *write,
                             const struct lc_result *result, const char *txn) {
    struct buf key;
    buf_init(&key, TEXT_BUF_MAX);
    text_escape(&key, write->mutation.key, TEXT_LINE);
    char hint[WRITE_HINT_SIZE];
    (void)snprintf(hint, sizeof(hint),
                   "lightcone txn status %.127s '%.*s' %s, or the same again with --txn-id %s",
                   args_operand(&cli->args, 0), (int)(key.size < 160 ? key.size : 160),
                   (const char *)key.data, txn, txn);
    buf_deinit(&key);
    return session_fail(cli, result, hint);
}

// The value as of the commit. It has been written whatever comes of this read, so that is no
// failure: the value is left out.
static bool read_value(struct cli *cli, const struct session *session, const struct write *write,
                       uint64_t timestamp, struct lc_reply *out) {
    struct lc_read read = {.keyspace = session->keyspace,
                           .keys = &write->mutation.key,
                           .key_count = 1,
                           .consistency = LC_AT,
                           .at = timestamp};
    return lc_read_wait(session->client, &read, cli->timeout_ms, out) == STATUS_OK &&
           out->result.rows[0].found;
}

// `value` is NULL when there is none to show.
static void report_json(struct cli *cli, const struct session *session, const struct write *write,
                        const struct lc_result *result, const struct slice *value) {
    char txn[2 * LC_TXN_ID_SIZE + 1];
    json_t *object = json_object();
    session_txn_text(result->txn, txn);
    cli_json_string(object, "keyspace", args_operand(&cli->args, 0));
    cli_json_bytes(object, "key", write->mutation.key);
    if (write->shows_value && value == NULL) { cli_json_string(object, "value", NULL); }
    if (value != NULL) { cli_json_bytes(object, "value", *value); }
    cli_json_string(object, "txn_id", txn);
    cli_json_timestamp(object, "timestamp", result->timestamp);
    session_json_token(object, session);
    (void)json_object_set_new(object, "header", session_header_json(result));
    cli_print_json(cli, object);
}

static void report_text(struct cli *cli, const struct lc_result *result,
                        const struct slice *value) {
    char timestamp[TEXT_SIZE];
    char txn[2 * LC_TXN_ID_SIZE + 1];
    session_txn_text(result->txn, txn);
    (void)text_format_timestamp(result->timestamp, timestamp);
    if (value != NULL) {
        struct buf text;
        buf_init(&text, TEXT_BUF_MAX);
        text_escape(&text, *value, TEXT_LINE);
        (void)fprintf(cli->out, "%.*s\n", (int)text.size, (const char *)text.data);
        buf_deinit(&text);
        cli_note(cli, "committed at %s", timestamp);
    } else {
        (void)fprintf(cli->out, "committed at %s\n", timestamp);
    }
    cli_note(cli, "transaction %s", txn);
    session_note_header(cli, result);
}

static void report(struct cli *cli, const struct session *session, const struct write *write,
                   const struct lc_result *result) {
    struct lc_reply reply = {0};
    bool known = write->shows_value && read_value(cli, session, write, result->timestamp, &reply);
    const struct slice *value = known ? &reply.result.rows[0].value : NULL;
    if (cli->format == CLI_JSON) {
        report_json(cli, session, write, result, value);
    } else {
        report_text(cli, result, value);
    }
    lc_reply_free(&reply);
}

static const char *refusal(const struct write *write) {
    if (write->refusal != NULL) { return write->refusal; }
    return write->condition.kind == LC_ABSENT ? "the key has a value already"
                                              : "the key has no value";
}

static enum cli_exit commit(struct cli *cli, const struct write *write, const uint8_t *txn) {
    char txn_text[2 * LC_TXN_ID_SIZE + 1];
    struct session session;
    enum cli_exit exit = session_open(
        cli, &(struct session_options){.keyspace = args_operand(&cli->args, 0)}, &session);
    if (exit != CLI_OK) { return exit; }
    session_txn_text(txn, txn_text);
    struct lc_commit body = {
        .keyspace = session.keyspace,
        .txn = txn,
        .mutations = &write->mutation,
        .mutation_count = 1,
        .conditions = &write->condition,
        .condition_count = write->conditional ? 1 : 0,
    };
    struct lc_reply reply = {0};
    enum status st = lc_commit_wait(session.client, &body, cli->timeout_ms, &reply);
    if (st == STATUS_OK) {
        report(cli, &session, write, &reply.result);
    } else if (reply.result.outcome == LC_UNKNOWN) {
        exit = unknown(cli, write, &reply.result, txn_text);
    } else if (st == STATUS_CONDITION_FAILED) {
        exit = cli_fail(cli, &(struct cli_error){.status = st,
                                                 .message = refusal(write),
                                                 .hint = "nothing was changed; lightcone kv get"});
    } else {
        exit = session_fail(cli, &reply.result, NULL);
    }
    lc_reply_free(&reply);
    session_close(&session);
    return exit;
}

enum cli_exit write_run(struct cli *cli, const struct write *write) {
    uint8_t txn[LC_TXN_ID_SIZE];
    const char *given = args_text(&cli->args, "txn-id");
    lc_txn_id_make(txn);
    enum cli_exit exit = given == NULL ? CLI_OK : session_txn_id(cli, given, txn);
    return exit == CLI_OK ? commit(cli, write, txn) : exit;
}
