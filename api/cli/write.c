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

static void report(struct cli *cli, const struct write *write, const struct lc_result *result,
                   const char *txn) {
    if (cli->format == CLI_TABLE) {
        char timestamp[TEXT_SIZE];
        (void)fprintf(cli->out, "committed at %s\n",
                      text_format_timestamp(result->timestamp, timestamp));
        cli_note(cli, "transaction %s", txn);
        session_note_header(cli, result);
        return;
    }
    json_t *object = json_object();
    cli_json_string(object, "keyspace", args_operand(&cli->args, 0));
    cli_json_bytes(object, "key", write->mutation.key);
    cli_json_string(object, "txn_id", txn);
    cli_json_timestamp(object, "timestamp", result->timestamp);
    (void)json_object_set_new(object, "header", session_header_json(result));
    cli_print_json(cli, object);
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
        report(cli, write, &reply.result, txn_text);
    } else if (reply.result.outcome == LC_UNKNOWN) {
        exit = unknown(cli, write, &reply.result, txn_text);
    } else if (st == STATUS_CONDITION_FAILED) {
        exit = cli_fail(cli, &(struct cli_error){.status = st,
                                                 .message = write->condition.kind == LC_ABSENT
                                                                ? "the key has a value already"
                                                                : "the key has no value",
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
