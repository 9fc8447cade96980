// SPDX-License-Identifier: Apache-2.0
// `help` and `version`: what needs no cluster and no options.
#include "api/cli/commands.h"
#include "api/cli/help.h"
#include "api/cli/version.h"

static enum cli_exit run_help(struct cli *cli) {
    const char *noun = args_operand(&cli->args, 0);
    const char *verb = args_operand(&cli->args, 1);
    if (noun == NULL) {
        help_overview(cli, cli->out);
        return CLI_OK;
    }
    const struct cli_command *command = commands_find(noun, verb);
    if (command != NULL) {
        help_command(cli, command);
        return CLI_OK;
    }
    if (!commands_has_noun(noun) || verb != NULL) {
        return cli_usage(cli, "\"%.80s%s%.80s\": no such command", noun, verb == NULL ? "" : " ",
                         verb == NULL ? "" : verb);
    }
    help_noun(cli, noun, cli->out);
    return CLI_OK;
}

const struct cli_command commands_help = {
    .noun = "help",
    .operands = "[NOUN [VERB]]",
    .summary = "help for a command",
    .examples = "  lightcone help\n"
                "  lightcone help kv\n"
                "  lightcone help kv scan\n",
    .operand_max = 2,
    .run = run_help,
};

static enum cli_exit run_version(struct cli *cli) {
    if (cli->format == CLI_JSON) {
        json_t *object = json_object();
        cli_json_string(object, "version", VERSION_TEXT);
        cli_print_json(cli, object);
    } else {
        (void)fprintf(cli->out, "lightcone %s\n", VERSION_TEXT);
    }
    return CLI_OK;
}

const struct cli_command commands_version = {
    .noun = "version",
    .operands = "",
    .summary = "version of this program",
    .details = "The version of a node is shown by `lightcone node show`.",
    .examples = "  lightcone version\n",
    .run = run_version,
};
