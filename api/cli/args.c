// SPDX-License-Identifier: Apache-2.0
// popt splits the line; the tables say what there is. Operands come from popt in order with the
// options (POPT_CONTEXT_ARG_OPTS), and a lone "-" is declared as an option of its own, because popt
// would refuse it: here it is an operand that means standard input or output.
#include "api/cli/args.h"

#include "dataplane/base/assert.h"
#include "dataplane/base/mem.h"

#include <popt.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGS_DASH = ARGS_TABLES_MAX * ARGS_OPTIONS_MAX + 1 };

void args_init(struct args *self, struct args_table globals) {
    ASSERT(globals.count <= ARGS_OPTIONS_MAX);
    *self = (struct args){.tables = {{NULL, 0}, globals}};
}

void args_add_table(struct args *self, struct args_table command) {
    ASSERT(command.count <= ARGS_OPTIONS_MAX);
    ASSERT(self->tables[0].count == 0);
    self->tables[0] = command;
}

void args_deinit(struct args *self) {
    for (size_t i = 0; i < self->value_count; i++) {
        mem_free(self->values[i].text);
    }
    for (size_t i = 0; i < self->operand_count; i++) {
        mem_free(self->operands[i]);
    }
    mem_free(self->values);
    mem_free(self->operands);
    *self = (struct args){0};
}

// --- Tables

static const struct args_option *find(const struct args *self, const char *name) {
    for (int t = 0; t < ARGS_TABLES_MAX; t++) {
        for (uint32_t i = 0; i < self->tables[t].count; i++) {
            const struct args_option *option = &self->tables[t].options[i];
            if (strcmp(option->name, name) == 0) { return option; }
        }
    }
    return NULL;
}

static const struct args_option *option_of(const struct args *self, int value) {
    int place = value - 1;
    return &self->tables[place / ARGS_OPTIONS_MAX].options[place % ARGS_OPTIONS_MAX];
}

// popt returns `val` for an option: 1 + its place. Hidden names are left out.
static void make_popt_table(const struct args *self, struct poptOption *out) {
    size_t count = 0;
    for (int t = 0; t < ARGS_TABLES_MAX; t++) {
        for (uint32_t i = 0; i < self->tables[t].count; i++) {
            const struct args_option *option = &self->tables[t].options[i];
            if (find(self, option->name) != option) { continue; }
            out[count++] = (struct poptOption){
                .longName = option->name,
                .shortName = option->letter,
                .argInfo = option->kind == ARGS_FLAG ? POPT_ARG_NONE : POPT_ARG_STRING,
                .val = t * ARGS_OPTIONS_MAX + (int)i + 1,
            };
        }
    }
    out[count++] =
        (struct poptOption){.shortName = '-', .argInfo = POPT_ARG_NONE, .val = ARGS_DASH};
    out[count] = (struct poptOption)POPT_TABLEEND;
}

// --- Values

enum status args_parse_number(const char *text, uint64_t *out) {
    if (text[0] < '0' || text[0] > '9') { return STATUS_INVALID_ARGUMENT; }
    char *end = NULL;
    unsigned long long number = strtoull(text, &end, 10);
    if (number == ULLONG_MAX) { return STATUS_INVALID_ARGUMENT; }  // as good as an overflow
    uint64_t unit = 1;
    switch (*end) {
    case 'k':
        unit = 1000;
        break;
    case 'M':
        unit = 1000000;
        break;
    case 'G':
        unit = 1000000000;
        break;
    default:
        break;
    }
    end += unit > 1 ? 1 : 0;
    uint64_t product = 0;
    if (*end != '\0' || __builtin_mul_overflow(number, unit, &product)) {
        return STATUS_INVALID_ARGUMENT;
    }
    *out = product;
    return STATUS_OK;
}

bool args_is_choice(const char *choices, const char *word) {
    size_t size = strlen(word);
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        at += *at == '|' ? 1 : 0;
        if (size > 0 && strcspn(at, "|") == size && strncmp(at, word, size) == 0) { return true; }
    }
    return false;
}

static enum status check(const struct args_option *option, const char *text, struct err *err) {
    switch (option->kind) {
    case ARGS_NUMBER: {
        uint64_t number = 0;
        if (args_parse_number(text, &number) != STATUS_OK || number < option->number_min ||
            number > option->number_max) {
            return err_set(err, STATUS_INVALID_ARGUMENT,
                           "--%s: \"%.40s\" is no number from %llu to %llu", option->name, text,
                           (unsigned long long)option->number_min,
                           (unsigned long long)option->number_max);
        }
        return STATUS_OK;
    }
    case ARGS_CHOICE:
        if (!args_is_choice(option->choices, text)) {
            return err_set(err, STATUS_INVALID_ARGUMENT, "--%s: \"%.40s\" is none of %s",
                           option->name, text, option->choices);
        }
        return STATUS_OK;
    case ARGS_FLAG:
    case ARGS_TEXT:
    case ARGS_LIST:
        return STATUS_OK;
    }
    return STATUS_OK;
}

