// SPDX-License-Identifier: Apache-2.0
// Exit code 0 says that the outcome is known, whichever it is; 3 that it is not: prepared and on
// its way, or never heard of, which a copy of the request may still change.
#include "api/cli/commands.h"
#include "api/cli/session.h"
#include "api/cli/text.h"

#include <inttypes.h>

static const char *outcome_name(const struct lc_result *result) {
    if (result->pending) { return "pending"; }
    if (!result->known) { return "unknown"; }
    if (result->outcome == LC_COMMITTED) { return "committed"; }
    if (result->status == STATUS_CONDITION_FAILED) { return "condition_failed"; }
    return result->status == STATUS_CANCELLED ? "aborted" : "refused";
}

static void print_json(struct cli *cli, const struct lc_result *result) {
    json_t *object = json_object();
    cli_json_string(object, "txn_id", args_operand(&cli->args, 2));
    cli_json_string(object, "outcome", outcome_name(result));
    cli_json_timestamp(object, "timestamp", result->timestamp);
    (void)json_object_set_new(object, "header", session_header_json(result));
    cli_print_json(cli, object);
}

static enum cli_exit report(struct cli *cli, const struct lc_result *result) {
    char timestamp[TEXT_SIZE];
    if (cli->format == CLI_JSON) {
        print_json(cli, result);
    } else if (!result->known) {
        return session_fail(
            cli,
            &(struct lc_result){
                .outcome = LC_UNKNOWN,
                .status = STATUS_UNKNOWN_OUTCOME,
                .message = result->pending
                               ? SLICE_LITERAL("prepared, and not resolved yet")
                               : SLICE_LITERAL("no outcome is kept: it has not committed up to "
                                               "now"),
            },
            "ask again, send the commit again with the same --txn-id, or end it with --settle");
    } else {
        (void)fprintf(cli->out, "%s at %s\n", outcome_name(result),
                      text_format_timestamp(result->timestamp, timestamp));
        session_note_header(cli, result);
    }
    return result->known ? CLI_OK : CLI_UNKNOWN;
}

static enum cli_exit ask(struct cli *cli, const uint8_t *txn, struct slice key) {
    struct session session;
    enum cli_exit exit = session_open(
        cli, &(struct session_options){.keyspace = args_operand(&cli->args, 0)}, &session);
    if (exit != CLI_OK) { return exit; }
    struct lc_reply reply = {0};
    enum status st = args_flag(&cli->args, "settle")
                         ? lc_txn_settle_wait(session.client, session.keyspace, txn, key, &reply)
                         : lc_txn_status_wait(session.client, session.keyspace, txn, key, &reply);
    exit = st == STATUS_OK || reply.result.known ? report(cli, &reply.result)
                                                 : session_fail(cli, &reply.result, NULL);
    lc_reply_free(&reply);
    session_close(&session);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    struct buf key;
    uint8_t txn[LC_TXN_ID_SIZE];
    buf_init(&key, TEXT_BUF_MAX);
    enum cli_exit exit =
        session_key(cli, args_operand(&cli->args, 1), args_flag(&cli->args, "literal"), &key);
    if (exit == CLI_OK) { exit = session_txn_id(cli, args_operand(&cli->args, 2), txn); }
    if (exit == CLI_OK) { exit = ask(cli, txn, buf_slice(&key)); }
    buf_deinit(&key);
    return exit;
}

static const struct args_option options[] = {
    {.name = "settle",
     .kind = ARGS_FLAG,
     .help = "when no outcome is known, abort it for good, whatever is still on its way"},
    SESSION_OPTION_LITERAL,
};

const struct cli_command commands_txn_status = {
    .noun = "txn",
    .verb = "status",
    .operands = "KEYSPACE KEY TXN_ID",
    .summary = "what became of a transaction",
    .details =
        "KEY is the first key that the transaction wrote (tested, or read, when it wrote none):\n"
        "its shard keeps the outcome: committed, condition_failed, refused, or aborted when it\n"
        "was settled. Exit code 3: unknown, or pending.",
    .examples = "  lightcone txn status users 42 6f9619ff8b86d011b42d00cf4fc964ff\n"
                "  lightcone txn status users 42 6f9619ff8b86d011b42d00cf4fc964ff --settle\n",
    .operand_min = 3,
    .operand_max = 3,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
