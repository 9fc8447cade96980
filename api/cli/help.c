// SPDX-License-Identifier: Apache-2.0
// Nothing about a command is written here: a new command has its help the moment it stands in the
// table.
#include "api/cli/help.h"

#include "api/cli/commands.h"
#include "api/cli/text.h"

#include <string.h>

enum { HELP_INDENT = 26, HELP_COLUMNS = 80 };

static void title(const struct cli *cli, FILE *out, const char *text) {
    bool colour = cli->colour && cli->out_terminal && out == cli->out;
    (void)fprintf(out, "\n%s%s%s\n", colour ? "\033[1m" : "", text, colour ? "\033[0m" : "");
}

// Words of `text` in lines that begin at column `indent`, where the first one stands already.
static void words(FILE *out, const char *text, size_t indent) {
    size_t column = indent;
    while (*text != '\0') {
        size_t size = strcspn(text, " \n");
        bool first = column == indent;
        if (!first && column + 1 + size > HELP_COLUMNS) {
            (void)fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        (void)fprintf(out, "%s%.*s", first ? "" : " ", (int)size, text);
        column += size + (first ? 0 : 1);
        text += size;
        text += *text != '\0' ? 1 : 0;
    }
    (void)fputc('\n', out);
}

// `text` from column HELP_INDENT on; the line holds `used` columns.
static void wrapped(FILE *out, const char *text, size_t used) {
    size_t column = used;
    if (column + 2 > HELP_INDENT) {
        (void)fputc('\n', out);
        column = 0;
    }
    (void)fprintf(out, "%*s", (int)(HELP_INDENT - column), "");
    words(out, text, HELP_INDENT);
}

static void option_line(FILE *out, const struct args_option *option) {
    struct buf head;
    struct buf text;
    buf_init(&head, TEXT_BUF_MAX);
    buf_init(&text, TEXT_BUF_MAX);
    text_add_string(&head, "  ");
    if (option->letter != 0) { text_addf(&head, "-%c, ", option->letter); }
    text_addf(&head, "--%s", option->name);
    if (option->placeholder != NULL) { text_addf(&head, " %s", option->placeholder); }
    text_add_string(&text, option->help);
    if (option->fallback != NULL) { text_addf(&text, " (default %s)", option->fallback); }
    text_add(&text, slice_make("", 1));
    (void)fwrite(head.data, 1, head.size, out);
    wrapped(out, (const char *)text.data, head.size);
    buf_deinit(&head);
    buf_deinit(&text);
}

static void global_lines(const struct cli *cli, FILE *out) {
    title(cli, out, "Options of every command");
    for (uint32_t i = 0; i < commands_globals.count; i++) {
        option_line(out, &commands_globals.options[i]);
    }
}

static void command_line(FILE *out, const struct cli_command *command) {
    char head[128];
    int size =
        snprintf(head, sizeof(head), "  %s%s%s%s%s", command->noun,
                 command->verb == NULL ? "" : " ", command->verb == NULL ? "" : command->verb,
                 command->operands[0] == '\0' ? "" : " ", command->operands);
    (void)fputs(head, out);
    wrapped(out, command->summary, (size_t)size);
}

void help_overview(struct cli *cli, FILE *out) {
    (void)fputs("lightcone - talk to a Lightcone cluster\n"
                "\nusage: lightcone NOUN VERB [OPTIONS] [OPERANDS]\n",
                out);
    title(cli, out, "Commands");
    for (size_t i = 0; commands_nouns[i].name != NULL; i++) {
        (void)fprintf(out, "  %s", commands_nouns[i].name);
        wrapped(out, commands_nouns[i].summary, 2 + strlen(commands_nouns[i].name));
    }
    global_lines(cli, out);
    (void)fputs("\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 unknown outcome (ask again).\n"
                "A first step: lightcone dev up; more: lightcone help NOUN [VERB]\n",
                out);
}

void help_noun(struct cli *cli, const char *noun, FILE *out) {
    if (commands_stands_alone(noun)) {
        help_command(cli, commands_find(noun, NULL));
        return;
    }
    for (size_t i = 0; commands_nouns[i].name != NULL; i++) {
        if (strcmp(commands_nouns[i].name, noun) == 0) {
            (void)fprintf(out, "lightcone %s - %s\n", noun, commands_nouns[i].summary);
        }
    }
    title(cli, out, "Commands");
    for (size_t i = 0; commands_all[i] != NULL; i++) {
        if (strcmp(commands_all[i]->noun, noun) == 0) { command_line(out, commands_all[i]); }
    }
    (void)fprintf(out, "\nmore: lightcone help %s VERB\n", noun);
}

static bool is_hidden(const struct cli_command *command, const char *name) {
    for (uint32_t i = 0; i < command->options.count; i++) {
        if (strcmp(command->options.options[i].name, name) == 0) { return true; }
    }
    return false;
}

static void usage_line(FILE *out, const struct cli_command *command) {
    (void)fprintf(out, "\nusage: lightcone %s%s%s%s%s%s\n", command->noun,
                  command->verb == NULL ? "" : " ", command->verb == NULL ? "" : command->verb,
                  command->options.count == 0 ? "" : " [OPTIONS]",
                  command->operands[0] == '\0' ? "" : " ", command->operands);
}

void help_command(struct cli *cli, const struct cli_command *command) {
    FILE *out = cli->out;
    (void)fprintf(out, "lightcone %s%s%s - %s\n", command->noun, command->verb == NULL ? "" : " ",
                  command->verb == NULL ? "" : command->verb, command->summary);
    usage_line(out, command);
    if (command->details != NULL) {
        (void)fputc('\n', out);
        words(out, command->details, 0);
    }
    if (command->options.count > 0) { title(cli, out, "Options"); }
    for (uint32_t i = 0; i < command->options.count; i++) {
        option_line(out, &command->options.options[i]);
    }
    title(cli, out, "Options of every command");
    for (uint32_t i = 0; i < commands_globals.count; i++) {
        if (!is_hidden(command, commands_globals.options[i].name)) {
            option_line(out, &commands_globals.options[i]);
        }
    }
    title(cli, out, "Examples");
    (void)fprintf(out, "%s", command->examples);
}
