// SPDX-License-Identifier: Apache-2.0
// Everything that commands share about the server. liblightcone is the only way there.
#include "api/cli/session.h"

#include "api/cli/dev_cluster.h"
#include "api/cli/text.h"
#include "dataplane/base/assert.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SESSION_NOTE_SIZE = 384, SESSION_KEY_SHOWN = 160 };
static const char SESSION_ADDRESS_DEFAULT[] = "127.0.0.1:7401";

// --- Addresses

static bool is_address(const char *text) {
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) { return false; }
    uint64_t port = 0;
    return args_parse_number(colon + 1, &port) == STATUS_OK && port >= 1 && port <= UINT16_MAX &&
           strspn(colon + 1, "0123456789") == strlen(colon + 1);
}

enum status session_split(const char *text, struct session_addresses *out, struct err *err) {
    *out = (struct session_addresses){.count = 0};
    if (strlen(text) >= sizeof(out->text)) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "more than %d bytes of addresses",
                       SESSION_ADDRESSES_SIZE - 1);
    }
    (void)snprintf(out->text, sizeof(out->text), "%s", text);
    char *rest = out->text;
    while (rest != NULL) {
        char *address = strsep(&rest, ",");
        if (!is_address(address)) {
            return err_set(err, STATUS_INVALID_ARGUMENT, "\"%.100s\" is not host:port", address);
        }
        if (out->count == LC_ADDRESSES_MAX) {
            return err_set(err, STATUS_INVALID_ARGUMENT, "more than %d addresses",
                           LC_ADDRESSES_MAX);
        }
        out->items[out->count++] = address;
    }
    return STATUS_OK;
}

static bool dev_addresses(char *out, size_t size) {
    char dir[DEV_PATH_SIZE];
    return dev_cluster_directory(NULL, dir, NULL) == STATUS_OK &&
           dev_cluster_running_addresses(dir, out, size);
}

enum cli_exit session_addresses(struct cli *cli, struct session_addresses *out) {
    char found[SESSION_ADDRESSES_SIZE];
    const char *origin = "--address";
    const char *text = cli->address;
    if (text == NULL) {
        origin = "LIGHTCONE_ADDRESS";
        text = getenv("LIGHTCONE_ADDRESS");
        if (text != NULL && text[0] == '\0') { text = NULL; }
    }
    if (text == NULL) {
        text = dev_addresses(found, sizeof(found)) ? found : SESSION_ADDRESS_DEFAULT;
    }
    struct err err = {0};
    if (session_split(text, out, &err) != STATUS_OK) {
        return cli_usage(cli, "%s: %s", origin, err.message);
    }
    return CLI_OK;
}

// --- Connections

static enum cli_exit direct_failed(struct cli *cli, const struct err *err) {
    const char *hint = NULL;
    if (err->status == STATUS_UNAVAILABLE || err->status == STATUS_DEADLINE_EXCEEDED) {
        hint = "is a node running there? lightcone dev status; --address";
    } else if (err->status == STATUS_ALREADY_EXISTS) {
        hint = "lightcone cluster status";
    }
    return cli_fail_err(cli, err, hint);
}

enum cli_exit session_direct(struct cli *cli, const struct lc_admin_call *call,
                             ProtobufCMessage **out_response) {
    struct session_addresses addresses;
    enum cli_exit exit = session_addresses(cli, &addresses);
    if (exit != CLI_OK) { return exit; }
    enum status st = STATUS_UNAVAILABLE;
    struct err err = {0};
    for (uint32_t i = 0; i < addresses.count && st == STATUS_UNAVAILABLE; i++) {
        err = (struct err){0};
        st = lc_admin_direct(addresses.items[i], call, out_response, &err);
        if (st != STATUS_OK && strstr(err.message, addresses.items[i]) == NULL) {
            err_wrap(&err, "%.100s", addresses.items[i]);
        }
    }
    return st == STATUS_OK ? CLI_OK : direct_failed(cli, &err);
}

