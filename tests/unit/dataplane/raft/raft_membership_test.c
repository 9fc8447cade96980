// SPDX-License-Identifier: Apache-2.0
// Memberships as values: which changes are possible and what they lead to, that majorities of
// neighbours always meet, and their wire form.
#include "dataplane/base/mark.h"
#include "dataplane/base/prng.h"
#include "dataplane/raft/raft_internal.h"
#include "tests/unit/dataplane/raft/raft_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// "12a": digits are voters, letters learners: a is 11, b is 12 and so on.
static struct raft_membership members(const char *text) {
    struct raft_membership m = {.config_epoch = 7};
    for (const char *at = text; *at != '\0'; at++) {
        bool learner = *at >= 'a';
        m.members[m.count] = (struct raft_member){
            .node = {learner ? (uint32_t)(*at - 'a') + 11 : (uint32_t)(*at - '0')},
            .incarnation = 1,
            .role = learner ? RAFT_LEARNER : RAFT_VOTER,
        };
        m.count++;
    }
    return m;
}

static struct raft_change change_of(uint32_t node, enum raft_member_role role) {
    return (struct raft_change){.node = {node}, .role = role};
}

static enum status change(const struct raft_membership *m, uint32_t node,
                          enum raft_member_role role, struct raft_membership *out) {
    struct raft_change one = change_of(node, role);
    struct err err = {0};
    return raft_membership_change(m, &one, 1, out, &err);
}

static const struct raft_member *find(const struct raft_membership *m, uint32_t node) {
    return raft_membership_find(m, (struct node_id){node});
}

static void test_raft_membership_new_voter_goes_through_a_joint_one(void **state) {
    (void)state;
    struct raft_membership m = members("123");
    struct raft_membership joint = {0};
    assert_int_equal(change(&m, 4, RAFT_VOTER, &joint), STATUS_OK);
    assert_true(raft_membership_is_joint(&joint));
    assert_int_equal(joint.config_epoch, 8);
    assert_int_equal(find(&joint, 4)->incarnation, 8);
    assert_false(find(&joint, 4)->outgoing);
    assert_true(find(&joint, 1)->outgoing && find(&joint, 1)->role == RAFT_VOTER);
    struct raft_membership final = {0};
    raft_membership_leave(&joint, &final);
    assert_false(raft_membership_is_joint(&final));
    assert_int_equal(final.config_epoch, 9);
    assert_int_equal(final.count, 4);
    assert_int_equal(find(&final, 4)->incarnation, 8);
    assert_int_equal(find(&final, 1)->incarnation, 1);
}

static void test_raft_membership_leaving_voter_stays_until_the_end(void **state) {
    (void)state;
    struct raft_membership m = members("123");
    struct raft_change changes[] = {change_of(3, RAFT_LEAVING), change_of(4, RAFT_VOTER),
                                    change_of(2, RAFT_LEARNER)};
    struct raft_membership joint = {0};
    struct err err = {0};
    assert_int_equal(raft_membership_change(&m, changes, 3, &joint, &err), STATUS_OK);
    assert_int_equal(find(&joint, 3)->role, RAFT_LEAVING);
    assert_int_equal(find(&joint, 2)->role, RAFT_LEARNER);
    assert_true(find(&joint, 3)->outgoing && find(&joint, 2)->outgoing);
    struct raft_membership final = {0};
    raft_membership_leave(&joint, &final);
    assert_null(find(&final, 3));
    assert_int_equal(find(&final, 2)->role, RAFT_LEARNER);
    // Back again it is another replica.
    assert_int_equal(change(&final, 3, RAFT_LEARNER, &joint), STATUS_OK);
    assert_int_equal(find(&joint, 3)->incarnation, 10);
}

static void test_raft_membership_learners_alone_take_one_step(void **state) {
    (void)state;
    struct raft_membership m = members("123a");
    struct raft_membership next = {0};
    struct raft_change changes[] = {change_of(11, RAFT_LEAVING), change_of(5, RAFT_LEARNER)};
    struct err err = {0};
    assert_int_equal(raft_membership_change(&m, changes, 2, &next, &err), STATUS_OK);
    assert_false(raft_membership_is_joint(&next));
    assert_null(find(&next, 11));
    assert_int_equal(find(&next, 5)->role, RAFT_LEARNER);
    assert_int_equal(next.count, 4);
    // A promotion concerns the voters.
    assert_int_equal(change(&m, 11, RAFT_VOTER, &next), STATUS_OK);
    assert_true(raft_membership_is_joint(&next));
    assert_int_equal(find(&next, 11)->incarnation, 1);
    assert_false(find(&next, 11)->outgoing);
}

