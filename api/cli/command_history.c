// SPDX-License-Identifier: Apache-2.0
// How a key came to its value: its versions from the leader of its shard, newest first.
#include "api/cli/commands.h"
#include "api/cli/session.h"
#include "api/cli/text.h"
#include "dataplane/codec/codec.h"
#include "dataplane/hlc/hlc.h"

#include <inttypes.h>

static const char *kind_name(Lightcone__V1__VersionKind kind) {
    static const char *const names[] = {"?",        "put", "delete",  "counter", "grow_counter",
                                        "grow_set", "set", "register"};
    return (size_t)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

static bool is_set(const Lightcone__V1__KeyVersion *version) {
    return version->kind == LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_SET ||
           version->kind == LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_GROW_SET;
}

// "{a, b, ...}": elements stand behind their sizes; the last may be cut off.
static void add_elements(const Lightcone__V1__KeyVersion *version, struct buf *out) {
    struct codec_reader r;
    codec_reader_init(&r, slice_make(version->value.data, version->value.len));
    text_add_string(out, "{");
    bool first = true;
    while (codec_remaining(&r) > 0) {
        const struct slice element = codec_get_slice(&r, version->value.len);
        if (r.status != STATUS_OK) { break; }
        text_add_string(out, first ? "" : ", ");
        text_add(out, element);
        first = false;
    }
    text_add_string(out,
                    r.status != STATUS_OK || version->size > version->value.len ? ", ...}" : "}");
}

static void add_value(const Lightcone__V1__KeyVersion *version, struct buf *out) {
    if (is_set(version)) {
        add_elements(version, out);
        return;
    }
    text_add(out, slice_make(version->value.data, version->value.len));
    if (version->size > version->value.len) { text_add_string(out, "..."); }
}

// --- Text

static void print_row(struct table *table, const Lightcone__V1__KeyVersion *version) {
    char text[TEXT_SIZE];
    struct buf value;
    buf_init(&value, TEXT_BUF_MAX);
    add_value(version, &value);
    const uint64_t after_us = hlc_wall_us((struct hlc_ts){version->timestamp}) -
                              hlc_wall_us((struct hlc_ts){version->prepared});
    table_cell(table, "%s", text_format_timestamp(version->timestamp, text));
    table_cell(table, "%" PRIu64, version->timestamp);
    if (version->timestamp == version->prepared) {
        table_cell(table, "same");
    } else {
        table_cell(table, "%s before", text_format_duration(after_us * 1000, text));
    }
    table_cell(table, "%s", kind_name(version->kind));
    table_cell(table, "%" PRIu64, version->size);
    table_cell_bytes(table, buf_slice(&value));
    buf_deinit(&value);
}

static void print_table(struct cli *cli, const Lightcone__V1__KeyHistoryResponse *history) {
    static const struct table_column columns[] = {
        {.title = "COMMITTED"},
        {.title = "HLC", .elastic = true},
        {.title = "PREPARED"},
        {.title = "KIND"},
        {.title = "SIZE", .right = true},
        {.title = "VALUE", .elastic = true},
    };
    struct table table;
    table_init(&table, columns, 6);
    for (size_t i = 0; i < history->n_versions; i++) {
        print_row(&table, history->versions[i]);
    }
    table_print(&table, cli->out, cli_style(cli));
    table_deinit(&table);
}

// --- JSON

static json_t *version_json(const Lightcone__V1__KeyVersion *version) {
    json_t *object = json_object();
    cli_json_string(object, "kind", kind_name(version->kind));
    cli_json_timestamp(object, "timestamp", version->timestamp);
    cli_json_timestamp(object, "prepared", version->prepared);
    cli_json_u64(object, "size", version->size);
    if (version->kind != LIGHTCONE__V1__VERSION_KIND__VERSION_KIND_DELETE) {
        cli_json_bytes(object, "value", slice_make(version->value.data, version->value.len));
    }
    return object;
}

static json_t *header_json(const Lightcone__V1__ResponseHeader *header) {
    const Lightcone__V1__Certificate *from = header->certificate;
    struct lc_result result = {.hlc = header->hlc, .served_by = header->served_by};
    if (from != NULL) {
        result.certificate.method = (uint32_t)from->method;
        result.certificate.shard = from->shard;
        result.certificate.config_epoch = from->config_epoch;
        result.certificate.term = from->term;
        result.certificate.index = from->index;
        result.certificate.timestamp = from->timestamp;
        result.certificate.closed = from->closed;
        result.certificate.age_us = from->age_us;
    }
    return session_header_json(&result);
}

static void print_json(struct cli *cli, const Lightcone__V1__KeyHistoryResponse *history) {
    json_t *object = json_object();
    json_t *versions = json_array();
    for (size_t i = 0; i < history->n_versions; i++) {
        (void)json_array_append_new(versions, version_json(history->versions[i]));
    }
    (void)json_object_set_new(object, "versions", versions);
    cli_json_bool(object, "more", history->more != 0);
    (void)json_object_set_new(object, "header", header_json(history->header));
    cli_print_json(cli, object);
}

// --- The command

static enum cli_exit show(struct cli *cli, const Lightcone__V1__KeyHistoryResponse *history) {
    if (cli->format == CLI_JSON) {
        print_json(cli, history);
    } else if (history->n_versions > 0) {
        print_table(cli, history);
    } else {
        (void)fputs("no versions: the key was never written\n", cli->out);
    }
    if (history->more != 0) { cli_note(cli, "older versions are not shown; --limit shows more"); }
    return CLI_OK;
}

static enum cli_exit ask(struct cli *cli, struct slice key) {
    struct session session;
    enum cli_exit exit = session_open(cli, &(struct session_options){0}, &session);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__KeyHistoryRequest request = LIGHTCONE__V1__KEY_HISTORY_REQUEST__INIT;
    Lightcone__V1__KeyHistoryResponse *history = NULL;
    struct err err = {0};
    request.keyspace = (char *)(uintptr_t)args_operand(&cli->args, 0);
    request.key = (ProtobufCBinaryData){key.size, (uint8_t *)(uintptr_t)key.data};
    request.limit = (uint32_t)args_number(&cli->args, "limit");
    if (lc_admin_key_history(session.client, 0, &request, &history, &err) == STATUS_OK) {
        exit = show(cli, history);
        lightcone__v1__key_history_response__free_unpacked(history, NULL);
    } else {
        const bool waited =
            err.status == STATUS_DEADLINE_EXCEEDED || err.status == STATUS_UNAVAILABLE;
        exit = cli_fail_err(cli, &err,
                            waited ? "a prepared transaction may be in the way: lightcone txn list"
                                   : NULL);
    }
    session_close(&session);
    return exit;
}

static enum cli_exit run(struct cli *cli) {
    struct buf key;
    buf_init(&key, TEXT_BUF_MAX);
    enum cli_exit exit =
        session_key(cli, args_operand(&cli->args, 1), args_flag(&cli->args, "literal"), &key);
    if (exit == CLI_OK) { exit = ask(cli, buf_slice(&key)); }
    buf_deinit(&key);
    return exit;
}

static const struct args_option options[] = {
    {.name = "limit",
     .kind = ARGS_NUMBER,
     .placeholder = "N",
     .help = "how many versions are shown",
     .fallback = "20",
     .number_min = 1,
     .number_max = 1000},
    SESSION_OPTION_LITERAL,
};

const struct cli_command commands_history = {
    .noun = "history",
    .verb = NULL,
    .operands = "KEYSPACE KEY",
    .summary = "the versions of a key, newest first",
    .details = "Read from the leader as a strong read is: what is prepared on the key is waited\n"
               "for. PREPARED is how long before its commit timestamp the transaction prepared\n"
               "on this shard, \"same\" where everything lay on one.",
    .examples = "  lightcone history users 42\n"
                "  lightcone history users 42 --limit 100 --format json\n",
    .operand_min = 2,
    .operand_max = 2,
    .options = {options, 2},
    .run = run,
};
