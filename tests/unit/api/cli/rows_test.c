// SPDX-License-Identifier: Apache-2.0
// Import files: JSON lines and Debian paragraphs, good and bad.
#include "api/cli/rows.h"

#include "api/cli/text.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    FILE *file;
    struct rows rows;
    struct rows_row row;
    struct err err;
};

static void open_text(struct fixture *f, struct slice text, enum rows_format format) {
    *f = (struct fixture){.file = tmpfile()};
    assert_non_null(f->file);
    assert_int_equal(fwrite(text.data, 1, text.size, f->file), text.size);
    rewind(f->file);
    rows_init(&f->rows, f->file, format);
}

static void close_text(struct fixture *f) {
    rows_deinit(&f->rows);
    assert_int_equal(fclose(f->file), 0);
}

static void expect_row(struct fixture *f, const char *key, const char *value, uint64_t line) {
    bool end = true;
    assert_int_equal(rows_next(&f->rows, &f->row, &end, &f->err), STATUS_OK);
    assert_false(end);
    assert_true(slice_equal(f->row.key, slice_from_string(key)));
    assert_true(slice_equal(f->row.value, slice_from_string(value)));
    assert_int_equal(f->row.line, line);
}

static void expect_end(struct fixture *f) {
    bool end = false;
    assert_int_equal(rows_next(&f->rows, &f->row, &end, &f->err), STATUS_OK);
    assert_true(end);
}

static void expect_refusal(struct slice text, enum rows_format format, const char *part) {
    struct fixture f;
    open_text(&f, text, format);
    enum status st = STATUS_OK;
    bool end = false;
    while (st == STATUS_OK && !end) {
        st = rows_next(&f.rows, &f.row, &end, &f.err);
    }
    assert_int_equal(st, STATUS_INVALID_ARGUMENT);
    if (strstr(f.err.message, part) == NULL) { fail_msg("%s", f.err.message); }
    close_text(&f);
}

// Goal: paragraphs become rows; continuation lines belong to the value; the last one needs no
// blank line; several blank lines are one.
static void test_rows_debian_reads_paragraphs(void **state) {
    (void)state;
    struct fixture f;
    open_text(&f,
              SLICE_LITERAL("\nPackage: bash\nVersion: 5.2-1\nDescription: shell\n a shell\n"
                            "\t.\n\n \t\nversion:  1:2~rc1 \nPACKAGE: dash\nDepends: a: b"),
              ROWS_DEBIAN);
    expect_row(&f, "bash=5.2-1",
               "Package: bash\nVersion: 5.2-1\nDescription: shell\n a shell\n\t.\n", 2);
    expect_row(&f, "dash=1:2~rc1", "version:  1:2~rc1 \nPACKAGE: dash\nDepends: a: b\n", 9);
    expect_end(&f);
    close_text(&f);
}

// Goal: a field is not mistaken for Package because it begins like it.
static void test_rows_debian_compares_whole_field_names(void **state) {
    (void)state;
    struct fixture f;
    open_text(&f, SLICE_LITERAL("Package-Type: deb\nPackage: a\nVersion-X: 9\nVersion: 1\n"),
              ROWS_DEBIAN);
    expect_row(&f, "a=1", "Package-Type: deb\nPackage: a\nVersion-X: 9\nVersion: 1\n", 1);
    expect_end(&f);
    close_text(&f);
}

// Goal: what is no paragraph is refused with its line.
static void test_rows_debian_refuses_what_it_cannot_key(void **state) {
    (void)state;
    expect_refusal(SLICE_LITERAL("Package: a\n\nPackage: b\n"), ROWS_DEBIAN,
                   "line 1: the paragraph that begins here has no Version");
    expect_refusal(SLICE_LITERAL("\nVersion: 1\n"), ROWS_DEBIAN,
                   "line 2: the paragraph that begins here has no Package");
    expect_refusal(SLICE_LITERAL("Package: a\nnonsense\n"), ROWS_DEBIAN, "line 2: neither");
    expect_refusal(SLICE_LITERAL(" continued\n"), ROWS_DEBIAN, "line 1: a continuation line");
    expect_refusal(SLICE_LITERAL("Package: a\nPackage: b\n"), ROWS_DEBIAN,
                   "line 2: a second Package");
    expect_refusal(SLICE_LITERAL("Package:\n"), ROWS_DEBIAN, "line 1: Package is empty");
    expect_refusal(SLICE_LITERAL(": x\n"), ROWS_DEBIAN, "line 1: neither");
}

// Goal: JSON lines give keys and values as bytes, in either spelling.
static void test_rows_jsonl_reads_text_and_base64(void **state) {
    (void)state;
    struct fixture f;
    open_text(&f,
              SLICE_LITERAL("{\"key\":\"a\",\"value\":\"1\"}\n\n"
                            "{\"value_base64\":\"Zm9v\",\"key_base64\":\"YmFy\"}\r\n"
                            "{\"key\":\"k\\u00e4\",\"value\":\"\"}"),
              ROWS_JSONL);
    expect_row(&f, "a", "1", 1);
    expect_row(&f, "bar", "foo", 3);
    expect_row(&f, "k\xc3\xa4", "", 4);
    expect_end(&f);
    close_text(&f);
}

