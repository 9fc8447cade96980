// SPDX-License-Identifier: Apache-2.0
// The table of commands is complete and consistent; help and completion show all of it.
#include "api/cli/commands.h"

#include "dataplane/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct args_option *option_at(const struct cli_command *command, uint32_t i) {
    return &command->options.options[i];
}

static void check_option(const struct args_option *option) {
    assert_non_null(option->name);
    assert_non_null(option->help);
    assert_int_equal(option->kind == ARGS_FLAG, option->placeholder == NULL);
    assert_int_equal(option->kind == ARGS_CHOICE, option->choices != NULL);
    if (option->kind == ARGS_NUMBER) { assert_true(option->number_max > option->number_min); }
    if (option->kind == ARGS_NUMBER && option->fallback != NULL) {
        uint64_t number = 0;
        assert_int_equal(args_parse_number(option->fallback, &number), STATUS_OK);
        assert_true(number >= option->number_min && number <= option->number_max);
    }
    if (option->kind == ARGS_CHOICE) {
        assert_non_null(option->fallback);
        assert_true(args_is_choice(option->choices, option->fallback));
    }
}

// Goal: every command says what it is, what it takes, and shows an example of itself.
static void test_commands_all_are_described(void **state) {
    (void)state;
    for (size_t i = 0; commands_all[i] != NULL; i++) {
        const struct cli_command *command = commands_all[i];
        char name[64];
        (void)snprintf(name, sizeof(name), "lightcone %s%s%s", command->noun,
                       command->verb == NULL ? "" : " ",
                       command->verb == NULL ? "" : command->verb);
        print_message("%s\n", name);
        assert_true(commands_has_noun(command->noun));
        assert_non_null(command->run);
        assert_non_null(command->operands);
        assert_true(command->operand_min <= command->operand_max);
        assert_int_equal(command->operand_max == 0, command->operands[0] == '\0');
        assert_int_not_equal(command->summary[strlen(command->summary) - 1], '.');
        assert_non_null(strstr(command->examples, name));
        assert_ptr_equal(commands_find(command->noun, command->verb), command);
        for (uint32_t k = 0; k < command->options.count; k++) {
            check_option(option_at(command, k));
        }
    }
    for (uint32_t i = 0; i < commands_globals.count; i++) {
        check_option(&commands_globals.options[i]);
    }
    for (size_t i = 0; commands_nouns[i].name != NULL; i++) {
        bool used = false;
        for (size_t k = 0; commands_all[k] != NULL; k++) {
            used = used || strcmp(commands_all[k]->noun, commands_nouns[i].name) == 0;
        }
        assert_true(used);
    }
}

// Goal: looking up is exact.
static void test_commands_find_is_exact(void **state) {
    (void)state;
    assert_ptr_equal(commands_find("kv", "get"), &commands_kv_get);
    assert_ptr_equal(commands_find("bench", NULL), &commands_bench);
    assert_null(commands_find("kv", NULL));
    assert_null(commands_find("kv", "ge"));
    assert_null(commands_find("bench", "x"));
    assert_null(commands_find(NULL, NULL));
    assert_true(commands_stands_alone("bench"));
    assert_false(commands_stands_alone("kv"));
}

static char *output_of(const char *const *words, int count) {
    char *text = NULL;
    char *argv[8] = {NULL};
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        argv[i] = (char *)words[i];
    }
    struct cli cli = {.in = stdin, .out = open_memstream(&text, &size), .err = stderr};
    assert_int_equal(cli_run(&cli, count, argv), CLI_OK);
    assert_int_equal(fclose(cli.out), 0);
    return text;
}

// Goal: help lines fit 80 columns and name every option of the command.
static void test_help_of_every_command_fits_and_is_complete(void **state) {
    (void)state;
    for (size_t i = 0; commands_all[i] != NULL; i++) {
        const struct cli_command *command = commands_all[i];
        const char *words[] = {"lightcone", "help", command->noun, command->verb};
        char *text = output_of(words, command->verb == NULL ? 3 : 4);
        for (uint32_t k = 0; k < command->options.count; k++) {
            char option[64];
            (void)snprintf(option, sizeof(option), "  --%s", option_at(command, k)->name);
            assert_non_null(strstr(text, option));
        }
        char *rest = text;
        char *line = NULL;
        while ((line = strsep(&rest, "\n")) != NULL) {
            if (strlen(line) > 80) { fail_msg("%s %s: %s", command->noun, words[3], line); }
        }
        mem_free(text);
    }
}

// Goal: the completion script is valid bash and completes nouns, verbs, options and choices.
static void test_completion_bash_completes(void **state) {
    (void)state;
    static const char check[] =
        "try() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _lightcone\n"
        "echo \"${COMPREPLY[*]}\"; }\n"
        "[[ $(try lightcone ke) == keyspace ]] || exit 11\n"
        "[[ $(try lightcone kv de) == delete ]] || exit 12\n"
        "[[ $(try lightcone --format json shard transfer-) == transfer-leader ]] || exit 13\n"
        "[[ $(try lightcone kv scan ks --rev) == --reverse ]] || exit 14\n"
        "[[ $(try lightcone kv scan ks --add) == --address ]] || exit 15\n"
        "[[ $(try lightcone kv import a b --format '') == 'auto jsonl debian' ]] || exit 16\n"
        "[[ $(try lightcone kv get --format '') == 'table json' ]] || exit 17\n"
        "[[ $(try lightcone bench --op m) == mixed ]] || exit 18\n"
        "[[ $(try lightcone help no) == node ]] || exit 19\n"
        "[[ -z $(try lightcone kv get '') ]] || exit 20\n";
    const char *words[] = {"lightcone", "completion", "bash"};
    char *script = output_of(words, 3);
    FILE *bash = popen("bash", "w");  // NOLINT(cert-env33-c): the script is for this very shell
    assert_non_null(bash);
    assert_true(fputs(script, bash) >= 0);
    assert_true(fputs(check, bash) >= 0);
    assert_int_equal(pclose(bash), 0);
    mem_free(script);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands_all_are_described),
        cmocka_unit_test(test_commands_find_is_exact),
        cmocka_unit_test(test_help_of_every_command_fits_and_is_complete),
        cmocka_unit_test(test_completion_bash_completes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
