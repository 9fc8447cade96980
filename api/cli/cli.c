// SPDX-License-Identifier: Apache-2.0
// The line is "lightcone [global options] NOUN [global options] VERB [options and operands]". What
// stands before the verb is parsed by the global table alone, what follows by the command's table
// and the global one; so a command may use a global name for itself (kv import --format) and the
// global meaning is still to be had in front.
#include "api/cli/cli.h"

#include "api/cli/commands.h"
#include "api/cli/help.h"
#include "api/cli/text.h"
#include "dataplane/base/assert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum { CLI_MESSAGE_SIZE = 512, CLI_GLOBAL_WORDS_MAX = 16 };

struct split_line {
    char *globals[CLI_GLOBAL_WORDS_MAX];
    int global_count;
    const char *noun;
    const char *verb;  // NULL when the noun stands alone
    char **rest;
    int rest_count;
};

// --- The line

static const struct args_option *global_option(const char *word) {
    const char *name = word + 2;
    size_t size = strcspn(name, "=");
    for (uint32_t i = 0; i < commands_globals.count; i++) {
        const struct args_option *option = &commands_globals.options[i];
        if (strlen(option->name) == size && strncmp(option->name, name, size) == 0) {
            return option;
        }
    }
    return NULL;
}

// How many words a global option in front takes; 0 for what is none.
static int global_words(const char *word) {
    if (strcmp(word, "-h") == 0) { return 1; }
    if (strncmp(word, "--", 2) != 0) { return 0; }
    const struct args_option *option = global_option(word);
    if (option == NULL) { return 0; }
    return option->kind == ARGS_FLAG || strchr(word, '=') != NULL ? 1 : 2;
}

// Moves global options at *at to the line's; false for an option that is none.
static bool skip_globals(struct split_line *line, int argc, char **argv, int *at) {
    while (*at < argc && argv[*at][0] == '-') {
        int words = global_words(argv[*at]);
        if (words == 0 || line->global_count + words > CLI_GLOBAL_WORDS_MAX) { return false; }
        for (int i = 0; i < words && *at < argc; i++) {
            line->globals[line->global_count++] = argv[(*at)++];
        }
    }
    return true;
}

static enum status split(struct split_line *line, int argc, char **argv, struct err *err) {
    int at = 1;
    *line = (struct split_line){.global_count = 0};
    bool ok = skip_globals(line, argc, argv, &at);
    if (ok && at < argc) {
        line->noun = argv[at++];
        if (!commands_stands_alone(line->noun)) {
            ok = skip_globals(line, argc, argv, &at);
            line->verb = ok && at < argc ? argv[at++] : NULL;
        }
    }
    line->rest = argv + at;
    line->rest_count = argc - at;
    if (!ok) {
        return err_set(err, STATUS_INVALID_ARGUMENT, "%.80s: no such option before a command",
                       argv[at]);
    }
    return STATUS_OK;
}

// --- Running

static void take_globals(struct cli *cli) {
    const struct args_option *options = commands_globals.options;
    const char *format = args_text_of(&cli->args, &options[COMMANDS_GLOBAL_FORMAT]);
    cli->format = strcmp(format, "json") == 0 ? CLI_JSON : CLI_TABLE;
    cli->quiet = args_flag(&cli->args, "quiet");
    cli->timeout_ms = (uint32_t)args_number(&cli->args, "timeout");
    cli->address = args_text_of(&cli->args, &options[COMMANDS_GLOBAL_ADDRESS]);
}

static enum cli_exit check_operands(struct cli *cli) {
    const struct cli_command *command = cli->command;
    size_t count = cli->args.operand_count;
    if (count < command->operand_min) {
        return cli_usage(cli, "wants %s; %zu of them given", command->operands, count);
    }
    if (count > command->operand_max) {
        return cli_usage(cli, "\"%.80s\" is one operand too many; wants %s",
                         args_operand(&cli->args, command->operand_max),
                         command->operand_max == 0 ? "none" : command->operands);
    }
    return CLI_OK;
}

static enum cli_exit run_command(struct cli *cli, struct split_line *line, struct err *err) {
    args_add_table(&cli->args, cli->command->options);
    enum status st = args_parse(&cli->args, line->rest_count, line->rest, err);
    take_globals(cli);
    if (args_flag(&cli->args, "help")) {
        help_command(cli, cli->command);
        return CLI_OK;
    }
    if (st != STATUS_OK) { return cli_usage(cli, "%s", err->message); }
    enum cli_exit exit = check_operands(cli);
    return exit == CLI_OK ? cli->command->run(cli) : exit;
}