static void keep_value(struct args *self, const struct args_option *option, const char *text) {
    self->values = mem_realloc(self->values, (self->value_count + 1) * sizeof(*self->values));
    self->values[self->value_count++] = (struct args_value){option, mem_strdup(text)};
}

static void keep_operand(struct args *self, const char *text) {
    self->operands =
        mem_realloc(self->operands, (self->operand_count + 1) * sizeof(*self->operands));
    self->operands[self->operand_count++] = mem_strdup(text);
}

// --- Parsing

static enum status take(struct args *self, int value, const char *text, struct err *err) {
    if (value == 0 || value == ARGS_DASH) {
        keep_operand(self, value == 0 ? text : "-");
        return STATUS_OK;
    }
    const struct args_option *option = option_of(self, value);
    enum status st = text == NULL ? STATUS_OK : check(option, text, err);
    if (st == STATUS_OK) { keep_value(self, option, text == NULL ? "" : text); }
    return st;
}

static enum status explain(poptContext context, int code, struct err *err) {
    const char *word = poptBadOption(context, POPT_BADOPTION_NOALIAS);
    const char *what = code == POPT_ERROR_BADOPT        ? "no such option"
                       : code == POPT_ERROR_NOARG       ? "wants a value"
                       : code == POPT_ERROR_UNWANTEDARG ? "takes no value"
                                                        : poptStrerror(code);
    return err_set(err, STATUS_INVALID_ARGUMENT, "%.80s: %s", word, what);
}

enum status args_parse(struct args *self, int count, char **words, struct err *err) {
    struct poptOption table[ARGS_TABLES_MAX * ARGS_OPTIONS_MAX + 2];
    make_popt_table(self, table);
    poptContext context =
        poptGetContext("lightcone", count, (const char **)words, table,
                       POPT_CONTEXT_KEEP_FIRST | POPT_CONTEXT_NO_EXEC | POPT_CONTEXT_ARG_OPTS);
    ASSERT(context != NULL);
    enum status st = STATUS_OK;
    while (st == STATUS_OK) {
        int value = poptGetNextOpt(context);
        if (value == -1) { break; }
        if (value < -1) {
            st = explain(context, value, err);
            break;
        }
        char *text = poptGetOptArg(context);
        st = take(self, value, text, err);
        mem_free(text);
    }
    (void)poptFreeContext(context);
    return st;
}

// --- Asking

const char *args_text_of(const struct args *self, const struct args_option *option) {
    for (size_t i = self->value_count; i > 0; i--) {
        if (self->values[i - 1].option == option) { return self->values[i - 1].text; }
    }
    return option->fallback;
}

static const char *last_value(const struct args *self, const char *name, enum args_kind kind) {
    const struct args_option *option = find(self, name);
    ASSERT(option != NULL);
    ASSERT(option->kind == kind || (kind == ARGS_TEXT && option->kind == ARGS_CHOICE));
    return args_text_of(self, option);
}

bool args_has(const struct args *self, const char *name) {
    const struct args_option *option = find(self, name);
    ASSERT(option != NULL);
    for (size_t i = 0; i < self->value_count; i++) {
        if (self->values[i].option == option) { return true; }
    }
    return false;
}

bool args_flag(const struct args *self, const char *name) {
    return last_value(self, name, ARGS_FLAG) != NULL;
}

uint64_t args_number(const struct args *self, const char *name) {
    const char *text = last_value(self, name, ARGS_NUMBER);
    uint64_t number = 0;
    if (text != NULL) {
        enum status st = args_parse_number(text, &number);
        ASSERT(st == STATUS_OK);
    }
    return number;
}

const char *args_text(const struct args *self, const char *name) {
    return last_value(self, name, ARGS_TEXT);
}

const char *args_list(const struct args *self, const char *name, size_t i) {
    const struct args_option *option = find(self, name);
    ASSERT(option != NULL && option->kind == ARGS_LIST);
    for (size_t k = 0; k < self->value_count; k++) {
        if (self->values[k].option == option && i-- == 0) { return self->values[k].text; }
    }
    return NULL;
}

const char *args_operand(const struct args *self, size_t i) {
    return i < self->operand_count ? self->operands[i] : NULL;
}
