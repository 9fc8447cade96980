// SPDX-License-Identifier: Apache-2.0
// Room on the disk: both thresholds from both sides, and no flapping at them.
#include "api/node/node_room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MIB     ((uint64_t)1 << 20)
#define RESERVE (256 * MIB)

static void test_node_room_thresholds_count_from_below(void **state) {
    (void)state;
    enum replica_room enough = REPLICA_ROOM_ENOUGH;
    assert_int_equal(node_room_judge(enough, UINT64_MAX, RESERVE), REPLICA_ROOM_ENOUGH);
    assert_int_equal(node_room_judge(enough, RESERVE, RESERVE), REPLICA_ROOM_ENOUGH);
    assert_int_equal(node_room_judge(enough, RESERVE - 1, RESERVE), REPLICA_ROOM_RESERVE);
    assert_int_equal(node_room_judge(enough, 64 * MIB, RESERVE), REPLICA_ROOM_RESERVE);
    assert_int_equal(node_room_judge(enough, 64 * MIB - 1, RESERVE), REPLICA_ROOM_NONE);
    assert_int_equal(node_room_judge(enough, 0, RESERVE), REPLICA_ROOM_NONE);
    assert_int_equal(node_room_judge(enough, 0, 0), REPLICA_ROOM_ENOUGH);
}

// Goal: a state is left only with an eighth of the reserve more than led to it.
static void test_node_room_does_not_flap(void **state) {
    (void)state;
    enum replica_room reserve = REPLICA_ROOM_RESERVE;
    enum replica_room none = REPLICA_ROOM_NONE;
    assert_int_equal(node_room_judge(reserve, RESERVE + 32 * MIB - 1, RESERVE), reserve);
    assert_int_equal(node_room_judge(reserve, RESERVE + 32 * MIB, RESERVE), REPLICA_ROOM_ENOUGH);
    assert_int_equal(node_room_judge(none, 96 * MIB - 1, RESERVE), none);
    assert_int_equal(node_room_judge(none, 96 * MIB, RESERVE), reserve);
    assert_int_equal(node_room_judge(none, RESERVE + 31 * MIB, RESERVE), reserve);
    assert_int_equal(node_room_judge(none, RESERVE + 32 * MIB, RESERVE), REPLICA_ROOM_ENOUGH);
}

static void test_node_room_text_names_disk_and_threshold(void **state) {
    (void)state;
    char text[160];
    node_room_text((struct node_id){3}, 91 * MIB + 5, RESERVE, text, sizeof(text));
    assert_string_equal(text,
                        "disk of node 3: 91 MiB are free, and 256 MiB (disk.reserve_mb) are kept "
                        "for deletes and what must go on");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_room_thresholds_count_from_below),
        cmocka_unit_test(test_node_room_does_not_flap),
        cmocka_unit_test(test_node_room_text_names_disk_and_threshold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
