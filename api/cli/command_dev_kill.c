// SPDX-License-Identifier: Apache-2.0
// What crashes do (KILL), what a machine that hangs does (STOP), and what an operator does (TERM).
#include "api/cli/commands.h"
#include "api/cli/dev_ask.h"

#include <signal.h>
#include <string.h>

enum { KILL_WAIT_MS = 10000 };

struct choice {
    const char *name;
    int number;
    bool ends;
    const char *said;
};

static const struct choice choices[] = {
    {"KILL", SIGKILL, true, "was killed"},
    {"TERM", SIGTERM, true, "was stopped"},
    {"STOP", SIGSTOP, false, "stands still; --signal CONT lets it go on"},
    {"CONT", SIGCONT, false, "goes on"},
};

static const struct choice *chosen(const struct cli *cli) {
    const char *name = args_text(&cli->args, "signal");
    const struct choice *found = &choices[0];
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        if (strcmp(choices[i].name, name) == 0) { found = &choices[i]; }
    }
    return found;
}

static enum cli_exit report(struct cli *cli, const struct dev_node *node,
                            const struct choice *choice, pid_t pid) {
    if (cli->format == CLI_JSON) {
        cli_print_json(cli, json_pack("{s:I,s:s,s:I}", "node", (json_int_t)dev_cluster_name(node),
                                      "signal", choice->name, "pid", (json_int_t)pid));
    } else {
        (void)fprintf(cli->out, "node %u (pid %d) %s\n", dev_cluster_name(node), (int)pid,
                      choice->said);
    }
    return CLI_OK;
}

static enum cli_exit signal_node(struct cli *cli, const struct dev_cluster *cluster,
                                 const struct dev_node *node) {
    const struct choice *choice = chosen(cli);
    struct dev_process process;
    struct err err = {0};
    enum dev_state state = dev_cluster_state(cluster, node, &process);
    enum status st =
        state == DEV_DOWN ? STATUS_NOT_FOUND : dev_process_signal(&process, choice->number);
    if (st == STATUS_OK && choice->ends && state == DEV_STOPPED) {
        // TERM waits until the process continues.
        (void)!dev_process_signal(&process, SIGCONT);
    }
    if (st != STATUS_OK) {
        (void)err_set(&err, STATUS_FAILED_PRECONDITION, "node %u does not run",
                      dev_cluster_name(node));
        return cli_fail_err(cli, &err, "lightcone dev start; lightcone dev status");
    }
    if (choice->ends && !dev_process_wait(&process, KILL_WAIT_MS)) {
        (void)err_set(&err, STATUS_DEADLINE_EXCEEDED, "node %u still runs after %d s",
                      dev_cluster_name(node), KILL_WAIT_MS / 1000);
        return cli_fail_err(cli, &err, "lightcone dev kill NODE --signal KILL");
    }
    return report(cli, node, choice, process.pid);
}

static enum cli_exit run(struct cli *cli) {
    struct dev_cluster cluster;
    struct dev_node *node = NULL;
    enum cli_exit exit = dev_ask_open(cli, &cluster);
    if (exit != CLI_OK) { return exit; }
    exit = dev_ask_operand(cli, &cluster, 0, &node);
    if (exit == CLI_OK) { exit = signal_node(cli, &cluster, node); }
    dev_cluster_close(&cluster);
    return exit;
}

static const struct args_option options[] = {
    {.name = "signal",
     .kind = ARGS_CHOICE,
     .placeholder = "KILL|TERM|STOP|CONT",
     .help = "what to send",
     .fallback = "KILL",
     .choices = "KILL|TERM|STOP|CONT"},
    DEV_OPTION_DIR,
};

const struct cli_command commands_dev_kill = {
    .noun = "dev",
    .verb = "kill",
    .operands = "NODE",
    .summary = "crash, stop or freeze a node's process",
    .examples = "  lightcone dev kill 2\n"
                "  lightcone dev kill 2 --signal STOP   # a machine that hangs\n"
                "  lightcone dev kill 2 --signal CONT\n",
    .operand_min = 1,
    .operand_max = 1,
    .options = {options, sizeof(options) / sizeof(options[0])},
    .run = run,
};
