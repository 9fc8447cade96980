// SPDX-License-Identifier: Apache-2.0
// Escapes, base64, and numbers as people read them.
#include "api/cli/text.h"

#include "dataplane/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_escaped(struct slice in, enum text_mode mode, const char *want) {
    struct buf out;
    buf_init(&out, TEXT_BUF_MAX);
    text_escape(&out, in, mode);
    text_add(&out, slice_make("", 1));
    assert_string_equal((const char *)out.data, want);
    buf_deinit(&out);
}

// Goal: no control character, direction mark or broken UTF-8 reaches a terminal.
static void test_text_escape_hides_what_a_terminal_would_obey(void **state) {
    (void)state;
    assert_escaped(SLICE_LITERAL("plain k\xc3\xa4se \xe2\x82\xac"), TEXT_LINE,
                   "plain k\xc3\xa4se \xe2\x82\xac");
    assert_escaped(SLICE_LITERAL("\x1b[31m"), TEXT_LINE, "\\x1b[31m");
    assert_escaped(SLICE_LITERAL("a\nb\tc\rd\0e\x7f"), TEXT_LINE, "a\\nb\\tc\\rd\\x00e\\x7f");
    assert_escaped(SLICE_LITERAL("a\nb\tc\r"), TEXT_BLOCK, "a\nb\tc\\r");
    assert_escaped(SLICE_LITERAL("\xc2\x9b"), TEXT_BLOCK, "\\xc2\\x9b");           // C1 CSI
    assert_escaped(SLICE_LITERAL("\xe2\x80\xae"), TEXT_BLOCK, "\\xe2\\x80\\xae");  // U+202E
    assert_escaped(SLICE_LITERAL("\xc3"), TEXT_LINE, "\\xc3");
    assert_escaped(SLICE_LITERAL("\xed\xa0\x80"), TEXT_LINE, "\\xed\\xa0\\x80");  // a surrogate
    assert_escaped(SLICE_LITERAL("a\\b"), TEXT_LINE, "a\\\\b");
    assert_escaped(SLICE_LITERAL("a\\b"), TEXT_BLOCK, "a\\b");
}

// Goal: what is shown on a line can be typed back, whatever the bytes.
static void test_text_unescape_reverses_escape(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 7);
    for (int round = 0; round < 2000; round++) {
        uint8_t bytes[40];
        size_t size = prng_below(&prng, sizeof(bytes) + 1);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)prng_below(&prng, prng_chance(&prng, 1, 2) ? 128 : 256);
        }
        struct buf shown;
        struct buf back;
        buf_init(&shown, TEXT_BUF_MAX);
        buf_init(&back, TEXT_BUF_MAX);
        text_escape(&shown, slice_make(bytes, size), TEXT_LINE);
        text_add(&shown, slice_make("", 1));
        assert_true(text_is_utf8(buf_slice(&shown)));
        assert_int_equal(text_unescape(&back, (const char *)shown.data, NULL), STATUS_OK);
        assert_true(slice_equal(buf_slice(&back), slice_make(bytes, size)));
        buf_deinit(&shown);
        buf_deinit(&back);
    }
}

// Goal: a wrong or cut-off escape is an error that shows it, not a guess.
static void test_text_unescape_refuses_unknown_escapes(void **state) {
    (void)state;
    const char *const wrong[] = {"\\", "a\\q", "\\x", "\\x1", "\\xg0", "\\x0g"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct buf out;
        struct err err = {0};
        buf_init(&out, TEXT_BUF_MAX);
        assert_int_equal(text_unescape(&out, wrong[i], &err), STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "is no escape"));
        buf_deinit(&out);
    }
}

// Goal: UTF-8 is judged as RFC 3629 says: no overlong forms, no surrogates, nothing too large.
static void test_text_is_utf8_knows_the_edges(void **state) {
    (void)state;
    assert_true(text_is_utf8(SLICE_EMPTY));
    assert_true(text_is_utf8(SLICE_LITERAL("\xf4\x8f\xbf\xbf")));
    assert_false(text_is_utf8(SLICE_LITERAL("\xf4\x90\x80\x80")));
    assert_false(text_is_utf8(SLICE_LITERAL("\xc0\x80")));
    assert_false(text_is_utf8(SLICE_LITERAL("\xe0\x9f\xbf")));
    assert_true(text_is_utf8(SLICE_LITERAL("\xe0\xa0\x80")));
    assert_false(text_is_utf8(SLICE_LITERAL("\xf0\x8f\xbf\xbf")));
    assert_false(text_is_utf8(SLICE_LITERAL("\xe2\x82")));
    assert_false(text_is_utf8(SLICE_LITERAL("\x80")));
}

static void assert_base64(struct slice in, const char *want) {
    struct buf out;
    struct buf back;
    buf_init(&out, TEXT_BUF_MAX);
    buf_init(&back, TEXT_BUF_MAX);
    text_base64(&out, in);
    assert_true(slice_equal(buf_slice(&out), slice_from_string(want)));
    assert_int_equal(text_unbase64(&back, buf_slice(&out)), STATUS_OK);
    assert_true(slice_equal(buf_slice(&back), in));
    buf_deinit(&out);
    buf_deinit(&back);
}