static void refused(const struct raft_membership *m, const struct raft_change *changes,
                    uint32_t count, enum status expected, const char *word) {
    struct raft_membership out = {.config_epoch = 99};
    struct err err = {0};
    assert_int_equal(raft_membership_change(m, changes, count, &out, &err), expected);
    assert_int_equal(out.config_epoch, 99);
    assert_non_null(strstr(err.message, word));
}

static void test_raft_membership_impossible_changes_say_why(void **state) {
    (void)state;
    struct raft_membership m = members("123");
    struct raft_change out9[] = {change_of(9, RAFT_LEAVING)};
    refused(&m, out9, 1, STATUS_INVALID_ARGUMENT, "node 9");
    struct raft_change none[] = {change_of(1, RAFT_LEAVING), change_of(2, RAFT_LEARNER),
                                 change_of(3, RAFT_LEAVING)};
    refused(&m, none, 3, STATUS_INVALID_ARGUMENT, "no voter");
    struct raft_change twice[] = {change_of(4, RAFT_VOTER), change_of(4, RAFT_LEARNER)};
    refused(&m, twice, 2, STATUS_INVALID_ARGUMENT, "node 4");
    struct raft_change nobody[] = {change_of(0, RAFT_VOTER)};
    refused(&m, nobody, 1, STATUS_INVALID_ARGUMENT, "change 1");
    struct raft_change same[] = {change_of(2, RAFT_VOTER)};
    refused(&m, same, 1, STATUS_ALREADY_EXISTS, "already");
    refused(&m, same, 0, STATUS_ALREADY_EXISTS, "already");
    struct raft_membership nine = members("123456789");
    struct raft_change tenth[] = {change_of(10, RAFT_VOTER)};
    refused(&nine, tenth, 1, STATUS_INVALID_ARGUMENT, "10 voters");
    struct raft_membership full = members("1bcdefghijklmnopqr");
    assert_int_equal(full.count, RAFT_MEMBERS_MAX);
    struct raft_change more[] = {change_of(2, RAFT_LEARNER)};
    refused(&full, more, 1, STATUS_INVALID_ARGUMENT, "node 2");
    struct raft_membership joint = {0};
    assert_int_equal(change(&m, 4, RAFT_VOTER, &joint), STATUS_OK);
    refused(&joint, same, 1, STATUS_FAILED_PRECONDITION, "configuration 8");
}

static void test_raft_membership_only_a_neighbour_follows(void **state) {
    (void)state;
    struct raft_membership m = members("123a");
    struct raft_membership next = {0};
    assert_int_equal(change(&m, 4, RAFT_VOTER, &next), STATUS_OK);
    assert_true(raft__membership_follows(&m, &next));
    struct raft_membership bad = next;
    bad.config_epoch = 9;
    assert_false(raft__membership_follows(&m, &bad));
    bad = next;
    bad.members[4].incarnation = 7;  // the new one under a number of the past
    assert_false(raft__membership_follows(&m, &bad));
    bad = next;
    bad.members[0].incarnation = 8;  // another replica in the place of a voter
    assert_false(raft__membership_follows(&m, &bad));
    bad = next;
    bad.members[0].outgoing = false;  // a majority of the older ones is forgotten
    assert_false(raft__membership_follows(&m, &bad));
    bad = next;
    bad.members[3].outgoing = true;  // a learner had no say before
    assert_false(raft__membership_follows(&m, &bad));
    // Voters in one step.
    bad = members("1234");
    bad.config_epoch = 8;
    bad.members[3].incarnation = 8;
    assert_false(raft__membership_follows(&m, &bad));
    bad = m;
    bad.config_epoch = 8;  // nothing changes
    assert_false(raft__membership_follows(&m, &bad));
    // From a joint one leads one way only.
    struct raft_membership final = {0};
    raft_membership_leave(&next, &final);
    assert_true(raft__membership_follows(&next, &final));
    bad = m;
    bad.config_epoch = 9;
    assert_false(raft__membership_follows(&next, &bad));
}

