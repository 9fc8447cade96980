// SPDX-License-Identifier: Apache-2.0
// What is written reads back; what was not written so is refused.
#include "api/cli/journal.h"

#include "api/cli/lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
    const char *key;
    size_t key_size;
    const char *value;
    size_t value_size;
} ENTRIES[] = {
    {"a", 1, "b", 1}, {"\t\n\0\xff", 4, "", 0}, {"key", 3, "\n\n", 2}, {"\xf0", 1, "\0", 1}};
enum { ENTRY_COUNT = sizeof(ENTRIES) / sizeof(ENTRIES[0]) };

static struct slice key_of(size_t i) {
    return slice_make((const uint8_t *)ENTRIES[i].key, ENTRIES[i].key_size);
}

static struct slice value_of(size_t i) {
    return slice_make((const uint8_t *)ENTRIES[i].value, ENTRIES[i].value_size);
}

// Goal: any bytes survive the way through the file, in order.
static void test_journal_reads_back_what_was_added(void **state) {
    (void)state;
    char path[] = "/tmp/journal_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    struct journal journal;
    struct err err = {0};
    assert_int_equal(journal_create(&journal, path, &err), STATUS_OK);
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        journal_add(&journal, key_of(i), value_of(i));
    }
    assert_int_equal(journal_close(&journal, &err), STATUS_OK);

    FILE *file = fopen(path, "re");
    struct lines lines;
    struct buf key;
    struct buf value;
    lines_init(&lines, file, JOURNAL_LINE_SIZE_MAX);
    buf_init(&key, JOURNAL_KEY_SIZE_MAX);
    buf_init(&value, JOURNAL_VALUE_SIZE_MAX);
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        struct slice line;
        bool end = true;
        buf_reset(&key);
        buf_reset(&value);
        assert_int_equal(lines_next(&lines, &line, &end, &err), STATUS_OK);
        assert_false(end);
        assert_int_equal(journal_parse(line, &key, &value), STATUS_OK);
        assert_true(slice_equal(buf_slice(&key), key_of(i)));
        assert_true(slice_equal(buf_slice(&value), value_of(i)));
    }
    buf_deinit(&value);
    buf_deinit(&key);
    lines_deinit(&lines);
    (void)fclose(file);
    (void)unlink(path);
}

// Goal: a line that was cut off or changed is told, never taken for another entry.
static void test_journal_parse_refuses_other_lines(void **state) {
    (void)state;
    static const char *const WRONG[] = {"",      "\t",    "61",     "\t61",
                                        "6\t61", "61\t6", "6g\t61", "61 62"};
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        struct buf key;
        struct buf value;
        buf_init(&key, JOURNAL_KEY_SIZE_MAX);
        buf_init(&value, JOURNAL_VALUE_SIZE_MAX);
        assert_int_equal(journal_parse(slice_from_string(WRONG[i]), &key, &value),
                         STATUS_INVALID_ARGUMENT);
        buf_deinit(&value);
        buf_deinit(&key);
    }
}

// Goal: a directory that is not there is named.
static void test_journal_create_names_the_file(void **state) {
    (void)state;
    struct journal journal;
    struct err err = {0};
    assert_int_equal(journal_create(&journal, "/nowhere/at/all", &err), STATUS_IO);
    assert_non_null(strstr(err.message, "/nowhere/at/all"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_journal_reads_back_what_was_added),
        cmocka_unit_test(test_journal_parse_refuses_other_lines),
        cmocka_unit_test(test_journal_create_names_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