// Goal: each way to get a line wrong is named with the line.
static void test_rows_jsonl_refuses_bad_lines(void **state) {
    (void)state;
    expect_refusal(SLICE_LITERAL("{\"key\":\"a\",\"value\":\"1\"}\n{"), ROWS_JSONL,
                   "line 2: is no JSON");
    expect_refusal(SLICE_LITERAL("[]"), ROWS_JSONL, "line 1: is no JSON object");
    expect_refusal(SLICE_LITERAL("{\"key\":\"a\"}"), ROWS_JSONL, "\"value\" or \"value_base64\"");
    expect_refusal(SLICE_LITERAL("{\"key\":\"a\",\"key_base64\":\"YQ==\",\"value\":\"\"}"),
                   ROWS_JSONL, "either");
    expect_refusal(SLICE_LITERAL("{\"key\":1,\"value\":\"\"}"), ROWS_JSONL, "\"key\" is no string");
    expect_refusal(SLICE_LITERAL("{\"key\":\"a\",\"vaule\":\"\"}"), ROWS_JSONL,
                   "unknown member \"vaule\"");
    expect_refusal(SLICE_LITERAL("{\"key\":\"a\",\"value_base64\":\"!\"}"), ROWS_JSONL,
                   "is no base64");
    expect_refusal(SLICE_LITERAL("{\"key\":\"a\",\"key\":\"b\",\"value\":\"\"}"), ROWS_JSONL,
                   "line 1: is no JSON");
    expect_refusal(SLICE_LITERAL("{\"key\":\"\",\"value\":\"\"}"), ROWS_JSONL, "a key of 0 bytes");
}

// Goal: limits hold here already, where the line is known.
static void test_rows_next_refuses_what_is_too_large(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, TEXT_BUF_MAX);
    text_add_string(&text, "{\"key\":\"");
    for (int i = 0; i < ROWS_KEY_SIZE_MAX + 1; i++) {
        text_add_string(&text, "k");
    }
    text_add_string(&text, "\",\"value\":\"\"}\n");
    expect_refusal(buf_slice(&text), ROWS_JSONL, "line 1: a key of 4097 bytes");
    buf_reset(&text);
    text_add_string(&text, "Package: a\nVersion: 1\n");
    for (int i = 0; i < ROWS_VALUE_SIZE_MAX / 64 + 1; i++) {
        text_add_string(&text, " 34567890123456789012345678901234567890123456789012345678901234\n");
    }
    expect_refusal(buf_slice(&text), ROWS_DEBIAN, "the paragraph is longer");
    buf_deinit(&text);
}

// Goal: the format is found by its first byte; an empty file has no rows in any format.
static void test_rows_auto_detects_the_format(void **state) {
    (void)state;
    struct fixture f;
    open_text(&f, SLICE_LITERAL("\n  {\"key\":\"a\",\"value\":\"1\"}\n"), ROWS_AUTO);
    expect_row(&f, "a", "1", 2);
    assert_int_equal(f.rows.format, ROWS_JSONL);
    expect_end(&f);
    close_text(&f);
    open_text(&f, SLICE_LITERAL("\nPackage: a\nVersion: 1\n"), ROWS_AUTO);
    expect_row(&f, "a=1", "Package: a\nVersion: 1\n", 2);
    assert_int_equal(f.rows.format, ROWS_DEBIAN);
    close_text(&f);
    open_text(&f, SLICE_LITERAL("\n \n"), ROWS_AUTO);
    expect_end(&f);
    close_text(&f);
}

// Goal: an exported line reads back to the same bytes, whatever they are.
static void test_rows_write_jsonl_reads_back(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 11);
    for (int round = 0; round < 500; round++) {
        uint8_t key[32];
        uint8_t value[64];
        size_t key_size = 1 + prng_below(&prng, sizeof(key));
        size_t value_size = prng_below(&prng, sizeof(value) + 1);
        uint64_t range = prng_chance(&prng, 1, 2) ? 128 : 256;
        for (size_t i = 0; i < sizeof(key); i++) {
            key[i] = (uint8_t)prng_below(&prng, range);
        }
        for (size_t i = 0; i < sizeof(value); i++) {
            value[i] = (uint8_t)prng_below(&prng, range);
        }
        struct buf line;
        buf_init(&line, TEXT_BUF_MAX);
        rows_write_jsonl(&line, slice_make(key, key_size), slice_make(value, value_size));
        struct fixture f;
        open_text(&f, buf_slice(&line), ROWS_AUTO);
        bool end = true;
        assert_int_equal(rows_next(&f.rows, &f.row, &end, &f.err), STATUS_OK);
        assert_false(end);
        assert_true(slice_equal(f.row.key, slice_make(key, key_size)));
        assert_true(slice_equal(f.row.value, slice_make(value, value_size)));
        close_text(&f);
        buf_deinit(&line);
    }
}

// Goal: a line without end does not fill the memory.
static void test_lines_next_bounds_the_line(void **state) {
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    for (int i = 0; i < 10000; i++) {
        assert_int_not_equal(fputc('x', file), EOF);
    }
    rewind(file);
    struct lines lines;
    struct slice line = SLICE_EMPTY;
    struct err err = {0};
    bool end = false;
    lines_init(&lines, file, 9999);
    assert_int_equal(lines_next(&lines, &line, &end, &err), STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(err.message, "line 1: longer than 9999 bytes");
    lines_deinit(&lines);
    rewind(file);
    lines_init(&lines, file, 10000);
    assert_int_equal(lines_next(&lines, &line, &end, &err), STATUS_OK);
    assert_int_equal(line.size, 10000);
    lines_deinit(&lines);
    assert_int_equal(fclose(file), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_debian_reads_paragraphs),
        cmocka_unit_test(test_rows_debian_compares_whole_field_names),
        cmocka_unit_test(test_rows_debian_refuses_what_it_cannot_key),
        cmocka_unit_test(test_rows_jsonl_reads_text_and_base64),
        cmocka_unit_test(test_rows_jsonl_refuses_bad_lines),
        cmocka_unit_test(test_rows_next_refuses_what_is_too_large),
        cmocka_unit_test(test_rows_auto_detects_the_format),
        cmocka_unit_test(test_rows_write_jsonl_reads_back),
        cmocka_unit_test(test_lines_next_bounds_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
