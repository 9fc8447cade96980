// SPDX-License-Identifier: Apache-2.0
// The watchdog of syncs: thresholds, recovery, and whose fault a long silence is.
#include "api/node/node_watchdog.h"

#include "dataplane/base/mark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

struct disk {
    struct node_watchdog watchdog;
    uint64_t now_ns;
};

static int setup(void **state) {
    static struct disk disk;
    struct node_watchdog_config config = {0};  // the defaults: 500 ms, 3 s, 10 s, 10 s
    disk = (struct disk){.now_ns = 5000 * MS};
    node_watchdog_init(&disk.watchdog, &config);
    *state = &disk;
    return 0;
}

// Lets time pass as a loop does that wakes at every deadline; the state at the end.
static enum node_disk_state pass(struct disk *disk, uint64_t ms) {
    uint64_t until_ns = disk->now_ns + ms * MS;
    enum node_disk_state state = node_watchdog_check(&disk->watchdog, disk->now_ns);
    while (disk->now_ns < until_ns) {
        uint64_t at_ns = node_watchdog_deadline_ns(&disk->watchdog);
        assert_true(at_ns > disk->now_ns);
        disk->now_ns = at_ns < until_ns ? at_ns : until_ns;
        state = node_watchdog_check(&disk->watchdog, disk->now_ns);
    }
    return state;
}

static enum node_disk_state sync_of(struct disk *disk, uint64_t ms) {
    node_watchdog_started(&disk->watchdog, disk->now_ns);
    (void)pass(disk, ms);
    node_watchdog_finished(&disk->watchdog, disk->now_ns);
    return node_watchdog_check(&disk->watchdog, disk->now_ns);
}

static void test_node_watchdog_quick_syncs_are_no_matter(void **state) {
    struct disk *disk = *state;
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(sync_of(disk, 20), NODE_DISK_OK);
        assert_int_equal(pass(disk, 7), NODE_DISK_OK);
    }
    assert_int_equal(sync_of(disk, 499), NODE_DISK_OK);
    assert_int_equal(disk->watchdog.last_ns, 499 * MS);
    assert_int_equal(node_watchdog_deadline_ns(&disk->watchdog), UINT64_MAX);
}

// Goal: the loop learns of a disk that hangs while it hangs, at each threshold.
static void test_node_watchdog_hanging_sync_is_noticed_at_each_threshold(void **state) {
    struct disk *disk = *state;
    node_watchdog_started(&disk->watchdog, disk->now_ns);
    assert_int_equal(pass(disk, 499), NODE_DISK_OK);
    assert_int_equal(pass(disk, 1), NODE_DISK_SLOW);
    assert_int_equal(node_watchdog_pending_ns(&disk->watchdog), 500 * MS);
    assert_int_equal(pass(disk, 2499), NODE_DISK_SLOW);
    assert_int_equal(pass(disk, 1), NODE_DISK_SICK);
    assert_int_equal(pass(disk, 6999), NODE_DISK_SICK);
    assert_int_equal(pass(disk, 1), NODE_DISK_FAILED);
    node_watchdog_finished(&disk->watchdog, disk->now_ns);
    assert_int_equal(pass(disk, 60000), NODE_DISK_FAILED);  // for good
}

static void test_node_watchdog_long_sync_counts_when_it_is_over(void **state) {
    struct disk *disk = *state;
    assert_int_equal(sync_of(disk, 700), NODE_DISK_SLOW);
    assert_int_equal(disk->watchdog.worst_ns, 700 * MS);
    assert_int_equal(node_watchdog_pending_ns(&disk->watchdog), 0);
    assert_int_equal(sync_of(disk, 3200), NODE_DISK_SICK);
}

// Goal: one good sync does not make a good disk; ten seconds of them do, one degree after another.
static void test_node_watchdog_recovers_by_degrees(void **state) {
    struct disk *disk = *state;
    assert_int_equal(sync_of(disk, 4000), NODE_DISK_SICK);
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(sync_of(disk, 10), NODE_DISK_SICK);
        assert_int_equal(pass(disk, 990), NODE_DISK_SICK);
    }
    assert_int_equal(sync_of(disk, 600), NODE_DISK_SICK);
    assert_int_equal(pass(disk, 1000), NODE_DISK_SLOW);  // ten seconds after the four
    assert_int_equal(pass(disk, 8998), NODE_DISK_SLOW);
    assert_int_equal(pass(disk, 2), NODE_DISK_OK);
    assert_int_equal(node_watchdog_deadline_ns(&disk->watchdog), UINT64_MAX);
}

