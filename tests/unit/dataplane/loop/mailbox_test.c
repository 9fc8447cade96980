// SPDX-License-Identifier: Apache-2.0
// The mailbox alone: order, maximum, closing, and that one post in a burst rings.
#include "dataplane/loop/mailbox.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void never(struct loop_task *task) {
    (void)task;
    fail_msg("the mailbox ran a task");
}

static struct loop_task task_make(void) {
    return (struct loop_task){NULL, never};
}

// Goal: tasks come out in the order in which they went in, and all at once.
static void test_mailbox_take_gives_all_in_order(void **state) {
    (void)state;
    struct mailbox box;
    mailbox_init(&box, 8);
    assert_null(mailbox_take(&box));
    struct loop_task tasks[3] = {task_make(), task_make(), task_make()};
    bool was_empty = false;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mailbox_post(&box, &tasks[i], &was_empty), STATUS_OK);
        assert_int_equal(was_empty, i == 0);
    }
    struct loop_task *task = mailbox_take(&box);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(task, &tasks[i]);
        task = task->next;
    }
    assert_null(task);
    assert_null(mailbox_take(&box));
}

// Goal: only the first post after a take reports an empty mailbox: that is what rings once.
static void test_mailbox_post_after_take_reports_empty_again(void **state) {
    (void)state;
    struct mailbox box;
    mailbox_init(&box, 8);
    struct loop_task a = task_make();
    struct loop_task b = task_make();
    bool was_empty = false;
    assert_int_equal(mailbox_post(&box, &a, &was_empty), STATUS_OK);
    assert_true(was_empty);
    assert_ptr_equal(mailbox_take(&box), &a);
    assert_int_equal(mailbox_post(&box, &b, &was_empty), STATUS_OK);
    assert_true(was_empty);
}

// Goal: the maximum holds at the limit, counts what was taken and not yet consumed, and spares
// completions.
static void test_mailbox_full_refuses_until_consumed(void **state) {
    (void)state;
    struct mailbox box;
    mailbox_init(&box, 2);
    struct loop_task tasks[4] = {task_make(), task_make(), task_make(), task_make()};
    bool was_empty = false;
    assert_int_equal(mailbox_post(&box, &tasks[0], &was_empty), STATUS_OK);
    assert_int_equal(mailbox_post(&box, &tasks[1], &was_empty), STATUS_OK);
    assert_int_equal(mailbox_post(&box, &tasks[2], &was_empty), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(mailbox_post_completion(&box, &tasks[3], &was_empty), STATUS_OK);
    assert_int_equal(mailbox_count(&box), 3);
    assert_non_null(mailbox_take(&box));
    assert_int_equal(mailbox_post(&box, &tasks[2], &was_empty), STATUS_RESOURCE_EXHAUSTED);
    mailbox_consumed(&box, 3);
    assert_int_equal(mailbox_post(&box, &tasks[2], &was_empty), STATUS_OK);
}

// Goal: a mailbox closes only when empty and accepts nothing afterwards.
static void test_mailbox_close_refuses_further_tasks(void **state) {
    (void)state;
    struct mailbox box;
    mailbox_init(&box, 2);
    struct loop_task task = task_make();
    bool was_empty = false;
    assert_int_equal(mailbox_post(&box, &task, &was_empty), STATUS_OK);
    assert_false(mailbox_close(&box));
    assert_non_null(mailbox_take(&box));
    mailbox_consumed(&box, 1);
    assert_true(mailbox_close(&box));
    assert_int_equal(mailbox_post(&box, &task, &was_empty), STATUS_CANCELLED);
    assert_int_equal(mailbox_post_completion(&box, &task, &was_empty), STATUS_CANCELLED);
    assert_int_equal(mailbox_count(&box), 0);
}

// ------------------------------------------------------------------------ four producers

enum { PRODUCERS = 4, TASKS_PER_PRODUCER = 20000, STRESS_COUNT_MAX = 64 };

struct numbered_task {
    struct loop_task task;  // first: the cast back is plain
    uint32_t producer;
    uint32_t number;
};

struct producer {
    struct mailbox *box;
    struct numbered_task *tasks;
    uint64_t rings;
    uint64_t refusals;
};

static void *produce(void *arg) {
    struct producer *self = arg;
    for (uint32_t i = 0; i < TASKS_PER_PRODUCER; i++) {
        bool was_empty = false;
        self->tasks[i].number = i;
        while (mailbox_post(self->box, &self->tasks[i].task, &was_empty) != STATUS_OK) {
            self->refusals++;
            sched_yield();
        }
        self->rings += was_empty;
    }
    return NULL;
}

static struct numbered_task stress_tasks[PRODUCERS][TASKS_PER_PRODUCER];

// Goal: with four producers nothing is lost, doubled or reordered within a producer, the bound
// holds, and there are exactly as many rings as non-empty takes.
static void test_mailbox_four_producers_lose_nothing(void **state) {
    (void)state;
    struct mailbox box;
    mailbox_init(&box, STRESS_COUNT_MAX);
    struct producer producers[PRODUCERS] = {0};
    pthread_t threads[PRODUCERS];
    uint32_t next_number[PRODUCERS] = {0};
    for (uint32_t p = 0; p < PRODUCERS; p++) {
        producers[p] = (struct producer){&box, stress_tasks[p], 0, 0};
        for (uint32_t i = 0; i < TASKS_PER_PRODUCER; i++) {
            stress_tasks[p][i].task.run = never;
            stress_tasks[p][i].producer = p;
        }
        assert_int_equal(pthread_create(&threads[p], NULL, produce, &producers[p]), 0);
    }
    uint64_t seen = 0;
    uint64_t takes = 0;
    while (seen < (uint64_t)PRODUCERS * TASKS_PER_PRODUCER) {
        struct loop_task *task = mailbox_take(&box);
        if (task == NULL) {
            sched_yield();
            continue;
        }
        takes++;
        uint32_t count = 0;
        for (; task != NULL; task = task->next) {
            const struct numbered_task *item = (const struct numbered_task *)(const void *)task;
            assert_int_equal(item->number, next_number[item->producer]);
            next_number[item->producer]++;
            count++;
        }
        assert_true(count <= STRESS_COUNT_MAX);
        mailbox_consumed(&box, count);
        seen += count;
    }
    uint64_t rings = 0;
    for (uint32_t p = 0; p < PRODUCERS; p++) {
        assert_int_equal(pthread_join(threads[p], NULL), 0);
        rings += producers[p].rings;
    }
    assert_int_equal(rings, takes);
    assert_int_equal(mailbox_count(&box), 0);
    assert_true(mailbox_close(&box));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mailbox_take_gives_all_in_order),
        cmocka_unit_test(test_mailbox_post_after_take_reports_empty_again),
        cmocka_unit_test(test_mailbox_full_refuses_until_consumed),
        cmocka_unit_test(test_mailbox_close_refuses_further_tasks),
        cmocka_unit_test(test_mailbox_four_producers_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