// Chains of random changes: each follows from the one before, and no majority of one misses a
// majority of its neighbour.
static void test_raft_membership_majorities_of_neighbours_meet(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 3);
    struct raft_membership m = members("123");
    uint32_t joint = 0;
    for (uint32_t round = 0; round < 600; round++) {
        struct raft_membership next = {0};
        if (raft_membership_is_joint(&m)) {
            raft_membership_leave(&m, &next);
            joint++;
        } else {
            struct raft_change changes[4] = {{{0}, RAFT_VOTER}};
            uint32_t count = 1 + (uint32_t)prng_below(&prng, 4);
            for (uint32_t i = 0; i < count; i++) {
                changes[i] = change_of(1 + (uint32_t)prng_below(&prng, WORLD_NODES_MAX),
                                       (enum raft_member_role)prng_below(&prng, 3));
            }
            struct err err = {0};
            if (raft_membership_change(&m, changes, count, &next, &err) != STATUS_OK) { continue; }
        }
        assert_true(raft_membership_check(&next));
        assert_true(raft__membership_follows(&m, &next));
        assert_true(world_quorums_meet(&m, &next));
        m = next;
    }
    assert_true(joint > 50);
    // The check itself can fail.
    struct raft_membership a = members("123");
    struct raft_membership b = members("145");
    assert_false(world_quorums_meet(&a, &b));
}

// --- wire form

static size_t encode(const struct raft_membership *m, uint8_t *out, size_t max) {
    struct buf buf;
    buf_init(&buf, 4096);
    struct codec_writer w;
    codec_writer_init(&w, &buf);
    raft_membership_encode(&w, m);
    assert_int_equal(w.status, STATUS_OK);
    size_t size = buf.size;
    assert_true(size <= max);
    memcpy(out, buf.data, size);
    buf_deinit(&buf);
    return size;
}

static enum status decode(const uint8_t *data, size_t size, struct raft_membership *out) {
    struct codec_reader r;
    codec_reader_init(&r, slice_make(data, size));
    enum status st = raft_membership_decode(&r, out);
    return st == STATUS_OK ? codec_finish(&r) : st;
}

static void test_raft_membership_round_trip(void **state) {
    (void)state;
    struct raft_membership m = members("123a");
    struct raft_membership joint = {0};
    struct raft_change changes[] = {change_of(3, RAFT_LEAVING), change_of(11, RAFT_VOTER),
                                    change_of(2, RAFT_LEARNER)};
    struct err err = {0};
    assert_int_equal(raft_membership_change(&m, changes, 3, &joint, &err), STATUS_OK);
    joint.members[0].incarnation = RAFT_NUMBER_MAX;
    joint.members[0].node.v = UINT32_MAX;
    uint8_t bytes[512];
    size_t size = encode(&joint, bytes, sizeof(bytes));
    struct raft_membership got = {0};
    assert_int_equal(decode(bytes, size, &got), STATUS_OK);
    assert_int_equal(got.config_epoch, joint.config_epoch);
    assert_int_equal(got.count, joint.count);
    for (uint32_t i = 0; i < got.count; i++) {
        assert_int_equal(got.members[i].node.v, joint.members[i].node.v);
        assert_true(got.members[i].incarnation == joint.members[i].incarnation);
        assert_int_equal(got.members[i].role, joint.members[i].role);
        assert_int_equal(got.members[i].outgoing, joint.members[i].outgoing);
    }
}

static void test_raft_membership_garbage_is_refused(void **state) {
    (void)state;
    struct raft_membership m = members("123a");
    uint8_t bytes[512];
    size_t size = encode(&m, bytes, sizeof(bytes));
    struct raft_membership got = {.config_epoch = 99};
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(decode(bytes, cut, &got), STATUS_CORRUPT);
    }
    assert_int_equal(got.config_epoch, 99);
    for (size_t at = 0; at < size; at++) {
        for (uint32_t bit = 0; bit < 8; bit++) {
            uint8_t bent[512];
            memcpy(bent, bytes, size);
            bent[at] ^= (uint8_t)(1U << bit);
            struct raft_membership other = {0};
            if (decode(bent, size, &other) == STATUS_OK) {
                assert_true(raft_membership_check(&other));
            }
        }
    }
    bytes[0] = 2;  // a later version
    assert_int_equal(decode(bytes, size, &got), STATUS_CORRUPT);
    assert_true(mark_count("raft.membership.corrupt") > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_membership_new_voter_goes_through_a_joint_one),
        cmocka_unit_test(test_raft_membership_leaving_voter_stays_until_the_end),
        cmocka_unit_test(test_raft_membership_learners_alone_take_one_step),
        cmocka_unit_test(test_raft_membership_impossible_changes_say_why),
        cmocka_unit_test(test_raft_membership_only_a_neighbour_follows),
        cmocka_unit_test(test_raft_membership_majorities_of_neighbours_meet),
        cmocka_unit_test(test_raft_membership_round_trip),
        cmocka_unit_test(test_raft_membership_garbage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