// A noun without a verb of its own: help, or a complaint with what there is.
static enum cli_exit run_no_command(struct cli *cli, const struct split_line *line) {
    take_globals(cli);
    bool asked = args_flag(&cli->args, "help");
    if (line->noun == NULL) {
        help_overview(cli, asked ? cli->out : cli->err);
        return asked ? CLI_OK : CLI_USAGE;
    }
    if (!commands_has_noun(line->noun)) {
        return cli_usage(cli, "\"%.80s\": no such command", line->noun);
    }
    bool no_verb = line->verb == NULL || strcmp(line->verb, "help") == 0;
    if (!no_verb) {
        return cli_usage(cli, "\"%.80s %.80s\": no such command", line->noun, line->verb);
    }
    asked = asked || line->verb != NULL;
    help_noun(cli, line->noun, asked ? cli->out : cli->err);
    return asked ? CLI_OK : CLI_USAGE;
}

// stdio forgets why a write failed; the first reason is kept.
bool cli_is_broken(struct cli *cli) {
    if (ferror(cli->out) != 0 && cli->write_error == 0) { cli->write_error = errno; }
    return cli->write_error != 0;
}

static void flush_out(struct cli *cli) {
    errno = EIO;
    (void)fflush(cli->out);
    (void)cli_is_broken(cli);
}

// A reader that went away (head) is nothing to complain about; a full disk is.
static enum cli_exit check_written(struct cli *cli, enum cli_exit exit) {
    flush_out(cli);
    if (cli->write_error == 0) { return exit; }
    if (cli->write_error != EPIPE) {
        (void)fprintf(cli->err, "lightcone: writing the result: %s\n", strerror(cli->write_error));
    }
    return exit == CLI_OK ? CLI_FAILED : exit;
}

enum cli_exit cli_run(struct cli *cli, int argc, char **argv) {
    ASSERT(argc > 0);
    struct split_line line;
    struct err err = {0};
    cli->command = NULL;
    args_init(&cli->args, commands_globals);
    take_globals(cli);
    enum status st = split(&line, argc, argv, &err);
    if (st == STATUS_OK) { st = args_parse(&cli->args, line.global_count, line.globals, &err); }
    enum cli_exit exit = CLI_USAGE;
    if (st != STATUS_OK) {
        (void)cli_usage(cli, "%s", err.message);
    } else {
        cli->command = commands_find(line.noun, line.verb);
        exit = cli->command != NULL ? run_command(cli, &line, &err) : run_no_command(cli, &line);
    }
    args_deinit(&cli->args);
    return check_written(cli, exit);
}

// --- Reporting

enum cli_exit cli_exit_of(enum status st) {
    if (st == STATUS_OK) { return CLI_OK; }
    return st == STATUS_UNKNOWN_OUTCOME ? CLI_UNKNOWN : CLI_FAILED;
}

static void add_command_name(struct buf *out, const struct cli *cli) {
    text_add_string(out, "lightcone");
    if (cli->command != NULL) {
        text_addf(out, " %s", cli->command->noun);
        if (cli->command->verb != NULL) { text_addf(out, " %s", cli->command->verb); }
    }
}

static void report_text(struct cli *cli, const struct cli_error *error, const char *message) {
    bool colour = cli->err_terminal && cli->colour;
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    text_add_string(&text, colour ? "\033[31m" : "");
    add_command_name(&text, cli);
    text_add_string(&text, colour ? "\033[0m: " : ": ");
    if (error->field != NULL && error->field[0] != '\0') {
        text_escape(&text, slice_from_string(error->field), TEXT_LINE);
        text_add_string(&text, ": ");
    }
    text_escape(&text, slice_from_string(message), TEXT_BLOCK);
    char limit[24];
    (void)snprintf(limit, sizeof(limit), "%" PRIu64, error->limit);
    if (error->limit != 0 && strstr(message, limit) == NULL) {
        text_addf(&text, " (limit %s)", limit);
    }
    text_add_string(&text, "\n");
    if (error->hint != NULL) { text_addf(&text, "  next: %s\n", error->hint); }
    (void)fwrite(text.data, 1, text.size, cli->err);
    buf_deinit(&text);
}