// lc_connect waits for nodes that may be on their way, up to the timeout. When nobody listens at
// all, or the node belongs to no cluster, that is worth saying at once.
static enum cli_exit probe(struct cli *cli) {
    Lightcone__V1__ClusterStatusRequest request = LIGHTCONE__V1__CLUSTER_STATUS_REQUEST__INIT;
    struct lc_admin_call call = {
        .method = "ClusterStatus",
        .request = &request.base,
        .response = &lightcone__v1__cluster_status_response__descriptor,
        .timeout_ms = cli->timeout_ms,
    };
    ProtobufCMessage *message = NULL;
    enum cli_exit exit = session_direct(cli, &call, &message);
    if (exit != CLI_OK) { return exit; }
    Lightcone__V1__ClusterStatusResponse *status = (void *)message;
    ASSERT(status != NULL);
    bool initialized = status->initialized != 0;
    lightcone__v1__cluster_status_response__free_unpacked(status, NULL);
    if (initialized) { return CLI_OK; }
    return cli_fail(cli,
                    &(struct cli_error){.status = STATUS_FAILED_PRECONDITION,
                                        .message = "the node belongs to no cluster yet",
                                        .hint = "lightcone cluster init, once the nodes are up"});
}

static enum cli_exit connect_failed(struct cli *cli, const struct session_addresses *addresses,
                                    const struct err *err) {
    char message[ERR_MESSAGE_SIZE + 128];
    (void)snprintf(message, sizeof(message), "%.100s%s: %s", addresses->items[0],
                   addresses->count > 1 ? " and others" : "", err->message);
    return cli_fail(cli, &(struct cli_error){
                             .status = err->status,
                             .message = message,
                             .hint = "is a node running there, in a cluster that was initialised? "
                                     "lightcone cluster status; lightcone dev status; --address"});
}

enum cli_exit session_open(struct cli *cli, const struct session_options *options,
                           struct session *out) {
    struct session_addresses addresses;
    enum cli_exit exit = session_addresses(cli, &addresses);
    if (exit != CLI_OK) { return exit; }
    struct lc_config config = {
        .addresses = addresses.items,
        .address_count = addresses.count,
        .mode = options->mode,
        .via_gateway = options->route == SESSION_GATEWAY ||
                       (options->route == SESSION_AS_GIVEN && cli->address != NULL),
        .timeout_ms = cli->timeout_ms,
        .outstanding_max = options->outstanding_max,
    };
    struct session session = {0};
    struct err err = {0};
    exit = probe(cli);
    if (exit != CLI_OK) { return exit; }
    if (lc_connect(&config, &session.client, &err) != STATUS_OK) {
        return connect_failed(cli, &addresses, &err);
    }
    if (options->keyspace != NULL &&
        lc_keyspace(session.client, options->keyspace, &session.keyspace, &err) != STATUS_OK) {
        exit = cli_fail_err(cli, &err,
                            err.status == STATUS_NOT_FOUND ? "lightcone keyspace list" : NULL);
        session_close(&session);
        return exit;
    }
    *out = session;
    return CLI_OK;
}

void session_close(struct session *self) {
    lc_close(self->client);
    self->client = NULL;
}

// --- Operands

enum cli_exit session_number(struct cli *cli, size_t operand, const char *name, uint64_t max,
                             uint64_t *out) {
    const char *text = args_operand(&cli->args, operand);
    ASSERT(text != NULL);
    uint64_t number = 0;
    if (args_parse_number(text, &number) != STATUS_OK || number == 0 || number > max) {
        return cli_usage(cli, "%s: \"%.40s\" is no number from 1 to %" PRIu64, name, text, max);
    }
    *out = number;
    return CLI_OK;
}

enum cli_exit session_key(struct cli *cli, const char *text, bool literal, struct buf *out) {
    struct err err = {0};
    if (literal) {
        text_add_string(out, text);
    } else if (text_unescape(out, text, &err) != STATUS_OK) {
        return cli_usage(cli, "%s (--literal takes keys as they are)", err.message);
    }
    return CLI_OK;
}

enum cli_exit session_txn_id(struct cli *cli, const char *text, uint8_t out[LC_TXN_ID_SIZE]) {
    static const uint8_t zero[LC_TXN_ID_SIZE];
    struct buf bytes;
    buf_init(&bytes, TEXT_BUF_MAX);
    bool ok = text_unhex(&bytes, text) == STATUS_OK && bytes.size == LC_TXN_ID_SIZE &&
              memcmp(bytes.data, zero, LC_TXN_ID_SIZE) != 0;
    if (ok) { memcpy(out, bytes.data, LC_TXN_ID_SIZE); }
    buf_deinit(&bytes);
    return ok ? CLI_OK
              : cli_usage(cli, "\"%.40s\" is no transaction id: 32 hexadecimal digits, not all 0",
                          text);
}

// --- Results

