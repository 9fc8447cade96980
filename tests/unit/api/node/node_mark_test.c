// SPDX-License-Identifier: Apache-2.0
// The file of the clock's mark: what was written is read again, whatever happens to a later write.
#include "api/node/node_mark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[64];

static void path_of(char out[96]) {
    (void)snprintf(out, 96, "%s/" NODE_MARK_FILE, directory);
}

static int set_up(void **state) {
    (void)state;
    (void)snprintf(directory, sizeof(directory), "/tmp/node_mark_XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int tear_down(void **state) {
    (void)state;
    char path[96];
    path_of(path);
    (void)unlink(path);
    (void)rmdir(path);
    return rmdir(directory);
}

static struct node_mark open_mark(void) {
    struct node_mark mark;
    struct err err = {0};
    assert_int_equal(node_mark_open(&mark, directory, &err), STATUS_OK);
    return mark;
}

static void write_mark(struct node_mark *mark, uint64_t value) {
    assert_int_equal(node_mark_write(mark, (struct hlc_ts){value}), STATUS_OK);
}

// Changes a byte of the slot that was written as the sequence-th.
static void spoil(uint64_t sequence) {
    char path[96];
    path_of(path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)(sequence % 2) * 4096 + 12, SEEK_SET), 0);
    assert_int_equal(fputc(0x5a, file), 0x5a);
    assert_int_equal(fclose(file), 0);
}

static void test_mark_is_read_again(void **state) {
    (void)state;
    struct node_mark mark = open_mark();
    assert_int_equal(mark.mark.v, 0);
    assert_false(mark.damaged);
    for (uint64_t value = 1000; value < 1010; value++) {
        write_mark(&mark, value);
        node_mark_close(&mark);
        mark = open_mark();
        assert_int_equal(mark.mark.v, value);
        assert_int_equal(mark.sequence, value - 999);
    }
    node_mark_close(&mark);
}

static void test_mark_never_falls(void **state) {
    (void)state;
    struct node_mark mark = open_mark();
    write_mark(&mark, 1000);
    write_mark(&mark, 900);
    assert_int_equal(mark.mark.v, 1000);
    node_mark_close(&mark);
    mark = open_mark();
    assert_int_equal(mark.mark.v, 1000);
    node_mark_close(&mark);
}

// A write that was cut off: the one before it stands, and the next one goes on.
static void test_mark_survives_a_torn_write(void **state) {
    (void)state;
    for (uint64_t writes = 2; writes < 6; writes++) {
        struct node_mark mark = open_mark();
        const uint64_t base = mark.sequence;
        const uint64_t first = mark.mark.v + 10;
        write_mark(&mark, first);
        write_mark(&mark, first + 10);
        node_mark_close(&mark);
        spoil(base + 2);
        mark = open_mark();
        assert_int_equal(mark.mark.v, first);
        assert_true(mark.damaged);
        write_mark(&mark, first + 30);
        node_mark_close(&mark);
        mark = open_mark();
        assert_int_equal(mark.mark.v, first + 30);
        assert_false(mark.damaged);
        node_mark_close(&mark);
    }
}

static void test_mark_without_a_good_slot_is_none(void **state) {
    (void)state;
    struct node_mark mark = open_mark();
    write_mark(&mark, 10);
    write_mark(&mark, 20);
    node_mark_close(&mark);
    spoil(1);
    spoil(2);
    mark = open_mark();
    assert_int_equal(mark.mark.v, 0);
    assert_true(mark.damaged);
    node_mark_close(&mark);
}

static void test_mark_in_the_way_is_refused(void **state) {
    (void)state;
    char path[96];
    path_of(path);
    assert_int_equal(mkdir(path, 0700), 0);
    struct node_mark mark;
    struct err err = {0};
    assert_int_equal(node_mark_open(&mark, directory, &err), STATUS_IO);
    assert_int_equal(mark.fd, -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mark_is_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mark_never_falls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mark_survives_a_torn_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mark_without_a_good_slot_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mark_in_the_way_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("node_mark", tests, NULL, NULL);
}
