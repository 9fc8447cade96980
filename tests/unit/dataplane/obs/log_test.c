// SPDX-License-Identifier: Apache-2.0
// Log lines: exact text, hostile values, bounds, levels, counts, and where they go.
#include "dataplane/obs/log.h"

#include "tests/unit/dataplane/base/death.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// What the last lines were.
struct capture {
    char text[4 * LOG_LINE_SIZE_MAX];
    size_t size;
    enum log_level level;
};

static void capture_line(void *ctx, enum log_level level, const char *line, size_t size) {
    struct capture *self = (struct capture *)ctx;
    assert_true(self->size + size < sizeof(self->text));
    memcpy(self->text + self->size, line, size);
    self->size += size;
    self->text[self->size] = '\0';
    self->level = level;
}

static uint64_t noon(void *ctx) {
    (void)ctx;
    return UINT64_C(1795176000123456);
}

static int setup(void **state) {
    static struct capture capture;
    capture = (struct capture){0};
    log_set_sink(capture_line, &capture);
    log_set_clock(noon, NULL);
    log_set_level(LOG_LEVEL_INFO);
    log_reset_counts();
    *state = &capture;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    log_set_sink(NULL, NULL);
    log_set_clock(NULL, NULL);
    log_set_fd(STDERR_FILENO);
    return 0;
}

#define HEAD "ts=2026-11-20T12:00:00.123456Z level="

// Goal: one line in logfmt, every type of field in its form.
static void test_log_line_has_typed_fields(void **state) {
    const struct capture *capture = (struct capture *)*state;
    const uint8_t digest[] = {0x00, 0xab, 0xff};
    LOG_INFO("shard.split", LOG_U64("shard", UINT64_MAX), LOG_I64("delta", -3),
             LOG_F64("load", 0.5), LOG_BOOL("done", true), LOG_STR("reason", "size"),
             LOG_HEX("digest", slice_make(digest, 3)), LOG_STATUS("status", STATUS_NOT_LEADER));
    assert_string_equal(capture->text,
                        HEAD "info event=shard.split shard=18446744073709551615 delta=-3 load=0.5 "
                             "done=true reason=size digest=00abff status=NOT_LEADER\n");
}

// Goal: an event alone is a line, and its level reaches the sink.
static void test_log_event_without_fields(void **state) {
    const struct capture *capture = (struct capture *)*state;
    LOG_WARN("disk.slow");
    assert_string_equal(capture->text, HEAD "warn event=disk.slow\n");
    assert_int_equal(capture->level, LOG_LEVEL_WARN);
}

// Goal: a value cannot end the line, start another, forge a field or speak to a terminal.
static void test_log_hostile_values_are_escaped(void **state) {
    const struct capture *capture = (struct capture *)*state;
    LOG_INFO("kv.refused",
             LOG_SLICE("key", SLICE_LITERAL("a\nts=0 level=error\r\x1b[31m\0\x9b\xc2\x9b")),
             LOG_STR("quoted", "say \"hi\" \\ x"), LOG_STR("pair", "a=b"), LOG_STR("empty", ""),
             LOG_STR("null", NULL));
    assert_string_equal(capture->text, HEAD
                        "info event=kv.refused "
                        "key=\"a\\x0ats=0 level=error\\x0d\\x1b[31m\\x00\\x9b\\xc2\\x9b\" "
                        "quoted=\"say \\\"hi\\\" \\\\ x\" pair=\"a=b\" empty=\"\" null=\"\"\n");
}

// Goal: whatever bytes come, a line is printable ASCII with one newline at its end.
static void test_log_any_byte_stays_inside_the_line(void **state) {
    struct capture *capture = (struct capture *)*state;
    for (unsigned c = 0; c < 256; c++) {
        const uint8_t byte = (uint8_t)c;
        capture->size = 0;
        LOG_INFO("x", LOG_SLICE("v", slice_make(&byte, 1)));
        for (size_t i = 0; i + 1 < capture->size; i++) {
            assert_in_range(capture->text[i], ' ', '~');
        }
        assert_int_equal(capture->text[capture->size - 1], '\n');
    }
}

