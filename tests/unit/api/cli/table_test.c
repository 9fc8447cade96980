// SPDX-License-Identifier: Apache-2.0
// Alignment, and cutting to a narrow terminal.
#include "api/cli/table.h"

#include "dataplane/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const struct table_column columns[] = {
    {.title = "NAME", .elastic = true}, {.title = "COUNT", .right = true}, {.title = "STATE"}};

static void assert_printed(const struct table *table, struct table_style style, bool fields,
                           const char *want) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    if (fields) {
        table_print_fields(table, out, style);
    } else {
        table_print(table, out, style);
    }
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, want);
    mem_free(text);
}

static void fill(struct table *table, const char *name, unsigned count, const char *what) {
    table_cell(table, "%s", name);
    table_cell(table, "%u", count);
    table_cell(table, "%s", what);
}

// Goal: numbers stand right, text left, lines carry no trailing spaces.
static void test_table_print_aligns_columns(void **state) {
    (void)state;
    struct table table;
    table_init(&table, columns, 3);
    fill(&table, "a", 7, "live");
    fill(&table, "k\xc3\xa4se-and-bread", 12345678, "");
    assert_printed(&table, (struct table_style){0}, false,
                   "NAME               COUNT  STATE\n"
                   "a                      7  live\n"
                   "k\xc3\xa4se-and-bread  12345678\n");
    table_deinit(&table);
}

// Goal: a narrow terminal cuts elastic columns only, and says so with an ellipsis.
static void test_table_print_cuts_elastic_columns_to_the_width(void **state) {
    (void)state;
    struct table table;
    table_init(&table, columns, 3);
    fill(&table, "a-rather-long-name", 7, "suspected");
    assert_printed(&table, (struct table_style){.width = 30}, false,
                   "NAME          COUNT  STATE\n"
                   "a-rather-lo…      7  suspected\n");
    assert_printed(&table, (struct table_style){.width = 10}, false,
                   "NAME      COUNT  STATE\n"
                   "a-rathe…      7  suspected\n");
    table_deinit(&table);
}

// Goal: a table without rows still names its columns; an empty cell keeps its place.
static void test_table_print_shows_titles_of_an_empty_table(void **state) {
    (void)state;
    struct table table;
    table_init(&table, columns, 3);
    assert_printed(&table, (struct table_style){0}, false, "NAME  COUNT  STATE\n");
    fill(&table, "", 1, "x");
    assert_printed(&table, (struct table_style){0}, false,
                   "NAME  COUNT  STATE\n"
                   "          1  x\n");
    table_deinit(&table);
}

// Goal: cells cannot carry terminal codes.
static void test_table_cell_escapes_control_characters(void **state) {
    (void)state;
    struct table table;
    table_init(&table, columns, 3);
    table_cell_bytes(&table, SLICE_LITERAL("\x1b[2Jx\n"));
    table_cell(&table, "%d", 1);
    table_cell(&table, "%s", "\a");
    assert_printed(&table, (struct table_style){0}, false,
                   "NAME        COUNT  STATE\n"
                   "\\x1b[2Jx\\n      1  \\x07\n");
    table_deinit(&table);
}

// Goal: colours only where they were allowed.
static void test_table_print_colours_titles_on_request(void **state) {
    (void)state;
    struct table table;
    table_init(&table, columns, 1);
    table_cell(&table, "x");
    assert_printed(&table, (struct table_style){.colour = true}, false, "\033[1mNAME\n\033[0mx\n");
    table_deinit(&table);
}

// Goal: fields are two columns without titles.
static void test_table_print_fields_has_no_titles(void **state) {
    (void)state;
    static const struct table_column two[] = {{.title = "FIELD"}, {.title = "VALUE"}};
    struct table table;
    table_init(&table, two, 2);
    table_cell(&table, "id");
    table_cell(&table, "%d", 4);
    table_cell(&table, "region");
    table_cell(&table, "eu");
    assert_printed(&table, (struct table_style){0}, true, "id      4\nregion  eu\n");
    table_deinit(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_print_aligns_columns),
        cmocka_unit_test(test_table_print_cuts_elastic_columns_to_the_width),
        cmocka_unit_test(test_table_print_shows_titles_of_an_empty_table),
        cmocka_unit_test(test_table_cell_escapes_control_characters),
        cmocka_unit_test(test_table_print_colours_titles_on_request),
        cmocka_unit_test(test_table_print_fields_has_no_titles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
