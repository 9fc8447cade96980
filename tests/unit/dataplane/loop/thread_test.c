// SPDX-License-Identifier: Apache-2.0
// How a thread asks to be scheduled: bursts for ordinary threads, the operator's choice for others.
#include "dataplane/loop/thread.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct trial {
    int given;
    int taken;
};

static void *gather(void *arg) {
    struct trial *trial = arg;
    struct sched_param param = {0};
    // Refused only for policies that need a privilege, which none of these does.
    trial->taken = -1;
    if (pthread_setschedparam(pthread_self(), trial->given, &param) != 0) { return NULL; }
    thread_gather();
    (void)pthread_getschedparam(pthread_self(), &trial->taken, &param);
    return NULL;
}

static int policy_after(int given) {
    struct trial trial = {.given = given};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, gather, &trial), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return trial.taken;
}

static void test_thread_gathers_bursts(void **state) {
    (void)state;
    assert_int_equal(policy_after(SCHED_OTHER), SCHED_BATCH);
    assert_int_equal(policy_after(SCHED_BATCH), SCHED_BATCH);
}

// Goal: who put a node into the idle class meant it.
static void test_thread_keeps_another_policy(void **state) {
    (void)state;
    assert_int_equal(policy_after(SCHED_IDLE), SCHED_IDLE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thread_gathers_bursts),
        cmocka_unit_test(test_thread_keeps_another_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