void session_txn_text(const uint8_t txn[LC_TXN_ID_SIZE], char out[2 * LC_TXN_ID_SIZE + 1]) {
    for (size_t i = 0; i < LC_TXN_ID_SIZE; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", txn[i]);
    }
}

// NUL-terminated copy for struct cli_error.
static void copy_text(char *out, size_t size, struct slice text) {
    size_t kept = text.size < size ? text.size : size - 1;
    if (kept > 0) { memcpy(out, text.data, kept); }
    out[kept] = '\0';
}

// "...; in conflict: 'key' with 0123..."
static void add_conflict(char *message, size_t size, const struct lc_result *result) {
    char txn[2 * LC_TXN_ID_SIZE + 1];
    struct buf key;
    buf_init(&key, TEXT_BUF_MAX);
    text_escape(&key, result->conflict_key, TEXT_LINE);
    session_txn_text(result->holder, txn);
    size_t used = strlen(message);
    (void)snprintf(message + used, size - used, "; in conflict: '%.*s', with transaction %s",
                   (int)(key.size < SESSION_KEY_SHOWN ? key.size : SESSION_KEY_SHOWN),
                   (const char *)key.data, txn);
    buf_deinit(&key);
}

enum cli_exit session_fail(struct cli *cli, const struct lc_result *result, const char *hint) {
    static const uint8_t nobody[LC_TXN_ID_SIZE];
    char message[512];
    char field[128];
    copy_text(message, sizeof(message), result->message);
    copy_text(field, sizeof(field), result->field);
    struct cli_error error = {.status = result->status,
                              .field = field,
                              .limit = result->limit,
                              .message = message,
                              .hint = hint};
    if (hint == NULL && status_is_retryable(result->status)) {
        error.hint = "try again; lightcone cluster status";
    }
    if (result->conflict_key.size > 0 || memcmp(result->holder, nobody, LC_TXN_ID_SIZE) != 0) {
        add_conflict(message, sizeof(message), result);
    }
    enum cli_exit exit = cli_fail(cli, &error);
    return result->outcome == LC_UNKNOWN ? CLI_UNKNOWN : exit;
}

static const char *method_name(uint32_t method) {
    static const char *const names[] = {"none", "lease", "read_index", "log", "closed", "applied"};
    return method < sizeof(names) / sizeof(names[0]) ? names[method] : "?";
}

json_t *session_certificate_json(const struct lc_certificate *certificate) {
    json_t *object = json_object();
    cli_json_string(object, "method", method_name(certificate->method));
    cli_json_u64(object, "shard", certificate->shard);
    cli_json_u64(object, "config_epoch", certificate->config_epoch);
    cli_json_u64(object, "term", certificate->term);
    cli_json_u64(object, "index", certificate->index);
    cli_json_timestamp(object, "timestamp", certificate->timestamp);
    cli_json_timestamp(object, "closed", certificate->closed);
    cli_json_u64(object, "age_us", certificate->age_us);
    return object;
}

json_t *session_header_json(const struct lc_result *result) {
    json_t *object = json_object();
    cli_json_timestamp(object, "hlc", result->hlc);
    cli_json_u64(object, "served_by", result->served_by);
    (void)json_object_set_new(object, "certificate",
                              session_certificate_json(&result->certificate));
    return object;
}

void session_json_token(json_t *object, const struct session *session) {
    cli_json_timestamp(object, "session_token", lc_session_token(session->client));
}

// What both lines say.
static void describe(const struct lc_certificate *c, char *out, size_t size) {
    char timestamp[TEXT_SIZE];
    char age[TEXT_SIZE];
    (void)snprintf(out, size,
                   "at %s, by %s: shard %" PRIu64 ", term %" PRIu64 ", index %" PRIu64 ", age %s",
                   text_format_timestamp(c->timestamp, timestamp), method_name(c->method), c->shard,
                   c->term, c->index, text_format_duration(c->age_us * 1000, age));
}

void session_note_certificate(struct cli *cli, const struct lc_certificate *certificate) {
    char text[SESSION_NOTE_SIZE];
    describe(certificate, text, sizeof(text));
    cli_note(cli, "%s", text);
}

void session_note_header(struct cli *cli, const struct lc_result *result) {
    char text[SESSION_NOTE_SIZE];
    describe(&result->certificate, text, sizeof(text));
    cli_note(cli, "%s; gateway %" PRIu32, text, result->served_by);
}
