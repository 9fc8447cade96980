// SPDX-License-Identifier: Apache-2.0
// `completion bash`: a script with the table of commands written out as words. It asks no cluster,
// so that the tab key never waits for a network.
#include "api/cli/commands.h"
#include "api/cli/text.h"

#include <string.h>

static void add_options(struct buf *out, const struct args_table *table) {
    for (uint32_t i = 0; i < table->count; i++) {
        text_addf(out, " --%s", table->options[i].name);
    }
}

static void add_nouns(struct buf *out) {
    text_add_string(out, "    local nouns='");
    for (size_t i = 0; commands_nouns[i].name != NULL; i++) {
        text_addf(out, "%s%s", i == 0 ? "" : " ", commands_nouns[i].name);
    }
    text_add_string(out, "'\n");
}

// NOUN) verbs='...' for nouns that have verbs.
static void add_verbs(struct buf *out) {
    for (size_t i = 0; commands_nouns[i].name != NULL; i++) {
        const char *noun = commands_nouns[i].name;
        if (commands_stands_alone(noun)) { continue; }
        text_addf(out, "    %s) verbs='", noun);
        bool first = true;
        for (size_t k = 0; commands_all[k] != NULL; k++) {
            if (strcmp(commands_all[k]->noun, noun) != 0) { continue; }
            text_addf(out, "%s%s", first ? "" : " ", commands_all[k]->verb);
            first = false;
        }
        text_add_string(out, "' ;;\n");
    }
}

static void add_command_options(struct buf *out) {
    for (size_t i = 0; commands_all[i] != NULL; i++) {
        const struct cli_command *command = commands_all[i];
        text_addf(out, "    '%s%s%s') options='", command->noun, command->verb == NULL ? "" : " ",
                  command->verb == NULL ? "" : command->verb);
        add_options(out, &command->options);
        text_add_string(out, "' ;;\n");
    }
}

// 'NOUN VERB --option') what the option may be; the same option may differ between commands.
static void add_choices(struct buf *out, const char *command, const struct args_table *table) {
    for (uint32_t i = 0; i < table->count; i++) {
        const struct args_option *option = &table->options[i];
        if (option->kind != ARGS_CHOICE) { continue; }
        text_addf(out, "    '%s'*' --%s') words='", command, option->name);
        for (const char *c = option->choices; *c != '\0'; c++) {
            text_add(out, slice_make(*c == '|' ? " " : c, 1));
        }
        text_add_string(out, "' ;;\n");
    }
}

static void add_all_choices(struct buf *out) {
    for (size_t i = 0; commands_all[i] != NULL; i++) {
        char command[128];
        (void)snprintf(command, sizeof(command), "%s%s%s", commands_all[i]->noun,
                       commands_all[i]->verb == NULL ? "" : " ",
                       commands_all[i]->verb == NULL ? "" : commands_all[i]->verb);
        add_choices(out, command, &commands_all[i]->options);
    }
    add_choices(out, "", &commands_globals);
}

// Options of the command line that take a value, so that the value is not taken for a verb.
static void add_valued_globals(struct buf *out) {
    for (uint32_t i = 0; i < commands_globals.count; i++) {
        if (commands_globals.options[i].kind == ARGS_FLAG) { continue; }
        text_addf(out, "%s--%s", i == 0 ? "" : "|", commands_globals.options[i].name);
    }
}

static void add_script(struct buf *out) {
    text_add_string(out, "# bash completion for lightcone: source this file, or put it into\n"
                         "# ~/.local/share/bash-completion/completions/lightcone\n"
                         "_lightcone() {\n"
                         "    local word=${COMP_WORDS[COMP_CWORD]}\n"
                         "    local previous=${COMP_WORDS[COMP_CWORD-1]}\n"
                         "    local noun='' verb='' verbs='' options='' words='' i\n");
    add_nouns(out);
    text_add_string(out, "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                         "        case ${COMP_WORDS[i]} in\n"
                         "        ");
    add_valued_globals(out);
    text_add_string(out, ") ((i++)) ;;\n"
                         "        -*) ;;\n"
                         "        *) if [[ -z $noun ]]; then noun=${COMP_WORDS[i]}\n"
                         "           elif [[ -z $verb ]]; then verb=${COMP_WORDS[i]}; fi ;;\n"
                         "        esac\n"
                         "    done\n"
                         "    case $noun in\n");
    add_verbs(out);
    text_add_string(out, "    esac\n"
                         "    local command=$noun\n"
                         "    [[ -z $verbs || -z $verb ]] || command=\"$noun $verb\"\n"
                         "    case $command in\n");
    add_command_options(out);
    text_add_string(out, "    esac\n"
                         "    case \"$command $previous\" in\n");
    add_all_choices(out);
    text_add_string(out, "    esac\n"
                         "    if [[ -n $words ]]; then :\n"
                         "    elif [[ $word == -* ]]; then words=\"$options");
    add_options(out, &commands_globals);
    text_add_string(out, "\"\n"
                         "    elif [[ -z $noun || $noun == help && -z $verb ]]; then "
                         "words=$nouns\n"
                         "    elif [[ -z $verb ]]; then words=$verbs\n"
                         "    fi\n"
                         "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                         "}\n"
                         "complete -o default -F _lightcone lightcone\n");
}

static enum cli_exit run(struct cli *cli) {
    struct buf script;
    buf_init(&script, TEXT_BUF_MAX);
    add_script(&script);
    (void)fwrite(script.data, 1, script.size, cli->out);
    buf_deinit(&script);
    return CLI_OK;
}

const struct cli_command commands_completion_bash = {
    .noun = "completion",
    .verb = "bash",
    .operands = "",
    .summary = "print a completion script for bash",
    .examples = "  source <(lightcone completion bash)\n"
                "  cd ~/.local/share/bash-completion/completions\n"
                "  lightcone completion bash > lightcone\n",
    .run = run,
};