// Goal: a long value is cut and says so.
static void test_log_long_value_is_cut(void **state) {
    const struct capture *capture = (struct capture *)*state;
    char text[LOG_VALUE_SIZE_MAX + 2];
    memset(text, 'v', sizeof(text));
    LOG_INFO("x", LOG_SLICE("exact", slice_make(text, LOG_VALUE_SIZE_MAX)),
             LOG_SLICE("cut", slice_make(text, LOG_VALUE_SIZE_MAX + 1)));
    const char *cut = strstr(capture->text, " cut=\"");
    assert_non_null(cut);
    assert_int_equal(cut - strstr(capture->text, "exact="), 6 + LOG_VALUE_SIZE_MAX);
    assert_string_equal(cut + 6 + LOG_VALUE_SIZE_MAX, "...\"\n");
}

// Goal: fields that do not fit are left out whole, with a notice, and the line keeps its bound.
static void test_log_full_line_says_truncated(void **state) {
    const struct capture *capture = (struct capture *)*state;
    uint8_t bytes[LOG_VALUE_SIZE_MAX];
    memset(bytes, 0, sizeof(bytes));
    const struct slice value = slice_make(bytes, sizeof(bytes));
    LOG_INFO("x", LOG_SLICE("first", value), LOG_SLICE("second", value), LOG_U64("third", 3));
    assert_true(capture->size <= LOG_LINE_SIZE_MAX);
    assert_non_null(strstr(capture->text, " first=\"\\x00"));
    assert_null(strstr(capture->text, "second="));
    assert_string_equal(capture->text + capture->size - 16, " truncated=true\n");
}

static unsigned evaluated;
static uint64_t count_evaluation(void) {
    return ++evaluated;
}

// Goal: below the level nothing is written and nothing is even evaluated.
static void test_log_level_filters_before_evaluation(void **state) {
    const struct capture *capture = (struct capture *)*state;
    evaluated = 0;
    LOG_DEBUG("x", LOG_U64("n", count_evaluation()));
    assert_int_equal(evaluated, 0);
    assert_int_equal(capture->size, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    LOG_DEBUG("x", LOG_U64("n", count_evaluation()));
    assert_int_equal(evaluated, 1);
    assert_string_equal(capture->text, HEAD "debug event=x n=1\n");
}

// Goal: the words of the configuration are the words of the lines.
static void test_log_level_names_parse_back(void **state) {
    (void)state;
    for (unsigned i = 0; i < LOG_LEVEL_COUNT; i++) {
        enum log_level level = LOG_LEVEL_COUNT;
        const char *name = log_level_name((enum log_level)i);
        assert_int_equal(log_level_parse(slice_from_string(name), &level), STATUS_OK);
        assert_int_equal(level, i);
    }
    enum log_level level = LOG_LEVEL_COUNT;
    assert_int_equal(log_level_parse(SLICE_LITERAL("INFO"), &level), STATUS_INVALID_ARGUMENT);
    assert_int_equal(log_level_parse(SLICE_EMPTY, &level), STATUS_INVALID_ARGUMENT);
    assert_int_equal(level, LOG_LEVEL_COUNT);
}

// Goal: a run that logged an error can be told from one that did not.
static void test_log_errors_are_counted(void **state) {
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    LOG_WARN("x");
    LOG_ERROR("y");
    LOG_ERROR("z");
    assert_int_equal(log_error_count(), 2);
    log_reset_counts();
    assert_int_equal(log_error_count(), 0);
}

// Goal: the descriptor gets the line; errno survives; what cannot be written is counted.
static void test_log_descriptor_gets_whole_lines(void **state) {
    (void)state;
    int ends[2];
    char text[256] = "";
    assert_int_equal(pipe(ends), 0);
    log_set_sink(NULL, NULL);
    log_set_fd(ends[1]);
    errno = ENOENT;
    LOG_INFO("x", LOG_U64("n", 1));
    assert_int_equal(errno, ENOENT);
    assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
    assert_string_equal(text, HEAD "info event=x n=1\n");
    (void)close(ends[0]);
    (void)close(ends[1]);
    const int read_only = open("/dev/null", O_RDONLY);
    assert_true(read_only >= 0);
    log_set_fd(read_only);
    LOG_INFO("x");
    assert_int_equal(log_lost_count(), 1);
    (void)close(read_only);
}

enum { THREADS = 4, LINES_EACH = 500 };

static void *log_lines(void *ctx) {
    (void)ctx;
    for (unsigned i = 0; i < LINES_EACH; i++) {
        LOG_INFO("thread.line", LOG_STR("pad", "0123456789012345678901234567890123456789"));
    }
    return NULL;
}

static void *read_lines(void *ctx) {
    FILE *from = (FILE *)ctx;
    static size_t good;
    static const char expected[] =
        HEAD "info event=thread.line pad=0123456789012345678901234567890123456789\n";
    char line[512];
    good = 0;
    while (fgets(line, sizeof(line), from) != NULL) {
        good += strcmp(line, expected) == 0 ? 1 : 0;
    }
    return &good;
}

// Goal: lines of several threads never mix, also in a pipe.
static void test_log_lines_of_threads_do_not_mix(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    log_set_sink(NULL, NULL);
    log_set_fd(ends[1]);
    FILE *from = fdopen(ends[0], "r");
    assert_non_null(from);
    pthread_t reader;
    pthread_t writers[THREADS];
    assert_int_equal(pthread_create(&reader, NULL, read_lines, from), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&writers[i], NULL, log_lines, NULL), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(writers[i], NULL), 0);
    }
    (void)close(ends[1]);
    void *good = NULL;
    assert_int_equal(pthread_join(reader, &good), 0);
    assert_int_equal(*(const size_t *)good, THREADS * LINES_EACH);
    (void)fclose(from);
}

