// SPDX-License-Identifier: Apache-2.0
// The order is the order of the help.
#include "api/cli/commands.h"

#include <string.h>

static const struct args_option global_options[COMMANDS_GLOBAL_COUNT] = {
    [COMMANDS_GLOBAL_ADDRESS] = {.name = "address",
                                 .kind = ARGS_TEXT,
                                 .placeholder = "HOST:PORT[,...]",
                                 .help = "nodes to ask, the first that answers; default "
                                         "$LIGHTCONE_ADDRESS, else a running development cluster, "
                                         "else 127.0.0.1:7401"},
    [COMMANDS_GLOBAL_FORMAT] = {.name = "format",
                                .kind = ARGS_CHOICE,
                                .placeholder = "table|json",
                                .help = "how results look",
                                .fallback = "table",
                                .choices = "table|json"},
    [COMMANDS_GLOBAL_TIMEOUT] = {.name = "timeout",
                                 .kind = ARGS_NUMBER,
                                 .placeholder = "MS",
                                 .help = "milliseconds a request may take",
                                 .fallback = "10000",
                                 .number_min = 1,
                                 .number_max = 3600000},
    [COMMANDS_GLOBAL_QUIET] = {.name = "quiet",
                               .kind = ARGS_FLAG,
                               .help = "no remarks and no progress, results and errors only"},
    [COMMANDS_GLOBAL_HELP] = {.name = "help",
                              .letter = 'h',
                              .kind = ARGS_FLAG,
                              .help = "what the command does, with examples"},
};

const struct args_table commands_globals = {global_options, COMMANDS_GLOBAL_COUNT};

const struct commands_noun commands_nouns[] = {
    {"dev", "a cluster of processes on this machine"},
    {"cluster", "the cluster as a whole"},
    {"node", "its nodes"},
    {"keyspace", "named sets of keys"},
    {"shard", "key ranges, their replicas and leaders"},
    {"kv", "keys and values"},
    {"txn", "transactions"},
    {"history", "the versions of a key"},
    {"shell", "statements and commands, one after the other"},
    {"trace", "how a transaction went over the nodes"},
    {"bench", "measure latency and throughput"},
    {"completion", "completion for shells"},
    {"help", "help for a command"},
    {"version", "version of this program"},
    {NULL, NULL},
};

const struct cli_command *const commands_all[] = {
    &commands_dev_up,
    &commands_dev_down,
    &commands_dev_status,
    &commands_dev_kill,
    &commands_dev_start,
    &commands_dev_partition,
    &commands_dev_heal,
    &commands_dev_skew,
    &commands_cluster_init,
    &commands_cluster_status,
    &commands_node_list,
    &commands_node_show,
    &commands_node_skew,
    &commands_keyspace_create,
    &commands_keyspace_list,
    &commands_shard_list,
    &commands_shard_show,
    &commands_shard_place,
    &commands_shard_move,
    &commands_shard_cancel,
    &commands_shard_transfer,
    &commands_shard_transfer_leader,
    &commands_kv_get,
    &commands_kv_put,
    &commands_kv_delete,
    &commands_kv_incr,
    &commands_kv_scan,
    &commands_kv_import,
    &commands_kv_export,
    &commands_kv_checksum,
    &commands_kv_verify,
    &commands_txn_run,
    &commands_txn_list,
    &commands_txn_why,
    &commands_txn_status,
    &commands_history,
    &commands_trace,
    &commands_shell,
    &commands_bench,
    &commands_completion_bash,
    &commands_help,
    &commands_version,
    NULL,
};

static bool is_named(const struct cli_command *command, const char *noun, const char *verb) {
    if (strcmp(command->noun, noun) != 0) { return false; }
    if (command->verb == NULL || verb == NULL) { return command->verb == verb; }
    return strcmp(command->verb, verb) == 0;
}

const struct cli_command *commands_find(const char *noun, const char *verb) {
    for (size_t i = 0; noun != NULL && commands_all[i] != NULL; i++) {
        if (is_named(commands_all[i], noun, verb)) { return commands_all[i]; }
    }
    return NULL;
}

bool commands_has_noun(const char *noun) {
    for (size_t i = 0; commands_nouns[i].name != NULL; i++) {
        if (strcmp(commands_nouns[i].name, noun) == 0) { return true; }
    }
    return false;
}

bool commands_stands_alone(const char *noun) {
    return commands_find(noun, NULL) != NULL;
}