static void test_node_watchdog_disk_slow_now_and_then_stays_slow(void **state) {
    struct disk *disk = *state;
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(sync_of(disk, 600), NODE_DISK_SLOW);
        assert_int_equal(pass(disk, 9000), NODE_DISK_SLOW);
    }
}

// Goal: a process that was stopped for a minute with a sync under way blames nobody.
static void test_node_watchdog_stopped_process_is_not_the_disks_fault(void **state) {
    struct disk *disk = *state;
    node_watchdog_started(&disk->watchdog, disk->now_ns);
    assert_int_equal(pass(disk, 100), NODE_DISK_OK);
    uint64_t slept = mark_count("watchdog.loop_slept");
    disk->now_ns += 60000 * MS;
    assert_int_equal(node_watchdog_check(&disk->watchdog, disk->now_ns), NODE_DISK_OK);
    assert_int_equal(mark_count("watchdog.loop_slept"), slept + 1);
    node_watchdog_finished(&disk->watchdog, disk->now_ns);
    assert_int_equal(node_watchdog_check(&disk->watchdog, disk->now_ns), NODE_DISK_OK);
    assert_true(disk->watchdog.last_ns < 500 * MS);
    // But a disk that hangs on after that is seen.
    node_watchdog_started(&disk->watchdog, disk->now_ns);
    assert_int_equal(pass(disk, 500), NODE_DISK_SLOW);
}

static void test_node_watchdog_own_thresholds_count(void **state) {
    struct disk *disk = *state;
    struct node_watchdog_config config = {10 * MS, 20 * MS, 30 * MS, 40 * MS};
    node_watchdog_init(&disk->watchdog, &config);
    assert_int_equal(sync_of(disk, 9), NODE_DISK_OK);
    assert_int_equal(sync_of(disk, 10), NODE_DISK_SLOW);
    assert_int_equal(sync_of(disk, 20), NODE_DISK_SICK);
    assert_int_equal(pass(disk, 41), NODE_DISK_OK);
    assert_int_equal(sync_of(disk, 30), NODE_DISK_FAILED);
}

static void test_node_watchdog_sync_within_one_instant_counts_as_one(void **state) {
    struct disk *disk = *state;
    assert_int_equal(disk->watchdog.last_ns, 0);
    assert_int_equal(sync_of(disk, 0), NODE_DISK_OK);
    assert_int_equal(disk->watchdog.last_ns, 1);
}

static void test_node_watchdog_states_have_names(void **state) {
    (void)state;
    assert_string_equal(node_disk_state_text(NODE_DISK_OK), "ok");
    assert_string_equal(node_disk_state_text(NODE_DISK_SLOW), "slow");
    assert_string_equal(node_disk_state_text(NODE_DISK_SICK), "sick");
    assert_string_equal(node_disk_state_text(NODE_DISK_FAILED), "failed");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_node_watchdog_quick_syncs_are_no_matter, setup),
        cmocka_unit_test_setup(test_node_watchdog_hanging_sync_is_noticed_at_each_threshold, setup),
        cmocka_unit_test_setup(test_node_watchdog_long_sync_counts_when_it_is_over, setup),
        cmocka_unit_test_setup(test_node_watchdog_recovers_by_degrees, setup),
        cmocka_unit_test_setup(test_node_watchdog_disk_slow_now_and_then_stays_slow, setup),
        cmocka_unit_test_setup(test_node_watchdog_stopped_process_is_not_the_disks_fault, setup),
        cmocka_unit_test_setup(test_node_watchdog_own_thresholds_count, setup),
        cmocka_unit_test_setup(test_node_watchdog_sync_within_one_instant_counts_as_one, setup),
        cmocka_unit_test(test_node_watchdog_states_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