static void log_a_bad_key(void *ctx) {
    (void)ctx;
    LOG_INFO("x", LOG_U64("two words", 1));
}

// Goal: names are ours; one that would break the format is a bug.
static void test_log_bad_key_is_asserted(void **state) {
    (void)state;
    assert_true(death_by_assert(log_a_bad_key, NULL));
}

// Goal: the system's clock stamps lines when nothing else is set, and odd clocks do not stop the
// log.
static uint64_t end_of_clocks(void *ctx) {
    (void)ctx;
    return UINT64_MAX;
}

static void test_log_clock_may_be_anything(void **state) {
    struct capture *capture = (struct capture *)*state;
    log_set_clock(end_of_clocks, NULL);
    LOG_INFO("x");
    assert_string_equal(capture->text, "ts=2112-09-17T23:53:47.370495Z level=info event=x\n");
    capture->size = 0;
    log_set_clock(NULL, NULL);
    LOG_INFO("x");
    assert_int_equal(strncmp(capture->text, "ts=2", 4), 0);
}

#define WITH_CAPTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_CAPTURE(test_log_line_has_typed_fields),
        WITH_CAPTURE(test_log_event_without_fields),
        WITH_CAPTURE(test_log_hostile_values_are_escaped),
        WITH_CAPTURE(test_log_any_byte_stays_inside_the_line),
        WITH_CAPTURE(test_log_long_value_is_cut),
        WITH_CAPTURE(test_log_full_line_says_truncated),
        WITH_CAPTURE(test_log_level_filters_before_evaluation),
        WITH_CAPTURE(test_log_level_names_parse_back),
        WITH_CAPTURE(test_log_errors_are_counted),
        WITH_CAPTURE(test_log_descriptor_gets_whole_lines),
        WITH_CAPTURE(test_log_lines_of_threads_do_not_mix),
        WITH_CAPTURE(test_log_bad_key_is_asserted),
        WITH_CAPTURE(test_log_clock_may_be_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
