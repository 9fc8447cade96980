// SPDX-License-Identifier: Apache-2.0
// Processes found again by pid file, and strangers left alone.
#include "api/cli/dev_process.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char dir[64];
    char pid_path[96];
    char log_path[96];
    struct dev_process process;
};

static int setup(void **state) {
    static struct fixture fixture;
    fixture = (struct fixture){.dir = ""};
    (void)snprintf(fixture.dir, sizeof(fixture.dir), "/tmp/lightcone-dev-process-XXXXXX");
    if (mkdtemp(fixture.dir) == NULL) { return -1; }
    (void)snprintf(fixture.pid_path, sizeof(fixture.pid_path), "%s/pid", fixture.dir);
    (void)snprintf(fixture.log_path, sizeof(fixture.log_path), "%s/log", fixture.dir);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    (void)!dev_process_signal(&f->process, SIGKILL);
    (void)dev_process_wait(&f->process, 5000);
    (void)unlink(f->pid_path);
    (void)unlink(f->log_path);
    return rmdir(f->dir);
}

// A process that waits until it is told to end, and says hello in its log.
static void spawn_sleeper(struct fixture *f) {
    char shell[] = "sh";
    char option[] = "-c";
    char script[] = "echo hello; exec sleep 1000";
    char *argv[] = {shell, option, script, NULL};
    struct dev_spawn spawn = {.program = "/bin/sh", .argv = argv, .log_path = f->log_path};
    struct err err = {0};
    assert_int_equal(dev_process_spawn(&spawn, &f->process, &err), STATUS_OK);
}

// Goal: what was started is alive, in a session of its own, and ends by a signal.
static void test_dev_process_spawn_starts_and_signal_ends(void **state) {
    struct fixture *f = *state;
    spawn_sleeper(f);
    assert_true(dev_process_is_alive(&f->process));
    assert_false(dev_process_is_stopped(&f->process));
    assert_int_equal(getsid(f->process.pid), f->process.pid);
    assert_false(dev_process_wait(&f->process, 0));
    assert_int_equal(dev_process_signal(&f->process, SIGTERM), STATUS_OK);
    assert_true(dev_process_wait(&f->process, 5000));
    assert_false(dev_process_is_alive(&f->process));
    assert_int_equal(dev_process_signal(&f->process, SIGTERM), STATUS_NOT_FOUND);
}

// Goal: a pid file leads back to the process.
static void test_dev_process_read_returns_what_was_written(void **state) {
    struct fixture *f = *state;
    spawn_sleeper(f);
    struct dev_process read = {0};
    assert_int_equal(dev_process_read(f->pid_path, &read), STATUS_NOT_FOUND);
    assert_int_equal(dev_process_write(f->pid_path, &f->process), STATUS_OK);
    assert_int_equal(dev_process_read(f->pid_path, &read), STATUS_OK);
    assert_int_equal(read.pid, f->process.pid);
    assert_int_equal(read.start_ticks, f->process.start_ticks);
    assert_string_equal(read.boot, f->process.boot);
    assert_true(dev_process_is_alive(&read));
}

// Goal: a process that merely has the pid, started at another time or boot, is never signalled.
static void test_dev_process_signal_spares_strangers(void **state) {
    struct fixture *f = *state;
    spawn_sleeper(f);
    struct dev_process other_time = f->process;
    other_time.start_ticks--;
    struct dev_process other_boot = f->process;
    other_boot.boot[0] = other_boot.boot[0] == 'x' ? 'y' : 'x';
    assert_false(dev_process_is_alive(&other_time));
    assert_false(dev_process_is_alive(&other_boot));
    assert_int_equal(dev_process_signal(&other_time, SIGKILL), STATUS_NOT_FOUND);
    assert_int_equal(dev_process_signal(&other_boot, SIGKILL), STATUS_NOT_FOUND);
    assert_true(dev_process_is_alive(&f->process));
}

// Goal: a zombie counts as ended, though /proc still shows it.
static void test_dev_process_is_alive_is_false_for_a_zombie(void **state) {
    struct fixture *f = *state;
    spawn_sleeper(f);
    assert_int_equal(kill(f->process.pid, SIGKILL), 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)f->process.pid, &info, WEXITED | WNOWAIT), 0);
    assert_false(dev_process_is_alive(&f->process));
    assert_true(dev_process_wait(&f->process, 5000));
}

// Goal: a frozen process is alive, and known as frozen.
static void test_dev_process_is_stopped_sees_a_frozen_process(void **state) {
    struct fixture *f = *state;
    spawn_sleeper(f);
    siginfo_t info;
    assert_int_equal(dev_process_signal(&f->process, SIGSTOP), STATUS_OK);
    assert_int_equal(waitid(P_PID, (id_t)f->process.pid, &info, WSTOPPED | WNOWAIT), 0);
    assert_true(dev_process_is_alive(&f->process));
    assert_true(dev_process_is_stopped(&f->process));
}

// Goal: files that are no pid files of ours lead nowhere.
static void test_dev_process_read_refuses_other_files(void **state) {
    struct fixture *f = *state;
    static const char *const wrong[] = {"",           "123\n",       "1 5 boot\n",
                                        "0 5 boot\n", "-7 5 boot\n", "hello 5 boot\n"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        FILE *file = fopen(f->pid_path, "w");
        assert_non_null(file);
        assert_true(fputs(wrong[i], file) >= 0);
        assert_int_equal(fclose(file), 0);
        struct dev_process process;
        assert_int_equal(dev_process_read(f->pid_path, &process), STATUS_CORRUPT);
    }
}

// Goal: a program that cannot be executed is told as an error, not as a process that ended.
static void test_dev_process_spawn_tells_why_it_failed(void **state) {
    struct fixture *f = *state;
    char name[] = "nothing";
    char *argv[] = {name, NULL};
    struct err err = {0};
    struct dev_process process;
    struct dev_spawn spawn = {
        .program = "/nonexistent/nothing", .argv = argv, .log_path = f->log_path};
    assert_int_equal(dev_process_spawn(&spawn, &process, &err), STATUS_IO);
    assert_non_null(strstr(err.message, strerror(ENOENT)));
    spawn.log_path = "/nonexistent/log";
    assert_int_equal(dev_process_spawn(&spawn, &process, &err), STATUS_IO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_dev_process_spawn_starts_and_signal_ends),
        TEST(test_dev_process_read_returns_what_was_written),
        TEST(test_dev_process_signal_spares_strangers),
        TEST(test_dev_process_is_alive_is_false_for_a_zombie),
        TEST(test_dev_process_is_stopped_sees_a_frozen_process),
        TEST(test_dev_process_read_refuses_other_files),
        TEST(test_dev_process_spawn_tells_why_it_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
