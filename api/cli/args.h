// SPDX-License-Identifier: Apache-2.0
// args.h - options and operands of one command, parsed by the command's own table.
// Invariants: values are checked against their kind and range before args_parse returns OK; asking
//             for an option that the table does not have is a bug.
// Ownership:  values are copied; the tables are borrowed, and outlive the args.
// Thread:     confined to its owner.
// See:        api/cli/README.md "Adding a command"; tests/unit/api/cli/args_test.c
#pragma once

#include "dataplane/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum args_kind {
    ARGS_FLAG,
    ARGS_NUMBER,  // number_min to number_max
    ARGS_TEXT,
    ARGS_CHOICE,  // one of choices
    ARGS_LIST,    // text that may be given many times
};

struct args_option {
    const char *name;  // "limit"
    char letter;       // 'h'; 0 = none
    enum args_kind kind;
    const char *placeholder;  // "N"
    const char *help;
    const char *fallback;  // value when it is not given; NULL = none
    const char *choices;   // "table|json"
    uint64_t number_min;
    uint64_t number_max;
};

struct args_table {
    const struct args_option *options;
    uint32_t count;
};

enum { ARGS_TABLES_MAX = 2, ARGS_OPTIONS_MAX = 24 };

struct args_value {
    const struct args_option *option;
    char *text;
};

struct args {
    struct args_table tables[ARGS_TABLES_MAX];  // private: the command's, which hides names of the
                                                // globals, and the globals
    struct args_value *values;                  // private: in the order given
    size_t value_count;                         // private
    char **operands;                            // read-only: what is no option
    size_t operand_count;                       // read-only
};

void args_init(struct args *self, struct args_table globals);
// From now on the options of a command are known too; what was parsed before stays.
void args_add_table(struct args *self, struct args_table command);
void args_deinit(struct args *self);
// words: what follows the command on the line. May be called again to add more words.
// INVALID_ARGUMENT names the word and what is wrong with it.
NODISCARD enum status args_parse(struct args *self, int count, char **words, struct err *err);
// Whether the option was given.
bool args_has(const struct args *self, const char *name);
// FLAG
bool args_flag(const struct args *self, const char *name);
// NUMBER: as given last, or the fallback; 0 when there is neither.
uint64_t args_number(const struct args *self, const char *name);
// TEXT, CHOICE: as given last, or the fallback; NULL when there is neither.
const char *args_text(const struct args *self, const char *name);
// As args_text, for an option whose name the command's own table may hide.
const char *args_text_of(const struct args *self, const struct args_option *option);
// LIST: the i-th, NULL beyond the last.
const char *args_list(const struct args *self, const char *name, size_t i);
// The i-th operand, NULL beyond the last.
const char *args_operand(const struct args *self, size_t i);

// A number with an optional k, M or G (powers of 1000) behind it.
NODISCARD enum status args_parse_number(const char *text, uint64_t *out);
// True when `word` is one of "a|b|c".
bool args_is_choice(const char *choices, const char *word);