// Goal: the examples of RFC 4648 section 10, both ways.
static void test_text_base64_follows_the_rfc(void **state) {
    (void)state;
    assert_base64(SLICE_EMPTY, "");
    assert_base64(SLICE_LITERAL("f"), "Zg==");
    assert_base64(SLICE_LITERAL("fo"), "Zm8=");
    assert_base64(SLICE_LITERAL("foo"), "Zm9v");
    assert_base64(SLICE_LITERAL("foobar"), "Zm9vYmFy");
    assert_base64(SLICE_LITERAL("\xff\xfe\xfd"), "//79");
}

// Goal: only one text stands for given bytes; everything else is refused.
static void test_text_unbase64_is_strict(void **state) {
    (void)state;
    const char *const wrong[] = {
        "Z", "Zg=", "Zg", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm 9"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct buf out;
        buf_init(&out, TEXT_BUF_MAX);
        assert_int_equal(text_unbase64(&out, slice_from_string(wrong[i])), STATUS_INVALID_ARGUMENT);
        buf_deinit(&out);
    }
}

// Goal: hexadecimal reads both cases and refuses an odd digit.
static void test_text_unhex_wants_pairs(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, TEXT_BUF_MAX);
    assert_int_equal(text_unhex(&out, "00aBfF"), STATUS_OK);
    assert_true(slice_equal(buf_slice(&out), SLICE_LITERAL("\x00\xab\xff")));
    assert_int_equal(text_unhex(&out, "abc"), STATUS_INVALID_ARGUMENT);
    assert_int_equal(text_unhex(&out, "zz"), STATUS_INVALID_ARGUMENT);
    buf_deinit(&out);
}

// Goal: units change where a person expects it.
static void test_text_format_chooses_readable_units(void **state) {
    (void)state;
    char out[TEXT_SIZE];
    assert_string_equal(text_format_count(0, out), "0");
    assert_string_equal(text_format_count(999, out), "999");
    assert_string_equal(text_format_count(1234567, out), "1 234 567");
    assert_string_equal(text_format_count(UINT64_MAX, out), "18 446 744 073 709 551 615");
    assert_string_equal(text_format_duration(999, out), "999 ns");
    assert_string_equal(text_format_duration(12300, out), "12.3 us");
    assert_string_equal(text_format_duration(4560000, out), "4.56 ms");
    assert_string_equal(text_format_duration(UINT64_C(125000000000), out), "2 min 05 s");
    assert_string_equal(text_format_size(512, out), "512 B");
    assert_string_equal(text_format_size(3565158, out), "3.4 MiB");
    assert_string_equal(text_format_timestamp(0, out), "-");
    assert_string_equal(text_format_timestamp(UINT64_C(1) << 12, out),
                        "1970-01-01T00:00:00.000001Z+0");
}

// Goal: numbers that are typed are read as they are meant, or refused.
static void test_text_parse_reads_durations_and_numbers(void **state) {
    (void)state;
    uint64_t us = 0;
    int64_t number = 0;
    static const struct {
        const char *text;
        uint64_t us;
    } durations[] = {{"0s", 0},         {"250us", 250},     {"500ms", 500000}, {"2s", 2000000},
                     {"5m", 300000000}, {"1h", 3600000000}, {"007ms", 7000}};
    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        assert_int_equal(text_parse_duration(durations[i].text, &us), STATUS_OK);
        assert_true(us == durations[i].us);
    }
    static const char *const wrong[] = {"",
                                        "5",
                                        "s",
                                        "-1s",
                                        "+1s",
                                        " 1s",
                                        "1 s",
                                        "1.5s",
                                        "1d",
                                        "1ss",
                                        "99999999999999999999s",
                                        "18446744073709551615h"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(text_parse_duration(wrong[i], &us), STATUS_INVALID_ARGUMENT);
    }
    assert_int_equal(text_parse_i64("-9223372036854775808", &number), STATUS_OK);
    assert_true(number == INT64_MIN);
    assert_int_equal(text_parse_i64("+9223372036854775807", &number), STATUS_OK);
    assert_true(number == INT64_MAX);
    static const char *const no_numbers[] = {
        "", "-", "+-1", "1x", "0x1", " 1", "1k", "9223372036854775808", "-9223372036854775809"};
    for (size_t i = 0; i < sizeof(no_numbers) / sizeof(no_numbers[0]); i++) {
        assert_int_equal(text_parse_i64(no_numbers[i], &number), STATUS_INVALID_ARGUMENT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_escape_hides_what_a_terminal_would_obey),
        cmocka_unit_test(test_text_unescape_reverses_escape),
        cmocka_unit_test(test_text_unescape_refuses_unknown_escapes),
        cmocka_unit_test(test_text_is_utf8_knows_the_edges),
        cmocka_unit_test(test_text_base64_follows_the_rfc),
        cmocka_unit_test(test_text_unbase64_is_strict),
        cmocka_unit_test(test_text_unhex_wants_pairs),
        cmocka_unit_test(test_text_format_chooses_readable_units),
        cmocka_unit_test(test_text_parse_reads_durations_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
