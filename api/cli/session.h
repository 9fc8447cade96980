// SPDX-License-Identifier: Apache-2.0
// session.h - from the command line to liblightcone and back: addresses, connections, results and
//             errors told to people and programs.
// Invariants: whatever returns an exit code other than CLI_OK has reported why.
// Ownership:  a session owns its client; messages of the Admin service are the caller's until freed
//             with their __free_unpacked.
// Thread:     one; callbacks of requests run on the client's thread.
// See:        api/client/lightcone.h; api/cli/README.md
#pragma once

#include "api/cli/cli.h"
#include "api/client/admin.h"
#include "api/client/lightcone.h"

enum { SESSION_ADDRESSES_SIZE = 1024 };

struct session_addresses {
    char text[SESSION_ADDRESSES_SIZE];  // private
    const char *items[LC_ADDRESSES_MAX];
    uint32_t count;
};

// --address, else $LIGHTCONE_ADDRESS, else a running development cluster, else 127.0.0.1:7401.
NODISCARD enum cli_exit session_addresses(struct cli *cli, struct session_addresses *out);
// Splits "host:port,host:port". INVALID_ARGUMENT says what is wrong.
NODISCARD enum status session_split(const char *text, struct session_addresses *out,
                                    struct err *err);

enum session_route {
    SESSION_AS_GIVEN,  // through the node of --address when that was given, else to the leaders
    SESSION_GATEWAY,   // through the first node that answers
    SESSION_LEADERS,   // to the leaders
};

struct session_options {
    enum lc_mode mode;
    enum session_route route;
    uint32_t outstanding_max;
    const char *keyspace;  // NULL = none is needed
};

struct session {
    struct lc_client *client;
    uint32_t keyspace;
};

NODISCARD enum cli_exit session_open(struct cli *cli, const struct session_options *options,
                                     struct session *out);
void session_close(struct session *self);

// Without a cluster's map: asks the addresses in turn until one answers.
NODISCARD enum cli_exit session_direct(struct cli *cli, const struct lc_admin_call *call,
                                       ProtobufCMessage **out_response);

// --- Operands

// "NODE", "SHARD": a whole number of 1 to max.
NODISCARD enum cli_exit session_number(struct cli *cli, size_t operand, const char *name,
                                       uint64_t max, uint64_t *out);
// A key with escapes, or as it is when `literal`. Appended.
NODISCARD enum cli_exit session_key(struct cli *cli, const char *text, bool literal,
                                    struct buf *out);
#define SESSION_OPTION_LITERAL \
    { .name = "literal", .kind = ARGS_FLAG, .help = "take keys on the line without escapes" }
// 32 hexadecimal digits, not all zero.
NODISCARD enum cli_exit session_txn_id(struct cli *cli, const char *text,
                                       uint8_t out[LC_TXN_ID_SIZE]);

// --- Results

// Reports a result that is not OK. hint may be NULL.
enum cli_exit session_fail(struct cli *cli, const struct lc_result *result, const char *hint);
// {"hlc", "served_by", "certificate": {...}}
json_t *session_header_json(const struct lc_result *result);
json_t *session_certificate_json(const struct lc_certificate *certificate);
// "session_token": what a later --session takes.
void session_json_token(json_t *object, const struct session *session);
// One line: by which evidence, how old; of a result also which node answered.
void session_note_header(struct cli *cli, const struct lc_result *result);
void session_note_certificate(struct cli *cli, const struct lc_certificate *certificate);
void session_txn_text(const uint8_t txn[LC_TXN_ID_SIZE], char out[2 * LC_TXN_ID_SIZE + 1]);