static void report_json(struct cli *cli, const struct cli_error *error, const char *message) {
    json_t *body = json_object();
    cli_json_string(body, "status",
                    error->status_name != NULL ? error->status_name : status_name(error->status));
    cli_json_bytes(body, "message", slice_from_string(message));
    if (error->field != NULL && error->field[0] != '\0') {
        cli_json_string(body, "field", error->field);
    }
    if (error->limit != 0) { cli_json_u64(body, "limit", error->limit); }
    if (error->hint != NULL) { cli_json_string(body, "hint", error->hint); }
    json_t *object = json_pack("{s:o}", "error", body);
    (void)json_dumpf(object, cli->err, JSON_INDENT(2));
    (void)fputc('\n', cli->err);
    json_decref(object);
}

enum cli_exit cli_fail(struct cli *cli, const struct cli_error *error) {
    const char *message = error->message != NULL && error->message[0] != '\0'
                              ? error->message
                              : status_text(error->status);
    flush_out(cli);
    if (cli->format == CLI_JSON) {
        report_json(cli, error, message);
    } else {
        report_text(cli, error, message);
    }
    return error->status == STATUS_OK ? CLI_FAILED : cli_exit_of(error->status);
}

enum cli_exit cli_fail_err(struct cli *cli, const struct err *err, const char *hint) {
    ASSERT(err->status != STATUS_OK);
    return cli_fail(
        cli, &(struct cli_error){.status = err->status, .message = err->message, .hint = hint});
}

enum cli_exit cli_usage(struct cli *cli, const char *format, ...) {
    char message[CLI_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    char hint[128];
    if (cli->command == NULL) {
        (void)snprintf(hint, sizeof(hint), "lightcone help");
    } else {
        (void)snprintf(hint, sizeof(hint), "lightcone help %s%s%s", cli->command->noun,
                       cli->command->verb == NULL ? "" : " ",
                       cli->command->verb == NULL ? "" : cli->command->verb);
    }
    (void)cli_fail(cli, &(struct cli_error){
                            .status = STATUS_INVALID_ARGUMENT, .message = message, .hint = hint});
    return CLI_USAGE;
}

void cli_note(struct cli *cli, const char *format, ...) {
    if (cli->quiet || cli->format == CLI_JSON) { return; }
    char message[CLI_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    bool colour = cli->err_terminal && cli->colour;
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    text_escape(&text, slice_from_string(message), TEXT_BLOCK);
    flush_out(cli);
    (void)fprintf(cli->err, "%s%.*s%s\n", colour ? "\033[2m" : "", (int)text.size,
                  (const char *)text.data, colour ? "\033[0m" : "");
    buf_deinit(&text);
}

// --- Output

struct table_style cli_style(const struct cli *cli) {
    return (struct table_style){
        .width = cli->out_terminal ? cli->width : 0,
        .colour = cli->out_terminal && cli->colour,
    };
}

void cli_print_json(struct cli *cli, json_t *value) {
    (void)json_dumpf(value, cli->out, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    (void)fputc('\n', cli->out);
    json_decref(value);
}

void cli_json_u64(json_t *object, const char *name, uint64_t v) {
    (void)json_object_set_new(object, name, json_integer((json_int_t)v));
}

void cli_json_string(json_t *object, const char *name, const char *text) {
    (void)json_object_set_new(object, name, text == NULL ? json_null() : json_string(text));
}

void cli_json_bool(json_t *object, const char *name, bool v) {
    (void)json_object_set_new(object, name, json_boolean(v));
}

void cli_json_bytes(json_t *object, const char *name, struct slice bytes) {
    const char *data = bytes.size > 0 ? (const char *)bytes.data : "";
    if (text_is_utf8(bytes)) {
        (void)json_object_set_new(object, name, json_stringn(data, bytes.size));
        return;
    }
    char encoded_name[64];
    (void)snprintf(encoded_name, sizeof(encoded_name), "%s_base64", name);
    struct buf encoded;
    buf_init(&encoded, TEXT_BUF_MAX);
    text_base64(&encoded, bytes);
    (void)json_object_set_new(object, encoded_name,
                              json_stringn((const char *)encoded.data, encoded.size));
    buf_deinit(&encoded);
}

void cli_json_timestamp(json_t *object, const char *name, uint64_t timestamp) {
    char text[TEXT_SIZE];
    char text_name[64];
    (void)snprintf(text, sizeof(text), "%" PRIu64, timestamp);
    cli_json_string(object, name, text);
    (void)snprintf(text_name, sizeof(text_name), "%s_text", name);
    cli_json_string(object, text_name,
                    timestamp == 0 ? NULL : text_format_timestamp(timestamp, text));
}
