// SPDX-License-Identifier: Apache-2.0
// commands.h - the one table of commands and of global options: parsing, help and completion all
// read it.
// Invariants: commands of one noun stand together; a noun has either verbs or none.
// Ownership:  constants.
// Thread:     any.
// See:        api/cli/README.md "Adding a command"; tests/unit/api/cli/commands_test.c
#pragma once

#include "api/cli/cli.h"

enum {
    COMMANDS_GLOBAL_ADDRESS,
    COMMANDS_GLOBAL_FORMAT,
    COMMANDS_GLOBAL_TIMEOUT,
    COMMANDS_GLOBAL_QUIET,
    COMMANDS_GLOBAL_HELP,
    COMMANDS_GLOBAL_COUNT
};

extern const struct args_table commands_globals;

// Terminated by NULL.
extern const struct cli_command *const commands_all[];

// What a noun is about, for the overview.
struct commands_noun {
    const char *name;
    const char *summary;
};
// Terminated by a NULL name.
extern const struct commands_noun commands_nouns[];

// NULL when there is none. noun and verb may be NULL.
const struct cli_command *commands_find(const char *noun, const char *verb);
bool commands_has_noun(const char *noun);
// Whether the noun is a whole command, without verbs.
bool commands_stands_alone(const char *noun);

// One a file.
extern const struct cli_command commands_dev_up;
extern const struct cli_command commands_dev_down;
extern const struct cli_command commands_dev_status;
extern const struct cli_command commands_dev_kill;
extern const struct cli_command commands_dev_start;
extern const struct cli_command commands_dev_partition;
extern const struct cli_command commands_dev_heal;
extern const struct cli_command commands_dev_skew;
extern const struct cli_command commands_cluster_init;
extern const struct cli_command commands_cluster_status;
extern const struct cli_command commands_node_list;
extern const struct cli_command commands_node_show;
extern const struct cli_command commands_node_skew;
extern const struct cli_command commands_keyspace_create;
extern const struct cli_command commands_keyspace_list;
extern const struct cli_command commands_shard_list;
extern const struct cli_command commands_shard_show;
extern const struct cli_command commands_shard_place;
extern const struct cli_command commands_shard_move;
extern const struct cli_command commands_shard_cancel;
extern const struct cli_command commands_shard_transfer;
extern const struct cli_command commands_shard_transfer_leader;
extern const struct cli_command commands_kv_get;
extern const struct cli_command commands_kv_put;
extern const struct cli_command commands_kv_delete;
extern const struct cli_command commands_kv_incr;
extern const struct cli_command commands_kv_scan;
extern const struct cli_command commands_kv_import;
extern const struct cli_command commands_kv_export;
extern const struct cli_command commands_kv_checksum;
extern const struct cli_command commands_kv_verify;
extern const struct cli_command commands_txn_list;
extern const struct cli_command commands_txn_why;
extern const struct cli_command commands_txn_run;
extern const struct cli_command commands_txn_status;
extern const struct cli_command commands_history;
extern const struct cli_command commands_shell;
extern const struct cli_command commands_trace;
extern const struct cli_command commands_bench;
extern const struct cli_command commands_completion_bash;
extern const struct cli_command commands_help;
extern const struct cli_command commands_version;
