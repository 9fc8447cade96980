// SPDX-License-Identifier: Apache-2.0
// write.h - one commit to one key, as `kv put`, `kv delete` and `kv incr` make it.
// Invariants: an outcome that is not known is reported with the id to ask about, exit code
//             CLI_UNKNOWN.
// Ownership:  everything is borrowed for the call.
// Thread:     one.
// See:        api/cli/command_kv_put.c, api/cli/command_kv_delete.c, api/cli/command_kv_incr.c
#pragma once

#include "api/cli/session.h"

struct write {
    struct lc_mutation mutation;
    struct lc_condition condition;
    bool conditional;
    const char *refusal;  // what CONDITION_FAILED means; NULL = the condition's
    bool shows_value;     // the value right after the commit goes to out
};

// Operand 0 is the keyspace; the option is --txn-id. Connects, commits, reports.
enum cli_exit write_run(struct cli *cli, const struct write *write);

// An option that all of them have.
#define WRITE_OPTION_TXN_ID                                                              \
    {                                                                                    \
        .name = "txn-id", .kind = ARGS_TEXT, .placeholder = "HEX",                       \
        .help = "transaction id, 32 hexadecimal digits: a repeated commit applies once " \
                "(default: a new one)"                                                   \
    }
