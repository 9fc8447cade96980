// SPDX-License-Identifier: Apache-2.0
// The value alone goes to out, so that it can be captured; version and certificate are remarks.
#include "api/cli/commands.h"
#include "api/cli/read_options.h"
#include "api/cli/text.h"

#include <string.h>

static void print_value(struct cli *cli, struct slice value) {
    if (args_flag(&cli->args, "raw")) {
        (void)fwrite(value.data, 1, value.size, cli->out);
        return;
    }
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    text_escape(&text, value, TEXT_BLOCK);
    if (text.size == 0 || text.data[text.size - 1] != '\n') { text_add_string(&text, "\n"); }
    (void)fwrite(text.data, 1, text.size, cli->out);
    buf_deinit(&text);
}

static void print_json(struct cli *cli, const struct session *session, struct slice key,
                       const struct lc_result *result) {
    const struct lc_row *row = &result->rows[0];
    json_t *object = json_object();
    cli_json_string(object, "keyspace", args_operand(&cli->args, 0));
    cli_json_bytes(object, "key", key);
    cli_json_bool(object, "found", row->found);
    if (row->found) { cli_json_bytes(object, "value", row->value); }
    cli_json_timestamp(object, "version", row->version);
    session_json_token(object, session);
    (void)json_object_set_new(object, "header", session_header_json(result));
    cli_print_json(cli, object);
}

static enum cli_exit report(struct cli *cli, const struct session *session, struct slice key,
                            const struct lc_result *result) {
    if (cli->format == CLI_JSON) {
        print_json(cli, session, key, result);
        return result->rows[0].found ? CLI_OK : CLI_FAILED;
    }
    read_options_note(cli, session, &result->certificate);
    if (!result->rows[0].found) {
        return cli_fail(cli, &(struct cli_error){.status = STATUS_NOT_FOUND,
                                                 .message = "the key has no value",
                                                 .hint = "lightcone kv scan shows what there is"});
    }
    char version[TEXT_SIZE];
    cli_note(cli, "version %s", text_format_timestamp(result->rows[0].version, version));
    session_note_header(cli, result);
    print_value(cli, result->rows[0].value);
    return CLI_OK;
}

static enum cli_exit get(struct cli *cli, struct lc_read *read) {
    struct session session;
    enum cli_exit exit = session_open(
        cli, &(struct session_options){.keyspace = args_operand(&cli->args, 0)}, &session);
    if (exit != CLI_OK) { return exit; }
    struct lc_reply reply = {0};
    read->keyspace = session.keyspace;
    enum status st = lc_read_wait(session.client, read, cli->timeout_ms, &reply);
    exit = st == STATUS_OK ? report(cli, &session, read->keys[0], &reply.result)
                           : session_fail(cli, &reply.result, NULL);
    lc_reply_free(&reply);
    session_close(&session);
    return exit;
}

static enum cli_exit take_read(struct cli *cli, struct lc_read *out) {
    struct read_options read;
    enum cli_exit exit = read_options_take(cli, &read);
    if (exit != CLI_OK) { return exit; }
    if (args_flag(&cli->args, "read-index")) {
        if (read.consistency != LC_STRONG && read.consistency != LC_STRONG_READ_INDEX) {
            return cli_usage(cli, "--read-index does not go with another consistency");
        }
        read.consistency = LC_STRONG_READ_INDEX;
    }
    out->consistency = read.consistency;
    out->at_least = read.at_least;
    out->at = read.at;
    out->max_staleness_us = read.max_staleness_us;
    return CLI_OK;
}

static enum cli_exit run(struct cli *cli) {
    struct buf key;
    struct lc_read read = {.key_count = 1};
    buf_init(&key, TEXT_BUF_MAX);
    enum cli_exit exit =
        session_key(cli, args_operand(&cli->args, 1), args_flag(&cli->args, "literal"), &key);
    if (exit == CLI_OK) { exit = take_read(cli, &read); }
    if (exit == CLI_OK) {
        struct slice bytes = buf_slice(&key);
        read.keys = &bytes;
        exit = get(cli, &read);
    }
    buf_deinit(&key);
    return exit;
}

static const struct args_option options[] = {
    {.name = "raw", .kind = ARGS_FLAG, .help = "write the bytes of the value as they are"},
    SESSION_OPTION_LITERAL,
    {.name = "read-index", .kind = ARGS_FLAG, .help = "short for --consistency read-index"},
    READ_OPTIONS,
};

const struct cli_command commands_kv_get = {
    .noun = "kv",
    .verb = "get",
    .operands = "KEYSPACE KEY",
    .summary = "print the value of a key",
    .details =
        "KEY may hold escapes: \\xNN, \\n, \\t, \\r and \\\\ for a backslash. The value is\n"
        "printed with control characters escaped in the same way; exit code 1 when there is\n"
        "none.",
    .examples = "  lightcone kv get packages 'bash=5.2.15-2+b8'\n"
                "  lightcone kv get blobs logo --raw > logo.png\n"
                "  lightcone kv get users 42 --format json   # with version and certificate\n"
                "  lightcone kv get users 42 --at 7353369016256880640   # as it was then\n"
                "  lightcone kv get users 42 --max-staleness 5s   # from a replica that is near\n"
                "  lightcone kv get users 42 --session 7296400384221184   # what that token saw\n",
    .operand_min = 2,
    .operand_max = 2,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
